//! The envelope around every message, and the limits on a frame.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{ErrorCode, Message, MessageId, ProtocolError};

/// The protocol version that this crate writes.
pub const PROTOCOL_VERSION: u16 = 1;
/// The versions that this crate reads: its own and its neighbours.
pub const ACCEPTED_VERSIONS: RangeInclusive<u16> = 0..=PROTOCOL_VERSION + 1;
/// The largest text frame, in bytes; also the limit of a WebSocket message on both ends.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;
/// How much of a bad value an error repeats, in characters.
const QUOTED_CHARS: usize = 64;
/// How much of what the JSON reader said an error repeats, in characters: it quotes what it was given.
const DETAIL_CHARS: usize = 160;

/// A message on its way: who it answers, when it was said, in which version.
#[derive(Clone, PartialEq, Debug)]
pub struct Envelope<M> {
    /// UUIDv7; a response carries its request's.
    pub id: MessageId,
    /// When it was sent, UTC, by the sender's clock.
    pub ts: Timestamp,
    /// The sender's protocol version.
    pub version: u16,
    /// The message.
    pub message: M,
}

/// A message that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A value has no JSON form.
    #[error("message {type_name} has no JSON form")]
    Json {
        /// Its type.
        type_name: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The frame would be over the limit.
    #[error("message {type_name} takes {bytes} bytes, more than {MAX_FRAME_BYTES}")]
    TooLarge {
        /// Its type.
        type_name: &'static str,
        /// Its size.
        bytes: usize,
    },
}

/// A frame that cannot be read. The connection stays; the sender gets [`DecodeError::answer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Over the limit.
    #[error("a frame of {bytes} bytes, more than {MAX_FRAME_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON, or a field of the envelope is missing or wrong.
    #[error("not a message of this protocol: {detail}")]
    Malformed {
        /// What the JSON reader said.
        detail: String,
    },
    /// A version that is no neighbour.
    #[error("protocol version {version} is not understood here ({min} to {max})", min = ACCEPTED_VERSIONS.start(), max = ACCEPTED_VERSIONS.end())]
    Version {
        /// The message.
        id: MessageId,
        /// Its version.
        version: u16,
    },
    /// A type that this direction does not have.
    #[error("unknown message type “{type_name}”")]
    UnknownType {
        /// The message.
        id: MessageId,
        /// Its type, cut to 64 characters.
        type_name: String,
    },
    /// The payload does not fit.
    #[error("the payload of {type_name} cannot be read: {detail}")]
    BadPayload {
        /// The message.
        id: MessageId,
        /// Its type.
        type_name: String,
        /// What the JSON reader said.
        detail: String,
    },
}

impl DecodeError {
    /// The id of the message, where it could be read.
    #[must_use]
    pub fn id(&self) -> Option<MessageId> {
        match self {
            Self::TooLarge { .. } | Self::Malformed { .. } => None,
            Self::Version { id, .. } | Self::UnknownType { id, .. } | Self::BadPayload { id, .. } => Some(*id),
        }
    }

    /// What to answer.
    #[must_use]
    pub fn answer(&self) -> ProtocolError {
        let code = match self {
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::Malformed { .. } => ErrorCode::Malformed,
            Self::Version { .. } => ErrorCode::VersionUnsupported,
            Self::UnknownType { .. } => ErrorCode::UnknownType,
            Self::BadPayload { .. } => ErrorCode::BadPayload,
        };
        ProtocolError { code, message: self.to_string() }
    }
}

#[derive(Serialize)]
struct FrameOut<'a> {
    id: MessageId,
    #[serde(rename = "type")]
    type_name: &'a str,
    ts: Timestamp,
    version: u16,
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct FrameIn<'a> {
    id: MessageId,
    #[serde(rename = "type")]
    type_name: String,
    ts: Timestamp,
    version: u16,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl<M: Message> Envelope<M> {
    /// A message of this version.
    #[must_use]
    pub fn new(id: MessageId, ts: Timestamp, message: M) -> Self {
        Self { id, ts, version: PROTOCOL_VERSION, message }
    }

    /// The text frame.
    ///
    /// # Errors
    /// [`EncodeError`] when the message is over the limit.
    pub fn encode(&self) -> Result<String, EncodeError> {
        let type_name = self.message.type_name();
        let json = |source| EncodeError::Json { type_name, source };
        let payload = self.message.payload().map_err(json)?;
        let frame = FrameOut { id: self.id, type_name, ts: self.ts, version: self.version, payload: &payload };
        let text = serde_json::to_string(&frame).map_err(json)?;
        if text.len() > MAX_FRAME_BYTES {
            return Err(EncodeError::TooLarge { type_name, bytes: text.len() });
        }
        Ok(text)
    }

    /// Reads a text frame.
    ///
    /// # Errors
    /// [`DecodeError`]; whatever the text holds, it is an error and never a panic.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        if text.len() > MAX_FRAME_BYTES {
            return Err(DecodeError::TooLarge { bytes: text.len() });
        }
        let frame: FrameIn<'_> =
            serde_json::from_str(text).map_err(|error| DecodeError::Malformed { detail: detail(&error) })?;
        let FrameIn { id, type_name, ts, version, payload } = frame;
        if !ACCEPTED_VERSIONS.contains(&version) {
            return Err(DecodeError::Version { id, version });
        }
        match M::decode(&type_name, payload) {
            Some(Ok(message)) => Ok(Self { id, ts, version, message }),
            Some(Err(error)) => Err(DecodeError::BadPayload { id, type_name, detail: detail(&error) }),
            None => Err(DecodeError::UnknownType { id, type_name: type_name.chars().take(QUOTED_CHARS).collect() }),
        }
    }
}

/// What the JSON reader said, cut in its middle: what it quotes may be as long as the frame, where it was stands at the end.
fn detail(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let characters = text.chars().count();
    if characters <= DETAIL_CHARS {
        return text;
    }
    let half = DETAIL_CHARS / 2;
    let end: String = text.chars().skip(characters - half).collect();
    text.chars().take(half).chain(['…']).chain(end.chars()).collect()
}
