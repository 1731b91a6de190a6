//! The RTP relay: threads that own [`media::session::Session`]s and move packets between their sockets.
//!
//! ```text
//!   signalling thread                         worker 0 … n-1
//!   ─────────────────                         ───────────────────────────────────────────
//!   Relay::open, command ── bounded channel, doorbell ──▶ Session ⇄ RTP and RTCP sockets
//!   Relay::poll_event   ◀── bounded channel, Bell ───────    │
//!                                                            └─▶ recording writer
//! ```
//!
//! Every bound pair of sockets stays in some worker's epoll set for good: what comes to a port without a call is read,
//! counted and dropped, so that nobody can fill the kernel's memory with it. A call is handled by the worker that has its
//! first port; where the second one belongs to another worker, the pair moves over (four `epoll_ctl`, and it stays there).

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use b2bua::SessionId;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use media::{Command, Event, Hear};
use prometheus::Histogram;

use crate::clock::Clock;
use crate::recording::Recordings;
use crate::transport::Bell;

mod counters;
mod epoll;
mod ports;
mod wheel;
mod worker;

pub use counters::{Counters, Totals};

use epoll::{Doorbell, Epoll};
use ports::Ports;
use worker::{Order, Worker};

/// How much may wait between the signalling thread and one worker.
#[derive(Clone, Copy, Debug)]
struct Queues {
    /// One order beyond them makes the signalling thread wait, which a worker that lives ends soon: it never waits for
    /// anybody.
    orders: usize,
    /// Events beyond them wait in their sessions.
    events: usize,
}

const QUEUES: Queues = Queues { orders: 8192, events: 4096 };

/// How the relay works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of every socket.
    pub bind: IpAddr,
    /// First and last RTP port, both even; RTCP is the port above.
    pub ports: (u16, u16),
    /// Threads, at least one.
    pub workers: usize,
    /// For every session.
    pub session: media::session::Config,
}

/// Where the relay puts its times.
#[derive(Clone, Debug)]
pub struct Meters {
    /// Seconds from the wake-up that found a packet to the end of its batch.
    pub forward: Histogram,
    /// Seconds that a session's deadline was handled late.
    pub lateness: Histogram,
}

/// How long an order that nobody hears the effect of may wait for a wake-up that happens anyway: a packet, a deadline, another
/// order. A wake-up is the dearest part of an order.
const LINGER: Duration = Duration::from_millis(20);

/// Whether a worker must be woken for what has been put before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Nothing,
    /// Since the first flush that saw it; `None` before that.
    Lingering(Option<Duration>),
    Urgent,
}

struct Line {
    waiting: Waiting,
    orders: Sender<Order>,
    doorbell: Arc<Doorbell>,
    epoll: Arc<Epoll>,
    events: Receiver<(SessionId, Event)>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

/// The relay as the signalling thread sees it.
pub struct Relay {
    ports: Arc<Ports>,
    lines: Vec<Line>,
    /// Which worker's set each pair is in, by place.
    owners: Vec<u8>,
    /// Which worker has each session.
    sessions: HashMap<SessionId, usize>,
    /// Where the search for a pair to bind goes on.
    cursor: usize,
    bound: usize,
    /// The last pair could not be bound, and that has been logged.
    is_failing: bool,
}

impl Relay {
    /// Starts the workers. No port is bound yet.
    ///
    /// # Errors
    /// When the system gives no thread, epoll set or eventfd.
    pub fn spawn(
        config: &Config,
        clock: Clock,
        recordings: &Recordings,
        bell: &Bell,
        meters: &Meters,
    ) -> io::Result<Relay> {
        Relay::spawn_with(QUEUES, config, clock, recordings, bell, meters)
    }

