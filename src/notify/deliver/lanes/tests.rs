//! Hours of deliveries in simulated time: a queue as the database is one, receivers by script, and what must never happen.

use std::collections::{BTreeMap, HashSet};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// As the product wants it.
const RETRIES: [u32; 6] = [1, 4, 9, 106, 203, 300];
/// From the end of a message to the commit of what became of it.
const COMMIT: Duration = Duration::from_millis(50);

struct Row {
    lane: LaneId,
    session: u32,
    due: Duration,
    attempts: usize,
}

/// How a receiver answers: how long it takes, and what it says.
type Receiver = Box<dyn FnMut(Duration, &[Item]) -> (Duration, Verdict)>;

struct InFlight {
    until: Duration,
    lane: LaneId,
    rows: Vec<u64>,
    verdict: Verdict,
}

struct Sim {
    now: Duration,
    lanes: Lanes,
    limits: Limits,
    pending: BTreeMap<u64, Row>,
    receivers: BTreeMap<LaneId, Receiver>,
    in_flight: Vec<InFlight>,
    settling: Vec<InFlight>,
    /// When, by which lane, which rows: every message that was sent.
    sent: Vec<(Duration, LaneId, Vec<u64>)>,
    delivered: Vec<(Duration, LaneId, u64)>,
    given_up: Vec<u64>,
    rested: u32,
    sessions: BTreeMap<u64, u32>,
    fetches: usize,
}

fn lane(app: &str, channel: Channel) -> LaneId {
    LaneId { app: app.into(), channel }
}

fn good(latency: Duration) -> Receiver {
    Box::new(move |_, _| (latency, Verdict::Delivered))
}

fn bad(latency: Duration) -> Receiver {
    Box::new(move |_, _| (latency, Verdict::Failed))
}

fn rows_of(items: &[Item]) -> Vec<u64> {
    items.iter().flat_map(|item| &item.rows).map(|(row, _)| *row).collect()
}

/// The same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

impl Sim {
    fn new(window: usize, total: usize) -> Sim {
        let limits = Limits { window, total };
        Sim {
            now: Duration::ZERO,
            lanes: Lanes::new(limits),
            limits,
            pending: BTreeMap::new(),
            receivers: BTreeMap::new(),
            in_flight: Vec::new(),
            settling: Vec::new(),
            sent: Vec::new(),
            delivered: Vec::new(),
            given_up: Vec::new(),
            rested: 0,
            sessions: BTreeMap::new(),
            fetches: 0,
        }
    }

    fn resting(&self) -> usize {
        self.lanes.lanes.values().filter(|lane| !matches!(lane.breaker, Breaker::Closed { .. })).count()
    }

    fn post(&mut self, lane: &LaneId, session: u32) -> u64 {
        let row = self.sessions.len() as u64 + 1;
        self.pending.insert(row, Row { lane: lane.clone(), session, due: self.now, attempts: 0 });
        self.sessions.insert(row, session);
        self.lanes.on_news(lane);
        row
    }

    /// The first of each session, those that are due now and with nobody, and when the next one is.
    fn fetch(&mut self, lane: &LaneId, most: usize) -> (Vec<Item>, Option<Duration>) {
        self.fetches += 1;
        let mut seen = HashSet::new();
        let heads: Vec<(u64, Duration)> = self
            .pending
            .iter()
            .filter(|(_, row)| row.lane == *lane && seen.insert(row.session))
            .map(|(number, row)| (*number, row.due))
            .collect();
        let held = self.lanes.held(lane).unwrap();
        let settling: HashSet<u64> = self.settling.iter().flat_map(|one| one.rows.clone()).collect();
        let is_free = |row: &u64| !held.contains(row) && !settling.contains(row);
        let due = heads.iter().filter(|(row, due)| *due <= self.now && is_free(row)).take(most);
        let item = |number: u64| Item { rows: vec![(number, 0)], id: format!("id-{number}").into(), body: "{}".into() };
        (
            due.map(|(number, _)| item(*number)).collect(),
            heads.iter().map(|(_, due)| *due).filter(|due| *due > self.now).min(),
        )
    }

