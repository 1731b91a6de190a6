//! Perl's Net::SIP, through `net-sip.pl`: a stack of its own that speaks µ-law alone.

use std::net::SocketAddr;

use super::agent::{Agent, Home, Party};
use super::process::Process;
use super::sound;
use crate::support::package;

/// A running Net::SIP.
pub(crate) struct NetSip {
    // Before the folder: fields are dropped in this order.
    process: Process,
    party: Party,
    address: SocketAddr,
    home: Home,
    mark: usize,
}

impl NetSip {
    /// Starts it and waits until it takes commands. It answers by itself.
    pub(crate) fn start(party: Party) -> NetSip {
        NetSip::saying(party, "")
    }

    /// The same, where it says digits as tones in each call, before its own tone.
    pub(crate) fn saying(party: Party, tones: &str) -> NetSip {
        let home = Home::new();
        let address = SocketAddr::from((home.host, home.port()));
        sound::write_ulaw(&home.folder().join("voice.ul"), party.voice, tones);
        let script = package().join("tests/agents/net-sip.pl");
        let script = script.to_str().expect("the package's folder has a plain name");
        let arguments = [script, party.number, party.name, &address.to_string(), "voice.ul", "heard.ul"];
        let name = format!("Net::SIP of {}", party.name);
        let mut process = Process::start(&name, home.folder(), "perl", &arguments);
        let mark = process.wait_for("agent: ready", 0);
        NetSip { process, party, address, home, mark }
    }

    /// Sends digits as RFC 4733 events.
    pub(crate) fn send_digits(&mut self, digits: &str) {
        self.process.type_line(&format!("dtmf {digits}"));
    }

    /// Waits until it prints something after what was waited for before.
    pub(crate) fn wait_for(&mut self, wanted: &str) {
        self.mark = self.process.wait_for(wanted, self.mark);
    }
}

impl Agent for NetSip {
    fn party(&self) -> Party {
        self.party
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file is made anew for each call.
    fn prepare(&mut self) {
        self.mark = self.process.mark();
    }

    fn dial(&mut self, uri: &str) {
        self.process.type_line(&format!("dial {uri}"));
    }

    fn wait_until_talking(&mut self) {
        self.wait_for("agent: talking");
    }

    fn hang_up(&mut self) {
        self.process.type_line("hangup");
    }

    fn wait_until_over(&mut self) {
        self.wait_for("agent: over");
    }

    fn heard(&self) -> Vec<i16> {
        sound::read_ulaw(&self.home.folder().join("heard.ul"))
    }

    fn trace(&self) -> String {
        self.process.printed()
    }

    fn end(self: Box<Self>) -> String {
        self.process.end()
    }
}
