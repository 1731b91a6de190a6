//! SIP over TLS, over IPv6, and by the listener that a carrier knows: the built daemon, with certificates made on the spot.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use phone::{Ender, PhoneEvent, Script, Sound};
use rustls::ServerConfig;
use support::booth::{Booth, Who};
use support::daemon::Daemon;
use support::pki::{Authority, Issued};
use support::secure::{self, Link};
use support::setup::{Setup, Site};
use support::sip::{self, Peer, Stream};
use support::talk::{HOME_OF_A, HOME_OF_B};
use support::{A, B, PATIENCE, VOICE_OF_A, VOICE_OF_B, X, until};

mod support;

/// Serves everything at the loopback.
const LISTEN: &str = r#""udp:127.0.0.1:0", "tcp:127.0.0.1:0", "tls:127.0.0.1:0""#;

/// Lines of `[sip]` that name the files of [`write_ours`].
const OURS: &str = "[sip.tls]\ncertificate = \"ours.pem\"\nkey = \"ours-key.pem\"\nca = \"ca.pem\"\n";

/// The same, asking callers for a certificate.
const OURS_ASKING: &str = "[sip.tls]\ncertificate = \"ours.pem\"\nkey = \"ours-key.pem\"\nca = \"ca.pem\"\nclient_ca = \"ca.pem\"\nrequire_client_certificate = true\n";

fn write(site: &Site, name: &str, text: &str) {
    fs::write(site.folder().join(name), text).unwrap();
}

/// What we show, and whom we believe.
fn write_ours(site: &Site, shown: &Issued, believed: &Authority) {
    write(site, "ours.pem", &shown.certificate);
    write(site, "ours-key.pem", &shown.key);
    write(site, "ca.pem", &believed.pem());
}

fn is_released(event: &PhoneEvent) -> bool {
    matches!(event, PhoneEvent::Released { by: Ender::Them, .. })
}

fn hear_each_other(booth: &mut Booth, a: Who, b: Who) {
    let heard = |booth: &Booth| [booth.heard(a, "B's voice"), booth.heard(b, "A's voice")];
    let before = heard(booth);
    let length = Duration::from_millis(200);
    booth
        .wait("they hear each other", |booth| heard(booth).iter().zip(before).all(|(now, then)| *now >= then + length));
}

/// A and B, whose carriers speak nothing but TLS; B's is known by a name.
struct Private {
    site: Site,
    daemon: Daemon,
    booth: Booth,
    a: Who,
    b: Who,
}

impl Private {
    fn new(authority: &Authority) -> Private {
        let site = Site::new();
        write_ours(&site, &authority.issue("127.0.0.1"), authority);
        let mut booth = Booth::new();
        let shown = secure::server(&authority.issue("sip.carrier-b.example"), None);
        let b = booth.add_tls(B, (HOME_OF_A, 9).into(), Link::listening(HOME_OF_B, &shown), |config| {
            config.sound = Sound::Tone(VOICE_OF_B);
            config.script = Script::answers(Duration::from_millis(100));
        });
        let mut setup = Setup::serving(LISTEN, OURS);
        setup.trunk("carrier-a", "127.0.0.1", None, "");
        let target = format!("tls:{}", booth.address(b));
        setup.trunk_at("carrier-b", "127.0.0.2", target, "tls.server_name = \"sip.carrier-b.example\"");
        setup.bind(X, A, B, "carrier-b");
        site.write(&setup);
        let daemon = site.start();
        let server = daemon.tls.expect("it serves TLS");
        let link = Link::to(server, &secure::client(authority, None));
        let a = booth.add_tls(A, server, link, |config| config.sound = Sound::Tone(VOICE_OF_A));
        Private { site, daemon, booth, a, b }
    }

    fn call(&mut self) {
        self.booth.call(self.a, X, self.daemon.tls.unwrap());
        hear_each_other(&mut self.booth, self.a, self.b);
    }

    fn tls_event(&self, event: &str) -> f64 {
        self.daemon.metric("axbridge_tcp_events_total", &[("event", event)])
    }
}

