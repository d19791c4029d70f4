//! The config as it is in force: every default spelled out, secrets masked.

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::scalar::{MASK, shown_duration};
use super::words::{self, word};
use super::{Config, Notify};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::money::Money;
use crate::domain::policy::{
    AccountPolicy, KeyPolicy, Limits, PolicyAction, PolicyCondition, PolicyRule, PriceList, Slo,
    TenantPolicy, Threads,
};

/// The effective config as YAML. It can be read again but for the masked secrets; amounts are quoted,
/// so that no reader takes them for floats.
pub fn effective(config: &Config) -> String {
    match serde_yaml::to_string(&view(config)) {
        Ok(yaml) => yaml,
        Err(error) => unreachable!("plain values can always be written as YAML: {error}"),
    }
}

/// The same as a tree, for the admin API.
pub fn view(config: &Config) -> Value {
    let policy = &config.policy;
    let upstream = &config.upstream;
    let defaults = &config.defaults;
    json!({
        "listen": config.listen,
        "tls": config.tls.as_ref().map(|tls| json!({
            "listen": tls.listen,
            "cert": tls.cert.display().to_string(),
            "key": tls.key.display().to_string(),
        })),
        "admin": {
            "listen": config.admin.listen,
            "token": config.admin.token.as_ref().map(|_| MASK),
        },
        "upstream": {
            "url": upstream.url.to_string(),
            "connect_timeout": shown_duration(upstream.connect_timeout),
            "submit_timeout": shown_duration(upstream.submit_timeout),
            "poll_timeout": shown_duration(upstream.poll_timeout),
            "poll_spacing": shown_duration(policy.poll_spacing),
            "forget_after": shown_duration(policy.forget_after),
            "hold_polls": shown_duration(upstream.hold_polls),
        },
        "accounts": config.account_keys.keys()
            .filter_map(|name| Some((name.to_string(), account(policy.accounts.get(name)?))))
            .collect::<Map<_, _>>(),
        "prices": prices(&defaults.prices),
        "timezone": policy.time_zone.iana_name(),
        "rejections": word(words::REJECTIONS, &defaults.rejections),
        "enforce": defaults.enforce,
        "charge": word(words::CHARGES, &defaults.charge),
        "overdraft": word(words::OVERDRAFTS, &defaults.overdraft),
        "trusted_proxies": networks(&config.trusted_proxies),
        "tenants": tenants(config),
        "slo": slo(config),
        "error_classes": policy.error_classes.iter()
            .map(|(code, outcome)| (code.clone(), json!(outcome.label())))
            .collect::<Map<_, _>>(),
        "notify": config.notify.iter().map(notify).collect::<Vec<_>>(),
        "state": {
            "path": config.state.path.display().to_string(),
            "durability": word(words::DURABILITIES, &config.state.durability),
            "keep_solves": shown_duration(config.state.keep_solves),
        },
        "log": {
            "format": word(words::LOG_FORMATS, &config.log.format),
            "urls": word(words::LOG_URLS, &config.log.urls),
        },
        "shutdown_grace": shown_duration(config.shutdown_grace),
    })
}

fn account(account: &AccountPolicy) -> Value {
    json!({
        "key": MASK,
        "threads": match account.threads {
            Threads::Auto => json!("auto"),
            Threads::Fixed(threads) => json!(threads),
        },
        "balance_precheck": account.balance_precheck,
        "low_balance_below": amount(account.low_balance_below),
        "plan": account.plan.map(|plan| json!({
            "monthly_cost": plan.monthly_cost.to_string(),
            "threads": plan.threads,
        })),
    })
}

/// The tenants; none in pass-through, where the only one is not the operator's.
fn tenants(config: &Config) -> Map<String, Value> {
    if config.policy.pass_through {
        return Map::new();
    }
    let tenants = config.policy.tenants.iter();
    tenants.map(|(name, policy)| (name.to_string(), tenant(policy))).collect()
}

fn tenant(tenant: &TenantPolicy) -> Value {
    let mut shown = json!({
        "account": *tenant.account,
        "priority": word(words::PRIORITIES, &tenant.priority),
        "rejections": word(words::REJECTIONS, &tenant.rejections),
        "enforce": tenant.enforce,
        "charge": word(words::CHARGES, &tenant.charge),
        "overdraft": word(words::OVERDRAFTS, &tenant.overdraft),
        "accept_account_key": tenant.accept_account_key,
        "prices": prices(&tenant.prices),
    });
    add_limits(&mut shown, &tenant.limits);
    let keys = tenant.keys.iter().map(|(name, policy)| (name.to_string(), key(policy)));
    shown["keys"] = keys.collect::<Map<_, _>>().into();
    shown
}

