//! The shape of an answer: a JSON object's fields by their own bytes, or text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An answer's body.
#[derive(Debug)]
pub(super) enum Body<'a> {
    /// Trimmed.
    Text(&'a [u8]),
    Object(Object<'a>),
    /// Begins like JSON and is none.
    Broken,
}

/// The fields that mean something, each as its JSON text; of a field that comes twice the last.
#[derive(Debug, Default)]
pub(super) struct Object<'a> {
    pub(super) status: Option<&'a str>,
    pub(super) request: Option<&'a str>,
    pub(super) result: Option<&'a str>,
    pub(super) challenge: Option<&'a str>,
    pub(super) validate: Option<&'a str>,
    pub(super) price: Option<&'a str>,
    pub(super) threads: Option<&'a str>,
    pub(super) working_threads: Option<&'a str>,
    /// Any other field that could be an answer.
    pub(super) other: Option<&'a str>,
}

pub(super) fn read(body: &[u8]) -> Body<'_> {
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if text.first() != Some(&b'{') {
        return Body::Text(text);
    }
    serde_json::from_slice(text).map_or(Body::Broken, Body::Object)
}

impl Object<'_> {
    /// `status` is 1, in whatever spelling.
    pub(super) fn is_ok(&self) -> bool {
        self.status.is_some_and(|status| matches!(status, "1" | "\"1\"" | "true"))
    }
}

/// Whether a field holds something.
pub(super) fn is_filled(json: Option<&str>) -> bool {
    json.is_some_and(|json| {
        json != "null" && text_of(json).is_none_or(|text| !text.trim().is_empty())
    })
}

/// The text of a JSON string; `None` for any other value.
pub(super) fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(json).ok().map(Cow::Owned)
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Status,
    Request,
    Result,
    Challenge,
    Validate,
    Price,
    Threads,
    WorkingThreads,
    ErrorText,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut object = Object::default();
                while let Some((field, value)) = map.next_entry::<Field, &RawValue>()? {
                    let place = match field {
                        Field::Status => &mut object.status,
                        Field::Request => &mut object.request,
                        Field::Result => &mut object.result,
                        Field::Challenge => &mut object.challenge,
                        Field::Validate => &mut object.validate,
                        Field::Price => &mut object.price,
                        Field::Threads => &mut object.threads,
                        Field::WorkingThreads => &mut object.working_threads,
                        Field::ErrorText => continue,
                        Field::Other => &mut object.other,
                    };
                    *place = Some(value.get());
                }
                Ok(object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}
