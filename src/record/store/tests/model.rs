//! Random writes against a plain model in memory.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_record_is_what_a_plain_model_says(writes in prop::collection::vec(write(), 1..60)) {
        let home = home();
        let (store, _) = open(&home);
        let mut model = Model::default();
        for write in &writes {
            // A row is pruned long after its task was forgotten, when nothing more can come.
            if model.is_pruned(write) {
                continue;
            }
            let expected = model.apply(write);
            // Pruning runs beside what comes after it, so the model waits for it.
            if matches!(write, Write::Prune(_)) {
                prop_assert_eq!(wait(store.durable(write.clone())), expected);
            } else {
                store.send(write.clone());
            }
        }
        store.close(Duration::from_secs(30)).unwrap();
        let conflicts = store.health().conflicts;
        drop(store);

        let (store, restored) = open(&home);

        prop_assert_eq!(conflicts, model.conflicts);
        // Event counts have a test of their own.
        let without_events = Restored { sli: Vec::new(), ..restored.clone() };
        prop_assert_eq!(&without_events, &model.restored());
        drop(store);
        prop_assert_eq!(verify(&reader(&home)).unwrap(), Vec::<String>::new());
        prop_assert_eq!(model.log(), log(&home));
        let in_other_zone = Store::open(&options(&path(&home)), TODAY, "America/New_York");
        prop_assert_eq!(in_other_zone.unwrap().1, restored, "noon is the same day there");
    }

    #[test]
    fn a_replay_of_everything_changes_nothing(writes in prop::collection::vec(write(), 1..40)) {
        let writes: Vec<_> = writes.into_iter().filter(is_replayed_whole).collect();
        let home = home();
        let (store, _) = open(&home);
        writes.iter().cloned().for_each(|write| store.send(write));
        store.close(Duration::from_secs(30)).unwrap();
        drop(store);
        let (store, before) = open(&home);
        drop(store);
        let log_before = log(&home);
        spill::save(&path(&home), &writes).unwrap();

        let (store, after) = open(&home);
        drop(store);

        prop_assert_eq!(before.charged, after.charged);
        prop_assert_eq!(before.wallets, after.wallets);
        prop_assert_eq!(log_before, log(&home));
        prop_assert_eq!(verify(&reader(&home)).unwrap(), Vec::<String>::new());
    }
}

/// Pruning is not spilled.
fn is_replayed_whole(write: &Write) -> bool {
    !matches!(write, Write::Prune(_))
}

/// Ten solves of two tenants, two of which share a task id with another.
fn write() -> impl Strategy<Value = Write> {
    let solve = 0_u64..10;
    let day = prop::sample::select(vec![
        TODAY,
        date(2026, 11, 3),
        date(2026, 10, 31),
        date(2026, 11, 30),
        date(2026, 12, 1),
    ]);
    prop_oneof![
        4 => (solve.clone(), any::<bool>()).prop_map(|(solve, failed)| {
            Write::Bind(TaskRecord { verdict: failed.then_some(Outcome::Timeout), ..model_task(solve) })
        }),
        4 => (solve.clone(), prop::sample::select(Outcome::ALL.to_vec())).prop_map(model_verdict),
        1 => solve.clone().prop_map(|solve| Write::Ready(SolveId(solve))),
        2 => (solve.clone(), any::<bool>()).prop_map(|(solve, on)| Write::Offer(SolveId(solve), on)),
        4 => (solve.clone(), prop::option::weighted(0.7, 1_i64..5_000), day).prop_map(model_settle),
        2 => solve.prop_map(|solve| Write::Forget(SolveId(solve))),
        1 => (0_u8..4, any::<bool>(), 1_i64..1_000).prop_map(|(cause, own, micros)| {
            credit(&format!("credit:{cause}"), CreditKind::Credit, own.then_some("prod"), micros)
        }),
        1 => (0_u8..3, prop::option::of(0_i64..9)).prop_map(|(number, at)| key(number, at)),
        1 => (0_i64..9).prop_map(|at| {
            Write::Notified(NotifiedRecord { about: "a".to_owned(), at: Wall(at) })
        }),
        1 => (0_i64..10).prop_map(|solve| Write::Prune(Wall(NOON.0 + solve))),
    ]
}

fn model_task(solve: u64) -> TaskRecord {
    TaskRecord {
        task_id: TaskId::new(&format!("task-{}", solve % 8)).unwrap(),
        tenant: if solve.is_multiple_of(2) { "acme".into() } else { "zeta".into() },
        submitted_at: Wall(NOON.0 + i64::try_from(solve).unwrap()),
        ..task(solve)
    }
}

