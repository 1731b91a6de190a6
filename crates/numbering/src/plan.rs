//! How trunks spell numbers: reading every usual spelling, writing each trunk's own.
//!
//! A spelling is the user part of a `sip:` URI or the number of a `tel:` URI (RFC 3966). It is first made bare:
//! parameters from `;` on are cut, %-escapes decoded, visual separators (`-`, `.`, `(`, `)`, space) removed, a trunk's
//! prefix ([`ReadRule::strip`]) taken off. Then the first rule that fits reads it (C is the country code, 86; a
//! *plausible national number* is one whose [`Kind`] is not `Other`):
//!
//! | # | bare spelling | read as | example |
//! |---|---|---|---|
//! | 1 | `+`, digits | these digits | `+8613800000001` |
//! | 2 | `00`, digits | these digits | `008613800000001`, `0085223456789` |
//! | 3 | `0`, digits | C and these digits | `075528000001`, `013800000001` |
//! | 4 | `1` and 10 more | C and all of it: mobile | `13800000001` |
//! | 5 | `700` and 8 or 12 more | C and all of it | `700123456781234` |
//! | 6 | `400` or `800` and 7 more | C and all of it | `4001234567` |
//! | 7 | 7 or 8 digits from 2 to 8 on, where the trunk has an area | C, area and all of it | `28000001` |
//! | 8 | `95` or `96`, 5–8 digits; `950`, 5–15 | C and all of it | `95588` |
//! | 9 | C and a plausible national number | all of it | `8613800000001`, `8675528000001` |
//! | 10 | anything else | C and all of it | `25550001111`, `75528000001` |
//!
//! In 1, 2 and 9 one 0 between C and an area code (`+860755…`, a frequent slip) is dropped.
//!
//! Where two rules fit, the table's order is the answer: with an area, seven digits like `8695588` are a local number
//! (7), not 86 and 95588 (9); without one they are 86 and 95588. `0860…` is always an area code (3), of which none
//! begins with 86.
//!
//! For another country than 86 the plan (4–8) is not known: 1, 2, 3 as above; then its code followed by at least seven
//! digits is all of it; then anything else gets the code.

use crate::number::{CHINA, Kind, Number, NumberError};

/// Longest spelling that is looked at, in bytes.
const LONGEST: usize = 128;

/// How one trunk spells numbers when it sends them to us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadRule {
    /// Country code of numbers that come without one: 1–999.
    pub country: u16,
    /// Area code, with its leading 0, of local numbers of 7 or 8 digits: `0755`.
    pub area: Option<String>,
    /// Prefixes that the carrier puts before numbers (`17951`): the first that fits is taken off, once, before
    /// anything else is asked. They are compared with the bare spelling, its `+` included.
    pub strip: Vec<String>,
}

impl Default for ReadRule {
    /// China, no area, no prefixes.
    fn default() -> ReadRule {
        ReadRule { country: 86, area: None, strip: Vec::new() }
    }
}

impl ReadRule {
    /// Reads a spelling: the user part of a `sip:` URI, or the number of a `tel:` URI with or without its scheme.
    ///
    /// # Errors
    /// It holds no number.
    pub fn read(&self, spelling: &[u8]) -> Result<Number, NumberError> {
        let bare = Bare::of(spelling)?;
        let bare = bare.as_bytes();
        let bare = self
            .strip
            .iter()
            .find_map(|prefix| bare.strip_prefix(prefix.as_bytes()))
            .filter(|rest| !rest.is_empty())
            .unwrap_or(bare);
        match bare {
            [] => Err(NumberError::Empty),
            [b'+', digits @ ..] | [b'0', b'0', digits @ ..] => self.international(digits),
            [b'0', digits @ ..] => self.with_country(b"", digits),
            digits if u64::from(self.country) == CHINA => self.chinese(digits),
            digits => {
                let country = self.country.to_string();
                match digits.strip_prefix(country.as_bytes()) {
                    Some(rest) if rest.len() >= 7 => Number::of_digits(digits),
                    Some(_) | None => self.with_country(b"", digits),
                }
            }
        }
    }

