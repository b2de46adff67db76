//! The bitrate that the source may use: fast down, slow up.
//!
//! Congestion shows in the common queue: datagrams wait because no link has room.
//! While they do, what arrives is what the links carry, and the target is that,
//! less what it takes to empty the queue in time. Without a queue the target rises
//! while the source really uses it: slowly near what the links carried when they
//! were last full, faster the further it is from there. Towards what trains of packets
//! have shown it rises also when the source does not use it.

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
/// A datagram that waits for so long for room shows that all links are full: the target rises no more.
const QUEUE_FULL: Duration = Duration::from_millis(8);
/// A source that still sends more than arrives after this long does not follow.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(2);
/// The rise at what the links carried when they were last full, in percent of the target per second.
const RISE_NEAR: u64 = 5;
/// By how much the rise grows in each second without a queue, in percent per second.
const RISE_CALM: u64 = 50;
/// When the queue is empty again, the target returns to this share of what emptied it.
const RETURN_PERCENT: u64 = 80;
/// The target runs ahead of what arrives by so much: what arrives is old news.
const AHEAD_PERCENT: u64 = 120;
/// The same, and the rise in percent per second, before the links were ever full.
const AHEAD_START_PERCENT: u64 = 160;
const RISE_START: u64 = 200;
/// The rise towards what trains have shown, in percent per second.
const RISE_PROVEN: u64 = 100;
/// The most that it rises, in percent per second.
const RISE_FAR: u64 = 150;

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
    /// What the links are known to carry; none while that is not known of one of them.
    pub(super) proven: Option<u64>,
}

