//! `axbridge demo`: the real daemon on loopback ports, and one real call through it.
//!
//! ```text
//!   phone A ── SIP, RTP ──▶ axbridge (X) ── SIP, RTP ──▶ phone B        each phone says a tone of its own
//!                                 └─ HTTP ─▶ customer: what happens to the call, and its fee
//!      ladder as it happens ─▶ what each heard ─▶ recording, CDR ─▶ every promise checked
//! ```
//!
//! The phones speak through rsip and share no code with the daemon, so that it is not its own witness.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use b2bua::cdr::Cdr;
use b2bua::settings::Target;
use b2bua::{Output, SessionId};
use crossbeam_channel::{Receiver, bounded};
use media::{Command, Hear, Side, Then};
use phone::{Known, Script, Sound};
use sip::transaction::Transport;

use crate::cdr;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::daemon::{Daemon, StartError};
use crate::prompts::{DEFAULTS, Library};

mod booth;
mod customer;
mod ladder;
mod verdict;

use booth::{Booth, Which};
use customer::{Customer, Notification};
use ladder::Ladder;

const CONFIGURATION: &str = include_str!("../../etc/demo.toml");

/// What A says, in Hz.
const VOICE_OF_A: f64 = 440.0;
/// What B says, in Hz.
const VOICE_OF_B: f64 = 620.0;
/// B rings for this long.
const RINGING: Duration = Duration::from_millis(3_600);
/// B hangs up this long after it has answered.
const TALK: Duration = Duration::from_millis(8_000);
/// The whole call must be over by then.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the customer waits for what is told after the call.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Why the demo could not be given.
#[derive(Debug)]
enum Trouble {
    Configuration(String),
    Start(StartError),
    Io(io::Error),
    /// The call did not end in time.
    Stuck,
    /// The daemon ended in a panic.
    Broken,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Configuration(complaints) => write!(f, "its own configuration is bad: {complaints}"),
            Trouble::Start(error) => write!(f, "{error}"),
            Trouble::Io(error) => write!(f, "{error}"),
            Trouble::Stuck => write!(f, "the call was not over after {} s", PATIENCE.as_secs()),
            Trouble::Broken => f.write_str("the daemon ended in a panic"),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

/// Gives the demo; keeps its files in `out`, or in a folder of the system's temporary one. Exit code 0 only when every
/// promise was kept.
#[must_use]
pub fn run(out: Option<&Path>) -> ExitCode {
    let folder = out.map_or_else(|| std::env::temp_dir().join("axbridge-demo"), Path::to_owned);
    match give(&folder) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("axbridge demo: {trouble}");
            ExitCode::FAILURE
        }
    }
}

/// What the daemon tells while the call goes on.
enum Told {
    /// A sound begins to play.
    Heard { side: Side, name: String, at: Duration },
    /// The parties are joined; the recording begins.
    Joined { at: Duration },
    /// The customer is to be told of this call.
    Announced { session_id: String },
    /// The call is over.
    Ended(Box<Cdr>),
}

fn give(folder: &Path) -> Result<bool, Trouble> {
    fs::create_dir_all(folder)?;
    let clock = Clock::start();
    let known = Arc::new(sounds());
    let mut booth = Booth::new(clock, &known)?;
    let customer = Customer::start(clock)?;
    let config = configuration(folder, booth.address(Which::B), &customer)?;
    let secret = config.accounts[0].secret.clone();
    let numbering::Axb { a, b, x, .. } = config.bindings[0];
    booth.install(Which::A, &a.reveal().to_string(), Sound::Tone(VOICE_OF_A), Script::default());
    booth.install(Which::B, &b.reveal().to_string(), Sound::Tone(VOICE_OF_B), Script::answers(RINGING).hangs_up(TALK));

    println!("axbridge demo: A {a} calls X {x}, which stands for B {b}\n");
    let (observer, told) = observe();
    let cdr_file = config.cdr_file.clone();
    let kept = cdr::Kept { dir: config.recording.dir.clone(), min: config.recording.min };
    let _ = fs::remove_file(&cdr_file);
    let daemon = Daemon::start(config, clock, Some(observer)).map_err(Trouble::Start)?;
    let server = daemon.sip_addresses()[0].1;
    let mut ladder = Ladder::new(clock.now(), [(a, "A"), (b, "B"), (x, "X")]);
    booth.call(&format!("sip:{}@{server}", x.reveal()), &mut ladder);
    let mut notified = Notified::default();
    let ended = converse(&mut booth, &mut ladder, &told, &customer, &mut notified);
    daemon.stop();
    if !daemon.finish() {
        return Err(Trouble::Broken);
    }
    let cdr = ended?;

    let ladder_file = folder.join("ladder.txt");
    fs::write(&ladder_file, ladder.text())?;
    let cdr_copy = folder.join("cdr.json");
    fs::write(&cdr_copy, cdr::json(&cdr, &clock, &kept) + "\n")?;
    let recording = keep_recording(&cdr, &kept.dir, folder)?;
    Ok(verdict::tell(&verdict::Evidence {
        booth: &booth,
        notified: &notified.told,
        secret: secret.as_ref(),
        ladder: &ladder,
        cdr: &cdr,
        parties: (a, b, x),
        recording: recording.as_deref(),
        cdr_file: &cdr_copy,
        ladder_file: &ladder_file,
    }))
}

