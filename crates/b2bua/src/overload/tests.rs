use super::*;

const A: TrunkId = TrunkId(0);
const B: TrunkId = TrunkId(1);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn us(microseconds: u64) -> Duration {
    Duration::from_micros(microseconds)
}

/// A server that serves a call in one time and refuses one in another, and is offered calls at even intervals by each trunk.
struct Model {
    room: Room<(TrunkId, Duration)>,
    serving: Duration,
    refusing: Duration,
    /// By trunk: the interval, and how long.
    offers: Vec<(TrunkId, Duration, Duration)>,
}

#[derive(Default)]
struct Seen {
    /// By trunk: how long each that was served had waited, and each that was refused.
    served: HashMap<TrunkId, Vec<Duration>>,
    refused: HashMap<TrunkId, Vec<Duration>>,
    changes: Vec<(Duration, Change)>,
}

impl Seen {
    fn served(&self, trunk: TrunkId) -> &[Duration] {
        self.served.get(&trunk).map_or(&[], Vec::as_slice)
    }

    fn refused(&self, trunk: TrunkId) -> &[Duration] {
        self.refused.get(&trunk).map_or(&[], Vec::as_slice)
    }
}

impl Model {
    fn new(serving: Duration, refusing: Duration) -> Model {
        Model { room: Room::default(), serving, refusing, offers: Vec::new() }
    }

    fn offer(mut self, trunk: TrunkId, every: Duration, count: u32) -> Model {
        self.offers.push((trunk, every, every * count));
        self
    }

    fn run(mut self, until: Duration) -> Seen {
        let mut seen = Seen::default();
        let mut now = Duration::ZERO;
        let mut next = vec![Duration::ZERO; self.offers.len()];
        while now < until {
            for (next, (trunk, every, ends)) in next.iter_mut().zip(&self.offers) {
                while *next <= now && *next < *ends {
                    // What came while the server was at work waits from then on, as it does in a socket's buffer.
                    if self.room.enter(now, *next, *trunk, 700, (*trunk, *next)).is_err() {
                        seen.refused.entry(*trunk).or_default().push(now - *next);
                        now += self.refusing;
                    }
                    *next += *every;
                }
            }
            self.room.on_time(now);
            now += match self.room.next(now) {
                None => us(50),
                Some(Turn::Serve((trunk, since))) => {
                    seen.served.entry(trunk).or_default().push(now - since);
                    self.serving
                }
                Some(Turn::Refuse((trunk, since))) => {
                    seen.refused.entry(trunk).or_default().push(now - since);
                    self.refusing
                }
            };
            seen.changes.extend(self.room.poll_change().map(|change| (now, change)));
        }
        assert_eq!((self.room.len(), self.room.bytes), (0, 0), "nobody is left waiting");
        seen
    }
}

#[test]
fn below_what_can_be_served_nobody_is_refused() {
    let seen = Model::new(us(200), us(10)).offer(A, us(220), 45_000).run(Duration::from_secs(20));
    assert_eq!((seen.served(A).len(), seen.refused(A).len()), (45_000, 0));
    assert_eq!(seen.changes, []);
}

#[test]
fn a_burst_is_served_whole() {
    // Four hundred at once, which take 80 ms.
    let seen = Model::new(us(200), us(10)).offer(A, Duration::from_nanos(1), 400).run(Duration::from_secs(1));
    assert_eq!((seen.served(A).len(), seen.refused(A).len()), (400, 0));
    assert_eq!(seen.changes, []);
}

#[test]
fn what_is_offered_beyond_does_not_lessen_what_is_served() {
    for (factor, least) in [(2, 0.94), (3, 0.89), (6, 0.73)] {
        let offered = Duration::from_secs(20);
        let (every, count) = (us(200) / factor, 5_000 * 20 * factor);
        let seen = Model::new(us(200), us(10)).offer(A, every, count).run(Duration::from_secs(40));
        let possible = 5_000.0 * offered.as_secs_f64();
        let part = seen.served(A).len() as f64 / possible;
        assert!(part >= least, "{factor} times as many: {part}");
        assert_eq!(seen.served(A).len() + seen.refused(A).len(), count as usize, "everybody is told something");
        // Those who are served have been told so well before they would repeat themselves; so are the others.
        assert!(seen.served(A).iter().all(|waited| *waited < CALM));
        assert!(seen.refused(A).iter().all(|waited| *waited < CALM * 2), "{:?}", seen.refused(A).iter().max());
        let later = &seen.served(A)[seen.served(A).len() / 2..];
        assert!(later.iter().all(|waited| *waited < OVERLOADED), "while it lasts nobody waits as long as in calm");
        // Once it begins and once it ends: it does not flap.
        let [(began, Change::Began), (ended, Change::Ended { refused, .. })] = seen.changes[..] else {
            panic!("{:?}", seen.changes)
        };
        assert!(began < ms(500) && ended >= offered + OVER_AFTER - ms(100) && ended < offered + OVER_AFTER + ms(500));
        assert_eq!(refused as usize, seen.refused(A).len());
    }
}

#[test]
fn a_trunk_that_floods_leaves_the_others_their_share() {
    let seen = Model::new(us(200), us(10))
        .offer(A, us(20), 500_000) // ten times what can be served
        .offer(B, us(1_000), 10_000) // a fifth of it: less than half of what refusing the flood leaves
        .run(Duration::from_secs(30));
    assert_eq!((seen.served(B).len(), seen.refused(B).len()), (10_000, 0));
    assert!(seen.served(B).iter().all(|waited| *waited < ms(15)), "{:?}", seen.served(B).iter().max());
    assert!(seen.refused(A).len() > 400_000);
    assert!(!seen.served(A).is_empty());
}

