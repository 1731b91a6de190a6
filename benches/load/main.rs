//! The load bench: both ends of many calls through the real daemon, on one machine.
//!
//! ```text
//!   core 1                                   core 0
//!   ┌───────────────────────────┐            ┌──────────────────────────────┐
//!   │ this process              │ SIP 6080 ◀─│ axbridge                     │
//!   │   A's phones  ── 6098 ────┼───────────▶│   --config etc/bench.toml    │
//!   │   B's phones  ── 6099 ◀───┼────────────│                              │
//!   │   their RTP   ── 10000… ──┼───────────▶│   RTP 30000…                 │
//!   └───────────────────────────┘            └──────────────────────────────┘
//! ```
//!
//! CPU time is the kernel's count for every thread of the daemon; the phones' own is not in it. On the loopback the sender
//! of a packet also pays for its way to the receiver's socket. `benches/README.md` says how to run it and what it showed.

use std::io;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use axbridge::clock::Clock;
use clap::Parser;

mod api;
mod binding;
mod daemon;
mod extensions;
mod figures;
mod floor;
mod media;
mod message;
mod options;
mod overload;
mod phones;
mod proc;
mod rtp;
mod signalling;
mod sys;
mod told;

use daemon::Place;
use options::{Options, Part};

/// Calls with voices that begin in a second.
const MEDIA_RATE: f64 = 40.0;

/// How long a receiver that is told of calls says nothing: less than a message of `[notify]` may take, so that none of them
/// fails.
const BACKLOG: Duration = Duration::from_secs(5);

/// What is measured, at which size.
struct Programme {
    rates: Vec<u32>,
    method: signalling::Method,
    calls: u32,
    media_rate: f64,
    window: Duration,
    floor: Duration,
    binding: binding::Load,
    extensions: extensions::Load,
    overload: overload::Method,
    told: told::Load,
}

