//! Small readers over bytes: blanks, tokens, quoted strings, comma lists, parameters (RFC 3261 §25.1).

use std::borrow::Cow;

const TOKEN: u8 = 1;
const BLANK: u8 = 2;
/// What may stand in a URI, a tag, a branch or a Call-ID as a whole: nothing that a line, a list or brackets end with.
const WORD: u8 = 4;

const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        let b = byte as u8;
        let token = b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        if token {
            class[byte] |= TOKEN;
        }
        if matches!(b, b' ' | b'\t' | b'\r' | b'\n') {
            class[byte] |= BLANK;
        }
        // Bytes from 0x80 are kept: some networks put GBK or UTF-8 where the grammar wants ASCII.
        if b > b' ' && !matches!(b, 127 | b'"' | b'<' | b'>') {
            class[byte] |= WORD;
        }
        byte += 1;
    }
    class
};

/// Blank in the sense of LWS: space, tab, and the line ends of a fold.
pub(crate) const fn is_blank(byte: u8) -> bool {
    CLASS[byte as usize] & BLANK != 0
}

/// A token character.
pub(crate) const fn is_token(byte: u8) -> bool {
    CLASS[byte as usize] & TOKEN != 0
}

/// How many token characters `bytes` begins with.
pub(crate) fn token_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !is_token(*byte)).unwrap_or(bytes.len())
}

/// Not empty, and without blanks, controls, quotes and angle brackets.
pub(crate) fn is_word(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| CLASS[usize::from(*byte)] & WORD != 0)
}

/// Not empty, and without blanks and controls.
pub(crate) fn is_graphic(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| *byte > b' ' && *byte != 127)
}

/// Without the blanks at both ends.
#[must_use]
pub fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

pub(crate) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes {
        if !is_blank(*first) {
            break;
        }
        bytes = rest;
    }
    bytes
}

pub(crate) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes {
        if !is_blank(*last) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// A value on one line: every fold (a line end and the blanks around it) becomes one space (§7.3.1).
#[must_use]
pub(crate) fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(trim_end(&rest[..end]));
        out.push(b' ');
        rest = trim_start(&rest[end..]);
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// A line without its end (CRLF, or LF alone as some send it), and what follows; `None` where it has no end.
pub(crate) fn cut_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
}

/// What stands at the front of a block of headers.
pub(crate) enum Field<'a> {
    /// The blank line.
    End,
    /// Name and value, trimmed; the value with its folds.
    Header(&'a [u8], &'a [u8]),
    /// A line that is no header.
    Malformed,
}

/// Cuts one header with its folded lines; also gives what follows. `None` where the line has no end.
pub(crate) fn cut_field(bytes: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (line, mut rest) = cut_line(bytes)?;
    if line.is_empty() {
        return Some((Field::End, rest));
    }
    // A line that begins with a blank continues the one before (§7.3.1).
    let mut end = line.len();
    while matches!(rest.first(), Some(b' ' | b'\t')) {
        let (folded, after) = cut_line(rest)?;
        end = bytes.len() - rest.len() + folded.len();
        rest = after;
    }
    let field = &bytes[..end];
    let (name, value) = field.split_at(token_len(field));
    Some(match trim_start(value) {
        [b':', value @ ..] if !name.is_empty() => (Field::Header(name, trim(value)), rest),
        _ => (Field::Malformed, rest),
    })
}

/// A decimal number without sign that fits.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 19 {
        return None;
    }
    // 19 digits are less than 2^64.
    bytes.iter().try_fold(0_u64, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

/// Where the quoted string that starts at 0 ends: the place after its closing quote.
pub(crate) fn quoted_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[found] == b'"' {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

/// What a quoted string says: without its quotes and its escapes; anything else as it is.
#[must_use]
pub(crate) fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return Cow::Borrowed(value);
    };
    if memchr::memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        let literal = if byte == b'\\' { bytes.next().copied() } else { Some(byte) };
        out.extend(literal);
    }
    Cow::Owned(out)
}

