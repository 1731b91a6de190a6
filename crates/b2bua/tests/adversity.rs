//! Crossings and hostile peers within a call, found by reading and by fuzzing: whatever comes, each leg ends, nothing grows, and
//! nobody is joined who has not heard the tone.

mod hand;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use b2bua::outcome::Cause;
use b2bua::settings::{SessionTimerMode, SessionTimers};
use hand::{CONTACT, SDP, address, called, count, far, first, header, response, sent, setup, target};
use sip::transaction::Transport;
use testbed::{Script, Setup, World, ms};

fn a_addr() -> SocketAddr {
    address("10.1.7.7:5060")
}

/// Both sides by hand; B's leg trunk mode is carrier-b's.
fn both(change: impl FnOnce(&mut Setup)) -> World {
    let mut setup = setup(Script::default());
    setup.phones.clear();
    change(&mut setup);
    setup.world()
}

fn invite_from_a(world: &mut World, more: &str, sdp: bool) {
    let body = if sdp { SDP } else { "" };
    let kind = if sdp { "Content-Type: application/sdp\r\n" } else { "" };
    let text = format!(
        "INVITE sip:+8617055556666@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7;branch=z9hG4bKa1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+8613811112222@10.1.7.7>;tag=a1\r\nTo: <sip:+8617055556666@10.0.0.1>\r\n\
         Call-ID: hand\r\nCSeq: 1 INVITE\r\nContact: <sip:10.1.7.7>\r\n{more}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    world.inject_sip(a_addr(), text.as_bytes());
}

/// A's request in the dialog of X's last response to it.
fn from_a(world: &mut World, method: &str, cseq: u32, more: &str, body: &str) {
    let last = sent(world, a_addr())
        .into_iter()
        .rfind(|m| {
            m.starts_with("SIP/2.0") && header(m, "To").contains("tag=") && header(m, "CSeq").ends_with("INVITE")
        })
        .expect("a response");
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let text = format!(
        "{method} sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7;branch=z9hG4bKa{method}{cseq}\r\nMax-Forwards: 70\r\n\
         From: {}\r\nTo: {}\r\nCall-ID: hand\r\nCSeq: {cseq} {method}\r\nContact: <sip:10.1.7.7>\r\n{more}{kind}Content-Length: {}\r\n\r\n{body}",
        header(&last, "From"),
        header(&last, "To"),
        body.len()
    );
    world.inject_sip(a_addr(), text.as_bytes());
}

/// A's digit by INFO, in the dialog of X's 200.
fn digit_from_a(world: &mut World, cseq: u32) {
    let last = sent(world, a_addr())
        .into_iter()
        .rfind(|m| m.starts_with("SIP/2.0 200") && header(m, "CSeq").ends_with("INVITE"))
        .expect("a response");
    let body = "Signal=5\r\nDuration=160\r\n";
    let text = format!(
        "INFO sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7;branch=z9hG4bKinfo{cseq}\r\nMax-Forwards: 70\r\n\
         From: {}\r\nTo: {}\r\nCall-ID: hand\r\nCSeq: {cseq} INFO\r\nContent-Type: application/dtmf-relay\r\n\
         Content-Length: {}\r\n\r\n{body}",
        header(&last, "From"),
        header(&last, "To"),
        body.len()
    );
    world.inject_sip(a_addr(), text.as_bytes());
}

/// The branch of B with this tag hangs up.
fn hang_up(world: &mut World, invite: &str, tag: &str) {
    let bye = format!(
        "BYE sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.2.9.9;branch=z9hG4bKbbye\r\nFrom: {};tag={tag}\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        header(invite, "To"),
        header(invite, "From"),
        header(invite, "Call-ID")
    );
    world.inject_sip(far(), bye.as_bytes());
}

/// Both trunks ask for sessions of 90 s.
fn request_timers(setup: &mut Setup) {
    for trunk in &mut setup.settings.trunks {
        trunk.session_timers = SessionTimers { mode: SessionTimerMode::Request, expires: 90, min_se: 90 };
    }
}

fn with_auth(s: &mut Setup) {
    s.settings.trunks[1].auth = Some(Arc::new(sip::digest::Credentials {
        user: "axbridge".into(),
        password: sip::digest::Password::new(b"secret".to_vec()),
        realm: None,
    }));
}

fn last_to_a(world: &World) -> String {
    sent(world, a_addr()).pop().unwrap_or_default()
}

#[test]
fn a_prack_that_crosses_the_answer_is_taken() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "Supported: 100rel\r\n", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "180 Ringing", "t", CONTACT, ""));
    world.inject_sip(far(), &response(&invite, "200 OK", "t", CONTACT, SDP));
    assert!(last_to_a(&world).starts_with("SIP/2.0 200"));
    from_a(&mut world, "PRACK", 2, "RAck: 1 1 INVITE\r\n", "");
    let answer = last_to_a(&world);
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
}