#[test]
fn a_call_over_tls_is_a_call_and_nothing_of_it_goes_by_another_way() {
    let authority = Authority::new("everybody's");
    let mut private = Private::new(&authority);
    let (a, b) = (private.a, private.b);
    private.call();
    // B hangs up: A hears of it by the stream that A's INVITE came on.
    private.booth.hang_up(b);
    private.booth.wait_for(a, "a BYE over TLS", is_released);
    private.booth.wait("B's BYE is answered", |booth| booth.phone(b).state() == phone::State::Ended);
    // And once more, ended by A: B hears of it by the stream that we opened for the first call.
    private.call();
    private.booth.hang_up(a);
    let released = |booth: &Booth| booth.events(b).iter().filter(|event| is_released(event)).count();
    private.booth.wait("B is released", |booth| released(booth) == 1);
    private.booth.wait("A's BYE is answered", |booth| booth.phone(a).state() == phone::State::Ended);
    private.booth.assert_proper();

    for message in private.booth.received(b).iter().filter(|message| message.starts_with(b"INVITE")) {
        let text = String::from_utf8_lossy(message);
        assert!(sip::header(&text, "Via").unwrap().starts_with("SIP/2.0/TLS "), "{text}");
        assert!(sip::header(&text, "Contact").unwrap().ends_with(";transport=tls>"), "{text}");
    }
    private.daemon.wait_for_metric("axbridge_tcp_connections", &[], 2.0);
    assert_eq!((private.tls_event("accepted"), private.tls_event("opened")), (1.0, 1.0));
    assert_eq!(private.daemon.scrape().sum("axbridge_udp_datagrams_total"), 0.0);
    let site = &private.site;
    private.booth.wait("both are on record", |_| site.cdrs().len() == 2);
    assert!(private.site.cdrs().iter().all(|cdr| cdr["cause"] == "hung_up"), "{:?}", private.site.cdrs());
    private.daemon.terminate();
}

/// Takes whoever connects, in a thread of its own, until the test ends.
fn carrier(shows: &Arc<ServerConfig>) -> SocketAddr {
    let mut link = Link::listening(HOME_OF_B, shows);
    let address = link.local_address();
    std::thread::spawn(move || {
        let mut unread = Vec::new();
        loop {
            link.receive(&mut unread);
            std::thread::park_timeout(Duration::from_millis(1));
        }
    });
    address
}

#[test]
fn a_carrier_that_is_not_vouched_for_not_valid_or_another_s_is_not_spoken_to() {
    let authority = Authority::new("everybody's");
    let stranger = Authority::new("somebody else's");
    let name = "sip.carrier-b.example";
    let cases = [
        ("tls_issuer", stranger.issue(name), "+8675512340011"),
        ("tls_expired", authority.issue_expired(name), "+8675512340012"),
        // Another carrier's, by the same authority.
        ("tls_name", authority.issue("sip.carrier-c.example"), "+8675512340013"),
    ];
    let site = Site::new();
    write_ours(&site, &authority.issue("127.0.0.1"), &authority);
    let mut setup = Setup::serving(LISTEN, OURS);
    setup.trunk("carrier-a", "127.0.0.1", None, "");
    for (event, shown, x) in &cases {
        let target = format!("tls:{}", carrier(&secure::server(shown, None)));
        let source = match *event {
            "tls_issuer" => "127.0.0.11",
            "tls_expired" => "127.0.0.12",
            _ => "127.0.0.13",
        };
        setup.trunk_at(event, source, target, "tls.server_name = \"sip.carrier-b.example\"");
        setup.bind(x, A, B, event);
    }
    site.write(&setup);
    let daemon = site.start();
    let callers = cases.each_ref().map(|(event, _, x)| {
        let caller = Peer::at(HOME_OF_A, daemon.udp);
        assert_eq!(caller.ask("INVITE", A, x).status(), 100);
        daemon.wait_for_metric("axbridge_tcp_events_total", &[("event", event)], 1.0);
        caller
    });
    for caller in callers {
        // After a prompt.
        let refused = std::iter::repeat_with(|| caller.receive().status()).find(|status| *status >= 200);
        assert_eq!(refused, Some(408));
    }
    let site = &site;
    until("they are on record", || (site.cdrs().len() == cases.len()).then_some(()));
    assert!(site.cdrs().iter().all(|cdr| cdr["cause"] == "no_response"), "{:?}", site.cdrs());
    assert_eq!(daemon.metric("axbridge_tcp_events_total", &[("event", "opened")]), 0.0);
    assert_eq!(daemon.metric("axbridge_tcp_connections", &[]), 0.0);
    let log = daemon.terminate();
    for (event, _, _) in &cases {
        assert_eq!(log.lines().filter(|line| line.contains(&format!("reason=\"{event}\""))).count(), 1, "{log}");
    }
    // What the certificates say is the carriers', and has no place in a log.
    assert!(!log.contains("carrier-c.example"), "{log}");
}

