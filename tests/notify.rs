//! Deliveries to customers' systems that behave, and to those that do not: real sockets on the loopback, our own TLS, DNS and
//! proxy. What is judged is what has come and how often, never when.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use axbridge::apps::{Account, Accounts, Generation, Secret, Urls, digest};
use axbridge::clock::Clock;
use axbridge::config::Dns as Servers;
use axbridge::notify::client::{Client, Failure, Line, MAX_ANSWER, Message, Proxy, Settings};
use axbridge::notify::deliver::{self, Deliverer, NoAnswer};
use axbridge::notify::guard::{Guard, Kind, Url, UrlError};
use axbridge::notify::sign::Signer;
use axbridge::notify::{self, Channel, Counters, FailedBy, Fee, LogQuery, Outbox, PAGE, Queue, State};
use axbridge::transport::credentials::Authorities;
use b2bua::event::{CallEvent, What};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use numbering::{AppId, Number};
use rusqlite::OpenFlags;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use support::dns::{self, Dns};
use support::pki::Authority;
use support::receiver::{Act, Hit, Receiver};
use support::{secure, until};
use tempfile::TempDir;
use tokio::runtime::Runtime;

mod support;

/// Where receivers are, who are meant to be reached.
const HERE: &str = "127.0.0.1/32";
/// Where one is, who is not.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Beyond everything that a receiver here needs, and short enough to be waited for.
const PATIENT: Duration = Duration::from_secs(30);
const HASTY: Duration = Duration::from_millis(700);

fn settings() -> Settings {
    Settings {
        guard: Guard::new(vec![HERE.parse().unwrap()]),
        proxy: None,
        authorities: Authorities::none(),
        timeout: PATIENT,
        dns: Servers { servers: vec!["127.0.0.1:9".parse().unwrap()], timeout: Duration::from_secs(5) },
    }
}

/// A client and the thread that it lives on.
struct Sender {
    runtime: Runtime,
    client: Client,
    line: Option<Line>,
}

impl Sender {
    fn new(settings: Settings) -> Sender {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Sender { runtime, client: Client::new(settings, Clock::start()).unwrap(), line: None }
    }

    fn deliver(&mut self, url: &str) -> Result<u16, Failure> {
        let message = message(url);
        let (result, line) = self.runtime.block_on(self.client.deliver(&message, self.line.take()));
        self.line = line;
        result
    }

    fn ask(&self, url: &str) -> Result<(u16, Vec<u8>), Failure> {
        self.runtime.block_on(self.client.ask(&message(url)))
    }
}

