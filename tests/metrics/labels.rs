//! Which series there are: from the start, after a reload, beyond the limit of tenants.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::outcome::Outcome;
use solvegate::domain::rejection::Reason;
use solvegate::record::metrics::{Operation, Report, UpstreamResult};

use crate::sidecar::{Scrape, Sidecar, key};

fn config(accounts: &[&str], tenants: &[(&str, &str)], rest: &str) -> String {
    let mut text = "prices: { default: 0.003 }\naccounts:\n".to_owned();
    for account in accounts {
        writeln!(text, "  {account}: {{ key: {} }}", key(account)).unwrap();
    }
    text.push_str("tenants:\n");
    for (tenant, more) in tenants {
        let key = key(tenant);
        let account = accounts[0];
        writeln!(
            text,
            "  {tenant}: {{ account: {account}, {more} keys: {{ a: {{ key: {key} }} }} }}"
        )
        .unwrap();
    }
    text + rest
}

/// Series of counters and histograms, from which increases are read.
fn counted(scrape: &Scrape) -> BTreeSet<String> {
    let families = scrape.families();
    let mut series = BTreeSet::new();
    for (found, _) in scrape.samples().filter(|(found, _)| found.starts_with("solvegate_")) {
        let name = found.split('{').next().unwrap();
        let kind = families.get(name).map_or("histogram", |family| family.kind);
        if kind != "gauge" {
            series.insert(found.to_owned());
        }
    }
    series
}

#[test]
fn every_series_that_counts_is_there_at_zero_before_anything_happens() {
    let latency = "slo: { default: { latency: { threshold: 10s, objective: 0.9 } } }";
    let text = config(&["main", "spare"], &[("acme", "in_flight_max: 1,"), ("zen", "")], latency);
    let mut sidecar = Sidecar::start(&text);
    let start = sidecar.scrape();
    let at_zero = counted(&start);
    for series in &at_zero {
        assert_eq!(start.value(series), Some(0.0), "{series}");
    }

    for captcha_type in CaptchaType::ALL {
        for is_good in [true, false] {
            let solve = sidecar.submit("acme", captcha_type).unwrap();
            assert_eq!(sidecar.submit("acme", captcha_type), Err(Reason::InFlight));
            sidecar.later(Duration::from_secs(20));
            if is_good { sidecar.solved(solve) } else { sidecar.failed(solve) }
        }
        sidecar.metrics.undelivered(captcha_type);
        sidecar.metrics.reported(captcha_type, Report::Good);
        sidecar.metrics.reported(captcha_type, Report::Bad);
    }
    for reason in Reason::ALL {
        sidecar.metrics.rejected(Some(&"zen".into()), reason);
        sidecar.metrics.shadowed(reason);
    }
    for operation in Operation::ALL {
        for status in [200, 302, 404, 503] {
            sidecar.metrics.answered(operation, status, Duration::ZERO, Duration::ZERO);
        }
        let all = [
            UpstreamResult::Ok,
            UpstreamResult::ApiError,
            UpstreamResult::HttpError,
            UpstreamResult::Timeout,
            UpstreamResult::ConnectError,
        ];
        for result in all {
            sidecar.metrics.upstream_asked("spare", operation, result, Duration::ZERO);
        }
    }
    sidecar.metrics.poll_forwarded();
    sidecar.metrics.poll_from_memory();

    let end = sidecar.scrape();
    assert_eq!(counted(&end), at_zero);
    assert_eq!(end.sum(&["solvegate_slo_events_total{", "latency", "bad"]), 52.0);
    assert_eq!(end.sum(&["solvegate_upstream_requests_total{", "spare"]), 35.0);
    assert_eq!(Outcome::ALL.len() * 26, start.series(&["solvegate_solves_total{"]).len());
}

