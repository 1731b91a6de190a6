//! What a whole call costs without sockets: INVITE to BYE through [`b2bua::Core`] and its [`media::session::Session`]; and what
//! one costs that is turned away.
//!
//! `cargo bench --bench call`; `--smoke` plays a few calls once, to see that it still works.
//!
//! Calls come at 500 a second of simulated time and last one second, as in the load bench, under the same configuration. The
//! phones play once and what they said is kept. The same seed gives the same calls, byte for byte: so the measured runs
//! replay it, and nothing of the phones is in the figures. A datagram's copy into memory of its own is, as in the daemon.
#![allow(clippy::disallowed_methods, reason = "a bench's subject is time")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axbridge::config::{self, Config};
use b2bua::{Core, Output, SessionId};
use bytes::Bytes;
use media::session::{self, Session};
use sip::transaction::{Flow, Transmit, Transport};

#[allow(dead_code, reason = "the load bench speaks the rest")]
#[path = "load/message.rs"]
mod message;

use message::{Answer, Line, MESSAGES_A_CALL, Received, respond};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/bench.toml");
/// X without a hint tone: joined at once.
const NUMBER: &str = "15550001111";
const SEED: u64 = 7;
const BETWEEN: Duration = Duration::from_millis(2);
const HOLD: Duration = Duration::from_secs(1);
/// When every timer of the last transaction has run out.
const AFTERWARDS: Duration = Duration::from_secs(40);

/// Counts what is asked of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    ALLOCATED.fetch_add(bytes as u64, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
#[allow(unsafe_code, reason = "an allocator is unsafe to write")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the promises that this call asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A datagram on its way to X.
#[derive(Clone, Debug)]
struct Datagram {
    at: Duration,
    peer: SocketAddr,
    bytes: Vec<u8>,
}

/// X without its sockets.
struct Platform {
    core: Core,
    sessions: HashMap<SessionId, Session>,
    next_port: u16,
    ended: u32,
}

impl Platform {
    fn new(config: &Config) -> Platform {
        let (mut bindings, table) = numbering::Bindings::new(numbering::Limits::default());
        let bound = bindings.replace_all(
            config.numbers.clone(),
            config.bindings.iter().cloned().map(numbering::Binding::Axb).collect(),
        );
        bound.expect("the configuration has been checked");
        let core = Core::new(Arc::new(config.settings.clone()), table, SEED);
        let next_port = config.settings.media.ports.0;
        let mut platform = Platform { core, sessions: HashMap::new(), next_port, ended: 0 };
        platform.add_ports(Duration::ZERO);
        platform
    }

    fn receive(&mut self, datagram: &Datagram, mut transmit: impl FnMut(Transmit)) {
        let flow = Flow::to(Transport::Udp, 0, datagram.peer);
        self.core.handle_message(datagram.at, flow, Bytes::copy_from_slice(&datagram.bytes));
        self.settle(datagram.at, &mut transmit);
    }

    /// What is due until then, each at its time.
    fn run_until(&mut self, until: Duration, mut transmit: impl FnMut(Transmit)) {
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= until) {
            self.core.handle_timeout(at);
            self.settle(at, &mut transmit);
        }
    }

    fn settle(&mut self, now: Duration, transmit: &mut impl FnMut(Transmit)) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Transmit(bytes) => transmit(bytes),
                Output::OpenMedia { session, seed, .. } => {
                    self.sessions.insert(session, Session::new(session::Config::default(), seed, now));
                }
                Output::Media { session, command } => self.command(now, session, command),
                Output::Ended(cdr) => {
                    black_box(cdr);
                    self.ended += 1;
                }
                Output::Ending(cdr) => drop(black_box(cdr)),
                Output::Correlated { .. } => {}
                Output::Told(event) => drop(black_box(event)),
                output @ (Output::AskText { .. }
                | Output::SendText { .. }
                | Output::AnswerText { .. }
                | Output::Text(_)) => drop(black_box(output)),
                // Nobody has an extension here.
                Output::Reached { .. } => {}
                Output::Log(line) => drop(black_box(line)),
            }
        }
        self.add_ports(now);
    }

    fn add_ports(&mut self, now: Duration) {
        for _ in 0..self.core.ports_wanted(now) {
            self.core.add_port(self.next_port);
            self.next_port += 2;
        }
    }

    fn command(&mut self, now: Duration, id: SessionId, command: media::Command) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.handle_command(now, command);
        session.handle_timeout(now, &mut |_, _, _, packet: &[u8]| {
            black_box(packet);
        });
        while let Some(event) = self.sessions.get_mut(&id).and_then(Session::poll_event) {
            if matches!(event, media::Event::Closed(_)) {
                self.sessions.remove(&id);
            }
            self.core.handle_media_event(now, id, event);
        }
    }
}

