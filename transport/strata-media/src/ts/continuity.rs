//! The continuity counter of each PID (ISO/IEC 13818-1, 2.4.3.3).

use super::Packet;

/// Marks a PID whose counter is not known.
const UNKNOWN: u8 = 0xff;
const PIDS: usize = 1 << 13;
const NULL_PID: u16 = 0x1fff;

/// How a packet follows the last one of its PID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// As it should, or the first of its PID.
    Next,
    /// The same packet once more, which is allowed once.
    Duplicate,
    /// Packets are missing in between.
    Gap,
}

/// Watches the counters of all PIDs.
#[derive(Debug)]
pub struct Continuity {
    /// The last counter of each PID; bit 4 marks a duplicate seen already.
    last: Box<[u8]>,
    errors: u64,
}

impl Default for Continuity {
    fn default() -> Self {
        Self { last: vec![UNKNOWN; PIDS].into_boxed_slice(), errors: 0 }
    }
}

impl Continuity {
    /// Gaps so far.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Forgets all counters, not the number of gaps.
    pub fn reset(&mut self) {
        self.last.fill(UNKNOWN);
    }

    /// Takes the next packet.
    pub fn check(&mut self, packet: &Packet<'_>) -> Step {
        let pid = packet.pid();
        if pid == NULL_PID {
            return Step::Next;
        }
        let counter = packet.continuity_counter();
        let last = &mut self.last[usize::from(pid)];
        let before = *last;
        if before == UNKNOWN || packet.is_discontinuity() {
            *last = counter;
            return Step::Next;
        }
        if !packet.has_payload() {
            // The counter stands still on packets without payload.
            return Step::Next;
        }
        if counter == before & 0x0f && before & 0x10 == 0 {
            *last = counter | 0x10;
            return Step::Duplicate;
        }
        *last = counter;
        if counter == (before + 1) & 0x0f {
            return Step::Next;
        }
        self.errors += 1;
        Step::Gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ts::{PACKET_BYTES, SYNC_BYTE};

    fn step(continuity: &mut Continuity, counter: u8, payload: bool) -> Step {
        let mut bytes = [0xff; PACKET_BYTES];
        bytes[..4].copy_from_slice(&[SYNC_BYTE, 0, 100, if payload { 0x10 } else { 0x20 } | counter]);
        bytes[4] = 0;
        continuity.check(&Packet::new(&bytes).unwrap())
    }

    #[test]
    fn gaps_are_told_from_duplicates_and_wraps() {
        let mut continuity = Continuity::default();
        for (counter, payload, expected) in [
            (14, true, Step::Next),
            (15, true, Step::Next),
            (0, true, Step::Next),
            (0, true, Step::Duplicate),
            (0, false, Step::Next),
            (1, true, Step::Next),
            (3, true, Step::Gap),
            (4, true, Step::Next),
        ] {
            assert_eq!(step(&mut continuity, counter, payload), expected, "counter {counter}");
        }
        assert_eq!(continuity.errors(), 1);
    }
}
