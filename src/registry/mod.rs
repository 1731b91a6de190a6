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
//!
//! What runs out ends at its time, whatever the disk says: its row is deleted with a later commit, and is passed over when the
//! store is read. Likewise whoever calls A by an extension is remembered at once ([`Callers`]), and written down with the commit
//! of that turn or, where the disk does not take it, of a later one; nobody's work is refused for that.
//!
//! What a customer is to be told of its X is written down with what has become of them, and forgotten with a later commit, when
//! the outbox has it: after a crash between the two it is told at the next start, under the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use b2bua::settings::Settings;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use numbering::{
    AppId, BindError, Binding, Bindings, Entry, Number, NumberState, SubscriptionId, Summary, VirtualNumber,
};
use tokio::sync::oneshot;

use crate::apps::{Accounts, AppSettings};
use crate::clock::Clock;
use crate::notify::{Channel, Notice, Outbox};
use crate::store::{Change, Store, StoreError};

mod books;
mod callers;
mod compose;

use books::Moved;
pub use books::{AppError, Books};
use callers::Called;
pub use callers::Callers;
pub use compose::{Base, default_set};

/// Pieces of work that may wait.
const QUEUE: usize = 16_384;
/// Pieces of work that share a commit.
const BATCH: usize = 2_048;
/// Deletions of what has run out that may wait for the disk; what is beyond is looked for later. As many bindings whose callers
/// do.
const OWED: usize = 100_000;
/// How often what is owed is tried again while the disk does not take it.
const RETRY: Duration = Duration::from_secs(5);
/// How long a disk that does not take anything is not complained of again.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);

/// The registry cannot answer: its queue is full, its disk does not take anything, or it has ended. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unavailable;

/// What has become of the work.
#[derive(Debug, Default)]
pub struct Counters {
    /// Pieces of work.
    pub transactions: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// Commits that the disk did not take.
    pub failed: AtomicU64,
    /// Pieces of work that were not taken, since too many waited.
    pub refused: AtomicU64,
    /// Bindings that have run out.
    pub expired: AtomicU64,
    /// Rows of the store that could not be taken at the start: their X is gone, or something else has their place.
    pub parked: AtomicU64,
    /// Callers that A can call back.
    pub callers: AtomicU64,
    /// Callers that A cannot call back: the binding has ended or is another A's by now, or theirs is no number to be called.
    pub callers_passed_over: AtomicU64,
    /// Callers for whom there was no room.
    pub callers_lost: AtomicU64,
}

/// Tells the outcome of a piece of work, once it is known whether the disk has it.
type Answer = Box<dyn FnOnce(bool) + Send>;
type Work = Box<dyn FnOnce(&mut Books) -> Answer + Send>;

enum Order {
    /// Changes nothing, and is answered at once.
    Read(Work),
    Work(Work),
    /// Shares no commit: it is not undone with others.
    Alone(Work),
    /// Who has called A by an extension. Nobody waits for an answer.
    Called(Called),
    Stop,
}

/// Hands work to the registry; cheap to clone.
#[derive(Clone)]
pub struct Registry {
    orders: Sender<Order>,
    accounts: Arc<ArcSwap<Accounts>>,
    counters: Arc<Counters>,
}

/// Takes new settings for calls, and returns when calls go by them.
pub type Apply = Box<dyn FnMut(Arc<Settings>) + Send>;

/// What the operator's file says: applications, numbers and bindings among it.
#[derive(Clone, Debug)]
pub struct File {
    /// Settings and applications.
    pub base: Base,
    /// `[[number]]`; their apps are places among the settings' apps.
    pub numbers: Vec<VirtualNumber>,
    /// `[[binding]]`.
    pub bindings: Vec<Binding>,
}

/// Why a new file is not taken. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReloadError {
    /// The admin API has made an application of this name.
    App(Arc<str>),
    /// An application that is gone, or has another mode, still has numbers of the admin API.
    Missed(Arc<str>),
    /// A number or a binding breaks a rule, or is in the way of one that the API has made.
    Bindings(BindError),
    /// The registry has ended.
    Unavailable,
}

