//! One sidecar without its shell: the engine, in simulated time, and its metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::engine::{
    Asker, BindResult, Credential, Decision, Engine, PollResult, Snapshot,
};
use solvegate::domain::ids::{SolveId, TaskId};
use solvegate::domain::journal::{Restored, Write};
use solvegate::domain::outcome::{Outcome, SliEvent};
use solvegate::domain::policy::{Policy, Slo};
use solvegate::domain::slo::window::{Counts, MinuteCounts, Window};
use solvegate::domain::slo::{SliRow, SloKind};
use solvegate::domain::solve::{Answer, Form, Identity, Submission};
use solvegate::domain::time::{Mono, Now, Wall};
use solvegate::record::metrics::{Metrics, StoreFigures};

use crate::stream::Event;
use crate::{Job, START_MS};

/// A process has its own monotonic clock; every one here begins at the same reading.
const MONO_START_NS: u64 = 365 * 86_400 * 1_000_000_000;

/// Series without the job label, and their values. In the form of `/metrics`.
pub(crate) type Values = Vec<(String, f64)>;

pub(crate) struct Replica {
    engine: Engine,
    metrics: Metrics,
    identity: Identity,
    types: Vec<CaptchaType>,
    started_ms: i64,
    solves: u64,
    /// What the store would keep: SLI events per type and minute.
    store: BTreeMap<(CaptchaType, i64), Counts>,
    /// SLI events of this process per type.
    counters: BTreeMap<CaptchaType, Counts>,
}

impl Replica {
    pub(crate) fn new(job: &Job, at_ms: i64) -> Self {
        Self::start(job, at_ms, BTreeMap::new(), 1)
    }

    /// The process that follows this one.
    pub(crate) fn restarted(self, job: &Job, at_ms: i64) -> Self {
        Self::start(job, at_ms, self.store, self.solves + 1)
    }

    fn start(
        job: &Job,
        at_ms: i64,
        store: BTreeMap<(CaptchaType, i64), Counts>,
        next_solve: u64,
    ) -> Self {
        let now = Now { mono: Mono(MONO_START_NS), wall: Wall(at_ms) };
        let policy = Arc::new(policy(job));
        let sli = store.iter().map(|(&(captcha_type, minute), &counts)| SliRow {
            captcha_type,
            slo: SloKind::Success,
            minute: MinuteCounts { minute, counts },
        });
        let restored = Restored { sli: sli.collect(), next_solve, ..Restored::default() };
        let engine = Engine::new(&policy, restored, now);
        let credential = Credential { key: None, prefix: None, source_ip: None };
        let identity = engine.identify(&credential).unwrap();
        let types: Vec<_> = job
            .types
            .iter()
            .map(|spec| CaptchaType::from_label(&spec.captcha_type).unwrap())
            .collect();
        Self {
            metrics: Metrics::new(&policy).unwrap(),
            engine,
            identity,
            counters: types.iter().map(|known| (*known, Counts::default())).collect(),
            types,
            started_ms: at_ms,
            solves: next_solve,
            store,
        }
    }

    /// A solve from its submission to its end.
    pub(crate) fn solve(&mut self, event: &Event) {
        let now = self.now(event.at_ms);
        let submission = Submission {
            identity: self.identity,
            captcha_type: event.captcha_type,
            form: Form::Text,
            source_ip: None,
            page: None,
            pingback: false,
            holder: None,
        };
        let Decision::Admit(admitted) = self.engine.admit(submission, now) else {
            panic!("nothing here refuses")
        };
        if event.outcome == Outcome::Solved {
            self.answer(admitted.solve, now);
        } else {
            self.engine.submit_failed(admitted.solve, event.outcome, "SCRIPTED", now);
        }
        self.engine.expire(0, now);
        for write in self.engine.drain_outbox() {
            self.metrics.recorded(&write);
            let Write::Verdict(record) = write else { continue };
            let minute = record.ended_at.0.div_euclid(60_000);
            let stored = self.store.entry((record.captcha_type, minute)).or_default();
            let counted = self.counters.entry(record.captcha_type).or_default();
            match record.success_event {
                Some(SliEvent::Good) => (stored.good, counted.good) = (stored.good + 1, counted.good + 1),
                Some(SliEvent::Bad) => (stored.bad, counted.bad) = (stored.bad + 1, counted.bad + 1),
                None => {}
            }
        }
        self.solves += 1;
    }

