//! The parity of blocks that are not whole yet, until their time comes.
//!
//! Parity is kept only while it is of use: from a block in which datagrams are
//! missing, until they are there or the block's first one has left. What is kept is
//! bounded, whatever a sender says.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::buffer::Buffer;
use crate::parity::{Protected, decode};
use crate::wire::Parity;

/// Blocks kept at most: two seconds of the smallest ones that a fast stream has.
const MAX_BLOCKS: usize = 1024;
/// Bytes of parity kept at most: more than a second of 20 Mbit/s, all of it parity.
const MAX_BYTES: usize = 4 << 20;

/// What is known of a block.
#[derive(Debug)]
struct Block {
    count: usize,
    total: usize,
    /// By index, all of the same length.
    shards: Vec<(usize, Bytes)>,
}

impl Block {
    fn bytes(&self) -> usize {
        self.shards.iter().map(|(_, shard)| shard.len()).sum()
    }

    /// Takes a shard that belongs to the others and is not there yet.
    fn add(&mut self, parity: Parity) {
        let same = (parity.count, parity.total) == (self.count, self.total)
            && self.shards.iter().all(|(index, shard)| *index != parity.index && shard.len() == parity.shard.len());
        if same {
            self.shards.push((parity.index, parity.shard));
        }
    }
}

/// Parity by the sequence of its block's first datagram.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    blocks: BTreeMap<u64, Block>,
    bytes: usize,
}

impl Blocks {
    /// Takes parity of the block that begins with `first`, which has not left.
    pub(super) fn insert(&mut self, first: u64, parity: Parity) {
        let empty = Block { count: parity.count, total: parity.total, shards: Vec::new() };
        let block = self.blocks.entry(first).or_insert(empty);
        self.bytes -= block.bytes();
        block.add(parity);
        self.bytes += block.bytes();
        while self.blocks.len() > MAX_BLOCKS || self.bytes > MAX_BYTES {
            // The oldest has the least time left.
            let Some(&oldest) = self.blocks.keys().next() else { return };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, first: u64) {
        if let Some(block) = self.blocks.remove(&first) {
            self.bytes -= block.bytes();
        }
    }

    /// The datagrams below `next` have left: blocks that began with one of them are over.
    pub(super) fn forget_below(&mut self, next: u64) {
        while let Some(&first) = self.blocks.keys().next().filter(|&&first| first < next) {
            self.forget(first);
        }
    }

    /// The first datagram of the block that `sequence` belongs to, if there is parity of it.
    pub(super) fn of(&self, sequence: u64) -> Option<u64> {
        let (&first, block) = self.blocks.range(..=sequence).next_back()?;
        (sequence - first < block.count as u64).then_some(first)
    }

    /// The datagrams that are missing in a block, if its parity suffices; then the parity is used up.
    pub(super) fn recover(&mut self, first: u64, buffer: &Buffer) -> Vec<(u64, Protected)> {
        let Some(block) = self.blocks.get(&first) else { return Vec::new() };
        let sequences = first..first + block.count as u64;
        let missing = sequences.clone().filter(|&sequence| buffer.get(sequence).is_none()).count();
        if missing > block.shards.len() {
            return Vec::new();
        }
        let there: Vec<Option<Protected>> = sequences
            .map(|sequence| buffer.get(sequence).map(|(payload, sent)| Protected::new(sent, payload.clone())))
            .collect();
        let back = if missing > 0 { decode(&there, block.total, &block.shards) } else { Vec::new() };
        self.forget(first);
        back.into_iter().map(|(at, datagram)| (first + at as u64, datagram)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;
    use crate::parity::{MAX_BLOCK, MAX_SHARD, encode};
    use crate::wire::{Data, Piece};

    fn datagram(sequence: u64) -> Protected {
        let payload = Bytes::from(vec![u8::try_from(sequence).unwrap(); 10 + usize::try_from(sequence).unwrap()]);
        Protected::new(Time::from_micros(sequence * 1000), payload)
    }

    fn insert(buffer: &mut Buffer, sequence: u64) {
        let Protected { timestamp, payload } = datagram(sequence);
        let data = Data { link_sequence: 0, sequence, timestamp, piece: Piece::Whole, repeat: false, payload };
        buffer.insert(sequence, Time::from_micros(timestamp), data);
    }

    /// The parity of the datagrams from `first` on.
    fn parity(first: u64, count: usize, total: usize) -> Vec<Parity> {
        let block: Vec<Protected> = (first..first + count as u64).map(datagram).collect();
        let packet = |(index, shard)| Parity { link_sequence: 0, first, count, total, index, shard };
        encode(&block, total).into_iter().enumerate().map(packet).collect()
    }

    #[test]
    fn a_block_is_recovered_when_parity_and_datagrams_suffice_in_whatever_order_they_come() {
        let mut buffer = Buffer::new(0);
        let mut blocks = Blocks::default();
        let [a, b, c] = parity(3, 6, 3).try_into().unwrap();
        for sequence in [3, 7] {
            insert(&mut buffer, sequence);
        }
        for packet in [c, a.clone(), a, b] {
            blocks.insert(3, packet);
            assert!(blocks.recover(3, &buffer).is_empty(), "four are missing");
        }
        insert(&mut buffer, 5);
        assert_eq!((blocks.of(2), blocks.of(5), blocks.of(9)), (None, Some(3), None));
        let back = blocks.recover(3, &buffer);
        assert_eq!(back, [4, 6, 8].map(|sequence| (sequence, datagram(sequence))));
        assert_eq!((blocks.blocks.len(), blocks.bytes), (0, 0));
    }

    #[test]
    fn a_whole_block_needs_nothing_and_one_that_began_in_the_past_is_over() {
        let mut buffer = Buffer::new(0);
        let mut blocks = Blocks::default();
        for sequence in 0..4 {
            insert(&mut buffer, sequence);
        }
        blocks.insert(0, parity(0, 4, 1).remove(0));
        assert!(blocks.recover(0, &buffer).is_empty() && blocks.blocks.is_empty());
        blocks.insert(4, parity(4, 4, 1).remove(0));
        blocks.forget_below(5);
        assert_eq!((blocks.blocks.len(), blocks.bytes), (0, 0));
    }

    #[test]
    fn parity_that_contradicts_what_is_there_is_not_kept() {
        let mut blocks = Blocks::default();
        let [a, b] = parity(0, 4, 2).try_into().unwrap();
        blocks.insert(0, a.clone());
        for liar in [Parity { count: 5, ..b.clone() }, Parity { total: 3, ..b.clone() }] {
            blocks.insert(0, liar);
        }
        blocks.insert(0, Parity { shard: Bytes::from_static(&[1; 8]), ..b });
        assert_eq!((blocks.blocks[&0].shards.len(), blocks.bytes), (1, a.shard.len()));
    }

    #[test]
    fn what_a_mad_sender_makes_it_keep_is_bounded() {
        let mut blocks = Blocks::default();
        let shard = Bytes::from(vec![1; MAX_SHARD]);
        for first in 0..10_000 {
            for index in 0..1 + usize::try_from(first).unwrap() % 32 {
                let parity =
                    Parity { link_sequence: 0, first, count: MAX_BLOCK, total: 32, index, shard: shard.clone() };
                blocks.insert(first, parity);
                assert!(blocks.blocks.len() <= MAX_BLOCKS && blocks.bytes <= MAX_BYTES);
            }
        }
        blocks.forget_below(10_000);
        assert_eq!(blocks.bytes, 0);
    }
}
