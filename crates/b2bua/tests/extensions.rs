//! X with extensions (product rule M3): the caller is asked, types, and reaches whose extension it is; A calls back. A ladder
//! for every outcome, each with its `stateCode`.

mod story;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use b2bua::SessionId;
use b2bua::outcome::Cause;
use b2bua::settings::AskExtension;
use numbering::{CallBack, LastCaller, Number};
use story::story_of;
use testbed::{A, Act, B, PhoneId, Reply, Script, Setup, When, World, expect, ms};

/// A has the extension 42 of X; B calls. Calls leave to carrier-a, whose A answers after two seconds and hangs up four later.
fn setup() -> Setup {
    Setup::new(1).axe("42").reversed().a(Script::answers(ms(2_000)).hangs_up(ms(4_000)))
}

/// Types by INFO, a digit every 300 ms from then on, counted from the ACK.
fn types(script: Script, from: u64, digits: &str) -> Script {
    digits.chars().zip(0..).fold(script, |script, (digit, place)| {
        script.does(When::Up(ms(from + 300 * place)), Act::InfoDigit { digit, relay: true })
    })
}

#[test]
fn a_caller_types_the_extension_and_a_rings() {
    let setup = setup().b(types(Script::default(), 3_000, "42"));
    let world = story_of(
        setup,
        B,
        Cause::HungUp,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
        0.000  B ─▶ X          ACK
        3.000  B ─▶ X          INFO              dtmf-relay
        3.000  B ◀─ X          200 to INFO
        3.300  B ─▶ X          INFO              dtmf-relay
        3.300  B ◀─ X          200 to INFO
        3.300         X ─▶ A   INVITE A          From: X  ♪ silence to B
        3.340                                    ♪ ringback to B, over and over
        3.340         X ◀─ A   180
        5.300         X ◀─ A   200 (sdp)
        5.300         X ─▶ A   ACK               ♪ silence to B; hint tone to both
        6.500                                    ♪ joined
        9.300         X ◀─ A   BYE
        9.300         X ─▶ A   200 to BYE
        9.300  B ◀─ X          BYE               Reason: Q.850;cause=16
        9.300  B ─▶ X          200 to BYE
        9.300  CDR  hung_up by A, rang 1.960, talked 4.000, B 200, A 200
               A heard  hint tone 1.200, B 2.800
               B heard  enter extension 2.500, ringback 1.980, hint tone 1.200, A 2.800
    "#]],
    );
    let cdr = &world.cdrs()[0];
    assert_eq!(cdr.digits.as_deref(), Some("42"));
    assert_eq!(cdr.extension.map(|extension| extension.to_string()).as_deref(), Some("42"));
    assert_eq!(cdr.cause.row().state_code, 0);
}

#[test]
fn the_width_ends_it_at_once_and_a_digit_silences_the_prompt() {
    let setup = setup().b(types(Script::default(), 500, "42"));
    story_of(
        setup,
        B,
        Cause::HungUp,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
        0.000  B ─▶ X          ACK
        0.500  B ─▶ X          INFO              dtmf-relay
        0.500  B ◀─ X          200 to INFO       ♪ silence to B
        0.800  B ─▶ X          INFO              dtmf-relay
        0.800  B ◀─ X          200 to INFO
        0.800         X ─▶ A   INVITE A          From: X
        0.840                                    ♪ ringback to B, over and over
        0.840         X ◀─ A   180
        2.800         X ◀─ A   200 (sdp)
        2.800         X ─▶ A   ACK               ♪ silence to B; hint tone to both
        4.000                                    ♪ joined
        6.800         X ◀─ A   BYE
        6.800         X ─▶ A   200 to BYE
        6.800  B ◀─ X          BYE               Reason: Q.850;cause=16
        6.800  B ─▶ X          200 to BYE
        6.800  CDR  hung_up by A, rang 1.960, talked 4.000, B 200, A 200
               A heard  hint tone 1.200, B 2.800
               B heard  enter extension 0.520, ringback 1.980, hint tone 1.200, A 2.800
    "#]],
    );
}

