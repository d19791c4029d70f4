//! What a scrape costs with 10, 1,000 and 10,000 tenants: the time under the gate's lock, all of it and
//! one step of it, and the rendering, which needs no lock. The size of the text is printed.

#![expect(clippy::print_stderr, reason = "a bench that says what it measures")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use solvegate::config;
use solvegate::domain::engine::Engine;
use solvegate::domain::journal::Restored;
use solvegate::domain::policy::Policy;
use solvegate::domain::time::{Mono, Now, Wall};
use solvegate::record::metrics::{Metrics, StoreFigures};

const NOW: Now = Now { mono: Mono(1_000_000_000_000_000), wall: Wall(1_795_262_400_000) };
/// As many tenants as the gate copies under one lock.
const STEP: usize = 256;

criterion_group!(benches, scrape);
criterion_main!(benches);

fn scrape(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scrape");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    for tenants in [10, 1_000, 10_000] {
        let policy = policy(tenants);
        let Ok(metrics) = Metrics::new(&policy) else { return };
        let mut engine = Engine::new(&policy, Restored::default(), NOW);
        engine.drain_outbox();
        let store = StoreFigures::default();
        let snapshot = engine.snapshot(NOW);
        let text = metrics.render(&snapshot, &store).unwrap_or_default();
        let series = text.lines().filter(|line| !line.starts_with('#'));
        eprintln!("{tenants} tenants: {} bytes, {} series", text.len(), series.count());
        group.bench_function(BenchmarkId::new("copy_all", tenants), |bencher| {
            bencher.iter_with_large_drop(|| engine.snapshot(NOW));
        });
        group.bench_function(BenchmarkId::new("copy_all_but_tenants", tenants), |bencher| {
            bencher.iter_with_large_drop(|| engine.snapshot_without_tenants(NOW));
        });
        group.bench_function(BenchmarkId::new("copy_a_step", tenants), |bencher| {
            let mut views = Vec::with_capacity(STEP);
            bencher.iter(|| {
                views.clear();
                black_box(engine.copy_tenants(0..STEP, &mut views, NOW));
            });
        });
        group.bench_function(BenchmarkId::new("render", tenants), |bencher| {
            bencher.iter(|| metrics.render(&snapshot, &store));
        });
    }
    group.finish();
}

/// Every kind of limit on every tenant.
fn policy(tenants: u32) -> Arc<Policy> {
    let mut text = "accounts: { main: { key: main0key000000000000000000000000 } }\n\
        prices: { default: 0.003 }\ntenants:\n"
        .to_owned();
    for number in 0..tenants {
        let _ = writeln!(
            text,
            "  tenant-{number:05}: {{ daily_limit: 1000, daily_spend_cap: 5.00, \
             monthly_spend_cap: 50.00, in_flight_max: 20, prepaid: {{ opening_balance: 10.00 }}, \
             allow_types: [recaptcha_v2, turnstile], keys: {{ a: {{ sha256: '{number:064x}' }} }} }}"
        );
    }
    let parsed = config::parse("bench.yaml", &text, Path::new(""), &|_| None);
    Arc::new(parsed.unwrap_or_else(|faults| panic!("{faults}")).policy)
}
