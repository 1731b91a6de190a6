//! Routes of a trunk, seen from calls: fail-over, what is dead is skipped, what lives again is used again, and whose addresses
//! they are. Hosts that are no phones speak by hand: what X sends them is in `World::unclaimed`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use b2bua::outcome::Cause;
use b2bua::routes::{Route, RouteState};
use b2bua::settings::Target;
use sip::locate::Host;
use sip::transaction::Transport;
use testbed::{A, Script, Setup, World, ms};

/// B's gateway: calls that go there reach B's phone.
const GATEWAY: &str = "10.2.0.1:5060";
/// Another host of the same carrier.
const OTHER: &str = "10.2.0.77:5060";
/// A host that only the DNS knows: in nobody's `sources`.
const ELSEWHERE: &str = "10.9.0.1:5060";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The routes of carrier-b, in this order.
fn set_routes(world: &mut World, addresses: &[&str]) {
    let route = |(place, text): (u32, &&str)| Route {
        transport: Transport::Udp,
        address: address(text),
        priority: place,
        weight: 0,
        host: Host::named("sip.carrier-b.example").expect("a name"),
        port: None,
    };
    let routes = (0..).zip(addresses).map(route).collect();
    world.set_routes("carrier-b", routes);
}

fn setup() -> Setup {
    Setup::new(1).mute().a(Script::default()).b(Script::answers(ms(500)).hangs_up(ms(1_000)))
}

/// Requests of a method that X has sent to a host so far.
fn sent(world: &World, method: &str, to: &str) -> Vec<String> {
    let is_it = |packet: &&testbed::Packet| {
        packet.destination == address(to) && packet.bytes.starts_with(format!("{method} ").as_bytes())
    };
    world.unclaimed().iter().filter(is_it).map(|packet| String::from_utf8_lossy(&packet.bytes).into_owned()).collect()
}

fn header<'m>(message: &'m str, name: &str) -> &'m str {
    let start = format!("{name}: ");
    message.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no {name} in {message}"))
}

/// A response to a request of X, with more headers, each ended, and a body.
fn respond(world: &mut World, from: &str, request: &str, status: &str, more: &str, body: &str) {
    let [via, caller, called, call_id, cseq] =
        ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| header(request, name).to_owned());
    let text = format!(
        "SIP/2.0 {status}\r\nVia: {via}\r\nFrom: {caller}\r\nTo: {called};tag=far\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n\
         {more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    world.inject_sip(address(from), text.as_bytes());
}

/// From A's INVITE until B rang, of the last call that has ended.
fn time_to_ring(world: &World) -> Duration {
    let cdr = world.cdrs().last().expect("a call has ended");
    cdr.alerting.expect("B rang") - cdr.call_in
}

/// A calls, and X has begun to work on it.
fn dial(world: &mut World) {
    world.call(A);
    world.run_until(world.now() + ms(10));
}

/// One more call from A, to its end.
fn call(world: &mut World) {
    let before = world.cdrs().len();
    dial(world);
    let begun = world.now();
    while world.cdrs().len() == before {
        assert!(world.now() < begun + s(200), "the call does not end");
        world.run_until(world.now() + ms(100));
    }
    assert_eq!(world.cdrs()[before].cause, Cause::HungUp);
    // The phones' last transactions.
    world.run_until(world.now() + ms(500));
}

fn states(world: &World) -> [u32; 3] {
    let gauges = world.core.gauges().routes;
    gauges.iter().find(|gauge| &*gauge.trunk == "carrier-b").expect("it has routes").routes
}

#[test]
fn a_silent_route_costs_one_call_its_time_and_the_next_ones_nothing() {
    let mut world = setup().world();
    set_routes(&mut world, &[OTHER, GATEWAY]);
    call(&mut world);
    assert_eq!(time_to_ring(&world), s(32) + ms(40), "timer B, then the next route");
    assert_eq!(sent(&world, "INVITE", OTHER).len(), 7);
    assert_eq!(states(&world), [1, 0, 1]);
    assert!(world.logs().iter().any(|line| line.contains("Route") && line.contains("Down")));

    call(&mut world);
    assert_eq!(time_to_ring(&world), ms(40));
    assert_eq!(sent(&world, "INVITE", OTHER).len(), 7, "it was not asked");

    // Half a minute later one call finds out that nothing has changed, and meanwhile the others do not wait.
    world.run_until(s(64));
    call(&mut world);
    assert_eq!(time_to_ring(&world), s(32) + ms(40));
    call(&mut world);
    assert_eq!(time_to_ring(&world), ms(40));

    // The next one is answered, by a refusal of its own: it lives.
    world.run_until(s(200));
    dial(&mut world);
    let invite = sent(&world, "INVITE", OTHER).pop().expect("an INVITE");
    respond(&mut world, OTHER, &invite, "486 Busy Here", "", "");
    assert_eq!(states(&world), [2, 0, 0]);
    world.finish();
    assert_eq!(world.cdrs().last().map(|cdr| cdr.cause), Some(Cause::Busy));
}

