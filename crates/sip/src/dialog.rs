//! Dialog (RFC 3261 §12): who talks to whom, by which tags, over which route.
//!
//! Early dialogs are the user's business: a [`Dialog`] is made when the remote tag is known, from the request (UAS) or
//! from the response (UAC), and its target is refreshed by later requests and responses (§12.2).

use crate::message::{HeaderName, Message, Method, NameAddr, ParseError, Scheme, Uri, write};

/// One established or early dialog, seen from our side.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: Box<[u8]>,
    /// Our tag.
    pub local_tag: Box<[u8]>,
    /// The peer's tag; empty where an RFC 2543 peer sent none.
    pub remote_tag: Box<[u8]>,
    /// Our From or To as `<uri>` or `"name" <uri>`, without the tag.
    local_party: Box<[u8]>,
    /// The peer's, likewise.
    remote_party: Box<[u8]>,
    /// Where requests to the peer are addressed: its Contact.
    pub remote_target: Box<[u8]>,
    /// Proxies on the way to the peer, nearest first, as URIs.
    pub route_set: Vec<Box<[u8]>>,
    /// CSeq number of our last request.
    pub local_cseq: u32,
    /// CSeq number of the peer's last request.
    pub remote_cseq: Option<u32>,
}

/// Where the next request in a dialog goes (RFC 3261 §8.1.2, §12.2.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop<'a> {
    /// Host as written: an address or a name.
    pub host: &'a [u8],
    /// Port, where one is written.
    pub port: Option<u16>,
    /// `transport` parameter, where one is written.
    pub transport: Option<&'a [u8]>,
    /// A `sips:` URI: TLS, whatever `transport` says (RFC 3261 §26.2.2).
    pub is_sips: bool,
}

/// Route headers of one dialog at most; a longer Record-Route is cut off with an error.
pub const MAX_ROUTES: usize = 16;

impl Dialog {
    /// The dialog that a request makes when we answer it (§12.1.1).
    ///
    /// # Errors
    /// The request's From, To, Contact or Record-Route cannot be read, or it has no Contact.
    pub fn of_request(request: &Message, local_tag: &[u8]) -> Result<Dialog, ParseError> {
        Ok(Dialog {
            call_id: request.call_id().into(),
            local_tag: local_tag.into(),
            remote_tag: request.from_tag().into(),
            local_party: party(&request.to()?),
            remote_party: party(&request.from()?),
            remote_target: contact(request)?,
            route_set: routes(request, false)?,
            local_cseq: 0,
            remote_cseq: Some(request.cseq().number),
        })
    }

    /// The dialog that a response to our INVITE makes (§12.1.2). A peer that gives no Contact, or none that can be read, is
    /// addressed as before (`target`): its 2xx must be acknowledged all the same (§13.2.2.4).
    ///
    /// # Errors
    /// The response's From or To cannot be read.
    pub fn of_response(response: &Message, target: &[u8]) -> Result<Dialog, ParseError> {
        Ok(Dialog {
            call_id: response.call_id().into(),
            local_tag: response.from_tag().into(),
            remote_tag: response.to_tag().into(),
            local_party: party(&response.from()?),
            remote_party: party(&response.to()?),
            remote_target: contact(response).unwrap_or_else(|_| target.into()),
            // A route that cannot be read leaves us without one: the ACK and the BYE go straight to the Contact then, which may
            // well arrive. Without them the phone would stay in a call with nobody.
            route_set: routes(response, true).unwrap_or_default(),
            local_cseq: response.cseq().number,
            remote_cseq: None,
        })
    }

    /// The request carries this dialog's tags and Call-ID.
    #[must_use]
    pub fn owns(&self, request: &Message) -> bool {
        request.call_id() == &*self.call_id
            && request.to_tag() == &*self.local_tag
            && request.from_tag() == &*self.remote_tag
    }

    /// Takes a request's CSeq: `false` when it is older than one that was seen (§12.2.2: answer 500).
    pub fn accept_cseq(&mut self, number: u32) -> bool {
        if self.remote_cseq.is_some_and(|last| number < last) {
            return false;
        }
        self.remote_cseq = Some(number);
        true
    }

