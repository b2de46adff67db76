//! Time as the engine knows it: microseconds since a moment its caller chose.
//!
//! The engine never asks for the time; each input carries it. Both ends have an
//! epoch of their own, and only differences within one end are ever compared
//! without the clock offset that the receiver keeps.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment, in microseconds since the caller's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The epoch itself.
    pub const ZERO: Self = Self(0);
    /// Later than any moment that comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `micros` after the epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This moment as a signed number of microseconds, for differences between two clocks.
    #[must_use]
    pub(crate) const fn signed(self) -> i64 {
        self.0.cast_signed()
    }

    /// The moment at a signed number of microseconds; before the epoch counts as the epoch.
    #[must_use]
    pub(crate) const fn from_signed(micros: i64) -> Self {
        Self(if micros < 0 { 0 } else { micros.cast_unsigned() })
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

/// A duration in whole microseconds; durations beyond 584,000 years count as that.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in milliseconds with its fraction, for people.
pub(crate) fn millis_f64(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}
