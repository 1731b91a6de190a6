//! What a relayed packet costs, in nanoseconds: the session's part, without sockets.
//!
//! `cargo bench -p media --bench relay`. Both directions of one call, and of a thousand calls in turn so that the caches are
//! cold. The copy of the packet into the buffer that is rewritten is included, draining a recording is not.
//!
//! Then what a collection costs beside it, in the same run: A listens to a prompt and says something, both of 20 ms a packet, and
//! is listened to for digits in both ways. Each packet in and each one out counts, as on a relay; what a system call costs for
//! each of them is in `cargo bench --bench collect`.
#![allow(clippy::disallowed_methods)] // a benchmark reads the clock; nothing below it does

use media::rtp::Header;
use media::session::{Config, Session};
use media::{Codec, Command, Direction, Hear, LegFormat, Prompt, Remote, Repeat, Side, SourcePolicy, Then};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Packets a side in one run: 100 s of a call.
const PACKETS: u32 = 5000;

const RUNS: usize = 40;

fn main() {
    for calls in [1, 1000] {
        for (name, codec_b, recorded) in [
            ("plain", Codec::Pcma, false),
            ("converting", Codec::Pcmu, false),
            ("plain, recorded", Codec::Pcma, true),
            ("converting, recorded", Codec::Pcmu, true),
        ] {
            let nanoseconds = measure(calls, codec_b, recorded);
            println!("{calls:5} calls  {name:22} {nanoseconds:7.1} ns a packet");
        }
    }
    for calls in [1, 500] {
        let runs = if calls == 1 { RUNS } else { RUNS / 8 };
        let median = |collects: bool| {
            let mut results: Vec<f64> = (0..runs).map(|_| ask(calls, collects)).collect();
            results.sort_by(f64::total_cmp);
            results[runs / 2]
        };
        let (plain, collecting) = (median(false), median(true));
        println!("{calls:5} calls  prompt and voice       {plain:7.1} ns a packet");
        println!("{calls:5} calls  the same, collecting   {collecting:7.1} ns a packet");
    }
}

/// A prompt goes out and a voice comes in, which is noise: as dear to listen to as anything else.
fn ask(calls: u32, collects: bool) -> f64 {
    let prompt = Arc::new(Prompt { name: Arc::from("bench.wav"), alaw: vec![0x2a; 8000].into() });
    let mut sessions: Vec<Session> = (0..calls).map(|call| session(call, Codec::Pcma, false)).collect();
    for session in &mut sessions {
        let hear = Hear::Prompt { prompt: Arc::clone(&prompt), repeat: Repeat::Loop, then: Then::Nothing };
        for side in Side::BOTH {
            session.handle_command(Duration::ZERO, Command::Hear { side, hear: Hear::Nothing });
        }
        session.handle_command(Duration::ZERO, Command::Hear { side: Side::A, hear });
        session.handle_command(Duration::ZERO, Command::Collect { side: Side::A, on: collects });
    }
    let packets = PACKETS / if calls == 1 { 1 } else { 25 };
    let mut sent = 0_u64;
    let mut state = 1_u32;
    let mut elapsed = Duration::ZERO;
    for number in 0..packets {
        let now = Duration::from_millis(u64::from(number) * 20);
        let mut packet = packet(Side::A, Codec::Pcma, number);
        for sample in &mut packet[12..] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sample = (state >> 24) as u8;
        }
        let start = Instant::now();
        for session in &mut sessions {
            let mut buffer = packet;
            black_box(session.handle_rtp(now, Side::A, address(Side::A), black_box(&mut buffer)));
            session.handle_timeout(now, &mut |_, _, _, bytes| sent += u64::from(black_box(bytes).len() == 172));
            black_box(session.poll_event());
            black_box(session.poll_timeout());
        }
        elapsed += start.elapsed();
    }
    assert_eq!(sent, u64::from(packets) * u64::from(calls), "each time one goes out");
    elapsed.as_secs_f64() * 1e9 / (2 * sent) as f64
}

/// The median over all runs.
fn measure(calls: u32, codec_b: Codec, recorded: bool) -> f64 {
    let runs = if calls == 1 { RUNS } else { RUNS / 8 };
    let mut results: Vec<f64> = (0..runs).map(|_| run(calls, codec_b, recorded)).collect();
    results.sort_by(f64::total_cmp);
    results[runs / 2]
}

fn run(calls: u32, codec_b: Codec, recorded: bool) -> f64 {
    let mut sessions: Vec<Session> = (0..calls).map(|call| session(call, codec_b, recorded)).collect();
    let packets = PACKETS / if calls == 1 { 1 } else { 50 };
    let mut alaw = Vec::with_capacity(1 << 20);
    let mut drained = 0;
    let mut buffer = [0; 172];
    let mut elapsed = Duration::ZERO;
    for number in 0..packets {
        let now = Duration::from_millis(u64::from(number) * 20);
        let packet = [Side::A, Side::B].map(|side| packet(side, codec_b, number));
        let start = Instant::now();
        for session in &mut sessions {
            for side in Side::BOTH {
                buffer = packet[side.index()];
                black_box(session.handle_rtp(now, side, address(side), black_box(&mut buffer)));
            }
        }
        elapsed += start.elapsed();
        for session in &mut sessions {
            while session.poll_recording(&mut alaw).is_some() {}
            drained += alaw.len();
            alaw.clear();
        }
    }
    black_box(&buffer);
    assert_eq!(drained > 0, recorded);
    let sent: u64 = sessions.iter().flat_map(|session| session.totals().legs).map(|leg| leg.sent).sum();
    assert_eq!(sent, u64::from(packets) * u64::from(calls) * 2, "every packet was forwarded");
    elapsed.as_secs_f64() * 1e9 / sent as f64
}

fn session(call: u32, codec_b: Codec, recorded: bool) -> Session {
    let mut session = Session::new(Config::default(), u64::from(call), Duration::ZERO);
    for side in Side::BOTH {
        let codec = codec_of(side, codec_b);
        let format = LegFormat {
            codec,
            payload_type: payload_type(codec),
            telephone_event: Some(101),
            telephone_event_offered: None,
            ptime_ms: 20,
        };
        let remote = Remote {
            rtp: address(side),
            rtcp: address(side),
            format,
            direction: Direction { send: true, receive: true },
            source: SourcePolicy::Learn,
        };
        session.handle_command(Duration::ZERO, Command::SetRemote { side, remote });
        session.handle_command(Duration::ZERO, Command::Hear { side, hear: Hear::Peer });
    }
    if recorded {
        session.handle_command(Duration::ZERO, Command::Record { name: Arc::from("bench.wav") });
    }
    session
}

fn packet(side: Side, codec_b: Codec, number: u32) -> [u8; 172] {
    let header = Header {
        payload_type: payload_type(codec_of(side, codec_b)),
        marker: false,
        sequence_number: number as u16,
        timestamp: number * 160,
        ssrc: 1,
    };
    let mut packet = [0x2a; 172];
    packet[..12].copy_from_slice(&header.to_bytes());
    packet
}

const fn codec_of(side: Side, codec_b: Codec) -> Codec {
    match side {
        Side::A => Codec::Pcma,
        Side::B => codec_b,
    }
}

const fn payload_type(codec: Codec) -> u8 {
    match codec {
        Codec::Pcma => 8,
        Codec::Pcmu => 0,
    }
}

fn address(side: Side) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], if side == Side::A { 4000 } else { 5000 }))
}