impl std::fmt::Display for ReloadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReloadError::App(name) => {
                write!(f, "app {name} has been made by the admin API — remove it there, or use another name")
            }
            ReloadError::Missed(name) => {
                write!(f, "app {name} still has numbers of the admin API — keep it and its mode, or release them first")
            }
            ReloadError::Bindings(BindError::InUse) => f.write_str(
                "a number that is gone or goes to another app still has bindings of the API — unbind them, or keep it",
            ),
            ReloadError::Bindings(error) => write!(f, "numbers and bindings: {error}"),
            ReloadError::Unavailable => f.write_str("the registry has ended"),
        }
    }
}

impl std::error::Error for ReloadError {}

impl Registry {
    /// Lets `work` see and change the books, alone; its answer comes when what it has changed is on the disk.
    ///
    /// # Errors
    /// [`Unavailable`]; nothing has changed then.
    pub async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.order(work)?.await.unwrap_or(Err(Unavailable))
    }

    /// Lets `work` look at the books; it must change nothing. What has been acknowledged is seen; its answer waits for no disk.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (work, answer) = with_answer(work);
        self.try_order(Order::Read(work))?;
        answer.await.unwrap_or(Err(Unavailable))
    }

    /// The same, for threads.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn transact_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.order(work)?.blocking_recv().unwrap_or(Err(Unavailable))
    }

    fn order<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, Unavailable>>, Unavailable> {
        let (work, receiver) = with_answer(work);
        self.try_order(Order::Work(work))?;
        Ok(receiver)
    }

    fn try_order(&self, order: Order) -> Result<(), Unavailable> {
        self.orders.try_send(order).map_err(|_| {
            self.counters.refused.fetch_add(1, Relaxed);
            Unavailable
        })
    }

    /// Every application, as it is now.
    #[must_use]
    pub fn accounts(&self) -> Arc<Accounts> {
        self.accounts.load_full()
    }

    /// What has become of the work.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Pieces of work that wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.orders.len()
    }

    /// Takes the operator's file anew: all of it, or nothing. Returns when calls go by it.
    ///
    /// # Errors
    /// What is in the way.
    pub fn reload(&self, file: File) -> Result<Summary, ReloadError> {
        let (work, answer) = with_answer(move |books| books.reload(file));
        // Waits for room: an operator's word is not refused for want of it.
        self.orders.send(Order::Alone(work)).map_err(|_| ReloadError::Unavailable)?;
        answer.blocking_recv().unwrap_or(Err(Unavailable)).unwrap_or(Err(ReloadError::Unavailable))
    }
}

fn with_answer<T: Send + 'static>(
    work: impl FnOnce(&mut Books) -> T + Send + 'static,
) -> (Work, oneshot::Receiver<Result<T, Unavailable>>) {
    let (sender, receiver) = oneshot::channel();
    let work: Work = Box::new(move |books| {
        let found = work(books);
        Box::new(move |is_kept| {
            // Whoever asked may have gone.
            let _ = sender.send(if is_kept { Ok(found) } else { Err(Unavailable) });
        })
    });
    (work, receiver)
}

impl Books {
    fn reload(&mut self, file: File) -> Result<Summary, ReloadError> {
        let File { base, numbers, bindings } = self.placed(file);
        if let Some(name) = self.app_in_the_way(&base) {
            return Err(ReloadError::App(name));
        }
        if let Some(name) = self.app_that_is_missed(&base) {
            return Err(ReloadError::Missed(name));
        }
        // The last that can refuse: all is taken from here on, or nothing has been.
        let before = self.numbers_of_file();
        let replaced = self.bindings.replace_all(numbers, bindings);
        let summary = replaced.map_err(|(_, error)| ReloadError::Bindings(error))?;
        self.note_numbers_of_file(before);
        self.set_base(base);
        Ok(summary)
    }

    /// The same file, its apps at the places that they have had since the start.
    fn placed(&mut self, mut file: File) -> File {
        let places: Vec<_> = file.base.settings.apps.iter().map(|app| self.place_of(&app.name)).collect();
        let place = |app: numbering::AppId| places.get(app.0 as usize).copied().unwrap_or(app);
        for number in &mut file.numbers {
            number.app = place(number.app);
        }
        for binding in &mut file.bindings {
            binding.set_app(place(binding.app()));
        }
        file
    }
}

/// The thread that owns the books.
pub struct Keeper {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Ends the thread after the work that waits.
    pub fn finish(self) {
        // An error says that the thread has ended already.
        let _ = self.orders.send(Order::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the registry ended in a fault");
        }
    }
}

