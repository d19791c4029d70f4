//! What README.md promises is there, and what is there stands in README.md.

use std::path::Path;
use std::process::Command;

use solvegate::domain::policy::RejectionForm;
use solvegate::domain::rejection::{Reason, Rejection};
use solvegate::domain::solve::Form;
use solvegate::wire::refuse;

const README: &str = include_str!("../README.md");
const CONFIG: &str = include_str!("../docs/config.md");
const METRICS: [&str; 5] = [
    include_str!("../src/record/metrics/mod.rs"),
    include_str!("../src/record/metrics/money.rs"),
    include_str!("../src/record/metrics/scrape.rs"),
    include_str!("../src/record/metrics/slo.rs"),
    include_str!("../src/record/metrics/tenants.rs"),
];

#[test]
fn the_metrics_of_the_readme_are_those_of_the_code() {
    let mut exported: Vec<_> = METRICS
        .iter()
        .flat_map(|text| text.split('"'))
        .filter(|text| text.starts_with("solvegate_") && !text.contains(char::is_whitespace))
        .collect();
    let mut described: Vec<_> =
        rows(README).filter(|name| name.starts_with("solvegate_")).collect();
    exported.sort_unstable();
    described.sort_unstable();

    assert!(exported.len() > 30, "{exported:?}");
    assert_eq!(described, exported);
}

#[test]
fn every_reason_stands_there_with_its_code_and_status() {
    for reason in Reason::ALL {
        let rejection = Rejection { reason, text: String::new(), retry_after: None, verdict: None };
        let reply = refuse::rejection(&rejection, Form::Text, RejectionForm::Http, false);
        let code = String::from_utf8(reply.body.to_vec()).unwrap();
        let start = format!("| `{}` | `{code}` ", reason.label());
        let status = format!("| {} |", reply.status.as_u16());

        let row = README.lines().find(|line| line.starts_with(&start));

        assert!(row.is_some_and(|row| row.contains(&status)), "no row {start}… {status}");
    }
}

#[test]
fn every_top_level_key_of_the_config_is_mentioned_and_no_other_dotted_one() {
    let keys: Vec<_> = rows(CONFIG).collect();
    let top: Vec<_> = keys.iter().filter(|key| !key.contains(['.', '['])).copied().collect();
    assert!(top.len() > 15, "{top:?}");
    for key in &top {
        assert!(README.contains(&format!("`{key}`")), "`{key}` is missing");
    }
    let dotted = README.split('`').skip(1).step_by(2).filter(|code| {
        let first = code.split('.').next().unwrap_or_default();
        code.contains('.') && !code.contains(['/', ' ', '(']) && top.contains(&first)
    });
    for code in dotted {
        assert!(keys.contains(&code), "`{code}` is no key of docs/config.md");
    }
}

#[test]
fn every_file_that_is_linked_exists() {
    let links = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http")) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}");
    }
}

#[test]
fn the_example_config_has_no_fault_and_no_warning() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/solvegate.example.yaml");

    let done = Command::new(env!("CARGO_BIN_EXE_solvegate"))
        .args(["check", "--config", example])
        .env("CAPTCHAAI_KEY", "account0key000000000000000000000")
        .env("ACME_KEY", "acme0key000000000000000000000000")
        .env("TRIAL_KEY", "trial0key00000000000000000000000")
        .env("CRAWLER_SHA256", "5".repeat(64))
        .output()
        .unwrap();

    let complaints = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{complaints}");
    assert_eq!(complaints, "");
}

/// The names in the first column of tables.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next())
}
