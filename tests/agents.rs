//! Other people's user agents call each other through the built daemon: baresip (libre), linphone (belle-sip), Net::SIP,
//! and Kamailio as a proxy in the way. What each of them hears is recorded by itself, and it prints every message that it
//! sees: so both ends of a call tell what reached them, in their own words.
//!
//! ```text
//!   agent of A ── INVITE X ──▶ daemon ── INVITE B ──▶ agent of B
//!    says 700 Hz                 │ CDR, recording          says 1,100 Hz
//!    heard.wav, messages         ▼                         heard.wav, messages
//! ```

use std::fs;
use std::time::Duration;

use phone::PhoneEvent;
use serde_json::{Value, json};

use agents::agent::{Agent, Party};
use agents::baresip::{Baresip, Line};
use agents::dissector::{Kind, dissect};
use agents::kamailio::{Kamailio, Place};
use agents::linphone::Linphone;
use agents::net_sip::NetSip;
use agents::sound;
use support::booth::{Booth, Datagram};
use support::daemon::Daemon;
use support::http::Admin;
use support::setup::{FULL, Setup, Site};
use support::talk::{HOME_OF_A, Talk};
use support::{A, B, X, until, wav};

mod agents {
    pub(crate) mod agent;
    pub(crate) mod baresip;
    pub(crate) mod dissector;
    pub(crate) mod kamailio;
    pub(crate) mod linphone;
    pub(crate) mod net_sip;
    pub(crate) mod process;
    pub(crate) mod sound;
}
mod support;

const PARTY_A: Party = Party { number: A, name: "Secret Name Of A", voice: 700.0 };
const PARTY_B: Party = Party { number: B, name: "Secret Name Of B", voice: 1_100.0 };

/// What is recorded of a call before it ends: more than the least that is kept, 3 s.
const TALK: usize = 7 * 8_000 / 2;

/// The daemon, and where it writes.
struct Exchange {
    site: Site,
    daemon: Daemon,
}

impl Exchange {
    /// X takes its calls to `callee`.
    fn to(callee: &dyn Agent, caller: &dyn Agent, transport: &str) -> Exchange {
        Exchange::start(&setup(callee, caller, transport))
    }

    fn start(setup: &Setup) -> Exchange {
        let site = Site::new();
        site.write(setup);
        let daemon = site.start();
        Exchange { site, daemon }
    }

    /// From now on X takes its calls to `callee`.
    fn turn(&self, callee: &dyn Agent, caller: &dyn Agent, transport: &str) {
        self.site.write(&setup(callee, caller, transport));
        self.daemon.signal("HUP");
        self.daemon.wait_for_log("configuration taken");
    }

    /// X at the daemon.
    fn uri(&self, transport: &str) -> String {
        match transport {
            "tcp" => format!("sip:{X}@{};transport=tcp", self.daemon.tcp),
            _ => format!("sip:{X}@{}", self.daemon.udp),
        }
    }

    /// The record of the call after `before` others.
    fn cdr(&self, before: usize) -> Value {
        let cdrs = until("a call detail record", || Some(self.site.cdrs()).filter(|cdrs| cdrs.len() > before));
        assert_eq!(cdrs.len(), before + 1, "{cdrs:?}");
        cdrs[before].clone()
    }

    /// Samples that are stated in the recording of the call after `before` others.
    fn recorded(&self, before: usize) -> usize {
        let files = self.site.recordings();
        assert!(files.len() <= before + 1, "{files:?}");
        let stated = |path| wav::read(&fs::read(path).unwrap_or_default()).map_or(0, <[u8]>::len);
        // Whole recordings are longer than this one: what has ended is not waited for.
        if files.len() == before + 1 { files.iter().map(stated).min().unwrap_or(0) } else { 0 }
    }

    /// Lets the call after `before` others go on until so much of it is recorded.
    fn record(&self, before: usize, samples: usize) {
        until("the call is recorded", || (self.recorded(before) >= samples).then_some(()));
    }
}

/// The extension of A: four digits, of which two follow each other.
const EXTENSION: &str = "4471";

