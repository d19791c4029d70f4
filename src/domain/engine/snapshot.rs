//! The state as people and metrics see it: copied out at once, so that nobody reads under the lock.

use std::ops::Range;
use std::time::Duration;

use super::{Engine, Key, Tenant};
use crate::domain::account::Account;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::Name;
use crate::domain::money::Money;
use crate::domain::policy::Limits;
use crate::domain::scope::Used;
use crate::domain::slo::report::Report;
use crate::domain::solve::MoneyState;
use crate::domain::time::{Now, Wall};

/// Everything that is shown of the engine.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Configured tenants.
    pub tenants: Vec<TenantView>,
    /// Configured accounts, and those that still have a solve in flight.
    pub accounts: Vec<AccountView>,
    /// Solves that occupy a thread, by [`CaptchaType::index`].
    pub in_flight_by_type: [u32; CaptchaType::ALL.len()],
    /// Every SLO, events or none.
    pub slos: Vec<Report>,
    /// Solves whose money is not settled.
    pub open: u64,
    /// Solves remembered, settled ones included.
    pub remembered: usize,
    /// Requests to the provider are held back.
    pub upstream_open: bool,
    /// From now to the start of the next day.
    pub until_tomorrow: Duration,
}

/// One tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantView {
    /// Its name.
    pub name: Name,
    /// Its limits.
    pub limits: Limits,
    /// Solves that occupy a thread.
    pub in_flight: u32,
    /// Solves whose money is not settled.
    pub open: u64,
    /// Their price together.
    pub held: Money,
    /// The wallet's balance; `None` while there is no wallet.
    pub balance: Option<Money>,
    /// The wallets of its keys.
    pub key_wallets: Vec<KeyWallet>,
    /// Solves charged today.
    pub day_solves: u64,
    /// Money charged today.
    pub day_spent: Money,
    /// Money charged this month.
    pub month_spent: Money,
    /// Money charged ever.
    pub spent: Money,
    /// How much of its allocations is used.
    pub used: Used,
}

#[cfg(test)]
impl TenantView {
    /// A tenant that did nothing yet.
    pub(crate) fn idle(name: &str, limits: Limits) -> Self {
        Self {
            name: name.into(),
            limits,
            in_flight: 0,
            open: 0,
            held: Money::ZERO,
            balance: None,
            key_wallets: Vec::new(),
            day_solves: 0,
            day_spent: Money::ZERO,
            month_spent: Money::ZERO,
            spent: Money::ZERO,
            used: Used::default(),
        }
    }
}

/// The wallet of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWallet {
    /// The key's id.
    pub key: Name,
    /// Holds not taken off.
    pub balance: Money,
    /// The configured `low_balance_below`.
    pub low_balance_below: Option<Money>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountView {
    /// Its name.
    pub name: Name,
    /// Solves of ours that occupy a thread of it.
    pub in_flight: u32,
    /// Nothing stands against submitting with it.
    pub up: bool,
    /// The provider refused its key and did not take it since.
    pub key_refused: bool,
    /// Total and working threads as the provider last said.
    pub threads: Option<(u32, u32)>,
    /// Balance as the provider last said.
    pub balance: Option<Money>,
    /// The configured `low_balance_below`.
    pub balance_minimum: Option<Money>,
    /// It is asked about in the background: not in pass-through, where no key is known, nor once it is
    /// configured no more.
    pub is_asked: bool,
    /// When the provider last said anything of it.
    pub refreshed_at: Option<Wall>,
}

impl Engine {
    /// Copies out what is shown, as of `now`.
    pub fn snapshot(&mut self, now: Now) -> Snapshot {
        let mut snapshot = self.snapshot_without_tenants(now);
        self.copy_tenants(0..self.tenants.len(), &mut snapshot.tenants, now);
        snapshot
    }

