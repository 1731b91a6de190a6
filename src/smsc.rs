//! Short message service centres: what connects trunks that have `smpp` with the calls' thread (product rule S).
//!
//! ```text
//!   signalling ── SendText, AnswerText ─▶ one task a trunk: smpp::Link ⇄ TCP or TLS ⇄ SMSC
//!       ▲                                      │
//!       └──────── take_in_text, result ────────┘
//! ```
//!
//! The link decides everything; a task only carries. Nobody waits for it: what it cannot take is refused at once.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use b2bua::text::{Outcome, TextIn, TextKey, TextResult};
use bytes::BytesMut;
use numbering::{Number, ReadRule, WriteRule};
use rustls::pki_types::ServerName;
use sip::locate::Host;
use smpp::{Answer, Event, Failure, Link, Loss, Output, Reply, Submit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use crate::clock::Clock;
use crate::config::Dns;
use crate::signalling::Line;
use crate::transport::resolve;
use crate::transport::tls::Rule;

/// Orders that may wait for one task.
const ORDERS: usize = 1_024;
/// For how long a text is of use to the core once it has been handed over: less than the sender's patience of 24 s.
const LIFE: Duration = Duration::from_secs(20);
/// How long a connection may take, with its look-up and its handshake.
const CONNECT: Duration = Duration::from_secs(8);
/// Octets that may wait to be written; a peer that reads none of them is soon found not to answer either.
const MAX_QUEUED: usize = 1 << 20;
/// With more than that nothing is read: each request would be answered.
const MUCH_QUEUED: usize = 1 << 16;
/// Octets read at a time.
const READ: usize = 16 * 1024;
/// The longest that the ends of all sessions may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The longest that a session waits for the one before it, of the same trunk, to end.
const HANDOVER: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// `[trunk.smpp]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The trunk's name.
    pub trunk: Arc<str>,
    /// Where the SMSC is.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// By which rule it is verified; `None`: without TLS.
    pub tls: Option<Rule>,
    /// Who we are to it, and how it wants texts.
    pub link: smpp::Config,
    /// How it spells numbers.
    pub read: ReadRule,
    /// How it wants them spelt.
    pub write: WriteRule,
}

/// What has happened, of all SMSCs.
#[derive(Debug, Default)]
pub struct Counters {
    sent: [AtomicU64; Counters::SENT.len()],
    received: [AtomicU64; Counters::RECEIVED.len()],
    lost: AtomicU64,
    bound: Mutex<BTreeMap<Arc<str>, bool>>,
}

impl Counters {
    /// What became of short messages to an SMSC.
    pub const SENT: [&str; 4] = ["taken", "refused", "throttled", "unanswered"];
    /// What short messages from an SMSC were; `all` has each of them.
    pub const RECEIVED: [&str; 6] = ["all", "receipt", "repeated", "unreadable", "turned_away", "orphaned"];

    /// By [`Counters::SENT`].
    #[must_use]
    pub fn sent(&self) -> [u64; Counters::SENT.len()] {
        std::array::from_fn(|place| self.sent[place].load(Relaxed))
    }

    /// By [`Counters::RECEIVED`].
    #[must_use]
    pub fn received(&self) -> [u64; Counters::RECEIVED.len()] {
        std::array::from_fn(|place| self.received[place].load(Relaxed))
    }

    /// Sessions that were lost, or did not come about.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Each trunk that has an SMSC, and whether texts flow.
    #[must_use]
    pub fn bound(&self) -> BTreeMap<Arc<str>, bool> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_bound(&self, trunk: &Arc<str>, bound: Option<bool>) {
        let mut known = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        match bound {
            Some(bound) => known.insert(Arc::clone(trunk), bound),
            None => known.remove(trunk),
        };
    }

