//! The outbox with its thread: spools, crashes, a disk that refuses.

use super::*;
use crate::notify::writer::{frame, unframe};
use crate::registry::Unavailable;

struct Site {
    folder: TempDir,
    clock: Clock,
}

impl Site {
    fn new() -> Site {
        Site { folder: TempDir::new().unwrap(), clock: Clock::begun_at(UNIX) }
    }

    fn open(&self) -> (Outbox, Queue, JoinHandle<()>) {
        Outbox::open(self.folder.path(), self.clock, accounts(), Limits::default()).unwrap()
    }

    fn now(&self) -> u64 {
        self.clock.unix_ms(self.clock.now())
    }
}

fn log(queue: &Queue) -> Vec<Delivery> {
    queue.log(&LogQuery { limit: PAGE, ..LogQuery::default() }).unwrap()
}

#[test]
fn what_is_posted_is_due_and_what_is_settled_is_not() {
    let site = Site::new();
    let (outbox, queue, thread) = site.open();
    let at = site.clock.now();
    outbox.post_event(&call_event("food", "s", at, call_in()));
    outbox.post_event(&call_event("quiet", "s", at, call_in()));
    outbox.post_event(&call_event("nobody", "s", at, call_in()));
    outbox.post_fee(&Fee { app: "food".into(), session_id: "s".into(), ended: site.now(), ..Fee::default() });
    outbox.post_numbers(&"food".into(), at, &vec![(n(8_675_512_340_001), None); 201]);
    until("all are there", || log(&queue).len() == 5);
    let now = site.now();
    let due = queue.channels_due(now).unwrap();
    assert_eq!(due, [Channel::Status, Channel::Fee, Channel::Number].map(|channel| ("food".into(), channel)));
    // Of an app's X one message after the other, of a hundred at most.
    assert_eq!(queue.due(now, "food", Channel::Number, 9, &HashSet::new()).unwrap().len(), 1);
    let [pending] = &queue.due(now, "food", Channel::Status, 9, &HashSet::new()).unwrap()[..] else { panic!() };
    assert!(pending.body.starts_with(r#"{"eventType":"callin""#));
    assert!(!format!("{pending:?}").contains("8613"));
    queue.settle(now, vec![Outcome::Delivered { id: pending.id, status: 204 }]);
    // At once, whatever the disk does.
    assert!(queue.due(now, "food", Channel::Status, 9, &HashSet::new()).unwrap().is_empty());
    until("it is on the disk", || read(&outbox.counters().delivered[0]) == 1);
    assert!(queue.due(now, "food", Channel::Status, 9, &HashSet::new()).unwrap().is_empty());
    drop((outbox, queue));
    thread.join().unwrap();
}

#[test]
fn replays_are_answered_when_they_are_done() {
    let site = Site::new();
    let (outbox, queue, thread) = site.open();
    let count = 1200;
    for place in 0..count {
        outbox.post_event(&call_event("food", &format!("s{place}"), Duration::from_millis(place), call_in()));
    }
    until("all are there", || read(&outbox.counters().posted[0]) == count);
    let now = site.now();
    let due = queue.due(now, "food", Channel::Status, usize::MAX, &HashSet::new()).unwrap();
    assert_eq!(due.len() as u64, count);
    queue.settle(now, due.iter().map(|pending| Outcome::Delivered { id: pending.id, status: 200 }).collect());
    until("all are delivered", || read(&outbox.counters().delivered[0]) == count);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(queue.replay(now, due[5].id)), Ok(true));
    assert_eq!(runtime.block_on(queue.replay(now, due[5].id)), Ok(false));
    let replayed = runtime.block_on(queue.replay_since(now, "food".into(), Channel::Status, millis(UNIX) + 100));
    assert_eq!(replayed, Ok(count - 100));
    assert_eq!(queue.due(now, "food", Channel::Status, usize::MAX, &HashSet::new()).unwrap().len() as u64, count - 99);
    drop((outbox, queue));
    thread.join().unwrap();
}

#[test]
fn a_replay_that_the_disk_does_not_take_is_counted() {
    let site = Site::new();
    let (outbox, queue, thread) = site.open();
    let outside = rusqlite::Connection::open(site.folder.path().join(FILE)).unwrap();
    outside.execute_batch("BEGIN IMMEDIATE").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(queue.replay(site.now(), 1)), Err(Unavailable));
    assert_eq!(read(&outbox.counters().refused), 1);
    outside.execute_batch("ROLLBACK").unwrap();
    assert_eq!(runtime.block_on(queue.replay(site.now(), 1)), Ok(false));
    drop((outbox, queue));
    thread.join().unwrap();
}

#[test]
fn whoever_waits_is_rung_for_each_commit() {
    let site = Site::new();
    let (outbox, queue, thread) = site.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for place in 0..3 {
        outbox.post_event(&call_event("food", &format!("s{place}"), Duration::ZERO, call_in()));
        until("it is there", || {
            runtime.block_on(queue.arrived().notified());
            log(&queue).len() == place + 1
        });
    }
    drop((outbox, queue));
    thread.join().unwrap();
}

