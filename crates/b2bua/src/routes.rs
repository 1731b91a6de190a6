//! Where a trunk takes our calls, which of these places are alive, and in which order a call tries them (RFC 2782, RFC 3263
//! §4.3).
//!
//! ```text
//!            503 with Retry-After                      INVITE unheard, probes unanswered
//!     Busy ◀───────────────────── Up ───────────────────────────────────────────────▶ Down
//!      └──────── time ────────────▶▲◀── any other response: to a probe, to a call on trial ──┘
//! ```
//!
//! A route that is not up is not tried while another one is; when none is up, all are, since a call that tries costs nothing
//! that the call has not lost already.
//!
//! **Probes** are OPTIONS requests (RFC 3261 §11), where the operator wants them: while a route is up, every `probe_every`;
//! while it is down, with growing pauses. [`LOST_PROBES`] in a row without an answer, or with 503, take it out: each of them
//! has been sent four times by then (see [`Routes::new`]), so that eight packets must have been lost before a route that lives
//! is taken for dead, and one that is dead is known within 16 · T1, 8 s. Any other response says that somebody is there,
//! whatever he thinks of OPTIONS.
//!
//! **Without probes** one call in a while is the probe: a route that is down comes first again, for one call, after 30 s, then
//! after 60 s, up to 5 min. No text message is one: it is not sent again after silence.
//!
//! An INVITE that got no response at all, or could not be sent, takes its route out at once: timer B means seven packets and
//! 32 s.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sip::deadlines::Deadlines;
use sip::locate::{Host, Located, Target};
use sip::token::Tokens;
use sip::transaction::Transport;
use slab::Slab;

mod addresses;

use addresses::Addresses;

/// Routes of one trunk; more are left out and counted.
pub const MAX_ROUTES: usize = 64;
/// Routes that one call tries.
pub const MAX_ATTEMPTS: usize = 8;
/// Probes in a row without an answer that take a route out.
pub const LOST_PROBES: u8 = 2;
/// The longest pause between two probes of a route that is down, where `probe_every` is not longer.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How long a route that is not probed is down for the first time.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest that a peer's Retry-After is believed.
const LONGEST_BUSY: Duration = Duration::from_secs(600);
/// First probes begin within this time, so that hundreds of them do not leave at once.
const SPREAD: Duration = Duration::from_secs(5);
/// A place that takes a trunk's calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// How.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// Lower first.
    pub priority: u32,
    /// Share of the calls, among routes of the same priority.
    pub weight: u32,
    /// The target's host as the operator named it: what a certificate must show, and the label in metrics.
    pub host: Host,
    /// The target's port as the operator named it.
    pub port: Option<u16>,
}

/// A route's name; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RouteId {
    index: u32,
    generation: u32,
}

/// A route that a call shall try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// For what is to be told of it.
    pub id: RouteId,
    /// Where it leads.
    pub route: Route,
}

/// An OPTIONS that is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// For what comes of it.
    pub id: RouteId,
    /// Whose route it is.
    pub trunk: Arc<str>,
    /// Where it goes.
    pub route: Route,
}

/// A route was taken out, or has returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Of this trunk.
    pub trunk: Arc<str>,
    /// The target's host.
    pub host: Arc<str>,
    /// How it is reached.
    pub transport: Transport,
    /// Where it is.
    pub address: SocketAddr,
    /// How it is now.
    pub state: RouteState,
}

/// Whether calls go by a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RouteState {
    /// They do.
    Up,
    /// It said 503 and when to come again.
    Busy,
    /// It does not answer.
    Down,
}

impl RouteState {
    /// Every one, in the order of [`RouteGauge::routes`].
    pub const ALL: [RouteState; 3] = [RouteState::Up, RouteState::Busy, RouteState::Down];

    /// A word for logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            RouteState::Up => "up",
            RouteState::Busy => "busy",
            RouteState::Down => "down",
        }
    }
}

