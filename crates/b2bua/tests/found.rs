//! What the program fuzzer (`crates/fuzz`, target `calls`) has found, each as the shortest ladder that shows it.

mod story;

use std::net::SocketAddr;

use b2bua::outcome::Cause;
use story::story;
use testbed::{Fork, Link, PhoneEvent, Reliability, Script, Setup, expect, ms};

fn late(ms: u64) -> Link {
    Link { latency: std::time::Duration::from_millis(ms), ..Link::default() }
}

/// A 2xx need not wait for the PRACK of a response without SDP; the PRACK was under way, and is no stranger's (RFC 3262 §3). It was
/// answered 481.
#[test]
fn a_prack_that_comes_after_the_200_is_answered() {
    let setup = Setup::new(1)
        .mute()
        .link(late(50))
        .a(Script::default().reliably(Reliability::Supported).hangs_up(ms(2_000)))
        .b(Script::answers(ms(60)).rings_after(ms(0)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
            0.050  A ─▶ X          INVITE X          From: A
            0.050  A ◀─ X          100
            0.050         X ─▶ B   INVITE B          From: X
            0.150         X ◀─ B   180
            0.150  A ◀─ X          180               reliable
            0.210         X ◀─ B   200 (sdp)
            0.210         X ─▶ B   ACK
            0.210  A ◀─ X          200 (sdp)
            0.250  A ─▶ X          PRACK
            0.250  A ◀─ X          200 to PRACK
            0.310                                    ♪ hint tone to both
            0.310  A ─▶ X          ACK
            1.510                                    ♪ joined
            2.310  A ─▶ X          BYE
            2.310  A ◀─ X          200 to BYE
            2.310         X ─▶ B   BYE               Reason: Q.850;cause=16
            2.310  CDR  hung_up by A, rang 0.060, talked 2.100, A 200, B 200
            2.410         X ◀─ B   200 to BYE
                   A heard  hint tone 1.200
                   B heard  hint tone 1.200
        "#]],
    );
}

/// B has answered, but A has not acknowledged the announcement's description and cannot be told; then it gives up. The CDR said that
/// A had been answered.
#[test]
fn a_caller_who_gives_up_before_it_can_be_told_of_the_answer_was_not_answered() {
    let caller = Script { never_pracks: true, ..Script::default().reliably(Reliability::Supported).cancels(ms(2_000)) };
    let setup = Setup::new(1).mute().announced().a(caller).b(Script::answers(ms(1_000)));
    let world = story(
        setup,
        Cause::CancelledAfterRinging,
        &expect![[r#"
            0.000  A ─▶ X          INVITE X          From: A
            0.000  A ◀─ X          100
            0.000         X ─▶ B   INVITE B          From: X
            0.040         X ◀─ B   180
            0.040  A ◀─ X          183 (sdp)         reliable  ♪ announcement to A, then ringback
            0.540  A ◀─ X          183 (sdp)         reliable
            1.000         X ◀─ B   200 (sdp)
            1.000         X ─▶ B   ACK               ♪ silence to A
            1.540  A ◀─ X          183 (sdp)         reliable
            2.000  A ─▶ X          CANCEL
            2.000  A ◀─ X          200 to CANCEL
            2.000  A ◀─ X          487               Reason: Q.850;cause=16
            2.000         X ─▶ B   BYE               Reason: Q.850;cause=16
            2.000  A ─▶ X          ACK
            2.000         X ◀─ B   200 to BYE
            2.000  CDR  cancelled_after_ringing by A, rang 0.960, talked 1.000, A 487, B 200
                   A heard  announcement 0.980
        "#]],
    );
    let cdr = &world.cdrs()[0];
    assert_eq!((cdr.status_a, cdr.status_b, cdr.answered), (487, 200, Some(ms(1_000))));
}

/// The same, and B hangs up: A, who must be told something, hears that nobody is there. It was told 400.
#[test]
fn a_call_that_b_ends_before_a_can_be_told_of_the_answer_has_reached_nobody() {
    let caller = Script { never_pracks: true, ..Script::default().reliably(Reliability::Supported) };
    let setup = Setup::new(1).mute().announced().a(caller).b(Script::answers(ms(1_000)).hangs_up(ms(500)));
    let world = story(
        setup,
        Cause::HungUp,
        &expect![[r#"
            0.000  A ─▶ X          INVITE X          From: A
            0.000  A ◀─ X          100
            0.000         X ─▶ B   INVITE B          From: X
            0.040         X ◀─ B   180
            0.040  A ◀─ X          183 (sdp)         reliable  ♪ announcement to A, then ringback
            0.540  A ◀─ X          183 (sdp)         reliable
            1.000         X ◀─ B   200 (sdp)
            1.000         X ─▶ B   ACK               ♪ silence to A
            1.500         X ◀─ B   BYE
            1.500         X ─▶ B   200 to BYE
            1.500  A ◀─ X          480               Reason: Q.850;cause=16
            1.500  A ─▶ X          ACK
            1.500  CDR  hung_up by B, rang 0.960, talked 0.500, A 480, B 200
                   A heard  announcement 0.980
        "#]],
    );
    assert_eq!(world.cdrs()[0].status_a, 480);
}

/// Two branches ring reliably, both answer: the BYE to the second counts on from its PRACK (RFC 3261 §12.2.1.1). It had the PRACK's
/// own CSeq, which the branch may take for an old request, and stay in a call with nobody.
#[test]
fn a_second_answer_is_ended_by_a_bye_that_counts_on_from_the_prack() {
    let branch = Fork::rings(SocketAddr::from(([10, 2, 0, 13], 45_000)), ms(60)).answers(ms(500));
    let called = Script::answers(ms(500)).reliably(Reliability::Preferred).forks(branch);
    let setup = Setup::new(1).mute().a(Script::default().hangs_up(ms(1_000))).b(called);
    let world = story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180               reliable
        0.040         X ─▶ B   PRACK
        0.040  A ◀─ X          180
        0.040         X ◀─ B   200 to PRACK
        0.060         X ◀─ B   180               reliable
        0.060         X ─▶ B   PRACK
        0.060         X ◀─ B   200 to PRACK
        0.500         X ◀─ B   200 (sdp)
        0.500         X ─▶ B   ACK
        0.500  A ◀─ X          200 (sdp)
        0.500         X ◀─ B   200 (sdp)
        0.500         X ─▶ B   ACK
        0.500         X ─▶ B   BYE               Reason: SIP;cause=200;text="Call completed elsewhere"  ♪ hint tone to both
        0.500  A ─▶ X          ACK
        0.500         X ◀─ B   200 to BYE
        1.500  A ─▶ X          BYE
        1.500  A ◀─ X          200 to BYE
        1.500         X ─▶ B   BYE               Reason: Q.850;cause=16
        1.500         X ◀─ B   200 to BYE
        1.500  CDR  hung_up by A, rang 0.460, talked 1.000, A 200, B 200
               A heard  hint tone 1.020
               B heard  hint tone 1.020
    "#]],
    );
    assert!(world.events().iter().any(|(_, _, event)| *event == PhoneEvent::BranchReleased), "{}", world.ladder());
}

/// The 200 crosses our CANCEL after a PRACK: likewise.
#[test]
fn a_200_that_crosses_the_cancel_is_ended_by_a_bye_that_counts_on_from_the_prack() {
    let setup = Setup::new(1)
        .mute()
        .link(late(50))
        .a(Script::default().cancels(ms(900)))
        .b(Script::answers(ms(860)).reliably(Reliability::Preferred));
    story(
        setup,
        Cause::CancelledAfterRinging,
        &expect![[r#"
        0.050  A ─▶ X          INVITE X          From: A
        0.050  A ◀─ X          100
        0.050         X ─▶ B   INVITE B          From: X
        0.190         X ◀─ B   180               reliable
        0.190         X ─▶ B   PRACK
        0.190  A ◀─ X          180
        0.290         X ◀─ B   200 to PRACK
        0.950  A ─▶ X          CANCEL
        0.950  A ◀─ X          200 to CANCEL
        0.950  A ◀─ X          487               Reason: Q.850;cause=16
        0.950         X ─▶ B   CANCEL            Reason: Q.850;cause=16
        0.950  CDR  cancelled_after_ringing by A, rang 0.760, A 487
        1.010         X ◀─ B   200 (sdp)
        1.010         X ─▶ B   ACK
        1.010         X ─▶ B   BYE               Reason: Q.850;cause=16
        1.050  A ─▶ X          ACK
        1.050         X ◀─ B   200 to CANCEL
        1.110         X ◀─ B   200 to BYE
    "#]],
    );
}

/// A reliable 199 (RFC 6228 §4) wants its PRACK like any other; without, the far side gives up the whole call after 32 s.
#[test]
fn a_reliable_199_is_acknowledged() {
    let branch = Fork::rings(SocketAddr::from(([10, 2, 0, 13], 45_000)), ms(60)).ends(ms(200));
    let called = Script::answers(ms(3_000)).reliably(Reliability::Preferred).forks(branch);
    let setup = Setup::new(1).mute().a(Script::default().hangs_up(ms(1_000))).b(called);
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180               reliable
        0.040         X ─▶ B   PRACK
        0.040  A ◀─ X          180
        0.040         X ◀─ B   200 to PRACK
        0.060         X ◀─ B   180               reliable
        0.060         X ─▶ B   PRACK
        0.060         X ◀─ B   200 to PRACK
        0.200         X ◀─ B   199               reliable
        0.200         X ─▶ B   PRACK
        0.200         X ◀─ B   200 to PRACK
        3.000         X ◀─ B   200 (sdp)
        3.000         X ─▶ B   ACK
        3.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        3.000  A ─▶ X          ACK
        4.000  A ─▶ X          BYE
        4.000  A ◀─ X          200 to BYE
        4.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        4.000         X ◀─ B   200 to BYE
        4.000  CDR  hung_up by A, rang 2.960, talked 1.000, A 200, B 200
               A heard  hint tone 1.020
               B heard  hint tone 1.020
    "#]],
    );
}
