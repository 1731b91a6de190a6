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
use b2bua::core::{Core, Output, SessionId};
use b2bua::settings::Settings;
use bytes::Bytes;
use media::session::{Config, Kind as Socket, RecordingOutput, Session};
use media::{Command, Side};
use numbering::{Bindings, Number, ReadRule};
use phone::{Known, Phone, PhoneEvent};
use sip::transaction::{Flow, Transmit, Transport};

use crate::ladder::{self, Column, Entry, Ladder, Way};
use crate::leak::{Kind, Secrets};
use crate::network::{Fate, Link, Network, Packet, Protocol};
use crate::setup::{NUMBERS, SIP_PORT, Setup, X};

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

#[derive(Debug)]
struct Running {
    session: Session,
    ports: [u16; 2],
    /// Who is on which side, once their media is known.
    names: [String; 2],
    hearing: [bool; 2],
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
    pub(crate) cdrs: Vec<Cdr>,
    cdr_names: Vec<[String; 2]>,
    pub(crate) logs: Vec<String>,
    pub(crate) recordings: BTreeMap<Arc<str>, Recorded>,
    pub(crate) events: Vec<(Duration, PhoneId, PhoneEvent)>,
    pub(crate) sent: BTreeSet<Sent>,
    /// By phone: what must not reach anybody else.
    pub(crate) secrets: Vec<Secrets>,
    /// Found on the way, and things that no phone should ever do.
    pub(crate) strange: Vec<String>,
    unclaimed: Vec<Packet>,
    circles: (Duration, u32),
    /// Sessions' names, kept after they have closed, until their CDR.
    names: BTreeMap<SessionId, [String; 2]>,
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
        let gateways = settings.trunks.iter().flat_map(|trunk| &trunk.targets).map(|target| target.address).collect();
        let secrets = setup.phones.iter().map(|config| secrets_of(config)).collect();
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
            cdrs: Vec::new(),
            cdr_names: Vec::new(),
            logs: Vec::new(),
            recordings: BTreeMap::new(),
            events: Vec::new(),
            sent: BTreeSet::new(),
            secrets,
            strange: Vec::new(),
            unclaimed: Vec::new(),
            circles: (Duration::ZERO, 0),
            names: BTreeMap::new(),
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

    /// Changes how SIP travels from now on.
    pub fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    /// Gives the core a SIP message as if it came from this address over UDP. What X answers to an address of no phone is
    /// in [`World::unclaimed`].
    pub fn inject_sip(&mut self, source: SocketAddr, bytes: &[u8]) {
        let flow = Flow { transport: Transport::Udp, listener: 0, peer: source, connection: 0 };
        self.core.handle_message(self.now, flow, Bytes::copy_from_slice(bytes));
        self.settle();
    }

