//! The RTP header: read, checked, and written anew in place (RFC 3550 §5.1).
//!
//! ```text
//!    0                   1                   2                   3
//!   |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//!   |                           timestamp                           |
//!   |                             SSRC                              |
//!   |      CSRC list (CC words)     |  extension (X)  |   payload   |  padding (P)
//! ```
//!
//! Of all this only the payload goes on. The twelve bytes that leave are ours and stand right before the payload, so CSRCs,
//! header extension and padding, all of which can tell one party who the other is, fall away without moving the audio.

use rtp_rs::{RtpReader, RtpReaderError};
use std::ops::Range;

/// Length of the fixed header in bytes.
pub const HEADER_LEN: usize = 12;

/// Longest packet that is looked at: an Ethernet frame's worth.
pub const MAX_PACKET: usize = 1500;

/// Payload type of comfort noise (RFC 3389).
pub const COMFORT_NOISE: u8 = 13;

/// Static payload type of µ-law (RFC 3551 §6).
pub const PCMU: u8 = 0;

/// Static payload type of A-law (RFC 3551 §6).
pub const PCMA: u8 = 8;

/// The fixed header without what is always the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// 0-127.
    pub payload_type: u8,
    /// First packet after a silence; for telephone-event the first of an event.
    pub marker: bool,
    /// Sequence number, wraps.
    pub sequence_number: u16,
    /// Timestamp in samples of 1/8,000 s, wraps.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

/// Why bytes are not an RTP packet that we take.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ParseError {
    /// Fewer than twelve bytes.
    TooShort,
    /// More than [`MAX_PACKET`] bytes.
    TooLong,
    /// The version is not 2.
    Version,
    /// CSRC list or header extension run past the end.
    HeaderTruncated,
    /// The padding length is zero or longer than what is there.
    Padding,
}

impl ParseError {
    /// Every variant.
    pub const ALL: [ParseError; 5] = [
        ParseError::TooShort,
        ParseError::TooLong,
        ParseError::Version,
        ParseError::HeaderTruncated,
        ParseError::Padding,
    ];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            ParseError::TooShort => "too_short",
            ParseError::TooLong => "too_long",
            ParseError::Version => "version",
            ParseError::HeaderTruncated => "header_truncated",
            ParseError::Padding => "padding",
        }
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

impl std::error::Error for ParseError {}

/// Reads a packet: its header and where its payload lies, CSRCs, extension and padding cut off. The payload begins at byte
/// 12 or later and may be empty.
///
/// # Errors
///
/// A [`ParseError`] for each way in which the bytes are not RTP version 2.
pub fn parse(packet: &[u8]) -> Result<(Header, Range<usize>), ParseError> {
    if packet.len() > MAX_PACKET {
        return Err(ParseError::TooLong);
    }
    let reader = RtpReader::new(packet).map_err(|error| match error {
        RtpReaderError::BufferTooShort(_) => ParseError::TooShort,
        RtpReaderError::UnsupportedVersion(_) => ParseError::Version,
        RtpReaderError::HeadersTruncated { .. } => ParseError::HeaderTruncated,
        RtpReaderError::PaddingLengthInvalid(_) => ParseError::Padding,
    })?;
    let header = Header {
        payload_type: reader.payload_type(),
        marker: reader.mark(),
        sequence_number: u16::from(reader.sequence_number()),
        timestamp: reader.timestamp(),
        ssrc: reader.ssrc(),
    };
    let start = reader.payload_offset();
    let end = packet.len() - usize::from(reader.padding().unwrap_or(0));
    Ok((header, start..end))
}

impl Header {
    /// The twelve bytes of the header: version 2, no padding, no extension, no CSRC.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = 0x80;
        bytes[1] = (self.payload_type & 0x7f) | if self.marker { 0x80 } else { 0 };
        bytes[2..4].copy_from_slice(&self.sequence_number.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes
    }

