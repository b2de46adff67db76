//! How long to wait before a destination is tried again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Doubles from 1 to 30 s; jittered, so that many workers do not come back at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        // The clock's nanoseconds are random enough to spread retries.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
        let jitter = f64::from(nanos % 1_000) / 1_000.0;
        self.after_failure(jitter)
    }

    /// The wait with a jitter of 0 to 1: ±20 %.
    fn after_failure(&mut self, jitter: f64) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.failures.min(5)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(0.8 + 0.4 * jitter).clamp(FIRST.mul_f64(0.8), LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew_after_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.after_failure(0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.after_failure(0.5), FIRST);
        for jitter in [0.0, 1.0] {
            assert!(Backoff { failures: 40 }.after_failure(jitter) <= LONGEST);
        }
    }
}