#[test]
fn a_disk_that_refuses_is_asked_again_and_nothing_is_lost() {
    let site = Site::new();
    let (outbox, queue, thread) = site.open();
    let outside = rusqlite::Connection::open(site.folder.path().join(FILE)).unwrap();
    outbox.post_event(&call_event("food", "before", Duration::ZERO, call_in()));
    until("it is there", || log(&queue).len() == 1);
    let before = log(&queue)[0].id;
    outside.execute_batch("BEGIN IMMEDIATE").unwrap();
    outbox.post_event(&call_event("food", "s", Duration::ZERO, call_in()));
    queue.settle(site.now(), vec![Outcome::Delivered { id: before, status: 200 }]);
    until("the disk has refused", || read(&outbox.counters().refused) > 0);
    assert_eq!(log(&queue).len(), 1);
    assert!(queue.due(u64::MAX >> 1, "food", Channel::Status, 9, &HashSet::new()).unwrap().is_empty());
    outside.execute_batch("ROLLBACK").unwrap();
    until("it is there", || log(&queue).len() == 2);
    until("it is settled", || read(&outbox.counters().delivered[0]) == 1);
    drop((outbox, queue));
    thread.join().unwrap();
}

#[test]
fn an_outbox_that_ends_while_the_disk_refuses_leaves_all_in_the_spool() {
    let site = Site::new();
    let (outbox, queue, thread) = site.open();
    let outside = rusqlite::Connection::open(site.folder.path().join(FILE)).unwrap();
    outside.execute_batch("BEGIN IMMEDIATE").unwrap();
    for place in 0..10 {
        outbox.post_event(&call_event("food", &format!("s{place}"), Duration::ZERO, call_in()));
        outbox.post_fee(&Fee {
            app: "food".into(),
            session_id: format!("s{place}"),
            ended: site.now(),
            ..Fee::default()
        });
    }
    drop((outbox, queue));
    thread.join().unwrap();
    outside.execute_batch("ROLLBACK").unwrap();
    let (outbox, queue, thread) = site.open();
    assert_eq!(read(&outbox.counters().restored), 20);
    // They are there before anybody posts anything.
    assert_eq!(log(&queue).len(), 20);
    drop((outbox, queue));
    thread.join().unwrap();
    let (outbox, queue, thread) = site.open();
    assert_eq!(read(&outbox.counters().restored), 0);
    assert_eq!(log(&queue).len(), 20);
    drop((outbox, queue));
    thread.join().unwrap();
}

#[test]
fn two_processes_do_not_share_an_outbox() {
    let site = Site::new();
    let kept = site.open();
    let again = Outbox::open(site.folder.path(), site.clock, accounts(), Limits::default());
    assert!(matches!(again, Err(StoreError::InUse(_))));
    drop((kept.0, kept.1));
    kept.2.join().unwrap();
}

#[test]
fn a_notice_in_the_spool_is_read_as_it_was_written() {
    for body in ["", "{}", "{\"a\":\"\\n\"}", "您\n好"] {
        let notice = Notice { body: body.to_owned(), ..notice("food", Channel::Sms, "s \"1\"\\\n", 7, u64::MAX) };
        let mut room = [0; 400];
        let mut free = &mut room[..];
        frame(&notice, &mut free).unwrap();
        let len = 400 - free.len();
        assert!(unframe(&room[..len]).unwrap() == notice);
        // Cut anywhere, it is another one or none, and no panic.
        for cut in 0..len {
            assert!(unframe(&room[..cut]).is_none_or(|cut| cut != notice));
        }
        assert!(frame(&notice, &mut &mut room[..len - 1]).is_err());
    }
}

const CHILD: &str = "AXBRIDGE_OUTBOX_CHILD";

