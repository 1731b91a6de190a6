//! Text messages: taken in, decided, asked about, sent on, answered.
//!
//! ```text
//!               ┌──────────── verdict, or time ────────────┐
//!   decide ─▶ Asking                                        ▼        2xx, the next piece
//!        └─────────────────────────────────────────▶ Sending, Driven ──▶ … ──▶ answered, told, gone
//!        └▶ refused: answered, told                     │ 503, no way there: the next route
//!                                                       └ give_up: answered before the sender's Timer F
//! ```
//!
//! The sender's transaction (RFC 3261 §17.2.2) waits for the outcome. Nothing of its MESSAGE goes on but its words and how many
//! hops it has left.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use numbering::{Binding, Number, Party, TextDecision};
use sip::deadlines::Deadlines;
use sip::message::{Message, Method};
use sip::transaction::{ClientId, Flow, ServerId};

use self::sending::Sending;
use super::new_call::{MAX_FORWARDS, hops_left, trunk_of};
use super::{AtWork, Core, Output, unique_id};
use crate::intake::{read_called, read_caller};
use crate::leg::Owner;
use crate::live::Bucket;
use crate::observe::{Drop, LogLine};
use crate::settings::{AppTexts, Settings, TextBy, Trunk, TrunkId, Unanswered};
use crate::text::recent::{Print, Recent};
use crate::text::{Outcome, Text, TextEvent, TextIn, TextKey, TextResult, Verdict, body, marks};

mod sending;

/// The sender is answered after so many T1 at the latest: 24 s. Its Timer F is at 64, counted from a first copy that may have
/// been lost, and the answer may be lost too.
const PATIENCE: u32 = 48;

/// The driver sends nothing of a text in the last so many T1: 4 s for the answer to what it has sent.
const LAST_ANSWER: u32 = 8;

/// Copies of one MESSAGE by other ways that wait for its answer; those beyond get none.
const MAX_COPIES: usize = 4;

/// All text messages of a core.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// In the order of their coming. One that is at work is not among them.
    ongoing: BTreeMap<TextKey, Ongoing>,
    deadlines: Deadlines<TextKey>,
    /// New texts by trunk name.
    rates: HashMap<Arc<str>, Bucket>,
    recent: Recent,
    last_key: u64,
}

/// A text in progress.
#[derive(Debug)]
struct Ongoing {
    bound: Bound,
    from: Sender,
    state: State,
}

/// A text of which the table and the app have nothing against.
#[derive(Debug)]
struct Bound {
    key: TextKey,
    settings: Arc<Settings>,
    text: Arc<Text>,
    binding: Arc<Binding>,
    /// Who gets it unless the customer says otherwise; `None` where A named nobody.
    receiver: Option<Number>,
    /// What goes on, without the mark of A.
    words: Arc<str>,
    /// What the X goes out by where it has no trunk of its own.
    trunk_in: TrunkId,
    max_forwards: u8,
    /// When the sender is answered at the latest.
    give_up: Duration,
}

#[derive(Debug)]
enum State {
    /// The customer is asked.
    Asking { until: Duration, unanswered: Unanswered },
    /// It goes out by SIP.
    Sending(Box<Sending>),
    /// The driver sends it, or has sent it in so many messages.
    Driven { receiver: Number, parts: u16 },
}

/// Who waits for the outcome.
#[derive(Debug)]
enum Sender {
    /// A MESSAGE, and what came of it by other ways.
    Sip {
        server: ServerId,
        flow: Flow,
        message: Message,
        copies: Vec<(Flow, Message)>,
        print: Print,
    },
    Driver {
        reply: u64,
    },
}

/// How long the customer is waited for, and what holds without an answer.
type Question = (Duration, Unanswered);

/// A text that goes nowhere, where the customer is to be told of it, and why.
type Refused = (Option<Arc<Text>>, Outcome);

