//! Delays of a link's path, from the reports: round trip, one-way delay, queue.
//!
//! A radio's jitter of 5 to 20 ms must not read as a queue, so a queue is the
//! least one-way delay of the last 200 ms above the least of the last 10 s, less
//! what the jitter alone would make of that. A few samples say nothing, unless it
//! is the link that lets no more through.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;
use crate::time::micros;

/// A radio may pause for so long without being suspect.
const MISSED_MARGIN_US: i64 = 40_000;

/// What counts as now.
const RECENT: Duration = Duration::from_millis(200);
/// With fewer samples now, nothing is known of a queue …
const ENOUGH: usize = 5;
/// … unless the link was busy with each of so many within this time: then it is the link that is slow, not the source.
const SPARSE_ENOUGH: usize = 3;
const SPARSE: Duration = Duration::from_secs(1);
/// Samples so close to each other differ by jitter, hardly by a queue.
const NEIGHBOURS: Duration = Duration::from_millis(50);
/// Jitter, as successive samples differ, moves the least delays of a moment by so many times that.
const NOISE: i64 = 3;
/// More is no jitter.
const MOST_NOISE_US: i64 = 60_000;

/// The least of the samples of a sliding span, kept in slices.
#[derive(Debug)]
struct Least {
    slice: Duration,
    slices: usize,
    minima: VecDeque<(Time, i64)>,
}

impl Least {
    fn new(span: Duration, slices: usize) -> Self {
        Self { slice: span / u32::try_from(slices).unwrap_or(1), slices, minima: VecDeque::new() }
    }

    fn add(&mut self, now: Time, sample: i64) {
        match self.minima.back_mut() {
            Some((start, least)) if now.since(*start) < self.slice => *least = sample.min(*least),
            _ => self.minima.push_back((now, sample)),
        }
        let span = self.slice * u32::try_from(self.slices).unwrap_or(1);
        while self.minima.len() > 1 && self.minima.front().is_some_and(|&(start, _)| now.since(start) > span) {
            self.minima.pop_front();
        }
    }

    fn get(&self) -> Option<i64> {
        self.minima.iter().map(|&(_, least)| least).min()
    }
}

/// What is known of a path's delays.
#[derive(Debug)]
pub(super) struct Path {
    last_rtt: Duration,
    smoothed_rtt: Duration,
    rtt_variation: Duration,
    /// Smoothed one-way delay (difference of clocks) and its variation, in microseconds, once known.
    delay: Option<(i64, i64)>,
    /// The last one-way delay and when it was seen; how much successive ones differ, smoothed, in microseconds.
    last_delay: (Time, i64),
    jitter_us: i64,
    /// The last samples: when they came, one-way delays, and whether the link was busy.
    recent: VecDeque<(Time, i64, bool)>,
    least_rtt: Least,
    least_delay: Least,
    recent_delay: Least,
}

impl Path {
    /// A path whose round trip was measured once, while connecting.
    pub(super) fn new(now: Time, rtt: Duration) -> Self {
        let mut least_rtt = Least::new(Duration::from_secs(10), 10);
        least_rtt.add(now, micros(rtt).cast_signed());
        Self {
            last_rtt: rtt,
            smoothed_rtt: rtt,
            rtt_variation: rtt / 2,
            delay: None,
            last_delay: (Time::ZERO, 0),
            jitter_us: 0,
            recent: VecDeque::new(),
            least_rtt,
            least_delay: Least::new(Duration::from_secs(10), 10),
            recent_delay: Least::new(RECENT, 4),
        }
    }

    /// Takes a round trip, and the difference of arrival (receiver's clock) and sending (ours); `busy`: the window was
    /// in use.
    pub(super) fn sample(&mut self, now: Time, rtt: Duration, one_way_us: i64, busy: bool) {
        let error = self.smoothed_rtt.abs_diff(rtt);
        self.last_rtt = rtt;
        self.rtt_variation = (self.rtt_variation * 3 + error) / 4;
        self.smoothed_rtt = (self.smoothed_rtt * 7 + rtt) / 8;
        self.delay = Some(match self.delay {
            None => (one_way_us, 5_000),
            Some((mean, variation)) => {
                let error = one_way_us - mean;
                (mean + error / 8, variation + (error.abs() - variation) / 4)
            }
        });
        self.least_rtt.add(now, micros(rtt).cast_signed());
        self.least_delay.add(now, one_way_us);
        self.recent_delay.add(now, one_way_us);
        self.sample_jitter(now, one_way_us, busy);
    }

    fn sample_jitter(&mut self, now: Time, one_way_us: i64, busy: bool) {
        let (seen, last) = self.last_delay;
        if now.since(seen) < NEIGHBOURS {
            self.jitter_us += ((one_way_us - last).abs() - self.jitter_us) / 16;
        }
        self.last_delay = (now, one_way_us);
        self.recent.push_back((now, one_way_us, busy));
        while self.recent.len() > ENOUGH || self.recent.front().is_some_and(|&(seen, ..)| now.since(seen) > SPARSE) {
            self.recent.pop_front();
        }
    }

    pub(super) fn last_rtt(&self) -> Duration {
        self.last_rtt
    }

