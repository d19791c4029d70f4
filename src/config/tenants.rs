//! Accounts, tenants and their keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::finding::Place;
use super::limits::{AMOUNT_MAX, Prices, is_bounded, limits};
use super::scalar::{self, Read, boolean, integer, money, one_of};
use super::section::Section;
use super::yaml::Scalar;
use super::{TenantDefaults, words};
use crate::domain::engine::ACCOUNT_KEY_ID;
use crate::domain::ids::{KeyHash, Name};
use crate::domain::money::Money;
use crate::domain::policy::{
    AccountPolicy, Charge, KeyPolicy, Limits, Overdraft, Plan, PriceList, Priority, RejectionForm,
    TenantPolicy, Threads,
};
use crate::wire::secret::Secret;

/// The price of a solve where `prices:` names none.
const PRICE_DEFAULT: Money = Money::from_micros(3_000);
const THREADS_MAX: u32 = 100_000;

/// Every secret that admits somebody, by its hash: no two may be the same.
#[derive(Debug, Default)]
pub(super) struct KeysSeen(BTreeMap<KeyHash, Place>);

impl KeysSeen {
    /// Takes a key for `section.key`, or reports who has it already.
    pub(super) fn claim(&mut self, hash: KeyHash, section: &Section<'_>, key: &str) {
        let place = section.place_of(key);
        if let Some(other) = self.0.get(&hash) {
            let line = other.line.map_or_else(String::new, |line| format!(" (line {line})"));
            let text = format!("is the same secret as {}{line}; give each its own", other.path);
            section.fault_at(key, text);
        } else {
            self.0.insert(hash, place);
        }
    }
}

/// `accounts:`.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// Every name that is configured, also of a faulty account.
    names: BTreeMap<Name, Place>,
    pub(super) keys: BTreeMap<Name, Secret>,
    policies: BTreeMap<Name, AccountPolicy>,
}

impl Accounts {
    /// What the policy works with: without tenants also the account `default`, which stands for
    /// whatever keys the callers bring.
    pub(super) fn or_pass_through(
        self,
        tenants: &BTreeMap<Name, Arc<TenantPolicy>>,
    ) -> BTreeMap<Name, AccountPolicy> {
        let mut policies = self.policies;
        if tenants.is_empty() {
            policies.entry("default".into()).or_insert(AccountPolicy {
                key_hash: None,
                threads: Threads::Auto,
                balance_precheck: false,
                low_balance_below: None,
                plan: None,
            });
        }
        policies
    }
}

pub(super) fn accounts(root: &mut Section<'_>, seen: &mut KeysSeen) -> Accounts {
    let mut accounts = Accounts::default();
    for (name, value) in root.named("accounts") {
        let mut section = value.section();
        accounts.names.insert(name.clone(), section.place.clone());
        let hint = "write the account's key, such as \"${CAPTCHAAI_KEY}\"";
        let key = section.required("key", scalar::token, hint);
        let policy = AccountPolicy {
            key_hash: key.as_ref().map(Secret::sha256),
            threads: section.read_or("threads", threads, Threads::Auto),
            balance_precheck: section.read_or("balance_precheck", boolean, true),
            low_balance_below: section.read("low_balance_below", money(AMOUNT_MAX)),
            plan: section.optional_section("plan").and_then(plan),
        };
        if let Some(key) = key {
            seen.claim(key.sha256(), &section, "key");
            if key.expose().len() != 32 {
                section.warn_at("key", "is not 32 characters long, as CaptchaAI's keys are");
            }
            accounts.keys.insert(name.clone(), key);
            accounts.policies.insert(name, policy);
        }
        section.finish();
    }
    accounts
}

fn threads(scalar: &Scalar) -> Read<Threads> {
    if scalar.text == "auto" {
        return Ok(Threads::Auto);
    }
    let number = integer(1..=THREADS_MAX)(scalar);
    number.map(Threads::Fixed).map_err(|text| format!("{text}; or write auto"))
}

