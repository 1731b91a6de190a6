//! The parameters of a request: from a JSON body, from a query, or from both.
//!
//! ```text
//!   body  ─▶ of_json  ─┐
//!                      ├─ over ─▶ Fields ─▶ number("callerNum") · integer("duration", 0..=7_776_000) · …
//!   query ─▶ of_query ─┘                     Ok(None) absent · Err names the parameter
//! ```
//!
//! Real clients are careless, so reading is generous: integers may come as strings, enumerations as strings, booleans or
//! integers, numbers without their `+`. Unknown parameters are passed over; of one that comes twice the later counts; `null` and
//! an empty identifier are as none.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use numbering::{Area, Extension, Number, SubscriptionId};
use serde_json::{Map, Value};

use super::result::Refused;

/// Longest body, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Deepest nesting of a body.
pub const MAX_DEPTH: usize = 32;

/// Those that hold telephone numbers, for the log.
const NUMBERS: [&str; 8] =
    ["callerNum", "calleeNum", "relationNum", "origNum", "privateNum", "bindNum", "virtualNum", "callbackNum"];

/// What a request says of a name: nothing, that there shall be none (`""`), or which.
pub type Told<T> = Option<Option<T>>;

/// The parameters of a request. No Debug: they hold whole numbers.
#[derive(Clone, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a JSON object; nothing at all is an object without fields. Bytes that are not UTF-8 (the Java demo drops the high
    /// byte of every character) become U+FFFD, and are refused only where they matter.
    ///
    /// # Errors
    /// Too long, too deep, no JSON, no object.
    pub fn of_json(body: &[u8]) -> Result<Fields, Refused> {
        let refused = |why| Err(Refused::parameter("body", why));
        if body.len() > MAX_BODY {
            return refused("is longer than 64 KiB");
        }
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Ok(Fields::default());
        }
        if depth(text) > MAX_DEPTH {
            return refused("is nested more than 32 deep");
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Fields(map)),
            Ok(value) if is_nothing(&value) => Ok(Fields::default()),
            Ok(_) => refused("is no JSON object"),
            Err(_) => refused("is no JSON"),
        }
    }

    /// Reads a query. A `+` stays what it is, since many clients leave that of `+86…` unescaped; an empty value is as none.
    #[must_use]
    pub fn of_query(query: &str) -> Fields {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (unescaped(name), unescaped(value)));
        Fields(pairs.filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, Value::String(value))).collect())
    }

    /// Both; where both say something, these.
    #[must_use]
    pub fn over(self, mut others: Fields) -> Fields {
        others.0.extend(self.0);
        others
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A string, counted in characters. An empty one is as none.
    ///
    /// # Errors
    /// No string, or too short or too long.
    pub fn text(&self, name: &'static str, length: RangeInclusive<usize>) -> Result<Option<&str>, Refused> {
        let text = match self.value(name) {
            None => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text,
            Some(_) => return Err(Refused::parameter(name, "is no string")),
        };
        match text.chars().count() {
            count if count < *length.start() => Err(Refused::parameter(name, "is too short")),
            count if count > *length.end() => Err(Refused::parameter(name, "is too long")),
            _ => Ok(Some(text)),
        }
    }

    /// A telephone number in global form; without its `+` where it begins with 86, and with a blank for the `+`, which is what
    /// a form decoder makes of it.
    ///
    /// # Errors
    /// No string, or no number.
    pub fn number(&self, name: &'static str) -> Result<Option<Number>, Refused> {
        // What is longer than the page allows is no number either.
        let Some(text) = self.text(name, 1..=128)? else { return Ok(None) };
        read_number(text).map(Some).ok_or(Refused::parameter(name, "is no number in global form"))
    }

    /// A party: a number that is not a service number (400, 95).
    ///
    /// # Errors
    /// As [`Fields::number`]; or a service number.
    pub fn party(&self, name: &'static str) -> Result<Option<Number>, Refused> {
        use numbering::Kind;
        let number = self.number(name)?;
        match number.map(Number::kind) {
            Some(Kind::Service400 | Kind::Service95) => Err(Refused::parameter(name, "is a service number")),
            // Emergency and premium numbers, and every other country's, are among these.
            Some(Kind::Protected700 | Kind::Other) => {
                Err(Refused::parameter(name, "is no mobile or fixed-line number of +86"))
            }
            Some(Kind::Mobile | Kind::Fixed { .. }) | None => Ok(number),
        }
    }

    /// A number that may be called through X by its A alone: a party's, or a service number (400, 800, 95, 96).
    ///
    /// # Errors
    /// It is none.
    pub fn callee(&self, name: &'static str) -> Result<Option<Number>, Refused> {
        use numbering::Kind;
        let number = self.number(name)?;
        match number.map(Number::kind) {
            Some(Kind::Service400 | Kind::Service95) => Ok(number),
            Some(Kind::Mobile | Kind::Fixed { .. } | Kind::Protected700 | Kind::Other) | None => self.party(name),
        }
    }

    /// An integer, also as a string of digits.
    ///
    /// # Errors
    /// None, or one out of this range.
    pub fn integer(&self, name: &'static str, range: RangeInclusive<u32>) -> Result<Option<u32>, Refused> {
        let Some(value) = self.any_integer(name)? else { return Ok(None) };
        let value = u32::try_from(value).ok().filter(|value| range.contains(value));
        value.map(Some).ok_or(Refused::parameter(name, "is out of its range"))
    }

    /// An integer of any size; beyond 64 bits the nearest.
    ///
    /// # Errors
    /// No integer.
    pub fn any_integer(&self, name: &'static str) -> Result<Option<i64>, Refused> {
        let refused = Refused::parameter(name, "is no integer");
        match self.value(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                number.as_i64().or(number.as_u64().map(|_| i64::MAX)).map(Some).ok_or(refused)
            }
            Some(Value::String(text)) => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(refused);
                }
                let beyond = if text.starts_with('-') { i64::MIN } else { i64::MAX };
                Ok(Some(text.parse().unwrap_or(beyond)))
            }
            Some(_) => Err(refused),
        }
    }

    /// One of these words; a boolean or an integer is read as the word that it prints as.
    ///
    /// # Errors
    /// Another one.
    pub fn one_of<T: Copy>(&self, name: &'static str, words: &[(&str, T)]) -> Result<Option<T>, Refused> {
        let word = match self.value(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
            Some(Value::Array(_) | Value::Object(_)) => return Err(Refused::parameter(name, "is no string")),
        };
        let found = words.iter().find(|(own, _)| own.eq_ignore_ascii_case(&word));
        found.map(|(_, meaning)| Some(*meaning)).ok_or(Refused::parameter(name, "has none of its values"))
    }

    /// `"true"`, `"false"`, and what clients send instead of them.
    ///
    /// # Errors
    /// Anything else.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, Refused> {
        self.one_of(name, &[("true", true), ("false", false), ("1", true), ("0", false)])
    }

    /// The name of a prompt; `""` says that there shall be none.
    ///
    /// # Errors
    /// No string, more than 128 characters, or none that a file could have.
    pub fn tone(&self, name: &'static str) -> Result<Told<Arc<str>>, Refused> {
        self.tone_of(name, name)
    }

    /// As [`Fields::tone`], of a field within an object: `name` is what a refusal calls it.
    ///
    /// # Errors
    /// As for [`Fields::tone`].
    pub fn tone_of(&self, key: &str, name: &'static str) -> Result<Told<Arc<str>>, Refused> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(Some(None)),
            Some(Value::String(text)) if text.chars().count() > 128 => Err(Refused::parameter(name, "is too long")),
            Some(Value::String(text)) if is_file_name(text) => Ok(Some(Some(text.as_str().into()))),
            Some(Value::String(_)) => Err(Refused::parameter(name, "is no file name")),
            Some(_) => Err(Refused::parameter(name, "is no string")),
        }
    }

    /// The object within a parameter; without fields where there is none.
    ///
    /// # Errors
    /// No object.
    pub fn within(&self, name: &'static str) -> Result<Fields, Refused> {
        match self.value(name) {
            None => Ok(Fields::default()),
            Some(Value::Object(map)) => Ok(Fields(map.clone())),
            Some(value) if is_nothing(value) => Ok(Fields::default()),
            Some(_) => Err(Refused::parameter(name, "is no object")),
        }
    }

    /// `userData`: 1-256 characters, no braces, no Chinese. Line ends are let in, since Base64 of MIME has them.
    ///
    /// # Errors
    /// Anything else.
    pub fn user_text(&self) -> Result<Option<Box<str>>, Refused> {
        let refused = |why| Err(Refused::parameter("userData", why));
        match self.value("userData") {
            None => Ok(None),
            Some(Value::String(text)) => match text.as_str() {
                "" => refused("is too short"),
                text if text.chars().count() > 256 => refused("is too long"),
                text if !text.is_ascii() => refused("holds other characters than ASCII"),
                text if text.contains(['{', '}']) => refused("holds a brace"),
                text => Ok(Some(text.into())),
            },
            Some(_) => refused("is no string"),
        }
    }

    /// `areaCode`, with its 0.
    ///
    /// # Errors
    /// No area code.
    pub fn area(&self) -> Result<Option<Area>, Refused> {
        let Some(text) = self.text("areaCode", 0..=32)? else { return Ok(None) };
        Area::parse(text).map(Some).ok_or(Refused::parameter("areaCode", "is no area code"))
    }

    /// `subscriptionId`. One that is no UUID names nothing that there is.
    ///
    /// # Errors
    /// No string, or more than 64 characters.
    pub fn subscription(&self) -> Result<Option<Name>, Refused> {
        Ok(self.text("subscriptionId", 1..=64)?.map(|text| Name(SubscriptionId::parse(text))))
    }

    /// `extendNum`.
    ///
    /// # Errors
    /// Not 1-4 digits, or zero.
    pub fn extension(&self) -> Result<Option<Extension>, Refused> {
        let Some(text) = self.text("extendNum", 1..=4)? else { return Ok(None) };
        Extension::parse(text).map(Some).ok_or(Refused::parameter("extendNum", "is no extension"))
    }

    /// Whether a parameter is there, be it empty.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The telephone numbers, masked, for the log.
    #[must_use]
    pub fn masked(&self) -> impl fmt::Display + '_ {
        Masked(self)
    }
}

