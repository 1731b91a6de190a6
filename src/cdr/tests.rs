use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use b2bua::outcome::Cause;
use media::{LegTotals, Side, Totals};
use numbering::{Extension, Number, Party, SubscriptionId};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::notify;
use crate::recording::path_of;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn n(value: u64) -> Number {
    Number::from_u64(value).unwrap()
}

/// A call of which everything is known.
fn full(session_id: &str) -> Cdr {
    let ms = |ms: u64| Duration::from_micros(ms * 1000 + 999);
    let leg = |first| LegTotals {
        received: first,
        sent: first + 1,
        lost: first + 2,
        refused: first + 3,
        jitter_us: 4,
        ..LegTotals::default()
    };
    Cdr {
        session_id: session_id.into(),
        app: None,
        app_name: Some("food".into()),
        binding: Some(SubscriptionId(7)),
        caller_is: Some(Party::A),
        trunk_in: "in".into(),
        trunk_out: Some("out".into()),
        caller: Some(n(8_613_800_000_001)),
        x: Some(n(8_617_000_000_001)),
        callee: Some(n(8_613_800_000_002)),
        mode: Some(numbering::Mode::Axb),
        shown: Some(Number::parse("+8617000000001").unwrap()),
        asked: Some(Duration::from_millis(1)),
        extension: Extension::new(4, 42),
        digits: Some("0042".into()),
        user_text: Some("order \"7\"\\\n名".into()),
        call_in: ms(1000),
        forwarded: Some(ms(1001)),
        alerting: Some(ms(2000)),
        answered: Some(ms(3000)),
        joined: Some(ms(4000)),
        ended: ms(9000),
        cause: Cause::HungUp,
        released_by: Some(Side::B),
        status_a: 200,
        status_b: 200,
        q850_b: Some(16),
        recording: Some(b2bua::cdr::Recording { name: format!("20261123-{session_id}.wav").into(), started: ms(4000) }),
        media: Totals { legs: [leg(1), leg(11)], recorded_ms: 5000 },
    }
}

/// A call of which next to nothing is known.
fn bare(session_id: &str) -> Cdr {
    Cdr {
        app_name: None,
        binding: None,
        caller_is: None,
        trunk_out: None,
        caller: None,
        x: None,
        callee: None,
        mode: None,
        shown: None,
        asked: None,
        extension: None,
        digits: None,
        user_text: None,
        forwarded: None,
        alerting: None,
        answered: None,
        joined: None,
        cause: Cause::UnknownX,
        released_by: None,
        status_b: 0,
        q850_b: None,
        recording: None,
        media: Totals::default(),
        ..full(session_id)
    }
}

/// A folder with everything in it.
struct Site {
    folder: TempDir,
    clock: Clock,
}

impl Site {
    fn new() -> Site {
        Site { folder: TempDir::new().unwrap(), clock: Clock::start() }
    }

    fn lines(&self) -> PathBuf {
        self.folder.path().join("cdr.jsonl")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn kept(&self) -> Kept {
        Kept { dir: self.folder.path().join("recordings"), min: Duration::from_secs(3) }
    }

    fn open(&self, keep: Duration) -> (Cdrs, JoinHandle<()>) {
        Cdrs::open(&self.lines(), &self.store(), keep, self.clock, self.kept(), None).unwrap()
    }

    /// Writes records by a process that ends well.
    fn write(&self, records: Vec<Cdr>) {
        let (cdrs, thread) = self.open(DAY);
        for record in records {
            cdrs.write(Box::new(record));
        }
        drop(cdrs);
        thread.join().unwrap();
    }

    /// What is left of a process that was killed before it wrote a line or a row: records in the spool.
    fn spool(&self, records: &[Cdr]) -> Vec<u64> {
        sqlite::make_folder(&self.store()).unwrap();
        let (mut spool, _, _) = Spool::open(&self.store(), &SPOOL).unwrap();
        records.iter().map(|cdr| spool.put(&Record::of(cdr, &self.clock)).unwrap()).collect()
    }

    fn search(&self) -> Search {
        Search::open(&self.store()).unwrap()
    }

    fn stored(&self) -> Vec<String> {
        let mut query = Query { limit: PAGE, ..Query::default() };
        let (search, mut all) = (self.search(), Vec::new());
        loop {
            let page = search.find(&query).unwrap();
            let Some(last) = page.last() else { break };
            query.after = Some(last.cursor());
            all.extend(page.into_iter().map(|found| found.session_id));
        }
        all.sort();
        all
    }

    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.lines()).unwrap();
        let id = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(line["session_id"].as_str()?.to_owned())
        };
        let mut told: Vec<String> = text.lines().filter_map(id).collect();
        told.sort();
        told
    }
}

