//! Many parties that talk: PCMA, 20 ms a packet, 50 packets a second, on a socket each (RFC 3550, RFC 3551).
//!
//! ```text
//!   0        12     16     20     24        28          36                        172
//!   │ header │ mark │ leg  │ count│ measured│ sent at ns │ noise, a slice by count  │
//! ```
//!
//! Every packet says who sent it, when, and whether it is measured. So what arrives tells the way's delay, whether a byte of
//! the voice was changed, and which two parties X has joined.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use axbridge::clock::Clock;

use crate::figures::Quantiles;
use crate::sys::Epoll;

/// Bytes of a packet, header and all.
const PACKET: usize = 172;
/// Samples in it.
const SAMPLES: u32 = 160;
const PAYLOAD_TYPE: u8 = 8;
const MARK: [u8; 4] = *b"axbr";
/// Where the noise begins.
const NOISE: usize = 36;
/// Slots of a packet time: each leg sends in one of them.
const SLOTS: usize = 20;
const SLOT: Duration = Duration::from_millis(1);
/// The first port that is tried. The daemon's begin at 30000; what is taken is left out.
const FIRST_PORT: u16 = 10_000;

/// One party's RTP.
struct Leg {
    socket: UdpSocket,
    address: SocketAddr,
    remote: Option<SocketAddr>,
    count: u32,
    first_heard: Option<Duration>,
    /// Whose voice arrives here.
    hears: Option<usize>,
}

/// What the measured packets showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Of those received: not byte for byte what was sent, or something else altogether.
    pub(crate) altered: u64,
    pub(crate) latency: Quantiles,
}

/// All parties' RTP.
pub(crate) struct Traffic {
    clock: Clock,
    epoll: Rc<Epoll>,
    legs: Vec<Leg>,
    slots: [Vec<usize>; SLOTS],
    /// The next slot, counted from the clock's epoch.
    next_slot: u32,
    next_port: u16,
    noise: [u8; 512],
    measuring: bool,
    /// Packets of any kind that all parties have sent, and heard.
    counts: (u64, u64),
    sent: u64,
    received: u64,
    altered: u64,
    latencies: Vec<Duration>,
}

