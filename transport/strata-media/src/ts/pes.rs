//! The header of a PES packet (ISO/IEC 13818-1, 2.4.3.6).

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PesHeader {
    /// Presentation timestamp, 33 bits of 90 kHz.
    pub pts: Option<u64>,
    /// Decoding timestamp, where it differs.
    pub dts: Option<u64>,
    /// Bytes of the PES packet from its first one on; none when the header leaves it open.
    pub total_bytes: Option<usize>,
    /// Where the elementary stream begins.
    pub data_offset: usize,
}

impl PesHeader {
    /// Reads the header at the beginning of a PES packet; none when it is none.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let (fixed, rest) = data.split_first_chunk::<9>()?;
        if fixed[..3] != [0, 0, 1] || fixed[6] & 0xc0 != 0x80 {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        let flags = fixed[7] >> 6;
        Some(Self {
            pts: if flags & 0b10 == 0 { None } else { timestamp(rest.get(..5)?) },
            dts: if flags == 0b11 { timestamp(rest.get(5..10)?) } else { None },
            total_bytes: (length > 0).then_some(6 + length),
            data_offset: 9 + usize::from(fixed[8]),
        })
    }
}

/// 33 bits in five bytes, with a marker bit after each part.
fn timestamp(bytes: &[u8]) -> Option<u64> {
    let [a, b, c, d, e] = *bytes else { return None };
    if a & c & e & 1 == 0 {
        return None;
    }
    let [a, b, c, d, e] = [a, b, c, d, e].map(u64::from);
    Some((a >> 1 & 0x07) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_timestamps_are_read() {
        let header = [
            0, 0, 1, 0xe0, 0, 0, 0x80, 0xc0, 10, // PTS and DTS follow
            0x31, 0x00, 0x07, 0xd8, 0x61, // 126000
            0x11, 0x00, 0x07, 0xc1, 0xf1, // 123128
        ];
        let header = PesHeader::parse(&header).unwrap();
        assert_eq!((header.pts, header.dts), (Some(126_000), Some(123_128)));
        assert_eq!((header.total_bytes, header.data_offset), (None, 19));
    }

    #[test]
    fn a_header_cut_short_is_none() {
        assert_eq!(PesHeader::parse(&[0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5, 0x21, 0x00]), None);
        assert_eq!(PesHeader::parse(&[0, 0, 2, 0xe0, 0, 0, 0x80, 0x00, 0]), None);
    }
}