    /// Rules 4 to 10: digits that begin with no 0.
    fn chinese(&self, digits: &[u8]) -> Result<Number, NumberError> {
        let local = matches!(digits, [b'2'..=b'8', ..]) && matches!(digits.len(), 7 | 8);
        if let (true, Some(area)) = (local, &self.area) {
            let area = area.strip_prefix('0').unwrap_or(area);
            return self.with_country(area.as_bytes(), digits);
        }
        // 4, 5, 6 and 8 are the plan itself. A fixed line without its 0 is asked after the country code: nothing that
        // begins with 86 is in the plan but by rule 9 (no area code does).
        let national = self.with_country(b"", digits);
        if let Ok(number) = national {
            match number.kind() {
                Kind::Mobile | Kind::Protected700 | Kind::Service400 | Kind::Service95 => {
                    return national;
                }
                Kind::Fixed { .. } | Kind::Other => {}
            }
        }
        if digits.starts_with(b"86")
            && let Ok(number) = self.international(digits)
            && number.kind() != Kind::Other
        {
            return Ok(number);
        }
        national
    }

    /// Digits that begin with a country code. A 0 behind 86 is dropped.
    fn international(&self, digits: &[u8]) -> Result<Number, NumberError> {
        match digits {
            [b'8', b'6', b'0', rest @ ..] => joined(&[b"86", rest]),
            digits => Number::of_digits(digits),
        }
    }

    fn with_country(&self, area: &[u8], digits: &[u8]) -> Result<Number, NumberError> {
        joined(&[self.country.to_string().as_bytes(), area, digits])
    }
}

/// The number of some digits that stand in several places.
fn joined(parts: &[&[u8]]) -> Result<Number, NumberError> {
    let mut digits = [0; LONGEST + 8];
    let mut length = 0;
    for part in parts {
        let room = digits.get_mut(length..length + part.len()).ok_or(NumberError::TooLong)?;
        room.copy_from_slice(part);
        length += part.len();
    }
    Number::of_digits(&digits[..length])
}

/// A spelling with everything gone that is no digit but a leading `+`.
struct Bare {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Bare {
    fn of(spelling: &[u8]) -> Result<Bare, NumberError> {
        let spelling = match spelling.split_at_checked(4) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"tel:") => rest,
            Some(_) | None => spelling,
        };
        if spelling.len() > LONGEST {
            return Err(NumberError::TooLong);
        }
        let mut bare = Bare { bytes: [0; LONGEST], length: 0 };
        let mut bytes = spelling.iter().copied();
        while let Some(byte) = bytes.next() {
            let byte = match byte {
                b';' => break,
                b'%' => {
                    let high = bytes.next().and_then(hex).ok_or(NumberError::NotADigit)?;
                    let low = bytes.next().and_then(hex).ok_or(NumberError::NotADigit)?;
                    high << 4 | low
                }
                byte => byte,
            };
            match byte {
                b'-' | b'.' | b'(' | b')' | b' ' => {}
                b'+' if bare.length == 0 => bare.push(byte),
                b'0'..=b'9' => bare.push(byte),
                _ => return Err(NumberError::NotADigit),
            }
        }
        Ok(bare)
    }

    fn push(&mut self, byte: u8) {
        if let Some(room) = self.bytes.get_mut(self.length) {
            *room = byte;
            self.length += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

fn hex(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// In which form a trunk takes numbers.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Form {
    /// `+8613800000001`
    #[default]
    Global,
    /// `8613800000001`
    International,
    /// `008613800000001`
    Prefixed00,
    /// As dialled within China: `13800000001`, `075528000001`, `4001234567`, `95588`; a foreign number with its `00`.
    National,
}

/// How one trunk wants numbers written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteRule {
    /// The form.
    pub form: Form,
    /// What comes before it: a carrier's routing prefix.
    pub prefix: String,
}

impl WriteRule {
    /// Appends the number, in clear, as this trunk wants it.
    pub fn write(&self, number: Number, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix.as_bytes());
        let digits = number.digits();
        let digits = digits.as_bytes();
        match self.form {
            Form::Global => {
                out.push(b'+');
                out.extend_from_slice(digits);
            }
            Form::International => out.extend_from_slice(digits),
            Form::Prefixed00 => {
                out.extend_from_slice(b"00");
                out.extend_from_slice(digits);
            }
            Form::National => match (number.national(), digits.strip_prefix(b"86")) {
                (Some(_), Some(national)) => {
                    if number.is_fixed_line() {
                        out.push(b'0');
                    }
                    out.extend_from_slice(national);
                }
                (_, _) => {
                    out.extend_from_slice(b"00");
                    out.extend_from_slice(digits);
                }
            },
        }
    }
}

