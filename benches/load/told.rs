//! What it costs a call that its app is told what happens to it, and how many events a second are told while calls run.
//!
//! ```text
//!   A ─▶ X of bench-axb ─▶ B    callin, callout, alerting, answer, disconnect ─▶ /status ┐
//!                               the record of the call ────────────────────────▶ /fee    ┴▶ a receiver in this process
//! ```
//!
//! The same calls go by three configurations, which differ in the app's URLs alone and take turns, each time with a fresh daemon: it
//! is told nothing; it is told where nobody listens; it is told. Then there are more of them; and then the receiver says nothing
//! for a while, so that there is a backlog when it does, and how fast that is told beside the calls is the most that can be told.
//!
//! The receiver checks nothing. It counts: every call has to be told of five times and recorded once.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axbridge::clock::Clock;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::api::administer;
use crate::daemon::{Daemon, Place};
use crate::figures::{Asked, Bar, Quantiles, ms, per};
use crate::phones::{Phones, Plan, Tally};
use crate::proc::Cpu;

/// An X of bench-axb in etc/bench.toml, as it is dialled; and the binding of the bench's two phones on it.
const DIALLED: &str = "075588100001";
const BINDING: &str =
    r#"{"app":"bench-axb","x":"+8675588100001","a":"+8615552223333","b":"+8615552224444","record":false}"#;
/// How long a call is up: the hint tone is cut short.
const HOLD: Duration = Duration::from_millis(200);
/// What a call is told of, each once.
const KINDS: [&str; 6] = ["callin", "callout", "alerting", "answer", "disconnect", FEE];
const FEE: &str = "fee";
/// The threads that tell.
const THREADS: [&str; 2] = ["outbox", "notify"];
/// How long calls may take to end, and what is told of them to come, after the last has begun.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(5);

/// How much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Calls a second: at which costs are compared, and more of them.
    pub(crate) rates: [u32; 2],
    pub(crate) time: Duration,
    /// How long the receiver says nothing.
    pub(crate) backlog: Duration,
    pub(crate) warm_up: Duration,
    /// How often the three take turns.
    pub(crate) turns: u32,
}

/// Where the app's URLs lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum To {
    /// There are none.
    Nowhere,
    /// To a port where nobody listens.
    Nobody,
    Receiver,
}

/// What calls by one configuration took.
#[derive(Debug, Default)]
struct Cost {
    rate: u32,
    /// Those that were measured.
    calls: u32,
    failed: u32,
    complaint: Option<String>,
    cpu: Duration,
    /// Of it: the threads that tell.
    telling: Duration,
    elapsed: Duration,
    told: Told,
}

/// What came of being told, of all runs.
#[derive(Debug, Default)]
struct Told {
    events: u64,
    fees: u64,
    /// Calls or records that it was not told of.
    lost: u64,
    /// What it was told once more.
    again: u64,
    /// Seconds in which the events came.
    span: f64,
    /// From the event to the answer to its message.
    lags: Vec<Duration>,
}

/// How a backlog went.
#[derive(Debug, Default)]
struct Drained {
    /// Events that waited.
    waited: u64,
    /// Events told until none of those waited any more, and seconds that it took. Some of them are new ones.
    events: u64,
    took: f64,
}

/// What it showed.
#[derive(Debug)]
pub(crate) struct Measured {
    load: Load,
    nowhere: Cost,
    nobody: Cost,
    receiver: Cost,
    more: Cost,
    behind: Cost,
    drained: Drained,
}

/// All of it.
pub(crate) fn measure(place: &Place, load: Load) -> io::Result<Measured> {
    let receiver = Receiver::start(place.clock)?;
    let cost = |rate| Cost { rate, ..Cost::default() };
    let [rate, more] = load.rates;
    let mut measured = Measured {
        load,
        nowhere: cost(rate),
        nobody: cost(rate),
        receiver: cost(rate),
        more: cost(more),
        behind: cost(rate),
        drained: Drained::default(),
    };
    let none = Duration::ZERO;
    for _ in 0..load.turns {
        measured.nowhere.add(place, load, To::Nowhere, &receiver, none)?;
        measured.nobody.add(place, load, To::Nobody, &receiver, none)?;
        measured.receiver.add(place, load, To::Receiver, &receiver, none)?;
    }
    measured.more.add(place, load, To::Receiver, &receiver, none)?;
    measured.drained = measured.behind.add(place, load, To::Receiver, &receiver, load.backlog)?;
    Ok(measured)
}

