//! A telephone number in global form (E.164), packed into eight bytes.

use std::fmt;
use std::num::NonZeroU64;

use crate::city::{City, city_of_area};

/// Digits of the longest number: `+86` and a 15-digit 700 number have 17.
const MAX_DIGITS: usize = 18;

/// A number in global form. Printing it masks it; [`Number::reveal`] is for the wire, the store and the API.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(NonZeroU64);

/// Why a spelling is no number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NumberError {
    /// No digits at all.
    Empty,
    /// Something that is neither a digit nor a visual separator.
    NotADigit,
    /// Not `+` and a country code.
    NotGlobal,
    /// Fewer digits than any number has.
    TooShort,
    /// More than 18 digits.
    TooLong,
}

impl NumberError {
    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            NumberError::Empty => "empty",
            NumberError::NotADigit => "not_a_digit",
            NumberError::NotGlobal => "not_global",
            NumberError::TooShort => "too_short",
            NumberError::TooLong => "too_long",
        }
    }
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NumberError::Empty => "there are no digits",
            NumberError::NotADigit => "there is something that is no digit",
            NumberError::NotGlobal => "it does not begin with + and a country code",
            NumberError::TooShort => "it is too short for a number",
            NumberError::TooLong => "it has more than 18 digits",
        })
    }
}

impl std::error::Error for NumberError {}

/// What kind of number of +86 it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 11 digits that begin with 1.
    Mobile,
    /// Area code and 7 or 8 digits; the city where the table knows it.
    Fixed {
        /// Of the area code.
        city: Option<&'static City>,
    },
    /// 700 and 12 digits, or its managed prefix of 11 digits.
    Protected700,
    /// 400 or 800 and 7 digits.
    Service400,
    /// 95 or 96 and more: short service numbers.
    Service95,
    /// Anything else, and every number of another country.
    Other,
}

impl Number {
    /// Reads the global form, `+8613800000001`.
    ///
    /// # Errors
    /// Anything else, separators included.
    pub fn parse(text: &str) -> Result<Number, NumberError> {
        let digits = text.strip_prefix('+').ok_or(NumberError::NotGlobal)?;
        Number::of_digits(digits.as_bytes())
    }

    /// Country code and national number, digits only.
    pub(crate) fn of_digits(digits: &[u8]) -> Result<Number, NumberError> {
        match digits {
            [] => return Err(NumberError::Empty),
            [b'0', ..] => return Err(NumberError::NotGlobal),
            _ if digits.len() < 5 => return Err(NumberError::TooShort),
            _ if digits.len() > MAX_DIGITS => return Err(NumberError::TooLong),
            _ => {}
        }
        let mut value = 0_u64;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return Err(NumberError::NotADigit);
            }
            value = value * 10 + u64::from(digit - b'0');
        }
        NonZeroU64::new(value).map(Number).ok_or(NumberError::Empty)
    }

    /// The digits as one integer: the form that stores keep.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0.get()
    }

    /// Back from [`Number::as_u64`].
    #[must_use]
    pub fn from_u64(value: u64) -> Option<Number> {
        Number::of_digits(value.to_string().as_bytes()).ok()
    }

    /// The whole number, for the wire, the store and the API only.
    #[must_use]
    pub const fn reveal(self) -> Revealed {
        Revealed(self)
    }

    /// The digits after +86; `None` for another country.
    #[must_use]
    pub(crate) fn national(self) -> Option<u64> {
        let value = self.0.get();
        let digits = value.ilog10() + 1;
        let unit = 10_u64.pow(digits.checked_sub(2)?);
        (value / unit == 86).then_some(value % unit)
    }

    /// How many digits follow +86; `None` for another country.
    fn national_digits(self) -> Option<u32> {
        self.national()?;
        Some(self.0.get().ilog10() - 1)
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        let (Some(national), Some(digits)) = (self.national(), self.national_digits()) else { return Kind::Other };
        let lead = |count: u32| if digits >= count { national / 10_u64.pow(digits - count) } else { 0 };
        match digits {
            11 if lead(1) == 1 => Kind::Mobile,
            15 if lead(3) == 700 => Kind::Protected700,
            11 if lead(3) == 700 => Kind::Protected700,
            10 if matches!(lead(3), 400 | 800) => Kind::Service400,
            5..=8 if matches!(lead(2), 95 | 96) => Kind::Service95,
            9..=11 => match area_of(national, digits) {
                Some(area) => Kind::Fixed { city: city_of_area(area) },
                None => Kind::Other,
            },
            _ => Kind::Other,
        }
    }

    /// A fixed line of +86: it can be called, but may not call X (8023).
    #[must_use]
    pub fn is_fixed_line(self) -> bool {
        matches!(self.kind(), Kind::Fixed { .. })
    }
}

