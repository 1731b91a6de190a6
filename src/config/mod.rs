//! The operator's configuration: one TOML file, checked completely before any port opens.
//!
//! ```text
//!   text ─▶ tree with places ─▶ sip ─▶ media ─▶ trunks ─▶ apps ─▶ numbers ─▶ bindings ─▶ Config
//!                    │            │       │        │        │        │          │
//!                    └────────────┴───────┴────────┴────────┴────────┴──────────┴──▶ Report ─▶ all complaints at once
//! ```
//!
//! A reader that finds a mistake says so in the `Report` and goes on with a default, so that one run shows
//! every mistake. `etc/axbridge.toml` documents every key; a test keeps it and the readers equal.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use b2bua::settings::Settings;
use media::Prompt;
use numbering::{Axb, Binding, VirtualNumber};
use toml::de::DeTable;

use crate::apps::Account;
use crate::prompts::Library;
use crate::registry::{self, Base, File};
use crate::{hep, smsc};

mod api;
mod app;
mod complaint;
mod credentials;
mod dns;
mod names;
mod notify;
mod number;
mod output;
mod section;
mod signalling;
mod smpp;
mod tls;
mod trunk;
mod value;

#[cfg(test)]
mod tests;

pub use api::{Api, Scope, Token};
pub use complaint::Complaint;
pub use notify::Notify;
pub use signalling::settle_ports;
pub use tls::Tls;

use complaint::{Fault, KeyPath, Report};
use section::Section;

/// The largest file that is read, in bytes: room for some million bindings.
const MAX_FILE: u64 = 512 * 1024 * 1024;

const ROOT: &[&str] = &[
    "sip",
    "dns",
    "media",
    "store",
    "recording",
    "cdr",
    "api",
    "admin",
    "notify",
    "metrics",
    "log",
    "hep",
    "prompts",
    "trunk",
    "app",
    "numbering",
    "number",
    "binding",
];

/// Everything that the operator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the core is told. A listener of port 0 still says so: see [`settle_ports`].
    pub settings: Settings,
    /// How names are looked up.
    pub dns: Dns,
    /// Certificates, and whom we believe.
    pub tls: Tls,
    /// The short message service centres of trunks.
    pub smscs: Vec<smsc::Settings>,
    /// Only numbers of the 700 segment may be virtual ones.
    pub only_700: bool,
    /// Virtual numbers, in the order of the file.
    pub numbers: Vec<VirtualNumber>,
    /// Bindings, in the order of the file; no two of one X share a number.
    pub bindings: Vec<Axb>,
    /// Where recordings go and how long they stay.
    pub recording: RecordingConfig,
    /// Where durable state is kept: a folder.
    pub store: PathBuf,
    /// Where call records are appended.
    pub cdr_file: PathBuf,
    /// How long the store keeps call records.
    pub cdr_keep: Duration,
    /// What the API knows of `settings.apps`; in their order.
    pub accounts: Vec<Account>,
    /// HTTP; `None`: no API.
    pub api: Option<Api>,
    /// How customers' systems are told.
    pub notify: Notify,
    /// The default prompts, or the operator's in their place.
    pub default_prompts: Arc<HashMap<String, Arc<Prompt>>>,
    /// Where `GET /metrics` is served.
    pub metrics: Option<SocketAddr>,
    /// Who gets a copy of every SIP message; `None`: nobody.
    pub hep: Option<hep::Config>,
    /// What is logged.
    pub log: Log,
    /// Relay threads, 1 to 64.
    pub relay_workers: usize,
}

impl Config {
    /// What the registry takes of it.
    #[must_use]
    pub fn into_file(self) -> File {
        let base = Base {
            settings: self.settings,
            accounts: self.accounts,
            prompts: self.default_prompts,
            only_700: self.only_700,
            guard: self.notify.guard,
        };
        File { base, numbers: self.numbers, bindings: self.bindings.into_iter().map(Binding::Axb).collect() }
    }
}