/// The target.
#[derive(Debug, Default)]
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
        if situation.queue > QUEUE_FULL {
            return;
        }
        let step = |rise: u64| (self.bps * rise * micros(TICK) / 100_000_000).max(1);
        let mut next = self.bps;
        let used = situation.offered >= self.bps * 3 / 4;
        if used {
            let ahead = if self.known == 0 { AHEAD_START_PERCENT } else { AHEAD_PERCENT };
            let shown = situation.goodput * ahead / 100 + INITIAL_PER_LINK / 10;
            next = (self.bps + step(self.rise(now))).min(shown.max(self.bps));
        }
        if let Some(proven) = situation.proven {
            let sustained = proven * RETURN_PERCENT / 100;
            // Less than was named before is told by trains alone, when the source does not use it.
            next = if used || next <= proven {
                next.max((self.bps + step(RISE_PROVEN)).min(sustained))
            } else {
                sustained.max(situation.offered).max(LEAST)
            };
        }
        self.bps = next;
    }

    fn congested(&mut self, now: Time, situation: &Situation) {
        let since = *self.congested_since.get_or_insert(now);
        // Next to nothing arrives: all links stand still, which says nothing of what they carry afterwards.
        if situation.goodput >= self.bps / 10 {
            self.known = situation.goodput;
        }
        let excess = micros(situation.queue.saturating_sub(QUEUE_LIMIT));
        let longest = micros(situation.patience * 5 / 10).max(1);
        // A source that does not follow shows what the links carry: a target far below would be wrong too.
        let follows = now.since(since) < FOLLOWS_WITHIN;
        let share = (100 - (excess * 100 / longest).min(100)).max(if follows { 10 } else { 50 });
        let sustained = situation.goodput * share / 100;
        self.bps = if follows { self.bps.min(sustained) } else { sustained }.max(LEAST);
    }

    /// The rise now, in percent per second.
    fn rise(&self, now: Time) -> u64 {
        if self.known == 0 {
            return RISE_START;
        }
        // Below what is known there is more to win and less to lose.
        let gain = if self.bps > self.known { 1 } else { 2 };
        let away = gain * self.bps.abs_diff(self.known) * 100 / self.known;
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
    use std::collections::VecDeque;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(800);
    const CALM: Situation = Situation {
        links: 3,
        offered: 0,
        goodput: 0,
        queue: Duration::ZERO,
        patience: PATIENCE,
        dropped: false,
        proven: None,
    };

    /// A source and links: what is handed over, what waits, what arrives.
    struct Pipe {
        target: Target,
        now_ms: u64,
        /// What the source is told, an encoder's delay ago.
        told: VecDeque<u64>,
        /// Bits handed over and not yet sent.
        waiting: u64,
        /// The source sends this whatever it is told.
        stubborn: Option<u64>,
        /// The longest that a datagram waited.
        longest: Duration,
    }

    impl Pipe {
        fn new() -> Self {
            Self {
                target: Target::default(),
                now_ms: 0,
                told: VecDeque::from([3_000_000; 15]),
                waiting: 0,
                stubborn: None,
                longest: Duration::ZERO,
            }
        }

        /// Carries `capacity` bits a second for `ms`; returns the least and the greatest target on the way.
        fn run(&mut self, ms: u64, capacity: u64) -> (u64, u64) {
            let (mut least, mut most) = (u64::MAX, 0);
            for _ in 0..ms / 20 {
                self.now_ms += 20;
                let told = self.told.pop_front().unwrap_or_default();
                let offered = self.stubborn.unwrap_or(told);
                self.waiting += offered / 50;
                let sent = self.waiting.min(capacity / 50);
                self.waiting -= sent;
                let queue = Duration::from_millis(self.waiting * 1000 / capacity.max(1)).min(PATIENCE);
                self.longest = self.longest.max(queue);
                let situation = Situation { offered, goodput: sent * 50, queue, ..CALM };
                self.target.tick(at(self.now_ms), &situation);
                self.told.push_back(self.target.bps());
                (least, most) = (least.min(self.target.bps()), most.max(self.target.bps()));
            }
            (least, most)
        }
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn an_idle_source_moves_nothing() {
        let mut target = Target::default();
        for ms in (0..10_000).step_by(20) {
            target.tick(at(ms), &CALM);
        }
        assert_eq!(target.bps(), 3_000_000);
    }

    #[test]
    fn a_source_that_follows_finds_ten_megabits_within_five_seconds_and_stays_there() {
        let mut pipe = Pipe::new();
        pipe.run(5000, 10_000_000);
        let (least, most) = pipe.run(30_000, 10_000_000);
        assert!(least > 7_500_000 && most < 12_500_000, "{least} {most}");
        assert!(pipe.longest < Duration::from_millis(200), "{:?}", pipe.longest);
    }

    #[test]
    fn what_trains_show_is_named_to_a_source_that_sends_little_and_taken_back_when_they_show_less() {
        let mut target = Target::default();
        let mut run = |from_ms: u64, proven| {
            let situation =
                Situation { links: 1, offered: 2_000_000, goodput: 2_000_000, proven: Some(proven), ..CALM };
            for ms in (from_ms..from_ms + 5_000).step_by(20) {
                target.tick(at(ms), &situation);
            }
            target.bps()
        };
        assert_eq!(run(0, 10_000_000), 8_000_000);
        assert_eq!(run(5_000, 9_000_000), 8_000_000, "measurements vary");
        assert_eq!(run(10_000, 5_000_000), 4_000_000);
        let least = run(15_000, 1_000_000);
        assert!((2_000_000..2_600_000).contains(&least), "what is sent arrives: {least}");
    }

    #[test]
    fn a_drop_to_a_third_is_followed_within_three_hundred_milliseconds_and_nothing_is_too_late() {
        let mut pipe = Pipe::new();
        pipe.run(20_000, 9_000_000);
        pipe.run(300, 3_000_000);
        assert!(pipe.target.bps() <= 3_000_000, "{}", pipe.target.bps());
        pipe.run(5000, 3_000_000);
        assert!(pipe.longest < PATIENCE, "{:?}", pipe.longest);
        let (least, most) = pipe.run(10_000, 3_000_000);
        assert!(least > 2_200_000 && most < 3_800_000, "{least} {most}");
    }

    #[test]
    fn after_a_stall_it_returns_to_what_drained_the_queue() {
        let mut pipe = Pipe::new();
        pipe.run(10_000, 6_000_000);
        let (least, _) = pipe.run(500, 0);
        assert_eq!(least, LEAST);
        pipe.run(1500, 6_000_000);
        assert!(pipe.target.bps() > 4_500_000, "{}", pipe.target.bps());
    }

    #[test]
    fn what_waited_for_the_first_link_is_no_congestion() {
        let mut target = Target::default();
        let queue = Duration::from_millis(300);
        for ms in (0..900).step_by(20) {
            target.tick(at(ms), &Situation { queue, dropped: true, ..CALM });
        }
        assert_eq!(target.bps(), 3_000_000);
        target.tick(at(920), &Situation { links: 0, ..CALM });
        for ms in (940..1800).step_by(20) {
            target.tick(at(ms), &Situation { queue, dropped: true, ..CALM });
        }
        assert_eq!(target.bps(), 3_000_000, "nor after all links were gone");
        for ms in (1800..2200).step_by(20) {
            target.tick(at(ms), &Situation { goodput: 1_000_000, offered: 3_000_000, queue, ..CALM });
        }
        assert!(target.bps() < 1_000_000, "a queue that stays is congestion: {}", target.bps());
    }

    #[test]
    fn a_source_that_does_not_follow_is_told_at_least_half_of_what_arrives() {
        let mut pipe = Pipe::new();
        pipe.stubborn = Some(6_000_000);
        pipe.run(20_000, 3_000_000);
        let (least, most) = pipe.run(10_000, 3_000_000);
        assert!(least >= 1_500_000 && most <= 3_000_000, "{least} {most}");
    }

    #[test]
    fn a_link_less_is_a_fact_and_no_link_sustains_nothing() {
        let mut pipe = Pipe::new();
        pipe.run(10_000, 8_000_000);
        pipe.target.link_lost(4_000_000);
        assert_eq!(pipe.target.bps(), 3_400_000);
        pipe.target.tick(at(11_000), &Situation { links: 0, ..CALM });
        assert_eq!(pipe.target.bps(), 0);
        pipe.target.tick(at(11_100), &CALM);
        assert_eq!(pipe.target.bps(), 3_400_000);
    }
}
