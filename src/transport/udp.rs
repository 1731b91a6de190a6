//! SIP over UDP (RFC 3261 §18): one non-blocking socket, owned by the signalling thread.
//!
//! ```text
//!   socket ─▶ recv_batch ─▶ (source, age, Bytes)       up to 16 datagrams a system call
//!   send ─▶ outgoing ─▶ flush ─▶ socket                 up to 16 datagrams a system call; what the socket does not
//!                                                       take stays for the next flush, up to a limit
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use bytes::Bytes;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::mmsg::{self, BATCH, Receiver};
use crate::clock::Clock;

/// Receive and send buffer that the kernel is asked for. A burst of 4,000 messages must survive one long turn of the
/// signalling thread.
const KERNEL_BUFFER: usize = 4 << 20;

/// Datagrams that wait for the kernel's send buffer; more are dropped and counted (SIP over UDP retransmits).
pub const OUTGOING_LIMIT: usize = 4096;

/// The longest that a datagram is believed to have waited in the kernel: what is beyond is a step of the system's clock.
const OLDEST: Duration = Duration::from_secs(10);

/// What passed through a socket since it was bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UdpCounters {
    /// Datagrams received.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams dropped because [`OUTGOING_LIMIT`] of them waited already.
    pub overflowed: u64,
    /// Datagrams that the kernel refused to send.
    pub refused: u64,
    /// Datagrams that the kernel dropped on arrival, its buffer being full: we read too late.
    pub lost: u64,
}

/// Whether there may be more to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// The socket is empty; the poll will tell when something comes.
    All,
    /// There may be more and the poll will *not* tell: read again before waiting.
    Some,
}

/// A UDP socket that speaks SIP.
pub struct Udp {
    socket: UdpSocket,
    receiver: Receiver,
    outgoing: VecDeque<(SocketAddr, Bytes)>,
    counters: UdpCounters,
}

impl Udp {
    /// Binds `address`; port 0 takes any port.
    ///
    /// # Errors
    /// What the system says, for instance that the address is taken or is none of this machine's.
    pub fn bind(address: SocketAddr) -> io::Result<Udp> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // One listener, one family: an IPv4 peer seen as ::ffff:192.0.2.1 would match no trunk's network.
            socket.set_only_v6(true)?;
        }
        widen(SockRef::from(&socket));
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        if let Err(error) = mmsg::ask_for_arrivals(socket.as_fd()) {
            tracing::warn!(%error, "the kernel does not say when SIP datagrams arrive: overload is noticed later");
        }
        Ok(Udp {
            socket: socket.into(),
            receiver: Receiver::new(),
            outgoing: VecDeque::new(),
            counters: UdpCounters::default(),
        })
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Puts the socket into a poll, for reading. The poll tells edges only: after `readable`, read until [`Received::All`].
    /// It does not tell when the socket can be written again, since then every datagram that the kernel has sent would wake
    /// the thread: while [`Udp::queued`] is not zero, call [`Udp::flush`] again a moment later.
    ///
    /// # Errors
    /// What the system says.
    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let fd = self.socket.as_raw_fd();
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    /// Reads one batch of datagrams and gives each, in a buffer of its own size, to `handle`, with how long it has waited in
    /// the kernel.
    ///
    /// # Errors
    /// What the system says, `WouldBlock` and `Interrupted` excepted. An error leaves the socket usable.
    pub fn recv_batch(
        &mut self,
        clock: &Clock,
        mut handle: impl FnMut(SocketAddr, Duration, Bytes),
    ) -> io::Result<Received> {
        let count = match self.receiver.receive(self.socket.as_fd()) {
            Ok(count) => count,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(Received::All),
                    io::ErrorKind::Interrupted => Ok(Received::Some),
                    _ => Err(error),
                };
            }
        };
        let now = clock.system();
        for place in 0..count {
            if let Some((source, datagram)) = self.receiver.datagram(place) {
                self.counters.received += 1;
                // A copy of the right size: a transaction keeps its request for 32 s and must not pin 64 KiB.
                handle(source, age(now, self.receiver.arrival(place)), Bytes::copy_from_slice(datagram));
            }
        }
        Ok(if count < BATCH { Received::All } else { Received::Some })
    }

    /// Puts a datagram into the queue; [`Udp::flush`] sends it. Beyond [`OUTGOING_LIMIT`] it is dropped and counted.
    pub fn send(&mut self, peer: SocketAddr, bytes: Bytes) {
        if self.outgoing.len() >= OUTGOING_LIMIT {
            self.counters.overflowed += 1;
            return;
        }
        self.outgoing.push_back((peer, bytes));
    }

    /// Sends what is queued, until the kernel's buffer is full. `failed` is told the peers that cannot be sent to.
    pub fn flush(&mut self, mut failed: impl FnMut(SocketAddr)) {
        while !self.outgoing.is_empty() {
            let (front, _) = self.outgoing.as_slices();
            match mmsg::send(self.socket.as_fd(), front) {
                Ok(sent) => {
                    self.counters.sent += sent as u64;
                    drop(self.outgoing.drain(..sent.min(front.len())));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted => {}
                    // An unreachable network, a firewall's refusal: it concerns the first datagram only.
                    _ => {
                        self.counters.refused += 1;
                        if let Some((peer, _)) = self.outgoing.pop_front() {
                            failed(peer);
                        }
                    }
                },
            }
        }
    }

    /// Datagrams that wait for the kernel's buffer.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.outgoing.len()
    }

    /// What passed since the socket was bound.
    #[must_use]
    pub fn counters(&self) -> UdpCounters {
        UdpCounters { lost: lost(SockRef::from(&self.socket)), ..self.counters }
    }
}

