//! How long to wait before the next attempt, as a pure function.

use std::time::Duration;

/// The longest wait, in seconds.
const MAX_S: u64 = 30;

/// The wait after `failures` attempts in a row (1 or more): 1, 2, 4 … 30 s,
/// times 0.8 to 1.2 as `jitter` goes from 0 to 1, so that a relay that comes
/// back is not met by all its devices in the same second.
#[must_use]
pub fn delay(failures: u32, jitter: f64) -> Duration {
    let seconds = 1u64.checked_shl(failures.saturating_sub(1)).map_or(MAX_S, |seconds| seconds.clamp(1, MAX_S));
    Duration::from_secs(seconds).mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute() {
        for (failures, seconds) in
            [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (64, 30), (65, 30), (u32::MAX, 30)]
        {
            assert_eq!(delay(failures, 0.5), Duration::from_secs(seconds), "{failures}");
        }
    }

    #[test]
    fn jitter_spreads_by_a_fifth_each_way() {
        assert_eq!(delay(4, 0.0), Duration::from_millis(6_400));
        assert_eq!(delay(4, 1.0), Duration::from_millis(9_600));
        assert_eq!(delay(4, 7.0), delay(4, 1.0));
    }
}
