//! What comes within calls: digits in every form, transfers, other requests, bodies with more in them than audio. A ladder each.

mod story;

use b2bua::outcome::Cause;
use story::story;
use testbed::{Act, Offer, Script, Setup, When, expect, ms};

/// This phone has no telephone-event (RFC 4733).
fn without_events(mut setup: Setup, phone: usize) -> Setup {
    setup.phones[phone].telephone_event = None;
    setup
}

/// B has telephone-event (RFC 4733): the digit is heard there, once.
#[test]
fn a_digit_by_info_becomes_an_event_of_b_s_media() {
    let setup = Setup::new(1)
        .a(Script::default()
            .does(When::Up(ms(2_000)), Act::InfoDigit { digit: '5', relay: true })
            .does(When::Up(ms(3_000)), Act::InfoDigit { digit: '#', relay: false })
            .hangs_up(ms(5_000)))
        .b(Script::answers(ms(1_000)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        3.000  A ─▶ X          INFO              dtmf-relay
        3.000  A ◀─ X          200 to INFO
        4.000  A ─▶ X          INFO              dtmf
        4.000  A ◀─ X          200 to INFO
        6.000  A ─▶ X          BYE
        6.000  A ◀─ X          200 to BYE
        6.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        6.000         X ◀─ B   200 to BYE
        6.000  CDR  hung_up by A, rang 0.960, talked 5.000, A 200, B 200
               A heard  hint tone 1.200, B 3.800
               B heard  hint tone 1.200, A 3.440
    "#]],
    );
}

#[test]
fn a_digit_by_info_stays_one_where_b_has_no_events() {
    let setup = without_events(
        Setup::new(1)
            .a(Script::default()
                .does(When::Up(ms(2_000)), Act::InfoDigit { digit: '*', relay: false })
                .hangs_up(ms(5_000)))
            .b(Script::answers(ms(1_000))),
        1,
    );
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        3.000  A ─▶ X          INFO              dtmf
        3.000  A ◀─ X          200 to INFO
        3.000         X ─▶ B   INFO              dtmf-relay
        3.000         X ◀─ B   200 to INFO
        6.000  A ─▶ X          BYE
        6.000  A ◀─ X          200 to BYE
        6.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        6.000         X ◀─ B   200 to BYE
        6.000  CDR  hung_up by A, rang 0.960, talked 5.000, A 200, B 200
               A heard  hint tone 1.200, B 3.800
               B heard  hint tone 1.200, A 3.800
    "#]],
    );
}

#[test]
fn an_event_becomes_info_where_b_has_no_events() {
    let setup = without_events(
        Setup::new(1)
            .a(Script::default().does(When::Up(ms(2_000)), Act::Press('7', ms(120))).hangs_up(ms(5_000)))
            .b(Script::answers(ms(1_000))),
        1,
    );
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        3.100         X ─▶ B   INFO              dtmf-relay
        3.100         X ◀─ B   200 to INFO
        6.000  A ─▶ X          BYE
        6.000  A ◀─ X          200 to BYE
        6.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        6.000         X ◀─ B   200 to BYE
        6.000  CDR  hung_up by A, rang 0.960, talked 5.000, A 200, B 200
               A heard  hint tone 1.200, B 3.800
               B heard  hint tone 1.200, A 3.640
    "#]],
    );
}

#[test]
fn events_pass_where_both_have_them() {
    let setup = Setup::new(1)
        .a(Script::default().does(When::Up(ms(2_000)), Act::Press('7', ms(120))).hangs_up(ms(5_000)))
        .b(Script::answers(ms(1_000)).does(When::Up(ms(3_000)), Act::Press('0', ms(200))));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        6.000  A ─▶ X          BYE
        6.000  A ◀─ X          200 to BYE
        6.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        6.000         X ◀─ B   200 to BYE
        6.000  CDR  hung_up by A, rang 0.960, talked 5.000, A 200, B 200
               A heard  hint tone 1.200, B 3.560
               B heard  hint tone 1.200, A 3.640
    "#]],
    );
}

