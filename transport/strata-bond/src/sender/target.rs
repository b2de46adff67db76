//! The bitrate that the source may use: fast down, slow up.
//!
//! Congestion shows in the common queue: datagrams wait because no link has room.
//! Then the target falls below what arrives. It rises slowly while the source
//! really uses it, faster before the first congestion, and never by itself.

use std::time::Duration;

use crate::Time;

/// How often it is looked at.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// Per link, before anything is known, in bits per second.
const INITIAL_PER_LINK: u64 = 1_000_000;
/// The least that is ever named while a link is up.
const LEAST: u64 = 100_000;
/// After a step down nothing rises for this long.
const HOLD: Duration = Duration::from_millis(1500);
/// A datagram that waits longer than this for room shows congestion.
const QUEUE_LIMIT: Duration = Duration::from_millis(80);

/// What the decision is made from; rates in bits of payload per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    /// Links that carry packets.
    pub(super) links: u64,
    /// What the source hands over.
    pub(super) offered: u64,
    /// What arrives over all links now, repeats not counted.
    pub(super) goodput: u64,
    /// The same over the last second: no burst after a stall.
    pub(super) steady_goodput: u64,
    /// What the links that are full deliver, if all are full.
    pub(super) ceiling: Option<u64>,
    /// How long the oldest unsent datagram has been waiting.
    pub(super) queue: Duration,
    /// Datagrams were dropped unsent since the last look.
    pub(super) dropped: bool,
}

/// The target.
#[derive(Debug, Default)]
pub(super) struct Target {
    bps: u64,
    links: u64,
    most_links: u64,
    congested_once: bool,
    hold_until: Time,
}

impl Target {
    /// Bits of payload per second; 0 while no link carries packets.
    pub(super) fn bps(&self) -> u64 {
        if self.links == 0 { 0 } else { self.bps }
    }

    pub(super) fn tick(&mut self, now: Time, situation: &Situation) {
        self.count_links(situation.links);
        if situation.links == 0 {
            return;
        }
        if situation.queue > QUEUE_LIMIT || situation.dropped {
            self.congested_once = true;
            if now >= self.hold_until || situation.goodput < self.bps * 7 / 10 {
                // A source that does not follow shows what the links carry: a target far below would be wrong too.
                let proven = situation.steady_goodput.min(situation.goodput) / 2;
                self.bps = self.bps.min(situation.goodput * 17 / 20).max(proven).max(LEAST);
                self.hold_until = now + HOLD;
            }
        } else if now >= self.hold_until && situation.offered >= self.bps * 3 / 4 {
            // Per tick of a tenth of a second: 5 % a second, at the start 60 %.
            let step = if self.congested_once { self.bps / 200 } else { self.bps * 6 / 100 };
            let ceiling = situation.ceiling.map_or(u64::MAX, |bps| (bps * 9 / 10).max(self.bps));
            self.bps = (self.bps + step).min(ceiling);
        }
    }

    /// A link more is a hope; a link less is a fact.
    fn count_links(&mut self, links: u64) {
        if links > self.most_links {
            if !self.congested_once {
                self.bps += (links - self.most_links) * INITIAL_PER_LINK;
            }
            self.most_links = links;
        }
        self.links = links;
    }

    /// A link is gone: the others carry `rest`.
    pub(super) fn link_lost(&mut self, rest: u64) {
        if rest > 0 {
            self.bps = self.bps.min(rest * 17 / 20).max(LEAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Situation = Situation {
        links: 3,
        offered: 0,
        goodput: 0,
        steady_goodput: 0,
        ceiling: None,
        queue: Duration::ZERO,
        dropped: false,
    };

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn run(target: &mut Target, from_ms: u64, to_ms: u64, situation: impl Fn(u64) -> Situation) {
        for ms in (from_ms..to_ms).step_by(100) {
            let seen = situation(target.bps());
            target.tick(at(ms), &seen);
        }
    }

    #[test]
    fn an_idle_source_moves_nothing() {
        let mut target = Target::default();
        run(&mut target, 0, 10_000, |_| CALM);
        assert_eq!(target.bps(), 3_000_000);
    }

    #[test]
    fn a_source_that_follows_finds_ten_megabits_within_ten_seconds() {
        let mut target = Target::default();
        run(&mut target, 0, 10_000, |bps| Situation { offered: bps, goodput: bps, ..CALM });
        assert!(target.bps() > 10_000_000, "{}", target.bps());
    }

    #[test]
    fn congestion_takes_it_below_what_arrives_at_once_and_it_returns_slowly() {
        let mut target = Target::default();
        run(&mut target, 0, 3000, |bps| Situation { offered: bps, goodput: bps, ..CALM });
        let queue = Duration::from_millis(120);
        target.tick(at(3000), &Situation { offered: 8_000_000, goodput: 2_000_000, queue, ..CALM });
        assert_eq!(target.bps(), 1_700_000);
        run(&mut target, 3100, 8000, |bps| Situation { offered: bps, goodput: bps, ..CALM });
        assert!((1_800_000..2_300_000).contains(&target.bps()), "{}", target.bps());
    }

    #[test]
    fn it_stays_below_what_full_links_deliver() {
        let mut target = Target::default();
        run(&mut target, 0, 20_000, |bps| Situation { offered: bps, goodput: bps, ceiling: Some(9_000_000), ..CALM });
        assert_eq!(target.bps(), 8_100_000);
    }

    #[test]
    fn without_links_nothing_can_be_sustained() {
        let mut target = Target::default();
        run(&mut target, 0, 1000, |_| CALM);
        run(&mut target, 1000, 1200, |_| Situation { links: 0, ..CALM });
        assert_eq!(target.bps(), 0);
        run(&mut target, 1200, 1400, |_| CALM);
        assert_eq!(target.bps(), 3_000_000);
    }
}
