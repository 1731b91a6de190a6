//! A telephone number in global form (ITU-T E.164), packed into eight bytes and printed masked; and what kind it is.
//!
//! E.164 stops at 15 digits; a Chinese 700 number has 15 *after* the country code, so up to [`MAX_DIGITS`] are kept.
//!
//! | after 86 | digits | [`Kind`] |
//! |---|---|---|
//! | `1…` | 11 | `Mobile` |
//! | `700…` | 15, or 11 for a managed prefix | `Protected700` |
//! | `400…`, `800…` | 10 | `Service400` |
//! | `95…`, `96…` | 5–8 | `Service95` |
//! | `950…` (long service numbers; there is no area 0950) | 5–15 | `Service95` |
//! | `10`, `2x` and 7 or 8 | 9–10 | `Fixed` |
//! | any other area `31x`–`99x` and 7 or 8 | 10–11 | `Fixed` |
//! | anything else, and every number of another country | | `Other` |

use std::fmt;
use std::num::NonZeroU64;

use crate::city::{City, city_of_area};

/// Most digits of a number, country code included.
pub const MAX_DIGITS: usize = 18;

/// Fewest digits of a number, country code included (`+86110`).
pub const MIN_DIGITS: usize = 5;

/// The country whose plan [`Kind`] knows.
pub(crate) const CHINA: u64 = 86;

/// A number in global form: between [`MIN_DIGITS`] and [`MAX_DIGITS`] digits, country code first, no leading zero.
///
/// **Debug and Display print masked**, `+86138****0001`. The whole number leaves only by [`Number::reveal`] and
/// [`Number::digits`], called where bytes for the wire, the store or the API are written.
///
/// What the mask shows: of 11 digits and more behind 86 the first three and the last four, which is how Chinese numbers
/// are masked everywhere, and the same of 400 and 800 numbers, which are nobody's in person; of any other number at most
/// half of the digits and at most three and four. One star stands for one digit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(NonZeroU64);

/// Why a spelling is no number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NumberError {
    /// No digits at all.
    Empty,
    /// Something that is neither a digit nor a visual separator: a letter, a second `+`, a broken %-escape.
    NotADigit,
    /// Not `+` and a country code; or a 0 behind `+86`, which belongs to national dialling only.
    NotGlobal,
    /// Fewer than [`MIN_DIGITS`] digits, country code included.
    TooShort,
    /// More than [`MAX_DIGITS`] digits, or an overlong spelling.
    TooLong,
}

impl NumberError {
    /// Every one.
    pub const ALL: [NumberError; 5] = [
        NumberError::Empty,
        NumberError::NotADigit,
        NumberError::NotGlobal,
        NumberError::TooShort,
        NumberError::TooLong,
    ];

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

/// What a number is in the Chinese plan: the module's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 11 digits that begin with 1.
    Mobile,
    /// Area code and 7 or 8 digits.
    Fixed {
        /// The city of the area code, where the table knows it; the first one where several share it.
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
        match text.as_bytes() {
            [] => Err(NumberError::Empty),
            [b'+', digits @ ..] => Number::of_digits(digits),
            _ => Err(NumberError::NotGlobal),
        }
    }

