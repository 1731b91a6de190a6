//! Who reaches whom through X: read without a lock by every signalling loop, written by one [`Bindings`].
//!
//! ```text
//!   (X, A) ─┐
//!           ├─▶ Cell ─▶ Arc<Binding>      a transfer stores one pointer: both parties see it in the same instant
//!   (X, B) ─┘
//! ```
//!
//! A reader takes the cell under (X, caller), loads the binding and checks that the caller is a party of it *now*: a key
//! that a transfer has left behind decides nothing. A key of a new party is added before the store and an old one
//! removed after it, so there is no instant at which neither relation holds. Every decision is that of the binding
//! loaded in one atomic load, so it is linearisable with the writer's stores.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use papaya::HashMap as LockFreeMap;

use crate::binding::{Axb, AppId, Binding, Party, SubscriptionId, VirtualNumber};
use crate::number::{Kind, Number};

type Cell = Arc<ArcSwap<Binding>>;

/// Why a call through X is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// X is none of ours.
    UnknownX,
    /// The caller is not bound to X.
    NotBound,
    /// The binding does not allow this direction.
    WrongDirection,
    /// A fixed line may only be called.
    FixedLineCaller,
}

/// What (X, caller) means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Call the other party.
    Connect {
        /// By this binding, as it is now.
        binding: Arc<Binding>,
        /// The caller is this party.
        caller: Party,
        /// Whom to call.
        callee: Number,
    },
    /// Refuse.
    Refuse {
        /// Why.
        refusal: Refusal,
        /// Whose X it is, where it is ours.
        app: Option<AppId>,
        /// The binding that forbids it.
        binding: Option<Arc<Binding>>,
    },
}

/// Limits of the table.
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

#[derive(Debug)]
struct Shared {
    cells: LockFreeMap<(Number, Number), Cell>,
    numbers: LockFreeMap<Number, Arc<VirtualNumber>>,
}

/// The reader's handle. Clones share the table.
#[derive(Clone, Debug)]
pub struct Table {
    shared: Arc<Shared>,
}

impl Table {
    /// What a call from `caller` to `x` means; `None`: the caller withheld its number.
    #[must_use]
    pub fn decide(&self, x: Number, caller: Option<Number>) -> Decision {
        let Some((caller, binding)) = caller.and_then(|caller| Some((caller, self.load(x, caller)?))) else {
            return self.unbound(x);
        };
        let Binding::Axb(axb) = &*binding;
        let (party, callee) = match () {
            () if axb.a == caller => (Party::A, axb.b),
            () if axb.b == caller => (Party::B, axb.a),
            // The key is a leftover of a transfer that is under way.
            () => return self.unbound(x),
        };
        let refusal = match () {
            () if caller.is_fixed_line() => Refusal::FixedLineCaller,
            () if !axb.direction.allows(party) => Refusal::WrongDirection,
            () => return Decision::Connect { binding, caller: party, callee },
        };
        Decision::Refuse { refusal, app: Some(axb.app), binding: Some(binding) }
    }

    /// An X of ours.
    #[must_use]
    pub fn virtual_number(&self, x: Number) -> Option<Arc<VirtualNumber>> {
        self.shared.numbers.pin().get(&x).cloned()
    }

    fn load(&self, x: Number, caller: Number) -> Option<Arc<Binding>> {
        self.shared.cells.pin().get(&(x, caller)).map(|cell| cell.load_full())
    }

    fn unbound(&self, x: Number) -> Decision {
        match self.virtual_number(x) {
            Some(number) => Decision::Refuse { refusal: Refusal::NotBound, app: Some(number.app), binding: None },
            None => Decision::Refuse { refusal: Refusal::UnknownX, app: None, binding: None },
        }
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
    /// There is no binding of this name.
    NotFound,
    /// There is a binding, or an X, of this name already.
    Exists,
    /// X still has bindings.
    InUse,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BindError::UnknownX => f.write_str("x is no number of this platform"),
            BindError::ForeignX => f.write_str("x belongs to another app"),
            BindError::NumberTaken(number) => write!(f, "{number} is bound on this x already"),
            BindError::SameParty => f.write_str("a and b are the same number"),
            BindError::PartyIsVirtual(number) => write!(f, "{number} is a virtual number, not a party"),
            BindError::ServiceNumber(number) => write!(f, "{number} is a service number (400, 800, 95, 96), not a party"),
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

/// What a binding becomes; `None` leaves as it was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "each is the field of Axb of its name")]
pub struct Change {
    pub a: Option<Number>,
    pub b: Option<Number>,
    pub direction: Option<crate::binding::CallDirection>,
    pub max_minutes: Option<u16>,
    pub record: Option<bool>,
    pub voice: Option<Option<Box<crate::binding::Voice>>>,
    pub user_text: Option<Option<Box<str>>>,
}

/// What a reload changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Bindings that are new.
    pub added: usize,
    /// Bindings that are gone.
    pub removed: usize,
    /// Bindings whose terms are new.
    pub changed: usize,
    /// Bindings that stand as they were.
    pub kept: usize,
}

/// The one writer of a [`Table`].
#[derive(Debug)]
pub struct Bindings {
    limits: Limits,
    table: Table,
    by_id: HashMap<SubscriptionId, Cell>,
    pairs: HashMap<Number, u32>,
}

impl Bindings {
    /// An empty table and its writer.
    #[must_use]
    pub fn new(limits: Limits) -> (Bindings, Table) {
        let table = Table { shared: Arc::new(Shared { cells: LockFreeMap::new(), numbers: LockFreeMap::new() }) };
        let bindings = Bindings { limits, table: table.clone(), by_id: HashMap::new(), pairs: HashMap::new() };
        (bindings, table)
    }

