//! What customers' systems are told.

pub mod guard;
pub mod sign;
