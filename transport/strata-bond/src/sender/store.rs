//! The datagrams whose time has not come yet, each with what is known of its copies.
//!
//! Everything is kept until its time, acknowledged or not: a receiver that starts
//! anew gets it again. Owns which datagrams need a repeat, oldest first.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::Time;

/// Both halves.
pub(super) const WHOLE: u8 = 3;

/// A datagram and its copies.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) payload: Bytes,
    /// When the source handed it over.
    pub(super) sent: Time,
    /// It carries a part of a key frame, or a table.
    pub(super) key: bool,
    /// The halves that the receiver has, one bit each.
    pub(super) got: u8,
    /// Link packets on their way that carry it and are counted on.
    pub(super) copies: u16,
    /// How often it was sent.
    pub(super) tries: u16,
    /// The link that may still deliver a copy; a repeat avoids it.
    pub(super) avoid: Option<u8>,
    /// A repeat was sent twice at once, because there was no time to see it fail.
    pub(super) doubled: bool,
    /// A second copy was sent because the first one was foreseen to be late.
    rescued: bool,
}

/// What happened to datagrams when their time came.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expired {
    /// Datagrams that had never been sent.
    pub(super) unsent: u64,
}

/// The datagrams whose time has not come.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// The sequence of the first one.
    base: u64,
    datagrams: VecDeque<Datagram>,
    bytes: usize,
    /// The first sequence never sent.
    unsent: u64,
    repairs: BTreeSet<u64>,
    /// Below this the receiver needs nothing.
    complete_below: u64,
}

impl Store {
    pub(super) fn push(&mut self, now: Time, payload: Bytes, key: bool) {
        self.bytes += payload.len();
        self.datagrams.push_back(Datagram {
            payload,
            sent: now,
            key,
            got: 0,
            copies: 0,
            tries: 0,
            avoid: None,
            doubled: false,
            rescued: false,
        });
    }