    /// Adds the tenants at those places to `views`; `false` once there is none beyond them. Places stay
    /// what they are, so that tenants can be copied a few at a time.
    pub fn copy_tenants(
        &mut self,
        places: Range<usize>,
        views: &mut Vec<TenantView>,
        now: Now,
    ) -> bool {
        self.calendar.roll(now.wall);
        let end = places.end.min(self.tenants.len());
        let tenants = self.tenants.get(places.start..end).unwrap_or_default().iter();
        let configured = tenants.filter(|tenant| !tenant.removed);
        views.extend(configured.map(|tenant| self.tenant_view(tenant)));
        end < self.tenants.len()
    }

    /// Everything else that is shown.
    pub fn snapshot_without_tenants(&mut self, now: Now) -> Snapshot {
        self.calendar.roll(now.wall);
        let reachable = !self.upstream.is_open();
        let is_configured = |account: &Account| self.policy.accounts.contains_key(&account.name);
        let accounts = self
            .accounts
            .iter()
            .filter(|account| account.in_flight > 0 || is_configured(account))
            .map(|account| AccountView {
                name: account.name.clone(),
                in_flight: account.in_flight,
                up: reachable && account.trouble(now.mono).is_none(),
                key_refused: account.is_key_refused(),
                threads: account.threads_seen(),
                balance: account.balance_seen(),
                balance_minimum: account.policy.low_balance_below,
                is_asked: !self.policy.pass_through && is_configured(account),
                refreshed_at: account.refreshed_at(),
            });
        Snapshot {
            accounts: accounts.collect(),
            in_flight_by_type: self.in_flight_by_type,
            slos: self.error_budgets.reports(now).collect(),
            open: self.tenants.iter().map(|tenant| tenant.scope.open).sum(),
            remembered: self.solves.len(),
            upstream_open: !reachable,
            until_tomorrow: self.calendar.until_tomorrow(now.wall),
            tenants: Vec::new(),
        }
    }

    fn tenant_view(&self, tenant: &Tenant) -> TenantView {
        let (scope, period) = (&tenant.scope, self.calendar.period());
        TenantView {
            name: tenant.name.clone(),
            limits: tenant.policy.limits.clone(),
            in_flight: scope.in_flight,
            open: scope.open,
            held: scope.held,
            balance: scope.balance(),
            key_wallets: tenant.keys.iter().filter_map(key_wallet).collect(),
            day_solves: scope.day_solves(period),
            day_spent: scope.day_spent(period),
            month_spent: scope.month_spent(period),
            spent: scope.spent,
            used: scope.used(period),
        }
    }

    /// Whether what the scopes hold equals the sum over open solves; for tests and the drift metric.
    pub fn holds_add_up(&self) -> bool {
        let open = self.solves.values().filter(|solve| solve.money != MoneyState::Settled);
        let held: Money = open.clone().map(|solve| solve.price).sum();
        let slots = self.solves.values().filter(|solve| solve.slot).count();
        let scopes = || self.tenants.iter().map(|tenant| &tenant.scope);
        let keys =
            || self.tenants.iter().flat_map(|tenant| tenant.keys.iter().map(|key| &key.scope));
        let count = u64::try_from(open.count()).unwrap_or(u64::MAX);
        let in_flight = |total: u32| usize::try_from(total).is_ok_and(|total| total == slots);
        scopes().map(|scope| scope.held).sum::<Money>() == held
            && keys().map(|scope| scope.held).sum::<Money>() == held
            && scopes().map(|scope| scope.open).sum::<u64>() == count
            && in_flight(scopes().map(|scope| scope.in_flight).sum())
            && in_flight(keys().map(|scope| scope.in_flight).sum())
            && in_flight(self.accounts.iter().map(|account| account.in_flight).sum())
            && in_flight(self.in_flight_by_type.iter().sum())
    }
}

fn key_wallet(key: &Key) -> Option<KeyWallet> {
    let prepaid = key.policy.limits.prepaid.filter(|_| !key.removed)?;
    let balance = key.scope.balance()?;
    Some(KeyWallet { key: key.id.clone(), balance, low_balance_below: prepaid.low_balance_below })
}