    /// Sends something to a UDP port of X, past the network.
    pub fn inject_rtp(&mut self, source: SocketAddr, port: u16, bytes: &[u8]) {
        self.deliver_media(source, port, bytes.to_vec());
        self.settle();
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

    /// Runs to the end and checks what is left behind and what was said: [`World::violations`].
    ///
    /// # Panics
    /// There is a violation.
    pub fn finish(&mut self) {
        if !self.run_until_idle(LIMIT) {
            self.strange.push(format!("something still goes on after {LIMIT:?}"));
        }
        let violations = self.violations();
        assert!(violations.is_empty(), "{}", violations.join("\n"));
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

    /// Both links treat all alike.
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

    // ---- X ----------------------------------------------------------------------------------------------------

    fn fulfil(&mut self, output: Output) {
        match output {
            Output::Transmit(transmit) => self.send_from_x(transmit),
            Output::OpenMedia { session, ports, seed } => {
                let config = Config { dead_after: self.settings.media.dead_after, unix_at_epoch: Duration::ZERO };
                let names = ["A".to_owned(), "B".to_owned()];
                let running = Running {
                    session: Session::new(config, seed, self.now),
                    ports,
                    names: names.clone(),
                    hearing: [false; 2],
                    recording: None,
                };
                let clash = self.sessions.values().any(|open| open.ports.iter().any(|port| ports.contains(port)));
                if clash || ports[0] == ports[1] {
                    self.strange.push(format!("ports {ports:?} are given twice"));
                }
                self.names.insert(session, names);
                self.sessions.insert(session, running);
            }
            Output::Media { session, command } => self.command(session, command),
            Output::Ended(cdr) => {
                let names = self.names_of(&cdr);
                self.ladder.push(self.now, Entry::Ended(ladder::summary(&cdr, &names)));
                self.cdr_names.push(names);
                self.cdrs.push(*cdr);
            }
            Output::Log(line) => self.logs.push(format!("{line:?}")),
        }
    }

    /// Caller's and callee's names in a CDR.
    fn names_of(&self, cdr: &Cdr) -> [String; 2] {
        let name = |number: Option<Number>, otherwise: &str| {
            number.map_or_else(|| otherwise.to_owned(), |number| self.name_of(&number.reveal().to_string()))
        };
        [name(cdr.caller, "?"), name(cdr.callee, "?")]
    }

    fn command(&mut self, id: SessionId, command: Command) {
        let now = self.now;
        let Some(running) = self.sessions.get_mut(&id) else {
            self.strange.push(format!("{id:?} is told {command:?} and is not open"));
            return;
        };
        if let Command::SetRemote { side, remote } = &command
            && let Some(slot) = self.slots.iter().find(|slot| slot.phone.config().rtp == remote.rtp)
        {
            running.names[side.index()].clone_from(&slot.phone.config().name);
            self.names.insert(id, running.names.clone());
        }
        if let Some(note) = ladder::note_of(&command, &running.names, &mut running.hearing) {
            self.ladder.push(now, Entry::Note(note));
        }
        running.session.handle_command(now, command);
        self.run_session(id);
    }

    /// Lets a session do what is due and takes what it gives.
    fn run_session(&mut self, id: SessionId) {
        let now = self.now;
        let Some(running) = self.sessions.get_mut(&id) else { return };
        let mut packets = Vec::new();
        let ports = running.ports;
        running.session.handle_timeout(now, &mut |side: Side, socket, destination, bytes: &[u8]| {
            let port = match socket {
                Socket::Rtp => ports[side.index()],
                Socket::Rtcp => ports[side.index()] + 1,
            };
            packets.push((port, destination, bytes.to_vec()));
        });
        for (port, destination, bytes) in packets {
            self.send_media_from_x(port, destination, bytes);
        }
        self.drain_recording(id);
        while let Some(event) = self.sessions.get_mut(&id).and_then(|running| running.session.poll_event()) {
            if matches!(event, media::Event::Closed(_)) {
                self.drain_recording(id);
                self.sessions.remove(&id);
            }
            self.core.handle_media_event(now, id, event);
        }
    }

    fn drain_recording(&mut self, id: SessionId) {
        let Some(running) = self.sessions.get_mut(&id) else { return };
        let mut alaw = Vec::new();
        while let Some(output) = running.session.poll_recording(&mut alaw) {
            match output {
                RecordingOutput::Started { name } => {
                    if self.recordings.insert(Arc::clone(&name), Recorded::default()).is_some() {
                        self.strange.push(format!("the recording {name} is begun twice"));
                    }
                    running.recording = Some(name);
                }
                RecordingOutput::Audio => {}
                RecordingOutput::Finished { ms } => {
                    let file = running.recording.as_ref().and_then(|name| self.recordings.get_mut(name));
                    if let Some(file) = file {
                        file.alaw.append(&mut alaw);
                        file.finished_ms = Some(ms);
                    }
                }
            }
            if let Some(file) = running.recording.as_ref().and_then(|name| self.recordings.get_mut(name)) {
                file.alaw.append(&mut alaw);
            }
        }
    }

    // ---- the ways between -------------------------------------------------------------------------------------

    fn send_from_x(&mut self, transmit: Transmit) {
        let Transmit { flow, bytes } = transmit;
        let told = ladder::tell(&bytes, |number| self.name_of(number));
        let place = self.place_at(&flow, told.called.as_deref());
        if self.refusing.contains(&flow.peer) {
            self.failures.push(flow);
            return;
        }
        let source = SocketAddr::new(X, SIP_PORT);
        let protocol = protocol_of(flow.transport);
        let Some(place) = place else {
            self.unclaimed.push(Packet { protocol, source, destination: flow.peer, bytes: bytes.to_vec() });
            return;
        };
        if told.begins_call {
            self.slots[place].column = Column::Right;
        }
        if self.sent.len() < MAX_KEPT {
            self.sent.insert(Sent { to: place, bytes: bytes.to_vec() });
        }
        let destination = self.slots[place].phone.config().contact;
        let packet = Packet { protocol, source, destination, bytes: bytes.to_vec() };
        let fate = self.network.send(self.now, self.link, packet);
        self.note_message(place, Way::FromX, told, fate);
    }

    /// Which phone takes a message of X: by its address, or behind a carrier's by its number.
    fn place_at(&self, flow: &Flow, called: Option<&str>) -> Option<usize> {
        let direct = self.slots.iter().position(|slot| slot.phone.config().contact == flow.peer);
        direct.or_else(|| {
            let number = ReadRule::default().read(called?.as_bytes()).ok()?;
            self.gateways.contains(&flow.peer).then(|| self.place_of(number)).flatten()
        })
    }

    fn place_of(&self, number: Number) -> Option<usize> {
        let is = |slot: &Slot| Number::parse(&slot.phone.config().number).ok() == Some(number);
        self.slots.iter().position(is)
    }

    /// `A` for A's number in any spelling; the spelling itself where it is nobody's.
    fn name_of(&self, spelling: &str) -> String {
        let Ok(number) = ReadRule::default().read(spelling.as_bytes()) else { return spelling.to_owned() };
        if Number::parse(NUMBERS[2]).ok() == Some(number) {
            return "X".to_owned();
        }
        self.place_of(number).map_or_else(|| spelling.to_owned(), |place| self.slots[place].phone.config().name.clone())
    }

    fn note_message(&mut self, place: usize, way: Way, told: ladder::Told, fate: Fate) {
        let slot = &self.slots[place];
        let lost = match fate {
            Fate::Sent => String::new(),
            Fate::Lost => "✗ lost".to_owned(),
        };
        let remark = [told.remark, lost].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ");
        let phone = slot.phone.config().name.clone();
        self.ladder.push(self.now, Entry::Message { column: slot.column, way, phone, text: told.text, remark });
    }

    fn send_from_phone(&mut self, place: usize, destination: SocketAddr, bytes: Vec<u8>) {
        self.learn_secrets(place, &bytes);
        let config = self.slots[place].phone.config();
        if destination != SocketAddr::new(X, SIP_PORT) {
            self.strange.push(format!("{} sends SIP to {destination}, past X", config.name));
            return;
        }
        let protocol = match config.transport {
            phone::Transport::Udp => Protocol::Udp,
            phone::Transport::Tcp => Protocol::Tcp,
        };
        let packet = Packet { protocol, source: config.contact, destination, bytes: bytes.clone() };
        if self.network.send(self.now, self.link, packet) == Fate::Lost {
            let told = ladder::tell(&bytes, |number| self.name_of(number));
            self.note_message(place, Way::ToX, told, Fate::Lost);
        }
    }

    fn send_media_from_phone(&mut self, place: usize, packet: phone::Packet) {
        if packet.destination.ip() != X {
            let name = &self.slots[place].phone.config().name;
            self.strange.push(format!("{name} sends RTP to {}, past X", packet.destination));
            return;
        }
        if let (Some(0x80), Some(ssrc)) = (packet.bytes.first().map(|byte| byte & 0xc0), packet.bytes.get(8..12))
            && packet.source.port() % 2 == 0
        {
            let ssrc = u32::from_be_bytes(ssrc.try_into().expect("four bytes"));
            if self.slots[place].ssrcs.insert(ssrc) {
                let name = self.slots[place].phone.config().name.clone();
                self.secrets[place].add_ssrc(&name, ssrc);
            }
        }
        let phone::Packet { source, destination, bytes } = packet;
        let packet = Packet { protocol: Protocol::Udp, source, destination, bytes };
        self.network.send(self.now, self.media_link, packet);
    }

    fn send_media_from_x(&mut self, port: u16, destination: SocketAddr, bytes: Vec<u8>) {
        let receives = |slot: &Slot| {
            let rtp = slot.phone.config().rtp;
            destination == rtp || destination == SocketAddr::new(rtp.ip(), rtp.port() + 1)
        };
        let source = SocketAddr::new(X, port);
        let packet = Packet { protocol: Protocol::Udp, source, destination, bytes };
        let Some(place) = self.slots.iter().position(receives) else {
            self.unclaimed.push(packet);
            return;
        };
        for (owner, secrets) in self.secrets.iter().enumerate() {
            if owner == place {
                continue;
            }
            let is_rtcp = destination.port() % 2 == 1;
            let leaks = if is_rtcp { secrets.scan_rtcp(&packet.bytes) } else { secrets.scan_rtp(&packet.bytes) };
            for leak in leaks {
                let to = &self.slots[place].phone.config().name;
                self.strange.push(format!("leak to {to} at {:?}: {leak}", self.now));
            }
        }
        self.network.send(self.now, self.media_link, packet);
    }

    fn deliver(&mut self, packet: Packet) {
        let Packet { protocol, source, destination, bytes } = packet;
        if destination == SocketAddr::new(X, SIP_PORT) {
            self.deliver_to_x(protocol, source, &bytes);
        } else if destination.ip() == X {
            self.deliver_media(source, destination.port(), bytes);
        } else if let Some(slot) = self.slots.iter_mut().find(|slot| slot.phone.config().contact == destination) {
            slot.phone.handle_message(self.now, source, &bytes);
        } else if let Some(slot) = self.slots.iter_mut().find(|slot| slot.phone.config().rtp == destination) {
            slot.phone.handle_rtp(self.now, source, &bytes);
        }
        self.settle();
    }

    fn deliver_to_x(&mut self, protocol: Protocol, source: SocketAddr, bytes: &[u8]) {
        let Some(place) = self.slots.iter().position(|slot| slot.phone.config().contact == source) else { return };
        let told = ladder::tell(bytes, |number| self.name_of(number));
        self.note_message(place, Way::ToX, told, Fate::Sent);
        let (transport, listener, connection) = match protocol {
            Protocol::Udp => (Transport::Udp, 0, 0),
            Protocol::Tcp => (Transport::Tcp, 1, place as u64 + 1),
        };
        let flow = Flow { transport, listener, peer: source, connection };
        self.core.handle_message(self.now, flow, Bytes::copy_from_slice(bytes));
    }

    fn deliver_media(&mut self, source: SocketAddr, port: u16, mut bytes: Vec<u8>) {
        let now = self.now;
        let found = self.sessions.iter_mut().find_map(|(id, running)| {
            let rtp = port & !1;
            let side = Side::BOTH.into_iter().find(|side| running.ports[side.index()] == rtp)?;
            Some((*id, side, running))
        });
        // A port that rests hears nothing.
        let Some((id, side, running)) = found else { return };
        if port % 2 == 1 {
            running.session.handle_rtcp(now, side, source, &bytes);
        } else if let Some(forward) = running.session.handle_rtp(now, side, source, &mut bytes) {
            let from = running.ports[forward.side.index()];
            if let Some(packet) = bytes.get(forward.range) {
                let packet = packet.to_vec();
                self.send_media_from_x(from, forward.destination, packet);
            }
        }
        self.run_session(id);
    }

    /// What a phone has just made up: Call-ID, tag, branch, SDP session.
    fn learn_secrets(&mut self, place: usize, bytes: &[u8]) {
        let message = String::from_utf8_lossy(bytes);
        let name = self.slots[place].phone.config().name.clone();
        let secrets = &mut self.secrets[place];
        if let Some(call_id) = ladder::header(&message, "Call-ID") {
            secrets.add_text(&name, Kind::CallId, call_id);
        }
        let is_request = !message.starts_with("SIP/2.0 ");
        let own = if is_request { "From" } else { "To" };
        if let Some((_, tag)) = ladder::header(&message, own).and_then(|value| value.split_once(";tag=")) {
            secrets.add_text(&name, Kind::Tag, tag);
        }
        if is_request
            && let Some((_, branch)) = ladder::header(&message, "Via").and_then(|via| via.split_once("branch=z9hG4bK"))
        {
            secrets.add_text(&name, Kind::Tag, branch.split(';').next().unwrap_or(branch));
        }
        if let Some(origin) = message.split("\r\n").find_map(|line| line.strip_prefix("o="))
            && let Some(session) = origin.split(' ').nth(1)
        {
            secrets.add_text(&name, Kind::SdpSession, session);
        }
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

fn protocol_of(transport: Transport) -> Protocol {
    match transport {
        Transport::Udp => Protocol::Udp,
        Transport::Tcp => Protocol::Tcp,
    }
}

/// What a phone is set up with and nobody else may learn.
fn secrets_of(config: &phone::Config) -> Secrets {
    let mut secrets = Secrets::new();
    let name = &config.name;
    if let Ok(number) = Number::parse(&config.number) {
        secrets.add_number(name, number);
    }
    if let Some(display) = &config.display_name {
        secrets.add_text(name, Kind::DisplayName, display);
    }
    if let Some(agent) = &config.user_agent {
        secrets.add_text(name, Kind::UserAgent, agent);
    }
    if let Some(cname) = &config.cname {
        secrets.add_text(name, Kind::Cname, cname);
    }
    for address in [config.contact, config.rtp] {
        secrets.add_text(name, Kind::Host, &address.ip().to_string());
        if address.port() != SIP_PORT {
            secrets.add_port(name, address.port());
        }
    }
    for (_, value) in &config.headers {
        secrets.add_text(name, Kind::Canary, value);
    }
    for line in config.sdp_session_lines.iter().chain(&config.sdp_media_lines) {
        secrets.add_text(name, Kind::Canary, line.split_once([':', '=']).map_or(line, |(_, value)| value));
    }
    secrets.add_text(name, Kind::Canary, &format!("kingfisher-{name}"));
    secrets
}