/// REFER would bring a party to the other's number: refused, and the call goes on.
#[test]
fn a_transfer_is_refused_and_so_is_whatever_else_is_asked() {
    let setup = Setup::new(1)
        .mute()
        .a(Script::default()
            .does(When::Up(ms(2_000)), Act::sends("REFER", &[("Refer-To", "<sip:+8613000000000@10.1.0.10>")]))
            .does(When::Up(ms(2_100)), Act::sends("SUBSCRIBE", &[("Event", "dialog")]))
            .does(When::Up(ms(2_200)), Act::sends("NOTIFY", &[("Event", "refer")]))
            .does(When::Up(ms(2_300)), Act::sends("MESSAGE", &[]))
            .does(When::Up(ms(2_400)), Act::sends("OPTIONS", &[]))
            .does(When::Up(ms(2_500)), Act::sends("FROBNICATE", &[]))
            .hangs_up(ms(4_000)))
        .b(Script::answers(ms(1_000))
            .does(When::Up(ms(2_600)), Act::sends("REFER", &[("Refer-To", "<sip:+8613000000000@10.2.0.10>")])));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        3.000  A ─▶ X          REFER             Refer-To: <sip:+8613000000000@10.1.0.10>
        3.000  A ◀─ X          405 to REFER
        3.100  A ─▶ X          SUBSCRIBE         Event: dialog
        3.100  A ◀─ X          405 to SUBSCRIBE
        3.200  A ─▶ X          NOTIFY            Event: refer
        3.200  A ◀─ X          405 to NOTIFY
        3.300  A ─▶ X          MESSAGE
        3.300  A ◀─ X          405 to MESSAGE
        3.400  A ─▶ X          OPTIONS
        3.400  A ◀─ X          200 to OPTIONS
        3.500  A ─▶ X          FROBNICATE
        3.500  A ◀─ X          501 to FROBNICATE
        3.600         X ◀─ B   REFER             Refer-To: <sip:+8613000000000@10.2.0.10>
        3.600         X ─▶ B   405 to REFER
        5.000  A ─▶ X          BYE
        5.000  A ◀─ X          200 to BYE
        5.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        5.000         X ◀─ B   200 to BYE
        5.000  CDR  hung_up by A, rang 0.960, talked 4.000, A 200, B 200
               A heard  hint tone 1.200
               B heard  hint tone 1.200
    "#]],
    );
}

/// multipart/mixed (RFC 3372): the SDP is read, nothing else goes anywhere.
#[test]
fn isup_beside_the_sdp_is_dropped() {
    let setup = {
        let mut setup = Setup::new(1).mute().a(Script::default().hangs_up(ms(2_000))).b(Script::answers(ms(1_000)));
        setup.phones[0].isup = Some(b"\x01\x00\x60\x03kingfisher-A".to_vec());
        setup
    };
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X (no sdp) From: A, multipart/mixed
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        3.000  A ─▶ X          BYE
        3.000  A ◀─ X          200 to BYE
        3.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        3.000         X ◀─ B   200 to BYE
        3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
               A heard  hint tone 1.200
               B heard  hint tone 1.200
    "#]],
    );
}

/// The others are refused with port 0, in their places (RFC 3264 §6).
#[test]
fn of_several_streams_the_audio_is_kept() {
    let setup = {
        let mut setup = Setup::new(1).mute().a(Script::default().hangs_up(ms(2_000))).b(Script::answers(ms(1_000)));
        setup.phones[0].streams_before = vec!["m=video 41000 RTP/AVP 96".to_owned()];
        setup.phones[0].streams_after = vec!["m=application 41002 UDP/BFCP *".to_owned()];
        setup
    };
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        3.000  A ─▶ X          BYE
        3.000  A ◀─ X          200 to BYE
        3.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        3.000         X ◀─ B   200 to BYE
        3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
               A heard  hint tone 1.200
               B heard  hint tone 1.200
    "#]],
    );
}

/// A re-INVITE without SDP: our offer says the refused streams again, in their places (RFC 3264 §8).
#[test]
fn an_offer_of_ours_keeps_the_streams_of_the_dialog() {
    let setup = {
        let mut setup = Setup::new(1)
            .mute()
            .a(Script::default().does(When::Up(ms(1_500)), Act::Reinvite(Offer::None)).hangs_up(ms(3_000)))
            .b(Script::answers(ms(1_000)));
        setup.phones[0].streams_before = vec!["m=video 41000 RTP/AVP 96".to_owned()];
        setup
    };
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        2.500  A ─▶ X          re-INVITE (no sdp)
        2.500  A ◀─ X          200 (sdp)
        2.500  A ─▶ X          ACK (sdp)
        4.000  A ─▶ X          BYE
        4.000  A ◀─ X          200 to BYE
        4.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        4.000         X ◀─ B   200 to BYE
        4.000  CDR  hung_up by A, rang 0.960, talked 3.000, A 200, B 200
               A heard  hint tone 1.200
               B heard  hint tone 1.200
    "#]],
    );
}

/// 302 to a third party: nobody is called whom no binding knows.
#[test]
fn a_redirection_elsewhere_is_a_refusal() {
    let setup = Setup::new(1).mute().b(Script::redirects(
        ms(200),
        302,
        &["sip:+8613000000000@10.2.0.1", "sip:+8613933334444@192.0.2.9"],
    ));
    story(
        setup,
        Cause::Unreachable,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.200         X ◀─ B   302
        0.200         X ─▶ B   ACK
        0.200  A ◀─ X          480               Reason: Q.850;cause=20
        0.200  A ─▶ X          ACK
        0.200  CDR  unreachable by B, A 480, B 302
    "#]],
    );
}