/// By the system's clock, which may have stepped meanwhile: what cannot be is not believed.
fn age(now: Duration, arrival: Option<Duration>) -> Duration {
    let age = arrival.and_then(|arrival| now.checked_sub(arrival)).unwrap_or_default();
    if age > OLDEST { Duration::ZERO } else { age }
}

/// Asks for [`KERNEL_BUFFER`], beyond the system's limit where we may (CAP_NET_ADMIN); else what the limit allows is
/// good enough.
fn widen(socket: SockRef<'_>) {
    let force = |option| mmsg::set(socket.as_fd(), option, KERNEL_BUFFER as libc::c_int);
    let receive = force(libc::SO_RCVBUFFORCE).or_else(|_| socket.set_recv_buffer_size(KERNEL_BUFFER));
    let send = force(libc::SO_SNDBUFFORCE).or_else(|_| socket.set_send_buffer_size(KERNEL_BUFFER));
    if let Err(error) = receive.and(send) {
        tracing::warn!(%error, "the kernel refuses a larger buffer for the SIP socket");
    }
}

/// What the kernel says that it has dropped; zero where it does not say (before Linux 4.12).
#[allow(unsafe_code, reason = "SO_MEMINFO is in no safe interface")]
fn lost(socket: SockRef<'_>) -> u64 {
    /// SK_MEMINFO_DROPS and SK_MEMINFO_VARS of linux/sock_diag.h.
    const DROPS: usize = 8;
    const VARS: usize = 9;
    let mut values = [0_u32; VARS];
    let mut length = std::mem::size_of_val(&values) as libc::socklen_t;
    // SAFETY: the array and its length live until the call returns, which writes no more than that length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { u64::from(values[DROPS]) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> Udp {
        Udp::bind("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    fn wait(poll: &mut mio::Poll) {
        let mut events = mio::Events::with_capacity(8);
        poll.poll(&mut events, Some(std::time::Duration::from_secs(5))).unwrap();
        assert!(!events.is_empty(), "nothing arrived within five seconds");
    }

    /// Reads until `count` datagrams are there.
    fn receive(udp: &mut Udp, poll: &mut mio::Poll, count: usize) -> Vec<(SocketAddr, Bytes)> {
        let mut got = Vec::new();
        while got.len() < count {
            if udp.recv_batch(&Clock::start(), |source, _, bytes| got.push((source, bytes))).unwrap() == Received::All
                && got.len() < count
            {
                wait(poll);
            }
        }
        got
    }

    fn registered(udp: &Udp) -> mio::Poll {
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry();
        let fd = udp.socket.as_raw_fd();
        registry.register(&mut SourceFd(&fd), Token(1), Interest::READABLE).unwrap();
        poll
    }

    #[test]
    fn datagrams_arrive_whole_in_order_and_with_their_source() {
        let (mut here, mut there) = (loopback(), loopback());
        let mut poll = registered(&there);
        let to = there.local_address().unwrap();
        for number in 0..100_u32 {
            here.send(to, Bytes::from(format!("message {number}")));
        }
        here.flush(|peer| panic!("{peer} cannot be sent to"));
        let got = receive(&mut there, &mut poll, 100);
        for (number, (source, bytes)) in got.iter().enumerate() {
            assert_eq!(*source, here.local_address().unwrap());
            assert_eq!(bytes, format!("message {number}").as_bytes());
        }
        assert_eq!((here.counters().sent, there.counters().received), (100, 100));
        assert_eq!(here.queued(), 0);
    }

    #[test]
    fn the_largest_and_the_empty_datagram_pass() {
        let (mut here, mut there) = (loopback(), loopback());
        let mut poll = registered(&there);
        let to = there.local_address().unwrap();
        here.send(to, Bytes::from(vec![b'x'; 65_507]));
        here.send(to, Bytes::new());
        here.flush(|_| panic!());
        let got = receive(&mut there, &mut poll, 2);
        assert_eq!((got[0].1.len(), got[1].1.len()), (65_507, 0));
        assert!(got[0].1.iter().all(|byte| *byte == b'x'));
    }

    #[test]
    fn an_empty_socket_yields_nothing_and_no_error() {
        assert_eq!(loopback().recv_batch(&Clock::start(), |_, _, _| panic!()).unwrap(), Received::All);
    }

    #[test]
    fn a_datagram_s_age_is_what_it_waited_in_the_kernel_and_no_step_of_the_clock() {
        let (mut here, mut there) = (loopback(), loopback());
        let clock = Clock::start();
        let before = clock.system();
        here.send(there.local_address().unwrap(), Bytes::from_static(b"x"));
        here.flush(|_| panic!());
        let mut ages = Vec::new();
        assert_eq!(there.recv_batch(&clock, |_, age, _| ages.push(age)).unwrap(), Received::All);
        let arrival = there.receiver.arrival(0).expect("the kernel says when it arrived");
        let after = clock.system();
        assert!(before <= arrival && arrival <= after && ages[0] <= after - before, "{before:?} {arrival:?} {after:?}");

        let second = Duration::from_secs(1);
        assert_eq!(age(second * 100, Some(second * 98)), second * 2);
        assert_eq!(age(second * 100, Some(second * 101)), Duration::ZERO);
        assert_eq!(age(second * 4_000, Some(second)), Duration::ZERO);
        assert_eq!(age(second * 100, None), Duration::ZERO);
    }

    #[test]
    fn a_datagram_that_cannot_be_sent_is_told_and_does_not_hold_up_the_next() {
        let (mut here, mut there) = (loopback(), loopback());
        let mut poll = registered(&there);
        // Too long for UDP over IPv4: the kernel refuses it for itself, whatever the routes of this machine are.
        here.send("127.0.0.1:9".parse().unwrap(), Bytes::from(vec![0; 65_508]));
        here.send(there.local_address().unwrap(), Bytes::from_static(b"next"));
        let mut failed = Vec::new();
        here.flush(|peer| failed.push(peer));
        assert_eq!(failed, ["127.0.0.1:9".parse().unwrap()]);
        assert_eq!(here.counters().refused, 1);
        assert_eq!(receive(&mut there, &mut poll, 1)[0].1, &b"next"[..]);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let mut here = loopback();
        for _ in 0..OUTGOING_LIMIT + 3 {
            here.send("127.0.0.1:9".parse().unwrap(), Bytes::from_static(b"x"));
        }
        assert_eq!((here.queued(), here.counters().overflowed), (OUTGOING_LIMIT, 3));
    }

    #[test]
    fn what_the_kernel_drops_because_nobody_reads_is_counted() {
        let (mut here, there) = (loopback(), loopback());
        let to = there.local_address().unwrap();
        assert_eq!(there.counters().lost, 0);
        // Twice what the buffer can hold, whatever the system's limit made of our wish.
        let count = SockRef::from(&there.socket).recv_buffer_size().unwrap() * 2 / 60_000 + 1;
        for _ in 0..count {
            here.send(to, Bytes::from(vec![b'x'; 60_000]));
            here.flush(|_| panic!());
        }
        assert!((1..=count as u64).contains(&there.counters().lost), "{:?}", there.counters());
    }

    #[test]
    fn ipv6_works_and_keeps_its_source() {
        let Ok(mut here) = Udp::bind("[::1]:0".parse().unwrap()) else {
            return; // test.sh says that nothing of IPv6 was tested
        };
        let mut there = Udp::bind("[::1]:0".parse().unwrap()).unwrap();
        let mut poll = registered(&there);
        here.send(there.local_address().unwrap(), Bytes::from_static(b"six"));
        here.flush(|_| panic!());
        assert_eq!(receive(&mut there, &mut poll, 1)[0].0, here.local_address().unwrap());
    }

    #[test]
    fn a_taken_address_is_an_error() {
        let first = loopback();
        assert_eq!(Udp::bind(first.local_address().unwrap()).err().unwrap().kind(), io::ErrorKind::AddrInUse);
    }
}
