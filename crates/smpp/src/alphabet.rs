//! Characters and octets: the alphabets that `data_coding` names (§5.2.19; 3GPP TS 23.038).

use encoding_rs::GBK;

/// The alphabet that an SMSC means by `data_coding` 0 (§5.2.19: "SMSC default alphabet").
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum DefaultAlphabet {
    /// The GSM 7-bit default alphabet with its extension table, a septet an octet (3GPP TS 23.038 §6.2.1).
    #[default]
    Gsm,
    /// ISO 8859-1.
    Latin1,
    /// Nothing is sent in it: texts go in UCS-2. What comes is read as GSM.
    Unused,
}

/// `data_coding` of the default alphabet.
pub(crate) const DEFAULT: u8 = 0;
/// `data_coding` of UCS-2, which is UTF-16 big endian to everybody by now.
pub(crate) const UCS2: u8 = 8;
/// GSM 03.38's escape to the extension table.
const ESCAPE: u8 = 0x1b;

/// An alphabet of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Alphabet {
    Gsm,
    Ascii,
    Latin1,
    Ucs2,
    /// GBK, which carriers in China mean by 15.
    Gbk,
}

impl Alphabet {
    /// What a `data_coding` means; `None`: no text, or none that we read.
    pub(crate) fn of(data_coding: u8, default: DefaultAlphabet) -> Option<Alphabet> {
        let default = match default {
            DefaultAlphabet::Gsm | DefaultAlphabet::Unused => Alphabet::Gsm,
            DefaultAlphabet::Latin1 => Alphabet::Latin1,
        };
        match data_coding {
            DEFAULT => Some(default),
            1 => Some(Alphabet::Ascii),
            3 => Some(Alphabet::Latin1),
            UCS2 => Some(Alphabet::Ucs2),
            15 => Some(Alphabet::Gbk),
            // 3GPP TS 23.038 §4: a message class, message waiting stored in UCS-2 or the default alphabet.
            0x10..=0x13 | 0xf0..=0xf3 | 0xc0..=0xdf => Some(default),
            0x18..=0x1b | 0xe0..=0xef => Some(Alphabet::Ucs2),
            _ => None,
        }
    }

    /// The longest that one short message holds, and one part of several (3GPP TS 23.040 §9.2.3.24: six octets go to the
    /// header), in octets as they stand in SMPP.
    pub(crate) const fn room(self) -> (usize, usize) {
        match self {
            Alphabet::Gsm | Alphabet::Ascii => (160, 153),
            Alphabet::Latin1 | Alphabet::Ucs2 | Alphabet::Gbk => (140, 134),
        }
    }

