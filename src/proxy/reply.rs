//! What goes back to the client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{HeaderMap, Response, StatusCode};

use super::flush::{Body, Progress, Receipt};
use crate::domain::ids::RequestId;
use crate::domain::solve::{Answer, Form};
use crate::record::metrics::Operation;
use crate::wire::refuse;

const REASON: HeaderName = HeaderName::from_static("x-solvegate-reason");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-solvegate-request-id");

/// An answer on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) body: Bytes,
    /// Solves that count as delivered once the body is flushed up to there; in the order of the places.
    pub(super) receipts: Vec<(usize, Receipt)>,
    /// Time spent waiting for the provider.
    pub(super) upstream: Duration,
    pub(super) operation: Operation,
    own: Option<Box<refuse::Reply>>,
}

impl Outgoing {
    /// An answer of the sidecar's own.
    pub(super) fn own(operation: Operation, reply: refuse::Reply) -> Self {
        Self {
            status: reply.status,
            content_type: Some(HeaderValue::from_static(reply.content_type)),
            body: reply.body.clone(),
            receipts: Vec::new(),
            upstream: Duration::ZERO,
            operation,
            own: Some(Box::new(reply)),
        }
    }

    /// The provider's answer, byte for byte.
    pub(super) fn pass_on(operation: Operation, answer: &Answer) -> Self {
        Self {
            status: StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK),
            content_type: answer
                .content_type
                .as_deref()
                .and_then(|value| HeaderValue::from_bytes(value).ok()),
            body: answer.body.clone(),
            receipts: Vec::new(),
            upstream: Duration::ZERO,
            operation,
            own: None,
        }
    }

    /// The same of one that is not kept.
    pub(super) fn pass_through(operation: Operation, answered: super::upstream::Answered) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: answered.content_type,
            body: answered.body,
            receipts: Vec::new(),
            upstream: Duration::ZERO,
            operation,
            own: None,
        }
    }

    /// The same with the receipt that its flushing makes good.
    pub(super) fn with_receipt(mut self, receipt: Option<Receipt>) -> Self {
        self.receipts.extend(receipt.map(|receipt| (usize::MAX, receipt)));
        self
    }

    /// The same with the time that the provider took.
    pub(super) fn after(mut self, upstream: Duration) -> Self {
        self.upstream = upstream;
        self
    }

    /// What a refusal is kept under.
    pub(super) fn request_id(&self) -> Option<RequestId> {
        self.own.as_ref().and_then(|own| own.request_id)
    }

    /// `headers` are the request's: what holds them is used again, as hyper does with what comes back.
    pub(super) fn into_response(
        self,
        progress: &Arc<Progress>,
        allow_origin: bool,
        mut headers: HeaderMap,
    ) -> Response<Body> {
        let mut response = Response::new(Body::new(self.body, self.receipts, progress.clone()));
        *response.status_mut() = self.status;
        headers.clear();
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        if allow_origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        if let Some(own) = self.own {
            if let Some(reason) = own.reason {
                headers.insert(REASON, HeaderValue::from_static(reason.label()));
            }
            let id = own.request_id.map(|id| HeaderValue::try_from(id.to_string()));
            if let Some(Ok(id)) = id {
                headers.insert(REQUEST_ID, id);
            }
            if let Some(wait) = own.retry_after {
                headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
            }
        }
        *response.headers_mut() = headers;
        response
    }
}

/// `Retry-After` counts whole seconds: rounded up, at least one.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// The provider's answer as it is kept and passed on. `status` is what the client is shown.
pub(super) fn answer(form: Form, status: u16, answered: &super::upstream::Answered) -> Answer {
    Answer {
        form,
        status,
        content_type: answered.content_type.as_ref().map(|value| value.as_bytes().into()),
        body: answered.body.clone(),
    }
}
