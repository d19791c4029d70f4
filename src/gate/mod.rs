//! The one door to the core: the lock, the clock and the recording. No decision is made here.
//!
//! Every verb locks, asks the engine, empties its outbox into metrics and store in order, unlocks. The
//! lock is never held across an await.

mod refusals;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

pub use self::refusals::Refusee;
use crate::clock::Clock;
use crate::domain::account::AccountReport;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::engine::{
    AnswerTo, Asker, BindResult, Credential, CreditResult, Decision, Due, Engine, PollDecision,
    PollResult, SYNC_TASK, Snapshot,
};
use crate::domain::ids::{Name, SolveId, TaskId};
use crate::domain::journal::{CreditRecord, NotifiedRecord, Write};
use crate::domain::money::Money;
use crate::domain::outcome::Outcome;
use crate::domain::policy::{Policy, RejectionForm};
use crate::domain::recent::{KeptRejections, RecentRejections, Subject};
use crate::domain::rejection::{Reason, Rejection};
#[cfg(feature = "seeded-bugs")]
use crate::domain::seeded::{self, Bug};
use crate::domain::solve::{Answer, Form, Identity, Submission};
use crate::domain::time::Now;
use crate::record::metrics::{Metrics, StoreFigures};
use crate::record::store::{Committed, Record};

/// While the store is failing, a ready answer is handed out all the same after this long: the client
/// would lose what it paid for, while the charge waits in memory for the store.
const READY_WAIT: Duration = Duration::from_secs(2);
/// The least that is waited, and how often it is looked whether a slow store fails by now.
const READY_LOOK: Duration = Duration::from_millis(250);
/// Tenants that a scrape copies under one lock.
const TENANTS_AT_ONCE: usize = 256;
/// Entries of the wake queue that are looked at under one lock: after a restart, or once clients are gone,
/// all open solves are due at once.
const WAKES_AT_ONCE: usize = 256;

/// The one door to the core.
#[derive(Debug)]
pub struct Gate {
    engine: Mutex<Engine>,
    /// The engine's policy, to be read beside the lock.
    policy: ArcSwap<Policy>,
    clock: Clock,
    store: Box<dyn Record>,
    metrics: Metrics,
    recent: Mutex<RecentRejections>,
    kept: Mutex<KeptRejections>,
}

/// A commit to wait for.
#[derive(Debug)]
#[must_use = "an answer may only go out once this is durable"]
pub struct Pending(Option<tokio::sync::oneshot::Receiver<Committed>>);

/// Whether the provider's id may be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// It is on record.
    Durable,
    /// It names another solve.
    Duplicate,
    /// The record is closed.
    Unrecorded,
}

