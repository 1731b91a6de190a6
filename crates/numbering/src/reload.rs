//! A reload: the whole truth is given anew, checked wholly first, then applied as a difference.
//!
//! What stays as it was is not touched, so an unchanged binding is never absent for an instant. What changes is
//! applied in this order:
//!
//! 1. numbers that are new or say something else;
//! 2. bindings that take the place of exactly one binding that goes (same id, or another id but the same X and a party
//!    in common): one step each, like a modify, so that the party in common is never without one;
//! 3. bindings that go; 4. bindings that are left to bind; 5. numbers that go.
//!
//! Only where numbers change places between several bindings of one X at once (A–X–B and C–X–D become A–X–D and C–X–B)
//! are those bindings taken away in 3 and bound in 4.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::binding::{AppId, Axb, Binding, Mode, SubscriptionId, VirtualNumber};
use crate::bindings::{BindError, Bindings, Carried, Place, check_alone};
use crate::number::Number;

/// How often the bindings that wait for another one's number are tried again.
const ROUNDS: usize = 16;

/// What a reload changed of the bindings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Bindings that are new.
    pub added: usize,
    /// Bindings that are gone.
    pub removed: usize,
    /// Bindings whose parties or terms are new.
    pub changed: usize,
    /// Bindings that stand as they were.
    pub kept: usize,
}

impl Bindings {
    /// What is wanted, and the numbers that go.
    fn checked(
        &self,
        numbers: &[VirtualNumber],
        bindings: &[Binding],
    ) -> Result<(Wanted, Vec<Number>), (usize, BindError)> {
        let wanted = check(numbers, bindings, &self.beside())?;
        self.check_beside(numbers, bindings)?;
        let gone = self.gone(&wanted, numbers.len() + bindings.len())?;
        Ok((wanted, gone))
    }

    /// The numbers of the file that the new one has no more.
    fn gone(&self, wanted: &Wanted, place: usize) -> Result<Vec<Number>, (usize, BindError)> {
        let is_gone = |x: &Number, carried: &Carried| carried.is_configured && !wanted.numbers.contains_key(x);
        let gone: Vec<Number> = self.by_x.iter().filter(|(x, carried)| is_gone(x, carried)).map(|(x, _)| *x).collect();
        for x in &gone {
            if self.by_x[x].ids.iter().any(|id| !self.is_configured(*id)) {
                return Err((place, BindError::InUse));
            }
        }
        Ok(gone)
    }

    /// Makes the table hold exactly these numbers and bindings of the operator's file: all is checked first, then only what
    /// differs is touched, so that a binding which stands in both is never absent for an instant. What does not come from
    /// the file stays as it is.
    ///
    /// # Errors
    /// The place (among the numbers, then among the bindings) of the first that breaks a rule, and the rule; behind all of
    /// them, [`BindError::InUse`], where a number would go that carries bindings which are not the file's. Nothing has
    /// changed then.
    pub fn replace_all(
        &mut self,
        numbers: Vec<VirtualNumber>,
        bindings: Vec<Binding>,
    ) -> Result<Summary, (usize, BindError)> {
        let (wanted, gone) = self.checked(&numbers, &bindings)?;
        for number in numbers {
            if self.table.virtual_number(number.number).as_deref() != Some(&number) {
                self.put_number(number, true);
            }
        }
        let summary = self.become_like(bindings, &wanted.ids);
        for x in gone {
            self.take_number(x);
        }
        Ok(summary)
    }

