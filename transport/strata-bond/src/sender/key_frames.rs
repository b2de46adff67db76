//! Which datagrams a decoder cannot do without: key frames and the tables of the stream.
//!
//! Reads MPEG-TS headers (ISO/IEC 13818-1) and nothing else of the payload: the
//! encoder marks where a key frame begins by the random access indicator. Of
//! anything that is no MPEG-TS, no datagram is one.

use strata_media::ts::{PACKET_BYTES, Packet};

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
        let (packets, rest) = datagram.as_chunks::<PACKET_BYTES>();
        if !rest.is_empty() {
            return false;
        }
        // Each is looked at, whatever was found before it: where a key frame ends has to be seen.
        packets.iter().filter_map(Packet::new).filter(|packet| self.packet(*packet)).count() > 0
    }

    fn packet(&mut self, packet: Packet<'_>) -> bool {
        let (id, payload) = (packet.pid(), packet.payload());
        if !packet.starts_unit() {
            return self.within == Some(id);
        }
        let Some((stream, _)) = payload.strip_prefix(&PES_START).and_then(|rest| rest.split_first()) else {
            return !payload.is_empty();
        };
        // Of audio each frame is one where decoding can begin.
        let key = (0xe0..=0xef).contains(stream) && packet.is_random_access();
        if key {
            self.within = Some(id);
        } else if self.within == Some(id) {
            self.within = None;
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYNC: u8 = 0x47;
    const VIDEO: u16 = 0x41;
    const AUDIO: u16 = 0x42;

    /// A packet that begins a unit of `stream`, or goes on with one.
    fn packet(id: u16, stream: Option<u8>, random_access: bool) -> Vec<u8> {
        let [high, low] = id.to_be_bytes();
        let start = if stream.is_some() { 0x40 } else { 0 };
        let mut packet = vec![SYNC, high | start, low, 0x30, 1, if random_access { 0x40 } else { 0 }];
        packet.extend(stream.iter().flat_map(|&stream| [0, 0, 1, stream]));
        packet.resize(PACKET_BYTES, 0xff);
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
        assert!(!frames.within(&[]) && !frames.within(&[SYNC; 100]) && !frames.within(&[0; PACKET_BYTES]));
    }

    proptest! {
        #[test]
        fn garbage_is_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..800)) {
            let mut frames = KeyFrames::default();
            for packets in 1..=4 {
                let mut datagram = bytes.clone();
                datagram.resize(packets * PACKET_BYTES, 0x40);
                datagram.chunks_exact_mut(PACKET_BYTES).for_each(|packet| packet[0] = SYNC);
                frames.within(&datagram);
            }
        }
    }
}
