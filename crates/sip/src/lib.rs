//! SIP, sans I/O: messages, transactions, dialogs (RFC 3261 and its family).
//!
//! Bytes and `now` (a `Duration` since the process's epoch) go in by `handle_*`; messages to send, events and the next
//! deadline come out by `poll_*`. Nothing here opens a socket, reads a clock or knows what a call through X is.

pub mod deadlines;
pub mod dialog;
pub mod digest;
pub mod framing;
pub mod limits;
pub mod locate;
pub mod message;
pub mod token;
pub mod transaction;
