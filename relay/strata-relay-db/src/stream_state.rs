use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a stream is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// A person asked for it; its worker is not ready yet.
    Requested,
    /// The worker receives; the device is told; no picture yet.
    Starting,
    /// Media arrives.
    Live,
    /// A person asked for its end; device or worker still run.
    Stopping,
    /// Over, as somebody wanted.
    Ended,
    /// Over, and nobody wanted it.
    Failed,
}

impl StreamState {
    /// All of them, in the order of a stream's life.
    pub const ALL: [Self; 6] = [Self::Requested, Self::Starting, Self::Live, Self::Stopping, Self::Ended, Self::Failed];

    /// Its name, as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Starting => "starting",
            Self::Live => "live",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Failed)
    }
}

impl fmt::Display for StreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("“{0}” is not a stream state")]
pub struct ParseStreamStateError(String);

impl FromStr for StreamState {
    type Err = ParseStreamStateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| ParseStreamStateError(text.to_owned()))
    }
}