    /// What room the API's numbers and bindings leave.
    fn beside(&self) -> Room<'_> {
        let numbers = self.by_x.values().filter(|carried| !carried.is_configured).count();
        let bindings = self.by_id.values().filter(|place| !place.is_configured).count();
        Room {
            numbers: self.limits.numbers.saturating_sub(numbers),
            bindings: self.limits.bindings.saturating_sub(bindings),
            pairs_per_number: self.limits.pairs_per_number as usize,
            all: self,
        }
    }

    /// What is not the file's is not in the file's way.
    fn check_beside(&self, numbers: &[VirtualNumber], bindings: &[Binding]) -> Result<(), (usize, BindError)> {
        let is_other = |x: Number| self.by_x.get(&x).is_some_and(|carried| !carried.is_configured);
        if let Some(place) = numbers.iter().position(|number| is_other(number.number)) {
            return Err((place, BindError::Exists));
        }
        if let Some(place) = numbers.iter().position(|number| self.extension_dialled_by(number.number).is_some()) {
            return Err((place, BindError::Exists));
        }
        for number in numbers {
            let moved = self.table.app_of(number.number).is_some_and(|app| app != number.app);
            if moved && self.of_number(number.number).any(|binding| !self.is_configured(binding.id())) {
                return Err((numbers.len() + bindings.len(), BindError::InUse));
            }
        }
        for (place, binding) in bindings.iter().enumerate() {
            let Binding::Axb(axb) = binding else { continue };
            self.check_pair_beside(axb, binding).map_err(|error| (numbers.len() + place, error))?;
        }
        Ok(())
    }

    fn check_pair_beside(&self, axb: &Axb, binding: &Binding) -> Result<(), BindError> {
        let held = self.get(axb.id);
        // What the API has made an X since the pair was made may stay its party.
        if held.as_deref() != Some(binding) {
            let is_apis = |x: Number| self.by_x.get(&x).is_some_and(|carried| !carried.is_configured);
            let is_virtual = |party: &Number| leads_to(*party).any(is_apis);
            if let Some(party) = [axb.a, axb.b].into_iter().find(is_virtual) {
                return Err(BindError::PartyIsVirtual(party));
            }
        }
        if held.is_some_and(|held| !self.is_configured(held.id())) {
            return Err(BindError::Exists);
        }
        // What an X carries is of one kind, and the file's are pairs.
        if self.of_number(axb.x).next().is_some_and(|other| other.mode() != Mode::Axb) {
            return Err(BindError::InUse);
        }
        let is_taken =
            |party: &Number| self.of_party(axb.x, *party).is_some_and(|holder| !self.is_configured(holder.id()));
        [axb.a, axb.b].into_iter().find(is_taken).map_or(Ok(()), |party| Err(BindError::NumberTaken(party)))
    }

    /// Steps 2 to 4.
    fn become_like(&mut self, bindings: Vec<Binding>, wanted: &HashSet<SubscriptionId>) -> Summary {
        let mut summary = Summary::default();
        let mut left = Vec::new();
        for binding in bindings {
            match self.get(binding.id()) {
                Some(now) if *now == binding => {
                    summary.kept += 1;
                    continue;
                }
                Some(_) => summary.changed += 1,
                None => summary.added += 1,
            }
            left.push(binding);
        }
        let before = self.by_id.values().filter(|place| place.is_configured).count();
        summary.removed = before - summary.kept - summary.changed;
        // A step may free the number that another one waits for (a chain of transfers), hence the rounds.
        for _ in 0..ROUNDS {
            let waiting = left.len();
            left = left.into_iter().filter_map(|binding| self.step_into(binding, wanted)).collect();
            if left.len() == waiting {
                break;
            }
        }
        let is_gone = |(id, place): &(&SubscriptionId, &Place)| place.is_configured && !wanted.contains(*id);
        let gone = self.by_id.iter().filter(is_gone).map(|(id, _)| *id);
        let going: Vec<SubscriptionId> = gone.chain(left.iter().map(Binding::id)).collect();
        for id in going {
            self.take(id);
        }
        for binding in left {
            self.put(binding, true);
        }
        summary
    }

    /// Puts a binding in the place of the one binding that goes for it; gives it back where it is none or several.
    fn step_into(&mut self, binding: Binding, wanted: &HashSet<SubscriptionId>) -> Option<Binding> {
        let Binding::Axb(axb) = &binding else { return Some(binding) };
        let same_id = self.get(axb.id).filter(|was| was.x() == axb.x);
        let mut place: Option<Arc<Binding>> = same_id;
        for party in [axb.a, axb.b] {
            let Some((holder, _)) = self.table.binding(axb.x, party) else {
                continue;
            };
            match &place {
                Some(place) if place.id() == holder.id() => {}
                Some(_) => return Some(binding),
                None => place = Some(holder),
            }
        }
        let Some(place) = place else {
            return Some(binding);
        };
        let moved_elsewhere = self.by_id.contains_key(&axb.id) && place.id() != axb.id;
        if moved_elsewhere || (place.id() != axb.id && wanted.contains(&place.id())) {
            return Some(binding);
        }
        self.replace(place.id(), binding);
        None
    }
}

