//! Cutting a stream into messages (RFC 3261 §18.3, RFC 5626 §3.5.1).
//!
//! ```text
//!   bytes ─▶ push ─▶ [ CRLFCRLF │ headers … Content-Length: n … CRLFCRLF │ n bytes │ headers … ]
//!   poll  ◀─ Ping · Message(bytes) · nothing yet · error: the stream cannot be followed any more, close it
//! ```

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::Limits;
use crate::message::text::{Field, cut_field, cut_line, decimal};
use crate::message::{HeaderName, ParseError};

/// One thing that a stream carried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// One whole message.
    Message(Bytes),
    /// A keep-alive (double CRLF), to be answered with CRLF.
    Ping,
    /// The answer to a keep-alive of ours (single CRLF).
    Pong,
}

/// Why a stream cannot be followed any more: the accusations, and metric labels, of the messages that it carries.
pub type FramingError = ParseError;

/// Collects a stream. Holds at most one message and what came with it.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    buffer: BytesMut,
    /// How far the end of the headers has been looked for.
    searched: usize,
    /// Length of the whole message that stands at the front, once its headers are read.
    expected: Option<usize>,
}

impl Framer {
    /// An empty stream.
    #[must_use]
    pub fn new(limits: &Limits) -> Framer {
        Framer { limits: limits.clone(), buffer: BytesMut::new(), searched: 0, expected: None }
    }

    /// Takes bytes. Call [`Framer::poll`] until `None` before the next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// A message, or a keep-alive, has begun and is not whole yet.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next frame; `None` until more bytes come.
    ///
    /// # Errors
    /// The stream cannot be cut any more: no, two, or no readable Content-Length, or a message beyond the limits.
    pub fn poll(&mut self) -> Result<Option<Frame>, ParseError> {
        if let Some(expected) = self.expected {
            return Ok(self.take(expected));
        }
        if self.searched == 0 {
            // A line feed alone in front of a message says nothing.
            let idle = self.buffer.iter().take_while(|byte| **byte == b'\n').count();
            self.buffer.advance(idle);
            match *self.buffer {
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    self.buffer.advance(4);
                    return Ok(Some(Frame::Ping));
                }
                // It may become a double one.
                [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return Ok(None),
                [b'\r', b'\n', ..] => {
                    self.buffer.advance(2);
                    return Ok(Some(Frame::Pong));
                }
                _ => {}
            }
        }
        let Some(headers) = self.end_of_headers() else {
            if self.buffer.len() > self.limits.max_message {
                return Err(ParseError::TooLong);
            }
            self.searched = self.buffer.len();
            return Ok(None);
        };
        if headers > self.limits.max_message {
            // Whatever they say: in smaller pieces it would have been too long before they ended.
            return Err(ParseError::TooLong);
        }
        let length = content_length(&self.buffer[..headers])?;
        let whole = headers.checked_add(length).filter(|whole| *whole <= self.limits.max_message);
        let whole = whole.ok_or(ParseError::TooLong)?;
        self.expected = Some(whole);
        Ok(self.take(whole))
    }

    fn take(&mut self, length: usize) -> Option<Frame> {
        if self.buffer.len() < length {
            return None;
        }
        self.expected = None;
        self.searched = 0;
        let message = Bytes::copy_from_slice(&self.buffer[..length]);
        self.buffer.advance(length);
        Some(Frame::Message(message))
    }

    /// The place after the blank line that ends the headers.
    fn end_of_headers(&self) -> Option<usize> {
        let from = self.searched.saturating_sub(3);
        memchr::memchr_iter(b'\n', &self.buffer[from..]).map(|at| at + from).find_map(|at| {
            let rest = &self.buffer[at + 1..];
            match rest {
                [b'\n', ..] => Some(at + 2),
                [b'\r', b'\n', ..] => Some(at + 3),
                _ => None,
            }
        })
    }
}

fn content_length(headers: &[u8]) -> Result<usize, ParseError> {
    let begin = headers.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or_default();
    let (_, mut rest) = cut_line(&headers[begin..]).ok_or(ParseError::NoEndOfHeaders)?;
    let mut found: Option<usize> = None;
    while let Some((field, after)) = cut_field(rest) {
        rest = after;
        match field {
            Field::End => break,
            Field::Header(name, value) if HeaderName::of(name) == HeaderName::ContentLength => {
                let length = decimal(value).and_then(|length| usize::try_from(length).ok());
                let length = length.ok_or(ParseError::ContentLength)?;
                if found.is_some_and(|known| known != length) {
                    return Err(ParseError::ContentLengths);
                }
                found = Some(length);
            }
            Field::Header(..) | Field::Malformed => {}
        }
    }
    found.ok_or(ParseError::NoContentLength)
}
