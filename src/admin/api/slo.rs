//! Error budgets: as they stand, and how they came there.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::super::Admin;
use super::answer::{ApiError, At, Json, Query, read};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::slo::SloKind;
use crate::domain::slo::burn::Objective;
use crate::domain::slo::course::{Span, course as course_of};
use crate::domain::slo::report::Report;
use crate::domain::slo::window::Window;
use crate::domain::time::Wall;

#[derive(Serialize)]
pub(super) struct Slos {
    slos: Vec<Slo>,
}

/// One SLO, in the words of the report of `solvegate slo`.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the contract")]
pub(in crate::admin) struct Slo {
    captcha_type: &'static str,
    slo: &'static str,
    status: &'static str,
    objective: f64,
    window_seconds: u64,
    min_events: u64,
    current_rate: Option<f64>,
    total_events: u64,
    successes: u64,
    failures: u64,
    budget_total: f64,
    budget_remaining: f64,
    budget_remaining_ratio: f64,
    burn_rate: f64,
    burn_rates: BTreeMap<&'static str, f64>,
    burn_rate_thresholds: BTreeMap<&'static str, f64>,
    policy: Option<&'static str>,
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Slos> {
    let slos = admin.gate.snapshot_without_tenants().slos.iter().map(shown).collect();
    Json(Slos { slos })
}

fn shown(report: &Report) -> Slo {
    let own = report.of_window(Window::Slo);
    Slo {
        captcha_type: report.captcha_type.label(),
        slo: report.slo.label(),
        status: report.status.label(),
        objective: report.objective,
        window_seconds: report.window.as_secs(),
        min_events: report.min_events,
        current_rate: own.success_ratio,
        total_events: own.counts.good + own.counts.bad,
        successes: own.counts.good,
        failures: own.counts.bad,
        budget_total: report.error_budget_events,
        budget_remaining: report.remaining_events,
        budget_remaining_ratio: report.remaining_ratio,
        burn_rate: own.burn_rate,
        burn_rates: report.windows.iter().map(|w| (w.window.label(), w.burn_rate)).collect(),
        burn_rate_thresholds: report.thresholds.iter().map(|(t, v)| (t.label(), *v)).collect(),
        policy: report.in_force.map(|in_force| in_force.kind().label()),
    }
}

#[derive(Deserialize)]
pub(super) struct CourseQuery {
    captcha_type: String,
    #[serde(default = "success")]
    slo: String,
    hours: Option<u32>,
}

fn success() -> String {
    SloKind::Success.label().to_owned()
}

#[derive(Serialize)]
pub(super) struct Course {
    captcha_type: &'static str,
    slo: &'static str,
    step_seconds: i64,
    points: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    at: At,
    good: u64,
    bad: u64,
    budget_remaining_ratio: f64,
}

/// At most so many points; a screen shows no more.
const POINTS_MAX: u32 = 288;

pub(super) async fn course(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<CourseQuery>,
) -> Result<Json<Course>, ApiError> {
    let captcha_type = CaptchaType::from_label(&query.captcha_type).ok_or_else(|| {
        ApiError::bad_request(format!("captcha_type: there is no type `{}`", query.captcha_type))
    })?;
    let slo = SloKind::from_label(&query.slo)
        .ok_or_else(|| ApiError::bad_request("slo must be success or latency"))?;
    let hours = query.hours.unwrap_or(24);
    if !(1..=720).contains(&hours) {
        return Err(ApiError::bad_request("hours must be 1 to 720"));
    }
    let Some(objective) = Objective::of(admin.gate.policy().slo.slo(captcha_type), slo) else {
        let text = format!("{} has no {} SLO", captcha_type.label(), slo.label());
        return Err(ApiError::not_found(text));
    };
    let now = admin.gate.now().wall;
    let step = i64::from((hours * 60).div_ceil(POINTS_MAX));
    let first = (now.0.div_euclid(60_000) - i64::from(hours) * 60).div_euclid(step) * step;
    let reach = i64::try_from(objective.window.as_secs().div_ceil(60)).unwrap_or(0);
    let points = read(&admin, move |reader| {
        let rows = reader.sli_minutes(captcha_type, slo, first - reach)?;
        Ok(course_of(&objective, rows, Span { first, step, now }))
    });
    let points = points.await?.into_iter().map(|point| Point {
        at: At(Wall(point.minute.saturating_mul(60_000))),
        good: point.counts.good,
        bad: point.counts.bad,
        budget_remaining_ratio: point.remaining_ratio,
    });
    Ok(Json(Course {
        captcha_type: captcha_type.label(),
        slo: slo.label(),
        step_seconds: step * 60,
        points: points.collect(),
    }))
}