    /// Takes the Contact of a target refresh (§12.2.1.2); anything unreadable leaves the target as it was.
    pub fn refresh_target(&mut self, message: &Message) {
        if let Ok(target) = contact(message) {
            self.remote_target = target;
        }
    }

    /// Writes a request up to its CSeq, which is the next: request line, Via, Max-Forwards, Route, From, To, Call-ID, CSeq
    /// (§12.2.1.1). For an ACK there is [`Dialog::write_ack`].
    pub fn write_request(&mut self, out: &mut Vec<u8>, method: Method, via: &[u8]) {
        self.local_cseq = self.local_cseq.wrapping_add(1) & 0x7fff_ffff;
        self.write_head(out, method, via, self.local_cseq);
    }

    /// Writes an ACK to a 2xx, up to its CSeq, whose number is the INVITE's (§13.2.2.4).
    pub fn write_ack(&self, out: &mut Vec<u8>, via: &[u8], invite_cseq: u32) {
        self.write_head(out, Method::Ack, via, invite_cseq);
    }

    /// The Request-URI of the next request: the remote target, or the first route where that is a strict one (§12.2.1.1).
    #[must_use]
    pub fn request_uri(&self) -> &[u8] {
        if self.is_strict() { &self.route_set[0] } else { &self.remote_target }
    }

    fn is_strict(&self) -> bool {
        self.route_set.first().is_some_and(|route| !is_loose(route))
    }

    fn write_head(&self, out: &mut Vec<u8>, method: Method, via: &[u8], cseq: u32) {
        let strict = self.is_strict();
        write::request(out, method.as_str(), self.request_uri());
        write::header(out, "Via", via);
        write::header(out, "Max-Forwards", b"70");
        let listed = self.route_set.iter().skip(usize::from(strict));
        for route in listed.chain(strict.then_some(&self.remote_target)) {
            write::header(out, "Route", &bracketed(route));
        }
        write::header(out, "From", &tagged(&self.local_party, &self.local_tag));
        write::header(out, "To", &tagged(&self.remote_party, &self.remote_tag));
        write::header(out, "Call-ID", &self.call_id);
        write::header(out, "CSeq", format!("{} {}", cseq, method.as_str()).as_bytes());
    }

    /// Where the next request goes; `None` when the URI names no host.
    #[must_use]
    pub fn next_hop(&self) -> Option<Hop<'_>> {
        let uri = Uri::parse(self.route_set.first().unwrap_or(&self.remote_target)).ok()?;
        let (transport, is_sips) = (uri.params.get(b"transport"), uri.scheme == Scheme::Sips);
        (!uri.host.is_empty()).then_some(Hop { host: uri.host, port: uri.port, transport, is_sips })
    }
}

fn party(address: &NameAddr<'_>) -> Box<[u8]> {
    bracketed(address.uri).into_boxed_slice()
}

fn contact(message: &Message) -> Result<Box<[u8]>, ParseError> {
    match message.contact() {
        // `*` or nonsense is no address: no request of ours may have it as its Request-URI.
        Some(contact) => {
            let uri = contact?.uri;
            Uri::parse(uri).map(|_| uri.into())
        }
        None => Err(ParseError::MissingContact),
    }
}

fn routes(message: &Message, reversed: bool) -> Result<Vec<Box<[u8]>>, ParseError> {
    let mut routes = Vec::new();
    for value in message.values(HeaderName::RecordRoute) {
        if routes.len() == MAX_ROUTES {
            return Err(ParseError::TooManyRoutes);
        }
        routes.push(NameAddr::parse(value)?.uri.into());
    }
    if reversed {
        routes.reverse();
    }
    Ok(routes)
}

fn is_loose(route: &[u8]) -> bool {
    Uri::parse(route).is_ok_and(|uri| uri.params.get(b"lr").is_some())
}

fn bracketed(uri: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(uri.len() + 2);
    out.push(b'<');
    out.extend_from_slice(uri);
    out.push(b'>');
    out
}

fn tagged(party: &[u8], tag: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(party.len() + tag.len() + 5);
    out.extend_from_slice(party);
    if !tag.is_empty() {
        out.extend_from_slice(b";tag=");
        out.extend_from_slice(tag);
    }
    out
}
