//! A call through X: what happens on one leg becomes what shall happen on the other, and what both hear.
//!
//! ```text
//!              refuse ─▶ Refusing ─prompt over─╮
//!                                              ▼
//!   Dialling ──B answers──▶ Greeting ──both heard the tone──▶ Talking ──BYE, time──▶ Over
//!      └──────── B refuses, A gives up, no answer ────────────────────────────────────▲
//! ```
//!
//! `Over` still waits for the media to be flushed and for both legs' last transactions.

use std::sync::Arc;
use std::time::Duration;

use media::{Command, Event, Hear, Prompt, Repeat, Side, Then};
use numbering::{AppId, Number};
use sip::message::Method;
use sip::transaction::ClientId;

use crate::cdr::{Cdr, Recording};
use crate::core::{Context, Output, SessionId, flow_to};
use crate::leg::{CallKey, Leg, LegCommand, LegEvent, Owner, Parties};
use crate::observe::LogLine;
use crate::offer_answer::OfferAnswer;
use crate::outcome::{Cause, RefusalPrompt};
use crate::routes::{Candidate, RouteId};
use crate::settings::{App, Settings, TrunkId};

/// A prompt that should have ended by now and has not is not waited for any longer than this.
const PROMPT_GRACE: Duration = Duration::from_secs(5);

/// What the decision and the app say about one call.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) app: AppId,
    pub(crate) x: Number,
    pub(crate) callee: Number,
    pub(crate) trunk_out: TrunkId,
    /// Where the INVITE is tried, in this order.
    pub(crate) routes: Vec<Candidate>,
    /// What the caller hears instead of ringback.
    pub(crate) announcement: Option<Arc<Prompt>>,
    /// What both hear on the answer.
    pub(crate) hint_tone: Option<Arc<Prompt>>,
    /// What both hear one minute before the end.
    pub(crate) last_minute: Option<Arc<Prompt>>,
    /// Length from the answer, and what its end is called.
    pub(crate) longest: (Duration, Cause),
    pub(crate) record: bool,
    pub(crate) max_forwards: u8,
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
    Dialling {
        plan: Plan,
        next_target: usize,
        no_answer_at: Duration,
        heard: Heard,
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
    /// Its media is not settled yet (the caller's answer comes with its ACK).
    ForMedia,
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
    phase: Phase,
    pub(crate) cdr: Box<Cdr>,
    /// The deadline that the core has been told.
    pub(crate) armed: Option<Duration>,
}

impl Call {
    /// Calls B, or refuses the caller: after a prompt where there is one and media to play it.
    pub(crate) fn begin(cx: &mut Context<'_>, arrival: Arrival, verdict: Result<Plan, Cause>) -> Call {
        let Arrival { key, settings, leg, media, cdr } = arrival;
        let phase = Phase::Over { media_open: false };
        let mut call = Call { key, settings, a: leg, b: None, route: None, media: None, phase, cdr, armed: None };
        if let Some(media) = media {
            call.open_media(cx, media);
        }
        match (verdict, media) {
            (Ok(plan), Some(_)) => call.invite(cx, plan, 0),
            (Ok(_), None) => call.turn_away(cx, Cause::NoPorts),
            (Err(cause), _) => call.turn_away(cx, cause),
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
            Phase::Dialling { no_answer_at, .. } => Some(*no_answer_at),
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
            Phase::Dialling { no_answer_at, .. } if now >= *no_answer_at => {
                self.end(cx, Cause::NoAnswer, None);
            }
            Phase::Greeting { plan, ends_at, .. } if now >= *ends_at => {
                let cause = plan.longest.1;
                self.end(cx, cause, None);
            }
            // The tone must have been heard by both before they are joined: without it there is no call.
            Phase::Greeting { give_up, .. } if now >= *give_up => self.end(cx, Cause::Internal, None),
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
            LegEvent::Progressed { ringing, media } => self.on_progressed(cx, ringing, media),
            LegEvent::Answered { media } => self.on_answered(cx, media),
            LegEvent::Acknowledged { media: None } | LegEvent::Ended => {}
            LegEvent::Acknowledged { media: Some(media) } => {
                self.tell(cx, Command::SetRemote { side, remote: media });
                self.on_late_media(cx, side);
            }
            LegEvent::MediaChanged { media } => self.tell(cx, Command::SetRemote { side, remote: media }),
            LegEvent::Refused { status, q850 } => self.on_refused(cx, status, q850),
            LegEvent::Released { q850 } => self.on_released(cx, side, q850),
            LegEvent::Lost(cause) => self.on_lost(cx, side, cause),
        }
    }