/// Waits for what another thread does.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        let _ = crossbeam_channel::after(Duration::from_millis(10)).recv();
    }
    panic!("never: {what}");
}

#[test]
fn a_record_is_one_line_and_one_row() {
    let site = Site::new();
    let recording = path_of(&site.kept().dir, "20261123-kept.wav").unwrap();
    fs::create_dir_all(recording.parent().unwrap()).unwrap();
    fs::write(&recording, "voices").unwrap();
    let records = vec![full("kept"), full("short"), bare("bare")];
    site.write(records.clone());
    let text = fs::read_to_string(site.lines()).unwrap();
    let expected: Vec<String> = records.iter().map(|cdr| json(cdr, &site.clock, &site.kept())).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let search = site.search();
    let find = |id: &str| {
        let mut found = search.find(&Query { session_id: Some(id.into()), limit: 9, ..Query::default() }).unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    };
    let unix = |at| site.clock.unix(at).as_millis() as u64;
    let cdr = &records[0];
    let expected = Found {
        session_id: "kept".into(),
        app: Some("food".into()),
        subscription_id: Some(SubscriptionId(7).to_string()),
        x: cdr.x,
        caller: cdr.caller,
        callee: cdr.callee,
        cause: "hung_up".into(),
        state_code: 0,
        call_in: unix(cdr.call_in),
        ended: unix(cdr.ended),
        recording: Some("20261123-kept.wav".into()),
        record: expected[0].clone(),
    };
    assert_eq!(find("kept"), expected);
    assert_eq!(find("short").recording, None, "it has left no file");
    let bare = find("bare");
    assert_eq!((bare.app, bare.x, bare.caller, bare.callee), (None, None, None, None));
    for file in fs::read_dir(site.store()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_line_says_everything_and_the_spool_keeps_it() {
    let site = Site::new();
    let cdr = full("0");
    let record = Record::of(&cdr, &site.clock);
    let bytes = serde_json::to_vec(&record).unwrap();
    let back: Record<'_> = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(back, record);
    let bare = bare("1");
    let record = Record::of(&bare, &site.clock);
    assert_eq!(serde_json::from_slice::<Record<'_>>(&serde_json::to_vec(&record).unwrap()).unwrap(), record);

    let line: serde_json::Value = serde_json::from_str(&back.json()).unwrap();
    let at = |at: Duration| serde_json::Value::from(site.clock.rfc3339(at));
    for (key, value) in [
        ("session_id", "0".into()),
        ("app", "food".into()),
        ("subscription_id", SubscriptionId(7).to_string().into()),
        ("trunk_in", "in".into()),
        ("trunk_out", "out".into()),
        ("caller", "+8613800000001".into()),
        ("x", "+8617000000001".into()),
        ("callee", "+8613800000002".into()),
        ("caller_is", "A".into()),
        ("call_in_time", at(cdr.call_in)),
        ("forward_time", at(cdr.forwarded.unwrap())),
        ("alerting_time", at(cdr.alerting.unwrap())),
        ("answer_time", at(cdr.answered.unwrap())),
        ("join_time", at(cdr.joined.unwrap())),
        ("end_time", at(cdr.ended)),
        ("duration_ms", 6000.into()),
        ("cause", "hung_up".into()),
        ("state_code", 0.into()),
        ("released_by", "callee".into()),
        ("sip_status_caller", 200.into()),
        ("sip_status_callee", 200.into()),
        ("q850", 16.into()),
        ("q850_callee", 16.into()),
        (
            "recording",
            serde_json::json!({"name": "20261123-0.wav", "start_time": at(cdr.joined.unwrap()), "duration_ms": 5000}),
        ),
        (
            "media",
            serde_json::json!([
                {"leg": "caller", "received": 1, "sent": 2, "lost": 3, "refused": 4, "jitter_us": 4},
                {"leg": "callee", "received": 11, "sent": 12, "lost": 13, "refused": 14, "jitter_us": 4},
            ]),
        ),
        ("extension", "0042".into()),
        ("digits", "0042".into()),
        ("user_data", "order \"7\"\\\n名".into()),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
}

#[test]
fn what_a_crash_left_in_the_spool_comes_once() {
    let site = Site::new();
    site.write(vec![full("before")]);
    // Killed at three moments: before everything, after the line, after the row.
    site.spool(&[full("spooled"), full("told"), full("stored")]);
    let told = json(&full("told"), &site.clock, &site.kept());
    let stored = json(&full("stored"), &site.clock, &site.kept());
    let mut lines = fs::OpenOptions::new().append(true).open(site.lines()).unwrap();
    // And in the middle of a line.
    write!(lines, "{told}\n{stored}\n{}", &told[..40]).unwrap();
    let mut ledger = Ledger::open(&site.store()).unwrap();
    let stored = ledger::Entry::of(Record::of(&full("stored"), &site.clock), None, &site.kept(), None);
    ledger.insert([&stored].into_iter()).unwrap();
    drop(ledger);

    let all = ["before", "spooled", "stored", "told"];
    let (cdrs, thread) = site.open(DAY);
    assert_eq!(cdrs.counters().replayed.load(Relaxed), 3);
    assert_eq!(site.stored(), all, "at once");
    drop(cdrs);
    thread.join().unwrap();
    assert_eq!(site.told(), all);
    // Nothing is left to be brought again.
    for _ in 0..2 {
        let (cdrs, thread) = site.open(DAY);
        assert_eq!(cdrs.counters().replayed.load(Relaxed), 0);
        drop(cdrs);
        thread.join().unwrap();
        assert_eq!((site.told().len(), site.stored().len()), (4, 4));
    }
}

#[test]
fn a_call_that_was_ending_when_a_crash_came_has_its_record_once_and_whole_where_it_was_whole() {
    let site = Site::new();
    let (cdrs, thread) = site.open(DAY);
    let ending = |id: &str| Cdr { media: Totals::default(), ..full(id) };
    // One that ends as it should, one whose media never tells, and one that is whole but not stored yet.
    cdrs.keep(&ending("a"));
    cdrs.write(Box::new(full("a")));
    cdrs.keep(&ending("b"));
    cdrs.write(Box::new(full("c")));
    until("both are stored", || cdrs.counters().stored.load(Relaxed) == 2);
    drop(cdrs);
    thread.join().unwrap();
    assert_eq!(site.told(), ["a", "c"]);
    // What is not whole was not freed by what came after it; and nothing comes twice.
    for replayed in [2, 0] {
        let (cdrs, thread) = site.open(DAY);
        assert_eq!(cdrs.counters().replayed.load(Relaxed), replayed, "b, and c that came after it");
        drop(cdrs);
        thread.join().unwrap();
        assert_eq!((site.told(), site.stored()), (vec!["a".into(), "b".into(), "c".into()], site.told()));
    }
}

#[test]
fn a_start_that_is_killed_too_gives_no_doubles() {
    let site = Site::new();
    let records: Vec<Cdr> = (0..50).map(|id| full(&format!("{id:02}"))).collect();
    site.spool(&records);
    let spool = fs::read(site.store().join(SPOOL.file)).unwrap();
    for _ in 0..3 {
        let (cdrs, thread) = site.open(DAY);
        drop(cdrs);
        thread.join().unwrap();
        // As if the mark had never been moved.
        fs::write(site.store().join(SPOOL.file), &spool).unwrap();
    }
    let ids: Vec<String> = records.iter().map(|cdr| cdr.session_id.to_string()).collect();
    assert_eq!((site.told(), site.stored()), (ids.clone(), ids));
}

#[test]
fn a_record_of_the_spool_that_cannot_be_read_does_not_stand_in_the_way() {
    let site = Site::new();
    site.spool(&[full("0")]);
    let (mut spool, _, _) = Spool::open(&site.store(), &SPOOL).unwrap();
    assert_eq!(spool.put(&"of another axbridge"), Some(2));
    assert_eq!(spool.put(&"of another axbridge"), Some(3));
    drop(spool);
    let (cdrs, thread) = site.open(DAY);
    assert_eq!(cdrs.counters().lost.load(Relaxed), 2);
    drop(cdrs);
    thread.join().unwrap();
    assert_eq!(site.stored(), ["0"]);
    let (cdrs, _) = site.open(DAY);
    assert_eq!(cdrs.counters().lost.load(Relaxed), 0);
}

/// What apps are told, the oldest first.
fn fees(queue: &notify::Queue) -> Vec<(String, serde_json::Value)> {
    let log =
        queue.log(&notify::LogQuery { limit: notify::PAGE, has_bodies: true, ..notify::LogQuery::default() }).unwrap();
    let read = |fee: notify::Delivery| (fee.notice_id, serde_json::from_str(&fee.body.unwrap()).unwrap());
    log.into_iter().rev().map(read).collect()
}

#[test]
fn an_app_is_told_of_a_record_once_the_store_has_it() {
    let site = Site::new();
    let accounts = notify::tests::accounts();
    let (outbox, queue, teller) = Outbox::open(&site.store(), site.clock, accounts, notify::Limits::default()).unwrap();
    let path = path_of(&site.kept().dir, "20261123-a.wav").unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "voices").unwrap();
    let open = || {
        let outbox = Some(outbox.clone());
        Cdrs::open(&site.lines(), &site.store(), DAY, site.clock, site.kept(), outbox).unwrap()
    };
    let (cdrs, thread) = open();
    let blocker = refuse(&site);
    let quiet = Cdr { app_name: Some("quiet".into()), ..full("q") };
    for cdr in [full("a"), full("b"), bare("c"), quiet] {
        cdrs.write(Box::new(cdr));
    }
    // It waits for the disk longer than anything here does.
    until("the store has refused", || cdrs.counters().written.load(Relaxed) == 4);
    drop(cdrs);
    thread.join().unwrap();
    assert_eq!(outbox.counters().posted[1].load(Relaxed), 0);
    blocker.execute_batch("ROLLBACK").unwrap();
    let spool = fs::read(site.store().join(SPOOL.file)).unwrap();
    for _ in 0..3 {
        // As if the mark had never been moved: it has been told, and we died before that was noted.
        fs::write(site.store().join(SPOOL.file), &spool).unwrap();
        let (cdrs, thread) = open();
        drop(cdrs);
        thread.join().unwrap();
    }
    drop(outbox);
    until("both are told", || fees(&queue).len() == 2);
    let fees = fees(&queue);
    drop(queue);
    teller.join().unwrap();
    let [(first, a), (second, b)] = &fees[..] else { panic!("{fees:?}") };
    assert_eq!((&**first, &**second), ("a-fee", "b-fee"));
    assert_eq!(a["recordObjectName"], "20261123-a.wav");
    assert_eq!((&a["recordFlag"], &b["recordFlag"]), (&1.into(), &0.into()));
    assert!(b.get("recordObjectName").is_none(), "its recording has left no file");
    for (field, value) in [
        ("callerNum", "+8613800000001"),
        ("calleeNum", "+8617000000001"),
        ("fwdDisplayNum", "+8617000000001"),
        ("fwdDstNum", "+8613800000002"),
        ("extendNum", "0042"),
        ("serviceType", "004"),
        ("userData", "order \"7\"\\\n名"),
        ("subscriptionId", &SubscriptionId(7).to_string()),
    ] {
        assert_eq!(a[field], value, "{field}");
    }
    assert_eq!((&a["direction"], &a["ulFailReason"], &a["fwdUnaswRsn"]), (&1.into(), &0.into(), &0.into()));
}

/// Somebody else writes the database: every commit is refused, as on a full disk.
fn refuse(site: &Site) -> Connection {
    let blocker = Connection::open(site.store().join(ledger::FILE)).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    blocker
}

#[test]
fn what_the_store_refuses_waits_and_is_safe_meanwhile() {
    let site = Site::new();
    let (cdrs, thread) = site.open(DAY);
    let blocker = refuse(&site);
    let ids: Vec<String> = (0..300).map(|id| format!("{id:03}")).collect();
    for id in &ids {
        cdrs.write(Box::new(full(id)));
    }
    until("the lines are written all the same", || site.told().len() == 300);
    assert!(site.stored().is_empty());

    // Would we die now, the next start had everything.
    let copy = Site::new();
    fs::create_dir(copy.store()).unwrap();
    for file in fs::read_dir(site.store()).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, copy.store().join(path.file_name().unwrap())).unwrap();
    }
    let (copied, copied_thread) = copy.open(DAY);
    assert_eq!(copied.counters().replayed.load(Relaxed), 300);
    drop(copied);
    copied_thread.join().unwrap();
    assert_eq!((copy.stored(), copy.told()), (ids.clone(), ids.clone()));

    drop(blocker);
    until("the store has them", || cdrs.counters().stored.load(Relaxed) == 300);
    assert_eq!(site.stored(), ids);
    let counters = cdrs.counters();
    assert_eq!([&counters.lost, &counters.unspooled].map(|counter| counter.load(Relaxed)), [0, 0]);
    drop(cdrs);
    thread.join().unwrap();
}

#[test]
fn a_store_that_refuses_to_the_end_gets_them_at_the_next_start() {
    let site = Site::new();
    let (cdrs, thread) = site.open(DAY);
    let blocker = refuse(&site);
    cdrs.write(Box::new(full("0")));
    drop(cdrs);
    thread.join().unwrap();
    // Even the next start waits for it.
    let (cdrs, thread) = site.open(DAY);
    cdrs.write(Box::new(full("1")));
    assert!(site.stored().is_empty());
    drop(blocker);
    drop(cdrs);
    thread.join().unwrap();
    assert_eq!((site.stored(), site.told()), (vec!["0".into(), "1".into()], vec!["0".into(), "1".into()]));
}

#[test]
fn a_full_spool_is_counted_and_the_records_go_on_without_it() {
    let site = Site::new();
    let (cdrs, thread) = site.open(DAY);
    let blocker = refuse(&site);
    let long: String = "x".repeat(1 << 20);
    let record = |id: &str| Box::new(Cdr { user_text: Some(long.as_str().into()), ..full(id) });
    for id in 0..20 {
        cdrs.write(record(&format!("{id:02}")));
    }
    let unspooled = cdrs.counters().unspooled.load(Relaxed);
    assert!((4..=8).contains(&unspooled), "{unspooled}");
    drop(blocker);
    until("the store has them", || cdrs.counters().stored.load(Relaxed) == 20);
    cdrs.write(record("20"));
    assert_eq!(cdrs.counters().unspooled.load(Relaxed), unspooled, "there is room again");
    drop(cdrs);
    thread.join().unwrap();
    assert_eq!((site.stored().len(), site.told().len()), (21, 21));
}

#[test]
fn two_cannot_have_the_store() {
    let site = Site::new();
    let _kept = site.open(DAY);
    let again = Cdrs::open(&site.lines(), &site.store(), DAY, site.clock, site.kept(), None);
    assert!(matches!(again, Err(StoreError::InUse(_))));
}

#[test]
fn the_file_of_lines_is_opened_anew() {
    let site = Site::new();
    let (cdrs, thread) = site.open(DAY);
    cdrs.write(Box::new(full("0")));
    until("the first line", || site.told() == ["0"]);
    fs::rename(site.lines(), site.folder.path().join("old")).unwrap();
    cdrs.reopen();
    cdrs.write(Box::new(full("1")));
    drop(cdrs);
    thread.join().unwrap();
    assert_eq!(site.told(), ["1"]);
    assert_eq!(fs::metadata(site.lines()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn old_records_go_and_young_ones_stay() {
    let site = Site::new();
    let minute = Duration::from_secs(60);
    let aged = |id: String, age: Duration| {
        let unix = site.clock.unix(Duration::ZERO).saturating_sub(age).as_millis() as u64;
        let cdr = full(&id);
        let mut record = Record::of(&cdr, &site.clock);
        record.ended = unix;
        ledger::Entry::of(record, None, &site.kept(), None)
    };
    sqlite::make_folder(&site.store()).unwrap();
    let mut ledger = Ledger::open(&site.store()).unwrap();
    let old: Vec<ledger::Entry> = (0..1200).map(|id| aged(format!("old {id}"), 61 * minute)).collect();
    let young: Vec<ledger::Entry> = (0..30).map(|id| aged(format!("young {id}"), 59 * minute)).collect();
    ledger.insert(old.iter().chain(&young)).unwrap();
    drop(ledger);
    let (cdrs, thread) = site.open(60 * minute);
    until("the old ones are gone", || site.stored().len() == 30);
    assert!(site.stored().iter().all(|id| id.starts_with("young")));
    drop(cdrs);
    thread.join().unwrap();
}

/// 40 calls: ended two at a time, three X, four callers of whom some call themselves, two apps, three causes.
fn crowd(site: &Site) -> Vec<Cdr> {
    let causes = [Cause::HungUp, Cause::Busy, Cause::UnknownX];
    let crowd: Vec<Cdr> = (0..40_u64)
        .map(|id| {
            let mut cdr = full(&format!("{:02}", id * 7 % 40));
            cdr.ended = Duration::from_secs(100 + id / 2);
            cdr.x = Some(n(8_617_000_000_001 + id % 3));
            cdr.caller = Some(n(8_613_800_000_001 + id % 4));
            cdr.callee = Some(n(8_613_800_000_001 + id % 5));
            cdr.app_name = [Some("food".into()), Some("cars".into()), None][id as usize % 3].clone();
            cdr.cause = causes[id as usize / 2 % 3];
            cdr
        })
        .collect();
    for cdr in crowd.iter().filter(|cdr| cdr.cause == Cause::HungUp) {
        let path = path_of(&site.kept().dir, &cdr.recording.as_ref().unwrap().name).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "voices").unwrap();
    }
    crowd
}

/// A filter, and what fits it.
type Part<'a> = (Query, &'a dyn Fn(&Cdr) -> bool);

#[test]
fn every_filter_finds_what_fits_and_pages_meet() {
    let site = Site::new();
    let crowd = crowd(&site);
    site.write(crowd.clone());
    let search = site.search();
    let ended = |cdr: &Cdr| site.clock.unix(cdr.ended).as_millis() as u64;
    let (from, to) = (ended(&crowd[6]), ended(&crowd[30]));
    let (x, number) = (n(8_617_000_000_002), n(8_613_800_000_003));
    let (id, recording) = (crowd[12].session_id.to_string(), crowd[12].recording.as_ref().unwrap().name.to_string());
    let parts: [Part<'_>; 8] = [
        (Query { from: Some(from), ..Query::default() }, &|cdr| ended(cdr) >= from),
        (Query { to: Some(to), ..Query::default() }, &|cdr| ended(cdr) < to),
        (Query { number: Some(number), ..Query::default() }, &|cdr| [cdr.caller, cdr.callee].contains(&Some(number))),
        (Query { x: Some(x), ..Query::default() }, &|cdr| cdr.x == Some(x)),
        (Query { app: Some("food".into()), ..Query::default() }, &|cdr| cdr.app_name.as_deref() == Some("food")),
        (Query { cause: Some("busy".into()), ..Query::default() }, &|cdr| cdr.cause == Cause::Busy),
        (Query { session_id: Some(id.clone()), ..Query::default() }, &|cdr| *cdr.session_id == *id),
        (Query { recording: Some(recording.clone()), ..Query::default() }, &|cdr| *cdr.session_id == *id),
    ];
    let mut found_any = 0;
    for chosen in 0..1_u32 << parts.len() {
        let is_chosen = |place: usize| chosen >> place & 1 == 1;
        let mut query = Query::default();
        for (_, (part, _)) in parts.iter().enumerate().filter(|(place, _)| is_chosen(*place)) {
            let part = part.clone();
            query = Query {
                from: query.from.or(part.from),
                to: query.to.or(part.to),
                number: query.number.or(part.number),
                x: query.x.or(part.x),
                app: query.app.or(part.app),
                cause: query.cause.or(part.cause),
                session_id: query.session_id.or(part.session_id),
                recording: query.recording.or(part.recording),
                ..query
            };
        }
        let fits = |cdr: &&Cdr| parts.iter().enumerate().all(|(place, (_, fits))| !is_chosen(place) || fits(cdr));
        let mut expected: Vec<(u64, &str)> =
            crowd.iter().filter(fits).map(|cdr| (ended(cdr), &*cdr.session_id)).collect();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        found_any += usize::from(!expected.is_empty());
        for limit in [1, 3, 1000] {
            let mut query = Query { limit, ..query.clone() };
            let mut found = Vec::new();
            loop {
                let page = search.find(&query).unwrap();
                assert!(page.len() <= limit as usize);
                let Some(last) = page.last() else { break };
                query.after = Some(last.cursor());
                found.extend(page);
            }
            let found: Vec<(u64, &str)> = found.iter().map(|it| (it.ended, &*it.session_id)).collect();
            assert_eq!(found, expected, "{query:?}");
        }
    }
    assert!(found_any > 60, "{found_any}");
}

#[test]
fn an_index_serves_every_search() {
    let site = Site::new();
    site.write(Vec::new());
    let connection = Connection::open(site.store().join(ledger::FILE)).unwrap();
    for (condition, index) in [
        ("session_id = 'a' AND +app = 'b' AND ended >= 1", "sqlite_autoindex_cdrs_1"),
        ("caller = 1 AND +x = 2 AND +app = 'b' AND ended >= 1 AND (ended, session_id) < (5, 'a')", "cdrs_caller"),
        ("callee = 1 AND ended < 1", "cdrs_callee"),
        ("x = 1 AND +app = 'b' AND ended < 1", "cdrs_x"),
        ("app = 'b' AND +cause = 'c' AND ended < 1", "cdrs_app"),
        ("cause = 'c'", "cdrs_cause"),
        ("ended >= 1 AND ended < 5 AND (ended, session_id) < (5, 'a')", "cdrs_ended"),
        ("1", "cdrs_ended"),
    ] {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT record FROM cdrs WHERE {condition} ORDER BY ended DESC, session_id DESC LIMIT 9"
        );
        let mut statement = connection.prepare(&sql).unwrap();
        let plan: Vec<String> =
            statement.query_map([], |row| row.get::<_, String>(3)).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(plan[0].contains(&format!("USING INDEX {index}")), "{condition}: {plan:?}");
        // Only calls that ended in the same millisecond are sorted.
        let is_sorted = plan.iter().any(|step| step == "USE TEMP B-TREE FOR ORDER BY");
        assert!(!is_sorted, "{condition}: {plan:?}");
    }
}

#[test]
fn a_recording_has_an_owner() {
    let site = Site::new();
    let path = path_of(&site.kept().dir, "20261123-a.wav").unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "voices").unwrap();
    site.write(vec![full("a"), full("b")]);
    let search = site.search();
    assert_eq!(search.recording_owner("20261123-a.wav").unwrap().as_deref(), Some("food"));
    for name in ["20261124-a.wav", "20261123-b.wav", "20261123-c.wav", "a", "", "-", "20261123-a"] {
        assert_eq!(search.recording_owner(name).unwrap(), None, "{name}");
    }
}

