//! Headers of extensions: reliable provisional responses (RFC 3262), session timers (RFC 4028), INFO digits.

use super::text::{Params, decimal, trim};
use super::{HeaderName, Message, Method};

/// RAck: which provisional response a PRACK acknowledges (RFC 3262 §7.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RAck {
    /// RSeq of the response.
    pub rseq: u32,
    /// CSeq number of the response.
    pub cseq: u32,
    /// CSeq method of the response.
    pub method: Method,
}

/// Who refreshes a session (RFC 4028 §4), in the roles of the transaction that says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresher {
    /// The sender of the request.
    Uac,
    /// Its receiver.
    Uas,
}

/// Session-Expires (RFC 4028 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionExpires {
    /// Interval in seconds.
    pub seconds: u32,
    /// `refresher`, where it is given.
    pub refresher: Option<Refresher>,
}

impl Message {
    /// RSeq, 1 to 2^32-1 (RFC 3262 §7.1).
    #[must_use]
    pub fn rseq(&self) -> Option<u32> {
        let number = decimal(self.header(HeaderName::RSeq)?)?;
        u32::try_from(number).ok().filter(|number| *number > 0)
    }

    /// RAck.
    #[must_use]
    pub fn rack(&self) -> Option<RAck> {
        let value = self.header(HeaderName::RAck)?;
        let mut words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let rseq = u32::try_from(decimal(words.next()?)?).ok()?;
        let cseq = u32::try_from(decimal(words.next()?)?).ok()?;
        let method = Method::of(words.next()?);
        words.next().is_none().then_some(RAck { rseq, cseq, method })
    }

    /// Session-Expires; `None` also where its number cannot be read.
    #[must_use]
    pub fn session_expires(&self) -> Option<SessionExpires> {
        let (seconds, params) = seconds_of(self.header(HeaderName::SessionExpires)?)?;
        let refresher = params.get(b"refresher").and_then(|role| match role {
            role if role.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
            role if role.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
            _ => None,
        });
        Some(SessionExpires { seconds, refresher })
    }

    /// Min-SE in seconds.
    #[must_use]
    pub fn min_se(&self) -> Option<u32> {
        seconds_of(self.header(HeaderName::MinSe)?).map(|(seconds, _)| seconds)
    }
}

fn seconds_of(value: &[u8]) -> Option<(u32, Params<'_>)> {
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let seconds = u32::try_from(decimal(trim(&value[..end]))?).ok()?;
    Some((seconds, Params::of(&value[end..])))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::limits::Limits;

    fn with(header: &str) -> Message {
        let text = format!(
            "PRACK sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\
             Call-ID: 1\r\nCSeq: 2 PRACK\r\n{header}\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).expect("a sound message")
    }

    #[test]
    fn rseq_and_rack_are_read_or_are_none() {
        assert_eq!(with("RSeq: 988789").rseq(), Some(988_789));
        for wrong in ["RSeq: 0", "RSeq: 4294967296", "RSeq: x", "RSeq:"] {
            assert_eq!(with(wrong).rseq(), None, "{wrong}");
        }
        let rack = RAck { rseq: 776_656, cseq: 1, method: Method::Invite };
        assert_eq!(with("RAck: 776656 1 INVITE").rack(), Some(rack));
        assert_eq!(with("RAck:  776656 \t 1   INVITE ").rack(), Some(rack));
        for wrong in ["RAck: 1 INVITE", "RAck: 1 2 INVITE x", "RAck: x 1 INVITE", "RAck: 4294967296 1 INVITE"] {
            assert_eq!(with(wrong).rack(), None, "{wrong}");
        }
    }

    #[test]
    fn session_timers_are_read_in_every_spelling() {
        let expires = |header| with(header).session_expires();
        assert_eq!(
            expires("Session-Expires: 1800;refresher=uac"),
            Some(SessionExpires { seconds: 1800, refresher: Some(Refresher::Uac) })
        );
        assert_eq!(
            expires("x: 90 ; Refresher = UAS"),
            Some(SessionExpires { seconds: 90, refresher: Some(Refresher::Uas) })
        );
        assert_eq!(expires("x: 90;refresher=me"), Some(SessionExpires { seconds: 90, refresher: None }));
        assert_eq!(expires("x: soon"), None);
        assert_eq!(with("Min-SE: 120").min_se(), Some(120));
        assert_eq!(with("Min-SE: 99999999999").min_se(), None);
    }
}