    fn on_progressed(&mut self, cx: &mut Context<'_>, ringing: bool, far: Option<media::Remote>) {
        let Phase::Dialling { plan, heard, .. } = &mut self.phase else { return };
        if self.cdr.alerting.is_none() && (ringing || far.is_some()) {
            self.cdr.alerting = Some(cx.now);
            cx.out.push_back(Output::Log(LogLine::Alerting { session_id: Arc::clone(&self.cdr.session_id) }));
        }
        let announcement = plan.announcement.clone().filter(|_| self.a.media().is_some());
        let ringback = self.settings.app(plan.app).and_then(|app| app.prompts.ringback.clone());
        let (next, step) = match (*heard, announcement, far.is_some()) {
            (Heard::Nothing | Heard::Ringing, Some(prompt), far_media) => {
                (Heard::Announcement { far_media }, Some(Step::Announce(prompt, ringback)))
            }
            (Heard::Nothing | Heard::Ringing, None, true) => (Heard::FarMedia, Some(Step::FarMedia)),
            (Heard::Nothing, None, false) if ringing => (Heard::Ringing, Some(Step::Ring)),
            (Heard::Announcement { .. }, _, true) => (Heard::Announcement { far_media: true }, None),
            (Heard::Ringback, _, true) => (Heard::FarMedia, Some(Step::FarMedia)),
            (kept, _, _) => (kept, None),
        };
        *heard = next;
        if let Some(remote) = far {
            self.tell(cx, Command::SetRemote { side: Side::B, remote });
        }
        match step {
            Some(Step::Announce(prompt, ringback)) => {
                self.tell_a(cx, LegCommand::Progress { early_media: true });
                let then = ringback.map_or(Then::Nothing, Then::Loop);
                self.play(cx, Side::A, &prompt, then);
            }
            Some(Step::FarMedia) => {
                self.tell_a(cx, LegCommand::Progress { early_media: true });
                self.hear(cx, Side::A, Hear::Peer);
            }
            Some(Step::Ring) => self.tell_a(cx, LegCommand::Progress { early_media: false }),
            None => {}
        }
    }

    fn on_answered(&mut self, cx: &mut Context<'_>, far: media::Remote) {
        let over = Phase::Over { media_open: true };
        let plan = match std::mem::replace(&mut self.phase, over) {
            Phase::Dialling { plan, .. } => plan,
            kept @ (Phase::Refusing { .. } | Phase::Greeting { .. } | Phase::Talking { .. } | Phase::Over { .. }) => {
                self.phase = kept;
                return;
            }
        };
        self.cdr.answered = Some(cx.now);
        self.cdr.status_a = 200;
        self.cdr.status_b = 200;
        cx.out.push_back(Output::Log(LogLine::Answered { session_id: Arc::clone(&self.cdr.session_id) }));
        self.tell(cx, Command::SetRemote { side: Side::B, remote: far });
        self.tell_a(cx, LegCommand::Answer);
        let tone = plan.hint_tone.clone();
        let state = |settled: bool| match (settled, tone.is_some()) {
            (false, _) => Waiting::ForMedia,
            (true, true) => Waiting::ForTone,
            (true, false) => Waiting::Ready,
        };
        let waiting = [state(self.a.media().is_some()), state(true)];
        let tone_length = tone.as_ref().map_or(Duration::ZERO, |tone| duration_of(tone));
        let ends_at = cx.now + plan.longest.0;
        let give_up = cx.now + tone_length + cx.layer.timers().give_up() + PROMPT_GRACE;
        self.phase = Phase::Greeting { plan, ends_at, waiting, give_up };
        for side in Side::BOTH {
            match (&tone, waiting[side.index()]) {
                (Some(tone), Waiting::ForTone) => self.play(cx, side, tone, Then::Nothing),
                _ => self.hear(cx, side, Hear::Nothing),
            }
        }
        self.join_if_ready(cx);
    }

