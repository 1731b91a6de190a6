//! What must hold of every world when nothing is left to happen, whatever the story was.
//!
//! Every call ended, with one CDR; both legs agree; nothing is left in the core, the media or the phones; the phones found
//! nothing to complain of; nobody was told who the other is, nor was the log.

use std::collections::BTreeSet;

use b2bua::cdr::Cdr;
use media::Side;
use numbering::Number;
use phone::{PhoneEvent, State};

use crate::leak::Secrets;
use crate::world::World;

impl World {
    /// Everything that is wrong, a sentence each; empty in a good world. Meant for the end: what is still going on is wrong.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut wrong = self.strange.clone();
        self.check_rest(&mut wrong);
        self.check_phones(&mut wrong);
        self.check_cdrs(&mut wrong);
        self.check_recordings(&mut wrong);
        wrong.extend(self.leaks());
        wrong
    }

    fn check_rest(&self, wrong: &mut Vec<String>) {
        if !self.core.is_idle() {
            wrong.push(format!("the core is not idle: {:?}", self.core.gauges()));
        }
        if self.core.gauges().ports_in_use > 0 {
            wrong.push("a port is in use".to_owned());
        }
        if self.open_sessions() > 0 {
            wrong.push(format!("{} media sessions are open", self.open_sessions()));
        }
    }

    fn check_phones(&self, wrong: &mut Vec<String>) {
        for phone in self.phones() {
            let name = &phone.config().name;
            if !matches!(phone.state(), State::Idle | State::Ended) {
                wrong.push(format!("{name} still has a call: {:?}", phone.state()));
            } else if !phone.is_idle() {
                wrong.push(format!("{name} still has a transaction"));
            }
            if self.media_is_perfect() {
                let faults = phone.ear().faults().iter();
                wrong.extend(faults.map(|(at, fault)| format!("{name} heard at {at:?}: {fault:?}")));
            }
        }
        for (at, who, event) in &self.events {
            if let PhoneEvent::Breach(breach) = event {
                wrong.push(format!("{} complains at {at:?}: {breach}", self.phone(*who).config().name));
            }
        }
    }

    fn check_cdrs(&self, wrong: &mut Vec<String>) {
        let begun = self.core.counters().calls_begun;
        if begun != self.cdrs.len() as u64 {
            wrong.push(format!("{begun} calls, {} CDRs", self.cdrs.len()));
        }
        let names: BTreeSet<_> = self.cdrs.iter().map(|cdr| &cdr.session_id).collect();
        if names.len() != self.cdrs.len() {
            wrong.push("two CDRs have the same session id".to_owned());
        }
        for cdr in &self.cdrs {
            check_times(cdr, wrong);
        }
        self.check_agreement(wrong);
    }

    /// A call that X says was answered was answered for both phones, and the other way round.
    fn check_agreement(&self, wrong: &mut Vec<String>) {
        let answered = self.cdrs.iter().filter(|cdr| cdr.answered.is_some()).count();
        // A caller may have its 200 lost for good; but nobody is in a call that X does not know of.
        let called_up = |event: &PhoneEvent| matches!(event, PhoneEvent::Established);
        for (place, phone) in self.phones().enumerate() {
            let established = self.events.iter().filter(|(_, who, event)| who.0 == place && called_up(event)).count();
            if established > answered + self.crossed() {
                let name = &phone.config().name;
                wrong.push(format!("{name} was in {established} calls, X answered {answered}"));
            }
        }
    }

    /// Calls that B answered while X was giving them up: X acknowledges and ends them at once, and B was in them.
    fn crossed(&self) -> usize {
        self.cdrs.iter().filter(|cdr| cdr.answered.is_none() && cdr.forwarded.is_some()).count()
    }

    fn check_recordings(&self, wrong: &mut Vec<String>) {
        for (name, file) in &self.recordings {
            let Some(ms) = file.finished_ms else {
                wrong.push(format!("the recording {name} was never closed"));
                continue;
            };
            if file.alaw.len() as u64 / 8 != ms {
                wrong.push(format!("the recording {name} has {} samples for {ms} ms", file.alaw.len()));
            }
            let told = |cdr: &&Cdr| cdr.recording.as_ref().is_some_and(|recording| recording.name == *name);
            match self.cdrs.iter().find(told) {
                Some(cdr) if cdr.media.recorded_ms == ms => {}
                Some(cdr) => wrong.push(format!("the CDR has {} ms of {name}, not {ms}", cdr.media.recorded_ms)),
                None => wrong.push(format!("no CDR tells of the recording {name}")),
            }
        }
        for recording in self.cdrs.iter().filter_map(|cdr| cdr.recording.as_ref()) {
            if !self.recordings.contains_key(&recording.name) {
                wrong.push(format!("there is no recording {}", recording.name));
            }
        }
    }

    /// Everything that told somebody who another is.
    #[must_use]
    pub fn leaks(&self) -> Vec<String> {
        let mut found = Vec::new();
        let names: Vec<&str> = self.phones().map(|phone| phone.config().name.as_str()).collect();
        for sent in &self.sent {
            for (owner, secrets) in self.secrets.iter().enumerate() {
                if owner != sent.to {
                    let leaks = secrets.scan(&sent.bytes).into_iter();
                    found.extend(leaks.map(|leak| format!("leak to {}: {leak}", names[sent.to])));
                }
            }
        }
        let mut numbers = Secrets::new();
        for phone in self.phones() {
            if let Ok(number) = Number::parse(&phone.config().number) {
                numbers.add_number(&phone.config().name, number);
            }
        }
        let labels = [format!("{:?}", self.core.gauges()), format!("{:?}", self.core.counters())];
        for line in self.logs.iter().chain(&labels) {
            found.extend(numbers.scan(line.as_bytes()).into_iter().map(|leak| format!("leak to the log: {leak}")));
        }
        found
    }
}

fn check_times(cdr: &Cdr, wrong: &mut Vec<String>) {
    let times = [Some(cdr.call_in), cdr.forwarded, cdr.alerting, cdr.answered, cdr.joined, Some(cdr.ended)];
    let known: Vec<_> = times.into_iter().flatten().collect();
    if !known.is_sorted() {
        wrong.push(format!("the CDR's times are not in order: {times:?}"));
    }
    if cdr.joined.is_some() && cdr.answered.is_none() {
        wrong.push("joined without an answer".to_owned());
    }
    for (side, leg) in Side::BOTH.into_iter().zip(&cdr.media.legs) {
        if leg.sent > 0 && cdr.forwarded.is_none() && side == Side::B {
            wrong.push("B was sent media and was never called".to_owned());
        }
    }
}
