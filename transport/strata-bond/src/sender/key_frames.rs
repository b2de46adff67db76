//! Which datagrams a decoder cannot do without: key frames and the tables of the stream.
//!
//! Reads MPEG-TS headers (ISO/IEC 13818-1) and nothing else of the payload: the
//! encoder marks where a key frame begins by the random access indicator. Of
//! anything that is no MPEG-TS, no datagram is one.

/// Bytes of a transport stream packet.
const TS_PACKET: usize = 188;
const SYNC: u8 = 0x47;
const UNIT_START: u8 = 0x40;
const HAS_ADAPTATION: u8 = 0x20;
const HAS_PAYLOAD: u8 = 0x10;
const RANDOM_ACCESS: u8 = 0x40;
/// The first bytes of a PES packet; whatever else begins a unit is a table.
const PES_START: [u8; 3] = [0, 0, 1];

/// Follows a transport stream.
#[derive(Debug, Default)]
pub(super) struct KeyFrames {
    /// The program id whose unit at hand is a key frame.
    within: Option<u16>,
}

impl KeyFrames {
    /// Whether the next datagram carries a part of a key frame, or a table.
    pub(super) fn within(&mut self, datagram: &[u8]) -> bool {
        if datagram.is_empty() || !datagram.len().is_multiple_of(TS_PACKET) {
            return false;
        }
        let mut any = false;
        for packet in datagram.chunks_exact(TS_PACKET) {
            if packet[0] != SYNC {
                return any;
            }
            any |= self.packet(packet);
        }
        any
    }

    fn packet(&mut self, packet: &[u8]) -> bool {
        let (start, control) = (packet[1] & UNIT_START != 0, packet[3]);
        let id = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let adaptation = if control & HAS_ADAPTATION == 0 { 0 } else { 1 + usize::from(packet[4]) };
        let payload = packet.get(4 + adaptation..).filter(|_| control & HAS_PAYLOAD != 0).unwrap_or_default();
        if !start {
            return self.within == Some(id);
        }
        let Some((stream, _)) = payload.strip_prefix(&PES_START).and_then(|rest| rest.split_first()) else {
            return !payload.is_empty();
        };
        // Of audio each frame is one where decoding can begin.
        let video = (0xe0..=0xef).contains(stream);
        let random_access = adaptation > 1 && packet[5] & RANDOM_ACCESS != 0;
        if video && random_access {
            self.within = Some(id);
        } else if self.within == Some(id) {
            self.within = None;
        }
        video && random_access
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VIDEO: u16 = 0x41;
    const AUDIO: u16 = 0x42;

    /// A packet that begins a unit of `stream`, or goes on with one.
    fn packet(id: u16, stream: Option<u8>, random_access: bool) -> Vec<u8> {
        let [high, low] = id.to_be_bytes();
        let start = if stream.is_some() { UNIT_START } else { 0 };
        let mut packet = vec![SYNC, high | start, low, HAS_ADAPTATION | HAS_PAYLOAD, 1];
        packet.push(if random_access { RANDOM_ACCESS } else { 0 });
        packet.extend(stream.iter().flat_map(|&stream| [0, 0, 1, stream]));
        packet.resize(TS_PACKET, 0xff);
        packet
    }

    #[test]
    fn a_key_frame_lasts_until_the_next_picture_and_audio_is_none() {
        let mut frames = KeyFrames::default();
        let story = [
            (packet(VIDEO, None, false), false),
            (packet(VIDEO, Some(0xe0), true), true),
            (packet(AUDIO, Some(0xc0), true), false),
            (packet(AUDIO, None, false), false),
            (packet(VIDEO, None, false), true),
            (packet(VIDEO, Some(0xe0), false), false),
            (packet(VIDEO, None, false), false),
        ];
        for (number, (packet, key)) in story.iter().enumerate() {
            assert_eq!(frames.within(packet), *key, "packet {number}");
        }
    }

    #[test]
    fn one_packet_of_seven_is_enough_and_a_table_counts() {
        let mut frames = KeyFrames::default();
        let mut datagram = packet(AUDIO, None, false).repeat(6);
        assert!(!frames.within(&datagram));
        let mut table = packet(0, Some(0), false);
        table[4 + 2..4 + 6].copy_from_slice(&[0, 0, 0xb0, 0x0d]);
        datagram.extend(table);
        assert!(frames.within(&datagram));
    }

    #[test]
    fn what_is_no_transport_stream_has_none() {
        let mut frames = KeyFrames::default();
        assert!(!frames.within(&[]) && !frames.within(&[SYNC; 100]) && !frames.within(&[0; TS_PACKET]));
    }

    proptest! {
        #[test]
        fn garbage_is_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..800)) {
            let mut frames = KeyFrames::default();
            for packets in 1..=4 {
                let mut datagram = bytes.clone();
                datagram.resize(packets * TS_PACKET, 0x40);
                datagram.chunks_exact_mut(TS_PACKET).for_each(|packet| packet[0] = SYNC);
                frames.within(&datagram);
            }
        }
    }
}
