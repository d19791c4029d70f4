//! One engine, and the clients and the provider that talk through it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use solvegate::domain::engine::{
    AnswerTo, Asker, BindResult, Credential, Engine, PollDecision, PollResult,
};
use solvegate::domain::ids::{KeyHash, Name, SolveId, TaskId};
use solvegate::domain::journal::{TaskRecord, TaskState, Write};
use solvegate::domain::money::Money;
use solvegate::domain::outcome::Outcome;
use solvegate::domain::policy::Policy;
use solvegate::domain::solve::{Answer, Form, Identity};
use solvegate::domain::time::{Mono, Now, Wall};

use crate::admission::Buckets;
use crate::outside::date;
use crate::policy::{KEYS, TYPES, Variant};
use crate::record::Record;
use crate::{Says, Step};

/// 2026-11-29, 22:00 UTC: month end is near.
const START: Now = Now { mono: Mono(1_000_000_000_000_000), wall: Wall(1_795_989_600_000) };

/// A task's identity: account and provider's id.
pub(crate) type Task = (Name, TaskId);

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) policy: Arc<Policy>,
    pub(crate) now: Now,
    /// The calendar day reached, by the model's own count.
    pub(crate) today: Date,
    /// The latest instant that led there.
    pub(crate) reached: Wall,
    /// The day at the last start.
    pub(crate) started: Date,
    /// What survives a crash, and what is on its way there.
    pub(crate) durable: Record,
    pub(crate) queue: Vec<Write>,
    /// Both together.
    pub(crate) record: Record,
    pub(crate) live: BTreeMap<SolveId, Live>,
    pub(crate) unbound: Vec<SolveId>,
    /// Tasks whose id a client knows, and whose they are.
    pub(crate) known: Vec<(Task, Name)>,
    /// Bound, not durable yet: no client knows the id.
    pub(crate) unknown: Vec<(Task, Name)>,
    pub(crate) polls: Vec<(SolveId, Asker, Form)>,
    pub(crate) offers: Vec<SolveId>,
    /// What the provider made of a task, once it did.
    pub(crate) minds: BTreeMap<Task, Mind>,
    /// Tasks whose answer some client has.
    pub(crate) delivered: BTreeSet<Task>,
    /// Tasks whose answer was on its way when the process died.
    pub(crate) unconfirmed: BTreeSet<Task>,
    /// Tenants that were ever charged for what is solved.
    pub(crate) charged_solved: BTreeSet<Name>,
    pub(crate) buckets: Buckets,
    /// Held by `loose` right after its last admission.
    pub(crate) loose_held: Money,
    pub(crate) ids: u32,
}

/// A solve that is not forgotten.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) tenant: Name,
    pub(crate) key: Name,
    pub(crate) account: Name,
    pub(crate) price: Money,
    pub(crate) slot: bool,
    pub(crate) task: Option<TaskId>,
    pub(crate) pingback: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mind {
    Solved,
    Failed,
}

impl World {
    pub(crate) fn new(variant: &Variant) -> Self {
        let policy = Arc::new(variant.policy());
        let record = Record::default();
        let today = date(&policy, START);
        let mut world = Self {
            engine: Engine::new(&policy, record.restored(today), START),
            policy,
            now: START,
            today,
            reached: START.wall,
            started: today,
            durable: record.clone(),
            queue: Vec::new(),
            record,
            live: BTreeMap::new(),
            unbound: Vec::new(),
            known: Vec::new(),
            unknown: Vec::new(),
            polls: Vec::new(),
            offers: Vec::new(),
            minds: BTreeMap::new(),
            delivered: BTreeSet::new(),
            unconfirmed: BTreeSet::new(),
            charged_solved: BTreeSet::new(),
            buckets: Buckets::default(),
            loose_held: Money::ZERO,
            ids: 0,
        };
        world.note_policy();
        world.drain();
        world
    }

