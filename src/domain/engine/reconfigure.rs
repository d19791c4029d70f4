//! The engine's beginning and its changes of policy: state is kept, what was removed keeps its place.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;

use super::wake::CONFIRM_AFTER;
use super::{ACCOUNT_KEY_ID, Engine, Key, KeyPlace, Tenant, place_index};
use crate::domain::account::Account;
use crate::domain::breaker::Breaker;
use crate::domain::calendar::{Calendar, Period};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::{KeyHash, Name, SolveMap};
use crate::domain::journal::{CreditKind, CreditRecord, Restored, TaskRecord, TaskState, Write};
use crate::domain::money::Money;
use crate::domain::outcome::Outcome;
use crate::domain::policy::{
    AccountPolicy, Charge, KeyPolicy, Limits, Policy, PriceList, TenantPolicy, Threads,
};
use crate::domain::scope::Scope;
use crate::domain::slo::ErrorBudgets;
use crate::domain::solve::{Confirm, Form, Identity, MoneyState, PollMemory, Solve, Submission};
use crate::domain::time::{Mono, Now, Wall};

/// How soon after a restart the watcher looks at what was open before it.
const WATCH_RESTORED: Duration = Duration::from_secs(2);

/// More than anybody prepays, and far from where sums overflow: a million million dollars.
const WALLET_MAX: Money = Money::from_micros(1_000_000_000_000_000_000);

/// What became of a credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreditResult {
    /// The wallet has it, and the record is asked to.
    Credited,
    /// That cause was credited before; nothing changed.
    Repeated,
    /// There is no such tenant or key, or it was never prepaid; nothing changed.
    NoWallet,
    /// The balance would grow beyond [`WALLET_MAX`], up or down; nothing changed.
    TooMuch,
}

impl Engine {
    /// The engine as of `now`, with what the record gave back.
    pub fn new(policy: &Arc<Policy>, restored: Restored, now: Now) -> Self {
        let mut engine = Self {
            calendar: Calendar::new(policy.time_zone.clone(), now.wall),
            policy: policy.clone(),
            tenants: Vec::new(),
            tenant_places: BTreeMap::new(),
            keys: HashMap::default(),
            accounts: Vec::new(),
            account_places: BTreeMap::new(),
            solves: SolveMap::default(),
            tasks: HashMap::default(),
            next_solve: restored.next_solve,
            in_flight_by_type: [0; CaptchaType::ALL.len()],
            upstream: Breaker::default(),
            wakes: BinaryHeap::new(),
            answers: VecDeque::new(),
            answer_bytes: 0,
            outbox: Vec::new(),
            unfetched: Vec::new(),
            error_budgets: ErrorBudgets::new(&policy.slo),
            statuses_at: now.mono,
            status_changes: Vec::new(),
            credit_causes: restored.credit_causes.iter().cloned().collect(),
        };
        engine.place_policy(policy);
        engine.restore(restored, now);
        engine.open_wallets(now);
        engine
    }

    /// Puts a new policy in force. Usage, balances and open solves stay; what the new policy does not
    /// name any more is refused from here on.
    pub fn reconfigure(&mut self, policy: &Arc<Policy>, now: Now) {
        self.calendar.roll(now.wall);
        self.calendar.set_zone(policy.time_zone.clone(), now.wall);
        self.policy = policy.clone();
        self.error_budgets.reconfigure(&policy.slo, now);
        self.place_policy(policy);
        self.open_wallets(now);
    }

    /// Credits a wallet; the same `cause` again changes nothing. The record refuses it too.
    pub fn credit(&mut self, record: CreditRecord) -> CreditResult {
        if self.credit_causes.contains(&record.cause) {
            return CreditResult::Repeated;
        }
        let wallet = self.wallet_mut(&record.tenant, record.key_id.as_deref());
        let Some(credited) = wallet.and_then(|scope| scope.credited) else {
            return CreditResult::NoWallet;
        };
        let total = credited.micros().saturating_add(record.amount.micros());
        if total.abs() > WALLET_MAX.micros() {
            return CreditResult::TooMuch;
        }
        self.post(record);
        CreditResult::Credited
    }