/// How many routes a target of a trunk has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteGauge {
    /// The trunk.
    pub trunk: Arc<str>,
    /// The target's host as the operator named it.
    pub host: Arc<str>,
    /// By [`RouteState::ALL`].
    pub routes: [u32; RouteState::ALL.len()],
}

/// What has been counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RouteCounters {
    /// OPTIONS sent.
    pub probes: u64,
    /// OPTIONS without an answer, or with 503.
    pub probes_lost: u64,
    /// Routes taken out because nobody answered.
    pub taken_out: u64,
    /// Routes that answered again.
    pub returned: u64,
    /// 503 with Retry-After.
    pub busy: u64,
    /// Routes beyond [`MAX_ROUTES`].
    pub left_out: u64,
}

/// The routes of every trunk.
#[derive(Debug)]
pub struct Routes {
    trunks: HashMap<Arc<str>, TrunkRoutes>,
    entries: Slab<Entry>,
    addresses: Addresses,
    deadlines: Deadlines<RouteId>,
    changes: VecDeque<Change>,
    counters: RouteCounters,
    tokens: Tokens,
    patience: Duration,
    next_generation: u32,
}

#[derive(Debug, Default)]
struct TrunkRoutes {
    probe_every: Duration,
    /// Places in [`Routes::entries`], by priority.
    routes: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    trunk: Arc<str>,
    label: Arc<str>,
    route: Route,
    health: Health,
    probing: Probing,
}

