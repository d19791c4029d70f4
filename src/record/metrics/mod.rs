//! What Prometheus is told: every metric's name, labels and help stand in this folder only.

mod known;
mod money;
mod page;
mod scrape;
mod slo;
mod tenants;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use self::known::Known;
use self::money::DollarCounters;
use self::page::Page;
use self::tenants::Series;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::engine::Snapshot;
use crate::domain::ids::Name;
use crate::domain::journal::{SettleRecord, SolveRecord, Write};
use crate::domain::notice::Kind;
use crate::domain::outcome::SliEvent;
use crate::domain::policy::Policy;
use crate::domain::rejection::Reason;
use crate::domain::slo::SloKind;

pub use self::scrape::StoreFigures;

/// The media type that Prometheus 2 and 3 both accept.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric. Cheap to share; each method is one thing that happens.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    solves: IntCounterVec,
    solve_duration: HistogramVec,
    undelivered: IntCounterVec,
    slo_events: IntCounterVec,
    rejections: IntCounterVec,
    reports: IntCounterVec,
    cost: DollarCounters,
    tenant_overflow: IntCounter,
    upstream_requests: IntCounterVec,
    upstream_duration: HistogramVec,
    polls_upstream: IntCounter,
    polls_memory: IntCounter,
    http: [HttpHandles; Operation::ALL.len()],
    notifications: IntCounterVec,
    reloads: IntCounterVec,
    reload_successful: IntGauge,
    reload_at: IntGauge,
    /// Held for reading while something is counted by tenant or account, so that nothing is counted in
    /// a series that a reload takes away.
    known: parking_lot::RwLock<Arc<Known>>,
}

const CODE_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// What every answer touches, looked up once.
#[derive(Debug)]
struct HttpHandles {
    by_code: [IntCounter; CODE_CLASSES.len()],
    duration: Histogram,
    overhead: Histogram,
}

/// What a request is for, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the labels explain them")]
pub enum Operation {
    Submit,
    Poll,
    Solve,
    Report,
    Balance,
    Threads,
    Other,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 7] = [
        Self::Submit,
        Self::Poll,
        Self::Solve,
        Self::Report,
        Self::Balance,
        Self::Threads,
        Self::Other,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Poll => "poll",
            Self::Solve => "solve",
            Self::Report => "report",
            Self::Balance => "balance",
            Self::Threads => "threads",
            Self::Other => "other",
        }
    }
}

/// How a request to the provider went, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the labels explain them")]
pub enum UpstreamResult {
    Ok,
    ApiError,
    HttpError,
    Timeout,
    ConnectError,
}

impl UpstreamResult {
    const ALL: [Self; 5] =
        [Self::Ok, Self::ApiError, Self::HttpError, Self::Timeout, Self::ConnectError];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ApiError => "api_error",
            Self::HttpError => "http_error",
            Self::Timeout => "timeout",
            Self::ConnectError => "connect_error",
        }
    }
}

/// A metric could not be set up: two of one name, or a name that Prometheus refuses.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up metrics")]
pub struct MetricsError(#[from] prometheus::Error);

const SOLVE_SECONDS: &[f64] =
    &[1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0];
const REQUEST_SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const OVERHEAD_SECONDS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25];

