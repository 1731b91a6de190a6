//! What a customer is told of a call while it goes on: callin, callout, alerting, answer, collectInfo, disconnect (product rule
//! N). The record of the whole call comes after it ([`crate::cdr::Cdr`]).

use std::sync::Arc;
use std::time::Duration;

use numbering::{Mode, Number, Party, SubscriptionId};

use crate::cdr::Cdr;
use crate::outcome::Cause;

/// Something has happened to a call of an app that wants to know ([`crate::settings::App::is_told`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallEvent {
    /// The app's name.
    pub app: Arc<str>,
    /// As in the call's record.
    pub session_id: Arc<str>,
    /// When, since the process's epoch.
    pub at: Duration,
    /// The binding, as far as it is known by then.
    pub binding: Option<SubscriptionId>,
    /// Its kind.
    pub mode: Option<Mode>,
    /// Which of its parties calls.
    pub caller_is: Option<Party>,
    /// The customer's own words.
    pub user_text: Option<Box<str>>,
    /// What.
    pub what: What,
}

/// What has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// Somebody calls X.
    CallIn {
        /// Who; `None` when withheld.
        caller: Option<Number>,
        /// X as dialled.
        called: Option<Number>,
    },
    /// Somebody is called for X.
    CallOut(OnwardCall),
    /// That phone rings.
    Alerting(OnwardCall),
    /// It has answered.
    Answer(OnwardCall),
    /// An extension was typed, or nothing.
    Collected {
        /// The digits.
        digits: Box<str>,
    },
    /// The call is over.
    Disconnect {
        /// Who called.
        caller: Option<Number>,
        /// Whom the call reached, or X where it reached nobody.
        called: Option<Number>,
        /// Why.
        cause: Cause,
    },
}

/// The second leg of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OnwardCall {
    /// Who is shown as the caller.
    pub shown: Option<Number>,
    /// Who is called.
    pub called: Option<Number>,
}

impl OnwardCall {
    pub(crate) fn of(cdr: &Cdr) -> OnwardCall {
        OnwardCall { shown: cdr.shown, called: cdr.callee }
    }
}

impl CallEvent {
    pub(crate) fn of(cdr: &Cdr, at: Duration, what: What) -> Option<CallEvent> {
        Some(CallEvent {
            app: Arc::clone(cdr.app_name.as_ref()?),
            session_id: Arc::clone(&cdr.session_id),
            at,
            binding: cdr.binding,
            mode: cdr.mode,
            caller_is: cdr.caller_is,
            user_text: cdr.user_text.clone(),
            what,
        })
    }
}
