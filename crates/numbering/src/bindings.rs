//! The one writer of the table: binds, transfers, unbinds, and keeps the indexes by id and by X.
//!
//! Whoever owns the [`Bindings`] is the writer; `&mut` makes sure that there is one at a time, so that what was checked
//! still holds when it is written. Two API calls that race for a number on one X come one after the other, and the
//! second is refused.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use std::fmt;

use crate::binding::{AppId, Axb, Binding, Change, SubscriptionId, VirtualNumber};
use crate::number::{Kind, Number};
use crate::table::{Cell, Table};

/// Longest call that a binding may name, in minutes (product rule M1.8).
const MAX_MINUTES: u16 = 1_440;

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

/// Why a binding cannot be made or changed. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BindError {
    /// X is no number of this platform.
    UnknownX,
    /// X belongs to another app.
    ForeignX,
    /// The number is bound on this X already (1012010).
    NumberTaken(Number),
    /// A and B are the same.
    SameParty,
    /// A or B is X itself, or another X.
    PartyIsVirtual(Number),
    /// 400, 800, 95 and 96 numbers cannot be A or B.
    ServiceNumber(Number),
    /// X has as many pairs as it may.
    TooManyPairs,
    /// There are as many bindings or numbers as there may be.
    Full,
    /// More than 1,440 minutes.
    MaxMinutes,
    /// There is no binding, or X, of this name.
    NotFound,
    /// There is a binding, or an X, of this name already.
    Exists,
    /// X still has bindings.
    InUse,
}

impl BindError {
    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            BindError::UnknownX => "unknown_x",
            BindError::ForeignX => "foreign_x",
            BindError::NumberTaken(_) => "number_taken",
            BindError::SameParty => "same_party",
            BindError::PartyIsVirtual(_) => "party_is_virtual",
            BindError::ServiceNumber(_) => "service_number",
            BindError::TooManyPairs => "too_many_pairs",
            BindError::Full => "full",
            BindError::MaxMinutes => "max_minutes",
            BindError::NotFound => "not_found",
            BindError::Exists => "exists",
            BindError::InUse => "in_use",
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::UnknownX => f.write_str("x is no number of this platform"),
            BindError::ForeignX => f.write_str("x belongs to another app"),
            BindError::NumberTaken(number) => write!(f, "{number} is bound on this x already"),
            BindError::SameParty => f.write_str("a and b are the same number"),
            BindError::PartyIsVirtual(number) => write!(f, "{number} is a virtual number, not a party"),
            BindError::ServiceNumber(number) => {
                write!(f, "{number} is a service number (400, 800, 95, 96), not a party")
            }
            BindError::TooManyPairs => f.write_str("this x has as many pairs as it may"),
            BindError::Full => f.write_str("there are as many as there may be"),
            BindError::MaxMinutes => f.write_str("a call may be limited to 1-1440 minutes"),
            BindError::NotFound => f.write_str("there is none of this name"),
            BindError::Exists => f.write_str("there is one of this name already"),
            BindError::InUse => f.write_str("it still has bindings"),
        }
    }
}

impl std::error::Error for BindError {}

/// The rules that a binding must obey whatever else is bound (product rules M1 and M5). `owner` tells whose X a number is.
///
/// # Errors
/// In this order: `UnknownX`, `ForeignX`, `SameParty`, `MaxMinutes`, `PartyIsVirtual`, `ServiceNumber`.
pub(crate) fn check_alone(axb: &Axb, owner: impl Fn(Number) -> Option<AppId>) -> Result<(), BindError> {
    if owner(axb.x).ok_or(BindError::UnknownX)? != axb.app {
        return Err(BindError::ForeignX);
    }
    if axb.a == axb.b {
        return Err(BindError::SameParty);
    }
    if axb.max_minutes > MAX_MINUTES {
        return Err(BindError::MaxMinutes);
    }
    for party in [axb.a, axb.b] {
        if owner(party).is_some() {
            return Err(BindError::PartyIsVirtual(party));
        }
        match party.kind() {
            Kind::Service400 | Kind::Service95 => return Err(BindError::ServiceNumber(party)),
            Kind::Mobile | Kind::Fixed { .. } | Kind::Protected700 | Kind::Other => {}
        }
    }
    Ok(())
}

/// Every binding and every virtual number, and the right to change them.
pub struct Bindings {
    pub(crate) table: Table,
    pub(crate) limits: Limits,
    /// Ordered, so that a walk over all bindings is the same walk every time.
    pub(crate) by_id: BTreeMap<SubscriptionId, Entry>,
    /// The names of each X's pairs; an X of the pool without pairs has an empty list.
    pub(crate) by_x: HashMap<Number, Vec<SubscriptionId>>,
}

