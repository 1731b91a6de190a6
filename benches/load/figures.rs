//! Figures for people: quantiles, and the bars that the platform is held to.

use std::fmt;
use std::time::Duration;

/// What a set of times looks like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quantiles {
    /// How many there were.
    pub(crate) count: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
    pub(crate) max: Duration,
}

impl Quantiles {
    pub(crate) fn of(mut times: Vec<Duration>) -> Quantiles {
        times.sort_unstable();
        let at =
            |permille: usize| times.get(times.len() * permille / 1000).or(times.last()).copied().unwrap_or_default();
        Quantiles { count: times.len(), p50: at(500), p99: at(990), p999: at(999), max: at(1000) }
    }
}

/// A time in milliseconds, three digits of them after the point.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// A quotient, zero where nothing is divided by.
pub(crate) fn per(whole: f64, count: f64) -> f64 {
    if count > 0.0 { whole / count } else { 0.0 }
}

/// What a figure may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    AtMost(f64),
    AtLeast(f64),
}

/// One figure against what is asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// What is measured, under which load.
    pub(crate) subject: String,
    pub(crate) asked: Asked,
    pub(crate) measured: f64,
    pub(crate) unit: &'static str,
}

impl Bar {
    fn is_met(&self) -> bool {
        match self.asked {
            Asked::AtMost(most) => self.measured <= most,
            Asked::AtLeast(least) => self.measured >= least,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = match self.asked {
            Asked::AtMost(most) => format!("≤ {most} {}", self.unit),
            Asked::AtLeast(least) => format!("≥ {least} {}", self.unit),
        };
        let measured = if self.measured < 100.0 {
            format!("{:.3} {}", self.measured, self.unit)
        } else {
            format!("{:.0} {}", self.measured, self.unit)
        };
        let mark = if self.is_met() { '✓' } else { '✗' };
        write!(f, "  {mark} {:<58} {measured:>18}   asked {asked}", self.subject)
    }
}