fn model_verdict((solve, outcome): (u64, Outcome)) -> Write {
    let task = model_task(solve);
    let Write::Verdict(record) = verdict(solve, outcome) else { unreachable!() };
    Write::Verdict(SolveRecord {
        task_id: Some(task.task_id),
        tenant: task.tenant,
        submitted_at: task.submitted_at,
        ..record
    })
}

fn model_settle((solve, charged, day): (u64, Option<i64>, Date)) -> Write {
    let task = model_task(solve);
    let Write::Settle(record) = settle(solve, charged.map(Money::from_micros)) else {
        unreachable!()
    };
    let noon = day.at(12, 0, 0, 0).in_tz("UTC").unwrap().timestamp().as_millisecond();
    Write::Settle(SettleRecord {
        task_id: task.task_id,
        tenant: task.tenant,
        day,
        at: Wall(noon),
        thread_time: Duration::ZERO,
        ..record
    })
}

/// solve, outcome, charged.
type LogRow = (u64, Option<Outcome>, Money);

fn log(home: &TempDir) -> Vec<LogRow> {
    let rows = reader(home).solves(1_000).unwrap();
    let mut log: Vec<_> =
        rows.into_iter().map(|row| (row.solve.0, row.outcome, row.charged)).collect();
    log.sort_unstable();
    log
}

#[derive(Clone, Copy)]
struct Logged {
    outcome: Option<Outcome>,
    charged: Option<Money>,
    settled: bool,
    submitted_at: Wall,
}

#[derive(Default)]
struct Model {
    tasks: BTreeMap<u64, TaskRecord>,
    log: BTreeMap<u64, Logged>,
    charges: BTreeMap<TaskId, (Name, Date, Money)>,
    credits: BTreeMap<String, CreditRecord>,
    keys: BTreeMap<KeyHash, KeyRecord>,
    notified: BTreeMap<String, Wall>,
    seen: BTreeSet<u64>,
    pruned: BTreeSet<u64>,
    conflicts: u64,
}

type Name = Arc<str>;

impl Model {
    fn apply(&mut self, write: &Write) -> Committed {
        let (solve, committed) = match write {
            Write::Bind(task) => (task.solve.0, self.bind(task)),
            Write::Verdict(solve) => (solve.solve.0, self.verdict(solve)),
            Write::Settle(settle) => (settle.solve.0, self.settle(settle)),
            Write::Ready(solve) => (solve.0, self.go(*solve, &[TaskState::Open], TaskState::Ready)),
            Write::Offer(solve, true) => {
                (solve.0, self.go(*solve, &[TaskState::Open, TaskState::Ready], TaskState::Offered))
            }
            Write::Offer(solve, false) => {
                (solve.0, self.go(*solve, &[TaskState::Offered], TaskState::Ready))
            }
            Write::Forget(solve) => {
                self.tasks.remove(&solve.0);
                (solve.0, Committed::Done)
            }
            Write::Credit(credit) => {
                self.credits.entry(credit.cause.clone()).or_insert_with(|| credit.clone());
                return Committed::Done;
            }
            Write::Key(key) => {
                let revoked_at = key.revoked_at;
                self.keys.entry(key.hash).or_insert_with(|| key.clone()).revoked_at = revoked_at;
                return Committed::Done;
            }
            Write::Notified(notified) => {
                let latest = self.notified.entry(notified.about.clone()).or_insert(notified.at);
                *latest = notified.at.max(*latest);
                return Committed::Done;
            }
            Write::Prune(before) => {
                let tasks = &self.tasks;
                let gone = self.log.extract_if(.., |solve, row| {
                    row.submitted_at < *before && !tasks.contains_key(solve)
                });
                self.pruned.extend(gone.map(|(solve, _)| solve));
                return Committed::Done;
            }
        };
        if committed == Committed::Done {
            self.seen.insert(solve);
        } else {
            self.conflicts += 1;
        }
        committed
    }

    fn is_pruned(&self, write: &Write) -> bool {
        writer::solve_of(write).is_some_and(|solve| self.pruned.contains(&solve.0))
    }

    fn bind(&mut self, task: &TaskRecord) -> Committed {
        if self.charges.contains_key(&task.task_id)
            || self.tasks.values().any(|other| other.task_id == task.task_id)
        {
            return Committed::DuplicateTask;
        }
        self.tasks.insert(task.solve.0, task.clone());
        Committed::Done
    }

