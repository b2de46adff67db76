//! A segment: finished, being filled, or waiting for the ends of sound frames.

use std::time::Duration;

use crate::ticks::Ticks;
use crate::ts::{PACKET_BYTES, Packet, PesHeader, Programme};

/// A finished piece of the stream that can be played by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Whole transport stream packets; PAT and PMT come first.
    pub data: Vec<u8>,
    /// How long it plays: to the beginning of the next segment, by the stream's timestamps.
    pub duration: Duration,
    /// Presentation time of its first picture or sound.
    pub start: Ticks,
    /// Whether it can be decoded without the one before it.
    pub is_independent: bool,
    /// Whether its timestamps or streams do not continue those of the segment before it.
    pub discontinuity: bool,
    /// What the caller passed with the bytes that began it.
    pub stamp: u64,
    /// Pictures in it.
    pub video_units: u32,
}

/// Continuity counters of the tables, which appear more often than in the input.
#[derive(Debug, Default)]
pub(crate) struct TableCounters {
    pat: u8,
    pmt: u8,
}

impl TableCounters {
    /// Appends a packet of the input; those of tables get the next counter.
    pub(crate) fn append(&mut self, data: &mut Vec<u8>, packet: &Packet<'_>, programme: &Programme) {
        let start = data.len();
        data.extend_from_slice(packet.bytes());
        if programme.is_table(packet.pid()) && packet.has_payload() {
            let counter = if Some(packet.pid()) == programme.pmt_pid() { &mut self.pmt } else { &mut self.pat };
            data[start + 3] = data[start + 3] & 0xf0 | *counter;
            *counter = (*counter + 1) & 0x0f;
        }
    }

    /// Appends the current tables.
    pub(crate) fn append_tables(&mut self, data: &mut Vec<u8>, programme: &Programme) {
        for packets in [programme.pat_packets(), programme.pmt_packets()] {
            for packet in packets.as_chunks::<PACKET_BYTES>().0.iter().filter_map(Packet::new) {
                self.append(data, &packet, programme);
            }
        }
    }
}

/// Which PES packets beside the video are not complete yet.
#[derive(Debug, Default)]
pub(crate) struct OpenUnits {
    /// PID and bytes to come; at most [`MAX_PIDS`](Self::MAX_PIDS).
    missing: Vec<(u16, usize)>,
}

impl OpenUnits {
    /// A programme has a handful of streams; more are not followed.
    const MAX_PIDS: usize = 32;

    pub(crate) fn clear(&mut self) {
        self.missing.clear();
    }

    /// Takes a packet that belongs to neither the video nor a table.
    pub(crate) fn push(&mut self, packet: &Packet<'_>) {
        let payload = packet.payload();
        let known = self.missing.iter().position(|(pid, _)| *pid == packet.pid());
        if packet.starts_unit() {
            let total = PesHeader::parse(payload).and_then(|header| header.total_bytes).unwrap_or(0);
            let left = total.saturating_sub(payload.len());
            match known {
                Some(index) => self.missing[index].1 = left,
                None if self.missing.len() < Self::MAX_PIDS => self.missing.push((packet.pid(), left)),
                None => {}
            }
        } else if let Some(index) = known {
            self.missing[index].1 = self.missing[index].1.saturating_sub(payload.len());
        }
    }

    pub(crate) fn is_complete(&self, pid: u16) -> bool {
        !self.missing.iter().any(|(open, left)| *open == pid && *left > 0)
    }

    /// PIDs of which the end of a PES packet is still to come.
    pub(crate) fn pids(&self) -> Vec<u16> {
        self.missing.iter().filter(|(_, left)| *left > 0).map(|(pid, _)| *pid).collect()
    }
}

/// A segment that the next one has begun after, and that waits for the ends of PES packets that began in it.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) segment: Segment,
    waits_for: Vec<u16>,
    /// Packets of the stream until it is given out as it is.
    patience: u32,
}

impl Closing {
    /// About 0.1 s of a stream of 6 Mbit/s, so that a stream without such ends does not hold a segment for long.
    const PATIENCE: u32 = 400;

    pub(crate) fn new(segment: Segment, waits_for: Vec<u16>) -> Self {
        Self { segment, waits_for, patience: Self::PATIENCE }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.waits_for.is_empty() || self.patience == 0
    }

    /// Takes the packet if it belongs to this segment. `units` has seen the packet already.
    pub(crate) fn claim(&mut self, packet: &Packet<'_>, units: &OpenUnits) -> bool {
        self.patience = self.patience.saturating_sub(1);
        let Some(index) = self.waits_for.iter().position(|pid| *pid == packet.pid()) else { return false };
        if packet.starts_unit() {
            self.waits_for.swap_remove(index);
            return false;
        }
        self.segment.data.extend_from_slice(packet.bytes());
        if units.is_complete(packet.pid()) {
            self.waits_for.swap_remove(index);
        }
        true
    }
}