struct Masked<'a>(&'a Fields);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |name| self.0.value(name).and_then(Value::as_str).and_then(read_number);
        let found = NUMBERS.into_iter().filter_map(|name| Some((name, read(name)?)));
        for (place, (name, number)) in found.enumerate() {
            write!(f, "{}{name}={number}", if place == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// A `subscriptionId` that a client has sent.
#[derive(Clone, Copy, Debug)]
pub struct Name(pub Option<SubscriptionId>);

fn read_number(text: &str) -> Option<Number> {
    match text.strip_prefix(' ') {
        Some(rest) => Number::parse(&format!("+{rest}")).ok(),
        None if text.starts_with("86") => Number::parse(&format!("+{text}")).ok(),
        None => Number::parse(text).ok(),
    }
}

/// What PHP makes of an object without fields.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// A name that stays in its folder.
fn is_file_name(text: &str) -> bool {
    !matches!(text, "." | "..") && !text.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'))
}

/// How deep objects and arrays of a JSON text are nested. Of what is no JSON anything.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Takes %-escapes away; one that is broken stays as it is.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let hex = |byte: &u8| char::from(*byte).to_digit(16);
        let escape = match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                hex(high).zip(hex(low)).and_then(|(high, low)| Some((u8::try_from(high << 4 | low).ok()?, behind)))
            }
            _ => None,
        };
        let (byte, behind) = escape.unwrap_or((*first, behind));
        bytes.push(byte);
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
