//! Session descriptions: what a peer says of its media, what we say, and what both settle (RFC 8866, RFC 3264).
//!
//! ```text
//!   v=0                                      ┐
//!   o=- 4711 1 IN IP4 192.0.2.1              │ session level: of all this only c= and the direction are read
//!   s=-                                      │
//!   c=IN IP4 192.0.2.1                       │
//!   t=0 0                                    ┘
//!   m=audio 30000 RTP/AVP 8 0 101            ┐ media level: repeated for each m=
//!   a=rtpmap:101 telephone-event/8000        │
//!   a=sendrecv                               ┘
//! ```
//!
//! Nothing of a description that came in goes out again, but for the media type, protocol and formats of an m= line that is
//! refused (RFC 3264 §6 wants them back) and the payload type numbers of the one that is kept. Answers thus cannot carry a
//! name or an address from one leg; and a description for the other leg is not made from a peer's at all.
//!
//! The reader is ours: those on offer turn away a whole description for one GBK byte, a missing `s=` or a line out of order,
//! and carriers send all of these.

use crate::{Codec, Direction, LegFormat};
use std::net::{IpAddr, SocketAddr};

mod negotiate;
mod parse;
#[cfg(test)]
mod tests;
mod write;

pub use negotiate::{accept_answer, answer};
pub use parse::parse;
pub use write::write_offer;

/// Most lines in a description; blank ones do not count.
pub const MAX_LINES: usize = 256;

/// Longest line in bytes.
pub const MAX_LINE: usize = 2048;

/// Most m= lines.
pub const MAX_MEDIA: usize = 16;

/// Most formats in an m= line.
pub const MAX_FORMATS: usize = 64;

/// The payload type that we offer telephone-event/8000 with, unless another has been settled.
pub const TELEPHONE_EVENT: u8 = 101;

/// What a peer said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Description {
    /// The m= lines in order; at most [`MAX_MEDIA`].
    pub media: Vec<Media>,
}

/// One m= line and what belongs to it, the session level's values filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Media {
    /// `audio`, `video` …: a token of visible ASCII.
    pub media_type: Box<[u8]>,
    /// RTP port; 0 refuses the stream.
    pub port: u16,
    /// `RTP/AVP` …: a token of visible ASCII.
    pub protocol: Box<[u8]>,
    /// The format list as tokens of visible ASCII with one blank between them; may be empty.
    pub format_list: Box<[u8]>,
    /// The payload types among the formats in order, and what each means; at most [`MAX_FORMATS`].
    pub formats: Vec<Format>,
    /// Where the peer wants its media.
    pub address: Address,
    /// An address of the other IP version, where a second c= line beside that of [`Media::address`] has one.
    pub alternative: Option<IpAddr>,
    /// Where the peer wants its RTCP, as far as `a=rtcp` says so (RFC 3605).
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    /// What the peer does.
    pub direction: Attribute,
    /// The packet time that the peer would like (`a=ptime`), in milliseconds.
    pub ptime_ms: Option<u16>,
    /// The longest packet time that it can take (`a=maxptime`), in milliseconds.
    pub max_ptime_ms: Option<u16>,
}

/// A payload type of an m= line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// 0-127.
    pub payload_type: u8,
    /// What it stands for in this m= line, by `a=rtpmap` or else by RFC 3551.
    pub encoding: Encoding,
}

/// What a payload type stands for, as far as we understand it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// PCMA/8000 or PCMU/8000, one channel.
    Audio(Codec),
    /// telephone-event/8000 (RFC 4733).
    TelephoneEvent,
    /// A dynamic number (96-127) without `a=rtpmap`.
    Unmapped,
    /// Anything else.
    Unknown,
}

/// The address of a c= line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// An IP address; 0.0.0.0 is the old way to put on hold (RFC 3264 §8.4).
    Ip(IpAddr),
    /// A host name, or nothing that can be read.
    Unsupported,
    /// No c= line, neither here nor at the session level.
    Missing,
}