/// X has extensions, of which one is A's, `callee`; each agent is a carrier of its own.
fn extension(callee: &dyn Agent, caller: &dyn Agent) -> Exchange {
    let mut setup = carriers(callee, caller);
    setup.serve_api();
    setup.app("desks", "axe");
    setup.number(X, "desks");
    setup.sections += "trunk = \"carrier-of-callee\"\n";
    let exchange = Exchange::start(&setup);
    let admin = Admin::new(exchange.daemon.http.expect("the API is served"), FULL);
    let binding = json!({"app": "desks", "x": X, "a": A, "extension": EXTENSION, "record": true});
    admin.ask("POST", "/bindings", &[], Some(&binding)).success();
    exchange
}

/// One agent calls X, is asked for an extension and gives it as `type_it` does; the extension's user answers. Then they talk as
/// in any other call. The recording has both voices and nothing else, so nothing of the question.
fn talk_by_extension<C: Agent>(
    exchange: &Exchange,
    before: usize,
    caller: &mut C,
    callee: &mut dyn Agent,
    type_it: impl FnOnce(&mut C),
) {
    caller.prepare();
    callee.prepare();
    caller.dial(&exchange.uri("udp"));
    caller.wait_until_talking();
    until("the caller hears the question", || (sound::length(&caller.heard()) > QUESTION).then_some(()));
    type_it(caller);
    callee.wait_until_talking();
    finish(exchange, before, caller, callee, Ender::Callee);
    let cdr = exchange.cdr(before);
    assert_eq!((&cdr["digits"], &cdr["extension"]), (&EXTENSION.into(), &EXTENSION.into()), "{cdr}");
}

/// What is heard of the question before anything is typed.
const QUESTION: Duration = Duration::from_millis(300);

/// Over UDP each agent is a carrier of its own.
fn carriers(callee: &dyn Agent, caller: &dyn Agent) -> Setup {
    let mut setup = Setup::new();
    for (name, agent) in [("carrier-of-callee", callee), ("carrier-of-caller", caller)] {
        let address = agent.address();
        setup.trunk_at(name, &address.ip().to_string(), format!("udp:{address}"), "");
    }
    setup
}

/// Over UDP each agent is a carrier of its own. Over TCP it is the system that chooses the address that an agent calls
/// from, the same for both, so both are one carrier's.
fn setup(callee: &dyn Agent, caller: &dyn Agent, transport: &str) -> Setup {
    if transport == "tcp" {
        let mut setup = Setup::new();
        setup.trunk_at("carrier", "127.0.0.1", format!("tcp:{}", callee.address()), "");
        setup.bind(X, A, B, "carrier");
        setup
    } else {
        let mut setup = carriers(callee, caller);
        setup.bind(X, A, B, "carrier-of-callee");
        setup
    }
}

/// Who ends a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ender {
    Caller,
    Callee,
}

/// The main call: one agent calls X, the other answers, both hear the hint tone and then each other, one hangs up. Proves
/// what both heard, the recording and the call's record. It is the call after `before` others.
fn talk(exchange: &Exchange, before: usize, caller: &mut dyn Agent, callee: &mut dyn Agent, uri: &str, ender: Ender) {
    caller.prepare();
    callee.prepare();
    caller.dial(uri);
    callee.wait_until_talking();
    caller.wait_until_talking();
    finish(exchange, before, caller, callee, ender);
}

/// The rest of a call in which both talk.
fn finish(exchange: &Exchange, before: usize, caller: &mut dyn Agent, callee: &mut dyn Agent, ender: Ender) {
    exchange.record(before, TALK);
    match ender {
        Ender::Caller => caller.hang_up(),
        Ender::Callee => callee.hang_up(),
    }
    caller.wait_until_over();
    callee.wait_until_over();

    assert_called_by_x(&callee.trace(), callee.party());

    let cdr = exchange.cdr(before);
    let [caller_is, called] = [caller.party(), callee.party()];
    let facts = [
        ("caller", caller_is.number),
        ("x", X),
        ("callee", called.number),
        ("caller_is", if caller_is.number == A { "A" } else { "B" }),
        ("cause", "hung_up"),
        ("released_by", if ender == Ender::Caller { "caller" } else { "callee" }),
    ];
    for (key, wanted) in facts {
        assert_eq!(cdr[key], wanted, "{key}: {cdr}");
    }
    for (key, wanted) in [("sip_status_caller", 200), ("sip_status_callee", 200), ("state_code", 0), ("q850", 16)] {
        assert_eq!(cdr[key], wanted, "{key}: {cdr}");
    }
    for leg in cdr["media"].as_array().unwrap() {
        assert!(leg["received"].as_u64() > Some(100) && leg["lost"] == 0, "{cdr}");
    }
    let joined = Duration::from_millis(cdr["recording"]["duration_ms"].as_u64().unwrap());
    let answered = Duration::from_millis(cdr["duration_ms"].as_u64().unwrap());
    assert!(answered >= joined + Duration::from_secs(1), "the hint tone takes its time: {cdr}");

    let finished = before as f64 + 1.0;
    exchange.daemon.wait_for_metric("axbridge_recordings_total", &[("result", "finished")], finished);
    let name = cdr["recording"]["name"].as_str().unwrap();
    let file = axbridge::recording::path_of(&exchange.site.recordings_folder(), name).unwrap();
    let samples = wav::read_whole(&file);
    assert_eq!(samples.len() as u128 / 8, joined.as_millis());
    wav::assert_both(&samples, [PARTY_A.voice, PARTY_B.voice]);

    sound::assert_hint_then_tone("the caller", &caller.heard(), called.voice, joined);
    sound::assert_hint_then_tone("the callee", &callee.heard(), caller_is.voice, joined);
}