    fn run(&mut self, until: Duration) {
        loop {
            while let Some(order) = self.lanes.poll(self.now, true) {
                self.obey(order);
            }
            let next = self.in_flight.iter().chain(&self.settling).map(|one| one.until);
            let Some(next) = next.chain(self.lanes.due()).min().filter(|next| *next <= until) else { break };
            assert!(next > self.now, "it turns on the spot");
            self.now = next;
            self.end();
        }
        self.now = until;
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Fetch { lane, most } => {
                let (items, next) = self.fetch(&lane, most);
                assert!(items.len() <= most);
                self.lanes.on_fetched(&lane, most, items, next);
            }
            Order::Send { lane, items } => {
                let rows: Vec<u64> = rows_of(&items);
                let busy: HashSet<u64> =
                    self.in_flight.iter().chain(&self.settling).flat_map(|one| one.rows.clone()).collect();
                for row in &rows {
                    let session = self.pending[row].session;
                    let before = self.pending.range(..row).find(|(_, one)| one.lane == lane && one.session == session);
                    assert!(before.is_none(), "{row} goes before one of its own session");
                    assert!(!busy.contains(row), "{row} is sent twice at once");
                    assert!(self.pending[row].due <= self.now);
                }
                let (latency, verdict) = (self.receivers.get_mut(&lane).unwrap())(self.now, &items);
                self.sent.push((self.now, lane.clone(), rows.clone()));
                self.in_flight.push(InFlight {
                    until: self.now + latency.max(Duration::from_nanos(1)),
                    lane: lane.clone(),
                    rows,
                    verdict,
                });
                let of_lane = self.in_flight.iter().filter(|one| one.lane == lane).count();
                assert!(of_lane <= self.limits.window && self.in_flight.len() <= self.limits.total);
                assert_eq!(self.lanes.in_flight(), self.in_flight.len());
            }
        }
    }

    fn end(&mut self) {
        let now = self.now;
        let (settled, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.settling).into_iter().partition(|one| one.until <= now);
        self.settling = rest;
        let is_commit = !settled.is_empty();
        for InFlight { rows, verdict, until, .. } in settled {
            for row in &rows {
                self.settle(until - COMMIT, *row, verdict);
            }
        }
        if is_commit {
            let due = self.pending.values().filter(|row| row.due <= now);
            let due: BTreeSet<LaneId> = due.map(|row| row.lane.clone()).collect();
            due.iter().for_each(|lane| self.lanes.on_news(lane));
        }
        let (ended, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|one| one.until <= now);
        self.in_flight = rest;
        for one in ended {
            let failed = one.rows.iter().filter(|_| one.verdict == Verdict::Failed);
            let retry = failed.filter_map(|row| RETRIES.get(self.pending[row].attempts)).min();
            let retry = retry.map(|minutes| now + MINUTE * *minutes);
            if let Change::Rests(_) = self.lanes.on_sent(now, &one.lane, &one.rows, one.verdict, retry) {
                self.rested += 1;
            }
            if one.verdict != Verdict::Ours {
                self.settling.push(InFlight { until: now + COMMIT, ..one });
            }
        }
    }

    /// What was known `at` that time.
    fn settle(&mut self, at: Duration, number: u64, verdict: Verdict) {
        let row = self.pending.get_mut(&number).unwrap();
        if verdict == Verdict::Delivered {
            self.delivered.push((self.now, row.lane.clone(), number));
            self.pending.remove(&number);
        } else if let Some(minutes) = RETRIES.get(row.attempts) {
            row.attempts += 1;
            row.due = at + MINUTE * *minutes;
        } else {
            self.given_up.push(number);
            self.pending.remove(&number);
        }
    }

    fn assert_idle(&self) {
        assert_eq!((self.lanes.lanes.len(), self.lanes.timers.len(), self.lanes.in_flight()), (0, 0, 0));
    }
}

#[test]
fn what_is_posted_is_delivered_once_and_nothing_is_kept_of_it() {
    let mut sim = Sim::new(8, 100);
    let status = lane("a", Channel::Status);
    sim.receivers.insert(status.clone(), good(SECOND / 100));
    for session in 0..10_000 {
        sim.post(&status, session / 5);
    }
    sim.run(MINUTE * 10);
    assert_eq!((sim.delivered.len(), sim.sent.len(), sim.pending.len()), (10_000, 10_000, 0));
    sim.assert_idle();
}

