//! Programme association and map tables (ISO/IEC 13818-1, 2.4.4): what streams there are.
//!
//! Owns: gathering their sections from packets, checking them, and keeping the
//! packets of the newest valid ones for repetition. Takes the first programme.

use super::{PACKET_BYTES, Packet};
use crate::VideoCoding;

/// A section of PAT or PMT has at most 1,024 bytes.
const MAX_SECTION_BYTES: usize = 1_024;
const PAT_PID: u16 = 0;

/// What an elementary stream holds, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Video that key frames can be found in.
    Video(VideoCoding),
    /// AAC in ADTS or LATM.
    Aac,
    /// Other audio: MPEG-1/2, AC-3, Opus and whatever a private stream's descriptors call audio.
    OtherAudio,
    /// Anything else.
    Other,
}

impl StreamKind {
    fn new(stream_type: u8, descriptors: &[u8]) -> Self {
        match stream_type {
            0x1b => Self::Video(VideoCoding::H264),
            0x24 => Self::Video(VideoCoding::H265),
            0x0f | 0x11 => Self::Aac,
            0x03 | 0x04 | 0x81 | 0x87 => Self::OtherAudio,
            0x06 if is_private_audio(descriptors) => Self::OtherAudio,
            _ => Self::Other,
        }
    }

    /// Whether it is audio of any coding.
    #[must_use]
    pub fn is_audio(self) -> bool {
        matches!(self, Self::Aac | Self::OtherAudio)
    }
}

/// Opus by its registration descriptor; AC-3, E-AC-3, DTS and AAC by DVB's descriptors.
fn is_private_audio(mut descriptors: &[u8]) -> bool {
    while let [tag, length, rest @ ..] = descriptors {
        let Some((body, next)) = rest.split_at_checked(usize::from(*length)) else { return false };
        if matches!(tag, 0x6a | 0x7a | 0x7b | 0x7c) || (*tag == 0x05 && body == b"Opus") {
            return true;
        }
        descriptors = next;
    }
    false
}

/// One elementary stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementaryStream {
    /// Its packets' identifier.
    pub pid: u16,
    /// What it holds.
    pub kind: StreamKind,
}

/// The programme as announced so far.
#[derive(Debug, Default)]
pub struct Programme {
    pat: Table,
    pmt: Table,
    pmt_pid: Option<u16>,
    streams: Vec<ElementaryStream>,
}

impl Programme {
    /// The streams; empty until both tables arrived.
    #[must_use]
    pub fn streams(&self) -> &[ElementaryStream] {
        &self.streams
    }

    /// Whether both tables arrived.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.streams.is_empty()
    }

    /// The PID of the map table.
    #[must_use]
    pub fn pmt_pid(&self) -> Option<u16> {
        self.pmt_pid
    }

    /// The first video stream.
    #[must_use]
    pub fn video(&self) -> Option<(u16, VideoCoding)> {
        self.streams.iter().find_map(|stream| match stream.kind {
            StreamKind::Video(coding) => Some((stream.pid, coding)),
            _ => None,
        })
    }

    /// The first audio stream.
    #[must_use]
    pub fn audio(&self) -> Option<ElementaryStream> {
        self.streams.iter().find(|stream| stream.kind.is_audio()).copied()
    }

    /// The packets of the newest association table, whole packets one after the other.
    #[must_use]
    pub fn pat_packets(&self) -> &[u8] {
        &self.pat.packets
    }

    /// The packets of the newest map table.
    #[must_use]
    pub fn pmt_packets(&self) -> &[u8] {
        &self.pmt.packets
    }

    /// Whether packets of this PID carry one of the two tables.
    #[must_use]
    pub fn is_table(&self, pid: u16) -> bool {
        pid == PAT_PID || Some(pid) == self.pmt_pid
    }

    /// Takes a packet; true when the streams are others than before.
    pub fn push(&mut self, packet: &Packet<'_>) -> bool {
        if packet.pid() == PAT_PID {
            let pmt_pid = self.pat.push(packet).and_then(|section| first_programme(&section));
            if let Some(pid) = pmt_pid.filter(|pid| Some(*pid) != self.pmt_pid) {
                self.pmt_pid = Some(pid);
                self.pmt = Table::default();
            }
        } else if Some(packet.pid()) == self.pmt_pid
            && let Some(streams) = self.pmt.push(packet).and_then(|section| streams(&section))
            && streams != self.streams
        {
            self.streams = streams;
            return true;
        }
        false
    }
}

/// Gathers one table's section over its packets.
#[derive(Debug, Default)]
struct Table {
    /// Packets of the last complete valid section.
    packets: Vec<u8>,
    gathering: Vec<u8>,
    section: Vec<u8>,
}

impl Table {
    /// Takes a packet of the table; the section when it is complete and valid.
    fn push(&mut self, packet: &Packet<'_>) -> Option<Vec<u8>> {
        let payload = packet.payload();
        if packet.starts_unit() {
            self.gathering.clear();
            self.section.clear();
            // A pointer says where in the payload the new section begins.
            let pointer = usize::from(*payload.first()?);
            self.section.extend_from_slice(payload.get(1 + pointer..)?);
        } else if self.gathering.is_empty() {
            return None;
        } else {
            self.section.extend_from_slice(payload);
        }
        self.gathering.extend_from_slice(packet.bytes());
        let length = 3 + usize::from(u16::from_be_bytes([self.section.get(1)? & 0x0f, *self.section.get(2)?]));
        if length > MAX_SECTION_BYTES || self.gathering.len() > MAX_SECTION_BYTES / 128 * PACKET_BYTES {
            self.gathering.clear();
            return None;
        }
        let section = self.section.get(..length)?.to_vec();
        let packets = std::mem::take(&mut self.gathering);
        if crc32(&section) != 0 || section.get(5)? & 1 == 0 {
            return None;
        }
        self.packets = packets;
        Some(section)
    }
}

/// The map table's PID of the first programme in an association section.
fn first_programme(section: &[u8]) -> Option<u16> {
    let entries = section.get(8..section.len().checked_sub(4)?)?;
    if section[0] != 0x00 {
        return None;
    }
    entries
        .chunks_exact(4)
        .find(|entry| entry[..2] != [0, 0])
        .map(|entry| u16::from_be_bytes([entry[2] & 0x1f, entry[3]]))
}

/// The elementary streams of a map section; none when it is malformed or lists none.
fn streams(section: &[u8]) -> Option<Vec<ElementaryStream>> {
    let body = section.get(..section.len().checked_sub(4)?)?;
    if *body.first()? != 0x02 {
        return None;
    }
    let info_length = usize::from(u16::from_be_bytes([body.get(10)? & 0x0f, *body.get(11)?]));
    let mut rest = body.get(12 + info_length..)?;
    let mut streams = Vec::new();
    while let [stream_type, pid_high, pid_low, length_high, length_low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([length_high & 0x0f, *length_low]));
        let (descriptors, next) = tail.split_at_checked(length)?;
        let pid = u16::from_be_bytes([pid_high & 0x1f, *pid_low]);
        streams.push(ElementaryStream { pid, kind: StreamKind::new(*stream_type, descriptors) });
        rest = next;
    }
    (!streams.is_empty()).then_some(streams)
}

/// CRC-32/MPEG-2; 0 over a section with its own checksum at the end.
fn crc32(data: &[u8]) -> u32 {
    data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_mpeg_2() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }
}
