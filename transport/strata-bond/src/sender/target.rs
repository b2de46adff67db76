//! The bitrate that the source may use: fast down, slow up.
//!
//! Congestion shows in the common queue: datagrams wait because no link has room.
//! While they do, what arrives is what the links carry, and the target is that,
//! less what it takes to empty the queue in time. Without a queue the target rises
//! while the source really uses it: slowly near what the links carried when they
//! were last full, faster the further it is from there.

use std::time::Duration;

use crate::Time;
use crate::time::{micros, millis};

/// How often it is looked at.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// Per link, before anything is known, in bits per second.
const INITIAL_PER_LINK: u64 = 1_000_000;
/// The least that is ever named while a link is up.
const LEAST: u64 = 100_000;
/// What arrives means nothing before packets, reports and a window of the meters have gone round.
const SETTLE: Duration = Duration::from_secs(1);
/// A datagram that waits longer than this for room shows congestion.
const QUEUE_LIMIT: Duration = Duration::from_millis(40);
/// A source that still sends more than arrives after this long does not follow.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(2);
/// The rise at what the links carried when they were last full, in percent of the target per second.
const RISE_NEAR: u64 = 5;
/// By how much the rise grows in each second without a queue, in percent per second.
const RISE_CALM: u64 = 20;
/// When the queue is empty again, the target returns to this share of what emptied it.
const RETURN_PERCENT: u64 = 85;
/// The target runs ahead of what arrives by so much: what arrives is old news.
const AHEAD_PERCENT: u64 = 125;
/// The most that it rises, in percent per second.
const RISE_FAR: u64 = 100;

/// What the decision is made from; rates in bits of payload per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    /// Links that carry packets.
    pub(super) links: u64,
    /// What the source hands over.
    pub(super) offered: u64,
    /// What arrives over all links now, repeats not counted.
    pub(super) goodput: u64,
    /// How long the oldest unsent datagram has been waiting.
    pub(super) queue: Duration,
    /// How long a datagram may wait.
    pub(super) patience: Duration,
    /// Datagrams were dropped unsent since the last look.
    pub(super) dropped: bool,
}

/// The target.
#[derive(Debug, Default, Clone)]
pub(super) struct Target {
    bps: u64,
    links: u64,
    most_links: u64,
    /// What arrived when the links were last full; 0 before.
    known: u64,
    /// Since when datagrams have been waiting.
    congested_since: Option<Time>,
    /// Since when none have.
    calm_since: Time,
    /// Since when some link carries packets.
    carrying_since: Option<Time>,
}

impl Target {
    /// Bits of payload per second; 0 while no link carries packets.
    pub(super) fn bps(&self) -> u64 {
        if self.links == 0 { 0 } else { self.bps }
    }

    pub(super) fn tick(&mut self, now: Time, situation: &Situation) {
        self.count_links(situation.links);
        if situation.links == 0 {
            self.carrying_since = None;
            return;
        }
        let since = *self.carrying_since.get_or_insert(now);
        if situation.queue > QUEUE_LIMIT || situation.dropped {
            // What waits at first waited for a link, not for room.
            if now.since(since) >= SETTLE {
                self.congested(now, situation);
            }
            return;
        }
        self.calm(now, situation);
    }

    /// Nothing waits: up, as far as the source shows that it arrives.
    fn calm(&mut self, now: Time, situation: &Situation) {
        if self.congested_since.take().is_some() {
            // The queue is empty again: what drained it is what the links carry.
            self.calm_since = now;
            self.bps = self.bps.max(self.known * RETURN_PERCENT / 100);
        }
        if situation.offered < self.bps * 3 / 4 {
            return;
        }
        let step = (self.bps * self.rise(now) * micros(TICK) / 100_000_000).max(1);
        let proven = situation.goodput * AHEAD_PERCENT / 100 + INITIAL_PER_LINK / 10;
        self.bps = (self.bps + step).min(proven.max(self.bps));
    }

    fn congested(&mut self, now: Time, situation: &Situation) {
        let since = *self.congested_since.get_or_insert(now);
        // Next to nothing arrives: all links stand still, which says nothing of what they carry afterwards.
        if situation.goodput >= self.bps / 10 {
            self.known = situation.goodput;
        }
        let excess = micros(situation.queue.saturating_sub(QUEUE_LIMIT));
        let longest = micros(situation.patience * 6 / 10).max(1);
        // A source that does not follow shows what the links carry: a target far below would be wrong too.
        let least = if now.since(since) < FOLLOWS_WITHIN { 10 } else { 50 };
        let share = (100 - (excess * 100 / longest).min(100)).max(least);
        self.bps = self.bps.min(situation.goodput * share / 100).max(LEAST);
    }

    /// The rise now, in percent per second.
    fn rise(&self, now: Time) -> u64 {
        if self.known == 0 {
            return RISE_FAR;
        }
        let away = self.bps.abs_diff(self.known) * 200 / self.known;
        let calm = millis(now.since(self.calm_since)) * RISE_CALM / 1000;
        (RISE_NEAR + away + calm).min(RISE_FAR)
    }

    /// A link more is a hope; a link less is a fact.
    fn count_links(&mut self, links: u64) {
        if links > self.most_links {
            if self.known == 0 {
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
    fn what_waited_for_the_first_link_is_no_congestion() {
        let mut target = Target::default();
        let queue = Duration::from_millis(300);
        run(&mut target, 0, 500, |bps| Situation { offered: bps, queue, ..CALM });
        assert_eq!(target.bps(), 3_000_000);
        run(&mut target, 500, 600, |_| Situation { links: 0, ..CALM });
        run(&mut target, 600, 1500, |bps| Situation { offered: bps, queue, dropped: true, ..CALM });
        assert_eq!(target.bps(), 3_000_000, "nor after all links were gone");
        run(&mut target, 1500, 1800, |bps| Situation { offered: bps, goodput: 1_000_000, queue, ..CALM });
        assert_eq!(target.bps(), 850_000, "a queue that stays is congestion");
    }

    #[test]
    fn after_a_stall_it_is_nearly_half_way_back_within_seven_seconds_and_a_link_that_shrank_stops_it() {
        let calm = |bps| Situation { offered: bps, goodput: bps, steady_goodput: bps, ..CALM };
        let queue = Duration::from_millis(300);
        let mut target = Target::default();
        run(&mut target, 0, 1000, calm);
        let before = target.bps();
        target.tick(at(1000), &Situation { offered: before, queue, ..CALM });
        assert_eq!(target.bps(), LEAST);
        let mut shrunk = Target { ..target };
        run(&mut target, 1100, 8000, calm);
        assert!(target.bps() > before * 2 / 5, "{} of {before}", target.bps());

        // Only 1 Mbit/s is left: found once, then kept to.
        let narrow = |bps: u64| match bps {
            1_000_001.. => Situation { offered: bps, goodput: 1_000_000, steady_goodput: 1_000_000, queue, ..CALM },
            _ => calm(bps),
        };
        run(&mut shrunk, 1100, 10_000, narrow);
        run(&mut shrunk, 10_000, 14_000, |bps| {
            assert!((700_000..1_200_000).contains(&bps), "{bps}");
            narrow(bps)
        });
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
