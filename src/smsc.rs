//! Short message service centres: what connects trunks that have `smpp` with the calls' thread (product rule S).
//!
//! ```text
//!   signalling ── SendText, AnswerText ─▶ one task a trunk: smpp::Link ⇄ TCP or TLS ⇄ SMSC
//!       ▲                                      │
//!       └──────── take_in_text, result ────────┘
//! ```
//!
//! The link decides everything; a task only carries. Nobody waits for it: what it cannot take is refused at once. A task whose trunk is
//! gone, or has another SMSC, ends in its own time, and hears until then what became of the texts that it brought.

use std::collections::{BTreeMap, HashMap, VecDeque};
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
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use crate::clock::Clock;
use crate::config::Dns;
use crate::signalling::Line;
use crate::transport::resolve;
use crate::transport::tls::Rule;

/// Orders that may wait for one task.
const ORDERS: usize = 1_024;
/// Answers that may wait for one task: as many as the texts that a link lets wait for one.
const ANSWERS: usize = 250;
/// When the calls' thread is told again what it had no room for.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a connection may take, with its look-up and its handshake.
const CONNECT: Duration = Duration::from_secs(8);
/// Octets that may wait to be written; a peer that reads none of them is soon found not to answer either.
const MAX_QUEUED: usize = 8 << 20;
/// With more than that nothing is read: each request would be answered.
const MUCH_QUEUED: usize = 1 << 16;
/// Octets read at a time.
const READ: usize = 16 * 1024;
/// The longest that the ends of all sessions may take: their answers are there by then, or will not come.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long what has been said may take to leave.
const LINGER: Duration = Duration::from_secs(1);
/// The longest that a session waits for those before it, of the same account, to end. Then both are there.
const HANDOVER: Duration = Duration::from_secs(20);
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
    /// Whose session it is that says so.
    bound: Mutex<BTreeMap<Arc<str>, (u64, bool)>>,
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
    pub fn bound(&self) -> Vec<(Arc<str>, bool)> {
        let known = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(trunk, (_, bound))| (Arc::clone(trunk), *bound)).collect()
    }

    /// What a session says of its trunk; an older one than the last has nothing to say.
    fn set_bound(&self, trunk: &Arc<str>, session: u64, bound: Option<bool>) {
        let mut known = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(trunk).is_some_and(|(last, _)| *last > session) {
            return;
        }
        match bound {
            Some(bound) => _ = known.insert(Arc::clone(trunk), (session, bound)),
            None => _ = known.remove(trunk),
        }
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

/// A text that is to be sent.
pub(crate) struct Outgoing {
    /// Which.
    pub(crate) key: TextKey,
    /// Who is shown.
    pub(crate) from: Number,
    /// Who gets it.
    pub(crate) to: Number,
    /// The words.
    pub(crate) content: Arc<str>,
    /// What has not left by then is not to leave.
    pub(crate) until: Duration,
}

/// What became of a text that a task brought.
type Heard = (Reply, Outcome);

/// Reaches the tasks; cheap to clone.
#[derive(Clone, Default)]
pub struct Smscs {
    lines: Arc<ArcSwap<Lines>>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Lines {
    /// By the trunk's name.
    sends: HashMap<Arc<str>, mpsc::Sender<Outgoing>>,
    /// By the session: those that are ending too.
    answers: HashMap<u64, mpsc::Sender<Heard>>,
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
    pub(crate) fn send(&self, trunk: &str, text: Outgoing) -> Result<(), Outcome> {
        let lines = self.lines.load();
        let line = lines.sends.get(trunk).ok_or(Outcome::NoRoute)?;
        line.try_send(text).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Outcome::Full,
            mpsc::error::TrySendError::Closed(_) => Outcome::NoRoute,
        })
    }

    /// Says what became of a text that came. There is room for the answers to all that may wait; a session that is gone says
    /// nothing to anybody.
    pub(crate) fn answer(&self, reply: u64, outcome: Outcome) {
        if let Some(line) = self.lines.load().answers.get(&(reply >> REPLY_BITS)) {
            let _ = line.try_send((Reply::from_u64(reply & REPLY_MASK), outcome));
        }
    }
}

