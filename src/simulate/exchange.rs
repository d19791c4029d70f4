//! One request from its fields to the answer on the socket, with the fault that strikes it.

#![expect(clippy::wildcard_enum_match_arm, reason = "a few variants differ, the rest is alike")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, Reply, Style, render};
use super::deliver::{Flow, deliver};
use super::fault::{Effect, Fault, Strike};
use super::http::{Connection, Request};
use super::pingback;
use super::provider::Provider;
use super::request::{Form, Operation};
use super::server::Shared;

/// Answers one request.
pub(super) async fn exchange(
    shared: &Arc<Shared>,
    connection: &mut Connection,
    request: &Request,
    out: &mut Vec<u8>,
) -> io::Result<Flow> {
    let form = request.form();
    let call = Call { operation: Operation::of(request.path(), &form), request, form: &form };
    let (seq, strike) = receive(shared, &call);
    let strike = strike.as_ref();
    if let Some(Strike { fault: Fault::Delay(delay), effect: Effect::Before }) = strike {
        tokio::time::sleep(*delay).await;
    }
    let reply = match decide(shared, &call, seq, strike) {
        Decided::Now(reply) => reply,
        Decided::Later { id, until, style } => {
            shared.sleep_until(until).await;
            finish(shared, seq, id, strike, style)
        }
    };
    if let Some(Strike { fault: Fault::Delay(delay), effect: Effect::After }) = strike {
        tokio::time::sleep(*delay).await;
    }
    let fault = strike.map(|strike| &strike.fault);
    deliver(connection, &reply, fault, request.keeps_alive(), out).await
}

struct Call<'a> {
    operation: Operation,
    request: &'a Request,
    form: &'a Form<'a>,
}

enum Decided {
    Now(Reply),
    Later { id: u64, until: Duration, style: Style },
}

fn receive(shared: &Shared, call: &Call<'_>) -> (Option<u64>, Option<Strike>) {
    let mut state = shared.state.lock();
    let strike = state.faults.strike(call.operation, call.form);
    let fault = strike.as_ref().map(|strike| &strike.fault);
    let seq = state.log.receive(shared.now(), call.operation, call.request, fault);
    drop(state);
    if seq.is_some() {
        shared.logged.send_replace(());
    }
    (seq, strike)
}

fn decide(
    shared: &Arc<Shared>,
    call: &Call<'_>,
    seq: Option<u64>,
    strike: Option<&Strike>,
) -> Decided {
    let now = shared.now();
    let mut state = shared.state.lock();
    let style = Style::of(call.form, state.provider.options.dialect);
    let answer = if takes_effect(strike) {
        state.provider.handle(now, call.operation, call.request.path(), call.form)
    } else {
        Answer::Nothing
    };
    if let Answer::Wait { id, until } = answer {
        return Decided::Later { id, until, style };
    }
    if let Answer::Accepted { id, .. } = answer
        && let Some(target) = call.form.filled("pingback")
        && let Some((ready, code)) = state.provider.pingback(id)
    {
        let dialect = state.provider.options.dialect;
        pingback::schedule(shared, &pingback::Pingback { target, id, code, ready, dialect });
    }
    let task = match answer {
        Answer::Accepted { id, .. } => Some(id),
        _ => None,
    };
    let answer = twist(&mut state.provider, call, answer, strike);
    let reply = render(&answer, style);
    state.log.answer(seq, task, &reply.body);
    drop(state);
    if seq.is_some() {
        shared.logged.send_replace(());
    }
    Decided::Now(reply)
}

fn finish(
    shared: &Shared,
    seq: Option<u64>,
    id: u64,
    strike: Option<&Strike>,
    style: Style,
) -> Reply {
    let mut state = shared.state.lock();
    let mut answer = state.provider.collect(shared.now(), id);
    if let Some(Strike { fault: Fault::Code(code), .. }) = strike {
        answer = Answer::code(code);
    }
    let reply = render(&answer, style);
    state.log.answer(seq, Some(id), &reply.body);
    drop(state);
    if seq.is_some() {
        shared.logged.send_replace(());
    }
    reply
}

fn takes_effect(strike: Option<&Strike>) -> bool {
    strike.is_none_or(|strike| strike.effect == Effect::After || strike.fault.needs_answer())
}

/// The answer after what the fault does to its meaning; what it does to its bytes comes later.
fn twist(
    provider: &mut Provider,
    call: &Call<'_>,
    answer: Answer,
    strike: Option<&Strike>,
) -> Answer {
    let Some(Strike { fault, .. }) = strike else { return answer };
    let submits = call.operation == Operation::Submit;
    match (fault, answer) {
        (Fault::OkWithoutId, _) if submits => Answer::AcceptedWithoutId,
        (Fault::DuplicateId, Answer::Accepted { id, as_number }) => {
            Answer::Accepted { id: id - 1, as_number }
        }
        (Fault::DuplicateId, Answer::Nothing) if submits => {
            let as_number = provider.id_is_number(call.form);
            Answer::Accepted { id: provider.last_id(), as_number }
        }
        (Fault::ForeignAnswer, Answer::Solved { solution, .. }) => {
            Answer::Solved { solution: solution.of_another(), price: None }
        }
        (Fault::NeverReady, Answer::Accepted { id, as_number }) => {
            provider.never_finish(id);
            Answer::Accepted { id, as_number }
        }
        (Fault::NeverReady, _) if call.operation == Operation::Poll => Answer::Pending,
        (Fault::Code(code), _) => Answer::code(code),
        (Fault::Figure(figure), _) => Answer::Figure(figure.clone()),
        (_, answer) => answer,
    }
}
