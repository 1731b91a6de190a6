//! What must hold of the messages themselves, to whomever X said them: to phones, or to somebody who only claims to be one.
//!
//! ```text
//!   2xx to an INVITE, or ACK to one  ─▶ a dialog of X          each is ended: by a BYE of X, or by a 200 of X to one
//!   request of X                     ─▶ an address of a trunk, and a CSeq higher than the last in its dialog
//!   response of X                    ─▶ who has asked; within a dialog it grants nothing to another trunk
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use b2bua::settings::TrunkId;
use bytes::Bytes;
use sip::limits::Limits;
use sip::message::{Message, Method};

use crate::leak::Kind;
use crate::world::{OnWire, World};

/// Call-ID, X's tag, the peer's tag.
type DialogId = [Bytes; 3];

#[derive(Default)]
struct Dialogs {
    /// Branches of X's INVITEs: an ACK with one of them is part of its transaction.
    invites: BTreeSet<Bytes>,
    confirmed: BTreeSet<DialogId>,
    ended: BTreeSet<DialogId>,
    /// Branches of X's requests within a dialog: one seen before is sent again.
    branches: BTreeSet<Bytes>,
    cseq: BTreeMap<DialogId, u32>,
    /// The trunk that the peer is on.
    home: BTreeMap<DialogId, Option<TrunkId>>,
}

impl World {
    pub(crate) fn check_wire(&self, wrong: &mut Vec<String>) {
        let mut dialogs = Dialogs::default();
        let mut asked: BTreeSet<IpAddr> = BTreeSet::new();
        for said in &self.wire {
            if !said.by_x {
                asked.insert(said.peer.ip());
                continue;
            }
            let message = match Message::parse(said.bytes.clone(), &Limits::default()) {
                Ok(message) => message,
                // A request that cannot be read is answered with what of it can.
                Err(_)
                    if [b"400", b"403", b"413", b"414", b"505", b"513"].iter().any(|status| {
                        said.bytes.strip_prefix(b"SIP/2.0 ").is_some_and(|rest| rest.starts_with(*status))
                    }) =>
                {
                    continue;
                }
                Err(rejected) => {
                    wrong.push(format!(
                        "X said what it would refuse itself: {:?}: {}",
                        rejected.error,
                        said.bytes.escape_ascii()
                    ));
                    continue;
                }
            };
            if message.is_request() && self.is_nobody(said.peer.ip()) {
                wrong.push(format!("{} to {}, who is of no trunk", message.method().as_str(), said.peer));
            }
            if !message.is_request() && !asked.contains(&said.peer.ip()) {
                wrong.push(format!("{} to {}, who has asked nothing", message.status(), said.peer));
            }
            let trunk = self.settings.trunk_of(said.peer.ip());
            dialogs.note(&message, wrong);
            if let Some(dialog) = dialogs.taken(&message, trunk) {
                wrong.push(format!(
                    "{} to {} in {dialog}, which is another trunk's",
                    message.method().as_str(),
                    said.peer
                ));
            }
        }
        for [call_id, ours, theirs] in dialogs.confirmed.difference(&dialogs.ended) {
            wrong.push(format!(
                "the dialog {} {} {} was never ended",
                call_id.escape_ascii(),
                ours.escape_ascii(),
                theirs.escape_ascii()
            ));
        }
        self.check_others(wrong);
    }

    /// On no trunk, under any settings that X has had.
    fn is_nobody(&self, ip: IpAddr) -> bool {
        let of_no_trunk = self.former.iter().chain([&self.settings]).all(|settings| settings.trunk_of(ip).is_none());
        of_no_trunk && !self.looked_up.contains(&ip)
    }

