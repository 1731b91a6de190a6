//! Health and order of routes, in simulated time.

use std::collections::BTreeMap;

use super::addresses::{FORMER, MAX_FORMER};
use super::*;

const PATIENCE: Duration = Duration::from_secs(4);
const EVERY: Duration = Duration::from_secs(20);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn trunk() -> Arc<str> {
    "carrier".into()
}

/// `HOST priority/weight`, the host being the last number of an address.
fn routes(text: &str) -> Vec<Route> {
    let route = |text: &str| {
        let (host, rank) = text.split_once(' ').unwrap();
        let (priority, weight) = rank.split_once('/').unwrap();
        let ip: IpAddr = format!("10.2.0.{host}").parse().unwrap();
        Route {
            transport: Transport::Udp,
            address: SocketAddr::new(ip, 5060),
            priority: priority.parse().unwrap(),
            weight: weight.parse().unwrap(),
            host: Host::Name("sip.carrier.example".into()),
            port: None,
        }
    };
    text.split(", ").filter(|text| !text.is_empty()).map(route).collect()
}

fn with(text: &str, probe_every: Duration) -> Routes {
    let mut made = Routes::new(1, PATIENCE);
    made.set(Duration::ZERO, &trunk(), probe_every, routes(text));
    made
}

fn host(route: &Route) -> String {
    route.address.ip().to_string().rsplit('.').next().unwrap().to_owned()
}

/// The hosts that a call tries: `1 2 3`. It goes to the first of them.
fn order(routes: &mut Routes, now: Duration) -> String {
    let candidates = routes.order(now, "carrier");
    if let Some(first) = candidates.first() {
        routes.on_call(now, first.id);
    }
    candidates.iter().map(|candidate| host(&candidate.route)).collect::<Vec<_>>().join(" ")
}

fn id(routes: &Routes, wanted: &str) -> RouteId {
    let (place, _) = routes.entries.iter().find(|(_, entry)| host(&entry.route) == wanted).unwrap();
    routes.id(place)
}

fn changes(routes: &mut Routes) -> String {
    let told = std::iter::from_fn(|| routes.poll_change());
    told.map(|change| format!("{} {}", change.address.ip(), change.state.label())).collect::<Vec<_>>().join(", ")
}

/// Runs to a time; every probe is answered with what `status` says, or not at all. Returns when probes were sent.
fn run(
    routes: &mut Routes,
    until: Duration,
    status: impl Fn(&Route, Duration) -> Option<u16>,
) -> Vec<(Duration, String)> {
    let mut sent = Vec::new();
    while let Some(now) = routes.poll_timeout().filter(|at| *at <= until) {
        while let Some(probe) = routes.poll_probe(now) {
            sent.push((now, host(&probe.route)));
            if let Some(status) = status(&probe.route, now) {
                routes.on_probe_answered(now, probe.id, status, None);
            }
        }
    }
    sent
}

#[test]
fn lower_priorities_come_first_and_the_rest_in_turn() {
    let mut made = with("3 7/0, 1 0/0, 2 5/9", Duration::ZERO);
    assert_eq!(order(&mut made, Duration::ZERO), "1 2 3");
    assert_eq!(made.order(Duration::ZERO, "nobody"), []);
    assert_eq!(made.poll_timeout(), None, "nothing waits for anything");
}

#[test]
fn equal_priorities_share_by_weight() {
    let mut made = with("1 0/60, 2 0/30, 3 0/10, 4 0/0, 5 1/0", Duration::ZERO);
    let mut first: BTreeMap<String, u32> = BTreeMap::new();
    let rounds = 100_000;
    for _ in 0..rounds {
        let tried = order(&mut made, Duration::ZERO);
        assert!(tried.ends_with(" 5"), "{tried}");
        let mut each: Vec<&str> = tried.split(' ').collect();
        each.sort_unstable();
        assert_eq!(each, ["1", "2", "3", "4", "5"]);
        *first.entry(tried[..1].to_owned()).or_default() += 1;
    }
    // 101 equal chances: 60, 30, 10, and the one that RFC 2782 leaves to those without weight.
    for (host, chances) in [("1", 60), ("2", 30), ("3", 10), ("4", 1)] {
        let expected = f64::from(rounds) * f64::from(chances) / 101.0;
        let deviation = 5.0 * expected.sqrt();
        let got = f64::from(first.get(host).copied().unwrap_or(0));
        assert!((got - expected).abs() < deviation, "{host}: {got}, not {expected} ± {deviation}");
    }
}

