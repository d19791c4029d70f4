use std::path::Path;

use super::*;

const NOW: Wall = Wall(1_795_262_400_000);
const KEY: (&str, &str) = ("acme", "prod");

fn base() -> Policy {
    let text = "accounts: { main: { key: 0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a } }\n\
        tenants: { acme: { keys: { prod: { key: 0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b } } } }";
    config::parse("a.yaml", text, Path::new("/"), &|_| None).unwrap().policy
}

fn hashes(policy: &Policy, key_id: &str) -> Vec<KeyHash> {
    policy.tenants["acme"].keys[key_id].hashes().collect()
}

#[test]
fn a_made_key_has_its_settings_and_a_secret_of_32_characters() {
    let (base, mut keyring) = (base(), Keyring::default());
    let settings = r#"{"rate_per_minute": 5, "prepaid": {"opening_balance": 0.1}}"#;

    let made = keyring.create(&base, ("acme", "batch"), settings, ("ann", NOW)).unwrap();

    assert_eq!(made.secret.expose().len(), 32);
    keyring.take(made.records);
    let (policy, left_out) = keyring.overlay(&base, NOW);
    assert!(left_out.is_empty());
    let key = &policy.tenants["acme"].keys["batch"];
    assert_eq!(key.hash, made.secret.sha256());
    assert_eq!(key.limits.rate.unwrap().per_minute, 5);
    let opening = key.limits.prepaid.unwrap().opening_balance;
    assert_eq!(opening, crate::domain::money::Money::from_micros(100_000));
}

