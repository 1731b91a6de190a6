//! Calls without voices: what one costs the daemon, and how many a second it can take.

use std::io;
use std::time::Duration;

use crate::binding::API_THREADS;
use crate::daemon::{Daemon, Place};
use crate::figures::{Asked, Bar, Quantiles, ms, per};
use crate::message::MESSAGES_A_CALL;
use crate::phones::{Phones, Plan, Tally};
use crate::proc::Cpu;

/// Joined at once, no tone, no recording.
const NUMBER: &str = "15550001111";
/// How long calls may take to come to an end after the last of them has begun and been held.
const PATIENCE: Duration = Duration::from_secs(8);
/// Messages sent again, of all messages, that make a rate unclean.
const UNCLEAN: f64 = 0.01;
/// The search begins here.
const SEARCH_FROM: u32 = 500;
/// And ends here: beyond it the ports of etc/bench.toml run out.
const SEARCH_TO: u32 = 4_800;
/// The search is content with a step of this part of the rate.
const SEARCH_STEP: f64 = 0.06;

/// How a rate is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    pub(crate) time: Duration,
    pub(crate) hold: Duration,
    /// Calls for so long before the measurement: memory and ports are fetched, caches are warm.
    pub(crate) warm_up: Duration,
}

/// What a rate showed.
#[derive(Debug)]
pub(crate) struct Measured {
    asked: u32,
    achieved: f64,
    tally: Tally,
    setup: Quantiles,
    /// CPU time of the daemon, and the time in which it was used.
    cpu: Cpu,
    elapsed: Duration,
}

impl Measured {
    pub(crate) fn failed(&self) -> u32 {
        self.tally.failed
    }

    fn again(&self) -> f64 {
        let all = f64::from(self.tally.begun) * MESSAGES_A_CALL as f64;
        per((self.tally.resent + self.tally.repeated) as f64, all)
    }

    /// No failure, next to nothing sent again, and the phones kept up.
    fn is_clean(&self) -> bool {
        self.tally.failed == 0 && self.again() < UNCLEAN && self.achieved > f64::from(self.asked) * 0.95
    }

    /// CPU milliseconds of the daemon for a call.
    fn cpu_a_call(&self) -> f64 {
        per(self.cpu.total().as_secs_f64() * 1e3, f64::from(self.tally.begun))
    }

    /// The same of the threads that calls go through.
    pub(crate) fn cpu_of_calls(&self) -> f64 {
        let used = self.cpu.total().saturating_sub(self.cpu.of_threads(&API_THREADS));
        per(used.as_secs_f64() * 1e3, f64::from(self.tally.begun))
    }

    pub(crate) fn bar(&self) -> Bar {
        Bar {
            subject: format!("daemon's CPU for a call, at {} calls/s", self.asked),
            asked: Asked::AtMost(0.20),
            measured: self.cpu_a_call(),
            unit: "ms",
        }
    }

    pub(crate) fn print(&self) {
        println!(
            "  {:>7} {:>9.0} {:>8} {:>7} {:>8.3} % {:>13} {:>13} {:>11.4} ms {:>7.1} %",
            self.asked,
            self.achieved,
            self.tally.done,
            self.tally.failed,
            self.again() * 100.0,
            ms(self.setup.p50),
            ms(self.setup.p99),
            self.cpu_a_call(),
            per(self.cpu.total().as_secs_f64() * 100.0, self.elapsed.as_secs_f64()),
        );
        println!("          its threads: {}", self.cpu.parts());
        if let Some(complaint) = &self.tally.complaint {
            println!("          the first failure: {complaint}");
        }
    }
}

pub(crate) fn print_head(method: &Method) {
    println!("\nSignalling: INVITE, 100, 180, 200, ACK, {} s of silence, BYE, 200", method.hold.as_secs_f64());
    println!(
        "  {:>7} {:>9} {:>8} {:>7} {:>10} {:>13} {:>13} {:>14} {:>9}",
        "calls/s", "achieved", "ok", "failed", "resent", "setup p50", "setup p99", "CPU a call", "core"
    );
}

/// Measures one rate on a fresh daemon.
pub(crate) fn measure(place: &Place, rate: u32, method: &Method) -> io::Result<Measured> {
    let daemon = Daemon::start(place)?;
    let mut tally = Tally::default();
    if !method.warm_up.is_zero() {
        tally = run(&daemon, place, rate, &Method { time: method.warm_up, ..*method }, 1)?.tally;
    }
    let mut measured = run(&daemon, place, rate, method, 2)?;
    // A call that fails has failed, whenever it did.
    measured.tally.failed += tally.failed;
    measured.tally.complaint = tally.complaint.or(measured.tally.complaint);
    if measured.tally.failed == 0 {
        daemon.end()?;
    }
    Ok(measured)
}

pub(crate) fn run(daemon: &Daemon<'_>, place: &Place, rate: u32, method: &Method, run: u32) -> io::Result<Measured> {
    let calls = (f64::from(rate) * method.time.as_secs_f64()).ceil().max(1.0) as u32;
    let plan = Plan { number: NUMBER, rate: f64::from(rate), calls, hold: Some(method.hold), run };
    let (cpu, began) = (Cpu::of(daemon.pid())?, place.clock.now());
    let mut phones = Phones::new(place.clock, &place.sockets, daemon.x(), plan, false)?;
    // A rate at which calls fail is not waited for: nothing that comes after would say more.
    let limit = method.time + method.hold + PATIENCE;
    let hopeless = calls / 50 + 10;
    phones.run(limit, |phones| phones.all_are_over() || phones.tally().failed > hopeless)?;
    phones.give_up();
    let (cpu, elapsed) = (Cpu::of(daemon.pid())?.since(&cpu), place.clock.now() - began);
    let achieved = phones.achieved_rate();
    Ok(Measured { asked: rate, achieved, setup: phones.setup(), tally: phones.tally().clone(), cpu, elapsed })
}

/// The highest clean rate: doubled until one is not clean, then halved between.
pub(crate) fn search(place: &Place, method: &Method) -> io::Result<u32> {
    let (mut clean, mut unclean) = (0, None);
    let mut rate = SEARCH_FROM;
    loop {
        let measured = measure(place, rate, method)?;
        measured.print();
        if measured.is_clean() {
            clean = rate;
        } else {
            unclean = Some(rate);
        }
        let Some(next) = next_rate(clean, unclean) else { break };
        rate = next;
    }
    Ok(clean)
}

/// What is asked of it.
pub(crate) fn bar_of_search(clean: u32) -> Bar {
    Bar {
        subject: "highest clean rate".into(),
        asked: Asked::AtLeast(2500.0),
        measured: f64::from(clean),
        unit: "calls/s",
    }
}

fn next_rate(clean: u32, unclean: Option<u32>) -> Option<u32> {
    match unclean {
        None if clean >= SEARCH_TO => None,
        None => Some((clean * 2).min(SEARCH_TO)),
        Some(unclean) if f64::from(unclean - clean) <= f64::from(unclean) * SEARCH_STEP => None,
        Some(unclean) => Some(clean.midpoint(unclean)),
    }
}
