//! linphone's console: belle-sip and mediastreamer. It is led by lines that are typed.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::agent::{Agent, Home, Party};
use super::process::Process;
use super::sound;

/// A running linphonec.
pub(crate) struct Linphone {
    // Before the folder: fields are dropped in this order.
    process: Process,
    party: Party,
    address: SocketAddr,
    home: Home,
    recordings: usize,
    mark: usize,
}

impl Linphone {
    /// Starts it and waits until it takes commands. It answers by itself.
    pub(crate) fn start(party: Party) -> Linphone {
        let home = Home::new();
        let (host, path) = (home.host, home.path());
        let (port, rtp) = (home.port(), home.port());
        sound::write_wav(&home.folder().join("voice.wav"), party.voice, "");
        fs::create_dir_all(home.folder().join(".local/share/linphone")).unwrap();
        let config = format!(
            "[sip]\nsip_port={port}\nsip_tcp_port=0\nsip_tls_port=0\nbind_address={host}\nuse_ipv6=0\n\
             guess_hostname=0\ncontact=\"{}\" <sip:{}@{host}>\nuse_info=0\nuse_rfc2833=1\nping_with_options=0\n\
             register_only_when_network_is_up=0\n\
             [rtp]\naudio_rtp_port={rtp}\nbind_address={host}\n[sound]\nechocancellation=0\n[net]\nfirewall_policy=0\n",
            party.name, party.number,
        );
        fs::write(home.folder().join("linphonerc"), config).unwrap();
        let name = format!("linphone of {}", party.name);
        let arguments = ["-c", &format!("{path}/linphonerc"), "-a", "-d", "6"];
        let mut process = Process::start(&name, home.folder(), "linphonec", &arguments);
        process.type_line("soundcard use files");
        process.type_line(&format!("play {path}/voice.wav"));
        process.wait_for("Using wav files instead of soundcard", 0);
        let address = SocketAddr::from((host, port));
        Linphone { process, party, address, home, recordings: 0, mark: 0 }
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        self.mark = self.process.mark();
        self.process.type_line(line);
    }

    /// Waits until it prints something after what was waited for before.
    pub(crate) fn wait_for(&mut self, wanted: &str) {
        self.mark = self.process.wait_for(wanted, self.mark);
    }

    fn recording(&self) -> PathBuf {
        self.home.folder().join(format!("heard-{}.wav", self.recordings))
    }
}

impl Agent for Linphone {
    fn party(&self) -> Party {
        self.party
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn prepare(&mut self) {
        self.recordings += 1;
        let line = format!("record {}", self.recording().display());
        self.type_line(&line);
    }

    fn dial(&mut self, uri: &str) {
        self.type_line(&format!("call {uri}"));
    }

    fn wait_until_talking(&mut self) {
        self.wait_for("to LinphoneCallStreamsRunning");
    }

    fn hang_up(&mut self) {
        self.type_line("terminate");
    }

    fn wait_until_over(&mut self) {
        self.wait_for("to LinphoneCallReleased");
    }

    fn heard(&self) -> Vec<i16> {
        sound::read_wav(&self.recording())
    }

    fn trace(&self) -> String {
        self.process.printed()
    }

    fn end(self: Box<Self>) -> String {
        self.process.end()
    }
}
