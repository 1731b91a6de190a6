//! X inside the world: what the core asks of its driver is done here, by real media sessions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use b2bua::cdr::Cdr;
use b2bua::core::{Output, SessionId};
use media::session::{Config, Kind as Socket, RecordingOutput, Session};
use media::{Command, Side};
use numbering::{LastCaller, Number};

use super::{PhoneId, Recorded, Running, ToSend, World};
use crate::ladder::{self, Entry};

impl World {
    pub(super) fn fulfil(&mut self, output: Output) {
        match output {
            Output::Transmit(transmit) => self.send_from_x(transmit),
            Output::OpenMedia { session, ports, seed } => {
                let config = Config { dead_after: self.settings.media.dead_after, unix_at_epoch: Duration::ZERO };
                let names = ["A".to_owned(), "B".to_owned()];
                let running = Running {
                    session: Session::new(config, seed, self.now),
                    ports,
                    names,
                    hearing: [false; 2],
                    remotes: [None; 2],
                    recording: None,
                };
                let clash = self.sessions.values().any(|open| open.ports.iter().any(|port| ports.contains(port)));
                if clash || ports[0] == ports[1] {
                    self.strange.push(format!("ports {ports:?} are given twice"));
                }
                self.sessions.insert(session, running);
            }
            Output::Media { session, command } => self.command(session, command),
            Output::Ending(cdr) => {
                if cdr.ended != self.now {
                    self.strange.push(format!("session {} ends at another time than now", cdr.session_id));
                }
            }
            Output::Ended(cdr) => {
                let names = self.names_of(&cdr);
                self.ladder.push(self.now, Entry::Ended(ladder::summary(&cdr, &names)));
                self.cdrs.push(*cdr);
            }
            Output::Reached { binding, a, caller } => {
                let at = u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX);
                self.bindings.note_caller(binding, a, LastCaller { number: caller, at });
            }
            Output::Correlated { .. } => {}
            Output::Told(event) => self.told.push(*event),
            Output::AskText { key, text } => self.asked.push((key, text)),
            Output::SendText { key, trunk, from, to, content, until: _ } => {
                self.to_send.push(ToSend { key, trunk, from, to, content });
            }
            Output::AnswerText { reply, outcome } => self.answers.push((reply, outcome)),
            Output::Text(event) => self.texts.push(*event),
            Output::Log(line) => self.logs.push(format!("{line:?}")),
        }
    }

    /// Caller's and callee's names in a CDR.
    pub(super) fn names_of(&self, cdr: &Cdr) -> [String; 2] {
        let name = |number: Option<Number>, otherwise: &str| {
            number.map_or_else(|| otherwise.to_owned(), |number| self.name_of(&number.reveal().to_string()))
        };
        [name(cdr.caller, "?"), name(cdr.callee, "?")]
    }

    pub(super) fn command(&mut self, id: SessionId, command: Command) {
        let now = self.now;
        let Some(running) = self.sessions.get_mut(&id) else {
            self.strange.push(format!("{id:?} is told {command:?} and is not open"));
            return;
        };
        if matches!(command, Command::Close) {
            let remotes = running.remotes;
            self.check_addresses(remotes);
        }
        let Some(running) = self.sessions.get_mut(&id) else { return };
        if let Command::SetRemote { side, remote } = &command
            && let Some(slot) = self.slots.iter().find(|slot| slot.takes_rtp(remote.rtp))
        {
            running.names[side.index()].clone_from(&slot.phone.config().name);
            running.remotes[side.index()] = Some(remote.rtp);
        }
        if let Some(note) = ladder::note_of(&command, &running.names, &mut running.hearing) {
            self.ladder.push(now, Entry::Note(note));
        }
        running.session.handle_command(now, command);
        self.run_session(id);
    }

    /// The call ends: X must have sent each phone's audio to where the last offer and answer wanted it, whether they came by
    /// INVITE, re-INVITE, PRACK or UPDATE.
    fn check_addresses(&mut self, remotes: [Option<SocketAddr>; 2]) {
        if !self.signalling_is_perfect() || !self.link.latency.is_zero() {
            return;
        }
        for remote in remotes.into_iter().flatten() {
            let Some(place) = self.slots.iter().position(|slot| slot.takes_rtp(remote)) else { continue };
            let slot = &self.slots[place];
            let (config, wanted) = (slot.phone.config(), slot.phone.rtp());
            // Of a fork, which branch was last heard of says nothing; an offer that is under way as the call ends, as little.
            if wanted != remote && config.script.forks.is_empty() && !slot.phone.is_negotiating() {
                let sentence = format!("{} is at {wanted} and was sent audio at {remote}", config.name);
                self.astray.push((PhoneId(place), sentence));
            }
        }
    }

    /// Lets a session do what is due and takes what it gives.
    pub(super) fn run_session(&mut self, id: SessionId) {
        let now = self.now;
        let Some(running) = self.sessions.get_mut(&id) else { return };
        let mut packets = Vec::new();
        let ports = running.ports;
        running.session.handle_timeout(now, &mut |side: Side, socket, destination, bytes: &[u8]| {
            let port = match socket {
                Socket::Rtp => ports[side.index()],
                Socket::Rtcp => ports[side.index()] + 1,
            };
            packets.push((port, destination, bytes.to_vec()));
        });
        for (port, destination, bytes) in packets {
            self.send_media_from_x(port, destination, bytes);
        }
        self.drain_recording(id);
        while let Some(event) = self.sessions.get_mut(&id).and_then(|running| running.session.poll_event()) {
            if matches!(event, media::Event::Closed(_)) {
                self.drain_recording(id);
                self.sessions.remove(&id);
            }
            self.core.handle_media_event(now, id, event);
        }
    }

    pub(super) fn drain_recording(&mut self, id: SessionId) {
        let Some(running) = self.sessions.get_mut(&id) else { return };
        let mut alaw = Vec::new();
        while let Some(output) = running.session.poll_recording(&mut alaw) {
            match output {
                RecordingOutput::Started { name } => {
                    if self.recordings.insert(Arc::clone(&name), Recorded::default()).is_some() {
                        self.strange.push(format!("the recording {name} is begun twice"));
                    }
                    running.recording = Some(name);
                }
                RecordingOutput::Audio => {}
                RecordingOutput::Finished { ms } => {
                    let file = running.recording.as_ref().and_then(|name| self.recordings.get_mut(name));
                    if let Some(file) = file {
                        file.alaw.append(&mut alaw);
                        file.finished_ms = Some(ms);
                    }
                }
            }
            if let Some(file) = running.recording.as_ref().and_then(|name| self.recordings.get_mut(name)) {
                file.alaw.append(&mut alaw);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{A, Act, B, Offer, Script, Setup, When, ms};

    #[test]
    fn audio_that_goes_to_where_a_phone_is_not_is_found() {
        for forgets in [false, true] {
            let b = Script::answers(ms(500)).does(When::Up(ms(1_000)), Act::Reinvite(Offer::Moved));
            let mut world = Setup::new(1).mute().a(Script::default().hangs_up(ms(3_000))).b(b).world();
            world.call(A);
            world.run_until(ms(2_000));
            let [first, second] = [world.phone(B).config().rtp, world.phone(B).rtp()];
            assert_ne!(first, second);
            for running in world.sessions.values_mut().filter(|_| forgets) {
                running.remotes[1] = Some(first);
            }
            world.end_all();
            let told = world.violations().concat();
            assert_eq!(told.contains("B is at 10.2.0.12") && told.contains("was sent audio at"), forgets, "{told}");
        }
    }
}
