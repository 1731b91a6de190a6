//! Session timers (RFC 4028): a dialog that nobody refreshes ends, so that no call outlives a peer that has vanished.
//!
//! ```text
//!   INVITE  Session-Expires: 1800          ─▶  200  Session-Expires: 1800;refresher=uac|uas   both arm the same timer
//!   the refresher, at half the interval:       UPDATE or re-INVITE  ─▶ 200                    both begin anew
//!   the other, a third (at most 32 s) before the end:  BYE                                    §10
//! ```
//!
//! Each leg has its own: a refresh concerns nobody on the other leg.

use std::time::Duration;

use sip::message::{HeaderName, Message, Refresher};

use crate::settings::{SessionTimerMode, SessionTimers};

/// A peer's clock and ours may differ by this; one that does not refresh is given up so long before the end (§10).
const MARGIN: Duration = Duration::from_secs(32);

/// How soon a refresh that could not be done is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// The running timer of a dialog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SessionTimer {
    terms: Terms,
    /// When we refresh; `None` where the peer does.
    refresh_at: Option<Duration>,
    expires_at: Duration,
}

/// What both agreed on, from our side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    /// Interval in seconds.
    pub(super) seconds: u32,
    /// We refresh.
    pub(super) ours: bool,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Nothing,
    Refresh,
    Expired,
}

impl SessionTimer {
    pub(super) fn start(now: Duration, terms: Terms) -> SessionTimer {
        let interval = Duration::from_secs(u64::from(terms.seconds));
        if terms.ours {
            SessionTimer { terms, refresh_at: Some(now + interval / 2), expires_at: now + interval }
        } else {
            SessionTimer { terms, refresh_at: None, expires_at: now + interval - MARGIN.min(interval / 3) }
        }
    }

    pub(super) fn terms(&self) -> Terms {
        self.terms
    }

    pub(super) fn deadline(&self) -> Duration {
        self.refresh_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }

    pub(super) fn due(&self, now: Duration) -> Due {
        if now >= self.expires_at {
            Due::Expired
        } else if self.refresh_at.is_some_and(|at| now >= at) {
            Due::Refresh
        } else {
            Due::Nothing
        }
    }

    /// The refresh is on its way: nothing more is due until it is answered or the session expires.
    pub(super) fn refreshing(&mut self) {
        self.refresh_at = None;
    }

    /// The refresh came to nothing, or the dialog has other things to do: again in a while.
    pub(super) fn again(&mut self, now: Duration) {
        self.again_at(now + AGAIN);
    }

    /// The refresh came to nothing: again then.
    pub(super) fn again_at(&mut self, at: Duration) {
        if self.terms.ours {
            self.refresh_at = Some(at);
        }
    }
}

/// The least interval that we take, where a request asks for less: 422 with this Min-SE (§9). A peer without the extension
/// would not understand that; its interval, which a proxy has put in, is made longer instead.
pub(crate) fn too_small(request: &Message, policy: &SessionTimers) -> Option<u32> {
    let asked = request.session_expires()?;
    let refused = policy.mode != SessionTimerMode::Never && supports_timer(request) && asked.seconds < policy.min_se;
    refused.then_some(policy.min_se)
}

/// What we answer to a request that may begin or refresh a session (§9); `None` runs no timer. One that is [`too_small`] has
/// been refused before.
pub(super) fn answer(request: &Message, policy: &SessionTimers) -> Option<Terms> {
    if policy.mode == SessionTimerMode::Never {
        return None;
    }
    let least = policy.min_se.max(request.min_se().unwrap_or(0));
    match request.session_expires() {
        Some(asked) => {
            let seconds = asked.seconds.min(policy.expires).max(least);
            // A caller that does not know timers cannot be the one to refresh (§9, table 2).
            let ours = !supports_timer(request) || asked.refresher == Some(Refresher::Uas);
            Some(Terms { seconds, ours })
        }
        None if policy.mode == SessionTimerMode::Request => {
            Some(Terms { seconds: policy.expires.max(least), ours: true })
        }
        None => None,
    }
}

/// What a 2xx to a request of ours settles (§7.2). `asked` is the interval that we asked for, where we did: a peer that knows
/// no timers is refreshed by us all the same, which shows whether it is still there.
pub(super) fn accept(response: &Message, asked: Option<u32>, policy: &SessionTimers) -> Option<Terms> {
    if policy.mode == SessionTimerMode::Never {
        return None;
    }
    match response.session_expires() {
        Some(said) => {
            // Nothing sane is shorter than the least Min-SE there may be (§5); a zero would make us refresh without end.
            let seconds = said.seconds.clamp(LEAST_MIN_SE, MAX_MIN_SE);
            Some(Terms { seconds, ours: said.refresher != Some(Refresher::Uas) })
        }
        None => asked.map(|seconds| Terms { seconds, ours: true }),
    }
}

