//! What is known of names, until when, and what of it the signalling thread has been told. No sockets, no clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use b2bua::routes::Route;
use b2bua::settings::Target;
use sip::locate::{self, Answer, Located, Outcome, Query, Step, Ways};

use super::Found;

/// The shortest time that an answer is believed, whatever its TTL says: nobody may make us ask without end.
pub(super) const LEAST_TTL: Duration = Duration::from_secs(5);
/// The longest time that an answer is believed.
pub(super) const LONGEST_TTL: Duration = Duration::from_secs(3_600);
/// Until a look-up that failed is tried again, for the first time.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// The same, at last.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// The end of a look-up.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) target: Target,
    pub(super) outcome: Outcome,
    /// What the DNS said to each question, or had said before it failed.
    pub(super) answers: HashMap<Query, Answer>,
    /// Some question had no proper answer.
    pub(super) failed: bool,
}

/// What of a look-up is worth a line in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// Nothing.
    None,
    /// It is known, and was not, or not for sure.
    Fresh,
    /// It could not be looked up for the first time since; the old stays.
    Stale,
    /// It could not be looked up at all.
    Unknown,
}

/// Every name that is wanted.
#[derive(Debug, Default)]
pub(super) struct Book {
    names: HashMap<Target, Name>,
    trunks: Vec<Trunk>,
    ways: Ways,
}

#[derive(Debug)]
struct Trunk {
    name: Arc<str>,
    targets: Vec<Target>,
    told: Option<Vec<Route>>,
    is_new: bool,
}

#[derive(Debug)]
struct Name {
    /// The last that was good; empty: never.
    located: Vec<Located>,
    answers: HashMap<Query, Answer>,
    due: Duration,
    is_running: bool,
    /// A look-up has ended, whatever came of it.
    was_tried: bool,
    /// Look-ups in a row that failed.
    failures: u32,
}

impl Book {
    /// These are the trunks from now on, all their names due at once. What is known of names that stay is kept.
    pub(super) fn want(&mut self, now: Duration, trunks: &[(Arc<str>, Vec<Target>)], ways: &Ways) {
        let mut before = std::mem::take(&mut self.trunks);
        self.ways = ways.clone();
        for (name, targets) in trunks {
            let told = before.iter_mut().find(|trunk| trunk.name == *name).and_then(|trunk| trunk.told.take());
            self.trunks.push(Trunk { name: Arc::clone(name), targets: targets.clone(), told, is_new: true });
        }
        let wanted = |target: &Target| trunks.iter().any(|(_, targets)| targets.contains(target));
        self.names.retain(|target, _| wanted(target));
        for target in trunks.iter().flat_map(|(_, targets)| targets).filter(|target| target.name().is_some()) {
            let name = self.names.entry(target.clone()).or_insert_with(|| Name {
                located: Vec::new(),
                answers: HashMap::new(),
                due: now,
                is_running: false,
                was_tried: false,
                failures: 0,
            });
            name.due = now;
        }
    }

