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

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use numbering::{Binding, Number, Party, TextDecision};
use sip::deadlines::Deadlines;
use sip::digest::Answering;
use sip::message::{Message, Method, write};
use sip::transaction::{ClientId, Flow, ServerId, Transport};
use slab::Slab;

use super::new_call::{MAX_FORWARDS, hops_left, trunk_of};
use super::{Core, Output, flow_to, tag_of, unique_id};
use crate::intake::{read_called, read_caller};
use crate::leg::{Owner, sip_uri};
use crate::live::Bucket;
use crate::observe::{Drop, LogLine};
use crate::routes::Candidate;
use crate::settings::{AppTexts, Settings, TextBy, Trunk, TrunkId, Unanswered};
use crate::text::recent::{Known, Print, Recent};
use crate::text::{Outcome, Text, TextEvent, TextIn, TextKey, TextResult, Verdict, body, marks};

/// The sender is answered after so many T1 at the latest: 24 s. Its Timer F is at 64, counted from a first copy that may have
/// been lost, and the answer may be lost too.
const PATIENCE: u32 = 48;

/// Copies of one MESSAGE by other ways that wait for its answer; those beyond get none.
const MAX_COPIES: usize = 4;

/// How often one MESSAGE is said again for a challenge.
const MAX_REPEATS: u8 = 2;

/// RFC 3261 §18.1.1: a larger request should not go by UDP.
const LARGEST_DATAGRAM: usize = 1_300;

/// What the layer's Via has besides the host: protocol, branch, rport.
const VIA: usize = 65;

/// All text messages of a core.
#[derive(Debug, Default)]
pub(super) struct Texts {
    ongoing: Slab<Ongoing>,
    deadlines: Deadlines<TextKey>,
    /// New texts by trunk name.
    rates: HashMap<Arc<str>, Bucket>,
    recent: Recent,
    next_generation: u32,
    /// The one that is at work: the one to blame for a panic.
    pub(super) current: Option<TextKey>,
}

/// A text in progress.
#[derive(Debug)]
struct Ongoing {
    key: TextKey,
    settings: Arc<Settings>,
    text: Arc<Text>,
    from: Sender,
    binding: Arc<Binding>,
    /// Who gets it unless the customer says otherwise; `None` where A named nobody.
    receiver: Option<Number>,
    /// What goes on, without the mark of A.
    words: Arc<str>,
    /// What the X goes out by where it has no trunk of its own.
    trunk_in: TrunkId,
    max_forwards: u8,
    give_up: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The customer is asked.
    Asking { until: Duration, unanswered: Unanswered },
    /// It goes out by SIP.
    Sending(Box<Sending>),
    /// The same, in the hands of [`Core::with_sending`].
    AtWork,
    /// The driver sends it.
    Driven { receiver: Number },
}

/// MESSAGEs to the receiver, one after another.
#[derive(Debug)]
struct Sending {
    receiver: Number,
    shown: Number,
    trunk: TrunkId,
    pieces: Vec<Arc<str>>,
    /// Those that have been taken.
    taken: usize,
    /// One of them with 202.
    is_accepted: bool,
    /// The route in use, and those that are left.
    route: Candidate,
    routes: VecDeque<Candidate>,
    /// `None` only before the first.
    client: Option<ClientId>,
    /// Call-ID and From tag of the piece that is under way.
    call_id: Vec<u8>,
    tag: Vec<u8>,
    cseq: u32,
    /// Our side of the digest authentication, once the peer has asked for it.
    answering: Option<Box<Answering>>,
    repeats: u8,
}

/// Who waits for the outcome.
#[derive(Debug)]
enum Sender {
    Sip { message: Waiting, copies: Vec<Waiting>, print: Print },
    Driver { trunk: Arc<str>, reply: u64 },
}

/// A MESSAGE without its answer.
#[derive(Debug)]
struct Waiting {
    /// `None`: it came by another way, and has no transaction.
    server: Option<ServerId>,
    flow: Flow,
    message: Message,
}

