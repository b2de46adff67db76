//! Control messages in both directions: any text.

use strata_control::{DecodeError, DeviceMessage, Envelope, MAX_FRAME_BYTES, Message, RelayMessage};

/// The longest answer to a frame that cannot be read, in bytes.
const MAX_ANSWER: usize = 1_000;

/// A frame from a device and from a relay.
///
/// # Panics
/// When a message that was read cannot be written again, or an error repeats too much of what was sent.
pub fn run(data: &[u8]) {
    // The WebSocket's text frames are valid UTF-8 already.
    let Ok(text) = std::str::from_utf8(data) else { return };
    check::<DeviceMessage>(text);
    check::<RelayMessage>(text);
}

fn check<M: Message>(text: &str) {
    match Envelope::<M>::decode(text) {
        Ok(read) => {
            assert!(text.len() <= MAX_FRAME_BYTES);
            let Ok(written) = read.encode() else { return };
            // Not compared: numbers with a fraction may differ in their last digit.
            assert!(Envelope::<M>::decode(&written).is_ok(), "what was read and written again is not read");
        }
        Err(error) => {
            let answer = error.answer().message;
            assert!(answer.len() <= MAX_ANSWER, "an answer of {} bytes: {answer:.300}", answer.len());
            assert!(
                matches!(error, DecodeError::Malformed { .. } | DecodeError::TooLarge { .. }) == error.id().is_none()
            );
        }
    }
}
