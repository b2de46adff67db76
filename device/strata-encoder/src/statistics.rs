//! The numbers that go to the agent each second.
//!
//! Owns turning counters into rates over the time that really passed, and the
//! transport's numbers into those of the control protocol.

use std::collections::HashMap;
use std::time::Duration;

use strata_control::{LinkState, LinkStats, ReceiverTruth};
use strata_link::{SenderLinkStats, SenderStats};

/// Bits per second since the last look, for the stream and for each link.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    last: Duration,
    output_bytes: u64,
    link_bytes: HashMap<u8, u64>,
}

/// One look at the transport.
#[derive(Debug)]
pub(crate) struct Looked {
    /// Handed to the transport since the last look, bit/s.
    pub(crate) output_bps: u64,
    /// Each link.
    pub(crate) links: Vec<LinkStats>,
    /// What the receiver reported.
    pub(crate) receiver: Option<ReceiverTruth>,
}

impl Rates {
    /// Works the rates out; `now` counts from the process's start.
    pub(crate) fn look(&mut self, now: Duration, output_bytes: u64, transport: Option<&SenderStats>) -> Looked {
        let passed = now.saturating_sub(self.last);
        let output_bps = rate(output_bytes.saturating_sub(self.output_bytes), passed);
        let links = transport.map_or(&[] as &[_], |stats| &stats.links);
        let links = links.iter().map(|link| self.link(link, passed)).collect();
        self.last = now;
        self.output_bytes = output_bytes;
        Looked { output_bps, links, receiver: transport.and_then(|stats| stats.receiver).map(receiver) }
    }

    fn link(&mut self, link: &SenderLinkStats, passed: Duration) -> LinkStats {
        let before = self.link_bytes.insert(link.id, link.sent_bytes).unwrap_or(0);
        LinkStats {
            id: link.id,
            interface: link.name.clone(),
            state: match link.state {
                strata_link::LinkState::Connecting => LinkState::Connecting,
                strata_link::LinkState::Up => LinkState::Up,
                strata_link::LinkState::Suspect => LinkState::Suspect,
                strata_link::LinkState::Dead => LinkState::Dead,
            },
            rtt_ms: link.rtt_ms,
            capacity_bps: link.capacity_bps,
            // A link that was replaced under its number counts from zero again.
            bitrate_bps: rate(link.sent_bytes.checked_sub(before).unwrap_or(link.sent_bytes), passed),
            sent_bytes: link.sent_bytes,
            sent_packets: link.sent_packets,
            lost_packets: link.lost_packets,
            retransmitted_packets: link.retransmitted_packets,
            queue_ms: link.queue_ms,
            // The agent knows the modems.
            signal_dbm: None,
        }
    }
}

fn receiver(truth: strata_link::ReceiverTruth) -> ReceiverTruth {
    ReceiverTruth { delivered: truth.delivered, lost: truth.lost, late: truth.late, recovered: truth.recovered }
}

fn rate(bytes: u64, passed: Duration) -> u64 {
    let milliseconds = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
    (bytes * 8_000).checked_div(milliseconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(sent: &[(u8, u64)]) -> SenderStats {
        let link = |&(id, sent_bytes): &(u8, u64)| SenderLinkStats { id, sent_bytes, ..SenderLinkStats::default() };
        SenderStats { links: sent.iter().map(link).collect(), ..SenderStats::default() }
    }

    #[test]
    fn rates_are_over_the_time_that_passed() {
        let mut rates = Rates::default();
        let first = rates.look(Duration::from_millis(1_000), 125_000, Some(&stats(&[(0, 1_000), (3, 500)])));
        assert_eq!(
            (first.output_bps, first.links[0].bitrate_bps, first.links[1].bitrate_bps),
            (1_000_000, 8_000, 4_000)
        );
        // Two seconds later, link 3 was replaced and link 0 rests.
        let second = rates.look(Duration::from_millis(3_000), 375_000, Some(&stats(&[(0, 1_000), (3, 250)])));
        assert_eq!(
            (second.output_bps, second.links[0].bitrate_bps, second.links[1].bitrate_bps),
            (1_000_000, 0, 1_000)
        );
        let nothing = rates.look(Duration::from_millis(3_000), 375_000, None);
        assert_eq!((nothing.output_bps, nothing.links.len(), nothing.receiver), (0, 0, None));
    }
}