/// How names are looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dns {
    /// Who is asked; none: whom `/etc/resolv.conf` names.
    pub servers: Vec<SocketAddr>,
    /// How long one answer is waited for, repeats included; 100 ms to 30 s.
    pub timeout: Duration,
}

/// Recordings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordingConfig {
    /// Their folder; it need not exist yet.
    pub dir: PathBuf,
    /// How long each is kept.
    pub keep: Duration,
    /// Shorter ones are thrown away.
    pub min: Duration,
}

/// What is logged, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Log {
    /// The least important that is logged.
    pub level: Level,
    /// How a line is written.
    pub format: Format,
}

/// Importance of a log line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Something of ours failed.
    Error,
    /// Something is wrong that calls survive.
    Warn,
    /// Calls and the daemon's life.
    Info,
    /// Decisions within a call.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// As the file and the log filter spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

/// Reads and checks a file.
///
/// # Errors
///
/// Every mistake in it, in the order of its lines; one complaint without a line when it cannot be read.
pub fn load(path: &Path) -> Result<Config, Vec<Complaint>> {
    let complain = |line: usize, problem: String, mend: &str| {
        let file = path.into();
        vec![Complaint { file, line, column: line.min(1), key: String::new(), problem, mend: mend.to_owned() }]
    };
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size > MAX_FILE {
        return Err(complain(0, format!("has {size} bytes"), "keep it below 512 MiB"));
    }
    let bytes = std::fs::read(path)
        .map_err(|error| complain(0, format!("cannot be read: {error}"), "check the path and who may read it"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        complain(line, "is not UTF-8".to_owned(), "save the file as UTF-8")
    })?;
    parse(&text, path)
}

/// Checks a text. `origin` is its file: complaints name it, and relative paths start from its folder.
///
/// # Errors
///
/// Every mistake in it, in the order of its lines.
pub fn parse(text: &str, origin: &Path) -> Result<Config, Vec<Complaint>> {
    let mut report = Report::new(origin, text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    // What was left open has swallowed what follows: keys would be missed, or be found where they do not belong.
    let torn = errors.iter().any(|error| error.message().starts_with("unclosed"));
    let last = last_to_tell(&errors);
    for error in &errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        if span.start <= last && !(torn && error.message() == DUPLICATE) {
            let fault = syntax(error.message(), text.get(span.clone()).unwrap_or(""));
            report.add_syntax(&span, fault);
        }
    }
    if torn {
        return Err(report.into_complaints());
    }
    let root = Section::new(tree.get_ref(), 0..0, KeyPath::ROOT, ROOT, &mut report);
    let config = config(&root, origin.parent().unwrap_or(Path::new("")), &mut report);
    match config {
        Some(config) if report.is_empty() => Ok(config),
        Some(_) | None => Err(report.into_complaints()),
    }
}

