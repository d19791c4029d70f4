//! `cargo bench --bench store`: group commits under 1, 100 and 1,000 concurrent callers, settlements at a
//! fixed rate, and a start with a million rows. Prints a table; loopback disk only.
//! `cargo bench --bench store -- --rows 10000000,50000000`: a start with so many, and nothing else. Needs
//! 300 bytes of disk a row, and minutes.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::print_stdout, reason = "its result is a table")]
#![expect(clippy::unwrap_used, reason = "a bench may stop")]

mod rows;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::civil::{Date, date};
use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::ids::{Name, SolveId, TaskId};
use solvegate::domain::journal::{SettleRecord, SolveRecord, TaskRecord, TaskState, Write};
use solvegate::domain::money::Money;
use solvegate::domain::outcome::{Outcome, SliEvent};
use solvegate::domain::time::{Mono, Wall};
use solvegate::record::store::{Committed, Durability, Reader, Store, StoreOptions, verify};

const TODAY: Date = date(2026, 11, 21);
const TODAY_MS: i64 = 1_795_219_200_000;
const DAY_MS: i64 = 86_400_000;
const ROWS: u64 = 1_000_000;
const TENANTS: u64 = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--rows") {
        for rows in arguments[place + 1].split(',') {
            rows::start_with(rows.parse().unwrap(), TENANTS);
        }
        return;
    }
    for durability in [Durability::Process, Durability::Power] {
        for callers in [1, 100, 1_000] {
            callers_wait(durability, callers);
        }
    }
    for per_second in [1_000, 10_000] {
        at_a_rate(Durability::Process, per_second);
    }
    million();
    // Days of tenants are what a start adds up.
    rows::start_with(ROWS, 10_000);
}

/// Each caller settles one solve after another, each time waiting for the commit.
fn callers_wait(durability: Durability, callers: u64) {
    const RUN: Duration = Duration::from_secs(2);
    let home = tempfile::tempdir_in(".").unwrap();
    let store = Arc::new(open(&home.path().join("bench.db"), durability));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let next = Arc::new(AtomicU64::new(1));
    let begin = Instant::now();
    let mut waits: Vec<Duration> = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..callers {
            let (store, next) = (Arc::clone(&store), Arc::clone(&next));
            tasks.spawn(async move {
                let mut waits = Vec::new();
                while begin.elapsed() < RUN {
                    let solve = next.fetch_add(1, Ordering::Relaxed);
                    let sent = Instant::now();
                    store.durable(settle(solve)).await.unwrap();
                    waits.push(sent.elapsed());
                }
                waits
            });
        }
        tasks.join_all().await.into_iter().flatten().collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 1_000];
    println!(
        "{durability:?}: {callers} callers: {:.0} settlements/s, wait p50 {:?} p99 {:?} max {:?}, \
         {:.1} a commit",
        rate(waits.len(), seconds),
        at(500),
        at(990),
        at(1_000),
        rate(waits.len(), f64::from(u32::try_from(store.health().commits).unwrap())),
    );
}

/// Settlements come evenly, whatever becomes of those before; each is waited for from when it was due.
fn at_a_rate(durability: Durability, per_second: u32) {
    const SECONDS: u32 = 5;
    const RUN: Duration = Duration::from_secs(SECONDS as u64);
    let home = tempfile::tempdir_in(".").unwrap();
    let store = open(&home.path().join("bench.db"), durability);
    let (sender, receiver) = std::sync::mpsc::channel();
    let acks = std::thread::spawn(move || {
        let mut waits = Vec::new();
        // Writes commit in order, so that none is waited for in vain.
        for (due, committed) in receiver {
            let committed: tokio::sync::oneshot::Receiver<Committed> = committed;
            committed.blocking_recv().unwrap();
            waits.push(Instant::now().saturating_duration_since(due));
        }
        waits
    });
    let (begin, busy) = (Instant::now(), busy_of("store"));
    let settlements = per_second * SECONDS;
    for number in 0..settlements {
        let due = begin + RUN * number / settlements;
        while let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        sender.send((due, store.durable(settle(u64::from(number) + 1)))).unwrap();
    }
    drop(sender);
    let mut waits = acks.join().unwrap();
    let busy = busy_of("store").saturating_sub(busy).as_secs_f64() / begin.elapsed().as_secs_f64();
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 1_000];
    println!(
        "{durability:?}: {per_second} settlements/s: wait p50 {:?} p99 {:?} max {:?}, {:.1} a commit, \
         the writer takes {:.0} % of a core",
        at(500),
        at(990),
        at(1_000),
        rate(waits.len(), f64::from(u32::try_from(store.health().commits).unwrap())),
        busy * 100.0,
    );
}

/// What the thread of that name has had of the processors.
fn busy_of(name: &str) -> Duration {
    let is_it = |thread: &PathBuf| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    // A thread gives itself its name, and may not have come to that yet.
    let thread = loop {
        let mut threads = fs::read_dir("/proc/self/task").unwrap().map(|it| it.unwrap().path());
        if let Some(thread) = threads.find(is_it) {
            break thread;
        }
    };
    let nanos = fs::read_to_string(thread.join("schedstat")).unwrap();
    Duration::from_nanos(nanos.split(' ').next().unwrap().parse().unwrap())
}

