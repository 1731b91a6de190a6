//! Texts and short messages: a text cut into `submit_sm`s, a `deliver_sm` read.

use rusmpp_core::pdus::owned::SubmitSm;
use rusmpp_core::tlvs::owned::MessageSubmissionRequestTlvValue as Tlv;
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

/// Optional parameters (§5.3.2) that say what a text is.
const SAR_MSG_REF_NUM: u16 = 0x020c;
const SAR_TOTAL_SEGMENTS: u16 = 0x020e;
const SAR_SEGMENT_SEQNUM: u16 = 0x020f;
const MESSAGE_PAYLOAD: u16 = 0x0424;

/// A text as short messages.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    data_coding: u8,
    parts: Vec<Vec<u8>>,
    how: How,
}

/// How the parts of a text are told from those of others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// There is one part.
    Whole,
    /// One, which is no short message.
    Payload,
    Udh {
        reference: u8,
    },
    Sar {
        reference: u16,
    },
}

impl Cut {
    /// Cuts a text so that no character is torn. `reference` is what its parts are to have in common. `None`: it would take more
    /// than 255 parts.
    pub(crate) fn new(text: &str, default: DefaultAlphabet, long: Long, reference: u16) -> Option<Cut> {
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
        let how = match long {
            _ if whole.len() <= single => How::Whole,
            Long::Payload => How::Payload,
            Long::Udh => How::Udh { reference: reference.to_be_bytes()[1] },
            Long::Sar => How::Sar { reference },
        };
        if matches!(how, How::Whole | How::Payload) {
            return Some(Cut { data_coding, parts: vec![whole], how });
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
        (parts.len() <= usize::from(u8::MAX)).then_some(Cut { data_coding, parts, how })
    }

    /// Its reference has been used.
    pub(crate) fn has_reference(&self) -> bool {
        matches!(self.how, How::Udh { .. } | How::Sar { .. })
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
        match self.how {
            How::Whole => {}
            How::Payload => {
                let payload = MessagePayload::new(AnyOctetString::from_vec(std::mem::take(&mut message)));
                submit.push_tlv(Tlv::MessagePayload(payload));
            }
            How::Udh { reference } => {
                submit.esm_class = EsmClass::from(UDHI);
                let header = [5, CONCATENATED_8, 3, reference, total, part + 1];
                message.splice(0..0, header);
            }
            How::Sar { reference } => {
                submit.push_tlv(Tlv::SarMsgRefNum(reference));
                submit.push_tlv(Tlv::SarTotalSegments(total));
                submit.push_tlv(Tlv::SarSegmentSeqnum(part + 1));
            }
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
#[derive(Clone)]
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

/// A number as it is spelt to us; `None` where there is none, or a name.
fn spelling(ton: u8, digits: &[u8]) -> Option<String> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.is_empty() && digits.is_ascii())?;
    match ton {
        ALPHANUMERIC => None,
        INTERNATIONAL if !digits.starts_with('+') => Some(format!("+{digits}")),
        _ => Some(digits.to_owned()),
    }
}

/// Types of number (§5.2.5).
const INTERNATIONAL: u8 = 1;
const ALPHANUMERIC: u8 = 5;

/// A `deliver_sm` (§4.6.1).
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Of the SMSC's own.
    Receipt,
    /// Somebody's words, or a part of them.
    Message(Message),
    /// Nothing that can be read: no text, or a header that says nonsense.
    Unreadable,
}

/// What somebody wrote, or a part of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    pub(crate) source: Option<String>,
    pub(crate) destination: Option<String>,
    pub(crate) words: Words,
    pub(crate) part: Option<Part>,
}

/// Words as they came.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Words {
    pub(crate) alphabet: Alphabet,
    pub(crate) octets: Box<[u8]>,
}

/// Which part of a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub(crate) reference: Reference,
    /// How many there are, from 2.
    pub(crate) total: u8,
    /// Counted from 0.
    pub(crate) place: u8,
}

/// What the parts of a text have in common. Two ways of saying it do not name the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Reference {
    Udh8(u8),
    Udh16(u16),
    Sar(u16),
}

impl Delivered {
    /// Reads the body of one. Optional parameters that are not about the text are passed over, whatever is in them (§3.3).
    pub(crate) fn read(body: &[u8], default: DefaultAlphabet) -> Delivered {
        read(body, default).unwrap_or(Delivered::Unreadable)
    }
}

