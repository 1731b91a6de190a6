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

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::transaction::Transport;

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

/// The weight of an SRV record is shared among the addresses of its host; this is divisible by every number of them.
const SHARES: u32 = 840;

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

/// A search that waits for an answer.
#[derive(Debug)]
pub struct Asking {
    query: Query,
    search: Search,
    state: State,
}

#[derive(Debug)]
enum State {
    Naptr,
    Srv { service: Service, waiting: VecDeque<Service>, found: Found },
    Addresses { waiting: VecDeque<Query>, hops: Vec<Hop>, known: BTreeMap<Query, Vec<IpAddr>>, failed: bool },
}

/// A name that may have SRV records.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Service {
    transport: Transport,
    name: Arc<str>,
    /// Its place among the alternatives.
    class: u16,
}

/// A host that takes the requests.
#[derive(Clone, Debug)]
struct Hop {
    transport: Transport,
    host: Arc<str>,
    port: u16,
    /// Place among the alternatives, SRV priority.
    rank: (u16, u16),
    weight: u16,
}

/// What the SRV records have said so far.
#[derive(Debug, Default)]
struct Found {
    hops: Vec<Hop>,
    /// One of the services is said not to be there.
    refused: bool,
    /// One of them could not be asked for.
    failed: bool,
}

/// What does not change with the state.
#[derive(Debug)]
struct Search {
    domain: Arc<str>,
    /// How the domain's own address is used where it has no SRV records.
    transport: Transport,
    ways: Ways,
    ttl: Option<Duration>,
    queries: usize,
    left_out: u32,
    forbidden: u32,
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
                let port = self.port.unwrap_or_else(|| default_port(self.transport.unwrap_or(Transport::Udp)));
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

/// Begins the search for the servers of a target.
#[must_use]
pub fn begin(target: &Target, ways: &Ways) -> Step {
    let transport = match target.transport {
        Some(transport) => Some(transport).filter(|transport| ways.serve(*transport)),
        None => ways.fallback(),
    };
    let Some(transport) = transport else { return Outcome::error(LocateError::Transport) };
    let name = match &target.host {
        Host::Address(ip) => return of_address(ways, transport, *ip, target.port),
        Host::Name(name) => Arc::clone(name),
    };
    let domain = Arc::clone(&name);
    let search = Search { domain, transport, ways: ways.clone(), ttl: None, queries: 0, left_out: 0, forbidden: 0 };
    match (target.port, target.transport) {
        (Some(port), _) => search.ask_addresses(vec![Hop { transport, host: name, port, rank: (0, 0), weight: 0 }]),
        (None, Some(transport)) => search.ask_services(VecDeque::from([Service::of(transport, &name, 0)])),
        (None, None) => search.ask(Query { name, kind: RecordType::Naptr }, State::Naptr),
    }
}

impl Asking {
    /// What has to be asked.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// What the DNS says to it.
    #[must_use]
    pub fn on_answer(mut self, answer: Answer) -> Step {
        let ttl = match &answer {
            Answer::Records { ttl, .. } => Some(*ttl),
            Answer::Nothing { ttl } => *ttl,
            Answer::Failed => None,
        };
        self.search.ttl = [self.search.ttl, ttl].into_iter().flatten().min();
        let records = match answer {
            Answer::Records { records, .. } => Ok(records),
            Answer::Nothing { .. } => Ok(Vec::new()),
            Answer::Failed => Err(()),
        };
        match self.state {
            // Which transport and which servers is the domain's word. Going on without it could lead to whatever else has an
            // address there.
            State::Naptr => match records {
                Ok(records) => self.search.on_naptr(records),
                Err(()) => self.search.fail(LocateError::Failed),
            },
            State::Srv { service, waiting, mut found } => {
                match records {
                    Ok(records) => self.search.on_srv(records, &service, &mut found),
                    Err(()) => found.failed = true,
                }
                self.search.next_service(waiting, found)
            }
            State::Addresses { waiting, hops, mut known, failed } => {
                let failed = failed || records.is_err();
                let wants_ipv4 = self.query.kind == RecordType::A;
                let mut addresses: Vec<IpAddr> = Vec::new();
                for record in records.unwrap_or_default() {
                    if let Record::Address(ip) = record
                        && ip.is_ipv4() == wants_ipv4
                        && !addresses.contains(&ip)
                    {
                        addresses.push(ip);
                    }
                }
                let asked = addresses.len();
                addresses.retain(|ip| self.search.ways.allow(*ip));
                self.search.forbidden += count(asked - addresses.len());
                known.insert(self.query, addresses);
                self.search.next_address(waiting, hops, known, failed)
            }
        }
    }
}

impl Search {
    fn fail(self, error: LocateError) -> Step {
        let Search { ttl, left_out, forbidden, .. } = self;
        Step::Done(Outcome { located: Err(error), ttl, left_out, forbidden })
    }

