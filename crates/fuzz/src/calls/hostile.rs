//! Messages that no phone sends: made from what has been said, with some of it wrong, and sent from wherever.
//!
//! ```text
//!   replay    what a phone has said, once more
//!   request   within a dialog that X has: its Call-ID and tags        ┐  from the phone's own address, from another one of
//!   response  to a request of X: its Via, Call-ID, CSeq               ├  its trunk, from the other trunk, or from a stranger
//!   new       a call or another request outside dialogs               ┘
//! ```
//!
//! Every one carries a canary: X may say it to those on the trunk that it came from, and to nobody else.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use testbed::{OnWire, Protocol, World};

use crate::input::Input;

/// The word that only hostile messages hold, and whose they are.
pub(super) const CANARY: &str = "hoopoe";

/// What has been said within this time may come once more by the network's own doing.
const NETWORK_MAY_REPEAT: Duration = Duration::from_secs(30);

const METHODS: [&str; 14] = [
    "BYE",
    "CANCEL",
    "ACK",
    "INVITE",
    "PRACK",
    "UPDATE",
    "INFO",
    "OPTIONS",
    "REFER",
    "NOTIFY",
    "MESSAGE",
    "SUBSCRIBE",
    "PUBLISH",
    "FROBNICATE",
];

const STATUSES: [u16; 28] = [
    200, 180, 183, 486, 487, 481, 100, 199, 181, 182, 202, 299, 300, 302, 401, 407, 408, 422, 420, 488, 491, 500, 503,
    504, 580, 603, 699, 403,
];

/// Numbers that may be called, or said to call: the phones' own, X, nobody's, a fixed line, none at all.
const NUMBERS: [&str; 8] = [
    "+8617055556666",
    "+8613811112222",
    "+8613933334444",
    "+8613766667777",
    "075528780001",
    "anonymous",
    "110",
    "%2B8613811112222",
];

/// A message, and where it comes from.
pub(super) struct Shot {
    pub(super) source: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) bytes: Vec<u8>,
    /// A phone has said so before, word for word, so lately that it may be the network that says it again.
    pub(super) is_repetition: bool,
}

/// Which trunk an address of the testbed is on: the place among the settings' trunks, or beyond them.
pub(super) fn trunk_of(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(address) if address.octets()[..2] == [10, 1] => 0,
        IpAddr::V4(address) if address.octets()[..2] == [10, 2] => 1,
        IpAddr::V4(_) | IpAddr::V6(_) => 2,
    }
}

/// First value of a header.
pub(super) fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split("\r\n").take_while(|line| !line.is_empty()).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The branch of the top Via.
pub(super) fn branch(message: &str) -> Option<&str> {
    let after = header(message, "Via")?.split_once("branch=")?.1;
    after.split([';', ',', ' ']).next()
}

/// The message that these bytes want. `None` where nothing has been said yet that it could be made of.
pub(super) fn shot(world: &World, input: &mut Input<'_>, number: usize) -> Option<Shot> {
    let kind = input.byte();
    let shot = match kind % 8 {
        0 => return replay(world, input),
        1..=3 => request(world, input, number)?,
        4..=6 => response(world, input, number)?,
        _ => new(input, number),
    };
    let Shot { source, protocol, bytes, is_repetition } = shot;
    let mut bytes = bytes;
    for _ in 0..input.byte() / 64 {
        mutate(&mut bytes, input);
    }
    // A phone's address is not lent to one who tells of another phone: X would tell it back, and the scanner not know from whom
    // the phone has it.
    let source = if world.tells_of_others(source, &bytes) { elsewhere(source) } else { source };
    Some(Shot { source, protocol, bytes, is_repetition })
}

/// Another address of the same trunk.
fn elsewhere(source: SocketAddr) -> SocketAddr {
    [([10, 1, 7, 7], 5060), ([10, 2, 7, 7], 5060), ([192, 0, 2, 66], 5060)][trunk_of(source.ip())].into()
}

/// One of the last things said of which this is true.
fn pick<'a>(world: &'a World, input: &mut Input<'_>, is: impl Fn(&OnWire) -> bool) -> Option<&'a OnWire> {
    let all: Vec<&OnWire> = world.wire().iter().rev().filter(|said| is(said)).take(64).collect();
    let place = usize::from(input.byte()) % all.len().max(1);
    all.get(place).copied()
}

