//! Where requests within a call go: by the stream that is there, to where the Contact leads, never less private than before.

use std::net::SocketAddr;
use std::time::Duration;

use b2bua::Output;
use b2bua::settings::Listener;
use bytes::Bytes;
use sip::transaction::{Flow, Transmit, Transport};
use testbed::{Setup, World};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.1.7.7\r\ns=-\r\nc=IN IP4 10.1.7.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";

/// Places of listeners.
const UDP: u16 = 0;
const TCP: u16 = 1;
const TLS: u16 = 2;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Where A's requests come from: a port that takes no connections.
fn from_a(transport: Transport) -> Flow {
    let peer = address("10.1.7.7:40000");
    match transport {
        Transport::Udp => Flow::to(transport, UDP, peer),
        Transport::Tcp => Flow { connection: 5, ..Flow::to(transport, TCP, peer) },
        Transport::Tls => Flow { connection: 5, ..Flow::to(transport, TLS, peer) },
    }
}

fn world() -> World {
    let mut setup = Setup::new(1).mute();
    let bind = address("10.0.0.1:5061");
    setup.settings.listeners.push(Listener { transport: Transport::Tls, bind, advertised: bind.to_string().into() });
    setup.world()
}

fn tell(world: &mut World, flow: Flow, text: &str) -> Vec<Transmit> {
    world.core.handle_message(Duration::from_secs(1), flow, Bytes::copy_from_slice(text.as_bytes()));
    let outputs = std::iter::from_fn(|| world.core.poll_output());
    outputs.filter_map(|output| if let Output::Transmit(transmit) = output { Some(transmit) } else { None }).collect()
}

/// The one that begins so.
fn find(sent: &[Transmit], begin: &str) -> (Flow, String) {
    let found = sent.iter().find(|transmit| transmit.bytes.starts_with(begin.as_bytes()));
    let found = found.unwrap_or_else(|| panic!("no {begin} in {sent:?}"));
    (found.flow, String::from_utf8_lossy(&found.bytes).into_owned())
}

fn header<'m>(message: &'m str, name: &str) -> &'m str {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {message}"))
}

/// A calls with this Contact, B answers and hangs up: where the BYE to A goes.
fn bye_to(transport: Transport, contact: &str) -> Flow {
    let mut world = world();
    let a = from_a(transport);
    let head = |method: &str, cseq: u32, to: &str| {
        format!(
            "{method} sip:+8617055556666@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{} 10.1.7.7;branch=z9hG4bK{method};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+8613811112222@10.1.7.7>;tag=a\r\nTo: {to}\r\nCall-ID: flows\r\n\
             CSeq: {cseq} {method}\r\nContact: <{contact}>\r\n",
            transport.as_str()
        )
    };
    let length = SDP.len();
    let body = format!("Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{SDP}");
    let sent = tell(&mut world, a, &(head("INVITE", 1, "<sip:x@10.0.0.1>") + &body));
    let (to_b, invite) = find(&sent, "INVITE ");
    let mut ok = String::from("SIP/2.0 200 OK\r\n");
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        ok += &format!("{name}: {}\r\n", header(&invite, name));
    }
    let (x, b) = (header(&invite, "From").to_owned(), format!("{};tag=b", header(&invite, "To")));
    ok += &format!("To: {b}\r\nContact: <sip:b@{}>\r\n", to_b.peer);
    let sent = tell(&mut world, to_b, &(ok + &body));
    let (to_a, answer) = find(&sent, "SIP/2.0 200 ");
    assert_eq!((to_a.peer, to_a.connection), (a.peer, a.connection));
    tell(&mut world, a, &(head("ACK", 1, header(&answer, "To")) + "Content-Length: 0\r\n\r\n"));
    let bye = format!(
        "BYE sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKbye\r\nMax-Forwards: 70\r\nFrom: {b}\r\nTo: {x}\r\n\
         Call-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        to_b.peer,
        header(&invite, "Call-ID")
    );
    let sent = tell(&mut world, to_b, &bye);
    let (flow, bye) = find(&sent, "BYE ");
    assert!(header(&bye, "Via").starts_with(&format!("SIP/2.0/{} ", flow.transport.as_str())), "{bye}");
    flow
}

#[test]
fn a_stream_that_is_there_serves_and_a_new_one_would_lead_to_the_contact_s_port() {
    for (transport, contact, reopen) in [
        (Transport::Tcp, "sip:a@10.1.7.7:5080;transport=tcp", 5080),
        (Transport::Tcp, "sip:a@10.1.7.7;transport=TCP", 5060),
        (Transport::Tcp, "sip:a@10.1.7.7", 5060),
        (Transport::Tcp, "sip:a@host.example:5090", 5090),
        // No stranger can be aimed at.
        (Transport::Tcp, "sip:a@192.0.2.66:5070", 5070),
        (Transport::Tls, "sip:a@10.1.7.7;transport=tls", 5061),
        // What began in private stays so.
        (Transport::Tls, "sip:a@10.1.7.7;transport=udp", 5061),
        (Transport::Tls, "sip:a@10.1.7.7:5080;transport=tcp", 5080),
        (Transport::Tls, "sips:a@10.1.7.7", 5061),
    ] {
        let expected = Flow { reopen: Some(reopen), ..from_a(transport) };
        assert_eq!(bye_to(transport, contact), expected, "{transport:?} {contact}");
    }
}

#[test]
fn a_contact_elsewhere_in_the_trunk_is_gone_to_by_the_transport_that_it_names() {
    for (transport, contact, expected) in [
        (Transport::Udp, "sip:a@10.1.7.7:5080;transport=UDP", (Transport::Udp, UDP, "10.1.7.7:5080")),
        (Transport::Udp, "sip:a@10.1.7.7:5080;transport=TCP", (Transport::Tcp, TCP, "10.1.7.7:5080")),
        (Transport::Udp, "sip:a@10.1.7.7;transport=Tls", (Transport::Tls, TLS, "10.1.7.7:5061")),
        (Transport::Udp, "sips:a@10.1.7.7", (Transport::Tls, TLS, "10.1.7.7:5061")),
        (Transport::Udp, "sip:a@10.1.7.7:5080;transport=sctp", (Transport::Udp, UDP, "10.1.7.7:5080")),
        (Transport::Tcp, "sip:a@10.1.9.9:5080", (Transport::Tcp, TCP, "10.1.9.9:5080")),
        (Transport::Tcp, "sip:a@10.1.7.7:5080;transport=UDP", (Transport::Udp, UDP, "10.1.7.7:5080")),
        (Transport::Tls, "sip:a@10.1.9.9;transport=udp", (Transport::Tls, TLS, "10.1.9.9:5061")),
    ] {
        let (leaves_by, listener, peer) = expected;
        assert_eq!(bye_to(transport, contact), Flow::to(leaves_by, listener, address(peer)), "{transport:?} {contact}");
    }
}
