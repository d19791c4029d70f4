//! The invariants of the ledger, as far as the core decides them.

use solvegate::domain::money::Money;

use crate::admission::Used;
use crate::policy::{KEYS, TENANTS};
use crate::world::{Mind, World};

impl World {
    /// After every step.
    pub(crate) fn check(&mut self) {
        assert!(self.engine.holds_add_up(), "scopes and solves disagree");
        let snapshot = self.engine.snapshot(self.now);
        for view in &snapshot.tenants {
            let shown = Used {
                in_flight: view.in_flight,
                open: view.open,
                held: view.held,
                day_solves: view.day_solves,
                day_spent: view.day_spent,
                month_spent: view.month_spent,
                spent: view.spent,
                credited: view.balance.map(|balance| balance + view.spent),
            };
            assert_eq!(shown, self.used(&view.name, None), "{} against the journal", view.name);
        }
        self.check_overdraft();
        self.check_balances_shown();
        let slots = self.live.values().filter(|live| live.slot).count();
        let in_flight: u32 = snapshot.accounts.iter().map(|account| account.in_flight).sum();
        assert_eq!(usize::try_from(in_flight).ok(), Some(slots));
        assert_eq!(snapshot.remembered, self.live.len());
    }

    /// With holds there is none; without, it is at most what was in flight at the last admission.
    fn check_overdraft(&self) {
        let strict = self.used("strict", None);
        let Some(balance) = strict.balance() else { panic!("strict has no wallet") };
        assert!(balance >= strict.held, "overdrawn: {balance:?} with {:?} held", strict.held);
        let loose = self.used("loose", None).balance().unwrap_or_default();
        assert!(loose >= -self.loose_held, "overdrawn beyond what was in flight: {loose:?}");
    }

    /// `getbalance` shows what wallets and caps leave, also of the key's own.
    fn check_balances_shown(&mut self) {
        for (tenant, key, hash) in KEYS {
            let Some(identity) = self.identify(hash) else { continue };
            let policy = &self.policy.tenants[tenant];
            let mut least = Money::from_micros(999_999_000_000);
            for (limits, used) in [
                (&policy.limits, self.used(tenant, None)),
                (&policy.keys[key].limits, self.used(tenant, Some(key))),
            ] {
                let wallet = limits.prepaid.map(|_| used.balance().unwrap_or_default());
                let day = limits.daily_spend_cap.map(|cap| cap - used.day_spent);
                let month = limits.monthly_spend_cap.map(|cap| cap - used.month_spent);
                let left = [wallet, day, month].into_iter().flatten().min();
                least = left.map_or(least, |left| least.min(left - used.held));
            }
            let shown = self.engine.balance_info(identity, self.now);
            assert_eq!(shown, least.max(Money::ZERO), "{tenant}/{key}");
        }
    }

    /// When all is over: nothing held, nothing remembered, and each delivered answer paid once.
    pub(crate) fn check_end(&mut self) {
        let snapshot = self.engine.snapshot(self.now);
        assert_eq!((snapshot.open, snapshot.remembered), (0, 0), "something is left");
        assert!(self.live.is_empty() && self.record.tasks.is_empty());
        for tenant in TENANTS {
            let used = self.used(tenant, None);
            assert_eq!((used.in_flight, used.open, used.held), (0, 0, Money::ZERO));
        }
        for task in &self.delivered {
            assert!(self.record.charges.contains_key(task), "{task:?} was delivered for nothing");
        }
        for task in self.record.charges.keys() {
            assert_eq!(self.mind(task), Some(Mind::Solved), "{task:?} was charged");
        }
    }
}
