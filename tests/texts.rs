//! Text messages of an app that is asked first (Block mode), and of one that is told their words, through the built daemon: SIP over
//! UDP on both sides, the customer's system by script.
//!
//! ```text
//!   A ── MESSAGE ──▶ X ── what is to become of it? ──▶ the customer: /control
//!   A ◀── 200, 202 ─ X ── MESSAGE ──▶ B's network
//!                    X ── what has become of it ─────▶ the customer: /sms
//! ```

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use support::daemon::Daemon;
use support::http::{AXB, Admin, App, Scheme};
use support::receiver::{Act, Hit, Receiver};
use support::setup::{FULL, READ, SECRET, Setup, Site};
use support::sip::{self, Peer, header};
use support::talk::{HOME_OF_A, HOME_OF_B};
use support::{A, B, until};

mod support;

/// Whom the customer may name besides.
const C: &str = "+8613700000003";
/// X of the app that discards what its customer says nothing of, and another one of it.
const DISCARDING: &str = "+8675512340011";
const ANOTHER: &str = "+8675512340012";
/// X of the app that forwards it.
const FORWARDING: &str = "+8675512340013";
/// The shortest and the longest time in which a customer must answer: who is to miss it, and who is not.
const SOON: &str = "1s";
const LATE: &str = "10s";
const LOOK: Duration = Duration::from_millis(20);

/// B's network: takes every MESSAGE with 200 and keeps it.
struct Network {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    fn start() -> Network {
        let socket = UdpSocket::bind((HOME_OF_B, 0)).unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        let (taken, is_over) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let address = socket.local_addr().unwrap();
        let (keep, end) = (Arc::clone(&taken), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 65_535];
            // What is in the socket at the end is taken too.
            loop {
                let is_last = end.load(Relaxed);
                match socket.recv_from(&mut buffer) {
                    Ok((length, source)) => {
                        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
                        socket.send_to(sip::response(&message, "200 OK", "", "").as_bytes(), source).unwrap();
                        keep.lock().unwrap().push(message);
                    }
                    Err(_) if is_last => break,
                    Err(_) => {}
                }
            }
        });
        Network { address, taken, is_over, thread: Some(thread) }
    }

    /// All that has come: who was shown, who was to get it, and the words. Nothing of A's is among it.
    fn finish(mut self, a: SocketAddr) -> Vec<(String, String, String)> {
        self.is_over.store(true, Relaxed);
        self.thread.take().expect("it is taken once").join().unwrap();
        let messages = self.taken.lock().unwrap().clone();
        messages.iter().map(|message| read(message, a)).collect()
    }
}

fn read(message: &str, a: SocketAddr) -> (String, String, String) {
    let user = |text: &str| text.split_once("sip:").unwrap().1.split(['@', ';']).next().unwrap().to_owned();
    let (head, words) = message.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("MESSAGE sip:"), "{message}");
    assert_eq!(header(head, "Content-Type"), Some("text/plain;charset=UTF-8"));
    for of_a in [&A[1..], "secret-of-a", &a.to_string(), "by-hand", "Contact:"] {
        assert!(!message.contains(of_a), "{of_a} at B: {message}");
    }
    assert_eq!(user(header(head, "To").unwrap()), user(head), "{message}");
    (user(header(head, "From").unwrap()), user(head), words.to_owned())
}

/// A daemon, A with its network, B's network and the customer's system.
struct World {
    a: Peer,
    b: Network,
    customer: Receiver,
    daemon: Daemon,
    _site: Site,
}

impl World {
    /// The customer does to a question what `script` says of the words, and has so much time for it: of the app that discards, and
    /// of the one that forwards.
    fn new(within: [&str; 2], script: impl Fn(&str) -> Act + Send + Sync + 'static) -> World {
        let b = Network::start();
        let customer = Receiver::start(move |hit| match &*hit.target {
            "/control" => script(event(hit)["smsContent"].as_str().unwrap()),
            _ => Act::ok(),
        });
        let mut setup = Setup::new();
        setup.trunk("carrier-a", "127.0.0.1", None, "write = { form = \"global\" }");
        setup.trunk("carrier-b", "127.0.0.2", Some(b.address), "write = { form = \"global\" }");
        setup.sections.push_str("\n[notify]\nallow = [\"127.0.0.0/8\"]\n");
        for ((app, default), within) in [("discarding", "discard"), ("forwarding", "forward")].into_iter().zip(within) {
            setup.app(app, "axb");
            setup.sections.push_str(&format!(
                "sms = \"block\"\nblock_timeout = \"{within}\"\nblock_default = \"{default}\"\n\
                 notify.sms_control_url = \"{}\"\nnotify.sms_url = \"{}\"\n",
                customer.url("/control"),
                customer.url("/sms"),
            ));
        }
        for (x, app) in [(DISCARDING, "discarding"), (ANOTHER, "discarding"), (FORWARDING, "forwarding")] {
            setup.sections.push_str(&format!(
                "\n[[number]]\nx = \"{x}\"\napp = \"{app}\"\ntrunk = \"carrier-b\"\n\
                 \n[[binding]]\nx = \"{x}\"\na = \"{A}\"\nb = \"{B}\"\nuser_data = \"order 7\"\n"
            ));
        }
        let site = Site::new();
        site.write(&setup);
        let daemon = site.start();
        World { a: Peer::at(HOME_OF_A, daemon.udp), b, customer, daemon, _site: site }
    }