/// Where a binding lives.
pub(crate) struct Entry {
    /// Never empty while the entry exists.
    pub(crate) cell: Arc<Cell>,
    /// Its place in its X's list.
    pub(crate) place: u32,
}

impl Entry {
    pub(crate) fn binding(&self) -> Arc<Binding> {
        self.cell.load_full().expect("a cell is filled before its entry is made and emptied after it is taken out")
    }
}

impl Bindings {
    /// No numbers, no bindings, and the table that follows this writer.
    #[must_use]
    pub fn new(limits: Limits) -> (Bindings, Table) {
        let table = Table::empty();
        let bindings = Bindings { table: table.clone(), limits, by_id: BTreeMap::new(), by_x: HashMap::new() };
        (bindings, table)
    }

    /// The table that follows this writer.
    #[must_use]
    pub fn table(&self) -> Table {
        self.table.clone()
    }

    /// Adds an X, effective for the next call. It may be a party of bindings made before; they stand.
    ///
    /// # Errors
    /// [`BindError::Exists`], [`BindError::Full`].
    pub fn add_number(&mut self, number: VirtualNumber) -> Result<(), BindError> {
        if self.by_x.contains_key(&number.number) {
            return Err(BindError::Exists);
        }
        if self.by_x.len() >= self.limits.numbers {
            return Err(BindError::Full);
        }
        self.put_number(number);
        Ok(())
    }

    /// Removes an X that has no bindings.
    ///
    /// # Errors
    /// [`BindError::NotFound`], [`BindError::InUse`].
    pub fn remove_number(&mut self, x: Number) -> Result<(), BindError> {
        if !self.by_x.get(&x).ok_or(BindError::NotFound)?.is_empty() {
            return Err(BindError::InUse);
        }
        self.take_number(x);
        Ok(())
    }

    /// Makes a binding. From the moment that this returns both parties reach each other through X.
    ///
    /// # Errors
    /// A rule that it breaks, in this order: `UnknownX`, `ForeignX`, `SameParty`, `MaxMinutes`, `PartyIsVirtual`,
    /// `ServiceNumber`, `Exists`, `NumberTaken`, `TooManyPairs`, `Full`. Nothing has changed then.
    pub fn bind(&mut self, binding: Binding) -> Result<(), BindError> {
        let Binding::Axb(axb) = &binding;
        check_alone(axb, |x| self.table.app_of(x))?;
        if self.by_id.contains_key(&axb.id) {
            return Err(BindError::Exists);
        }
        self.check_free(axb, None)?;
        if self.pairs_of(axb.x) >= self.limits.pairs_per_number as usize {
            return Err(BindError::TooManyPairs);
        }
        if self.by_id.len() >= self.limits.bindings {
            return Err(BindError::Full);
        }
        self.put(binding);
        Ok(())
    }

    /// Ends a binding. From the moment that this returns neither party reaches the other; calls in progress go on.
    ///
    /// # Errors
    /// [`BindError::NotFound`].
    pub fn unbind(&mut self, id: SubscriptionId) -> Result<Arc<Binding>, BindError> {
        self.take(id).ok_or(BindError::NotFound)
    }

    /// Ends every binding of an X, one after the other, in no particular order.
    ///
    /// # Errors
    /// [`BindError::NotFound`]: there is no such X. An X without bindings is no error.
    pub fn unbind_all(&mut self, x: Number) -> Result<Vec<Arc<Binding>>, BindError> {
        let ids = self.by_x.get(&x).ok_or(BindError::NotFound)?.clone();
        Ok(ids.into_iter().filter_map(|id| self.take(id)).collect())
    }

    /// Changes a binding in one step: at every instant the old relation or the new one holds, never both and never
    /// neither (转绑). Returns the binding as it is now.
    ///
    /// # Errors
    /// [`BindError::NotFound`], then the rules of parties and minutes as for [`Bindings::bind`]; the old relation then stays as it was.
    pub fn modify(&mut self, id: SubscriptionId, change: Change) -> Result<Arc<Binding>, BindError> {
        let old = self.get(id).ok_or(BindError::NotFound)?;
        let Binding::Axb(axb) = &*old;
        let axb = change.of(axb);
        check_alone(&axb, |x| self.table.app_of(x))?;
        self.check_free(&axb, Some(id))?;
        self.replace(id, Binding::Axb(axb)).ok_or(BindError::NotFound)
    }

    /// A binding.
    #[must_use]
    pub fn get(&self, id: SubscriptionId) -> Option<Arc<Binding>> {
        Some(self.by_id.get(&id)?.binding())
    }

