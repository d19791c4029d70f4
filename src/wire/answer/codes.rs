//! The provider's codes: which texts are one, and what each means for a solve.

use std::collections::BTreeMap;

use crate::domain::outcome::Outcome;

/// Longer than any known code; what is longer is no code, and no metric label.
const CODE_BYTES_MAX: usize = 64;

/// What a code was the answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `in.php` or `solve.php`.
    Submit,
    /// `res.php` for a task of ours.
    Poll,
}

/// The outcome that a code stands for; `classes` (the operator's own) by exact code comes first. An
/// unknown code is the provider's fault.
pub fn outcome_of_code(code: &str, step: Step, classes: &BTreeMap<String, Outcome>) -> Outcome {
    if let Some(&outcome) = classes.get(code) {
        return outcome;
    }
    match code {
        "ERROR_CAPTCHA_UNSOLVABLE" | "ERROR_BAD_DUPLICATES" => Outcome::Unsolvable,
        "ERROR_WRONG_USER_KEY"
        | "ERROR_KEY_DOES_NOT_EXIST"
        | "ERROR_IP_NOT_ALLOWED"
        | "IP_BANNED"
        | "ERROR_IP_BANNED"
        | "ERROR: 1002"
        | "ERROR: 1004" => Outcome::AccountError,
        "ERROR_ZERO_BALANCE"
        | "ERROR_NO_SLOT_AVAILABLE"
        | "MAX_USER_TURN"
        | "ERROR_TOO_MUCH_REQUESTS"
        | "ERROR: 1001"
        | "ERROR: 1003"
        | "ERROR: 1005"
        | "HTTP_429" => Outcome::Capacity,
        "ERROR_WRONG_ID_FORMAT" | "ERROR_WRONG_CAPTCHA_ID" => match step {
            Step::Submit => Outcome::ClientError,
            // The provider gave us that id and has lost it.
            Step::Poll => Outcome::ProviderError,
        },
        _ if CLIENT_CODES.contains(&code) => Outcome::ClientError,
        _ => Outcome::ProviderError,
    }
}

/// Whether that is a code of the provider's, and not a name of ours for an answer without one.
pub fn is_code(code: &str) -> bool {
    code_of(code).is_some()
}

/// What the client got wrong: parameters, image, page or proxy.
const CLIENT_CODES: [&str; 29] = [
    "ERROR_PAGEURL",
    "ERROR_GOOGLEKEY",
    "ERROR_WRONG_GOOGLEKEY",
    "ERROR_SITEKEY",
    "ERROR_BAD_TOKEN_OR_PAGEURL",
    "ERROR_BAD_PARAMETERS",
    "ERROR_ZERO_CAPTCHA_FILESIZE",
    "ERROR_TOO_BIG_CAPTCHA_FILESIZE",
    "ERROR_IMAGE_DIMENSIONS_TOO_LARGE",
    "ERROR_WRONG_FILE_EXTENSION",
    "ERROR_IMAGE_TYPE_NOT_SUPPORTED",
    "ERROR_UPLOAD",
    "ERROR_EMPTY_CAPTCHA",
    "ERROR_BAD_PROXY",
    "ERROR_PROXY_FORMAT",
    PROXY_TROUBLE,
    "ERROR_CAPTCHAIMAGE_BLOCKED",
    "TOO_MANY_BAD_IMAGES",
    "ERROR_DOMAIN_NOT_ALLOWED",
    "ERROR_METHOD_CALL",
    "ERROR_NO_SUCH_METHOD",
    "ERROR_TASK_NOT_SUPPORTED",
    "ERROR_TOKEN_EXPIRED",
    "ERROR_EMPTY_ACTION",
    "ERROR_IP_ADDRES",
    "REPORT_NOT_RECORDED",
    "ERROR_REPORT_NOT_RECORDED",
    "ERROR_DUPLICATE_REPORT",
    "HTTP_413",
];

/// The one error that clients poll on after.
pub(super) const PROXY_TROUBLE: &str = "ERROR_PROXY_CONNECTION_FAILED";

/// Whether the same question may have a better answer later, whatever it is classed as.
pub(super) fn is_transient(code: &str) -> bool {
    matches!(code, "ERROR_SERVER_ERROR" | "ERROR_INTERNAL_SERVER_ERROR")
}

/// `CAPCHA_NOT_READY`, and the spelling that it should have had.
pub(super) fn is_pending(text: &str) -> bool {
    matches!(text, "CAPCHA_NOT_READY" | "CAPTCHA_NOT_READY")
}