/// A direction attribute, seen from the one who wrote it (RFC 8866 §6.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Attribute {
    /// Sends and receives: what holds when nothing is said.
    #[default]
    SendRecv,
    /// Sends only: the other party is on hold.
    SendOnly,
    /// Receives only.
    RecvOnly,
    /// Neither.
    Inactive,
}

/// What we say of a leg.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// The address that the peer shall send to, for o= and c=.
    pub address: IpAddr,
    /// The RTP port that the peer shall send to; RTCP is expected on the next.
    pub port: u16,
    /// `sess-id` of o=: random, constant for a dialog.
    pub session_id: u64,
    /// `sess-version` of o=: one more for each description that differs from the last of the dialog.
    pub version: u64,
    /// What we can, most wanted first; each at most once.
    pub codecs: Vec<Codec>,
    /// The payload type to offer telephone-event/8000 with, usually [`TELEPHONE_EVENT`]; `None` neither offers nor accepts it.
    pub telephone_event: Option<u8>,
    /// The packet time that we would like and send prompts with when the peer has no wish, in milliseconds (10-60).
    pub ptime_ms: u8,
    /// What we would do; an answer never does more than this.
    pub direction: Direction,
    /// The dialog's other m= lines.
    pub beside: Beside,
}

/// The m= lines that stand beside the audio in a dialog, all refused. None ever goes away or moves (RFC 3264 §8), so an offer
/// of ours says them again in their places.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Beside {
    before: Vec<Refused>,
    after: Vec<Refused>,
}

/// A refused m= line: its port is 0.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Refused {
    media_type: Box<[u8]>,
    protocol: Box<[u8]>,
    format_list: Box<[u8]>,
}

impl Beside {
    /// Those of a peer's offer, of whose m= lines the one at `kept` was answered ([`Negotiated::place`]).
    #[must_use]
    pub fn of(offer: &Description, kept: usize) -> Beside {
        let refused = |media: &Media| Refused {
            media_type: media.media_type.clone(),
            protocol: media.protocol.clone(),
            format_list: media.format_list.clone(),
        };
        Beside {
            before: offer.media.iter().take(kept).map(refused).collect(),
            after: offer.media.iter().skip(kept + 1).map(refused).collect(),
        }
    }
}

/// What offer and answer settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Where the peer wants its RTP. Unspecified (0.0.0.0) when the peer is on hold the old way: `direction.send` is false
    /// then.
    pub rtp: SocketAddr,
    /// Where the peer wants its RTCP.
    pub rtcp: SocketAddr,
    /// The one audio format, and telephone-event's payload type.
    pub format: LegFormat,
    /// What we do.
    pub direction: Direction,
    /// Which m= line of the description it is, from 0.
    pub place: usize,
}

/// Why a description is refused: by the reader, or by the negotiation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SdpError {
    /// Neither a v= nor an m= line.
    NotSdp,
    /// More than [`MAX_LINES`].
    TooManyLines,
    /// A line beyond [`MAX_LINE`].
    LineTooLong,
    /// More than [`MAX_MEDIA`] m= lines.
    TooManyMedia,
    /// More than [`MAX_FORMATS`] formats in an m= line.
    TooManyFormats,
    /// An m= line that lacks something or holds other than visible ASCII.
    MalformedMedia,
    /// The port of an m= line is not a number of 0-65,535.
    MalformedPort,
    /// No audio over RTP/AVP or RTP/AVPF that is not refused by its port 0.
    NoCommonMedia,
    /// Audio, but neither PCMA nor PCMU as far as we may use it.
    NoCommonCodec,
    /// No c= line for the audio.
    AddressMissing,
    /// The c= line of the audio holds no IP address.
    AddressNotIp,
    /// The c= lines of the audio are of the other IP version.
    AddressFamily,
    /// The c= line of the audio is a multicast or broadcast address.
    AddressNotUnicast,
    /// An answer with more or fewer m= lines than the offer.
    MediaCount,
    /// An answer that refuses the audio.
    MediaRefused,
    /// An answer without any audio format that was offered.
    FormatNotOffered,
}