/// Both phones, and everything they say in the course of so many calls.
struct Phones {
    line: Line,
    callee: SocketAddr,
    calls: u32,
    /// Yet to be said, the earliest first; the number keeps what is said at one time in order.
    ahead: BinaryHeap<Reverse<(Duration, u32)>>,
    said: Vec<Datagram>,
}

impl Phones {
    fn new(config: &Config, calls: u32) -> Phones {
        let x = config.settings.listeners[0].bind;
        let callee = config.settings.trunks[0].targets[0].address().expect("etc/bench.toml names an address");
        let caller = SocketAddr::from(([127, 0, 0, 1], 6098));
        let mut phones = Phones {
            line: Line { x, caller, number: NUMBER, run: 1 },
            callee,
            calls,
            ahead: BinaryHeap::new(),
            said: Vec::new(),
        };
        for call in 0..calls {
            let mut bytes = Vec::new();
            phones.line.invite(&mut bytes, call, SocketAddr::from(([127, 0, 0, 1], 20_000)));
            phones.say(BETWEEN * call, caller, bytes);
        }
        phones
    }

    fn say(&mut self, at: Duration, peer: SocketAddr, bytes: Vec<u8>) {
        self.ahead.push(Reverse((at, self.said.len() as u32)));
        self.said.push(Datagram { at, peer, bytes });
    }

    /// Plays every call and gives what the phones said, in the order in which X heard it.
    fn play(mut self, platform: &mut Platform) -> Vec<Datagram> {
        let mut heard = Vec::new();
        while let Some(Reverse((at, place))) = self.ahead.pop() {
            let mut sent = Vec::new();
            platform.run_until(at, |transmit| sent.push(transmit));
            let datagram = self.said[place as usize].clone();
            platform.receive(&datagram, |transmit| sent.push(transmit));
            heard.push(datagram);
            for transmit in sent {
                self.hear(at, &transmit);
            }
        }
        platform.run_until(heard.last().map_or(Duration::ZERO, |last| last.at) + AFTERWARDS, drop);
        assert_eq!(heard.len() as u64, u64::from(self.calls) * (MESSAGES_A_CALL / 2), "every message was said once");
        heard
    }

    fn hear(&mut self, now: Duration, transmit: &Transmit) {
        let message = Received::read(&transmit.bytes).expect("X writes whole messages");
        match message.status() {
            Some(status) => self.hear_response(now, &message, status),
            None => self.hear_request(now, &message),
        }
    }

    fn hear_request(&mut self, now: Duration, message: &Received<'_>) {
        let rtp = Some(SocketAddr::from(([127, 0, 0, 1], 20_002)));
        let responses: &[(&str, Option<SocketAddr>)] = match message.method() {
            "INVITE" => &[("180 Ringing", None), ("200 OK", rtp)],
            "BYE" => &[("200 OK", None)],
            "ACK" => &[],
            method => panic!("nobody expects {method} here"),
        };
        for (status, rtp) in responses {
            let mut bytes = Vec::new();
            respond(&mut bytes, message, status, "b", self.callee, *rtp);
            self.say(now, self.callee, bytes);
        }
    }

    fn hear_response(&mut self, now: Duration, message: &Received<'_>, status: u16) {
        assert!(status <= 200, "X refuses with {status}");
        if (message.method(), status) != ("INVITE", 200) {
            return;
        }
        let answer = Answer::of(message).expect("X says where it is");
        let call =
            message.header("Call-ID").and_then(|call_id| self.line.call_of(call_id)).expect("X kept the Call-ID");
        let (mut ack, mut bye) = (Vec::new(), Vec::new());
        self.line.ack(&mut ack, call, &answer);
        self.line.bye(&mut bye, call, &answer);
        self.say(now, self.line.caller, ack);
        self.say(now + HOLD, self.line.caller, bye);
    }
}