    /// When the next name has to be looked up.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.names.values().filter(|name| !name.is_running).map(|name| name.due).min()
    }

    /// A name that has to be looked up, and what was said of it before.
    pub(super) fn poll_due(&mut self, now: Duration) -> Option<(Target, HashMap<Query, Answer>)> {
        let due = self.names.iter_mut().filter(|(_, name)| !name.is_running && name.due <= now);
        let (target, name) = due.min_by(|a, b| (a.1.due, a.0).cmp(&(b.1.due, b.0)))?;
        name.is_running = true;
        Some((target.clone(), name.answers.clone()))
    }

    /// A name has been looked up.
    pub(super) fn on_looked(&mut self, now: Duration, looked: Looked) -> News {
        // Nobody may want it any more.
        let Some(name) = self.names.get_mut(&looked.target) else { return News::None };
        name.is_running = false;
        name.was_tried = true;
        let was_sure = name.failures == 0 && !name.located.is_empty();
        let ttl = looked.outcome.ttl.unwrap_or_default().clamp(LEAST_TTL, LONGEST_TTL);
        match looked.outcome.located {
            Ok(located) => {
                let is_new = name.located != located;
                name.located = located;
                name.answers = looked.answers;
                if looked.failed {
                    name.fail(now);
                } else {
                    name.failures = 0;
                    name.due = now + ttl;
                }
                if is_new {
                    self.renew(&looked.target);
                }
                match (looked.failed, was_sure) {
                    (false, true) | (true, false) => News::None,
                    (false, false) => News::Fresh,
                    (true, true) => News::Stale,
                }
            }
            Err(_) => {
                let is_first = name.failures == 0;
                name.fail(now);
                match (is_first, name.located.is_empty()) {
                    (false, _) => News::None,
                    (true, true) => News::Unknown,
                    (true, false) => News::Stale,
                }
            }
        }
    }

    /// A look-up has broken off.
    pub(super) fn on_broken(&mut self, now: Duration, target: &Target) {
        if let Some(name) = self.names.get_mut(target) {
            name.is_running = false;
            name.was_tried = true;
            name.fail(now);
        }
    }

    /// Gives `take` what has changed for each trunk, until it says `false`: it could not take it, and will be given it again.
    pub(super) fn poll_found(&mut self, mut take: impl FnMut(Found) -> bool) {
        for trunk in &mut self.trunks {
            // After a reload the old routes take calls until it is known where the new names lead.
            let is_open = |target: &Target| self.names.get(target).is_some_and(|name| !name.was_tried);
            if trunk.told.is_some() && trunk.targets.iter().any(is_open) {
                continue;
            }
            if !std::mem::take(&mut trunk.is_new) {
                continue;
            }
            let mut routes = Vec::new();
            for (place, target) in trunk.targets.iter().enumerate() {
                match locate::begin(target, &self.ways) {
                    Step::Done(Outcome { located, .. }) => {
                        routes.extend(Route::of_target(place, target, &located.unwrap_or_default()));
                    }
                    Step::Ask(_) => {
                        let located = self.names.get(target).map_or(&[][..], |name| &name.located);
                        routes.extend(Route::of_target(place, target, located));
                    }
                }
            }
            if trunk.told.as_ref() == Some(&routes) {
                continue;
            }
            if !take(Found { trunk: Arc::clone(&trunk.name), routes: routes.clone() }) {
                trunk.is_new = true;
                return;
            }
            trunk.told = Some(routes);
        }
    }

    /// Names that are known and fresh, known and not fresh, not known.
    pub(super) fn names(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for name in self.names.values() {
            let place = match (name.located.is_empty(), name.failures) {
                (true, _) => 2,
                (false, 0) => 0,
                (false, _) => 1,
            };
            counts[place] += 1;
        }
        counts
    }

    fn renew(&mut self, target: &Target) {
        for trunk in self.trunks.iter_mut().filter(|trunk| trunk.targets.contains(target)) {
            trunk.is_new = true;
        }
    }
}

impl Name {
    fn fail(&mut self, now: Duration) {
        let pause = FIRST_RETRY * 2_u32.pow(self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        self.due = now + pause.min(LONGEST_RETRY);
    }
}

#[cfg(test)]
mod tests {
    use sip::locate::{Host, LocateError, RecordType, Way};
    use sip::transaction::Transport;

    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn named(name: &str) -> Target {
        Target { host: Host::named(name).unwrap(), port: None, transport: Some(Transport::Udp) }
    }

    fn literal() -> Target {
        Target::at(Transport::Udp, "10.0.0.9:5060".parse().unwrap())
    }

    fn ways() -> Ways {
        Ways { list: vec![Way { transport: Transport::Udp, ipv4: true }], ..Ways::default() }
    }

    fn located(last: u8) -> Vec<Located> {
        let address = ([10, 0, 0, last], 5060).into();
        vec![Located { transport: Transport::Udp, address, priority: 0, weight: 0, name: None }]
    }

    fn looked(target: &Target, found: Result<u8, LocateError>, ttl: u64, failed: bool) -> Looked {
        let query = Query { name: "n".into(), kind: RecordType::A };
        let answers = HashMap::from([(query, Answer::Nothing { ttl: Some(s(ttl)) })]);
        let outcome = Outcome { located: found.map(located), ttl: Some(s(ttl)), left_out: 0, forbidden: 0 };
        Looked { target: target.clone(), outcome, answers, failed }
    }

