//! Reads a description, line by line, and takes of it what we use (RFC 8866 §5 and §6).
//!
//! Tolerated: bytes in any encoding, LF or CR alone as the end of a line, blanks around values, lines that are missing, unknown
//! or out of order, attributes in any case, a c= line with a TTL. What cannot be understood in a line that an m= line can do
//! without is passed over; a broken m= line is an error, because the answer has to have one for it.

use super::{
    Address, Attribute, Description, Encoding, Format, MAX_FORMATS, MAX_LINE, MAX_LINES, MAX_MEDIA, Media, SdpError,
};
use crate::{Codec, rtp};
use std::net::IpAddr;

/// Payload types that RTCP packet types are mistaken for (RFC 3551 §6, RFC 5761 §4): whatever is said of them, they are not
/// used.
const RTCP_CONFLICT: std::ops::RangeInclusive<u8> = 72..=76;

/// Reads a description.
///
/// # Errors
///
/// The [`SdpError`]s for which [`SdpError::is_malformed`] holds.
pub fn parse(bytes: &[u8]) -> Result<Description, SdpError> {
    let mut session = Level::default();
    let mut media: Vec<(Media, Level)> = Vec::new();
    let mut is_sdp = false;
    let lines = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).map(trim);
    for (number, line) in lines.filter(|line| !line.is_empty()).enumerate() {
        if number == MAX_LINES {
            return Err(SdpError::TooManyLines);
        }
        if line.len() > MAX_LINE {
            return Err(SdpError::LineTooLong);
        }
        let [kind, b'=', value @ ..] = line else {
            continue;
        };
        let value = trim(value);
        match kind {
            b'v' => is_sdp = true,
            b'm' if media.len() == MAX_MEDIA => return Err(SdpError::TooManyMedia),
            b'm' => media.push((parse_media(value)?, Level::default())),
            b'c' => match media.last_mut() {
                Some((_, level)) => level.on_connection(value),
                None => session.on_connection(value),
            },
            b'a' => match media.last_mut() {
                Some((media, level)) => on_media_attribute(media, level, value),
                None => session.on_attribute(value),
            },
            _ => {}
        }
    }
    if !is_sdp && media.is_empty() {
        return Err(SdpError::NotSdp);
    }
    let media = media.into_iter().map(|(media, level)| level.over(&session, media)).collect();
    Ok(Description { media })
}

/// What may stand at the session level and at the media level.
#[derive(Default)]
struct Level {
    address: Option<Address>,
    /// Of the other IP version.
    alternative: Option<IpAddr>,
    direction: Option<Attribute>,
}

impl Level {
    /// `IN IP4 192.0.2.1`, also with a TTL. The first of several counts, and the first of the other IP version.
    fn on_connection(&mut self, value: &[u8]) {
        let address = tokens(value).nth(2).and_then(ip_address);
        match (self.address, address) {
            (None, _) => self.address = Some(address.map_or(Address::Unsupported, Address::Ip)),
            (Some(Address::Ip(first)), Some(other)) if first.is_ipv4() != other.is_ipv4() => {
                self.alternative.get_or_insert(other);
            }
            (Some(_), _) => {}
        }
    }

    fn on_attribute(&mut self, value: &[u8]) {
        let attributes = [Attribute::SendRecv, Attribute::SendOnly, Attribute::RecvOnly, Attribute::Inactive];
        for attribute in attributes {
            if value.eq_ignore_ascii_case(attribute.as_str().as_bytes()) {
                self.direction = Some(attribute);
            }
        }
    }

    /// Completes an m= line with its level and, where that says nothing, the session's.
    fn over(self, session: &Level, mut media: Media) -> Media {
        let connection = if self.address.is_some() { &self } else { session };
        media.address = connection.address.unwrap_or(Address::Missing);
        media.alternative = connection.alternative;
        media.direction = self.direction.or(session.direction).unwrap_or_default();
        media
    }
}

