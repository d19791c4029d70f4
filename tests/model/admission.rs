//! What may be admitted, by the model's own count of the journal and of live solves.

use std::collections::BTreeMap;

use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::engine::Decision;
use solvegate::domain::ids::{KeyHash, Name, SolveId};
use solvegate::domain::journal::TaskState;
use solvegate::domain::money::Money;
use solvegate::domain::policy::{Limits, Overdraft, Rate};
use solvegate::domain::rejection::{Reason, Rejection};
use solvegate::domain::solve::{Form, Submission};
use solvegate::domain::time::Mono;

use crate::policy::THREADS_OF_MAIN;
use crate::world::{Live, World};

/// What a tenant, or one of its keys, has in use.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) in_flight: u32,
    pub(crate) open: u64,
    pub(crate) held: Money,
    pub(crate) day_solves: u64,
    pub(crate) day_spent: Money,
    pub(crate) month_spent: Money,
    pub(crate) spent: Money,
    pub(crate) credited: Option<Money>,
}

/// Token buckets of the scopes whose rate never changed, by tenant and key.
#[derive(Debug, Default)]
pub(crate) struct Buckets(BTreeMap<(Name, Name), (Mono, u64)>);

impl Buckets {
    pub(crate) fn forget_of(&mut self, tenant: &str) {
        self.0.retain(|(of, _), _| **of != *tenant);
    }

    /// Whether one more fits; takes it if it was admitted.
    fn holds(&mut self, scope: (Name, Name), rate: Rate, now: Mono, admitted: bool) -> bool {
        let token = 60_000_000_000_u64.div_ceil(u64::from(rate.per_minute));
        let full = token * u64::from(rate.burst);
        let (at, level) = self.0.entry(scope).or_insert((now, full));
        *level = level.saturating_add(now.0 - at.0).min(full);
        *at = now;
        let fits = *level >= token;
        if admitted {
            *level = level.saturating_sub(token);
        }
        fits
    }
}

impl World {
    pub(crate) fn submit(
        &mut self,
        (tenant, key, hash): (&str, &str, KeyHash),
        captcha_type: CaptchaType,
        pingback: bool,
    ) -> Option<SolveId> {
        let Some(identity) = self.identify(hash) else {
            assert_eq!(tenant, "fickle", "a key that never leaves the config was refused");
            return None;
        };
        let submission = Submission {
            identity,
            captcha_type,
            form: Form::Text,
            source_ip: None,
            page: None,
            pingback,
        };
        let before = self.engine.snapshot(self.now);
        let breached = self.breached(tenant, key, captcha_type);
        let free_threads = self.threads_of_main() < THREADS_OF_MAIN;

        let decision = self.engine.admit(submission, self.now);

        let policy = &self.policy.tenants[tenant];
        let enforced = policy.enforce;
        let rate = policy.keys[key].limits.rate.filter(|_| tenant == "strict");
        let admitted = matches!(decision, Decision::Admit(_));
        let in_rate = rate.is_none_or(|rate| {
            let scope = (tenant.into(), key.into());
            self.buckets.holds(scope, rate, self.now.mono, admitted)
        });
        match decision {
            Decision::Reject { rejection, .. } => {
                self.drain();
                assert_eq!(self.engine.snapshot(self.now), before, "a refusal changed a counter");
                check_rejection(&rejection, &breached, enforced);
                assert!(rejection.reason != Reason::Rate || rate.is_none() || !in_rate);
                None
            }
            Decision::Admit(admitted) => {
                if enforced {
                    assert_eq!(breached, [], "{tenant}/{key} admitted");
                    assert!(in_rate, "{tenant}/{key} admitted over its rate");
                    assert!(free_threads || &*admitted.account != "main");
                    assert_eq!(admitted.shadow, None);
                }
                let price = policy.prices.price(captcha_type);
                assert_eq!(admitted.price, price);
                let live = Live {
                    tenant: tenant.into(),
                    key: key.into(),
                    account: admitted.account,
                    price,
                    slot: true,
                    task: None,
                    pingback,
                };
                assert!(self.live.insert(admitted.solve, live).is_none(), "a solve id again");
                if tenant == "loose" {
                    self.loose_held = self.used("loose", None).held;
                }
                Some(admitted.solve)
            }
        }
    }

    fn threads_of_main(&self) -> u32 {
        let taken = self.live.values().filter(|live| live.slot && &*live.account == "main");
        u32::try_from(taken.count()).unwrap_or(u32::MAX)
    }

