//! What callers get to see: plain data, already scoped to one owner, free of secrets.

use std::path::PathBuf;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use strata_control::{
    AgentInfo, BitrateBounds, DeviceId, DeviceStatus, EncoderSettings, EndReason, LinkPolicy, LinkState, SlotName,
    Source, StreamId, StreamStats, UpdateSchedule, UpdateStep,
};
use strata_identity::PublicKey;
use strata_relay_db::{DestinationId, Role, StreamState, UserId};
use strata_worker_protocol::WorkerStats;

/// A device of the fleet.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct DeviceView {
    /// Its identifier.
    pub id: DeviceId,
    /// The name people gave it.
    pub name: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// Whether it has presented its token and key.
    pub enrolled: bool,
    /// The key it enrolled with.
    pub public_key: Option<PublicKey>,
    /// When its unused enrolment token ends; none when there is none.
    pub enrolment_expires_at: Option<Timestamp>,
    /// When its key was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Whether its control connection is open now.
    pub online: bool,
    /// When it was last heard.
    pub last_seen: Option<Timestamp>,
    /// Whether its links and inputs are made up.
    pub simulated: bool,
    /// What runs on it, as it said at its last login.
    pub agent: Option<AgentInfo>,
    /// Its last status; older than the relay's start, perhaps.
    pub status: Option<DeviceStatus>,
    /// When that came.
    pub status_at: Option<Timestamp>,
    /// Its stream that is not over, if there is one.
    pub live_stream: Option<StreamId>,
}

/// A one-time token, shown once.
#[derive(Clone, Debug)]
pub struct EnrolmentToken {
    /// The token's text, as the device takes it.
    pub token: SecretString,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// An attempt to update a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DeviceUpdateView {
    /// Version of the bundle.
    pub version: String,
    /// The slot it went to.
    pub slot: SlotName,
    /// How far it got.
    pub step: UpdateStep,
    /// What went wrong, in the device's words.
    pub error: Option<String>,
    /// When the relay first heard of it.
    pub started_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

/// What a person chose for an update.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateDevice {
    /// Where the device fetches the bundle: `http://` or `https://`.
    pub bundle_url: String,
    /// The bundle's version.
    pub version: String,
    /// SHA-256 of its manifest, 64 hexadecimal digits: no other build of that version is taken.
    #[serde(default)]
    pub manifest_sha256: Option<String>,
    /// Also over links where data costs money.
    #[serde(default)]
    pub over_metered: bool,
    /// When to install it.
    #[serde(default = "when_idle")]
    pub install: UpdateSchedule,
    /// When to reboot into it.
    #[serde(default = "when_idle")]
    pub reboot: UpdateSchedule,
}

fn when_idle() -> UpdateSchedule {
    UpdateSchedule::WhenIdle
}

/// What a person chose for a stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartStream {
    /// Where the picture comes from; there is no default.
    pub source: Source,
    /// How it is encoded.
    #[serde(default)]
    pub settings: EncoderSettings,
    /// Where else it goes, besides the relay's own player page.
    #[serde(default)]
    pub destinations: Vec<DestinationId>,
    /// Whether the device keeps a copy.
    #[serde(default)]
    pub record_locally: bool,
    /// What is set per link; links not named have the defaults.
    #[serde(default)]
    pub links: Vec<LinkPolicy>,
}

/// Which streams to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StreamFilter {
    /// Of this device only.
    #[serde(default)]
    pub device: Option<DeviceId>,
    /// Only those that are (or are not) over.
    #[serde(default)]
    pub over: Option<bool>,
    /// At most this many, newest first; 100 when none is given, 1,000 at most.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A stream.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StreamView {
    /// Its identifier.
    pub id: StreamId,
    /// Its device.
    pub device_id: DeviceId,
    /// The device's name.
    pub device_name: String,
    /// Whether the device's control connection is open now; when not, the device's numbers grow old.
    pub device_online: bool,
    /// Where it is in its life.
    pub state: StreamState,
    /// No input for 30 s or more.
    pub stalled: bool,
    /// Why it is over.
    pub reason: Option<EndReason>,
    /// Why it is over, for people: who or what ended it, exit status, last error.
    pub detail: Option<String>,
    /// The last log lines of what failed, oldest first; empty in lists and when nothing failed.
    pub log: Vec<String>,
    /// The source chosen, or switched to.
    pub source: Source,
    /// Whether it shows a test pattern: to be said loudly.
    pub is_test_pattern: bool,
    /// How it is encoded.
    pub settings: EncoderSettings,
    /// What was set per link.
    pub links: Vec<LinkPolicy>,
    /// Where else it goes.
    pub destinations: Vec<StreamDestination>,
    /// Whether the device keeps a copy.
    pub record_locally: bool,
    /// Who started it.
    pub started_by: String,
    /// Who stopped it.
    pub stopped_by: Option<String>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When media first arrived.
    pub live_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// Bytes the device handed to the transport.
    pub bytes: u64,
    /// The unguessable part of `/play/PLAY_KEY` and `/hls/PLAY_KEY/…`.
    pub play_key: String,
    /// The worker's UDP port.
    pub port: Option<u16>,
    /// The numbers of a stream that is not over.
    pub live: Option<LiveNumbers>,
}

/// A destination as a stream's page names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StreamDestination {
    /// Its identifier.
    pub id: DestinationId,
    /// Its name at the stream's start.
    pub name: String,
}

