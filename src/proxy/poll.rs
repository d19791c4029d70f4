//! Polls: one task's answer from the provider or from memory, and several joined.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::flush::Receipt;
use super::reply::{self, Outgoing};
use super::upstream::{Answered, Exchange, Kind, UpstreamError};
use super::{NoKey, Proxy, UnderWay};
use crate::domain::account::AccountReport;
use crate::domain::engine::{AnswerTo, Asker, Credential, PollDecision, PollResult};
use crate::domain::ids::{Name, SolveId, TaskId};
use crate::domain::outcome::Outcome;
use crate::domain::solve::{Answer, Form, Identity};
use crate::domain::time::Mono;
use crate::gate::Pending;
use crate::record::metrics::{Operation, UpstreamResult};
use crate::wire::answer::{self, Polled};
use crate::wire::refuse;
use crate::wire::request::{self, Call};

/// A client is answered after this long whatever the provider and the record do: some give up at 5 s, and
/// lose what they paid for.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_millis(4_500);
/// How long the provider is waited for; the rest is left for the record.
pub(super) const POLL_PATIENCE: Duration = Duration::from_secs(4);

/// The provider's answer to a poll, classified.
pub(super) struct Asked {
    pub(super) result: PollResult,
    /// Whether it gave an answer that can be read.
    pub(super) reachable: bool,
    /// What it said, to be passed on if the engine says so.
    said: Said,
    took: Duration,
}

/// What the provider said, for the client.
enum Said {
    /// Nothing for clients.
    Nothing,
    /// That there is no answer yet; the next poll asks again.
    Passing(Answered),
    /// An answer that may be kept.
    Kept(Arc<Answer>),
}

/// One poll of a client.
pub(super) struct Question<'a> {
    pub(super) credential: Credential<'a>,
    pub(super) identity: Identity,
    pub(super) form: Form,
    /// The call itself for `get`, so that it goes on as it came; `None` where the sidecar words the
    /// question (`get2`, `ids=`).
    pub(super) call: Option<&'a Call>,
    pub(super) headers: &'a HeaderMap,
    /// When the client must be answered.
    pub(super) by: Mono,
}

/// Answers a poll for one task, which may be held.
pub(super) async fn one(
    proxy: &Arc<Proxy>,
    question: &mut Question<'_>,
    task: &TaskId,
) -> Outgoing {
    let hold = proxy.config.load().upstream.hold_polls;
    if !hold.is_zero() {
        return Box::pin(super::hold::held(proxy, question, task, hold)).await;
    }
    at_once(proxy, question, task).await
}

async fn at_once(proxy: &Arc<Proxy>, question: &Question<'_>, task: &TaskId) -> Outgoing {
    let decided = proxy.gate.poll(question.identity, task, question.form);
    answer(proxy, question, task, decided, POLL_PATIENCE).await
}

/// Does what was decided on a poll. The provider is waited for as long as `patience`.
pub(super) async fn answer(
    proxy: &Arc<Proxy>,
    question: &Question<'_>,
    task: &TaskId,
    (decision, pending): (PollDecision, Pending),
    patience: Duration,
) -> Outgoing {
    let form = question.form;
    let own = |reply| Outgoing::own(Operation::Poll, reply);
    match decision {
        PollDecision::WrongId => own(refuse::wrong_id(form)),
        PollDecision::NotReady => own(refuse::not_ready(form)),
        PollDecision::GiveUp => own(refuse::unsolvable(form)),
        PollDecision::Untracked => Box::pin(untracked(proxy, question, task, patience)).await,
        PollDecision::Memory { solve, answer, durable } => {
            let receipt = durable.then(|| Receipt::new(&proxy.gate, solve));
            // Boxed, as one such answer stands beside many that there is none yet.
            if Box::pin(proxy.gate.ready(pending, question.by.since(proxy.clock.mono()))).await {
                Outgoing::pass_on(Operation::Poll, &answer).with_receipt(receipt)
            } else {
                own(refuse::not_ready(form))
            }
        }
        PollDecision::Forward { solve, account } => {
            forward(proxy, question, task, (solve, &account), patience).await
        }
    }
}

/// Answers `ids=1,2,3`: each task on its own, the answers joined by `|` in the order asked. Not held:
/// those that are ready would wait for the others.
pub(super) async fn many(
    proxy: &Arc<Proxy>,
    question: &Question<'_>,
    tasks: &[TaskId],
) -> Outgoing {
    let answers =
        futures_util::future::join_all(tasks.iter().map(|task| at_once(proxy, question, task)))
            .await;
    let length =
        |text: &[u8]| refuse::bare(question.form, &String::from_utf8_lossy(text)).body.len();
    let frame = length(b"");
    let mut joined = Vec::new();
    let mut receipts = Vec::new();
    // Where the answer ends in the reply; what closes a JSON reply is counted in, a byte or two too far.
    let mut end = frame;
    let mut upstream = Duration::ZERO;
    for (place, answered) in answers.into_iter().enumerate() {
        if place > 0 {
            joined.push(b'|');
        }
        let begin = joined.len();
        // An answer of a shape of its own (GeeTest) goes in whole.
        match answer::answer_text(&answered.body) {
            Some(text) => joined.extend_from_slice(text.as_bytes()),
            None => joined.extend_from_slice(&answered.body),
        }
        end += length(&joined[begin..]) - frame + usize::from(place > 0);
        receipts.extend(answered.receipts.into_iter().map(|(_, receipt)| (end, receipt)));
        upstream = upstream.max(answered.upstream);
    }
    let text = String::from_utf8_lossy(&joined);
    let mut outgoing =
        Outgoing::own(Operation::Poll, refuse::bare(question.form, &text)).after(upstream);
    outgoing.receipts = receipts;
    outgoing
}

