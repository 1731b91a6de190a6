//! Engine.

mod breaker;
mod lanes;
