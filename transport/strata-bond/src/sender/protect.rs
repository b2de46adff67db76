//! What protects datagrams before they are lost: copies at once, and parity.
//!
//! The decision and its numbers are in [`parity`](super::parity); here they meet
//! the links, the store and the common queue. Parity goes last: never while a
//! datagram waits for room, nor into a queue.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::loss::Lost;
use super::meter::Meter;
use super::parity::{Block, Budget, Need, TooLate, block_time};
use super::store::WHOLE;
use super::{CHANCES, LATE_MARGIN, Sender, Transmit};
use crate::Time;
use crate::parity::{Protected, encode, shard_bytes};
use crate::scheduler;
use crate::wire::{PARITY_HEADER, Parity};

/// A link with a longer queue gets no parity.
const QUIET: Duration = Duration::from_millis(20);
/// A repeat that leaves less than its own time and this goes twice at once.
const LAST_MARGIN: Duration = Duration::from_millis(30);
/// What parity takes from the links is looked at over this time.
const SPENT_SPAN: Duration = Duration::from_secs(1);

/// What is known of parity.
#[derive(Debug, Default)]
pub(super) struct Protection {
    too_late: BTreeMap<u8, TooLate>,
    /// None while repeats do, or nothing is lost.
    need: Option<Need>,
    open: Option<Block>,
    /// Blocks whose parity was not made yet.
    closed: VecDeque<Block>,
    /// The block whose parity is on its way, and what is left of that.
    sending: Option<(Block, VecDeque<Parity>)>,
    budget: Budget,
    spent: Meter,
}

impl Sender {
    /// Looks at the clock: whether there is need, what is spare, and whether a block has taken long enough.
    pub(super) fn look_at_parity(&mut self, now: Time) {
        let need = self.parity_need(now);
        let spare: u64 = self.links.values().filter(|link| link.carries()).map(|link| link.spare_bps(now)).sum();
        let latency = self.latency();
        let way = self.slowest_way() + LATE_MARGIN;
        let parity = &mut self.protection;
        parity.need = need;
        // What the links carry of parity is no reason against as much of it.
        parity.budget.fill(now, spare + parity.spent.bps(now, SPENT_SPAN));
        if let Some(block) = parity.open.take_if(|block| now.since(block.sent) >= block_time(latency, way)) {
            parity.closed.push_back(block);
        }
        parity.closed.retain(|block| block.sent + latency > now);
    }

    fn parity_need(&mut self, now: Time) -> Option<Need> {
        let (latency, offset_us) = (self.latency(), self.peer.offset_us);
        let way = self.links.values().filter(|link| link.carries()).map(|link| link.extra_delay(offset_us)).min()?;
        let (mut all, mut too_late, mut any) = (Lost::default(), Lost::default(), false);
        for link in self.links.values().filter(|link| link.carries()) {
            let lost = link.lost_lately(now);
            all.add(&lost);
            if self.protection.too_late.entry(link.id).or_default().judge(link.answer_time() + way, latency) {
                too_late.add(&lost);
                any = true;
            }
        }
        if any { Need::of(&too_late, &all) } else { None }
    }

    fn slowest_way(&self) -> Duration {
        let carrying = self.links.values().filter(|link| link.carries());
        carrying.map(|link| link.extra_delay(self.peer.offset_us)).max().unwrap_or_default()
    }

    /// A datagram went over a link for the first time.
    pub(super) fn cover(&mut self, sequence: u64, sent: Time, link: u8) {
        let parity = &mut self.protection;
        if parity.need.is_none() {
            return;
        }
        let added = parity.open.as_mut().is_some_and(|block| block.add(sequence, link));
        if !added {
            parity.closed.extend(parity.open.take());
            let mut block = Block::new(sequence, sent);
            block.add(sequence, link);
            parity.open = Some(block);
        }
    }