impl Cost {
    /// One run. With a backlog: what became of it.
    fn add(
        &mut self,
        place: &Place,
        load: Load,
        to: To,
        receiver: &Receiver,
        backlog: Duration,
    ) -> io::Result<Drained> {
        if to == To::Nobody && TcpStream::connect(place.told).is_ok() {
            return Err(io::Error::other(format!("somebody listens at {}, where nobody is to", place.told)));
        }
        let daemon = Daemon::start_with(place, |text| to.configure(text, place.told, receiver.address))?;
        administer(place, "POST", "/bindings", BINDING.as_bytes())?;
        let plan = |time: Duration, run| {
            let calls = (f64::from(self.rate) * time.as_secs_f64()).ceil() as u32;
            Plan { number: DIALLED, rate: f64::from(self.rate), calls, hold: Some(HOLD), run }
        };
        let (warm_up, plan) = (plan(load.warm_up, 1), plan(load.time, 2));
        receiver.forget();
        if warm_up.calls > 0 {
            let (phones, _) = calls(place, &daemon, warm_up, None)?;
            self.settle(to, receiver, phones.tally());
            receiver.forget();
        }
        let (cpu, began) = (Cpu::of(daemon.pid())?, place.clock.now());
        let hold_back = (!backlog.is_zero()).then_some((receiver, backlog));
        let (phones, let_go) = calls(place, &daemon, plan, hold_back)?;
        self.settle(to, receiver, phones.tally());
        self.calls += plan.calls;
        let cpu = Cpu::of(daemon.pid())?.since(&cpu);
        self.cpu += cpu.total();
        self.telling += cpu.of_threads(&THREADS);
        self.elapsed += place.clock.now() - began;
        let came = receiver.forget();
        let is_whole = self.failed == 0;
        if is_whole {
            daemon.end()?;
        }
        if to == To::Receiver {
            // What a call that has failed is told of, nobody knows.
            self.told.count(&came, if is_whole { plan.calls } else { 0 });
        }
        Ok(let_go.map(|at| Drained::of(&came, at)).unwrap_or_default())
    }

    /// Waits until everything has been told of calls that are over.
    fn settle(&mut self, to: To, receiver: &Receiver, tally: &Tally) {
        // One that fails has failed, whenever it did.
        self.failed += tally.failed;
        self.complaint = self.complaint.take().or_else(|| tally.complaint.clone());
        if to == To::Receiver && tally.failed == 0 {
            receiver.wait(tally.begun as usize * KINDS.len());
        }
    }

    /// CPU milliseconds of the daemon for a call.
    fn a_call(&self, cpu: Duration) -> f64 {
        per(cpu.as_secs_f64() * 1e3, f64::from(self.calls))
    }

    fn print(&self, what: &str) {
        println!(
            "  {what:<34} {:>7} {:>8} {:>7} {:>11.4} ms {:>11.4} ms {:>7.1} %",
            self.rate,
            self.calls,
            self.failed,
            self.a_call(self.cpu),
            self.a_call(self.telling),
            per(self.cpu.as_secs_f64() * 100.0, self.elapsed.as_secs_f64()),
        );
        if let Some(complaint) = &self.complaint {
            println!("          the first failure: {complaint}");
        }
    }
}

impl To {
    /// The configuration with other URLs.
    fn configure(self, text: String, told: SocketAddr, receiver: SocketAddr) -> String {
        match self {
            To::Nowhere => {
                let lines = text.lines().filter(|line| !line.starts_with("notify."));
                lines.flat_map(|line| [line, "\n"]).collect()
            }
            To::Nobody => text,
            To::Receiver => text.replace(&told.to_string(), &receiver.to_string()),
        }
    }
}

