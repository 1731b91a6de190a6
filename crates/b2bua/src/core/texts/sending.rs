//! A text goes out by SIP: one MESSAGE after another (RFC 3428), each a call of its own.
//!
//! ```text
//!   piece ──2xx──▶ the next piece … ──2xx──▶ delivered, accepted
//!     │ 401, 407: the same once more, with our answer
//!     │ 503, no way there: the same by the next route
//!     └ anything else, silence: the end. Whoever is silent may have taken it.
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use numbering::Number;
use sip::message::{Message, Method, write};
use sip::transaction::{ClientId, Flow, Transport};

use super::{Bound, Core};
use crate::core::{flow_to, tag_of, unique_id};
use crate::leg::{Authorizations, Head, Owner, Proof, sip_uri};
use crate::routes::Candidate;
use crate::settings::{Settings, TrunkId};
use crate::text::{Outcome, TextKey, marks};

/// How often one MESSAGE is said again for a challenge.
const MAX_REPEATS: u8 = 2;

/// RFC 3261 §18.1.1: a larger request should not go by UDP.
const LARGEST_DATAGRAM: usize = 1_300;

/// What our head of a request has at most, besides the content.
const HEAD: usize = 600;

/// MESSAGEs to the receiver, one after another.
#[derive(Debug)]
pub(super) struct Sending {
    key: TextKey,
    settings: Arc<Settings>,
    pub(super) receiver: Number,
    shown: Number,
    pub(super) trunk: TrunkId,
    max_forwards: u8,
    pieces: Vec<Arc<str>>,
    /// Those that have been taken.
    taken: usize,
    /// One of them with 202.
    is_accepted: bool,
    /// The way in use, and the routes that are left.
    way: Way,
    routes: VecDeque<Candidate>,
    /// `None` only before the first.
    client: Option<ClientId>,
    /// Call-ID and From tag of the piece that is under way.
    call_id: Vec<u8>,
    tag: Vec<u8>,
    cseq: u32,
    proof: Proof,
    repeats: u8,
}

/// How a MESSAGE travels.
#[derive(Debug)]
struct Way {
    flow: Flow,
    /// Request-URI and To.
    target: Vec<u8>,
}

impl Core {
    /// Sends the first piece. `None`: there is no way there.
    pub(super) fn begin_sending(
        &mut self,
        now: Duration,
        bound: &Bound,
        trunk: TrunkId,
        receiver: Number,
        shown: Number,
        words: &str,
    ) -> Option<Box<Sending>> {
        let settings = &bound.settings;
        let out = settings.trunk(trunk);
        let pieces = marks::cut(words, out.texts.longest);
        let mut routes = self.routes.order_without_trials(now, &out.name);
        if pieces.iter().any(|piece| HEAD + piece.len() > LARGEST_DATAGRAM) {
            // By streams first (RFC 3261 §18.1.1); where there is none, or none that works, by UDP all the same.
            routes.sort_by_key(|candidate| !candidate.route.transport.is_reliable());
        }
        let mut routes = VecDeque::from(routes);
        let mut sending = Box::new(Sending {
            key: bound.key,
            settings: Arc::clone(settings),
            receiver,
            shown,
            trunk,
            max_forwards: bound.max_forwards,
            pieces,
            taken: 0,
            is_accepted: false,
            way: next_way(settings, trunk, receiver, &mut routes)?,
            routes,
            client: None,
            call_id: Vec::new(),
            tag: Vec::new(),
            cseq: 1,
            proof: Proof::default(),
            repeats: 0,
        });
        self.send_piece(now, &mut sending);
        Some(sending)
    }

    /// Sends the piece whose turn it is by the next route. `false`: there is none.
    fn send_by_next_route(&mut self, now: Duration, sending: &mut Sending) -> bool {
        let way = next_way(&sending.settings, sending.trunk, sending.receiver, &mut sending.routes);
        let Some(way) = way else { return false };
        sending.way = way;
        self.send_piece(now, sending);
        true
    }

    /// Sends the piece whose turn it is: a new request, of a call of its own.
    fn send_piece(&mut self, now: Duration, sending: &mut Sending) {
        sending.call_id = unique_id(&mut self.tokens);
        sending.tag = tag_of(self.tokens.draw());
        (sending.cseq, sending.repeats) = (1, 0);
        self.send_message(now, sending);
    }