#[test]
fn a_session_keeps_its_order_whatever_fails() {
    for seed in 1..=50 {
        let mut sim = Sim::new(8, 20);
        let lanes: Vec<LaneId> = ["a", "b", "c"].into_iter().map(|app| lane(app, Channel::Status)).collect();
        for (place, lane) in lanes.iter().enumerate() {
            let mut dice = Dice(seed * 7 + place as u64);
            let receiver: Receiver = Box::new(move |_, _| {
                let latency = SECOND / 1_000 * u32::try_from(1 + dice.roll(3_000)).unwrap();
                (latency, [Verdict::Delivered, Verdict::Failed, Verdict::Ours][[0, 0, 1, 2][dice.roll(4) as usize]])
            });
            sim.receivers.insert(lane.clone(), receiver);
        }
        let mut dice = Dice(seed);
        for step in 0..300_u32 {
            let place = dice.roll(3) as usize;
            let session = u32::try_from(dice.roll(20)).unwrap();
            sim.post(&lanes[place].clone(), session);
            if step % 10 == 0 {
                sim.run(sim.now + SECOND);
            }
        }
        sim.run(MINUTE * 60 * 24 * 7);
        assert_eq!(sim.delivered.len() + sim.given_up.len(), 300, "seed {seed}");
        for lane in &lanes {
            let mut last = BTreeMap::new();
            for (_, _, row) in sim.delivered.iter().filter(|(_, of, _)| of == lane) {
                assert!(last.insert(sim.sessions[row], *row).is_none_or(|before| before < *row), "seed {seed}: {row}");
            }
        }
        // What a lane remembers of its endpoint is all that may be left.
        assert!(sim.lanes.lanes.values().all(|lane| lane.held.is_empty() && lane.stock.is_empty()));
    }
}

#[test]
fn a_dead_endpoint_is_left_alone_and_nothing_that_waits_for_it_is_used_up() {
    let mut sim = Sim::new(8, 100);
    let dead = lane("dead", Channel::Status);
    sim.receivers.insert(dead.clone(), bad(SECOND * 10));
    for session in 0..10_000 {
        sim.post(&dead, session);
    }
    sim.run(MINUTE * 60);
    // One window, then probes after 10, 20, 40, 80, 160, 300 seconds and every five minutes and ten seconds.
    assert!(sim.sent.len() <= 8 + 5 + 12, "{}", sim.sent.len());
    assert!(sim.sent.len() >= 8 + 5 + 8, "{}", sim.sent.len());
    assert!(sim.given_up.is_empty());
    assert!(sim.fetches < 100, "{}", sim.fetches);
    assert_eq!(sim.resting(), 1);
    // It comes back, and gets everything without another attempt.
    sim.receivers.insert(dead.clone(), good(SECOND / 10));
    let before = sim.sent.len();
    sim.run(sim.now + MINUTE * 60 * 12);
    assert_eq!((sim.delivered.len(), sim.sent.len() - before), (10_000, 10_000));
    sim.assert_idle();
}

#[test]
fn dead_endpoints_cost_the_others_nothing() {
    let play = |dead: u32| {
        let mut sim = Sim::new(8, 512);
        for app in 0..dead {
            let lane = lane(&format!("dead-{app}"), Channel::Status);
            sim.receivers.insert(lane.clone(), bad(SECOND * 10));
            (0..100).for_each(|session| {
                sim.post(&lane, session);
            });
        }
        let fine = lane("fine", Channel::Status);
        sim.receivers.insert(fine.clone(), good(SECOND / 50));
        for session in 0..2_000 {
            sim.post(&fine, session);
            sim.run(sim.now + SECOND / 100);
        }
        sim.run(sim.now + MINUTE);
        sim.delivered.iter().filter(|(_, lane, _)| *lane == fine).map(|(at, ..)| *at).collect::<Vec<_>>()
    };
    let alone = play(0);
    assert_eq!(alone.len(), 2_000);
    // To the nanosecond.
    assert!(alone == play(1));
    assert!(alone == play(50));
}

#[test]
fn room_of_all_is_given_by_turns() {
    let mut sim = Sim::new(8, 4);
    let lanes: Vec<LaneId> = (0..10).map(|app| lane(&format!("app-{app}"), Channel::Status)).collect();
    for lane in &lanes {
        sim.receivers.insert(lane.clone(), good(SECOND));
        (0..50).for_each(|session| {
            sim.post(lane, session);
        });
    }
    sim.run(SECOND * 25);
    for lane in &lanes {
        let count = sim.sent.iter().filter(|(_, of, _)| of == lane).count();
        assert!((9..=12).contains(&count), "{lane:?}: {count}");
    }
}

#[test]
fn fees_are_merged_up_to_their_limit_and_what_keeps_its_order_is_not() {
    for (channel, count, least) in
        [(Channel::Fee, 50, 20), (Channel::Number, 1, 1_000), (Channel::Status, 1, 1_000), (Channel::Sms, 1, 1_000)]
    {
        let mut sim = Sim::new(2, 100);
        let lane = lane("a", channel);
        sim.receivers.insert(lane.clone(), good(SECOND / 10));
        for session in 0..1_000 {
            sim.post(&lane, session);
        }
        sim.run(MINUTE * 5);
        let most = sim.sent.iter().map(|(_, _, rows)| rows.len()).max();
        assert_eq!((most, sim.sent.len(), sim.delivered.len()), (Some(count), least, 1_000), "{channel:?}");
    }
}