    /// What X says to those who are no phone: nothing of a phone on another trunk, save what they have said themselves, which
    /// comes back to them in From, To, Via and Call-ID.
    fn check_others(&self, wrong: &mut Vec<String>) {
        let is_phone = |said: &OnWire| self.phones().any(|phone| phone.config().contact == said.peer);
        let is_target = |ip: IpAddr| {
            let all = self.former.iter().chain([&self.settings]).flat_map(|settings| &settings.trunks);
            all.flat_map(|trunk| &trunk.targets)
                .any(|target| target.address().is_some_and(|address| address.ip() == ip))
                || self.looked_up.contains(&ip)
        };
        let to_others: BTreeSet<(IpAddr, &Bytes)> = self
            .wire
            .iter()
            .filter(|said| said.by_x && !is_phone(said))
            .map(|said| (said.peer.ip(), &said.bytes))
            .collect();
        let mut told: BTreeMap<(IpAddr, usize), BTreeSet<Kind>> = BTreeMap::new();
        for (to, bytes) in to_others {
            for (place, phone) in self.phones().enumerate() {
                let trunk = self.settings.trunk_of(phone.config().contact.ip());
                if trunk.is_some() && trunk == self.settings.trunk_of(to) {
                    continue;
                }
                let mut leaks = self.secrets[place].scan(bytes);
                if leaks.is_empty() {
                    continue;
                }
                // Who is called is named to the trunk that shall call it.
                let number = phone.config().number.as_str();
                let names = |line: &[u8]| String::from_utf8_lossy(line).contains(number);
                let mut lines = bytes.split(|byte| *byte == b'\r');
                let is_called =
                    lines.next().is_some_and(names) || lines.any(|line| line.starts_with(b"\nTo: ") && names(line));
                if is_called && is_target(to) {
                    leaks.retain(|leak| leak.kind != Kind::Number);
                }
                let known = told.entry((to, place)).or_insert_with(|| self.told_by(to, place));
                leaks.retain(|leak| !known.contains(&leak.kind));
                wrong.extend(leaks.into_iter().map(|leak| format!("leak to {to}: {leak}")));
            }
        }
    }

    /// Kinds of secrets of a phone that this address, or another of its trunk, has said to X.
    pub(crate) fn told_by(&self, from: IpAddr, place: usize) -> BTreeSet<Kind> {
        let trunk = self.settings.trunk_of(from);
        let is_of_it = |ip: IpAddr| ip == from || (trunk.is_some() && self.settings.trunk_of(ip) == trunk);
        let of_it = self.wire.iter().filter(|said| !said.by_x && is_of_it(said.peer.ip()));
        of_it.flat_map(|said| self.secrets[place].scan(&said.bytes)).map(|leak| leak.kind).collect()
    }
}

impl Dialogs {
    /// X has granted a request within a dialog to somebody who is on another trunk than the dialog's peer: its Call-ID.
    fn taken(&mut self, message: &Message, trunk: Option<TrunkId>) -> Option<String> {
        let part = Bytes::copy_from_slice;
        let (call_id, from, to) = (part(message.call_id()), part(message.from_tag()), part(message.to_tag()));
        let dialog = if message.is_request() { [call_id, from, to] } else { [call_id, to, from] };
        if !self.confirmed.contains(&dialog) {
            return None;
        }
        let granted = !message.is_request() && message.status() < 300 && message.method() != Method::Cancel;
        let home = *self.home.entry(dialog).or_insert(trunk);
        (granted && home != trunk).then(|| message.call_id().escape_ascii().to_string())
    }

