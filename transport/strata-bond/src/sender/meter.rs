//! Bytes per second over the last moments.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;

/// Bytes are gathered in buckets of this length.
const BUCKET: Duration = Duration::from_millis(20);
/// Fifty buckets: a second.
const BUCKETS: usize = 50;

/// Counts bytes over the last second.
#[derive(Debug, Default)]
pub(super) struct Meter {
    buckets: VecDeque<(Time, u64)>,
}

impl Meter {
    pub(super) fn add(&mut self, now: Time, bytes: usize) {
        match self.buckets.back_mut() {
            Some((start, sum)) if now.since(*start) < BUCKET => *sum += bytes as u64,
            _ => self.buckets.push_back((now, bytes as u64)),
        }
        if self.buckets.len() > BUCKETS + 1 {
            self.buckets.pop_front();
        }
    }

    /// Bits per second over the last `span`, at most a second.
    pub(super) fn bps(&self, now: Time, span: Duration) -> u64 {
        let bytes: u64 =
            self.buckets.iter().filter(|&&(start, _)| now.since(start) < span).map(|&(_, bytes)| bytes).sum();
        bytes * 8_000 / crate::time::millis(span).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_what_is_older_than_asked_for() {
        let mut meter = Meter::default();
        for ms in 0..1000 {
            meter.add(Time::from_micros(ms * 1000), 125);
        }
        let at = |ms: u64| Time::from_micros(ms * 1000);
        assert_eq!(meter.bps(at(999), Duration::from_secs(1)), 1_000_000);
        assert_eq!(meter.bps(at(1500), Duration::from_secs(1)), 480_000, "whole buckets");
        assert_eq!(meter.bps(at(3000), Duration::from_secs(1)), 0);
    }
}
