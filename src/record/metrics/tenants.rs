//! What is counted by tenant. A counter of the library keeps name, help and labels with each series, and a
//! tenant has 25 of them; here a tenant is its name and 25 numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::known::OTHER;
use super::page::Page;
use crate::domain::ids::Name;
use crate::domain::money::Money;
use crate::domain::outcome::Outcome;
use crate::domain::rejection::Reason;

/// The counters of one tenant.
#[derive(Debug, Default)]
pub(super) struct Series {
    solves: [AtomicU64; Outcome::ALL.len()],
    rejections: [AtomicU64; Reason::ALL.len()],
    cost_micros: AtomicI64,
    thread_millis: AtomicU64,
}

impl Series {
    pub(super) fn ended(&self, outcome: Outcome) {
        self.solves[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rejected(&self, reason: Reason) {
        self.rejections[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn settled(&self, charged: Option<Money>, thread_time: Duration) {
        let millis = u64::try_from(thread_time.as_millis()).unwrap_or(u64::MAX);
        self.thread_millis.fetch_add(millis, Ordering::Relaxed);
        if let Some(charged) = charged {
            self.cost_micros.fetch_add(charged.micros(), Ordering::Relaxed);
        }
    }

    fn is_touched(&self) -> bool {
        let mut counts = self.solves.iter().chain(&self.rejections).chain([&self.thread_millis]);
        // A solve that ended before the process began is charged alone.
        counts.any(|count| count.load(Ordering::Relaxed) > 0)
            || self.cost_micros.load(Ordering::Relaxed) != 0
    }
}

/// Tenants with series of their own, and those of the rest together.
#[derive(Debug, Clone, Default)]
pub(super) struct Tenants {
    pub(super) labelled: BTreeMap<Name, Arc<Series>>,
    pub(super) other: Arc<Series>,
    /// There is a rest, or was.
    pub(super) has_other: bool,
}

impl Tenants {
    /// Of that tenant, or of the rest.
    pub(super) fn of(&self, tenant: &Name) -> &Series {
        self.labelled.get(tenant).unwrap_or(&self.other)
    }

    /// Adds every family.
    #[expect(clippy::cast_precision_loss, reason = "a view for graphs, not for bills")]
    pub(super) fn add(&self, page: &mut Page) {
        let is_own = self.labelled.contains_key(OTHER);
        let has_other = !is_own && (self.has_other || self.other.is_touched());
        let other = has_other.then_some((OTHER, &*self.other));
        let all = || self.labelled.iter().map(|(name, of)| (&**name, &**of)).chain(other);
        page.counters(
            ("solvegate_tenant_cost_usd_total", "US dollars charged to a tenant."),
            ["tenant"],
            all().map(|(name, of)| ([name], of.cost_micros.load(Ordering::Relaxed) as f64 / 1e6)),
        );
        page.counters(
            (
                "solvegate_tenant_thread_seconds_total",
                "Seconds that a tenant's solves held a thread.",
            ),
            ["tenant"],
            all().map(|(name, of)| ([name], of.thread_millis.load(Ordering::Relaxed) as f64 / 1e3)),
        );
        by(
            page,
            ("solvegate_tenant_solves_total", "Solves ended."),
            ("outcome", Outcome::ALL.map(|outcome| (outcome.label(), outcome as usize))),
            &all().map(|(name, of)| (name, &of.solves[..])),
        );
        by(
            page,
            ("solvegate_tenant_rejections_total", "Requests of a tenant that were refused."),
            ("reason", Reason::ALL.map(|reason| (reason.label(), reason as usize))),
            &all().map(|(name, of)| (name, &of.rejections[..])),
        );
    }
}

/// Adds a family by tenant and one more label, whose values have each their place among the counts.
fn by<'a, const N: usize>(
    page: &mut Page,
    named: (&str, &str),
    (label, mut values): (&str, [(&'static str, usize); N]),
    tenants: &(impl Iterator<Item = (&'a str, &'a [AtomicU64])> + Clone),
) {
    values.sort_unstable();
    let samples = values.iter().flat_map(|(value, place)| {
        let counts = tenants.clone();
        counts.map(|(name, counts)| ([name, value], counts[*place].load(Ordering::Relaxed)))
    });
    page.counters(named, ["tenant", label], samples);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_shown_once_anything_of_it_was_counted() {
        let second = Duration::from_secs(1);
        let price = Some(Money::from_micros(3_000));
        let counted: [&dyn Fn(&Series); 4] = [
            &|series| series.ended(Outcome::Solved),
            &|series| series.rejected(Reason::InFlight),
            &|series| series.settled(None, second),
            // Its solve ended before a restart.
            &|series| series.settled(price, Duration::ZERO),
        ];
        let text = |tenants: &Tenants| {
            let mut page = Page::default();
            tenants.add(&mut page);
            page.into_text()
        };
        assert_eq!(text(&Tenants::default()), "");
        for (number, count) in counted.iter().enumerate() {
            let tenants = Tenants::default();
            count(&tenants.other);
            assert!(text(&tenants).contains("{tenant=\"other\"} "), "{number}");
        }
    }
}
