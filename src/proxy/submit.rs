//! Submissions: admitted, forwarded once, bound before the client sees the id. What was admitted
//! outlives its client, so forwarding runs on a task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Proxy;
use super::flush::Receipt;
use super::poll::ANSWERED_WITHIN;
use super::refusal::Asked;
use super::reply::{self, Outgoing};
use super::upstream::{Answered, Kind, UpstreamError};
use crate::domain::engine::{Admitted, Decision};
use crate::domain::ids::{SolveId, TaskId};
use crate::domain::outcome::Outcome;
use crate::domain::rejection::{Reason, Rejection, Verdict};
#[cfg(feature = "seeded-bugs")]
use crate::domain::seeded::{self, Bug};
use crate::domain::solve::{Identity, Submission};
use crate::failpoint::{self, Point};
use crate::gate::{Bound, Gate, store_unavailable};
use crate::record::metrics::{Operation, UpstreamResult};
use crate::wire::answer::{self, Polled, Submitted};
use crate::wire::refuse;
use crate::wire::request::Call;
use crate::wire::route::Endpoint;

/// How long the provider's word on a submission is waited for after its client was answered.
const LATE_ANSWER: Duration = Duration::from_mins(1);

/// Answers `in.php` and `solve.php`.
pub(super) async fn submit(
    proxy: &Arc<Proxy>,
    call: Call,
    from: (Identity, Submission),
    headers: Vec<u8>,
) -> Outgoing {
    let (identity, submission) = from;
    let (form, endpoint) = (call.form(), call.endpoint());
    let operation = if endpoint == Endpoint::Solve { Operation::Solve } else { Operation::Submit };
    let asked = Asked { identity, operation, form, captcha_type: Some(call.captcha_type()) };
    #[cfg(feature = "seeded-bugs")]
    let decision = if seeded::is_planted(Bug::LimitOutsideTheLock) {
        proxy.gate.admit_in_two_steps(submission).await
    } else {
        proxy.gate.admit(submission)
    };
    #[cfg(not(feature = "seeded-bugs"))]
    let decision = proxy.gate.admit(submission);
    let admitted = match decision {
        Decision::Admit(admitted) => admitted,
        Decision::Reject { rejection, asks_threads } => {
            return proxy.refuse(asked, &rejection, asks_threads);
        }
    };
    let solve = admitted.solve;
    let (answer, answered) = oneshot::channel();
    let heard = Arc::new(AtomicBool::new(false));
    let forwarding = Forwarding {
        proxy: proxy.clone(),
        call,
        identity,
        admitted,
        operation,
        heard: heard.clone(),
    };
    proxy.tasks.spawn(async move {
        // The client may be gone; then the answer is dropped, and with it the receipt of a delivery.
        let _ = answer.send(forwarding.run(headers).await);
    });
    let patience = match endpoint {
        Endpoint::Solve => Duration::MAX,
        Endpoint::In | Endpoint::Res => proxy.config.load().upstream.submit_timeout,
    };
    match tokio::time::timeout(patience, answered).await {
        Ok(Ok(outgoing)) => outgoing,
        Ok(Err(_)) => proxy.server_error(asked),
        // The provider took it and the record is slow: no fault of the provider's.
        Err(_) if heard.load(Ordering::Acquire) => {
            proxy.gate.not_collected(solve);
            let rejection = store_unavailable();
            proxy.gate.rejected(identity, None, &rejection);
            proxy.refuse(asked, &rejection, false)
        }
        Err(_) => {
            proxy.gate.answered_without_provider(solve);
            proxy.gate.observe_upstream(false);
            proxy.server_error(asked).after(patience)
        }
    }
}

/// A submission on its way to the provider.
struct Forwarding {
    proxy: Arc<Proxy>,
    call: Call,
    identity: Identity,
    admitted: Admitted,
    operation: Operation,
    /// The provider took the solve.
    heard: Arc<AtomicBool>,
}

