//! Writes our descriptions, each from nothing (RFC 8866 §5).

use super::{Attribute, Local, Media, Negotiated};
use crate::{Codec, Direction, LegFormat, rtp};
use std::io::Write as _;

/// Appends an offer: an audio line with every codec that we can, and telephone-event, in its place among those that the dialog
/// has refused.
pub fn write_offer(local: &Local, out: &mut Vec<u8>) {
    session(out, local);
    for line in &local.beside.before {
        refused(out, &line.media_type, &line.protocol, &line.format_list);
    }
    media(out, local, "RTP/AVP", &formats(local), local.ptime_ms, local.direction);
    for line in &local.beside.after {
        refused(out, &line.media_type, &line.protocol, &line.format_list);
    }
}

/// Appends the answer to `offered`, of whose m= lines the one at `kept` is kept as `negotiated` says.
pub(super) fn write_answer(local: &Local, offered: &[Media], kept: usize, negotiated: &Negotiated, out: &mut Vec<u8>) {
    session(out, local);
    for (place, theirs) in offered.iter().enumerate() {
        if place == kept {
            let LegFormat { codec, payload_type, telephone_event, ptime_ms, telephone_event_offered: _ } =
                negotiated.format;
            let mut formats = vec![(payload_type, name(codec))];
            formats.extend(telephone_event.map(|payload_type| (payload_type, TELEPHONE_EVENT)));
            let feedback = theirs.protocol.eq_ignore_ascii_case(b"RTP/AVPF");
            let protocol = if feedback { "RTP/AVPF" } else { "RTP/AVP" };
            media(out, local, protocol, &formats, ptime_ms, negotiated.direction);
        } else {
            refused(out, &theirs.media_type, &theirs.protocol, &theirs.format_list);
        }
    }
}

/// The payload types that we offer and their names.
fn formats(local: &Local) -> Vec<(u8, &'static str)> {
    let audio = local.codecs.iter().map(|codec| (static_payload_type(*codec), name(*codec)));
    audio.chain(local.telephone_event.map(|payload_type| (payload_type, TELEPHONE_EVENT))).collect()
}

const fn static_payload_type(codec: Codec) -> u8 {
    match codec {
        Codec::Pcma => rtp::PCMA,
        Codec::Pcmu => rtp::PCMU,
    }
}

const TELEPHONE_EVENT: &str = "telephone-event";

const fn name(codec: Codec) -> &'static str {
    match codec {
        Codec::Pcma => "PCMA",
        Codec::Pcmu => "PCMU",
    }
}

fn session(out: &mut Vec<u8>, local: &Local) {
    let Local { address, session_id, version, .. } = local;
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    line(out, format_args!("v=0"));
    line(out, format_args!("o=- {session_id} {version} IN {family} {address}"));
    line(out, format_args!("s=-"));
    line(out, format_args!("c=IN {family} {address}"));
    line(out, format_args!("t=0 0"));
}

fn media(out: &mut Vec<u8>, local: &Local, protocol: &str, formats: &[(u8, &str)], ptime_ms: u8, direction: Direction) {
    text(out, format_args!("m=audio {} {protocol}", local.port));
    for (payload_type, _) in formats {
        text(out, format_args!(" {payload_type}"));
    }
    line(out, format_args!(""));
    for (payload_type, name) in formats {
        line(out, format_args!("a=rtpmap:{payload_type} {name}/8000"));
        if *name == TELEPHONE_EVENT {
            line(out, format_args!("a=fmtp:{payload_type} 0-15"));
        }
    }
    line(out, format_args!("a=ptime:{ptime_ms}"));
    line(out, format_args!("a={}", Attribute::from(direction).as_str()));
}

/// An m= line that is refused: type, protocol and formats are the offer's (RFC 3264 §6), which the reader has checked to be
/// visible ASCII.
fn refused(out: &mut Vec<u8>, media_type: &[u8], protocol: &[u8], format_list: &[u8]) {
    out.extend_from_slice(b"m=");
    out.extend_from_slice(media_type);
    out.extend_from_slice(b" 0 ");
    out.extend_from_slice(protocol);
    out.push(b' ');
    // The grammar wants one format at least.
    out.extend_from_slice(if format_list.is_empty() { b"0" } else { format_list });
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    text(out, arguments);
    out.extend_from_slice(b"\r\n");
}

fn text(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a Vec takes every byte, and numbers and strings print without error");
}