/// RFC 3262 §5: a PRACK that makes an offer has the answer in its 2xx; a refusal that is on its way does not change that.
#[test]
fn an_offer_in_a_prack_that_crosses_a_refusal_is_not_taken_without_answer() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "Supported: 100rel\r\n", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "183 Session Progress", "t", CONTACT, SDP));
    assert!(last_to_a(&world).contains("RSeq: 1\r\n"));
    world.inject_sip(far(), &response(&invite, "486 Busy Here", "t", "", ""));
    assert!(last_to_a(&world).starts_with("SIP/2.0 486"));
    from_a(&mut world, "PRACK", 2, "RAck: 1 1 INVITE\r\n", SDP);
    let answer = last_to_a(&world);
    assert!(answer.contains("CSeq: 2 PRACK\r\n"), "{answer}");
    assert!(!answer.starts_with("SIP/2.0 200") || answer.contains("\r\n\r\nv=0"), "{answer}");
}

/// The same where the call has been answered: the offer changes a session that goes on.
#[test]
fn an_offer_in_a_prack_that_crosses_the_answer_is_not_taken_without_answer() {
    let mut world = both(|s| s.app().no_answer = ms(180_000));
    invite_from_a(&mut world, "Supported: 100rel\r\n", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "183 Session Progress", "t", CONTACT, SDP));
    from_a(&mut world, "PRACK", 2, "RAck: 1 1 INVITE\r\n", "");
    // The 183 is said again every minute (RFC 3261 §13.3.1.1).
    world.run_until(ms(61_000));
    assert!(last_to_a(&world).contains("RSeq: 2\r\n"), "{:?}", sent(&world, a_addr()));
    world.inject_sip(far(), &response(&invite, "200 OK", "t", CONTACT, SDP));
    assert!(last_to_a(&world).starts_with("SIP/2.0 200"));
    from_a(&mut world, "PRACK", 3, "RAck: 2 1 INVITE\r\n", SDP);
    let answer = last_to_a(&world);
    assert!(answer.contains("CSeq: 3 PRACK\r\n"), "{answer}");
    assert!(!answer.starts_with("SIP/2.0 200") || answer.contains("\r\n\r\nv=0"), "{answer}");
}

#[test]
fn a_bye_after_a_crossed_cancel_has_a_fresh_cseq() {
    let mut world = called(setup(Script::default().cancels(ms(500))));
    let invite = first(&world, far(), "INVITE");
    for rseq in 1..4 {
        world.inject_sip(
            far(),
            &response(&invite, "180 Ringing", "t", &format!("{CONTACT}Require: 100rel\r\nRSeq: {rseq}\r\n"), ""),
        );
    }
    let pracks: Vec<String> =
        sent(&world, far()).iter().filter(|m| m.starts_with("PRACK")).map(|m| header(m, "CSeq").to_owned()).collect();
    world.run_until(ms(600));
    assert_eq!(count(&world, "CANCEL"), 1, "{}", world.ladder());
    world.inject_sip(far(), &response(&invite, "200 OK", "t", CONTACT, SDP));
    let bye = first(&world, far(), "BYE");
    assert_eq!((pracks.last().map(String::as_str), header(&bye, "CSeq")), (Some("4 PRACK"), "5 BYE"));
}