/// A process that is killed loses nothing that it had posted. It is this test once more, as a child.
#[test]
fn what_was_posted_survives_a_kill() {
    if let Some(dir) = std::env::var_os(CHILD) {
        // The parent's folder is the parent's.
        let clock = Clock::begun_at(UNIX);
        let round = std::env::var("AXBRIDGE_OUTBOX_ROUND").unwrap();
        let (outbox, queue, _thread) = Outbox::open(&PathBuf::from(dir), clock, accounts(), Limits::default()).unwrap();
        let other = outbox.clone();
        let (posted, told) = bounded::<String>(1000);
        let fees = posted.clone();
        let of_fees = round.clone();
        let ended = millis(UNIX);
        let others = std::thread::spawn(move || {
            for place in 0_u64.. {
                let session_id = format!("f{of_fees}x{place}");
                other.post_fee(&Fee { app: "food".into(), session_id: session_id.clone(), ended, ..Fee::default() });
                fees.send(format!("{session_id}-fee")).unwrap();
            }
        });
        std::thread::spawn(move || {
            for place in 0_u64.. {
                let session = format!("s{round}x{}", place / 3);
                let at = Duration::from_millis(place % 3);
                outbox.post_event(&call_event("food", &session, at, call_in()));
                posted.send(format!("{session}-callin-{}", clock.unix_ms(at))).unwrap();
                if place % 500 == 0 {
                    // What was delivered stays delivered or waits; it is not gone.
                    let now = clock.unix_ms(clock.now());
                    let due = queue.due(now, "food", Channel::Status, 200, &HashSet::new()).unwrap();
                    queue.settle(now, due.iter().map(|due| Outcome::Delivered { id: due.id, status: 200 }).collect());
                }
            }
        });
        let mut out = std::io::stdout().lock();
        for id in told {
            // Not `println`, which the test's harness keeps back.
            out.write_all(format!("posted {id}\n").as_bytes()).unwrap();
            out.flush().unwrap();
        }
        others.join().unwrap();
    }
    let site = Site::new();
    let mut posted: Vec<String> = Vec::new();
    for (round, kill_after) in [1_usize, 300, 12_000, 7, 3_000].into_iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "notify::tests::running::what_was_posted_survives_a_kill"])
            .env(CHILD, site.folder.path())
            .env("AXBRIDGE_OUTBOX_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let before = posted.len();
        // After the kill the lines that it had still said are read to their end.
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let Some((_, id)) = line.split_once("posted ") else { continue };
            posted.push(id.to_owned());
            if posted.len() == before + kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(posted.len() >= before + kill_after, "round {round}");
        if round % 2 == 0 && round != 4 {
            // The next child finds the spools itself.
            continue;
        }
        let (outbox, queue, thread) = site.open();
        drop(outbox);
        let connection = rusqlite::Connection::open(site.folder.path().join(FILE)).unwrap();
        let mut statement = connection.prepare("SELECT notice_id, state FROM notices ORDER BY notice_id").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap();
        let kept: Vec<(String, i64)> = rows.map(Result::unwrap).collect();
        let is_missing = |id: &&String| kept.binary_search_by(|(kept, _)| kept.cmp(id)).is_err();
        let missing: Vec<&String> = posted.iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "round {round}: {} of {}: {:?}", missing.len(), posted.len(), missing[0]);
        // Each once; and at most what was posted and not said: what the child's own channel holds, and two in hand.
        assert!(kept.len() <= posted.len() + (round + 1) * 1002, "round {round}: {} of {}", kept.len(), posted.len());
        assert!(kept.windows(2).all(|pair| pair[0].0 != pair[1].0));
        drop(queue);
        thread.join().unwrap();
    }
}

/// Not a test: what a notice costs. `cargo test --release -p axbridge --lib notify::tests::running::figures -- --ignored
/// --nocapture`
#[test]
#[ignore = "measures"]
fn figures() {
    let site = Site::new();
    let (outbox, queue, thread) = site.open();
    let cpu = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        #[allow(unsafe_code)]
        // SAFETY: it writes into that struct.
        unsafe {
            libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time)
        };
        Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
    };
    let count = 100_000_u64;
    let (mut spent, mut worst) = (Duration::ZERO, Duration::ZERO);
    let began = site.clock.now();
    for place in 0..count {
        let what = [call_in(), What::CallOut(onward()), What::Alerting(onward()), What::Answer(onward())]
            [place as usize % 4]
            .clone();
        let event = call_event("food", &format!("{:032x}", place / 4), Duration::from_millis(place), what);
        let (before, at) = (cpu(), site.clock.now());
        outbox.post_event(&event);
        spent += cpu() - before;
        worst = worst.max(site.clock.now() - at);
        if place % 200 == 199 {
            // Some 5,000 a second.
            let _ = crossbeam_channel::after(Duration::from_millis(40)).recv();
        }
    }
    println!("{count} posts: {:?} of CPU each, worst {worst:?}", spent / count as u32);
    until("all are stored", || read(&outbox.counters().posted[0]) == count);
    println!("stored after {:?}; unspooled {}", site.clock.now() - began, read(&outbox.counters().unspooled));
    let now = site.clock.unix_ms(Duration::from_millis(count));
    let (began, mut settled) = (site.clock.now(), 0);
    let mut reading = Duration::ZERO;
    while settled < count {
        let at = site.clock.now();
        let due = queue.due(now, "food", Channel::Status, 1000, &HashSet::new()).unwrap();
        reading += site.clock.now() - at;
        settled += due.len() as u64;
        queue.settle(now, due.iter().map(|due| Outcome::Delivered { id: due.id, status: 200 }).collect());
        until("all are settled", || read(&outbox.counters().delivered[0]) == settled);
    }
    println!("{count} settled in {:?}, of which {reading:?} went into reading", site.clock.now() - began);
    drop((outbox, queue));
    thread.join().unwrap();
    let size = std::fs::metadata(site.folder.path().join(FILE)).unwrap().len();
    println!("{} bytes a notice", size / count);
}