/// The books as they are read at the start, before calls come.
pub struct Opened {
    books: Books,
    store: Store,
    counters: Arc<Counters>,
    accounts: Arc<ArcSwap<Accounts>>,
    outbox: Option<Outbox>,
    /// What a crash may have kept from being told.
    untold: Vec<Notice>,
    /// What of that is told, and not deleted from the store yet.
    owed: Vec<Change>,
    /// What comes before the thread is there waits in it.
    orders: Sender<Order>,
    inbox: Receiver<Order>,
    /// What calls go by.
    pub settings: Settings,
}

impl Opened {
    /// Reads the store, and puts the operator's file beside it.
    ///
    /// # Errors
    /// The store cannot be read, or the file breaks a rule by itself.
    pub fn read(
        mut store: Store,
        file: File,
        bindings: Bindings,
        clock: Clock,
        id_seed: u64,
    ) -> Result<Opened, OpenError> {
        let counters = Arc::new(Counters::default());
        let mut books = Books::new(bindings, file.base.clone(), id_seed);
        books.bindings.handle_time(clock.unix_ms(clock.now()));
        let File { numbers, mut bindings, .. } = books.placed(file);
        let accuse = |(_, error)| OpenError::Bindings(error);
        books.bindings.replace_all(numbers.clone(), Vec::new()).map_err(accuse)?;
        books.restore(&mut store, &counters)?;
        let untold = store.load_untold()?;
        counters.parked.fetch_add(untold.bad as u64, Relaxed);
        // What the API has acknowledged stands; a binding of the file that is in its way waits until that is unbound.
        while let Err((place, error)) = books.bindings.replace_all(numbers.clone(), bindings.clone()) {
            let place = place.checked_sub(numbers.len()).filter(|place| *place < bindings.len());
            let place = place.ok_or(OpenError::Bindings(error))?;
            let left_out = bindings.remove(place);
            tracing::error!(id = %left_out.id(), x = %left_out.x(), %error, "a binding of the configuration is left out: one of the API is in its way");
        }
        books.bindings.keep_journal();
        let settings = books.renewed_settings(&[]).expect("new books have everything to tell");
        let accounts = Arc::new(ArcSwap::new(Arc::clone(books.accounts())));
        let (orders, inbox) = bounded(QUEUE);
        let (untold, owed) = (untold.rows, Vec::new());
        Ok(Opened { books, store, counters, accounts, outbox: None, untold, owed, orders, inbox, settings })
    }

    /// Every application, as it is at any time.
    #[must_use]
    pub fn accounts(&self) -> Arc<ArcSwap<Accounts>> {
        Arc::clone(&self.accounts)
    }

    /// Customers are told by it of what becomes of their X; and at once of what a crash may have kept from them.
    pub fn tell(&mut self, outbox: Outbox) {
        for notice in std::mem::take(&mut self.untold) {
            self.owed.push(Change::Told(notice.id.clone()));
            // Its app may be gone, or have no URL any more.
            if outbox.wants(&notice.app, notice.channel) {
                outbox.post_noted(notice);
            }
        }
        self.outbox = Some(outbox);
    }