/// Fills a record with whole solves, then starts on it.
fn million() {
    let home = tempfile::tempdir_in(".").unwrap();
    let path = home.path().join("bench.db");
    let store = open(&path, Durability::Process);
    let begin = Instant::now();
    for solve in 1..=ROWS {
        store.send(bind(solve));
        store.send(verdict(solve));
        store.send(Write::Offer(SolveId(solve), true));
        store.send(settle(solve));
        if solve <= ROWS - 10_000 {
            store.send(Write::Forget(SolveId(solve)));
        }
        while !store.is_accepting() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    store.close(Duration::from_mins(10)).unwrap();
    let health = store.health();
    println!(
        "{ROWS} whole solves (5 writes each): {:.0} solves/s, {} MiB, {} bytes a solve, {} conflicts",
        rate(usize::try_from(ROWS).unwrap(), begin.elapsed().as_secs_f64()),
        health.size_bytes >> 20,
        health.size_bytes / ROWS,
        health.conflicts,
    );
    drop(store);
    for _ in 0..3 {
        let begin = Instant::now();
        let (store, restored) =
            Store::open(&options(&path, Durability::Process), TODAY, "UTC").unwrap();
        println!(
            "start with {ROWS} rows, {} tasks, {} totals: {:?}",
            restored.tasks.len(),
            restored.charged.len(),
            begin.elapsed()
        );
        drop(store);
    }
    let begin = Instant::now();
    drop(Store::open(&options(&path, Durability::Process), TODAY, "Asia/Tokyo").unwrap());
    println!("start in another time zone: {:?}", begin.elapsed());
    let begin = Instant::now();
    println!("audit: {:?} in {:?}", verify(&Reader::open(&path).unwrap()), begin.elapsed());
    prune(&path);
}

/// Prunes half of the log while one caller commits.
fn prune(path: &Path) {
    let store = open(path, Durability::Process);
    let begin = Instant::now();
    let mut pruned = store.durable(Write::Prune(Wall(TODAY_MS - 45 * DAY_MS)));
    let mut waits = Vec::new();
    let mut solve = 2 * ROWS;
    while pruned.try_recv().is_err() {
        solve += 1;
        let sent = Instant::now();
        store.durable(settle(solve)).blocking_recv().unwrap();
        waits.push(sent.elapsed());
    }
    waits.sort_unstable();
    println!(
        "half the log pruned in {:?}; meanwhile {} settlements, wait p50 {:?} p99 {:?}",
        begin.elapsed(),
        waits.len(),
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
    );
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn rate(count: usize, per: f64) -> f64 {
    count as f64 / per
}

fn options(path: &Path, durability: Durability) -> StoreOptions {
    let start = Instant::now();
    let clock = move || Mono(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    StoreOptions { path: path.to_owned(), durability, clock: Arc::new(clock) }
}

fn open(path: &Path, durability: Durability) -> Store {
    Store::open(&options(path, durability), TODAY, "UTC").unwrap().0
}

fn bind(solve: u64) -> Write {
    Write::Bind(TaskRecord {
        solve: SolveId(solve),
        account: "main".into(),
        task_id: task_id(solve),
        tenant: tenant(solve),
        key_id: "prod".into(),
        captcha_type: captcha_type(solve),
        price: Money::from_micros(3_000),
        submitted_at: at(solve),
        source_ip: Some([10, 0, 0, 1].into()),
        page: Some("shop.example".to_owned()),
        pingback: false,
        state: TaskState::Open,
        verdict: None,
    })
}

fn verdict(solve: u64) -> Write {
    Write::Verdict(SolveRecord {
        solve: SolveId(solve),
        account: "main".into(),
        task_id: Some(task_id(solve)),
        tenant: tenant(solve),
        key_id: "prod".into(),
        captcha_type: captcha_type(solve),
        outcome: Outcome::Solved,
        error_code: None,
        duration: Duration::from_secs(12),
        price: Money::from_micros(3_000),
        submitted_at: at(solve),
        ended_at: at(solve) + Duration::from_secs(12),
        source_ip: Some([10, 0, 0, 1].into()),
        page: Some("shop.example".to_owned()),
        success_event: Some(SliEvent::Good),
        latency_event: None,
    })
}

fn settle(solve: u64) -> Write {
    Write::Settle(SettleRecord {
        solve: SolveId(solve),
        account: "main".into(),
        task_id: task_id(solve),
        tenant: tenant(solve),
        key_id: "prod".into(),
        captcha_type: captcha_type(solve),
        charged: Some(Money::from_micros(3_000)),
        delivered: true,
        at: at(solve) + Duration::from_secs(13),
        day: TODAY.saturating_sub(jiff::Span::new().days(days_ago(solve))),
        thread_time: Duration::from_secs(12),
    })
}

fn task_id(solve: u64) -> TaskId {
    TaskId::new(&(7_000_000_000 + solve).to_string()).unwrap()
}

fn tenant(solve: u64) -> Name {
    format!("tenant-{}", solve.wrapping_mul(0x9E37_79B9_7F4A_7C15) % TENANTS).into()
}

fn captcha_type(solve: u64) -> CaptchaType {
    CaptchaType::ALL[usize::try_from(solve % 5).unwrap()]
}

/// The rows of [`million`] lie over 90 days, oldest first; anything later is of today.
fn days_ago(solve: u64) -> i64 {
    i64::try_from(ROWS.saturating_sub(solve) * 90 / ROWS).unwrap()
}

fn at(solve: u64) -> Wall {
    Wall(TODAY_MS - days_ago(solve) * DAY_MS + i64::try_from(solve % 80_000_000).unwrap())
}
