//! SIP over UDP, TCP and TLS (RFC 3261 §18): bytes in, bytes out, no grammar but that of the framing.
//!
//! ```text
//!   datagrams ──▶ udp::Udp::recv_batch ──────────────────────────────────────────┐
//!   streams   ──▶ tls? ─▶ stream (tokio) ─▶ Framer ─▶ bounded channel, Bell ─────┴▶ signalling thread ─▶ b2bua::Core
//!                                                                                     │ Transmit
//!   Udp::send … flush ◀───────────────────────────────────────────────────────────────┤
//!   Tcp::send ─▶ connections: this one, one to that peer, or a new one ◀──────────────┘
//!   names     ──▶ resolve (tokio) ─▶ routes of a trunk ─▶ bounded channel, Bell ─▶ b2bua::Core
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use sip::transaction::Flow;

mod connections;
pub mod credentials;
mod event;
mod mmsg;
pub mod resolve;
mod stream;
pub mod tcp;
pub mod tls;
pub mod udp;

#[cfg(test)]
mod tests;

/// What a stream tells the signalling thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inbound {
    /// One whole message; `flow.connection` names the stream that it came on.
    Message {
        /// Where it came from.
        flow: Flow,
        /// The message, framed by its Content-Length.
        bytes: Bytes,
    },
    /// The flow is broken or could not be opened; what waited on it is lost.
    Failure {
        /// The flow: with its connection, or 0 where none was ever opened.
        flow: Flow,
    },
}

/// Wakes the signalling thread from other threads, once for however many messages wait.
///
/// Waking costs a system call, so only the first ring after [`Bell::answer`] makes one. The thread answers *before* it
/// empties the channels: what is put there later rings again.
#[derive(Clone, Debug)]
pub struct Bell {
    inner: Arc<(mio::Waker, AtomicBool)>,
}

impl Bell {
    /// A bell that wakes the poll that `waker` belongs to.
    #[must_use]
    pub fn new(waker: mio::Waker) -> Bell {
        Bell { inner: Arc::new((waker, AtomicBool::new(false))) }
    }

    /// Something has been put into a channel: the thread shall look.
    pub fn ring(&self) {
        let (waker, rung) = &*self.inner;
        if !rung.swap(true, Ordering::AcqRel) && waker.wake().is_err() {
            // The eventfd write failed, so nobody was woken; the next ring must try again.
            rung.store(false, Ordering::Release);
        }
    }

    /// The thread is awake and is going to look into every channel now.
    pub fn answer(&self) {
        self.inner.1.swap(false, Ordering::AcqRel);
    }
}
