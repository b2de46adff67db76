//! One simulated link: what it does to packets, both ways.

use std::sync::Arc;
use std::time::Duration;

use strata_netem::Trace;
use strata_netem::protocol::Shape;

/// What QUIC takes of a path's largest packet.
const QUIC_BYTES: usize = 34;
/// A path of 1,400 bytes, as links try first.
const FULL_MTU: usize = 1400;

/// A link between the simulated ends.
#[derive(Debug, Clone)]
pub struct Net {
    /// From sender to receiver.
    pub up: Shape,
    /// From receiver to sender.
    pub down: Shape,
    /// A recorded link, instead of the rate from sender to receiver.
    pub trace: Option<Arc<Trace>>,
    /// The largest bond packet that one QUIC packet carries, in bytes.
    pub max_datagram: usize,
    /// Nothing arrives, either way.
    pub dark: bool,
    /// Nothing arrives at the receiver; what it sends arrives.
    pub black_hole: bool,
    /// Nothing arrives at the sender; what it sends arrives.
    pub mute: bool,
    /// Parity that arrives is acknowledged and not looked at: what the same network is to a bond without parity.
    pub no_parity: bool,
}

impl Net {
    /// The same both ways: thousands of bits a second, milliseconds, a share of packets lost.
    #[must_use]
    pub fn new(kbps: u64, delay_ms: u32, loss: f64) -> Self {
        let shape =
            Shape { rate_kbps: kbps, delay_ms: f64::from(delay_ms), loss_percent: loss * 100.0, ..Shape::default() };
        Self::shaped(shape, shape)
    }

    /// With a shape for each way.
    #[must_use]
    pub fn shaped(up: Shape, down: Shape) -> Self {
        let max_datagram = FULL_MTU - QUIC_BYTES;
        Self { up, down, trace: None, max_datagram, dark: false, black_hole: false, mute: false, no_parity: false }
    }

    /// Delays that wander by `ms`, both ways.
    #[must_use]
    pub fn jitter(mut self, ms: u32) -> Self {
        (self.up.jitter_ms, self.down.jitter_ms) = (f64::from(ms), f64::from(ms));
        self
    }

    /// The round trip without queue and jitter.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        Duration::from_secs_f64((self.up.delay_ms + self.down.delay_ms) / 1000.0)
    }
}
