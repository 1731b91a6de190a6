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
use numbering::{BindError, Bindings};
use sip::transaction::Transport;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::api;
use crate::api::server::Scheme;
use crate::api::start::{Api, Doors};
use crate::cdr::{self, Cdrs};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::hep;
use crate::metrics::{self, Metrics, Watched};
use crate::notify::Outbox;
use crate::notify::deliver::Deliverer;
use crate::recording::{self, Recordings};
use crate::registry::{Keeper, OpenError, Opened, Registry, ReloadError};
use crate::relay::{self, Relay};
use crate::signalling::{BELL, Observer, Parts, Signalling};
use crate::smsc::{self, Smscs};
use crate::store::{Store, StoreError};
use crate::transport::Bell;
use crate::transport::credentials::FileError;
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
    /// The store cannot be read.
    Store(StoreError),
    /// `ca` of `[notify]` holds what is no certificate (the configuration's check finds this first).
    Authorities(FileError),
    /// The API cannot be served.
    Api(api::start::StartError),
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
            StartError::Store(error) => write!(f, "{error}"),
            StartError::Authorities(error) => write!(f, "notify.ca: {error}"),
            StartError::Api(error) => write!(f, "{error}"),
            StartError::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> StartError {
        StartError::Store(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::System(error)
    }
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> StartError {
        match error {
            OpenError::Store(error) => StartError::Store(error),
            OpenError::Bindings(error) => StartError::Bindings(error),
        }
    }
}

/// A running daemon.
pub struct Daemon {
    settings: Arc<Settings>,
    signalling: Signalling,
    registry: Registry,
    keeper: Keeper,
    api: Option<Api>,
    resolver: Resolver,
    cdrs: Cdrs,
    cdr_thread: JoinHandle<()>,
    outbox: Outbox,
    outbox_thread: JoinHandle<()>,
    deliverer: Deliverer,
    smscs: smsc::Keeper,
    recordings: recording::Writer,
    runtime: Runtime,
    metrics_at: Option<SocketAddr>,
    sip_at: Vec<(Transport, SocketAddr)>,
    tls: Tls,
    clock: Clock,
    keep_notices: Duration,
    hep: Option<hep::Config>,
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
        let mut store = Store::open(&config.store)?;
        let link_key = store.secret_key("recordings")?;
        let (api_settings, data, recordings_dir) =
            (config.api.clone(), config.store.clone(), config.recording.dir.clone());
        let doors = match &config.api {
            Some(settings) => Some(Doors::open(settings, &config.store).map_err(StartError::Api)?),
            None => None,
        };
        let (recordings, recorder) = start_recordings(&config, clock).map_err(file(&config.recording.dir))?;
        let (bindings, table) = Bindings::new(numbering::Limits::default());
        let (dns, tls_wanted, relay_workers) = (config.dns.clone(), config.tls.clone(), config.relay_workers);
        let config_hep = config.hep.clone();
        let wanted_smscs = (config.smscs.clone(), config.dns.clone());
        let (deliver, limits) =
            (config.notify.deliver(config.dns.clone()).map_err(StartError::Authorities)?, config.notify.limits());
        let watched_table = table.clone();
        let (cdr_file, cdr_keep) = (config.cdr_file.clone(), config.cdr_keep);
        let mut opened = Opened::read(store, config.into_file(), bindings, clock, random_seed()?)?;
        let (outbox, queue, outbox_thread) = Outbox::open(&data, clock, opened.accounts(), limits)?;
        opened.tell(outbox.clone());
        // What a crash has left of records is told as well.
        let (cdrs, cdr_thread) = Cdrs::open(&cdr_file, &data, cdr_keep, clock, kept, Some(outbox.clone()))?;
        let search = cdr::Search::open(&data)?;
        metrics.watch(cdrs.counters(), &recordings);
        let settings = Arc::new(opened.settings.clone());
        let relay = start_relay(&settings, relay_workers, clock, &recordings, &bell, &metrics)?;
        metrics.watch_relay(relay.counters());
        let mut core = Core::new(Arc::clone(&settings), table, random_seed()?);
        core.set_unix_at_epoch(clock.unix(Duration::ZERO));
        let wanted = Wanted { settings: Arc::clone(&settings), dns, tls: tls_wanted };
        let (resolver, found) = Resolver::spawn(runtime.handle(), clock, wanted, tls.clone(), bell.clone());
        metrics.watch_dns(resolver.counters());