    fn answer(&mut self, solve: SolveId, now: Now) {
        let task = TaskId::new(&(70_000_000_000 + solve.0).to_string()).unwrap();
        assert_ne!(self.engine.bind(solve, &task, now), BindResult::Duplicate);
        let body = bytes::Bytes::from_static(b"OK|answer");
        let answer = Answer { form: Form::Text, status: 200, content_type: None, body };
        self.engine.polled(solve, Asker::Client, PollResult::Solved(Arc::new(answer)), now);
        self.engine.delivered(solve, now);
    }

    /// What a scrape reads, as far as the rules on error budgets need it.
    pub(crate) fn values(&mut self, at_ms: i64) -> Values {
        let now = self.now(at_ms);
        self.engine.expire(0, now);
        let Snapshot { slos, .. } = self.engine.snapshot(now);
        let mut values = Vec::new();
        for report in slos.iter().filter(|report| self.types.contains(&report.captcha_type)) {
            let name = report.captcha_type.label();
            let mut put = |metric: &str, more: &str, value: f64| {
                // The order in which the labels stand in `/metrics`.
                let mut labels: Vec<_> =
                    more.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect();
                labels.extend([format!("captcha_type=\"{name}\""), "slo=\"success\"".to_owned()]);
                labels.sort();
                values.push((format!("{metric}{{{}}}", labels.join(",")), value));
            };
            let counted = self.counters[&report.captcha_type];
            put("solvegate_slo_events_total", "result=\"good\"", float(counted.good));
            put("solvegate_slo_events_total", "result=\"bad\"", float(counted.bad));
            put("solvegate_slo_objective_ratio", "", report.objective);
            put("solvegate_slo_window_seconds", "", float(report.window.as_secs()));
            put("solvegate_slo_min_events", "", float(report.min_events));
            for (tier, threshold) in report.thresholds {
                let tier = format!("tier=\"{}\"", tier.label());
                put("solvegate_slo_burn_rate_threshold", &tier, threshold);
            }
            let window = report.of_window(Window::Slo).counts;
            put("solvegate_slo_window_events", "result=\"good\",window=\"slo\"", float(window.good));
            put("solvegate_slo_window_events", "result=\"bad\",window=\"slo\"", float(window.bad));
            for status in solvegate::domain::policy::Status::ALL {
                let label = format!("status=\"{}\"", status.label());
                put("solvegate_slo_status", &label, f64::from(u8::from(status == report.status)));
            }
        }
        values
    }

    /// Panics unless the text of `/metrics` says the same.
    pub(crate) fn prove(&mut self, values: &Values, at_ms: i64) {
        let snapshot = self.engine.snapshot(self.now(at_ms));
        let text = self.metrics.render(&snapshot, &StoreFigures::default()).unwrap();
        let text = String::from_utf8(text).unwrap();
        let shown: BTreeMap<_, _> = text.lines().filter_map(|line| line.rsplit_once(' ')).collect();
        for (series, value) in values {
            let text = shown.get(series.as_str()).unwrap_or_else(|| panic!("no {series}"));
            assert!(text.parse::<f64>().unwrap().to_bits() == value.to_bits(), "{series} {text}");
        }
    }

    fn now(&self, at_ms: i64) -> Now {
        let passed = Duration::from_millis(u64::try_from(at_ms - self.started_ms).unwrap());
        Now { mono: Mono(MONO_START_NS) + passed, wall: Wall(at_ms) }
    }
}

/// The defaults of the product, with the job's objective and windows; keys are not checked.
fn policy(job: &Job) -> Policy {
    let mut policy = solvegate::config::default_config().policy;
    let default = policy.slo.default;
    let slo = |hours: u64| Slo {
        objective: job.objective,
        window: Duration::from_hours(hours),
        ..default
    };
    let types = job.types.iter().map(|spec| {
        (CaptchaType::from_label(&spec.captcha_type).unwrap(), slo(spec.window_hours))
    });
    policy.slo.types = types.collect();
    assert!(policy.slo.rules.is_empty() && START_MS % 86_400_000 == 0);
    policy
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 9e15")]
fn float(count: u64) -> f64 {
    count as f64
}
