//! The clock: the only place of the platform that reads one.
//!
//! Everything else is given `now`, a [`Duration`] since the epoch of the process, so that a call can be replayed in
//! simulated time. Wall time is derived from the same reading: a step of the system's clock while calls are up moves
//! neither a timer nor the difference of two times in a CDR.
//!
//! ```text
//!   epoch (monotonic) ├────────── now() ──────────▶│
//!   1970 ├── unix_at_epoch ──┤────── now() ───────▶│ unix(now())
//! ```

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// A monotonic clock that also knows what UTC was when it started. Copies share the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
    unix_at_epoch: Duration,
}

impl Clock {
    /// Starts the clock: `now` is zero here. One per process.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn start() -> Clock {
        // A system clock before 1970 is a machine without a battery: its times are wrong, but nothing else depends on them.
        let unix_at_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { epoch: Instant::now(), unix_at_epoch }
    }

    /// One that began so long after 1970.
    #[cfg(test)]
    pub(crate) fn begun_at(unix_at_epoch: Duration) -> Clock {
        Clock { unix_at_epoch, ..Clock::start() }
    }

    /// Time since the epoch of the process.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.epoch)
    }

    /// What the system's clock says, since 1970: to be compared with what else goes by it, a packet's time of arrival. It may
    /// step; nothing but such a difference may depend on it.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn system(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// The instant at which `now()` is `at`, for timers of the async runtime.
    #[must_use]
    pub fn instant(&self, at: Duration) -> Instant {
        // An instant out of range would be hundreds of years away; such a timer may as well fire at once.
        self.epoch.checked_add(at).unwrap_or(self.epoch)
    }

    /// Time since 1970-01-01T00:00:00Z, without leap seconds, at `at`.
    #[must_use]
    pub fn unix(&self, at: Duration) -> Duration {
        self.unix_at_epoch.saturating_add(at)
    }

    /// The same in milliseconds.
    #[must_use]
    pub fn unix_ms(&self, at: Duration) -> u64 {
        millis(self.unix(at))
    }

    /// UTC at `at`, as the customers' API spells times: `2026-11-23 20:36:05`.
    #[must_use]
    pub fn utc(&self, at: Duration) -> String {
        utc(self.unix(at))
    }

    /// UTC at `at` in RFC 3339 with milliseconds: `2026-11-23T20:36:05.123Z`.
    #[must_use]
    pub fn rfc3339(&self, at: Duration) -> String {
        rfc3339(self.unix(at))
    }
}

/// Whole milliseconds.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A time since 1970 as the customers' API spells it: `2026-11-23 20:36:05`.
#[must_use]
pub fn utc(unix: Duration) -> String {
    timestamp(unix).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A time since 1970 as a signature has it (`Created`), in RFC 3339: `2026-11-23T20:36:05Z`.
#[must_use]
pub fn created(unix: Duration) -> String {
    timestamp(unix).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time since 1970 in RFC 3339 with milliseconds.
#[must_use]
pub fn rfc3339(unix: Duration) -> String {
    timestamp(unix).strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn timestamp(unix: Duration) -> Timestamp {
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    let nanoseconds = i32::try_from(unix.subsec_nanos()).unwrap_or_default();
    Timestamp::new(seconds, nanoseconds).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_of_2026() -> Clock {
        // 2026-11-23T20:36:05.123456Z
        Clock::begun_at(Duration::from_micros(1_795_466_165_123_456))
    }

    #[test]
    fn now_never_goes_back_and_unix_follows_it() {
        let clock = Clock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(second >= first);
        assert_eq!(clock.unix(second) - clock.unix(first), second - first);
    }

    #[test]
    fn utc_is_spelt_as_the_api_wants_it() {
        let clock = clock_of_2026();
        assert_eq!(clock.utc(Duration::ZERO), "2026-11-23 20:36:05");
        assert_eq!(clock.utc(Duration::from_secs(4 * 3600)), "2026-11-24 00:36:05");
    }

    #[test]
    fn rfc_3339_has_three_digits_of_a_second() {
        let clock = clock_of_2026();
        assert_eq!(clock.rfc3339(Duration::ZERO), "2026-11-23T20:36:05.123Z");
        assert_eq!(clock.rfc3339(Duration::from_millis(900)), "2026-11-23T20:36:06.023Z");
    }

    #[test]
    fn a_leap_day_is_a_day() {
        let clock = Clock { unix_at_epoch: Duration::from_secs(1_709_164_800), ..Clock::start() };
        assert_eq!(clock.utc(Duration::ZERO), "2024-02-29 00:00:00");
    }

    #[test]
    fn a_time_beyond_every_calendar_does_not_panic() {
        let clock = clock_of_2026();
        assert!(clock.utc(Duration::MAX).starts_with("9999-"));
        assert_eq!(clock.instant(Duration::MAX), clock.instant(Duration::ZERO));
    }

    #[test]
    fn instants_and_durations_agree() {
        let clock = Clock::start();
        let later = clock.instant(Duration::from_millis(1500));
        assert_eq!(later.duration_since(clock.instant(Duration::ZERO)), Duration::from_millis(1500));
    }
}