        let hep = open_hep(config_hep.as_ref(), &settings)?;
        if let Some(hep) = &hep {
            metrics.watch_hep(hep.counters());
        }
        let smscs = Smscs::default();
        metrics.watch_smscs(smscs.counters());
        let observed = Arc::clone(&metrics);
        let deliverer = Deliverer::start(queue.clone(), opened.accounts(), deliver, clock)?;
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
            outbox: outbox.clone(),
            callers: opened.callers(),
            asker: deliverer.asker().clone(),
            clock,
            metrics,
            smscs: smscs.clone(),
            hep,
            observer,
        };
        let signalling = Signalling::spawn(parts)?;
        let mut smscs = smsc::Keeper::new(smscs, runtime.handle().clone(), signalling.line(), clock);
        smscs.serve(&wanted_smscs.0, &wanted_smscs.1);
        let line = signalling.line();
        let (registry, keeper) = opened.spawn(clock, Box::new(move |settings| line.reload(settings)))?;
        let parts = api::start::Parts {
            registry: registry.clone(),
            line: signalling.line(),
            search,
            queue,
            recordings: recordings_dir,
            link_key,
            store: data,
            clock,
        };
        let api = match (&api_settings, doors) {
            (Some(settings), Some(doors)) => Some(doors.serve(settings, parts).map_err(StartError::Api)?),
            (_, _) => None,
        };
        observed.watch_platform(Watched {
            registry: registry.clone(),
            table: watched_table,
            cdrs: Arc::clone(cdrs.counters()),
            notices: Arc::clone(outbox.counters()),
            deliveries: Arc::clone(deliverer.counters()),
            api: api.as_ref().map(|api| (Arc::clone(api.compat()), Arc::clone(api.counters()))),
        });
        Ok(Daemon {
            settings,
            signalling,
            registry,
            keeper,
            api,
            resolver,
            cdrs,
            cdr_thread,
            outbox,
            outbox_thread,
            deliverer,
            smscs,
            recordings: recorder,
            runtime,
            metrics_at,
            sip_at,
            tls,
            clock,
            keep_notices: limits.keep,
            hep: config_hep,
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

    /// Where the API is served.
    #[must_use]
    pub fn api_addresses(&self) -> &[(Scheme, SocketAddr)] {
        self.api.as_ref().map_or(&[], Api::addresses)
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
    /// What is in the way; the old configuration stands then.
    pub fn reload(&mut self, mut config: Config) -> Result<numbering::Summary, ReloadError> {
        let bound: Vec<SocketAddr> = self.sip_at.iter().map(|(_, address)| *address).collect();
        config::settle_ports(&mut config.settings.listeners, &bound);
        let (old, new) = (&self.settings, &config.settings);
        if old.listeners != new.listeners || old.media != new.media || old.timers.sip != new.timers.sip {
            tracing::warn!("sip.listen, sip.advertised, sip.t1-t4 and [media] take effect with the next start only");
        }
        keep_bound(&self.settings, &mut config.settings);
        let api_settings = config.api.clone();
        if config.notify.keep != self.keep_notices {
            tracing::warn!("keep of [notify] takes effect with the next start only");
        }
        if config.hep != self.hep {
            tracing::warn!("[hep] takes effect with the next start only");
        }
        let deliver = config.notify.deliver(config.dns.clone());
        let (tls, dns, settings) = (config.tls.clone(), config.dns.clone(), Arc::new(config.settings.clone()));
        let smscs = std::mem::take(&mut config.smscs);
        let summary = self.registry.reload(config.into_file())?;
        // A listener that the new file has no more goes on with the certificate that it has.
        if tls.server.is_some() {
            self.tls.set_server(tls.server.clone());
        }
        self.tls.set_peers(tls.peers(&settings.trunks, &self.resolver.known()));
        self.settings = Arc::clone(&settings);
        self.smscs.serve(&smscs, &dns);
        match deliver {
            Ok(deliver) => self.deliverer.reload(deliver),
            Err(error) => tracing::error!(%error, "[notify] is not taken: its `ca` cannot be used"),
        }
        if let Some(api) = &self.api {
            api.reload(api_settings.as_ref());
        }
        self.resolver.reload(Wanted { settings, dns, tls });
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
        self.smscs.finish();
        if let Some(api) = self.api {
            api.finish();
        }
        drop(self.resolver);
        drop(self.cdrs);
        let written = self.cdr_thread.join().is_ok();
        drop(self.registry);
        self.keeper.finish();
        // Nobody posts any more, and what is in flight is told to the outbox.
        let delivered = self.deliverer.finish();
        drop(self.outbox);
        let kept = self.outbox_thread.join().is_ok();
        self.recordings.finish();
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        signalled && written && delivered && kept
    }
}

/// The sockets, the timers of SIP and the collector stay until the next start; a trunk's `from` names the places of our listeners, not of those
/// in the new file.
fn keep_bound(old: &Settings, new: &mut Settings) {
    new.media.clone_from(&old.media);
    new.timers.sip.clone_from(&old.timers.sip);
    new.correlates = old.correlates;
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

/// Our addresses in copies are those that peers know, where they are addresses.
fn open_hep(config: Option<&hep::Config>, settings: &Settings) -> io::Result<Option<hep::Exporter>> {
    let Some(config) = config else { return Ok(None) };
    let known = |listener: &Listener| listener.advertised.parse().unwrap_or(listener.bind);
    let addresses = settings.listeners.iter().map(known).collect();
    hep::Exporter::open(config, addresses).map(Some)
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
    fn a_reload_keeps_what_is_bound_and_what_trunks_call_the_listeners() {
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
            new.media.ports = (9_000, 9_100);
            new.timers.sip.t1 *= 2;
            keep_bound(&old, &mut new);
            assert_eq!((&new.media, &new.timers.sip), (&old.media, &old.timers.sip));
            assert_eq!((&new.listeners, &new.trunks[0].from[..]), (&old.listeners, expected), "{from}");
        }
    }
}