/// `None` only when something was complained of.
fn config(root: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> Option<Config> {
    let sip = signalling::read(root, folder, report);
    let listeners = sip.as_ref().map_or(&[][..], |sip| &sip.listeners);
    let defaults = app::Defaults {
        no_answer: sip.as_ref().map_or(Duration::from_secs(60), |sip| sip.no_answer),
        safety_ceiling: sip.as_ref().map_or(signalling::LONGEST, |sip| sip.timers.safety_ceiling),
    };
    let dns = dns::read(root, report);
    let media = output::media(root, listeners, report);
    let recording = output::recording(root, folder, report);
    let (cdr_file, cdr_keep) = output::cdr(root, folder, report);
    let metrics = output::metrics(root, listeners, report);
    let log = output::log(root, report);
    let hep = output::hep(root, report);
    let mut library = Library::new(output::prompts_dir(root, folder, report));
    let trunks = trunk::read(root, sip.as_ref(), folder, report);
    let notify = notify::read(root, folder, report);
    let mut apps = app::read(root, defaults, &notify.guard, folder, &mut library, report);
    let api = api::read(root, listeners, metrics, folder, report);
    let store = output::store(root, folder, report);
    let only_700 = number::only_700(root, report);
    let numbers = number::numbers(root, only_700, &trunks, &apps, report);
    apps.check_call_backs(|number| numbers.knows(number), report);
    let bindings = number::bindings(root, &numbers, &mut apps, &mut library, report);
    let default_prompts = registry::default_set(&mut library);
    let (sip, (media, relay_workers)) = (sip?, media?);
    let settings = Settings {
        listeners: sip.listeners,
        media,
        trunks: trunks.trunks,
        apps: apps.apps,
        limits: sip.limits,
        timers: sip.timers,
        product_name: sip.product_name,
        correlates: hep.is_some(),
        index: Default::default(),
    };
    Some(Config {
        settings,
        dns,
        tls: trunks.tls,
        smscs: trunks.smscs,
        only_700,
        numbers: numbers.numbers,
        bindings,
        recording,
        store,
        cdr_file,
        cdr_keep,
        accounts: apps.accounts,
        api,
        notify,
        default_prompts,
        metrics,
        hep,
        log,
        relay_workers,
    })
}

/// In a list that is never closed every later line is a mistake; only the first of them tells anything.
fn last_to_tell(errors: &[toml::de::Error]) -> usize {
    let starts = |wanted: fn(&str) -> bool| {
        let wanted = errors.iter().filter(move |error| wanted(error.message()));
        wanted.filter_map(|error| Some(error.span()?.start))
    };
    let open = starts(|message| message.starts_with("unclosed array,")).next().is_some();
    let first = starts(|message| message.contains("array") && !message.contains("array table")).min();
    first.filter(|_| open).unwrap_or(usize::MAX)
}

/// What the TOML reader says of a key or table that stands twice.
const DUPLICATE: &str = "duplicate key";

/// What the TOML reader says, with the mend that goes with it.
fn syntax(message: &str, found: &str) -> Fault {
    const MENDS: [(&str, &str); 21] = [
        ("string values must be quoted", "put the text in quotation marks"),
        ("invalid basic string", "close the text with \""),
        ("invalid literal string", "close the text with '"),
        ("missing escaped value", "write \\\\ for a backslash"),
        ("unclosed array table", "write [[NAME]]"),
        ("unclosed array", "close the list with ]"),
        ("unexpected `=` in array", "close the list above with ]"),
        ("missing comma between array", "put a comma between the two, or close the list with ]"),
        ("unclosed inline table", "close the table with }"),
        ("unclosed table", "write [NAME]"),
        ("missing comma", "put a comma between the two"),
        ("extra comma", "leave the comma out"),
        ("missing assignment", "write KEY = VALUE"),
        ("key with no value", "write KEY = VALUE"),
        ("missing value", "write KEY = VALUE"),
        ("cannot extend value", "write all keys of a table in one place"),
        ("unexpected leading zero", "leave the leading 0 out, or put the text in quotation marks"),
        ("invalid unquoted key", "write KEY = VALUE, the key of letters, digits, _ and -"),
        ("invalid boolean", "put the text in quotation marks"),
        ("invalid float", "put the text in quotation marks"),
        ("invalid ", "write a text in quotation marks, a number, true or false"),
    ];
    if message == DUPLICATE {
        return Fault::new(
            format!("{} stands here for the second time", value::quote(found)),
            "leave one of the two out",
        );
    }
    let mend = MENDS.iter().find(|(begin, _)| message.starts_with(begin)).map(|(_, mend)| *mend);
    // What the reader would have taken instead is the mend's part, in fewer words.
    let problem = message.split(", expected").next().unwrap_or(message);
    Fault::new(problem, mend.unwrap_or("write KEY = VALUE, [NAME] or [[NAME]] as TOML has them"))
}
