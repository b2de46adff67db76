//! One second of a stream, as the plots and REST take it.

use serde::Serialize;
use strata_control::LinkState;
use strata_fleet::HistoryPoint;

/// One second of a stream.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(in crate::http) struct Point {
    /// Milliseconds since 1970-01-01 UTC.
    at: i64,
    /// Received by the worker, bit/s.
    input_bps: Option<u64>,
    /// Lost by the viewer so far, in datagrams.
    lost: Option<u64>,
    links: Vec<Link>,
}

/// One second of a link.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Link {
    id: u8,
    interface: String,
    state: LinkState,
    bitrate_bps: u64,
    rtt_ms: f64,
    /// Lost in this second, before repair.
    loss_percent: f64,
}

impl From<&HistoryPoint> for Point {
    fn from(point: &HistoryPoint) -> Self {
        let links = point.links.iter().map(|link| Link {
            id: link.id,
            interface: link.interface.clone(),
            state: link.state,
            bitrate_bps: link.bitrate_bps,
            rtt_ms: rounded(link.rtt_ms),
            loss_percent: rounded(link.loss * 100.0),
        });
        Self { at: point.at.as_millisecond(), input_bps: point.input_bps, lost: point.lost, links: links.collect() }
    }
}

/// Two decimals are more than a plot shows.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