#[test]
fn after_a_reload_new_names_stand_at_zero_and_gone_ones_nowhere() {
    let latency = "slo: { types: { turnstile: { latency: { threshold: 9s, objective: 0.9 } } } }";
    let first = config(&["main", "old"], &[("acme", ""), ("zen", "daily_limit: 9,")], latency);
    let mut sidecar = Sidecar::start(&first);
    let solve = sidecar.submit("zen", CaptchaType::Turnstile).unwrap();
    sidecar.metrics.upstream_asked("old", Operation::Poll, UpstreamResult::Ok, Duration::ZERO);
    let before = sidecar.scrape();
    for part in ["tenant=\"zen\"", "account=\"old\"", "slo=\"latency\""] {
        assert!(before.series(&[part]).len() > 5, "{part}");
    }

    let slo = "slo: { types: { image: { latency: { threshold: 9s, objective: 0.9 } } } }";
    sidecar.reload(&config(&["main", "new"], &[("acme", ""), ("bee", "daily_limit: 5,")], slo));

    let after = sidecar.scrape();
    for part in ["tenant=\"zen\"", "account=\"old\"", "captcha_type=\"turnstile\",slo=\"latency\""]
    {
        assert_eq!(after.series(&[part]), [], "{part}");
    }
    let turnstile = ["solvegate_slo_events_total", "latency", "turnstile"];
    assert_eq!(after.series(&turnstile), []);
    let bee = after.series(&["_total{", "tenant=\"bee\""]);
    assert_eq!(bee.len(), 2 + Outcome::ALL.len() + Reason::ALL.len());
    let new = after.series(&["account=\"new\"", "_total{"]);
    assert_eq!(new.len(), 35 + 26);
    let image = after.series(&["solvegate_slo_events_total", "latency", "image"]);
    assert_eq!(image.len(), 2);
    assert!([bee, new, image].concat().iter().all(|(_, value)| *value == 0.0));
    assert_eq!(
        after.value(r#"solvegate_tenant_limit{limit="daily_solves",tenant="bee"}"#),
        Some(5.0)
    );

    // What was open when its tenant went is counted all the same.
    sidecar.solved(solve);
    sidecar.metrics.upstream_asked("old", Operation::Poll, UpstreamResult::Ok, Duration::ZERO);
    let end = sidecar.scrape();
    assert_eq!(end.series(&["tenant=\"zen\""]), []);
    assert_eq!(end.series(&["account=\"old\""]), []);
    let solved = r#"solvegate_tenant_solves_total{outcome="solved",tenant="other"}"#;
    assert_eq!((after.value(solved), end.value(solved)), (Some(0.0), Some(1.0)));
    assert_eq!(end.value(r#"solvegate_tenant_cost_usd_total{tenant="other"}"#), Some(0.003));
    assert_eq!(end.sum(&["solvegate_upstream_requests_total", "account=\"other\""]), 1.0);
    assert_eq!(end.value("solvegate_tenant_label_overflow_total"), Some(0.0), "nobody is beyond");
}

#[test]
fn tenants_beyond_the_limit_are_one_and_the_sums_stay_right() {
    let names: Vec<_> = (0..1_200).map(|number| format!("t{number:04}")).collect();
    let limits = "prepaid: { opening_balance: 2.00 }, daily_limit: 9, in_flight_max: 1,";
    let tenants: Vec<_> = names.iter().map(|name| (&**name, limits)).collect();
    let mut sidecar = Sidecar::start(&config(&["main"], &tenants, ""));
    let at_zero = counted(&sidecar.scrape());

    let mut open = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let solve = sidecar.submit(name, CaptchaType::Image).unwrap();
        assert_eq!(sidecar.submit(name, CaptchaType::Image), Err(Reason::InFlight));
        match number % 3 {
            0 => sidecar.failed(solve),
            1 => sidecar.solved(solve),
            _ => open.push(solve),
        }
    }

    let scrape = sidecar.scrape();
    assert_eq!(counted(&scrape), at_zero);
    let sums = [
        ("solvegate_tenant_solves_total{", "solvegate_solves_total{"),
        ("solvegate_tenant_cost_usd_total{", "solvegate_cost_usd_total{"),
        ("solvegate_tenant_rejections_total{", "solvegate_rejections_total{"),
    ];
    for (by_tenant, whole) in sums {
        let (by_tenant, whole) = (scrape.sum(&[by_tenant]), scrape.sum(&[whole]));
        assert!(whole > 1.0 && (by_tenant - whole).abs() < 1e-6, "{by_tenant} is not {whole}");
        assert!(scrape.sum(&["solvegate_tenant_solves_total{", "other"]) > 100.0);
    }
    let balance = scrape.sum(&["solvegate_tenant_balance_usd{"]);
    assert!((balance - (2_400.0 - 400.0 * 0.003)).abs() < 1e-6, "{balance}");
    assert!((scrape.sum(&["solvegate_tenant_held_usd{"]) - 400.0 * 0.003).abs() < 1e-6);
    for gauge in ["solvegate_tenant_usage{", "solvegate_tenant_limit{"] {
        assert_eq!(scrape.series(&[gauge, "other"]), [], "limits do not add up");
        assert!(scrape.series(&[gauge, "t0999"]).len() >= 2);
    }
    let overflow = scrape.value("solvegate_tenant_label_overflow_total").unwrap();
    assert!(overflow >= 200.0 * 2.0, "{overflow}");
    let again = sidecar.scrape().value("solvegate_tenant_label_overflow_total");
    assert_eq!(again, Some(overflow), "a scrape is no event");

    // Whoever has a label keeps it; a place that is free is taken.
    let tenants: Vec<_> = tenants.into_iter().filter(|(name, _)| *name != "t0500").collect();
    let tenants: Vec<_> = [vec![("aaaa", limits)], tenants].concat();
    sidecar.reload(&config(&["main"], &tenants, ""));
    let scrape = sidecar.scrape();
    let shown = |tenant| !scrape.series(&["solvegate_tenant_solves_total{", tenant]).is_empty();
    assert!(shown("t0999") && shown("aaaa") && !shown("t0500") && !shown("t1000"));
    let kept = r#"solvegate_tenant_solves_total{outcome="unsolvable",tenant="t0999"}"#;
    assert_eq!(scrape.value(kept), Some(1.0));
}

#[test]
fn a_tenant_whose_name_is_the_label_of_the_rest_shares_its_series() {
    let names: Vec<_> = (0..1_000).map(|number| format!("t{number:04}")).collect();
    let plain = names.iter().map(|name| (&**name, ""));
    let mut tenants: Vec<_> = [("other", "prepaid: { opening_balance: 5.00 },")].into();
    tenants.extend(plain);
    tenants[1_000].1 = "prepaid: { opening_balance: 7.00 },";
    let mut sidecar = Sidecar::start(&config(&["main"], &tenants, ""));

    let scrape = sidecar.scrape();

    let balance = r#"solvegate_tenant_balance_usd{tenant="other"}"#;
    assert_eq!(scrape.series(&["solvegate_tenant_balance_usd{"]), [(balance, 12.0)]);
    let mut series: Vec<_> = scrape.samples().map(|(name, _)| name).collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all, "none twice");
}
