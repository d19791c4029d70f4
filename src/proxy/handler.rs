//! One request: read, identify, hand to the part that answers it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::sync::SemaphorePermit;

use super::flush::{Body, Progress};
use super::poll::{self, Question};
use super::refusal::{self, Unread, malformed_rejection};
use super::reply::Outgoing;
use super::{Proxy, source, submit};
use crate::domain::engine::Credential;
use crate::domain::ids::{KeyHash, Name, TaskId};
use crate::domain::outcome::Outcome;
use crate::domain::rejection::Reason;
use crate::domain::solve::{Form, Identity, Submission};
use crate::domain::time::Mono;
use crate::gate::Refusee;
use crate::record::metrics::{Operation, Report, UpstreamResult};
use crate::wire::answer::{self, Asked, Reported};
use crate::wire::refuse;
use crate::wire::request::{self, Action, Call, Head, Ids, Malformed};
use crate::wire::route::{self, Endpoint, Route};

/// The largest request body: nine images of a grid fit.
const BODY_BYTES_MAX: usize = 16 << 20;
/// A body up to this size needs no room: the number of connections bounds those.
const SMALL_BODY_BYTES_MAX: u64 = 64 << 10;
/// Of a body that is too large, this much more is read and thrown away, since clients read no answer
/// before they sent it all, and a connection closed under them looks like a network error.
const DISCARDED_BYTES_MAX: usize = 48 << 20;
/// Time for that.
const DISCARD_WAIT: Duration = Duration::from_secs(10);

/// Answers one request of a client at `peer`. It never fails, and says so itself: a future around this one
/// would hold it twice.
pub(super) async fn handle(
    proxy: Arc<Proxy>,
    peer: IpAddr,
    progress: Arc<Progress>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let started = proxy.clock.mono();
    let (head, body) = request.into_parts();
    // A status of 200 to CONNECT would grant a tunnel, whatever the body says.
    let route = route::route(head.uri.path()).filter(|_| head.method != Method::CONNECT);
    let mut arrived = started;
    let (outgoing, allow_origin) = match route {
        Some(route) => serve(&proxy, route, (peer, &progress, &mut arrived), (&head, body)).await,
        None => (Outgoing::own(Operation::Other, refuse::unknown_path(head.uri.path())), false),
    };
    let took = proxy.clock.mono().since(started);
    let waited = arrived.since(started) + outgoing.upstream;
    let metrics = proxy.gate.metrics();
    metrics.answered(outgoing.operation, outgoing.status.as_u16(), took, waited);
    tracing::debug!(
        operation = outgoing.operation.label(),
        status = outgoing.status.as_u16(),
        took = ?took,
        request_id = outgoing.request_id().map(tracing::field::display),
        "answered"
    );
    Ok(outgoing.into_response(&progress, allow_origin, head.headers))
}

/// `arrived` is set to when the body came, if there is one.
async fn serve(
    proxy: &Arc<Proxy>,
    route: Route,
    (peer, progress, arrived): (IpAddr, &Progress, &mut Mono),
    (head, body): (&Parts, Incoming),
) -> (Outgoing, bool) {
    let wire_head = Head {
        method: &head.method,
        query: head.uri.query(),
        content_type: head.headers.get(http::header::CONTENT_TYPE),
    };
    let operation = match route.endpoint {
        Endpoint::In => Operation::Submit,
        Endpoint::Res => Operation::Poll,
        Endpoint::Solve => Operation::Solve,
    };
    let (body, _room) = if http_body::Body::is_end_stream(&body) {
        (Bytes::new(), None)
    } else {
        let waits = head.headers.contains_key(http::header::EXPECT);
        // Boxed: most polls have no body, and the future of the hot path stays small.
        let received = Box::pin(receive(proxy, body, waits)).await;
        *arrived = proxy.clock.mono();
        match received {
            Ok(received) => received,
            Err(unread) => {
                let hint = request::form_hint(&wire_head, &[]);
                return (proxy.refuse_unread(operation, unread, hint), false);
            }
        }
    };
    progress.request_is_whole();
    let call = match request::parse(route, &wire_head, body.clone()) {
        Ok(call) => call,
        Err(malformed) => {
            let hint = request::form_hint(&wire_head, &body);
            return (proxy.refuse_malformed(operation, &malformed, hint), false);
        }
    };
    let allow_origin = call.header_acao();
    let asker = match identify(proxy, &call, peer, &head.headers) {
        Ok(asker) => asker,
        Err(refused) => return (*refused, allow_origin),
    };
    let outgoing = match Wanted::of(&call) {
        Wanted::Solve(_) => Box::pin(solve(proxy, call, asker, &head.headers)).await,
        Wanted::Action(action) => act(proxy, (&call, action, *arrived), asker, &head.headers).await,
        Wanted::Unclear(malformed) => {
            let rejection = malformed_rejection(&malformed);
            proxy.gate.rejected(asker.identity, None, &rejection);
            let rejections = proxy.gate.rejection_form(asker.identity);
            let reply = refuse::malformed(&malformed, call.form(), rejections);
            let refusee = Refusee::Tenant(asker.identity, None);
            proxy.refuse_with(reply, Operation::Other, refusee, &rejection)
        }
    };
    (outgoing, allow_origin)
}

