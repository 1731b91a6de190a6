use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::super::authentication::{DEFAULT_WINDOW, Gate, GateCounters, Generation, Now, Token, digest};
use super::*;

const NONCE: &str = "66C92B11FF8A425FB8D4CCFE0ED9ED1F";
const CREATED: &str = "2018-02-12T15:30:20Z";
/// [`CREATED`] in milliseconds of UNIX time.
const CREATED_MS: u64 = 1_518_449_420_000;
const AUTHORIZATION: &str = r#"WSSE realm="SDP",profile="UsernameToken",type="Appkey""#;

fn headers(all: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    all.iter().map(pair).collect()
}

fn base64_of(generation: Generation, secret: &[u8], nonce: &str, created: &str) -> String {
    BASE64_STANDARD.encode(digest(generation, &Secret::new(secret), nonce, created))
}

/// A request of an app, signed with a secret.
fn signed(generation: Generation, app: &str, secret: &[u8], nonce: &str, created: &str) -> HeaderMap {
    let (scheme, name) = match generation {
        Generation::Wsse => ("WSSE", "X-WSSE"),
        Generation::Aksk => ("AKSK", "X-AKSK"),
    };
    let digest = base64_of(generation, secret, nonce, created);
    let token =
        format!(r#"UsernameToken Username="{app}", PasswordDigest="{digest}", Nonce="{nonce}", Created="{created}""#);
    let authorization = format!(r#"{scheme} realm="SDP",profile="UsernameToken",type="Appkey""#);
    headers(&[("Authorization", &authorization), (name, &token)])
}

fn good(nonce: &str) -> HeaderMap {
    signed(Generation::Aksk, "axb", SECRET, nonce, CREATED)
}

fn wrong() -> HeaderMap {
    signed(Generation::Aksk, "axb", b"guessed", "n", CREATED)
}

fn at(seconds: u64) -> Now {
    Now { unix_ms: CREATED_MS + seconds * 1000, monotonic: Duration::from_secs(1_000 + seconds) }
}

fn from(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A gate, and who it knows.
struct Door(Gate, Arc<Accounts>);

impl Door {
    fn new() -> Door {
        Door(Gate::new(Some(DEFAULT_WINDOW)), accounts())
    }

    fn code(&self, now: Now, source: &str, headers: &HeaderMap) -> Code {
        match self.0.admit(now, from(source), headers, &self.1) {
            Ok(_) => Code::Success,
            Err(code) => code,
        }
    }
}

#[test]
fn the_vectors_of_the_specification() {
    let of = |generation| base64_of(generation, SECRET, NONCE, CREATED);
    assert_eq!(of(Generation::Wsse), "MOALP58lp7xmv81VDvkC348H1a2ePYMQzvuTR70W+h8=");
    assert_eq!(of(Generation::Aksk), "cT2yQosKRfqTn/r/6vaPrhHiH2eGlJKoAacxJiLVwwc=");
    for generation in [Generation::Wsse, Generation::Aksk] {
        let door = Door::new();
        let account =
            door.0.admit(at(0), from("192.0.2.1"), &signed(generation, "axb", SECRET, NONCE, CREATED), &door.1);
        assert_eq!(account.unwrap().id, AXB);
    }
}

#[test]
fn headers_are_read_as_clients_write_them() {
    let digest = base64_of(Generation::Wsse, SECRET, NONCE, CREATED);
    let authorizations = [
        AUTHORIZATION,
        r#"WSSE realm="SDP", profile="UsernameToken", type="Appkey""#,
        r#"WSSE realm="SDP",profile="UsernameToken",dsl="Appkey""#,
        r#"WSSE realm="SDP" , profile="UsernameToken" ,  dsl="Appkey","#,
        r#"wsse REALM="sdp",Profile="usernametoken",TYPE="appkey""#,
        r#"WSSE realm=SDP,profile=UsernameToken,type=Appkey"#,
        r#"WSSE  type = "Appkey", profile = "UsernameToken", realm = "SDP", more="1""#,
        r#"WSSE realm="SDP",profile="UsernameToken",type="app_key""#,
    ];
    let tokens = [
        format!(r#"UsernameToken Username="axb", PasswordDigest="{digest}", Nonce="{NONCE}", Created="{CREATED}""#),
        format!(r#"UsernameToken Username="axb",PasswordDigest="{digest}",Nonce="{NONCE}",Created="{CREATED}""#),
        format!(r#"usernametoken created="{CREATED}" nonce="{NONCE}" passworddigest="{digest}" username="axb""#),
        format!(r#"Username="axb",PasswordDigest={digest},Nonce={NONCE},Created={CREATED}"#),
        format!(r#"UsernameToken Username="axb",PasswordDigest="{digest}",Nonce="{NONCE}",Created="{CREATED}"#),
    ];
    for authorization in authorizations {
        for token in &tokens {
            let headers = headers(&[("authorization", authorization), ("x-wsse", token)]);
            assert_eq!(Door::new().code(at(0), "192.0.2.1", &headers), Code::Success, "{authorization} {token}");
        }
    }
}

#[test]
fn nonces_and_times_as_clients_make_them() {
    let door = Door::new();
    for nonce in ["a", "5f2b7c9e8d3a1", "88ec9feb-ed7d-4b0a-bf65-cc6be2b9213e", &"9".repeat(128)] {
        assert_eq!(door.code(at(0), "192.0.2.1", &good(nonce)), Code::Success, "{nonce}");
    }
    for nonce in ["", " ", "a b", "a+b=", &"9".repeat(129)] {
        assert_eq!(door.code(at(0), "192.0.2.1", &good(nonce)), Code::NoAkskNonce, "{nonce}");
    }
    // A header with other bytes than ASCII is no header.
    assert_eq!(door.code(at(0), "192.0.2.1", &good("中")), Code::NoAksk);
    for created in ["2018-02-12T23:30:20Z", "2018-02-12T15:30:20.123Z", "2018-02-12T23:30:20+08:00"] {
        let headers = signed(Generation::Aksk, "axb", SECRET, NONCE, created);
        assert_eq!(door.code(at(0), "192.0.2.1", &headers), Code::Success, "{created}");
    }
    for created in ["", "now", "2018-02-12", "1518449420", "2018-13-12T15:30:20Z"] {
        let headers = signed(Generation::Aksk, "axb", SECRET, NONCE, created);
        assert_eq!(door.code(at(0), "192.0.2.1", &headers), Code::NoAkskCreated, "{created}");
    }
}

#[test]
fn what_is_missing_has_its_code() {
    let wsse = |authorization: &str| headers(&[("Authorization", authorization), ("X-WSSE", "UsernameToken")]);
    let rows = [
        ("", Code::NoAuthorization),
        ("WSSE", Code::NoAuthorization),
        ("Basic realm=\"SDP\"", Code::NoAuthorization),
        ("WSSE x=\"y\"", Code::NoRealm),
        (r#"WSSE profile="UsernameToken",type="Appkey""#, Code::NoRealm),
        (r#"WSSE realm="SDP",type="Appkey""#, Code::NoProfile),
        (r#"WSSE realm="SPD",profile="UsernameToken",type="Appkey""#, Code::WrongRealm),
        (r#"WSSE realm="",profile="UsernameToken",type="Appkey""#, Code::WrongRealm),
        (r#"WSSE realm="SDP",profile="Token",type="Appkey""#, Code::WrongProfile),
        (r#"WSSE realm="SDP",profile="UsernameToken",type="Key""#, Code::WrongType),
        (r#"WSSE realm="SDP",profile="UsernameToken",dsl="Key""#, Code::WrongType),
        (r#"WSSE realm="SDP",profile="UsernameToken""#, Code::NoType),
        (AUTHORIZATION, Code::NoWsseUsername),
    ];
    for (authorization, code) in rows {
        assert_eq!(Token::read(&wsse(authorization)).err(), Some(code), "{authorization}");
    }
    assert_eq!(Token::read(&HeaderMap::new()).err(), Some(Code::NoAuthorization));
    let parts = [
        (r#"Username="axb""#, Code::NoWsseUsername, Code::NoAkskUsername),
        (r#"Nonce="1""#, Code::NoWsseNonce, Code::NoAkskNonce),
        (r#"Created="2018-02-12T15:30:20Z""#, Code::NoWsseCreated, Code::NoAkskCreated),
        (r#"PasswordDigest="x""#, Code::NoWsseDigest, Code::NoAkskDigest),
    ];
    for (missing, wsse, aksk) in parts {
        let rest: Vec<&str> = parts.iter().map(|(part, ..)| *part).filter(|part| *part != missing).collect();
        let token = format!("UsernameToken {}", rest.join(", "));
        let read = |authorization: &str, name: &str| {
            Token::read(&headers(&[("Authorization", authorization), (name, &token)])).err()
        };
        let new = AUTHORIZATION.replace("WSSE", "AKSK");
        assert_eq!(read(AUTHORIZATION, "X-WSSE"), Some(wsse));
        assert_eq!(read(&new, "X-AKSK"), Some(aksk));
        // The second header is the one of the scheme.
        assert_eq!(read(AUTHORIZATION, "X-AKSK"), Some(Code::NoWsse));
        assert_eq!(read(&new, "X-WSSE"), Some(Code::NoAksk));
    }
}

#[test]
fn no_header_panics() {
    let pieces = ["", "\"", "=", ",", " ", "WSSE", "AKSK ", "realm=\"SDP\"", "Nonce", "\t", "é", "x=\"", "\"\"", "a=b"];
    let mut seed = 86_u64;
    for _ in 0..20_000 {
        let text = |seed: &mut u64| -> String {
            let count = model::random(seed, 8);
            (0..count).map(|_| pieces[model::random(seed, pieces.len() as u64) as usize]).collect()
        };
        let (authorization, token) = (format!("WSSE {}", text(&mut seed)), text(&mut seed));
        let full = headers(&[("Authorization", &authorization), ("X-WSSE", &token)]);
        assert!(Token::read(&full).is_err());
        let full = headers(&[("Authorization", AUTHORIZATION), ("X-WSSE", &token)]);
        assert!(Token::read(&full).is_err());
    }
}

#[test]
fn who_is_unknown_or_has_no_secret_is_not_let_in() {
    let door = Door::new();
    assert_eq!(
        door.code(at(0), "192.0.2.1", &signed(Generation::Wsse, "nobody", SECRET, "n", CREATED)),
        Code::UnknownApp
    );
    let silent = Account { secret: None, ..account(AXB, "axb", Mode::Axb) };
    let door = Door(Gate::new(None), Arc::new(Accounts::new([silent])));
    assert_eq!(door.code(at(0), "192.0.2.1", &good("n")), Code::UnknownApp);
}

#[test]
fn a_digest_is_the_whole_digest_of_its_generation() {
    let door = Door::new();
    let right = base64_of(Generation::Aksk, SECRET, NONCE, CREATED);
    let other = base64_of(Generation::Wsse, SECRET, NONCE, CREATED);
    let wrong = [other, right[..43].to_owned(), format!("{right}="), right.to_lowercase(), "x".to_owned()];
    for digest in wrong {
        let token =
            format!(r#"UsernameToken Username="axb",PasswordDigest="{digest}",Nonce="{NONCE}",Created="{CREATED}""#);
        let headers = headers(&[("Authorization", &AUTHORIZATION.replace("WSSE", "AKSK")), ("X-AKSK", &token)]);
        assert_eq!(door.code(at(0), "192.0.2.1", &headers), Code::WrongDigest, "{digest}");
    }
}

#[test]
fn created_is_within_the_window_either_way() {
    let window = Duration::from_secs(300);
    let created = |seconds: i64| jiff::Timestamp::from_second(CREATED_MS as i64 / 1000 + seconds).unwrap().to_string();
    let mut nonce = 0;
    let mut code = |door: &Door, seconds: i64| {
        nonce += 1;
        let headers = signed(Generation::Aksk, "axb", SECRET, &nonce.to_string(), &created(seconds));
        door.code(at(0), "192.0.2.1", &headers)
    };
    let door = Door(Gate::new(Some(window)), accounts());
    for (seconds, expected) in
        [(0, Code::Success), (300, Code::Success), (-300, Code::Success), (301, Code::OutsideWindow)]
    {
        assert_eq!(code(&door, seconds), expected, "{seconds}");
    }
    assert_eq!(code(&door, -301), Code::OutsideWindow);
    let door = Door(Gate::new(None), accounts());
    for seconds in [-1_000_000_000, 1_000_000_000] {
        assert_eq!(code(&door, seconds), Code::Success, "{seconds}");
    }
    // The Java demo: local time of China that is called UTC.
    assert_eq!(code(&Door::new(), 8 * 3600), Code::Success);
}

#[test]
fn a_request_is_let_in_once() {
    let door = Door(Gate::new(Some(Duration::from_secs(300))), accounts());
    assert_eq!(door.code(at(0), "192.0.2.1", &good("a")), Code::Success);
    assert_eq!(door.code(at(0), "192.0.2.1", &good("b")), Code::Success);
    // Another app may use the same nonce, the same app another second.
    let other = Account { secret: Some(Secret::new(b"another")), ..account(OTHER_AXB, "other-axb", Mode::Axb) };
    let all = Accounts::new([account(AXB, "axb", Mode::Axb), other]);
    let headers = signed(Generation::Aksk, "other-axb", b"another", "a", CREATED);
    assert!(door.0.admit(at(0), from("192.0.2.1"), &headers, &all).is_ok());
    let later = signed(Generation::Aksk, "axb", SECRET, "a", "2018-02-12T15:30:21Z");
    assert_eq!(door.code(at(1), "192.0.2.1", &later), Code::Success);
    for (seconds, source) in [(1, "192.0.2.1"), (299, "192.0.2.2"), (300, "192.0.2.1")] {
        assert_eq!(door.code(at(seconds), source, &good("a")), Code::Replayed);
    }
    assert_eq!(door.code(at(301), "192.0.2.1", &good("a")), Code::OutsideWindow);
}

#[test]
fn the_memory_of_requests_is_bounded_and_what_is_forgotten_is_counted() {
    let door = Door(Gate::with_limits(Some(DEFAULT_WINDOW), 64, 64), accounts());
    for n in 0..400_u64 {
        assert_eq!(door.code(at(n), "192.0.2.1", &good(&n.to_string())), Code::Success);
    }
    let forgotten = door.0.counters().nonces_forgotten;
    assert!((336..400).contains(&forgotten), "{forgotten}");
    assert_eq!(door.code(at(400), "192.0.2.1", &good("399")), Code::Replayed);
    assert_eq!(door.code(at(400), "192.0.2.1", &good("0")), Code::Success, "forgotten");
}

#[test]
fn ten_wrong_digests_lock_one_app_for_one_source() {
    let door = Door::new();
    for n in 0..10 {
        assert_eq!(door.code(at(n), "192.0.2.1", &wrong()), Code::WrongDigest, "{n}");
    }
    assert_eq!(door.code(at(10), "192.0.2.1", &wrong()), Code::Locked);
    assert_eq!(door.code(at(10), "192.0.2.1", &good("right")), Code::Locked, "even when it is right");
    assert_eq!(door.code(at(10), "::ffff:192.0.2.1", &good("mapped")), Code::Locked);
    assert_eq!(door.code(at(10), "192.0.2.2", &good("elsewhere")), Code::Success);
    let other = signed(Generation::Aksk, "other-axb", SECRET, "other", CREATED);
    assert_eq!(door.code(at(10), "192.0.2.1", &other), Code::Success);
    assert_eq!(door.code(at(9 + 1799), "192.0.2.1", &good("early")), Code::Locked);
    assert_eq!(door.code(at(9 + 1800), "192.0.2.1", &good("late")), Code::Success);
    assert_eq!(door.0.counters(), GateCounters { locks: 1, ..GateCounters::default() });
}

#[test]
fn wrong_digests_lock_only_within_five_minutes() {
    let door = Door::new();
    for n in 0..9 {
        assert_eq!(door.code(at(n), "192.0.2.1", &wrong()), Code::WrongDigest);
    }
    for n in 0..20 {
        assert_eq!(door.code(at(301 + n * 34), "192.0.2.1", &wrong()), Code::WrongDigest, "{n}");
    }
    assert_eq!(door.0.counters().locks, 0);
}

#[test]
fn a_network_of_ipv6_is_one_source() {
    let door = Door::new();
    for n in 0..10 {
        assert_eq!(door.code(at(0), &format!("2001:db8::{n}"), &wrong()), Code::WrongDigest);
    }
    assert_eq!(door.code(at(1), "2001:db8::ffff:1", &good("a")), Code::Locked);
    assert_eq!(door.code(at(1), "2001:db8:0:1::1", &good("b")), Code::Success);
}

#[test]
fn the_memory_of_sources_is_bounded_and_what_is_forgotten_is_counted() {
    let door = Door(Gate::with_limits(Some(DEFAULT_WINDOW), 64, 64), accounts());
    for n in 0..500 {
        assert_eq!(door.code(at(0), &format!("10.0.{}.{}", n / 250, n % 250), &wrong()), Code::WrongDigest);
    }
    let forgotten = door.0.counters().sources_forgotten;
    assert!((436..500).contains(&forgotten), "{forgotten}");
    // What is over does not count as forgotten.
    for n in 0..500 {
        assert_eq!(door.code(at(1_000), &format!("10.1.{}.{}", n / 250, n % 250), &wrong()), Code::WrongDigest);
    }
    assert!(door.0.counters().sources_forgotten < forgotten + 500);
}

#[test]
fn a_bucket_is_a_second_deep() {
    let account = Account { requests_per_second: 4, ..account(AXB, "axb", Mode::Axb) };
    let door = Door(Gate::new(None), Arc::new(Accounts::new([account])));
    let mut nonce = 0;
    let mut code = |ms: u64| {
        nonce += 1;
        let now = Now { unix_ms: CREATED_MS, monotonic: Duration::from_millis(ms) };
        door.code(now, "192.0.2.1", &good(&nonce.to_string()))
    };
    let (yes, no) = (Code::Success, Code::TooManyRequests);
    assert_eq!([0; 6].map(&mut code), [yes, yes, yes, yes, no, no]);
    assert_eq!([249, 250, 250, 500, 500].map(&mut code), [no, yes, no, yes, no]);
    assert_eq!([9_000; 5].map(&mut code), [yes, yes, yes, yes, no], "no deeper after a long rest");
}

#[test]
fn a_request_that_the_bucket_refused_may_come_again() {
    let account = Account { requests_per_second: 1, ..account(AXB, "axb", Mode::Axb) };
    let door = Door(Gate::new(None), Arc::new(Accounts::new([account])));
    assert_eq!(door.code(at(0), "192.0.2.1", &good("a")), Code::Success);
    assert_eq!(door.code(at(0), "192.0.2.1", &good("b")), Code::TooManyRequests);
    assert_eq!(door.code(at(1), "192.0.2.1", &good("b")), Code::Success);
    // Strangers do not empty it.
    for _ in 0..5 {
        assert_eq!(door.code(at(2), "192.0.2.1", &wrong()), Code::WrongDigest);
    }
    assert_eq!(door.code(at(2), "192.0.2.1", &good("c")), Code::Success);
}
