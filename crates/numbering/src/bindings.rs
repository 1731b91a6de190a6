//! The one writer of the table: binds, transfers, unbinds, gives X away, and ends what has run out.
//!
//! Whoever owns the [`Bindings`] is the writer; `&mut` makes sure that there is one at a time, so that what was checked
//! still holds when it is written. Two API calls that race for a number on one X come one after the other, and the
//! second is refused.
//!
//! Two kinds of owner stand behind what is bound: the operator's file, which is told anew as a whole
//! ([`Bindings::replace_all`]), and a store, which hears of every change through the [journal](Bindings::take_journal) and
//! may take it back ([`Bindings::undo`]). Neither touches what is the other's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::binding::{
    AppId, Ax, Axe, Binding, Extension, Key, LastCaller, Mode, NumberState, SubscriptionId, VirtualNumber,
    extension_key,
};
use crate::number::{Kind, Number};
use crate::pool::{Pool, Rules, Standing, Wish};
use crate::table::{Cell, Table};

mod journal;
mod rules;
mod writer;

pub use journal::Entry;
pub use rules::BindError;
pub(crate) use rules::check_alone;

/// X that one allocation looks at: a party that is on so many of the least loaded gets none.
const PASSED_OVER: usize = 10_000;

/// Bindings that end in one step: whoever waits meanwhile waits some milliseconds.
const ENDS_AT_ONCE: usize = 5_000;

/// X that one A may hold (product rule M2.3).
pub const MAX_X_OF_A: usize = 5;

/// How much may be bound. Reaching a limit refuses the newcomer; nothing grows past it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Pairs on one X (product rule M1.2: 5,000 must work).
    pub pairs_per_number: u32,
    /// X numbers.
    pub numbers: usize,
    /// Bindings.
    pub bindings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { pairs_per_number: 5_000, numbers: 1_000_000, bindings: 10_000_000 }
    }
}

/// Every binding and every virtual number, and the right to change them.
pub struct Bindings {
    pub(crate) table: Table,
    pub(crate) limits: Limits,
    /// Ordered, so that a walk over all bindings is the same walk every time.
    pub(crate) by_id: BTreeMap<SubscriptionId, Place>,
    /// What each X carries; an X of the pool without bindings has an empty list.
    pub(crate) by_x: HashMap<Number, Carried>,
    /// The X of each A, of A–X alone, in the order of the ids.
    by_a: HashMap<(AppId, Number), Vec<SubscriptionId>>,
    pool: Pool,
    /// What ends, and when: milliseconds of UNIX time.
    due: BTreeSet<(u64, SubscriptionId)>,
    /// What has changed since it was last taken; `None`: nobody wants to know.
    journal: Option<Vec<Entry>>,
    /// Milliseconds of UNIX time, as last told.
    now: u64,
    /// The pool is not kept: see [`Bindings::begin_filling`].
    is_filling: bool,
    /// Counts what is bound and what ends, so that the X used last is given away last.
    uses: u64,
}

/// Where a binding lives.
pub(crate) struct Place {
    /// Never empty while the place exists.
    pub(crate) cell: Arc<Cell>,
    /// Its place in its X's list.
    pub(crate) place: u32,
    /// It stands in the operator's file.
    pub(crate) is_configured: bool,
}

/// What an X carries.
#[derive(Default)]
pub(crate) struct Carried {
    pub(crate) ids: Vec<SubscriptionId>,
    pub(crate) is_configured: bool,
    standing: Standing,
}

impl Place {
    pub(crate) fn binding(&self) -> Arc<Binding> {
        self.cell.load_full().expect("a cell is filled before its place is made and emptied after it is taken out")
    }
}

impl Bindings {
    /// No numbers, no bindings, and the table that follows this writer.
    #[must_use]
    pub fn new(limits: Limits) -> (Bindings, Table) {
        let table = Table::empty();
        let bindings = Bindings {
            table: table.clone(),
            limits,
            by_id: BTreeMap::new(),
            by_x: HashMap::new(),
            by_a: HashMap::new(),
            pool: Pool::default(),
            due: BTreeSet::new(),
            journal: None,
            now: 0,
            is_filling: false,
            uses: 0,
        };
        (bindings, table)
    }