/// Answers `get2`: the answer of `get` and what it cost the asker.
pub(super) async fn with_price(
    proxy: &Arc<Proxy>,
    mut question: Question<'_>,
    task: &TaskId,
) -> Outgoing {
    let mut outgoing = one(proxy, &mut question, task).await;
    if let Some(price) = proxy.gate.price(question.identity, task) {
        outgoing.body = answer::add_price(&outgoing.body, price);
    }
    outgoing
}

async fn forward(
    proxy: &Arc<Proxy>,
    question: &Question<'_>,
    task: &TaskId,
    (solve, account): (SolveId, &Name),
    patience: Duration,
) -> Outgoing {
    let form = question.form;
    let under_way = UnderWay { gate: proxy.gate.clone(), solve, finished: false };
    // Dropping `under_way` says that the poll came to no end.
    let Ok(outgoing) = words(proxy, question, task, account) else {
        return Outgoing::own(
            Operation::Poll,
            match proxy.gate.unaskable(solve) {
                AnswerTo::GiveUp => refuse::unsolvable(form),
                AnswerTo::NotReady | AnswerTo::PassOn { .. } => refuse::not_ready(form),
            },
        );
    };
    let mut asking = {
        let headers = super::source::forwarded(question.headers);
        Asking::begin(proxy, (account, form), outgoing, &headers)
    };
    let Some(asked) = asking.answer(proxy, patience).await else {
        let late = proxy.clone();
        proxy.tasks.spawn(async move {
            // Nobody waits any more; the answer is kept for the next poll.
            let asked = asking.answer_in_the_end(&late).await;
            let (_, pending) = under_way.finish(Asker::Watcher, asked.result, asked.reachable);
            drop(pending);
        });
        return Outgoing::own(Operation::Poll, refuse::not_ready(form)).after(patience);
    };
    let (to_client, pending) = under_way.finish(Asker::Client, asked.result, asked.reachable);
    let reply = match (to_client, asked.said) {
        (AnswerTo::PassOn { offered: true }, Said::Kept(answer)) => {
            let receipt = Receipt::new(&proxy.gate, solve);
            if Box::pin(proxy.gate.ready(pending, question.by.since(proxy.clock.mono()))).await {
                Outgoing::pass_on(Operation::Poll, &answer).with_receipt(Some(receipt))
            } else {
                // The next poll gets it from memory.
                Outgoing::own(Operation::Poll, refuse::not_ready(form))
            }
        }
        (AnswerTo::PassOn { .. }, Said::Kept(answer)) => {
            settled(pending);
            Outgoing::pass_on(Operation::Poll, &answer)
        }
        (AnswerTo::PassOn { .. }, Said::Passing(answered)) => {
            settled(pending);
            Outgoing::pass_through(Operation::Poll, answered)
        }
        (AnswerTo::GiveUp, _) => Outgoing::own(Operation::Poll, refuse::unsolvable(form)),
        (AnswerTo::NotReady | AnswerTo::PassOn { .. }, _) => {
            Outgoing::own(Operation::Poll, refuse::not_ready(form))
        }
    };
    reply.after(asked.took)
}

/// Nothing has to be durable before a failure is passed on: it costs nobody anything.
fn settled(pending: Pending) {
    drop(pending);
}

/// A task from before this process, in pass-through: the provider's answer as it is.
async fn untracked(
    proxy: &Proxy,
    question: &Question<'_>,
    task: &TaskId,
    patience: Duration,
) -> Outgoing {
    let account = proxy.gate.account_name(question.identity);
    let Ok(outgoing) = words(proxy, question, task, &account) else {
        return Outgoing::own(Operation::Poll, refuse::not_ready(question.form));
    };
    let timeout = proxy.config.load().upstream.poll_timeout.min(patience);
    let headers = super::source::forwarded(question.headers);
    let upstream = proxy.upstream.load_full();
    let (answered, took) =
        upstream.send("res.php", outgoing, &headers, (Kind::Poll, timeout)).await;
    let (reply, label) = match answered {
        Ok(answered)
            if answer::is_readable(answered.status, &answered.body, answer::Asked::Answers) =>
        {
            let answer = reply::answer(question.form, 200, &answered);
            let classes = &proxy.gate.policy().error_classes;
            let polled = answer::polled(answered.status, &answered.body, classes);
            let is_good = matches!(polled, Polled::Pending | Polled::Solved);
            let label = if is_good { UpstreamResult::Ok } else { UpstreamResult::ApiError };
            (Outgoing::pass_on(Operation::Poll, &answer), label)
        }
        broken => {
            let label = broken.err().map_or(UpstreamResult::HttpError, UpstreamError::label);
            (Outgoing::own(Operation::Poll, refuse::not_ready(question.form)), label)
        }
    };
    proxy.gate.metrics().upstream_asked(&account, Operation::Poll, label, took);
    reply.after(took)
}