fn is_request(said: &OnWire) -> bool {
    !said.bytes.starts_with(b"SIP/2.0 ")
}

fn replay(world: &World, input: &mut Input<'_>) -> Option<Shot> {
    let is_phone = |said: &OnWire| world.phones().any(|phone| phone.config().contact == said.peer);
    let said = pick(world, input, |said| !said.by_x && is_phone(said))?;
    let is_repetition = world.now().saturating_sub(said.at) <= NETWORK_MAY_REPEAT;
    Some(Shot { source: said.peer, protocol: said.protocol, bytes: said.bytes.to_vec(), is_repetition })
}

/// Where a message about this peer's call comes from.
fn source(world: &World, input: &mut Input<'_>, said: &OnWire) -> SocketAddr {
    let peer = said.peer;
    let trunk = trunk_of(peer.ip());
    let phone = world.phones().map(|phone| phone.config().contact).find(|contact| trunk_of(contact.ip()) == trunk);
    let other = [SocketAddr::from(([10, 2, 7, 7], 5060)), SocketAddr::from(([10, 1, 7, 7], 5060))];
    match input.byte() % 8 {
        0..=2 => phone.filter(|phone| !world.tells_of_others(*phone, &said.bytes)).unwrap_or(peer),
        3 | 4 => elsewhere(peer),
        5 | 6 => other.get(trunk).copied().unwrap_or(peer),
        _ => SocketAddr::from(([192, 0, 2, 66], 5060)),
    }
}

fn protocol(input: &mut Input<'_>, usual: Protocol) -> Protocol {
    match (input.byte() % 8, usual) {
        (7, Protocol::Udp) => Protocol::Tcp,
        (7, Protocol::Tcp) => Protocol::Udp,
        _ => usual,
    }
}

fn word(source: SocketAddr) -> String {
    format!("{CANARY}-{}", ["a", "b", "s"][trunk_of(source.ip())])
}

/// A tag as it is, or not quite.
fn spoil(value: &str, input: &mut Input<'_>) -> String {
    match input.byte() % 16 {
        13 => value.split(";tag=").next().unwrap_or(value).to_owned(),
        14 => format!("{value}0"),
        15 => value.replace(";tag=", ";tag=0"),
        _ => value.to_owned(),
    }
}

fn request(world: &World, input: &mut Input<'_>, number: usize) -> Option<Shot> {
    let said = pick(world, input, |said| said.by_x)?;
    let text = String::from_utf8_lossy(&said.bytes);
    // The peer's side stands in To where X has asked, in From where X has answered.
    let (theirs, ours) = if is_request(said) { ("To", "From") } else { ("From", "To") };
    let mut theirs = header(&text, theirs)?.to_owned();
    if is_request(said) && !theirs.contains(";tag=") {
        // X has asked before it knew the tag: the one that the peer has answered with.
        let call_id = header(&text, "Call-ID")?;
        let answer = world.wire().iter().rev().filter(|said| !said.by_x && !is_request(said)).find_map(|said| {
            let text = String::from_utf8_lossy(&said.bytes).into_owned();
            (header(&text, "Call-ID") == Some(call_id)).then(|| header(&text, "To").map(str::to_owned)).flatten()
        });
        theirs = answer.unwrap_or(theirs);
    }
    let (from, to) =
        (spoil(&theirs, input), spoil(header(&text, "To").filter(|_| ours == "To").or(header(&text, ours))?, input));
    let source = source(world, input, said);
    let method = input.pick(&METHODS);
    let cseq: u32 = header(&text, "CSeq").and_then(|cseq| cseq.split(' ').next()?.parse().ok()).unwrap_or(1);
    let cseq = match input.byte() % 8 {
        0..=2 => cseq.wrapping_add(1),
        3 | 4 => cseq,
        5 => cseq.wrapping_add(1_000),
        6 => cseq.wrapping_sub(1),
        _ => u32::MAX,
    };
    let via = match (input.byte() % 4, header(&text, "Via")) {
        // The branch of the peer's own request: a copy of it, its CANCEL, its ACK.
        (0, Some(via)) if !is_request(said) => via.to_owned(),
        _ => format!("SIP/2.0/UDP {source};branch=z9hG4bK{}{number};rport", word(source)),
    };
    let call_id = match input.byte() % 32 {
        31 => word(source),
        _ => header(&text, "Call-ID")?.to_owned(),
    };
    let mut out = format!(
        "{method} sip:+8617055556666@10.0.0.1:5060 SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nSubject: {}\r\n",
        word(source)
    );
    if let (Some(rseq), Some(invite)) = (header(&text, "RSeq"), header(&text, "CSeq")) {
        out += &format!("RAck: {rseq} {invite}\r\n");
    }
    extras(&mut out, input, source);
    finish(&mut out, input, source, &text);
    Some(Shot { source, protocol: protocol(input, said.protocol), bytes: out.into_bytes(), is_repetition: false })
}

