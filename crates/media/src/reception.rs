//! What a receiver knows of the stream it receives: loss and jitter (RFC 3550 §A.1, §A.3, §A.8).

use crate::rtp::Header;
use std::time::Duration;

/// A forward jump of the sequence number up to this is loss (§A.1).
const MAX_DROPOUT: u16 = 3000;

/// A packet this far behind the newest is reordered (§A.1).
const MAX_MISORDER: u16 = 100;

/// A change of transit time beyond this (10 s in samples) is a new clock, not jitter.
const MAX_TRANSIT_STEP: u32 = 80_000;

/// Reception from one party, over all its SSRCs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reception {
    stream: Option<Stream>,
    /// Loss of the streams before the present one.
    lost_before: u64,
}

#[derive(Clone, Debug)]
struct Stream {
    ssrc: u32,
    base: u32,
    max_sequence: u16,
    cycles: u32,
    received: u32,
    restart: Option<u16>,
    expected_prior: u32,
    received_prior: u32,
    /// Arrival minus timestamp, in samples.
    transit: Option<u32>,
    /// Jitter times 16.
    jitter: u32,
}

/// The figures of a report block (RFC 3550 §6.4.1) that come from reception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Figures {
    pub(crate) ssrc: u32,
    /// Lost since the last report, as a fraction of 256.
    pub(crate) fraction_lost: u8,
    /// Lost since the beginning; 24 bits, signed.
    pub(crate) cumulative_lost: i32,
    pub(crate) highest_sequence: u32,
    /// In samples.
    pub(crate) jitter: u32,
}

impl Reception {
    /// Counts an admitted packet. `steady` says that its timestamp is the time it was spoken at (audio): only such tell
    /// jitter.
    pub(crate) fn on_packet(&mut self, now: Duration, header: &Header, steady: bool) {
        match &mut self.stream {
            Some(stream) if stream.ssrc == header.ssrc => {
                if stream.on_sequence(header.sequence_number) {
                    if steady {
                        stream.on_arrival(now, header.timestamp);
                    }
                    return;
                }
                if stream.restart != Some(header.sequence_number) {
                    stream.restart = Some(header.sequence_number.wrapping_add(1));
                    return;
                }
            }
            Some(_) | None => {}
        }
        self.lost_before = self.lost();
        let mut stream = Stream::new(header);
        if steady {
            stream.on_arrival(now, header.timestamp);
        }
        self.stream = Some(stream);
    }

    /// Packets lost, over all streams; never negative.
    pub(crate) fn lost(&self) -> u64 {
        let here = self.stream.as_ref().map_or(0, Stream::lost);
        self.lost_before.saturating_add(u64::try_from(here).unwrap_or(0))
    }

    /// Jitter of the present stream in microseconds.
    pub(crate) fn jitter_us(&self) -> u32 {
        self.stream.as_ref().map_or(0, |stream| (stream.jitter >> 4).saturating_mul(125))
    }

    /// The figures for a report, which begins a new interval; `None` when nothing has been received.
    pub(crate) fn report(&mut self) -> Option<Figures> {
        let stream = self.stream.as_mut()?;
        let expected = stream.expected();
        let expected_here = expected.wrapping_sub(stream.expected_prior);
        let received_here = stream.received.wrapping_sub(stream.received_prior);
        stream.expected_prior = expected;
        stream.received_prior = stream.received;
        let lost_here = u64::from(expected_here.saturating_sub(received_here));
        let fraction = if expected_here == 0 { 0 } else { (lost_here << 8) / u64::from(expected_here) };
        Some(Figures {
            ssrc: stream.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(stream.lost().clamp(-0x80_0000, 0x7f_ffff)).unwrap_or(0x7f_ffff),
            highest_sequence: stream.cycles.wrapping_add(u32::from(stream.max_sequence)),
            jitter: stream.jitter >> 4,
        })
    }
}

impl Stream {
    fn new(header: &Header) -> Stream {
        Stream {
            ssrc: header.ssrc,
            base: u32::from(header.sequence_number),
            max_sequence: header.sequence_number,
            cycles: 0,
            received: 1,
            restart: None,
            expected_prior: 0,
            received_prior: 0,
            transit: None,
            jitter: 0,
        }
    }

    /// False when the sequence number is far from what could be expected.
    fn on_sequence(&mut self, sequence_number: u16) -> bool {
        let ahead = sequence_number.wrapping_sub(self.max_sequence);
        if ahead < MAX_DROPOUT {
            if sequence_number < self.max_sequence {
                self.cycles = self.cycles.wrapping_add(1 << 16);
            }
            self.max_sequence = sequence_number;
            self.restart = None;
        } else if ahead <= u16::MAX - MAX_MISORDER {
            return false;
        }
        self.received = self.received.wrapping_add(1);
        true
    }