    fn spawn_with(
        queues: Queues,
        config: &Config,
        clock: Clock,
        recordings: &Recordings,
        bell: &Bell,
        meters: &Meters,
    ) -> io::Result<Relay> {
        if let Err(error) = epoll::raise_file_limit() {
            tracing::warn!(%error, "the limit of open files cannot be raised; ports may run out early");
        }
        let ports = Arc::new(Ports::new(config.bind, config.ports));
        let mut relay = Relay {
            owners: vec![0; ports.capacity()],
            ports,
            lines: Vec::new(),
            sessions: HashMap::new(),
            cursor: 0,
            bound: 0,
            is_failing: false,
        };
        for number in 0..config.workers.clamp(1, 256) {
            let epoll = Arc::new(Epoll::new()?);
            let doorbell = Arc::new(Doorbell::new()?);
            epoll.add(doorbell.fd(), worker::DOORBELL)?;
            let (orders, to_do) = crossbeam_channel::bounded(queues.orders);
            let (told, events) = crossbeam_channel::bounded(queues.events);
            let counters = Arc::new(Counters::default());
            let worker = Worker::new(worker::Parts {
                clock,
                config: config.session,
                ports: Arc::clone(&relay.ports),
                epoll: Arc::clone(&epoll),
                doorbell: Arc::clone(&doorbell),
                orders: to_do,
                events: told,
                bell: bell.clone(),
                recordings: recordings.clone(),
                counters: Arc::clone(&counters),
                meters: meters.clone(),
            });
            let thread = std::thread::Builder::new().name(format!("relay-{number}")).spawn(move || worker.run())?;
            let waiting = Waiting::Nothing;
            relay.lines.push(Line { waiting, orders, doorbell, epoll, events, counters, thread: Some(thread) });
        }
        Ok(relay)
    }

    /// Binds up to `count` more pairs and tells the RTP port of each. Ports that others have are left out, and tried again
    /// when the range has been gone through once.
    pub fn bind_ports(&mut self, count: usize, mut bound: impl FnMut(u16)) {
        let mut left = count;
        for _ in 0..self.ports.capacity() {
            if left == 0 || self.bound == self.ports.capacity() {
                return;
            }
            let place = self.cursor;
            self.cursor = (self.cursor + 1) % self.ports.capacity();
            if self.ports.pair(place).is_some() {
                continue;
            }
            match self.bind(place) {
                Ok(()) => {
                    bound(self.ports.port(place));
                    self.bound += 1;
                    self.is_failing = false;
                    left -= 1;
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    // No more descriptors, or an address that is gone: the next pair would fare no better. Said once.
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::error!(%error, port = self.ports.port(place), "an RTP port cannot be bound");
                    }
                    return;
                }
            }
        }
    }

    fn bind(&mut self, place: usize) -> io::Result<()> {
        let pair = self.ports.bind(place)?;
        let owner = self.bound % self.lines.len();
        self.owners[place] = owner as u8;
        self.lines[owner].watch(pair, place)
    }

