//! Solvegate: a reliability sidecar between applications and a captcha-solving provider.
//!
//! # The path of a solve
//!
//! ```text
//! in.php   parse -> identify -> admit (hold) -> forward -> bind (durable) -> answer
//! res.php  parse -> identify -> owner? -> forward or answer from memory -> classify
//!          first terminal answer: ready (durable) -> answer -> flushed -> settle
//! watcher  polls what nobody polls, settles it, forgets it
//! ```
//!
//! # Floors
//!
//! A module imports from lower floors only; neighbours do not know each other.
//!
//! | floor | module | what it holds |
//! | --- | --- | --- |
//! | 0 | [`domain`] | every decision; `now` is an argument, no IO, no lock, no log |
//! | 1 | [`wire`], [`clock`], [`failpoint`] | the provider's protocol as bytes and types; the only reader of the OS clock; where tests kill the process |
//! | 2 | [`supervisor`] | what the service manager is told |
//! | 2 | [`config`], [`record`] | what the operator wrote; what is written down (metrics, store) |
//! | 3 | [`gate`], [`keyring`] | the one door to the core: the lock, the clock, the recording; keys made at run time |
//! | 4 | [`proxy`], [`background`], [`admin`] | the request path; work without a request; the second port |
//! | 5 | [`operator`] | what people change while it runs: the config, keys |
//! | 6 | [`app`], [`cli`] | composition and shutdown order; one file a command |
//!
//! [`simulate`] stands beside: the provider's API for tests, benches and the demo.

pub mod admin;
pub mod app;
pub mod background;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod failpoint;
pub mod gate;
pub mod keyring;
pub mod operator;
pub mod proxy;
pub mod record;
pub mod simulate;
pub mod supervisor;
pub mod wire;