    /// Something that X said.
    fn note(&mut self, message: &Message, wrong: &mut Vec<String>) {
        let part = Bytes::copy_from_slice;
        let (call_id, from, to) = (part(message.call_id()), part(message.from_tag()), part(message.to_tag()));
        let branch = part(message.top_via().branch);
        let method = message.method();
        if message.is_request() {
            let dialog = [call_id, from, to];
            // A 2xx that comes when its call is gone and forgotten is acknowledged and ended anew.
            let again = method == Method::Bye && self.ended.contains(&dialog);
            match method {
                Method::Invite => drop(self.invites.insert(branch.clone())),
                Method::Ack if !self.invites.contains(&branch) => drop(self.confirmed.insert(dialog.clone())),
                Method::Bye => drop(self.ended.insert(dialog.clone())),
                _ => {}
            }
            let counts = !matches!(method, Method::Ack | Method::Cancel) && !dialog[2].is_empty();
            if counts && !again && self.branches.insert(branch) {
                let cseq = message.cseq().number;
                if let Some(last) = self.cseq.insert(dialog, cseq).filter(|last| *last >= cseq) {
                    wrong.push(format!("{} with CSeq {cseq} after {last}", method.as_str()));
                }
            }
        } else if (200..300).contains(&message.status()) {
            let dialog = [call_id, to, from];
            match method {
                Method::Invite => drop(self.confirmed.insert(dialog)),
                Method::Bye => drop(self.ended.insert(dialog)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::{A, Script, Setup, ms};

    fn played() -> World {
        let setup = Setup::new(1).mute().a(Script::default().hangs_up(ms(3_000))).b(Script::answers(ms(500)));
        let mut world = setup.world();
        world.call(A);
        world.finish();
        world
    }

    /// The violations of a world whose wire was changed after the fact.
    fn spoilt(spoil: impl FnOnce(&mut Vec<OnWire>)) -> Vec<String> {
        let mut world = played();
        spoil(&mut world.wire);
        world.violations()
    }

    fn told(wrong: &[String], sentence: &str) -> bool {
        wrong.iter().any(|wrong| wrong.contains(sentence))
    }

    fn says(said: &OnWire, start: &str, cseq: &str) -> bool {
        let text = String::from_utf8_lossy(&said.bytes);
        said.by_x && text.starts_with(start) && text.contains(cseq)
    }

    /// What X said at last that begins like this, in a transaction of this method.
    fn last<'a>(wire: &'a mut [OnWire], start: &str, method: &str) -> &'a mut OnWire {
        let found = wire.iter_mut().rev().find(|said| says(said, start, &format!("{method}\r\n")));
        found.expect("X has said so")
    }

    fn changed(said: &OnWire, from: &str, to: &str) -> Bytes {
        Bytes::from(String::from_utf8_lossy(&said.bytes).replace(from, to))
    }

    const STRANGER: ([u8; 4], u16) = ([192, 0, 2, 66], 5060);

    #[test]
    fn a_dialog_without_its_bye_is_found_on_either_leg() {
        assert_eq!(spoilt(|_| {}), Vec::<String>::new());
        for start in ["BYE ", "SIP/2.0 200"] {
            let wrong = spoilt(|wire| wire.retain(|said| !says(said, start, "BYE\r\n")));
            assert!(told(&wrong, "was never ended"), "{start}: {wrong:?}");
        }
    }

    #[test]
    fn what_goes_to_whom_it_must_not_is_found() {
        let to_a_stranger =
            |start, method| spoilt(move |wire| last(wire, start, method).peer = SocketAddr::from(STRANGER));
        assert!(told(&to_a_stranger("BYE ", "BYE"), "BYE to 192.0.2.66:5060, who is of no trunk"));
        assert!(told(&to_a_stranger("SIP/2.0 200", "BYE"), "200 to 192.0.2.66:5060, who has asked nothing"));
        let granted = spoilt(|wire| last(wire, "SIP/2.0 200", "BYE").peer = SocketAddr::from(([10, 2, 7, 7], 5060)));
        assert!(told(&granted, "which is another trunk's"), "{granted:?}");
    }

    #[test]
    fn a_number_told_to_another_trunk_is_found_unless_it_has_said_it_or_is_to_call_it() {
        let other = SocketAddr::from(([10, 2, 7, 7], 5060));
        let tells = |spoil: &dyn Fn(&mut Vec<OnWire>)| {
            let wrong = spoilt(|wire| {
                let said = last(wire, "SIP/2.0 200", "BYE").clone();
                wire.push(OnWire { peer: other, ..said });
                spoil(wire);
            });
            told(&wrong, "leak to 10.2.7.7: Number of A")
        };
        assert!(tells(&|_| {}));
        assert!(!tells(&|wire| {
            let heard = wire.iter().find(|said| !said.by_x).expect("A's INVITE").clone();
            wire.push(OnWire { peer: other, ..heard });
        }));
        // B's number goes to B's carrier, in every INVITE.
        assert!(!told(&spoilt(|_| {}), "leak to"));
    }

    #[test]
    fn numbers_that_do_not_count_on_and_rubbish_are_found() {
        let wrong = spoilt(|wire| {
            let said = last(wire, "BYE ", "BYE").clone();
            let bytes = changed(
                &OnWire { bytes: changed(&said, "BYE", "INFO"), ..said.clone() },
                "branch=z9hG4bK",
                "branch=z9hG4bK0",
            );
            wire.push(OnWire { bytes, ..said });
        });
        assert!(told(&wrong, "INFO with CSeq 2 after 2"), "{wrong:?}");
        let wrong = spoilt(|wire| last(wire, "BYE ", "BYE").bytes = Bytes::from_static(b"BYE\r\n\r\n"));
        assert!(told(&wrong, "X said what it would refuse itself"), "{wrong:?}");
    }
}
