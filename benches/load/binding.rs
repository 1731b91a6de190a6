//! Durable binds by many clients at once, while calls run: how many a second, how long one takes, and what it costs the calls.
//!
//! Each client has a connection of its own and waits for the answer before it asks again. A bind is answered when the disk has
//! it, so the disk's fsync is in every figure.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axbridge::clock::Clock;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::api::administer;
use crate::daemon::{Daemon, Place};
use crate::figures::{Asked, Bar, Quantiles, ms, per};
use crate::proc::Cpu;
use crate::signalling::{self, Method};

/// As etc/bench.toml has them.
const APP: &str = "bench-axb";
const SECRET: &[u8] = b"bench-secret";
/// Virtual numbers beside those of etc/bench.toml, 5,000 pairs each.
const NUMBERS: u32 = 200;
const PATH: &str = "/rest/caas/relationnumber/partners/v1.0";

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) clients: u32,
    /// Calls a second beside them.
    pub(crate) rate: u32,
    pub(crate) calls: Method,
}

/// What it showed.
#[derive(Debug)]
pub(crate) struct Measured {
    load: Load,
    binds: u64,
    refused: u64,
    elapsed: Duration,
    times: Quantiles,
    /// CPU of a call without binds and with them, in ms: of the threads that calls go through.
    alone: f64,
    beside: f64,
    api: f64,
    failed: u32,
}

impl Measured {
    /// Calls and binds that failed.
    pub(crate) fn failed(&self) -> u32 {
        self.failed + u32::try_from(self.refused).unwrap_or(u32::MAX)
    }

    fn rate(&self) -> f64 {
        per(self.binds as f64, self.elapsed.as_secs_f64())
    }

    pub(crate) fn print(&self) {
        println!("\nDurable binds: {} clients, beside {} calls/s", self.load.clients, self.load.rate);
        println!(
            "  {} binds, {:.0} a second, {} refused; p50 {}, p99 {}, p99.9 {}, max {}",
            self.binds,
            self.rate(),
            self.refused,
            ms(self.times.p50),
            ms(self.times.p99),
            ms(self.times.p999),
            ms(self.times.max)
        );
        println!(
            "  CPU of a call {:.4} ms without binds, {:.4} ms beside them; of a bind {:.1} µs (threads http and registry)",
            self.alone, self.beside, self.api
        );
    }

    pub(crate) fn bars(&self) -> Vec<Bar> {
        let clients = self.load.clients;
        let calls = self.load.rate;
        vec![
            Bar {
                subject: format!("durable binds, {clients} clients, beside {calls} calls/s"),
                asked: Asked::AtLeast(5_000.0),
                measured: self.rate(),
                unit: "binds/s",
            },
            Bar {
                subject: "p99 of a bind".into(),
                asked: Asked::AtMost(30.0),
                measured: self.times.p99.as_secs_f64() * 1e3,
                unit: "ms",
            },
            Bar {
                subject: "CPU of a call beside binds, of that without".into(),
                asked: Asked::AtMost(1.10),
                measured: per(self.beside, self.alone),
                unit: "times",
            },
        ]
    }
}