#[test]
fn a_bye_to_a_fork_has_a_fresh_cseq() {
    let mut world = called(setup(Script::default().hangs_up(ms(5_000))));
    let invite = first(&world, far(), "INVITE");
    for rseq in 1..4 {
        world.inject_sip(
            far(),
            &response(&invite, "180 Ringing", "two", &format!("{CONTACT}Require: 100rel\r\nRSeq: {rseq}\r\n"), ""),
        );
    }
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    world.inject_sip(far(), &response(&invite, "200 OK", "two", CONTACT, SDP));
    let bye = first(&world, far(), "BYE");
    assert_eq!(header(&bye, "CSeq"), "5 BYE");
}

#[test]
fn a_refresh_that_is_never_answered_does_not_outlive_the_call() {
    let mut s = setup(Script::default().hangs_up(ms(60_000)));
    request_timers(&mut s);
    let mut world = called(s);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "t", CONTACT, SDP));
    world.run_until(ms(46_000));
    let refresh = sent(&world, far()).into_iter().rfind(|m| m.starts_with("INVITE")).expect("refresh");
    assert!(header(&refresh, "CSeq").starts_with('2'), "{refresh}");
    world.inject_sip(far(), &response(&refresh, "100 Trying", "", "", ""));
    world.run_until(ms(62_000));
    let bye = first(&world, far(), "BYE");
    world.inject_sip(far(), &response(&bye, "200 OK", "", "", ""));
    let idle = world.run_until_idle(Duration::from_secs(3_000));
    assert!(idle && world.core.is_idle(), "{:?}", world.core.gauges());
}

#[test]
fn a_fork_that_answers_while_the_call_is_taken_down_is_ended() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    from_a(&mut world, "ACK", 1, "", "");
    hang_up(&mut world, &invite, "one");
    // A does not answer our BYE yet; another fork answers.
    world.inject_sip(far(), &response(&invite, "200 OK", "two", CONTACT, SDP));
    let to_two: Vec<String> = sent(&world, far()).into_iter().filter(|m| header(m, "To").contains("tag=two")).collect();
    let methods: Vec<&str> = to_two.iter().filter_map(|m| m.split(' ').next()).collect();
    assert_eq!(methods, ["ACK", "BYE"], "{}", world.ladder());
}

fn hints(world: &World) -> usize {
    format!("{:?}", world.core).matches(", CallKey { index").count()
}

#[test]
fn hints_of_a_call_do_not_grow() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    from_a(&mut world, "ACK", 1, "", "");
    world.run_until(ms(3_000));
    let before = hints(&world);
    let mut at = 3_000;
    for n in 0..200 {
        from_a(&mut world, "INVITE", 2 + n, "", SDP);
        from_a(&mut world, "ACK", 2 + n, "", "");
        at += 1_000;
        world.run_until(ms(at));
    }
    let after = hints(&world);
    world.run_until(ms(at + 100_000));
    let later = hints(&world);
    // A hint further off than a minute is not laid: what has become stale is gone after that.
    assert!(after > 0, "hints are told by how they print; none was found");
    assert!(after < before + 70, "before {before}, after 200 re-INVITEs {after}");
    assert!(later < before + 10, "before {before}, 100 s later {later}");
}

#[test]
fn pracks_under_way_are_bounded() {
    let mut world = called(setup(Script::default().hangs_up(ms(2_000))));
    let invite = first(&world, far(), "INVITE");
    for rseq in 1..1001 {
        world.inject_sip(
            far(),
            &response(&invite, "180 Ringing", "t", &format!("{CONTACT}Require: 100rel\r\nRSeq: {rseq}\r\n"), ""),
        );
    }
    assert!((1..50).contains(&count(&world, "PRACK")), "{}", count(&world, "PRACK"));
    assert!(world.core.gauges().transactions.0 < 50, "{:?}", world.core.gauges());
}

