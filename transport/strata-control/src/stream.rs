//! What a device tells of its streams and updates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{MessageId, SlotName, Source, StreamId, VideoCodec};

/// What an encoder does.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncoderState {
    /// Its process was started; no picture yet.
    Starting,
    /// Pictures are on their way.
    Running,
    /// It runs, but its source gives nothing.
    NoInput,
    /// Its process ended; it will be started again.
    Restarting,
    /// It was told to stop.
    Stopping,
    /// A state of a newer protocol version.
    #[serde(other)]
    Other,
}

/// Sent every second while streaming. Counters are cumulative since the encoder started.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StreamStats {
    /// The stream.
    pub stream_id: StreamId,
    /// The source in use now.
    pub source: Source,
    /// The encoder.
    pub encoder: EncoderStats,
    /// Each link.
    pub links: Vec<LinkStats>,
    /// What the relay's receiver last reported to the sender; none until it has.
    #[serde(default)]
    pub receiver: Option<ReceiverTruth>,
}

/// The encoder's numbers.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EncoderStats {
    /// What it does.
    pub state: EncoderState,
    /// GStreamer element that encodes the video (`mpph264enc`, `x264enc` …).
    pub element: String,
    /// Video coding.
    pub codec: VideoCodec,
    /// Video bitrate set now, bit/s.
    pub bitrate_bps: u32,
    /// The bitrate that the links can sustain now, bit/s (everything, repair excluded).
    pub sustainable_bps: u64,
    /// MPEG-TS handed to the transport in the last second, bit/s.
    pub output_bps: u64,
    /// Picture width in pixels.
    pub width: u32,
    /// Picture height in pixels.
    pub height: u32,
    /// Video frames encoded.
    pub frames: u64,
    /// Bytes handed to the transport.
    pub bytes: u64,
    /// Milliseconds since the encoder started.
    pub uptime_ms: u64,
}

/// What a link does.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Handshake under way.
    Connecting,
    /// Carries its share.
    Up,
    /// Acknowledgements are overdue.
    Suspect,
    /// Carries nothing but probes.
    Dead,
    /// A state of a newer protocol version.
    #[serde(other)]
    Other,
}

/// One link's numbers.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LinkStats {
    /// Its number within the stream.
    pub id: u8,
    /// Its interface.
    pub interface: String,
    /// What it does.
    pub state: LinkState,
    /// Round-trip time in milliseconds, smoothed.
    #[cfg_attr(test, proptest(strategy = "crate::arbitrary::measured()"))]
    pub rtt_ms: f64,
    /// What it can carry, bit/s; 0 while unknown.
    pub capacity_bps: u64,
    /// Sent in the last second, bit/s.
    pub bitrate_bps: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Datagrams sent, repeats included.
    pub sent_packets: u64,
    /// Datagrams lost on this link, before repair.
    pub lost_packets: u64,
    /// Repeats sent on this link.
    pub retransmitted_packets: u64,
    /// Waiting in the link's queue, in milliseconds.
    #[cfg_attr(test, proptest(strategy = "crate::arbitrary::measured()"))]
    pub queue_ms: f64,
    /// Signal strength in dBm.
    #[serde(default)]
    pub signal_dbm: Option<i16>,
}

/// What arrived at the relay, counted there since the session began.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ReceiverTruth {
    /// Datagrams handed on in time.
    pub delivered: u64,
    /// Datagrams that the viewer lost: never arrived, or too late.
    pub lost: u64,
    /// Of those, how many came too late.
    pub late: u64,
    /// Datagrams that a repeat saved.
    pub recovered: u64,
}

/// Why a stream ended.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// A person stopped it.
    StoppedByUser,
    /// The source is not there: no such camera or file.
    SourceMissing,
    /// The source cannot be read: wrong format, not permitted.
    SourceUnreadable,
    /// The source gave no picture for too long.
    NoInput,
    /// A GStreamer element or plugin is missing on the device.
    PluginMissing,
    /// The encoder's process failed again and again.
    EncoderFailed,
    /// The device has no link that reaches the relay.
    NoLinks,
    /// The device refused the command.
    RefusedByDevice,
    /// The device restarted or shut down.
    DeviceShutdown,
    /// The device no longer runs the stream, and sent no reason.
    DeviceLostStream,
    /// The device was away for too long.
    DeviceOffline,
    /// The device was deleted or its key revoked.
    DeviceRevoked,
    /// The relay's worker failed again and again.
    WorkerFailed,
    /// The relay has no UDP port left for a worker.
    NoPort,
    /// A disk is full.
    DiskFull,
    /// A reason of a newer protocol version.
    #[serde(other)]
    Other,
}

/// How a process ended.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ExitStatus {
    /// Its exit code, when it ended by itself.
    #[serde(default)]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
}

/// A stream stopped on the device. Repeated until the relay acknowledged it.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StreamEnded {
    /// The stream.
    pub stream_id: StreamId,
    /// Why, for programs.
    pub reason: EndReason,
    /// Why, for people: which file, which value, what to do.
    pub detail: String,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
    /// Bytes handed to the transport.
    pub bytes: u64,
    /// How the encoder's process ended.
    #[serde(default)]
    pub exit_status: Option<ExitStatus>,
    /// The last lines of its log, oldest first.
    #[serde(default)]
    pub log: Vec<String>,
}

/// The relay has stored the end of a stream.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StreamEndedAck {
    /// The stream.
    pub stream_id: StreamId,
}

/// How far an update is.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UpdateProgress {
    /// Version of the bundle.
    pub version: String,
    /// The slot it goes to.
    pub slot: SlotName,
    /// 0–100.
    pub percent: u8,
    /// What it does.
    pub step: UpdateStep,
    /// What went wrong, for people.
    #[serde(default)]
    pub error: Option<String>,
}

/// A step of an update.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateStep {
    /// Accepted; it begins as soon as it may.
    Waiting,
    /// The bundle is on its way.
    Downloading,
    /// It is in the slot.
    Installed,
    /// Waiting for the reboot.
    RebootPending,
    /// The new system checks itself.
    Verifying,
    /// It is good.
    Good,
    /// Back on the former slot.
    RolledBack,
    /// Not installed; the device runs what it ran before.
    Refused,
    /// A step of a newer protocol version.
    #[serde(other)]
    Other,
}

/// Journal lines that were asked for by `log.request`.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogChunk {
    /// The request.
    pub request_id: MessageId,
    /// Counts from 0 within the request.
    pub index: u32,
    /// The lines, oldest first.
    pub lines: Vec<String>,
    /// Whether this is the last chunk.
    pub last: bool,
}
