//! The signalling loop: one thread that owns the [`Core`], its sockets and its side of the relay.
//!
//! ```text
//!   wait ─▶ Wake ─▶ bytes, media events, orders ─▶ Core ─▶ time ─▶ new calls ─▶ flush: sockets, relay, CDRs, log ─▶ wait
//! ```
//!
//! Everything that has come is taken in before any new call has its turn, and a few of those make one turn of the loop: so
//! what belongs to a call never waits for long, and no socket's buffer fills up behind new calls.
//!
//! Nothing here decides anything; nothing here waits for anybody but the kernel.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use b2bua::observe::LogLine;
use b2bua::routes::{Change, RouteState};
use b2bua::settings::Settings;
use b2bua::text::{TextResult, Verdict};
use b2bua::{Core, Output};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use media::Side;
use mio::{Events, Poll, Token};
use numbering::LastCaller;
use sip::transaction::{Flow, Transmit, Transport};
use tokio::sync::oneshot;

use crate::cdr::Cdrs;
use crate::clock::Clock;
use crate::hep;
use crate::metrics::Metrics;
use crate::notify::Outbox;
use crate::notify::deliver::Asker;
use crate::registry::Callers;
use crate::relay::Relay;
use crate::smsc::{Outgoing, Smscs};
use crate::texts;
use crate::transport::resolve::Found;
use crate::transport::tcp::Tcp;
use crate::transport::udp::{Received, Udp, UdpCounters};
use crate::transport::{Bell, Inbound};

/// Orders that may wait for the loop.
const ORDERS: usize = 1_024;
/// Batches that one socket may give before the others and the clock have their turn: a thousand datagrams. New calls among
/// them are only put aside, which is cheap, and the sooner that is done the sooner what belongs to calls is found.
const BATCHES: usize = 64;
/// Messages of streams, and media events, that have their turn before the sockets and the clock have theirs.
const TELLINGS: usize = 512;
/// New calls that have their turn before the sockets are read again.
const NEW_CALLS: usize = 16;
/// The same while more is there to be read: few, but some, or a flood of anything would keep every new call out.
const NEW_CALLS_BEHIND: usize = 1;
/// How late a deadline of the core may be handled. A wake-up costs more than what most deadlines ask for: they are timers of
/// states that have been left since.
const GRAIN: Duration = Duration::from_millis(5);
/// When a socket's full send buffer is tried again.
const RETRY: Duration = Duration::from_millis(1);
/// How often the metrics are told, and the registry who has called.
const PUBLISH: Duration = Duration::from_millis(250);
/// The longest that streams may take to be written out at the end.
const CLOSING: Duration = Duration::from_secs(1);
/// The longest that a reload waits for the loop.
const RELOAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long calls that are ended by force may take to say so to their peers.
const LAST_WORDS: Duration = Duration::from_millis(1_500);

/// The poll's name for the doorbell; a listener's name is its place.
pub const BELL: Token = Token(usize::MAX - 1);

/// What the rest of the daemon asks of the loop.
enum Order {
    /// New settings for new calls.
    Reload(Arc<Settings>, Sender<()>),
    /// No new calls; the loop ends when the last call has.
    Drain,
    /// End every call now; the loop ends.
    Stop,
    /// Something else, done between two turns.
    Ask(Asked),
}

/// Something that looks at the calls, or ends one.
type Asked = Box<dyn FnOnce(&mut Core, Duration) + Send>;

/// Sees everything the core puts out, before it is done.
pub type Observer = Box<dyn FnMut(Duration, &Output) + Send>;

/// What the loop is made of.
pub struct Parts {
    /// The calls.
    pub core: Core,
    /// What [`BELL`] belongs to.
    pub poll: Poll,
    /// The doorbell of that poll.
    pub bell: Bell,
    /// UDP sockets by listener.
    pub udp: Vec<Option<Udp>>,
    /// TCP listeners and streams.
    pub tcp: Tcp,
    /// Where the streams live.
    pub runtime: tokio::runtime::Handle,
    /// What names of targets lead to.
    pub found: Receiver<Found>,
    /// RTP.
    pub relay: Relay,
    /// Call detail records.
    pub cdrs: Cdrs,
    /// What customers are told.
    pub outbox: Outbox,
    /// Who has called A by an extension.
    pub callers: Callers,
    /// Time.
    pub clock: Clock,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Asks customers what is to become of texts.
    pub asker: Asker,
    /// Carries texts to and from trunks that have a short message service centre.
    pub smscs: Smscs,
    /// Who gets a copy of every message.
    pub hep: Option<hep::Exporter>,
    /// Who else looks.
    pub observer: Option<Observer>,
}

