//! The world: one clock, and all that moves by it.
//!
//! ```text
//!   settle: what the core, the sessions and the phones want is done, until nobody wants anything
//!   step:   the clock jumps to the next arrival or deadline
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use b2bua::cdr::Cdr;
use b2bua::core::{Core, SessionId};
use b2bua::event::CallEvent;
use b2bua::settings::{Settings, Target};
use b2bua::text::{Outcome, Text, TextEvent, TextIn, TextKey, TextResult, Verdict};
use bytes::Bytes;
use media::session::Session;
use numbering::{Bindings, Number};
use phone::{Known, Phone, PhoneEvent};
use sip::transaction::Flow;

use crate::ladder::{self, Column, Ladder};
use crate::leak::{Kind, Secrets};
use crate::network::{Link, Network, Packet, Protocol};
use crate::setup::{NUMBERS, SIP_PORT, Setup, X};

mod secrets;
mod ways;
mod x;

use secrets::secrets_of;

/// Steps within one instant, after which something plainly goes round in circles.
const MAX_STEPS_AN_INSTANT: u32 = 100_000;

/// Different SIP messages that are kept for the leak scanner.
const MAX_KEPT: usize = 100_000;

/// Everything is over long before: the longest call, rung and torn down.
const LIMIT: Duration = Duration::from_secs(6 * 3_600);

/// A phone of the world: its place among them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PhoneId(pub usize);

/// The first party of the binding.
pub const A: PhoneId = PhoneId(0);

/// The second party of the binding.
pub const B: PhoneId = PhoneId(1);

#[derive(Debug)]
struct Slot {
    phone: Phone,
    column: Column,
    ssrcs: BTreeSet<u32>,
}

impl Slot {
    /// One of its RTP addresses.
    fn takes_rtp(&self, address: SocketAddr) -> bool {
        self.phone.config().rtp_addresses().contains(&address)
    }
}

#[derive(Debug)]
struct Running {
    session: Session,
    ports: [u16; 2],
    /// Who is on which side, once their media is known.
    names: [String; 2],
    hearing: [bool; 2],
    /// Where each side is sent to.
    remotes: [Option<SocketAddr>; 2],
    recording: Option<Arc<str>>,
}

/// A recording as it was written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recorded {
    /// A-law samples.
    pub alaw: Vec<u8>,
    /// It was closed, and is this long, in milliseconds.
    pub finished_ms: Option<u64>,
}

/// Something that X said, for the leak scanner.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Sent {
    pub(crate) to: usize,
    pub(crate) bytes: Vec<u8>,
}

/// A text that the driver is to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToSend {
    /// Which.
    pub key: TextKey,
    /// To this trunk.
    pub trunk: Arc<str>,
    /// Showing this number.
    pub from: Number,
    /// To this one.
    pub to: Number,
    /// What.
    pub content: Arc<str>,
}

/// A SIP message as X sent it or was given it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OnWire {
    /// When.
    pub at: Duration,
    /// X sent it; else it came to X.
    pub by_x: bool,
    /// The other end.
    pub peer: SocketAddr,
    /// How it travelled.
    pub protocol: Protocol,
    /// What was said.
    pub bytes: Bytes,
}