/// Ends both agents. Each was called by X or called it, and nothing that it saw tells who the other one is.
fn end_strangers(a: impl Agent, b: impl Agent) {
    let [secrets_of_a, secrets_of_b] = [&a as &dyn Agent, &b].map(|agent| {
        let number = agent.party().number.trim_start_matches("+86");
        [number.to_owned(), agent.party().name.to_owned(), agent.address().ip().to_string()]
    });
    for (agent, secrets) in [(Box::new(a) as Box<dyn Agent>, secrets_of_b), (Box::new(b), secrets_of_a)] {
        let name = agent.party().name;
        let told = agent.end();
        assert!(told.contains(&format!("<sip:{X}@")), "{name} has not met X:\n{told}");
        for secret in secrets {
            assert!(!told.contains(&secret), "{name} sees {secret}:\n{told}");
        }
    }
}

/// The one that was called saw X as the caller.
fn assert_called_by_x(trace: &str, callee: Party) {
    let invite = format!("INVITE sip:{}@", callee.number);
    let found = trace.split_once(invite.as_str()).unwrap_or_else(|| panic!("no {invite} in\n{trace}")).1;
    let from = found.lines().find(|line| line.contains("From: ")).unwrap();
    assert!(from.contains(&format!("From: <sip:{X}@")), "{from}");
}

// ---- baresip --------------------------------------------------------------------------------------------------

#[test]
fn two_baresips_talk_through_x_over_udp_whoever_calls_and_whoever_hangs_up() {
    let mut a = Baresip::start(PARTY_A, &Line::default());
    let mut b = Baresip::start(PARTY_B, &Line::default());
    let exchange = Exchange::to(&b, &a, "udp");
    let uri = exchange.uri("udp");
    talk(&exchange, 0, &mut a, &mut b, &uri, Ender::Caller);
    exchange.turn(&a, &b, "udp");
    talk(&exchange, 1, &mut b, &mut a, &uri, Ender::Callee);
    end_strangers(a, b);
    exchange.daemon.terminate();
}

#[test]
fn a_baresip_of_a_law_and_one_of_mu_law_talk_through_x_over_tcp() {
    let mut a = Baresip::start(PARTY_A, &Line { codecs: &["PCMA"], ..Line::default() });
    let mut b = Baresip::start(PARTY_B, &Line { codecs: &["PCMU"], ..Line::default() });
    let exchange = Exchange::to(&b, &a, "tcp");
    let uri = exchange.uri("tcp");
    talk(&exchange, 0, &mut a, &mut b, &uri, Ender::Callee);
    exchange.turn(&a, &b, "tcp");
    talk(&exchange, 1, &mut b, &mut a, &uri, Ender::Caller);
    for (agent, other) in [(&a, "PCMU"), (&b, "PCMA")] {
        assert!(agent.trace().contains("SIP/2.0/TCP") && !agent.trace().contains("SIP/2.0/UDP"));
        assert!(!agent.trace().contains(&format!("audio encoder: {other}")), "{}", agent.trace());
    }
    end_strangers(a, b);
    exchange.daemon.terminate();
}