/// The running loop.
pub struct Signalling {
    line: Line,
    thread: JoinHandle<()>,
}

/// Reaches the running loop from other threads; cheap to clone.
#[derive(Clone)]
pub struct Line {
    orders: Sender<Order>,
    bell: Bell,
}

/// The loop has ended, or has more orders than it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone;

impl Line {
    fn order(&self, order: Order) {
        // The loop ends only after Drain or Stop: an order to a loop that is gone has nobody to reach.
        let _ = self.orders.send(order);
        self.bell.ring();
    }

    /// New settings for new calls; returns when the loop has taken them.
    pub fn reload(&self, settings: Arc<Settings>) {
        let (taken, answer) = bounded(1);
        self.order(Order::Reload(settings, taken));
        // A loop that has ended, or is ending, has no new calls to take them for.
        let _ = answer.recv_timeout(RELOAD_PATIENCE);
    }

    /// Lets `answer` tell the calls something, between two turns of the loop. `false`: the loop takes no more orders, and it is
    /// lost.
    pub(crate) fn tell(&self, answer: impl FnOnce(&mut Core, Duration) + Send + 'static) -> bool {
        let is_told = self.orders.try_send(Order::Ask(Box::new(answer))).is_ok();
        if is_told {
            self.bell.ring();
        }
        is_told
    }

    /// Lets `question` look at the calls, between two turns of the loop; it must be short.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Core, Duration) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (sender, answer) = oneshot::channel();
        let question = Box::new(move |core: &mut Core, now| {
            // Whoever asked may have gone.
            let _ = sender.send(question(core, now));
        });
        self.orders.try_send(Order::Ask(question)).map_err(|_| Gone)?;
        self.bell.ring();
        answer.await.map_err(|_| Gone)
    }
}

impl Signalling {
    /// Starts the thread.
    ///
    /// # Errors
    /// The sockets cannot be polled, or there is no thread.
    pub fn spawn(parts: Parts) -> io::Result<Signalling> {
        let (orders, inbox) = bounded(ORDERS);
        let line = Line { orders, bell: parts.bell.clone() };
        for (place, udp) in parts.udp.iter().enumerate() {
            if let Some(udp) = udp {
                udp.register(parts.poll.registry(), Token(place))?;
            }
        }
        let state = Loop {
            unread: vec![false; parts.udp.len()],
            parts,
            inbox,
            line: line.clone(),
            published: Duration::ZERO,
            draining: false,
            stop_at: None,
            rung: false,
            ring_at: None,
        };
        let thread = std::thread::Builder::new().name("signalling".into()).spawn(move || state.run())?;
        Ok(Signalling { line, thread })
    }

    /// Reaches this loop from other threads.
    #[must_use]
    pub fn line(&self) -> Line {
        self.line.clone()
    }

    /// No new calls; [`Signalling::wait`] returns when the last call has ended.
    pub fn drain(&self) {
        self.line.order(Order::Drain);
    }

    /// Ends every call now.
    pub fn stop(&self) {
        self.line.order(Order::Stop);
    }

    /// The loop has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end. `false`: it ended in a panic.
    #[must_use]
    pub fn wait(self) -> bool {
        self.thread.join().is_ok()
    }
}

struct Loop {
    parts: Parts,
    inbox: Receiver<Order>,
    /// Leads back here, for answers to what is asked.
    line: Line,
    /// Sockets that may hold more than their last turn allowed to read.
    unread: Vec<bool>,
    published: Duration,
    draining: bool,
    stop_at: Option<Duration>,
    /// Other threads have told something that has not been looked at yet.
    rung: bool,
    /// Relay workers are to be woken then at the latest.
    ring_at: Option<Duration>,
}

