//! What a link delivers, and what it could.
//!
//! Bytes are counted when they are acknowledged and timed by the receiver's clock
//! as well as by ours: a stall that ends in a burst of acknowledgements is no
//! capacity. The capacity rises to whatever was really delivered and falls only
//! while a queue stands in the link: a source that sends little proves nothing.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;

/// Samples are taken over at least this long.
const SPAN: Duration = Duration::from_millis(200);
/// Samples older than this are forgotten.
const MEMORY: Duration = Duration::from_millis(1200);
/// How much of a lower sample is taken over per sample, while a queue stands.
const DOWN_SHARE: u64 = 8;

/// The newest packet of those acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newest {
    /// By our clock.
    pub(super) sent: Time,
    /// By the receiver's clock.
    pub(super) arrived: Time,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    newest: Newest,
    /// Our clock, when the acknowledgement came.
    seen: Time,
    /// All bytes acknowledged so far.
    bytes: u64,
}

/// Delivery of one link; all rates in bytes per second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<Sample>,
    bytes: u64,
    capacity: u64,
    delivered: u64,
}

impl Rate {
    /// Bytes were acknowledged; `queued`: a queue stood in the link all the while.
    pub(super) fn acknowledged(&mut self, now: Time, bytes: u64, newest: Newest, queued: bool) {
        self.bytes += bytes;
        self.samples.push_back(Sample { newest, seen: now, bytes: self.bytes });
        while self.samples.len() > 2 && self.samples.front().is_some_and(|first| now.since(first.seen) > MEMORY) {
            self.samples.pop_front();
        }
        let Some(rate) = self.over(SPAN) else { return };
        self.delivered = rate;
        if rate > self.capacity {
            self.capacity = rate;
        } else if queued {
            self.capacity -= (self.capacity - rate) / DOWN_SHARE;
        }
    }

    /// The rate from the newest sample that is at least `span` old to the last.
    fn over(&self, span: Duration) -> Option<u64> {
        let last = self.samples.back()?;
        let first =
            self.samples.iter().rev().find(|sample| last.newest.arrived.since(sample.newest.arrived) >= span)?;
        let elapsed = last.newest.arrived.since(first.newest.arrived).max(last.newest.sent.since(first.newest.sent));
        Some((last.bytes - first.bytes).saturating_mul(1_000_000) / crate::time::micros(elapsed).max(1))
    }

    /// What it delivered lately, by short samples.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// What it can carry as far as is known; 0 before the first sample.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// What it delivered in the last second.
    pub(super) fn last_second(&self, now: Time) -> u64 {
        self.acknowledged_within(now, Duration::from_secs(1))
    }

    /// What it delivers now, by the bytes acknowledged in the last moments; none before there was time for some.
    pub(super) fn now(&self, now: Time) -> Option<u64> {
        let known = self.samples.front().is_some_and(|first| now.since(first.seen) >= SPAN);
        known.then(|| self.acknowledged_within(now, SPAN) * 1000 / crate::time::millis(SPAN))
    }

    /// Bytes acknowledged within `span`.
    fn acknowledged_within(&self, now: Time, span: Duration) -> u64 {
        let Some(last) = self.samples.back() else { return 0 };
        let before = self.samples.iter().rev().find(|sample| now.since(sample.seen) > span);
        last.bytes - before.or_else(|| self.samples.front()).map_or(0, |before| before.bytes)
    }

    /// The link was away: what it delivered before says little.
    pub(super) fn interrupted(&mut self) {
        self.samples.clear();
        self.delivered = 0;
        self.capacity /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    /// Feeds `bytes` every 10 ms from `from` to `to`.
    fn feed(rate: &mut Rate, from: u64, to: u64, bytes: u64, queued: bool) {
        for ms in (from..to).step_by(10) {
            rate.acknowledged(at(ms), bytes, Newest { sent: at(ms), arrived: at(ms) }, queued);
        }
    }

    #[test]
    fn a_source_that_sends_less_does_not_lower_the_capacity() {
        let mut rate = Rate::default();
        feed(&mut rate, 0, 1000, 10_000, false);
        feed(&mut rate, 1000, 3000, 1_000, false);
        assert_eq!((rate.capacity(), rate.delivered()), (1_000_000, 100_000));
    }

    #[test]
    fn a_link_that_got_slower_under_a_queue_lowers_it_within_half_a_second() {
        let mut rate = Rate::default();
        feed(&mut rate, 0, 1000, 10_000, true);
        feed(&mut rate, 1000, 1500, 3_000, true);
        assert!(rate.capacity() < 400_000, "{}", rate.capacity());
    }

    #[test]
    fn a_burst_of_acknowledgements_after_a_stall_is_no_capacity() {
        let mut rate = Rate::default();
        feed(&mut rate, 0, 1000, 2_500, false);
        // A second of packets arrives within 20 ms.
        for n in 0..100 {
            let newest = Newest { sent: at(1000 + n * 10), arrived: Time::from_micros(2_000_000 + n * 200) };
            rate.acknowledged(at(2000), 2_500, newest, false);
        }
        feed(&mut rate, 2010, 3000, 2_500, false);
        assert!(rate.capacity() <= 255_000, "{}", rate.capacity());
    }
}
