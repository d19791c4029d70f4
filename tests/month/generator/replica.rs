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
use solvegate::domain::policy::{Policy, Slo, Status};
use solvegate::domain::slo::burn::Tier;
use solvegate::domain::slo::window::{Counts, MinuteCounts, Window};
use solvegate::domain::slo::{SliRow, SloKind};
use solvegate::domain::solve::{Answer, Form, Identity, Submission};
use solvegate::domain::time::{Mono, Now, Wall};
use solvegate::record::metrics::{Metrics, StoreFigures};

use crate::stream::Event;
use crate::{Job, START_MS};

/// A process has its own monotonic clock; every one here begins at the same reading.
const MONO_START_NS: u64 = 365 * 86_400 * 1_000_000_000;

pub(crate) struct Replica {
    engine: Engine,
    metrics: Metrics,
    identity: Identity,
    types: Vec<CaptchaType>,
    series: Vec<String>,
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
        let identity = engine.identify(&credential, now).unwrap();
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
            series: types.iter().flat_map(|known| series(known.label())).collect(),
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
            for counts in [stored, counted] {
                match record.success_event {
                    Some(SliEvent::Good) => counts.good += 1,
                    Some(SliEvent::Bad) => counts.bad += 1,
                    None => {}
                }
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

    /// What a scrape reads, as far as the rules on error budgets need it; in the order of
    /// [`series`](Self::series).
    pub(crate) fn values(&mut self, at_ms: i64) -> Vec<f64> {
        let now = self.now(at_ms);
        self.engine.expire(0, now);
        let Snapshot { slos, .. } = self.engine.snapshot(now);
        let mut values = Vec::with_capacity(self.series.len());
        for captcha_type in &self.types {
            let report = slos.iter().find(|report| report.captcha_type == *captcha_type).unwrap();
            let counted = self.counters[captcha_type];
            let window = report.of_window(Window::Slo).counts;
            values.extend([counted.good, counted.bad].map(float));
            values.extend([report.objective, report.window.as_secs_f64()]);
            values.push(float(report.min_events));
            values.extend(report.thresholds.map(|(_, threshold)| threshold));
            values.extend([window.good, window.bad].map(float));
            values.extend(Status::ALL.map(|status| f64::from(u8::from(status == report.status))));
        }
        values
    }

    /// The series of [`values`](Self::values), in the form of `/metrics`.
    pub(crate) fn series(&self) -> &[String] {
        &self.series
    }

    /// Panics unless the text of `/metrics` says the same.
    pub(crate) fn prove(&mut self, values: &[f64], at_ms: i64) {
        let snapshot = self.engine.snapshot(self.now(at_ms));
        let text = self.metrics.render(&snapshot, &StoreFigures::default()).unwrap();
        let shown: BTreeMap<_, _> = text.lines().filter_map(|line| line.rsplit_once(' ')).collect();
        for (series, value) in self.series.iter().zip(values) {
            let text = shown.get(series.as_str()).unwrap_or_else(|| panic!("no {series}"));
            assert!(text.parse::<f64>().unwrap().to_bits() == value.to_bits(), "{series} {text}");
        }
    }

    fn now(&self, at_ms: i64) -> Now {
        let passed = Duration::from_millis(u64::try_from(at_ms - self.started_ms).unwrap());
        Now { mono: Mono(MONO_START_NS) + passed, wall: Wall(at_ms) }
    }
}

/// The series of one type; labels in the order in which they stand in `/metrics`.
fn series(name: &str) -> Vec<String> {
    let key = format!("captcha_type=\"{name}\"");
    let plain = |metric: &str| format!("{metric}{{{key},slo=\"success\"}}");
    let results = ["good", "bad"];
    let mut series = Vec::from(results.map(|result| {
        format!("solvegate_slo_events_total{{{key},result=\"{result}\",slo=\"success\"}}")
    }));
    series.extend(
        [
            "solvegate_slo_objective_ratio",
            "solvegate_slo_window_seconds",
            "solvegate_slo_min_events",
        ]
        .map(plain),
    );
    series.extend(Tier::ALL.map(|tier| {
        let tier = tier.label();
        format!("solvegate_slo_burn_rate_threshold{{{key},slo=\"success\",tier=\"{tier}\"}}")
    }));
    series.extend(results.map(|result| {
        let labels = format!("{key},result=\"{result}\",slo=\"success\",window=\"slo\"");
        format!("solvegate_slo_window_events{{{labels}}}")
    }));
    series.extend(Status::ALL.map(|status| {
        let status = status.label();
        format!("solvegate_slo_status{{{key},slo=\"success\",status=\"{status}\"}}")
    }));
    series
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
    let types = job
        .types
        .iter()
        .map(|spec| (CaptchaType::from_label(&spec.captcha_type).unwrap(), slo(spec.window_hours)));
    policy.slo.types = types.collect();
    assert!(policy.slo.rules.is_empty() && START_MS % 86_400_000 == 0);
    policy
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 9e15")]
fn float(count: u64) -> f64 {
    count as f64
}
