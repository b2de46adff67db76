//! Gathers the worker's numbers once a second.

use std::time::Instant;

use gststrata::SourceStats;
use strata_control::{LinkState, ReceiverTruth};
use strata_media::SegmenterStats;
use strata_worker_protocol::{DestinationStats, WorkerLinkStats, WorkerStats};

use crate::hls::HlsStatus;

/// Less time between two looks at the counters gives no meaningful rate.
const SHORTEST_INTERVAL_S: f64 = 0.2;

/// What the numbers are made of.
#[derive(Debug)]
pub struct Parts {
    /// The transport's numbers; none while it is being started.
    pub source: Option<SourceStats>,
    /// The segmenter's.
    pub media: SegmenterStats,
    /// When the last datagram came.
    pub last_input: Option<Instant>,
    /// The HLS output's.
    pub hls: HlsStatus,
    /// Each destination's.
    pub destinations: Vec<DestinationStats>,
}

/// Remembers the last look at the counters, to tell rates.
#[derive(Debug)]
pub struct StatsGatherer {
    at: Instant,
    delivered_bytes: u64,
    input_bps: u64,
    links: Vec<WorkerLinkStats>,
}

impl StatsGatherer {
    /// Begins now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { at: now, delivered_bytes: 0, input_bps: 0, links: Vec::new() }
    }

    /// The numbers as of now.
    pub fn gather(&mut self, parts: Parts, now: Instant) -> WorkerStats {
        let receiver = parts.source.map(|source| source.receiver).unwrap_or_default();
        let seconds = now.duration_since(self.at).as_secs_f64();
        if seconds >= SHORTEST_INTERVAL_S {
            let rate = |new: u64, old: u64| ((new.saturating_sub(old) * 8) as f64 / seconds) as u64;
            self.input_bps = rate(receiver.delivered_bytes, self.delivered_bytes);
            let links = receiver.links.iter().map(|link| {
                let before =
                    self.links.iter().find(|before| before.id == link.id).map_or(0, |link| link.received_bytes);
                WorkerLinkStats {
                    id: link.id,
                    state: if link.connected { LinkState::Up } else { LinkState::Dead },
                    bitrate_bps: rate(link.received_bytes, before),
                    received_packets: link.received_packets,
                    received_bytes: link.received_bytes,
                }
            });
            self.links = links.collect();
            self.delivered_bytes = receiver.delivered_bytes;
            self.at = now;
        }
        WorkerStats {
            receiver: ReceiverTruth {
                delivered: receiver.delivered,
                lost: receiver.lost,
                late: receiver.late,
                recovered: receiver.recovered,
            },
            input_bps: self.input_bps,
            input_age_ms: parts
                .last_input
                .map(|last| u64::try_from(now.saturating_duration_since(last).as_millis()).unwrap_or(u64::MAX)),
            buffer_ms: receiver.buffer_ms,
            links: self.links.clone(),
            hls_media_sequence: parts.hls.media_sequence,
            hls_segments: parts.hls.segments,
            destinations: parts.destinations,
            video_gaps: parts.media.video_gaps,
            continuity_errors: parts.media.continuity_errors,
        }
    }
}