impl Traffic {
    pub(crate) fn new(clock: Clock, epoll: Rc<Epoll>) -> Traffic {
        let mut noise = [0; 512];
        let mut state = 0x9e37_79b9_u32;
        for byte in &mut noise {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        Traffic {
            clock,
            epoll,
            legs: Vec::new(),
            slots: std::array::from_fn(|_| Vec::new()),
            next_slot: slot_at(clock.now()),
            next_port: FIRST_PORT,
            noise,
            measuring: false,
            counts: (0, 0),
            sent: 0,
            received: 0,
            altered: 0,
            latencies: Vec::new(),
        }
    }

    /// One more party, silent until it is told where to send. Its place is the token of its socket.
    pub(crate) fn open(&mut self) -> io::Result<usize> {
        let socket = self.bind()?;
        socket.set_nonblocking(true)?;
        let leg = self.legs.len();
        self.epoll.add(socket.as_fd(), leg)?;
        let address = socket.local_addr()?;
        self.legs.push(Leg { socket, address, remote: None, count: 0, first_heard: None, hears: None });
        // Any fixed spread will do; neighbours must not share a slot.
        self.slots[leg * 7 % SLOTS].push(leg);
        Ok(leg)
    }

    fn bind(&mut self) -> io::Result<UdpSocket> {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(2).ok_or(io::ErrorKind::AddrNotAvailable)?;
            match UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => return bound,
            }
        }
    }

    pub(crate) fn address(&self, leg: usize) -> SocketAddr {
        self.legs[leg].address
    }

    /// From now on the party talks.
    pub(crate) fn talk_to(&mut self, leg: usize, remote: SocketAddr) {
        self.legs[leg].remote = Some(remote);
    }

    pub(crate) fn be_silent(&mut self, leg: usize) {
        self.legs[leg].remote = None;
    }

    /// Whose voice this party hears, once it has.
    pub(crate) fn hears(&self, leg: usize) -> Option<usize> {
        self.legs[leg].hears
    }

    /// When it heard anything at all.
    pub(crate) fn first_heard(&self, leg: usize) -> Option<Duration> {
        self.legs[leg].first_heard
    }

    /// Packets of any kind, measured or not, that all parties have sent, and heard.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.counts
    }

    /// Packets that are sent from now on are measured, or are not.
    pub(crate) fn measure(&mut self, measuring: bool) {
        self.measuring = measuring;
        self.latencies.reserve(self.legs.len() * 1000);
    }

    pub(crate) fn passed(&mut self) -> Passed {
        let latency = Quantiles::of(std::mem::take(&mut self.latencies));
        Passed { sent: self.sent, received: self.received, altered: self.altered, latency }
    }

    /// Sends what is due. Late slots are made up for: the rate stays what it is.
    pub(crate) fn on_time(&mut self, now: Duration) {
        while self.next_slot <= slot_at(now) {
            let slot = self.next_slot as usize % SLOTS;
            for place in 0..self.slots[slot].len() {
                self.send(self.slots[slot][place]);
            }
            self.next_slot += 1;
        }
    }

    fn send(&mut self, place: usize) {
        let leg = &mut self.legs[place];
        let Some(remote) = leg.remote else { return };
        let mut packet = [0; PACKET];
        packet[..2].copy_from_slice(&[0x80, PAYLOAD_TYPE]);
        packet[2..4].copy_from_slice(&(leg.count as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&leg.count.wrapping_mul(SAMPLES).to_be_bytes());
        packet[8..12].copy_from_slice(&(place as u32).wrapping_mul(0x0101_0101).to_be_bytes());
        packet[12..16].copy_from_slice(&MARK);
        packet[16..20].copy_from_slice(&(place as u32).to_be_bytes());
        packet[20..24].copy_from_slice(&leg.count.to_be_bytes());
        packet[24..28].copy_from_slice(&u32::from(self.measuring).to_be_bytes());
        packet[NOISE..].copy_from_slice(slice_of(&self.noise, leg.count));
        packet[28..NOISE].copy_from_slice(&(self.clock.now().as_nanos() as u64).to_be_bytes());
        leg.count = leg.count.wrapping_add(1);
        // What the kernel does not take counts as sent and shows as lost.
        let _ = leg.socket.send_to(&packet, remote);
        self.counts.0 += 1;
        self.sent += u64::from(self.measuring);
    }

    /// Takes one packet: the poll is level-triggered.
    pub(crate) fn on_readable(&mut self, place: usize) {
        let mut packet = [0; 2048];
        let Some(leg) = self.legs.get_mut(place) else { return };
        let Ok(length) = leg.socket.recv(&mut packet) else { return };
        let now = self.clock.now();
        leg.first_heard.get_or_insert(now);
        self.counts.1 += 1;
        if length != PACKET || packet[12..16] != MARK {
            // The hint tone, as long as it plays.
            self.altered += u64::from(self.measuring);
            return;
        }
        let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        leg.hears = Some(word(16) as usize);
        if word(24) == 0 {
            return;
        }
        self.received += 1;
        self.altered += u64::from(packet[NOISE..PACKET] != *slice_of(&self.noise, word(20)));
        let sent = u64::from(word(28)) << 32 | u64::from(word(32));
        self.latencies.push(now.saturating_sub(Duration::from_nanos(sent)));
    }
}

/// The noise of packet number `count`.
fn slice_of(noise: &[u8; 512], count: u32) -> &[u8] {
    let start = count as usize % 256;
    &noise[start..start + PACKET - NOISE]
}

/// Which slot it is at a time of the bench, which lasts minutes.
fn slot_at(now: Duration) -> u32 {
    u32::try_from(now.as_millis() / SLOT.as_millis()).unwrap_or(u32::MAX)
}
