//! A thousand bad networks: loss, duplication and reordering. Every call ends, both legs agree, and no port, timer or
//! transaction is left (the testbed's invariants, checked for each seed).

use testbed::{A, Link, Script, Setup, World, ms, seeds};

fn story(seed: u64) -> World {
    let b = match seed % 6 {
        0 => Script::answers(ms(2_000)).hangs_up(ms(4_000)),
        1 => Script::answers(ms(2_000)),
        2 => Script::is_busy(ms(300)),
        3 => Script::declines(ms(1_500)),
        4 => Script::rings(),
        _ => Script::answers(ms(3_000)).early_media(ms(400)).hangs_up(ms(3_000)),
    };
    let a = match seed % 4 {
        0 => Script::default().hangs_up(ms(5_000)),
        1 => Script::default().cancels(ms(1_900 + seed % 200)).hangs_up(ms(6_000)),
        2 => Script::default().hangs_up(ms(1_300)),
        _ => Script::default().offers_late().hangs_up(ms(5_000)),
    };
    let mut setup = Setup::new(seed).mute().a(a).b(b).link(Link::bad(u8::try_from(seed % 31).expect("below 31")));
    setup.app().no_answer = ms(8_000);
    if seed.is_multiple_of(3) {
        setup = setup.announced();
    }
    let mut world = setup.world();
    world.call(A);
    world
}

#[test]
fn every_call_ends_well_on_a_thousand_bad_networks() {
    seeds(0..1_000, story);
}

#[test]
fn the_same_seed_gives_the_same_ladder_byte_for_byte() {
    for seed in [3, 77, 512] {
        let play = || {
            let mut world = story(seed);
            world.finish();
            world.ladder()
        };
        assert_eq!(play(), play());
    }
}

/// Speech through loss, duplication and jitter: nothing breaks, and what is heard is only what may be.
#[test]
fn media_survives_bad_networks() {
    seeds(0..30, |seed| {
        let setup = Setup::new(seed)
            .recorded()
            .a(Script::default().hangs_up(ms(6_000)))
            .b(Script::answers(ms(500)))
            .media_link(Link::bad(u8::try_from(seed % 16).expect("below 16")));
        let mut world = setup.world();
        world.call(A);
        world
    });
}
