//! Random programs over all kinds, numbers, time, the operator's file and the journal, beside a world that is looked up by
//! walking through everything; and the journal read back and taken back.

use super::*;

const LIMITS: Limits = Limits { pairs_per_number: 3, numbers: 9, bindings: 24 };
const SERVICE: &str = "+864001234567";

fn rules() -> [(AppId, Rules); 3] {
    [
        (APP, Rules { mode: Mode::Axb, cool_off: 40, ..Rules::default() }),
        (AX_APP, Rules { mode: Mode::Ax, ..Rules::default() }),
        (AXE_APP, Rules { mode: Mode::Axe, cool_off: 25, extension_width: 1, call_back: Some(m(7)) }),
    ]
}

fn empty() -> (Bindings, Table) {
    let (mut bindings, table) = Bindings::new(LIMITS);
    for (app, rules) in rules() {
        bindings.set_rules(app, rules);
    }
    (bindings, table)
}

fn fixed() -> Number {
    number("+8675528000001")
}

fn service() -> Number {
    number(SERVICE)
}

/// 11 digits of the 700 segment.
fn managed() -> Number {
    number("+8670012345678")
}

/// The same with four digits behind them.
fn tailed(tail: u16) -> Number {
    managed().with_tail(tail).unwrap()
}

/// Every X that there may be: of the API, of the file; one of 11 digits of the 700 segment, and one of 15 that begins so.
fn every_x() -> impl Iterator<Item = Number> {
    (1..=6).chain(11..=13).map(x).chain([managed(), tailed(3)])
}

/// What leads to none, but may to an extension.
fn every_dialled() -> impl Iterator<Item = Number> {
    every_x().chain([0, 1, 2, 7, 12, 999].map(tailed))
}

/// Somebody who can be called back; X that have left the pool are fixed lines.
fn is_known_kind(caller: Number) -> bool {
    caller != service() && caller != number("+85223456789") && caller != number("+86110")
}

impl Random {
    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    fn rarely(&mut self) -> bool {
        self.below(12) == 0
    }

    fn someone(&mut self) -> Number {
        match self.below(14) {
            0 => fixed(),
            1 if self.rarely() => service(),
            2 if self.below(3) == 0 => x(5),
            3 if self.rarely() => x(12),
            3 if self.below(4) == 0 => tailed(self.below(5) as u16),
            n => m(n),
        }
    }

    fn any_x(&mut self) -> Number {
        match self.below(16) {
            n @ 0..=8 => x(1 + n % 6),
            n @ 9..=11 => x(2 + n),
            12 => tailed(3),
            _ => managed(),
        }
    }

    fn number(&mut self, x: Number) -> VirtualNumber {
        let state = match self.below(8) {
            n @ 0..=3 => NumberState::ALL[n as usize],
            _ => NumberState::Normal,
        };
        let area = self.of(&[None, Some(area("010")), Some(area("0755")), Some(area("0755"))]);
        let app = self.of(&[APP, APP, APP, OTHER_APP, AX_APP, AX_APP, AXE_APP, AXE_APP]);
        let app = if x.is_managed_700() && self.below(4) != 0 { AXE_APP } else { app };
        VirtualNumber { area, state, ..virtual_number(x, app) }
    }

    fn id(&mut self) -> SubscriptionId {
        SubscriptionId(u128::from(self.below(26)))
    }

    fn ends(&mut self, now: u64) -> u64 {
        if self.below(3) == 0 { now + self.below(100) } else { 0 }
    }

    /// Who called about a minute ago, which is as long as it counts.
    fn caller(&mut self, now: u64) -> LastCaller {
        let number = match self.below(8) {
            0 => number("+85223456789"),
            1 => number("+86110"),
            2 => service(),
            _ => self.someone(),
        };
        LastCaller { number, at: now - 60_000 + self.below(40) }
    }

    /// One of a kind, with the number limits of each rule at times overstepped.
    fn binding(&mut self, id: SubscriptionId, app: AppId, mode: Mode, x: Number, now: u64) -> Binding {
        let a = self.someone();
        let max_minutes = if self.rarely() { 1_441 } else { 1_440 };
        let (direction, ends) = (self.direction(), self.ends(now));
        match mode {
            Mode::Axb => {
                let b = if self.rarely() { a } else { self.someone() };
                Binding::Axb(Axb { app, direction, max_minutes, ends, ..axb(id.0, a, x, b) })
            }
            Mode::Ax => {
                let callee = if self.rarely() { a } else { self.of(&[m(5), m(6), service()]) };
                let callee = self.maybe(|random| Temporary { callee, ends: now + random.below(60), user_text: None });
                let is_on = !self.rarely();
                whole(Ax { app, direction, max_minutes, is_on, temporary: callee, ..ax(id.0, a, x) })
            }
            Mode::Axe => {
                let value = 1 + self.below(9) as u16;
                let extension = Extension::new(if self.rarely() { 2 } else { 1 }, value).unwrap();
                let call_back = match self.below(12) {
                    0 => CallBack::Number(self.someone()),
                    1..=3 => CallBack::Tone("tone".into()),
                    _ => CallBack::App,
                };
                let (unit, call_back_for) = (TimeUnit::Minutes, self.below(2) as u32);
                let last_caller = self.maybe(|random| random.caller(now));
                let terms = Axe { unit, call_back_for, last_caller, ..axe(id.0, a, x, extension) };
                extended(Axe { app, ends, call_back, ..terms })
            }
        }
    }
}

