//! An end's clock: where it began and how fast its crystal is.

use std::time::Duration;

use strata_bond::Time;

/// Parts of a million.
const MILLION: i128 = 1_000_000;

/// A clock that counts from a start of its own, and not quite as fast as time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    /// What it shows when the simulation begins.
    pub start: Duration,
    /// How much faster than time it runs, in parts per million; crystals are within ±100.
    pub drift_ppm: i32,
}

impl Clock {
    /// What it shows at a simulated moment.
    #[must_use]
    pub fn at(self, now: Time) -> Time {
        let passed = i128::from(now.as_micros()) * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        Time::ZERO + self.start + Duration::from_micros(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// The first simulated moment at which it shows `shown` or more.
    #[must_use]
    pub fn when(self, shown: Time) -> Time {
        let passed = micros(shown.since(Time::ZERO + self.start));
        let speed = MILLION + i128::from(self.drift_ppm);
        let now = (passed * MILLION + speed - 1) / speed;
        Time::from_micros(u64::try_from(now).unwrap_or(u64::MAX))
    }
}

fn micros(duration: Duration) -> i128 {
    i128::try_from(duration.as_micros()).unwrap_or(i128::MAX / MILLION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_shows_more_and_its_moments_come_sooner() {
        let fast = Clock { start: Duration::from_secs(7), drift_ppm: 100 };
        assert_eq!(fast.at(Time::from_micros(10_000_000)), Time::from_micros(17_001_000));
        assert_eq!(fast.when(Time::from_micros(17_001_000)), Time::from_micros(10_000_000));
    }

    #[test]
    fn the_moment_is_the_first_at_which_the_clock_shows_it() {
        for drift_ppm in [-100, -7, 0, 3, 100] {
            let clock = Clock { start: Duration::from_micros(5), drift_ppm };
            for shown in (5..200_000).step_by(777).map(Time::from_micros) {
                let when = clock.when(shown);
                assert!(
                    clock.at(when) >= shown
                        && (when == Time::ZERO || clock.at(when - Duration::from_micros(1)) < shown)
                );
            }
        }
    }
}
