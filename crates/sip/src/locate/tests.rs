//! Zones as tables: what is asked for, in which order, and what is found.

use super::*;

const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

fn ways(text: &str) -> Ways {
    let list = text.split_whitespace().map(|way| {
        let (transport, version) = way.split_once('/').unwrap();
        let transport = ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(transport)).unwrap();
        Way { transport, ipv4: version == "4" }
    });
    Ways { list: list.collect(), ..Ways::default() }
}

/// `sip.example`, `sip.example:5070`, `udp:sip.example`, `tcp:192.0.2.1:5060`.
fn target(text: &str) -> Target {
    let (transport, rest) = match text.split_once(':') {
        Some(("udp", rest)) => (Some(Transport::Udp), rest),
        Some(("tcp", rest)) => (Some(Transport::Tcp), rest),
        Some(("tls", rest)) => (Some(Transport::Tls), rest),
        Some(_) | None => (None, text),
    };
    if let Ok(address) = rest.parse::<SocketAddr>() {
        return Target { host: Host::Address(address.ip()), port: Some(address.port()), transport };
    }
    if let Ok(ip) = rest.parse::<IpAddr>() {
        return Target { host: Host::Address(ip), port: None, transport };
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().unwrap())),
        None => (rest, None),
    };
    Target { host: Host::named(host).unwrap(), port, transport }
}

/// A zone: `NAME TTL TYPE DATA` a line. `NAME fails` for what cannot be asked for.
fn answer(zone: &str, query: &Query) -> Answer {
    let mut records = Vec::new();
    let mut least = None;
    for line in zone.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, rest) = match &words[..] {
            [name, rest @ ..] => (*name, rest),
            [] => continue,
        };
        let kind = match query.kind {
            RecordType::Naptr => "NAPTR",
            RecordType::Srv => "SRV",
            RecordType::A => "A",
            RecordType::Aaaa => "AAAA",
        };
        if name != &*query.name {
            continue;
        }
        let number = |word: &str| word.parse::<u16>().unwrap();
        let record = match rest {
            ["fails"] => return Answer::Failed,
            ["fails", of] if *of == kind => return Answer::Failed,
            [_, "NAPTR", order, preference, flags, service, regexp, replacement] => Record::Naptr(Naptr {
                order: number(order),
                preference: number(preference),
                flags: flags.trim_matches('"').as_bytes().into(),
                service: service.as_bytes().into(),
                regexp: regexp.trim_matches('"').as_bytes().into(),
                replacement: (*replacement).into(),
            }),
            [_, "SRV", priority, weight, port, target] => Record::Srv(Srv {
                priority: number(priority),
                weight: number(weight),
                port: number(port),
                target: (*target).into(),
            }),
            [_, "A" | "AAAA", ip] => Record::Address(ip.parse().unwrap()),
            _ => continue,
        };
        if rest[1] == kind {
            records.push(record);
            let ttl = Duration::from_secs(rest[0].parse().unwrap());
            least = Some(least.map_or(ttl, |least: Duration| least.min(ttl)));
        }
    }
    match least {
        Some(ttl) => Answer::Records { records, ttl },
        None => Answer::Nothing { ttl: None },
    }
}

/// What was asked, and what came of it.
fn search(zone: &str, of: &str, by: &Ways) -> (Vec<String>, Outcome) {
    let mut asked = Vec::new();
    let mut step = begin(&target(of), by);
    loop {
        match step {
            Step::Done(outcome) => return (asked, outcome),
            Step::Ask(asking) => {
                assert!(asked.len() < MAX_QUERIES, "it asks without end");
                let query = asking.query().clone();
                asked.push(format!("{:?} {}", query.kind, query.name).to_ascii_lowercase());
                let answer = answer(zone, &query);
                step = asking.on_answer(answer);
            }
        }
    }
}

