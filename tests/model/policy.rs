//! The configurations that the model runs under: three tenants that stay, and `fickle`, whose every
//! line changes with a reload.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::select;
use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::ids::{KeyHash, Name};
use solvegate::domain::money::Money;
use solvegate::domain::policy::{
    AccountPolicy, Charge, KeyPolicy, Limits, Overdraft, Policy, Prepaid, PriceList, Rate, Slo,
    SloPolicy, TenantPolicy, Threads,
};

/// Every key that any configuration knows: tenant, id, hash.
pub(crate) const KEYS: [(&str, &str, KeyHash); 7] = [
    ("strict", "few", KeyHash([1; 32])),
    ("strict", "slow", KeyHash([2; 32])),
    ("loose", "own", KeyHash([3; 32])),
    ("loose", "free", KeyHash([4; 32])),
    ("shadow", "any", KeyHash([5; 32])),
    ("fickle", "one", KeyHash([6; 32])),
    ("fickle", "two", KeyHash([7; 32])),
];

pub(crate) const TENANTS: [&str; 4] = ["strict", "loose", "shadow", "fickle"];

pub(crate) const TYPES: [CaptchaType; 4] = [
    CaptchaType::RecaptchaV2,
    CaptchaType::RecaptchaV2Invisible,
    CaptchaType::Turnstile,
    CaptchaType::Image,
];

pub(crate) const THREADS_OF_MAIN: u32 = 8;
const DEADLINE: Duration = Duration::from_mins(3);

/// What a reload may change.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    present: bool,
    keys: [bool; 2],
    limits: [Limits; 2],
    price: i64,
    account: &'static str,
    charge: Charge,
    overdraft: Overdraft,
    enforce: bool,
    zone: &'static str,
}

prop_compose! {
    pub(crate) fn variants()(
        present in prop::bool::weighted(0.8),
        keys in [prop::bool::weighted(0.8), prop::bool::weighted(0.8)],
        limits in [limits(), limits()],
        price in 1_000_i64..9_000,
        account in select(vec!["main", "spare"]),
        charge in select(vec![Charge::Delivered, Charge::Solved]),
        overdraft in select(vec![Overdraft::None, Overdraft::InFlight]),
        enforce in prop::bool::weighted(0.8),
        zone in select(vec!["UTC", "UTC", "Europe/Berlin", "America/Santiago", "Pacific/Kiritimati"]),
    ) -> Variant {
        Variant { present, keys, limits, price, account, charge, overdraft, enforce, zone }
    }
}

prop_compose! {
    fn limits()(
        rate in prop::option::weighted(0.3, (1_u32..60, 1_u32..5)),
        daily_limit in prop::option::weighted(0.3, 0_u64..8),
        in_flight_max in prop::option::weighted(0.3, 0_u32..5),
        day_cap in prop::option::weighted(0.3, 0_i64..20_000),
        month_cap in prop::option::weighted(0.3, 0_i64..40_000),
        opening in prop::option::weighted(0.3, 0_i64..20_000),
        all_types in prop::bool::weighted(0.9),
    ) -> Limits {
        Limits {
            rate: rate.map(|(per_minute, burst)| Rate { per_minute, burst }),
            daily_limit,
            in_flight_max,
            daily_spend_cap: day_cap.map(Money::from_micros),
            monthly_spend_cap: month_cap.map(Money::from_micros),
            prepaid: opening.map(prepaid),
            allow_types: (!all_types).then(|| [CaptchaType::RecaptchaV2].into()),
        }
    }
}

fn prepaid(opening: i64) -> Prepaid {
    Prepaid { opening_balance: Money::from_micros(opening), low_balance_below: None }
}

