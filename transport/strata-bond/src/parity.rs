//! Parity: what a block of datagrams is repaired from when some of them never arrive.
//!
//! Owns what of a datagram is protected (its *shard*) and the code (Reed–Solomon);
//! nothing of when parity is sent or kept. Both ends must agree on every byte here.

use bytes::{BufMut, Bytes};
use reed_solomon_simd::{Error, ReedSolomonDecoder, ReedSolomonEncoder};

use crate::{MAX_DATAGRAM, Time};

/// The most datagrams of a block: more would gain little, and its place in a packet is one byte.
pub(crate) const MAX_BLOCK: usize = 64;
/// The most parity of a block: as much as half of the largest.
pub(crate) const MAX_PARITY: usize = 32;
/// Before a datagram's payload in its shard: length and send time.
const SHARD_HEADER: usize = 6;
/// The shard of the largest datagram.
pub(crate) const MAX_SHARD: usize = (SHARD_HEADER + MAX_DATAGRAM).next_multiple_of(2);
/// The shard of the smallest.
pub(crate) const MIN_SHARD: usize = (SHARD_HEADER + 1).next_multiple_of(2);

/// A datagram as it is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protected {
    /// The low 32 bits of its send time in microseconds.
    pub(crate) timestamp: u64,
    pub(crate) payload: Bytes,
}

impl Protected {
    pub(crate) fn new(sent: Time, payload: Bytes) -> Self {
        Self { timestamp: sent.as_micros() & 0xffff_ffff, payload }
    }

    /// As long as the block's longest, with zeros.
    fn to_shard(&self, bytes: usize) -> Vec<u8> {
        let mut shard = Vec::with_capacity(bytes);
        shard.put_uint(self.payload.len() as u64, 2);
        shard.put_uint(self.timestamp, 4);
        shard.put_slice(&self.payload);
        shard.resize(bytes, 0);
        shard
    }

    /// None if no sender that keeps to the protocol can have made it.
    fn from_shard(shard: &[u8]) -> Option<Self> {
        let (&[high, low, a, b, c, d], rest) = shard.split_first_chunk()?;
        let (payload, padding) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        let sane = (1..=MAX_DATAGRAM).contains(&payload.len()) && padding.iter().all(|&byte| byte == 0);
        let timestamp = u32::from_be_bytes([a, b, c, d]).into();
        sane.then(|| Self { timestamp, payload: Bytes::copy_from_slice(payload) })
    }
}

/// How long the shards of a block are whose longest datagram has so many bytes.
pub(crate) const fn shard_bytes(longest: usize) -> usize {
    (SHARD_HEADER + longest).next_multiple_of(2)
}

/// The parity of a block, all of the same length; none of a block that is too large.
pub(crate) fn encode(block: &[Protected], parity: usize) -> Vec<Bytes> {
    let bytes = shard_bytes(block.iter().map(|datagram| datagram.payload.len()).max().unwrap_or(0));
    let coded = || -> Result<Vec<Bytes>, Error> {
        let mut encoder = ReedSolomonEncoder::new(block.len(), parity, bytes)?;
        for datagram in block {
            encoder.add_original_shard(datagram.to_shard(bytes))?;
        }
        Ok(encoder.encode()?.recovery_iter().map(Bytes::copy_from_slice).collect())
    };
    coded().unwrap_or_default()
}

