//! Runs a seed from its first byte to the reckoning.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::Invariant;
use crate::client::Client;
use crate::world::World;

/// More than so many seeds that go wrong say nothing new.
const FAILURES_MAX: usize = 5;
/// When all must be over, after the traffic: hardly anything takes longer than what is forgotten.
const WIND_DOWN_MS: u64 = 480_000;

/// What became of a seed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) wrong: Vec<(Invariant, String)>,
    pub(crate) trace: Vec<String>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

thread_local! {
    /// Panics of this thread while it simulates.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

impl Outcome {
    fn failure(&self) -> String {
        let Self { seed, wrong, .. } = self;
        format!(
            "seed {seed}: {wrong:#?}\nreplay: SOLVEGATE_SIM_SEED={seed} cargo test --test sim -- --nocapture"
        )
    }

    pub(crate) fn assert_clean(&self) {
        assert!(self.wrong.is_empty(), "{}", self.failure());
    }
}

/// Runs seeds on every core. Panics once some went wrong.
pub(crate) fn all(seeds: Range<u64>) -> BTreeMap<&'static str, u64> {
    let next = AtomicU64::new(seeds.start);
    let counts = Mutex::new(BTreeMap::new());
    let failed = Mutex::new(Vec::<Outcome>::new());
    let work = || {
        while failed.lock().len() < FAILURES_MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = run(seed);
            for (what, count) in &outcome.counts {
                *counts.lock().entry(*what).or_default() += count;
            }
            if !outcome.wrong.is_empty() {
                failed.lock().push(outcome);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner();
    failed.sort_by_key(|outcome| outcome.seed);
    let failures: Vec<_> = failed.iter().map(Outcome::failure).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    counts.into_inner()
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Outcome {
    note_panics();
    PANICS.set(Some(Vec::new()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let world = runtime.block_on(async {
        let world = World::new(seed);
        play(&world).await;
        world
    });
    for what in PANICS.take().unwrap_or_default() {
        world.wrong(Invariant::NoPanic, what);
    }
    let counts = std::mem::take(&mut world.seen.lock().counts);
    world.end();
    Outcome { seed, wrong: world.found(), trace: world.take_trace(), counts }
}

async fn play(world: &Arc<World>) {
    world.start();
    world.tasks.spawn(end_and_start(world.clone()));
    for at in world.plan.reloads.clone() {
        let world = world.clone();
        world.tasks.clone().spawn(async move {
            tokio::time::sleep(Duration::from_millis(at)).await;
            world.reload();
        });
    }
    world.tasks.spawn({
        let world = world.clone();
        async move {
            while world.ms() < world.plan.traffic_ms {
                tokio::time::sleep(Duration::from_secs(15)).await;
                world.observe_accounts();
            }
        }
    });
    for (at, by) in world.plan.jumps.clone() {
        let world = world.clone();
        world.tasks.clone().spawn(async move {
            tokio::time::sleep(Duration::from_millis(at)).await;
            world.jump(by);
        });
    }
    for _ in 0..world.plan.clients {
        let mut rng = world.fork();
        let tenant = rng.place(world.plan.tenants.len());
        let key = rng.place(world.plan.tenants[tenant].keys.len());
        let client = Client { world: world.clone(), tenant, key, rng, connection: None };
        world.tasks.spawn(client.run());
    }
    let last_end = world.plan.ends.iter().map(|end| end.at + end.down).max().unwrap_or(0);
    let quiet = (world.plan.traffic_ms + 20_000).max(last_end + 1_000);
    tokio::time::sleep(Duration::from_millis(quiet)).await;
    let last = quiet + WIND_DOWN_MS;
    while world.ms() < last {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let open = world.gate().map_or(1, |gate| gate.snapshot().open);
        if open == 0 && world.is_written() {
            break;
        }
    }
    // Whoever still polls has the time to be answered.
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.check_end();
}

async fn end_and_start(world: Arc<World>) {
    for ending in world.plan.ends.clone() {
        let wait = ending.at.saturating_sub(world.ms());
        let waiting = tokio::time::sleep(Duration::from_millis(wait));
        match ending.after {
            None => waiting.await,
            Some((event, times)) => tokio::select! {
                biased;
                () = waiting => {}
                () = world.until(event, times) => {
                    let soon = world.fork().within(0..=world.plan.store.commit_max + 5);
                    tokio::time::sleep(Duration::from_millis(soon)).await;
                }
            },
        }
        if ending.is_crash {
            world.crash();
        } else {
            world.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(ending.down)).await;
        world.start();
    }
}

/// A panic inside a task is the runtime's to catch; here it is a finding.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let noted = PANICS.with_borrow_mut(|panics| match panics {
                Some(panics) => {
                    panics.push(info.to_string());
                    true
                }
                None => false,
            });
            if !noted {
                usual(info);
            }
        }));
    });
}
