//! Deliveries to customers' systems that behave, and to those that do not: real sockets on the loopback, our own TLS, DNS and
//! proxy. What is judged is what has come and how often, never when.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axbridge::apps::{Generation, Secret, digest};
use axbridge::clock::Clock;
use axbridge::config::Dns as Servers;
use axbridge::notify::client::{Client, Failure, Line, MAX_ANSWER, Message, Proxy, Settings};
use axbridge::notify::guard::{Guard, Kind, Url, UrlError};
use axbridge::notify::sign::Signer;
use axbridge::transport::credentials::Authorities;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::dns::{self, Dns};
use support::pki::Authority;
use support::receiver::{Act, Receiver};
use support::{secure, until};
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
        other => Some(assert_eq!(other, Err(Failure::Forbidden(Kind::Loopback)))),
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
