//! The stream's own time: 90 kHz ticks, unwrapped from the 33 bits on the wire.

use std::time::Duration;

/// Ticks in a second.
const RATE: i64 = 90_000;
/// Timestamps on the wire wrap here, after 26.5 hours.
const WRAP: i64 = 1 << 33;

/// A point in, or a span of, the stream's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticks(pub i64);

impl Ticks {
    /// The span of a duration, rounded down.
    #[must_use]
    pub fn from_duration(duration: Duration) -> Self {
        let nanos = i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX / i128::from(RATE));
        Self(i64::try_from(nanos * i128::from(RATE) / 1_000_000_000).unwrap_or(i64::MAX))
    }

    /// The span from `earlier` to here; negative when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// As a duration; zero when negative.
    #[must_use]
    pub fn to_duration(self) -> Duration {
        let ticks = u128::try_from(self.0).unwrap_or(0);
        Duration::from_nanos(u64::try_from(ticks * 100_000 / 9).unwrap_or(u64::MAX))
    }
}

impl std::ops::Add for Ticks {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Turns 33-bit timestamps into ones that never wrap.
///
/// Each is taken as the one nearest to the last, so that wraps in both
/// directions (reordered frames around a wrap) come out right.
#[derive(Debug, Clone, Default)]
pub struct Unwrapper {
    last: Option<i64>,
}

impl Unwrapper {
    /// The unwrapped form of `raw`, of which the low 33 bits count.
    pub fn unwrap(&mut self, raw: u64) -> Ticks {
        let raw = i64::try_from(raw & 0x1_ffff_ffff).expect("33 bits fit");
        let value = match self.last {
            None => raw,
            Some(last) => {
                let step = (raw - last).rem_euclid(WRAP);
                last + if step >= WRAP / 2 { step - WRAP } else { step }
            }
        };
        self.last = Some(value);
        Ticks(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrap_is_no_jump_in_either_direction() {
        let mut unwrapper = Unwrapper::default();
        let near_end = (1u64 << 33) - 3_000;
        let first = unwrapper.unwrap(near_end);
        let second = unwrapper.unwrap(1_000);
        assert_eq!(second.since(first), Ticks(4_000));
        let back = unwrapper.unwrap(near_end + 500);
        assert_eq!(back.since(first), Ticks(500));
    }

    #[test]
    fn durations_are_exact() {
        assert_eq!(Ticks(180_000).to_duration(), Duration::from_secs(2));
        assert_eq!(Ticks(-5).to_duration(), Duration::ZERO);
        assert_eq!(Ticks::from_duration(Duration::from_millis(1_500)), Ticks(135_000));
    }
}
