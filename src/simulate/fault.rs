//! Faults: which request is struck, and by what.

use std::str::FromStr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Deserializer, Serialize};

use super::request::{Form, Operation};
use super::validate;

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The connection is closed (FIN) without an answer.
    Refuse,
    /// The connection is reset (RST) without an answer.
    ResetBefore,
    /// Half of the true answer's body, then a RST.
    ResetMidAnswer,
    /// Half of the true answer's head, then a FIN.
    HalfHeader,
    /// The whole head and half of the body that it announces, then a FIN.
    HalfBody,
    /// The true answer, later. With [`Effect::Before`] the request takes effect after the delay.
    #[serde(with = "duration_text")]
    Delay(Duration),
    /// No answer until the client gives up.
    Hang,
    /// The true answer, one byte per 100 ms.
    Drip,
    /// That status with a page of the web server.
    HttpStatus(u16),
    /// 307 to another path.
    Redirect,
    /// Bytes that are not HTTP, then a FIN.
    Garbage,
    /// HTTP 200 with a binary body.
    GarbageBody,
    /// The true answer under the content type of the other form.
    WrongContentType,
    /// HTTP 200 without a body.
    EmptyBody,
    /// HTTP 200 with a body of that many MiB.
    GiantAnswer(u32),
    /// To a submission: a success with an empty id.
    OkWithoutId,
    /// To a submission: the id that was given before.
    DuplicateId,
    /// To a poll that finds its task solved: the answer to another task.
    ForeignAnswer,
    /// To a submission: the task is never ready. To a poll: not ready.
    NeverReady,
    /// That provider code, in the form asked for.
    Code(String),
    /// The true answer and a newline.
    Newline,
    /// In place of the balance: `-5.00`, `NaN`, `<html>`. In the form asked for.
    Figure(String),
    /// HTTP 200 with exactly this body.
    Body(String),
}

impl Fault {
    /// Whether the true answer is needed, and so the request must take effect.
    pub(super) fn needs_answer(&self) -> bool {
        match self {
            Self::ResetMidAnswer
            | Self::HalfHeader
            | Self::HalfBody
            | Self::Delay(_)
            | Self::Drip
            | Self::WrongContentType
            | Self::ForeignAnswer
            | Self::NeverReady
            | Self::Newline => true,
            Self::Refuse
            | Self::ResetBefore
            | Self::Hang
            | Self::HttpStatus(_)
            | Self::Redirect
            | Self::Garbage
            | Self::GarbageBody
            | Self::EmptyBody
            | Self::GiantAnswer(_)
            | Self::OkWithoutId
            | Self::DuplicateId
            | Self::Code(_)
            | Self::Figure(_)
            | Self::Body(_) => false,
        }
    }
}

/// Whether a struck request takes effect: `before` it could (nothing is accepted, nothing changes), or
/// `after` it did (the solve is accepted, its answer lost). Faults that show the true answer always
/// come after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The request does nothing.
    #[default]
    Before,
    /// The request does what it asks for.
    After,
}

/// Which requests of the operation a rule strikes; all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultMatch {
    /// From the nth one (from 1) that the rest of the rule matches; then `count` is 1 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nth: Option<u64>,
    /// Polls and reports of that task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Requests with that key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Submissions of that captcha type, by its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captcha_type: Option<String>,
    /// This share of them, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
}

/// Strikes some requests with a fault. The first rule that matches a request is the only one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// `None` (`any`): every operation.
    #[serde(default, deserialize_with = "operation_or_any")]
    pub operation: Option<Operation>,
    /// Which of them.
    #[serde(default)]
    pub matches: FaultMatch,
    /// How many times; `None`: forever, or once with `nth`.
    #[serde(default)]
    pub count: Option<u64>,
    /// Whether the request takes effect all the same.
    #[serde(default)]
    pub effect: Effect,
    /// What goes wrong.
    pub fault: Fault,
}

impl FaultRule {
    /// Every request of that operation, forever, before it takes effect.
    pub fn new(operation: Operation, fault: Fault) -> Self {
        let matches = FaultMatch::default();
        Self { operation: Some(operation), matches, count: None, effect: Effect::Before, fault }
    }

    /// The same rule, striking that many times.
    pub fn times(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    /// The same rule, for the nth request (from 1).
    pub fn nth(mut self, nth: u64) -> Self {
        self.matches.nth = Some(nth);
        self
    }

    /// The same rule, striking after the request took effect.
    pub fn after(self) -> Self {
        Self { effect: Effect::After, ..self }
    }
}

/// Reads a rule in JSON.
impl FromStr for FaultRule {
    type Err = serde_json::Error;

    fn from_str(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

/// A rule and how often it was met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleState {
    /// The rule.
    pub rule: FaultRule,
    /// Requests that it matched, without regard to `nth`, `count` and `probability`.
    pub seen: u64,
    /// Requests that it struck.
    pub struck: u64,
}

/// The fault that strikes one request.
#[derive(Debug, Clone)]
pub(super) struct Strike {
    pub(super) fault: Fault,
    pub(super) effect: Effect,
}

/// All rules, in the order in which they were added.
#[derive(Debug)]
pub(super) struct FaultBook {
    pub(super) rules: Vec<RuleState>,
    /// Its own, so that faults change no solve's fate.
    rng: StdRng,
}

impl FaultBook {
    pub(super) fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), rng: StdRng::seed_from_u64(seed.wrapping_add(1)) }
    }

    pub(super) fn add(&mut self, rules: impl IntoIterator<Item = FaultRule>) {
        let states = rules.into_iter().map(|rule| RuleState { rule, seen: 0, struck: 0 });
        self.rules.extend(states);
    }

    /// The fault that strikes this request, if any.
    pub(super) fn strike(&mut self, operation: Operation, form: &Form<'_>) -> Option<Strike> {
        let rng = &mut self.rng;
        let state = self.rules.iter_mut().find_map(|state| {
            if !concerns(&state.rule, operation, form) {
                return None;
            }
            state.seen += 1;
            let FaultMatch { nth, probability, .. } = state.rule.matches;
            let count =
                state.rule.count.unwrap_or_else(|| if nth.is_some() { 1 } else { u64::MAX });
            if state.seen < nth.unwrap_or(1) || state.struck >= count {
                return None;
            }
            let strikes = probability.is_none_or(|share| rng.random::<f64>() < share);
            strikes.then_some(state)
        })?;
        state.struck += 1;
        let fault = state.rule.fault.clone();
        let effect = if fault.needs_answer() && !matches!(fault, Fault::Delay(_)) {
            Effect::After
        } else {
            state.rule.effect
        };
        Some(Strike { fault, effect })
    }
}

fn concerns(rule: &FaultRule, operation: Operation, form: &Form<'_>) -> bool {
    let FaultMatch { task, key, captcha_type, .. } = &rule.matches;
    let is = |wanted: &Option<String>, name| {
        wanted.as_deref().is_none_or(|wanted| form.get(name) == Some(wanted))
    };
    rule.operation.is_none_or(|wanted| wanted == operation)
        && is(task, "id")
        && is(key, "key")
        && captcha_type.as_deref().is_none_or(|wanted| {
            matches!(operation, Operation::Submit | Operation::Solve)
                && validate::captcha_type(form).is_some_and(|found| found.label() == wanted)
        })
}

fn operation_or_any<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Operation>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    if value.is_null() || value == "any" {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).map_err(serde::de::Error::custom)
}

mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(serde::de::Error::custom)
    }
}
