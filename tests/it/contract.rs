//! What Prometheus rules are written against exists.

use solvegate::simulate::Operation;

use crate::support::{Setup, World, until};

/// Recorded by `tests/rules/check.py --write-metrics` from rules and runbooks.
const USED: &str = include_str!("../rules/metrics_used.txt");

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_a_rule_names_is_exported() {
    let tenants = "acme: { daily_limit: 9, keys: { prod: { key: ACME } } }";
    let account = "threads: 5000, low_balance_below: 1.00";
    let world = World::start(Setup { account, tenants, ..Setup::default() }).await;
    until("the account was asked about", || !world.received(Operation::Balance).is_empty()).await;
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let text = world.admin(request).await.text();
    let typed: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();

    let missing: Vec<&str> = USED
        .lines()
        .filter(|name| name.starts_with("solvegate_"))
        .map(|name| name.trim_end_matches("_bucket"))
        .filter(|name| !typed.contains(name))
        .collect();

    assert!(USED.lines().count() > 20);
    assert_eq!(missing, Vec::<&str>::new());
    world.close(0).await;
}
