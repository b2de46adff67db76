//! What relay and worker say to each other.
//!
//! The relay starts one worker process per stream and writes [`WorkerConfig`]
//! as one JSON line to its standard input. The worker then listens on
//! [`WorkerConfig::socket`]; the relay connects (again, after it was restarted
//! itself) and both exchange JSON lines: [`WorkerCommand`] one way,
//! [`WorkerEvent`] the other. On each connection the worker first says
//! [`WorkerEvent::Ready`], so that a new relay knows what it adopted.
//! Owns the types only; neither end's behaviour.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use strata_control::{EndReason, LinkState, ReceiverTruth, Sensitive, StreamId};
use strata_identity::{KeyPair, PublicKey};

/// The longest line on the socket, in bytes.
pub const MAX_LINE_BYTES: usize = 256 * 1024;

/// Everything a worker needs, as one JSON line on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// The stream.
    pub stream_id: StreamId,
    /// The Unix socket to listen on; a stale file of that name is replaced.
    pub socket: PathBuf,
    /// The UDP address to receive on.
    pub listen: SocketAddr,
    /// The worker's private key for this stream.
    pub key: WorkerKey,
    /// The device's key: nobody else may send.
    pub allow: PublicKey,
    /// From the device's sender to this worker's outputs, in milliseconds.
    pub latency_ms: u32,
    /// Where the HLS playlist and segments go; the worker makes the folder.
    pub hls_folder: PathBuf,
    /// Where else the stream goes.
    pub destinations: Vec<ForwardDestination>,
    /// Seconds without a relay *and* without input after which the worker ends by itself.
    pub orphan_timeout_s: u32,
}

/// A private key on its way to the worker: 64 hexadecimal digits in JSON, never in a log.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerKey(Sensitive);

impl WorkerKey {
    /// Wraps a key pair's seed.
    #[must_use]
    pub fn new(key: &KeyPair) -> Self {
        let seed: String = key.seed().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(Sensitive::new(seed))
    }

    /// The key pair; none when the text is not a seed.
    #[must_use]
    pub fn key_pair(&self) -> Option<KeyPair> {
        let text = self.0.reveal();
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut seed = [0u8; 32];
        for (index, byte) in seed.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(KeyPair::from_seed(&seed))
    }
}

impl fmt::Debug for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerKey(…)")
    }
}

/// A destination as the worker needs it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForwardDestination {
    /// The destination's identifier.
    pub id: String,
    /// `rtmp://` or `rtmps://` URL without the stream key.
    pub url: String,
    /// The stream key, appended to the URL's path.
    pub key: Option<Sensitive>,
}

/// Relay to worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum WorkerCommand {
    /// End the stream: finish the playlist, close the outputs; answered by [`WorkerEvent::Stopped`].
    Stop,
    /// Send [`WorkerEvent::Stats`] at once.
    Stats,
    /// The destinations from now on; those that stay are not disturbed.
    UpdateForward {
        /// All of them.
        destinations: Vec<ForwardDestination>,
    },
    /// New latency.
    SetLatency {
        /// In milliseconds.
        latency_ms: u32,
    },
}

/// Worker to relay.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum WorkerEvent {
    /// First line of each connection: the worker receives.
    Ready {
        /// The stream.
        stream_id: StreamId,
        /// The worker's process.
        pid: u32,
        /// The address it receives on.
        listen: SocketAddr,
        /// Its public key.
        key: PublicKey,
    },
    /// Every second, and when asked for.
    Stats {
        /// The numbers.
        stats: WorkerStats,
    },
    /// Something went wrong that people should know; the worker goes on unless `fatal`.
    Error {
        /// Why, for programs.
        reason: EndReason,
        /// Which file, which value, what to do.
        message: String,
        /// Whether the worker exits now.
        fatal: bool,
    },
    /// The last line after [`WorkerCommand::Stop`].
    Stopped,
}

/// A worker's numbers. Counters are cumulative since the worker started.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct WorkerStats {
    /// What was received.
    pub receiver: ReceiverTruth,
    /// Received in the last second, bit/s, repair excluded.
    pub input_bps: u64,
    /// Milliseconds since the last datagram was delivered; none before the first.
    pub input_age_ms: Option<u64>,
    /// Time between arrival and release of the newest packets, in milliseconds.
    pub buffer_ms: f64,
    /// Each link as seen by the receiver.
    pub links: Vec<WorkerLinkStats>,
    /// Media sequence of the newest complete HLS segment; none before the first.
    pub hls_media_sequence: Option<u64>,
    /// HLS segments written by this worker.
    pub hls_segments: u64,
    /// Each destination.
    pub destinations: Vec<DestinationStats>,
    /// Gaps in the video's timestamps of over 200 ms, as written to HLS.
    pub video_gaps: u64,
    /// MPEG-TS continuity errors seen at the input.
    pub continuity_errors: u64,
}

/// One link as seen by the receiver.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkerLinkStats {
    /// Its number within the stream.
    pub id: u8,
    /// Whether packets arrive on it.
    pub state: LinkState,
    /// Received in the last second, bit/s.
    pub bitrate_bps: u64,
    /// Datagrams received.
    pub received_packets: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

/// What a destination does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationState {
    /// On its way.
    Connecting,
    /// Bytes flow.
    Connected,
    /// It failed; tried again at [`DestinationStats::retry_in_ms`].
    Waiting,
}

/// A destination's numbers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DestinationStats {
    /// The destination's identifier.
    pub id: String,
    /// What it does.
    pub state: DestinationState,
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// Connections that failed.
    pub failures: u32,
    /// Why, the last time, without any key.
    pub last_error: Option<String>,
    /// Milliseconds until the next try.
    pub retry_in_ms: Option<u64>,
}