#[test]
fn a_message_has_ids_that_fit_into_a_header_and_a_body_that_fits() {
    for (id, body, most) in [(999, 2, 4), (10, 100 * 1024, 2), (5_000, 2, 1), (10, 300 * 1024, 1)] {
        let mut lane = Lane::default();
        for row in 0..20 {
            lane.stock.push_back(Item {
                rows: vec![(row, 0)],
                id: "i".repeat(id).into(),
                body: "b".repeat(body).into(),
            });
        }
        let mut rows = Vec::new();
        while !lane.stock.is_empty() {
            let items = lane.merge(Channel::Fee);
            assert!((1..=most).contains(&items.len()), "{}", items.len());
            rows.extend(rows_of(&items));
        }
        assert_eq!(rows, (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_our_own_doing_is_counted_against_nobody() {
    let mut sim = Sim::new(8, 100);
    let status = lane("a", Channel::Status);
    sim.receivers.insert(
        status.clone(),
        Box::new(|now, _| (SECOND / 10, if now < SECOND * 30 { Verdict::Ours } else { Verdict::Delivered })),
    );
    let row = sim.post(&status, 1);
    sim.run(SECOND * 29);
    assert!((20..=30).contains(&sim.sent.len()), "{}", sim.sent.len());
    assert_eq!((sim.pending[&row].attempts, sim.rested), (0, 0));
    sim.run(SECOND * 40);
    assert_eq!(sim.delivered.len(), 1);
    sim.assert_idle();
}

#[test]
fn the_schedule_of_a_notice_is_that_of_the_product() {
    let mut sim = Sim::new(8, 100);
    let status = lane("a", Channel::Status);
    // It fails for this notice, and only for this: the endpoint never rests.
    sim.receivers.insert(
        status.clone(),
        Box::new(|_, items| (SECOND / 1_000, if rows_of(items) == [1] { Verdict::Failed } else { Verdict::Delivered })),
    );
    sim.post(&status, 1);
    for session in 2..40 {
        sim.post(&status, session);
        sim.run(sim.now + MINUTE * 30);
    }
    let times: Vec<u64> =
        sim.sent.iter().filter(|(_, _, rows)| rows == &[1]).map(|(at, _, _)| at.as_secs() / 60).collect();
    assert_eq!(times, [0, 1, 5, 14, 120, 323, 623]);
    assert_eq!(sim.given_up, [1]);
}

#[test]
fn an_endpoint_that_has_moved_is_tried_at_once() {
    let mut sim = Sim::new(1, 100);
    let status = lane("a", Channel::Status);
    sim.receivers.insert(status.clone(), bad(SECOND));
    (0..20).for_each(|session| {
        sim.post(&status, session);
    });
    sim.run(SECOND * 6);
    assert_eq!(sim.resting(), 1);
    sim.receivers.insert(status.clone(), good(SECOND / 10));
    sim.lanes.on_moved(sim.now, &status);
    sim.run(sim.now + SECOND * 5);
    assert_eq!((sim.delivered.len(), sim.resting()), (15, 0));
}

#[test]
fn nothing_is_sent_while_the_disk_does_not_know_of_what_was() {
    let mut sim = Sim::new(8, 100);
    let status = lane("a", Channel::Status);
    sim.receivers.insert(status.clone(), good(SECOND / 100));
    sim.post(&status, 1);
    assert_eq!(sim.lanes.poll(sim.now, false), None);
    assert_eq!(sim.lanes.poll(sim.now, false), None);
    sim.run(SECOND);
    assert_eq!(sim.delivered.len(), 1);
    sim.assert_idle();
}

#[test]
fn a_queue_that_cannot_be_read_is_read_again_later() {
    let status = lane("a", Channel::Status);
    let mut lanes = Lanes::new(Limits { window: 1, total: 1 });
    lanes.on_news(&status);
    assert!(matches!(lanes.poll(Duration::ZERO, true), Some(Order::Fetch { .. })));
    assert_eq!(lanes.poll(Duration::ZERO, true), None);
    lanes.on_fetch_failed(Duration::ZERO, &status);
    assert_eq!((lanes.poll(Duration::ZERO, true), lanes.due()), (None, Some(BREATH)));
    assert!(matches!(lanes.poll(BREATH, true), Some(Order::Fetch { .. })));
}
