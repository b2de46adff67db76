//! The sender's introduction on each connection: which session, which link, where it starts.

use bytes::{BufMut, BytesMut};

use super::codec::{Reader, put_varint};
use super::{LIMIT, MAX_LATENCY_US, ParseError, VERSION};

/// Sent first on each connection, and again until a report names its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Counts the hellos of a link; a report echoes it.
    pub(crate) number: u8,
    /// Chosen at random when the sender starts.
    pub(crate) session: u64,
    /// 0..=15.
    pub(crate) link: u8,
    /// The sender's latency in microseconds.
    pub(crate) latency_us: u64,
    /// The first link sequence that this connection carries.
    pub(crate) first_link_sequence: u64,
    /// The oldest stream sequence whose time has not come yet: where a new receiver starts.
    pub(crate) first_sequence: u64,
    /// The sender's clock in microseconds.
    pub(crate) clock_us: u64,
}

impl Hello {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(VERSION);
        out.put_u8(self.number);
        out.put_u64(self.session);
        out.put_u8(self.link);
        put_varint(out, self.latency_us);
        put_varint(out, self.first_link_sequence);
        put_varint(out, self.first_sequence);
        put_varint(out, self.clock_us);
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(ParseError::Version(version));
        }
        let hello = Self {
            number: reader.byte()?,
            session: reader.uint(8)?,
            link: reader.byte()?,
            latency_us: reader.varint()?,
            first_link_sequence: reader.varint()?,
            first_sequence: reader.varint()?,
            clock_us: reader.varint()?,
        };
        let sane = usize::from(hello.link) < crate::MAX_LINKS
            && hello.latency_us <= MAX_LATENCY_US
            && (1..LIMIT).contains(&hello.first_link_sequence)
            && hello.first_sequence < LIMIT
            && hello.clock_us < LIMIT;
        if sane { Ok(hello) } else { Err(ParseError::Value) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Packet, encode_hello};
    use super::*;

    const HELLO: Hello = Hello {
        number: 3,
        session: 0x0102_0304_0506_0708,
        link: 2,
        latency_us: 500_000,
        first_link_sequence: 1,
        first_sequence: 70_000,
        clock_us: 123_456_789,
    };

    #[test]
    fn a_hello_reads_back() {
        assert_eq!(Packet::parse(&encode_hello(&HELLO)), Ok(Packet::Hello(HELLO)));
    }

    #[test]
    fn another_version_is_refused_with_its_number() {
        let mut bytes = encode_hello(&HELLO).to_vec();
        bytes[1] = 9;
        assert_eq!(Packet::parse(&bytes.into()), Err(ParseError::Version(9)));
    }

    #[test]
    fn impossible_values_are_refused() {
        for hello in [
            Hello { link: 16, ..HELLO },
            Hello { latency_us: 30_000_001, ..HELLO },
            Hello { first_link_sequence: 0, ..HELLO },
            Hello { first_sequence: LIMIT, ..HELLO },
            Hello { clock_us: LIMIT, ..HELLO },
        ] {
            assert_eq!(Packet::parse(&encode_hello(&hello)), Err(ParseError::Value), "{hello:?}");
        }
    }
}
