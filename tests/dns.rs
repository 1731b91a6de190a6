//! Carriers behind names: the built daemon, a DNS server of ours, phones behind addresses that only the DNS knows.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use phone::{PhoneEvent, Script, Sound, State};
use support::booth::{Booth, Who};
use support::daemon::Daemon;
use support::dns::{self, Dns, Record};
use support::pki::Authority;
use support::secure::{self, Link};
use support::setup::{Setup, Site};
use support::{A, B, X, until};

mod support;

/// In nobody's `sources`: only the DNS says that these are the carrier's.
const HOST_1: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const HOST_2: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
const DEAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

const SERVICE: &str = "_sip._udp.carrier.test";

struct Scene {
    booth: Booth,
    daemon: Daemon,
    dns: Dns,
    /// Takes everything and says nothing.
    dead: UdpSocket,
    a: Who,
    /// B's number answers at both of the carrier's hosts.
    hosts: [Who; 2],
    calls: usize,
    _site: Site,
}

/// A host's SRV and A records.
fn server(priority: u16, host: &str, address: SocketAddr) -> [Record; 2] {
    let SocketAddr::V4(v4) = address else { panic!("{address} is not of version 4") };
    [dns::srv(SERVICE, priority, 10, address.port(), host), dns::a(host, *v4.ip())]
}

impl Scene {
    /// A dead server first, then the first host. `target` is the carrier's, `more` are further lines of its trunk.
    fn new(target: &'static str, more: &'static str) -> Scene {
        let mut booth = Booth::new();
        let a = booth.add(A, Ipv4Addr::LOCALHOST, |config| config.sound = Sound::Mute);
        let hosts = [HOST_1, HOST_2].map(|host| {
            booth.add(B, host, |config| {
                config.sound = Sound::Mute;
                config.script = Script::answers(Duration::from_millis(50)).hangs_up(Duration::from_millis(100));
            })
        });
        let dead = UdpSocket::bind((DEAD, 0)).unwrap();
        dead.set_nonblocking(true).unwrap();
        let mut zone = vec![dns::naptr("carrier.test", 1, 1, "SIP+D2U", SERVICE)];
        zone.extend(server(1, "dead.carrier.test", dead.local_addr().unwrap()));
        zone.extend(server(2, "one.carrier.test", booth.address(hosts[0])));
        let dns = Dns::start(zone);
        let mut setup = Setup::new();
        // Timer B is 6.4 s.
        setup.sip = format!("t1 = \"100ms\"\n[dns]\nservers = [\"{}\"]\ntimeout = \"500ms\"", dns.address).leak();
        setup.trunk("carrier-a", "127.0.0.1", None, "");
        setup.trunk("carrier-b", "127.0.0.9", None, format!("targets = [\"{target}\"]\n{more}").leak());
        setup.bind(X, A, B, "carrier-b");
        let site = Site::new();
        site.write(&setup);
        let daemon = site.start();
        let scene = Scene { booth, daemon, dns, dead, a, hosts, calls: 0, _site: site };
        scene.wait_for_routes(2);
        scene
    }

    /// The signalling loop knows so many routes of the carrier.
    fn wait_for_routes(&self, count: u32) {
        until(&format!("the name leads to {count} servers"), || {
            let scraped = self.daemon.scrape();
            let routes = scraped.samples().filter(|sample| {
                let label = |name: &str| sample.labels.get(name).map(String::as_str);
                sample.name == "axbridge_trunk_routes" && label("target") == Some("carrier.test")
            });
            (routes.map(|sample| sample.value).sum::<f64>() == f64::from(count)).then_some(())
        });
    }

    fn routes(&self, state: &str) -> f64 {
        let labels = [("trunk", "carrier-b"), ("target", "carrier.test"), ("state", state)];
        self.daemon.metric("axbridge_trunk_routes", &labels)
    }

    /// A calls B through X and B hangs up; `place` is the host that was reached.
    fn call(&mut self, place: usize) {
        let invited = |booth: &Booth, who: Who| {
            booth.events(who).iter().filter(|event| matches!(event, PhoneEvent::Invited { .. })).count()
        };
        let ended = |booth: &Booth, who: Who| {
            booth.events(who).iter().filter(|event| matches!(event, PhoneEvent::Released { .. })).count()
        };
        let before = self.hosts.map(|who| invited(&self.booth, who));
        self.calls += 1;
        let (a, calls) = (self.a, self.calls);
        self.booth.call(a, X, self.daemon.udp);
        self.booth.wait("the call has ended", |booth| ended(booth, a) == calls);
        self.booth.wait("both are ready for the next", |booth| {
            [a, self.hosts[place]].iter().all(|who| booth.phone(*who).state() == State::Ended)
        });
        let after = self.hosts.map(|who| invited(&self.booth, who));
        let mut expected = before;
        expected[place] += 1;
        assert_eq!(after, expected);
    }

    /// Requests that the dead server has got since the last time.
    fn unanswered(&self) -> Vec<(SocketAddr, String)> {
        let mut buffer = [0; 65_535];
        let mut all = Vec::new();
        while let Ok((length, from)) = self.dead.recv_from(&mut buffer) {
            all.push((from, String::from_utf8_lossy(&buffer[..length]).into_owned()));
        }
        all
    }
}