/// All that there is.
#[derive(Clone, Default)]
struct World {
    now: u64,
    only_700: bool,
    /// And whether it stands in the file.
    numbers: BTreeMap<Number, (VirtualNumber, bool)>,
    bindings: BTreeMap<SubscriptionId, (Binding, bool)>,
    /// Until when; may be past.
    rests: BTreeMap<Number, u64>,
}

fn rules_of(app: AppId) -> Rules {
    rules().into_iter().find(|(of, _)| *of == app).map(|(_, rules)| rules).unwrap_or_default()
}

fn others(binding: &Binding) -> Vec<Number> {
    match binding {
        Binding::Axb(axb) => vec![axb.b],
        Binding::Ax(ax) => ax.temporary.iter().map(|temporary| temporary.callee).collect(),
        Binding::Axe(axe) => match axe.call_back {
            CallBack::Number(number) => vec![number],
            CallBack::App | CallBack::Tone(_) => vec![],
        },
    }
}

impl World {
    fn on(&self, x: Number) -> impl Iterator<Item = &Binding> {
        self.bindings.values().map(|(binding, _)| binding).filter(move |binding| binding.x() == x)
    }

    fn app_of(&self, x: Number) -> Option<AppId> {
        self.numbers.get(&x).map(|(number, _)| number.app)
    }

    /// The X that a number leads to, and the extension that stands in it.
    fn dialled(&self, number: Number) -> Option<(Number, Option<u16>)> {
        let value = number.as_u64();
        let tail = (value / 10_000 == managed().as_u64()).then_some((value % 10_000) as u16);
        match (self.numbers.get(&number), self.numbers.get(&managed()), tail) {
            (Some(_), _, _) => Some((number, None)),
            (None, Some((held, _)), Some(tail)) => {
                assert_eq!(held.app, AXE_APP);
                Some((managed(), Some(tail)))
            }
            (None, _, _) => None,
        }
    }

    fn may_serve(&self, x: Number) -> bool {
        !self.only_700 || [managed(), tailed(3)].contains(&x)
    }

    /// Whether an extension of an X is dialled by a number that is an X.
    fn is_shadowed(&self, axe: &Axe) -> bool {
        axe.x == managed() && self.numbers.contains_key(&tailed(axe.extension.value()))
    }

    /// The rules in the order in which they are looked at; `own` is the binding that is changed.
    fn refusal(&self, binding: &Binding, own: Option<SubscriptionId>, heeds_state: bool) -> Option<BindError> {
        self.refusal_where(binding, own, heeds_state, |number: &Number| self.dialled(*number).is_some())
    }

    fn refusal_where(
        &self,
        binding: &Binding,
        own: Option<SubscriptionId>,
        heeds_state: bool,
        is_x: impl Fn(&Number) -> bool,
    ) -> Option<BindError> {
        let (x, a, mode) = (binding.x(), binding.a(), binding.mode());
        let Some((number, _)) = self.numbers.get(&x) else { return Some(BindError::UnknownX) };
        if number.app != binding.app() {
            return Some(BindError::ForeignX);
        }
        if others(binding).contains(&a) {
            return Some(BindError::SameParty);
        }
        if binding.max_minutes() > 1_440 {
            return Some(BindError::MaxMinutes);
        }
        for (place, party) in [a].into_iter().chain(others(binding)).enumerate() {
            if is_x(&party) {
                return Some(BindError::PartyIsVirtual(party));
            }
            if party == service() && (place == 0 || mode != Mode::Ax) {
                return Some(BindError::ServiceNumber(party));
            }
        }
        if own.is_none() && self.bindings.contains_key(&binding.id()) {
            return Some(BindError::Exists);
        }
        if heeds_state && number.state != NumberState::Normal {
            return Some(BindError::NumberState(number.state));
        }
        if heeds_state && !self.may_serve(x) {
            return Some(BindError::Not700);
        }
        if heeds_state && x == managed() && mode != Mode::Axe {
            return Some(BindError::Managed700);
        }
        let beside: Vec<&Binding> = self.on(x).filter(|other| Some(other.id()) != own).collect();
        let taken = match binding {
            _ if mode != Mode::Ax && beside.iter().any(|other| other.mode() != mode) => Some(BindError::InUse),
            Binding::Axb(axb) => {
                let is_taken =
                    |party: &Number| beside.iter().any(|other| other.a() == *party || others(other).contains(party));
                [axb.a, axb.b].into_iter().find(is_taken).map(BindError::NumberTaken)
            }
            Binding::Ax(_) if beside.iter().any(|other| other.a() == a) => Some(BindError::NumberTaken(a)),
            Binding::Ax(_) if !beside.is_empty() => Some(BindError::XTaken),
            Binding::Ax(ax) => {
                let all = self.bindings.values().map(|(other, _)| other).filter(|other| Some(other.id()) != own);
                let mut all = all.filter(|other| other.mode() == Mode::Ax && (other.app(), other.a()) == (ax.app, a));
                all.nth(4).map(|_| BindError::TooManyX)
            }
            Binding::Axe(axe) => {
                let is_same =
                    |other: &&Binding| matches!(other, Binding::Axe(other) if other.extension == axe.extension);
                let is_taken = beside.into_iter().any(|other| is_same(&other)) || self.is_shadowed(axe);
                is_taken.then_some(BindError::ExtensionTaken(axe.extension))
            }
        };
        if taken.is_some() || own.is_some() {
            return taken;
        }
        if mode == Mode::Axb && self.on(x).count() >= LIMITS.pairs_per_number as usize {
            return Some(BindError::TooManyPairs);
        }
        (self.bindings.len() >= LIMITS.bindings).then_some(BindError::Full)
    }