    /// A handle for one more reader.
    #[must_use]
    pub fn table(&self) -> Table {
        self.table.clone()
    }

    /// Bindings held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// No binding is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A binding.
    #[must_use]
    pub fn get(&self, id: SubscriptionId) -> Option<Arc<Binding>> {
        self.by_id.get(&id).map(|cell| cell.load_full())
    }

    /// Every binding, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Binding>> {
        self.by_id.values().map(|cell| cell.load_full())
    }

    /// Adds an X.
    ///
    /// # Errors
    /// [`BindError::Exists`], [`BindError::Full`].
    pub fn add_number(&mut self, number: VirtualNumber) -> Result<(), BindError> {
        let numbers = self.table.shared.numbers.pin();
        if numbers.contains_key(&number.number) {
            return Err(BindError::Exists);
        }
        if numbers.len() >= self.limits.numbers {
            return Err(BindError::Full);
        }
        numbers.insert(number.number, Arc::new(number));
        Ok(())
    }

    /// Removes an X that has no bindings.
    ///
    /// # Errors
    /// [`BindError::InUse`], [`BindError::NotFound`].
    pub fn remove_number(&mut self, x: Number) -> Result<(), BindError> {
        if self.pairs.contains_key(&x) {
            return Err(BindError::InUse);
        }
        self.table.shared.numbers.pin().remove(&x).map(|_| ()).ok_or(BindError::NotFound)
    }

    /// Makes a binding, effective for the next call.
    ///
    /// # Errors
    /// A rule that it breaks; nothing has changed then.
    pub fn bind(&mut self, binding: Binding) -> Result<(), BindError> {
        let Binding::Axb(axb) = &binding;
        if self.by_id.contains_key(&axb.id) {
            return Err(BindError::Exists);
        }
        if self.by_id.len() >= self.limits.bindings {
            return Err(BindError::Full);
        }
        if self.pairs.get(&axb.x).copied().unwrap_or(0) >= self.limits.pairs_per_number {
            return Err(BindError::TooManyPairs);
        }
        self.check(axb, None)?;
        self.put(Arc::new(binding));
        Ok(())
    }

    /// Ends a binding.
    ///
    /// # Errors
    /// [`BindError::NotFound`].
    pub fn unbind(&mut self, id: SubscriptionId) -> Result<Arc<Binding>, BindError> {
        let cell = self.by_id.remove(&id).ok_or(BindError::NotFound)?;
        let binding = cell.load_full();
        let Binding::Axb(axb) = &*binding;
        let cells = self.table.shared.cells.pin();
        cells.remove(&(axb.x, axb.a));
        cells.remove(&(axb.x, axb.b));
        if let Some(count) = self.pairs.get_mut(&axb.x) {
            *count -= 1;
            if *count == 0 {
                self.pairs.remove(&axb.x);
            }
        }
        Ok(binding)
    }

    /// Changes a binding in one step (product rule M1.5).
    ///
    /// # Errors
    /// A rule that the changed binding breaks; nothing has changed then.
    pub fn modify(&mut self, id: SubscriptionId, change: Change) -> Result<Arc<Binding>, BindError> {
        let cell = Arc::clone(self.by_id.get(&id).ok_or(BindError::NotFound)?);
        let before = cell.load_full();
        let Binding::Axb(old) = &*before;
        let mut new = old.clone();
        new.a = change.a.unwrap_or(new.a);
        new.b = change.b.unwrap_or(new.b);
        new.direction = change.direction.unwrap_or(new.direction);
        new.max_minutes = change.max_minutes.unwrap_or(new.max_minutes);
        new.record = change.record.unwrap_or(new.record);
        if let Some(voice) = change.voice {
            new.voice = voice;
        }
        if let Some(user_text) = change.user_text {
            new.user_text = user_text;
        }
        self.check(&new, Some(old))?;
        let x = old.x;
        let (parties, left) = ([new.a, new.b], [old.a, old.b]);
        let cells = self.table.shared.cells.pin();
        for party in parties.iter().filter(|party| !left.contains(party)) {
            cells.insert((x, *party), Arc::clone(&cell));
        }
        let after = Arc::new(Binding::Axb(new));
        cell.store(Arc::clone(&after));
        for party in left.iter().filter(|party| !parties.contains(party)) {
            cells.remove(&(x, *party));
        }
        Ok(after)
    }