const CHILD: &str = "AXBRIDGE_CDR_CHILD";

/// A process that is killed loses no record that it had handed over. It is this test once more, as a child.
#[test]
fn what_was_handed_over_survives_a_kill() {
    let mut site = Site::new();
    if let Some(dir) = std::env::var_os(CHILD) {
        // The parent's folder is the parent's.
        let path = PathBuf::from(dir);
        let round = std::env::var("AXBRIDGE_CDR_ROUND").unwrap();
        let kept = Kept { dir: path.join("recordings"), min: Duration::ZERO };
        let (cdrs, _) = Cdrs::open(&path.join("cdr.jsonl"), &path.join("data"), DAY, site.clock, kept, None).unwrap();
        let mut out = std::io::stdout().lock();
        for id in 0_u64.. {
            let id = format!("{round}-{id}");
            cdrs.write(Box::new(full(&id)));
            // Not `println`, which the test's harness keeps back.
            out.write_all(format!("handed over {id}\n").as_bytes()).unwrap();
            out.flush().unwrap();
        }
    }
    let mut handed_over: Vec<String> = Vec::new();
    for (round, kill_after) in [1_usize, 300, 20_000, 7, 3_000, 9_000].into_iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "cdr::tests::what_was_handed_over_survives_a_kill"])
            .env(CHILD, site.folder.path())
            .env("AXBRIDGE_CDR_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let before = handed_over.len();
        // After the kill the lines that it had still said are read to their end.
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let Some((_, id)) = line.split_once("handed over ") else { continue };
            handed_over.push(id.to_owned());
            if handed_over.len() == before + kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(handed_over.len() >= before + kill_after, "round {round}");
        if round % 2 == 0 {
            // The next child finds the spool itself.
            continue;
        }
        site.clock = Clock::start();
        site.write(Vec::new());
        let (stored, mut told) = (site.stored(), site.told());
        let is_there = |id: &String| stored.binary_search(id).is_ok() && told.binary_search(id).is_ok();
        let missing: Vec<&String> = handed_over.iter().filter(|id| !is_there(id)).collect();
        assert!(missing.is_empty(), "round {round}: {} of {}: {missing:?}", missing.len(), handed_over.len());
        // At most the one of each child that was spooled and not said.
        assert!(stored.len() <= handed_over.len() + round + 1, "round {round}");
        told.dedup();
        assert_eq!(told.len(), site.told().len(), "round {round}: no line twice");
    }
}