/// The first place of `wanted` outside quotes and angle brackets.
pub(crate) fn find_outside(bytes: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let found = memchr::memchr3(wanted, b'"', b'<', rest)?;
        at += match rest[found] {
            b'"' => found + quoted_end(&rest[found..])?,
            b'<' => found + memchr::memchr(b'>', &rest[found..])? + 1,
            _ => return Some(at + found),
        };
    }
}

/// NUL stands outside quotes, where it means nothing. We write it as a blank, and a blank may mean something.
pub(crate) fn has_stray_nul(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some(at) = memchr::memchr2(0, b'"', rest) {
        if rest[at] == 0 {
            return true;
        }
        let Some(end) = quoted_end(&rest[at..]) else {
            // Never closed, so no quotes.
            return memchr::memchr(0, rest).is_some();
        };
        rest = &rest[at + end..];
    }
    false
}

/// An element of the list, or a parameter of one, is empty: `,,`, `;;`, `;,`, or a separator at either end.
pub(crate) fn has_empty_part(value: &[u8]) -> bool {
    // Where the part begins, and how far it has been looked through.
    let (mut begin, mut at) = (0, 0);
    while let Some(found) = memchr::memchr3(b',', b';', b'"', &value[at..]) {
        at += found;
        if value[at] == b'"' {
            // A quote that is never closed takes the rest.
            let Some(end) = quoted_end(&value[at..]) else { return false };
            at += end;
        } else if trim_start(&value[begin..at]).is_empty() {
            return true;
        } else {
            at += 1;
            begin = at;
        }
    }
    trim_start(&value[begin..]).is_empty()
}

/// The elements of a comma list, trimmed; empty ones are left away.
#[derive(Clone, Debug)]
pub struct List<'a> {
    rest: &'a [u8],
}

