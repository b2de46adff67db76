//! How fast what is on its way over a link arrives.

use std::time::Duration;

/// How fast what is on its way over a link arrives now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Bytes per second; none before it is known.
    pub(super) rate: Option<u64>,
    pub(super) round_trip: Duration,
    pub(super) extra_delay: Duration,
}

impl Pace {
    /// When the last of `bytes` in flight arrives, counted from the fastest empty link's arrival of a packet sent now.
    pub(super) fn arrives(&self, bytes: u64) -> Duration {
        let drain = self.rate.map_or(0, |rate| bytes.saturating_mul(1_000_000) / rate);
        Duration::from_micros(drain).saturating_sub(self.round_trip) + self.extra_delay
    }
}
