//! What a relayed packet costs, in nanoseconds: the session's part, without sockets.
//!
//! `cargo bench -p media --bench relay`. Both directions of one call, and of a thousand calls in turn so that the caches are
//! cold. The copy of the packet into the buffer that is rewritten is included, draining a recording is not.
#![allow(clippy::disallowed_methods)] // a benchmark reads the clock; nothing below it does

use media::rtp::Header;
use media::session::{Config, Session};
use media::{Codec, Command, Direction, Hear, LegFormat, Remote, Side, SourcePolicy};
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
