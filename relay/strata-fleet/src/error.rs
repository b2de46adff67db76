use std::time::Duration;

use strata_control::RefusedCode;
use strata_relay_db::Role;

/// Why a call was refused or failed. The text is for people; [`kind`](FleetError::kind) is for status codes.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// E-mail address or password is wrong; which of both is not said.
    #[error("e-mail address or password is wrong")]
    WrongCredentials,
    /// The refresh token is unknown, over, revoked or was used before.
    #[error("this session is over: log in again")]
    SessionOver,
    /// Too many failed logins.
    #[error("too many failed attempts: try again in {} s", retry_after.as_secs().max(1))]
    TooManyAttempts {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The role does not allow it.
    #[error("this needs the role {needed}; yours is {yours}")]
    Forbidden {
        /// The least role that may.
        needed: Role,
        /// The actor's.
        yours: Role,
    },
    /// There is none, or it belongs to someone else: nobody can tell.
    #[error("no such {what}")]
    NotFound {
        /// `device`, `stream`, `destination`, `user`.
        what: &'static str,
    },
    /// A value cannot be used; the text says which and what is expected.
    #[error("{message}")]
    Invalid {
        /// Which value, what is wrong, what to do.
        message: String,
    },
    /// The present state does not allow it; the text says what is in the way.
    #[error("{message}")]
    Conflict {
        /// What is in the way and what to do.
        message: String,
    },
    /// The device is not connected now.
    #[error("{device} is offline: wait until it is back, or look at its power and network")]
    DeviceOffline {
        /// Its name.
        device: String,
    },
    /// The device said no.
    #[error("the device refused: {message}")]
    DeviceRefused {
        /// Why, for programs.
        code: RefusedCode,
        /// Why, in the device's words.
        message: String,
    },
    /// The device did not acknowledge in time.
    #[error("the device did not answer within {} s: it is not known whether it obeyed; look at its state", waited.as_secs())]
    DeviceSilent {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The relay itself failed: disk, database, process.
    #[error("{context}")]
    Internal {
        /// Which step.
        context: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What sort of failure, for a status code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// Not logged in (401).
    Unauthenticated,
    /// Logged in, not allowed (403).
    Forbidden,
    /// Not there (404).
    NotFound,
    /// A value is wrong (422).
    Invalid,
    /// The state is in the way (409).
    Conflict,
    /// Wait (429).
    TooManyAttempts,
    /// The device is away, silent or refused (409, 504 or 502 as the page likes).
    Device,
    /// The relay's own fault (500).
    Internal,
}

impl FleetError {
    /// What sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::WrongCredentials | Self::SessionOver => ErrorKind::Unauthenticated,
            Self::TooManyAttempts { .. } => ErrorKind::TooManyAttempts,
            Self::Forbidden { .. } => ErrorKind::Forbidden,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::DeviceOffline { .. } | Self::DeviceRefused { .. } | Self::DeviceSilent { .. } => ErrorKind::Device,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }
}