    pub(super) fn smoothed_rtt(&self) -> Duration {
        self.smoothed_rtt
    }

    pub(super) fn least_rtt(&self) -> Duration {
        self.least_rtt.get().map_or(self.smoothed_rtt, |us| Duration::from_micros(us.max(0).unsigned_abs()))
    }

    /// How long an acknowledgement may take before the link is suspect.
    pub(super) fn patience(&self) -> Duration {
        self.smoothed_rtt + self.rtt_variation * 2 + Duration::from_millis(40)
    }

    /// Whether a packet sent at `sent` should have arrived well before `clock` of the receiver.
    pub(super) fn missed(&self, sent: Time, clock: Time) -> bool {
        self.delay.is_some_and(|(mean, variation)| {
            let expected = sent.signed().saturating_add(mean + variation * 4 + MISSED_MARGIN_US);
            clock.signed() > expected
        })
    }

    /// How much successive delays differ.
    pub(super) fn jitter(&self) -> Duration {
        Duration::from_micros(self.jitter_us.max(0).unsigned_abs())
    }

    /// What jitter alone makes of the least delays of a moment above the least of all.
    pub(super) fn noise(&self) -> Duration {
        Duration::from_micros((self.jitter_us * NOISE).clamp(0, MOST_NOISE_US).unsigned_abs())
    }

    /// Delay in queues now.
    pub(super) fn queue(&self) -> Duration {
        let (Some(recent), Some(least)) = (self.recent_least(), self.least_delay.get()) else { return Duration::ZERO };
        let noise = micros(self.noise()).cast_signed();
        Duration::from_micros((recent - least - noise).max(0).unsigned_abs())
    }

    /// The least delay of the last samples; none if they are too few to say anything.
    fn recent_least(&self) -> Option<i64> {
        let (first, last) = (self.recent.front()?, self.recent.back()?);
        if self.recent.len() >= ENOUGH && last.0.since(first.0) <= RECENT {
            return self.recent_delay.get();
        }
        let sparse = self.recent.len() >= SPARSE_ENOUGH && self.recent.iter().all(|&(.., busy)| busy);
        self.recent.iter().map(|&(_, delay, _)| delay).min().filter(|_| sparse)
    }

    /// One-way delay of the empty path above the fastest path's, which the receiver's clock offset describes.
    ///
    /// Before the receiver said what it is, half the round trip must do.
    pub(super) fn extra_delay(&self, offset_us: Option<i64>) -> Duration {
        match (self.least_delay.get(), offset_us) {
            (Some(least), Some(offset)) => Duration::from_micros(least.saturating_sub(offset).max(0).unsigned_abs()),
            _ => self.least_rtt() / 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn jitter_is_no_queue_but_a_standing_delay_is() {
        let mut path = Path::new(at(0), MS * 40);
        for ms in (0..2000).step_by(15) {
            let jitter = i64::try_from(ms % 7).unwrap() * 3000;
            path.sample(at(ms), MS * 50, 20_000 + jitter, false);
        }
        assert!(path.queue() < MS * 4, "{:?}", path.queue());
        for ms in (2000..2500).step_by(15) {
            path.sample(at(ms), MS * 120, 90_000, false);
        }
        assert!(path.queue() > MS * 55, "{:?}", path.queue());
    }

    #[test]
    fn a_few_samples_are_no_queue() {
        let mut path = Path::new(at(0), MS * 40);
        for ms in (0..5000).step_by(250) {
            path.sample(at(ms), MS * 50, if ms == 0 { 20_000 } else { 90_000 }, false);
        }
        assert_eq!(path.queue(), Duration::ZERO);
    }

    #[test]
    fn of_a_link_that_is_busy_with_each_a_few_samples_are_enough() {
        let mut path = Path::new(at(0), MS * 40);
        for ms in (0..5000).step_by(250) {
            path.sample(at(ms), MS * 50, if ms == 0 { 20_000 } else { 90_000 }, ms > 3000);
        }
        assert!(path.queue() > MS * 60, "{:?}", path.queue());
        path.sample(at(5000), MS * 50, 90_000, false);
        assert_eq!(path.queue(), Duration::ZERO, "one that was not busy: who knows");
    }

    #[test]
    fn a_packet_is_missed_when_it_is_well_behind_the_others() {
        let mut path = Path::new(at(0), MS * 40);
        assert!(!path.missed(at(0), at(5000)), "nothing is known yet");
        for ms in (0..1000).step_by(15) {
            path.sample(at(ms), MS * 50, 20_000, false);
        }
        assert!(!path.missed(at(1000), at(1060)));
        assert!(path.missed(at(1000), at(1090)));
    }

    #[test]
    fn a_path_that_became_longer_is_believed_after_ten_seconds() {
        let mut path = Path::new(at(0), MS * 40);
        path.sample(at(0), MS * 40, 20_000, false);
        for ms in (0..12_000).step_by(15) {
            path.sample(at(ms + 15), MS * 80, 60_000, false);
        }
        assert_eq!(path.queue(), Duration::ZERO);
        assert_eq!(path.extra_delay(Some(20_000)), MS * 40);
    }
}
