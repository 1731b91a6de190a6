//! An INVITE becomes a call: who is reached, and how, or why nobody is.

use std::sync::Arc;
use std::time::Duration;

use media::{Prompt, Side};
use numbering::{Binding, CallBack, Decision, Extension, Mode, Number, Party, Refusal, VirtualNumber};
use sip::dialog::Dialog;
use sip::message::{Message, ParseError};
use sip::transaction::{Flow, ServerId};

use super::{AtWork, Context, Core, Output, Session, SessionId, local_tag, unique_id};
use crate::call::{Arrival, Asking, Call, MediaPorts, Plan, TurnedAway, Way};
use crate::cdr::Cdr;
use crate::intake::{read_called, read_caller};
use crate::leg::{self, CallKey, Leg, LegKey, Owner};
use crate::observe::{Drop, LogLine};
use crate::offer_answer::OfferAnswer;
use crate::outcome::Cause;
use crate::settings::{App, SecondCall, Settings, Trunk, TrunkId};

/// RFC 3261 §16.6.3, less our own hop.
pub(super) const MAX_FORWARDS: u8 = 69;

pub(super) fn hops_left(request: &Message) -> u8 {
    match request.max_forwards() {
        Some(Ok(hops)) => hops.saturating_sub(1),
        Some(Err(_)) | None => MAX_FORWARDS,
    }
}

impl Core {
    pub(super) fn on_invite(&mut self, now: Duration, trunk: TrunkId, id: ServerId, flow: Flow, invite: Message) {
        let settings = Arc::clone(&self.settings);
        let key = self.next_key();
        let tag = local_tag(&mut self.tokens, key, Side::A);
        let Ok(dialog) = Dialog::of_request(&invite, &tag) else {
            self.count_parse_error(ParseError::MissingContact);
            self.respond(now, id, flow, &invite, 400, &[]);
            return;
        };
        if !settings.trunk(trunk).may_call_from(flow.peer.ip()) {
            // Known as a target only: it is called, it does not call.
            self.counters.drop(Drop::Stranger);
            self.respond(now, id, flow, &invite, 403, &[]);
            return;
        }
        if settings.trunk(trunk).challenge.is_some()
            && let Some(drop) = self.overload(now, settings.trunk(trunk))
        {
            self.counters.drop(drop);
            let after = self.retry_after(self.mark_of(&invite));
            self.respond(now, id, flow, &invite, 503, &[("Retry-After", after.as_bytes())]);
            return;
        }
        self.respond(now, id, flow, &invite, 100, &[]);
        let owner = LegKey { call: key, side: Side::A };
        self.layer.own(id, Owner::Leg(owner));
        self.current = Some(AtWork::Call(key));
        self.counters.calls_begun += 1;

        let caller = read_caller(settings.trunk(trunk), &invite);
        let x = read_called(settings.trunk(trunk), &invite);
        let mut cdr = self.new_cdr(now, settings.trunk(trunk), caller, x);
        let verdict = self.decide(now, &settings, trunk, &mut cdr);
        // Ports are taken only where something will be heard: a call, or a refusal with a prompt to one who offered to hear it.
        let wants_media = match &verdict {
            Ok(_) => true,
            Err(turned_away) => {
                let app = cdr.app.and_then(|app| settings.app(app));
                invite.sdp_body().is_some() && turned_away.prompt(app).is_some()
            }
        };
        let media = if wants_media { self.take_ports(now) } else { None };
        let max_forwards = hops_left(&invite);
        let (verdict, offer_answer) = self.negotiate(&settings, trunk, &invite, media, verdict);
        let request = leg::Request { invite, server: id, dialog, offer_answer };
        let leg = Leg::incoming(owner, trunk, flow, request, &settings);
        self.begin(now, Arrival { key, settings, leg, media, max_forwards, cdr }, verdict);
    }

    /// Makes the call, dialling or refusing, and counts it.
    fn begin(&mut self, now: Duration, arrival: Arrival, verdict: Result<Way, TurnedAway>) {
        let key = arrival.key;
        if let Some(media) = arrival.media {
            self.sessions.insert(media.session, Session { call: key, ports: media.ports });
        }
        if let (Ok(Way::Dial(plan)), Some(_)) = (&verdict, arrival.media) {
            self.on_dial(now, plan, &arrival.cdr);
        }
        let mut cx = Context {
            now,
            layer: &mut self.layer,
            routes: &self.routes,
            counters: &mut self.counters,
            tokens: &mut self.tokens,
            out: &mut self.out,
            unix_at_epoch: self.unix_at_epoch,
            has_ended: false,
            typed: None,
        };
        let call = Call::begin(&mut cx, arrival, verdict);
        let has_ended = cx.has_ended;
        self.live.add(&call.cdr, key);
        let place = self.calls.insert(call);
        debug_assert_eq!(place, key.index as usize, "next_key names the place that insert takes");
        self.settle(now, key, has_ended);
        self.current = None;
    }