#[test]
fn copies_of_an_answer_to_a_call_that_is_gone_cost_one_bye() {
    let mut world = called(setup(Script::default().hangs_up(ms(2_000))));
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    world.run_until(ms(2_500));
    let bye = first(&world, far(), "BYE");
    world.inject_sip(far(), &response(&bye, "200 OK", "", "", ""));
    world.run_until(ms(12_000));
    for _ in 0..1000 {
        world.inject_sip(far(), &response(&invite, "200 OK", "two", CONTACT, SDP));
    }
    let byes = sent(&world, far()).into_iter().filter(|m| m.starts_with("BYE") && header(m, "To").contains("tag=two"));
    assert_eq!(byes.count(), 1);
    assert!(world.core.gauges().transactions.0 < 50, "{:?}", world.core.gauges());
}

#[test]
fn a_bye_is_not_challenged_for_ever() {
    let mut s = setup(Script::default().hangs_up(ms(2_000)));
    with_auth(&mut s);
    let mut world = called(s);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    world.run_until(ms(2_500));
    for n in 0..100 {
        let bye = sent(&world, far()).into_iter().rfind(|m| m.starts_with("BYE")).expect("a BYE");
        world.inject_sip(far(), &response(&bye, "100 Trying", "", "", ""));
        world.inject_sip(
            far(),
            &response(
                &bye,
                "401 Unauthorized",
                "",
                &format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"n{n}\", qop=\"auth\"\r\n"),
                "",
            ),
        );
    }
    let mut cseqs: Vec<String> =
        sent(&world, far()).iter().filter(|m| m.starts_with("BYE")).map(|m| header(m, "CSeq").to_owned()).collect();
    cseqs.dedup();
    assert!(cseqs.len() < 8, "{} BYEs", cseqs.len());
}

#[test]
fn the_tone_waits_for_the_caller_s_ack() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "180 Ringing", "one", CONTACT, ""));
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    // All copies of the 200 are lost for three seconds.
    world.run_until(ms(3_000));
    assert!(!world.ladder().contains("joined"), "{}", world.ladder());
    from_a(&mut world, "ACK", 1, "", "");
    world.run_until(ms(6_000));
    assert!(world.ladder().contains("joined"), "{}", world.ladder());
}

#[test]
fn ringing_reaches_a_caller_without_offer() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "", false);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "183 Session Progress", "one", CONTACT, SDP));
    world.inject_sip(far(), &response(&invite, "180 Ringing", "one", CONTACT, ""));
    let all = sent(&world, a_addr());
    assert!(all.iter().any(|m| m.starts_with("SIP/2.0 180")), "{}", world.ladder());
}

#[test]
fn a_refresh_is_not_lengthened_for_ever() {
    let mut s = setup(Script::default().hangs_up(ms(60_000)));
    request_timers(&mut s);
    let mut world = called(s);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "t", CONTACT, SDP));
    world.run_until(ms(46_000));
    for n in 0..100 {
        let refresh = sent(&world, far()).into_iter().rfind(|m| m.starts_with("INVITE")).expect("refresh");
        world.inject_sip(
            far(),
            &response(&refresh, "422 Too Small", "", &format!("Min-SE: {}\r\n", 4_000_000_000u32 + n), ""),
        );
    }
    let refresh = sent(&world, far()).into_iter().rfind(|m| m.starts_with("INVITE")).expect("refresh");
    assert!(count(&world, "INVITE") < 10, "{} INVITEs, the last: {refresh}", count(&world, "INVITE"));
}

#[test]
fn queueing_is_not_told_for_ever() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "", true);
    let invite = first(&world, far(), "INVITE");
    for _ in 0..1000 {
        world.inject_sip(far(), &response(&invite, "182 Queued", "one", CONTACT, ""));
    }
    let told = sent(&world, a_addr()).len();
    assert!(told < 50, "A got {told} messages");
}

