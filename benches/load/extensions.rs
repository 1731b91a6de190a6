//! Callers who are asked for an extension: how soon they hear the question, and what a packet costs while X plays it and
//! listens for digits, beside one that is merely forwarded.
//!
//! ```text
//!   plain        250 calls, A ─▶ X ─▶ B and B ─▶ X ─▶ A          25,000 packets a second in, 25,000 out
//!   collecting   500 calls, A ─▶ X: noise, in which X looks      25,000 packets a second in, 25,000 out
//!                for tones; X ─▶ A: the question
//! ```
//!
//! The question is as long as the measurement, so that X sends as many packets as it gets all the while, as a relay does. The two
//! take turns, each time with a fresh daemon, so that both have the same machine.

use std::io;
use std::time::Duration;

use crate::api::administer;
use crate::daemon::{Daemon, Place};
use crate::figures::{Asked, Bar, Quantiles, ms, per};
use crate::phones::{Phones, Plan, Tally};
use crate::proc::Cpu;

/// Joined at once, not recorded: as etc/bench.toml has it.
const PLAIN: &str = "15550001111";
/// An X of an app that the bench makes, and how it is dialled.
const X: &str = "+8675588910001";
const DIALLED: &str = "075588910001";
/// Before the window opens.
const SETTLE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
/// Packets of a second, each way, at a party.
const PACKETS: f64 = 50.0;
/// The longest question: a prompt has at most 2 MB, 8,000 bytes a second.
const LONGEST: u64 = 240;

/// How much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Callers that are asked at once; half as many calls are forwarded.
    pub(crate) callers: u32,
    /// New calls a second.
    pub(crate) rate: f64,
    pub(crate) window: Duration,
    /// How often the two take turns.
    pub(crate) turns: u32,
}

/// What one of the two took, over all turns.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    cpu: Duration,
    /// Packets that X got in the windows, and sent.
    taken: u64,
    sent: u64,
    window: Duration,
}

impl Cost {
    /// µs for a packet that X got and the one that it sent.
    fn packet(&self) -> f64 {
        per(self.cpu.as_secs_f64() * 1e6, self.sent as f64)
    }

    fn add(&mut self, turn: Cost) {
        self.cpu += turn.cpu;
        self.taken += turn.taken;
        self.sent += turn.sent;
        self.window += turn.window;
    }

    fn print(&self, what: &str) {
        let second = self.window.as_secs_f64();
        println!(
            "  {what:<11} {:.3} µs of CPU a packet, {:.1} % of a core; {:.0} packets a second in, {:.0} out",
            self.packet(),
            per(self.cpu.as_secs_f64() * 100.0, second),
            per(self.taken as f64, second),
            per(self.sent as f64, second)
        );
    }
}

/// What it showed.
#[derive(Debug)]
pub(crate) struct Measured {
    load: Load,
    tally: Tally,
    /// Calls that were answered and heard no question.
    deaf: u32,
    /// Turns in which X sent too few packets to be compared.
    starved: u32,
    plain: Cost,
    collecting: Cost,
    /// From the caller's sight of the 200 to the question's first packet.
    question: Quantiles,
}

/// Both, in turns.
pub(crate) fn measure(place: &Place, load: Load) -> io::Result<Measured> {
    let mut measured = Measured {
        load,
        tally: Tally::default(),
        deaf: 0,
        starved: 0,
        plain: Cost::default(),
        collecting: Cost::default(),
        question: Quantiles::default(),
    };
    let mut delays = Vec::new();
    for turn in 0..load.turns {
        measured.plain(place, 2 * turn + 1)?;
        delays.extend(measured.collecting(place, 2 * turn + 2)?);
    }
    measured.question = Quantiles::of(delays);
    Ok(measured)
}

impl Measured {
    fn plain(&mut self, place: &Place, run: u32) -> io::Result<()> {
        let daemon = Daemon::start(place)?;
        let Load { callers, rate, window, .. } = self.load;
        let plan = Plan { number: PLAIN, rate: rate / 2.0, calls: callers.div_ceil(2), hold: None, run };
        let mut phones = Phones::new(place.clock, &place.sockets, daemon.x(), plan, true)?;
        phones.run(begin(plan), Phones::all_are_up)?;
        phones.run(PATIENCE, Phones::all_hear_each_other)?;
        let turn = in_window(place, &daemon, &mut phones, window)?;
        self.plain.add(turn);
        self.starved += u32::from(turn.sent < expected(callers, window));
        self.end(phones, daemon)
    }

    /// How long each caller waited for the question.
    fn collecting(&mut self, place: &Place, run: u32) -> io::Result<Vec<Duration>> {
        let daemon = Daemon::start(place)?;
        let Load { callers, rate, window, .. } = self.load;
        let plan = Plan { number: DIALLED, rate, calls: callers, hold: None, run };
        let longest = Duration::from_secs_f64(f64::from(callers) / rate) + 2 * PATIENCE + window;
        ask_for(place, longest.as_secs().min(LONGEST))?;
        let mut phones = Phones::new(place.clock, &place.sockets, daemon.x(), plan, true)?;
        phones.run(begin(plan), Phones::all_are_up)?;
        phones.run(PATIENCE, Phones::all_hear_something)?;
        let turn = in_window(place, &daemon, &mut phones, window)?;
        self.collecting.add(turn);
        let delays = phones.question_delays();
        self.deaf += phones.tally().answered.saturating_sub(delays.len() as u32);
        self.starved += u32::from(turn.sent < expected(callers, window));
        self.end(phones, daemon)?;
        Ok(delays)
    }

