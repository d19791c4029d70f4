//! Domain values as the words of the tables, and back.

use std::time::Duration;

use rusqlite::types::Type;

use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::{SolveId, TaskId};
use crate::domain::journal::{CreditKind, TaskState};
use crate::domain::outcome::Outcome;

/// The identity of a charge. Unambiguous because a configured account name holds no `:`.
pub(super) fn charge_cause(account: &str, task_id: &TaskId) -> String {
    format!("charge:{account}:{task_id}")
}

pub(super) const fn state_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Open => "open",
        TaskState::Ready => "ready",
        TaskState::Offered => "offered",
        TaskState::Settled => "settled",
    }
}

pub(super) fn state_of(word: &str) -> Option<TaskState> {
    [TaskState::Open, TaskState::Ready, TaskState::Offered, TaskState::Settled]
        .into_iter()
        .find(|state| state_word(*state) == word)
}

pub(super) const fn kind_word(kind: CreditKind) -> &'static str {
    match kind {
        CreditKind::Opening => "opening",
        CreditKind::Credit => "credit",
        CreditKind::Adjustment => "adjustment",
    }
}

pub(super) fn kind_of(word: &str) -> Option<CreditKind> {
    [CreditKind::Opening, CreditKind::Credit, CreditKind::Adjustment]
        .into_iter()
        .find(|kind| kind_word(*kind) == word)
}

/// `SQLite` has no unsigned integers; an id beyond its range fails to convert, which is that write's
/// own fault.
pub(super) fn solve_key(solve: SolveId) -> Result<i64, rusqlite::Error> {
    i64::try_from(solve.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A column that holds what no version of this program writes there.
#[derive(Debug, thiserror::Error)]
#[error("column `{column}` holds `{value}`")]
pub(super) struct Unreadable {
    column: &'static str,
    value: String,
}

pub(super) fn unreadable(column: &'static str, value: &dyn ToString) -> rusqlite::Error {
    let value = value.to_string();
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Unreadable { column, value }.into())
}

pub(super) fn read_type(word: &str) -> Result<CaptchaType, rusqlite::Error> {
    CaptchaType::from_label(word).ok_or_else(|| unreadable("captcha_type", &word))
}

pub(super) fn read_outcome(word: &str) -> Result<Outcome, rusqlite::Error> {
    Outcome::from_label(word).ok_or_else(|| unreadable("outcome", &word))
}

pub(super) fn read_solve(key: i64) -> Result<SolveId, rusqlite::Error> {
    u64::try_from(key).map(SolveId).map_err(|_| unreadable("solve", &key))
}
