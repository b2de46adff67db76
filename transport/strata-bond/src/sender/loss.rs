//! How many of a link's datagrams were lost lately, and whether they were lost one by one or in bursts.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;

/// What counts as lately.
const SPAN: Duration = Duration::from_secs(30);
/// Counted in buckets of this length.
const BUCKET: Duration = Duration::from_secs(5);
/// A longer burst is an outage, which no parity repairs.
const MOST_RUN: u64 = 32;

/// What was lost of what was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) packets: u64,
    pub(super) lost: u64,
    /// The sum of the squares of the lengths of bursts: over `lost`, the length of the burst that a loss is in.
    pub(super) squares: u64,
}

impl Lost {
    pub(super) fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.lost += other.lost;
        self.squares += other.squares;
    }
}

/// The losses of a link.
#[derive(Debug, Default)]
pub(super) struct Losses {
    buckets: VecDeque<(Time, Lost)>,
    /// How many were lost in a row until now.
    run: u64,
}

impl Losses {
    /// The next packet of the link arrived, or was lost.
    pub(super) fn packet(&mut self, now: Time, arrived: bool) {
        self.run = if arrived { 0 } else { (self.run + 1).min(MOST_RUN) };
        if self.buckets.back().is_none_or(|&(start, _)| now.since(start) >= BUCKET) {
            self.buckets.retain(|&(start, _)| now.since(start) < SPAN);
            self.buckets.push_back((now, Lost::default()));
        }
        if let Some((_, sum)) = self.buckets.back_mut() {
            // The square of a run is the sum of the odd numbers up to it.
            let square = if arrived { 0 } else { 2 * self.run - 1 };
            sum.add(&Lost { packets: 1, lost: u64::from(!arrived), squares: square });
        }
    }

    pub(super) fn lately(&self, now: Time) -> Lost {
        let mut sum = Lost::default();
        for (_, bucket) in self.buckets.iter().filter(|&&(start, _)| now.since(start) < SPAN) {
            sum.add(bucket);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn losses(text: &str) -> Losses {
        let mut losses = Losses::default();
        for (ms, packet) in text.chars().enumerate() {
            losses.packet(at(ms as u64), packet == '.');
        }
        losses
    }

    #[test]
    fn a_loss_among_others_counts_by_the_length_of_its_burst() {
        assert_eq!(losses("..x...x").lately(at(10)), Lost { packets: 7, lost: 2, squares: 2 });
        assert_eq!(losses("..xxx.x").lately(at(10)), Lost { packets: 7, lost: 4, squares: 10 });
    }

    #[test]
    fn half_a_minute_is_remembered() {
        let losses = losses("x");
        assert_eq!(losses.lately(at(29_000)).lost, 1);
        assert_eq!(losses.lately(at(31_000)).lost, 0);
    }
}