impl Gate {
    /// Opens the door.
    pub fn new(
        engine: Engine,
        clock: Clock,
        store: impl Record + 'static,
        metrics: Metrics,
    ) -> Self {
        let gate = Self {
            policy: ArcSwap::new(engine.policy().clone()),
            engine: Mutex::new(engine),
            clock,
            store: Box::new(store),
            metrics,
            recent: Mutex::default(),
            kept: Mutex::default(),
        };
        gate.with(|_, _| ());
        gate
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Whose request this is.
    pub fn identify(&self, credential: &Credential<'_>) -> Result<Identity, Rejection> {
        let (identified, named) = {
            let engine = self.engine.lock();
            let identified = engine.identify(credential, self.clock.now());
            let named = identified.is_err().then(|| engine.named(credential)).flatten();
            (identified, named)
        };
        if let Err(rejection) = &identified {
            self.metrics.rejected(named.as_ref().map(|(tenant, _)| tenant), rejection.reason);
            if let Some((tenant, key_id)) = named {
                let subject = Subject { tenant, key_id, captcha_type: None };
                self.recent.lock().note(subject, rejection, false, self.clock.now().wall);
            }
        }
        identified
    }

    /// Decides on a submission; without a working store nothing paid is admitted.
    pub fn admit(&self, submission: Submission) -> Decision {
        let (identity, captcha_type) = (submission.identity, Some(submission.captcha_type));
        let accepting = self.store.is_accepting();
        let decision = self.with(|engine, now| {
            if !accepting && !engine.policy().pass_through {
                return Decision::Reject { rejection: store_unavailable(), asks_threads: false };
            }
            engine.admit(submission, now)
        });
        match &decision {
            Decision::Admit(admitted) => {
                if let Some(rejection) = &admitted.shadow {
                    self.metrics.shadowed(rejection.reason);
                    self.note(identity, captcha_type, rejection, true);
                }
            }
            Decision::Reject { rejection, .. } => self.rejected(identity, captcha_type, rejection),
        }
        decision
    }

    /// [`admit`](Self::admit) with a look at the limits first, and the taking a moment later.
    #[cfg(feature = "seeded-bugs")]
    pub async fn admit_in_two_steps(&self, submission: Submission) -> Decision {
        let rejection = self.with(|engine, now| engine.check_only(&submission, now));
        tokio::task::yield_now().await;
        match rejection {
            Some(rejection) => Decision::Reject { rejection, asks_threads: false },
            None => self.with(|engine, now| engine.admit_unchecked(submission, now)),
        }
    }

    /// The balance of a wallet; `None` where there is none.
    pub fn balance(&self, tenant: &str, key_id: Option<&str>) -> Option<Money> {
        self.engine.lock().balance_of(tenant, key_id)
    }

    /// Puts the provider's id on record. Only after [`Bound::Durable`] may the client see it.
    pub async fn bind(&self, solve: SolveId, task: &TaskId) -> Bound {
        let (result, pending, pass_through) = {
            let mut engine = self.engine.lock();
            let result = engine.bind(solve, task, self.clock.now());
            let pending = self.record_durably(&mut engine);
            (result, pending, engine.policy().pass_through)
        };
        if result == BindResult::Duplicate {
            self.submit_failed(solve, Outcome::ProviderError, "DUPLICATE_TASK_ID");
            return Bound::Duplicate;
        }
        if pass_through && !self.store.is_accepting() {
            return Bound::Durable;
        }
        #[cfg(feature = "seeded-bugs")]
        if seeded::is_planted(Bug::AnswerBeforeBind) {
            return Bound::Durable;
        }
        match pending.wait().await {
            Some(Committed::Done) => Bound::Durable,
            Some(Committed::DuplicateTask) => {
                self.submit_failed(solve, Outcome::ProviderError, "DUPLICATE_TASK_ID");
                Bound::Duplicate
            }
            Some(Committed::Conflict) | None => Bound::Unrecorded,
        }
    }

    /// The submission came to nothing.
    pub fn submit_failed(&self, solve: SolveId, outcome: Outcome, code: &str) {
        self.with(|engine, now| engine.submit_failed(solve, outcome, code, now));
    }

    /// The client was answered before the provider.
    pub fn answered_without_provider(&self, solve: SolveId) {
        self.with(|engine, now| engine.answered_without_provider(solve, now));
    }

    /// The client was answered although the provider took the solve: it has no id to ask with.
    pub fn not_collected(&self, solve: SolveId) {
        self.with(|engine, _| engine.not_collected(solve));
    }

    /// The provider refused a submission for want of threads or money.
    pub fn refused_upstream(&self, identity: Identity) {
        self.with(|engine, now| engine.refused_upstream(identity, now));
    }

    /// Decides on a poll. An answer from memory may have to be durable first.
    pub fn poll(&self, identity: Identity, task: &TaskId, form: Form) -> (PollDecision, Pending) {
        let (decision, pending) = self.poll_uncounted(identity, task, form);
        match &decision {
            PollDecision::Forward { .. } | PollDecision::Untracked => self.metrics.poll_forwarded(),
            PollDecision::NotReady | PollDecision::GiveUp | PollDecision::Memory { .. } => {
                self.metrics.poll_from_memory();
            }
            PollDecision::WrongId => {}
        }
        (decision, pending)
    }

    /// The same for one of the rounds of a held poll, which counts once.
    pub fn poll_uncounted(
        &self,
        identity: Identity,
        task: &TaskId,
        form: Form,
    ) -> (PollDecision, Pending) {
        let mut engine = self.engine.lock();
        let decision = engine.poll(identity, task, form, self.clock.now());
        let pending = self.record_durably(&mut engine);
        (decision, pending)
    }

    /// Takes in what the provider said to a poll, and whether that could be read. An answer must be
    /// durable before it is passed on.
    pub fn polled(
        &self,
        solve: SolveId,
        asker: Asker,
        result: PollResult,
        reachable: bool,
    ) -> (AnswerTo, Pending) {
        let mut engine = self.engine.lock();
        let now = self.clock.now();
        engine.observe_upstream(reachable, now);
        let answer = engine.polled(solve, asker, result, now);
        (answer, self.record_durably(&mut engine))
    }

    /// A synchronous solve has its answer: bound, ready and offered in one go.
    pub fn solved_at_once(&self, solve: SolveId, answer: Arc<Answer>) -> Pending {
        let mut engine = self.engine.lock();
        let now = self.clock.now();
        if let Some(task) = TaskId::new(&format!("{SYNC_TASK}{}", solve.0)) {
            engine.bind(solve, &task, now);
            engine.polled(solve, Asker::Client, PollResult::Solved(answer), now);
        }
        self.record_durably(&mut engine)
    }

    /// A forwarded poll came to no end.
    pub fn poll_dropped(&self, solve: SolveId) {
        self.engine.lock().poll_dropped(solve);
    }

    /// The answer's last byte reached the client.
    pub fn delivered(&self, solve: SolveId) {
        self.with(|engine, now| engine.delivered(solve, now));
    }

    /// The answer did not reach the client.
    pub fn undelivered(&self, solve: SolveId) {
        self.with(|engine, now| engine.undelivered(solve, now));
    }

    /// Whether the task is the asker's; if so, what it is for and whose account it is solved with.
    pub fn owns(&self, identity: Identity, task: &TaskId) -> Option<(CaptchaType, Name)> {
        let engine = self.engine.lock();
        let submission = engine.submission_of(engine.owns(identity, task)?)?;
        let account = engine.account_name(submission.identity).clone();
        Some((submission.captcha_type, account))
    }

    /// What the owner is told of a solve that the provider cannot be asked about: its account has no key.
    pub fn unaskable(&self, solve: SolveId) -> AnswerTo {
        self.with(|engine, now| engine.polled(solve, Asker::Client, PollResult::Trouble, now))
    }

    /// What one success of that task costs its owner.
    pub fn price(&self, identity: Identity, task: &TaskId) -> Option<Money> {
        let engine = self.engine.lock();
        engine.owns(identity, task).and_then(|solve| engine.price_of(solve))
    }

    /// Threads and working threads, as this tenant sees them.
    pub fn threads_info(&self, identity: Identity) -> (u32, u32) {
        self.with(|engine, now| engine.threads_info(identity, now))
    }

    /// The balance, as this tenant sees it.
    pub fn balance_info(&self, identity: Identity) -> Money {
        self.with(|engine, now| engine.balance_info(identity, now))
    }

    /// How this tenant is told of refusals.
    pub fn rejection_form(&self, identity: Identity) -> RejectionForm {
        self.engine.lock().tenant_policy(identity).rejections
    }

    /// The account that this identity's traffic goes to.
    pub fn account_name(&self, identity: Identity) -> Name {
        self.engine.lock().account_name(identity).clone()
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// The provider could, or could not, be reached.
    pub fn observe_upstream(&self, reachable: bool) {
        let now = self.clock.now();
        self.engine.lock().observe_upstream(reachable, now);
    }

    /// The provider said something of an account.
    pub fn observe_account(&self, account: &str, report: AccountReport) {
        let now = self.clock.now();
        self.engine.lock().observe_account(account, report, now);
    }

    /// Whether that account may be asked about (to be done then: after trouble with its key nobody else
    /// may), and how many solves of ours it has in flight.
    pub fn account_state(&self, account: &str) -> (bool, u32) {
        let now = self.clock.now();
        let mut engine = self.engine.lock();
        (engine.try_key(account, now), engine.account_in_flight(account))
    }

    /// Does what is due without a request; returns the polls to make.
    pub fn expire(&self, polls_max: usize) -> Vec<Due> {
        let mut due = Vec::new();
        let mut left = self.engine.lock().wakes();
        loop {
            let entries = left.min(WAKES_AT_ONCE);
            left -= entries;
            let more =
                self.with(|engine, now| engine.expire_some(entries, polls_max, &mut due, now));
            if !more || left == 0 {
                break;
            }
        }
        let (unfetched, changes) = self.with(|engine, _| {
            let unfetched: Vec<_> = engine.drain_unfetched().collect();
            (unfetched, engine.drain_status_changes().collect::<Vec<_>>())
        });
        for change in changes {
            tracing::warn!(
                captcha_type = change.captcha_type.label(),
                slo = change.slo.label(),
                old = change.old.label(),
                new = change.new.label(),
                "the status of an error budget changed"
            );
        }
        for captcha_type in unfetched {
            self.metrics.undelivered(captcha_type);
        }
        due
    }

    /// Puts a new policy in force.
    pub fn reconfigure(&self, policy: &Arc<Policy>) {
        self.metrics.reconfigure(policy);
        self.with(|engine, now| {
            engine.reconfigure(policy, now);
            self.policy.store(policy.clone());
        });
        self.recent.lock().keep(|tenant| policy.tenants.contains_key(tenant));
    }

    /// Whether the record takes writes at present.
    pub fn is_recording(&self) -> bool {
        self.store.is_accepting()
    }

    /// Hands over for writing what is no decision of the core, and waits; whether all of it is on record.
    /// Nobody has to wait: what was handed over is written once the record can be written.
    pub fn record(&self, writes: Vec<Write>) -> impl Future<Output = bool> + use<> {
        let pending: Vec<_> = writes.into_iter().map(|write| self.store.durable(write)).collect();
        async move {
            for committed in pending {
                if committed.await != Ok(Committed::Done) {
                    return false;
                }
            }
            true
        }
    }

    /// Writes down what webhooks were told. Nobody waits for it.
    pub fn notified(&self, records: Vec<NotifiedRecord>) {
        for record in records {
            self.store.send(Write::Notified(record));
        }
    }

    /// Credits a wallet, once per cause; answered when it is on record.
    pub async fn credit(&self, record: CreditRecord) -> (CreditResult, bool) {
        let (result, pending) = {
            let mut engine = self.engine.lock();
            let result = engine.credit(record);
            (result, self.record_durably(&mut engine))
        };
        let recorded = match pending.0 {
            Some(committed) => committed.await == Ok(Committed::Done),
            None => true,
        };
        (result, recorded)
    }

    /// Drops log rows older than `keep`.
    pub fn prune(&self, keep: Duration) {
        let wall = self.clock.now().wall;
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        self.store.send(Write::Prune(crate::domain::time::Wall(wall.0.saturating_sub(keep))));
    }

    /// A copy of the state, to be read outside the lock.
    pub fn snapshot(&self) -> Snapshot {
        self.with(Engine::snapshot)
    }

    /// The same without tenants, of which there may be many.
    pub fn snapshot_without_tenants(&self) -> Snapshot {
        self.with(Engine::snapshot_without_tenants)
    }

    /// The same as [`snapshot`](Self::snapshot) while requests go on: tenants are copied a few at a time, so that no request waits for all of
    /// them. Each is as it was at an instant of its own.
    pub fn snapshot_in_steps(&self) -> Snapshot {
        let mut snapshot = self.snapshot_without_tenants();
        let mut place = 0;
        loop {
            // Room is made outside the lock.
            snapshot.tenants.reserve(TENANTS_AT_ONCE);
            let places = place..place + TENANTS_AT_ONCE;
            let views = &mut snapshot.tenants;
            if !self.with(|engine, now| engine.copy_tenants(places, views, now)) {
                return snapshot;
            }
            place += TENANTS_AT_ONCE;
        }
    }

    /// Why the record cannot be written, if it cannot.
    pub fn store_trouble(&self) -> Option<String> {
        self.store.health().failing
    }

    /// The store's figures for a scrape.
    pub fn store_figures(&self) -> StoreFigures {
        let health = self.store.health();
        StoreFigures {
            lag: health.oldest_pending.unwrap_or_default(),
            pending: health.pending,
            size_bytes: health.size_bytes,
            commits: health.commits,
            failures: health.failures,
        }
    }

    /// Waits until a ready answer is on record, and may go out; gives up waiting while the store is
    /// failing, and the sooner the less `patience` its client has. `false`: that is over, and the store is
    /// only slow. One that takes more than two seconds counts as failing, so nobody with more patience
    /// is told so.
    #[must_use = "an answer that is not on record may not go out"]
    pub async fn ready(&self, pending: Pending, patience: Duration) -> bool {
        let Pending(Some(mut committed)) = pending else { return true };
        let mut left = patience;
        let mut wait = patience.clamp(READY_LOOK, READY_WAIT);
        while tokio::time::timeout(wait, &mut committed).await.is_err() {
            if !self.store.is_accepting() {
                tracing::warn!(
                    "a ready answer goes out while the store is failing; its charge waits in memory"
                );
                return true;
            }
            left = left.saturating_sub(wait);
            if left.is_zero() {
                return false;
            }
            wait = left.min(READY_LOOK);
        }
        true
    }

    /// Writes down everything that is left and closes the record.
    pub fn close(&self, deadline: Duration) -> Result<(), crate::record::store::Unflushed> {
        self.store.close(deadline)
    }

    fn with<T>(&self, verb: impl FnOnce(&mut Engine, Now) -> T) -> T {
        let mut engine = self.engine.lock();
        let now = self.clock.now();
        let answer = verb(&mut engine, now);
        for write in engine.drain_outbox() {
            self.metrics.recorded(&write);
            self.store.send(write);
        }
        answer
    }

    /// Empties the outbox; the last write is one to wait for, since writes commit in order.
    fn record_durably(&self, engine: &mut Engine) -> Pending {
        let mut pending = None;
        let mut writes = engine.drain_outbox().peekable();
        while let Some(write) = writes.next() {
            self.metrics.recorded(&write);
            if writes.peek().is_some() {
                self.store.send(write);
            } else {
                pending = Some(self.store.durable(write));
            }
        }
        Pending(pending)
    }
}

impl Pending {
    /// Waits for the commit; `None` when there was nothing to commit or the record is closed.
    async fn wait(self) -> Option<Committed> {
        match self.0 {
            Some(committed) => committed.await.ok(),
            None => None,
        }
    }
}

/// The refusal while solves cannot be written down.
pub fn store_unavailable() -> Rejection {
    Rejection {
        reason: Reason::StoreUnavailable,
        text: "solves cannot be written down at present; nothing new is accepted".to_owned(),
        retry_after: Some(Duration::from_secs(10)),
        verdict: None,
    }
}