/// The X that a number may lead to: itself, and of 15 digits of the 700 segment the 11 that are managed.
fn leads_to(number: Number) -> impl Iterator<Item = Number> {
    [Some(number), number.managed_700().map(|(managed, _)| managed)].into_iter().flatten()
}

/// How much the file may say.
struct Room<'a> {
    numbers: usize,
    bindings: usize,
    pairs_per_number: usize,
    all: &'a Bindings,
}

impl Room<'_> {
    /// Pairs on an X.
    fn pairs(&self, x: Number) -> usize {
        let apis = self.all.of_number(x).filter(|binding| !self.all.is_configured(binding.id())).count();
        self.pairs_per_number.saturating_sub(apis)
    }
}

struct Wanted {
    numbers: HashMap<Number, AppId>,
    ids: HashSet<SubscriptionId>,
}

/// All rules, over the new lists alone but for the room that there is.
fn check(numbers: &[VirtualNumber], bindings: &[Binding], room: &Room) -> Result<Wanted, (usize, BindError)> {
    let mut wanted =
        Wanted { numbers: HashMap::with_capacity(numbers.len()), ids: HashSet::with_capacity(bindings.len()) };
    for (place, number) in numbers.iter().enumerate() {
        if wanted.numbers.insert(number.number, number.app).is_some() {
            return Err((place, BindError::Exists));
        }
        if wanted.numbers.len() > room.numbers {
            return Err((place, BindError::Full));
        }
    }
    let mut parties: HashSet<(Number, Number)> = HashSet::with_capacity(bindings.len().saturating_mul(2));
    let mut left: HashMap<Number, usize> = HashMap::new();
    for (place, binding) in bindings.iter().enumerate() {
        wanted.check(binding, room, &mut parties, &mut left).map_err(|error| (numbers.len() + place, error))?;
    }
    Ok(wanted)
}

impl Wanted {
    /// The rules and their order are those of [`Bindings::bind`].
    fn check(
        &mut self,
        binding: &Binding,
        room: &Room,
        parties: &mut HashSet<(Number, Number)>,
        left: &mut HashMap<Number, usize>,
    ) -> Result<(), BindError> {
        let Binding::Axb(axb) = binding else { return Err(BindError::InUse) };
        let is_virtual = |party| leads_to(party).any(|x| self.numbers.contains_key(&x));
        check_alone(binding, |x| self.numbers.get(&x).copied(), is_virtual)?;
        if !self.ids.insert(axb.id) {
            return Err(BindError::Exists);
        }
        if axb.x.is_managed_700() {
            return Err(BindError::Managed700);
        }
        for party in [axb.a, axb.b] {
            if !parties.insert((axb.x, party)) {
                return Err(BindError::NumberTaken(party));
            }
        }
        let left = left.entry(axb.x).or_insert_with(|| room.pairs(axb.x));
        *left = left.checked_sub(1).ok_or(BindError::TooManyPairs)?;
        if self.ids.len() > room.bindings {
            return Err(BindError::Full);
        }
        Ok(())
    }
}