/// A text that has come, before anything is known of it.
struct Arrived {
    from: Sender,
    trunk: TrunkId,
    sender: Option<Number>,
    x: Option<Number>,
    content: Arc<str>,
    max_forwards: u8,
}

impl Texts {
    pub(super) fn is_empty(&self) -> bool {
        self.ongoing.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.ongoing.len()
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.deadlines.next()
    }

    fn next_key(&mut self) -> TextKey {
        self.last_key += 1;
        TextKey(self.last_key)
    }
}

impl Ongoing {
    fn deadline(&self) -> Duration {
        match &self.state {
            State::Asking { until, .. } => (*until).min(self.bound.give_up),
            State::Sending(_) | State::Driven { .. } => self.bound.give_up,
        }
    }

    /// How it goes on, or its end.
    fn go_on(&mut self, next: Result<State, Outcome>) -> Option<Outcome> {
        next.map(|state| self.state = state).err()
    }
}

impl Core {
    // ---- in ---------------------------------------------------------------------------------------------------

    /// A text has come from a trunk by a protocol of the driver's ([`TextBy::Driver`]). What becomes of it leaves as
    /// [`Output::AnswerText`], once, perhaps at once.
    pub fn take_in_text(&mut self, now: Duration, trunk: &str, text: TextIn) {
        let TextIn { sender, x, content, reply } = text;
        let from = Sender::Driver { reply };
        let settings = Arc::clone(&self.settings);
        let known = settings.trunk_named(trunk).filter(|id| settings.trunk(*id).texts.by == TextBy::Driver);
        let Some(trunk) = known else {
            self.answer(now, from, Outcome::NoRoute);
            return;
        };
        let room = self.has_room(now, settings.trunk(trunk));
        match room.and_then(|()| body::check(&content)) {
            Ok(()) => {
                let key = self.texts.next_key();
                let arrived = Arrived { from, trunk, sender, x, content, max_forwards: MAX_FORWARDS };
                self.on_text(now, key, &settings, arrived);
            }
            Err(outcome) => self.answer(now, from, outcome),
        }
    }

    /// A MESSAGE outside any dialog (RFC 3428 §7).
    pub(super) fn on_message_request(
        &mut self,
        now: Duration,
        trunk: TrunkId,
        server: ServerId,
        flow: Flow,
        message: Message,
    ) {
        let print = self.texts.recent.print(&message);
        if let Some(outcome) = self.texts.recent.get(now, print) {
            self.answer_message(now, Some(server), flow, &message, outcome);
            return;
        }
        if !self.is_authentic(now, trunk, server, flow, &message) {
            return;
        }
        let settings = Arc::clone(&self.settings);
        let known = settings.trunk(trunk);
        if !known.may_call_from(flow.peer.ip()) {
            self.counters.drop(Drop::Stranger);
            self.respond(now, server, flow, &message, 403, &[]);
            return;
        }
        let key = self.texts.next_key();
        self.layer.own(server, Owner::Text(key));
        self.current = Some(AtWork::Text(key));
        let (sender, x) = (read_caller(known, &message), read_called(known, &message));
        let read = self.has_room(now, known).and_then(|()| body::words(&message).map(Arc::from));
        let max_forwards = hops_left(&message);
        let from = Sender::Sip { server, flow, message, copies: Vec::new(), print };
        match read {
            Ok(content) => {
                self.on_text(now, key, &settings, Arrived { from, trunk, sender, x, content, max_forwards });
            }
            // Not remembered: whoever comes again after a 503 is to be looked at anew.
            Err(outcome) => self.answer(now, from, outcome),
        }
        self.current = None;
    }