/// The area code (without 0) of a national number of 9 to 11 digits: 10 and 2x have two digits and 8 follow, every
/// other has three and 7 or 8 follow.
fn area_of(national: u64, digits: u32) -> Option<u32> {
    let two = u32::try_from(national / 10_u64.pow(digits - 2)).ok()?;
    if two == 10 || (20..=29).contains(&two) {
        return (digits == 10).then_some(two);
    }
    let three = u32::try_from(national / 10_u64.pow(digits - 3)).ok()?;
    (matches!(digits, 10 | 11) && (310..=999).contains(&three)).then_some(three)
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Masked: the country code and at most three digits, stars, the last four where at least four stay hidden.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.get().to_string();
        let shown_front = if digits.len() >= 12 { 5 } else { 2 };
        let shown_back = if digits.len() >= 12 { 4 } else { 1 };
        let hidden = digits.len().saturating_sub(shown_front + shown_back);
        let front = &digits[..shown_front];
        let back = &digits[digits.len() - shown_back..];
        write!(f, "+{front}{:*<hidden$}{back}", "")
    }
}

/// A number printed whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Revealed(Number);

impl fmt::Display for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn printing_masks_and_reveal_does_not() {
        let mobile = number("+8613812345678");
        assert_eq!(format!("{mobile} {mobile:?}"), "+86138****5678 +86138****5678");
        assert_eq!(mobile.reveal().to_string(), "+8613812345678");
        assert_eq!(number("+8695588").to_string(), "+86****8");
        assert_eq!(number("+86700123456789012").to_string(), "+86700********9012");
    }

    #[test]
    fn only_the_global_form_is_taken() {
        assert_eq!(Number::parse("13812345678"), Err(NumberError::NotGlobal));
        assert_eq!(Number::parse("+"), Err(NumberError::Empty));
        assert_eq!(Number::parse("+0138"), Err(NumberError::NotGlobal));
        assert_eq!(Number::parse("+86 138"), Err(NumberError::NotADigit));
        assert_eq!(Number::parse("+86"), Err(NumberError::TooShort));
        assert_eq!(Number::parse("+8612345678901234567"), Err(NumberError::TooLong));
    }

    #[test]
    fn kinds() {
        let rows = [
            ("+8613800000001", Kind::Mobile),
            ("+8675528780001", Kind::Fixed { city: city_of_area(755) }),
            ("+861062000001", Kind::Fixed { city: city_of_area(10) }),
            ("+862162000001", Kind::Fixed { city: city_of_area(21) }),
            ("+86700123456789012", Kind::Protected700),
            ("+8670012345678", Kind::Protected700),
            ("+864001234567", Kind::Service400),
            ("+868001234567", Kind::Service400),
            ("+8695588", Kind::Service95),
            ("+8696110123", Kind::Service95),
            ("+8625550001111", Kind::Other),
            ("+85212345678", Kind::Other),
            ("+14155550100", Kind::Other),
        ];
        for (text, kind) in rows {
            assert_eq!(number(text).kind(), kind, "{text}");
        }
    }

    #[test]
    fn stores_get_their_number_back() {
        let x = number("+86700123456789012");
        assert_eq!(Number::from_u64(x.as_u64()), Some(x));
        assert_eq!(Number::from_u64(0), None);
        assert_eq!(std::mem::size_of::<Option<Number>>(), 8);
    }
}
