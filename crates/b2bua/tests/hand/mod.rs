//! A far side that the test plays message by message, as text.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use b2bua::settings::Target;
use sip::transaction::Transport;
use testbed::{A, Script, Setup, World, ms};

pub(crate) const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 10.2.9.9\r\ns=-\r\nc=IN IP4 10.2.9.9\r\nt=0 0\r\nm=audio 41000 RTP/AVP 8\r\n";

/// Carrier-b's gateway, played by hand.
pub(crate) fn far() -> SocketAddr {
    "10.2.9.9:5060".parse().expect("an address")
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A calls, and carrier-b takes its calls where nobody but the test answers.
pub(crate) fn setup(a: Script) -> Setup {
    let mut setup = Setup::new(1).mute().a(a);
    setup.settings.trunks[1].targets = vec![target(far())];
    setup.phones.truncate(1);
    setup
}

/// A has called, and the INVITE to the far side is out.
pub(crate) fn called(setup: Setup) -> World {
    let mut world = setup.world();
    world.call(A);
    world.run_until(ms(1));
    world
}

pub(crate) fn target(address: SocketAddr) -> Target {
    Target::at(Transport::Udp, address)
}

/// What X has sent to an address, in order.
pub(crate) fn sent(world: &World, to: SocketAddr) -> Vec<String> {
    let here = world.unclaimed().iter().filter(|packet| packet.destination == to);
    here.map(|packet| String::from_utf8_lossy(&packet.bytes).into_owned()).collect()
}

pub(crate) fn first(world: &World, to: SocketAddr, method: &str) -> String {
    let found = sent(world, to).into_iter().find(|message| message.starts_with(method));
    found.unwrap_or_else(|| panic!("no {method} to {to}\n{}", world.ladder()))
}

pub(crate) fn count(world: &World, method: &str) -> usize {
    sent(world, far()).iter().filter(|message| message.starts_with(method)).count()
}

pub(crate) fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let line =
        message.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{}:", name.to_ascii_lowercase())));
    line.and_then(|line| line.split_once(": ")).map(|(_, value)| value).unwrap_or_default()
}

/// A response to a request of X: `start` is status and reason, `more` further header lines, each with its line end.
pub(crate) fn response(request: &str, start: &str, tag: &str, more: &str, body: &str) -> Vec<u8> {
    let to = header(request, "To");
    let to = if tag.is_empty() || to.contains(";tag=") { to.to_owned() } else { format!("{to};tag={tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {start}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}{kind}Content-Length: {}\r\n\r\n{body}",
        header(request, "Via"),
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
        body.len()
    )
    .into_bytes()
}

pub(crate) const CONTACT: &str = "Contact: <sip:b@10.2.9.9>\r\n";

/// Answers every request of X to the far side that has not been answered yet, apart from INVITE and ACK, with 200.
pub(crate) fn satisfy(world: &mut World, answered: &mut usize) {
    loop {
        let all = sent(world, far());
        let Some(request) = all.get(*answered) else { return };
        *answered += 1;
        let method = request.split(' ').next().unwrap_or_default();
        if !matches!(method, "INVITE" | "ACK" | "SIP/2.0") {
            world.inject_sip(far(), &response(request, "200 OK", "", "", ""));
        }
    }
}

pub(crate) fn settle(mut world: World) -> World {
    let mut answered = 0;
    for _ in 0..100 {
        satisfy(&mut world, &mut answered);
        let now = world.now();
        world.run_until(now + Duration::from_secs(2));
    }
    satisfy(&mut world, &mut answered);
    assert!(world.run_until_idle(Duration::from_secs(300)), "{}", world.ladder());
    assert!(world.core.is_idle(), "something is left\n{}", world.ladder());
    world
}
