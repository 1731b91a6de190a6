//! Who is believed over TLS, and who is not.

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};

use super::*;

/// A bench that is waited for no longer than needed.
fn bench() -> Bench {
    Bench::new(TLS, Limits::default())
}

/// What a trunk is verified by.
fn rule(client: &Arc<Client>, name: Option<&str>) -> Rule {
    let server_name = name.map(|name| ServerName::try_from(name.to_owned()).unwrap());
    Rule { client: Arc::clone(client), server_name }
}

/// One trunk, which calls from the loopback.
fn one_trunk(client: &Arc<Client>, name: Option<&str>) -> Peers {
    let mut peers = Peers::default();
    peers.add_source("127.0.0.0/8".parse().unwrap(), &rule(client, name));
    peers
}

fn shows(issued: &Issued) -> Arc<rustls::ServerConfig> {
    credentials::server(&identity(issued), None).unwrap()
}

/// Sends a message to a far end, and says what that came to: what the far end read, or why it read nothing.
fn sent_to(bench: &mut Bench, far_shows: &Arc<rustls::ServerConfig>) -> Result<Vec<u8>, Event> {
    let far = bench.far();
    let before = bench.tcp().counters();
    let flow = bench.to(far.local_addr().unwrap());
    bench.tcp().send(transmit(flow, b"INVITE")).unwrap();
    let config = Arc::clone(far_shows);
    let (socket, _) = far.accept().unwrap();
    let mut peer = match Peer::server(socket, Some(&config)) {
        Ok(peer) => peer,
        // Refused in the middle of the handshake.
        Err(_) => return Err(failure(bench, before)),
    };
    let mut bytes = vec![0; 6];
    match peer.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(failure(bench, before)),
    }
}

/// Why the stream came to nothing.
fn failure(bench: &mut Bench, before: [u64; Event::ALL.len()]) -> Event {
    bench.next_failure();
    let after = bench.tcp().counters();
    let is_a_reason = |event: &Event| event.label().starts_with("tls_") || *event == Event::ClosedBroken;
    let counted = |event: &Event| after[*event as usize] > before[*event as usize];
    let reasons: Vec<Event> = Event::ALL.into_iter().filter(is_a_reason).filter(counted).collect();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    reasons[0]
}

#[test]
fn only_what_is_vouched_for_valid_and_for_that_very_name_is_written_to() {
    let mut bench = bench();
    let stranger = Authority::new("somebody else's");
    let good = |bench: &Bench, name: &str| shows(&bench.authority.issue(name));
    for (wanted, shown, expected) in [
        (None, good(&bench, "127.0.0.1"), Ok(b"INVITE".to_vec())),
        (Some("sip.one.example"), good(&bench, "sip.one.example"), Ok(b"INVITE".to_vec())),
        (Some("SIP.one.example"), good(&bench, "*.one.example"), Ok(b"INVITE".to_vec())),
        // Another trunk's, by the same authority: never.
        (Some("sip.one.example"), good(&bench, "sip.two.example"), Err(Event::TlsName)),
        (Some("sip.one.example"), good(&bench, "127.0.0.1"), Err(Event::TlsName)),
        (Some("sip.one.example"), good(&bench, "one.example"), Err(Event::TlsName)),
        (None, good(&bench, "127.0.0.2"), Err(Event::TlsName)),
        (None, good(&bench, "sip.one.example"), Err(Event::TlsName)),
        (None, shows(&stranger.issue("127.0.0.1")), Err(Event::TlsIssuer)),
        (None, shows(&bench.authority.issue_expired("127.0.0.1")), Err(Event::TlsExpired)),
    ] {
        let peers = one_trunk(&client_of(&bench.authority, None), wanted);
        bench.tcp().tls().set_peers(peers);
        assert_eq!(sent_to(&mut bench, &shown), expected, "{wanted:?}");
    }
}

