//! RTCP, terminated on each leg: reports are written for the leg and read from it, nothing crosses (RFC 3550 §6).
//!
//! ```text
//!   V=2 P  RC │ PT 200 SR, 201 RR │ length in words − 1 │ SSRC
//!   SR only:    NTP timestamp (64) │ RTP timestamp │ packets sent │ octets sent
//!   RC times:   SSRC │ fraction lost, lost (24) │ highest sequence │ jitter │ last SR │ delay since last SR
//!   then        PT 202 SDES: SSRC │ CNAME
//! ```

use crate::reception::Figures;
use std::time::Duration;

/// Seconds from the NTP era (1900) to the UNIX epoch.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// Length of our CNAME: hexadecimal digits.
pub(crate) const CNAME_LEN: usize = 16;

/// Longest compound packet that we write: SR with one block, SDES with the CNAME.
pub(crate) const MAX_REPORT: usize = 28 + 24 + 28;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const CNAME: u8 = 1;

/// Why bytes are not a compound RTCP packet (RFC 3550 §A.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ParseError {
    /// Fewer than eight bytes.
    TooShort,
    /// A version is not 2.
    Version,
    /// The first packet is neither sender nor receiver report.
    FirstPacket,
    /// The lengths do not add up.
    Length,
    /// A report is shorter than its count of blocks demands.
    ReportTruncated,
    /// Padding in a packet that is not the last.
    Padding,
}

impl ParseError {
    /// Every variant.
    pub const ALL: [ParseError; 6] = [
        ParseError::TooShort,
        ParseError::Version,
        ParseError::FirstPacket,
        ParseError::Length,
        ParseError::ReportTruncated,
        ParseError::Padding,
    ];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            ParseError::TooShort => "too_short",
            ParseError::Version => "version",
            ParseError::FirstPacket => "first_packet",
            ParseError::Length => "length",
            ParseError::ReportTruncated => "report_truncated",
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

/// What is of interest in a compound packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Received {
    /// The sender report, if there is one.
    pub sender: Option<SenderReport>,
    /// What the other end says of our stream, if it does.
    pub about_us: Option<Block>,
    /// How many BYE packets are in it.
    pub byes: u32,
}

/// The two fields of a sender report that our next report answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderReport {
    /// Who sent it.
    pub ssrc: u32,
    /// Middle 32 bits of its NTP timestamp.
    pub ntp_middle: u32,
}

/// A report block about one of our streams (RFC 3550 §6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Lost since the report before, as a fraction of 256.
    pub fraction_lost: u8,
    /// Jitter in timestamp units (8 a millisecond).
    pub jitter: u32,
    /// Middle 32 bits of the NTP timestamp of our last sender report; 0 when none has come.
    pub last_sr: u32,
    /// Time between receiving that and sending this, in 1/65,536 s.
    pub delay: u32,
}

/// Reads a compound packet; only blocks about `our_ssrc` are looked at.
///
/// # Errors
///
/// A [`ParseError`] for each rule of §A.2 that is broken; nothing of such a packet is used.
pub fn parse(bytes: &[u8], our_ssrc: u32) -> Result<Received, ParseError> {
    if bytes.len() < 8 {
        return Err(ParseError::TooShort);
    }
    let mut received = Received::default();
    let mut rest = bytes;
    let mut first = true;
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        if head[0] >> 6 != 2 {
            return Err(ParseError::Version);
        }
        let len = (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1) * 4;
        let (packet, after) = rest.split_at_checked(len).ok_or(ParseError::Length)?;
        if head[0] & 0x20 != 0 && !after.is_empty() {
            return Err(ParseError::Padding);
        }
        let reports = usize::from(head[0] & 0x1f);
        match head[1] {
            SENDER_REPORT => received.on_sender_report(packet, reports, our_ssrc)?,
            RECEIVER_REPORT => received.on_blocks(packet.get(8..), reports, our_ssrc)?,
            _ if first => return Err(ParseError::FirstPacket),
            GOODBYE => received.byes += 1,
            // SDES, APP, feedback and whatever else is defined: not for us, and not passed on.
            _ => {}
        }
        first = false;
        rest = after;
    }
    if rest.is_empty() { Ok(received) } else { Err(ParseError::Length) }
}

