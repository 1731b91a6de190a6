//! Stories that a seed makes up, over networks that lose, double and reorder: whatever happens, the invariants hold.
//!
//! Each side draws what it is able to by itself: reliable provisional responses, session timers, changes of the call, digits, forks,
//! challenges. What comes of two phones that differ is X's affair.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use b2bua::settings::{Reliability as Policy, SessionTimerMode, SessionTimers, Trunk};
use sip::digest::{Account, Credentials, Hash, Password};
use testbed::{
    A, Act, Algorithm, B, Challenge, Direction, Fork, Link, Offer, PhoneId, Provisional, Random, Refresher,
    Reliability, Script, SessionTimer, Setup, State, When, World, ms, seeds,
};

fn pick<T: Clone>(random: &mut Random, among: &[T]) -> T {
    random.pick(among).expect("there is one at least").clone()
}

/// What a phone can do in either role.
fn able(random: &mut Random, mut script: Script) -> Script {
    if random.percent(50) {
        let reliability = pick(random, &[Reliability::Supported, Reliability::Preferred, Reliability::Required]);
        script = script.reliably(reliability);
    }
    if random.percent(30) {
        let timer = SessionTimer::new(pick(random, &[90, 120, 1_800]));
        let timer = if random.percent(30) { timer.by_reinvite() } else { timer };
        let timer = if random.percent(20) { timer.forgets() } else { timer };
        let refresher = pick(random, &[None, Some(Refresher::Us), Some(Refresher::Them)]);
        script = script.timed(SessionTimer { refresher, ..timer });
    }
    for _ in 0..random.next_u64() % 3 {
        let after = random.below(ms(2_500));
        let when = pick(random, &[When::Up(after), When::Early(after)]);
        script = script.does(when, deed(random));
    }
    if random.percent(10) {
        script = script.lacks("UPDATE");
    }
    if random.percent(10) {
        script.refuses_offers = Some(488);
    }
    script
}

fn deed(random: &mut Random) -> Act {
    let offers = [
        Offer::Same,
        Offer::None,
        Offer::Moved,
        Offer::Fax,
        Offer::Direction(Direction::SendOnly),
        Offer::Direction(Direction::Inactive),
        Offer::Direction(Direction::SendRecv),
    ];
    match random.next_u64() % 8 {
        0..=2 => Act::Reinvite(pick(random, &offers)),
        3 | 4 => Act::Update(pick(random, &offers)),
        5 => Act::InfoDigit { digit: '5', relay: random.percent(50) },
        6 => Act::Press('#', ms(100)),
        _ => Act::sends(pick(random, &["REFER", "MESSAGE", "SUBSCRIBE", "OPTIONS", "FROBNICATE"]), &[]),
    }
}

fn called(random: &mut Random) -> Script {
    let at = random.below(ms(1_500));
    let scripts = [
        Script::answers(at),
        Script::answers(at),
        Script::answers(ms(0)).rings_after(ms(0)),
        Script::answers(ms(900)).early_media(ms(300)),
        Script::is_busy(ms(100)),
        Script::declines(at),
        Script::rings(),
        Script::refuses(ms(50), 503),
        Script::redirects(at, 302, &["sip:10.2.0.1:5060", "sip:+8613800000000@192.0.2.1"]),
        Script::is_dead(),
    ];
    let script = pick(random, &scripts);
    let mut script = able(random, script);
    for _ in 0..random.next_u64() % 3 {
        let (after, status) = (random.below(ms(1_200)), pick(random, &[180, 181, 182, 183, 199]));
        script.provisionals.push(Provisional { after, status, sdp: random.percent(30), headers: Vec::new() });
    }
    if random.percent(20) {
        let branch = Fork::rings(SocketAddr::from(([10, 2, 0, 13], 45_000)), random.below(ms(500)));
        let at = ms(500) + random.below(ms(1_000));
        script =
            script.forks(if random.percent(50) { branch.answers(at) } else { branch.early_media(ms(500)).ends(at) });
    }
    if random.percent(20) {
        let password = pick(random, &["secret", "secret", "another"]);
        let mut challenge = Challenge::new(pick(random, &[401, 407]), "carrier", "axbridge", password);
        challenge.algorithms = pick(random, &[vec![Algorithm::Md5], vec![Algorithm::Sha256, Algorithm::Md5]]);
        challenge.qop = random.percent(80);
        challenge.stale_once = random.percent(30);
        challenge.every_request = random.percent(30);
        script = script.challenges(challenge);
    }
    script
}