/// An admitted solve whose end is not known yet: when it is dropped (a panic), slot and hold go free.
struct Unsettled<'a> {
    gate: &'a Gate,
    solve: SolveId,
    ended: bool,
}

impl Unsettled<'_> {
    fn failed(mut self, outcome: Outcome, code: &str) {
        self.ended = true;
        self.gate.submit_failed(self.solve, outcome, code);
    }

    fn bound(mut self) {
        self.ended = true;
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.gate.submit_failed(self.solve, Outcome::ProviderError, "ABORTED");
        }
    }
}

impl Forwarding {
    async fn run(self, headers: Vec<u8>) -> Outgoing {
        let unsettled =
            Unsettled { gate: &self.proxy.gate, solve: self.admitted.solve, ended: false };
        let Ok(key) = self.proxy.key_to_send(&self.admitted.account) else {
            unsettled.failed(Outcome::AccountError, "NO_ACCOUNT_KEY");
            return self.server_error();
        };
        let outgoing = self.call.upstream(key.as_ref());
        let (script, timeout) = match self.call.endpoint() {
            Endpoint::Solve => ("solve.php", self.admitted.deadline),
            Endpoint::In | Endpoint::Res => ("in.php", LATE_ANSWER),
        };
        let upstream = self.proxy.upstream.load_full();
        let (answered, took) =
            upstream.send(script, outgoing, &headers, (Kind::Submit, timeout)).await;
        let (outgoing, label) = match answered {
            Ok(answered) if self.operation == Operation::Solve => {
                self.solved_now(&answered, unsettled).await
            }
            Ok(answered) => self.submitted(&answered, unsettled).await,
            Err(error) => (self.lost(error, unsettled), error.label()),
        };
        let metrics = self.proxy.gate.metrics();
        metrics.upstream_asked(&self.admitted.account, self.operation, label, took);
        outgoing.after(took)
    }

    async fn submitted(
        &self,
        answered: &Answered,
        unsettled: Unsettled<'_>,
    ) -> (Outgoing, UpstreamResult) {
        let classes = &self.proxy.gate.policy().error_classes;
        match answer::submitted(answered.status, &answered.body, classes) {
            Submitted::Accepted(task) => {
                failpoint::pass(Point::AfterUpstreamAccepted);
                (self.bind(answered, &task, unsettled).await, UpstreamResult::Ok)
            }
            Submitted::Refused { code, outcome } => {
                (self.refused(answered, (&code, outcome), unsettled), UpstreamResult::ApiError)
            }
            Submitted::Broken { what } => {
                tracing::warn!(account = %self.admitted.account, what, "the provider's answer to a submission is unreadable");
                self.proxy.gate.observe_upstream(answered.status / 100 == 4);
                unsettled.failed(Outcome::ProviderError, "MALFORMED");
                (self.server_error(), UpstreamResult::HttpError)
            }
        }
    }

    async fn bind(&self, answered: &Answered, task: &TaskId, unsettled: Unsettled<'_>) -> Outgoing {
        self.proxy.gate.observe_upstream(true);
        self.heard.store(true, Ordering::Release);
        unsettled.bound();
        match self.proxy.gate.bind(self.admitted.solve, task).await {
            Bound::Durable => self.pass_on(answered),
            Bound::Duplicate => {
                tracing::error!(account = %self.admitted.account, "the provider gave a task id that it gave before");
                self.server_error()
            }
            Bound::Unrecorded => self.server_error(),
        }
    }