#[test]
fn a_lane_the_room_and_its_bytes_have_limits_and_reaching_one_is_overload() {
    let mut room = Room::default();
    for call in 0..LANE {
        room.enter(ms(0), ms(0), A, 700, call).unwrap();
    }
    assert!(!room.is_overloaded());
    assert_eq!(room.enter(ms(0), ms(0), A, 700, LANE), Err(LANE));
    assert!(room.is_overloaded());
    assert_eq!(room.poll_change(), Some(Change::Began));

    let mut room = Room::default();
    for trunk in 0..(ROOM / LANE) as u16 {
        for call in 0..LANE {
            room.enter(ms(0), ms(0), TrunkId(trunk), 700, call).unwrap();
        }
    }
    assert_eq!(room.len(), ROOM);
    assert_eq!(
        room.enter(ms(0), ms(0), TrunkId(9), 700, 1),
        Err(1),
        "another trunk's lane is empty, but the room is full"
    );

    let mut room = Room::default();
    for call in 0..BYTES / 65_000 {
        room.enter(ms(0), ms(0), A, 65_000, call).unwrap();
    }
    assert_eq!(room.enter(ms(0), ms(0), B, 65_000, 7), Err(7));
}

#[test]
fn while_the_overload_lasts_nearly_everybody_who_is_refused_is_refused_on_arrival() {
    let seen = Model::new(us(200), us(10)).offer(A, us(100), 100_000).run(Duration::from_secs(20));
    let at_once = seen.refused(A).iter().filter(|waited| **waited < ms(1)).count();
    assert!(at_once * 100 > seen.refused(A).len() * 90, "{at_once} of {}", seen.refused(A).len());
}

#[test]
fn lanes_take_turns_and_each_keeps_its_order() {
    let mut room = Room::default();
    for call in [1, 2, 3] {
        room.enter(ms(0), ms(0), A, 700, call).unwrap();
    }
    room.enter(ms(1), ms(1), B, 700, 11).unwrap();
    room.enter(ms(1), ms(1), B, 700, 12).unwrap();
    let order: Vec<_> = std::iter::from_fn(|| room.next(ms(2))).collect();
    assert_eq!(order, [1, 11, 2, 12, 3].map(Turn::Serve));
}

#[test]
fn one_that_is_taken_out_of_turn_is_gone_and_an_empty_lane_has_no_turn() {
    let mut room = Room::default();
    for (trunk, call) in [(A, 1), (A, 2), (B, 3)] {
        room.enter(ms(0), ms(0), trunk, 700, call).unwrap();
    }
    assert_eq!(room.take(B, |call| *call == 1), None, "it waits in another lane");
    assert_eq!(room.take(B, |call| *call == 3), Some(3));
    assert_eq!(room.take(A, |call| *call == 2), Some(2));
    assert_eq!((room.len(), room.bytes), (1, 700));
    assert_eq!(room.next(ms(0)), Some(Turn::Serve(1)));
    assert_eq!(room.next(ms(0)), None);
    room.enter(ms(0), ms(0), B, 700, 4).unwrap();
    assert_eq!(room.next(ms(0)), Some(Turn::Serve(4)));
}

#[test]
fn the_overload_ends_by_time_alone() {
    let mut room = Room::default();
    room.enter(ms(0), ms(0), A, 700, 1).unwrap();
    assert_eq!(room.next(CALM), Some(Turn::Refuse(1)));
    let at = room.deadline().unwrap();
    assert_eq!(at, CALM + OVER_AFTER);
    room.on_time(at - ms(1));
    assert!(room.is_overloaded());
    room.on_time(at);
    assert!(!room.is_overloaded() && room.deadline().is_none());
    assert_eq!(room.poll_change(), Some(Change::Ended { lasted: Duration::ZERO, refused: 1 }));
    assert_eq!(room.poll_change(), None);
}

#[test]
fn a_refusal_is_remembered_as_long_as_the_invite_may_come_again_and_not_for_ever() {
    for start in [0, 1, 31, 32, 33, 1_000].map(Duration::from_secs) {
        let mut refused = Refused::default();
        refused.remember(start, 7);
        assert!(!refused.knows(start, 8));
        for step in 0..=32 {
            assert!(refused.knows(start + Duration::from_secs(step), 7), "{step} s after {start:?}");
        }
        assert!(!refused.knows(start + REMEMBERED * 2, 7));
        // The same when nobody asks in between.
        let mut refused = Refused::default();
        refused.remember(start, 9);
        assert!(refused.knows(start + REMEMBERED, 9));
        assert!(!refused.knows(start + REMEMBERED * 3, 9));
    }
}

#[test]
fn the_memory_of_refusals_has_a_limit_and_forgets_the_oldest() {
    let mut refused = Refused::default();
    let count = GENERATION as u64 * 3;
    for mark in 0..count {
        refused.remember(ms(1), mark);
        assert!(refused.young.len() + refused.old.len() <= 2 * GENERATION);
    }
    assert!(!refused.knows(ms(1), 0));
    assert!((count - GENERATION as u64..count).all(|mark| refused.knows(ms(1), mark)));
}
