//! What the sidecar answers by itself, in the words and the form of the provider.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use super::request::{Form, Malformed};
use crate::domain::ids::RequestId;
use crate::domain::money::Money;
use crate::domain::policy::RejectionForm;
use crate::domain::rejection::{Reason, Rejection};

/// A reply, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The content type.
    pub content_type: &'static str,
    /// The body, without a newline at its end: to some clients it would be part of the code.
    pub body: Bytes,
    /// For `X-Solvegate-Reason`.
    pub reason: Option<Reason>,
    /// For `X-Solvegate-Request-Id`; a reply that is a refusal is given one by whoever keeps it.
    pub request_id: Option<RequestId>,
    /// For `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// A rejected request. `asks_threadsinfo`: the client asked for `threadsinfo` lately, as the official
/// SDK does, which backs off from `ERROR_ZERO_BALANCE` and gives up at `ERROR_NO_SLOT_AVAILABLE`.
pub fn rejection(
    rejection: &Rejection,
    form: Form,
    rejections: RejectionForm,
    asks_threadsinfo: bool,
) -> Reply {
    let reason = rejection.reason;
    let code = match reason {
        Reason::UnknownKey | Reason::RevokedKey | Reason::ExpiredKey => "ERROR_KEY_DOES_NOT_EXIST",
        Reason::IpDenied => "ERROR_IP_NOT_ALLOWED",
        Reason::TypeDenied | Reason::Malformed => "ERROR_BAD_PARAMETERS",
        Reason::InFlight | Reason::Rate if !asks_threadsinfo => "ERROR_NO_SLOT_AVAILABLE",
        Reason::InFlight
        | Reason::Rate
        | Reason::DailyLimit
        | Reason::SpendCap
        | Reason::InsufficientBalance
        | Reason::AccountUnavailable => "ERROR_ZERO_BALANCE",
        Reason::ErrorBudget | Reason::UpstreamUnavailable | Reason::StoreUnavailable => {
            "ERROR_SERVER_ERROR"
        }
        Reason::TooLarge => "ERROR_TOO_BIG_CAPTCHA_FILESIZE",
    };
    let retry_after = rejection.retry_after;
    Reply { retry_after, ..refused(code, &rejection.text, reason, form, rejections) }
}

/// A request without a key, or with one that is not of 32 characters.
pub fn wrong_key(form: Form, rejections: RejectionForm) -> Reply {
    let text = "the key is missing or is not of 32 characters; send yours as `key`";
    refused("ERROR_WRONG_USER_KEY", text, Reason::UnknownKey, form, rejections)
}

/// A request that cannot be read.
pub fn malformed(malformed: &Malformed, form: Form, rejections: RejectionForm) -> Reply {
    refused(malformed.code(), &malformed.to_string(), Reason::Malformed, form, rejections)
}

/// The task is not solved yet, or nothing better is known.
pub fn not_ready(form: Form) -> Reply {
    coded("CAPCHA_NOT_READY", form)
}

/// The task will not be solved.
pub fn unsolvable(form: Form) -> Reply {
    coded("ERROR_CAPTCHA_UNSOLVABLE", form)
}

/// No such task; exactly as the provider says it.
pub fn wrong_id(form: Form) -> Reply {
    coded("ERROR_WRONG_CAPTCHA_ID", form)
}

/// A success with a content of its own: `OK|text`.
pub fn ok(form: Form, text: &str) -> Reply {
    match form {
        Form::Text => plain(format!("OK|{text}")),
        Form::Json => succeeded(text),
    }
}

/// A success whose text form is bare, such as `OK_REPORT_RECORDED` or the joined answers of `ids`.
pub fn bare(form: Form, text: &str) -> Reply {
    match form {
        Form::Text => plain(text.to_owned()),
        Form::Json => succeeded(text),
    }
}

/// A tenant's balance.
pub fn balance(form: Form, balance: Money) -> Reply {
    bare(form, &balance.to_string())
}

/// A tenant's threads; JSON whatever was asked for, as no text form exists.
pub fn threads(threads: u32, working_threads: u32) -> Reply {
    #[derive(Serialize)]
    struct Account {
        status: u8,
        threads: u32,
        working_threads: u32,
    }
    json(StatusCode::OK, &Account { status: 1, threads, working_threads })
}

