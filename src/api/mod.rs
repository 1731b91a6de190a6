//! HTTP: what customers and operators ask for. The only code that knows JSON.
//!
//! ```text
//!   server ─▶ Router ┬ /rest/…         compat       customers' programs: Huawei Cloud's PrivateNumber API
//!                    ├ /admin/v1/…     admin        the operator's programs: apps, numbers, prompts, bindings, records
//!                    └ /recordings/…   recordings   links that a signature opens, for three days
//! ```

pub mod admin;
pub mod compat;
mod hooks;
pub mod recordings;
pub mod refusal;
pub mod server;
pub mod start;
