//! TLS under SIP streams (RFC 3261 §26.3, RFC 5922): who shows what to whom, and the handshake.
//!
//! ```text
//!   accepted ─▶ an address of a trunk? ─▶ handshake: our certificate, theirs if asked for ─▶ is it that trunk's? ─▶ stream
//!   opened   ─▶ Peers: what must this address show? ─▶ handshake: chain, time and name verified ─▶ stream
//! ```
//!
//! What is demanded hangs on the address that is spoken to, never on what a message says. Both halves, our certificate and
//! [`Peers`], are replaced at a reload: handshakes from then on go by the new ones, streams that are open stay open. But a
//! stream that was verified by another rule than that of today is not used again for a peer.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, Error, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::credentials::Client;
use super::tcp::Event;

/// How we speak TLS with a trunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// By which authorities it is verified, and what we show.
    pub client: Arc<Client>,
    /// The name that its certificates must be valid for; without it, that of its target, or its address.
    pub server_name: Option<ServerName<'static>>,
}

/// What the other end of a stream must show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    client: Arc<Client>,
    name: ServerName<'static>,
}

/// What each address must show. An address of no trunk can show nothing that would do.
#[derive(Clone, Default, Debug)]
pub struct Peers {
    /// Targets. `None`: two trunks want different things of it, so it is neither's.
    targets: HashMap<SocketAddr, Option<Expected>>,
    /// Where trunks call from, the longest prefix first.
    sources: Vec<(IpNet, Rule)>,
    /// Addresses of targets, at whatever port.
    hosts: HashMap<IpAddr, Option<Rule>>,
}

impl Peers {
    /// Takes note of a network that a trunk calls from.
    pub fn add_source(&mut self, network: IpNet, rule: &Rule) {
        let place = self.sources.partition_point(|(known, _)| known.prefix_len() >= network.prefix_len());
        self.sources.insert(place, (network, rule.clone()));
    }

    /// Takes note of a target. `name` is the domain that the target was written with, for an address that DNS gave
    /// (RFC 5922 §4); the rule's own name goes before it. Where two trunks want different things of one address, nothing
    /// that it shows will do.
    pub fn add_target(&mut self, address: SocketAddr, name: Option<&ServerName<'static>>, rule: &Rule) {
        let rule = Rule { client: Arc::clone(&rule.client), server_name: rule.server_name.as_ref().or(name).cloned() };
        agree(
            self.targets.entry(address).or_insert_with(|| Some(rule.expects(address.ip()))),
            &rule.expects(address.ip()),
        );
        agree(self.hosts.entry(address.ip()).or_insert_with(|| Some(rule.clone())), &rule);
    }

    /// What an address must show that we connect to.
    fn expected(&self, address: SocketAddr) -> Result<Expected, Event> {
        match self.targets.get(&address) {
            Some(expected) => expected.clone().ok_or(Event::TlsAmbiguous),
            None => self.rule(address.ip()).map(|rule| rule.expects(address.ip())),
        }
    }

    fn rule(&self, ip: IpAddr) -> Result<&Rule, Event> {
        if let Some((_, rule)) = self.sources.iter().find(|(network, _)| network.contains(&ip)) {
            return Ok(rule);
        }
        self.hosts.get(&ip).ok_or(Event::TlsStranger)?.as_ref().ok_or(Event::TlsAmbiguous)
    }

    /// Takes over what `known` has alike, so that what was verified once is told by a pointer.
    fn share(&mut self, known: &Peers) {
        let mut seen: Vec<Arc<Client>> = Vec::new();
        let of_rules = |peers: &Peers| -> Vec<Arc<Client>> {
            let rules = peers.sources.iter().map(|(_, rule)| rule).chain(peers.hosts.values().flatten());
            rules.map(|rule| Arc::clone(&rule.client)).collect()
        };
        for client in of_rules(known) {
            if !seen.contains(&client) {
                seen.push(client);
            }
        }
        let share = |client: &mut Arc<Client>| {
            if let Some(alike) = seen.iter().find(|alike| *alike == client) {
                *client = Arc::clone(alike);
            }
        };
        self.sources.iter_mut().for_each(|(_, rule)| share(&mut rule.client));
        self.hosts.values_mut().flatten().for_each(|rule| share(&mut rule.client));
        self.targets.values_mut().flatten().for_each(|expected| share(&mut expected.client));
    }
}

