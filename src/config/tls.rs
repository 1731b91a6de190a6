//! `[sip.tls]` and a trunk's `tls`: what we show over TLS, and whom we believe. Every file is read and tried here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use b2bua::settings::{Listener, Target, Trunk};
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use sip::locate::Host;
use sip::transaction::Transport;
use toml::de::DeValue;

use super::complaint::{Fault, Report};
use super::section::Section;
use super::value;
use crate::transport::credentials::{self, Authorities, Callers, Client, FileError, Identity};
use crate::transport::resolve::Found;
use crate::transport::tls::{Peers, Rule};

pub(super) const SIP: &[&str] = &["certificate", "key", "client_ca", "require_client_certificate", "ca"];
pub(super) const TRUNK: &[&str] = &["ca", "certificate", "key", "server_name"];

/// TLS, where there is a listener for it.
#[derive(Clone, Default, Debug)]
pub struct Tls {
    /// What streams that are accepted are shown, and must show.
    pub server: Option<Arc<ServerConfig>>,
    /// How we speak with each trunk; a place here is a `TrunkId`.
    pub rules: Vec<Rule>,
}

impl Tls {
    /// What every address of these trunks must show; `found` is what their names lead to. An address that a name led to must
    /// show that name, or what the trunk says in its place.
    #[must_use]
    pub fn peers(&self, trunks: &[Trunk], found: &[Found]) -> Peers {
        let mut peers = Peers::default();
        for (trunk, rule) in trunks.iter().zip(&self.rules) {
            for network in &trunk.sources {
                peers.add_source(*network, rule);
            }
            for target in trunk.targets.iter().filter(|target| target.transport == Some(Transport::Tls)) {
                if let Some(address) = target.address() {
                    peers.add_target(address, None, rule);
                }
            }
            let routes = found.iter().filter(|found| found.trunk == trunk.name).flat_map(|found| &found.routes);
            for route in routes.filter(|route| route.transport == Transport::Tls) {
                let name = match &route.host {
                    Host::Name(name) => ServerName::try_from(name.to_string()).ok(),
                    Host::Address(_) => None,
                };
                peers.add_target(route.address, name.as_ref(), rule);
            }
        }
        peers
    }
}

/// What `[sip.tls]` says.
pub(super) struct Ours {
    pub(super) server: Option<Arc<ServerConfig>>,
    authorities: Option<Authorities>,
    /// The file of authorities was complained of: that it does not vouch for anybody need not be said too.
    is_doubtful: bool,
}

/// Reads `[sip.tls]`, a table of `[sip]`. `listens` tells where in `listen` the first `tls:` stands.
pub(super) fn ours(sip: &Section<'_>, listens: Option<usize>, folder: &Path, report: &mut Report<'_>) -> Ours {
    let mut out = Ours { server: None, authorities: None, is_doubtful: false };
    let Some(section) = sip.section("tls", SIP, report) else {
        if let Some(place) = listens.filter(|_| !sip.has("tls")) {
            let fault = Fault::absence("needs a certificate", "write [sip.tls] with `certificate` and `key`");
            sip.complain_element("listen", place, fault, report);
        }
        return out;
    };
    if listens.is_some() && !section.has("certificate") {
        let mend = "write e.g. `certificate = \"tls/chain.pem\"`: our own first, then those that vouch for it";
        section.complain("certificate", Fault::absence("is missing", mend), report);
    }
    let identity = identity(&section, folder, report);
    let vouching = authorities(&section, "client_ca", folder, report);
    let required = section.or("require_client_certificate", false, value::boolean, report);
    if required && !section.has("client_ca") {
        let mend = "write client_ca = \"FILE\", the authorities whose certificates will do";
        section.complain("require_client_certificate", Fault::new("needs client_ca", mend), report);
    }
    let callers = vouching.map(|authorities| Callers { authorities, required });
    out.authorities = authorities(&section, "ca", folder, report);
    out.is_doubtful = out.authorities.is_none() && section.has("ca");
    if let Some(identity) = identity {
        match credentials::server(&identity, callers.as_ref()) {
            Ok(server) => out.server = Some(server),
            Err(error) => section.complain("client_ca", Fault::new(error.to_string(), MEND), report),
        }
    }
    out
}

/// Makes the rules of the trunks.
pub(super) struct Rules<'o> {
    ours: &'o Ours,
    folder: &'o Path,
    /// Trusts whom a trunk without authorities of its own is to be vouched for by, and shows nothing.
    plain: Arc<Client>,
    is_empty: bool,
    /// What each target has been said to show, and by which trunk.
    seen: HashMap<SocketAddr, (Rule, Arc<str>)>,
}

