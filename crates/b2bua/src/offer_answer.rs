//! Offer and answer of one leg (RFC 3264). Each leg has its own: no line of one party's SDP is ever seen by the other.
//!
//! ```text
//!   INVITE with SDP   ──▶ Answered (our answer goes into 183 and 200, the same both times: RFC 3261 §13.2.1)
//!   INVITE without    ──▶ Offered  (our offer goes into 200, the answer comes with ACK)
//!   our own INVITE    ──▶ Offered  (the answer comes with 18x or 200)
//!   re-INVITE         ──▶ Answered or Offered again, with the version of `o=` counted up
//! ```

use bytes::Bytes;
use media::sdp::{self, Local, Negotiated, SdpError};
use media::{Direction, Remote};

use crate::settings::{MediaSettings, Trunk};

/// One leg's negotiation.
#[derive(Debug)]
pub(crate) struct OfferAnswer {
    local: Local,
    state: State,
}

#[derive(Debug)]
enum State {
    /// We have offered; `before` is what was settled earlier.
    Offered { offer: Bytes, before: Option<Remote> },
    /// Settled; `local` is the last SDP that we sent.
    Settled { local: Bytes, remote: Remote },
}

impl OfferAnswer {
    /// We make the offer.
    pub(crate) fn offer(trunk: &Trunk, media: &MediaSettings, port: u16, session_id: u64) -> OfferAnswer {
        let local = local(trunk, media, port, session_id);
        let offer = written(&local);
        OfferAnswer { local, state: State::Offered { offer, before: None } }
    }

    /// The party made an offer: we answer it.
    pub(crate) fn answer(
        offer: &[u8],
        trunk: &Trunk,
        media: &MediaSettings,
        port: u16,
        session_id: u64,
    ) -> Result<OfferAnswer, SdpError> {
        let local = local(trunk, media, port, session_id);
        let state = answered(offer, &local, trunk)?;
        Ok(OfferAnswer { local, state })
    }

    /// The SDP that our next message carries.
    pub(crate) fn local_body(&self) -> Bytes {
        match &self.state {
            State::Offered { offer, .. } => offer.clone(),
            State::Settled { local, .. } => local.clone(),
        }
    }

    /// The party's media, once settled.
    pub(crate) fn remote(&self) -> Option<Remote> {
        match &self.state {
            State::Offered { before, .. } => *before,
            State::Settled { remote, .. } => Some(*remote),
        }
    }

    /// An offer of ours is open.
    pub(crate) fn awaits_answer(&self) -> bool {
        matches!(self.state, State::Offered { .. })
    }

    /// An answer in a provisional response: usable for early media, not final.
    pub(crate) fn early_answer(&self, answer: &[u8], trunk: &Trunk) -> Result<Remote, SdpError> {
        let negotiated = sdp::accept_answer(&sdp::parse(answer)?, &self.local)?;
        Ok(remote(&negotiated, trunk))
    }

    /// The answer to our offer.
    pub(crate) fn on_answer(&mut self, answer: &[u8], trunk: &Trunk) -> Result<Remote, SdpError> {
        let remote = self.early_answer(answer, trunk)?;
        self.settle(remote);
        Ok(remote)
    }

    /// What an earlier provisional answer said stands.
    pub(crate) fn settle(&mut self, remote: Remote) {
        self.state = State::Settled { local: self.local_body(), remote };
    }

    /// A new offer within the call.
    pub(crate) fn on_offer(&mut self, offer: &[u8], trunk: &Trunk) -> Result<Remote, SdpError> {
        let next = Local { version: self.local.version + 1, ..self.local.clone() };
        let state = answered(offer, &next, trunk)?;
        self.local = next;
        self.state = state;
        self.remote().ok_or(SdpError::NoCommonMedia)
    }

    /// A re-INVITE without an offer: we make one.
    pub(crate) fn offer_again(&mut self) {
        self.local.version += 1;
        self.state = State::Offered { offer: written(&self.local), before: self.remote() };
    }
}

fn local(trunk: &Trunk, media: &MediaSettings, port: u16, session_id: u64) -> Local {
    Local {
        address: media.advertised,
        port,
        session_id,
        version: 1,
        codecs: trunk.codecs.clone(),
        telephone_event: Some(101),
        ptime_ms: 20,
        direction: Direction { send: true, receive: true },
    }
}

fn written(local: &Local) -> Bytes {
    let mut out = Vec::with_capacity(320);
    sdp::write_offer(local, &mut out);
    Bytes::from(out)
}

fn answered(offer: &[u8], local: &Local, trunk: &Trunk) -> Result<State, SdpError> {
    let mut out = Vec::with_capacity(320);
    let negotiated = sdp::answer(&sdp::parse(offer)?, local, &mut out)?;
    Ok(State::Settled { local: Bytes::from(out), remote: remote(&negotiated, trunk) })
}

fn remote(negotiated: &Negotiated, trunk: &Trunk) -> Remote {
    Remote {
        rtp: negotiated.rtp,
        rtcp: negotiated.rtcp,
        format: negotiated.format,
        direction: negotiated.direction,
        source: trunk.media_source,
    }
}