    /// Pairs bound so far.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.bound
    }

    /// Opens a session on two pairs, A's and B's, named by their RTP ports.
    pub fn open(&mut self, session: SessionId, ports: [u16; 2], seed: u64) {
        let (Some(a), Some(b)) = (self.bound_place(ports[0]), self.bound_place(ports[1])) else {
            // The core only knows ports that it was given; its Close will be answered all the same.
            tracing::error!(?ports, "a session names a port that is not bound");
            return;
        };
        let owner = usize::from(self.owners[a]);
        self.move_over(b, owner);
        self.sessions.insert(session, owner);
        self.lines[owner].order(Order::Open { session, places: [a, b], seed }, false);
    }

    /// Wakes the workers that have something urgent, or something that has waited long enough; to be called after a batch of
    /// orders. Returns when it wants to be called again.
    pub fn flush(&mut self, now: Duration) -> Option<Duration> {
        self.lines.iter_mut().filter_map(|line| line.flush(now)).min()
    }

    /// Passes a command on to a session. The worker learns of it at its next wake-up: see [`Relay::flush`].
    pub fn command(&mut self, session: SessionId, command: Command) {
        // A session that could not be opened is answered by the first worker, which does not know it either.
        let owner = match command {
            Command::Close => self.sessions.remove(&session),
            Command::SetRemote { .. }
            | Command::Hear { .. }
            | Command::Follow { .. }
            | Command::Digit { .. }
            | Command::Collect { .. }
            | Command::Record { .. } => self.sessions.get(&session).copied(),
        };
        // A prompt or a digit begins now; everything else shows with the next packet, for which the worker wakes by itself, and
        // before which it takes the orders: a digit that is pressed finds its collection begun.
        let is_urgent = matches!(&command, Command::Hear { hear: Hear::Prompt { .. }, .. } | Command::Digit { .. });
        self.lines[owner.unwrap_or(0)].order(Order::Command { session, command }, is_urgent);
    }

    /// The next event of any session; to be called until `None` after [`Bell::answer`].
    pub fn poll_event(&mut self) -> Option<(SessionId, Event)> {
        self.lines.iter().find_map(|line| line.events.try_recv().ok())
    }

    /// Each worker's counters, for the metrics.
    #[must_use]
    pub fn counters(&self) -> Vec<Arc<Counters>> {
        self.lines.iter().map(|line| Arc::clone(&line.counters)).collect()
    }

    /// Orders that wait for workers, and events that wait for the signalling thread.
    #[must_use]
    pub fn queued(&self) -> (usize, usize) {
        self.lines
            .iter()
            .fold((0, 0), |(orders, events), line| (orders + line.orders.len(), events + line.events.len()))
    }

    fn bound_place(&self, port: u16) -> Option<usize> {
        self.ports.place(port).filter(|place| self.ports.pair(*place).is_some())
    }

    fn move_over(&mut self, place: usize, to: usize) {
        let from = usize::from(self.owners[place]);
        let Some(pair) = self.ports.pair(place).filter(|_| from != to) else {
            return;
        };
        for socket in [&pair.rtp, &pair.rtcp] {
            if let Err(error) = self.lines[from].epoll.remove(socket.as_fd()) {
                tracing::error!(%error, "an RTP socket cannot be taken from its worker");
            }
        }
        if let Err(error) = self.lines[to].watch(pair, place) {
            tracing::error!(%error, "an RTP socket cannot be given to a worker");
        }
        self.owners[place] = to as u8;
    }
}

impl Line {
    fn order(&mut self, order: Order, is_urgent: bool) {
        let sent = match self.orders.try_send(order) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(order)) => {
                self.counters.waited.add(1);
                self.doorbell.ring();
                self.orders.send(order).map_err(|_| ())
            }
            Err(TrySendError::Disconnected(_)) => Err(()),
        };
        match sent {
            Ok(()) if is_urgent => self.waiting = Waiting::Urgent,
            Ok(()) if self.waiting == Waiting::Nothing => self.waiting = Waiting::Lingering(None),
            Ok(()) => {}
            // Its thread ends only with the relay.
            Err(()) => tracing::error!("a relay worker is gone"),
        }
    }

    fn flush(&mut self, now: Duration) -> Option<Duration> {
        let at = match self.waiting {
            Waiting::Nothing => return None,
            Waiting::Urgent => now,
            Waiting::Lingering(since) => since.unwrap_or(now).saturating_add(LINGER),
        };
        if at > now {
            self.waiting = Waiting::Lingering(Some(at.saturating_sub(LINGER)));
            return Some(at);
        }
        self.waiting = Waiting::Nothing;
        self.doorbell.ring();
        None
    }

    fn watch(&self, pair: &ports::Pair, place: usize) -> io::Result<()> {
        self.epoll.add(pair.rtp.as_fd(), worker::token(place, media::session::Kind::Rtp))?;
        self.epoll.add(pair.rtcp.as_fd(), worker::token(place, media::session::Kind::Rtcp))
    }
}

impl Drop for Relay {
    /// Closes every session, so that its recording is whole, and waits for the workers.
    fn drop(&mut self) {
        for line in &mut self.lines {
            line.order(Order::Stop, true);
            line.flush(Duration::ZERO);
        }
        for line in &mut self.lines {
            if line.thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("a relay worker ended in a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests;
