//! Stories that a seed makes up, over networks that lose, double and reorder: whatever happens, the invariants hold.

use std::time::Duration;

use testbed::{A, B, Direction, Link, PhoneId, Random, Script, Setup, World, ms, seeds};

fn called(random: &mut Random) -> Script {
    let at = random.below(ms(1_500));
    let scripts = [
        Script::answers(at),
        Script::answers(ms(0)).rings_after(ms(0)),
        Script::answers(ms(900)).early_media(ms(300)),
        Script::is_busy(ms(100)),
        Script::declines(at),
        Script::rings(),
        Script::refuses(ms(50), 503),
        Script::is_dead(),
    ];
    random.pick(&scripts).cloned().unwrap_or_default()
}

fn calling(random: &mut Random) -> Script {
    let at = random.below(ms(1_500));
    let scripts = [
        Script::default(),
        Script::default().cancels(at),
        Script::default().offers_late(),
        Script { never_acknowledge: true, ..Script::default() },
    ];
    random.pick(&scripts).cloned().unwrap_or_default()
}

/// A call whose parties act at random until it must end.
fn story(seed: u64, link: Link) -> World {
    let mut random = Random::new(seed);
    let mut setup = Setup::new(seed).a(calling(&mut random)).b(called(&mut random));
    setup = setup.link(link).media_link(if link.is_perfect() { link } else { Link::bad(5) });
    if random.percent(30) {
        setup = setup.recorded();
    }
    if random.percent(30) {
        setup = setup.announced();
    }
    if random.percent(10) {
        setup = setup.tcp();
    }
    if random.percent(60) {
        setup = setup.mute();
    }
    let mut world = setup.world();
    world.call(A);
    for _ in 0..random.next_u64() % 6 {
        world.run_until(world.now() + random.below(ms(1_500)));
        let who = *random.pick(&[A, B]).expect("there are two");
        act(&mut world, &mut random, who);
    }
    world.run_until(world.now() + random.below(ms(3_000)));
    world.hang_up(A);
    world.run_until(world.now() + Duration::from_secs(100));
    world.hang_up(B);
    world
}

fn act(world: &mut World, random: &mut Random, who: PhoneId) {
    let directions = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
    match random.next_u64() % 6 {
        0 => world.hang_up(who),
        1 => drop(world.with_phone(who, |phone, _| phone.press('7', ms(100)))),
        // Calls again where its call is over already.
        2 if who == A && world.phone(A).state() == testbed::State::Ended => world.call(A),
        _ => {
            let direction = *random.pick(&directions).expect("there are four");
            world.with_phone(who, |phone, now| phone.modify(now, direction));
        }
    }
}

#[test]
fn over_a_good_network() {
    seeds(0..300, |seed| story(seed, Link::default()));
}

#[test]
fn over_a_network_that_loses_a_fifth_and_reorders() {
    seeds(0..300, |seed| story(seed, Link::bad(20)));
}

#[test]
fn over_a_network_that_hardly_works() {
    seeds(0..300, |seed| story(seed, Link { jitter: ms(2_000), ..Link::bad(40) }));
}

#[test]
fn the_same_seed_gives_the_same_ladder_and_another_seed_another() {
    let ladder = |seed| {
        let mut world = story(seed, Link::bad(20));
        world.finish();
        world.ladder()
    };
    assert_eq!(ladder(5), ladder(5));
    assert_ne!(ladder(5), ladder(6));
}