    fn ask(mut self, query: Query, state: State) -> Step {
        self.queries += 1;
        Step::Ask(Asking { query, search: self, state })
    }

    /// RFC 3263 §4.1.
    fn on_naptr(mut self, records: Vec<Record>) -> Step {
        let mut offers: Vec<Naptr> = Vec::new();
        for record in records {
            if let Record::Naptr(naptr) = record
                && is_sip(&naptr.service)
            {
                offers.push(naptr);
            }
        }
        if offers.is_empty() {
            let domain = Arc::clone(&self.domain);
            let services = self.ways.transports().zip(0..);
            let services = services.map(|(transport, class)| Service::of(transport, &domain, class)).collect();
            return self.ask_services(services);
        }
        let mut fitting: Vec<(u16, u16, Transport, Arc<str>)> = offers
            .into_iter()
            .filter(|naptr| naptr.flags.eq_ignore_ascii_case(b"s") && naptr.regexp.is_empty())
            .filter_map(|naptr| {
                let transport = transport_of(&naptr.service).filter(|transport| self.ways.serve(*transport))?;
                Some((naptr.order, naptr.preference, transport, fold(&naptr.replacement)?))
            })
            .collect();
        fitting.sort();
        fitting.dedup();
        // RFC 3403 §4.1: a higher order is not considered once a lower one fits.
        let lowest = fitting.first().map(|(order, ..)| *order);
        fitting.retain(|(order, ..)| Some(*order) == lowest);
        self.left_out += count(fitting.len().saturating_sub(MAX_SERVICES));
        fitting.truncate(MAX_SERVICES);
        let Some((_, _, transport, _)) = fitting.first() else { return self.fail(LocateError::Transport) };
        self.transport = *transport;
        let service = |(class, (_, _, transport, name))| Service { transport, name, class };
        self.ask_services((0..).zip(fitting).map(service).collect())
    }

    fn ask_services(self, waiting: VecDeque<Service>) -> Step {
        self.next_service(waiting, Found::default())
    }

    /// RFC 2782.
    fn on_srv(&mut self, records: Vec<Record>, service: &Service, found: &mut Found) {
        let mut servers: Vec<Srv> = Vec::new();
        for record in records {
            if let Record::Srv(srv) = record {
                servers.push(srv);
            }
        }
        servers.sort_by_key(|srv| (srv.priority, std::cmp::Reverse(srv.weight)));
        self.left_out += count(servers.len().saturating_sub(MAX_RECORDS));
        servers.truncate(MAX_RECORDS);
        found.refused |= servers.iter().any(|srv| is_root(&srv.target));
        for srv in servers {
            if let Some(host) = fold(&srv.target).filter(|_| srv.port != 0) {
                let rank = (service.class, srv.priority);
                found.hops.push(Hop { transport: service.transport, host, port: srv.port, rank, weight: srv.weight });
            }
        }
    }

    /// RFC 3263 §4.2.
    fn next_service(self, mut waiting: VecDeque<Service>, found: Found) -> Step {
        if let Some(service) = waiting.pop_front() {
            let query = Query { name: Arc::clone(&service.name), kind: RecordType::Srv };
            return self.ask(query, State::Srv { service, waiting, found });
        }
        if !found.hops.is_empty() {
            return self.ask_addresses(found.hops);
        }
        if found.failed {
            return self.fail(LocateError::Failed);
        }
        if found.refused {
            return self.fail(LocateError::NoService);
        }
        let (transport, host) = (self.transport, Arc::clone(&self.domain));
        self.ask_addresses(vec![Hop { transport, host, port: default_port(transport), rank: (0, 0), weight: 0 }])
    }

    fn ask_addresses(mut self, hops: Vec<Hop>) -> Step {
        let mut waiting: VecDeque<Query> = VecDeque::new();
        for hop in &hops {
            for (kind, ipv4) in [(RecordType::A, true), (RecordType::Aaaa, false)] {
                let query = Query { name: Arc::clone(&hop.host), kind };
                if self.ways.place(hop.transport, ipv4).is_some() && !waiting.contains(&query) {
                    waiting.push_back(query);
                }
            }
        }
        let room = MAX_QUERIES.saturating_sub(self.queries);
        self.left_out += count(waiting.len().saturating_sub(room));
        waiting.truncate(room);
        self.next_address(waiting, hops, BTreeMap::new(), false)
    }

    fn next_address(
        self,
        mut waiting: VecDeque<Query>,
        hops: Vec<Hop>,
        known: BTreeMap<Query, Vec<IpAddr>>,
        failed: bool,
    ) -> Step {
        match waiting.pop_front() {
            Some(query) => self.ask(query, State::Addresses { waiting, hops, known, failed }),
            None => self.conclude(hops, &known, failed),
        }
    }