/// One run: time, allocations and bytes allocated, for all calls together.
fn replay(config: &Config, heard: &[Datagram], calls: u32) -> (Duration, u64, u64) {
    let mut platform = Platform::new(config);
    let mut sent = 0_u64;
    let (allocations, allocated) = (ALLOCATIONS.load(Ordering::Relaxed), ALLOCATED.load(Ordering::Relaxed));
    let start = Instant::now();
    for datagram in heard {
        platform.run_until(datagram.at, |_| sent += 1);
        platform.receive(datagram, |transmit| {
            black_box(&transmit.bytes);
            sent += 1;
        });
    }
    platform.run_until(heard.last().map_or(Duration::ZERO, |last| last.at) + AFTERWARDS, |_| sent += 1);
    let elapsed = start.elapsed();
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - allocations;
    let allocated = ALLOCATED.load(Ordering::Relaxed) - allocated;
    assert_eq!(platform.ended, calls, "every call came to its end");
    assert_eq!(sent, u64::from(calls) * MESSAGES_A_CALL.div_ceil(2), "and nothing was sent twice");
    assert!(platform.core.is_idle(), "and left nothing behind");
    (elapsed, allocations, allocated)
}

/// What a new call costs that is not taken: one from a stranger, of whom nothing is read, and one that has waited too long and
/// gets a 503. Time for all of them together.
fn turn_away(config: &Config, calls: u32) -> [Duration; 2] {
    const STRANGER: &str = "192.0.2.1:5060";
    const CARRIER: &str = "127.0.0.1:6098";
    [(STRANGER, Duration::ZERO), (CARRIER, Duration::from_secs(1))].map(|(peer, age)| {
        let mut platform = Platform::new(config);
        let peer: SocketAddr = peer.parse().expect("an address");
        let line = Line { x: SocketAddr::from(([127, 0, 0, 1], 6_080)), caller: peer, number: NUMBER, run: 1 };
        let invites = (0..calls).map(|call| {
            let mut bytes = Vec::new();
            line.invite(&mut bytes, call, SocketAddr::from(([127, 0, 0, 1], 20_000)));
            bytes
        });
        let invites: Vec<Vec<u8>> = invites.collect();
        let mut answered = 0;
        let start = Instant::now();
        for (place, invite) in (0..).zip(&invites) {
            let now = Duration::from_secs(2) + Duration::from_micros(10) * place;
            let flow = Flow::to(Transport::Udp, 0, peer);
            platform.core.take_in(now, age, flow, Bytes::copy_from_slice(invite));
            platform.core.handle_waiting(now, 16);
            while let Some(output) = platform.core.poll_output() {
                answered += u32::from(matches!(black_box(output), Output::Transmit(_)));
            }
        }
        let elapsed = start.elapsed();
        assert!(if age.is_zero() { answered <= 20 } else { answered == calls }, "{answered} of {calls}");
        elapsed
    })
}

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let (runs, calls) = if smoke { (1, 20) } else { (15, 5_000) };
    let config = config::load(Path::new(CONFIG)).unwrap_or_else(|complaints| {
        let complaints: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        panic!("{}", complaints.join("\n"));
    });
    let heard = Phones::new(&config, calls).play(&mut Platform::new(&config));
    let mut runs: Vec<(Duration, u64, u64)> = (0..runs).map(|_| replay(&config, &heard, calls)).collect();
    runs.sort_unstable();
    let (elapsed, allocations, allocated) = runs[runs.len() / 2];
    let a_call = |whole: f64| whole / f64::from(calls);
    println!("a call from INVITE to BYE, {calls} of them at 500 a second, one second each, the last timer included");
    println!("  median of {:3} runs  {:9.2} µs", runs.len(), a_call(elapsed.as_secs_f64() * 1e6));
    println!("  fastest             {:9.2} µs", a_call(runs[0].0.as_secs_f64() * 1e6));
    println!("  allocations         {:9.1}", a_call(allocations as f64));
    println!("  bytes allocated     {:9.0}", a_call(allocated as f64));
    let mut away: Vec<[Duration; 2]> = (0..runs.len()).map(|_| turn_away(&config, calls)).collect();
    for (place, what) in ["from a stranger, silently", "that has waited too long, 503"].iter().enumerate() {
        away.sort_unstable_by_key(|run| run[place]);
        println!("an INVITE turned away {what}");
        println!("  median              {:9.3} µs", a_call(away[away.len() / 2][place].as_secs_f64() * 1e6));
    }
}
