//! The pool: which X a new binding gets.
//!
//! ```text
//!   (app, area) ─▶ X by load, then by last use ─▶ the first on which nothing stands in the way
//!   (app, any)  ─▶      "
//!                        X rests: in neither set until its time has come
//! ```
//!
//! The least loaded X comes first, and of those the one that has been left alone longest: load spreads, and a number that
//! has just been given back is given away last. Each step is a walk in an ordered set; an X is passed over only where one of
//! the parties is bound on it already.

use std::collections::{BTreeSet, HashMap};

use crate::binding::{AppId, Area, Extension, Mode, NumberState, VirtualNumber};
use crate::number::Number;

/// What an app's bindings obey beside what they say themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// The one kind of binding that it has.
    pub mode: Mode,
    /// How long an X without bindings rests before it is given away unasked, in milliseconds.
    pub cool_off: u64,
    /// How many digits an extension has, 1 to 4.
    pub extension_width: u8,
    /// Whom A of an A–X–E reaches by calling X where nobody has called lately and the binding says nothing.
    pub call_back: Option<Number>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { mode: Mode::Axb, cool_off: 0, extension_width: 4, call_back: None }
    }
}

/// Which X is wanted where none is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// Where it shall be at home; `None`: anywhere.
    pub area: Option<Area>,
    /// Where there is none, one from anywhere will do (`areaMatchMode` 1).
    pub is_loose: bool,
}

/// Bindings on it, when it was last used (a count of what was bound and what ended), and its number.
type Rank = (u32, u64, Number);

/// Every X that may be given away, in the order in which that is done.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    by_area: HashMap<(AppId, Option<Area>), BTreeSet<Rank>>,
    anywhere: HashMap<AppId, BTreeSet<Rank>>,
    /// Until when (milliseconds of UNIX time), and what.
    resting: BTreeSet<(u64, Number)>,
}

/// What is known of an X beside what it says itself.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// When something was last bound on it or ended.
    pub(crate) last_use: u64,
    /// How often it has been bound since the start.
    pub(crate) uses: u64,
    /// Milliseconds of UNIX time; past or 0: it does not rest.
    pub(crate) rests_until: u64,
    pub(crate) extensions: Extensions,
    /// Where it stands in the sets; `None`: in none.
    rank: Option<Rank>,
}

impl Pool {
    /// Puts an X where it belongs, after anything about it has changed.
    pub(crate) fn place(&mut self, x: &VirtualNumber, standing: &mut Standing, load: usize, now: u64) {
        self.withdraw(x, standing);
        if x.state != NumberState::Normal {
            return;
        }
        if standing.rests_until > now {
            self.resting.insert((standing.rests_until, x.number));
            return;
        }
        let rank = (u32::try_from(load).unwrap_or(u32::MAX), standing.last_use, x.number);
        self.by_area.entry((x.app, x.area)).or_default().insert(rank);
        self.anywhere.entry(x.app).or_default().insert(rank);
        standing.rank = Some(rank);
    }

    /// Takes an X out, before it changes or goes.
    pub(crate) fn withdraw(&mut self, x: &VirtualNumber, standing: &mut Standing) {
        self.resting.remove(&(standing.rests_until, x.number));
        let Some(rank) = standing.rank.take() else { return };
        for set in [self.by_area.get_mut(&(x.app, x.area)), self.anywhere.get_mut(&x.app)].into_iter().flatten() {
            set.remove(&rank);
        }
    }

    /// Those that have rested until now.
    pub(crate) fn rested(&mut self, now: u64) -> Vec<Number> {
        let mut rested = Vec::new();
        while let Some((until, x)) = self.resting.first().copied().filter(|(until, _)| *until <= now) {
            self.resting.remove(&(until, x));
            rested.push(x);
        }
        rested
    }

    /// When the next one has rested.
    pub(crate) fn next_rested(&self) -> Option<u64> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// Every X of a wish with less than `full` bindings, best first.
    pub(crate) fn candidates(&self, app: AppId, wish: Wish, full: u32) -> impl Iterator<Item = Number> {
        let wanted = wish.area.and_then(|area| self.by_area.get(&(app, Some(area))));
        let anywhere = self.anywhere.get(&app).filter(|_| wish.area.is_none() || wish.is_loose);
        let ranks = wanted.into_iter().chain(anywhere);
        ranks.flat_map(move |set| set.iter().take_while(move |(load, ..)| *load < full)).map(|(_, _, x)| *x)
    }
}

/// The extensions of an X: which are taken, and where the next is looked for.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    /// One bit for each value, of the widths that the app has had.
    taken: [Vec<u64>; 4],
    last: u16,
}

impl Extensions {
    /// Says whether one is taken.
    pub(crate) fn set(&mut self, extension: Extension, is_taken: bool) {
        let words = &mut self.taken[usize::from(extension.width()) - 1];
        let (word, bit) = (usize::from(extension.value() / 64), extension.value() % 64);
        if words.len() <= word {
            if !is_taken {
                return;
            }
            words.resize(usize::from(Extension::last(extension.width()) / 64) + 1, 0);
        }
        words[word] = words[word] & !(1 << bit) | u64::from(is_taken) << bit;
    }

    /// The next free one of a width after the last that was given away, so that one which comes free rests longest.
    pub(crate) fn next(&mut self, width: u8) -> Option<Extension> {
        let words = self.taken.get(usize::from(width).checked_sub(1)?)?;
        let last = Extension::last(width);
        let is_free = |value: &u16| {
            let word = words.get(usize::from(value / 64)).copied().unwrap_or(0);
            word & 1 << (value % 64) == 0
        };
        let start = if self.last < last { self.last + 1 } else { 1 };
        let value = (start..=last).chain(1..start).find(is_free)?;
        self.last = value;
        Extension::new(width, value)
    }
}