/// X, its peers, and the network between them.
#[derive(Debug)]
pub struct World {
    pub(crate) now: Duration,
    /// The core under test.
    pub core: Core,
    /// The writer of its table: for bindings that change while calls are up.
    pub bindings: Bindings,
    sessions: BTreeMap<SessionId, Running>,
    slots: Vec<Slot>,
    network: Network,
    link: Link,
    media_link: Link,
    gateways: Vec<SocketAddr>,
    refusing: BTreeSet<SocketAddr>,
    failures: Vec<Flow>,
    ladder: Ladder,
    pub(crate) settings: Arc<Settings>,
    /// Those before a reload: calls that began under them go on under them.
    pub(crate) former: Vec<Arc<Settings>>,
    /// Addresses that look-ups have led to.
    pub(crate) looked_up: BTreeSet<std::net::IpAddr>,
    pub(crate) cdrs: Vec<Cdr>,
    pub(crate) logs: Vec<String>,
    pub(crate) told: Vec<CallEvent>,
    /// Texts: what the customer is asked, what the driver is to send, what it is answered, what the customer is told.
    pub(crate) asked: Vec<(TextKey, Arc<Text>)>,
    pub(crate) to_send: Vec<ToSend>,
    pub(crate) answers: Vec<(u64, Outcome)>,
    pub(crate) texts: Vec<TextEvent>,
    pub(crate) recordings: BTreeMap<Arc<str>, Recorded>,
    pub(crate) events: Vec<(Duration, PhoneId, PhoneEvent)>,
    pub(crate) sent: BTreeSet<Sent>,
    /// Every SIP message of X and to X, in order.
    pub(crate) wire: Vec<OnWire>,
    /// By phone: what must not reach anybody else.
    pub(crate) secrets: Vec<Secrets>,
    /// Found on the way, and things that no phone should ever do.
    pub(crate) strange: Vec<String>,
    /// Audio that a phone was sent where it was not.
    pub(crate) astray: Vec<(PhoneId, String)>,
    unclaimed: Vec<Packet>,
    circles: (Duration, u32),
}

impl World {
    pub(crate) fn new(setup: Setup, settings: Arc<Settings>, core: Core, bindings: Bindings) -> World {
        let known: Arc<Known> = setup.known();
        let slots: Vec<Slot> = setup
            .phones
            .iter()
            .map(|config| {
                let mut phone = Phone::new(config.clone());
                phone.set_known(Arc::clone(&known));
                Slot { phone, column: Column::Left, ssrcs: BTreeSet::new() }
            })
            .collect();
        let targets = settings.trunks.iter().flat_map(|trunk| &trunk.targets).filter_map(Target::address);
        let gateways = targets.filter(|address| !setup.silent.contains(address)).collect();
        let secrets = setup.phones.iter().map(secrets_of).collect();
        World {
            now: Duration::ZERO,
            core,
            bindings,
            sessions: BTreeMap::new(),
            slots,
            network: Network::new(setup.seed ^ 0x4e57),
            link: setup.link,
            media_link: setup.media_link,
            gateways,
            refusing: BTreeSet::new(),
            failures: Vec::new(),
            ladder: Ladder::default(),
            settings,
            former: Vec::new(),
            looked_up: BTreeSet::new(),
            cdrs: Vec::new(),
            logs: Vec::new(),
            told: Vec::new(),
            asked: Vec::new(),
            to_send: Vec::new(),
            answers: Vec::new(),
            texts: Vec::new(),
            recordings: BTreeMap::new(),
            events: Vec::new(),
            sent: BTreeSet::new(),
            wire: Vec::new(),
            secrets,
            strange: Vec::new(),
            astray: Vec::new(),
            unclaimed: Vec::new(),
            circles: (Duration::ZERO, 0),
        }
    }

    // ---- what a story does ------------------------------------------------------------------------------------

    /// This phone calls X.
    ///
    /// # Panics
    /// It has a call already.
    pub fn call(&mut self, who: PhoneId) {
        self.call_number(who, NUMBERS[2]);
    }

    /// This phone calls a number at X, spelt like this.
    ///
    /// # Panics
    /// It has a call already, or the spelling cannot stand in a URI.
    pub fn call_number(&mut self, who: PhoneId, spelling: &str) {
        let slot = &mut self.slots[who.0];
        slot.column = Column::Left;
        let called = slot.phone.call(self.now, &format!("sip:{spelling}@{X}:{SIP_PORT}"));
        assert!(called, "the phone can call {spelling}");
        self.settle();
    }

    /// This phone sends a text to X.
    ///
    /// # Panics
    /// It has too many without an answer.
    pub fn text(&mut self, who: PhoneId, words: &str) {
        self.text_to(who, NUMBERS[2], "text/plain;charset=UTF-8", words.as_bytes());
    }

