//! What the provider says, and its words for it: text or JSON, never a trailing newline.

#![expect(clippy::wildcard_enum_match_arm, reason = "a few variants differ, the rest is alike")]

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::options::Dialect;
use super::request::Form;
use super::solution::Solution;
use crate::domain::money::Money;

/// What the provider says to one request.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// The id of a new task.
    Accepted {
        id: u64,
        as_number: bool,
    },
    /// A success that forgot the id.
    AcceptedWithoutId,
    /// Nothing until then: a synchronous solve.
    Wait {
        id: u64,
        until: Duration,
    },
    Pending,
    /// With its price when asked by `get2`.
    Solved {
        solution: Solution,
        price: Option<Money>,
    },
    Code(Arc<str>),
    /// A code that comes as text even when JSON was asked for.
    PlainCode(&'static str),
    /// The balance, as written.
    Figure(String),
    Threads {
        threads: usize,
        working: usize,
    },
    Reported,
    /// Several polls at once, by `ids=`.
    Batch(Vec<Self>),
    /// A page of the web server, not of the API.
    Page {
        status: u16,
        title: &'static str,
    },
    /// Nothing was done; a fault stands in for the answer.
    Nothing,
}

impl Answer {
    /// The provider's code.
    pub(super) fn code(code: &str) -> Self {
        Self::Code(code.into())
    }
}

/// In which form a client wants its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    json: bool,
    cross_origin: bool,
    dialect: Dialect,
}

impl Style {
    pub(super) fn of(form: &Form<'_>, dialect: Dialect) -> Self {
        Self { json: form.is_set("json"), cross_origin: form.is_set("header_acao"), dialect }
    }
}

/// An answer ready for the socket.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) cross_origin: bool,
    pub(super) body: Bytes,
}

pub(super) const TEXT: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json; charset=utf-8";

impl Reply {
    pub(super) fn page(status: u16, title: &str) -> Self {
        let body = format!(
            "<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n<center><h1>\
            {status} {title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        Self { status, content_type: "text/html", cross_origin: false, body: body.into() }
    }

    pub(super) fn json(status: u16, body: String) -> Self {
        Self { status, content_type: JSON, cross_origin: false, body: body.into() }
    }
}

/// Puts an answer into words.
pub(super) fn render(answer: &Answer, style: Style) -> Reply {
    let (body, is_json) = match answer {
        Answer::Page { status, title } => return Reply::page(*status, title),
        // Undocumented in text form; clients read JSON only.
        Answer::Threads { threads, working } => {
            (format!(r#"{{"status":1,"threads":{threads},"working_threads":{working}}}"#), true)
        }
        Answer::PlainCode(code) => ((*code).to_owned(), false),
        _ if style.json => (json_body(answer, style.dialect), true),
        _ => (text_body(answer), false),
    };
    Reply {
        status: 200,
        content_type: if is_json { JSON } else { TEXT },
        cross_origin: style.cross_origin,
        body: body.into(),
    }
}

fn text_body(answer: &Answer) -> String {
    match answer {
        Answer::Accepted { id, .. } => format!("OK|{id}"),
        Answer::AcceptedWithoutId => "OK|".to_owned(),
        Answer::Solved { solution, price: None } => format!("OK|{}", solution.text()),
        Answer::Solved { solution, price: Some(price) } => {
            format!("OK|{}|{price}", solution.text())
        }
        other => word(other),
    }
}

fn json_body(answer: &Answer, dialect: Dialect) -> String {
    match answer {
        Answer::Accepted { id, as_number: true } => format!(r#"{{"status":1,"request":{id}}}"#),
        Answer::Accepted { id, as_number: false } => format!(r#"{{"status":1,"request":"{id}"}}"#),
        Answer::AcceptedWithoutId => r#"{"status":1,"request":""}"#.to_owned(),
        Answer::Solved { solution, price } => {
            let mut body = r#"{"status":1,"#.to_owned();
            solution.write_json(dialect, &mut body);
            if let Some(price) = price {
                // Writing to a String cannot fail.
                let _ = write!(body, r#","price":"{price}""#);
            }
            body.push('}');
            body
        }
        Answer::Figure(_) | Answer::Reported | Answer::Batch(_) => {
            json!({ "status": 1, "request": word(answer) }).to_string()
        }
        other => json!({ "status": 0, "request": word(other) }).to_string(),
    }
}

/// What both forms say in one word.
fn word(answer: &Answer) -> String {
    match answer {
        Answer::Pending => "CAPCHA_NOT_READY".to_owned(),
        Answer::Code(code) => code.to_string(),
        Answer::Figure(figure) => figure.clone(),
        Answer::Reported => "OK_REPORT_RECORDED".to_owned(),
        Answer::Solved { solution, .. } => solution.text(),
        Answer::Batch(answers) => answers.iter().map(word).collect::<Vec<_>>().join("|"),
        Answer::PlainCode(code) => (*code).to_owned(),
        Answer::Accepted { .. }
        | Answer::AcceptedWithoutId
        | Answer::Wait { .. }
        | Answer::Threads { .. }
        | Answer::Page { .. }
        | Answer::Nothing => String::new(),
    }
}
