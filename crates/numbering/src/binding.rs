//! Bindings: who is reached through X, and on what terms.

use std::fmt;
use std::sync::Arc;

use crate::number::Number;

/// A customer's application: its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AppId(pub u32);

/// The name of a binding: a UUID (RFC 9562), printed as one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SubscriptionId(pub u128);

impl SubscriptionId {
    /// Reads the form with dashes, or 32 hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<SubscriptionId> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 || text.len() > 36 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(&digits, 16).ok().map(SubscriptionId)
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        let part = |shift: u32, bits: u32| v >> shift & ((1 << bits) - 1);
        write!(f, "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", part(96, 32), part(80, 16), part(64, 16), part(48, 16), part(0, 48))
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
