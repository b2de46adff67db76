//! The datagrams waiting for their time, in order, each once.
//!
//! Owns duplicates, halves and gaps: what comes out is in sequence, and whatever
//! lies before it and is not there is given up for good.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::Time;
use crate::wire::{Data, Piece};

/// How far ahead of the next datagram a sequence may be: 20 s of 50,000 datagrams a second, 48 MB of slots.
const MAX_AHEAD: u64 = 1_000_000;
/// Slots kept for use again once the buffer is empty.
const SPARE_SLOTS: usize = 1 << 16;
/// The most payload waiting: 30 s at 70 Mbit/s, and an end to what a mad sender can make us hold.
const MAX_BYTES: usize = 256 << 20;
/// How many ranges of given-up sequences are remembered, to tell late from duplicate.
const MAX_GIVEN_UP: usize = 4096;

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    /// Arrived after its time: lost, and counted as late.
    TooLate,
    Half {
        piece: Piece,
        payload: Bytes,
    },
    Full {
        payload: Bytes,
        sent: Time,
    },
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// The datagram is complete now.
    Complete,
    /// The other half is still missing.
    Half,
    /// It was there already.
    Duplicate,
    /// It had been given up.
    Late,
    /// Too far ahead or too much.
    Refused,
}

/// A datagram that left the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Popped {
    pub(super) payload: Bytes,
    pub(super) sequence: u64,
    pub(super) lost_before: u64,
}

/// The waiting datagrams.
#[derive(Debug)]
pub(super) struct Buffer {
    next: u64,
    slots: VecDeque<Slot>,
    /// How many slots at the front are known not to be full.
    gap: usize,
    /// How many slots at the front are known to be full.
    run: usize,
    waiting: usize,
    bytes: usize,
    /// Sequences given up since the last datagram left.
    skipped: u64,
    /// Given-up ranges, start → end.
    given_up: BTreeMap<u64, u64>,
}

impl Buffer {
    pub(super) fn new(first: u64) -> Self {
        Self {
            next: first,
            slots: VecDeque::new(),
            gap: 0,
            run: 0,
            waiting: 0,
            bytes: 0,
            skipped: 0,
            given_up: BTreeMap::new(),
        }
    }

    /// The next sequence to leave.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// A datagram that waits, and when its source sent it.
    pub(super) fn get(&self, sequence: u64) -> Option<(&Bytes, Time)> {
        let at = usize::try_from(sequence.checked_sub(self.next)?).ok()?;
        match self.slots.get(at)? {
            Slot::Full { payload, sent } => Some((payload, *sent)),
            _ => None,
        }
    }

    /// The highest sequence seen, or the one before the first.
    pub(super) fn newest(&self) -> u64 {
        (self.next + self.slots.len() as u64).saturating_sub(1)
    }

    pub(super) fn insert(&mut self, sequence: u64, sent: Time, data: Data) -> Inserted {
        if sequence < self.next {
            return if self.forgive(sequence) { Inserted::Late } else { Inserted::Duplicate };
        }
        if self.bytes + data.payload.len() > MAX_BYTES {
            return Inserted::Refused;
        }
        let Some(at) = self.place(sequence) else { return Inserted::Refused };
        let payload = match (&self.slots[at], data.piece) {
            (Slot::Full { .. } | Slot::TooLate, _) => return Inserted::Duplicate,
            (Slot::Empty, Piece::First | Piece::Second) => {
                self.bytes += data.payload.len();
                self.slots[at] = Slot::Half { piece: data.piece, payload: data.payload };
                return Inserted::Half;
            }
            (Slot::Half { piece: Piece::First, payload }, Piece::Second) => join(payload, &data.payload),
            (Slot::Half { piece: Piece::Second, payload }, Piece::First) => join(&data.payload, payload),
            (Slot::Empty | Slot::Half { .. }, Piece::Whole) => data.payload,
            (Slot::Half { .. }, _) => return Inserted::Duplicate,
        };
        if let Slot::Half { payload, .. } = &self.slots[at] {
            self.bytes -= payload.len();
        }
        self.bytes += payload.len();
        self.slots[at] = Slot::Full { payload, sent };
        self.waiting += 1;
        self.gap = self.gap.min(at);
        Inserted::Complete
    }