    /// Makes the table hold exactly these numbers and bindings: all is checked first, then only what differs is
    /// touched, so that a binding which stands in both is never absent for an instant.
    ///
    /// # Errors
    /// The place (among the numbers, then among the bindings) of the first that breaks a rule, and the rule. Nothing has
    /// changed then.
    pub fn replace_all(&mut self, numbers: Vec<VirtualNumber>, bindings: Vec<Binding>) -> Result<Summary, (usize, BindError)> {
        let (mut wanted, _) = Bindings::new(self.limits.clone());
        let count = numbers.len();
        for (place, number) in numbers.into_iter().enumerate() {
            wanted.add_number(number).map_err(|error| (place, error))?;
        }
        for (place, binding) in bindings.into_iter().enumerate() {
            wanted.bind(binding).map_err(|error| (count + place, error))?;
        }
        Ok(self.become_like(&wanted))
    }

    fn become_like(&mut self, wanted: &Bindings) -> Summary {
        let mut summary = Summary::default();
        {
            let (ours, theirs) = (self.table.shared.numbers.pin(), wanted.table.shared.numbers.pin());
            for (x, number) in &theirs {
                ours.insert(*x, Arc::clone(number));
            }
        }
        let ids: Vec<SubscriptionId> = self.by_id.keys().copied().collect();
        for id in ids {
            match wanted.get(id) {
                Some(next) if self.get(id).as_ref() == Some(&next) => summary.kept += 1,
                // The same parties under changed terms are stored in place: at no instant are they unbound.
                Some(next) if self.same_parties(id, &next) => {
                    if let Some(cell) = self.by_id.get(&id) {
                        cell.store(next);
                    }
                    summary.changed += 1;
                }
                Some(_) | None => {
                    if self.unbind(id).is_ok() {
                        summary.removed += 1;
                    }
                }
            }
        }
        for (id, cell) in &wanted.by_id {
            if !self.by_id.contains_key(id) {
                self.put(cell.load_full());
                summary.added += 1;
            }
        }
        let ours = self.table.shared.numbers.pin();
        let theirs = wanted.table.shared.numbers.pin();
        let stale: Vec<Number> = ours.keys().filter(|x| !theirs.contains_key(*x)).copied().collect();
        for x in stale {
            ours.remove(&x);
        }
        summary
    }

    fn same_parties(&self, id: SubscriptionId, next: &Binding) -> bool {
        let Some(now) = self.get(id) else { return false };
        let (Binding::Axb(now), Binding::Axb(next)) = (&*now, next);
        (now.x, now.a, now.b) == (next.x, next.a, next.b)
    }

    fn put(&mut self, binding: Arc<Binding>) {
        let Binding::Axb(axb) = &*binding;
        let (id, x, parties) = (axb.id, axb.x, [axb.a, axb.b]);
        let cell: Cell = Arc::new(ArcSwap::new(binding));
        let cells = self.table.shared.cells.pin();
        for party in parties {
            cells.insert((x, party), Arc::clone(&cell));
        }
        self.by_id.insert(id, cell);
        *self.pairs.entry(x).or_insert(0) += 1;
    }

    /// The rules of M1 and M5. `old` is the binding that this one replaces.
    fn check(&self, axb: &Axb, old: Option<&Axb>) -> Result<(), BindError> {
        let number = self.table.virtual_number(axb.x).ok_or(BindError::UnknownX)?;
        if number.app != axb.app {
            return Err(BindError::ForeignX);
        }
        if axb.a == axb.b {
            return Err(BindError::SameParty);
        }
        if axb.max_minutes > 1_440 {
            return Err(BindError::MaxMinutes);
        }
        let cells = self.table.shared.cells.pin();
        for party in [axb.a, axb.b] {
            if self.table.virtual_number(party).is_some() {
                return Err(BindError::PartyIsVirtual(party));
            }
            if matches!(party.kind(), Kind::Service400 | Kind::Service95) {
                return Err(BindError::ServiceNumber(party));
            }
            let is_own = old.is_some_and(|old| old.a == party || old.b == party);
            if !is_own && cells.contains_key(&(axb.x, party)) {
                return Err(BindError::NumberTaken(party));
            }
        }
        Ok(())
    }
}
