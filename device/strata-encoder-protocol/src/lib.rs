//! What agent and encoder say to each other.
//!
//! The agent starts one encoder process per stream and writes [`EncoderConfig`]
//! as one JSON line to its standard input. The encoder then listens on
//! [`EncoderConfig::socket`]; the agent connects (again, after it was
//! restarted itself) and both exchange JSON lines: [`EncoderCommand`] one way,
//! [`EncoderEvent`] the other. On each connection the encoder first says
//! [`EncoderEvent::Hello`], so that a new agent knows what it adopted.
//! Owns the types only; neither end's behaviour.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use strata_control::{
    BitrateBounds, EncoderSettings, EncoderState, EndReason, Source, StreamEnded, StreamId, StreamStart, StreamStats,
};
use strata_identity::PublicKey;

/// The longest line on the socket, in bytes.
pub const MAX_LINE_BYTES: usize = 256 * 1024;
/// How many of its last log lines an encoder keeps for [`EncoderEvent::Ended`].
pub const KEPT_LOG_LINES: usize = 40;

/// Everything an encoder needs, as one JSON line on its standard input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// The stream.
    pub stream_id: StreamId,
    /// The Unix socket to listen on; a stale file of that name is replaced.
    pub socket: PathBuf,
    /// The device's private key.
    pub key_file: PathBuf,
    /// The worker's key: nobody else gets the stream.
    pub worker_key: PublicKey,
    /// Where the picture comes from.
    pub source: Source,
    /// How it is encoded.
    pub settings: EncoderSettings,
    /// The links to use.
    pub links: Vec<EncoderLink>,
    /// What was asked for by the relay, told to an agent that adopts this encoder.
    pub start: StreamStart,
    /// Where a copy of the MPEG-TS goes; a recording that fails never disturbs the stream.
    #[serde(default)]
    pub record_to: Option<PathBuf>,
    /// Seconds without an agent after which the encoder ends by itself.
    pub orphan_timeout_s: u32,
}

/// One link of the bond.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EncoderLink {
    /// Its number, stable while the stream lives (0–15).
    pub id: u8,
    /// The interface's name, as people see it.
    pub interface: String,
    /// Whether the socket is bound to that interface; not so for simulated ones.
    pub bind: bool,
    /// The worker's address as reached over this link.
    pub remote: SocketAddr,
}

/// Agent to encoder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum EncoderCommand {
    /// Stop cleanly; answered by [`EncoderEvent::Ended`].
    Stop {
        /// Goes into the end report.
        reason: EndReason,
        /// Who or what stopped it.
        detail: String,
    },
    /// Change the source without ending the stream; answered by [`EncoderEvent::SourceSwitched`].
    SwitchSource {
        /// The new source.
        source: Source,
    },
    /// New bounds of the video bitrate.
    SetBitrate {
        /// The bounds.
        bitrate: BitrateBounds,
    },
    /// New latency.
    SetLatency {
        /// In milliseconds.
        latency_ms: u32,
    },
    /// The links to use from now on.
    SetLinks {
        /// All of them.
        links: Vec<EncoderLink>,
    },
    /// Make the next frame a key frame.
    ForceKeyFrame,
}

/// Encoder to agent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "few and short-lived")]
pub enum EncoderEvent {
    /// First line of each connection.
    Hello {
        /// The encoder's process.
        pid: u32,
        /// What it was started with, as changed since.
        start: StreamStart,
        /// What it does.
        state: EncoderState,
        /// When it was started, as seconds since 1970-01-01 UTC.
        started_at_unix_s: i64,
    },
    /// What it does has changed.
    State {
        /// What it does now.
        state: EncoderState,
        /// More, for people.
        detail: String,
    },
    /// Every second.
    Stats {
        /// The numbers.
        stats: StreamStats,
    },
    /// The answer to [`EncoderCommand::SwitchSource`].
    SourceSwitched {
        /// The source in use now.
        source: Source,
        /// Why it was not switched, for people.
        error: Option<SourceError>,
    },
    /// The last line: the stream ended in this process, which exits now.
    Ended {
        /// The report for the relay.
        ended: StreamEnded,
    },
}

/// Why a source cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceError {
    /// For programs: one of the `Source…`, `NoInput` or `PluginMissing` reasons.
    pub reason: EndReason,
    /// For people: which file or node, and what to do.
    pub message: String,
}