#[test]
fn calls_go_where_the_name_leads_past_a_dead_server_after_a_change_and_without_the_dns() {
    let mut scene = Scene::new("udp:carrier.test", "");
    scene.call(0);
    let tried = scene.unanswered();
    assert!(tried.iter().all(|(_, request)| request.starts_with("INVITE sip:+8613900000002@carrier.test SIP/2.0\r\n")));
    assert!(tried.len() >= 2, "the first server was tried, more than once");
    scene.call(0);
    assert_eq!(scene.unanswered().len(), 0, "the next call does not wait for it");

    // Another answer: the TTL of one second is believed for five.
    scene.dns.set(server(7, "two.carrier.test", scene.booth.address(scene.hosts[1])).to_vec());
    scene.wait_for_routes(1);
    scene.call(1);

    scene.dns.fall_silent();
    scene.daemon.wait_for_metric("axbridge_dns_names", &[("state", "stale")], 1.0);
    let asked = scene.dns.asked();
    scene.call(1);
    until("it is asked again", || (scene.dns.asked() > asked).then_some(()));
    scene.call(1);
    assert!(scene.daemon.metric("axbridge_dns_queries_total", &[("result", "stale")]) >= 1.0);
    scene.daemon.wait_for_log("its last known servers stay in use");
    scene.daemon.terminate();
}

#[test]
fn probes_find_the_dead_server_before_any_call_and_notice_that_it_is_back() {
    let mut scene = Scene::new("carrier.test", "probe_every = \"1s\"");
    until("the dead server is out", || {
        // The other one is a phone: it must live to answer.
        live(&mut scene.booth);
        (scene.routes("down") == 1.0).then_some(())
    });
    let probes = scene.unanswered();
    assert!(probes.iter().all(|(_, request)| request.starts_with("OPTIONS sip:carrier.test SIP/2.0\r\n")));
    scene.call(0);
    assert!(scene.unanswered().iter().all(|(_, request)| request.starts_with("OPTIONS ")), "no call went there");

    until("the server is back", || {
        live(&mut scene.booth);
        for (from, request) in scene.unanswered() {
            let answer = answer(&request);
            scene.dead.send_to(answer.as_bytes(), from).unwrap();
        }
        (scene.routes("up") == 2.0).then_some(())
    });
    scene.daemon.terminate();
}

/// A call over TLS to a carrier whose server shows a certificate for this name: the event of the stream, and why it ended.
fn over_tls(shown: &str, event: &str) -> String {
    const NAME: &str = "sip.carrier.example";
    let authority = Authority::new("everybody's");
    let site = Site::new();
    let ours = authority.issue("127.0.0.1");
    for (name, text) in [("ours.pem", &ours.certificate), ("key.pem", &ours.key), ("ca.pem", &authority.pem())] {
        std::fs::write(site.folder().join(name), text).unwrap();
    }
    let mut booth = Booth::new();
    let a = booth.add(A, Ipv4Addr::LOCALHOST, |config| config.sound = Sound::Mute);
    let link = Link::listening(HOST_1, &secure::server(&authority.issue(shown), None));
    let b = booth.add_tls(B, (Ipv4Addr::LOCALHOST, 9).into(), link, |config| {
        config.sound = Sound::Mute;
        config.script = Script::answers(Duration::from_millis(50)).hangs_up(Duration::from_millis(100));
    });
    let dns = Dns::start(vec![
        dns::naptr(NAME, 1, 1, "SIPS+D2T", "_sips._tcp.carrier.example"),
        dns::srv("_sips._tcp.carrier.example", 0, 0, booth.address(b).port(), "elsewhere.example"),
        dns::a("elsewhere.example", HOST_1),
    ]);
    let sip = format!(
        "[sip.tls]\ncertificate = \"ours.pem\"\nkey = \"key.pem\"\nca = \"ca.pem\"\n[dns]\nservers = [\"{}\"]\n",
        dns.address
    );
    let listen = r#""udp:127.0.0.1:0", "tcp:127.0.0.1:0", "tls:127.0.0.1:0""#;
    let mut setup = Setup::serving(listen, sip.leak());
    setup.trunk("carrier-a", "127.0.0.1", None, "");
    setup.trunk_at("carrier-b", "127.0.0.9", NAME.to_owned(), "");
    setup.bind(X, A, B, "carrier-b");
    site.write(&setup);
    let daemon = site.start();
    let labels = [("trunk", "carrier-b"), ("target", NAME), ("state", "up")];
    until("the name leads somewhere", || daemon.scrape().text.contains(NAME).then_some(()));
    daemon.wait_for_metric("axbridge_trunk_routes", &labels, 1.0);
    booth.call(a, X, daemon.udp);
    booth.wait("the call's record", |_| site.cdrs().len() == 1);
    daemon.wait_for_metric("axbridge_tcp_events_total", &[("event", event)], 1.0);
    site.cdrs()[0]["cause"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_server_that_a_name_leads_to_must_show_that_name_and_not_the_one_that_the_dns_made_of_it() {
    assert_eq!(over_tls("sip.carrier.example", "opened"), "hung_up");
    assert_eq!(over_tls("elsewhere.example", "tls_name"), "no_response");
}

/// Lets the phones live for a moment.
fn live(booth: &mut Booth) {
    let mut turns = 0;
    booth.wait("a moment", |_| {
        turns += 1;
        turns > 3
    });
}

/// `200 OK` to a request.
fn answer(request: &str) -> String {
    let kept = ["Via: ", "From: ", "Call-ID: ", "CSeq: "];
    let mut out = String::from("SIP/2.0 200 OK\r\n");
    for line in request.lines() {
        if kept.iter().any(|name| line.starts_with(name)) {
            out += &format!("{line}\r\n");
        } else if line.starts_with("To: ") {
            out += &format!("{line};tag=back\r\n");
        }
    }
    out + "Content-Length: 0\r\n\r\n"
}
