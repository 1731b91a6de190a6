//! `[notify]`: how customers' systems are reached, and how long what they were told is kept.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use toml::de::DeValue;

use super::complaint::{Fault, Report};
use super::section::Section;
use super::{Dns, tls, value};
use crate::notify::client::{self, Proxy};
use crate::notify::guard::Guard;
use crate::notify::{self, Limits, deliver};
use crate::transport::credentials::{Authorities, FileError, read_certificates};

pub(super) const KEYS: &[&str] = &["allow", "proxy", "ca", "timeout", "connections_per_app", "keep"];

const MAX_NETWORKS: usize = 1_000;
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 8;
const DAY: Duration = Duration::from_secs(86_400);

/// How customers' systems are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notify {
    /// Where they may be.
    pub guard: Guard,
    /// Through whom they are reached.
    pub proxy: Option<Proxy>,
    /// Who vouches for them beside whom the system trusts.
    pub authorities: Vec<CertificateDer<'static>>,
    /// How long one has to take a message; 1 s to 1 min.
    pub timeout: Duration,
    /// Messages of one app and one channel in flight, 1 to 64.
    pub connections_per_app: usize,
    /// How long what was told stays in the log; 1 day to 1 year.
    pub keep: Duration,
}

impl Default for Notify {
    fn default() -> Notify {
        Notify {
            guard: Guard::default(),
            proxy: None,
            authorities: Vec::new(),
            timeout: TIMEOUT,
            connections_per_app: CONNECTIONS,
            keep: notify::Limits::default().keep,
        }
    }
}

impl Notify {
    /// What the deliverer goes by. Asks the system whom it trusts.
    ///
    /// # Errors
    /// A certificate cannot be understood; those of a file that was read can.
    pub fn deliver(&self, dns: Dns) -> Result<deliver::Settings, FileError> {
        let client = client::Settings {
            guard: self.guard.clone(),
            proxy: self.proxy.clone(),
            authorities: Authorities::of_system().and(self.authorities.clone())?,
            timeout: self.timeout,
            dns,
        };
        Ok(deliver::Settings { client, connections_per_app: self.connections_per_app })
    }

    /// How much the outbox keeps.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { keep: self.keep, ..Limits::default() }
    }
}

pub(super) fn read(root: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> Notify {
    let mut out = Notify::default();
    let Some(section) = root.section("notify", KEYS, report) else { return out };
    let networks = section.list("allow", value::network, report);
    if networks.len() > MAX_NETWORKS {
        let problem = format!("has {} networks", networks.len());
        section.complain("allow", Fault::new(problem, format!("write at most {MAX_NETWORKS}")), report);
    }
    out.guard = Guard::new(networks.into_iter().flatten().collect());
    out.proxy = section.optional("proxy", proxy, report).flatten();
    out.authorities = tls::load(&section, "ca", folder, certificates, report).unwrap_or_default();
    out.timeout = section.or("timeout", TIMEOUT, value::duration(Duration::from_secs(1)..=6 * TIMEOUT), report);
    out.connections_per_app = section.or("connections_per_app", CONNECTIONS, value::whole(1..=64), report);
    out.keep = section.or("keep", out.keep, value::duration(DAY..=365 * DAY), report);
    out
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let certificates = read_certificates(file)?;
    Authorities::new(certificates.clone())?;
    Ok(certificates)
}

/// `""`: none. What is quoted of it may hold a password, so that nothing is.
fn proxy(value: &DeValue<'_>) -> Result<Option<Proxy>, Fault> {
    let found = value::text(value)?;
    if found.is_empty() {
        return Ok(None);
    }
    let mend = "write e.g. \"http://proxy.example.com:3128\", or \"\" for none";
    Proxy::parse(found).map(Some).map_err(|error| Fault::new(error.to_string(), mend))
}
