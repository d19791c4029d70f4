//! What a reload changes, for the log: keys with their old and new values, secrets masked.

use serde_json::Value;

use super::{Config, view};

/// The keys whose values differ, in the order of the file: `tenants.acme.daily_limit: 100 -> 200`.
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut found = Vec::new();
    compare("", &view(old), &view(new), &mut found);
    // A view masks secrets, so that a changed one looks the same.
    for (name, key) in &new.account_keys {
        if old.account_keys.get(name).is_some_and(|before| before != key) {
            found.push(format!("accounts.{name}.key: another key"));
        }
    }
    found
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        if old != new {
            found.push(format!("{path}: {} -> {}", shown(old), shown(new)));
        }
        return;
    };
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, value) in before {
        compare(&below(key), value, after.get(key).unwrap_or(&Value::Null), found);
    }
    for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        compare(&below(key), &Value::Null, value, found);
    }
}

/// A whole section that came or went is named, not printed.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(_) => "set".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        crate::config::parse("a.yaml", text, Path::new("/"), &|_| None).unwrap()
    }

    #[test]
    fn changes_are_named_with_both_values_and_secrets_are_not() {
        let old = config(
            "accounts: { main: { key: old0old0old0old0old0old0old0old0 } }\n\
             tenants: { acme: { daily_limit: 100 }, gone: {} }\n",
        );
        let new = config(
            "accounts: { main: { key: new0new0new0new0new0new0new0new0 } }\n\
             tenants: { acme: { daily_limit: 200, in_flight_max: 3 }, zen: {} }\n",
        );

        let changes = changes(&old, &new);

        let expected = [
            "tenants.acme.daily_limit: 100 -> 200",
            "tenants.acme.in_flight_max: none -> 3",
            "tenants.gone: set -> none",
            "tenants.zen: none -> set",
            "accounts.main.key: another key",
        ];
        assert_eq!(changes, expected);
        assert!(super::changes(&new, &new).is_empty());
    }
}
