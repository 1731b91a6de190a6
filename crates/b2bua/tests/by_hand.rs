//! What no well-behaved phone does: a far side that is played message by message. Forks beyond count, answers to calls that are
//! gone, responses from elsewhere, redirections to third parties.

mod hand;

use std::net::SocketAddr;

use b2bua::observe::Drop;
use b2bua::outcome::Cause;
use hand::{CONTACT, SDP, address, called, count, far, first, header, response, sent, settle, setup, target};
use testbed::{A, Reliability, Script, State, ms};

#[test]
fn a_2xx_for_a_call_that_is_gone_is_acknowledged_and_ended() {
    let mut world = called(setup(Script::default().hangs_up(ms(2_000))));
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "one", CONTACT, SDP));
    world.run_until(ms(2_500));
    let bye = first(&world, far(), "BYE");
    world.inject_sip(far(), &response(&bye, "200 OK", "", "", ""));
    world.run_until(ms(12_000));
    assert_eq!(world.core.gauges().calls, 0, "the call is over");
    // Another branch of B's network answers now; then it has not heard our ACK.
    for _ in 0..2 {
        world.inject_sip(far(), &response(&invite, "200 OK", "two", CONTACT, SDP));
    }
    let to_two: Vec<String> =
        sent(&world, far()).into_iter().filter(|message| header(message, "To").contains("tag=two")).collect();
    let methods: Vec<&str> = to_two.iter().filter_map(|message| message.split(' ').next()).collect();
    assert_eq!(methods, ["ACK", "BYE", "ACK"], "each copy is acknowledged, the first is ended");
    assert!(to_two.iter().all(|message| header(message, "CSeq").starts_with(['1', '2'])), "{to_two:?}");
    settle(world);
}

#[test]
fn every_fork_but_the_first_is_ended_and_their_number_is_bounded() {
    let mut world = called(setup(Script::default().hangs_up(ms(5_000))));
    let invite = first(&world, far(), "INVITE");
    for fork in 0..20 {
        world.inject_sip(far(), &response(&invite, "180 Ringing", &format!("fork{fork}"), CONTACT, ""));
        world.inject_sip(far(), &response(&invite, "183 Session Progress", &format!("fork{fork}"), CONTACT, SDP));
    }
    for fork in (0..20).rev() {
        world.inject_sip(far(), &response(&invite, "200 OK", &format!("fork{fork}"), CONTACT, SDP));
        world.inject_sip(far(), &response(&invite, "200 OK", &format!("fork{fork}"), CONTACT, SDP));
    }
    let up = sent(&world, far())
        .into_iter()
        .filter(|m| m.starts_with("ACK") && header(m, "To").contains("tag=fork19"))
        .count();
    assert_eq!(up, 2, "the fork that is up is acknowledged each time it says so");
    assert_eq!(count(&world, "BYE"), 8, "as many others are ended as are told apart");
    let world = settle(world);
    assert_eq!(world.cdrs()[0].cause, Cause::HungUp, "{}", world.ladder());
    let ended: std::collections::BTreeSet<String> =
        sent(&world, far()).iter().filter(|m| m.starts_with("BYE")).map(|m| header(m, "To").to_owned()).collect();
    assert_eq!(ended.len(), 9, "the call itself by its own BYE");
}