    /// Somebody is about to be called.
    fn on_dial(&mut self, now: Duration, plan: &Plan, cdr: &Cdr) {
        if let Some(first) = plan.routes.front() {
            self.routes.on_call(now, first.id);
        }
        if let (Some(binding), Some(caller), Some(Party::B), Some(_)) =
            (cdr.binding, cdr.caller, cdr.caller_is, cdr.extension)
        {
            self.out.push_back(Output::Reached { binding, a: plan.callee, caller });
        }
        if let (Some(caller), Some(trunk_out)) = (cdr.caller, &cdr.trunk_out) {
            self.out.push_back(Output::Log(LogLine::Dialling {
                session_id: Arc::clone(&cdr.session_id),
                caller,
                x: plan.x,
                trunk_in: Arc::clone(&cdr.trunk_in),
                trunk_out: Arc::clone(trunk_out),
            }));
        }
    }

    /// A caller has typed an extension: whose it is decides how the call goes on.
    pub(super) fn on_typed(&mut self, now: Duration, key: CallKey, extension: Extension) {
        let Some(call) = self.call(key) else { return };
        let (settings, trunk_in, mut cdr) = (Arc::clone(call.settings()), call.a.trunk(), call.cdr.clone());
        let way = match cdr.x {
            Some(x) => {
                let decision = self.table.decide_extension(x, extension, cdr.caller, self.unix_ms(now));
                self.judge(now, &settings, trunk_in, x, decision, &mut cdr)
            }
            None => Err(Cause::Internal.into()),
        };
        let verdict = match way {
            Ok(Way::Dial(plan)) => Ok(plan),
            // An extension leads to somebody or to nobody.
            Ok(Way::Ask(_)) => Err(Cause::Internal.into()),
            Err(turned_away) => Err(turned_away),
        };
        if let Ok(plan) = &verdict {
            self.on_dial(now, plan, &cdr);
            // It occupies more than it did.
            if let Some(call) = self.calls.get(key.index as usize) {
                self.live.remove(&call.cdr);
            }
            self.live.add(&cdr, key);
        }
        self.with_call(now, key, |call, cx| {
            call.cdr = cdr;
            call.on_judged(cx, verdict);
        });
    }

    /// Answers the caller's offer, or makes one where it made none.
    fn negotiate(
        &mut self,
        settings: &Settings,
        trunk: TrunkId,
        invite: &Message,
        media: Option<MediaPorts>,
        verdict: Result<Way, TurnedAway>,
    ) -> (Result<Way, TurnedAway>, OfferAnswer) {
        let trunk = settings.trunk(trunk);
        let port = media.map_or(0, |media| media.ports[Side::A.index()]);
        let session_id = self.tokens.draw() >> 2;
        let unanswered = || OfferAnswer::offer(trunk, &settings.media, port, session_id);
        match invite.sdp_body() {
            None => (verdict, unanswered()),
            Some(offer) => match OfferAnswer::answer(offer, trunk, &settings.media, port, session_id) {
                Ok(answered) => (verdict, answered),
                Err(_) => (verdict.and(Err(Cause::NoCommonCodec.into())), unanswered()),
            },
        }
    }

    /// Who is reached, and how: the binding's word, the app's, the trunks'.
    pub(super) fn decide(
        &mut self,
        now: Duration,
        settings: &Settings,
        trunk_in: TrunkId,
        cdr: &mut Cdr,
    ) -> Result<Way, TurnedAway> {
        let x = cdr.x.ok_or(Cause::UnreadableNumber)?;
        let decision = self.table.decide_at(x, cdr.caller, self.unix_ms(now));
        self.judge(now, settings, trunk_in, x, decision, cdr)
    }