    fn on_arrival(&mut self, now: Duration, timestamp: u32) {
        let arrival = (now.as_micros() / 125) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let step = (transit.wrapping_sub(before) as i32).unsigned_abs();
            if step <= MAX_TRANSIT_STEP {
                self.jitter = self.jitter + step - ((self.jitter + 8) >> 4);
            }
        }
    }

    fn expected(&self) -> u32 {
        self.cycles.wrapping_add(u32::from(self.max_sequence)).wrapping_sub(self.base).wrapping_add(1)
    }

    fn lost(&self) -> i64 {
        i64::from(self.expected()) - i64::from(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(ssrc: u32, sequence_number: u16, timestamp: u32) -> Header {
        Header { payload_type: 8, marker: false, sequence_number, timestamp, ssrc }
    }

    /// Feeds packets of 20 ms in the order given, each arriving on its tick.
    fn receive(reception: &mut Reception, ssrc: u32, sequences: impl IntoIterator<Item = u16>) {
        for sequence in sequences {
            let at = Duration::from_millis(u64::from(sequence) * 20);
            reception.on_packet(at, &header(ssrc, sequence, u32::from(sequence) * 160), true);
        }
    }

    #[test]
    fn loss_is_what_the_sequence_numbers_miss() {
        let mut reception = Reception::default();
        receive(&mut reception, 1, (0..100).filter(|sequence| sequence % 10 != 5));
        assert_eq!(reception.lost(), 10);
        receive(&mut reception, 1, [95]);
        assert_eq!(reception.lost(), 9, "late is not lost");
        receive(&mut reception, 1, [99; 20]);
        assert_eq!(reception.lost(), 0, "duplicates do not make it negative");
    }

    #[test]
    fn a_wrapped_sequence_number_loses_nothing() {
        let mut reception = Reception::default();
        receive(&mut reception, 1, 65_500..=65_535);
        receive(&mut reception, 1, 0..50);
        assert_eq!(reception.lost(), 0);
        assert_eq!(reception.report().unwrap().highest_sequence, 65_536 + 49);
    }

    #[test]
    fn loss_of_a_former_ssrc_is_kept() {
        let mut reception = Reception::default();
        receive(&mut reception, 1, [0, 1, 4]);
        receive(&mut reception, 2, [1000, 1002]);
        assert_eq!(reception.lost(), 3);
        assert_eq!(reception.report().unwrap().ssrc, 2);
    }

    #[test]
    fn one_stray_is_ignored_and_two_in_a_row_are_a_restart() {
        let mut reception = Reception::default();
        receive(&mut reception, 1, [0, 1, 30_000, 2, 3]);
        assert_eq!(reception.lost(), 0);
        assert_eq!(reception.report().unwrap().highest_sequence, 3);
        receive(&mut reception, 1, [30_000, 30_001, 30_002]);
        assert_eq!(reception.report().unwrap().highest_sequence, 30_002);
        assert_eq!(reception.lost(), 0);
    }

    #[test]
    fn each_report_states_the_fraction_lost_since_the_last() {
        let mut reception = Reception::default();
        assert_eq!(reception.report(), None);
        receive(&mut reception, 1, (0..100).filter(|sequence| sequence % 4 != 1));
        let figures = reception.report().unwrap();
        assert_eq!((figures.fraction_lost, figures.cumulative_lost), (64, 25));
        receive(&mut reception, 1, 100..200);
        let figures = reception.report().unwrap();
        assert_eq!((figures.fraction_lost, figures.cumulative_lost), (0, 25));
        assert_eq!(reception.report().unwrap().fraction_lost, 0, "an interval without a packet");
    }

    #[test]
    fn even_arrival_has_no_jitter_and_alternating_arrival_has() {
        let mut reception = Reception::default();
        receive(&mut reception, 1, 0..200);
        assert_eq!(reception.jitter_us(), 0);
        let mut reception = Reception::default();
        for sequence in 0..400_u16 {
            let late = if sequence % 2 == 0 { 0 } else { 4 };
            let at = Duration::from_millis(u64::from(sequence) * 20 + late);
            reception.on_packet(at, &header(1, sequence, u32::from(sequence) * 160), true);
        }
        // Every step of the transit time is 4 ms, so the estimate tends to 4 ms.
        assert!((3800..=4100).contains(&reception.jitter_us()), "{}", reception.jitter_us());
    }

    #[test]
    fn events_and_clock_jumps_are_no_jitter() {
        let mut reception = Reception::default();
        for sequence in 0..50_u16 {
            let timestamp = if sequence < 25 { 0 } else { 0x9000_0000 };
            let at = Duration::from_millis(u64::from(sequence) * 20);
            reception.on_packet(at, &header(1, sequence, timestamp + u32::from(sequence) * 160), true);
            reception.on_packet(at, &header(1, sequence, 0), false);
        }
        assert_eq!(reception.jitter_us(), 0);
    }
}