#[test]
fn a_response_from_elsewhere_than_its_trunk_changes_nothing() {
    let mut setup = setup(Script::default().hangs_up(ms(2_000)));
    setup.settings.trunks[1].auth = Some(std::sync::Arc::new(sip::digest::Credentials {
        user: "axbridge".into(),
        password: sip::digest::Password::new(b"secret".to_vec()),
        realm: None,
    }));
    let mut world = called(setup);
    let invite = first(&world, far(), "INVITE");
    let challenge = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=MD5\r\n";
    // Carrier-a, which has seen the request, asks for our digest, answers for B, and redirects.
    for (start, more, body) in [
        ("407 Proxy Authentication Required", challenge, ""),
        ("200 OK", CONTACT, SDP),
        ("302 Moved", "Contact: <sip:10.1.0.1>\r\n", ""),
        ("486 Busy Here", "", ""),
    ] {
        world.inject_sip(address("10.1.7.7:5060"), &response(&invite, start, "evil", more, body));
    }
    world.inject_sip(
        address("192.0.2.66:5060"),
        &response(&invite, "407 Proxy Authentication Required", "x", challenge, ""),
    );
    assert_eq!(sent(&world, far()).len(), 1, "nothing but the INVITE");
    assert_eq!(world.core.counters().dropped[Drop::ForeignResponse as usize], 4);
    assert_eq!(world.core.counters().dropped[Drop::Stranger as usize], 1);
    world.inject_sip(far(), &response(&invite, "407 Proxy Authentication Required", "x", challenge, ""));
    let second = sent(&world, far()).into_iter().filter(|message| message.starts_with("INVITE")).nth(1).expect("again");
    assert!(header(&second, "Proxy-Authorization").starts_with("Digest username=\"axbridge\""), "{second}");
    assert_eq!(header(&second, "CSeq"), "2 INVITE");
    assert_eq!(
        (header(&second, "Call-ID"), header(&second, "From")),
        (header(&invite, "Call-ID"), header(&invite, "From"))
    );
    assert_ne!(header(&second, "Via"), header(&invite, "Via"));
    // Wrong credentials: the second challenge without stale ends it, without another try.
    world.inject_sip(far(), &response(&second, "407 Proxy Authentication Required", "x", challenge, ""));
    assert_eq!(count(&world, "INVITE"), 2);
    let world = settle(world);
    assert_eq!(world.cdrs()[0].cause, Cause::Refused, "{}", world.ladder());
}

#[test]
fn a_redirection_is_followed_to_the_same_number_at_a_target_of_the_trunk_only() {
    let other: SocketAddr = address("10.2.8.8:5070");
    let number = "+8613933334444";
    for (contact, follows) in [
        (format!("<sip:{number}@10.2.8.8:5070>"), true),
        ("<sip:10.2.8.8:5070>;q=0.5".to_owned(), true),
        (format!("<sip:{number}@192.0.2.1>, \"B\" <sip:008613933334444@10.2.8.8:5070;user=phone>"), true),
        (format!("<sip:{number}@10.2.8.8>"), false),
        (format!("<sip:{number}@192.0.2.1:5070>"), false),
        // Whom B would have called instead is in no binding.
        ("<sip:+8613000000000@10.2.8.8:5070>".to_owned(), false),
        ("<tel:+8613000000000>".to_owned(), false),
        ("*".to_owned(), false),
        (String::new(), false),
        // Where it has just been refused.
        (format!("<sip:{number}@10.2.9.9>"), false),
    ] {
        let mut setup = setup(Script::default());
        setup.settings.trunks[1].targets.push(target(other));
        let mut world = called(setup);
        let invite = first(&world, far(), "INVITE");
        let more = if contact.is_empty() { String::new() } else { format!("Contact: {contact}\r\n") };
        world.inject_sip(far(), &response(&invite, "302 Moved Temporarily", "x", &more, ""));
        let followed = sent(&world, other);
        assert_eq!(followed.len(), usize::from(follows), "{contact}\n{}", world.ladder());
        if follows {
            world.inject_sip(other, &response(&followed[0], "302 Moved Temporarily", "y", &more, ""));
            assert_eq!(sent(&world, other).len(), 2, "its ACK, and no second try: {contact}");
        }
        let world = settle(world);
        assert_eq!(world.cdrs().len(), 1, "{contact}");
        assert!(matches!(world.cdrs()[0].cause, Cause::Unreachable), "{:?}", world.cdrs()[0].cause);
    }
}