    fn conclude(mut self, hops: Vec<Hop>, known: &BTreeMap<Query, Vec<IpAddr>>, failed: bool) -> Step {
        // Alternatives of the domain first, then SRV priorities, then which IP version we prefer.
        let mut ranked: Vec<((u16, u16, usize), Located)> = Vec::new();
        for hop in hops {
            let mut addresses: Vec<(usize, IpAddr)> = Vec::new();
            for (kind, ipv4) in [(RecordType::A, true), (RecordType::Aaaa, false)] {
                let Some(way) = self.ways.place(hop.transport, ipv4) else { continue };
                let query = Query { name: Arc::clone(&hop.host), kind };
                addresses.extend(known.get(&query).into_iter().flatten().map(|ip| (way, *ip)));
            }
            addresses.sort_by_key(|(way, _)| *way);
            self.left_out += count(addresses.len().saturating_sub(MAX_ADDRESSES));
            addresses.truncate(MAX_ADDRESSES);
            let asked = addresses.len();
            addresses.retain(|(_, ip)| !self.ways.own.contains(&(hop.transport, SocketAddr::new(*ip, hop.port))));
            self.forbidden += count(asked - addresses.len());
            for (way, ip) in &addresses {
                let sharing = count(addresses.iter().filter(|(other, _)| other == way).count());
                let located = Located {
                    transport: hop.transport,
                    address: SocketAddr::new(*ip, hop.port),
                    priority: 0,
                    weight: u32::from(hop.weight) * SHARES / sharing,
                    name: Some(Arc::clone(&self.domain)),
                };
                let (class, priority) = hop.rank;
                ranked.push(((class, priority, *way), located));
            }
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        let mut located: Vec<Located> = Vec::new();
        let mut last = None;
        let mut priority = 0;
        for (rank, mut server) in ranked {
            let twice = |known: &Located| known.address == server.address && known.transport == server.transport;
            if located.iter().any(twice) {
                continue;
            }
            if located.len() == MAX_LOCATED {
                self.left_out += 1;
                continue;
            }
            if last.is_some_and(|last| last != rank) {
                priority += 1;
            }
            last = Some(rank);
            server.priority = priority;
            located.push(server);
        }
        if located.is_empty() {
            let error = match (failed, self.forbidden) {
                (true, _) => LocateError::Failed,
                (false, 0) => LocateError::NoAddress,
                (false, _) => LocateError::Forbidden,
            };
            return self.fail(error);
        }
        let Search { ttl, left_out, forbidden, .. } = self;
        Step::Done(Outcome { located: Ok(located), ttl, left_out, forbidden })
    }
}

/// An address needs nobody to be asked. What the operator wrote is not doubted: loopback is as good as any.
fn of_address(ways: &Ways, transport: Transport, ip: IpAddr, port: Option<u16>) -> Step {
    if ways.place(transport, ip.is_ipv4()).is_none() {
        return Outcome::error(LocateError::Transport);
    }
    let address = SocketAddr::new(ip, port.unwrap_or_else(|| default_port(transport)));
    let located = Located { transport, address, priority: 0, weight: 0, name: None };
    Step::Done(Outcome { located: Ok(vec![located]), ttl: None, left_out: 0, forbidden: 0 })
}

impl Outcome {
    fn error(error: LocateError) -> Step {
        Step::Done(Outcome { located: Err(error), ttl: None, left_out: 0, forbidden: 0 })
    }
}

impl Service {
    fn of(transport: Transport, domain: &str, class: u16) -> Service {
        Service { transport, name: format!("{}{domain}", service_prefix(transport)).into(), class }
    }
}

/// RFC 3263 §4.2.
const fn service_prefix(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "_sip._udp.",
        Transport::Tcp => "_sip._tcp.",
    }
}

/// RFC 3261 §19.1.2.
const fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Udp | Transport::Tcp => 5060,
    }
}

/// The transport of a NAPTR service that we might serve (RFC 3263 §4.1).
fn transport_of(service: &[u8]) -> Option<Transport> {
    const SERVICES: [(&[u8], Transport); 2] = [(b"SIP+D2U", Transport::Udp), (b"SIP+D2T", Transport::Tcp)];
    SERVICES.iter().find(|(name, _)| service.eq_ignore_ascii_case(name)).map(|(_, transport)| *transport)
}

/// A NAPTR of SIP's, whatever the transport; a domain has others for other things (ENUM, XMPP, AAA).
fn is_sip(service: &[u8]) -> bool {
    [&b"SIP+"[..], b"SIPS+"]
        .iter()
        .any(|start| service.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start)))
}

/// `.`, which says in SRV that there is no such service (RFC 2782).
fn is_root(name: &str) -> bool {
    name.is_empty() || name == "."
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

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
