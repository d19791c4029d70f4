//! Faults of the file as a whole and of single values: exact text and line.

use super::faults;

/// Each file has exactly these faults.
pub(super) fn check(table: &[(&str, &str)]) {
    let wrong: Vec<_> = table
        .iter()
        .map(|(text, expected)| (*text, *expected, faults(text)))
        .filter(|(_, expected, actual)| expected != actual)
        .collect();
    assert!(wrong.is_empty(), "(file, expected, actual): {wrong:#?}");
}

#[test]
fn what_is_no_config_is_one_fault() {
    check(&[
        (
            "listen: [1, 2",
            "f.yaml:2:1: is not valid YAML: while parsing a flow sequence, expected ',' or ']'",
        ),
        (
            "a: b: c",
            "f.yaml:1:5: is not valid YAML: mapping values are not allowed in this context",
        ),
        (
            "tls:\n\tlisten: 1",
            "f.yaml:2:2: is not valid YAML: tabs disallowed within this context (block indentation); indent with spaces, not tabs",
        ),
        (
            "accounts: { main: { key: ${CAPTCHAAI_KEY} } }",
            "f.yaml:1:27: is not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'; put quotes around \"${…}\"",
        ),
        (
            "key: @CANARY",
            "f.yaml:1:6: is not valid YAML: unexpected character; put the value in quotes",
        ),
        ("--- {}\n--- {}\n", "f.yaml:2: starts a second document; keep one, without `---`"),
        ("just text", "f.yaml:1: must be a mapping of `key: value`"),
        ("- a", "f.yaml:1: must be a mapping of `key: value`"),
    ]);
}

#[test]
fn structure_is_checked_before_meaning() {
    check(&[
        (
            "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2",
            "f.yaml:2: listen: is set twice, first on line 1; remove one",
        ),
        (
            "accounts: { a: { key: k } }\ntenants:\n  x: {}\n  x: {}\n",
            "f.yaml:4: tenants.x: is set twice, first on line 3; remove one",
        ),
        (
            "state: &s { path: a }\nlog: *s",
            "f.yaml:2: log: is a YAML alias; write the value itself here",
        ),
        ("enforce: !!bool true", "f.yaml:1: enforce: carries a YAML tag (`!…`); leave the tag out"),
        ("? [a]\n: b", "f.yaml:1: has a key that is not plain text; write `key: value`"),
    ]);
    let key = "k".repeat(129);
    check(&[(&format!("{key}: 1"), "f.yaml:1: has a key of over 128 characters")]);
}

#[test]
fn an_unknown_key_is_named_with_what_was_probably_meant() {
    check(&[
        ("listn: x", "f.yaml:1: listn: is not a known key; did you mean listen?"),
        (
            "log:\n  format: text\n  colour: red",
            "f.yaml:3: log.colour: is not a known key; known here: format, urls",
        ),
        (
            "accounts: { a: { key: k } }\ntenants:\n  acme:\n    rate_per_minut: 1",
            "f.yaml:4: tenants.acme.rate_per_minut: is not a known key; \
             did you mean rate_per_minute?",
        ),
        (
            "prices: { turnstyle: 1 }",
            "f.yaml:1: prices.turnstyle: is no captcha type; did you mean turnstile?",
        ),
        (
            "slo: { types: { normal: {} } }",
            "f.yaml:1: slo.types.normal: is no captcha type; did you mean image?",
        ),
    ]);
}

#[test]
fn references_say_what_is_missing() {
    check(&[
        (
            "listen: ${NOWHERE}",
            "f.yaml:1: listen: needs the environment variable NOWHERE, which is not set",
        ),
        (
            "listen: ${NOWHERE",
            "f.yaml:1: listen: has `${` without `}`; write `$${` for the characters themselves",
        ),
        (
            "listen: \"${not a name}\"",
            "f.yaml:1: listen: has a `${…}` that is neither `${NAME}` nor `${file:PATH}`; \
             write `$${` for the characters themselves",
        ),
        (
            "listen: ${file:/nowhere/at/all}",
            "f.yaml:1: listen: cannot read /nowhere/at/all: No such file or directory (os error 2)",
        ),
        ("listen: ${file:/dev/zero}", "f.yaml:1: listen: cannot read /dev/zero: not a file"),
    ]);
}

