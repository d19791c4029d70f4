//! `cargo bench --bench growth`: what a request, a scrape and memory cost as tenants and open solves grow.
//! Each cell is a process of its own, so that its memory is its own.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::print_stdout, reason = "its result is a table")]
#![expect(clippy::unwrap_used, reason = "a bench may stop")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod world;

use std::fs;
use std::hint::black_box;
use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use solvegate::clock::Clock;
use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::engine::{Asker, Credential, Decision, Engine, PollDecision, PollResult};
use solvegate::domain::ids::SolveId;
use solvegate::domain::journal::{Restored, Write};
use solvegate::domain::solve::{Answer, Form, Identity, Submission};
use solvegate::domain::time::{Mono, Now, Wall};
use solvegate::gate::{Bound, Gate};
use solvegate::record::metrics::Metrics;
use solvegate::record::store::{Committed, Health, Record, Unflushed};
use tokio::sync::oneshot;

use self::world::{key, policy, task};

const TENANTS: [u32; 3] = [10, 1_000, 10_000];
const OPEN: [u64; 3] = [1_000, 100_000, 1_000_000];
/// Each cell is measured this often, in turn with the others.
const ROUNDS: usize = 3;
/// The same within a cell's process.
const PASSES: u64 = 5;
/// Scrapes of one process.
const SCRAPES: usize = 15;
/// Half of a pair of windows: requests alone, requests beside scrapes.
const WINDOW: Duration = Duration::from_millis(500);
const WINDOWS: usize = 6;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["cell", tenants, open] => cell(tenants.parse().unwrap(), open.parse().unwrap()),
        ["scrape", tenants] => scrape(tenants.parse().unwrap()),
        _ => {
            cells();
            scrapes();
        }
    }
}

/// One line for each cell: the least of all rounds, as other work only adds.
fn cells() {
    println!("ns a call, the least of {ROUNDS} processes; bytes of resident memory\n");
    println!(
        "| tenants | open solves | poll, not ready | poll, forwarded | submission | settlement | watcher's longest hold, ms | reload, ms | bytes a solve |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let pairs: Vec<_> =
        TENANTS.iter().flat_map(|tenants| OPEN.map(|open| (*tenants, open))).collect();
    let mut best = vec![Vec::new(); pairs.len()];
    let mut empty: Vec<Vec<f64>> = vec![Vec::new(); TENANTS.len()];
    for _ in 0..ROUNDS {
        for (place, (tenants, open)) in pairs.iter().enumerate() {
            let figures = child(&["cell", &tenants.to_string(), &open.to_string()]);
            empty[place / OPEN.len()].push(figures[7]);
            least(&mut best[place], &figures);
        }
    }
    for ((tenants, open), figures) in pairs.iter().zip(best) {
        let [idle, forwarded, submit, settle, hold, reload, bytes] = figures[..7] else { return };
        println!(
            "| {tenants} | {open} | {idle:.0} | {forwarded:.0} | {submit:.0} | {settle:.0} | {hold:.2} | {reload:.1} | {bytes:.0} |"
        );
    }
    let empty = empty.into_iter().map(median).collect::<Vec<_>>();
    for (tenants, bytes) in TENANTS.iter().zip(&empty).skip(1) {
        let each = (bytes - empty[0]) / f64::from(tenants - TENANTS[0]);
        println!("\n{tenants} tenants: {:.1} MiB, {each:.0} bytes a tenant", bytes / 1_048_576.0);
    }
}

fn scrapes() {
    println!(
        "\n| tenants | series | KiB | scrape, ms | alone: p50, us | p99 | p99.9 | beside scrapes: p50 | p99 | p99.9 |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for tenants in TENANTS {
        let figures = child(&["scrape", &tenants.to_string()]);
        let [series, bytes, took, ref waits @ ..] = figures[..] else { return };
        let waits: Vec<_> = waits.iter().map(|wait| format!("{wait:.2}")).collect();
        println!(
            "| {tenants} | {series} | {:.0} | {took:.2} | {} |",
            bytes / 1024.0,
            waits.join(" | ")
        );
    }
}

fn child(arguments: &[&str]) -> Vec<f64> {
    let output = Command::new(std::env::current_exe().unwrap()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().map(|figure| figure.parse().unwrap()).collect()
}

fn least(best: &mut Vec<f64>, figures: &[f64]) {
    best.resize(figures.len(), f64::MAX);
    best.iter_mut().zip(figures).for_each(|(best, figure)| *best = best.min(*figure));
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Prints what [`cells`] reads, in the order of its columns, and the memory before the first solve.
fn cell(tenants: u32, open: u64) {
    let before = resident();
    let load = Load::new(tenants);
    let empty = resident();
    for number in 0..open {
        load.open(number);
    }
    let bytes = (resident() - empty) / open as f64;

    let many = (open / 10).clamp(1_000, 10_000);
    let mut figures = Vec::new();
    for pass in 0..PASSES {
        least(&mut figures, &load.pass(pass * many..(pass + 1) * many, open));
    }
    let [idle, forwarded, submit, settle] = figures[..] else { panic!("{figures:?}") };
    let reload = {
        let policy = Arc::new(unspaced(tenants));
        timed(1, || load.gate.reconfigure(&policy)) / 1e6
    };
    let hold = load.watcher_hold() / 1e6;
    println!("{idle} {forwarded} {submit} {settle} {hold} {reload} {bytes} {}", empty - before);
}

/// Prints what [`scrapes`] reads.
fn scrape(tenants: u32) {
    let load = Load::new(tenants);
    for number in 0..10_000 {
        load.open(number);
    }
    let text = load.scrape();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    print!("{} {} ", series.count() - 1, text.len());
    let took = (0..SCRAPES).map(|_| timed(1, || drop(black_box(load.scrape()))));
    println!("{}", took.fold(f64::MAX, f64::min) / 1e6);
    let mut next = 10_000;
    let mut waits = [Vec::new(), Vec::new()];
    for window in 0..2 * WINDOWS {
        let waits = &mut waits[window % 2];
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            if window % 2 == 1 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        black_box(load.scrape());
                    }
                });
            }
            let begin = Instant::now();
            while begin.elapsed() < WINDOW {
                load.solve(next, waits);
                next += 1;
            }
            over.store(true, Ordering::Relaxed);
        });
    }
    for mut waits in waits {
        waits.sort_by(f64::total_cmp);
        for share in [500, 990, 999] {
            println!("{}", waits[waits.len() * share / 1_000] / 1e3);
        }
    }
}