#[test]
fn what_a_target_must_show_hangs_on_its_address_and_port() {
    let mut bench = bench();
    let client = client_of(&bench.authority, None);
    let domain = ServerName::try_from("trunk.example").unwrap();
    let (one, two, both) = (bench.far(), bench.far(), bench.far());
    let at = |far: &TcpListener| far.local_addr().unwrap();
    let mut peers = one_trunk(&client, Some("callers.example"));
    peers.add_target(at(&one), Some(&domain), &rule(&client, None));
    peers.add_target(at(&one), Some(&domain), &rule(&client, None));
    peers.add_target(at(&two), Some(&domain), &rule(&client, Some("sbc.example")));
    peers.add_target(at(&both), None, &rule(&client, Some("one.example")));
    peers.add_target(at(&both), None, &rule(&client, Some("two.example")));
    bench.tcp().tls().set_peers(peers);
    for (far, name, good) in [
        (&one, "trunk.example", true),
        (&one, "sbc.example", false),
        // The operator's word goes before the target's.
        (&two, "sbc.example", true),
        (&two, "trunk.example", false),
    ] {
        let shown = shows(&bench.authority.issue(name));
        let flow = bench.to(at(far));
        bench.tcp().send(transmit(flow, b"INVITE")).unwrap();
        let peer = Peer::server(far.accept().unwrap().0, Some(&shown));
        let mut bytes = [0; 6];
        let taken = peer.and_then(|mut peer| peer.read_exact(&mut bytes));
        assert_eq!(taken.is_ok(), good, "{name}");
        if good {
            peer_closes(&mut bench);
        } else {
            assert_eq!(bench.next_failure().peer, at(far));
        }
    }
    // Two trunks want different things of one address: nothing will do, and nothing is tried.
    let neither = bench.to(at(&both));
    assert_eq!(bench.tcp().send(transmit(neither, b"INVITE")), Err(Refused::Untrusted));
    assert_eq!(bench.count(Event::TlsAmbiguous), 1);
    // Nobody knows that address.
    let nobody = bench.to("192.0.2.1:5061".parse().unwrap());
    assert_eq!(bench.tcp().send(transmit(nobody, b"INVITE")), Err(Refused::Untrusted));
    assert_eq!(bench.count(Event::TlsStranger), 1);
}

/// Waits until the streams whose peers have gone are out of the table.
fn peer_closes(bench: &mut Bench) {
    let clock = Clock::start();
    while bench.tcp().connections() > 0 {
        assert!(clock.now() < PATIENCE, "the stream stays");
        std::thread::yield_now();
    }
}

#[test]
fn a_stream_that_was_verified_by_another_rule_is_not_used_again() {
    let mut bench = bench();
    let far = bench.far();
    let flow = bench.to(far.local_addr().unwrap());
    let shown = shows(&bench.authority.issue("127.0.0.1"));
    bench.tcp().send(transmit(flow, b"one")).unwrap();
    let mut first = Peer::server(far.accept().unwrap().0, Some(&shown)).unwrap();
    assert_eq!(read(&mut first, 3), b"one");

    // The same rule, read from the same files again: the stream goes on.
    let again =
        Authorities::new(vec![CertificateDer::from_pem_slice(bench.authority.pem().as_bytes()).unwrap()]).unwrap();
    bench.tcp().tls().set_peers(one_trunk(&Arc::new(Client::new(again, None)), None));
    bench.tcp().send(transmit(flow, b"two")).unwrap();
    assert_eq!(read(&mut first, 3), b"two");

    // The address is another trunk's now.
    let peers = one_trunk(&client_of(&bench.authority, None), Some("other.example"));
    bench.tcp().tls().set_peers(peers);
    bench.tcp().send(transmit(flow, b"three")).unwrap();
    let other = shows(&bench.authority.issue("other.example"));
    let mut second = Peer::server(far.accept().unwrap().0, Some(&other)).unwrap();
    assert_eq!(read(&mut second, 5), b"three");
    // What came by the first is still answered there.
    first.write_all(OPTIONS).unwrap();
    let (back, _) = bench.next_message();
    bench.tcp().send(transmit(back, b"200")).unwrap();
    assert_eq!(read(&mut first, 3), b"200");
    assert_eq!(bench.count(Event::Opened), 2);
}

