//! The axbridge daemon: sockets, threads, files, HTTP and TOML around [`b2bua::Core`], and nothing clever.
//!
//! ```text
//!   main ─▶ command ─▶ a running daemon's admin API
//!    └────▶ serve ─▶ config, prompts ─▶ Daemon
//!                                        ├ signalling   one thread: Core, SIP over UDP
//!                                        ├ transport    tokio: SIP over TCP and TLS
//!                                        ├ relay        media threads: RTP
//!                                        ├ recording    one thread: WAV files
//!                                        ├ cdr          one thread: JSON lines, cdrs.db
//!                                        ├ notify       two threads: outbox.db, what customers are told; HTTP to them
//!                                        ├ registry     one thread: bindings, numbers, apps; store: SQLite
//!                                        ├ api          tokio, a runtime of its own: HTTP
//!                                        └ metrics      tokio: /metrics
//! ```

pub mod api;
pub mod apps;
pub mod cdr;
pub mod check;
pub mod clock;
pub mod command;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod files;
pub mod hep;
pub mod metrics;
pub mod notify;
pub mod prompts;
pub mod recording;
pub mod registry;
pub mod relay;
pub mod serve;
pub mod signalling;
pub mod smsc;
mod spool;
pub mod store;
mod texts;
pub mod transport;

#[cfg(test)]
#[path = "../tests/support/pki.rs"]
mod pki;