    /// A copy of a request that has a transaction (RFC 3261 §8.2.2.2). That of a text is answered as the text was, or will be.
    pub(super) fn on_merged(&mut self, now: Duration, owner: Option<Owner>, flow: Flow, request: &Message) {
        let ongoing = match owner {
            Some(Owner::Text(key)) => self.texts.ongoing.get_mut(&key),
            Some(Owner::Leg(_) | Owner::Probe(_)) | None => None,
        };
        if let Some(Ongoing { from: Sender::Sip { copies, .. }, .. }) = ongoing {
            let branch = request.top_via().branch;
            let is_waiting = copies.iter().any(|(_, copy)| copy.top_via().branch == branch);
            if is_waiting || copies.len() == MAX_COPIES {
                self.counters.drop(Drop::Merged);
            } else {
                copies.push((flow, request.clone()));
            }
            return;
        }
        let is_text = request.method() == Method::Message;
        match is_text.then(|| self.texts.recent.print(request)).and_then(|print| self.texts.recent.get(now, print)) {
            Some(outcome) => self.answer_message(now, None, flow, request, outcome),
            None => {
                self.counters.drop(Drop::Merged);
                self.reply(flow, request, 482, &[]);
            }
        }
    }

    fn has_room(&mut self, now: Duration, trunk: &Trunk) -> Result<(), Outcome> {
        if self.draining {
            return Err(Outcome::Draining);
        }
        let rate = f64::from(trunk.texts.per_second);
        let bucket = self.texts.rates.entry(Arc::clone(&trunk.name)).or_insert_with(|| Bucket::full(now, rate));
        if !bucket.take(now, rate) || self.texts.len() >= self.settings.limits.texts as usize {
            self.counters.drop(Drop::Texts);
            return Err(Outcome::Full);
        }
        Ok(())
    }

    // ---- decided ----------------------------------------------------------------------------------------------

    fn on_text(&mut self, now: Duration, key: TextKey, settings: &Arc<Settings>, arrived: Arrived) {
        self.current = Some(AtWork::Text(key));
        match self.judge_text(now, key, settings, &arrived) {
            Ok((bound, asks)) => self.begin_text(now, bound, asks, arrived.from),
            Err((text, outcome)) => self.conclude(now, arrived.from, text, None, 0, outcome),
        }
        self.current = None;
    }

    fn begin_text(&mut self, now: Duration, bound: Bound, asks: Option<Question>, from: Sender) {
        let key = bound.key;
        let begun = match asks {
            Some((within, unanswered)) => {
                let until = now + within;
                self.out.push_back(Output::AskText { key, text: Arc::clone(&bound.text) });
                Ok(State::Asking { until, unanswered })
            }
            None => self.forward_as_bound(now, &bound),
        };
        match begun {
            Ok(state) => {
                let give_up = bound.give_up;
                let text = Ongoing { bound, from, state };
                self.texts.deadlines.push(give_up, key);
                if text.deadline() < give_up {
                    self.texts.deadlines.push(text.deadline(), key);
                }
                self.texts.ongoing.insert(key, text);
            }
            Err(outcome) => self.conclude(now, from, Some(bound.text), None, 0, outcome),
        }
    }

    /// Lets a text work; an outcome ends it.
    fn with_text(
        &mut self,
        now: Duration,
        key: TextKey,
        work: impl FnOnce(&mut Core, &mut Ongoing) -> Option<Outcome>,
    ) {
        let Some(mut text) = self.texts.ongoing.remove(&key) else { return };
        self.current = Some(AtWork::Text(key));
        match work(self, &mut text) {
            None => {
                self.texts.ongoing.insert(key, text);
            }
            Some(outcome) => self.end_text(now, text, outcome),
        }
        self.current = None;
    }

    /// After a panic: the text that was at work is gone, without a word.
    pub(super) fn abandon_text(&mut self, key: TextKey) {
        self.layer.forget(|owner| *owner == Owner::Text(key));
    }

