//! Numbers, how trunks spell them, and who reaches whom through X. No SIP in here, no clock, no I/O.
//!
//! ```text
//!   spelling ─▶ ReadRule::read ─▶ Number        Number ─▶ WriteRule::write ─▶ spelling
//!
//!   (X, caller) ─▶ Table::decide ─▶ Connect { binding, callee } │ Ask │ Refuse { why }      read without a lock
//!   bind · unbind · modify · replace_all ─▶ Bindings (the one writer) ─▶ Table
//! ```
//!
//! A [`Number`] is eight bytes and prints masked; [`Kind`] says what it is in the Chinese plan. Time is told from outside
//! ([`Bindings::handle_time`]), in milliseconds of UNIX time, since bindings outlive a process.

mod binding;
mod bindings;
mod city;
mod number;
mod plan;
mod pool;
mod reload;
mod table;
mod texts;

pub use binding::{
    AppId, Area, Ax, Axb, Axe, Binding, CallBack, CallDirection, Extension, LastCaller, Mode, NumberState, Party,
    SubscriptionId, Temporary, TimeUnit, VirtualNumber, Voice,
};
pub use bindings::{BindError, Bindings, Entry, Limits, MAX_X_OF_A};
pub use city::{City, cities, cities_of_area, city_of_area};
pub use number::{Digits, Kind, MAX_DIGITS, MIN_DIGITS, Number, NumberError, Revealed};
pub use plan::{Form, ReadRule, WriteRule, spellings};
pub use pool::{Rules, Wish};
pub use reload::Summary;
pub use table::{Decision, Refusal, Table};
pub use texts::{TextDecision, TextRefusal};

/// The same cases in every run, and no files of failures.
#[cfg(test)]
fn seeded() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(86),
        ..proptest::test_runner::Config::default()
    }
}
