//! Parity of a block of datagrams: one of several shards, any of which stands for one missing datagram.

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::Reader;
use super::{KIND_PARITY, ParseError, SEQUENCE_BITS, mask};
use crate::parity::{MAX_BLOCK, MAX_PARITY, MAX_SHARD, MIN_SHARD};

/// Bytes before the shard.
pub(crate) const PARITY_HEADER: usize = 10;

/// A parity packet as parsed; numbers still shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parity {
    pub(crate) link_sequence: u64,
    /// The sequence of the block's first datagram.
    pub(crate) first: u64,
    /// How many datagrams the block has.
    pub(crate) count: usize,
    /// How many shards were made of it.
    pub(crate) total: usize,
    /// Which of them this is.
    pub(crate) index: usize,
    pub(crate) shard: Bytes,
}

impl Parity {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(PARITY_HEADER + self.shard.len());
        out.put_u8(KIND_PARITY);
        out.put_uint(self.link_sequence & mask(SEQUENCE_BITS), 3);
        out.put_uint(self.first & mask(SEQUENCE_BITS), 3);
        for number in [self.count, self.total, self.index] {
            out.put_u8(u8::try_from(number).expect("at most MAX_BLOCK"));
        }
        out.put_slice(&self.shard);
        out.freeze()
    }

    pub(super) fn parse(packet: &Bytes) -> Result<Self, ParseError> {
        let mut reader = Reader::new(&packet[1..]);
        let (link_sequence, first) = (reader.uint(3)?, reader.uint(3)?);
        let mut small = || reader.byte().map(usize::from);
        let (count, total, index) = (small()?, small()?, small()?);
        let shard = packet.slice(PARITY_HEADER..);
        let sane = (1..=MAX_BLOCK).contains(&count)
            && (1..=MAX_PARITY).contains(&total)
            && index < total
            && (MIN_SHARD..=MAX_SHARD).contains(&shard.len())
            && shard.len().is_multiple_of(2);
        if sane { Ok(Self { link_sequence, first, count, total, index, shard }) } else { Err(ParseError::Value) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Packet;
    use super::*;

    const PARITY: Parity =
        Parity { link_sequence: 7, first: 70_000, count: 30, total: 6, index: 5, shard: Bytes::from_static(&[9; 8]) };

    proptest! {
        #[test]
        fn a_parity_packet_reads_back(
            link_sequence in 0u64..1 << 24,
            first in 0u64..1 << 24,
            count in 1..=MAX_BLOCK,
            total in 1..=MAX_PARITY,
            index in 0..MAX_PARITY,
            half in MIN_SHARD / 2..=MAX_SHARD / 2,
        ) {
            let shard = Bytes::from(vec![1; half * 2]);
            let parity = Parity { link_sequence, first, count, total, index: index % total, shard };
            prop_assert_eq!(Packet::parse(&parity.encode()), Ok(Packet::Parity(parity)));
        }
    }

    #[test]
    fn impossible_values_are_refused() {
        for parity in [
            Parity { count: 0, ..PARITY },
            Parity { count: MAX_BLOCK + 1, ..PARITY },
            Parity { total: 0, ..PARITY },
            Parity { total: MAX_PARITY + 1, ..PARITY },
            Parity { index: 6, ..PARITY },
            Parity { shard: Bytes::from_static(&[9; 6]), ..PARITY },
            Parity { shard: Bytes::from_static(&[9; 9]), ..PARITY },
            Parity { shard: Bytes::from_static(&[9; MAX_SHARD + 2]), ..PARITY },
        ] {
            assert_eq!(Packet::parse(&parity.encode()), Err(ParseError::Value), "{parity:?}");
        }
    }
}