fn words(
    proxy: &Proxy,
    question: &Question<'_>,
    task: &TaskId,
    account: &Name,
) -> Result<request::Upstream, NoKey> {
    let key = proxy.key_to_send(account)?;
    Ok(match (question.call, &key) {
        (Some(call), key) => call.upstream(key.as_ref()),
        (None, Some(key)) => request::poll(task, key, question.form),
        (None, None) => request::poll(task, &crate::wire::secret::Secret::new(""), question.form),
    })
}

/// The provider is being asked about one task.
pub(super) struct Asking {
    exchange: Exchange,
    account: Name,
    form: Form,
    /// How much longer the provider may take.
    left: Duration,
}

impl Asking {
    pub(super) fn begin(
        proxy: &Proxy,
        (account, form): (&Name, Form),
        outgoing: request::Upstream,
        headers: &[u8],
    ) -> Self {
        let upstream = proxy.upstream.load_full();
        Self {
            left: proxy.config.load().upstream.poll_timeout,
            exchange: upstream.request("res.php", outgoing, headers, Kind::Poll),
            account: account.clone(),
            form,
        }
    }

    /// What comes within `patience`; `None`: it can be waited for further.
    async fn answer(&mut self, proxy: &Proxy, patience: Duration) -> Option<Asked> {
        let answered = match self.exchange.answer(self.left.min(patience)).await {
            Some(answered) => answered,
            None if self.left <= patience => Err(UpstreamError::Timeout),
            None => {
                self.left -= patience;
                return None;
            }
        };
        let took = self.exchange.took();
        let (result, said, label) = match answered {
            Ok(answered) => classify(proxy, (&self.account, self.form), answered),
            Err(error) => (PollResult::Trouble, Said::Nothing, error.label()),
        };
        let reachable = !matches!(
            label,
            UpstreamResult::HttpError | UpstreamResult::Timeout | UpstreamResult::ConnectError
        );
        proxy.gate.metrics().upstream_asked(&self.account, Operation::Poll, label, took);
        if let PollResult::Trouble = result {
            tracing::debug!(account = %self.account, result = label.label(), "a poll brought no answer");
        }
        Some(Asked { result, reachable, said, took })
    }

    /// What comes until the provider's time is up.
    pub(super) async fn answer_in_the_end(mut self, proxy: &Proxy) -> Asked {
        loop {
            if let Some(asked) = self.answer(proxy, Duration::MAX).await {
                return asked;
            }
        }
    }
}

fn classify(
    proxy: &Proxy,
    (account, form): (&Name, Form),
    answered: Answered,
) -> (PollResult, Said, UpstreamResult) {
    let policy = proxy.gate.policy();
    let trouble = |label| (PollResult::Trouble, Said::Nothing, label);
    // Whatever status the provider put on a readable answer: clients that poll read 200 only.
    let kept = || Arc::new(reply::answer(form, 200, &answered));
    match answer::polled(answered.status, &answered.body, &policy.error_classes) {
        Polled::Pending => (PollResult::Pending, Said::Passing(answered), UpstreamResult::Ok),
        Polled::Solved => {
            let answer = kept();
            (PollResult::Solved(answer.clone()), Said::Kept(answer), UpstreamResult::Ok)
        }
        Polled::Failed { code, outcome } => {
            let answer = kept();
            let result = PollResult::Failed(answer.clone(), outcome, code);
            (result, Said::Kept(answer), UpstreamResult::ApiError)
        }
        Polled::ProxyTrouble { code } => {
            (PollResult::ProxyTrouble(code), Said::Kept(kept()), UpstreamResult::ApiError)
        }
        Polled::Trouble { outcome: Outcome::AccountError, .. } => {
            proxy.key_refused(account);
            trouble(UpstreamResult::ApiError)
        }
        Polled::Trouble { code, .. } if answer::is_code(&code) => trouble(UpstreamResult::ApiError),
        Polled::Trouble { .. } if answered.status / 100 == 4 => trouble(UpstreamResult::ApiError),
        Polled::Trouble { .. } => trouble(UpstreamResult::HttpError),
    }
}

impl Proxy {
    /// A refused key is left alone for a while: asking on would get the address banned.
    pub(super) fn key_refused(&self, account: &Name) {
        if !self.gate.policy().pass_through {
            tracing::error!(%account, "the provider refuses this account's key; it is left alone for 5 minutes");
            self.gate.observe_account(account, AccountReport::KeyRefused);
        }
    }
}

impl UpstreamError {
    /// The metric label.
    pub(super) const fn label(self) -> UpstreamResult {
        match self {
            Self::Connect => UpstreamResult::ConnectError,
            Self::Broken => UpstreamResult::HttpError,
            Self::Timeout => UpstreamResult::Timeout,
        }
    }
}
