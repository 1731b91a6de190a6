//! Non-INVITE client transaction (RFC 3261 §17.1.2).
//!
//! ```text
//!   Trying ──1xx──▶ Proceeding ──200-699──▶ Completed ──K──▶ ∅
//!     │ └──────────────200-699─────────────▲
//!     F (both)  ▶ timeout
//! ```

use std::time::Duration;

use bytes::Bytes;

use super::Timers;
use super::invite_client::{Due, Retransmission};

#[derive(Debug)]
pub(super) enum NonInviteClient {
    Trying { request: Bytes, timer_e: Option<Retransmission>, timer_f: Duration },
    Proceeding { request: Bytes, timer_e: Option<Retransmission>, timer_f: Duration },
    Completed { timer_k: Duration },
}

impl NonInviteClient {
    pub(super) fn start(now: Duration, timers: &Timers, reliable: bool, request: Bytes) -> Self {
        NonInviteClient::Trying {
            request,
            timer_e: (!reliable).then(|| Retransmission { at: now + timers.t1, interval: timers.t1 }),
            timer_f: now + timers.give_up(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            NonInviteClient::Trying { timer_e, timer_f, .. } | NonInviteClient::Proceeding { timer_e, timer_f, .. } => {
                Some(timer_e.map_or(*timer_f, |e| e.at.min(*timer_f)))
            }
            NonInviteClient::Completed { timer_k } => Some(*timer_k),
        }
    }

    pub(super) fn on_time(&mut self, now: Duration, timers: &Timers) -> Due {
        match self {
            NonInviteClient::Trying { timer_f, .. } | NonInviteClient::Proceeding { timer_f, .. }
                if now >= *timer_f =>
            {
                Due::TimedOut
            }
            NonInviteClient::Trying { request, timer_e: Some(e), .. } if now >= e.at => {
                e.interval = (e.interval * 2).min(timers.t2);
                e.at = now + e.interval;
                Due::Send(request.clone())
            }
            NonInviteClient::Proceeding { request, timer_e: Some(e), .. } if now >= e.at => {
                e.interval = timers.t2;
                e.at = now + e.interval;
                Due::Send(request.clone())
            }
            NonInviteClient::Completed { timer_k } if now >= *timer_k => Due::Ended,
            NonInviteClient::Trying { .. } | NonInviteClient::Proceeding { .. } | NonInviteClient::Completed { .. } => {
                Due::Nothing
            }
        }
    }

    /// A response came. `true` when the user shall see it.
    pub(super) fn on_response(&mut self, now: Duration, timers: &Timers, reliable: bool, status: u16) -> bool {
        match self {
            NonInviteClient::Trying { request, timer_e, timer_f } => {
                if status < 200 {
                    *self = NonInviteClient::Proceeding {
                        request: std::mem::take(request),
                        timer_e: *timer_e,
                        timer_f: *timer_f,
                    };
                } else {
                    self.complete(now, timers, reliable);
                }
                true
            }
            NonInviteClient::Proceeding { .. } => {
                if status >= 200 {
                    self.complete(now, timers, reliable);
                }
                true
            }
            NonInviteClient::Completed { .. } => false,
        }
    }

    fn complete(&mut self, now: Duration, timers: &Timers, reliable: bool) {
        let timer_k = if reliable { now } else { now + timers.t4 };
        *self = NonInviteClient::Completed { timer_k };
    }

    pub(super) fn is_waiting(&self) -> bool {
        !matches!(self, NonInviteClient::Completed { .. })
    }
}
