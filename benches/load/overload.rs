//! More new calls than the daemon can serve, while others are up and talk: what becomes of either.
//!
//! ```text
//!   200 calls with voices, one after the other …… up ………………………………………………………………… hung up
//!                                                     offer: once, twice, three times the clean rate
//! ```
//!
//! Callers behave (RFC 3261 §17.1.1): an INVITE that has no response goes again after T1, 2·T1 …; one who got a 503 does not come
//! back within the run. Between two overloads the clean rate itself is offered, so that the machine's moods show.

use std::io;
use std::time::Duration;

use crate::daemon::{Daemon, Place};
use crate::figures::{Asked, Bar, Quantiles, ms, per};
use crate::phones::{Phones, Plan, Tally};
use crate::proc::Cpu;
use crate::rtp::Passed;
use crate::signalling;

/// Joined at once, no tone, no recording.
const NUMBER: &str = "15550001111";
/// How long calls may take to come up, and to come to an end after the last of them has begun and been held.
const PATIENCE: Duration = Duration::from_secs(8);
/// After the standing calls are up, until the offer.
const SETTLE: Duration = Duration::from_secs(1);
/// After the offer, for packets under way.
const UNDER_WAY: Duration = Duration::from_millis(200);
/// How long each rate of the search is tried.
const SEARCH: Duration = Duration::from_secs(4);
/// Of the peak, what must be left of the goodput.
const ASKED: f64 = 90.0;

/// How overload is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    /// The highest clean rate, where it is known.
    pub(crate) peak: Option<u32>,
    /// What is offered, in clean rates.
    pub(crate) factors: &'static [u32],
    pub(crate) time: Duration,
    /// How long a call of the offer is up.
    pub(crate) hold: Duration,
    /// Calls with voices that are up before.
    pub(crate) standing: u32,
    pub(crate) standing_rate: f64,
}

/// What an offer showed.
#[derive(Debug)]
struct Offered {
    factor: u32,
    asked: f64,
    achieved: f64,
    /// Calls a second that were answered in time and came to their end.
    goodput: f64,
    tally: Tally,
    harmed: u32,
    passed: Passed,
    first: Quantiles,
    refusal: Quantiles,
    setup: Quantiles,
    /// CPU time of the daemon and of these phones, and the time in which it was used.
    cpu: Cpu,
    own: Cpu,
    elapsed: Duration,
}

/// What overload showed.
#[derive(Debug)]
pub(crate) struct Measured {
    rate: u32,
    method: Method,
    offers: Vec<Offered>,
}

/// Measures every factor on a fresh daemon.
pub(crate) fn measure(place: &Place, method: &Method) -> io::Result<Measured> {
    let rate = match method.peak {
        Some(rate) => rate,
        None => {
            println!("\nSearch for the highest clean rate");
            let method = signalling::Method { time: SEARCH, hold: method.hold, warm_up: Duration::from_secs(1) };
            signalling::print_head(&method);
            signalling::search(place, &method)?
        }
    };
    let offers = method.factors.iter().map(|factor| offer(place, method, *factor, rate)).collect::<io::Result<_>>()?;
    Ok(Measured { rate, method: *method, offers })
}

fn offer(place: &Place, method: &Method, factor: u32, rate: u32) -> io::Result<Offered> {
    let daemon = Daemon::start(place)?;
    let plan = Plan { number: NUMBER, rate: method.standing_rate, calls: method.standing, hold: None, run: 1 };
    let mut phones = Phones::new(place.clock, &place.sockets, daemon.x(), plan, true)?;
    let begin = Duration::from_secs_f64(f64::from(method.standing) / method.standing_rate);
    phones.run(begin + PATIENCE, Phones::all_are_up)?;
    phones.run(PATIENCE, Phones::all_hear_each_other)?;
    phones.run(SETTLE, |_| false)?;

    let asked = f64::from(factor * rate);
    mark(&mut phones, true);
    let (cpu, own, began) = (Cpu::of(daemon.pid())?, Cpu::of(std::process::id())?, place.clock.now());
    phones.offer(asked, (asked * method.time.as_secs_f64()).ceil() as u32, method.hold);
    phones.run(method.time, |_| false)?;
    let ended = place.clock.now();
    let (cpu, own) = (Cpu::of(daemon.pid())?.since(&cpu), Cpu::of(std::process::id())?.since(&own));
    mark(&mut phones, false);
    phones.run(method.hold + PATIENCE, Phones::offer_is_over)?;
    phones.run(UNDER_WAY, |_| false)?;

    let passed = phones.traffic().expect("these phones talk").passed();
    phones.hang_up();
    phones.run(PATIENCE, Phones::all_are_over)?;
    phones.give_up();
    let elapsed = ended - began;
    let goodput = per(f64::from(phones.done_of_those_answered_by(ended)), elapsed.as_secs_f64());
    let (first, refusal, setup) = (phones.first_responses(), phones.refusals(), phones.setup());
    let (tally, achieved, harmed) = (phones.tally().clone(), phones.achieved_rate(), phones.harmed());
    if tally.failed == 0 {
        daemon.end()?;
    }
    Ok(Offered { factor, asked, achieved, goodput, tally, harmed, passed, first, refusal, setup, cpu, own, elapsed })
}

