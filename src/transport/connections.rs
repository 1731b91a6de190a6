//! The table of open streams: which is which, which leads to whom, and how many there may be.
//!
//! It is the one thing that the signalling thread and the stream tasks share, behind a lock that is held for a few map
//! operations and never across an await. No protocol state is in it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use b2bua::settings::Peers;
use bytes::Bytes;
use sip::transaction::Flow;
use tokio::sync::mpsc;

use super::tcp::Limits;
use super::tls::Expected;

/// What is known of the other end of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// TCP: its address, and nobody is asked for more.
    Plain,
    /// TLS, opened by us: it has shown this, or nothing will be written to it.
    Shown(Expected),
    /// TLS, opened by the peer: whatever it showed, that was not asked for the sake of a message of ours. It carries
    /// what belongs to its own requests, and no other: anybody at that address may have opened it (RFC 5923 §8).
    Unasked,
}

/// Who opened a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    /// The peer, whose address was a trunk's then.
    Accepted,
    /// The peer, whose address was nobody's then.
    AcceptedStranger,
    /// We.
    Opened,
}

/// Why there is no room for a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    /// As many streams as there may be.
    Total,
    /// As many streams of strangers as there may be.
    Strangers,
    /// As many streams from this address as there may be.
    Address,
}

struct Connection {
    listener: u16,
    peer: SocketAddr,
    origin: Origin,
    proof: Proof,
    queue: mpsc::Sender<Bytes>,
}

/// A stream's number, and what is to be written to it.
pub(super) type Entered = (u64, mpsc::Receiver<Bytes>);

/// Every stream that is open or being opened.
pub(super) struct Connections {
    limits: Limits,
    last: u64,
    by_id: HashMap<u64, Connection>,
    /// The newest stream of each peer.
    by_peer: HashMap<(u16, SocketAddr), u64>,
    /// Accepted streams.
    by_address: HashMap<IpAddr, usize>,
    accepted: usize,
    strangers: usize,
    /// Who is no stranger.
    peers: Arc<Peers>,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Connections {
        Connections {
            limits,
            last: 0,
            by_id: HashMap::new(),
            by_peer: HashMap::new(),
            by_address: HashMap::new(),
            accepted: 0,
            strangers: 0,
            peers: Arc::default(),
        }
    }

    /// Whose addresses are no strangers', for the streams that are accepted from now on.
    pub(super) fn set_peers(&mut self, peers: Arc<Peers>) {
        self.peers = peers;
    }

    /// Enters a stream that a peer opened; returns its number, which is never 0 and never used again, and what is to be
    /// written to it.
    pub(super) fn accept(&mut self, listener: u16, peer: SocketAddr, proof: Proof) -> Result<Entered, Full> {
        if self.accepted >= self.limits.accepted {
            return Err(Full::Total);
        }
        let is_stranger = self.peers.find(peer.ip()).is_none();
        if is_stranger && self.strangers >= self.limits.strangers {
            return Err(Full::Strangers);
        }
        let here = self.by_address.entry(peer.ip()).or_default();
        if *here >= self.limits.accepted_per_address {
            return Err(Full::Address);
        }
        *here += 1;
        self.accepted += 1;
        self.strangers += usize::from(is_stranger);
        let origin = if is_stranger { Origin::AcceptedStranger } else { Origin::Accepted };
        Ok(self.enter(listener, peer, origin, proof))
    }

    /// Enters a stream that we open. Counted apart, so that strangers who fill the table do not cut us off from our
    /// carriers.
    pub(super) fn open(&mut self, listener: u16, peer: SocketAddr, proof: Proof) -> Result<Entered, Full> {
        if self.by_id.len() - self.accepted >= self.limits.opened {
            return Err(Full::Total);
        }
        Ok(self.enter(listener, peer, Origin::Opened, proof))
    }

