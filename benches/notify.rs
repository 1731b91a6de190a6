//! What telling customers costs: events posted, spooled, written and delivered to receivers on the loopback, in this process.
//!
//! `cargo bench --bench notify`; `--smoke` tells a few, to see that it still works.
//!
//! First a backlog, delivered as fast as it goes. Then 2,000 events a second for three apps, alone and beside an app whose
//! receiver takes connections and never answers: how long one takes from the post to the receiver, in the middle and of the
//! slowest hundredth. The receivers' own work is in the figures.
#![allow(clippy::disallowed_methods, reason = "a bench's subject is time")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axbridge::apps::{Account, Accounts, Secret, Urls};
use axbridge::clock::Clock;
use axbridge::config::Dns;
use axbridge::notify::deliver::{self, Deliverer};
use axbridge::notify::guard::Guard;
use axbridge::notify::{self, Outbox, Queue, client};
use axbridge::transport::credentials::Authorities;
use b2bua::event::{CallEvent, What};
use numbering::{AppId, Rules};

const APPS: usize = 3;
/// Events of a call.
const EVENTS: usize = 5;
const RATE: u64 = 2_000;

/// Answers 200 to everything, or nothing to anybody, and notes when what has come.
struct Receiver {
    address: SocketAddr,
    arrived: Arc<Mutex<HashMap<String, Instant>>>,
    count: Arc<AtomicUsize>,
}

impl Receiver {
    fn start(answers: bool) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let receiver =
            Receiver { address: listener.local_addr().expect("bound"), arrived: Arc::default(), count: Arc::default() };
        let (arrived, count) = (Arc::clone(&receiver.arrived), Arc::clone(&receiver.count));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (arrived, count) = (Arc::clone(&arrived), Arc::clone(&count));
                std::thread::spawn(move || serve(socket, answers, &arrived, &count));
            }
        });
        receiver
    }
}

fn serve(
    mut socket: TcpStream,
    answers: bool,
    arrived: &Mutex<HashMap<String, Instant>>,
    count: &AtomicUsize,
) -> Option<()> {
    let mut unread: Vec<u8> = Vec::new();
    let mut buffer = [0; 8_192];
    loop {
        let end = unread.windows(4).position(|window| window == b"\r\n\r\n");
        let head = end.map(|end| String::from_utf8_lossy(&unread[..end]).to_ascii_lowercase());
        let field = |name: &str| {
            let line = head.as_deref()?.split("\r\n").find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().to_owned())
        };
        let length = field("content-length:").and_then(|length| length.parse::<usize>().ok());
        match (end, length) {
            (Some(end), Some(length)) if unread.len() >= end + 4 + length => {
                let now = Instant::now();
                let id = field("x-notice-id:")?;
                arrived.lock().expect("no panic").insert(id, now);
                count.fetch_add(1, Relaxed);
                unread.drain(..end + 4 + length);
                if answers {
                    socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
                }
            }
            (..) => match socket.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(read) => unread.extend(&buffer[..read]),
            },
        }
    }
}

struct House {
    outbox: Outbox,
    queue: Queue,
    clock: Clock,
    accounts: Arc<ArcSwap<Accounts>>,
}

impl House {
    fn open(dir: &Path, receivers: &[&Receiver]) -> House {
        let account = |(place, receiver): (usize, &&Receiver)| Account {
            id: AppId(u32::try_from(place).unwrap_or(0)),
            name: format!("app-{place}").into(),
            secret: Some(Secret::new(b"secret")),
            rules: Rules::default(),
            recording: false,
            requests_per_second: 1,
            mobile_areas: Vec::new(),
            is_configured: true,
            notify: Urls { status_url: Some(format!("http://{}/", receiver.address).into()), ..Urls::default() },
        };
        let accounts = Accounts::new(receivers.iter().enumerate().map(account));
        let (accounts, clock) = (Arc::new(ArcSwap::from_pointee(accounts)), Clock::start());
        let opened = Outbox::open(dir, clock, Arc::clone(&accounts), notify::Limits::default());
        let (outbox, queue, _) = opened.expect("a folder of our own");
        House { outbox, queue, clock, accounts }
    }

