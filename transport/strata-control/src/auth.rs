//! Enrolment, login and the session that follows.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strata_identity::{PublicKey, Signature};

use crate::{ApPolicy, DeviceId, LinkPolicy, OwnerId, Sensitive, SlotName};

/// What an enrolling device signs: this context over the token's text.
pub const ENROL_CONTEXT: &str = "strata enrol v1";
/// What a returning device signs: this context over `challenge text + device id text`.
pub const LOGIN_CONTEXT: &str = "strata login v1";

/// The device's first message on a connection, and its answer to a challenge.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuthLogin {
    /// Who it says it is.
    pub credential: Credential,
    /// What runs on it.
    pub agent: AgentInfo,
}

/// How a device proves who it is.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Credential {
    /// First contact: the one-time token that the relay showed, and the device's new key.
    EnrolmentToken {
        /// The token as typed or scanned.
        token: Sensitive,
        /// The key that the device will log in with from now on.
        #[cfg_attr(test, proptest(strategy = "crate::arbitrary::public_key()"))]
        public_key: PublicKey,
        /// Proof of the private half: [`ENROL_CONTEXT`] over the token.
        #[cfg_attr(test, proptest(strategy = "crate::arbitrary::signature()"))]
        proof: Signature,
    },
    /// A device that is enrolled asks for a challenge.
    Hello {
        /// The device.
        device_id: DeviceId,
    },
    /// The answer to the challenge of this connection.
    ChallengeAnswer {
        /// The device.
        device_id: DeviceId,
        /// [`LOGIN_CONTEXT`] over the challenge's text followed by the device id's text.
        #[cfg_attr(test, proptest(strategy = "crate::arbitrary::signature()"))]
        signature: Signature,
    },
}

/// What runs on the device.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AgentInfo {
    /// Version of the agent.
    pub agent_version: String,
    /// Host name.
    pub hostname: String,
    /// Processor architecture as Rust names it (`aarch64`, `x86_64`).
    pub arch: String,
    /// Version of the device image; none on a machine that runs no image of ours.
    #[serde(default)]
    pub image_version: Option<String>,
    /// The slot it booted from.
    #[serde(default)]
    pub booted_slot: Option<SlotName>,
}

/// The relay's answer to [`AuthLogin`].
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum AuthLoginResponse {
    /// The token was consumed; the key is known from now on.
    Enrolled {
        /// The device's identifier, to be kept.
        device_id: DeviceId,
        /// Whom it belongs to.
        owner: OwnerId,
        /// The session of this connection.
        session: SessionToken,
        /// The device's settings.
        config: DeviceConfig,
    },
    /// Prove the key: sign this (random, single use, this connection only).
    Challenge {
        /// 64 hexadecimal digits.
        challenge: String,
    },
    /// The proof holds.
    Accepted {
        /// The device's identifier.
        device_id: DeviceId,
        /// Whom it belongs to.
        owner: OwnerId,
        /// The session of this connection.
        session: SessionToken,
        /// The device's settings.
        config: DeviceConfig,
    },
    /// No; the connection is closed after this.
    Refused {
        /// Why, for programs.
        reason: Refusal,
        /// Why and what to do, for people.
        message: String,
    },
}

/// Why a login was refused.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No such enrolment token.
    TokenUnknown,
    /// The token was used before.
    TokenUsed,
    /// The token's time is over.
    TokenExpired,
    /// No such device (deleted, or another relay's).
    DeviceUnknown,
    /// The device's key was revoked.
    KeyRevoked,
    /// The signature is not the key's.
    SignatureWrong,
    /// Neither side's versions fit.
    VersionUnsupported,
    /// Too many attempts from this address: wait.
    TooManyAttempts,
    /// A reason of a newer protocol version.
    #[serde(other)]
    Other,
}

/// An Ed25519-signed JWT (RFC 7519, RFC 8037) for the device's other requests to the relay.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionToken {
    /// The token.
    pub token: Sensitive,
    /// When it ends; a new one comes by [`AuthSession`] before.
    #[cfg_attr(test, proptest(strategy = "crate::arbitrary::timestamp()"))]
    pub expires_at: Timestamp,
}

/// A new session token, sent before the old one ends.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuthSession {
    /// The new token.
    pub session: SessionToken,
}

/// The settings that the relay keeps for a device.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct DeviceConfig {
    /// The name people gave it.
    pub name: String,
    /// What was set per link; links not named have the defaults.
    #[serde(default)]
    pub links: Vec<LinkPolicy>,
    /// When the access point is on.
    #[serde(default)]
    pub ap_policy: ApPolicy,
}
