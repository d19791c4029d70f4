//! Work without a request: the watcher, account polls, notices.

pub mod account_poll;
pub mod notifier;
pub mod watcher;
