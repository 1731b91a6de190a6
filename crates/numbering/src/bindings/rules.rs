//! What a binding must obey by itself, and every accusation that a change may meet.

use std::fmt;

use super::MAX_X_OF_A;
use crate::binding::{AppId, Binding, CallBack, Extension, NumberState};
use crate::number::{Kind, Number};

/// Longest call that a binding may name, in minutes (product rule M1.8).
const MAX_MINUTES: u16 = 1_440;

/// Why a binding cannot be made or changed. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BindError {
    /// X is no number of this platform.
    UnknownX,
    /// X belongs to another app.
    ForeignX,
    /// X is suspended, unavailable or frozen (1012102).
    NumberState(NumberState),
    /// X is no 700 number, and only those may serve ([`crate::Bindings::set_only_700`]).
    Not700,
    /// X is a 700 number of 11 digits, which nobody dials: of an app without extensions the 15 digits are X (product rule M4).
    Managed700,
    /// The number is bound on this X already (1012010).
    NumberTaken(Number),
    /// X belongs to another A (1011005).
    XTaken,
    /// A has as many X as it may.
    TooManyX,
    /// The extension is another A's.
    ExtensionTaken(Extension),
    /// No X, or no extension, is free (1011002, 1012008).
    NoneFree,
    /// A and B are the same.
    SameParty,
    /// A or B is X itself, or another X.
    PartyIsVirtual(Number),
    /// 400, 800, 95 and 96 numbers cannot be A or B.
    ServiceNumber(Number),
    /// X has as many pairs as it may.
    TooManyPairs,
    /// There are as many bindings or numbers as there may be.
    Full,
    /// More than 1,440 minutes.
    MaxMinutes,
    /// There is no binding, or X, of this name.
    NotFound,
    /// There is a binding, or an X, of this name already; or an extension that is dialled by it.
    Exists,
    /// X still has bindings.
    InUse,
    /// It stands in the operator's file, and is changed there only.
    Configured,
}

impl BindError {
    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            BindError::UnknownX => "unknown_x",
            BindError::ForeignX => "foreign_x",
            BindError::NumberState(_) => "number_state",
            BindError::Not700 => "not_700",
            BindError::Managed700 => "managed_700",
            BindError::NumberTaken(_) => "number_taken",
            BindError::XTaken => "x_taken",
            BindError::TooManyX => "too_many_x",
            BindError::ExtensionTaken(_) => "extension_taken",
            BindError::NoneFree => "none_free",
            BindError::SameParty => "same_party",
            BindError::PartyIsVirtual(_) => "party_is_virtual",
            BindError::ServiceNumber(_) => "service_number",
            BindError::TooManyPairs => "too_many_pairs",
            BindError::Full => "full",
            BindError::MaxMinutes => "max_minutes",
            BindError::NotFound => "not_found",
            BindError::Exists => "exists",
            BindError::InUse => "in_use",
            BindError::Configured => "configured",
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::UnknownX => f.write_str("x is no number of this platform"),
            BindError::ForeignX => f.write_str("x belongs to another app"),
            BindError::NumberState(state) => write!(f, "x does not serve now: its state is {}", state.code()),
            BindError::Not700 => f.write_str("x is no 700 number, and only those may serve (only_700)"),
            BindError::Managed700 => f.write_str(
                "x is a 700 number of 11 digits, which serves with extensions (axe) only: name all 15 digits",
            ),
            BindError::NumberTaken(number) => write!(f, "{number} is bound on this x already"),
            BindError::XTaken => f.write_str("this x belongs to another a"),
            BindError::TooManyX => write!(f, "a has {MAX_X_OF_A} x already"),
            BindError::ExtensionTaken(extension) => write!(f, "the extension {extension} of this x is taken"),
            BindError::NoneFree => f.write_str("none is free"),
            BindError::SameParty => f.write_str("a and b are the same number"),
            BindError::PartyIsVirtual(number) => write!(f, "{number} is a virtual number, not a party"),
            BindError::ServiceNumber(number) => {
                write!(f, "{number} is a service number (400, 800, 95, 96), not a party")
            }
            BindError::TooManyPairs => f.write_str("this x has as many pairs as it may"),
            BindError::Full => f.write_str("there are as many as there may be"),
            BindError::MaxMinutes => f.write_str("a call may be limited to 1-1440 minutes"),
            BindError::NotFound => f.write_str("there is none of this name"),
            BindError::Exists => f.write_str("there is one of this name already"),
            BindError::InUse => f.write_str("it still has bindings"),
            BindError::Configured => f.write_str("it stands in the configuration, and is changed there"),
        }
    }
}

impl std::error::Error for BindError {}

/// The rules that a binding must obey whatever else is bound (product rules M1, M2, M3 and M5). `owner` tells whose X a number
/// is, `is_virtual` whether one leads to an X.
///
/// # Errors
/// In this order: `UnknownX`, `ForeignX`, `SameParty`, `MaxMinutes`, `PartyIsVirtual`, `ServiceNumber`.
pub(crate) fn check_alone(
    binding: &Binding,
    owner: impl Fn(Number) -> Option<AppId>,
    is_virtual: impl Fn(Number) -> bool,
) -> Result<(), BindError> {
    if owner(binding.x()).ok_or(BindError::UnknownX)? != binding.app() {
        return Err(BindError::ForeignX);
    }
    let a = binding.a();
    // The other one, and whether it may be a service number.
    let (other, may_serve) = match binding {
        Binding::Axb(axb) => (Some(axb.b), false),
        Binding::Ax(ax) => (ax.temporary.as_ref().map(|temporary| temporary.callee), true),
        Binding::Axe(axe) => match axe.call_back {
            CallBack::Number(number) => (Some(number), false),
            CallBack::App | CallBack::Tone(_) => (None, false),
        },
    };
    if other == Some(a) {
        return Err(BindError::SameParty);
    }
    if binding.max_minutes() > MAX_MINUTES {
        return Err(BindError::MaxMinutes);
    }
    for (party, may_serve) in [(Some(a), false), (other, may_serve)] {
        let Some(party) = party else { continue };
        if is_virtual(party) {
            return Err(BindError::PartyIsVirtual(party));
        }
        match party.kind() {
            Kind::Service400 | Kind::Service95 if !may_serve => return Err(BindError::ServiceNumber(party)),
            Kind::Service400
            | Kind::Service95
            | Kind::Mobile
            | Kind::Fixed { .. }
            | Kind::Protected700
            | Kind::Other => {}
        }
    }
    Ok(())
}
