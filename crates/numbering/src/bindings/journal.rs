//! The journal: what has changed, to be written down by whoever keeps a store, and to be taken back where that fails.

use std::sync::Arc;

use super::Bindings;
use crate::binding::{Binding, VirtualNumber};
use crate::number::Number;

/// Something that has changed, to be written down or taken back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A binding: made, changed or ended.
    Binding {
        /// Before.
        was: Option<Arc<Binding>>,
        /// Now.
        is: Option<Arc<Binding>>,
    },
    /// An X: added, changed or released.
    Number {
        /// Before.
        was: Option<Arc<VirtualNumber>>,
        /// Now.
        is: Option<Arc<VirtualNumber>>,
    },
    /// An X without bindings rests, or does so no more: it is bound, or released.
    Rest {
        /// Which.
        x: Number,
        /// Until when it was to rest before, in milliseconds of UNIX time; past or 0: it did not.
        was: u64,
        /// Until when it rests now; 0: it does not.
        until: u64,
    },
}

impl Bindings {
    /// From now on every change of what does not stand in the operator's file is remembered until it is taken.
    pub fn keep_journal(&mut self) {
        self.journal.get_or_insert_default();
    }

    /// What has changed since this was last asked, in order.
    pub fn take_journal(&mut self) -> Vec<Entry> {
        self.journal.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes changes back, the last one first: what could not be written down has not happened. They must be the last that
    /// have been made.
    pub fn undo(&mut self, entries: Vec<Entry>) {
        let journal = self.journal.take();
        for entry in entries.into_iter().rev() {
            match entry {
                Entry::Binding { was: None, is: Some(is) } => drop(self.withdraw(is.id())),
                Entry::Binding { was: Some(was), is: Some(is) } => drop(self.replace(is.id(), (*was).clone())),
                Entry::Binding { was: Some(was), is: None } => self.put((*was).clone(), false),
                Entry::Number { was: None, is: Some(is) } => self.take_number(is.number),
                Entry::Number { was: Some(was), .. } => self.put_number((*was).clone(), false),
                Entry::Binding { was: None, is: None } | Entry::Number { was: None, is: None } => {}
                Entry::Rest { x, was, .. } => self.set_standing(x, |standing| standing.rests_until = was),
            }
        }
        self.journal = journal;
    }

    pub(super) fn note(&mut self, is_configured: bool, entry: impl FnOnce() -> Entry) {
        if let Some(journal) = self.journal.as_mut().filter(|_| !is_configured) {
            journal.push(entry());
        }
    }
}
