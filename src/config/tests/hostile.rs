//! Texts that mean harm: refused fast, and never a panic or a leak.

use proptest::prelude::*;

use super::{ACCOUNT_KEY, ADMIN_TOKEN, EXAMPLE, TENANT_KEY, faults, read};
use crate::config::effective;

#[test]
fn depth_is_bounded() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("a: {}x{}", open.repeat(depth), close.repeat(depth))
    };
    assert!(faults(&nested("[", "]", 62)).contains("is not a known key"));
    for depth in [64, 65, 300, 100_000] {
        for (open, close) in [("[", "]"), ("{a: ", "}")] {
            let text = nested(open, close, depth);
            assert_eq!(faults(&text), "f.yaml:1: is nested deeper than 64 levels; flatten it");
        }
    }
    let lists = format!("a:\n  {}x", "- ".repeat(100_000));
    assert_eq!(faults(&lists), "f.yaml:2: is nested deeper than 64 levels; flatten it");
}

#[test]
fn an_alias_bomb_is_not_set_off() {
    let level = |n: usize| format!("a{n}: &a{n} [{0}, {0}, {0}, {0}, {0}]", format!("*a{}", n - 1));
    let levels: Vec<_> = (1..9).map(level).collect();
    let text = format!("a0: &a0 [x, x, x, x, x, x, x, x, x]\n{}", levels.join("\n"));
    assert!(faults(&text).contains("a1[0]: is a YAML alias"));
}

#[test]
fn size_is_bounded_before_anything_is_parsed() {
    let text = "[".repeat((4 << 20) + 1);
    assert_eq!(faults(&text), "f.yaml: is larger than 4 MiB; split off what is not config");
}

#[test]
fn large_files_of_every_kind_are_refused_in_reasonable_time() {
    let size = 1 << 20;
    for unit in
        ["a: b\n", "- a\n", "[a, ", "{", "\"", "a", "? ", "!a ", "&a ", "# \n", "| ", "\n", ": "]
    {
        let text = unit.repeat(size / unit.len());
        let _ = read(&text);
    }
    let long_path =
        format!("{}: {{ {}: [{}] }}", "k".repeat(128), "l".repeat(128), "*x,".repeat(100_000));
    let _ = read(&format!("x: &x 1\n{long_path}"));
    let unknown: Vec<_> = (0..70_000).map(|n| format!("key{n}: 1")).collect();
    assert_eq!(read(&unknown.join("\n")).unwrap_err().list().len(), 1000);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(text in "[-a:{}\\[\\] \n\t'\"&*!|>%@`#?,~0$]{0,120}") {
        let _ = read(&text);
    }

    /// Cuts a piece out of the example, or puts one in, anywhere.
    #[test]
    fn no_mutation_of_the_example_makes_it_panic_or_leak(
        at in 0..EXAMPLE.len(),
        cut in 0..40usize,
        piece in prop::sample::select(vec![
            "", " ", "\n", "\t", ":", "[", "]", "{", "}", "-", "\"", "'", "null", "0", "-1", "1e9",
            "&a ", "*a", "!!str ", "${", "${CAPTCHAAI_KEY}", "${ACME_PROD_KEY}", "é", "\0",
        ]),
        literal: bool,
    ) {
        let example = if literal { with_literal_secrets() } else { EXAMPLE.to_owned() };
        let mut text: Vec<char> = example.chars().collect();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, piece.chars());
        let text: String = text.into_iter().collect();
        let shown = match read(&text) {
            // Whoever puts a secret into a host name or a path has made it public.
            Ok(_) if piece.starts_with("${") => String::new(),
            Ok(config) => format!("{config:?}{}", effective(&config)),
            Err(faults) => faults.to_string(),
        };
        // A literal secret that is cut in two is no longer one.
        let secrets = [ADMIN_TOKEN, ACCOUNT_KEY, TENANT_KEY];
        let leaks = secrets.iter().any(|secret| shown.contains(&secret[..24]) || shown.contains(&secret[8..]));
        prop_assert!(!leaks && (literal || !shown.contains("CANARY")), "{}", shown);
    }
}

/// The example as a careless operator would write it.
fn with_literal_secrets() -> String {
    EXAMPLE
        .replace("${SOLVEGATE_ADMIN_TOKEN}", ADMIN_TOKEN)
        .replace("${CAPTCHAAI_KEY}", ACCOUNT_KEY)
        .replace("${ACME_PROD_KEY}", TENANT_KEY)
}
