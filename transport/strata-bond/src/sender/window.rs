//! How many bytes may be in flight on a link.
//!
//! The window grows only while it is the limit and the queue is short, shrinks in
//! proportion when the queue is long, and never below what the link delivers times
//! its round trip and a little. Random loss does not shrink it; loss beyond what
//! radios do, while the window is the limit, does.

use std::time::Duration;

use crate::Time;
use crate::time::micros;

/// A packet, in bytes, for windows.
pub(super) const PACKET: u64 = 1400;
/// Before anything is known: more than QUIC's ten, little enough not to fill the queue of a slow link.
const INITIAL: u64 = 20 * PACKET;
/// The most with which a link begins that was there before.
const RESTART_MOST: u64 = 40 * PACKET;
/// Fewer make it impossible to see a gap.
const LEAST: u64 = 4 * PACKET;
/// The delay in queues that is aimed at.
const QUEUE_TARGET: Duration = Duration::from_millis(40);
/// The delay in queues that shrinks the window.
const QUEUE_LIMIT: Duration = Duration::from_millis(60);
/// The delay in queues that ends the doubling at the start.
const QUEUE_START: Duration = Duration::from_millis(25);
/// Loss while the window is the limit that shrinks it: shapers that drop instead of queueing.
pub(super) const LOSS_LIMIT_PERCENT: u64 = 15;
/// More than this can not be of use: 1 Gbit/s over 500 ms.
const MOST: u64 = 64 << 20;

/// What a report said about a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) acknowledged: u64,
    pub(super) lost: u64,
    /// Bytes in flight before the report.
    pub(super) in_flight: u64,
    /// Whether the window was the limit before the report.
    pub(super) limited: bool,
    /// Whether at least half of the window was used: otherwise a queue is not of its making.
    pub(super) busy: bool,
    pub(super) queue: Duration,
    pub(super) least_rtt: Duration,
    /// What jitter adds to delays.
    pub(super) noise: Duration,
    pub(super) smoothed_rtt: Duration,
    /// Bytes per second delivered lately.
    pub(super) delivered: u64,
    /// Bytes per second that the link is known to carry; 0 if unknown.
    pub(super) capacity: u64,
}

