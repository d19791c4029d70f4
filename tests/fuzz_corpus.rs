//! Replays the committed fuzz inputs on stable.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed assertion is the result")]

use std::fs;
use std::path::Path;

#[path = "../fuzz/targets.rs"]
mod targets;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        run(&fs::read(entry.unwrap().path()).unwrap());
        seen += 1;
    }
    assert!(seen > 0, "no inputs of {target}");
}

#[test]
fn requests_are_read_without_a_panic() {
    replay("request_parse", targets::request_parse);
}

#[test]
fn only_keys_change_on_the_way_up() {
    replay("key_swap", targets::key_swap);
}

#[test]
fn answers_are_classified_without_a_panic() {
    replay("answer_classify", targets::answer_classify);
}

#[test]
fn answers_are_read_the_same_however_they_are_cut() {
    replay("answer_read", targets::answer_read);
}

#[test]
fn configs_are_checked_without_a_panic() {
    replay("config_parse", targets::config_parse);
}

#[test]
fn damaged_records_are_opened_or_refused_without_a_panic() {
    replay("store_open", targets::store_open);
}