    /// The slot of a sequence; none below the next and too far ahead.
    fn place(&mut self, sequence: u64) -> Option<usize> {
        let ahead = sequence.checked_sub(self.next)?;
        if ahead >= MAX_AHEAD {
            // After a long outage nothing waits: go on from there, or it would be too far ahead for ever.
            if self.waiting > 0 {
                return None;
            }
            self.skip_to(sequence);
        }
        let at = usize::try_from(sequence - self.next).expect("below MAX_AHEAD");
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, Slot::default);
        }
        Some(at)
    }

    /// The sender has nothing older than `first` any more. Only told from an outage when it is far ahead.
    pub(super) fn resume(&mut self, first: u64) {
        if self.waiting == 0 && first.saturating_sub(self.newest()) >= MAX_AHEAD {
            self.skip_to(first);
        }
    }

    /// Gives up all below `sequence`; nothing waits.
    fn skip_to(&mut self, sequence: u64) {
        self.give_up(self.next, sequence);
        self.skipped += sequence - self.next;
        self.next = sequence;
        self.slots = VecDeque::new();
        (self.gap, self.run, self.bytes) = (0, 0, 0);
    }

    fn give_up(&mut self, start: u64, end: u64) {
        if start < end {
            self.given_up.insert(start, end);
        }
        if self.given_up.len() > MAX_GIVEN_UP {
            self.given_up.pop_first();
        }
    }

    /// A packet arrived after its time: it will be given up. False when that was known.
    pub(super) fn too_late(&mut self, sequence: u64) -> bool {
        let Some(at) = self.place(sequence) else { return false };
        if !matches!(self.slots[at], Slot::Empty) {
            return false;
        }
        self.slots[at] = Slot::TooLate;
        true
    }

    /// Whether `sequence` had been given up; it is not any more.
    fn forgive(&mut self, sequence: u64) -> bool {
        let Some((&start, &end)) = self.given_up.range(..=sequence).next_back() else { return false };
        if sequence >= end {
            return false;
        }
        self.given_up.remove(&start);
        self.give_up(start, sequence);
        self.give_up(sequence + 1, end);
        true
    }

    /// The first datagram that is there, and when its source sent it.
    pub(super) fn first(&mut self) -> Option<Time> {
        if self.waiting == 0 {
            return None;
        }
        while let Some(slot) = self.slots.get(self.gap) {
            if let Slot::Full { sent, .. } = slot {
                return Some(*sent);
            }
            self.gap += 1;
        }
        None
    }

    /// Takes the first datagram that is there; whatever lies before it is given up.
    pub(super) fn pop(&mut self) -> Option<Popped> {
        self.first()?;
        let missing = self.gap as u64;
        self.give_up(self.next, self.next + missing);
        let lost_before = std::mem::take(&mut self.skipped) + missing;
        for slot in self.slots.drain(..self.gap) {
            if let Slot::Half { payload, .. } = slot {
                self.bytes -= payload.len();
            }
        }
        self.run = self.run.saturating_sub(self.gap + 1);
        self.next += missing + 1;
        self.gap = 0;
        let first = self.slots.pop_front();
        if self.slots.is_empty() {
            self.slots.shrink_to(SPARE_SLOTS);
        }
        match first {
            Some(Slot::Full { payload, .. }) => {
                self.bytes -= payload.len();
                self.waiting -= 1;
                Some(Popped { payload, sequence: self.next - 1, lost_before })
            }
            _ => None,
        }
    }

    /// Everything below this sequence is there or was given up.
    pub(super) fn complete_below(&mut self) -> u64 {
        while matches!(self.slots.get(self.run), Some(Slot::Full { .. })) {
            self.run += 1;
        }
        self.next + self.run as u64
    }

    /// How many datagrams wait, and when the oldest and the newest were sent.
    pub(super) fn waiting(&self) -> (usize, Option<(Time, Time)>) {
        let mut times = self.slots.iter().filter_map(|slot| match slot {
            Slot::Full { sent, .. } => Some(*sent),
            _ => None,
        });
        let oldest = times.next();
        (self.waiting, oldest.map(|oldest| (oldest, times.next_back().unwrap_or(oldest))))
    }
}