#[test]
fn routes_without_weight_share_evenly() {
    let mut made = with("1 0/0, 2 0/0, 3 0/0, 4 0/0", Duration::ZERO);
    let mut first: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..40_000 {
        *first.entry(order(&mut made, Duration::ZERO)[..1].to_owned()).or_default() += 1;
    }
    assert_eq!(first.len(), 4);
    assert!(first.values().all(|count| (9_500..=10_500).contains(count)), "{first:?}");
}

#[test]
fn a_seed_decides_the_order() {
    let tried = |seed| {
        let mut made = Routes::new(seed, PATIENCE);
        made.set(Duration::ZERO, &trunk(), Duration::ZERO, routes("1 0/1, 2 0/1, 3 0/1, 4 0/1"));
        (0..20).map(|_| order(&mut made, Duration::ZERO)).collect::<Vec<_>>()
    };
    assert_eq!(tried(7), tried(7));
    assert_ne!(tried(7), tried(8));
}

#[test]
fn a_dead_route_is_not_tried_while_another_lives() {
    let mut made = with("1 0/0, 2 1/0", Duration::ZERO);
    let (one, two) = (id(&made, "1"), id(&made, "2"));
    made.on_unreachable(s(10), one);
    assert_eq!(order(&mut made, s(10)), "2");
    made.on_unreachable(s(11), two);
    assert_eq!(order(&mut made, s(12)), "1 2", "when none is up, all are tried");
    made.on_alive(s(13), two);
    assert_eq!(order(&mut made, s(13)), "2");
    assert_eq!(changes(&mut made), "10.2.0.1 down, 10.2.0.2 down, 10.2.0.2 up");
    assert_eq!((made.counters().taken_out, made.counters().returned), (2, 1));
}

#[test]
fn without_probes_one_call_in_a_while_finds_out_whether_a_route_is_back() {
    let mut made = with("1 0/0, 2 1/0", Duration::ZERO);
    let one = id(&made, "1");
    made.on_unreachable(s(100), one);
    // The trials: after 30 s, then 60 s, 120 s … later, at most 5 min.
    let mut trials = Vec::new();
    for now in 100..1_500 {
        match order(&mut made, s(now)).as_str() {
            "1 2" => {
                trials.push(now);
                assert_eq!(order(&mut made, s(now)), "2", "one call alone");
                // The others that were on their way to it tell nothing new.
                made.on_unreachable(s(now), one);
            }
            other => assert_eq!(other, "2"),
        }
    }
    assert_eq!(trials, [130, 190, 310, 550, 850, 1_150, 1_450]);
    made.on_alive(s(1_500), one);
    assert_eq!(order(&mut made, s(1_500)), "1 2");
    made.on_unreachable(s(1_600), one);
    assert_eq!(
        (order(&mut made, s(1_629)), order(&mut made, s(1_630))),
        ("2".into(), "1 2".into()),
        "from the start again"
    );
    assert_eq!(made.poll_timeout(), None);
}

#[test]
fn a_route_of_lower_rank_is_no_trial_for_anybody() {
    let mut made = with("1 0/0, 2 1/0", Duration::ZERO);
    let two = id(&made, "2");
    made.on_unreachable(s(0), two);
    for _ in 0..3 {
        assert_eq!(order(&mut made, s(40)), "1 2");
    }
}

