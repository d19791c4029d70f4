//! The words of closed lists, for reading and for showing.

use super::{Durability, LogFormat, LogUrls, NotifyEvent, NotifyFormat};
use crate::domain::outcome::Outcome;
use crate::domain::policy::{Charge, Overdraft, Priority, RejectionForm, Status};

pub(super) const REJECTIONS: &[(&str, RejectionForm)] =
    &[("provider", RejectionForm::Provider), ("http", RejectionForm::Http)];

pub(super) const CHARGES: &[(&str, Charge)] =
    &[("delivered", Charge::Delivered), ("solved", Charge::Solved)];

pub(super) const OVERDRAFTS: &[(&str, Overdraft)] =
    &[("none", Overdraft::None), ("in_flight", Overdraft::InFlight)];

pub(super) const PRIORITIES: &[(&str, Priority)] = &[
    ("critical", Priority::Critical),
    ("normal", Priority::Normal),
    ("background", Priority::Background),
];

/// `healthy` is left out: a rule that acts on it would always act.
pub(super) const STATUSES: &[(&str, Status)] = &[
    ("warning", Status::Warning),
    ("critical", Status::Critical),
    ("exhausted", Status::Exhausted),
];

/// `solved` is left out: an error code must not make money.
pub(super) const ERROR_OUTCOMES: &[(&str, Outcome)] = &[
    ("unsolvable", Outcome::Unsolvable),
    ("provider_error", Outcome::ProviderError),
    ("timeout", Outcome::Timeout),
    ("client_error", Outcome::ClientError),
    ("account_error", Outcome::AccountError),
    ("capacity", Outcome::Capacity),
];

pub(super) const DURABILITIES: &[(&str, Durability)] =
    &[("process", Durability::Process), ("power", Durability::Power)];

pub(super) const LOG_FORMATS: &[(&str, LogFormat)] =
    &[("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(super) const LOG_URLS: &[(&str, LogUrls)] =
    &[("host", LogUrls::Host), ("whole", LogUrls::Whole), ("none", LogUrls::None)];

pub(super) const NOTIFY_FORMATS: &[(&str, NotifyFormat)] = &[
    ("json", NotifyFormat::Json),
    ("slack", NotifyFormat::Slack),
    ("discord", NotifyFormat::Discord),
];

pub(super) const NOTIFY_EVENTS: &[(&str, NotifyEvent)] = &[
    ("slo_status", NotifyEvent::SloStatus),
    ("low_balance", NotifyEvent::LowBalance),
    ("allocation", NotifyEvent::Allocation),
    ("account", NotifyEvent::Account),
];

/// The word for a value; every value that a config can hold has one.
pub(super) fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, candidate)| candidate == value).map_or("", |(word, _)| word)
}
