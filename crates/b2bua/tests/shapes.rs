//! Call shapes that carriers send besides the plain call (RFC 3262, 3311, 4028, 6228): one ladder each, checked for leftovers and
//! scanned for anything that tells one party of the other.

mod story;

use b2bua::outcome::Cause;
use b2bua::settings::{SessionTimerMode, SessionTimers};
use story::story;
use testbed::{
    Act, Codec, Direction, Link, Offer, Refresher, Reliability, Script, SessionTimer, Setup, When, expect, ms,
};

/// Both trunks ask for sessions of so many seconds.
fn requesting(mut setup: Setup, expires: u32) -> Setup {
    for trunk in &mut setup.settings.trunks {
        trunk.session_timers = SessionTimers { mode: SessionTimerMode::Request, expires, min_se: 90 };
    }
    setup
}

/// Both trunks take no sessions shorter than this.
fn least(mut setup: Setup, min_se: u32) -> Setup {
    for trunk in &mut setup.settings.trunks {
        trunk.session_timers.min_se = min_se;
    }
    setup
}

/// RFC 3262: a caller that supports 100rel acknowledges our ringing; B's side does without.
#[test]
fn reliable_ringing_is_acknowledged() {
    let setup = Setup::new(1)
        .mute()
        .a(Script::default().reliably(Reliability::Supported).hangs_up(ms(2_000)))
        .b(Script::answers(ms(1_000)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180               reliable
        0.040  A ─▶ X          PRACK
        0.040  A ◀─ X          200 to PRACK
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

#[test]
fn a_caller_that_requires_reliable_ringing_gets_it() {
    let setup = Setup::new(1)
        .mute()
        .a(Script::default().reliably(Reliability::Required).hangs_up(ms(2_000)))
        .b(Script::answers(ms(1_000)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A, Require: 100rel
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180               reliable
        0.040  A ─▶ X          PRACK
        0.040  A ◀─ X          200 to PRACK
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

/// B's reliable 180 and 183 get their PRACKs; its answer in the 183 stands.
#[test]
fn a_callee_rings_reliably() {
    let setup = Setup::new(1)
        .mute()
        .a(Script::default().hangs_up(ms(2_000)))
        .b(Script::answers(ms(1_000)).reliably(Reliability::Preferred).early_media(ms(500)));
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
            0.500         X ◀─ B   183 (sdp)         reliable
            0.500         X ─▶ B   PRACK
            0.500  A ◀─ X          183 (sdp)         ♪ A hears the other
            0.500         X ◀─ B   200 to PRACK
            1.000         X ◀─ B   200
            1.000         X ─▶ B   ACK
            1.000  A ◀─ X          200 (sdp)         ♪ silence to A; hint tone to both
            1.000  A ─▶ X          ACK
            2.200                                    ♪ joined
            3.000  A ─▶ X          BYE
            3.000  A ◀─ X          200 to BYE
            3.000         X ─▶ B   BYE               Reason: Q.850;cause=16
            3.000         X ◀─ B   200 to BYE
            3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
                   A heard  B's network 0.500, hint tone 1.200
                   B heard  hint tone 1.200
        "#]],
    );
}

/// A's PRACK for the 183 with SDP is slow: B's answer reaches A only after it (RFC 3262 §3).
#[test]
fn an_answer_waits_for_the_acknowledgement_of_early_media() {
    let setup = (Setup::new(1)
        .mute()
        .announced()
        .a(Script::default().reliably(Reliability::Supported).hangs_up(ms(2_000)))
        .b(Script::answers(ms(100))))
    .link(Link { latency: ms(200), ..Link::default() });
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
            0.200  A ─▶ X          INVITE X          From: A
            0.200  A ◀─ X          100
            0.200         X ─▶ B   INVITE B          From: X
            0.640         X ◀─ B   180
            0.640  A ◀─ X          183 (sdp)         reliable  ♪ announcement to A, then ringback
            0.700         X ◀─ B   200 (sdp)
            0.700         X ─▶ B   ACK               ♪ silence to A
            1.040  A ─▶ X          PRACK
            1.040  A ◀─ X          200 to PRACK
            1.040  A ◀─ X          200
            1.440                                    ♪ hint tone to both
            1.440  A ─▶ X          ACK
            2.640                                    ♪ joined
            3.440  A ─▶ X          BYE
            3.440  A ◀─ X          200 to BYE
            3.440         X ─▶ B   BYE               Reason: Q.850;cause=16
            3.440  CDR  hung_up by A, rang 0.060, talked 2.740, A 200, B 200
            3.840         X ◀─ B   200 to BYE
                   A heard  announcement 0.080, hint tone 1.200
                   B heard  hint tone 1.200
        "#]],
    );
}

/// No SDP in the INVITE: our offer goes out in a reliable 183, the answer comes with the PRACK.
#[test]
fn a_caller_without_offer_hears_the_announcement_by_our_offer() {
    let setup = Setup::new(1)
        .announced()
        .a(Script::default().offers_late().reliably(Reliability::Supported).hangs_up(ms(4_000)))
        .b(Script::answers(ms(3_000)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
            0.000  A ─▶ X          INVITE X (no sdp) From: A
            0.000  A ◀─ X          100
            0.000         X ─▶ B   INVITE B          From: X
            0.040         X ◀─ B   180
            0.040  A ◀─ X          183 (sdp)         reliable
            0.040  A ─▶ X          PRACK (sdp)
            0.040  A ◀─ X          200 to PRACK      ♪ announcement to A, then ringback
            3.000         X ◀─ B   200 (sdp)
            3.000         X ─▶ B   ACK
            3.000  A ◀─ X          200               ♪ silence to A; hint tone to both
            3.000  A ─▶ X          ACK
            4.200                                    ♪ joined
            7.000  A ─▶ X          BYE
            7.000  A ◀─ X          200 to BYE
            7.000         X ─▶ B   BYE               Reason: Q.850;cause=16
            7.000         X ◀─ B   200 to BYE
            7.000  CDR  hung_up by A, rang 2.960, talked 4.000, A 200, B 200
                   A heard  announcement 2.000, ringback 0.980, hint tone 1.200, B 2.800
                   B heard  hint tone 1.200, A 2.800
        "#]],
    );
}

#[test]
fn a_caller_without_offer_hears_early_media_of_b() {
    let setup = Setup::new(1)
        .a(Script::default().offers_late().reliably(Reliability::Supported).hangs_up(ms(4_000)))
        .b(Script::answers(ms(3_000)).early_media(ms(500)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
            0.000  A ─▶ X          INVITE X (no sdp) From: A
            0.000  A ◀─ X          100
            0.000         X ─▶ B   INVITE B          From: X
            0.040         X ◀─ B   180
            0.040  A ◀─ X          180
            0.500         X ◀─ B   183 (sdp)
            0.500  A ◀─ X          183 (sdp)         reliable
            0.500  A ─▶ X          PRACK (sdp)
            0.500  A ◀─ X          200 to PRACK      ♪ A hears the other
            3.000         X ◀─ B   200 (sdp)
            3.000         X ─▶ B   ACK
            3.000  A ◀─ X          200               ♪ silence to A; hint tone to both
            3.000  A ─▶ X          ACK
            4.200                                    ♪ joined
            7.000  A ─▶ X          BYE
            7.000  A ◀─ X          200 to BYE
            7.000         X ─▶ B   BYE               Reason: Q.850;cause=16
            7.000         X ◀─ B   200 to BYE
            7.000  CDR  hung_up by A, rang 2.960, talked 4.000, A 200, B 200
                   A heard  B's network 2.480, hint tone 1.200, B 2.800
                   B heard  hint tone 1.200, A 2.800
        "#]],
    );
}

#[test]
fn a_caller_without_offer_that_requires_reliable_ringing_gets_our_offer_with_it() {
    let setup = Setup::new(1)
        .a(Script::default().offers_late().reliably(Reliability::Required).hangs_up(ms(2_000)))
        .b(Script::answers(ms(1_000)).early_media(ms(500)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
            0.000  A ─▶ X          INVITE X (no sdp) From: A, Require: 100rel
            0.000  A ◀─ X          100
            0.000         X ─▶ B   INVITE B          From: X
            0.040         X ◀─ B   180
            0.040  A ◀─ X          180 (sdp)         reliable
            0.040  A ─▶ X          PRACK (sdp)
            0.040  A ◀─ X          200 to PRACK
            0.500         X ◀─ B   183 (sdp)
            0.500  A ◀─ X          183               reliable
            0.500  A ─▶ X          PRACK
            0.500  A ◀─ X          200 to PRACK      ♪ A hears the other
            1.000         X ◀─ B   200 (sdp)
            1.000         X ─▶ B   ACK
            1.000  A ◀─ X          200               ♪ silence to A; hint tone to both
            1.000  A ─▶ X          ACK
            2.200                                    ♪ joined
            3.000  A ─▶ X          BYE
            3.000  A ◀─ X          200 to BYE
            3.000         X ─▶ B   BYE               Reason: Q.850;cause=16
            3.000         X ◀─ B   200 to BYE
            3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
                   A heard  B's network 0.500, hint tone 1.200, B 0.800
                   B heard  hint tone 1.200, A 0.800
        "#]],
    );
}

/// RFC 3262 §3: 5xx after 64·T1.
#[test]
fn ringing_that_is_never_acknowledged_ends_the_call() {
    let setup = Setup::new(1)
        .mute()
        .a(Script { never_pracks: true, ..Script::default().reliably(Reliability::Supported) })
        .b(Script::rings());
    story(
        setup,
        Cause::NoPrack,
        &expect![[r#"
         0.000  A ─▶ X          INVITE X          From: A
         0.000  A ◀─ X          100
         0.000         X ─▶ B   INVITE B          From: X
         0.040         X ◀─ B   180
         0.040  A ◀─ X          180               reliable
         0.540  A ◀─ X          180               reliable
         1.540  A ◀─ X          180               reliable
         3.540  A ◀─ X          180               reliable
         7.540  A ◀─ X          180               reliable
        15.540  A ◀─ X          180               reliable
        31.540  A ◀─ X          180               reliable
        32.040  A ◀─ X          504               Reason: Q.850;cause=102
        32.040         X ─▶ B   CANCEL            Reason: Q.850;cause=102
        32.040  A ─▶ X          ACK
        32.040         X ◀─ B   200 to CANCEL
        32.040         X ◀─ B   487
        32.040         X ─▶ B   ACK
        32.040  CDR  no_prack, rang 32.000, A 504
    "#]],
    );
}

#[test]
fn a_new_offer_comes_with_a_prack() {
    let setup = Setup::new(1)
        .mute()
        .announced()
        .a(Script { prack_offer: Some(Offer::Moved), ..Script::default().reliably(Reliability::Supported) }
            .hangs_up(ms(2_000)))
        .b(Script::answers(ms(1_000)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
            0.000  A ─▶ X          INVITE X          From: A
            0.000  A ◀─ X          100
            0.000         X ─▶ B   INVITE B          From: X
            0.040         X ◀─ B   180
            0.040  A ◀─ X          183 (sdp)         reliable
            0.040  A ─▶ X          PRACK (sdp)
            0.040  A ◀─ X          200 to PRACK (sdp) ♪ announcement to A, then ringback
            1.000         X ◀─ B   200 (sdp)
            1.000         X ─▶ B   ACK
            1.000  A ◀─ X          200               ♪ silence to A; hint tone to both
            1.000  A ─▶ X          ACK
            2.200                                    ♪ joined
            3.000  A ─▶ X          BYE
            3.000  A ◀─ X          200 to BYE
            3.000         X ─▶ B   BYE               Reason: Q.850;cause=16
            3.000         X ◀─ B   200 to BYE
            3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
                   A heard  announcement 0.980, hint tone 1.200
                   B heard  hint tone 1.200
        "#]],
    );
}

/// 181 and 182 go to A as they are, without a word of whom to; 183 without SDP says nothing new.
#[test]
fn forwarding_and_queueing_are_told() {
    let setup = Setup::new(1).mute().a(Script::default().hangs_up(ms(2_000))).b(Script::answers(ms(1_000))
        .provisional(ms(10), 181)
        .provisional(ms(20), 182)
        .provisional(ms(30), 183)
        .provisional(ms(600), 199));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.010         X ◀─ B   181
        0.010  A ◀─ X          181
        0.020         X ◀─ B   182
        0.020  A ◀─ X          182
        0.030         X ◀─ B   183
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        0.600         X ◀─ B   199
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

/// UPDATE in the early dialog (RFC 3311), once the answer in the reliable 183 has been acknowledged.
#[test]
fn a_updates_its_early_media() {
    let setup = Setup::new(1)
        .mute()
        .announced()
        .a(Script::default()
            .reliably(Reliability::Supported)
            .does(When::Early(ms(200)), Act::Update(Offer::Direction(Direction::SendOnly)))
            .hangs_up(ms(2_000)))
        .b(Script::answers(ms(1_000)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          183 (sdp)         reliable
        0.040  A ─▶ X          PRACK
        0.040  A ◀─ X          200 to PRACK      ♪ announcement to A, then ringback
        0.240  A ─▶ X          UPDATE (sdp, sendonly)
        0.240  A ◀─ X          200 to UPDATE (sdp, recvonly)
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200               ♪ silence to A; hint tone to B
        1.000  A ─▶ X          ACK
        3.000  A ─▶ X          BYE
        3.000  A ◀─ X          200 to BYE
        3.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        3.000         X ◀─ B   200 to BYE
        3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
               A heard  announcement 0.220
               B heard  hint tone 1.200
    "#]],
    );
}

#[test]
fn b_updates_its_early_media() {
    let setup = Setup::new(1).mute().a(Script::default().hangs_up(ms(2_000))).b(Script::answers(ms(1_000))
        .reliably(Reliability::Preferred)
        .early_media(ms(300))
        .does(When::Early(ms(500)), Act::Update(Offer::Moved)));
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
            0.300         X ◀─ B   183 (sdp)         reliable
            0.300         X ─▶ B   PRACK
            0.300  A ◀─ X          183 (sdp)         ♪ A hears the other
            0.300         X ◀─ B   200 to PRACK
            0.540         X ◀─ B   UPDATE (sdp)
            0.540         X ─▶ B   200 to UPDATE (sdp)
            1.000         X ◀─ B   200
            1.000         X ─▶ B   ACK
            1.000  A ◀─ X          200 (sdp)         ♪ silence to A; hint tone to both
            1.000  A ─▶ X          ACK
            2.200                                    ♪ joined
            3.000  A ─▶ X          BYE
            3.000  A ◀─ X          200 to BYE
            3.000         X ─▶ B   BYE               Reason: Q.850;cause=16
            3.000         X ◀─ B   200 to BYE
            3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
                   A heard  B's network 0.700, hint tone 1.200
                   B heard  hint tone 1.200
        "#]],
    );
}

#[test]
fn an_update_before_the_answer_is_settled_must_wait() {
    let setup = Setup::new(1)
        .mute()
        .announced()
        .a(Script::default().does(When::Early(ms(100)), Act::Update(Offer::Moved)).hangs_up(ms(2_000)))
        .b(Script::answers(ms(1_000)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
            0.000  A ─▶ X          INVITE X          From: A
            0.000  A ◀─ X          100
            0.000         X ─▶ B   INVITE B          From: X
            0.040         X ◀─ B   180
            0.040  A ◀─ X          183 (sdp)         ♪ announcement to A, then ringback
            1.000         X ◀─ B   200 (sdp)
            1.000         X ─▶ B   ACK
            1.000  A ◀─ X          200 (sdp)         ♪ silence to A; hint tone to both
            1.000  A ─▶ X          ACK
            1.040  A ─▶ X          UPDATE (sdp)
            1.040  A ◀─ X          200 to UPDATE (sdp)
            2.200                                    ♪ joined
            3.000  A ─▶ X          BYE
            3.000  A ◀─ X          200 to BYE
            3.000         X ─▶ B   BYE               Reason: Q.850;cause=16
            3.000         X ◀─ B   200 to BYE
            3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
                   A heard  announcement 0.980, hint tone 1.200
                   B heard  hint tone 1.200
        "#]],
    );
}

#[test]
fn a_holds_and_resumes_by_update() {
    let setup = Setup::new(1)
        .mute()
        .a(Script::default()
            .does(When::Up(ms(1_500)), Act::Update(Offer::Direction(Direction::SendOnly)))
            .does(When::Up(ms(2_500)), Act::Update(Offer::Direction(Direction::SendRecv)))
            .hangs_up(ms(4_000)))
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
        2.500  A ─▶ X          UPDATE (sdp, sendonly)
        2.500  A ◀─ X          200 to UPDATE (sdp, recvonly)
        3.500  A ─▶ X          UPDATE (sdp)
        3.500  A ◀─ X          200 to UPDATE (sdp)
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

#[test]
fn b_moves_by_re_invite_and_changes_its_codec() {
    let setup = Setup::new(1).a(Script::default().hangs_up(ms(5_000))).b(Script::answers(ms(1_000))
        .does(When::Up(ms(2_000)), Act::Reinvite(Offer::Moved))
        .does(When::Up(ms(3_000)), Act::Reinvite(Offer::Codecs(vec![Codec::Pcmu]))));
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
        3.000         X ◀─ B   re-INVITE
        3.000         X ─▶ B   200 (sdp)
        3.000         X ◀─ B   ACK
        4.000         X ◀─ B   re-INVITE
        4.000         X ─▶ B   200 (sdp)
        4.000         X ◀─ B   ACK
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

/// A re-INVITE without SDP: our offer goes into the 200, its answer comes with the ACK.
#[test]
fn b_asks_for_an_offer() {
    let setup = Setup::new(1)
        .a(Script::default().hangs_up(ms(5_000)))
        .b(Script::answers(ms(1_000)).does(When::Up(ms(2_000)), Act::Reinvite(Offer::None)));
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
        3.000         X ◀─ B   re-INVITE (no sdp)
        3.000         X ─▶ B   200 (sdp)
        3.000         X ◀─ B   ACK (sdp)
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
fn a_fax_is_refused_and_the_call_goes_on() {
    let setup = Setup::new(1)
        .a(Script::default().hangs_up(ms(5_000)))
        .b(Script::answers(ms(1_000)).does(When::Up(ms(2_000)), Act::Reinvite(Offer::Fax)));
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
        3.000         X ◀─ B   re-INVITE
        3.000         X ─▶ B   488
        3.000         X ◀─ B   ACK
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

/// Both must have heard it before they are joined and recorded (product rule C4).
#[test]
fn a_party_on_hold_hears_the_tone_when_it_resumes() {
    let setup = Setup::new(1).recorded().a(Script::default().hangs_up(ms(9_000))).b(Script::answers(ms(1_000))
        .does(When::Up(ms(500)), Act::Reinvite(Offer::Direction(Direction::SendOnly)))
        .does(When::Up(ms(3_000)), Act::Reinvite(Offer::Direction(Direction::SendRecv))));
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
         1.500         X ◀─ B   re-INVITE (sendonly)
         1.500         X ─▶ B   200 (sdp, recvonly)
         1.500         X ◀─ B   ACK
         4.000         X ◀─ B   re-INVITE
         4.000         X ─▶ B   200 (sdp)         ♪ hint tone to B
         4.000         X ◀─ B   ACK
         5.200                                    ♪ joined; recording begins
        10.000  A ─▶ X          BYE
        10.000  A ◀─ X          200 to BYE
        10.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        10.000         X ◀─ B   200 to BYE
        10.000  CDR  hung_up by A, rang 0.960, talked 9.000, A 200, B 200, recorded 4.800
                A heard  hint tone 1.200, B 4.800
                B heard  hint tone 1.720, A 4.800
    "#]],
    );
}

/// Each leg answers for itself: there is nothing to collide.
#[test]
fn both_hold_at_once() {
    let setup = Setup::new(1)
        .mute()
        .a(Script::default()
            .does(When::Up(ms(2_000)), Act::Reinvite(Offer::Direction(Direction::SendOnly)))
            .hangs_up(ms(5_000)))
        .b(Script::answers(ms(1_000)).does(When::Up(ms(2_000)), Act::Reinvite(Offer::Direction(Direction::Inactive))));
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
        3.000  A ─▶ X          re-INVITE (sendonly)
        3.000  A ◀─ X          200 (sdp, recvonly)
        3.000         X ◀─ B   re-INVITE (inactive)
        3.000         X ─▶ B   200 (sdp, inactive)
        3.000  A ─▶ X          ACK
        3.000         X ◀─ B   ACK
        6.000  A ─▶ X          BYE
        6.000  A ◀─ X          200 to BYE
        6.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        6.000         X ◀─ B   200 to BYE
        6.000  CDR  hung_up by A, rang 0.960, talked 5.000, A 200, B 200
               A heard  hint tone 1.200
               B heard  hint tone 1.200
    "#]],
    );
}

/// RFC 4028: A asks for 120 s and refreshes them by UPDATE.
#[test]
fn a_session_is_refreshed_by_the_caller() {
    let setup = Setup::new(1)
        .mute()
        .a(Script::default().timed(SessionTimer::new(120)).hangs_up(ms(200_000)))
        .b(Script::answers(ms(1_000)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
          0.000  A ─▶ X          INVITE X          From: A, Session-Expires: 120
          0.000  A ◀─ X          100
          0.000         X ─▶ B   INVITE B          From: X
          0.040         X ◀─ B   180
          0.040  A ◀─ X          180
          1.000         X ◀─ B   200 (sdp)
          1.000         X ─▶ B   ACK
          1.000  A ◀─ X          200 (sdp)         Session-Expires: 120;refresher=uac  ♪ hint tone to both
          1.000  A ─▶ X          ACK
          2.200                                    ♪ joined
         61.000  A ─▶ X          UPDATE            Session-Expires: 120;refresher=uac
         61.000  A ◀─ X          200 to UPDATE     Session-Expires: 120;refresher=uac
        121.000  A ─▶ X          UPDATE            Session-Expires: 120;refresher=uac
        121.000  A ◀─ X          200 to UPDATE     Session-Expires: 120;refresher=uac
        181.000  A ─▶ X          UPDATE            Session-Expires: 120;refresher=uac
        181.000  A ◀─ X          200 to UPDATE     Session-Expires: 120;refresher=uac
        201.000  A ─▶ X          BYE
        201.000  A ◀─ X          200 to BYE
        201.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        201.000         X ◀─ B   200 to BYE
        201.000  CDR  hung_up by A, rang 0.960, talked 200.000, A 200, B 200
                 A heard  hint tone 1.200
                 B heard  hint tone 1.200
    "#]],
    );
}

/// A leaves it to us; by UPDATE, since A takes it.
#[test]
fn a_session_is_refreshed_by_us() {
    let setup = Setup::new(1)
        .mute()
        .a(Script::default().timed(SessionTimer::new(120).refresher(Refresher::Them)).hangs_up(ms(200_000)))
        .b(Script::answers(ms(1_000)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
          0.000  A ─▶ X          INVITE X          From: A, Session-Expires: 120;refresher=uas
          0.000  A ◀─ X          100
          0.000         X ─▶ B   INVITE B          From: X
          0.040         X ◀─ B   180
          0.040  A ◀─ X          180
          1.000         X ◀─ B   200 (sdp)
          1.000         X ─▶ B   ACK
          1.000  A ◀─ X          200 (sdp)         Session-Expires: 120;refresher=uas  ♪ hint tone to both
          1.000  A ─▶ X          ACK
          2.200                                    ♪ joined
         61.000  A ◀─ X          UPDATE            Session-Expires: 120;refresher=uac, Min-SE: 90
         61.000  A ─▶ X          200 to UPDATE     Session-Expires: 120;refresher=uac
        121.000  A ◀─ X          UPDATE            Session-Expires: 120;refresher=uac, Min-SE: 90
        121.000  A ─▶ X          200 to UPDATE     Session-Expires: 120;refresher=uac
        181.000  A ◀─ X          UPDATE            Session-Expires: 120;refresher=uac, Min-SE: 90
        181.000  A ─▶ X          200 to UPDATE     Session-Expires: 120;refresher=uac
        201.000  A ─▶ X          BYE
        201.000  A ◀─ X          200 to BYE
        201.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        201.000         X ◀─ B   200 to BYE
        201.000  CDR  hung_up by A, rang 0.960, talked 200.000, A 200, B 200
                 A heard  hint tone 1.200
                 B heard  hint tone 1.200
    "#]],
    );
}

#[test]
fn a_session_is_refreshed_by_us_with_a_re_invite_where_there_is_no_update() {
    let setup = Setup::new(1)
        .mute()
        .a(Script::default()
            .timed(SessionTimer::new(120).refresher(Refresher::Them))
            .lacks("UPDATE")
            .hangs_up(ms(200_000)))
        .b(Script::answers(ms(1_000)));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
          0.000  A ─▶ X          INVITE X          From: A, Session-Expires: 120;refresher=uas
          0.000  A ◀─ X          100
          0.000         X ─▶ B   INVITE B          From: X
          0.040         X ◀─ B   180
          0.040  A ◀─ X          180
          1.000         X ◀─ B   200 (sdp)
          1.000         X ─▶ B   ACK
          1.000  A ◀─ X          200 (sdp)         Session-Expires: 120;refresher=uas  ♪ hint tone to both
          1.000  A ─▶ X          ACK
          2.200                                    ♪ joined
         61.000  A ◀─ X          re-INVITE         Session-Expires: 120;refresher=uac, Min-SE: 90
         61.000  A ─▶ X          200 (sdp)         Session-Expires: 120;refresher=uac
         61.000  A ◀─ X          ACK
        121.000  A ◀─ X          re-INVITE         Session-Expires: 120;refresher=uac, Min-SE: 90
        121.000  A ─▶ X          200 (sdp)         Session-Expires: 120;refresher=uac
        121.000  A ◀─ X          ACK
        181.000  A ◀─ X          re-INVITE         Session-Expires: 120;refresher=uac, Min-SE: 90
        181.000  A ─▶ X          200 (sdp)         Session-Expires: 120;refresher=uac
        181.000  A ◀─ X          ACK
        201.000  A ─▶ X          BYE
        201.000  A ◀─ X          200 to BYE
        201.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        201.000         X ◀─ B   200 to BYE
        201.000  CDR  hung_up by A, rang 0.960, talked 200.000, A 200, B 200
                 A heard  hint tone 1.200
                 B heard  hint tone 1.200
    "#]],
    );
}

#[test]
fn a_session_that_the_caller_forgets_expires() {
    let setup = Setup::new(1)
        .mute()
        .a(Script::default().timed(SessionTimer::new(120).refresher(Refresher::Us).forgets()))
        .b(Script::answers(ms(1_000)));
    story(
        setup,
        Cause::SessionExpired,
        &expect![[r#"
         0.000  A ─▶ X          INVITE X          From: A, Session-Expires: 120;refresher=uac
         0.000  A ◀─ X          100
         0.000         X ─▶ B   INVITE B          From: X
         0.040         X ◀─ B   180
         0.040  A ◀─ X          180
         1.000         X ◀─ B   200 (sdp)
         1.000         X ─▶ B   ACK
         1.000  A ◀─ X          200 (sdp)         Session-Expires: 120;refresher=uac  ♪ hint tone to both
         1.000  A ─▶ X          ACK
         2.200                                    ♪ joined
        89.000  A ◀─ X          BYE               Reason: Q.850;cause=102
        89.000         X ─▶ B   BYE               Reason: Q.850;cause=102
        89.000  A ─▶ X          200 to BYE
        89.000         X ◀─ B   200 to BYE
        89.000  CDR  session_expired, rang 0.960, talked 88.000, A 200, B 200
                A heard  hint tone 1.200
                B heard  hint tone 1.200
    "#]],
    );
}

/// 422 with our Min-SE; A asks again.
#[test]
fn a_session_too_short_is_asked_for_again_longer() {
    let setup = least(
        Setup::new(1)
            .mute()
            .a(Script::default().timed(SessionTimer::new(100)).hangs_up(ms(2_000)))
            .b(Script::answers(ms(1_000))),
        300,
    );
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A, Session-Expires: 100
        0.000  A ◀─ X          422               Min-SE: 300
        0.000  A ─▶ X          ACK
        0.000  A ─▶ X          INVITE X          From: A, Session-Expires: 300, Min-SE: 300
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         Session-Expires: 300;refresher=uac  ♪ hint tone to both
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

#[test]
fn we_ask_b_for_a_session_and_it_refreshes() {
    let setup = requesting(
        Setup::new(1)
            .mute()
            .a(Script::default().hangs_up(ms(200_000)))
            .b(Script::answers(ms(1_000)).timed(SessionTimer::new(150).refresher(Refresher::Us))),
        150,
    );
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
          0.000  A ─▶ X          INVITE X          From: A
          0.000  A ◀─ X          100
          0.000         X ─▶ B   INVITE B          From: X, Session-Expires: 150, Min-SE: 90
          0.040         X ◀─ B   180
          0.040  A ◀─ X          180
          1.000         X ◀─ B   200 (sdp)         Session-Expires: 150;refresher=uas
          1.000         X ─▶ B   ACK
          1.000  A ◀─ X          200 (sdp)         Session-Expires: 150;refresher=uas  ♪ hint tone to both
          1.000  A ─▶ X          ACK
          2.200                                    ♪ joined
         76.000  A ◀─ X          UPDATE            Session-Expires: 150;refresher=uac, Min-SE: 90
         76.000         X ◀─ B   UPDATE            Session-Expires: 150;refresher=uac
         76.000         X ─▶ B   200 to UPDATE     Session-Expires: 150;refresher=uac
         76.000  A ─▶ X          200 to UPDATE
        151.000  A ◀─ X          UPDATE            Session-Expires: 150;refresher=uac, Min-SE: 90
        151.000         X ◀─ B   UPDATE            Session-Expires: 150;refresher=uac
        151.000         X ─▶ B   200 to UPDATE     Session-Expires: 150;refresher=uac
        151.000  A ─▶ X          200 to UPDATE
        201.000  A ─▶ X          BYE
        201.000  A ◀─ X          200 to BYE
        201.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        201.000         X ◀─ B   200 to BYE
        201.000  CDR  hung_up by A, rang 0.960, talked 200.000, A 200, B 200
                 A heard  hint tone 1.200
                 B heard  hint tone 1.200
    "#]],
    );
}

#[test]
fn we_refresh_b_that_knows_no_timers() {
    let setup =
        requesting(Setup::new(1).mute().a(Script::default().hangs_up(ms(200_000))).b(Script::answers(ms(1_000))), 150);
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
          0.000  A ─▶ X          INVITE X          From: A
          0.000  A ◀─ X          100
          0.000         X ─▶ B   INVITE B          From: X, Session-Expires: 150, Min-SE: 90
          0.040         X ◀─ B   180
          0.040  A ◀─ X          180
          1.000         X ◀─ B   200 (sdp)
          1.000         X ─▶ B   ACK
          1.000  A ◀─ X          200 (sdp)         Session-Expires: 150;refresher=uas  ♪ hint tone to both
          1.000  A ─▶ X          ACK
          2.200                                    ♪ joined
         76.000  A ◀─ X          UPDATE            Session-Expires: 150;refresher=uac, Min-SE: 90
         76.000         X ─▶ B   UPDATE            Session-Expires: 150;refresher=uac, Min-SE: 90
         76.000  A ─▶ X          200 to UPDATE
         76.000         X ◀─ B   200 to UPDATE
        151.000  A ◀─ X          UPDATE            Session-Expires: 150;refresher=uac, Min-SE: 90
        151.000         X ─▶ B   UPDATE            Session-Expires: 150;refresher=uac, Min-SE: 90
        151.000  A ─▶ X          200 to UPDATE
        151.000         X ◀─ B   200 to UPDATE
        201.000  A ─▶ X          BYE
        201.000  A ◀─ X          200 to BYE
        201.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        201.000         X ◀─ B   200 to BYE
        201.000  CDR  hung_up by A, rang 0.960, talked 200.000, A 200, B 200
                 A heard  hint tone 1.200
                 B heard  hint tone 1.200
    "#]],
    );
}

/// 422 with B's Min-SE: the INVITE goes out again, longer.
#[test]
fn b_wants_a_longer_session() {
    let setup = requesting(
        Setup::new(1)
            .mute()
            .a(Script::default().hangs_up(ms(2_000)))
            .b(Script::answers(ms(1_000)).timed(SessionTimer::new(1_800).at_least(600))),
        150,
    );
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X, Session-Expires: 150, Min-SE: 90
        0.000         X ◀─ B   422               Min-SE: 600
        0.000         X ─▶ B   ACK
        0.000         X ─▶ B   INVITE B          From: X, Session-Expires: 600, Min-SE: 600
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)         Session-Expires: 600;refresher=uac
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         Session-Expires: 150;refresher=uas  ♪ hint tone to both
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

/// 491: we try again after the back-off, the call goes on.
#[test]
fn our_refresh_meets_a_re_invite() {
    let setup = requesting(
        Setup::new(1)
            .mute()
            .a(Script::default().hangs_up(ms(200_000)))
            .b(Script::answers(ms(1_000)).lacks("UPDATE").does(When::Up(ms(74_990)), Act::Reinvite(Offer::Same))),
        150,
    )
    .link(Link { latency: ms(50), ..Link::default() });
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
              0.050  A ─▶ X          INVITE X          From: A
              0.050  A ◀─ X          100
              0.050         X ─▶ B   INVITE B          From: X, Session-Expires: 150, Min-SE: 90
              0.190         X ◀─ B   180
              0.190  A ◀─ X          180
              1.150         X ◀─ B   200 (sdp)
              1.150         X ─▶ B   ACK
              1.150  A ◀─ X          200 (sdp)         Session-Expires: 150;refresher=uas
              1.250                                    ♪ hint tone to both
              1.250  A ─▶ X          ACK
              2.450                                    ♪ joined
             76.150  A ◀─ X          UPDATE            Session-Expires: 150;refresher=uac, Min-SE: 90
             76.150         X ─▶ B   re-INVITE         Session-Expires: 150;refresher=uac, Min-SE: 90
             76.240         X ◀─ B   re-INVITE
             76.240         X ─▶ B   491
             76.250  A ─▶ X          200 to UPDATE
             76.250         X ◀─ B   491
             76.250         X ─▶ B   ACK
             76.340         X ◀─ B   ACK
             76.490         X ◀─ B   re-INVITE
             76.490         X ─▶ B   200 (sdp)         Session-Expires: 150;refresher=uas
             76.590         X ◀─ B   ACK
            151.250  A ◀─ X          UPDATE            Session-Expires: 150;refresher=uac, Min-SE: 90
            151.350  A ─▶ X          200 to UPDATE
            151.490         X ─▶ B   re-INVITE         Session-Expires: 150;refresher=uac, Min-SE: 90
            151.590         X ◀─ B   200 (sdp)
            151.590         X ─▶ B   ACK
            201.250  A ─▶ X          BYE
            201.250  A ◀─ X          200 to BYE
            201.250         X ─▶ B   BYE               Reason: Q.850;cause=16
            201.250  CDR  hung_up by A, rang 0.960, talked 200.100, A 200, B 200
            201.350         X ◀─ B   200 to BYE
                     A heard  hint tone 1.200
                     B heard  hint tone 1.200
        "#]],
    );
}