#[test]
fn digits_by_info_go_one_after_the_other() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    from_a(&mut world, "ACK", 1, "", "");
    world.run_until(ms(4_000));
    assert!(world.ladder().contains("joined"), "{}", world.ladder());
    for n in 0..100 {
        digit_from_a(&mut world, 10 + n);
    }
    assert_eq!(count(&world, "INFO"), 1, "{:?}", world.core.gauges().transactions);
    let info = first(&world, far(), "INFO");
    world.inject_sip(far(), &response(&info, "200 OK", "", "", ""));
    assert_eq!(count(&world, "INFO"), 2, "{:?}", world.core.gauges().transactions);
}

#[test]
fn a_2xx_with_another_cseq_is_nobody_s() {
    let mut world = called(setup(Script::default().hangs_up(ms(2_000))));
    let invite = first(&world, far(), "INVITE");
    let bad = String::from_utf8(response(&invite, "200 OK", "one", CONTACT, SDP)).unwrap();
    let bad = bad.replace("CSeq: 1 INVITE", "CSeq: 2147483647 INVITE");
    world.inject_sip(far(), bad.as_bytes());
    let ack = sent(&world, far()).into_iter().find(|m| m.starts_with("ACK"));
    assert!(ack.as_ref().is_none_or(|ack| header(ack, "CSeq") == "1 ACK"), "{ack:?}");
}

#[test]
fn nobody_is_joined_or_recorded_before_a_has_its_200() {
    let mut world = both(|s| {
        s.binding.record = true;
    });
    invite_from_a(&mut world, "Supported: 100rel\r\n", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "183 Session Progress", "one", CONTACT, SDP));
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    world.run_until(ms(4_000));
    assert!(!sent(&world, a_addr()).iter().any(|m| m.starts_with("SIP/2.0 200")), "{}", world.ladder());
    assert!(!world.ladder().contains("joined") && world.recordings().is_empty(), "{}", world.ladder());
    from_a(&mut world, "PRACK", 2, "RAck: 1 1 INVITE\r\n", "");
    assert!(last_to_a(&world).starts_with("SIP/2.0 200"), "{}", world.ladder());
    from_a(&mut world, "ACK", 1, "", "");
    world.run_until(ms(7_000));
    assert!(world.ladder().contains("joined") && !world.recordings().is_empty(), "{}", world.ladder());
}

#[test]
fn a_fork_s_bye_that_is_challenged_is_said_again() {
    let mut s = setup(Script::default().hangs_up(ms(20_000)));
    with_auth(&mut s);
    let mut world = called(s);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    world.inject_sip(far(), &response(&invite, "200 OK", "two", CONTACT, SDP));
    let bye = first(&world, far(), "BYE");
    world.inject_sip(
        far(),
        &response(
            &bye,
            "401 Unauthorized",
            "",
            "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n",
            "",
        ),
    );
    assert_eq!(count(&world, "BYE"), 2, "the fork stays up otherwise");
}

#[test]
fn a_target_that_no_listener_reaches_is_passed_over() {
    let mut s = setup(Script::default().cancels(ms(500)));
    s.settings.trunks[1].targets = vec![target(address("[2001:db8::9]:5060")), target(far())];
    let world = called(s);
    assert_eq!(count(&world, "INVITE"), 1, "{}", world.ladder());
}

#[test]
fn a_prack_that_is_challenged_is_said_again() {
    let mut s = setup(Script::default().hangs_up(ms(20_000)));
    with_auth(&mut s);
    let mut world = called(s);
    let invite = first(&world, far(), "INVITE");
    let ringing = response(&invite, "180 Ringing", "t", &format!("{CONTACT}Require: 100rel\r\nRSeq: 1\r\n"), "");
    world.inject_sip(far(), &ringing);
    let prack = first(&world, far(), "PRACK");
    world.inject_sip(
        far(),
        &response(
            &prack,
            "407 Proxy Authentication Required",
            "",
            "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n",
            "",
        ),
    );
    world.inject_sip(far(), &ringing);
    assert_eq!(count(&world, "PRACK"), 2);
}