#[test]
fn a_route_that_said_when_to_come_again_is_left_alone_until_then() {
    let mut made = with("1 0/0, 2 1/0", Duration::ZERO);
    let one = id(&made, "1");
    made.on_overloaded(s(10), one, s(30));
    made.on_alive(s(11), one);
    assert_eq!(order(&mut made, s(39)), "2");
    assert_eq!(order(&mut made, s(40)), "1 2");
    made.on_overloaded(s(50), one, s(1_000_000));
    assert_eq!((order(&mut made, s(649)), order(&mut made, s(650))), ("2".into(), "1 2".into()), "ten minutes at most");
    assert_eq!(run(&mut made, s(700), |_, _| None), []);
    assert_eq!(changes(&mut made), "10.2.0.1 busy, 10.2.0.1 up");
    assert_eq!((made.counters().busy, made.counters().returned), (2, 1));
}

#[test]
fn routes_that_answer_are_probed_at_their_pace() {
    let mut made = with("1 0/0, 2 1/0", EVERY);
    let sent = run(&mut made, s(100), |_, _| Some(200));
    for host in ["1", "2"] {
        let times: Vec<Duration> = sent.iter().filter(|(_, to)| to == host).map(|(at, _)| *at).collect();
        assert!(times[0] < SPREAD, "{times:?}");
        assert_eq!(times.len(), 5);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == EVERY), "{times:?}");
    }
    assert_ne!(sent[0].0, sent[1].0, "they do not leave together");
    assert_eq!((made.counters().probes, made.counters().probes_lost), (10, 0));
    assert_eq!(changes(&mut made), "");
}

#[test]
fn two_probes_without_an_answer_take_a_route_out_and_one_answer_returns_it() {
    for answer in [None, Some(503)] {
        let mut made = with("1 0/0, 2 1/0", EVERY);
        let back = s(300);
        let sent =
            run(&mut made, s(600), |route, now| if host(route) == "1" && now < back { answer } else { Some(404) });
        let times: Vec<Duration> = sent.iter().filter(|(_, to)| to == "1").map(|(at, _)| *at).collect();
        let wait = if answer.is_none() { PATIENCE } else { Duration::ZERO };
        // The second at once, then after 20, 40, 80, 160 s; from the first answer on every 20 s.
        let pauses: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).take(6).collect();
        assert_eq!(pauses, [wait, wait + s(20), wait + s(40), wait + s(80), wait + s(160), s(20)]);
        assert_eq!(changes(&mut made), "10.2.0.1 down, 10.2.0.1 up");
        let counters = made.counters();
        assert_eq!((counters.taken_out, counters.returned, counters.probes_lost), (1, 1, 5));
        assert_eq!(order(&mut made, s(600)), "1 2");
    }
}

#[test]
fn one_lost_probe_takes_nothing_out() {
    let mut made = with("1 0/0, 2 1/0", EVERY);
    let lost = std::cell::Cell::new(false);
    run(&mut made, s(100), |route, _| (host(route) != "1" || lost.replace(true)).then_some(200));
    assert_eq!((changes(&mut made).as_str(), made.counters().probes_lost), ("", 1));
}

#[test]
fn a_probed_route_is_down_until_it_answers() {
    let mut made = with("1 0/0, 2 1/0", EVERY);
    let one = id(&made, "1");
    run(&mut made, s(50), |_, _| Some(200));
    made.on_unreachable(s(50), one);
    let sent = run(&mut made, s(1_000), |route, _| (host(route) != "1").then_some(200));
    assert_eq!(sent.iter().find(|(_, to)| to == "1").map(|(at, _)| *at), Some(s(70)), "the pause begins with the call");
    for now in 50..1_000 {
        assert_eq!(order(&mut made, s(now)), "2", "no call is on trial where probes do it");
    }
    // A late answer of an old probe is an answer.
    made.on_probe_answered(s(1_000), one, 200, None);
    assert_eq!(order(&mut made, s(1_000)), "1 2");
}

