//! One ladder for every outcome of a call (product rules M1, C, M5). Each is compared as text, checked for leftovers, and
//! scanned for anything that tells one party of the other.

mod story;

use std::net::SocketAddr;
use std::time::Duration;

use b2bua::outcome::Cause;
use numbering::CallDirection;
use story::story_of;
use testbed::{A, B, PhoneId, Reply, Script, Setup, assert_ladder, expect, ms};

#[test]
fn b_hangs_up_after_a_talk() {
    let setup = Setup::new(1).b(Script::answers(ms(3_200)).hangs_up(ms(6_000)));
    story_of(
        setup,
        A,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        3.200         X ◀─ B   200 (sdp)
        3.200         X ─▶ B   ACK
        3.200  A ◀─ X          200 (sdp)         ♪ hint tone to both
        3.200  A ─▶ X          ACK
        4.400                                    ♪ joined
        9.200         X ◀─ B   BYE
        9.200         X ─▶ B   200 to BYE
        9.200  A ◀─ X          BYE               Reason: Q.850;cause=16
        9.200  A ─▶ X          200 to BYE
        9.200  CDR  hung_up by B, rang 3.160, talked 6.000, A 200, B 200
               A heard  hint tone 1.200, B 4.800
               B heard  hint tone 1.200, A 4.820
    "#]],
    );
}

#[test]
fn a_hangs_up_after_a_talk() {
    let setup = Setup::new(1).a(Script::default().hangs_up(ms(6_000))).b(Script::answers(ms(3_200)));
    story_of(
        setup,
        A,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        3.200         X ◀─ B   200 (sdp)
        3.200         X ─▶ B   ACK
        3.200  A ◀─ X          200 (sdp)         ♪ hint tone to both
        3.200  A ─▶ X          ACK
        4.400                                    ♪ joined
        9.200  A ─▶ X          BYE
        9.200  A ◀─ X          200 to BYE
        9.200         X ─▶ B   BYE               Reason: Q.850;cause=16
        9.200         X ◀─ B   200 to BYE
        9.200  CDR  hung_up by A, rang 3.160, talked 6.000, A 200, B 200
               A heard  hint tone 1.200, B 4.800
               B heard  hint tone 1.200, A 4.800
    "#]],
    );
}

#[test]
fn b_calls_a_the_other_way() {
    let setup = Setup::new(1).reversed().a(Script::answers(ms(1_000))).b(Script::default().hangs_up(ms(4_000)));
    story_of(
        setup,
        B,
        Cause::HungUp,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000         X ─▶ A   INVITE A          From: X
        0.040         X ◀─ A   180
        0.040  B ◀─ X          180
        1.000         X ◀─ A   200 (sdp)
        1.000         X ─▶ A   ACK
        1.000  B ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  B ─▶ X          ACK
        2.200                                    ♪ joined
        5.000  B ─▶ X          BYE
        5.000  B ◀─ X          200 to BYE
        5.000         X ─▶ A   BYE               Reason: Q.850;cause=16
        5.000         X ◀─ A   200 to BYE
        5.000  CDR  hung_up by B, rang 0.960, talked 4.000, B 200, A 200
               A heard  hint tone 1.200, B 2.800
               B heard  hint tone 1.200, A 2.820
    "#]],
    );
}

