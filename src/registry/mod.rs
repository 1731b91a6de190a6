//! The registry: the one place where bindings, numbers, applications and prompts change, and the thread that owns it.
//!
//! ```text
//!   API ──transact(work)──▶ bounded queue ──▶ Books: work, work, work ─▶ journal ─▶ one commit ─▶ answers
//!                                               │                                      │
//!                                               └─▶ numbering::Table (calls read it)   └ failed: undo, Unavailable
//! ```
//!
//! What a piece of work does takes effect for calls at once; its answer leaves when the disk has it. Pieces that wait together
//! share a commit (group commit). Where the disk does not take it all of them are undone, and say so: nothing is half-done, and
//! nothing that was acknowledged is lost.

use std::sync::Arc;

use numbering::{AppId, Bindings, SubscriptionId};

use crate::apps::{Account, Accounts};

mod sketch;

pub use sketch::AppError;

/// What a piece of work may read and change.
pub struct Books {
    /// Bindings and numbers; their clock has been told.
    pub bindings: Bindings,
    accounts: Arc<Accounts>,
    ids: u64,
    sketch: sketch::Sketch,
}

impl Books {
    /// A name for a new binding: a UUID of version 7 (RFC 9562 §5.7), so that new ones stand together in the store.
    pub fn new_id(&mut self) -> SubscriptionId {
        self.ids += 1;
        let millis = u128::from(self.bindings.now()) << 80;
        SubscriptionId(millis | 0x7 << 76 | 0b10 << 62 | u128::from(self.ids))
    }

    /// An application.
    #[must_use]
    pub fn account(&self, app: AppId) -> Option<&Arc<Account>> {
        self.accounts.get(app)
    }
}

/// The registry cannot answer: its queue is full, its disk does not take anything, or it has ended. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unavailable;

/// Hands work to the registry; cheap to clone.
#[derive(Clone)]
pub struct Registry {
    accounts: Arc<arc_swap::ArcSwap<Accounts>>,
    books: Option<Arc<std::sync::Mutex<Books>>>,
}

impl Registry {
    /// Lets `work` see and change the books, alone; its answer comes when what it has changed is on the disk.
    ///
    /// # Errors
    /// [`Unavailable`]; nothing has changed then.
    pub async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let books = self.books.as_ref().ok_or(Unavailable)?;
        Ok(work(&mut books.lock().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }

    /// Every application, as it is now.
    #[must_use]
    pub fn accounts(&self) -> Arc<Accounts> {
        self.accounts.load_full()
    }
}