    fn end(&mut self, mut phones: Phones<'_>, daemon: Daemon<'_>) -> io::Result<()> {
        phones.hang_up();
        phones.run(PATIENCE, Phones::all_are_over)?;
        phones.give_up();
        let Tally { done, failed, resent, repeated, complaint, .. } = phones.tally().clone();
        self.tally.done += done;
        self.tally.failed += failed;
        self.tally.resent += resent;
        self.tally.repeated += repeated;
        self.tally.complaint = self.tally.complaint.take().or(complaint);
        if failed == 0 { daemon.end() } else { Ok(()) }
    }

    /// Calls that failed, or heard no question.
    pub(crate) fn failed(&self) -> u32 {
        self.tally.failed + self.deaf
    }

    pub(crate) fn print(&self) {
        let Load { callers, turns, window, .. } = self.load;
        println!(
            "\nExtensions: {callers} callers who are asked, beside {} forwarded calls; {turns} turns of {:.0} s each",
            callers.div_ceil(2),
            window.as_secs_f64()
        );
        println!(
            "  calls       {} ok, {} failed, {} messages sent again",
            self.tally.done,
            self.failed(),
            self.tally.resent + self.tally.repeated
        );
        if let Some(complaint) = &self.tally.complaint {
            println!("              the first failure: {complaint}");
        }
        self.plain.print("plain");
        self.collecting.print("collecting");
        if self.starved > 0 {
            println!(
                "              {} turns had too few packets: the machine is busy, and the two do not compare",
                self.starved
            );
        }
        let Quantiles { count, p50, p99, max, .. } = self.question;
        println!("  question    after the 200: p50 {}   p99 {}   max {}   ({count} calls)", ms(p50), ms(p99), ms(max));
    }

    pub(crate) fn bars(&self) -> Vec<Bar> {
        let callers = self.load.callers;
        vec![
            Bar {
                subject: format!("CPU a packet, {callers} collections, of a relayed one"),
                asked: Asked::AtMost(2.0),
                measured: per(self.collecting.packet(), self.plain.packet()),
                unit: "times",
            },
            Bar {
                subject: format!("200 to the question, p99 of {} calls", self.question.count),
                asked: Asked::AtMost(25.0),
                measured: self.question.p99.as_secs_f64() * 1e3,
                unit: "ms",
            },
        ]
    }
}

fn begin(plan: Plan) -> Duration {
    Duration::from_secs_f64(f64::from(plan.calls) / plan.rate) + PATIENCE
}

/// Nine tenths of what so many parties hear: with less the two do not compare.
fn expected(parties: u32, window: Duration) -> u64 {
    (f64::from(parties) * window.as_secs_f64() * PACKETS * 0.9) as u64
}

fn in_window(place: &Place, daemon: &Daemon<'_>, phones: &mut Phones<'_>, window: Duration) -> io::Result<Cost> {
    phones.run(SETTLE, |_| false)?;
    let count = |phones: &mut Phones<'_>| phones.traffic().map_or((0, 0), |traffic| traffic.counts());
    let (cpu, opened, before) = (Cpu::of(daemon.pid())?, place.clock.now(), count(phones));
    phones.run(window, |_| false)?;
    let cpu = Cpu::of(daemon.pid())?.since(&cpu).total();
    let (window, after) = (place.clock.now() - opened, count(phones));
    Ok(Cost { cpu, taken: after.0 - before.0, sent: after.1 - before.1, window })
}

/// An app whose question lasts so many seconds, its X, and one extension.
fn ask_for(place: &Place, seconds: u64) -> io::Result<()> {
    let app = r#"{"name":"asking","mode":"axe","language":"en","require_hint_tone":false}"#;
    administer(place, "POST", "/apps", app.as_bytes())?;
    administer(place, "PUT", "/apps/asking/prompts/question.wav", &question(seconds))?;
    for step in ["submit", "approve"] {
        administer(place, "POST", &format!("/apps/asking/prompts/question.wav/{step}"), b"")?;
    }
    administer(place, "PATCH", "/apps/asking", br#"{"prompts":{"enter_extension":"question.wav"}}"#)?;
    let number = format!(r#"[{{"x":"{X}","app":"asking","trunk":"bench"}}]"#);
    administer(place, "POST", "/numbers", number.as_bytes())?;
    let binding = format!(r#"{{"app":"asking","x":"{X}","a":"+8613800000001","extension":"0042"}}"#);
    administer(place, "POST", "/bindings", binding.as_bytes())
}

/// A WAV of A-law, 8,000 Hz, mono (format 6): a hum.
fn question(seconds: u64) -> Vec<u8> {
    let length = (seconds * 8_000) as u32;
    let mut wav = Vec::with_capacity(44 + length as usize);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + length).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt ");
    wav.extend_from_slice(&16_u32.to_le_bytes());
    for half in [6_u16, 1] {
        wav.extend_from_slice(&half.to_le_bytes());
    }
    for word in [8_000_u32, 8_000] {
        wav.extend_from_slice(&word.to_le_bytes());
    }
    for half in [1_u16, 8] {
        wav.extend_from_slice(&half.to_le_bytes());
    }
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&length.to_le_bytes());
    wav.extend((0..length).map(|at| if at / 20 % 2 == 0 { 0xb5 } else { 0x35 }));
    wav
}
