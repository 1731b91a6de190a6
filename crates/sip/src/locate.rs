//! Locating SIP servers by DNS (RFC 3263 §4, with RFC 2782 for SRV and RFC 3401-3403 for NAPTR), without asking anybody.
//!
//! ```text
//!   Target ─ address ───────────────────────────────────────────────────────────────────────▶ Done
//!      │
//!      ├─ name, port ─────────────────────────────────────────────────────────▶ A, AAAA ────▶ Done
//!      ├─ name, transport ──────────────▶ SRV of that transport ─ none: itself ──▲
//!      └─ name alone ─▶ NAPTR ─ found ──▶ SRV of its replacements ───────────────┤
//!                         └─── none ────▶ SRV of every transport that we serve ──╯
//! ```
//!
//! [`begin`] says with [`Asking::query`] what it wants to know next and is told by [`Asking::on_answer`]. Whoever drives it
//! owns sockets, time-outs and the answers that were good before. CNAMEs are the driver's: an answer holds records of the type
//! that was asked for.
//!
//! Answers are hostile input: records, queries and results are limited, and addresses that nobody may be sent to are left out.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::transaction::Transport;

mod search;

pub use search::{Asking, begin};

/// Records of one answer that are looked at; those of the lowest order, priority and the highest weight are kept.
pub const MAX_RECORDS: usize = 32;
/// Alternatives (NAPTR replacements) of one domain.
pub const MAX_SERVICES: usize = 8;
/// Queries for one target. A domain that wants more servers than these find is left with those that they found.
pub const MAX_QUERIES: usize = 64;
/// Addresses of one host.
pub const MAX_ADDRESSES: usize = 8;
/// Servers that one target can have.
pub const MAX_LOCATED: usize = 64;

/// The host of a target.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Host {
    /// Known already.
    Address(IpAddr),
    /// To be asked for: a domain name without the dot at its end, in lower case.
    Name(Arc<str>),
}

/// Where something is to be sent, as a URI or the operator says it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Target {
    /// Its host.
    pub host: Host,
    /// With a port, SRV records are not asked for (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// With a transport, NAPTR records are not asked for (§4.1).
    pub transport: Option<Transport>,
}

/// A way that we can send: a transport over an IP version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Way {
    /// UDP, TCP …
    pub transport: Transport,
    /// Over IPv4, or over IPv6.
    pub ipv4: bool,
}

/// What we can send by, the preferred way first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ways {
    /// Where DNS leaves the choice to us (no NAPTR; both A and AAAA), the earlier one is tried first.
    pub list: Vec<Way>,
    /// Servers may be on this machine: names that lead to loopback addresses are believed.
    pub loopback: bool,
    /// Where we listen: a name that leads here would send us our own requests.
    pub own: Vec<(Transport, SocketAddr)>,
}

/// Type of a DNS record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum RecordType {
    /// RFC 3403.
    Naptr,
    /// RFC 2782.
    Srv,
    /// RFC 1035.
    A,
    /// RFC 3596.
    Aaaa,
}

/// A question to the DNS.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Query {
    /// Fully qualified, without the dot at its end, in lower case.
    pub name: Arc<str>,
    /// What of it.
    pub kind: RecordType,
}