    /// The caller's media is known at last.
    fn on_late_media(&mut self, cx: &mut Context<'_>, side: Side) {
        let Phase::Greeting { plan, waiting, .. } = &mut self.phase else { return };
        if waiting[side.index()] != Waiting::ForMedia {
            return;
        }
        let tone = plan.hint_tone.clone();
        waiting[side.index()] = if tone.is_some() { Waiting::ForTone } else { Waiting::Ready };
        if let Some(tone) = tone {
            self.play(cx, side, &tone, Then::Nothing);
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
            kept @ (Phase::Refusing { .. } | Phase::Dialling { .. } | Phase::Talking { .. } | Phase::Over { .. }) => {
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

    fn on_refused(&mut self, cx: &mut Context<'_>, status: u16, q850: Option<u8>) {
        let over = Phase::Over { media_open: true };
        match std::mem::replace(&mut self.phase, over) {
            Phase::Dialling { plan, next_target, heard, .. } => {
                self.cdr.status_b = status;
                self.cdr.q850_b = q850;
                // RFC 3263 §4.3: 503 and silence mean another target, anything else is the callee's word.
                if status == 503 && heard == Heard::Nothing && next_target < plan.routes.len() {
                    self.invite(cx, plan, next_target);
                    return;
                }
                let cause = Cause::of_response(status, q850);
                if heard == Heard::FarMedia {
                    // B's network has said why in its own words.
                    self.end(cx, cause, Some(Side::B));
                } else {
                    self.turn_away_by(cx, cause, Some(Side::B));
                }
            }
            kept @ (Phase::Refusing { .. } | Phase::Greeting { .. } | Phase::Talking { .. } | Phase::Over { .. }) => {
                self.phase = kept;
            }
        }
    }

    fn on_released(&mut self, cx: &mut Context<'_>, side: Side, q850: Option<u8>) {
        if side == Side::B {
            self.cdr.q850_b = q850.or(self.cdr.q850_b);
        }
        let cause = match &self.phase {
            // Why the call was refused says more than that the caller did not listen to the end.
            Phase::Refusing { cause, .. } => *cause,
            Phase::Dialling { .. } if self.cdr.alerting.is_some() => Cause::CancelledAfterRinging,
            Phase::Dialling { .. } => Cause::CancelledBeforeRinging,
            Phase::Greeting { .. } | Phase::Talking { .. } => Cause::HungUp,
            Phase::Over { .. } => return,
        };
        let was_answered = self.cdr.answered.is_some();
        self.end(cx, cause, Some(side));
        if !was_answered && side == Side::A {
            self.cdr.status_a = 487;
        }
    }

    fn on_lost(&mut self, cx: &mut Context<'_>, side: Side, cause: Cause) {
        let over = Phase::Over { media_open: true };
        match (std::mem::replace(&mut self.phase, over), side) {
            (Phase::Dialling { plan, next_target, heard: Heard::Nothing, .. }, Side::B)
                if cause == Cause::NoResponse && next_target < plan.routes.len() =>
            {
                self.invite(cx, plan, next_target);
            }
            (Phase::Dialling { .. }, Side::B) => {
                if cause == Cause::BadAnswer {
                    self.cdr.status_b = 200;
                }
                self.turn_away_by(cx, cause, None);
            }
            (kept @ Phase::Over { .. }, _) => self.phase = kept,
            (
                kept @ (Phase::Refusing { .. }
                | Phase::Dialling { .. }
                | Phase::Greeting { .. }
                | Phase::Talking { .. }),
                _,
            ) => {
                self.phase = kept;
                self.end(cx, cause, None);
            }
        }
    }

    // ---- media ------------------------------------------------------------------------------------------------

    /// The media session reports.
    pub(crate) fn on_media_event(&mut self, cx: &mut Context<'_>, event: Event) {
        match event {
            Event::PromptEnded { side, prompt } => self.on_prompt_ended(cx, side, &prompt),
            // Silence before the answer is what ringing sounds like.
            Event::Dead => match &self.phase {
                Phase::Greeting { .. } | Phase::Talking { .. } => self.end(cx, Cause::DeadMedia, None),
                Phase::Refusing { .. } | Phase::Dialling { .. } | Phase::Over { .. } => {}
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
            Phase::Dialling { heard, .. } => match *heard {
                Heard::Announcement { far_media: true } => {
                    *heard = Heard::FarMedia;
                    self.hear(cx, Side::A, Hear::Peer);
                }
                Heard::Announcement { far_media: false } => *heard = Heard::Ringback,
                Heard::Nothing | Heard::Ringing | Heard::Ringback | Heard::FarMedia => {}
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

    /// Sends the INVITE to the next route of the outgoing trunk.
    fn invite(&mut self, cx: &mut Context<'_>, plan: Plan, target: usize) {
        let settings = Arc::clone(&self.settings);
        let trunk = settings.trunk(plan.trunk_out);
        let candidate = plan.routes.get(target);
        let flow = candidate.and_then(|candidate| flow_to(&settings, &candidate.route));
        let (Some(candidate), Some(flow), Some(media)) = (candidate, flow, self.media) else {
            self.turn_away(cx, Cause::NoRoute);
            return;
        };
        self.route = Some((candidate.id, Answered(false)));
        let host = candidate.route.host_port();
        let (mut x, mut callee) = (Vec::new(), Vec::new());
        trunk.write.write(plan.x, &mut x);
        trunk.write.write(plan.callee, &mut callee);
        let parties = Parties {
            x: &x,
            callee: &callee,
            host: &host,
            assert_identity: trunk.assert_identity,
            max_forwards: plan.max_forwards,
        };
        let local_tag = cx.local_tag(self.key, Side::B);
        let call_id = cx.call_id();
        let session_id = cx.tokens.draw() >> 2;
        let offer = OfferAnswer::offer(trunk, &settings.media, media.ports[Side::B.index()], session_id);
        let owner = Owner::Leg { call: self.key, side: Side::B };
        let leg =
            Leg::outgoing(&mut cx.io(&settings), owner, plan.trunk_out, flow, &parties, (&local_tag, &call_id), offer);
        self.b = Some(leg);
        self.cdr.forwarded.get_or_insert(cx.now);
        let no_answer = settings.app(plan.app).map_or(Duration::from_secs(60), |app: &App| app.no_answer);
        let no_answer_at = cx.now + no_answer;
        self.phase = Phase::Dialling { plan, next_target: target + 1, no_answer_at, heard: Heard::Nothing };
    }

    fn turn_away(&mut self, cx: &mut Context<'_>, cause: Cause) {
        self.turn_away_by(cx, cause, None);
    }

    /// Refuses A, after the app's prompt where there is one and A can hear it.
    fn turn_away_by(&mut self, cx: &mut Context<'_>, cause: Cause, by: Option<Side>) {
        let app = self.cdr.app.and_then(|app| self.settings.app(app));
        let prompt = app.and_then(|app| prompt_of(app, cause)).cloned();
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
        self.tell_a(cx, LegCommand::Progress { early_media: true });
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
        if self.cdr.answered.is_none() {
            self.cdr.status_a = cause.row().status.max(400);
        }
        self.phase = Phase::Over { media_open: self.media.is_some() };
        let settings = Arc::clone(&self.settings);
        self.a.command(&mut cx.io(&settings), LegCommand::Release(cause));
        if let Some(b) = &mut self.b {
            b.command(&mut cx.io(&settings), LegCommand::Release(cause));
        }
        cx.has_ended = true;
        cx.out.push_back(Output::Log(LogLine::Ended {
            session_id: Arc::clone(&self.cdr.session_id),
            caller: self.cdr.caller,
            x: self.cdr.x,
            cause,
            released_by: self.cdr.released_by,
            talked: self.cdr.answered.map(|answered| cx.now.saturating_sub(answered)),
        }));
        if self.media.is_some() {
            self.tell(cx, Command::Close);
        } else {
            self.report(cx);
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

    /// A request of ours on a leg got no final response.
    pub(crate) fn on_unanswered(&mut self, cx: &mut Context<'_>, side: Side, id: ClientId, method: Method) {
        if let Some(event) = self.leg(side).and_then(|leg| leg.on_unanswered(id, method)) {
            self.on_leg_event(cx, side, event);
        }
    }
}

/// What A is told of B's progress.
enum Step {
    Announce(Arc<Prompt>, Option<Arc<Prompt>>),
    FarMedia,
    Ring,
}

/// The prompt of an app for a cause, where both have one.
pub(crate) fn prompt_of(app: &App, cause: Cause) -> Option<&Arc<Prompt>> {
    let prompt = match cause.row().prompt? {
        RefusalPrompt::NoBinding => &app.prompts.no_binding,
        RefusalPrompt::NoPermission => &app.prompts.no_permission,
        RefusalPrompt::Busy => &app.prompts.busy,
        RefusalPrompt::ServiceFault => &app.prompts.service_fault,
    };
    prompt.as_ref()
}

/// A prompt's length: 8 samples a millisecond.
fn duration_of(prompt: &Prompt) -> Duration {
    Duration::from_millis(prompt.alaw.len() as u64 / 8)
}
