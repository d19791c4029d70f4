//! Gauges: set from a snapshot at each scrape.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Gauge, GaugeVec, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use crate::domain::captcha_type::CaptchaType;
use crate::domain::engine::{AccountView, Snapshot, TenantView};
use crate::domain::money::Money;

/// The store's own figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreFigures {
    /// Age of the oldest write that is not committed; zero when there is none.
    pub lag: Duration,
    /// Writes that are not committed.
    pub pending: usize,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Commits since start.
    pub commits: u64,
    /// Failed commits since start.
    pub failures: u64,
}

#[derive(Debug)]
pub(super) struct Gauges {
    in_flight: IntGaugeVec,
    tenant_balance: GaugeVec,
    tenant_held: GaugeVec,
    tenant_usage: GaugeVec,
    tenant_limit: GaugeVec,
    account_up: IntGaugeVec,
    account_balance: GaugeVec,
    account_threads: IntGaugeVec,
    account_threads_working: IntGaugeVec,
    account_refreshed: GaugeVec,
    store_lag: Gauge,
    store_pending: IntGauge,
    store_size: IntGauge,
    store_commits: IntCounter,
    store_failures: IntCounter,
}

impl Gauges {
    #[expect(clippy::too_many_lines, reason = "one list, in which every gauge stands once")]
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        let int_gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        let store_lag = Gauge::new(
            "solvegate_store_lag_seconds",
            "Age of the oldest write not committed, 0 if none.",
        )?;
        registry.register(Box::new(store_lag.clone()))?;
        let build = int_gauges(
            "solvegate_build_info",
            "Always 1; the labels say what runs.",
            &["version", "revision"],
        )?;
        let revision = option_env!("SOLVEGATE_REVISION").unwrap_or("unknown");
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        Ok(Self {
            in_flight: int_gauges(
                "solvegate_solves_in_flight",
                "Solves that occupy a thread.",
                &["captcha_type"],
            )?,
            tenant_balance: gauges(
                "solvegate_tenant_balance_usd",
                "Prepaid balance, holds not taken off (prepaid tenants only).",
                &["tenant"],
            )?,
            tenant_held: gauges(
                "solvegate_tenant_held_usd",
                "Money held for open solves (prepaid tenants only).",
                &["tenant"],
            )?,
            tenant_usage: gauges(
                "solvegate_tenant_usage",
                "How far a limit is used.",
                &["tenant", "limit"],
            )?,
            tenant_limit: gauges(
                "solvegate_tenant_limit",
                "A limit; absent where there is none.",
                &["tenant", "limit"],
            )?,
            account_up: int_gauges(
                "solvegate_account_up",
                "1 while nothing stands against submitting with it.",
                &["account"],
            )?,
            account_balance: gauges(
                "solvegate_account_balance_usd",
                "Balance at the provider, as it says.",
                &["account"],
            )?,
            account_threads: int_gauges(
                "solvegate_account_threads",
                "Threads of the account, as the provider says.",
                &["account"],
            )?,
            account_threads_working: int_gauges(
                "solvegate_account_threads_working",
                "Threads busy, as the provider says.",
                &["account"],
            )?,
            account_refreshed: gauges(
                "solvegate_account_last_refresh_timestamp_seconds",
                "When the provider last said anything of the account.",
                &["account"],
            )?,
            store_lag,
            store_pending: super::gauge(
                registry,
                "solvegate_store_pending_events",
                "Writes that are not committed.",
            )?,
            store_size: super::gauge(
                registry,
                "solvegate_store_size_bytes",
                "Size of the record on disk.",
            )?,
            store_commits: super::counter(registry, "solvegate_store_commits_total", "Commits.")?,
            store_failures: super::counter(
                registry,
                "solvegate_store_failures_total",
                "Failed commits.",
            )?,
        })
    }

    pub(super) fn set(
        &self,
        snapshot: &Snapshot,
        store: &StoreFigures,
        label: &dyn Fn(&Arc<str>) -> Arc<str>,
    ) {
        for captcha_type in CaptchaType::ALL {
            let in_flight = snapshot.in_flight_by_type[captcha_type.index()];
            self.in_flight.with_label_values(&[captcha_type.label()]).set(i64::from(in_flight));
        }
        for vec in [&self.tenant_balance, &self.tenant_held, &self.tenant_usage, &self.tenant_limit]
        {
            vec.reset();
        }
        for tenant in &snapshot.tenants {
            self.set_tenant(tenant, &label(&tenant.name));
        }
        for account in &snapshot.accounts {
            self.set_account(account);
        }
        self.set_store(store);
    }

    #[expect(clippy::cast_precision_loss, reason = "a view for graphs")]
    fn set_tenant(&self, tenant: &TenantView, label: &str) {
        let limits = &tenant.limits;
        if limits.prepaid.is_some() {
            let balance = tenant.balance.unwrap_or_default().as_usd();
            self.tenant_balance.with_label_values(&[label]).add(balance);
            self.tenant_held.with_label_values(&[label]).add(tenant.held.as_usd());
        }
        let daily = tenant.day_solves.saturating_add(tenant.open);
        let usage = [
            ("daily_solves", daily as f64, limits.daily_limit.map(|limit| limit as f64)),
            (
                "daily_spend_usd",
                tenant.day_spent.as_usd(),
                limits.daily_spend_cap.map(Money::as_usd),
            ),
            (
                "monthly_spend_usd",
                tenant.month_spent.as_usd(),
                limits.monthly_spend_cap.map(Money::as_usd),
            ),
            ("in_flight", f64::from(tenant.in_flight), limits.in_flight_max.map(f64::from)),
        ];
        for (name, used, limit) in usage {
            self.tenant_usage.with_label_values(&[label, name]).add(used);
            if let Some(limit) = limit {
                self.tenant_limit.with_label_values(&[label, name]).add(limit);
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a view for graphs")]
    fn set_account(&self, account: &AccountView) {
        let name = &[&*account.name];
        self.account_up.with_label_values(name).set(i64::from(account.up));
        if let Some(balance) = account.balance {
            self.account_balance.with_label_values(name).set(balance.as_usd());
        }
        if let Some((total, working)) = account.threads {
            self.account_threads.with_label_values(name).set(i64::from(total));
            self.account_threads_working.with_label_values(name).set(i64::from(working));
        }
        if let Some(at) = account.refreshed_at {
            self.account_refreshed.with_label_values(name).set(at.0 as f64 / 1e3);
        }
    }

    fn set_store(&self, store: &StoreFigures) {
        self.store_lag.set(store.lag.as_secs_f64());
        self.store_pending.set(i64::try_from(store.pending).unwrap_or(i64::MAX));
        self.store_size.set(i64::try_from(store.size_bytes).unwrap_or(i64::MAX));
        self.store_commits.inc_by(store.commits.saturating_sub(self.store_commits.get()));
        self.store_failures.inc_by(store.failures.saturating_sub(self.store_failures.get()));
    }
}
