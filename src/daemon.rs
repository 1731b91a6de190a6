//! Everything that runs while axbridge serves, started and ended in the right order.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use b2bua::Core;
use b2bua::settings::{Listener, Settings};
use mio::{Poll, Waker};
use numbering::{AppId, BindError, Binding, Bindings};
use sip::transaction::Transport;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::cdr::{self, Cdrs};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::metrics::{self, Metrics};
use crate::recording::{self, Recordings};
use crate::relay::{self, Relay};
use crate::signalling::{BELL, Observer, Parts, Signalling};
use crate::transport::Bell;
use crate::transport::resolve::{Resolver, Wanted};
use crate::transport::tcp::{self, Tcp};
use crate::transport::tls::Tls;
use crate::transport::udp::Udp;

/// Why the daemon cannot start.
#[derive(Debug)]
pub enum StartError {
    /// A socket cannot be bound.
    Bind {
        /// `sip.listen`, `metrics.listen` …
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A file or folder cannot be used.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The bindings break a rule (the configuration's check finds this first).
    Bindings(BindError),
    /// A thread, a poll, a runtime.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Bind { key, address, error } => {
                write!(f, "{key}: {address} cannot be bound: {error} — end what uses it, or choose another address")
            }
            StartError::File { path, error } => {
                write!(f, "{}: {error} — make the folder writable for this user, or choose another", path.display())
            }
            StartError::Bindings(error) => write!(f, "bindings: {error}"),
            StartError::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::System(error)
    }
}

/// A running daemon.
pub struct Daemon {
    settings: Arc<Settings>,
    signalling: Signalling,
    bindings: Bindings,
    resolver: Resolver,
    cdrs: Cdrs,
    cdr_thread: JoinHandle<()>,
    recordings: recording::Writer,
    runtime: Runtime,
    metrics_at: Option<SocketAddr>,
    sip_at: Vec<(Transport, SocketAddr)>,
    tls: Tls,
    clock: Clock,
}

impl Daemon {
    /// Binds every address, opens every file and begins to serve. `observer` sees what the core puts out.
    ///
    /// # Errors
    /// What could not be had; nothing is left running then.
    pub fn start(mut config: Config, clock: Clock, observer: Option<Observer>) -> Result<Daemon, StartError> {
        let poll = Poll::new()?;
        let bell = Bell::new(Waker::new(poll.registry(), BELL)?);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().thread_name("io").build()?;
        let metrics = Arc::new(Metrics::new());

        let mut tcp = Tcp::new(runtime.handle().clone(), clock, tcp::Limits::default(), bell.clone());
        let tls = tcp.tls();
        tls.set_server(config.tls.server.clone());
        tls.set_peers(config.tls.peers(&config.settings.trunks, &[]));
        tcp.set_peers(Arc::clone(config.settings.peers()));
        let (udp, sip_at) = bind_sip(&config, &mut tcp)?;
        let bound: Vec<SocketAddr> = sip_at.iter().map(|(_, address)| *address).collect();
        config::settle_ports(&mut config.settings.listeners, &bound);
        let metrics_at = serve_metrics(&config, &runtime, &metrics)?;

        let file = |path: &PathBuf| {
            let path = path.clone();
            move |error| StartError::File { path, error }
        };
        let kept = cdr::Kept { dir: config.recording.dir.clone(), min: config.recording.min };
        let (cdrs, cdr_thread) = Cdrs::open(&config.cdr_file, clock, kept).map_err(file(&config.cdr_file))?;
        let (recordings, recorder) = start_recordings(&config, clock).map_err(file(&config.recording.dir))?;
        metrics.watch(cdrs.counters(), &recordings);

        let (mut bindings, table) = Bindings::new(numbering::Limits::default());
        bindings.replace_all(config.numbers, config.bindings).map_err(|(_, error)| StartError::Bindings(error))?;
        let settings = Arc::new(config.settings);
        let relay = start_relay(&settings, config.relay_workers, clock, &recordings, &bell, &metrics)?;
        metrics.watch_relay(relay.counters());
        let mut core = Core::new(Arc::clone(&settings), table, random_seed()?);
        core.set_unix_at_epoch(clock.unix(Duration::ZERO));
        let wanted = Wanted { settings: Arc::clone(&settings), dns: config.dns, tls: config.tls };
        let (resolver, found) = Resolver::spawn(runtime.handle(), clock, wanted, tls.clone(), bell.clone());
        metrics.watch_dns(resolver.counters());

        let parts = Parts {
            core,
            poll,
            bell,
            udp,
            tcp,
            runtime: runtime.handle().clone(),
            found,
            relay,
            cdrs: cdrs.clone(),
            clock,
            metrics,
            observer,
        };
        let signalling = Signalling::spawn(parts)?;
        Ok(Daemon {
            settings,
            signalling,
            bindings,
            resolver,
            cdrs,
            cdr_thread,
            recordings: recorder,
            runtime,
            metrics_at,
            sip_at,
            tls,
            clock,
        })
    }

