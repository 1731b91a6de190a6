//! What a collection costs the relay: CPU of its thread a packet, beside that of plain relaying, on real sockets.
//!
//! ```text
//!   plain        250 calls, A ─▶ X ─▶ B and B ─▶ X ─▶ A            25,000 packets a second in, 25,000 out
//!   collecting   500 calls, A ─▶ X, listened to for tones and      25,000 packets a second in, 25,000 out
//!                events; X ─▶ A, a prompt
//! ```
//!
//! `cargo bench --bench collect`; `--smoke` takes a second and tells little. The two take turns, so that both have the same
//! machine. The bar is twice the CPU of a plain packet. A relay that the machine leaves no time for falls behind, and what it
//! handled less than nine tenths of tells nothing.
#![allow(clippy::disallowed_methods, reason = "a bench's subject is time")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axbridge::clock::Clock;
use axbridge::recording::{self, Writer};
use axbridge::relay::{Config, Meters, Relay, Totals};
use axbridge::transport::Bell;
use b2bua::SessionId;
use media::{Codec, Command, Direction, Hear, LegFormat, Prompt, Remote, Repeat, Side, SourcePolicy, Then};
use prometheus::{Histogram, HistogramOpts};

#[path = "load/figures.rs"]
#[allow(dead_code, reason = "the load bench prints the rest")]
mod figures;
#[path = "load/proc.rs"]
#[allow(dead_code, reason = "the load bench reads the rest")]
mod proc;
#[path = "load/rtp.rs"]
#[allow(dead_code, reason = "the load bench measures the rest")]
mod rtp;
#[path = "load/sys.rs"]
#[allow(dead_code, reason = "the load bench needs the rest")]
mod sys;

use proc::Cpu;
use rtp::Traffic;
use sys::Epoll;

/// How long the parties wait for what they hear before they send again.
const LOOK: Duration = Duration::from_micros(500);
const PACKET_TIME: Duration = Duration::from_millis(20);
/// The first port of the relay.
const FIRST_PORT: u16 = 40_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Plain,
    Collecting,
}

fn main() -> io::Result<()> {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let (legs, window, turns) = if smoke { (20, 1, 1) } else { (500, 5, 3) };
    sys::raise_file_limit()?;
    println!("{}", proc::machine());
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..turns {
        for what in [What::Plain, What::Collecting] {
            let Measured { cost, handled } = measure(what, legs, Duration::from_secs(window))?;
            costs[what as usize].push(cost);
            let name = if what == What::Plain { "plain" } else { "collecting" };
            println!("{name:10}  {legs} legs  {cost:6.2} µs a packet, in or out; {:3.0} % handled", handled * 100.0);
        }
    }
    let [plain, collecting] = costs.map(|mut costs| {
        costs.sort_by(f64::total_cmp);
        costs[costs.len() / 2]
    });
    println!("a collection's packets cost {:.2} times those of a plain relay (asked: ≤ 2)", collecting / plain);
    Ok(())
}

struct Measured {
    /// CPU of the relay's thread in µs, for each packet that it got or sent.
    cost: f64,
    /// How many of those that there should be.
    handled: f64,
}

fn measure(what: What, legs: usize, window: Duration) -> io::Result<Measured> {
    let clock = Clock::start();
    let folder = tempfile::tempdir()?;
    let (recordings, writer) =
        Writer::spawn(recording::Config { dir: folder.path().to_owned(), ..Default::default() }, clock)?;
    let poll = mio::Poll::new()?;
    let bell = Bell::new(mio::Waker::new(poll.registry(), mio::Token(0))?);
    let histogram = |name: &str| Histogram::with_opts(HistogramOpts::new(name, name)).expect("a name");
    let meters = Meters { forward: histogram("forward"), lateness: histogram("lateness") };
    let config = Config {
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ports: (FIRST_PORT, FIRST_PORT + 8000),
        workers: 1,
        session: media::session::Config::default(),
    };
    let mut relay = Relay::spawn(&config, clock, &recordings, &bell, &meters)?;
    let sessions = if what == What::Plain { legs / 2 } else { legs };
    let mut ports = Vec::new();
    relay.bind_ports(2 * sessions, |port| ports.push(port));
    assert_eq!(ports.len(), 2 * sessions, "as many ports as that; ulimit -n may be too low");

    let epoll = Rc::new(Epoll::new()?);
    let mut traffic = Traffic::new(clock, Rc::clone(&epoll));
    let prompt = Arc::new(Prompt { name: Arc::from("bench.wav"), alaw: vec![0x2a; 24_000].into() });
    for (number, ports) in ports.chunks_exact(2).enumerate() {
        let session = SessionId(number as u64);
        relay.open(session, [ports[0], ports[1]], number as u64);
        let talking: &[Side] = if what == What::Plain { &Side::BOTH } else { &[Side::A] };
        for side in talking {
            let leg = traffic.open()?;
            let remote = remote(traffic.address(leg));
            relay.command(session, Command::SetRemote { side: *side, remote });
            let hear = match what {
                What::Plain => Hear::Peer,
                What::Collecting => {
                    relay.command(session, Command::Collect { side: *side, on: true });
                    Hear::Prompt { prompt: Arc::clone(&prompt), repeat: Repeat::Loop, then: Then::Nothing }
                }
            };
            relay.command(session, Command::Hear { side: *side, hear });
            traffic.talk_to(leg, SocketAddr::from((Ipv4Addr::LOCALHOST, ports[side.index()])));
        }
        // Prompts of calls that come one by one do not all tick at once.
        run(&mut traffic, &epoll, clock, Duration::from_millis(3))?;
        relay.flush(Duration::MAX);
    }
    run(&mut traffic, &epoll, clock, Duration::from_secs(1))?;
    let totals = |relay: &Relay| Totals::of(relay.counters().iter().map(|counters| &**counters));
    let (before, cpu) = (totals(&relay), Cpu::of(std::process::id())?);
    run(&mut traffic, &epoll, clock, window)?;
    let (after, cpu) = (totals(&relay), Cpu::of(std::process::id())?.since(&cpu));
    let handled = |totals: &Totals| totals.received + totals.forwarded + totals.originated;
    let packets = (handled(&after) - handled(&before)) as f64;
    assert!(relay.poll_event().is_none(), "noise presses no digit");
    let used = cpu.of_threads(&["relay-"]);
    drop(relay);
    drop(recordings);
    writer.finish();
    let due = legs as f64 * 2.0 * window.as_secs_f64() / PACKET_TIME.as_secs_f64();
    Ok(Measured { cost: used.as_secs_f64() * 1e6 / packets, handled: packets / due })
}

fn run(traffic: &mut Traffic, epoll: &Epoll, clock: Clock, time: Duration) -> io::Result<()> {
    let end = clock.now() + time;
    let mut tokens = Vec::new();
    while clock.now() < end {
        traffic.on_time(clock.now());
        epoll.wait(LOOK, &mut tokens)?;
        for leg in &tokens {
            traffic.on_readable(*leg);
        }
    }
    Ok(())
}

fn remote(rtp: SocketAddr) -> Remote {
    let format = LegFormat {
        codec: Codec::Pcma,
        payload_type: 8,
        telephone_event: Some(101),
        telephone_event_offered: None,
        ptime_ms: 20,
    };
    let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
    let direction = Direction { send: true, receive: true };
    Remote { rtp, rtcp, format, direction, source: SourcePolicy::Learn }
}
