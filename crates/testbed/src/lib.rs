//! Calls in simulated time: the real core and real media sessions, scripted phones, a network that a seed makes bad.
//!
//! ```text
//!   phone A ⇄ network ⇄ X: Core ─ media::Session ⇄ network ⇄ phone B         one clock, no thread, no socket
//!                            └─▶ ladder · leak scanner · invariants
//! ```
//!
//! ```
//! use testbed::{A, Script, Setup, ms};
//!
//! let mut world = Setup::new(1).a(Script::default().hangs_up(ms(5_000))).b(Script::answers(ms(3_200))).world();
//! world.call(A);
//! world.finish(); // runs to the end, then: invariants hold, and nobody was told who the other is
//! assert!(world.ladder().contains("INVITE X"));
//! ```

mod invariants;
mod ladder;
mod leak;
mod network;
mod on_wire;
mod privacy;
mod seeds;
mod setup;
pub mod smsc;
mod world;

pub use expect_test::{Expect, expect};
pub use invariants::Harm;
pub use ladder::{Note, assert_ladder};
pub use leak::{Kind, Leak, Secrets};
pub use network::{Fate, Link, Network, Packet, Protocol, Random};
pub use phone::{
    Act, Algorithm, Challenge, Codec, Credentials, Direction, Fork, Heard, Offer, PhoneEvent, Provisional, Refresher,
    Reliability, Reply, Script, SessionTimer, Sound, State, TextReply, When,
};
pub use privacy::leaks_of;
pub use seeds::seeds;
pub use setup::{A_TONE, B_TONE, Setup, prompt};
pub use world::{A, B, OnWire, PhoneId, ToSend, World};

/// So many milliseconds.
#[must_use]
pub const fn ms(ms: u64) -> std::time::Duration {
    std::time::Duration::from_millis(ms)
}
