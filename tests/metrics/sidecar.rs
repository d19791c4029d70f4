//! An engine and its metrics, as the gate puts them together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use solvegate::config;
use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::engine::{Asker, Credential, Decision, Engine, PollResult};
use solvegate::domain::ids::{SolveId, TaskId};
use solvegate::domain::journal::Restored;
use solvegate::domain::outcome::Outcome;
use solvegate::domain::policy::Policy;
use solvegate::domain::rejection::Reason;
use solvegate::domain::solve::{Answer, Form, Identity, Submission};
use solvegate::domain::time::{Mono, Now, Wall};
use solvegate::record::metrics::{Metrics, StoreFigures};
use solvegate::wire::secret::Secret;

/// A Saturday noon.
const START: Now = Now { mono: Mono(1_000_000_000_000_000), wall: Wall(1_795_262_400_000) };

pub(crate) struct Sidecar {
    pub(crate) engine: Engine,
    pub(crate) metrics: Metrics,
    pub(crate) now: Now,
    pub(crate) store: StoreFigures,
    tasks: u64,
}

/// The policy of a config file.
pub(crate) fn policy(text: &str) -> Arc<Policy> {
    let config = config::parse("f.yaml", text, Path::new(""), &|_| None);
    Arc::new(config.unwrap_or_else(|faults| panic!("{faults}")).policy)
}

/// A key of the right length.
pub(crate) fn key(name: &str) -> String {
    format!("{name}key{}", "0".repeat(29 - name.len()))
}

impl Sidecar {
    pub(crate) fn start(text: &str) -> Self {
        let policy = policy(text);
        let metrics = Metrics::new(&policy).unwrap();
        metrics.configured(START.wall);
        let mut engine = Engine::new(&policy, Restored::default(), START);
        for write in engine.drain_outbox() {
            metrics.recorded(&write);
        }
        Self { engine, metrics, now: START, store: StoreFigures::default(), tasks: 73_000_000_000 }
    }

    pub(crate) fn reload(&mut self, text: &str) {
        let policy = policy(text);
        self.metrics.reconfigure(&policy);
        self.engine.reconfigure(&policy, self.now);
        self.record();
    }

    pub(crate) fn later(&mut self, by: Duration) {
        self.now = self.now + by;
    }

    fn record(&mut self) {
        for write in self.engine.drain_outbox() {
            self.metrics.recorded(&write);
        }
    }

    fn identity(&self, tenant: &str) -> Identity {
        let key = Secret::new(key(tenant)).sha256();
        let credential = Credential { key: Some(key), prefix: None, source_ip: None };
        self.engine.identify(&credential, self.now).unwrap()
    }

    /// A submission; why it is refused, if it is.
    pub(crate) fn submit(
        &mut self,
        tenant: &str,
        captcha_type: CaptchaType,
    ) -> Result<SolveId, Reason> {
        let identity = self.identity(tenant);
        let submission = Submission {
            identity,
            captcha_type,
            form: Form::Text,
            source_ip: None,
            page: None,
            pingback: false,
        };
        let decision = self.engine.admit(submission, self.now);
        self.record();
        match decision {
            Decision::Admit(admitted) => {
                self.tasks += 1;
                let task = TaskId::new(&self.tasks.to_string()).unwrap();
                self.engine.bind(admitted.solve, &task, self.now);
                self.record();
                Ok(admitted.solve)
            }
            Decision::Reject { rejection, .. } => {
                let name = self.engine.tenant_name(identity).clone();
                self.metrics.rejected(Some(&name), rejection.reason);
                Err(rejection.reason)
            }
        }
    }

    /// The answer of a solve comes now, and reaches the client.
    pub(crate) fn solved(&mut self, solve: SolveId) {
        self.engine.polled(solve, Asker::Client, PollResult::Solved(answer()), self.now);
        self.engine.delivered(solve, self.now);
        self.record();
    }

    /// The provider gives a solve up now.
    pub(crate) fn failed(&mut self, solve: SolveId) {
        let code = "ERROR_CAPTCHA_UNSOLVABLE".to_owned();
        let result = PollResult::Failed(answer(), Outcome::Unsolvable, code);
        self.engine.polled(solve, Asker::Client, result, self.now);
        self.engine.delivered(solve, self.now);
        self.record();
    }

    /// What Prometheus reads now.
    pub(crate) fn scrape(&mut self) -> Scrape {
        let snapshot = self.engine.snapshot(self.now);
        let text = self.metrics.render(&snapshot, &self.store).unwrap();
        Scrape(text)
    }
}

fn answer() -> Arc<Answer> {
    let body = Bytes::from_static(b"OK|token");
    Arc::new(Answer { form: Form::Text, status: 200, content_type: None, body })
}

/// One exposition.
pub(crate) struct Scrape(pub(crate) String);

impl Scrape {
    /// Every sample: the series as it is written, and its value.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series, value.parse().unwrap())
        })
    }

    /// The value of that series, `None` where there is none.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        self.samples().find(|(found, _)| *found == series).map(|(_, value)| value)
    }

    /// Series whose text holds every part.
    pub(crate) fn series(&self, parts: &[&str]) -> Vec<(&str, f64)> {
        self.samples()
            .filter(|(series, _)| parts.iter().all(|part| series.contains(part)))
            .collect()
    }

    pub(crate) fn sum(&self, parts: &[&str]) -> f64 {
        self.series(parts).iter().map(|(_, value)| value).sum()
    }

    /// Families by name: type, help and the names of labels.
    pub(crate) fn families(&self) -> BTreeMap<&str, Family<'_>> {
        let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
        let mut help = ("", "");
        let mut current = "";
        for line in self.0.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                help = rest.split_once(' ').unwrap();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(help.0, name, "no HELP before {line}");
                let family = Family { kind, help: help.1, labels: BTreeSet::new() };
                assert!(families.insert(name, family).is_none(), "{name} stands there twice");
                current = name;
            } else {
                let family = families.get_mut(current).unwrap();
                assert!(line.starts_with(current), "{line} stands under {current}");
                family.labels.insert(label_names(line));
            }
        }
        families
    }
}

pub(crate) struct Family<'a> {
    pub(crate) kind: &'a str,
    pub(crate) help: &'a str,
    /// Each set of label names that its series have, but for `le`.
    pub(crate) labels: BTreeSet<BTreeSet<&'a str>>,
}

/// No label value of these tests holds a comma or a quote.
fn label_names(line: &str) -> BTreeSet<&str> {
    let Some((_, rest)) = line.split_once('{') else { return BTreeSet::new() };
    let (labels, _) = rest.rsplit_once('}').unwrap();
    let names = labels.split(',').map(|label| label.split_once('=').unwrap().0);
    names.filter(|name| *name != "le").collect()
}
