//! Limits failed attempts: after some failures a key (an address, an e-mail address) has to wait, longer each time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Keys kept at most; whoever makes up more keys than this only loses count of the oldest.
const MAX_KEYS: usize = 10_000;

/// When to make whom wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThrottlePolicy {
    /// Failures before the first wait.
    pub(crate) free: u32,
    /// The first wait; doubled with each further failure.
    pub(crate) first_wait: Duration,
    /// The longest wait; a key that was quiet for this long starts afresh.
    pub(crate) longest_wait: Duration,
}

#[derive(Debug)]
struct Entry {
    failures: u32,
    last: Instant,
}

/// Counts attempts per key.
#[derive(Debug)]
pub(crate) struct Throttle {
    policy: ThrottlePolicy,
    entries: HashMap<String, Entry>,
}

impl Throttle {
    pub(crate) fn new(policy: ThrottlePolicy) -> Self {
        Self { policy, entries: HashMap::new() }
    }

    /// Counts an attempt as failed until [`succeeded`](Self::succeeded), so that parallel attempts count too.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn attempt(&mut self, key: &str, now: Instant) -> Result<(), Duration> {
        self.forget_old(now);
        let policy = self.policy;
        let entry = self.entries.entry(key.to_owned()).or_insert(Entry { failures: 0, last: now });
        let wait = policy.wait_after(entry.failures).saturating_sub(now.saturating_duration_since(entry.last));
        if !wait.is_zero() {
            return Err(wait);
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.last = now;
        Ok(())
    }

    /// The last attempt was good: the key starts afresh.
    pub(crate) fn succeeded(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn forget_old(&mut self, now: Instant) {
        if self.entries.len() < MAX_KEYS {
            return;
        }
        let longest = self.policy.longest_wait;
        self.entries.retain(|_, entry| now.saturating_duration_since(entry.last) < longest);
        while self.entries.len() >= MAX_KEYS {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.last).map(|(key, _)| key.clone())
            else {
                return;
            };
            self.entries.remove(&oldest);
        }
    }
}

impl ThrottlePolicy {
    fn wait_after(self, failures: u32) -> Duration {
        match failures.checked_sub(self.free) {
            None => Duration::ZERO,
            Some(extra) => self.first_wait.saturating_mul(1 << extra.min(16)).min(self.longest_wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: ThrottlePolicy =
        ThrottlePolicy { free: 3, first_wait: Duration::from_secs(10), longest_wait: Duration::from_secs(60) };

    #[test]
    fn failures_make_wait_longer_each_time_and_success_clears() {
        let (mut throttle, start) = (Throttle::new(POLICY), Instant::now());
        for _ in 0..3 {
            assert_eq!(throttle.attempt("a", start), Ok(()));
        }
        assert_eq!(throttle.attempt("a", start), Err(Duration::from_secs(10)));
        assert_eq!(throttle.attempt("b", start), Ok(()), "another key is not concerned");
        let later = start + Duration::from_secs(10);
        assert_eq!(throttle.attempt("a", later), Ok(()));
        assert_eq!(throttle.attempt("a", later), Err(Duration::from_secs(20)));
        throttle.succeeded("a");
        assert_eq!(throttle.attempt("a", later), Ok(()));
    }

    #[test]
    fn the_wait_and_the_memory_are_bounded() {
        let (mut throttle, start) = (Throttle::new(POLICY), Instant::now());
        let mut now = start;
        for _ in 0..40 {
            if let Err(wait) = throttle.attempt("a", now) {
                assert!(wait <= Duration::from_secs(60));
                now += wait;
            }
        }
        for number in 0..MAX_KEYS + 50 {
            assert_eq!(throttle.attempt(&number.to_string(), now), Ok(()));
        }
        assert!(throttle.entries.len() <= MAX_KEYS);
    }
}
