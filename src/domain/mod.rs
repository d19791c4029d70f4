//! Every decision: pure functions and plain state. Time comes in as an argument; nothing here does
//! IO, takes a lock, reads a clock or writes a log.

#![deny(clippy::float_arithmetic)]
#![warn(missing_docs)]

pub mod account;
pub mod breaker;
pub mod calendar;
pub mod captcha_type;
pub mod engine;
pub mod gcra;
pub mod ids;
pub mod journal;
pub mod money;
pub mod notice;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod recent;
pub mod rejection;
pub mod scope;
#[cfg(feature = "seeded-bugs")]
pub mod seeded;
pub mod slo;
pub mod solve;
pub mod time;
