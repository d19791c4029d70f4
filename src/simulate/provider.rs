//! The provider as a pure state machine: a request and the time in, an answer out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::account::{Account, AccountChange, AccountView};
use super::answer::Answer;
use super::options::{AccountOptions, Dialect, IdForm, Options, table, usual_solve_time};
use super::request::{Form, Operation};
use super::task::{Fate, Report, Task, TaskView};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::money::Money;

/// Tasks remembered; older ones are answered `ERROR_WRONG_CAPTCHA_ID`.
const TASKS_MAX: usize = 500_000;
const KEY_LENGTH: usize = 32;

/// The provider's state.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) options: Options,
    pub(super) solve_times: [Duration; CaptchaType::ALL.len()],
    pub(super) prices: [Money; CaptchaType::ALL.len()],
    pub(super) accounts: BTreeMap<Arc<str>, Account>,
    tasks: VecDeque<Task>,
    /// The id of the first task in `tasks`.
    first_id: u64,
    pub(super) rng: StdRng,
}

impl Provider {
    pub(super) fn new(options: Options) -> Self {
        // Ids of another seed are others, as those of a provider that was restarted should be.
        let first_id = 1_000_000_000 + options.seed % 1_000 * 1_000_000 + 1;
        let mut provider = Self {
            solve_times: [Duration::ZERO; CaptchaType::ALL.len()],
            prices: [Money::ZERO; CaptchaType::ALL.len()],
            accounts: BTreeMap::new(),
            tasks: VecDeque::new(),
            first_id,
            rng: StdRng::seed_from_u64(options.seed),
            options,
        };
        provider.apply_options();
        provider
    }

    /// Forgets everything and starts again with `options`; ids go on, so that none comes twice.
    pub(super) fn reset(&mut self, options: Options) {
        self.first_id += self.tasks.len() as u64;
        self.tasks.clear();
        self.accounts.clear();
        self.rng = StdRng::seed_from_u64(options.seed);
        self.options = options;
        self.apply_options();
    }

    /// Takes over what `options` says about times, prices and accounts not known yet.
    pub(super) fn apply_options(&mut self) {
        self.solve_times =
            table(&self.options.solve_times, |captcha_type| usual_solve_time(captcha_type).into())
                .map(|time: humantime::Duration| time.into());
        self.prices = table(&self.options.prices, |_| Money::ZERO);
        for account in self.options.accounts.clone() {
            if !self.accounts.contains_key(account.key.as_str()) {
                self.open_account(&account);
            }
        }
    }

    pub(super) fn handle(
        &mut self,
        now: Duration,
        operation: Operation,
        path: &str,
        form: &Form<'_>,
    ) -> Answer {
        if !matches!(path, "/in.php" | "/res.php" | "/solve.php") {
            return Answer::Page { status: 404, title: "Not Found" };
        }
        let key = match self.authenticate(form) {
            Ok(key) => key,
            Err(refusal) => return refusal,
        };
        match operation {
            Operation::Submit | Operation::Solve => self.submit(now, operation, &key, form),
            Operation::Poll => self.poll(now, &key, form),
            Operation::Report => self.report(now, &key, form),
            Operation::Balance => Answer::Figure(self.accounts[&key].balance.to_string()),
            Operation::Threads if self.options.dialect == Dialect::Captchaai => {
                let account = &self.accounts[&key];
                Answer::Threads { threads: account.threads(), working: account.working(now) }
            }
            Operation::Threads | Operation::Other => Answer::code(match form.filled("action") {
                None => "ERROR_EMPTY_ACTION",
                Some(_) => "ERROR_NO_SUCH_METHOD",
            }),
        }
    }

    /// The answer to a poll of a task that exists, without its owner being checked.
    pub(super) fn collect(&mut self, now: Duration, id: u64) -> Answer {
        let seed = self.options.seed;
        let Some(task) = self.task_mut(id) else { return Answer::code("ERROR_WRONG_CAPTCHA_ID") };
        task.polls += 1;
        if !task.is_ready(now) {
            return Answer::Pending;
        }
        match &task.fate {
            Fate::Solved => {
                task.solved_answers += 1;
                Answer::Solved { solution: task.solution(id, seed), price: None }
            }
            Fate::Failed(code) => Answer::Code(code.clone()),
            Fate::Never => Answer::Pending,
        }
    }

    /// Makes a task never ready.
    pub(super) fn never_finish(&mut self, id: u64) {
        if let Some(task) = self.task_mut(id) {
            task.fate = Fate::Never;
        }
    }

    /// The id given last; one that was never given before the first.
    pub(super) fn last_id(&self) -> u64 {
        self.next_id() - 1
    }

    /// Whether the id for this submission is a JSON number.
    pub(super) fn id_is_number(&self, form: &Form<'_>) -> bool {
        match self.options.ids {
            IdForm::Auto => form.get("method") == Some("userrecaptcha"),
            IdForm::Int => true,
            IdForm::String => false,
        }
    }