/// The code that a text is, without any detail behind it (`ERROR_X|detail`, `ERROR_X: detail`);
/// numbered ones come out as `ERROR: 1001`. `None` when the text is no error code.
pub(super) fn code_of(text: &str) -> Option<String> {
    if let "IP_BANNED" | "MAX_USER_TURN" | "TOO_MANY_BAD_IMAGES" | "REPORT_NOT_RECORDED" = text {
        return Some(text.to_owned());
    }
    let rest = text.strip_prefix("ERROR")?;
    if let Some(number) = rest.strip_prefix(':') {
        let number = number.trim_start();
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let ends = number[digits..].bytes().next().is_none_or(is_separator);
        return ((1..=6).contains(&digits) && ends)
            .then(|| format!("ERROR: {}", &number[..digits]));
    }
    let name = rest.strip_prefix('_')?;
    let letters = name
        .bytes()
        .take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_')
        .count();
    let ends = name[letters..].bytes().next().is_none_or(is_separator);
    (letters > 0 && letters + "ERROR_".len() <= CODE_BYTES_MAX && ends)
        .then(|| text[.."ERROR_".len() + letters].to_owned())
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'|' | b':' | b' ' | b',' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_code_has_its_outcome() {
        let none = BTreeMap::new();
        for (outcome, codes) in [
            (Outcome::Unsolvable, "ERROR_CAPTCHA_UNSOLVABLE ERROR_BAD_DUPLICATES"),
            (
                Outcome::AccountError,
                "ERROR_WRONG_USER_KEY ERROR_KEY_DOES_NOT_EXIST ERROR_IP_NOT_ALLOWED IP_BANNED ERROR_IP_BANNED ERROR:_1002 ERROR:_1004",
            ),
            (
                Outcome::Capacity,
                "ERROR_ZERO_BALANCE ERROR_NO_SLOT_AVAILABLE MAX_USER_TURN ERROR_TOO_MUCH_REQUESTS ERROR:_1001 ERROR:_1003 ERROR:_1005 HTTP_429",
            ),
            (
                Outcome::ClientError,
                "ERROR_PAGEURL ERROR_GOOGLEKEY ERROR_WRONG_GOOGLEKEY ERROR_SITEKEY ERROR_BAD_TOKEN_OR_PAGEURL ERROR_BAD_PARAMETERS \
              ERROR_ZERO_CAPTCHA_FILESIZE ERROR_TOO_BIG_CAPTCHA_FILESIZE ERROR_IMAGE_DIMENSIONS_TOO_LARGE ERROR_WRONG_FILE_EXTENSION \
              ERROR_IMAGE_TYPE_NOT_SUPPORTED ERROR_UPLOAD ERROR_EMPTY_CAPTCHA ERROR_BAD_PROXY ERROR_PROXY_FORMAT \
              ERROR_PROXY_CONNECTION_FAILED ERROR_CAPTCHAIMAGE_BLOCKED TOO_MANY_BAD_IMAGES ERROR_DOMAIN_NOT_ALLOWED ERROR_METHOD_CALL \
              ERROR_NO_SUCH_METHOD ERROR_TASK_NOT_SUPPORTED ERROR_TOKEN_EXPIRED ERROR_EMPTY_ACTION ERROR_IP_ADDRES \
              REPORT_NOT_RECORDED ERROR_REPORT_NOT_RECORDED ERROR_DUPLICATE_REPORT HTTP_413",
            ),
            (
                Outcome::ProviderError,
                "ERROR_SERVER_ERROR ERROR_INTERNAL_SERVER_ERROR ERROR_UNHEARD_OF ERROR_ZERO_BALANCE_X XERROR_ZERO_BALANCE ERROR:_1006",
            ),
        ] {
            for code in codes.split_whitespace() {
                let code = code.replace(":_", ": ");
                for step in [Step::Submit, Step::Poll] {
                    assert_eq!(outcome_of_code(&code, step, &none), outcome, "{code}");
                }
            }
        }
        for code in ["ERROR_WRONG_ID_FORMAT", "ERROR_WRONG_CAPTCHA_ID"] {
            assert_eq!(outcome_of_code(code, Step::Submit, &none), Outcome::ClientError);
            assert_eq!(outcome_of_code(code, Step::Poll, &none), Outcome::ProviderError);
        }
    }

    #[test]
    fn the_operators_class_comes_first_and_by_exact_code() {
        let classes = BTreeMap::from([("ERROR_ODD".to_owned(), Outcome::ClientError)]);

        assert_eq!(outcome_of_code("ERROR_ODD", Step::Poll, &classes), Outcome::ClientError);
        assert_eq!(outcome_of_code("ERROR_ODD_TOO", Step::Poll, &classes), Outcome::ProviderError);
    }

    #[test]
    fn a_code_is_told_from_other_texts() {
        for (text, code) in [
            ("ERROR_PAGEURL", Some("ERROR_PAGEURL")),
            ("ERROR_PAGEURL|page is missing", Some("ERROR_PAGEURL")),
            ("ERROR_PAGEURL: page is missing", Some("ERROR_PAGEURL")),
            ("ERROR: 1001", Some("ERROR: 1001")),
            ("ERROR:1005", Some("ERROR: 1005")),
            ("MAX_USER_TURN", Some("MAX_USER_TURN")),
            ("ERROR_", None),
            ("ERROR", None),
            ("ERROR: oops", None),
            ("ERROR: 10012345", None),
            ("ERROR_pageurl", None),
            ("ERROR_X<br>", None),
            ("an ERROR_PAGEURL", None),
            ("IP_BANNED_NOT", None),
            ("CAPCHA_NOT_READY", None),
        ] {
            assert_eq!(code_of(text).as_deref(), code, "{text}");
        }
        assert_eq!(code_of(&format!("ERROR_{}", "X".repeat(59))), None);
    }
}
