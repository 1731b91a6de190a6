//! What a body holds: finding the session description in it (RFC 2046 §5.1, RFC 5621), opening its parts.

use std::borrow::Cow;

use super::HeaderName;
use super::text::{Field, Params, cut_field, decimal, is_token, token_len, trim_start, unquote};

/// Parts of a multipart body that are looked at, and of a multipart body inside it.
pub const MAX_PARTS: usize = 16;
/// Longest boundary (RFC 2046 §5.1.1).
const MAX_BOUNDARY: usize = 70;

/// Content-Type: a media type and its parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContentType<'a> {
    /// `application`, `multipart` …, as written.
    pub kind: &'a [u8],
    /// `sdp`, `mixed` …, as written.
    pub subtype: &'a [u8],
    /// `boundary`, `charset` …
    pub params: Params<'a>,
}

impl<'a> ContentType<'a> {
    /// Reads `type / subtype ; parameters`; `None` where it is no media type.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<ContentType<'a>> {
        let value = trim_start(value);
        let (kind, rest) = value.split_at(token_len(value));
        let rest = trim_start(trim_start(rest).strip_prefix(b"/")?);
        let (subtype, rest) = rest.split_at(token_len(rest));
        let params = trim_start(rest);
        let sound = !kind.is_empty() && !subtype.is_empty() && matches!(params.first(), None | Some(b';'));
        sound.then_some(ContentType { kind, subtype, params: Params::of(params) })
    }

    /// It is this media type, in any case.
    #[must_use]
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes()) && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }

    /// The value of a parameter, without quotes around it.
    #[must_use]
    pub fn param(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.params.get(name).map(unquote)
    }

    /// It is a multipart body of any kind.
    fn is_multipart(&self) -> bool {
        self.kind.eq_ignore_ascii_case(b"multipart")
    }
}

/// One value of Reason (RFC 3326).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reason<'a> {
    /// `Q.850`, `SIP` …, as written.
    pub protocol: &'a [u8],
    /// `cause`, where it is a number from 0 to 999.
    pub cause: Option<u16>,
    /// `text` as written, quotes kept; empty where there is none.
    pub text: &'a [u8],
}

impl<'a> Reason<'a> {
    /// Reads one value (not a list); `None` where it names no protocol.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Reason<'a>> {
        let value = trim_start(value);
        let (protocol, rest) = value.split_at(token_len(value));
        let params = trim_start(rest);
        if protocol.is_empty() || !matches!(params.first(), None | Some(b';')) {
            return None;
        }
        let params = Params::of(params);
        let cause = params.get(b"cause").and_then(decimal).filter(|cause| *cause <= 999);
        Some(Reason { protocol, cause: cause.map(|cause| cause as u16), text: params.get(b"text").unwrap_or_default() })
    }
}

/// The session description in `body`. Any other part (ISUP, PIDF …) is left alone and goes nowhere.
pub(super) fn sdp<'a>(content_type: Option<&'a [u8]>, body: &'a [u8]) -> Option<&'a [u8]> {
    let Some(content_type) = content_type else {
        return body.starts_with(b"v=0").then_some(body);
    };
    let whole = Entity { content_type: Some(content_type), transfer_encoding: None, content: body };
    if is_sdp(&whole) {
        return Some(body);
    }
    // A multipart inside a multipart (mixed of alternative and ISUP) is followed once.
    let found = whole.parts().find_map(|part| if is_sdp(&part) { Some(part) } else { part.parts().find(is_sdp) });
    found.map(|part| part.content)
}

fn is_sdp(entity: &Entity<'_>) -> bool {
    let content_type = entity.content_type.and_then(ContentType::parse);
    content_type.is_some_and(|content_type| content_type.is("application", "sdp"))
}

/// A thing with headers of its own: a part of a multipart body, what is inside a `message/cpim` (RFC 2045 §2.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entity<'a> {
    /// Content-Type as written.
    pub content_type: Option<&'a [u8]>,
    /// Content-Transfer-Encoding as written.
    pub transfer_encoding: Option<&'a [u8]>,
    /// What follows the empty line.
    pub content: &'a [u8],
}

impl<'a> Entity<'a> {
    /// Header lines, an empty line, the content. `None` where there is no empty line. Lines that are no headers are passed over.
    #[must_use]
    pub fn open(bytes: &'a [u8]) -> Option<Entity<'a>> {
        let (mut content_type, mut transfer_encoding) = (None, None);
        let mut rest = bytes;
        loop {
            let (field, after) = cut_field(rest)?;
            rest = after;
            match field {
                Field::End => return Some(Entity { content_type, transfer_encoding, content: rest }),
                Field::Header(name, value) if HeaderName::of(name) == HeaderName::ContentType => {
                    content_type = Some(value);
                }
                Field::Header(name, value) if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") => {
                    transfer_encoding = Some(value);
                }
                Field::Header(..) | Field::Malformed => {}
            }
        }
    }

    /// The parts of this, where it is a multipart body: at most [`MAX_PARTS`], those that can be opened.
    pub fn parts(&self) -> impl Iterator<Item = Entity<'a>> + use<'a> {
        let boundary = self
            .content_type
            .and_then(ContentType::parse)
            .filter(ContentType::is_multipart)
            .and_then(|content_type| content_type.param(b"boundary"))
            .filter(|boundary| !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY);
        let content = self.content;
        boundary
            .into_iter()
            .flat_map(move |boundary| parts(content, &boundary).take(MAX_PARTS).filter_map(Entity::of_part))
    }

    /// What stands between two delimiters.
    fn of_part(part: &'a [u8]) -> Option<Entity<'a>> {
        let entity = Entity::open(&part[memchr::memchr(b'\n', part)? + 1..])?;
        // The line end before the next delimiter belongs to the delimiter.
        let rest = entity.content;
        let content = rest.strip_suffix(b"\n").map_or(rest, |rest| rest.strip_suffix(b"\r").unwrap_or(rest));
        Some(Entity { content, ..entity })
    }
}

/// What stands between the delimiters; preamble and epilogue are none of it.
fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let delimiter = [b"--", boundary].concat();
    let mut rest = find_delimiter(body, &delimiter).map(|at| &body[at + delimiter.len()..]);
    std::iter::from_fn(move || {
        let text = rest.filter(|text| !text.starts_with(b"--"))?;
        let end = find_delimiter(text, &delimiter);
        rest = end.map(|at| &text[at + delimiter.len()..]);
        Some(end.map_or(text, |at| &text[..at]))
    })
}

/// A delimiter stands at the beginning of a line, and its line goes on with nothing but `--` or blanks.
fn find_delimiter(text: &[u8], delimiter: &[u8]) -> Option<usize> {
    let begins_line = |at: &usize| *at == 0 || text[at - 1] == b'\n';
    memchr::memmem::find_iter(text, delimiter).filter(begins_line).find(|at| {
        let tail = &text[at + delimiter.len()..];
        let line = &tail[..memchr::memchr(b'\n', tail).unwrap_or(tail.len())];
        line.starts_with(b"--") || trim_start(line).is_empty()
    })
}

/// Retry-After's seconds (§20.33): what stands before a comment or parameters.
pub(super) fn seconds(value: &[u8]) -> Option<u32> {
    let digits = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    let sound = value.get(digits).is_none_or(|next| !is_token(*next));
    decimal(&value[..digits]).filter(|_| sound).and_then(|seconds| u32::try_from(seconds).ok())
}
