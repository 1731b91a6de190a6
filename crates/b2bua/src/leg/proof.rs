//! Our side of the digest authentication towards one trunk (RFC 3261 §22).

use std::sync::Arc;

use sip::digest::Answering;
use sip::message::{Message, Method};

use crate::settings::Trunk;

/// Headers that answer challenges.
pub(crate) type Authorizations = Vec<(&'static str, Vec<u8>)>;

/// What we say of who we are, once the peer has asked for it.
#[derive(Debug, Default)]
pub(crate) struct Proof(Option<Box<Answering>>);

impl Proof {
    /// Headers that answer the challenges of this trunk, where it has made any.
    pub(crate) fn authorizations(&mut self, method: Method, uri: &[u8], body: &[u8]) -> Authorizations {
        let answering = self.0.as_mut();
        answering.map_or_else(Vec::new, |answering| answering.authorizations(method.as_str(), uri, body))
    }

    /// Takes the challenge of a 401 or 407. `false`: there is no answer to it, or the one given was wrong.
    pub(crate) fn learn(&mut self, trunk: &Trunk, random: u64, response: &Message) -> bool {
        let Some(credentials) = &trunk.auth else { return false };
        let answering = self.0.get_or_insert_with(|| Box::new(Answering::new(Arc::clone(credentials))));
        answering.on_challenge(response, random).is_ok()
    }

    /// A request of ours got a final response other than a challenge: whatever we proved with it was good.
    pub(crate) fn accepted(&mut self, response: &Message) {
        let is_proof = response.status() >= 200 && !matches!(response.status(), 401 | 407);
        if let Some(answering) = self.0.as_mut().filter(|_| is_proof) {
            answering.on_accepted();
        }
    }
}