    fn decide(&self, dialled: Number, caller: Option<Number>, now: u64) -> Said {
        let Some((x, tail)) = self.dialled(dialled) else { return UNKNOWN };
        let app = self.numbers[&x].0.app;
        let is_suspended = [NumberState::Suspended, NumberState::Unavailable].contains(&self.numbers[&x].0.state);
        if is_suspended || !self.may_serve(x) {
            return Said::Refuse(Refusal::NumberUnusable, Some(app), None);
        }
        let is_live = |binding: &&Binding| match binding {
            Binding::Axb(axb) => axb.ends == 0 || axb.ends > now,
            Binding::Ax(_) => true,
            Binding::Axe(axe) => axe.ends == 0 || axe.ends > now,
        };
        let extended = self.on(x).filter(is_live).filter_map(|binding| match binding {
            Binding::Axe(axe) => Some(&**axe),
            Binding::Axb(_) | Binding::Ax(_) => None,
        });
        if let Some(tail) = tail {
            let is_it = |axe: &&Axe| axe.extension.width() == 1 && axe.extension.value() == tail;
            return match extended.into_iter().find(is_it) {
                None => Said::Refuse(Refusal::UnknownExtension, Some(app), None),
                Some(axe) if caller == Some(axe.a) => self.call_back(app, vec![axe], now),
                Some(axe) => Said::Connect(axe.id, Party::B, axe.a),
            };
        }
        let found = self.on(x).filter(is_live).find(|binding| match binding {
            Binding::Axb(axb) => caller == Some(axb.a) || caller == Some(axb.b),
            Binding::Ax(_) => true,
            Binding::Axe(_) => false,
        });
        let own: Vec<&Axe> = extended.filter(|axe| caller == Some(axe.a)).collect();
        let Some(binding) = found else {
            return match (app == AXE_APP, own.is_empty()) {
                (false, _) => not_bound(app),
                (true, true) => Said::Ask(app, x, 1),
                (true, false) => self.call_back(app, own, now),
            };
        };
        let is_a = caller == Some(binding.a());
        let is_fixed = caller.is_some_and(|caller| caller == fixed() || caller.digits().as_str().starts_with("86755"));
        let (direction, is_on, other) = match binding {
            Binding::Axb(axb) => (axb.direction, true, Some(axb.b)),
            Binding::Ax(ax) => {
                let temporary = ax.temporary.as_ref().filter(|temporary| temporary.ends > now);
                (ax.direction, ax.is_on, temporary.map(|temporary| temporary.callee))
            }
            Binding::Axe(_) => unreachable!(),
        };
        let refused = |refusal| Said::Refuse(refusal, Some(app), Some(binding.id()));
        if !is_on {
            refused(Refusal::SwitchedOff)
        } else if is_fixed && (is_a || binding.mode() == Mode::Axb) {
            refused(Refusal::FixedLineCaller)
        } else if direction == if is_a { CallDirection::BToA } else { CallDirection::AToB } {
            refused(Refusal::WrongDirection)
        } else if !is_a {
            Said::Connect(binding.id(), Party::B, binding.a())
        } else {
            other.map_or(refused(Refusal::NoTemporaryCallee), |other| Said::Connect(binding.id(), Party::A, other))
        }
    }

    /// Whom A of these reaches by their X.
    fn call_back(&self, app: AppId, own: Vec<&Axe>, now: u64) -> Said {
        let newest = own.iter().max_by_key(|axe| axe.id).unwrap();
        if newest.a.digits().as_str().starts_with("86755") {
            return Said::Refuse(Refusal::FixedLineCaller, Some(app), Some(newest.id));
        }
        let still = |axe: &&&Axe| axe.last_caller.is_some_and(|last| axe.call_back_for == 0 || last.at + 60_000 > now);
        let last = own.iter().filter(still).max_by_key(|axe| (axe.last_caller.unwrap().at, axe.id));
        if let Some(axe) = last {
            return Said::Connect(axe.id, Party::A, axe.last_caller.unwrap().number);
        }
        let named = match newest.call_back {
            CallBack::App => rules_of(app).call_back,
            CallBack::Number(named) => Some(named),
            CallBack::Tone(_) => None,
        };
        match named.filter(|named| *named != newest.a) {
            Some(named) => Said::Connect(newest.id, Party::A, named),
            None => Said::Refuse(Refusal::NoCallBack, Some(app), Some(newest.id)),
        }
    }

    fn rests(&self, x: Number) -> Option<u64> {
        self.rests.get(&x).copied().filter(|until| *until > self.now)
    }

    fn free(&self, app: AppId, area: Option<Area>) -> BTreeSet<Number> {
        let numbers = self.numbers.values().map(|(number, _)| number);
        let is_free = |number: &&VirtualNumber| {
            number.app == app
                && number.state == NumberState::Normal
                && self.may_serve(number.number)
                && (area.is_none() || number.area == area)
                && self.rests(number.number).is_none()
        };
        numbers.filter(is_free).map(|number| number.number).collect()
    }

