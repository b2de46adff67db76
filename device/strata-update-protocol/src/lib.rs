//! What the update daemon (`strata-update`) and its callers, agent and command line, say to each other.
//!
//! The daemon listens on the Unix socket [`SOCKET`]. A caller writes one [`Request`] as a JSON line and reads one
//! [`Answer`] as a JSON line for it; after [`Request::Watch`] the daemon writes [`Answer::Status`] at once and again
//! after each change, until the caller closes the connection. Owns the types only; neither end's behaviour.

use serde::{Deserialize, Serialize};
use strata_control::{DeviceProblem, RefusedCode, SlotName, SlotStatus, UpdateProgress, UpdateSchedule};

/// Where the daemon listens.
pub const SOCKET: &str = "/run/strata-update/update.sock";
/// The longest line on the socket, in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// What a caller wants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The status, once.
    Status,
    /// The status, at once and after each change.
    Watch,
    /// Install a bundle. Accepted when it may begin or wait; how it goes is in the status.
    Install(Install),
    /// Boot the other slot, if it is good.
    Rollback {
        /// Even while a stream is live.
        even_if_live: bool,
    },
    /// Reboot.
    Reboot {
        /// Even while a stream is live.
        even_if_live: bool,
    },
    /// Factory reset: a new data partition, and a reboot.
    Reset {
        /// Keep the device's key, enrolment and relay.
        keep_identity: bool,
        /// Even while a stream is live.
        even_if_live: bool,
    },
}

/// A bundle and when to do what with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Install {
    /// Its `http://` or `https://` address, or an absolute path.
    pub source: String,
    /// The version that it must be; none takes what it says.
    #[serde(default)]
    pub version: Option<String>,
    /// SHA-256 of the manifest that it must have, 64 hexadecimal digits.
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

/// What the daemon answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// How things are.
    Status(Status),
    /// It will be done; the status tells how it goes.
    Accepted,
    /// It will not.
    Refused {
        /// Why, for programs.
        code: RefusedCode,
        /// Why and what to do, for people.
        message: String,
    },
}

/// How things are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The version of the running image.
    pub version: String,
    /// The slot it runs from.
    pub booted: SlotName,
    /// Both slots.
    pub slots: Vec<SlotStatus>,
    /// The newest update and how far it got; none before the first.
    pub update: Option<UpdateProgress>,
    /// What is wrong with the device itself.
    pub problems: Vec<DeviceProblem>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_people_would_write() {
        let line = r#"{"request":"install","source":"http://relay.example/a.raucb","install":{"when":"now"},"reboot":{"when":"when_idle"}}"#;
        let Request::Install(install) = serde_json::from_str(line).unwrap() else { panic!("another request") };
        assert_eq!((install.version, install.over_metered), (None, false));
        assert_eq!(serde_json::from_str::<Request>(r#"{"request":"status"}"#).unwrap(), Request::Status);
        serde_json::from_str::<Request>(r#"{"request":"reboot"}"#).unwrap_err();
    }
}