impl Received {
    fn on_sender_report(&mut self, packet: &[u8], reports: usize, our_ssrc: u32) -> Result<(), ParseError> {
        let (Some(ssrc), Some(ntp_middle)) = (word(packet, 4), word(packet, 10)) else {
            return Err(ParseError::ReportTruncated);
        };
        self.on_blocks(packet.get(28..), reports, our_ssrc)?;
        self.sender = Some(SenderReport { ssrc, ntp_middle });
        Ok(())
    }

    fn on_blocks(&mut self, blocks: Option<&[u8]>, reports: usize, our_ssrc: u32) -> Result<(), ParseError> {
        let blocks = blocks.and_then(|blocks| blocks.get(..reports * 24)).ok_or(ParseError::ReportTruncated)?;
        for block in blocks.chunks_exact(24) {
            let fields = [0, 4, 12, 16, 20].map(|at| word(block, at).unwrap_or(0));
            let [ssrc, loss, jitter, last_sr, delay] = fields;
            if ssrc == our_ssrc {
                self.about_us = Some(Block { fraction_lost: (loss >> 24) as u8, jitter, last_sr, delay });
            }
        }
        Ok(())
    }
}

impl Block {
    /// The round trip that the block tells (RFC 3550 §6.4.1): `None` without a last SR, or when the figures cannot be true
    /// (negative, or longer than a minute).
    #[must_use]
    pub fn round_trip(&self, ntp_now: u64) -> Option<Duration> {
        if self.last_sr == 0 {
            return None;
        }
        let units = ntp_middle(ntp_now).wrapping_sub(self.last_sr).wrapping_sub(self.delay);
        let round_trip = units_to_duration(units);
        (round_trip <= Duration::from_secs(60)).then_some(round_trip)
    }
}

/// NTP timestamp (seconds since 1900 in the upper 32 bits, fraction in the lower) of a time since the UNIX epoch.
#[must_use]
pub fn ntp(unix: Duration) -> u64 {
    let seconds = unix.as_secs().wrapping_add(NTP_TO_UNIX) & 0xffff_ffff;
    (seconds << 32) | ((u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000)
}

/// The middle 32 bits of an NTP timestamp: 16 of seconds, 16 of fraction.
#[must_use]
pub const fn ntp_middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// What we have sent, for a sender report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) ntp: u64,
    pub(crate) timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

/// What we have received, for a report block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    pub(crate) figures: Figures,
    /// Middle NTP of the last SR, and how long ago it came.
    pub(crate) last_sr: Option<(u32, Duration)>,
}

/// A compound packet written by us.
pub(crate) struct Report {
    bytes: [u8; MAX_REPORT],
    len: usize,
}