fn sounds() -> Known {
    let mut known = Known::new();
    let mut library = Library::new(None);
    for (name, _) in DEFAULTS {
        if let Ok(prompt) = library.prompt(name) {
            known.add_prompt(name, &prompt.alaw);
        }
    }
    known.add_tone("A's voice", VOICE_OF_A);
    known.add_tone("B's voice", VOICE_OF_B);
    known
}

fn configuration(folder: &Path, b: SocketAddr, customer: &Customer) -> Result<Config, Trouble> {
    let mut config = config::parse(CONFIGURATION, &folder.join("demo.toml")).map_err(|complaints| {
        Trouble::Configuration(complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    for trunk in &mut config.settings.trunks {
        trunk.targets = vec![Target::at(Transport::Udp, b)];
    }
    for account in &mut config.accounts {
        account.notify.status_url = Some(customer.url("/status"));
        account.notify.fee_url = Some(customer.url("/fee"));
    }
    Ok(config)
}

fn observe() -> (crate::signalling::Observer, Receiver<Told>) {
    let (sender, receiver) = bounded(1_024);
    let mut first: Option<SessionId> = None;
    let mut is_announced = false;
    let observer = Box::new(move |at: Duration, output: &Output| {
        let told = match output {
            Output::Media { session, command } if *first.get_or_insert(*session) == *session => match command {
                Command::Hear { side, hear: Hear::Prompt { prompt, then, .. } } => {
                    let after = match then {
                        Then::Loop(next) => format!(", then {}", next.name),
                        Then::Nothing | Then::Peer => String::new(),
                    };
                    Some(Told::Heard { side: *side, name: format!("{}{after}", prompt.name), at })
                }
                Command::Record { .. } => Some(Told::Joined { at }),
                Command::Hear { .. }
                | Command::Follow { .. }
                | Command::Digit { .. }
                | Command::Collect { .. }
                | Command::SetRemote { .. }
                | Command::Close => None,
            },
            Output::Told(event) if !std::mem::replace(&mut is_announced, true) => {
                Some(Told::Announced { session_id: event.session_id.to_string() })
            }
            Output::Ended(cdr) => Some(Told::Ended(cdr.clone())),
            Output::Media { .. }
            | Output::OpenMedia { .. }
            | Output::Transmit(_)
            | Output::Ending(_)
            | Output::Reached { .. }
            | Output::Told(_)
            | Output::Correlated { .. }
            | Output::AskText { .. }
            | Output::SendText { .. }
            | Output::AnswerText { .. }
            | Output::Text(_)
            | Output::Log(_) => None,
        };
        if let Some(told) = told {
            // The demo's own channel is far larger than one call; were it full, a line of the ladder would be missing.
            let _ = sender.try_send(told);
        }
    });
    (observer, receiver)
}

/// What the customer was told of this call.
#[derive(Default)]
struct Notified {
    session_id: Option<String>,
    told: Vec<Notification>,
    /// Its way is another one; it is shown when all events are.
    fee: Option<Notification>,
}

impl Notified {
    /// Takes what has come. What an earlier demo has left untold is none of ours.
    fn take(&mut self, customer: &Customer, ladder: &mut Ladder) {
        let Some(session_id) = &self.session_id else { return };
        let arrived = std::iter::from_fn(|| customer.next());
        for notification in arrived.filter(|notification| notification.is_of(session_id)) {
            if notification.is_fee() {
                self.fee = Some(notification);
            } else {
                ladder.notification(&notification);
                self.told.push(notification);
            }
        }
        if let Some(fee) = self.fee.take_if(|_| self.told.iter().any(|told| told.event() == "disconnect")) {
            ladder.notification(&fee);
            self.told.push(fee);
        }
    }

    fn is_complete(&self) -> bool {
        self.told.iter().any(Notification::is_fee)
    }
}

/// Lets the phones talk until the call is over on both and accounted for, and the customer has been told.
fn converse(
    booth: &mut Booth,
    ladder: &mut Ladder,
    told: &Receiver<Told>,
    customer: &Customer,
    notified: &mut Notified,
) -> Result<Box<Cdr>, Trouble> {
    let begun = booth.now();
    let mut ended: Option<(Duration, Box<Cdr>)> = None;
    loop {
        booth.turn(ladder)?;
        while let Ok(told) = told.try_recv() {
            match told {
                Told::Heard { side, name, at } => ladder.sound(at, Some(side), &name),
                Told::Joined { at } => ladder.sound(at, None, "joined; recording begins"),
                Told::Announced { session_id } => notified.session_id = Some(session_id),
                Told::Ended(cdr) => ended = Some((booth.now(), cdr)),
            }
        }
        notified.take(customer, ladder);
        let is_told = |at: Duration| notified.is_complete() || booth.now().saturating_sub(at) > AFTERWARDS;
        if let Some((_, cdr)) = ended.take_if(|(at, _)| booth.are_idle() && is_told(*at)) {
            return Ok(cdr);
        }
        if booth.now().saturating_sub(begun) > PATIENCE {
            return Err(Trouble::Stuck);
        }
    }
}

/// Copies the recording out under a plain name.
fn keep_recording(cdr: &Cdr, recordings: &Path, folder: &Path) -> io::Result<Option<PathBuf>> {
    let Some(recording) = &cdr.recording else { return Ok(None) };
    let source = crate::recording::path_of(recordings, &recording.name);
    let copy = folder.join("recording.wav");
    match source {
        Some(source) if source.is_file() => {
            fs::copy(source, &copy)?;
            Ok(Some(copy))
        }
        Some(_) | None => Ok(None),
    }
}