    fn judge_text(
        &mut self,
        now: Duration,
        key: TextKey,
        settings: &Arc<Settings>,
        arrived: &Arrived,
    ) -> Result<(Bound, Option<Question>), Refused> {
        let Arrived { sender, x, content, trunk, .. } = arrived;
        let x = x.ok_or((None, Outcome::UnreadableNumber))?;
        let decision = self.table.decide_text(x, *sender, self.unix_ms(now));
        let (app, bound) = match &decision {
            TextDecision::Forward { binding, sender, .. } => (Some(binding.app()), Some((binding, *sender))),
            TextDecision::Addressed { binding } => (Some(binding.app()), Some((binding, Party::A))),
            TextDecision::Refuse { app, binding, .. } => {
                (*app, binding.as_ref().map(|(binding, party)| (binding, *party)))
            }
        };
        let app = app.and_then(|app| settings.app(app)).ok_or((None, Outcome::UnknownX))?;
        let asks = match app.texts {
            AppTexts::Off => return Err((None, Outcome::Off)),
            AppTexts::Notify => None,
            AppTexts::Block { within, unanswered } => Some((within, unanswered)),
        };
        let id = String::from_utf8(unique_id(&mut self.tokens)).expect("hexadecimal digits are UTF-8");
        let text = Arc::new(Text {
            id: id.into(),
            app: Arc::clone(&app.name),
            is_asked: asks.is_some(),
            calling: *sender,
            x,
            binding: bound.map(|(binding, _)| binding.id()),
            mode: bound.map(|(binding, _)| binding.mode()),
            sender_is: bound.map(|(_, party)| party),
            user_text: bound.and_then(|(binding, _)| binding.user_text(None)).map(Into::into),
            content: Arc::clone(content),
            at: now,
        });
        let is_loop = sender.is_some_and(|sender| self.table.is_virtual(sender));
        let (binding, receiver, words) = match decision {
            TextDecision::Refuse { refusal, .. } => return Err((Some(text), refusal.into())),
            TextDecision::Forward { .. } | TextDecision::Addressed { .. } if is_loop => {
                return Err((Some(text), Outcome::Loop));
            }
            TextDecision::Forward { binding, receiver, .. } => (binding, Some(receiver), Arc::clone(content)),
            TextDecision::Addressed { binding } => {
                let named = marks::addressee(content, &settings.trunk(*trunk).read);
                // Nobody writes to a number of ours, nor to himself.
                let named = named.filter(|(_, number)| !self.table.is_virtual(*number) && *number != binding.a());
                match named {
                    Some(("", _)) => return Err((Some(text), Outcome::Unreadable)),
                    Some((words, number)) => (binding, Some(number), words.into()),
                    None if asks.is_none() => return Err((Some(text), Outcome::NoReceiver)),
                    None => (binding, None, Arc::clone(content)),
                }
            }
        };
        let (settings, trunk_in, max_forwards) = (Arc::clone(settings), *trunk, arrived.max_forwards);
        let give_up = now + settings.timers.sip.t1 * PATIENCE;
        Ok((Bound { key, settings, text, binding, receiver, words, trunk_in, max_forwards, give_up }, asks))
    }

    /// The customer's answer to [`Output::AskText`]. One for a text that is gone, or has been decided, changes nothing.
    pub fn handle_text_verdict(&mut self, now: Duration, key: TextKey, verdict: Verdict) {
        self.with_text(now, key, |core, text| core.on_verdict(now, text, verdict));
    }

    fn on_verdict(&mut self, now: Duration, text: &mut Ongoing, verdict: Verdict) -> Option<Outcome> {
        let State::Asking { unanswered, .. } = text.state else { return None };
        match (verdict, unanswered) {
            (Verdict::Route { called, calling }, _) => {
                let app = text.bound.binding.app();
                let is_the_apps =
                    |number: &Number| self.table.virtual_number(*number).is_some_and(|number| number.app == app);
                let shown = calling.filter(is_the_apps).unwrap_or(text.bound.text.x);
                let next = self.forward(now, &text.bound, called, shown);
                text.go_on(next)
            }
            (Verdict::Unanswered, Unanswered::Forward) => {
                let next = self.forward_as_bound(now, &text.bound);
                text.go_on(next)
            }
            (Verdict::Discard, _) | (Verdict::Unanswered, Unanswered::Discard) => Some(Outcome::Discarded),
        }
    }