fn plan(mut section: Section<'_>) -> Option<Plan> {
    let monthly_cost =
        section.required("monthly_cost", money(AMOUNT_MAX), "name the dollars a month");
    let threads = section.required("threads", integer(1..=THREADS_MAX), "name the threads bought");
    section.finish();
    Some(Plan { monthly_cost: monthly_cost?, threads: threads? })
}

/// What holds for every tenant that says nothing else.
pub(super) fn defaults(root: &mut Section<'_>) -> TenantDefaults {
    let given = Prices::read(root);
    let named = root.has("tenants");
    if named && given.default.is_none() {
        let text = format!("has no default: every other type is charged {PRICE_DEFAULT}");
        root.warn_at("prices", text);
    }
    let built_in = TenantDefaults {
        rejections: RejectionForm::Provider,
        enforce: true,
        charge: Charge::Delivered,
        overdraft: Overdraft::None,
        prices: PriceList::resolve(given.default.unwrap_or(PRICE_DEFAULT), &given.own),
    };
    overridden(root, &built_in)
}

/// The keys that stand both at the top and at a tenant.
fn overridden(section: &mut Section<'_>, base: &TenantDefaults) -> TenantDefaults {
    TenantDefaults {
        rejections: section.read_or("rejections", one_of(words::REJECTIONS), base.rejections),
        enforce: section.read_or("enforce", boolean, base.enforce),
        charge: section.read_or("charge", one_of(words::CHARGES), base.charge),
        overdraft: section.read_or("overdraft", one_of(words::OVERDRAFTS), base.overdraft),
        prices: base.prices.clone(),
    }
}

pub(super) fn tenants(
    root: &mut Section<'_>,
    accounts: &Accounts,
    defaults: &TenantDefaults,
    zone: &TimeZone,
    seen: &mut KeysSeen,
) -> BTreeMap<Name, Arc<TenantPolicy>> {
    let mut tenants = BTreeMap::new();
    for (name, value) in root.named("tenants") {
        let mut section = value.section();
        let account = account(&mut section, accounts);
        let priority = section.read_or("priority", one_of(words::PRIORITIES), Priority::Normal);
        let own = overridden(&mut section, defaults);
        let prices = Prices::read(&mut section);
        let limits = limits(&mut section);
        let accept_account_key = section.read_or("accept_account_key", boolean, false);
        let keys = keys(&mut section, priority, zone, seen);
        warn_of_gaps(&section, &limits, &keys, accept_account_key);
        section.finish();
        if let Some(account) = account {
            let tenant = TenantPolicy {
                account,
                limits,
                priority,
                enforce: own.enforce,
                rejections: own.rejections,
                charge: own.charge,
                overdraft: own.overdraft,
                accept_account_key,
                prices: prices.over(&defaults.prices),
                keys,
            };
            tenants.insert(name, Arc::new(tenant));
        }
    }
    warn_of_idle_accounts(root, accounts, &tenants);
    tenants
}

/// The tenants; without any, the one that stands for all callers, without limits.
pub(super) fn or_pass_through(
    mut tenants: BTreeMap<Name, Arc<TenantPolicy>>,
    defaults: &TenantDefaults,
) -> BTreeMap<Name, Arc<TenantPolicy>> {
    if tenants.is_empty() {
        let anybody = TenantPolicy {
            enforce: defaults.enforce,
            rejections: defaults.rejections,
            charge: defaults.charge,
            overdraft: defaults.overdraft,
            ..TenantPolicy::new("default".into(), defaults.prices.clone())
        };
        tenants.insert("default".into(), Arc::new(anybody));
    }
    tenants
}