    fn deliver(&self) -> Deliverer {
        let client = client::Settings {
            guard: Guard::new(vec!["127.0.0.0/8".parse().expect("a network")]),
            proxy: None,
            authorities: Authorities::none(),
            timeout: Duration::from_secs(10),
            dns: Dns { servers: Vec::new(), timeout: Duration::from_secs(5) },
        };
        let settings = deliver::Settings { client, connections_per_app: 8 };
        Deliverer::start(self.queue.clone(), Arc::clone(&self.accounts), settings, self.clock).expect("a thread")
    }

    /// Posts an event; the id that it is told by.
    fn post(&self, app: usize, number: u64, posted: &mut Vec<(usize, String, Instant)>) {
        let at = Duration::from_millis(number % EVENTS as u64);
        let session = format!("{app}-{}", number / EVENTS as u64);
        let id = format!("{session}-collectinfo-{}", self.clock.unix(at).as_millis());
        posted.push((app, id, Instant::now()));
        self.outbox.post_event(&CallEvent {
            app: format!("app-{app}").into(),
            session_id: session.into(),
            at,
            binding: None,
            mode: None,
            caller_is: None,
            user_text: None,
            what: What::Collected { digits: "1234".into() },
        });
    }
}

fn wait(what: &str, mut is_done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_done() {
        assert!(begin.elapsed() < Duration::from_secs(120), "not in two minutes: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn backlog(count: u64) {
    let receiver = Receiver::start(true);
    let dir = tempfile::TempDir::new().expect("a folder");
    let house = House::open(dir.path(), &[&receiver; APPS]);
    let mut posted = Vec::new();
    for number in 0..count {
        house.post(usize::try_from(number).unwrap_or(0) % APPS, number / APPS as u64, &mut posted);
    }
    let in_table = || house.outbox.counters().posted[0].load(Relaxed) == count;
    wait("all are in the table", in_table);
    let begin = Instant::now();
    let deliverer = house.deliver();
    wait("all have come", || receiver.count.load(Relaxed) as u64 >= count);
    let took = begin.elapsed();
    println!("backlog of {count}: {:.0} events/s", count as f64 / took.as_secs_f64());
    assert!(deliverer.finish());
}

/// The middle and the slowest hundredth, in milliseconds.
fn stream(seconds: u64, with_hanging: bool) -> (f64, f64) {
    let (receiver, hanging) = (Receiver::start(true), Receiver::start(false));
    let dir = tempfile::TempDir::new().expect("a folder");
    let house = House::open(dir.path(), &[&receiver, &receiver, &receiver, &hanging]);
    let deliverer = house.deliver();
    let mut posted = Vec::new();
    let mut ignored = Vec::new();
    let begin = Instant::now();
    for number in 0..RATE * seconds {
        let due = begin + Duration::from_micros(number * 1_000_000 / RATE);
        while Instant::now() < due {
            std::thread::park_timeout(due - Instant::now());
        }
        house.post(usize::try_from(number).unwrap_or(0) % APPS, number / APPS as u64, &mut posted);
        if with_hanging && number % 10 == 0 {
            house.post(APPS, number / 10, &mut ignored);
        }
    }
    wait("all have come", || receiver.count.load(Relaxed) >= posted.len());
    let rate = posted.len() as f64 / begin.elapsed().as_secs_f64();
    let arrived = receiver.arrived.lock().expect("no panic");
    let mut times: Vec<f64> = posted
        .iter()
        .map(|(_, id, at)| arrived.get(id).expect("it has come").duration_since(*at).as_secs_f64() * 1e3)
        .collect();
    times.sort_by(f64::total_cmp);
    let of = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let beside = if with_hanging { "beside a receiver that hangs" } else { "alone" };
    println!("{rate:.0} events/s {beside}: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms", of(0.5), of(0.99), of(1.0));
    assert!(deliverer.finish());
    (of(0.5), of(0.99))
}

fn main() {
    let is_smoke = std::env::args().any(|argument| argument == "--smoke");
    let (count, seconds) = if is_smoke { (200, 1) } else { (20_000, 15) };
    backlog(count);
    let alone = stream(seconds, false);
    let beside = stream(seconds, true);
    println!("p99 beside a receiver that hangs: {:+.1} %", (beside.1 / alone.1 - 1.0) * 100.0);
}
