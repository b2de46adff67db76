//! Trains: packets sent back to back that show what a link could carry while it carries little.
//!
//! Owns when a train is worth its bytes, how long it is, and what its arrivals say.
//! The receiver answers its first and last packet at once; between two arrivals the
//! link was busy with nothing but the train.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;
use crate::time::micros;

/// A packet of a train, in bytes; less where the link's packets are smaller.
pub(super) const PACKET: u64 = 1200;
/// Fewer say nothing.
const FEWEST: u64 = 6;
/// More would be a queue that a link which became slow needs long to empty.
const MOST: u64 = 32;
/// A train is to keep the link busy for so long: arrivals are known to a millisecond or two.
const BUSY: Duration = Duration::from_millis(30);
/// A train brings no more than arrives in this share of the latency anyway.
const LATENCY_SHARE: u32 = 4;
/// Of a train, so many packets have to arrive one after another.
const ARRIVED: u64 = 3;
/// Trains that are looked at together.
const TOGETHER: usize = 3;
/// The next train, while they show ever more …
const NEXT_GROWING: Duration = Duration::from_millis(500);
/// … when one said nothing …
const NEXT_AFTER_NOTHING: Duration = Duration::from_secs(1);
/// … and when there is nothing new.
const NEXT: Duration = Duration::from_secs(10);
/// A result is believed for so long.
const FRESH: Duration = Duration::from_secs(60);
/// What is not known after so long is lost.
const OVERDUE: Duration = Duration::from_secs(2);

/// A train on its way.
#[derive(Debug)]
struct Underway {
    /// Link sequences.
    first: u64,
    last: u64,
    /// Bytes of each packet.
    packet: u64,
    sent: Time,
    /// The first and the last arrival that are known: link sequence, receiver's clock.
    arrivals: Option<[(u64, Time); 2]>,
}

/// The trains of one link; rates in bytes per second.
#[derive(Debug)]
pub(super) struct Trains {
    due: Time,
    underway: Option<Underway>,
    /// Bytes and how long they took to arrive, in microseconds.
    results: VecDeque<(u64, u64)>,
    measured: Time,
}

impl Trains {
    /// A connection that is to be measured soon.
    pub(super) fn new(now: Time) -> Self {
        Self { due: now, underway: None, results: VecDeque::new(), measured: now }
    }

    /// Whether it is time for one.
    pub(super) fn due(&self, now: Time) -> bool {
        self.due <= now && self.underway.is_none()
    }

    /// How many packets a train has that goes over a link which delivers `rate` and has `room` bytes in its window.
    pub(super) fn packets(&self, rate: u64, room: u64, latency: Duration) -> Option<u64> {
        let known = rate.max(self.rate());
        let busy = known.saturating_mul(micros(BUSY.min(latency / LATENCY_SHARE))) / 1_000_000;
        let packets = (busy / PACKET).clamp(FEWEST, MOST).min(room / PACKET);
        (packets >= FEWEST).then_some(packets)
    }

    /// One has left, with packets of these link sequences.
    pub(super) fn left(&mut self, now: Time, first: u64, last: u64, packet: u64) {
        self.due = now + NEXT;
        self.underway = Some(Underway { first, last, packet, sent: now, arrivals: None });
    }

    /// The packet with link sequence `highest` arrived at `arrived` by the receiver's clock; `jitter`: by how much
    /// such times may be wrong. True when the result changed.
    pub(super) fn on_report(&mut self, now: Time, highest: u64, arrived: Time, jitter: Duration) -> bool {
        let Some(train) = &mut self.underway else { return false };
        if (train.first..=train.last).contains(&highest) {
            let start = train.arrivals.map_or((highest, arrived), |[start, _]| start);
            train.arrivals = Some([start, (highest, arrived)]);
        }
        if highest < train.last {
            return false;
        }
        let arrivals = train.arrivals;
        let packet = train.packet;
        self.underway = None;
        let Some([(first, began), (last, ended)]) = arrivals.filter(|[start, end]| end.0 - start.0 >= ARRIVED) else {
            self.due = now + NEXT_AFTER_NOTHING;
            return false;
        };
        let before = self.rate();
        if self.results.len() == TOGETHER || now.since(self.measured) > FRESH {
            self.results.pop_front();
        }
        self.results.push_back(((last - first) * packet, micros(ended.since(began) + jitter).max(1)));
        self.measured = now;
        if self.rate() > before * 5 / 4 {
            self.due = now + NEXT_GROWING;
        }
        true
    }