    /// A datagram was just handed to link `id`: a copy may follow at once, over another link. That is for repeats which
    /// nobody will see fail in time, and for key frames: for each repeat of theirs, and where there is not time for
    /// two, within what is spare, for the first copy too.
    pub(super) fn copy_at_once(&mut self, now: Time, sequence: u64, id: u8) {
        let latency = self.latency();
        let others = self.links.values().any(|link| link.id != id && link.carries());
        let (Some(link), Some(datagram)) = (self.links.get(&id), self.store.get(sequence)) else { return };
        let left = (datagram.sent + latency).since(now);
        let again = link.repeat_time(self.peer.offset_us);
        let key = datagram.key && others;
        let bytes = datagram.payload.len();
        if datagram.tries > 1 {
            let wanted = !datagram.doubled && (key || left < again + LAST_MARGIN);
            if wanted && self.spare.take(u32::try_from(bytes).unwrap_or(u32::MAX)) {
                self.store.double(sequence, id);
            }
        } else if key && left < again * CHANCES + LAST_MARGIN && self.protection.budget.take(bytes as u64) {
            self.store.repeat(sequence, id);
        }
    }

    /// The next parity packet, if there is one and a link has room for it in time.
    pub(super) fn next_parity(&mut self, now: Time) -> Option<Transmit> {
        let latency = self.latency();
        let carrying = self.links.values().filter(|link| link.carries());
        let least = carrying.map(|link| link.empty_delay(self.peer.offset_us)).min()?;
        while self.store.queue().0 == 0 {
            let Some((block, left)) = &mut self.protection.sending else {
                self.make_parity()?;
                continue;
            };
            let (in_time, avoid) = ((block.sent + latency).since(now), block.main_link());
            let Some(parity) = left.pop_front().filter(|_| in_time > least) else {
                self.protection.sending = None;
                continue;
            };
            let bytes = PARITY_HEADER + parity.shard.len();
            let Some(id) = self.link_for_parity(now, bytes, avoid, in_time) else {
                // Until there is room, or it is too late.
                if let Some((_, left)) = &mut self.protection.sending {
                    left.push_front(parity);
                }
                return None;
            };
            let link = self.links.get_mut(&id)?;
            let link_sequence = link.send(now, None, 0, bytes);
            link.count_parity();
            self.protection.spent.add(now, bytes);
            return Some(Transmit { link: id, packet: Parity { link_sequence, ..parity }.encode() });
        }
        None
    }

    fn link_for_parity(&mut self, now: Time, bytes: usize, avoid: Option<u8>, in_time: Duration) -> Option<u8> {
        self.look_at_links(now, false);
        let fits = |id: &u8| self.links.get(id).is_some_and(|link| link.max_datagram() >= bytes);
        self.views.retain(|view| view.queue < QUIET && !view.suspect && fits(&view.id));
        let bytes = bytes as u64;
        let other = avoid.and_then(|_| scheduler::choose(&self.views, bytes, avoid, in_time));
        other.or_else(|| scheduler::choose(&self.views, bytes, None, in_time))
    }

    /// Makes the parity of the oldest block, if that needs it; none if there is no block.
    fn make_parity(&mut self) -> Option<()> {
        let block = self.protection.closed.pop_front()?;
        let (first, count) = (block.first, block.count);
        let datagrams: Vec<_> = (first..first + count as u64).filter_map(|sequence| self.store.get(sequence)).collect();
        let needed = datagrams.len() == count && datagrams.iter().any(|datagram| datagram.got != WHOLE);
        let longest = datagrams.iter().map(|datagram| datagram.payload.len()).max().unwrap_or(0);
        let bytes = PARITY_HEADER + shard_bytes(longest);
        let possible = needed && self.links.values().any(|link| link.carries() && link.max_datagram() >= bytes);
        let protected: Vec<Protected> =
            datagrams.iter().map(|datagram| Protected::new(datagram.sent, datagram.payload.clone())).collect();
        let total = if possible { self.affordable_parity(count, bytes) } else { 0 };
        if total > 0 {
            let packet = |(index, shard)| Parity { link_sequence: 0, first, count, total, index, shard };
            let packets = encode(&protected, total).into_iter().enumerate().map(packet).collect();
            self.protection.sending = Some((block, packets));
        }
        Some(())
    }

