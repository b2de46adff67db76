//! When datagrams are protected by parity, by how much, and what that may cost.
//!
//! Parity is for losses that no repeat can make good in time, and only for those.
//! How much there is follows from what was lost lately, and from how: losses in
//! bursts need more. Owns the decision, the block that is being filled and the
//! budget; where parity packets go is the caller's.

use std::time::Duration;

use super::loss::Lost;
use crate::Time;
use crate::parity::{MAX_BLOCK, MAX_PARITY};
use crate::time::micros;

/// A block that cannot be repaired may happen so seldom.
const RESIDUAL: f64 = 1e-4;
/// With fewer packets answered, what was lost of them says nothing …
const ENOUGH: u64 = 100;
/// … and this is assumed.
const ASSUMED_LOSS: f64 = 0.01;
/// More than this is no link, whatever was measured.
const MOST_LOSS: f64 = 0.9;
/// A repeat is in time again when it takes no more than this share of the latency, in percent.
const BACK_PERCENT: u32 = 90;
/// No block takes longer: it would wait for a few datagrams more, of a stream so slow that they matter little.
const LONGEST: Duration = Duration::from_millis(200);
/// A link that carried more than this share of a block, in percent, does not get its parity if there is another.
const MAIN_PERCENT: usize = 67;
/// Of what is proven to be spare, parity takes so much: what is known of a link is old news.
const SPARE_PERCENT: u64 = 80;

/// Whether repeats over a link come too late, without going back and forth at the border.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLate(bool);

impl TooLate {
    /// `repeat`: how long after the first copy its repeat arrives.
    pub(super) fn judge(&mut self, repeat: Duration, latency: Duration) -> bool {
        self.0 = repeat > if self.0 { latency * BACK_PERCENT / 100 } else { latency };
        self.0
    }
}

/// What is to be repaired by parity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Need {
    /// The share of all packets that is lost and not repeated in time.
    pub(super) loss: f64,
    /// How many are lost with a lost one, itself included.
    pub(super) burst: f64,
}

impl Need {
    /// From what links lost whose repeats are too late, of what all links carried; none if there is nothing to repair.
    pub(super) fn of(too_late: &Lost, all: &Lost) -> Option<Self> {
        if all.packets < ENOUGH {
            return Some(Self { loss: ASSUMED_LOSS, burst: 1.0 });
        }
        let lost = too_late.lost as f64;
        (too_late.lost > 0).then(|| Self { loss: lost / all.packets as f64, burst: too_late.squares as f64 / lost })
    }

    /// How much parity a block of `count` datagrams needs: at most half as much as there are.
    pub(super) fn parity(&self, count: usize) -> usize {
        let most = MAX_PARITY.min(count.div_ceil(2));
        (1..most).find(|&parity| self.fails(count + parity, parity) <= RESIDUAL).unwrap_or(most)
    }

    /// How likely more than `bearable` of so many packets are lost, by Gilbert's model: bursts begin and end by chance.
    fn fails(&self, packets: usize, bearable: usize) -> f64 {
        let loss = self.loss.min(MOST_LOSS);
        // A loss is in a longer burst than bursts are on average.
        let ends = 2.0 / (self.burst + 1.0);
        let begins = (loss / (1.0 - loss) * ends).min(1.0);
        // By how many were lost: the last one arrived, or it did not.
        let mut chances = vec![(0.0, 0.0); bearable + 1];
        chances[0] = (1.0 - loss, loss);
        for _ in 0..packets {
            let mut before = 0.0;
            for (arrived, lost) in &mut chances {
                let next_lost = *arrived * begins + *lost * (1.0 - ends);
                *arrived = *arrived * (1.0 - begins) + *lost * ends;
                *lost = std::mem::replace(&mut before, next_lost);
            }
        }
        1.0 - chances.iter().map(|(arrived, lost)| arrived + lost).sum::<f64>()
    }
}

/// How long a block may take from its first datagram to its parity: two thirds of the time in which that is of use.
///
/// `way`: how much later than the first a packet arrives over the slowest link, with a margin.
pub(super) fn block_time(latency: Duration, way: Duration) -> Duration {
    (latency.saturating_sub(way) * 2 / 3).min(LONGEST)
}

/// Datagrams that follow each other and get their parity together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) first: u64,
    pub(super) count: usize,
    /// When its first datagram was handed over.
    pub(super) sent: Time,
    /// How many of them went over each link.
    carried: [usize; crate::MAX_LINKS],
}

impl Block {
    pub(super) fn new(first: u64, sent: Time) -> Self {
        Self { first, count: 0, sent, carried: [0; crate::MAX_LINKS] }
    }

    /// Takes the next datagram, which went over `link`; false if it does not follow, or there are enough.
    pub(super) fn add(&mut self, sequence: u64, link: u8) -> bool {
        let follows = sequence == self.first + self.count as u64 && self.count < MAX_BLOCK;
        if follows {
            self.count += 1;
            if let Some(carried) = self.carried.get_mut(usize::from(link)) {
                *carried += 1;
            }
        }
        follows
    }