#[test]
fn callers_without_a_certificate_of_their_carrier_are_refused_and_counted() {
    let authority = Authority::new("everybody's");
    let site = Site::new();
    write_ours(&site, &authority.issue("127.0.0.1"), &authority);
    let mut setup = Setup::serving(LISTEN, OURS_ASKING);
    setup.trunk("carrier-a", "127.0.0.1", None, "tls.server_name = \"sip.carrier-a.example\"");
    site.write(&setup);
    let daemon = site.start();
    let server = daemon.tls.unwrap();
    let ask = |shows: Option<&Issued>| {
        let mut link = Link::to(server, &secure::client(&authority, shows));
        let request = sip::request("OPTIONS", "TLS", A, link.local_address(), X, server);
        link.send(request.as_bytes());
        link
    };
    let good = authority.issue("sip.carrier-a.example");
    let mut link = ask(Some(&good));
    let mut unread = Vec::new();
    let answer = until("an answer", || {
        link.receive(&mut unread);
        sip::cut(&mut unread)
    });
    assert!(answer.starts_with(b"SIP/2.0 200 "), "{}", answer.escape_ascii());
    let stranger = Authority::new("somebody else's").issue("sip.carrier-a.example");
    for (event, shown) in [
        ("tls_no_certificate", None),
        ("tls_issuer", Some(&stranger)),
        ("tls_expired", Some(&authority.issue_expired("sip.carrier-a.example"))),
        ("tls_name", Some(&authority.issue("sip.carrier-b.example"))),
    ] {
        assert_eq!(ask(shown).wait_for_end(), b"", "{event}");
        daemon.wait_for_metric("axbridge_tcp_events_total", &[("event", event)], 1.0);
    }
    daemon.wait_for_metric("axbridge_sip_requests_total", &[("method", "OPTIONS")], 1.0);
    daemon.terminate();
}

#[test]
fn a_reload_shows_a_new_certificate_to_those_who_come_and_leaves_the_calls_that_are_up() {
    let old = Authority::new("the old one's");
    let mut private = Private::new(&old);
    private.call();
    let server = private.daemon.tls.unwrap();

    // What the carriers show is vouched for by the new authority from now on, and so is what we show.
    let new = Authority::new("the new one's");
    let renewed = new.issue("127.0.0.1");
    write_ours(&private.site, &renewed, &new);
    private.daemon.signal("HUP");
    private.daemon.wait_for_log("configuration taken");
    assert!(Link::to(server, &secure::client(&old, None)).settle().is_err(), "it shows the old one");
    private.daemon.wait_for_metric("axbridge_tcp_events_total", &[("event", "tls_alert")], 1.0);
    let mut link = Link::to(server, &secure::client(&new, None));
    link.settle().unwrap();
    let shown = link.shown();

    // A file that is broken changes nothing, and is named.
    write(&private.site, "ours-key.pem", &old.issue("127.0.0.1").key);
    private.daemon.signal("HUP");
    private.daemon.wait_for_log("configuration not taken; the old one stands");
    let log = private.daemon.log();
    let complaint = log.lines().find(|line| line.contains("sip.tls.key")).unwrap_or_else(|| panic!("{log}"));
    assert!(complaint.contains("axbridge.toml:") && complaint.contains("of another certificate"), "{complaint}");
    let mut link = Link::to(server, &secure::client(&new, None));
    link.settle().unwrap();
    assert_eq!(link.shown(), shown);

    // All the while the call goes on, and ends by the streams that it began on.
    let (a, b) = (private.a, private.b);
    hear_each_other(&mut private.booth, a, b);
    private.booth.hang_up(b);
    private.booth.wait_for(a, "a BYE", is_released);
    private.booth.assert_proper();
    assert_eq!(private.tls_event("opened"), 1.0);

    // The next call needs a stream to a carrier that shows the old authority's: it is not spoken to.
    private.booth.call(a, X, server);
    private.booth.wait_for(a, "no call", |event| matches!(event, PhoneEvent::Refused { .. }));
    private.daemon.wait_for_metric("axbridge_tcp_events_total", &[("event", "tls_issuer")], 1.0);
    private.daemon.terminate();
}

