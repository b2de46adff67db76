//! The control connection: one WebSocket to the relay, opened by the device.
//!
//! Owns connecting, login, keeping alive and coming back, and turns frames into
//! typed messages and back. Does not own what a message does: that is the
//! agent's ([`crate::agent`]), which this module hands [`RelayEvent`]s.
//! Losing the connection is nothing but an event.

mod backoff;
mod connection;
mod login;
mod tls;

use strata_control::{DeviceMessage, Envelope, MessageId, RelayMessage};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::config::RelayUrl;
use crate::enrolment::Enrolment;

pub use backoff::delay;
pub use connection::{Connection, Settings};
pub(crate) use tls::check_authorities;
pub use tls::client_config;

/// What the connection tells the agent.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "few and short-lived")]
pub enum RelayEvent {
    /// Logged in; messages may be sent until [`Self::Down`].
    Up {
        /// Which relay.
        relay: RelayUrl,
        /// Where messages for the relay go.
        outgoing: Outgoing,
        /// The device, and the settings that the relay keeps.
        enrolment: Enrolment,
    },
    /// The relay said something.
    Message {
        /// What.
        envelope: Envelope<RelayMessage>,
        /// The relay's clock ahead of this one, in milliseconds; the way here included.
        clock_offset_ms: i64,
    },
    /// The connection is gone, or could not be made.
    Down {
        /// Which relay; none where the device knows none.
        relay: Option<RelayUrl>,
        /// Why and what happens next.
        problem: Problem,
    },
}

/// Why there is no connection, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// What kind.
    pub kind: ProblemKind,
    /// What went wrong and what to do.
    pub message: String,
}

/// What kind of problem.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The relay is not reached, or the connection broke: tried again soon.
    Unreachable,
    /// Nobody knows the relay's name: it is mistyped, or the network's DNS is broken. Tried again soon.
    NameUnknown,
    /// The relay's certificate begins in the future: the device's clock is wrong. Tried again soon.
    ClockWrong,
    /// The device has no enrolment and no token, or knows no relay.
    NotEnrolled,
    /// The relay does not know the token. Refused ones are tried again slowly.
    TokenUnknown,
    /// The token was used before.
    TokenUsed,
    /// The token is too old.
    TokenExpired,
    /// The relay refused the login for another reason.
    Refused,
    /// The device's key was revoked: tried again slowly.
    Revoked,
}

/// Where messages for the relay go while one connection lasts.
#[derive(Clone, Debug)]
pub struct Outgoing(mpsc::Sender<Envelope<DeviceMessage>>);

/// Messages that may wait for the network: a status and a few seconds of
/// numbers of several streams. A connection that takes no more is dropped.
const OUTGOING_BOUND: usize = 256;

impl Outgoing {
    fn channel() -> (Self, mpsc::Receiver<Envelope<DeviceMessage>>) {
        let (sender, receiver) = mpsc::channel(OUTGOING_BOUND);
        (Self(sender), receiver)
    }

    /// Says something new. False when the connection is gone or stuck: the message is lost.
    pub fn say(&self, message: DeviceMessage) -> bool {
        self.answer(new_id(), message)
    }

    /// Answers the relay's message `id`. False when the connection is gone or stuck.
    pub fn answer(&self, id: MessageId, message: DeviceMessage) -> bool {
        self.0.try_send(Envelope::new(id, jiff::Timestamp::now(), message)).is_ok()
    }
}

/// A new message's identifier.
fn new_id() -> MessageId {
    MessageId(Uuid::now_v7())
}
