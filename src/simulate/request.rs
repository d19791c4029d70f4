//! What a request asks for: its fields, from any of the five encodings that clients use.

use std::borrow::Cow;

use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a request asks the provider to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `in.php`
    Submit,
    /// `solve.php`
    Solve,
    /// `res.php`, action `get` or `get2`
    Poll,
    /// `res.php`, action `reportgood` or `reportbad`
    Report,
    /// `res.php`, action `getbalance`
    Balance,
    /// `res.php`, action `threadsinfo`
    Threads,
    /// Any other action or path.
    Other,
}

impl Operation {
    pub(super) fn of(path: &str, form: &Form<'_>) -> Self {
        match path {
            "/in.php" => Self::Submit,
            "/solve.php" => Self::Solve,
            "/res.php" => match form.get("action") {
                Some("get" | "get2") => Self::Poll,
                Some("reportgood" | "reportbad") => Self::Report,
                Some("getbalance") => Self::Balance,
                Some("threadsinfo") => Self::Threads,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

type Text<'a> = Cow<'a, str>;

/// The fields of a request: those of the query, then those of the body.
#[derive(Debug, Default)]
pub(super) struct Form<'a> {
    fields: Vec<(Text<'a>, Text<'a>)>,
    files: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Form<'a> {
    /// Reads what is readable; the rest is absent, as it is for a PHP script.
    pub(super) fn read(query: &'a str, content_type: &'a str, body: &'a [u8]) -> Self {
        let mut form = Self::default();
        form.read_urlencoded(query.as_bytes());
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("multipart/form-data") {
            if let Some(boundary) = boundary(content_type) {
                form.read_multipart(boundary, body);
            }
        } else if media_type.eq_ignore_ascii_case("application/json")
            || (media_type.eq_ignore_ascii_case("text/plain") && body.starts_with(b"{"))
        {
            form.read_json(body);
        } else {
            form.read_urlencoded(body);
        }
        form
    }

    /// The last value of that name, so that the body's wins over the query's.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value.as_ref())
    }

    /// As [`get`](Self::get), without empty values.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.trim().is_empty())
    }

    /// Whether the field is `1` or `true`; clients also send `0` and `false`.
    pub(super) fn is_set(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true"))
    }

    /// The bytes of the first uploaded file of that name.
    pub(super) fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(field, _)| *field == name).map(|(_, bytes)| *bytes)
    }

    fn read_urlencoded(&mut self, bytes: &'a [u8]) {
        self.fields.extend(form_urlencoded::parse(bytes));
    }

    fn read_json(&mut self, body: &[u8]) {
        let Ok(object) = serde_json::from_slice::<Map<String, Value>>(body) else { return };
        for (name, value) in object {
            let text = match value {
                Value::String(text) => text,
                Value::Null => continue,
                other
                @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                    other.to_string()
                }
            };
            self.fields.push((name.into(), text.into()));
        }
    }

    fn read_multipart(&mut self, boundary: &str, body: &'a [u8]) {
        let delimiter = format!("--{boundary}");
        let starts: Vec<usize> = memmem::find_iter(body, delimiter.as_bytes()).collect();
        for pair in starts.windows(2) {
            let part = &body[pair[0] + delimiter.len()..pair[1]];
            let Some(part) = part.strip_prefix(b"\r\n") else { continue };
            let part = part.strip_suffix(b"\r\n").unwrap_or(part);
            let Some(end) = memmem::find(part, b"\r\n\r\n") else { continue };
            let Ok(head) = std::str::from_utf8(&part[..end]) else { continue };
            self.read_part(head, &part[end + 4..]);
        }
    }

    fn read_part(&mut self, head: &'a str, content: &'a [u8]) {
        let disposition = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        });
        let Some(disposition) = disposition else { return };
        let Some(name) = parameter(disposition, "name") else { return };
        if parameter(disposition, "filename").is_some() {
            self.files.push((name, content));
        } else {
            self.fields.push((name.into(), String::from_utf8_lossy(content)));
        }
    }
}

fn boundary(content_type: &str) -> Option<&str> {
    parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty())
}

/// The value of `name=value` or `name="value"` in a header such as `form-data; name="key"`.
fn parameter<'a>(header: &'a str, wanted: &str) -> Option<&'a str> {
    header.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_five_encodings_say_the_same() {
        let json = br#"{"key":"k 1","json":1,"method":"turnstile","gone":null}"#;
        let multipart = b"--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk 1\r\n\
            --b\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n1\r\n\
            --b\r\ncontent-disposition: form-data; name=\"method\"\r\n\r\nturnstile\r\n--b--\r\n";
        let form_encoded = b"key=k+1&json=1&method=turnstile";
        for (query, content_type, body) in [
            ("key=k%201&json=1&method=turnstile", "", &b""[..]),
            ("", "application/x-www-form-urlencoded; charset=utf-8", form_encoded),
            ("", "multipart/form-data; boundary=\"b\"", multipart),
            ("", "application/json", json),
            ("key=k+1&json=1", "text/plain;charset=UTF-8", br#"{"method":"turnstile"}"#),
        ] {
            let form = Form::read(query, content_type, body);

            assert_eq!(form.get("key"), Some("k 1"), "{content_type}");
            assert_eq!(form.get("method"), Some("turnstile"), "{content_type}");
            assert!(form.is_set("json"), "{content_type}");
            assert_eq!(form.get("gone"), None);
        }
    }

    #[test]
    fn a_file_part_keeps_its_bytes_and_is_no_field() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
            Content-Type: image/png\r\n\r\n\x89PNG\r\n\xff\r\n--x--";

        let form = Form::read("", "multipart/form-data; boundary=x", body);

        assert_eq!(form.file("file"), Some(&b"\x89PNG\r\n\xff"[..]));
        assert_eq!(form.get("file"), None);
    }

    #[test]
    fn the_body_wins_over_the_query() {
        let form = Form::read("key=query", "", b"key=body");

        assert_eq!(form.get("key"), Some("body"));
    }

    #[test]
    fn a_broken_body_has_no_fields() {
        for (content_type, body) in [
            ("application/json", &b"{\"key\":"[..]),
            ("multipart/form-data", b"--x\r\n"),
            ("multipart/form-data; boundary=x", b"--x\r\nno head\r\n--x--"),
        ] {
            assert_eq!(Form::read("", content_type, body).get("key"), None);
        }
    }
}
