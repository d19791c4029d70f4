//! The record: `SQLite`, written by one thread in group commits.