    /// The link that carried most of it, if one did: a burst on that link must not take the parity along.
    pub(super) fn main_link(&self) -> Option<u8> {
        let main = self.carried.iter().position(|&carried| carried * 100 > self.count * MAIN_PERCENT)?;
        u8::try_from(main).ok()
    }
}

/// What may be spent on parity of what the links are proven to carry beyond what they do.
#[derive(Debug, Default)]
pub(super) struct Budget {
    bytes: u64,
    filled: Time,
}

impl Budget {
    /// Time went by in which `bps` were spare; at most a second's worth is saved up.
    pub(super) fn fill(&mut self, now: Time, bps: u64) {
        let passed = now.since(self.filled).min(Duration::from_secs(1));
        let share = bps * SPARE_PERCENT / 100;
        self.bytes = (self.bytes + share * micros(passed) / 8_000_000).min(share / 8);
        self.filled = now;
    }

    /// Spends `bytes`, if there is so much.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn parity_is_on_where_a_repeat_is_too_late_and_stays_until_it_is_well_in_time() {
        // A repeat's time, the latency, before, after.
        let table = [
            (100, 500, false, false),
            (500, 500, false, false),
            (501, 500, false, true),
            (460, 500, true, true),
            (451, 500, true, true),
            (450, 500, true, false),
            (365, 300, false, true),
            (235, 250, false, false),
        ];
        for (repeat, latency, before, after) in table {
            let mut too_late = TooLate(before);
            assert_eq!(too_late.judge(MS * repeat, MS * latency), after, "{repeat} of {latency}, before {before}");
        }
    }

    fn lost(packets: u64, lost: u64, squares: u64) -> Lost {
        Lost { packets, lost, squares }
    }

    #[test]
    fn what_needs_repair_is_what_was_lost_too_late_of_all() {
        let all = lost(10_000, 300, 300);
        assert_eq!(Need::of(&lost(5000, 100, 400), &all), Some(Need { loss: 0.01, burst: 4.0 }));
        assert_eq!(Need::of(&lost(5000, 0, 0), &all), None);
        assert_eq!(Need::of(&lost(0, 0, 0), &lost(50, 0, 0)), Some(Need { loss: ASSUMED_LOSS, burst: 1.0 }));
    }

    #[test]
    fn parity_grows_with_loss_and_bursts_and_larger_blocks_need_less_of_it() {
        // Loss in percent, burst, datagrams, parity.
        let table = [
            (0.01, 1.0, 32, 1),
            (0.5, 1.0, 32, 3),
            (2.0, 1.04, 8, 3),
            (2.0, 1.04, 32, 5),
            (2.0, 1.04, 64, 7),
            (1.0, 3.0, 48, 13),
            (1.0, 7.0, 64, 28),
            (10.0, 1.2, 32, 13),
            (90.0, 1.0, 64, MAX_PARITY),
            (2.0, 1.0, 1, 1),
        ];
        for (percent, burst, count, parity) in table {
            let need = Need { loss: percent / 100.0, burst };
            assert_eq!(need.parity(count), parity, "{need:?} {count}");
        }
    }

    #[test]
    fn a_block_ends_where_a_datagram_is_missing_and_when_it_is_full() {
        let mut block = Block::new(10, Time::ZERO);
        assert!(block.add(10, 0) && block.add(11, 1));
        assert!(!block.add(13, 0));
        assert_eq!((block.count, block.main_link()), (2, None));
        for sequence in 12..10 + MAX_BLOCK as u64 {
            assert!(block.add(sequence, 1));
        }
        assert!(!block.add(10 + MAX_BLOCK as u64, 1));
        assert_eq!(block.main_link(), Some(1));
    }

    #[test]
    fn a_block_takes_two_thirds_of_the_time_that_there_is() {
        assert_eq!(block_time(MS * 300, MS * 60), MS * 160);
        assert_eq!(block_time(MS * 2000, MS * 60), LONGEST);
        assert_eq!(block_time(MS * 200, MS * 300), Duration::ZERO);
    }

    #[test]
    fn four_fifths_of_what_is_spare_are_spent_and_a_second_of_it_is_saved_up() {
        let mut budget = Budget::default();
        let at = |ms: u64| Time::from_micros(ms * 1000);
        budget.fill(at(5000), 1_000_000);
        assert!(budget.take(100_000) && !budget.take(1));
        let mut taken = 0;
        for ms in (5010..=15_000).step_by(10) {
            budget.fill(at(ms), 1_000_000);
            taken += u64::from(budget.take(1400)) * 1400;
        }
        assert!((995_000..=1_000_000).contains(&taken), "{taken}");
        budget.fill(at(15_010), 0);
        assert!(!budget.take(1), "what is not spare any more is not spent");
    }
}
