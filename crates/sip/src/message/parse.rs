//! The reader (RFC 3261 §7, §25).

use bytes::Bytes;

use super::text::{decimal, is_blank, is_token, trim};
use super::{HeaderName, Line, Message, Method, NameAddr, ParseError, Rejected, Span, Start, Via};
use crate::limits::Limits;

/// Header lines of a usual message: the index is made once, of this size.
const USUAL_LINES: usize = 24;

impl Message {
    /// Reads one datagram, or one message that a stream's framing has cut out.
    ///
    /// A body longer than Content-Length is cut (RFC 3261 §18.3); without Content-Length it goes to the end.
    ///
    /// # Errors
    /// The first thing that is wrong; where the message is a request whose Via, From, To, Call-ID and CSeq are sound,
    /// the request is given back with the error, so that it can be answered.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Message, Rejected> {
        let mut reader = Reader { bytes: &bytes, limits, lines: Vec::with_capacity(USUAL_LINES), error: None };
        match reader.read() {
            Ok(parts) => {
                let error = reader.error;
                let lines = reader.lines.into_boxed_slice();
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
    fn message(self, bytes: Bytes, lines: Box<[Line]>) -> Message {
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
        // Offsets fit: the message is at most 65,535 bytes.
        Span { from: from as u16, to: (from + part.len()) as u16 }
    }

    fn read(&mut self) -> Result<Parts, ParseError> {
        if self.bytes.len() > self.limits.max_message.min(usize::from(u16::MAX)) {
            return Err(ParseError::TooLong);
        }
        // RFC 3261 §7.5: line ends before the start line are keep-alives.
        let begin = self.bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).ok_or(ParseError::Empty)?;
        let (line, rest) = cut_line(&self.bytes[begin..]).ok_or(ParseError::NoEndOfHeaders)?;
        if line.len() > self.limits.max_start_line {
            return Err(ParseError::StartLine);
        }
        let start = self.start_line(line)?;
        let body = self.header_lines(rest)?;
        self.mandatory(start, body)
    }

    fn start_line(&mut self, line: &'a [u8]) -> Result<Start, ParseError> {
        if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
            return self.status_line(line);
        }
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let (method, uri) = (words.next().ok_or(ParseError::StartLine)?, words.next().ok_or(ParseError::StartLine)?);
        let version = words.next().ok_or(ParseError::StartLine)?;
        if !method.iter().all(|byte| is_token(*byte)) {
            return Err(ParseError::StartLine);
        }
        if words.next().is_some() {
            // Blanks inside the Request-URI: it cannot be said where it ends (RFC 4475 §3.1.2.10).
            self.blame(ParseError::RequestUri);
        } else if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            if version.len() < 4 || !version[..4].eq_ignore_ascii_case(b"SIP/") {
                return Err(ParseError::StartLine);
            }
            self.blame(ParseError::Version);
        }
        if uri.iter().any(|byte| matches!(byte, b'<' | b'>' | b'"' | 0..=31 | 127)) {
            self.blame(ParseError::RequestUri);
        }
        Ok(Start::Request { method: Method::of(method), raw_method: self.span(method), uri: self.span(uri) })
    }

    fn status_line(&mut self, line: &'a [u8]) -> Result<Start, ParseError> {
        let version_end = line.iter().position(|byte| *byte == b' ').ok_or(ParseError::StartLine)?;
        if !line[..version_end].eq_ignore_ascii_case(b"SIP/2.0") {
            return Err(ParseError::Version);
        }
        let rest = line[version_end..].trim_ascii_start();
        let code_end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let status = decimal(&rest[..code_end]).and_then(|status| u16::try_from(status).ok());
        let status = status.filter(|status| code_end == 3 && (100..=699).contains(status)).ok_or(ParseError::Status)?;
        Ok(Start::Response { status, reason: self.span(trim(&rest[code_end..])) })
    }

    /// Indexes every header; returns what follows the blank line.
    fn header_lines(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], ParseError> {
        loop {
            let (line, after) = cut_line(rest).ok_or(ParseError::NoEndOfHeaders)?;
            if line.is_empty() {
                return Ok(after);
            }
            // A line that begins with a blank continues the one before (§7.3.1).
            let mut end = line.len();
            let mut next = after;
            while matches!(next.first(), Some(b' ' | b'\t')) {
                let (folded, after) = cut_line(next).ok_or(ParseError::NoEndOfHeaders)?;
                end = rest.len() - next.len() + folded.len();
                next = after;
            }
            let whole = &rest[..end];
            rest = next;
            if whole.len() > self.limits.max_header_line {
                return Err(ParseError::HeaderTooLong);
            }
            if self.lines.len() == self.limits.max_headers {
                return Err(ParseError::TooManyHeaders);
            }
            let colon = whole.iter().position(|byte| *byte == b':');
            let Some(colon) = colon else {
                self.blame(ParseError::HeaderLine);
                continue;
            };
            let name = whole[..colon].trim_ascii_end();
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                self.blame(ParseError::HeaderLine);
                continue;
            }
            let value = trim(&whole[colon + 1..]);
            let line = Line { name: HeaderName::of(name), raw_name: self.span(name), value: self.span(value) };
            self.lines.push(line);
        }
    }

    fn value(&self, line: &Line) -> &'a [u8] {
        &self.bytes[usize::from(line.value.from)..usize::from(line.value.to)]
    }

    /// What every message must have. What is merely wrong is blamed; what leaves no way to answer is an error.
    fn mandatory(&mut self, start: Start, body: &'a [u8]) -> Result<Parts, ParseError> {
        let (mut via, mut from, mut to, mut call_id, mut cseq) = (None, None, None, None, None);
        let (mut length, mut hops) = (None, false);
        let mut repeated = None;
        let mut lengths_differ = false;
        for line in &self.lines {
            let value = self.value(line);
            let slot = match line.name {
                HeaderName::Via => {
                    via.get_or_insert(value);
                    continue;
                }
                HeaderName::From => &mut from,
                HeaderName::To => &mut to,
                HeaderName::CallId => &mut call_id,
                HeaderName::CSeq => &mut cseq,
                HeaderName::ContentLength => {
                    lengths_differ |= length.is_some_and(|known| known != value);
                    length.get_or_insert(value);
                    continue;
                }
                HeaderName::MaxForwards => {
                    if std::mem::replace(&mut hops, true) {
                        repeated = Some(ParseError::Repeated);
                    }
                    if !decimal(value).is_some_and(|hops| hops <= 255) {
                        repeated = Some(ParseError::MaxForwards);
                    }
                    continue;
                }
                _ => continue,
            };
            if slot.replace(value).is_some() {
                repeated = Some(ParseError::Repeated);
            }
        }
        if let Some(error) = repeated {
            self.blame(error);
        }
        let via = super::List::of(via.ok_or(ParseError::MissingVia)?).next().ok_or(ParseError::MissingVia)?;
        Via::parse(via)?;
        let from = NameAddr::parse(from.ok_or(ParseError::MissingFrom)?).map_err(|_| ParseError::From)?;
        let to = NameAddr::parse(to.ok_or(ParseError::MissingTo)?).map_err(|_| ParseError::To)?;
        let call_id = call_id.filter(|id| !id.is_empty()).ok_or(ParseError::MissingCallId)?;
        let cseq = self.cseq(start, cseq.ok_or(ParseError::MissingCSeq)?)?;
        if lengths_differ {
            self.blame(ParseError::ContentLengths);
        }
        let body = self.body(body, length);
        Ok(Parts {
            start,
            via: self.span(via),
            from_tag: self.tag_span(&from),
            to_tag: self.tag_span(&to),
            call_id: self.span(call_id),
            cseq,
            body: self.span(body),
        })
    }

    fn tag_span(&self, address: &NameAddr<'a>) -> Span {
        let tag = address.tag();
        if tag.is_empty() { Span::default() } else { self.span(tag) }
    }

    fn cseq(&mut self, start: Start, value: &'a [u8]) -> Result<(u32, Method, Span), ParseError> {
        let digits = value.iter().position(|byte| is_blank(*byte)).ok_or(ParseError::CSeq)?;
        let token = trim(&value[digits..]);
        if token.is_empty() || !token.iter().all(|byte| is_token(*byte)) {
            return Err(ParseError::CSeq);
        }
        // RFC 3261 §8.1.1.5: below 2^31. A larger one is answered with zero in its place nowhere: it is echoed.
        let number = decimal(&value[..digits]).filter(|number| *number < 1 << 31).unwrap_or_else(|| {
            self.error.get_or_insert(ParseError::CSeq);
            0
        });
        let method = Method::of(token);
        if let Start::Request { raw_method, .. } = start {
            let requested = &self.bytes[usize::from(raw_method.from)..usize::from(raw_method.to)];
            if requested != token {
                self.blame(ParseError::CSeqMethod);
            }
        }
        Ok((number as u32, method, self.span(token)))
    }

    fn body(&mut self, body: &'a [u8], length: Option<&'a [u8]>) -> &'a [u8] {
        let body = match length {
            None => body,
            Some(digits) => match decimal(digits).and_then(|length| usize::try_from(length).ok()) {
                None => {
                    self.blame(ParseError::ContentLength);
                    &body[..0]
                }
                Some(length) if length > body.len() => {
                    self.blame(ParseError::BodyTooShort);
                    &body[..0]
                }
                Some(length) => &body[..length],
            },
        };
        if body.len() > self.limits.max_body {
            self.blame(ParseError::BodyTooLong);
            return &body[..0];
        }
        body
    }
}

/// A line without its end (CRLF, or LF alone as some send it), and what follows.
fn cut_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
}
