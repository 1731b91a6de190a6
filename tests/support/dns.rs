//! A DNS server for one zone, written by hand (RFC 1035 §4): what it says can be changed, and it can fall silent.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the server sees that it shall end.
const LOOK: Duration = Duration::from_millis(20);

/// A record; its TTL is 1 s.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    name: String,
    kind: u16,
    data: Vec<u8>,
}

/// `host A address`.
pub(crate) fn a(name: &str, address: Ipv4Addr) -> Record {
    Record { name: name.to_owned(), kind: 1, data: address.octets().to_vec() }
}

/// `service SRV priority weight port host`.
pub(crate) fn srv(name: &str, priority: u16, weight: u16, port: u16, host: &str) -> Record {
    let mut data = [priority, weight, port].map(u16::to_be_bytes).concat();
    data.extend(labels(host));
    Record { name: name.to_owned(), kind: 33, data }
}

/// `domain NAPTR order preference "s" service "" replacement`.
pub(crate) fn naptr(name: &str, order: u16, preference: u16, service: &str, replacement: &str) -> Record {
    let mut data = [order, preference].map(u16::to_be_bytes).concat();
    for text in ["s", service, ""] {
        data.push(u8::try_from(text.len()).unwrap());
        data.extend(text.as_bytes());
    }
    data.extend(labels(replacement));
    Record { name: name.to_owned(), kind: 35, data }
}

fn labels(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

/// The running server; it ends when it is dropped.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    zone: Mutex<Vec<Record>>,
    is_silent: AtomicBool,
    is_over: AtomicBool,
    asked: AtomicUsize,
}

impl Dns {
    pub(crate) fn start(zone: Vec<Record>) -> Dns {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared {
            zone: Mutex::new(zone),
            is_silent: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        });
        let server = Arc::clone(&shared);
        let thread = std::thread::spawn(move || server.run(&socket));
        Dns { address, shared, thread: Some(thread) }
    }

    /// From now on it says this.
    pub(crate) fn set(&self, zone: Vec<Record>) {
        *self.shared.zone.lock().unwrap() = zone;
    }

    /// From now on it says nothing.
    pub(crate) fn fall_silent(&self) {
        self.shared.is_silent.store(true, Ordering::Relaxed);
    }

    /// Questions that have come, answered or not.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4_096];
        while !self.is_over.load(Ordering::Relaxed) {
            let (length, peer) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => continue,
                // A peer that has closed its port by now.
                Err(_) => continue,
            };
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.is_silent.load(Ordering::Relaxed) {
                continue;
            }
            if let Some(answer) = self.answer(&buffer[..length]) {
                let _ = socket.send_to(&answer, peer);
            }
        }
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut at = 12;
        loop {
            let length = usize::from(*query.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            name.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
            at += length;
        }
        let name = name.join(".");
        let kind = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
        let question = query.get(12..at + 4)?;
        let zone = self.zone.lock().unwrap();
        let found: Vec<&Record> = zone.iter().filter(|record| record.name == name && record.kind == kind).collect();
        let is_known = zone.iter().any(|record| record.name == name);
        // Response, recursion desired and available; NXDOMAIN for a name without any record.
        let mut out = query.get(..2)?.to_vec();
        out.extend([0x81, if is_known { 0x80 } else { 0x83 }, 0, 1]);
        out.extend(u16::try_from(found.len()).ok()?.to_be_bytes());
        out.extend([0, 0, 0, 0]);
        out.extend(question);
        for record in found {
            // The name of the question; class IN; 1 s.
            out.extend([0xc0, 12]);
            out.extend(record.kind.to_be_bytes());
            out.extend([0, 1, 0, 0, 0, 1]);
            out.extend(u16::try_from(record.data.len()).ok()?.to_be_bytes());
            out.extend(&record.data);
        }
        Some(out)
    }
}