#[test]
fn baresip_holds_and_resumes_a_call_over_tcp_and_digits_pass_both_ways() {
    let mut a = Baresip::start(PARTY_A, &Line::default());
    let mut b = Baresip::start(PARTY_B, &Line::default());
    let exchange = Exchange::to(&b, &a, "tcp");
    a.prepare();
    b.prepare();
    a.dial(&exchange.uri("tcp"));
    b.wait_until_talking();
    a.wait_until_talking();
    exchange.record(0, 8_000);

    for digit in ["5", "#"] {
        a.command("sndcode", digit);
        assert_eq!(b.wait_for("CALL_DTMF_START"), digit);
        b.command("sndcode", digit);
        assert_eq!(a.wait_for("CALL_DTMF_START"), digit);
    }

    a.command("hold", "");
    until("the hold is answered", || a.trace().contains("a=recvonly").then_some(()));
    let (heard, received, recorded) = (sound::length(&b.heard()), a.received(), exchange.recorded(0));
    exchange.record(0, recorded + 2 * 8_000);
    let still = Duration::from_millis(300);
    assert!(sound::length(&b.heard()) < heard + still, "B is on hold");
    assert!(a.received() < received + 15, "A hears nobody while it holds the call");

    a.command("resume", "");
    until("B hears A again", || (sound::length(&b.heard()) > heard + 2 * still).then_some(()));
    until("A hears B again", || (a.received() > received + 50).then_some(()));
    exchange.record(0, recorded + 4 * 8_000);
    b.hang_up();
    a.wait_until_over();
    b.wait_until_over();

    let cdr = exchange.cdr(0);
    assert_eq!((&cdr["cause"], &cdr["released_by"]), (&"hung_up".into(), &"callee".into()), "{cdr}");
    exchange.daemon.wait_for_metric("axbridge_recordings_total", &[("result", "finished")], 1.0);
    let samples = wav::read_whole(&exchange.site.recordings()[0]);
    let held = &samples[recorded + 4_000..recorded + 12_000];
    let both = |part: &[u8]| wav::voices(part, [PARTY_A.voice, PARTY_B.voice]).both;
    assert!(both(held) == 0.0, "A is silent while it holds the call");
    assert!(both(&samples[samples.len() - 4_000..]) > 0.7, "both are there again: {}", both(&samples));
    end_strangers(a, b);
    exchange.daemon.terminate();
}

#[test]
fn baresip_is_told_that_the_other_is_busy_and_may_give_up() {
    let mut a = Baresip::start(PARTY_A, &Line::default());
    let mut b = Baresip::start(PARTY_B, &Line { answers: false, ..Line::default() });
    for (round, transport) in ["udp", "tcp"].into_iter().enumerate() {
        let exchange = Exchange::to(&b, &a, transport);
        a.dial(&exchange.uri(transport));
        b.wait_for("CALL_INCOMING");
        b.hang_up();
        b.wait_until_over();
        a.wait_for("CALL_CLOSED");
        let cdr = exchange.cdr(0);
        assert_eq!((&cdr["cause"], &cdr["sip_status_caller"]), (&"busy".into(), &486.into()), "{cdr}");

        a.dial(&exchange.uri(transport));
        b.wait_for("CALL_INCOMING");
        a.wait_for("CALL_RINGING");
        a.hang_up();
        b.wait_until_over();
        let cdr = exchange.cdr(1);
        assert_eq!(cdr["cause"], "cancelled_after_ringing", "{cdr}");
        for (agent, what) in [(&a, "A has its 487"), (&b, "B has given its 487")] {
            until(what, || (agent.trace().matches("SIP/2.0 487 ").count() > round).then_some(()));
        }
        exchange.daemon.terminate();
    }
    end_strangers(a, b);
}

// ---- others ---------------------------------------------------------------------------------------------------

#[test]
fn linphone_and_net_sip_talk_through_x_whoever_calls() {
    let mut a = Linphone::start(PARTY_A);
    let mut b = NetSip::start(PARTY_B);
    let exchange = Exchange::to(&b, &a, "udp");
    let uri = exchange.uri("udp");
    talk(&exchange, 0, &mut a, &mut b, &uri, Ender::Callee);
    exchange.turn(&a, &b, "udp");
    talk(&exchange, 1, &mut b, &mut a, &uri, Ender::Callee);
    end_strangers(a, b);
    exchange.daemon.terminate();
}