#[test]
fn what_cannot_be_made_is_refused_with_a_reason() {
    let (base, mut keyring) = (base(), Keyring::default());
    let refused = |keyring: &Keyring, key, settings| {
        keyring.create(&base, key, settings, ("", NOW)).unwrap_err().to_string()
    };
    assert!(refused(&keyring, ("nobody", "a"), "{}").contains("no tenant `nobody`"));
    assert!(refused(&keyring, ("acme", "a b"), "{}").contains("id"));
    assert!(refused(&keyring, KEY, "{}").contains("another id"));
    assert!(refused(&keyring, ("acme", "account_key"), "{}").contains("real key"));
    for (settings, word) in [
        (r#"{"rate": 5}"#, "rate_per_minute"),
        (r#"{"rate_per_minute": 0}"#, "at least 1"),
        (r#"{"key": "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c"}"#, "key"),
        (r#"["a"]"#, "mapping"),
    ] {
        let text = refused(&keyring, ("acme", "a"), settings);
        assert!(text.contains(word), "{settings}: {text}");
    }
    let made = keyring.create(&base, ("acme", "a"), "{}", ("", NOW)).unwrap();
    keyring.take(made.records);
    assert!(refused(&keyring, ("acme", "a"), "{}").contains("another id"));
}

#[test]
fn a_reroll_keeps_the_old_secret_for_the_overlap() {
    let (base, mut keyring) = (base(), Keyring::default());
    let overlap = Duration::from_mins(1);
    let made = keyring.reroll(&base, KEY, overlap, ("bob", NOW)).unwrap();
    keyring.take(made.records);

    let (during, _) = keyring.overlay(&base, NOW);
    let (after, _) = keyring.overlay(&base, NOW + overlap);

    let both = [base.tenants["acme"].keys["prod"].hash, made.secret.sha256()];
    assert_eq!(hashes(&during, "prod"), both);
    assert_eq!(during.revoked, BTreeMap::from([(both[0], NOW + overlap)]));
    assert_eq!(after.revoked, BTreeMap::from([(both[0], Wall::MIN)]));
    let again = keyring.reroll(&base, KEY, overlap * 2, ("bob", NOW)).unwrap();
    let ends: Vec<_> = again.records.iter().map(|record| record.revoked_at).collect();
    assert_eq!(ends, [Some(NOW + overlap), Some(NOW + overlap * 2), None], "ends never move out");
}

#[test]
fn a_revocation_ends_every_secret_of_that_key_and_no_other() {
    let (base, mut keyring) = (base(), Keyring::default());
    let other = keyring.create(&base, ("acme", "batch"), "{}", ("", NOW)).unwrap();
    keyring.take(other.records);
    let made = keyring.reroll(&base, KEY, OVERLAP_MAX, ("", NOW)).unwrap();
    keyring.take(made.records);

    keyring.take(keyring.revoke(&base, KEY, ("leaked", NOW)).unwrap());

    let (policy, _) = keyring.overlay(&base, NOW);
    assert!(hashes(&policy, "prod").iter().all(|hash| policy.revoked.contains_key(hash)));
    assert!(!policy.revoked.contains_key(&other.secret.sha256()));
    let again = keyring.reroll(&base, KEY, Duration::ZERO, ("", NOW)).unwrap_err();
    assert!(matches!(again, KeyError::Revoked { .. }));
    let listed = keyring.list(&base, "acme").unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1].note, "leaked");
    assert!(listed[1].secrets.iter().all(|secret| secret.revoked_at == Some(NOW)));
}

#[test]
fn taking_a_key_back_again_changes_nothing() {
    let (base, mut keyring) = (base(), Keyring::default());
    keyring.take(keyring.revoke(&base, KEY, ("leaked", NOW)).unwrap());
    let later = NOW + Duration::from_mins(1);

    let again = keyring.revoke(&base, KEY, ("again", later)).unwrap();

    assert_eq!(again.len(), 1);
    assert_eq!((again[0].revoked_at, again[0].note.as_str()), (Some(NOW), "leaked"));
    let nobody = keyring.revoke(&base, ("acme", "nokey"), ("", NOW)).unwrap_err();
    assert!(matches!(nobody, KeyError::NoKey { .. }));
}

#[test]
fn what_is_undone_leaves_the_old_secret_good_and_the_new_one_refused() {
    let (base, mut keyring) = (base(), Keyring::default());
    let key = keyring.create(&base, ("acme", "batch"), "{}", ("", NOW)).unwrap();
    keyring.take(key.records);
    let second = keyring.create(&base, ("acme", "late"), "{}", ("", NOW)).unwrap();
    let rerolled = [KEY, ("acme", "batch")]
        .map(|key| keyring.reroll(&base, key, Duration::ZERO, ("", NOW)).unwrap());
    for made in [second].into_iter().chain(rerolled) {
        // Written in the end, one after the other.
        keyring.take(made.records);
        keyring.take(made.undo);
        assert!(keyring.refused(&base, NOW).contains(&made.secret.sha256()));
    }

    let (policy, _) = keyring.overlay(&base, NOW);

    let good = |key_id| hashes(&policy, key_id).iter().any(|it| !policy.revoked.contains_key(it));
    assert_eq!(["prod", "batch", "late"].map(good), [true, true, false]);
}

#[test]
fn keys_of_a_tenant_that_left_the_config_are_left_out_and_come_back_with_it() {
    let (base, mut keyring) = (base(), Keyring::default());
    keyring.take(keyring.create(&base, ("acme", "batch"), "{}", ("", NOW)).unwrap().records);
    let mut without = base.clone();
    without.tenants.clear();

    let (policy, left_out) = keyring.overlay(&without, NOW);

    assert!(policy.tenants.is_empty());
    assert_eq!(left_out, ["key acme/batch: its tenant is not in the config"]);
    assert!(keyring.overlay(&base, NOW).0.tenants["acme"].keys.contains_key("batch"));
}

#[test]
fn a_clock_that_goes_back_revives_no_secret() {
    let (base, mut keyring) = (base(), Keyring::default());
    let first = base.tenants["acme"].keys["prod"].hash;
    let overlap = Duration::from_mins(1);
    let made = keyring.reroll(&base, KEY, overlap, ("", NOW)).unwrap();
    let batch = keyring.create(&base, ("acme", "batch"), "{}", ("", NOW)).unwrap();
    keyring.take(made.records);
    keyring.take(batch.records);

    assert_eq!(keyring.refused(&base, NOW), BTreeSet::new());
    assert_eq!(keyring.refused(&base, NOW + overlap), BTreeSet::from([first]));
    assert_eq!(keyring.refused(&base, NOW), BTreeSet::from([first]), "its end has come once");

    let later = NOW + overlap * 2;
    let revoked = keyring.revoke(&base, ("acme", "batch"), ("leaked", later)).unwrap();
    keyring.take(revoked);
    keyring.take(keyring.revoke(&base, KEY, ("leaked", later)).unwrap());
    // As after a restart: nothing is known but what is on record.
    let mut keyring = Keyring::new(keyring.by_age().cloned().collect());
    let all = BTreeSet::from([first, made.secret.sha256(), batch.secret.sha256()]);
    assert_eq!(keyring.refused(&base, NOW), all);
    for key in [KEY, ("acme", "batch")] {
        let again = keyring.reroll(&base, key, overlap, ("", NOW)).unwrap_err();
        assert!(matches!(again, KeyError::Revoked { .. }), "{again}");
    }
}

#[test]
fn a_secret_that_the_config_has_no_more_is_refused_before_its_overlap_is_over() {
    let (mut base, mut keyring) = (base(), Keyring::default());
    let first = base.tenants["acme"].keys["prod"].hash;
    let made = keyring.reroll(&base, KEY, OVERLAP_MAX, ("", NOW)).unwrap();
    keyring.take(made.records);
    let tenant = Arc::make_mut(base.tenants.get_mut("acme").unwrap());
    tenant.keys.get_mut("prod").unwrap().hash = KeyHash([7; 32]);

    let (policy, _) = keyring.overlay(&base, NOW);

    assert_eq!(policy.revoked, BTreeMap::from([(first, Wall::MIN)]));
}

#[test]
fn a_secret_that_was_replaced_at_once_stays_refused_over_a_restart_with_the_clock_behind() {
    let (base, mut keyring) = (base(), Keyring::default());
    let first = base.tenants["acme"].keys["prod"].hash;
    let overlap = Duration::from_mins(1);
    let second = keyring.reroll(&base, KEY, overlap, ("", NOW)).unwrap();
    keyring.take(second.records);
    assert_eq!(keyring.refused(&base, NOW), BTreeSet::new(), "within the overlap");
    let third = keyring.reroll(&base, KEY, Duration::ZERO, ("leaked", NOW + overlap / 2)).unwrap();
    keyring.take(third.records);

    let mut keyring = Keyring::new(keyring.by_age().cloned().collect());

    let replaced = BTreeSet::from([first, second.secret.sha256()]);
    assert_eq!(keyring.refused(&base, Wall(NOW.0 - 1)), replaced);
}

#[test]
fn a_reroll_while_the_clock_was_ahead_shortens_no_later_overlap() {
    let (base, mut keyring) = (base(), Keyring::default());
    let overlap = Duration::from_mins(1);
    let ahead = NOW + overlap * 60;
    keyring.take(keyring.reroll(&base, KEY, overlap, ("", ahead)).unwrap().records);
    keyring.take(keyring.reroll(&base, KEY, overlap, ("", NOW)).unwrap().records);

    assert_eq!(keyring.refused(&base, NOW), BTreeSet::new());
}
