//! The control handle: what tests and people change and see while the simulation runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::account::{AccountChange, AccountView};
use super::fault::{FaultRule, RuleState};
use super::log::LogEntry;
use super::options::{ErrorShare, Options, PerType, WhenBusy};
use super::server::{Power, Shared};
use super::task::TaskView;
use crate::domain::money::Money;

const REBIND_PATIENCE: Duration = Duration::from_secs(5);

/// How the provider is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Down {
    /// Connections are accepted, and reset once a request was read. The control API goes on.
    #[default]
    Reset,
    /// Nobody listens: connections are refused, also those to the control API.
    Refuse,
}

/// A handle on a running simulation; cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Adds rules behind those that are there.
    pub fn add_faults(&self, rules: impl IntoIterator<Item = FaultRule>) {
        self.shared.state.lock().faults.add(rules);
    }

    /// Removes every rule.
    pub fn clear_faults(&self) {
        self.shared.state.lock().faults.rules.clear();
    }

    /// Every rule, and how often it was met.
    pub fn faults(&self) -> Vec<RuleState> {
        self.shared.state.lock().faults.rules.clone()
    }

    /// Breaks every connection and serves no more until [`up`](Self::up). Returns when it is so.
    pub async fn down(&self, how: Down) {
        self.shared.switch(match how {
            Down::Reset => Power::Resetting,
            Down::Refuse => Power::Refusing,
        });
        if how == Down::Refuse {
            self.listens(false).await;
        }
    }

    /// Serves again, on the same port. Returns when it is so; fails when somebody else took the port.
    pub async fn up(&self) -> io::Result<()> {
        self.shared.switch(Power::Up);
        let listens = tokio::time::timeout(REBIND_PATIENCE, self.listens(true)).await;
        listens.map_err(|_| io::ErrorKind::AddrInUse.into())
    }

    /// As [`down`](Self::down), then up again by itself after that time.
    pub async fn down_for(&self, how: Down, time: Duration) {
        self.down(how).await;
        let control = self.clone();
        let up_again = async move {
            tokio::time::sleep(time).await;
            // A port that somebody else took is tried again for as long as it takes.
            let _ = control.up().await;
        };
        let stop = self.shared.stop.clone();
        self.shared.tracker.spawn(stop.run_until_cancelled_owned(up_again));
    }

    /// Every request logged after the one with that number.
    pub fn log(&self, since: u64) -> Vec<LogEntry> {
        self.shared.state.lock().log.since(since)
    }

    /// The number of the last request logged.
    pub fn last_logged(&self) -> u64 {
        self.shared.state.lock().log.last()
    }

    /// The first request after that number that fits; waits for it as long as it takes.
    pub async fn logged(&self, since: u64, fits: impl Fn(&LogEntry) -> bool) -> LogEntry {
        let mut changes = self.shared.logged.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(entry) = self.log(since).into_iter().find(&fits) {
                return entry;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Every accepted solve.
    pub fn tasks(&self) -> Vec<TaskView> {
        self.shared.state.lock().provider.tasks()
    }

    /// Every account.
    pub fn accounts(&self) -> Vec<AccountView> {
        let now = self.shared.now();
        self.shared.state.lock().provider.accounts(now)
    }

    /// The balance of the account with that key.
    pub fn balance(&self, key: &str) -> Option<Money> {
        self.shared.state.lock().provider.balance(key)
    }

    /// Changes an account, or opens it.
    pub fn change_account(&self, change: &AccountChange) {
        self.shared.state.lock().provider.change_account(change);
    }

    /// Sets the error mix of solves to come.
    pub fn set_errors(&self, errors: Vec<ErrorShare>) {
        self.change_options(|options| options.errors = errors);
    }

    /// Sets the solve times of solves to come.
    pub fn set_solve_times(&self, times: Vec<PerType<humantime::Duration>>) {
        self.change_options(|options| options.solve_times = times);
    }

    /// Sets what happens while all threads are busy.
    pub fn set_when_busy(&self, when_busy: WhenBusy) {
        self.change_options(|options| options.when_busy = when_busy);
    }

    /// Forgets tasks, log and rules and goes back to the options of the start; ids go on.
    pub fn reset(&self) {
        self.shared.state.lock().reset();
    }

    fn change_options(&self, change: impl FnOnce(&mut Options)) {
        let mut state = self.shared.state.lock();
        change(&mut state.provider.options);
        state.provider.apply_options();
    }

    async fn listens(&self, wanted: bool) {
        let mut listening = self.shared.listening.subscribe();
        // Fails only when the simulation is gone, and then nothing is left to wait for.
        let _ = listening.wait_for(|listens| *listens == wanted).await;
    }
}
