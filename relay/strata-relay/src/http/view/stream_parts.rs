//! A stream's numbers for people: what the viewer gets, each link, each destination; each with its age.

use jiff::Timestamp;
use strata_control::{LinkStats, ReceiverTruth, StreamStats};
use strata_fleet::{Aged, StreamDestination};
use strata_web::format;
use strata_worker_protocol::{DestinationState, DestinationStats, WorkerLinkStats, WorkerStats};

use super::{Badge, Seen, words};

/// Numbers that come every second are stale when three did not come.
pub(in crate::http) const STALE_MS: i64 = 3_500;
/// How many colours the style sheet has for links.
const SERIES: u8 = 6;

/// What arrived at the relay, and what of it the viewer lost.
pub(in crate::http) struct Truth {
    pub(in crate::http) seen: Seen,
    pub(in crate::http) stale_ms: i64,
    pub(in crate::http) from: &'static str,
    pub(in crate::http) delivered: String,
    pub(in crate::http) lost: String,
    pub(in crate::http) lost_share: String,
    pub(in crate::http) late: String,
    pub(in crate::http) recovered: String,
    pub(in crate::http) input: String,
    pub(in crate::http) input_age: String,
    pub(in crate::http) buffer: String,
    pub(in crate::http) gaps: String,
}

/// What the device's encoder does.
pub(in crate::http) struct Encoder {
    pub(in crate::http) seen: Seen,
    pub(in crate::http) stale_ms: i64,
    pub(in crate::http) state: &'static str,
    pub(in crate::http) words: String,
    pub(in crate::http) bitrate: String,
    pub(in crate::http) sustainable: String,
    pub(in crate::http) frames: String,
}

/// A link, as both ends see it.
pub(in crate::http) struct LinkRow {
    pub(in crate::http) seen: Seen,
    pub(in crate::http) stale_ms: i64,
    pub(in crate::http) series: u8,
    pub(in crate::http) row: &'static str,
    pub(in crate::http) interface: String,
    pub(in crate::http) device_state: Badge,
    pub(in crate::http) relay_state: Badge,
    pub(in crate::http) bitrate: String,
    pub(in crate::http) rtt: String,
    pub(in crate::http) loss: String,
    pub(in crate::http) capacity: String,
    pub(in crate::http) queue: String,
    pub(in crate::http) signal: String,
    pub(in crate::http) repeats: String,
    pub(in crate::http) sent: String,
}

/// A destination of a stream.
pub(in crate::http) struct DestinationRow {
    pub(in crate::http) name: String,
    pub(in crate::http) state: Badge,
    pub(in crate::http) sent: String,
    pub(in crate::http) error: String,
}

impl Truth {
    /// From the worker itself; while the relay does not hear it, from what the device was told by it.
    pub(in crate::http) fn new(
        worker: Option<&Aged<WorkerStats>>,
        stats: Option<&Aged<StreamStats>>,
        now: Timestamp,
    ) -> Option<Self> {
        if let Some(worker) = worker {
            let value = &worker.value;
            return Some(Self {
                input: format::bitrate(value.input_bps),
                input_age: value.input_age_ms.map_or_else(|| "none yet".into(), newest),
                buffer: format::ms(value.buffer_ms),
                gaps: format::count(value.video_gaps),
                ..Self::of("As the worker counts", value.receiver, worker.received_at, now)
            });
        }
        let stats = stats?;
        Some(Self::of("As the worker told the device", stats.value.receiver?, stats.received_at, now))
    }

    fn of(from: &'static str, truth: ReceiverTruth, at: Timestamp, now: Timestamp) -> Self {
        let ReceiverTruth { delivered, lost, late, recovered } = truth;
        Self {
            seen: Seen::new(at, now),
            stale_ms: STALE_MS,
            from,
            delivered: format::count(delivered),
            lost: format::count(lost),
            lost_share: format::percent(lost, delivered.saturating_add(lost)),
            late: format::count(late),
            recovered: format::count(recovered),
            input: format::UNKNOWN.into(),
            input_age: format::UNKNOWN.into(),
            buffer: format::UNKNOWN.into(),
            gaps: format::UNKNOWN.into(),
        }
    }
}

/// Below a second the age of the newest datagram says nothing.
fn newest(age_ms: u64) -> String {
    if age_ms < 1_000 { "just now".into() } else { format!("{} before", format::span(age_ms / 1_000)) }
}