    /// What an allocation may answer, the uses aside: the least loaded of those that are not in the way.
    fn best(&self, app: AppId, wish: Wish, parties: &[Number]) -> BTreeSet<Number> {
        let rules = rules_of(app);
        let full = match rules.mode {
            Mode::Axb => LIMITS.pairs_per_number as usize,
            Mode::Ax => 1,
            Mode::Axe => [9, 99, 999, 9_999][usize::from(rules.extension_width) - 1],
        };
        let fits = |x: &Number| {
            let is_party = |binding: &Binding| match binding {
                Binding::Axb(axb) => parties.contains(&axb.a) || parties.contains(&axb.b),
                Binding::Ax(ax) => parties.contains(&ax.a),
                Binding::Axe(_) => false,
            };
            self.on(*x).count() < full && !(rules.mode == Mode::Axb && self.on(*x).any(is_party))
        };
        let least = |set: BTreeSet<Number>| {
            let set: Vec<Number> = set.into_iter().filter(fits).collect();
            let load = set.iter().map(|x| self.on(*x).count()).min();
            set.into_iter().filter(|x| Some(self.on(*x).count()) == load).collect::<BTreeSet<_>>()
        };
        let wanted = least(self.free(app, wish.area));
        if wanted.is_empty() && wish.is_loose { least(self.free(app, None)) } else { wanted }
    }

    fn due(&self) -> BTreeSet<(u64, SubscriptionId)> {
        let of = |binding: &Binding| match binding {
            Binding::Axb(axb) => (axb.ends != 0).then_some(axb.ends),
            Binding::Ax(ax) => ax.temporary.as_ref().map(|temporary| temporary.ends),
            Binding::Axe(axe) => (axe.ends != 0).then_some(axe.ends),
        };
        self.bindings.values().filter_map(|(binding, _)| Some((of(binding)?, binding.id()))).collect()
    }

    fn picture(&self) -> Picture {
        let mut of_number = BTreeMap::new();
        let mut numbers = BTreeMap::new();
        for (x, (number, is_configured)) in &self.numbers {
            of_number.insert(*x, self.on(*x).map(Binding::id).collect());
            numbers.insert(*x, (number.clone(), *is_configured, self.on(*x).count(), self.rests(*x)));
        }
        let mut of_a: BTreeMap<(AppId, Number), Vec<SubscriptionId>> = BTreeMap::new();
        let mut keys = BTreeMap::new();
        let mut own: BTreeMap<(Number, Number), Vec<SubscriptionId>> = BTreeMap::new();
        for (binding, _) in self.bindings.values() {
            let (id, x) = (binding.id(), binding.x());
            match binding {
                Binding::Axb(axb) => keys.extend([((x, axb.a.as_u64()), id), ((x, axb.b.as_u64()), id)]),
                Binding::Ax(ax) => {
                    keys.extend([((x, ax.a.as_u64()), id), ((x, x.as_u64()), id)]);
                    of_a.entry((ax.app, ax.a)).or_default().push(id);
                }
                Binding::Axe(axe) => {
                    keys.insert((x, extension_key(axe.extension)), id);
                    own.entry((x, axe.a)).or_default().insert(0, id);
                }
            }
        }
        let serves = |x: &Number| self.numbers[x].0.state == NumberState::Normal && self.may_serve(*x);
        let rested = self.numbers.keys().filter(|x| serves(x)).filter_map(|x| self.rests(*x)).min();
        let mut free = BTreeMap::new();
        for app in [APP, OTHER_APP, AX_APP, AXE_APP] {
            for area in [None, Some(area("0755")), Some(area("010"))] {
                free.insert((app, area), self.free(app, area));
            }
        }
        let due = self.due();
        Picture {
            bindings: self.bindings.iter().map(|(id, (held, file))| (*id, (Arc::new(held.clone()), *file))).collect(),
            numbers,
            of_number,
            of_a,
            own,
            keys,
            next_due: due.first().map(|(at, _)| *at).into_iter().chain(rested).min(),
            due,
            free,
            lengths: (self.bindings.len(), self.numbers.len(), self.bindings.len()),
        }
    }

    #[track_caller]
    fn assert_like(&self, bindings: &Bindings) {
        assert_eq!(picture(bindings), self.picture());
        let callers = (1..14).map(m).chain([fixed(), service(), x(5), x(12)]).map(Some).chain([None]);
        for caller in callers {
            for x in every_dialled() {
                for now in [0, self.now] {
                    let said = in_short(bindings.table.decide_at(x, caller, now));
                    assert_eq!(said, self.decide(x, caller, now), "{caller:?} dials {x:?} at {now}");
                }
            }
        }
    }

    fn put(&mut self, binding: Binding, is_configured: bool) {
        self.rests.remove(&binding.x());
        self.bindings.insert(binding.id(), (binding, is_configured));
    }

    fn take(&mut self, id: SubscriptionId) {
        let Some((binding, _)) = self.bindings.remove(&id) else { return };
        let cool_off = rules_of(binding.app()).cool_off;
        if cool_off != 0 && self.on(binding.x()).count() == 0 {
            self.rests.insert(binding.x(), self.now + cool_off);
        }
    }

