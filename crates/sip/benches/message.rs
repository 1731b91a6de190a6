//! What a message costs, in nanoseconds: reading an INVITE as a carrier sends it, writing the 200 to it; and what a byte costs of
//! messages that are made to be slow, short and as long as they may be. Were there anything that a reader looks through again
//! for each byte, the long ones' bytes would cost four times as much.
//!
//! `cargo bench -p sip --bench message`; `--smoke` runs everything once, to see that it still works.
#![allow(clippy::disallowed_methods, reason = "a bench's subject is time")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use sip::limits::Limits;
use sip::message::{List, Message, NameAddr, Uri, Via, write};

/// 13 headers and a session description: 857 bytes.
const INVITE: &str = "INVITE sip:02188880001@203.0.113.9:5060;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK+7f6c2d5a9e1b40831+1;rport\r\n\
    Max-Forwards: 68\r\n\
    From: \"13812345678\" <sip:13812345678@198.51.100.7;user=phone>;tag=5e2f01c9+1+a3d20007\r\n\
    To: <sip:02188880001@203.0.113.9;user=phone>\r\n\
    Call-ID: 0gQAAC8WAAACBAAALxYAAK3jMfM2@198.51.100.7\r\n\
    CSeq: 72210 INVITE\r\n\
    Contact: <sip:13812345678@198.51.100.7:5060;transport=udp>\r\n\
    Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\n\
    Supported: 100rel, timer\r\n\
    P-Asserted-Identity: <sip:+8613812345678@198.51.100.7;user=phone>\r\n\
    User-Agent: session border controller 9.2\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 184\r\n\
    \r\n\
    v=0\r\n\
    o=- 8871 8871 IN IP4 198.51.100.20\r\n\
    s=-\r\n\
    c=IN IP4 198.51.100.20\r\n\
    t=0 0\r\n\
    m=audio 41270 RTP/AVP 8 0 101\r\n\
    a=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-15\r\n\
    a=ptime:20\r\n\
    a=sendrecv\r\n";

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let limits = Limits::default();
    let bytes = Bytes::from_static(INVITE.as_bytes());
    let invite = Message::parse(bytes.clone(), &limits).expect("the bench's own message is sound");
    println!("the INVITE has {} bytes and {} headers", bytes.len(), invite.headers().count());

    measure("read an INVITE", smoke, || black_box(Message::parse(black_box(bytes.clone()), &limits)).is_ok());
    measure("read its top Via again", smoke, || black_box(&invite).top_via().branch.len() > 7);
    measure("read its Contact", smoke, || black_box(&invite).contact().is_some());
    let source = "198.51.100.7:5060".parse().ok();
    let mut out = Vec::with_capacity(1024);
    measure("write the 200 to it", smoke, || {
        out.clear();
        write::response_to(&mut out, black_box(&invite), 200, write::reason_phrase(200), b"9f00d1b2c3a49586", source);
        write::header(&mut out, "Contact", b"<sip:203.0.113.9:5060>");
        write::header(&mut out, "Allow", b"INVITE, ACK, BYE, CANCEL, OPTIONS");
        write::finish(&mut out, Some(b"application/sdp"), invite.body());
        !black_box(&out).is_empty()
    });

    println!("\na byte of a header that is made to be slow, of 2,000 and of 8,000 bytes");
    for filler in [";", ",", "\"", "<", "\\", "a=\"", ";a=\"", ";a=\"\\\"", ",\"", "<,", "\r\n ", ";tag", "\0", "\"\","]
    {
        per_byte(&format!("{filler:?}"), smoke, [2_000, 8_000], |size| {
            let value = filler.repeat(size / filler.len());
            let text = INVITE.replacen("Supported: 100rel, timer", &format!("Contact: {value}\r\nVia: {value}"), 1);
            (Bytes::from(text), 2 * value.len())
        });
    }
    println!("\na byte of a body that is made to be slow, of 15,000 and of 60,000 bytes");
    for filler in ["--b", "--b\r\n", "\r\n--b\r\nContent-Type: text/plain\r\n\r\n", "\r\n", "--b \t", "\n--b--"] {
        per_byte(&format!("{filler:?}"), smoke, [15_000, 60_000], |size| {
            let head = &INVITE[..INVITE.find("Content-Type").expect("it has one")];
            let body = filler.repeat(size / filler.len());
            let text = format!(
                "{head}Content-Type: multipart/mixed;boundary=b\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            (Bytes::from(text), body.len())
        });
    }
}

/// All that is ever read of a message, for each byte of what makes it slow.
fn per_byte(name: &str, smoke: bool, sizes: [usize; 2], message: impl Fn(usize) -> (Bytes, usize)) {
    let costs = sizes.map(|size| {
        let (bytes, slow) = message(size);
        let limits = Limits { max_vias: usize::MAX, ..Limits::default() };
        let runs = if smoke { 1 } else { 30 };
        let fastest = (0..runs)
            .map(|_| {
                let start = Instant::now();
                black_box(read_all(black_box(&bytes), &limits));
                start.elapsed().as_secs_f64() * 1e9
            })
            .fold(f64::INFINITY, f64::min);
        fastest / slow as f64
    });
    println!("{name:52} {:8.2} ns {:8.2} ns", costs[0], costs[1]);
}

fn read_all(bytes: &Bytes, limits: &Limits) -> usize {
    let message = match Message::parse(bytes.clone(), limits) {
        Ok(message) => message,
        Err(rejected) => rejected.request.expect("it can be answered"),
    };
    let mut found = message.sdp_body().map_or(0, <[u8]>::len);
    for header in message.headers() {
        for element in List::of(header.value) {
            found += element.len() + Via::parse(element).map_or(0, |via| via.params.iter().count());
            if let Ok(address) = NameAddr::parse(element) {
                found += address.name().len() + address.params.iter().count() + address.tag().len();
                found += Uri::parse(address.uri).map_or(0, |uri| uri.user_unescaped().len());
            }
        }
    }
    let mut out = Vec::new();
    write::response_to(&mut out, &message, 400, "Bad Request", b"t", "198.51.100.7:5060".parse().ok());
    found + out.len()
}

/// The fastest of many runs: what it costs when nothing else wants the processor.
fn measure(name: &str, smoke: bool, mut subject: impl FnMut() -> bool) {
    let (runs, times) = if smoke { (1, 1) } else { (200, 5_000_u32) };
    let nanoseconds = (0..runs)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..times {
                assert!(subject());
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
        })
        .fold(f64::INFINITY, f64::min);
    println!("{name:24} {nanoseconds:8.1} ns");
}
