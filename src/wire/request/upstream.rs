//! What goes to the provider: the call with another key, and polls of the sidecar's own.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::params::{Coding, Pair, Place, encode_into, is_plain};
use super::{Call, Form};
use crate::domain::ids::TaskId;
use crate::wire::secret::Secret;

/// A request to the provider. The endpoint is the call's own, for [`poll`] `res.php`.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The method.
    pub method: Method,
    /// What stands behind the `?`; it holds a key and belongs in no log.
    pub query: Option<Vec<u8>>,
    /// The content type of the body.
    pub content_type: Option<HeaderValue>,
    /// The body.
    pub body: Bytes,
}

/// Shows sizes only: query and body hold a key.
impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("method", &self.method)
            .field("query_bytes", &self.query.as_ref().map(Vec::len))
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Asks for the answer of one task with a plain `action=get`.
pub fn poll(id: &TaskId, real_key: &Secret, form: Form) -> Upstream {
    let mut query = String::with_capacity(96);
    query.push_str("key=");
    query.extend(form_urlencoded::byte_serialize(real_key.expose().as_bytes()));
    query.push_str("&action=get&id=");
    query.extend(form_urlencoded::byte_serialize(id.as_str().as_bytes()));
    if form == Form::Json {
        query.push_str("&json=1");
    }
    let query = Some(query.into_bytes());
    Upstream { method: Method::GET, query, content_type: None, body: Bytes::new() }
}

pub(super) fn upstream(call: &Call, real_key: Option<&Secret>) -> Upstream {
    let Some(real_key) = real_key else {
        return Upstream {
            method: call.method.clone(),
            query: call.params.query.clone().map(String::into_bytes),
            content_type: call.content_type.clone(),
            body: call.received.as_ref().unwrap_or(&call.params.body).clone(),
        };
    };
    let content_type = match call.received {
        Some(_) => Some(HeaderValue::from_static("application/x-www-form-urlencoded")),
        None => call.content_type.clone(),
    };
    let mut encoded = Cow::Borrowed(real_key.expose().as_bytes());
    if !is_plain(&encoded) {
        encoded = Cow::Owned(Vec::new());
        encode_into(encoded.to_mut(), real_key.expose().as_bytes());
    }
    let keys = |place| {
        let is_key = move |pair: &&Pair| pair.place == place && call.params.is_named(pair, "key");
        call.params.pairs.iter().filter(is_key)
    };
    let query = call.params.query.as_deref().map(str::as_bytes).map(|query| {
        splice(query, keys(Place::Query), &encoded, real_key).unwrap_or_else(|| query.to_vec())
    });
    let body = splice(&call.params.body, keys(Place::Body), &encoded, real_key)
        .map_or_else(|| call.params.body.clone(), Bytes::from);
    Upstream { method: call.method.clone(), query, content_type, body }
}

/// The source with the value of each of those pairs replaced; `None` when there is none to replace.
fn splice<'a>(
    source: &[u8],
    keys: impl Iterator<Item = &'a Pair>,
    encoded: &[u8],
    plain: &Secret,
) -> Option<Vec<u8>> {
    let mut values = keys.filter_map(|pair| Some((pair.value.as_ref()?, pair.coding))).peekable();
    values.peek()?;
    let mut target = Vec::with_capacity(source.len() + encoded.len());
    let mut copied = 0;
    for (range, coding) in values {
        target.extend_from_slice(source.get(copied..range.start).unwrap_or_default());
        target.extend_from_slice(match coding {
            Coding::Percent => encoded,
            Coding::Plain => plain.expose().as_bytes(),
        });
        copied = range.end;
    }
    target.extend_from_slice(source.get(copied..).unwrap_or_default());
    Some(target)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{get, post};
    use super::*;

    const REAL: &str = "REAL0key000000000000000000000000";

    fn swapped(call: &Call) -> Upstream {
        call.upstream(Some(&Secret::new(REAL)))
    }

    fn query(upstream: Upstream) -> String {
        String::from_utf8(upstream.query.unwrap()).unwrap()
    }

    #[test]
    fn only_key_values_of_the_query_change() {
        for (sent, expected) in [
            ("key=T&action=get&id=1", "key=REAL&action=get&id=1"),
            ("a=%2b+%zz&&k%65y=T&b=%C3%A9&key=T&", "a=%2b+%zz&&k%65y=REAL&b=%C3%A9&key=REAL&"),
            ("+key=T&key%5B0]=T&xkey=T", "+key=REAL&key%5B0]=REAL&xkey=T"),
            ("key&key=&a=1", "key&key=REAL&a=1"),
            ("KEY=T&keys=T", "KEY=T&keys=T"),
            ("key=%54", "key=REAL"),
            ("", ""),
        ] {
            let call = get("/res.php", sent).unwrap();
            assert_eq!(query(swapped(&call)), expected.replace("REAL", REAL), "{sent}");
        }
    }

    #[test]
    fn a_call_that_is_passed_through_stays_as_it_was() {
        let body = r#"{"key":"T", "json":1}"#;
        let call = post("key=T", "application/json", body.as_bytes()).unwrap();

        let upstream = call.upstream(None);

        assert_eq!(upstream.body, body);
        assert_eq!(upstream.content_type.as_ref().unwrap(), "application/json");
        assert_eq!(query(upstream), "key=T");
    }

    #[test]
    fn a_json_body_becomes_urlencoded_and_the_query_stays() {
        let content_type = "text/plain;charset=UTF-8";
        let call = post("key=T&method=base64", content_type, br#"{"body":"iVBO+/=="}"#).unwrap();

        let upstream = swapped(&call);

        assert_eq!(upstream.body, "body=iVBO%2B%2F%3D%3D");
        assert_eq!(upstream.content_type.as_ref().unwrap(), "application/x-www-form-urlencoded");
        assert_eq!(query(upstream), format!("key={REAL}&method=base64"));
    }

    #[test]
    fn a_body_without_a_key_is_not_copied() {
        let call = post("key=T", "application/x-www-form-urlencoded", b"method=post").unwrap();

        assert_eq!(swapped(&call).body.as_ptr(), call.params.body.as_ptr());
    }

    #[test]
    fn a_key_of_odd_characters_is_encoded_where_the_form_needs_it() {
        let odd = Secret::new("a&b=c d");
        let call = get("/res.php", "key=T&id=1").unwrap();
        assert_eq!(query(call.upstream(Some(&odd))), "key=a%26b%3Dc+d&id=1");

        let body = b"--B\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nT\r\n--B--\r\n";
        let call = post("", "multipart/form-data; boundary=B", body).unwrap();
        let upstream = call.upstream(Some(&odd));
        assert_eq!(
            upstream.body,
            String::from_utf8_lossy(body).replace("\r\nT\r\n", "\r\na&b=c d\r\n")
        );
    }

    #[test]
    fn the_sidecars_own_poll_is_a_plain_get() {
        let id = TaskId::new("2122988149").unwrap();
        let key = Secret::new(REAL);

        let asked = format!("key={REAL}&action=get&id=2122988149");
        assert_eq!(poll(&id, &key, Form::Json).method, Method::GET);
        assert_eq!(query(poll(&id, &key, Form::Json)), format!("{asked}&json=1"));
        assert_eq!(query(poll(&id, &key, Form::Text)), asked);
    }

    #[test]
    fn debug_shows_no_key() {
        let call = get("/res.php", "key=T0secret&id=1").unwrap();

        let shown = format!("{call:?} {:?}", swapped(&call));

        assert!(!shown.contains("T0secret") && !shown.contains(REAL), "{shown}");
    }
}
