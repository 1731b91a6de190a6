//! The table in simulated time.

use super::*;
use rusqlite::params_from_iter;
use rusqlite::types::Value;

use crate::notify::log::question;
use crate::notify::rows::STEP;

#[test]
fn a_notice_is_tried_after_1_4_9_106_203_and_300_minutes_and_then_given_up() {
    let mut table = Table::new(Limits::default());
    let begin = 1_000_000;
    table.insert(begin, &[notice("food", Channel::Status, "s", 0, begin)]);
    let mut now = begin;
    for (attempt, minutes) in [1, 4, 9, 106, 203, 300].into_iter().enumerate() {
        let [id] = table.due(now, "food", Channel::Status)[..] else { panic!("attempt {attempt}") };
        table.failed(now, id);
        let entry = table.one("s-status-0");
        assert_eq!((entry.state, entry.attempts as usize), (State::Pending, attempt + 1));
        assert_eq!((entry.last_status, entry.last_error), (Some(500), Some(FailedBy::Status)));
        let next = now + minutes * MINUTE;
        assert_eq!(table.queue.next_due_of(now, "food", Channel::Status).unwrap(), Some(next));
        assert_eq!(table.queue.next_due_of(now, "food", Channel::Fee).unwrap(), None);
        assert!(table.due(next - 1, "food", Channel::Status).is_empty());
        assert!(table.queue.channels_due(next - 1).unwrap().is_empty());
        assert_eq!(table.queue.channels_due(next).unwrap(), [("food".into(), Channel::Status)]);
        now = next;
    }
    let [id] = table.due(now, "food", Channel::Status)[..] else { panic!("the last attempt") };
    table.settle(now, Outcome::Failed { id, status: None, error: FailedBy::Timeout });
    let entry = table.one("s-status-0");
    assert_eq!((entry.state, entry.attempts, entry.due, entry.settled), (State::GivenUp, 7, None, Some(now)));
    assert_eq!((entry.last_status, entry.last_error), (None, Some(FailedBy::Timeout)));
    assert_eq!(table.queue.next_due_of(0, "food", Channel::Status).unwrap(), None);
    assert_eq!(read(&table.counters.failed[0]), 7);
    assert_eq!((read(&table.counters.given_up[0]), read(&table.counters.pending[0])), (1, 0));
    // What is said of it later changes nothing.
    table.delivered(now + 1, id);
    assert_eq!(table.one("s-status-0"), entry);
}

#[test]
fn what_belongs_together_is_told_in_its_order() {
    let mut table = Table::new(Limits::default());
    let of = |session, place| notice("food", Channel::Status, session, place, place);
    table.insert(10, &[of("s", 1), of("s", 2), of("t", 3), notice("food", Channel::Fee, "s", 4, 4), of("s", 5)]);
    let place = |table: &Table, now| -> Vec<u64> {
        let due = table.queue.due(now, "food", Channel::Status, 9, &HashSet::new()).unwrap();
        due.iter().map(|pending| pending.notice_id.rsplit('-').next().unwrap().parse().unwrap()).collect()
    };
    // Another call and another channel wait for nobody.
    assert_eq!(place(&table, 10), [1, 3]);
    assert_eq!(table.due(10, "food", Channel::Fee).len(), 1);
    let [first, other] = table.due(10, "food", Channel::Status)[..] else { panic!() };
    assert_eq!(table.queue.due(10, "food", Channel::Status, 9, &HashSet::from([first])).unwrap()[0].id, other);
    assert_eq!(table.queue.due(10, "food", Channel::Status, 1, &HashSet::new()).unwrap()[0].id, first);
    // The first fails: those behind it wait with it.
    table.failed(20, first);
    assert_eq!(place(&table, 20), [3]);
    assert_eq!(place(&table, 20 + MINUTE), [3, 1]);
    table.delivered(20 + MINUTE, first);
    assert_eq!(place(&table, 20 + MINUTE), [3, 2]);
    // The second is given up: the third goes on at once.
    let mut now = 20 + MINUTE;
    let second = table.due(now, "food", Channel::Status)[1];
    for wait in RETRIES {
        table.failed(now, second);
        assert_eq!(place(&table, now), [3]);
        now += millis(wait);
    }
    table.failed(now, second);
    assert_eq!(place(&table, now), [3, 5]);
    assert_eq!(table.one("s-status-2").state, State::GivenUp);
}

