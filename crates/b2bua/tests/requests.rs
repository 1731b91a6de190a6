//! Requests as they come from trunks, scanners and broken switches, byte by byte: what is answered, and that nothing is left.

use std::net::SocketAddr;
use std::time::Duration;

use testbed::{Setup, World};

/// A host of carrier-a that is no phone: what X answers it is in `World::unclaimed`.
fn carrier() -> SocketAddr {
    "10.1.7.7:5060".parse().expect("an address")
}

/// An INVITE for X from A's number; `edit` changes its lines.
fn invite(edit: impl FnOnce(String) -> String) -> Vec<u8> {
    let sdp = "v=0\r\no=- 1 1 IN IP4 10.1.7.7\r\ns=-\r\nc=IN IP4 10.1.7.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
    let text = format!(
        "INVITE sip:+8617055556666@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7:5060;branch=z9hG4bKtest1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+8613811112222@10.1.7.7>;tag=abc\r\nTo: <sip:+8617055556666@10.0.0.1>\r\n\
         Call-ID: requests-1\r\nCSeq: 1 INVITE\r\nContact: <sip:10.1.7.7:5060>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    edit(text).into_bytes()
}

/// Another request, without a body.
fn request(method: &str, edit: impl FnOnce(String) -> String) -> Vec<u8> {
    edit(format!(
        "{method} sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7:5060;branch=z9hG4bKtest1\r\nMax-Forwards: 70\r\n\
         From: <sip:+8613811112222@10.1.7.7>;tag=abc\r\nTo: <sip:10.0.0.1>\r\nCall-ID: requests-1\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:10.1.7.7:5060>\r\nContent-Length: 0\r\n\r\n"
    ))
    .into_bytes()
}

fn answers(world: &World) -> Vec<String> {
    world.unclaimed().iter().map(|packet| String::from_utf8_lossy(&packet.bytes).into_owned()).collect()
}

/// Sends one request and returns the final response.
fn final_answer(bytes: &[u8]) -> String {
    let mut world = Setup::new(1).mute().world();
    world.inject_sip(carrier(), bytes);
    let answer = answers(&world).into_iter().find(|answer| !answer.starts_with("SIP/2.0 1"));
    assert!(
        world.run_until_idle(Duration::from_secs(200)),
        "something is left after {}",
        String::from_utf8_lossy(bytes)
    );
    assert!(world.core.is_idle());
    answer.unwrap_or_default()
}

#[test]
fn every_refusal_has_its_status_and_its_header() {
    type Edit = fn(String) -> String;
    let rows: &[(&str, Edit, &str, &str)] = &[
        ("no hops left", |t| t.replace("Max-Forwards: 70", "Max-Forwards: 0"), "483", ""),
        (
            "an extension that we do not have",
            |t| t.replace("Max", "Require: 100rel, foo\r\nMax"),
            "420",
            "Unsupported: foo\r\n",
        ),
        (
            "something asked of proxies",
            |t| t.replace("Max", "Proxy-Require: privacy\r\nMax"),
            "420",
            "Unsupported: privacy",
        ),
        (
            "a session too short to be refreshed",
            |t| t.replace("Max", "Supported: timer\r\nSession-Expires: 30\r\nMax"),
            "422",
            "Min-SE: 90",
        ),
        (
            "a body that is no SDP",
            |t| t.replace("application/sdp", "application/isup"),
            "415",
            "Accept: application/sdp",
        ),
        ("a scheme that we do not take", |t| t.replace("INVITE sip:+86", "INVITE h323:+86"), "416", ""),
        ("another version", |t| t.replace("666@10.0.0.1 SIP/2.0", "666@10.0.0.1 SIP/3.0"), "505", ""),
        ("CSeq of another method", |t| t.replace("1 INVITE", "1 BYE"), "400", ""),
        ("CSeq out of range", |t| t.replace("1 INVITE", "4294967296 INVITE"), "400", ""),
        ("two Call-IDs", |t| t.replace("CSeq", "Call-ID: other\r\nCSeq"), "400", ""),
        ("two Content-Lengths that differ", |t| t.replace("CSeq", "Content-Length: 3\r\nCSeq"), "400", ""),
        ("a body shorter than said", |t| t.replace("Content-Length: ", "Content-Length: 9"), "400", ""),
        ("no Contact", |t| t.replace("Contact: <sip:10.1.7.7:5060>\r\n", ""), "400", ""),
        ("blanks in the Request-URI", |t| t.replace("INVITE sip:+86", "INVITE sip:+ 86"), "400", ""),
        (
            "no session description accepted",
            |t| t.replace("Max", "Accept: text/plain, application/isup\r\nMax"),
            "406",
            "",
        ),
        ("a start line of 5,000 bytes", |t| t.replace("666@", &format!("666;{}@", "x".repeat(5_000))), "414", ""),
        (
            "a body of 60,001 bytes",
            |t| t.replace("Content-Length: ", "Content-Length: 60001\r\nX: ") + &"x".repeat(60_000),
            "413",
            "",
        ),
        (
            "71 Vias",
            |t| t.replace("Max", &["Via: SIP/2.0/UDP 192.0.2.1\r\n".repeat(70), "Max".into()].concat()),
            "400",
            "",
        ),
        ("no codec of ours", |t| t.replace("RTP/AVP 8", "RTP/AVP 18"), "488", ""),
        ("SRTP only", |t| t.replace("RTP/AVP 8", "RTP/SAVP 8"), "488", ""),
    ];
    for (what, edit, status, header) in rows {
        let answer = final_answer(&invite(edit));
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{what}: {answer}");
        assert!(answer.contains(header), "{what}: {answer}");
        assert!(answer.contains(";tag=") && answer.contains("z9hG4bKtest1"), "{what}: {answer}");
    }
}

#[test]
fn methods_that_we_do_not_take_are_told_which_we_do() {
    for method in ["REGISTER", "SUBSCRIBE", "NOTIFY", "REFER", "PUBLISH"] {
        let answer = final_answer(&request(method, |text| text));
        assert!(answer.starts_with("SIP/2.0 405 ") && answer.contains("Allow: INVITE, ACK, BYE"), "{method}: {answer}");
    }
    let answer = final_answer(&request("FROBNICATE", |text| text));
    assert!(answer.starts_with("SIP/2.0 501 ") && answer.contains("Allow: INVITE, ACK, BYE"), "{answer}");
}

#[test]
fn options_is_answered_with_what_we_take() {
    let answer = final_answer(&request("OPTIONS", |text| text));
    assert!(answer.starts_with("SIP/2.0 200 ") && answer.contains("Accept: application/sdp"), "{answer}");
}

#[test]
fn what_belongs_to_no_dialog_is_told_so() {
    for method in ["BYE", "INFO", "UPDATE", "PRACK"] {
        let answer = final_answer(&request(method, |text| text));
        assert!(answer.starts_with("SIP/2.0 481 "), "{method}: {answer}");
    }
    for method in ["BYE", "INVITE", "OPTIONS", "INFO"] {
        let answer =
            final_answer(&request(method, |text| text.replace("To: <sip:10.0.0.1>", "To: <sip:10.0.0.1>;tag=nobody")));
        assert!(answer.starts_with("SIP/2.0 481 "), "{method}: {answer}");
    }
    // 481, not 420: a BYE is never refused for what it requires.
    let answer = final_answer(&request("BYE", |text| text.replace("Max-", "Require: nothing\r\nMax-")));
    assert!(answer.starts_with("SIP/2.0 481 "), "{answer}");
    let answer = final_answer(&request("CANCEL", |text| text));
    assert!(answer.starts_with("SIP/2.0 481 "), "{answer}");
}

#[test]
fn an_ack_is_never_answered() {
    assert_eq!(final_answer(&request("ACK", |text| text)), "");
    assert_eq!(final_answer(&request("ACK", |text| text.replace("1 ACK", "x ACK"))), "");
}

#[test]
fn the_same_request_by_another_way_is_merged() {
    let mut world = Setup::new(1).mute().world();
    world.inject_sip(carrier(), &invite(|text| text));
    world.inject_sip(carrier(), &invite(|text| text.replace("z9hG4bKtest1", "z9hG4bKtest2")));
    let merged = answers(&world).into_iter().find(|answer| answer.contains("z9hG4bKtest2")).unwrap_or_default();
    assert!(merged.starts_with("SIP/2.0 482 "), "{merged}");
    assert!(world.run_until_idle(Duration::from_secs(200)));
    assert_eq!(world.cdrs().len(), 1, "one call, not two");
}

#[test]
fn a_stranger_gets_no_call_and_soon_no_answer() {
    let mut world = Setup::new(1).mute().world();
    let stranger: SocketAddr = "192.0.2.66:5060".parse().expect("an address");
    for number in 0..200 {
        world.inject_sip(stranger, &invite(|text| text.replace("z9hG4bKtest1", &format!("z9hG4bKscan{number}"))));
    }
    let answers = answers(&world);
    assert!(answers.iter().all(|answer| answer.starts_with("SIP/2.0 403 ")), "{answers:?}");
    assert!((1..=11).contains(&answers.len()), "a few refusals, then silence: {}", answers.len());
    assert!(world.cdrs().is_empty() && world.core.is_idle());
    assert_eq!(world.core.counters().dropped[b2bua::observe::Drop::Stranger as usize], 200);
}

#[test]
fn a_trunk_that_is_full_or_too_fast_gets_503_with_a_retry_after_that_varies() {
    let mut setup = Setup::new(1).mute();
    setup.settings.trunks[0].max_calls = 5;
    setup.settings.trunks[0].calls_per_second = 50;
    let mut world = setup.world();
    for number in 0..60 {
        let edit =
            |text: String| text.replace("test1", &format!("t{number}")).replace("requests-1", &format!("r{number}"));
        world.inject_sip(carrier(), &invite(edit));
    }
    let refused: Vec<String> =
        answers(&world).into_iter().filter(|answer| answer.starts_with("SIP/2.0 503 ")).collect();
    assert_eq!(refused.len(), 55);
    let mut waits: Vec<u32> = refused
        .iter()
        .map(|answer| {
            let wait = answer.lines().find_map(|line| line.strip_prefix("Retry-After: ")).expect("a Retry-After");
            wait.parse().expect("seconds")
        })
        .collect();
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 1 && waits.iter().all(|wait| (5..=10).contains(wait)), "{waits:?}");
    let dropped = world.core.counters().dropped;
    assert!(dropped[b2bua::observe::Drop::TrunkCalls as usize] > 0);
    assert!(world.run_until_idle(Duration::from_secs(300)));
}

