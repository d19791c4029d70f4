//! What the engine promises, one sentence a test; here the two tenants that all of them use.

mod accounts;
mod admission;
mod barrier;
mod delivery;
mod error_budget;
mod identity;
mod polls;
mod prepaid;
mod reload;
mod restart;
mod watcher;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::{AnswerTo, Asker, BindResult, Credential, Decision, Engine, PollDecision, PollResult};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::{KeyHash, SolveId, TaskId};
use crate::domain::journal::{Restored, SettleRecord, SolveRecord, Write};
use crate::domain::money::Money;
use crate::domain::outcome::Outcome;
use crate::domain::policy::{
    AccountPolicy, Charge, KeyPolicy, Limits, Overdraft, Policy, Prepaid, PriceList, Slo,
    SloPolicy, TenantPolicy, Threads,
};
use crate::domain::rejection::Rejection;
use crate::domain::solve::{Answer, Form, Identity, Submission};
use crate::domain::time::{Mono, Now, Wall};

/// 2026-11-21, noon, UTC.
const START: Now = Now { mono: Mono(1_000_000_000_000_000), wall: Wall(1_795_262_400_000) };
const PRICE: Money = Money::from_micros(3_000);
const DEADLINE: Duration = Duration::from_mins(3);
const FORGET: Duration = Duration::from_hours(1);

const PROD: KeyHash = KeyHash([1; 32]);
const BATCH: KeyHash = KeyHash([2; 32]);
const BETA: KeyHash = KeyHash([3; 32]);
const REAL: KeyHash = KeyHash([9; 32]);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn usd(text: &str) -> Money {
    text.parse().unwrap()
}

fn prices(default: Money) -> PriceList {
    PriceList::resolve(default, &BTreeMap::new())
}

fn prepaid(opening: &str) -> Prepaid {
    Prepaid { opening_balance: usd(opening), low_balance_below: None }
}

fn tenant_policy(keys: &[(&str, KeyHash)]) -> TenantPolicy {
    let keys = keys.iter().map(|(id, hash)| ((*id).into(), KeyPolicy::new(*hash)));
    TenantPolicy { keys: keys.collect(), ..TenantPolicy::new("main".into(), prices(PRICE)) }
}

fn account_policy() -> AccountPolicy {
    AccountPolicy {
        key_hash: Some(REAL),
        threads: Threads::Auto,
        balance_precheck: true,
        low_balance_below: None,
        plan: None,
    }
}

/// Tenant `acme` with the keys `prod` and `batch`, tenant `beta` with `only`; accounts `main` and
/// `spare`. No limits.
fn policy() -> Policy {
    let slo = Slo {
        objective: 0.95,
        window: Duration::from_hours(24),
        deadline: DEADLINE,
        min_events: 50,
        warning_below: 0.5,
        critical_below: 0.1,
        latency: None,
    };
    Policy {
        accounts: ["main", "spare"].map(|name| (name.into(), account_policy())).into(),
        tenants: [
            ("acme".into(), Arc::new(tenant_policy(&[("prod", PROD), ("batch", BATCH)]))),
            ("beta".into(), Arc::new(tenant_policy(&[("only", BETA)]))),
        ]
        .into(),
        pass_through: false,
        slo: SloPolicy {
            default: slo,
            types: BTreeMap::new(),
            rules: Vec::new(),
            probe_every: secs(30),
        },
        time_zone: TimeZone::UTC,
        poll_spacing: secs(1),
        forget_after: FORGET,
        error_classes: BTreeMap::new(),
        revoked: BTreeMap::new(),
    }
}

/// No tenant configured: every key goes through.
fn pass_through() -> Policy {
    let mut policy = policy();
    policy.accounts =
        [("default".into(), AccountPolicy { key_hash: None, ..account_policy() })].into();
    let anybody = TenantPolicy { account: "default".into(), ..tenant_policy(&[]) };
    policy.tenants = [("default".into(), Arc::new(anybody))].into();
    policy.pass_through = true;
    policy
}

fn acme(policy: &mut Policy) -> &mut TenantPolicy {
    Arc::make_mut(policy.tenants.get_mut("acme").unwrap())
}

fn beta(policy: &mut Policy) -> &mut TenantPolicy {
    Arc::make_mut(policy.tenants.get_mut("beta").unwrap())
}

fn prod(policy: &mut Policy) -> &mut KeyPolicy {
    acme(policy).keys.get_mut("prod").unwrap()
}

fn changed(change: impl FnOnce(&mut Policy)) -> Arc<Policy> {
    let mut policy = policy();
    change(&mut policy);
    Arc::new(policy)
}

/// An engine as of [`START`], with an empty outbox.
fn engine(change: impl FnOnce(&mut Policy)) -> Engine {
    started(&changed(change), Restored::default(), START)
}

fn started(policy: &Arc<Policy>, restored: Restored, now: Now) -> Engine {
    let mut engine = Engine::new(policy, restored, now);
    writes(&mut engine);
    engine
}

fn writes(engine: &mut Engine) -> Vec<Write> {
    engine.drain_outbox().collect()
}

fn who(engine: &Engine, key: KeyHash) -> Identity {
    engine.identify(&Credential { key: Some(key), prefix: None, source_ip: None }, START).unwrap()
}