    /// The balance of a wallet; `None` where there is none.
    pub fn balance_of(&mut self, tenant: &str, key_id: Option<&str>) -> Option<Money> {
        self.wallet_mut(tenant, key_id)?.balance()
    }

    fn post(&mut self, record: CreditRecord) {
        let Some(scope) = self.wallet_mut(&record.tenant, record.key_id.as_deref()) else { return };
        scope.credited = Some(scope.credited.unwrap_or_default() + record.amount);
        self.credit_causes.insert(record.cause.clone());
        self.outbox.push(Write::Credit(record));
    }

    fn wallet_mut(&mut self, tenant: &str, key_id: Option<&str>) -> Option<&mut Scope> {
        let place = self.tenant_places.get(tenant).copied()?;
        let tenant = &mut self.tenants[place_index(place)];
        match key_id {
            None => Some(&mut tenant.scope),
            Some(id) => tenant.keys.iter_mut().find(|key| *key.id == *id).map(|key| &mut key.scope),
        }
    }

    fn place_policy(&mut self, policy: &Policy) {
        for (name, account) in &policy.accounts {
            let place = self.account_place(name);
            self.accounts[place_index(place)].reconfigure(account.clone());
        }
        for tenant in &mut self.tenants {
            tenant.removed = true;
            tenant.keys.iter_mut().for_each(|key| key.removed = true);
        }
        for place in self.keys.values_mut() {
            place.revoked_at = Wall::MIN;
        }
        for (name, tenant_policy) in &policy.tenants {
            self.place_tenant(name, tenant_policy);
        }
    }

    fn place_tenant(&mut self, name: &Name, policy: &Arc<TenantPolicy>) {
        let place = self.tenant_place(name, || policy.clone());
        let tenant = &mut self.tenants[place_index(place)];
        tenant.policy = policy.clone();
        tenant.removed = false;
        tenant.keys[0].removed = false;
        let new = policy.keys.len().saturating_sub(tenant.keys.len() - 1);
        tenant.keys.reserve_exact(new);
        for (id, key_policy) in &policy.keys {
            let key = key_place(tenant, id);
            let record = &mut tenant.keys[place_index(key)];
            record.policy = key_policy.clone();
            record.removed = false;
            for hash in key_policy.hashes() {
                let revoked_at = self.policy.revoked.get(&hash).copied().unwrap_or(Wall::MAX);
                self.keys.insert(hash, KeyPlace { tenant: place, key, revoked_at });
            }
        }
    }

    fn account_place(&mut self, name: &Name) -> u32 {
        if let Some(place) = self.account_places.get(name) {
            return *place;
        }
        let place = place_number(self.accounts.len());
        self.accounts.push(Account::new(name.clone(), unknown_account()));
        self.account_places.insert(name.clone(), place);
        place
    }

    fn tenant_place(&mut self, name: &Name, policy: impl FnOnce() -> Arc<TenantPolicy>) -> u32 {
        if let Some(place) = self.tenant_places.get(name) {
            return *place;
        }
        let place = place_number(self.tenants.len());
        let account_key = new_key(ACCOUNT_KEY_ID.into());
        self.tenants.push(Tenant {
            name: name.clone(),
            policy: policy(),
            scope: Scope::default(),
            keys: vec![account_key],
            removed: true,
        });
        self.tenant_places.insert(name.clone(), place);
        place
    }