#[test]
fn states_of_x_go_together_in_their_order_a_hundred_x_a_message() {
    let mut table = Table::new(Limits::default());
    let states = |count: u64| -> Vec<_> { (0..count).map(|last| (n(8_675_512_340_000 + last), None)).collect() };
    let mut place = 0;
    let mut of = |count| {
        place += 1;
        message::numbers(&"food".into(), &states(count), 5, place)
    };
    // 90 commits of one X each, one of 20, 100 and one more.
    let mut notices: Vec<Notice> = (0..90).map(|_| of(1)).collect();
    notices.extend([of(20), of(100), of(1)]);
    notices.push(message::numbers(&"taxi".into(), &states(1), 5, 0));
    table.insert(10, &notices);
    let next = |table: &Table, now| -> Pending {
        let due = table.queue.due(now, "food", Channel::Number, 9, &HashSet::new()).unwrap();
        let [due]: [Pending; 1] = due.try_into().expect("one message");
        due
    };
    let rows = |pending: &Pending| -> Vec<u64> {
        std::iter::once(pending.id).chain(pending.behind.iter().map(|(row, _)| *row)).collect()
    };
    let first = next(&table, 10);
    assert_eq!(rows(&first), (1..=90).collect::<Vec<_>>());
    let ids: Vec<&str> = notices[..90].iter().map(|notice| &*notice.id).collect();
    assert_eq!(first.notice_id, ids.join(","));
    let whole: serde_json::Value = serde_json::from_str(&message::whole(Channel::Number, &[&first.body])).unwrap();
    assert_eq!(whole["numInfo"].as_array().unwrap().len(), 90);
    // It is on its way, and what is behind it waits.
    let held = HashSet::from([1]);
    assert!(table.queue.due(10, "food", Channel::Number, 9, &held).unwrap().is_empty());
    // All of it fails, and comes again with its attempts.
    rows(&first).into_iter().for_each(|row| table.failed(11, row));
    assert!(table.queue.due(11, "food", Channel::Number, 9, &HashSet::new()).unwrap().is_empty());
    let again = next(&table, 11 + MINUTE);
    assert_eq!((rows(&again), again.attempts), (rows(&first), 1));
    assert!(again.behind.iter().all(|(_, attempts)| *attempts == 1));
    rows(&again).into_iter().for_each(|row| table.delivered(12 + MINUTE, row));
    for expected in [91..=91, 92..=92, 93..=93] {
        let due = next(&table, 12 + MINUTE);
        assert_eq!(rows(&due), expected.collect::<Vec<_>>());
        table.delivered(12 + MINUTE, due.id);
    }
    assert!(table.due(12 + MINUTE, "food", Channel::Number).is_empty());
    // One that is replayed does not take with it what is on its way.
    table.insert(20, &[of(1), of(1)]);
    let late = next(&table, 20);
    assert!(table.rows.replay(20, 3).unwrap());
    let held = HashSet::from([late.id, late.behind[0].0]);
    let [replayed] = &table.queue.due(20, "food", Channel::Number, 9, &held).unwrap()[..] else { panic!() };
    assert_eq!((replayed.id, replayed.behind.len()), (3, 0));
}

#[test]
fn a_notice_is_kept_once_whoever_posts_it_again() {
    let mut table = Table::new(Limits::default());
    let once = notice("food", Channel::Fee, "s", 1, 5);
    table.insert(10, &[once.clone(), once.clone()]);
    let id = table.due(10, "food", Channel::Fee)[0];
    table.delivered(11, id);
    table.insert(12, &[Notice { body: "{}".to_owned(), ..once }]);
    assert!(table.due(12, "food", Channel::Fee).is_empty());
    assert_eq!((table.all().len(), table.one("s-fee-1").body.as_deref()), (1, Some("{\"place\":1}")));
    assert_eq!(read(&table.counters.posted[1]), 1);
}

