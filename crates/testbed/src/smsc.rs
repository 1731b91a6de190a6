//! A scripted short message service centre (SMPP 3.4): octets by hand from the specification, so that it is a second opinion on
//! what the product says. Sans I/O: octets in, PDUs out, and back.

use std::fmt;

/// `command_id`s (§5.1.2.1).
pub mod id {
    /// generic_nack
    pub const GENERIC_NACK: u32 = 0x8000_0000;
    /// submit_sm
    pub const SUBMIT_SM: u32 = 0x04;
    /// deliver_sm
    pub const DELIVER_SM: u32 = 0x05;
    /// unbind
    pub const UNBIND: u32 = 0x06;
    /// bind_transceiver
    pub const BIND_TRANSCEIVER: u32 = 0x09;
    /// enquire_link
    pub const ENQUIRE_LINK: u32 = 0x15;
    /// What makes a response of a request.
    pub const RESPONSE: u32 = 0x8000_0000;
}

/// A PDU: header and body (§3.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Pdu {
    /// `command_id`.
    pub id: u32,
    /// `command_status`.
    pub status: u32,
    /// `sequence_number`.
    pub sequence: u32,
    /// Everything behind the header.
    pub body: Vec<u8>,
}

impl fmt::Debug for Pdu {
    /// As a ladder shows it: `submit_sm #3`, `deliver_sm_resp #7 0x64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.id & !id::RESPONSE {
            0 => "generic_nack",
            id::SUBMIT_SM => "submit_sm",
            id::DELIVER_SM => "deliver_sm",
            id::UNBIND => "unbind",
            id::BIND_TRANSCEIVER => "bind_transceiver",
            id::ENQUIRE_LINK => "enquire_link",
            other => return write!(f, "{other:#x} #{}", self.sequence),
        };
        let response = if self.id > id::RESPONSE { "_resp" } else { "" };
        write!(f, "{name}{response} #{}", self.sequence)?;
        if self.status == 0 { Ok(()) } else { write!(f, " {:#x}", self.status) }
    }
}

impl Pdu {
    /// Takes the first whole PDU off the front of what has come.
    ///
    /// # Panics
    /// Its length is none.
    pub fn take(input: &mut Vec<u8>) -> Option<Pdu> {
        let word =
            |at: usize| input.get(at..at + 4).map(|word| u32::from_be_bytes(word.try_into().expect("four octets")));
        let length = word(0)? as usize;
        assert!((16..=65_536).contains(&length), "a PDU of {length} octets");
        if input.len() < length {
            return None;
        }
        let (id, status, sequence) = (word(4)?, word(8)?, word(12)?);
        let body = input.drain(..length).skip(16).collect();
        Some(Pdu { id, status, sequence, body })
    }

    /// Its octets.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let length = u32::try_from(16 + self.body.len()).expect("a PDU of a test is short");
        let head = [length, self.id, self.status, self.sequence].map(u32::to_be_bytes).concat();
        [head, self.body.clone()].concat()
    }

    /// The response to this request, with a body as its `command_id` wants it: §4.1.6, §4.4.2, §4.6.2.
    #[must_use]
    pub fn response(&self, status: u32) -> Pdu {
        let body: &[u8] = match self.id {
            id::BIND_TRANSCEIVER => b"smsc\0",
            id::SUBMIT_SM if status == 0 => b"4711\0",
            id::DELIVER_SM => b"\0",
            _ => b"",
        };
        Pdu { id: self.id | id::RESPONSE, status, sequence: self.sequence, body: body.to_vec() }
    }
}

/// What a `submit_sm` and a `deliver_sm` say (§4.4.1, §4.6.1).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ShortMessage {
    /// `source_addr_ton`, `source_addr`.
    pub source: (u8, String),
    /// `dest_addr_ton`, `destination_addr`.
    pub destination: (u8, String),
    /// `esm_class`.
    pub esm_class: u8,
    /// `registered_delivery`.
    pub registered_delivery: u8,
    /// `data_coding`.
    pub data_coding: u8,
    /// `short_message`.
    pub octets: Vec<u8>,
    /// Optional parameters by their tags.
    pub tlvs: Vec<(u16, Vec<u8>)>,
}

