//! One direction of one link, without sockets: when a packet that comes now comes out, if it does.
//!
//! Owns rate, queue, delay, jitter, loss, order and copies. Time is passed in,
//! randomness comes from the seed, so the same packets at the same times meet the
//! same fate.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::protocol::Shape;
use crate::trace::{Position, Trace};

/// The delay of a radio wanders: it forgets itself over this time.
const JITTER_MEMORY_S: f64 = 0.05;

/// Why a packet does not come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The queue was full.
    Queue,
    /// Lost at random.
    Loss,
}

/// When a packet comes out, counted from the emulator's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The packet.
    pub at: Duration,
    /// Whether it comes out twice.
    pub twice: bool,
}

/// The state of one direction; times count from the emulator's start.
#[derive(Debug)]
pub struct Lane {
    random: SmallRng,
    /// Instead of the shape's rate.
    trace: Option<(Arc<Trace>, Position)>,
    /// When the transmitter has sent all that waits.
    free: Duration,
    /// Nothing comes out before what went in before it.
    last_out: Duration,
    /// The jitter now, in standard deviations, and when that was.
    wander: (f64, Duration),
    /// A burst of losses is going on.
    burst: bool,
}

impl Lane {
    /// A lane that is empty, without a recorded rate.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            trace: None,
            free: Duration::ZERO,
            last_out: Duration::ZERO,
            wander: (0.0, Duration::ZERO),
            burst: false,
        }
    }

    /// Sends when the recorded link could, whatever rate the shape names.
    #[must_use]
    pub fn with_trace(self, trace: Option<Arc<Trace>>) -> Self {
        Self { trace: trace.map(|trace| (trace, Position::default())), ..self }
    }

    /// When a packet of `bytes` on the wire that goes in at `now` comes out.
    ///
    /// # Errors
    /// [`Dropped`] when it does not.
    pub fn admit(&mut self, now: Duration, bytes: usize, shape: &Shape) -> Result<Due, Dropped> {
        // The same number of draws for each packet, dropped or not: a packet's fate depends on its number alone.
        let [loss, turn, order, copy]: [f64; 4] = std::array::from_fn(|_| self.random.random());
        let lost = self.loses(shape, loss, turn);
        let sent = self.leaves(now, bytes, shape)?;
        // A packet lost in the air has used its share of it.
        if lost {
            return Err(Dropped::Loss);
        }
        let jitter = if shape.jitter_ms > 0.0 { self.jitter(sent) * shape.jitter_ms } else { 0.0 };
        let out = sent + ms((shape.delay_ms + jitter).max(0.0));
        let twice = copy * 100.0 < shape.duplicate_percent;
        if order * 100.0 < shape.reorder_percent {
            return Ok(Due { at: out.max(self.last_out) + ms(shape.reorder_ms), twice });
        }
        self.last_out = self.last_out.max(out);
        Ok(Due { at: self.last_out, twice })
    }

    /// When the transmitter has sent the packet.
    fn leaves(&mut self, now: Duration, bytes: usize, shape: &Shape) -> Result<Duration, Dropped> {
        let longest = ms(shape.queue_ms);
        if let Some((trace, position)) = &mut self.trace {
            let (sent, after) = trace.send(*position, now, bytes as u64);
            if sent.saturating_sub(now) > longest {
                return Err(Dropped::Queue);
            }
            *position = after;
            return Ok(sent);
        }
        if shape.rate_kbps == 0 {
            return Ok(now);
        }
        let free = self.free.max(now);
        if free - now > longest {
            return Err(Dropped::Queue);
        }
        let bits = bytes as f64 * 8.0;
        self.free = free + Duration::from_secs_f64(bits / (shape.rate_kbps as f64 * 1000.0));
        Ok(self.free)
    }

    /// Whether the packet is lost, alone or in a burst (Gilbert and Elliott's two states, all lost in the bad one).
    fn loses(&mut self, shape: &Shape, loss: f64, turn: f64) -> bool {
        if shape.burst_percent > 0.0 {
            let share = shape.burst_percent / 100.0;
            let ends = 1.0 / shape.burst_packets.max(1.0);
            let begins = share * ends / (1.0 - share).max(f64::MIN_POSITIVE);
            self.burst = if self.burst { turn >= ends } else { turn < begins };
        } else {
            self.burst = false;
        }
        self.burst || loss * 100.0 < shape.loss_percent
    }

    /// A normally distributed number that changes little within [`JITTER_MEMORY_S`].
    fn jitter(&mut self, now: Duration) -> f64 {
        let (before, then) = self.wander;
        let kept = (-(now.saturating_sub(then)).as_secs_f64() / JITTER_MEMORY_S).exp();
        let value = before * kept + self.normal() * (1.0 - kept * kept).sqrt();
        self.wander = (value, now);
        // A radio that waits for its turn can wait long, but not less than nothing: four deviations at most.
        value.min(4.0)
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
        (0..count).map(|n| lane.admit(gap * n, 1250, &shape).map(|due| due.at)).collect()
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
    fn bursts_lose_the_share_asked_for_in_runs_of_the_length_asked_for() {
        let shape = Shape { burst_percent: 5.0, burst_packets: 8.0, ..Shape::default() };
        let lost: Vec<bool> = fates(shape, 7, 100_000, MS).iter().map(Result::is_err).collect();
        let count = lost.iter().filter(|&&lost| lost).count();
        let runs = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert!((4000..=6000).contains(&count) && (6..=10).contains(&(count / runs)), "{count} in {runs}");
    }

    #[test]
    fn overtaken_packets_come_later_and_copies_twice() {
        let shape = Shape { reorder_percent: 10.0, reorder_ms: 8.0, duplicate_percent: 10.0, ..Shape::default() };
        let mut lane = Lane::new(3);
        let dues: Vec<Due> = (0..1000).map(|n| lane.admit(MS * n, 1250, &shape).unwrap()).collect();
        let overtaken = dues.windows(2).filter(|pair| pair[1].at < pair[0].at).count();
        let twice = dues.iter().filter(|due| due.twice).count();
        assert!((60..=140).contains(&overtaken) && (60..=140).contains(&twice), "{overtaken} {twice}");
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