#[test]
fn what_was_settled_is_told_once_more_on_request() {
    let mut table = Table::new(Limits::default());
    let of = |session, place| notice("food", Channel::Status, session, place, place);
    table.insert(10, &[of("s", 1), of("s", 2), of("s", 3), of("t", 4)]);
    let ids: Vec<u64> = {
        let mut all = table.all();
        all.reverse();
        all.iter().map(|entry| entry.id).collect()
    };
    assert!(!table.rows.replay(10, ids[0]).unwrap(), "it waits already");
    assert!(!table.rows.replay(10, 99).unwrap());
    table.delivered(11, ids[0]);
    table.failed(11, ids[1]);
    // It takes its old place: the second, which was first meanwhile, waits behind it.
    assert!(table.rows.replay(12, ids[0]).unwrap());
    assert_eq!(table.due(12 + MINUTE, "food", Channel::Status), [ids[3], ids[0]]);
    assert_eq!((table.one("s-status-1").attempts, table.one("s-status-2").due), (0, None));
    // What was in flight then comes to its end all the same.
    table.failed(13, ids[1]);
    assert_eq!(table.due(13, "food", Channel::Status), [ids[3], ids[0]]);
    table.delivered(14, ids[1]);
    table.delivered(15, ids[0]);
    assert_eq!(table.due(15, "food", Channel::Status), [ids[3], ids[2]]);
    table.delivered(16, ids[2]);
    table.delivered(16, ids[3]);
    // All since then, in their order.
    let from_start = Cursor { created: 0, id: 0 };
    assert_eq!(table.rows.replay_since(20, ("food", Channel::Status), 2, from_start).unwrap(), (3, None));
    assert_eq!(table.due(20, "food", Channel::Status), [ids[1], ids[3]]);
    assert_eq!(table.rows.replay_since(20, ("food", Channel::Fee), 0, from_start).unwrap(), (0, None));
    assert_eq!(read(&table.counters.replayed[0]), 4);
}

#[test]
fn a_large_replay_goes_in_steps_and_ends_where_too_many_wait() {
    let mut table = Table::new(Limits { pending: STEP as u64 + 20, ..Limits::default() });
    let count = STEP as u64 + 50;
    for place in 0..count {
        // Many happen in one millisecond.
        table.insert(100, &[notice("food", Channel::Fee, &format!("s{place}"), place, place / 30)]);
        let id = table.due(100, "food", Channel::Fee)[0];
        table.delivered(100, id);
    }
    let (done, next) = table.rows.replay_since(200, ("food", Channel::Fee), 0, Cursor { created: 0, id: 0 }).unwrap();
    assert_eq!(done, STEP as u64);
    let (done, next) = table.rows.replay_since(200, ("food", Channel::Fee), 0, next.unwrap()).unwrap();
    assert_eq!((done, next), (20, None));
    assert_eq!(table.due(200, "food", Channel::Fee).len(), STEP + 20);
}

#[test]
fn too_many_of_an_app_are_given_up_and_cost_others_nothing() {
    let limits = Limits { pending: 3, ..Limits::default() };
    let mut table = Table::new(limits);
    let of = |app: &str, place: u64| notice(app, Channel::Status, &format!("{app}{place}"), place, place);
    let all: Vec<Notice> = (0..5).map(|place| of("food", place)).chain([of("taxi", 9)]).collect();
    table.insert(10, &all);
    assert_eq!(table.due(10, "food", Channel::Status).len(), 3);
    assert_eq!(table.due(10, "taxi", Channel::Status).len(), 1);
    let entry = table.one("food4-status-4");
    assert_eq!((entry.state, entry.last_error, entry.settled), (State::GivenUp, Some(FailedBy::TooMany), Some(10)));
    assert_eq!(read(&table.counters.given_up[0]), 2);
    // After a restart they still count.
    let mut table = table.reopened(limits);
    assert_eq!(read(&table.counters.pending[0]), 4);
    assert_eq!(table.queue.depths(), [("food".into(), Channel::Status, 3), ("taxi".into(), Channel::Status, 1)]);
    table.insert(11, &[of("food", 6)]);
    assert_eq!(table.one("food6-status-6").state, State::GivenUp);
    assert!(!table.rows.replay(12, entry.id).unwrap());
    let first = table.due(12, "food", Channel::Status)[0];
    table.delivered(12, first);
    assert!(table.rows.replay(12, entry.id).unwrap());
    assert_eq!(table.due(12, "food", Channel::Status).len(), 3);
}