    /// How much parity of `bytes` each a block gets: what it needs, as far as it can be paid.
    fn affordable_parity(&mut self, count: usize, bytes: usize) -> usize {
        let Some(need) = self.protection.need else { return 0 };
        let paid = |_: &usize| {
            self.protection.budget.take(bytes as u64) || self.spare.take_half(u32::try_from(bytes).unwrap_or(u32::MAX))
        };
        (0..need.parity(count)).take_while(paid).count()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::Packet;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    /// A sender with two links of which nothing but the round trip is known.
    fn sender(latency: Duration, round_trip: Duration, max_datagram: usize) -> Sender {
        let mut sender = Sender::new(at(0), latency, 1);
        for link in 0..2 {
            sender.add_link(at(0), link, "link");
            sender.link_up(at(0), link, round_trip, max_datagram);
        }
        sender
    }

    fn poll(sender: &mut Sender, ms: u64) -> Vec<(u64, usize, usize)> {
        let sent = std::iter::from_fn(|| sender.poll_transmit(at(ms)));
        let parity = sent.filter_map(|transmit| match Packet::parse(&transmit.packet) {
            Ok(Packet::Parity(parity)) => Some((parity.first, parity.count, parity.total)),
            _ => None,
        });
        parity.collect()
    }

    /// Ten datagrams in 50 ms; returns the parity of them until then, and afterwards at each of these times.
    fn stream(sender: &mut Sender, times: &[u64]) -> Vec<(u64, usize, usize)> {
        let mut parity = Vec::new();
        for ms in (100..150).step_by(5) {
            parity.extend(poll(sender, ms));
            sender.push(at(ms), Bytes::from_static(&[7; 1316])).unwrap();
            parity.extend(poll(sender, ms));
        }
        parity.extend(times.iter().flat_map(|&ms| poll(sender, ms)));
        parity
    }

    #[test]
    fn a_block_gets_its_parity_when_it_has_taken_long_enough() {
        let mut sender = sender(MS * 300, MS * 350, 1366);
        let parity = stream(&mut sender, &[160, 200]);
        assert!(parity.len() >= 3 && parity.iter().all(|&(first, _, _)| first == parity[0].0), "{parity:?}");
        let (_, count, total) = parity[0];
        assert!((8..=10).contains(&count) && total == parity.len(), "{parity:?}");
        assert_eq!(sender.stats(at(200)).parity_packets, total as u64);
    }

    #[test]
    fn where_a_repeat_is_in_time_there_is_no_parity() {
        assert_eq!(stream(&mut sender(MS * 600, MS * 350, 1366), &[200, 300, 400]), []);
    }

    #[test]
    fn parity_that_would_come_too_late_is_never_sent() {
        // A packet takes 175 ms longer than over the fastest link, as far as is known.
        assert_eq!(stream(&mut sender(MS * 300, MS * 350, 1366), &[230, 240, 250]), []);
    }

    #[test]
    fn datagrams_that_fill_the_packets_of_all_links_get_none() {
        assert_eq!(stream(&mut sender(MS * 300, MS * 350, 1330), &[160, 200]), []);
    }

    #[test]
    fn while_a_datagram_waits_nothing_is_spare() {
        let mut sender = sender(MS * 300, MS * 350, 1366);
        for _ in 0..60 {
            sender.push(at(100), Bytes::from_static(&[7; 1316])).unwrap();
        }
        let parity: Vec<_> = (100..300).step_by(10).flat_map(|ms| poll(&mut sender, ms)).collect();
        assert!(parity.is_empty() && sender.stats(at(300)).unsent_datagrams > 0, "{parity:?}");
    }
}
