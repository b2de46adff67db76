//! The bytes on a link, inside one QUIC datagram each: see `docs/protocol/bond.md`.
//!
//! Owns encoding and parsing. Sequence numbers and times cross the wire shortened
//! and are expanded by whoever knows what to expect ([`expand`]). Parsing never
//! panics: whatever cannot be read is an error.

mod codec;
mod hello;
mod parity;
mod report;

use bytes::{BufMut, Bytes, BytesMut};

pub(crate) use hello::Hello;
pub(crate) use parity::{PARITY_HEADER, Parity};
pub(crate) use report::{LinkReport, MAX_RANGES, Report};

use codec::Reader;

/// The protocol's version, in each hello; another one is refused.
pub const VERSION: u8 = 1;

/// Bytes before a data packet's payload.
pub(crate) const DATA_HEADER: usize = 11;
/// Small packets are padded to this: some carriers' address translators drop tiny ones.
pub(crate) const MIN_PACKET: usize = 16;

const KIND_DATA: u8 = 0x10;
const KIND_HELLO: u8 = 0x20;
const KIND_REPORT: u8 = 0x30;
const KIND_PING: u8 = 0x40;
const KIND_PARITY: u8 = 0x50;
const FLAG_FIRST_HALF: u8 = 0x01;
const FLAG_SECOND_HALF: u8 = 0x02;
const FLAG_REPEAT: u8 = 0x04;
const FLAG_URGENT: u8 = 0x01;

/// Numbers of microseconds and of packets stay below: 142 years, and sums of several never overflow.
const LIMIT: u64 = 1 << 52;
/// A latency that no end can be configured to is a mistake or an attempt to make the other end keep everything.
const MAX_LATENCY_US: u64 = crate::MAX_LATENCY.as_secs() * 1_000_000;

/// How many bits of a sequence number are on the wire.
const SEQUENCE_BITS: u32 = 24;
/// How many bits of a timestamp are on the wire.
const TIMESTAMP_BITS: u32 = 32;

/// A packet that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It ends before it should.
    #[error("the packet is too short")]
    Short,
    /// Its kind or a field has a value that does not exist.
    #[error("the packet has an impossible value")]
    Value,
    /// The other end speaks another version of the protocol.
    #[error("the other end speaks version {0} of the bond protocol, this one {VERSION}: update the older")]
    Version(u8),
}

/// Which part of a datagram a data packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// All of it.
    Whole,
    /// The first half, the longer one of an odd size.
    First,
    /// The second half.
    Second,
}

impl Piece {
    /// One bit for each half.
    pub(crate) const fn mask(self) -> u8 {
        match self {
            Self::Whole => 3,
            Self::First => 1,
            Self::Second => 2,
        }
    }

    /// This part of `payload`.
    pub(crate) fn of(self, payload: &Bytes) -> Bytes {
        let middle = payload.len().div_ceil(2);
        match self {
            Self::Whole => payload.clone(),
            Self::First => payload.slice(..middle),
            Self::Second => payload.slice(middle..),
        }
    }
}

/// A data packet as parsed; numbers still shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) link_sequence: u64,
    pub(crate) sequence: u64,
    pub(crate) timestamp: u64,
    pub(crate) piece: Piece,
    pub(crate) repeat: bool,
    pub(crate) payload: Bytes,
}

impl Data {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(DATA_HEADER + self.payload.len());
        let piece = match self.piece {
            Piece::Whole => 0,
            Piece::First => FLAG_FIRST_HALF,
            Piece::Second => FLAG_SECOND_HALF,
        };
        out.put_u8(KIND_DATA | piece | if self.repeat { FLAG_REPEAT } else { 0 });
        out.put_uint(self.link_sequence & mask(SEQUENCE_BITS), 3);
        out.put_uint(self.sequence & mask(SEQUENCE_BITS), 3);
        out.put_uint(self.timestamp & mask(TIMESTAMP_BITS), 4);
        out.put_slice(&self.payload);
        out.freeze()
    }

    fn parse(flags: u8, packet: &Bytes) -> Result<Self, ParseError> {
        let piece = match flags & (FLAG_FIRST_HALF | FLAG_SECOND_HALF) {
            0 => Piece::Whole,
            FLAG_FIRST_HALF => Piece::First,
            FLAG_SECOND_HALF => Piece::Second,
            _ => return Err(ParseError::Value),
        };
        let mut reader = Reader::new(&packet[1..]);
        let (link_sequence, sequence, timestamp) = (reader.uint(3)?, reader.uint(3)?, reader.uint(4)?);
        let payload = packet.slice(DATA_HEADER..);
        let most = if piece == Piece::Whole { crate::MAX_DATAGRAM } else { crate::MAX_DATAGRAM.div_ceil(2) };
        if payload.is_empty() || payload.len() > most {
            return Err(ParseError::Value);
        }
        Ok(Self { link_sequence, sequence, timestamp, piece, repeat: flags & FLAG_REPEAT != 0, payload })
    }
}

