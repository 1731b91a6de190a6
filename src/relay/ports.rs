//! The RTP and RTCP sockets: bound once, open for the life of the process.
//!
//! A call costs no `socket`, `bind` or `close`. The slab is filled by the signalling thread and read without a lock by every
//! worker; which worker a pair belongs to is the signalling thread's business.
//!
//! ```text
//!   place          0            1            2
//!           ┌────────────┬────────────┬────────────┐
//!   port    │ 30000 RTP  │ 30002 RTP  │   taken    │ …      even port: RTP, the next one: RTCP (RFC 3550 §11)
//!           │ 30001 RTCP │ 30003 RTCP │ by another │
//!           └────────────┴────────────┴────────────┘
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::OnceLock;

use media::session::Kind;
use socket2::{Domain, Protocol, Socket, Type};

/// DSCP Expedited Forwarding (RFC 3246), as the type-of-service byte: voice goes first where a network listens to it.
const EXPEDITED_FORWARDING: u32 = 46 << 2;

/// The two sockets of one leg.
pub(super) struct Pair {
    pub(super) rtp: UdpSocket,
    pub(super) rtcp: UdpSocket,
}

impl Pair {
    /// Binds `port` and the one above.
    fn bind(address: IpAddr, port: u16) -> io::Result<Pair> {
        Ok(Pair { rtp: bind(SocketAddr::new(address, port))?, rtcp: bind(SocketAddr::new(address, port | 1))? })
    }

    pub(super) fn socket(&self, kind: Kind) -> &UdpSocket {
        match kind {
            Kind::Rtp => &self.rtp,
            Kind::Rtcp => &self.rtcp,
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // Without the mark the voice goes all the same.
    let _ = if address.is_ipv4() {
        socket.set_tos_v4(EXPEDITED_FORWARDING)
    } else {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(EXPEDITED_FORWARDING)
    };
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Every pair that the range has room for, bound or not yet.
pub(super) struct Ports {
    address: IpAddr,
    first: u16,
    pairs: Box<[OnceLock<Pair>]>,
}

impl Ports {
    /// Room for the pairs from RTP port `first` to RTP port `last`, both even.
    pub(super) fn new(address: IpAddr, (first, last): (u16, u16)) -> Ports {
        let first = first & !1;
        let count = usize::from(last.saturating_sub(first)) / 2 + usize::from(last >= first);
        Ports { address, first, pairs: std::iter::repeat_with(OnceLock::new).take(count).collect() }
    }

    /// How many pairs there may be.
    pub(super) fn capacity(&self) -> usize {
        self.pairs.len()
    }

    /// The RTP port at a place.
    pub(super) fn port(&self, place: usize) -> u16 {
        // The capacity follows from two ports, so every place leads to a port.
        self.first.saturating_add(u16::try_from(place * 2).unwrap_or(u16::MAX))
    }

    /// The place of an RTP port; `None` when it is not in the range.
    pub(super) fn place(&self, port: u16) -> Option<usize> {
        let offset = usize::from(port.checked_sub(self.first)?);
        (offset.is_multiple_of(2) && offset / 2 < self.pairs.len()).then_some(offset / 2)
    }

    /// The pair at a place, when it is bound.
    pub(super) fn pair(&self, place: usize) -> Option<&Pair> {
        self.pairs.get(place)?.get()
    }

    /// Binds the pair at a place, which must be in the range and unbound.
    ///
    /// # Errors
    /// What the system says; `AddrInUse` when another process has one of the ports.
    pub(super) fn bind(&self, place: usize) -> io::Result<&Pair> {
        let pair = Pair::bind(self.address, self.port(place))?;
        Ok(self.pairs[place].get_or_init(|| pair))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn places_and_ports_lead_to_each_other() {
        let ports = Ports::new(LOOPBACK, (30_000, 59_998));
        assert_eq!(ports.capacity(), 15_000);
        for place in [0, 1, 14_999] {
            assert_eq!(ports.place(ports.port(place)), Some(place));
        }
        for foreign in [29_998, 30_001, 60_000, 0] {
            assert_eq!(ports.place(foreign), None);
        }
        assert!(ports.pair(0).is_none() && ports.pair(15_000).is_none());
    }

    #[test]
    fn a_range_of_one_pair_and_the_end_of_all_ports_are_ranges() {
        assert_eq!(Ports::new(LOOPBACK, (40_000, 40_000)).capacity(), 1);
        let last = Ports::new(LOOPBACK, (65_530, 65_534));
        assert_eq!((last.capacity(), last.port(2)), (3, 65_534));
        assert_eq!(Ports::new(LOOPBACK, (40_002, 40_000)).capacity(), 0);
    }

    #[test]
    fn a_pair_is_bound_whole_or_not_at_all() {
        // Some even port whose neighbour is free: the system gives ports one by one.
        let (rtcp, port) = loop {
            let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
            let port = socket.local_addr().unwrap().port();
            if port % 2 == 1 && UdpSocket::bind((LOOPBACK, port - 1)).is_ok() {
                break (socket, port - 1);
            }
        };
        let ports = Ports::new(LOOPBACK, (port, port));
        assert_eq!(ports.bind(0).err().unwrap().kind(), io::ErrorKind::AddrInUse);
        assert!(ports.pair(0).is_none());
        drop(rtcp);
        let pair = ports.bind(0).unwrap();
        assert_eq!(pair.socket(Kind::Rtp).local_addr().unwrap().port(), port);
        assert_eq!(pair.socket(Kind::Rtcp).local_addr().unwrap().port(), port + 1);
    }
}
