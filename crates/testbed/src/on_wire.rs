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
    fn told_by(&self, from: IpAddr, place: usize) -> BTreeSet<Kind> {
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