    /// Where the signalling loop notes who calls A by an extension. One loop's.
    #[must_use]
    pub fn callers(&self) -> Callers {
        Callers::new(self.orders.clone(), Arc::clone(&self.counters))
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// There is no thread.
    pub fn spawn(self, clock: Clock, apply: Apply) -> std::io::Result<(Registry, Keeper)> {
        let Opened { orders, inbox, accounts, .. } = &self;
        let (orders, inbox, accounts) = (orders.clone(), inbox.clone(), Arc::clone(accounts));
        let registry =
            Registry { orders: orders.clone(), accounts: Arc::clone(&accounts), counters: Arc::clone(&self.counters) };
        let owner = Owner {
            books: self.books,
            store: self.store,
            settings: Arc::new(self.settings),
            accounts,
            outbox: self.outbox,
            counters: self.counters,
            clock,
            apply,
            untold: Vec::new(),
            owed: self.owed,
            unwritten: BTreeSet::new(),
            is_behind: false,
            retry_at: Duration::ZERO,
            complained: None,
        };
        let thread = std::thread::Builder::new().name("registry".into()).spawn(move || owner.run(&inbox))?;
        Ok((registry, Keeper { orders, thread }))
    }
}

/// Why the books cannot be read.
#[derive(Debug)]
pub enum OpenError {
    /// The store.
    Store(StoreError),
    /// The operator's file (its check finds this first).
    Bindings(BindError),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> OpenError {
        OpenError::Store(error)
    }
}

impl Books {
    /// Takes what the store holds. What cannot be taken stays in the store, and is counted.
    fn restore(&mut self, store: &mut Store, counters: &Counters) -> Result<(), StoreError> {
        let mut apps = Vec::new();
        let mut parked = 0;
        let rows = store.load_apps()?;
        parked += rows.bad;
        for row in rows.rows {
            match AppSettings::from_json(&row.name, &row.settings) {
                Some(settings) => apps.push(settings),
                None => tracing::error!(app = %row.name, "the store's app cannot be read; it is left out"),
            }
        }
        let prompts = store.load_prompts()?;
        parked += prompts.bad;
        self.restore_apps(apps, prompts.rows);
        let numbers = store.load_numbers()?;
        parked += numbers.bad;
        for (app, mut number) in numbers.rows {
            number.app = self.place_of(&app);
            let x = number.number;
            if let Err(error) = self.bindings.restore_number(number) {
                parked += 1;
                tracing::error!(%x, %error, "a number of the store is left out");
            }
        }
        let rests = store.load_rests()?;
        parked += rests.bad;
        for (x, until) in rests.rows {
            self.bindings.set_rest(x, until);
        }
        let now = self.bindings.now();
        let mut places = std::collections::HashMap::new();
        let mut has_ended = false;
        self.bindings.begin_filling();
        let unread = store.each_binding(|app, mut binding| {
            if binding.ends().is_some_and(|ends| ends <= now) {
                has_ended = true;
                return;
            }
            // Names are shared by the rows that have them, so their place in memory tells them apart.
            let place = *places.entry(Arc::as_ptr(app).cast::<u8>() as usize).or_insert_with(|| self.place_of(app));
            binding.set_app(place);
            let (id, x) = (binding.id(), binding.x());
            if let Err(error) = self.bindings.restore(binding) {
                parked += 1;
                if parked <= 100 {
                    tracing::error!(%id, %x, %error, "a binding of the store is left out");
                }
            }
        })?;
        self.bindings.end_filling();
        if has_ended {
            store.delete_ended(now)?;
        }
        counters.parked.store((parked + unread) as u64, Relaxed);
        Ok(())
    }
}

struct Owner {
    books: Books,
    store: Store,
    settings: Arc<Settings>,
    accounts: Arc<ArcSwap<Accounts>>,
    outbox: Option<Outbox>,
    counters: Arc<Counters>,
    clock: Clock,
    apply: Apply,
    /// What the disk has as to be told, and nobody has been told yet.
    untold: Vec<Notice>,
    /// What has run out or is told, and is not deleted from the store yet.
    owed: Vec<Change>,
    /// Bindings whose last caller the store does not have yet.
    unwritten: BTreeSet<SubscriptionId>,
    /// More has run out than could be owed.
    is_behind: bool,
    retry_at: Duration,
    complained: Option<Duration>,
}

/// A piece of work that is done and not yet on the disk.
struct Done {
    answer: Answer,
    mark: books::Mark,
    entries: Vec<Entry>,
}

impl Owner {
    fn run(mut self, inbox: &Receiver<Order>) {
        let mut next = None;
        loop {
            let order = match next.take() {
                Some(order) => Ok(order),
                None => inbox.recv_timeout(self.patience()),
            };
            match order {
                Ok(first @ (Order::Work(_) | Order::Read(_) | Order::Called(_))) => {
                    let (mut reads, mut batch, mut called) = (Vec::new(), Vec::new(), Vec::new());
                    let mut order = Some(first);
                    while let Some(taken) = order.take() {
                        match taken {
                            Order::Read(work) => reads.push(work),
                            Order::Work(work) => batch.push(work),
                            Order::Called(some) => called.push(some),
                            other @ (Order::Alone(_) | Order::Stop) => {
                                next = Some(other);
                                break;
                            }
                        }
                        if batch.len() + reads.len() + called.len() < BATCH {
                            order = inbox.try_recv().ok();
                        }
                    }
                    self.guarded(|owner| owner.read(reads));
                    self.guarded(|owner| owner.turn(called, batch));
                }
                Ok(Order::Alone(work)) => self.guarded(|owner| owner.turn(Vec::new(), vec![work])),
                Err(RecvTimeoutError::Timeout) => self.guarded(|owner| owner.turn(Vec::new(), Vec::new())),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // What is left owed is passed over when the store is next read; callers that it does not take are forgotten.
        let mut last = std::mem::take(&mut self.owed);
        last.extend(self.rows_of_callers());
        let _ = self.store.commit(&last);
        // Whoever waits for an answer learns that there is none.
        while inbox.try_recv().is_ok() {}
    }

    /// A panic is our bug. It costs those an answer who wait for this turn, not everybody the registry.
    fn guarded(&mut self, work: impl FnOnce(&mut Owner)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            tracing::error!("a panic in the registry ended one turn");
        }
    }

    /// What changes nothing goes before what does: an answer that has left was about what had been acknowledged.
    fn read(&mut self, reads: Vec<Work>) {
        if reads.is_empty() {
            return;
        }
        self.on_time();
        for work in reads {
            self.counters.transactions.fetch_add(1, Relaxed);
            if let Ok(answer) = catch_unwind(AssertUnwindSafe(|| work(&mut self.books))) {
                answer(true);
            }
        }
    }

    /// What has run out ends.
    fn on_time(&mut self) {
        let ended = self.books.bindings.handle_time(self.clock.unix_ms(self.clock.now()));
        self.counters.expired.fetch_add(ended.len() as u64, Relaxed);
        let (run_out, _) = self.books.take_changes();
        let room = OWED.saturating_sub(self.owed.len());
        // The rows that are beyond go together, when the disk takes anything again.
        self.is_behind |= run_out.len() > room;
        self.owed.extend(run_out.into_iter().take(room));
    }

    /// Remembers who has called. The journal is not asked: that a caller is remembered is not taken back with anybody's work.
    fn on_called(&mut self, called: Vec<Called>) {
        for (id, (a, caller)) in called.into_iter().flatten() {
            if !self.books.bindings.note_caller(id, a, caller) {
                self.counters.callers_passed_over.fetch_add(1, Relaxed);
                continue;
            }
            self.counters.callers.fetch_add(1, Relaxed);
            if self.unwritten.len() < OWED {
                self.unwritten.insert(id);
            } else if !self.unwritten.contains(&id) {
                // It is remembered until the process ends.
                self.counters.callers_lost.fetch_add(1, Relaxed);
            }
        }
        let _ = self.books.take_changes();
    }

    /// The rows whose callers are to be written, as they are now. A binding that has ended has none.
    fn rows_of_callers(&self) -> impl Iterator<Item = Change> {
        self.unwritten.iter().filter_map(|id| self.books.row_of(*id))
    }

    fn patience(&self) -> Duration {
        let now = self.clock.now();
        let due = self.books.bindings.next_due().map(|due| {
            // Not a moment early: a millisecond that has begun is over with the next.
            Duration::from_millis(due.saturating_sub(self.clock.unix_ms(now))) + Duration::from_millis(1)
        });
        let retry = self.is_owing().then(|| self.retry_at.saturating_sub(now));
        [due, retry].into_iter().flatten().min().unwrap_or(COMPLAIN_EVERY).min(COMPLAIN_EVERY)
    }

    fn is_owing(&self) -> bool {
        !self.owed.is_empty() || !self.unwritten.is_empty()
    }

    fn turn(&mut self, called: Vec<Called>, batch: Vec<Work>) {
        let now = self.clock.now();
        self.on_time();
        self.on_called(called);
        let mut changes = Vec::new();
        let mut done = Vec::with_capacity(batch.len());
        for work in batch {
            done.extend(self.work(work, &mut changes));
        }
        let notices = self.notices(now, &done);
        changes.extend(notices.iter().cloned().map(Change::Tell));
        if !self.keep(now, changes) {
            self.undo(done);
            return;
        }
        self.untold.extend(notices);
        if self.is_behind && self.owed.is_empty() {
            let unix = self.clock.unix_ms(now);
            self.is_behind = self.store.delete_ended(unix).is_err();
        }
        if let Some(settings) = self.books.renewed_settings(&self.settings.apps) {
            self.settings = Arc::new(settings);
            self.accounts.store(Arc::clone(self.books.accounts()));
            (self.apply)(Arc::clone(&self.settings));
        }
        self.tell(now);
        for Done { answer, .. } in done {
            answer(true);
        }
    }

    /// What customers are to be told of what the API has done to their X.
    fn notices(&self, now: Duration, done: &[Done]) -> Vec<Notice> {
        let Some(outbox) = &self.outbox else { return Vec::new() };
        let moved = done.iter().flat_map(|done| &done.entries).filter_map(|entry| match entry {
            Entry::Number { was, is } => books::moved(was.as_deref()?, is.as_deref()),
            Entry::Binding { .. } | Entry::Rest { .. } => None,
        });
        let of_app = |(app, states): (AppId, Vec<_>)| {
            let account = self.books.account(app).filter(|account| Channel::Number.url(account).is_some())?;
            Some(outbox.of_numbers(&account.name, now, &states))
        };
        by_app(moved).into_iter().filter_map(of_app).flatten().collect()
    }

    /// Customers learn what has become of their X: it is on the disk, and nobody who asked has heard of it yet. What the operator's
    /// file says is on no disk of ours, and is not written down to be told either.
    fn tell(&mut self, now: Duration) {
        let of_file = self.books.take_moved();
        let Some(outbox) = &self.outbox else { return };
        for (app, states) in by_app(of_file) {
            if let Some(app) = self.books.name_of(app) {
                outbox.post_numbers(app, now, &states);
            }
        }
        for notice in self.untold.drain(..) {
            self.owed.push(Change::Told(notice.id.clone()));
            outbox.post_noted(notice);
        }
    }

    fn work(&mut self, work: Work, changes: &mut Vec<Change>) -> Option<Done> {
        self.counters.transactions.fetch_add(1, Relaxed);
        let mark = self.books.mark();
        // A panic is our bug. It ends this piece of work, whose answer is dropped, and leaves nothing half-done.
        let Ok(answer) = catch_unwind(AssertUnwindSafe(|| work(&mut self.books))) else {
            tracing::error!("a panic in the registry ended one request");
            let (_, entries) = self.books.take_changes();
            self.books.back_to(mark, entries);
            return None;
        };
        let (more, entries) = self.books.take_changes();
        changes.extend(more);
        Some(Done { answer, mark, entries })
    }

    /// Writes changes down, and with them what is owed; that alone where its time has come. `false`: the disk does not have the
    /// changes.
    fn keep(&mut self, now: Duration, changes: Vec<Change>) -> bool {
        let is_time = now >= self.retry_at;
        if changes.is_empty() && !(is_time && self.is_owing()) {
            return true;
        }
        let (owed, is_durable) = (self.owed.len(), !changes.is_empty());
        // What is owed goes first: a number that has run out may be bound anew in the same turn.
        let mut all = std::mem::take(&mut self.owed);
        all.extend(changes);
        let own = all.len();
        if is_time {
            // As they are behind all the others, and so as they are when this is done.
            all.extend(self.rows_of_callers());
        }
        let mut result = self.commit(&all);
        if result.is_ok() && is_time {
            self.unwritten.clear();
        }
        if result.is_err() && (1..all.len()).contains(&own) {
            // A disk that is full may have room for the others.
            self.retry_at = now + RETRY;
            all.truncate(own);
            result = self.commit(&all);
        }
        let is_kept = result.is_ok();
        self.complain(now, result);
        if !is_kept {
            all.truncate(owed);
            self.owed = all;
            self.retry_at = now + RETRY;
        }
        is_kept || !is_durable
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let result = self.store.commit(changes);
        let counter = if result.is_ok() { &self.counters.commits } else { &self.counters.failed };
        counter.fetch_add(1, Relaxed);
        result
    }

    fn complain(&mut self, now: Duration, result: Result<(), StoreError>) {
        match result {
            Ok(()) if self.complained.take().is_some() => tracing::info!("the store takes changes again"),
            Err(error) if self.complained.is_none_or(|at| now.saturating_sub(at) >= COMPLAIN_EVERY) => {
                self.complained = Some(now);
                tracing::error!(%error, "the store takes no changes: every bind, unbind and modify is refused until it does");
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn undo(&mut self, done: Vec<Done>) {
        for Done { answer, mark, entries } in done.into_iter().rev() {
            self.books.back_to(mark, entries);
            answer(false);
        }
    }
}

fn by_app(moved: impl IntoIterator<Item = Moved>) -> BTreeMap<AppId, Vec<(Number, Option<NumberState>)>> {
    let mut apps: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (app, x, state) in moved {
        apps.entry(app).or_default().push((x, state));
    }
    apps
}

#[cfg(test)]
mod tests;
