//! What operators and customers ask of calls: which are up, that one be ended, and what would become of one.

use std::sync::Arc;
use std::time::Duration;

use numbering::{AppId, Number, SubscriptionId};

use super::Core;
use crate::call::{Plan, Way};
use crate::cdr::Cdr;
use crate::outcome::Cause;
use crate::settings::Settings;

/// A call in progress.
#[derive(Clone, PartialEq, Debug)]
pub struct LiveCall {
    /// As in its CDR.
    pub session_id: Arc<str>,
    /// Whose X it goes through.
    pub app: Option<AppId>,
    /// The binding.
    pub binding: Option<SubscriptionId>,
    /// Where it came from.
    pub trunk_in: Arc<str>,
    /// Where it went.
    pub trunk_out: Option<Arc<str>>,
    /// Who calls.
    pub caller: Option<Number>,
    /// X.
    pub x: Option<Number>,
    /// Who is called.
    pub callee: Option<Number>,
    /// Times, since the process's epoch: INVITE, first 18x, answer.
    pub call_in: Duration,
    /// First 18x of the called side.
    pub alerting: Option<Duration>,
    /// Its 200.
    pub answered: Option<Duration>,
    /// It is recorded.
    pub is_recorded: bool,
}

/// Which calls are asked for; what is `None` does not matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Which {
    /// Of this app.
    pub app: Option<AppId>,
    /// Through this X.
    pub x: Option<Number>,
}

/// What would become of a call.
#[derive(Clone, PartialEq, Debug)]
pub struct Why {
    /// `Err`: it would be refused.
    pub outcome: Result<WouldBe, Cause>,
    /// Whose X it is.
    pub app: Option<AppId>,
    /// The binding that says so, where there is one.
    pub binding: Option<SubscriptionId>,
}

/// A call that would not be refused.
#[derive(Clone, PartialEq, Debug)]
pub enum WouldBe {
    /// Somebody would ring.
    Connected(WouldConnect),
    /// The caller would be asked for an extension of so many digits.
    Asked {
        /// How many.
        width: u8,
        /// The prompt that would ask.
        prompt: Option<Arc<str>>,
    },
}

/// A call that would be connected.
#[derive(Clone, PartialEq, Debug)]
pub struct WouldConnect {
    /// Who would ring.
    pub callee: Number,
    /// By which trunk.
    pub trunk_out: Arc<str>,
    /// The prompt that the caller would hear instead of ringback.
    pub announcement: Option<Arc<str>>,
    /// The prompt that both would hear on the answer.
    pub hint_tone: Option<Arc<str>>,
    /// It would be recorded.
    pub record: bool,
    /// The longest that it could last.
    pub longest: Duration,
}

impl Core {
    /// Calls in progress, oldest place first; `most` at most.
    #[must_use]
    pub fn live_calls(&self, which: Which, most: usize) -> Vec<LiveCall> {
        let is_wanted = |cdr: &Cdr| {
            cdr.ended == Duration::MAX
                && which.app.is_none_or(|app| cdr.app == Some(app))
                && which.x.is_none_or(|x| cdr.x == Some(x))
        };
        let wanted = self.calls.iter().map(|(_, call)| &*call.cdr).filter(|cdr| is_wanted(cdr));
        wanted.take(most).map(live).collect()
    }

    /// Ends a call on both legs, as the customer asks (`callStop`); only a call of this app, where one is named. `false`:
    /// there is no such call in progress.
    pub fn stop_call(&mut self, now: Duration, session_id: &str, app: Option<AppId>) -> bool {
        let Some(key) = self.live.by_session.get(session_id).copied() else { return false };
        let mut is_stopped = false;
        self.with_call(now, key, |call, cx| {
            if app.is_none_or(|app| call.cdr.app == Some(app)) {
                call.end(cx, Cause::Stopped, None);
                is_stopped = true;
            }
        });
        is_stopped
    }

    /// What would become of a call of `caller` to `x` that came now from the trunk of X, or from the first that calls where X
    /// names none. The same rules decide as for a call; nothing is used up. `None`: no trunk calls.
    pub fn why(&mut self, now: Duration, x: Number, caller: Option<Number>) -> Option<Why> {
        let settings = Arc::clone(&self.settings);
        let of_x = || self.table.virtual_number(x).and_then(|number| number.trunk.clone());
        let trunk = of_x().and_then(|name| settings.trunk_named(&name)).or_else(|| first_caller(&settings))?;
        let mut cdr = Cdr::begun(now, "".into(), Arc::clone(&settings.trunk(trunk).name), caller, Some(x));
        let outcome = self.decide(now, &settings, trunk, &mut cdr);
        let outcome = outcome.map(|way| would_be(&settings, way)).map_err(|turned_away| turned_away.cause);
        Some(Why { outcome, app: cdr.app, binding: cdr.binding })
    }
}

fn live(cdr: &Cdr) -> LiveCall {
    LiveCall {
        session_id: Arc::clone(&cdr.session_id),
        app: cdr.app,
        binding: cdr.binding,
        trunk_in: Arc::clone(&cdr.trunk_in),
        trunk_out: cdr.trunk_out.clone(),
        caller: cdr.caller,
        x: cdr.x,
        callee: cdr.callee,
        call_in: cdr.call_in,
        alerting: cdr.alerting,
        answered: cdr.answered,
        is_recorded: cdr.recording.is_some(),
    }
}

fn first_caller(settings: &Settings) -> Option<crate::settings::TrunkId> {
    let first = settings.trunks.iter().find(|trunk| !trunk.sources.is_empty())?;
    settings.trunk_named(&first.name)
}

fn would_be(settings: &Settings, way: Way) -> WouldBe {
    match way {
        Way::Dial(plan) => WouldBe::Connected(would_connect(settings, plan)),
        Way::Ask(asking) => {
            WouldBe::Asked { width: asking.width, prompt: asking.prompt.map(|prompt| Arc::clone(&prompt.name)) }
        }
    }
}

fn would_connect(settings: &Settings, plan: Plan) -> WouldConnect {
    let name = |prompt: Option<Arc<media::Prompt>>| prompt.map(|prompt| Arc::clone(&prompt.name));
    WouldConnect {
        callee: plan.callee,
        trunk_out: Arc::clone(&settings.trunk(plan.trunk_out).name),
        announcement: name(plan.announcement),
        hint_tone: name(plan.hint_tone),
        record: plan.record,
        longest: plan.longest.0,
    }
}
