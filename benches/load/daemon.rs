//! The daemon under test: a child process on a core of its own, which dies with the bench, however that ends.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use axbridge::clock::Clock;
use tempfile::{NamedTempFile, TempDir};

use crate::message::Line;
use crate::phones::Sockets;
use crate::sys;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/bench.toml");
/// What the shipped file says: where X is, where A's phone is, where B's is.
const X: &str = "127.0.0.1:6080";
const CALLER: &str = "127.0.0.1:6098";
const CALLEE: &str = "127.0.0.1:6099";
/// Where others are looked for, on demand.
const FREE_PORTS: (u16, u16) = (6_200, 9_900);
const API: &str = "127.0.0.1:18080";
const API_TLS: &str = "127.0.0.1:18443";
const METRICS: &str = "127.0.0.1:9180";
/// Where the apps of the shipped file are told what happens, and nobody listens.
const TOLD: &str = "127.0.0.1:18090";
const FOLDER: &str = "/tmp/axbridge-bench";
/// How long a daemon may take to serve.
const START: Duration = Duration::from_secs(20);
/// How long a daemon without calls may take to end: a BYE whose answer was lost goes on for 32 s (RFC 3261 §17.1.2.2).
const END: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(50);

/// Where the daemon and the phones are: the ports, the configuration, the binary.
pub(crate) struct Place {
    program: PathBuf,
    config: PathBuf,
    x: SocketAddr,
    /// Where the API is.
    pub(crate) api: SocketAddr,
    /// Where the apps are told what happens, and nobody listens.
    pub(crate) told: SocketAddr,
    core: Option<usize>,
    pub(crate) clock: Clock,
    pub(crate) sockets: Sockets,
    /// Holds the changed copy, recordings and call records.
    folder: Option<TempDir>,
    /// A daemon of ours has served here: what is in the shipped folder is ours, too.
    served: Cell<bool>,
}

impl Place {
    /// The ports of etc/bench.toml, or with `free` such as nobody uses, in a copy of that file.
    pub(crate) fn take(program: &Path, free: bool, core: Option<usize>, clock: Clock) -> io::Result<Place> {
        let address = |shipped: &str| if free { free_address() } else { shipped.parse().map_err(io::Error::other) };
        let sockets = Sockets { caller: bind(address(CALLER)?)?, callee: bind(address(CALLEE)?)? };
        let x = address(X)?;
        // Held meanwhile, so that both are not the same.
        let held = free.then(|| UdpSocket::bind(x)).transpose()?;
        let api = address(API)?;
        let api_held = free.then(|| UdpSocket::bind(api)).transpose()?;
        let told = address(TOLD)?;
        drop((held, api_held));
        let folder = free.then(TempDir::new).transpose()?;
        let config = match &folder {
            None => PathBuf::from(SHIPPED),
            Some(folder) => copy(folder.path(), [x, api, told, sockets.callee.local_addr()?])?,
        };
        Ok(Place {
            program: program.to_owned(),
            config,
            x,
            api,
            told,
            core,
            clock,
            sockets,
            folder,
            served: Cell::new(false),
        })
    }

    /// Where the daemon keeps its store: each begins with none.
    fn data(&self) -> PathBuf {
        let data = self.folder.as_ref().map_or(Path::new(FOLDER), TempDir::path).join("data");
        // There may be none yet.
        let _ = fs::remove_dir_all(&data);
        data
    }

