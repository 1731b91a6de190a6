//! HTTP: what customers and operators ask for. The only code that knows JSON.

pub mod compat;