    async fn solved_now(
        &self,
        answered: &Answered,
        unsettled: Unsettled<'_>,
    ) -> (Outgoing, UpstreamResult) {
        let form = self.call.form();
        let classes = &self.proxy.gate.policy().error_classes;
        match answer::solved_now(answered.status, &answered.body, classes) {
            Polled::Solved => {
                self.proxy.gate.observe_upstream(true);
                unsettled.bound();
                let answer = Arc::new(reply::answer(form, answered.status, answered));
                let pending = self.proxy.gate.solved_at_once(self.admitted.solve, answer);
                let receipt = Receipt::new(&self.proxy.gate, self.admitted.solve);
                // With that patience a slow store has become a failing one, and the answer goes out.
                let _ = self.proxy.gate.ready(pending, ANSWERED_WITHIN).await;
                (self.pass_on(answered).with_receipt(Some(receipt)), UpstreamResult::Ok)
            }
            Polled::Failed { code, outcome } => {
                (self.refused(answered, (&code, outcome), unsettled), UpstreamResult::ApiError)
            }
            Polled::ProxyTrouble { code } => (
                self.refused(answered, (&code, Outcome::ClientError), unsettled),
                UpstreamResult::ApiError,
            ),
            Polled::Trouble { code, outcome } if answer::is_code(&code) => {
                (self.refused(answered, (&code, outcome), unsettled), UpstreamResult::ApiError)
            }
            Polled::Pending | Polled::Trouble { .. } => {
                self.proxy.gate.observe_upstream(false);
                unsettled.failed(Outcome::ProviderError, "MALFORMED");
                (self.server_error(), UpstreamResult::HttpError)
            }
        }
    }

    /// The provider said no. What it says of the operator's account stays here.
    fn refused(
        &self,
        answered: &Answered,
        (code, outcome): (&str, Outcome),
        unsettled: Unsettled<'_>,
    ) -> Outgoing {
        let gate = &self.proxy.gate;
        gate.observe_upstream(true);
        unsettled.failed(outcome, code);
        if outcome == Outcome::AccountError && !gate.policy().pass_through {
            self.proxy.key_refused(&self.admitted.account);
            let rejection = Rejection {
                reason: Reason::AccountUnavailable,
                text:
                    "the provider account cannot solve at present; its operator has to look at it"
                        .to_owned(),
                retry_after: None,
                verdict: Some(Verdict::Spent),
            };
            gate.rejected(self.identity, Some(self.call.captcha_type()), &rejection);
            gate.refused_upstream(self.identity);
            return self.proxy.refuse(self.asked(), &rejection, false);
        }
        if outcome == Outcome::Capacity {
            gate.refused_upstream(self.identity);
        }
        match code {
            // A web server's page, which no client can read.
            "HTTP_429" => self.server_error(),
            "HTTP_413" => self.too_large(),
            _ => self.pass_on(answered),
        }
    }

    fn too_large(&self) -> Outgoing {
        let rejection = Rejection {
            reason: Reason::TooLarge,
            text: "the provider finds the request too large".to_owned(),
            retry_after: None,
            verdict: None,
        };
        self.proxy.refuse(self.asked(), &rejection, false)
    }

    fn lost(&self, error: UpstreamError, unsettled: Unsettled<'_>) -> Outgoing {
        self.proxy.gate.observe_upstream(false);
        let form = self.call.form();
        tracing::warn!(account = %self.admitted.account, %error, "a submission was lost");
        match (error, self.operation) {
            (UpstreamError::Timeout, Operation::Solve) => {
                unsettled.failed(Outcome::Timeout, "DEADLINE");
                return Outgoing::own(self.operation, refuse::unsolvable(form));
            }
            (UpstreamError::Connect, _) => unsettled.failed(Outcome::ProviderError, "CONNECT"),
            (UpstreamError::Broken, _) => unsettled.failed(Outcome::ProviderError, "BROKEN_OFF"),
            (UpstreamError::Timeout, _) => unsettled.failed(Outcome::ProviderError, "TIMEOUT"),
        }
        self.server_error()
    }

    fn server_error(&self) -> Outgoing {
        self.proxy.server_error(self.asked())
    }

    fn asked(&self) -> Asked {
        Asked {
            identity: self.identity,
            operation: self.operation,
            form: self.call.form(),
            captcha_type: Some(self.call.captcha_type()),
        }
    }

    fn pass_on(&self, answered: &Answered) -> Outgoing {
        let answer = reply::answer(self.call.form(), answered.status, answered);
        Outgoing::pass_on(self.operation, &answer)
    }
}
