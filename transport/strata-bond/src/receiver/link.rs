//! One link as the receiver sees it: which of its packets arrived.
//!
//! A link keeps its packets in order, so a gap in its own sequence is a loss at
//! once. Owns the gaps and the counters of the link; knows nothing of the stream.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;
use crate::stats::ReceiverLinkStats;
use crate::wire::{LinkReport, MAX_RANGES, expand_sequence};

/// How long a missing packet is reported: many reports over any way back.
const REMEMBER: Duration = Duration::from_millis(1000);
/// Gaps kept between two reports, of which only the newest are told.
const MAX_GAPS: usize = 4 * MAX_RANGES;

/// A gap: link sequences `start..end`, seen at `since`.
#[derive(Debug, Clone, Copy)]
struct Gap {
    start: u64,
    end: u64,
    since: Time,
}

/// What arrived over one link.
#[derive(Debug)]
pub(super) struct RxLink {
    id: u8,
    hello: u8,
    /// Highest link sequence received; the one before the first until then.
    highest: u64,
    arrived: Time,
    /// Gaps below this are forgotten: the sender takes them for lost.
    floor: u64,
    gaps: VecDeque<Gap>,
    received_packets: u64,
    received_bytes: u64,
    lost_packets: u64,
}

impl RxLink {
    /// A link whose first packet will be `first`, at least 1.
    pub(super) fn new(id: u8, first: u64, now: Time) -> Self {
        Self {
            id,
            hello: 0,
            highest: first.saturating_sub(1),
            arrived: now,
            floor: first,
            gaps: VecDeque::new(),
            received_packets: 0,
            received_bytes: 0,
            lost_packets: 0,
        }
    }

    pub(super) fn set_hello(&mut self, number: u8) {
        self.hello = number;
    }

    /// Takes note of a packet; true when it shows that another one is missing.
    pub(super) fn on_packet(&mut self, now: Time, short_sequence: u64, bytes: usize) -> bool {
        let sequence = expand_sequence(short_sequence, self.highest);
        self.received_packets += 1;
        self.received_bytes += bytes as u64;
        if sequence <= self.highest {
            self.fill(sequence);
            return false;
        }
        let gap = sequence > self.highest + 1;
        if gap {
            self.lost_packets += sequence - self.highest - 1;
            self.gaps.push_back(Gap { start: self.highest + 1, end: sequence, since: now });
            self.keep_bounded();
        }
        self.highest = sequence;
        self.arrived = now;
        gap
    }

    /// A packet that was overtaken after all.
    fn fill(&mut self, sequence: u64) {
        let Some(at) = self.gaps.iter().position(|gap| gap.start <= sequence && sequence < gap.end) else { return };
        let gap = self.gaps[at];
        self.lost_packets -= 1;
        self.gaps.remove(at);
        if sequence + 1 < gap.end {
            self.gaps.insert(at, Gap { start: sequence + 1, ..gap });
        }
        if gap.start < sequence {
            self.gaps.insert(at, Gap { end: sequence, ..gap });
        }
        self.keep_bounded();
    }

    fn keep_bounded(&mut self) {
        if self.gaps.len() > MAX_GAPS {
            self.forget_oldest();
        }
    }

    /// The sender takes what is below for lost.
    fn forget_oldest(&mut self) {
        if let Some(gap) = self.gaps.pop_front() {
            self.floor = gap.end;
        }
    }

    /// What to tell the sender, in at most `ranges` ranges of missing packets.
    pub(super) fn report(&mut self, now: Time, ranges: usize) -> LinkReport {
        while let Some(gap) = self.gaps.front() {
            if self.gaps.len() <= ranges && now.since(gap.since) < REMEMBER {
                break;
            }
            self.forget_oldest();
        }
        let missing = self.gaps.iter().rev().map(|gap| (self.highest - (gap.end - 1), gap.end - gap.start)).collect();
        LinkReport {
            link: self.id,
            hello: self.hello,
            highest: self.highest,
            age_us: crate::time::micros(now.since(self.arrived)),
            depth: (self.highest + 1).saturating_sub(self.floor),
            missing,
        }
    }

    /// When the newest packet arrived.
    pub(super) fn arrived(&self) -> Time {
        self.arrived
    }

    pub(super) fn stats(&self, connected: bool) -> ReceiverLinkStats {
        ReceiverLinkStats {
            id: self.id,
            connected,
            received_packets: self.received_packets,
            received_bytes: self.received_bytes,
            lost_packets: self.lost_packets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn link_with(sequences: &[u64]) -> RxLink {
        let mut link = RxLink::new(0, 1, at(0));
        for &sequence in sequences {
            link.on_packet(at(1), sequence, 100);
        }
        link
    }

    #[test]
    fn a_gap_is_told_at_once_and_named_in_the_report() {
        let mut link = RxLink::new(0, 1, at(0));
        assert!(!link.on_packet(at(1), 1, 100));
        assert!(link.on_packet(at(2), 4, 100));
        let report = link.report(at(5), MAX_RANGES);
        assert_eq!((report.highest, report.depth, report.age_us), (4, 4, 3000));
        assert_eq!(report.missing, [(1, 2)]);
        assert_eq!(link.stats(true).lost_packets, 2);
    }

    #[test]
    fn the_very_first_packet_missing_is_a_gap_too() {
        assert_eq!(link_with(&[3]).report(at(2), MAX_RANGES).missing, [(1, 2)]);
    }

    #[test]
    fn an_overtaken_packet_splits_its_gap_and_is_not_lost() {
        let mut link = link_with(&[1, 6, 3]);
        assert_eq!(link.report(at(2), MAX_RANGES).missing, [(1, 2), (4, 1)]);
        assert_eq!(link.stats(true).lost_packets, 3);
    }

    #[test]
    fn old_gaps_are_forgotten_and_the_depth_says_so() {
        let mut link = link_with(&[1, 3]);
        link.on_packet(at(2000), 4, 100);
        let report = link.report(at(2000), MAX_RANGES);
        assert_eq!((report.missing.len(), report.depth), (0, 2));
    }

    #[test]
    fn more_gaps_than_a_report_holds_raise_the_floor() {
        let sequences: Vec<u64> = (1..=200).map(|n| n * 2).collect();
        let report = link_with(&sequences).report(at(2), MAX_RANGES);
        assert_eq!(report.missing.len(), MAX_RANGES);
        assert_eq!(report.depth, 2 * MAX_RANGES as u64 + 1);
    }

    #[test]
    fn nothing_received_yet_reports_nothing_received() {
        let report = RxLink::new(0, 1, at(0)).report(at(1), MAX_RANGES);
        assert_eq!((report.highest, report.depth), (0, 0));
    }

    #[test]
    fn gaps_without_a_report_between_them_are_bounded() {
        let sequences: Vec<u64> = (1..=10_000).map(|n| n * 2).collect();
        let mut link = link_with(&sequences);
        assert_eq!(link.gaps.len(), MAX_GAPS);
        // Each packet that was overtaken splits its gap.
        link.on_packet(at(1), 1_000_000, 100);
        for sequence in (20_001..40_000).step_by(2) {
            link.on_packet(at(1), sequence, 100);
        }
        assert!(link.gaps.len() <= MAX_GAPS, "{}", link.gaps.len());
    }
}
