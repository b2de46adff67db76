//! The engine's clock, and random numbers for its ids.

use strata_bond::Time;
use tokio::time::Instant;

/// Counts from its own start, monotonically; tokio's time, so that tests may pause it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// When the engine's `time` is, for timers.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.0 + time.since(Time::ZERO)
    }
}

/// A random number from the operating system.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system provides random numbers");
    u64::from_ne_bytes(bytes)
}
