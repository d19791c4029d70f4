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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::captcha_type::CaptchaType;
    use crate::domain::notice::{Allocation, Why};
    use crate::domain::slo::SloKind;

    const AT: Wall = Wall(1_779_019_200_500);

    fn notice(topic: Topic, (old, new): (Level, Level), figures: Figures) -> Notice {
        Notice { topic, old, new, figures, at: AT }
    }

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn usd(text: &str) -> Money {
        text.parse().unwrap()
    }

    /// What it reads as JSON, besides time and text.
    fn fields_of(topic: Topic, levels: (Level, Level), figures: Figures) -> Value {
        let notice = notice(topic, levels, figures);
        let mut body = parsed(&of_notice(&notice, NotifyFormat::Json));
        let fields = body.as_object_mut().unwrap();
        assert_eq!(fields.remove("at"), Some(json!("2026-05-17T12:00:00.500Z")));
        assert_eq!(fields.remove("text"), Some(json!(notice.to_string())));
        body
    }

    #[test]
    fn as_json_budgets_and_balances_have_their_fields() {
        let status = Topic::SloStatus(CaptchaType::Turnstile, SloKind::Success);
        let figures = Figures::Budget { remaining_ratio: 0.25 };
        assert_eq!(
            fields_of(status, (Level::Fine, Level::Warning), figures),
            json!({ "event": "slo_status", "captcha_type": "turnstile", "slo": "success",
                "old": "healthy", "new": "warning", "remaining_ratio": 0.25 })
        );
        let low = |topic, threshold| {
            let figures = Figures::Balance { balance: usd("4"), threshold };
            fields_of(topic, (Level::Fine, Level::Low), figures)
        };
        let wallet = |key| Topic::Wallet { tenant: "acme".into(), key };
        assert_eq!(
            low(wallet(None), Some(usd("5"))),
            json!({ "event": "low_balance", "tenant": "acme", "balance_usd": "4.00",
                "threshold_usd": "5.00" })
        );
        assert_eq!(
            low(wallet(Some("a".into())), None),
            json!({ "event": "low_balance", "tenant": "acme", "key": "a", "balance_usd": "4.00",
                "threshold_usd": null })
        );
        assert_eq!(
            low(Topic::AccountBalance("main".into()), Some(usd("5"))),
            json!({ "event": "low_balance", "account": "main", "balance_usd": "4.00",
                "threshold_usd": "5.00" })
        );
    }

    #[test]
    fn as_json_allocations_and_accounts_have_their_fields() {
        let solves = Topic::Allocation("acme".into(), Allocation::DailyLimit);
        let figures = Figures::Solves { used: 9, limit: 9 };
        assert_eq!(
            fields_of(solves, (Level::Most, Level::Full), figures),
            json!({ "event": "allocation", "tenant": "acme", "limit": "daily_limit",
                "percent": 100, "used": 9, "of": 9 })
        );
        let spent = Topic::Allocation("acme".into(), Allocation::MonthlySpendCap);
        let figures = Figures::Spent { used: usd("8"), limit: usd("10") };
        assert_eq!(
            fields_of(spent, (Level::Fine, Level::Most), figures),
            json!({ "event": "allocation", "tenant": "acme", "limit": "monthly_spend_cap",
                "percent": 80, "used_usd": "8.00", "of_usd": "10.00" })
        );
        let account = |levels, why| {
            fields_of(Topic::Account("main".into()), levels, Figures::Account { why })
        };
        assert_eq!(
            account((Level::Fine, Level::Down), Some(Why::KeyRefused)),
            json!({ "event": "account", "account": "main", "up": false, "why": "key_refused" })
        );
        assert_eq!(
            account((Level::Down, Level::Fine), None),
            json!({ "event": "account", "account": "main", "up": true, "why": null })
        );
    }

    #[test]
    fn for_chats_it_is_a_sentence_that_pings_nobody() {
        let topic = Topic::Account("main".into());
        let down = notice(
            topic,
            (Level::Fine, Level::Down),
            Figures::Account { why: Some(Why::KeyRefused) },
        );
        let text = "Solvegate: account main is down: the provider refuses its key";

        let slack = of_notice(&down, NotifyFormat::Slack);
        let discord = of_notice(&down, NotifyFormat::Discord);

        assert_eq!(parsed(&slack), json!({ "text": text }));
        assert_eq!(
            parsed(&discord),
            json!({ "content": text, "allowed_mentions": { "parse": [] } })
        );
    }
}
