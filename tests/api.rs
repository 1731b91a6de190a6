//! The API against calls, crashes and the operator's file: what is acknowledged holds for the next INVITE, and after `kill -9`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axbridge::clock::Clock;
use numbering::{ReadRule, spellings};
use phone::{Ender, PhoneEvent, Script, Sound, State};
use serde_json::{Value, json};
use support::booth::{Booth, Exchange, Who};
use support::daemon::{Daemon, axbridge};
use support::http::{AX, AX_CALLEE, AXB, Admin, Answer, App, CALL_STOP, RECORD, Scheme, id_in, request};
use support::receiver::{Act, Receiver};
use support::setup::{FULL, READ, SECRET, Setup, Site};
use support::{A, B, VOICE_OF_A, VOICE_OF_B, X, until, wav};

mod support;

const C: &str = "+8613700000003";
const D: &str = "+8613600000004";
const E: &str = "+8613500000005";
/// A second virtual number of `shop`.
const Y: &str = "+8675512340002";
/// The one of `post`, whose mode is A–X.
const Z: &str = "+8675512340003";
/// One that nobody has to begin with.
const W: &str = "+8675512340004";

/// A daemon with the API, and the one carrier of everybody.
struct World {
    booth: Booth,
    exchange: Rc<Exchange>,
    site: Site,
    setup: Setup,
    daemon: Daemon,
}

/// What a call comes to whose callee declines.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fate {
    /// This number rang.
    Reached(String),
    /// With this status, and nobody rang.
    Refused(u16),
}

fn reached(number: &str) -> Fate {
    Fate::Reached(number.to_owned())
}

impl World {
    /// X and Y are `shop`'s (A–X–B), Z is `post`'s (A–X); `mall` has none.
    fn new() -> World {
        World::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Setup)) -> World {
        let mut booth = Booth::new();
        let exchange = booth.exchange(Ipv4Addr::LOCALHOST);
        let mut setup = Setup::new();
        setup.log = "level = \"trace\"";
        setup.trunk("carrier", "127.0.0.1", Some(exchange.address()), "");
        setup.serve_api();
        setup.app("mall", "axb");
        setup.app("post", "ax");
        setup.number(X, "shop");
        setup.number(Y, "shop");
        setup.number(Z, "post");
        change(&mut setup);
        let site = Site::new();
        site.write(&setup);
        let daemon = site.start();
        World { booth, exchange, site, setup, daemon }
    }

    fn api(&self) -> SocketAddr {
        self.daemon.http.expect("the API is served")
    }

    fn app(&self, name: &str) -> App {
        App::new(self.api(), name, SECRET, Scheme::Aksk)
    }

    fn admin(&self) -> Admin {
        Admin::new(self.api(), FULL)
    }

    /// A phone that declines whatever comes.
    fn phone(&mut self, number: &str) -> Who {
        let script = Script::refuses(Duration::ZERO, 603);
        self.booth.add_at(&self.exchange, number, |config| config.script = script)
    }

    /// A and B, who answer, and can be heard.
    fn talkers(&mut self) -> (Who, Who) {
        let mut add = |number, voice| {
            self.booth.add_at(&self.exchange, number, |config| {
                config.sound = Sound::Tone(voice);
                config.script = Script::answers(Duration::from_millis(20));
            })
        };
        (add(A, VOICE_OF_A), add(B, VOICE_OF_B))
    }

    /// One calls X, where the callee, if there is one, declines. Once more where the ports of the last calls, which can be fast,
    /// are not free yet.
    fn call(&mut self, caller: Who, x: &str) -> Fate {
        until("there are ports", || Some(self.call_once(caller, x)).filter(|fate| *fate != Fate::Refused(503)))
    }

    fn call_once(&mut self, caller: Who, x: &str) -> Fate {
        let everybody = self.booth.everybody();
        let before: Vec<usize> = everybody.iter().map(|who| self.booth.events(*who).len()).collect();
        self.booth.call(caller, x, self.daemon.udp);
        let own = everybody.iter().position(|who| *who == caller).unwrap();
        let refused = |booth: &Booth| {
            booth.events(caller)[before[own]..].iter().find_map(|event| match event {
                PhoneEvent::Refused { status, .. } => Some(*status),
                _ => None,
            })
        };
        self.booth.wait("the call is refused, or declined", |booth| refused(booth).is_some());
        let status = refused(&self.booth).unwrap();
        let mut rang = Vec::new();
        for (who, before) in everybody.iter().zip(&before) {
            for event in &self.booth.events(*who)[*before..] {
                if let PhoneEvent::Invited { caller } = event {
                    assert_eq!(caller, x, "the called one sees X");
                    rang.push(self.booth.phone(*who).config().number.clone());
                }
            }
        }
        match (rang.pop(), status) {
            (None, status) => Fate::Refused(status),
            (Some(number), 603) if rang.is_empty() => Fate::Reached(number),
            (last, status) => panic!("{status}, and {last:?} rang, {rang:?} too"),
        }
    }

    /// One of A and B calls X; both hear each other.
    fn talk(&mut self, a: Who, b: Who, x: &str) {
        self.booth.call(a, x, self.daemon.udp);
        self.booth.wait("both have answered", |booth| {
            [a, b].iter().all(|who| booth.phone(*who).state() == State::Established)
        });
        self.hear(a, b, Duration::from_millis(100));
    }

    /// They hear each other for this long from now on.
    fn hear(&mut self, a: Who, b: Who, length: Duration) {
        let voice =
            |booth: &Booth, of: Who| if booth.phone(of).config().number == A { "A's voice" } else { "B's voice" };
        let heard = |booth: &Booth| [booth.heard(a, voice(booth, b)), booth.heard(b, voice(booth, a))];
        let before = heard(&self.booth);
        self.booth.wait("both hear each other", |booth| {
            heard(booth).iter().zip(before).all(|(now, before)| *now >= before + length)
        });
    }

    /// One hangs up: its BYE is answered, and the other one is told.
    fn hang_up(&mut self, who: Who, other: Who) {
        self.booth.hang_up(who);
        self.booth.wait("the BYE is answered", |booth| booth.phone(who).state() == State::Ended);
        self.booth.wait("the other one is told", |booth| booth.phone(other).state() == State::Ended);
    }

    /// The records so far, once there are so many. They come in no order: a call that had media is written a little after its
    /// end, when it is known what passed.
    fn records(&self, count: usize) -> Vec<Value> {
        until("a record for each call", || {
            let cdrs = self.site.cdrs();
            assert!(cdrs.len() <= count, "{cdrs:?}");
            (cdrs.len() == count).then_some(cdrs)
        })
    }

    /// What the records so far say of their calls' ends, once there are so many, in order.
    fn ends(&self, count: usize) -> Vec<(String, u64)> {
        let end = |cdr: &Value| (cdr["caller"].as_str().unwrap().to_owned(), cdr["state_code"].as_u64().unwrap());
        let mut ends: Vec<(String, u64)> = self.records(count).iter().map(end).collect();
        ends.sort();
        ends
    }

    fn reload(&mut self) {
        self.site.write(&self.setup);
        self.signal_and_wait("configuration taken");
    }

    /// SIGHUP; waits until this has been logged once more.
    fn signal_and_wait(&mut self, wanted: &str) {
        let count = |daemon: &Daemon| daemon.log().matches(wanted).count();
        let before = count(&self.daemon);
        self.daemon.signal("HUP");
        until(wanted, || (count(&self.daemon) > before).then_some(()));
    }

    /// `kill -9`, and a new one on what it has left.
    fn crash(self) -> World {
        let World { booth, exchange, site, setup, daemon } = self;
        assert_private(&daemon.crash());
        let daemon = site.start();
        World { booth, exchange, site, setup, daemon }
    }

    /// Ends everything; nothing of the parties is in the log.
    fn end(self) {
        self.booth.assert_proper();
        assert_private(&self.daemon.terminate());
    }
}

