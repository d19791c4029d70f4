//! Answers in other clothes: with a price for `get2`, as one of several for `ids`.

use std::borrow::Cow;

use bytes::Bytes;

use super::body::{self, Body, Object, text_of};
use super::{Said, said};
use crate::domain::money::Money;

/// Adds the tenant's price to an answer, in the form that the answer has; a price that the provider
/// gave is replaced. What is no answer stays as it is.
pub fn add_price(body: &[u8], price: Money) -> Bytes {
    let unchanged = || Bytes::copy_from_slice(body);
    if !matches!(said(body), Said::Ok(_)) {
        return unchanged();
    }
    let end = body.trim_ascii_end().len();
    match body::read(body) {
        Body::Text(_) => splice(body, end..end, &format!("|{price}")),
        Body::Object(Object { price: Some(old), .. }) => {
            let Some(start) = (old.as_ptr() as usize).checked_sub(body.as_ptr() as usize) else {
                return unchanged();
            };
            splice(body, start..start + old.len(), &format!("\"{price}\""))
        }
        Body::Object(_) => splice(body, end - 1..end - 1, &format!(",\"price\":\"{price}\"")),
        Body::Broken => unchanged(),
    }
}

/// What stands for an answer when several are joined by `|`: the text behind `OK|`, the `request` or
/// `result`, or the code; `None` for a body that is no answer.
pub fn answer_text(body: &[u8]) -> Option<Cow<'_, str>> {
    match body::read(body) {
        Body::Object(object) => {
            let json = object.request.or(object.result)?;
            text_of(json).or(Some(Cow::Borrowed(json)))
        }
        Body::Text(text) => match said(text) {
            Said::Ok(answer) => answer,
            Said::Code(_) | Said::Pending => std::str::from_utf8(text).ok().map(Cow::Borrowed),
            Said::Empty | Said::Nothing(_) => None,
        },
        Body::Broken => None,
    }
}

fn splice(body: &[u8], range: std::ops::Range<usize>, text: &str) -> Bytes {
    match (body.get(..range.start), body.get(range.end..)) {
        (Some(before), Some(after)) => [before, text.as_bytes(), after].concat().into(),
        _ => Bytes::copy_from_slice(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_is_added_in_the_form_of_the_answer() {
        for (body, expected) in [
            ("OK|token", "OK|token|0.003"),
            ("OK|a|b\n", "OK|a|b|0.003\n"),
            (r#"{"status":1,"request":"t"}"#, r#"{"status":1,"request":"t","price":"0.003"}"#),
            (
                "{\"status\":1,\"request\":\"}\"} \r\n",
                "{\"status\":1,\"request\":\"}\",\"price\":\"0.003\"} \r\n",
            ),
            (
                r#"{"status":1,"request":{"price":9}}"#,
                r#"{"status":1,"request":{"price":9},"price":"0.003"}"#,
            ),
            (
                " {\"price\": \"0.00299\", \"status\":1,\"request\":\"t\"}",
                " {\"price\": \"0.003\", \"status\":1,\"request\":\"t\"}",
            ),
            ("{\"result\":\"t\"}", "{\"result\":\"t\",\"price\":\"0.003\"}"),
            ("CAPCHA_NOT_READY", "CAPCHA_NOT_READY"),
            ("ERROR_CAPTCHA_UNSOLVABLE", "ERROR_CAPTCHA_UNSOLVABLE"),
            (
                r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#,
                r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#,
            ),
            ("{\"status\":1,", "{\"status\":1,"),
            ("<html>", "<html>"),
            ("", ""),
        ] {
            assert_eq!(add_price(body.as_bytes(), Money::from_micros(3_000)), expected, "{body}");
        }
    }

    #[test]
    fn each_answer_has_a_text_to_join() {
        for (body, expected) in [
            ("OK|a|b", Some("a|b")),
            ("CAPCHA_NOT_READY", Some("CAPCHA_NOT_READY")),
            ("ERROR_WRONG_CAPTCHA_ID", Some("ERROR_WRONG_CAPTCHA_ID")),
            (r#"{"status":1,"request":"a\"b"}"#, Some("a\"b")),
            (r#"{"status":1,"request":{"x":1}}"#, Some(r#"{"x":1}"#)),
            (r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#, Some("CAPCHA_NOT_READY")),
            (r#"{"status":1,"result":"r","user_agent":"u"}"#, Some("r")),
            (r#"{"status":1}"#, None),
            ("OK|", None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(answer_text(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }
}