/// Begins and ends the tasks.
pub(crate) struct Keeper {
    smscs: Smscs,
    runtime: Handle,
    line: Line,
    clock: Clock,
    /// And how texts are given to them.
    running: Vec<(Session, mpsc::Sender<Outgoing>)>,
    /// Those that have been told to end.
    ending: Vec<Session>,
    /// Sessions that there have been: a reply of one is not for another.
    sessions: u64,
}

struct Session {
    number: u64,
    settings: Settings,
    dns: Dns,
    answers: mpsc::Sender<Heard>,
    /// Its other end is gone when the task is.
    ended: watch::Receiver<()>,
}

impl Session {
    /// It is what is wanted, and lives.
    fn serves(&self, settings: &Settings, dns: &Dns) -> bool {
        let is_found_alike = self.dns == *dns || matches!(settings.host, Host::Address(_));
        self.settings == *settings && is_found_alike && !self.has_ended()
    }

    fn has_ended(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    /// Two of the same account may be one too many for its SMSC.
    fn is_of_account(&self, settings: &Settings) -> bool {
        let account = |settings: &Settings| (settings.host.clone(), settings.port, settings.link.system_id.clone());
        account(&self.settings) == account(settings)
    }
}

impl Keeper {
    pub(crate) fn new(smscs: Smscs, runtime: Handle, line: Line, clock: Clock) -> Keeper {
        Keeper { smscs, runtime, line, clock, running: Vec::new(), ending: Vec::new(), sessions: 0 }
    }

    /// Takes a configuration: a trunk whose SMSC is the same keeps its session.
    pub(crate) fn serve(&mut self, wanted: &[Settings], dns: &Dns) {
        let before = std::mem::take(&mut self.running);
        let (kept, ending): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|(old, _)| wanted.iter().any(|settings| old.serves(settings, dns)));
        // A task to which nothing can be sent any more says good-bye.
        self.ending.extend(ending.into_iter().map(|(old, _)| old));
        self.ending.retain(|old| !old.has_ended());
        self.running = kept;
        for settings in wanted {
            if !self.running.iter().any(|(old, _)| old.settings == *settings) {
                let begun = self.begin(settings.clone(), dns);
                self.running.push(begun);
            }
        }
        let all = self.running.iter().map(|(one, _)| one).chain(&self.ending);
        self.smscs.lines.store(Arc::new(Lines {
            sends: self.running.iter().map(|(one, sends)| (Arc::clone(&one.settings.trunk), sends.clone())).collect(),
            answers: all.map(|one| (one.number, one.answers.clone())).collect(),
        }));
    }

    fn begin(&mut self, settings: Settings, dns: &Dns) -> (Session, mpsc::Sender<Outgoing>) {
        let ((sends, texts), (answers, heard)) = (mpsc::channel(ORDERS), mpsc::channel(ANSWERS));
        let (alive, ended) = watch::channel(());
        self.sessions += 1;
        let number = self.sessions;
        // Not what the last process began with.
        let reference = u16::try_from(self.clock.unix(Duration::ZERO).as_secs() & 0xffff).unwrap_or_default();
        let task = Task {
            session: number,
            link: Link::new(settings.link.clone(), reference),
            settings: settings.clone(),
            dns: dns.clone(),
            line: self.line.clone(),
            clock: self.clock,
            counters: Arc::clone(&self.smscs.counters),
            seen: smpp::Counters::default(),
            untold: VecDeque::new(),
            out: BytesMut::new(),
            is_unflushed: false,
            connection: Connection::None,
        };
        let before: Vec<_> =
            self.ending.iter().filter(|old| old.is_of_account(&settings)).map(|old| old.ended.clone()).collect();
        self.runtime.spawn(async move {
            let all = async {
                for mut one in before {
                    let _ = one.changed().await;
                }
            };
            let _ = timeout(HANDOVER, all).await;
            task.run(texts, heard).await;
            drop(alive);
        });
        (Session { number, settings, dns: dns.clone(), answers, ended }, sends)
    }

