//! What a device has and what runs on it: `device.status`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{EncoderState, FrameRate, Source, StreamId, UpdateProgress};

/// Everything about the device, sent every 10 s and on change.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct DeviceStatus {
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// Nodes that can capture a picture.
    pub media_inputs: Vec<MediaInput>,
    /// Media files that can be a source.
    pub saved_media: Vec<SavedMedia>,
    /// The streams whose encoder runs now. What is desired is the relay's to know.
    pub running_streams: Vec<RunningStream>,
    /// Share of all processor cores in use, 0–100.
    #[cfg_attr(test, proptest(strategy = "crate::arbitrary::measured_f32()"))]
    pub cpu_percent: f32,
    /// Memory in use and in all.
    pub memory: Usage,
    /// The hottest sensor, in degrees Celsius; none where there is no sensor.
    #[serde(default)]
    #[cfg_attr(test, proptest(strategy = "proptest::option::of(crate::arbitrary::measured_f32())"))]
    pub temperature_c: Option<f32>,
    /// Disk of the data partition.
    pub disk: Usage,
    /// Seconds since boot.
    pub uptime_s: u64,
    /// The A/B slots; empty on a machine that runs no image of ours.
    #[serde(default)]
    pub slots: Vec<SlotStatus>,
    /// The newest update and how far it got; none before the first.
    #[serde(default)]
    pub update: Option<UpdateProgress>,
    /// What is wrong with the device itself; empty when all is well.
    #[serde(default)]
    pub problems: Vec<DeviceProblem>,
    /// Whether modems, cameras and links are made up (`--simulate`).
    #[serde(default)]
    pub simulated: bool,
}

/// Something that is wrong with the device itself, and stays so until somebody does something.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeviceProblem {
    /// For programs.
    pub kind: DeviceProblemKind,
    /// What is wrong and what to do, for people.
    pub message: String,
}

/// What is wrong with a device.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceProblemKind {
    /// The data partition is full, read-only, damaged or missing.
    Data,
    /// The identity partition is.
    Identity,
    /// Slots were passed over, or both had used up their attempts.
    Boot,
    /// A setting cannot be followed.
    Settings,
    /// A problem of a newer protocol version.
    #[serde(other)]
    Other,
}

/// Bytes in use and in all.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// In use.
    pub used_bytes: u64,
    /// In all.
    pub total_bytes: u64,
}

/// A network interface. Its kind comes from driver, bus and modem, never from its name.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Interface {
    /// The kernel's name.
    pub name: String,
    /// What it is.
    pub kind: InterfaceKind,
    /// Kernel driver.
    #[serde(default)]
    pub driver: Option<String>,
    /// Bus it hangs on (`usb`, `pci`, `platform`, `virtual`).
    #[serde(default)]
    pub bus: Option<String>,
    /// Product name.
    #[serde(default)]
    pub product: Option<String>,
    /// Whether it works.
    pub state: InterfaceState,
    /// Whether the operator allows it as a link.
    pub enabled: bool,
    /// Addresses with prefix length (`192.0.2.7/24`).
    pub addresses: Vec<String>,
    /// Its gateway.
    #[serde(default)]
    pub gateway: Option<String>,
    /// Whether the default route uses it.
    pub default_route: bool,
    /// Whether the physical layer is up.
    pub carrier: bool,
    /// Radio technology (`LTE`, `5G NR`, `Wi-Fi 6`).
    #[serde(default)]
    pub technology: Option<String>,
    /// Radio band (`B20`, `n78`, `5 GHz`).
    #[serde(default)]
    pub band: Option<String>,
    /// Mobile operator or Wi-Fi network.
    #[serde(default)]
    pub network: Option<String>,
    /// Signal strength in dBm.
    #[serde(default)]
    pub signal_dbm: Option<i16>,
}

/// What an interface is.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InterfaceKind {
    /// Wired Ethernet.
    Ethernet,
    /// Wi-Fi.
    Wifi,
    /// Cellular modem.
    Modem,
    /// The machine itself.
    Loopback,
    /// Bridge, tunnel, veth and the like.
    Virtual,
    /// A kind of a newer protocol version.
    #[serde(other)]
    Other,
}

/// Whether an interface works.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InterfaceState {
    /// Switched off or without carrier.
    Down,
    /// On its way: no address yet.
    Connecting,
    /// It has an address and a route.
    Connected,
    /// It has an address but no route to the relay.
    NoRoute,
    /// A state of a newer protocol version.
    #[serde(other)]
    Other,
}

/// Something that can capture a picture.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MediaInput {
    /// How it is named as a source (`v4l2:/dev/video0`, `simulated:camera`).
    pub id: String,
    /// Its name for people.
    pub label: String,
    /// What it is.
    pub kind: MediaInputKind,
    /// What it can deliver.
    pub formats: Vec<MediaFormat>,
    /// Whether it can be used now.
    pub status: MediaInputStatus,
}

/// What a media input is.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MediaInputKind {
    /// A USB or CSI camera, or a USB capture card.
    Camera,
    /// The board's HDMI input.
    Hdmi,
    /// A kind of a newer protocol version.
    #[serde(other)]
    Other,
}

/// Whether a media input can be used.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MediaInputStatus {
    /// It can be opened.
    Ready,
    /// Something uses it (a stream, as a rule).
    Busy,
    /// There, but without a signal.
    NoSignal,
    /// A status of a newer protocol version.
    #[serde(other)]
    Other,
}

/// A format that an input delivers.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MediaFormat {
    /// Pixel format or coding (V4L2 FourCC: `YUYV`, `MJPG`, `NV12`).
    pub format: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames per second it offers.
    pub rates: Vec<FrameRate>,
}

/// A media file on the device.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SavedMedia {
    /// Path, as [`Source::File`] takes it.
    pub path: String,
    /// File name.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Playing time in milliseconds; none when it could not be read.
    #[serde(default)]
    pub duration_ms: Option<u64>,
}

/// A stream whose encoder the device runs.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunningStream {
    /// The stream.
    pub stream_id: StreamId,
    /// What its encoder does.
    pub state: EncoderState,
    /// The source in use.
    pub source: Source,
    /// When the stream was started on the device.
    #[cfg_attr(test, proptest(strategy = "crate::arbitrary::timestamp()"))]
    pub started_at: Timestamp,
    /// How often its encoder was started again.
    pub restarts: u32,
    /// Why, the last time.
    #[serde(default)]
    pub last_restart: Option<String>,
}

/// Which slot.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlotName {
    /// Slot A.
    A,
    /// Slot B.
    B,
}

/// A slot and what it holds.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SlotStatus {
    /// Which.
    pub name: SlotName,
    /// Whether the device runs from it.
    pub booted: bool,
    /// What is known of it.
    pub state: SlotState,
    /// The image version in it.
    #[serde(default)]
    pub version: Option<String>,
    /// Why it is bad, for people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What is known of a slot.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// It booted and passed its health check.
    Good,
    /// It failed.
    Bad,
    /// Not tried.
    Untested,
    /// A state of a newer protocol version.
    #[serde(other)]
    Other,
}