    fn restore(&mut self, restored: Restored, now: Now) {
        let period = self.calendar.period();
        for charged in restored.charged {
            let totals = [charged.day_spent, charged.month_spent, charged.total_spent];
            let (tenant, key) = self.places(&charged.tenant, &charged.key_id);
            let tenant = &mut self.tenants[place_index(tenant)];
            tenant.scope.restore(period, charged.day_solves, totals);
            tenant.keys[place_index(key)].scope.restore(period, charged.day_solves, totals);
        }
        for later in restored.charged_later {
            let (tenant, key) = self.places(&later.tenant, &later.key_id);
            let tenant = &mut self.tenants[place_index(tenant)];
            for scope in [&mut tenant.scope, &mut tenant.keys[place_index(key)].scope] {
                scope.restore_later(period, Period::of(later.day), later.solves, later.spent);
            }
        }
        for wallet in restored.wallets {
            let (tenant, key) =
                self.places(&wallet.tenant, wallet.key_id.as_deref().unwrap_or(ACCOUNT_KEY_ID));
            let tenant = &mut self.tenants[place_index(tenant)];
            let scope = match wallet.key_id {
                Some(_) => &mut tenant.keys[place_index(key)].scope,
                None => &mut tenant.scope,
            };
            scope.credited = Some(scope.credited.unwrap_or_default() + wallet.amount);
        }
        self.error_budgets.restore(restored.sli, now);
        for task in restored.tasks {
            self.restore_task(task, now);
        }
    }

    fn restore_task(&mut self, task: TaskRecord, now: Now) {
        let (tenant, key) = self.places(&task.tenant, &task.key_id);
        let account = self.account_place(&task.account);
        let identity = Identity { tenant, key, account, holder: None };
        let age = now.wall.since(task.submitted_at);
        let submitted = Now { mono: before(now.mono, age), wall: task.submitted_at };
        let settled = task.state == TaskState::Settled;
        let ready = matches!(task.state, TaskState::Ready | TaskState::Offered);
        // What finished while nobody could ask is no time-out: the watcher asks first.
        let deadline = (submitted.mono + self.policy.slo.slo(task.captcha_type).deadline)
            .max(now.mono + CONFIRM_AFTER);
        let slot = !settled && !ready && task.verdict.is_none();
        let charge = self.tenants[place_index(tenant)].policy.charge;
        // Charged without a further delivery: it may have arrived, or need not arrive to be charged.
        let due_anyway = task.state == TaskState::Offered
            || (ready && (task.pingback || charge == Charge::Solved));
        let forget_after = if settled { Duration::from_mins(10) } else { self.policy.forget_after };
        let forget_from = if settled { now.mono } else { submitted.mono };
        let solve = Solve {
            submission: Submission {
                identity,
                captcha_type: task.captcha_type,
                form: Form::Text,
                source_ip: task.source_ip,
                page: task.page.map(Into::into),
                pingback: task.pingback,
            },
            price: task.price,
            submitted,
            deadline,
            task: Some(task.task_id.clone()),
            slot,
            freed_at: submitted.mono,
            verdict: task.verdict,
            money: match task.state {
                TaskState::Open => MoneyState::Held,
                TaskState::Ready | TaskState::Offered => MoneyState::Ready,
                TaskState::Settled => MoneyState::Settled,
            },
            unseen: false,
            confirm: due_anyway.then(|| Confirm {
                at: now.mono + CONFIRM_AFTER,
                delivered: task.state == TaskState::Offered || task.pingback,
            }),
            poll: PollMemory {
                under_way: false,
                offers: 0,
                back_at: None,
                asked_at: before(now.mono, super::poll::WATCH_IDLE),
                watch_at: now.mono + WATCH_RESTORED,
                answer: None,
                proxy_trouble: None,
            },
            uncollected: task.verdict == Some(Outcome::ProviderError),
            unwatched: self.policy.pass_through,
            wake_at: Mono(u64::MAX),
            forget_at: (forget_from + forget_after).max(now.mono + CONFIRM_AFTER * 2),
        };
        self.take_restored(identity, &solve);
        self.tasks.insert((account, task.task_id), task.solve);
        self.solves.insert(task.solve, Box::new(solve));
        self.schedule(task.solve);
    }

