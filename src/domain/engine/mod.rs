//! The one state that every decision reads and changes: tenants, keys, accounts and open solves.
//!
//! Each verb takes `now`, decides on `&self` and commits once. What must be written down gathers in
//! an outbox that the gate empties after each verb, in order.

mod admit;
mod identify;
mod poll;
mod reconfigure;
mod settle;
mod snapshot;
mod wake;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use foldhash::HashMap;

use super::account::{Account, AccountReport};
use super::breaker::Breaker;
use super::calendar::Calendar;
use super::captcha_type::CaptchaType;
use super::ids::{KeyHash, Name, SolveId, SolveMap, TaskId};
use super::journal::Write;
use super::policy::{KeyPolicy, Policy, TenantPolicy};
use super::rejection::Verdict;
use super::scope::Scope;
use super::slo::{ErrorBudgets, StatusChange};
use super::solve::{Identity, Solve};
use super::time::{Mono, Now, Wall};

pub use admit::{Admitted, Decision};
pub use identify::Credential;
pub use poll::{AnswerTo, Asker, PollDecision, PollResult};
pub use reconfigure::CreditResult;
pub use settle::{BindResult, SYNC_TASK};
pub use snapshot::{AccountView, KeyWallet, Snapshot, TenantView};
pub use wake::Due;

/// Every decision's state.
#[derive(Debug)]
pub struct Engine {
    policy: Arc<Policy>,
    calendar: Calendar,
    tenants: Vec<Tenant>,
    tenant_places: BTreeMap<Name, u32>,
    // Nobody chooses what these maps hold: hashes of keys, ids of the provider's, numbers of our own. So
    // they need no hash that withstands chosen keys.
    keys: HashMap<KeyHash, KeyPlace>,
    accounts: Vec<Account>,
    account_places: BTreeMap<Name, u32>,
    /// Boxed: a table of hundreds of thousands that doubles moves 16 bytes of each under the lock.
    solves: SolveMap<Box<Solve>>,
    tasks: HashMap<(u32, TaskId), SolveId>,
    next_solve: u64,
    in_flight_by_type: [u32; CaptchaType::ALL.len()],
    upstream: Breaker,
    wakes: BinaryHeap<Reverse<(Mono, SolveId)>>,
    /// Solves whose terminal answer is in memory, oldest first, and its size.
    answers: VecDeque<SolveId>,
    answer_bytes: usize,
    outbox: Vec<Write>,
    unfetched: Vec<CaptchaType>,
    error_budgets: ErrorBudgets,
    statuses_at: Mono,
    status_changes: Vec<StatusChange>,
    /// Causes of credits, each good for one.
    credit_causes: BTreeSet<String>,
}

#[derive(Debug)]
struct Tenant {
    name: Name,
    policy: Arc<TenantPolicy>,
    scope: Scope,
    /// At [`ACCOUNT_KEY_PLACE`] the account's real key under `accept_account_key` (and any key in
    /// pass-through).
    keys: Vec<Key>,
    removed: bool,
}

#[derive(Debug)]
struct Key {
    id: Name,
    policy: KeyPolicy,
    scope: Scope,
    removed: bool,
    /// The client was last seen asking `threadsinfo`, as the official SDK does.
    asked_threads_at: Option<Mono>,
    /// What `threadsinfo` must say until then.
    verdict: Option<(Verdict, Mono)>,
}

#[derive(Debug, Clone, Copy)]
struct KeyPlace {
    tenant: u32,
    key: u32,
    /// Refused from then on.
    revoked_at: Wall,
}

/// The id of the pseudo key for traffic that keeps the account's real key.
pub const ACCOUNT_KEY_ID: &str = "account_key";

/// The place of that pseudo key among a tenant's keys.
const ACCOUNT_KEY_PLACE: u32 = 0;

/// The tenant, and the account, of pass-through.
pub const DEFAULT_TENANT: &str = "default";

impl Engine {
    /// The policy in force.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Whether a key of that account is asked about in the background now.
    pub fn may_ask(&self, account: &str, now: Now) -> bool {
        self.account_places
            .get(account)
            .is_some_and(|place| self.accounts[place_index(*place)].may_ask(now.mono))
    }

    /// Takes a turn with that account's key, if it may be asked about now.
    pub fn try_key(&mut self, account: &str, now: Now) -> bool {
        let may_ask = self.may_ask(account, now);
        if let Some(place) = self.account_places.get(account) {
            self.accounts[place_index(*place)].try_key(now.mono);
        }
        may_ask
    }

    /// Solves of ours that occupy a thread of that account.
    pub fn account_in_flight(&self, account: &str) -> u32 {
        self.account_places
            .get(account)
            .map_or(0, |place| self.accounts[place_index(*place)].in_flight)
    }

    /// Notes what the provider said of an account.
    pub fn observe_account(&mut self, account: &str, report: AccountReport, now: Now) {
        if let Some(place) = self.account_places.get(account) {
            self.accounts[place_index(*place)].observe(report, now.mono, now.wall);
        }
    }

    /// Notes that the provider gave a readable answer, or none.
    pub fn observe_upstream(&mut self, reachable: bool, now: Now) {
        if reachable {
            self.upstream.succeeded();
        } else {
            self.upstream.failed(now.mono);
        }
    }

    /// Whether requests to the provider are held back.
    pub fn upstream_open(&self) -> bool {
        self.upstream.is_open()
    }

    /// What must be written down since the last call, in order.
    pub fn drain_outbox(&mut self) -> std::vec::Drain<'_, Write> {
        self.outbox.drain(..)
    }

    /// Solves that were forgotten since the last call although the provider had an answer.
    pub fn drain_unfetched(&mut self) -> std::vec::Drain<'_, CaptchaType> {
        self.unfetched.drain(..)
    }

    /// Error budgets whose status changed since the last call.
    pub fn drain_status_changes(&mut self) -> std::vec::Drain<'_, StatusChange> {
        self.status_changes.drain(..)
    }

    /// The tenant's configured name.
    pub fn tenant_name(&self, identity: Identity) -> &Name {
        &self.tenant(identity).name
    }

    /// The id of the key.
    pub fn key_id(&self, identity: Identity) -> &Name {
        &self.key(identity).id
    }

    /// The tenant's policy.
    pub fn tenant_policy(&self, identity: Identity) -> &TenantPolicy {
        &self.tenant(identity).policy
    }

    /// The name of the account that the tenant's traffic goes to.
    pub fn account_name(&self, identity: Identity) -> &Name {
        &self.accounts[place_index(identity.account)].name
    }

    fn tenant(&self, identity: Identity) -> &Tenant {
        &self.tenants[place_index(identity.tenant)]
    }

    fn key(&self, identity: Identity) -> &Key {
        &self.tenant(identity).keys[place_index(identity.key)]
    }

    fn key_mut(&mut self, identity: Identity) -> &mut Key {
        &mut self.tenants[place_index(identity.tenant)].keys[place_index(identity.key)]
    }

    /// Both scopes of an identity, to change what they hold.
    fn scopes_mut(&mut self, identity: Identity) -> [&mut Scope; 2] {
        let tenant = &mut self.tenants[place_index(identity.tenant)];
        [&mut tenant.scope, &mut tenant.keys[place_index(identity.key)].scope]
    }
}

const fn place_index(place: u32) -> usize {
    place as usize
}
