//! The packets on one link that were neither acknowledged nor lost.

use std::collections::VecDeque;

use crate::Time;
use crate::wire::LinkReport;

/// A link packet on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) link_sequence: u64,
    /// The datagram it carries; none for a ping.
    pub(super) sequence: Option<u64>,
    /// The halves it carries, one bit each.
    pub(super) pieces: u8,
    pub(super) bytes: u32,
    pub(super) sent: Time,
    /// Taken for lost already; its arrival is still good news.
    pub(super) given_up: bool,
    /// Another copy was sent because this one was overdue.
    pub(super) repeated: bool,
}

impl Entry {
    /// Whether it is one of the copies that the datagram's repair waits for.
    pub(super) fn counts(&self) -> bool {
        !self.given_up && !self.repeated
    }
}

/// The most packets remembered that were taken for lost.
const MAX_GIVEN_UP: usize = 4096;

/// The packets on their way over one link, oldest first.
#[derive(Debug, Default)]
pub(super) struct Flight {
    entries: VecDeque<Entry>,
    bytes: u64,
}

impl Flight {
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += u64::from(entry.bytes);
        self.entries.push_back(entry);
    }

    /// Bytes of packets not taken for lost.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the oldest packet not taken for lost was sent.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.entries.iter().find(|entry| !entry.given_up).map(|entry| entry.sent)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// Takes out what a report answers; `true`: arrived, `false`: lost.
    pub(super) fn resolve(&mut self, highest: u64, report: &LinkReport) -> Vec<(Entry, bool)> {
        let mut resolved = Vec::new();
        // Ranges come highest first; packets are resolved lowest first.
        let mut ranges = report.missing.iter().rev().peekable();
        while let Some(entry) = self.entries.front().copied().filter(|entry| entry.link_sequence <= highest) {
            self.entries.pop_front();
            if !entry.given_up {
                self.bytes -= u64::from(entry.bytes);
            }
            let below = highest - entry.link_sequence;
            while ranges.next_if(|&&(end_below, _)| end_below > below).is_some() {}
            let missing = ranges.peek().is_some_and(|&&(end_below, length)| below - end_below < length);
            resolved.push((entry, below < report.depth && !missing));
        }
        resolved
    }

    /// Takes all for lost; returns those that were not before.
    pub(super) fn give_up(&mut self) -> Vec<Entry> {
        let fresh: Vec<Entry> = self.entries.iter().copied().filter(|entry| !entry.given_up).collect();
        for entry in &mut self.entries {
            entry.given_up = true;
        }
        self.bytes = 0;
        let excess = self.entries.len().saturating_sub(MAX_GIVEN_UP);
        self.entries.drain(..excess);
        fresh
    }

    /// Forgets all; returns those that were not taken for lost.
    pub(super) fn clear(&mut self) -> Vec<Entry> {
        let fresh = self.give_up();
        self.entries.clear();
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight_of(link_sequences: std::ops::RangeInclusive<u64>) -> Flight {
        let mut flight = Flight::default();
        for link_sequence in link_sequences {
            flight.push(Entry {
                link_sequence,
                sequence: Some(link_sequence + 100),
                pieces: 3,
                bytes: 10,
                sent: Time::from_micros(link_sequence),
                given_up: false,
                repeated: false,
            });
        }
        flight
    }

    fn report(highest: u64, depth: u64, missing: &[(u64, u64)]) -> LinkReport {
        LinkReport { link: 0, hello: 0, highest, age_us: 0, depth, missing: missing.to_vec() }
    }

    fn arrived(flight: &mut Flight, report: &LinkReport) -> Vec<u64> {
        let resolved = flight.resolve(report.highest, report);
        resolved.iter().filter(|(_, arrived)| *arrived).map(|(entry, _)| entry.link_sequence).collect()
    }

    #[test]
    fn what_is_not_missing_arrived() {
        let mut flight = flight_of(1..=10);
        // Missing: 2, 3 and 7.
        assert_eq!(arrived(&mut flight, &report(8, 8, &[(1, 1), (5, 2)])), [1, 4, 5, 6, 8]);
        assert_eq!((flight.bytes(), flight.oldest()), (20, Some(Time::from_micros(9))));
    }

    #[test]
    fn what_lies_below_the_reported_depth_is_lost() {
        assert_eq!(arrived(&mut flight_of(1..=5), &report(5, 2, &[])), [4, 5]);
    }

    #[test]
    fn nothing_received_resolves_nothing() {
        let mut flight = flight_of(1..=5);
        assert!(flight.resolve(0, &report(0, 0, &[])).is_empty());
        assert_eq!(flight.bytes(), 50);
    }

    #[test]
    fn a_packet_taken_for_lost_may_still_arrive_but_counts_no_bytes() {
        let mut flight = flight_of(1..=3);
        assert_eq!(flight.give_up().len(), 3);
        assert_eq!(flight.bytes(), 0);
        assert_eq!(arrived(&mut flight, &report(3, 3, &[])), [1, 2, 3]);
    }
}