/// Calls, until all are over; where the receiver is to be held back first, when it was let go.
fn calls<'a>(
    place: &'a Place,
    daemon: &Daemon<'_>,
    plan: Plan,
    hold_back: Option<(&Receiver, Duration)>,
) -> io::Result<(Phones<'a>, Option<Duration>)> {
    if let Some((receiver, _)) = hold_back {
        receiver.open.send_replace(false);
    }
    let mut phones = Phones::new(place.clock, &place.sockets, daemon.x(), plan, false)?;
    let mut let_go = None;
    if let Some((receiver, length)) = hold_back {
        phones.run(length, |_| false)?;
        let_go = Some(place.clock.system());
        receiver.open.send_replace(true);
    }
    let limit = Duration::from_secs_f64(f64::from(plan.calls) / plan.rate) + HOLD + PATIENCE;
    let hopeless = plan.calls / 50 + 10;
    phones.run(limit, |phones| phones.all_are_over() || phones.tally().failed > hopeless)?;
    phones.give_up();
    Ok((phones, let_go))
}

// ---- what came ------------------------------------------------------------------------------------------------------

/// What was told.
#[derive(Debug, Default)]
struct Came {
    /// When it was answered for the first time, since 1970, by its id: `SESSION-callin-MILLISECONDS`, `SESSION-fee`.
    at: HashMap<String, Duration>,
    /// Notices that came once more.
    again: u64,
}

impl Came {
    fn of_kind(&self, kind: &str) -> u64 {
        self.at.keys().filter(|id| id.split('-').nth(1) == Some(kind)).count() as u64
    }

    /// When each event happened, and when it was told.
    fn events(&self) -> impl Iterator<Item = (Duration, Duration)> {
        let happened = |id: &str| id.split('-').nth(2)?.parse().ok().map(Duration::from_millis);
        self.at.iter().filter_map(move |(id, at)| Some((happened(id)?, *at)))
    }
}

impl Told {
    /// Counts what came of so many calls.
    fn count(&mut self, came: &Came, calls: u32) {
        for kind in KINDS {
            let count = came.of_kind(kind);
            *(if kind == FEE { &mut self.fees } else { &mut self.events }) += count;
            self.lost += u64::from(calls).saturating_sub(count);
        }
        self.again += came.again;
        let told = || came.events().map(|(_, at)| at);
        if let (Some(first), Some(last)) = (told().min(), told().max()) {
            self.span += last.saturating_sub(first).as_secs_f64();
        }
        self.lags.extend(came.events().map(|(happened, at)| at.saturating_sub(happened)));
    }

    fn rate(&self) -> f64 {
        per(self.events as f64, self.span)
    }

    fn print(&self, what: &str) {
        let Quantiles { p50, p99, max, .. } = Quantiles::of(self.lags.clone());
        println!(
            "  {what:<34} {} events and {} records, {} lost, {} again; {:.0} events/s; after the event: p50 {}, p99 {}, max {}",
            self.events,
            self.fees,
            self.lost,
            self.again,
            self.rate(),
            ms(p50),
            ms(p99),
            ms(max)
        );
    }
}

impl Drained {
    fn of(came: &Came, let_go: Duration) -> Drained {
        let waited = || came.events().filter(|(happened, _)| *happened < let_go);
        let Some(last) = waited().map(|(_, at)| at).max() else { return Drained::default() };
        Drained {
            waited: waited().count() as u64,
            events: came.events().filter(|(_, at)| *at <= last).count() as u64,
            took: last.saturating_sub(let_go).as_secs_f64(),
        }
    }

    fn rate(&self) -> f64 {
        per(self.events as f64, self.took)
    }
}

impl Measured {
    /// Calls that failed, and what was not told.
    pub(crate) fn failed(&self) -> u32 {
        let costs = [&self.nowhere, &self.nobody, &self.receiver, &self.more, &self.behind];
        let lost: u64 = costs.iter().map(|cost| cost.told.lost).sum();
        let failed: u32 = costs.iter().map(|cost| cost.failed).sum();
        failed + u32::try_from(lost).unwrap_or(u32::MAX - failed)
    }