// ---- streams that are gone ----------------------------------------------------------------------------------------

#[test]
fn a_response_whose_stream_is_gone_comes_by_a_new_one_to_the_via_s_port() {
    let callee = Peer::at(HOME_OF_B, (HOME_OF_B, 9).into());
    let site = Site::new();
    site.write(&Setup::of_a_and_b(callee.local()));
    let daemon = site.start();
    let home = TcpListener::bind((HOME_OF_A, 0)).unwrap();
    let mut stream = Stream::to(daemon.tcp);
    let request = sip::request("INVITE", "TCP", A, home.local_addr().unwrap(), X, daemon.tcp);
    stream.write(request.as_bytes());
    assert_eq!(stream.receive().unwrap().status(), 100);
    drop(stream);
    daemon.wait_for_metric("axbridge_tcp_connections", &[], 0.0);

    let busy = sip::response(&callee.receive().0, "486 Busy Here", "", "");
    callee.socket.send_to(busy.as_bytes(), daemon.udp).unwrap();

    let (mut back, from) = home.accept().unwrap();
    assert_eq!(from.ip(), IpAddr::V4(HOME_OF_A));
    back.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut unread = Vec::new();
    // A prompt says first, by a 183, that B is busy.
    let refused = loop {
        match sip::cut(&mut unread).map(|message| String::from_utf8(message).unwrap()) {
            Some(message) if message.starts_with("SIP/2.0 486 ") => break message,
            Some(message) => assert!(message.starts_with("SIP/2.0 183 "), "{message}"),
            None => {
                let mut buffer = [0; 4096];
                let count = back.read(&mut buffer).unwrap();
                assert_ne!(count, 0, "no final response came");
                unread.extend(&buffer[..count]);
            }
        }
    };
    assert_eq!(sip::header(&refused, "Call-ID"), sip::header(&request, "Call-ID"));
    // Its ACK ends the transaction, by the new stream.
    let mut ack = format!("ACK {} SIP/2.0\r\n", request.split(' ').nth(1).unwrap());
    for (name, message) in [("Via", &request), ("From", &request), ("To", &refused), ("Call-ID", &request)] {
        ack += &format!("{name}: {}\r\n", sip::header(message, name).unwrap());
    }
    back.write_all(format!("{ack}CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
    daemon.wait_for_metric("axbridge_transactions_active", &[("side", "server")], 0.0);
    assert_eq!(daemon.metric("axbridge_tcp_events_total", &[("event", "opened")]), 1.0);
    daemon.terminate();
}

// ---- IPv6, and more than one listener -----------------------------------------------------------------------------

/// A description of a session over IPv6.
const SDP_OF_IPV6: &str = "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\n";

/// By hand: the phones' reader of SIP takes no addresses of IPv6.
#[test]
fn a_call_over_ipv6_comes_by_tls_and_goes_by_udp() {
    let home = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if TcpListener::bind((home, 0)).is_err() {
        return; // test.sh says that nothing of IPv6 was tested
    }
    let authority = Authority::new("everybody's");
    let site = Site::new();
    write_ours(&site, &authority.issue("::1"), &authority);
    let listen = r#""udp:[::1]:0", "tcp:[::1]:0", "tls:[::1]:0""#;
    let mut setup = Setup::serving(listen, OURS);
    setup.media = "::1";
    let callee = Peer::at(home, (HOME_OF_B, 9).into());
    setup.trunk("carrier", "::1", Some(callee.local()), "");
    setup.bind(X, A, B, "carrier");
    site.write(&setup);
    let daemon = site.start();
    let server = daemon.tls.unwrap();

    let mut stream = Stream::to(daemon.tcp);
    let request = stream.request("OPTIONS", A, X);
    stream.write(request.as_bytes());
    assert_eq!(stream.receive().unwrap().status(), 200);

    let mut link = Link::to(server, &secure::client(&authority, None));
    let invite = sip::request("INVITE", "TLS", A, link.local_address(), X, server);
    let (head, _) = invite.split_once("Content-Length").unwrap();
    link.send(format!("{head}Content-Length: {}\r\n\r\n{SDP_OF_IPV6}", SDP_OF_IPV6.len()).as_bytes());
    let mut unread = Vec::new();
    let mut next = |link: &mut Link, wanted: &str| {
        until(wanted, || {
            link.receive(&mut unread);
            let message = String::from_utf8(sip::cut(&mut unread)?).unwrap();
            message.starts_with(wanted).then_some(message)
        })
    };
    next(&mut link, "SIP/2.0 100 ");

    let called = callee.receive().0;
    assert!(called.starts_with("INVITE ") && called.contains("c=IN IP6 ::1\r\n"), "{called}");
    assert!(sip::header(&called, "Contact").unwrap().starts_with("<sip:[::1]:"), "{called}");
    let contact = format!("Contact: <sip:b@{}>\r\n", callee.local());
    let ok = sip::response(&called, "200 OK", &contact, SDP_OF_IPV6);
    callee.socket.send_to(ok.as_bytes(), daemon.udp).unwrap();
    assert!(callee.receive().0.starts_with("ACK "));

    let answer = next(&mut link, "SIP/2.0 200 ");
    assert!(answer.contains("c=IN IP6 ::1\r\n"), "{answer}");
    assert_eq!(sip::header(&answer, "Contact"), Some(&*format!("<sip:{server};transport=tls>")));
    let again = |method: &str, cseq: u32, to: &str| {
        let mut request = format!("{method} sip:{server};transport=tls SIP/2.0\r\n");
        request +=
            &format!("Via: SIP/2.0/TLS [::1]:5061;branch=z9hG4bK-{method}\r\nTo: {to}\r\nCSeq: {cseq} {method}\r\n");
        for name in ["From", "Call-ID"] {
            request += &format!("{name}: {}\r\n", sip::header(&invite, name).unwrap());
        }
        request + "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    };
    let to = sip::header(&answer, "To").unwrap();
    link.send(again("ACK", 1, to).as_bytes());
    link.send(again("BYE", 2, to).as_bytes());
    next(&mut link, "SIP/2.0 200 ");
    let bye = callee.receive().0;
    assert!(bye.starts_with("BYE "), "{bye}");
    callee.socket.send_to(sip::response(&bye, "200 OK", "", "").as_bytes(), daemon.udp).unwrap();
    until("it is on record", || site.cdrs().first().map(|cdr| assert_eq!(cdr["cause"], "hung_up")));
    daemon.terminate();
}

#[test]
fn a_call_leaves_by_the_listener_that_the_carrier_knows_and_under_its_name() {
    let callee = Peer::at(HOME_OF_B, (HOME_OF_B, 9).into());
    let site = Site::new();
    let listen =
        r#""udp:127.0.0.1:0", "tcp:127.0.0.1:0", { address = "udp:127.0.0.3:0", advertised = "sip.x.example" }"#;
    let mut setup = Setup::serving(listen, "");
    setup.trunk("carrier-a", "127.0.0.1", None, "");
    setup.trunk("carrier-b", "127.0.0.2", Some(callee.local()), "from = \"udp:127.0.0.3:0\"");
    setup.bind(X, A, B, "carrier-b");
    site.write(&setup);
    let daemon = site.start();
    // A reload keeps the sockets, and what trunks are known by.
    daemon.signal("HUP");
    daemon.wait_for_log("configuration taken");
    let caller = Peer::at(HOME_OF_A, daemon.udp);
    assert_eq!(caller.ask("INVITE", A, X).status(), 100);
    let mut buffer = [0; 4096];
    let (length, from) = callee.socket.recv_from(&mut buffer).unwrap();
    let invite = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert_eq!(from.ip(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)));
    let name = format!("sip.x.example:{}", from.port());
    assert!(sip::header(&invite, "Via").unwrap().starts_with(&format!("SIP/2.0/UDP {name};")), "{invite}");
    assert_eq!(sip::header(&invite, "Contact"), Some(&*format!("<sip:{name}>")), "{invite}");
}