#[test]
fn a_call_that_goes_nowhere_uses_up_no_trial() {
    let mut world = setup().world();
    set_routes(&mut world, &[OTHER, GATEWAY]);
    call(&mut world);
    world.run_until(s(64));
    // X and this caller have no codec in common.
    let sdp = "v=0\r\no=- 1 1 IN IP4 10.1.7.7\r\ns=-\r\nc=IN IP4 10.1.7.7\r\nt=0 0\r\nm=audio 41000 RTP/AVP 9\r\n";
    let invite = format!(
        "INVITE sip:+8617055556666@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.7.7;branch=z9hG4bKa1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+8613811112222@10.1.7.7>;tag=a1\r\nTo: <sip:+8617055556666@10.0.0.1>\r\n\
         Call-ID: hand\r\nCSeq: 1 INVITE\r\nContact: <sip:10.1.7.7>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    world.inject_sip(address("10.1.7.7:5060"), invite.as_bytes());
    world.run_until(s(65));
    assert_eq!(world.cdrs().last().map(|cdr| cdr.cause), Some(Cause::NoCommonCodec), "{}", world.ladder());
    call(&mut world);
    assert_eq!(time_to_ring(&world), s(32) + ms(40), "this call finds out");
    world.finish();
}

/// A text that met silence is not sent again, so that none is a trial: calls find out.
#[test]
fn no_text_goes_by_a_route_on_trial() {
    let mut world = setup().world();
    set_routes(&mut world, &[OTHER, GATEWAY]);
    call(&mut world);
    world.run_until(s(64));
    for _ in 0..2 {
        world.text(A, "words");
        world.run_until(world.now() + s(1));
    }
    assert_eq!(world.text_statuses(A), [200, 200], "{}", world.ladder());
    assert_eq!(sent(&world, "MESSAGE", OTHER), Vec::<String>::new());
    call(&mut world);
    assert_eq!(time_to_ring(&world), s(32) + ms(40), "the trial is left to a call");
    // Where none is up, a text takes what there is.
    set_routes(&mut world, &[OTHER]);
    world.text(A, "words");
    world.run_until(world.now());
    assert_eq!(sent(&world, "MESSAGE", OTHER).len(), 1);
    world.run_until(world.now() + s(60));
    world.finish();
}

#[test]
fn a_route_that_cannot_be_sent_to_is_out_at_once() {
    let mut world = setup().world();
    set_routes(&mut world, &[OTHER, GATEWAY]);
    world.refuse(address(OTHER));
    call(&mut world);
    assert_eq!((time_to_ring(&world), states(&world)), (ms(40), [1, 0, 1]));
    world.finish();
}

#[test]
fn when_none_is_up_all_are_tried() {
    let mut world = setup().world();
    set_routes(&mut world, &[OTHER, GATEWAY]);
    world.refuse(address(OTHER));
    world.refuse(address(GATEWAY));
    for _ in 0..2 {
        dial(&mut world);
        assert!(world.run_until_idle(s(100)));
    }
    assert_eq!(world.cdrs().iter().map(|cdr| cdr.cause).collect::<Vec<_>>(), [Cause::NoResponse; 2]);
    assert_eq!(states(&world), [0, 0, 2]);
    world.finish();
}

#[test]
fn a_503_goes_on_to_the_next_and_only_its_retry_after_lasts() {
    let mut world = setup().world();
    set_routes(&mut world, &[OTHER, GATEWAY]);
    let tries = |world: &mut World, more: &str| {
        let before = sent(world, "INVITE", OTHER).len();
        dial(world);
        let invites = sent(world, "INVITE", OTHER);
        if invites.len() > before {
            respond(world, OTHER, &invites[before], "503 Service Unavailable", more, "");
        }
        world.run_until(world.now() + s(3));
        assert_eq!(world.cdrs().last().map(|cdr| cdr.cause), Some(Cause::HungUp));
        assert!(time_to_ring(world) < ms(100), "nobody waits");
        invites.len() - before
    };
    assert_eq!(tries(&mut world, ""), 1);
    assert_eq!(
        (tries(&mut world, "Retry-After: 20\r\n"), states(&world)),
        (1, [1, 1, 0]),
        "the first was about one call"
    );
    assert_eq!((tries(&mut world, ""), tries(&mut world, "")), (0, 0));
    world.run_until(s(30));
    assert_eq!(states(&world), [2, 0, 0]);
    assert_eq!(tries(&mut world, ""), 1);
    world.finish();
    let counters = world.core.route_counters();
    assert_eq!((counters.busy, counters.returned, counters.taken_out), (1, 1, 0));
}

#[test]
fn a_call_that_is_cancelled_in_vain_says_what_it_saw() {
    for (rings, down) in [(true, 0), (false, 1)] {
        let mut setup = setup();
        setup.app().no_answer = s(5);
        let mut world = setup.world();
        set_routes(&mut world, &[OTHER]);
        dial(&mut world);
        if rings {
            let invite = sent(&world, "INVITE", OTHER).pop().expect("an INVITE");
            respond(&mut world, OTHER, &invite, "180 Ringing", "Contact: <sip:10.2.0.77>\r\n", "");
        }
        // The CANCEL is not answered, or never sent.
        assert!(world.run_until_idle(s(200)));
        assert_eq!(states(&world)[RouteState::Down as usize], down, "rings: {rings}");
        world.finish();
    }
}

/// Runs on while every OPTIONS of X is answered as `status` says.
fn run_answering(world: &mut World, until: Duration, status: impl Fn(&str) -> Option<&'static str>) {
    let mut seen = [OTHER, GATEWAY].map(|host| sent(world, "OPTIONS", host).len());
    while world.now() < until {
        world.run_until(world.now() + ms(50));
        for (place, host) in [OTHER, GATEWAY].into_iter().enumerate() {
            let probes = sent(world, "OPTIONS", host);
            for probe in &probes[seen[place]..] {
                if let Some(status) = status(host) {
                    respond(world, host, probe, status, "", "");
                }
            }
            seen[place] = probes.len();
        }
    }
}

#[test]
fn probes_find_a_dead_route_before_a_call_does_and_take_it_back() {
    let mut setup = setup();
    setup.settings.trunks[1].probe_every = s(10);
    let mut world = setup.world();
    set_routes(&mut world, &[OTHER, GATEWAY]);
    run_answering(&mut world, s(40), |_| Some("200 OK"));
    assert_eq!(states(&world), [2, 0, 0]);
    let probe = sent(&world, "OPTIONS", OTHER).remove(0);
    assert!(probe.starts_with("OPTIONS sip:sip.carrier-b.example SIP/2.0\r\n"), "{probe}");
    assert!(header(&probe, "From").starts_with("<sip:10.0.0.1:5060>;tag="), "{probe}");
    for number in ["13811112222", "13933334444", "17055556666"] {
        assert!(!probe.contains(number), "{probe}");
    }

    // It falls silent: two probes of four seconds each, the first of them within ten.
    run_answering(&mut world, s(60), |host| (host == GATEWAY).then_some("404 Not Found"));
    assert_eq!(states(&world), [1, 0, 1]);
    let before = sent(&world, "INVITE", OTHER).len();
    dial(&mut world);
    run_answering(&mut world, s(64), |host| (host == GATEWAY).then_some("404 Not Found"));
    assert_eq!((time_to_ring(&world), sent(&world, "INVITE", OTHER).len()), (ms(40), before));

    // An answer, whatever it says, and the next call goes there.
    run_answering(&mut world, s(160), |_| Some("405 Method Not Allowed"));
    assert_eq!(states(&world), [2, 0, 0]);
    dial(&mut world);
    assert_eq!(sent(&world, "INVITE", OTHER).len(), before + 1);
    let counters = world.core.route_counters();
    assert_eq!((counters.taken_out, counters.returned), (1, 1));

    // A reload ends the probes, and nothing is left of them.
    let mut settings = b2bua::settings::Settings::clone(&setup_settings());
    settings.trunks[1].probe_every = Duration::ZERO;
    world.core.reload(world.now(), Arc::new(settings));
    set_routes(&mut world, &[GATEWAY]);
    world.finish();
}

fn setup_settings() -> Arc<b2bua::settings::Settings> {
    Arc::new(setup().settings)
}

#[test]
fn a_reload_s_addresses_are_the_routes_of_the_next_call() {
    let mut world = setup().world();
    let mut settings = b2bua::settings::Settings::clone(&setup_settings());
    settings.trunks[1].targets.insert(0, Target::at(Transport::Udp, address(OTHER)));
    world.reload(settings.clone());
    dial(&mut world);
    let invite = sent(&world, "INVITE", OTHER).pop().expect("it goes to the new target");
    assert!(invite.starts_with("INVITE sip:+8613933334444@10.2.0.77:5060 SIP/2.0\r\n"), "{invite}");
    respond(&mut world, OTHER, &invite, "503 Service Unavailable", "", "");
    world.run_until(s(4));
    assert_eq!(world.cdrs().last().map(|cdr| cdr.cause), Some(Cause::HungUp));

    // A name among them: what was known stays until it has been looked up.
    let name = Host::named("sip.carrier-b.example").expect("a name");
    settings.trunks[1].targets = vec![Target { host: name, port: None, transport: None }];
    world.reload(settings);
    assert_eq!(states(&world), [1, 0, 0]);
    set_routes(&mut world, &[ELSEWHERE]);
    dial(&mut world);
    let invite = sent(&world, "INVITE", ELSEWHERE).pop().expect("it goes where the name leads");
    assert!(invite.starts_with("INVITE sip:+8613933334444@sip.carrier-b.example SIP/2.0\r\n"), "{invite}");
    assert_eq!(header(&invite, "To"), "<sip:+8613933334444@sip.carrier-b.example>");
    world.core.set_routes(world.now(), "nobody", Vec::new());
    world.finish();
}

#[test]
fn a_trunk_whose_name_has_never_been_found_takes_no_calls() {
    let mut setup = setup();
    let name = Host::named("sip.carrier-b.example").expect("a name");
    setup.settings.trunks[1].targets = vec![Target { host: name, port: None, transport: None }];
    let mut world = setup.world();
    dial(&mut world);
    world.finish();
    assert_eq!(world.cdrs()[0].cause, Cause::NoRoute);
}

#[test]
fn what_comes_from_where_a_name_led_belongs_to_the_trunk_also_when_it_leads_elsewhere_by_now() {
    let sdp = "v=0\r\no=- 1 1 IN IP4 10.9.0.1\r\ns=-\r\nc=IN IP4 10.9.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
    let mut world = setup().world();
    set_routes(&mut world, &[ELSEWHERE]);
    dial(&mut world);
    let invite = sent(&world, "INVITE", ELSEWHERE).pop().expect("an INVITE");
    let more = "Contact: <sip:b@10.9.0.1:5060>\r\nContent-Type: application/sdp\r\n";
    respond(&mut world, ELSEWHERE, &invite, "200 OK", more, sdp);
    assert_eq!(sent(&world, "ACK", ELSEWHERE).len(), 1);
    world.run_until(s(5));
    set_routes(&mut world, &[GATEWAY]);

    let bye = |from: &str| {
        let line = header(&invite, "Contact").trim_matches(['<', '>']).to_owned();
        format!(
            "BYE {line} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKbye{from}\r\nMax-Forwards: 70\r\nFrom: {};tag=far\r\n\
             To: {}\r\nCall-ID: {}\r\nCSeq: 9 BYE\r\nContent-Length: 0\r\n\r\n",
            header(&invite, "To"),
            header(&invite, "From"),
            header(&invite, "Call-ID"),
        )
    };
    let answers = |world: &World, to: &str| -> Vec<String> {
        let to = address(to);
        let all =
            world.unclaimed().iter().filter(|packet| packet.destination == to && packet.bytes.starts_with(b"SIP"));
        all.map(|packet| String::from_utf8_lossy(&packet.bytes[8..11]).into_owned()).collect()
    };
    for (from, status) in [("10.9.0.2:5060", "403"), (ELSEWHERE, "200")] {
        world.inject_sip(address(from), bye(from).as_bytes());
        assert_eq!(answers(&world, from), [status], "{from}");
    }
    // It takes calls, it does not make them.
    let invite = bye(ELSEWHERE).replace("BYE", "INVITE").replace("tag=far", "tag=new").replace("z9hG4bK", "z9hG4bKi");
    let to = header(&invite, "To").to_owned();
    let invite =
        invite.replace(&format!("To: {to}"), "To: <sip:x@10.0.0.1>").replace("CSeq", "Contact: <sip:10.9.0.1>\r\nCSeq");
    world.inject_sip(address(ELSEWHERE), invite.as_bytes());
    assert_eq!(answers(&world, ELSEWHERE), ["200", "403"]);
    assert!(world.run_until_idle(s(200)) && world.core.is_idle());
    assert_eq!(world.cdrs().last().map(|cdr| cdr.cause), Some(Cause::HungUp));
}