fn response(world: &World, input: &mut Input<'_>, number: usize) -> Option<Shot> {
    let said = pick(world, input, |said| said.by_x && is_request(said))?;
    let text = String::from_utf8_lossy(&said.bytes);
    let source = source(world, input, said);
    let call_id = header(&text, "Call-ID")?;
    let to = header(&text, "To")?;
    let to = match input.byte() % 8 {
        0..=3 if !to.contains(";tag=") => {
            let answer = world.wire().iter().rev().filter(|said| !said.by_x && !is_request(said)).find_map(|said| {
                let text = String::from_utf8_lossy(&said.bytes).into_owned();
                (header(&text, "Call-ID") == Some(call_id)).then(|| header(&text, "To").map(str::to_owned)).flatten()
            });
            answer.unwrap_or_else(|| format!("{to};tag={}", word(source)))
        }
        4 | 5 if !to.contains(";tag=") => format!("{to};tag={}{}", word(source), input.byte() % 12),
        6 if !to.contains(";tag=") => format!("{to};tag={}{number}", word(source)),
        _ => to.to_owned(),
    };
    let status = input.pick(&STATUSES);
    let cseq = match input.byte() % 16 {
        14 => "1 INVITE",
        15 => "2 BYE",
        _ => header(&text, "CSeq")?,
    };
    let mut out = format!(
        "SIP/2.0 {status} {}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n",
        word(source),
        header(&text, "Via")?,
        spoil(header(&text, "From")?, input),
    );
    if matches!(status, 401 | 407) {
        let name = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
        let realm = input.pick(&["carrier", "elsewhere"]);
        let stale = if input.byte() % 2 == 1 { ", stale=true" } else { "" };
        out += &format!(
            "{name}: Digest realm=\"{realm}\", nonce=\"{CANARY}{number}\", qop=\"auth\", algorithm=MD5{stale}\r\n"
        );
    }
    extras(&mut out, input, source);
    finish(&mut out, input, source, &text);
    Some(Shot { source, protocol: protocol(input, said.protocol), bytes: out.into_bytes(), is_repetition: false })
}

fn new(input: &mut Input<'_>, number: usize) -> Shot {
    let source: SocketAddr = input
        .pick(&[([10, 1, 7, 7], 5060), ([10, 2, 7, 7], 5060), ([192, 0, 2, 66], 5060), ([10, 1, 0, 1], 5060)])
        .into();
    let method = match input.byte() {
        byte @ 0..128 => ["INVITE", "INVITE", "INVITE", "OPTIONS"][usize::from(byte % 4)],
        byte => METHODS[usize::from(byte) % METHODS.len()],
    };
    let (caller, called) = (input.pick(&NUMBERS), input.pick(&[NUMBERS[0], NUMBERS[0], NUMBERS[0], NUMBERS[2], "119"]));
    let word = word(source);
    let mut out = format!(
        "{method} sip:{called}@10.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{word}{number};rport\r\n\
         Max-Forwards: {}\r\nFrom: \"{word}\" <sip:{caller}@{source}>;tag={word}{number}\r\nTo: <sip:{called}@10.0.0.1>\r\n\
         Call-ID: {word}{number}\r\nCSeq: 1 {method}\r\nSubject: {word}\r\nContact: <sip:{word}@{source}>\r\n",
        input.pick(&[70, 70, 70, 0, 1, 255])
    );
    extras(&mut out, input, source);
    finish(&mut out, input, source, "");
    Shot { source, protocol: protocol(input, Protocol::Udp), bytes: out.into_bytes(), is_repetition: false }
}

