//! What every agent can do, and where it lives.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use tempfile::TempDir;

/// The host of the next agent: each has an address of the loopback to itself, none of which is the beginning of another.
static NEXT_HOST: AtomicU8 = AtomicU8::new(101);

/// A party's own secrets: nothing of them may reach the other one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Party {
    pub(crate) number: &'static str,
    pub(crate) name: &'static str,
    /// What it says, in Hz.
    pub(crate) voice: f64,
}

/// A real user agent: a process that another project wrote.
pub(crate) trait Agent {
    /// Who it is.
    fn party(&self) -> Party;
    /// Where it takes calls.
    fn address(&self) -> SocketAddr;
    /// Begins to record the next call, which it makes or takes.
    fn prepare(&mut self);
    /// Calls a URI.
    fn dial(&mut self, uri: &str);
    /// Waits until it is in a call. Who is called answers by itself.
    fn wait_until_talking(&mut self);
    /// Ends the call.
    fn hang_up(&mut self);
    /// Waits until the call has ended.
    fn wait_until_over(&mut self);
    /// What it has heard in the call since [`Agent::prepare`].
    fn heard(&self) -> Vec<i16>;
    /// What it has printed so far.
    fn trace(&self) -> String;
    /// Ends the program and returns what it printed: every message that it saw among it.
    fn end(self: Box<Self>) -> String;
}

/// A folder and an address of the loopback, for one agent.
pub(crate) struct Home {
    folder: TempDir,
    pub(crate) host: Ipv4Addr,
}

impl Home {
    pub(crate) fn new() -> Home {
        let folder = TempDir::new().expect("the system's temporary folder is writable");
        Home { folder, host: Ipv4Addr::new(127, 0, 7, NEXT_HOST.fetch_add(1, Relaxed)) }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder, as the programs take it.
    pub(crate) fn path(&self) -> &str {
        self.folder().to_str().expect("the temporary folder has a plain name")
    }

    /// A port that is free for UDP and TCP, and the next one too. Nobody else uses this address, so it stays free.
    pub(crate) fn port(&self) -> u16 {
        let is_free = |port: u16| {
            let address = SocketAddr::from((self.host, port));
            UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
        };
        let mut ports = (0..1_000).map(|_| UdpSocket::bind((self.host, 0)).unwrap().local_addr().unwrap().port());
        ports.find(|port| port % 2 == 0 && is_free(*port) && is_free(port + 1)).expect("the address has free ports")
    }
}