#[test]
fn in_early_media_nobody_is_answered_before_a() {
    let mut setup = setup();
    setup.settings.trunks[1].ask_extension = AskExtension::Early;
    let early = |at: u64, digit| (When::Early(ms(at)), Act::InfoDigit { digit, relay: false });
    let script = [early(1_000, '4'), early(1_300, '2')]
        .into_iter()
        .fold(Script::default(), |script, (when, act)| script.does(when, act));
    story_of(
        setup.b(script),
        B,
        Cause::HungUp,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          183 (sdp)         ♪ enter extension to B
        1.000  B ─▶ X          INFO              dtmf
        1.000  B ◀─ X          200 to INFO       ♪ silence to B
        1.300  B ─▶ X          INFO              dtmf
        1.300  B ◀─ X          200 to INFO
        1.300         X ─▶ A   INVITE A          From: X
        1.340                                    ♪ ringback to B, over and over
        1.340         X ◀─ A   180
        3.300         X ◀─ A   200 (sdp)
        3.300         X ─▶ A   ACK
        3.300  B ◀─ X          200 (sdp)         ♪ silence to B; hint tone to both
        3.300  B ─▶ X          ACK
        4.500                                    ♪ joined
        7.300         X ◀─ A   BYE
        7.300         X ─▶ A   200 to BYE
        7.300  B ◀─ X          BYE               Reason: Q.850;cause=16
        7.300  B ─▶ X          200 to BYE
        7.300  CDR  hung_up by A, rang 1.960, talked 4.000, B 200, A 200
               A heard  hint tone 1.200, B 2.800
               B heard  enter extension 1.020, ringback 1.980, hint tone 1.200, A 2.800
    "#]],
    );
}

