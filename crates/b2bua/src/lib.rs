//! A call through X, sans I/O: two independent SIP dialogs, one decision, one media session.
//!
//! This is a media-aware, SDP-modifying back-to-back user agent (RFC 7092). The two legs never see each other's
//! messages: they exchange [`leg::LegEvent`] and [`leg::LegCommand`], two closed enums.
//!
//! ```text
//!            SIP bytes ──▶ Core::handle_message ──▶ sip::transaction::Layer ──▶ Leg ── LegEvent ──▶ Call
//!         media events ──▶ Core::handle_media_event ──────────────────────────────────────────────▶ Call
//!                 time ──▶ Core::handle_timeout                                                     │
//!                                                                                       LegCommand  ▼
//!   Core::poll_output ◀── Transmit · OpenMedia · Media · Ended · Log ◀────────────────────────── Leg, Session
//! ```

mod call;
pub mod cdr;
mod collect;
pub mod core;
pub mod event;
mod info;
mod intake;
pub mod leg;
mod live;
pub mod observe;
mod offer_answer;
pub mod outcome;
mod overload;
mod peers;
pub mod routes;
pub mod settings;
pub mod text;

pub use crate::core::{Core, Output, SessionId};
