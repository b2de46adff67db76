//! A small multiplexer: writes transport streams with known key frames and timestamps.

#![allow(dead_code, clippy::unwrap_used, reason = "test code; each test file uses its part of it")]

use std::collections::HashMap;

pub(crate) const PMT_PID: u16 = 0x1000;
pub(crate) const VIDEO_PID: u16 = 0x100;
pub(crate) const AUDIO_PID: u16 = 0x101;
const PACKET: usize = 188;

#[derive(Default)]
pub(crate) struct Mux {
    pub(crate) bytes: Vec<u8>,
    counters: HashMap<u16, u8>,
    /// Set the random access flag, as multiplexers do; otherwise only NAL units tell.
    pub(crate) flags: bool,
}

fn crc32(data: &[u8]) -> u32 {
    data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ (u32::from(*byte) << 24), |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 }
        })
    })
}

impl Mux {
    pub(crate) fn new(flags: bool) -> Self {
        Self { flags, ..Self::default() }
    }

    fn counter(&mut self, pid: u16) -> u8 {
        let counter = self.counters.entry(pid).or_insert(0);
        let value = *counter;
        *counter = (value + 1) & 0x0f;
        value
    }

    fn section(&mut self, pid: u16, mut section: Vec<u8>) {
        let length = section.len() - 3 + 4;
        section[1] = 0xb0 | u8::try_from(length >> 8).unwrap();
        section[2] = (length & 0xff) as u8;
        section.extend(crc32(&section).to_be_bytes());
        let mut payload = vec![0];
        payload.extend(section);
        payload.resize(PACKET - 4, 0xff);
        let counter = self.counter(pid);
        self.bytes.extend([0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x10 | counter]);
        self.bytes.extend(payload);
    }

    /// PAT and PMT; type 0 leaves a stream out.
    pub(crate) fn tables(&mut self, video_type: u8, audio_type: u8) {
        let [high, low] = PMT_PID.to_be_bytes();
        self.section(0, vec![0, 0, 0, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | high, low]);
        let mut pmt = vec![2, 0, 0, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0];
        for (kind, pid) in [(video_type, VIDEO_PID), (audio_type, AUDIO_PID)] {
            if kind != 0 {
                let [high, low] = pid.to_be_bytes();
                pmt.extend([kind, 0xe0 | high, low, 0xf0, 0]);
            }
        }
        self.section(PMT_PID, pmt);
    }

    /// One PES packet; its packets are returned so that a test can interleave them.
    pub(crate) fn pes(&mut self, pid: u16, pts: u64, data: &[u8], random_access: bool) -> Vec<Vec<u8>> {
        let pts = pts & 0x1_ffff_ffff;
        let is_video = pid == VIDEO_PID;
        let length = if is_video { 0 } else { u16::try_from(data.len() + 8).unwrap() };
        let mut pes = vec![0, 0, 1, if is_video { 0xe0 } else { 0xc0 }];
        pes.extend(length.to_be_bytes());
        pes.extend([0x80, 0x80, 5]);
        pes.extend([
            0x21 | ((pts >> 30) << 1) as u8,
            (pts >> 22) as u8,
            ((pts >> 15) << 1) as u8 | 1,
            (pts >> 7) as u8,
            (pts << 1) as u8 | 1,
        ]);
        pes.extend(data);
        let mut packets = Vec::new();
        let mut rest = pes.as_slice();
        while !rest.is_empty() {
            let is_first = packets.is_empty();
            let flag = is_first && random_access && self.flags;
            let (head, tail) = rest.split_at(rest.len().min(PACKET - 4 - if flag { 2 } else { 0 }));
            packets.push(self.packet(pid, head, is_first, flag));
            rest = tail;
        }
        packets
    }

    fn packet(&mut self, pid: u16, payload: &[u8], is_first: bool, flag: bool) -> Vec<u8> {
        let stuffing = PACKET - 4 - payload.len();
        let counter = self.counter(pid);
        let [high, low] = pid.to_be_bytes();
        let mut packet = vec![0x47, high | if is_first { 0x40 } else { 0 }, low];
        packet.push(counter | if stuffing > 0 { 0x30 } else { 0x10 });
        if stuffing > 0 {
            packet.push(u8::try_from(stuffing - 1).unwrap());
        }
        if stuffing > 1 {
            packet.push(if flag { 0x40 } else { 0 });
            packet.resize(4 + stuffing, 0xff);
        }
        packet.extend(payload);
        assert_eq!(packet.len(), PACKET);
        packet
    }

    pub(crate) fn video(&mut self, pts: u64, key: bool) {
        let mut data = vec![0, 0, 0, 1, 0x09, 0xf0];
        if key {
            data.extend([0, 0, 0, 1, 0x67, 1, 2, 3]);
            // Long enough that the slice begins in a later packet.
            data.extend([0, 0, 0, 1, 0x06]);
            data.extend([0x55; 300]);
        }
        data.extend([0, 0, 1, if key { 0x65 } else { 0x41 }]);
        data.extend([0xaa; 700]);
        for packet in self.pes(VIDEO_PID, pts, &data, key) {
            self.bytes.extend(packet);
        }
    }

    pub(crate) fn audio(&mut self, pts: u64) {
        for packet in self.pes(AUDIO_PID, pts, &[0x33; 250], true) {
            self.bytes.extend(packet);
        }
    }

    /// Pictures (25/s) with a key frame each `gop` and sound between them, from `start`.
    pub(crate) fn stream(&mut self, start: u64, frames: u64, gop: u64) {
        for frame in 0..frames {
            let pts = start + frame * 3_600;
            if frame % 10 == 0 {
                self.tables(0x1b, 0x0f);
            }
            self.video(pts, frame % gop == 0);
            self.audio(pts);
        }
    }
}

/// Checks that each PID's continuity counter goes on as it must, within and across segments.
pub(crate) fn assert_continuity(segments: &[&[u8]]) {
    let mut last = HashMap::new();
    for packet in segments.iter().flat_map(|segment| segment.chunks(PACKET)) {
        assert_eq!((packet.len(), packet[0]), (PACKET, 0x47));
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let counter = packet[3] & 0x0f;
        if let Some(before) = last.insert(pid, counter) {
            assert_eq!(counter, (before + 1) & 0x0f, "pid {pid:#x}");
        }
    }
}
