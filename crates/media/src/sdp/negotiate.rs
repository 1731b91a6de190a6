//! Offer and answer for one audio stream (RFC 3264).
//!
//! ```text
//!   peer's offer ──▶ answer() ────────▶ our answer      the first usable audio line is kept, the others get port 0
//!   our offer ─────▶ peer's answer ──▶ accept_answer()  as many lines, nothing in ours that was not offered
//! ```

use super::write::write_answer;
use super::{Address, Description, Encoding, Local, Media, Negotiated, SdpError};
use crate::{Direction, LegFormat};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Packet times that we send prompts with, in milliseconds.
const PTIME: std::ops::RangeInclusive<u16> = 10..=60;

/// Answers an offer: appends the answer to `out` and says what is settled. The codec is the first of `local.codecs` that the
/// offer has too; payload types are the offer's; the direction is the offer's mirrored, within `local.direction`.
///
/// # Errors
///
/// Why the first audio line over RTP cannot be used, where there is one, else [`SdpError::NoCommonMedia`]. Nothing is appended
/// then.
pub fn answer(offer: &Description, local: &Local, out: &mut Vec<u8>) -> Result<Negotiated, SdpError> {
    let mut accusation = None;
    for (place, media) in offer.media.iter().enumerate() {
        if !media.is_rtp_audio() || media.port == 0 {
            continue;
        }
        match settle(media, local, Preference::Ours, place) {
            Ok(negotiated) => {
                write_answer(local, &offer.media, place, &negotiated, out);
                return Ok(negotiated);
            }
            Err(error) => accusation = accusation.or(Some(error)),
        }
    }
    Err(accusation.unwrap_or(SdpError::NoCommonMedia))
}

/// Takes the answer to what [`super::write_offer`] wrote for `offered`. Where it names several codecs, the first is settled: that
/// is the one the peer wants most. Formats beyond the offer are passed over, since an answer may name them (RFC 3264 §6.1).
///
/// # Errors
///
/// [`SdpError::MediaCount`], [`SdpError::MediaRefused`], [`SdpError::FormatNotOffered`] when nothing is left, or why the audio
/// line cannot be used.
pub fn accept_answer(answer: &Description, offered: &Local) -> Result<Negotiated, SdpError> {
    let place = offered.beside.before.len();
    if answer.media.len() != place + 1 + offered.beside.after.len() {
        return Err(SdpError::MediaCount);
    }
    let media = &answer.media[place];
    if media.port == 0 {
        return Err(SdpError::MediaRefused);
    }
    if !media.is_rtp_audio() {
        return Err(SdpError::NoCommonMedia);
    }
    settle(media, offered, Preference::Theirs, place).map_err(|error| match error {
        SdpError::NoCommonCodec => SdpError::FormatNotOffered,
        other => other,
    })
}

/// Whose order of codecs decides.
enum Preference {
    Ours,
    Theirs,
}

fn settle(media: &Media, local: &Local, preference: Preference, place: usize) -> Result<Negotiated, SdpError> {
    let audio = || {
        media.formats.iter().filter_map(|format| match format.encoding {
            Encoding::Audio(codec) => Some((codec, format.payload_type)),
            Encoding::TelephoneEvent | Encoding::Unmapped | Encoding::Unknown => None,
        })
    };
    let (codec, payload_type) = match preference {
        Preference::Ours => {
            let mut ours = local.codecs.iter();
            ours.find_map(|wanted| audio().find(|(codec, _)| codec == wanted))
        }
        Preference::Theirs => audio().find(|(codec, _)| local.codecs.contains(codec)),
    }
    .ok_or(SdpError::NoCommonCodec)?;
    let address = usable_address(media, local)?;
    let telephone_event = telephone_event(media, local);
    let telephone_event_offered = match preference {
        Preference::Ours => None,
        Preference::Theirs => local.telephone_event.filter(|ours| is_renamed(media, telephone_event, *ours)),
    };
    let mut direction = both(media.direction.mirrored().into(), local.direction);
    // The old way to put on hold (RFC 3264 §8.4): there is nowhere to send to.
    direction.send &= !address.is_unspecified();
    Ok(Negotiated {
        rtp: SocketAddr::new(address, media.port),
        rtcp: rtcp(media, address),
        format: LegFormat {
            codec,
            payload_type,
            telephone_event,
            telephone_event_offered,
            ptime_ms: ptime(media, local),
        },
        direction,
        place,
    })
}

fn usable_address(media: &Media, local: &Local) -> Result<IpAddr, SdpError> {
    let first = match media.address {
        Address::Ip(address) => address,
        Address::Unsupported => return Err(SdpError::AddressNotIp),
        Address::Missing => return Err(SdpError::AddressMissing),
    };
    let is_ours = |address: &IpAddr| address.is_ipv4() == local.address.is_ipv4();
    let address = match [Some(first), media.alternative].into_iter().flatten().find(is_ours) {
        Some(address) => address,
        // Hold the old way is often written 0.0.0.0 where all else is IPv6.
        None if first.is_unspecified() => unspecified_like(local.address),
        None => return Err(SdpError::AddressFamily),
    };
    if is_unicast(address) { Ok(address) } else { Err(SdpError::AddressNotUnicast) }
}

const fn unspecified_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Whether one host at most is meant. A stream to more would make an amplifier of us.
fn is_unicast(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_multicast() && !is_broadcast
}

/// The next port at the address of RTP, unless `a=rtcp` names a better place. Its address counts only where it is one that
/// we could also send RTP to.
fn rtcp(media: &Media, address: IpAddr) -> SocketAddr {
    let (port, other) = match media.rtcp {
        Some((port, other)) => (port, other),
        None => (media.port.saturating_add(1), None),
    };
    let usable = |other: &IpAddr| other.is_ipv4() == address.is_ipv4() && is_unicast(*other) && !other.is_unspecified();
    SocketAddr::new(other.filter(usable).unwrap_or(address), port)
}

fn telephone_event(media: &Media, local: &Local) -> Option<u8> {
    let ours = local.telephone_event?;
    let named = media.formats.iter().find(|format| format.encoding == Encoding::TelephoneEvent);
    // Answers often leave the rtpmap away when they repeat the offer's number.
    let repeated = |format: &&super::Format| format.encoding == Encoding::Unmapped && format.payload_type == ours;
    let format = named.or_else(|| media.formats.iter().find(repeated))?;
    Some(format.payload_type)
}

/// Whether an answer gives telephone-event another number than `ours`, and `ours` no other meaning.
fn is_renamed(media: &Media, telephone_event: Option<u8>, ours: u8) -> bool {
    let has_other_meaning = |format: &super::Format| match format.encoding {
        Encoding::Audio(_) | Encoding::Unknown => format.payload_type == ours,
        Encoding::TelephoneEvent | Encoding::Unmapped => false,
    };
    telephone_event.is_some_and(|theirs| theirs != ours) && !media.formats.iter().any(has_other_meaning)
}

/// The peer's wish within what both can, in milliseconds.
fn ptime(media: &Media, local: &Local) -> u8 {
    let wish = media.ptime_ms.unwrap_or(u16::from(local.ptime_ms)).min(media.max_ptime_ms.unwrap_or(u16::MAX));
    u8::try_from(wish.clamp(*PTIME.start(), *PTIME.end())).unwrap_or(local.ptime_ms)
}

const fn both(one: Direction, other: Direction) -> Direction {
    Direction { send: one.send && other.send, receive: one.receive && other.receive }
}