#[test]
fn a_peer_that_knows_the_call_no_more_ends_it() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    from_a(&mut world, "ACK", 1, "", "");
    world.run_until(ms(4_000));
    digit_from_a(&mut world, 10);
    let info = first(&world, far(), "INFO");
    world.inject_sip(far(), &response(&info, "481 Call/Transaction Does Not Exist", "", "", ""));
    world.run_until(ms(5_000));
    assert!(sent(&world, a_addr()).iter().any(|m| m.starts_with("BYE")), "{}", world.ladder());
}

#[test]
fn hints_of_a_transaction_do_not_grow() {
    let mut world = called(setup(Script::default().hangs_up(ms(2_000))));
    let invite = first(&world, far(), "INVITE");
    let ok = response(&invite, "200 OK", "one", CONTACT, SDP);
    world.inject_sip(far(), &ok);
    for _ in 0..1000 {
        world.inject_sip(far(), &ok);
    }
    let hints = format!("{:?}", world.core).matches(", Client(ClientId").count();
    assert!((1..50).contains(&hints), "{hints} hints of a single transaction");
}

#[test]
fn a_cancelled_caller_s_record_says_487() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "Supported: 100rel\r\n", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "183 Session Progress", "one", CONTACT, SDP));
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    let cancel = "CANCEL sip:+8617055556666@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7;branch=z9hG4bKa1\r\nMax-Forwards: 70\r\nFrom: <sip:+8613811112222@10.1.7.7>;tag=a1\r\nTo: <sip:+8617055556666@10.0.0.1>\r\nCall-ID: hand\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n";
    world.inject_sip(a_addr(), cancel.as_bytes());
    world.run_until(ms(1_000));
    assert!(sent(&world, a_addr()).iter().any(|m| m.starts_with("SIP/2.0 487")));
    assert_eq!(world.cdrs()[0].status_a, 487);
}

#[test]
fn a_bye_of_the_peer_during_our_refresh_leaves_nothing() {
    let mut world = both(request_timers);
    invite_from_a(&mut world, "", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    from_a(&mut world, "ACK", 1, "", "");
    world.run_until(ms(46_000));
    let refresh = sent(&world, far()).into_iter().rfind(|m| m.starts_with("INVITE")).expect("refresh");
    assert!(header(&refresh, "CSeq").starts_with('2'), "{refresh}");
    world.inject_sip(far(), &response(&refresh, "100 Trying", "", "", ""));
    hang_up(&mut world, &invite, "one");
    world.run_until_idle(Duration::from_secs(3_000));
    assert!(world.core.is_idle(), "{:?}", world.core.gauges());
}

#[test]
fn media_of_b_said_again_is_not_told_again() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "183 Session Progress", "one", CONTACT, SDP));
    let flow = sip::transaction::Flow::to(Transport::Udp, 0, far());
    let now = world.now();
    let mut told = 0;
    for _ in 0..1000 {
        world.core.handle_message(now, flow, bytes::Bytes::from(response(&invite, "180 Ringing", "one", CONTACT, "")));
        while let Some(output) = world.core.poll_output() {
            told += usize::from(matches!(output, b2bua::core::Output::Media { .. }));
        }
    }
    assert!(told < 10, "{told} commands to the relay");
}

#[test]
fn what_is_lost_while_a_is_refused_keeps_the_reason() {
    let mut world = both(|_| {});
    invite_from_a(&mut world, "Supported: 100rel\r\n", true);
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "486 Busy Here", "one", "", ""));
    world.run_until(ms(60_000));
    assert!(!world.cdrs().is_empty(), "{}", world.ladder());
    assert_eq!(world.cdrs()[0].cause, Cause::Busy);
}
