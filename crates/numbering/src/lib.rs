//! Numbers, how trunks spell them, and who reaches whom through X. No SIP in here, no clock, no I/O.
//!
//! ```text
//!   spelling ─▶ ReadRule::read ─▶ Number        Number ─▶ WriteRule::write ─▶ spelling
//!
//!   (X, caller) ─▶ Table::decide ─▶ Connect { binding, callee } │ Refuse { why }      read without a lock
//!   bind · unbind · modify · replace_all ─▶ Bindings (the one writer) ─▶ Table
//! ```

mod binding;
mod city;
mod number;
mod plan;
mod table;

pub use binding::{AppId, Axb, Binding, CallDirection, Party, SubscriptionId, VirtualNumber, Voice};
pub use city::{City, cities, city_of_area};
pub use number::{Kind, Number, NumberError, Revealed};
pub use plan::{Form, ReadRule, WriteRule, spellings};
pub use table::{BindError, Bindings, Change, Decision, Limits, Refusal, Summary, Table};