#[test]
fn the_log_is_swept_a_bit_at_a_time() {
    let day = 86_400_000;
    let limits = Limits { rows: 700, ..Limits::default() };
    let mut table = Table::new(limits);
    let of = |place: u64, created| notice("food", Channel::Fee, &format!("s{place}"), place, created);
    // 600 old ones, 10 that wait, 800 of today.
    let old: Vec<Notice> = (0..600).map(|place| of(place, place)).collect();
    table.insert(1000, &old);
    for id in table.due(1000, "food", Channel::Fee) {
        table.delivered(1000, id);
    }
    let now = 10 * day;
    table.insert(now, &(1000..1010).map(|place| of(place, now)).collect::<Vec<_>>());
    assert_eq!(table.all().len(), 610);
    assert!(table.rows.sweep(now).unwrap());
    assert_eq!(table.all().len(), 110);
    assert!(!table.rows.sweep(now).unwrap());
    assert_eq!(table.all().len(), 10);
    let today: Vec<Notice> = (2000..2800).map(|place| of(place, now - 1)).collect();
    table.insert(now, &today);
    let waits: Vec<u64> = table.due(now, "food", Channel::Fee);
    for id in waits.iter().take(800) {
        table.delivered(now, *id);
    }
    // Beyond the number of rows the oldest go, never those that wait.
    while table.rows.sweep(now).unwrap() {}
    assert_eq!(table.all().len(), 700);
    assert_eq!(table.due(now, "food", Channel::Fee).len(), 10);
    assert_eq!(read(&table.counters.rows), 700);
}

#[test]
fn what_nobody_tries_is_given_up_when_patience_ends() {
    let mut table = Table::new(Limits::default());
    let of = |session, place| notice("food", Channel::Status, session, place, place);
    table.insert(1, &[of("s", 1), of("s", 2)]);
    let patience = millis(Limits::default().patience);
    // After a long night of ours nobody has been left alone yet.
    table.rows.sweep(10 * patience).unwrap();
    let mut table = table.reopened(Limits::default());
    table.rows.sweep(1).unwrap();
    table.rows.sweep(1 + patience).unwrap();
    assert_eq!(table.one("s-status-1").state, State::Pending);
    table.rows.sweep(2 + patience).unwrap();
    let entry = table.one("s-status-1");
    assert_eq!((entry.state, entry.last_error, entry.attempts), (State::GivenUp, Some(FailedBy::LeftAlone), 0));
    // The next has its turn, and its own time.
    assert_eq!(table.due(2 + patience, "food", Channel::Status).len(), 1);
    table.rows.sweep(2 + 2 * patience).unwrap();
    assert_eq!(table.one("s-status-2").state, State::Pending);
}