    /// This phone sends a MESSAGE to a number at X, spelt like this.
    ///
    /// # Panics
    /// It has too many without an answer, or the spelling cannot stand in a URI.
    pub fn text_to(&mut self, who: PhoneId, spelling: &str, content_type: &str, body: &[u8]) {
        let slot = &mut self.slots[who.0];
        slot.column = Column::Left;
        let sent = slot.phone.text(self.now, &format!("sip:{spelling}@{X}:{SIP_PORT}"), content_type, body);
        assert!(sent, "the phone can write to {spelling}");
        self.settle();
    }

    /// The customer answers what it was asked of a text.
    pub fn decide_text(&mut self, key: TextKey, verdict: Verdict) {
        self.core.handle_text_verdict(self.now, key, verdict);
        self.settle();
    }

    /// The driver tells what came of a text that it was to send.
    pub fn text_result(&mut self, key: TextKey, result: TextResult) {
        self.core.handle_text_result(self.now, key, result);
        self.settle();
    }

    /// The driver brings a text.
    pub fn take_in_text(&mut self, trunk: &str, text: TextIn) {
        self.core.take_in_text(self.now, trunk, text);
        self.settle();
    }

    /// This phone hangs up, cancels or declines, whatever its state asks for.
    pub fn hang_up(&mut self, who: PhoneId) {
        self.slots[who.0].phone.hang_up(self.now);
        self.settle();
    }

    /// Does something with a phone, at this instant.
    pub fn with_phone<T>(&mut self, who: PhoneId, act: impl FnOnce(&mut Phone, Duration) -> T) -> T {
        let result = act(&mut self.slots[who.0].phone, self.now);
        self.settle();
        result
    }

    /// From now on X's messages to this address come back as undeliverable.
    pub fn refuse(&mut self, address: SocketAddr) {
        self.refusing.insert(address);
    }

    /// New settings for new calls.
    pub fn reload(&mut self, settings: Settings) {
        let settings = Arc::new(settings);
        self.core.reload(self.now, Arc::clone(&settings));
        self.former.push(std::mem::replace(&mut self.settings, settings));
    }

    /// A look-up has ended: these are the routes of a trunk whose targets are names.
    pub fn set_routes(&mut self, trunk: &str, routes: Vec<b2bua::routes::Route>) {
        self.looked_up.extend(routes.iter().map(|route| route.address.ip()));
        self.core.set_routes(self.now, trunk, routes);
        self.settle();
    }

    /// Gives the core a SIP message as if it came from this address over UDP. What X answers to an address of no phone is
    /// in [`World::unclaimed`].
    pub fn inject_sip(&mut self, source: SocketAddr, bytes: &[u8]) {
        self.inject_sip_by(Protocol::Udp, source, bytes);
    }

    /// The same, by the protocol of one's choice.
    pub fn inject_sip_by(&mut self, protocol: Protocol, source: SocketAddr, bytes: &[u8]) {
        let place = self.slots.iter().position(|slot| slot.phone.config().contact == source);
        self.give_to_x(protocol, source, place.unwrap_or(self.slots.len()), bytes);
        self.settle();
    }

    /// The transport tells X that what it sent to this peer did not arrive.
    pub fn fail(&mut self, protocol: Protocol, peer: SocketAddr) {
        let place = self.slots.iter().position(|slot| slot.phone.config().contact == peer);
        let flow = ways::flow(protocol, peer, place.unwrap_or(self.slots.len()));
        self.core.handle_transport_failure(self.now, flow);
        self.settle();
    }

    /// Sends something to a UDP port of X, past the network.
    pub fn inject_rtp(&mut self, source: SocketAddr, port: u16, bytes: &[u8]) {
        self.deliver_media(source, port, bytes.to_vec());
        self.settle();
    }

    /// Whether this, as audio, says in plain text who somebody is. X takes audio through, whatever it says.
    #[must_use]
    pub fn says_aloud(&self, audio: &[u8]) -> bool {
        let mut leaks = self.secrets.iter().flat_map(|secrets| secrets.scan_rtp(audio));
        leaks.any(|leak| leak.kind != Kind::Ssrc)
    }