    /// When a task is ready and what a pingback then says; `None` when never.
    pub(super) fn pingback(&self, id: u64) -> Option<(Duration, String)> {
        let task = self.tasks.get(self.index(id)?)?;
        match &task.fate {
            Fate::Solved => Some((task.ready, task.solution(id, self.options.seed).text())),
            Fate::Failed(code) => Some((task.ready, code.to_string())),
            Fate::Never => None,
        }
    }

    pub(super) fn change_account(&mut self, change: &AccountChange) {
        if !self.accounts.contains_key(change.key.as_str()) {
            self.open_account(&AccountOptions::new(change.key.clone()));
        }
        let Some(account) = self.accounts.get_mut(change.key.as_str()) else { return };
        account.change(change);
    }

    pub(super) fn accounts(&self, now: Duration) -> Vec<AccountView> {
        self.accounts.values().map(|account| account.view(now)).collect()
    }

    pub(super) fn balance(&self, key: &str) -> Option<Money> {
        self.accounts.get(key).map(|account| account.balance)
    }

    pub(super) fn tasks(&self) -> Vec<TaskView> {
        let ids = self.first_id..;
        ids.zip(&self.tasks).map(|(id, task)| task.view(id, self.options.seed)).collect()
    }

    fn open_account(&mut self, options: &AccountOptions) -> Arc<str> {
        let key: Arc<str> = options.key.as_str().into();
        self.accounts.insert(key.clone(), Account::new(key.clone(), options));
        key
    }

    fn authenticate(&mut self, form: &Form<'_>) -> Result<Arc<str>, Answer> {
        let key = form.get("key").unwrap_or_default();
        if key.chars().count() != KEY_LENGTH {
            return Err(Answer::code("ERROR_WRONG_USER_KEY"));
        }
        match self.accounts.get(key) {
            Some(account) if account.valid => Ok(account.key.clone()),
            None if self.options.any_key => Ok(self.open_account(&AccountOptions::new(key))),
            Some(_) | None => Err(Answer::code("ERROR_KEY_DOES_NOT_EXIST")),
        }
    }

    fn poll(&mut self, now: Duration, key: &Arc<str>, form: &Form<'_>) -> Answer {
        let two_captcha = self.options.dialect == Dialect::TwoCaptcha;
        let with_price = form.get("action") == Some("get2");
        if with_price && !two_captcha {
            return Answer::code("ERROR_NO_SUCH_METHOD");
        }
        if two_captcha && let Some(ids) = form.filled("ids") {
            return Answer::Batch(ids.split(',').map(|id| self.poll_one(now, key, id)).collect());
        }
        let mut answer = self.poll_one(now, key, form.get("id").unwrap_or_default());
        if with_price && let Answer::Solved { solution, price } = &mut answer {
            *price = Some(self.prices[solution.captcha_type.index()]);
        }
        answer
    }

    fn poll_one(&mut self, now: Duration, key: &Arc<str>, id: &str) -> Answer {
        match self.owned(key, id) {
            Ok(id) => self.collect(now, id),
            Err(refusal) => refusal,
        }
    }

    fn report(&mut self, now: Duration, key: &Arc<str>, form: &Form<'_>) -> Answer {
        let id = match self.owned(key, form.get("id").unwrap_or_default()) {
            Ok(id) => id,
            Err(refusal) => return refusal,
        };
        let Some(task) = self.task_mut(id) else { return Answer::Nothing };
        if task.report.is_some() {
            return Answer::code("ERROR_DUPLICATE_REPORT");
        }
        if !task.is_ready(now) || task.fate != Fate::Solved {
            return Answer::code("REPORT_NOT_RECORDED");
        }
        let good = form.get("action") == Some("reportgood");
        task.report = Some(if good { Report::Good } else { Report::Bad });
        Answer::Reported
    }

    /// The id as a number, when it is one of a task of that account.
    fn owned(&self, key: &Arc<str>, id: &str) -> Result<u64, Answer> {
        let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(Answer::code("ERROR_WRONG_ID_FORMAT"));
        }
        let known = id.parse().ok().filter(|id| {
            let task = self.index(*id).and_then(|index| self.tasks.get(index));
            task.is_some_and(|task| task.key == *key)
        });
        known.ok_or_else(|| Answer::code("ERROR_WRONG_CAPTCHA_ID"))
    }

    pub(super) fn remember(&mut self, task: Task) -> u64 {
        if self.tasks.len() == TASKS_MAX {
            self.tasks.pop_front();
            self.first_id += 1;
        }
        self.tasks.push_back(task);
        self.last_id()
    }

    fn next_id(&self) -> u64 {
        self.first_id + self.tasks.len() as u64
    }

    fn index(&self, id: u64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.first_id)?).ok()
    }

    fn task_mut(&mut self, id: u64) -> Option<&mut Task> {
        let index = self.index(id)?;
        self.tasks.get_mut(index)
    }
}