    fn take_restored(&mut self, identity: Identity, solve: &Solve) {
        let (slot, held, price) = (solve.slot, solve.money != MoneyState::Settled, solve.price);
        if slot {
            self.accounts[place_index(identity.account)].in_flight += 1;
            self.in_flight_by_type[solve.submission.captcha_type.index()] += 1;
        }
        for scope in self.scopes_mut(identity) {
            if slot {
                scope.occupy();
            }
            if held {
                scope.hold(price);
            }
        }
    }

    /// Places of a tenant and its key, made for those that the policy does not name any more.
    fn places(&mut self, tenant: &Name, key_id: &str) -> (u32, u32) {
        let place = self.tenant_place(tenant, removed_tenant);
        let key = key_place(&mut self.tenants[place_index(place)], &key_id.into());
        (place, key)
    }

    /// Credits the opening balance of every prepaid wallet that has none yet. What was charged before
    /// the wallet existed is none of its business, so an adjustment offsets it.
    fn open_wallets(&mut self, now: Now) {
        let mut records = Vec::new();
        for tenant in self.tenants.iter().filter(|tenant| !tenant.removed) {
            records.extend(opening(&tenant.name, None, &tenant.policy.limits, &tenant.scope, now));
            for key in tenant.keys.iter().filter(|key| !key.removed) {
                records.extend(opening(
                    &tenant.name,
                    Some(&key.id),
                    &key.policy.limits,
                    &key.scope,
                    now,
                ));
            }
        }
        for record in records {
            self.post(record);
        }
    }
}

fn opening(
    tenant: &Name,
    key_id: Option<&Name>,
    limits: &Limits,
    scope: &Scope,
    now: Now,
) -> Vec<CreditRecord> {
    let Some(prepaid) = limits.prepaid.filter(|_| scope.credited.is_none()) else {
        return Vec::new();
    };
    let wallet = key_id.map_or_else(|| tenant.to_string(), |key| format!("{tenant}/{key}"));
    let record = |kind, word: &str, amount, note: &str| CreditRecord {
        cause: format!("{word}:{wallet}"),
        kind,
        tenant: tenant.clone(),
        key_id: key_id.cloned(),
        amount,
        at: now.wall,
        note: note.to_owned(),
    };
    let note = "opening_balance of the config";
    let mut records = vec![record(CreditKind::Opening, "opening", prepaid.opening_balance, note)];
    if scope.spent != Money::ZERO {
        let note = "charges from before the wallet existed";
        records.push(record(CreditKind::Adjustment, "opening-offset", scope.spent, note));
    }
    records
}

fn key_place(tenant: &mut Tenant, id: &Name) -> u32 {
    let place = tenant.keys.iter().position(|key| key.id == *id).unwrap_or_else(|| {
        tenant.keys.push(new_key(id.clone()));
        tenant.keys.len() - 1
    });
    place_number(place)
}

fn new_key(id: Name) -> Key {
    let policy = KeyPolicy::new(KeyHash([0; 32]));
    Key {
        id,
        policy,
        scope: Scope::default(),
        removed: true,
        asked_threads_at: None,
        verdict: None,
    }
}

/// The policy of a tenant that only the record still knows: what it has open is settled, nothing new
/// is admitted since no key leads to it.
fn removed_tenant() -> Arc<TenantPolicy> {
    let free = PriceList::resolve(Money::ZERO, &BTreeMap::new());
    Arc::new(TenantPolicy::new("".into(), free))
}

fn unknown_account() -> AccountPolicy {
    AccountPolicy {
        key_hash: None,
        threads: Threads::Auto,
        balance_precheck: false,
        low_balance_below: None,
        plan: None,
    }
}

fn before(mono: Mono, age: Duration) -> Mono {
    Mono(mono.0.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
}

fn place_number(place: usize) -> u32 {
    let Ok(place) = u32::try_from(place) else {
        panic!("more than four billion tenants, keys or accounts")
    };
    place
}
