//! A leg that is being taken down: our BYE waits for the ACK that must come first (RFC 3261 §15), then for its response.

use std::time::Duration;

use sip::dialog::Dialog;
use sip::message::{Message, Method};
use sip::transaction::{ClientId, Flow, ServerId};

use super::wire::{Acked, plain, reason};
use super::{Io, LegEvent, Line, Next, PendingOk, State, answer_plainly, in_order};
use crate::outcome::Cause;

/// Refused, and a PRACK for what was said before may still be on its way (RFC 3262 §3).
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) dialog: Dialog,
    pub(super) until: Duration,
}

/// Released before the ACK to our 200 came.
#[derive(Debug)]
pub(super) struct ReleaseOnAck {
    pub(super) dialog: Dialog,
    pub(super) ok: PendingOk,
    pub(super) cause: Cause,
}

/// Our BYE is on its way.
#[derive(Debug)]
pub(super) struct Releasing {
    dialog: Dialog,
    acked: Option<Acked>,
    bye: ClientId,
    cause: Cause,
    challenges: u8,
}

/// How often a BYE is said again with the answer to a challenge; a peer that wants more has its own time-out.
const MAX_CHALLENGES: u8 = 2;

impl Refused {
    pub(super) fn on_request(
        mut self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
    ) -> Next {
        if in_order(io, &mut self.dialog, id, flow, request) {
            on_request_while_ending(line, io, id, flow, request);
        }
        if line.unpracked.is_none() { (State::Ended, Some(LegEvent::Ended)) } else { (State::Refused(self), None) }
    }

    pub(super) fn on_time(self: Box<Self>, io: &Io<'_>) -> Next {
        if io.now >= self.until { (State::Ended, Some(LegEvent::Ended)) } else { (State::Refused(self), None) }
    }
}

impl ReleaseOnAck {
    pub(super) fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    pub(super) fn deadline(&self) -> Duration {
        self.ok.repeat.deadline()
    }

    pub(super) fn on_request(
        mut self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
    ) -> Next {
        if !in_order(io, &mut self.dialog, id, flow, request) {
            return (State::ReleaseOnAck(self), None);
        }
        if on_request_while_ending(line, io, id, flow, request) {
            return (State::Ended, Some(LegEvent::Ended));
        }
        (State::ReleaseOnAck(self), None)
    }

    pub(super) fn on_ack(self: Box<Self>, line: &mut Line, io: &mut Io<'_>, ack: &Message) -> Next {
        if self.ok.cseq != ack.cseq().number {
            return (State::ReleaseOnAck(self), None);
        }
        (Releasing::begin(line, io, self.dialog, None, self.cause), None)
    }

    pub(super) fn on_time(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>) -> Next {
        if self.ok.repeat.has_given_up(io.now) {
            // RFC 3261 §13.3.1.4: no ACK: the session is to be ended with BYE.
            return (Releasing::begin(line, io, self.dialog, None, self.cause), None);
        }
        self.ok.on_time(io);
        (State::ReleaseOnAck(self), None)
    }
}

impl Releasing {
    /// Sends the BYE.
    pub(super) fn begin(
        line: &mut Line,
        io: &mut Io<'_>,
        mut dialog: Dialog,
        acked: Option<Acked>,
        cause: Cause,
    ) -> State {
        let bye = line.bye(io, &mut dialog, &reason(cause));
        State::Releasing(Box::new(Releasing { dialog, acked, bye, cause, challenges: 0 }))
    }

    pub(super) fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    pub(super) fn on_request(
        mut self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
    ) -> Next {
        if !in_order(io, &mut self.dialog, id, flow, request) {
            return (State::Releasing(self), None);
        }
        // Our BYE and theirs crossed: theirs ends the dialog, ours may time out unheard.
        if on_request_while_ending(line, io, id, flow, request) {
            return (State::Ended, Some(LegEvent::Ended));
        }
        (State::Releasing(self), None)
    }

    pub(super) fn on_response(
        mut self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ClientId,
        response: &Message,
    ) -> Next {
        match (response.method(), response.status()) {
            // The INVITE's 2xx again, or that of a re-INVITE which our BYE has overtaken: each wants its ACK.
            (Method::Invite, 200..=299) => {
                if response.to_tag() == &*self.dialog.remote_tag {
                    let cseq = response.cseq().number;
                    let acked = self.acked.take().filter(|acked| acked.cseq == cseq);
                    self.acked = Some(match acked {
                        Some(acked) => {
                            io.layer.send(line.next_flow(io, &self.dialog), acked.bytes.clone());
                            acked
                        }
                        None => line.ack(io, &self.dialog, cseq),
                    });
                } else {
                    line.end_fork(io, response, &self.dialog.remote_target);
                }
                (State::Releasing(self), None)
            }
            (Method::Bye, 401 | 407)
                if id == self.bye && self.challenges < MAX_CHALLENGES && line.learn(io, response) =>
            {
                self.challenges += 1;
                self.bye = line.bye(io, &mut self.dialog, &reason(self.cause));
                (State::Releasing(self), None)
            }
            (Method::Bye, 200..) => self.on_unanswered(id),
            _ => (State::Releasing(self), None),
        }
    }

    /// Our BYE has its response, or will never have one. A fork's BYE ends nothing here.
    pub(super) fn on_unanswered(self: Box<Self>, id: ClientId) -> Next {
        if id == self.bye { (State::Ended, Some(LegEvent::Ended)) } else { (State::Releasing(self), None) }
    }
}

/// Answers a request in a dialog that ends. `true`: it was a BYE, and nothing is left to wait for.
fn on_request_while_ending(line: &mut Line, io: &mut Io<'_>, id: ServerId, flow: Flow, request: &Message) -> bool {
    match request.method() {
        Method::Bye => {
            plain(io, id, flow, request, 200, &[]);
            return true;
        }
        // RFC 3261 §12.2.2: for us the dialog is over.
        Method::Invite | Method::Update | Method::Info => plain(io, id, flow, request, 481, &[]),
        _ => answer_plainly(line, io, id, flow, request),
    }
    false
}
