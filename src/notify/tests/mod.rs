//! The outbox over real folders. Time is a parameter of the queue; where the thread runs, tests wait for what it has done.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use b2bua::event::{OnwardCall, What};
use b2bua::outcome::Cause;
use numbering::{AppId, Mode, Party, Rules, SubscriptionId};
use tempfile::TempDir;

use super::rows::{FILE, Rows};
use super::*;
use crate::apps::{Account, Urls};

mod bodies;
mod running;
mod table;

const MINUTE: u64 = 60_000;

/// 2026-11-23T20:36:05Z.
const UNIX: Duration = Duration::from_secs(1_795_466_165);

fn n(digits: u64) -> Number {
    Number::from_u64(digits).unwrap()
}

fn account(place: u32, name: &str, mode: Mode) -> Account {
    let url = || Some("http://127.0.0.1:9/".into());
    Account {
        id: AppId(place),
        name: name.into(),
        secret: None,
        rules: Rules { mode, cool_off: 0, extension_width: 4, call_back: None },
        recording: false,
        requests_per_second: 1,
        mobile_areas: Vec::new(),
        notify: Urls { status_url: url(), fee_url: url(), sms_url: url(), number_url: url(), ..Urls::default() },
        is_configured: true,
    }
}

/// `food` wants to know everything, `quiet` nothing.
pub(crate) fn accounts() -> Arc<ArcSwap<Accounts>> {
    let quiet = Account { notify: Urls::default(), ..account(1, "quiet", Mode::Axb) };
    Arc::new(ArcSwap::from_pointee(Accounts::new([account(0, "food", Mode::Axb), quiet])))
}

fn call_event(app: &str, session_id: &str, at: Duration, what: What) -> CallEvent {
    CallEvent {
        app: app.into(),
        session_id: session_id.into(),
        at,
        binding: Some(SubscriptionId(0x88ec_9feb_ed7d_4b0a_bf65_cc6b_e2b9_213e)),
        mode: Some(Mode::Axb),
        caller_is: Some(Party::A),
        user_text: Some("order \"7\"".into()),
        what,
    }
}

fn call_in() -> What {
    What::CallIn { caller: Some(n(8_613_800_000_001)), called: Some(n(8_675_512_340_001)) }
}

fn onward() -> OnwardCall {
    OnwardCall { shown: Some(n(8_675_512_340_001)), called: Some(n(8_613_900_000_002)) }
}

fn notice(app: &str, channel: Channel, session: &str, place: u64, created: u64) -> Notice {
    Notice {
        id: format!("{session}-{}-{place}", channel.as_str()),
        app: app.into(),
        channel,
        session: session.to_owned(),
        created,
        body: format!("{{\"place\":{place}}}"),
    }
}

/// The table without its thread.
struct Table {
    rows: Rows,
    queue: Queue,
    counters: Arc<Counters>,
    _orders: crossbeam_channel::Receiver<Order>,
    folder: TempDir,
}

impl Table {
    fn new(limits: Limits) -> Table {
        Table::open(TempDir::new().unwrap(), limits)
    }

    fn open(folder: TempDir, limits: Limits) -> Table {
        let counters = Arc::new(Counters::default());
        let rows = Rows::open(folder.path(), limits, Arc::clone(&counters)).unwrap();
        let (sender, orders) = bounded(16);
        let queue = Queue::open(folder.path(), &rows, sender).unwrap();
        Table { rows, queue, counters, _orders: orders, folder }
    }

    fn reopened(self, limits: Limits) -> Table {
        let Table { rows, queue, folder, .. } = self;
        drop((rows, queue));
        Table::open(folder, limits)
    }

    fn insert(&mut self, now: u64, notices: &[Notice]) {
        self.rows.write(now, notices.iter(), &[]).unwrap();
    }

    fn settle(&mut self, now: u64, outcome: Outcome) {
        self.rows.write(now, [].iter(), &[(now, outcome)]).unwrap();
    }

    fn delivered(&mut self, now: u64, id: u64) {
        self.settle(now, Outcome::Delivered { id, status: 200 });
    }

    fn failed(&mut self, now: u64, id: u64) {
        self.settle(now, Outcome::Failed { id, status: Some(500), error: FailedBy::Status });
    }

    fn due(&self, now: u64, app: &str, channel: Channel) -> Vec<u64> {
        let due = self.queue.due(now, app, channel, usize::MAX, &HashSet::new()).unwrap();
        due.into_iter().map(|pending| pending.id).collect()
    }

    fn one(&self, notice_id: &str) -> Delivery {
        let query =
            LogQuery { notice_id: Some(notice_id.to_owned()), limit: 2, has_bodies: true, ..LogQuery::default() };
        let found: [Delivery; 1] = self.queue.log(&query).unwrap().try_into().expect("it is there once");
        let [found] = found;
        found
    }

    fn all(&self) -> Vec<Delivery> {
        let mut all: Vec<Delivery> = Vec::new();
        loop {
            let after = all.last().map(Delivery::cursor);
            let page = self.queue.log(&LogQuery { after, limit: PAGE, ..LogQuery::default() }).unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        let _ = crossbeam_channel::after(Duration::from_millis(10)).recv();
    }
    panic!("never: {what}");
}
