//! Both orders of every race between the two parties, and between them and us (RFC 5407), each ended cleanly.

use b2bua::outcome::Cause;
use testbed::{A, B, Script, Setup, ms};

/// A cancels around the instant at which B answers: whatever wins, both legs agree and nothing is left.
#[test]
fn cancel_crosses_the_answer_in_every_order() {
    let (mut cancelled, mut answered) = (0, 0);
    for offset in 0..40 {
        let setup = Setup::new(offset)
            .mute()
            .a(Script::default().cancels(ms(980 + offset)).hangs_up(ms(2_000)))
            .b(Script::answers(ms(1_000)));
        let mut world = setup.world();
        world.call(A);
        world.finish();
        match world.cdrs()[0].cause {
            Cause::CancelledAfterRinging => cancelled += 1,
            Cause::HungUp => answered += 1,
            other => panic!("{other:?} at {offset}\n{}", world.ladder()),
        }
    }
    assert!(cancelled > 5 && answered > 5, "both orders must occur: {cancelled} and {answered}");
}

/// Both hang up around the same instant.
#[test]
fn bye_crosses_bye_in_every_order() {
    for offset in 0..40 {
        let setup = Setup::new(offset)
            .mute()
            .a(Script::default().hangs_up(ms(3_000 + offset)))
            .b(Script::answers(ms(1_000)).hangs_up(ms(3_020)));
        let mut world = setup.world();
        world.call(A);
        world.finish();
        assert_eq!(world.cdrs()[0].cause, Cause::HungUp, "{}", world.ladder());
    }
}

/// A gives up around the instant at which B refuses.
#[test]
fn cancel_crosses_a_refusal_in_every_order() {
    for offset in 0..40 {
        let setup =
            Setup::new(offset).mute().a(Script::default().cancels(ms(980 + offset))).b(Script::declines(ms(1_000)));
        let mut world = setup.world();
        world.call(A);
        world.finish();
        let cause = world.cdrs()[0].cause;
        assert!(matches!(cause, Cause::CancelledAfterRinging | Cause::Rejected), "{cause:?}\n{}", world.ladder());
    }
}

/// A cancels before B has said anything: the CANCEL must wait for the first provisional response.
#[test]
fn cancel_before_any_response_waits_for_one() {
    let setup = Setup::new(1).mute().a(Script::default().cancels(ms(100))).b(Script::rings().rings_after(ms(800)));
    let mut world = setup.world();
    world.call(A);
    world.finish();
    assert_eq!(world.cdrs()[0].cause, Cause::CancelledBeforeRinging);
}

/// B's answer comes as our no-answer timer fires.
#[test]
fn no_answer_crosses_the_answer_in_every_order() {
    for offset in 0..40 {
        let mut setup =
            Setup::new(offset).mute().a(Script::default().hangs_up(ms(1_000))).b(Script::answers(ms(1_980 + offset)));
        setup.app().no_answer = ms(2_000);
        let mut world = setup.world();
        world.call(A);
        world.finish();
        let cause = world.cdrs()[0].cause;
        assert!(matches!(cause, Cause::NoAnswer | Cause::HungUp), "{cause:?}\n{}", world.ladder());
    }
}

/// B hangs up at once, perhaps before A's ACK has come: no BYE may go to A before that (RFC 3261 §15).
#[test]
fn b_hangs_up_while_the_tone_plays() {
    for offset in 0..20 {
        let setup = Setup::new(offset).b(Script::answers(ms(1_000)).hangs_up(ms(offset * 100)));
        let mut world = setup.world();
        world.call(A);
        world.finish();
        assert_eq!(world.cdrs()[0].cause, Cause::HungUp, "{}", world.ladder());
    }
}

/// The binding goes while the call is up: the call goes on to its end (product rule M1.4), the next is refused.
#[test]
fn unbinding_harms_no_call_in_progress() {
    let mut world = Setup::new(1).mute().b(Script::answers(ms(1_000)).hangs_up(ms(5_000))).world();
    world.call(A);
    world.run_until(ms(3_000));
    world.bindings.unbind(numbering::SubscriptionId(1)).expect("bound");
    world.finish();
    assert_eq!(world.cdrs()[0].cause, Cause::HungUp);
    world.call(A);
    world.finish();
    assert_eq!(world.cdrs()[1].cause, Cause::NotBound);
}

/// Both parties dial X at the same instant: two calls, each busy on the other's phone.
#[test]
fn both_parties_call_at_once() {
    let mut setup = Setup::new(1).mute().a(Script::answers(ms(1_000))).b(Script::answers(ms(1_000)));
    setup.numbers[0].trunk = None;
    for trunk in &mut setup.settings.trunks {
        trunk.sources = vec!["10.0.0.0/8".parse().expect("a network")];
    }
    setup.settings.trunks.truncate(1);
    let mut world = setup.world();
    world.call(A);
    world.call(B);
    world.finish();
    assert_eq!(world.cdrs().len(), 2, "{}", world.ladder());
}