struct Load {
    gate: Gate,
    identities: Vec<Identity>,
    answer: Arc<Answer>,
}

impl Load {
    fn new(tenants: u32) -> Self {
        let policy = Arc::new(unspaced(tenants));
        let metrics = Metrics::new(&policy).unwrap();
        let engine = Engine::new(&policy, Restored::default(), now());
        let identify = |tenant| {
            let credential = Credential { key: Some(key(tenant)), prefix: None, source_ip: None };
            engine.identify(&credential, now()).ok()
        };
        let identities = (0..tenants).filter_map(identify).collect();
        let body = bytes::Bytes::from(format!("OK|{}", "x".repeat(500)));
        let answer = Arc::new(Answer { form: Form::Text, status: 200, content_type: None, body });
        let gate = Gate::new(engine, Clock::simulated(now), Nowhere, metrics);
        Self { gate, identities, answer }
    }

    fn identity(&self, number: u64) -> Identity {
        self.identities[usize::try_from(number * 7).unwrap() % self.identities.len()]
    }

    fn admit(&self, number: u64) -> SolveId {
        let submission = Submission {
            identity: self.identity(number),
            captcha_type: CaptchaType::RecaptchaV2,
            form: Form::Text,
            source_ip: Some([10, 0, 0, 1].into()),
            page: Some("shop.example".into()),
            pingback: false,
        };
        match self.gate.admit(submission) {
            Decision::Admit(admitted) => admitted.solve,
            Decision::Reject { rejection, .. } => panic!("refused: {rejection:?}"),
        }
    }

    /// A submission as far as the client's answer.
    fn open(&self, number: u64) -> SolveId {
        let solve = self.admit(number);
        let bound = self.gate.bind(solve, &task(number).unwrap()).now_or_never();
        assert_eq!(bound, Some(Bound::Durable));
        solve
    }

