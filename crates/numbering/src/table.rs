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

use crate::binding::{AppId, Binding, Key, Mode, Party, VirtualNumber};
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
    /// A called X, and the customer has named nobody to be reached (8013).
    NoTemporaryCallee,
    /// The customer has switched X off (`turnFlag`).
    SwitchedOff,
    /// X is suspended or unavailable (8055).
    NumberUnusable,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Refusal; 7] = [
        Refusal::UnknownX,
        Refusal::NotBound,
        Refusal::WrongDirection,
        Refusal::FixedLineCaller,
        Refusal::NoTemporaryCallee,
        Refusal::SwitchedOff,
        Refusal::NumberUnusable,
    ];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Refusal::UnknownX => "unknown_x",
            Refusal::NotBound => "not_bound",
            Refusal::WrongDirection => "wrong_direction",
            Refusal::FixedLineCaller => "fixed_line_caller",
            Refusal::NoTemporaryCallee => "no_temporary_callee",
            Refusal::SwitchedOff => "switched_off",
            Refusal::NumberUnusable => "number_unusable",
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
    /// (X, party) → the pair's cell; see [`Binding::keys`].
    pub(crate) pairs: papaya::HashMap<(Number, Key), Arc<Cell>>,
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
    /// | 2 | is X suspended or unavailable? | [`Refusal::NumberUnusable`] |
    /// | 3 | is the caller, withheld or not, no party of a binding of X? | [`Refusal::NotBound`] |
    /// | 4 | has the customer switched X off? | [`Refusal::SwitchedOff`] |
    /// | 5 | is the caller a fixed line, and a party? | [`Refusal::FixedLineCaller`] |
    /// | 6 | may this party not call? | [`Refusal::WrongDirection`] |
    /// | 7 | is it A of an A–X, with nobody to be reached? | [`Refusal::NoTemporaryCallee`] |
    /// | 8 | | [`Decision::Connect`] to the other party |
    #[must_use]
    pub fn decide(&self, x: Number, caller: Option<Number>) -> Decision {
        self.decide_at(x, caller, 0)
    }

    /// The same at a time, in milliseconds of UNIX time: what has run out by then does not hold, whether its end has been
    /// written already or not.
    #[must_use]
    pub fn decide_at(&self, x: Number, caller: Option<Number>, now: u64) -> Decision {
        let Some(number) = self.virtual_number(x) else {
            return Decision::Refuse { refusal: Refusal::UnknownX, app: None, binding: None };
        };
        let refuse = |refusal, binding| Decision::Refuse { refusal, app: Some(number.app), binding };
        if !number.state.carries_calls() {
            return refuse(Refusal::NumberUnusable, None);
        }
        let found = caller.and_then(|caller| self.binding(x, caller)).or_else(|| self.anyones(x, caller));
        let found = found.filter(|(binding, _)| binding.ends().is_none_or(|ends| ends > now));
        let Some((binding, party)) = found else {
            return refuse(Refusal::NotBound, None);
        };
        let is_fixed_line = caller.is_some_and(Number::is_fixed_line);
        let (direction, is_on, is_party, callee) = match &*binding {
            Binding::Axb(axb) => (axb.direction, true, true, Some(if party == Party::A { axb.b } else { axb.a })),
            Binding::Ax(ax) => match party {
                Party::A => {
                    let temporary = ax.temporary.as_ref().filter(|temporary| temporary.ends > now);
                    (ax.direction, ax.is_on, true, temporary.map(|temporary| temporary.callee))
                }
                Party::B => (ax.direction, ax.is_on, false, Some(ax.a)),
            },
            // Nobody is reached without an extension, and A's number leads to none of A's.
            Binding::Axe(_) => return refuse(Refusal::NotBound, Some(binding)),
        };
        let refusal = if !is_on {
            Refusal::SwitchedOff
        } else if is_fixed_line && is_party {
            Refusal::FixedLineCaller
        } else if !direction.allows(party) {
            Refusal::WrongDirection
        } else {
            match callee {
                Some(callee) => return Decision::Connect { binding, caller: party, callee },
                None => Refusal::NoTemporaryCallee,
            }
        };
        refuse(refusal, Some(binding))
    }

    /// The binding that a number is a party of on X, and which party.
    #[must_use]
    pub fn binding(&self, x: Number, number: Number) -> Option<(Arc<Binding>, Party)> {
        let binding = self.at(x, number.as_u64())?;
        let party = binding.party(number)?;
        // An A–X stands under its X too, for everybody; its A alone stands under a number.
        let is_by_name = party == Party::A || binding.mode() == Mode::Axb;
        is_by_name.then_some((binding, party))
    }

    /// The A–X of an X, which is everybody's. The caller is its A all the same where A's key came, or moved, after it was
    /// looked for: else A would reach A.
    fn anyones(&self, x: Number, caller: Option<Number>) -> Option<(Arc<Binding>, Party)> {
        let binding = self.at(x, x.as_u64())?;
        let party = if caller == Some(binding.a()) { Party::A } else { Party::B };
        Some((binding, party))
    }

    pub(crate) fn at(&self, x: Number, key: Key) -> Option<Arc<Binding>> {
        self.shared.pairs.pin().get(&(x, key))?.load_full()
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
