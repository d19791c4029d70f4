//! What values mean: no traffic, an account that was never heard, two scrapes at once.

use std::sync::Arc;
use std::time::Duration;

use solvegate::domain::account::AccountReport;
use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::money::Money;
use solvegate::record::metrics::StoreFigures;

use crate::sidecar::{Sidecar, key};

fn config() -> String {
    let [main, acme] = ["main", "acme"].map(key);
    format!(
        "accounts: {{ main: {{ key: {main}, low_balance_below: 2.50 }} }}
prices: {{ default: 0.003 }}
tenants: {{ acme: {{ daily_limit: 1000, keys: {{ a: {{ key: {acme} }} }} }} }}
slo: {{ default: {{ window: 2h, warning_below: 0.4, critical_below: 0.15 }} }}
"
    )
}

const WINDOWS: [&str; 8] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "slo"];

fn slo(name: &str, window: &str) -> String {
    format!(r#"solvegate_slo_{name}{{captcha_type="turnstile",slo="success",window="{window}"}}"#)
}

const REMAINING: &str =
    r#"solvegate_slo_error_budget_remaining_ratio{captcha_type="turnstile",slo="success"}"#;

#[test]
fn without_traffic_success_is_nan_nothing_burns_and_the_error_budget_is_whole() {
    let mut sidecar = Sidecar::start(&config());
    let empty = |sidecar: &mut Sidecar, windows: &[&str]| {
        let scrape = sidecar.scrape();
        for window in windows {
            assert!(scrape.value(&slo("success_ratio", window)).unwrap().is_nan(), "{window}");
            assert_eq!(scrape.value(&slo("burn_rate", window)), Some(0.0), "{window}");
        }
        assert_eq!(scrape.value(REMAINING), Some(1.0));
        let left = r#"solvegate_slo_error_budget_remaining_events{captcha_type="turnstile",slo="success"}"#;
        assert_eq!(scrape.value(left), Some(0.0));
        let nans = scrape.samples().filter(|(_, value)| value.is_nan());
        let others = nans.filter(|(series, _)| !series.starts_with("solvegate_slo_success_ratio{"));
        assert_eq!(others.count(), 0, "nothing else that a rule sums is NaN");
    };
    empty(&mut sidecar, &WINDOWS);

    for _ in 0..4 {
        let solve = sidecar.submit("acme", CaptchaType::Turnstile).unwrap();
        sidecar.failed(solve);
    }
    let scrape = sidecar.scrape();
    assert_eq!(scrape.value(&slo("success_ratio", "5m")), Some(0.0));
    assert!(scrape.value(&slo("burn_rate", "slo")).unwrap() > 19.9);
    assert!(scrape.value(REMAINING).unwrap() < -18.9);

    // Once the short windows are empty again, what the SLO's own window holds stays as it was.
    sidecar.later(Duration::from_mins(40));
    let scrape = sidecar.scrape();
    assert!(scrape.value(&slo("success_ratio", "30m")).unwrap().is_nan());
    assert_eq!(scrape.value(&slo("burn_rate", "30m")), Some(0.0));
    assert!(scrape.value(REMAINING).unwrap() < -18.9);
    sidecar.later(Duration::from_mins(90));
    empty(&mut sidecar, &["5m", "30m", "1h", "2h", "slo"]);
}

#[test]
fn the_edges_of_statuses_are_those_of_the_config() {
    let scrape = Sidecar::start(&config()).scrape();
    for (status, below) in [("warning", 0.4), ("critical", 0.15)] {
        let edges = scrape.series(&["solvegate_slo_status_below_ratio{", status]);
        assert_eq!(edges.len(), CaptchaType::ALL.len());
        assert!(edges.iter().all(|(_, value)| *value == below), "{edges:?}");
    }
}

#[test]
fn an_account_that_was_never_heard_says_zero_and_one_that_is_not_asked_says_nothing() {
    const REFRESHED: &str = r#"solvegate_account_last_refresh_timestamp_seconds{account="main"}"#;
    const MINIMUM: &str = r#"solvegate_account_balance_minimum_usd{account="main"}"#;
    let mut sidecar = Sidecar::start(&config());
    let scrape = sidecar.scrape();
    assert_eq!(scrape.value(REFRESHED), Some(0.0));
    assert_eq!(scrape.value(MINIMUM), Some(2.5));
    assert_eq!(scrape.series(&["solvegate_account_balance_usd"]), []);

    let balance = AccountReport::Balance(Money::from_micros(7_000_000));
    sidecar.engine.observe_account("main", balance, sidecar.now);
    assert_eq!(sidecar.scrape().value(REFRESHED), Some(1_795_262_400.0));

    sidecar.reload(&config().replace(", low_balance_below: 2.50", ""));
    let scrape = sidecar.scrape();
    assert_eq!(scrape.value(MINIMUM), None);
    assert_eq!(scrape.value(REFRESHED), Some(1_795_262_400.0));
    sidecar.reload(&config().replace(&key("main"), &key("next")));
    let balances = "solvegate_account_balance_usd{";
    assert_eq!(
        sidecar.scrape().series(&[balances]),
        [],
        "the old key's balance is not the new one's"
    );

    let mut observing = Sidecar::start("upstream: { poll_spacing: 1s }");
    let scrape = observing.scrape();
    assert_eq!(scrape.value(r#"solvegate_account_up{account="default"}"#), Some(1.0));
    assert_eq!(scrape.series(&["solvegate_account_last_refresh"]), []);
}

#[test]
fn scrapes_at_once_have_nothing_in_common() {
    let mut sidecar = Sidecar::start(&config());
    for _ in 0..3 {
        let solve = sidecar.submit("acme", CaptchaType::Turnstile).unwrap();
        sidecar.solved(solve);
    }
    let gauges = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("solvegate_"));
        lines.map(str::to_owned).collect()
    };
    let expected = Arc::new(gauges(&sidecar.scrape().0));
    let snapshot = Arc::new(sidecar.engine.snapshot(sidecar.now));
    let metrics = Arc::new(sidecar.metrics);
    let scrapers: Vec<_> = (0..4)
        .map(|_| {
            let (metrics, snapshot) = (metrics.clone(), snapshot.clone());
            let expected = expected.clone();
            std::thread::spawn(move || {
                for _ in 0..20 {
                    let text = metrics.render(&snapshot, &StoreFigures::default()).unwrap();
                    assert_eq!(gauges(&text), *expected);
                }
            })
        })
        .collect();
    for scraper in scrapers {
        scraper.join().unwrap();
    }
}
