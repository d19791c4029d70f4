//! What is written down: the `SQLite` store and the metrics.

pub mod metrics;
pub mod store;