/// Everybody who occurs in these tests begins with +861 or +8675512340: nothing of the kind stands in a log, in any spelling.
fn assert_private(log: &str) {
    let crowd = (0..CROWD).map(member).chain([Operator::batch(0).remove(0), Operator::batch(3).remove(7)]);
    for number in [A, B, C, D, E, X, Y, Z, W].iter().map(ToString::to_string).chain(crowd) {
        for spelling in spellings(ReadRule::default().read(number.as_bytes()).unwrap()) {
            assert!(!log.contains(&spelling), "{spelling} in the log:\n{log}");
        }
    }
    for secret in [SECRET, FULL, READ] {
        assert!(!log.contains(secret), "{secret} in the log:\n{log}");
    }
}

/// How many there are in the crowd of the random programs.
const CROWD: u64 = 24;

fn member(place: u64) -> String {
    format!("+86132{:08}", 10_007 * (place + 1))
}

fn is_released(event: &PhoneEvent) -> bool {
    matches!(event, PhoneEvent::Released { by: Ender::Them, .. })
}

/// Now, since 1970.
fn now() -> Duration {
    let clock = Clock::start();
    clock.unix(clock.now())
}

// ---- live -----------------------------------------------------------------------------------------------------

#[test]
fn a_bind_counts_for_the_next_call_both_ways_and_an_unbind_spares_the_call_in_progress() {
    let mut world = World::new();
    let (a, b) = world.talkers();
    let (another_a, another_b) = (world.phone(A), world.phone(B));
    assert_eq!(world.call(another_a, X), Fate::Refused(403), "not bound yet");
    let id = world.app("shop").bind(X, A, B, &json!({}));
    world.talk(a, b, X);
    world.hang_up(b, a);
    world.talk(b, a, X);

    assert_eq!(world.app("shop").unbind(AXB, &id).code(), "0");
    assert_eq!(world.call(another_a, X), Fate::Refused(403));
    assert_eq!(world.call(another_b, X), Fate::Refused(403));
    world.hear(a, b, Duration::from_millis(200));
    world.hang_up(a, b);
    let ends = [(A, 0), (A, 8014), (A, 8014), (B, 0), (B, 8014)];
    assert_eq!(world.ends(5), ends.map(|(caller, code)| (caller.to_owned(), code)));
    assert_eq!(world.app("shop").unbind(AXB, &id).code(), "1012007", "it is gone");
    world.end();
}

#[test]
fn one_modify_transfers_and_the_old_b_is_nobody_at_once() {
    let mut world = World::new();
    let [a, b, c] = [A, B, C].map(|number| world.phone(number));
    let shop = App::new(world.api(), "shop", SECRET, Scheme::Wsse);
    let id = shop.bind(X, A, B, &json!({}));
    assert_eq!(world.call(a, X), reached(B));
    for (new, old, new_number) in [(c, b, C), (b, c, B), (c, b, C)] {
        assert_eq!(shop.put(AXB, &json!({"subscriptionId": id, "calleeNum": new_number})).code(), "0");
        assert_eq!(world.call(a, X), reached(new_number));
        assert_eq!(world.call(old, X), Fate::Refused(403));
        assert_eq!(world.call(new, X), reached(A));
    }
    let told = shop.ask("GET", AXB, &[("subscriptionId", &id)], None).success();
    assert_eq!(told["relationNumList"][0]["calleeNum"], C);
    world.end();
}

#[test]
fn while_a_binding_goes_to_and_fro_every_call_finds_the_one_or_the_other() {
    let mut world = World::with(|setup| setup.quarantine = "0s");
    let [a, ..] = [A, B, C].map(|number| world.phone(number));
    let shop = world.app("shop");
    let id = shop.bind(X, A, B, &json!({}));
    let (is_over, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut found = BTreeMap::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                let callee = [C, B][turns.load(Relaxed) % 2];
                assert_eq!(shop.put(AXB, &json!({"subscriptionId": id, "calleeNum": callee})).code(), "0");
                turns.fetch_add(1, Relaxed);
            }
        });
        // Whatever comes of it, the thread must see the end.
        let end = OnDrop(&is_over);
        until("there are enough of both", || {
            *found.entry(format!("{:?}", world.call(a, X))).or_insert(0) += 1;
            let calls: usize = found.values().sum();
            assert!(found.len() <= 2, "{found:?}");
            (found.len() == 2 && calls >= 30 && turns.load(Relaxed) >= 20).then_some(())
        });
        drop(end);
    });
    let either = [reached(C), reached(B)].map(|fate| format!("{fate:?}"));
    assert!(found.keys().eq(&either), "{found:?}");
    world.end();
}

/// Says when it goes that something is over.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_binding_of_one_second_carries_calls_for_that_second_and_no_longer() {
    carries_calls_for(1, |world| world);
}

#[test]
fn the_time_of_a_binding_runs_on_over_a_crash() {
    carries_calls_for(2, World::crash);
}

/// A pair that is bound for so many seconds, after which something happens.
fn carries_calls_for(seconds: u64, happens: impl FnOnce(World) -> World) {
    // So that ports do not run out: calls follow each other as fast as they can.
    let mut world = World::with(|setup| setup.quarantine = "0s");
    let (a, _) = (world.phone(A), world.phone(B));
    let asked = now();
    world.app("shop").bind(X, A, B, &json!({"duration": seconds}));
    let answered = now();
    world = happens(world);
    let mut reached_at = Vec::new();
    // A call of the loopback takes some milliseconds.
    let refused_at = until("it has run out", || {
        let begun = now();
        match world.call(a, X) {
            Fate::Reached(number) => {
                assert_eq!(number, B);
                reached_at.push(begun);
                None
            }
            Fate::Refused(status) => {
                assert_eq!(status, 403);
                Some(now())
            }
        }
    });
    let life = Duration::from_secs(seconds);
    assert!(refused_at >= asked + life, "refused {:?} after the request", refused_at - asked);
    let last = reached_at.last().expect("the first call is within its life");
    // A millisecond that has begun is over with the next; what is beyond that is a busy machine.
    let late = last.saturating_sub(answered + life);
    assert!(late < Duration::from_millis(500), "reached {late:?} after its end");
    let mut world = world.crash();
    for _ in 0..3 {
        assert_eq!(world.call(a, X), Fate::Refused(403), "once gone, it is gone");
    }
    assert_eq!(pairs(&world.app("shop"), X), BTreeMap::new());
    world.end();
}

#[test]
fn on_an_ax_strangers_reach_a_and_a_reaches_the_temporary_callee_of_a_moment_ago() {
    let mut world = World::new();
    let [a, _, c, d] = [A, B, C, D].map(|number| world.phone(number));
    let post = world.app("post");
    let id = post.bind_ax(Z, A);
    for stranger in [c, d] {
        assert_eq!(world.call(stranger, Z), reached(A));
    }
    assert_eq!(world.call(a, Z), Fate::Refused(403), "nobody has been named");
    for (key, value, callee) in [("subscriptionId", id.as_str(), C), ("privateNum", Z, B), ("privateNum", Z, D)] {
        assert_eq!(post.put(AX_CALLEE, &json!({key: value, "calleeNum": callee})).code(), "0");
        assert_eq!(world.call(a, Z), reached(callee));
    }
    assert_eq!(post.unbind(AX, &id).code(), "0");
    assert_eq!(world.call(a, Z), Fate::Refused(403));
    assert_eq!(world.call(c, Z), Fate::Refused(403));
    let ends = [(D, 7503), (C, 7503), (C, 8014), (A, 7503), (A, 7503), (A, 7503), (A, 8013), (A, 8014)];
    assert_eq!(world.ends(8), ends.map(|(caller, code)| (caller.to_owned(), code)));
    world.end();
}

#[test]
fn a_number_that_is_suspended_carries_no_call_until_it_serves_again() {
    let mut world = World::new();
    let (a, _) = (world.phone(A), world.phone(B));
    let number = json!([{"x": W, "app": "shop"}]);
    world.admin().ask("POST", "/numbers", &[], Some(&number)).success();
    world.app("shop").bind(W, A, B, &json!({}));
    assert_eq!(world.call(a, W), reached(B));
    let path = format!("/numbers/{}", W.replace('+', "%2B"));
    let change = |world: &World, state: &str| {
        let changed = world.admin().ask("PATCH", &path, &[], Some(&json!({"state": state}))).success();
        assert_eq!(changed["state"], state);
    };
    change(&world, "suspended");
    assert_eq!(world.call(a, W), Fate::Refused(403));
    let mut world = world.crash();
    assert_eq!(world.call(a, W), Fate::Refused(403), "so it was acknowledged");
    let wanted = json!({"relationNum": W, "callerNum": C, "calleeNum": D});
    assert_eq!(world.app("shop").post(AXB, &wanted).code(), "1012102");
    change(&world, "frozen");
    assert_eq!(world.call(a, W), reached(B), "11: the bindings that there are work");
    assert_eq!(world.app("shop").post(AXB, &wanted).code(), "1012102", "and there are no others");
    change(&world, "normal");
    assert_eq!(world.call(a, W), reached(B));
    let codes: Vec<u64> = world.ends(5).into_iter().map(|(_, code)| code).collect();
    assert_eq!(codes, [7503, 7503, 7503, 8055, 8055]);
    world.end();
}