    /// The table that follows this writer.
    #[must_use]
    pub fn table(&self) -> Table {
        self.table.clone()
    }

    /// What an app's bindings obey from now on; without it, [`Rules::default`]. Apps are places: the table has room for each up
    /// to the largest.
    pub fn set_rules(&mut self, app: AppId, rules: Rules) {
        self.set_all_rules([(app, rules)]);
    }

    /// The same of several apps, in one step for calls.
    pub fn set_all_rules(&mut self, all: impl IntoIterator<Item = (AppId, Rules)>) {
        let old = self.table.shared.rules.load_full();
        let mut new = Vec::clone(&old);
        for (app, rules) in all {
            let place = usize::try_from(app.0).expect("a place of 32 bits");
            if new.len() <= place {
                new.resize(place + 1, Rules::default());
            }
            new[place] = rules;
        }
        if new != *old {
            self.table.shared.rules.store(Arc::new(new));
        }
    }

    /// What an app's bindings obey.
    #[must_use]
    pub fn rules(&self, app: AppId) -> Rules {
        self.table.rules(app)
    }

    /// Says whether no other X than one of the 700 segment may serve, from the next call on. Others then keep what they carry and
    /// connect nobody; they are not given away, and nothing is bound on them.
    pub fn set_only_700(&mut self, only_700: bool) {
        if self.table.shared.only_700.swap(only_700, Ordering::Relaxed) != only_700 {
            self.place_all();
        }
    }

    // ---- time -------------------------------------------------------------------------------------------------

    /// Tells the time, in milliseconds of UNIX time. What has run out ends, what has rested can be given away; an end is
    /// written into the journal like an unbind. The bindings that have ended: five thousand at most, and
    /// [`Bindings::next_due`] is past where there are more.
    pub fn handle_time(&mut self, now: u64) -> Vec<Arc<Binding>> {
        self.now = now;
        let mut ended = Vec::new();
        while ended.len() < ENDS_AT_ONCE
            && let Some((_, id)) = self.due.first().copied().filter(|(at, _)| *at <= now)
        {
            let Some(binding) = self.get(id) else {
                self.due.pop_first();
                continue;
            };
            match &*binding {
                // A reader may hold it: what runs out is left away in a copy.
                Binding::Ax(ax) => {
                    let without = Binding::Ax(Box::new(Ax { temporary: None, ..(**ax).clone() }));
                    self.replace(id, without);
                }
                Binding::Axb(_) | Binding::Axe(_) => ended.extend(self.take(id)),
            }
        }
        for x in self.pool.rested(now) {
            self.set_standing(x, |standing| standing.rests_until = 0);
        }
        ended
    }