/// Not a test: what a record costs. `cargo test --release -p axbridge --lib cdr::tests::figures -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
fn figures() {
    let site = Site::new();
    let (cdrs, thread) = site.open(DAY);
    let count = 10_000_u32;
    for round in 0..3 {
        let records: Vec<Box<Cdr>> = (0..count).map(|id| Box::new(full(&format!("{round:016x}{id:016x}")))).collect();
        let (mut worst, began) = (Duration::ZERO, site.clock.now());
        let mut last = began;
        for record in records {
            cdrs.write(record);
            let now = site.clock.now();
            worst = worst.max(now - last);
            last = now;
        }
        let written = site.clock.now() - began;
        until("the store has them", || cdrs.counters().stored.load(Relaxed) == u64::from(count * (round + 1)));
        let stored = site.clock.now() - began;
        println!("{count} records: {:?} each, worst {worst:?}; stored after {stored:?}", written / count);
    }
    // One every 2 ms, as on a busy machine.
    let (mut spent, mut worst) = (Duration::ZERO, Duration::ZERO);
    for id in 0..1000 {
        let record = Box::new(full(&format!("paced{id}")));
        let _ = crossbeam_channel::after(Duration::from_millis(2)).recv();
        let began = site.clock.now();
        cdrs.write(record);
        let took = site.clock.now() - began;
        (spent, worst) = (spent + took, worst.max(took));
    }
    println!("paced: {:?} each, worst {worst:?}", spent / 1000);
    println!("unspooled {}", cdrs.counters().unspooled.load(Relaxed));
    drop(cdrs);
    thread.join().unwrap();
    let size = fs::metadata(site.store().join(ledger::FILE)).unwrap().len();
    println!("{} bytes a record in the store", size / u64::from(3 * count + 1000));
}