fn located(outcome: &Outcome) -> String {
    match &outcome.located {
        Err(error) => error.label().to_owned(),
        Ok(located) => {
            let one = |server: &Located| {
                let Located { transport, address, priority, weight, .. } = server;
                format!("{}:{address} {priority}/{weight}", transport.as_str().to_ascii_lowercase())
            };
            located.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

const EXAMPLE: &str = "
    example              600 NAPTR 20 10 s SIP+D2T  \"\" _sip._tcp.example.
    example              600 NAPTR 20  5 S sip+d2u  \"\" _sip._udp.example.
    example              600 NAPTR 10  5 s SIPS+D2T \"\" _sips._tcp.example.
    example              600 NAPTR 30  1 s SIP+D2U  \"\" _sip._udp.elsewhere.
    example              600 NAPTR  1  1 u E2U+sip  !^.*$!sip:a@b! .
    _sip._udp.example    300 SRV 10 60 5060 one.example.
    _sip._udp.example    300 SRV 10 20 5062 Two.Example.
    _sip._udp.example    300 SRV 20  0 5060 three.example.
    _sip._tcp.example    300 SRV  1  1 5060 one.example.
    _sips._tcp.example   300 SRV  1  1 5071 one.example.
    one.example           60 A    192.0.2.1
    one.example           60 AAAA 2001:db8::1
    two.example          120 A    192.0.2.2
    two.example          120 A    192.0.2.22
    three.example        120 A    192.0.2.3
    example             1000 A    192.0.2.80
    plain.example       1000 A    192.0.2.9
    plain.example       1000 AAAA 2001:db8::9
    srv.example         1000 A    192.0.2.10
    _sip._tcp.srv.example 30 SRV 0 0 5061 plain.example.
";

#[test]
fn each_form_of_a_target_asks_for_what_it_leaves_open() {
    let rows: &[(&str, &str, &[&str], &str)] = &[
        // Nothing.
        ("udp:192.0.2.7:5070", "udp/4", &[], "udp:192.0.2.7:5070 0/0"),
        ("192.0.2.7", "tcp/4 udp/4", &[], "udp:192.0.2.7:5060 0/0"),
        ("tcp:2001:db8::7", "tcp/6", &[], "tcp:[2001:db8::7]:5060 0/0"),
        ("192.0.2.7", "tcp/4", &[], "tcp:192.0.2.7:5060 0/0"),
        ("tcp:192.0.2.7:5060", "udp/4", &[], "transport"),
        ("udp:192.0.2.7:5060", "udp/6", &[], "transport"),
        ("udp:127.0.0.1:5060", "udp/4", &[], "udp:127.0.0.1:5060 0/0"),
        // The port.
        ("udp:plain.example:5070", "udp/4", &["a plain.example"], "udp:192.0.2.9:5070 0/0"),
        ("plain.example:5070", "tcp/4 udp/4", &["a plain.example"], "udp:192.0.2.9:5070 0/0"),
        (
            "udp:plain.example:5070",
            "udp/6 udp/4",
            &["a plain.example", "aaaa plain.example"],
            "udp:[2001:db8::9]:5070 0/0, udp:192.0.2.9:5070 1/0",
        ),
        // The transport.
        (
            "udp:example",
            "udp/4",
            &["srv _sip._udp.example", "a one.example", "a two.example", "a three.example"],
            "udp:192.0.2.1:5060 0/50400, udp:192.0.2.2:5062 0/8400, udp:192.0.2.22:5062 0/8400, udp:192.0.2.3:5060 1/0",
        ),
        ("udp:plain.example", "udp/4", &["srv _sip._udp.plain.example", "a plain.example"], "udp:192.0.2.9:5060 0/0"),
        ("tcp:plain.example", "tcp/4", &["srv _sip._tcp.plain.example", "a plain.example"], "tcp:192.0.2.9:5060 0/0"),
        // Neither, with NAPTR: the lowest order that we serve, its preferences in turn; what is not SIP is not looked at.
        (
            "example",
            "udp/4 tcp/4",
            &[
                "naptr example",
                "srv _sip._udp.example",
                "srv _sip._tcp.example",
                "a one.example",
                "a two.example",
                "a three.example",
            ],
            "udp:192.0.2.1:5060 0/50400, udp:192.0.2.2:5062 0/8400, udp:192.0.2.22:5062 0/8400, udp:192.0.2.3:5060 1/0, \
             tcp:192.0.2.1:5060 2/840",
        ),
        ("example", "tcp/4", &["naptr example", "srv _sip._tcp.example", "a one.example"], "tcp:192.0.2.1:5060 0/840"),
        // TLS, where we serve it: the lower order is the domain's wish.
        (
            "example",
            "udp/4 tls/4",
            &["naptr example", "srv _sips._tcp.example", "a one.example"],
            "tls:192.0.2.1:5071 0/840",
        ),
        ("tls:plain.example", "tls/4", &["srv _sips._tcp.plain.example", "a plain.example"], "tls:192.0.2.9:5061 0/0"),
        // Neither, without NAPTR: our transports in our order; the name itself when there is no SRV either.
        (
            "srv.example",
            "udp/4 tcp/4",
            &["naptr srv.example", "srv _sip._udp.srv.example", "srv _sip._tcp.srv.example", "a plain.example"],
            "tcp:192.0.2.9:5061 0/0",
        ),
        (
            "plain.example",
            "tcp/4 udp/4",
            &["naptr plain.example", "srv _sip._tcp.plain.example", "srv _sip._udp.plain.example", "a plain.example"],
            "udp:192.0.2.9:5060 0/0",
        ),
        (
            "nobody.example",
            "udp/4",
            &["naptr nobody.example", "srv _sip._udp.nobody.example", "a nobody.example"],
            "no_address",
        ),
    ];
    for (of, by, asked, found) in rows {
        let (questions, outcome) = search(EXAMPLE, of, &ways(by));
        let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
        assert_eq!((questions.as_slice(), located(&outcome).as_str()), (*asked, *found), "{of} by {by}");
    }
}

#[test]
fn the_certificate_s_name_is_the_domain_that_was_asked_for() {
    let (_, outcome) = search(EXAMPLE, "example", &ways("udp/4 tcp/4"));
    let names: Vec<_> = outcome.located.unwrap().into_iter().map(|server| server.name).collect();
    assert_eq!(names, vec![Some(Arc::from("example")); 5]);
    let (_, outcome) = search(EXAMPLE, "udp:192.0.2.7:5070", &ways("udp/4"));
    assert_eq!(outcome.located.unwrap()[0].name, None);
}

#[test]
fn the_ttl_is_the_least_of_all_that_was_used() {
    for (of, by, ttl) in [
        ("example", "udp/4", Some(60)),
        ("udp:plain.example:5060", "udp/4", Some(1000)),
        ("tcp:srv.example", "tcp/4", Some(30)),
        ("udp:192.0.2.1:5060", "udp/4", None),
        ("nobody.example", "udp/4", None),
    ] {
        assert_eq!(search(EXAMPLE, of, &ways(by)).1.ttl, ttl.map(Duration::from_secs), "{of}");
    }
    let asking = match begin(&target("udp:nobody.example:1"), &ways("udp/4")) {
        Step::Ask(asking) => asking,
        Step::Done(outcome) => panic!("{outcome:?}"),
    };
    let Step::Done(outcome) = asking.on_answer(Answer::Nothing { ttl: Some(Duration::from_secs(9)) }) else {
        panic!("there is nothing more to ask")
    };
    assert_eq!((outcome.located, outcome.ttl), (Err(LocateError::NoAddress), Some(Duration::from_secs(9))));
}

#[test]
fn a_failure_is_not_taken_for_an_answer() {
    let rows: &[(&str, &str, &str)] = &[
        // Without the domain's word on transports and servers, its own address may be a web server's.
        ("example fails NAPTR\nexample 9 A 192.0.2.80", "example", "failed"),
        ("_sip._udp.example fails\nexample 9 A 192.0.2.80", "udp:example", "failed"),
        // What one alternative offers is used while the other cannot be asked for.
        ("_sip._udp.e fails\n_sip._tcp.e 9 SRV 0 0 5060 h.e.\nh.e 9 A 192.0.2.4", "e", "tcp:192.0.2.4:5060 0/0"),
        ("_sip._udp.e 9 SRV 0 0 5060 h.e.\n_sip._tcp.e fails\nh.e 9 A 192.0.2.4", "e", "udp:192.0.2.4:5060 0/0"),
        // A host that cannot be asked for leaves the others.
        (
            "_sip._udp.e 9 SRV 0 0 1 g.e.\n_sip._udp.e 9 SRV 1 0 2 h.e.\ng.e fails\nh.e 9 A 192.0.2.4",
            "udp:e",
            "udp:192.0.2.4:2 0/0",
        ),
        ("h.e fails", "udp:h.e:1", "failed"),
        ("h.e fails AAAA\nh.e 9 A 192.0.2.4", "udp:h.e:1", "udp:192.0.2.4:1 0/0"),
        ("h.e fails A\nh.e 9 AAAA 2001:db8::4", "udp:h.e:1", "udp:[2001:db8::4]:1 0/0"),
    ];
    for (zone, of, found) in rows {
        assert_eq!(located(&search(zone, of, &ways("udp/4 udp/6 tcp/4")).1), *found, "{of} in {zone}");
    }
}

#[test]
fn what_the_domain_does_not_offer_is_not_used() {
    let rows: &[(&str, &str, &str)] = &[
        // TLS only: falling back to UDP would be a downgrade.
        ("e 9 NAPTR 1 1 s SIPS+D2T \"\" _sips._tcp.e.\ne 9 A 192.0.2.4", "e", "transport"),
        ("e 9 NAPTR 1 1 s SIP+D2S \"\" _sip._sctp.e.\ne 9 A 192.0.2.4", "e", "transport"),
        // NAPTR of others' is as good as none.
        ("e 9 NAPTR 1 1 s x-eduroam:radius.tls \"\" _radsec._tcp.e.\ne 9 A 192.0.2.4", "e", "udp:192.0.2.4:5060 0/0"),
        // Substitutions and other flags are not SIP's.
        ("e 9 NAPTR 1 1 s SIP+D2U !a!b! _sip._udp.e.\ne 9 A 192.0.2.4", "e", "transport"),
        ("e 9 NAPTR 1 1 a SIP+D2U \"\" h.e.\nh.e 9 A 192.0.2.4", "e", "transport"),
        // RFC 2782: `.` says no.
        ("_sip._udp.e 9 SRV 0 0 0 .\ne 9 A 192.0.2.4", "udp:e", "no_service"),
        // A server at port 0 is none.
        ("_sip._udp.e 9 SRV 0 0 0 h.e.\nh.e 9 A 192.0.2.4\ne 9 A 192.0.2.5", "udp:e", "udp:192.0.2.5:5060 0/0"),
        // A replacement that has nothing: the domain, by the transport that it chose.
        ("e 9 NAPTR 1 1 s SIP+D2T \"\" _sip._tcp.gone.\ne 9 A 192.0.2.4", "e", "tcp:192.0.2.4:5060 0/0"),
    ];
    for (zone, of, found) in rows {
        assert_eq!(located(&search(zone, of, &ways("udp/4 tcp/4")).1), *found, "{of} in {zone}");
    }
}

#[test]
fn nothing_is_sent_to_addresses_that_nobody_has() {
    for bad in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.5", "255.255.255.255"] {
        let zone = format!("h.e 9 A {bad}\ng.e 9 A {bad}\ng.e 9 A 10.1.2.3");
        let (_, outcome) = search(&zone, "udp:h.e:5060", &ways("udp/4"));
        assert_eq!((located(&outcome).as_str(), outcome.forbidden), ("forbidden", 1), "{bad}");
        let (_, outcome) = search(&zone, "udp:g.e:5060", &ways("udp/4"));
        assert_eq!((located(&outcome).as_str(), outcome.forbidden), ("udp:10.1.2.3:5060 0/0", 1), "{bad}");
    }
    for bad in ["::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1"] {
        let (_, outcome) = search(&format!("h.e 9 AAAA {bad}"), "udp:h.e:5060", &ways("udp/6"));
        assert_eq!(located(&outcome), "forbidden", "{bad}");
    }
    let mut here = ways("udp/4");
    here.loopback = true;
    here.own = vec![(Transport::Udp, "127.0.0.1:5060".parse().unwrap())];
    let zone = "h.e 9 A 127.0.0.1";
    assert_eq!(located(&search(zone, "udp:h.e:5070", &here).1), "udp:127.0.0.1:5070 0/0");
    assert_eq!(located(&search(zone, "udp:h.e:5060", &here).1), "forbidden", "calls would come back to us");
}

#[test]
fn records_of_another_type_are_left_out() {
    let answers = |records: Vec<Record>| {
        let Step::Ask(asking) = begin(&target("udp:h.e:5060"), &ways("udp/4")) else { panic!("a name is asked for") };
        let Step::Done(outcome) = asking.on_answer(Answer::Records { records, ttl: Duration::ZERO }) else {
            panic!("there is nothing more to ask")
        };
        located(&outcome)
    };
    let six = Record::Address("2001:db8::1".parse().unwrap());
    let srv = Record::Srv(Srv { priority: 0, weight: 0, port: 1, target: "x".into() });
    let four = Record::Address("10.0.0.1".parse().unwrap());
    assert_eq!(answers(vec![six.clone(), srv.clone()]), "no_address");
    assert_eq!(answers(vec![six, srv, four.clone(), four]), "udp:10.0.0.1:5060 0/0");
}

#[test]
fn a_zone_without_end_is_cut() {
    let mut zone = String::new();
    for service in 0..40 {
        zone += &format!("e 9 NAPTR 1 {service} s SIP+D2U \"\" _sip._udp.s{service}.e.\n");
        for host in 0..60 {
            zone += &format!("_sip._udp.s{service}.e 9 SRV {host} 1 5060 h{service}-{host}.e.\n");
        }
    }
    for service in 0..40 {
        for host in 0..60 {
            for address in 0..20 {
                zone += &format!("h{service}-{host}.e 9 A 10.{service}.{host}.{address}\n");
            }
        }
    }
    let (asked, outcome) = search(&zone, "e", &ways("udp/4"));
    assert_eq!(asked.len(), MAX_QUERIES);
    let servers = outcome.located.unwrap();
    assert_eq!(servers.len(), MAX_LOCATED);
    assert_eq!(
        servers.last().map(|server| server.priority),
        Some(7),
        "eight addresses of each of the first eight hosts"
    );
    // 32 services, 28 records of each of the other 8, hosts without a query, 12 addresses of each host, 47 hosts.
    let hosts = MAX_QUERIES - 1 - MAX_SERVICES;
    let expected = 32 + 8 * 28 + (8 * MAX_RECORDS - hosts) + hosts * 12 + (hosts - 8) * MAX_ADDRESSES;
    assert_eq!(outcome.left_out as usize, expected);
}

#[test]
fn equal_ranks_share_a_priority_and_a_server_stands_there_once() {
    let zone = "
        _sip._udp.e 9 SRV 5 7 5060 a.e.
        _sip._udp.e 9 SRV 5 7 5060 b.e.
        _sip._udp.e 9 SRV 9 1 5060 a.e.
        a.e 9 A 10.0.0.1
        b.e 9 A 10.0.0.1
        b.e 9 A 10.0.0.2
        b.e 9 AAAA 2001:db8::2";
    let (_, outcome) = search(zone, "udp:e", &ways("udp/4 udp/6"));
    assert_eq!(located(&outcome), "udp:10.0.0.1:5060 0/5880, udp:10.0.0.2:5060 0/2940, udp:[2001:db8::2]:5060 1/5880");
}

#[test]
fn names_are_names() {
    for (text, name) in [
        ("Sip.Carrier.Example", "sip.carrier.example"),
        ("sip.carrier.example.", "sip.carrier.example"),
        ("a", "a"),
        ("_sip._udp.a-b", "_sip._udp.a-b"),
        ("1.example", "1.example"),
    ] {
        assert_eq!(Host::named(text), Some(Host::Name(name.into())));
    }
    let (long, longest) = ("a".repeat(64), ["a"; 128].join("."));
    for text in ["", ".", "a..b", "a b", "a:b", "ä", "192.0.2.1", "192.0.2.300", "1", &long, &longest, "a/b", "a\0"] {
        assert_eq!(Host::named(text), None, "{text}");
    }
    for (of, shown, uri) in [
        ("udp:192.0.2.1:5060", "udp:192.0.2.1:5060", "192.0.2.1:5060"),
        ("2001:db8::1", "[2001:db8::1]", "[2001:db8::1]"),
        ("tcp:sip.e:5070", "tcp:sip.e:5070", "sip.e:5070"),
        ("sip.e", "sip.e", "sip.e"),
    ] {
        assert_eq!((target(of).to_string().as_str(), target(of).host_port().as_str()), (shown, uri));
    }
    assert_eq!(target("udp:192.0.2.1").address(), Some("192.0.2.1:5060".parse().unwrap()));
    assert_eq!((target("sip.e").address(), target("sip.e").name()), (None, Some("sip.e")));
}