/// `None`: it is cut short, or says nonsense.
fn read(body: &[u8], default: DefaultAlphabet) -> Option<Delivered> {
    let mut rest = body;
    c_octets(&mut rest)?; // service_type
    let source = (octet(&mut rest)?, octet(&mut rest)?, c_octets(&mut rest)?);
    let destination = (octet(&mut rest)?, octet(&mut rest)?, c_octets(&mut rest)?);
    let esm_class = octet(&mut rest)?;
    octets(&mut rest, 2)?; // protocol_id, priority_flag
    c_octets(&mut rest)?; // schedule_delivery_time
    c_octets(&mut rest)?; // validity_period
    octets(&mut rest, 2)?; // registered_delivery, replace_if_present_flag
    let data_coding = octet(&mut rest)?;
    octet(&mut rest)?; // sm_default_msg_id
    let length = octet(&mut rest)?;
    let mut words = octets(&mut rest, length.into())?;
    if esm_class & NO_MESSAGE != 0 {
        return Some(Delivered::Receipt);
    }
    let alphabet = Alphabet::of(data_coding, default)?;
    let (mut reference, mut total, mut place) = (None, None, None);
    while let Some((tag, value)) = parameter(&mut rest) {
        match (tag, value) {
            (MESSAGE_PAYLOAD, payload) => words = payload,
            (SAR_MSG_REF_NUM, [high, low]) => reference = Some(u16::from_be_bytes([*high, *low])),
            (SAR_TOTAL_SEGMENTS, [count]) => total = Some(*count),
            (SAR_SEGMENT_SEQNUM, [number]) => place = Some(*number),
            (_, _) => {}
        }
    }
    let mut said = match (reference, total, place) {
        (Some(reference), Some(total), Some(place)) => Some((Reference::Sar(reference), total, place)),
        (_, _, _) => None,
    };
    if esm_class & UDHI != 0 {
        let length = octet(&mut words)?;
        let header = octets(&mut words, length.into())?;
        said = elements(header).ok()?.or(said);
    }
    let part = match said {
        None | Some((_, 0 | 1, _)) => None,
        Some((_, total, place)) if place == 0 || place > total => return None,
        Some((reference, total, place)) => Some(Part { reference, total, place: place - 1 }),
    };
    Some(Delivered::Message(Message {
        source: spelling(source.0, source.2),
        destination: spelling(destination.0, destination.2),
        words: Words { alphabet, octets: words.into() },
        part,
    }))
}

fn octet(rest: &mut &[u8]) -> Option<u8> {
    octets(rest, 1).map(|octets| octets[0])
}

fn octets<'r>(rest: &mut &'r [u8], length: usize) -> Option<&'r [u8]> {
    let (first, last) = rest.split_at_checked(length)?;
    *rest = last;
    Some(first)
}

/// A C-octet string (§3.1), without its end.
fn c_octets<'r>(rest: &mut &'r [u8]) -> Option<&'r [u8]> {
    let end = rest.iter().position(|octet| *octet == 0)?;
    octets(rest, end + 1).map(|text| &text[..end])
}

/// The next optional parameter (§5.3); `None`: there is none, or none that is whole.
fn parameter<'r>(rest: &mut &'r [u8]) -> Option<(u16, &'r [u8])> {
    let head: [u8; 4] = octets(rest, 4)?.try_into().ok()?;
    let [tag, length] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_be_bytes);
    Some((tag, octets(rest, length.into())?))
}

/// A header whose elements do not fit into it.
struct Torn;

/// How a text is concatenated: reference, total, place. Other elements are nobody's business here.
fn elements(mut header: &[u8]) -> Result<Option<(Reference, u8, u8)>, Torn> {
    let mut found = None;
    while let [element, length, rest @ ..] = header {
        let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { return Err(Torn) };
        match (*element, value) {
            (CONCATENATED_8, [reference, total, place]) => {
                found = Some((Reference::Udh8(*reference), *total, *place));
            }
            (CONCATENATED_16, [high, low, total, place]) => {
                found = Some((Reference::Udh16(u16::from_be_bytes([*high, *low])), *total, *place));
            }
            (_, _) => {}
        }
        header = rest;
    }
    if header.is_empty() { Ok(found) } else { Err(Torn) }
}

/// Puts parts together, in their order. Octets before characters: a character may lie across two parts.
pub(crate) fn join<'w>(parts: impl Iterator<Item = &'w Words>) -> String {
    let mut out = String::new();
    let mut run: Option<(Alphabet, Vec<u8>)> = None;
    for Words { alphabet, octets } in parts {
        match &mut run {
            Some((known, run)) if known == alphabet => run.extend_from_slice(octets),
            _ => {
                if let Some((alphabet, run)) = run.replace((*alphabet, octets.to_vec())) {
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
        Cut::new(text, DefaultAlphabet::Gsm, long, 0x0107).unwrap()
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
        assert!(Cut::new(&"汉".repeat(17_086), DefaultAlphabet::Gsm, Long::Sar, 0).is_none());
    }

    #[test]
    fn headers_are_read_and_nonsense_is_refused() {
        let read = |header: &[u8]| elements(header).map_err(|Torn| ());
        assert_eq!(read(&[0, 3, 9, 2, 1]), Ok(Some((Reference::Udh8(9), 2, 1))));
        assert_eq!(read(&[8, 4, 1, 2, 3, 3]), Ok(Some((Reference::Udh16(0x0102), 3, 3))));
        // Ports before it (3GPP TS 23.040 §9.2.3.24.4), a national language behind it.
        assert_eq!(read(&[5, 4, 1, 2, 3, 4, 0, 3, 9, 2, 1, 0x24, 1, 1]), Ok(Some((Reference::Udh8(9), 2, 1))));
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
        assert_eq!(spelling(1, b"8613800000001").as_deref(), Some("+8613800000001"));
        assert_eq!(spelling(1, b"+8613800000001").as_deref(), Some("+8613800000001"));
        assert_eq!(spelling(2, b"13800000001").as_deref(), Some("13800000001"));
        assert_eq!((spelling(5, b"Bank"), spelling(0, b""), spelling(0, b"\xd6\xd0")), (None, None, None));
    }
}
