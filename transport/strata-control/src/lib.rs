//! The control protocol between device and relay: types, envelope and limits.
//!
//! Owns every message that crosses the WebSocket, in both directions, as
//! exhaustive enums ([`DeviceMessage`], [`RelayMessage`]), the envelope around
//! them and the limits on both. Does not own: sockets, clocks, identifiers'
//! random parts, or what either end does with a message. Both ends match
//! exhaustively, so a new message does not compile until both handle it.
//!
//! Compatibility: unknown fields are ignored, unknown types are answered with
//! an error, unknown values of an open enumeration read as its `Other`; the
//! neighbouring protocol versions are accepted (see [`ACCEPTED_VERSIONS`]).

#[cfg(test)]
mod arbitrary;
mod auth;
mod command;
mod enrolment_link;
mod envelope;
mod id;
mod inventory;
mod message;
#[cfg(test)]
mod properties;
mod schema;
mod sensitive;
mod settings;
mod stream;

pub use auth::{
    AgentInfo, AuthLogin, AuthLoginResponse, AuthSession, Credential, DeviceConfig, ENROL_CONTEXT, LOGIN_CONTEXT,
    Refusal, SessionToken,
};
pub use command::{
    AgentRollback, AgentUpdate, CommandResult, ConfigUpdate, DeviceDiagnose, DeviceReboot, DeviceReset, DiagnoseCheck,
    DiagnoseCheckResult, DiagnoseReport, DiagnoseResult, IpSettings, LogRequest, ModemSettings, NetworkApply,
    RefusedCode, SourceSwitch, StreamStart, StreamStop, UpdateSchedule, WifiSecurity, WifiSettings,
};
pub use enrolment_link::EnrolmentLink;
pub use envelope::{ACCEPTED_VERSIONS, DecodeError, EncodeError, Envelope, MAX_FRAME_BYTES, PROTOCOL_VERSION};
pub use id::{DeviceId, MessageId, OwnerId, StreamId};
pub use inventory::{
    DeviceProblem, DeviceProblemKind, DeviceStatus, Interface, InterfaceKind, InterfaceState, MediaFormat, MediaInput,
    MediaInputKind, MediaInputStatus, RunningStream, SavedMedia, SlotName, SlotState, SlotStatus, Usage,
};
pub use message::{DeviceMessage, ErrorCode, Message, ProtocolError, RelayMessage};
pub use schema::json_schema;
pub use sensitive::Sensitive;
pub use settings::{
    ApPolicy, AudioCodec, AudioSettings, BitrateBounds, EncoderSettings, FrameRate, LinkPolicy, ReceiveAddress,
    SettingsError, Source, VideoCodec,
};
pub use stream::{
    EncoderState, EncoderStats, EndReason, ExitStatus, LinkState, LinkStats, LogChunk, ReceiverTruth, StreamEnded,
    StreamEndedAck, StreamStats, UpdateProgress, UpdateStep,
};