#[derive(Clone, Copy, Debug)]
enum Health {
    Up,
    Busy {
        until: Duration,
    },
    Down {
        /// Until the next attempt; grows.
        pause: Duration,
        /// Without probes: a call may try it again.
        trial_at: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
enum Probing {
    Off,
    Waiting { at: Duration, lost: u8 },
    Sent { give_up: Duration, lost: u8 },
}

impl Route {
    /// The routes of the target at this place of its trunk's list: earlier places first, then as the DNS says.
    #[must_use]
    pub fn of_target(place: usize, target: &Target, located: &[Located]) -> Vec<Route> {
        let place = u32::try_from(place).unwrap_or(u32::MAX).min(u32::MAX >> 16) << 16;
        let route = |server: &Located| Route {
            transport: server.transport,
            address: server.address,
            priority: place | u32::from(server.priority),
            weight: server.weight,
            host: target.host.clone(),
            port: target.port,
        };
        located.iter().map(route).collect()
    }

    /// Whether a URI that names this host and port leads here: by address, or as the operator named it.
    #[must_use]
    pub fn is_at(&self, host: &str, port: Option<u16>) -> bool {
        let by_address = host.parse() == Ok(self.address.ip())
            && port.unwrap_or(self.transport.default_port()) == self.address.port();
        let by_name = match &self.host {
            Host::Name(name) => name.eq_ignore_ascii_case(host) && port == self.port,
            Host::Address(_) => false,
        };
        by_address || by_name
    }

    /// What stands in a URI for the peer: the target's host, with its port where it has one.
    #[must_use]
    pub fn host_port(&self) -> String {
        Target { host: self.host.clone(), port: self.port, transport: None }.host_port()
    }
}

impl Routes {
    /// No routes yet. `patience` is how long the answer to a probe is waited for: 8 · T1, so that over UDP it has been sent at
    /// 0, 1, 3 and 7 · T1. `seed` decides which of equal routes come first, and when probes begin.
    #[must_use]
    pub fn new(seed: u64, patience: Duration) -> Routes {
        Routes {
            trunks: HashMap::new(),
            entries: Slab::new(),
            addresses: Addresses::default(),
            deadlines: Deadlines::default(),
            changes: VecDeque::new(),
            counters: RouteCounters::default(),
            tokens: Tokens::new(seed),
            patience,
            next_generation: 0,
        }
    }

    /// These are the routes of a trunk from now on. Those that it had already keep their health. `probe_every` of zero: they
    /// are not probed.
    pub fn set(&mut self, now: Duration, trunk: &Arc<str>, probe_every: Duration, routes: Vec<Route>) {
        let mut state = self.trunks.remove(trunk).unwrap_or_default();
        let mut before = std::mem::take(&mut state.routes);
        state.probe_every = probe_every;
        for route in routes {
            let is_it = |place: &usize| {
                let known = &self.entries[*place].route;
                known.address == route.address && known.transport == route.transport
            };
            if state.routes.iter().any(is_it) {
                continue;
            }
            if state.routes.len() == MAX_ROUTES {
                self.counters.left_out += 1;
                continue;
            }
            let place = match before.iter().position(is_it) {
                Some(kept) => {
                    let place = before.swap_remove(kept);
                    let entry = &mut self.entries[place];
                    entry.label = label(&route, &entry.label);
                    entry.route = route;
                    place
                }
                None => self.add(trunk, route),
            };
            self.begin_probing(now, place, probe_every);
            state.routes.push(place);
        }
        for place in before {
            self.entries.remove(place);
        }
        state.routes.sort_by_key(|place| self.entries[*place].route.priority);
        let current: Vec<IpAddr> = state.routes.iter().map(|place| self.entries[*place].route.address.ip()).collect();
        self.addresses.set(now, trunk, &current);
        self.trunks.insert(Arc::clone(trunk), state);
    }

    /// Forgets the routes of every trunk but these.
    pub fn retain(&mut self, now: Duration, is_known: impl Fn(&str) -> bool) {
        let gone: Vec<Arc<str>> = self.trunks.keys().filter(|trunk| !is_known(trunk)).cloned().collect();
        for trunk in gone {
            self.set(now, &trunk, Duration::ZERO, Vec::new());
            self.trunks.remove(&trunk);
            self.addresses.forget(&trunk);
        }
    }

    /// The routes of a trunk, by priority.
    #[must_use]
    pub fn of(&self, trunk: &str) -> Vec<Route> {
        let places = self.trunks.get(trunk).map_or(&[][..], |state| &state.routes);
        places.iter().map(|place| self.entries[*place].route.clone()).collect()
    }

    fn add(&mut self, trunk: &Arc<str>, route: Route) -> usize {
        self.next_generation = self.next_generation.wrapping_add(1);
        self.entries.insert(Entry {
            generation: self.next_generation,
            trunk: Arc::clone(trunk),
            label: label(&route, ""),
            route,
            health: Health::Up,
            probing: Probing::Off,
        })
    }

    fn begin_probing(&mut self, now: Duration, place: usize, every: Duration) {
        let id = self.id(place);
        let probing = match (self.entries[place].probing, every.is_zero()) {
            (_, true) => Probing::Off,
            (Probing::Off, false) => {
                let spread = u64::try_from(every.min(SPREAD).as_millis()).unwrap_or(u64::MAX).max(1);
                let at = now + Duration::from_millis(self.tokens.draw() % spread);
                self.deadlines.push(at, id);
                Probing::Waiting { at, lost: 0 }
            }
            (Probing::Waiting { at, lost }, false) if at > now + every => {
                self.deadlines.push(now + every, id);
                Probing::Waiting { at: now + every, lost }
            }
            (kept @ (Probing::Waiting { .. } | Probing::Sent { .. }), false) => kept,
        };
        self.entries[place].probing = probing;
    }

    /// The trunk that an address is a route of, or was within the last day: what comes from there belongs to calls that went
    /// there. Where two trunks share it, the one that had it first.
    #[must_use]
    pub fn trunk_of_address(&self, now: Duration, ip: IpAddr) -> Option<&Arc<str>> {
        self.addresses.owner(now, ip)
    }

    // ---- calls ------------------------------------------------------------------------------------------------

    /// The routes that a new call to the trunk shall try, in this order; none where the trunk has none.
    pub fn order(&mut self, now: Duration, trunk: &str) -> Vec<Candidate> {
        self.order_of(now, trunk, true)
    }

    /// The same for what does not go on to another route after silence, and so is no trial.
    pub fn order_without_trials(&mut self, now: Duration, trunk: &str) -> Vec<Candidate> {
        self.order_of(now, trunk, false)
    }

    fn order_of(&mut self, now: Duration, trunk: &str, has_trials: bool) -> Vec<Candidate> {
        let Some(state) = self.trunks.get(trunk) else { return Vec::new() };
        let is_up = |place: &&usize| self.entries[**place].is_up(now);
        let is_on_trial = |place: &&usize| has_trials && self.entries[**place].is_on_trial(now);
        let mut usable: Vec<usize> = if state.routes.iter().any(|place| is_up(&place)) {
            state.routes.iter().filter(|place| is_up(place) || is_on_trial(place)).copied().collect()
        } else {
            state.routes.clone()
        };
        let mut ordered = Vec::with_capacity(usable.len().min(MAX_ATTEMPTS));
        while let Some(first) = usable.first().filter(|_| ordered.len() < MAX_ATTEMPTS) {
            let priority = self.entries[*first].route.priority;
            let equal = usable.iter().take_while(|place| self.entries[**place].route.priority == priority).count();
            let chosen = self.choose(&usable[..equal]);
            ordered.push(usable.remove(chosen));
        }
        let candidate = |place: usize| Candidate { id: self.id(place), route: self.entries[place].route.clone() };
        ordered.into_iter().map(candidate).collect()
    }

    /// A call goes there. If that is a trial, others do not wait for this call's time-out, and the next one that tries does so
    /// later.
    pub fn on_call(&mut self, now: Duration, id: RouteId) {
        if let Some(place) = self.entry(id)
            && self.entries[place].is_on_trial(now)
        {
            self.entries[place].lengthen(now);
        }
    }

    /// RFC 2782: one of equal priority, by weight. A place in the list.
    fn choose(&mut self, equal: &[usize]) -> usize {
        if equal.len() == 1 {
            return 0;
        }
        let weight = |place: &usize| u64::from(self.entries[*place].route.weight);
        let sum: u64 = equal.iter().map(weight).sum();
        let drawn = self.tokens.draw();
        if sum == 0 {
            return usize::try_from(drawn % equal.len() as u64).expect("below a length");
        }
        // Those without weight stand first, so that they have the one chance in sum + 1 that the RFC leaves them together.
        let weight = |place: &usize| u64::from(self.entries[*place].route.weight);
        let mut drawn = drawn % (sum + 1);
        let mut light = equal.iter().enumerate().filter(|(_, place)| weight(place) == 0);
        if drawn == 0
            && let Some((place, _)) = light.next()
        {
            return place;
        }
        drawn = drawn.max(1);
        for (place, entry) in equal.iter().enumerate() {
            let weight = weight(entry);
            if drawn <= weight {
                return place;
            }
            drawn -= weight;
        }
        equal.len() - 1
    }

    /// A call's INVITE got no response, or could not be sent.
    pub fn on_unreachable(&mut self, now: Duration, id: RouteId) {
        let Some(place) = self.entry(id) else { return };
        match self.entries[place].health {
            Health::Up | Health::Busy { .. } => self.take_out(now, id, place),
            // Many calls may have been on their way to it: what they find is no news.
            Health::Down { .. } => {}
        }
    }

    /// A 503 said when to come again (RFC 3261 §21.5.4). Without Retry-After it means this one request only, and is not told
    /// here.
    pub fn on_overloaded(&mut self, now: Duration, id: RouteId, retry_after: Duration) {
        let Some(place) = self.entry(id) else { return };
        let was_busy = match self.entries[place].health {
            // One that is overloaded says so to many calls at once; its first word stands.
            Health::Busy { until } if now < until => return,
            Health::Busy { .. } => true,
            Health::Up | Health::Down { .. } => false,
        };
        if retry_after.is_zero() {
            return;
        }
        let until = now + retry_after.min(LONGEST_BUSY);
        self.counters.busy += 1;
        self.entries[place].health = Health::Busy { until };
        self.deadlines.push(until, id);
        if !was_busy {
            self.tell(place, RouteState::Busy);
        }
    }

    /// A response came, other than 503.
    pub fn on_alive(&mut self, now: Duration, id: RouteId) {
        let Some(place) = self.entry(id) else { return };
        let entry = &mut self.entries[place];
        match entry.health {
            Health::Up => {}
            // It lives, and does not want calls: that is what it said.
            Health::Busy { until } if now < until => {}
            Health::Busy { .. } | Health::Down { .. } => {
                entry.health = Health::Up;
                self.counters.returned += 1;
                self.tell(place, RouteState::Up);
                let every = self.probe_every(id);
                self.wait(id, now + every, 0);
            }
        }
    }

    // ---- probes -----------------------------------------------------------------------------------------------

    /// When [`Routes::poll_probe`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.deadlines.next()
    }

    /// The next probe to send, until `None`. Also notices that probes have not been answered and that times are over.
    pub fn poll_probe(&mut self, now: Duration) -> Option<Probe> {
        while let Some((_, id)) = self.deadlines.pop_due(now) {
            let Some(place) = self.entry(id) else { continue };
            let entry = &mut self.entries[place];
            if let Health::Busy { until } = entry.health
                && until <= now
            {
                entry.health = Health::Up;
                self.counters.returned += 1;
                self.tell(place, RouteState::Up);
            }
            let entry = &mut self.entries[place];
            match entry.probing {
                Probing::Waiting { at, lost } if at <= now => {
                    let give_up = now + self.patience;
                    entry.probing = Probing::Sent { give_up, lost };
                    let (trunk, route) = (Arc::clone(&entry.trunk), entry.route.clone());
                    self.deadlines.push(give_up, id);
                    self.counters.probes += 1;
                    return Some(Probe { id, trunk, route });
                }
                Probing::Sent { give_up, .. } if give_up <= now => self.on_probe_lost(now, id),
                Probing::Off | Probing::Waiting { .. } | Probing::Sent { .. } => {}
            }
        }
        None
    }

    /// A final response to a probe, however late.
    pub fn on_probe_answered(&mut self, now: Duration, id: RouteId, status: u16, retry_after: Option<Duration>) {
        let Some(place) = self.entry(id) else { return };
        if status == 503 {
            if let Some(retry_after) = retry_after {
                self.on_overloaded(now, id, retry_after);
            }
            self.on_probe_lost(now, id);
            return;
        }
        if let Probing::Sent { .. } = self.entries[place].probing {
            let every = self.probe_every(id);
            self.wait(id, now + every, 0);
        }
        self.on_alive(now, id);
    }

    /// A probe has no answer, could not be sent, or was answered 503. What is told later of one that has been given up counts
    /// once.
    pub fn on_probe_lost(&mut self, now: Duration, id: RouteId) {
        let Some(place) = self.entry(id) else { return };
        let Probing::Sent { lost, .. } = self.entries[place].probing else { return };
        self.counters.probes_lost += 1;
        let every = self.probe_every(id);
        let lost = lost.saturating_add(1);
        match self.entries[place].health {
            // One packet's loss is checked at once.
            Health::Up if lost < LOST_PROBES => self.wait(id, now, lost),
            Health::Up => self.take_out(now, id, place),
            Health::Down { .. } => {
                let pause = self.entries[place].lengthen(now);
                self.wait(id, now + pause, 0);
            }
            // It said when: asking more often tells nothing.
            Health::Busy { until } => self.wait(id, until.max(now + every), 0),
        }
    }

    // ---- what is seen of it -----------------------------------------------------------------------------------

    /// The next route that was taken out or returned.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// What has been counted.
    #[must_use]
    pub fn counters(&self) -> RouteCounters {
        self.counters
    }

    /// How many routes each target of a trunk has, in the order of its targets.
    #[must_use]
    pub fn gauges(&self, trunk: &Arc<str>) -> Vec<RouteGauge> {
        let mut gauges: Vec<RouteGauge> = Vec::new();
        for place in self.trunks.get(trunk).map_or(&[][..], |state| &state.routes) {
            let entry = &self.entries[*place];
            let state = entry.state() as usize;
            match gauges.iter_mut().find(|gauge| gauge.host == entry.label) {
                Some(gauge) => gauge.routes[state] += 1,
                None => {
                    let mut routes = [0; RouteState::ALL.len()];
                    routes[state] = 1;
                    gauges.push(RouteGauge { trunk: Arc::clone(trunk), host: Arc::clone(&entry.label), routes });
                }
            }
        }
        gauges
    }

    // ---- inside -----------------------------------------------------------------------------------------------

    /// Down, from up.
    fn take_out(&mut self, now: Duration, id: RouteId, place: usize) {
        let every = self.probe_every(id);
        let pause = if every.is_zero() { FIRST_PAUSE } else { every };
        self.entries[place].health = Health::Down { pause, trial_at: now + pause };
        self.counters.taken_out += 1;
        self.tell(place, RouteState::Down);
        // The pause until the next probe begins now, whatever was planned.
        self.wait(id, now + pause, 0);
    }

    /// The next probe is due then, where there are any.
    fn wait(&mut self, id: RouteId, at: Duration, lost: u8) {
        let Some(place) = self.entry(id) else { return };
        match &mut self.entries[place].probing {
            Probing::Off => {}
            probing @ (Probing::Waiting { .. } | Probing::Sent { .. }) => {
                *probing = Probing::Waiting { at, lost };
                self.deadlines.push(at, id);
            }
        }
    }

    fn tell(&mut self, place: usize, state: RouteState) {
        let entry = &self.entries[place];
        self.changes.push_back(Change {
            trunk: Arc::clone(&entry.trunk),
            host: Arc::clone(&entry.label),
            transport: entry.route.transport,
            address: entry.route.address,
            state,
        });
    }

    fn probe_every(&self, id: RouteId) -> Duration {
        let entry = self.entry(id).map(|place| &self.entries[place]);
        entry.and_then(|entry| self.trunks.get(&entry.trunk)).map_or(Duration::ZERO, |state| state.probe_every)
    }

    fn id(&self, place: usize) -> RouteId {
        let index = u32::try_from(place).expect("a thousand trunks of 64 routes");
        RouteId { index, generation: self.entries[place].generation }
    }

    fn entry(&self, id: RouteId) -> Option<usize> {
        let place = id.index as usize;
        self.entries.get(place).filter(|entry| entry.generation == id.generation).map(|_| place)
    }
}

impl Entry {
    fn state(&self) -> RouteState {
        match self.health {
            Health::Up => RouteState::Up,
            Health::Busy { .. } => RouteState::Busy,
            Health::Down { .. } => RouteState::Down,
        }
    }

