//! One direction of one link, without sockets: when a packet that comes now comes out, if it does.
//!
//! Owns rate, queue, delay, jitter and loss. Time is passed in, randomness comes
//! from the seed, so the same packets at the same times meet the same fate.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::protocol::Shape;

/// The delay of a radio wanders: it forgets itself over this time.
const JITTER_MEMORY_S: f64 = 0.05;

/// Why a packet does not come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The queue was full.
    Queue,
    /// Lost at random.
    Loss,
}

/// The state of one direction; times count from the emulator's start.
#[derive(Debug)]
pub(crate) struct Lane {
    random: SmallRng,
    /// When the transmitter has sent all that waits.
    free: Duration,
    /// Nothing comes out before what went in before it.
    last_out: Duration,
    /// The jitter now, in standard deviations, and when that was.
    wander: (f64, Duration),
}

impl Lane {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            free: Duration::ZERO,
            last_out: Duration::ZERO,
            wander: (0.0, Duration::ZERO),
        }
    }

    /// When a packet of `bytes` on the wire that goes in at `now` comes out.
    pub(crate) fn admit(&mut self, now: Duration, bytes: usize, shape: &Shape) -> Result<Duration, Dropped> {
        let mut sent = now;
        if shape.rate_kbps > 0 {
            let free = self.free.max(now);
            if free - now > ms(shape.queue_ms) {
                return Err(Dropped::Queue);
            }
            let bits = bytes as f64 * 8.0;
            sent = free + Duration::from_secs_f64(bits / (shape.rate_kbps as f64 * 1000.0));
            self.free = sent;
        }
        // A packet lost in the air has used its share of it.
        if shape.loss_percent > 0.0 && self.random.random::<f64>() * 100.0 < shape.loss_percent {
            return Err(Dropped::Loss);
        }
        let delay = shape.delay_ms + self.jitter(now) * shape.jitter_ms;
        self.last_out = self.last_out.max(sent + ms(delay.max(0.0)));
        Ok(self.last_out)
    }

    /// A normally distributed number that changes little within [`JITTER_MEMORY_S`].
    fn jitter(&mut self, now: Duration) -> f64 {
        let (before, then) = self.wander;
        let kept = (-(now.saturating_sub(then)).as_secs_f64() / JITTER_MEMORY_S).exp();
        let value = before * kept + self.normal() * (1.0 - kept * kept).sqrt();
        self.wander = (value, now);
        value
    }

    /// Box and Muller's way from even to normal.
    fn normal(&mut self) -> f64 {
        let (a, b): (f64, f64) = (self.random.random(), self.random.random());
        (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn fates(shape: Shape, seed: u64, count: u32, gap: Duration) -> Vec<Result<Duration, Dropped>> {
        let mut lane = Lane::new(seed);
        (0..count).map(|n| lane.admit(gap * n, 1250, &shape)).collect()
    }

    #[test]
    fn without_limits_only_the_delay_passes() {
        let shape = Shape { delay_ms: 20.0, ..Shape::default() };
        assert_eq!(fates(shape, 1, 2, MS), [Ok(MS * 20), Ok(MS * 21)]);
    }

    #[test]
    fn the_rate_spaces_packets_and_the_queue_is_finite() {
        // 1,250 bytes at 10 Mbit/s take 1 ms.
        let shape = Shape { rate_kbps: 10_000, queue_ms: 5.0, ..Shape::default() };
        let fates = fates(shape, 1, 10, Duration::ZERO);
        assert_eq!(fates[0], Ok(MS));
        assert_eq!(fates[5], Ok(MS * 6));
        assert_eq!(fates[6], Err(Dropped::Queue));
    }

    #[test]
    fn loss_is_as_asked_and_the_same_for_the_same_seed() {
        let shape = Shape { loss_percent: 2.0, ..Shape::default() };
        let first = fates(shape, 7, 20_000, MS);
        let lost = first.iter().filter(|fate| fate.is_err()).count();
        assert!((300..=500).contains(&lost), "{lost}");
        assert_eq!(first, fates(shape, 7, 20_000, MS));
        assert_ne!(first, fates(shape, 8, 20_000, MS));
    }

    #[test]
    fn jitter_spreads_the_delay_and_keeps_the_order() {
        let shape = Shape { delay_ms: 50.0, jitter_ms: 10.0, ..Shape::default() };
        let out: Vec<Duration> = fates(shape, 3, 5000, MS * 10).into_iter().flatten().collect();
        assert!(out.is_sorted());
        let delays: Vec<f64> = out.iter().zip(0..).map(|(out, n)| (*out - MS * 10 * n).as_secs_f64() * 1e3).collect();
        let mean = delays.iter().sum::<f64>() / 5000.0;
        let deviation = (delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / 5000.0).sqrt();
        assert!((45.0..60.0).contains(&mean) && (7.0..13.0).contains(&deviation), "{mean} {deviation}");
    }
}
