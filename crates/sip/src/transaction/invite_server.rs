//! INVITE server transaction (RFC 3261 §17.2.1, RFC 6026 §7.1).
//!
//! ```text
//!   Proceeding ──2xx sent──▶ Accepted ──L──▶ ∅        (the user retransmits its 2xx; repeated INVITEs are absorbed)
//!       │ 300-699 sent
//!       ▼
//!   Completed ──ACK──▶ Confirmed ──I──▶ ∅
//!       └──────H──────▶ ∅
//! ```

use std::time::Duration;

use bytes::Bytes;

use super::Timers;
use super::invite_client::{Due, Retransmission};

#[derive(Debug)]
pub(super) enum InviteServer {
    Proceeding { provisional: Option<Bytes> },
    Completed { response: Bytes, timer_g: Option<Retransmission>, timer_h: Duration },
    Confirmed { timer_i: Duration },
    Accepted { timer_l: Duration },
}

impl InviteServer {
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            InviteServer::Proceeding { .. } => None,
            InviteServer::Completed { timer_g, timer_h, .. } => Some(timer_g.map_or(*timer_h, |g| g.at.min(*timer_h))),
            InviteServer::Confirmed { timer_i } => Some(*timer_i),
            InviteServer::Accepted { timer_l } => Some(*timer_l),
        }
    }

    pub(super) fn on_time(&mut self, now: Duration, timers: &Timers) -> Due {
        match self {
            InviteServer::Completed { timer_h, .. } if now >= *timer_h => Due::Ended,
            InviteServer::Completed { response, timer_g: Some(g), .. } if now >= g.at => {
                g.interval = (g.interval * 2).min(timers.t2);
                g.at = now + g.interval;
                Due::Send(response.clone())
            }
            InviteServer::Confirmed { timer_i } if now >= *timer_i => Due::Ended,
            InviteServer::Accepted { timer_l } if now >= *timer_l => Due::Ended,
            InviteServer::Proceeding { .. }
            | InviteServer::Completed { .. }
            | InviteServer::Confirmed { .. }
            | InviteServer::Accepted { .. } => Due::Nothing,
        }
    }

    /// The INVITE came again: what to repeat.
    pub(super) fn on_repeat(&self) -> Option<Bytes> {
        match self {
            InviteServer::Proceeding { provisional } => provisional.clone(),
            InviteServer::Completed { response, .. } => Some(response.clone()),
            InviteServer::Confirmed { .. } | InviteServer::Accepted { .. } => None,
        }
    }

    /// The user responds. `false`: a final response has been sent before, this one is not.
    pub(super) fn on_respond(
        &mut self,
        now: Duration,
        timers: &Timers,
        reliable: bool,
        status: u16,
        bytes: &Bytes,
    ) -> bool {
        match self {
            InviteServer::Proceeding { provisional } => {
                match status {
                    100..=199 => *provisional = Some(bytes.clone()),
                    200..=299 => *self = InviteServer::Accepted { timer_l: now + timers.give_up() },
                    _ => {
                        *self = InviteServer::Completed {
                            response: bytes.clone(),
                            timer_g: (!reliable).then(|| Retransmission { at: now + timers.t1, interval: timers.t1 }),
                            timer_h: now + timers.give_up(),
                        };
                    }
                }
                true
            }
            // RFC 6026 §8.4: a repeated 2xx of the user goes to the transport as it is.
            InviteServer::Accepted { .. } => (200..300).contains(&status),
            InviteServer::Completed { .. } | InviteServer::Confirmed { .. } => false,
        }
    }

    /// An ACK with the INVITE's branch. `true` when the transaction took it.
    pub(super) fn on_ack(&mut self, now: Duration, timers: &Timers, reliable: bool) -> bool {
        match self {
            InviteServer::Completed { .. } => {
                let timer_i = if reliable { now } else { now + timers.t4 };
                *self = InviteServer::Confirmed { timer_i };
                true
            }
            InviteServer::Confirmed { .. } => true,
            // An ACK to a 2xx should carry a branch of its own; one that does not is still meant for the user.
            InviteServer::Proceeding { .. } | InviteServer::Accepted { .. } => false,
        }
    }

    pub(super) fn is_proceeding(&self) -> bool {
        matches!(self, InviteServer::Proceeding { .. })
    }
}
