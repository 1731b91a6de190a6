//! A call through X: what happens on one leg becomes what shall happen on the other, and what both hear.
//!
//! ```text
//!       ask ─▶ Asking   refuse ─▶ Refusing ─prompt over─╮
//!               │ typed                                 ▼
//!   Dialling ◀──┘
//!   Dialling ──B answers──▶ Greeting ──both heard the tone──▶ Talking ──BYE, time──▶ Over
//!      └──────── B refuses, A gives up, no answer ────────────────────────────────────▲
//! ```
//!
//! `Over` still waits for the media to be flushed and for both legs' last transactions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use media::{Command, Digit, Event, Hear, Prompt, Repeat, Side, Then};
use numbering::{AppId, Number};
use sip::transaction::ClientId;

use crate::cdr::{Cdr, Recording};
use crate::core::{Context, Output, SessionId, flow_to};
use crate::event::{CallEvent, OnwardCall, What};
use crate::leg::{CallKey, EarlyMedia, Leg, LegCommand, LegEvent, LegKey, Parties, Place, Progress};
use crate::observe::LogLine;
use crate::offer_answer::OfferAnswer;
use crate::outcome::{Cause, RefusalPrompt};
use crate::routes::{Candidate, RouteId};
use crate::settings::{App, Settings, TrunkId};

mod asking;

use asking::Stage;
pub(crate) use asking::{Asking, Way};

/// A prompt that should have ended by now and has not is not waited for any longer than this.
const PROMPT_GRACE: Duration = Duration::from_secs(5);

/// What the decision and the app say about one call.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) app: AppId,
    pub(crate) x: Number,
    /// Who calls, as B is shown it.
    pub(crate) shown: Number,
    pub(crate) callee: Number,
    pub(crate) trunk_out: TrunkId,
    /// Where the trunk takes calls: those that have not been tried, the next one first.
    pub(crate) routes: VecDeque<Candidate>,
    /// What the caller hears instead of ringback.
    pub(crate) announcement: Option<Arc<Prompt>>,
    /// What both hear on the answer.
    pub(crate) hint_tone: Option<Arc<Prompt>>,
    /// What both hear one minute before the end.
    pub(crate) last_minute: Option<Arc<Prompt>>,
    /// Length from the answer, and what its end is called.
    pub(crate) longest: (Duration, Cause),
    pub(crate) record: bool,
}

/// Why nobody is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TurnedAway {
    pub(crate) cause: Cause,
    /// What the caller hears in place of the app's prompt for the cause.
    pub(crate) prompt: Option<Arc<Prompt>>,
}

impl From<Cause> for TurnedAway {
    fn from(cause: Cause) -> TurnedAway {
        TurnedAway { cause, prompt: None }
    }
}

impl TurnedAway {
    /// What the caller of an app's X hears.
    pub(crate) fn prompt<'a>(&'a self, app: Option<&'a App>) -> Option<&'a Arc<Prompt>> {
        self.prompt.as_ref().or_else(|| app.and_then(|app| prompt_of(app, self.cause)))
    }
}

/// The media session of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MediaPorts {
    pub(crate) session: SessionId,
    /// A's and B's RTP port.
    pub(crate) ports: [u16; 2],
}

/// A call that has come in, decided but not yet begun.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) key: CallKey,
    pub(crate) settings: Arc<Settings>,
    /// The caller's.
    pub(crate) leg: Leg,
    /// Where something will be heard.
    pub(crate) media: Option<MediaPorts>,
    pub(crate) max_forwards: u8,
    pub(crate) cdr: Box<Cdr>,
}

#[derive(Debug)]
enum Phase {
    /// A hears why not.
    Refusing {
        cause: Cause,
        prompt: Arc<Prompt>,
        give_up: Duration,
    },
    /// A is asked for an extension.
    Asking {
        asking: Asking,
        stage: Stage,
    },
    Dialling {
        plan: Plan,
        no_answer_at: Duration,
        heard: Heard,
        /// B's early media, as the media session knows it.
        far: Option<media::Remote>,
    },
    Greeting {
        plan: Plan,
        ends_at: Duration,
        waiting: [Waiting; 2],
        give_up: Duration,
    },
    Talking {
        ends_at: Duration,
        ends_as: Cause,
        warning: Option<(Duration, Arc<Prompt>)>,
    },
    Over {
        media_open: bool,
    },
}

/// What A has been told and hears while B is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Nothing,
    /// 180: its own network makes the ringback.
    Ringing,
    /// Our offer went to it with a 183: its answer, which says where it listens, is awaited.
    Asked {
        far_media: bool,
    },
    /// Our announcement; `far_media`: B's network also speaks and is heard after it.
    Announcement {
        far_media: bool,
    },
    /// Ringback of ours after the announcement.
    Ringback,
    /// B's early media.
    FarMedia,
}

