//! Challenges and credentials as they stand in a header (RFC 3261 §25.1 `challenge`, `credentials`): read and written.
//!
//! ```text
//!   Digest realm="a", nonce="b" , Basic realm="c", Digest realm="d", …
//!   └──── one ────────────────┘   └─ not ours ──┘  └─ another ─
//! ```
//!
//! A comma parts parameters and challenges alike: a word that no `=` follows begins a challenge.

use crate::message::text::{is_blank, is_graphic, quoted_end, token_len, trim, trim_start, unfold, unquote};
use crate::message::write;

/// The longest header value that is looked at, in bytes.
const MAX_LINE: usize = 8_192;
/// The longest value of a parameter, in bytes: what we answer with has most of them in it.
const MAX_VALUE: usize = 1_024;
/// Parameters of one challenge.
const MAX_PARAMETERS: usize = 32;
/// Challenges of one header line.
const MAX_CHALLENGES: usize = 16;

/// A parameter is repeated, too long, no parameter at all, or holds what may not stand in a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// The parameters of one `Digest`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Parameters {
    /// Names in lower case; values without quotes and escapes.
    list: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Parameters {
    /// The value of a parameter; `name` in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.list.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| &**value)
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.list.iter().map(|(name, _)| &**name)
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let name = name.to_ascii_lowercase();
        let is_new = self.list.iter().all(|(known, _)| *known != name);
        // Two values of one name: whoever checks the first is fooled by whoever uses the second.
        if !is_new || self.list.len() == MAX_PARAMETERS || value.len() > MAX_VALUE {
            return Err(Malformed);
        }
        let value = if value.first() == Some(&b'"') {
            if quoted_end(value) != Some(value.len()) {
                return Err(Malformed);
            }
            unquote(value).into_owned()
        } else if is_graphic(value) && !value.contains(&b'"') {
            value.to_vec()
        } else {
            return Err(Malformed);
        };
        if value.iter().any(|byte| *byte < b' ' || *byte == 127) {
            return Err(Malformed);
        }
        self.list.push((name, value));
        Ok(())
    }
}

/// A challenge while its parameters come in.
enum Open {
    /// Nothing has come yet.
    None,
    Digest(Result<Parameters, Malformed>),
    /// `Basic`, `Bearer` …: passed over.
    Other,
}

impl Open {
    fn with(self, element: &[u8]) -> Open {
        match self {
            Open::Digest(Ok(mut parameters)) => {
                let added = parameter(element).ok_or(Malformed).and_then(|(name, value)| parameters.add(name, value));
                Open::Digest(added.map(|()| parameters))
            }
            Open::None | Open::Digest(Err(Malformed)) => Open::Digest(Err(Malformed)),
            Open::Other => Open::Other,
        }
    }
}

/// Every `Digest` of one header line, in its order. Other schemes are left away, so a line may have none.
pub(super) fn read(line: &[u8]) -> Vec<Result<Parameters, Malformed>> {
    if line.len() > MAX_LINE {
        return vec![Err(Malformed)];
    }
    let line = unfold(line);
    let mut out = Vec::new();
    let mut open = Open::None;
    for element in Elements(&line) {
        let Some((scheme, first)) = beginning(element) else {
            open = open.with(element);
            continue;
        };
        close(open, &mut out);
        open =
            if scheme.eq_ignore_ascii_case(b"Digest") { Open::Digest(Ok(Parameters::default())) } else { Open::Other };
        if !first.is_empty() {
            open = open.with(first);
        }
    }
    close(open, &mut out);
    out
}

/// The scheme that an element begins with, and its first parameter; `None` where it is a parameter itself.
fn beginning(element: &[u8]) -> Option<(&[u8], &[u8])> {
    let (scheme, rest) = element.split_at(token_len(element));
    let first = trim_start(rest);
    let begins = !scheme.is_empty() && first.first() != Some(&b'=') && rest.first().is_none_or(|byte| is_blank(*byte));
    begins.then_some((scheme, first))
}

/// `name = value`.
fn parameter(element: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = element.split_at(token_len(element));
    let value = trim_start(rest).strip_prefix(b"=").map(trim_start)?;
    (!name.is_empty()).then_some((name, value))
}

fn close(open: Open, out: &mut Vec<Result<Parameters, Malformed>>) {
    match open {
        Open::Digest(digest) if out.len() < MAX_CHALLENGES => out.push(digest),
        Open::Digest(_) | Open::None | Open::Other => {}
    }
}

/// What stands between the commas outside quotes, trimmed; empty ones are left away. Unlike in a list of addresses,
/// angle brackets mean nothing here.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.0.is_empty() {
            let end = comma(self.0).unwrap_or(self.0.len());
            let element = trim(&self.0[..end]);
            self.0 = self.0.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

fn comma(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr::memchr2(b',', b'"', bytes.get(at..)?)?;
        if bytes[found] == b',' {
            return Some(found);
        }
        at = found + quoted_end(&bytes[found..])?;
    }
}

/// Writes a header value that begins with `Digest`, parameter by parameter.
pub(super) struct Writer {
    out: Vec<u8>,
    empty: bool,
}

impl Writer {
    pub(super) fn new() -> Writer {
        Writer { out: b"Digest ".to_vec(), empty: true }
    }

    fn name(&mut self, name: &str) {
        if !self.empty {
            self.out.extend_from_slice(b", ");
        }
        self.empty = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'=');
    }

    /// A quoted value: quotes and backslashes are escaped, controls become blanks.
    pub(super) fn quoted(mut self, name: &str, value: &[u8]) -> Writer {
        self.name(name);
        write::quote_display(&mut self.out, value);
        self
    }

    /// A value of ours that is a token.
    pub(super) fn token(mut self, name: &str, value: &[u8]) -> Writer {
        debug_assert!(token_len(value) == value.len() && !value.is_empty());
        self.name(name);
        self.out.extend_from_slice(value);
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }
}