    fn enter(&mut self, listener: u16, peer: SocketAddr, origin: Origin, proof: Proof) -> Entered {
        self.last += 1;
        let (queue, receiver) = mpsc::channel(self.limits.queue);
        match proof {
            Proof::Plain | Proof::Shown(_) => drop(self.by_peer.insert((listener, peer), self.last)),
            Proof::Unasked => {}
        }
        self.by_id.insert(self.last, Connection { listener, peer, origin, proof, queue });
        (self.last, receiver)
    }

    /// Takes a stream out.
    pub(super) fn leave(&mut self, id: u64) {
        let Some(connection) = self.by_id.remove(&id) else {
            return;
        };
        let key = (connection.listener, connection.peer);
        if self.by_peer.get(&key) == Some(&id) {
            self.by_peer.remove(&key);
        }
        match connection.origin {
            Origin::Accepted | Origin::AcceptedStranger => {
                self.accepted -= 1;
                self.strangers -= usize::from(connection.origin == Origin::AcceptedStranger);
                if let Some(here) = self.by_address.get_mut(&connection.peer.ip()) {
                    *here -= 1;
                    if *here == 0 {
                        self.by_address.remove(&connection.peer.ip());
                    }
                }
            }
            Origin::Opened => {}
        }
    }

    /// The stream that `flow` names.
    pub(super) fn own(&self, flow: &Flow) -> Option<&mpsc::Sender<Bytes>> {
        let named = self.by_id.get(&flow.connection).filter(|connection| connection.peer == flow.peer);
        named.map(|connection| &connection.queue)
    }

    /// Where to write what is for `flow`: its own stream; else the newest one to that peer, which may have come back from
    /// the same port; else the newest one to where a new one would lead. `proof` says what a stream to an address must have
    /// shown, if anything will do.
    pub(super) fn find(
        &self,
        flow: &Flow,
        proof: impl Fn(SocketAddr) -> Option<Proof>,
    ) -> Option<&mpsc::Sender<Bytes>> {
        let newest = |address: SocketAddr| {
            let connection = self.by_id.get(self.by_peer.get(&(flow.listener, address))?)?;
            (Some(&connection.proof) == proof(address).as_ref()).then_some(&connection.queue)
        };
        let elsewhere = || flow.opens_to().filter(|address| *address != flow.peer);
        self.own(flow).or_else(|| newest(flow.peer)).or_else(|| newest(elsewhere()?))
    }

    /// Streams that are open or being opened.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use b2bua::settings::TrunkId;
    use sip::transaction::Transport;

    use super::*;

    fn limits() -> Limits {
        Limits { accepted: 3, strangers: 3, accepted_per_address: 2, opened: 1, ..Limits::default() }
    }

    fn plain(_: SocketAddr) -> Option<Proof> {
        Some(Proof::Plain)
    }

    fn flow(peer: SocketAddr, connection: u64) -> Flow {
        Flow { connection, ..Flow::to(Transport::Tcp, 0, peer) }
    }