    fn add(&self, before: &smpp::Counters, now: &smpp::Counters) {
        let smpp::Counters {
            submitted,
            refused,
            throttled,
            unanswered,
            delivered,
            receipts,
            repeated,
            unreadable,
            turned_away,
            orphaned,
            lost,
        } = *now;
        let sent = [
            submitted - before.submitted,
            refused - before.refused,
            throttled - before.throttled,
            unanswered - before.unanswered,
        ];
        let received = [
            delivered - before.delivered,
            receipts - before.receipts,
            repeated - before.repeated,
            unreadable - before.unreadable,
            turned_away - before.turned_away,
            orphaned - before.orphaned,
        ];
        self.sent.iter().zip(sent).for_each(|(counter, more)| _ = counter.fetch_add(more, Relaxed));
        self.received.iter().zip(received).for_each(|(counter, more)| _ = counter.fetch_add(more, Relaxed));
        self.lost.fetch_add(lost - before.lost, Relaxed);
    }
}

/// What the calls' thread wants of a trunk's task.
enum Order {
    Send { key: TextKey, from: Number, to: Number, content: Arc<str> },
    Answer { reply: u64, outcome: Outcome },
}

/// Reaches the tasks; cheap to clone.
#[derive(Clone, Default)]
pub struct Smscs {
    tasks: Arc<ArcSwap<HashMap<Arc<str>, mpsc::Sender<Order>>>>,
    counters: Arc<Counters>,
}

impl Smscs {
    /// What has happened.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Sends a text; what comes of it is told to the core.
    ///
    /// # Errors
    /// What has come of it already.
    pub(crate) fn send(
        &self,
        trunk: &str,
        key: TextKey,
        from: Number,
        to: Number,
        content: Arc<str>,
    ) -> Result<(), Outcome> {
        let tasks = self.tasks.load();
        let task = tasks.get(trunk).ok_or(Outcome::NoRoute)?;
        task.try_send(Order::Send { key, from, to, content }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Outcome::Full,
            mpsc::error::TrySendError::Closed(_) => Outcome::NoRoute,
        })
    }

    /// Says what became of a text that came. Where the task takes no more orders it is lost: the link forgets the text in a
    /// while, and the SMSC says it again.
    pub(crate) fn answer(&self, trunk: &str, reply: u64, outcome: Outcome) {
        if let Some(task) = self.tasks.load().get(trunk) {
            let _ = task.try_send(Order::Answer { reply, outcome });
        }
    }
}

/// Begins and ends the tasks.
pub(crate) struct Keeper {
    smscs: Smscs,
    runtime: Handle,
    line: Line,
    clock: Clock,
    running: HashMap<Arc<str>, Running>,
    /// Sessions that there have been: a reply of one is not for another.
    sessions: u64,
}

struct Running {
    settings: Settings,
    dns: Dns,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(crate) fn new(smscs: Smscs, runtime: Handle, line: Line, clock: Clock) -> Keeper {
        Keeper { smscs, runtime, line, clock, running: HashMap::new(), sessions: 0 }
    }

    /// Takes a configuration: a trunk whose SMSC is the same keeps its session.
    pub(crate) fn serve(&mut self, wanted: &[Settings], dns: &Dns) {
        let mut lines = HashMap::new();
        let mut running = HashMap::new();
        for settings in wanted {
            let name = Arc::clone(&settings.trunk);
            let old = self.running.remove(&name);
            let line = self.smscs.tasks.load().get(&name).cloned();
            let (line, task) = match (old, line) {
                (Some(old), Some(line)) if old.settings == *settings && old.dns == *dns => (line, old.task),
                (old, _) => self.begin(settings.clone(), dns.clone(), old.map(|old| old.task)),
            };
            lines.insert(Arc::clone(&name), line);
            running.insert(name, Running { settings: settings.clone(), dns: dns.clone(), task });
        }
        // A task whose sender is dropped says good-bye and ends.
        self.smscs.tasks.store(Arc::new(lines));
        self.running = running;
    }

    fn begin(
        &mut self,
        settings: Settings,
        dns: Dns,
        before: Option<JoinHandle<()>>,
    ) -> (mpsc::Sender<Order>, JoinHandle<()>) {
        let (sender, orders) = mpsc::channel(ORDERS);
        self.sessions += 1;
        let task = Task {
            session: self.sessions,
            link: Link::new(settings.link.clone()),
            settings,
            dns,
            line: self.line.clone(),
            clock: self.clock,
            counters: Arc::clone(&self.smscs.counters),
            seen: smpp::Counters::default(),
            out: BytesMut::new(),
            is_unflushed: false,
            connection: Connection::None,
        };
        let task = self.runtime.spawn(async move {
            if let Some(before) = before {
                // Two sessions of one account may be one too many.
                let _ = timeout(HANDOVER, before).await;
            }
            task.run(orders).await;
        });
        (sender, task)
    }

