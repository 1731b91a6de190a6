//! Writing messages from nothing. No value can begin a line of its own: CR, LF and NUL become blanks.

use std::net::SocketAddr;

use super::text::trim_end;
use super::{HeaderName, Message, Via, unbracketed};

/// `METHOD uri SIP/2.0`.
pub fn request(out: &mut Vec<u8>, method: &str, uri: &[u8]) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    for &byte in uri {
        // A blank would end the URI: whatever may not stand in one is escaped.
        if byte <= b' ' || matches!(byte, 127 | b'<' | b'>' | b'"') { push_escaped(out, byte) } else { out.push(byte) }
    }
    out.extend_from_slice(b" SIP/2.0\r\n");
}

/// `SIP/2.0 code reason`. The version is always ours, never the request's.
pub fn status_line(out: &mut Vec<u8>, code: u16, reason: &str) {
    out.extend_from_slice(b"SIP/2.0 ");
    out.extend_from_slice(&[b'0' + (code / 100 % 10) as u8, b'0' + (code / 10 % 10) as u8, b'0' + (code % 10) as u8]);
    out.push(b' ');
    push_clean(out, reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `name: value`.
pub fn header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    push_clean(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Content-Type where there is one, Content-Length, the blank line and the body.
pub fn finish(out: &mut Vec<u8>, content_type: Option<&[u8]>, body: &[u8]) {
    if let Some(content_type) = content_type {
        header(out, "Content-Type", content_type);
    }
    out.extend_from_slice(b"Content-Length: ");
    push_decimal(out, body.len());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Status line, Vias, From, To, Call-ID and CSeq of a response (RFC 3261 §8.2.6.2).
///
/// The top Via gets `received` and `rport` where `source` is given (§18.2.1, RFC 3581 §4); To gets `to_tag` where it has
/// no tag and this one is not empty. What a rejected request does not have is left away.
pub fn response_to(
    out: &mut Vec<u8>,
    request: &Message,
    code: u16,
    reason: &str,
    to_tag: &[u8],
    source: Option<SocketAddr>,
) {
    status_line(out, code, reason);
    for (place, via) in request.values(HeaderName::Via).enumerate() {
        match source.filter(|_| place == 0) {
            Some(source) => received_via(out, via, source),
            None => header(out, "Via", via),
        }
    }
    if let Some(from) = request.header(HeaderName::From) {
        header(out, "From", from);
    }
    if let Some(to) = request.header(HeaderName::To) {
        out.extend_from_slice(b"To: ");
        push_clean(out, to);
        if request.to_tag().is_empty() && !to_tag.is_empty() {
            out.extend_from_slice(b";tag=");
            push_clean(out, to_tag);
        }
        out.extend_from_slice(b"\r\n");
    }
    if !request.call_id().is_empty() {
        header(out, "Call-ID", request.call_id());
    }
    if let Some(cseq) = request.header(HeaderName::CSeq) {
        header(out, "CSeq", cseq);
    }
    // §8.2.6.1: a 100 gives the client its own time back.
    if let Some(timestamp) = request.header(HeaderName::Timestamp).filter(|_| code == 100) {
        header(out, "Timestamp", timestamp);
    }
}

fn received_via(out: &mut Vec<u8>, value: &[u8], source: SocketAddr) {
    let Ok(via) = Via::parse(value) else {
        header(out, "Via", value);
        return;
    };
    out.extend_from_slice(b"Via: SIP/");
    push_clean(out, via.version);
    out.push(b'/');
    push_clean(out, via.transport);
    out.push(b' ');
    push_clean(out, via.host);
    if let Some(port) = via.port {
        out.push(b':');
        push_decimal(out, usize::from(port));
    }
    for (name, value) in via.params.iter() {
        if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
            continue;
        }
        out.push(b';');
        push_clean(out, name);
        if !value.is_empty() {
            out.push(b'=');
            push_clean(out, value);
        }
    }
    // A dual-stack socket sees IPv4 peers as ::ffff:a.b.c.d; the peer knows itself as a.b.c.d.
    let ip = source.ip().to_canonical();
    let same = std::str::from_utf8(unbracketed(via.host)).is_ok_and(|host| host.parse() == Ok(ip));
    if via.rport.is_some() || !same {
        out.extend_from_slice(b";received=");
        out.extend_from_slice(ip.to_string().as_bytes());
    }
    if via.rport.is_some() {
        out.extend_from_slice(b";rport=");
        push_decimal(out, usize::from(source.port()));
    }
    out.extend_from_slice(b"\r\n");
}

/// The request's Record-Routes, for a response that makes a dialog (RFC 3261 §12.1.1).
pub fn record_routes(out: &mut Vec<u8>, request: &Message) {
    for route in request.values(HeaderName::RecordRoute) {
        header(out, "Record-Route", route);
    }
}

/// A user part: what may not stand there is escaped (RFC 3261 §25.1 `user`).
pub fn escape_user(out: &mut Vec<u8>, user: &[u8]) {
    for &byte in user {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,?/".contains(&byte) {
            out.push(byte);
        } else {
            push_escaped(out, byte);
        }
    }
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// A display name as a quoted string (§25.1 `quoted-string`); controls become blanks.
pub fn quote_display(out: &mut Vec<u8>, name: &[u8]) {
    out.push(b'"');
    for &byte in name {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=31 | 127 => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A fold becomes one blank, and so does any other line end or NUL with the blanks around it.
fn push_clean(out: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    while let Some(at) = memchr::memchr3(b'\r', b'\n', 0, rest) {
        out.extend_from_slice(trim_end(&rest[..at]));
        out.push(b' ');
        rest = &rest[at..];
        while let [b' ' | b'\t' | b'\r' | b'\n' | 0, tail @ ..] = rest {
            rest = tail;
        }
    }
    out.extend_from_slice(rest);
}

fn push_decimal(out: &mut Vec<u8>, number: usize) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The usual reason phrase of a status (RFC 3261 §21).
#[must_use]
pub const fn reason_phrase(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match code / 100 {
            1 => "Session Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Client Error",
            5 => "Server Error",
            _ => "Global Failure",
        },
    }
}
