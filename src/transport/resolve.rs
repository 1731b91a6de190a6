//! Names of trunks' targets, looked up in the background (RFC 3263) and kept fresh, so that no call ever waits for the DNS.
//!
//! ```text
//!   configuration ─ Wanted ─▶ one task ─▶ Book: what is known, and until when
//!                               │  ▲
//!                     due names ▼  │ servers, TTL
//!                     look-ups, a few at once: sip::locate asks, hickory-resolver answers
//!                               │
//!                               └─ Found: all routes of a trunk ─▶ bounded channel, Bell ─▶ signalling thread
//! ```
//!
//! When the DNS fails, the last good answer to the same question stays in use; an answer that names nobody never replaces one
//! that named somebody. Search domains are not used: every name is fully qualified.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use b2bua::routes::Route;
use b2bua::settings::{Settings, Target};
use crossbeam_channel::{Receiver, Sender, bounded};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{self, RData};
use hickory_resolver::system_conf::read_system_conf;
use sip::locate::{self, Answer, Naptr, Outcome, Query, Record, RecordType, Srv, Step, Ways};
use sip::transaction::Transport;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::Bell;
use super::tls::Tls;
use crate::clock::Clock;
use crate::config::{self, Dns};

mod book;

use book::{Book, Looked};

/// Names that are looked up at the same time.
const LOOKUPS: usize = 16;
/// Trunks whose routes may wait for the signalling thread: more than a configuration holds.
const FOUND: usize = 1_024;
/// Records of one answer that are kept.
const RECORDS: usize = 256;
/// When a channel that was full is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// What shall be known.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whose targets have names, and by what we can send.
    pub settings: Arc<Settings>,
    /// Whom to ask.
    pub dns: Dns,
    /// What those must show that a name leads to.
    pub tls: config::Tls,
}

/// Where a trunk takes calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its name.
    pub trunk: Arc<str>,
    /// All of them.
    pub routes: Vec<Route>,
}

/// What has been counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Questions that were answered with records.
    pub answered: AtomicU64,
    /// Questions whose answer is that there is nothing.
    pub empty: AtomicU64,
    /// Questions without a proper answer.
    pub failed: AtomicU64,
    /// Questions without a proper answer for which the last good one was used.
    pub stale: AtomicU64,
    /// Look-ups of a name that found no server.
    pub unlocated: AtomicU64,
    /// Addresses that nothing may be sent to.
    pub forbidden: AtomicU64,
    /// Records, hosts and servers beyond the limits.
    pub left_out: AtomicU64,
    /// Names whose servers are known and fresh, now.
    pub names_fresh: AtomicU64,
    /// Names whose servers are known, but could not be asked for again, now.
    pub names_stale: AtomicU64,
    /// Names without a known server, now.
    pub names_unknown: AtomicU64,
}

/// The task that keeps names fresh; it ends when this is dropped.
pub struct Resolver {
    wanted: watch::Sender<Arc<Wanted>>,
    known: Arc<ArcSwap<Vec<Found>>>,
    counters: Arc<Counters>,
}

impl Wanted {
    /// Trunks that have a name among their targets.
    fn trunks(&self) -> Vec<(Arc<str>, Vec<Target>)> {
        let trunks = self.settings.trunks.iter();
        let named = trunks.filter(|trunk| trunk.targets.iter().any(|target| target.name().is_some()));
        named.map(|trunk| (Arc::clone(&trunk.name), trunk.targets.clone())).collect()
    }
}

impl Resolver {
    /// Starts the task. What is found comes by the channel, and the bell is rung; before, `tls` is told what those found must
    /// show.
    #[must_use]
    pub fn spawn(runtime: &Handle, clock: Clock, wanted: Wanted, tls: Tls, bell: Bell) -> (Resolver, Receiver<Found>) {
        let (sender, receiver) = bounded(FOUND);
        let (wanted, watched) = watch::channel(Arc::new(wanted));
        let counters = Arc::new(Counters::default());
        let known = Arc::new(ArcSwap::default());
        let task = Task {
            clock,
            book: Book::default(),
            resolver: None,
            lookups: JoinSet::new(),
            running: HashMap::new(),
            found: sender,
            known: Arc::clone(&known),
            tls,
            bell,
            counters: Arc::clone(&counters),
        };
        runtime.spawn(task.run(watched));
        (Resolver { wanted, known, counters }, receiver)
    }

    /// Something else shall be known from now on; all of it is looked up anew. Call it after the signalling loop has taken the
    /// settings: it is told nothing of trunks that it does not know.
    pub fn reload(&self, wanted: Wanted) {
        self.wanted.send_replace(Arc::new(wanted));
    }

    /// What was found last, by trunk.
    #[must_use]
    pub fn known(&self) -> Arc<Vec<Found>> {
        self.known.load_full()
    }