    /// What the signalling thread is told: `one 10.0.0.1 10.0.0.9`.
    fn told(book: &mut Book) -> Vec<String> {
        let mut all = Vec::new();
        book.poll_found(|found| {
            let routes: Vec<String> = found.routes.iter().map(|route| route.address.ip().to_string()).collect();
            all.push(format!("{} {}", found.trunk, routes.join(" ")).trim_end().to_owned());
            true
        });
        all
    }

    fn book(trunks: &[(&str, Vec<Target>)]) -> Book {
        let mut book = Book::default();
        want(&mut book, Duration::ZERO, trunks);
        book
    }

    fn want(book: &mut Book, now: Duration, trunks: &[(&str, Vec<Target>)]) {
        let trunks: Vec<_> = trunks.iter().map(|(name, targets)| (Arc::from(*name), targets.clone())).collect();
        book.want(now, &trunks, &ways());
    }

    #[test]
    fn a_name_is_looked_up_again_when_its_ttl_is_over() {
        let mut book = book(&[("one", vec![named("a")])]);
        let mut now = Duration::ZERO;
        for (ttl, until) in [(0, 5), (4, 5), (30, 30), (3_600, 3_600), (1_000_000, 3_600)] {
            assert_eq!(book.next_due(), Some(now));
            let (target, _) = book.poll_due(now).unwrap();
            assert!(book.poll_due(now).is_none() && book.next_due().is_none(), "it is being looked up");
            book.on_looked(now, looked(&target, Ok(1), ttl, false));
            now += s(until);
            assert!(book.poll_due(now - s(1)).is_none());
        }
        assert_eq!(told(&mut book), ["one 10.0.0.1"]);
    }

