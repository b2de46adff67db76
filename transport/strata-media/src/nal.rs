//! Finding out from NAL units whether a video access unit is a key frame.
//!
//! For streams whose multiplexer sets no random access flag. Looks no further
//! than the first slice's NAL header.

/// Video codings whose key frames can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoCoding {
    /// H.264, Advanced Video Coding.
    H264,
    /// H.265, High Efficiency Video Coding.
    H265,
}

impl VideoCoding {
    /// Whether the NAL unit with this first header byte is a slice, and if so, of a picture that decoding can begin with.
    fn slice_is_key(self, header: u8) -> Option<bool> {
        match self {
            // 1–5 are slices, 5 of an IDR picture (ISO/IEC 14496-10, table 7-1).
            Self::H264 => matches!(header & 0x1f, 1..=5).then(|| header & 0x1f == 5),
            // 0–31 are slices, 16–23 of random access pictures (ISO/IEC 23008-2, table 7-1).
            Self::H265 => {
                let unit_type = header >> 1 & 0x3f;
                (unit_type < 32).then_some((16..=23).contains(&unit_type))
            }
        }
    }
}

/// Looks through an access unit's bytes, chunk by chunk, for its first slice.
#[derive(Debug)]
pub(crate) struct KeyFrameSearch {
    coding: VideoCoding,
    /// The last three bytes seen, newest lowest; start codes are `00 00 01`.
    window: u32,
}

impl KeyFrameSearch {
    pub(crate) fn new(coding: VideoCoding) -> Self {
        Self { coding, window: u32::MAX }
    }

    /// Whether the unit is a key frame; none while that is not known.
    pub(crate) fn push(&mut self, data: &[u8]) -> Option<bool> {
        for byte in data {
            if self.window & 0x00ff_ffff == 1
                && let Some(is_key) = self.coding.slice_is_key(*byte)
            {
                return Some(is_key);
            }
            self.window = self.window << 8 | u32::from(*byte);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(coding: VideoCoding, data: &[u8]) -> Option<bool> {
        let mut search = KeyFrameSearch::new(coding);
        // Byte by byte: start codes across chunks must be found too.
        data.chunks(1).find_map(|chunk| search.push(chunk))
    }

    #[test]
    fn key_frames_of_both_codings_are_told_from_others() {
        let delimiter_sps_idr = [0, 0, 0, 1, 0x09, 0xf0, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x65, 0x88];
        assert_eq!(search(VideoCoding::H264, &delimiter_sps_idr), Some(true));
        assert_eq!(search(VideoCoding::H264, &[0, 0, 1, 0x09, 0xf0, 0, 0, 1, 0x41]), Some(false));
        assert_eq!(search(VideoCoding::H264, &[0, 0, 1, 0x09, 0xf0]), None);
        assert_eq!(search(VideoCoding::H265, &[0, 0, 1, 0x40, 1, 0, 0, 1, 19 << 1, 1]), Some(true));
        assert_eq!(search(VideoCoding::H265, &[0, 0, 1, 1 << 1, 1]), Some(false));
    }
}
