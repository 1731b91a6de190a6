//! Non-INVITE server transaction (RFC 3261 §17.2.2).
//!
//! ```text
//!   Trying ──1xx sent──▶ Proceeding ──200-699 sent──▶ Completed ──J──▶ ∅
//!     └─────────────────200-699 sent─────────────────▲
//! ```

use std::time::Duration;

use bytes::Bytes;

use super::Timers;

#[derive(Debug)]
pub(super) enum NonInviteServer {
    Trying,
    Proceeding { response: Bytes },
    Completed { response: Bytes, timer_j: Duration },
}

impl NonInviteServer {
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            NonInviteServer::Trying | NonInviteServer::Proceeding { .. } => None,
            NonInviteServer::Completed { timer_j, .. } => Some(*timer_j),
        }
    }

    /// The request came again: what to repeat.
    pub(super) fn on_repeat(&self) -> Option<Bytes> {
        match self {
            NonInviteServer::Trying => None,
            NonInviteServer::Proceeding { response } | NonInviteServer::Completed { response, .. } => {
                Some(response.clone())
            }
        }
    }

    /// The user responds. `false`: a final response has been sent before.
    pub(super) fn on_respond(
        &mut self,
        now: Duration,
        timers: &Timers,
        reliable: bool,
        status: u16,
        bytes: &Bytes,
    ) -> bool {
        match self {
            NonInviteServer::Trying | NonInviteServer::Proceeding { .. } => {
                *self = if status < 200 {
                    NonInviteServer::Proceeding { response: bytes.clone() }
                } else {
                    let timer_j = if reliable { now } else { now + timers.give_up() };
                    NonInviteServer::Completed { response: bytes.clone(), timer_j }
                };
                true
            }
            NonInviteServer::Completed { .. } => false,
        }
    }
}
