//! Packets of 188 bytes out of chunks of any size.
//!
//! Owns: finding and keeping the packets' boundaries, and the fields of a
//! packet's header. Does not own: what is in the payload.

/// The size of a transport stream packet.
pub const PACKET_BYTES: usize = 188;
/// The first byte of each packet.
pub const SYNC_BYTE: u8 = 0x47;
/// Boundaries count as found when three packets in a row begin where they should.
const HUNT_BYTES: usize = 2 * PACKET_BYTES + 1;

/// One packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a>(&'a [u8; PACKET_BYTES]);

impl<'a> Packet<'a> {
    /// Takes 188 bytes that begin with the sync byte.
    #[must_use]
    pub fn new(bytes: &'a [u8; PACKET_BYTES]) -> Option<Self> {
        (bytes[0] == SYNC_BYTE).then_some(Self(bytes))
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8; PACKET_BYTES] {
        self.0
    }

    /// Packet identifier, 13 bits.
    #[must_use]
    pub fn pid(&self) -> u16 {
        u16::from_be_bytes([self.0[1] & 0x1f, self.0[2]])
    }

    /// Whether a PES packet or a table section begins here.
    #[must_use]
    pub fn starts_unit(&self) -> bool {
        self.0[1] & 0x40 != 0
    }

    /// Continuity counter, 4 bits.
    #[must_use]
    pub fn continuity_counter(&self) -> u8 {
        self.0[3] & 0x0f
    }

    /// Whether there is a payload.
    #[must_use]
    pub fn has_payload(&self) -> bool {
        self.0[3] & 0x10 != 0
    }

    /// The flags of the adaptation field; none without one.
    fn adaptation_flags(&self) -> Option<u8> {
        (self.0[3] & 0x20 != 0 && self.0[4] > 0).then_some(self.0[5])
    }

    /// Whether decoding can begin with the unit that starts here.
    #[must_use]
    pub fn is_random_access(&self) -> bool {
        self.adaptation_flags().is_some_and(|flags| flags & 0x40 != 0)
    }

    /// Whether the continuity counter or the clock may jump here.
    #[must_use]
    pub fn is_discontinuity(&self) -> bool {
        self.adaptation_flags().is_some_and(|flags| flags & 0x80 != 0)
    }

    /// The payload; empty without one, and when the adaptation field claims more than there is.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        if !self.has_payload() {
            return &[];
        }
        let start = if self.0[3] & 0x20 == 0 { 4 } else { 5 + usize::from(self.0[4]) };
        self.0.get(start..).unwrap_or(&[])
    }
}

/// Finds the packets in a stream of bytes. What it gives out depends on the bytes alone, not on the chunks.
#[derive(Debug, Default)]
pub struct PacketReader {
    /// Bytes that do not make a packet yet: under 188 while locked, under [`HUNT_BYTES`] while hunting.
    partial: Vec<u8>,
    locked: bool,
    skipped_bytes: u64,
}

impl PacketReader {
    /// Bytes passed over while looking for packets.
    #[must_use]
    pub fn skipped_bytes(&self) -> u64 {
        self.skipped_bytes
    }

    /// Forgets a partial packet: what follows does not continue it.
    pub fn reset(&mut self) {
        self.skipped_bytes += self.partial.len() as u64;
        self.partial.clear();
        self.locked = false;
    }

    /// Takes the next bytes and calls `each` with every packet that they complete.
    pub fn push(&mut self, mut data: &[u8], mut each: impl FnMut(Packet<'_>)) {
        while !data.is_empty() {
            data = if !self.locked {
                self.hunt(data, &mut each)
            } else if self.partial.is_empty() {
                self.take_whole(data, &mut each)
            } else {
                self.complete(data, &mut each)
            };
        }
    }

    /// Locked, at a boundary: packets straight from the input.
    fn take_whole<'a>(&mut self, mut data: &'a [u8], each: &mut impl FnMut(Packet<'_>)) -> &'a [u8] {
        while let Some((head, rest)) = data.split_first_chunk::<PACKET_BYTES>() {
            let Some(packet) = Packet::new(head) else {
                self.locked = false;
                return data;
            };
            each(packet);
            data = rest;
        }
        match data.first() {
            Some(&SYNC_BYTE) => self.partial.extend_from_slice(data),
            Some(_) => {
                self.locked = false;
                return data;
            }
            None => {}
        }
        &[]
    }

    /// Locked, inside a packet: fill it up.
    fn complete<'a>(&mut self, data: &'a [u8], each: &mut impl FnMut(Packet<'_>)) -> &'a [u8] {
        let (head, rest) = data.split_at(data.len().min(PACKET_BYTES - self.partial.len()));
        self.partial.extend_from_slice(head);
        if let Some(packet) = self.partial.first_chunk::<PACKET_BYTES>().and_then(Packet::new) {
            each(packet);
            self.partial.clear();
        }
        rest
    }

    /// Not locked: look for three boundaries in a row.
    fn hunt<'a>(&mut self, data: &'a [u8], each: &mut impl FnMut(Packet<'_>)) -> &'a [u8] {
        let (head, rest) = data.split_at(data.len().min(HUNT_BYTES - self.partial.len()));
        self.partial.extend_from_slice(head);
        if self.partial.len() < HUNT_BYTES {
            return rest;
        }
        let is_boundary = [0, PACKET_BYTES, 2 * PACKET_BYTES].iter().all(|at| self.partial[*at] == SYNC_BYTE);
        if !is_boundary {
            let next = self.partial[1..].iter().position(|byte| *byte == SYNC_BYTE);
            let skip = next.map_or(self.partial.len(), |position| position + 1);
            self.partial.drain(..skip);
            self.skipped_bytes += skip as u64;
            return rest;
        }
        self.locked = true;
        let found = std::mem::take(&mut self.partial);
        let left = self.take_whole(&found, each);
        debug_assert!(left.is_empty(), "all three boundaries were checked");
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pid: u16, counter: u8) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xff; PACKET_BYTES];
        bytes[0] = SYNC_BYTE;
        bytes[1..3].copy_from_slice(&pid.to_be_bytes());
        bytes[3] = 0x10 | counter;
        bytes
    }

    fn pids(reader: &mut PacketReader, data: &[u8]) -> Vec<u16> {
        let mut pids = Vec::new();
        reader.push(data, |packet| pids.push(packet.pid()));
        pids
    }

    #[test]
    fn packets_are_found_behind_garbage_and_after_a_slip() {
        let mut data = vec![1, 2, SYNC_BYTE, 3];
        for pid in 100..105 {
            data.extend(packet(pid, 0));
        }
        data.extend([9; 50]);
        for pid in 200..205 {
            data.extend(packet(pid, 0));
        }
        let mut reader = PacketReader::default();
        let found = pids(&mut reader, &data);
        assert_eq!(found, [100, 101, 102, 103, 104, 200, 201, 202, 203, 204]);
        assert_eq!(reader.skipped_bytes(), 54);
    }

    #[test]
    fn an_adaptation_field_that_claims_too_much_leaves_no_payload() {
        let mut bytes = packet(100, 0);
        bytes[3] = 0x30;
        bytes[4] = 255;
        let packet = Packet::new(&bytes).unwrap();
        assert!(packet.payload().is_empty());
    }
}