    pub(crate) fn apply(&mut self, step: Step) {
        match step {
            Step::Submit { key, captcha_type, pingback } => {
                if let Some(solve) = self.submit(KEYS[key], TYPES[captcha_type], pingback) {
                    self.unbound.push(solve);
                }
            }
            Step::Bind { which, durable, again } => self.bind(which, durable, again),
            Step::SubmitFails { which } => {
                if let Some(solve) = take(&mut self.unbound, which) {
                    self.submit_fails(solve);
                }
            }
            Step::AnsweredWithoutProvider { which } => {
                if let Some(solve) = pick(&self.unbound, which) {
                    self.engine.answered_without_provider(*solve, self.now);
                }
            }
            Step::Poll { task, key, form } => self.poll(task, key, form),
            Step::Answers { which, says } => self.answers(which, says),
            Step::PollDropped { which } => {
                if let Some((solve, ..)) = take(&mut self.polls, which) {
                    self.engine.poll_dropped(solve);
                }
            }
            Step::HandedOver { which, arrived } => self.handed_over(which, arrived),
            Step::Watch => self.watch(),
            Step::Credit { tenant, key, amount, cause } => self.credit(tenant, key, amount, cause),
            Step::Reload(variant) => self.reload(&variant),
            Step::Account { main, says } => self.observe(main, says),
            Step::Upstream { reachable } => self.engine.observe_upstream(reachable, self.now),
            Step::Commit => self.commit(),
            Step::Advance { secs } => self.advance(Duration::from_secs(secs)),
            Step::ToMidnight { month_end } => self.until_midnight(month_end),
            Step::Jump { secs } => {
                self.now.wall = Wall(self.now.wall.0 + secs * 1_000);
                self.roll();
            }
            Step::Crash { kept, arrived } => self.crash(kept, arrived),
        }
        self.drain();
    }

    /// Takes what the engine wants written down, and checks that each charge has its ground.
    pub(crate) fn drain(&mut self) {
        let writes: Vec<_> = self.engine.drain_outbox().collect();
        for write in writes {
            if let Write::Settle(settled) = &write {
                assert_eq!(settled.day, self.today, "counted towards another day");
                if settled.charged.is_some() {
                    let task = (settled.account.clone(), settled.task_id.clone());
                    assert_eq!(self.minds.get(&task), Some(&Mind::Solved), "charged, not solved");
                    let pingback = self.live.get(&settled.solve).is_some_and(|live| live.pingback);
                    let grounded = if settled.delivered {
                        let handed = self.delivered.contains(&task);
                        handed || self.unconfirmed.contains(&task) || pingback
                    } else {
                        self.charged_solved.contains(&settled.tenant)
                    };
                    assert!(grounded, "{task:?} was charged and nobody has it");
                }
            }
            if let Write::Forget(solve) = &write {
                self.live.remove(solve);
            }
            self.record.apply(&write);
            self.queue.push(write);
        }
    }

    pub(crate) fn commit(&mut self) {
        self.drain();
        for write in self.queue.drain(..) {
            self.durable.apply(&write);
        }
        self.known.append(&mut self.unknown);
    }

    pub(crate) fn identify(&self, key: KeyHash) -> Option<Identity> {
        let credential = Credential { key: Some(key), prefix: None, source_ip: None };
        self.engine.identify(&credential, self.now).ok()
    }

    fn bind(&mut self, which: usize, durable: bool, again: bool) {
        let Some(solve) = take(&mut self.unbound, which) else { return };
        let Some(account) = self.live.get(&solve).map(|live| live.account.clone()) else { return };
        if again {
            let given = |task: &&TaskRecord| task.account == account;
            let given = self.record.tasks.values().find(given).map(|task| task.task_id.clone());
            if let Some(task) = given {
                assert_eq!(self.engine.bind(solve, &task, self.now), BindResult::Duplicate);
                self.submit_fails(solve);
                return;
            }
        }
        self.ids += 1;
        let Some(task) = TaskId::new(&self.ids.to_string()) else { return };
        assert_eq!(self.engine.bind(solve, &task, self.now), BindResult::Bound);
        self.drain();
        if let Some(live) = self.live.get_mut(&solve) {
            live.task = Some(task.clone());
            self.unknown.push(((account, task), live.tenant.clone()));
        }
        if durable {
            self.commit();
        }
    }

