//! The states of a phone's one call (RFC 3261 §12, §13, §15).
//!
//! ```text
//!   calling  Idle ─▶ Calling ──2xx, ACK──▶ Established ─BYE─▶ Ending ─▶ Ended
//!                       └─ 3xx-6xx ─▶ Ended
//!   called   Idle ─▶ Ringing ──200──▶ Answered ──ACK──▶ Established      each state holds its own timers
//!                       └─ refused, cancelled ─▶ Ended
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use rsip::Uri;

use crate::sdp::Negotiation;
use crate::transaction::Key;
use crate::wire::Received;

/// What both sides of a dialog know (§12).
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// Our From or To, with our tag.
    pub(crate) local: String,
    /// The peer's, with its tag once known.
    pub(crate) remote: String,
    pub(crate) local_tag: String,
    pub(crate) remote_tag: String,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: u32,
    pub(crate) target: Uri,
    pub(crate) peer: SocketAddr,
    pub(crate) media: Negotiation,
}

impl Dialog {
    /// The request belongs to this dialog (§12.2.2).
    pub(crate) fn is_of(&self, request: &Received) -> bool {
        self.call_id == request.call_id && self.local_tag == request.to_tag && self.remote_tag == request.from_tag
    }
}

/// How far the wish to give up a call has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cancel {
    /// No such wish, or at this time.
    Not { at: Option<Duration> },
    /// As soon as a provisional response allows (§9.1).
    AtFirstResponse,
    /// Sent.
    Sent,
}

/// A step of a called phone's script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Ring,
    EarlyMedia,
    Reply,
    /// Nobody came to the phone.
    GiveUp,
}

#[derive(Debug)]
pub(crate) struct Calling {
    pub(crate) dialog: Dialog,
    pub(crate) branch: String,
    pub(crate) cancel: Cancel,
}

#[derive(Debug)]
pub(crate) struct Ringing {
    pub(crate) dialog: Dialog,
    pub(crate) key: Key,
    pub(crate) invite: Received,
    /// Our answer, once written: the same in 183 and 200.
    pub(crate) answer: Option<Vec<u8>>,
    /// In order of time.
    pub(crate) plan: Vec<(Duration, Step)>,
}

/// A 200 to an INVITE that waits for its ACK.
#[derive(Debug)]
pub(crate) struct AwaitedAck {
    pub(crate) key: Key,
    pub(crate) cseq: u32,
    /// The 200 carried our offer.
    pub(crate) brings_answer: bool,
}

#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) dialog: Dialog,
    pub(crate) ack: AwaitedAck,
    /// BYE as soon as the ACK allows (§15).
    pub(crate) hang_up: bool,
}

#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) dialog: Dialog,
    pub(crate) hang_up_at: Option<Duration>,
    /// Branch of our re-INVITE.
    pub(crate) modifying: Option<String>,
    /// Of the peer's re-INVITE.
    pub(crate) ack: Option<AwaitedAck>,
}

#[derive(Debug)]
pub(crate) enum Call {
    Idle,
    Calling(Box<Calling>),
    Ringing(Box<Ringing>),
    Answered(Box<Answered>),
    Established(Box<Established>),
    Ending(Box<Dialog>),
    Ended,
}

impl Call {
    pub(crate) fn dialog(&self) -> Option<&Dialog> {
        match self {
            Call::Idle | Call::Ended => None,
            Call::Calling(calling) => Some(&calling.dialog),
            Call::Ringing(ringing) => Some(&ringing.dialog),
            Call::Answered(answered) => Some(&answered.dialog),
            Call::Established(established) => Some(&established.dialog),
            Call::Ending(dialog) => Some(dialog),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        match self {
            Call::Calling(calling) => match calling.cancel {
                Cancel::Not { at } => at,
                Cancel::AtFirstResponse | Cancel::Sent => None,
            },
            Call::Ringing(ringing) => ringing.plan.first().map(|(at, _)| *at),
            Call::Established(established) => established.hang_up_at,
            Call::Idle | Call::Answered(_) | Call::Ending(_) | Call::Ended => None,
        }
    }
}
