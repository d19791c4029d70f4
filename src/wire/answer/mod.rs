//! What the provider answered: a task id, an answer, a code, or nothing that can be read.
//!
//! Bodies are told apart by their whole shape, never by a word within: tokens may hold `ERROR`.

mod account;
mod body;
mod codes;
mod rewrite;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use self::account::{balance, threads};
use self::body::{Body, Object, is_filled, text_of};
pub use self::codes::{Step, is_code, outcome_of_code};
pub use self::rewrite::{add_price, answer_text};
use crate::domain::ids::TaskId;
use crate::domain::outcome::Outcome;

/// The answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The provider took it.
    Accepted(TaskId),
    /// The provider did not, and said why.
    Refused {
        /// Its code, or `HTTP_429`, `HTTP_413`.
        code: String,
        /// What that code stands for.
        outcome: Outcome,
    },
    /// Nothing that can be read; whether it was taken is unknown. A provider error.
    Broken {
        /// What was wrong with it.
        what: &'static str,
    },
}

/// The answer to a poll, or to `solve.php`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// Still solving.
    Pending,
    /// The body is the answer.
    Solved,
    /// The end, without an answer.
    Failed {
        /// The provider's code.
        code: String,
        /// What it stands for.
        outcome: Outcome,
    },
    /// The client's proxy failed; clients are told, and poll on.
    ProxyTrouble {
        /// The provider's code.
        code: String,
    },
    /// Says nothing about the task: ask again, the client must not see it.
    Trouble {
        /// The provider's code, `HTTP_<status>`, `malformed` or `empty_answer`.
        code: String,
        /// What it stands for; an account error must open a breaker.
        outcome: Outcome,
    },
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// It counts.
    Recorded,
    /// It does not.
    Refused {
        /// The provider's code.
        code: String,
    },
    /// Nothing that can be read.
    Broken,
}

/// What a body says, before anybody asks what it means.
enum Said<'a> {
    /// A success: the text behind `OK|`, or a `request` of text or digits; `None` when the answer
    /// stands elsewhere.
    Ok(Option<Cow<'a, str>>),
    /// A success without content.
    Empty,
    Pending,
    Code(String),
    Nothing(&'static str),
}

/// Classifies the answer of `in.php`.
pub fn submitted(status: u16, body: &[u8], classes: &BTreeMap<String, Outcome>) -> Submitted {
    let refused = |code: String| {
        let outcome = outcome_of_code(&code, Step::Submit, classes);
        Submitted::Refused { code, outcome }
    };
    match (status, said(body)) {
        (300..=399, _) => Submitted::Broken { what: "a redirect" },
        (500.., _) => Submitted::Broken { what: "HTTP status 5xx" },
        (_, Said::Code(code)) => refused(code),
        (429, _) => refused("HTTP_429".to_owned()),
        (413, _) => refused("HTTP_413".to_owned()),
        (200..=299, Said::Ok(Some(id))) => match (codes::code_of(&id), TaskId::new(id.trim())) {
            (Some(code), _) => refused(code),
            (None, Some(id)) => Submitted::Accepted(id),
            (None, None) => Submitted::Broken { what: "a success without a valid id" },
        },
        (200..=299, Said::Ok(None) | Said::Empty) => {
            Submitted::Broken { what: "a success without an id" }
        }
        (200..=299, Said::Pending) => {
            Submitted::Broken { what: "CAPCHA_NOT_READY to a submission" }
        }
        (200..=299, Said::Nothing(what)) => Submitted::Broken { what },
        _ => Submitted::Broken { what: "an HTTP error without a code" },
    }
}

/// Classifies the answer of `res.php?action=get` for one task that the provider gave us.
pub fn polled(status: u16, body: &[u8], classes: &BTreeMap<String, Outcome>) -> Polled {
    answered(status, body, Step::Poll, classes)
}

/// Classifies the answer of `solve.php`, which is final: `Pending` and `Trouble` are failures there,
/// for nobody can ask again.
pub fn solved_now(status: u16, body: &[u8], classes: &BTreeMap<String, Outcome>) -> Polled {
    answered(status, body, Step::Submit, classes)
}

/// Classifies the answer to `reportgood` or `reportbad`.
pub fn reported(body: &[u8]) -> Reported {
    if body.trim_ascii() == b"OK_REPORT_RECORDED" {
        return Reported::Recorded;
    }
    match said(body) {
        Said::Ok(_) => Reported::Recorded,
        Said::Code(code) => Reported::Refused { code },
        Said::Empty | Said::Pending | Said::Nothing(_) => Reported::Broken,
    }
}

/// What a call that belongs to no solve asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `getbalance`.
    Balance,
    /// `threadsinfo`.
    Threads,
    /// `reportgood`, `reportbad`.
    Report,
    /// The answers of one or several tasks.
    Answers,
}

