//! How trunks spell numbers, and back (product rule M5).
//!
//! A spelling loses its prefix (`strip`), its visual separators and its parameters, and is then read by the first row
//! that fits:
//!
//! | spelling | is | e.g. |
//! |---|---|---|
//! | `+` digits | global | `+8613800000001` |
//! | `00` digits | global with the international prefix | `008613800000001` |
//! | country code and a national number that the country has | global without `+` | `8613800000001`, `8675528780001` |
//! | `0` digits | national: area code and local number | `075528780001` |
//! | 11 digits that begin with 1, 700 and 12, 400/800 and 7, 95… | national | `13800000001` |
//! | 7 or 8 digits, where the trunk has an area | local | `28780001` |
//! | anything else | national, as it is | `25550001111` |

use crate::number::{Kind, Number, NumberError};

/// Digits of the longest spelling, prefixes included.
const MAX_SPELLING: usize = 40;

/// How one trunk spells numbers to us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadRule {
    /// Country code of national spellings.
    pub country: u16,
    /// Area code, with its leading 0, of local spellings (7 or 8 digits).
    pub area: Option<String>,
    /// Prefixes that the trunk puts before numbers; the first that fits is removed.
    pub strip: Vec<String>,
}

impl Default for ReadRule {
    fn default() -> Self {
        ReadRule { country: 86, area: None, strip: Vec::new() }
    }
}

impl ReadRule {
    /// Reads the user part of a `sip:` URI or the number of a `tel:` URI.
    ///
    /// # Errors
    /// It holds no number.
    pub fn read(&self, spelling: &[u8]) -> Result<Number, NumberError> {
        let mut buffer = [0_u8; MAX_SPELLING];
        let (plus, digits) = bare(spelling, &mut buffer)?;
        let (plus, digits) = self.stripped(plus, digits);
        if plus {
            return Number::of_digits(digits);
        }
        if let Some(international) = digits.strip_prefix(b"00") {
            return Number::of_digits(international);
        }
        let country = self.country.to_string();
        if digits.starts_with(country.as_bytes()) {
            if let Ok(number) = Number::of_digits(digits) {
                if self.country != 86 || number.kind() != Kind::Other {
                    return Ok(number);
                }
            }
        }
        let local = matches!(digits.len(), 7 | 8) && !digits.starts_with(b"0");
        let service = digits.starts_with(b"95") || digits.starts_with(b"96");
        let area = self.area.as_deref().filter(|_| local && !service).unwrap_or_default();
        let national = [area.as_bytes(), digits].concat();
        let national = national.strip_prefix(b"0").unwrap_or(&national);
        if national.is_empty() {
            return Err(NumberError::TooShort);
        }
        Number::of_digits(&[country.as_bytes(), national].concat())
    }

    fn stripped<'a>(&self, plus: bool, digits: &'a [u8]) -> (bool, &'a [u8]) {
        for prefix in &self.strip {
            let (prefix_plus, prefix) = match prefix.strip_prefix('+') {
                Some(rest) => (true, rest),
                None => (false, prefix.as_str()),
            };
            if prefix_plus == plus {
                if let Some(rest) = digits.strip_prefix(prefix.as_bytes()).filter(|rest| !rest.is_empty()) {
                    return (false, rest);
                }
            }
        }
        (plus, digits)
    }
}

/// Decodes `%xx`, cuts parameters, drops separators: whether it began with `+`, and its digits.
fn bare<'b>(spelling: &[u8], buffer: &'b mut [u8; MAX_SPELLING]) -> Result<(bool, &'b [u8]), NumberError> {
    let mut length = 0;
    let mut plus = false;
    let mut rest = spelling;
    while let [byte, tail @ ..] = rest {
        let (byte, tail) = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let nibble = |digit: &u8| char::from(*digit).to_digit(16);
                let (Some(high), Some(low)) = (nibble(high), nibble(low)) else { return Err(NumberError::NotADigit) };
                ((high << 4 | low) as u8, tail)
            }
            _ => (*byte, tail),
        };
        rest = tail;
        match byte {
            b';' => break,
            b'+' if length == 0 && !plus => plus = true,
            b'-' | b'.' | b'(' | b')' | b' ' => {}
            b'0'..=b'9' => {
                *buffer.get_mut(length).ok_or(NumberError::TooLong)? = byte;
                length += 1;
            }
            _ => return Err(NumberError::NotADigit),
        }
    }
    if length == 0 {
        return Err(NumberError::Empty);
    }
    Ok((plus, &buffer[..length]))
}

/// The form that a trunk wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `+8613800000001`.
    Global,
    /// `8613800000001`.
    International,
    /// `008613800000001`.
    Prefixed00,
    /// `13800000001`, `075528780001`, `4001234567`; numbers of another country as [`Form::Prefixed00`].
    National,
}

/// How one trunk wants numbers written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriteRule {
    /// Form.
    pub form: Form,
    /// Put before every number.
    pub prefix: String,
}

impl Default for WriteRule {
    fn default() -> Self {
        WriteRule { form: Form::Global, prefix: String::new() }
    }
}

impl WriteRule {
    /// Appends the number as this trunk wants it. This reveals it: the bytes are for the wire.
    pub fn write(&self, number: Number, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(written(number, self.form).as_bytes());
    }
}

fn written(number: Number, form: Form) -> String {
    let international = number.as_u64().to_string();
    match (form, number.national()) {
        (Form::Global, _) => format!("+{international}"),
        (Form::International, _) => international,
        (Form::Prefixed00, _) | (Form::National, None) => format!("00{international}"),
        (Form::National, Some(_)) => {
            let trunk_prefix = if number.is_fixed_line() { "0" } else { "" };
            format!("{trunk_prefix}{}", &international[2..])
        }
    }
}