impl Report {
    /// SR when `sent` is given, else RR; a block when `heard` is given; SDES with nothing but the CNAME.
    pub(crate) fn new(ssrc: u32, sent: Option<Sent>, heard: Option<Heard>, cname: &[u8; CNAME_LEN]) -> Report {
        let mut report = Report { bytes: [0; MAX_REPORT], len: 0 };
        let (packet_type, sender_words) = if sent.is_some() { (SENDER_REPORT, 5) } else { (RECEIVER_REPORT, 0) };
        let (count, block_words) = if heard.is_some() { (1, 6) } else { (0, 0) };
        report.put(&[0x80 | count, packet_type, 0, 1 + sender_words + block_words]);
        report.put(&ssrc.to_be_bytes());
        if let Some(sent) = sent {
            report.put(&sent.ntp.to_be_bytes());
            report.put(&sent.timestamp.to_be_bytes());
            report.put(&sent.packets.to_be_bytes());
            report.put(&sent.octets.to_be_bytes());
        }
        if let Some(heard) = heard {
            report.put_block(&heard);
        }
        // Chunk: SSRC, type, length, 16 bytes, and at least one zero up to a whole word.
        report.put(&[0x81, SOURCE_DESCRIPTION, 0, 6]);
        report.put(&ssrc.to_be_bytes());
        report.put(&[CNAME, CNAME_LEN as u8]);
        report.put(cname);
        report.put(&[0, 0]);
        report
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn put_block(&mut self, heard: &Heard) {
        let Figures { ssrc, fraction_lost, cumulative_lost, highest_sequence, jitter } = heard.figures;
        let (last_sr, delay) = heard.last_sr.map_or((0, 0), |(last_sr, ago)| (last_sr, duration_to_units(ago)));
        self.put(&ssrc.to_be_bytes());
        self.put(&((u32::from(fraction_lost) << 24) | (cumulative_lost as u32 & 0xff_ffff)).to_be_bytes());
        self.put(&highest_sequence.to_be_bytes());
        self.put(&jitter.to_be_bytes());
        self.put(&last_sr.to_be_bytes());
        self.put(&delay.to_be_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        // MAX_REPORT is the sum of all that `new` writes, so this never cuts.
        if let Some(place) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

/// Units of 1/65,536 s, at most what 32 bits hold (18 hours).
fn duration_to_units(duration: Duration) -> u32 {
    u32::try_from((duration.as_micros() << 16) / 1_000_000).unwrap_or(u32::MAX)
}

fn units_to_duration(units: u32) -> Duration {
    Duration::from_micros((u64::from(units) * 1_000_000) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const SSRC: u32 = 0x1122_3344;

    fn sent() -> Sent {
        Sent { ntp: 0xe000_0001_8000_0000, timestamp: 160, packets: 7, octets: 1120 }
    }

    fn heard() -> Heard {
        let figures =
            Figures { ssrc: 0xa, fraction_lost: 64, cumulative_lost: -2, highest_sequence: 0x1_0005, jitter: 9 };
        Heard { figures, last_sr: Some((0x0102_0304, Duration::from_millis(500))) }
    }

    fn report(sent: Option<Sent>, heard: Option<Heard>) -> Vec<u8> {
        Report::new(SSRC, sent, heard, b"0123456789abcdef").as_bytes().to_vec()
    }

    #[test]
    fn a_sender_report_with_a_block_is_written_as_it_stands_in_the_rfc() {
        let mut expected = vec![0x81, 200, 0, 12, 0x11, 0x22, 0x33, 0x44];
        expected.extend([0xe0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 160, 0, 0, 0, 7, 0, 0, 4, 0x60]);
        expected.extend([0, 0, 0, 0xa, 64, 0xff, 0xff, 0xfe, 0, 1, 0, 5, 0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 0x80, 0]);
        expected.extend([0x81, 202, 0, 6, 0x11, 0x22, 0x33, 0x44, 1, 16]);
        expected.extend(b"0123456789abcdef\0\0");
        assert_eq!(report(Some(sent()), Some(heard())), expected);
        assert_eq!(expected.len(), MAX_REPORT);
    }

    #[test]
    fn every_shape_of_our_reports_is_a_valid_compound_packet() {
        for (sent, heard, packet_type) in [
            (None, None, RECEIVER_REPORT),
            (None, Some(heard()), RECEIVER_REPORT),
            (Some(sent()), None, SENDER_REPORT),
            (Some(sent()), Some(heard()), SENDER_REPORT),
        ] {
            let bytes = report(sent, heard);
            assert_eq!(bytes[1], packet_type);
            let received = parse(&bytes, 0xa).unwrap();
            assert_eq!(
                received.sender.map(|sender| (sender.ssrc, sender.ntp_middle)),
                sent.map(|_| (SSRC, 0x0001_8000))
            );
            let block = Block { fraction_lost: 64, jitter: 9, last_sr: 0x0102_0304, delay: 0x8000 };
            assert_eq!(received.about_us, heard.map(|_| block));
            assert_eq!(parse(&bytes, 0xb).unwrap().about_us, None, "a block about somebody else");
        }
    }

    #[test]
    fn goodbyes_are_counted_and_unknown_packets_passed_over() {
        let mut bytes = report(None, None);
        bytes.extend([0x81, GOODBYE, 0, 1, 0, 0, 0, 1]);
        bytes.extend([0x80, 207, 0, 2, 0, 0, 0, 1, 9, 9, 9, 9]);
        bytes.extend([0x80, GOODBYE, 0, 0]);
        assert_eq!(parse(&bytes, SSRC).unwrap().byes, 2);
    }

    #[test]
    fn every_broken_rule_has_its_name() {
        let good = report(Some(sent()), Some(heard()));
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            parse(&bytes, 0)
        };
        assert_eq!(parse(&good[..7], 0), Err(ParseError::TooShort));
        assert_eq!(parse(&[], 0), Err(ParseError::TooShort));
        assert_eq!(with(0, 0x41), Err(ParseError::Version));
        assert_eq!(with(52, 0x01), Err(ParseError::Version), "of the second packet");
        assert_eq!(with(1, SOURCE_DESCRIPTION), Err(ParseError::FirstPacket));
        assert_eq!(with(2, 0xff), Err(ParseError::Length));
        assert_eq!(parse(&good[..good.len() - 1], 0), Err(ParseError::Length));
        assert_eq!(parse(&[&good[..], &[0x80]].concat(), 0), Err(ParseError::Length));
        assert_eq!(with(0, 0x82), Err(ParseError::ReportTruncated));
        assert_eq!(with(0, 0x9f), Err(ParseError::ReportTruncated));
        assert_eq!(with(0, 0xa1), Err(ParseError::Padding));
        assert_eq!(parse(&[0x80, SENDER_REPORT, 0, 1, 0, 0, 0, 0], 0), Err(ParseError::ReportTruncated));
        assert_eq!(parse(&[0x80, RECEIVER_REPORT, 0, 0, 0, 0, 0, 0], 0), Err(ParseError::ReportTruncated));
        let labels: std::collections::BTreeSet<_> = ParseError::ALL.iter().map(|error| error.label()).collect();
        assert_eq!(labels.len(), ParseError::ALL.len());
    }

    #[test]
    fn random_bytes_and_damaged_reports_never_panic() {
        let mut random = Random::new(3550);
        let good = report(Some(sent()), Some(heard()));
        for _ in 0..100_000 {
            let mut bytes = good.clone();
            for _ in 0..=random.next_u32() % 4 {
                let at = random.next_u32() as usize % bytes.len();
                bytes[at] = random.next_u32() as u8;
            }
            bytes.truncate(random.next_u32() as usize % 100);
            let _ = parse(&bytes, 0xa);
            let noise: Vec<u8> = (0..random.next_u32() % 40).map(|_| random.next_u32() as u8).collect();
            let _ = parse(&noise, 0xa);
        }
    }

    #[test]
    fn ntp_time_is_unix_time_and_seventy_years() {
        assert_eq!(ntp(Duration::ZERO), 2_208_988_800 << 32);
        assert_eq!(ntp(Duration::from_millis(1500)), (2_208_988_801 << 32) | 0x8000_0000);
        assert_eq!(ntp_middle(0x1234_5678_9abc_def0), 0x5678_9abc);
        // The 32 bits of seconds wrap in 2036.
        assert_eq!(ntp(Duration::from_secs(0x1_0000_0000 - NTP_TO_UNIX)) >> 32, 0);
        let _ = ntp(Duration::MAX);
    }

    #[test]
    fn a_round_trip_is_told_only_where_it_can_be_true() {
        let now = ntp(Duration::from_secs(1000));
        let at = |ago_ms: u64| ntp_middle(ntp(Duration::from_millis(1_000_000 - ago_ms)));
        let block = |last_sr, delay| Block { fraction_lost: 0, jitter: 0, last_sr, delay };
        let half_second = block(at(600), 0x8000).round_trip(now).unwrap();
        assert!((99..=101).contains(&half_second.as_millis()), "{half_second:?}");
        assert_eq!(block(0, 5).round_trip(10 << 32), None, "no report of ours has come");
        assert_eq!(block(at(100), 0x8000).round_trip(now), None, "negative");
        assert_eq!(block(at(90_000), 0).round_trip(now), None, "longer than a minute");
        assert_eq!(block(1, u32::MAX).round_trip(now), None);
    }
}