    /// Country code and national number, digits only.
    pub(crate) fn of_digits(digits: &[u8]) -> Result<Number, NumberError> {
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(NumberError::NotADigit);
        }
        match digits.len() {
            0 => return Err(NumberError::Empty),
            _ if digits.first() == Some(&b'0') => return Err(NumberError::NotGlobal),
            1..MIN_DIGITS => return Err(NumberError::TooShort),
            MIN_DIGITS..=MAX_DIGITS => {}
            _ => return Err(NumberError::TooLong),
        }
        let value = digits.iter().fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        Number::from_u64(value).ok_or(NumberError::NotGlobal)
    }

    /// The digits as one integer, the form that stores keep: `+8613800000001` is 8613800000001.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0.get()
    }

    /// Back from [`Number::as_u64`]; `None` where the integer is no number: too few or too many digits, or 860….
    #[must_use]
    pub fn from_u64(value: u64) -> Option<Number> {
        let number = Number(NonZeroU64::new(value)?);
        if !(MIN_DIGITS..=MAX_DIGITS).contains(&(number.count() as usize)) {
            return None;
        }
        // No national number begins with the 0 that is dialled before area codes: +860755… would be +86755… under
        // another name, and one number must have one name.
        let trunk_zero = number.national().is_some_and(|national| national.leading(1) == 0);
        (!trunk_zero).then_some(number)
    }

    /// The whole number, for the wire, the store and the API only.
    #[must_use]
    pub const fn reveal(self) -> Revealed {
        Revealed(self)
    }

    /// The digits in clear, without the `+`: for the wire, the store and the API only.
    #[must_use]
    pub fn digits(self) -> Digits {
        let mut digits = Digits { bytes: [b'0'; MAX_DIGITS], first: MAX_DIGITS };
        let mut rest = self.as_u64();
        while rest != 0 && digits.first > 0 {
            digits.first -= 1;
            digits.bytes[digits.first] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        digits
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.national().map_or(Class::Other, National::class) {
            Class::Mobile => Kind::Mobile,
            Class::Fixed { area } => Kind::Fixed { city: u32::try_from(area).ok().and_then(city_of_area) },
            Class::Protected700 => Kind::Protected700,
            Class::Service400 => Kind::Service400,
            Class::Service95 => Kind::Service95,
            Class::Other => Kind::Other,
        }
    }

    /// It is one of +86, whatever stands behind that.
    #[must_use]
    pub fn is_chinese(self) -> bool {
        self.national().is_some()
    }

    /// A fixed line of +86: it can be called, but may not call X (8023).
    #[must_use]
    pub fn is_fixed_line(self) -> bool {
        self.national().is_some_and(|national| matches!(national.class(), Class::Fixed { .. }))
    }

    /// It is of the 700 segment: 11 digits of it are managed, 15 are dialled (product rule M4).
    #[must_use]
    pub fn is_700(self) -> bool {
        matches!(self.kind(), Kind::Protected700)
    }

    /// It is one of the 11 digits of the 700 segment that are managed: an X that is dialled with four more behind it.
    #[must_use]
    pub fn is_managed_700(self) -> bool {
        self.national().is_some_and(|national| national.digits == 11) && self.is_700()
    }

    /// Of a 700 number of 15 digits: the 11 that are managed, and the four behind them.
    #[must_use]
    pub fn managed_700(self) -> Option<(Number, u16)> {
        let national = self.national().filter(|national| national.digits == 15)?;
        if !matches!(national.class(), Class::Protected700) {
            return None;
        }
        let tail = (self.as_u64() % 10_000) as u16;
        Some((Number::from_u64(self.as_u64() / 10_000)?, tail))
    }

    /// A managed 700 number of 11 digits with four behind it (0-9999); `None` for any other number.
    #[must_use]
    pub fn with_tail(self, tail: u16) -> Option<Number> {
        if !self.is_managed_700() || tail > 9_999 {
            return None;
        }
        Number::from_u64(self.as_u64() * 10_000 + u64::from(tail))
    }

    /// The area code, without its 0, of a fixed line of +86.
    pub(crate) fn area(self) -> Option<u16> {
        match self.national()?.class() {
            Class::Fixed { area } => u16::try_from(area).ok(),
            _ => None,
        }
    }

    /// What stands behind 86; `None` for another country.
    pub(crate) const fn national(self) -> Option<National> {
        let Some(digits) = self.count().checked_sub(2) else { return None };
        let scale = 10_u64.pow(digits);
        if digits == 0 || self.as_u64() / scale != CHINA {
            return None;
        }
        Some(National { value: self.as_u64() % scale, digits })
    }

    const fn count(self) -> u32 {
        self.0.ilog10() + 1
    }
}

/// A number behind 86, with how many digits it has.
#[derive(Clone, Copy)]
pub(crate) struct National {
    value: u64,
    digits: u32,
}

/// [`Kind`] before the city is looked up.
#[derive(Clone, Copy)]
enum Class {
    Mobile,
    /// The area code without its 0.
    Fixed {
        area: u64,
    },
    Protected700,
    Service400,
    Service95,
    Other,
}

impl National {
    /// The first digits; 0 where there are fewer.
    const fn leading(self, count: u32) -> u64 {
        match self.digits.checked_sub(count) {
            Some(rest) => self.value / 10_u64.pow(rest),
            None => 0,
        }
    }

    /// How many digits the mask leaves in front and at the end.
    const fn shown(self) -> (usize, usize) {
        match self.class() {
            Class::Service400 => (3, 4),
            _ if self.digits >= 11 => (3, 4),
            _ => half(self.digits as usize),
        }
    }

