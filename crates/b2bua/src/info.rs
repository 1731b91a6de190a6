//! Digits that come and go as INFO (RFC 6086), for peers whose media has no telephone-event.
//!
//! ```text
//!   application/dtmf-relay    Signal=5        ·    application/dtmf    5
//!                             Duration=160
//! ```

use media::Digit;
use sip::message::{HeaderName, Message, trim};

/// Length of a digit that says none, in milliseconds.
const USUAL_MS: u16 = 160;

/// Why an INFO is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// It belongs to an Info Package, and we take none (§5.7: 469).
    Package,
    /// Its body is none of the two (415).
    Body,
}

impl Refusal {
    pub(crate) const fn status(self) -> u16 {
        match self {
            Refusal::Package => 469,
            Refusal::Body => 415,
        }
    }
}

/// The digit of an INFO and its length in milliseconds; `None` for one that says nothing, or no digit (a flash).
pub(crate) fn read(request: &Message) -> Result<Option<(Digit, u16)>, Refusal> {
    if request.header(HeaderName::InfoPackage).is_some() {
        return Err(Refusal::Package);
    }
    let body = trim(request.body());
    if body.is_empty() {
        return Ok(None);
    }
    let kind = request.content_type().ok_or(Refusal::Body)?;
    if kind.is("application", "dtmf-relay") {
        Ok(relay(body))
    } else if kind.is("application", "dtmf") {
        Ok(digit(body).map(|digit| (digit, USUAL_MS)))
    } else {
        Err(Refusal::Body)
    }
}

fn relay(body: &[u8]) -> Option<(Digit, u16)> {
    let (mut signal, mut ms) = (None, USUAL_MS);
    for line in body.split(|byte| matches!(byte, b'\r' | b'\n')) {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (trim(&line[..equals]), trim(&line[equals + 1..]));
        if name.eq_ignore_ascii_case(b"signal") {
            signal = digit(value);
        } else if name.eq_ignore_ascii_case(b"duration") {
            ms = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()).unwrap_or(USUAL_MS);
        }
    }
    signal.map(|digit| (digit, ms))
}

/// One character, or the event code that some write for `*` (10) and `#` (11).
fn digit(value: &[u8]) -> Option<Digit> {
    match value {
        [one] => Digit::from_char(char::from(*one)),
        b"10" => Digit::from_event(10),
        b"11" => Digit::from_event(11),
        _ => None,
    }
}

/// The body of an `application/dtmf-relay`.
pub(crate) fn write(digit: Digit, ms: u16) -> Vec<u8> {
    format!("Signal={}\r\nDuration={ms}\r\n", digit.reveal()).into_bytes()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn info(kind: &str, body: &str) -> Message {
        let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let text = format!(
            "INFO sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n\
             Call-ID: 1\r\nCSeq: 2 INFO\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Message::parse(Bytes::from(text), &sip::limits::Limits::default()).expect("a sound message")
    }

    #[test]
    fn both_bodies_are_read_in_every_spelling_seen() {
        let digit = |kind, body| read(&info(kind, body)).map(|digit| digit.map(|(digit, ms)| (digit.reveal(), ms)));
        let relay = "application/dtmf-relay";
        for (kind, body, expected) in [
            (relay, "Signal=5\r\nDuration=160\r\n", Ok(Some(('5', 160)))),
            (relay, "Signal= #\nDuration= 250", Ok(Some(('#', 250)))),
            (relay, "duration=90\r\nsignal=d", Ok(Some(('D', 90)))),
            (relay, "Signal=11\r\n", Ok(Some(('#', 160)))),
            (relay, "Signal=5\r\nDuration=a while", Ok(Some(('5', 160)))),
            (relay, "Signal=hookflash\r\n", Ok(None)),
            ("Application/DTMF", "*", Ok(Some(('*', 160)))),
            ("application/dtmf", "12", Ok(None)),
            ("", "", Ok(None)),
            ("application/isup", "x", Err(Refusal::Body)),
            ("", "5", Err(Refusal::Body)),
        ] {
            assert_eq!(digit(kind, body), expected, "{kind}: {body:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for digit in "0123456789*#ABCD".chars().filter_map(Digit::from_char) {
            let body = write(digit, 120);
            let body = std::str::from_utf8(&body).expect("ASCII");
            assert_eq!(read(&info("application/dtmf-relay", body)), Ok(Some((digit, 120))));
        }
    }
}
