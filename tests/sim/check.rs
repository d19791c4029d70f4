//! The reckoning when all is over.

use solvegate::domain::money::Money;

use crate::Invariant;
use crate::plan::Limits;
use crate::world::World;

impl World {
    pub(crate) fn check_end(&self) {
        self.check_idle();
        self.check_charges();
        self.check_spending();
        self.check_rates();
    }

    fn check_idle(&self) {
        let Some(gate) = self.gate() else {
            return self.wrong(Invariant::HeldWhenIdle, "the sidecar is down");
        };
        let snapshot = gate.snapshot();
        for tenant in &snapshot.tenants {
            if (tenant.in_flight, tenant.open, tenant.held) != (0, 0, Money::ZERO) {
                self.wrong(Invariant::HeldWhenIdle, format!("{tenant:?}"));
            }
        }
        let threads: u32 = snapshot.accounts.iter().map(|account| account.in_flight).sum();
        let by_type: u32 = snapshot.in_flight_by_type.iter().sum();
        if (threads, by_type, snapshot.open) != (0, 0, 0) {
            let what = format!("{threads} threads, {by_type} by type, {} open", snapshot.open);
            self.wrong(Invariant::HeldWhenIdle, what);
        }
        for tenant in &snapshot.tenants {
            let charged: Money = self
                .book
                .lock()
                .charges
                .values()
                .filter(|charge| charge.tenant == tenant.name)
                .filter_map(|charge| charge.charged)
                .sum();
            if charged != tenant.spent {
                let what = format!("{}: {charged:?} in the record, {tenant:?}", tenant.name);
                self.wrong(Invariant::ChargedOnce, what);
            }
        }
    }

    /// What a client has whole was charged, each answer once; how each charge came about was checked
    /// when it was made.
    fn check_charges(&self) {
        let mut missing = Vec::new();
        let (book, seen, provider) = (self.book.lock(), self.seen.lock(), self.provider.lock());
        let mut sync = vec![(0_usize, 0_usize, 0_usize); self.plan.tenants.len()];
        for id in &seen.flushed {
            let Some((asked, _)) = provider.fate(id) else { continue };
            let asked = &seen.asked[asked];
            if asked.sync {
                sync[asked.tenant].2 += 1;
                let certain = seen.received.contains(id) && !seen.unrecorded.contains(id);
                sync[asked.tenant].0 += usize::from(certain);
            } else if seen.received.contains(id)
                && book.charge(id).is_none()
                && !seen.unrecorded.contains(id)
            {
                missing.push(format!("{id} was delivered and not charged"));
            }
        }
        for charge in book.charges.values().filter(|one| one.task_id.as_str().starts_with("sync-"))
        {
            let place = self.plan.tenants.iter().position(|tenant| *tenant.name == *charge.tenant);
            sync[place.unwrap_or(0)].1 += 1;
        }
        let unconfirmed = seen.unconfirmed.iter().filter(|id| id.starts_with("sync-")).count();
        for (tenant, (received, charged, flushed)) in sync.into_iter().enumerate() {
            let solved = self.plan.tenants[tenant].charges_solved;
            if received > charged || (charged > flushed + unconfirmed && !solved) {
                let what = format!(
                    "solve.php of t{tenant}: {received} received, {charged} charged, {flushed} flushed"
                );
                missing.push(what);
            }
        }
        drop((book, seen, provider));
        for what in missing {
            self.wrong(Invariant::DeliveredIsCharged, what);
        }
    }

    /// Wallets, daily limits and caps, by the record.
    fn check_spending(&self) {
        let mut over = Vec::new();
        let book = self.book.lock();
        for tenant in &self.plan.tenants {
            let of = |key: Option<&str>| {
                book.charges
                    .values()
                    .filter(|one| *one.tenant == *tenant.name)
                    .filter(|one| key.is_none_or(|key| *one.key_id == *key))
                    .collect::<Vec<_>>()
            };
            let keys = tenant.keys.iter().map(|key| (Some(key.id.as_str()), &key.limits));
            for (key, limits) in keys.chain([(None, &tenant.limits)]) {
                let charges = of(key);
                let spent = |one: &&solvegate::domain::journal::SettleRecord| {
                    one.charged.unwrap_or_default().micros()
                };
                let total: i64 = charges.iter().map(spent).sum();
                if limits.prepaid.is_some_and(|opening| total > opening) {
                    over.push(format!("{} {key:?} spent {total} of {limits:?}", tenant.name));
                }
                let mut days: Vec<_> = charges.iter().map(|one| one.day).collect();
                days.dedup();
                for day in days {
                    let today = charges.iter().filter(|one| one.day == day);
                    let (count, sum) = (today.clone().count(), today.map(spent).sum::<i64>());
                    let too_many = limits.daily.is_some_and(|max| count as u64 > max);
                    if too_many || limits.day_cap.is_some_and(|cap| sum > cap) {
                        let what = format!(
                            "{} {key:?} on {day}: {count}, {sum} of {limits:?}",
                            tenant.name
                        );
                        over.push(what);
                    }
                }
            }
        }
        drop(book);
        for what in over {
            self.wrong(Invariant::Spending, what);
        }
    }

    /// In no span did more arrive than rate and burst allow, whatever the time on the way.
    fn check_rates(&self) {
        for (place, tenant) in self.plan.tenants.iter().enumerate() {
            self.check_rate(&tenant.name, tenant.limits, &|asked| asked.0 == place);
            for (key, policy) in tenant.keys.iter().enumerate() {
                self.check_rate(&tenant.name, policy.limits, &|asked| asked == (place, key));
            }
        }
    }

    fn check_rate(&self, name: &str, limits: Limits, of: &dyn Fn((usize, usize)) -> bool) {
        let Some((rate, burst)) = limits.rate else { return };
        let mut over = None;
        for incarnation in 1..=self.incarnation() {
            let (seen, provider) = (self.seen.lock(), self.provider.lock());
            let mut times: Vec<_> = provider
                .arrivals
                .iter()
                .filter(|arrival| arrival.incarnation == incarnation)
                .map(|arrival| (&seen.asked[arrival.asked], arrival.at_ms))
                .filter(|(asked, _)| of((asked.tenant, asked.key)))
                .map(|(asked, at)| (asked.sent_ms, at))
                .collect();
            times.sort_unstable();
            for from in 0..times.len() {
                let mut arrived: Vec<_> = times[from..].iter().map(|(_, at)| *at).collect();
                arrived.sort_unstable();
                for (count, at) in (1..).zip(arrived) {
                    let span = at - times[from].0;
                    if count > burst + span * rate / 60_000 {
                        over = Some(format!("{name}: {count} in {span} ms, {rate}/min, {burst}"));
                    }
                }
            }
        }
        if let Some(what) = over {
            self.wrong(Invariant::WithinLimits, what);
        }
    }
}
