//! An X that belongs to one user (product rule M2): anybody reaches A through it, and A whom the customer has named just before.
//! A ladder for every outcome, each with its `stateCode`.

mod story;

use b2bua::outcome::Cause;
use b2bua::settings::SecondCall;
use numbering::{Binding, CallDirection, Number, SubscriptionId, Temporary};
use story::story_of;
use testbed::{A, B, PhoneId, Script, Setup, assert_ladder, expect, leaks_of, ms};

const C: PhoneId = PhoneId(2);
const NUMBER_OF_B: &str = "+8613933334444";

/// Others call A, whose carrier takes the calls; A answers after two seconds.
fn inward() -> Setup {
    Setup::new(1).ax(None).reversed().a(Script::answers(ms(2_000)))
}

/// A calls, and B's carrier takes the calls.
fn outward(callee: Option<&str>) -> Setup {
    Setup::new(1).ax(callee).a(Script::default().hangs_up(ms(3_000))).b(Script::answers(ms(1_000)))
}

#[test]
fn anybody_who_calls_x_reaches_a_who_sees_x() {
    let setup = inward().b(Script::default().hangs_up(ms(3_000)));
    let world = story_of(
        setup,
        B,
        Cause::HungUp,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000         X ─▶ A   INVITE A          From: X
        0.040         X ◀─ A   180
        0.040  B ◀─ X          180
        2.000         X ◀─ A   200 (sdp)
        2.000         X ─▶ A   ACK
        2.000  B ◀─ X          200 (sdp)         ♪ hint tone to both
        2.000  B ─▶ X          ACK
        3.200                                    ♪ joined
        5.000  B ─▶ X          BYE
        5.000  B ◀─ X          200 to BYE
        5.000         X ─▶ A   BYE               Reason: Q.850;cause=16
        5.000         X ◀─ A   200 to BYE
        5.000  CDR  hung_up by B, rang 1.960, talked 3.000, B 200, A 200
               A heard  hint tone 1.200, B 1.800
               B heard  hint tone 1.200, A 1.820
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 0);
}

#[test]
fn whoever_withholds_the_number_reaches_a_too() {
    let mut setup = inward().b(Script::default().hangs_up(ms(3_000)));
    setup.phones[1].headers.retain(|(name, _)| name != "P-Asserted-Identity");
    setup.phones[1].number = "anonymous".to_owned();
    let mut world = setup.world();
    world.call(B);
    assert!(world.run_until_idle(ms(60_000)));
    assert_eq!((world.cdrs()[0].cause, world.cdrs()[0].caller), (Cause::HungUp, None), "{}", world.ladder());
}

/// Where the binding wants it and the carrier allows it A sees the caller, and nothing else of the caller's.
#[test]
fn a_may_be_shown_who_calls() {
    let mut setup = inward().b(Script::default().hangs_up(ms(3_000)));
    setup.last_ax().shows_caller = true;
    for is_allowed in [false, true] {
        setup.settings.trunks[0].shows_caller = is_allowed;
        // In its From and what says the same to the network, and nowhere else.
        let leaks = leaks_of(setup.clone(), |world| world.call(B));
        let is_who_calls = |leak: &String| leak.starts_with("leak to A: Number of B ");
        assert_eq!(leaks.is_empty(), !is_allowed, "{leaks:?}");
        assert!(leaks.iter().all(is_who_calls), "{leaks:?}");
        let mut world = setup.clone().world();
        world.call(B);
        assert!(world.run_until_idle(ms(60_000)));
        let shown = world.ladder();
        let from = if is_allowed { "From: B" } else { "From: X" };
        assert!(shown.contains(&format!("X ─▶ A   INVITE A          {from}")), "{shown}");
    }
}

