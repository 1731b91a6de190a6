//! baresip: a stack of its own (libre). It is led through its `ctrl_tcp` module, which also tells what happens.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::agent::{Agent, Home, Party};
use super::process::Process;
use super::sound;
use crate::support::until;

/// Where Debian puts its modules.
const MODULES: &str = "/usr/lib/baresip/modules";

/// How a baresip is set up.
pub(crate) struct Line<'l> {
    /// In its order of preference, e.g. `PCMA`.
    pub(crate) codecs: &'l [&'l str],
    /// Takes a call by itself; otherwise it rings.
    pub(crate) answers: bool,
    /// Where it sends everything, e.g. `sip:127.0.0.1:5060;transport=tcp`.
    pub(crate) proxy: Option<String>,
    /// Digits that it says as tones in each call, before its own tone.
    pub(crate) tones: &'l str,
}

impl Default for Line<'_> {
    fn default() -> Self {
        Line { codecs: &["PCMA", "PCMU"], answers: true, proxy: None, tones: "" }
    }
}

/// A running baresip.
pub(crate) struct Baresip {
    // Before the folder: fields are dropped in this order.
    process: Process,
    control: Control,
    party: Party,
    address: SocketAddr,
    home: Home,
    /// Recordings of earlier calls.
    old: Vec<PathBuf>,
}

impl Baresip {
    /// Starts it and waits until it takes commands.
    pub(crate) fn start(party: Party, line: &Line<'_>) -> Baresip {
        let home = Home::new();
        let (host, path) = (home.host, home.path().to_owned());
        let address = SocketAddr::from((host, home.port()));
        let control = SocketAddr::from((host, home.port()));
        sound::write_wav(&home.folder().join("voice.wav"), party.voice, line.tones);
        // Without a jitter buffer all that comes is recorded. Modules: files as microphone, and as a filter that keeps
        // what is heard.
        let config = format!(
            "poll_method epoll\nsip_listen {address}\nnet_interface {host}\nrtp_ports 10000-19998\n\
             jitter_buffer_delay 0-0\nstatmode_default off\n\
             audio_source aufile,{path}/voice.wav\naudio_player none,none\naudio_alert none,none\n\
             ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\nsnd_path {path}\n\
             module_path {MODULES}\nmodule g711.so\nmodule aufile.so\nmodule sndfile.so\n\
             module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\nmodule_app debug_cmd.so\n\
             module_app ctrl_tcp.so\nctrl_tcp_listen {control}\n"
        );
        fs::write(home.folder().join("config"), config).unwrap();
        let codecs: Vec<String> = line.codecs.iter().map(|codec| format!("{codec}/8000/1")).collect();
        let mut account = format!(
            "\"{}\" <sip:{}@{host}>;regint=0;answermode={};audio_codecs={}",
            party.name,
            party.number,
            if line.answers { "auto" } else { "manual" },
            codecs.join(","),
        );
        if let Some(proxy) = &line.proxy {
            let _ = write!(account, ";outbound=\"{proxy}\"");
        }
        fs::write(home.folder().join("accounts"), account + "\n").unwrap();
        fs::write(home.folder().join("contacts"), "").unwrap();

        let name = format!("baresip of {}", party.name);
        let mut process = Process::start(&name, home.folder(), "baresip", &["-4", "-s", "-v", "-f", &path]);
        let stream = until("baresip takes commands", || {
            process.assert_alive();
            TcpStream::connect(control).ok()
        });
        stream.set_nonblocking(true).unwrap();
        let control = Control { stream, unread: Vec::new(), told: Vec::new(), read: 0 };
        process.wait_for("baresip is ready", 0);
        Baresip { process, control, party, address, home, old: Vec::new() }
    }

    /// Gives a command and returns what it says to it.
    pub(crate) fn command(&mut self, command: &str, parameter: &str) -> String {
        self.control.command(command, parameter)
    }

    /// Waits for the next event of a type, e.g. `CALL_RINGING`, and returns its parameter.
    pub(crate) fn wait_for(&mut self, event: &str) -> String {
        let process = &mut self.process;
        let control = &mut self.control;
        until(&format!("baresip of {} tells {event}", self.party.name), || {
            process.assert_alive();
            control.next(event)
        })
    }

    /// RTP packets that it has received in this call.
    pub(crate) fn received(&mut self) -> u64 {
        let told = self.command("audio_debug", "");
        let count = told.split("rcvd=").nth(1).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        count.flatten().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no packets are told: {told}"))
    }

    /// What it keeps of what it hears: a file a call, named by the second.
    fn dumps(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.home.folder()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_string_lossy().ends_with("-dec.wav")).collect()
    }
}

impl Agent for Baresip {
    fn party(&self) -> Party {
        self.party
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn prepare(&mut self) {
        self.old = self.dumps();
    }

    fn dial(&mut self, uri: &str) {
        self.command("dial", uri);
    }

    fn wait_until_talking(&mut self) {
        self.wait_for("CALL_ESTABLISHED");
    }

    fn hang_up(&mut self) {
        self.command("hangup", "");
    }

    fn wait_until_over(&mut self) {
        self.wait_for("CALL_CLOSED");
        // It does one thing after the other: once it takes a command again, the call is cleared away.
        self.command("uuid", "");
    }

    fn heard(&self) -> Vec<i16> {
        let mut new = self.dumps();
        new.retain(|path| !self.old.contains(path));
        assert!(new.len() <= 1, "one call, one file: {new:?}");
        new.first().map_or(Vec::new(), |path| sound::read_wav(path))
    }

    fn trace(&self) -> String {
        self.process.printed()
    }

    fn end(self: Box<Self>) -> String {
        self.process.end()
    }
}

/// The connection to `ctrl_tcp`: JSON in netstrings, `12:{...},`.
struct Control {
    stream: TcpStream,
    unread: Vec<u8>,
    told: Vec<Value>,
    /// Events before this one have been waited for.
    read: usize,
}

impl Control {
    fn command(&mut self, command: &str, parameter: &str) -> String {
        let token = self.told.len().to_string();
        let text = json!({ "command": command, "params": parameter, "token": token }).to_string();
        self.stream.write_all(format!("{}:{text},", text.len()).as_bytes()).unwrap();
        let answer = until(&format!("baresip answers {command}"), || {
            self.receive();
            self.told.iter().find(|told| told["response"] == true && told["token"] == token.as_str()).cloned()
        });
        assert_eq!(answer["ok"], true, "{command} {parameter}: {answer}");
        answer["data"].as_str().unwrap_or_default().to_owned()
    }

    fn next(&mut self, event: &str) -> Option<String> {
        self.receive();
        let found = self.told[self.read..].iter().position(|told| told["event"] == true && told["type"] == event)?;
        self.read += found + 1;
        Some(self.told[self.read - 1]["param"].as_str().unwrap_or_default().to_owned())
    }

    fn receive(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.unread.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("baresip's control connection: {error}"),
            }
        }
        while let Some(text) = self.cut() {
            self.told.push(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}: {text:?}")));
        }
    }

    fn cut(&mut self) -> Option<Vec<u8>> {
        let colon = self.unread.iter().position(|byte| *byte == b':')?;
        let length: usize = std::str::from_utf8(&self.unread[..colon]).unwrap().parse().unwrap();
        let end = colon + 1 + length;
        if self.unread.len() <= end {
            return None;
        }
        let text = self.unread[colon + 1..end].to_vec();
        self.unread.drain(..=end);
        Some(text)
    }
}
