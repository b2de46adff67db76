//! How often the daemon looks and tries again; shorter in tests, which have no minutes to wait.

use std::time::Duration;

/// Three intervals, chosen so that an idle device is left in peace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Between two looks whether something is so now: a file, a stream's end.
    pub look: Duration,
    /// Between two tries of what failed: RAUC and logind may still be starting.
    pub retry: Duration,
    /// Between two tries of what failed several times already.
    pub slow: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { look: Duration::from_secs(2), retry: Duration::from_secs(5), slow: Duration::from_secs(30) }
    }
}