// ---- calls ----------------------------------------------------------------------------------------------------

#[test]
fn a_call_in_progress_is_shown_and_ends_on_both_legs_by_either_api() {
    let mut world = World::new();
    let (a, b) = world.talkers();
    let (shop, mall, admin) = (world.app("shop"), world.app("mall"), world.admin());
    let id = shop.bind(X, A, B, &json!({}));
    assert_eq!(admin.list("/calls", &[]), Vec::<Value>::new());
    let mut sessions = BTreeSet::new();
    for round in 0..2 {
        world.talk(a, b, X);
        let calls = admin.list("/calls", &[("app", "shop"), ("x", X)]);
        assert_eq!(calls.len(), 1, "{calls:?}");
        let call = &calls[0];
        for (key, value) in [("app", "shop"), ("x", X), ("caller", A), ("callee", B), ("state", "talking")] {
            assert_eq!(call[key], value, "{call}");
        }
        assert_eq!(call["subscription_id"], id);
        let session = call["session_id"].as_str().unwrap().to_owned();
        assert!(sessions.insert(session.clone()));
        assert_eq!(admin.list("/calls", &[("app", "mall")]), Vec::<Value>::new());
        assert_eq!(admin.list("/calls", &[("x", Y)]), Vec::<Value>::new());

        let stop = json!({"sessionid": session, "signal": "call_stop"});
        let path = format!("/calls/{session}");
        assert_eq!(mall.post(CALL_STOP, &stop).code(), "1012080", "another app's call is no call");
        assert_eq!(Admin::new(world.api(), READ).ask("DELETE", &path, &[], None).status, 403);
        world.hear(a, b, Duration::from_millis(100));
        let released = |booth: &Booth| {
            [a, b].iter().all(|who| booth.events(*who).iter().filter(|event| is_released(event)).count() == round + 1)
        };
        if round == 0 {
            assert_eq!(shop.post(CALL_STOP, &stop).code(), "0");
        } else {
            assert_eq!(admin.ask("DELETE", &path, &[], None).status, 204);
        }
        world.booth.wait("both phones have a BYE", released);
        let again = shop.post(CALL_STOP, &stop);
        assert_eq!((again.status, again.code().as_str()), (403, "1012080"));
        assert_eq!(admin.ask("DELETE", &path, &[], None).status, 404);
        assert_eq!(admin.list("/calls", &[]), Vec::<Value>::new());
    }
    for cdr in world.records(2) {
        assert_eq!((&cdr["cause"], &cdr["released_by"]), (&json!("stopped"), &json!("platform")));
        assert!(sessions.remove(cdr["session_id"].as_str().unwrap()));
    }
    world.end();
}

#[test]
fn a_recording_is_fetched_by_a_link_that_nobody_else_gets_and_nobody_can_change() {
    let mut world = World::new();
    let (a, b) = world.talkers();
    let (shop, mall) = (world.app("shop"), App::new(world.api(), "mall", SECRET, Scheme::Wsse));
    let hint = "zh/hint_tone.wav";
    shop.bind(X, A, B, &json!({"recordFlag": "true"}));
    world.talk(a, b, X);
    world.hear(a, b, Duration::from_millis(3_200));
    world.hang_up(b, a);
    let cdr = world.records(1).remove(0);
    let name = cdr["recording"]["name"].as_str().unwrap_or_else(|| panic!("no recording: {cdr} {hint}")).to_owned();
    world.daemon.wait_for_metric("axbridge_recordings_total", &[("result", "finished")], 1.0);
    let file = fs::read(&world.site.recordings()[0]).unwrap();

    let ask = |app: &App, name: &str| app.ask("GET", RECORD, &[("recordDomain", "any"), ("fileName", name)], None);
    // The store of records has it a little after the file of lines.
    let moved = until("the recording is known", || Some(ask(&shop, &name)).filter(|answer| answer.status == 301));
    let location = moved.headers["location"].clone();
    assert_eq!(ask(&mall, &name).code(), "1012007");
    assert_eq!(ask(&shop, "20261123-0123456789abcdef0123456789abcdef.wav").code(), "1012007");
    assert_eq!(ask(&shop, "..").code(), "1010002");

    let base = format!("http://{}", world.api());
    let path = location.strip_prefix(&base).unwrap_or_else(|| panic!("{location} does not begin with {base}"));
    let fetch = |path: &str, range: &str| {
        let range = Some(("Range", format!("bytes={range}"))).filter(|(_, range)| range != "bytes=");
        request(world.api(), "GET", path, range.as_slice(), None).unwrap()
    };
    let whole = fetch(path, "");
    assert_eq!((whole.status, whole.headers["content-type"].as_str()), (200, "audio/x-wav"));
    assert_eq!(whole.body, file, "as it lies there");
    wav::assert_both_voices(wav::read(&whole.body).unwrap());
    assert_eq!(wav::read(&whole.body).unwrap().len() as u64 / 8, cdr["recording"]["duration_ms"].as_u64().unwrap());
    for (range, part) in [("0-57", 0..58), ("100-", 100..file.len()), ("-20", file.len() - 20..file.len())] {
        let answer = fetch(path, range);
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.headers["content-range"], format!("bytes {}-{}/{}", part.start, part.end - 1, file.len()));
        assert_eq!(answer.body, file[part]);
    }
    assert_eq!(fetch(path, &format!("{}-", file.len())).status, 416);

    let last = path.chars().last().unwrap();
    let other = if last == '0' { "1" } else { "0" };
    let tampered = [
        format!("{}{other}", &path[..path.len() - 1]),
        path.replace("expires=", "expires=9"),
        path.replace(&name, "20261123-0123456789abcdef0123456789abcdef.wav"),
        path.split("&signature").next().unwrap().to_owned(),
        path.split('?').next().unwrap().to_owned(),
    ];
    for path in tampered {
        let answer = fetch(&path, "");
        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(answer.json()["error"], "bad_signature");
    }
    // The key of links outlives the process.
    let path = path.to_owned();
    let world = world.crash();
    assert_eq!(request(world.api(), "GET", &path, &[], None).unwrap().body, file);
    world.end();
}

// ---- what is acknowledged, and kill -9 ------------------------------------------------------------------------

/// The pairs of an X, as its app is told of them: id, A, B, minutes.
fn pairs(app: &App, x: &str) -> BTreeMap<String, (String, String, u64)> {
    let answer = app.ask("GET", AXB, &[("relationNum", x), ("pageSize", "100")], None);
    if answer.code() == "1012007" {
        return BTreeMap::new();
    }
    let told = answer.success();
    let pairs = told["relationNumList"].as_array().unwrap().iter().map(|pair| {
        let text = |key: &str| pair[key].as_str().unwrap().to_owned();
        let terms = (text("callerNum"), text("calleeNum"), pair["maxDuration"].as_u64().unwrap());
        (text("subscriptionId"), terms)
    });
    pairs.collect()
}

