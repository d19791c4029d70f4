//! An account at the provider: its key, its threads and its balance.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::options::AccountOptions;
use crate::domain::money::Money;

#[derive(Debug)]
pub(super) struct Account {
    pub(super) key: Arc<str>,
    /// When each thread is free again.
    free_at: BinaryHeap<Reverse<Duration>>,
    pub(super) balance: Money,
    pub(super) valid: bool,
}

/// What to change about an account; one that does not exist is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountChange {
    /// Its key.
    pub key: String,
    /// Solves that can run at the same time. What runs goes on running.
    #[serde(default)]
    pub threads: Option<usize>,
    /// In USD.
    #[serde(default, deserialize_with = "money")]
    pub balance: Option<Money>,
    /// Whether the key is accepted; else every call is answered `ERROR_KEY_DOES_NOT_EXIST`.
    #[serde(default)]
    pub valid: Option<bool>,
}

/// An account as shown by the control API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountView {
    /// Its key, masked.
    pub account: String,
    /// Solves that can run at the same time.
    pub threads: usize,
    /// Solves that run.
    pub working_threads: usize,
    /// In USD.
    pub balance: String,
    /// Whether its key is accepted.
    pub valid: bool,
}

impl Account {
    pub(super) fn new(key: Arc<str>, options: &AccountOptions) -> Self {
        let free_at = vec![Reverse(Duration::ZERO); options.threads].into();
        Self { key, free_at, balance: options.balance, valid: true }
    }

    pub(super) fn threads(&self) -> usize {
        self.free_at.len()
    }

    pub(super) fn working(&self, now: Duration) -> usize {
        self.free_at.iter().filter(|free| free.0 > now).count()
    }

    /// Whether there is a thread at all, and the price in the balance.
    pub(super) fn can_pay(&self, price: Money) -> bool {
        self.balance >= price && !self.free_at.is_empty()
    }

    /// When a task that came now would start.
    pub(super) fn next_free(&self, now: Duration) -> Duration {
        self.free_at.peek().map_or(now, |free| free.0.max(now))
    }

    /// Keeps the thread that is free soonest busy until then.
    pub(super) fn take(&mut self, until: Duration, price: Money) {
        self.free_at.pop();
        self.free_at.push(Reverse(until));
        self.balance -= price;
    }

    pub(super) fn change(&mut self, change: &AccountChange) {
        if let Some(balance) = change.balance {
            self.balance = balance;
        }
        if let Some(valid) = change.valid {
            self.valid = valid;
        }
        if let Some(threads) = change.threads {
            // The busiest threads stay.
            let mut free_at: Vec<_> = self.free_at.drain().collect();
            free_at.sort_unstable();
            free_at.resize(threads, Reverse(Duration::ZERO));
            self.free_at = free_at.into();
        }
    }

    pub(super) fn view(&self, now: Duration) -> AccountView {
        AccountView {
            account: masked(&self.key),
            threads: self.threads(),
            working_threads: self.working(now),
            balance: self.balance.to_string(),
            valid: self.valid,
        }
    }
}

/// The first characters of a key, enough to tell accounts apart.
pub(super) fn masked(key: &str) -> String {
    let shown: String = key.chars().take(4).collect();
    format!("{shown}…")
}

fn money<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Money>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse().map(Some).map_err(serde::de::Error::custom)
}
