//! The writer: what has been checked goes into the table, into what is found beside it, into the pool and the journal. The order of
//! stores is that of the table's picture: what leads to a cell is there before its binding and as long as it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Bindings, Carried, Entry, Place};
use crate::binding::{Binding, Extension, Mode, SubscriptionId, VirtualNumber};
use crate::number::Number;
use crate::pool::Standing;
use crate::table::{Cell, Own};

impl Bindings {
    /// Adds a number or changes what it says.
    pub(crate) fn put_number(&mut self, number: VirtualNumber, is_configured: bool) {
        let x = number.number;
        let was = self.table.virtual_number(x);
        let number = Arc::new(number);
        let carried = self.by_x.entry(x).or_default();
        if let Some(was) = &was {
            self.pool.withdraw(was, &mut carried.standing);
        }
        carried.is_configured = is_configured;
        if self.table.may_serve(x) {
            self.pool.place(&number, &mut carried.standing, carried.ids.len(), self.now);
        }
        self.table.shared.numbers.pin().insert(x, Arc::clone(&number));
        self.note(is_configured, || Entry::Number { was, is: Some(number) });
    }

    /// Takes out a number without bindings.
    pub(crate) fn take_number(&mut self, x: Number) {
        let was = self.table.virtual_number(x);
        let Some(mut carried) = self.by_x.remove(&x) else { return };
        if let Some(was) = &was {
            self.pool.withdraw(was, &mut carried.standing);
        }
        self.table.shared.numbers.pin().remove(&x);
        self.note_wake(x, carried.standing.rests_until, carried.is_configured);
        self.note(carried.is_configured, || Entry::Number { was, is: None });
    }

    /// Publishes a checked binding: keys first, then the one store.
    pub(crate) fn put(&mut self, binding: Binding, is_configured: bool) {
        let (id, x) = (binding.id(), binding.x());
        let cell = Arc::new(Cell::empty());
        {
            let pairs = self.table.shared.pairs.pin();
            for key in binding.keys() {
                pairs.insert((x, key), Arc::clone(&cell));
            }
        }
        if binding.mode() == Mode::Axe {
            self.list_of_a(x, binding.a(), (id, Arc::clone(&cell)));
        }
        let binding = Arc::new(binding);
        cell.store(Some(Arc::clone(&binding)));
        self.index(&binding);
        self.uses += 1;
        let uses = self.uses;
        let carried = self.by_x.entry(x).or_default();
        let rested_until = carried.standing.rests_until;
        let place = u32::try_from(carried.ids.len()).expect("what an X carries is held far below 2^32");
        carried.ids.push(id);
        carried.standing.uses += 1;
        self.by_id.insert(id, Place { cell, place, is_configured });
        self.set_standing(x, |standing| {
            standing.last_use = uses;
            standing.rests_until = 0;
        });
        self.count();
        self.note_wake(x, rested_until, is_configured);
        self.note(is_configured, || Entry::Binding { was: None, is: Some(binding) });
    }

    /// Withdraws a binding; an X that has just lost its last one rests.
    pub(crate) fn take(&mut self, id: SubscriptionId) -> Option<Arc<Binding>> {
        let (binding, is_configured) = self.withdraw(id)?;
        let x = binding.x();
        let cool_off = self.rules(binding.app()).cool_off;
        if cool_off != 0 && self.pairs_of(x) == 0 {
            let until = self.now.saturating_add(cool_off);
            self.set_standing(x, |standing| standing.rests_until = until);
            self.note(is_configured, || Entry::Rest { x, was: 0, until });
        }
        Some(binding)
    }

    /// Withdraws a binding: the one store first, then the keys. And whether it stood in the operator's file.
    pub(super) fn withdraw(&mut self, id: SubscriptionId) -> Option<(Arc<Binding>, bool)> {
        let Place { cell, place, is_configured } = self.by_id.remove(&id)?;
        let binding = cell.swap(None)?;
        let x = binding.x();
        {
            let pairs = self.table.shared.pairs.pin();
            for key in binding.keys() {
                pairs.remove(&(x, key));
            }
        }
        if binding.mode() == Mode::Axe {
            self.unlist_of_a(x, binding.a(), id);
        }
        self.unindex(&binding);
        self.unlist(x, place);
        self.uses += 1;
        let uses = self.uses;
        self.set_standing(x, |standing| standing.last_use = uses);
        self.count();
        self.note(is_configured, || Entry::Binding { was: Some(Arc::clone(&binding)), is: None });
        Some((binding, is_configured))
    }

    /// Writes down that an X which rested does so no more.
    fn note_wake(&mut self, x: Number, was: u64, is_configured: bool) {
        if was > self.now {
            self.note(is_configured, || Entry::Rest { x, was, until: 0 });
        }
    }

