//! Addresses: Via, name-addr and URIs (RFC 3261 §19.1, §20.10, §20.42; RFC 3966; RFC 3581).

use super::error::ParseError;
use super::text::{Params, decimal, find_outside, is_blank, is_token, quoted_end, trim};

/// One Via element.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
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
    /// Reads one element (not a list).
    ///
    /// # Errors
    /// [`ParseError::Via`].
    pub fn parse(value: &'a [u8]) -> Result<Via<'a>, ParseError> {
        let error = ParseError::Via;
        let (protocol, rest) = split_at(value, b'/').ok_or(error)?;
        let (version, rest) = split_at(rest, b'/').ok_or(error)?;
        if !trim(protocol).eq_ignore_ascii_case(b"SIP") || trim(version) != b"2.0" {
            return Err(error);
        }
        let rest = trim(rest);
        let transport_len = rest.iter().position(|byte| is_blank(*byte)).ok_or(error)?;
        let (transport, rest) = rest.split_at(transport_len);
        if !transport.iter().all(|byte| is_token(*byte)) {
            return Err(error);
        }
        let params_at = find_outside(rest, b';').unwrap_or(rest.len());
        let (sent_by, params) = rest.split_at(params_at);
        let (host, port) = host_port(trim(sent_by)).ok_or(error)?;
        let params = Params::of(params);
        let (mut branch, mut received, mut rport, mut maddr) = (&b""[..], None, None, None);
        for (name, value) in params.iter() {
            if name.eq_ignore_ascii_case(b"branch") {
                branch = value;
            } else if name.eq_ignore_ascii_case(b"received") {
                received = Some(value);
            } else if name.eq_ignore_ascii_case(b"maddr") {
                maddr = Some(value);
            } else if name.eq_ignore_ascii_case(b"rport") {
                rport = Some(if value.is_empty() { None } else { Some(port_of(value).ok_or(error)?) });
            }
        }
        Ok(Via { transport, host, port, branch, received, rport, maddr, params })
    }
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
        let error = ParseError::Address;
        let value = trim(value);
        let display_end = if value.first() == Some(&b'"') { quoted_end(value).ok_or(error)? } else { 0 };
        let open = value[display_end..].iter().position(|byte| *byte == b'<').map(|at| at + display_end);
        let (display, uri, params) = match open {
            Some(open) => {
                let close = open + value[open..].iter().position(|byte| *byte == b'>').ok_or(error)?;
                (trim(&value[..open]), trim(&value[open + 1..close]), &value[close + 1..])
            }
            // Without brackets every `;` begins a header parameter (RFC 3261 §20.10).
            None if display_end > 0 => return Err(error),
            None => {
                let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
                (&b""[..], trim(&value[..end]), &value[end..])
            }
        };
        if uri.is_empty() || !params.iter().all(|byte| *byte != 0) {
            return Err(error);
        }
        if !trim(params).is_empty() && trim(params)[0] != b';' {
            return Err(error);
        }
        Ok(NameAddr { display, uri, params: Params::of(params) })
    }

    /// `tag`; empty where there is none.
    #[must_use]
    pub fn tag(&self) -> &'a [u8] {
        self.params.get(b"tag").unwrap_or_default()
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
    /// Host; an IPv6 reference keeps its brackets. Empty for `tel:`.
    pub host: &'a [u8],
    /// Port (1-65535).
    pub port: Option<u16>,
    /// URI parameters.
    pub params: Params<'a>,
    /// What stands behind `?`.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Takes a URI apart.
    ///
    /// # Errors
    /// [`ParseError::Uri`].
    pub fn parse(uri: &'a [u8]) -> Result<Uri<'a>, ParseError> {
        let error = ParseError::Uri;
        let (scheme, rest) = split_at(uri, b':').ok_or(error)?;
        if scheme.is_empty() || !scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)) {
            return Err(error);
        }
        let scheme = match () {
            () if scheme.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
            () if scheme.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
            () if scheme.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
            () => Scheme::Other,
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => {
                let (userinfo, rest) = split_at(rest, b'@').unwrap_or((b"", rest));
                let user = split_at(userinfo, b':').map_or(userinfo, |(user, _)| user);
                let (rest, headers) = split_at(rest, b'?').unwrap_or((rest, b""));
                let params_at = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
                let (host, params) = rest.split_at(params_at);
                let (host, port) = host_port(trim(host)).ok_or(error)?;
                Ok(Uri { scheme, user, host, port, params: Params::of(params), headers })
            }
            Scheme::Tel | Scheme::Other => {
                let params_at = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
                let (user, params) = rest.split_at(params_at);
                Ok(Uri { scheme, user, host: b"", port: None, params: Params::of(params), headers: b"" })
            }
        }
    }
}

fn split_at(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|found| *found == byte)?;
    Some((&bytes[..place], &bytes[place + 1..]))
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, with blanks allowed around the colon.
fn host_port(bytes: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let host_len = if bytes.first() == Some(&b'[') {
        bytes.iter().position(|byte| *byte == b']')? + 1
    } else {
        bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len())
    };
    let (host, rest) = bytes.split_at(host_len);
    let host = trim(host);
    let inner = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let valid = match inner {
        Some(inner) => !inner.is_empty() && inner.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')),
        None => !host.is_empty() && host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    if !valid {
        return None;
    }
    let rest = trim(rest);
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = port_of(trim(rest.strip_prefix(b":")?))?;
    Some((host, Some(port)))
}

fn port_of(digits: &[u8]) -> Option<u16> {
    u16::try_from(decimal(digits)?).ok().filter(|port| *port != 0)
}