#[test]
fn kill_9_right_after_an_answer_takes_nothing_of_what_it_said() {
    let mut world = World::new();
    let [a, _, c] = [A, B, C].map(|number| world.phone(number));
    let mut expected = BTreeMap::new();
    for round in 0..2 {
        let id = world.app("shop").bind(X, A, B, &json!({"maxDuration": 7}));
        world = world.crash();
        expected.insert(id.clone(), (A.to_owned(), B.to_owned(), 7));
        assert_eq!(pairs(&world.app("shop"), X), expected, "bound, round {round}");
        assert_eq!(world.call(a, X), reached(B));

        let change = json!({"subscriptionId": id, "calleeNum": C, "maxDuration": 9});
        assert_eq!(world.app("shop").put(AXB, &change).code(), "0");
        world = world.crash();
        expected.insert(id.clone(), (A.to_owned(), C.to_owned(), 9));
        assert_eq!(pairs(&world.app("shop"), X), expected, "transferred, round {round}");
        assert_eq!(world.call(a, X), reached(C));
        assert_eq!(world.call(c, X), reached(A));

        let post = world.app("post");
        let ax = post.bind_ax(Z, A);
        assert_eq!(post.put(AX_CALLEE, &json!({"subscriptionId": ax, "calleeNum": C})).code(), "0");
        world = world.crash();
        assert_eq!(world.call(a, Z), reached(C));
        assert_eq!(world.app("post").unbind(AX, &ax).code(), "0");

        assert_eq!(world.app("shop").unbind(AXB, &id).code(), "0");
        world = world.crash();
        assert_eq!(world.call(a, Z), Fate::Refused(403));
        expected.clear();
        assert_eq!(pairs(&world.app("shop"), X), expected, "unbound, round {round}");
        assert_eq!(world.call(a, X), Fate::Refused(403));
    }
    world.end();
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

/// A binding as a program of the random test knows it, by its tag: its `userData`, which every bind and modify sets anew.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    id: String,
    x: String,
    a: String,
    /// Empty in an A–X.
    b: String,
    minutes: u64,
}

/// What it is told of a binding by the admin API.
fn row_of(view: &Value) -> (String, Row) {
    let text = |key: &str| view[key].as_str().unwrap_or_default().to_owned();
    let row = Row {
        id: text("subscription_id"),
        x: text("x"),
        a: text("a"),
        b: text("b"),
        minutes: view["max_minutes"].as_u64().unwrap(),
    };
    (text("user_data"), row)
}

/// When the daemon is to be killed.
struct Execution {
    daemon: Mutex<Option<Daemon>>,
    answers: AtomicUsize,
    after: usize,
    pause: Duration,
    /// What it had logged.
    log: Mutex<Option<String>>,
}

impl Execution {
    fn carry_out(&self) {
        let Some(daemon) = self.daemon.lock().unwrap().take() else { return };
        let clock = Clock::start();
        while clock.now() < self.pause {
            std::hint::spin_loop();
        }
        *self.log.lock().unwrap() = Some(daemon.crash());
    }
}

/// A customer's program: it makes one request after the other, and knows what must stand when each is answered.
struct Program {
    name: String,
    app: &'static str,
    is_ax: bool,
    /// Nobody else binds on these; on the last one, the other program of the app does.
    own: Vec<String>,
    shared: String,
    /// Of another app.
    foreign: String,
    random: Random,
    made: usize,
    rows: BTreeMap<String, Row>,
    /// What stands if the request that has not been answered has been done; the id of a new binding is not known.
    undecided: Option<BTreeMap<String, Row>>,
    /// Answers, by their codes.
    answers: BTreeMap<String, usize>,
}

impl Program {
    fn tag(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.name, self.made)
    }

    fn party(&mut self) -> String {
        member(self.random.below(CROWD))
    }

    /// Runs until the daemon is gone.
    fn run(&mut self, server: SocketAddr, execution: &Execution) {
        let app = App::new(server, self.app, SECRET, if self.is_ax { Scheme::Wsse } else { Scheme::Aksk });
        while self.step(&app).is_ok() {
            if execution.answers.fetch_add(1, Relaxed) + 1 == execution.after {
                execution.carry_out();
            }
        }
    }

    fn step(&mut self, app: &App) -> io::Result<()> {
        match self.random.below(10) {
            0..=4 => self.bind(app),
            5 | 6 => self.modify(app),
            7 | 8 => self.unbind(app),
            _ => self.query(app),
        }
    }

    /// Sends a request after which there would be `wanted`; whether it was done, by the codes that it may have.
    fn ask(
        &mut self,
        wanted: BTreeMap<String, Row>,
        codes: &[&str],
        send: impl FnOnce() -> io::Result<Answer>,
    ) -> io::Result<Option<Value>> {
        self.undecided = Some(wanted);
        let answer = send()?;
        let wanted = self.undecided.take();
        let code = answer.code();
        *self.answers.entry(code.clone()).or_default() += 1;
        assert!(codes.contains(&code.as_str()), "{}: {} instead of {codes:?}", self.name, answer.json());
        if code != "0" {
            return Ok(None);
        }
        self.rows = wanted.expect("it has just been put there");
        Ok(Some(answer.json()))
    }

    /// Which codes a bind or modify to this row may have, its old tag aside.
    fn codes(&self, row: &Row, but: &str) -> Vec<&'static str> {
        let others = || self.rows.iter().filter(|(tag, _)| *tag != but).map(|(_, other)| other);
        let on_x = || others().filter(|other| other.x == row.x);
        let has = |party: &str| on_x().any(|other| other.a == party || other.b == party);
        let is_alone = row.x != self.shared;
        let refused = match self.is_ax {
            false if row.a == row.b => return vec!["1010002"],
            false if row.x == self.foreign => return vec!["1012001"],
            true if row.x == self.foreign => return vec!["1011001"],
            false => Some("1012010").filter(|_| has(&row.a) || has(&row.b)),
            true if on_x().any(|other| other.a == row.a) => Some("1016002"),
            true => Some("1011005").filter(|_| on_x().next().is_some()),
        };
        match (refused, is_alone, self.is_ax) {
            (Some(code), ..) => vec![code],
            (None, true, _) => vec!["0"],
            // The other program's may be in the way.
            (None, false, false) => vec!["0", "1012010"],
            (None, false, true) => vec!["0", "1011005", "1016002"],
        }
    }

    fn bind(&mut self, app: &App) -> io::Result<()> {
        let tag = self.tag();
        let place = self.random.below(self.own.len() as u64 * 3 + 4) as usize;
        let x = match place {
            0 => &self.foreign,
            1..=3 => &self.shared,
            place => &self.own[(place - 4) / 3],
        };
        let x = x.clone();
        let (a, b) = (self.party(), if self.is_ax { String::new() } else { self.party() });
        let row = Row { id: String::new(), x, a, b, minutes: self.random.below(1_440) };
        let codes = self.codes(&row, "");
        let body = if self.is_ax {
            json!({"privateNum": row.x, "origNum": row.a, "maxDuration": row.minutes, "userData": tag})
        } else {
            json!({"relationNum": row.x, "callerNum": row.a, "calleeNum": row.b, "maxDuration": row.minutes,
                "userData": tag})
        };
        let wanted = with(&self.rows, &tag, row);
        let path = if self.is_ax { AX } else { AXB };
        let done = self.ask(wanted, &codes, || app.try_ask("POST", path, &[], Some(&body)))?;
        if let Some(told) = done {
            self.rows.get_mut(&tag).expect("it has just been bound").id = id_in(&told);
        }
        Ok(())
    }

    /// One of its rows; `None` where there is none.
    fn some_row(&mut self) -> Option<(String, Row)> {
        let place = self.random.below(self.rows.len().max(1) as u64) as usize;
        self.rows.iter().nth(place).map(|(tag, row)| (tag.clone(), row.clone()))
    }

    fn modify(&mut self, app: &App) -> io::Result<()> {
        let Some((old, mut row)) = self.some_row() else { return self.bind(app) };
        let tag = self.tag();
        row.minutes = self.random.below(1_440);
        let mut body = json!({"subscriptionId": row.id, "maxDuration": row.minutes, "userData": tag});
        if self.random.below(2) == 0 {
            row.a = self.party();
            body[if self.is_ax { "origNum" } else { "callerNum" }] = json!(row.a);
        }
        if !self.is_ax && self.random.below(2) == 0 {
            row.b = self.party();
            body["calleeNum"] = json!(row.b);
        }
        let codes = self.codes(&row, &old);
        let mut wanted = with(&self.rows, &tag, row);
        wanted.remove(&old);
        let path = if self.is_ax { AX } else { AXB };
        self.ask(wanted, &codes, || app.try_ask("PUT", path, &[], Some(&body))).map(drop)
    }

    /// Every pair of an X at once.
    fn unbind_all(&mut self, app: &App) -> io::Result<()> {
        let x = self.own[self.random.below(self.own.len() as u64) as usize].clone();
        let mut wanted = self.rows.clone();
        wanted.retain(|_, row| row.x != x);
        let code = if wanted.len() == self.rows.len() { "1012001" } else { "0" };
        self.ask(wanted, &[code], || app.try_ask("DELETE", AXB, &[("relationNum", &x)], None)).map(drop)
    }

    fn unbind(&mut self, app: &App) -> io::Result<()> {
        if !self.is_ax && self.random.below(6) == 0 {
            return self.unbind_all(app);
        }
        let Some((tag, row)) = self.some_row() else { return self.bind(app) };
        let mut wanted = self.rows.clone();
        wanted.remove(&tag);
        let (path, gone) = if self.is_ax { (AX, "1011004") } else { (AXB, "1012007") };
        let id = [("subscriptionId", row.id.as_str())];
        self.ask(wanted, &["0"], || app.try_ask("DELETE", path, &id, None))?;
        let rows = self.rows.clone();
        self.ask(rows, &[gone], || app.try_ask("DELETE", path, &id, None)).map(drop)
    }

    fn query(&mut self, app: &App) -> io::Result<()> {
        let Some((_, row)) = self.some_row() else { return self.bind(app) };
        let (path, list, a) =
            if self.is_ax { (AX, "privateNumList", "origNum") } else { (AXB, "relationNumList", "callerNum") };
        let rows = self.rows.clone();
        let told = self.ask(rows, &["0"], || app.try_ask("GET", path, &[("subscriptionId", &row.id)], None))?;
        let told = &told.expect("0")[list][0];
        assert_eq!((&told[a], &told["maxDuration"]), (&json!(row.a), &json!(row.minutes)));
        Ok(())
    }

    /// Takes what a restarted daemon has, which must be what this one was told, with or without what was in flight.
    fn settle(&mut self, found: BTreeMap<String, Row>) {
        let is_like = |rows: &BTreeMap<String, Row>| {
            let same = |(own, one): (&String, &Row), (tag, other): (&String, &Row)| {
                let id = if one.id.is_empty() { other.id.clone() } else { one.id.clone() };
                own == tag && Row { id, ..one.clone() } == *other
            };
            rows.len() == found.len() && rows.iter().zip(&found).all(|(one, other)| same(one, other))
        };
        let undecided = self.undecided.take();
        let is_done = undecided.as_ref().is_some_and(is_like);
        assert!(
            is_done || is_like(&self.rows),
            "{} was told {:#?}\n(in flight: {undecided:#?})\nand finds {found:#?}",
            self.name,
            self.rows
        );
        self.rows = found;
    }
}

