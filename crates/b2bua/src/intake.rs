//! What a request must be before it is looked at further (RFC 3261 §8.2), and the numbers that an INVITE names.

use numbering::Number;
use sip::message::{ContentType, HeaderName, Message, Method, NameAddr, Scheme, Uri};

use crate::leg::{self, EXTENSIONS};
use crate::observe::Drop;
use crate::settings::{CalledIn, CallerHeader, Trunk};

/// Why a request is answered without being looked at further.
pub(crate) struct Complaint {
    pub(crate) drop: Drop,
    pub(crate) status: u16,
    pub(crate) header: Option<(&'static str, Vec<u8>)>,
}

impl Complaint {
    const fn new(drop: Drop, status: u16) -> Complaint {
        Complaint { drop, status, header: None }
    }
}

/// RFC 3261 §8.2.2 and §8.2.3 for a new request, in their order: URI, hops, extensions, body.
pub(crate) fn check(request: &Message, trunk: &Trunk) -> Result<(), Complaint> {
    match Uri::parse(request.request_uri()) {
        Ok(uri) if matches!(uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel) => {}
        Ok(_) => return Err(Complaint::new(Drop::UriScheme, 416)),
        Err(_) => return Err(Complaint::new(Drop::UriScheme, 400)),
    }
    // Of what a proxy would pass on we pass on calls and texts; the rest ends here, however few hops it has left (RFC 4475
    // §3.3.11).
    if matches!(request.method(), Method::Invite | Method::Message) && matches!(request.max_forwards(), Some(Ok(0))) {
        return Err(Complaint::new(Drop::TooManyHops, 483));
    }
    check_extensions(request, trunk)
}

/// What a request requires, carries and accepts, within a dialog too (§8.2.2.3, §8.2.3, §20.1; RFC 4028 §9).
pub(crate) fn check_extensions(request: &Message, trunk: &Trunk) -> Result<(), Complaint> {
    if matches!(request.method(), Method::Ack | Method::Cancel | Method::Bye) {
        // Whatever a BYE requires, the call is over for the peer: a 420 would keep it up on our side alone.
        return Ok(());
    }
    let known = |tag: &&[u8]| EXTENSIONS.iter().any(|known| tag.eq_ignore_ascii_case(known.as_bytes()));
    let unknown = |name| request.values(name).filter(|tag| !tag.is_empty() && !known(tag)).collect::<Vec<_>>();
    let mut required = unknown(HeaderName::Require);
    if required.is_empty() && matches!(request.method(), Method::Invite | Method::Message) {
        // What a caller asks of those between it and the callee it asks of us too: there is nobody else in between.
        required = unknown(HeaderName::ProxyRequire);
    }
    if !required.is_empty() {
        let unsupported = Some(("Unsupported", required.join(&b", "[..])));
        return Err(Complaint { header: unsupported, ..Complaint::new(Drop::BadExtension, 420) });
    }
    // INFO has bodies of its own, and its own answer to others.
    let carries_sdp = matches!(request.method(), Method::Invite | Method::Update | Method::Prack);
    if carries_sdp && !request.body().is_empty() && request.sdp_body().is_none() {
        let accept = Some(("Accept", b"application/sdp".to_vec()));
        return Err(Complaint { header: accept, ..Complaint::new(Drop::ContentType, 415) });
    }
    if request.method() == Method::Invite && !accepts_sdp(request) {
        return Err(Complaint::new(Drop::ContentType, 406));
    }
    let refreshes = matches!(request.method(), Method::Invite | Method::Update);
    if let Some(min_se) = leg::too_small(request, &trunk.session_timers).filter(|_| refreshes) {
        let least = Some(("Min-SE", min_se.to_string().into_bytes()));
        return Err(Complaint { header: least, ..Complaint::new(Drop::SessionInterval, 422) });
    }
    Ok(())
}

/// Without `Accept` a session description is welcome; with it, where it says so (§20.1).
fn accepts_sdp(request: &Message) -> bool {
    request.header(HeaderName::Accept).is_none()
        || request.values(HeaderName::Accept).filter_map(ContentType::parse).any(|accepted| {
            ["application", "*"]
                .into_iter()
                .any(|kind| ["sdp", "*"].into_iter().any(|subtype| accepted.is(kind, subtype)))
        })
}

/// Who calls, by the headers that the trunk is trusted for.
pub(crate) fn read_caller(trunk: &Trunk, invite: &Message) -> Option<Number> {
    trunk.caller_in.iter().find_map(|header| {
        let name = match header {
            CallerHeader::PAssertedIdentity => HeaderName::PAssertedIdentity,
            CallerHeader::RemotePartyId => HeaderName::RemotePartyId,
            CallerHeader::From => HeaderName::From,
        };
        invite.values(name).find_map(|value| {
            let address = NameAddr::parse(value).ok()?;
            number_in(trunk, address.uri)
        })
    })
}

/// X as dialled.
pub(crate) fn read_called(trunk: &Trunk, invite: &Message) -> Option<Number> {
    match trunk.called_in {
        CalledIn::RequestUri => number_in(trunk, invite.request_uri()),
        CalledIn::To => number_in(trunk, invite.to().ok()?.uri),
    }
}

pub(crate) fn number_in(trunk: &Trunk, uri: &[u8]) -> Option<Number> {
    trunk.read.read(Uri::parse(uri).ok()?.user).ok()
}
