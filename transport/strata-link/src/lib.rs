//! Links: one QUIC connection per interface, async [`Sender`] and [`Receiver`].
//!
//! The engine (`strata-bond`) decides; this crate owns what it may not touch:
//! sockets bound to interfaces, QUIC connections and their keys, timers, tasks.
//! Each end owns its tasks and ends them with [`Sender::close`] or
//! [`Receiver::close`], or when it is dropped.

mod clock;
mod config;
mod error;
mod network;
mod quic;
mod quic_socket;
mod receiver;
mod sender;
mod socket;
mod tls;

pub use config::{Datagram, LinkConfig, ReceiverConfig, SenderConfig};
pub use error::{LinkError, SendError};
pub use network::Network;
pub use receiver::Receiver;
pub use sender::Sender;
pub use strata_bond::{
    LinkState, MAX_DATAGRAM, MAX_LATENCY, ReceiverLinkStats, ReceiverStats, ReceiverTruth, SenderLinkStats, SenderStats,
};

use std::time::Duration;

/// The smallest latency: below, nothing could be repaired anywhere.
pub const MIN_LATENCY: Duration = Duration::from_millis(20);

pub(crate) fn check_latency(latency: Duration) -> Result<(), LinkError> {
    if (MIN_LATENCY..=MAX_LATENCY).contains(&latency) { Ok(()) } else { Err(LinkError::Latency(latency.as_millis())) }
}