impl Loop {
    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        self.bind_ports(self.parts.clock.now());
        while !self.is_done() {
            let wait = self.wait(self.parts.clock.now());
            if let Err(error) = self.parts.poll.poll(&mut events, wait) {
                if error.kind() != io::ErrorKind::Interrupted {
                    tracing::error!(%error, "the signalling loop cannot wait for its sockets");
                }
                continue;
            }
            // A panic is our bug. It ends the call that it happened in, not the process with all the others.
            if catch_unwind(AssertUnwindSafe(|| self.turn(&events))).is_err() {
                tracing::error!("a panic in the signalling loop ended one call");
                self.parts.core.abandon_current();
                // What the bell announced may not have been looked at to the end.
                self.rung = true;
            }
        }
        self.publish(self.parts.clock.now());
        // Whoever still asks something learns that there is no answer.
        while self.inbox.try_recv().is_ok() {}
        // What is still queued on streams, a last BYE or 200, is to be written before they close.
        let Parts { tcp, runtime, .. } = self.parts;
        runtime.block_on(tcp.close(CLOSING));
    }

    fn turn(&mut self, events: &Events) {
        let now = self.parts.clock.now();
        for event in events {
            match event.token() {
                BELL => self.rung = true,
                Token(listener) => {
                    if event.is_readable() {
                        self.unread[listener] = true;
                    }
                }
            }
        }
        if std::mem::take(&mut self.rung) {
            self.on_bell(now);
        }
        for listener in 0..self.unread.len() {
            if self.unread[listener] {
                self.on_datagrams(now, listener);
            }
        }
        self.parts.core.handle_timeout(now);
        if self.parts.core.has_waiting() {
            let is_behind = self.rung || self.unread.contains(&true);
            let most = if is_behind { NEW_CALLS_BEHIND } else { NEW_CALLS };
            self.parts.core.handle_waiting(self.parts.clock.now(), most);
        }
        self.flush(now);
        self.bind_ports(now);
        if now.saturating_sub(self.published) >= PUBLISH {
            self.publish(now);
        }
    }

    fn is_done(&self) -> bool {
        match self.stop_at {
            Some(at) => self.parts.core.has_no_calls() || self.parts.clock.now() >= at,
            None => self.draining && self.parts.core.has_no_calls(),
        }
    }

    fn wait(&self, now: Duration) -> Option<Duration> {
        if self.rung || self.unread.contains(&true) || self.parts.core.has_waiting() {
            return Some(Duration::ZERO);
        }
        let is_stuck = self.parts.udp.iter().flatten().any(|udp| udp.queued() > 0);
        let again = is_stuck.then_some(now + RETRY);
        // Deadlines that lie close together share one wake-up; so does one with the datagrams that come before it.
        let core = self.parts.core.poll_timeout().map(|at| at.max(now) + GRAIN);
        let next =
            [core, again, self.stop_at, self.ring_at, Some(self.published + PUBLISH)].into_iter().flatten().min();
        next.map(|at| at.saturating_sub(now))
    }

    // ---- in ---------------------------------------------------------------------------------------------------

    fn on_datagrams(&mut self, now: Duration, listener: usize) {
        let Parts { udp, core, clock, hep, .. } = &mut self.parts;
        let Some(udp) = &mut udp[listener] else {
            self.unread[listener] = false;
            return;
        };
        let place = u16::try_from(listener).expect("the configuration allows few listeners");
        for _ in 0..BATCHES {
            let received = udp.recv_batch(clock, |peer, age, bytes| {
                let flow = Flow::to(Transport::Udp, place, peer);
                take_in(core, hep.as_mut(), clock, now, age, flow, bytes);
            });
            match received {
                Ok(Received::Some) => {}
                Ok(Received::All) => {
                    self.unread[listener] = false;
                    return;
                }
                Err(error) => {
                    // The next datagram tells again; spinning on an error that stays would serve nobody.
                    self.unread[listener] = false;
                    tracing::warn!(%error, "a SIP socket reports an error");
                    return;
                }
            }
        }
    }

    fn on_bell(&mut self, now: Duration) {
        self.parts.bell.answer();
        for _ in 0..TELLINGS {
            match self.parts.tcp.poll() {
                Some(Inbound::Message { flow, bytes }) => {
                    let Parts { core, clock, hep, .. } = &mut self.parts;
                    take_in(core, hep.as_mut(), clock, now, Duration::ZERO, flow, bytes);
                }
                Some(Inbound::Failure { flow }) => self.parts.core.handle_transport_failure(now, flow),
                None => break,
            }
        }
        for _ in 0..TELLINGS {
            let Some((session, event)) = self.parts.relay.poll_event() else { break };
            self.parts.core.handle_media_event(now, session, event);
        }
        self.rung = self.parts.tcp.has_more() || self.parts.relay.queued().1 > 0;
        for _ in 0..TELLINGS {
            let Ok(Found { trunk, routes }) = self.parts.found.try_recv() else { break };
            self.parts.core.set_routes(now, &trunk, routes);
        }
        self.rung |= !self.parts.found.is_empty();
        for _ in 0..TELLINGS {
            let Ok(order) = self.inbox.try_recv() else { break };
            match order {
                Order::Reload(settings, taken) => {
                    self.parts.tcp.set_peers(Arc::clone(settings.peers()));
                    self.parts.core.reload(now, settings);
                    // Whoever asked may have lost patience.
                    let _ = taken.try_send(());
                }
                Order::Ask(question) => question(&mut self.parts.core, now),
                Order::Drain => {
                    // Streams are still accepted: a peer that opens one for each request must be able to send its BYE.
                    self.draining = true;
                    self.parts.core.drain();
                }
                Order::Stop => {
                    self.parts.tcp.drain();
                    self.parts.core.drain();
                    self.parts.core.end_all(now);
                    self.stop_at.get_or_insert(now + LAST_WORDS);
                }
            }
        }
        self.rung |= !self.inbox.is_empty();
    }

    // ---- out --------------------------------------------------------------------------------------------------

    fn flush(&mut self, now: Duration) {
        self.put_all_out(now);
        self.ring_at = self.parts.relay.flush(now);
    }

    fn put_all_out(&mut self, now: Duration) {
        loop {
            while let Some(output) = self.parts.core.poll_output() {
                if let Some(observer) = &mut self.parts.observer {
                    observer(now, &output);
                }
                self.put_out(now, output);
            }
            let mut failed = Vec::new();
            for (place, udp) in self.parts.udp.iter_mut().enumerate() {
                let Some(udp) = udp else { continue };
                let listener = u16::try_from(place).expect("the configuration allows few listeners");
                udp.flush(|peer| failed.push(Flow::to(Transport::Udp, listener, peer)));
            }
            if failed.is_empty() {
                return;
            }
            failed.sort_by_key(|flow| flow.peer);
            failed.dedup();
            for flow in failed {
                self.parts.core.handle_transport_failure(now, flow);
            }
        }
    }

    fn put_out(&mut self, now: Duration, output: Output) {
        match output {
            Output::Transmit(transmit) => self.send(now, transmit),
            Output::OpenMedia { session, ports, seed } => self.parts.relay.open(session, ports, seed),
            Output::Media { session, command } => self.parts.relay.command(session, command),
            Output::Ending(cdr) => self.parts.cdrs.keep(&cdr),
            Output::Ended(cdr) => {
                self.parts.metrics.on_call_ended(&cdr);
                self.parts.cdrs.write(cdr);
            }
            Output::Reached { binding, a, caller } => {
                let at = self.parts.clock.unix_ms(now);
                self.parts.callers.note(binding, a, LastCaller { number: caller, at });
            }
            Output::Correlated { call_id, caller } => {
                if let Some(hep) = &mut self.parts.hep {
                    hep.correlate(call_id, caller);
                }
            }
            // Before the message that belongs to it: what has happened has been written down first.
            Output::Told(event) => self.parts.outbox.post_event(&event),
            Output::Text(event) => self.parts.outbox.post_sms(&texts::notice(&event, &self.parts.clock)),
            Output::AskText { key, text } => {
                let body = texts::question(&text, &self.parts.clock);
                let line = self.line.clone();
                self.parts.asker.ask(&text.app, body, move |answer| {
                    let verdict = answer.map_or(Verdict::Unanswered, |(status, body)| texts::verdict(status, &body));
                    // A text that hears nothing is treated as its app says.
                    let _ = line.tell(move |core, now| core.handle_text_verdict(now, key, verdict));
                });
            }
            Output::SendText { key, trunk, from, to, content, until } => {
                if let Err(outcome) = self.parts.smscs.send(&trunk, Outgoing { key, from, to, content, until }) {
                    self.parts.core.handle_text_result(now, key, TextResult::Failed(outcome));
                }
            }
            Output::AnswerText { reply, outcome } => self.parts.smscs.answer(reply, outcome),
            Output::Log(line) => log(&line),
        }
    }

    fn send(&mut self, now: Duration, transmit: Transmit) {
        let flow = transmit.flow;
        let Parts { hep, core, clock, .. } = &mut self.parts;
        // Our refusals of strangers are as many as their requests.
        if let Some(hep) = hep.as_mut().filter(|_| core.is_peer(now, flow.peer.ip())) {
            hep.sent(clock.unix(now), &flow, &transmit.bytes);
        }
        match flow.transport {
            Transport::Udp => {
                if let Some(Some(udp)) = self.parts.udp.get_mut(usize::from(flow.listener)) {
                    udp.send(flow.peer, transmit.bytes);
                }
            }
            Transport::Tcp | Transport::Tls => {
                if self.parts.tcp.send(transmit).is_err() {
                    self.parts.core.handle_transport_failure(now, flow);
                }
            }
        }
    }

    /// Keeps a reserve of bound RTP ports, so that no call waits for a `bind`.
    fn bind_ports(&mut self, now: Duration) {
        let wanted = self.parts.core.ports_wanted(now);
        if wanted > 0 {
            let Parts { relay, core, .. } = &mut self.parts;
            relay.bind_ports(wanted, |port| core.add_port(port));
        }
    }

    fn publish(&mut self, now: Duration) {
        self.published = now;
        self.parts.callers.hand_over();
        let Parts { core, udp, tcp, relay, cdrs, metrics, .. } = &self.parts;
        let gauges = core.gauges();
        metrics.set_core(core.counters(), &gauges);
        metrics.set_routes(core.route_counters(), &gauges.routes);
        metrics.set_queues(
            udp.iter().flatten().map(Udp::queued).sum(),
            tcp.connections(),
            relay.queued(),
            cdrs.depth(),
        );
        metrics.set_bound_ports(relay.bound());
        let datagrams: Vec<UdpCounters> = udp.iter().flatten().map(Udp::counters).collect();
        metrics.set_transports(&datagrams, tcp.counters());
    }
}