    /// Writes the header right before the payload and returns where the packet now lies; `None` when there is no room for it.
    pub fn write_before(&self, packet: &mut [u8], payload: Range<usize>) -> Option<Range<usize>> {
        let start = payload.start.checked_sub(HEADER_LEN)?;
        packet.get_mut(start..payload.start)?.copy_from_slice(&self.to_bytes());
        Some(start..payload.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const HEADER: Header =
        Header { payload_type: 8, marker: true, sequence_number: 0xfffe, timestamp: 0x0102_0304, ssrc: 0xdead_beef };

    fn packet(payload: &[u8]) -> Vec<u8> {
        [&HEADER.to_bytes()[..], payload].concat()
    }

    #[test]
    fn a_header_is_written_as_it_stands_in_the_rfc_and_read_back() {
        let bytes = packet(b"audio");
        assert_eq!(&bytes[..12], &[0x80, 0x88, 0xff, 0xfe, 1, 2, 3, 4, 0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(parse(&bytes), Ok((HEADER, 12..17)));
        assert_eq!(parse(&bytes[..12]), Ok((HEADER, 12..12)));
    }

    #[test]
    fn csrcs_extension_and_padding_are_cut_off() {
        let mut bytes = packet(&[]);
        bytes[0] |= 0x20 | 0x10 | 2;
        bytes.extend([0xc5; 8]);
        bytes.extend([0xbe, 0xde, 0, 1, 0xe7, 0xe7, 0xe7, 0xe7]);
        bytes.extend(b"audio");
        bytes.extend([0, 0, 3]);
        let (header, payload) = parse(&bytes).unwrap();
        assert_eq!(&bytes[payload.clone()], b"audio");
        let range = header.write_before(&mut bytes, payload).unwrap();
        assert_eq!(&bytes[range], packet(b"audio"));
    }

    #[test]
    fn every_way_of_not_being_rtp_has_its_name() {
        let good = packet(&[0; 4]);
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            parse(&bytes)
        };
        assert_eq!(parse(&[]), Err(ParseError::TooShort));
        assert_eq!(parse(&good[..11]), Err(ParseError::TooShort));
        assert_eq!(parse(&packet(&[0; 1489])), Err(ParseError::TooLong));
        assert!(parse(&packet(&[0; 1488])).is_ok());
        for first in [0x00, 0x40, 0xc0] {
            assert_eq!(with(0, first), Err(ParseError::Version));
        }
        assert_eq!(with(0, 0x82), Err(ParseError::HeaderTruncated), "two CSRCs in four bytes");
        let mut extension = packet(&[0xbe, 0xde, 0, 1]);
        extension[0] |= 0x10;
        assert_eq!(
            parse(&extension),
            Err(ParseError::HeaderTruncated),
            "an extension of four bytes that are not there"
        );
        extension[14..16].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(parse(&extension), Err(ParseError::HeaderTruncated));
        let mut padded = good.clone();
        padded[0] |= 0x20;
        for (last, result) in [(0, Err(ParseError::Padding)), (5, Err(ParseError::Padding)), (4, Ok((HEADER, 12..12)))]
        {
            padded[15] = last;
            assert_eq!(parse(&padded), result);
        }
        let mut empty = packet(&[]);
        empty[0] |= 0x20;
        assert_eq!(parse(&empty), Err(ParseError::HeaderTruncated), "padding, but nothing to pad");
    }

    #[test]
    fn random_bytes_never_panic_and_a_payload_always_lies_inside() {
        let mut random = Random::new(3550);
        for _ in 0..200_000 {
            let len = (random.next_u32() % 64) as usize;
            let mut bytes: Vec<u8> = (0..len).map(|_| random.next_u32() as u8).collect();
            if let Some(first) = bytes.first_mut() {
                *first = (*first & 0x3f) | 0x80;
            }
            if let Ok((header, payload)) = parse(&bytes) {
                assert!(HEADER_LEN <= payload.start && payload.start <= payload.end && payload.end <= len);
                assert!(header.write_before(&mut bytes, payload).is_some());
            }
        }
    }

    #[test]
    fn a_header_is_not_written_where_there_is_no_room() {
        assert_eq!(HEADER.write_before(&mut [0; 20], 11..20), None);
        assert_eq!(HEADER.write_before(&mut [0; 20], 40..50), None);
    }

    #[test]
    fn labels_are_distinct() {
        let labels: std::collections::BTreeSet<_> = ParseError::ALL.iter().map(|error| error.label()).collect();
        assert_eq!(labels.len(), ParseError::ALL.len());
    }
}