    /// A writes to X: the status of the answer.
    fn write(&self, x: &str, words: &str) -> u16 {
        write(&self.a, &self.daemon, x, words)
    }

    /// What came to a path of the customer's.
    fn told(&self, path: &str) -> Vec<Hit> {
        told(&self.customer, path)
    }

    /// Ends it: what B's network got, who was shown to whom.
    fn end(self) -> Vec<(String, String, String)> {
        drop(self.customer);
        self.daemon.terminate();
        self.b.finish(self.a.local())
    }
}

/// A writes to X: the status of the answer.
fn write(a: &Peer, daemon: &Daemon, x: &str, words: &str) -> u16 {
    let bare = sip::request("MESSAGE", "UDP", A, a.local(), x, daemon.udp);
    let (head, _) = bare.split_once("Content-Length:").unwrap();
    let more =
        format!("Subject: secret-of-a\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: {}", words.len());
    a.send(format!("{head}{more}\r\n\r\n{words}").as_bytes());
    let answer = a.receive();
    assert_eq!(answer.header("Call-ID"), header(&bare, "Call-ID"));
    for of_b in [&B[1..], &C[1..], "127.0.0.2"] {
        assert!(!answer.0.contains(of_b), "{of_b} at A: {answer:?}");
    }
    answer.status()
}

/// What came to a path of the customer's.
fn told(customer: &Receiver, path: &str) -> Vec<Hit> {
    customer.hits().into_iter().filter(|hit| hit.target == path).collect()
}

/// What the customer is asked or told.
fn event(hit: &Hit) -> Value {
    serde_json::from_slice::<Value>(&hit.body).unwrap()["smsEvent"].take()
}

fn route(message: &Value) -> Act {
    let answer = json!({"actions": [{"operation": "vNumberRoute", "message": message}]});
    Act::Answer(200, answer.to_string().into_bytes())
}

fn got(shown: &str, receiver: &str, words: &str) -> (String, String, String) {
    (shown.to_owned(), receiver.to_owned(), words.to_owned())
}

