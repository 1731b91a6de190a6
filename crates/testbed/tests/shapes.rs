//! Stories of every shape that a seed makes up, each leg of its own: reliable responses, changes by re-INVITE and UPDATE that may
//! collide, session timers, forks, digits, canaries. Whatever happens, the invariants hold.

use std::time::Duration;

use testbed::{
    A, Act, B, Codec, Direction, Fork, Link, Offer, Random, Refresher, Reliability, Script, SessionTimer, Setup, When,
    World, leaks_of, ms, seeds,
};

fn act(random: &mut Random) -> Act {
    let offers = [
        Offer::None,
        Offer::Same,
        Offer::Moved,
        Offer::Direction(Direction::SendOnly),
        Offer::Direction(Direction::Inactive),
        Offer::Direction(Direction::SendRecv),
        Offer::Codecs(vec![Codec::Pcmu, Codec::Pcma]),
        Offer::Fax,
    ];
    let offer = random.pick(&offers).cloned().unwrap_or(Offer::Same);
    match random.next_u64() % 6 {
        0 | 1 => Act::Reinvite(offer),
        2 if offer != Offer::Fax => Act::Update(offer),
        3 => Act::InfoDigit { digit: '5', relay: random.percent(50) },
        4 => Act::Press('7', ms(100)),
        _ => Act::sends("OPTIONS", &[]),
    }
}

fn common(random: &mut Random, mut script: Script) -> Script {
    let levels = [Reliability::Absent, Reliability::Supported, Reliability::Preferred];
    script = script.reliably(*random.pick(&levels).expect("there are three"));
    if random.percent(30) {
        let refresher = if random.percent(50) { Refresher::Us } else { Refresher::Them };
        let timer = SessionTimer::new(90 + (random.next_u64() % 60) as u32).refresher(refresher);
        script = script.timed(if random.percent(50) { timer.by_reinvite() } else { timer });
    }
    for _ in 0..random.next_u64() % 4 {
        let at = random.below(ms(6_000));
        let when = if random.percent(20) { When::Early(at) } else { When::Up(at) };
        script = script.does(when, act(random));
    }
    script
}

fn setup(random: &mut Random, seed: u64, link: Link) -> Setup {
    let at = random.below(ms(1_500));
    let called = [
        Script::answers(at),
        Script::answers(ms(900)).early_media(ms(300)),
        Script::answers(ms(900)).provisional(ms(100), 181).provisional(ms(200), 183),
        Script::declines(at),
        Script::rings(),
    ];
    let cancelled = Script::default().cancels(random.below(ms(1_500)));
    let calling = [Script::default(), Script::default().offers_late(), cancelled];
    let mut b = random.pick(&called).cloned().unwrap_or_default();
    if random.percent(20) {
        let rtp = "10.2.0.13:45000".parse().expect("an address");
        b = b.forks(Fork::rings(rtp, ms(50)).early_media(ms(150)).answers(ms(700)));
    }
    let a = random.pick(&calling).cloned().unwrap_or_default();
    let setup = Setup::new(seed).a(common(random, a)).b(common(random, b)).link(link);
    // The branches of a fork have one voice between them: a packet of it is on its way when X turns to the other branch.
    let setup = if setup.phones[1].script.forks.is_empty() { setup } else { setup.media_link(Link::bad(1)) };
    if random.percent(60) { setup.mute() } else { setup.media_link(Link::bad(5)) }
}

fn tell(world: &mut World, random: &mut Random) {
    world.call(A);
    world.run_until(world.now() + ms(3_000) + random.below(Duration::from_secs(300)));
    world.hang_up(A);
    world.run_until(world.now() + Duration::from_secs(100));
    world.hang_up(B);
}

fn story(seed: u64, link: Link) -> World {
    let mut random = Random::new(seed);
    let mut world = setup(&mut random, seed, link).world();
    tell(&mut world, &mut random);
    world
}

#[test]
fn over_a_good_network() {
    seeds(0..80, |seed| story(seed, Link { latency: ms(5), ..Link::default() }));
}

#[test]
fn over_a_network_that_loses_a_tenth_and_reorders() {
    seeds(0..100, |seed| story(seed, Link::bad(10)));
}

#[test]
fn nothing_of_a_canary_arrives_anywhere_else() {
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let setup = setup(&mut random, seed, Link::default()).media_link(Link::bad(1));
        assert_eq!(leaks_of(setup, |world| tell(world, &mut random)), Vec::<String>::new(), "seed {seed}");
    }
}
