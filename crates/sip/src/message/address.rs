//! Addresses: Via, name-addr and URIs (RFC 3261 §19.1, §20.10, §20.42; RFC 3966; RFC 3581).

use std::borrow::Cow;

use super::error::ParseError;
use super::text::{
    Params, decimal, is_blank, is_word, quoted_end, token_len, trim, trim_end, trim_start, unfold, unquote,
};

/// One Via element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Via<'a> {
    /// Version of SIP as written; a message of ours, and any that [`super::Message::parse`] takes, has `2.0`.
    pub version: &'a [u8],
    /// `UDP`, `TCP`, `TLS` …, as written.
    pub transport: &'a [u8],
    /// sent-by host; an IPv6 reference keeps its brackets.
    pub host: &'a [u8],
    /// sent-by port (1-65535).
    pub port: Option<u16>,
    /// Empty where there is none (RFC 2543 peers).
    pub branch: &'a [u8],
    /// `received`.
    pub received: Option<&'a [u8]>,
    /// `rport`: `Some(None)` asks for it, `Some(Some(port))` answers (RFC 3581).
    pub rport: Option<Option<u16>>,
    /// `maddr`.
    pub maddr: Option<&'a [u8]>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads one element (not a list). Of parameters that are repeated the first counts.
    ///
    /// # Errors
    /// [`ParseError::Via`].
    pub fn parse(value: &'a [u8]) -> Result<Via<'a>, ParseError> {
        Via::read(value).ok_or(ParseError::Via)
    }

    fn read(value: &'a [u8]) -> Option<Via<'a>> {
        let (protocol, rest) = take_token(value)?;
        let (version, rest) = take_token(rest.strip_prefix(b"/")?)?;
        let rest = trim_start(rest.strip_prefix(b"/")?);
        let (transport, rest) = rest.split_at(token_len(rest));
        if !protocol.eq_ignore_ascii_case(b"SIP") || transport.is_empty() || !is_blank(*rest.first()?) {
            return None;
        }
        let rest = trim_start(rest);
        let sent_by = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
        let (host, port) = host_port(trim_end(&rest[..sent_by]))?;
        let params = Params::of(&rest[sent_by..]);
        let (mut branch, mut received, mut rport, mut maddr) = (None, None, None, None);
        for (name, value) in params.iter() {
            // The lengths tell the names apart cheaply; most parameters are one of two.
            match name.len() {
                6 if name.eq_ignore_ascii_case(b"branch") => {
                    branch.get_or_insert(value);
                }
                8 if name.eq_ignore_ascii_case(b"received") => {
                    received.get_or_insert(value);
                }
                5 if name.eq_ignore_ascii_case(b"maddr") => {
                    maddr.get_or_insert(value);
                }
                5 if name.eq_ignore_ascii_case(b"rport") => {
                    let port = if value.is_empty() { None } else { Some(port_of(value)?) };
                    rport.get_or_insert(port);
                }
                _ => {}
            }
        }
        if branch.is_some_and(|branch| !is_word(branch)) {
            return None;
        }
        let branch = branch.unwrap_or_default();
        Some(Via { version, transport, host, port, branch, received, rport, maddr, params })
    }
}

/// A token with blanks around it, and what follows.
fn take_token(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = trim_start(bytes);
    let (token, rest) = bytes.split_at(token_len(bytes));
    (!token.is_empty()).then_some((token, trim_start(rest)))
}

/// A From, To, Contact, Route, P-Asserted-Identity … element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NameAddr<'a> {
    /// Display name as written, quotes kept; empty where there is none.
    pub display: &'a [u8],
    /// The URI, without brackets.
    pub uri: &'a [u8],
    /// Header parameters (not the URI's, where it stands in brackets).
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one element (not a list).
    ///
    /// # Errors
    /// [`ParseError::Address`].
    pub fn parse(value: &'a [u8]) -> Result<NameAddr<'a>, ParseError> {
        NameAddr::read(trim(value)).ok_or(ParseError::Address)
    }

    fn read(value: &'a [u8]) -> Option<NameAddr<'a>> {
        if value.first() != Some(&b'"') {
            return NameAddr::after_name(value, 0);
        }
        quoted_end(value).and_then(|quoted| NameAddr::after_name(value, quoted)).or_else(|| {
            // A GBK character may end in the byte of a backslash, which then escapes the closing quote.
            let before = &value[..memchr::memchr(b'<', value)?];
            let quote = memchr::memrchr(b'"', before).filter(|quote| *quote > 0)?;
            NameAddr::after_name(value, quote + 1)
        })
    }

    /// `quoted`: where a quoted display name ends.
    fn after_name(value: &'a [u8], quoted: usize) -> Option<NameAddr<'a>> {
        let open = memchr::memchr(b'<', &value[quoted..]);
        // Without brackets every `;` begins a header parameter (RFC 3261 §20.10), and one may hold a `<`.
        let bare = if quoted == 0 { value.iter().position(|byte| *byte == b';') } else { None };
        let (display, uri, params) = match open.map(|at| at + quoted) {
            Some(open) if bare.is_none_or(|semicolon| open < semicolon) => {
                let close = open + memchr::memchr(b'>', &value[open..])?;
                (trim_end(&value[..open]), trim(&value[open + 1..close]), trim_start(&value[close + 1..]))
            }
            _ if quoted > 0 => return None,
            _ => {
                let end = bare.unwrap_or(value.len());
                (&b""[..], trim_end(&value[..end]), &value[end..])
            }
        };
        if !is_word(uri) || !matches!(params.first(), None | Some(b';')) {
            return None;
        }
        Some(NameAddr { display, uri, params: Params::of(params) })
    }

    /// `tag`; empty where there is none.
    #[must_use]
    pub fn tag(&self) -> &'a [u8] {
        self.params.get(b"tag").unwrap_or_default()
    }

    /// The display name as it is to be read: without quotes, escapes and folds. Not always UTF-8.
    #[must_use]
    pub fn name(&self) -> Cow<'a, [u8]> {
        match unfold(self.display) {
            Cow::Borrowed(display) => unquote(display),
            Cow::Owned(display) => Cow::Owned(unquote(&display).into_owned()),
        }
    }
}

/// A URI's scheme.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the scheme of its name")]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    Other,
}