/// A link's window.
#[derive(Debug)]
pub(super) struct Window {
    bytes: u64,
    doubling: bool,
    shrunk: Time,
    /// Since the last decision about loss.
    acknowledged: u64,
    lost: u64,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { bytes: INITIAL, doubling: true, shrunk: Time::ZERO, acknowledged: 0, lost: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The link came back: half of what it had, doubling from there.
    pub(super) fn restart(&mut self) {
        self.bytes = (self.bytes / 2).clamp(INITIAL, RESTART_MOST);
        self.doubling = true;
    }

    /// The link carries `rate` bytes per second, as a train shows: the window grows to what that takes, by no more than
    /// its own size, and is no larger than twice of it before packets of the stream have shown more.
    pub(super) fn measured(&mut self, rate: u64, least_rtt: Duration, noise: Duration) {
        let takes = rate.saturating_mul(micros(least_rtt + noise + QUEUE_TARGET)) / 1_000_000;
        self.bytes = self.bytes.max((takes * 8 / 10).min(self.bytes * 2)).min(MOST);
        if self.doubling {
            self.bytes = self.bytes.min((takes * 2).max(LEAST));
        }
    }

    pub(super) fn on_report(&mut self, now: Time, progress: &Progress) {
        self.acknowledged += progress.acknowledged;
        self.lost += progress.lost;
        let floor = floor(progress);
        let lossy = self.lossy(progress);
        let long = progress.busy && progress.queue > QUEUE_LIMIT;
        if progress.queue > QUEUE_LIMIT && !progress.busy {
            // A queue of whoever made it: what the window allows beyond what is used would only make it longer.
            self.bytes = self.bytes.min(progress.in_flight * 2);
        }
        if (long || lossy) && now.since(self.shrunk) > progress.smoothed_rtt {
            self.doubling = false;
            self.shrunk = now;
            self.bytes = if lossy { self.bytes * 7 / 8 } else { shrink(self.bytes, progress) };
        } else if progress.limited && progress.queue < QUEUE_TARGET {
            self.grow(progress);
        }
        self.bytes = self.bytes.max(floor).min(MOST);
    }

    fn grow(&mut self, progress: &Progress) {
        self.doubling &= progress.queue < QUEUE_START;
        let spare = micros(QUEUE_TARGET - progress.queue);
        let share = if self.doubling { 100 } else { 50 * spare / micros(QUEUE_TARGET) };
        // Reports of a queue come late: no more than half above what was ever delivered. While doubling, what is
        // known of that is a round trip old as well.
        let beyond = if self.doubling { 6 } else { 3 };
        let proven = match progress.capacity {
            0 => MOST,
            capacity => (in_flight_of(capacity, progress) * beyond / 2).max(INITIAL),
        };
        self.bytes = (self.bytes + progress.acknowledged * share / 100).min(proven.max(self.bytes));
    }

    /// Judges loss over about one window of packets at a time.
    fn lossy(&mut self, progress: &Progress) -> bool {
        if self.acknowledged + self.lost < self.bytes.max(50 * PACKET) {
            return false;
        }
        let lossy = progress.limited && self.lost * 100 > (self.acknowledged + self.lost) * LOSS_LIMIT_PERCENT;
        (self.acknowledged, self.lost) = (0, 0);
        lossy
    }
}

/// What the link delivers times its round trip and the queue aimed at, and a little more: jitter that reads as a queue
/// must not keep it small for ever.
fn floor(progress: &Progress) -> u64 {
    (in_flight_of(progress.delivered, progress) * 11 / 10).max(LEAST)
}

/// What is in flight at a rate, with the queue aimed at.
fn in_flight_of(rate: u64, progress: &Progress) -> u64 {
    rate.saturating_mul(micros(progress.least_rtt + progress.noise + QUEUE_TARGET)) / 1_000_000
}

/// Takes out what stands in the queue beyond the target.
fn shrink(bytes: u64, progress: &Progress) -> u64 {
    let (least, queue) = (micros(progress.least_rtt + progress.noise), micros(progress.queue));
    let aim = least + micros(QUEUE_TARGET);
    bytes.saturating_mul(aim) / (least + queue).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn progress(limited: bool, queue_ms: u32, delivered: u64) -> Progress {
        Progress {
            acknowledged: 10 * PACKET,
            lost: 0,
            in_flight: if limited { INITIAL } else { 3 * PACKET },
            limited,
            busy: limited,
            queue: MS * queue_ms,
            least_rtt: MS * 50,
            noise: Duration::ZERO,
            smoothed_rtt: MS * 60,
            delivered,
            capacity: 0,
        }
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn a_window_that_is_not_the_limit_does_not_grow() {
        let mut window = Window::new();
        window.on_report(at(100), &progress(false, 0, 0));
        assert_eq!(window.bytes(), INITIAL);
    }

    #[test]
    fn it_doubles_at_first_and_creeps_near_the_target() {
        let mut window = Window::new();
        window.on_report(at(100), &progress(true, 0, 0));
        assert_eq!(window.bytes(), INITIAL + 10 * PACKET);
        window.on_report(at(200), &progress(true, 30, 0));
        let before = window.bytes();
        window.on_report(at(300), &progress(true, 30, 0));
        assert!(window.bytes() - before < 2 * PACKET, "{}", window.bytes() - before);
    }

    #[test]
    fn a_long_queue_shrinks_it_once_a_round_trip_and_never_below_what_is_delivered() {
        let mut window = Window::new();
        window.on_report(at(100), &progress(true, 200, 375_000));
        assert_eq!(window.bytes(), 375_000 * 90 / 1000 * 11 / 10);
        window.on_report(at(110), &progress(true, 200, 375_000));
        assert_eq!(window.bytes(), 375_000 * 90 / 1000 * 11 / 10);
    }

    #[test]
    fn a_queue_of_others_leaves_twice_of_what_is_used() {
        let mut window = Window::new();
        window.on_report(at(100), &progress(false, 200, 0));
        assert_eq!(window.bytes(), 6 * PACKET);
    }

    #[test]
    fn two_percent_of_loss_does_nothing_forty_do() {
        let mut window = Window::new();
        for ms in 1..20 {
            window.on_report(at(ms * 100), &Progress { lost: 300, ..progress(true, 45, 0) });
        }
        assert_eq!(window.bytes(), INITIAL);
        for ms in 20..40 {
            window.on_report(at(ms * 100), &Progress { lost: 8 * PACKET, ..progress(true, 45, 0) });
        }
        assert!(window.bytes() < INITIAL / 2, "{}", window.bytes());
    }
}
