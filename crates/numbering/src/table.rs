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
//!
//! An A–X–E stands under its extension alone. Its A, who calls X to call back, may have several on one X; a list leads to the
//! cells of all of them, and is to them what a key is to a pair's: kept in the same order, and believed as little.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::binding::{
    AppId, Axe, Binding, CallBack, Extension, Key, LastCaller, Mode, Party, SubscriptionId, VirtualNumber,
    extension_key,
};
use crate::number::Number;
use crate::pool::Rules;

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
    /// The extension is nobody's (8022).
    UnknownExtension,
    /// A of an A–X–E called X, nobody can be called back, and no number stands in for that (8019).
    NoCallBack,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Refusal; 9] = [
        Refusal::UnknownX,
        Refusal::NotBound,
        Refusal::WrongDirection,
        Refusal::FixedLineCaller,
        Refusal::NoTemporaryCallee,
        Refusal::SwitchedOff,
        Refusal::NumberUnusable,
        Refusal::UnknownExtension,
        Refusal::NoCallBack,
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
            Refusal::UnknownExtension => "unknown_extension",
            Refusal::NoCallBack => "no_call_back",
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
    /// X is shared by extensions: ask the caller for one, then [`Table::decide_extension`].
    Ask {
        /// Whose X it is.
        app: AppId,
        /// X as the pool knows it.
        x: Number,
        /// How many digits its extensions have.
        width: u8,
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

/// One of the A–X–E that an A has on an X; the newest, which is the largest id, stands first.
pub(crate) type Own = (SubscriptionId, Arc<Cell>);

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
    /// (X, A) → A's A–X–E on X: A calls back by any of them. Never an empty list.
    pub(crate) of_a: papaya::HashMap<(Number, Number), Arc<[Own]>>,
    /// By [`AppId`]; what is not there yet obeys [`Rules::default`].
    pub(crate) rules: ArcSwap<Vec<Rules>>,
    /// No other number than one of the 700 segment may serve.
    pub(crate) only_700: AtomicBool,
    /// How many there are. Written by the one writer, as all the others.
    pub(crate) bindings: AtomicUsize,
}

impl Table {
    pub(crate) fn empty() -> Table {
        Table {
            shared: Arc::new(Shared {
                pairs: papaya::HashMap::new(),
                numbers: papaya::HashMap::new(),
                of_a: papaya::HashMap::new(),
                rules: ArcSwap::default(),
                only_700: AtomicBool::new(false),
                bindings: AtomicUsize::new(0),
            }),
        }
    }

    /// Who is reached when `caller` dials `dialled`. A withheld or unreadable caller is `None`.
    ///
    /// A number of 15 digits of the 700 segment that is no X itself, and whose first 11 are an X with extensions, carries the
    /// extension in its last four (product rule M4): nobody is asked. Shorter extensions have zeros in front there, so that
    /// `…0042` dials the `42` of an app whose extensions have two digits, and nothing dials `…0142`.
    ///
    /// The first that applies decides:
    ///
    /// | # | question | if so |
    /// |---|---|---|
    /// | 1 | is X not in the pool? | [`Refusal::UnknownX`] |
    /// | 2 | is X suspended or unavailable, or no 700 number where it must be? | [`Refusal::NumberUnusable`] |
    /// | 3 | has X extensions, and was one dialled? | [`Table::decide_extension`] |
    /// | 4 | has X extensions, and has the caller one of them? | the caller of that one last, else whom it names, else [`Refusal::NoCallBack`] |
    /// | 5 | has X extensions? | [`Decision::Ask`] |
    /// | 6 | is the caller, withheld or not, no party of a binding of X? | [`Refusal::NotBound`] |
    /// | 7 | has the customer switched X off? | [`Refusal::SwitchedOff`] |
    /// | 8 | is the caller a fixed line, and a party? | [`Refusal::FixedLineCaller`] |
    /// | 9 | may this party not call? | [`Refusal::WrongDirection`] |
    /// | 10 | is it A of an A–X, with nobody to be reached? | [`Refusal::NoTemporaryCallee`] |
    /// | 11 | | [`Decision::Connect`] to the other party |
    #[must_use]
    pub fn decide(&self, dialled: Number, caller: Option<Number>) -> Decision {
        self.decide_at(dialled, caller, 0)
    }

    /// The same at a time, in milliseconds of UNIX time: what has run out by then does not hold, whether its end has been
    /// written already or not.
    #[must_use]
    pub fn decide_at(&self, dialled: Number, caller: Option<Number>, now: u64) -> Decision {
        let Some((number, tail)) = self.dialled(dialled) else {
            return Decision::Refuse { refusal: Refusal::UnknownX, app: None, binding: None };
        };
        if !self.serves(&number) {
            return refuse(&number, Refusal::NumberUnusable, None);
        }
        let x = number.number;
        if let Some(tail) = tail {
            let extension = Extension::new(self.rules(number.app).extension_width, tail);
            return self.by_extension(&number, extension, caller, now);
        }
        let Some((binding, party)) = self.bound(x, caller, now) else {
            let rules = self.rules(number.app);
            if rules.mode != Mode::Axe {
                return refuse(&number, Refusal::NotBound, None);
            }
            return self.called_back(&number, x, caller, now).unwrap_or(Decision::Ask {
                app: number.app,
                x,
                width: rules.extension_width,
            });
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
            // It stands under its extension, and no number is one.
            Binding::Axe(_) => return refuse(&number, Refusal::NotBound, Some(binding)),
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
        refuse(&number, refusal, Some(binding))
    }

    /// Who is reached when `caller` has dialled `x` and typed an extension. Whoever types their own is called back.
    #[must_use]
    pub fn decide_extension(&self, x: Number, extension: Extension, caller: Option<Number>, now: u64) -> Decision {
        match self.virtual_number(x) {
            Some(number) if self.serves(&number) => self.by_extension(&number, Some(extension), caller, now),
            Some(number) => refuse(&number, Refusal::NumberUnusable, None),
            None => Decision::Refuse { refusal: Refusal::UnknownX, app: None, binding: None },
        }
    }

    fn by_extension(
        &self,
        number: &VirtualNumber,
        extension: Option<Extension>,
        caller: Option<Number>,
        now: u64,
    ) -> Decision {
        let found = extension.and_then(|extension| self.of_extension(number.number, extension));
        let Some(binding) = found.filter(|binding| is_live(binding, now)) else {
            return refuse(number, Refusal::UnknownExtension, None);
        };
        if caller == Some(binding.a()) {
            return call_back(number, &self.rules(number.app), Back::of(binding, now));
        }
        let callee = binding.a();
        Decision::Connect { binding, caller: Party::B, callee }
    }

    /// What becomes of a call to X without an extension, where the caller has one of X; `None`: has none.
    fn called_back(&self, number: &VirtualNumber, x: Number, caller: Option<Number>, now: u64) -> Option<Decision> {
        let a = caller?;
        let own = self.shared.of_a.pin().get(&(x, a)).cloned()?;
        let live = own.iter().filter_map(|(_, cell)| cell.load_full());
        // A cell whose A has changed since it was looked up is another's.
        let live = live.filter(|binding| binding.a() == a && is_live(binding, now));
        let back = live.map(|binding| Back::of(binding, now)).reduce(Back::or)?;
        Some(call_back(number, &self.rules(number.app), back))
    }

    /// The X that a number leads to, and the four digits that were dialled behind it.
    pub(crate) fn dialled(&self, dialled: Number) -> Option<(Arc<VirtualNumber>, Option<u16>)> {
        if let Some(number) = self.virtual_number(dialled) {
            return Some((number, None));
        }
        let (managed, tail) = dialled.managed_700()?;
        let number = self.virtual_number(managed)?;
        (self.rules(number.app).mode == Mode::Axe).then_some((number, Some(tail)))
    }

    /// Whether a number leads to an X: one of the pool, or one of 15 digits that begins with one of the pool and carries an
    /// extension, bound or not.
    #[must_use]
    pub fn is_virtual(&self, number: Number) -> bool {
        self.dialled(number).is_some()
    }

    /// Whether calls go through an X.
    pub(crate) fn serves(&self, number: &VirtualNumber) -> bool {
        number.state.carries_calls() && self.may_serve(number.number)
    }

    /// Whether an X is of a segment that may serve.
    pub(crate) fn may_serve(&self, x: Number) -> bool {
        !self.shared.only_700.load(Ordering::Relaxed) || x.is_700()
    }

    /// What an app's bindings obey.
    pub(crate) fn rules(&self, app: AppId) -> Rules {
        let rules = self.shared.rules.load();
        usize::try_from(app.0).ok().and_then(|place| rules.get(place)).cloned().unwrap_or_default()
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

    /// By which binding of X somebody is served now: their own, or everybody's.
    pub(crate) fn bound(&self, x: Number, who: Option<Number>, now: u64) -> Option<(Arc<Binding>, Party)> {
        let found = who.and_then(|who| self.binding(x, who)).or_else(|| self.anyones(x, who));
        found.filter(|(binding, _)| is_live(binding, now))
    }

    /// The A–X of an X, which is everybody's. The caller is its A all the same where A's key came, or moved, after it was
    /// looked for: else A would reach A.
    pub(crate) fn anyones(&self, x: Number, caller: Option<Number>) -> Option<(Arc<Binding>, Party)> {
        let binding = self.at(x, x.as_u64())?;
        let party = if caller == Some(binding.a()) { Party::A } else { Party::B };
        Some((binding, party))
    }

    /// The binding of an extension of X. Who has come by a key that another extension has left, or will have, finds none.
    pub(crate) fn of_extension(&self, x: Number, extension: Extension) -> Option<Arc<Binding>> {
        let found = self.at(x, extension_key(extension))?;
        axe(&found).is_some_and(|axe| axe.extension == extension).then_some(found)
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

fn refuse(number: &VirtualNumber, refusal: Refusal, binding: Option<Arc<Binding>>) -> Decision {
    Decision::Refuse { refusal, app: Some(number.app), binding }
}

pub(crate) fn is_live(binding: &Binding, now: u64) -> bool {
    binding.ends().is_none_or(|ends| ends > now)
}

fn axe(binding: &Binding) -> Option<&Axe> {
    match binding {
        Binding::Axe(axe) => Some(axe),
        Binding::Axb(_) | Binding::Ax(_) => None,
    }
}

/// What A's bindings on an X say of calling back.
struct Back {
    newest: Arc<Binding>,
    /// Who called last by any of them, and by which.
    last: Option<(LastCaller, Arc<Binding>)>,
}

impl Back {
    fn of(binding: Arc<Binding>, now: u64) -> Back {
        let last = axe(&binding).and_then(|axe| axe.call_back_to(now)).map(|last| (last, Arc::clone(&binding)));
        Back { newest: binding, last }
    }

    /// With what an older binding says: of two who called at the same millisecond the newer binding's counts.
    fn or(self, older: Back) -> Back {
        let at = |back: &Option<(LastCaller, _)>| back.as_ref().map(|(last, _)| last.at);
        let last = if at(&older.last) > at(&self.last) { older.last } else { self.last };
        Back { newest: self.newest, last }
    }
}

/// Whom A reaches by calling X: who called by any of A's bindings last, else whom the newest of them names, else whom the app
/// names.
fn call_back(number: &VirtualNumber, rules: &Rules, Back { newest, last }: Back) -> Decision {
    if newest.a().is_fixed_line() {
        return refuse(number, Refusal::FixedLineCaller, Some(newest));
    }
    if let Some((last, binding)) = last {
        return Decision::Connect { binding, caller: Party::A, callee: last.number };
    }
    let named = match axe(&newest).map(|axe| &axe.call_back) {
        Some(CallBack::Number(named)) => Some(*named),
        Some(CallBack::App) => rules.call_back,
        Some(CallBack::Tone(_)) | None => None,
    };
    // The app's number may be A's own.
    match named.filter(|callee| *callee != newest.a()) {
        Some(callee) => Decision::Connect { binding: newest, caller: Party::A, callee },
        None => refuse(number, Refusal::NoCallBack, Some(newest)),
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("bindings", &self.len()).field("numbers", &self.numbers()).finish()
    }
}