/// A URI, taken apart but not decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uri<'a> {
    /// Scheme.
    pub scheme: Scheme,
    /// User part as written, without the password; of a `tel:` URI its number.
    pub user: &'a [u8],
    /// Password as written; empty where there is none.
    pub password: &'a [u8],
    /// Host; an IPv6 reference keeps its brackets. Empty for `tel:`.
    pub host: &'a [u8],
    /// Port (1-65535).
    pub port: Option<u16>,
    /// URI parameters.
    pub params: Params<'a>,
    /// What stands behind `?`.
    pub headers: &'a [u8],
}

/// A host without the brackets of an IPv6 reference: what an address is read from.
#[must_use]
pub fn unbracketed(host: &[u8]) -> &[u8] {
    host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host)
}

impl<'a> Uri<'a> {
    /// Takes a URI apart.
    ///
    /// # Errors
    /// [`ParseError::Uri`].
    pub fn parse(uri: &'a [u8]) -> Result<Uri<'a>, ParseError> {
        Uri::read(uri).ok_or(ParseError::Uri)
    }

    fn read(uri: &'a [u8]) -> Option<Uri<'a>> {
        let (scheme, rest) = split_at(uri, b':')?;
        let valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !scheme.first()?.is_ascii_alphabetic() || !scheme.iter().all(valid) || !is_word(rest) {
            return None;
        }
        let scheme = match scheme.len() {
            3 if scheme.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
            4 if scheme.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
            3 if scheme.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
            _ => Scheme::Other,
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => {
                let (user, password, rest) = match split_at(rest, b'@') {
                    Some((userinfo, rest)) => match split_at(userinfo, b':') {
                        Some((user, password)) => (user, password, rest),
                        None => (userinfo, &b""[..], rest),
                    },
                    None => (&b""[..], &b""[..], rest),
                };
                let (rest, headers) = split_at(rest, b'?').unwrap_or((rest, b""));
                let (host, params) = split_before(rest, b';');
                let (host, port) = host_port(host)?;
                Some(Uri { scheme, user, password, host, port, params: Params::of(params), headers })
            }
            Scheme::Tel | Scheme::Other => {
                let (user, params) = split_before(rest, b';');
                let params = Params::of(params);
                (!user.is_empty()).then_some(Uri {
                    scheme,
                    user,
                    password: b"",
                    host: b"",
                    port: None,
                    params,
                    headers: b"",
                })
            }
        }
    }

    /// The user part up to its own parameters (`;phone-context=` …), `%` escapes resolved: what a number is read from.
    #[must_use]
    pub fn user_unescaped(&self) -> Cow<'a, [u8]> {
        let (user, _) = split_before(self.user, b';');
        if memchr::memchr(b'%', user).is_none() {
            return Cow::Borrowed(user);
        }
        let mut out = Vec::with_capacity(user.len());
        let mut rest = user;
        while let [first, tail @ ..] = rest {
            let escaped = match tail {
                [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
                _ => None,
            };
            // An escape that is none stays as it is.
            out.push(escaped.map_or(*first, |(high, low)| high << 4 | low));
            rest = if escaped.is_some() { &tail[2..] } else { tail };
        }
        Cow::Owned(out)
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn split_at(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|found| *found == byte)?;
    Some((&bytes[..place], &bytes[place + 1..]))
}

fn split_before(bytes: &[u8], byte: u8) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|found| *found == byte).unwrap_or(bytes.len()))
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, with blanks allowed around the colon.
fn host_port(bytes: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (host, rest) = if bytes.first() == Some(&b'[') {
        let (host, rest) = bytes.split_at(memchr::memchr(b']', bytes)? + 1);
        let valid = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        if host.len() < 4 || !host[1..host.len() - 1].iter().all(valid) {
            return None;
        }
        (host, rest)
    } else {
        // Underscores stand in no host name, and in many a Via.
        let valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let (host, rest) = bytes.split_at(bytes.iter().position(|byte| !valid(byte)).unwrap_or(bytes.len()));
        if host.is_empty() {
            return None;
        }
        (host, rest)
    };
    match trim_start(rest) {
        [] => Some((host, None)),
        [b':', digits @ ..] => Some((host, Some(port_of(trim_start(digits))?))),
        _ => None,
    }
}

fn port_of(digits: &[u8]) -> Option<u16> {
    u16::try_from(decimal(digits)?).ok().filter(|port| *port != 0)
}