/// Whether a client that asked for that can read this: a code of the provider's or what was asked for,
/// and not a web server's page, nothing, or garbage.
pub fn is_readable(status: u16, body: &[u8], asked: Asked) -> bool {
    let said = said(body);
    if let Said::Code(_) = said {
        return (200..=299).contains(&status) || (400..=499).contains(&status);
    }
    let is_text = |text: &[u8]| std::str::from_utf8(text).is_ok_and(is_plain);
    (200..=299).contains(&status)
        && match asked {
            Asked::Balance => matches!(said, Said::Ok(_)) || is_figure(body.trim_ascii()),
            Asked::Threads => threads(body).is_some(),
            Asked::Report => reported(body) != Reported::Broken,
            Asked::Answers => !matches!(said, Said::Nothing(_)) || is_text(body),
        }
}

/// A debt is a balance too.
fn is_figure(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(|b| b.is_ascii_digit() || *b == b'.')
}

fn is_plain(text: &str) -> bool {
    !text.trim().is_empty()
        && !text.trim_start().starts_with('<')
        && !text.chars().any(|c| c.is_control() && !c.is_whitespace())
}

fn answered(status: u16, body: &[u8], step: Step, classes: &BTreeMap<String, Outcome>) -> Polled {
    let http = || {
        let code = format!("HTTP_{status}");
        let outcome = outcome_of_code(&code, step, classes);
        Polled::Trouble { code, outcome }
    };
    if !(200..=299).contains(&status) && !(400..=499).contains(&status) {
        return http();
    }
    match said(body) {
        Said::Code(code) => coded(code, step, classes),
        _ if status > 299 => http(),
        Said::Pending => Polled::Pending,
        Said::Ok(_) => Polled::Solved,
        Said::Empty => trouble("empty_answer"),
        Said::Nothing(_) => trouble("malformed"),
    }
}

fn trouble(code: &str) -> Polled {
    Polled::Trouble { code: code.to_owned(), outcome: Outcome::ProviderError }
}

fn coded(code: String, step: Step, classes: &BTreeMap<String, Outcome>) -> Polled {
    let outcome = outcome_of_code(&code, step, classes);
    if code == codes::PROXY_TROUBLE {
        return Polled::ProxyTrouble { code };
    }
    match outcome {
        _ if codes::is_transient(&code) => Polled::Trouble { code, outcome },
        Outcome::AccountError | Outcome::Capacity => Polled::Trouble { code, outcome },
        Outcome::Solved
        | Outcome::Unsolvable
        | Outcome::ProviderError
        | Outcome::Timeout
        | Outcome::ClientError => Polled::Failed { code, outcome },
    }
}

fn said(body: &[u8]) -> Said<'_> {
    match body::read(body) {
        Body::Text(text) => said_in_text(text),
        Body::Object(object) => said_in_json(&object),
        Body::Broken => Said::Nothing("broken JSON"),
    }
}

fn said_in_text(text: &[u8]) -> Said<'_> {
    // Only the first `|` divides: a GeeTest seccode holds one as well.
    if let Some(answer) = text.strip_prefix(b"OK|") {
        return match String::from_utf8_lossy(answer) {
            answer if answer.trim().is_empty() => Said::Empty,
            answer => Said::Ok(Some(answer)),
        };
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return Said::Nothing("bytes that are no text");
    };
    match codes::code_of(text) {
        Some(code) => Said::Code(code),
        None if codes::is_pending(text) => Said::Pending,
        None if text.is_empty() => Said::Nothing("an empty body"),
        None if text.starts_with('<') => Said::Nothing("an HTML page"),
        None => Said::Nothing("a text that is neither an answer nor a code"),
    }
}

fn said_in_json<'a>(object: &Object<'a>) -> Said<'a> {
    let request = object.request.and_then(text_of);
    if request.as_deref().is_some_and(codes::is_pending) {
        return Said::Pending;
    }
    if object.is_ok() && is_filled(object.request) {
        let digits = object.request.filter(|json| json.bytes().all(|b| b.is_ascii_digit()));
        return Said::Ok(request.or_else(|| digits.map(Cow::Borrowed)));
    }
    let elsewhere = is_filled(object.result)
        || (is_filled(object.challenge) && is_filled(object.validate))
        || (object.is_ok() && object.request.is_none() && is_filled(object.other));
    match request.as_deref().and_then(codes::code_of) {
        Some(code) => Said::Code(code),
        None if elsewhere => Said::Ok(None),
        None if object.is_ok() => Said::Empty,
        None => Said::Nothing("JSON that is neither an answer nor a code"),
    }
}

#[cfg(test)]
mod tests;
