//! Texts and short messages: a text cut into `submit_sm`s, a `deliver_sm` read.

use bytes::Bytes;
use rusmpp_core::pdus::owned::{DeliverSm, SubmitSm};
use rusmpp_core::tlvs::owned::{MessageSubmissionRequestTlvValue as Tlv, TlvValue};
use rusmpp_core::types::owned::{AnyOctetString, COctetString, OctetString};
use rusmpp_core::values::owned::MessagePayload;
use rusmpp_core::values::{DataCoding, EsmClass, Npi, Ton};

use crate::alphabet::{Alphabet, DEFAULT, UCS2};
use crate::{DefaultAlphabet, Long};

/// Bit 6 of `esm_class` (§5.2.12): the user data begin with a header.
const UDHI: u8 = 0x40;
/// Bits 2 to 5 of `esm_class` of a `deliver_sm`: what is no message of a person but a receipt or an acknowledgement.
const NO_MESSAGE: u8 = 0x3c;

/// Information elements of a user data header (3GPP TS 23.040 §9.2.3.24): parts of a text, with a reference of 8 or 16 bits.
const CONCATENATED_8: u8 = 0x00;
const CONCATENATED_16: u8 = 0x08;

/// A text as short messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    data_coding: u8,
    parts: Vec<Vec<u8>>,
    long: Long,
    /// What the parts of this text have in common.
    reference: u8,
}

impl Cut {
    /// Cuts a text so that no character is torn. `None`: it would take more than 255 parts.
    pub(crate) fn new(text: &str, default: DefaultAlphabet, long: Long, reference: u8) -> Option<Cut> {
        let small = match default {
            DefaultAlphabet::Gsm => Some(Alphabet::Gsm),
            DefaultAlphabet::Latin1 => Some(Alphabet::Latin1),
            DefaultAlphabet::Unused => None,
        };
        let small = small.and_then(|alphabet| Some((alphabet, DEFAULT, encode(text, alphabet)?)));
        let (alphabet, data_coding, whole) = match small {
            Some(found) => found,
            None => (Alphabet::Ucs2, UCS2, encode(text, Alphabet::Ucs2)?),
        };
        let (single, each) = alphabet.room();
        if whole.len() <= single || long == Long::Payload {
            return Some(Cut { data_coding, parts: vec![whole], long, reference });
        }
        let mut parts = vec![Vec::with_capacity(each)];
        let mut octets = Vec::new();
        for character in text.chars() {
            octets.clear();
            alphabet.encode(character, &mut octets);
            if parts.last().is_none_or(|part| part.len() + octets.len() > each) {
                parts.push(Vec::with_capacity(each));
            }
            parts.last_mut().expect("it begins with one").extend_from_slice(&octets);
        }
        (parts.len() <= usize::from(u8::MAX)).then_some(Cut { data_coding, parts, long, reference })
    }

    pub(crate) fn parts(&self) -> u8 {
        u8::try_from(self.parts.len()).expect("new() makes at most 255")
    }

    /// The `submit_sm` (§4.4.1) of a part, counted from 0.
    pub(crate) fn submit_sm(&self, part: u8, source: &Address, destination: &Address) -> Option<SubmitSm> {
        let octets = self.parts.get(usize::from(part))?;
        let mut submit = SubmitSm::builder()
            .source_addr_ton(source.ton)
            .source_addr_npi(Npi::Isdn)
            .source_addr(source.digits.clone())
            .dest_addr_ton(destination.ton)
            .dest_addr_npi(Npi::Isdn)
            .destination_addr(destination.digits.clone())
            .esm_class(EsmClass::from(0))
            .data_coding(DataCoding::from(self.data_coding))
            .build();
        let total = self.parts();
        let mut message = octets.clone();
        match self.long {
            Long::Payload if octets.len() > usize::from(u8::MAX) => {
                let payload = MessagePayload::new(AnyOctetString::from_vec(std::mem::take(&mut message)));
                submit.push_tlv(Tlv::MessagePayload(payload));
            }
            Long::Udh if total > 1 => {
                submit.esm_class = EsmClass::from(UDHI);
                let header = [5, CONCATENATED_8, 3, self.reference, total, part + 1];
                message.splice(0..0, header);
            }
            Long::Sar if total > 1 => {
                submit.push_tlv(Tlv::SarMsgRefNum(self.reference.into()));
                submit.push_tlv(Tlv::SarTotalSegments(total));
                submit.push_tlv(Tlv::SarSegmentSeqnum(part + 1));
            }
            Long::Payload | Long::Udh | Long::Sar => {}
        }
        submit.set_short_message(OctetString::from_vec(message).ok()?);
        Some(submit)
    }
}