/// Every usual spelling of a number in clear, none twice: what a leak scanner looks for.
///
/// Each is one that [`ReadRule::read`] reads back as the same number. The local digits of a fixed line alone are not
/// among them (eight digits are too little to tell a number from a time stamp).
#[must_use]
pub fn spellings(number: Number) -> Vec<String> {
    let digits = number.digits();
    let digits = digits.as_str();
    let mut all = vec![
        format!("+{digits}"),
        digits.to_owned(),
        format!("00{digits}"),
        format!("tel:+{digits}"),
        format!("%2B{digits}"),
    ];
    let Some(national) = number.national().and(digits.strip_prefix("86")) else {
        return all;
    };
    let groups = groups(number, national);
    for separator in ["-", " ", ".", "%20"] {
        let grouped = groups.join(separator);
        all.push(format!("+86{separator}{grouped}"));
        all.push(format!("86{separator}{grouped}"));
        all.push(format!("0086{separator}{grouped}"));
        all.push(format!("tel:+86{separator}{grouped}"));
    }
    let zero = if number.is_fixed_line() { "0" } else { "" };
    all.push(format!("{zero}{national}"));
    all.push(format!("tel:{zero}{national}"));
    for separator in ["-", " ", ".", "%20"] {
        all.push(format!("{zero}{}", groups.join(separator)));
    }
    match number.kind() {
        Kind::Mobile => all.push(format!("0{national}")),
        Kind::Fixed { .. } => {
            all.push(national.to_owned());
            all.push(format!("+860{national}"));
            if let [area, local] = groups.as_slice() {
                all.push(format!("{area}-{local}"));
                all.push(format!("{area} {local}"));
                all.push(format!("(0{area}){local}"));
                all.push(format!("(0{area}) {local}"));
                all.push(format!("+86 ({area}) {local}"));
            }
        }
        Kind::Protected700 | Kind::Service400 | Kind::Service95 | Kind::Other => {}
    }
    all.sort();
    all.dedup();
    all
}