#[test]
fn a_stream_that_the_peer_opened_carries_no_request_of_ours_to_its_address() {
    let mut bench = bench();
    // It comes from the very port that calls are to go to, as anybody at that address could.
    let mut peer = bench.connect();
    peer.write_all(OPTIONS).unwrap();
    let (came, _) = bench.next_message();
    let flow = bench.to(peer.socket.local_addr().unwrap());
    bench.tcp().send(transmit(flow, b"INVITE")).unwrap();
    assert_eq!(bench.next_failure().peer, flow.peer);
    assert_eq!(bench.count(Event::ConnectFailed), 1);
    bench.tcp().send(transmit(came, b"200")).unwrap();
    assert_eq!(read(&mut peer, 3), b"200");
}

#[test]
fn callers_show_a_certificate_of_their_own_where_it_is_asked_for() {
    let mut bench = bench();
    let ours = identity(&bench.authority.issue("127.0.0.1"));
    let vouching = Authority::new("the callers'");
    let one = vouching.issue("one.example");
    let (two, expired) = (vouching.issue("two.example"), vouching.issue_expired("one.example"));
    let strange = Authority::new("somebody else's").issue("one.example");
    let cases = [
        (true, Some(&one), None),
        (true, None, Some(Event::TlsNoCertificate)),
        (true, Some(&strange), Some(Event::TlsIssuer)),
        (true, Some(&expired), Some(Event::TlsExpired)),
        // Vouched for, but another trunk's.
        (true, Some(&two), Some(Event::TlsName)),
        (false, Some(&one), None),
        (false, None, None),
        (false, Some(&two), Some(Event::TlsName)),
        (false, Some(&strange), Some(Event::TlsIssuer)),
    ];
    let peers = one_trunk(&client_of(&bench.authority, None), Some("one.example"));
    bench.tcp().tls().set_peers(peers);
    for (required, shown, refused) in cases {
        let callers = Callers { authorities: authorities(&vouching), required };
        bench.tcp().tls().set_server(Some(credentials::server(&ours, Some(&callers)).unwrap()));
        bench.client = Some(client_of(&bench.authority, shown).config());
        let before = refused.map(|event| bench.count(event));
        let socket = TcpStream::connect(bench.address).unwrap();
        // With TLS 1.3 a client learns only afterwards that it is refused.
        let peer = Peer::client(socket, bench.client.as_ref()).and_then(|mut peer| {
            peer.write_all(OPTIONS)?;
            Ok(peer)
        });
        match refused {
            None => {
                let (flow, _) = bench.next_message();
                bench.tcp().send(transmit(flow, b"200")).unwrap();
                assert_eq!(read(&mut peer.unwrap(), 3), b"200");
            }
            Some(event) => {
                if let Ok(mut peer) = peer {
                    assert!(peer.read(&mut [0; 1]).map_or(true, |count| count == 0), "{event:?}: it is served");
                }
                bench.wait_for(event, before.unwrap() + 1);
            }
        }
    }
    assert!(bench.tcp().poll().is_none(), "nothing of those who were refused arrives");
}

#[test]
fn a_trunk_that_asks_for_our_certificate_gets_the_one_that_is_for_it() {
    let mut bench = bench();
    let vouching = Authority::new("the trunk's");
    let callers = Callers { authorities: authorities(&vouching), required: true };
    let trunk = identity(&bench.authority.issue("127.0.0.1"));
    let asking = credentials::server(&trunk, Some(&callers)).unwrap();
    // With TLS 1.3 the handshake is over for us when we are refused. The word of it may be lost: the trunk hangs up.
    let refused = sent_to(&mut bench, &asking);
    assert!(matches!(refused, Err(Event::TlsAlert | Event::ClosedBroken)), "{refused:?}");
    let shown = vouching.issue("axbridge.example");
    let peers = one_trunk(&client_of(&bench.authority, Some(&shown)), None);
    bench.tcp().tls().set_peers(peers);
    assert_eq!(sent_to(&mut bench, &asking), Ok(b"INVITE".to_vec()));
}

