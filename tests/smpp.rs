//! Text messages between SIP and a short message service centre through the built daemon: A's carrier speaks SIP, B's SMPP.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;

use support::centre::Centre;
use support::daemon::Daemon;
use support::dns::{self, Dns};
use support::pki::Authority;
use support::setup::{Setup, Site};
use support::sip::{Answer, Peer, header, response};
use support::{A, B, X, line_of, secure, until};
use testbed::smsc::ShortMessage;

mod support;

/// A number of theirs that goes out by A's carrier, by SIP. [`X`] goes out by B's, by SMPP.
const X_BY_SIP: &str = "+8675512340002";
/// Somebody else, and a number of nobody.
const C: &str = "+8613900000003";
const UNBOUND_X: &str = "+8675512340009";

/// The words of a text are as secret as the numbers.
const WORDS: &str = "您的快递已到达，请到东门取件🚚";

/// A daemon, an SMSC that is B's carrier, and A's carrier by hand.
struct Carriers {
    centre: Centre,
    site: Site,
    setup: Setup,
    daemon: Daemon,
    a: Peer,
    texts: u32,
}

/// As SMPP says an international number.
fn digits(number: &str) -> &str {
    number.strip_prefix('+').unwrap()
}

impl Carriers {
    fn start(tls: bool, more: &str) -> Carriers {
        let site = Site::new();
        let authority = Authority::new("carriers");
        fs::write(site.folder().join("ca.pem"), authority.pem()).unwrap();
        let issued = authority.issue("smsc.example");
        let centre = Centre::start(tls.then(|| secure::server(&issued, None)));
        // A's carrier has a socket before the daemon knows of it, and the daemon an address only when it runs.
        let a = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut setup = Setup::new();
        setup.shop = "sms = \"notify\"\n";
        setup.log = "level = \"trace\"\n";
        setup.trunk("carrier-a", "127.0.0.1", Some(a.local_addr().unwrap()), "");
        setup.trunk_at("carrier-b", "127.0.0.2", "udp:127.0.0.2:9".to_owned(), leak(&smpp(&centre, tls, more)));
        setup.bind(X, A, B, "carrier-b");
        setup.bind(X_BY_SIP, A, B, "carrier-a");
        setup.number(UNBOUND_X, "shop");
        site.write(&setup);
        let daemon = site.start();
        centre.wait_for_bind();
        let a = Peer::of(a, daemon.udp);
        Carriers { centre, site, setup, daemon, a, texts: 0 }
    }

    /// A writes to X; what X answers.
    fn write(&mut self, words: &str) -> Answer {
        let wanted = self.begin_to_write(words);
        self.answer_to(&wanted)
    }

    /// A writes to X; the Call-ID.
    fn begin_to_write(&mut self, words: &str) -> String {
        self.texts += 1;
        let (n, a, server) = (self.texts, self.a.local(), self.daemon.udp);
        let message = format!(
            "MESSAGE sip:{X}@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {a};branch=z9hG4bK-text-{n};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{A}@{a}>;tag=text-{n}\r\nTo: <sip:{X}@{server}>\r\nCall-ID: text-{n}\r\nCSeq: 1 MESSAGE\r\n\
             Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{words}",
            words.len(),
        );
        self.a.send(message.as_bytes());
        format!("text-{n}")
    }

    fn answer_to(&self, call_id: &str) -> Answer {
        loop {
            let answer = self.a.receive();
            let is_it = answer.0.starts_with("SIP/2.0 ") && answer.header("Call-ID") == Some(call_id);
            if is_it && answer.status() >= 200 {
                return answer;
            }
        }
    }

    /// A's carrier gets a MESSAGE and answers it.
    fn receive(&self, status: &str) -> String {
        let message = self.begin_to_receive();
        self.a.send(response(&message, status, "", "").as_bytes());
        message
    }

    fn begin_to_receive(&self) -> String {
        loop {
            let message = self.a.receive().0;
            if message.starts_with("MESSAGE ") {
                return message;
            }
        }
    }

    /// The same file but for this.
    fn reload(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.site.file()).unwrap();
        assert!(text.contains(from), "{from} is in the file");
        self.site.write_text(&text.replace(from, to));
        let before = self.daemon.log().matches("configuration taken").count();
        self.daemon.signal("HUP");
        until("a reload", || (self.daemon.log().matches("configuration taken").count() > before).then_some(()));
    }
}

fn smpp(centre: &Centre, tls: bool, more: &str) -> String {
    let mut text = format!(
        "smpp.address = \"{}\"\nsmpp.system_id = \"axbridge\"\nsmpp.password = \"hushhush\"\n{more}\n",
        centre.address
    );
    if tls {
        let _ = writeln!(text, "smpp.tls = true\ntls.ca = \"ca.pem\"\ntls.server_name = \"smsc.example\"");
    }
    text
}

fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn body_of(message: &str) -> &str {
    message.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn texts_go_both_ways_and_neither_learns_the_others_number() {
    let mut site = Carriers::start(false, "");
    assert_eq!(site.write(WORDS).status(), 202, "the SMSC has taken it and will try");
    let sent = site.centre.take(1);
    assert_eq!(sent[0].words(), WORDS);
    assert_eq!((&*sent[0].source.1, &*sent[0].destination.1), (digits(X), digits(B)));
    let said = String::from_utf8_lossy(&site.centre.octets()).into_owned();
    assert!(!said.contains("13800000001"), "the SMSC is shown A's number to B");

    let sequence = site.centre.deliver(&ShortMessage::ucs2(digits(B), digits(X_BY_SIP), WORDS));
    let message = site.receive("200 OK");
    assert_eq!(body_of(&message), WORDS);
    assert!(message.starts_with(&format!("MESSAGE sip:{A}@")) && header(&message, "From").unwrap().contains(X_BY_SIP));
    assert_eq!(site.centre.status_of(sequence), 0);

    // Both by SMPP: what X goes out by decides.
    let sequence = site.centre.deliver(&ShortMessage::ucs2(digits(B), digits(X), WORDS));
    let sent = site.centre.take(1);
    assert_eq!(
        (&*sent[0].source.1, &*sent[0].destination.1, sent[0].words()),
        (digits(X), digits(A), WORDS.to_owned())
    );
    assert_eq!(site.centre.status_of(sequence), 0);

    // As long as a text may be, in as many short messages as that takes.
    let long = "汉字🚚。".repeat(500);
    assert_eq!(site.write(&long).status(), 202);
    let mut parts = site.centre.take(38);
    parts.sort_by_key(|part| part.octets[5]);
    assert_eq!(parts.iter().map(ShortMessage::words).collect::<String>(), long);
    let parts = ShortMessage::parts(digits(B), digits(X_BY_SIP), &long, 67, 5);
    let sequences: Vec<u32> = parts.iter().map(|part| site.centre.deliver(part)).collect();
    assert_eq!(body_of(&site.receive("200 OK")), long);
    assert!(sequences.iter().all(|sequence| site.centre.status_of(*sequence) == 0));

    // Nobody learns anything, and the log says neither a number nor a word.
    let log = site.daemon.log();
    for (what, text, forbidden) in [
        ("A", &message, &[B, digits(B), "13900000002"][..]),
        ("the log", &log, &[A, digits(A), B, digits(B), "13800000001", "13900000002", "快递", "hushhush"]),
    ] {
        for secret in forbidden {
            assert!(!text.contains(secret), "{what} is shown {secret}");
        }
    }
    for (name, labels, wanted) in [
        ("axbridge_smpp_bound", &[("trunk", "carrier-b")][..], 1.0),
        ("axbridge_smpp_sent_total", &[("result", "taken")], 40.0),
        ("axbridge_smpp_received_total", &[("kind", "all")], sequences.len() as f64 + 2.0),
        ("axbridge_texts_total", &[("outcome", "accepted")], 3.0),
        ("axbridge_texts_total", &[("outcome", "delivered")], 2.0),
    ] {
        site.daemon.wait_for_metric(name, labels, wanted);
    }
    is_smpp_to_wireshark(&site);
}

/// What the daemon has said to the SMSC is what Wireshark's dissector takes for SMPP: another opinion than the product's and
/// the script's.
fn is_smpp_to_wireshark(site: &Carriers) {
    let file = site.site.folder().join("smpp.pcap");
    fs::write(&file, capture(&site.centre.octets())).unwrap();
    let fields = ["smpp.command_id", "smpp.source_addr", "smpp.destination_addr", "smpp.data_coding", "_ws.malformed"];
    let mut arguments =
        vec!["-n", "-d", "tcp.port==2775,smpp", "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"];
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    arguments.push("-r");
    let printed = line_of("tshark", &arguments, &file);
    let all: Vec<Vec<&str>> = printed.lines().map(|line| line.split('|').collect()).collect();
    let column = |place: usize| -> Vec<String> {
        all.iter().flat_map(|line| line[place].split(',')).filter(|text| !text.is_empty()).map(str::to_owned).collect()
    };
    let ids = column(0);
    assert_eq!(ids[0], "0x00000009", "{printed}");
    assert_eq!(ids.iter().filter(|id| *id == "0x00000004").count(), 40, "{printed}");
    assert!(column(1).iter().all(|source| source == digits(X)), "{printed}");
    assert_eq!(column(2).iter().filter(|to| *to == digits(B)).count(), 39, "{printed}");
    assert_eq!((column(1).len(), column(3).len()), (40, 40));
    assert!(column(4).is_empty(), "{printed}");
}

/// A file of the classic format: one TCP stream to port 2775, a kilobyte a segment.
fn capture(octets: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    let mut sequence = 1_u32;
    for segment in octets.chunks(1_000) {
        let length = 40 + u32::try_from(segment.len()).unwrap();
        for word in [sequence / 1_000, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        // RFC 791 and RFC 9293: no options, no checksums, PSH and ACK.
        file.extend([0x45, 0]);
        file.extend(u16::try_from(length).unwrap().to_be_bytes());
        file.extend([0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        file.extend([40_000_u16, 2_775].map(u16::to_be_bytes).concat());
        file.extend([sequence, 1].map(u32::to_be_bytes).concat());
        file.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        file.extend(segment);
        sequence += u32::try_from(segment.len()).unwrap();
    }
    file
}

#[test]
fn what_became_of_a_text_is_said_in_the_language_of_its_sender() {
    let mut site = Carriers::start(false, "smpp.window = 1");
    // ESME_RINVDSTADR, ESME_RINVMSGLEN, ESME_RX_T_APPN, ESME_RSUBMITFAIL.
    for (status, expected) in [(0x0b, 404), (0x01, 488), (0x64, 502), (0x45, 403)] {
        site.centre.answer_next(&[status]);
        assert_eq!(site.write("words").status(), expected, "{status:#x}");
    }
    // ESME_RTHROTTLED: later, and taken then.
    site.centre.answer_next(&[0x58]);
    assert_eq!(site.write("words").status(), 202);
    for (answer, expected) in
        [("202 Accepted", 0), ("404 Not Found", 0x0b), ("480 Temporarily Unavailable", 0x64), ("403 Forbidden", 0x65)]
    {
        let sequence = site.centre.deliver(&ShortMessage::ucs2(digits(B), digits(X_BY_SIP), answer));
        assert_eq!(body_of(&site.receive(answer)), answer);
        assert_eq!(site.centre.status_of(sequence), expected, "{answer}");
    }
    // Not bound to X; no number of ours; a picture; a receipt.
    let plain = ShortMessage::ucs2(digits(B), digits(X), "words");
    for (message, expected) in [
        (ShortMessage { source: (1, digits(C).to_owned()), ..plain.clone() }, 0x66),
        (ShortMessage { destination: (1, digits(UNBOUND_X).to_owned()), ..plain.clone() }, 0x66),
        (ShortMessage { destination: (1, digits(C).to_owned()), ..plain.clone() }, 0x0b),
        (ShortMessage { data_coding: 4, ..plain.clone() }, 0x66),
        (ShortMessage { esm_class: 4, ..plain }, 0),
    ] {
        let sequence = site.centre.deliver(&message);
        assert_eq!(site.centre.status_of(sequence), expected);
    }
}

#[test]
fn a_session_comes_back_and_follows_the_configuration() {
    let mut site = Carriers::start(false, "");
    site.centre.hang_up();
    until("it binds again", || (site.centre.binds().len() == 2).then_some(()));
    site.centre.wait_for_bind();
    assert_eq!(site.write("after the break").status(), 202);

    // The same again: nothing happens to the session. Then another name.
    site.daemon.signal("HUP");
    until("a reload", || (site.daemon.log().matches("configuration taken").count() == 1).then_some(()));
    assert_eq!((site.centre.binds().len(), site.centre.unbinds()), (2, 0));
    let text = fs::read_to_string(site.site.file()).unwrap();
    site.site.write_text(&text.replace("system_id = \"axbridge\"", "system_id = \"newname\""));
    site.daemon.signal("HUP");
    until("it binds by the new name", || {
        site.centre.binds().iter().any(|bind| bind.starts_with(b"newname\0")).then_some(())
    });
    site.centre.wait_for_bind();
    assert_eq!(site.centre.unbinds(), 1);
    assert_eq!(site.write("by the new name").status(), 202);

    // Without an SMSC the trunk speaks SIP, which nobody does there.
    let kept = |line: &&str| !line.starts_with("smpp.");
    site.site.write_text(&text.lines().filter(kept).collect::<Vec<_>>().join("\n"));
    site.daemon.signal("HUP");
    until("it says good-bye", || (site.centre.unbinds() == 2).then_some(()));
    until("its gauge is gone", || {
        let scrape = site.daemon.scrape().text;
        (!scrape.contains("axbridge_smpp_bound{")).then_some(())
    });
    site.site.write(&site.setup);
    site.daemon.signal("HUP");
    site.centre.wait_for_bind();
    let log = site.daemon.terminate();
    assert_eq!(site.centre.unbinds(), 3, "{log}");
}

#[test]
fn texts_that_are_under_way_outlive_their_session() {
    // The SMSC answers nothing for a while, and A's carrier neither.
    let mut site = Carriers::start(false, "smpp.response_timeout = \"20s\"");
    site.centre.hold();
    let written = site.begin_to_write("under way");
    site.centre.take(1);
    let sequence = site.centre.deliver(&ShortMessage::ucs2(digits(B), digits(X_BY_SIP), WORDS));
    let message = site.begin_to_receive();
    site.reload("system_id = \"axbridge\"", "system_id = \"newname\"");
    assert_eq!((site.centre.binds().len(), site.centre.unbinds()), (1, 0), "it waits");
    site.centre.release();
    assert_eq!(site.answer_to(&written).status(), 202);
    site.a.send(response(&message, "200 OK", "", "").as_bytes());
    assert_eq!(site.centre.status_of(sequence), 0);
    until("it binds by the new name", || (site.centre.binds().len() == 2).then_some(()));
    assert_eq!(site.centre.unbinds(), 1);

    // A connection that goes amid a text: the text is said again, and forwarded once.
    site.centre.wait_for_bind();
    let text = ShortMessage::ucs2(digits(B), digits(X_BY_SIP), "once");
    site.centre.deliver(&text);
    let message = site.begin_to_receive();
    site.centre.hang_up();
    until("it binds again", || (site.centre.binds().len() == 3).then_some(()));
    site.centre.wait_for_bind();
    site.a.send(response(&message, "200 OK", "", "").as_bytes());
    site.daemon.wait_for_metric("axbridge_texts_total", &[("outcome", "delivered")], 2.0);
    let sequence = site.centre.deliver(&text);
    assert_eq!(site.centre.status_of(sequence), 0);
    site.daemon.wait_for_metric("axbridge_smpp_received_total", &[("kind", "repeated")], 1.0);
    assert_eq!(site.daemon.metric("axbridge_texts_total", &[("outcome", "delivered")]), 2.0);
}

#[test]
fn an_smsc_has_a_name_and_need_not_say_good_bye() {
    let dns = Dns::start(vec![dns::a("smsc.example", Ipv4Addr::LOCALHOST)]);
    let mut site = Carriers::start(false, "smpp.response_timeout = \"1s\"\nsmpp.window = 7");
    site.centre.ignore_unbinds();
    let address = format!("\"{}\"", site.centre.address);
    let named = format!("\"smsc.example:{}\"\n", site.centre.address.port());
    let servers = format!("[dns]\nservers = [\"{}\"]\n\n[[trunk]]", dns.address);
    let text = fs::read_to_string(site.site.file()).unwrap();
    site.site.write_text(&text.replace(&address, &named).replacen("[[trunk]]", &servers, 1));
    site.reload("smpp.window", "smpp.window");
    until("it binds again", || (site.centre.binds().len() == 2).then_some(()));
    site.daemon.wait_for_metric("axbridge_smpp_bound", &[("trunk", "carrier-b")], 1.0);
    assert_eq!(site.write("by name").status(), 202);
    site.daemon.terminate();
}

#[test]
fn a_bind_that_is_refused_is_told_with_the_mend() {
    let site = Carriers::start(false, "");
    // ESME_RINVPASWD.
    site.centre.refuse_next_bind(0x0e);
    site.centre.hang_up();
    site.daemon.wait_for_log("check smpp.system_id, smpp.password, smpp.system_type");
    site.daemon.wait_for_metric("axbridge_smpp_bound", &[("trunk", "carrier-b")], 0.0);
}

#[test]
fn texts_go_over_tls_to_who_shows_the_name() {
    let mut site = Carriers::start(true, "smpp.long = \"payload\"");
    let long = "汉".repeat(2_000);
    assert_eq!(site.write(&long).status(), 202);
    let sent = site.centre.take(1);
    assert_eq!(sent[0].tlvs[0].1.len(), 4_000);
    let sequence = site.centre.deliver(&ShortMessage::ucs2(digits(B), digits(X_BY_SIP), WORDS));
    assert_eq!(body_of(&site.receive("200 OK")), WORDS);
    assert_eq!(site.centre.status_of(sequence), 0);
    // Another name than it shows: it is not spoken with.
    let binds = site.centre.binds().len();
    let text = fs::read_to_string(site.site.file()).unwrap();
    site.site.write_text(&text.replace("smsc.example", "other.example"));
    site.daemon.signal("HUP");
    site.daemon.wait_for_log("TLS with the SMSC fails");
    assert_eq!(site.centre.binds().len(), binds);
}
