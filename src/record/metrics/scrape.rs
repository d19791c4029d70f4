//! Tenants, accounts and the record as they are at a scrape.

use std::time::Duration;

use super::known::OTHER;
use super::page::Page;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::engine::{AccountView, Snapshot, TenantView};
use crate::domain::ids::Name;
use crate::domain::money::Money;
use crate::domain::time::Wall;

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

/// Adds what a snapshot says beside error budgets. Tenants that `is_labelled` denies are `other`.
pub(super) fn add(
    page: &mut Page,
    snapshot: &Snapshot,
    store: &StoreFigures,
    is_labelled: &dyn Fn(&Name) -> bool,
) {
    let revision = option_env!("SOLVEGATE_REVISION").unwrap_or("unknown");
    page.gauge(
        ("solvegate_build_info", "Always 1; the labels say what runs."),
        ["version", "revision"],
        [([env!("CARGO_PKG_VERSION"), revision], 1.0)],
    );
    let in_flight = CaptchaType::ALL.into_iter().map(|captcha_type| {
        let count = snapshot.in_flight_by_type[captcha_type.index()];
        ([captcha_type.label()], f64::from(count))
    });
    page.gauge(
        ("solvegate_solves_in_flight", "Solves that occupy a thread."),
        ["captcha_type"],
        in_flight,
    );
    let (shown, rest): (Vec<_>, Vec<_>) =
        snapshot.tenants.iter().partition(|tenant| is_labelled(&tenant.name));
    add_wallets(page, &shown, &rest);
    add_limits(page, &shown);
    add_accounts(page, &snapshot.accounts);
    add_store(page, store);
}

/// Money adds up, so that the wallets of tenants without a label of their own are shown as one; a tenant
/// whose name is that label is among them.
fn add_wallets(page: &mut Page, shown: &[&TenantView], rest: &[&TenantView]) {
    let mut of_each = |name: &str, help: &str, money: fn(&TenantView) -> Money| {
        let has_wallet = |tenant: &&&TenantView| tenant.limits.prepaid.is_some();
        let is_other = |tenant: &&&TenantView| &*tenant.name == OTHER;
        let others = shown.iter().filter(is_other).chain(rest).filter(has_wallet);
        let mut others = others.map(|tenant| money(tenant)).peekable();
        let others = others.peek().is_some().then(|| ([OTHER], others.sum::<Money>().as_usd()));
        let each = shown.iter().filter(|tenant| has_wallet(tenant) && !is_other(tenant));
        let each = each.map(|tenant| ([&*tenant.name], money(tenant).as_usd()));
        page.gauge((name, help), ["tenant"], each.chain(others));
    };
    of_each(
        "solvegate_tenant_balance_usd",
        "Prepaid balance, holds not taken off (prepaid tenants only).",
        |tenant| tenant.balance.unwrap_or_default(),
    );
    of_each(
        "solvegate_tenant_held_usd",
        "Money held for open solves (prepaid tenants only).",
        |tenant| tenant.held,
    );
}

/// Only of tenants with a label of their own: limits do not add up, and a sum of usages under a sum of
/// limits hides the tenant that is at its own.
fn add_limits(page: &mut Page, shown: &[&TenantView]) {
    let usages = || {
        shown.iter().flat_map(|tenant| {
            usages(tenant).map(|(limit, used, most)| ([&*tenant.name, limit], used, most))
        })
    };
    page.gauge(
        ("solvegate_tenant_usage", "How far a limit is used."),
        ["tenant", "limit"],
        usages().map(|(values, used, _)| (values, used)),
    );
    page.gauge(
        ("solvegate_tenant_limit", "A limit; absent where there is none."),
        ["tenant", "limit"],
        usages().filter_map(|(values, _, most)| Some((values, most?))),
    );
}

/// Each limit: its name, how far it is used, and what it is.
#[expect(clippy::cast_precision_loss, reason = "a view for graphs")]
fn usages(tenant: &TenantView) -> [(&'static str, f64, Option<f64>); 4] {
    let (limits, used) = (&tenant.limits, &tenant.used);
    let day = limits.daily_limit.map(|limit| limit as f64);
    let [day_spend, month_spend] =
        [limits.daily_spend_cap, limits.monthly_spend_cap].map(|cap| cap.map(Money::as_usd));
    [
        ("daily_solves", used.day_solves as f64, day),
        ("daily_spend_usd", used.day_spend.as_usd(), day_spend),
        ("monthly_spend_usd", used.month_spend.as_usd(), month_spend),
        ("in_flight", f64::from(tenant.in_flight), limits.in_flight_max.map(f64::from)),
    ]
}

fn add_accounts(page: &mut Page, accounts: &[AccountView]) {
    let mut of_each = |name: &str, help: &str, value: fn(&AccountView) -> Option<f64>| {
        let samples =
            accounts.iter().filter_map(|account| Some(([&*account.name], value(account)?)));
        page.gauge((name, help), ["account"], samples);
    };
    of_each(
        "solvegate_account_up",
        "1 while nothing stands against submitting with it.",
        |account| Some(f64::from(u8::from(account.up))),
    );
    of_each("solvegate_account_balance_usd", "Balance at the provider, as it says.", |account| {
        account.balance.map(Money::as_usd)
    });
    of_each(
        "solvegate_account_balance_minimum_usd",
        "The configured low_balance_below; absent where there is none.",
        |account| account.balance_minimum.map(Money::as_usd),
    );
    of_each(
        "solvegate_account_threads",
        "Threads of the account, as the provider says.",
        |account| account.threads.map(|(total, _)| f64::from(total)),
    );
    of_each(
        "solvegate_account_threads_working",
        "Threads busy, as the provider says.",
        |account| account.threads.map(|(_, working)| f64::from(working)),
    );
    of_each(
        "solvegate_account_last_refresh_timestamp_seconds",
        "When the provider last said anything of the account; 0 if it never did.",
        |account| account.is_asked.then(|| seconds(account.refreshed_at.unwrap_or_default())),
    );
}

#[expect(clippy::cast_precision_loss, reason = "a view for graphs")]
fn seconds(wall: Wall) -> f64 {
    wall.0 as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a view for graphs")]
fn add_store(page: &mut Page, store: &StoreFigures) {
    let mut gauge = |name: &str, help: &str, value| page.gauge((name, help), [], [([], value)]);
    gauge(
        "solvegate_store_lag_seconds",
        "Age of the oldest write not committed, 0 if none.",
        store.lag.as_secs_f64(),
    );
    gauge("solvegate_store_pending_events", "Writes that are not committed.", store.pending as f64);
    gauge("solvegate_store_size_bytes", "Size of the record on disk.", store.size_bytes as f64);
    page.counter(("solvegate_store_commits_total", "Commits."), store.commits as f64);
    page.counter(("solvegate_store_failures_total", "Failed commits."), store.failures as f64);
}