    /// Puts a checked binding of the same X in the place of another, in one step. Its id may differ.
    pub(crate) fn replace(&mut self, id: SubscriptionId, binding: Binding) -> Option<Arc<Binding>> {
        let entry = self.by_id.get(&id)?;
        let cell = Arc::clone(&entry.cell);
        let (place, is_configured) = (entry.place, entry.is_configured);
        let old = entry.binding();
        let new = Arc::new(binding);
        let (were, are) = (old.keys(), new.keys());
        let x = new.x();
        // Only pairs change their ids: the file's are of no other kind.
        let moves = new.mode() == Mode::Axe && new.a() != old.a();
        self.unindex(&old);
        if moves {
            self.list_of_a(x, new.a(), (id, Arc::clone(&cell)));
        }
        {
            let pairs = self.table.shared.pairs.pin();
            for key in are.iter().filter(|key| !were.contains(key)) {
                pairs.insert((x, *key), Arc::clone(&cell));
            }
            cell.store(Some(Arc::clone(&new)));
            for key in were.iter().filter(|key| !are.contains(key)) {
                pairs.remove(&(x, *key));
            }
        }
        if moves {
            self.unlist_of_a(x, old.a(), id);
        }
        self.index(&new);
        if new.id() != id {
            self.by_id.remove(&id);
            self.by_id.insert(new.id(), Place { cell, place, is_configured });
            let listed = self.by_x.get_mut(&x).and_then(|carried| carried.ids.get_mut(place as usize));
            if let Some(listed) = listed {
                *listed = new.id();
            }
        }
        self.note(is_configured, || Entry::Binding { was: Some(old), is: Some(Arc::clone(&new)) });
        Some(new)
    }

    /// Lets the A of an A–X–E find it, before the store that makes it A's.
    fn list_of_a(&self, x: Number, a: Number, own: Own) {
        let lists = self.table.shared.of_a.pin();
        let mut list = lists.get(&(x, a)).map_or_else(Vec::new, |list| list.to_vec());
        let place = list.partition_point(|(id, _)| *id > own.0);
        list.insert(place, own);
        lists.insert((x, a), list.into());
    }

    /// Forgets that, after the store that makes it A's no more.
    fn unlist_of_a(&self, x: Number, a: Number, id: SubscriptionId) {
        let lists = self.table.shared.of_a.pin();
        let left: Vec<Own> = lists
            .get(&(x, a))
            .map_or_else(Vec::new, |list| list.iter().filter(|(own, _)| *own != id).cloned().collect());
        if left.is_empty() {
            lists.remove(&(x, a));
        } else {
            lists.insert((x, a), left.into());
        }
    }

    /// What a binding is found by beside the table.
    fn index(&mut self, binding: &Binding) {
        if let Some(at) = binding.due() {
            self.due.insert((at, binding.id()));
        }
        match binding {
            Binding::Axb(_) => {}
            Binding::Ax(ax) => {
                let ids = self.by_a.entry((ax.app, ax.a)).or_default();
                let place = ids.partition_point(|id| *id < ax.id);
                ids.insert(place, ax.id);
            }
            Binding::Axe(axe) => self.set_extension(axe.x, axe.extension, true),
        }
    }

    fn unindex(&mut self, binding: &Binding) {
        if let Some(at) = binding.due() {
            self.due.remove(&(at, binding.id()));
        }
        match binding {
            Binding::Axb(_) => {}
            Binding::Ax(ax) => {
                let key = (ax.app, ax.a);
                if let Some(ids) = self.by_a.get_mut(&key) {
                    ids.retain(|id| *id != ax.id);
                    if ids.is_empty() {
                        self.by_a.remove(&key);
                    }
                }
            }
            Binding::Axe(axe) => self.set_extension(axe.x, axe.extension, false),
        }
    }

    fn set_extension(&mut self, x: Number, extension: Extension, is_taken: bool) {
        if let Some(carried) = self.by_x.get_mut(&x) {
            carried.standing.extensions.set(extension, is_taken);
        }
    }

    /// Changes what is known of an X, and puts it in its place in the pool.
    pub(super) fn set_standing(&mut self, x: Number, change: impl FnOnce(&mut Standing)) {
        let Some(number) = self.table.virtual_number(x) else { return };
        let Some(carried) = self.by_x.get_mut(&x) else { return };
        self.pool.withdraw(&number, &mut carried.standing);
        change(&mut carried.standing);
        if self.is_filling || !self.table.may_serve(x) {
            return;
        }
        self.pool.place(&number, &mut carried.standing, carried.ids.len(), self.now);
    }

    /// Takes a place out of an X's list; the last one moves into it.
    fn unlist(&mut self, x: Number, place: u32) {
        let Some(Carried { ids: list, .. }) = self.by_x.get_mut(&x) else {
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