#[test]
fn what_is_no_tls_is_closed_and_silence_is_waited_for_a_while_only() {
    let mut bench = Bench::new(TLS, Limits { handshake: Duration::from_millis(50), ..Limits::default() });
    let mut peer = Peer::plain(TcpStream::connect(bench.address).unwrap());
    peer.write_all(OPTIONS).unwrap();
    read_end(&mut peer);
    bench.wait_for(Event::TlsProtocol, 1);

    read_end(&mut Peer::plain(TcpStream::connect(bench.address).unwrap()));
    bench.wait_for(Event::TlsTimeout, 1);

    let mut hello = [0x16, 3, 1, 2, 0].to_vec(); // of a handshake, 512 bytes, of which none comes
    let mut peer = Peer::plain(TcpStream::connect(bench.address).unwrap());
    peer.write_all(&hello).unwrap();
    peer.socket.shutdown(Shutdown::Write).unwrap();
    read_end(&mut peer);
    bench.wait_for(Event::TlsBroken, 1);
    assert_eq!(bench.tcp().connections(), 0);

    // And when we are the ones who connect.
    let far = bench.far();
    let flow = bench.to(far.local_addr().unwrap());
    bench.tcp().send(transmit(flow, b"INVITE")).unwrap();
    let (_silent, _) = far.accept().unwrap();
    assert_eq!(bench.next_failure().peer, flow.peer);
    assert_eq!(bench.count(Event::TlsTimeout), 2);
    bench.tcp().send(transmit(flow, b"INVITE")).unwrap();
    let (mut talker, _) = far.accept().unwrap();
    hello.clear();
    talker.write_all(OPTIONS).unwrap();
    assert_eq!(bench.next_failure().peer, flow.peer);
    assert_eq!((bench.count(Event::TlsProtocol), bench.tcp().connections()), (2, 0));
}

#[test]
fn a_stranger_is_not_shaken_hands_with() {
    let mut bench = bench();
    bench.tcp().tls().set_peers(Peers::default());
    let mut peer = Peer::plain(TcpStream::connect(bench.address).unwrap());
    assert_eq!(read_end(&mut peer), b"");
    bench.wait_for(Event::TlsStranger, 1);
    assert_eq!(bench.tcp().connections(), 0);
    // A target may come back from its address, whatever the port.
    let mut peers = Peers::default();
    let rule = rule(&client_of(&bench.authority, None), None);
    peers.add_target("127.0.0.1:5061".parse().unwrap(), None, &rule);
    bench.tcp().tls().set_peers(peers);
    bench.connect().write_all(OPTIONS).unwrap();
    assert_eq!(bench.next_message().1, OPTIONS);
}

#[test]
fn a_new_certificate_is_shown_to_those_who_come_later() {
    let mut bench = bench();
    let mut old = bench.connect();
    let authority = Authority::new("the new one's");
    bench.tcp().tls().set_server(Some(shows(&authority.issue("127.0.0.1"))));
    assert!(Peer::client(TcpStream::connect(bench.address).unwrap(), bench.client.as_ref()).is_err());
    bench.wait_for(Event::TlsAlert, 1);
    bench.client = Some(client_of(&authority, None).config());
    let mut new = bench.connect();
    for peer in [&mut old, &mut new] {
        peer.write_all(OPTIONS).unwrap();
        let (flow, _) = bench.next_message();
        bench.tcp().send(transmit(flow, b"200")).unwrap();
        assert_eq!(read(peer, 3), b"200");
    }
}

#[test]
fn both_versions_are_spoken_and_each_stream_is_verified_in_full() {
    let mut bench = bench();
    let mut store = rustls::RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(bench.authority.pem().as_bytes()).unwrap()).unwrap();
    for version in [&TLS12, &TLS13] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let mut config = builder.with_root_certificates(store.clone()).with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        for _ in 0..3 {
            let mut socket = TcpStream::connect(bench.address).unwrap();
            let mut connection =
                ClientConnection::new(Arc::clone(&config), IpAddr::V4(Ipv4Addr::LOCALHOST).into()).unwrap();
            shake(|| connection.is_handshaking().then(|| connection.complete_io(&mut socket))).unwrap();
            assert_eq!(connection.protocol_version(), Some(version.version));
            assert_eq!(connection.handshake_kind(), Some(rustls::HandshakeKind::Full));
            let mut stream = StreamOwned::new(connection, socket);
            stream.write_all(OPTIONS).unwrap();
            assert_eq!(bench.next_message().1, OPTIONS);
        }
    }
}
