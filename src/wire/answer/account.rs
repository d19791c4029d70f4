//! The account's own figures: its balance and its threads.

use super::body::{self, Body, text_of};
use crate::domain::money::Money;

/// More threads than anybody sells; a larger figure is an error, not a plan.
const THREADS_MAX: u32 = 1_000_000;

/// The balance of `action=getbalance`, cut to whole micro-dollars; `None` for everything that is no
/// plain amount of zero or more.
pub fn balance(body: &[u8]) -> Option<Money> {
    match body::read(body) {
        Body::Text(text) => amount(std::str::from_utf8(text).ok()?),
        Body::Object(object) if object.is_ok() => {
            let json = object.request?;
            amount(text_of(json).as_deref().unwrap_or(json))
        }
        Body::Object(_) | Body::Broken => None,
    }
}

/// Threads bought and threads busy, of `action=threadsinfo`.
pub fn threads(body: &[u8]) -> Option<(u32, u32)> {
    match body::read(body) {
        Body::Object(object) => Some((count(object.threads?)?, count(object.working_threads?)?)),
        Body::Text(_) | Body::Broken => None,
    }
}

fn amount(text: &str) -> Option<Money> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || fraction.is_empty() || !is_digits(fraction) {
        return None;
    }
    let micros = &fraction[..fraction.len().min(6)];
    format!("{whole}.{micros}").parse().ok()
}

fn count(json: &str) -> Option<u32> {
    let text = text_of(json);
    let digits = text.as_deref().unwrap_or(json).trim();
    let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|&count| all_digits && count <= THREADS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_is_a_plain_amount() {
        for (body, micros) in [
            ("10.00", 10_000_000),
            (" 0\n", 0),
            (r#"{"status":1,"request":"10.00"}"#, 10_000_000),
            (r#"{"status":1,"request":3.5}"#, 3_500_000),
            ("1.23456789", 1_234_567),
            ("0.0000009", 0),
            ("1000000000", 1_000_000_000_000_000),
        ] {
            assert_eq!(balance(body.as_bytes()), Some(Money::from_micros(micros)), "{body}");
        }
        for body in [
            "",
            "-1.00",
            "NaN",
            "inf",
            "1e9",
            "+1",
            "1.",
            ".5",
            "$5",
            "1,5",
            "1000000000.01",
            "99999999999999999999999999",
            "ERROR_KEY_DOES_NOT_EXIST",
            "<html>502</html>",
            "OK|5",
            r#"{"status":0,"request":"5"}"#,
            r#"{"status":1,"request":-5}"#,
            r#"{"status":1}"#,
            r#"{"status":1,"request":1e3}"#,
            r#"{"status":1,"request":null}"#,
            "{",
        ] {
            assert_eq!(balance(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn threads_are_two_counts() {
        for (body, expected) in [
            (r#"{"status": 1, "threads": 10, "working_threads": 3}"#, (10, 3)),
            (r#"{"threads":"15","working_threads":"0"}"#, (15, 0)),
            (r#"{"threads":5,"working_threads":9,"plan":"x"}"#, (5, 9)),
        ] {
            assert_eq!(threads(body.as_bytes()), Some(expected), "{body}");
        }
        for body in [
            "10",
            "",
            "<html>",
            "ERROR_WRONG_USER_KEY",
            r#"{"status":1,"threads":10}"#,
            r#"{"threads":-1,"working_threads":0}"#,
            r#"{"threads":"-1","working_threads":0}"#,
            r#"{"threads":"+1","working_threads":0}"#,
            r#"{"threads":1.5,"working_threads":0}"#,
            r#"{"threads":1000001,"working_threads":0}"#,
            r#"{"threads":99999999999,"working_threads":0}"#,
            r#"{"threads":null,"working_threads":0}"#,
            r#"{"threads":"","working_threads":0}"#,
            r#"{"status":0,"request":"ERROR_KEY_DOES_NOT_EXIST"}"#,
        ] {
            assert_eq!(threads(body.as_bytes()), None, "{body}");
        }
    }
}
