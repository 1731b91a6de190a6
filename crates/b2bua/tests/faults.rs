//! Faults that other stacks have had, each as a story in which X must not have it.
//!
//! Both parties are played by hand, byte by byte: A is a host of carrier-a, B a host of carrier-b, neither is a phone, and what
//! X sends them is in `World::unclaimed`.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sip::limits::Limits;
use sip::message::{HeaderName, Message, Method, write};
use testbed::{Setup, World};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.1.7.7\r\ns=-\r\nc=IN IP4 10.1.7.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn a() -> SocketAddr {
    at("10.1.7.7:5060")
}

fn b() -> SocketAddr {
    at("10.2.7.7:5060")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An INVITE for X from A's number; `edit` changes its lines.
fn invite(edit: impl FnOnce(String) -> String) -> Vec<u8> {
    let length = SDP.len();
    edit(format!(
        "INVITE sip:+8617055556666@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7:5060;branch=z9hG4bKfault1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+8613811112222@10.1.7.7>;tag=abc\r\nTo: <sip:+8617055556666@10.0.0.1>\r\n\
         Call-ID: fault-1\r\nCSeq: 1 INVITE\r\nContact: <sip:10.1.7.7:5060>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {length}\r\n\r\n{SDP}"
    ))
    .into_bytes()
}

fn options(edit: impl FnOnce(String) -> String) -> Vec<u8> {
    edit(
        "OPTIONS sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7:5060;branch=z9hG4bKprobe\r\nMax-Forwards: 70\r\n\
         From: <sip:probe@10.1.7.7>;tag=p\r\nTo: <sip:10.0.0.1>\r\nCall-ID: probe\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            .to_owned(),
    )
    .into_bytes()
}

/// What X sent to this address, in order.
fn sent_to(world: &World, address: SocketAddr) -> Vec<Message> {
    let packets = world.unclaimed().iter().filter(|packet| packet.destination == address);
    packets
        .map(|packet| {
            Message::parse(Bytes::copy_from_slice(&packet.bytes), &Limits::default())
                .unwrap_or_else(|rejected| panic!("{:?}: {}", rejected.error, packet.bytes.escape_ascii()))
        })
        .collect()
}

fn last(world: &World, address: SocketAddr, is_it: impl Fn(&Message) -> bool) -> Message {
    sent_to(world, address).into_iter().rfind(is_it).expect("X has sent it")
}

/// A world in which B's number leads to [`b`].
fn world(change: impl FnOnce(&mut Setup)) -> World {
    let mut setup = Setup::new(1).mute();
    setup.phones.clear();
    setup.settings.trunks[1].targets = vec![b2bua::settings::Target::at(sip::transaction::Transport::Udp, b())];
    change(&mut setup);
    setup.world()
}

/// B answers X's INVITE.
fn answer(world: &mut World, contact: &str) {
    let request = last(world, b(), |message| message.is_request() && message.method() == Method::Invite);
    let mut out = Vec::new();
    write::response_to(&mut out, &request, 200, "OK", b"bee", None);
    write::record_routes(&mut out, &request);
    write::header(&mut out, "Contact", contact.as_bytes());
    write::finish(&mut out, Some(b"application/sdp"), SDP.replace("10.1.7.7", "10.2.7.7").as_bytes());
    world.inject_sip(b(), &out);
}

/// A acknowledges X's 200, then the call is up.
fn acknowledge(world: &mut World) {
    let ok = last(world, a(), |message| message.status() == 200 && message.method() == Method::Invite);
    let mut ack = Vec::new();
    write::request(&mut ack, "ACK", b"sip:10.0.0.1");
    write::header(&mut ack, "Via", b"SIP/2.0/UDP 10.1.7.7:5060;branch=z9hG4bKack");
    write::header(&mut ack, "Max-Forwards", b"70");
    write::header(&mut ack, "From", ok.header(HeaderName::From).expect("a From"));
    write::header(&mut ack, "To", ok.header(HeaderName::To).expect("a To"));
    write::header(&mut ack, "Call-ID", ok.call_id());
    write::header(&mut ack, "CSeq", b"1 ACK");
    write::finish(&mut ack, None, b"");
    world.inject_sip(a(), &ack);
}

/// B hangs up, X passes it on to where A wants it, and A agrees.
fn b_hangs_up(world: &mut World, a: SocketAddr) -> Message {
    let request = last(world, b(), |message| message.is_request() && message.method() == Method::Invite);
    let text = |name| String::from_utf8_lossy(request.header(name).expect("the INVITE has it")).into_owned();
    let bye = format!(
        "BYE sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.2.7.7:5060;branch=z9hG4bKbye\r\nMax-Forwards: 70\r\n\
         From: {};tag=bee\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        text(HeaderName::To),
        text(HeaderName::From),
        text(HeaderName::CallId)
    );
    world.inject_sip(b(), bye.as_bytes());
    let passed_on = last(world, a, |message| message.is_request() && message.method() == Method::Bye);
    let mut out = Vec::new();
    write::response_to(&mut out, &passed_on, 200, "OK", b"", None);
    write::finish(&mut out, None, b"");
    world.inject_sip(a, &out);
    passed_on
}

fn ends(mut world: World) {
    assert!(world.run_until_idle(seconds(300)), "something is left");
    assert!(world.core.is_idle());
    assert_eq!(world.core.counters().panics, 0);
}

#[test]
fn a_transport_in_upper_case_does_not_lose_the_bye() {
    for parameter in ["transport=UDP", "TRANSPORT=udp", "transport=Udp;lr=on", "transport=UNHEARD-OF", "transport"] {
        let mut world = world(|_| {});
        world.inject_sip(
            a(),
            &invite(|text| text.replace("<sip:10.1.7.7:5060>", &format!("<sip:10.1.7.7:5070;{parameter}>"))),
        );
        answer(&mut world, &format!("<sip:10.2.7.7:5060;{parameter}>"));
        acknowledge(&mut world);
        world.run_until(seconds(5));
        let bye = b_hangs_up(&mut world, at("10.1.7.7:5070"));
        assert_eq!(
            bye.request_uri(),
            format!("sip:10.1.7.7:5070;{parameter}").as_bytes(),
            "the Contact, as it was written"
        );
        ends(world);
    }
}

#[test]
fn after_every_kind_of_nonsense_x_still_answers() {
    // A probe, because a server that is only deaf is up by every other measure.
    let mut world = world(|_| {});
    let nonsense: [fn(String) -> String; 9] = [
        |text| text.replace("10.1.7.7:5060;branch", "10.1.7.7:65536;branch"),
        |text| text.replace("10.1.7.7:5060;branch", "10.1.7.7:99999999999999999999;branch"),
        |text| text.replace("10.1.7.7:5060;branch", "10.1.7.7:0;branch"),
        |text| text.replace("10.1.7.7:5060;branch", "10.1.7.7:-1;branch"),
        |text| text.replace("10.1.7.7:5060;branch", "255.255.255.255:5060;rport=1;branch"),
        |text| text.replace("10.1.7.7:5060;branch", "[::1]:5060;received=[::;maddr=0.0.0.0;ttl=256;branch"),
        |text| text.replace("SIP/2.0\r\n", "SIP/2.0\0\r\n"),
        |text| text.replace("Content-Length: ", "Content-Length: 99999"),
        |text| text.replace("\r\n\r\n", "\r\n"),
    ];
    for edit in nonsense {
        world.inject_sip(a(), &invite(edit));
        world.inject_sip(a(), &options(edit));
    }
    for number in 0..3 {
        let before = world.unclaimed().len();
        world.inject_sip(a(), &options(|text| text.replace("probe", &format!("probe{number}"))));
        assert_eq!(world.unclaimed().len(), before + 1);
    }
    let told = |packet: &testbed::Packet| [a().ip(), b().ip()].contains(&packet.destination.ip());
    assert!(world.unclaimed().iter().all(told), "nobody else is sent anything");
    world.core.end_all(world.now());
    ends(world);
}

#[test]
fn no_answer_has_a_version_but_ours() {
    for version in ["SIP/3.0", "SIP/1.0", "sip/2.0", "SIP/2.00", "SIP/200000000000"] {
        let mut world = world(|_| {});
        world.inject_sip(a(), &options(|text| text.replacen("SIP/2.0\r\n", &format!("{version}\r\n"), 1)));
        let answer = String::from_utf8_lossy(&world.unclaimed()[0].bytes).into_owned();
        let expected = if version == "sip/2.0" { "SIP/2.0 200 " } else { "SIP/2.0 505 " };
        assert!(answer.starts_with(expected), "{version}: {answer}");
        ends(world);
    }
}

#[test]
fn a_content_length_that_is_not_true_is_refused_over_udp() {
    let true_length = format!("Content-Length: {}", SDP.len());
    for (what, length, status) in [
        ("longer", format!("Content-Length: {}", SDP.len() + 1), 400),
        ("longest", "Content-Length: 18446744073709551615".to_owned(), 400),
        ("negative", "Content-Length: -1".to_owned(), 400),
        ("two that differ", format!("{true_length}\r\nl: 0"), 400),
        ("two that agree", format!("{true_length}\r\nl: {}", SDP.len()), 100),
        // §18.3: what follows is noise. Cut after its first line, the description offers nothing.
        ("shorter", "Content-Length: 5".to_owned(), 100),
        ("none", "X: y".to_owned(), 100),
        ("blanks before its colon", true_length.replace(':', " \t:"), 100),
    ] {
        let mut world = world(|_| {});
        world.inject_sip(a(), &invite(|text| text.replace(&true_length, &length)));
        assert_eq!(sent_to(&world, a())[0].status(), status, "{what}");
        if what == "shorter" {
            assert_eq!(last(&world, a(), |_| true).status(), 488, "{what}");
        }
        ends(world);
    }
}

/// What no file name, log line, record or message to the other side may hold.
const HOSTILE: [&str; 6] = ["../", "%00", "\"; DROP", "\u{1b}[2J", "canary", "{{evil}}"];

#[test]
fn hostile_values_reach_no_file_name_no_log_line_and_nobody() {
    type Edit = fn(String) -> String;
    let edits: [(&str, Edit); 8] = [
        ("a display name", |text| {
            text.replace("From: <", "From: \"canary ../../etc \\\"; DROP {{evil}} \u{1b}[2J%00\" <")
        }),
        ("a Call-ID", |text| text.replace("Call-ID: fault-1", "Call-ID: ../../canary\";{{evil}}%00")),
        ("a tag", |text| text.replace("tag=abc", "tag=../../canary%00{{evil}}")),
        ("a branch", |text| text.replace("z9hG4bKfault1", "z9hG4bK../../canary%00")),
        ("X's user part", |text| text.replacen("sip:+8617055556666@", "sip:+8617055556666;x=../canary%00@", 1)),
        ("X with an escaped NUL", |text| text.replacen("sip:+8617055556666@", "sip:+8617055556666%00canary@", 1)),
        ("X with an injected line", |text| {
            text.replacen("sip:+8617055556666@", "sip:+8617055556666%0d%0aX-Evil:canary@", 1)
        }),
        ("the caller's user part", |text| {
            text.replace("<sip:+8613811112222@", "<sip:+8613811112222;isub=../canary%0d%0a@")
        }),
    ];
    for (what, edit) in edits {
        let mut world = world(|setup| setup.binding.record = true);
        world.inject_sip(a(), &invite(edit));
        let reached = sent_to(&world, b()).into_iter().any(|message| message.method() == Method::Invite);
        if reached {
            answer(&mut world, "<sip:10.2.7.7:5060>");
            acknowledge(&mut world);
            world.run_until(seconds(20));
        }
        // Where a NUL or a line end stands in the number there is no number, and no call.
        assert_eq!(reached, !what.starts_with("X with"), "{what}");
        let recordings: Vec<String> = world.recordings().keys().map(ToString::to_string).collect();
        assert_eq!(recordings.len(), usize::from(reached), "{what}");
        world.core.end_all(world.now());
        world.run_until(seconds(400));
        for name in &recordings {
            let stem = name.strip_suffix(".wav").expect("a WAV file");
            assert!(stem.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'), "{what}: {name}");
        }
        let to_b = world.unclaimed().iter().filter(|packet| packet.destination == b());
        let to_b = to_b.map(|packet| String::from_utf8_lossy(&packet.bytes).into_owned());
        let ids = world.cdrs().iter().map(|cdr| cdr.session_id.to_string());
        for text in to_b.chain(ids).chain(world.logs().iter().cloned()).chain(recordings) {
            for hostile in HOSTILE {
                assert!(!text.contains(hostile), "{what}: {hostile} in {text}");
            }
            assert!(!text.contains("X-Evil"), "{what}: {text}");
        }
        assert_eq!(world.cdrs().len(), 1, "{what}");
        ends(world);
    }
}

#[test]
fn what_a_trunk_may_fill_is_bounded() {
    let mut world = world(|setup| setup.settings.limits.transactions = 400);
    for number in 0..5_000 {
        let edit = |text: String| {
            text.replace("fault1", &format!("f{number}"))
                .replace("fault-1", &format!("c{number}"))
                .replace("probe", &format!("p{number}"))
        };
        world.inject_sip(a(), &options(edit));
        world.inject_sip(a(), &invite(edit));
        let gauges = world.core.gauges();
        let (clients, servers) = gauges.transactions;
        assert!(clients + servers <= 500, "a quarter more than the limit, for what ends calls");
        assert!(gauges.calls <= 100);
    }
    let dropped = world.core.counters().dropped;
    assert!(dropped[b2bua::observe::Drop::Transactions as usize] > 4_000, "and it is counted: {dropped:?}");
    world.core.end_all(world.now());
    ends(world);
}

#[test]
fn requests_that_share_all_but_one_thing_are_told_apart() {
    // Nothing is looked up by a hash that a peer could choose: std's maps draw their keys anew in each process, and
    // whatever they are, the answers are these.
    let mut world = world(|_| {});
    for number in 0..300_u32 {
        let one = |text: String| {
            text.replace("z9hG4bKprobe", &format!("z9hG4bK{:010}", number * 65_536))
                .replace("Call-ID: probe", &format!("Call-ID: {:010}", number * 65_536))
        };
        world.inject_sip(a(), &options(one));
        world.inject_sip(a(), &options(one));
    }
    let answers = sent_to(&world, a());
    assert_eq!(answers.len(), 600, "each is answered, each repetition again");
    let mut ids: Vec<_> = answers.iter().map(|answer| answer.call_id().to_vec()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 300);
    ends(world);
}

#[test]
fn a_call_of_two_hosts_played_by_hand_ends_as_it_should() {
    let mut world = world(|_| {});
    world.inject_sip(a(), &invite(|text| text));
    answer(&mut world, "<sip:10.2.7.7:5060>");
    acknowledge(&mut world);
    world.run_until(seconds(10));
    b_hangs_up(&mut world, a());
    assert_eq!(world.cdrs().len(), 1);
    ends(world);
}