#[test]
fn an_announcement_takes_the_place_of_ringback() {
    let setup = Setup::new(1).announced().b(Script::answers(ms(4_000)).hangs_up(ms(2_000)));
    story_of(
        setup,
        A,
        Cause::HungUp,
        &expect![[r#"
            0.000  A ─▶ X          INVITE X          From: A
            0.000  A ◀─ X          100
            0.000         X ─▶ B   INVITE B          From: X
            0.040         X ◀─ B   180
            0.040  A ◀─ X          183 (sdp)         ♪ announcement to A, then ringback
            4.000         X ◀─ B   200 (sdp)
            4.000         X ─▶ B   ACK
            4.000  A ◀─ X          200 (sdp)         ♪ silence to A; hint tone to both
            4.000  A ─▶ X          ACK
            5.200                                    ♪ joined
            6.000         X ◀─ B   BYE
            6.000         X ─▶ B   200 to BYE
            6.000  A ◀─ X          BYE               Reason: Q.850;cause=16
            6.000  A ─▶ X          200 to BYE
            6.000  CDR  hung_up by B, rang 3.960, talked 2.000, A 200, B 200
                   A heard  announcement 2.000, ringback 1.980, hint tone 1.200, B 0.800
                   B heard  hint tone 1.200, A 0.820
        "#]],
    );
}

#[test]
fn early_media_of_b_is_heard() {
    let setup = Setup::new(1).b(Script::answers(ms(3_000)).early_media(ms(500)).hangs_up(ms(2_000)));
    story_of(
        setup,
        A,
        Cause::HungUp,
        &expect![[r#"
            0.000  A ─▶ X          INVITE X          From: A
            0.000  A ◀─ X          100
            0.000         X ─▶ B   INVITE B          From: X
            0.040         X ◀─ B   180
            0.040  A ◀─ X          180
            0.500         X ◀─ B   183 (sdp)
            0.500  A ◀─ X          183 (sdp)         ♪ A hears the other
            3.000         X ◀─ B   200 (sdp)
            3.000         X ─▶ B   ACK
            3.000  A ◀─ X          200 (sdp)         ♪ silence to A; hint tone to both
            3.000  A ─▶ X          ACK
            4.200                                    ♪ joined
            5.000         X ◀─ B   BYE
            5.000         X ─▶ B   200 to BYE
            5.000  A ◀─ X          BYE               Reason: Q.850;cause=16
            5.000  A ─▶ X          200 to BYE
            5.000  CDR  hung_up by B, rang 2.960, talked 2.000, A 200, B 200
                   A heard  B's network 2.500, hint tone 1.200, B 0.800
                   B heard  hint tone 1.200, A 0.820
        "#]],
    );
}

#[test]
fn early_media_of_b_is_heard_after_the_announcement() {
    let setup = Setup::new(1).announced().b(Script::answers(ms(4_000)).early_media(ms(500)).hangs_up(ms(2_000)));
    story_of(
        setup,
        A,
        Cause::HungUp,
        &expect![[r#"
            0.000  A ─▶ X          INVITE X          From: A
            0.000  A ◀─ X          100
            0.000         X ─▶ B   INVITE B          From: X
            0.040         X ◀─ B   180
            0.040  A ◀─ X          183 (sdp)         ♪ announcement to A, then ringback
            0.500         X ◀─ B   183 (sdp)
            2.040                                    ♪ A hears the other
            4.000         X ◀─ B   200 (sdp)
            4.000         X ─▶ B   ACK
            4.000  A ◀─ X          200 (sdp)         ♪ silence to A; hint tone to both
            4.000  A ─▶ X          ACK
            5.200                                    ♪ joined
            6.000         X ◀─ B   BYE
            6.000         X ─▶ B   200 to BYE
            6.000  A ◀─ X          BYE               Reason: Q.850;cause=16
            6.000  A ─▶ X          200 to BYE
            6.000  CDR  hung_up by B, rang 3.960, talked 2.000, A 200, B 200
                   A heard  announcement 2.000, B's network 1.960, hint tone 1.200, B 0.800
                   B heard  hint tone 1.200, A 0.820
        "#]],
    );
}

#[test]
fn a_recorded_call_begins_its_recording_after_the_tone() {
    let setup = Setup::new(1).recorded().b(Script::answers(ms(1_000)).hangs_up(ms(6_200)));
    let world = story_of(
        setup,
        A,
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
        2.200                                    ♪ joined; recording begins
        7.200         X ◀─ B   BYE
        7.200         X ─▶ B   200 to BYE
        7.200  A ◀─ X          BYE               Reason: Q.850;cause=16
        7.200  A ─▶ X          200 to BYE
        7.200  CDR  hung_up by B, rang 0.960, talked 6.200, A 200, B 200, recorded 5.000
               A heard  hint tone 1.200, B 5.000
               B heard  hint tone 1.200, A 5.020
    "#]],
    );
    let recorded = world.recordings().values().next().expect("one recording");
    assert_eq!(recorded.finished_ms, Some(5_000), "from the join to the end");
    assert_eq!(recorded.alaw.len(), 40_000);
}

#[test]
fn the_maximum_duration_ends_the_call_after_a_warning() {
    let setup = Setup::new(1).max_minutes(2).b(Script::answers(ms(1_000)));
    let world = story_of(
        setup,
        A,
        Cause::MaxDuration,
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
         61.000                                    ♪ last minute to both, then the other
        121.000  A ◀─ X          BYE               Reason: Q.850;cause=16
        121.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        121.000  A ─▶ X          200 to BYE
        121.000         X ◀─ B   200 to BYE
        121.000  CDR  max_duration, rang 0.960, talked 120.000, A 200, B 200
                 A heard  hint tone 1.200, B 117.700, last minute 1.100
                 B heard  hint tone 1.200, A 117.700, last minute 1.100
    "#]],
    );
    let cdr = &world.cdrs()[0];
    assert_eq!(cdr.ended - cdr.answered.expect("answered"), Duration::from_secs(120));
}

#[test]
fn the_safety_ceiling_ends_a_call_without_maximum() {
    let mut setup = Setup::new(1).b(Script::answers(ms(1_000)));
    setup.settings.timers.safety_ceiling = Duration::from_secs(10);
    story_of(
        setup,
        A,
        Cause::SafetyCeiling,
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
        11.000  A ◀─ X          BYE               Reason: Q.850;cause=102
        11.000         X ─▶ B   BYE               Reason: Q.850;cause=102
        11.000  A ─▶ X          200 to BYE
        11.000         X ◀─ B   200 to BYE
        11.000  CDR  safety_ceiling, rang 0.960, talked 10.000, A 200, B 200
                A heard  hint tone 1.200, B 8.800
                B heard  hint tone 1.200, A 8.800
    "#]],
    );
}

#[test]
fn a_gives_up_before_b_rings() {
    let setup = Setup::new(1).a(Script::default().cancels(ms(300))).b(Script::rings().rings_after(ms(5_000)));
    story_of(
        setup,
        A,
        Cause::CancelledBeforeRinging,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.300  A ─▶ X          CANCEL
        0.300  A ◀─ X          200 to CANCEL
        0.300  A ◀─ X          487               Reason: Q.850;cause=16
        0.300  A ─▶ X          ACK
        0.300  CDR  cancelled_before_ringing by A, A 487
        0.500         X ─▶ B   INVITE B          From: X
        1.500         X ─▶ B   INVITE B          From: X
        3.500         X ─▶ B   INVITE B          From: X
        5.000         X ◀─ B   180
        5.000         X ─▶ B   CANCEL            Reason: Q.850;cause=16
        5.000         X ◀─ B   200 to CANCEL
        5.000         X ◀─ B   487
        5.000         X ─▶ B   ACK
    "#]],
    );
}

#[test]
fn a_gives_up_while_b_rings() {
    let setup = Setup::new(1).a(Script::default().cancels(ms(3_000))).b(Script::rings());
    story_of(
        setup,
        A,
        Cause::CancelledAfterRinging,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        3.000  A ─▶ X          CANCEL
        3.000  A ◀─ X          200 to CANCEL
        3.000  A ◀─ X          487               Reason: Q.850;cause=16
        3.000         X ─▶ B   CANCEL            Reason: Q.850;cause=16
        3.000  A ─▶ X          ACK
        3.000         X ◀─ B   200 to CANCEL
        3.000         X ◀─ B   487
        3.000         X ─▶ B   ACK
        3.000  CDR  cancelled_after_ringing by A, rang 2.960, A 487
    "#]],
    );
}

#[test]
fn b_is_busy() {
    let setup = Setup::new(1).b(Script::is_busy(ms(100)));
    story_of(
        setup,
        A,
        Cause::Busy,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.100         X ◀─ B   486
        0.100         X ─▶ B   ACK
        0.100  A ◀─ X          183 (sdp)         ♪ busy to A
        1.000  A ◀─ X          486               Reason: Q.850;cause=17
        1.000  A ─▶ X          ACK
        1.000  CDR  busy by B, A 486, B 486
               A heard  busy 0.900
    "#]],
    );
}

#[test]
fn a_gives_up_during_the_busy_prompt() {
    let setup = Setup::new(1).a(Script::default().cancels(ms(500))).b(Script::is_busy(ms(100)));
    let world = story_of(
        setup,
        A,
        Cause::Busy,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.100         X ◀─ B   486
        0.100         X ─▶ B   ACK
        0.100  A ◀─ X          183 (sdp)         ♪ busy to A
        0.500  A ─▶ X          CANCEL
        0.500  A ◀─ X          200 to CANCEL
        0.500  A ◀─ X          487               Reason: Q.850;cause=16
        0.500  A ─▶ X          ACK
        0.500  CDR  busy by A, A 487, B 486
               A heard  busy 0.420
    "#]],
    );
    assert_eq!((world.cdrs()[0].status_a, world.cdrs()[0].released_by), (487, Some(media::Side::A)));
}

#[test]
fn b_declines() {
    let setup = Setup::new(1).b(Script::declines(ms(2_000)));
    story_of(
        setup,
        A,
        Cause::Rejected,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        2.000         X ◀─ B   603
        2.000         X ─▶ B   ACK
        2.000  A ◀─ X          603               Reason: Q.850;cause=21
        2.000  A ─▶ X          ACK
        2.000  CDR  rejected by B, rang 1.960, A 603, B 603
    "#]],
    );
}

#[test]
fn b_does_not_answer() {
    let setup = Setup::new(1).b(Script::rings());
    story_of(
        setup,
        A,
        Cause::NoAnswer,
        &expect![[r#"
         0.000  A ─▶ X          INVITE X          From: A
         0.000  A ◀─ X          100
         0.000         X ─▶ B   INVITE B          From: X
         0.040         X ◀─ B   180
         0.040  A ◀─ X          180
        60.000  A ◀─ X          480               Reason: Q.850;cause=19
        60.000         X ─▶ B   CANCEL            Reason: Q.850;cause=19
        60.000  A ─▶ X          ACK
        60.000         X ◀─ B   200 to CANCEL
        60.000         X ◀─ B   487
        60.000         X ─▶ B   ACK
        60.000  CDR  no_answer, rang 59.960, A 480
    "#]],
    );
}

#[test]
fn b_does_not_exist() {
    let setup = Setup::new(1).b(Script::refuses(ms(100), 404));
    story_of(
        setup,
        A,
        Cause::NoSuchNumber,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.100         X ◀─ B   404
        0.100         X ─▶ B   ACK
        0.100  A ◀─ X          404               Reason: Q.850;cause=1
        0.100  A ─▶ X          ACK
        0.100  CDR  no_such_number by B, A 404, B 404
    "#]],
    );
}

#[test]
fn b_is_unreachable() {
    let setup = Setup::new(1).b(Script::refuses(ms(100), 480));
    story_of(
        setup,
        A,
        Cause::Unreachable,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.100         X ◀─ B   480
        0.100         X ─▶ B   ACK
        0.100  A ◀─ X          480               Reason: Q.850;cause=20
        0.100  A ─▶ X          ACK
        0.100  CDR  unreachable by B, A 480, B 480
    "#]],
    );
}

#[test]
fn a_480_for_a_busy_phone_is_busy_by_its_reason() {
    let setup = Setup::new(1).b(Script::refuses(ms(100), 480).because("Q.850;cause=17;text=\"User busy\""));
    story_of(
        setup,
        A,
        Cause::Busy,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.100         X ◀─ B   480               Reason: Q.850;cause=17;text="User busy"
        0.100         X ─▶ B   ACK
        0.100  A ◀─ X          183 (sdp)         ♪ busy to A
        1.000  A ◀─ X          486               Reason: Q.850;cause=17
        1.000  A ─▶ X          ACK
        1.000  CDR  busy by B, A 486, B 480
               A heard  busy 0.900
    "#]],
    );
}

#[test]
fn the_network_of_b_refuses() {
    let setup = Setup::new(1).b(Script::refuses(ms(100), 403));
    story_of(
        setup,
        A,
        Cause::Refused,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.100         X ◀─ B   403
        0.100         X ─▶ B   ACK
        0.100  A ◀─ X          403               Reason: Q.850;cause=21
        0.100  A ─▶ X          ACK
        0.100  CDR  refused by B, A 403, B 403
    "#]],
    );
}

#[test]
fn the_network_of_b_fails() {
    let setup = Setup::new(1).b(Script::refuses(ms(100), 500));
    story_of(
        setup,
        A,
        Cause::FarFailure,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.100         X ◀─ B   500
        0.100         X ─▶ B   ACK
        0.100  A ◀─ X          183 (sdp)         ♪ service fault to A
        1.400  A ◀─ X          502               Reason: Q.850;cause=38
        1.400  A ─▶ X          ACK
        1.400  CDR  far_failure by B, A 502, B 500
               A heard  service fault 1.300
    "#]],
    );
}

#[test]
fn the_network_of_b_is_silent() {
    let setup = Setup::new(1).b(Script::is_dead());
    story_of(
        setup,
        A,
        Cause::NoResponse,
        &expect![[r#"
         0.000  A ─▶ X          INVITE X          From: A
         0.000  A ◀─ X          100
         0.000         X ─▶ B   INVITE B          From: X
         0.500         X ─▶ B   INVITE B          From: X
         1.500         X ─▶ B   INVITE B          From: X
         3.500         X ─▶ B   INVITE B          From: X
         7.500         X ─▶ B   INVITE B          From: X
        15.500         X ─▶ B   INVITE B          From: X
        31.500         X ─▶ B   INVITE B          From: X
        32.000  A ◀─ X          183 (sdp)         ♪ service fault to A
        33.300  A ◀─ X          408               Reason: Q.850;cause=18
        33.300  A ─▶ X          ACK
        33.300  CDR  no_response, A 408
                A heard  service fault 1.300
    "#]],
    );
}

#[test]
fn b_shares_no_codec() {
    let setup = Setup::new(1).b(Script::refuses(ms(100), 488));
    story_of(
        setup,
        A,
        Cause::NoCommonCodec,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.100         X ◀─ B   488
        0.100         X ─▶ B   ACK
        0.100  A ◀─ X          488               Reason: Q.850;cause=65
        0.100  A ─▶ X          ACK
        0.100  CDR  no_common_codec by B, A 488, B 488
    "#]],
    );
}

#[test]
fn a_second_target_takes_what_the_first_refuses() {
    let mut setup = Setup::new(1).b(Script::answers(ms(500)).hangs_up(ms(2_000)));
    let away: SocketAddr = "10.2.0.77:5060".parse().expect("an address");
    let first = b2bua::settings::Target::at(sip::transaction::Transport::Udp, away);
    setup.settings.trunks[1].targets.insert(0, first);
    let mut world = setup.world();
    world.refuse(away);
    world.call(A);
    world.finish();
    assert_eq!(world.cdrs()[0].cause, Cause::HungUp);
    assert_ladder(
        &world,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        0.500         X ◀─ B   200 (sdp)
        0.500         X ─▶ B   ACK
        0.500  A ◀─ X          200 (sdp)         ♪ hint tone to both
        0.500  A ─▶ X          ACK
        1.700                                    ♪ joined
        2.500         X ◀─ B   BYE
        2.500         X ─▶ B   200 to BYE
        2.500  A ◀─ X          BYE               Reason: Q.850;cause=16
        2.500  A ─▶ X          200 to BYE
        2.500  CDR  hung_up by B, rang 0.460, talked 2.000, A 200, B 200
               A heard  hint tone 1.200, B 0.800
               B heard  hint tone 1.200, A 0.820
    "#]],
    );
}

#[test]
fn a_caller_that_is_not_bound_is_told_so() {
    let setup = Setup::new(1).stranger("+8613866667777", Script::default());
    story_of(
        setup,
        PhoneId(2),
        Cause::NotBound,
        &expect![[r#"
        0.000  C ─▶ X          INVITE X          From: C
        0.000  C ◀─ X          100
        0.000  C ◀─ X          183 (sdp)         ♪ no binding to C
        1.500  C ◀─ X          403               Reason: Q.850;cause=21
        1.500  C ─▶ X          ACK
        1.500  CDR  not_bound, C 403
               C heard  no binding 1.500
    "#]],
    );
}

#[test]
fn the_wrong_direction_is_refused() {
    let setup = Setup::new(1).direction(CallDirection::BToA);
    story_of(
        setup,
        A,
        Cause::WrongDirection,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000  A ◀─ X          183 (sdp)         ♪ no permission to A
        1.400  A ◀─ X          403               Reason: Q.850;cause=21
        1.400  A ─▶ X          ACK
        1.400  CDR  wrong_direction, A 403
               A heard  no permission 1.400
    "#]],
    );
}

#[test]
fn a_fixed_line_may_not_call() {
    let mut setup = Setup::new(1);
    let line = "+8675528780001";
    setup.binding.a = numbering::Number::parse(line).expect("global");
    setup.phones[0].number = line.to_owned();
    setup.phones[0].headers.retain(|(name, _)| name != "P-Asserted-Identity");
    story_of(
        setup,
        A,
        Cause::FixedLineCaller,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000  A ◀─ X          183 (sdp)         ♪ no permission to A
        1.400  A ◀─ X          403               Reason: Q.850;cause=21
        1.400  A ─▶ X          ACK
        1.400  CDR  fixed_line_caller, A 403
               A heard  no permission 1.400
    "#]],
    );
}

#[test]
fn an_unknown_x_is_not_found() {
    let mut world = Setup::new(1).world();
    world.call_number(A, "+8617099990000");
    world.finish();
    assert_eq!(world.cdrs()[0].cause, Cause::UnknownX);
    assert_ladder(
        &world,
        &expect![[r#"
        0.000  A ─▶ X          INVITE +8617099990000 From: A
        0.000  A ◀─ X          100
        0.000  A ◀─ X          404               Reason: Q.850;cause=1
        0.000  A ─▶ X          ACK
        0.000  CDR  unknown_x, A 404
    "#]],
    );
}

#[test]
fn a_number_that_cannot_be_read_is_incomplete() {
    let mut world = Setup::new(1).world();
    world.call_number(A, "operator");
    world.finish();
    assert_eq!(world.cdrs()[0].cause, Cause::UnreadableNumber);
    assert_ladder(
        &world,
        &expect![[r#"
        0.000  A ─▶ X          INVITE operator   From: A
        0.000  A ◀─ X          100
        0.000  A ◀─ X          484               Reason: Q.850;cause=28
        0.000  A ─▶ X          ACK
        0.000  CDR  unreadable_number, A 484
    "#]],
    );
}

#[test]
fn without_an_approved_tone_no_call_is_carried() {
    let mut setup = Setup::new(1);
    setup.app().hint_tone = None;
    story_of(
        setup,
        A,
        Cause::NoHintTone,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000  A ◀─ X          183 (sdp)         ♪ service fault to A
        1.300  A ◀─ X          403               Reason: Q.850;cause=21
        1.300  A ─▶ X          ACK
        1.300  CDR  no_hint_tone, A 403
               A heard  service fault 1.300
    "#]],
    );
}

#[test]
fn without_a_tone_and_without_the_duty_the_parties_are_joined_at_once() {
    let mut setup = Setup::new(1).b(Script::answers(ms(500)).hangs_up(ms(2_000)));
    setup.app().hint_tone = None;
    setup.app().require_hint_tone = false;
    let world = story_of(
        setup,
        A,
        Cause::HungUp,
        &expect![[r#"
            0.000  A ─▶ X          INVITE X          From: A
            0.000  A ◀─ X          100
            0.000         X ─▶ B   INVITE B          From: X
            0.040         X ◀─ B   180
            0.040  A ◀─ X          180
            0.500         X ◀─ B   200 (sdp)
            0.500         X ─▶ B   ACK
            0.500  A ◀─ X          200 (sdp)         ♪ joined
            0.500  A ─▶ X          ACK
            2.500         X ◀─ B   BYE
            2.500         X ─▶ B   200 to BYE
            2.500  A ◀─ X          BYE               Reason: Q.850;cause=16
            2.500  A ─▶ X          200 to BYE
            2.500  CDR  hung_up by B, rang 0.460, talked 2.000, A 200, B 200
                   A heard  B 1.980
                   B heard  A 2.020
        "#]],
    );
    assert_eq!(world.cdrs()[0].joined, world.cdrs()[0].answered);
}

#[test]
fn a_caller_without_offer_is_answered_with_one() {
    let mut setup = Setup::new(1).a(Script::default().offers_late()).b(Script::answers(ms(1_000)).hangs_up(ms(3_000)));
    setup.app().prompts.ringback = None;
    story_of(
        setup,
        A,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X (no sdp) From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK (sdp)
        2.200                                    ♪ joined
        4.000         X ◀─ B   BYE
        4.000         X ─▶ B   200 to BYE
        4.000  A ◀─ X          BYE               Reason: Q.850;cause=16
        4.000  A ─▶ X          200 to BYE
        4.000  CDR  hung_up by B, rang 0.960, talked 3.000, A 200, B 200
               A heard  hint tone 1.200, B 1.800
               B heard  hint tone 1.200, A 1.820
    "#]],
    );
}

#[test]
fn a_caller_that_never_acknowledges_is_given_up() {
    let script = Script { never_acknowledge: true, ..Script::default() };
    let setup = Setup::new(1).mute().a(script).b(Script::answers(ms(1_000)));
    story_of(
        setup,
        A,
        Cause::NoAck,
        &expect![[r#"
             0.000  A ─▶ X          INVITE X          From: A
             0.000  A ◀─ X          100
             0.000         X ─▶ B   INVITE B          From: X
             0.040         X ◀─ B   180
             0.040  A ◀─ X          180
             1.000         X ◀─ B   200 (sdp)
             1.000         X ─▶ B   ACK
             1.000  A ◀─ X          200 (sdp)
             1.500  A ◀─ X          200 (sdp)
             2.500  A ◀─ X          200 (sdp)
             4.500  A ◀─ X          200 (sdp)
             8.500  A ◀─ X          200 (sdp)
            12.500  A ◀─ X          200 (sdp)
            16.500  A ◀─ X          200 (sdp)
            20.500  A ◀─ X          200 (sdp)
            24.500  A ◀─ X          200 (sdp)
            28.500  A ◀─ X          200 (sdp)
            32.500  A ◀─ X          200 (sdp)
            33.000  A ◀─ X          BYE               Reason: Q.850;cause=102
            33.000         X ─▶ B   BYE               Reason: Q.850;cause=102
            33.000  A ─▶ X          200 to BYE
            33.000         X ◀─ B   200 to BYE
            33.000  CDR  no_ack, rang 0.960, talked 32.000, A 200, B 200
        "#]],
    );
}

#[test]
fn dead_media_ends_the_call() {
    let mut setup = Setup::new(1).mute().b(Script::answers(ms(1_000)));
    setup.settings.media.dead_after = Duration::from_secs(30);
    story_of(
        setup,
        A,
        Cause::DeadMedia,
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
        31.000  A ◀─ X          BYE               Reason: Q.850;cause=41
        31.000         X ─▶ B   BYE               Reason: Q.850;cause=41
        31.000  A ─▶ X          200 to BYE
        31.000         X ◀─ B   200 to BYE
        31.000  CDR  dead_media, rang 0.960, talked 30.000, A 200, B 200
                A heard  hint tone 1.200
                B heard  hint tone 1.200
    "#]],
    );
}

#[test]
fn x_bound_to_x_is_a_loop() {
    let mut setup = Setup::new(1);
    let second = numbering::Number::parse("+8617055550000").expect("global");
    let mut bound = setup.numbers[0].clone();
    // Bound while the number was nobody's X; it became one later.
    setup.binding.b = second;
    let mut world = setup.world();
    bound.number = second;
    world.bindings.add_number(bound).expect("a new number");
    world.call(A);
    world.finish();
    assert_eq!(world.cdrs()[0].cause, Cause::Loop);
    assert_ladder(
        &world,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000  A ◀─ X          482               Reason: Q.850;cause=25
        0.000  A ─▶ X          ACK
        0.000  CDR  loop, A 482
    "#]],
    );
}

#[test]
fn no_port_is_left() {
    let mut setup = Setup::new(1);
    setup.settings.media.ports = (30_000, 30_000);
    story_of(
        setup,
        A,
        Cause::NoPorts,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000  A ◀─ X          503               Reason: Q.850;cause=44
        0.000  A ─▶ X          ACK
        0.000  CDR  no_ports, A 503
    "#]],
    );
}

#[test]
fn over_tcp_nothing_is_said_twice() {
    let setup = Setup::new(1).tcp().b(Script::answers(ms(1_000)).hangs_up(ms(3_000)));
    story_of(
        setup,
        A,
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
        4.000         X ◀─ B   BYE
        4.000         X ─▶ B   200 to BYE
        4.000  A ◀─ X          BYE               Reason: Q.850;cause=16
        4.000  A ─▶ X          200 to BYE
        4.000  CDR  hung_up by B, rang 0.960, talked 3.000, A 200, B 200
               A heard  hint tone 1.200, B 1.800
               B heard  hint tone 1.200, A 1.820
    "#]],
    );
}

#[test]
fn refusals_do_not_ring_b() {
    let setup = Setup::new(1).b(Script { reply: Reply::Never, ..Script::default() }).direction(CallDirection::BToA);
    let mut world = setup.world();
    world.call(A);
    world.finish();
    assert!(!world.ladder().contains("X ─▶ B"), "{}", world.ladder());
}
