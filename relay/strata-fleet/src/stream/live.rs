//! The numbers of a stream that is not over: the last of each side with its age, and five minutes of history.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use strata_control::{LinkStats, StreamStats};
use strata_worker_protocol::WorkerStats;

use crate::{Aged, HistoryPoint, LinkPoint, LiveNumbers};

/// Points kept: five minutes at one a second.
const HISTORY_POINTS: usize = 300;
/// Numbers older than this are no part of a new point.
const FRESH: Duration = Duration::from_secs(3);

/// What is known of a stream now.
#[derive(Default)]
pub(crate) struct Live {
    stats: Option<(StreamStats, Timestamp)>,
    worker: Option<(WorkerStats, Timestamp)>,
    pub(crate) worker_restarts: u32,
    pub(crate) encoder_restarts: u32,
    history: VecDeque<HistoryPoint>,
    /// The links' counters at the last point.
    counted: Vec<LinkStats>,
}

impl Live {
    pub(crate) fn keep_stats(&mut self, stats: StreamStats, at: Timestamp) {
        self.stats = Some((stats, at));
    }

    pub(crate) fn keep_worker(&mut self, stats: WorkerStats, at: Timestamp) {
        self.worker = Some((stats, at));
    }

    pub(crate) fn worker(&self) -> Option<&WorkerStats> {
        self.worker.as_ref().map(|(stats, _)| stats)
    }

    /// Adds this second's point to the history; none when neither side said anything lately.
    pub(crate) fn point(&mut self, now: Timestamp) -> Option<HistoryPoint> {
        let fresh = |at: Timestamp| age(at, now) <= FRESH;
        let stats = self.stats.as_ref().filter(|(_, at)| fresh(*at)).map(|(stats, _)| stats);
        let worker = self.worker.as_ref().filter(|(_, at)| fresh(*at)).map(|(worker, _)| worker);
        if stats.is_none() && worker.is_none() {
            return None;
        }
        let links = stats.map(|stats| stats.links.iter().map(|link| link_point(link, &self.counted)).collect());
        let point = HistoryPoint {
            at: now,
            input_bps: worker.map(|worker| worker.input_bps),
            lost: worker.map(|worker| worker.receiver.lost),
            links: links.unwrap_or_default(),
        };
        if let Some(stats) = stats {
            self.counted.clone_from(&stats.links);
        }
        if self.history.len() == HISTORY_POINTS {
            self.history.pop_front();
        }
        self.history.push_back(point.clone());
        Some(point)
    }

    /// The numbers as callers see them.
    pub(crate) fn view(&self, now: Timestamp, with_history: bool) -> LiveNumbers {
        LiveNumbers {
            stats: self.stats.as_ref().map(|(value, at)| aged(value.clone(), *at, now)),
            worker: self.worker.as_ref().map(|(value, at)| aged(value.clone(), *at, now)),
            worker_restarts: self.worker_restarts,
            encoder_restarts: self.encoder_restarts,
            history: if with_history { self.history.iter().cloned().collect() } else { Vec::new() },
        }
    }
}

fn age(at: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(at).try_into().unwrap_or_default()
}

fn aged<T>(value: T, received_at: Timestamp, now: Timestamp) -> Aged<T> {
    let age_ms = u64::try_from(age(received_at, now).as_millis()).unwrap_or(u64::MAX);
    Aged { value, received_at, age_ms }
}

fn link_point(link: &LinkStats, counted: &[LinkStats]) -> LinkPoint {
    let before = counted.iter().find(|other| other.id == link.id && other.sent_packets <= link.sent_packets);
    let (sent, lost) = before.map_or((link.sent_packets, link.lost_packets), |before| {
        (link.sent_packets - before.sent_packets, link.lost_packets.saturating_sub(before.lost_packets))
    });
    LinkPoint {
        id: link.id,
        interface: link.interface.clone(),
        state: link.state,
        bitrate_bps: link.bitrate_bps,
        rtt_ms: link.rtt_ms,
        loss: share(lost, sent),
    }
}

#[allow(clippy::cast_precision_loss, reason = "a second's datagrams are far below 2⁵²")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}

#[cfg(test)]
mod tests {
    use strata_control::{EncoderState, EncoderStats, LinkState, Source, StreamId, VideoCodec};

    use super::*;

    fn stats(sent_packets: u64, lost_packets: u64) -> StreamStats {
        let link = LinkStats {
            id: 1,
            interface: "wwan0".to_owned(),
            state: LinkState::Up,
            rtt_ms: 40.0,
            capacity_bps: 0,
            bitrate_bps: 1_000_000,
            sent_bytes: 0,
            sent_packets,
            lost_packets,
            retransmitted_packets: 0,
            queue_ms: 0.0,
            signal_dbm: None,
        };
        let encoder = EncoderStats {
            state: EncoderState::Running,
            element: "x264enc".to_owned(),
            codec: VideoCodec::H264,
            bitrate_bps: 0,
            sustainable_bps: 0,
            output_bps: 0,
            width: 0,
            height: 0,
            frames: 0,
            bytes: 0,
            uptime_ms: 0,
        };
        StreamStats {
            stream_id: StreamId(uuid::Uuid::nil()),
            source: Source::TestPattern,
            encoder,
            links: vec![link],
            receiver: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn loss_is_that_of_the_second_and_survives_a_restart_of_the_counters() {
        let mut live = Live::default();
        for (second, sent, lost, expected) in [(0, 100, 2, 0.02), (1, 200, 12, 0.1), (2, 50, 0, 0.0)] {
            live.keep_stats(stats(sent, lost), at(second));
            let point = live.point(at(second)).unwrap();
            assert!((point.links[0].loss - expected).abs() < 1e-9, "{point:?}");
        }
    }

    #[test]
    fn old_numbers_make_no_point_but_are_shown_with_their_age() {
        let mut live = Live::default();
        live.keep_stats(stats(100, 0), at(0));
        assert!(live.point(at(10)).is_none());
        assert_eq!(live.view(at(10), true).stats.unwrap().age_ms, 10_000);
    }

    #[test]
    fn history_is_bounded() {
        let mut live = Live::default();
        for second in 0..400 {
            live.keep_worker(WorkerStats::default(), at(second));
            live.point(at(second));
        }
        let history = live.view(at(400), true).history;
        assert_eq!((history.len(), history[0].at), (HISTORY_POINTS, at(100)));
    }
}
