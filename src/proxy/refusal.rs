//! Refusals: each is kept under the id that its client is told.

use std::time::Duration;

use super::Proxy;
use super::reply::Outgoing;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::rejection::{Reason, Rejection};
use crate::domain::solve::{Form, Identity};
use crate::gate::Refusee;
use crate::record::metrics::Operation;
use crate::wire::refuse::{self, Reply};
use crate::wire::request::Malformed;

/// Why a body was not read whole.
#[derive(Clone, Copy)]
pub(super) enum Unread {
    TooLarge,
    TooSlow,
    BrokenOff,
}

/// What was asked, and by which tenant.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) identity: Identity,
    pub(super) operation: Operation,
    pub(super) form: Form,
    /// What was to be solved, where it is about a solve.
    pub(super) captcha_type: Option<CaptchaType>,
}

impl Proxy {
    /// Refuses a tenant. `asks_threads`: the client asked for `threadsinfo` lately.
    pub(super) fn refuse(
        &self,
        asked: Asked,
        rejection: &Rejection,
        asks_threads: bool,
    ) -> Outgoing {
        let rejections = self.gate.rejection_form(asked.identity);
        let reply = refuse::rejection(rejection, asked.form, rejections, asks_threads);
        let refusee = Refusee::Tenant(asked.identity, asked.captcha_type);
        self.refuse_with(reply, asked.operation, refusee, rejection)
    }

    /// Refuses in these words.
    pub(super) fn refuse_with(
        &self,
        mut reply: Reply,
        operation: Operation,
        refusee: Refusee<'_>,
        rejection: &Rejection,
    ) -> Outgoing {
        reply.request_id = Some(self.gate.keep(refusee, rejection));
        Outgoing::own(operation, reply)
    }

    /// Refuses what nobody can be told to have asked.
    pub(super) fn refuse_malformed(
        &self,
        operation: Operation,
        malformed: &Malformed,
        form: Form,
    ) -> Outgoing {
        self.gate.metrics().rejected(None, Reason::Malformed);
        let reply = refuse::malformed(malformed, form, self.config.load().defaults.rejections);
        self.refuse_with(reply, operation, Refusee::Nobody, &malformed_rejection(malformed))
    }

    /// The same, of a body that did not come in.
    pub(super) fn refuse_unread(
        &self,
        operation: Operation,
        unread: Unread,
        form: Form,
    ) -> Outgoing {
        let (reason, text) = match unread {
            Unread::TooLarge => (Reason::TooLarge, "the body is larger than 16 MiB"),
            Unread::TooSlow => (Reason::Malformed, "the body did not come in in time"),
            Unread::BrokenOff => (Reason::Malformed, "the body broke off before its end"),
        };
        self.gate.metrics().rejected(None, reason);
        let rejection =
            Rejection { reason, text: text.to_owned(), retry_after: None, verdict: None };
        let rejections = self.config.load().defaults.rejections;
        let reply = refuse::rejection(&rejection, form, rejections, false);
        self.refuse_with(reply, operation, Refusee::Nobody, &rejection)
    }

    /// The provider failed a submission: the code that clients know to try again after.
    pub(super) fn server_error(&self, asked: Asked) -> Outgoing {
        let rejection = Rejection {
            reason: Reason::UpstreamUnavailable,
            text: "the provider did not take the solve; try again in a few seconds".to_owned(),
            retry_after: Some(Duration::from_secs(5)),
            verdict: None,
        };
        self.refuse(asked, &rejection, false)
    }
}

/// A request that cannot be read, as a rejection.
pub(super) fn malformed_rejection(malformed: &Malformed) -> Rejection {
    Rejection {
        reason: Reason::Malformed,
        text: malformed.to_string(),
        retry_after: None,
        verdict: None,
    }
}