    /// Time of a poll that is not ready, one that is forwarded, a submission and a settlement: polls of
    /// the `open` first solves, none beside the one before, and new solves.
    fn pass(&self, numbers: Range<u64>, open: u64) -> [f64; 4] {
        let count = numbers.end - numbers.start;
        // A prime, so that no place comes twice.
        let places: Vec<_> = numbers.clone().map(|number| number * 7_919 % open).collect();
        let tasks: Vec<_> = places.iter().filter_map(|place| task(*place)).collect();
        let mut solves = Vec::with_capacity(tasks.len());
        let asked = timed(count, || {
            for (place, task) in places.iter().zip(&tasks) {
                let decided = self.gate.poll(self.identity(*place), task, Form::Text).0;
                let PollDecision::Forward { solve, .. } = decided else { panic!("{decided:?}") };
                solves.push(solve);
            }
        });
        let idle = timed(count, || {
            for (place, task) in places.iter().zip(&tasks) {
                let decided = self.gate.poll(self.identity(*place), task, Form::Text).0;
                assert_eq!(decided, PollDecision::NotReady);
            }
        });
        let heard = timed(count, || {
            for solve in solves.drain(..) {
                _ = black_box(self.gate.polled(solve, Asker::Client, PollResult::Pending, true));
            }
        });
        let numbers = open + numbers.start..open + numbers.end;
        let tasks: Vec<_> = numbers.clone().filter_map(task).collect();
        let submit = timed(count, || {
            for (number, task) in numbers.zip(&tasks) {
                let solve = self.admit(number);
                black_box(self.gate.bind(solve, task).now_or_never());
                solves.push(solve);
            }
        });
        let settle = timed(count, || {
            for solve in solves.drain(..) {
                let result = PollResult::Solved(self.answer.clone());
                _ = black_box(self.gate.polled(solve, Asker::Client, result, true));
                self.gate.delivered(solve);
            }
        });
        [idle, asked + heard, submit, settle]
    }

    /// A whole solve; notes how long each step took.
    fn solve(&self, number: u64, waits: &mut Vec<f64>) {
        let task = task(number).unwrap();
        let mut solve = SolveId(0);
        waits.push(timed(1, || solve = self.admit(number)));
        waits.push(timed(1, || _ = black_box(self.gate.bind(solve, &task).now_or_never())));
        waits.push(timed(1, || drop(self.gate.poll(self.identity(number), &task, Form::Text))));
        let result = PollResult::Solved(self.answer.clone());
        waits.push(timed(1, || drop(self.gate.polled(solve, Asker::Client, result, true))));
        waits.push(timed(1, || self.gate.delivered(solve)));
    }

    fn scrape(&self) -> String {
        let (snapshot, store) = (self.gate.snapshot_in_steps(), self.gate.store_figures());
        self.gate.metrics().render(&snapshot, &store).unwrap()
    }

    /// Every client stops asking. How long the watcher then keeps a request waiting at most.
    fn watcher_hold(&self) -> f64 {
        LATER.fetch_add(Duration::from_mins(1).as_nanos().try_into().unwrap(), Ordering::Relaxed);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let mut longest = 0.0_f64;
                while !over.load(Ordering::Relaxed) {
                    longest =
                        longest.max(timed(1, || _ = black_box(self.gate.account_state("main"))));
                }
                longest
            });
            for _ in 0..3 {
                for due in self.gate.expire(32) {
                    self.gate.poll_dropped(due.solve);
                }
                LATER.fetch_add(500_000_000, Ordering::Relaxed);
            }
            over.store(true, Ordering::Relaxed);
            waits.join().unwrap()
        })
    }
}

/// Polls as fast as they come: those that are forwarded must not depend on the time.
fn unspaced(tenants: u32) -> solvegate::domain::policy::Policy {
    solvegate::domain::policy::Policy { poll_spacing: Duration::ZERO, ..policy(tenants) }
}

/// How far the bench has set the clock ahead.
static LATER: AtomicU64 = AtomicU64::new(0);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> Now {
    let passed = u64::try_from(START.elapsed().as_nanos()).unwrap();
    let passed = Duration::from_nanos(passed + LATER.load(Ordering::Relaxed));
    Now { mono: Mono(1_000_000_000_000_000), wall: Wall(1_795_262_400_000) } + passed
}

/// Nanoseconds a call.
fn timed(calls: u64, run: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    run();
    begin.elapsed().as_nanos() as f64 / calls as f64
}

/// Bytes of this process in memory.
fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages = pages.split(' ').nth(1).unwrap().parse::<u32>().unwrap();
    f64::from(pages) * 4_096.0
}

/// A record that has written everything down at once.
#[derive(Debug)]
struct Nowhere;

impl Record for Nowhere {
    fn send(&self, write: Write) {
        black_box(write);
    }

    fn durable(&self, write: Write) -> oneshot::Receiver<Committed> {
        black_box(write);
        let (sender, receiver) = oneshot::channel();
        let _ = sender.send(Committed::Done);
        receiver
    }

    fn health(&self) -> Health {
        Health::default()
    }

    fn is_accepting(&self) -> bool {
        true
    }

    fn close(&self, _deadline: Duration) -> Result<(), Unflushed> {
        Ok(())
    }
}