impl<'a> List<'a> {
    /// The elements of one header value.
    #[must_use]
    pub const fn of(value: &'a [u8]) -> List<'a> {
        List { rest: value }
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (element, rest) = match find_outside(self.rest, b',') {
                Some(comma) => (&self.rest[..comma], &self.rest[comma + 1..]),
                None => (self.rest, &b""[..]),
            };
            self.rest = rest;
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// Parameters: `;name=value;name`, blanks allowed around `;` and `=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Params<'a> {
    bytes: &'a [u8],
}

impl<'a> Params<'a> {
    /// The parameters that start at the first `;` of `bytes`.
    pub(crate) const fn of(bytes: &'a [u8]) -> Params<'a> {
        Params { bytes }
    }

    /// Every parameter: name and value, the value as written (quotes kept) or empty.
    pub fn iter(self) -> ParamIter<'a> {
        ParamIter { rest: self.bytes }
    }

    /// Every quote that is opened is closed: what is written behind an open one would become a part of it.
    pub(crate) fn is_closed(self) -> bool {
        let mut rest = self.bytes;
        while let Some(at) = memchr::memchr(b'"', rest) {
            let Some(end) = quoted_end(&rest[at..]) else { return false };
            rest = &rest[at + end..];
        }
        true
    }

    /// The value of the first parameter of a name, in any case; empty where it has none.
    #[must_use]
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// See [`Params::iter`].
#[derive(Clone, Debug)]
pub struct ParamIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ParamIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.rest.iter().position(|byte| *byte == b';')? + 1;
            let tail = &self.rest[start..];
            let name_end = tail.iter().position(|byte| matches!(byte, b';' | b'=')).unwrap_or(tail.len());
            let name = trim(&tail[..name_end]);
            let value = match tail.get(name_end) {
                Some(b'=') => {
                    let value = trim_start(&tail[name_end + 1..]);
                    let quoted =
                        if value.first() == Some(&b'"') { quoted_end(value).unwrap_or(value.len()) } else { 0 };
                    let rest = &value[quoted..];
                    let end = quoted + rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
                    self.rest = &value[end..];
                    trim_end(&value[..end])
                }
                Some(_) | None => {
                    self.rest = &tail[name_end..];
                    b""
                }
            };
            if !name.is_empty() {
                return Some((name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: &[u8]) -> Vec<&[u8]> {
        List::of(value).collect()
    }

    #[test]
    fn a_list_is_split_at_commas_outside_quotes_and_brackets() {
        assert_eq!(list(b"a, b ,\r\n c"), [b"a", b"b", b"c"]);
        assert_eq!(list(b"\"x, \\\", y\" <sip:a,b@c>;p=\"1,2\", <sip:d>").len(), 2);
        assert_eq!(list(b" ,, "), [b""; 0]);
        assert_eq!(list(b"\"never closed, a"), [&b"\"never closed, a"[..]]);
        assert_eq!(list(b"<never closed, a"), [&b"<never closed, a"[..]]);
        assert_eq!(list(b"\"ends in an escape\\"), [&b"\"ends in an escape\\"[..]]);
    }

    #[test]
    fn parameters_may_have_blanks_quotes_or_no_value() {
        let params = Params::of(b" ; a = 1;b ; ;c=\"x;y=\\\"z\";=nameless;d=;A=2");
        let all: Vec<_> = params.iter().collect();
        assert_eq!(all, [(&b"a"[..], &b"1"[..]), (b"b", b""), (b"c", b"\"x;y=\\\"z\""), (b"d", b""), (b"A", b"2"),]);
        assert_eq!(params.get(b"A"), Some(&b"1"[..]), "the first one counts, in any case");
        assert_eq!(params.get(b"b"), Some(&b""[..]));
        assert_eq!(params.get(b"e"), None);
        assert_eq!(Params::of(b";q=\"never closed;r=1").get(b"r"), None);
        assert!(params.is_closed() && Params::default().is_closed());
        assert!(!Params::of(b";q=\"never closed").is_closed() && !Params::of(b";q=\"\\\"").is_closed());
    }

    #[test]
    fn empty_parts_are_seen_outside_quotes() {
        for sound in [&b"a"[..], b"a;b=c, d ; e", b"a;b=\";;,\"", b"a;b=\"never closed;;", b" a\r\n ;b"] {
            assert!(!has_empty_part(sound), "{}", sound.escape_ascii());
        }
        for empty in
            [&b""[..], b" ", b",a", b";a", b"a;", b"a,", b"a;;b", b"a; ;b", b"a;,b", b"a,\r\n ,b", b"a;b=\"x\";"]
        {
            assert!(has_empty_part(empty), "{}", empty.escape_ascii());
        }
    }

    #[test]
    fn nul_may_stand_in_quotes_only() {
        for sound in [&b""[..], b"a;b", b"\"\0\" <sip:a>", b"\"\\\0\";\"\0\""] {
            assert!(!has_stray_nul(sound), "{}", sound.escape_ascii());
        }
        for stray in [&b"\0"[..], b"\"a\"\0", b"a;\0tag=b", b"\"\0", b"\"\\\"\0"] {
            assert!(has_stray_nul(stray), "{}", stray.escape_ascii());
        }
    }

    #[test]
    fn folds_become_one_space() {
        assert_eq!(&*unfold(b"a \r\n\t b\n c"), b"a b c");
        assert!(matches!(unfold(b"a  b"), Cow::Borrowed(b"a  b")));
    }

    #[test]
    fn quotes_and_escapes_are_taken_off() {
        assert_eq!(&*unquote(br#""a \"b\" \\c""#), br#"a "b" \c"#);
        assert_eq!(&*unquote(b"plain"), b"plain");
        assert_eq!(&*unquote(b"\""), b"\"");
        assert_eq!(&*unquote(b"\"ends\\\""), b"ends");
    }

    #[test]
    fn decimals_have_no_sign_and_fit() {
        assert_eq!(decimal(b"0070"), Some(70));
        assert_eq!(decimal(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        for wrong in [&b""[..], b"-1", b"+1", b"1 ", b"0x1", b"99999999999999999999"] {
            assert_eq!(decimal(wrong), None);
        }
    }
}