#[test]
fn the_log_finds_what_fits_and_each_question_has_its_index() {
    let mut table = Table::new(Limits::default());
    let mut notices = Vec::new();
    for place in 0..40 {
        let app = ["food", "taxi"][place as usize % 2];
        let channel = Channel::ALL[place as usize / 2 % 2];
        notices.push(notice(app, channel, &format!("s{}", place / 4), place, 1000 + place / 3));
    }
    table.insert(5000, &notices);
    for (turn, id) in table.due(5000, "food", Channel::Status).into_iter().enumerate() {
        if turn % 2 == 0 { table.delivered(5001, id) } else { table.failed(5001, id) }
    }
    let all = table.all();
    assert_eq!(all.len(), 40);
    assert!(all.is_sorted_by_key(|entry| std::cmp::Reverse(entry.cursor())));
    let text = |text: &str| Some(text.to_owned());
    let connection = rusqlite::Connection::open(table.folder.path().join(FILE)).unwrap();
    let plan = |sql: &str, values: Vec<Value>| -> Vec<String> {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        statement.query_map(params_from_iter(values), |row| row.get(3)).unwrap().map(Result::unwrap).collect()
    };
    let states = State::ALL.map(Some).into_iter().chain([None]);
    let of_app = states.flat_map(|state| {
        let channels = [None, Some(Channel::Status), Some(Channel::Fee)].into_iter();
        channels.flat_map(move |channel| {
            [None, Some("food".to_owned())].map(|app| LogQuery { app, channel, state, ..LogQuery::default() })
        })
    });
    let of_times = of_app.flat_map(|query| [query.clone(), LogQuery { from: Some(1003), to: Some(1007), ..query }]);
    let of_sessions = [
        LogQuery { session: text("s3"), ..LogQuery::default() },
        LogQuery { session: text("s"), ..LogQuery::default() },
        LogQuery { session: text("s3"), app: text("food"), state: Some(State::Pending), ..LogQuery::default() },
        LogQuery { session: text("s3"), from: Some(1003), to: Some(1007), ..LogQuery::default() },
        LogQuery { notice_id: text("s3-status-12"), ..LogQuery::default() },
    ];
    for query in of_times.chain(of_sessions) {
        let fits = |entry: &&Delivery| {
            query.app.as_ref().is_none_or(|app| *app == entry.app)
                && query.channel.is_none_or(|channel| channel == entry.channel)
                && query.session.as_ref().is_none_or(|session| *session == entry.session)
                && query.notice_id.as_ref().is_none_or(|id| *id == entry.notice_id)
                && query.state.is_none_or(|state| state == entry.state)
                && query.from.is_none_or(|from| entry.created >= from)
                && query.to.is_none_or(|to| entry.created < to)
        };
        let expected: Vec<&Delivery> = all.iter().filter(fits).collect();
        let mut found: Vec<Delivery> = Vec::new();
        loop {
            let after = found.last().map(Delivery::cursor);
            let page = table.queue.log(&LogQuery { after, limit: 3, ..query.clone() }).unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 3);
            found.extend(page);
            // Along an index that begins with what is asked for, in the order of the page.
            let (sql, values) = question(&LogQuery { after, ..query.clone() });
            let plan = plan(&sql, values);
            let is_of_session = query.session.is_some() || query.notice_id.is_some();
            let index = match (query.state, &query.app, query.channel) {
                _ if is_of_session => "sqlite_autoindex_notices_1",
                (Some(State::Pending), ..) => "notices_pending",
                (Some(State::GivenUp), ..) => "notices_given_up",
                (None, Some(_), Some(_)) => "notices_app",
                (_, Some(_), _) => "notices_of_app",
                (_, None, Some(_)) => "notices_channel",
                (_, None, None) => "notices_created",
            };
            assert!(plan[0].split(' ').any(|word| word == index), "{query:?}: {plan:?}");
            assert!(plan.len() == 1 || is_of_session, "{query:?}: {plan:?}");
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query:?}");
    }
    // The deliverer's walks are along indexes, whatever stands in the table.
    for (sql, index) in [
        ("SELECT id FROM notices WHERE app = 'a' AND channel = 0 AND due <= 5 ORDER BY due, id", "notices_due"),
        ("SELECT min(due) FROM notices WHERE app = 'a' AND channel = 0 AND due > 5", "notices_due"),
        (
            "SELECT id FROM notices WHERE state = 0 AND session = 's' AND channel = 0 AND app = 'a' ORDER BY id",
            "notices_session",
        ),
        ("SELECT id FROM notices WHERE created < 5 AND +state <> 0 ORDER BY created", "notices_created"),
        (
            "SELECT id FROM notices WHERE app = 'a' AND channel = 0 AND created >= 5 AND (created, id) > (5, 1) ORDER BY created, id",
            "notices_app",
        ),
    ] {
        let plan = plan(sql, Vec::new());
        assert!(plan[0].contains(index), "{sql}: {plan:?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{sql}: {plan:?}");
    }
}

// ---- random programs against a model --------------------------------------------------------------------------------

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % sides
    }
}

#[derive(Clone, PartialEq, Debug)]
struct Kept {
    notice: Notice,
    state: State,
    due: Option<u64>,
    attempts: u32,
}

/// What the table should be, said as simply as it can be.
#[derive(Default)]
struct Model {
    /// By row.
    kept: BTreeMap<u64, Kept>,
    limit: u64,
}

impl Model {
    fn waiting(&self, app: &str) -> u64 {
        self.kept.values().filter(|kept| *kept.notice.app == *app && kept.state == State::Pending).count() as u64
    }

    /// Of each session the first that waits has a time; nobody else has.
    fn take_turns(&mut self, now: u64) {
        let mut seen = HashSet::new();
        for kept in self.kept.values_mut() {
            let Notice { app, channel, session, .. } = &kept.notice;
            let is_first = kept.state == State::Pending && seen.insert((Arc::clone(app), *channel, session.clone()));
            kept.due = if is_first { Some(kept.due.unwrap_or(now)) } else { None };
        }
    }

    fn last(&self) -> u64 {
        self.kept.keys().next_back().copied().unwrap_or(0)
    }

    /// `row`: where the table says that it stands.
    fn insert(&mut self, now: u64, notice: &Notice, row: u64) {
        if self.kept.values().any(|kept| kept.notice.id == notice.id) {
            return;
        }
        assert!(row > self.last());
        let state = if self.waiting(&notice.app) < self.limit { State::Pending } else { State::GivenUp };
        self.kept.insert(row, Kept { notice: notice.clone(), state, due: None, attempts: 0 });
        self.take_turns(now);
    }

