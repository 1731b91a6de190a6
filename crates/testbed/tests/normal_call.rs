//! A normal call, whole: the ladder that the others are variations of.

use testbed::{A, Script, Setup, assert_ladder, expect, ms};

#[test]
fn a_calls_b_through_x_and_hangs_up() {
    let mut world =
        Setup::new(1).a(Script::default().hangs_up(ms(5_000))).b(Script::answers(ms(3_200))).recorded().world();
    world.call(A);
    world.finish();
    assert_ladder(
        &world,
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
        4.400                                    ♪ joined; recording begins
        8.200  A ─▶ X          BYE
        8.200  A ◀─ X          200 to BYE
        8.200         X ─▶ B   BYE               Reason: Q.850;cause=16
        8.200         X ◀─ B   200 to BYE
        8.200  CDR  hung_up by A, rang 3.160, talked 5.000, A 200, B 200, recorded 3.800
               A heard  hint tone 1.200, B 3.800
               B heard  hint tone 1.200, A 3.800
    "#]],
    );
}
