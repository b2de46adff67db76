//! The bonding engine, sans-IO: packets, scheduler, repair, reassembly, estimation.
//!
//! It owns which link carries which packet, when it is repeated, when it is
//! released, and how fast the source may run. It owns no socket, no clock and no
//! thread: inputs carry the time ([`Time`]), outputs are polled. `strata-link`
//! drives it over QUIC; the tests drive it over simulated links.

mod parity;
mod receiver;
pub mod scheduler;
mod sender;
mod stats;
mod time;
mod wire;

pub use receiver::{ConnectionId, Event as ReceiverEvent, Receiver, Release, ReportOut};
pub use sender::{PushError, Sender, Transmit};
pub use stats::{LinkState, ReceiverLinkStats, ReceiverStats, ReceiverTruth, SenderLinkStats, SenderStats};
pub use time::Time;
pub use wire::{ParseError, VERSION};

use std::time::Duration;

/// The largest datagram the bond carries, in bytes; the smallest is 1.
pub const MAX_DATAGRAM: usize = 1456;

/// The largest latency: either end holds that much of the stream.
pub const MAX_LATENCY: Duration = Duration::from_secs(30);

/// The most links of one bond; link ids are 0..=15.
pub const MAX_LINKS: usize = 16;