impl Rule {
    fn expects(&self, ip: IpAddr) -> Expected {
        let name = self.server_name.clone().unwrap_or(ServerName::IpAddress(ip.into()));
        Expected { client: Arc::clone(&self.client), name }
    }
}

fn agree<T: PartialEq>(known: &mut Option<T>, other: &T) {
    if known.as_ref() != Some(other) {
        *known = None;
    }
}

/// Our certificate and what is demanded of the peers, as they are now. Clones are the same.
#[derive(Clone, Default)]
pub struct Tls {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    server: ArcSwapOption<ServerConfig>,
    peers: ArcSwap<Peers>,
}

impl Tls {
    /// What streams that are accepted from now on are shown, and must show.
    pub fn set_server(&self, server: Option<Arc<ServerConfig>>) {
        self.inner.server.store(server);
    }

    /// What each address must show from now on: at a reload, and when DNS says something new.
    pub fn set_peers(&self, mut peers: Peers) {
        peers.share(&self.inner.peers.load());
        self.inner.peers.store(Arc::new(peers));
    }

    pub(super) fn expected(&self, address: SocketAddr) -> Result<Expected, Event> {
        self.inner.peers.load().expected(address)
    }

    /// Shakes hands with a peer that connected.
    pub(super) async fn accept(
        &self,
        socket: TcpStream,
        peer: IpAddr,
        limit: Duration,
    ) -> Result<server::TlsStream<TcpStream>, Event> {
        // A handshake costs a thousand times what a refusal does: strangers get none.
        let demanded = self.inner.peers.load().rule(peer).map(|rule| rule.server_name.clone())?;
        let config = self.inner.server.load_full().ok_or(Event::TlsBroken)?;
        let stream = within(limit, TlsAcceptor::from(config).accept(socket)).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        if let (Some(shown), Some(name)) = (shown, demanded) {
            // One authority vouches for many: that it does so for this one does not make it this trunk.
            let parsed = ParsedCertificate::try_from(shown).map_err(|error| event_of(&error))?;
            verify_server_name(&parsed, &name).map_err(|error| event_of(&error))?;
        }
        Ok(stream)
    }
}

/// Shakes hands with a peer that we connected to.
pub(super) async fn connect(
    expected: &Expected,
    socket: TcpStream,
    limit: Duration,
) -> Result<client::TlsStream<TcpStream>, Event> {
    let config: Arc<ClientConfig> = expected.client.config();
    within(limit, TlsConnector::from(config).connect(expected.name.clone(), socket)).await
}

async fn within<S>(limit: Duration, handshake: impl Future<Output = io::Result<S>>) -> Result<S, Event> {
    match tokio::time::timeout(limit, handshake).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(cause_of(&error).unwrap_or(Event::TlsBroken)),
        Err(_) => Err(Event::TlsTimeout),
    }
}

/// What TLS says of a stream's error; `None` when it is the stream's own.
pub(super) fn cause_of(error: &io::Error) -> Option<Event> {
    error.get_ref()?.downcast_ref().map(event_of)
}

fn event_of(error: &Error) -> Event {
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Event::TlsName,
            CertificateError::UnknownIssuer => Event::TlsIssuer,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Event::TlsExpired,
            _ => Event::TlsCertificate,
        },
        Error::NoCertificatesPresented => Event::TlsNoCertificate,
        Error::AlertReceived(_) => Event::TlsAlert,
        _ => Event::TlsProtocol,
    }
}
