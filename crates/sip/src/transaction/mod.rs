//! Transactions (RFC 3261 §17, with the Accepted states of RFC 6026), response routing (§18.2.2, RFC 3581).
//!
//! [`Layer`] owns every transaction. Messages and `now` go in, [`Event`]s come out; what is to be sent waits in
//! [`Layer::poll_transmit`]. The four machines are in `invite_client`, `invite_server`, `non_invite_client` and
//! `non_invite_server`; each state holds its own timers, so leaving the state disarms them.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::message::{Message, Method};

mod invite_client;
mod invite_server;
mod layer;
mod non_invite_client;
mod non_invite_server;

pub use layer::{Layer, Refusal};

/// A transport protocol of SIP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Transport {
    /// Datagrams: we retransmit.
    Udp,
    /// A stream: the transport does.
    Tcp,
    /// A stream that nobody on the way can read.
    Tls,
}

impl Transport {
    /// Nothing needs to be sent twice.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        match self {
            Transport::Udp => false,
            Transport::Tcp | Transport::Tls => true,
        }
    }

    /// As written in Via (RFC 3261 §20.42).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// What a `sip:` URI of ours ends with, so that peers come back by this transport (RFC 3261 §19.1.1): nothing for UDP,
    /// which is what they take by themselves.
    #[must_use]
    pub const fn uri_param(self) -> &'static str {
        match self {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
        }
    }

    /// The transport that the value of a `transport` parameter names, in capitals or not. `None` for one that we do not
    /// speak.
    #[must_use]
    pub fn of_uri_param(value: &[u8]) -> Option<Transport> {
        let known = [(&b"udp"[..], Transport::Udp), (b"tcp", Transport::Tcp), (b"tls", Transport::Tls)];
        known.into_iter().find(|(name, _)| value.eq_ignore_ascii_case(name)).map(|(_, transport)| transport)
    }

    /// The port of a host that is written without one (RFC 3261 §19.1.2).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        }
    }
}

/// Where a message came from, or goes to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// Its protocol.
    pub transport: Transport,
    /// Which of our listeners: its place in the list that the layer was made with.
    pub listener: u16,
    /// The other end.
    pub peer: SocketAddr,
    /// The stream it came on; 0 for datagrams and for "whichever stream leads to the peer, or a new one".
    pub connection: u64,
    /// When the stream that `connection` names is gone: the port of the peer's address at which it takes a new one
    /// (RFC 3261 §18.2.2), since the port that its stream came from takes none. `None` sends nothing then. Of no account
    /// where `connection` is 0.
    pub reopen: Option<u16>,
}

impl Flow {
    /// To a peer, or from one by datagram: by no stream in particular.
    #[must_use]
    pub const fn to(transport: Transport, listener: u16, peer: SocketAddr) -> Flow {
        Flow { transport, listener, peer, connection: 0, reopen: None }
    }

    /// Where a new stream may be opened to when there is none.
    #[must_use]
    pub fn opens_to(&self) -> Option<SocketAddr> {
        match self.connection {
            0 => Some(self.peer),
            _ => self.reopen.map(|port| SocketAddr::new(self.peer.ip(), port)),
        }
    }
}

/// Bytes to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Where to.
    pub flow: Flow,
    /// One whole message.
    pub bytes: Bytes,
}

/// Base times (RFC 3261 §17.1.1.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timers {
    /// Round-trip estimate; 500 ms.
    pub t1: Duration,
    /// Longest retransmission interval of non-INVITE requests and INVITE responses; 4 s.
    pub t2: Duration,
    /// Longest time that a message stays in the network; 5 s.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Timers { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl Timers {
    /// 64·T1: timers B, F, H, J, L, M.
    #[must_use]
    pub fn give_up(&self) -> Duration {
        self.t1 * 64
    }
}

/// A client transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClientId {
    index: u32,
    generation: u32,
}

/// A server transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ServerId {
    index: u32,
    generation: u32,
}

/// The INVITE that a CANCEL means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cancelled<O> {
    /// Whoever took it over by [`Layer::own`].
    pub owner: Option<O>,
    /// It has no final response yet; one that has is not changed by the CANCEL (RFC 3261 §9.2).
    pub is_pending: bool,
}

/// What the transaction user is told. `O` is whatever the user gave as the owner of the transaction.
#[derive(Debug)]
pub enum Event<O> {
    /// A new request, neither ACK nor CANCEL. It must be answered through [`Layer::respond`].
    Request {
        /// Its transaction.
        id: ServerId,
        /// Where it came from.
        flow: Flow,
        /// The request.
        message: Message,
    },
    /// A CANCEL. It must be answered through [`Layer::respond`]: 200, or 481 where `invite` is `None`.
    Cancel {
        /// The CANCEL's own transaction.
        id: ServerId,
        /// The INVITE that it means.
        invite: Option<Cancelled<O>>,
        /// Where it came from.
        flow: Flow,
        /// The CANCEL.
        message: Message,
    },
    /// An ACK for a 2xx (or for nothing that we know).
    Ack {
        /// Where it came from.
        flow: Flow,
        /// The ACK.
        message: Message,
    },
    /// A response to a request of ours; a 2xx to INVITE comes as often as it is received.
    Response {
        /// The transaction.
        id: ClientId,
        /// Its owner.
        owner: O,
        /// Where it came from.
        flow: Flow,
        /// The response.
        message: Message,
    },
    /// No final response came in time (timers B and F, or 64·T1 after a CANCEL).
    Timeout {
        /// The transaction, which is gone.
        id: ClientId,
        /// Its owner.
        owner: O,
        /// Of the request.
        method: Method,
    },
    /// The transport could not deliver the request.
    Undelivered {
        /// The transaction, which is gone.
        id: ClientId,
        /// Its owner.
        owner: O,
        /// Of the request.
        method: Method,
    },
    /// The request cannot have a transaction; answer it through [`Layer::reply`] or drop it.
    Refused {
        /// Why.
        refusal: Refusal<O>,
        /// Where it came from.
        flow: Flow,
        /// The request.
        message: Message,
    },
}