    /// Appends a character. `false`: the alphabet has none such.
    pub(crate) fn encode(self, character: char, out: &mut Vec<u8>) -> bool {
        match self {
            Alphabet::Gsm => {
                if let Some(septet) = GSM.iter().position(|known| *known == character && character != HOLE) {
                    out.push(u8::try_from(septet).expect("the table has 128 places"));
                    return true;
                }
                let Some((septet, _)) = EXTENSION.iter().find(|(_, known)| *known == character) else { return false };
                out.extend_from_slice(&[ESCAPE, *septet]);
            }
            Alphabet::Ascii if character.is_ascii() => out.push(character as u8),
            Alphabet::Latin1 if u32::from(character) < 0x100 => out.push(character as u8),
            Alphabet::Ucs2 => {
                let mut units = [0; 2];
                out.extend(character.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
            }
            Alphabet::Ascii | Alphabet::Latin1 | Alphabet::Gbk => return false,
        }
        true
    }

    /// What octets say. What is no character becomes U+FFFD: a text with one wrong octet is still a text.
    pub(crate) fn decode(self, octets: &[u8]) -> String {
        match self {
            Alphabet::Gsm => gsm(octets),
            Alphabet::Ascii => {
                octets.iter().map(|octet| if octet.is_ascii() { char::from(*octet) } else { '\u{fffd}' }).collect()
            }
            Alphabet::Latin1 => octets.iter().map(|octet| char::from(*octet)).collect(),
            Alphabet::Ucs2 => {
                let units = octets.chunks(2).map(|unit| match unit {
                    [high, low] => u16::from_be_bytes([*high, *low]),
                    _ => 0xfffd,
                });
                char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect()
            }
            Alphabet::Gbk => GBK.decode_without_bom_handling(octets).0.into_owned(),
        }
    }
}

fn gsm(octets: &[u8]) -> String {
    let mut octets = octets.iter().copied();
    let mut out = String::new();
    while let Some(octet) = octets.next() {
        out.push(match octet {
            ESCAPE => match octets.next() {
                // Where the extension has nothing the character of the basic table stands (3GPP TS 23.038 §6.2.1.1).
                Some(after) => match EXTENSION.iter().find(|(septet, _)| *septet == after) {
                    Some((_, character)) => *character,
                    None => GSM.get(usize::from(after)).copied().unwrap_or('\u{fffd}'),
                },
                None => '\u{fffd}',
            },
            octet => GSM.get(usize::from(octet)).copied().unwrap_or('\u{fffd}'),
        });
    }
    out
}

/// What stands in [`GSM`] at the place of the escape.
const HOLE: char = '\u{fffd}';

/// 3GPP TS 23.038 §6.2.1.
#[rustfmt::skip]
const GSM: [char; 128] = [
    '@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å',
    'Δ', '_', 'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', HOLE, 'Æ', 'æ', 'ß', 'É',
    ' ', '!', '"', '#', '¤', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/',
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?',
    '¡', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O',
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'Ä', 'Ö', 'Ñ', 'Ü', '§',
    '¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o',
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à',
];

/// 3GPP TS 23.038 §6.2.1.1.
const EXTENSION: [(u8, char); 10] = [
    (0x0a, '\u{c}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2f, '\\'),
    (0x3c, '['),
    (0x3d, '~'),
    (0x3e, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(alphabet: Alphabet, text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        text.chars().all(|character| alphabet.encode(character, &mut out)).then_some(out)
    }

    #[test]
    fn every_alphabet_reads_what_it_writes() {
        let everything: String =
            GSM.iter().filter(|known| **known != HOLE).chain(EXTENSION.iter().map(|(_, known)| known)).collect();
        assert_eq!(Alphabet::Gsm.decode(&encoded(Alphabet::Gsm, &everything).unwrap()), everything);
        let latin: String = (0..=255).map(char::from).collect();
        assert_eq!(Alphabet::Latin1.decode(&encoded(Alphabet::Latin1, &latin).unwrap()), latin);
        let han = "您的快递已到达，请取件。🚚 ok";
        assert_eq!(Alphabet::Ucs2.decode(&encoded(Alphabet::Ucs2, han).unwrap()), han);
        assert_eq!(encoded(Alphabet::Gsm, han), None);
        assert_eq!(encoded(Alphabet::Gsm, "\u{fffd}"), None);
        assert_eq!(encoded(Alphabet::Ascii, "é"), None);
        assert_eq!(encoded(Alphabet::Latin1, "€"), None);
    }

    /// Octets from the tables of 3GPP TS 23.038 and from GB 18030, not from our own.
    #[test]
    fn the_octets_are_those_of_the_standards() {
        assert_eq!(encoded(Alphabet::Gsm, "@€[é\n").unwrap(), [0x00, 0x1b, 0x65, 0x1b, 0x3c, 0x05, 0x0a]);
        assert_eq!(encoded(Alphabet::Ucs2, "中🚚").unwrap(), [0x4e, 0x2d, 0xd8, 0x3d, 0xde, 0x9a]);
        assert_eq!(Alphabet::Gbk.decode(&[0xd6, 0xd0, 0xce, 0xc4, b'a']), "中文a");
    }

    #[test]
    fn wrong_octets_cost_one_character() {
        assert_eq!(Alphabet::Gsm.decode(&[b'a', 0x80, b'b', 0x1b]), "a\u{fffd}b\u{fffd}");
        assert_eq!(Alphabet::Gsm.decode(&[0x1b, b'a']), "a");
        assert_eq!(Alphabet::Ucs2.decode(&[0x4e, 0x2d, 0xd8, 0x3d, 0x4e, 0x2d, 0x4e]), "中\u{fffd}中\u{fffd}");
        assert_eq!(Alphabet::Ascii.decode(&[b'a', 0xe9]), "a\u{fffd}");
    }

    #[test]
    fn data_codings_mean_what_the_tables_say() {
        let of = |coding| Alphabet::of(coding, DefaultAlphabet::Latin1);
        assert_eq!(
            [0, 1, 3, 8, 15].map(of).map(Option::unwrap),
            [Alphabet::Latin1, Alphabet::Ascii, Alphabet::Latin1, Alphabet::Ucs2, Alphabet::Gbk]
        );
        assert_eq!(Alphabet::of(0, DefaultAlphabet::Unused), Some(Alphabet::Gsm));
        assert_eq!(
            (of(0x11), of(0xf1), of(0x19)),
            (Some(Alphabet::Latin1), Some(Alphabet::Latin1), Some(Alphabet::Ucs2))
        );
        // Binary, JIS, and what nobody has defined.
        assert_eq!([2, 4, 5, 0x15, 0xf5, 0x80].map(of), [None; 6]);
    }
}