impl<'o> Rules<'o> {
    /// `listeners` are ours: without one for TLS nobody is verified, and the system's authorities are not looked for.
    pub(super) fn new(ours: &'o Ours, listeners: &[Listener], folder: &'o Path) -> Rules<'o> {
        let listens = listeners.iter().any(|listener| listener.transport == Transport::Tls);
        let default = match &ours.authorities {
            Some(authorities) => authorities.clone(),
            None if listens => Authorities::of_system(),
            None => Authorities::none(),
        };
        let is_empty = listens && default.is_empty() && !ours.is_doubtful;
        Rules { ours, folder, plain: Arc::new(Client::new(default, None)), is_empty, seen: HashMap::new() }
    }

    /// Reads a trunk's `tls`.
    pub(super) fn read(
        &mut self,
        trunk: &Section<'_>,
        name: &Arc<str>,
        targets: &[Option<Target>],
        report: &mut Report<'_>,
    ) -> Rule {
        let section = trunk.section("tls", TRUNK, report);
        let mut rule = Rule { client: Arc::clone(&self.plain), server_name: None };
        let mut authorities_of_its_own = false;
        if let Some(section) = &section {
            authorities_of_its_own = section.has("ca");
            let vouching = authorities(section, "ca", self.folder, report);
            let identity = identity(section, self.folder, report);
            if vouching.is_some() || identity.is_some() {
                let vouching = vouching.unwrap_or_else(|| self.plain.authorities().clone());
                rule.client = Arc::new(Client::new(vouching, identity));
            }
            rule.server_name = section.optional("server_name", server_name, report);
        }
        for (place, target) in targets.iter().enumerate() {
            let Some(target) = target.as_ref().filter(|target| target.transport == Some(Transport::Tls)) else {
                continue;
            };
            if self.is_empty && !authorities_of_its_own {
                let problem = "nobody can vouch for its certificate: the system knows no authorities";
                let mend =
                    "write tls.ca = \"FILE\" in this trunk, ca = \"FILE\" in [sip.tls], or install ca-certificates";
                trunk.complain_element("targets", place, Fault::new(problem, mend), report);
            }
            let Some(address) = target.address() else { continue };
            let known = self.seen.entry(address).or_insert_with(|| (rule.clone(), Arc::clone(name)));
            if known.0 != rule {
                let problem = format!("trunk `{}` wants another certificate of {address}", known.1);
                let mend = "write the same tls keys in both, or another address here";
                trunk.complain_element("targets", place, Fault::new(problem, mend), report);
            }
        }
        rule
    }

    /// What came of it all.
    pub(super) fn finish(&self, rules: Vec<Rule>) -> Tls {
        Tls { server: self.ours.server.clone(), rules }
    }
}

/// The mend of a file that cannot be used.
const MEND: &str = "write the path of a PEM file";

/// `certificate` and `key`: both or neither.
fn identity(section: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> Option<Identity> {
    for (key, other) in [("certificate", "key"), ("key", "certificate")] {
        if section.has(key) && !section.has(other) {
            let problem = format!("is of no use without {other}");
            section.complain(key, Fault::new(problem, format!("write {other} = \"FILE\" too")), report);
        }
    }
    let chain = load(section, "certificate", folder, credentials::read_certificates, report);
    let key = load(section, "key", folder, credentials::read_key, report);
    let (Some(chain), Some(private)) = (chain, key) else { return None };
    let made = Identity::new(chain, private);
    made.map_err(|error| {
        let key = if error == FileError::BadCertificate { "certificate" } else { "key" };
        section.complain(key, Fault::new(error.to_string(), "write the files of one certificate and its key"), report);
    })
    .ok()
}

fn authorities(
    section: &Section<'_>,
    key: &'static str,
    folder: &Path,
    report: &mut Report<'_>,
) -> Option<Authorities> {
    let read = |file: &Path| Authorities::new(credentials::read_certificates(file)?);
    load(section, key, folder, read, report)
}

pub(super) fn load<T>(
    section: &Section<'_>,
    key: &'static str,
    folder: &Path,
    read: impl FnOnce(&Path) -> Result<T, FileError>,
    report: &mut Report<'_>,
) -> Option<T> {
    let load = |value| {
        let found = value::text(value)?;
        if found.is_empty() || found.contains('\0') {
            return Err(Fault::new(format!("{} is no path", value::quote(found)), MEND));
        }
        let file: PathBuf = folder.join(found);
        read(&file).map_err(|error| Fault::new(format!("{} {error}", file.display()), MEND))
    };
    section.optional(key, load, report)
}

fn server_name(value: &DeValue<'_>) -> Result<ServerName<'static>, Fault> {
    let found = value::text(value)?;
    ServerName::try_from(found.to_owned()).map_err(|_| {
        let mend = "write what its certificate is valid for, e.g. \"sip.example.net\"";
        Fault::new(format!("{} is no name of a host", value::quote(found)), mend)
    })
}
