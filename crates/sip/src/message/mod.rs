//! SIP messages (RFC 3261 §7): a zero-copy index over the bytes as they came.
//!
//! ```text
//!   bytes ─▶ Message::parse ─▶ spans of every header; what every message needs is checked once
//!                                 (top Via, tags, Call-ID, CSeq, Content-Length)
//!            everything else is read on demand from its span; nothing is assumed to be UTF-8
//! ```
//!
//! A message is never edited: what we send is written from nothing by [`mod@write`].

use bytes::Bytes;

pub mod address;
mod body;
mod error;
mod extensions;
mod method;
mod name;
mod parse;
pub(crate) mod text;
pub mod write;

pub use address::{NameAddr, Scheme, Uri, Via, unbracketed};
pub use body::{ContentType, Entity, MAX_PARTS, Reason};
pub use error::ParseError;
pub use extensions::{RAck, Refresher, SessionExpires};
pub use method::Method;
pub use name::HeaderName;
pub use text::{List, ParamIter, Params, trim};

use text::decimal;

/// A part of the message: from, to. Messages are at most 65,535 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Span {
    from: u16,
    to: u16,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    name: HeaderName,
    raw_name: Span,
    value: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    Request { method: Method, raw_method: Span, uri: Span },
    Response { status: u16, reason: Span },
}

/// One message. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    start: Start,
    lines: Vec<Line>,
    via: Span,
    from_tag: Span,
    to_tag: Span,
    call_id: Span,
    cseq: (u32, Method, Span),
    body: Span,
}

/// A message that cannot be taken.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Why.
    pub error: ParseError,
    /// The request, where enough of it is sound that it can be answered.
    pub request: Option<Message>,
}

/// A header line.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Which.
    pub name: HeaderName,
    /// As written.
    pub raw_name: &'a [u8],
    /// Trimmed; may contain folds (line ends followed by blanks).
    pub value: &'a [u8],
}

/// CSeq.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CSeq {
    /// 0 to 2^31-1.
    pub number: u32,
    /// Method.
    pub method: Method,
}

impl Message {
    fn at(&self, span: Span) -> &[u8] {
        &self.bytes[usize::from(span.from)..usize::from(span.to)]
    }

    /// The message as it came.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// A request, not a response.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The request's method; of a response, its CSeq's.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } => self.cseq.1,
        }
    }

    /// The method as written.
    #[must_use]
    pub fn method_bytes(&self) -> &[u8] {
        match self.start {
            Start::Request { raw_method, .. } => self.at(raw_method),
            Start::Response { .. } => self.at(self.cseq.2),
        }
    }

    /// The Request-URI as written; empty for a response.
    #[must_use]
    pub fn request_uri(&self) -> &[u8] {
        match self.start {
            Start::Request { uri, .. } => self.at(uri),
            Start::Response { .. } => b"",
        }
    }

    /// The status (100-699); 0 for a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.start {
            Start::Request { .. } => 0,
            Start::Response { status, .. } => status,
        }
    }

    /// The reason phrase; empty for a request.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        match self.start {
            Start::Request { .. } => b"",
            Start::Response { reason, .. } => self.at(reason),
        }
    }

    /// Every header in the order of the message.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.lines.iter().map(|line| Header {
            name: line.name,
            raw_name: self.at(line.raw_name),
            value: self.at(line.value),
        })
    }

    /// The value of the first header of a name.
    #[must_use]
    pub fn header(&self, name: HeaderName) -> Option<&[u8]> {
        self.lines.iter().find(|line| line.name == name).map(|line| self.at(line.value))
    }

    /// The elements of every header of a name, comma lists split.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter(move |line| line.name == name).flat_map(|line| List::of(self.at(line.value)))
    }

    /// The topmost Via.
    #[must_use]
    pub fn top_via(&self) -> Via<'_> {
        Via::parse(self.at(self.via)).expect("Message::parse has read it")
    }

    /// Every Via, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, ParseError>> {
        self.values(HeaderName::Via).map(Via::parse)
    }

    /// From.
    ///
    /// # Errors
    /// None for a message that [`Message::parse`] has taken.
    pub fn from(&self) -> Result<NameAddr<'_>, ParseError> {
        NameAddr::parse(self.header(HeaderName::From).ok_or(ParseError::MissingFrom)?)
    }

    /// To.
    ///
    /// # Errors
    /// None for a message that [`Message::parse`] has taken.
    pub fn to(&self) -> Result<NameAddr<'_>, ParseError> {
        NameAddr::parse(self.header(HeaderName::To).ok_or(ParseError::MissingTo)?)
    }

    /// From's tag; empty where there is none.
    #[must_use]
    pub fn from_tag(&self) -> &[u8] {
        self.at(self.from_tag)
    }

    /// To's tag; empty where there is none.
    #[must_use]
    pub fn to_tag(&self) -> &[u8] {
        self.at(self.to_tag)
    }

    /// Call-ID; empty where a rejected request has none.
    #[must_use]
    pub fn call_id(&self) -> &[u8] {
        self.at(self.call_id)
    }

    /// CSeq.
    #[must_use]
    pub fn cseq(&self) -> CSeq {
        CSeq { number: self.cseq.0, method: self.cseq.1 }
    }

    /// The first Contact.
    #[must_use]
    pub fn contact(&self) -> Option<Result<NameAddr<'_>, ParseError>> {
        self.values(HeaderName::Contact).next().map(NameAddr::parse)
    }

    /// Max-Forwards.
    #[must_use]
    pub fn max_forwards(&self) -> Option<Result<u8, ParseError>> {
        let value = self.header(HeaderName::MaxForwards)?;
        Some(decimal(value).and_then(|hops| u8::try_from(hops).ok()).ok_or(ParseError::MaxForwards))
    }

    /// Every value of `Reason` that names a protocol (RFC 3326).
    pub fn reasons(&self) -> impl Iterator<Item = Reason<'_>> {
        self.values(HeaderName::Reason).filter_map(Reason::parse)
    }

    /// The Q.850 cause of a `Reason` header, where there is one from 1 to 127.
    #[must_use]
    pub fn q850(&self) -> Option<u8> {
        let mut causes = self.reasons().filter(|reason| reason.protocol.eq_ignore_ascii_case(b"Q.850"));
        causes.find_map(|reason| u8::try_from(reason.cause?).ok().filter(|cause| (1..=127).contains(cause)))
    }

    /// `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.header(HeaderName::RetryAfter).and_then(body::seconds)
    }

    /// `Content-Type`, where it is one.
    #[must_use]
    pub fn content_type(&self) -> Option<ContentType<'_>> {
        self.header(HeaderName::ContentType).and_then(ContentType::parse)
    }

    /// A header of option tags (`Require`, `Supported` …) names this one, in any case.
    #[must_use]
    pub fn has_option_tag(&self, name: HeaderName, tag: &str) -> bool {
        self.values(name).any(|known| known.eq_ignore_ascii_case(tag.as_bytes()))
    }

    /// The body, cut to Content-Length.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.at(self.body)
    }

    /// The session description: the body, or the first such part of a multipart body. A body without Content-Type
    /// that looks like one is taken as one; an encoded body (`Content-Encoding`) as none.
    #[must_use]
    pub fn sdp_body(&self) -> Option<&[u8]> {
        let body = self.body();
        let encoding = self.header(HeaderName::ContentEncoding);
        if body.is_empty() || encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
            return None;
        }
        body::sdp(self.header(HeaderName::ContentType), body)
    }
}
