//! A configuration of the daemon, in a folder of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use tempfile::TempDir;

use super::daemon::Daemon;
use super::{A, B, X};

/// RTP ports of one daemon.
const PORTS: u16 = 120;

/// Where they begin: below the ports that the system gives to the phones, and up to those of SIPp's stories.
const FIRST_PORT: u16 = 20_000;

/// How many daemons have room there.
const BLOCKS: u16 = 50;

/// Daemons of this process so far.
static SITES: AtomicU16 = AtomicU16::new(0);

/// A carrier.
#[derive(Clone)]
struct Trunk {
    name: &'static str,
    source: String,
    /// As the file spells it.
    target: Option<String>,
    more: &'static str,
}

/// A pair of parties on an X, whose calls go out by a trunk.
#[derive(Clone)]
struct Bound {
    x: &'static str,
    a: &'static str,
    b: &'static str,
    trunk: &'static str,
}

/// What is written into the configuration beside the addresses, which the system gives.
#[derive(Clone)]
pub(crate) struct Setup {
    /// Where SIP is served: at least one address of UDP and one of TCP.
    pub(crate) listen: &'static str,
    /// Where media is.
    pub(crate) media: &'static str,
    /// How long ports rest.
    pub(crate) quarantine: &'static str,
    /// More lines of `[sip]`.
    pub(crate) sip: &'static str,
    /// Lines of `[log]`.
    pub(crate) log: &'static str,
    /// More lines of the app `shop`.
    pub(crate) shop: &'static str,
    /// More sections.
    pub(crate) sections: String,
    trunks: Vec<Trunk>,
    bindings: Vec<Bound>,
}

