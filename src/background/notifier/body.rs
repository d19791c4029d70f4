//! A notice as a webhook reads it. Nothing in it is a secret: names, figures, a sentence.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::config::NotifyFormat;
use crate::domain::money::Money;
use crate::domain::notice::{Figures, Level, Notice, Topic};
use crate::domain::time::Wall;

/// The word in the config.
pub(super) const fn format_word(format: NotifyFormat) -> &'static str {
    match format {
        NotifyFormat::Json => "json",
        NotifyFormat::Slack => "slack",
        NotifyFormat::Discord => "discord",
    }
}

pub(super) fn of_notice(notice: &Notice, format: NotifyFormat) -> String {
    in_form(format, &notice.to_string(), notice.topic.kind().label(), notice.at, fields(notice))
}

pub(super) fn of_test(format: NotifyFormat, at: Wall) -> String {
    in_form(format, "this is a test, nothing happened", "test", at, Map::new())
}

fn in_form(
    format: NotifyFormat,
    text: &str,
    event: &str,
    at: Wall,
    fields: Map<String, Value>,
) -> String {
    let sentence = format!("Solvegate: {text}");
    match format {
        NotifyFormat::Slack => json!({ "text": sentence }).to_string(),
        // Names are not to ping anybody.
        NotifyFormat::Discord => {
            json!({ "content": sentence, "allowed_mentions": { "parse": [] } }).to_string()
        }
        NotifyFormat::Json => {
            let mut body = Map::new();
            body.insert("event".to_owned(), json!(event));
            body.insert("at".to_owned(), json!(rfc3339(at)));
            body.insert("text".to_owned(), json!(text));
            body.extend(fields);
            Value::Object(body).to_string()
        }
    }
}

fn fields(notice: &Notice) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    match &notice.topic {
        Topic::SloStatus(captcha_type, slo) => {
            put("captcha_type", json!(captcha_type.label()));
            put("slo", json!(slo.label()));
            put("old", json!(notice.old.status()));
            put("new", json!(notice.new.status()));
        }
        Topic::Wallet { tenant, key } => {
            put("tenant", json!(tenant));
            if let Some(key) = key {
                put("key", json!(key));
            }
        }
        Topic::AccountBalance(account) => put("account", json!(account)),
        Topic::Allocation(tenant, allocation) => {
            put("tenant", json!(tenant));
            put("limit", json!(allocation.label()));
            put("percent", json!(if notice.new == Level::Full { 100 } else { 80 }));
        }
        Topic::Account(account) => {
            put("account", json!(account));
            put("up", json!(notice.new == Level::Fine));
        }
    }
    match notice.figures {
        Figures::Budget { remaining_ratio } => put("remaining_ratio", json!(remaining_ratio)),
        Figures::Balance { balance, threshold } => {
            put("balance_usd", usd(balance));
            put("threshold_usd", threshold.map_or(Value::Null, usd));
        }
        Figures::Solves { used, limit } => {
            put("used", json!(used));
            put("of", json!(limit));
        }
        Figures::Spent { used, limit } => {
            put("used_usd", usd(used));
            put("of_usd", usd(limit));
        }
        Figures::Account { why } => put("why", json!(why.map(crate::domain::notice::Why::label))),
    }
    fields
}

fn rfc3339(at: Wall) -> String {
    Timestamp::from_millisecond(at.0)
        .map_or_else(|_| format!("{} ms", at.0), |at| format!("{at:.3}"))
}

/// Dollars as text: a float would not be exact.
fn usd(amount: Money) -> Value {
    json!(amount.to_string())
}