#[test]
fn reliable_provisional_responses_are_taken_in_order_and_once() {
    let mut world = called(setup(Script::default().hangs_up(ms(2_000))));
    let invite = first(&world, far(), "INVITE");
    let ringing =
        |rseq: u32| response(&invite, "180 Ringing", "t", &format!("{CONTACT}Require: 100rel\r\nRSeq: {rseq}\r\n"), "");
    for rseq in [7, 7, 9, 6, 8, 8, 4_294_967_295] {
        world.inject_sip(far(), &ringing(rseq));
    }
    let racks: Vec<String> =
        sent(&world, far()).iter().filter(|m| m.starts_with("PRACK")).map(|m| header(m, "RAck").to_owned()).collect();
    assert_eq!(racks, ["7 1 INVITE", "8 1 INVITE"]);
    world.inject_sip(far(), &response(&invite, "200 OK", "t", CONTACT, SDP));
    let ack = first(&world, far(), "ACK");
    assert_eq!(header(&ack, "CSeq"), "1 ACK", "the INVITE's number, whatever has been sent since");
    world.run_until(ms(2_500));
    let bye = first(&world, far(), "BYE");
    assert_eq!(header(&bye, "CSeq"), "4 BYE");
    settle(world);
}

#[test]
fn what_the_far_side_may_not_ask_in_an_early_dialog_is_refused_and_the_call_goes_on() {
    let mut world = called(setup(Script::default().hangs_up(ms(2_000))));
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "183 Session Progress", "t", CONTACT, SDP));
    let request = |method: &str, cseq: u32, more: &str, body: &str| {
        format!(
            "{method} sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.2.9.9;branch=z9hG4bKfar{cseq}\r\nMax-Forwards: 70\r\n\
             From: {};tag=t\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n{CONTACT}{more}Content-Length: {}\r\n\r\n{body}",
            header(&invite, "To"),
            header(&invite, "From"),
            header(&invite, "Call-ID"),
            body.len()
        )
    };
    let sdp = "Content-Type: application/sdp\r\n";
    for (cseq, method, more, body, status) in [
        (1, "BYE", "", "", "481"),
        (2, "INVITE", sdp, SDP, "500"),
        (3, "UPDATE", sdp, SDP, "491"),
        (4, "REFER", "Refer-To: <sip:x@y>\r\n", "", "405"),
        (5, "UPDATE", "", "", "200"),
        (6, "INFO", "Content-Type: application/dtmf\r\n", "5", "200"),
        (7, "INFO", "Info-Package: x\r\n", "", "469"),
        (8, "NOTIFY", "Event: refer\r\n", "", "405"),
        (9, "MESSAGE", "", "", "405"),
        (10, "FROBNICATE", "", "", "501"),
        (4, "OPTIONS", "", "", "500"),
        (11, "OPTIONS", "", "", "200"),
        (12, "OPTIONS", "Require: teleport\r\n", "", "420"),
    ] {
        let before = sent(&world, far()).len();
        let bytes = request(method, cseq, more, body).replace(&format!("far{cseq}"), &format!("far{cseq}{method}"));
        world.inject_sip(far(), bytes.as_bytes());
        let answer = sent(&world, far()).get(before).cloned().unwrap_or_default();
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{method} {cseq}: {answer}");
        if status != "200" && method == "INVITE" {
            world.inject_sip(
                far(),
                request("ACK", cseq, "", "").replace(&format!("far{cseq}"), &format!("far{cseq}INVITE")).as_bytes(),
            );
        }
    }
    world.inject_sip(far(), &response(&invite, "200 OK", "t", CONTACT, SDP));
    let world = settle(world);
    assert_eq!(world.cdrs()[0].cause, Cause::HungUp, "{}", world.ladder());
}

/// The call's own tags, but from another carrier's address.
#[test]
fn a_request_with_the_right_tags_from_another_trunk_is_nobody_s() {
    let mut world = called(setup(Script::default().reliably(Reliability::Supported)));
    let invite = first(&world, far(), "INVITE");
    world.inject_sip(far(), &response(&invite, "200 OK", "t", CONTACT, SDP));
    world.run_until(ms(1_000));
    let bye = format!(
        "BYE sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7;branch=z9hG4bKspoof\r\nFrom: {};tag=t\r\nTo: {}\r\nCall-ID: {}\r\n\
         CSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        header(&invite, "To"),
        header(&invite, "From"),
        header(&invite, "Call-ID")
    );
    world.inject_sip(address("10.1.7.7:5060"), bye.as_bytes());
    let answer = sent(&world, address("10.1.7.7:5060")).pop().unwrap_or_default();
    assert!(answer.starts_with("SIP/2.0 481 "), "{answer}");
    assert_eq!(world.phone(A).state(), State::Established);
    world.hang_up(A);
    settle(world);
}

