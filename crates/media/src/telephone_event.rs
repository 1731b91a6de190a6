//! The payload of telephone-event: DTMF digits as named events (RFC 4733 §2.3).
//!
//! ```text
//!    0                   1                   2                   3
//!   |     event     |E|R| volume    |          duration             |
//! ```
//!
//! All packets of one event carry the RTP timestamp of its beginning; the first has the marker; the duration grows; the last
//! one is sent three times with the end bit. The relay passes all this on untouched and changes only the payload type;
//! `digits` writes and reads whole digits where one leg has no such events.

/// Length of one event's payload in bytes.
pub const LEN: usize = 4;

/// A DTMF digit: `0`-`9`, `*`, `#`, `A`-`D` (RFC 4733 §3.2). Digits can be a PIN, so `Debug` does not tell which it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digit(u8);

impl Digit {
    /// The digit of an event code of 0-15; `None` for an event that is not DTMF.
    #[must_use]
    pub const fn from_event(event: u8) -> Option<Digit> {
        if event < 16 { Some(Digit(event)) } else { None }
    }

    /// The digit of a character, letters in either case; `None` for anything else.
    #[must_use]
    pub fn from_char(digit: char) -> Option<Digit> {
        match digit.to_ascii_uppercase() {
            digit @ '0'..='9' => Some(Digit(digit as u8 - b'0')),
            '*' => Some(Digit(10)),
            '#' => Some(Digit(11)),
            digit @ 'A'..='D' => Some(Digit(digit as u8 - b'A' + 12)),
            _ => None,
        }
    }

    /// Its event code, 0-15.
    #[must_use]
    pub const fn event(self) -> u8 {
        self.0
    }

    /// Its character: for the wire, never for a log.
    #[must_use]
    pub fn reveal(self) -> char {
        match self.0 {
            10 => '*',
            11 => '#',
            digit @ 12.. => char::from(b'A' + (digit - 12)),
            digit => char::from(b'0' + digit),
        }
    }
}

impl std::fmt::Debug for Digit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digit")
    }
}

/// One report of an event in progress or ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TelephoneEvent {
    /// Event code: 0-15 are the [`Digit`]s, others are not DTMF (RFC 4733 §3.2).
    pub event: u8,
    /// The event has ended.
    pub end: bool,
    /// Power below 0 dBm0, in dB (0-63).
    pub volume: u8,
    /// Duration so far in timestamp units (8 a millisecond).
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads the first event of a payload; `None` when it is shorter than four bytes.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<TelephoneEvent> {
        let &[event, flags, high, low] = payload.first_chunk::<LEN>()?;
        Some(TelephoneEvent {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The four bytes of the payload; the reserved bit is zero, a volume above 63 is cut to 63.
    #[must_use]
    pub fn to_bytes(self) -> [u8; LEN] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, self.volume.min(63) | if self.end { 0x80 } else { 0 }, high, low]
    }

    /// The digit; `None` for an event that is not DTMF.
    #[must_use]
    pub const fn digit(self) -> Option<Digit> {
        Digit::from_event(self.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_as_it_stands_in_the_rfc() {
        let event = TelephoneEvent::parse(&[11, 0x8a, 0x03, 0x20]);
        assert_eq!(event, Some(TelephoneEvent { event: 11, end: true, volume: 10, duration: 800 }));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for event in 0..=u8::MAX {
            for (end, volume, duration) in [(false, 0, 0), (true, 63, u16::MAX), (false, 10, 160)] {
                let event = TelephoneEvent { event, end, volume, duration };
                assert_eq!(TelephoneEvent::parse(&event.to_bytes()), Some(event));
            }
        }
    }

    #[test]
    fn the_reserved_bit_is_ignored_and_never_written() {
        let event = TelephoneEvent::parse(&[1, 0x40, 0, 1]).unwrap();
        assert_eq!((event.end, event.volume), (false, 0));
        assert_eq!(event.to_bytes()[1], 0);
        assert_eq!(TelephoneEvent { volume: 255, ..event }.to_bytes()[1], 63);
    }

    #[test]
    fn a_short_payload_is_no_event_and_a_second_event_is_left_alone() {
        for len in 0..LEN {
            assert_eq!(TelephoneEvent::parse(&[0; LEN][..len]), None);
        }
        assert_eq!(TelephoneEvent::parse(&[5, 0, 0, 1, 9, 9, 9, 9]).unwrap().event, 5);
    }

    #[test]
    fn sixteen_codes_are_digits_and_every_digit_has_its_code() {
        let digits: String = (0..=u8::MAX)
            .filter_map(|event| TelephoneEvent { event, end: false, volume: 0, duration: 0 }.digit())
            .map(Digit::reveal)
            .collect();
        assert_eq!(digits, "0123456789*#ABCD");
        for (code, digit) in digits.chars().enumerate() {
            assert_eq!(Digit::from_char(digit).map(|digit| usize::from(digit.event())), Some(code));
        }
        assert_eq!(Digit::from_char('d'), Digit::from_char('D'));
        for other in ['e', ' ', '１', '\u{661}', '\0'] {
            assert_eq!(Digit::from_char(other), None);
        }
    }

    #[test]
    fn a_digit_is_not_told_in_a_log() {
        let shown: std::collections::BTreeSet<String> =
            (0..16).filter_map(Digit::from_event).map(|digit| format!("{digit:?}")).collect();
        assert_eq!(shown.len(), 1);
    }
}
