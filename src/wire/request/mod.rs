//! One request of a client, in any of the five encodings that clients use.

mod classify;
mod multipart;
mod params;
mod upstream;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Method};

pub use self::classify::{Action, Ids};
use self::params::{Params, Place};
pub use self::upstream::{Upstream, poll};
use super::route::{Endpoint, Route};
use super::secret::{self, Secret};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::KeyHash;

pub use crate::domain::solve::Form;

/// The head of a request, as far as it matters.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// What stands behind the `?`.
    pub query: Option<&'a str>,
    /// The content type of the body.
    pub content_type: Option<&'a HeaderValue>,
}

/// Leaves the query out: it holds a key.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("method", self.method).finish_non_exhaustive()
    }
}

/// Why a request cannot be read, and what to do about it. Never holds a value of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say it")]
pub enum Malformed {
    #[error("only GET and POST are served; send the request as one of them")]
    Method,
    #[error("the request carries two different keys; send `key` once")]
    TwoKeys,
    #[error("the request carries two different values of `{name}`; send it once")]
    TwoValues { name: &'static str },
    #[error("the request has more than 1000 parameters; send fewer")]
    TooManyParams,
    #[error("a parameter has a name of more than 1024 bytes; send `name=value` pairs")]
    LongName,
    #[error("the value of `{name}` is not UTF-8; send it as plain ASCII")]
    NotUtf8 { name: &'static str },
    #[error(
        "the content type of the body is not understood; send application/x-www-form-urlencoded, \
         multipart/form-data or application/json"
    )]
    ContentType,
    #[error(
        "the content type `multipart/form-data` needs exactly one valid `boundary`; let the HTTP \
         library set the header"
    )]
    Boundary,
    #[error("the multipart body is broken: {what}; let the HTTP library build it")]
    Multipart { what: &'static str },
    #[error(
        "the JSON body is not valid at line {line}, column {column}; send one flat JSON object"
    )]
    Json { line: usize, column: usize },
    #[error("the JSON body is not an object; send one flat JSON object")]
    NotAnObject,
    #[error(
        "`action` is missing; send get, get2, getbalance, threadsinfo, reportgood or reportbad"
    )]
    EmptyAction,
    #[error(
        "this `action` is not served; send get, get2, getbalance, threadsinfo, reportgood or reportbad"
    )]
    UnknownAction,
    #[error("the task id is missing or not valid; send the id that in.php answered as `id`")]
    WrongId,
    #[error("the request carries both `id` and `ids`; send one of them")]
    IdAndIds,
    #[error("`ids` holds more than 100 task ids; send fewer at a time")]
    TooManyIds,
}

impl Malformed {
    /// The provider's code for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TwoKeys | Self::NotUtf8 { name: "key" } => "ERROR_WRONG_USER_KEY",
            Self::EmptyAction => "ERROR_EMPTY_ACTION",
            Self::WrongId
            | Self::IdAndIds
            | Self::TooManyIds
            | Self::TwoValues { name: "id" | "ids" }
            | Self::NotUtf8 { name: "id" | "ids" } => "ERROR_WRONG_ID_FORMAT",
            Self::Method
            | Self::TwoValues { .. }
            | Self::TooManyParams
            | Self::LongName
            | Self::NotUtf8 { .. }
            | Self::ContentType
            | Self::Boundary
            | Self::Multipart { .. }
            | Self::Json { .. }
            | Self::NotAnObject
            | Self::UnknownAction => "ERROR_BAD_PARAMETERS",
        }
    }
}

/// One request, read. Its bytes are kept as they came.
#[derive(Clone)]
pub struct Call {
    route: Route,
    method: Method,
    content_type: Option<HeaderValue>,
    params: Params,
    /// The JSON body as it came, when `params` reads its translation to a form.
    received: Option<Bytes>,
}

/// Leaves everything out that may hold a key or a captcha.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("route", &self.route)
            .field("method", &self.method)
            .field("params", &self.params.pairs.len())
            .field("body_bytes", &self.params.body.len())
            .finish_non_exhaustive()
    }
}