    fn settle(&mut self, now: u64, outcome: Outcome) {
        let Some(kept) = self.kept.get_mut(&outcome.id()).filter(|kept| kept.state == State::Pending) else { return };
        kept.attempts += 1;
        match outcome {
            Outcome::Delivered { .. } => kept.state = State::Delivered,
            Outcome::Failed { .. } if kept.attempts > 6 => kept.state = State::GivenUp,
            Outcome::Failed { .. } => {
                let minutes = [1, 4, 9, 106, 203, 300][kept.attempts as usize - 1];
                kept.due = kept.due.map(|_| now + minutes * MINUTE);
            }
        }
        self.take_turns(now);
    }

    fn replay(&mut self, now: u64, id: u64) -> bool {
        let Some(kept) = self.kept.get(&id).filter(|kept| kept.state != State::Pending) else { return false };
        if self.waiting(&kept.notice.app) >= self.limit {
            return false;
        }
        let kept = self.kept.get_mut(&id).unwrap();
        *kept = Kept { state: State::Pending, due: None, attempts: 0, notice: kept.notice.clone() };
        self.take_turns(now);
        true
    }

    fn due(&self, now: u64, app: &str, channel: Channel) -> Vec<u64> {
        let mut due: Vec<(u64, u64)> = self
            .kept
            .iter()
            .filter(|(_, kept)| *kept.notice.app == *app && kept.notice.channel == channel)
            .filter_map(|(id, kept)| Some((kept.due.filter(|due| *due <= now)?, *id)))
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id).collect()
    }
}

#[test]
fn random_programs_do_what_the_model_does() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let limits = Limits { pending: 6 + dice.roll(30), ..Limits::default() };
        let mut table = Table::new(limits);
        let mut model = Model { limit: limits.pending, ..Model::default() };
        let mut now = 1_000_000;
        for step in 0..250 {
            now += [0, 1, MINUTE, 10 * MINUTE, 200 * MINUTE][dice.roll(5) as usize];
            let app = ["food", "taxi"][dice.roll(2) as usize];
            let channel = Channel::ALL[dice.roll(2) as usize];
            match dice.roll(10) {
                0..4 => {
                    let session = format!("s{}", dice.roll(6));
                    let created = now - dice.roll(1000);
                    let notices: Vec<Notice> = (0..1 + dice.roll(3))
                        .map(|_| notice(app, channel, &session, dice.roll(400), created))
                        .collect();
                    table.insert(now, &notices);
                    notices.iter().for_each(|notice| model.insert(now, notice, table.one(&notice.id).id));
                }
                4..8 => {
                    let id = match table.due(now, app, channel)[..] {
                        [] => 1 + dice.roll(model.last() + 2),
                        [.., last] if dice.roll(3) == 0 => last,
                        [first, ..] => first,
                    };
                    let outcome = match dice.roll(3) {
                        0 => Outcome::Delivered { id, status: 200 },
                        _ => Outcome::Failed { id, status: None, error: FailedBy::Refused },
                    };
                    table.settle(now, outcome);
                    model.settle(now, outcome);
                }
                8 => {
                    let id = 1 + dice.roll(model.last() + 2);
                    let is_done = model.replay(now, id);
                    assert_eq!(table.rows.replay(now, id).unwrap(), is_done, "seed {seed}, step {step}");
                }
                _ => table = table.reopened(limits),
            }
            for app in ["food", "taxi"] {
                for channel in [Channel::Status, Channel::Fee] {
                    let (found, expected) = (table.due(now, app, channel), model.due(now, app, channel));
                    assert_eq!(found, expected, "seed {seed}, step {step}: {app} {channel:?}");
                }
            }
            let depths: u64 = table.queue.depths().iter().map(|(_, _, count)| count).sum();
            assert_eq!(depths, model.waiting("food") + model.waiting("taxi"), "seed {seed}, step {step}");
        }
        let found: BTreeMap<u64, (String, State, Option<u64>, u32)> = table
            .all()
            .into_iter()
            .map(|entry| (entry.id, (entry.notice_id, entry.state, entry.due, entry.attempts)))
            .collect();
        let expected: BTreeMap<u64, (String, State, Option<u64>, u32)> = model
            .kept
            .into_iter()
            .map(|(id, kept)| (id, (kept.notice.id, kept.state, kept.due, kept.attempts)))
            .collect();
        assert_eq!(found, expected, "seed {seed}");
    }
}