#[test]
fn linphone_holds_and_resumes_a_call_and_digits_pass_both_ways() {
    let mut a = Linphone::start(PARTY_A);
    let mut b = NetSip::start(PARTY_B);
    let exchange = Exchange::to(&b, &a, "udp");
    a.prepare();
    b.prepare();
    a.dial(&exchange.uri("udp"));
    b.wait_until_talking();
    a.wait_until_talking();
    exchange.record(0, 8_000);

    a.type_line("5");
    b.wait_for("agent: digit 5");
    b.send_digits("7");
    a.wait_for("Receiving tone 7");

    a.type_line("pause");
    a.wait_for("to LinphoneCallPaused");
    let heard = sound::heard_for(&a.heard(), PARTY_B.voice);
    let recorded = exchange.recorded(0);
    exchange.record(0, recorded + 8_000);
    let still = Duration::from_millis(300);
    assert!(sound::heard_for(&a.heard(), PARTY_B.voice) < heard + still, "A hears nobody while it holds the call");
    a.type_line("resume");
    a.wait_until_talking();
    until("A hears B again", || (sound::heard_for(&a.heard(), PARTY_B.voice) > heard + 3 * still).then_some(()));
    let heard = sound::heard_for(&b.heard(), PARTY_A.voice);
    until("B hears A again", || (sound::heard_for(&b.heard(), PARTY_A.voice) > heard + still).then_some(()));
    a.hang_up();
    a.wait_until_over();
    b.wait_until_over();
    let cdr = exchange.cdr(0);
    assert_eq!((&cdr["cause"], &cdr["released_by"]), (&"hung_up".into(), &"caller".into()), "{cdr}");
    end_strangers(a, b);
    exchange.daemon.terminate();
}

// ---- extensions -----------------------------------------------------------------------------------------------

#[test]
fn baresip_types_an_extension_by_events_and_reaches_its_user() {
    let mut a = Baresip::start(PARTY_A, &Line::default());
    let mut b = Baresip::start(PARTY_B, &Line::default());
    let exchange = extension(&a, &b);
    // One key after the other, as a finger does: baresip drops what is left of an event when the next one begins.
    let received = || exchange.daemon.metric("axbridge_rtp_packets_total", &[("direction", "received")]);
    talk_by_extension(&exchange, 0, &mut b, &mut a, |b| {
        for digit in EXTENSION.chars() {
            let before = received();
            b.command("sndcode", &digit.to_string());
            until("the event is over", || (received() >= before + PACKETS_OF_A_DIGIT).then_some(()));
        }
    });
    end_strangers(a, b);
    exchange.daemon.terminate();
}

/// Packets in which an event, and the pause behind it, are over.
const PACKETS_OF_A_DIGIT: f64 = 25.0;

#[test]
fn net_sip_types_an_extension_by_events_and_reaches_its_user() {
    let mut a = Baresip::start(PARTY_A, &Line::default());
    let mut b = NetSip::start(PARTY_B);
    let exchange = extension(&a, &b);
    talk_by_extension(&exchange, 0, &mut b, &mut a, |b| b.send_digits(EXTENSION));
    end_strangers(a, b);
    exchange.daemon.terminate();
}

#[test]
fn baresip_says_an_extension_in_tones_of_a_law_and_of_mu_law() {
    for codec in ["PCMA", "PCMU"] {
        let mut a = Baresip::start(PARTY_A, &Line::default());
        let mut b = Baresip::start(PARTY_B, &Line { codecs: &[codec], tones: EXTENSION, ..Line::default() });
        let exchange = extension(&a, &b);
        talk_by_extension(&exchange, 0, &mut b, &mut a, |_| {});
        end_strangers(a, b);
        exchange.daemon.terminate();
    }
}

#[test]
fn net_sip_says_an_extension_in_tones_of_mu_law() {
    let mut a = Baresip::start(PARTY_A, &Line::default());
    let mut b = NetSip::saying(PARTY_B, EXTENSION);
    let exchange = extension(&a, &b);
    talk_by_extension(&exchange, 0, &mut b, &mut a, |_| {});
    end_strangers(a, b);
    exchange.daemon.terminate();
}

// ---- a proxy in the way ---------------------------------------------------------------------------------------