    pub(crate) fn submit_fails(&mut self, solve: SolveId) {
        self.engine.submit_failed(solve, Outcome::ProviderError, "BAD", self.now);
        self.live.remove(&solve);
    }

    fn poll(&mut self, task: usize, key: usize, form: Form) {
        // Mostly of the latest, most of the others are forgotten.
        let latest = self.known.len().saturating_sub(if task < 48 { 6 } else { self.known.len() });
        let picked = pick(&self.known[latest..], task).cloned();
        let Some(((account, id), tenant)) = picked else { return };
        let own: Vec<_> = KEYS.iter().filter(|(of, ..)| **of == *tenant).collect();
        // Two of three polls are the owner's.
        let (of, _, hash) = if key < KEYS.len() { KEYS[key] } else { *own[key % own.len()] };
        let Some(identity) = self.identify(hash) else {
            assert_eq!(of, "fickle", "a key that never leaves the config was refused");
            return;
        };
        let decision = self.engine.poll(identity, &id, form, self.now);
        self.drain();
        let exists =
            self.record.tasks.values().any(|task| task.account == account && task.task_id == id);
        let wrong = decision == PollDecision::WrongId;
        assert_eq!(wrong, of != &*tenant || !exists, "{of} polled {id} of {tenant}");
        match decision {
            PollDecision::WrongId | PollDecision::NotReady | PollDecision::GiveUp => {}
            PollDecision::Untracked => panic!("untracked outside pass-through"),
            PollDecision::Forward { solve, account: asked } => {
                assert_eq!(asked, account, "asked with another account");
                self.check_names(solve, &account, &id);
                self.polls.push((solve, Asker::Client, form));
            }
            PollDecision::Memory { solve, answer, durable } => {
                self.check_names(solve, &account, &id);
                assert_eq!(answer.form, form);
                if answer.body.starts_with(b"OK") {
                    self.hand_over(solve, durable);
                } else {
                    assert!(!durable, "a failure is never offered");
                }
            }
        }
    }

    fn check_names(&self, solve: SolveId, account: &Name, id: &TaskId) {
        let Some(live) = self.live.get(&solve) else { panic!("{solve:?} is forgotten") };
        assert_eq!((&live.account, live.task.as_ref()), (account, Some(id)), "another's task");
    }

    fn answers(&mut self, which: usize, says: Says) {
        let Some((solve, asker, form)) = take(&mut self.polls, which) else { return };
        let Some(task) = self.task_of(solve) else { return };
        let result = self.provider(&task, says, form);
        let solved = matches!(result, PollResult::Solved(_));
        let terminal = solved || matches!(result, PollResult::Failed(..));
        let late = self.engine.deadline_of(solve).is_some_and(|at| self.now.mono >= at);
        if let Some(live) = self.live.get_mut(&solve) {
            live.slot &= !terminal && !late;
        }

        let state = |world: &Self| world.record.tasks.get(&solve).map(|task| task.state);
        let was_open = state(self) == Some(TaskState::Open);

        let told = self.engine.polled(solve, asker, result, self.now);

        self.drain();
        if was_open && terminal {
            let settled = state(self) == Some(TaskState::Settled);
            assert!(solved || settled, "a failure keeps its hold");
            assert_ne!(state(self), Some(TaskState::Open), "an answer was not noted");
        }
        match told {
            AnswerTo::PassOn { offered } if solved && asker == Asker::Client => {
                self.hand_over(solve, offered);
            }
            AnswerTo::PassOn { offered } => assert!(!offered),
            AnswerTo::NotReady | AnswerTo::GiveUp => assert!(!solved),
        }
    }

