//! Both directions as exhaustive enums, with each message's type name on the wire.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    AgentRollback, AgentUpdate, AuthLogin, AuthLoginResponse, AuthSession, CommandResult, ConfigUpdate, DeviceDiagnose,
    DeviceReboot, DeviceReset, DeviceStatus, DiagnoseResult, LogChunk, LogRequest, NetworkApply, SourceSwitch,
    StreamEnded, StreamEndedAck, StreamStart, StreamStats, StreamStop, UpdateProgress,
};

/// One direction of the protocol.
pub trait Message: Sized {
    /// The type name in the envelope.
    fn type_name(&self) -> &'static str;

    /// The payload as JSON.
    ///
    /// # Errors
    /// When a value has no JSON form.
    fn payload(&self) -> serde_json::Result<Box<RawValue>>;

    /// Reads a payload of the named type; none when this direction has no such type.
    fn decode(type_name: &str, payload: &RawValue) -> Option<serde_json::Result<Self>>;

    /// Every type name of this direction with its payload's schema.
    fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)>;
}

macro_rules! messages {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident($payload:ty) = $type_name:literal,)+ }) => {
        $(#[$doc])*
        #[cfg_attr(test, derive(proptest_derive::Arbitrary))]
        #[derive(Clone, PartialEq, Debug)]
        #[allow(clippy::large_enum_variant, reason = "messages are few and short-lived")]
        pub enum $name {
            $($(#[$variant_doc])* $variant($payload),)+
        }

        impl Message for $name {
            fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $type_name,)+
                }
            }

            fn payload(&self) -> serde_json::Result<Box<RawValue>> {
                match self {
                    $(Self::$variant(payload) => serde_json::value::to_raw_value(payload),)+
                }
            }

            fn decode(type_name: &str, payload: &RawValue) -> Option<serde_json::Result<Self>> {
                match type_name {
                    $($type_name => Some(serde_json::from_str(payload.get()).map(Self::$variant)),)+
                    _ => None,
                }
            }

            fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
                vec![$(($type_name, generator.subschema_for::<$payload>()),)+]
            }
        }
    };
}

messages! {
    /// What a device says to its relay.
    DeviceMessage {
        /// First message; answered by [`RelayMessage::AuthLoginResponse`].
        AuthLogin(AuthLogin) = "auth.login",
        /// Every 10 s and on change.
        DeviceStatus(DeviceStatus) = "device.status",
        /// Every second while streaming.
        StreamStats(StreamStats) = "stream.stats",
        /// Answered by [`RelayMessage::StreamEndedResponse`], repeated until then.
        StreamEnded(StreamEnded) = "stream.ended",
        /// While updating.
        UpdateProgress(UpdateProgress) = "update.progress",
        /// After [`RelayMessage::LogRequest`].
        LogChunk(LogChunk) = "log.chunk",
        /// Answer.
        StreamStartResponse(CommandResult) = "stream.start.response",
        /// Answer.
        StreamStopResponse(CommandResult) = "stream.stop.response",
        /// Answer.
        SourceSwitchResponse(CommandResult) = "source.switch.response",
        /// Answer.
        ConfigUpdateResponse(CommandResult) = "config.update.response",
        /// Answer.
        NetworkApplyResponse(CommandResult) = "network.apply.response",
        /// Answer.
        AgentUpdateResponse(CommandResult) = "agent.update.response",
        /// Answer.
        AgentRollbackResponse(CommandResult) = "agent.rollback.response",
        /// Answer.
        DeviceRebootResponse(CommandResult) = "device.reboot.response",
        /// Answer.
        DeviceResetResponse(CommandResult) = "device.reset.response",
        /// Answer.
        LogRequestResponse(CommandResult) = "log.request.response",
        /// Answer.
        DeviceDiagnoseResponse(DiagnoseResult) = "device.diagnose.response",
        /// The relay's message could not be read.
        Error(ProtocolError) = "error",
    }
}

messages! {
    /// What a relay says to a device.
    RelayMessage {
        /// Answer.
        AuthLoginResponse(AuthLoginResponse) = "auth.login.response",
        /// A new session token before the old one ends.
        AuthSession(AuthSession) = "auth.session",
        /// Answer: the end is stored.
        StreamEndedResponse(StreamEndedAck) = "stream.ended.response",
        /// Run a stream.
        StreamStart(StreamStart) = "stream.start",
        /// Stop a stream.
        StreamStop(StreamStop) = "stream.stop",
        /// Change the source of a running stream.
        SourceSwitch(SourceSwitch) = "source.switch",
        /// Hot changes.
        ConfigUpdate(ConfigUpdate) = "config.update",
        /// Network settings, rolled back when they lose the relay.
        NetworkApply(NetworkApply) = "network.apply",
        /// Install a bundle.
        AgentUpdate(AgentUpdate) = "agent.update",
        /// Go back to the other slot.
        AgentRollback(AgentRollback) = "agent.rollback",
        /// Reboot.
        DeviceReboot(DeviceReboot) = "device.reboot",
        /// Factory reset.
        DeviceReset(DeviceReset) = "device.reset",
        /// Send journal lines.
        LogRequest(LogRequest) = "log.request",
        /// Check yourself.
        DeviceDiagnose(DeviceDiagnose) = "device.diagnose",
        /// The device's message could not be read.
        Error(ProtocolError) = "error",
    }
}

/// The answer to a message that could not be read; carries the message's id where it had one.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProtocolError {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: String,
}

/// Why a message could not be read.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame is over [`crate::MAX_FRAME_BYTES`].
    TooLarge,
    /// The frame is not JSON, or not an envelope.
    Malformed,
    /// The protocol version is not accepted.
    VersionUnsupported,
    /// No such message type.
    UnknownType,
    /// The payload does not fit the type.
    BadPayload,
    /// Not before a login.
    NotLoggedIn,
    /// A reason of a newer protocol version.
    #[serde(other)]
    Other,
}