    /// Where SIP is served, in the order of `sip.listen`.
    #[must_use]
    pub fn sip_addresses(&self) -> &[(Transport, SocketAddr)] {
        &self.sip_at
    }

    /// Where the metrics are served.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_at
    }

    /// The clock of this process.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Takes a new configuration for new calls; calls in progress go on under the old. Listeners, RTP ports, folders and
    /// the number of threads stay as they are until the next start.
    ///
    /// # Errors
    /// The bindings break a rule (the configuration's check finds this first); the old bindings stand then.
    pub fn reload(&mut self, mut config: Config) -> Result<numbering::Summary, StartError> {
        let bound: Vec<SocketAddr> = self.sip_at.iter().map(|(_, address)| *address).collect();
        config::settle_ports(&mut config.settings.listeners, &bound);
        let (old, new) = (&self.settings, &config.settings);
        if old.listeners != new.listeners || old.media != new.media || old.timers.sip != new.timers.sip {
            tracing::warn!("sip.listen, sip.advertised, sip.t1-t4 and [media] take effect with the next start only");
        }
        keep_app_ids(&self.settings, &mut config);
        keep_listeners(&self.settings, &mut config.settings);
        // First what bindings refer to, then the bindings: no call meets an app that the loop does not know.
        // A listener that the new file has no more goes on with the certificate that it has.
        if config.tls.server.is_some() {
            self.tls.set_server(config.tls.server.clone());
        }
        self.tls.set_peers(config.tls.peers(&config.settings.trunks, &self.resolver.known()));
        self.settings = Arc::new(config.settings);
        self.signalling.reload(Arc::clone(&self.settings));
        self.resolver.reload(Wanted { settings: Arc::clone(&self.settings), dns: config.dns, tls: config.tls });
        let summary = self
            .bindings
            .replace_all(config.numbers, config.bindings)
            .map_err(|(_, error)| StartError::Bindings(error))?;
        self.cdrs.reopen();
        Ok(summary)
    }

    /// Takes no new calls; [`Daemon::has_ended`] becomes true when the last call has ended.
    pub fn drain(&self) {
        self.signalling.drain();
    }

    /// Ends every call now.
    pub fn stop(&self) {
        self.signalling.stop();
    }

    /// The signalling loop has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.signalling.is_finished()
    }

    /// Waits for the end of the signalling loop, then writes what is left to write. `false`: something ended in a panic.
    #[must_use]
    pub fn finish(self) -> bool {
        let signalled = self.signalling.wait();
        drop(self.resolver);
        drop(self.cdrs);
        let written = self.cdr_thread.join().is_ok();
        self.recordings.finish();
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        signalled && written
    }
}

/// The sockets stay until the next start: a trunk's `from` names their places, not those of the new file.
fn keep_listeners(old: &Settings, new: &mut Settings) {
    let listeners = std::mem::replace(&mut new.listeners, old.listeners.clone());
    let place_of = |place: &u16| {
        let named = listeners.get(usize::from(*place))?;
        let is_it = |known: &Listener| known.transport == named.transport && known.bind == named.bind;
        u16::try_from(old.listeners.iter().position(is_it)?).ok()
    };
    for trunk in &mut new.trunks {
        trunk.from = trunk.from.iter().filter_map(place_of).collect();
    }
}

/// An app keeps its number over reloads, wherever it stands in the file: bindings and calls refer to it by that. The slot of an
/// app that is gone keeps its last settings, for the calls that still go by them.
fn keep_app_ids(old: &Settings, config: &mut Config) {
    let mut apps = old.apps.clone();
    let ids: Vec<AppId> = std::mem::take(&mut config.settings.apps)
        .into_iter()
        .map(|app| {
            let place = apps.iter().position(|known| known.name == app.name).unwrap_or(apps.len());
            match apps.get_mut(place) {
                Some(known) => *known = app,
                None => apps.push(app),
            }
            AppId(u32::try_from(place).expect("the configuration allows few apps"))
        })
        .collect();
    config.settings.apps = apps;
    let kept = |app: AppId| ids.get(app.0 as usize).copied().unwrap_or(app);
    for number in &mut config.numbers {
        number.app = kept(number.app);
    }
    for Binding::Axb(axb) in &mut config.bindings {
        axb.app = kept(axb.app);
    }
}