impl Variant {
    pub(crate) fn policy(&self) -> Policy {
        let mut tenants = BTreeMap::from([
            ("strict".into(), Arc::new(strict())),
            ("loose".into(), Arc::new(loose())),
            ("shadow".into(), Arc::new(shadow())),
        ]);
        if self.present {
            tenants.insert(Name::from("fickle"), Arc::new(self.fickle()));
        }
        Policy {
            accounts: [
                ("main".into(), account(Threads::Fixed(THREADS_OF_MAIN))),
                ("spare".into(), account(Threads::Auto)),
            ]
            .into(),
            tenants,
            pass_through: false,
            slo: slo(),
            time_zone: TimeZone::get(self.zone).unwrap_or(TimeZone::UTC),
            poll_spacing: Duration::from_secs(1),
            forget_after: Duration::from_hours(1),
            error_classes: BTreeMap::new(),
            revoked: BTreeMap::new(),
        }
    }

    fn fickle(&self) -> TenantPolicy {
        let mut tenant = tenant("fickle", self.limits[0].clone());
        for (present, (id, limits)) in
            self.keys.iter().zip([("one", Limits::default()), ("two", self.limits[1].clone())])
        {
            match tenant.keys.get_mut(id) {
                Some(key) if *present => key.limits = limits,
                _ => drop(tenant.keys.remove(id)),
            }
        }
        tenant.account = self.account.into();
        tenant.charge = self.charge;
        tenant.overdraft = self.overdraft;
        tenant.enforce = self.enforce;
        tenant.prices = prices(self.price);
        tenant
    }
}

/// Always prepaid, always enforced, with holds: it can never be overdrawn.
fn strict() -> TenantPolicy {
    let limits = Limits { prepaid: Some(prepaid(40_000)), ..Limits::default() };
    let mut tenant = tenant("strict", limits);
    for (id, limits) in [
        ("few", Limits { in_flight_max: Some(2), daily_limit: Some(6), ..Limits::default() }),
        (
            "slow",
            Limits {
                rate: Some(Rate { per_minute: 30, burst: 2 }),
                monthly_spend_cap: Some(Money::from_micros(24_000)),
                daily_spend_cap: Some(Money::from_micros(12_000)),
                ..Limits::default()
            },
        ),
    ] {
        if let Some(key) = tenant.keys.get_mut(id) {
            key.limits = limits;
        }
    }
    tenant
}

/// May be overdrawn by what is in flight; charged for what is solved, fetched or not.
fn loose() -> TenantPolicy {
    let limits =
        Limits { prepaid: Some(prepaid(9_000)), in_flight_max: Some(3), ..Limits::default() };
    let mut tenant = tenant("loose", limits);
    if let Some(own) = tenant.keys.get_mut("own") {
        own.limits.prepaid = Some(prepaid(6_000));
    }
    tenant.overdraft = Overdraft::InFlight;
    tenant.charge = Charge::Solved;
    tenant
}

/// Over every limit, and never refused for it.
fn shadow() -> TenantPolicy {
    let limits = Limits {
        in_flight_max: Some(1),
        daily_limit: Some(1),
        prepaid: Some(prepaid(0)),
        ..Limits::default()
    };
    TenantPolicy { enforce: false, account: "spare".into(), ..tenant("shadow", limits) }
}

fn tenant(name: &str, limits: Limits) -> TenantPolicy {
    let keys = KEYS
        .iter()
        .filter(|(tenant, ..)| *tenant == name)
        .map(|(_, id, hash)| ((*id).into(), KeyPolicy::new(*hash)));
    let keys = keys.collect();
    TenantPolicy { limits, keys, ..TenantPolicy::new("main".into(), prices(3_000)) }
}

fn prices(default: i64) -> PriceList {
    let own = [(CaptchaType::Turnstile, Money::from_micros(2_000))];
    PriceList::resolve(Money::from_micros(default), &own.into())
}

fn account(threads: Threads) -> AccountPolicy {
    AccountPolicy {
        key_hash: None,
        threads,
        balance_precheck: true,
        low_balance_below: None,
        plan: None,
    }
}

fn slo() -> SloPolicy {
    let default = Slo {
        objective: 0.95,
        window: Duration::from_hours(24),
        deadline: DEADLINE,
        min_events: 50,
        warning_below: 0.5,
        critical_below: 0.1,
        latency: None,
    };
    SloPolicy {
        default,
        types: BTreeMap::new(),
        rules: Vec::new(),
        probe_every: Duration::from_secs(30),
    }
}
