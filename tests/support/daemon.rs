//! The built daemon as a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use super::exposition::{self, Exposition};
use super::until;

/// A command line of the built binary.
pub(crate) fn axbridge() -> Command {
    Command::new(env!("CARGO_BIN_EXE_axbridge"))
}

/// A running daemon; killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    /// Where it serves SIP over UDP.
    pub(crate) udp: SocketAddr,
    /// Where it serves SIP over TCP.
    pub(crate) tcp: SocketAddr,
    /// Where it serves SIP over TLS, if it does.
    pub(crate) tls: Option<SocketAddr>,
    /// Where it serves the customers' API in clear, if it does.
    pub(crate) http: Option<SocketAddr>,
    /// Where it serves the customers' API over TLS, if it does.
    pub(crate) https: Option<SocketAddr>,
    metrics: SocketAddr,
}

impl Daemon {
    /// Starts one that shall not come up, and waits for its end: how it ended, and what it said.
    pub(crate) fn fail_to_start(config: &Path) -> (ExitStatus, String) {
        let mut starting = Starting::begin(config);
        let status = until("the daemon gives up", || starting.child.as_mut().expect("it is there").try_wait().unwrap());
        // The reader's copy of the log ends with the process.
        let log = Arc::clone(&starting.log);
        starting.child = None;
        drop(starting);
        until("its last words are read", || (Arc::strong_count(&log) == 1).then_some(()));
        let said = log.lock().unwrap().clone();
        (status, said)
    }

    /// Starts it and waits until it serves.
    pub(crate) fn start(config: &Path) -> Daemon {
        let mut starting = Starting::begin(config);
        let address = |log: &str, what: &str| log.lines().find(|line| line.contains(what)).and_then(address_in);
        let (udp, tcp, [tls, http, https], metrics) = until("the daemon serves", || {
            let child = starting.child.as_mut().expect("taken only below");
            let log = starting.log.lock().unwrap().clone();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the daemon did not start: {status}\n{log}");
            }
            // The last that is told.
            let metrics = address(&log, "serving /metrics")?;
            let optional = ["\"TLS\"", "\"http\"", "\"https\""].map(|what| address(&log, what));
            Some((address(&log, "\"UDP\"")?, address(&log, "\"TCP\"")?, optional, metrics))
        });
        let child = starting.child.take().expect("it is taken once");
        Daemon { child, log: Arc::clone(&starting.log), udp, tcp, tls, http, https, metrics }
    }

    /// Sends a signal by its name, e.g. `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own kill: it is there on every system. The process is our child and has not been waited for, so
        // its number is still its own.
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(status.unwrap().success(), "the daemon is gone:\n{}", self.log());
    }

    /// Kills it as a crash would, and waits until it is gone. Returns what it has logged.
    pub(crate) fn crash(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        until("its last words are read", || (Arc::strong_count(&self.log) == 1).then_some(()));
        self.log()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the daemon ends", || self.child.try_wait().unwrap())
    }

    /// It has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// SIGTERM while no call is up: ends it in order. Returns what it has logged.
    pub(crate) fn terminate(mut self) -> String {
        self.signal("TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        self.log()
    }

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line that it logs.
    pub(crate) fn wait_for_log(&self, wanted: &str) {
        until(wanted, || self.log.lock().unwrap().contains(wanted).then_some(()));
    }

    /// Its metrics.
    pub(crate) fn scrape(&self) -> Exposition {
        Exposition::scrape(self.metrics)
    }

    /// The status and the body of `/healthz`.
    pub(crate) fn health(&self) -> (u16, String) {
        let (status, _, body) = exposition::get(self.metrics, "/healthz");
        (status, body)
    }

    /// One of its metrics.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.scrape().value(name, labels)
    }

    /// Waits until a metric has a value. They are told a few times a second.
    pub(crate) fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        until(&format!("{name}{labels:?} is {wanted}"), || (self.metric(name, labels) == wanted).then_some(()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the daemon's log\n{}----", self.log());
        }
    }
}

/// A process that must not outlive a failed start.
struct Starting {
    child: Option<Child>,
    log: Arc<Mutex<String>>,
}

impl Starting {
    fn begin(config: &Path) -> Starting {
        let mut child =
            axbridge().arg("--config").arg(config).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().expect("it is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let copy = Arc::clone(&log);
        // Ends with the process.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = copy.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Starting { child: Some(child), log }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
            eprintln!("---- the daemon's log\n{}----", self.log.lock().unwrap());
        }
    }
}

/// The field `address` of a line of the log, text or JSON.
fn address_in(line: &str) -> Option<SocketAddr> {
    let after = ["address=", "\"address\":\""].iter().find_map(|name| line.split_once(name))?.1;
    let end = after.find([' ', '"', ',', '}']).unwrap_or(after.len());
    after[..end].parse().ok()
}