    fn send_message(&mut self, now: Duration, sending: &mut Sending) {
        let content = Arc::clone(&sending.pieces[sending.taken]);
        let Way { flow, target } = &sending.way;
        let authorizations = sending.proof.authorizations(Method::Message, target, content.as_bytes());
        let (flow, host) = (*flow, self.layer.advertised(flow.listener).to_owned());
        let client = self.layer.send_request(now, flow, Method::Message, Owner::Text(sending.key), |out, via| {
            sending.write(out, via, &host, &authorizations, &content);
            sending.cseq
        });
        sending.client = Some(client);
    }

    /// A final response to the MESSAGE that is under way.
    pub(super) fn on_sending_response(
        &mut self,
        now: Duration,
        sending: &mut Sending,
        response: &Message,
    ) -> Option<Outcome> {
        let status = response.status();
        sending.proof.accepted(response);
        match status {
            200..=299 => {
                sending.taken += 1;
                sending.is_accepted |= status == 202;
                if sending.taken == sending.pieces.len() {
                    return Some(if sending.is_accepted { Outcome::Accepted } else { Outcome::Delivered });
                }
                self.send_piece(now, sending);
                None
            }
            401 | 407 if sending.repeats < MAX_REPEATS && self.learn(sending, response) => {
                sending.repeats += 1;
                sending.cseq += 1;
                self.send_message(now, sending);
                None
            }
            // RFC 3263 §4.3. What it says of calls is another matter: routes are not told.
            503 if self.send_by_next_route(now, sending) => None,
            _ => Some(sending.failed(Outcome::of_status(status))),
        }
    }

    /// The MESSAGE that is under way had no final response, or could not be sent: only then another route is tried. One that is
    /// silent may have taken it.
    pub(super) fn on_sending_unheard(
        &mut self,
        now: Duration,
        sending: &mut Sending,
        is_undelivered: bool,
    ) -> Option<Outcome> {
        let goes_on = is_undelivered && self.send_by_next_route(now, sending);
        (!goes_on).then_some(Outcome::NoResponse)
    }

    fn learn(&mut self, sending: &mut Sending, response: &Message) -> bool {
        sending.proof.learn(sending.settings.trunk(sending.trunk), self.layer.draw(), response)
    }

    /// Nobody waits for the MESSAGE that is under way any more.
    pub(super) fn stop_sending(&mut self, sending: &Sending) {
        if let Some(client) = sending.client {
            self.layer.stop(client);
        }
    }
}

impl Sending {
    /// This is the request that is under way.
    pub(super) fn waits_for(&self, id: ClientId) -> bool {
        self.client == Some(id)
    }

    /// What it means that this piece has failed so. Where others have arrived nobody is to try the whole again.
    fn failed(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::FarFailure | Outcome::Unreachable if self.taken > 0 => Outcome::NoResponse,
            outcome => outcome,
        }
    }

    /// In how many messages it has gone.
    pub(super) fn parts(&self) -> u16 {
        u16::try_from(self.taken).unwrap_or(u16::MAX)
    }

    /// A MESSAGE from nothing (RFC 3428 §4: without Contact). It names the receiver to the receiver, X, and nobody else.
    fn write(&self, out: &mut Vec<u8>, via: &[u8], host: &str, authorizations: &Authorizations, content: &str) {
        let trunk = self.settings.trunk(self.trunk);
        let mut x = Vec::new();
        trunk.write.write(self.shown, &mut x);
        let x_at_us = sip_uri(&x, host, Transport::Udp);
        let head = Head {
            method: Method::Message,
            target: &self.way.target,
            from: &x_at_us,
            tag: &self.tag,
            call_id: &self.call_id,
            cseq: self.cseq,
            max_forwards: self.max_forwards,
        };
        head.write(out, via);
        if trunk.assert_identity {
            write::header(out, "P-Asserted-Identity", &[b"<", &*x_at_us, b">"].concat());
        }
        for (name, value) in authorizations {
            write::header(out, name, value);
        }
        if let Some(product) = &self.settings.product_name {
            write::header(out, "User-Agent", product.as_bytes());
        }
        write::finish(out, Some(b"text/plain;charset=UTF-8"), content.as_bytes());
    }
}

/// The way by the first of these routes that a listener of ours reaches.
fn next_way(settings: &Settings, trunk: TrunkId, receiver: Number, routes: &mut VecDeque<Candidate>) -> Option<Way> {
    let out = settings.trunk(trunk);
    let mut user = Vec::new();
    out.write.write(receiver, &mut user);
    std::iter::from_fn(|| routes.pop_front()).find_map(|Candidate { route, .. }| {
        let flow = flow_to(settings, out, &route)?;
        Some(Way { flow, target: sip_uri(&user, &route.host_port(), route.transport) })
    })
}
