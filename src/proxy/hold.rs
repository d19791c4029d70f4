//! Held polls: where there is no answer yet, the client waits here and not between two of its polls.

use std::sync::Arc;
use std::time::Duration;

use super::Proxy;
use super::poll::{self, ANSWERED_WITHIN, POLL_PATIENCE, Question};
use super::reply::Outgoing;
use crate::domain::engine::PollDecision;
use crate::domain::ids::TaskId;
use crate::domain::rejection::Rejection;
use crate::gate::Refusee;
use crate::record::metrics::Operation;
use crate::wire::answer::{self, Polled};
use crate::wire::refuse;

/// Least time between two questions, where `upstream.poll_spacing` is less.
const SPACING_MIN: Duration = Duration::from_millis(100);
/// The last question may be this late: a hold of `4s` is four spacings of `1s`, and what the provider takes
/// to answer in between.
const LATE_MAX: Duration = Duration::from_millis(250);
/// While the record cannot be written, this much of the time is left for it.
const FOR_THE_RECORD: Duration = ANSWERED_WITHIN.saturating_sub(POLL_PATIENCE);

/// Answers a poll for one task: at once where there is an answer, else once there is one, or when no
/// question fits into `hold` any more. A client that hangs up drops this future, and with it the wait.
/// `question` is left with the identity that it was answered for.
pub(super) async fn held(
    proxy: &Arc<Proxy>,
    question: &mut Question<'_>,
    task: &TaskId,
    hold: Duration,
) -> Outgoing {
    let begin = proxy.clock.mono();
    let spacing = proxy.gate.policy().poll_spacing.max(SPACING_MIN);
    let mut not_ours = Duration::ZERO;
    let (mut known, mut asked) = (false, false);
    let mut outgoing = loop {
        let decided = proxy.gate.poll_uncounted(question.identity, task, question.form);
        known |= decided.0 != PollDecision::WrongId;
        asked |= matches!(decided.0, PollDecision::Forward { .. } | PollDecision::Untracked);
        let reserve = if proxy.gate.is_recording() { Duration::ZERO } else { FOR_THE_RECORD };
        let left = question.by.since(proxy.clock.mono() + reserve);
        let outgoing = poll::answer(proxy, question, task, decided, left.min(POLL_PATIENCE)).await;
        not_ours += outgoing.upstream;
        let answered = proxy.clock.mono();
        let next = answered + spacing;
        let too_late = next > begin + hold + LATE_MAX || next + reserve > question.by;
        if too_late || !is_not_ready(proxy, &outgoing) {
            break outgoing;
        }
        tokio::select! {
            biased;
            () = proxy.let_go.cancelled() => break outgoing,
            () = tokio::time::sleep(spacing) => {}
        }
        not_ours += proxy.clock.mono().since(answered);
        // Much may have changed meanwhile: it is answered as a new poll would be.
        match proxy.gate.identify(&question.credential) {
            Ok(identity) => question.identity = identity,
            Err(rejection) => break refused(proxy, question, &rejection),
        }
    };
    let metrics = proxy.gate.metrics();
    if asked {
        metrics.poll_forwarded();
    } else if known {
        metrics.poll_from_memory();
    }
    outgoing.upstream = not_ours;
    outgoing
}

fn is_not_ready(proxy: &Proxy, outgoing: &Outgoing) -> bool {
    let classes = &proxy.gate.policy().error_classes;
    answer::polled(outgoing.status.as_u16(), &outgoing.body, classes) == Polled::Pending
}

/// The refusal of whoever was identified at first, and is nobody's any more.
fn refused(proxy: &Proxy, question: &Question<'_>, rejection: &Rejection) -> Outgoing {
    let rejections = proxy.config.load().defaults.rejections;
    let reply = refuse::rejection(rejection, question.form, rejections, false);
    proxy.refuse_with(reply, Operation::Poll, Refusee::Asker(&question.credential), rejection)
}