impl Metrics {
    /// Every metric at zero, and every series that the policy makes known.
    #[expect(clippy::too_many_lines, reason = "one list, in which every metric stands once")]
    pub fn new(policy: &Policy) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let counters =
            |name: &str, help: &str, labels: &[&str]| counters(&registry, name, help, labels);
        let histograms = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let histograms = HistogramVec::new(
                HistogramOpts::new(name, help).buckets(buckets.to_vec()),
                labels,
            )?;
            registry.register(Box::new(histograms.clone())).map(|()| histograms)
        };
        let polls = counters(
            "solvegate_polls_total",
            "Polls answered, by where the answer came from.",
            &["answered_from"],
        )?;
        let http_requests = counters(
            "solvegate_http_requests_total",
            "Requests of clients.",
            &["operation", "code"],
        )?;
        let http_duration = histograms(
            "solvegate_http_request_duration_seconds",
            "Time from a request's head to its answer.",
            &["operation"],
            REQUEST_SECONDS,
        )?;
        let overhead = histograms(
            "solvegate_proxy_overhead_seconds",
            "Time a request spent in the sidecar, without the provider's, a held poll's and its body's on its way in.",
            &["operation"],
            OVERHEAD_SECONDS,
        )?;
        let metrics = Self {
            solves: counters(
                "solvegate_solves_total",
                "Solves ended, by outcome.",
                &["captcha_type", "outcome"],
            )?,
            solve_duration: histograms(
                "solvegate_solve_duration_seconds",
                "Time from submission to verdict.",
                &["captcha_type"],
                SOLVE_SECONDS,
            )?,
            undelivered: counters(
                "solvegate_solves_undelivered_total",
                "Solves that the provider answered and no client fetched.",
                &["captcha_type"],
            )?,
            slo_events: counters(
                "solvegate_slo_events_total",
                "SLI events, good and bad.",
                &["slo", "captcha_type", "result"],
            )?,
            rejections: counters(
                "solvegate_rejections_total",
                "Requests refused by the sidecar, or that it would have refused (mode=shadow).",
                &["reason", "mode"],
            )?,
            reports: counters(
                "solvegate_reports_total",
                "Reports on answers.",
                &["captcha_type", "report"],
            )?,
            cost: DollarCounters::register(
                &registry,
                ("solvegate_cost_usd_total", "US dollars charged."),
                &["account", "captcha_type"],
            )?,
            tenant_overflow: counter(
                &registry,
                "solvegate_tenant_label_overflow_total",
                "Times that a tenant beyond the label limit was counted as other.",
            )?,
            upstream_requests: counters(
                "solvegate_upstream_requests_total",
                "Requests to the provider.",
                &["account", "operation", "result"],
            )?,
            upstream_duration: histograms(
                "solvegate_upstream_request_duration_seconds",
                "Time the provider took to answer.",
                &["account", "operation"],
                REQUEST_SECONDS,
            )?,
            polls_upstream: polls.with_label_values(&["upstream"]),
            polls_memory: polls.with_label_values(&["memory"]),
            http: Operation::ALL.map(|operation| {
                let operation = operation.label();
                HttpHandles {
                    by_code: CODE_CLASSES
                        .map(|code| http_requests.with_label_values(&[operation, code])),
                    duration: http_duration.with_label_values(&[operation]),
                    overhead: overhead.with_label_values(&[operation]),
                }
            }),
            notifications: counters(
                "solvegate_notifications_total",
                "Notices to webhooks.",
                &["event", "result"],
            )?,
            reloads: counters(
                "solvegate_config_reloads_total",
                "Reloads of the config since the start.",
                &["result"],
            )?,
            reload_successful: gauge(
                &registry,
                "solvegate_config_last_reload_successful",
                "Whether the last reload of the config was put in force.",
            )?,
            reload_at: gauge(
                &registry,
                "solvegate_config_last_reload_success_timestamp_seconds",
                "When a config was last put in force.",
            )?,
            known: parking_lot::RwLock::default(),
            registry,
        };
        metrics
            .registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        metrics.reconfigure(policy);
        Ok(metrics)
    }

    /// Something was written down.
    pub fn recorded(&self, write: &Write) {
        match write {
            Write::Verdict(record) => self.solve_ended(record),
            Write::Settle(record) => self.solve_settled(record),
            Write::Bind(_)
            | Write::Ready(_)
            | Write::Offer(..)
            | Write::Forget(_)
            | Write::Credit(_)
            | Write::Key(_)
            | Write::Notified(_)
            | Write::Prune(_) => {}
        }
    }

    fn solve_ended(&self, record: &SolveRecord) {
        let (captcha_type, outcome) = (record.captcha_type.label(), record.outcome.label());
        self.solves.with_label_values(&[captcha_type, outcome]).inc();
        self.solve_duration
            .with_label_values(&[captcha_type])
            .observe(record.duration.as_secs_f64());
        let known = self.known.read();
        self.series(&known, &record.tenant).ended(record.outcome);
        for (slo, event) in
            [(SloKind::Success, record.success_event), (SloKind::Latency, record.latency_event)]
        {
            let result = match event.filter(|_| known.has_slo(slo, record.captcha_type)) {
                Some(SliEvent::Good) => "good",
                Some(SliEvent::Bad) => "bad",
                None => continue,
            };
            self.slo_events.with_label_values(&[slo.label(), captcha_type, result]).inc();
        }
    }

    fn solve_settled(&self, record: &SettleRecord) {
        let known = self.known.read();
        self.series(&known, &record.tenant).settled(record.charged, record.thread_time);
        if let Some(charged) = record.charged {
            let account = known.account(&record.account);
            self.cost.add(&[account, record.captcha_type.label()], charged.micros());
        }
    }

    /// A solve that the provider answered was never fetched.
    pub fn undelivered(&self, captcha_type: CaptchaType) {
        self.undelivered.with_label_values(&[captcha_type.label()]).inc();
    }

    /// A request was refused. `tenant` is `None` while it is not known whose it is.
    pub fn rejected(&self, tenant: Option<&Name>, reason: Reason) {
        self.rejections.with_label_values(&[reason.label(), "enforced"]).inc();
        if let Some(tenant) = tenant {
            let known = self.known.read();
            self.series(&known, tenant).rejected(reason);
        }
    }

    /// A submission passed that `enforce` would have refused.
    pub fn shadowed(&self, reason: Reason) {
        self.rejections.with_label_values(&[reason.label(), "shadow"]).inc();
    }

    /// Refusals since the start: enforced, and those that shadow mode let pass.
    pub fn rejections(&self, reason: Reason) -> (u64, u64) {
        let of = |mode| self.rejections.with_label_values(&[reason.label(), mode]).get();
        (of("enforced"), of("shadow"))
    }

    /// A client said what an answer was worth.
    pub fn reported(&self, captcha_type: CaptchaType, good: Report) {
        self.reports.with_label_values(&[captcha_type.label(), good.label()]).inc();
    }

    /// The provider was asked.
    pub fn upstream_asked(
        &self,
        account: &str,
        operation: Operation,
        result: UpstreamResult,
        took: Duration,
    ) {
        let known = self.known.read();
        if let Some(handles) = known.asked(account) {
            let handles = &handles[operation as usize];
            handles.by_result[result as usize].inc();
            handles.duration.observe(took.as_secs_f64());
            return;
        }
        let account = known.account(account);
        self.upstream_requests
            .with_label_values(&[account, operation.label(), result.label()])
            .inc();
        self.upstream_duration
            .with_label_values(&[account, operation.label()])
            .observe(took.as_secs_f64());
    }

    /// A poll was answered by asking the provider.
    pub fn poll_forwarded(&self) {
        self.polls_upstream.inc();
    }

    /// A poll was answered without asking the provider.
    pub fn poll_from_memory(&self) {
        self.polls_memory.inc();
    }

    /// A client's request was answered. `waited` is the part of `took` in which the request's body came in,
    /// the provider was asked or a poll was held.
    pub fn answered(&self, operation: Operation, status: u16, took: Duration, waited: Duration) {
        let class = match status {
            200..300 => 0,
            300..400 => 1,
            400..500 => 2,
            _ => 3,
        };
        let handles = &self.http[operation as usize];
        handles.by_code[class].inc();
        handles.duration.observe(took.as_secs_f64());
        handles.overhead.observe(took.saturating_sub(waited).as_secs_f64());
    }

    /// A notice was posted, or not. `None`: one that was only a test.
    pub fn notified(&self, kind: Option<Kind>, result: Notified) {
        self.notifications.with_label_values(&[event_label(kind), result.label()]).inc();
    }

    /// The first config is in force, which is no reload.
    pub fn configured(&self, at: crate::domain::time::Wall) {
        self.reload_successful.set(1);
        self.reload_at.set(at.0 / 1_000);
    }

    /// Another config was put in force, or refused.
    pub fn reloaded(&self, successful: bool, at: crate::domain::time::Wall) {
        self.reloads.with_label_values(&[if successful { "ok" } else { "failed" }]).inc();
        self.reload_successful.set(i64::from(successful));
        if successful {
            self.reload_at.set(at.0 / 1_000);
        }
    }

    /// The text that Prometheus reads.
    pub fn render(
        &self,
        snapshot: &Snapshot,
        store: &StoreFigures,
    ) -> Result<String, MetricsError> {
        let mut page = Page::default();
        slo::add(&mut page, &snapshot.slos);
        // A reload must not wait for a scrape, nor whoever counts for the reload.
        let known = self.known.read().clone();
        scrape::add(&mut page, snapshot, store, &|tenant| known.has_label(tenant));
        known.tenants.add(&mut page);
        page.gathered(&self.registry.gather())?;
        Ok(page.into_text())
    }

    fn series<'a>(&self, known: &'a Known, tenant: &Name) -> &'a Series {
        if known.is_beyond(tenant) {
            self.tenant_overflow.inc();
        }
        known.tenants.of(tenant)
    }
}

/// What a client says of an answer, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the labels explain them")]
pub enum Report {
    Good,
    Bad,
}

impl Report {
    const fn label(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

/// How a notice fared, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notified {
    /// The webhook took it.
    Ok,
    /// It did not, also when it was tried again.
    Failed,
    /// It was given up for newer ones, or because its webhook or the process ended.
    Dropped,
}

impl Notified {
    const ALL: [Self; 3] = [Self::Ok, Self::Failed, Self::Dropped];

    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

const fn event_label(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(kind) => kind.label(),
        None => "test",
    }
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone())).map(|()| counters)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone())).map(|()| counter)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone())).map(|()| gauge)
}
