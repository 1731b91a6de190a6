//! X with extensions (product rule M3): the caller is asked, types, and reaches whose extension it is; A calls back. A ladder
//! for every outcome, each with its `stateCode`.

mod story;

use std::time::Duration;

use b2bua::outcome::Cause;
use b2bua::settings::AskExtension;
use numbering::{CallBack, LastCaller, Number};
use story::story_of;
use testbed::{A, Act, B, Reply, Script, Setup, When, expect, ms};

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
    let world = story_of(setup().b(script), B, Cause::UnknownExtension, &expect![[r#""#]]);
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8022);
}

#[test]
fn whoever_types_nothing_is_asked_three_times() {
    let world = story_of(setup(), B, Cause::EmptyExtension, &expect![[r#""#]]);
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8033);
}

#[test]
fn whoever_hangs_up_while_typing_has_reached_nobody() {
    let setup = setup().b(types(Script::default(), 3_000, "4").hangs_up(ms(3_500)));
    let world = story_of(setup, B, Cause::LeftWhileTyping, &expect![[r#""#]]);
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
    let world = story_of(setup, B, Cause::Busy, &expect![[r#""#]]);
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
    let world = story_of(setup, B, Cause::CancelledAfterRinging, &expect![[r#""#]]);
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
    story_of(setup, A, Cause::HungUp, &expect![[r#""#]]);
}

#[test]
fn a_calls_back_whom_the_binding_names_where_nobody_has_called() {
    let mut setup = setup();
    setup.last_axe().call_back = CallBack::Number(Number::parse("+8613933334444").unwrap());
    let setup = Setup { numbers: Setup::new(1).numbers, ..setup };
    let setup = setup.a(Script::default().hangs_up(ms(3_000))).b(Script::answers(ms(1_000)));
    story_of(setup, A, Cause::HungUp, &expect![[r#""#]]);
}

#[test]
fn with_nobody_to_be_called_back_the_prompt_says_so() {
    let world = story_of(setup().a(Script::default()), A, Cause::NoCallBack, &expect![[r#""#]]);
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8019);
}

#[test]
fn the_binding_s_own_tone_says_that_nobody_can_be_called_back() {
    let mut setup = setup().a(Script::default());
    setup.last_axe().call_back = CallBack::Tone("announcement.wav".into());
    story_of(setup, A, Cause::NoCallBack, &expect![[r#""#]]);
}

/// B calls, A is not there; A calls X a minute later and gets B.
#[test]
fn a_missed_call_is_called_back() {
    let setup = setup().a(Script::refuses(ms(500), 480)).b(types(Script::default(), 3_000, "42"));
    let mut world = setup.world();
    world.call(B);
    world.finish();
    let last = world.bindings.iter().next().map(|binding| match &*binding {
        numbering::Binding::Axe(axe) => axe.last_caller,
        other => panic!("{other:?}"),
    });
    let at = last.flatten().expect("B has called").at;
    assert!(Duration::from_millis(at) <= world.now());
}
