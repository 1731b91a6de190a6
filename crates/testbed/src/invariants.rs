//! What must hold of every world when nothing is left to happen, whatever the story was.
//!
//! Every call ended, with one CDR; both legs agree; nothing is left in the core, the media or the phones; the phones found
//! nothing to complain of; nobody was told who the other is, nor was the log.

use std::collections::BTreeSet;

use b2bua::cdr::Cdr;
use media::Side;
use numbering::Number;
use phone::{PhoneEvent, State};

use crate::leak::{Kind, Secrets};
use crate::world::{PhoneId, World};

/// What others than the phones have done to a world, and what can therefore not be asked of it. Whatever stands here: every
/// call ends, nothing is left over, nobody is told who another is, and each dialog of X is ended by a BYE.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Harm {
    /// Somebody on the phone's own trunk, whom X cannot tell from it, spoke within its call: what X tells the phone follows
    /// from what it never said, so that its complaints prove nothing, and X may end a call of which the phone never knew.
    pub spoken_for: BTreeSet<PhoneId>,
    /// Somebody called in a phone's name: a CDR with it as the caller need not be of a call of its own.
    pub called_for: bool,
    /// X was told that its messages do not arrive, or was made to speak past a phone: who is in a call need not have heard.
    pub cut_off: bool,
    /// Somebody sent RTP or RTCP in a phone's name: what the other hears is not what the phone said.
    pub heard_for: bool,
    /// What others hear of these phones is not always in order, and nobody's fault.
    pub uneven: BTreeSet<PhoneId>,
    /// These phones may hang up before the ACK comes, and are in no call then, though one was answered.
    pub hasty: BTreeSet<PhoneId>,
}