/// Reads a body whole, and what keeps its room as long as it is kept.
async fn receive(
    proxy: &Proxy,
    body: Incoming,
    waits: bool,
) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Unread> {
    let wait = proxy.bounds.body_wait;
    let room = match room_needed(&body) {
        None => None,
        Some(kib) => tokio::time::timeout(wait, proxy.body_room.acquire_many(kib))
            .await
            .map_err(|_| Unread::TooSlow)?
            .ok(),
    };
    Ok((read(body, waits, wait).await?, room))
}

/// The room, in KiB, for a body that is large or of unknown length; `None` where it needs none.
fn room_needed(body: &Incoming) -> Option<u32> {
    let bytes_max = http_body::Body::size_hint(body).upper().unwrap_or(BODY_BYTES_MAX as u64);
    if bytes_max <= SMALL_BODY_BYTES_MAX || bytes_max > BODY_BYTES_MAX as u64 {
        return None;
    }
    u32::try_from(bytes_max / 1024).ok()
}

/// Reads a body whole, within `wait`. `waits`: the client sends it only when asked to.
async fn read(mut body: Incoming, waits: bool, wait: Duration) -> Result<Bytes, Unread> {
    if http_body::Body::size_hint(&body).lower() > BODY_BYTES_MAX as u64 {
        if !waits {
            discard(&mut body).await;
        }
        return Err(Unread::TooLarge);
    }
    let reading = Limited::new(&mut body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(wait, reading).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            discard(&mut body).await;
            Err(Unread::TooLarge)
        }
        Ok(Err(_)) => Err(Unread::BrokenOff),
        Err(_) => Err(Unread::TooSlow),
    }
}

async fn discard(body: &mut Incoming) {
    let discarding = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARDED_BYTES_MAX {
                return;
            }
        }
    };
    // What has not come by then does not come any more.
    let _ = tokio::time::timeout(DISCARD_WAIT, discarding).await;
}

/// Whose call it is.
struct Asker {
    identity: Identity,
    source_ip: Option<IpAddr>,
    key: Option<KeyHash>,
}

fn identify(
    proxy: &Proxy,
    call: &Call,
    peer: IpAddr,
    headers: &HeaderMap,
) -> Result<Asker, Box<Outgoing>> {
    let source_ip = source::source_ip(peer, headers, &proxy.config.load().trusted_proxies);
    let key = call.key_hash();
    let credential = Credential { key, prefix: call.tenant(), source_ip };
    match proxy.gate.identify(&credential) {
        Ok(identity) => Ok(Asker { identity, source_ip, key }),
        Err(rejection) => {
            let form = call.form();
            let rejections = proxy.config.load().defaults.rejections;
            let reply = match call.key() {
                Some(key) if key.expose().len() == 32 => {
                    refuse::rejection(&rejection, form, rejections, false)
                }
                _ if rejection.reason == Reason::UnknownKey => refuse::wrong_key(form, rejections),
                _ => refuse::rejection(&rejection, form, rejections, false),
            };
            let (operation, refusee) = (Wanted::of(call).operation(), Refusee::Asker(&credential));
            Err(Box::new(proxy.refuse_with(reply, operation, refusee, &rejection)))
        }
    }
}