    /// What has been counted.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

struct Task {
    clock: Clock,
    book: Book,
    resolver: Option<Arc<TokioResolver>>,
    lookups: JoinSet<Looked>,
    /// What each look-up is about, should it end in a panic.
    running: HashMap<Id, Target>,
    found: Sender<Found>,
    known: Arc<ArcSwap<Vec<Found>>>,
    tls: Tls,
    bell: Bell,
    counters: Arc<Counters>,
}

impl Task {
    async fn run(mut self, mut watched: watch::Receiver<Arc<Wanted>>) {
        let mut wanted = Arc::clone(&watched.borrow_and_update());
        self.want(&wanted);
        loop {
            self.begin_lookups(&wanted);
            let again = self.tell(&wanted).then(|| self.clock.now() + AGAIN);
            let due = self.book.next_due().filter(|_| self.lookups.len() < LOOKUPS);
            let next = [again, due].into_iter().flatten().min();
            let timer = sleep_until(Instant::from_std(self.clock.instant(next.unwrap_or_default())));
            tokio::select! {
                changed = watched.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    wanted = Arc::clone(&watched.borrow_and_update());
                    self.want(&wanted);
                }
                Some(ended) = self.lookups.join_next_with_id(), if !self.lookups.is_empty() => match ended {
                    Ok((id, looked)) => {
                        self.running.remove(&id);
                        self.on_looked(looked);
                    }
                    Err(error) => {
                        tracing::error!(%error, "looking a name up has ended in a panic");
                        if let Some(target) = self.running.remove(&error.id()) {
                            self.book.on_broken(self.clock.now(), &target);
                        }
                    }
                },
                () = timer, if next.is_some() => {}
            }
        }
    }

    fn want(&mut self, wanted: &Wanted) {
        let trunks = wanted.trunks();
        self.resolver = None;
        self.book.want(self.clock.now(), &trunks, &wanted.settings.ways());
        let mut known = Vec::clone(&self.known.load());
        known.retain(|found| trunks.iter().any(|(name, _)| *name == found.trunk));
        self.tls.set_peers(wanted.tls.peers(&wanted.settings.trunks, &known));
        self.known.store(Arc::new(known));
    }

    fn begin_lookups(&mut self, wanted: &Wanted) {
        while self.lookups.len() < LOOKUPS {
            let Some((target, known)) = self.book.poll_due(self.clock.now()) else { return };
            if self.resolver.is_none() {
                match resolver(&wanted.dns) {
                    Ok(resolver) => self.resolver = Some(Arc::new(resolver)),
                    Err(error) => tracing::error!(%error, "there is no DNS server to ask; write [dns] servers"),
                }
            }
            let ask = Ask { resolver: self.resolver.clone(), patience: wanted.dns.timeout };
            let (ways, counters) = (wanted.settings.ways(), Arc::clone(&self.counters));
            let about = target.clone();
            let handle = self.lookups.spawn(async move { look_up(&ask, target, &ways, known, &counters).await });
            self.running.insert(handle.id(), about);
        }
    }

    fn on_looked(&mut self, looked: Looked) {
        let Outcome { located, left_out, forbidden, .. } = &looked.outcome;
        add(&self.counters.left_out, u64::from(*left_out));
        add(&self.counters.forbidden, u64::from(*forbidden));
        let name = looked.target.to_string();
        let error = located.as_ref().err().copied();
        if error.is_some() {
            add(&self.counters.unlocated, 1);
        }
        match (self.book.on_looked(self.clock.now(), looked), error) {
            (book::News::None, _) => {}
            (book::News::Fresh, _) => tracing::info!(name, "looked up"),
            (book::News::Stale, error) => {
                let error = error.unwrap_or(locate::LocateError::Failed).label();
                tracing::warn!(name, error, "cannot be looked up; its last known servers stay in use");
            }
            (book::News::Unknown, error) => {
                let error = error.unwrap_or(locate::LocateError::Failed).label();
                tracing::warn!(name, error, "cannot be looked up, and has never been: no call can go there");
            }
        }
    }

    /// Tells the signalling thread of what is new. `true`: not all of it could be told.
    fn tell(&mut self, wanted: &Wanted) -> bool {
        let mut rings = false;
        let mut is_full = false;
        self.book.poll_found(|found| {
            let mut known = Vec::clone(&self.known.load());
            let before =
                known.iter().position(|known| known.trunk == found.trunk).map(|place| known.swap_remove(place));
            let is_private = |found: &Found| found.routes.iter().any(|route| route.transport == Transport::Tls);
            let concerns_tls = is_private(&found) || before.as_ref().is_some_and(is_private);
            known.push(found.clone());
            if concerns_tls {
                // No stream is opened to an address before it is known what it must show.
                self.tls.set_peers(wanted.tls.peers(&wanted.settings.trunks, &known));
            }
            self.known.store(Arc::new(known));
            // Without a receiver the loop has ended, and nobody is told any more.
            is_full = self.found.try_send(found).is_err_and(|error| error.is_full());
            rings |= !is_full;
            !is_full
        });
        if rings {
            self.bell.ring();
        }
        let [fresh, stale, unknown] = self.book.names();
        self.counters.names_fresh.store(fresh, Ordering::Relaxed);
        self.counters.names_stale.store(stale, Ordering::Relaxed);
        self.counters.names_unknown.store(unknown, Ordering::Relaxed);
        is_full
    }
}

