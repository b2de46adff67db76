//! Which link carries the next packet: a pure function, the seam for better schedulers.
//!
//! The rule is earliest predicted arrival among the links that have room. A link
//! is never filled beyond its window, so its queue stays short; what no link has
//! room for waits in the sender's one common queue, where it can still go anywhere.
//! Links whose acknowledgements are overdue are used only if there is no other.

use std::time::Duration;

/// Too late by this share of the time that is left, by prediction, is still better than a suspect link …
const DOUBT_SHARE: u32 = 4;
/// … if so much is left: of less, what comes late takes room from what does not.
const DOUBT_FROM: Duration = Duration::from_millis(150);

/// What the scheduler knows of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkView {
    /// The link's id.
    pub id: u8,
    /// Whether its acknowledgements are overdue.
    pub suspect: bool,
    /// One-way delay of the empty link above that of the fastest, as the receiver sees it.
    pub extra_delay: Duration,
    /// Least round trip of the last seconds, report interval included.
    pub round_trip: Duration,
    /// Delay that its queues were last seen to add.
    pub queue: Duration,
    /// What it carries, in bytes per second; at least 1.
    pub rate: u64,
    /// Bytes sent and not yet acknowledged or lost.
    pub in_flight: u64,
    /// The most bytes that may be in flight for a packet of this kind.
    pub window: u64,
}

/// How long from now until a packet of `bytes` arrives over `link`, counted from the fastest empty link's arrival.
///
/// What is in flight beyond one round trip's worth waits in the link's queue.
#[must_use]
pub fn predicted_arrival(link: &LinkView, bytes: u64) -> Duration {
    let drain = Duration::from_micros((link.in_flight + bytes).saturating_mul(1_000_000) / link.rate.max(1));
    let queued = drain.saturating_sub(link.round_trip);
    link.extra_delay + queued.max(link.queue)
}

/// The link that a packet of `bytes` goes to now; `None`: it waits, because no link has room that delivers it `within`
/// this time, counted from the fastest empty link's arrival.
///
/// `avoid` names a link to use only if there is no other, such as the one that just lost the packet's copy.
#[must_use]
pub fn choose(links: &[LinkView], bytes: u64, avoid: Option<u8>, within: Duration) -> Option<u8> {
    let in_time = |link: &LinkView| predicted_arrival(link, bytes) <= within;
    // The prediction may be wrong; that a suspect link is dead is likelier.
    let doubt = if within < DOUBT_FROM { Duration::ZERO } else { within / DOUBT_SHARE };
    let trusts = |link: &LinkView| !link.suspect && Some(link.id) != avoid;
    let fits: [&dyn Fn(&LinkView) -> bool; 3] = [
        &|link| trusts(link) && in_time(link),
        &|link| trusts(link) && predicted_arrival(link, bytes) <= within.saturating_add(doubt),
        &in_time,
    ];
    let fits = fits.into_iter().find(|fits| links.iter().any(fits))?;
    links
        .iter()
        .filter(|link| link.in_flight + bytes <= link.window && fits(link))
        .min_by_key(|link| (predicted_arrival(link, bytes), link.id))
        .map(|link| link.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn link(id: u8, extra_ms: u32, kbps: u64) -> LinkView {
        LinkView {
            id,
            suspect: false,
            extra_delay: MS * extra_ms,
            round_trip: MS * (40 + 2 * extra_ms),
            queue: Duration::ZERO,
            rate: kbps * 125,
            in_flight: 0,
            window: 60_000,
        }
    }

    #[test]
    fn empty_links_are_chosen_by_delay() {
        assert_eq!(choose(&[link(0, 25, 3000), link(1, 0, 3000)], 1327, None, Duration::MAX), Some(1));
    }

    #[test]
    fn the_fast_link_is_filled_until_the_slow_one_would_arrive_first() {
        let mut fast = link(0, 0, 3000);
        let slow = link(1, 60, 3000);
        let mut carried = 0;
        while choose(&[fast, slow], 1327, None, Duration::MAX) == Some(0) {
            fast.in_flight += 1327;
            carried += 1327;
        }
        // One round trip of 40 ms and a queue of 60 ms, at 375 bytes per millisecond.
        assert!((36_000..=37_500).contains(&carried), "{carried}");
    }

    #[test]
    fn a_full_link_gets_nothing_and_the_packet_waits_if_all_are_full() {
        let full = LinkView { in_flight: 60_000, ..link(0, 0, 3000) };
        assert_eq!(choose(&[full, link(1, 60, 3000)], 1327, None, Duration::MAX), Some(1));
        assert_eq!(choose(&[full], 1327, None, Duration::MAX), None);
    }

    #[test]
    fn a_measured_queue_counts_even_if_little_is_in_flight() {
        let queued = LinkView { queue: MS * 100, ..link(0, 0, 3000) };
        assert_eq!(choose(&[queued, link(1, 60, 3000)], 1327, None, Duration::MAX), Some(1));
    }

    #[test]
    fn a_suspect_link_is_used_only_if_there_is_no_other() {
        let suspect = LinkView { suspect: true, ..link(0, 0, 3000) };
        assert_eq!(choose(&[suspect, link(1, 60, 3000)], 1327, None, Duration::MAX), Some(1));
        assert_eq!(choose(&[suspect], 1327, None, Duration::MAX), Some(0));
        let full = LinkView { in_flight: 60_000, ..link(1, 60, 3000) };
        assert_eq!(
            choose(&[suspect, full], 1327, None, Duration::MAX),
            None,
            "waiting is better than a link that may be dead"
        );
    }

    #[test]
    fn a_repeat_avoids_the_link_that_may_still_deliver_the_first_copy() {
        assert_eq!(choose(&[link(0, 0, 3000), link(1, 60, 3000)], 1327, Some(0), Duration::MAX), Some(1));
        assert_eq!(choose(&[link(0, 0, 3000)], 1327, Some(0), Duration::MAX), Some(0));
    }

    #[test]
    fn what_would_come_too_late_is_not_sent() {
        let links = [link(0, 30, 3000), link(1, 60, 3000)];
        assert_eq!(choose(&links, 1327, None, MS * 50), Some(0));
        assert_eq!(
            choose(&links, 1327, Some(0), MS * 50),
            Some(0),
            "late is worse than the link that may lose it again"
        );
        assert_eq!(choose(&links, 1327, None, MS * 20), None);
    }

    #[test]
    fn a_repeat_that_may_be_a_little_late_is_better_than_a_suspect_link() {
        let suspect = LinkView { suspect: true, ..link(0, 0, 3000) };
        for (late_ms, within_ms, chosen) in [(0, 200, 1), (49, 200, 1), (52, 200, 0), (0, 100, 1), (5, 100, 0)] {
            let links = [suspect, link(1, within_ms + late_ms, 3000)];
            assert_eq!(choose(&links, 1327, None, MS * within_ms), Some(chosen), "{late_ms} ms late of {within_ms}");
        }
    }

    #[test]
    fn no_link_no_choice() {
        assert_eq!(choose(&[], 1327, None, Duration::MAX), None);
    }
}
