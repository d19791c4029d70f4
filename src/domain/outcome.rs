//! How a solve ended, and what that counts as.

/// How a solve ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The provider delivered an answer.
    Solved,
    /// The provider gave up.
    Unsolvable,
    /// The provider failed: its error, an unreadable answer, a dead connection.
    ProviderError,
    /// Not terminal by the type's deadline.
    Timeout,
    /// The client's request, proxy or page was at fault.
    ClientError,
    /// The account or its key at the provider was at fault.
    AccountError,
    /// The provider had no free worker or throttled us.
    Capacity,
}

/// What an outcome counts as for the SLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SliEvent {
    /// Within the objective.
    Good,
    /// Burns error budget.
    Bad,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Solved,
        Self::Unsolvable,
        Self::ProviderError,
        Self::Timeout,
        Self::ClientError,
        Self::AccountError,
        Self::Capacity,
    ];

    /// The name used in metrics, the store and `error_classes:`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Solved => "solved",
            Self::Unsolvable => "unsolvable",
            Self::ProviderError => "provider_error",
            Self::Timeout => "timeout",
            Self::ClientError => "client_error",
            Self::AccountError => "account_error",
            Self::Capacity => "capacity",
        }
    }

    /// The outcome of that [`label`](Self::label).
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.label() == label)
    }

    /// `None` when the outcome is no SLI event (the client's, the account's or the plan's doing).
    pub const fn sli_event(self) -> Option<SliEvent> {
        match self {
            Self::Solved => Some(SliEvent::Good),
            Self::Unsolvable | Self::ProviderError | Self::Timeout => Some(SliEvent::Bad),
            Self::ClientError | Self::AccountError | Self::Capacity => None,
        }
    }
}