    pub(super) fn on_texts_time(&mut self, now: Duration) {
        while let Some((_, key)) = self.texts.deadlines.pop_due(now) {
            self.with_text(now, key, |core, text| match text.state {
                State::Asking { until, .. } if until <= now => core.on_verdict(now, text, Verdict::Unanswered),
                State::Asking { .. } | State::Sending(_) | State::Driven { .. } => {
                    (text.bound.give_up <= now).then_some(Outcome::NoResponse)
                }
            });
        }
    }

    /// Ends every text in progress.
    pub(super) fn end_texts(&mut self, now: Duration) {
        let keys: Vec<TextKey> = self.texts.ongoing.keys().copied().collect();
        for key in keys {
            self.with_text(now, key, |_, text| {
                Some(match text.state {
                    State::Asking { .. } => Outcome::Draining,
                    // What has left may arrive: nobody is to try it again for our sake.
                    State::Sending(_) | State::Driven { .. } => Outcome::NoResponse,
                })
            });
        }
    }

    // ---- sent on ----------------------------------------------------------------------------------------------

    fn forward_as_bound(&mut self, now: Duration, bound: &Bound) -> Result<State, Outcome> {
        let receiver = bound.receiver.ok_or(Outcome::NoReceiver)?;
        self.forward(now, bound, receiver, bound.binding.shown())
    }

    fn forward(&mut self, now: Duration, bound: &Bound, receiver: Number, shown: Number) -> Result<State, Outcome> {
        if self.table.is_virtual(receiver) {
            return Err(Outcome::Loop);
        }
        let settings = &bound.settings;
        let content = match (&*bound.binding, bound.text.sender_is, bound.text.calling) {
            (Binding::Ax(ax), Some(Party::B), Some(sender)) if receiver == ax.a => {
                marks::with_sender(&bound.words, sender)
            }
            (Binding::Axb(_) | Binding::Ax(_) | Binding::Axe(_), _, _) => Arc::clone(&bound.words),
        };
        let of_shown = self.table.virtual_number(shown);
        let trunk = trunk_of(settings, of_shown.as_deref(), bound.trunk_in).map_err(|_| Outcome::NoRoute)?;
        let out = settings.trunk(trunk);
        match out.texts.by {
            TextBy::Driver => {
                let (trunk, from, to) = (Arc::clone(&out.name), shown, receiver);
                let until = bound.give_up.saturating_sub(settings.timers.sip.t1 * LAST_ANSWER);
                self.out.push_back(Output::SendText { key: bound.key, trunk, from, to, content, until });
                Ok(State::Driven { receiver, parts: 0 })
            }
            TextBy::Sip => {
                let sending = self.begin_sending(now, bound, trunk, receiver, shown, &content);
                sending.map(State::Sending).ok_or(Outcome::NoRoute)
            }
        }
    }

    /// A response to a MESSAGE of ours.
    pub(super) fn on_text_response(&mut self, now: Duration, key: TextKey, id: ClientId, response: &Message) {
        self.with_text(now, key, |core, text| match &mut text.state {
            State::Sending(sending) if sending.waits_for(id) => core.on_sending_response(now, sending, response),
            State::Asking { .. } | State::Sending(_) | State::Driven { .. } => None,
        });
    }

    /// A MESSAGE of ours had no final response, or could not be sent.
    pub(super) fn on_text_unheard(&mut self, now: Duration, key: TextKey, id: ClientId, is_undelivered: bool) {
        self.with_text(now, key, |core, text| match &mut text.state {
            State::Sending(sending) if sending.waits_for(id) => core.on_sending_unheard(now, sending, is_undelivered),
            State::Asking { .. } | State::Sending(_) | State::Driven { .. } => None,
        });
    }

