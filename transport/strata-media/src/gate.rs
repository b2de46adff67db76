//! Lets a transport stream begin at a key frame.

use crate::scan::Scanner;
use crate::ts::Programme;

/// Holds a stream back until a key frame begins (audio: a sound frame), then lets it through with its tables ahead.
#[derive(Debug, Default)]
pub struct KeyFrameGate {
    scanner: Scanner,
    is_open: bool,
}

impl KeyFrameGate {
    /// Takes the next bytes of the stream, appends to `out` what goes through: whole packets, unchanged.
    pub fn push(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let is_open = &mut self.is_open;
        self.scanner.push(data, |scanned, programme| {
            if !*is_open && scanned.unit.is_some_and(|unit| unit.is_key || programme.video().is_none()) {
                *is_open = true;
                out.extend_from_slice(programme.pat_packets());
                out.extend_from_slice(programme.pmt_packets());
            }
            if *is_open {
                out.extend_from_slice(scanned.packet.bytes());
            }
        });
    }

    /// Shuts the gate until the next key frame: something of the stream was lost.
    pub fn shut(&mut self) {
        self.is_open = false;
    }

    /// Shuts the gate and forgets the stream: another one follows.
    pub fn reset(&mut self) {
        self.shut();
        self.scanner.reset();
    }

    /// Whether the stream goes through.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// The programme as announced so far.
    #[must_use]
    pub fn programme(&self) -> &Programme {
        self.scanner.programme()
    }
}
