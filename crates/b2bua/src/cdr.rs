//! The call detail record: what is known of a call when it has ended.
//!
//! Times are `Duration` since the process's epoch, like every `now` here; the daemon writes them as UTC.

use std::sync::Arc;
use std::time::Duration;

use media::{Side, Totals};
use numbering::{AppId, Binding, Extension, Mode, Number, Party, SubscriptionId};

use crate::outcome::Cause;
use crate::settings::Settings;

/// One call, ended.
#[derive(Clone, PartialEq, Debug)]
pub struct Cdr {
    /// 32 hex digits; the same in every log line of the call.
    pub session_id: Arc<str>,
    /// The customer's application, where X told one.
    pub app: Option<AppId>,
    /// Its name.
    pub app_name: Option<Arc<str>>,
    /// The binding, where there was one.
    pub binding: Option<SubscriptionId>,
    /// Its kind.
    pub mode: Option<Mode>,
    /// Which party of the binding called.
    pub caller_is: Option<Party>,
    /// Trunk that the call came from.
    pub trunk_in: Arc<str>,
    /// Trunk that it went to.
    pub trunk_out: Option<Arc<str>>,
    /// Who called; `None` when withheld or unreadable.
    pub caller: Option<Number>,
    /// X as dialled; `None` when unreadable.
    pub x: Option<Number>,
    /// Who was called for X.
    pub callee: Option<Number>,
    /// Who was shown to the callee as the caller.
    pub shown: Option<Number>,
    /// The extension of the binding.
    pub extension: Option<Extension>,
    /// What the caller typed last where it was asked for an extension.
    pub digits: Option<Box<str>>,
    /// The customer's own text from the binding.
    pub user_text: Option<Box<str>>,
    /// INVITE from A.
    pub call_in: Duration,
    /// The caller was let hear the question for an extension: answered, or by early media.
    pub asked: Option<Duration>,
    /// INVITE to B.
    pub forwarded: Option<Duration>,
    /// First 18x of B.
    pub alerting: Option<Duration>,
    /// B's 200.
    pub answered: Option<Duration>,
    /// The hint tone was over and the parties were joined.
    pub joined: Option<Duration>,
    /// The call ended: BYE, final response or CANCEL.
    pub ended: Duration,
    /// Why.
    pub cause: Cause,
    /// Which party ended it; `None` when we did.
    pub released_by: Option<Side>,
    /// Final SIP status on A's leg (200 when answered).
    pub status_a: u16,
    /// Final SIP status on B's leg; 0 when there was none.
    pub status_b: u16,
    /// Q.850 cause that the far network gave, where it did.
    pub q850_b: Option<u8>,
    /// Recording, where one was begun.
    pub recording: Option<Recording>,
    /// RTP.
    pub media: Totals,
}

/// A recording that was begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recording {
    /// File name.
    pub name: Arc<str>,
    /// When it began.
    pub started: Duration,
}

impl Cdr {
    /// A call that has just come in. It counts as ended by nobody until [`crate::core::Output::Ended`] carries it.
    pub(crate) fn begun(
        now: Duration,
        session_id: Arc<str>,
        trunk_in: Arc<str>,
        caller: Option<Number>,
        x: Option<Number>,
    ) -> Cdr {
        Cdr {
            session_id,
            app: None,
            app_name: None,
            binding: None,
            mode: None,
            caller_is: None,
            trunk_in,
            trunk_out: None,
            caller,
            x,
            callee: None,
            shown: None,
            extension: None,
            digits: None,
            user_text: None,
            call_in: now,
            asked: None,
            forwarded: None,
            alerting: None,
            answered: None,
            joined: None,
            ended: Duration::MAX,
            cause: Cause::Internal,
            released_by: None,
            status_a: 0,
            status_b: 0,
            q850_b: None,
            recording: None,
            media: Totals::default(),
        }
    }

    pub(crate) fn set_app(&mut self, settings: &Settings, app: AppId) {
        self.app = Some(app);
        self.app_name = settings.app(app).map(|app| Arc::clone(&app.name));
    }

    pub(crate) fn set_binding(&mut self, binding: &Binding) {
        self.binding = Some(binding.id());
        self.mode = Some(binding.mode());
        self.extension = match binding {
            Binding::Axe(axe) => Some(axe.extension),
            Binding::Axb(_) | Binding::Ax(_) => None,
        };
        self.user_text = binding.user_text(self.caller_is).map(Into::into);
    }
}