/// The operator's program: numbers come and go to another app, many at once.
struct Operator {
    random: Random,
    /// X, to its app and state.
    numbers: BTreeMap<String, (String, String)>,
    batches: u64,
    undecided: Option<BTreeMap<String, (String, String)>>,
    /// Changes that were acknowledged.
    acknowledged: usize,
}

/// Numbers that the operator adds at once.
const BATCH: u64 = 20;

/// Batches of these, at most: all of them fit on a page.
const BATCHES: u64 = 30;

impl Operator {
    fn batch(number: u64) -> Vec<String> {
        (0..BATCH).map(|place| format!("+8675588{:06}", number * BATCH + place)).collect()
    }

    fn run(&mut self, server: SocketAddr) {
        let headers = [("Authorization", format!("Bearer {FULL}"))];
        loop {
            let mut wanted = self.numbers.clone();
            let batch = Operator::batch(self.random.below(self.batches.max(1)));
            let app = ["shop", "mall"][self.random.below(2) as usize];
            let (method, path, body) = match self.random.below(3) {
                0 if self.batches > 0 => {
                    for x in &batch {
                        wanted.get_mut(x).unwrap().0 = app.to_owned();
                    }
                    ("POST", "/numbers/transfer".to_owned(), json!({"numbers": batch, "to": app}))
                }
                1 if self.batches > 0 => {
                    let x = &batch[self.random.below(BATCH) as usize];
                    let state = ["normal", "frozen", "suspended", "unavailable"][self.random.below(4) as usize];
                    wanted.get_mut(x).unwrap().1 = state.to_owned();
                    ("PATCH", format!("/numbers/{}", x.replace('+', "%2B")), json!({"state": state}))
                }
                _ if self.batches < BATCHES => {
                    let batch = Operator::batch(self.batches);
                    wanted.extend(batch.iter().map(|x| (x.clone(), (app.to_owned(), "normal".to_owned()))));
                    let numbers: Vec<Value> = batch.iter().map(|x| json!({"x": x, "app": app})).collect();
                    ("POST", "/numbers".to_owned(), json!(numbers))
                }
                _ => continue,
            };
            self.undecided = Some(wanted);
            let Ok(answer) = request(server, method, &format!("/admin/v1{path}"), &headers, Some(&body)) else {
                return;
            };
            answer.success();
            self.acknowledged += 1;
            self.numbers = self.undecided.take().expect("it has just been put there");
            self.batches = self.numbers.len() as u64 / BATCH;
        }
    }

    /// As [`Program::settle`]; and each change that was made is written down, in the same breath.
    fn settle(&mut self, admin: &Admin) {
        let listed = admin.list("/numbers", &[("limit", "1000")]);
        let text = |number: &Value, key: &str| number[key].as_str().unwrap().to_owned();
        let of_operator = listed.iter().filter(|number| number["is_configured"] == false);
        let found: BTreeMap<String, (String, String)> =
            of_operator.map(|number| (text(number, "x"), (text(number, "app"), text(number, "state")))).collect();
        let undecided = self.undecided.take();
        let is_done = undecided.as_ref() == Some(&found);
        assert!(
            is_done || found == self.numbers,
            "told {:#?}\n(in flight: {undecided:#?})\nfound {found:#?}",
            self.numbers
        );
        let is_noop = undecided.as_ref() == Some(&self.numbers);
        let lines = admin.list("/audit", &[("limit", "1000")]).len();
        let expected = self.acknowledged + usize::from(is_done);
        // One that would change nothing has been done or not: only the log tells.
        assert!(lines == expected || is_noop && lines + 1 == expected, "{lines} lines, and {expected} changes");
        self.acknowledged = lines;
        self.numbers = found;
        self.batches = self.numbers.len() as u64 / BATCH;
    }
}

fn with(rows: &BTreeMap<String, Row>, tag: &str, row: Row) -> BTreeMap<String, Row> {
    let mut rows = rows.clone();
    rows.insert(tag.to_owned(), row);
    rows
}

/// Every binding of the daemon, by its tag.
fn all_rows(admin: &Admin) -> BTreeMap<String, Row> {
    let views = admin.list("/bindings", &[("limit", "1000")]);
    let count = views.len();
    let rows: BTreeMap<String, Row> = views.iter().map(row_of).collect();
    assert_eq!(rows.len(), count, "one tag, one binding: {views:?}");
    rows
}