/// A key's settings without its secret, for the admin API.
pub fn key_view(policy: &KeyPolicy) -> Value {
    let mut shown = key(policy);
    if let Some(settings) = shown.as_object_mut() {
        settings.remove("sha256");
    }
    shown
}

fn key(key: &KeyPolicy) -> Value {
    let mut shown = json!({
        "sha256": hex::encode(key.hash.0),
        "priority": word(words::PRIORITIES, &key.priority),
        // An empty list is refused when read, lest it be taken for "from nowhere".
        "allow_from": (!key.allow_from.is_empty()).then(|| networks(&key.allow_from)),
        "expires": key.expires.and_then(|at| Timestamp::from_millisecond(at.0).ok())
            .map(|at| at.to_string()),
    });
    add_limits(&mut shown, &key.limits);
    shown
}

fn add_limits(shown: &mut Value, limits: &Limits) {
    shown["rate_per_minute"] = limits.rate.map(|rate| rate.per_minute).into();
    shown["burst"] = limits.rate.map(|rate| rate.burst).into();
    shown["daily_limit"] = limits.daily_limit.into();
    shown["in_flight_max"] = limits.in_flight_max.into();
    shown["daily_spend_cap"] = amount(limits.daily_spend_cap);
    shown["monthly_spend_cap"] = amount(limits.monthly_spend_cap);
    shown["prepaid"] = limits
        .prepaid
        .map(|prepaid| {
            json!({
                "opening_balance": prepaid.opening_balance.to_string(),
                "low_balance_below": amount(prepaid.low_balance_below),
            })
        })
        .into();
    let labels =
        limits.allow_types.map(|types| types.iter().map(CaptchaType::label).collect::<Vec<_>>());
    shown["allow_types"] = labels.into();
}

/// The shortest `prices:` that resolves to this list: `default`, then what differs from it, then what
/// differs from its family.
fn prices(prices: &PriceList) -> Map<String, Value> {
    let default = prices.price(CaptchaType::Other);
    let mut shown = Map::from_iter([("default".to_owned(), json!(default.to_string()))]);
    for captcha_type in CaptchaType::ALL {
        let family = captcha_type.family();
        let inherited = if family == captcha_type { default } else { prices.price(family) };
        let price = prices.price(captcha_type);
        if price != inherited {
            shown.insert(captcha_type.label().to_owned(), json!(price.to_string()));
        }
    }
    shown
}

fn slo(config: &Config) -> Value {
    let slo = &config.policy.slo;
    let types = slo.types.iter();
    json!({
        "default": objective(&slo.default),
        "types": types.map(|(t, slo)| (t.label().to_owned(), objective(slo))).collect::<Map<_, _>>(),
        "policy": slo.rules.iter().map(rule).collect::<Vec<_>>(),
        "probe_every": shown_duration(slo.probe_every),
    })
}

fn objective(slo: &Slo) -> Value {
    json!({
        "objective": slo.objective,
        "window": shown_duration(slo.window),
        "deadline": shown_duration(slo.deadline),
        "min_events": slo.min_events,
        "warning_below": slo.warning_below,
        "critical_below": slo.critical_below,
        "latency": slo.latency.map(|latency| json!({
            "threshold": shown_duration(latency.threshold),
            "objective": latency.objective,
        })),
    })
}

fn rule(rule: &PolicyRule) -> Value {
    json!({
        "when": match rule.when {
            PolicyCondition::Status(status) => json!({ "status": word(words::STATUSES, &status) }),
            PolicyCondition::BurnRateAbove { factor, over } => {
                json!({ "burn_rate_above": factor, "over": shown_duration(over) })
            }
        },
        "action": match rule.action {
            PolicyAction::Pause => json!("pause"),
            PolicyAction::PauseNonCritical => json!("pause_non_critical"),
            PolicyAction::Throttle(share) => json!({ "throttle": share }),
        },
    })
}

fn notify(notify: &Notify) -> Value {
    let events: Vec<_> =
        notify.events.iter().map(|event| word(words::NOTIFY_EVENTS, event)).collect();
    json!({
        "url": notify.url.masked(),
        "format": word(words::NOTIFY_FORMATS, &notify.format),
        "events": events,
        "cooldown": shown_duration(notify.cooldown),
    })
}

fn networks(networks: &[IpNet]) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}

fn amount(money: Option<Money>) -> Value {
    money.map(|money| money.to_string()).into()
}
