//! Reads a transport stream and marks where pictures and sound frames begin.
//!
//! Owns: the order of reading (packets, tables, PES headers, NAL units) and
//! holding packets back until it is known whether the picture that they begin
//! is a key frame. Gives every packet out once, unchanged and in order.
//! Does not own: what is done with the packets.

use crate::nal::KeyFrameSearch;
use crate::ticks::{Ticks, Unwrapper};
use crate::ts::{Continuity, PACKET_BYTES, Packet, PacketReader, PesHeader, Programme};

/// A picture's first slice lies within this many bytes of stream, or the picture counts as no key frame.
const MAX_HELD_BYTES: usize = 512 * PACKET_BYTES;

/// A picture, or one or more sound frames: what one PES packet with a timestamp begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessUnit {
    /// Video or audio.
    pub is_video: bool,
    /// Whether decoding of the video can begin here.
    pub is_key: bool,
    /// When it is shown.
    pub pts: Ticks,
    /// When it is decoded.
    pub dts: Ticks,
}

/// A packet and what was found out about it.
#[derive(Debug, Clone, Copy)]
pub struct Scanned<'a> {
    /// The packet.
    pub packet: Packet<'a>,
    /// What begins with it in the first video or the first audio stream.
    pub unit: Option<AccessUnit>,
    /// Whether it completes a table that changes the streams.
    pub programme_changed: bool,
}

/// Counters since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScannerStats {
    /// Places where packets of a PID are missing.
    pub continuity_errors: u64,
    /// Bytes that belonged to no packet.
    pub skipped_bytes: u64,
}

/// Reads a transport stream in chunks of any size.
#[derive(Debug, Default)]
pub struct Scanner {
    reader: PacketReader,
    inner: Inner,
}

/// All but the reader, which lends the packets out.
#[derive(Debug, Default)]
struct Inner {
    continuity: Continuity,
    programme: Programme,
    clock: Unwrapper,
    held: Option<Held>,
}

/// Packets since the beginning of a picture of which it is not known yet whether it is a key frame.
#[derive(Debug)]
struct Held {
    packets: Vec<u8>,
    unit: AccessUnit,
    search: KeyFrameSearch,
}

impl Scanner {
    /// The programme as announced so far.
    #[must_use]
    pub fn programme(&self) -> &Programme {
        &self.inner.programme
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> ScannerStats {
        ScannerStats { continuity_errors: self.inner.continuity.errors(), skipped_bytes: self.reader.skipped_bytes() }
    }

    /// Takes the next bytes and calls `each` with every packet that is ready.
    pub fn push(&mut self, data: &[u8], mut each: impl FnMut(Scanned<'_>, &Programme)) {
        let inner = &mut self.inner;
        self.reader.push(data, |packet| inner.take(packet, &mut each));
    }

    /// Another stream follows: tables, timestamps, counters and held packets of the old one are forgotten.
    pub fn reset(&mut self) {
        self.reader.reset();
        self.inner.continuity.reset();
        self.inner.programme = Programme::default();
        self.inner.clock = Unwrapper::default();
        self.inner.held = None;
    }
}

/// What a packet begins, as far as the packet itself tells.
enum Begins {
    Nothing,
    Unit(AccessUnit),
    /// A picture whose kind the packets to come will tell.
    Picture(AccessUnit, KeyFrameSearch),
}

impl Inner {
    fn take(&mut self, packet: Packet<'_>, each: &mut impl FnMut(Scanned<'_>, &Programme)) {
        self.continuity.check(&packet);
        let programme_changed = self.programme.push(&packet);
        let video_pid = self.programme.video().map(|(pid, _)| pid);
        if let Some(held) = &mut self.held {
            let is_video = Some(packet.pid()) == video_pid;
            let unit_ends = is_video && packet.starts_unit();
            if !programme_changed && !unit_ends {
                held.packets.extend_from_slice(packet.bytes());
                let found = if is_video { held.search.push(packet.payload()) } else { None };
                if found.is_some() || held.packets.len() >= MAX_HELD_BYTES {
                    self.release(found == Some(true), each);
                }
                return;
            }
            self.release(false, each);
        }
        let unit = match self.begins(&packet) {
            Begins::Nothing => None,
            Begins::Unit(unit) => Some(unit),
            Begins::Picture(unit, search) => {
                self.held = Some(Held { packets: packet.bytes().to_vec(), unit, search });
                return;
            }
        };
        each(Scanned { packet, unit, programme_changed }, &self.programme);
    }

    /// Gives the held packets out, now that the picture's kind is known.
    fn release(&mut self, is_key: bool, each: &mut impl FnMut(Scanned<'_>, &Programme)) {
        let Some(held) = self.held.take() else { return };
        let mut unit = Some(AccessUnit { is_key, ..held.unit });
        for bytes in held.packets.as_chunks::<PACKET_BYTES>().0 {
            let Some(packet) = Packet::new(bytes) else { continue };
            // Sound that begins meanwhile is marked as well.
            let begins = match unit.take() {
                Some(unit) => Some(unit),
                None => match self.begins(&packet) {
                    Begins::Unit(unit) => Some(unit),
                    Begins::Nothing | Begins::Picture(..) => None,
                },
            };
            each(Scanned { packet, unit: begins, programme_changed: false }, &self.programme);
        }
    }

    fn begins(&mut self, packet: &Packet<'_>) -> Begins {
        if !packet.starts_unit() {
            return Begins::Nothing;
        }
        let video = self.programme.video().filter(|(pid, _)| *pid == packet.pid());
        let is_audio = self.programme.audio().is_some_and(|stream| stream.pid == packet.pid());
        if video.is_none() && !is_audio {
            return Begins::Nothing;
        }
        let payload = packet.payload();
        let Some(header) = PesHeader::parse(payload) else { return Begins::Nothing };
        let Some(pts) = header.pts else { return Begins::Nothing };
        let pts = self.clock.unwrap(pts);
        let dts = header.dts.map_or(pts, |dts| self.clock.unwrap(dts));
        let unit = AccessUnit { is_video: video.is_some(), is_key: false, pts, dts };
        let Some((_, coding)) = video else { return Begins::Unit(unit) };
        if packet.is_random_access() {
            return Begins::Unit(AccessUnit { is_key: true, ..unit });
        }
        let mut search = KeyFrameSearch::new(coding);
        match search.push(payload.get(header.data_offset..).unwrap_or(&[])) {
            Some(is_key) => Begins::Unit(AccessUnit { is_key, ..unit }),
            None => Begins::Picture(unit, search),
        }
    }
}