    /// Ends every session, and waits for it a little.
    pub(crate) fn finish(self) {
        self.smscs.tasks.store(Arc::default());
        let Keeper { runtime, running, .. } = self;
        runtime.block_on(async {
            let all = async {
                for (_, one) in running {
                    let _ = one.task.await;
                }
            };
            let _ = timeout(LAST_WORDS, all).await;
        });
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Opening = std::pin::Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

enum Connection {
    None,
    Opening(Opening),
    Open(Box<dyn Stream>),
    /// To be closed when what is queued has been written, or cannot be.
    Closing(Box<dyn Stream>),
}

/// One trunk's.
struct Task {
    session: u64,
    settings: Settings,
    dns: Dns,
    link: Link<TextKey>,
    line: Line,
    clock: Clock,
    counters: Arc<Counters>,
    /// What has been added to the counters.
    seen: smpp::Counters,
    out: BytesMut,
    /// TLS keeps what it has taken until it is told to let it go.
    is_unflushed: bool,
    connection: Connection,
}

/// What a task is woken for.
enum Wake {
    Order(Option<Order>),
    Opened(io::Result<Box<dyn Stream>>),
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    Flushed(io::Result<()>),
    Time,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        self.counters.set_bound(&self.settings.trunk, Some(false));
        let mut buffer = vec![0; READ];
        let mut is_wanted = true;
        self.link.handle_timeout(self.clock.now());
        loop {
            self.put_out();
            if self.link.has_ended() && matches!(self.connection, Connection::None) {
                break;
            }
            let due = self.link.poll_timeout();
            let wake = tokio::select! {
                order = orders.recv(), if is_wanted => Wake::Order(order),
                wake = turn(&mut self.connection, &self.out, self.is_unflushed, &mut buffer) => wake,
                () = until(&self.clock, due) => Wake::Time,
            };
            let now = self.clock.now();
            match wake {
                Wake::Order(Some(order)) => self.on_order(now, order),
                Wake::Order(None) => {
                    is_wanted = false;
                    self.link.unbind(now);
                }
                Wake::Opened(Ok(stream)) => {
                    self.connection = Connection::Open(stream);
                    self.link.handle_connected(now);
                }
                Wake::Read(Ok(length)) if length > 0 => self.link.handle_bytes(now, &buffer[..length]),
                Wake::Written(Ok(length)) if length > 0 => {
                    _ = self.out.split_to(length);
                    self.is_unflushed = true;
                }
                Wake::Flushed(Ok(())) if matches!(self.connection, Connection::Open(_)) => self.is_unflushed = false,
                Wake::Opened(Err(_)) | Wake::Read(_) | Wake::Written(_) | Wake::Flushed(_) => {
                    self.drop_connection();
                    self.link.handle_closed(now);
                }
                Wake::Time => {}
            }
            // A deadline and an event may come together.
            self.link.handle_timeout(self.clock.now());
        }
        self.counters.set_bound(&self.settings.trunk, None);
    }

    fn drop_connection(&mut self) {
        self.connection = Connection::None;
        self.out.clear();
        self.is_unflushed = false;
    }

    fn on_order(&mut self, now: Duration, order: Order) {
        match order {
            Order::Send { key, from, to, content } => {
                let (source, destination) = (self.spell(from), self.spell(to));
                self.link.submit(now, &Submit { key, source, destination, content, until: now + LIFE });
            }
            Order::Answer { reply, outcome } => {
                if reply >> REPLY_BITS == self.session {
                    self.link.answer(now, Reply::from_u64(reply & REPLY_MASK), answer_of(outcome));
                }
            }
        }
    }

    /// As the trunk wants it, for the wire.
    fn spell(&self, number: Number) -> String {
        let mut out = Vec::new();
        self.settings.write.write(number, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn put_out(&mut self) {
        while let Some(output) = self.link.poll_output() {
            match output {
                Output::Connect => {
                    self.out.clear();
                    let open = open(self.settings.clone(), self.dns.clone());
                    self.connection = Connection::Opening(Box::pin(open));
                }
                Output::Transmit(bytes) => {
                    if self.out.len() + bytes.len() <= MAX_QUEUED {
                        self.out.extend_from_slice(&bytes);
                    } else {
                        self.drop_connection();
                        self.link.handle_closed(self.clock.now());
                    }
                }
                Output::Close => {
                    self.connection = match std::mem::replace(&mut self.connection, Connection::None) {
                        Connection::Open(stream) if !self.out.is_empty() => Connection::Closing(stream),
                        _ => Connection::None,
                    };
                }
                Output::Text(incoming) => self.take_in(incoming),
                Output::Submitted(key, result) => {
                    let result = match result {
                        Ok(parts) => TextResult::Accepted { parts },
                        Err(failure) => TextResult::Failed(outcome_of(failure)),
                    };
                    self.line.tell(move |core, now| core.handle_text_result(now, key, result));
                }
                Output::Event(event) => self.on_event(event),
            }
        }
        let counters = self.link.counters();
        self.counters.add(&self.seen, &counters);
        self.seen = counters;
    }

    fn take_in(&mut self, incoming: smpp::Incoming) {
        let number = |spelling: Option<String>| self.settings.read.read(spelling?.as_bytes()).ok();
        let text = TextIn {
            sender: number(incoming.source),
            x: number(incoming.destination),
            content: incoming.content.into(),
            reply: self.session << REPLY_BITS | incoming.reply.as_u64() & REPLY_MASK,
        };
        let trunk = Arc::clone(&self.settings.trunk);
        if !self.line.tell(move |core, now| core.take_in_text(now, &trunk, text)) {
            self.link.answer(self.clock.now(), incoming.reply, Answer::Later);
        }
    }

    fn on_event(&self, event: Event) {
        let trunk = &self.settings.trunk;
        self.counters.set_bound(trunk, Some(event == Event::Bound));
        match event {
            Event::Bound => tracing::info!(%trunk, "the SMSC takes texts"),
            Event::Lost(Loss::Closed) => tracing::warn!(%trunk, "no connection with the SMSC; it is tried again"),
            Event::Lost(Loss::Silent) => tracing::warn!(%trunk, "the SMSC does not respond; it is tried again"),
            Event::Lost(Loss::Unbound) => tracing::warn!(%trunk, "the SMSC has ended the session; it is tried again"),
            Event::Lost(Loss::Garbage) => tracing::warn!(%trunk, "what the SMSC says is no SMPP; it is tried again"),
            Event::Lost(Loss::Refused(status)) => {
                let status = format_args!("{status:#010x}");
                tracing::warn!(%trunk, %status, "the SMSC refuses us: check smpp.system_id, smpp.password, smpp.system_type");
            }
        }
    }
}

/// Where the number of a text ends and that of the session begins, in what names a text to the core.
const REPLY_BITS: u32 = 40;
const REPLY_MASK: u64 = (1 << REPLY_BITS) - 1;

/// The next thing that a connection does. What is cancelled has not been done: writing and letting go are two things.
async fn turn(connection: &mut Connection, out: &BytesMut, is_unflushed: bool, buffer: &mut [u8]) -> Wake {
    let (stream, is_open) = match connection {
        Connection::None => return pending().await,
        Connection::Opening(opening) => return Wake::Opened(opening.await),
        Connection::Open(stream) => (stream, true),
        Connection::Closing(stream) => (stream, false),
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        if out.is_empty() { Wake::Flushed(writer.flush().await) } else { Wake::Written(writer.write(out).await) }
    };
    tokio::select! {
        read = reader.read(buffer), if is_open && out.len() < MUCH_QUEUED => Wake::Read(read),
        wake = writing, if !out.is_empty() || is_unflushed || !is_open => wake,
        () = sleep(LAST_WORDS), if !is_open => Wake::Written(Ok(0)),
    }
}

async fn until(clock: &Clock, due: Option<Duration>) {
    match due {
        Some(due) => sleep_until(clock.instant(due).into()).await,
        None => pending().await,
    }
}

async fn open(settings: Settings, dns: Dns) -> io::Result<Box<dyn Stream>> {
    let opening = async {
        let socket = connect(&settings, &dns).await?;
        socket.set_nodelay(true)?;
        let Some(rule) = &settings.tls else { return Ok(Box::new(socket) as Box<dyn Stream>) };
        let name = match (&rule.server_name, &settings.host) {
            (Some(name), _) => name.clone(),
            (None, Host::Address(ip)) => ServerName::IpAddress((*ip).into()),
            (None, Host::Name(name)) => ServerName::try_from(name.to_string()).map_err(io::Error::other)?,
        };
        let stream = TlsConnector::from(rule.client.config()).connect(name, socket).await;
        if let Err(error) = &stream {
            let trunk = &settings.trunk;
            tracing::warn!(%trunk, %error, "TLS with the SMSC fails: check tls.ca and tls.server_name of the trunk");
        }
        Ok(Box::new(stream?) as Box<dyn Stream>)
    };
    timeout(CONNECT, opening).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// To the first address that takes it. Each has its share of the time.
async fn connect(settings: &Settings, dns: &Dns) -> io::Result<TcpStream> {
    let addresses: Vec<IpAddr> = match &settings.host {
        Host::Address(ip) => vec![*ip],
        Host::Name(name) => {
            let resolver = resolve::of_receivers(dns, 1, Duration::ZERO).map_err(io::Error::other)?;
            // The dot keeps search domains away.
            let found = resolver.lookup_ip(format!("{name}.")).await.map_err(io::Error::other)?;
            found.iter().take(ADDRESSES).collect()
        }
    };
    let share = CONNECT / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for ip in addresses {
        match timeout(share, TcpStream::connect(SocketAddr::new(ip, settings.port))).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

/// What an SMSC is told of a text that it brought. It is asked to try again only where that can do good and no harm: not where
/// the receiver may have it.
const fn answer_of(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Delivered | Outcome::Accepted | Outcome::Discarded => Answer::Taken,
        Outcome::Unreachable | Outcome::FarFailure | Outcome::NoRoute | Outcome::Full | Outcome::Draining => {
            Answer::Later
        }
        Outcome::UnknownX | Outcome::UnreadableNumber | Outcome::NoSuchNumber => Answer::NoSuchNumber,
        Outcome::TooLong => Answer::TooLong,
        Outcome::NoResponse | Outcome::NotTaken | Outcome::Refused => Answer::Failed,
        Outcome::NumberUnusable
        | Outcome::NotBound
        | Outcome::SwitchedOff
        | Outcome::FixedLine
        | Outcome::WrongDirection
        | Outcome::Off
        | Outcome::Extensions
        | Outcome::NoReceiver
        | Outcome::Loop
        | Outcome::ContentType
        | Outcome::Unreadable => Answer::Rejected,
    }
}

/// What it means that an SMSC did not take a text (SMPP 3.4 §5.1.3).
const fn outcome_of(failure: Failure) -> Outcome {
    match failure {
        Failure::Unbound => Outcome::NoRoute,
        Failure::Full => Outcome::Full,
        Failure::Unwritable => Outcome::NotTaken,
        Failure::Silent | Failure::Late => Outcome::NoResponse,
        Failure::Throttled => Outcome::FarFailure,
        Failure::Refused(status) => match status {
            // ESME_RINVDSTADR, ESME_RINVDSTTON, ESME_RINVDSTNPI
            0x0b | 0x50 | 0x51 => Outcome::NoSuchNumber,
            // ESME_RINVMSGLEN, ESME_RINVESMCLASS, ESME_RINVDCS (of version 5.0, but said)
            0x01 | 0x43 | 0x104 => Outcome::NotTaken,
            // ESME_RSYSERR, ESME_RX_T_APPN, ESME_RUNKNOWNERR
            0x08 | 0x64 | 0xff => Outcome::FarFailure,
            // ESME_RDELIVERYFAILURE
            0xfe => Outcome::Unreachable,
            _ => Outcome::Refused,
        },
    }
}