    fn is_configured(&self, id: SubscriptionId) -> bool {
        self.bindings.get(&id).is_some_and(|(_, is_configured)| *is_configured)
    }

    /// What unbind and modify are refused.
    fn not_own(&self, id: SubscriptionId) -> Option<BindError> {
        match self.bindings.get(&id) {
            None => Some(BindError::NotFound),
            Some((_, true)) => Some(BindError::Configured),
            Some((_, false)) => None,
        }
    }

    fn number_refusal(&self, x: Number, app: Option<AppId>) -> Option<BindError> {
        match self.numbers.get(&x) {
            None => Some(BindError::NotFound),
            Some((_, true)) => Some(BindError::Configured),
            Some((now, _)) if app != Some(now.app) && self.on(x).count() != 0 => Some(BindError::InUse),
            Some(_) => app.filter(|app| x == managed() && *app != AXE_APP).map(|_| BindError::Managed700),
        }
    }

    /// What a number that is to be added is refused.
    fn new_number_refusal(&self, number: &VirtualNumber) -> Option<BindError> {
        let x = number.number;
        if !self.may_serve(x) {
            return Some(BindError::Not700);
        }
        if x == managed() && number.app != AXE_APP {
            return Some(BindError::Managed700);
        }
        let dials = |binding: &Binding| matches!(binding, Binding::Axe(axe) if tailed(axe.extension.value()) == x);
        if self.on(managed()).any(dials) || self.numbers.contains_key(&x) {
            return Some(BindError::Exists);
        }
        (self.numbers.len() >= LIMITS.numbers).then_some(BindError::Full)
    }
}

/// One thing that the API, or the clock, does.
fn step(random: &mut Random, bindings: &mut Bindings, world: &mut World) {
    let now = world.now;
    match random.below(26) {
        kind @ 0..=6 => {
            let (id, x) = (random.id(), random.any_x());
            let app = if random.rarely() { OTHER_APP } else { world.app_of(x).unwrap_or(APP) };
            let mode = if random.rarely() { random.of(&Mode::ALL) } else { rules_of(app).mode };
            let binding = random.binding(id, app, mode, x, now);
            let heeds_state = kind != 0;
            // Made before the start: a party may have become an X since.
            let refusal = match heeds_state {
                true => world.refusal(&binding, None, true),
                false => world.refusal_where(&binding, None, false, |number| *number == x),
            };
            let result = if heeds_state { bindings.bind(binding.clone()) } else { bindings.restore(binding.clone()) };
            assert_eq!(result.err(), refusal, "{binding:?}");
            if refusal.is_none() {
                world.put(binding, false);
            }
        }
        7..=9 => {
            let id = random.id();
            let old = world.bindings.get(&id).map(|(binding, _)| binding.clone());
            let new = old.as_ref().map(|old| {
                let stays = (old.id(), old.app(), old.mode(), old.x());
                let (id, app, mode, x) = match random.below(40) {
                    0 => (random.id(), stays.1, stays.2, stays.3),
                    1 => (stays.0, OTHER_APP, stays.2, stays.3),
                    2 => (stays.0, stays.1, random.of(&Mode::ALL), stays.3),
                    3 => (stays.0, stays.1, stays.2, random.any_x()),
                    _ => stays,
                };
                random.binding(id, app, mode, x, now)
            });
            let result = bindings.modify(id, |binding| *binding = new.clone().unwrap());
            let refusal = world.not_own(id).or_else(|| {
                let (old, new) = (old.as_ref()?, new.as_ref()?);
                let names = |binding: &Binding| (binding.id(), binding.app(), binding.mode(), binding.x());
                if names(old) != names(new) { Some(BindError::NotFound) } else { world.refusal(new, Some(id), false) }
            });
            assert_eq!(result.as_ref().err(), refusal.as_ref(), "{old:?} {new:?}");
            if let (Ok(is), Some(mut new)) = (result, new) {
                if let Binding::Axe(axe) = &mut new
                    && Some(axe.a) != old.map(|old| old.a())
                {
                    axe.last_caller = None;
                }
                assert_eq!(*is, new);
                world.bindings.insert(id, (new, false));
            }
        }
        10..=11 => {
            let id = random.id();
            let refusal = world.not_own(id);
            let result = bindings.unbind(id);
            assert_eq!(result.as_ref().err(), refusal.as_ref());
            if let Ok(was) = result {
                assert_eq!(*was, world.bindings[&id].0);
                world.take(id);
            }
        }
        12 => {
            let x = random.any_x();
            let result = bindings.unbind_all(x);
            if world.numbers.contains_key(&x) {
                let is_own = |binding: &&Binding| !world.is_configured(binding.id());
                let ids: BTreeSet<_> = world.on(x).filter(is_own).map(Binding::id).collect();
                assert_eq!(result.unwrap().iter().map(|was| was.id()).collect::<BTreeSet<_>>(), ids);
                ids.into_iter().for_each(|id| world.take(id));
            } else {
                assert_eq!(result, Err(BindError::NotFound));
            }
        }
        13..=15 => {
            let x = random.any_x();
            let number = random.number(x);
            let result = bindings.change_number(number.clone());
            let refusal = world.number_refusal(x, Some(number.app));
            assert_eq!(result.err(), refusal);
            if refusal.is_none() {
                world.numbers.insert(x, (number.clone(), false));
            }
            let refusal = world.new_number_refusal(&number);
            assert_eq!(bindings.add_number(number.clone()).err(), refusal);
            if refusal.is_none() {
                world.numbers.insert(x, (number, false));
            }
        }
        16 => {
            let x = random.any_x();
            let refusal = world.number_refusal(x, None);
            assert_eq!(bindings.remove_number(x).err(), refusal);
            if refusal.is_none() {
                world.numbers.remove(&x);
                world.rests.remove(&x);
            }
        }
        17..=19 => {
            world.now += random.below(20);
            let due: Vec<_> = world.due().into_iter().filter(|(at, _)| *at <= world.now).collect();
            let mut ended = Vec::new();
            for (_, id) in due {
                match world.bindings.get_mut(&id) {
                    Some((Binding::Ax(ax), _)) => ax.temporary = None,
                    _ => {
                        ended.push(Arc::new(world.bindings[&id].0.clone()));
                        world.take(id);
                    }
                }
            }
            assert_eq!(bindings.handle_time(world.now), ended);
        }
        20..=22 => {
            let id = random.id();
            let a = world.bindings.get(&id).map_or(m(1), |(binding, _)| binding.a());
            let a = if random.rarely() { random.someone() } else { a };
            let caller = random.caller(now);
            let can_be_called = is_known_kind(caller.number) && world.dialled(caller.number).is_none();
            let is_noted = match world.bindings.get_mut(&id) {
                Some((Binding::Axe(axe), _)) if axe.a == a && caller.number != a && can_be_called => {
                    axe.last_caller = Some(caller);
                    true
                }
                Some(_) | None => false,
            };
            assert_eq!(bindings.note_caller(id, a, caller), is_noted);
        }
        23 => {
            world.only_700 = !world.only_700 && random.below(6) == 0;
            bindings.set_only_700(world.only_700);
        }
        _ => allocate(random, bindings, world),
    }
}