    /// Ends every session, and waits for it a little.
    pub(crate) fn finish(mut self) {
        self.serve(&[], &Dns { servers: Vec::new(), timeout: Duration::ZERO });
        let Keeper { smscs, runtime, ending, .. } = self;
        runtime.block_on(async {
            let all = async {
                for mut one in ending {
                    let _ = one.ended.changed().await;
                }
            };
            let _ = timeout(LAST_WORDS, all).await;
        });
        smscs.lines.store(Arc::default());
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
    /// What the calls' thread had no room for.
    untold: VecDeque<(TextKey, TextResult)>,
    out: BytesMut,
    /// TLS keeps what it has taken until it is told to let it go.
    is_unflushed: bool,
    connection: Connection,
}

/// What a task is woken for.
enum Wake {
    Send(Option<Outgoing>),
    Answer(Heard),
    Opened(io::Result<Box<dyn Stream>>),
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    Flushed(io::Result<()>),
    Time,
}

impl Task {
    async fn run(mut self, mut texts: mpsc::Receiver<Outgoing>, mut heard: mpsc::Receiver<Heard>) {
        self.counters.set_bound(&self.settings.trunk, self.session, Some(false));
        let mut buffer = vec![0; READ];
        let mut is_wanted = true;
        self.link.handle_timeout(self.clock.now());
        loop {
            self.put_out();
            if self.link.has_ended() && matches!(self.connection, Connection::None) && self.untold.is_empty() {
                break;
            }
            let again = (!self.untold.is_empty()).then(|| self.clock.now() + AGAIN);
            let due = self.link.poll_timeout().into_iter().chain(again).min();
            let wake = tokio::select! {
                text = texts.recv(), if is_wanted => Wake::Send(text),
                Some(answer) = heard.recv() => Wake::Answer(answer),
                wake = turn(&mut self.connection, &self.out, self.is_unflushed, &mut buffer) => wake,
                () = until(&self.clock, due) => Wake::Time,
            };
            let now = self.clock.now();
            match wake {
                Wake::Send(Some(text)) => self.submit(now, text),
                Wake::Send(None) => {
                    is_wanted = false;
                    self.link.unbind(now);
                }
                Wake::Answer((reply, outcome)) => self.link.answer(now, reply, answer_of(outcome)),
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
        self.counters.set_bound(&self.settings.trunk, self.session, None);
    }

    fn drop_connection(&mut self) {
        self.connection = Connection::None;
        self.out.clear();
        self.is_unflushed = false;
    }

    fn submit(&mut self, now: Duration, text: Outgoing) {
        let Outgoing { key, from, to, content, until } = text;
        let (source, destination) = (self.spell(from), self.spell(to));
        self.link.submit(now, &Submit { key, source, destination, content, until });
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
                    self.untold.push_back((key, result));
                }
                Output::Event(event) => self.on_event(event),
            }
        }
        while let Some((key, result)) = self.untold.front().copied() {
            if !self.line.tell(move |core, now| core.handle_text_result(now, key, result)) {
                break;
            }
            self.untold.pop_front();
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
        self.counters.set_bound(trunk, self.session, Some(event == Event::Bound));
        match event {
            Event::Bound => tracing::info!(%trunk, "the SMSC takes texts"),
            Event::Lost(Loss::Closed) => tracing::warn!(%trunk, "no connection with the SMSC; it is tried again"),
            Event::Lost(Loss::Silent) => tracing::warn!(%trunk, "the SMSC does not respond; it is tried again"),
            Event::Lost(Loss::Unbound) => tracing::warn!(%trunk, "the SMSC has ended the session; it is tried again"),
            Event::Lost(Loss::Garbage) => tracing::warn!(%trunk, "what the SMSC says is no SMPP; it is tried again"),
            // ESME_RBINDFAIL, ESME_RINVPASWD, ESME_RINVSYSID, ESME_RINVSYSTYP
            Event::Lost(Loss::Refused(status @ (0x0d | 0x0e | 0x0f | 0x53))) => {
                let status = format_args!("{status:#04x}");
                tracing::warn!(%trunk, %status, "the SMSC refuses us: check smpp.system_id, smpp.password, smpp.system_type");
            }
            Event::Lost(Loss::Refused(status)) => {
                let status = format_args!("{status:#04x}");
                tracing::warn!(%trunk, %status, "the SMSC refuses a session; it is tried again");
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
        () = sleep(LINGER), if !is_open => Wake::Written(Ok(0)),
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
        // What has not left may be tried again.
        Failure::Full | Failure::Late => Outcome::Full,
        Failure::Unwritable => Outcome::NotTaken,
        Failure::Silent => Outcome::NoResponse,
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