impl SdpError {
    /// Every variant.
    pub const ALL: [SdpError; 16] = [
        SdpError::NotSdp,
        SdpError::TooManyLines,
        SdpError::LineTooLong,
        SdpError::TooManyMedia,
        SdpError::TooManyFormats,
        SdpError::MalformedMedia,
        SdpError::MalformedPort,
        SdpError::NoCommonMedia,
        SdpError::NoCommonCodec,
        SdpError::AddressMissing,
        SdpError::AddressNotIp,
        SdpError::AddressFamily,
        SdpError::AddressNotUnicast,
        SdpError::MediaCount,
        SdpError::MediaRefused,
        SdpError::FormatNotOffered,
    ];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            SdpError::NotSdp => "not_sdp",
            SdpError::TooManyLines => "too_many_lines",
            SdpError::LineTooLong => "line_too_long",
            SdpError::TooManyMedia => "too_many_media",
            SdpError::TooManyFormats => "too_many_formats",
            SdpError::MalformedMedia => "malformed_media",
            SdpError::MalformedPort => "malformed_port",
            SdpError::NoCommonMedia => "no_common_media",
            SdpError::NoCommonCodec => "no_common_codec",
            SdpError::AddressMissing => "address_missing",
            SdpError::AddressNotIp => "address_not_ip",
            SdpError::AddressFamily => "address_family",
            SdpError::AddressNotUnicast => "address_not_unicast",
            SdpError::MediaCount => "media_count",
            SdpError::MediaRefused => "media_refused",
            SdpError::FormatNotOffered => "format_not_offered",
        }
    }

    /// Whether the bytes could not be read (400), rather than that there is nothing in them that both have (488).
    #[must_use]
    pub const fn is_malformed(self) -> bool {
        match self {
            SdpError::NotSdp
            | SdpError::TooManyLines
            | SdpError::LineTooLong
            | SdpError::TooManyMedia
            | SdpError::TooManyFormats
            | SdpError::MalformedMedia
            | SdpError::MalformedPort => true,
            SdpError::NoCommonMedia
            | SdpError::NoCommonCodec
            | SdpError::AddressMissing
            | SdpError::AddressNotIp
            | SdpError::AddressFamily
            | SdpError::AddressNotUnicast
            | SdpError::MediaCount
            | SdpError::MediaRefused
            | SdpError::FormatNotOffered => false,
        }
    }
}

impl std::fmt::Display for SdpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

impl std::error::Error for SdpError {}

impl Attribute {
    /// What the other party does.
    #[must_use]
    pub const fn mirrored(self) -> Attribute {
        match self {
            Attribute::SendRecv => Attribute::SendRecv,
            Attribute::SendOnly => Attribute::RecvOnly,
            Attribute::RecvOnly => Attribute::SendOnly,
            Attribute::Inactive => Attribute::Inactive,
        }
    }

    /// The attribute's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Attribute::SendRecv => "sendrecv",
            Attribute::SendOnly => "sendonly",
            Attribute::RecvOnly => "recvonly",
            Attribute::Inactive => "inactive",
        }
    }
}

impl From<Direction> for Attribute {
    fn from(direction: Direction) -> Attribute {
        match (direction.send, direction.receive) {
            (true, true) => Attribute::SendRecv,
            (true, false) => Attribute::SendOnly,
            (false, true) => Attribute::RecvOnly,
            (false, false) => Attribute::Inactive,
        }
    }
}

impl From<Attribute> for Direction {
    fn from(attribute: Attribute) -> Direction {
        let (send, receive) = match attribute {
            Attribute::SendRecv => (true, true),
            Attribute::SendOnly => (true, false),
            Attribute::RecvOnly => (false, true),
            Attribute::Inactive => (false, false),
        };
        Direction { send, receive }
    }
}

impl Media {
    /// Whether it is audio over plain RTP, refused or not.
    #[must_use]
    pub fn is_rtp_audio(&self) -> bool {
        self.media_type.eq_ignore_ascii_case(b"audio")
            && (self.protocol.eq_ignore_ascii_case(b"RTP/AVP") || self.protocol.eq_ignore_ascii_case(b"RTP/AVPF"))
    }
}