#[test]
fn single_values_say_what_to_write() {
    check(&[
        (
            "listen: localhost:80",
            "f.yaml:1: listen: must be an IP address and a port such as 127.0.0.1:8080, is localhost:80",
        ),
        ("listen: [a]", "f.yaml:1: listen: must be a single value, is a list"),
        ("listen: { a: b }", "f.yaml:1: listen: must be a single value, is a mapping"),
        ("enforce: yes", "f.yaml:1: enforce: must be true or false, is yes"),
        (
            "rejections: htp",
            "f.yaml:1: rejections: must be one of provider, http, is htp; did you mean http?",
        ),
        ("charge: always", "f.yaml:1: charge: must be one of delivered, solved, is always"),
        (
            "timezone: Mars/Olympus",
            "f.yaml:1: timezone: must be an IANA time zone such as Europe/Berlin, is Mars/Olympus",
        ),
        (
            "trusted_proxies: [10.0.0.0/33]",
            "f.yaml:1: trusted_proxies[0]: must be a network such as 10.0.0.0/8 or an IP address, is 10.0.0.0/33",
        ),
        (
            "trusted_proxies: [\"::ffff:10.0.0.0/8\"]",
            "f.yaml:1: trusted_proxies[0]: must be written as an IPv4 network such as 10.0.0.0/8, is ::ffff:10.0.0.0/8",
        ),
        (
            "trusted_proxies: [~]",
            "f.yaml:1: trusted_proxies[0]: must not be empty; give it a value or leave it out",
        ),
        ("trusted_proxies: any", "f.yaml:1: trusted_proxies: must be a list, such as [a, b]"),
        ("log: text", "f.yaml:1: log: must be a mapping of `key: value`"),
        ("state: { path: \"\" }", "f.yaml:1: state.path: must be the path of a file"),
        (
            "slo: { default: { objective: 1 } }",
            "f.yaml:1: slo.default.objective: must be above 0 and below 1, such as 0.95, is 1",
        ),
        (
            "slo: { default: { objective: 9e-1 } }",
            "f.yaml:1: slo.default.objective: must be above 0 and below 1, such as 0.95, is 9e-1",
        ),
        (
            "slo: { default: { min_events: 010 } }",
            "f.yaml:1: slo.default.min_events: must be a whole number such as 10, is 010",
        ),
        (
            "slo: { default: { min_events: 1_000 } }",
            "f.yaml:1: slo.default.min_events: must be a whole number such as 10, is 1_000",
        ),
        (
            "slo: { default: { min_events: -1 } }",
            "f.yaml:1: slo.default.min_events: must be at least 0, is -1",
        ),
        (
            "slo: { default: { min_events: 99999999999999999999999999999999999999999999 } }",
            "f.yaml:1: slo.default.min_events: must be a whole number such as 10",
        ),
    ]);
}