/// Copies what has come, and hands it over. What strangers send is not copied: nobody reads it, and it would be a flood elsewhere
/// too.
fn take_in(
    core: &mut Core,
    hep: Option<&mut hep::Exporter>,
    clock: &Clock,
    now: Duration,
    age: Duration,
    flow: Flow,
    bytes: Bytes,
) {
    if let Some(hep) = hep.filter(|_| core.is_peer(now, flow.peer.ip())) {
        hep.received(clock.unix(now), &flow, &bytes);
    }
    core.take_in(now, age, flow, bytes);
}

/// One structured line an event, one a call at level `info`; numbers print masked.
fn log(line: &LogLine) {
    match line {
        LogLine::Dialling { session_id, caller, x, trunk_in, trunk_out } => {
            tracing::debug!(%session_id, %caller, %x, %trunk_in, %trunk_out, "dialling");
        }
        LogLine::Typed { session_id, digits } => tracing::debug!(%session_id, digits, "typed"),
        LogLine::Alerting { session_id } => tracing::debug!(%session_id, "alerting"),
        LogLine::Answered { session_id } => tracing::debug!(%session_id, "answered"),
        LogLine::Joined { session_id } => tracing::debug!(%session_id, "joined"),
        LogLine::Ended { session_id, caller, x, cause, released_by, talked } => {
            let by = match released_by {
                Some(Side::A) => "caller",
                Some(Side::B) => "callee",
                None => "platform",
            };
            let talked_ms = talked.map_or(0, |talked| talked.as_millis());
            let row = cause.row();
            let (caller, x) = (caller.map(tracing::field::display), x.map(tracing::field::display));
            tracing::info!(%session_id, caller, x, cause = row.label, state_code = row.state_code, by, talked_ms, "ended");
        }
        LogLine::Text { id, calling, x, outcome, parts } => {
            let calling = calling.map(tracing::field::display);
            tracing::info!(text_id = %id, calling, %x, outcome = outcome.row().label, parts, "text");
        }
        LogLine::Route(Change { trunk, host, transport, address, state }) => {
            let transport = transport.as_str();
            match state {
                RouteState::Up => tracing::info!(%trunk, %host, transport, %address, "a route takes calls again"),
                RouteState::Busy => {
                    tracing::warn!(%trunk, %host, transport, %address, "a route asks for no calls for a while")
                }
                RouteState::Down => tracing::warn!(%trunk, %host, transport, %address, "a route does not answer"),
            }
        }
        LogLine::Stranger { address } => {
            tracing::warn!(%address, "request from an address of no trunk: add it to a trunk's `sources` if it is a carrier's");
        }
        LogLine::OverloadBegan => {
            tracing::warn!("overload: more new calls come than can be served, some are refused (503) from now on");
        }
        LogLine::OverloadEnded { lasted, refused } => {
            let lasted_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(lasted_ms, refused, "overload: over, new calls are served again");
        }
    }
}