/// Reads a request whose body is complete. Linear in its size.
pub fn parse(route: Route, head: &Head<'_>, body: Bytes) -> Result<Call, Malformed> {
    if head.method != Method::GET && head.method != Method::POST {
        return Err(Malformed::Method);
    }
    let query = head.query.map(str::to_owned);
    let mut params = Params { query, pairs: Vec::with_capacity(8), ..Params::default() };
    if let Some(query) = head.query {
        params::scan_urlencoded(query.as_bytes(), Place::Query, &mut params.pairs)?;
    }
    let mut received = None;
    params.body = body;
    if !params.body.is_empty() {
        match body_kind(head.content_type, &params.body)? {
            BodyKind::Urlencoded => {
                params::scan_urlencoded(&params.body, Place::Body, &mut params.pairs)?;
            }
            BodyKind::Multipart(boundary) => {
                multipart::scan(&params.body, boundary, &mut params.pairs)?;
            }
            BodyKind::Json => {
                let form = params::json_to_form(&params.body)?;
                params::scan_urlencoded(&form, Place::Body, &mut params.pairs)?;
                received = Some(std::mem::replace(&mut params.body, form));
            }
        }
    }
    check_unambiguous(&params)?;
    let content_type = head.content_type.cloned();
    Ok(Call { route, method: head.method.clone(), content_type, params, received })
}

/// The form in which to refuse a request that [`parse`] refused, or whose body was not read (then
/// `body` is empty): a guess from what can be read.
pub fn form_hint(head: &Head<'_>, body: &[u8]) -> Form {
    let mut params = Params { query: head.query.map(str::to_owned), ..Params::default() };
    let query = params.query.as_deref().unwrap_or_default();
    // A refusal to read on leaves the pairs read so far, which is all that a guess needs.
    let _ = params::scan_urlencoded(query.as_bytes(), Place::Query, &mut params.pairs);
    match body_kind(head.content_type, body) {
        Ok(BodyKind::Json) => return Form::Json,
        Ok(BodyKind::Urlencoded) => {
            params.body = Bytes::copy_from_slice(body);
            let _ = params::scan_urlencoded(body, Place::Body, &mut params.pairs);
        }
        Ok(BodyKind::Multipart(boundary)) => {
            params.body = Bytes::copy_from_slice(body);
            let _ = multipart::scan(body, boundary, &mut params.pairs);
        }
        Err(_) => {}
    }
    form(&params)
}

impl Call {
    /// What the path asks for.
    pub const fn endpoint(&self) -> Endpoint {
        self.route.endpoint
    }

    /// The tenant that the path names.
    pub fn tenant(&self) -> Option<&str> {
        self.route.tenant.as_deref()
    }

    /// The key, unless it is missing or empty.
    pub fn key(&self) -> Option<Secret> {
        self.key_in_clear().map(Secret::new)
    }

    /// What the key is known by, without a copy of it.
    pub fn key_hash(&self) -> Option<KeyHash> {
        self.key_in_clear().map(|key| secret::sha256(&key))
    }

    fn key_in_clear(&self) -> Option<Cow<'_, str>> {
        let mut keys = self.params.named("key").map(|pair| lossy(self.params.text(pair)));
        keys.find(|key| !key.is_empty())
    }

    /// The first value of that name, decoded; bytes that are not UTF-8 are shown as `U+FFFD`.
    pub fn param<'a>(&'a self, name: &'a str) -> Option<Cow<'a, str>> {
        self.params.named(name).next().map(|pair| lossy(self.params.text(pair)))
    }

    /// Every parameter in order, decoded, the query's first.
    pub fn params(&self) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
        self.params.pairs.iter().map(|pair| (self.params.name(pair), self.params.value(pair)))
    }

    /// The form that the reply is wanted in.
    pub fn form(&self) -> Form {
        form(&self.params)
    }

    /// What a submission is for.
    pub fn captcha_type(&self) -> CaptchaType {
        classify::captcha_type(self)
    }

    /// What a `res.php` call is for.
    pub fn action(&self) -> Result<Action, Malformed> {
        classify::action(self)
    }

    /// The page that the captcha stands on.
    pub fn page_url(&self) -> Option<Cow<'_, str>> {
        self.param("pageurl").filter(|url| !url.is_empty())
    }

    /// Whether the provider is to call the client back with the answer.
    pub fn pingback(&self) -> bool {
        self.params.values("pingback").any(|url| !url.is_empty())
    }

    /// Whether the reply needs `Access-Control-Allow-Origin: *`.
    pub fn header_acao(&self) -> bool {
        self.is_truthy("header_acao")
    }

    /// The request for the provider: with `real_key` in place of every `key` and a JSON body as a form,
    /// no other byte changed; without one, exactly as it came.
    pub fn upstream(&self, real_key: Option<&Secret>) -> Upstream {
        upstream::upstream(self, real_key)
    }

    fn has(&self, name: &str) -> bool {
        self.params.values(name).any(|value| !value.is_empty())
    }

    fn is_truthy(&self, name: &str) -> bool {
        is_truthy(&self.params, name)
    }
}