async fn solve(proxy: &Arc<Proxy>, call: Call, asker: Asker, headers: &HeaderMap) -> Outgoing {
    let Asker { identity, source_ip, .. } = asker;
    let submission = Submission {
        identity,
        captcha_type: call.captcha_type(),
        form: call.form(),
        source_ip,
        page: call.page_url().and_then(|url| source::page(&url, proxy.config.load().log.urls)),
        // Nobody calls back about a solve that is answered at once.
        pingback: call.pingback() && call.endpoint() != Endpoint::Solve,
    };
    submit::submit(proxy, call, (identity, submission), source::forwarded(headers)).await
}

/// What a call is for.
enum Wanted {
    /// A solve, by `in.php` or `solve.php`.
    Solve(Operation),
    /// Something of `res.php`.
    Action(Action),
    /// Something that `res.php` does not serve.
    Unclear(Malformed),
}

impl Wanted {
    fn of(call: &Call) -> Self {
        match call.endpoint() {
            Endpoint::In => Self::Solve(Operation::Submit),
            Endpoint::Solve => Self::Solve(Operation::Solve),
            Endpoint::Res => call.action().map_or_else(Self::Unclear, Self::Action),
        }
    }

    fn operation(&self) -> Operation {
        match self {
            Self::Solve(operation) => *operation,
            Self::Action(Action::Get(_) | Action::Get2(_)) => Operation::Poll,
            Self::Action(Action::GetBalance) => Operation::Balance,
            Self::Action(Action::ThreadsInfo) => Operation::Threads,
            Self::Action(Action::ReportGood(_) | Action::ReportBad(_)) => Operation::Report,
            Self::Unclear(_) => Operation::Other,
        }
    }
}

/// Everything but a plain poll is boxed: the future of the hot path stays small.
async fn act(
    proxy: &Arc<Proxy>,
    (call, action, arrived): (&Call, Action, Mono),
    Asker { identity, source_ip, key }: Asker,
    headers: &HeaderMap,
) -> Outgoing {
    let form = call.form();
    let credential = Credential { key, prefix: call.tenant(), source_ip };
    let pass_through = || proxy.gate.policy().pass_through;
    let account = || proxy.gate.account_name(identity);
    let by = arrived + poll::ANSWERED_WITHIN;
    let question = |call| Question { credential, identity, form, call, headers, by };
    match action {
        Action::Get(Ids::One(task)) => poll::one(proxy, &mut question(Some(call)), &task).await,
        Action::Get2(Ids::One(task)) if pass_through() => {
            poll::one(proxy, &mut question(Some(call)), &task).await
        }
        Action::Get(Ids::Many(_)) | Action::Get2(Ids::Many(_)) if pass_through() => {
            Box::pin(forward(proxy, call, (identity, &account()), (Operation::Poll, headers))).await
        }
        Action::GetBalance if pass_through() => {
            let asked = (Operation::Balance, headers);
            Box::pin(forward(proxy, call, (identity, &account()), asked)).await
        }
        Action::ThreadsInfo if pass_through() => {
            let asked = (Operation::Threads, headers);
            Box::pin(forward(proxy, call, (identity, &account()), asked)).await
        }
        Action::Get(Ids::Many(tasks)) | Action::Get2(Ids::Many(tasks)) => {
            Box::pin(poll::many(proxy, &question(None), &tasks)).await
        }
        Action::Get2(Ids::One(task)) => {
            Box::pin(poll::with_price(proxy, question(None), &task)).await
        }
        Action::GetBalance => account_call(proxy, identity, Operation::Balance, form),
        Action::ThreadsInfo => account_call(proxy, identity, Operation::Threads, form),
        Action::ReportGood(task) => {
            Box::pin(report(proxy, (call, &task), identity, (Report::Good, headers))).await
        }
        Action::ReportBad(task) => {
            Box::pin(report(proxy, (call, &task), identity, (Report::Bad, headers))).await
        }
    }
}