/// Asks for an X, mostly to bind it, and for an extension.
fn allocate(random: &mut Random, bindings: &mut Bindings, world: &mut World) {
    let app = random.of(&[APP, OTHER_APP, AX_APP, AXE_APP]);
    let wish = Wish { area: random.of(&[None, Some(area("010")), Some(area("0755"))]), is_loose: random.below(2) == 0 };
    let mode = rules_of(app).mode;
    let id = random.id();
    let mut binding = random.binding(id, app, mode, x(1), world.now);
    let parties: Vec<Number> = [binding.a()].into_iter().chain(others(&binding)).collect();
    let best = world.best(app, wish, &parties);
    let x = match bindings.allocate(app, wish, &parties) {
        Ok(x) => {
            assert!(best.contains(&x), "{x:?} is none of {best:?}");
            x
        }
        Err(error) => {
            assert_eq!((error, best), (BindError::NoneFree, BTreeSet::new()));
            return;
        }
    };
    match &mut binding {
        Binding::Axb(axb) => axb.x = x,
        Binding::Ax(ax) => ax.x = x,
        Binding::Axe(axe) => {
            axe.x = x;
            let width = rules_of(app).extension_width;
            let is_taken = |extension: Extension| {
                let is_it = |binding: &Binding| matches!(binding, Binding::Axe(axe) if axe.extension == extension);
                world.on(x).any(is_it) || world.is_shadowed(&Axe { x, extension, ..(**axe).clone() })
            };
            let free = (1..=Extension::last(width)).filter(|value| !is_taken(Extension::new(width, *value).unwrap()));
            let free: Vec<u16> = free.collect();
            // What is left of another kind on it is the bind's to find.
            match bindings.allocate_extension(x) {
                Ok(extension) => axe.extension = extension,
                Err(error) => {
                    // An X of its own has the only one that was left.
                    assert_eq!((error, free), (BindError::NoneFree, vec![]));
                    return;
                }
            }
            assert!(axe.extension.width() == width && free.contains(&axe.extension.value()), "{:?}", axe.extension);
        }
    }
    let refusal = world.refusal(&binding, None, true);
    assert_eq!(bindings.bind(binding.clone()).err(), refusal);
    assert!(!matches!(
        refusal,
        Some(BindError::NumberState(_) | BindError::TooManyPairs | BindError::ExtensionTaken(_))
    ));
    if refusal.is_none() {
        world.put(binding, false);
    }
}