/// Any packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    Data(Data),
    Hello(Hello),
    Report(Report),
    /// Carries nothing but its place in the link's sequence.
    Ping {
        link_sequence: u64,
        /// To be answered at once.
        urgent: bool,
    },
    Parity(Parity),
}

impl Packet {
    pub(crate) fn parse(packet: &Bytes) -> Result<Self, ParseError> {
        let &kind = packet.first().ok_or(ParseError::Short)?;
        match kind & 0xf0 {
            KIND_DATA => Ok(Self::Data(Data::parse(kind & 0x0f, packet)?)),
            KIND_HELLO => Ok(Self::Hello(Hello::parse(&packet[1..])?)),
            KIND_REPORT => Ok(Self::Report(Report::parse(&packet[1..])?)),
            KIND_PING => {
                Ok(Self::Ping { link_sequence: Reader::new(&packet[1..]).uint(3)?, urgent: kind & FLAG_URGENT != 0 })
            }
            KIND_PARITY => Ok(Self::Parity(Parity::parse(packet)?)),
            _ => Err(ParseError::Value),
        }
    }
}

pub(crate) fn encode_hello(hello: &Hello) -> Bytes {
    let mut out = BytesMut::with_capacity(48);
    out.put_u8(KIND_HELLO);
    hello.encode(&mut out);
    out.freeze()
}

pub(crate) fn encode_report(report: &Report) -> Bytes {
    let mut out = BytesMut::with_capacity(128);
    out.put_u8(KIND_REPORT);
    report.encode(&mut out);
    out.freeze()
}

/// A ping of `bytes`, at least [`MIN_PACKET`].
pub(crate) fn encode_ping(link_sequence: u64, urgent: bool, bytes: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes);
    out.put_u8(KIND_PING | if urgent { FLAG_URGENT } else { 0 });
    out.put_uint(link_sequence & mask(SEQUENCE_BITS), 3);
    out.resize(bytes.max(MIN_PACKET), 0);
    out.freeze()
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// The number nearest to `expected` whose low `bits` bits are `short`; never below zero.
fn expand(short: u64, bits: u32, expected: u64) -> u64 {
    let period = 1u64 << bits;
    let candidate = (expected & !mask(bits)) | (short & mask(bits));
    if candidate > expected && candidate - expected > period / 2 && candidate >= period {
        candidate - period
    } else if candidate < expected && expected - candidate > period / 2 {
        candidate.saturating_add(period)
    } else {
        candidate
    }
}

/// A sequence number in full, given one it must be near to.
pub(crate) fn expand_sequence(short: u64, expected: u64) -> u64 {
    expand(short, SEQUENCE_BITS, expected)
}

/// A timestamp in full, given one it must be near to.
pub(crate) fn expand_timestamp(short: u64, expected: u64) -> u64 {
    expand(short, TIMESTAMP_BITS, expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn garbage_is_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            drop(Packet::parse(&Bytes::from(bytes)));
        }

        #[test]
        fn garbage_of_each_kind_is_never_a_panic(kind in 1u8..6, flags in 0u8..16, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut packet = vec![kind << 4 | flags];
            packet.extend(bytes);
            drop(Packet::parse(&Bytes::from(packet)));
        }

        #[test]
        fn a_data_packet_reads_back(link_sequence in 0u64..1 << 24, sequence in 0u64..1 << 24, timestamp in 0u64..1 << 32, repeat: bool, payload in proptest::collection::vec(any::<u8>(), 1..1456)) {
            let data = Data { link_sequence, sequence, timestamp, piece: Piece::Whole, repeat, payload: payload.into() };
            prop_assert_eq!(Packet::parse(&data.encode()), Ok(Packet::Data(data)));
        }

        #[test]
        fn a_ping_reads_back_and_is_never_tiny(link_sequence in 0u64..1 << 24, urgent: bool, bytes in 0usize..1400) {
            let packet = encode_ping(link_sequence, urgent, bytes);
            prop_assert_eq!(packet.len(), bytes.max(MIN_PACKET));
            prop_assert_eq!(Packet::parse(&packet), Ok(Packet::Ping { link_sequence, urgent }));
        }

        #[test]
        fn a_shortened_number_is_found_again_near_what_is_expected(number in 0u64..1 << 40, off in -8_000_000i64..8_000_000) {
            let expected = number.saturating_add_signed(off);
            prop_assert_eq!(expand_sequence(number & mask(24), expected), number);
        }

        #[test]
        fn two_halves_make_the_whole(payload in proptest::collection::vec(any::<u8>(), 2..1456)) {
            let payload = Bytes::from(payload);
            let (first, second) = (Piece::First.of(&payload), Piece::Second.of(&payload));
            prop_assert!(first.len() >= second.len());
            prop_assert_eq!([first, second].concat(), payload.to_vec());
        }
    }
}