    /// The module's table, from its top.
    const fn class(self) -> Class {
        let (two, three) = (self.leading(2), self.leading(3));
        match (self.digits, self.leading(1), two, three) {
            (11, 1, _, _) => Class::Mobile,
            (11 | 15, _, _, 700) => Class::Protected700,
            (10, _, _, 400 | 800) => Class::Service400,
            (5..=8, _, 95 | 96, _) | (5..=15, _, _, 950) => Class::Service95,
            (_, _, _, 400 | 700 | 800) => Class::Other,
            (9 | 10, _, 10 | 20..=29, _) => Class::Fixed { area: two },
            (10 | 11, _, _, 310..=999) => Class::Fixed { area: three },
            (_, _, _, _) => Class::Other,
        }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits();
        let digits = digits.as_str();
        let (country, (head, tail)) = match self.national() {
            Some(national) => (2, national.shown()),
            None => (0, half(digits.len())),
        };
        let front = &digits[..country + head];
        let back = &digits[digits.len() - tail..];
        let hidden = digits.len() - front.len() - back.len();
        write!(f, "+{front}{:*<hidden$}{back}", "")
    }
}

/// How many digits a mask leaves in front and at the end, where it may leave half of them.
const fn half(digits: usize) -> (usize, usize) {
    let shown = if digits / 2 > 7 { 7 } else { digits / 2 };
    (shown / 2, shown - shown / 2)
}

/// A number printed whole by its Display; its Debug is masked like the number's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Revealed(Number);

impl fmt::Display for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0.0)
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The digits of a number in clear, on the stack. Its Debug tells only how many there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digits {
    bytes: [u8; MAX_DIGITS],
    first: usize,
}