    fn is_up(&self, now: Duration) -> bool {
        match self.health {
            Health::Up => true,
            Health::Busy { until } => until <= now,
            Health::Down { .. } => false,
        }
    }

    /// One call may find out whether it is back.
    fn is_on_trial(&self, now: Duration) -> bool {
        match (self.health, self.probing) {
            (Health::Down { trial_at, .. }, Probing::Off) => trial_at <= now,
            (Health::Up | Health::Busy { .. } | Health::Down { .. }, _) => false,
        }
    }

    /// Down for longer than before; returns the pause.
    fn lengthen(&mut self, now: Duration) -> Duration {
        match &mut self.health {
            Health::Down { pause, trial_at } => {
                *pause = (*pause * 2).min(LONGEST_PAUSE.max(*pause));
                *trial_at = now + *pause;
                *pause
            }
            Health::Up | Health::Busy { .. } => Duration::ZERO,
        }
    }
}

/// A route's label, which mostly stays.
fn label(route: &Route, known: &str) -> Arc<str> {
    match &route.host {
        Host::Name(name) => Arc::clone(name),
        Host::Address(ip) => {
            let text = ip.to_string();
            if text == known { Arc::from(known) } else { Arc::from(text) }
        }
    }
}

#[cfg(test)]
mod tests;
