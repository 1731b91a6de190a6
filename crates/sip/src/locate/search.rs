//! The search itself: which question comes next, and what the answers make of it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{
    Answer, Host, LocateError, Located, MAX_ADDRESSES, MAX_LOCATED, MAX_QUERIES, MAX_RECORDS, MAX_SERVICES, Naptr,
    Outcome, Query, Record, RecordType, Srv, Step, Target, Ways, fold,
};
use crate::transaction::Transport;

/// The weight of an SRV record is shared among the addresses of its host; this is divisible by every number of them.
const SHARES: u32 = 840;

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
        self.ask_addresses(vec![Hop { transport, host, port: transport.default_port(), rank: (0, 0), weight: 0 }])
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
    let address = SocketAddr::new(ip, port.unwrap_or_else(|| transport.default_port()));
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
        Transport::Tls => "_sips._tcp.",
    }
}

/// The transport of a NAPTR service that we might serve (RFC 3263 §4.1).
fn transport_of(service: &[u8]) -> Option<Transport> {
    const SERVICES: [(&[u8], Transport); 3] =
        [(b"SIP+D2U", Transport::Udp), (b"SIP+D2T", Transport::Tcp), (b"SIPS+D2T", Transport::Tls)];
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

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