    /// The trunk that a text goes to: whose responses are meant for it.
    pub(super) fn is_text_foreign(&self, key: TextKey, from: &Arc<str>) -> bool {
        self.texts.ongoing.get(&key).is_some_and(|text| match &text.state {
            State::Sending(sending) => text.bound.settings.trunk(sending.trunk).name != *from,
            State::Asking { .. } | State::Driven { .. } => true,
        })
    }

    /// What came of [`Output::SendText`]. Of a text that is gone it changes nothing.
    pub fn handle_text_result(&mut self, now: Duration, key: TextKey, result: TextResult) {
        self.with_text(now, key, |_, text| {
            let State::Driven { parts, .. } = &mut text.state else { return None };
            Some(match result {
                TextResult::Delivered { parts: sent } => {
                    *parts = sent;
                    Outcome::Delivered
                }
                TextResult::Accepted { parts: sent } => {
                    *parts = sent;
                    Outcome::Accepted
                }
                // A failure that says that all is well would have the customer told of a receiver.
                TextResult::Failed(outcome) if outcome.is_forwarded() => Outcome::FarFailure,
                TextResult::Failed(outcome) => outcome,
            })
        });
    }

    // ---- answered ---------------------------------------------------------------------------------------------

    fn end_text(&mut self, now: Duration, text: Ongoing, outcome: Outcome) {
        let Ongoing { bound, from, state, .. } = text;
        let (receiver, parts) = match state {
            State::Sending(sending) => {
                self.stop_sending(&sending);
                (Some(sending.receiver), sending.parts())
            }
            State::Driven { receiver, parts } => (Some(receiver), parts),
            State::Asking { .. } => (None, 0),
        };
        let called = receiver.filter(|_| outcome.is_forwarded());
        self.conclude(now, from, Some(bound.text), called, parts, outcome);
    }

    /// Answers the sender and tells the customer.
    fn conclude(
        &mut self,
        now: Duration,
        from: Sender,
        text: Option<Arc<Text>>,
        called: Option<Number>,
        parts: u16,
        outcome: Outcome,
    ) {
        if let Sender::Sip { print, .. } = &from {
            self.texts.recent.set(now, *print, outcome);
        }
        if let Some(text) = text {
            self.out.push_back(Output::Log(LogLine::Text {
                id: Arc::clone(&text.id),
                calling: text.calling,
                x: text.x,
                outcome,
                parts,
            }));
            // Before the sender knows of it: what it is told holds.
            self.out.push_back(Output::Text(Box::new(TextEvent { text, called, parts, outcome })));
        }
        self.answer(now, from, outcome);
    }

    fn answer(&mut self, now: Duration, from: Sender, outcome: Outcome) {
        self.counters.texts[outcome as usize] += 1;
        match from {
            Sender::Sip { server, flow, message, copies, .. } => {
                self.answer_message(now, Some(server), flow, &message, outcome);
                for (flow, copy) in copies {
                    self.answer_message(now, None, flow, &copy, outcome);
                }
            }
            Sender::Driver { reply } => self.out.push_back(Output::AnswerText { reply, outcome }),
        }
    }

    /// `server`: none where it came by another way, and has no transaction.
    fn answer_message(
        &mut self,
        now: Duration,
        server: Option<ServerId>,
        flow: Flow,
        message: &Message,
        outcome: Outcome,
    ) {
        let status = outcome.row().status;
        let after;
        let headers: &[(&str, &[u8])] = match status {
            503 => {
                after = self.retry_after(self.mark_of(message));
                &[("Retry-After", after.as_bytes())]
            }
            415 => &[("Accept", body::ACCEPT), ("Accept-Encoding", b"identity")],
            _ => &[],
        };
        match server {
            Some(id) => self.respond(now, id, flow, message, status, headers),
            None => self.reply(flow, message, status, headers),
        }
    }
}
