//! A task: one accepted solve, its fate decided at submission.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::account::masked;
use super::solution::Solution;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::money::Money;

/// How a task ends, once its solve time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Solved,
    Failed(Arc<str>),
    Never,
}

#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) key: Arc<str>,
    pub(super) captcha_type: CaptchaType,
    pub(super) submitted: Duration,
    pub(super) ready: Duration,
    pub(super) fate: Fate,
    pub(super) answer: Option<Arc<str>>,
    pub(super) price: Money,
    pub(super) polls: u64,
    pub(super) solved_answers: u64,
    pub(super) report: Option<Report>,
}

/// What a client said of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// By `reportgood`.
    Good,
    /// By `reportbad`.
    Bad,
}

impl Task {
    pub(super) fn is_ready(&self, now: Duration) -> bool {
        self.fate != Fate::Never && self.ready <= now
    }

    pub(super) fn solution(&self, id: u64, seed: u64) -> Solution {
        Solution { id, captcha_type: self.captcha_type, seed, chosen: self.answer.clone() }
    }

    pub(super) fn view(&self, id: u64, seed: u64) -> TaskView {
        let outcome = match &self.fate {
            Fate::Solved => "solved",
            Fate::Failed(code) => code,
            Fate::Never => "never",
        };
        TaskView {
            id: id.to_string(),
            account: masked(&self.key),
            captcha_type: self.captcha_type.label(),
            submitted_ms: self.submitted.as_millis(),
            ready_ms: (self.fate != Fate::Never).then_some(self.ready.as_millis()),
            outcome: outcome.to_owned(),
            answer: (self.fate == Fate::Solved).then(|| self.solution(id, seed).text()),
            price: self.price.to_string(),
            polls: self.polls,
            solved_answers: self.solved_answers,
            report: self.report,
        }
    }
}

/// A task as shown by the control API. Times are milliseconds since the simulation started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskView {
    /// The id, in digits.
    pub id: String,
    /// The account's key, masked.
    pub account: String,
    /// The captcha type's label.
    pub captcha_type: &'static str,
    /// When it was accepted.
    pub submitted_ms: u128,
    /// When it is or was ready; `None`: never.
    pub ready_ms: Option<u128>,
    /// `solved`, `never` or the code it fails with; decided at submission.
    pub outcome: String,
    /// Its answer as text, when it is one to be solved.
    pub answer: Option<String>,
    /// What it takes from the balance, in USD.
    pub price: String,
    /// Times asked for.
    pub polls: u64,
    /// Times answered with the solution.
    pub solved_answers: u64,
    /// What it was reported as.
    pub report: Option<Report>,
}
