//! Numbers as bytes: fixed big-endian ones, and variable ones of 7 bits per byte, low bits first.

use bytes::{BufMut, BytesMut};

use super::ParseError;

/// Reads numbers off a packet.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn uint(&mut self, bytes: usize) -> Result<u64, ParseError> {
        let (head, tail) = self.0.split_at_checked(bytes).ok_or(ParseError::Short)?;
        self.0 = tail;
        Ok(head.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    pub(super) fn byte(&mut self) -> Result<u8, ParseError> {
        let (&byte, tail) = self.0.split_first().ok_or(ParseError::Short)?;
        self.0 = tail;
        Ok(byte)
    }

    pub(super) fn varint(&mut self) -> Result<u64, ParseError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(ParseError::Value);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ParseError::Value)
    }

    pub(super) fn signed(&mut self) -> Result<i64, ParseError> {
        let folded = self.varint()?;
        Ok((folded >> 1).cast_signed() ^ -((folded & 1).cast_signed()))
    }
}

pub(super) fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(u8::try_from(number & 0x7f).expect("seven bits fit a byte") | 0x80);
        number >>= 7;
    }
    out.put_u8(u8::try_from(number).expect("less than 0x80"));
}

pub(super) fn put_signed(out: &mut BytesMut, number: i64) {
    put_varint(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_reads_back(number: u64, signed: i64) {
            let mut out = BytesMut::new();
            put_varint(&mut out, number);
            put_signed(&mut out, signed);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(number));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.byte(), Err(ParseError::Short));
        }
    }
}