#[test]
fn calls_pass_a_record_routing_proxy_on_both_legs_and_from_tcp_to_udp() {
    let place = Place::new();
    let proxy = place.address;
    let by = |transport: &str| Some(format!("sip:{proxy};transport={transport}"));
    let mut a = Baresip::start(PARTY_A, &Line { proxy: by("tcp"), ..Line::default() });
    let mut b = Baresip::start(PARTY_B, &Line { proxy: by("udp"), ..Line::default() });
    // One carrier, in both directions; it knows where its subscribers are.
    let mut setup = Setup::new();
    setup.trunk_at("carrier", &proxy.ip().to_string(), format!("udp:{proxy}"), "");
    setup.bind(X, A, B, "carrier");
    let exchange = Exchange::start(&setup);
    let routes = [
        (X, format!("sip:{}", exchange.daemon.udp)),
        (A, format!("sip:{};transport=tcp", a.address())),
        (B, format!("sip:{}", b.address())),
    ];
    let kamailio = Kamailio::start(place, &routes);
    let uri = exchange.uri("udp");
    talk(&exchange, 0, &mut a, &mut b, &uri, Ender::Callee);
    talk(&exchange, 1, &mut b, &mut a, &uri, Ender::Callee);

    // Re-INVITEs go the same way.
    a.dial(&uri);
    b.wait_until_talking();
    a.wait_until_talking();
    a.command("hold", "");
    until("the hold is answered", || a.trace().contains("a=recvonly").then_some(()));
    a.command("resume", "");
    // Its own offer, and the answer to it.
    let both_ways =
        |trace: &str| trace.rsplit("a=recvonly").next().map_or(0, |rest| rest.matches("a=sendrecv").count());
    until("the resumption is answered", || (both_ways(&a.trace()) == 2).then_some(()));
    b.hang_up();
    a.wait_until_over();
    b.wait_until_over();
    assert_eq!(exchange.cdr(2)["cause"], "hung_up");

    end_strangers(a, b);
    exchange.daemon.terminate();
    let told = kamailio.end();
    assert!(!told.contains("lost"), "{told}");
    let count = |what: &str| told.matches(what).count();
    // Each call passes the proxy twice.
    assert_eq!(count("first INVITE by"), 6, "{told}");
    assert_eq!(count("loose BYE by"), 6, "{told}");
    assert_eq!((count("loose INVITE by tcp"), count("loose INVITE by udp")), (2, 0), "{told}");
    assert!(count("loose ACK by") >= 8, "{told}");
}

// ---- a dissector ----------------------------------------------------------------------------------------------

#[test]
fn wireshark_finds_no_fault_in_anything_that_the_daemon_sends() {
    let mut talk = Talk::up();
    // A call that is refused.
    let c = talk.booth.add("+8613700000003", HOME_OF_A, |_| {});
    talk.booth.call(c, X, talk.daemon.udp);
    talk.booth.wait_for(c, "C is refused", |event| matches!(event, PhoneEvent::Refused { .. }));
    // Each call has a sender report (RFC 3550 §6.4.1: packet type 200) in its first seconds.
    let reports = |booth: &Booth, who| booth.received(who).iter().any(|bytes| bytes.get(1) == Some(&200));
    let parties = [talk.a, talk.b];
    talk.booth.wait("both have a report", |booth| parties.iter().all(|who| reports(booth, *who)));
    talk.hang_up();

    let datagrams: Vec<_> = [talk.a, talk.b, c].iter().flat_map(|who| talk.booth.datagrams(*who)).cloned().collect();
    let kind_of = |bytes: &[u8]| match bytes {
        [0x80..=0xbf, 200..=207, ..] => Kind::Rtcp,
        [0x80..=0xbf, ..] => Kind::Rtp,
        _ => Kind::Sip,
    };
    let complains_of = |datagram: Datagram| !dissect(talk.site.folder(), &[datagram])[0].complaints.is_empty();
    for kind in [Kind::Sip, Kind::Rtcp] {
        // What is cut off in the middle is a fault that it must find.
        let mut broken = datagrams.iter().find(|datagram| kind_of(&datagram.bytes) == kind).unwrap().clone();
        broken.bytes.truncate(broken.bytes.len() / 2);
        assert!(complains_of(broken), "{kind:?}");
    }
    let dissected = dissect(talk.site.folder(), &datagrams);
    assert_eq!(dissected.len(), datagrams.len());
    for (datagram, told) in datagrams.iter().zip(&dissected) {
        assert_eq!(told.kind, Some(kind_of(&datagram.bytes)), "{told:?}");
        assert!(told.complaints.is_empty(), "{told:?}\n{}", String::from_utf8_lossy(&datagram.bytes));
    }
    talk.daemon.terminate();
}