#[test]
fn whatever_was_acknowledged_to_many_clients_holds_after_each_kill_9_and_what_was_in_flight_is_whole() {
    let x_of = |app: usize, place: usize| format!("+8675577{app}0{place:03}");
    let apps = ["shop", "mall", "post"];
    let mut world = World::with(|setup| {
        for (app, name) in apps.iter().enumerate() {
            for place in 0..6 {
                setup.number(&x_of(app, place), name);
            }
        }
    });
    let programs = (0..6).map(|place| {
        let app = place / 2;
        let first = 1 + place % 2 * 2;
        Program {
            name: format!("p{place}"),
            app: apps[app],
            is_ax: app == 2,
            own: vec![x_of(app, first), x_of(app, first + 1)],
            shared: x_of(app, 0),
            foreign: x_of((app + 1) % 3, 5),
            random: Random(0x9e37_79b9 + place as u64),
            made: 0,
            rows: BTreeMap::new(),
            undecided: None,
            answers: BTreeMap::new(),
        }
    });
    let mut programs: Vec<Program> = programs.collect();
    let mut operator = Operator {
        random: Random(0x1234_5678),
        numbers: BTreeMap::new(),
        batches: 0,
        undecided: None,
        acknowledged: 0,
    };
    let mut random = Random(0x2545_F491);
    let mut in_flight = 0;
    for round in 0..24 {
        let server = world.api();
        let World { booth, exchange, site, setup, daemon } = world;
        // After so many answers; every other time at once, else in the midst of a commit.
        let execution = Execution {
            daemon: Mutex::new(Some(daemon)),
            answers: AtomicUsize::new(0),
            after: 40 + random.below(120) as usize,
            pause: Duration::from_micros(random.below(8_000) * (round % 2)),
            log: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            for program in &mut programs {
                scope.spawn(|| program.run(server, &execution));
            }
            scope.spawn(|| operator.run(server));
            // Where programs fail there are no answers; that is seen when the scope ends.
            let clock = Clock::start();
            until("the daemon is killed", || {
                if clock.now() > Duration::from_secs(10) {
                    execution.carry_out();
                }
                execution.log.lock().unwrap().is_some().then_some(())
            });
        });
        assert_private(&execution.log.into_inner().unwrap().expect("it is dead"));
        let daemon = site.start();
        world = World { booth, exchange, site, setup, daemon };
        in_flight += programs.iter().filter(|program| program.undecided.is_some()).count();

        operator.settle(&world.admin());
        let mut all = all_rows(&world.admin());
        let mut parties = BTreeSet::new();
        for row in all.values() {
            for party in [&row.a, &row.b].into_iter().filter(|party| !party.is_empty()) {
                assert!(parties.insert((row.x.clone(), party.clone())), "twice on {}: {all:#?}", row.x);
            }
        }
        for program in &mut programs {
            let prefix = format!("{}-", program.name);
            let found = all.iter().filter(|(tag, _)| tag.starts_with(&prefix));
            let found: BTreeMap<String, Row> = found.map(|(tag, row)| (tag.clone(), row.clone())).collect();
            all.retain(|tag, _| !tag.starts_with(&prefix));
            program.settle(found);
        }
        assert!(all.is_empty(), "nobody has made these: {all:#?}");
    }
    assert!(in_flight > 0, "something was in flight");
    let mut codes = BTreeMap::new();
    for (code, count) in programs.iter().flat_map(|program| &program.answers) {
        *codes.entry(code.as_str()).or_insert(0) += count;
    }
    for code in ["0", "1012010", "1012001", "1012007", "1011001", "1011004", "1011005"] {
        assert!(codes.contains_key(code), "the programs come by {code}: {codes:?}");
    }
    world.end();
}

/// What a record says of its call, in the order of [`told_of`].
type Told = [String; 8];

fn told_of(record: &Value) -> Told {
    let keys = ["user_data", "subscription_id", "caller", "x", "callee", "cause", "released_by", "app"];
    keys.map(|key| record[key].as_str().unwrap_or_default().to_owned())
}

#[test]
fn kill_9_right_after_a_call_leaves_its_record_exactly_once_in_the_store_and_in_the_file() {
    let mut world = World::new();
    let c = world.phone(C);
    let mut expected: Vec<Told> = Vec::new();
    for round in 0..6 {
        let (a, b) = world.talkers();
        let tag = format!("call-{round}");
        let id = world.app("shop").bind(X, A, B, &json!({"userData": tag}));
        world.talk(a, b, X);
        // Now and then there is one before it.
        if round > 1 {
            assert_eq!(world.call(c, X), Fate::Refused(403));
            expected.push(["", "", C, X, "", "not_bound", "platform", "shop"].map(str::to_owned));
        }
        let (who, other, by) = if round % 2 == 0 { (a, b, "caller") } else { (b, a, "callee") };
        expected.push([&tag, &id, A, X, B, "hung_up", by, "shop"].map(str::to_owned));
        if round < 4 {
            world.booth.hang_up(who);
            world.booth.wait("the BYE is answered", |booth| booth.phone(who).state() == State::Ended);
        } else {
            // The last call is one that B declines: A has seen the 603.
            world.hang_up(who, other);
            world.booth.set_script(b, Script::refuses(Duration::ZERO, 603));
            assert_eq!(world.call(a, X), reached(B));
            expected.push([&tag, &id, A, X, B, "rejected", "callee", "shop"].map(str::to_owned));
        }
        world = world.crash();
        // Whether the other phone has been told or not, it is of no more use.
        world.booth.hang_up(other);
        world.exchange.forget();

        expected.sort();
        let admin = world.admin();
        let stored = until("every record is in the store", || {
            let found = admin.list("/cdrs", &[("x", X), ("limit", "1000")]);
            (found.len() >= expected.len()).then_some(found)
        });
        let lines = until("every record is in the file", || {
            Some(world.site.cdrs()).filter(|lines| lines.len() >= expected.len())
        });
        let sorted = |records: Vec<Value>| {
            let mut told: Vec<Told> = records.iter().map(told_of).collect();
            told.sort();
            let sessions: BTreeSet<String> = records.iter().map(|record| record["session_id"].to_string()).collect();
            assert_eq!(sessions.len(), told.len(), "each session once: {records:?}");
            (told, sessions)
        };
        let stored = sorted(stored.iter().map(|view| view["record"].clone()).collect());
        assert_eq!(stored.0, expected, "in the store");
        assert_eq!(sorted(lines), stored, "in the file");
        assert_eq!(world.app("shop").unbind(AXB, &id).code(), "0");
    }
    assert_private(&world.daemon.terminate());
    assert_eq!(world.site.cdrs().len(), expected.len());
}

// ---- beside the operator's file -------------------------------------------------------------------------------

#[test]
fn bindings_of_the_file_and_of_the_api_stand_side_by_side_and_only_the_file_changes_its_own() {
    let mut world = World::with(|setup| {
        setup.bind(W, A, B, "carrier");
    });
    let [a, b, c, d] = [A, B, C, D].map(|number| world.phone(number));
    let shop = world.app("shop");
    let id = shop.bind(W, C, D, &json!({}));
    let refused = shop.post(AXB, &json!({"relationNum": W, "callerNum": A, "calleeNum": E}));
    assert_eq!(refused.code(), "1012010", "the file has A on W");
    let all = |world: &mut World, with_file: bool| {
        for (caller, callee) in [(a, B), (b, A)] {
            assert_eq!(world.call(caller, W), if with_file { reached(callee) } else { Fate::Refused(403) });
        }
        for (caller, callee) in [(c, D), (d, C)] {
            assert_eq!(world.call(caller, W), reached(callee));
        }
    };
    all(&mut world, true);

    let listed = pairs(&shop, W);
    assert_eq!(listed.len(), 2, "{listed:?}");
    let (of_file, _) = listed.iter().find(|(listed, _)| **listed != id).unwrap();
    assert_eq!(shop.put(AXB, &json!({"subscriptionId": of_file, "calleeNum": E})).code(), "1010002");
    assert_eq!(shop.unbind(AXB, of_file).code(), "1010002");
    let path = format!("/bindings/{of_file}");
    let refused = world.admin().ask("DELETE", &path, &[], None);
    assert_eq!((refused.status, &refused.json()["error"]), (409, &json!("configured")));
    assert_eq!(pairs(&shop, W), listed);
    all(&mut world, true);

    // The number stays: the API has bindings on it.
    world.setup.unbind(W, A);
    world.setup.number(W, "shop");
    world.reload();
    all(&mut world, false);
    assert_eq!(pairs(&shop, W).keys().collect::<Vec<_>>(), [&id]);

    // One of the file that is in the way of the API's: all of that file is refused.
    let good = world.setup.clone();
    world.setup.sections = good.sections.replace(&format!("\n[[number]]\nx = \"{W}\"\napp = \"shop\"\n"), "");
    let without = world.setup.clone();
    world.setup.bind(W, C, E, "carrier");
    world.setup.bind(Y, A, E, "carrier");
    world.setup.sections = without.sections.replace(&format!("\n[[number]]\nx = \"{Y}\"\napp = \"shop\"\n"), "");
    world.site.write(&world.setup);
    world.signal_and_wait("configuration not taken; the old one stands");
    let said = world.daemon.log();
    let said = said.lines().rfind(|line| line.contains("configuration not taken")).unwrap();
    assert!(said.contains("is bound on this x already"), "{said}");
    all(&mut world, false);
    assert_eq!(world.call(a, Y), Fate::Refused(403), "nothing of that file was taken");

    // Without its number, the API's binding would hang in the air.
    world.setup = without.clone();
    world.site.write(&world.setup);
    world.signal_and_wait("configuration not taken; the old one stands");
    let said = world.daemon.log();
    let said = said.lines().rfind(|line| line.contains("configuration not taken")).unwrap();
    assert!(said.contains("still has bindings of the API"), "{said}");
    all(&mut world, false);

    world.setup = without;
    world.setup.bind(W, A, B, "carrier");
    world.reload();
    all(&mut world, true);
    assert_eq!(pairs(&shop, W), listed, "with the ids that they had");
    let mut world = world.crash();
    all(&mut world, true);
    assert_eq!(pairs(&world.app("shop"), W), listed);
    world.end();
}