    fn verdict(&mut self, solve: &SolveRecord) -> Committed {
        let row = self.log.entry(solve.solve.0).or_insert(Logged {
            outcome: None,
            charged: None,
            settled: false,
            submitted_at: solve.submitted_at,
        });
        if row.outcome.is_some() {
            return Committed::Conflict;
        }
        (row.outcome, row.submitted_at) = (Some(solve.outcome), solve.submitted_at);
        if let Some(task) = self.tasks.get_mut(&solve.solve.0) {
            task.verdict.get_or_insert(solve.outcome);
            if solve.outcome == Outcome::Solved && task.state == TaskState::Open {
                task.state = TaskState::Ready;
            }
        }
        Committed::Done
    }

    fn settle(&mut self, settle: &SettleRecord) -> Committed {
        let before = self.log.get(&settle.solve.0);
        let is_again = match settle.charged {
            Some(_) => {
                before.is_some_and(|row| row.charged.is_some())
                    || self.charges.contains_key(&settle.task_id)
            }
            None => before.is_some_and(|row| row.settled),
        };
        if is_again {
            return Committed::Conflict;
        }
        if let Some(amount) = settle.charged {
            let charge = (Arc::clone(&settle.tenant), settle.day, amount);
            self.charges.insert(settle.task_id.clone(), charge);
        }
        let row = self.log.entry(settle.solve.0).or_insert(Logged {
            outcome: None,
            charged: None,
            settled: false,
            submitted_at: settle.at,
        });
        (row.charged, row.settled) = (settle.charged, true);
        if let Some(task) = self.tasks.get_mut(&settle.solve.0) {
            task.state = TaskState::Settled;
        }
        Committed::Done
    }

    fn go(&mut self, solve: SolveId, from: &[TaskState], to: TaskState) -> Committed {
        if let Some(task) = self.tasks.get_mut(&solve.0)
            && from.contains(&task.state)
        {
            task.state = to;
        }
        Committed::Done
    }

    fn log(&self) -> Vec<LogRow> {
        let rows = self.log.iter();
        rows.map(|(solve, row)| (*solve, row.outcome, row.charged.unwrap_or_default())).collect()
    }

    fn restored(&self) -> Restored {
        let mut charged: BTreeMap<Name, ChargedTotal> = BTreeMap::new();
        for (tenant, day, amount) in self.charges.values() {
            let total = charged.entry(Arc::clone(tenant)).or_insert_with(|| ChargedTotal {
                tenant: Arc::clone(tenant),
                ..charged_total(0, Money::ZERO)
            });
            total.total_spent += *amount;
            if day.first_of_month() == TODAY.first_of_month() {
                total.month_spent += *amount;
            }
            if *day == TODAY {
                total.day_spent += *amount;
                total.day_solves += 1;
            }
        }
        let mut later: BTreeMap<(Name, Date), (u64, Money)> = BTreeMap::new();
        for (tenant, day, amount) in self.charges.values().filter(|(_, day, _)| *day > TODAY) {
            let (solves, spent) = later.entry((Arc::clone(tenant), *day)).or_default();
            (*solves, *spent) = (*solves + 1, *spent + *amount);
        }
        let of_later = |((tenant, day), (solves, spent))| {
            let ChargedTotal { key_id, .. } = charged_total(0, Money::ZERO);
            ChargedLater { tenant, key_id, day, solves, spent }
        };
        let mut wallets: BTreeMap<Option<Name>, WalletTotal> = BTreeMap::new();
        for credit in self.credits.values() {
            let wallet = wallets.entry(credit.key_id.clone()).or_insert_with(|| WalletTotal {
                tenant: Arc::clone(&credit.tenant),
                key_id: credit.key_id.clone(),
                amount: Money::ZERO,
            });
            wallet.amount += credit.amount;
        }
        Restored {
            tasks: self.tasks.values().cloned().collect(),
            wallets: wallets.into_values().collect(),
            charged: charged.into_values().collect(),
            charged_later: later.into_iter().map(of_later).collect(),
            credit_causes: self.credits.values().map(|credit| credit.cause.clone()).collect(),
            sli: Vec::new(),
            keys: self.keys.values().cloned().collect(),
            notified: self
                .notified
                .iter()
                .map(|(about, at)| NotifiedRecord { about: about.clone(), at: *at })
                .collect(),
            next_solve: self.seen.last().map_or(0, |solve| solve + 1),
        }
    }
}
