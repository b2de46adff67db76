//! What an application chooses when it starts a sender or a receiver.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use strata_identity::{KeyPair, PublicKey};

use crate::{LinkError, socket};

/// One path from the sender to the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// 0..=15; stays the same for the same path across [`Sender::set_links`](crate::Sender::set_links).
    pub id: u8,
    /// For people.
    pub name: String,
    /// Where the receiver is reached over this link.
    pub remote: SocketAddr,
    /// The network interface to send from; none lets the routing table decide.
    pub interface: Option<String>,
}

impl LinkConfig {
    /// Whether a socket can be opened as configured now: is the interface there, has it an address?
    ///
    /// # Errors
    /// [`LinkError`] names the interface and what to do.
    pub fn check(&self) -> Result<(), LinkError> {
        socket::open(self).map(drop)
    }
}

/// A sender's choices.
#[derive(Debug, Clone)]
pub struct SenderConfig {
    /// This end's key.
    pub identity: KeyPair,
    /// The only receiver to talk to.
    pub peer: PublicKey,
    /// How long after its sending each datagram is released at the receiver; also the receiver's choice, the larger holds.
    pub latency: Duration,
    /// The paths; may be empty and set later.
    pub links: Vec<LinkConfig>,
}

/// A receiver's choices.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// This end's key.
    pub identity: KeyPair,
    /// The only sender to take packets from.
    pub allow: PublicKey,
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// How long after its sending each datagram is released; also the sender's choice, the larger holds.
    pub latency: Duration,
}

/// A datagram as it comes out of the receiver, in order and in its source's timing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Exactly what the sender was given.
    pub payload: Bytes,
    /// Its number in the session, counted by the sender.
    pub sequence: u64,
    /// Datagrams given up between the previous one and this one.
    pub lost_before: u64,
    /// Whether it is the first of a session: the sender was started anew.
    pub new_session: bool,
}

impl From<strata_bond::Release> for Datagram {
    fn from(release: strata_bond::Release) -> Self {
        Self {
            payload: release.payload,
            sequence: release.sequence,
            lost_before: release.lost_before,
            new_session: release.new_session,
        }
    }
}
