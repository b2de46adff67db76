//! The result: the same names as in the lines of the harness that judges transports elsewhere.

use serde::Serialize;
use strata_netem::protocol::{DirectionStats, LinkStats};
use strata_sim::scenario::DATAGRAM;

use crate::run::Job;
use crate::sink::Received;
use crate::source::Sent;

/// IPv4 and UDP headers of each packet.
const HEADERS: u64 = 28;

/// A result.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    peer: &'static str,
    scen: &'static str,
    latency: u32,
    seed: u64,
    rate: u64,
    dur: f64,
    /// Processes that wanted to run, before and after.
    load: [f64; 2],
    /// Ends that did not live to the end.
    dead: Vec<&'static str>,
    /// Their last words, if any did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// Processor seconds of the sender and of the receiver.
    cpu_tx: Option<f64>,
    cpu_rx: Option<f64>,
    src: Sent,
    sink: Received,
    #[serde(flatten)]
    wire: Option<Wire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_pct: Option<f64>,
    /// Packets that the system dropped at this bench's own sockets: more than a few, and the machine was too busy.
    kernel_drops: u64,
}

/// What both ends came to, apart from the stream.
#[derive(Debug, Default)]
pub(crate) struct Circumstances {
    pub(crate) load: [f64; 2],
    pub(crate) dead: Vec<&'static str>,
    pub(crate) log: String,
    pub(crate) cpu_s: [Option<f64>; 2],
    pub(crate) kernel_drops: u64,
}

/// What crossed the links.
#[derive(Debug, Serialize)]
struct Wire {
    emu: Emulated,
    wire_fwd: u64,
    wire_rev: u64,
    overhead_pct: f64,
    rev_pct: f64,
}

#[derive(Debug, Serialize)]
struct Emulated {
    links: Vec<Link>,
}

#[derive(Debug, Serialize)]
struct Link {
    fwd: Direction,
    rev: Direction,
}

#[derive(Debug, Serialize)]
struct Direction {
    in_pkts: u64,
    in_bytes: u64,
    in_wire: u64,
    out_pkts: u64,
    out_bytes: u64,
    drop_queue: u64,
    drop_loss: u64,
    drop_blackout: u64,
    /// By second since the first datagram.
    out_wire_per_s: Vec<u64>,
}

/// What was seen of the links.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Their counters at the start of each second, and at the end.
    pub(crate) seconds: Vec<Vec<LinkStats>>,
    /// Packets handed to each while it was dark; those that were on their way when it went dark are not among them.
    pub(crate) into_dark: Vec<u64>,
}

impl Row {
    pub(crate) fn new(job: &Job, src: Sent, sink: Received, watched: &Watched, around: Circumstances) -> Self {
        let scenario = &job.scenario;
        let dur = scenario.duration.as_secs_f64();
        let delivered_bps = (sink.delivered * DATAGRAM as u64 * 8) as f64 / dur;
        Self {
            peer: job.peer.name(),
            scen: scenario.name,
            latency: job.latency_ms,
            seed: job.seed,
            rate: scenario.bps,
            dur,
            load: around.load,
            log: (!around.dead.is_empty()).then_some(around.log),
            dead: around.dead,
            cpu_tx: around.cpu_s[0].map(|seconds| rounded(seconds, 1000.0)),
            cpu_rx: around.cpu_s[1].map(|seconds| rounded(seconds, 1000.0)),
            used_pct: scenario.capacity_bps().map(|bps| rounded(100.0 * delivered_bps / bps, 10.0)),
            wire: (!scenario.nets.is_empty()).then(|| Wire::new(watched, src.sent * DATAGRAM as u64)),
            kernel_drops: around.kernel_drops,
            src,
            sink,
        }
    }
}

impl Wire {
    fn new(watched: &Watched, payload: u64) -> Self {
        let seconds = &watched.seconds;
        let count = seconds.last().map_or(0, Vec::len);
        let way = |link: usize, pick: fn(&LinkStats) -> DirectionStats| {
            Direction::new(&seconds.iter().map(|second| pick(&second[link])).collect::<Vec<_>>())
        };
        let link = |number: usize| {
            let drop_blackout = watched.into_dark.get(number).copied().unwrap_or(0);
            let fwd = Direction { drop_blackout, ..way(number, |stats| stats.up) };
            Link { fwd, rev: way(number, |stats| stats.down) }
        };
        let links: Vec<Link> = (0..count).map(link).collect();
        let wire_fwd = links.iter().map(|link| link.fwd.in_wire).sum();
        let wire_rev = links.iter().map(|link| link.rev.in_wire).sum();
        let percent = |bytes: u64| bytes as f64 * 100.0 / payload.max(1) as f64;
        Self {
            emu: Emulated { links },
            wire_fwd,
            wire_rev,
            overhead_pct: rounded(percent(wire_fwd) - 100.0, 10.0),
            rev_pct: rounded(percent(wire_rev), 100.0),
        }
    }
}

impl Direction {
    fn new(seconds: &[DirectionStats]) -> Self {
        let end = seconds.last().copied().unwrap_or_default();
        let out = |stats: &DirectionStats| stats.out_bytes + HEADERS * stats.out_packets;
        Self {
            in_pkts: end.in_packets,
            in_bytes: end.in_bytes,
            in_wire: end.in_bytes + HEADERS * end.in_packets,
            out_pkts: end.out_packets,
            out_bytes: end.out_bytes,
            drop_queue: end.queue_dropped_packets,
            drop_loss: end.lost_packets,
            drop_blackout: end.cut_packets,
            out_wire_per_s: seconds.windows(2).map(|pair| out(&pair[1]) - out(&pair[0])).collect(),
        }
    }
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