    /// Bytes of payload held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest sequence whose time has not come.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    fn end(&self) -> u64 {
        self.base + self.datagrams.len() as u64
    }

    fn index(&self, sequence: u64) -> Option<usize> {
        usize::try_from(sequence.checked_sub(self.base)?).ok()
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Datagram> {
        self.datagrams.get(self.index(sequence)?)
    }

    /// The newest datagram that was sent: the one with the most time left.
    pub(super) fn newest_sent(&self) -> Option<u64> {
        self.unsent.checked_sub(1).filter(|&sequence| sequence >= self.base)
    }

    /// Lets go of what was handed over before `now − latency`, and of what is unsent since `now − patience`.
    pub(super) fn expire(&mut self, now: Time, latency: Duration, patience: Duration) -> Expired {
        let mut expired = Expired::default();
        while self.get(self.unsent).is_some_and(|datagram| datagram.sent + patience < now) {
            self.unsent += 1;
            expired.unsent += 1;
        }
        while self.datagrams.front().is_some_and(|datagram| datagram.sent + latency < now) {
            if let Some(datagram) = self.datagrams.pop_front() {
                self.bytes -= datagram.payload.len();
            }
            self.repairs.remove(&self.base);
            self.base += 1;
            if self.unsent < self.base {
                self.unsent = self.base;
                expired.unsent += 1;
            }
        }
        expired
    }

    /// How many datagrams were never sent yet, and when the oldest of them was handed over.
    pub(super) fn queue(&self) -> (u64, Option<Time>) {
        (self.end() - self.unsent, self.get(self.unsent).map(|datagram| datagram.sent))
    }

    /// What is to be sent again, oldest first.
    pub(super) fn repairs(&self) -> impl Iterator<Item = (u64, &Datagram)> {
        self.repairs.iter().filter_map(|&sequence| Some((sequence, self.get(sequence)?)))
    }

    /// The first datagram that was never sent.
    pub(super) fn first_unsent(&self) -> Option<(u64, &Datagram)> {
        Some((self.unsent, self.get(self.unsent)?))
    }

    /// Whether there is nothing to send.
    pub(super) fn is_drained(&self) -> bool {
        self.repairs.is_empty() && self.unsent == self.end()
    }

    /// Gives up repairs of datagrams that were handed over before `arrival − latency`.
    pub(super) fn abandon_before(&mut self, arrival: Time, latency: Duration) {
        while let Some(&sequence) = self.repairs.first() {
            if self.get(sequence).is_some_and(|datagram| datagram.sent + latency >= arrival) {
                return;
            }
            self.repairs.pop_first();
        }
    }

    /// A datagram was handed to a link, in `packets` link packets.
    pub(super) fn sent(&mut self, sequence: u64, packets: u16) {
        self.repairs.remove(&sequence);
        if sequence == self.unsent {
            self.unsent += 1;
        }
        if let Some(datagram) = self.index(sequence).and_then(|at| self.datagrams.get_mut(at)) {
            datagram.copies = datagram.copies.saturating_add(packets);
            datagram.tries = datagram.tries.saturating_add(1);
            datagram.avoid = None;
        }
    }

    /// A link packet arrived that carried `pieces` of a datagram; returns the payload bytes that this completes,
    /// or nothing if the datagram's time has passed.
    ///
    /// `counted`: it is one of the datagram's copies on their way.
    pub(super) fn acknowledged(&mut self, sequence: u64, pieces: u8, counted: bool) -> Option<usize> {
        let datagram = self.index(sequence).and_then(|at| self.datagrams.get_mut(at))?;
        if counted {
            datagram.copies = datagram.copies.saturating_sub(1);
        }
        let before = datagram.got;
        datagram.got |= pieces;
        if datagram.got != WHOLE {
            return Some(0);
        }
        self.repairs.remove(&sequence);
        Some(if before == WHOLE { 0 } else { datagram.payload.len() })
    }

    /// A link packet is lost, or is taken for lost; the datagram is sent again if nothing else will bring it.
    pub(super) fn lost(&mut self, sequence: u64, pieces: u8) {
        let needed = sequence >= self.complete_below;
        let Some(datagram) = self.index(sequence).and_then(|at| self.datagrams.get_mut(at)) else { return };
        datagram.copies = datagram.copies.saturating_sub(1);
        // Another copy of the same half may be on its way, but nothing says which: repeat halves at once.
        if needed && datagram.got != WHOLE && (datagram.copies == 0 || pieces != WHOLE) {
            self.repairs.insert(sequence);
        }
    }

    /// A copy may still arrive, but is not counted on any more.
    pub(super) fn uncount(&mut self, sequence: u64) {
        if let Some(datagram) = self.index(sequence).and_then(|at| self.datagrams.get_mut(at)) {
            datagram.copies = datagram.copies.saturating_sub(1);
        }
    }

    /// Sends a datagram again although a copy may still arrive over `link`.
    pub(super) fn repeat(&mut self, sequence: u64, link: u8) {
        if sequence < self.complete_below {
            return;
        }
        let Some(datagram) = self.index(sequence).and_then(|at| self.datagrams.get_mut(at)) else { return };
        if datagram.got != WHOLE {
            datagram.avoid = Some(link);
            self.repairs.insert(sequence);
        }
    }

    /// Whether a datagram may be sent again because it is foreseen to be late: once each.
    pub(super) fn rescue(&mut self, sequence: u64) -> bool {
        let datagram = self.index(sequence).and_then(|at| self.datagrams.get_mut(at));
        datagram.is_some_and(|datagram| datagram.got != WHOLE && !std::mem::replace(&mut datagram.rescued, true))
    }

    /// Sends a repeat that went over `link` once more, over another one.
    pub(super) fn double(&mut self, sequence: u64, link: u8) {
        if let Some(datagram) = self.index(sequence).and_then(|at| self.datagrams.get_mut(at)) {
            datagram.doubled = true;
        }
        self.repeat(sequence, link);
    }

    /// The receiver needs nothing below `next`.
    pub(super) fn complete_below(&mut self, next: u64) {
        let next = next.min(self.unsent);
        for sequence in self.complete_below.max(self.base)..next {
            if let Some(datagram) = self.index(sequence).and_then(|at| self.datagrams.get_mut(at)) {
                datagram.got = WHOLE;
            }
            self.repairs.remove(&sequence);
        }
        self.complete_below = self.complete_below.max(next);
    }

    /// The receiver forgot everything: what it had must go there again.
    pub(super) fn receiver_restarted(&mut self) {
        self.complete_below = self.base;
        for (sequence, datagram) in (self.base..self.unsent).zip(&mut self.datagrams) {
            datagram.got = 0;
            if datagram.copies == 0 {
                self.repairs.insert(sequence);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next to send, and whether it is a repair.
    fn next(store: &Store) -> Option<(u64, bool)> {
        let repair = store.repairs().next().map(|(sequence, _)| (sequence, true));
        repair.or_else(|| store.first_unsent().map(|(sequence, _)| (sequence, false)))
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn store_of(count: u64) -> Store {
        let mut store = Store::default();
        for ms in 0..count {
            store.push(at(ms), Bytes::from_static(b"x"), false);
        }
        store
    }

    #[test]
    fn new_datagrams_go_in_order_and_repairs_before_them() {
        let mut store = store_of(3);
        assert_eq!(next(&store), Some((0, false)));
        store.sent(0, 1);
        store.sent(1, 1);
        store.lost(0, WHOLE);
        assert_eq!(next(&store), Some((0, true)));
        store.sent(0, 1);
        assert_eq!(next(&store), Some((2, false)));
    }

    #[test]
    fn a_lost_copy_is_not_repeated_while_another_is_on_its_way() {
        let mut store = store_of(1);
        store.sent(0, 1);
        store.repeat(0, 0);
        store.sent(0, 1);
        store.lost(0, WHOLE);
        assert_eq!(next(&store), None);
        store.lost(0, WHOLE);
        assert_eq!(next(&store), Some((0, true)));
    }

    #[test]
    fn a_copy_that_is_not_counted_on_holds_no_repair_back() {
        let mut store = store_of(1);
        store.sent(0, 1);
        store.uncount(0);
        store.repeat(0, 0);
        store.sent(0, 1);
        store.lost(0, WHOLE);
        assert_eq!(next(&store), Some((0, true)));
    }

    #[test]
    fn an_acknowledgement_cancels_the_repair() {
        let mut store = store_of(1);
        store.sent(0, 1);
        store.lost(0, WHOLE);
        store.acknowledged(0, WHOLE, false);
        assert_eq!(next(&store), None);
    }

    #[test]
    fn two_halves_that_arrived_need_no_repair() {
        let mut store = store_of(1);
        store.sent(0, 2);
        store.acknowledged(0, 1, true);
        store.lost(0, 2);
        assert_eq!(next(&store), Some((0, true)));
        store.acknowledged(0, 2, true);
        assert_eq!(next(&store), None);
    }

    #[test]
    fn time_ends_everything_and_counts_what_was_never_sent() {
        let mut store = store_of(3);
        store.sent(0, 1);
        store.lost(0, WHOLE);
        let expired = store.expire(at(102), Duration::from_millis(100), Duration::from_millis(100));
        assert_eq!((expired.unsent, store.base(), next(&store)), (1, 2, Some((2, false))));
    }

    #[test]
    fn what_waits_too_long_is_not_sent_any_more() {
        let mut store = store_of(3);
        assert_eq!(store.expire(at(52), Duration::from_millis(100), Duration::from_millis(50)).unsent, 2);
        assert_eq!((store.base(), next(&store)), (0, Some((2, false))));
        assert_eq!(store.expire(at(102), Duration::from_millis(100), Duration::from_millis(50)).unsent, 1);
    }

    #[test]
    fn a_new_receiver_gets_everything_again_whose_time_has_not_come() {
        let mut store = store_of(3);
        for sequence in 0..3 {
            store.sent(sequence, 1);
            store.acknowledged(sequence, WHOLE, true);
        }
        store.complete_below(3);
        store.expire(at(101), Duration::from_millis(100), Duration::from_millis(100));
        store.receiver_restarted();
        assert_eq!(next(&store), Some((1, true)));
    }

    #[test]
    fn a_copy_lost_after_the_receiver_had_it_another_way_goes_to_a_new_receiver() {
        let mut store = store_of(1);
        store.sent(0, 1);
        store.complete_below(1);
        store.lost(0, WHOLE);
        store.receiver_restarted();
        assert_eq!(next(&store), Some((0, true)));
    }
}