impl Digits {
    /// As bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.first..).unwrap_or_default()
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("only ASCII digits are ever written")
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} digits", self.as_bytes().len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn printing_masks_and_reveal_does_not() {
        let mobile = number("+8613812345678");
        assert_eq!(format!("{mobile} {mobile:?}"), "+86138****5678 +86138****5678");
        assert_eq!(mobile.reveal().to_string(), "+8613812345678");
        assert_eq!(mobile.digits().as_str(), "8613812345678");
        assert_eq!(format!("{:?} {:?}", mobile.reveal(), mobile.digits()), "+86138****5678 13 digits");
        assert_eq!(number("+86700123456789012").to_string(), "+86700********9012");
        assert_eq!(number("+8675528780001").to_string(), "+86755****0001");
        assert_eq!(number("+864001231234").to_string(), "+86400***1234");
    }

    #[test]
    fn short_and_foreign_numbers_are_masked_harder() {
        assert_eq!(number("+861062000001").to_string(), "+8610*****001");
        assert_eq!(number("+8695588").to_string(), "+869***8");
        assert_eq!(number("+86110").to_string(), "+86**0");
        assert_eq!(number("+85223456789").to_string(), "+85******789");
        assert_eq!(number("+14155550100").to_string(), "+14******100");
        assert_eq!(number("+33123").to_string(), "+3***3");
        assert_eq!(number("+491234567890123456").to_string(), "+491***********3456");
    }

    #[test]
    fn only_the_global_form_is_taken() {
        let rows = [
            ("", NumberError::Empty),
            ("+", NumberError::Empty),
            ("13812345678", NumberError::NotGlobal),
            ("8613812345678", NumberError::NotGlobal),
            ("+0138", NumberError::NotGlobal),
            ("+0", NumberError::NotGlobal),
            ("+86075528780001", NumberError::NotGlobal),
            ("+86013800000001", NumberError::NotGlobal),
            ("+86000", NumberError::NotGlobal),
            ("+86 138", NumberError::NotADigit),
            ("+86138-0000", NumberError::NotADigit),
            ("++8613800000001", NumberError::NotADigit),
            ("+8613８00000001", NumberError::NotADigit),
            (" +8613800000001", NumberError::NotGlobal),
            ("+86", NumberError::TooShort),
            ("+8611", NumberError::TooShort),
            ("+8612345678901234567", NumberError::TooLong),
            ("+99999999999999999999999999", NumberError::TooLong),
        ];
        for (text, error) in rows {
            assert_eq!(Number::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn every_row_of_the_kinds() {
        let fixed = |area| Kind::Fixed { city: city_of_area(area) };
        let rows = [
            ("+8613800000001", Kind::Mobile),
            ("+8619912345678", Kind::Mobile),
            ("+861380000000", Kind::Other),
            ("+86138000000011", Kind::Other),
            ("+86700123456789012", Kind::Protected700),
            ("+8670012345678", Kind::Protected700),
            ("+867001234567", Kind::Other),
            ("+8670012345678901", Kind::Other),
            ("+864001234567", Kind::Service400),
            ("+868001234567", Kind::Service400),
            ("+8640012345678", Kind::Other),
            ("+8695588", Kind::Service95),
            ("+8696110123", Kind::Service95),
            ("+869558", Kind::Other),
            ("+8695013123456", Kind::Service95),
            ("+86950131234567890", Kind::Service95),
            ("+8695112345678", fixed(951)),
            ("+8675528780001", fixed(755)),
            ("+867552878001", fixed(755)),
            ("+86755287800011", Kind::Other),
            ("+861062000001", fixed(10)),
            ("+86106200001", fixed(10)),
            ("+862162000001", fixed(21)),
            ("+862812345678", fixed(28)),
            ("+8633312345678", Kind::Fixed { city: None }),
            ("+8630012345678", Kind::Other),
            ("+8625550001111", Kind::Other),
            ("+8610086", Kind::Other),
            ("+8612345", Kind::Other),
            ("+85212345678", Kind::Other),
            ("+14155550100", Kind::Other),
            ("+8513800000001", Kind::Other),
        ];
        for (text, kind) in rows {
            assert_eq!(number(text).kind(), kind, "{text}");
            assert_eq!(number(text).is_fixed_line(), matches!(kind, Kind::Fixed { .. }), "{text}");
            assert_eq!(number(text).is_chinese(), text.starts_with("+86"), "{text}");
        }
        assert_eq!(fixed(755), Kind::Fixed { city: Some(city_of_area(755).unwrap()) });
    }

    #[test]
    fn an_option_costs_no_more_than_the_number() {
        assert_eq!(std::mem::size_of::<Option<Number>>(), 8);
    }

    #[test]
    fn integers_that_are_no_numbers_are_refused() {
        for value in [0, 1, 9_999, 860, 86_012, 86_075_528_780_001, 10_u64.pow(18), u64::MAX] {
            assert_eq!(Number::from_u64(value), None, "{value}");
        }
        assert!(Number::from_u64(10_000).is_some() && Number::from_u64(10_u64.pow(18) - 1).is_some());
    }

    #[test]
    fn labels_are_distinct() {
        let labels: std::collections::HashSet<_> = NumberError::ALL.iter().map(|error| error.label()).collect();
        assert_eq!(labels.len(), NumberError::ALL.len());
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn text_integer_and_number_are_one(value in 10_000_u64..1_000_000_000_000_000_000) {
            let text = format!("+{value}");
            match Number::parse(&text) {
                Ok(number) => {
                    prop_assert_eq!(number.as_u64(), value);
                    prop_assert_eq!(Number::from_u64(value), Some(number));
                    prop_assert_eq!(number.reveal().to_string(), text);
                }
                Err(error) => {
                    prop_assert_eq!(error, NumberError::NotGlobal);
                    prop_assert_eq!(Number::from_u64(value), None);
                    prop_assert!(text.starts_with("+860"));
                }
            }
        }

        #[test]
        fn the_mask_shows_no_more_than_it_says(value in 10_000_u64..1_000_000_000_000_000_000) {
            let Some(number) = Number::from_u64(value) else { return Ok(()) };
            let masked = number.to_string();
            let clear = number.reveal().to_string();
            prop_assert_eq!(masked.len(), clear.len());
            let agree = masked.bytes().zip(clear.bytes()).all(|(m, c)| m == c || m == b'*');
            prop_assert!(agree);
            let digits = masked.strip_prefix(if clear.starts_with("+86") { "+86" } else { "+" }).unwrap();
            let seen = digits.bytes().filter(|byte| *byte != b'*').count();
            prop_assert!(seen <= 7);
            if !(clear.starts_with("+86") && digits.len() >= 11 || number.kind() == Kind::Service400) {
                prop_assert!(2 * seen <= digits.len(), "{}", masked);
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            let _ = Number::parse(&text);
        }
    }
}