fn mark(phones: &mut Phones<'_>, measuring: bool) {
    if let Some(traffic) = phones.traffic() {
        traffic.measure(measuring);
    }
}

impl Offered {
    fn lost(&self) -> u64 {
        self.passed.sent.saturating_sub(self.passed.received)
    }

    fn print(&self, peak: f64) {
        let core = |cpu: &Cpu| per(cpu.total().as_secs_f64() * 100.0, self.elapsed.as_secs_f64());
        let Tally { begun, refused, failed, resent, repeated, .. } = self.tally;
        println!(
            "  {} x  {:>6.0}/s asked {:>6.0}/s offered   goodput {:>6.0}/s, {:>5.1} % of the peak   {refused} refused, {failed} failed of {begun}",
            self.factor,
            self.asked,
            self.achieved,
            self.goodput,
            per(self.goodput * 100.0, peak),
        );
        println!(
            "       first response p50 {} p99 {}   503 p50 {} p99 {}   200 p50 {} p99 {}",
            ms(self.first.p50),
            ms(self.first.p99),
            ms(self.refusal.p50),
            ms(self.refusal.p99),
            ms(self.setup.p50),
            ms(self.setup.p99)
        );
        println!(
            "       sent again by the phones {resent}, by X {repeated}   calls up before: {} harmed, {} of {} packets lost, p99 {}",
            self.harmed,
            self.lost(),
            self.passed.sent,
            ms(self.passed.latency.p99),
        );
        println!(
            "       CPU of the daemon {:.0} % of a core ({}), of the phones {:.0} %   Retry-After {:?}",
            core(&self.cpu),
            self.cpu.parts(),
            core(&self.own),
            self.tally.retry_after,
        );
        if let Some(complaint) = &self.tally.complaint {
            println!("       the first failure: {complaint}");
        }
    }
}

impl Measured {
    /// Calls that failed where only 503 was allowed, and calls up that were harmed.
    pub(crate) fn failed(&self) -> u32 {
        self.offers.iter().map(|offered| offered.tally.failed).sum()
    }

    /// The best goodput of all.
    fn peak(&self) -> f64 {
        self.offers.iter().map(|offered| offered.goodput).fold(0.0, f64::max)
    }

    pub(crate) fn print(&self) {
        println!(
            "\nOverload: {} calls up with voices, then {} s of new calls at multiples of {} calls/s, each {} s long",
            self.method.standing,
            self.method.time.as_secs_f64(),
            self.rate,
            self.method.hold.as_secs_f64()
        );
        for offered in &self.offers {
            offered.print(self.peak());
        }
    }

    pub(crate) fn bars(&self) -> Vec<Bar> {
        let overloads = self.offers.iter().filter(|offered| offered.factor > 1);
        overloads
            .flat_map(|offered| {
                let what = format!("{} x the clean rate", offered.factor);
                let goodput = Bar {
                    subject: format!("goodput at {what}, of the peak"),
                    asked: Asked::AtLeast(ASKED),
                    measured: per(offered.goodput * 100.0, self.peak()),
                    unit: "%",
                };
                let harmed = Bar {
                    subject: format!("calls up that {what} harmed"),
                    asked: Asked::AtMost(0.0),
                    measured: f64::from(offered.harmed),
                    unit: "calls",
                };
                [goodput, harmed]
            })
            .collect()
    }
}