#[test]
fn the_customer_forwards_and_refuses_and_both_sides_get_what_it_says() {
    let world = World::new([LATE; 2], |words| match words {
        "to B" => route(&json!({"called": B})),
        "to C, 你好" => route(&json!({"called": C, "calling": DISCARDING})),
        "from another" => route(&json!({"called": B, "calling": ANOTHER})),
        "from nobody of ours" => route(&json!({"called": B, "calling": "+8675599990000"})),
        "no" => Act::Answer(200, br#"{"actions":[{"operation":"DiscardMessage"}]}"#.to_vec()),
        words => panic!("nobody has written {words:?}"),
    });
    let cases = [("no", 202), ("to B", 200), ("to C, 你好", 200), ("from another", 200), ("from nobody of ours", 200)];
    for (words, status) in cases {
        assert_eq!(world.write(DISCARDING, words), status, "{words}");
    }
    // What an app says of silence holds for silence alone.
    assert_eq!(world.write(FORWARDING, "no"), 202);

    let asked = world.told("/control");
    assert_eq!(asked.len(), 6, "once for each: {asked:?}");
    for hit in &asked {
        assert!(hit.headers["x-aksk"].contains("UsernameToken Username=\""), "{hit:?}");
        let event = event(hit);
        assert_eq!((&event["notificationMode"], &event["calling"]), (&json!("Block"), &json!(A)), "{event}");
        assert_eq!((&event["called"], &event["userData"]), (&Value::Null, &json!("order 7")), "{event}");
    }
    let x = |hit: &Hit| event(hit)["virtualNumber"].as_str().unwrap().to_owned();
    assert_eq!(asked.iter().filter(|hit| x(hit) == DISCARDING).count(), 5);
    let notices =
        until("it is told what has become of each", || Some(world.told("/sms")).filter(|notices| notices.len() >= 6));
    let mut results = BTreeMap::new();
    for event in notices.iter().map(event) {
        assert_eq!((&event["notificationMode"], &event["smsContent"]), (&json!("Block"), &Value::Null), "{event}");
        *results.entry((event["called"].as_str().map(str::to_owned), event["sendResult"].as_i64())).or_insert(0) += 1;
    }
    let to = |number: &str| (Some(number.to_owned()), Some(0));
    assert_eq!(results, BTreeMap::from([((None, Some(2)), 2), (to(B), 3), (to(C), 1)]));
    world.daemon.wait_for_metric("axbridge_texts_total", &[("outcome", "discarded")], 2.0);
    world.daemon.wait_for_metric("axbridge_texts_total", &[("outcome", "delivered")], 4.0);
    let expected = [
        got(DISCARDING, B, "to B"),
        got(DISCARDING, C, "to C, 你好"),
        got(ANOTHER, B, "from another"),
        got(DISCARDING, B, "from nobody of ours"),
    ];
    assert_eq!(world.end(), expected);
}

#[test]
fn where_the_customer_says_nothing_that_can_be_read_the_app_s_own_word_holds() {
    let forward = || json!({"actions": [{"operation": "vNumberRoute", "message": {"called": C}}]}).to_string();
    let world = World::new([SOON; 2], move |words| match words {
        "no answer" => Act::Hang,
        "half an answer" => Act::DripBody,
        "no HTTP" => Act::Raw(b"forward it to everybody\r\n\r\n".to_vec()),
        "no JSON" => Act::Answer(200, b"forward".to_vec()),
        "no action" => Act::Answer(200, br#"{"actions":[]}"#.to_vec()),
        "no such action" => Act::Answer(200, forward().replace("vNumberRoute", "Sing").into_bytes()),
        "no number" => route(&json!({"called": "everybody"})),
        "a failure" => Act::Answer(500, forward().into_bytes()),
        "elsewhere" => Act::Redirect(302, "http://127.0.0.1:9/control".to_owned()),
        "no end" => Act::Endless,
        "gone" => Act::Reset,
        words => panic!("nobody has written {words:?}"),
    });
    let all = [
        "no answer",
        "half an answer",
        "no HTTP",
        "no JSON",
        "no action",
        "no such action",
        "no number",
        "a failure",
        "elsewhere",
        "no end",
        "gone",
    ];
    for words in all {
        assert_eq!(world.write(DISCARDING, words), 202, "{words}");
        assert_eq!(world.write(FORWARDING, words), 200, "{words}");
    }
    let asked = world.told("/control");
    assert_eq!(asked.len(), 2 * all.len(), "once for each, however it went: {asked:?}");
    world.daemon.wait_for_metric("axbridge_texts_total", &[("outcome", "discarded")], all.len() as f64);
    world.daemon.wait_for_metric("axbridge_texts_total", &[("outcome", "delivered")], all.len() as f64);
    let notices = until("it is told what has become of each", || {
        Some(world.told("/sms")).filter(|notices| notices.len() >= 2 * all.len())
    });
    let results = notices.iter().map(|hit| (event(hit)["virtualNumber"].clone(), event(hit)["sendResult"].clone()));
    let sent = results.filter(|(x, result)| *result == json!(if x == DISCARDING { 2 } else { 0 })).count();
    assert_eq!(sent, 2 * all.len(), "{notices:?}");
    assert_eq!(world.end(), all.map(|words| got(FORWARDING, B, words)), "C is nobody's affair");
}

#[test]
fn an_answer_that_comes_after_its_time_changes_nothing() {
    for (x, other, within, status) in
        [(DISCARDING, FORWARDING, [SOON, LATE], 202), (FORWARDING, DISCARDING, [LATE, SOON], 200)]
    {
        let is_answered = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_answered);
        let world = World::new(within, move |words| {
            if words == "late" {
                until("A has been answered", || seen.load(Relaxed).then_some(()));
            }
            route(&json!({"called": C}))
        });
        assert_eq!(world.write(x, "late"), status);
        assert_eq!(world.told("/control").len(), 0, "it waits for that");
        is_answered.store(true, Relaxed);
        until("the late answer is on its way", || (world.told("/control").len() == 1).then_some(()));
        // When this one has been obeyed the other one has come too.
        assert_eq!(world.write(other, "in time"), 200);
        let late = (x == FORWARDING).then(|| got(FORWARDING, B, "late"));
        let expected: Vec<_> = late.into_iter().chain([got(other, C, "in time")]).collect();
        assert_eq!(world.end(), expected);
    }
}

/// Nobody writes this but A.
const WORDS: &str = "钥匙在门垫下面";

#[test]
fn an_app_is_told_the_words_from_the_moment_that_it_wants_them_and_nobody_else_ever_is() {
    let b = Network::start();
    let customer = Receiver::start(|_| Act::ok());
    let mut setup = Setup::new();
    setup.log = "level = \"trace\"";
    setup.trunk("carrier-a", "127.0.0.1", None, "write = { form = \"global\" }");
    setup.trunk("carrier-b", "127.0.0.2", Some(b.address), "write = { form = \"global\" }");
    setup.serve_api();
    setup.sections.push_str(&format!(
        "\n[notify]\nallow = [\"127.0.0.0/8\"]\n\n[[number]]\nx = \"{ANOTHER}\"\napp = \"filed\"\ntrunk = \"carrier-b\"\n\
         \n[[binding]]\nx = \"{ANOTHER}\"\na = \"{A}\"\nb = \"{B}\"\n"
    ));
    setup.app("filed", "axb");
    setup.sections.push_str(&format!("sms = \"notify\"\nnotify.sms_url = \"{}\"\n", customer.url("/sms")));
    let site = Site::new();
    site.write(&setup);
    let daemon = site.start();
    let a = Peer::at(HOME_OF_A, daemon.udp);
    let api = daemon.http.expect("the API is served");
    let admin = Admin::new(api, FULL);
    // An app of the admin API beside that of the file.
    let kiosk =
        json!({"name": "kiosk", "mode": "axb", "secret": SECRET, "sms": "notify", "sms_url": customer.url("/sms")});
    let made = admin.ask("POST", "/apps", &[], Some(&kiosk)).success();
    assert_eq!(made["sms_content"], false, "nobody has asked for it");
    let number = json!([{"x": DISCARDING, "app": "kiosk", "trunk": "carrier-b"}]);
    admin.ask("POST", "/numbers", &[], Some(&number)).success();
    let pair = json!({"relationNum": DISCARDING, "callerNum": A, "calleeNum": B});
    App::new(api, "kiosk", SECRET, Scheme::Aksk).post(AXB, &pair).success();

    let mut written = 0;
    for wants in [false, true, false] {
        let changed = admin.ask("PATCH", "/apps/kiosk", &[], Some(&json!({"sms_content": wants}))).success();
        assert_eq!(changed["sms_content"], wants);
        let mut filed = setup.clone();
        filed.sections.push_str(&format!("sms_content = {wants}\n"));
        site.write(&filed);
        let reloads = || daemon.log().matches("configuration taken").count();
        let before = reloads();
        daemon.signal("HUP");
        until("the file is taken", || (reloads() > before).then_some(()));
        for x in [DISCARDING, ANOTHER] {
            written += 1;
            let words = format!("{WORDS} {written}");
            assert_eq!(write(&a, &daemon, x, &words), 200);
            let told = until("the customer is told", || told(&customer, "/sms").into_iter().nth(written - 1));
            let event = event(&told);
            assert_eq!((&event["virtualNumber"], &event["sendResult"]), (&json!(x), &json!(0)), "{event}");
            assert_eq!((&event["notificationMode"], &event["called"]), (&json!("Notify"), &json!(B)), "{event}");
            assert_eq!(event.get("smsContent"), wants.then(|| json!(words)).as_ref(), "{event}");
        }
    }
    // Who may only look at deliveries sees no message; who may do everything sees what was told, and no more.
    let seen = |token: &str| -> Vec<bool> {
        let all = Admin::new(api, token).list("/deliveries", &[("channel", "sms")]);
        all.iter().rev().map(|delivery| delivery.to_string().contains(WORDS)).collect()
    };
    assert_eq!(seen(FULL), [false, false, true, true, false, false]);
    assert_eq!(seen(READ), [false; 6]);
    assert!(!Admin::new(api, READ).get("/audit", &[]).to_string().contains(WORDS));
    let scraped: Vec<String> = daemon.scrape().samples().map(|sample| format!("{sample:?}")).collect();
    assert!(!scraped.is_empty() && !scraped.concat().contains(WORDS), "{scraped:?}");
    drop(customer);
    let log = daemon.terminate();
    assert!(log.contains("text_id") && !log.contains(WORDS), "{log}");
    let got: Vec<_> = b.finish(a.local()).into_iter().map(|(_, _, words)| words).collect();
    assert_eq!(got, (1..=6).map(|place| format!("{WORDS} {place}")).collect::<Vec<_>>());
}