/// One party in [`Phase::Greeting`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waiting {
    /// The caller has not acknowledged our 200, or has not got it yet: neither hears anything until it has.
    ForAck,
    /// Its media is not settled yet.
    ForMedia,
    /// It has put us on hold and hears nothing: the tone waits until it resumes.
    OnHold,
    ForTone,
    Ready,
}

/// Whether anything has answered an INVITE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answered(pub(crate) bool);

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) key: CallKey,
    settings: Arc<Settings>,
    pub(crate) a: Leg,
    pub(crate) b: Option<Leg>,
    /// Where B's INVITE went, and whether anything has answered it.
    pub(crate) route: Option<(RouteId, Answered)>,
    media: Option<MediaPorts>,
    /// How many hops the caller's INVITE leaves to ours.
    max_forwards: u8,
    phase: Phase,
    pub(crate) cdr: Box<Cdr>,
    /// The deadline that the core has been told.
    pub(crate) armed: Option<Duration>,
}

impl Call {
    /// Calls B, or refuses the caller: after a prompt where there is one and media to play it.
    pub(crate) fn begin(cx: &mut Context<'_>, arrival: Arrival, verdict: Result<Way, TurnedAway>) -> Call {
        let Arrival { key, settings, leg: a, media, max_forwards, cdr } = arrival;
        let phase = Phase::Over { media_open: false };
        let (b, route, armed) = (None, None, None);
        let mut call = Call { key, settings, a, b, route, media: None, max_forwards, phase, cdr, armed };
        if let Some(media) = media {
            call.open_media(cx, media);
        }
        call.tell_customer(cx, |cdr| What::CallIn { caller: cdr.caller, called: cdr.x });
        match (verdict, media) {
            (Ok(Way::Dial(plan)), Some(_)) => call.invite(cx, plan),
            (Ok(Way::Ask(asking)), Some(_)) => call.ask(cx, asking),
            (Ok(_), None) => call.turn_away(cx, Cause::NoPorts),
            (Err(turned_away), _) => call.turn_away_by(cx, turned_away, None),
        }
        call
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The call has ended; only its remains are alive.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over { .. })
    }

    /// Nothing is left of it.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Over { media_open: false })
            && self.a.has_ended()
            && self.b.as_ref().is_none_or(Leg::has_ended)
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        let own = match &self.phase {
            Phase::Refusing { give_up, .. } => Some(*give_up),
            Phase::Asking { stage, .. } => stage.deadline(),
            Phase::Dialling { no_answer_at, .. } => Some(*no_answer_at),
            Phase::Greeting { waiting, ends_at, .. } if waiting.contains(&Waiting::OnHold) => Some(*ends_at),
            Phase::Greeting { ends_at, give_up, .. } => Some(*ends_at.min(give_up)),
            Phase::Talking { ends_at, warning, .. } => {
                Some(warning.as_ref().map_or(*ends_at, |(at, _)| *at.min(ends_at)))
            }
            Phase::Over { .. } => None,
        };
        let legs = [self.a.deadline(), self.b.as_ref().and_then(Leg::deadline)];
        legs.into_iter().chain([own]).flatten().min()
    }

    /// Time has come for the call or one of its legs.
    pub(crate) fn on_time(&mut self, cx: &mut Context<'_>) {
        let settings = Arc::clone(&self.settings);
        if let Some(event) = self.a.on_time(&mut cx.io(&settings)) {
            self.on_leg_event(cx, Side::A, event);
        }
        if let Some(event) = self.b.as_mut().and_then(|leg| leg.on_time(&mut cx.io(&settings))) {
            self.on_leg_event(cx, Side::B, event);
        }
        let now = cx.now;
        match &mut self.phase {
            Phase::Refusing { cause, give_up, .. } if now >= *give_up => {
                let cause = *cause;
                self.end(cx, cause, None);
            }
            Phase::Asking { .. } => self.on_asking_time(cx),
            Phase::Dialling { no_answer_at, .. } if now >= *no_answer_at => {
                self.end(cx, Cause::NoAnswer, None);
            }
            Phase::Greeting { plan, ends_at, .. } if now >= *ends_at => {
                let cause = plan.longest.1;
                self.end(cx, cause, None);
            }
            // The tone must have been heard by both before they are joined: without it there is no call.
            Phase::Greeting { give_up, waiting, .. } if now >= *give_up && !waiting.contains(&Waiting::OnHold) => {
                self.end(cx, Cause::Internal, None);
            }
            Phase::Talking { ends_at, ends_as, .. } if now >= *ends_at => {
                let cause = *ends_as;
                self.end(cx, cause, None);
            }
            Phase::Talking { warning, .. } => {
                if let Some((_, prompt)) = warning.take_if(|(at, _)| now >= *at) {
                    for side in Side::BOTH {
                        self.play(cx, side, &prompt, Then::Peer);
                    }
                }
            }
            Phase::Refusing { .. } | Phase::Dialling { .. } | Phase::Greeting { .. } | Phase::Over { .. } => {}
        }
    }

    // ---- legs -------------------------------------------------------------------------------------------------

    /// Something happened on a leg.
    pub(crate) fn on_leg_event(&mut self, cx: &mut Context<'_>, side: Side, event: LegEvent) {
        match event {
            LegEvent::Progressed { progress, media } => self.on_progressed(cx, progress, media),
            LegEvent::Answered { media } => self.on_answered(cx, media),
            LegEvent::Ended => {}
            LegEvent::Acknowledged { media } => {
                if let Some(remote) = media {
                    self.tell(cx, Command::SetRemote { side, remote });
                }
                self.on_acknowledged(cx);
            }
            LegEvent::MediaChanged { media } => {
                self.tell(cx, Command::SetRemote { side, remote: media });
                self.on_media_known(cx, side, media);
            }
            LegEvent::Digit { digit, ms } => match self.phase {
                Phase::Asking { .. } => self.on_typed_by_info(cx, digit, ms),
                Phase::Refusing { .. }
                | Phase::Dialling { .. }
                | Phase::Greeting { .. }
                | Phase::Talking { .. }
                | Phase::Over { .. } => self.on_digit(cx, side, digit, ms),
            },
            LegEvent::Redirected { status, to } => self.on_redirected(cx, status, &to),
            LegEvent::Refused { status, q850 } => self.on_refused(cx, status, q850),
            LegEvent::Released { q850 } => self.on_released(cx, side, q850),
            LegEvent::Lost(cause) => self.on_lost(cx, side, cause),
        }
    }

    fn on_progressed(&mut self, cx: &mut Context<'_>, progress: Progress, far: Option<media::Remote>) {
        if !matches!(self.phase, Phase::Dialling { .. }) {
            return;
        }
        if self.cdr.alerting.is_none() && (progress == Progress::Ringing || far.is_some()) {
            self.cdr.alerting = Some(cx.now);
            self.tell_customer(cx, |cdr| What::Alerting(OnwardCall::of(cdr)));
            cx.out.push_back(Output::Log(LogLine::Alerting { session_id: Arc::clone(&self.cdr.session_id) }));
        }
        let Phase::Dialling { plan, heard, far: known_far, .. } = &mut self.phase else { return };
        let (early_media, hears_us) = (self.a.early_media(), self.a.hears_us());
        let ringback = self.settings.app(plan.app).and_then(|app| app.prompts.ringback.clone());
        let announcement = plan.announcement.clone().filter(|_| early_media != EarlyMedia::Never);
        // Early media that the caller cannot be let hear is none.
        let audible = far.is_some() && early_media != EarlyMedia::Never;
        let has_more = announcement.is_some() || audible;
        let (next, step) = match (*heard, announcement, audible) {
            (Heard::Nothing | Heard::Ringing, _, far_media) if has_more && early_media == EarlyMedia::OnOffer => {
                (Heard::Asked { far_media }, Step::Ask)
            }
            (Heard::Nothing | Heard::Ringing, Some(prompt), far_media) => {
                (Heard::Announcement { far_media }, Step::Announce(prompt))
            }
            (Heard::Nothing | Heard::Ringing, None, true) => (Heard::FarMedia, Step::FarMedia),
            // Its own network makes no ringback any more.
            (Heard::Nothing, None, false) if hears_us => match (progress, ringback) {
                (Progress::Ringing, Some(ringback)) => (Heard::Ringback, Step::Ringback(ringback)),
                (Progress::Ringing | Progress::Forwarded | Progress::Queued | Progress::Session, _) => {
                    (Heard::Nothing, Step::Nothing)
                }
            },
            (Heard::Nothing, None, false) => match progress {
                Progress::Ringing => (Heard::Ringing, Step::Tell(progress)),
                Progress::Forwarded | Progress::Queued => (Heard::Nothing, Step::Tell(progress)),
                Progress::Session => (Heard::Nothing, Step::Nothing),
            },
            (Heard::Asked { .. }, _, true) => (Heard::Asked { far_media: true }, Step::Nothing),
            (Heard::Announcement { far_media: false }, _, true) => {
                (Heard::Announcement { far_media: true }, Step::FollowOn)
            }
            (Heard::Ringback, _, true) => (Heard::FarMedia, Step::FarMedia),
            (
                kept @ (Heard::Ringing
                | Heard::Asked { .. }
                | Heard::Announcement { .. }
                | Heard::Ringback
                | Heard::FarMedia),
                _,
                _,
            ) => (kept, Step::Nothing),
        };
        *heard = next;
        if let Some(remote) = far
            && known_far.replace(remote) != Some(remote)
        {
            self.tell(cx, Command::SetRemote { side: Side::B, remote });
        }
        match step {
            Step::Announce(prompt) => {
                self.tell_a(cx, LegCommand::Progress { progress, early_media: true });
                self.announce(cx, &prompt, audible);
            }
            Step::Ringback(prompt) => {
                self.hear(cx, Side::A, Hear::Prompt { prompt, repeat: Repeat::Loop, then: Then::Nothing });
            }
            Step::FollowOn => self.tell(cx, Command::Follow { side: Side::A, then: Then::Peer }),
            Step::FarMedia => {
                self.tell_a(cx, LegCommand::Progress { progress, early_media: true });
                self.hear(cx, Side::A, Hear::Peer);
            }
            Step::Ask => self.tell_a(cx, LegCommand::Progress { progress, early_media: true }),
            Step::Tell(progress) => self.tell_a(cx, LegCommand::Progress { progress, early_media: false }),
            Step::Nothing => {}
        }
    }

    /// The announcement, and what the caller hears after it: B's early media where there is any, else the app's ringback.
    fn announce(&self, cx: &mut Context<'_>, prompt: &Arc<Prompt>, far_media: bool) {
        let ringback = self.app().and_then(|app| app.prompts.ringback.clone());
        let then = if far_media { Then::Peer } else { ringback.map_or(Then::Nothing, Then::Loop) };
        self.play(cx, Side::A, prompt, then);
    }

    /// A party's media is settled later than usual, or has moved.
    fn on_media_known(&mut self, cx: &mut Context<'_>, side: Side, media: media::Remote) {
        match &mut self.phase {
            Phase::Asking { .. } => self.on_caller_hears(cx),
            Phase::Dialling { far, .. } if side == Side::B => *far = Some(media),
            Phase::Dialling { plan, heard, .. } => {
                let &mut Heard::Asked { far_media } = heard else { return };
                match plan.announcement.clone() {
                    Some(prompt) => {
                        *heard = Heard::Announcement { far_media };
                        self.announce(cx, &prompt, far_media);
                    }
                    None => {
                        *heard = Heard::FarMedia;
                        self.hear(cx, Side::A, Hear::Peer);
                    }
                }
            }
            Phase::Greeting { plan, waiting, give_up, .. } => {
                let tone = plan.hint_tone.clone();
                let waits = &mut waiting[side.index()];
                let before = std::mem::replace(
                    waits,
                    match *waits {
                        kept @ (Waiting::ForAck | Waiting::Ready) => kept,
                        Waiting::ForMedia | Waiting::OnHold | Waiting::ForTone => {
                            Waiting::begin(Some(media), tone.is_some())
                        }
                    },
                );
                // A tone that began before the hold was not heard to its end: from the start again.
                if *waits == Waiting::ForTone
                    && before != Waiting::ForTone
                    && let Some(tone) = tone
                {
                    *give_up = patience(cx, Some(&tone));
                    self.play(cx, side, &tone, Then::Nothing);
                }
                self.join_if_ready(cx);
            }
            Phase::Refusing { .. } | Phase::Talking { .. } | Phase::Over { .. } => {}
        }
    }

    /// A party pressed a digit, and its media does not carry it to the other: as an event of the other's media, or as INFO.
    fn on_digit(&mut self, cx: &mut Context<'_>, side: Side, digit: Digit, ms: u16) {
        match self.phase {
            Phase::Talking { .. } => {}
            Phase::Refusing { .. }
            | Phase::Asking { .. }
            | Phase::Dialling { .. }
            | Phase::Greeting { .. }
            | Phase::Over { .. } => return,
        }
        let settings = Arc::clone(&self.settings);
        let to = side.other();
        let Some(leg) = self.leg(to) else { return };
        if leg.media().is_some_and(|media| media.format.telephone_event.is_some()) {
            self.tell(cx, Command::Digit { side: to, digit, ms });
        } else {
            leg.command(&mut cx.io(&settings), LegCommand::Digit { digit, ms });
        }
    }

    fn on_answered(&mut self, cx: &mut Context<'_>, far: media::Remote) {
        let over = Phase::Over { media_open: true };
        let plan = match std::mem::replace(&mut self.phase, over) {
            Phase::Dialling { plan, .. } => plan,
            kept @ (Phase::Refusing { .. }
            | Phase::Asking { .. }
            | Phase::Greeting { .. }
            | Phase::Talking { .. }
            | Phase::Over { .. }) => {
                self.phase = kept;
                return;
            }
        };
        self.cdr.answered = Some(cx.now);
        self.cdr.status_b = 200;
        self.tell_customer(cx, |cdr| What::Answer(OnwardCall::of(cdr)));
        cx.out.push_back(Output::Log(LogLine::Answered { session_id: Arc::clone(&self.cdr.session_id) }));
        self.tell(cx, Command::SetRemote { side: Side::B, remote: far });
        let was_answered = self.a.was_answered();
        self.tell_a(cx, LegCommand::Answer);
        let ends_at = cx.now + plan.longest.0;
        let give_up = patience(cx, plan.hint_tone.as_ref());
        self.phase = Phase::Greeting { plan, ends_at, waiting: [Waiting::ForAck; 2], give_up };
        self.hear(cx, Side::A, Hear::Nothing);
        // Whoever has typed an extension has acknowledged the answer before.
        if was_answered {
            self.on_acknowledged(cx);
        }
    }

    /// A has our 200: both hear the tone, at the same time; or A is asked for an extension.
    fn on_acknowledged(&mut self, cx: &mut Context<'_>) {
        self.on_caller_hears(cx);
        let known = [self.a.media(), self.b.as_ref().and_then(Leg::media)];
        let Phase::Greeting { plan, waiting, give_up, .. } = &mut self.phase else { return };
        let tone = plan.hint_tone.clone();
        *waiting = known.map(|media| Waiting::begin(media, tone.is_some()));
        *give_up = patience(cx, tone.as_ref());
        let waiting = *waiting;
        if let Some(tone) = tone {
            for side in Side::BOTH.into_iter().filter(|side| waiting[side.index()] == Waiting::ForTone) {
                self.play(cx, side, &tone, Then::Nothing);
            }
        }
        self.join_if_ready(cx);
    }

    fn join_if_ready(&mut self, cx: &mut Context<'_>) {
        if matches!(&self.phase, Phase::Greeting { waiting: [Waiting::Ready, Waiting::Ready], .. }) {
            self.join(cx);
        }
    }

    fn join(&mut self, cx: &mut Context<'_>) {
        let over = Phase::Over { media_open: true };
        let (plan, ends_at) = match std::mem::replace(&mut self.phase, over) {
            Phase::Greeting { plan, ends_at, .. } => (plan, ends_at),
            kept @ (Phase::Refusing { .. }
            | Phase::Asking { .. }
            | Phase::Dialling { .. }
            | Phase::Talking { .. }
            | Phase::Over { .. }) => {
                self.phase = kept;
                return;
            }
        };
        let minute_before = ends_at.saturating_sub(Duration::from_secs(60));
        let warning = plan.last_minute.map(|prompt| (minute_before, prompt));
        self.phase = Phase::Talking { ends_at, ends_as: plan.longest.1, warning };
        self.cdr.joined = Some(cx.now);
        cx.out.push_back(Output::Log(LogLine::Joined { session_id: Arc::clone(&self.cdr.session_id) }));
        for side in Side::BOTH {
            self.hear(cx, side, Hear::Peer);
        }
        if plan.record {
            let name: Arc<str> = format!("{}-{}.wav", cx.date(), self.cdr.session_id).into();
            self.tell(cx, Command::Record { name: Arc::clone(&name) });
            self.cdr.recording = Some(Recording { name, started: cx.now });
        }
    }

    /// The called network names other places for the same number: followed where one of them is a target of the trunk that
    /// has not been tried (RFC 3261 §8.1.3.4); else it is a refusal.
    fn on_redirected(&mut self, cx: &mut Context<'_>, status: u16, to: &[Place]) {
        if let Phase::Dialling { plan, heard: Heard::Nothing | Heard::Ringing, .. } = &mut self.phase {
            let is_at = |candidate: &Candidate, place: &Place| candidate.route.is_at(&place.host, place.port);
            let next = to.iter().find_map(|place| plan.routes.iter().position(|candidate| is_at(candidate, place)));
            if let Some(candidate) = next.and_then(|place| plan.routes.remove(place)) {
                plan.routes.push_front(candidate);
                self.try_next(cx);
                return;
            }
        }
        self.on_refused(cx, status, None);
    }

    /// Calls the next target of the trunk. `false`: there is none, or A has heard something of this one.
    fn try_next(&mut self, cx: &mut Context<'_>) -> bool {
        let over = Phase::Over { media_open: true };
        match std::mem::replace(&mut self.phase, over) {
            Phase::Dialling { plan, heard: Heard::Nothing | Heard::Ringing, .. } if !plan.routes.is_empty() => {
                self.invite(cx, plan);
                true
            }
            kept @ (Phase::Refusing { .. }
            | Phase::Asking { .. }
            | Phase::Dialling { .. }
            | Phase::Greeting { .. }
            | Phase::Talking { .. }
            | Phase::Over { .. }) => {
                self.phase = kept;
                false
            }
        }
    }

    fn on_refused(&mut self, cx: &mut Context<'_>, status: u16, q850: Option<u8>) {
        let Phase::Dialling { heard, .. } = &self.phase else { return };
        let heard = *heard;
        self.cdr.status_b = status;
        self.cdr.q850_b = q850;
        // RFC 3263 §4.3: 503 and silence mean another target, anything else is the callee's word.
        if status == 503 && heard == Heard::Nothing && self.try_next(cx) {
            return;
        }
        let cause = Cause::of_response(status, q850);
        if heard == Heard::FarMedia {
            // B's network has said why in its own words.
            self.end(cx, cause, Some(Side::B));
        } else {
            self.turn_away_by(cx, cause.into(), Some(Side::B));
        }
    }

    fn on_released(&mut self, cx: &mut Context<'_>, side: Side, q850: Option<u8>) {
        if side == Side::B {
            self.cdr.q850_b = q850.or(self.cdr.q850_b);
        }
        let gave_up = side == Side::A && !self.a.was_answered();
        let cause = match &self.phase {
            // Why the call was refused says more than that the caller did not listen to the end.
            Phase::Refusing { cause, .. } => *cause,
            Phase::Asking { .. } => Cause::LeftWhileTyping,
            Phase::Greeting { .. } | Phase::Talking { .. } if !gave_up => Cause::HungUp,
            // Also where B has answered, but A had not acknowledged what it must before it can be told.
            Phase::Dialling { .. } | Phase::Greeting { .. } | Phase::Talking { .. } if self.cdr.alerting.is_some() => {
                Cause::CancelledAfterRinging
            }
            Phase::Dialling { .. } | Phase::Greeting { .. } | Phase::Talking { .. } => Cause::CancelledBeforeRinging,
            Phase::Over { .. } => return,
        };
        self.end(cx, cause, Some(side));
        if gave_up {
            self.cdr.status_a = 487;
        }
    }

    fn on_lost(&mut self, cx: &mut Context<'_>, side: Side, cause: Cause) {
        match (&self.phase, side) {
            (Phase::Dialling { heard, .. }, Side::B) => {
                if cause == Cause::NoResponse && *heard == Heard::Nothing && self.try_next(cx) {
                    return;
                }
                if cause == Cause::BadAnswer {
                    self.cdr.status_b = 200;
                }
                self.turn_away(cx, cause);
            }
            (Phase::Over { .. }, _) => {}
            (
                Phase::Refusing { .. }
                | Phase::Asking { .. }
                | Phase::Dialling { .. }
                | Phase::Greeting { .. }
                | Phase::Talking { .. },
                Side::A | Side::B,
            ) => self.end(cx, cause, None),
        }
    }

    // ---- media ------------------------------------------------------------------------------------------------

    /// The media session reports.
    pub(crate) fn on_media_event(&mut self, cx: &mut Context<'_>, event: Event) {
        match event {
            Event::PromptEnded { side, prompt } => self.on_prompt_ended(cx, side, &prompt),
            Event::Digit { side, digit, ms } => self.on_digit(cx, side, digit, ms),
            Event::Pressed { digit, by, .. } => self.on_pressed(cx, digit, by),
            Event::Released { by, .. } => self.on_let_go(cx, by),
            // Silence before the answer is what ringing sounds like.
            Event::Dead => match &self.phase {
                Phase::Greeting { .. } | Phase::Talking { .. } => self.end(cx, Cause::DeadMedia, None),
                Phase::Refusing { .. } | Phase::Asking { .. } | Phase::Dialling { .. } | Phase::Over { .. } => {}
            },
            Event::Closed(totals) => {
                self.cdr.media = *totals;
                self.media = None;
                if let Phase::Over { media_open } = &mut self.phase {
                    *media_open = false;
                    self.report(cx);
                } else {
                    // A session that closes unasked has lost its worker.
                    self.end(cx, Cause::Internal, None);
                }
            }
        }
    }

    fn on_prompt_ended(&mut self, cx: &mut Context<'_>, side: Side, prompt: &Arc<Prompt>) {
        match &mut self.phase {
            Phase::Refusing { cause, prompt: awaited, .. } => {
                if side == Side::A && Arc::ptr_eq(awaited, prompt) {
                    let cause = *cause;
                    self.end(cx, cause, None);
                }
            }
            Phase::Asking { .. } => self.on_asking_prompt_ended(cx, prompt),
            Phase::Dialling { heard, .. } => match *heard {
                // Said once more: the prompt may have ended while the word of what follows it was on its way.
                Heard::Announcement { far_media: true } => {
                    *heard = Heard::FarMedia;
                    self.hear(cx, Side::A, Hear::Peer);
                }
                Heard::Announcement { far_media: false } => *heard = Heard::Ringback,
                Heard::Nothing | Heard::Ringing | Heard::Asked { .. } | Heard::Ringback | Heard::FarMedia => {}
            },
            // An announcement that ended as B answered is not the tone that is waited for.
            Phase::Greeting { plan, waiting, .. } => {
                let is_tone = plan.hint_tone.as_ref().is_some_and(|tone| Arc::ptr_eq(tone, prompt));
                if is_tone && waiting[side.index()] == Waiting::ForTone {
                    waiting[side.index()] = Waiting::Ready;
                    self.join_if_ready(cx);
                }
            }
            Phase::Talking { .. } | Phase::Over { .. } => {}
        }
    }

    // ---- what the call does -----------------------------------------------------------------------------------

    fn open_media(&mut self, cx: &mut Context<'_>, media: MediaPorts) {
        self.media = Some(media);
        let seed = cx.tokens.draw();
        cx.out.push_back(Output::OpenMedia { session: media.session, ports: media.ports, seed });
        if let Some(remote) = self.a.media() {
            self.tell(cx, Command::SetRemote { side: Side::A, remote });
        }
    }

    fn app(&self) -> Option<&App> {
        self.cdr.app.and_then(|app| self.settings.app(app))
    }

    /// Sends the INVITE to the next route of the outgoing trunk.
    fn invite(&mut self, cx: &mut Context<'_>, mut plan: Plan) {
        let settings = Arc::clone(&self.settings);
        let trunk = settings.trunk(plan.trunk_out);
        // One that no listener of ours reaches is passed over.
        let reached = std::iter::from_fn(|| plan.routes.pop_front())
            .find_map(|candidate| Some((flow_to(&settings, trunk, &candidate.route)?, candidate)));
        let (Some((flow, candidate)), Some(media)) = (reached, self.media) else {
            self.turn_away(cx, Cause::NoRoute);
            return;
        };
        self.route = Some((candidate.id, Answered(false)));
        let (mut x, mut callee) = (Vec::new(), Vec::new());
        trunk.write.write(plan.shown, &mut x);
        trunk.write.write(plan.callee, &mut callee);
        let parties = Parties {
            x,
            callee,
            host: candidate.route.host_port(),
            number: plan.callee,
            max_forwards: self.max_forwards,
            local_tag: cx.local_tag(self.key, Side::B),
            call_id: cx.call_id(),
        };
        if settings.correlates
            && let Some(caller) = self.a.call_id()
        {
            cx.out.push_back(Output::Correlated { call_id: parties.call_id.as_slice().into(), caller: caller.into() });
        }
        let session_id = cx.tokens.draw() >> 2;
        let offer = OfferAnswer::offer(trunk, &settings.media, media.ports[Side::B.index()], session_id);
        let owner = LegKey { call: self.key, side: Side::B };
        self.b = Some(Leg::outgoing(&mut cx.io(&settings), owner, plan.trunk_out, flow, parties, offer));
        if self.cdr.forwarded.is_none() {
            self.cdr.forwarded = Some(cx.now);
            self.tell_customer(cx, |cdr| What::CallOut(OnwardCall::of(cdr)));
        }
        let no_answer = settings.app(plan.app).map_or(Duration::from_secs(60), |app: &App| app.no_answer);
        let no_answer_at = cx.now + no_answer;
        self.phase = Phase::Dialling { plan, no_answer_at, heard: Heard::Nothing, far: None };
    }

    fn turn_away(&mut self, cx: &mut Context<'_>, cause: Cause) {
        self.turn_away_by(cx, cause.into(), None);
    }

    /// Refuses A, after a prompt where there is one and A can hear it.
    fn turn_away_by(&mut self, cx: &mut Context<'_>, turned_away: TurnedAway, by: Option<Side>) {
        let prompt = turned_away.prompt(self.app()).cloned();
        let cause = turned_away.cause;
        let audible = self.media.is_some() && self.a.media().is_some();
        let Some(prompt) = prompt.filter(|_| audible) else {
            self.end(cx, cause, by);
            return;
        };
        self.cdr.released_by = by;
        let give_up = cx.now + duration_of(&prompt) + PROMPT_GRACE;
        self.phase = Phase::Refusing { cause, prompt: Arc::clone(&prompt), give_up };
        if let Some(b) = &mut self.b {
            b.command(&mut cx.io(&self.settings), LegCommand::Release(cause));
        }
        self.tell_a(cx, LegCommand::Progress { progress: Progress::Session, early_media: true });
        self.play(cx, Side::A, &prompt, Then::Nothing);
    }

    /// Ends the call on both legs, whatever they are doing.
    pub(crate) fn end(&mut self, cx: &mut Context<'_>, cause: Cause, by: Option<Side>) {
        if self.is_over() && self.cdr.ended != Duration::MAX {
            return;
        }
        self.cdr.ended = cx.now;
        self.cdr.cause = cause;
        self.cdr.released_by = by.or(self.cdr.released_by);
        self.cdr.status_a = if self.a.was_answered() { 200 } else { cause.refusal() };
        self.phase = Phase::Over { media_open: self.media.is_some() };
        let settings = Arc::clone(&self.settings);
        self.a.command(&mut cx.io(&settings), LegCommand::Release(cause));
        if let Some(b) = &mut self.b {
            b.command(&mut cx.io(&settings), LegCommand::Release(cause));
        }
        cx.has_ended = true;
        self.tell_customer(cx, |cdr| What::Disconnect { caller: cdr.caller, called: cdr.callee.or(cdr.x), cause });
        cx.out.push_back(Output::Log(LogLine::Ended {
            session_id: Arc::clone(&self.cdr.session_id),
            caller: self.cdr.caller,
            x: self.cdr.x,
            cause,
            released_by: self.cdr.released_by,
            talked: self.cdr.answered.map(|answered| cx.now.saturating_sub(answered)),
        }));
        if self.media.is_some() {
            cx.out.push_back(Output::Ending(self.cdr.clone()));
            self.tell(cx, Command::Close);
        } else {
            self.report(cx);
        }
    }

    /// The customer of this call wants to know, or does not.
    fn tell_customer(&self, cx: &mut Context<'_>, what: impl FnOnce(&Cdr) -> What) {
        if self.app().is_some_and(|app| app.is_told) {
            let event = CallEvent::of(&self.cdr, cx.now, what(&self.cdr));
            cx.out.extend(event.map(|event| Output::Told(Box::new(event))));
        }
    }

    fn report(&mut self, cx: &mut Context<'_>) {
        cx.out.push_back(Output::Ended(self.cdr.clone()));
    }

    fn play(&self, cx: &mut Context<'_>, side: Side, prompt: &Arc<Prompt>, then: Then) {
        self.hear(cx, side, Hear::Prompt { prompt: Arc::clone(prompt), repeat: Repeat::Once, then });
    }

    fn hear(&self, cx: &mut Context<'_>, side: Side, hear: Hear) {
        self.tell(cx, Command::Hear { side, hear });
    }

    fn tell(&self, cx: &mut Context<'_>, command: Command) {
        if let Some(media) = self.media {
            cx.out.push_back(Output::Media { session: media.session, command });
        }
    }

    fn tell_a(&mut self, cx: &mut Context<'_>, command: LegCommand) {
        self.a.command(&mut cx.io(&self.settings), command);
    }

    /// The leg of a side.
    pub(crate) fn leg(&mut self, side: Side) -> Option<&mut Leg> {
        match side {
            Side::A => Some(&mut self.a),
            Side::B => self.b.as_mut(),
        }
    }

    /// The trunk of this name is not the one that a side's leg is on.
    pub(crate) fn is_foreign(&self, side: Side, trunk: &str) -> bool {
        let leg = match side {
            Side::A => Some(&self.a),
            Side::B => self.b.as_ref(),
        };
        leg.is_some_and(|leg| !leg.is_on(trunk, &self.settings))
    }

    /// A request of ours on a leg got no final response.
    pub(crate) fn on_unanswered(&mut self, cx: &mut Context<'_>, side: Side, id: ClientId) {
        let settings = Arc::clone(&self.settings);
        if let Some(event) = self.leg(side).and_then(|leg| leg.on_unanswered(&mut cx.io(&settings), id)) {
            self.on_leg_event(cx, side, event);
        }
    }
}