    /// Waits for nothing but time.
    fn pause(&self, wait: Duration) -> io::Result<()> {
        sys::Epoll::new()?.wait(wait, &mut Vec::new())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.folder.is_none() && self.served.get() {
            // Recordings of a bench are of no use to anybody, and some of them are long.
            let _ = fs::remove_dir_all(FOLDER);
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address).map_err(|error| {
        io::Error::new(error.kind(), format!("{address}: {error}: end what uses it, or give --free-ports"))
    })?;
    socket.set_nonblocking(true)?;
    sys::widen((&socket).into())?;
    Ok(socket)
}

/// An address that neither UDP nor TCP uses, below the daemon's RTP ports and the phones'. Two benches begin to look at
/// different ports.
fn free_address() -> io::Result<SocketAddr> {
    let count = FREE_PORTS.1 - FREE_PORTS.0;
    let first = (std::process::id() % u32::from(count)) as u16;
    (0..count)
        .map(|step| SocketAddr::from((Ipv4Addr::LOCALHOST, FREE_PORTS.0 + (first + step) % count)))
        .find(|address| UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok())
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// The shipped configuration with other addresses and folders.
fn copy(folder: &Path, [x, api, told, callee]: [SocketAddr; 4]) -> io::Result<PathBuf> {
    let mut text = fs::read_to_string(SHIPPED)?;
    let own = folder.to_string_lossy();
    // What becomes any port goes first: an address that was found free may be spelt like one of them.
    for (shipped, here) in [
        (METRICS, "127.0.0.1:0".into()),
        (API_TLS, "127.0.0.1:0".into()),
        (X, x.to_string()),
        (API, api.to_string()),
        (TOLD, told.to_string()),
        (CALLEE, callee.to_string()),
        (FOLDER, own.into_owned()),
    ] {
        if !text.contains(shipped) {
            return Err(io::Error::other(format!("{SHIPPED} does not name {shipped}: the bench and it disagree")));
        }
        text = text.replace(shipped, &here);
    }
    let path = folder.join("bench.toml");
    fs::write(&path, text)?;
    Ok(path)
}

/// A running daemon. Dropped, it is killed.
pub(crate) struct Daemon<'a> {
    child: Child,
    place: &'a Place,
    /// Its own configuration, where it has one.
    _config: Option<NamedTempFile>,
}

impl<'a> Daemon<'a> {
    /// Starts it and waits until it answers.
    pub(crate) fn start(place: &'a Place) -> io::Result<Daemon<'a>> {
        Daemon::start_by(place, None)
    }

    /// The same with a configuration that differs from the place's.
    pub(crate) fn start_with(place: &'a Place, change: impl FnOnce(String) -> String) -> io::Result<Daemon<'a>> {
        let config = NamedTempFile::with_suffix(".toml")?;
        fs::write(config.path(), change(fs::read_to_string(&place.config)?))?;
        Daemon::start_by(place, Some(config))
    }

    fn start_by(place: &'a Place, config: Option<NamedTempFile>) -> io::Result<Daemon<'a>> {
        // Another daemon there would answer in this one's place, and be measured by nobody.
        drop(bind(place.x)?);
        let mut command = Command::new(&place.program);
        command
            .arg("--config")
            .arg(config.as_ref().map_or(&*place.config, NamedTempFile::path))
            .arg("--data")
            .arg(place.data())
            .env_remove("AXBRIDGE_LOG")
            .stdin(Stdio::null());
        sys::tie(&mut command, place.core);
        let mut daemon = Daemon { child: command.spawn()?, place, _config: config };
        daemon.wait_until_it_serves()?;
        place.served.set(true);
        Ok(daemon)
    }

    fn wait_until_it_serves(&mut self) -> io::Result<()> {
        let socket = &self.place.sockets.caller;
        let line = Line { x: self.place.x, caller: socket.local_addr()?, number: "", run: 0 };
        let until = self.place.clock.now() + START;
        let (mut out, mut buffer) = (Vec::new(), [0; 4096]);
        while socket.recv(&mut buffer).is_ok() {}
        for number in 0.. {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the daemon ended at once: {status}")));
            }
            if self.place.clock.now() > until {
                return Err(io::Error::other(format!("the daemon does not answer at {}", self.place.x)));
            }
            line.options(&mut out, number);
            let _ = socket.send_to(&out, self.place.x);
            self.place.pause(LOOK)?;
            if socket.recv(&mut buffer).is_ok() {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn x(&self) -> SocketAddr {
        self.place.x
    }

    /// Asks it to end, which it does when no call is left.
    ///
    /// # Errors
    /// It does not end, or ends in a panic or with another failure.
    pub(crate) fn end(mut self) -> io::Result<()> {
        sys::terminate(self.child.id())?;
        let until = self.place.clock.now() + END;
        while self.place.clock.now() < until {
            if let Some(status) = self.child.try_wait()? {
                return orderly(status);
            }
            self.place.pause(LOOK)?;
        }
        Err(io::Error::other("the daemon does not end: it still has a call that has long been over"))
    }
}

fn orderly(status: ExitStatus) -> io::Result<()> {
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the daemon ended with {status}"))) }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Neither does anything to a process that has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
