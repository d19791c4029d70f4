//! One small story, to the letter, and what the README says of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use solvegate::domain::account::AccountReport;
use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::money::Money;
use solvegate::domain::rejection::Reason;
use solvegate::record::metrics::{Operation, StoreFigures, UpstreamResult};

use crate::sidecar::{Scrape, Sidecar, key};

const README: &str = include_str!("../../README.md");

/// Two tenants, one account, two types with objectives of their own.
fn config() -> String {
    format!(
        "accounts: {{ main: {{ key: {}, low_balance_below: 5.00 }} }}
prices: {{ default: 0.003, turnstile: 0.002 }}
tenants:
  acme: {{ prepaid: {{ opening_balance: 1.00 }}, daily_limit: 3, keys: {{ prod: {{ key: {} }} }} }}
  zen: {{ in_flight_max: 5, keys: {{ prod: {{ key: {} }} }} }}
slo:
  default: {{ min_events: 2 }}
  types:
    turnstile: {{ objective: 0.75, window: 1h, latency: {{ threshold: 10s, objective: 0.9 }} }}
    image: {{ objective: 0.9 }}
",
        key("main"),
        key("acme"),
        key("zen")
    )
}

/// Three solves of acme, one of them bad, and a refusal; one of zen that is still open.
fn story() -> Sidecar {
    let mut sidecar = Sidecar::start(&config());
    let threads = AccountReport::Threads { total: 15, working: 2, ours: 2 };
    let balance = AccountReport::Balance(Money::from_micros(12_340_000));
    for report in [threads, balance] {
        sidecar.engine.observe_account("main", report, sidecar.now);
    }
    for took in [4, 12] {
        let solve = sidecar.submit("acme", CaptchaType::Turnstile).unwrap();
        sidecar.later(Duration::from_secs(took));
        sidecar.solved(solve);
    }
    let solve = sidecar.submit("acme", CaptchaType::Image).unwrap();
    sidecar.later(Duration::from_millis(2_500));
    sidecar.failed(solve);
    sidecar.submit("zen", CaptchaType::Turnstile).unwrap();
    let solve = sidecar.submit("acme", CaptchaType::Image).unwrap();
    sidecar.later(Duration::from_secs(1));
    sidecar.solved(solve);
    assert_eq!(sidecar.submit("acme", CaptchaType::Image), Err(Reason::DailyLimit));
    let took = Duration::from_millis(40);
    let metrics = &sidecar.metrics;
    metrics.upstream_asked("main", Operation::Submit, UpstreamResult::Ok, took);
    metrics.upstream_asked("main", Operation::Poll, UpstreamResult::Timeout, took * 100);
    metrics.answered(Operation::Submit, 200, took, Duration::from_micros(39_920));
    metrics.answered(Operation::Submit, 429, Duration::from_micros(60), Duration::ZERO);
    metrics.poll_forwarded();
    metrics.poll_from_memory();
    sidecar.store = StoreFigures {
        lag: Duration::from_millis(250),
        pending: 1,
        size_bytes: 4_096,
        commits: 9,
        failures: 0,
    };
    sidecar
}

/// What differs from machine to machine and from version to version is left out.
fn masked(scrape: &Scrape) -> String {
    let lines = scrape.0.lines().filter(|line| {
        !["process_", "# HELP process_", "# TYPE process_"]
            .iter()
            .any(|start| line.starts_with(start))
    });
    let lines = lines.map(|line| {
        if line.starts_with("solvegate_build_info{") {
            "solvegate_build_info{version=\"*\",revision=\"*\"} 1\n".to_owned()
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

#[test]
fn the_exposition_of_a_small_story_is_the_golden_one() {
    let actual = masked(&story().scrape());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.prom");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();

    let mut pairs = actual.lines().zip(expected.lines()).enumerate();
    let differs = pairs.find(|(_, (actual, expected))| actual != expected);

    assert_eq!(differs, None, "metrics.prom differs; UPDATE_GOLDEN=1 accepts it");
    assert_eq!(actual.lines().count(), expected.lines().count(), "UPDATE_GOLDEN=1 accepts it");
}

#[test]
fn the_readme_says_the_labels_of_each_metric() {
    let scrape = story().scrape();
    let families = scrape.families();
    let mut described = BTreeSet::new();
    for row in README.lines().filter_map(|line| line.strip_prefix("| `solvegate_")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let name = format!("solvegate_{}", cells[0].trim_end_matches('`'));
        let labels: BTreeSet<_> = cells[1].split('`').skip(1).step_by(2).collect();
        let family = families.get(&*name);

        let labels_of = family.map(|family| family.labels.clone());

        assert_eq!(labels_of, Some(BTreeSet::from([labels])), "{name}");
        described.insert(name);
    }

    let exported = families.keys().filter(|name| name.starts_with("solvegate_"));
    let exported: BTreeSet<_> = exported.map(|name| (*name).to_owned()).collect();
    assert_eq!(described, exported);
    assert!(exported.len() > 45, "{}", exported.len());
    assert!(families.contains_key("process_start_time_seconds"));
}

#[test]
fn names_types_and_helps_keep_to_the_conventions() {
    let scrape = story().scrape();
    for (name, family) in scrape.families() {
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name} {}", family.kind);
        assert_eq!(
            family.kind == "histogram",
            ["duration_seconds", "overhead_seconds"].iter().any(|end| name.ends_with(end)),
            "{name} {}",
            family.kind
        );
        assert!(["counter", "gauge", "histogram"].contains(&family.kind), "{name}");
        assert!(
            family.help.ends_with('.') || name.starts_with("process_"),
            "{name}: {}",
            family.help
        );
    }
}
