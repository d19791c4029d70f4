//! The parameters of a call as byte ranges of its query and body, so that one value can be replaced
//! and no other byte moves.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use memchr::{memchr, memchr2};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Malformed;

/// More parameters than any client sends, by far.
pub(super) const PARAMS_MAX: usize = 1_000;

/// Longer than any client's, and short enough that looking for a name costs nothing.
const NAME_BYTES_MAX: usize = 1_024;

/// The buffer that a pair's ranges point into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Query,
    Body,
}

/// How a pair's bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Percent,
    Plain,
}

/// One parameter.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) place: Place,
    pub(super) coding: Coding,
    pub(super) name: Range<usize>,
    /// The name is spelt in letters, digits and underscores: it reads as it is written.
    pub(super) is_plain: bool,
    /// Nothing is encoded in it: name and value read as they are written.
    pub(super) is_verbatim: bool,
    /// `None` for a name without `=`, which reads as the empty value.
    pub(super) value: Option<Range<usize>>,
}

/// All parameters in order, those of the query first.
#[derive(Clone, Default)]
pub(super) struct Params {
    pub(super) query: Option<String>,
    pub(super) body: Bytes,
    pub(super) pairs: Vec<Pair>,
}

impl Params {
    /// The value of a pair as the provider will read it.
    pub(super) fn value(&self, pair: &Pair) -> Cow<'_, [u8]> {
        match &pair.value {
            Some(range) => self.decoded(pair, range),
            None => Cow::Borrowed(&[]),
        }
    }

    /// The name of a pair, decoded.
    pub(super) fn name(&self, pair: &Pair) -> Cow<'_, [u8]> {
        self.decoded(pair, &pair.name)
    }

    /// The values of every parameter of that name.
    #[inline]
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'a, [u8]>> {
        self.named(name).map(|pair| self.value(pair))
    }

    /// Every parameter of that name.
    #[inline]
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Pair> {
        self.pairs.iter().filter(move |pair| self.is_named(pair, name))
    }

    /// Whether a lenient server (PHP above all) would file the pair under that name: PHP drops leading
    /// spaces, ends a name at NUL or `[`, and turns spaces and dots into underscores. Read in any
    /// stricter way, ` key`, `key%00` or `key[]` would carry a value past the sidecar unseen.
    #[inline]
    pub(super) fn is_named(&self, pair: &Pair, name: &str) -> bool {
        if pair.is_plain {
            pair.name.len() == name.len() && self.raw(pair, &pair.name) == name.as_bytes()
        } else {
            self.reads_as(pair, name)
        }
    }

    fn reads_as(&self, pair: &Pair, name: &str) -> bool {
        let decoded = self.name(pair);
        let seen = decoded
            .iter()
            .skip_while(|&&byte| byte == b' ')
            .take_while(|&&byte| byte != 0 && byte != b'[')
            .map(|&byte| if matches!(byte, b' ' | b'.') { b'_' } else { byte });
        seen.eq(name.bytes())
    }

    /// The value of a pair, if it is text.
    pub(super) fn text(&self, pair: &Pair) -> Result<Cow<'_, str>, Cow<'_, [u8]>> {
        // Of a query, which is text, a part needs no second look.
        if let (Place::Query, Some(range)) = (pair.place, &pair.value)
            && pair.is_verbatim
            && let Some(text) = self.query.as_deref().and_then(|query| query.get(range.clone()))
        {
            return Ok(Cow::Borrowed(text));
        }
        match self.value(pair) {
            Cow::Borrowed(bytes) => {
                std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Cow::Borrowed(bytes))
            }
            Cow::Owned(bytes) => {
                String::from_utf8(bytes).map(Cow::Owned).map_err(|error| error.into_bytes().into())
            }
        }
    }

    fn decoded(&self, pair: &Pair, range: &Range<usize>) -> Cow<'_, [u8]> {
        let raw = self.raw(pair, range);
        if pair.is_verbatim { Cow::Borrowed(raw) } else { Cow::Owned(percent_decoded(raw)) }
    }

    fn raw(&self, pair: &Pair, range: &Range<usize>) -> &[u8] {
        let source = match pair.place {
            Place::Query => self.query.as_deref().unwrap_or_default().as_bytes(),
            Place::Body => &self.body,
        };
        source.get(range.clone()).unwrap_or_default()
    }
}

/// Whether a name reads as it is written, to any server.
pub(super) fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn percent_decoded(raw: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = raw.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    percent_encoding::percent_decode(&spaced).collect()
}

/// Adds a pair, within the bounds.
pub(super) fn push(pairs: &mut Vec<Pair>, pair: Pair) -> Result<(), Malformed> {
    if pairs.len() >= PARAMS_MAX {
        return Err(Malformed::TooManyParams);
    }
    if pair.name.len() > NAME_BYTES_MAX {
        return Err(Malformed::LongName);
    }
    pairs.push(pair);
    Ok(())
}

/// Reads `name=value&…`; every byte sequence is valid.
pub(super) fn scan_urlencoded(
    text: &[u8],
    place: Place,
    pairs: &mut Vec<Pair>,
) -> Result<(), Malformed> {
    let mut start = 0;
    while start < text.len() {
        // Names are short, values may be long. No name is longer than may be.
        let rest = &text[start..text.len().min(start + NAME_BYTES_MAX + 1)];
        let name_bytes = rest.iter().position(|byte| matches!(byte, b'=' | b'&'));
        let name = start..start + name_bytes.unwrap_or(rest.len());
        let end = match text.get(name.end) {
            Some(b'=') => memchr(b'&', &text[name.end..]).map_or(text.len(), |at| name.end + at),
            _ => name.end,
        };
        if end > start {
            let value = (end > name.end).then_some(name.end + 1..end);
            let is_plain = is_plain(&text[name.clone()]);
            let is_verbatim = memchr2(b'%', b'+', &text[start..end]).is_none();
            push(
                pairs,
                Pair { place, coding: Coding::Percent, name, is_plain, is_verbatim, value },
            )?;
        }
        start = end + 1;
    }
    Ok(())
}

