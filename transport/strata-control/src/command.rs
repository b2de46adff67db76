//! What the relay tells a device to do, and the device's answers.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strata_identity::PublicKey;

use crate::{
    ApPolicy, BitrateBounds, EncoderSettings, EndReason, LinkPolicy, ReceiveAddress, Sensitive, Source, StreamId,
};

/// Run this stream. Applied idempotently: the same command for a running stream changes only what differs.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StreamStart {
    /// The stream.
    pub stream_id: StreamId,
    /// Where the picture comes from.
    pub source: Source,
    /// How it is encoded.
    pub encoder: EncoderSettings,
    /// Where it goes.
    pub receive: ReceiveAddress,
    /// The worker's key: the device sends to nobody else.
    #[cfg_attr(test, proptest(strategy = "crate::arbitrary::public_key()"))]
    pub worker_key: PublicKey,
    /// What was set per link.
    #[serde(default)]
    pub links: Vec<LinkPolicy>,
    /// Keep a copy on the device.
    #[serde(default)]
    pub record_locally: bool,
}

/// Stop this stream; a stream that does not run is a success.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StreamStop {
    /// The stream.
    pub stream_id: StreamId,
    /// Why.
    pub reason: EndReason,
    /// Why, for people (who stopped it).
    pub detail: String,
}

/// Change the source of a running stream without ending it.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourceSwitch {
    /// The stream.
    pub stream_id: StreamId,
    /// The new source.
    pub source: Source,
}

/// Hot changes; what is absent stays as it is.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConfigUpdate {
    /// The stream that `bitrate` and `latency_ms` are for.
    #[serde(default)]
    pub stream_id: Option<StreamId>,
    /// New bounds.
    #[serde(default)]
    pub bitrate: Option<BitrateBounds>,
    /// New latency in milliseconds.
    #[serde(default)]
    pub latency_ms: Option<u32>,
    /// Links whose settings change.
    #[serde(default)]
    pub links: Vec<LinkPolicy>,
    /// New policy of the access point.
    #[serde(default)]
    pub ap_policy: Option<ApPolicy>,
}

/// Network settings; the device takes them back when it loses the relay by them.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NetworkApply {
    /// A Wi-Fi network to join.
    #[serde(default)]
    pub wifi: Option<WifiSettings>,
    /// A modem's settings.
    #[serde(default)]
    pub modem: Option<ModemSettings>,
    /// An interface's addresses.
    #[serde(default)]
    pub ip: Option<IpSettings>,
    /// Seconds within which the relay must be reached again.
    pub confirm_within_s: u32,
}

/// A Wi-Fi network.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WifiSettings {
    /// Its name.
    pub ssid: String,
    /// Its protection.
    pub security: WifiSecurity,
    /// Its passphrase.
    #[serde(default)]
    pub passphrase: Option<Sensitive>,
    /// Whether it hides its name.
    #[serde(default)]
    pub hidden: bool,
}

/// A Wi-Fi network's protection.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WifiSecurity {
    /// None.
    Open,
    /// WPA2 or WPA3 with a passphrase, whichever both know.
    Passphrase,
    /// WPA3-SAE only.
    Sae,
}

/// A modem's settings; what is absent stays as it is.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ModemSettings {
    /// The modem's interface.
    pub interface: String,
    /// Access point name.
    #[serde(default)]
    pub apn: Option<String>,
    /// The SIM's PIN.
    #[serde(default)]
    pub pin: Option<Sensitive>,
}

/// An interface's IPv4 addresses.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum IpSettings {
    /// By DHCP.
    Automatic {
        /// The interface.
        interface: String,
    },
    /// Fixed.
    Static {
        /// The interface.
        interface: String,
        /// Address with prefix length.
        address: String,
        /// Gateway.
        gateway: String,
        /// Name servers.
        dns: Vec<String>,
    },
}

/// Install this bundle. Its signature is inside.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AgentUpdate {
    /// Where the bundle is.
    pub bundle_url: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its manifest, 64 hexadecimal digits, as `rauc info` prints it: no other build of that version is taken.
    #[serde(default)]
    pub manifest_sha256: Option<String>,
    /// Also over links where data costs money.
    #[serde(default)]
    pub over_metered: bool,
    /// When to install.
    pub install: UpdateSchedule,
    /// When to reboot into it.
    pub reboot: UpdateSchedule,
}

/// When to do a step of an update.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "when", rename_all = "snake_case")]
pub enum UpdateSchedule {
    /// As soon as no stream is live.
    WhenIdle,
    /// At once, even while a stream is live.
    Now,
    /// Not before this time, and not while a stream is live.
    NotBefore {
        /// The time.
        #[cfg_attr(test, proptest(strategy = "crate::arbitrary::timestamp()"))]
        at: Timestamp,
    },
}

/// Go back to the other slot's version, if that one is good.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AgentRollback {
    /// Even while a stream is live.
    pub even_if_live: bool,
}

/// Reboot.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeviceReboot {
    /// Even while a stream is live.
    pub even_if_live: bool,
}

/// Factory reset.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeviceReset {
    /// Keep the device's key and enrolment.
    pub keep_identity: bool,
}

/// Send journal lines, by `log.chunk`.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogRequest {
    /// Lines of this stream's encoder only.
    #[serde(default)]
    pub stream_id: Option<StreamId>,
    /// At most this many, the newest; 10,000 at most.
    pub lines: u32,
}

/// Check these and report.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeviceDiagnose {
    /// The checks; none means all.
    #[serde(default)]
    pub checks: Vec<DiagnoseCheck>,
}

/// A check that a device can make of itself.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiagnoseCheck {
    /// Each link reaches the relay.
    Links,
    /// Each media input opens.
    MediaInputs,
    /// An encoder and all plugins are there.
    Encoder,
    /// Room on the disk.
    Disk,
    /// The clock agrees with the relay's.
    Clock,
    /// A check of a newer protocol version.
    #[serde(other)]
    Other,
}

/// What the checks found.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiagnoseReport {
    /// One for each check made.
    pub checks: Vec<DiagnoseCheckResult>,
}

/// What one check found.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiagnoseCheckResult {
    /// The check.
    pub check: DiagnoseCheck,
    /// Whether all is well.
    pub passed: bool,
    /// What was seen, for people.
    pub detail: String,
}

/// The answer to a command: done, or refused with a reason.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CommandResult {
    /// It is so now.
    Done,
    /// It is not so, and why.
    Refused {
        /// Why, for programs.
        code: RefusedCode,
        /// Why and what to do, for people.
        message: String,
    },
}

/// The answer to `device.diagnose`.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum DiagnoseResult {
    /// The checks were made.
    Done {
        /// What they found.
        report: DiagnoseReport,
    },
    /// They were not.
    Refused {
        /// Why, for programs.
        code: RefusedCode,
        /// Why and what to do, for people.
        message: String,
    },
}

/// Why a command was refused.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusedCode {
    /// This device cannot do that.
    Unsupported,
    /// A value is out of bounds.
    InvalidSettings,
    /// No such stream runs here.
    StreamUnknown,
    /// No such camera or file.
    SourceMissing,
    /// The camera or file cannot be read.
    SourceUnreadable,
    /// A GStreamer element or plugin is missing.
    PluginMissing,
    /// No link reaches the relay.
    NoLinks,
    /// Something else runs that forbids it.
    Busy,
    /// It was tried and failed.
    Failed,
    /// A reason of a newer protocol version.
    #[serde(other)]
    Other,
}
