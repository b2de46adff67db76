//! When a datagram is released: its source's send time, plus the clock offset, plus the latency.
//!
//! Owns the estimate of the offset between the two clocks: the least
//! `arrival − send time` seen, that is, over the fastest link without a queue.
//! Before the first release it follows each better sample at once. Afterwards it
//! only creeps after the least sample of the last minute, slow enough that no
//! decoder notices, so that drifting crystals never empty or fill the buffer;
//! what is a few milliseconds too late stays so.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;

/// Samples are kept as minima over slices of this length.
const SLICE: Duration = Duration::from_secs(5);
/// How many slices: one minute.
const SLICES: usize = 12;
/// How fast the offset may move: 500 µs per second, ten times what cheap crystals drift.
const SLEW_PPM: u64 = 500;
/// Releasing by no more than this too late is left as it is: viewers gain nothing by it, and see the latency move.
const LEAVE_US: i64 = 40_000;

/// The offset between the sender's clock and ours.
#[derive(Debug)]
pub(super) struct Playout {
    offset_us: i64,
    running: bool,
    /// Creeping downwards, until the least sample is reached.
    down: bool,
    slices: VecDeque<i64>,
    slice_start: Time,
    moved: Time,
}

impl Playout {
    /// Starts with the first packet: sent at `sent` by the sender's clock.
    pub(super) fn new(now: Time, sent: Time) -> Self {
        let sample = now.signed() - sent.signed();
        let slices = VecDeque::from([sample]);
        Self { offset_us: sample, running: false, down: false, slices, slice_start: now, moved: now }
    }

    /// Takes the arrival of a packet that was not a repeat.
    pub(super) fn on_packet(&mut self, now: Time, sent: Time) {
        let sample = now.signed() - sent.signed();
        if now.since(self.slice_start) >= SLICE {
            self.slices.push_back(sample);
            self.slice_start = now;
            if self.slices.len() > SLICES {
                self.slices.pop_front();
            }
        } else if let Some(least) = self.slices.back_mut() {
            *least = sample.min(*least);
        }
        if self.running {
            self.slew(now);
        } else {
            self.offset_us = self.offset_us.min(sample);
            self.moved = now;
        }
    }

    fn slew(&mut self, now: Time) {
        let step = (crate::time::micros(now.since(self.moved)) * SLEW_PPM / 1_000_000).cast_signed();
        if step == 0 {
            return;
        }
        self.moved = now;
        let away = self.slices.iter().copied().min().map_or(0, |least| least - self.offset_us);
        self.down = away < if self.down { 0 } else { -LEAVE_US };
        let least = if self.down { -step } else { 0 };
        self.offset_us += away.clamp(least, step);
    }

    /// The first datagram goes out: from now on the offset only creeps.
    pub(super) fn start(&mut self) {
        self.running = true;
    }

    /// Receiver's clock minus sender's clock, path included, in microseconds.
    pub(super) fn offset_us(&self) -> i64 {
        self.offset_us
    }

    /// When a datagram sent at `sent` is released.
    pub(super) fn release_at(&self, sent: Time, latency: Duration) -> Time {
        Time::from_signed(sent.signed().saturating_add(self.offset_us)) + latency
    }

    /// What the sender's clock shows about now, for expanding timestamps.
    pub(super) fn sender_clock(&self, now: Time) -> Time {
        Time::from_signed(now.signed() - self.offset_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn before_the_first_release_the_fastest_packet_sets_the_offset() {
        let mut playout = Playout::new(at(1080), at(0));
        playout.on_packet(at(1030), at(10));
        playout.on_packet(at(1100), at(20));
        assert_eq!(playout.release_at(at(10), Duration::from_millis(500)), at(1530));
    }

    #[test]
    fn afterwards_a_slower_path_moves_nothing_for_a_minute() {
        let mut playout = Playout::new(at(1020), at(0));
        playout.start();
        for ms in (0..50_000).step_by(100) {
            playout.on_packet(at(1045 + ms), at(ms));
        }
        assert_eq!(playout.offset_us(), 1_020_000);
    }

    #[test]
    fn a_little_too_late_stays_and_more_is_taken_back_as_a_whole() {
        for (faster_ms, offset_us) in [(39, 1_020_000), (41, 979_000)] {
            let mut playout = Playout::new(at(1020), at(0));
            playout.start();
            for ms in (0..120_000).step_by(100) {
                playout.on_packet(at(1020 + ms - faster_ms), at(ms));
            }
            assert_eq!(playout.offset_us(), offset_us);
        }
    }

    #[test]
    fn a_drifting_clock_is_followed_slowly() {
        let mut playout = Playout::new(at(1020), at(0));
        playout.start();
        for second in 1..=600 {
            for part in 0..10 {
                let sent = second * 1_000_000 + part * 100_000;
                // The receiver's clock runs 100 ppm faster.
                playout.on_packet(Time::from_micros(1_020_000 + sent + sent / 10_000), Time::from_micros(sent));
            }
        }
        let drift = playout.offset_us() - 1_020_000;
        assert!((50_000..=60_000).contains(&drift), "{drift}");
    }
}