/// Header lines that change what a message means.
fn extras(out: &mut String, input: &mut Input<'_>, source: SocketAddr) {
    let word = word(source);
    for _ in 0..input.byte() % 4 {
        *out += &match input.byte() % 20 {
            0 | 1 => format!("Contact: <sip:{word}@{source}>\r\n"),
            2 => format!("Contact: <sip:{word}@192.0.2.66;transport=tcp>\r\n"),
            3 => format!("Require: 100rel\r\nRSeq: {}\r\n", input.pick(&["1", "2", "7", "4294967295", "0"])),
            4 => format!("RAck: {} 1 INVITE\r\n", input.byte() % 4),
            5 => format!(
                "Session-Expires: {};refresher={}\r\n",
                input.pick(&["90", "1800", "0", "4294967295"]),
                input.pick(&["uac", "uas"])
            ),
            6 => "Supported: timer, 100rel\r\n".to_owned(),
            7 => format!("Min-SE: {}\r\n", input.pick(&["90", "3600", "86400", "4294967295"])),
            8 => format!("Require: {}\r\n", input.pick(&["timer", "100rel", "teleport", "100rel, timer"])),
            9 => format!("Record-Route: <sip:{word}@{source};lr>, <sip:192.0.2.66;lr>\r\n"),
            10 => format!("Record-Route: <sip:{source}>\r\n"),
            11 => format!("Reason: Q.850;cause={};text=\"{word}\"\r\n", input.byte()),
            12 => format!("Refer-To: <sip:{word}@{source}>\r\n"),
            13 => format!("P-Asserted-Identity: <sip:{}@{source}>\r\n", input.pick(&NUMBERS)),
            14 => "Allow: INVITE, ACK, BYE, UPDATE\r\n".to_owned(),
            15 => format!("Info-Package: {word}\r\n"),
            16 => format!("Via: SIP/2.0/UDP {source};branch=z9hG4bK{word}\r\n"),
            17 => "Retry-After: 0\r\n".to_owned(),
            18 => format!("Contact: <sip:{}@10.2.0.1:5060>;q=0.9, <sip:10.2.3.1>\r\n", input.pick(&NUMBERS)),
            _ => "Accept: text/plain\r\n".to_owned(),
        };
    }
}

/// The body, its type and its length.
fn finish(out: &mut String, input: &mut Input<'_>, source: SocketAddr, said: &str) {
    let ip = source.ip();
    let sdp = |port: u16, rest: &str| {
        format!(
            "v=0\r\no={CANARY} {port} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {rest}\r\n"
        )
    };
    let (kind, body) = match input.byte() % 12 {
        0..=3 => ("", String::new()),
        4 | 5 => ("application/sdp", sdp(41_000, "8 0 101\r\na=rtpmap:101 telephone-event/8000")),
        6 => ("application/sdp", sdp(41_002, "8\r\na=inactive")),
        7 => ("application/sdp", sdp(41_004, "18")),
        8 => ("application/sdp", sdp(0, "0")),
        9 => ("application/dtmf-relay", format!("Signal={}\r\nDuration=160\r\n", input.pick(&["5", "#", "x"]))),
        10 => ("application/sdp", String::from_utf8_lossy(input.take(40)).into_owned()),
        _ => ("application/sdp", said.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned()),
    };
    if !kind.is_empty() {
        *out += &format!("Content-Type: {kind}\r\n");
    }
    *out += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
}

/// A line or a few bytes of it changed, without regard for what they mean.
fn mutate(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    if bytes.is_empty() {
        return;
    }
    let at = usize::from(input.u16()) % bytes.len();
    match input.byte() % 6 {
        0 => bytes.truncate(at),
        1 => bytes[at] = input.byte(),
        2 => {
            let length = usize::from(input.byte() % 16);
            let more = input.take(length).to_vec();
            bytes.splice(at..at, more);
        }
        3 => drop(bytes.drain(at..(at + 1 + usize::from(input.byte() % 32)).min(bytes.len()))),
        doubles => {
            // From this line's beginning to its end: once more, or not at all.
            let is_end = |window: &[u8]| window == b"\r\n";
            let start = bytes[..at].windows(2).rposition(is_end).map_or(0, |place| place + 2);
            let end = bytes[at..].windows(2).position(is_end).map_or(bytes.len(), |place| at + place + 2).max(start);
            let line: Vec<u8> = bytes.drain(start..end).collect();
            if doubles == 4 {
                bytes.splice(start..start, line.repeat(2));
            }
        }
    }
}