/// A value and how old it is.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Aged<T> {
    /// The value.
    pub value: T,
    /// When the relay got it.
    pub received_at: Timestamp,
    /// How long ago that was, in milliseconds.
    pub age_ms: u64,
}

/// What device and worker say of a stream now; each number with its age.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct LiveNumbers {
    /// The device's side.
    pub stats: Option<Aged<StreamStats>>,
    /// The relay's side.
    pub worker: Option<Aged<WorkerStats>>,
    /// How often the worker was started again.
    pub worker_restarts: u32,
    /// How often the device started the encoder again.
    pub encoder_restarts: u32,
    /// The last 5 minutes at one point a second, oldest first; empty in lists and events.
    pub history: Vec<HistoryPoint>,
}

/// One second of a stream.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct HistoryPoint {
    /// When.
    pub at: Timestamp,
    /// Received by the worker, bit/s; none when the worker did not say.
    pub input_bps: Option<u64>,
    /// What the viewer lost so far, in datagrams (after repair, cumulative).
    pub lost: Option<u64>,
    /// Each link, by the device.
    pub links: Vec<LinkPoint>,
}

/// One second of a link.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct LinkPoint {
    /// Its number within the stream.
    pub id: u8,
    /// Its interface.
    pub interface: String,
    /// What it did.
    pub state: LinkState,
    /// Sent, bit/s.
    pub bitrate_bps: u64,
    /// Round-trip time in milliseconds.
    pub rtt_ms: f64,
    /// Share of this second's datagrams that the link lost, before repair, 0–1.
    pub loss: f64,
}

/// A line of a stream's timeline.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StreamEventView {
    /// Its number; grows with time.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What sort of line (`state`, `device`, `worker`, `source`, `health`).
    pub kind: String,
    /// What happened, for people.
    pub text: String,
}

/// Hot changes of a live stream; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamUpdate {
    /// New bitrate bounds.
    #[serde(default)]
    pub bitrate: Option<BitrateBounds>,
    /// New latency, in milliseconds.
    #[serde(default)]
    pub latency_ms: Option<u32>,
    /// Links whose settings change.
    #[serde(default)]
    pub links: Vec<LinkPolicy>,
    /// All destinations from now on.
    #[serde(default)]
    pub destinations: Option<Vec<DestinationId>>,
}

/// A destination; its key is never part of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DestinationView {
    /// Its identifier.
    pub id: DestinationId,
    /// Its name.
    pub name: String,
    /// `rtmp://` or `rtmps://` URL without the key.
    pub url: String,
    /// Whether a key is stored.
    pub has_key: bool,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a person gives for a destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestinationInput {
    /// Its name.
    pub name: String,
    /// `rtmp://` or `rtmps://` URL without the key.
    pub url: String,
    /// The stream key; absent keeps the stored one, an empty text removes it.
    #[serde(default)]
    pub key: Option<SecretString>,
}

/// A line of the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AuditView {
    /// Its number; grows with time.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who: an e-mail address, or `relay` and `device …` for what they did themselves.
    pub who: String,
    /// What (`device.create`, `stream.start` …).
    pub action: String,
    /// To what.
    pub target: String,
    /// With which values, without secrets.
    pub detail: String,
    /// From where.
    pub remote: Option<String>,
}

/// A user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct UserView {
    /// Its identifier.
    pub id: UserId,
    /// Its e-mail address.
    pub email: String,
    /// What it may do.
    pub role: Role,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last logged in.
    pub last_login_at: Option<Timestamp>,
}

/// A new session of the pages: the text of the cookie.
#[derive(Clone, Debug)]
pub struct SessionCookie {
    /// The cookie's value.
    pub token: SecretString,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Who logged in.
    pub actor: crate::Actor,
}

/// Tokens for the REST API.
#[derive(Clone, Debug)]
pub struct ApiTokens {
    /// Ed25519 JWT for `Authorization: Bearer`, 1 hour.
    pub access_token: SecretString,
    /// When it ends.
    pub access_expires_at: Timestamp,
    /// For `refresh`, once, within 30 days.
    pub refresh_token: SecretString,
    /// When it ends.
    pub refresh_expires_at: Timestamp,
}

/// What the player page and the HLS folder need.
#[derive(Clone, PartialEq, Debug)]
pub struct PlayTarget {
    /// The stream.
    pub stream_id: StreamId,
    /// Where the playlist and the segments are.
    pub hls_folder: PathBuf,
    /// Where the stream is in its life.
    pub state: StreamState,
    /// No input for 30 s or more.
    pub stalled: bool,
    /// Whether it shows a test pattern.
    pub is_test_pattern: bool,
    /// The device's name.
    pub device_name: String,
    /// Why it is over; the detail is not for the public (it names users and files).
    pub reason: Option<EndReason>,
    /// When media first arrived.
    pub live_at: Option<Timestamp>,
}

/// How the relay is.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Health {
    /// Whether requests can be served: the database answers.
    pub ready: bool,
    /// What is wrong, for people; empty when all is well.
    pub problems: Vec<String>,
    /// Devices whose control connection is open.
    pub devices_online: usize,
    /// Streams that are not over.
    pub streams: usize,
    /// Datagrams that viewers of those streams lost, after repair.
    pub lost_datagrams: u64,
    /// Datagrams that were handed on in time to those streams' outputs.
    pub delivered_datagrams: u64,
    /// Seconds since the relay started.
    pub uptime_s: u64,
    /// The relay's version.
    pub version: &'static str,
}
