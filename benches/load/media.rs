//! Calls with voices: what a forwarded packet costs, how late it comes, what a call weighs, how soon the hint tone sounds.

use std::io;
use std::time::Duration;

use crate::daemon::{Daemon, Place};
use crate::figures::{Asked, Bar, Quantiles, ms, per};
use crate::phones::{Phones, Plan, Tally};
use crate::proc::{self, Cpu, Memory};
use crate::rtp::Passed;

/// A hint tone for both, then joined and recorded.
const NUMBER: &str = "25550001111";
/// How long the longest hint tone may be before every party hears the other.
const TONE: Duration = Duration::from_secs(20);
/// After that, until the window opens.
const SETTLE: Duration = Duration::from_millis(500);
/// After the window, for packets under way.
const UNDER_WAY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);

/// What calls with voices showed.
#[derive(Debug)]
pub(crate) struct Measured {
    calls: u32,
    tally: Tally,
    passed: Passed,
    /// CPU time of the daemon in the window, and the window.
    cpu: Cpu,
    window: Duration,
    /// Before the first call, and when all of them had talked.
    memory: [Memory; 2],
    /// From B's 200 to the tone's first packet, at A and at B.
    tone: [Quantiles; 2],
}

/// Measures so many calls at once on a fresh daemon.
pub(crate) fn measure(place: &Place, calls: u32, rate: f64, window: Duration) -> io::Result<Measured> {
    let daemon = Daemon::start(place)?;
    let before = proc::memory(daemon.pid())?;
    let plan = Plan { number: NUMBER, rate, calls, hold: None, run: 1 };
    let mut phones = Phones::new(place.clock, &place.sockets, daemon.x(), plan, true)?;

    let begin = Duration::from_secs_f64(f64::from(calls) / rate);
    phones.run(begin + PATIENCE, Phones::all_are_up)?;
    phones.run(TONE, Phones::all_hear_each_other)?;
    phones.run(SETTLE, |_| false)?;

    mark(&mut phones, true);
    let (cpu, opened) = (Cpu::of(daemon.pid())?, place.clock.now());
    phones.run(window, |_| false)?;
    let (cpu, window) = (Cpu::of(daemon.pid())?.since(&cpu), place.clock.now() - opened);
    mark(&mut phones, false);
    let memory = [before, proc::memory(daemon.pid())?];
    phones.run(UNDER_WAY, |_| false)?;

    let passed = phones.traffic().expect("these phones talk").passed();
    let tone = phones.tone_delays().map(Quantiles::of);
    phones.hang_up();
    phones.run(PATIENCE, Phones::all_are_over)?;
    phones.give_up();
    let tally = phones.tally().clone();
    if tally.failed == 0 {
        daemon.end()?;
    }
    Ok(Measured { calls, tally, passed, cpu, window, memory, tone })
}

fn mark(phones: &mut Phones<'_>, measuring: bool) {
    if let Some(traffic) = phones.traffic() {
        traffic.measure(measuring);
    }
}

impl Measured {
    /// Calls that failed, and calls in which somebody did not hear the other or not the tone.
    pub(crate) fn failed(&self) -> u32 {
        let deaf = self.tone.iter().map(|tone| self.calls.saturating_sub(tone.count as u32)).max().unwrap_or(0);
        self.tally.failed.max(deaf)
    }

    fn packet(&self) -> f64 {
        per(self.cpu.total().as_secs_f64() * 1e6, self.passed.received as f64)
    }

    fn memory_a_call(&self, which: impl Fn(&Memory) -> f64) -> f64 {
        per(which(&self.memory[1]) - which(&self.memory[0]), f64::from(self.calls))
    }

    pub(crate) fn print(&self) {
        let Passed { sent, received, altered, latency } = self.passed;
        println!("\nMedia: {} recorded calls, PCMA 172 bytes, 50 packets/s both ways", self.calls);
        println!(
            "  calls       {} ok, {} failed, {} messages sent again",
            self.tally.done,
            self.failed(),
            self.tally.resent + self.tally.repeated
        );
        if let Some(complaint) = &self.tally.complaint {
            println!("              the first failure: {complaint}");
        }
        println!(
            "  packets     {sent} sent in {:.1} s, {} lost ({:.4} %), {altered} altered",
            self.window.as_secs_f64(),
            sent - received.min(sent),
            per((sent - received.min(sent)) as f64 * 100.0, sent as f64)
        );
        println!(
            "  CPU         {:.3} µs a forwarded packet, {:.1} % of a core; its threads: {}",
            self.packet(),
            per(self.cpu.total().as_secs_f64() * 100.0, self.window.as_secs_f64()),
            self.cpu.parts()
        );
        println!(
            "  latency     p50 {}   p99 {}   p99.9 {}   max {}   (the phones' own queue included)",
            ms(latency.p50),
            ms(latency.p99),
            ms(latency.p999),
            ms(latency.max)
        );
        println!(
            "  memory      {:.1} KiB RSS, {:.1} KiB PSS a call; {:.1} MiB RSS in all",
            self.memory_a_call(|memory| memory.rss),
            self.memory_a_call(|memory| memory.pss),
            self.memory[1].rss / 1024.0
        );
        for (who, tone) in ["A", "B"].iter().zip(&self.tone) {
            let Quantiles { count, p50, p99, max, .. } = *tone;
            println!(
                "  hint tone   at {who} after B's 200: p50 {}   p99 {}   max {}   ({count} calls)",
                ms(p50),
                ms(p99),
                ms(max)
            );
        }
    }

    pub(crate) fn bars(&self) -> Vec<Bar> {
        let calls = self.calls;
        let tone = self.tone.iter().map(|tone| tone.max).max().unwrap_or_default();
        let at_most = |subject: String, most: f64, measured: f64, unit| Bar {
            subject,
            asked: Asked::AtMost(most),
            measured,
            unit,
        };
        vec![
            at_most(format!("daemon's CPU for a forwarded packet, {calls} calls"), 10.0, self.packet(), "µs"),
            at_most(
                format!("memory (RSS) of a call, {calls} calls"),
                32.0,
                self.memory_a_call(|memory| memory.rss),
                "KiB",
            ),
            at_most(
                format!("B's 200 to the hint tone, the latest of {calls} calls"),
                25.0,
                tone.as_secs_f64() * 1e3,
                "ms",
            ),
        ]
    }
}
