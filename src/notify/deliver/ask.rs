//! Asks a customer's system what is to become of a text message (product rule S, Block mode): a question waits for its answer,
//! so it has no queue and is not repeated.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::{Counters, Receiver, count};
use crate::apps::Accounts;
use crate::notify::client::{Client, Failure};

/// Questions of one app that wait for their answers.
const OF_APP: usize = 32;
/// Questions of everybody.
const OF_ALL: usize = 512;

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoAnswer {
    /// The app has nobody who is to be asked.
    NoUrl,
    /// Too many questions wait.
    Busy,
    /// The system did not answer.
    Failed(Failure),
}

/// What becomes of questions, as labels; the places are those of [`Counters::questions`].
pub const QUESTIONS: [&str; 4] = ["answered", "no_url", "busy", "failed"];

impl Counters {
    fn on_question<T>(&self, app: &str, answer: &Result<T, NoAnswer>) {
        let place = match answer {
            Ok(_) => 0,
            Err(NoAnswer::NoUrl) => 1,
            Err(NoAnswer::Busy) => 2,
            Err(NoAnswer::Failed(failure)) => {
                tracing::debug!(app, %failure, "a customer's system has not said what is to become of a text message");
                3
            }
        };
        count(&self.questions[place]);
    }
}

/// Asks; clones are the same.
#[derive(Clone)]
pub struct Asker {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Handle,
    client: ArcSwap<Client>,
    accounts: Arc<ArcSwap<Accounts>>,
    counters: Arc<Counters>,
    /// Questions that wait, by app.
    waiting: Mutex<HashMap<Arc<str>, usize>>,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker(…)")
    }
}

impl Asker {
    pub(super) fn new(
        runtime: Handle,
        client: Client,
        accounts: Arc<ArcSwap<Accounts>>,
        counters: Arc<Counters>,
    ) -> Asker {
        let client = ArcSwap::from_pointee(client);
        Asker { inner: Arc::new(Inner { runtime, client, accounts, counters, waiting: Mutex::default() }) }
    }

    pub(super) fn set_client(&self, client: Client) {
        self.inner.client.store(Arc::new(client));
    }

    /// Posts a question to the app's `sms_control_url`, signed, and calls `then` with the status and the body of the answer on
    /// the thread of deliveries: it must not block. Within the time-out of `[notify]` it is called, or dropped where the thread
    /// has ended.
    pub fn ask(
        &self,
        app: &Arc<str>,
        body: impl Into<Bytes>,
        then: impl FnOnce(Result<(u16, Vec<u8>), NoAnswer>) + Send + 'static,
    ) {
        let (counters, of_app) = (Arc::clone(&self.inner.counters), Arc::clone(app));
        let then = move |answer| {
            counters.on_question(&of_app, &answer);
            then(answer);
        };
        let accounts = self.inner.accounts.load();
        let account = accounts.named(app);
        let url = account.and_then(|account| Some((account, account.notify.sms_control_url.as_ref()?)));
        let Some((account, url)) = url else { return then(Err(NoAnswer::NoUrl)) };
        let client = Client::clone(&self.inner.client.load());
        let message = match Receiver::new(account, url).message(&client, None, body.into()) {
            Ok(message) => message,
            Err(error) => return then(Err(NoAnswer::Failed(Failure::Url(error)))),
        };
        let Some(place) = self.take_place(app) else { return then(Err(NoAnswer::Busy)) };
        self.inner.runtime.spawn(async move {
            let answer = client.ask(&message).await;
            drop(place);
            then(answer.map_err(NoAnswer::Failed));
        });
    }

    fn take_place(&self, app: &Arc<str>) -> Option<Place> {
        let mut waiting = self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().sum();
        let own = waiting.get(app).copied().unwrap_or_default();
        if all >= OF_ALL || own >= OF_APP {
            return None;
        }
        waiting.insert(Arc::clone(app), own + 1);
        Some(Place { asker: self.clone(), app: Arc::clone(app) })
    }
}

/// A question that waits.
struct Place {
    asker: Asker,
    app: Arc<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.asker.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.app) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.app);
            }
        }
    }
}