/// The account that a tenant names, or the only one there is.
fn account(section: &mut Section<'_>, accounts: &Accounts) -> Option<Name> {
    let known = || accounts.names.keys().map(|name| &**name).collect::<Vec<_>>().join(", ");
    if accounts.names.is_empty() {
        section.value("account");
        section.fault("needs an account; add accounts: { main: { key: \"${CAPTCHAAI_KEY}\" } }");
        return None;
    }
    let account = section.read("account", |scalar| {
        let named = accounts.names.get_key_value(scalar.text.as_str());
        named
            .map(|(name, _)| name.clone())
            .ok_or_else(|| format!("must be the name of an account; configured: {}", known()))
    });
    if section.has("account") {
        return account;
    }
    if accounts.names.len() > 1 {
        section.fault(format!("must name its account, one of {}", known()));
    }
    accounts.names.keys().next().cloned()
}

/// Why a key has no such id.
pub(super) const KEY_ID_TAKEN: &str =
    "cannot be called account_key, which stands for the account's real key; give it another id";

fn keys(
    tenant: &mut Section<'_>,
    priority: Priority,
    zone: &TimeZone,
    seen: &mut KeysSeen,
) -> BTreeMap<Name, KeyPolicy> {
    let mut keys = BTreeMap::new();
    for (name, value) in tenant.named("keys") {
        if &*name == ACCOUNT_KEY_ID {
            value.fault(KEY_ID_TAKEN);
        }
        let mut section = value.section();
        let hash = key_hash(&mut section, seen);
        let settings = key_settings(section, hash.unwrap_or(KeyHash([0; 32])), priority, zone);
        if hash.is_some() {
            keys.insert(name, settings);
        }
    }
    keys
}

/// What holds for a key, whatever its secret is.
pub(super) fn key_settings(
    mut section: Section<'_>,
    hash: KeyHash,
    priority: Priority,
    zone: &TimeZone,
) -> KeyPolicy {
    let policy = KeyPolicy {
        hash,
        rerolls: Vec::new(),
        limits: limits(&mut section),
        priority: section.read_or("priority", one_of(words::PRIORITIES), priority),
        allow_from: section
            .filled_list("allow_from", scalar::ip_net, "a network; leave it out to allow any")
            .unwrap_or_default(),
        expires: section.read("expires", scalar::instant(zone)),
    };
    section.finish();
    policy
}

fn key_hash(section: &mut Section<'_>, seen: &mut KeysSeen) -> Option<KeyHash> {
    let key = section.read("key", scalar::tenant_key);
    let sha256 = section.read("sha256", scalar::sha256);
    match (section.has("key"), section.has("sha256")) {
        (true, true) => {
            section.fault_at("sha256", "must not stand beside key; keep one of the two");
        }
        (false, false) => {
            section.fault("must have key (32 letters or digits) or sha256 (its hash)");
        }
        (true, false) | (false, true) => {}
    }
    let (name, hash) = match key {
        Some(hash) => ("key", hash),
        None => ("sha256", sha256?),
    };
    seen.claim(hash, section, name);
    Some(hash)
}

fn warn_of_gaps(
    section: &Section<'_>,
    limits: &Limits,
    keys: &BTreeMap<Name, KeyPolicy>,
    accept_account_key: bool,
) {
    let place = &section.place;
    let loose = keys.is_empty() || keys.values().any(|key| !is_bounded(&key.limits));
    if !is_bounded(limits) && loose {
        let text = "has no rate, daily limit, concurrency, spend cap or prepaid balance: \
                    nothing bounds what it spends";
        section.report.warn(place, text);
    }
    if keys.is_empty() && !accept_account_key {
        let text = "has no key and no accept_account_key: \
                    nobody can use it until `solvegate key new` makes one";
        section.report.warn(place, text);
    }
}

fn warn_of_idle_accounts(
    root: &Section<'_>,
    accounts: &Accounts,
    tenants: &BTreeMap<Name, Arc<TenantPolicy>>,
) {
    if tenants.is_empty() {
        if !accounts.names.is_empty() {
            let text = "are set without tenants: every caller's own key is passed through";
            root.warn_at("accounts", text);
        }
        return;
    }
    for (name, place) in &accounts.names {
        if !tenants.values().any(|tenant| tenant.account == *name) {
            root.report.warn(place, "is the account of no tenant");
        }
    }
}