/// The groups in which people write a national number.
fn groups(number: Number, national: &str) -> Vec<&str> {
    let cuts: &[usize] = match number.kind() {
        Kind::Mobile => &[3, 7],
        Kind::Fixed { .. } if national.starts_with(['1', '2']) => &[2],
        Kind::Fixed { .. } => &[3],
        Kind::Protected700 if national.len() > 11 => &[3, 7, 11],
        Kind::Protected700 => &[3, 7],
        Kind::Service400 => &[3, 6],
        Kind::Service95 | Kind::Other => &[],
    };
    let mut groups = Vec::with_capacity(cuts.len() + 1);
    let mut rest = national;
    let mut taken = 0;
    for cut in cuts {
        let Some((group, after)) = rest.split_at_checked(cut - taken) else {
            break;
        };
        groups.push(group);
        rest = after;
        taken = *cut;
    }
    groups.push(rest);
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::city::cities;

    const FORMS: [Form; 4] = [Form::Global, Form::International, Form::Prefixed00, Form::National];

    fn read_by(rule: &ReadRule, spelling: &str) -> String {
        match rule.read(spelling.as_bytes()) {
            Ok(number) => number.reveal().to_string(),
            Err(error) => error.label().to_owned(),
        }
    }

    fn read(spelling: &str) -> String {
        read_by(&ReadRule::default(), spelling)
    }

    fn shenzhen() -> ReadRule {
        ReadRule { area: Some("0755".into()), ..ReadRule::default() }
    }

    #[test]
    fn every_row_of_the_ladder() {
        let rows = [
            // 1
            ("+8613800000001", "+8613800000001"),
            ("+14155550100", "+14155550100"),
            ("+85223456789", "+85223456789"),
            ("+8625550001111", "+8625550001111"),
            ("+8695588", "+8695588"),
            ("+86075528000001", "+8675528000001"),
            ("+86013800000001", "+8613800000001"),
            // 2
            ("008613800000001", "+8613800000001"),
            ("0014155550100", "+14155550100"),
            ("0085223456789", "+85223456789"),
            ("0086075528000001", "+8675528000001"),
            ("0086700123456789012", "+86700123456789012"),
            // 3
            ("075528000001", "+8675528000001"),
            ("07552800001", "+867552800001"),
            ("01062000001", "+861062000001"),
            ("013800000001", "+8613800000001"),
            ("0860123456", "+86860123456"),
            // 4
            ("13800000001", "+8613800000001"),
            ("19912345678", "+8619912345678"),
            // 5
            ("700123456781234", "+86700123456781234"),
            ("70012345678", "+8670012345678"),
            // 6
            ("4001234567", "+864001234567"),
            ("8001234567", "+868001234567"),
            // 8
            ("95588", "+8695588"),
            ("96110", "+8696110"),
            ("95013123456", "+8695013123456"),
            // 9
            ("8613800000001", "+8613800000001"),
            ("8675528000001", "+8675528000001"),
            ("861062000001", "+861062000001"),
            ("86075528000001", "+8675528000001"),
            ("86700123456789012", "+86700123456789012"),
            ("864001234567", "+864001234567"),
            ("8695588", "+8695588"),
            // 10
            ("25550001111", "+8625550001111"),
            ("8625550001111", "+868625550001111"),
            ("75528000001", "+8675528000001"),
            ("1062000001", "+861062000001"),
            ("28000001", "+8628000001"),
            ("10086", "+8610086"),
            ("123", "+86123"),
        ];
        for (spelling, expected) in rows {
            assert_eq!(read(spelling), expected, "{spelling}");
        }
    }

    #[test]
    fn local_numbers_get_the_area_of_their_trunk_and_no_other_spelling_does() {
        let rows = [
            ("28000001", "+8675528000001"),
            ("2800001", "+867552800001"),
            ("2800-0001", "+8675528000001"),
            // Where 7 and 9 both fit, 7 comes first: an X of this city may begin with 8695.
            ("8695588", "+867558695588"),
            ("86951234", "+8675586951234"),
            // Not local: other lengths, and 0, 1 and 9 in front.
            ("280000", "+86280000"),
            ("95588", "+8695588"),
            ("9551234", "+869551234"),
            ("12580001", "+8612580001"),
            ("13800000001", "+8613800000001"),
            ("01062000001", "+861062000001"),
            ("8613800000001", "+8613800000001"),
            ("+8695588", "+8695588"),
            ("008695588", "+8695588"),
        ];
        for (spelling, expected) in rows {
            assert_eq!(read_by(&shenzhen(), spelling), expected, "{spelling}");
        }
        let beijing = ReadRule { area: Some("010".into()), ..ReadRule::default() };
        assert_eq!(read_by(&beijing, "62000001"), "+861062000001");
    }

    #[test]
    fn a_trunks_prefix_is_taken_off_once_and_only_where_something_is_left() {
        let strip = ["17951", "+99", "179", "", "x"].map(String::from).to_vec();
        let rule = ReadRule { strip, ..shenzhen() };
        let rows = [
            ("1795113800000001", "+8613800000001"),
            ("17951075528000001", "+8675528000001"),
            ("17951-138-0000-0001", "+8613800000001"),
            ("17951008613800000001", "+8613800000001"),
            ("1795128000001", "+8675528000001"),
            ("+9913800000001", "+8613800000001"),
            ("17913800000001", "+8613800000001"),
            ("171951795195588", "+86171951795195588"),
            ("1795117951075528000001", "too_long"),
            ("17951", "+8617951"),
            ("+8613800000001", "+8613800000001"),
        ];
        for (spelling, expected) in rows {
            assert_eq!(read_by(&rule, spelling), expected, "{spelling}");
        }
    }

    #[test]
    fn separators_escapes_parameters_and_the_scheme_are_no_part_of_the_number() {
        for spelling in [
            "+86-138-0000-0001",
            "+86 138 0000 0001",
            "+86.138.0000.0001",
            "+86 (138) 0000-0001",
            "%2B8613800000001",
            "%2b86%2D138%200000%200001",
            "%2B86%31%33%380000%30001",
            "+8613800000001;npdi;rn=+8610",
            "13800000001;phone-context=+86",
            "tel:+86-138-0000-0001",
            "TEL:13800000001;phone-context=+86",
            "(+86)13800000001",
            "-138-00000001-",
        ] {
            assert_eq!(read(spelling), "+8613800000001", "{spelling}");
        }
    }

    #[test]
    fn what_is_no_number_is_accused_of_the_right_thing() {
        let long = "1".repeat(129);
        let dashes = "-".repeat(128);
        let rows = [
            ("", "empty"),
            ("+", "empty"),
            ("00", "empty"),
            ("-() .", "empty"),
            (";13800000001", "empty"),
            ("tel:", "empty"),
            (dashes.as_str(), "empty"),
            ("0", "too_short"),
            ("+860", "too_short"),
            ("+8611", "too_short"),
            ("anonymous", "not_a_digit"),
            ("Restricted", "not_a_digit"),
            ("unavailable", "not_a_digit"),
            ("tel", "not_a_digit"),
            ("tel:+86tel:", "not_a_digit"),
            ("+86138000000O1", "not_a_digit"),
            ("138%", "not_a_digit"),
            ("138%3", "not_a_digit"),
            ("138%zz", "not_a_digit"),
            ("138%+1", "not_a_digit"),
            ("138%0000", "not_a_digit"),
            ("138%3B", "not_a_digit"),
            ("138%252D", "not_a_digit"),
            ("138*0000", "not_a_digit"),
            ("138#", "not_a_digit"),
            ("138@host", "not_a_digit"),
            ("138\u{7f}", "not_a_digit"),
            ("138\r\n", "not_a_digit"),
            ("１３８", "not_a_digit"),
            ("1+38", "not_a_digit"),
            ("++8613800000001", "not_a_digit"),
            ("+0138000000", "not_global"),
            ("000138000000", "not_global"),
            ("+8600755123456", "not_global"),
            ("12345678901234567890", "too_long"),
            ("+1234567890123456789", "too_long"),
            (long.as_str(), "too_long"),
        ];
        for (spelling, expected) in rows {
            assert_eq!(read(spelling), expected, "{spelling}");
        }
        assert_eq!(ReadRule::default().read(&[0xd6, 0xd0]), Err(NumberError::NotADigit));
        assert_eq!(ReadRule::default().read(&[0; 20]), Err(NumberError::NotADigit));
    }

    #[test]
    fn another_country_has_its_code_and_no_plan() {
        let hong_kong = ReadRule { country: 852, ..ReadRule::default() };
        let rows = [
            ("23456789", "+85223456789"),
            ("85223456789", "+85223456789"),
            ("85212345", "+85285212345"),
            ("008613800000001", "+8613800000001"),
            ("+8613800000001", "+8613800000001"),
            ("13800000001", "+85213800000001"),
        ];
        for (spelling, expected) in rows {
            assert_eq!(read_by(&hong_kong, spelling), expected, "{spelling}");
        }
        let america = ReadRule { country: 1, ..ReadRule::default() };
        assert_eq!(read_by(&america, "14155550100"), "+14155550100");
        assert_eq!(read_by(&america, "4155550100"), "+14155550100");
    }

    #[test]
    fn every_form_is_written_as_its_trunk_wants_it() {
        let rows = [
            ("+8613800000001", ["+8613800000001", "8613800000001", "008613800000001", "13800000001"]),
            ("+8675528000001", ["+8675528000001", "8675528000001", "008675528000001", "075528000001"]),
            ("+861062000001", ["+861062000001", "861062000001", "00861062000001", "01062000001"]),
            ("+864001234567", ["+864001234567", "864001234567", "00864001234567", "4001234567"]),
            ("+8695588", ["+8695588", "8695588", "008695588", "95588"]),
            ("+8625550001111", ["+8625550001111", "8625550001111", "008625550001111", "25550001111"]),
            ("+14155550100", ["+14155550100", "14155550100", "0014155550100", "0014155550100"]),
        ];
        for (text, expected) in rows {
            let number = Number::parse(text).unwrap();
            for (form, expected) in FORMS.into_iter().zip(expected) {
                let mut out = b"<".to_vec();
                WriteRule { form, prefix: "9#".into() }.write(number, &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), format!("<9#{expected}"), "{form:?}");
            }
        }
        assert_eq!(WriteRule::default(), WriteRule { form: Form::Global, prefix: String::new() });
    }

    /// Mobiles, fixed lines of every city in both lengths, 700, 400 and 95 numbers.
    fn samples() -> Vec<Number> {
        let mut texts: Vec<String> = [
            "+8613812345678",
            "+8619912345678",
            "+8610012345678",
            "+86700123456789012",
            "+8670012345678",
            "+864001234567",
            "+868001234567",
            "+8695588",
            "+86961101",
            "+8695013123456",
        ]
        .map(String::from)
        .to_vec();
        for city in cities() {
            for local in ["28780001", "8780001", "86123456", "8695588"] {
                texts.push(format!("+86{}{local}", &city.area_code[1..]));
            }
        }
        texts.iter().map(|text| Number::parse(text).unwrap()).collect()
    }

    fn assert_all_spellings_read_back(number: Number, rule: &ReadRule) {
        for form in FORMS {
            let mut out = Vec::new();
            WriteRule { form, prefix: String::new() }.write(number, &mut out);
            assert_eq!(rule.read(&out), Ok(number), "{form:?}: {}", String::from_utf8_lossy(&out));
        }
        let all = spellings(number);
        for spelling in &all {
            assert_eq!(rule.read(spelling.as_bytes()), Ok(number), "{spelling}");
        }
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_number_is_the_same_in_every_spelling() {
        for number in samples() {
            assert_ne!(number.kind(), Kind::Other, "{}", number.reveal());
            assert_all_spellings_read_back(number, &ReadRule::default());
        }
    }

    #[test]
    fn an_area_changes_no_spelling_of_eleven_digits_and_more() {
        for number in samples().into_iter().filter(|number| number.digits().as_bytes().len() >= 11) {
            assert_all_spellings_read_back(number, &shenzhen());
        }
    }

    #[test]
    fn the_spellings_hold_the_usual_ones() {
        let of = |text: &str| spellings(Number::parse(text).unwrap());
        let rows: [(&str, &[&str]); 4] = [
            (
                "+8613812345678",
                &[
                    "+8613812345678",
                    "%2B8613812345678",
                    "8613812345678",
                    "008613812345678",
                    "13812345678",
                    "013812345678",
                    "138-1234-5678",
                    "138 1234 5678",
                    "+86-138-1234-5678",
                    "+86 138 1234 5678",
                    "tel:+86-138-1234-5678",
                    "tel:+8613812345678",
                ],
            ),
            (
                "+8675528780001",
                &[
                    "+8675528780001",
                    "075528780001",
                    "0755-28780001",
                    "0755 28780001",
                    "755-28780001",
                    "(0755)28780001",
                    "(0755) 28780001",
                    "+86-755-28780001",
                    "+86 (755) 28780001",
                    "75528780001",
                ],
            ),
            ("+86700123456789012", &["700123456789012", "700-1234-5678-9012"]),
            ("+864001234567", &["400-123-4567", "4001234567"]),
        ];
        for (number, wanted) in rows {
            let all = of(number);
            for wanted in wanted {
                assert!(all.iter().any(|spelling| spelling == wanted), "{wanted}");
            }
        }
        assert!(of("+8610062000001").len() > 10);
        assert!(of("+14155550100").iter().any(|spelling| spelling == "0014155550100"));
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn mobiles_are_the_same_in_every_spelling(tail in 0_u64..10_000_000_000) {
            let number = Number::from_u64(8_610_000_000_000 + tail).unwrap();
            prop_assert_eq!(number.kind(), Kind::Mobile);
            assert_all_spellings_read_back(number, &ReadRule::default());
            assert_all_spellings_read_back(number, &shenzhen());
        }

        #[test]
        fn fixed_lines_of_every_city_are_the_same_in_every_spelling(local in 2_000_000_u64..90_000_000) {
            for city in cities() {
                let number = Number::parse(&format!("+86{}{local}", &city.area_code[1..])).unwrap();
                prop_assert!(matches!(number.kind(), Kind::Fixed { city: Some(_) }), "{:?} {}", city, local);
                for form in FORMS {
                    let mut out = Vec::new();
                    WriteRule { form, prefix: String::new() }.write(number, &mut out);
                    prop_assert_eq!(ReadRule::default().read(&out), Ok(number));
                }
            }
        }

        #[test]
        fn protected_numbers_are_the_same_in_every_spelling(tail in 0_u64..1_000_000_000_000) {
            let number = Number::from_u64(86_700_000_000_000_000 + tail).unwrap();
            prop_assert_eq!(number.kind(), Kind::Protected700);
            assert_all_spellings_read_back(number, &ReadRule::default());
        }

        #[test]
        fn service_numbers_are_the_same_in_every_spelling(tail in 0_u64..10_000_000) {
            let number = Number::from_u64(864_000_000_000 + tail).unwrap();
            prop_assert_eq!(number.kind(), Kind::Service400);
            assert_all_spellings_read_back(number, &ReadRule::default());
        }

        #[test]
        fn foreign_numbers_are_the_same_in_every_form_that_names_the_country(value in 10_000_000_u64..1_000_000_000_000) {
            let Some(number) = Number::from_u64(value) else { return Ok(()) };
            for form in [Form::Global, Form::Prefixed00] {
                let mut out = Vec::new();
                WriteRule { form, prefix: String::new() }.write(number, &mut out);
                prop_assert_eq!(shenzhen().read(&out), Ok(number));
            }
        }

        #[test]
        fn no_bytes_panic_and_what_is_read_is_a_number(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
            if let Ok(number) = shenzhen().read(&bytes) {
                prop_assert_eq!(Number::from_u64(number.as_u64()), Some(number));
            }
        }

        #[test]
        fn no_likely_bytes_panic(text in "(tel:)?[-+0-9%. ();A-Fa-f]{0,40}", area in prop::option::of("[0-9]{0,5}"), country in any::<u16>()) {
            let rule = ReadRule { country, area, strip: vec!["0".into(), "+".into()] };
            if let Ok(number) = rule.read(text.as_bytes()) {
                prop_assert_eq!(Number::from_u64(number.as_u64()), Some(number));
                for spelling in spellings(number) {
                    prop_assert!(!spelling.is_empty());
                }
            }
        }
    }
}