/// A path that is not served. Clients of the `createTask` API get what they can read.
pub fn unknown_path(path: &str) -> Reply {
    #[derive(Serialize)]
    struct NoSuchMethod {
        #[serde(rename = "errorId")]
        id: u8,
        #[serde(rename = "errorCode")]
        code: &'static str,
    }
    match path.rsplit('/').next() {
        Some("createTask" | "getTaskResult" | "getBalance") => {
            json(StatusCode::NOT_FOUND, &NoSuchMethod { id: 14, code: "ERROR_NO_SUCH_METHOD" })
        }
        _ => Reply {
            status: StatusCode::NOT_FOUND,
            ..plain("ERROR_EMPTY_ACTION: paths end in /in.php, /res.php or /solve.php".to_owned())
        },
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    status: u8,
    request: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_text: Option<&'a str>,
}

fn refused(code: &str, text: &str, reason: Reason, form: Form, rejections: RejectionForm) -> Reply {
    let status = match rejections {
        RejectionForm::Provider => StatusCode::OK,
        RejectionForm::Http => http_status(reason),
    };
    let reply = match form {
        Form::Text => plain(code.to_owned()),
        Form::Json => json(status, &Answer { status: 0, request: code, error_text: Some(text) }),
    };
    Reply { status, reason: Some(reason), ..reply }
}

const fn http_status(reason: Reason) -> StatusCode {
    match reason {
        Reason::Malformed | Reason::TypeDenied => StatusCode::BAD_REQUEST,
        Reason::UnknownKey | Reason::RevokedKey | Reason::ExpiredKey => StatusCode::UNAUTHORIZED,
        Reason::SpendCap | Reason::InsufficientBalance => StatusCode::PAYMENT_REQUIRED,
        Reason::IpDenied => StatusCode::FORBIDDEN,
        Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::InFlight | Reason::Rate | Reason::DailyLimit => StatusCode::TOO_MANY_REQUESTS,
        Reason::ErrorBudget
        | Reason::AccountUnavailable
        | Reason::UpstreamUnavailable
        | Reason::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn coded(code: &str, form: Form) -> Reply {
    match form {
        Form::Text => plain(code.to_owned()),
        Form::Json => json(StatusCode::OK, &Answer { status: 0, request: code, error_text: None }),
    }
}

fn succeeded(text: &str) -> Reply {
    json(StatusCode::OK, &Answer { status: 1, request: text, error_text: None })
}

fn plain(body: String) -> Reply {
    in_type("text/plain; charset=utf-8", body.into())
}

fn in_type(content_type: &'static str, body: Bytes) -> Reply {
    Reply {
        status: StatusCode::OK,
        content_type,
        body,
        reason: None,
        request_id: None,
        retry_after: None,
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    // Strings and integers always serialise; an empty body would be the failure's mildest form.
    let body = serde_json::to_vec(body).unwrap_or_default().into();
    Reply { status, ..in_type("application/json", body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn because(reason: Reason) -> Rejection {
        Rejection { reason, text: "a \"limit\" of 5".to_owned(), retry_after: None, verdict: None }
    }

    #[test]
    fn each_reason_has_its_code_and_its_http_status() {
        for (reason, code, asks_threadsinfo_code, status) in [
            (Reason::UnknownKey, "ERROR_KEY_DOES_NOT_EXIST", None, 401),
            (Reason::RevokedKey, "ERROR_KEY_DOES_NOT_EXIST", None, 401),
            (Reason::ExpiredKey, "ERROR_KEY_DOES_NOT_EXIST", None, 401),
            (Reason::IpDenied, "ERROR_IP_NOT_ALLOWED", None, 403),
            (Reason::TypeDenied, "ERROR_BAD_PARAMETERS", None, 400),
            (Reason::InFlight, "ERROR_NO_SLOT_AVAILABLE", Some("ERROR_ZERO_BALANCE"), 429),
            (Reason::Rate, "ERROR_NO_SLOT_AVAILABLE", Some("ERROR_ZERO_BALANCE"), 429),
            (Reason::DailyLimit, "ERROR_ZERO_BALANCE", None, 429),
            (Reason::SpendCap, "ERROR_ZERO_BALANCE", None, 402),
            (Reason::InsufficientBalance, "ERROR_ZERO_BALANCE", None, 402),
            (Reason::ErrorBudget, "ERROR_SERVER_ERROR", None, 503),
            (Reason::AccountUnavailable, "ERROR_ZERO_BALANCE", None, 503),
            (Reason::UpstreamUnavailable, "ERROR_SERVER_ERROR", None, 503),
            (Reason::StoreUnavailable, "ERROR_SERVER_ERROR", None, 503),
            (Reason::Malformed, "ERROR_BAD_PARAMETERS", None, 400),
            (Reason::TooLarge, "ERROR_TOO_BIG_CAPTCHA_FILESIZE", None, 413),
        ] {
            let reply = rejection(&because(reason), Form::Text, RejectionForm::Provider, false);
            assert_eq!(
                (reply.status, &*reply.body),
                (StatusCode::OK, code.as_bytes()),
                "{reason:?}"
            );
            assert_eq!(reply.reason, Some(reason));

            let reply = rejection(&because(reason), Form::Json, RejectionForm::Http, true);
            let code = asks_threadsinfo_code.unwrap_or(code);
            let json =
                format!(r#"{{"status":0,"request":"{code}","error_text":"a \"limit\" of 5"}}"#);
            assert_eq!(
                (reply.status.as_u16(), &*reply.body),
                (status, json.as_bytes()),
                "{reason:?}"
            );
        }
    }

    #[test]
    fn a_rejection_says_when_to_come_back() {
        let retry_after = Some(Duration::from_secs(6));
        let rate = Rejection { retry_after, ..because(Reason::Rate) };

        let reply = rejection(&rate, Form::Text, RejectionForm::Http, false);

        assert_eq!(reply.retry_after, retry_after);
        assert_eq!(reply.content_type, "text/plain; charset=utf-8");
    }

    #[test]
    fn keys_and_requests_that_cannot_be_read_have_codes_of_their_own() {
        let reply = wrong_key(Form::Text, RejectionForm::Http);
        assert_eq!(
            (reply.status.as_u16(), &*reply.body),
            (401, b"ERROR_WRONG_USER_KEY".as_slice())
        );
        assert_eq!(reply.reason, Some(Reason::UnknownKey));

        let reply = malformed(&Malformed::EmptyAction, Form::Json, RejectionForm::Provider);
        assert_eq!(
            reply.body,
            "{\"status\":0,\"request\":\"ERROR_EMPTY_ACTION\",\"error_text\":\"`action` is missing; \
             send get, get2, getbalance, threadsinfo, reportgood or reportbad\"}"
        );
        let reply = malformed(&Malformed::WrongId, Form::Text, RejectionForm::Http);
        assert_eq!(
            (reply.status.as_u16(), &*reply.body),
            (400, b"ERROR_WRONG_ID_FORMAT".as_slice())
        );
        assert_eq!(reply.reason, Some(Reason::Malformed));
    }

    #[test]
    fn answers_of_our_own_are_the_providers_word_for_word() {
        for (reply, expected) in [
            (not_ready(Form::Text), "CAPCHA_NOT_READY"),
            (not_ready(Form::Json), r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#),
            (unsolvable(Form::Text), "ERROR_CAPTCHA_UNSOLVABLE"),
            (unsolvable(Form::Json), r#"{"status":0,"request":"ERROR_CAPTCHA_UNSOLVABLE"}"#),
            (wrong_id(Form::Text), "ERROR_WRONG_CAPTCHA_ID"),
            (wrong_id(Form::Json), r#"{"status":0,"request":"ERROR_WRONG_CAPTCHA_ID"}"#),
            (ok(Form::Text, "21"), "OK|21"),
            (ok(Form::Json, "21"), r#"{"status":1,"request":"21"}"#),
            (bare(Form::Text, "a|CAPCHA_NOT_READY"), "a|CAPCHA_NOT_READY"),
            (balance(Form::Text, Money::from_micros(10_000_000)), "10.00"),
            (balance(Form::Json, Money::from_micros(2_500)), r#"{"status":1,"request":"0.0025"}"#),
            (threads(10, 3), r#"{"status":1,"threads":10,"working_threads":3}"#),
        ] {
            assert_eq!(reply.body, expected);
            assert_eq!((reply.status, reply.reason), (StatusCode::OK, None));
            let is_json = expected.starts_with('{');
            assert_eq!(reply.content_type == "application/json", is_json, "{expected}");
        }
    }

    #[test]
    fn unknown_paths_are_not_found() {
        for path in ["/createTask", "/x/getTaskResult", "/getBalance"] {
            let reply = unknown_path(path);
            assert_eq!(reply.status, StatusCode::NOT_FOUND);
            assert_eq!(reply.body, r#"{"errorId":14,"errorCode":"ERROR_NO_SUCH_METHOD"}"#);
        }
        let reply = unknown_path("/load.php");
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        assert!(reply.body.starts_with(b"ERROR_EMPTY_ACTION: "));
    }
}
