//! An INVITE becomes a call: who is reached, and how, or why nobody is.

use std::sync::Arc;
use std::time::Duration;

use media::{Prompt, Side};
use numbering::{Decision, Number};
use sip::dialog::Dialog;
use sip::message::{Message, ParseError};
use sip::transaction::{Flow, ServerId};

use super::{Context, Core, Output, Session, SessionId, local_tag, unique_id};
use crate::call::{Arrival, Call, MediaPorts, Plan, prompt_of};
use crate::cdr::Cdr;
use crate::intake::{read_called, read_caller};
use crate::leg::{self, CallKey, Leg, LegKey, Owner};
use crate::observe::{Drop, LogLine};
use crate::offer_answer::OfferAnswer;
use crate::outcome::Cause;
use crate::settings::{Settings, Trunk, TrunkId};

/// RFC 3261 §16.6.3, less our own hop.
const MAX_FORWARDS: u8 = 69;

fn hops_left(invite: &Message) -> u8 {
    match invite.max_forwards() {
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
        self.counters.calls_begun += 1;

        let caller = read_caller(settings.trunk(trunk), &invite);
        let x = read_called(settings.trunk(trunk), &invite);
        let mut cdr = self.new_cdr(now, settings.trunk(trunk), caller, x);
        let verdict = self.decide(&settings, trunk, caller, x, &mut cdr);
        // Ports are taken only where something will be heard: a call, or a refusal with a prompt to one who offered to hear it.
        let wants_media = match &verdict {
            Ok(_) => true,
            Err(cause) => {
                let app = cdr.app.and_then(|app| settings.app(app));
                invite.sdp_body().is_some() && app.is_some_and(|app| prompt_of(app, *cause).is_some())
            }
        };
        let media = if wants_media { self.take_ports(now) } else { None };
        let verdict = verdict.map(|plan| Plan { max_forwards: hops_left(&invite), ..plan });
        let (verdict, offer_answer) = self.negotiate(&settings, trunk, &invite, media, verdict);
        let request = leg::Request { invite, server: id, dialog, offer_answer };
        let leg = Leg::incoming(owner, trunk, flow, request, &settings);
        self.begin(now, Arrival { key, settings, leg, media, cdr }, verdict);
    }

    /// Makes the call, dialling or refusing, and counts it.
    fn begin(&mut self, now: Duration, arrival: Arrival, verdict: Result<Plan, Cause>) {
        let key = arrival.key;
        self.current = Some(key);
        if let Some(media) = arrival.media {
            self.sessions.insert(media.session, Session { call: key, ports: media.ports });
        }
        if let (Ok(plan), Some(_)) = (&verdict, arrival.media)
            && let Some(first) = plan.routes.front()
        {
            self.routes.on_call(now, first.id);
        }
        if let (Ok(plan), Some(caller), Some(trunk_out)) = (&verdict, arrival.cdr.caller, &arrival.cdr.trunk_out) {
            self.out.push_back(Output::Log(LogLine::Dialling {
                session_id: Arc::clone(&arrival.cdr.session_id),
                caller,
                x: plan.x,
                trunk_in: Arc::clone(&arrival.cdr.trunk_in),
                trunk_out: Arc::clone(trunk_out),
            }));
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
        };
        let call = Call::begin(&mut cx, arrival, verdict);
        let has_ended = cx.has_ended;
        self.current = None;
        self.live.add(&call.cdr, key);
        let place = self.calls.insert(call);
        debug_assert_eq!(place, key.index as usize, "next_key names the place that insert takes");
        self.settle(now, key, has_ended);
    }

    /// Answers the caller's offer, or makes one where it made none.
    fn negotiate(
        &mut self,
        settings: &Settings,
        trunk: TrunkId,
        invite: &Message,
        media: Option<MediaPorts>,
        verdict: Result<Plan, Cause>,
    ) -> (Result<Plan, Cause>, OfferAnswer) {
        let trunk = settings.trunk(trunk);
        let port = media.map_or(0, |media| media.ports[Side::A.index()]);
        let session_id = self.tokens.draw() >> 2;
        let unanswered = || OfferAnswer::offer(trunk, &settings.media, port, session_id);
        match invite.sdp_body() {
            None => (verdict, unanswered()),
            Some(offer) => match OfferAnswer::answer(offer, trunk, &settings.media, port, session_id) {
                Ok(answered) => (verdict, answered),
                Err(_) => (verdict.and(Err(Cause::NoCommonCodec)), unanswered()),
            },
        }
    }

    /// Who is reached, and how: the binding's word, the app's, the trunks'.
    pub(super) fn decide(
        &mut self,
        settings: &Settings,
        trunk_in: TrunkId,
        caller: Option<Number>,
        x: Option<Number>,
        cdr: &mut Cdr,
    ) -> Result<Plan, Cause> {
        let x = x.ok_or(Cause::UnreadableNumber)?;
        let virtual_number = self.table.virtual_number(x);
        if let Some(number) = &virtual_number {
            cdr.set_app(settings, number.app);
        }
        let (binding, party, callee) = match self.table.decide_at(x, caller, self.unix_ms(cdr.call_in)) {
            Decision::Connect { binding, caller, callee } => (binding, caller, callee),
            Decision::Ask { .. } => return Err(Cause::Internal),
            Decision::Refuse { refusal, app, binding } => {
                if let Some(app) = app {
                    cdr.set_app(settings, app);
                }
                if let Some(binding) = &binding {
                    cdr.set_binding(binding);
                }
                return Err(refusal.into());
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
            return Err(Cause::NoHintTone);
        }
        // X bound to X, or a call of ours that a carrier has brought back: its caller is an X then.
        if self.table.virtual_number(callee).is_some() || caller.is_some_and(|n| self.table.virtual_number(n).is_some())
        {
            return Err(Cause::Loop);
        }
        let per_number = settings.limits.calls_per_number;
        if per_number != 0 && self.live.by_number.get(&x).is_some_and(|calls| *calls >= per_number) {
            return Err(Cause::NumberFull);
        }
        let trunk_out = match virtual_number.and_then(|number| number.trunk.clone()) {
            Some(name) => settings.trunk_named(&name).ok_or(Cause::NoRoute)?,
            None => trunk_in,
        };
        let out = settings.trunk(trunk_out);
        let routes = self.routes.order(cdr.call_in, &out.name);
        if routes.is_empty() {
            return Err(Cause::NoRoute);
        }
        if trunk_out != trunk_in && self.live.of_trunk(&out.name) >= out.max_calls {
            return Err(Cause::TrunkFull);
        }
        cdr.trunk_out = Some(Arc::clone(&out.name));
        let announcement: Option<Arc<Prompt>> = named(binding.announcement(party));
        let maximum = Duration::from_secs(60 * u64::from(binding.max_minutes()));
        let ceiling = settings.timers.safety_ceiling.min(app.safety_ceiling);
        let bounded = binding.max_minutes() != 0 && maximum <= ceiling;
        let longest = if bounded { (maximum, Cause::MaxDuration) } else { (ceiling, Cause::SafetyCeiling) };
        let last_minute = named(binding.last_minute()).or_else(|| app.prompts.last_minute.clone()).filter(|_| bounded);
        Ok(Plan {
            app: binding.app(),
            x,
            callee,
            trunk_out,
            routes: routes.into(),
            announcement,
            hint_tone,
            last_minute,
            longest,
            record: binding.record() && app.recording,
            max_forwards: MAX_FORWARDS,
        })
    }

    fn unix_ms(&self, at: Duration) -> u64 {
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