    pub(crate) fn print(&self) {
        let Load { time, backlog, turns, rates: [rate, _], .. } = self.load;
        println!(
            "\nTold: calls of {} s through bench-axb, of each five events and a record; {turns} turns of {} s",
            HOLD.as_secs_f64(),
            time.as_secs_f64()
        );
        println!(
            "  {:<34} {:>7} {:>8} {:>7} {:>14} {:>14} {:>9}",
            "the app is told", "calls/s", "calls", "failed", "CPU a call", "of it telling", "core"
        );
        self.nowhere.print("nothing");
        self.nobody.print("where nobody listens");
        self.receiver.print("everything");
        self.more.print("everything");
        self.behind.print("everything, late");
        self.receiver.told.print(&format!("of {rate} calls/s"));
        self.more.told.print(&format!("of {} calls/s", self.more.rate));
        let Drained { waited, events, took } = self.drained;
        println!(
            "  {:<34} {} events and {} records, {} lost, {} again; {waited} events waited after {} s, and were told with \
             {} newer ones in {took:.2} s: {:.0} events/s",
            format!("late, beside {rate} calls/s"),
            self.behind.told.events,
            self.behind.told.fees,
            self.behind.told.lost,
            self.behind.told.again,
            backlog.as_secs_f64(),
            events.saturating_sub(waited),
            self.drained.rate()
        );
    }

    pub(crate) fn bars(&self) -> Vec<Bar> {
        let [rate, more] = self.load.rates;
        let told = |subject, measured| Bar { subject, asked: Asked::AtLeast(2_000.0), measured, unit: "events/s" };
        vec![
            told(format!("call events told, of {more} calls/s"), self.more.told.rate()),
            told(format!("call events told late, beside {rate} calls/s"), self.drained.rate()),
        ]
    }
}

// ---- the receiver ---------------------------------------------------------------------------------------------------

/// Answers 200 to everything, at once unless it is held back, and notes what has come.
struct Receiver {
    address: SocketAddr,
    open: watch::Sender<bool>,
    came: Arc<Mutex<Came>>,
    /// Ends with it.
    _runtime: Runtime,
}

impl Receiver {
    fn start(clock: Clock) -> io::Result<Receiver> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (open, is_open) = watch::channel(true);
        let came = Arc::default();
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("receiver").enable_all().build()?;
        runtime.spawn(serve(listener, clock, is_open, Arc::clone(&came)));
        Ok(Receiver { address, open, came, _runtime: runtime })
    }

    /// What has come, and nothing has come after that.
    fn forget(&self) -> Came {
        std::mem::take(&mut self.came.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until so much has come, or as long as patience lasts: who calls counts.
    fn wait(&self, count: usize) {
        for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
            if self.came.lock().unwrap_or_else(PoisonError::into_inner).at.len() >= count {
                return;
            }
            std::thread::park_timeout(LOOK);
        }
    }
}

async fn serve(
    listener: TcpListener,
    clock: Clock,
    is_open: watch::Receiver<bool>,
    came: Arc<Mutex<Came>>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (is_open, came) = (is_open.clone(), Arc::clone(&came));
        let service = service_fn(move |request| take(request, clock, is_open.clone(), Arc::clone(&came)));
        // However a connection ends: what has not come is counted as lost.
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn take(
    request: Request<Incoming>,
    clock: Clock,
    mut is_open: watch::Receiver<bool>,
    came: Arc<Mutex<Came>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let ids = request.headers().get("X-Notice-Id").and_then(|ids| ids.to_str().ok()).unwrap_or_default().to_owned();
    // It has come whole, or is no notice.
    if request.into_body().collect().await.is_ok() && is_open.wait_for(|is_open| *is_open).await.is_ok() {
        let at = clock.system();
        let mut came = came.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids.split(',') {
            if came.at.contains_key(id) {
                came.again += 1;
            } else {
                came.at.insert(id.to_owned(), at);
            }
        }
    }
    Ok(Response::new(Empty::new()))
}