#[test]
fn durations_have_units_and_bounds() {
    check(&[
        ("shutdown_grace: 30", "f.yaml:1: shutdown_grace: must have a unit: write 30s, is 30"),
        ("shutdown_grace: 0", "f.yaml:1: shutdown_grace: must be at least 1s, is 0"),
        (
            "shutdown_grace: soon",
            "f.yaml:1: shutdown_grace: must be a duration such as 30s, 5m or 24h, is soon",
        ),
        (
            "upstream: { submit_timeout: 5s }",
            "f.yaml:1: upstream.submit_timeout: must be at most 4s500ms, is 5s",
        ),
        (
            "upstream: { connect_timeout: 0s }",
            "f.yaml:1: upstream.connect_timeout: must be at least 1ms, is 0s",
        ),
        (
            "upstream: { poll_spacing: 2m }",
            "f.yaml:1: upstream.poll_spacing: must be at most 1m, is 2m",
        ),
        (
            "upstream: { forget_after: 49h }",
            "f.yaml:1: upstream.forget_after: must be at most 2d, is 49h",
        ),
        (
            "upstream: { forget_after: 3m }\nslo: { types: { image: { deadline: 10m } } }",
            "f.yaml:1: upstream.forget_after: must be at least 10m, the longest deadline under slo",
        ),
        (
            "slo: { default: { window: 31d } }",
            "f.yaml:1: slo.default.window: must be at most 30d, is 31d",
        ),
        (
            "slo: { default: { deadline: 2h } }",
            "f.yaml:1: slo.default.deadline: must be at most 1h, is 2h",
        ),
    ]);
}

#[test]
fn money_is_a_plain_decimal() {
    check(&[
        (
            "prices: { default: 1e-3 }",
            "f.yaml:1: prices.default: must be an amount of dollars such as 12.50, is 1e-3",
        ),
        (
            "prices: { default: .nan }",
            "f.yaml:1: prices.default: must be an amount of dollars such as 12.50, is .nan",
        ),
        (
            "prices: { default: 1_0 }",
            "f.yaml:1: prices.default: must be an amount of dollars such as 12.50, is 1_0",
        ),
        (
            "prices: { default: 0.0000001 }",
            "f.yaml:1: prices.default: must have at most 6 decimals, is 0.0000001",
        ),
        ("prices: { default: -0.001 }", "f.yaml:1: prices.default: must be at least 0, is -0.001"),
        (
            "prices: { default: 1000.01 }",
            "f.yaml:1: prices.default: must be at most 1000.00, is 1000.01",
        ),
        (
            "accounts: { a: { key: k, low_balance_below: 1000000000 } }",
            "f.yaml:1: accounts.a.low_balance_below: must be at most 999999999.999999, is 1000000000",
        ),
    ]);
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    check(&[
        (
            "CANARYaccountkeyCANARYaccountkey: 1",
            &format!("f.yaml:1: …: is not a known key; known here: {KNOWN}"),
        ),
        (
            "listen: CANARYaccountkeyCANARYaccountkey",
            "f.yaml:1: listen: must be an IP address and a port such as 127.0.0.1:8080",
        ),
        (
            "listen: ${CANARYaccountkeyCANARYaccountkey}",
            "f.yaml:1: listen: needs the environment variable …, which is not set",
        ),
        (
            "accounts: { CANARYaccountkeyCANARYaccountkey: {} }",
            "f.yaml:1: accounts.…: looks like a key where a name should stand; names are shown in logs and metrics",
        ),
    ]);
}

/// The keys at the top.
const KNOWN: &str = "listen, tls, accounts, admin, slo, upstream, prices, rejections, enforce, charge, overdraft, timezone, tenants, trusted_proxies, notify, state, log, shutdown_grace, error_classes";

#[test]
fn all_faults_come_at_once_in_the_order_of_their_lines() {
    let text = "\
tenants:
  acme:
    rate_per_minute: 0
    daily_limit: x
    daily_limit: 1
    keys: { prod: { key: \"${NOWHERE}\" } }
upstream: { url: nonsense }
listn: 1
accounts: { main: { key: k } }
";
    assert_eq!(
        faults(text),
        "f.yaml:3: tenants.acme.rate_per_minute: must be at least 1, is 0\n\
         f.yaml:4: tenants.acme.daily_limit: must be a whole number such as 10, is x\n\
         f.yaml:5: tenants.acme.daily_limit: is set twice, first on line 4; remove one\n\
         f.yaml:6: tenants.acme.keys.prod.key: needs the environment variable NOWHERE, which is not set\n\
         f.yaml:7: upstream.url: must be an http or https URL such as https://ocr.captchaai.com\n\
         f.yaml:8: listn: is not a known key; did you mean listen?"
    );
}
