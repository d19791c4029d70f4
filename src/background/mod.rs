//! Work without a request: the watcher, account polls, config reloads.

pub mod account_poll;
pub mod reload;
pub mod watcher;
