//! Offer and answer of one dialog (RFC 3264, RFC 6337). Each leg has its own: no line of one party's SDP is ever seen by the
//! other. Where a called network forks, each early dialog has its own copy, answered apart (RFC 3261 §13.2.2.4).
//!
//! ```text
//!   INVITE with SDP   ──▶ Settled  (our answer goes into 183 and 200, the same both times: RFC 3261 §13.2.1)
//!   INVITE without    ──▶ Offered  (our offer goes into a reliable 18x or the 200, the answer comes with PRACK or ACK)
//!   our own INVITE    ──▶ Offered  (the answer comes with 18x or 200)
//!   re-INVITE, UPDATE ──▶ Settled or Offered again, with the version of `o=` counted up
//! ```

use bytes::Bytes;
use media::sdp::{self, Local, Negotiated, SdpError};
use media::{Direction, Remote};

use crate::settings::{MediaSettings, Trunk};

/// One dialog's negotiation.
#[derive(Clone, Debug)]
pub(crate) struct OfferAnswer {
    local: Local,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// We have offered; `before` is what was settled earlier and stands if this comes to nothing.
    Offered {
        offer: Bytes,
        before: Option<Settled>,
    },
    Settled(Settled),
}

/// What both have agreed on.
#[derive(Clone, Debug)]
struct Settled {
    /// The last SDP that we sent.
    local: Bytes,
    remote: Remote,
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
        let mut local = local(trunk, media, port, session_id);
        let state = answered(offer, &mut local, trunk)?;
        Ok(OfferAnswer { local, state })
    }

    /// The SDP that our next message carries.
    pub(crate) fn local_body(&self) -> Bytes {
        match &self.state {
            State::Offered { offer, .. } => offer.clone(),
            State::Settled(settled) => settled.local.clone(),
        }
    }

    /// The party's media, once settled.
    pub(crate) fn remote(&self) -> Option<Remote> {
        match &self.state {
            State::Offered { before, .. } => before.as_ref().map(|settled| settled.remote),
            State::Settled(settled) => Some(settled.remote),
        }
    }

    /// An offer of ours is open.
    pub(crate) fn awaits_answer(&self) -> bool {
        matches!(self.state, State::Offered { .. })
    }

    /// An answer in a provisional response that nothing makes reliable: usable for early media, not final.
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

    /// What an earlier answer said stands.
    pub(crate) fn settle(&mut self, remote: Remote) {
        self.state = State::Settled(Settled { local: self.local_body(), remote });
    }

    /// A new offer within the call.
    pub(crate) fn on_offer(&mut self, offer: &[u8], trunk: &Trunk) -> Result<Remote, SdpError> {
        let mut next = Local { version: self.local.version + 1, ..self.local.clone() };
        let state = answered(offer, &mut next, trunk)?;
        self.local = next;
        self.state = state;
        self.remote().ok_or(SdpError::NoCommonMedia)
    }

    /// A re-INVITE without an offer: we make one.
    pub(crate) fn offer_again(&mut self) {
        self.local.version += 1;
        self.state = State::Offered { offer: written(&self.local), before: self.settled() };
    }

    /// A refresh of ours says the last description once more, under the same version: nothing changes (RFC 4028 §7.4).
    pub(crate) fn offer_unchanged(&mut self) {
        self.state = State::Offered { offer: self.local_body(), before: self.settled() };
    }

    /// Our offer came to nothing: what was settled before stands (RFC 3261 §14.1).
    pub(crate) fn withdraw(&mut self) {
        if let Some(settled) = self.settled() {
            self.state = State::Settled(settled);
        }
    }

    fn settled(&self) -> Option<Settled> {
        match &self.state {
            State::Offered { before, .. } => before.clone(),
            State::Settled(settled) => Some(settled.clone()),
        }
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
        beside: sdp::Beside::default(),
    }
}

fn written(local: &Local) -> Bytes {
    let mut out = Vec::with_capacity(320);
    sdp::write_offer(local, &mut out);
    Bytes::from(out)
}

fn answered(offer: &[u8], local: &mut Local, trunk: &Trunk) -> Result<State, SdpError> {
    let mut out = Vec::with_capacity(320);
    let offer = sdp::parse(offer)?;
    let negotiated = sdp::answer(&offer, local, &mut out)?;
    local.beside = sdp::Beside::of(&offer, negotiated.place);
    Ok(State::Settled(Settled { local: Bytes::from(out), remote: remote(&negotiated, trunk) }))
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