fn submission(identity: Identity) -> Submission {
    Submission {
        identity,
        captcha_type: CaptchaType::RecaptchaV2,
        form: Form::Text,
        source_ip: None,
        page: None,
        pingback: false,
    }
}

fn decide(engine: &mut Engine, key: KeyHash, now: Now) -> Decision {
    let identity = who(engine, key);
    engine.admit(submission(identity), now)
}

fn admit(engine: &mut Engine, key: KeyHash, now: Now) -> SolveId {
    match decide(engine, key, now) {
        Decision::Admit(admitted) => admitted.solve,
        Decision::Reject { rejection, .. } => panic!("refused: {rejection:?}"),
    }
}

fn refused(engine: &mut Engine, key: KeyHash, now: Now) -> Rejection {
    match decide(engine, key, now) {
        Decision::Reject { rejection, .. } => rejection,
        Decision::Admit(admitted) => panic!("admitted: {admitted:?}"),
    }
}

/// How many of `times` submissions at `now` are admitted.
fn admissions(engine: &mut Engine, key: KeyHash, times: u32, now: Now) -> u32 {
    (0..times).map(|_| u32::from(matches!(decide(engine, key, now), Decision::Admit(_)))).sum()
}

fn task(id: &str) -> TaskId {
    TaskId::new(id).unwrap()
}

fn bind(engine: &mut Engine, solve: SolveId, id: &str, now: Now) {
    assert_eq!(engine.bind(solve, &task(id), now), BindResult::Bound);
}

/// Admits for `acme/prod` and binds.
fn open(engine: &mut Engine, id: &str, now: Now) -> SolveId {
    open_with(engine, id, now, |_| ())
}

fn open_with(
    engine: &mut Engine,
    id: &str,
    now: Now,
    change: impl FnOnce(&mut Submission),
) -> SolveId {
    let mut submission = submission(who(engine, PROD));
    change(&mut submission);
    let Decision::Admit(admitted) = engine.admit(submission, now) else { panic!("refused") };
    bind(engine, admitted.solve, id, now);
    admitted.solve
}

fn answer(body: &str) -> Arc<Answer> {
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    Arc::new(Answer { form: Form::Text, status: 200, content_type: None, body })
}

fn solved() -> PollResult {
    PollResult::Solved(answer("OK|token"))
}

fn failed() -> PollResult {
    PollResult::Failed(
        answer("ERROR_CAPTCHA_UNSOLVABLE"),
        Outcome::Unsolvable,
        "ERROR_CAPTCHA_UNSOLVABLE".to_owned(),
    )
}

fn poll(engine: &mut Engine, key: KeyHash, id: &str, now: Now) -> PollDecision {
    let identity = who(engine, key);
    engine.poll(identity, &task(id), Form::Text, now)
}

/// `acme/prod` asks, and the provider says `result`.
fn ask(engine: &mut Engine, id: &str, result: PollResult, now: Now) -> AnswerTo {
    let PollDecision::Forward { solve, .. } = poll(engine, PROD, id, now) else {
        panic!("not forwarded")
    };
    engine.polled(solve, Asker::Client, result, now)
}

/// The watcher's polls that are due at `now`, answered with `result`.
fn watch(engine: &mut Engine, result: &PollResult, now: Now) -> usize {
    let due = engine.expire(usize::MAX, now);
    for poll in &due {
        engine.polled(poll.solve, Asker::Watcher, result.clone(), now);
    }
    due.len()
}

const OFFERED: AnswerTo = AnswerTo::PassOn { offered: true };
const PASSED: AnswerTo = AnswerTo::PassOn { offered: false };

fn settlements(writes: &[Write]) -> Vec<&SettleRecord> {
    let mut found = Vec::new();
    for write in writes {
        if let Write::Settle(record) = write {
            found.push(record);
        }
    }
    found
}

fn verdicts(writes: &[Write]) -> Vec<&SolveRecord> {
    let mut found = Vec::new();
    for write in writes {
        if let Write::Verdict(record) = write {
            found.push(record);
        }
    }
    found
}

/// What each settlement charged.
fn charges(engine: &mut Engine) -> Vec<Option<Money>> {
    settlements(&writes(engine)).iter().map(|record| record.charged).collect()
}

/// Everything that a refusal must leave alone.
fn counters(engine: &Engine) -> String {
    let scopes: Vec<_> = engine
        .tenants
        .iter()
        .flat_map(|tenant| {
            std::iter::once(&tenant.scope).chain(tenant.keys.iter().map(|key| &key.scope))
        })
        .collect();
    let Engine { accounts, in_flight_by_type, solves, next_solve, upstream, outbox, .. } = engine;
    let open = solves.len();
    format!(
        "{scopes:?} {accounts:?} {in_flight_by_type:?} {open} {next_solve} {upstream:?} {outbox:?}"
    )
}

fn held(engine: &mut Engine, now: Now) -> Money {
    assert!(engine.holds_add_up());
    engine.snapshot(now).tenants[0].held
}

fn balance(engine: &mut Engine, now: Now) -> Money {
    engine.snapshot(now).tenants[0].balance.unwrap()
}