    fn peer(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_stream_is_found_by_its_number_and_by_its_peer_until_it_leaves() {
        let mut table = Connections::new(limits());
        let one = peer("192.0.2.1:5060");
        let (id, mut queue) = table.accept(0, one, Proof::Plain).unwrap();
        assert_ne!(id, 0);
        table.find(&flow(one, id), plain).unwrap().try_send(Bytes::from_static(b"1")).unwrap();
        table.find(&flow(one, 0), plain).unwrap().try_send(Bytes::from_static(b"2")).unwrap();
        // A number that is gone leads to the same peer's stream.
        table.find(&flow(one, 999), plain).unwrap().try_send(Bytes::from_static(b"3")).unwrap();
        for expected in ["1", "2", "3"] {
            assert_eq!(queue.try_recv().unwrap(), expected);
        }
        table.leave(id);
        assert!(table.find(&flow(one, id), plain).is_none());
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_number_never_leads_to_another_peer() {
        let mut table = Connections::new(limits());
        let (id, _queue) = table.accept(0, peer("192.0.2.1:5060"), Proof::Plain).unwrap();
        assert!(table.find(&flow(peer("192.0.2.2:5060"), id), plain).is_none());
    }

    #[test]
    fn a_stream_of_another_listener_is_not_taken_for_the_peer_s() {
        let mut table = Connections::new(limits());
        let one = peer("192.0.2.1:5060");
        let (_id, _queue) = table.accept(1, one, Proof::Plain).unwrap();
        assert!(table.find(&flow(one, 0), plain).is_none());
    }

    #[test]
    fn the_newest_stream_of_a_peer_stays_when_the_older_one_leaves() {
        let mut table = Connections::new(limits());
        let one = peer("192.0.2.1:5060");
        let (old, _old_queue) = table.accept(0, one, Proof::Plain).unwrap();
        let (_new, mut queue) = table.accept(0, one, Proof::Plain).unwrap();
        table.leave(old);
        table.find(&flow(one, old), plain).unwrap().try_send(Bytes::from_static(b"x")).unwrap();
        assert_eq!(queue.try_recv().unwrap(), "x");
    }

    #[test]
    fn strangers_cannot_take_what_is_kept_for_the_trunks() {
        let trunk_of = |network: &str| Peers::made_of([(network.parse().unwrap(), TrunkId(0))], []);
        let mut table = Connections::new(Limits { accepted: 5, strangers: 2, ..Limits::default() });
        table.set_peers(Arc::new(trunk_of("192.0.2.0/24")));
        let stranger = |last: u8| SocketAddr::from(([198, 51, 100, last], 5060));
        let carrier = |last: u8| SocketAddr::from(([192, 0, 2, last], 5060));
        let (first, _queue) = table.accept(0, stranger(1), Proof::Plain).unwrap();
        table.accept(0, stranger(2), Proof::Plain).unwrap();
        for last in 3..9 {
            assert_eq!(table.accept(0, stranger(last), Proof::Plain).err(), Some(Full::Strangers));
        }
        for last in 1..4 {
            table.accept(0, carrier(last), Proof::Plain).unwrap();
        }
        assert_eq!(table.accept(0, carrier(4), Proof::Plain).err(), Some(Full::Total));
        // One who was a stranger when he came counts as one until he leaves, whatever a reload says meanwhile.
        table.set_peers(Arc::new(trunk_of("0.0.0.0/0")));
        table.leave(first);
        assert_eq!((table.strangers, table.accepted), (1, 4));
        table.set_peers(Arc::new(trunk_of("192.0.2.0/24")));
        table.accept(0, stranger(9), Proof::Plain).unwrap();
        assert_eq!(table.accept(0, stranger(8), Proof::Plain).err(), Some(Full::Total));
    }

    #[test]
    fn limits_hold_for_all_for_one_address_and_for_ours_apart() {
        let mut table = Connections::new(limits());
        let mut kept = Vec::new();
        for port in [1, 2] {
            kept.push(table.accept(0, SocketAddr::from(([192, 0, 2, 1], port)), Proof::Plain).unwrap());
        }
        assert_eq!(table.accept(0, peer("192.0.2.1:3"), Proof::Plain).err(), Some(Full::Address));
        kept.push(table.accept(0, peer("192.0.2.2:1"), Proof::Plain).unwrap());
        assert_eq!(table.accept(0, peer("192.0.2.3:1"), Proof::Plain).err(), Some(Full::Total));
        kept.push(table.open(0, peer("192.0.2.9:5060"), Proof::Plain).unwrap());
        assert_eq!(table.open(0, peer("192.0.2.8:5060"), Proof::Plain).err(), Some(Full::Total));
        table.leave(kept[0].0);
        assert!(table.accept(0, peer("192.0.2.1:4"), Proof::Plain).is_ok());
        for (id, _) in kept {
            table.leave(id);
            table.leave(id); // twice does no harm
        }
        assert_eq!(table.by_address.len(), 1);
    }
}
