//! What a scenario came to, in the terms of its bars.

use std::time::Duration;

use serde::Serialize;
use strata_bond::Time;

use crate::scenario::{DATAGRAM, Scenario};
use crate::{MS, Sim};

/// The first seconds, in which the bond learns its links, are counted apart.
const WARM: Duration = Duration::from_secs(5);

/// What a scenario came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Datagrams handed over.
    pub sent: usize,
    /// Datagrams that never came out.
    pub lost: usize,
    /// Of these, handed over after the first five seconds.
    pub lost_steady: usize,
    /// Datagrams that came out later than latency, slowest path and 100 ms after they were handed over.
    pub late: usize,
    /// From handing over to coming out, in milliseconds, of half of the datagrams.
    pub p50_ms: f64,
    /// The same of 99 % of the datagrams.
    pub p99_ms: f64,
    /// Bytes on the wire above the payload's, in percent.
    pub overhead_percent: f64,
    /// Packets of parity that the sender handed to the links.
    pub parity_packets: u64,
    /// Datagrams that came out thanks to them.
    pub recovered_by_parity: u64,
    /// Bytes on the wire of the way back, in percent of the payload's.
    pub back_percent: f64,
    /// Payload delivered, in percent of what the links could have carried; none where the source does not follow.
    pub used_percent: Option<f64>,
    /// Packets sent into links that were dark, per link.
    pub swallowed: Vec<u64>,
    /// Packets dropped by full queues, per link.
    pub queue_drops: Vec<u64>,
}

impl Outcome {
    pub(crate) fn of(sim: &Sim, scenario: &Scenario, start: Time, latency: Duration) -> Self {
        let slowest = scenario.nets.iter().map(|net| net.up.delay_ms).fold(0.0, f64::max);
        let late_after = latency + Duration::from_secs_f64(slowest / 1000.0) + MS * 100;
        let mut there = vec![false; sim.pushed.len()];
        for (_, release) in &sim.released {
            if let Some(there) = usize::try_from(release.sequence).ok().and_then(|at| there.get_mut(at)) {
                *there = true;
            }
        }
        let missing = |from: Time| {
            sim.pushed.iter().zip(&there).filter(|((pushed, _), there)| !**there && *pushed >= from).count()
        };
        let mut delays: Vec<Duration> = sim.delays().collect();
        let late = delays.iter().filter(|&&delay| delay > late_after).count();
        delays.sort_unstable();
        let share = |share: f64| {
            let at = (delays.len().saturating_sub(1) as f64 * share).round();
            delays.get(at as usize).map_or(0.0, |delay| delay.as_secs_f64() * 1000.0)
        };
        let payload = (sim.pushed.len() * DATAGRAM) as f64;
        let delivered = (sim.released.len() * DATAGRAM) as f64 * 8.0 / scenario.duration.as_secs_f64();
        let links = 0..scenario.nets.len();
        Self {
            sent: sim.pushed.len(),
            lost: missing(start),
            lost_steady: missing(start + WARM),
            late,
            p50_ms: share(0.5),
            p99_ms: share(0.99),
            overhead_percent: (sim.total(|link| link.wire_bytes) as f64 / payload - 1.0) * 100.0,
            parity_packets: sim.sender_stats().parity_packets,
            recovered_by_parity: sim.receiver_stats().recovered_by_parity,
            back_percent: sim.total(|link| link.back_wire_bytes) as f64 / payload * 100.0,
            used_percent: scenario.capacity_bps().map(|bps| delivered / bps * 100.0),
            swallowed: links.clone().map(|link| sim.counted(link).swallowed).collect(),
            queue_drops: links.map(|link| sim.counted(link).queue_drops).collect(),
        }
    }

    /// Lost and late together, in percent of what was handed over.
    #[must_use]
    pub fn bad_percent(&self) -> f64 {
        (self.lost + self.late) as f64 * 100.0 / self.sent.max(1) as f64
    }
}