/// Calls alone, then calls and binds, on one daemon.
pub(crate) fn measure(place: &Place, load: Load) -> io::Result<Measured> {
    let daemon = Daemon::start(place)?;
    let api = place.api;
    let warm_up = Method { time: Duration::from_secs(1).min(load.calls.time), ..load.calls };
    let first = signalling::run(&daemon, place, load.rate, &warm_up, 1)?;
    let alone = signalling::run(&daemon, place, load.rate, &load.calls, 2)?;
    let clients = &Clients::new(api, place.clock);
    add_numbers(place)?;
    let before = Cpu::of(daemon.pid())?;
    let (beside, times, elapsed) = std::thread::scope(|scope| -> io::Result<_> {
        let began = place.clock.now();
        let threads: Vec<_> = (0..load.clients).map(|place| scope.spawn(move || clients.run(place))).collect();
        let beside = signalling::run(&daemon, place, load.rate, &load.calls, 3);
        clients.stop.store(true, Relaxed);
        let mut times = Vec::new();
        for thread in threads {
            times.extend(thread.join().map_err(|_| io::Error::other("a client panicked"))??);
        }
        Ok((beside?, times, place.clock.now() - began))
    })?;
    let used = Cpu::of(daemon.pid())?.since(&before);
    let binds = times.len() as u64;
    let failed = first.failed() + alone.failed() + beside.failed();
    if failed == 0 {
        daemon.end()?;
    }
    Ok(Measured {
        load,
        binds,
        refused: clients.refused.load(Relaxed),
        elapsed,
        times: Quantiles::of(times),
        alone: alone.cpu_of_calls(),
        beside: beside.cpu_of_calls(),
        api: per(used.of_threads(&API_THREADS).as_secs_f64() * 1e6, binds as f64),
        failed,
    })
}

/// The threads that calls do not go through.
pub(crate) const API_THREADS: [&str; 2] = ["http", "registry"];

struct Clients {
    api: SocketAddr,
    clock: Clock,
    stop: AtomicBool,
    refused: AtomicU64,
    next: AtomicU64,
}

impl Clients {
    fn new(api: SocketAddr, clock: Clock) -> Clients {
        Clients { api, clock, stop: AtomicBool::new(false), refused: AtomicU64::new(0), next: AtomicU64::new(0) }
    }

    /// Binds one pair after the other; how long each took.
    fn run(&self, place: u32) -> io::Result<Vec<Duration>> {
        let stream = TcpStream::connect(self.api)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        let mut times = Vec::new();
        while !self.stop.load(Relaxed) {
            let pair = self.next.fetch_add(1, Relaxed);
            let request = self.request(place, pair);
            let began = self.clock.now();
            stream.write_all(request.as_bytes())?;
            let body = answer(&mut reader)?;
            if body.starts_with(br#"{"resultcode":"0""#) {
                times.push(self.clock.now() - began);
            } else {
                let first = self.refused.fetch_add(1, Relaxed) == 0;
                if first {
                    eprintln!("a bind was refused: {}", String::from_utf8_lossy(&body));
                }
            }
        }
        Ok(times)
    }

    fn request(&self, place: u32, pair: u64) -> String {
        let nonce = format!("{place:08x}{pair:024x}{:016x}", self.clock.now().as_nanos());
        let created = format!("{}Z", self.clock.utc(self.clock.now()).replace(' ', "T"));
        let hmac = Hmac::<Sha256>::new_from_slice(SECRET).expect("a key of HMAC has any length");
        let digest = hmac.chain_update(&nonce).chain_update(&created).finalize().into_bytes();
        let digest = BASE64_STANDARD.encode(digest);
        // Two numbers for each pair, none of them used twice.
        let (a, b) = (13_000_000_000 + 2 * pair, 13_000_000_001 + 2 * pair);
        let body = format!(r#"{{"callerNum":"+86{a}","calleeNum":"+86{b}"}}"#);
        format!(
            "POST {PATH} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json;charset=UTF-8\r\n\
             Authorization: AKSK realm=\"SDP\",profile=\"UsernameToken\",type=\"Appkey\"\r\n\
             X-AKSK: UsernameToken Username=\"{APP}\",PasswordDigest=\"{digest}\",Nonce=\"{nonce}\",Created=\"{created}\"\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.api,
            body.len()
        )
    }
}

/// More X than etc/bench.toml has, so that pairs find room.
fn add_numbers(place: &Place) -> io::Result<()> {
    let numbers: Vec<String> =
        (0..NUMBERS).map(|n| format!(r#"{{"x":"+867558890{n:04}","app":"{APP}","trunk":"bench"}}"#)).collect();
    administer(place, "POST", "/numbers", format!("[{}]", numbers.join(",")).as_bytes())
}

/// The body of the next answer.
fn answer(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}