/// Translates a flat JSON object to the form that the provider documents: strings as they are, numbers,
/// booleans and nested values by their JSON text, `null` as empty; order and duplicates kept.
pub(super) fn json_to_form(body: &[u8]) -> Result<Bytes, Malformed> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if body.first() != Some(&b'{') {
        return Err(Malformed::NotAnObject);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let form = json
        .deserialize_map(FormVisitor { size: body.len() })
        .and_then(|form| json.end().map(|()| form))
        .map_err(|error| Malformed::Json { line: error.line(), column: error.column() })?;
    Ok(form.into())
}

struct FormVisitor {
    size: usize,
}

impl<'de> Visitor<'de> for FormVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<u8>, A::Error> {
        let mut form = Vec::with_capacity(self.size);
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if !form.is_empty() {
                form.push(b'&');
            }
            encode_into(&mut form, name.as_bytes());
            form.push(b'=');
            match value.get() {
                "null" => {}
                text if text.starts_with('"') => {
                    let text: String = serde_json::from_str(text).map_err(A::Error::custom)?;
                    encode_into(&mut form, text.as_bytes());
                }
                other => encode_into(&mut form, other.as_bytes()),
            }
        }
        Ok(form)
    }
}

/// Appends bytes in `application/x-www-form-urlencoded`.
pub(super) fn encode_into(form: &mut Vec<u8>, text: &[u8]) {
    for piece in form_urlencoded::byte_serialize(text) {
        form.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urlencoded(text: &str) -> Params {
        let mut params = Params { query: Some(text.to_owned()), ..Params::default() };
        scan_urlencoded(text.as_bytes(), Place::Query, &mut params.pairs).unwrap();
        params
    }

    #[test]
    fn pairs_keep_order_duplicates_and_empty_values() {
        let params = urlencoded("&b=2&a=1&&b=3&empty=&bare&=x&a%20b=c+d%2B%zz&");

        let shown: Vec<(String, String)> = params
            .pairs
            .iter()
            .map(|pair| (params.name(pair), params.value(pair)))
            .map(|(name, value)| {
                (String::from_utf8_lossy(&name).into(), String::from_utf8_lossy(&value).into())
            })
            .collect();
        let expected = [
            ("b", "2"),
            ("a", "1"),
            ("b", "3"),
            ("empty", ""),
            ("bare", ""),
            ("", "x"),
            ("a b", "c d+%zz"),
        ];
        assert_eq!(shown, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_name_is_recognised_however_it_is_spelt() {
        for text in
            ["key=1", "k%65y=1", "+key=1", "%20%20key=1", "key%00x=1", "key[]=1", "key%5Ba]=1"]
        {
            assert_eq!(urlencoded(text).values("key").count(), 1, "{text}");
        }
        for text in ["KEY=1", "keys=1", "ke=1", "key_=1", "xkey=1", "=key", "key%2=1"] {
            assert_eq!(urlencoded(text).values("key").count(), 0, "{text}");
        }
        assert_eq!(urlencoded("img.type=recaptcha").values("img_type").count(), 1);
    }

    #[test]
    fn a_json_object_becomes_a_form_in_its_order() {
        for (json, form) in [
            (r"{}", ""),
            ("\u{feff} {\"a\":\"b\"}\r\n", "a=b"),
            (
                r#"{"key": "k", "json": 1, "v": true, "x": 0.30, "big": 12345678901234567890123}"#,
                "key=k&json=1&v=true&x=0.30&big=12345678901234567890123",
            ),
            (
                r#"{"a":"x y&z=+/é","a":"\u00e9\n","n":null,"o":{"b": [1, "2"]}}"#,
                "a=x+y%26z%3D%2B%2F%C3%A9&a=%C3%A9%0A&n=&o=%7B%22b%22%3A+%5B1%2C+%222%22%5D%7D",
            ),
        ] {
            assert_eq!(json_to_form(json.as_bytes()).unwrap(), form, "{json}");
        }
    }

    #[test]
    fn what_is_no_json_object_is_malformed() {
        for json in ["[1]", "\"key\"", "1", "", "key=1"] {
            assert_eq!(json_to_form(json.as_bytes()), Err(Malformed::NotAnObject), "{json}");
        }
        for json in [
            "{",
            r#"{"a":1"#,
            r#"{"a":1} x"#,
            r#"{"a":1}{}"#,
            "{'a':1}",
            r#"{"a":"\ud800"}"#,
            r#"{"a":1,}"#,
        ] {
            assert!(matches!(json_to_form(json.as_bytes()), Err(Malformed::Json { .. })), "{json}");
        }
        assert!(matches!(json_to_form(b"{\"a\":\"\xff\"}"), Err(Malformed::Json { .. })));
    }

    #[test]
    fn deep_nesting_is_no_danger() {
        let json = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));

        assert!(json_to_form(json.as_bytes()).is_ok());
    }

    #[test]
    fn a_thousand_parameters_are_the_bound() {
        let mut pairs = Vec::new();
        assert!(scan_urlencoded("a=1&".repeat(1_000).as_bytes(), Place::Body, &mut pairs).is_ok());
        let beyond = scan_urlencoded(b"a=1", Place::Body, &mut pairs);
        assert_eq!(beyond, Err(Malformed::TooManyParams));
        let long_name = scan_urlencoded(&[b'+'; 1_025], Place::Body, &mut Vec::new());
        assert_eq!(long_name, Err(Malformed::LongName));
    }
}