impl ShortMessage {
    /// A text in UCS-2 between two international numbers.
    #[must_use]
    pub fn ucs2(source: &str, destination: &str, text: &str) -> ShortMessage {
        ShortMessage {
            source: (1, source.to_owned()),
            destination: (1, destination.to_owned()),
            data_coding: 8,
            octets: text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            ..ShortMessage::default()
        }
    }

    /// Parts of a text in UCS-2, of so many units, with a user data header of an 8-bit reference.
    #[must_use]
    pub fn parts(source: &str, destination: &str, text: &str, units: usize, reference: u8) -> Vec<ShortMessage> {
        let whole = ShortMessage::ucs2(source, destination, text);
        let pieces: Vec<&[u8]> = whole.octets.chunks(units * 2).collect();
        let total = u8::try_from(pieces.len()).expect("few parts");
        let part = |(place, piece): (usize, &&[u8])| {
            let place = u8::try_from(place + 1).expect("few parts");
            let octets = [&[5, 0, 3, reference, total, place], *piece].concat();
            ShortMessage { esm_class: 0x40, octets, ..whole.clone() }
        };
        pieces.iter().enumerate().map(part).collect()
    }

    /// As the body of a PDU.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut out = b"\0".to_vec();
        for (ton, digits) in [&self.source, &self.destination] {
            out.extend([*ton, 1]);
            out.extend(digits.as_bytes());
            out.push(0);
        }
        out.extend([self.esm_class, 0, 0, 0, 0, self.registered_delivery, 0, self.data_coding, 0]);
        out.push(u8::try_from(self.octets.len()).expect("255 octets at most"));
        out.extend(&self.octets);
        for (tag, value) in &self.tlvs {
            out.extend(tag.to_be_bytes());
            out.extend(u16::try_from(value.len()).expect("a short value").to_be_bytes());
            out.extend(value);
        }
        out
    }

    /// Reads the body of a PDU.
    ///
    /// # Panics
    /// It is none: what the product says is looked at by this.
    #[must_use]
    pub fn read(body: &[u8]) -> ShortMessage {
        let mut rest = body;
        assert_eq!(text(&mut rest), "", "service_type");
        let mut number = || {
            let ton = octet(&mut rest);
            assert_eq!(octet(&mut rest), 1, "the numbering plan is E.164's");
            (ton, text(&mut rest))
        };
        let (source, destination) = (number(), number());
        let esm_class = octet(&mut rest);
        assert_eq!((octet(&mut rest), octet(&mut rest)), (0, 0), "protocol_id, priority_flag");
        assert_eq!(
            (text(&mut rest), text(&mut rest)),
            (String::new(), String::new()),
            "at once, and as long as is usual"
        );
        let registered_delivery = octet(&mut rest);
        assert_eq!(octet(&mut rest), 0, "replace_if_present_flag");
        let data_coding = octet(&mut rest);
        assert_eq!(octet(&mut rest), 0, "sm_default_msg_id");
        let length = usize::from(octet(&mut rest));
        let octets = some(&mut rest, length).to_vec();
        let mut tlvs = Vec::new();
        while !rest.is_empty() {
            let tag = u16::from_be_bytes([octet(&mut rest), octet(&mut rest)]);
            let length = u16::from_be_bytes([octet(&mut rest), octet(&mut rest)]);
            tlvs.push((tag, some(&mut rest, length.into()).to_vec()));
        }
        ShortMessage { source, destination, esm_class, registered_delivery, data_coding, octets, tlvs }
    }

    /// Its words where they are UCS-2, without a header.
    #[must_use]
    pub fn words(&self) -> String {
        let skipped = if self.esm_class & 0x40 == 0 { 0 } else { usize::from(self.octets[0]) + 1 };
        let units = self.octets[skipped..].chunks(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
        String::from_utf16_lossy(&units.collect::<Vec<_>>())
    }
}

fn octet(rest: &mut &[u8]) -> u8 {
    some(rest, 1)[0]
}

fn some<'r>(rest: &mut &'r [u8], length: usize) -> &'r [u8] {
    let (first, last) = rest.split_at_checked(length).expect("the PDU is cut short");
    *rest = last;
    first
}

fn text(rest: &mut &[u8]) -> String {
    let end = rest.iter().position(|octet| *octet == 0).expect("a C-octet string ends");
    let text = some(rest, end + 1);
    String::from_utf8(text[..end].to_vec()).expect("a C-octet string is ASCII")
}
