//! The reader (RFC 3261 §7, §25).

use bytes::Bytes;

use super::text::{
    Field, cut_field, cut_line, decimal, has_empty_part, has_stray_nul, is_blank, is_graphic, is_token, is_word,
    token_len, trim,
};
use super::{HeaderName, Line, List, Message, Method, NameAddr, ParseError, Rejected, Span, Start, Via};
use crate::limits::Limits;

/// Header lines of a usual message: the index is made once, of this size.
const USUAL_LINES: usize = 24;

impl Message {
    /// Reads one datagram, or one message that a stream's framing has cut out.
    ///
    /// A body longer than Content-Length is cut (RFC 3261 §18.3); without Content-Length it goes to the end.
    ///
    /// # Errors
    /// The first thing that is wrong. Where the message is a request with a readable top Via, the request is given back with
    /// the error, so that it can be answered with what it has of From, To, Call-ID and CSeq (RFC 4475 §3.3.1).
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Message, Rejected> {
        let lines = Vec::with_capacity(USUAL_LINES);
        let mut reader = Reader { bytes: &bytes, limits, lines, error: None, found: Found::default() };
        match reader.read() {
            Ok(parts) => {
                let Reader { lines, error, .. } = reader;
                let message = parts.message(bytes, lines);
                match error {
                    None => Ok(message),
                    Some(error) => Err(Rejected { error, request: message.is_request().then_some(message) }),
                }
            }
            Err(error) => Err(Rejected { error, request: None }),
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    limits: &'a Limits,
    lines: Vec<Line>,
    /// The first thing that is wrong though the message can be answered.
    error: Option<ParseError>,
    found: Found<'a>,
}

/// The first value of each header that every message needs.
#[derive(Default)]
struct Found<'a> {
    via: Option<&'a [u8]>,
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    call_id: Option<&'a [u8]>,
    cseq: Option<&'a [u8]>,
    max_forwards: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    /// How many Vias, by lines and commas.
    vias: usize,
}

struct Parts {
    start: Start,
    via: Span,
    from_tag: Span,
    to_tag: Span,
    call_id: Span,
    cseq: (u32, Method, Span),
    body: Span,
}

impl Parts {
    fn message(self, bytes: Bytes, lines: Vec<Line>) -> Message {
        let Parts { start, via, from_tag, to_tag, call_id, cseq, body } = self;
        Message { bytes, start, lines, via, from_tag, to_tag, call_id, cseq, body }
    }
}

impl<'a> Reader<'a> {
    fn blame(&mut self, error: ParseError) {
        self.error.get_or_insert(error);
    }

    /// The span of a slice of our bytes.
    fn span(&self, part: &'a [u8]) -> Span {
        let from = part.as_ptr() as usize - self.bytes.as_ptr() as usize;
        // Offsets fit: `read` takes at most 65,535 bytes.
        Span { from: from as u16, to: (from + part.len()) as u16 }
    }

    fn read(&mut self) -> Result<Parts, ParseError> {
        if self.bytes.len() > usize::from(u16::MAX) {
            return Err(ParseError::TooLong);
        }
        if self.bytes.len() > self.limits.max_message {
            self.blame(ParseError::TooLong);
        }
        // RFC 3261 §7.5: line ends before the start line are keep-alives.
        let begin = self.bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).ok_or(ParseError::Empty)?;
        let (line, rest) = cut_line(&self.bytes[begin..]).ok_or(ParseError::NoEndOfHeaders)?;
        if line.len() > self.limits.max_start_line {
            self.blame(ParseError::StartLineTooLong);
        }
        let start = self.start_line(line)?;
        let body = self.header_lines(rest)?;
        self.mandatory(start, body)
    }

