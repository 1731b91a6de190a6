//! One relay thread: waits, reads packets, lets the sessions decide, sends.
//!
//! ```text
//!   wait ─▶ readable sockets ─▶ Session::handle_rtp ─▶ send
//!    ▲         doorbell ──────▶ orders: open, command, stop
//!    │      deadlines due ────▶ Session::handle_timeout ─▶ send
//!    └──────── events and recorded audio are passed on ◀─┘
//! ```
//!
//! A packet costs no allocation, no lock and no clock reading of its own: `now` is read once a wake-up, a batch is at most
//! half a millisecond long. Once a session has locked a party's source, that party's RTP socket is connected to it: the
//! kernel then refuses strangers by itself, and sending saves the search for a route (0.9 of 8.8 µs a packet).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use b2bua::SessionId;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use media::session::{self, Kind, RecordingOutput, Session};
use media::{Command, Event, Side};
use prometheus::local::LocalHistogram;
use slab::Slab;

use super::Meters;
use super::counters::Counters;
use super::epoll::{Doorbell, Epoll, Events, disconnect};
use super::ports::{Pair, Ports};
use super::wheel::Wheel;
use crate::clock::Clock;
use crate::recording::Recordings;
use crate::transport::Bell;

/// The doorbell's token; every socket's is smaller.
pub(super) const DOORBELL: u64 = u64::MAX;

/// No G.711 packet that we take is longer: 60 ms, with room for CSRCs and header extensions.
const PACKET: usize = 2048;

/// Orders handled before the sockets are looked at again.
const ORDERS_A_TURN: usize = 256;

/// How soon events that found no room are tried again.
const RETRY: Duration = Duration::from_millis(5);

/// How often the histograms are handed over.
const FLUSH: Duration = Duration::from_secs(1);

/// Recorded audio is handed over a second at a time: waking the writer for each tenth of one costs as much as a recording's
/// packets do in the session.
const PIECE: usize = 8000;

/// The smallest distance of a deadline from now: the wheel's slot, so that no session can keep a worker from its sockets.
const SLOT: Duration = Duration::from_millis(1);

/// The token of one socket of the pair at `place`.
pub(super) fn token(place: usize, kind: Kind) -> u64 {
    (place as u64) << 1
        | match kind {
            Kind::Rtp => 0,
            Kind::Rtcp => 1,
        }
}

fn socket_of(token: u64) -> (usize, Kind) {
    let place = usize::try_from(token >> 1).unwrap_or(usize::MAX);
    (place, if token & 1 == 0 { Kind::Rtp } else { Kind::Rtcp })
}

/// What the signalling thread wants.
pub(super) enum Order {
    /// A call's media begins, on the pairs at two places, A's and B's.
    Open { session: SessionId, places: [usize; 2], seed: u64 },
    /// The call tells its session something.
    Command { session: SessionId, command: Command },
    /// Close every session and end.
    Stop,
    /// A fault of ours in the middle of a session.
    #[cfg(test)]
    Fault { session: SessionId },
}

/// Everything that a worker is given.
pub(super) struct Parts {
    pub(super) clock: Clock,
    pub(super) config: session::Config,
    pub(super) ports: Arc<Ports>,
    pub(super) epoll: Arc<Epoll>,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) orders: Receiver<Order>,
    pub(super) events: Sender<(SessionId, Event)>,
    pub(super) bell: Bell,
    pub(super) recordings: Recordings,
    pub(super) counters: Arc<Counters>,
    pub(super) meters: Meters,
}

/// Who sits at a pair: the place in the slab and the side.
type Seat = Option<(u32, Side)>;

/// Where a party's RTP socket leads to.
#[derive(Clone, Copy, Default)]
struct Link {
    /// The source that the session had locked when it was last looked at.
    locked: Option<SocketAddr>,
    /// The socket is connected to it.
    connected: bool,
}

