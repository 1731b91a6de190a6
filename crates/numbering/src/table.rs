//! The table that every signalling loop reads: who is reached when this number calls that X.
//!
//! Reads take no lock and never wait for the writer. The picture is this:
//!
//! ```text
//!   (X, A) ──┐
//!            ├──▶ cell ──▶ binding A–X–B      bind, transfer, unbind = one store into the cell
//!   (X, B) ──┘
//! ```
//!
//! No map changes two keys in one step. So both keys of a pair lead to the *same* cell, and whether and how the pair is
//! bound is one word, the cell's. The keys are only the way there: a reader that came by a key takes what the cell
//! holds at that moment and asks *it* whether the caller is one of its parties. A key that is there too early or too
//! late therefore decides nothing.
//!
//! **Linearizable**: each change of one binding has one point, the store into its cell:
//!
//! | change | before the store | the store | after it |
//! |---|---|---|---|
//! | bind | both keys inserted, cell empty | empty → binding | |
//! | modify (转绑) | keys of new parties inserted | old → new | keys of parties that left removed |
//! | unbind | | binding → empty | both keys removed |
//!
//! A decision takes effect when it loads the cell, or, where there is no key, when it looks for the key. At every
//! instant a transferred pair is bound the old way or the new way: never both, never neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;

use crate::binding::{AppId, Binding, Party, VirtualNumber};
use crate::number::Number;

/// Why a call is refused.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// The dialled number is not in the pool.
    UnknownX,
    /// The caller is not bound to X, or withholds the number.
    NotBound,
    /// The binding does not let this party call.
    WrongDirection,
    /// A fixed line may be called through X but may not call X.
    FixedLineCaller,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Refusal; 4] =
        [Refusal::UnknownX, Refusal::NotBound, Refusal::WrongDirection, Refusal::FixedLineCaller];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Refusal::UnknownX => "unknown_x",
            Refusal::NotBound => "not_bound",
            Refusal::WrongDirection => "wrong_direction",
            Refusal::FixedLineCaller => "fixed_line_caller",
        }
    }
}

/// What becomes of a call to X.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Call the callee, showing X.
    Connect {
        /// The binding, as it was at that moment; a call keeps it to its end.
        binding: Arc<Binding>,
        /// Which party of the binding calls.
        caller: Party,
        /// The other party's number.
        callee: Number,
    },
    /// Do not.
    Refuse {
        /// Why.
        refusal: Refusal,
        /// Whose X it is; `None` only for [`Refusal::UnknownX`].
        app: Option<AppId>,
        /// The binding that forbids it, where there is one.
        binding: Option<Arc<Binding>>,
    },
}

/// What both keys of a pair lead to. Empty: not yet or no longer bound.
pub(crate) type Cell = ArcSwapOption<Binding>;

/// Reads of all bindings, without a lock. Cheap to clone; every clone sees the same table.
///
/// Made by [`crate::Bindings::new`] together with its one writer.
#[derive(Clone)]
pub struct Table {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    /// (X, party) → the pair's cell.
    pub(crate) pairs: papaya::HashMap<(Number, Number), Arc<Cell>>,
    pub(crate) numbers: papaya::HashMap<Number, Arc<VirtualNumber>>,
    /// Written by the one writer.
    pub(crate) bindings: AtomicUsize,
}

impl Table {
    pub(crate) fn empty() -> Table {
        Table {
            shared: Arc::new(Shared {
                pairs: papaya::HashMap::new(),
                numbers: papaya::HashMap::new(),
                bindings: AtomicUsize::new(0),
            }),
        }
    }

    /// Who is reached when `caller` dials `x`. A withheld or unreadable caller is `None`.
    ///
    /// The first that applies decides:
    ///
    /// | # | question | if so |
    /// |---|---|---|
    /// | 1 | is X not in the pool? | [`Refusal::UnknownX`] |
    /// | 2 | is the caller withheld, or no party of a binding of X? | [`Refusal::NotBound`] |
    /// | 3 | is the caller a fixed line? | [`Refusal::FixedLineCaller`] |
    /// | 4 | may this party not call? | [`Refusal::WrongDirection`] |
    /// | 5 | | [`Decision::Connect`] to the other party |
    #[must_use]
    pub fn decide(&self, x: Number, caller: Option<Number>) -> Decision {
        // A bound X is in the pool (the writer keeps it so), hence the pair may be asked for before the pool.
        let found = caller.and_then(|caller| Some((caller, self.binding(x, caller)?)));
        let Some((caller, (binding, party))) = found else {
            let app = self.app_of(x);
            return Decision::Refuse {
                refusal: match app {
                    Some(_) => Refusal::NotBound,
                    None => Refusal::UnknownX,
                },
                app,
                binding: None,
            };
        };
        let Binding::Axb(axb) = &*binding;
        let refusal = if caller.is_fixed_line() {
            Refusal::FixedLineCaller
        } else if !axb.direction.allows(party) {
            Refusal::WrongDirection
        } else {
            let callee = binding.number(party.other());
            return Decision::Connect { binding, caller: party, callee };
        };
        Decision::Refuse { refusal, app: Some(axb.app), binding: Some(binding) }
    }

    /// The binding that a number is a party of on X, and which party.
    #[must_use]
    pub fn binding(&self, x: Number, number: Number) -> Option<(Arc<Binding>, Party)> {
        let pairs = self.shared.pairs.pin();
        let binding = pairs.get(&(x, number))?.load_full()?;
        let party = binding.party(number)?;
        Some((binding, party))
    }

    /// The virtual number, where X is in the pool.
    #[must_use]
    pub fn virtual_number(&self, x: Number) -> Option<Arc<VirtualNumber>> {
        self.shared.numbers.pin().get(&x).cloned()
    }

    /// How many bindings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.bindings.load(Ordering::Relaxed)
    }

    /// Whether there is no binding.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many virtual numbers there are.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.shared.numbers.len()
    }

    pub(crate) fn app_of(&self, x: Number) -> Option<AppId> {
        Some(self.shared.numbers.pin().get(&x)?.app)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("bindings", &self.len()).field("numbers", &self.numbers()).finish()
    }
}