/// The longer interval that a 422 wants, where it is one that we follow.
pub(super) fn longer(response: &Message, than: u32) -> Option<u32> {
    response.min_se().filter(|wanted| *wanted > than && *wanted <= MAX_MIN_SE)
}

/// The longest interval that we follow, in seconds: a day. Beyond it a timer would tell us nothing.
const MAX_MIN_SE: u32 = 86_400;

/// The least that Min-SE may be, in seconds (§5).
pub(crate) const LEAST_MIN_SE: u32 = 90;

fn supports_timer(message: &Message) -> bool {
    [HeaderName::Supported, HeaderName::Require].into_iter().any(|name| message.has_option_tag(name, "timer"))
}

impl Terms {
    /// Session-Expires of a request of ours.
    pub(super) fn in_request(self) -> Vec<u8> {
        format!("{};refresher={}", self.seconds, if self.ours { "uac" } else { "uas" }).into_bytes()
    }

    /// Session-Expires of a 2xx of ours.
    pub(super) fn in_response(self) -> Vec<u8> {
        format!("{};refresher={}", self.seconds, if self.ours { "uas" } else { "uac" }).into_bytes()
    }
}

/// What a 2xx says of extensions: those that we know, and the timer that runs. `expires` is [`Terms::in_response`].
pub(super) fn headers(terms: Option<Terms>, expires: Option<&[u8]>) -> Vec<(&'static str, &[u8])> {
    let mut headers: Vec<(&'static str, &[u8])> = vec![("Supported", b"100rel, timer")];
    if let (Some(terms), Some(expires)) = (terms, expires) {
        headers.push(("Session-Expires", expires));
        if !terms.ours {
            // §9: whoever is to refresh must have understood that.
            headers.push(("Require", b"timer"));
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const POLICY: SessionTimers = SessionTimers { mode: SessionTimerMode::Accept, expires: 1800, min_se: 120 };

    fn request(headers: &str) -> Message {
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\
             Call-ID: 1\r\nCSeq: 2 INVITE\r\n{headers}\r\n"
        );
        Message::parse(Bytes::from(text), &sip::limits::Limits::default()).expect("a sound message")
    }

    #[test]
    fn what_is_answered_is_what_the_rfc_s_table_says() {
        let terms = |seconds, ours| Some(Terms { seconds, ours });
        let request_mode = SessionTimers { mode: SessionTimerMode::Request, ..POLICY };
        let never = SessionTimers { mode: SessionTimerMode::Never, ..POLICY };
        for (headers, policy, least, expected) in [
            ("", POLICY, None, None),
            ("", request_mode, None, terms(1800, true)),
            ("Supported: timer\r\n", request_mode, None, terms(1800, true)),
            ("Supported: timer\r\nSession-Expires: 600\r\n", POLICY, None, terms(600, false)),
            ("k: timer\r\nx: 600;refresher=uac\r\n", POLICY, None, terms(600, false)),
            ("k: timer\r\nx: 600;refresher=uas\r\n", POLICY, None, terms(600, true)),
            ("Session-Expires: 600\r\n", POLICY, None, terms(600, true)),
            ("k: timer\r\nx: 7200\r\n", POLICY, None, terms(1800, false)),
            ("k: timer\r\nx: 7200\r\nMin-SE: 3600\r\n", POLICY, None, terms(3600, false)),
            ("k: timer\r\nx: 119\r\n", POLICY, Some(120), terms(120, false)),
            ("Session-Expires: 60\r\n", POLICY, None, terms(120, true)),
            ("k: timer\r\nx: 600\r\n", never, None, None),
            ("k: timer\r\nx: 1\r\n", never, None, None),
        ] {
            assert_eq!(answer(&request(headers), &policy), expected, "{headers}");
            assert_eq!(too_small(&request(headers), &policy), least, "{headers}");
        }
    }

    #[test]
    fn the_refresher_comes_before_the_end_and_the_other_gives_up_a_little_before_it() {
        let s = Duration::from_secs;
        let ours = SessionTimer::start(s(100), Terms { seconds: 600, ours: true });
        assert_eq!((ours.due(s(399)), ours.due(s(400)), ours.due(s(700))), (Due::Nothing, Due::Refresh, Due::Expired));
        let theirs = SessionTimer::start(s(100), Terms { seconds: 600, ours: false });
        assert_eq!((theirs.due(s(667)), theirs.due(s(668))), (Due::Nothing, Due::Expired));
        let short = SessionTimer::start(s(0), Terms { seconds: 90, ours: false });
        assert_eq!(short.deadline(), s(60));
    }
}