/// Every usual spelling of a number, for the search for leaks: global, international, national, with and without
/// separators and escapes. The shortest is the number without country code and leading 0.
#[must_use]
pub fn spellings(number: Number) -> Vec<String> {
    let international = number.as_u64().to_string();
    let national = number.national().map_or_else(|| international.clone(), |_| international[2..].to_owned());
    let mut all = vec![
        format!("+{international}"),
        format!("%2B{international}"),
        format!("00{international}"),
        international.clone(),
        written(number, Form::National),
        national.clone(),
    ];
    let groups: &[&[usize]] = if national.len() == 11 { &[&[3, 4, 4], &[3, 8], &[4, 7]] } else { &[&[3, 7], &[3, 8], &[2, 8]] };
    for sizes in groups.iter().filter(|sizes| sizes.iter().sum::<usize>() == national.len()) {
        for separator in ["-", " ", ".", "%20", ") ", ")"] {
            let mut parts = Vec::new();
            let mut rest = national.as_str();
            for size in *sizes {
                let (part, tail) = rest.split_at(*size);
                parts.push(part);
                rest = tail;
            }
            all.push(parts.join(separator));
        }
    }
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::city::cities;

    fn read(spelling: &str) -> String {
        match ReadRule::default().read(spelling.as_bytes()) {
            Ok(number) => number.reveal().to_string(),
            Err(error) => error.label().to_owned(),
        }
    }

    #[test]
    fn every_row_of_the_table() {
        let rows = [
            ("+8613800000001", "+8613800000001"),
            ("008613800000001", "+8613800000001"),
            ("8613800000001", "+8613800000001"),
            ("13800000001", "+8613800000001"),
            ("+86 138-0000-0001", "+8613800000001"),
            ("%2B8613800000001", "+8613800000001"),
            ("13800000001;npdi;rn=+86", "+8613800000001"),
            ("8675528780001", "+8675528780001"),
            ("075528780001", "+8675528780001"),
            ("0755-28780001", "+8675528780001"),
            ("(0755)28780001", "+8675528780001"),
            ("01062000001", "+861062000001"),
            ("700123456789012", "+86700123456789012"),
            ("86700123456789012", "+86700123456789012"),
            ("4001234567", "+864001234567"),
            ("95588", "+8695588"),
            ("25550001111", "+8625550001111"),
            ("8625550001111", "+868625550001111"),
            ("+8625550001111", "+8625550001111"),
            ("+14155550100", "+14155550100"),
            ("0014155550100", "+14155550100"),
            ("", "empty"),
            ("+", "empty"),
            ("anonymous", "not_a_digit"),
            ("138%zz", "not_a_digit"),
            ("138\u{7f}", "not_a_digit"),
            ("1+38", "not_a_digit"),
            ("0", "too_short"),
            ("00", "empty"),
            ("12345678901234567890", "too_long"),
            ("1234567890123456789012345678901234567890123", "too_long"),
        ];
        for (spelling, expected) in rows {
            assert_eq!(read(spelling), expected, "{spelling}");
        }
    }

    #[test]
    fn a_trunk_may_strip_prefixes_and_know_its_area() {
        let rule = ReadRule { area: Some("0755".into()), strip: vec!["17951".into(), "+99".into()], ..ReadRule::default() };
        let read = |spelling: &str| rule.read(spelling.as_bytes()).unwrap().reveal().to_string();
        assert_eq!(read("1795113800000001"), "+8613800000001");
        assert_eq!(read("+9913800000001"), "+8613800000001");
        assert_eq!(read("28780001"), "+8675528780001");
        assert_eq!(read("2878001"), "+867552878001");
        assert_eq!(read("95588"), "+8695588");
        assert_eq!(read("+8613800000001"), "+8613800000001");
    }

    #[test]
    fn a_number_is_the_same_in_every_form_that_a_trunk_may_write() {
        let mut numbers = vec![
            "+8613812345678".to_owned(),
            "+8619912345678".to_owned(),
            "+86700123456789012".to_owned(),
            "+864001234567".to_owned(),
            "+8695588".to_owned(),
            "+14155550100".to_owned(),
        ];
        numbers.extend(cities().iter().map(|city| {
            let local = if matches!(city.area_code.len(), 3) { "62000001" } else { "8780001" };
            format!("+86{}{local}", &city.area_code[1..])
        }));
        numbers.extend(cities().iter().filter(|city| city.area_code.len() == 4).map(|city| format!("+86{}28780001", &city.area_code[1..])));
        for text in numbers {
            let number = Number::parse(&text).unwrap();
            for form in [Form::Global, Form::International, Form::Prefixed00, Form::National] {
                if form == Form::International && number.national().is_none() {
                    continue; // 14155550100 cannot be told from a number of +86
                }
                let mut out = Vec::new();
                WriteRule { form, prefix: String::new() }.write(number, &mut out);
                let spelling = String::from_utf8(out).unwrap();
                assert_eq!(read(&spelling), text, "{form:?}: {spelling}");
            }
        }
    }

    #[test]
    fn spellings_hold_the_usual_ones_and_are_read_back() {
        let number = Number::parse("+8613812345678").unwrap();
        let all = spellings(number);
        for wanted in ["+8613812345678", "8613812345678", "008613812345678", "13812345678", "138-1234-5678", "138 1234 5678"] {
            assert!(all.iter().any(|spelling| spelling == wanted), "{wanted}");
        }
        let fixed = spellings(Number::parse("+8675528780001").unwrap());
        assert!(fixed.iter().any(|spelling| spelling == "075528780001") && fixed.iter().any(|s| s == "755-28780001"));
    }
}
