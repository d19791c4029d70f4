//! What the demo shows: the sidecar's own snapshot and counters, put together by tenant.

use std::collections::HashMap;

use super::world::SAMPLES;
use crate::domain::engine::TenantView;
use crate::domain::money::Money;
use crate::gate::Gate;

/// Reasons shown of a tenant.
const REASONS_SHOWN: usize = 2;

/// One moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) rows: Vec<Row>,
    /// Requests of clients since the start.
    pub(super) requests: u64,
    pub(super) cost: Money,
    /// Nothing is sent to the provider for the moment.
    pub(super) held_back: bool,
}

/// One tenant.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) tenant: &'static str,
    pub(super) limits: &'static str,
    pub(super) solved: u64,
    pub(super) failed: u64,
    pub(super) in_flight: u32,
    /// The most frequent reasons, or what would have been refused.
    pub(super) refused: String,
    pub(super) cost: Money,
    /// What is left of the limit that counts by the day or by money.
    pub(super) left: String,
}

impl Figures {
    pub(super) fn of(gate: &Gate) -> Self {
        let snapshot = gate.snapshot();
        let text = gate.metrics().render(&snapshot, &gate.store_figures()).unwrap_or_default();
        let counters: Vec<_> = text.lines().filter_map(Sample::read).collect();
        let rows: Vec<_> = SAMPLES
            .iter()
            .filter_map(|sample| {
                let view = snapshot.tenants.iter().find(|view| &*view.name == sample.tenant)?;
                Some(row((sample.tenant, sample.limits), view, &counters))
            })
            .collect();
        let requests = counters.iter().filter(|sample| sample.name == "http_requests_total");
        Self {
            requests: requests.map(|sample| sample.value).sum(),
            cost: snapshot.tenants.iter().map(|tenant| tenant.spent).sum(),
            held_back: snapshot.upstream_open,
            rows,
        }
    }

    pub(super) fn solved(&self) -> u64 {
        self.rows.iter().map(|row| row.solved).sum()
    }

    pub(super) fn failed(&self) -> u64 {
        self.rows.iter().map(|row| row.failed).sum()
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.rows.iter().map(|row| row.in_flight).sum()
    }
}

/// One line of what Prometheus reads.
struct Sample<'a> {
    /// Without `solvegate_`.
    name: &'a str,
    labels: HashMap<&'a str, &'a str>,
    value: u64,
}

impl<'a> Sample<'a> {
    /// Counters of whole numbers with labels; `None` for any other line, and for those at zero.
    fn read(line: &'a str) -> Option<Self> {
        let (name, rest) = line.strip_prefix("solvegate_")?.split_once('{')?;
        let (labels, value) = rest.rsplit_once("} ")?;
        let value = value.parse().ok().filter(|value| *value > 0)?;
        let pairs = labels.split(',').filter_map(|label| label.split_once('='));
        let labels = pairs.map(|(name, value)| (name, value.trim_matches('"'))).collect();
        Some(Self { name, labels, value })
    }

    fn is(&self, name: &str, label: &str, value: &str) -> bool {
        self.name == name && self.labels.get(label) == Some(&value)
    }
}

fn row(
    (tenant, limits): (&'static str, &'static str),
    view: &TenantView,
    counters: &[Sample<'_>],
) -> Row {
    let ended = || {
        let ended = counters.iter().filter(|line| line.is("tenant_solves_total", "tenant", tenant));
        ended.map(|line| (line.labels.get("outcome") == Some(&"solved"), line.value))
    };
    let refusals = counters.iter().filter(|line| {
        line.is("tenant_rejections_total", "tenant", tenant)
            // Shadow mode is not counted by tenant, but only qa is in it.
            || (tenant == "qa" && line.is("rejections_total", "mode", "shadow"))
    });
    Row {
        tenant,
        limits,
        solved: ended().filter(|(solved, _)| *solved).map(|(_, count)| count).sum(),
        failed: ended().filter(|(solved, _)| !solved).map(|(_, count)| count).sum(),
        in_flight: view.in_flight,
        refused: most_frequent(refusals),
        cost: view.spent,
        left: left(view),
    }
}

fn most_frequent<'a>(refusals: impl Iterator<Item = &'a Sample<'a>>) -> String {
    let mut refusals: Vec<_> = refusals
        .filter_map(|line| {
            let passed = line.labels.get("mode") == Some(&"shadow");
            line.labels.get("reason").map(|reason| (line.value, *reason, passed))
        })
        .collect();
    refusals.sort_unstable_by_key(|(count, reason, _)| (std::cmp::Reverse(*count), *reason));
    let shown = refusals.iter().take(REASONS_SHOWN).map(|(count, reason, passed)| {
        let note = if *passed { " (let pass)" } else { "" };
        format!("{reason} {count}{note}")
    });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

fn left(view: &TenantView) -> String {
    if let Some(balance) = view.balance {
        return format!("{:.4} USD", balance.as_usd());
    }
    match view.limits.daily_limit {
        Some(limit) => format!("{} of {limit} today", limit.saturating_sub(view.day_solves)),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_most_frequent_reasons_are_shown() {
        let lines = [
            r#"solvegate_tenant_rejections_total{reason="rate",tenant="a"} 7"#,
            r#"solvegate_tenant_rejections_total{reason="in_flight",tenant="a"} 12"#,
            r#"solvegate_tenant_rejections_total{reason="spend_cap",tenant="a"} 1"#,
            r#"solvegate_tenant_rejections_total{reason="malformed",tenant="a"} 0"#,
            "# HELP solvegate_tenant_rejections_total {} 5",
        ];

        let samples: Vec<_> = lines.into_iter().filter_map(Sample::read).collect();

        assert_eq!(samples.len(), 3);
        assert_eq!(most_frequent(samples.iter()), "in_flight 12, rate 7");
        assert_eq!(most_frequent(std::iter::empty()), "-");
    }
}