/// A NAPTR record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Naptr {
    /// Lower first; a higher one is not looked at once a lower one fits.
    pub order: u16,
    /// Lower first, within the order.
    pub preference: u16,
    /// SIP knows `s`: the replacement has SRV records.
    pub flags: Box<[u8]>,
    /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T` …
    pub service: Box<[u8]>,
    /// A substitution expression; SIP wants none.
    pub regexp: Box<[u8]>,
    /// The next name.
    pub replacement: Box<str>,
}

/// An SRV record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Srv {
    /// Lower first.
    pub priority: u16,
    /// Share of what comes, within the priority.
    pub weight: u16,
    /// Port of the server.
    pub port: u16,
    /// Host of the server; `.` or nothing: the service is not there.
    pub target: Box<str>,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// NAPTR.
    Naptr(Naptr),
    /// SRV.
    Srv(Srv),
    /// A or AAAA.
    Address(IpAddr),
}

/// What the DNS says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Records, and for how long they may be believed.
    Records {
        /// Of the type that was asked for; others are left out.
        records: Vec<Record>,
        /// The least of theirs.
        ttl: Duration,
    },
    /// There is no such name, or nothing of this type; `ttl` of that, where it was said (RFC 2308).
    Nothing {
        /// For how long.
        ttl: Option<Duration>,
    },
    /// No answer, or one that is none: a time-out, SERVFAIL, REFUSED.
    Failed,
}

/// A server that takes the target's requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    /// How.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// Lower first; from 0 without gaps.
    pub priority: u16,
    /// Share of what comes, among those of the same priority. A multiple of the SRV record's weight: the addresses of one
    /// host share it.
    pub weight: u32,
    /// What a TLS certificate must show: the domain that was asked for, not what the DNS made of it (RFC 5922 §7.1). `None`
    /// where an address was asked for.
    pub name: Option<Arc<str>>,
}

/// Why there is no server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LocateError {
    /// The DNS did not answer, or failed.
    Failed,
    /// The domain offers transports that we do not serve.
    Transport,
    /// The domain says that it has no such service (SRV with the target `.`).
    NoService,
    /// There is no address.
    NoAddress,
    /// Every address is one that nothing may be sent to.
    Forbidden,
}

impl LocateError {
    /// Every one.
    pub const ALL: [LocateError; 5] = [
        LocateError::Failed,
        LocateError::Transport,
        LocateError::NoService,
        LocateError::NoAddress,
        LocateError::Forbidden,
    ];

    /// A word for logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            LocateError::Failed => "failed",
            LocateError::Transport => "transport",
            LocateError::NoService => "no_service",
            LocateError::NoAddress => "no_address",
            LocateError::Forbidden => "forbidden",
        }
    }
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Servers by priority, never none.
    pub located: Result<Vec<Located>, LocateError>,
    /// The least time that anything of this may be believed; `None` where nothing was asked, or nobody said.
    pub ttl: Option<Duration>,
    /// Records, hosts and servers beyond the limits.
    pub left_out: u32,
    /// Addresses that nothing may be sent to.
    pub forbidden: u32,
}

/// What is next.
#[derive(Debug)]
pub enum Step {
    /// Somebody has to ask the DNS.
    Ask(Asking),
    /// That is all.
    Done(Outcome),
}

impl Target {
    /// An address.
    #[must_use]
    pub const fn at(transport: Transport, address: SocketAddr) -> Target {
        Target { host: Host::Address(address.ip()), port: Some(address.port()), transport: Some(transport) }
    }

    /// The name that has to be asked for.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        }
    }

    /// The address that nobody has to be asked for.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Address(ip) => {
                let port = self.port.unwrap_or_else(|| self.transport.unwrap_or(Transport::Udp).default_port());
                Some(SocketAddr::new(ip, port))
            }
            Host::Name(_) => None,
        }
    }

    /// `host` or `host:port` as a URI has it (RFC 3261 §25.1 `hostport`).
    #[must_use]
    pub fn host_port(&self) -> String {
        match (&self.host, self.port) {
            (Host::Address(ip), Some(port)) => SocketAddr::new(*ip, port).to_string(),
            (Host::Address(IpAddr::V6(ip)), None) => format!("[{ip}]"),
            (Host::Address(IpAddr::V4(ip)), None) => ip.to_string(),
            (Host::Name(name), Some(port)) => format!("{name}:{port}"),
            (Host::Name(name), None) => name.to_string(),
        }
    }
}

impl Host {
    /// A domain name: labels of letters, digits, `-` and `_`, 1 to 63 each, at most 253 characters, not all of them digits and
    /// dots. The dot at the end may stand there.
    #[must_use]
    pub fn named(name: &str) -> Option<Host> {
        let name = fold(name)?;
        let last = name.rsplit('.').next().unwrap_or_default();
        // RFC 1123 §2.1: no top-level domain is numeric, so that is a mistyped address.
        (!last.bytes().all(|byte| byte.is_ascii_digit())).then_some(Host::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(ip) => ip.fmt(f),
            Host::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(transport) = self.transport {
            write!(f, "{}:", transport.as_str().to_ascii_lowercase())?;
        }
        f.write_str(&self.host_port())
    }
}

impl Ways {
    /// Ours for this transport and IP version, as a place in the list.
    fn place(&self, transport: Transport, ipv4: bool) -> Option<usize> {
        self.list.iter().position(|way| *way == Way { transport, ipv4 })
    }

    fn serve(&self, transport: Transport) -> bool {
        self.list.iter().any(|way| way.transport == transport)
    }

    /// Each transport once.
    fn transports(&self) -> impl Iterator<Item = Transport> {
        let first = |place: &usize| {
            let before = &self.list[..*place];
            !before.iter().any(|way| way.transport == self.list[*place].transport)
        };
        (0..self.list.len()).filter(first).map(|place| self.list[place].transport)
    }

    /// Where neither the target nor the DNS says: UDP (RFC 3263 §4.1), or what we have.
    fn fallback(&self) -> Option<Transport> {
        if self.serve(Transport::Udp) { Some(Transport::Udp) } else { self.transports().next() }
    }

    /// Whether anything may be sent there.
    fn allow(&self, ip: IpAddr) -> bool {
        let is_local = match ip {
            // Without its interface a link-local address leads nowhere; a mapped one never passes an IPv6-only socket.
            IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
            IpAddr::V4(ip) => ip.is_broadcast() || ip.octets()[0] == 0,
        };
        !(ip.is_unspecified() || ip.is_multicast() || is_local || (ip.is_loopback() && !self.loopback))
    }
}

/// A name in lower case without the dot at its end; `None` for one that no query of ours may hold.
fn fold(name: &str) -> Option<Arc<str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    (name.len() <= 253 && name.split('.').all(label)).then(|| name.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests;