    /// When [`Bindings::handle_time`] has something to do, in milliseconds of UNIX time.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let ends = self.due.first().map(|(at, _)| *at);
        [ends, self.pool.next_rested()].into_iter().flatten().min()
    }

    /// The time as last told.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    // ---- numbers ----------------------------------------------------------------------------------------------

    /// Adds an X, effective for the next call. It may be a party of bindings made before; they stand.
    ///
    /// # Errors
    /// [`BindError::Not700`], [`BindError::Managed700`], [`BindError::Exists`], [`BindError::Full`].
    pub fn add_number(&mut self, number: VirtualNumber) -> Result<(), BindError> {
        if !self.table.may_serve(number.number) {
            return Err(BindError::Not700);
        }
        self.check_dialled(number.number, number.app)?;
        if self.extension_dialled_by(number.number).is_some() {
            return Err(BindError::Exists);
        }
        self.restore_number(number)
    }

    /// Adds an X that was one before the start: what it is does not matter any more.
    ///
    /// # Errors
    /// [`BindError::Exists`], [`BindError::Full`].
    pub fn restore_number(&mut self, number: VirtualNumber) -> Result<(), BindError> {
        if self.by_x.contains_key(&number.number) {
            return Err(BindError::Exists);
        }
        if self.by_x.len() >= self.limits.numbers {
            return Err(BindError::Full);
        }
        self.put_number(number, false);
        Ok(())
    }

    /// Changes an X: its app only while it has no bindings.
    ///
    /// # Errors
    /// [`BindError::NotFound`], [`BindError::Configured`], [`BindError::InUse`]; [`BindError::Managed700`] where it gets another
    /// app.
    pub fn change_number(&mut self, number: VirtualNumber) -> Result<(), BindError> {
        let carried = self.by_x.get(&number.number).ok_or(BindError::NotFound)?;
        if carried.is_configured {
            return Err(BindError::Configured);
        }
        if self.table.app_of(number.number) != Some(number.app) {
            if !carried.ids.is_empty() {
                return Err(BindError::InUse);
            }
            self.check_dialled(number.number, number.app)?;
        }
        self.put_number(number, false);
        Ok(())
    }

    /// Removes an X that has no bindings.
    ///
    /// # Errors
    /// [`BindError::NotFound`], [`BindError::Configured`], [`BindError::InUse`].
    pub fn remove_number(&mut self, x: Number) -> Result<(), BindError> {
        let carried = self.by_x.get(&x).ok_or(BindError::NotFound)?;
        if carried.is_configured {
            return Err(BindError::Configured);
        }
        if !carried.ids.is_empty() {
            return Err(BindError::InUse);
        }
        self.take_number(x);
        Ok(())
    }

    /// Somebody can dial X in an app: a managed 700 number is dialled with an extension only.
    fn check_dialled(&self, x: Number, app: AppId) -> Result<(), BindError> {
        let is_dialled = !x.is_managed_700() || self.rules(app).mode == Mode::Axe;
        if is_dialled { Ok(()) } else { Err(BindError::Managed700) }
    }

    /// The binding with an extension that a number of 15 digits leads to, whatever its app's rules say now.
    pub(crate) fn extension_dialled_by(&self, number: Number) -> Option<Arc<Binding>> {
        let (managed, tail) = number.managed_700()?;
        (1..=4).find_map(|width| self.of_extension(managed, Extension::new(width, tail)?))
    }

    /// An extension of X is dialled by a number that is an X of its own: nobody would reach it.
    fn is_shadowed(&self, x: Number, extension: Extension) -> bool {
        x.with_tail(extension.value()).is_some_and(|dialled| self.by_x.contains_key(&dialled))
    }

    /// Lets an X without bindings rest until then, in milliseconds of UNIX time: a rest that began before a restart. One with
    /// bindings does not rest.
    pub fn set_rest(&mut self, x: Number, until: u64) {
        if self.pairs_of(x) != 0 {
            return;
        }
        self.set_standing(x, |standing| standing.rests_until = until);
    }

    /// An X that a new binding of these parties may have. It is not taken by that.
    ///
    /// # Errors
    /// [`BindError::NoneFree`].
    pub fn allocate(&self, app: AppId, wish: Wish, parties: &[Number]) -> Result<Number, BindError> {
        let rules = self.rules(app);
        let full = match rules.mode {
            Mode::Axb => self.limits.pairs_per_number,
            Mode::Ax => 1,
            Mode::Axe => u32::from(Extension::last(rules.extension_width)),
        };
        let is_free = |x: &Number| match rules.mode {
            Mode::Axb => !x.is_managed_700() && parties.iter().all(|party| self.holder(*x, party.as_u64()).is_none()),
            Mode::Ax => !x.is_managed_700(),
            Mode::Axe => true,
        };
        self.pool.candidates(app, wish, full).take(PASSED_OVER).find(is_free).ok_or(BindError::NoneFree)
    }

    /// An X that a new A–X–E with this extension may have. It is not taken by that.
    ///
    /// # Errors
    /// [`BindError::NoneFree`].
    pub fn allocate_beside(&self, app: AppId, wish: Wish, extension: Extension) -> Result<Number, BindError> {
        let full = u32::from(Extension::last(extension.width()));
        let is_free = |x: &Number| self.of_extension(*x, extension).is_none() && !self.is_shadowed(*x, extension);
        self.pool.candidates(app, wish, full).take(PASSED_OVER).find(is_free).ok_or(BindError::NoneFree)
    }

    /// An extension of an X that is free, of the width of its app. It is not taken by that.
    ///
    /// # Errors
    /// [`BindError::UnknownX`], [`BindError::NoneFree`].
    pub fn allocate_extension(&mut self, x: Number) -> Result<Extension, BindError> {
        let app = self.table.app_of(x).ok_or(BindError::UnknownX)?;
        let width = self.rules(app).extension_width;
        for _ in 0..Extension::last(width) {
            let carried = self.by_x.get_mut(&x).ok_or(BindError::UnknownX)?;
            let extension = carried.standing.extensions.next(width).ok_or(BindError::NoneFree)?;
            if !self.is_shadowed(x, extension) {
                return Ok(extension);
            }
        }
        Err(BindError::NoneFree)
    }

    // ---- bindings ---------------------------------------------------------------------------------------------

    /// Makes a binding. From the moment that this returns it decides calls.
    ///
    /// # Errors
    /// A rule that it breaks, in this order: `UnknownX`, `ForeignX`, `SameParty`, `MaxMinutes`, `PartyIsVirtual`,
    /// `ServiceNumber`, `Exists`, `NumberState`, `Not700`, `Managed700`, what is taken, `TooManyPairs`, `Full`. Nothing has
    /// changed then.
    pub fn bind(&mut self, binding: Binding) -> Result<(), BindError> {
        check_alone(&binding, |x| self.table.app_of(x), |party| self.table.is_virtual(party))?;
        self.check_name(binding.id())?;
        self.check_x(&binding)?;
        self.check_room(&binding)?;
        self.put(binding, false);
        Ok(())
    }

    /// Until [`Bindings::end_filling`] X changes its place in the pool with no binding: a million of them are restored in half the
    /// time, and nothing is given away meanwhile.
    pub fn begin_filling(&mut self) {
        self.is_filling = true;
    }

    /// Puts every X into its place in the pool.
    pub fn end_filling(&mut self) {
        self.is_filling = false;
        self.place_all();
    }

    fn place_all(&mut self) {
        let all: Vec<Number> = self.by_x.keys().copied().collect();
        for x in all {
            self.set_standing(x, |_| {});
        }
    }

    /// Makes a binding that was made before the start: whether its X serves does not matter, nor that a party has become an X
    /// since ([`Bindings::add_number`]).
    ///
    /// # Errors
    /// As for [`Bindings::bind`].
    pub fn restore(&mut self, binding: Binding) -> Result<(), BindError> {
        let x = binding.x();
        check_alone(&binding, |x| self.table.app_of(x), |party| party == x)?;
        self.check_name(binding.id())?;
        self.check_room(&binding)?;
        self.put(binding, false);
        Ok(())
    }

    fn check_name(&self, id: SubscriptionId) -> Result<(), BindError> {
        if self.by_id.contains_key(&id) { Err(BindError::Exists) } else { Ok(()) }
    }

    /// What is taken, and the limits.
    fn check_room(&self, binding: &Binding) -> Result<(), BindError> {
        self.check_free(binding, None)?;
        if self.pairs_of(binding.x()) >= self.limits.pairs_per_number as usize && binding.mode() == Mode::Axb {
            return Err(BindError::TooManyPairs);
        }
        if self.by_id.len() >= self.limits.bindings {
            return Err(BindError::Full);
        }
        Ok(())
    }

    /// Its X takes new bindings, of this kind.
    fn check_x(&self, binding: &Binding) -> Result<(), BindError> {
        let x = binding.x();
        match self.table.virtual_number(x).map_or(NumberState::Normal, |x| x.state) {
            NumberState::Normal => {}
            state => return Err(BindError::NumberState(state)),
        }
        if !self.table.may_serve(x) {
            return Err(BindError::Not700);
        }
        let is_dialled = !x.is_managed_700() || binding.mode() == Mode::Axe;
        if is_dialled { Ok(()) } else { Err(BindError::Managed700) }
    }

    /// Ends a binding. From the moment that this returns nobody reaches anybody by it; calls in progress go on.
    ///
    /// # Errors
    /// [`BindError::NotFound`], [`BindError::Configured`].
    pub fn unbind(&mut self, id: SubscriptionId) -> Result<Arc<Binding>, BindError> {
        self.check_own(id)?;
        self.take(id).ok_or(BindError::NotFound)
    }

    /// Ends every binding of an X that does not stand in the operator's file, in no particular order.
    ///
    /// # Errors
    /// [`BindError::NotFound`]: there is no such X. An X without bindings is no error.
    pub fn unbind_all(&mut self, x: Number) -> Result<Vec<Arc<Binding>>, BindError> {
        let ids = self.by_x.get(&x).ok_or(BindError::NotFound)?.ids.clone();
        Ok(ids.into_iter().filter_map(|id| self.unbind(id).ok()).collect())
    }

    /// Changes a binding in one step: at every instant the old relation or the new one holds, never both and never
    /// neither (转绑). Returns the binding as it is now. Its id, its app, its X and its kind stay whatever `change` says. Who
    /// called its A last is nothing to a new A.
    ///
    /// # Errors
    /// [`BindError::NotFound`], [`BindError::Configured`], then the rules as for [`Bindings::bind`]; the old relation then
    /// stays as it was.
    pub fn modify(&mut self, id: SubscriptionId, change: impl FnOnce(&mut Binding)) -> Result<Arc<Binding>, BindError> {
        self.check_own(id)?;
        let old = self.get(id).ok_or(BindError::NotFound)?;
        let mut new = (*old).clone();
        change(&mut new);
        let names = |binding: &Binding| (binding.id(), binding.app(), binding.x(), binding.mode());
        if names(&new) != names(&old) {
            return Err(BindError::NotFound);
        }
        if let Binding::Axe(axe) = &mut new
            && axe.a != old.a()
        {
            axe.last_caller = None;
        }
        check_alone(&new, |x| self.table.app_of(x), |party| self.table.is_virtual(party))?;
        self.check_free(&new, Some(id))?;
        self.replace(id, new).ok_or(BindError::NotFound)
    }

    /// Somebody has called this A by this binding with an extension, and can be called back. `false`: nothing has changed, since
    /// the binding has ended or is another A's by now, or since the caller is nobody to be called back: A, a virtual number, a
    /// service number, an emergency or a foreign number. Who calls says so himself, and A would call there in our name.
    pub fn note_caller(&mut self, id: SubscriptionId, a: Number, caller: LastCaller) -> bool {
        let can_be_called = match caller.number.kind() {
            Kind::Mobile | Kind::Fixed { .. } | Kind::Protected700 => !self.table.is_virtual(caller.number),
            Kind::Service400 | Kind::Service95 | Kind::Other => false,
        };
        let Some(binding) = self.get(id).filter(|_| can_be_called && caller.number != a) else { return false };
        let Binding::Axe(axe) = &*binding else { return false };
        if axe.a != a {
            return false;
        }
        let new = Binding::Axe(Box::new(Axe { last_caller: Some(caller), ..(**axe).clone() }));
        self.replace(id, new).is_some()
    }

    fn check_own(&self, id: SubscriptionId) -> Result<(), BindError> {
        match self.by_id.get(&id) {
            None => Err(BindError::NotFound),
            Some(place) if place.is_configured => Err(BindError::Configured),
            Some(_) => Ok(()),
        }
    }

    /// A binding.
    #[must_use]
    pub fn get(&self, id: SubscriptionId) -> Option<Arc<Binding>> {
        Some(self.by_id.get(&id)?.binding())
    }

    /// Every binding, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Binding>> {
        self.by_id.values().map(Place::binding)
    }

    /// Every binding with an id above this one, in the order of their ids.
    pub fn iter_after(&self, id: SubscriptionId) -> impl Iterator<Item = Arc<Binding>> {
        let after = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        self.by_id.range(after).map(|(_, place)| place.binding())
    }

    /// Whether a binding stands in the operator's file.
    #[must_use]
    pub fn is_configured(&self, id: SubscriptionId) -> bool {
        self.by_id.get(&id).is_some_and(|place| place.is_configured)
    }

    /// The bindings of an X, in no particular order; none where X is not in the pool.
    pub fn of_number(&self, x: Number) -> impl Iterator<Item = Arc<Binding>> {
        let ids = self.by_x.get(&x).map_or(&[][..], |carried| &carried.ids);
        ids.iter().filter_map(|id| self.get(*id))
    }

    /// The names of the bindings of an X, in no particular order.
    #[must_use]
    pub fn ids_of_number(&self, x: Number) -> &[SubscriptionId] {
        self.by_x.get(&x).map_or(&[], |carried| &carried.ids)
    }

    /// The binding that a number is a party of on X; of an A–X also where the number is X.
    #[must_use]
    pub fn of_party(&self, x: Number, party: Number) -> Option<Arc<Binding>> {
        self.holder(x, party.as_u64())
    }

    /// The binding of an extension of X.
    #[must_use]
    pub fn of_extension(&self, x: Number, extension: Extension) -> Option<Arc<Binding>> {
        self.table.of_extension(x, extension)
    }

    /// The A–X of an A in an app, in the order of their ids; at most [`MAX_X_OF_A`].
    pub fn of_a(&self, app: AppId, a: Number) -> impl Iterator<Item = Arc<Binding>> {
        let ids = self.by_a.get(&(app, a)).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.get(*id))
    }

    /// How many bindings an X carries; none where X is not ours.
    #[must_use]
    pub fn pairs_of(&self, x: Number) -> usize {
        self.by_x.get(&x).map_or(0, |carried| carried.ids.len())
    }

    /// How often an X has been bound since the start.
    #[must_use]
    pub fn uses_of(&self, x: Number) -> u64 {
        self.by_x.get(&x).map_or(0, |carried| carried.standing.uses)
    }

    /// Until when an X rests, in milliseconds of UNIX time.
    #[must_use]
    pub fn rests_until(&self, x: Number) -> Option<u64> {
        self.by_x.get(&x).map(|carried| carried.standing.rests_until).filter(|until| *until > self.now)
    }

    /// Whether an X stands in the operator's file.
    #[must_use]
    pub fn is_configured_number(&self, x: Number) -> bool {
        self.by_x.get(&x).is_some_and(|carried| carried.is_configured)
    }

    /// Every X, in no particular order.
    pub fn numbers(&self) -> impl Iterator<Item = Arc<VirtualNumber>> {
        self.by_x.keys().filter_map(|x| self.table.virtual_number(*x))
    }

    /// How many bindings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no binding.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn holder(&self, x: Number, key: Key) -> Option<Arc<Binding>> {
        self.table.at(x, key)
    }

    /// Within one X a number, an extension and an A–X occurs once only; `own` may be in the way of itself.
    fn check_free(&self, binding: &Binding, own: Option<SubscriptionId>) -> Result<(), BindError> {
        let x = binding.x();
        let others = self.by_x.get(&x).is_some_and(|carried| carried.ids.iter().any(|id| Some(*id) != own));
        if others && binding.mode() != Mode::Ax {
            // What else X carries is of one kind: looking at one of them tells.
            let first = self.of_number(x).find(|other| Some(other.id()) != own);
            if first.is_some_and(|first| first.mode() != binding.mode()) {
                return Err(BindError::InUse);
            }
        }
        let is_other = |key: Key| self.holder(x, key).is_some_and(|holder| Some(holder.id()) != own);
        match binding {
            Binding::Axb(axb) => {
                for party in [axb.a, axb.b] {
                    if is_other(party.as_u64()) {
                        return Err(BindError::NumberTaken(party));
                    }
                }
            }
            Binding::Ax(ax) => {
                if others {
                    let is_same = self.of_number(x).any(|other| other.a() == ax.a);
                    return Err(if is_same { BindError::NumberTaken(ax.a) } else { BindError::XTaken });
                }
                let held = self.of_a(ax.app, ax.a).filter(|other| Some(other.id()) != own).count();
                if held >= MAX_X_OF_A {
                    return Err(BindError::TooManyX);
                }
            }
            Binding::Axe(axe) => {
                if is_other(extension_key(axe.extension)) || self.is_shadowed(x, axe.extension) {
                    return Err(BindError::ExtensionTaken(axe.extension));
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Bindings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bindings").field("table", &self.table).field("limits", &self.limits).finish()
    }
}

#[cfg(test)]
mod tests;
