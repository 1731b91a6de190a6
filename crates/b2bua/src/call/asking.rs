//! A caller of an X with extensions is asked for one (product rule M3).
//!
//! ```text
//!            answered, or 183          typed: somebody's
//!   Opening ──────────────────▶ Typing ───────────────────▶ Dialling
//!                                │  ▲
//!      nobody's, or nothing typed │  │ a try is left
//!                                └──┴──────────────────────▶ Refusing
//! ```
//!
//! What is heard and said meanwhile is never recorded: a recording begins when the parties are joined.

use std::sync::Arc;
use std::time::Duration;

use media::{Command, Digit, DigitBy, Hear, Prompt, Side, Then};
use numbering::Extension;

use super::{Call, PROMPT_GRACE, Phase, Plan, TurnedAway, duration_of, prompt_of};
use crate::collect::{Collect, Step};
use crate::core::{Context, Output};
use crate::event::What;
use crate::leg::{EarlyMedia, LegCommand, Progress};
use crate::observe::LogLine;
use crate::outcome::Cause;
use crate::settings::AskExtension;

/// An X that leads on by an extension.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asking {
    /// How many digits its extensions have.
    pub(crate) width: u8,
    /// Asks for it; without one the caller is asked by silence.
    pub(crate) prompt: Option<Arc<Prompt>>,
}

/// What became of an INVITE, or of an extension: somebody is called, or the caller is asked.
#[derive(Debug)]
pub(crate) enum Way {
    Dial(Plan),
    Ask(Asking),
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The caller does not hear us yet.
    Opening,
    Typing {
        collect: Collect,
        /// What plays.
        prompt: Option<Arc<Prompt>>,
    },
}

impl Stage {
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            Stage::Typing { collect, .. } => collect.deadline(),
            // Whether the caller acknowledges is the leg's to watch.
            Stage::Opening => None,
        }
    }
}

impl Call {
    /// Lets the caller hear us: by an answer, or before one where the trunk wants that and the caller can.
    pub(super) fn ask(&mut self, cx: &mut Context<'_>, asking: Asking) {
        let by = self.settings.trunk(self.a.trunk()).ask_extension;
        let early = match by {
            AskExtension::Early => self.a.early_media(),
            AskExtension::Answered => EarlyMedia::Never,
        };
        self.phase = Phase::Asking { asking, stage: Stage::Opening };
        self.cdr.asked = Some(cx.now);
        match early {
            EarlyMedia::Never => self.tell_a(cx, LegCommand::Answer),
            EarlyMedia::Ready | EarlyMedia::OnOffer => {
                self.tell_a(cx, LegCommand::Progress { progress: Progress::Session, early_media: true });
            }
        }
        if early == EarlyMedia::Ready {
            self.on_caller_hears(cx);
        }
    }

    /// The caller hears us from now on.
    pub(super) fn on_caller_hears(&mut self, cx: &mut Context<'_>) {
        let Phase::Asking { asking, stage: stage @ Stage::Opening } = &mut self.phase else { return };
        let prompt = asking.prompt.clone();
        let collect = Collect::begin(asking.width, over_by(cx, prompt.as_ref()));
        *stage = Stage::Typing { collect, prompt: prompt.clone() };
        self.tell(cx, Command::Collect { side: Side::A, on: true });
        self.say(cx, prompt.as_ref());
    }

    /// A prompt that asks, or silence.
    fn say(&mut self, cx: &mut Context<'_>, prompt: Option<&Arc<Prompt>>) {
        match prompt {
            Some(prompt) => self.play(cx, Side::A, prompt, Then::Nothing),
            None => self.hear(cx, Side::A, Hear::Nothing),
        }
    }

    pub(super) fn on_pressed(&mut self, cx: &mut Context<'_>, digit: Digit, by: DigitBy) {
        self.collect(cx, |collect, now| collect.on_pressed(now, digit, by.into()));
    }

