//! Any message survives the round trip, or is refused as too large; any garbage is an error.

use jiff::Timestamp;
use proptest::prelude::*;

use crate::arbitrary::timestamp;
use crate::{DecodeError, DeviceMessage, EncodeError, Envelope, MAX_FRAME_BYTES, Message, MessageId, RelayMessage};

fn survives<M: Message + Clone + PartialEq + std::fmt::Debug>(
    id: MessageId,
    ts: Timestamp,
    message: M,
) -> Result<(), TestCaseError> {
    let sent = Envelope::new(id, ts, message);
    let text = match sent.encode() {
        Ok(text) => text,
        Err(EncodeError::TooLarge { bytes, .. }) => {
            prop_assert!(bytes > MAX_FRAME_BYTES);
            return Ok(());
        }
        Err(error) => return Err(TestCaseError::fail(error.to_string())),
    };
    prop_assert_eq!(Envelope::<M>::decode(&text), Ok(sent.clone()));
    let cut: String = text.chars().take(text.chars().count() - 1).collect();
    let malformed = matches!(Envelope::<M>::decode(&cut), Err(DecodeError::Malformed { .. }));
    prop_assert!(malformed, "a frame without its last character was read");
    Ok(())
}

proptest! {
    #[test]
    fn any_device_message_survives_the_round_trip(id: MessageId, ts in timestamp(), message: DeviceMessage) {
        survives(id, ts, message)?;
    }

    #[test]
    fn any_relay_message_survives_the_round_trip(id: MessageId, ts in timestamp(), message: RelayMessage) {
        survives(id, ts, message)?;
    }

    #[test]
    fn any_text_is_an_error(text in ".{0,2000}") {
        prop_assert!(Envelope::<DeviceMessage>::decode(&text).is_err());
        prop_assert!(Envelope::<RelayMessage>::decode(&text).is_err());
    }

    #[test]
    fn one_changed_byte_never_panics(message: DeviceMessage, at: prop::sample::Index, byte in 0x20u8..0x7f) {
        let sent = Envelope::new(MessageId(uuid::Uuid::nil()), Timestamp::UNIX_EPOCH, message);
        let Ok(text) = sent.encode() else { return Ok(()) };
        let mut bytes = text.into_bytes();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        if let Ok(text) = String::from_utf8(bytes)
            && let Err(error) = Envelope::<DeviceMessage>::decode(&text)
        {
            prop_assert!(error.answer().message.len() <= 1_000, "{error}");
        }
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_read() {
    let text = " ".repeat(MAX_FRAME_BYTES + 1);
    assert_eq!(Envelope::<DeviceMessage>::decode(&text), Err(DecodeError::TooLarge { bytes: MAX_FRAME_BYTES + 1 }));
}

#[test]
fn nesting_without_end_is_an_error() {
    for opener in ["[", "{\"a\":"] {
        let text = opener.repeat(30_000);
        assert!(matches!(Envelope::<DeviceMessage>::decode(&text), Err(DecodeError::Malformed { .. })));
    }
}

#[test]
fn an_error_repeats_little_of_what_was_sent() {
    let long =
        "\u{1}é".repeat(20_000).escape_default().to_string().replace("\\u{1}", "\\u0001").replace("\\u{e9}", "é");
    let frame = |payload: &str| {
        format!(
            r#"{{"id":"{}","type":"auth.login","ts":"2026-01-01T00:00:00Z","version":1,"payload":{payload}}}"#,
            uuid::Uuid::nil()
        )
    };
    for text in [frame(&format!(r#"{{"credential":{{"kind":"{long}"}}}}"#)), format!(r#"{{"id":"{long}"}}"#)] {
        let error = Envelope::<DeviceMessage>::decode(&text).unwrap_err();
        assert!(error.answer().message.len() <= 1_000, "{} bytes", error.answer().message.len());
        assert!(error.to_string().contains("column"), "{error}");
    }
}