    #[test]
    fn what_failed_is_tried_again_soon_and_then_less_often() {
        let mut book = book(&[("one", vec![named("a")])]);
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let (target, _) = book.poll_due(now).unwrap();
            book.on_looked(now, looked(&target, Err(LocateError::Failed), 0, true));
            let due = book.next_due().unwrap();
            pauses.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60, 60]);
        let (target, _) = book.poll_due(now).unwrap();
        book.on_broken(now, &target);
        assert_eq!(book.next_due(), Some(now + s(60)));
    }

    #[test]
    fn the_last_good_answer_stays_when_the_dns_fails_or_names_nobody() {
        for error in LocateError::ALL {
            let mut book = book(&[("one", vec![named("a")])]);
            let (target, known) = book.poll_due(Duration::ZERO).unwrap();
            assert!(known.is_empty());
            assert_eq!(book.on_looked(Duration::ZERO, looked(&target, Ok(1), 60, false)), News::Fresh);
            assert_eq!((told(&mut book), book.names()), (vec!["one 10.0.0.1".to_owned()], [1, 0, 0]));
            let (_, known) = book.poll_due(s(60)).unwrap();
            assert_eq!(known.len(), 1, "the last answers go with it");
            assert_eq!(book.on_looked(s(60), looked(&target, Err(error), 9, true)), News::Stale);
            assert_eq!((told(&mut book), book.names()), (vec![], [0, 1, 0]));
            let (_, known) = book.poll_due(s(65)).unwrap();
            assert_eq!(known.len(), 1, "and stay");
            assert_eq!(book.on_looked(s(65), looked(&target, Err(error), 9, true)), News::None, "said once");
            assert!(book.poll_due(s(74)).is_none());
            book.poll_due(s(75)).unwrap();
            assert_eq!(book.on_looked(s(75), looked(&target, Ok(2), 60, false)), News::Fresh);
            assert_eq!((told(&mut book), book.names()), (vec!["one 10.0.0.2".to_owned()], [1, 0, 0]));
            assert_eq!(book.next_due(), Some(s(135)));
        }
    }

    #[test]
    fn what_is_found_with_old_answers_is_used_and_asked_for_again_soon() {
        let mut book = book(&[("one", vec![named("a")])]);
        let (target, _) = book.poll_due(Duration::ZERO).unwrap();
        book.on_looked(Duration::ZERO, looked(&target, Ok(1), 60, false));
        book.poll_due(s(60)).unwrap();
        assert_eq!(book.on_looked(s(60), looked(&target, Ok(2), 3_600, true)), News::Stale);
        assert_eq!(told(&mut book), ["one 10.0.0.2"]);
        assert_eq!((book.next_due(), book.names()), (Some(s(65)), [0, 1, 0]));
    }

    #[test]
    fn a_name_that_was_never_known_is_said_once() {
        let mut book = book(&[("one", vec![named("a"), literal()])]);
        assert_eq!(told(&mut book), ["one 10.0.0.9"], "what needs no DNS is there at once");
        let (target, _) = book.poll_due(Duration::ZERO).unwrap();
        assert_eq!(
            book.on_looked(Duration::ZERO, looked(&target, Err(LocateError::NoAddress), 9, false)),
            News::Unknown
        );
        book.poll_due(s(5)).unwrap();
        assert_eq!(book.on_looked(s(5), looked(&target, Err(LocateError::NoAddress), 9, false)), News::None);
        assert_eq!((told(&mut book), book.names()), (vec![], [0, 0, 1]));
        book.poll_due(s(15)).unwrap();
        assert_eq!(book.on_looked(s(15), looked(&target, Ok(1), 9, false)), News::Fresh);
        assert_eq!(told(&mut book), ["one 10.0.0.1 10.0.0.9"], "in the operator's order");
    }

    #[test]
    fn a_reload_keeps_what_is_known_and_looks_all_up_anew() {
        let (a, b) = (named("a"), named("b"));
        let mut book = book(&[("one", vec![a.clone()]), ("two", vec![a.clone(), b.clone()])]);
        for (target, found) in [(&a, 1), (&b, 2)] {
            book.poll_due(Duration::ZERO).unwrap();
            book.on_looked(Duration::ZERO, looked(target, Ok(found), 60, false));
        }
        assert_eq!(told(&mut book), ["one 10.0.0.1", "two 10.0.0.1 10.0.0.2"]);
        want(&mut book, s(10), &[("two", vec![b.clone(), a.clone()]), ("three", vec![b.clone()])]);
        assert_eq!(told(&mut book), ["two 10.0.0.2 10.0.0.1", "three 10.0.0.2"]);
        assert_eq!(book.next_due(), Some(s(10)));
        // A trunk that was gone in between may have been forgotten by the other side.
        want(&mut book, s(11), &[("three", vec![b.clone()])]);
        want(&mut book, s(12), &[("two", vec![b.clone()]), ("three", vec![b.clone()])]);
        assert_eq!(told(&mut book), ["two 10.0.0.2"]);
        // What comes late for a name that nobody wants any more is nothing.
        assert_eq!(book.on_looked(s(13), looked(&a, Ok(7), 60, false)), News::None);
        assert_eq!(told(&mut book), [""; 0]);
    }

    #[test]
    fn a_reload_to_other_names_waits_until_they_are_known_or_known_not_to_be() {
        let (a, b) = (named("a"), named("b"));
        for (found, routes) in [(Ok(2), "one 10.0.0.2"), (Err(LocateError::NoAddress), "one")] {
            let mut book = book(&[("one", vec![a.clone()])]);
            book.poll_due(Duration::ZERO).unwrap();
            book.on_looked(Duration::ZERO, looked(&a, Ok(1), 60, false));
            assert_eq!(told(&mut book), ["one 10.0.0.1"]);
            want(&mut book, s(10), &[("one", vec![b.clone()])]);
            assert_eq!(told(&mut book), [""; 0]);
            assert_eq!(book.poll_due(s(10)).map(|(target, _)| target), Some(b.clone()));
            book.on_looked(s(10), looked(&b, found, 60, false));
            assert_eq!(told(&mut book), [routes]);
        }
    }

    #[test]
    fn what_could_not_be_told_is_told_again() {
        let mut book = book(&[("one", vec![literal()]), ("two", vec![literal()])]);
        let mut refused = Vec::new();
        book.poll_found(|found| {
            refused.push(found.trunk.to_string());
            false
        });
        assert_eq!(refused, ["one"]);
        assert_eq!(told(&mut book), ["one 10.0.0.9", "two 10.0.0.9"]);
    }
}