/// `audio 30000/2 RTP/AVP 8 0 101`
fn parse_media(value: &[u8]) -> Result<Media, SdpError> {
    if !value.iter().all(|byte| is_blank(*byte) || byte.is_ascii_graphic()) {
        return Err(SdpError::MalformedMedia);
    }
    let mut tokens = tokens(value);
    let (Some(media_type), Some(port), Some(protocol)) = (tokens.next(), tokens.next(), tokens.next()) else {
        return Err(SdpError::MalformedMedia);
    };
    let port = port.split(|byte| *byte == b'/').next().and_then(number);
    let mut media = Media {
        media_type: media_type.into(),
        port: port.ok_or(SdpError::MalformedPort)?,
        protocol: protocol.into(),
        format_list: Box::default(),
        formats: Vec::new(),
        address: Address::Missing,
        alternative: None,
        rtcp: None,
        direction: Attribute::default(),
        ptime_ms: None,
        max_ptime_ms: None,
    };
    let mut format_list = Vec::new();
    for (count, token) in tokens.enumerate() {
        if count == MAX_FORMATS {
            return Err(SdpError::TooManyFormats);
        }
        if count > 0 {
            format_list.push(b' ');
        }
        format_list.extend_from_slice(token);
        if let Some(payload_type) = payload_type(token) {
            media.formats.push(Format { payload_type, encoding: static_encoding(payload_type) });
        }
    }
    media.format_list = format_list.into();
    Ok(media)
}

fn on_media_attribute(media: &mut Media, level: &mut Level, value: &[u8]) {
    let mut halves = value.splitn(2, |byte| *byte == b':');
    let name = trim(halves.next().unwrap_or_default());
    let value = trim(halves.next().unwrap_or_default());
    if name.eq_ignore_ascii_case(b"rtpmap") {
        on_rtpmap(media, value);
    } else if name.eq_ignore_ascii_case(b"ptime") {
        media.ptime_ms = leading_number(value).or(media.ptime_ms);
    } else if name.eq_ignore_ascii_case(b"maxptime") {
        media.max_ptime_ms = leading_number(value).or(media.max_ptime_ms);
    } else if name.eq_ignore_ascii_case(b"rtcp") {
        let mut tokens = tokens(value);
        if let Some(port) = tokens.next().and_then(number).filter(|port| *port != 0) {
            media.rtcp = Some((port, tokens.nth(2).and_then(ip_address)));
        }
    } else if value.is_empty() {
        level.on_attribute(name);
    }
}

/// `101 telephone-event/8000`, `8 PCMA/8000/1`
fn on_rtpmap(media: &mut Media, value: &[u8]) {
    let mut tokens = tokens(value);
    let (Some(payload_type), Some(encoding)) = (tokens.next().and_then(payload_type), tokens.next()) else {
        return;
    };
    let mut parts = encoding.split(|byte| *byte == b'/');
    let name = parts.next().unwrap_or_default();
    let rate = parts.next().and_then(leading_number);
    let channels = parts.next().map_or(Some(1), leading_number);
    let encoding = if (rate, channels) != (Some(8000), Some(1)) || RTCP_CONFLICT.contains(&payload_type) {
        Encoding::Unknown
    } else if name.eq_ignore_ascii_case(b"PCMA") {
        Encoding::Audio(Codec::Pcma)
    } else if name.eq_ignore_ascii_case(b"PCMU") {
        Encoding::Audio(Codec::Pcmu)
    } else if name.eq_ignore_ascii_case(b"telephone-event") {
        Encoding::TelephoneEvent
    } else {
        Encoding::Unknown
    };
    for format in media.formats.iter_mut().filter(|format| format.payload_type == payload_type) {
        format.encoding = encoding;
    }
}

fn static_encoding(payload_type: u8) -> Encoding {
    match payload_type {
        rtp::PCMU => Encoding::Audio(Codec::Pcmu),
        rtp::PCMA => Encoding::Audio(Codec::Pcma),
        96..=127 => Encoding::Unmapped,
        _ => Encoding::Unknown,
    }
}

fn payload_type(token: &[u8]) -> Option<u8> {
    number(token).and_then(|number| u8::try_from(number).ok()).filter(|number| *number < 128)
}

/// An IP address, with a TTL or a count behind it or in brackets as in a URI.
fn ip_address(token: &[u8]) -> Option<IpAddr> {
    let address = token.split(|byte| *byte == b'/').next()?;
    let address = address.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(address);
    let address: IpAddr = std::str::from_utf8(address).ok()?.parse().ok()?;
    Some(address.to_canonical())
}

/// A number of digits alone.
fn number(token: &[u8]) -> Option<u16> {
    let digits = token.iter().all(u8::is_ascii_digit).then_some(token)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The number that a value begins with: `20`, `20.0`, `20 ms`.
fn leading_number(value: &[u8]) -> Option<u16> {
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    number(value.get(..end)?)
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| is_blank(*byte)).filter(|token| !token.is_empty())
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without the blanks and NULs around it; some stacks send the end of their string.
fn trim(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | 0, rest @ ..] | [rest @ .., b' ' | b'\t' | 0] = line {
        line = rest;
    }
    line
}