    /// What a decision means for a call.
    fn judge(
        &mut self,
        now: Duration,
        settings: &Settings,
        trunk_in: TrunkId,
        x: Number,
        decision: Decision,
        cdr: &mut Cdr,
    ) -> Result<Way, TurnedAway> {
        let (binding, party, callee) = match decision {
            Decision::Connect { binding, caller, callee } => (binding, caller, callee),
            Decision::Ask { app, width, .. } => {
                cdr.set_app(settings, app);
                let app = settings.app(app).ok_or(Cause::Internal)?;
                self.check_loop(cdr.caller, None)?;
                let prompt = app.prompts.enter_extension.clone();
                return Ok(Way::Ask(Asking { width, prompt }));
            }
            Decision::Refuse { refusal, app, binding } => {
                if let Some(app) = app {
                    cdr.set_app(settings, app);
                }
                if let Some(binding) = &binding {
                    cdr.set_binding(binding);
                }
                let tone = binding.as_deref().and_then(tone_of).filter(|_| refusal == Refusal::NoCallBack);
                let named = app.and_then(|app| settings.app(app)).zip(tone);
                let prompt = named.and_then(|(app, tone)| app.named.get(tone)).cloned();
                return Err(TurnedAway { cause: refusal.into(), prompt });
            }
        };
        cdr.set_app(settings, binding.app());
        cdr.caller_is = Some(party);
        cdr.set_binding(&binding);
        cdr.callee = Some(callee);
        let app = settings.app(binding.app()).ok_or(Cause::Internal)?;
        let named = |name: Option<&Arc<str>>| name.and_then(|name| app.named.get(name)).cloned();
        let hint_tone = named(binding.record_hint_tone()).or_else(|| app.hint_tone.clone());
        if hint_tone.is_none() && app.require_hint_tone {
            return Err(Cause::NoHintTone.into());
        }
        self.check_loop(cdr.caller, Some(callee))?;
        let per_number = settings.limits.calls_per_number;
        if per_number != 0 && self.live.by_number.get(&x).is_some_and(|calls| *calls >= per_number) {
            return Err(Cause::NumberFull.into());
        }
        if self.is_second_call(app, &binding, party) {
            return Err(Cause::Busy.into());
        }
        let of_x = self.table.virtual_number(binding.x());
        let trunk_out = trunk_of(settings, of_x.as_deref(), trunk_in)?;
        let out = settings.trunk(trunk_out);
        let routes = self.routes.order(now, &out.name);
        if routes.is_empty() {
            return Err(Cause::NoRoute.into());
        }
        if trunk_out != trunk_in && self.live.of_trunk(&out.name) >= out.max_calls {
            return Err(Cause::TrunkFull.into());
        }
        cdr.trunk_out = Some(Arc::clone(&out.name));
        let announcement: Option<Arc<Prompt>> = named(binding.announcement(party));
        let maximum = Duration::from_secs(60 * u64::from(binding.max_minutes()));
        let ceiling = settings.timers.safety_ceiling.min(app.safety_ceiling);
        let bounded = binding.max_minutes() != 0 && maximum <= ceiling;
        let longest = if bounded { (maximum, Cause::MaxDuration) } else { (ceiling, Cause::SafetyCeiling) };
        let last_minute = named(binding.last_minute()).or_else(|| app.prompts.last_minute.clone()).filter(|_| bounded);
        // Only A, who is protected, may be shown who calls; whom A calls never is.
        let revealed = cdr.caller.filter(|_| party == Party::B && binding.shows_caller() && out.shows_caller);
        let shown = revealed.unwrap_or_else(|| binding.shown());
        cdr.shown = Some(shown);
        Ok(Way::Dial(Plan {
            app: binding.app(),
            x,
            shown,
            callee,
            trunk_out,
            routes: routes.into(),
            announcement,
            hint_tone,
            last_minute,
            longest,
            record: binding.record() && app.recording,
        }))
    }

    /// X bound to X, or a call of ours that a carrier has brought back: its caller is an X then.
    fn check_loop(&self, caller: Option<Number>, callee: Option<Number>) -> Result<(), Cause> {
        let is_loop = [caller, callee].into_iter().flatten().any(|number| self.table.is_virtual(number));
        if is_loop { Err(Cause::Loop) } else { Ok(()) }
    }

    /// A is in another call, and the app does not offer a second one (product rule M2).
    fn is_second_call(&self, app: &App, binding: &Binding, caller: Party) -> bool {
        binding.mode() != Mode::Axb
            && caller == Party::B
            && app.second_call == SecondCall::Refuse
            && self.live.is_engaged(binding.a())
    }

    pub(super) fn unix_ms(&self, at: Duration) -> u64 {
        u64::try_from((self.unix_at_epoch + at).as_millis()).unwrap_or(u64::MAX)
    }

    fn take_ports(&mut self, now: Duration) -> Option<MediaPorts> {
        let Some(first) = self.ports.take(now) else {
            self.counters.drop(Drop::Ports);
            return None;
        };
        let Some(second) = self.ports.take(now) else {
            self.ports.release(now, first);
            self.counters.drop(Drop::Ports);
            return None;
        };
        self.next_session += 1;
        Some(MediaPorts { session: SessionId(self.next_session), ports: [first, second] })
    }

    fn new_cdr(&mut self, now: Duration, trunk: &Trunk, caller: Option<Number>, x: Option<Number>) -> Box<Cdr> {
        let session_id = String::from_utf8(unique_id(&mut self.tokens)).expect("hexadecimal digits are UTF-8");
        Box::new(Cdr::begun(now, session_id.into(), Arc::clone(&trunk.name), caller, x))
    }

    fn next_key(&mut self) -> CallKey {
        self.next_generation = self.next_generation.wrapping_add(1);
        let index = u32::try_from(self.calls.vacant_key()).expect("overload() keeps calls below twice a u32's half");
        CallKey { index, generation: self.next_generation }
    }
}

/// What A hears where nobody can be called back (`callbackTone`).
fn tone_of(binding: &Binding) -> Option<&Arc<str>> {
    match binding {
        Binding::Axe(axe) => match &axe.call_back {
            CallBack::Tone(tone) => Some(tone),
            CallBack::App | CallBack::Number(_) => None,
        },
        Binding::Axb(_) | Binding::Ax(_) => None,
    }
}

/// The trunk that the calls and texts of an X go out by.
pub(super) fn trunk_of(settings: &Settings, x: Option<&VirtualNumber>, trunk_in: TrunkId) -> Result<TrunkId, Cause> {
    match x.and_then(|number| number.trunk.as_ref()) {
        Some(name) => settings.trunk_named(name).ok_or(Cause::NoRoute),
        None => Ok(trunk_in),
    }
}