/// Text as it is, which is far cheaper than the lossy reading of what is none.
fn lossy<'a>(text: Result<Cow<'a, str>, Cow<'a, [u8]>>) -> Cow<'a, str> {
    text.unwrap_or_else(|bytes| Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

fn form(params: &Params) -> Form {
    if is_truthy(params, "json") { Form::Json } else { Form::Text }
}

fn is_truthy(params: &Params, name: &str) -> bool {
    params.values(name).next().is_some_and(|value| matches!(&*value, b"1" | b"true"))
}

enum BodyKind<'a> {
    Urlencoded,
    Multipart(&'a [u8]),
    Json,
}

fn body_kind<'a>(
    content_type: Option<&'a HeaderValue>,
    body: &[u8],
) -> Result<BodyKind<'a>, Malformed> {
    let content_type = content_type.map_or(b"".as_slice(), HeaderValue::as_bytes);
    let essence = content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    if is("application/x-www-form-urlencoded") {
        Ok(BodyKind::Urlencoded)
    } else if is("multipart/form-data") {
        multipart::boundary(content_type).map(BodyKind::Multipart)
    } else if is("application/json") || is("text/json") {
        Ok(BodyKind::Json)
    } else if is("") || is("text/plain") {
        let looks_like_json = body.trim_ascii_start().first() == Some(&b'{');
        Ok(if looks_like_json { BodyKind::Json } else { BodyKind::Urlencoded })
    } else {
        Err(Malformed::ContentType)
    }
}

/// What identity, ownership and price are decided by. Of two values one server takes the first, another
/// the last; so two different ones are refused.
const DECISIVE: [&str; 16] = [
    "key",
    "method",
    "action",
    "id",
    "ids",
    "version",
    "enterprise",
    "invisible",
    "img_type",
    "grid_size",
    "recaptcha",
    "recaptcharows",
    "recaptchacols",
    "textcaptcha",
    "canvas",
    "coordinatescaptcha",
];

/// Those of them that must be text.
const TEXT: usize = 5;

/// Of several complaints, the one about the name that stands first in [`DECISIVE`].
fn check_unambiguous(params: &Params) -> Result<(), Malformed> {
    let mut before = [None; DECISIVE.len()];
    let mut found: Option<(usize, Malformed)> = None;
    for pair in &params.pairs {
        let place = DECISIVE.iter().position(|name| params.is_named(pair, name));
        let Some((place, name)) = place.map(|place| (place, DECISIVE[place])) else { continue };
        let malformed = match before[place].replace(pair) {
            None if place >= TEXT || params.text(pair).is_ok() => continue,
            None => Malformed::NotUtf8 { name },
            // One that differs from none of its neighbours differs from none.
            Some(other) if params.value(other) == params.value(pair) => continue,
            Some(_) if name == "key" => Malformed::TwoKeys,
            Some(_) => Malformed::TwoValues { name },
        };
        if found.as_ref().is_none_or(|(other, _)| place <= *other) {
            found = Some((place, malformed));
        }
    }
    found.map_or(Ok(()), |(_, malformed)| Err(malformed))
}

#[cfg(test)]
mod tests;
