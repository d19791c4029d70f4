//! What befalls the engine besides traffic: credits, reloads, the account, time, and the end of the
//! process.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use solvegate::domain::account::AccountReport;
use solvegate::domain::engine::{CreditResult, Engine};
use solvegate::domain::ids::Name;
use solvegate::domain::journal::{CreditKind, CreditRecord, TaskRecord, TaskState};
use solvegate::domain::money::Money;
use solvegate::domain::policy::{Charge, Policy};
use solvegate::domain::time::{Now, Wall};

use crate::AccountSays;
use crate::admission::Buckets;
use crate::policy::{KEYS, TENANTS, Variant};
use crate::world::{Live, World};

impl World {
    pub(crate) fn credit(&mut self, tenant: usize, key: bool, amount: i64, cause: usize) {
        let tenant = TENANTS[tenant];
        let key_id = KEYS.iter().find(|(of, ..)| key && *of == tenant).map(|(_, id, _)| *id);
        // What is taken away may overdraw, so only from the tenant that nothing is promised of.
        let amount = if tenant == "fickle" { amount } else { amount.abs() };
        let cause = format!("cause-{cause}");
        let record = CreditRecord {
            cause: cause.clone(),
            kind: if amount < 0 { CreditKind::Adjustment } else { CreditKind::Credit },
            tenant: tenant.into(),
            key_id: key_id.map(Name::from),
            amount: Money::from_micros(amount),
            at: self.now.wall,
            note: String::new(),
        };
        let has_wallet = self
            .record
            .credits
            .values()
            .any(|known| known.tenant == record.tenant && known.key_id == record.key_id);
        let expected = match (self.record.credits.contains_key(&cause), has_wallet) {
            (true, _) => CreditResult::Repeated,
            (false, true) => CreditResult::Credited,
            (false, false) => CreditResult::NoWallet,
        };
        assert_eq!(self.engine.credit(record), expected);
    }

    pub(crate) fn reload(&mut self, variant: &Variant) {
        self.policy = Arc::new(variant.policy());
        self.engine.reconfigure(&self.policy, self.now);
        self.buckets.forget_of("fickle");
        self.note_policy();
        self.reached = self.reached.max(self.now.wall);
        let reached = Now { wall: self.reached, ..self.now };
        self.today = date(&self.policy, reached).max(self.started);
    }

    pub(crate) fn note_policy(&mut self) {
        let charges_solved = |name: &&Name| self.policy.tenants[*name].charge == Charge::Solved;
        let tenants: Vec<_> = self.policy.tenants.keys().filter(charges_solved).cloned().collect();
        self.charged_solved.extend(tenants);
    }

    pub(crate) fn observe(&mut self, main: bool, says: AccountSays) {
        let account = if main { "main" } else { "spare" };
        let report = match says {
            AccountSays::Threads(total, working) => {
                let ours = self.engine.account_in_flight(account);
                AccountReport::Threads { total, working, ours }
            }
            AccountSays::Balance(cents) => {
                AccountReport::Balance(Money::from_micros(cents * 10_000))
            }
            AccountSays::KeyRefused => AccountReport::KeyRefused,
        };
        self.engine.observe_account(account, report, self.now);
    }

    pub(crate) fn advance(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.roll();
    }

    pub(crate) fn until_midnight(&mut self, month_end: bool) {
        let day = if month_end { self.today.last_of_month() } else { self.today };
        let midnight = day.tomorrow().and_then(|day| day.to_zoned(self.policy.time_zone.clone()));
        let Ok(midnight) = midnight else { return };
        let at = Wall(midnight.timestamp().as_millisecond());
        self.advance(at.since(self.now.wall));
    }

    pub(crate) fn roll(&mut self) {
        let today = date(&self.policy, self.now);
        if today > self.today {
            (self.today, self.reached) = (today, self.reached.max(self.now.wall));
        }
    }

    /// The process dies: of what was not durable yet, a part is kept. Then it starts again.
    pub(crate) fn crash(&mut self, kept: usize, arrived: bool) {
        self.drain();
        let queue = mem::take(&mut self.queue);
        let kept = kept % (queue.len() + 1);
        for write in queue.into_iter().take(kept) {
            self.durable.apply(&write);
        }
        let offers = mem::take(&mut self.offers);
        if arrived {
            let arrived: Vec<_> = offers.iter().filter_map(|solve| self.task_of(*solve)).collect();
            self.delivered.extend(arrived);
        }
        self.record = self.durable.clone();
        (self.unbound, self.unknown, self.polls) = (Vec::new(), Vec::new(), Vec::new());
        self.live = self.record.tasks.values().map(|task| (task.solve, restored(task))).collect();
        let offered = |task: &&TaskRecord| task.state == TaskState::Offered;
        let name = |task: &TaskRecord| (task.account.clone(), task.task_id.clone());
        self.unconfirmed.extend(self.record.tasks.values().filter(offered).map(name));
        self.buckets = Buckets::default();
        self.today = date(&self.policy, self.now);
        self.reached = self.now.wall;
        self.started = self.today;
        self.engine = Engine::new(&self.policy, self.record.restored(self.today), self.now);
    }

    /// Every client leaves, every submission fails, and time passes until all is forgotten.
    pub(crate) fn wind_down(&mut self) {
        for solve in mem::take(&mut self.unbound) {
            self.submit_fails(solve);
        }
        while !self.offers.is_empty() {
            self.handed_over(0, false);
        }
        for _ in 0..300 {
            for (solve, ..) in mem::take(&mut self.polls) {
                self.engine.poll_dropped(solve);
            }
            self.advance(Duration::from_mins(1));
            self.watch();
            self.drain();
        }
        self.polls.clear();
        self.commit();
        self.check();
    }
}

fn restored(task: &TaskRecord) -> Live {
    Live {
        tenant: task.tenant.clone(),
        key: task.key_id.clone(),
        account: task.account.clone(),
        price: task.price,
        slot: task.state == TaskState::Open && task.verdict.is_none(),
        task: Some(task.task_id.clone()),
        pingback: task.pingback,
    }
}

pub(crate) fn date(policy: &Policy, now: Now) -> Date {
    let instant = Timestamp::from_millisecond(now.wall.0).unwrap_or(Timestamp::UNIX_EPOCH);
    policy.time_zone.to_datetime(instant).date()
}
