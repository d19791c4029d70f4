//! Work without a request: the watcher, account polls.

pub mod account_poll;
pub mod watcher;
