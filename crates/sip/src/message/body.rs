//! Finding the session description in a body (RFC 2046 §5.1, RFC 5621).

use super::text::{Params, find_outside, trim};
use super::{HeaderName, List};

/// Parts of a multipart body that are looked at.
const MAX_PARTS: usize = 16;

/// The session description in `body`. Any other part (ISUP, PIDF …) is left alone and goes nowhere.
pub(super) fn sdp<'a>(content_type: Option<&[u8]>, body: &'a [u8]) -> Option<&'a [u8]> {
    let Some(content_type) = content_type else {
        return body.starts_with(b"v=0").then_some(body);
    };
    let params_at = find_outside(content_type, b';').unwrap_or(content_type.len());
    let (media_type, params) = content_type.split_at(params_at);
    let media_type: Vec<u8> = media_type.iter().filter(|b| !b.is_ascii_whitespace()).map(u8::to_ascii_lowercase).collect();
    if media_type == b"application/sdp" {
        return Some(body);
    }
    if !media_type.starts_with(b"multipart/") {
        return None;
    }
    let boundary = Params::of(params).get(b"boundary")?;
    let boundary = boundary.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(boundary);
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    parts(body, boundary).take(MAX_PARTS).find_map(sdp_part)
}

fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let delimiter = [b"--", boundary].concat();
    let mut rest = Some(body);
    let mut opened = false;
    std::iter::from_fn(move || {
        loop {
            let text = rest?;
            let found = find_delimiter(text, &delimiter);
            let part = found.map_or(text, |at| &text[..at]);
            rest = found.map(|at| &text[at + delimiter.len()..]).filter(|after| !after.starts_with(b"--"));
            if std::mem::replace(&mut opened, true) {
                return Some(part);
            }
            found?;
        }
    })
}

/// A delimiter stands at the beginning of a line.
fn find_delimiter(text: &[u8], delimiter: &[u8]) -> Option<usize> {
    memchr::memmem::find_iter(text, delimiter).find(|at| *at == 0 || text[at - 1] == b'\n')
}

fn sdp_part(part: &[u8]) -> Option<&[u8]> {
    let mut rest = &part[memchr::memchr(b'\n', part)? + 1..];
    let mut is_sdp = false;
    loop {
        let end = memchr::memchr(b'\n', rest)?;
        let line = trim(&rest[..end]);
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        if HeaderName::of(trim(&line[..colon])) == HeaderName::ContentType {
            let media_type = List::of(&line[colon + 1..]).next().unwrap_or_default();
            let end = memchr::memchr(b';', media_type).unwrap_or(media_type.len());
            is_sdp = trim(&media_type[..end]).eq_ignore_ascii_case(b"application/sdp");
        }
    }
    // The line end before the next delimiter belongs to the delimiter.
    let content = rest.strip_suffix(b"\n").map_or(rest, |rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    is_sdp.then_some(content)
}
