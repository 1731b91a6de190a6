//! Puts the API together and opens its doors.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::admin::{self, Admin};
use super::compat::authentication::Gate;
use super::compat::{self, Compat, Hooks};
use super::hooks;
use super::recordings::Recordings;
use super::server::{self, Door, Limits, Serving, identity};
use crate::cdr;
use crate::clock::Clock;
use crate::config::{Api as Settings, Scope};
use crate::notify::Queue;
use crate::registry::{Registry, Unavailable};
use crate::signalling::Line;
use crate::store::{Reader, StoreError};
use crate::transport::credentials::{self, FileError};

/// What the API works with.
pub struct Parts {
    /// What customers and operators change.
    pub registry: Registry,
    /// Calls.
    pub line: Line,
    /// Call records.
    pub search: cdr::Search,
    /// What customers' systems are told.
    pub queue: Queue,
    /// Where recordings lie.
    pub recordings: PathBuf,
    /// What signs links to them.
    pub link_key: [u8; 32],
    /// The store's folder.
    pub store: PathBuf,
    /// Time.
    pub clock: Clock,
}

/// Why the API is not served.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be bound: its key, and why.
    Bind(&'static str, SocketAddr, io::Error),
    /// A file of the certificate cannot be used.
    Certificate(PathBuf, FileError),
    /// There is no certificate of our own.
    Identity(identity::IdentityError),
    /// The audit log cannot be read.
    Store(StoreError),
    /// A thread.
    System(io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Bind(key, address, error) => {
                write!(f, "{key}: {address} cannot be bound: {error} — end what uses it, or choose another address")
            }
            StartError::Certificate(path, error) => write!(f, "{} {error}", path.display()),
            StartError::Identity(error) => write!(f, "{error}"),
            StartError::Store(error) => write!(f, "{error}"),
            StartError::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The doors of the API, bound, and nobody behind them yet.
pub struct Doors {
    runtime: Runtime,
    doors: Vec<Door>,
    addresses: Vec<(server::Scheme, SocketAddr)>,
}

impl Doors {
    /// Binds the addresses, and reads or makes the certificate; `store` is the store's folder.
    ///
    /// # Errors
    /// What could not be had; nothing has been answered then.
    pub fn open(settings: &Settings, store: &Path) -> Result<Doors, StartError> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().thread_name("http").build().map_err(StartError::System)?;
        let mut doors = Vec::new();
        let mut addresses = Vec::new();
        for (key, scheme, address) in
            [("api.http", server::Scheme::Http, settings.http), ("api.https", server::Scheme::Https, settings.https)]
        {
            let Some(address) = address else { continue };
            let failed = |error| StartError::Bind(key, address, error);
            let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            let tls = match scheme {
                server::Scheme::Http => None,
                server::Scheme::Https => Some(tls(settings, store, bound)?),
            };
            doors.push(Door { listener, tls });
            addresses.push((scheme, bound));
        }
        Ok(Doors { runtime, doors, addresses })
    }

    /// Serves from now on.
    ///
    /// # Errors
    /// The audit log cannot be read.
    pub fn serve(self, settings: &Settings, parts: Parts) -> Result<Api, StartError> {
        let Doors { runtime, doors, addresses } = self;
        let audit = Reader::open(&parts.store).map_err(StartError::Store)?;
        // Of its own: a customer's link does not wait for an operator's search.
        let links = cdr::Search::open(&parts.store).map_err(StartError::Store)?;
        let (router, compat, admin) = router(settings, parts, audit, links);
        let limits = Limits {
            connections: settings.connections,
            per_source: settings.connections.div_ceil(4).max(64),
            ..Limits::default()
        };
        let serving = runtime.block_on(async { server::serve(doors, router, limits) });
        Ok(Api { runtime, serving, compat, admin, addresses })
    }
}

/// The API, served by threads of its own: however much is asked of it, SIP over TCP and TLS does not wait.
pub struct Api {
    runtime: Runtime,
    serving: Serving,
    compat: Arc<Compat>,
    admin: Admin,
    addresses: Vec<(server::Scheme, SocketAddr)>,
}

impl Api {
    /// Where it is served.
    #[must_use]
    pub fn addresses(&self) -> &[(server::Scheme, SocketAddr)] {
        &self.addresses
    }

    /// From now on who administers is whom these settings name; addresses and certificate stay.
    /// Without settings nobody does.
    pub fn reload(&self, settings: Option<&Settings>) {
        self.admin.set_tokens(settings.map(tokens).unwrap_or_default());
    }

    /// The customers' API, for its counters.
    #[must_use]
    pub fn compat(&self) -> &Arc<Compat> {
        &self.compat
    }

    /// What has happened on the doors.
    #[must_use]
    pub fn counters(&self) -> &Arc<server::Counters> {
        self.serving.counters()
    }

    /// Answers what has been asked and closes.
    pub fn finish(self) {
        self.runtime.block_on(self.serving.stop());
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

fn tls(settings: &Settings, store: &Path, bound: SocketAddr) -> Result<Arc<ArcSwap<rustls::ServerConfig>>, StartError> {
    let (identity, path) = match &settings.certificate {
        Some((chain, key)) => {
            let accuse = |path: &PathBuf| {
                let path = path.clone();
                move |error| StartError::Certificate(path, error)
            };
            let certificates = credentials::read_certificates(chain).map_err(accuse(chain))?;
            let secret = credentials::read_key(key).map_err(accuse(key))?;
            (credentials::Identity::new(certificates, secret).map_err(accuse(key))?, chain.clone())
        }
        None => {
            let names = ["localhost".to_owned(), bound.ip().to_string()];
            (identity::own(store, &names).map_err(StartError::Identity)?, store.join("https.pem"))
        }
    };
    let config = identity::tls(&identity).map_err(|error| StartError::Certificate(path, error))?;
    Ok(Arc::new(ArcSwap::new(config)))
}

fn router(settings: &Settings, parts: Parts, audit: Reader, links: cdr::Search) -> (Router, Arc<Compat>, Admin) {
    let sources = hooks::Sources {
        registry: parts.registry.clone(),
        line: parts.line.clone(),
        search: parts.search,
        audit: Arc::new(audit),
        queue: parts.queue,
        clock: parts.clock,
    };
    let admin = Admin::new(parts.registry.clone(), hooks::admin(&sources), tokens(settings), parts.clock);
    let recordings = Recordings::new(parts.recordings, &parts.link_key, parts.clock);
    let hooks = customers(settings, &recordings, links, parts.line);
    let compat = Arc::new(Compat::new(parts.registry, Gate::new(settings.created_window), hooks, parts.clock));
    let router = compat::router(Arc::clone(&compat)).merge(recordings.router()).merge(admin.router());
    (router, compat, admin)
}

fn customers(settings: &Settings, recordings: &Recordings, search: cdr::Search, line: Line) -> Hooks {
    let recordings = recordings.clone();
    let public_url = settings.public_url.clone();
    let recording_link: compat::RecordingLink = Box::new(move |account, name, base_url| {
        let (search, recordings, public_url) = (search.clone(), recordings.clone(), public_url.clone());
        Box::pin(async move {
            let wanted = name.clone();
            let owner = tokio::task::spawn_blocking(move || search.recording_owner(&wanted)).await;
            let owner = owner.map_err(|_| Unavailable)?.map_err(|error| {
                tracing::error!(%error, "the store of call records cannot be read");
                Unavailable
            })?;
            let is_own = owner.is_some_and(|owner| *owner == *account.name);
            Ok(is_own.then(|| recordings.link(&public_url.unwrap_or(base_url), &name)))
        })
    });
    let stop_call: compat::StopCall = Box::new(move |app, session| {
        let line = line.clone();
        Box::pin(async move {
            line.ask(move |core, now| core.stop_call(now, &session, Some(app))).await.map_err(|_| Unavailable)
        })
    });
    Hooks { recording_link, stop_call }
}

fn tokens(settings: &Settings) -> admin::Tokens {
    let token = |token: &crate::config::Token| admin::Token {
        name: token.name.to_string(),
        token: String::from_utf8_lossy(token.secret.bytes()).into_owned(),
        scope: match token.scope {
            Scope::Read => admin::Scope::Read,
            Scope::Full => admin::Scope::Full,
        },
    };
    admin::Tokens::new(settings.tokens.iter().map(token))
}