/// A text that has come, before anything is known of it.
struct Arrived {
    from: Sender,
    trunk: TrunkId,
    sender: Option<Number>,
    x: Option<Number>,
    content: Arc<str>,
    max_forwards: u8,
}

/// A text of which the table and the app have nothing against.
struct Judged {
    text: Arc<Text>,
    binding: Arc<Binding>,
    receiver: Option<Number>,
    words: Arc<str>,
    asks: Option<(Duration, Unanswered)>,
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

    fn get(&self, key: TextKey) -> Option<&Ongoing> {
        self.ongoing.get(key.index as usize).filter(|text| text.key == key)
    }

    fn get_mut(&mut self, key: TextKey) -> Option<&mut Ongoing> {
        self.ongoing.get_mut(key.index as usize).filter(|text| text.key == key)
    }
}

impl Ongoing {
    fn deadline(&self) -> Duration {
        match &self.state {
            State::Asking { until, .. } => (*until).min(self.give_up),
            State::Sending(_) | State::AtWork | State::Driven { .. } => self.give_up,
        }
    }
}

impl Core {
    // ---- in ---------------------------------------------------------------------------------------------------

    /// A text has come from a trunk by a protocol of the driver's ([`TextBy::Driver`]). What becomes of it leaves as
    /// [`Output::AnswerText`], once, perhaps at once.
    pub fn take_in_text(&mut self, now: Duration, trunk: &str, text: TextIn) {
        let TextIn { sender, x, content, reply } = text;
        let from = Sender::Driver { trunk: trunk.into(), reply };
        let settings = Arc::clone(&self.settings);
        let known = settings.trunk_named(trunk).filter(|id| settings.trunk(*id).texts.by == TextBy::Driver);
        let Some(trunk) = known else {
            self.answer(now, from, Outcome::NoRoute);
            return;
        };
        let room = self.has_room(now, settings.trunk(trunk));
        match room.and_then(|()| body::check(&content)) {
            Ok(()) => {
                let arrived = Arrived { from, trunk, sender, x, content, max_forwards: MAX_FORWARDS };
                self.on_text(now, &settings, arrived);
            }
            Err(outcome) => self.answer(now, from, outcome),
        }
    }

    /// Whether a MESSAGE has been taken before; then it is answered as it was, or will be.
    pub(super) fn is_known_text(
        &mut self,
        now: Duration,
        server: Option<ServerId>,
        flow: Flow,
        message: &Message,
    ) -> bool {
        let print = self.texts.recent.print(message);
        match self.texts.recent.get(now, print) {
            None => false,
            Some(Known::Answered(outcome)) => {
                self.answer_message(now, &Waiting { server, flow, message: message.clone() }, outcome);
                true
            }
            Some(Known::Ongoing(key)) => {
                let from = self.texts.get_mut(key).map(|text| &mut text.from);
                if let Some(Sender::Sip { copies, .. }) = from {
                    let branch = message.top_via().branch;
                    let is_waiting = copies.iter().any(|copy| copy.message.top_via().branch == branch);
                    if is_waiting || copies.len() == MAX_COPIES {
                        self.counters.drop(Drop::Merged);
                    } else {
                        copies.push(Waiting { server, flow, message: message.clone() });
                    }
                }
                true
            }
        }
    }