fn encode(text: &str, alphabet: Alphabet) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    text.chars().all(|character| alphabet.encode(character, &mut out)).then_some(out)
}

/// A number as SMPP says it (§5.2.5, §5.2.8): its `+` is a type of number.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    ton: Ton,
    digits: COctetString<1, 21>,
}

impl Address {
    /// `None`: it has more than 20 characters, or one that is no ASCII.
    pub(crate) fn of(spelling: &str) -> Option<Address> {
        let (ton, digits) = match spelling.strip_prefix('+') {
            Some(digits) => (Ton::International, digits),
            None => (Ton::Unknown, spelling),
        };
        let mut octets = digits.as_bytes().to_vec();
        octets.push(0);
        Some(Address { ton, digits: COctetString::from_vec(octets).ok()? })
    }
}

/// A number as it is spelt to us; `None` where there is none.
fn spelling(ton: Ton, digits: &str) -> Option<String> {
    match ton {
        Ton::Alphanumeric => None,
        _ if digits.is_empty() => None,
        Ton::International if !digits.starts_with('+') => Some(format!("+{digits}")),
        _ => Some(digits.to_owned()),
    }
}

/// A `deliver_sm` (§4.6.1).
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Of the SMSC's own.
    Receipt,
    /// Somebody's words, or a part of them.
    Message(Piece),
    /// Nothing that can be read: no text, or a header that says nonsense.
    Unreadable,
}

/// What somebody wrote, or a part of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Piece {
    pub(crate) source: Option<String>,
    pub(crate) destination: Option<String>,
    pub(crate) alphabet: Alphabet,
    pub(crate) octets: Bytes,
    pub(crate) part: Option<Part>,
}

/// Which part of a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Part {
    /// What the parts have in common, and how it was said.
    pub(crate) reference: (Said, u16),
    /// How many there are, from 2.
    pub(crate) total: u8,
    /// Counted from 0.
    pub(crate) place: u8,
}

/// How the reference was said: two ways do not name the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Said {
    Header8,
    Header16,
    Sar,
}

impl Delivered {
    pub(crate) fn read(message: &DeliverSm, default: DefaultAlphabet) -> Delivered {
        let esm_class = u8::from(message.esm_class);
        if esm_class & NO_MESSAGE != 0 {
            return Delivered::Receipt;
        }
        let Some(alphabet) = Alphabet::of(message.data_coding.into(), default) else { return Delivered::Unreadable };
        let mut octets = message.short_message().clone().into_bytes();
        let (mut reference, mut total, mut place) = (None, None, None);
        for tlv in message.tlvs() {
            match tlv.value() {
                Some(TlvValue::MessagePayload(payload)) => octets = payload.value.clone().into_bytes(),
                Some(TlvValue::SarMsgRefNum(value)) => reference = Some(*value),
                Some(TlvValue::SarTotalSegments(value)) => total = Some(*value),
                Some(TlvValue::SarSegmentSeqnum(value)) => place = Some(*value),
                Some(_) | None => {}
            }
        }
        let mut said = match (reference, total, place) {
            (Some(reference), Some(total), Some(place)) => Some((Said::Sar, reference, total, place)),
            (_, _, _) => None,
        };
        if esm_class & UDHI != 0 {
            let length = usize::from(octets.first().copied().unwrap_or_default());
            if octets.len() <= length {
                return Delivered::Unreadable;
            }
            let header = octets.slice(1..=length);
            octets = octets.slice(1 + length..);
            match elements(&header) {
                Ok(found) => said = found.or(said),
                Err(Torn) => return Delivered::Unreadable,
            }
        }
        let part = match said {
            None | Some((_, _, 0 | 1, _)) => None,
            Some((_, _, total, place)) if place == 0 || place > total => return Delivered::Unreadable,
            Some((said, reference, total, place)) => {
                Some(Part { reference: (said, reference), total, place: place - 1 })
            }
        };
        Delivered::Message(Piece {
            source: spelling(message.source_addr_ton, message.source_addr.as_str()),
            destination: spelling(message.dest_addr_ton, message.destination_addr.as_str()),
            alphabet,
            octets,
            part,
        })
    }
}

/// A header whose elements do not fit into it.
struct Torn;

