//! Whether an endpoint is spoken to.
//!
//! ```text
//!             failures in a row          the rest is over
//!   Closed ─────────────────────▶ Resting ─────────────▶ Probing ──▶ Closed      it took one
//!     ▲                              ▲                      │
//!     └── any success ───────────────┤                      └──────▶ Resting     it did not; twice as long
//! ```
//!
//! Who rests is not tried, so that nothing that waits for him loses one of its attempts, and no place in a window stands idle
//! for a time-out. Time is passed in.

use std::time::Duration;

/// Failures in a row after which an endpoint rests.
pub(super) const FAILURES: u32 = 5;
/// The first rest.
pub(super) const SHORT: Duration = Duration::from_secs(10);
/// The longest.
pub(super) const LONG: Duration = Duration::from_secs(300);

/// Of one endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Breaker {
    /// It is spoken to. So many of its requests have failed since one was answered well.
    Closed { failures: u32 },
    /// It is left alone.
    Resting { until: Duration, length: Duration },
    /// One request is on its way and tells. That was the length of the last rest.
    Probing { length: Duration },
}

/// What may be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Permit {
    /// As much as there is room for.
    Any,
    /// One request, after which [`Breaker::on_probe`] is called.
    Probe,
    /// Nothing before this.
    After(Duration),
    /// Nothing before the request that is on its way has ended.
    AfterProbe,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker::Closed { failures: 0 }
    }
}

impl Breaker {
    pub(super) fn permit(&self, now: Duration) -> Permit {
        match *self {
            Breaker::Closed { .. } => Permit::Any,
            Breaker::Resting { until, .. } if now < until => Permit::After(until),
            Breaker::Resting { .. } => Permit::Probe,
            Breaker::Probing { .. } => Permit::AfterProbe,
        }
    }

    pub(super) fn on_probe(&mut self) {
        match *self {
            Breaker::Resting { length, .. } => *self = Breaker::Probing { length },
            Breaker::Closed { .. } | Breaker::Probing { .. } => {}
        }
    }

    /// A request was answered well. `true`: the endpoint was not spoken to, and is again.
    pub(super) fn on_success(&mut self) -> bool {
        let was_closed = matches!(self, Breaker::Closed { .. });
        *self = Breaker::default();
        !was_closed
    }

    /// A request failed. `Some`: the endpoint rests from now on, for so long.
    pub(super) fn on_failure(&mut self, now: Duration) -> Option<Duration> {
        let length = match *self {
            Breaker::Closed { failures } if failures + 1 < FAILURES => {
                *self = Breaker::Closed { failures: failures + 1 };
                return None;
            }
            Breaker::Closed { .. } => SHORT,
            // They were on their way when it began to rest, and say nothing new.
            Breaker::Resting { .. } => return None,
            Breaker::Probing { length } => (length * 2).min(LONG),
        };
        *self = Breaker::Resting { until: now.saturating_add(length), length };
        Some(length)
    }

    /// The probe has ended without saying anything of the endpoint: another one may go.
    pub(super) fn on_nothing(&mut self, now: Duration) {
        match *self {
            Breaker::Probing { length } => *self = Breaker::Resting { until: now, length },
            Breaker::Closed { .. } | Breaker::Resting { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn resting() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            assert_eq!(breaker.on_failure(Duration::ZERO), None);
            assert_eq!(breaker.permit(Duration::ZERO), Permit::Any);
        }
        assert_eq!(breaker.on_failure(Duration::ZERO), Some(SHORT));
        breaker
    }

    #[test]
    fn failures_in_a_row_bring_a_rest_and_one_success_between_them_does_not() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            for _ in 1..FAILURES {
                assert_eq!(breaker.on_failure(Duration::ZERO), None);
            }
            assert!(!breaker.on_success());
        }
        assert_eq!(breaker.permit(Duration::ZERO), Permit::Any);
        assert_eq!(resting().permit(SHORT - SECOND), Permit::After(SHORT));
    }

    #[test]
    fn what_was_on_its_way_does_not_lengthen_the_rest() {
        let mut breaker = resting();
        assert_eq!(breaker.on_failure(9 * SECOND), None);
        assert_eq!(breaker.permit(SHORT), Permit::Probe);
    }

    #[test]
    fn one_probe_at_a_time_and_each_failure_doubles_the_rest_up_to_its_limit() {
        let mut breaker = resting();
        let (mut now, mut length) = (SHORT, SHORT);
        for _ in 0..10 {
            assert_eq!(breaker.permit(now), Permit::Probe);
            breaker.on_probe();
            assert_eq!(breaker.permit(now), Permit::AfterProbe);
            length = (length * 2).min(LONG);
            assert_eq!(breaker.on_failure(now), Some(length));
            assert_eq!(breaker.permit(now), Permit::After(now + length));
            now += length;
        }
        assert_eq!(length, LONG);
        breaker.on_probe();
        assert!(breaker.on_success());
        assert_eq!(breaker.permit(now), Permit::Any);
        // And it begins anew.
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_late_success_ends_the_rest() {
        let mut breaker = resting();
        assert!(breaker.on_success());
        assert_eq!(breaker.permit(Duration::ZERO), Permit::Any);
    }

    #[test]
    fn a_probe_that_says_nothing_is_made_again() {
        let mut breaker = resting();
        breaker.on_probe();
        breaker.on_nothing(20 * SECOND);
        assert_eq!(breaker.permit(20 * SECOND), Permit::Probe);
        breaker.on_probe();
        assert_eq!(breaker.on_failure(20 * SECOND), Some(2 * SHORT));
    }
}
