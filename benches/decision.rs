//! What one decision costs under the lock: 1,000 tenants, 100,000 open solves.
//!
//! `cargo bench --bench decision -- plain STEPS TIMES` takes the first so many steps of so many solves, once,
//! and prints what each took. Under `valgrind --tool=callgrind` two such runs differ by what a step costs.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]
#![expect(clippy::print_stdout, reason = "its result is a table")]

mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::engine::{Asker, Credential, Decision, Engine, PollDecision, PollResult};
use solvegate::domain::ids::{SolveId, TaskId};
use solvegate::domain::journal::Restored;
use solvegate::domain::solve::{Answer, Form, Identity, Submission};
use solvegate::domain::time::{Mono, Now, Wall};

use self::world::{key, policy, task};

const START: Now = Now { mono: Mono(1_000_000_000_000_000), wall: Wall(1_795_262_400_000) };
const TENANTS: u32 = 1_000;
const OPEN: usize = 100_000;

/// Solves of one engine, which is built anew then: settled ones stay for ten minutes.
const SOLVES: usize = 100_000;
/// How long they stay at most.
const REMEMBERED: Duration = Duration::from_mins(11);

/// What happens to a solve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Admit,
    Bind,
    Pending,
    Solved,
    Delivered,
}

impl Step {
    const ALL: [Self; 5] = [Self::Admit, Self::Bind, Self::Pending, Self::Solved, Self::Delivered];
}

const BENCHES: [(&str, &[Step]); 4] = [
    ("admit", &[Step::Admit]),
    ("admit_settle", &[Step::Admit, Step::Delivered]),
    ("admit_bind_solved_delivered", &[Step::Admit, Step::Bind, Step::Solved, Step::Delivered]),
    ("pending_poll", &[Step::Pending]),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    if let ["plain", steps, times, ..] = words[..] {
        let (steps, times) = (steps.parse().unwrap_or(0), times.parse().unwrap_or(0));
        plain(&Step::ALL[..steps], times);
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("decision");
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    for (name, steps) in BENCHES {
        group.bench_function(name, |bencher| bencher.iter_custom(|times| timed(times, steps)));
    }
    group.finish();
    criterion.final_summary();
}

fn plain(steps: &[Step], times: u64) {
    let mut load = Load::new();
    for step in steps {
        let times = usize::try_from(times).unwrap_or(SOLVES).clamp(1, SOLVES);
        println!("{step:?}: {} ns", load.take(*step, times).as_nanos() / times as u128);
    }
}

/// Time of those steps of that many solves, by the mean over [`SOLVES`]: criterion asks for one at a time,
/// as it sees how long an engine takes to build, and a single one finds nothing in any cache.
fn timed(times: u64, steps: &[Step]) -> Duration {
    let mut load = Load::new();
    let mut took = Duration::ZERO;
    for step in Step::ALL {
        let this = load.take(step, SOLVES);
        took += if steps.contains(&step) { this } else { Duration::ZERO };
    }
    took.div_f64(SOLVES as f64).mul_f64(times as f64)
}

struct Load {
    engine: Engine,
    identities: Vec<Identity>,
    tasks: Vec<TaskId>,
    /// Of the tasks at the same places, as far as they were admitted.
    solves: Vec<SolveId>,
    answer: Arc<Answer>,
    now: Now,
}

impl Load {
    /// 1,000 tenants with every kind of limit, 100,000 solves bound and open.
    ///
    /// As many solves as there will be came and went before: tables and heap are as large as they get, so
    /// that what is measured is not the kernel handing out memory, which it does once in a process.
    fn new() -> Self {
        let engine = Engine::new(&Arc::new(policy(TENANTS)), Restored::default(), START);
        let identify = |tenant| {
            let credential = Credential { key: Some(key(tenant)), prefix: None, source_ip: None };
            engine.identify(&credential, START).ok()
        };
        let identities: Vec<_> = (0..TENANTS).filter_map(identify).collect();
        let body = bytes::Bytes::from(format!("OK|{}", "x".repeat(500)));
        let answer = Answer { form: Form::Text, status: 200, content_type: None, body };
        let many = OPEN + SOLVES;
        let mut load = Self {
            engine,
            identities,
            tasks: (0..).take(many).filter_map(task).collect(),
            solves: Vec::with_capacity(many),
            answer: Arc::new(answer),
            now: START,
        };
        for step in Step::ALL {
            load.take(step, many);
        }
        load.now = load.now + REMEMBERED;
        load.engine.expire(0, load.now);
        load.engine.drain_outbox();
        load.solves.clear();
        load.take(Step::Admit, OPEN);
        load.take(Step::Bind, OPEN);
        load
    }

    /// Takes a step of the last `count` solves; for [`Step::Admit`], of so many new ones. All of them take
    /// it before any takes the next one: in life seconds lie between, and a solve is in no cache any more.
    fn take(&mut self, step: Step, count: usize) -> Duration {
        let first = self.solves.len() - if step == Step::Admit { 0 } else { count };
        let start = Instant::now();
        for place in first..first + count {
            self.now = self.now + Duration::from_micros(10);
            match step {
                Step::Admit => self.admit(place),
                Step::Bind => {
                    self.engine.bind(self.solves[place], &self.tasks[place], self.now);
                }
                Step::Pending => self.pending_poll(place),
                Step::Solved => {
                    let result = PollResult::Solved(self.answer.clone());
                    black_box(self.engine.polled(
                        self.solves[place],
                        Asker::Client,
                        result,
                        self.now,
                    ));
                }
                Step::Delivered => self.engine.delivered(self.solves[place], self.now),
            }
            black_box(self.engine.drain_outbox().count());
        }
        start.elapsed()
    }

    fn identity(&self, place: usize) -> Identity {
        self.identities[place * 7 % self.identities.len()]
    }

    fn admit(&mut self, place: usize) {
        let submission = Submission {
            identity: self.identity(place),
            captcha_type: CaptchaType::RecaptchaV2,
            form: Form::Text,
            source_ip: None,
            page: None,
            pingback: false,
        };
        match self.engine.admit(submission, self.now) {
            Decision::Admit(admitted) => self.solves.push(admitted.solve),
            Decision::Reject { rejection, .. } => panic!("refused: {rejection:?}"),
        }
    }

    fn pending_poll(&mut self, place: usize) {
        let (identity, task) = (self.identity(place), &self.tasks[place]);
        let decision = self.engine.poll(identity, task, Form::Text, self.now);
        let PollDecision::Forward { solve, .. } = decision else { panic!("{decision:?}") };
        black_box(self.engine.polled(solve, Asker::Client, PollResult::Pending, self.now));
    }
}