    /// An answer that costs money goes to a client: offered and durable, or paid for already.
    fn hand_over(&mut self, solve: SolveId, offered: bool) {
        let Some(task) = self.task_of(solve) else { panic!("{solve:?} is forgotten") };
        if offered {
            self.commit();
            let state = self.durable.tasks.get(&solve).map(|task| task.state);
            assert!(
                state == Some(TaskState::Offered) || self.durable.charges.contains_key(&task),
                "an answer goes out that the record does not know: {state:?}"
            );
            self.offers.push(solve);
        } else {
            let paid = self.durable.charges.contains_key(&task);
            assert!(paid || self.record.charges.contains_key(&task), "a free answer");
            self.delivered.insert(task);
        }
    }

    pub(crate) fn handed_over(&mut self, which: usize, arrived: bool) {
        let Some(solve) = take(&mut self.offers, which) else { return };
        if arrived {
            self.delivered.extend(self.task_of(solve));
            self.engine.delivered(solve, self.now);
        } else {
            self.engine.undelivered(solve, self.now);
        }
    }

    pub(crate) fn task_of(&self, solve: SolveId) -> Option<Task> {
        let live = self.live.get(&solve)?;
        Some((live.account.clone(), live.task.clone()?))
    }

    /// The provider's word; once it is final it stays, or the provider forgets for good.
    fn provider(&mut self, task: &Task, says: Says, form: Form) -> PollResult {
        let mind = self.minds.get(task).copied();
        let failed = |code: &str| {
            PollResult::Failed(answer(form, code), Outcome::Unsolvable, code.to_owned())
        };
        match (mind, says) {
            (_, Says::Trouble) => PollResult::Trouble,
            (Some(Mind::Solved), Says::Forgot) => {
                self.forgotten(task);
                failed("ERROR_WRONG_CAPTCHA_ID")
            }
            (Some(Mind::Failed), _) => failed("ERROR_CAPTCHA_UNSOLVABLE"),
            (Some(Mind::Solved), _) | (None, Says::Solved) => {
                self.minds.insert(task.clone(), Mind::Solved);
                PollResult::Solved(answer(form, "OK|token"))
            }
            (None, Says::Failed) => {
                self.minds.insert(task.clone(), Mind::Failed);
                failed("ERROR_CAPTCHA_UNSOLVABLE")
            }
            (None, Says::ProxyTrouble) => PollResult::ProxyTrouble("ERROR_PROXY".to_owned()),
            (None, Says::Pending | Says::Forgot) => PollResult::Pending,
        }
    }

    /// A crash took the success from the record, and then the provider forgot it: it never was.
    fn forgotten(&mut self, task: &Task) {
        let open = |open: &TaskRecord| {
            (&open.account, &open.task_id) == (&task.0, &task.1) && open.state == TaskState::Open
        };
        if self.record.tasks.values().any(open) {
            self.minds.insert(task.clone(), Mind::Failed);
        }
    }

    pub(crate) fn mind(&self, task: &Task) -> Option<Mind> {
        self.minds.get(task).copied()
    }

    pub(crate) fn watch(&mut self) {
        for due in self.engine.expire(usize::MAX, self.now) {
            self.check_names(due.solve, &due.account, &due.task);
            self.polls.push((due.solve, Asker::Watcher, due.form));
        }
        for (solve, live) in self.live.iter_mut().filter(|(_, live)| live.task.is_some()) {
            live.slot &= self.engine.deadline_of(*solve).is_some_and(|at| self.now.mono < at);
        }
    }
}

fn answer(form: Form, body: &str) -> Arc<Answer> {
    let body = body.as_bytes().to_vec().into();
    Arc::new(Answer { form, status: 200, content_type: None, body })
}

fn pick<T>(list: &[T], which: usize) -> Option<&T> {
    list.get(which % list.len().max(1))
}

fn take<T>(list: &mut Vec<T>, which: usize) -> Option<T> {
    (!list.is_empty()).then(|| list.remove(which % list.len()))
}
