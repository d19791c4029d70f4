//! Submissions: from the fields to a task whose fate is decided.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use super::answer::Answer;
use super::options::{Failure, WhenBusy};
use super::provider::Provider;
use super::request::{Form, Operation};
use super::task::{Fate, Task};
use super::validate;
use super::wish::Wish;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::money::Money;

/// How long a task that is never ready keeps its thread.
const NEVER_HOLDS: Duration = Duration::from_mins(5);

impl Provider {
    pub(super) fn submit(
        &mut self,
        now: Duration,
        operation: Operation,
        key: &Arc<str>,
        form: &Form<'_>,
    ) -> Answer {
        let synchronous = operation == Operation::Solve;
        let captcha_type = match validate::captcha_type(form) {
            // Clients of solve.php leave the method out.
            None if synchronous && form.get("method").is_none() => CaptchaType::Image,
            None => return Answer::code("ERROR_METHOD_CALL"),
            Some(captcha_type) => captcha_type,
        };
        if let Err(refusal) = validate::check(form, captcha_type, self.options.dialect) {
            return refusal;
        }
        let wish = Wish::of(form);
        let (fate, solve_time) = match self.draw(captcha_type, &wish) {
            Ok(drawn) => drawn,
            Err(code) => return Answer::Code(code),
        };
        let price = self.prices[captcha_type.index()];
        let when_busy = self.options.when_busy;
        let Some(account) = self.accounts.get_mut(key) else { return Answer::Nothing };
        if !account.can_pay(price) {
            return Answer::code("ERROR_ZERO_BALANCE");
        }
        let start = account.next_free(now);
        match when_busy {
            WhenBusy::ZeroBalance if start > now => return Answer::code("ERROR_ZERO_BALANCE"),
            WhenBusy::NoSlot if start > now => return Answer::code("ERROR_NO_SLOT_AVAILABLE"),
            WhenBusy::Queue | WhenBusy::ZeroBalance | WhenBusy::NoSlot => {}
        }
        let held = if fate == Fate::Never { NEVER_HOLDS } else { solve_time };
        let price = if fate == Fate::Solved { price } else { Money::ZERO };
        account.take(start + held, price);
        let ready = start + solve_time;
        let id = self.remember(Task {
            key: key.clone(),
            captcha_type,
            submitted: now,
            ready,
            fate,
            answer: wish.answer,
            price,
            polls: 0,
            solved_answers: 0,
            report: None,
        });
        if synchronous {
            return Answer::Wait { id, until: ready };
        }
        Answer::Accepted { id, as_number: self.id_is_number(form) }
    }

    /// Decides how a solve ends and how long it takes; `Err` with a code when it is refused at once.
    /// Draws the same number of times whatever comes of it, so that one solve's wish does not change
    /// the next one's fate.
    fn draw(
        &mut self,
        captcha_type: CaptchaType,
        wish: &Wish,
    ) -> Result<(Fate, Duration), Arc<str>> {
        let mut luck: f64 = self.rng.random();
        let vary = 1.0 + self.options.jitter * self.rng.random_range(-1.0..=1.0);
        let usual = self.solve_times[captcha_type.index()];
        let scaled = usual.mul_f64((vary / self.options.time_scale).max(0.0));
        let solve_time = wish.solve.unwrap_or(scaled);
        if let Some(code) = &wish.submit_error {
            return Err(code.clone());
        }
        if let Some(code) = &wish.error {
            return Ok((Fate::Failed(code.clone()), solve_time));
        }
        if wish.never {
            return Ok((Fate::Never, solve_time));
        }
        if wish.solve.is_some() || wish.answer.is_some() {
            return Ok((Fate::Solved, solve_time));
        }
        for error in &self.options.errors {
            if error.captcha_type.is_some_and(|only| only != captcha_type) {
                continue;
            }
            if luck < error.share {
                return match &error.failure {
                    Failure::AtSubmit(code) => Err(code.clone()),
                    Failure::WhenPolled(code) => Ok((Fate::Failed(code.clone()), solve_time)),
                    Failure::Never => Ok((Fate::Never, solve_time)),
                };
            }
            luck -= error.share;
        }
        Ok((Fate::Solved, solve_time))
    }
}