/// Searches the servers of one target. Where a question fails, its last good answer in `known` serves.
async fn look_up(ask: &Ask, target: Target, ways: &Ways, known: HashMap<Query, Answer>, counters: &Counters) -> Looked {
    let mut answers = HashMap::new();
    let mut failed = false;
    let mut step = locate::begin(&target, ways);
    loop {
        let asking = match step {
            Step::Done(outcome) => return Looked { target, outcome, answers, failed },
            Step::Ask(asking) => asking,
        };
        let mut answer = ask.answer(asking.query()).await;
        add(
            match &answer {
                Answer::Records { .. } => &counters.answered,
                Answer::Nothing { .. } => &counters.empty,
                Answer::Failed => &counters.failed,
            },
            1,
        );
        if answer == Answer::Failed {
            failed = true;
            if let Some(last) = known.get(asking.query()) {
                add(&counters.stale, 1);
                answer = last.clone();
            }
        }
        if answer != Answer::Failed {
            answers.insert(asking.query().clone(), answer.clone());
        }
        step = asking.on_answer(answer);
    }
}

/// Who is asked.
struct Ask {
    resolver: Option<Arc<TokioResolver>>,
    patience: Duration,
}

impl Ask {
    async fn answer(&self, query: &Query) -> Answer {
        let Some(resolver) = &self.resolver else { return Answer::Failed };
        let kind = match query.kind {
            RecordType::Naptr => rr::RecordType::NAPTR,
            RecordType::Srv => rr::RecordType::SRV,
            RecordType::A => rr::RecordType::A,
            RecordType::Aaaa => rr::RecordType::AAAA,
        };
        // The dot at the end keeps every search domain away. The library's own time-outs add up over its servers and
        // repeats; this one holds.
        match timeout(self.patience, resolver.lookup(format!("{}.", query.name), kind)).await {
            Err(_) => Answer::Failed,
            Ok(Ok(lookup)) => records(lookup.answers()),
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => {
                Answer::Nothing { ttl: none.negative_ttl.map(|seconds| Duration::from_secs(u64::from(seconds))) }
            }
            Ok(Err(_)) => Answer::Failed,
        }
    }
}

/// What we understand of an answer. The records of a chain of CNAMEs count for the TTL.
fn records(answers: &[rr::Record]) -> Answer {
    let ttl = answers.iter().map(|record| record.ttl).min();
    let records: Vec<Record> = answers.iter().filter_map(|record| read(&record.data)).take(RECORDS).collect();
    let ttl = ttl.map(|seconds| Duration::from_secs(u64::from(seconds)));
    match (records.is_empty(), ttl) {
        (false, Some(ttl)) => Answer::Records { records, ttl },
        (_, ttl) => Answer::Nothing { ttl },
    }
}

fn read(data: &RData) -> Option<Record> {
    match data {
        RData::A(a) => Some(Record::Address(a.0.into())),
        RData::AAAA(aaaa) => Some(Record::Address(aaaa.0.into())),
        RData::SRV(srv) => Some(Record::Srv(Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_ascii().into(),
        })),
        RData::NAPTR(naptr) => Some(Record::Naptr(Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: naptr.flags.clone(),
            service: naptr.services.clone(),
            regexp: naptr.regexp.clone(),
            replacement: naptr.replacement.to_ascii().into(),
        })),
        _ => None,
    }
}

/// For trunks: no cache beside ours.
fn resolver(dns: &Dns) -> Result<TokioResolver, NetError> {
    build(dns, |options| options.cache_size = 0)
}

/// For the names of receivers: `/etc/hosts` is read, and so many answers are remembered, but not for longer than `life`.
pub(crate) fn of_receivers(dns: &Dns, cache: u64, life: Duration) -> Result<TokioResolver, NetError> {
    build(dns, |options| {
        options.cache_size = cache;
        options.positive_max_ttl = Some(life);
        options.negative_max_ttl = Some(life);
        options.use_hosts_file = ResolveHosts::Always;
    })
}

/// The library, as we want it: no search domains, two attempts within the time-out.
fn build(dns: &Dns, set: impl FnOnce(&mut ResolverOpts)) -> Result<TokioResolver, NetError> {
    let servers = if dns.servers.is_empty() {
        read_system_conf()?.0.name_servers().to_vec()
    } else {
        let server = |address: &std::net::SocketAddr| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        };
        dns.servers.iter().map(server).collect()
    };
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = dns.timeout / 2;
    options.attempts = 1;
    set(options);
    builder.build()
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}