    /// Every binding, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Binding>> {
        self.by_id.values().map(Entry::binding)
    }

    /// The bindings of an X, in no particular order; none where X is not in the pool.
    pub fn of_number(&self, x: Number) -> impl Iterator<Item = Arc<Binding>> {
        let ids = self.by_x.get(&x).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.get(*id))
    }

    /// How many bindings an X carries; none where X is not ours.
    #[must_use]
    pub fn pairs_of(&self, x: Number) -> usize {
        self.by_x.get(&x).map_or(0, Vec::len)
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

    /// Within one X a number occurs once only; `own` may be in the way of itself.
    fn check_free(&self, axb: &Axb, own: Option<SubscriptionId>) -> Result<(), BindError> {
        for number in [axb.a, axb.b] {
            match self.table.binding(axb.x, number) {
                Some((holder, _)) if Some(holder.id()) != own => {
                    return Err(BindError::NumberTaken(number));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Adds a number or changes what it says.
    pub(crate) fn put_number(&mut self, number: VirtualNumber) {
        self.by_x.entry(number.number).or_default();
        self.table.shared.numbers.pin().insert(number.number, Arc::new(number));
    }

    /// Takes out a number without bindings.
    pub(crate) fn take_number(&mut self, x: Number) {
        self.by_x.remove(&x);
        self.table.shared.numbers.pin().remove(&x);
    }

    /// Publishes a checked binding: keys first, then the one store.
    pub(crate) fn put(&mut self, binding: Binding) {
        let Binding::Axb(axb) = &binding;
        let (id, x, parties) = (axb.id, axb.x, [axb.a, axb.b]);
        let cell = Arc::new(Cell::empty());
        {
            let pairs = self.table.shared.pairs.pin();
            for party in parties {
                pairs.insert((x, party), Arc::clone(&cell));
            }
        }
        cell.store(Some(Arc::new(binding)));
        let list = self.by_x.entry(x).or_default();
        let place = u32::try_from(list.len()).expect("pairs_per_number is held below 2^32");
        list.push(id);
        self.by_id.insert(id, Entry { cell, place });
        self.count();
    }

    /// Withdraws a binding: the one store first, then the keys.
    pub(crate) fn take(&mut self, id: SubscriptionId) -> Option<Arc<Binding>> {
        let entry = self.by_id.remove(&id)?;
        let binding = entry.cell.swap(None)?;
        let Binding::Axb(axb) = &*binding;
        {
            let pairs = self.table.shared.pairs.pin();
            for party in [axb.a, axb.b] {
                pairs.remove(&(axb.x, party));
            }
        }
        self.unlist(axb.x, entry.place);
        self.count();
        Some(binding)
    }

    /// Puts a checked binding of the same X in the place of another, in one step. Its id may differ.
    pub(crate) fn replace(&mut self, id: SubscriptionId, binding: Binding) -> Option<Arc<Binding>> {
        let entry = self.by_id.get(&id)?;
        let cell = Arc::clone(&entry.cell);
        let place = entry.place;
        let old = entry.binding();
        let new = Arc::new(binding);
        let (Binding::Axb(was), Binding::Axb(is)) = (&*old, &*new);
        let pairs = self.table.shared.pairs.pin();
        for party in [is.a, is.b] {
            if was.a != party && was.b != party {
                pairs.insert((is.x, party), Arc::clone(&cell));
            }
        }
        cell.store(Some(Arc::clone(&new)));
        for party in [was.a, was.b] {
            if is.a != party && is.b != party {
                pairs.remove(&(was.x, party));
            }
        }
        drop(pairs);
        if is.id != id {
            self.by_id.remove(&id);
            self.by_id.insert(is.id, Entry { cell, place });
            let listed = self.by_x.get_mut(&is.x).and_then(|list| list.get_mut(place as usize));
            if let Some(listed) = listed {
                *listed = is.id;
            }
        }
        Some(new)
    }

    /// Takes a place out of an X's list; the last one moves into it.
    fn unlist(&mut self, x: Number, place: u32) {
        let Some(list) = self.by_x.get_mut(&x) else {
            return;
        };
        if place as usize >= list.len() {
            return;
        }
        list.swap_remove(place as usize);
        let moved = list.get(place as usize).copied();
        if let Some(moved) = moved.and_then(|moved| self.by_id.get_mut(&moved)) {
            moved.place = place;
        }
    }

    fn count(&self) {
        let count = self.by_id.len();
        self.table.shared.bindings.store(count, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Bindings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bindings").field("table", &self.table).field("limits", &self.limits).finish()
    }
}

#[cfg(test)]
mod tests;
