//! A sequence of events as bytes: who, how much later, and what was said.

use std::time::Duration;

use bytes::Bytes;

/// Something that happens.
pub(crate) struct Step {
    /// On which connection, or of which kind: each target's own matter.
    pub(crate) actor: u8,
    /// How long after the one before.
    pub(crate) elapsed: Duration,
    /// The packet.
    pub(crate) packet: Bytes,
}

/// A duration from one byte: 0 to 4.5 hours, the lower half of it as fine as a packet's time.
pub(crate) fn elapsed(code: u8) -> Duration {
    Duration::from_micros(u64::from(code & 15) << (2 * (code >> 4)))
}

/// The longest duration with a code that is no longer than this.
fn code(duration: Duration) -> u8 {
    (0..=u8::MAX).filter(|&code| elapsed(code) <= duration).max_by_key(|&code| elapsed(code)).unwrap_or(0)
}

/// The steps in `data`; what is left at its end is the last one's packet.
pub(crate) fn read(mut data: &[u8]) -> impl Iterator<Item = Step> {
    std::iter::from_fn(move || {
        let (&[actor, code, high, low], rest) = data.split_first_chunk::<4>()?;
        let (packet, rest) = rest.split_at(usize::from(u16::from_be_bytes([high, low])).min(rest.len()));
        data = rest;
        Some(Step { actor, elapsed: elapsed(code), packet: Bytes::copy_from_slice(packet) })
    })
}

/// Appends a step; a packet of more than 65,535 bytes is cut.
pub(crate) fn write(out: &mut Vec<u8>, actor: u8, elapsed: Duration, packet: &[u8]) {
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    out.extend([actor, code(elapsed)]);
    out.extend(length.to_be_bytes());
    out.extend(&packet[..usize::from(length)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_back() {
        let mut bytes = Vec::new();
        write(&mut bytes, 3, Duration::from_millis(15), b"packet");
        write(&mut bytes, 4, Duration::ZERO, b"");
        let steps: Vec<Step> = read(&bytes).collect();
        assert_eq!((steps[0].actor, steps[0].packet.as_ref()), (3, b"packet".as_slice()));
        assert!(steps[0].elapsed > Duration::from_millis(14));
        assert_eq!((steps.len(), steps[1].actor, steps[1].elapsed), (2, 4, Duration::ZERO));
    }
}