struct Active {
    id: SessionId,
    session: Session,
    /// Of A's and B's pair.
    places: [usize; 2],
    links: [Link; 2],
    /// Recorded and not handed over yet.
    alaw: Vec<u8>,
    /// Events wait for room; the session is in [`Worker::stalled`].
    stalled: bool,
}

/// Whether the worker goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
}

/// A relay thread's whole state.
pub(super) struct Worker {
    parts: Parts,
    active: Slab<Box<Active>>,
    ids: HashMap<SessionId, u32>,
    seats: Box<[Seat]>,
    wheel: Wheel,
    packet: Box<[u8; PACKET]>,
    /// Sessions whose events found no room, each once.
    stalled: VecDeque<u32>,
    /// Events of sessions that are gone: at most one for each that a fault ended, and the answers to their Close.
    orphans: VecDeque<(SessionId, Event)>,
    /// More orders wait than one turn handles.
    behind: bool,
    /// Something was put into the events' channel in this turn.
    told: bool,
    /// The session being worked on: the one to blame for a panic.
    current: Option<u32>,
    phase: Phase,
    forward: LocalHistogram,
    lateness: LocalHistogram,
    flush_at: Duration,
}

impl Worker {
    pub(super) fn new(parts: Parts) -> Worker {
        Worker {
            active: Slab::new(),
            ids: HashMap::new(),
            seats: vec![None; parts.ports.capacity()].into_boxed_slice(),
            wheel: Wheel::new(),
            packet: Box::new([0; PACKET]),
            stalled: VecDeque::new(),
            orphans: VecDeque::new(),
            behind: false,
            told: false,
            current: None,
            phase: Phase::Running,
            forward: parts.meters.forward.local(),
            lateness: parts.meters.lateness.local(),
            flush_at: FLUSH,
            parts,
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::new();
        while self.phase == Phase::Running {
            let timeout = self.timeout();
            let epoll = Arc::clone(&self.parts.epoll);
            if let Err(error) = epoll.wait(&mut events, timeout) {
                // Only a set that is no set fails: there is nothing left to wait for.
                tracing::error!(%error, "a relay worker cannot wait for packets");
                return;
            }
            // A panic is our bug. It ends the call that it happened in, not the thread with all the others.
            if catch_unwind(AssertUnwindSafe(|| self.turn(&events))).is_err() {
                self.abandon_current();
            }
        }
        for key in self.keys() {
            self.on_command(key, Command::Close);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if self.behind {
            return Some(Duration::ZERO);
        }
        let now = self.parts.clock.now();
        let waiting = !self.stalled.is_empty() || !self.orphans.is_empty();
        let retry = waiting.then_some(RETRY);
        let due = self.wheel.next().map(|at| at.saturating_sub(now));
        [retry, due].into_iter().flatten().min()
    }

    fn turn(&mut self, events: &Events) {
        let now = self.parts.clock.now();
        self.current = None;
        if events.tokens().any(|token| token == DOORBELL) {
            self.parts.doorbell.answer();
        }
        // Before the packets: an order that came without a ring concerns them.
        self.behind = self.on_orders();
        let mut packets = 0;
        for token in events.tokens() {
            if token != DOORBELL {
                packets += u32::from(self.on_readable(now, token));
            }
        }
        let mut now = now;
        if packets > 0 {
            let after = self.parts.clock.now();
            let spent = after.saturating_sub(now).as_secs_f64();
            // The batch's whole time stands for each of its packets: never less than the truth, and one clock reading for all.
            for _ in 0..packets {
                self.forward.observe(spent);
            }
            now = after;
        }
        self.on_deadlines(now);
        self.retry_stalled();
        self.tell();
        self.parts.counters.turns.add(1);
        if now >= self.flush_at {
            self.flush_at = now.saturating_add(FLUSH);
            self.forward.flush();
            self.lateness.flush();
        }
    }

    fn tell(&mut self) {
        if std::mem::take(&mut self.told) {
            self.parts.bell.ring();
        }
    }

    // ---- packets ----------------------------------------------------------------------------------------------

    /// Reads one packet; the level-triggered set tells again when there are more. True when it was passed on.
    fn on_readable(&mut self, now: Duration, token: u64) -> bool {
        let Worker { parts, active, seats, wheel, packet, current, .. } = self;
        let (place, kind) = socket_of(token);
        let Some(pair) = parts.ports.pair(place) else {
            return false;
        };
        let Ok((length, source)) = pair.socket(kind).recv_from(&mut packet[..]) else {
            // Nothing (the worker that had the pair before was told too), or the ICMP error of a packet sent before.
            return false;
        };
        let seat = seats.get(place).copied().flatten();
        let Some((key, side, active)) = seat.and_then(|(key, side)| Some((key, side, active.get_mut(key as usize)?)))
        else {
            parts.counters.stray.add(1);
            return false;
        };
        *current = Some(key);
        let Some(packet) = packet.get_mut(..length) else {
            return false;
        };
        match kind {
            Kind::Rtp => {
                parts.counters.received.add(1);
                let sent = active.pass_on(now, side, source, packet, pair, parts);
                let counter = if sent { &parts.counters.forwarded } else { &parts.counters.swallowed };
                counter.add(1);
                // A packet may bring the deadline nearer. When it moves it away, that is found out when the old one comes.
                let wanted = active.session.poll_timeout();
                if wanted.is_some_and(|at| wheel.get(key as usize).is_none_or(|armed| at < armed)) {
                    wheel.set(key as usize, wanted);
                }
                sent
            }
            Kind::Rtcp => {
                parts.counters.control.add(1);
                active.session.handle_rtcp(now, side, source, packet);
                false
            }
        }
    }

    // ---- orders -----------------------------------------------------------------------------------------------

    /// Handles orders; true when there may be more.
    fn on_orders(&mut self) -> bool {
        for _ in 0..ORDERS_A_TURN {
            match self.parts.orders.try_recv() {
                Ok(Order::Open { session, places, seed }) => self.on_open(session, places, seed),
                Ok(Order::Command { session, command }) => match self.ids.get(&session) {
                    Some(key) => self.on_command(*key, command),
                    None => self.on_command_to_nobody(session, &command),
                },
                #[cfg(test)]
                Ok(Order::Fault { session }) => {
                    self.current = self.ids.get(&session).copied();
                    panic!("a fault that a test asked for");
                }
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => {
                    self.phase = Phase::Stopping;
                    return false;
                }
                Err(TryRecvError::Empty) => return false,
            }
        }
        true
    }

    fn on_open(&mut self, id: SessionId, places: [usize; 2], seed: u64) {
        if places.iter().any(|place| self.seats.get(*place).copied().flatten().is_some()) || self.ids.contains_key(&id)
        {
            tracing::error!(session = id.0, "a session is opened twice, or on a port in use");
            return;
        }
        let now = self.parts.clock.now();
        let session = Session::new(self.parts.config, seed, now);
        let active = Active { id, session, places, links: [Link::default(); 2], alaw: Vec::new(), stalled: false };
        // Two ports a session: there are never more sessions than ports.
        let key = self.active.insert(Box::new(active)) as u32;
        for side in Side::BOTH {
            if let Some(seat) = self.seats.get_mut(places[side.index()]) {
                *seat = Some((key, side));
            }
        }
        self.ids.insert(id, key);
        self.parts.counters.sessions.set(self.active.len() as u64);
        self.after(key);
    }

    fn on_command(&mut self, key: u32, command: Command) {
        let Some(active) = self.active.get_mut(key as usize) else {
            return;
        };
        self.current = Some(key);
        let now = self.parts.clock.now();
        active.session.handle_command(now, command);
        for side in Side::BOTH {
            if let Some(pair) = self.parts.ports.pair(active.places[side.index()]) {
                active.follow_latch(side, pair);
            }
        }
        // A prompt's first packet is due at once.
        self.on_timeout(now, key);
    }

    /// Its session was ended by a fault, or never opened. The call waits for one answer only.
    fn on_command_to_nobody(&mut self, session: SessionId, command: &Command) {
        match command {
            Command::Close => {
                self.orphans.push_back((session, Event::Closed(Box::default())));
                self.retry_orphans();
            }
            Command::SetRemote { .. }
            | Command::Hear { .. }
            | Command::Follow { .. }
            | Command::Digit { .. }
            | Command::Collect { .. }
            | Command::Record { .. } => {}
        }
    }

    // ---- deadlines --------------------------------------------------------------------------------------------

    fn on_deadlines(&mut self, now: Duration) {
        while let Some((key, at)) = self.wheel.pop_due(now) {
            self.lateness.observe(now.saturating_sub(at).as_secs_f64());
            let key = key as u32;
            self.current = Some(key);
            self.on_timeout(now, key);
        }
    }

    fn on_timeout(&mut self, now: Duration, key: u32) {
        let Some(active) = self.active.get_mut(key as usize) else {
            return;
        };
        let (counters, ports) = (&self.parts.counters, &self.parts.ports);
        let (places, links) = (active.places, active.links);
        active.session.handle_timeout(now, &mut |side, kind, destination, bytes| {
            let Some(pair) = ports.pair(places[side.index()]) else {
                return;
            };
            let sent = match kind {
                Kind::Rtp => send_rtp(&pair.rtp, &links[side.index()], destination, bytes, counters),
                Kind::Rtcp => counted(pair.rtcp.send_to(bytes, destination), counters),
            };
            if sent {
                counters.originated.add(1);
            }
        });
        self.record(key);
        self.after(key);
    }

    /// Passes recorded audio on to the writer.
    fn record(&mut self, key: u32) {
        let Some(active) = self.active.get_mut(key as usize) else {
            return;
        };
        let recordings = &self.parts.recordings;
        while let Some(output) = active.session.poll_recording(&mut active.alaw) {
            match output {
                RecordingOutput::Started { name } => recordings.start(active.id, name),
                RecordingOutput::Audio => {
                    if active.alaw.len() >= PIECE {
                        let full = std::mem::replace(&mut active.alaw, recordings.buffer());
                        recordings.audio(active.id, full);
                    }
                }
                RecordingOutput::Finished { ms } => {
                    recordings.audio(active.id, std::mem::take(&mut active.alaw));
                    recordings.finish(active.id, ms);
                }
            }
        }
    }

    /// After anything but a packet: events go out, the deadline is set, a closed session goes.
    fn after(&mut self, key: u32) {
        let Some(active) = self.active.get_mut(key as usize) else {
            return;
        };
        let wanted = active.session.poll_timeout();
        let soonest = self.parts.clock.now().saturating_add(SLOT);
        self.wheel.set(key as usize, wanted.map(|at| at.max(soonest)));
        self.tell_events(key);
    }

    // ---- events -----------------------------------------------------------------------------------------------

    fn tell_events(&mut self, key: u32) {
        let Some(active) = self.active.get_mut(key as usize) else {
            return;
        };
        loop {
            // This thread alone sends, so what is not full now takes one event.
            if self.parts.events.is_full() {
                if !active.stalled {
                    active.stalled = true;
                    self.stalled.push_back(key);
                    self.parts.counters.stalled.add(1);
                }
                return;
            }
            let Some(event) = active.session.poll_event() else {
                return;
            };
            let last = matches!(event, Event::Closed(_));
            self.told |= self.parts.events.try_send((active.id, event)).is_ok();
            if last {
                self.remove(key);
                return;
            }
        }
    }

    fn retry_stalled(&mut self) {
        self.retry_orphans();
        for _ in 0..self.stalled.len() {
            if self.parts.events.is_full() {
                return;
            }
            let Some(key) = self.stalled.pop_front() else {
                return;
            };
            if let Some(active) = self.active.get_mut(key as usize) {
                active.stalled = false;
                self.tell_events(key);
            }
        }
    }

    fn retry_orphans(&mut self) {
        while !self.parts.events.is_full() {
            let Some(event) = self.orphans.pop_front() else {
                return;
            };
            self.told |= self.parts.events.try_send(event).is_ok();
        }
    }

    // ---- endings ----------------------------------------------------------------------------------------------

    fn remove(&mut self, key: u32) {
        let Some(active) = self.active.try_remove(key as usize) else {
            return;
        };
        self.wheel.set(key as usize, None);
        self.ids.remove(&active.id);
        for side in Side::BOTH {
            let place = active.places[side.index()];
            if let Some(seat) = self.seats.get_mut(place) {
                *seat = None;
            }
            if let Some(pair) = self.parts.ports.pair(place).filter(|_| active.links[side.index()].connected) {
                // The next call on this port must hear its own party.
                if let Err(error) = disconnect(pair.rtp.as_fd()) {
                    tracing::error!(%error, "an RTP socket cannot be disconnected");
                }
            }
        }
        if active.stalled {
            self.stalled.retain(|stalled| *stalled != key);
        }
        self.parts.counters.sessions.set(self.active.len() as u64);
    }

    /// Ends the session in which a panic happened. Its call is told that the media is dead, and will close it.
    fn abandon_current(&mut self) {
        self.parts.counters.faults.add(1);
        let Some(key) = self.current.take() else {
            return;
        };
        if let Some(active) = self.active.get(key as usize) {
            let id = active.id;
            tracing::error!(session = id.0, "a fault ended a media session");
            self.orphans.push_back((id, Event::Dead));
            self.remove(key);
            // What has been handed over is kept; where nothing was recorded this does nothing.
            self.parts.recordings.finish(id, 0);
        }
        self.behind = true;
    }

    fn keys(&self) -> Vec<u32> {
        self.active.iter().map(|(key, _)| key as u32).collect()
    }
}

impl Active {
    /// Lets the session decide about a packet of `side`, and sends what it makes of it. True when it was sent.
    fn pass_on(
        &mut self,
        now: Duration,
        side: Side,
        source: SocketAddr,
        packet: &mut [u8],
        pair: &Pair,
        parts: &Parts,
    ) -> bool {
        let forward = self.session.handle_rtp(now, side, source, packet);
        self.follow_latch(side, pair);
        let Some(forward) = forward else {
            return false;
        };
        let to = forward.side.index();
        match (parts.ports.pair(self.places[to]), packet.get(forward.range)) {
            (Some(out), Some(bytes)) => {
                send_rtp(&out.rtp, &self.links[to], forward.destination, bytes, &parts.counters)
            }
            (None, _) | (_, None) => false,
        }
    }

    /// Connects a party's RTP socket to the source that has been locked, disconnects it when the latch is open again.
    fn follow_latch(&mut self, side: Side, pair: &Pair) {
        let locked = self.session.locked_source(side);
        let link = &mut self.links[side.index()];
        if link.locked == locked {
            return;
        }
        link.locked = locked;
        match locked {
            // On failure (no route any more) packets are sent one by one as before.
            Some(source) => link.connected = pair.rtp.connect(source).is_ok(),
            None => link.connected = link.connected && disconnect(pair.rtp.as_fd()).is_err(),
        }
    }
}

fn send_rtp(socket: &UdpSocket, link: &Link, destination: SocketAddr, bytes: &[u8], counters: &Counters) -> bool {
    if link.connected && link.locked == Some(destination) {
        counted(socket.send(bytes), counters)
    } else {
        counted(socket.send_to(bytes, destination), counters)
    }
}

fn counted(sent: io::Result<usize>, counters: &Counters) -> bool {
    match sent {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            counters.send_full.add(1);
            false
        }
        // Mostly "connection refused": the party's phone is gone, its call will end soon.
        Err(_) => {
            counters.send_failed.add(1);
            false
        }
    }
}