    fn start_line(&mut self, line: &'a [u8]) -> Result<Start, ParseError> {
        if is_version(line) {
            return status_line(line).map(|(status, reason)| Start::Response { status, reason: self.span(reason) });
        }
        let (method, rest) = line.split_at(token_len(line));
        let end = memchr::memrchr(b' ', line.trim_ascii_end()).ok_or(ParseError::StartLine)?;
        let version = line[end..].trim_ascii();
        if method.is_empty() || rest.first() != Some(&b' ') || end <= method.len() || !is_version(version) {
            return Err(ParseError::StartLine);
        }
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            self.blame(ParseError::Version);
        }
        // Blanks around it may be a slip; inside it, it cannot be said where it ends (RFC 4475 §3.1.2.10).
        let uri = line[method.len()..end].trim_ascii();
        if !is_word(uri) {
            self.blame(ParseError::RequestUri);
        }
        Ok(Start::Request { method: Method::of(method), raw_method: self.span(method), uri: self.span(uri) })
    }

    /// Indexes every header; returns what follows the blank line.
    fn header_lines(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], ParseError> {
        loop {
            let (field, after) = cut_field(rest).ok_or(ParseError::NoEndOfHeaders)?;
            let len = rest.len() - after.len();
            rest = after;
            match field {
                Field::End => return Ok(rest),
                Field::Malformed => self.blame(ParseError::HeaderLine),
                Field::Header(..) if len > self.limits.max_header_line => self.blame(ParseError::HeaderTooLong),
                Field::Header(..) if self.lines.len() >= self.limits.max_headers => {
                    self.blame(ParseError::TooManyHeaders);
                }
                Field::Header(raw_name, value) => {
                    let name = HeaderName::of(raw_name);
                    self.find(name, value);
                    self.lines.push(Line { name, raw_name: self.span(raw_name), value: self.span(value) });
                }
            }
        }
    }

    fn find(&mut self, name: HeaderName, value: &'a [u8]) {
        let slot = match name {
            HeaderName::Via => {
                // Hardly ever are there two on a line, and never NUL.
                let odd = memchr::memchr2(b',', 0, value).is_some();
                self.found.vias += if odd { List::of(value).count() } else { 1 };
                if odd && has_stray_nul(value) {
                    self.blame(ParseError::Via);
                }
                if self.found.vias > self.limits.max_vias {
                    self.blame(ParseError::TooManyVias);
                }
                self.found.via.get_or_insert(value);
                return;
            }
            HeaderName::ContentLength => {
                if self.found.content_length.is_some_and(|known| decimal(known) != decimal(value)) {
                    self.blame(ParseError::ContentLengths);
                }
                self.found.content_length.get_or_insert(value);
                return;
            }
            HeaderName::From => &mut self.found.from,
            HeaderName::To => &mut self.found.to,
            HeaderName::CallId => &mut self.found.call_id,
            HeaderName::CSeq => &mut self.found.cseq,
            HeaderName::MaxForwards => &mut self.found.max_forwards,
            _ => return,
        };
        if slot.is_none() {
            *slot = Some(value);
        } else {
            self.blame(ParseError::Repeated);
        }
    }

    /// What every message must have. What is merely wrong is blamed; what leaves no way to answer is an error.
    fn mandatory(&mut self, start: Start, body: &'a [u8]) -> Result<Parts, ParseError> {
        let vias = self.found.via.ok_or(ParseError::MissingVia)?;
        let via = List::of(vias).next().ok_or(ParseError::MissingVia)?;
        let top = Via::parse(via)?;
        if top.version != b"2.0" {
            self.blame(ParseError::Version);
        }
        // RFC 4475 §3.1.2.1: whoever writes `;;` or `,,` there has lost something.
        if has_empty_part(vias) || !top.params.is_closed() {
            self.blame(ParseError::Via);
        }
        let from = self.needed(self.found.from, ParseError::MissingFrom);
        let to = self.needed(self.found.to, ParseError::MissingTo);
        let call_id = self.needed(self.found.call_id.filter(|id| !id.is_empty()), ParseError::MissingCallId);
        let cseq = self.needed(self.found.cseq, ParseError::MissingCSeq);
        let from_tag = from.map(|from| self.tag(from, ParseError::From)).unwrap_or_default();
        let to_tag = to.map(|to| self.tag(to, ParseError::To)).unwrap_or_default();
        if call_id.is_some_and(|call_id| !is_graphic(call_id)) {
            self.blame(ParseError::CallId);
        }
        // An empty part of the message, not any empty slice: spans are made of these.
        let nothing = &self.bytes[..0];
        let call_id = call_id.unwrap_or(nothing);
        if [call_id.len(), top.branch.len()].into_iter().any(|length| length > self.limits.max_identifier) {
            self.blame(ParseError::IdentifierTooLong);
        }
        let cseq = self.cseq(start, cseq.unwrap_or(nothing));
        if self.found.max_forwards.is_some_and(|hops| decimal(hops).is_none_or(|hops| hops > 255)) {
            self.blame(ParseError::MaxForwards);
        }
        let body = self.body(body);
        let (via, call_id, body) = (self.span(via), self.span(call_id), self.span(body));
        Ok(Parts { start, via, from_tag, to_tag, call_id, cseq, body })
    }

    /// A header that must be there; where it is not, the request may still be answered.
    fn needed(&mut self, value: Option<&'a [u8]>, error: ParseError) -> Option<&'a [u8]> {
        if value.is_none() {
            self.blame(error);
        }
        value
    }

    /// The tag of From or To; an empty span where there is none.
    fn tag(&mut self, value: &'a [u8], error: ParseError) -> Span {
        let params = NameAddr::parse(value).map(|address| address.params);
        // Mostly there is nothing that either could trip over.
        let odd = memchr::memchr2(0, b'"', value).is_some();
        if odd && (has_stray_nul(value) || params.is_ok_and(|params| !params.is_closed())) {
            self.blame(error);
        }
        match params.map(|params| params.get(b"tag")) {
            Ok(None) => {}
            Ok(Some(tag)) if tag.len() > self.limits.max_identifier => self.blame(ParseError::IdentifierTooLong),
            Ok(Some(tag)) if is_word(tag) => return self.span(tag),
            Ok(Some(_)) | Err(_) => self.blame(error),
        }
        Span::default()
    }

    fn cseq(&mut self, start: Start, value: &'a [u8]) -> (u32, Method, Span) {
        let digits = value.iter().position(|byte| is_blank(*byte)).unwrap_or(value.len());
        let token = trim(&value[digits..]);
        // RFC 3261 §8.1.1.5: less than 2^31. A response echoes the header as it is, so the zero goes nowhere.
        let number = decimal(&value[..digits]).filter(|number| *number < 1 << 31).unwrap_or_else(|| {
            self.blame(ParseError::CSeq);
            0
        });
        if token.is_empty() || !token.iter().all(|byte| is_token(*byte)) {
            self.blame(ParseError::CSeq);
        }
        let method = match start {
            Start::Request { method, raw_method, .. } => {
                if &self.bytes[usize::from(raw_method.from)..usize::from(raw_method.to)] != token {
                    self.blame(ParseError::CSeqMethod);
                }
                method
            }
            Start::Response { .. } => Method::of(token),
        };
        (number as u32, method, self.span(token))
    }

    fn body(&mut self, body: &'a [u8]) -> &'a [u8] {
        let length = match self.found.content_length.map(decimal) {
            None => body.len(),
            Some(Some(length)) => usize::try_from(length).unwrap_or(usize::MAX),
            Some(None) => {
                self.blame(ParseError::ContentLength);
                0
            }
        };
        match body.get(..length) {
            None => self.blame(ParseError::BodyTooShort),
            Some(body) if body.len() > self.limits.max_body => self.blame(ParseError::BodyTooLong),
            Some(body) => return body,
        }
        &body[..0]
    }
}

fn is_version(word: &[u8]) -> bool {
    word.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case(b"SIP/"))
}

fn status_line(line: &[u8]) -> Result<(u16, &[u8]), ParseError> {
    let version_end = memchr::memchr(b' ', line).ok_or(ParseError::StartLine)?;
    if !line[..version_end].eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(ParseError::Version);
    }
    let rest = line[version_end..].trim_ascii_start();
    let (code, reason) = rest.split_at(memchr::memchr(b' ', rest).unwrap_or(rest.len()));
    let status = decimal(code).filter(|status| code.len() == 3 && (100..=699).contains(status));
    Ok((status.ok_or(ParseError::Status)? as u16, trim(reason)))
}