/// One A may have several calls at once, to several pairs of its X or twice to the same: each is a call of its own.
#[test]
fn calls_of_one_number_overlap() {
    let mut setup = setup(Script::default());
    setup.phones.clear();
    let mut world = setup.world();
    let a = address("10.1.7.7:5060");
    let invite = |number: u32| {
        format!(
            "INVITE sip:+8617055556666@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7;branch=z9hG4bKa{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+8613811112222@10.1.7.7>;tag=a{number}\r\nTo: <sip:+8617055556666@10.0.0.1>\r\n\
             Call-ID: overlap-{number}\r\nCSeq: 1 INVITE\r\nContact: <sip:10.1.7.7>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            SDP.len()
        )
    };
    for number in 0..3 {
        world.inject_sip(a, invite(number).as_bytes());
    }
    let invites: Vec<String> = sent(&world, far()).into_iter().filter(|m| m.starts_with("INVITE")).collect();
    assert_eq!(invites.len(), 3, "{}", world.ladder());
    world.inject_sip(far(), &response(&invites[1], "486 Busy Here", "busy", "", ""));
    let refused =
        sent(&world, a).into_iter().any(|m| m.starts_with("SIP/2.0 183") && header(&m, "Call-ID") == "overlap-1");
    assert!(refused, "the busy prompt, on the call that is busy");
    assert_eq!(world.core.gauges().calls, 3);
    for (number, invite) in [(0, &invites[0]), (2, &invites[2])] {
        let cancel = format!(
            "CANCEL sip:+8617055556666@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7;branch=z9hG4bKa{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+8613811112222@10.1.7.7>;tag=a{number}\r\nTo: <sip:+8617055556666@10.0.0.1>\r\n\
             Call-ID: overlap-{number}\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n"
        );
        world.inject_sip(a, cancel.as_bytes());
        world.inject_sip(far(), &response(invite, "180 Ringing", "late", CONTACT, ""));
        world.inject_sip(far(), &response(invite, "487 Request Terminated", "late", "", ""));
    }
    let world = settle(world);
    assert_eq!(world.cdrs().len(), 3);
    let ids: std::collections::BTreeSet<_> = world.cdrs().iter().map(|cdr| cdr.session_id.clone()).collect();
    assert_eq!(ids.len(), 3, "three records of three calls");
}

/// A call that a carrier has brought back to us has an X as its caller, and would go round for ever. (X bound to X: `outcomes.rs`.)
#[test]
fn a_call_that_comes_back_with_one_of_our_numbers_as_its_caller_is_caught() {
    let mut setup = setup(Script::default());
    let other_x = numbering::Number::parse("+8617055557777").expect("a number in global form");
    let mine = setup.numbers[0].clone();
    // Bound while the number was nobody's X; it became one later.
    setup.binding.a = other_x;
    let mut world = setup.world();
    world.bindings.add_number(numbering::VirtualNumber { number: other_x, ..mine }).expect("a new number");
    let a = address("10.1.7.7:5060");
    let invite = "INVITE sip:+8617055556666@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7;branch=z9hG4bKback\r\n\
         Max-Forwards: 60\r\nFrom: <sip:+8617055557777@10.1.7.7>;tag=back\r\nTo: <sip:+8617055556666@10.0.0.1>\r\n\
         Call-ID: back\r\nCSeq: 1 INVITE\r\nContact: <sip:10.1.7.7>\r\nContent-Length: 0\r\n\r\n";
    world.inject_sip(a, invite.as_bytes());
    let answer = sent(&world, a).pop().unwrap_or_default();
    assert!(answer.starts_with("SIP/2.0 482 "), "{answer}");
    assert!(sent(&world, far()).is_empty(), "nobody is called");
    let world = settle(world);
    assert_eq!(world.cdrs()[0].cause, Cause::Loop);
}