    /// Runs to this time.
    pub fn run_until(&mut self, until: Duration) {
        self.settle();
        while self.next().is_some_and(|next| next <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// Runs until nothing is left to happen, or this long. `true` when nothing is left.
    pub fn run_until_idle(&mut self, limit: Duration) -> bool {
        let until = self.now + limit;
        self.settle();
        while let Some(next) = self.next() {
            if next > until {
                return false;
            }
            self.step();
        }
        true
    }

    /// Runs to the end; what does not end is a violation.
    pub(crate) fn end_all(&mut self) {
        if !self.run_until_idle(LIMIT) {
            self.strange.push(format!("something still goes on after {LIMIT:?}"));
        }
    }

    /// Runs to the end and checks what is left behind and what was said: [`World::violations`].
    ///
    /// # Panics
    /// There is a violation.
    pub fn finish(&mut self) {
        self.end_all();
        let violations = self.violations();
        assert!(violations.is_empty(), "{}", violations.join("\n"));
    }

    /// What the customer has been told.
    #[must_use]
    pub fn told(&self) -> &[CallEvent] {
        &self.told
    }

    /// What the customer has been told of texts.
    #[must_use]
    pub fn texts(&self) -> &[TextEvent] {
        &self.texts
    }

    /// What the customer has been asked of texts.
    #[must_use]
    pub fn asked(&self) -> &[(TextKey, Arc<Text>)] {
        &self.asked
    }

    /// What the driver was to send.
    #[must_use]
    pub fn to_send(&self) -> &[ToSend] {
        &self.to_send
    }

    /// What the driver was told of the texts that it has brought: reply, outcome.
    #[must_use]
    pub fn answers(&self) -> &[(u64, Outcome)] {
        &self.answers
    }

    /// The texts that a phone got: sender, content.
    #[must_use]
    pub fn texts_of(&self, who: PhoneId) -> Vec<(String, String)> {
        let of = |(_, whose, event): &(Duration, PhoneId, PhoneEvent)| match event {
            PhoneEvent::Texted { sender, content, .. } if *whose == who => Some((sender.clone(), content.clone())),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }

    /// The final responses to a phone's texts.
    #[must_use]
    pub fn text_statuses(&self, who: PhoneId) -> Vec<u16> {
        let of = |(_, whose, event): &(Duration, PhoneId, PhoneEvent)| match event {
            PhoneEvent::TextAnswered { status } if *whose == who => Some(*status),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }

    // ---- what a story asks ------------------------------------------------------------------------------------

    /// The clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// A phone.
    #[must_use]
    pub fn phone(&self, who: PhoneId) -> &Phone {
        &self.slots[who.0].phone
    }

    /// All phones.
    pub fn phones(&self) -> impl Iterator<Item = &Phone> {
        self.slots.iter().map(|slot| &slot.phone)
    }

    /// CDRs, in the order in which the calls ended.
    #[must_use]
    pub fn cdrs(&self) -> &[Cdr] {
        &self.cdrs
    }

    /// What was logged.
    #[must_use]
    pub fn logs(&self) -> &[String] {
        &self.logs
    }

    /// Recordings, by name.
    #[must_use]
    pub fn recordings(&self) -> &BTreeMap<Arc<str>, Recorded> {
        &self.recordings
    }

    /// What the phones told.
    #[must_use]
    pub fn events(&self) -> &[(Duration, PhoneId, PhoneEvent)] {
        &self.events
    }

    /// Every SIP message that X sent or was given, in order.
    #[must_use]
    pub fn wire(&self) -> &[OnWire] {
        &self.wire
    }

    /// The bytes hold a secret of another phone than the one at this address; `false` where there is none.
    #[must_use]
    pub fn tells_of_others(&self, address: SocketAddr, bytes: &[u8]) -> bool {
        let there = self.slots.iter().position(|slot| slot.phone.config().contact == address);
        let mut others =
            self.secrets.iter().enumerate().filter(|(place, _)| there.is_some_and(|there| there != *place));
        others.any(|(_, secrets)| !secrets.scan(bytes).is_empty())
    }

    /// The digits that a phone was sent: as telephone-events in RTP, in INFO.
    #[must_use]
    pub fn digits(&self, who: PhoneId) -> [String; 2] {
        let info = self.events.iter().filter_map(|(_, whose, event)| match event {
            PhoneEvent::InfoDigit { digit, .. } if *whose == who => Some(*digit),
            _ => None,
        });
        [self.phone(who).ear().digits().to_owned(), info.collect()]
    }

    /// What X sent to nobody's address.
    #[must_use]
    pub fn unclaimed(&self) -> &[Packet] {
        &self.unclaimed
    }

    /// The media sessions that are open.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Nothing happens to SIP on its way.
    pub(crate) fn signalling_is_perfect(&self) -> bool {
        self.link.is_perfect()
    }

    /// Nothing happens to RTP on its way.
    #[must_use]
    pub(crate) fn media_is_perfect(&self) -> bool {
        self.media_link.is_perfect()
    }

    /// What happened, as text: messages, sounds, CDRs, and what each phone heard.
    #[must_use]
    pub fn ladder(&self) -> String {
        let mut text = self.ladder.render();
        for slot in &self.slots {
            let ear = slot.phone.ear();
            let heard: Vec<String> = ear
                .sounds()
                .iter()
                .map(|sound| {
                    let time = ear.heard_for(&sound.to_string());
                    format!("{} {}.{:03}", ladder::spoken(&sound.to_string()), time.as_secs(), time.subsec_millis())
                })
                .collect();
            if !heard.is_empty() {
                text += &format!("          {} heard  {}\n", slot.phone.config().name, heard.join(", "));
            }
        }
        text
    }

    // ---- the clock --------------------------------------------------------------------------------------------

    fn next(&self) -> Option<Duration> {
        let sessions = self.sessions.values().filter_map(|running| running.session.poll_timeout());
        let phones = self.slots.iter().filter_map(|slot| slot.phone.poll_timeout());
        sessions.chain(phones).chain(self.core.poll_timeout()).chain(self.network.poll_timeout()).min()
    }

    fn step(&mut self) {
        let Some(next) = self.next() else { return };
        self.now = self.now.max(next);
        let (at, steps) = self.circles;
        self.circles = if at == self.now { (at, steps + 1) } else { (self.now, 0) };
        assert!(steps < MAX_STEPS_AN_INSTANT, "time stands still at {:?}", self.now);
        while let Some(packet) = self.network.pop_due(self.now) {
            self.deliver(packet);
        }
        if self.core.poll_timeout().is_some_and(|at| at <= self.now) {
            self.core.handle_timeout(self.now);
        }
        for slot in &mut self.slots {
            slot.phone.handle_timeout(self.now);
        }
        let due: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, running)| running.session.poll_timeout().is_some_and(|at| at <= self.now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.run_session(id);
        }
        self.settle();
    }

    /// Does all that anybody wants at this instant.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(output) = self.core.poll_output() {
                self.fulfil(output);
                quiet = false;
            }
            for flow in std::mem::take(&mut self.failures) {
                self.core.handle_transport_failure(self.now, flow);
                quiet = false;
            }
            for place in 0..self.slots.len() {
                quiet &= !self.drain_phone(place);
            }
            if quiet {
                return;
            }
        }
    }

    fn drain_phone(&mut self, place: usize) -> bool {
        let mut busy = false;
        let now = self.now;
        while let Some((destination, bytes)) = self.slots[place].phone.poll_transmit() {
            self.send_from_phone(place, destination, bytes);
            busy = true;
        }
        while let Some(packet) = self.slots[place].phone.poll_rtp(now) {
            self.send_media_from_phone(place, packet);
            busy = true;
        }
        while let Some(event) = self.slots[place].phone.poll_event() {
            self.events.push((now, PhoneId(place), event));
        }
        busy
    }
}

impl Drop for World {
    /// Whatever assertion failed: the ladder says what had happened.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.ladder());
        }
    }
}