impl Encoder {
    pub(in crate::http) fn new(stats: &Aged<StreamStats>, restarts: u32, now: Timestamp) -> Self {
        let encoder = &stats.value.encoder;
        let restarted = match restarts {
            0 => String::new(),
            1 => ", started again once".to_owned(),
            times => format!(", started again {times} times"),
        };
        Self {
            seen: Seen::new(stats.received_at, now),
            stale_ms: STALE_MS,
            state: words::encoder_state(encoder.state),
            words: format!("{} {}×{}{restarted}", encoder.element, encoder.width, encoder.height),
            bitrate: format::bitrate(encoder.bitrate_bps.into()),
            sustainable: if encoder.sustainable_bps == 0 {
                format::UNKNOWN.into()
            } else {
                format::bitrate(encoder.sustainable_bps)
            },
            frames: format::count(encoder.frames),
        }
    }
}

impl LinkRow {
    pub(in crate::http) fn all(
        stats: Option<&Aged<StreamStats>>,
        worker: Option<&Aged<WorkerStats>>,
        now: Timestamp,
    ) -> Vec<Self> {
        let Some(stats) = stats else { return Vec::new() };
        let relay_fresh =
            worker.filter(|worker| now.as_millisecond() - worker.received_at.as_millisecond() <= STALE_MS);
        let at_relay = |id: u8| relay_fresh?.value.links.iter().find(|link| link.id == id);
        let seen = Seen::new(stats.received_at, now);
        stats.value.links.iter().map(|link| Self::new(link, at_relay(link.id), seen.clone())).collect()
    }

    fn new(link: &LinkStats, relay: Option<&WorkerLinkStats>, seen: Seen) -> Self {
        let dead = link.state == strata_control::LinkState::Dead;
        Self {
            seen,
            stale_ms: STALE_MS,
            series: link.id % SERIES,
            row: if dead { "gone" } else { "" },
            interface: link.interface.clone(),
            device_state: words::link_state(link.state),
            relay_state: relay.map_or_else(|| Badge::new("", "unknown"), |relay| words::link_state(relay.state)),
            bitrate: format::bitrate(link.bitrate_bps),
            rtt: format::ms(link.rtt_ms),
            loss: format::percent(link.lost_packets, link.sent_packets),
            capacity: if link.capacity_bps == 0 { format::UNKNOWN.into() } else { format::bitrate(link.capacity_bps) },
            queue: format::ms(link.queue_ms),
            signal: link.signal_dbm.map_or_else(|| format::UNKNOWN.into(), |dbm| format!("{dbm} dBm")),
            repeats: format::count(link.retransmitted_packets),
            sent: format::bytes(link.sent_bytes),
        }
    }
}

impl DestinationRow {
    pub(in crate::http) fn all(
        destinations: &[StreamDestination],
        worker: Option<&Aged<WorkerStats>>,
        over: bool,
    ) -> Vec<Self> {
        let stats_of = |id: &str| worker?.value.destinations.iter().find(|stats| stats.id == id);
        destinations
            .iter()
            .map(|destination| match stats_of(&destination.id.to_string()) {
                Some(stats) => Self::new(&destination.name, stats),
                None => Self {
                    name: destination.name.clone(),
                    state: if over { Badge::new("", "ended") } else { Badge::new("", "no word yet") },
                    sent: format::UNKNOWN.into(),
                    error: String::new(),
                },
            })
            .collect()
    }

    fn new(name: &str, stats: &DestinationStats) -> Self {
        let state = match stats.state {
            DestinationState::Connecting => Badge::new("busy", "connecting"),
            DestinationState::Connected => Badge::new("good", "connected"),
            DestinationState::Waiting => {
                let again = stats.retry_in_ms.map(|ms| format!(", again in {}", format::span(ms.div_ceil(1_000))));
                Badge::new("bad", format!("failed{}", again.unwrap_or_default()))
            }
        };
        let error = match (&stats.last_error, stats.failures) {
            (Some(error), 0 | 1) => error.clone(),
            (Some(error), times) => format!("{error} ({times} times)"),
            (None, _) => String::new(),
        };
        Self { name: name.to_owned(), state, sent: format::bytes(stats.sent_bytes), error }
    }
}