/// The file is told anew: some of what it said, some of it changed, something new, and at times something that is refused.
fn reload(random: &mut Random, bindings: &mut Bindings, world: &mut World) -> bool {
    let mut numbers = Vec::new();
    for x in [11, 12, 13].map(x) {
        match random.below(8) {
            0 => {}
            1 => numbers.push(VirtualNumber { app: APP, ..random.number(x) }),
            2 => numbers.push(random.number(x)),
            _ => {
                numbers.push(world.numbers.get(&x).map_or_else(|| virtual_number(x, APP), |(number, _)| number.clone()))
            }
        }
    }
    if random.rarely() {
        numbers.push(virtual_number(x(1 + random.below(4)), APP));
    }
    let app_of = |x| numbers.iter().find(|number| number.number == x).map_or(APP, |number| number.app);
    let mut list = Vec::new();
    for (binding, is_configured) in world.bindings.values() {
        let Binding::Axb(axb) = binding else { continue };
        let mut axb = axb.clone();
        match random.below(8) {
            _ if !is_configured => continue,
            0 => continue,
            1 => axb.a = random.someone(),
            2 => axb.b = random.someone(),
            3 => (axb.a, axb.b) = (axb.b, axb.a),
            4 => axb.id = SubscriptionId(u128::from(30 + random.below(6))),
            _ => {}
        }
        axb.app = app_of(axb.x);
        list.push(Binding::Axb(axb));
    }
    for _ in 0..random.below(3) {
        let id = if random.rarely() { random.id() } else { SubscriptionId(u128::from(30 + random.below(6))) };
        let x = x(11 + random.below(3));
        list.push(random.binding(id, app_of(x), Mode::Axb, x, world.now));
    }
    let careless = random.below(3) == 0;
    // What there would be: what the API made, and beside it the list, one after the other.
    let mut after = world.clone();
    after.numbers.retain(|_, (_, is_configured)| !*is_configured);
    after.bindings.retain(|_, (_, is_configured)| !*is_configured);
    let is_apis: BTreeSet<Number> = after.numbers.keys().copied().collect();
    let mut is_good = numbers.iter().all(|number| !is_apis.contains(&number.number));
    after.numbers.extend(numbers.iter().map(|number| (number.number, (number.clone(), true))));
    is_good &= after.numbers.len() <= LIMITS.numbers;
    is_good &= after.bindings.values().all(|(binding, _)| after.app_of(binding.x()) == Some(binding.app()));
    let mut kept = Vec::new();
    for binding in list {
        // A party that the API has made an X since may stay.
        let stands = world.bindings.get(&binding.id()).is_some_and(|(held, file)| *file && *held == binding);
        let is_x = |number: &Number| after.dialled(*number).is_some_and(|(x, _)| !(stands && is_apis.contains(&x)));
        // The file's pairs are on the file's numbers.
        let is_files = !is_apis.contains(&binding.x());
        let refusal = after.refusal_where(&binding, None, false, is_x);
        let refusal = refusal.or((!is_files).then_some(BindError::UnknownX));
        if refusal.is_none() {
            after.bindings.insert(binding.id(), (binding.clone(), true));
        }
        if refusal.is_none() || careless {
            kept.push(binding);
        }
        is_good &= refusal.is_none() || !careless;
    }
    let result = bindings.replace_all(numbers, kept);
    assert_eq!(result.is_ok(), is_good, "{result:?}");
    if !is_good {
        return false;
    }
    for x in every_x() {
        let was = world.on(x).next().map(Binding::app);
        let cool_off = was.map_or(0, |app| rules_of(app).cool_off);
        match (after.on(x).count(), was) {
            _ if !after.numbers.contains_key(&x) => drop(after.rests.remove(&x)),
            (0, Some(_)) if cool_off != 0 => drop(after.rests.insert(x, after.now + cool_off)),
            (0, None) => {}
            _ => drop(after.rests.remove(&x)),
        }
    }
    *world = after;
    true
}

/// What a store would have, that hears of nothing but the journal.
#[derive(Default)]
struct Written {
    numbers: BTreeMap<Number, VirtualNumber>,
    bindings: BTreeMap<SubscriptionId, Binding>,
    rests: BTreeMap<Number, u64>,
    /// X that have stood in the file: what the file does to their rests is not in the journal.
    were_files: BTreeSet<Number>,
}

impl Written {
    fn write(&mut self, entry: &Entry) {
        match entry {
            Entry::Binding { was, is } => {
                let id = was.as_ref().or(is.as_ref()).expect("one of the two").id();
                let held = is.as_ref().map(|is| (**is).clone());
                let before = match held {
                    Some(held) => self.bindings.insert(id, held),
                    None => self.bindings.remove(&id),
                };
                assert_eq!(before.as_ref(), was.as_deref(), "the journal says something else of before");
            }
            Entry::Number { was, is } => {
                let x = was.as_ref().or(is.as_ref()).expect("one of the two").number;
                let before = match is {
                    Some(is) => self.numbers.insert(x, (**is).clone()),
                    None => self.numbers.remove(&x),
                };
                assert_eq!(before.as_ref(), was.as_deref(), "the journal says something else of before");
            }
            Entry::Rest { x, until, .. } => drop(self.rests.insert(*x, *until)),
        }
    }

    fn assert_like(&self, world: &World) {
        let own = |is_configured: &bool| !*is_configured;
        let bindings =
            world.bindings.iter().filter(|(_, (_, file))| own(file)).map(|(id, (held, _))| (*id, held.clone()));
        assert_eq!(self.bindings, bindings.collect());
        let numbers =
            world.numbers.iter().filter(|(_, (_, file))| own(file)).map(|(x, (number, _))| (*x, number.clone()));
        assert_eq!(self.numbers, numbers.collect());
        for x in self.numbers.keys().filter(|x| !self.were_files.contains(x)) {
            assert_eq!(self.rests.get(x).copied().filter(|until| *until > world.now), world.rests(*x), "{x:?}");
        }
    }