#[test]
fn a_bye_or_cancel_of_somebody_else_ends_nothing() {
    let mut world = Setup::new(1).mute().b(testbed::Script::answers(Duration::from_secs(1))).world();
    world.call(testbed::A);
    world.run_until(Duration::from_secs(5));
    let call_id = world.phone(testbed::A).call_id().expect("in a call").to_owned();
    for tag in ["guess", "0000000000000001a0000000000000000"] {
        world.inject_sip(
            carrier(),
            &request("BYE", |text| {
                text.replace("<sip:10.0.0.1>", &format!("<sip:10.0.0.1>;tag={tag}")).replace("requests-1", &call_id)
            }),
        );
    }
    world.run_until(Duration::from_secs(8));
    assert_eq!(world.phone(testbed::A).state(), testbed::State::Established);
    world.hang_up(testbed::A);
    world.finish();
}

#[test]
fn random_bytes_do_no_harm() {
    let mut world = Setup::new(1).mute().world();
    let whole = invite(|text| text);
    let mut state = 0x9e37_79b9_u64;
    for _ in 0..5_000 {
        let mut bytes = whole.clone();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (state >> 33) as usize % bytes.len();
            bytes[place] = (state >> 20) as u8;
        }
        world.inject_sip(carrier(), &bytes);
    }
    assert!(world.run_until_idle(Duration::from_secs(600)));
    assert!(world.core.is_idle());
    assert_eq!(world.core.counters().panics, 0);
}
