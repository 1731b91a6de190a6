//! Bindings: who is reached through X, and on what terms.

use std::fmt;
use std::sync::Arc;

use crate::number::Number;

/// A customer's application: its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AppId(pub u32);

/// The name of a binding: a UUID (RFC 9562), printed as one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u128);

impl SubscriptionId {
    /// Reads the form that Display writes, in either case, or the same 32 hex digits without dashes.
    #[must_use]
    pub fn parse(text: &str) -> Option<SubscriptionId> {
        let dashed = match text.len() {
            36 => true,
            32 => false,
            _ => return None,
        };
        let mut id = 0_u128;
        for (place, byte) in text.bytes().enumerate() {
            if dashed && matches!(place, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return None;
                }
                continue;
            }
            id = id << 4 | u128::from(char::from(byte).to_digit(16)?);
        }
        Some(SubscriptionId(id))
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        let part = |shift: u32, bits: u32| v >> shift & ((1 << bits) - 1);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 32),
            part(80, 16),
            part(64, 16),
            part(48, 16),
            part(0, 48)
        )
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A party of a binding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Party {
    /// `callerNum` of the API.
    A,
    /// `calleeNum` of the API.
    B,
}

impl Party {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Party {
        match self {
            Party::A => Party::B,
            Party::B => Party::A,
        }
    }
}

/// Who may call whom (`callDirection`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CallDirection {
    /// 0.
    #[default]
    Both,
    /// 1: only A calls.
    AToB,
    /// 2: only B calls.
    BToA,
}

impl CallDirection {
    /// The API's integer.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<CallDirection> {
        match code {
            0 => Some(CallDirection::Both),
            1 => Some(CallDirection::AToB),
            2 => Some(CallDirection::BToA),
            _ => None,
        }
    }

    /// Back to the API's integer.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            CallDirection::Both => 0,
            CallDirection::AToB => 1,
            CallDirection::BToA => 2,
        }
    }

    /// Whether this party may call.
    #[must_use]
    pub const fn allows(self, caller: Party) -> bool {
        match (self, caller) {
            (CallDirection::Both, _) | (CallDirection::AToB, Party::A) | (CallDirection::BToA, Party::B) => true,
            (CallDirection::AToB, Party::B) | (CallDirection::BToA, Party::A) => false,
        }
    }
}

/// Prompts that a binding names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Voice {
    /// What A hears instead of ringback when A dials X.
    pub caller_hint_tone: Option<Arc<str>>,
    /// What B hears instead of ringback when B dials X.
    pub callee_hint_tone: Option<Arc<str>>,
    /// What both hear on the answer.
    pub record_hint_tone: Option<Arc<str>>,
    /// What both hear one minute before the end.
    pub last_minute: Option<Arc<str>>,
}

/// A–X–B.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Axb {
    /// Its name.
    pub id: SubscriptionId,
    /// Whose.
    pub app: AppId,
    /// A.
    pub a: Number,
    /// B.
    pub b: Number,
    /// X.
    pub x: Number,
    /// Who may call.
    pub direction: CallDirection,
    /// Longest call in minutes (0-1440); 0 does not limit.
    pub max_minutes: u16,
    /// Calls are recorded.
    pub record: bool,
    /// Prompts.
    pub voice: Option<Box<Voice>>,
    /// The customer's own words (`userData`), repeated in records.
    pub user_text: Option<Box<str>>,
}

/// A relation through X.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Binding {
    /// A–X–B.
    Axb(Axb),
}

impl Binding {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> SubscriptionId {
        match self {
            Binding::Axb(axb) => axb.id,
        }
    }

    /// Its X.
    #[must_use]
    pub const fn x(&self) -> Number {
        match self {
            Binding::Axb(axb) => axb.x,
        }
    }

    /// Which party of it a number is.
    #[must_use]
    pub fn party(&self, number: Number) -> Option<Party> {
        let Binding::Axb(axb) = self;
        if axb.a == number {
            Some(Party::A)
        } else if axb.b == number {
            Some(Party::B)
        } else {
            None
        }
    }

    /// The number of a party.
    #[must_use]
    pub const fn number(&self, party: Party) -> Number {
        let Binding::Axb(axb) = self;
        match party {
            Party::A => axb.a,
            Party::B => axb.b,
        }
    }
}

/// An X.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualNumber {
    /// X itself.
    pub number: Number,
    /// Whose it is.
    pub app: AppId,
    /// The trunk of the carrier that owns it; `None`: calls go out by the trunk that they came in by.
    pub trunk: Option<Arc<str>>,
}

