//! Why a submission was not admitted: one closed list, with what the caller needs to explain it.

use std::time::Duration;

/// Why a request is refused. The label is the `reason` of metrics and of `X-Solvegate-Reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the labels are the contract; the admission order explains them")]
pub enum Reason {
    UnknownKey,
    RevokedKey,
    ExpiredKey,
    IpDenied,
    TypeDenied,
    InFlight,
    Rate,
    DailyLimit,
    SpendCap,
    InsufficientBalance,
    ErrorBudget,
    AccountUnavailable,
    UpstreamUnavailable,
    StoreUnavailable,
    Malformed,
    TooLarge,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::UnknownKey,
        Self::RevokedKey,
        Self::ExpiredKey,
        Self::IpDenied,
        Self::TypeDenied,
        Self::InFlight,
        Self::Rate,
        Self::DailyLimit,
        Self::SpendCap,
        Self::InsufficientBalance,
        Self::ErrorBudget,
        Self::AccountUnavailable,
        Self::UpstreamUnavailable,
        Self::StoreUnavailable,
        Self::Malformed,
        Self::TooLarge,
    ];

    /// The name used in metrics and headers.
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::RevokedKey => "revoked_key",
            Self::ExpiredKey => "expired_key",
            Self::IpDenied => "ip_denied",
            Self::TypeDenied => "type_denied",
            Self::InFlight => "in_flight",
            Self::Rate => "rate",
            Self::DailyLimit => "daily_limit",
            Self::SpendCap => "spend_cap",
            Self::InsufficientBalance => "insufficient_balance",
            Self::ErrorBudget => "error_budget",
            Self::AccountUnavailable => "account_unavailable",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::StoreUnavailable => "store_unavailable",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
        }
    }
}

/// What a client's `threadsinfo` must agree with for a while after a rejection: the official SDK reads
/// free threads after `ERROR_ZERO_BALANCE` as a lapsed plan and gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All threads are taken: back off and try again.
    Busy,
    /// Threads are free, money or quota is not: give up at once.
    Spent,
}

/// A refused request: the reason, a sentence for people, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The closed-list reason.
    pub reason: Reason,
    /// One sentence with the limit and its value; never a key, never another tenant's figure.
    pub text: String,
    /// When the same request may succeed; `None` when waiting does not help or the time is unknown.
    pub retry_after: Option<Duration>,
    /// What `threadsinfo` must show for the next 5 s, for the reasons that the SDK asks about.
    pub verdict: Option<Verdict>,
}