impl Waiting {
    /// What an answered party waits for, as far as its media is known.
    fn begin(media: Option<media::Remote>, has_tone: bool) -> Waiting {
        match media {
            None => Waiting::ForMedia,
            Some(_) if !has_tone => Waiting::Ready,
            Some(media) if !media.direction.send => Waiting::OnHold,
            Some(_) => Waiting::ForTone,
        }
    }
}

/// How long the tone is waited for: its length, the longest that an ACK or PRACK may take, and a little.
fn patience(cx: &Context<'_>, tone: Option<&Arc<Prompt>>) -> Duration {
    let length = tone.map_or(Duration::ZERO, |tone| duration_of(tone));
    cx.now + length + cx.layer.timers().give_up() + PROMPT_GRACE
}

/// What A is told of B's progress.
enum Step {
    Announce(Arc<Prompt>),
    FarMedia,
    /// Ringback of ours, since A is asked for its extension by us and hears us already.
    Ringback(Arc<Prompt>),
    /// B's early media once the announcement is over.
    FollowOn,
    /// Our offer, since it made none.
    Ask,
    Tell(Progress),
    Nothing,
}

/// The prompt of an app for a cause, where both have one.
fn prompt_of(app: &App, cause: Cause) -> Option<&Arc<Prompt>> {
    let prompt = match cause.row().prompt? {
        RefusalPrompt::NoBinding => &app.prompts.no_binding,
        RefusalPrompt::NoPermission => &app.prompts.no_permission,
        RefusalPrompt::Busy => &app.prompts.busy,
        RefusalPrompt::ServiceFault => &app.prompts.service_fault,
        RefusalPrompt::WrongExtension => &app.prompts.wrong_extension,
        RefusalPrompt::EmptyExtension => &app.prompts.empty_extension,
        RefusalPrompt::NoCallee => &app.prompts.no_callee,
        RefusalPrompt::NoCallBack => &app.prompts.no_call_back,
    };
    prompt.as_ref()
}

/// A prompt's length: 8 samples a millisecond.
fn duration_of(prompt: &Prompt) -> Duration {
    Duration::from_millis(prompt.alaw.len() as u64 / 8)
}