fn join(first: &Bytes, second: &Bytes) -> Bytes {
    let mut whole = BytesMut::with_capacity(first.len() + second.len());
    whole.extend_from_slice(first);
    whole.extend_from_slice(second);
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(piece: Piece, payload: &'static [u8]) -> Data {
        Data { link_sequence: 0, sequence: 0, timestamp: 0, piece, repeat: false, payload: Bytes::from_static(payload) }
    }

    fn whole(buffer: &mut Buffer, sequence: u64) -> Inserted {
        buffer.insert(sequence, Time::from_micros(sequence), data(Piece::Whole, b"x"))
    }

    #[test]
    fn datagrams_leave_in_order_and_once() {
        let mut buffer = Buffer::new(10);
        for sequence in [12, 10, 11, 11] {
            whole(&mut buffer, sequence);
        }
        let left: Vec<u64> = std::iter::from_fn(|| buffer.pop()).map(|popped| popped.sequence).collect();
        assert_eq!(left, [10, 11, 12]);
        assert_eq!(whole(&mut buffer, 11), Inserted::Duplicate);
    }

    #[test]
    fn what_is_missing_is_given_up_with_the_next_and_late_once() {
        let mut buffer = Buffer::new(0);
        whole(&mut buffer, 3);
        assert_eq!(buffer.pop().unwrap().lost_before, 3);
        assert_eq!(whole(&mut buffer, 1), Inserted::Late);
        assert_eq!(whole(&mut buffer, 1), Inserted::Duplicate);
    }

    #[test]
    fn halves_of_different_copies_make_a_whole_in_any_order() {
        let mut buffer = Buffer::new(0);
        let sent = Time::ZERO;
        assert_eq!(buffer.insert(0, sent, data(Piece::Second, b"cd")), Inserted::Half);
        assert_eq!(buffer.insert(0, sent, data(Piece::Second, b"cd")), Inserted::Duplicate);
        assert_eq!(buffer.insert(0, sent, data(Piece::First, b"ab")), Inserted::Complete);
        assert_eq!(buffer.pop().unwrap().payload, "abcd");
        assert_eq!(buffer.bytes, 0);
    }

    #[test]
    fn a_sequence_far_ahead_is_refused_while_others_wait() {
        let mut buffer = Buffer::new(0);
        whole(&mut buffer, 0);
        assert_eq!(whole(&mut buffer, MAX_AHEAD), Inserted::Refused);
        assert_eq!(whole(&mut buffer, MAX_AHEAD - 1), Inserted::Complete);
    }

    #[test]
    fn after_an_outage_it_goes_on_far_ahead_and_tells_the_loss() {
        let mut buffer = Buffer::new(0);
        whole(&mut buffer, 0);
        buffer.pop();
        buffer.too_late(5);
        buffer.insert(6, Time::ZERO, data(Piece::First, b"ab"));
        assert_eq!(whole(&mut buffer, MAX_AHEAD + 1), Inserted::Complete);
        assert_eq!((buffer.complete_below(), buffer.bytes), (MAX_AHEAD + 2, 1));
        let popped = buffer.pop().unwrap();
        assert_eq!((popped.sequence, popped.lost_before), (MAX_AHEAD + 1, MAX_AHEAD));
        assert_eq!(whole(&mut buffer, 5), Inserted::Late);
        whole(&mut buffer, MAX_AHEAD + 2);
        assert_eq!(buffer.pop().unwrap().lost_before, 0);
    }

    #[test]
    fn a_sender_that_was_away_for_hours_is_followed_where_it_says() {
        let mut buffer = Buffer::new(0);
        buffer.resume(MAX_AHEAD - 1);
        assert_eq!(buffer.newest(), 0, "what is on its way may still come");
        buffer.resume(1 << 40);
        assert_eq!(whole(&mut buffer, (1 << 40) + 1), Inserted::Complete);
        assert_eq!(buffer.pop().unwrap().lost_before, (1 << 40) + 1);
    }

    #[test]
    fn what_a_mad_sender_makes_it_keep_is_bounded() {
        assert!(size_of::<Slot>() * usize::try_from(MAX_AHEAD).unwrap() <= 48_000_000);
        let mut buffer = Buffer::new(0);
        // Gaps as long as they may be, and then every other datagram of them, late.
        for round in 1..=40 {
            assert_eq!(whole(&mut buffer, round * MAX_AHEAD - 1), Inserted::Complete);
            assert!(buffer.slots.len() as u64 <= MAX_AHEAD);
            buffer.pop();
            assert!(buffer.slots.capacity() <= SPARE_SLOTS, "{}", buffer.slots.capacity());
        }
        for sequence in 0..50_000 {
            assert_eq!(whole(&mut buffer, 39 * MAX_AHEAD + sequence * 2), Inserted::Late);
        }
        assert!(buffer.given_up.len() <= MAX_GIVEN_UP, "{}", buffer.given_up.len());
        // All the payload that it takes, in halves that never become whole.
        let half = Bytes::from(vec![0; 1 << 20]);
        for sequence in 0..300 {
            let half = Data { payload: half.clone(), ..data(Piece::First, b"") };
            buffer.insert(buffer.next + sequence, Time::ZERO, half);
        }
        assert!(buffer.bytes <= MAX_BYTES);
    }

    #[test]
    fn complete_below_stops_at_the_first_gap() {
        let mut buffer = Buffer::new(0);
        for sequence in [0, 1, 3] {
            whole(&mut buffer, sequence);
        }
        assert_eq!(buffer.complete_below(), 2);
        buffer.pop();
        whole(&mut buffer, 2);
        assert_eq!(buffer.complete_below(), 4);
    }
}