#[test]
fn a_binding_of_the_api_is_there_in_the_midst_of_every_reload() {
    let mut world = World::with(|setup| {
        setup.bind(W, A, B, "carrier");
        setup.quarantine = "0s";
    });
    let [a, _, c, _] = [A, B, C, D].map(|number| world.phone(number));
    world.app("shop").bind(W, C, D, &json!({}));
    // W has to stay, whoever is bound on it.
    world.setup.bind(W, E, "+8613500000015", "carrier");
    for round in 0..10 {
        if round % 2 == 0 {
            world.setup.unbind(W, A);
        } else {
            world.setup.bind(W, A, B, "carrier");
        }
        world.site.write(&world.setup);
        let count = |daemon: &Daemon| daemon.log().matches("configuration taken").count();
        let before = count(&world.daemon);
        world.daemon.signal("HUP");
        let mut calls = 0;
        while calls < 3 || count(&world.daemon) == before {
            assert_eq!(world.call(c, W), reached(D));
            calls += 1;
            assert!(calls < 10_000, "the file is not taken");
        }
        let expected = if round % 2 == 0 { Fate::Refused(403) } else { reached(B) };
        assert_eq!(world.call(a, W), expected);
    }
    world.end();
}

#[test]
fn a_binding_of_the_file_that_comes_while_it_is_down_waits_for_the_one_of_the_api_in_its_way() {
    let mut world = World::with(|setup| setup.bind(W, A, B, "carrier"));
    let [a, b, c] = [A, B, C].map(|number| world.phone(number));
    let (d, _) = (world.phone(D), world.phone(E));
    let id = world.app("shop").bind(W, C, D, &json!({}));
    world.setup.bind(W, C, E, "carrier");
    world.site.write(&world.setup);
    world = world.crash();
    let said = world.daemon.log();
    let line = said.lines().find(|line| line.contains("a binding of the configuration is left out"));
    assert!(line.is_some_and(|line| line.contains("ERROR") && line.contains("is bound on this x already")), "{said}");
    assert_eq!(world.call(c, W), reached(D), "what was acknowledged stands");
    assert_eq!(world.call(d, W), reached(C));
    assert_eq!(world.call(a, W), reached(B), "the rest of the file is taken");
    assert_eq!(world.app("shop").unbind(AXB, &id).code(), "0");
    world.signal_and_wait("configuration taken");
    assert_eq!(world.call(c, W), reached(E));
    assert_eq!(world.call(d, W), Fate::Refused(403));
    assert_eq!(world.call(b, W), reached(A));
    world.end();
}

#[test]
fn an_app_that_the_admin_api_makes_serves_calls_at_once_and_after_a_restart() {
    let mut world = World::new();
    let [a, b, c] = [A, B, C].map(|number| world.phone(number));
    let admin = world.admin();
    let prompts = json!({"no_binding": "", "no_permission": "", "service_fault": ""});
    let made = json!({"name": "kiosk", "mode": "axb", "hint_tone": "zh/hint_tone.wav", "prompts": prompts});
    let secret = admin.ask("POST", "/apps", &[], Some(&made)).success();
    let secret = secret["secret"].as_str().expect("it is shown once").to_owned();
    let number = json!([{"x": W, "app": "shop"}]);
    admin.ask("POST", "/numbers", &[], Some(&number)).success();
    let kiosk = App::new(world.api(), "kiosk", &secret, Scheme::Aksk);
    let wanted = json!({"relationNum": W, "callerNum": A, "calleeNum": B});
    assert_eq!(kiosk.post(AXB, &wanted).code(), "1012001", "W is shop's");
    let moved = json!({"numbers": [W], "to": "kiosk"});
    admin.ask("POST", "/numbers/transfer", &[], Some(&moved)).success();
    assert_eq!(world.app("shop").post(AXB, &wanted).code(), "1012001", "W was shop's");
    let id = id_in(&kiosk.post(AXB, &wanted).success());
    for _ in 0..2 {
        assert_eq!(world.call(a, W), reached(B));
        assert_eq!(world.call(b, W), reached(A));
        assert_eq!(world.call(c, W), Fate::Refused(403));
        let kiosk = App::new(world.api(), "kiosk", &secret, Scheme::Wsse);
        assert_eq!(pairs(&kiosk, W).keys().collect::<Vec<_>>(), [&id]);
        let why = world.admin().get("/why", &[("x", W), ("caller", A)]);
        assert_eq!((&why["app"], &why["connects"]), (&json!("kiosk"), &json!(true)));
        // A reload of the file knows nothing of the app, and leaves it alone.
        world.reload();
        assert_eq!(world.call(a, W), reached(B));
        assert!(!world.daemon.log().contains(&secret));
        world = world.crash();
    }
    for cdr in world.records(8) {
        assert_eq!(cdr["app"], "kiosk", "{cdr}");
    }
    world.end();
}

// ---- who administers ------------------------------------------------------------------------------------------

#[test]
fn who_may_only_look_changes_nothing_and_what_is_changed_is_written_down() {
    let world = World::new();
    let (admin, onlooker) = (world.admin(), Admin::new(world.api(), READ));
    let x = |path: &str| path.replace('+', "%2B");
    let number = json!([{"x": W, "app": "shop"}]);
    let app = json!({"name": "kiosk", "mode": "ax"});
    let state = json!({"state": "suspended"});
    let changes: [(&str, String, Option<&Value>, u16, &str); 5] = [
        ("POST", "/apps".to_owned(), Some(&app), 201, "kiosk"),
        ("POST", "/numbers".to_owned(), Some(&number), 201, "1 numbers"),
        ("PATCH", x(&format!("/numbers/{W}")), Some(&state), 200, "Suspended"),
        ("DELETE", x(&format!("/numbers/{W}")), None, 204, ""),
        ("DELETE", "/apps/kiosk".to_owned(), None, 204, "kiosk"),
    ];
    let before = onlooker.list("/audit", &[]).len();
    for (nth, (method, path, body, status, detail)) in changes.iter().enumerate() {
        let refused = onlooker.ask(method, path, &[], *body);
        assert_eq!((refused.status, &refused.json()["error"]), (403, &json!("read_only")), "{method} {path}");
        let begun = now();
        let done = admin.ask(method, path, &[], *body);
        assert_eq!(done.status, *status, "{method} {path}");
        let lines = onlooker.list("/audit", &[]);
        assert_eq!(lines.len(), before + nth + 1, "a line for what was done, none for what was not: {lines:?}");
        let line = &lines[0];
        assert_eq!((&line["who"], &line["from"]), (&json!("operations"), &json!("127.0.0.1")), "{line}");
        assert_eq!(line["status"], *status, "{line}");
        let action = line["action"].as_str().unwrap();
        let declared = path.split("/%2B").next().unwrap().split("/kiosk").next().unwrap();
        assert!(action.starts_with(method) && action.contains(declared), "{line}");
        assert!(line["detail"].as_str().unwrap().contains(detail), "{line}");
        assert!(!line.to_string().contains(&W[4..]), "numbers are masked: {line}");
        let at = Duration::from_millis(line["at"].as_u64().unwrap());
        assert!(at + Duration::from_millis(50) >= begun && at <= now() + Duration::from_millis(50), "{line}");
    }
    for token in ["", "full-token", &FULL[1..]] {
        assert_eq!(Admin::new(world.api(), token).ask("GET", "/apps", &[], None).status, 401);
    }
    let told = onlooker.list("/audit", &[]);
    let world = world.crash();
    assert_eq!(Admin::new(world.api(), READ).list("/audit", &[]), told);
    world.end();
}