    /// A MESSAGE outside any dialog (RFC 3428 §7), new and from whom it says.
    pub(super) fn on_message_request(
        &mut self,
        now: Duration,
        trunk: TrunkId,
        id: ServerId,
        flow: Flow,
        message: Message,
    ) {
        let settings = Arc::clone(&self.settings);
        let known = settings.trunk(trunk);
        if !known.may_call_from(flow.peer.ip()) {
            self.counters.drop(Drop::Stranger);
            self.respond(now, id, flow, &message, 403, &[]);
            return;
        }
        let (sender, x) = (read_caller(known, &message), read_called(known, &message));
        let read = self.has_room(now, known).and_then(|()| body::words(&message).map(Arc::from));
        let max_forwards = hops_left(&message);
        let print = self.texts.recent.print(&message);
        let waiting = Waiting { server: Some(id), flow, message };
        match read {
            Ok(content) => {
                let from = Sender::Sip { message: waiting, copies: Vec::new(), print };
                self.on_text(now, &settings, Arrived { from, trunk, sender, x, content, max_forwards });
            }
            // Not remembered: whoever comes again after a 503 is to be looked at anew.
            Err(outcome) => {
                self.counters.texts[outcome as usize] += 1;
                self.answer_message(now, &waiting, outcome);
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

    fn on_text(&mut self, now: Duration, settings: &Arc<Settings>, arrived: Arrived) {
        let judged = self.judge_text(now, settings, &arrived);
        let Arrived { from, trunk, max_forwards, .. } = arrived;
        let Judged { text, binding, receiver, words, asks } = match judged {
            Ok(judged) => judged,
            Err((text, outcome)) => {
                if let Sender::Sip { print, .. } = &from {
                    self.texts.recent.set(now, *print, Known::Answered(outcome));
                }
                self.conclude(now, from, text, None, 0, outcome);
                return;
            }
        };
        self.texts.next_generation = self.texts.next_generation.wrapping_add(1);
        let index = u32::try_from(self.texts.ongoing.vacant_key()).expect("has_room() keeps them below a u32");
        let key = TextKey { index, generation: self.texts.next_generation };
        if let Sender::Sip { message, print, .. } = &from {
            self.texts.recent.set(now, *print, Known::Ongoing(key));
            if let Some(server) = message.server {
                self.layer.own(server, Owner::Text(key));
            }
        }
        let give_up = now + settings.timers.sip.t1 * PATIENCE;
        let (until, unanswered) = asks.map_or((now, Unanswered::Forward), |(within, default)| (now + within, default));
        self.texts.ongoing.insert(Ongoing {
            key,
            settings: Arc::clone(settings),
            text: Arc::clone(&text),
            from,
            binding,
            receiver,
            words,
            trunk_in: trunk,
            max_forwards,
            give_up,
            state: State::Asking { until, unanswered },
        });
        self.texts.deadlines.push(give_up, key);
        if asks.is_some() {
            self.texts.deadlines.push(until, key);
            self.out.push_back(Output::AskText { key, text });
        } else {
            self.forward_as_bound(now, key);
        }
    }

    fn judge_text(
        &mut self,
        now: Duration,
        settings: &Settings,
        arrived: &Arrived,
    ) -> Result<Judged, (Option<Arc<Text>>, Outcome)> {
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
        let app = app.and_then(|app| settings.app(app));
        let asks = match app.map(|app| app.texts) {
            None => return Err((None, Outcome::UnknownX)),
            Some(AppTexts::Off) => return Err((None, Outcome::Off)),
            Some(AppTexts::Notify) => None,
            Some(AppTexts::Block { within, unanswered }) => Some((within, unanswered)),
        };
        let id = String::from_utf8(unique_id(&mut self.tokens)).expect("hexadecimal digits are UTF-8");
        let text = Arc::new(Text {
            id: id.into(),
            app: app.map_or_else(|| "".into(), |app| Arc::clone(&app.name)),
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
        Ok(Judged { text, binding, receiver, words, asks })
    }

    /// The customer's answer to [`Output::AskText`]. One for a text that is gone, or has been decided, changes nothing.
    pub fn handle_text_verdict(&mut self, now: Duration, key: TextKey, verdict: Verdict) {
        let Some(text) = self.texts.get(key) else { return };
        let State::Asking { unanswered, .. } = text.state else { return };
        match (verdict, unanswered) {
            (Verdict::Route { called, calling }, _) => {
                let app = text.binding.app();
                let is_the_apps =
                    |number: &Number| self.table.virtual_number(*number).is_some_and(|number| number.app == app);
                let shown = calling.filter(is_the_apps).unwrap_or(text.text.x);
                self.forward(now, key, called, shown);
            }
            (Verdict::Unanswered, Unanswered::Forward) => self.forward_as_bound(now, key),
            (Verdict::Discard, _) | (Verdict::Unanswered, Unanswered::Discard) => {
                self.end_text(now, key, Outcome::Discarded);
            }
        }
    }

    pub(super) fn on_texts_time(&mut self, now: Duration) {
        while let Some((_, key)) = self.texts.deadlines.pop_due(now) {
            let Some(text) = self.texts.get(key).filter(|text| text.deadline() <= now) else { continue };
            match text.state {
                State::Asking { until, .. } if until <= now => self.handle_text_verdict(now, key, Verdict::Unanswered),
                State::Asking { .. } | State::Sending(_) | State::AtWork | State::Driven { .. } => {
                    self.end_text(now, key, Outcome::NoResponse);
                }
            }
        }
    }

    /// Ends every text in progress.
    pub(super) fn end_texts(&mut self, now: Duration) {
        let keys: Vec<TextKey> = self.texts.ongoing.iter().map(|(_, text)| text.key).collect();
        for key in keys {
            self.end_text(now, key, Outcome::Draining);
        }
    }

    /// After a panic: the text that was at work is gone, without a word.
    pub(super) fn abandon_text(&mut self) {
        let Some(key) = self.texts.current.take() else { return };
        self.layer.forget(|owner| *owner == Owner::Text(key));
        if self.texts.get(key).is_some() {
            self.texts.ongoing.remove(key.index as usize);
        }
    }

    // ---- sent on ----------------------------------------------------------------------------------------------

    fn forward_as_bound(&mut self, now: Duration, key: TextKey) {
        let Some(text) = self.texts.get(key) else { return };
        let (receiver, shown) = (text.receiver, text.binding.shown());
        match receiver {
            Some(receiver) => self.forward(now, key, receiver, shown),
            None => self.end_text(now, key, Outcome::NoReceiver),
        }
    }

    fn forward(&mut self, now: Duration, key: TextKey, receiver: Number, shown: Number) {
        let Some(text) = self.texts.get(key) else { return };
        if self.table.is_virtual(receiver) {
            self.end_text(now, key, Outcome::Loop);
            return;
        }
        let settings = Arc::clone(&text.settings);
        let content = match (&*text.binding, text.text.sender_is, text.text.calling) {
            (Binding::Ax(ax), Some(Party::B), Some(sender)) if receiver == ax.a => {
                marks::with_sender(&text.words, sender)
            }
            (Binding::Axb(_) | Binding::Ax(_) | Binding::Axe(_), _, _) => Arc::clone(&text.words),
        };
        let Ok(trunk) = trunk_of(&settings, self.table.virtual_number(shown).as_deref(), text.trunk_in) else {
            self.end_text(now, key, Outcome::NoRoute);
            return;
        };
        let out = settings.trunk(trunk);
        let state = match out.texts.by {
            TextBy::Driver => {
                let (trunk, from, to) = (Arc::clone(&out.name), shown, receiver);
                self.out.push_back(Output::SendText { key, trunk, from, to, content });
                Some(State::Driven { receiver })
            }
            TextBy::Sip => {
                let pieces = marks::cut(&content, out.texts.longest);
                self.begin_sending(now, key, trunk, receiver, shown, pieces)
            }
        };
        match (state, self.texts.get_mut(key)) {
            (Some(state), Some(text)) => text.state = state,
            (None, Some(_)) => self.end_text(now, key, Outcome::NoRoute),
            (_, None) => {}
        }
    }

    fn begin_sending(
        &mut self,
        now: Duration,
        key: TextKey,
        trunk: TrunkId,
        receiver: Number,
        shown: Number,
        pieces: Vec<Arc<str>>,
    ) -> Option<State> {
        let text = self.texts.get(key)?;
        let (settings, max_forwards) = (Arc::clone(&text.settings), text.max_forwards);
        let out = settings.trunk(trunk);
        let mut routes: VecDeque<Candidate> = self.routes.order(now, &out.name).into();
        let route = routes.front()?.clone();
        let mut sending = Sending {
            receiver,
            shown,
            trunk,
            pieces,
            taken: 0,
            is_accepted: false,
            route,
            routes: VecDeque::new(),
            client: None,
            call_id: Vec::new(),
            tag: Vec::new(),
            cseq: 1,
            answering: None,
            repeats: 0,
        };
        if sending.size(&settings, max_forwards) > LARGEST_DATAGRAM {
            // What goes by streams first (RFC 3261 §18.1.1); where there is none, or none that works, UDP all the same.
            let (streams, datagrams): (Vec<_>, Vec<_>) =
                routes.into_iter().partition(|candidate| candidate.route.transport.is_reliable());
            routes = streams.into_iter().chain(datagrams).collect();
        }
        sending.routes = routes;
        self.send_by_next_route(now, key, &mut sending).then(|| State::Sending(Box::new(sending)))
    }

    /// Sends the piece whose turn it is by the next route. `false`: there is none.
    fn send_by_next_route(&mut self, now: Duration, key: TextKey, sending: &mut Sending) -> bool {
        let Some(settings) = self.texts.get(key).map(|text| Arc::clone(&text.settings)) else { return false };
        let trunk = settings.trunk(sending.trunk);
        while let Some(candidate) = sending.routes.pop_front() {
            if flow_to(&settings, trunk, &candidate.route).is_some() {
                sending.route = candidate;
                return self.send_piece(now, key, sending);
            }
        }
        false
    }

    /// Sends the piece whose turn it is: a new request, of a call of its own.
    fn send_piece(&mut self, now: Duration, key: TextKey, sending: &mut Sending) -> bool {
        sending.call_id = unique_id(&mut self.tokens);
        sending.tag = tag_of(self.tokens.draw());
        (sending.cseq, sending.repeats) = (1, 0);
        self.send_request(now, key, sending)
    }

    fn send_request(&mut self, now: Duration, key: TextKey, sending: &mut Sending) -> bool {
        let Some(text) = self.texts.get(key) else { return false };
        let (settings, max_forwards) = (Arc::clone(&text.settings), text.max_forwards);
        let Some(flow) = flow_to(&settings, settings.trunk(sending.trunk), &sending.route.route) else { return false };
        let target = sending.target(&settings);
        let Some(content) = sending.pieces.get(sending.taken).cloned() else { return false };
        let authorizations = sending
            .answering
            .as_mut()
            .map_or_else(Vec::new, |answering| answering.authorizations("MESSAGE", &target, content.as_bytes()));
        let host = self.layer.advertised(flow.listener).to_owned();
        let cseq = sending.cseq;
        let sending_now = &*sending;
        let client = self.layer.send_request(now, flow, Method::Message, Owner::Text(key), |out, via| {
            sending_now.write(out, &settings, via, &host, max_forwards, &authorizations);
            cseq
        });
        sending.client = Some(client);
        true
    }

    /// A response to a MESSAGE of ours.
    pub(super) fn on_text_response(&mut self, now: Duration, key: TextKey, id: ClientId, response: &Message) {
        let status = response.status();
        if status < 200 {
            return;
        }
        self.with_sending(now, key, id, |core, sending| {
            if let Some(answering) = sending.answering.as_mut().filter(|_| !matches!(status, 401 | 407)) {
                answering.on_accepted();
            }
            match status {
                200..=299 => {
                    sending.taken += 1;
                    sending.is_accepted |= status == 202;
                    if sending.taken == sending.pieces.len() {
                        return Some(if sending.is_accepted { Outcome::Accepted } else { Outcome::Delivered });
                    }
                    (!core.send_piece(now, key, sending)).then_some(Outcome::NoRoute)
                }
                401 | 407 if sending.repeats < MAX_REPEATS && core.learn(key, sending, response) => {
                    sending.repeats += 1;
                    sending.cseq += 1;
                    (!core.send_request(now, key, sending)).then_some(Outcome::NoRoute)
                }
                // RFC 3263 §4.3. What it says of calls is another matter: routes are not told.
                503 if core.send_by_next_route(now, key, sending) => None,
                _ => Some(Outcome::of_status(status)),
            }
        });
    }

    /// A MESSAGE of ours had no final response, or could not be sent: only then another route is tried. One that is silent may
    /// have taken it.
    pub(super) fn on_text_unheard(&mut self, now: Duration, key: TextKey, id: ClientId, is_undelivered: bool) {
        self.with_sending(now, key, id, |core, sending| {
            let goes_on = is_undelivered && core.send_by_next_route(now, key, sending);
            (!goes_on).then_some(Outcome::NoResponse)
        });
    }

    /// Takes the challenge of a 401 or 407 (RFC 3261 §22). `false`: there is no answer to it, or the one given was wrong.
    fn learn(&mut self, key: TextKey, sending: &mut Sending, response: &Message) -> bool {
        let Some(text) = self.texts.get(key) else { return false };
        let Some(credentials) = text.settings.trunk(sending.trunk).auth.clone() else { return false };
        let random = self.layer.draw();
        let answering = sending.answering.get_or_insert_with(|| Box::new(Answering::new(credentials)));
        answering.on_challenge(response, random).is_ok()
    }

    /// Lets a text that is being sent work, where this is the request that it waits for; an outcome ends it.
    fn with_sending(
        &mut self,
        now: Duration,
        key: TextKey,
        id: ClientId,
        work: impl FnOnce(&mut Core, &mut Sending) -> Option<Outcome>,
    ) {
        let Some(text) = self.texts.get_mut(key) else { return };
        let State::Sending(sending) = &mut text.state else { return };
        if sending.client != Some(id) {
            return;
        }
        let State::Sending(mut sending) = std::mem::replace(&mut text.state, State::AtWork) else { return };
        self.texts.current = Some(key);
        let outcome = work(self, &mut sending);
        self.texts.current = None;
        if let Some(text) = self.texts.get_mut(key) {
            text.state = State::Sending(sending);
        }
        if let Some(outcome) = outcome {
            self.end_text(now, key, outcome);
        }
    }

    /// The trunk that a text goes to: whose responses are meant for it.
    pub(super) fn is_text_foreign(&self, key: TextKey, from: &Arc<str>) -> bool {
        self.texts.get(key).is_some_and(|text| match &text.state {
            State::Sending(sending) => text.settings.trunk(sending.trunk).name != *from,
            State::Asking { .. } | State::AtWork | State::Driven { .. } => true,
        })
    }

    /// What came of [`Output::SendText`]. Of a text that is gone it changes nothing.
    pub fn handle_text_result(&mut self, now: Duration, key: TextKey, result: TextResult) {
        let Some(text) = self.texts.get(key) else { return };
        let State::Driven { receiver } = text.state else { return };
        let (outcome, parts) = match result {
            TextResult::Delivered { parts } => (Outcome::Delivered, parts),
            TextResult::Accepted { parts } => (Outcome::Accepted, parts),
            // A failure that says that all is well would have the customer told of a receiver.
            TextResult::Failed(outcome) if outcome.is_forwarded() => (Outcome::FarFailure, 0),
            TextResult::Failed(outcome) => (outcome, 0),
        };
        self.end_text_with(now, key, Some(receiver), parts, outcome);
    }

    // ---- answered ---------------------------------------------------------------------------------------------

    fn end_text(&mut self, now: Duration, key: TextKey, outcome: Outcome) {
        let Some(text) = self.texts.get(key) else { return };
        let (receiver, parts) = match &text.state {
            State::Sending(sending) => {
                if let Some(client) = sending.client {
                    self.layer.stop(client);
                }
                (Some(sending.receiver), u16::try_from(sending.taken).unwrap_or(u16::MAX))
            }
            State::Driven { receiver } => (Some(*receiver), 0),
            State::Asking { .. } | State::AtWork => (None, 0),
        };
        self.end_text_with(now, key, receiver, parts, outcome);
    }

    fn end_text_with(&mut self, now: Duration, key: TextKey, receiver: Option<Number>, parts: u16, outcome: Outcome) {
        if self.texts.get(key).is_none() {
            return;
        }
        let Ongoing { from, text, .. } = self.texts.ongoing.remove(key.index as usize);
        if let Sender::Sip { print, .. } = &from {
            self.texts.recent.set(now, *print, Known::Answered(outcome));
        }
        let called = receiver.filter(|_| outcome.is_forwarded());
        self.conclude(now, from, Some(text), called, parts, outcome);
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
            Sender::Sip { message, copies, .. } => {
                for waiting in std::iter::once(message).chain(copies) {
                    self.answer_message(now, &waiting, outcome);
                }
            }
            Sender::Driver { trunk, reply } => self.out.push_back(Output::AnswerText { trunk, reply, outcome }),
        }
    }

    fn answer_message(&mut self, now: Duration, waiting: &Waiting, outcome: Outcome) {
        let Waiting { server, flow, message } = waiting;
        let status = outcome.row().status;
        let after = self.retry_after(self.mark_of(message));
        let headers: &[(&str, &[u8])] = match status {
            503 => &[("Retry-After", after.as_bytes())],
            415 => &[("Accept", body::ACCEPT), ("Accept-Encoding", b"identity")],
            _ => &[],
        };
        match server {
            Some(id) => self.respond(now, *id, *flow, message, status, headers),
            None => self.reply(*flow, message, status, headers),
        }
    }
}

impl Sending {
    /// Request-URI and To.
    fn target(&self, settings: &Settings) -> Vec<u8> {
        let mut receiver = Vec::new();
        settings.trunk(self.trunk).write.write(self.receiver, &mut receiver);
        sip_uri(&receiver, &self.route.route.host_port(), self.route.route.transport)
    }

    /// How large the largest piece is as a request, to a few bytes.
    fn size(&self, settings: &Settings, max_forwards: u8) -> usize {
        let host = settings.listeners.iter().map(|listener| &*listener.advertised).max_by_key(|host| host.len());
        let (host, mut out) = (host.unwrap_or_default(), Vec::new());
        self.write(&mut out, settings, b"", host, max_forwards, &[]);
        let longest = self.pieces.iter().map(|piece| piece.len()).max().unwrap_or_default();
        let first = self.pieces.first().map_or(0, |piece| piece.len());
        // Call-ID and tag have not been drawn yet.
        out.len() + longest - first + VIA + host.len() + 48
    }

    /// A MESSAGE from nothing (RFC 3428 §4: without Contact). It names the receiver to the receiver, X, and nobody else.
    fn write(
        &self,
        out: &mut Vec<u8>,
        settings: &Settings,
        via: &[u8],
        host: &str,
        max_forwards: u8,
        authorizations: &[(&'static str, Vec<u8>)],
    ) {
        let trunk = settings.trunk(self.trunk);
        let (mut x, target) = (Vec::new(), self.target(settings));
        trunk.write.write(self.shown, &mut x);
        let x_at_us = sip_uri(&x, host, Transport::Udp);
        let content = self.pieces.get(self.taken).map_or(&b""[..], |piece| piece.as_bytes());
        write::request(out, "MESSAGE", &target);
        write::header(out, "Via", via);
        write::header(out, "Max-Forwards", max_forwards.to_string().as_bytes());
        write::header(out, "From", &[b"<", &*x_at_us, b">;tag=", &self.tag].concat());
        write::header(out, "To", &[b"<", &*target, b">"].concat());
        write::header(out, "Call-ID", &self.call_id);
        write::header(out, "CSeq", format!("{} MESSAGE", self.cseq).as_bytes());
        if trunk.assert_identity {
            write::header(out, "P-Asserted-Identity", &[b"<", &*x_at_us, b">"].concat());
        }
        for (name, value) in authorizations {
            write::header(out, name, value);
        }
        if let Some(product) = &settings.product_name {
            write::header(out, "User-Agent", product.as_bytes());
        }
        write::finish(out, Some(b"text/plain;charset=UTF-8"), content);
    }
}