    pub(super) fn on_let_go(&mut self, cx: &mut Context<'_>, by: DigitBy) {
        self.collect(cx, |collect, now| {
            collect.on_released(now, by.into());
            Step::Wait
        });
    }

    /// A digit by INFO.
    pub(super) fn on_typed_by_info(&mut self, cx: &mut Context<'_>, digit: Digit, ms: u16) {
        self.collect(cx, |collect, now| collect.on_info(now, digit, ms));
    }

    pub(super) fn on_asking_prompt_ended(&mut self, cx: &mut Context<'_>, ended: &Arc<Prompt>) {
        let Phase::Asking { stage: Stage::Typing { prompt: Some(prompt), .. }, .. } = &self.phase else { return };
        if Arc::ptr_eq(prompt, ended) {
            self.collect(cx, |collect, now| {
                collect.on_prompt_over(now);
                Step::Wait
            });
        }
    }

    pub(super) fn on_asking_time(&mut self, cx: &mut Context<'_>) {
        self.collect(cx, |collect, now| collect.on_time(now));
    }

    fn collect(&mut self, cx: &mut Context<'_>, work: impl FnOnce(&mut Collect, Duration) -> Step) {
        let Phase::Asking { stage: Stage::Typing { collect, .. }, .. } = &mut self.phase else { return };
        match work(collect, cx.now) {
            Step::Wait => {}
            Step::Hush => self.hear(cx, Side::A, Hear::Nothing),
            Step::Typed(digits) => self.on_typed(cx, digits),
        }
    }

    fn on_typed(&mut self, cx: &mut Context<'_>, digits: Box<str>) {
        cx.out.push_back(Output::Log(LogLine::Typed {
            session_id: Arc::clone(&self.cdr.session_id),
            digits: digits.len(),
        }));
        self.tell_customer(cx, |_| What::Collected { digits: digits.clone() });
        let extension = Extension::parse(&digits);
        let cause = if digits.is_empty() { Cause::EmptyExtension } else { Cause::UnknownExtension };
        self.cdr.digits = Some(digits);
        match extension {
            Some(extension) => cx.typed = Some(extension),
            None => self.on_no_extension(cx, cause),
        }
    }

    /// What the typed extension leads to.
    pub(crate) fn on_judged(&mut self, cx: &mut Context<'_>, verdict: Result<Plan, TurnedAway>) {
        if !matches!(self.phase, Phase::Asking { .. }) {
            return;
        }
        match verdict {
            Ok(plan) => {
                self.cease_to_collect(cx);
                self.hear(cx, Side::A, Hear::Nothing);
                self.invite(cx, plan);
            }
            Err(TurnedAway { cause: Cause::UnknownExtension, .. }) => self.on_no_extension(cx, Cause::UnknownExtension),
            Err(turned_away) => {
                self.cease_to_collect(cx);
                self.turn_away_by(cx, turned_away, None);
            }
        }
    }

    /// Once more, or that was the last try.
    fn on_no_extension(&mut self, cx: &mut Context<'_>, cause: Cause) {
        let said = self.app().and_then(|app| prompt_of(app, cause)).cloned();
        let Phase::Asking { stage: Stage::Typing { collect, prompt }, .. } = &mut self.phase else { return };
        if collect.again(over_by(cx, said.as_ref())) {
            prompt.clone_from(&said);
            self.say(cx, said.as_ref());
        } else {
            self.cease_to_collect(cx);
            self.turn_away(cx, cause);
        }
    }

    fn cease_to_collect(&self, cx: &mut Context<'_>) {
        self.tell(cx, Command::Collect { side: Side::A, on: false });
    }
}

/// When a prompt that asks should be over.
fn over_by(cx: &Context<'_>, prompt: Option<&Arc<Prompt>>) -> Duration {
    cx.now + prompt.map_or(Duration::ZERO, |prompt| duration_of(prompt) + PROMPT_GRACE)
}