fn message(url: &str) -> Message {
    Message { url: Arc::new(Url::parse(url).unwrap()), signer: None, id: None, body: r#"{"a":1}"#.into() }
}

fn trusts(authority: &Authority) -> Authorities {
    Authorities::none().and(vec![CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()]).unwrap()
}

#[test]
fn a_message_is_what_the_api_says_and_signed_in_the_generation_of_the_app() {
    let receiver = Receiver::start(|_| Act::ok());
    let sender = Sender::new(settings());
    for (generation, scheme, name) in [(Generation::Wsse, "WSSE", "x-wsse"), (Generation::Aksk, "AKSK", "x-aksk")] {
        let secret = Secret::new(b"word");
        let message = Message {
            signer: Some(Signer { app: "an-app".into(), secret: secret.clone(), generation }),
            id: Some("one,two".parse().unwrap()),
            ..message(&receiver.url("/calls?x=1"))
        };
        let (result, _) = sender.runtime.block_on(sender.client.deliver(&message, None));
        assert_eq!(result, Ok(200));
        let hit = receiver.hits().pop().unwrap();
        assert_eq!(
            (hit.method.as_str(), hit.target.as_str(), hit.body.as_slice()),
            ("POST", "/calls?x=1", &b"{\"a\":1}"[..])
        );
        assert_eq!(hit.headers["content-type"], "application/json;charset=UTF-8");
        assert_eq!(hit.headers["accept"], "application/json");
        assert_eq!(hit.headers["host"], receiver.address.to_string());
        assert_eq!(hit.ids(), ["one", "two"]);
        assert!(hit.headers["authorization"].starts_with(scheme));
        let token = &hit.headers[name];
        let field = |field: &str| {
            let (_, rest) = token.split_once(&format!("{field}=\"")).unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let expected = digest(generation, &secret, &field("Nonce"), &field("Created"));
        assert_eq!(field("PasswordDigest"), BASE64_STANDARD.encode(expected));
        assert_eq!(field("Username"), "an-app");
    }
}

#[test]
fn whatever_a_receiver_does_is_told_apart() {
    let garbage = b"\x16\x03\x01 nobody speaks HTTP here \r\n\r\n".to_vec();
    let folded = b"HTTP/1.1 200 X\r\n broken\r\nContent-Length: 0\r\n\r\n".to_vec();
    let fields = [&b"HTTP/1.1 200 X\r\n"[..], &b"X-Y: z\r\n".repeat(100), b"\r\n"].concat();
    let cases = [
        (Act::ok(), Ok(200)),
        (Act::Answer(204, Vec::new()), Ok(204)),
        (Act::Answer(202, b"thank you".to_vec()), Ok(202)),
        (Act::AnswerAndLeave(200), Ok(200)),
        // It was taken: that the rest of the answer never comes is nobody's loss.
        (Act::DripBody, Ok(200)),
        (Act::Endless, Ok(200)),
        (Act::Raw(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf".to_vec()), Ok(200)),
        (Act::Raw(b"HTTP/1.0 200 OK\r\n\r\n".to_vec()), Ok(200)),
        (Act::Answer(500, b"no".to_vec()), Err(Failure::Status(500))),
        (Act::Answer(404, Vec::new()), Err(Failure::Status(404))),
        (Act::Answer(429, Vec::new()), Err(Failure::Status(429))),
        (Act::Answer(304, Vec::new()), Err(Failure::Redirect(304))),
        (Act::Hang, Err(Failure::Timeout)),
        (Act::DripHead, Err(Failure::Timeout)),
        (Act::Reset, Err(Failure::Closed)),
        (Act::Raw(Vec::new()), Err(Failure::Closed)),
        (Act::Raw(b"HTTP/1.1 200 X\r\nContent-Le".to_vec()), Err(Failure::Closed)),
        (Act::Raw(garbage), Err(Failure::Garbage)),
        (Act::Raw(folded), Err(Failure::Garbage)),
        (Act::Raw(fields), Err(Failure::Garbage)),
        (Act::Raw(b"HTTP/2.0 200 X\r\n\r\n".to_vec()), Err(Failure::Garbage)),
        (Act::Raw(b"HTTP/1.1 999999 X\r\n\r\n".to_vec()), Err(Failure::Garbage)),
        (Act::EndlessHead, Err(Failure::Garbage)),
    ];
    for (act, expected) in cases {
        let script = act.clone();
        let receiver = Receiver::start(move |_| script.clone());
        let waits = matches!(act, Act::Hang | Act::DripHead);
        let mut sender = Sender::new(Settings { timeout: if waits { HASTY } else { PATIENT }, ..settings() });
        assert_eq!(sender.deliver(&receiver.url("/")), expected, "{act:?}");
        assert_eq!(receiver.count(), 1, "{act:?}");
        // The socket's buffers at both ends, and what is read of an answer.
        assert!(receiver.written() < 32 << 20, "{act:?}: {}", receiver.written());
        // And it does not keep us: what is not of use is closed.
        drop(sender);
        until("the connection is closed", || (receiver.open() == 0).then_some(()));
    }
}

#[test]
fn one_connection_serves_while_it_stands_and_its_end_is_nobodys_failure() {
    let receiver = Receiver::start(|_| Act::Answer(200, b"taken".to_vec()));
    let mut sender = Sender::new(settings());
    for _ in 0..20 {
        assert_eq!(sender.deliver(&receiver.url("/")), Ok(200));
    }
    assert_eq!((receiver.count(), receiver.connections()), (20, 1));

    let leaving = Receiver::start(|_| Act::AnswerAndLeave(200));
    for _ in 0..20 {
        assert_eq!(sender.deliver(&leaving.url("/")), Ok(200));
    }
    assert_eq!((leaving.count(), leaving.connections()), (20, 20));

    // A line to one receiver is not used for another.
    assert_eq!(sender.deliver(&receiver.url("/")), Ok(200));
    assert_eq!((receiver.count(), leaving.count()), (21, 20));
}

#[test]
fn a_line_that_breaks_is_replaced_once_and_no_more() {
    // The first request of a connection is answered, the second one resets it.
    let receiver = Receiver::start({
        let seen = std::sync::Mutex::new(std::collections::HashSet::new());
        move |hit| if seen.lock().unwrap().insert(hit.connection) { Act::ok() } else { Act::Reset }
    });
    let mut sender = Sender::new(settings());
    for _ in 0..10 {
        assert_eq!(sender.deliver(&receiver.url("/")), Ok(200));
    }
    assert_eq!((receiver.count(), receiver.connections()), (19, 10));
}

#[test]
fn a_redirect_is_a_failure_and_is_not_followed() {
    let target = Receiver::start(|_| Act::ok());
    for status in [300, 301, 302, 303, 307, 308] {
        let to = target.url("/inside");
        let receiver = Receiver::start(move |_| Act::Redirect(status, to.clone()));
        assert_eq!(Sender::new(settings()).deliver(&receiver.url("/")), Err(Failure::Redirect(status)));
        assert_eq!(Sender::new(settings()).ask(&receiver.url("/")), Err(Failure::Redirect(status)));
    }
    assert_eq!(target.connections(), 0);
}

#[test]
fn an_answer_that_is_wanted_comes_whole_or_not_at_all() {
    let body = br#"{"operation":"connect"}"#.to_vec();
    for (act, expected) in [
        (Act::Answer(200, body.clone()), Ok((200, body.clone()))),
        (Act::Answer(500, body.clone()), Ok((500, body))),
        (Act::Answer(200, vec![b'x'; MAX_ANSWER]), Ok((200, vec![b'x'; MAX_ANSWER]))),
        (Act::Answer(200, vec![b'x'; MAX_ANSWER + 1]), Err(Failure::Answer)),
        (Act::Endless, Err(Failure::Answer)),
        (Act::Raw(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf".to_vec()), Err(Failure::Answer)),
        (Act::DripBody, Err(Failure::Timeout)),
        (Act::Hang, Err(Failure::Timeout)),
    ] {
        let script = act.clone();
        let receiver = Receiver::start(move |_| script.clone());
        let sender = Sender::new(Settings {
            timeout: if expected == Err(Failure::Timeout) { HASTY } else { PATIENT },
            ..settings()
        });
        assert_eq!(sender.ask(&receiver.url("/")), expected, "{act:?}");
    }
}

#[test]
fn nobody_is_reached_whose_address_is_not_allowed() {
    let forbidden = Receiver::bind(ELSEWHERE, None, |_| Act::ok());
    let mut sender = Sender::new(settings());
    let refused = Err(Failure::Url(UrlError::Forbidden(ELSEWHERE, Kind::Loopback)));
    assert_eq!(sender.deliver(&forbidden.url("/")), refused);
    // By its name, and by that of one who is allowed.
    let port = forbidden.address.port();
    let dns = Dns::start(vec![
        dns::a("inside.test", Ipv4Addr::new(127, 0, 0, 2)),
        dns::a("both.test", Ipv4Addr::new(127, 0, 0, 1)),
        dns::a("both.test", Ipv4Addr::new(127, 0, 0, 2)),
        dns::a("cloud.test", Ipv4Addr::new(169, 254, 169, 254)),
    ]);
    let mut settings = settings();
    settings.dns.servers = vec![dns.address];
    let mut sender = Sender::new(settings);
    assert_eq!(sender.deliver(&format!("http://inside.test:{port}/")), Err(Failure::Forbidden(Kind::Loopback)));
    assert_eq!(sender.deliver(&format!("http://both.test:{port}/")), Err(Failure::Forbidden(Kind::Loopback)));
    assert_eq!(sender.deliver("http://cloud.test/latest/meta-data/"), Err(Failure::Forbidden(Kind::LinkLocal)));
    assert_eq!(sender.deliver("http://none.test/"), Err(Failure::NoAddress));
    let local = format!("http://localhost:{port}/");
    assert!(matches!(sender.deliver(&local), Err(Failure::Url(UrlError::Forbidden(_, Kind::Loopback)))));
    assert_eq!(forbidden.connections(), 0);
}

#[test]
fn a_name_that_leads_elsewhere_a_moment_later_leads_nowhere() {
    // Every connection ends, so that each message asks for the name as soon as what was said of it is too old (a second).
    let here = Receiver::start(|_| Act::AnswerAndLeave(200));
    let port = here.address.port();
    let elsewhere = std::net::TcpListener::bind((ELSEWHERE, port)).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let dns = Dns::start(vec![dns::a("moves.test", Ipv4Addr::LOCALHOST)]);
    let mut settings = settings();
    settings.dns.servers = vec![dns.address];
    let mut sender = Sender::new(settings);
    let url = format!("http://moves.test:{port}/");
    assert_eq!(sender.deliver(&url), Ok(200));
    assert_eq!(here.hits()[0].headers["host"], format!("moves.test:{port}"));
    dns.set(vec![dns::a("moves.test", Ipv4Addr::new(127, 0, 0, 2))]);
    until("the new address is refused", || match sender.deliver(&url) {
        Ok(200) => None,
        other => {
            assert_eq!(other, Err(Failure::Forbidden(Kind::Loopback)));
            Some(())
        }
    });
    assert_eq!(elsewhere.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_dns_that_is_silent_and_a_port_where_nobody_listens() {
    let dns = Dns::start(Vec::new());
    dns.fall_silent();
    let mut settings = settings();
    settings.dns = Servers { servers: vec![dns.address], timeout: Duration::from_millis(300) };
    let mut sender = Sender::new(settings);
    assert_eq!(sender.deliver("http://silent.test/"), Err(Failure::NoAddress));
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(sender.deliver(&nobody), Err(Failure::Refused));
}

#[test]
fn tls_is_believed_only_for_the_name_and_from_whom_we_trust() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let tls = |issued| Some(secure::server(&issued, None));
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (issued, expected) in [
        (ours.issue("127.0.0.1"), Ok(200)),
        (ours.issue("other.test"), Err(Failure::TlsName)),
        (theirs.issue("127.0.0.1"), Err(Failure::TlsIssuer)),
        (ours.issue_expired("127.0.0.1"), Err(Failure::TlsExpired)),
    ] {
        let receiver = Receiver::bind(here, tls(issued), |_| Act::ok());
        let mut sender = Sender::new(Settings { authorities: trusts(&ours), ..settings() });
        assert_eq!(sender.deliver(&receiver.url("/")), expected);
        assert_eq!(sender.deliver(&receiver.url("/")), expected);
        assert_eq!(receiver.count(), if expected.is_ok() { 2 } else { 0 });
        assert_eq!(receiver.connections(), if expected.is_ok() { 1 } else { 2 });
    }
    // By name.
    let dns = Dns::start(vec![dns::a("receiver.test", Ipv4Addr::LOCALHOST)]);
    let receiver = Receiver::bind(here, tls(ours.issue("receiver.test")), |_| Act::ok());
    let mut settings = Settings { authorities: trusts(&ours), ..settings() };
    settings.dns.servers = vec![dns.address];
    assert_eq!(Sender::new(settings).deliver(&format!("https://receiver.test:{}/", receiver.address.port())), Ok(200));
    // Who speaks no TLS.
    let plain = Receiver::start(|_| Act::ok());
    let url = plain.url("/").replace("http://", "https://");
    let mut hasty = Sender::new(Settings { timeout: HASTY, ..self::settings() });
    assert!(matches!(hasty.deliver(&url), Err(Failure::TlsProtocol | Failure::Timeout)));
    assert_eq!(plain.count(), 0);
}

#[test]
fn a_proxy_is_the_only_one_who_is_connected_to() {
    let ours = Authority::new("ours");
    let secret = Receiver::bind(ELSEWHERE, Some(secure::server(&ours.issue("receiver.test"), None)), |_| Act::ok());
    let to = secret.address;
    let proxy = Receiver::start(move |hit| if hit.method == "CONNECT" { Act::Tunnel(to) } else { Act::ok() });
    let url = format!("http://name:word@{}", proxy.address);
    let through = Settings { proxy: Some(Proxy::parse(&url).unwrap()), authorities: trusts(&ours), ..settings() };
    let mut sender = Sender::new(through.clone());
    // Nobody asks the DNS: there is none.
    assert_eq!(sender.deliver("http://receiver.test/calls"), Ok(200));
    assert_eq!(sender.deliver("https://receiver.test:8443/calls"), Ok(200));
    let [plain, connect] = <[_; 2]>::try_from(proxy.hits()).unwrap();
    assert_eq!((plain.method.as_str(), plain.target.as_str()), ("POST", "http://receiver.test/calls"));
    assert_eq!(plain.headers["host"], "receiver.test");
    assert_eq!((connect.method.as_str(), connect.target.as_str()), ("CONNECT", "receiver.test:8443"));
    for hit in [&plain, &connect] {
        assert_eq!(hit.headers["proxy-authorization"], "Basic bmFtZTp3b3Jk");
    }
    let inside = secret.hits().pop().unwrap();
    assert_eq!((inside.method.as_str(), inside.target.as_str()), ("POST", "/calls"));
    assert!(!inside.headers.contains_key("proxy-authorization"));
    // The proxy looks names up; an address it is not even asked for.
    let forbidden = sender.deliver("http://127.0.0.2/");
    assert_eq!(forbidden, Err(Failure::Url(UrlError::Forbidden(ELSEWHERE, Kind::Loopback))));
    assert_eq!(proxy.count(), 2);
    assert!(!format!("{through:?}").contains("word"));

    let refusing = Receiver::start(|_| Act::Answer(407, Vec::new()));
    let mut sender = Sender::new(Settings { proxy: Some(Proxy::parse(&refusing.url("")).unwrap()), ..through });
    assert_eq!(sender.deliver("https://receiver.test/"), Err(Failure::Proxy(Some(407))));
}

// ---- the whole way: posted, spooled, in the database, delivered ----------------------------------------------------

/// An outbox in a folder, and who delivers from it.
struct House {
    outbox: Outbox,
    queue: Queue,
    writer: JoinHandle<()>,
    accounts: Arc<ArcSwap<Accounts>>,
    clock: Clock,
    deliverer: Option<Deliverer>,
}

impl House {
    fn open(dir: &Path, accounts: Vec<Account>) -> House {
        let clock = Clock::start();
        let accounts = Arc::new(ArcSwap::from_pointee(Accounts::new(accounts)));
        let (outbox, queue, writer) =
            Outbox::open(dir, clock, Arc::clone(&accounts), notify::Limits::default()).unwrap();
        House { outbox, queue, writer, accounts, clock, deliverer: None }
    }

    fn deliver(&mut self, settings: Settings) {
        let settings = deliver::Settings { client: settings, connections_per_app: WINDOW };
        let accounts = Arc::clone(&self.accounts);
        self.deliverer = Some(Deliverer::start(self.queue.clone(), accounts, settings, self.clock).unwrap());
    }

    /// `count` events of a call.
    fn post_call(&self, app: &str, call: usize, count: usize) {
        for step in 0..count {
            self.outbox.post_event(&CallEvent {
                app: app.into(),
                session_id: format!("{app}-{call}").into(),
                // An id goes by the millisecond.
                at: Duration::from_millis(step as u64),
                binding: None,
                mode: None,
                caller_is: None,
                user_text: None,
                what: What::Collected { digits: step.to_string().into() },
            });
        }
    }

    fn counts(&self) -> &Counters {
        self.outbox.counters()
    }

    /// Fails where a message has failed: it would be due again in a minute, which nobody waits for.
    fn assert_no_failure(&self) {
        let Some(deliverer) = &self.deliverer else { return };
        let failed = deliverer.counters().failed.iter().zip(FailedBy::ALL);
        let failed: Vec<_> = failed.filter(|(count, _)| count.load(Relaxed) > 0).collect();
        assert!(failed.is_empty(), "{failed:?}");
    }

    fn delivered(&self) -> u64 {
        self.counts().delivered.iter().map(|count| count.load(Relaxed)).sum()
    }

    fn posted(&self) -> u64 {
        self.counts().posted.iter().map(|count| count.load(Relaxed)).sum()
    }

    fn close(self) {
        if let Some(deliverer) = self.deliverer {
            assert!(deliverer.finish());
        }
        drop((self.outbox, self.queue));
        self.writer.join().unwrap();
    }
}

const WINDOW: usize = 8;

fn account(id: u32, name: &str, notify: Urls) -> Account {
    Account {
        id: AppId(id),
        name: name.into(),
        secret: Some(Secret::new(b"word")),
        rules: numbering::Rules::default(),
        recording: false,
        requests_per_second: 100,
        mobile_areas: Vec::new(),
        is_configured: true,
        notify,
    }
}

fn told(url: String) -> Urls {
    Urls { status_url: Some(url.into()), ..Urls::default() }
}

/// The step that an event of [`House::post_call`] tells, and the call that it is of.
fn step_of(hit: &Hit) -> (String, usize) {
    let body: Value = serde_json::from_slice(&hit.body).unwrap();
    let info = &body["statusInfo"];
    let call = info["sessionId"].as_str().unwrap().to_owned();
    (call, info["digitInfo"].as_str().unwrap().parse().unwrap())
}

#[test]
fn every_event_comes_once_and_those_of_a_call_in_their_order() {
    let receiver = Receiver::start(|_| Act::ok());
    let dir = TempDir::new().unwrap();
    let mut house = House::open(dir.path(), vec![account(0, "a", told(receiver.url("/calls")))]);
    house.deliver(settings());
    for call in 0..100 {
        house.post_call("a", call, 5);
    }
    until("all have come and are known to have", || {
        house.assert_no_failure();
        (house.delivered() == 500).then_some(())
    });
    let hits = receiver.hits();
    assert_eq!(hits.len(), 500);
    let mut steps: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for hit in &hits {
        assert_eq!((hit.target.as_str(), hit.ids().len()), ("/calls", 1));
        assert!(hit.headers["authorization"].starts_with("AKSK") && hit.headers.contains_key("x-aksk"));
        let (call, step) = step_of(hit);
        steps.entry(call).or_default().push(step);
    }
    assert_eq!(steps.len(), 100);
    assert!(steps.values().all(|steps| steps == &[0, 1, 2, 3, 4]), "{steps:?}");
    assert!(receiver.most_open() <= WINDOW);
    house.close();
}

#[test]
fn records_are_merged_and_each_stands_in_one_message() {
    let receiver = Receiver::start(|_| Act::ok());
    let dir = TempDir::new().unwrap();
    let urls = Urls { fee_url: Some(receiver.url("/fees").into()), ..Urls::default() };
    let mut house = House::open(dir.path(), vec![account(0, "a", urls)]);
    let now = u64::try_from(house.clock.unix(house.clock.now()).as_millis()).unwrap();
    for call in 0..120 {
        let session_id = format!("call-{call}");
        house.outbox.post_fee(&Fee { app: "a".into(), session_id, call_in: now, ended: now, ..Fee::default() });
    }
    // Nobody sends yet: all of them wait.
    until("all are in the database", || (house.posted() == 120).then_some(()));
    house.deliver(settings());
    until("all have come and are known to have", || {
        house.assert_no_failure();
        (house.delivered() == 120).then_some(())
    });
    let hits = receiver.hits();
    let mut sizes: Vec<usize> = hits.iter().map(|hit| hit.ids().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [20, 50, 50]);
    let mut told = BTreeSet::new();
    for hit in &hits {
        let body: Value = serde_json::from_slice(&hit.body).unwrap();
        let records = body["feeLst"].as_array().unwrap();
        assert_eq!((body["eventType"].as_str(), records.len()), (Some("fee"), hit.ids().len()));
        told.extend(records.iter().map(|record| record["sessionId"].as_str().unwrap().to_owned()));
    }
    assert_eq!(told.len(), 120);
    house.close();
}

#[test]
fn states_of_x_are_merged_and_keep_their_order() {
    let receiver = Receiver::start(|_| Act::ok());
    let dir = TempDir::new().unwrap();
    let urls = Urls { number_url: Some(receiver.url("/numbers").into()), ..Urls::default() };
    let mut house = House::open(dir.path(), vec![account(0, "a", urls)]);
    let xs: Vec<String> = (0..250).map(|last| format!("+8675512340{last:03}")).collect();
    for x in &xs {
        house.outbox.post_numbers(&"a".into(), house.clock.now(), &[(Number::parse(x).unwrap(), None)]);
    }
    // Nobody sends yet: all of them wait.
    until("all are in the database", || (house.posted() == 250).then_some(()));
    house.deliver(settings());
    until("all have come and are known to have", || {
        house.assert_no_failure();
        (house.delivered() == 250).then_some(())
    });
    let hits = receiver.hits();
    assert_eq!(hits.iter().map(|hit| hit.ids().len()).collect::<Vec<_>>(), [100, 100, 50]);
    let told = hits.iter().flat_map(|hit| {
        let body: Value = serde_json::from_slice(&hit.body).unwrap();
        let states = body["numInfo"].as_array().unwrap().clone();
        states.into_iter().map(|state| state["number"].as_str().unwrap().to_owned())
    });
    assert_eq!(told.collect::<Vec<_>>(), xs);
    house.close();
}

#[test]
fn receivers_that_misbehave_cost_the_others_nothing() {
    let good = Receiver::start(|_| Act::ok());
    let target = Receiver::start(|_| Act::ok());
    let to = target.url("/");
    let bad = [
        Act::Hang,
        Act::DripHead,
        Act::Reset,
        Act::EndlessHead,
        Act::Answer(500, Vec::new()),
        Act::Redirect(301, to),
        Act::Raw(b"SSH-2.0-nobody\r\n".to_vec()),
    ];
    let bad: Vec<Receiver> = bad.into_iter().map(|act| Receiver::start(move |_| act.clone())).collect();
    let names: Vec<String> = (0..bad.len()).map(|place| format!("bad-{place}")).collect();
    let mut accounts = vec![account(0, "good", told(good.url("/")))];
    for (place, (name, receiver)) in names.iter().zip(&bad).enumerate() {
        accounts.push(account(place as u32 + 1, name, told(receiver.url("/"))));
    }
    let dir = TempDir::new().unwrap();
    let mut house = House::open(dir.path(), accounts);
    // Nobody who hangs comes to the end of this.
    house.deliver(settings());
    for call in 0..200 {
        names.iter().for_each(|name| house.post_call(name, call, 1));
    }
    until("the bad ones are busy", || (bad.iter().all(|receiver| receiver.count() > 0)).then_some(()));
    for call in 0..200 {
        house.post_call("good", call, 2);
    }
    until("the good one has everything", || (good.count() == 400).then_some(()));
    // Whoever fails at once has had the messages of its window and then its rest; whoever hangs, those of its window. A
    // request whose line is reset may be sent by a second line, but not where the first was new.
    for (name, receiver) in names.iter().zip(&bad) {
        assert!(receiver.count() <= 2 * WINDOW + 5, "{name}: {}", receiver.count());
        assert!(receiver.most_open() <= 2 * WINDOW, "{name}: {}", receiver.most_open());
        assert!(receiver.written() < 64 << 20, "{name}: {}", receiver.written());
    }
    assert_eq!(target.connections(), 0);
    drop(bad);
    house.close();
}

#[test]
fn a_new_url_and_a_new_secret_take_effect_with_the_next_message() {
    let old = Receiver::start(|_| Act::Answer(401, Vec::new()));
    let new = Receiver::start(|_| Act::ok());
    let dir = TempDir::new().unwrap();
    let mut house = House::open(dir.path(), vec![account(0, "a", told(old.url("/old")))]);
    house.deliver(settings());
    for call in 0..50 {
        house.post_call("a", call, 1);
    }
    let counters = Arc::clone(house.deliverer.as_ref().unwrap().counters());
    until("it rests", || (counters.rests.load(Relaxed) == 1 && counters.in_flight.load(Relaxed) == 0).then_some(()));
    let failed = old.count();
    assert!((5..=5 + WINDOW).contains(&failed), "{failed}");
    let urls = Urls { signature: Generation::Wsse, ..told(new.url("/new")) };
    let moved = Account { secret: Some(Secret::new(b"other word")), ..account(0, "a", urls) };
    house.accounts.store(Arc::new(Accounts::new([moved])));
    // Those that have failed are due in a minute.
    until("the new one has the rest", || (new.count() == 50 - failed).then_some(()));
    assert_eq!(old.count(), failed);
    for hit in new.hits() {
        let token = &hit.headers["x-wsse"];
        let field = |field: &str| token.split_once(&format!("{field}=\"")).unwrap().1.split_once('"').unwrap().0;
        let expected = digest(Generation::Wsse, &Secret::new(b"other word"), field("Nonce"), field("Created"));
        assert_eq!(field("PasswordDigest"), BASE64_STANDARD.encode(expected));
    }
    house.close();
}

#[test]
fn what_is_in_flight_at_the_end_is_waited_for_and_what_waits_is_kept() {
    let is_open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&is_open);
    let receiver = Receiver::start(move |_| {
        until("the gate opens", || gate.load(Relaxed).then_some(()));
        Act::ok()
    });
    let dir = TempDir::new().unwrap();
    let mut house = House::open(dir.path(), vec![account(0, "a", told(receiver.url("/")))]);
    for call in 0..100 {
        house.post_call("a", call, 1);
    }
    house.deliver(settings());
    let counters = Arc::clone(house.deliverer.as_ref().unwrap().counters());
    until("its window is full", || (counters.in_flight.load(Relaxed) == WINDOW as u64).then_some(()));
    let deliverer = house.deliverer.take().unwrap();
    let ending = std::thread::spawn(move || deliverer.finish());
    is_open.store(true, Relaxed);
    assert!(ending.join().unwrap());
    assert!(receiver.count() >= WINDOW);
    house.deliver(settings());
    until("all have come and are known to have", || (house.delivered() == 100).then_some(()));
    // Nothing was sent twice: what was in flight has been waited for.
    assert_eq!(receiver.count(), 100);
    house.close();
}

#[test]
fn a_question_is_answered_or_not() {
    let receiver = Receiver::start(|_| Act::Answer(200, b"{\"actions\":[]}".to_vec()));
    let hanging = Receiver::start(|_| Act::Hang);
    let asks = |url: String| Urls { sms_control_url: Some(url.into()), ..Urls::default() };
    let dir = TempDir::new().unwrap();
    let accounts = vec![
        account(0, "asks", asks(receiver.url("/ask"))),
        account(1, "silent", Urls::default()),
        account(2, "hangs", asks(hanging.url("/"))),
        account(3, "inside", asks("http://169.254.169.254/".to_owned())),
    ];
    let mut house = House::open(dir.path(), accounts);
    house.deliver(Settings { timeout: Duration::from_secs(3), ..settings() });
    let asker = house.deliverer.as_ref().unwrap().asker().clone();
    let ask = |app: &str| {
        let (sender, answer) = std::sync::mpsc::channel();
        asker.ask(&app.into(), "{}", move |result| sender.send(result).unwrap());
        answer
    };
    assert_eq!(ask("asks").recv().unwrap(), Ok((200, b"{\"actions\":[]}".to_vec())));
    assert!(receiver.hits()[0].headers.contains_key("x-aksk"));
    assert_eq!(ask("silent").recv().unwrap(), Err(NoAnswer::NoUrl));
    assert_eq!(ask("nobody").recv().unwrap(), Err(NoAnswer::NoUrl));
    assert!(matches!(ask("inside").recv().unwrap(), Err(NoAnswer::Failed(Failure::Url(_)))));
    let many: Vec<_> = (0..100).map(|_| ask("hangs")).collect();
    assert_eq!(ask("asks").recv().unwrap(), Ok((200, b"{\"actions\":[]}".to_vec())));
    let many: Vec<_> = many.iter().map(|answer| answer.recv().unwrap()).collect();
    assert_eq!(many.iter().filter(|answer| **answer == Err(NoAnswer::Busy)).count(), 100 - 32);
    assert_eq!(many.iter().filter(|answer| **answer == Err(NoAnswer::Failed(Failure::Timeout))).count(), 32);
    let counters = Arc::clone(house.deliverer.as_ref().unwrap().counters());
    let counted = counters.questions.each_ref().map(|counter| counter.load(Relaxed));
    assert_eq!(counted, [2, 2, 100 - 32, 1 + 32], "{:?}", deliver::QUESTIONS);
    house.close();
}

const CALLS: usize = 2_000;
const EVENTS: usize = 5;
const FOLDER: &str = "AXBRIDGE_TEST_OUTBOX";
const URL: &str = "AXBRIDGE_TEST_URL";
const POSTS: &str = "AXBRIDGE_TEST_POSTS";

/// Posts, says so, and delivers until it is killed.
#[test]
#[ignore = "the process that is killed"]
fn a_process_that_delivers() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let mut house = House::open(Path::new(&folder), vec![account(0, "a", told(std::env::var(URL).unwrap()))]);
    house.deliver(settings());
    if std::env::var(POSTS).is_ok() {
        for call in 0..CALLS {
            house.post_call("a", call, EVENTS);
        }
        std::fs::write(Path::new(&folder).join("posted"), "").unwrap();
    }
    loop {
        std::thread::park();
    }
}

struct Process(Child);

impl Process {
    fn start(folder: &Path, url: &str, posts: bool) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_process_that_delivers", "--ignored", "--nocapture"]);
        command.env(FOLDER, folder).env(URL, url).stdout(std::process::Stdio::null());
        if posts {
            command.env(POSTS, "1");
        }
        Process(command.spawn().unwrap())
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn of_ten_thousand_none_is_lost_by_a_kill_and_only_those_in_flight_come_twice() {
    const BEFORE: usize = 4_000;
    let (count, is_open) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let gate = Arc::clone(&is_open);
    let receiver = Receiver::start(move |_| {
        // In the middle of it everything stands still, so that the kill comes then on every machine.
        if count.fetch_add(1, Relaxed) < BEFORE || gate.load(Relaxed) { Act::ok() } else { Act::Hang }
    });
    let dir = TempDir::new().unwrap();
    let url = receiver.url("/");
    let first = Process::start(dir.path(), &url, true);
    until("all are posted", || dir.path().join("posted").exists().then_some(()));
    until("it stands in the middle", || (receiver.count() >= BEFORE + WINDOW).then_some(()));
    first.kill();
    let before: Vec<String> = receiver.hits().iter().flat_map(Hit::ids).collect();
    assert_eq!(before.len(), BEFORE + WINDOW);
    let known = delivered_in(dir.path(), &url);
    assert!(known.is_subset(&before.iter().cloned().collect()));

    is_open.store(true, Relaxed);
    let second = Process::start(dir.path(), &url, false);
    let rest = CALLS * EVENTS - known.len();
    until("the rest has come", || (receiver.count() >= before.len() + rest).then_some(()));
    until("and is known to have", || (count_delivered(dir.path()) == CALLS * EVENTS).then_some(()));
    second.kill();

    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut steps: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for hit in receiver.hits() {
        let id = hit.ids().pop().unwrap();
        let (call, step) = step_of(&hit);
        if !times.contains_key(&id) {
            steps.entry(call).or_default().push(step);
        }
        *times.entry(id).or_default() += 1;
    }
    assert_eq!(times.len(), CALLS * EVENTS);
    // Once more came only what the disk did not know to be delivered: those that hung, and those of the last commit.
    let twice: Vec<&String> = times.iter().filter(|(_, times)| **times > 1).map(|(id, _)| id).collect();
    assert!(twice.iter().all(|id| !known.contains(*id)), "what was known to be delivered was sent again");
    assert_eq!(twice.len(), before.len() - known.len());
    assert!(times.values().all(|times| *times <= 2));
    // Of which there may be 256, and a window.
    assert!(twice.len() <= 256 + 2 * WINDOW, "{}", twice.len());
    println!("{} of {} came twice", twice.len(), times.len());
    // And in their order, as they came first.
    assert!(steps.values().all(|steps| steps == &(0..EVENTS).collect::<Vec<_>>()));
}

/// What a folder's database knows to be delivered. Nobody else may have it.
fn delivered_in(folder: &Path, url: &str) -> HashSet<String> {
    let house = House::open(folder, vec![account(0, "a", told(url.to_owned()))]);
    let mut query = LogQuery { state: Some(State::Delivered), limit: PAGE, ..LogQuery::default() };
    let mut found = HashSet::new();
    loop {
        let page = house.queue.log(&query).unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some(last.cursor());
        assert!(page.iter().all(|delivery| delivery.channel == Channel::Status));
        found.extend(page.into_iter().map(|delivery| delivery.notice_id));
    }
    house.close();
    found
}

/// How many a database knows to be delivered that somebody else has open.
fn count_delivered(folder: &Path) -> usize {
    let database = rusqlite::Connection::open_with_flags(folder.join("outbox.db"), OpenFlags::SQLITE_OPEN_READ_ONLY);
    let counted = database.and_then(|database| {
        database.query_row("SELECT count(*) FROM notices WHERE state = 1", [], |row| row.get::<_, i64>(0))
    });
    counted.map_or(0, |count| usize::try_from(count).unwrap())
}
