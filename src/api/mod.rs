//! HTTP: what customers and operators ask for. The only code that knows JSON.
//!
//! ```text
//!   server ─▶ Router ┬ /rest/…         compat       customers' programs: Huawei Cloud's PrivateNumber API
//!                    └ /recordings/…   recordings   links that a signature opens, for three days
//! ```

pub mod compat;
pub mod recordings;
pub mod refusal;
pub mod server;
pub mod start;