    /// What does not come back says nothing.
    pub(super) fn check(&mut self, now: Time) {
        if self.underway.as_ref().is_some_and(|train| now.since(train.sent) > OVERDUE) {
            self.underway = None;
        }
    }

    /// The link was full: what it delivers then is known better.
    pub(super) fn forget(&mut self) {
        self.results.clear();
    }

    /// What the last trains show; 0 if nothing.
    fn rate(&self) -> u64 {
        let (bytes, us) = self.results.iter().fold((0, 0), |sum, result| (sum.0 + result.0, sum.1 + result.1));
        u64::checked_div(bytes * 1_000_000, us).unwrap_or(0)
    }

    /// What they show, if that is not too long ago.
    pub(super) fn fresh(&self, now: Time) -> Option<u64> {
        (!self.results.is_empty() && now.since(self.measured) <= FRESH).then(|| self.rate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    /// Sends a train at `ms` over a link of `rate` bytes per millisecond; of its packets those in `lost` get lost.
    fn measure(trains: &mut Trains, ms: u64, rate: u64, lost: &[u64]) -> bool {
        assert!(trains.due(at(ms)));
        trains.left(at(ms), 100, 111, PACKET);
        let mut changed = false;
        for sequence in (100..112).filter(|sequence| !lost.contains(sequence)) {
            let arrived = Time::from_micros((ms + 30) * 1000 + (sequence - 100) * PACKET * 1000 / rate);
            changed |= trains.on_report(at(ms + 100), sequence, arrived, Duration::ZERO);
        }
        changed | trains.on_report(at(ms + 120), 130, at(ms + 60), Duration::ZERO)
    }

    #[test]
    fn arrivals_show_the_rate_also_when_some_are_lost_or_unknown() {
        for lost in [&[][..], &[103, 104], &[100], &[111], &[100, 101, 102, 109, 110, 111]] {
            let mut trains = Trains::new(at(0));
            assert!(measure(&mut trains, 0, 1250, lost), "{lost:?}");
            let rate = trains.fresh(at(1000)).unwrap();
            assert!((1_240_000..1_260_000).contains(&rate), "{lost:?}: {rate}");
        }
    }

    #[test]
    fn too_few_arrivals_say_nothing() {
        let mut trains = Trains::new(at(0));
        let lost: Vec<u64> = (103..112).collect();
        assert!(!measure(&mut trains, 0, 1250, &lost));
        assert_eq!(trains.fresh(at(1000)), None);
    }

    #[test]
    fn the_next_follows_soon_while_they_show_more_and_an_old_result_is_none() {
        let mut trains = Trains::new(at(0));
        measure(&mut trains, 0, 400, &[]);
        assert!(!trains.due(at(500)) && trains.due(at(700)));
        measure(&mut trains, 700, 400, &[]);
        assert!(!trains.due(at(10_600)) && trains.due(at(10_700)));
        assert!(trains.fresh(at(60_000)).is_some());
        assert_eq!(trains.fresh(at(61_000)), None);
    }

    #[test]
    fn jitter_makes_the_result_less() {
        let mut trains = Trains::new(at(0));
        trains.left(at(0), 1, 11, PACKET);
        trains.on_report(at(50), 1, at(50), MS * 10);
        assert!(trains.on_report(at(60), 11, at(60), MS * 10));
        assert_eq!(trains.fresh(at(60)), Some(600_000));
    }

    #[test]
    fn a_train_lasts_thirty_milliseconds_of_what_is_known_within_limits() {
        let trains = Trains::new(at(0));
        let window = 1 << 20;
        for (rate, room, latency_ms, packets) in [
            (0, window, 500, Some(6)),
            (500_000, window, 500, Some(12)),
            (500_000, window, 80, Some(8)),
            (10_000_000, window, 500, Some(32)),
            (10_000_000, 12_000, 500, Some(10)),
            (0, 7_000, 500, None),
        ] {
            assert_eq!(trains.packets(rate, room, MS * latency_ms), packets, "{rate} {room} {latency_ms}");
        }
    }

    #[test]
    fn one_that_never_arrives_makes_room_for_the_next() {
        let mut trains = Trains::new(at(0));
        trains.left(at(0), 1, 6, PACKET);
        trains.check(at(1_000));
        assert!(trains.underway.is_some());
        trains.check(at(2_001));
        assert!(trains.underway.is_none() && trains.due(at(10_000)));
    }
}