    /// As after a restart: the file, then what was written.
    fn assert_restarts_as(&self, world: &World) {
        let (mut bindings, _table) = empty();
        bindings.set_only_700(world.only_700);
        bindings.handle_time(world.now);
        let file = |is_configured: &bool| *is_configured;
        let numbers = world.numbers.values().filter(|(_, of_file)| file(of_file)).map(|(number, _)| number.clone());
        let pairs = world.bindings.values().filter(|(_, of_file)| file(of_file)).map(|(binding, _)| binding.clone());
        bindings.replace_all(numbers.collect(), pairs.collect()).unwrap();
        for number in self.numbers.values() {
            bindings.restore_number(number.clone()).unwrap();
        }
        for binding in self.bindings.values() {
            bindings.restore(binding.clone()).unwrap();
        }
        for (x, until) in &self.rests {
            bindings.set_rest(*x, *until);
        }
        let mut expected = world.clone();
        for x in &self.were_files {
            expected.rests.remove(x);
            if world.on(*x).count() == 0
                && let Some(until) = self.rests.get(x)
            {
                expected.rests.insert(*x, *until);
            }
        }
        expected.assert_like(&bindings);
    }
}

/// How often something happened, so that a program that does nothing is no proof.
#[derive(Default, Debug)]
struct Met {
    undone: usize,
    reloads: usize,
    refused_reloads: usize,
    entries: usize,
    kinds: [usize; 3],
    configured: usize,
    callers: usize,
    dialled: usize,
    only_700: usize,
    rests: usize,
}

fn program(seed: u64, met: &mut Met) {
    let mut random = Random(seed);
    let (mut bindings, _table) = empty();
    let mut world = World { now: 1_000_000, ..World::default() };
    bindings.handle_time(world.now);
    bindings.keep_journal();
    let mut written = Written::default();
    for n in 1..=4 {
        let number = VirtualNumber { state: NumberState::Normal, ..random.number(x(n)) };
        bindings.add_number(number.clone()).unwrap();
        world.numbers.insert(x(n), (number, false));
    }
    for _ in 0..40 {
        for entry in bindings.take_journal() {
            written.write(&entry);
        }
        if random.below(3) == 0 {
            let is_good = reload(&mut random, &mut bindings, &mut world);
            met.reloads += usize::from(is_good);
            met.refused_reloads += usize::from(!is_good);
            assert_eq!(bindings.take_journal(), [], "the file is in the journal");
            let files = world.numbers.iter().filter(|(_, (_, of_file))| *of_file);
            written.were_files.extend(files.map(|(x, _)| *x));
            world.assert_like(&bindings);
        }
        // Some steps, and what they wrote; then as many of the last of them as fit are taken back.
        let mut steps = Vec::new();
        for _ in 0..1 + random.below(6) {
            let before = world.clone();
            step(&mut random, &mut bindings, &mut world);
            world.assert_like(&bindings);
            let entries = bindings.take_journal();
            for entry in &entries {
                let of_file = match entry {
                    Entry::Binding { was, is } => was.iter().chain(is).any(|held| before.is_configured(held.id())),
                    Entry::Number { was, .. } => was.iter().any(|was| bindings.is_configured_number(was.number)),
                    Entry::Rest { .. } => false,
                };
                assert!(!of_file, "{entry:?}");
            }
            // What the file says nobody but the file changes, and its own end.
            for (id, held) in before.bindings.iter().filter(|(_, (_, file))| *file) {
                let due = before.due().into_iter().find(|(_, due)| due == id);
                let now = world.bindings.get(id);
                assert!(now == Some(held) || due.is_some_and(|(at, _)| at <= world.now));
            }
            met.entries += entries.len();
            steps.push((before, entries));
        }
        for (binding, of_file) in world.bindings.values() {
            met.kinds[Mode::ALL.iter().position(|mode| *mode == binding.mode()).unwrap()] += 1;
            met.configured += usize::from(*of_file);
            if let Binding::Axe(axe) = binding {
                met.callers += usize::from(axe.last_caller.is_some());
                met.dialled += usize::from(axe.x == managed());
            }
        }
        met.only_700 += usize::from(world.only_700);
        met.rests += world.numbers.keys().filter(|x| world.rests(**x).is_some()).count();
        // The end of what the file says is not in the journal, and is not taken back.
        let is_kept =
            |before: &World| before.bindings.iter().all(|(id, (_, file))| !*file || world.bindings.contains_key(id));
        if random.below(2) == 0 && is_kept(&steps[0].0) {
            let back = steps.split_off(random.below(steps.len() as u64) as usize);
            let entries: Vec<Entry> = back.iter().flat_map(|(_, entries)| entries.clone()).collect();
            met.undone += entries.len();
            let (now, only_700) = (world.now, world.only_700);
            world = back.into_iter().next().unwrap().0;
            (world.now, world.only_700) = (now, only_700);
            bindings.undo(entries);
            assert_eq!(bindings.take_journal(), [], "what is taken back is in the journal");
            world.assert_like(&bindings);
        }
        steps.iter().flat_map(|(_, entries)| entries).for_each(|entry| written.write(entry));
        written.assert_like(&world);
        written.assert_restarts_as(&world);
    }
}

#[test]
fn random_programs_of_everything_do_as_the_world_does_and_are_written_and_taken_back() {
    let mut met = Met::default();
    for seed in 0..100 {
        program(seed, &mut met);
    }
    let enough = met.undone > 1_000
        && met.reloads > 300
        && met.refused_reloads > 50
        && met.entries > 3_000
        && met.kinds.iter().all(|kind| *kind > 1_000)
        && met.configured > 1_000
        && met.callers > 1_000
        && met.dialled > 500
        && met.only_700 > 50
        && met.rests > 500;
    assert!(enough, "{met:?}");
}
