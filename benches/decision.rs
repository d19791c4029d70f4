//! What one decision costs under the lock: 1,000 tenants, 100,000 open solves.

mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::engine::{Asker, Credential, Decision, Engine, PollDecision, PollResult};
use solvegate::domain::ids::{SolveId, TaskId};
use solvegate::domain::journal::Restored;
use solvegate::domain::solve::{Answer, Form, Identity, Submission};
use solvegate::domain::time::{Mono, Now, Wall};

use self::world::{key, policy, task};

const START: Now = Now { mono: Mono(1_000_000_000_000_000), wall: Wall(1_795_262_400_000) };
const TENANTS: u32 = 1_000;
const OPEN: u64 = 100_000;

/// Decisions of one engine before it is built anew: settled solves stay for ten minutes.
const DECISIONS_MAX: u64 = 100_000;

criterion_group!(benches, decisions);
criterion_main!(benches);

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    group.sample_size(30).measurement_time(Duration::from_secs(3));
    group.bench_function("admit", |bencher| {
        bencher.iter_custom(|times| {
            timed(times, |load, _| {
                black_box(load.admit());
            })
        });
    });
    group.bench_function("admit_bind_solved_delivered", |bencher| {
        bencher.iter_custom(|times| timed(times, Load::solve));
    });
    let mut load = Load::new();
    let mut polls = (0..OPEN).cycle();
    group.bench_function("pending_poll", |bencher| {
        bencher.iter(|| load.pending_poll(polls.next().unwrap_or_default()));
    });
    group.finish();
}

/// Time of that many calls, the building of engines and task ids not counted.
#[expect(clippy::disallowed_methods, reason = "a bench is the one that asks what time it takes")]
fn timed(times: u64, mut decide: impl FnMut(&mut Load, &TaskId)) -> Duration {
    let mut elapsed = Duration::ZERO;
    let mut left = times;
    while left > 0 {
        let mut load = Load::new();
        let tasks: Vec<_> = (OPEN..OPEN + left.min(DECISIONS_MAX)).filter_map(task).collect();
        let start = std::time::Instant::now();
        for task in &tasks {
            decide(&mut load, task);
        }
        elapsed += start.elapsed();
        left -= left.min(DECISIONS_MAX);
    }
    elapsed
}

struct Load {
    engine: Engine,
    identities: Vec<Identity>,
    tasks: Vec<TaskId>,
    answer: Arc<Answer>,
    now: Now,
    count: usize,
}

impl Load {
    /// 1,000 tenants with every kind of limit, 100,000 solves bound and open.
    fn new() -> Self {
        let engine = Engine::new(&Arc::new(policy(TENANTS)), Restored::default(), START);
        let identify = |tenant| {
            let credential = Credential { key: Some(key(tenant)), prefix: None, source_ip: None };
            engine.identify(&credential, START).ok()
        };
        let identities: Vec<_> = (0..TENANTS).filter_map(identify).collect();
        let body = bytes::Bytes::from(format!("OK|{}", "x".repeat(500)));
        let answer = Answer { form: Form::Text, status: 200, content_type: None, body };
        let tasks: Vec<_> = (0..OPEN).filter_map(task).collect();
        let answer = Arc::new(answer);
        let mut load = Self { engine, identities, tasks, answer, now: START, count: 0 };
        for task in load.tasks.clone() {
            let solve = load.admit();
            load.engine.bind(solve, &task, load.now);
        }
        load.engine.drain_outbox();
        load
    }

    fn admit(&mut self) -> SolveId {
        self.count += 1;
        let identity = self.identities[self.count * 7 % self.identities.len()];
        self.now = self.now + Duration::from_micros(10);
        let submission = Submission {
            identity,
            captcha_type: CaptchaType::RecaptchaV2,
            form: Form::Text,
            source_ip: None,
            page: None,
            pingback: false,
            holder: None,
        };
        match self.engine.admit(submission, self.now) {
            Decision::Admit(admitted) => admitted.solve,
            Decision::Reject { rejection, .. } => panic!("refused: {rejection:?}"),
        }
    }

    fn solve(&mut self, task: &TaskId) {
        let solve = self.admit();
        self.engine.bind(solve, task, self.now);
        let result = PollResult::Solved(self.answer.clone());
        black_box(self.engine.polled(solve, Asker::Client, result, self.now));
        self.engine.delivered(solve, self.now);
        black_box(self.engine.drain_outbox().count());
    }

    fn pending_poll(&mut self, which: u64) {
        let place = usize::try_from(which).unwrap_or_default();
        self.now = self.now + Duration::from_micros(20);
        let identity = self.identities[(place + 1) * 7 % self.identities.len()];
        let decision = self.engine.poll(identity, &self.tasks[place], Form::Text, self.now);
        let PollDecision::Forward { solve, .. } = decision else { panic!("{decision:?}") };
        black_box(self.engine.polled(solve, Asker::Client, PollResult::Pending, self.now));
    }
}
