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

use crate::fork::Other;
use crate::sdp::{Negotiation, Offer};
use crate::transaction::Key;
use crate::wire::{Received, address_of};

/// What both sides of a dialog know (§12).
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// Our From or To, with our tag.
    pub(crate) local: String,
    /// The peer's, with its tag once known.
    pub(crate) remote: String,
    pub(crate) local_tag: String,
    /// User part of our Contact.
    pub(crate) contact_user: String,
    pub(crate) remote_tag: String,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: u32,
    pub(crate) target: Uri,
    pub(crate) peer: SocketAddr,
    pub(crate) media: Negotiation,
    /// CSeq number of the INVITE that made it.
    pub(crate) invite_cseq: u32,
    /// We made the Call-ID: who did waits longer after a 491 (§14.1).
    pub(crate) owner: bool,
    /// Until then the peer may not try again after our 491.
    pub(crate) barred_until: Option<Duration>,
    /// Until then we may not, after its 491.
    pub(crate) held_until: Option<Duration>,
    pub(crate) reliable: Reliable,
    pub(crate) timer: Option<Ticking>,
}

/// Reliable provisional responses (RFC 3262) of one dialog.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reliable {
    /// The last RSeq, sent or taken.
    pub(crate) rseq: Option<u32>,
    /// Sent, and not acknowledged by a PRACK.
    pub(crate) outstanding: Option<Outstanding>,
    /// Taken without PRACK, as the script wants it, and with SDP: no 200 may come.
    pub(crate) owes_prack: bool,
    /// A PRACK of ours was refused with 481: right only where the INVITE is refused too.
    pub(crate) denied: bool,
    /// A PRACK of ours has made its new offer.
    pub(crate) offered: bool,
}

/// A reliable provisional response that is repeated until its PRACK comes (RFC 3262 §3).
#[derive(Clone, Debug)]
pub(crate) struct Outstanding {
    pub(crate) sdp: Carried,
    pub(crate) bytes: Vec<u8>,
    pub(crate) next: Duration,
    pub(crate) interval: Duration,
    pub(crate) until: Duration,
}

/// The SDP in a reliable provisional response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carried {
    Nothing,
    Answer,
    Offer,
}

/// A session timer that runs (RFC 4028).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticking {
    pub(crate) interval: Duration,
    /// We refresh.
    pub(crate) ours: bool,
    /// The peer has heard of session timers, and has been refused nothing since that would have refreshed or ended the session:
    /// only then can it be blamed.
    pub(crate) owed: bool,
    /// Something is due: a refresh of ours, or the end.
    pub(crate) next: Duration,
    /// Our refresh is on its way: what is due is the end.
    pub(crate) refreshing: bool,
}

impl Dialog {
    /// The request belongs to this dialog (§12.2.2).
    pub(crate) fn is_of(&self, request: &Received) -> bool {
        self.call_id == request.call_id && self.local_tag == request.to_tag && self.remote_tag == request.from_tag
    }

    /// The peer has a tag: requests can be sent within the dialog, early or not.
    pub(crate) fn exists(&self) -> bool {
        !self.remote_tag.is_empty()
    }

    /// The peer is to be reached there from now on (§12.2.1.2, §12.2.2).
    pub(crate) fn retarget(&mut self, contact: Option<&Uri>) {
        if let Some(contact) = contact {
            self.target = contact.clone();
            self.peer = address_of(contact).unwrap_or(self.peer);
        }
    }

    pub(crate) fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.wrapping_add(1);
        self.local_cseq
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
    /// One of [`Script::provisionals`](crate::Script::provisionals).
    Provisional(usize),
    Reply,
    /// Nobody came to the phone.
    GiveUp,
}

#[derive(Debug)]
pub(crate) struct Calling {
    pub(crate) dialog: Dialog,
    pub(crate) branch: String,
    pub(crate) cancel: Cancel,
    /// The answer in a response to the INVITE: every later one must be the same.
    pub(crate) answer: Option<Vec<u8>>,
    /// The first offer and its answer stand, by a reliable provisional response.
    pub(crate) settled: bool,
    /// INVITEs sent: one more after each 401, 407 and 422.
    pub(crate) attempts: u8,
    /// What those asked for.
    pub(crate) extra: Vec<(String, String)>,
    /// A provisional response above 100 came.
    pub(crate) early: bool,
    /// The dialogs of other To tags.
    pub(crate) others: Vec<Other>,
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
    /// Provisional responses are sent reliably.
    pub(crate) reliably: bool,
    /// One above 100 was sent.
    pub(crate) early: bool,
}

impl Ringing {
    /// When the script's reply is due.
    pub(crate) fn reply_at(&self) -> Option<Duration> {
        self.plan.iter().find(|(_, step)| *step == Step::Reply).map(|(at, _)| *at)
    }

    /// The step must wait for a PRACK (RFC 3262 §3): one provisional response at a time, and no 200 after SDP.
    fn waits(&self, step: Step, answers: bool) -> bool {
        let Some(outstanding) = &self.dialog.reliable.outstanding else {
            return false;
        };
        match step {
            Step::Ring | Step::EarlyMedia | Step::Provisional(_) => true,
            Step::Reply => answers && outstanding.sdp != Carried::Nothing,
            Step::GiveUp => false,
        }
    }

    /// The place of the next step that need not wait. `answers`: the script's reply is a 200.
    pub(crate) fn next_step(&self, answers: bool) -> Option<usize> {
        self.plan.iter().position(|(_, step)| !self.waits(*step, answers))
    }
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
    /// Our re-INVITE.
    pub(crate) modifying: Option<Modifying>,
    /// Of the peer's re-INVITE.
    pub(crate) ack: Option<AwaitedAck>,
}

/// A re-INVITE of ours that waits for its final response.
#[derive(Debug)]
pub(crate) struct Modifying {
    pub(crate) branch: String,
    pub(crate) offer: Offer,
}

/// Another request of ours that waits for its final response.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) branch: String,
    pub(crate) what: What,
    /// Method, headers and body, should credentials be asked for.
    pub(crate) method: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// PRACK; whether it brought an offer.
    Prack { offers: bool },
    /// UPDATE with this offer.
    Update(Offer),
    /// Something else, by its method.
    Other(String),
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

    pub(crate) fn dialog_mut(&mut self) -> Option<&mut Dialog> {
        match self {
            Call::Idle | Call::Ended => None,
            Call::Calling(calling) => Some(&mut calling.dialog),
            Call::Ringing(ringing) => Some(&mut ringing.dialog),
            Call::Answered(answered) => Some(&mut answered.dialog),
            Call::Established(established) => Some(&mut established.dialog),
            Call::Ending(dialog) => Some(dialog),
        }
    }

    /// `answers`: the script's reply to an INVITE is a 200.
    pub(crate) fn poll_timeout(&self, answers: bool) -> Option<Duration> {
        match self {
            Call::Calling(calling) => match calling.cancel {
                Cancel::Not { at } => at,
                Cancel::AtFirstResponse | Cancel::Sent => None,
            },
            Call::Ringing(ringing) => {
                let step = ringing.next_step(answers).and_then(|place| ringing.plan.get(place)).map(|(at, _)| *at);
                let repeat = ringing.dialog.reliable.outstanding.as_ref().map(|sent| sent.next.min(sent.until));
                [step, repeat].into_iter().flatten().min()
            }
            Call::Established(established) => {
                let timer = established.dialog.timer.map(|timer| timer.next);
                [established.hang_up_at, timer].into_iter().flatten().min()
            }
            Call::Idle | Call::Answered(_) | Call::Ending(_) | Call::Ended => None,
        }
    }
}