#[test]
fn a_wrong_extension_may_be_typed_again() {
    let setup = setup().b(types(types(Script::default(), 3_000, "43"), 6_000, "42"));
    let world = story_of(
        setup,
        B,
        Cause::HungUp,
        &expect![[r#"
         0.000  B ─▶ X          INVITE X          From: B
         0.000  B ◀─ X          100
         0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
         0.000  B ─▶ X          ACK
         3.000  B ─▶ X          INFO              dtmf-relay
         3.000  B ◀─ X          200 to INFO
         3.300  B ─▶ X          INFO              dtmf-relay
         3.300  B ◀─ X          200 to INFO       ♪ wrong extension to B
         6.000  B ─▶ X          INFO              dtmf-relay
         6.000  B ◀─ X          200 to INFO
         6.300  B ─▶ X          INFO              dtmf-relay
         6.300  B ◀─ X          200 to INFO
         6.300         X ─▶ A   INVITE A          From: X  ♪ silence to B
         6.340                                    ♪ ringback to B, over and over
         6.340         X ◀─ A   180
         8.300         X ◀─ A   200 (sdp)
         8.300         X ─▶ A   ACK               ♪ silence to B; hint tone to both
         9.500                                    ♪ joined
        12.300         X ◀─ A   BYE
        12.300         X ─▶ A   200 to BYE
        12.300  B ◀─ X          BYE               Reason: Q.850;cause=16
        12.300  B ─▶ X          200 to BYE
        12.300  CDR  hung_up by A, rang 1.960, talked 4.000, B 200, A 200
                A heard  hint tone 1.200, B 2.800
                B heard  enter extension 2.500, wrong extension 1.600, ringback 1.980, hint tone 1.200, A 2.800
    "#]],
    );
    assert_eq!(world.cdrs()[0].digits.as_deref(), Some("42"), "what was typed last");
}

#[test]
fn three_wrong_extensions_are_all() {
    let script = types(types(types(Script::default(), 3_000, "43"), 6_000, "44"), 9_000, "4#");
    let world = story_of(
        setup().b(script),
        B,
        Cause::UnknownExtension,
        &expect![[r#"
         0.000  B ─▶ X          INVITE X          From: B
         0.000  B ◀─ X          100
         0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
         0.000  B ─▶ X          ACK
         3.000  B ─▶ X          INFO              dtmf-relay
         3.000  B ◀─ X          200 to INFO
         3.300  B ─▶ X          INFO              dtmf-relay
         3.300  B ◀─ X          200 to INFO       ♪ wrong extension to B
         6.000  B ─▶ X          INFO              dtmf-relay
         6.000  B ◀─ X          200 to INFO
         6.300  B ─▶ X          INFO              dtmf-relay
         6.300  B ◀─ X          200 to INFO       ♪ wrong extension to B
         9.000  B ─▶ X          INFO              dtmf-relay
         9.000  B ◀─ X          200 to INFO
         9.300  B ─▶ X          INFO              dtmf-relay
         9.300  B ◀─ X          200 to INFO       ♪ wrong extension to B
        10.900  B ◀─ X          BYE               Reason: Q.850;cause=1
        10.900  B ─▶ X          200 to BYE
        10.900  CDR  unknown_extension, B 200
                B heard  enter extension 2.500, wrong extension 4.800
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8022);
}

#[test]
fn whoever_types_nothing_is_asked_three_times() {
    let world = story_of(
        setup(),
        B,
        Cause::EmptyExtension,
        &expect![[r#"
         0.000  B ─▶ X          INVITE X          From: B
         0.000  B ◀─ X          100
         0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
         0.000  B ─▶ X          ACK
        22.500                                    ♪ empty extension to B
        44.200                                    ♪ empty extension to B
        65.900                                    ♪ empty extension to B
        67.600  B ◀─ X          BYE               Reason: Q.850;cause=28
        67.600  B ─▶ X          200 to BYE
        67.600  CDR  empty_extension, B 200
                B heard  enter extension 2.500, empty extension 5.100
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8033);
}

#[test]
fn whoever_hangs_up_while_typing_has_reached_nobody() {
    let setup = setup().b(types(Script::default(), 3_000, "4").hangs_up(ms(3_500)));
    let world = story_of(
        setup,
        B,
        Cause::LeftWhileTyping,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
        0.000  B ─▶ X          ACK
        3.000  B ─▶ X          INFO              dtmf-relay
        3.000  B ◀─ X          200 to INFO
        3.500  B ─▶ X          BYE
        3.500  B ◀─ X          200 to BYE
        3.500  CDR  left_while_typing by B, B 200
               B heard  enter extension 2.500
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 7516);
}

#[test]
fn star_begins_anew_and_hash_ends() {
    let mut setup = setup();
    setup.last_axe().extension = numbering::Extension::parse("0042").unwrap();
    setup.rules.extension_width = 4;
    let script = types(Script::default(), 3_000, "17*0042");
    story_of(
        setup.b(script),
        B,
        Cause::HungUp,
        &expect![[r#"
         0.000  B ─▶ X          INVITE X          From: B
         0.000  B ◀─ X          100
         0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
         0.000  B ─▶ X          ACK
         3.000  B ─▶ X          INFO              dtmf-relay
         3.000  B ◀─ X          200 to INFO
         3.300  B ─▶ X          INFO              dtmf-relay
         3.300  B ◀─ X          200 to INFO
         3.600  B ─▶ X          INFO              dtmf-relay
         3.600  B ◀─ X          200 to INFO
         3.900  B ─▶ X          INFO              dtmf-relay
         3.900  B ◀─ X          200 to INFO
         4.200  B ─▶ X          INFO              dtmf-relay
         4.200  B ◀─ X          200 to INFO
         4.500  B ─▶ X          INFO              dtmf-relay
         4.500  B ◀─ X          200 to INFO
         4.800  B ─▶ X          INFO              dtmf-relay
         4.800  B ◀─ X          200 to INFO
         4.800         X ─▶ A   INVITE A          From: X  ♪ silence to B
         4.840                                    ♪ ringback to B, over and over
         4.840         X ◀─ A   180
         6.800         X ◀─ A   200 (sdp)
         6.800         X ─▶ A   ACK               ♪ silence to B; hint tone to both
         8.000                                    ♪ joined
        10.800         X ◀─ A   BYE
        10.800         X ─▶ A   200 to BYE
        10.800  B ◀─ X          BYE               Reason: Q.850;cause=16
        10.800  B ─▶ X          200 to BYE
        10.800  CDR  hung_up by A, rang 1.960, talked 4.000, B 200, A 200
                A heard  hint tone 1.200, B 2.800
                B heard  enter extension 2.500, ringback 1.980, hint tone 1.200, A 2.800
    "#]],
    );
}

#[test]
fn a_is_busy_and_the_caller_hears_so() {
    let setup = setup().a(Script::refuses(ms(500), 486)).b(types(Script::default(), 3_000, "42"));
    let world = story_of(
        setup,
        B,
        Cause::Busy,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
        0.000  B ─▶ X          ACK
        3.000  B ─▶ X          INFO              dtmf-relay
        3.000  B ◀─ X          200 to INFO
        3.300  B ─▶ X          INFO              dtmf-relay
        3.300  B ◀─ X          200 to INFO
        3.300         X ─▶ A   INVITE A          From: X  ♪ silence to B
        3.800         X ─▶ A   INVITE A          From: X
        3.800         X ◀─ A   486
        3.800         X ─▶ A   ACK
        3.800         X ◀─ A   486
        3.800         X ─▶ A   ACK               ♪ busy to B
        4.700  B ◀─ X          BYE               Reason: Q.850;cause=17
        4.700  B ─▶ X          200 to BYE
        4.700  CDR  busy by A, B 200, A 486
               B heard  enter extension 2.500, busy 0.900
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8102);
}

#[test]
fn a_s_early_media_is_heard_by_a_caller_who_was_answered() {
    let mut script = Script::answers(ms(3_000)).hangs_up(ms(3_000));
    script.early_media_after = Some(ms(500));
    let setup = setup().a(script).b(types(Script::default(), 3_000, "42"));
    story_of(
        setup,
        B,
        Cause::HungUp,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
        0.000  B ─▶ X          ACK
        3.000  B ─▶ X          INFO              dtmf-relay
        3.000  B ◀─ X          200 to INFO
        3.300  B ─▶ X          INFO              dtmf-relay
        3.300  B ◀─ X          200 to INFO
        3.300         X ─▶ A   INVITE A          From: X  ♪ silence to B
        3.340                                    ♪ ringback to B, over and over
        3.340         X ◀─ A   180
        3.800                                    ♪ B hears the other
        3.800         X ◀─ A   183 (sdp)
        6.300         X ◀─ A   200 (sdp)
        6.300         X ─▶ A   ACK               ♪ silence to B; hint tone to both
        7.500                                    ♪ joined
        9.300         X ◀─ A   BYE
        9.300         X ─▶ A   200 to BYE
        9.300  B ◀─ X          BYE               Reason: Q.850;cause=16
        9.300  B ─▶ X          200 to BYE
        9.300  CDR  hung_up by A, rang 2.960, talked 3.000, B 200, A 200
               A heard  hint tone 1.200, B 1.800
               B heard  enter extension 2.500, ringback 0.480, A's network 2.500, hint tone 1.200, A 1.800
    "#]],
    );
}

#[test]
fn the_caller_leaves_while_a_rings() {
    let setup = setup().a(Script { reply: Reply::Never, ..Script::default() });
    let setup = setup.b(types(Script::default(), 3_000, "42").hangs_up(ms(6_000)));
    let world = story_of(
        setup,
        B,
        Cause::CancelledAfterRinging,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
        0.000  B ─▶ X          ACK
        3.000  B ─▶ X          INFO              dtmf-relay
        3.000  B ◀─ X          200 to INFO
        3.300  B ─▶ X          INFO              dtmf-relay
        3.300  B ◀─ X          200 to INFO
        3.300         X ─▶ A   INVITE A          From: X  ♪ silence to B
        3.340                                    ♪ ringback to B, over and over
        3.340         X ◀─ A   180
        6.000  B ─▶ X          BYE
        6.000  B ◀─ X          200 to BYE
        6.000         X ─▶ A   CANCEL            Reason: Q.850;cause=16
        6.000         X ◀─ A   200 to CANCEL
        6.000         X ◀─ A   487
        6.000         X ─▶ A   ACK
        6.000  CDR  cancelled_after_ringing by B, rang 2.660, B 200
               B heard  enter extension 2.500, ringback 2.680
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 7502);
}

#[test]
fn a_calls_back_who_called_last() {
    let mut setup = setup().axe("43");
    let b = Number::parse("+8613933334444").unwrap();
    setup.last_axe().last_caller = Some(LastCaller { number: b, at: 0 });
    setup.last_axe().call_back_for = 1;
    let setup = Setup { numbers: Setup::new(1).numbers, ..setup };
    let setup = setup.a(Script::default().hangs_up(ms(3_000))).b(Script::answers(ms(1_000)));
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
        4.000  A ─▶ X          BYE
        4.000  A ◀─ X          200 to BYE
        4.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        4.000         X ◀─ B   200 to BYE
        4.000  CDR  hung_up by A, rang 0.960, talked 3.000, A 200, B 200
               A heard  hint tone 1.200, B 1.800
               B heard  hint tone 1.200, A 1.800
    "#]],
    );
}

#[test]
fn a_calls_back_whom_the_binding_names_where_nobody_has_called() {
    let mut setup = setup();
    setup.last_axe().call_back = CallBack::Number(Number::parse("+8613933334444").unwrap());
    let setup = Setup { numbers: Setup::new(1).numbers, ..setup };
    let setup = setup.a(Script::default().hangs_up(ms(3_000))).b(Script::answers(ms(1_000)));
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
        4.000  A ─▶ X          BYE
        4.000  A ◀─ X          200 to BYE
        4.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        4.000         X ◀─ B   200 to BYE
        4.000  CDR  hung_up by A, rang 0.960, talked 3.000, A 200, B 200
               A heard  hint tone 1.200, B 1.800
               B heard  hint tone 1.200, A 1.800
    "#]],
    );
}

#[test]
fn with_nobody_to_be_called_back_the_prompt_says_so() {
    let world = story_of(
        setup().a(Script::default()),
        A,
        Cause::NoCallBack,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000  A ◀─ X          183 (sdp)         ♪ no call back to A
        1.900  A ◀─ X          403               Reason: Q.850;cause=21
        1.900  A ─▶ X          ACK
        1.900  CDR  no_call_back, A 403
               A heard  no call back 1.900
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8019);
}

#[test]
fn the_binding_s_own_tone_says_that_nobody_can_be_called_back() {
    let mut setup = setup().a(Script::default());
    setup.last_axe().call_back = CallBack::Tone("announcement.wav".into());
    story_of(
        setup,
        A,
        Cause::NoCallBack,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000  A ◀─ X          183 (sdp)         ♪ announcement to A
        2.000  A ◀─ X          403               Reason: Q.850;cause=21
        2.000  A ─▶ X          ACK
        2.000  CDR  no_call_back, A 403
               A heard  announcement 2.000
    "#]],
    );
}

/// B calls, A is not there; A calls X a minute later and gets B.
#[test]
fn a_missed_call_is_called_back() {
    let setup = setup().a(Script::refuses(ms(500), 480)).b(types(Script::default(), 3_000, "42"));
    let mut world = setup.world();
    world.call(B);
    world.run_until(ms(60_000));
    let cause = |world: &World, call: usize| world.cdrs().get(call).map(|cdr| cdr.cause);
    assert_eq!(cause(&world, 0), Some(Cause::Unreachable), "{}", world.ladder());
    let last = world.bindings.iter().next().and_then(|binding| match &*binding {
        numbering::Binding::Axe(axe) => axe.last_caller,
        other => panic!("{other:?}"),
    });
    let (a, b) = (Number::parse("+8613811112222").unwrap(), Number::parse("+8613933334444").unwrap());
    assert_eq!(last.map(|last| last.number), Some(b));
    // B is behind the other carrier.
    world.bindings.change_number(Setup::new(1).numbers[0].clone()).expect("X may go out by another trunk");
    world.call(A);
    world.run_until(world.now() + ms(1_000));
    assert!(world.ladder().contains("X ─▶ B   INVITE B          From: X"), "{}", world.ladder());
    world.hang_up(A);
    world.finish();
    let back = &world.cdrs()[1];
    assert_eq!((back.caller, back.callee), (Some(a), Some(b)), "{}", world.ladder());
}

/// A panic while an extension is looked up is our bug, and costs this call alone.
#[test]
fn a_panic_in_the_look_up_ends_the_call() {
    let mut world = setup().a(Script::answers(ms(500))).b(types(Script::default(), 3_000, "42")).world();
    world.call(B);
    world.run_until(ms(3_000));
    // No time of a call can be told after such an epoch.
    world.core.set_unix_at_epoch(Duration::MAX);
    let panicked = catch_unwind(AssertUnwindSafe(|| world.run_until(ms(20_000))));
    assert!(panicked.is_err(), "{}", world.ladder());
    world.core.set_unix_at_epoch(Duration::ZERO);
    world.core.abandon_current();
    world.run_until(ms(300_000));
    assert_eq!(world.cdrs().iter().map(|cdr| cdr.cause).collect::<Vec<_>>(), [Cause::Internal]);
    assert!(world.core.is_idle(), "{:?}", world.core.gauges());
}

/// The media session tells of a digit that it could not pass on: nobody has typed that.
#[test]
fn a_digit_that_is_told_whole_by_the_media_is_not_typed() {
    let mut world = setup().b(Script::default()).world();
    world.call(B);
    world.run_until(ms(3_000));
    for key in "42".chars() {
        let digit = media::Digit::from_char(key).expect("a key");
        let event = media::Event::Digit { side: media::Side::A, digit, ms: 100 };
        world.core.handle_media_event(world.now(), SessionId(1), event);
    }
    world.run_until(ms(4_000));
    assert!(!world.ladder().contains("INVITE A"), "{}", world.ladder());
    world.hang_up(B);
    world.finish();
    assert_eq!(world.cdrs()[0].digits.as_deref(), None);
}

/// What was typed, told by each way alone and by all of them together: each digit counts once.
#[test]
fn digits_count_once_however_they_come() {
    let press = |at, key| (When::Up(ms(at)), Act::Press(key, ms(100)));
    let tones = |at, key| (When::Up(ms(at)), Act::Tones(key, ms(100)));
    let info = |at, key| (When::Up(ms(at)), Act::InfoDigit { digit: key, relay: true });
    type Way = fn(u64, char) -> (When, Act);
    let ways: [(&str, &[Way]); 5] = [
        ("events", &[press]),
        ("tones", &[tones]),
        ("INFO", &[info]),
        ("events and tones", &[press, tones]),
        ("all", &[tones, press, info]),
    ];
    for (name, ways) in ways {
        let mut setup = setup();
        setup.last_axe().extension = numbering::Extension::parse("1105").unwrap();
        setup.rules.extension_width = 4;
        let mut script = Script::default();
        for (digit, place) in "1105".chars().zip(0_u64..) {
            for (way, late) in ways.iter().zip(0_u64..) {
                let (when, act) = way(1_000 + 600 * place + 150 * late, digit);
                script = script.does(when, act);
            }
        }
        let mut world = setup.b(script).world();
        world.call(B);
        world.finish();
        let cdr = &world.cdrs()[0];
        assert_eq!((cdr.cause, cdr.digits.as_deref()), (Cause::HungUp, Some("1105")), "{name}: {}", world.ladder());
    }
}

#[test]
fn tones_reach_a() {
    let script = [(1_000, '4'), (1_400, '2')]
        .into_iter()
        .fold(Script::default(), |script, (at, digit)| script.does(When::Up(ms(at)), Act::Tones(digit, ms(120))));
    story_of(
        setup().b(script),
        B,
        Cause::HungUp,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
        0.000  B ─▶ X          ACK
        1.020                                    ♪ silence to B
        1.420         X ─▶ A   INVITE A          From: X
        1.460                                    ♪ ringback to B, over and over
        1.460         X ◀─ A   180
        3.420         X ◀─ A   200 (sdp)
        3.420         X ─▶ A   ACK               ♪ silence to B; hint tone to both
        4.620                                    ♪ joined
        7.420         X ◀─ A   BYE
        7.420         X ─▶ A   200 to BYE
        7.420  B ◀─ X          BYE               Reason: Q.850;cause=16
        7.420  B ─▶ X          200 to BYE
        7.420  CDR  hung_up by A, rang 1.960, talked 4.000, B 200, A 200
               A heard  hint tone 1.200, B 2.800
               B heard  enter extension 1.040, ringback 1.980, hint tone 1.200, A 2.800
    "#]],
    );
}

/// A caller without an offer is answered, and makes its answer in the ACK.
#[test]
fn a_caller_without_an_offer_is_asked_too() {
    let mut script = types(Script::default(), 3_000, "42");
    script.late_offer = true;
    story_of(
        setup().b(script.clone()),
        B,
        Cause::HungUp,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X (no sdp) From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
        0.000  B ─▶ X          ACK (sdp)
        3.000  B ─▶ X          INFO              dtmf-relay
        3.000  B ◀─ X          200 to INFO
        3.300  B ─▶ X          INFO              dtmf-relay
        3.300  B ◀─ X          200 to INFO
        3.300         X ─▶ A   INVITE A          From: X  ♪ silence to B
        3.340                                    ♪ ringback to B, over and over
        3.340         X ◀─ A   180
        5.300         X ◀─ A   200 (sdp)
        5.300         X ─▶ A   ACK               ♪ silence to B; hint tone to both
        6.500                                    ♪ joined
        9.300         X ◀─ A   BYE
        9.300         X ─▶ A   200 to BYE
        9.300  B ◀─ X          BYE               Reason: Q.850;cause=16
        9.300  B ─▶ X          200 to BYE
        9.300  CDR  hung_up by A, rang 1.960, talked 4.000, B 200, A 200
               A heard  hint tone 1.200, B 2.800
               B heard  enter extension 2.500, ringback 1.980, hint tone 1.200, A 2.800
    "#]],
    );
    // In early media where it takes our offer in a reliable response.
    let mut setup = setup();
    setup.settings.trunks[1].ask_extension = AskExtension::Early;
    let mut early = [(1_000, '4'), (1_300, '2')].into_iter().fold(Script::default(), |script, (at, digit)| {
        script.does(When::Early(ms(at)), Act::InfoDigit { digit, relay: false })
    });
    early.late_offer = true;
    early.reliability = testbed::Reliability::Supported;
    story_of(
        setup.b(early),
        B,
        Cause::HungUp,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X (no sdp) From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          183 (sdp)         reliable
        0.000  B ─▶ X          PRACK (sdp)
        0.000  B ◀─ X          200 to PRACK      ♪ enter extension to B
        1.000  B ─▶ X          INFO              dtmf
        1.000  B ◀─ X          200 to INFO       ♪ silence to B
        1.300  B ─▶ X          INFO              dtmf
        1.300  B ◀─ X          200 to INFO
        1.300         X ─▶ A   INVITE A          From: X
        1.340                                    ♪ ringback to B, over and over
        1.340         X ◀─ A   180
        3.300         X ◀─ A   200 (sdp)
        3.300         X ─▶ A   ACK
        3.300  B ◀─ X          200               ♪ silence to B; hint tone to both
        3.300  B ─▶ X          ACK
        4.500                                    ♪ joined
        7.300         X ◀─ A   BYE
        7.300         X ─▶ A   200 to BYE
        7.300  B ◀─ X          BYE               Reason: Q.850;cause=16
        7.300  B ─▶ X          200 to BYE
        7.300  CDR  hung_up by A, rang 1.960, talked 4.000, B 200, A 200
               A heard  hint tone 1.200, B 2.800
               B heard  enter extension 1.020, ringback 1.980, hint tone 1.200, A 2.800
    "#]],
    );
}

#[test]
fn the_question_is_never_recorded() {
    let mut setup = setup().b(types(Script::default(), 3_000, "42"));
    setup.last_axe().record = true;
    story_of(
        setup,
        B,
        Cause::HungUp,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          200 (sdp)         ♪ enter extension to B
        0.000  B ─▶ X          ACK
        3.000  B ─▶ X          INFO              dtmf-relay
        3.000  B ◀─ X          200 to INFO
        3.300  B ─▶ X          INFO              dtmf-relay
        3.300  B ◀─ X          200 to INFO
        3.300         X ─▶ A   INVITE A          From: X  ♪ silence to B
        3.340                                    ♪ ringback to B, over and over
        3.340         X ◀─ A   180
        5.300         X ◀─ A   200 (sdp)
        5.300         X ─▶ A   ACK               ♪ silence to B; hint tone to both
        6.500                                    ♪ joined; recording begins
        9.300         X ◀─ A   BYE
        9.300         X ─▶ A   200 to BYE
        9.300  B ◀─ X          BYE               Reason: Q.850;cause=16
        9.300  B ─▶ X          200 to BYE
        9.300  CDR  hung_up by A, rang 1.960, talked 4.000, B 200, A 200, recorded 2.800
               A heard  hint tone 1.200, B 2.800
               B heard  enter extension 2.500, ringback 1.980, hint tone 1.200, A 2.800
    "#]],
    );
}

/// Who a phone sees calling.
fn shown_to(world: &World, who: PhoneId) -> String {
    let invite_to = format!("INVITE sip:{}@", world.phone(who).config().number);
    let invite = world.wire().iter().find(|message| message.by_x && message.bytes.starts_with(invite_to.as_bytes()));
    let text = String::from_utf8_lossy(&invite.expect("it was called").bytes).into_owned();
    let from = text.split("\r\nFrom: <sip:").nth(1).expect("every INVITE has a From");
    from[..from.find('@').expect("of a user")].to_owned()
}

/// 700 numbers: eleven digits are managed, fifteen are dialled.
fn managed() -> Setup {
    let mut setup = setup();
    let x = Number::parse("+8670012345678").unwrap();
    setup.numbers[0].number = x;
    setup.rules.extension_width = 4;
    let axe = setup.last_axe();
    axe.x = x;
    axe.extension = numbering::Extension::parse("0042").unwrap();
    setup
}

#[test]
fn an_extension_that_is_dialled_is_not_asked_for_and_a_sees_all_fifteen_digits() {
    let mut world = managed().b(Script::default()).world();
    world.call_number(B, "+86700123456780042");
    world.finish();
    testbed::assert_ladder(
        &world,
        &expect![[r#"
        0.000  B ─▶ X          INVITE +86700123456780042 From: B
        0.000  B ◀─ X          100
        0.000         X ─▶ A   INVITE A          From: +86700123456780042
        0.040         X ◀─ A   180
        0.040  B ◀─ X          180
        2.000         X ◀─ A   200 (sdp)
        2.000         X ─▶ A   ACK
        2.000  B ◀─ X          200 (sdp)         ♪ hint tone to both
        2.000  B ─▶ X          ACK
        3.200                                    ♪ joined
        6.000         X ◀─ A   BYE
        6.000         X ─▶ A   200 to BYE
        6.000  B ◀─ X          BYE               Reason: Q.850;cause=16
        6.000  B ─▶ X          200 to BYE
        6.000  CDR  hung_up by A, rang 1.960, talked 4.000, B 200, A 200
               A heard  hint tone 1.200, B 2.800
               B heard  hint tone 1.200, A 2.800
    "#]],
    );
    let cdr = &world.cdrs()[0];
    assert_eq!((cdr.cause, cdr.digits.as_deref()), (Cause::HungUp, None));
    assert_eq!(shown_to(&world, A), "+86700123456780042");
}

#[test]
fn fifteen_digits_of_nobody_are_refused() {
    let mut world = managed().b(Script::default()).world();
    world.call_number(B, "+86700123456780043");
    world.finish();
    testbed::assert_ladder(
        &world,
        &expect![[r#"
        0.000  B ─▶ X          INVITE +86700123456780043 From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          183 (sdp)         ♪ wrong extension to B
        1.600  B ◀─ X          404               Reason: Q.850;cause=1
        1.600  B ─▶ X          ACK
        1.600  CDR  unknown_extension, B 404
               B heard  wrong extension 1.600
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8022);
}

#[test]
fn a_calls_back_by_fifteen_digits_and_is_shown_with_them() {
    let mut setup = managed();
    setup.numbers[0].trunk = Some("carrier-b".into());
    setup.last_axe().last_caller = Some(LastCaller { number: Number::parse("+8613933334444").unwrap(), at: 0 });
    let setup = setup.a(Script::default().hangs_up(ms(3_000))).b(Script::answers(ms(1_000)));
    let mut world = setup.world();
    world.call_number(A, "+86700123456780042");
    world.finish();
    assert_eq!(world.cdrs()[0].cause, Cause::HungUp, "{}", world.ladder());
    assert_eq!(shown_to(&world, B), "+86700123456780042");
}