#[test]
fn a_probe_that_cannot_be_sent_is_a_lost_one_and_counts_once() {
    let mut made = with("1 0/0", EVERY);
    let first = made.poll_timeout().unwrap();
    let probe = made.poll_probe(first).unwrap();
    made.on_probe_lost(first, probe.id);
    made.on_probe_lost(first, probe.id);
    assert_eq!(made.counters().probes_lost, 1);
    let probe = made.poll_probe(first).unwrap();
    made.on_probe_lost(first, probe.id);
    assert_eq!(changes(&mut made), "10.2.0.1 down");
    assert_eq!(order(&mut made, first), "1", "the only one");
}

#[test]
fn a_probe_s_retry_after_is_believed_too() {
    let mut made = with("1 0/0, 2 1/0", EVERY);
    let one = id(&made, "1");
    let now = loop {
        let now = made.poll_timeout().unwrap();
        let Some(probe) = made.poll_probe(now) else { continue };
        if probe.id == one {
            made.on_probe_answered(now, probe.id, 503, Some(s(100)));
            break now;
        }
        made.on_probe_answered(now, probe.id, 200, None);
    };
    assert_eq!(order(&mut made, now + s(99)), "2");
    let sent = run(&mut made, now + s(140), |_, _| Some(200));
    assert_eq!(
        sent.iter().filter(|(_, to)| to == "1").map(|(at, _)| *at - now).collect::<Vec<_>>(),
        [s(100), s(120), s(140)]
    );
    assert_eq!(changes(&mut made), "10.2.0.1 busy, 10.2.0.1 up");
}

#[test]
fn routes_that_stay_keep_their_health() {
    let mut made = with("1 0/0, 2 1/0", Duration::ZERO);
    let (one, two) = (id(&made, "1"), id(&made, "2"));
    made.on_unreachable(s(1), one);
    made.set(s(2), &trunk(), Duration::ZERO, routes("3 0/0, 1 0/0, 3 5/5"));
    assert_eq!(order(&mut made, s(2)), "3");
    assert_eq!(id(&made, "1"), one);
    // Of what is gone nothing is believed, also when its place has been taken.
    made.on_unreachable(s(3), two);
    made.on_alive(s(3), two);
    assert_eq!(order(&mut made, s(3)), "3");
    made.set(s(4), &trunk(), Duration::ZERO, routes("1 9/0, 3 0/0"));
    made.on_alive(s(4), one);
    assert_eq!(order(&mut made, s(4)), "3 1", "ranks are the new ones");
}

#[test]
fn probes_begin_and_end_with_the_operator_s_word() {
    let mut made = with("1 0/0", Duration::ZERO);
    assert_eq!(run(&mut made, s(100), |_, _| None), []);
    made.set(s(100), &trunk(), EVERY, routes("1 0/0"));
    assert!(run(&mut made, s(106), |_, _| Some(200)).len() == 1);
    made.set(s(106), &trunk(), s(5), routes("1 0/0"));
    assert!(run(&mut made, s(116), |_, _| Some(200)).len() >= 2, "a shorter pause begins now");
    made.set(s(116), &trunk(), Duration::ZERO, routes("1 0/0"));
    assert_eq!(run(&mut made, s(1_000), |_, _| None), []);
    assert_eq!(made.poll_timeout(), None);
}