/// The missing datagrams of a block by their place in it, if the parity that is there suffices.
///
/// `shards` are parity by index, all of the same length; `total` is how many the sender made.
pub(crate) fn decode(block: &[Option<Protected>], total: usize, shards: &[(usize, Bytes)]) -> Vec<(usize, Protected)> {
    let Some((_, first)) = shards.first() else { return Vec::new() };
    let bytes = first.len();
    let decoded = || -> Result<Vec<(usize, Protected)>, Error> {
        let mut decoder = ReedSolomonDecoder::new(block.len(), total, bytes)?;
        for (at, datagram) in block.iter().enumerate() {
            // One that is longer than its shard belongs to no block of a sender that keeps to the protocol.
            if let Some(datagram) = datagram.as_ref().filter(|datagram| datagram.payload.len() + SHARD_HEADER <= bytes)
            {
                decoder.add_original_shard(at, datagram.to_shard(bytes))?;
            }
        }
        for (index, shard) in shards {
            decoder.add_recovery_shard(*index, shard)?;
        }
        let restored = decoder.decode()?;
        Ok(restored
            .restored_original_iter()
            .filter(|&(at, _)| block[at].is_none())
            .filter_map(|(at, shard)| Some((at, Protected::from_shard(shard)?)))
            .collect())
    };
    decoded().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_block() -> impl Strategy<Value = Vec<Protected>> {
        let datagram = (0u64..1 << 32, proptest::collection::vec(any::<u8>(), 1..=MAX_DATAGRAM));
        let datagram = datagram.prop_map(|(timestamp, payload)| Protected { timestamp, payload: payload.into() });
        proptest::collection::vec(datagram, 1..=MAX_BLOCK)
    }

    /// The first `missing` of a block and `lost` of its parity, chosen by `order`, do not arrive.
    fn cut(
        block: &[Protected],
        shards: Vec<Bytes>,
        order: &[u32],
        lost: usize,
    ) -> (Vec<Option<Protected>>, Vec<(usize, Bytes)>) {
        let mut places: Vec<usize> = (0..block.len() + shards.len()).collect();
        places.sort_by_key(|&at| order[at]);
        let gone = &places[..lost.min(places.len())];
        let there = block.iter().enumerate().map(|(at, datagram)| (!gone.contains(&at)).then(|| datagram.clone()));
        let parity = shards.into_iter().enumerate().filter(|(index, _)| !gone.contains(&(block.len() + index)));
        (there.collect(), parity.collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_lost_up_to_the_parity_comes_back_exactly_and_nothing_beyond(
            block in any_block(),
            total in 1usize..=MAX_PARITY,
            order in proptest::collection::vec(any::<u32>(), MAX_BLOCK + MAX_PARITY),
            lost in 0usize..=MAX_PARITY + 2,
        ) {
            let shards = encode(&block, total);
            prop_assert_eq!(shards.len(), total);
            let (there, parity) = cut(&block, shards, &order, lost);
            let missing = there.iter().filter(|datagram| datagram.is_none()).count();
            let back = decode(&there, total, &parity);
            prop_assert_eq!(back.len(), if missing <= parity.len() { missing } else { 0 });
            for (at, datagram) in back {
                prop_assert_eq!(&datagram, &block[at]);
            }
        }

        #[test]
        fn any_parity_is_survived_and_makes_no_impossible_datagram(
            block in any_block(),
            keep in proptest::collection::vec(any::<bool>(), MAX_BLOCK),
            total in 0usize..=MAX_PARITY,
            shards in proptest::collection::vec((0usize..40, proptest::collection::vec(any::<u8>(), 0..100)), 0..20),
        ) {
            let there: Vec<_> = block.into_iter().zip(keep).map(|(datagram, keep)| keep.then_some(datagram)).collect();
            let shards: Vec<_> = shards.into_iter().map(|(index, shard)| (index, Bytes::from(shard))).collect();
            for (at, datagram) in decode(&there, total, &shards) {
                prop_assert!(there[at].is_none() && (1..=MAX_DATAGRAM).contains(&datagram.payload.len()));
            }
        }
    }

    #[test]
    fn the_code_is_part_of_the_protocol() {
        let block: Vec<_> = (1..=5u8)
            .map(|n| Protected { timestamp: u64::from(n) * 1000, payload: vec![n; usize::from(n)].into() })
            .collect();
        // Another version of the library that makes other bytes would not understand what is on its way.
        let hex = |shard: &Bytes| shard.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let last = |total| encode(&block, total).last().map(hex);
        assert_eq!(
            [last(2), last(5), last(9)].map(Option::unwrap),
            ["579d075b98b5050706090b00", "e54adc5b8b530400060c0e00", "a45c41e7fdb3d175ad17f500"]
        );
    }
}