impl World {
    /// Everything that is wrong, a sentence each; empty in a good world. Meant for the end: what is still going on is wrong.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.violations_despite(&Harm::default())
    }

    /// The same after harm was done: what does not follow from it is wrong.
    #[must_use]
    pub fn violations_despite(&self, harm: &Harm) -> Vec<String> {
        let mut wrong = self.strange.clone();
        let astray = self.astray.iter().filter(|(who, _)| !harm.called_for && !harm.spoken_for.contains(who));
        wrong.extend(astray.map(|(_, sentence)| sentence.clone()));
        self.check_rest(&mut wrong);
        self.check_phones(harm, &mut wrong);
        self.check_cdrs(&mut wrong);
        self.check_agreement(harm, &mut wrong);
        self.check_recordings(&mut wrong);
        self.check_wire(&mut wrong);
        wrong.extend(self.leaks_despite(harm));
        wrong
    }

    fn check_rest(&self, wrong: &mut Vec<String>) {
        if !self.core.is_idle() {
            wrong.push(format!("the core is not idle: {:?}", self.core.gauges()));
        }
        if self.core.gauges().ports_in_use > 0 {
            wrong.push("a port is in use".to_owned());
        }
        let gauges = self.core.gauges();
        if gauges.calls > 0 || gauges.transactions != (0, 0) || gauges.trunk_calls.iter().any(|(_, calls)| *calls > 0) {
            wrong.push(format!("the gauges are not at zero: {gauges:?}"));
        }
        if self.core.counters().panics > 0 {
            wrong.push(format!("{} panics", self.core.counters().panics));
        }
        if self.open_sessions() > 0 {
            wrong.push(format!("{} media sessions are open", self.open_sessions()));
        }
    }

    fn check_phones(&self, harm: &Harm, wrong: &mut Vec<String>) {
        for (place, phone) in self.phones().enumerate() {
            let name = &phone.config().name;
            // A call in its name may have its RTP address too.
            let heard_for = harm.heard_for || harm.called_for || harm.spoken_for.contains(&PhoneId(place));
            let uneven = harm.uneven.iter().any(|who| who.0 != place);
            if !matches!(phone.state(), State::Idle | State::Ended) {
                wrong.push(format!("{name} still has a call: {:?}", phone.state()));
            } else if !phone.is_idle() {
                wrong.push(format!("{name} still has a transaction"));
            }
            if self.media_is_perfect() && !heard_for && !uneven {
                let faults = phone.ear().faults().iter();
                wrong.extend(faults.map(|(at, fault)| format!("{name} heard at {at:?}: {fault:?}")));
            }
        }
        for (at, who, event) in &self.events {
            // A session timer counts from what was heard: over a bad network one side may be long past the other. Nonce counts
            // arrive as the network likes.
            let late = |breach: &str| {
                let by_network = breach.ends_with("(RFC 4028 §10)") || breach.contains("credentials: nc ");
                by_network && !self.signalling_is_perfect()
            };
            if let PhoneEvent::Breach(breach) = event
                && !harm.spoken_for.contains(who)
                && !late(breach)
            {
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
    }

    /// Both legs and the CDR tell the same story: who thinks that it was in a call was in one that X says was answered.
    fn check_agreement(&self, harm: &Harm, wrong: &mut Vec<String>) {
        for (place, phone) in self.phones().enumerate() {
            let name = &phone.config().name;
            let number = Number::parse(&phone.config().number).ok();
            let established = self.established(place);
            // Called by way of another carrier it has not heard of it.
            let trunk = self.settings.trunk_of(phone.config().contact.ip()).map(|id| &self.settings.trunk(id).name);
            let called = self.cdrs.iter().filter(|cdr| cdr.callee == number && number.is_some());
            let called = called.filter(|cdr| cdr.trunk_out.as_ref() == trunk);
            let calling = self.cdrs.iter().filter(|cdr| cdr.caller == number && number.is_some());
            let answered = |cdr: &&Cdr| cdr.answered.is_some();
            // Whoever is asked for an extension may be answered before anybody is called.
            let taken = |cdr: &&Cdr| cdr.answered.is_some() || cdr.asked.is_some();
            // B may answer while X is giving it up: X acknowledges and ends the call at once, and B was in it.
            let allowed =
                [calling.clone().filter(taken).count(), called.clone().filter(|cdr| cdr.forwarded.is_some()).count()];
            // B may have answered and A given up before it could be told.
            let told = |cdr: &&Cdr| taken(cdr) && cdr.status_a == 200;
            // Over a perfect network both are in every call that was answered, save one who never acknowledges, or hears nothing.
            let hears_all = self.signalling_is_perfect() && !harm.cut_off && !harm.spoken_for.contains(&PhoneId(place));
            let script = &phone.config().script;
            let absent = script.never_acknowledge || script.dead || harm.hasty.contains(&PhoneId(place));
            let wanted = match (hears_all, absent) {
                (true, false) if harm.called_for => [0, called.filter(answered).count()],
                (true, false) => [calling.filter(told).count(), called.filter(answered).count()],
                (true, true) | (false, _) => [0, 0],
            };
            for (side, what) in [(Side::A, "called"), (Side::B, "was called")] {
                let (count, least, most) = (established[side.index()], wanted[side.index()], allowed[side.index()]);
                if count < least || count > most {
                    wrong.push(format!("{name} {what} and was in {count} calls; by the CDRs {least} to {most}"));
                }
            }
        }
    }

    /// Calls that this phone was in: as a caller, as a called party.
    fn established(&self, place: usize) -> [usize; 2] {
        let mut counts = [0; 2];
        let mut role = Side::A;
        for (_, _, event) in self.events.iter().filter(|(_, who, _)| who.0 == place) {
            match event {
                PhoneEvent::Invited { .. } => role = Side::B,
                PhoneEvent::Established => counts[role.index()] += 1,
                PhoneEvent::Released { .. } | PhoneEvent::Refused { .. } | PhoneEvent::Failed(_) => role = Side::A,
                PhoneEvent::Ringing { .. }
                | PhoneEvent::Answered { .. }
                | PhoneEvent::MediaChanged { .. }
                | PhoneEvent::ModificationRefused { .. }
                | PhoneEvent::Pracked
                | PhoneEvent::BranchReleased
                | PhoneEvent::InfoDigit { .. }
                | PhoneEvent::Requested { .. }
                | PhoneEvent::RequestAnswered { .. }
                | PhoneEvent::SessionTimer { .. }
                | PhoneEvent::SessionExpired
                | PhoneEvent::TriedAgain { .. }
                | PhoneEvent::Texted { .. }
                | PhoneEvent::TextAnswered { .. }
                | PhoneEvent::TextUnanswered
                | PhoneEvent::Hears(_)
                | PhoneEvent::Breach(_) => {}
            }
        }
        counts
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

    /// Everything in X's messages and logs that tells who somebody else is. (Leaks in RTP and RTCP are noted as they pass
    /// and stand among the [`World::violations`].)
    #[must_use]
    pub fn leaks(&self) -> Vec<String> {
        self.leaks_despite(&Harm::default())
    }

    /// Who speaks for a phone may say another's number, e.g. in a Contact, and X says it back to the trunk that it came from.
    fn leaks_despite(&self, harm: &Harm) -> Vec<String> {
        let mut found = Vec::new();
        let names: Vec<&str> = self.phones().map(|phone| phone.config().name.as_str()).collect();
        for sent in &self.sent {
            for (owner, secrets) in self.secrets.iter().enumerate() {
                if owner == sent.to {
                    continue;
                }
                let mut leaks = secrets.scan(&sent.bytes);
                if !leaks.is_empty() && harm.spoken_for.contains(&PhoneId(sent.to)) {
                    let known = self.told_by(self.phone(PhoneId(sent.to)).config().contact.ip(), owner);
                    leaks.retain(|leak| !known.contains(&leak.kind));
                }
                found.extend(leaks.into_iter().map(|leak| format!("leak to {}: {leak}", names[sent.to])));
            }
        }
        let mut numbers = Secrets::new();
        for phone in self.phones() {
            if let Ok(number) = Number::parse(&phone.config().number) {
                numbers.add_number(&phone.config().name, number);
            }
            if let Some(canary) = &phone.config().canary {
                numbers.add_text(&phone.config().name, Kind::Canary, canary);
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
    let times = [Some(cdr.call_in), cdr.asked, cdr.forwarded, cdr.alerting, cdr.answered, cdr.joined, Some(cdr.ended)];
    let known: Vec<_> = times.into_iter().flatten().collect();
    if !known.is_sorted() {
        wrong.push(format!("the CDR's times are not in order: {times:?}"));
    }
    if cdr.joined.is_some() && cdr.answered.is_none() {
        wrong.push("joined without an answer".to_owned());
    }
    if cdr.forwarded.is_none() && cdr.media.legs[Side::B.index()].sent > 0 {
        wrong.push("B was sent media and was never called".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{A, B, Link, Script, Setup, ms};

    fn setup() -> Setup {
        Setup::new(1).a(Script::default().hangs_up(ms(3_000))).b(Script::answers(ms(500))).recorded()
    }

    fn played(setup: Setup) -> World {
        let mut world = setup.world();
        world.call(A);
        assert!(world.run_until_idle(ms(20_000_000)));
        world
    }

    fn told(world: &World, sentence: &str) -> bool {
        world.violations().iter().any(|wrong| wrong.contains(sentence))
    }

    #[test]
    fn a_good_call_violates_nothing() {
        assert_eq!(played(setup()).violations(), Vec::<String>::new());
        assert_eq!(played(setup().tcp()).violations(), Vec::<String>::new());
    }

    #[test]
    fn a_call_that_is_still_up_violates_nearly_everything() {
        let mut world = setup().world();
        world.call(A);
        world.run_until(ms(2_500));
        for sentence in [
            "the core is not idle",
            "a port is in use",
            "1 media sessions are open",
            "A still has a call: Established",
            "B still has a call: Established",
            "1 calls, 0 CDRs",
            "was never closed",
        ] {
            assert!(told(&world, sentence), "{sentence}: {:?}", world.violations());
        }
        world.finish();
    }

    #[test]
    fn harm_excuses_those_whom_it_was_done_to_and_nobody_else() {
        let mut world = played(setup());
        world.events.clear();
        let despite = |world: &World, hasty: &[PhoneId]| {
            let harm = Harm { hasty: hasty.iter().copied().collect(), ..Harm::default() };
            world.violations_despite(&harm)
        };
        assert_eq!(despite(&world, &[A, B]), Vec::<String>::new());
        for (hasty, other) in [(A, "B was called and was in 0"), (B, "A called and was in 0")] {
            let wrong = despite(&world, &[hasty]);
            assert!(wrong.len() == 1 && wrong[0].starts_with(other), "{wrong:?}");
        }
    }

    #[test]
    fn wrong_cdrs_are_found() {
        let spoilt = |spoil: &dyn Fn(&mut World)| {
            let mut world = played(setup());
            spoil(&mut world);
            world
        };
        assert!(told(&spoilt(&|world| world.cdrs.push(world.cdrs[0].clone())), "1 calls, 2 CDRs"));
        assert!(told(&spoilt(&|world| world.cdrs.push(world.cdrs[0].clone())), "the same session id"));
        assert!(told(&spoilt(&|world| world.cdrs[0].answered = None), "A called and was in 1 calls"));
        assert!(told(&spoilt(&|world| world.cdrs[0].callee = None), "B was called and was in 1 calls"));
        assert!(told(&spoilt(&|world| world.events.clear()), "was in 0 calls; by the CDRs 1 to 1"));
        assert!(told(&spoilt(&|world| world.cdrs[0].ended = Duration::ZERO), "not in order"));
        assert!(told(&spoilt(&|world| world.cdrs[0].answered = None), "joined without an answer"));
        assert!(told(&spoilt(&|world| world.cdrs[0].recording = None), "no CDR tells of the recording"));
        assert!(told(&spoilt(&|world| world.cdrs[0].media.recorded_ms += 1), "ms of "));
        assert!(told(&spoilt(&|world| world.recordings.clear()), "there is no recording"));
        assert!(told(
            &spoilt(&|world| world.recordings.values_mut().for_each(|file| file.alaw.clear())),
            "has 0 samples"
        ));
    }

    #[test]
    fn a_complaint_of_a_phone_is_a_violation() {
        let mut world = played(setup());
        world.events.push((ms(1), B, PhoneEvent::Breach("no Via".to_owned())));
        assert!(told(&world, "B complains at 1ms: no Via"));
    }

    #[test]
    fn broken_audio_is_a_violation_only_where_the_network_is_perfect() {
        let broken = |media_link| {
            let mut world = setup().media_link(media_link).world();
            world.call(A);
            world.run_until(ms(2_500));
            let b = world.phone(B).config().rtp;
            world.with_phone(B, |phone, now| phone.handle_rtp(now, b, &[0x80, 8, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9, 1]));
            assert!(world.run_until_idle(ms(20_000_000)));
            world
        };
        assert!(told(&broken(Link::default()), "B heard at 2.5s: Ssrc"));
        assert!(!told(&broken(Link::bad(1)), "B heard"));
    }

    #[test]
    fn what_x_is_made_to_tell_is_found_in_both_directions() {
        for (secret, kind) in [
            ("kingfisher-A", "Canary of A"),
            ("Wang Xiaoming", "DisplayName of A"),
            ("10.1.0.10", "Host of A"),
            ("+86 138-1111-2222", "Number of A"),
            ("13811112222", "Number of A"),
            ("kFUODEzODExMTEyMjIy", "Number of A (base64)"),
            ("%31%33%38%31%31%31%31%32%32%32%32", "Number of A (percent)"),
            ("kingfisher-B", "Canary of B"),
            ("8613933334444", "Number of B"),
        ] {
            let mut setup = setup();
            setup.settings.product_name = Some(secret.into());
            let world = played(setup);
            let to = if kind.contains("of A") { "leak to B: " } else { "leak to A: " };
            assert!(told(&world, &format!("{to}{kind}")), "{secret}: {:?}", world.violations());
        }
    }

    #[test]
    fn audio_with_somebody_elses_ssrc_or_words_is_found() {
        let mut world = setup().world();
        world.call(A);
        world.run_until(ms(2_500));
        for canary in [&b"kingfisher-A"[..], b"cname-of-A@10.1.0.11"] {
            let rtp = world.phone(A).config().rtp;
            let mut packet = vec![0x80, 8, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9];
            assert!(!world.says_aloud(&packet));
            packet.extend(canary);
            assert!(world.says_aloud(&packet));
            // A says it itself, as audio: it goes through, and is noticed.
            let port = world.settings.media.ports.0;
            world.inject_rtp(rtp, port, &packet);
        }
        world.run_until_idle(ms(20_000_000));
        assert!(told(&world, "leak to B at"), "{:?}", world.violations());
    }

    #[test]
    fn a_number_in_the_log_is_found() {
        let mut world = played(setup());
        assert!(!world.logs.is_empty());
        world.logs.push("caller=+8613811112222".to_owned());
        assert!(told(&world, "leak to the log: Number of A"));
    }
}