#[test]
fn an_address_belongs_to_its_trunk_for_a_day_after_it_was_a_route() {
    let mut made = with("1 0/0", Duration::ZERO);
    let ip = |host: u32| IpAddr::from(std::net::Ipv4Addr::from(0x0a02_0000 + host));
    made.set(Duration::ZERO, &"other".into(), Duration::ZERO, routes("1 0/0, 9 0/0"));
    let whose = |made: &Routes, now, host| made.trunk_of_address(now, ip(host)).map(|trunk| trunk.to_string());
    assert_eq!(whose(&made, s(0), 1).as_deref(), Some("carrier"), "the first that had it");
    assert_eq!(whose(&made, s(0), 2), None);
    made.set(s(10), &trunk(), Duration::ZERO, routes("2 0/0"));
    assert_eq!(whose(&made, s(10), 1).as_deref(), Some("carrier"));
    assert_eq!(whose(&made, s(10) + FORMER, 1).as_deref(), Some("other"));
    // Back within the day, and gone again.
    made.set(s(20), &trunk(), Duration::ZERO, routes("1 0/0"));
    assert_eq!(whose(&made, s(20) + FORMER, 1).as_deref(), Some("carrier"));
    for host in 10..=250 {
        made.set(s(30), &trunk(), Duration::ZERO, routes(&format!("{host} 0/0")));
    }
    assert_eq!(made.addresses.len("carrier").1, 242);
    made.set(s(31) + FORMER, &trunk(), Duration::ZERO, routes("1 0/0"));
    assert_eq!(made.addresses.len("carrier"), (3, 1), "what is over is forgotten");
    made.retain(s(40) + FORMER, |trunk| trunk == "other");
    assert_eq!((whose(&made, s(40), 250), whose(&made, s(40), 9).as_deref()), (None, Some("other")));
    assert_eq!((made.entries.len(), made.addresses.len("carrier")), (2, (2, 0)));
}

#[test]
fn what_is_remembered_is_limited() {
    let mut made = with("", Duration::ZERO);
    let many = |from: u32, count: u32| -> Vec<Route> {
        let one = routes("1 0/0").remove(0);
        let at = |place| SocketAddr::new(IpAddr::from(std::net::Ipv4Addr::from(0x0a03_0000 + place)), 5060);
        (from..from + count).map(|place| Route { address: at(place), ..one.clone() }).collect()
    };
    for round in 0..100 {
        made.set(s(u64::from(round)), &trunk(), EVERY, many(round * 70, 70));
    }
    assert_eq!((made.entries.len(), made.counters().left_out), (MAX_ROUTES, 600));
    assert_eq!(made.addresses.len("carrier"), (MAX_FORMER + MAX_ROUTES, MAX_FORMER));
    assert_eq!(made.order(s(100), "carrier").len(), MAX_ATTEMPTS);
}

#[test]
fn targets_come_in_the_operator_s_order_and_the_gauges_name_them() {
    let located = |ip: &str, priority, weight| Located {
        transport: Transport::Udp,
        address: format!("{ip}:5060").parse().unwrap(),
        priority,
        weight,
        name: None,
    };
    let named = Target { host: Host::named("sip.e").unwrap(), port: Some(5070), transport: Some(Transport::Udp) };
    let literal = Target::at(Transport::Tcp, "10.9.9.9:5080".parse().unwrap());
    let mut all = Route::of_target(0, &named, &[located("10.2.0.2", 3, 0), located("10.2.0.1", 0, 7)]);
    all.extend(Route::of_target(1, &literal, &[located("10.9.9.9", 0, 0)]));
    let shown: Vec<_> = all.iter().map(|route| (route.host_port(), route.priority)).collect();
    assert_eq!(shown, [("sip.e:5070".into(), 3), ("sip.e:5070".into(), 0), ("10.9.9.9:5080".into(), 1 << 16)]);
    let mut made = Routes::new(1, PATIENCE);
    made.set(Duration::ZERO, &trunk(), Duration::ZERO, all);
    assert_eq!(order(&mut made, Duration::ZERO), "1 2 9");
    made.on_unreachable(s(1), id(&made, "2"));
    made.on_overloaded(s(1), id(&made, "9"), s(5));
    let gauges: Vec<_> =
        made.gauges(&trunk()).into_iter().map(|gauge| (gauge.host.to_string(), gauge.routes)).collect();
    assert_eq!(gauges, [("sip.e".to_owned(), [1, 0, 1]), ("10.9.9.9".to_owned(), [0, 1, 0])]);
    assert_eq!(made.gauges(&"nobody".into()), []);
}