/// Without words, so that refusals come at once.
const API_OF_SHOP: &str = r#"secret = "not-to-be-told-98fc1c149afbf4c8"
cool_off = "0s"
prompts.no_permission = ""
prompts.service_fault = """#;

/// The secret of every app that has one.
pub(crate) const SECRET: &str = "not-to-be-told-98fc1c149afbf4c8";
/// The token that may do everything.
pub(crate) const FULL: &str = "full-token-e3b0c44298fc1c14";
/// The one that may look.
pub(crate) const READ: &str = "read-token-27ae41e4649b934c";

impl Setup {
    /// One app, and nobody who could call.
    pub(crate) fn new() -> Setup {
        Setup {
            listen: r#""udp:127.0.0.1:0", "tcp:127.0.0.1:0""#,
            media: "127.0.0.1",
            quarantine: "1s",
            sip: "",
            log: "",
            shop: "",
            sections: String::new(),
            trunks: Vec::new(),
            bindings: Vec::new(),
        }
    }

    /// The same, served elsewhere.
    pub(crate) fn serving(listen: &'static str, sip: &'static str) -> Setup {
        Setup { listen, sip, ..Setup::new() }
    }

    /// A's carrier at 127.0.0.1, B's at 127.0.0.2, and the binding A–X–B.
    pub(crate) fn of_a_and_b(b: SocketAddr) -> Setup {
        let mut setup = Setup::new();
        setup.trunk("carrier-a", "127.0.0.1", None, "");
        setup.trunk("carrier-b", "127.0.0.2", Some(b), "");
        setup.bind(X, A, B, "carrier-b");
        setup
    }

    /// A carrier that calls from one address; `more` are further lines of its section.
    pub(crate) fn trunk(
        &mut self,
        name: &'static str,
        source: &'static str,
        target: Option<SocketAddr>,
        more: &'static str,
    ) {
        let target = target.map(|target| format!("udp:{target}"));
        self.trunks.push(Trunk { name, source: source.to_owned(), target, more });
    }

    /// The same, where calls go by another protocol than UDP: `tls:192.0.2.1:5061`.
    pub(crate) fn trunk_at(&mut self, name: &'static str, source: &str, target: String, more: &'static str) {
        self.trunks.push(Trunk { name, source: source.to_owned(), target: Some(target), more });
    }

    /// Binds two numbers.
    pub(crate) fn bind(&mut self, x: &'static str, a: &'static str, b: &'static str, trunk: &'static str) {
        self.bindings.push(Bound { x, a, b, trunk });
    }

    /// Takes A–X–B away.
    pub(crate) fn unbind(&mut self, x: &str, a: &str) {
        self.bindings.retain(|bound| bound.x != x || bound.a != a);
    }

    /// The API over HTTP, its store, two who may administer, and a `shop` that may use it.
    pub(crate) fn serve_api(&mut self) {
        self.shop = API_OF_SHOP;
        let _ = write!(
            self.sections,
            r#"
[store]
dir = "data"

[api]
http = "127.0.0.1:0"

[[admin]]
name = "operations"
token = "{FULL}"
scope = "full"

[[admin]]
name = "onlooker"
token = "{READ}"
"#
        );
    }

    /// Another app that may use the API; without words, so that refusals come at once.
    pub(crate) fn app(&mut self, name: &str, mode: &str) {
        let _ = write!(
            self.sections,
            r#"
[[app]]
name = "{name}"
mode = "{mode}"
hint_tone = "zh/hint_tone.wav"
recording = true
secret = "{SECRET}"
cool_off = "0s"
prompts.no_binding = ""
prompts.no_permission = ""
prompts.service_fault = ""
prompts.wrong_extension = ""
prompts.empty_extension = ""
prompts.no_callee = ""
prompts.no_call_back = ""
"#
        );
    }

    /// A number without bindings, whose calls go out by the trunk that they came from.
    pub(crate) fn number(&mut self, x: &str, app: &str) {
        let _ = write!(self.sections, "\n[[number]]\nx = \"{x}\"\napp = \"{app}\"\n");
    }

    fn text(&self, ports: &str) -> String {
        let mut text = format!(
            r#"[sip]
listen = [{}]
{}
[media]
bind = "{}"
ports = "{ports}"
quarantine = "{}"

[recording]
dir = "recordings"

[cdr]
file = "cdr.jsonl"

[metrics]
listen = "127.0.0.1:0"

[log]
{}

[[app]]
name = "shop"
hint_tone = "zh/hint_tone.wav"
recording = true
prompts.no_binding = ""
{}
"#,
            self.listen, self.sip, self.media, self.quarantine, self.log, self.shop,
        );
        for Trunk { name, source, target, more } in &self.trunks {
            let target = target.as_ref().map_or(String::new(), |target| format!("targets = [\"{target}\"]\n"));
            let _ = write!(text, "\n[[trunk]]\nname = \"{name}\"\nsources = [\"{source}\"]\n{target}{more}\n");
        }
        let mut told = Vec::new();
        for Bound { x, a, b, trunk } in &self.bindings {
            if !told.contains(x) {
                told.push(x);
                let _ = write!(text, "\n[[number]]\nx = \"{x}\"\napp = \"shop\"\ntrunk = \"{trunk}\"\n");
            }
            let _ = write!(text, "\n[[binding]]\nx = \"{x}\"\na = \"{a}\"\nb = \"{b}\"\nrecord = true\n");
        }
        text.push_str(&self.sections);
        text
    }
}

/// A folder with a configuration and what the daemon writes beside it; gone when it is dropped.
pub(crate) struct Site {
    folder: TempDir,
    first_port: u16,
}

impl Site {
    /// An empty folder.
    pub(crate) fn new() -> Site {
        Site { folder: TempDir::new().expect("the system's temporary folder is writable"), first_port: free_block() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration's file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder().join("axbridge.toml")
    }

    /// RTP ports that nobody has, as a configuration spells them.
    pub(crate) fn ports(&self) -> String {
        format!("{}-{}", self.first_port, self.first_port + PORTS - 1)
    }

    pub(crate) fn write(&self, setup: &Setup) {
        self.write_text(&setup.text(&self.ports()));
    }

    pub(crate) fn write_text(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    /// Starts the daemon and waits until it serves.
    pub(crate) fn start(&self) -> Daemon {
        Daemon::start(&self.file())
    }

    pub(crate) fn cdr_file(&self) -> PathBuf {
        self.folder().join("cdr.jsonl")
    }

    /// The call detail records so far; every line must be one.
    pub(crate) fn cdrs(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.cdr_file()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    pub(crate) fn recordings_folder(&self) -> PathBuf {
        self.folder().join("recordings")
    }

    /// Every recording's file.
    pub(crate) fn recordings(&self) -> Vec<PathBuf> {
        let entries = |folder: &Path| -> Vec<PathBuf> {
            let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
            entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
        };
        let days = entries(&self.recordings_folder());
        let mut files: Vec<PathBuf> = days.iter().flat_map(|day| entries(day)).chain(days.iter().cloned()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
        files
    }
}

/// The first of ports that nobody has. Tests of another working copy may run on the same machine: each process begins
/// elsewhere and passes over what is taken.
fn free_block() -> u16 {
    let begin = (std::process::id() % u32::from(BLOCKS)) as u16;
    let is_free = |port: u16| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut blocks = (0..BLOCKS).map(|_| {
        let block = (begin + SITES.fetch_add(1, Relaxed) % BLOCKS) % BLOCKS;
        FIRST_PORT + block * PORTS
    });
    blocks.find(|first| (*first..first + PORTS).all(is_free)).expect("there are free ports below 26000")
}
