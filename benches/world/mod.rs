//! What benches decide on: tenants with every kind of limit, and the provider's ids.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::ids::{KeyHash, TaskId};
use solvegate::domain::money::Money;
use solvegate::domain::policy::{
    AccountPolicy, KeyPolicy, Limits, Policy, Prepaid, PriceList, Rate, Slo, SloPolicy,
    TenantPolicy, Threads,
};

pub(crate) fn task(number: u64) -> Option<TaskId> {
    TaskId::new(&(73_000_000_000 + number).to_string())
}

pub(crate) fn key(tenant: u32) -> KeyHash {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&tenant.to_le_bytes());
    KeyHash(hash)
}

/// That many tenants, each with one key.
pub(crate) fn policy(tenants: u32) -> Policy {
    let much = Some(Money::from_micros(1_000_000_000_000));
    let limits = Limits {
        rate: Some(Rate { per_minute: 60_000_000, burst: 1_000_000 }),
        daily_limit: Some(u64::MAX),
        in_flight_max: Some(u32::MAX),
        daily_spend_cap: much,
        monthly_spend_cap: much,
        prepaid: much.map(|opening| Prepaid { opening_balance: opening, low_balance_below: None }),
        allow_types: Some([CaptchaType::RecaptchaV2, CaptchaType::Turnstile].into()),
    };
    let tenant = |number: u32| {
        let key = KeyPolicy { limits: limits.clone(), ..KeyPolicy::new(key(number)) };
        let prices = PriceList::resolve(Money::from_micros(3_000), &BTreeMap::new());
        let tenant = TenantPolicy {
            limits: limits.clone(),
            keys: [("prod".into(), key)].into(),
            ..TenantPolicy::new("main".into(), prices)
        };
        (format!("tenant-{number}").into(), Arc::new(tenant))
    };
    let account = AccountPolicy {
        key_hash: None,
        threads: Threads::Auto,
        balance_precheck: true,
        low_balance_below: None,
        plan: None,
    };
    let slo = Slo {
        objective: 0.95,
        window: Duration::from_hours(24),
        deadline: Duration::from_mins(3),
        min_events: 50,
        warning_below: 0.5,
        critical_below: 0.1,
        latency: None,
    };
    Policy {
        accounts: [("main".into(), account)].into(),
        tenants: (0..tenants).map(tenant).collect(),
        pass_through: false,
        slo: SloPolicy {
            default: slo,
            types: BTreeMap::new(),
            rules: Vec::new(),
            probe_every: Duration::from_secs(30),
        },
        time_zone: TimeZone::UTC,
        poll_spacing: Duration::from_secs(1),
        forget_after: Duration::from_hours(1),
        error_classes: BTreeMap::new(),
        revoked: BTreeMap::new(),
    }
}
