//! More new calls than can be served: calls in progress go on, new ones are refused in time, and nothing is left of those.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use b2bua::observe::{Drop, LogLine};
use b2bua::{Core, Output};
use bytes::Bytes;
use sip::transaction::{Flow, Transport};
use testbed::{A, B, Script, Setup, State, World};

/// A host of carrier-a that is no phone.
const CARRIER: &str = "10.1.7.7:5060";

fn flow(peer: &str) -> Flow {
    let peer: SocketAddr = peer.parse().expect("an address");
    Flow::to(Transport::Udp, 0, peer)
}

/// A request of the call `name`: INVITE, or what goes with it.
fn request(method: &str, name: &str, to_tag: &str) -> Bytes {
    let sdp = "v=0\r\no=- 1 1 IN IP4 10.1.7.7\r\ns=-\r\nc=IN IP4 10.1.7.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
    let (kind, body) = if method == "INVITE" { ("Content-Type: application/sdp\r\n", sdp) } else { ("", "") };
    let text = format!(
        "{method} sip:+8617055556666@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bK{name}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+8613811112222@10.1.7.7>;tag={name}\r\nTo: <sip:+8617055556666@10.0.0.1>{to_tag}\r\n\
         Call-ID: {name}@10.1.7.7\r\nCSeq: 1 {method}\r\nContact: <sip:{CARRIER}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Bytes::from(text)
}

/// What the core wants sent, and what it says.
fn outputs(core: &mut Core) -> (Vec<String>, Vec<LogLine>) {
    let (mut sent, mut said) = (Vec::new(), Vec::new());
    while let Some(output) = core.poll_output() {
        match output {
            Output::Transmit(transmit) => sent.push(String::from_utf8_lossy(&transmit.bytes).into_owned()),
            Output::Log(line) => said.push(line),
            Output::OpenMedia { .. }
            | Output::Media { .. }
            | Output::Reached { .. }
            | Output::Told(_)
            | Output::Correlated { .. }
            | Output::AskText { .. }
            | Output::SendText { .. }
            | Output::AnswerText { .. }
            | Output::Text(_)
            | Output::Ending(_)
            | Output::Ended(_) => {}
        }
    }
    (sent, said)
}

fn sent(core: &mut Core) -> Vec<String> {
    outputs(core).0
}

fn statuses(messages: &[String]) -> Vec<&str> {
    messages.iter().map(|message| message.split(' ').nth(1).unwrap_or_default()).collect()
}

fn idle() -> World {
    Setup::new(1).mute().world()
}

fn dropped(core: &Core, drop: Drop) -> u64 {
    core.counters().dropped[drop as usize]
}

#[test]
fn new_calls_wait_and_are_begun_when_they_are_given_their_turn() {
    let core = &mut idle().core;
    let now = Duration::from_secs(1);
    for name in ["one", "two", "three"] {
        core.take_in(now, Duration::ZERO, flow(CARRIER), request("INVITE", name, ""));
    }
    assert_eq!(sent(core), [""; 0], "nothing is said to one who waits");
    assert!(core.has_waiting() && !core.is_idle());
    assert_eq!((core.gauges().waiting, core.gauges().calls), (3, 0));
    core.handle_waiting(now, 2);
    assert_eq!((core.gauges().waiting, core.gauges().calls), (1, 2));
    core.handle_waiting(now, 2);
    assert_eq!((core.gauges().waiting, core.gauges().calls), (0, 3));
    let trying = sent(core).iter().filter(|message| message.starts_with("SIP/2.0 100 ")).count();
    assert_eq!(trying, 3);
}

#[test]
fn what_belongs_to_calls_gets_through_while_new_calls_wait_and_are_refused() {
    let mut world = Setup::new(1).b(Script::answers(Duration::from_secs(1))).world();
    world.call(A);
    world.run_until(Duration::from_secs(5));
    assert_eq!(world.phone(A).state(), State::Established);
    let now = world.now();
    let transactions = world.core.gauges().transactions;
    for number in 0..2_500 {
        world.core.take_in(now, Duration::ZERO, flow(CARRIER), request("INVITE", &format!("flood{number}"), ""));
    }
    // As many as may wait do, the others are refused at once.
    let refused = sent(&mut world.core);
    assert!(refused.iter().all(|message| message.starts_with("SIP/2.0 503 ")), "{refused:?}");
    assert_eq!(world.core.gauges().waiting + refused.len(), 2_500);
    assert!(world.core.gauges().is_overloaded);
    assert_eq!(world.core.gauges().transactions, transactions, "no refusal has a transaction");

    // None of those who wait has had a turn while A hangs up; then all have waited too long.
    world.run_until(now + Duration::from_millis(150));
    assert_eq!(world.core.gauges().calls, 1);
    world.hang_up(A);
    world.run_until(now + Duration::from_secs(1));
    assert_eq!((world.phone(A).state(), world.phone(B).state()), (State::Ended, State::Ended));
    assert_eq!((world.core.gauges().waiting, world.core.gauges().calls), (0, 0));
    assert_eq!(dropped(&world.core, Drop::Overload), 2_500);
    assert_eq!(world.core.counters().calls_begun, 1);
    assert!(world.run_until_idle(Duration::from_secs(200)));
    assert!(world.core.is_idle() && !world.core.gauges().is_overloaded);
    assert_eq!(world.cdrs().len(), 1, "a refusal leaves no record");
}

#[test]
fn what_has_waited_too_long_before_it_was_read_is_refused_at_its_turn() {
    let core = &mut idle().core;
    let now = Duration::from_secs(100);
    core.take_in(now, Duration::from_millis(199), flow(CARRIER), request("INVITE", "young", ""));
    core.take_in(now, Duration::from_millis(201), flow(CARRIER), request("INVITE", "old", ""));
    core.handle_waiting(now, 16);
    let responses = sent(core);
    let said = |status: &str, to: &str| {
        responses.iter().any(|m| m.starts_with(&format!("SIP/2.0 {status} ")) && m.contains(to))
    };
    assert!(said("100", "young@") && said("503", "old@"), "{responses:?}");
}

#[test]
fn a_repeat_of_a_refused_invite_gets_the_same_503_even_when_the_overload_is_over() {
    let core = &mut idle().core;
    let late = Duration::from_millis(200);
    core.take_in(Duration::ZERO, Duration::ZERO, flow(CARRIER), request("INVITE", "late", ""));
    core.handle_waiting(late, 16);
    let (first, said) = outputs(core);
    assert_eq!(statuses(&first), ["503"]);
    assert!(matches!(said[..], [LogLine::OverloadBegan]), "{said:?}");
    let wait = first[0].lines().find_map(|line| line.strip_prefix("Retry-After: ")).expect("a Retry-After");
    assert!((5..=10).contains(&wait.parse::<u32>().expect("seconds")), "{wait}");
    let tag = first[0].lines().find_map(|line| line.strip_prefix("To: ")?.split_once(";tag=")).expect("a tag").1;

    // The ACK is for nothing that we know, and is not answered.
    core.take_in(late, Duration::ZERO, flow(CARRIER), request("ACK", "late", &format!(";tag={tag}")));
    assert_eq!(sent(core), [""; 0]);
    assert!(!core.has_waiting());

    let over = Duration::from_secs(6);
    core.handle_timeout(over);
    let (messages, said) = outputs(core);
    assert!(messages.is_empty() && matches!(said[..], [LogLine::OverloadEnded { refused: 1, .. }]), "{said:?}");
    for at in [Duration::from_millis(700), over, Duration::from_secs(31)] {
        core.take_in(at, Duration::ZERO, flow(CARRIER), request("INVITE", "late", ""));
        core.handle_waiting(at, 16);
        assert_eq!(sent(core), first, "at {at:?}");
    }
    assert_eq!((core.counters().calls_begun, core.gauges().transactions), (0, (0, 0)));

    // Another call of the same caller is served.
    core.take_in(Duration::from_secs(32), Duration::ZERO, flow(CARRIER), request("INVITE", "again", ""));
    core.handle_waiting(Duration::from_secs(32), 16);
    assert!(statuses(&sent(core)).contains(&"100"));
}

#[test]
fn a_repeat_of_a_call_that_was_taken_is_never_refused() {
    let core = &mut idle().core;
    core.handle_message(Duration::ZERO, flow(CARRIER), request("INVITE", "taken", ""));
    assert!(statuses(&sent(core)).contains(&"100"));
    // Overload begins, and the repeat comes in the midst of it.
    core.take_in(Duration::ZERO, Duration::ZERO, flow(CARRIER), request("INVITE", "other", ""));
    core.handle_waiting(Duration::from_millis(400), 16);
    assert_eq!(statuses(&sent(core)), ["503"]);
    core.take_in(Duration::from_millis(500), Duration::ZERO, flow(CARRIER), request("INVITE", "taken", ""));
    assert!(!core.has_waiting(), "it is absorbed at once");
    let again = sent(core);
    assert!(again.iter().all(|message| message.starts_with("SIP/2.0 1")), "{again:?}");
    assert_eq!(core.gauges().calls, 1);
}

#[test]
fn two_copies_that_wait_together_make_one_call_or_one_refusal() {
    for (at, statuses_sent) in [(Duration::ZERO, vec!["100"]), (Duration::from_millis(300), vec!["503", "503"])] {
        let core = &mut idle().core;
        for _ in 0..2 {
            core.take_in(Duration::ZERO, Duration::ZERO, flow(CARRIER), request("INVITE", "twin", ""));
        }
        core.handle_waiting(at, 16);
        let mut responses = sent(core);
        responses.retain(|message| message.starts_with("SIP/2.0 "));
        let mut seen = statuses(&responses);
        seen.dedup_by(|a, b| a == b && *a == "100");
        assert_eq!(seen, statuses_sent);
        assert!(core.counters().calls_begun <= 1);
    }
}

#[test]
fn a_cancel_of_one_who_waits_ends_the_call_before_it_rings() {
    let core = &mut idle().core;
    for name in ["other", "mine"] {
        core.take_in(Duration::ZERO, Duration::ZERO, flow(CARRIER), request("INVITE", name, ""));
    }
    core.take_in(Duration::ZERO, Duration::ZERO, flow(CARRIER), request("CANCEL", "mine", ""));
    assert_eq!(core.gauges().waiting, 1);
    let responses = sent(core);
    let ours =
        |status: &str| responses.iter().any(|m| m.starts_with(&format!("SIP/2.0 {status} ")) && m.contains("mine@"));
    assert!(ours("200") && ours("487"), "{responses:?}");
}

#[test]
fn a_cancel_from_another_address_means_nobody_who_waits() {
    let core = &mut idle().core;
    core.take_in(Duration::ZERO, Duration::ZERO, flow(CARRIER), request("INVITE", "mine", ""));
    core.take_in(Duration::ZERO, Duration::ZERO, flow("10.1.7.8:5060"), request("CANCEL", "mine", ""));
    assert_eq!(core.gauges().waiting, 1);
    assert_eq!(statuses(&sent(core)), ["481"]);
}

#[test]
fn a_reload_may_take_the_trunk_of_one_who_waits() {
    let setup = Setup::new(1).mute();
    let mut settings = setup.settings.clone();
    let core = &mut setup.world().core;
    core.take_in(Duration::ZERO, Duration::ZERO, flow(CARRIER), request("INVITE", "one", ""));
    settings.trunks.retain(|trunk| &*trunk.name == "carrier-b");
    core.reload(Duration::ZERO, Arc::new(settings));
    core.handle_waiting(Duration::ZERO, 16);
    assert_eq!(sent(core), [""; 0]);
    assert!(core.is_idle());
    assert_eq!(dropped(core, Drop::Stranger), 1);
}

#[test]
fn a_limit_that_is_reached_refuses_without_a_transaction() {
    let mut setup = Setup::new(1).mute();
    setup.settings.trunks[0].calls_per_second = 1;
    let core = &mut setup.world().core;
    for number in 0..100 {
        core.handle_message(Duration::ZERO, flow(CARRIER), request("INVITE", &format!("fast{number}"), ""));
    }
    let messages = sent(core);
    assert_eq!(messages.iter().filter(|message| message.starts_with("SIP/2.0 503 ")).count(), 99);
    assert_eq!((dropped(core, Drop::TrunkRate), core.gauges().transactions.1), (99, 1));
    assert!(!core.gauges().is_overloaded, "a limit of the configuration is no overload");
}