impl Programme {
    fn of(options: &Options) -> Programme {
        if options.smoke {
            let time = Duration::from_secs(1);
            let hold = Duration::from_millis(300);
            return Programme {
                rates: vec![20],
                method: signalling::Method { time, hold, warm_up: Duration::ZERO },
                calls: 5,
                media_rate: 20.0,
                window: Duration::from_secs(2),
                floor: Duration::from_millis(300),
                binding: binding::Load {
                    clients: 4,
                    rate: 20,
                    calls: signalling::Method { time, hold, warm_up: Duration::ZERO },
                },
                extensions: extensions::Load { callers: 6, rate: 20.0, window: time, turns: 1 },
                overload: overload::Method {
                    peak: Some(20),
                    factors: &[2],
                    time,
                    hold,
                    standing: 2,
                    standing_rate: 20.0,
                },
                told: told::Load { rates: [20, 40], time, backlog: time / 2, warm_up: Duration::ZERO, turns: 1 },
            };
        }
        let second = Duration::from_secs(1);
        Programme {
            rates: options.rates.clone(),
            method: signalling::Method { time: second * options.seconds, hold: second, warm_up: second },
            calls: options.calls,
            media_rate: MEDIA_RATE,
            window: second * options.window,
            floor: second * 5,
            binding: binding::Load {
                clients: options.clients,
                rate: options.rates.first().copied().unwrap_or(200),
                calls: signalling::Method { time: second * options.seconds, hold: second, warm_up: second },
            },
            extensions: extensions::Load {
                callers: options.callers,
                rate: 2.0 * MEDIA_RATE,
                window: second * options.window,
                turns: 2,
            },
            overload: overload::Method {
                peak: options.peak,
                factors: &[1, 2, 1, 3, 1],
                time: second * options.seconds,
                hold: second / 5,
                standing: options.calls,
                standing_rate: MEDIA_RATE,
            },
            told: told::Load {
                rates: [0, 1].map(|place| options.rates.get(place).or(options.rates.last()).copied().unwrap_or(200)),
                time: second * options.seconds,
                backlog: BACKLOG.min(second * options.seconds / 2),
                warm_up: second,
                turns: 2,
            },
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.floor {
        Some(role) => floor::serve(role).map(|()| 0),
        None => run(&options),
    };
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("load: {failed} calls failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many calls failed.
fn run(options: &Options) -> io::Result<u32> {
    let clock = Clock::start();
    let programme = Programme::of(options);
    println!("axbridge load bench · {} UTC", clock.utc(clock.now()));
    println!("{}", proc::machine());
    let core = take_cores();
    println!("at most {} open files, of which a call takes four and their rest", sys::raise_file_limit()?);
    let place = Place::take(&options.daemon, options.smoke || options.free_ports, core, clock)?;
    let (mut failed, mut bars) = (0, Vec::new());

    if options.wants(Part::Floor) {
        let rate = programme.rates.iter().copied().max().unwrap_or(1);
        floor::measure(clock, core, programme.calls, rate, programme.floor)?.print();
    }
    if options.wants(Part::Signalling) {
        signalling::print_head(&programme.method);
        for rate in &programme.rates {
            let measured = signalling::measure(&place, *rate, &programme.method)?;
            measured.print();
            failed += measured.failed();
            bars.push(measured.bar());
        }
    }
    if options.search {
        println!("\nSearch for the highest clean rate");
        signalling::print_head(&programme.method);
        bars.push(signalling::bar_of_search(signalling::search(&place, &programme.method)?));
    }
    if options.wants(Part::Media) {
        let measured = media::measure(&place, programme.calls, programme.media_rate, programme.window)?;
        measured.print();
        failed += measured.failed();
        bars.extend(measured.bars());
    }
    if options.wants(Part::Binding) || options.smoke {
        let measured = binding::measure(&place, programme.binding)?;
        measured.print();
        failed += measured.failed();
        bars.extend(measured.bars());
    }
    if options.wants(Part::Extensions) || options.smoke {
        let measured = extensions::measure(&place, programme.extensions)?;
        measured.print();
        failed += measured.failed();
        bars.extend(measured.bars());
    }
    if options.wants(Part::Overload) || options.smoke {
        let _hogs = hogs(options.hogs, core)?;
        let measured = overload::measure(&place, &programme.overload)?;
        measured.print();
        failed += measured.failed();
        bars.extend(measured.bars());
    }
    if options.wants(Part::Told) || options.smoke {
        let measured = told::measure(&place, programme.told)?;
        measured.print();
        failed += measured.failed();
        bars.extend(measured.bars());
    }
    if options.smoke {
        println!("\nThis was a smoke run: too few calls for its figures to mean anything.");
        return Ok(failed);
    }
    println!("\nBars (for information; one figure is good to ±20 % on a quiet machine)");
    for bar in bars {
        println!("{bar}");
    }
    Ok(failed)
}

/// Loops without an end on the daemon's core, which die with this process.
fn hogs(count: u32, core: Option<usize>) -> io::Result<Vec<Hog>> {
    (0..count).map(|_| Hog::start(core)).collect()
}

struct Hog(Child);

impl Hog {
    fn start(core: Option<usize>) -> io::Result<Hog> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
        sys::tie(&mut command, core);
        command.spawn().map(Hog)
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        // Neither does anything to a process that has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Keeps this process on the second core and says which is the daemon's: the first. With fewer than two, the kernel places
/// them as it likes.
fn take_cores() -> Option<usize> {
    match sys::cores().as_slice() {
        [first, second, ..] => match sys::pin(*second) {
            Ok(()) => {
                println!("daemon on core {first}, phones on core {second}");
                Some(*first)
            }
            Err(error) => {
                println!("nothing is pinned to a core: {error}");
                None
            }
        },
        _ => {
            println!("nothing is pinned to a core: there is one only, and the figures are of both ends together");
            None
        }
    }
}