#[test]
fn why_says_of_every_caller_what_the_call_then_comes_to() {
    let mut world = World::new();
    let phones: BTreeMap<&str, Who> = [A, B, C, D, E].into_iter().map(|number| (number, world.phone(number))).collect();
    let fixed = "+867551230005";
    let fixed_line = world.phone(fixed);
    let (shop, post, admin) = (world.app("shop"), world.app("post"), world.admin());
    shop.bind(X, A, B, &json!({"maxDuration": 5}));
    shop.bind(X, C, D, &json!({"callDirection": 1}));
    shop.bind(Y, fixed, B, &json!({}));
    admin.ask("POST", "/numbers", &[], Some(&json!([{"x": W, "app": "shop", "state": "suspended"}]))).success();
    post.bind_ax(Z, A);
    let unknown = "+8675512340009";
    let phone = |number: &str| if number == fixed { fixed_line } else { phones[number] };
    let mut asked =
        vec![(A, X), (B, X), (C, X), (D, X), (E, X), (fixed, Y), (B, Y), (A, W), (A, unknown), (E, Z), (A, Z)];
    let mut seen = BTreeSet::new();
    for step in 0..2 {
        for (caller, x) in &asked {
            let why = admin.get("/why", &[("x", x), ("caller", caller)]);
            let fate = world.call(phone(caller), x);
            let record = until("the call's record", || {
                let mut records = admin.list("/cdrs", &[("number", caller), ("x", x), ("limit", "1000")]);
                records.retain(|record| record["caller"] == *caller);
                (records.len() == 1 + step).then(|| records.remove(0))
            });
            seen.insert(why["reason"].as_str().unwrap().to_owned());
            for key in ["app", "subscription_id"] {
                assert_eq!(why[key], record[key], "{key}: {why}\n{record}");
            }
            match fate {
                Fate::Reached(number) => {
                    assert_eq!(why["connects"], true, "{why}");
                    assert_eq!((&why["callee"], &why["trunk"]), (&json!(number), &json!("carrier")), "{why}");
                    assert_eq!(record["callee"], number);
                }
                Fate::Refused(status) => {
                    assert_eq!(why["connects"], false, "{why}");
                    assert_eq!(
                        (&why["reason"], &why["state_code"]),
                        (&record["cause"], &record["state_code"]),
                        "{why}"
                    );
                    assert!(why["steps"].to_string().contains(&format!("SIP {status}")), "{why}");
                }
            }
        }
        // Only A's way by Z is another one then.
        asked = vec![(A, Z)];
        post.put(AX_CALLEE, &json!({"privateNum": Z, "calleeNum": C})).success();
    }
    let wanted = [
        "connect",
        "fixed_line_caller",
        "no_temporary_callee",
        "not_bound",
        "number_unusable",
        "unknown_x",
        "wrong_direction",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), wanted);
    world.end();
}

#[test]
fn a_second_daemon_on_the_same_store_says_so_and_goes() {
    let mut world = World::new();
    let a = world.phone(A);
    world.phone(B);
    world.app("shop").bind(X, A, B, &json!({}));
    let (status, said) = Daemon::fail_to_start(&world.site.file());
    assert_eq!(status.code(), Some(1));
    let last = said.lines().last().unwrap_or_default();
    let store = world.site.folder().join("data").display().to_string();
    assert!(last.contains(&store) && last.contains("another axbridge uses it"), "{said}");
    assert_private(&said);
    // The first one goes on as if nothing had been.
    assert_eq!(world.call(a, X), reached(B));
    world.app("shop").bind(Y, A, B, &json!({}));
    assert_eq!(world.call(a, Y), reached(B));
    world.end();
}

/// What the command says to an operator; it succeeds.
fn said(world: &World, arguments: &[&str]) -> String {
    let server = format!("http://{}", world.api());
    let output = axbridge().args(arguments).args(["--server", &server, "--token", FULL]).output().unwrap();
    let (said, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}{complained}");
    said
}

#[test]
fn an_app_is_told_of_its_calls_and_an_operator_sees_it_and_has_it_told_again() {
    let told = Receiver::start(|hit| if hit.target == "/fee" { Act::Answer(500, Vec::new()) } else { Act::ok() });
    let moved = Receiver::start(|_| Act::ok());
    let configure = |setup: &mut Setup, to: &Receiver| {
        setup.sections.push_str("\n[notify]\nallow = [\"127.0.0.0/8\"]\n");
        setup.app("told", "axb");
        for key in ["status", "fee"] {
            setup.sections.push_str(&format!("notify.{key}_url = \"{}\"\n", to.url(&format!("/{key}"))));
        }
        setup.number(W, "told");
    };
    let before = std::cell::RefCell::new(None);
    let mut world = World::with(|setup| {
        *before.borrow_mut() = Some(setup.clone());
        configure(setup, &told);
    });
    let a = world.phone(A);
    world.phone(B);
    world.app("told").bind(W, A, B, &json!({}));
    assert_eq!(world.call(a, W), reached(B));
    let events = |receiver: &Receiver| -> Vec<String> {
        let bodies = receiver.hits().into_iter().map(|hit| serde_json::from_slice::<Value>(&hit.body).unwrap());
        bodies.map(|body| body["eventType"].as_str().unwrap().to_owned()).collect()
    };
    // Ports may have been short at first: each call ends with one.
    let ends = |receiver: &Receiver, event: &str| events(receiver).iter().filter(|told| *told == event).count();
    until("the app is told", || (ends(&told, "disconnect") > 0 && ends(&told, "fee") > 0).then_some(()));
    let first = told.hits().into_iter().find(|hit| hit.target == "/status").unwrap();
    assert!(first.headers["x-aksk"].contains("Username=\"told\""), "{first:?}");

    let (admin, reader) = (world.admin(), Admin::new(world.api(), READ));
    let filter = [("app", "told"), ("channel", "status"), ("state", "delivered")];
    let items = until("it is written down", || {
        let items = admin.list("/deliveries", &filter);
        items.iter().any(|item| item["body"]["eventType"] == "disconnect").then_some(items)
    });
    let id = first.ids().remove(0);
    let item = items.iter().find(|item| item["notice_id"] == *id).unwrap_or_else(|| panic!("no {id}: {items:?}"));
    assert_eq!((&item["attempts"], &item["status"], &item["error"]), (&json!(1), &json!(200), &Value::Null));
    assert_eq!(item["body"]["statusInfo"]["caller"], A);
    let seen = reader.list("/deliveries", &filter);
    assert!(seen.len() == items.len() && seen.iter().all(|item| item["body"].is_null()), "{seen:?}");

    let table = until("the fee has failed", || {
        let table = said(&world, &["deliveries", "--app", "told", "--channel", "fee", "--state", "pending"]);
        table.contains("500").then_some(table)
    });
    assert!(table.starts_with("id ") && table.contains("fee") && table.contains("status"), "{table}");
    assert!(!table.contains(&A[4..]), "no number of anybody: {table}");
    assert_eq!(said(&world, &["deliveries", "--app", "mall"]), "no deliveries\n");

    let again = |id: &str| told.hits().iter().filter(|hit| hit.ids().contains(&id.to_owned())).count();
    assert_eq!(said(&world, &["replay", &item["id"].to_string()]), "1 to be delivered again\n");
    until("it is told again", || (again(&id) == 2).then_some(()));
    until("that is written down", || (admin.list("/deliveries", &filter).len() == items.len()).then_some(()));
    let since = ["replay", "--app", "told", "--channel", "status", "--since", "2020-01-01T00:00:00Z"];
    assert_eq!(said(&world, &since), format!("{} to be delivered again\n", items.len()));
    until("all are told again", || (again(&id) == 3).then_some(()));

    // Another URL counts from the next message on.
    let mut setup = before.into_inner().unwrap();
    configure(&mut setup, &moved);
    world.setup = setup;
    world.reload();
    assert_eq!(world.call(a, W), reached(B));
    until("the app is told there", || (ends(&moved, "disconnect") > 0 && ends(&moved, "fee") > 0).then_some(()));
    world.end();
}