fn calling(random: &mut Random) -> Script {
    let at = random.below(ms(1_500));
    let scripts = [
        Script::default(),
        Script::default(),
        Script::default().cancels(at),
        Script::default().offers_late(),
        Script { never_acknowledge: true, ..Script::default() },
    ];
    let script = pick(random, &scripts);
    let mut script = able(random, script);
    script.never_pracks = random.percent(5);
    script
}

/// What the operator knows of a carrier.
fn terms(random: &mut Random, trunk: &mut Trunk) {
    trunk.reliability = pick(random, &[Policy::Supported, Policy::Supported, Policy::Never, Policy::Required]);
    if random.percent(30) {
        let mode = pick(random, &[SessionTimerMode::Request, SessionTimerMode::Never]);
        trunk.session_timers = SessionTimers { mode, expires: pick(random, &[90, 600]), min_se: 90 };
    }
    if random.percent(80) {
        let password = Password::new(b"secret".to_vec());
        trunk.auth = Some(Arc::new(Credentials { user: "axbridge".into(), password, realm: None }));
    }
    if random.percent(20) {
        trunk.challenge = Some(Arc::new(Account {
            realm: "axbridge".into(),
            user: "carrier".into(),
            password: Password::new(b"secret".to_vec()),
            hashes: vec![Hash::Sha256, Hash::Md5],
        }));
    }
}

/// A call whose parties act at random until it must end.
fn story(seed: u64, link: Link) -> World {
    let mut random = Random::new(seed);
    let mut setup = Setup::new(seed).a(calling(&mut random)).b(called(&mut random));
    for trunk in &mut setup.settings.trunks {
        terms(&mut random, trunk);
    }
    setup.phones[0].credentials =
        Some(testbed::Credentials { username: "carrier".to_owned(), password: "secret".to_owned() });
    setup = setup.link(link).media_link(if link.is_perfect() { link } else { Link::bad(5) });
    // Which branch of a fork is heard changes without a word to the listener.
    let has_forks = setup.phones.iter().any(|phone| !phone.script.forks.is_empty());
    if random.percent(30) {
        setup = setup.recorded();
    }
    if random.percent(30) {
        setup = setup.announced();
    }
    if random.percent(10) {
        setup = setup.tcp();
    }
    if random.percent(30) {
        setup = setup.canaries();
    }
    if random.percent(80) || has_forks {
        setup = setup.mute();
    }
    let mut world = setup.world();
    world.call(A);
    for _ in 0..random.next_u64() % 6 {
        world.run_until(world.now() + random.below(ms(1_500)));
        let who = pick(&mut random, &[A, B]);
        act(&mut world, &mut random, who);
    }
    // Now and then long enough for a session timer.
    let most = pick(&mut random, &[ms(3_000), ms(3_000), ms(200_000)]);
    world.run_until(world.now() + random.below(most));
    world.hang_up(A);
    world.run_until(world.now() + Duration::from_secs(100));
    world.hang_up(B);
    world
}

fn act(world: &mut World, random: &mut Random, who: PhoneId) {
    match random.next_u64() % 6 {
        0 => world.hang_up(who),
        1 => drop(world.with_phone(who, |phone, _| phone.press('7', ms(100)))),
        // Calls again where its call is over already.
        2 if who == A && world.phone(A).state() == State::Ended => world.call(A),
        _ => {
            let act = deed(random);
            world.with_phone(who, |phone, now| phone.act(now, &act));
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
