//! What a message costs, in nanoseconds: reading an INVITE as a carrier sends it, writing the 200 to it.
//!
//! `cargo bench -p sip --bench message`; `--smoke` runs everything once, to see that it still works.
#![allow(clippy::disallowed_methods, reason = "a bench's subject is time")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use sip::limits::Limits;
use sip::message::{Message, write};

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