/// What a binding becomes; `None` leaves as it was. Its name, its X and whose it is never change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// Another A.
    pub a: Option<Number>,
    /// Another B.
    pub b: Option<Number>,
    /// Who may call.
    pub direction: Option<CallDirection>,
    /// Longest call in minutes; `Some(0)` takes the limit away.
    pub max_minutes: Option<u16>,
    /// Whether calls are recorded.
    pub record: Option<bool>,
    /// All prompts at once; `Some(None)` takes them away.
    pub voice: Option<Option<Box<Voice>>>,
    /// The customer's own words; `Some(None)` takes them away.
    pub user_text: Option<Option<Box<str>>>,
}

impl Change {
    /// The binding as it becomes.
    pub(crate) fn of(self, axb: &Axb) -> Axb {
        Axb {
            id: axb.id,
            app: axb.app,
            x: axb.x,
            a: self.a.unwrap_or(axb.a),
            b: self.b.unwrap_or(axb.b),
            direction: self.direction.unwrap_or(axb.direction),
            max_minutes: self.max_minutes.unwrap_or(axb.max_minutes),
            record: self.record.unwrap_or(axb.record),
            voice: self.voice.unwrap_or_else(|| axb.voice.clone()),
            user_text: self.user_text.unwrap_or_else(|| axb.user_text.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_printed_and_without_dashes() {
        let text = "88ec9feb-ed7d-4b0a-bf65-cc6be2b9213e";
        let id = SubscriptionId::parse(text).unwrap();
        assert_eq!(id.0, 0x88ec_9feb_ed7d_4b0a_bf65_cc6b_e2b9_213e);
        assert_eq!(format!("{id} {id:?}"), format!("{text} {text}"));
        assert_eq!(SubscriptionId::parse(&text.to_uppercase()), Some(id));
        assert_eq!(SubscriptionId::parse(&text.replace('-', "")), Some(id));
        for value in [0, 1, u128::MAX, 1 << 127] {
            let id = SubscriptionId(value);
            assert_eq!(SubscriptionId::parse(&id.to_string()), Some(id));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "88ec9feb",
            "88ec9feb-ed7d-4b0a-bf65-cc6be2b9213",
            "88ec9feb-ed7d-4b0a-bf65-cc6be2b9213ee",
            "88ec9febed7d4b0abf65cc6be2b9213g",
            "88ec9feb-ed7d-4b0a-bf65ccc6be2b9213e",
            "88ec9febe-d7d-4b0a-bf65-cc6be2b9213e",
            "+8ec9feb-ed7d-4b0a-bf65-cc6be2b9213e",
            "------------------------------------",
            "é8ec9feb-ed7d-4b0a-bf65-cc6be2b9213",
        ] {
            assert_eq!(SubscriptionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn directions_have_their_codes_and_allow_what_they_say() {
        let rows = [
            (0, CallDirection::Both, true, true),
            (1, CallDirection::AToB, true, false),
            (2, CallDirection::BToA, false, true),
        ];
        for (code, direction, a, b) in rows {
            assert_eq!(CallDirection::from_code(code), Some(direction));
            assert_eq!(direction.code(), code);
            assert_eq!((direction.allows(Party::A), direction.allows(Party::B)), (a, b));
        }
        assert_eq!(CallDirection::from_code(3), None);
        assert_eq!((Party::A.other(), Party::B.other()), (Party::B, Party::A));
    }

    #[test]
    fn a_change_of_nothing_changes_nothing_and_each_field_its_own() {
        let number = |text| Number::parse(text).unwrap();
        let axb = Axb {
            id: SubscriptionId(1),
            app: AppId(2),
            a: number("+8613800000001"),
            b: number("+8613800000002"),
            x: number("+8675528780001"),
            direction: CallDirection::AToB,
            max_minutes: 5,
            record: true,
            voice: Some(Box::default()),
            user_text: Some("u".into()),
        };
        assert_eq!(Change::default().of(&axb), axb);
        let all = Change {
            a: Some(number("+8613800000003")),
            b: Some(number("+8613800000004")),
            direction: Some(CallDirection::BToA),
            max_minutes: Some(0),
            record: Some(false),
            voice: Some(None),
            user_text: Some(None),
        };
        let changed = all.of(&axb);
        let expected = Axb {
            a: number("+8613800000003"),
            b: number("+8613800000004"),
            direction: CallDirection::BToA,
            max_minutes: 0,
            record: false,
            voice: None,
            user_text: None,
            ..axb
        };
        assert_eq!(changed, expected);
    }
}