#[test]
fn a_reaches_whom_the_customer_has_named() {
    story_of(
        outward(Some(NUMBER_OF_B)),
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

/// 400 and 95 numbers may be named.
#[test]
fn a_reaches_a_service_number() {
    for number in ["+864001234567", "+8695588"] {
        let mut setup = outward(Some(number));
        setup.phones[1].number = number.to_owned();
        let mut world = setup.world();
        world.call(A);
        world.finish();
        let cdr = &world.cdrs()[0];
        assert_eq!((cdr.cause, cdr.callee), (Cause::HungUp, Number::parse(number).ok()), "{}", world.ladder());
    }
}

#[test]
fn with_nobody_named_the_prompt_says_so() {
    let world = story_of(
        outward(None),
        A,
        Cause::NoTemporaryCallee,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000  A ◀─ X          183 (sdp)         ♪ no callee to A
        1.800  A ◀─ X          403               Reason: Q.850;cause=21
        1.800  A ─▶ X          ACK
        1.800  CDR  no_temporary_callee, A 403
               A heard  no callee 1.800
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8013);
}

/// A minute later nobody is named any more; a new one takes the place of the old.
#[test]
fn whoever_was_named_is_forgotten_or_replaced() {
    let mut world = outward(Some(NUMBER_OF_B)).world();
    world.run_until(ms(59_000));
    world.call(A);
    world.run_until(ms(80_000));
    world.call(A);
    world.run_until(ms(90_000));
    let causes: Vec<Cause> = world.cdrs().iter().map(|cdr| cdr.cause).collect();
    assert_eq!(causes, [Cause::HungUp, Cause::NoTemporaryCallee], "{}", world.ladder());
    // Somebody else is named, then B again.
    for callee in ["+8613700000009", NUMBER_OF_B] {
        let callee = Number::parse(callee).unwrap();
        let named = world.bindings.modify(SubscriptionId(2), |binding| match binding {
            Binding::Ax(ax) => ax.temporary = Some(Temporary { callee, ends: 150_000, user_text: None }),
            other => panic!("{other:?}"),
        });
        named.expect("it may be replaced");
    }
    world.call(A);
    world.finish();
    let last = world.cdrs().last().expect("a third call");
    assert_eq!((last.cause, last.callee), (Cause::HungUp, Number::parse(NUMBER_OF_B).ok()), "{}", world.ladder());
}

#[test]
fn a_direction_that_is_not_allowed_is_refused() {
    let mut setup = inward();
    setup.last_ax().direction = CallDirection::AToB;
    let world = story_of(
        setup,
        B,
        Cause::WrongDirection,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          183 (sdp)         ♪ no permission to B
        1.400  B ◀─ X          403               Reason: Q.850;cause=21
        1.400  B ─▶ X          ACK
        1.400  CDR  wrong_direction, B 403
               B heard  no permission 1.400
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8016);
    let mut setup = outward(Some(NUMBER_OF_B));
    setup.last_ax().direction = CallDirection::BToA;
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
fn an_x_that_is_switched_off_reaches_nobody() {
    let mut setup = inward();
    setup.last_ax().is_on = false;
    let world = story_of(
        setup,
        B,
        Cause::SwitchedOff,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000  B ◀─ X          183 (sdp)         ♪ no permission to B
        1.400  B ◀─ X          403               Reason: Q.850;cause=21
        1.400  B ─▶ X          ACK
        1.400  CDR  switched_off, B 403
               B heard  no permission 1.400
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8018);
}

#[test]
fn a_third_one_hears_that_a_is_busy() {
    let setup = inward().b(Script::default().hangs_up(ms(8_000))).stranger("+8613712348888", Script::default());
    let mut world = setup.world();
    world.call(B);
    world.run_until(ms(4_000));
    world.call(C);
    world.finish();
    let cdr = world.cdrs().iter().find(|cdr| cdr.caller == Number::parse("+8613712348888").ok()).expect("C's");
    assert_eq!((cdr.cause, cdr.cause.row().state_code), (Cause::Busy, 8102));
    assert_ladder(
        &world,
        &expect![[r#"
         0.000  B ─▶ X          INVITE X          From: B
         0.000  B ◀─ X          100
         0.000         X ─▶ A   INVITE A          From: X
         0.040         X ◀─ A   180
         0.040  B ◀─ X          180
         2.000         X ◀─ A   200 (sdp)
         2.000         X ─▶ A   ACK
         2.000  B ◀─ X          200 (sdp)         ♪ hint tone to both
         2.000  B ─▶ X          ACK
         3.200                                    ♪ joined
         4.000  C ─▶ X          INVITE X          From: C
         4.000  C ◀─ X          100
         4.000  C ◀─ X          183 (sdp)         ♪ busy to C
         4.900  C ◀─ X          486               Reason: Q.850;cause=17
         4.900  C ─▶ X          ACK
         4.900  CDR  busy, C 486
        10.000  B ─▶ X          BYE
        10.000  B ◀─ X          200 to BYE
        10.000         X ─▶ A   BYE               Reason: Q.850;cause=16
        10.000         X ◀─ A   200 to BYE
        10.000  CDR  hung_up by B, rang 1.960, talked 8.000, B 200, A 200
                A heard  hint tone 1.200, B 6.800
                B heard  hint tone 1.200, A 6.820
                C heard  busy 0.900
    "#]],
    );
}

/// The app may want a second call to be offered; A's phone says what becomes of it.
#[test]
fn a_second_call_is_offered_where_the_app_wants_that() {
    let setup = inward().b(Script::default().hangs_up(ms(8_000))).stranger("+8613712348888", Script::default());
    for (choice, invites) in [(SecondCall::Refuse, 1), (SecondCall::Offer, 2)] {
        let mut setup = setup.clone();
        setup.app().second_call = choice;
        let mut world = setup.world();
        world.call(B);
        world.run_until(ms(4_000));
        world.call(C);
        world.finish();
        let told = world.ladder().to_string();
        assert_eq!(told.matches("X ─▶ A   INVITE A").count(), invites, "{told}");
    }
}

/// What others hear instead of ringback plays once; then ringback.
#[test]
fn the_personal_announcement_plays_once() {
    let mut setup = inward().a(Script::answers(ms(6_000))).b(Script::default().hangs_up(ms(3_000)));
    let voice = numbering::Voice { callee_hint_tone: Some("announcement.wav".into()), ..numbering::Voice::default() };
    setup.last_ax().voice = Some(Box::new(voice));
    story_of(
        setup,
        B,
        Cause::HungUp,
        &expect![[r#"
        0.000  B ─▶ X          INVITE X          From: B
        0.000  B ◀─ X          100
        0.000         X ─▶ A   INVITE A          From: X
        0.040         X ◀─ A   180
        0.040  B ◀─ X          183 (sdp)         ♪ announcement to B, then ringback
        6.000         X ◀─ A   200 (sdp)
        6.000         X ─▶ A   ACK
        6.000  B ◀─ X          200 (sdp)         ♪ silence to B; hint tone to both
        6.000  B ─▶ X          ACK
        7.200                                    ♪ joined
        9.000  B ─▶ X          BYE
        9.000  B ◀─ X          200 to BYE
        9.000         X ─▶ A   BYE               Reason: Q.850;cause=16
        9.000         X ◀─ A   200 to BYE
        9.000  CDR  hung_up by B, rang 5.960, talked 3.000, B 200, A 200
               A heard  hint tone 1.200, B 1.800
               B heard  announcement 2.000, ringback 3.980, hint tone 1.200, A 1.820
    "#]],
    );
}

#[test]
fn a_call_is_recorded_after_the_tone_and_ends_after_its_minutes() {
    let mut setup = inward();
    setup.last_ax().record = true;
    setup.last_ax().max_minutes = 2;
    let world = story_of(
        setup,
        B,
        Cause::MaxDuration,
        &expect![[r#"
          0.000  B ─▶ X          INVITE X          From: B
          0.000  B ◀─ X          100
          0.000         X ─▶ A   INVITE A          From: X
          0.040         X ◀─ A   180
          0.040  B ◀─ X          180
          2.000         X ◀─ A   200 (sdp)
          2.000         X ─▶ A   ACK
          2.000  B ◀─ X          200 (sdp)         ♪ hint tone to both
          2.000  B ─▶ X          ACK
          3.200                                    ♪ joined; recording begins
         62.000                                    ♪ last minute to both, then the other
        122.000  B ◀─ X          BYE               Reason: Q.850;cause=16
        122.000         X ─▶ A   BYE               Reason: Q.850;cause=16
        122.000  B ─▶ X          200 to BYE
        122.000         X ◀─ A   200 to BYE
        122.000  CDR  max_duration, rang 1.960, talked 120.000, B 200, A 200, recorded 118.800
                 A heard  hint tone 1.200, B 117.700, last minute 1.100
                 B heard  hint tone 1.200, A 117.700, last minute 1.100
    "#]],
    );
    assert_eq!(world.cdrs()[0].cause.row().state_code, 8010);
}