/// `getbalance` and `threadsinfo`, from the tenant's own figures.
fn account_call(proxy: &Proxy, identity: Identity, operation: Operation, form: Form) -> Outgoing {
    if let Some(rejection) = proxy.gate.expired(identity) {
        let asked = refusal::Asked { identity, operation, form, captcha_type: None };
        return proxy.refuse(asked, &rejection, false);
    }
    let reply = if operation == Operation::Balance {
        refuse::balance(form, proxy.gate.balance_info(identity))
    } else {
        let (threads, working) = proxy.gate.threads_info(identity);
        refuse::threads(threads, working)
    };
    Outgoing::own(operation, reply)
}

/// `reportgood` and `reportbad`: forwarded for the owner's tasks, and counted when recorded.
async fn report(
    proxy: &Proxy,
    (call, task): (&Call, &TaskId),
    identity: Identity,
    (report, headers): (Report, &HeaderMap),
) -> Outgoing {
    let (captcha_type, account) = match proxy.gate.owns(identity, task) {
        Some((captcha_type, account)) => (Some(captcha_type), account),
        None if proxy.gate.policy().pass_through => (None, proxy.gate.account_name(identity)),
        None => return Outgoing::own(Operation::Report, refuse::wrong_id(call.form())),
    };
    let outgoing = forward(proxy, call, (identity, &account), (Operation::Report, headers)).await;
    let recorded = answer::reported(&outgoing.body) == Reported::Recorded;
    if let Some(captcha_type) = captcha_type.filter(|_| recorded) {
        proxy.gate.metrics().reported(captcha_type, report);
    }
    outgoing
}

/// Forwards a call that belongs to no solve in the account's name, and passes on what comes back, but for
/// what the provider says of that account.
async fn forward(
    proxy: &Proxy,
    call: &Call,
    (identity, account): (Identity, &Name),
    (operation, headers): (Operation, &HeaderMap),
) -> Outgoing {
    let (may_ask, _) = proxy.gate.account_state(account);
    let pass_through = proxy.gate.policy().pass_through;
    let server_error = || {
        proxy.server_error(refusal::Asked {
            identity,
            operation,
            form: call.form(),
            captcha_type: None,
        })
    };
    let Ok(key) = proxy.key_to_send(account) else {
        return server_error();
    };
    if !may_ask && !pass_through {
        return server_error();
    }
    let upstream = call.upstream(key.as_ref());
    let timeout = proxy.config.load().upstream.poll_timeout.min(poll::POLL_PATIENCE);
    let way = proxy.upstream.load_full();
    let kind = (super::upstream::Kind::Poll, timeout);
    let asked = match operation {
        Operation::Balance => Asked::Balance,
        Operation::Threads => Asked::Threads,
        Operation::Report => Asked::Report,
        Operation::Submit | Operation::Poll | Operation::Solve | Operation::Other => Asked::Answers,
    };
    let (answered, took) = way.send("res.php", upstream, &source::forwarded(headers), kind).await;
    let label = match &answered {
        Ok(answered) if !answer::is_readable(answered.status, &answered.body, asked) => {
            UpstreamResult::HttpError
        }
        Ok(answered) if !pass_through && proxy.refuses_key(&answered.body) => {
            proxy.key_refused(account);
            UpstreamResult::ApiError
        }
        Ok(_) => UpstreamResult::Ok,
        Err(error) => error.label(),
    };
    proxy.gate.metrics().upstream_asked(account, operation, label, took);
    match answered {
        Ok(answered) if label == UpstreamResult::Ok => {
            let answer = super::reply::answer(call.form(), answered.status, &answered);
            Outgoing::pass_on(operation, &answer).after(took)
        }
        Ok(_) | Err(_) => server_error().after(took),
    }
}

impl Proxy {
    /// Whether the provider's answer to a report says that the account's key is no good.
    fn refuses_key(&self, body: &[u8]) -> bool {
        let Reported::Refused { code } = answer::reported(body) else { return false };
        let classes = &self.gate.policy().error_classes;
        answer::outcome_of_code(&code, answer::Step::Poll, classes) == Outcome::AccountError
    }
}