/// How a text is concatenated: reference, total, place. Other elements are nobody's business here.
fn elements(mut header: &[u8]) -> Result<Option<(Said, u16, u8, u8)>, Torn> {
    let mut found = None;
    while let [element, length, rest @ ..] = header {
        let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { return Err(Torn) };
        match (*element, value) {
            (CONCATENATED_8, [reference, total, place]) => {
                found = Some((Said::Header8, u16::from(*reference), *total, *place));
            }
            (CONCATENATED_16, [high, low, total, place]) => {
                found = Some((Said::Header16, u16::from_be_bytes([*high, *low]), *total, *place));
            }
            (_, _) => {}
        }
        header = rest;
    }
    if header.is_empty() { Ok(found) } else { Err(Torn) }
}

/// Puts pieces together, in their order. Octets before characters: a character may lie across two parts.
pub(crate) fn join<'p>(pieces: impl Iterator<Item = (Alphabet, &'p Bytes)>) -> String {
    let mut out = String::new();
    let mut run: Option<(Alphabet, Vec<u8>)> = None;
    for (alphabet, octets) in pieces {
        match &mut run {
            Some((known, run)) if *known == alphabet => run.extend_from_slice(octets),
            _ => {
                if let Some((alphabet, run)) = run.replace((alphabet, octets.to_vec())) {
                    out.push_str(&alphabet.decode(&run));
                }
            }
        }
    }
    if let Some((alphabet, run)) = run {
        out.push_str(&alphabet.decode(&run));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, long: Long) -> Cut {
        Cut::new(text, DefaultAlphabet::Gsm, long, 7).unwrap()
    }

    #[test]
    fn a_text_is_cut_where_the_standards_say() {
        for (text, parts, coding) in [
            ("a".repeat(160), vec![160], DEFAULT),
            ("a".repeat(161), vec![153, 8], DEFAULT),
            ("汉".repeat(70), vec![140], UCS2),
            ("汉".repeat(71), vec![134, 8], UCS2),
            // An escaped character goes whole into the next part, and so does one of two units.
            (format!("{}€{}", "a".repeat(152), "a".repeat(20)), vec![152, 22], DEFAULT),
            (format!("{}🚚{}", "汉".repeat(66), "汉".repeat(20)), vec![132, 44], UCS2),
            (String::new(), vec![0], DEFAULT),
        ] {
            let cut = cut(&text, Long::Udh);
            let lengths: Vec<usize> = cut.parts.iter().map(Vec::len).collect();
            assert_eq!((lengths, cut.data_coding), (parts, coding), "{} characters", text.chars().count());
        }
        assert_eq!(cut(&"汉".repeat(2_000), Long::Udh).parts(), 30);
        assert_eq!(cut(&"汉".repeat(2_000), Long::Payload).parts(), 1);
        assert_eq!(Cut::new(&"汉".repeat(17_086), DefaultAlphabet::Gsm, Long::Sar, 0), None);
    }

    #[test]
    fn headers_are_read_and_nonsense_is_refused() {
        let read = |header: &[u8]| elements(header).map_err(|Torn| ());
        assert_eq!(read(&[0, 3, 9, 2, 1]), Ok(Some((Said::Header8, 9, 2, 1))));
        assert_eq!(read(&[8, 4, 1, 2, 3, 3]), Ok(Some((Said::Header16, 0x0102, 3, 3))));
        // Ports before it (3GPP TS 23.040 §9.2.3.24.4), a national language behind it.
        assert_eq!(read(&[5, 4, 1, 2, 3, 4, 0, 3, 9, 2, 1, 0x24, 1, 1]), Ok(Some((Said::Header8, 9, 2, 1))));
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[0, 2, 9, 2]), Ok(None));
        assert_eq!(read(&[0, 4, 9, 2, 1]), Err(()));
        assert_eq!(read(&[0]), Err(()));
    }

    #[test]
    fn a_plus_is_a_type_of_number() {
        let address = |spelling| Address::of(spelling).map(|address| (address.ton, address.digits.as_str().to_owned()));
        assert_eq!(address("+8613800000001"), Some((Ton::International, "8613800000001".to_owned())));
        assert_eq!(address("13800000001"), Some((Ton::Unknown, "13800000001".to_owned())));
        assert_eq!(address(&"1".repeat(21)), None);
        assert_eq!(spelling(Ton::International, "8613800000001").as_deref(), Some("+8613800000001"));
        assert_eq!(spelling(Ton::International, "+8613800000001").as_deref(), Some("+8613800000001"));
        assert_eq!(spelling(Ton::National, "13800000001").as_deref(), Some("13800000001"));
        assert_eq!((spelling(Ton::Alphanumeric, "Bank"), spelling(Ton::Unknown, "")), (None, None));
    }
}