type Sockets = (Vec<Option<Udp>>, Vec<(Transport, SocketAddr)>);

fn bind_sip(config: &Config, tcp: &mut Tcp) -> Result<Sockets, StartError> {
    let mut sockets = Vec::new();
    let mut addresses = Vec::new();
    for (place, listener) in config.settings.listeners.iter().enumerate() {
        let failed = |error| StartError::Bind { key: "sip.listen", address: listener.bind, error };
        let (socket, address) = match listener.transport {
            Transport::Udp => {
                let udp = Udp::bind(listener.bind).map_err(failed)?;
                let address = udp.local_address().map_err(failed)?;
                (Some(udp), address)
            }
            Transport::Tcp | Transport::Tls => {
                let place = u16::try_from(place).expect("the configuration allows few listeners");
                (None, tcp.listen(place, listener.transport, listener.bind).map_err(failed)?)
            }
        };
        sockets.push(socket);
        addresses.push((listener.transport, address));
    }
    Ok((sockets, addresses))
}

fn serve_metrics(config: &Config, runtime: &Runtime, metrics: &Arc<Metrics>) -> Result<Option<SocketAddr>, StartError> {
    let Some(address) = config.metrics else { return Ok(None) };
    let failed = |error| StartError::Bind { key: "metrics.listen", address, error };
    let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    runtime.spawn(metrics::serve(listener, Arc::clone(metrics)));
    Ok(Some(bound))
}

fn start_recordings(config: &Config, clock: Clock) -> io::Result<(Recordings, recording::Writer)> {
    recording::Writer::spawn(
        recording::Config {
            dir: config.recording.dir.clone(),
            keep: config.recording.keep,
            min: config.recording.min,
            ..recording::Config::default()
        },
        clock,
    )
}

fn start_relay(
    settings: &Settings,
    workers: usize,
    clock: Clock,
    recordings: &Recordings,
    bell: &Bell,
    metrics: &Metrics,
) -> Result<Relay, StartError> {
    let config = relay::Config {
        bind: settings.media.bind,
        ports: settings.media.ports,
        workers,
        session: media::session::Config {
            dead_after: settings.media.dead_after,
            unix_at_epoch: clock.unix(Duration::ZERO),
        },
    };
    Ok(Relay::spawn(&config, clock, recordings, bell, &metrics.relay_meters())?)
}

/// 64 bits that nobody outside can guess: tags, branches and Call-IDs are drawn from them.
fn random_seed() -> io::Result<u64> {
    let mut seed = [0_u8; 8];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut seed)?;
    Ok(u64::from_le_bytes(seed))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_reload_keeps_the_listeners_and_what_trunks_call_them() {
        let settings = |listen: &str, from: &str| {
            let text = format!(
                "[sip]\nlisten = [{listen}]\n[media]\nbind = \"127.0.0.1\"\n\
                 [[trunk]]\nname = \"one\"\nsources = [\"192.0.2.1\"]\nfrom = [{from}]\n"
            );
            config::parse(&text, Path::new("c.toml")).unwrap().settings
        };
        let old = settings("\"udp:10.0.0.1:5060\", \"tcp:10.0.0.1:5060\", \"udp:10.0.0.2:5060\"", "");
        // Another order, one gone, one new; by another protocol it is another listener.
        let listen = "\"udp:10.0.0.3:5060\", \"udp:10.0.0.2:5060\", \"udp:10.0.0.1:5060\", \"tcp:10.0.0.2:5060\"";
        for (from, expected) in [
            ("\"udp:10.0.0.2:5060\", \"udp:10.0.0.1:5060\"", &[2, 0][..]),
            ("\"udp:10.0.0.3:5060\", \"tcp:10.0.0.2:5060\"", &[]),
        ] {
            let mut new = settings(listen, from);
            keep_listeners(&old, &mut new);
            assert_eq!((&new.listeners, &new.trunks[0].from[..]), (&old.listeners, expected), "{from}");
        }
    }
}