    /// Every limit that forbids one more, in the order of the contract.
    fn breached(&self, tenant: &str, key: &str, captcha_type: CaptchaType) -> Vec<Reason> {
        let policy = &self.policy.tenants[tenant];
        let price = policy.prices.price(captcha_type);
        let mut breached = Vec::new();
        for (limits, used) in [
            (&policy.limits, self.used(tenant, None)),
            (&policy.keys[key].limits, self.used(tenant, Some(key))),
        ] {
            breached.extend(used.breached(limits, captcha_type, price, policy.overdraft));
        }
        breached.sort_by_key(|reason| order(*reason));
        breached
    }

    /// Recounts the journal and the live solves of a tenant, or of one of its keys.
    pub(crate) fn used(&self, tenant: &str, key: Option<&str>) -> Used {
        let is_of = |of: &Name, id: &Name| **of == *tenant && key.is_none_or(|key| **id == *key);
        let mut used = Used::default();
        for (solve, live) in &self.live {
            if !is_of(&live.tenant, &live.key) {
                continue;
            }
            used.in_flight += u32::from(live.slot);
            let settled = |task: &TaskState| *task == TaskState::Settled;
            let state = self.record.tasks.get(solve).map(|task| task.state);
            if !state.as_ref().is_some_and(settled) {
                used.open += 1;
                used.held += live.price;
            }
        }
        for (settled, amount) in self.record.charged() {
            if !is_of(&settled.tenant, &settled.key_id) {
                continue;
            }
            used.spent += amount;
            if settled.day == self.today {
                used.day_solves += 1;
                used.day_spent += amount;
            }
            if settled.day.first_of_month() == self.today.first_of_month() {
                used.month_spent += amount;
            }
        }
        for credit in self.record.credits.values() {
            if *credit.tenant == *tenant && credit.key_id.as_deref() == key {
                used.credited = Some(used.credited.unwrap_or_default() + credit.amount);
            }
        }
        used
    }
}

impl Used {
    pub(crate) fn balance(&self) -> Option<Money> {
        self.credited.map(|credited| credited - self.spent)
    }

    fn breached(
        &self,
        limits: &Limits,
        captcha_type: CaptchaType,
        price: Money,
        overdraft: Overdraft,
    ) -> Vec<Reason> {
        let available = match overdraft {
            Overdraft::None => self.balance().unwrap_or_default() - self.held,
            Overdraft::InFlight => self.balance().unwrap_or_default(),
        };
        let over = |cap: Option<Money>, spent: Money| {
            cap.is_some_and(|cap| spent + self.held + price > cap)
        };
        let allowed = limits.allow_types.is_none_or(|types| {
            types.contains(captcha_type) || types.contains(captcha_type.family())
        });
        [
            (Reason::TypeDenied, !allowed),
            (Reason::InFlight, limits.in_flight_max.is_some_and(|max| self.in_flight >= max)),
            (
                Reason::DailyLimit,
                limits.daily_limit.is_some_and(|max| self.day_solves + self.open >= max),
            ),
            (
                Reason::SpendCap,
                over(limits.daily_spend_cap, self.day_spent)
                    || over(limits.monthly_spend_cap, self.month_spent),
            ),
            (Reason::InsufficientBalance, limits.prepaid.is_some() && available < price),
        ]
        .into_iter()
        .filter_map(|(reason, breached)| breached.then_some(reason))
        .collect()
    }
}

/// A refusal names the first limit in the way, and there is one.
fn check_rejection(rejection: &Rejection, breached: &[Reason], enforced: bool) {
    let reason = rejection.reason;
    let of_account = rejection.text.contains("provider");
    let first = breached.first().filter(|_| enforced).map_or(u8::MAX, |first| order(*first));
    match reason {
        Reason::InFlight if of_account => assert!(order(reason) <= first),
        Reason::TypeDenied
        | Reason::InFlight
        | Reason::DailyLimit
        | Reason::SpendCap
        | Reason::InsufficientBalance => {
            assert!(enforced, "refused in shadow mode: {rejection:?}");
            assert_eq!(breached.first(), Some(&reason));
        }
        Reason::Rate => assert!(enforced && order(reason) < first),
        Reason::AccountUnavailable | Reason::UpstreamUnavailable => assert_eq!(first, u8::MAX),
        Reason::UnknownKey
        | Reason::RevokedKey
        | Reason::ExpiredKey
        | Reason::IpDenied
        | Reason::ErrorBudget
        | Reason::StoreUnavailable
        | Reason::Malformed
        | Reason::TooLarge => panic!("no ground for {reason:?}"),
    }
}

fn order(reason: Reason) -> u8 {
    let order = [
        Reason::TypeDenied,
        Reason::InFlight,
        Reason::Rate,
        Reason::DailyLimit,
        Reason::SpendCap,
        Reason::InsufficientBalance,
    ];
    let place = order.iter().position(|known| *known == reason).unwrap_or(order.len());
    u8::try_from(place).unwrap_or(u8::MAX)
}
