//! What the emulator is told and what it answers: one JSON object per line.
//!
//! Owns the shapes only. The configuration comes on standard input, the bound
//! addresses go to standard output, commands and replies cross a Unix socket.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A whole emulator: its links and how it is controlled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Same seed, same losses and jitter.
    #[serde(default)]
    pub seed: u64,
    /// The links; a link's number is its place in this list.
    pub links: Vec<LinkSpec>,
    /// Unix socket for commands; none: the emulator cannot be changed while it runs.
    #[serde(default)]
    pub control: Option<PathBuf>,
    /// Ends by itself after this many seconds without traffic and without a control connection; none: never.
    #[serde(default)]
    pub exit_idle_s: Option<u64>,
}

/// One link: where it listens, where it leads to, and how bad it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// Where clients send to; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where their packets come out.
    pub target: SocketAddr,
    /// What it does to packets, in each direction.
    #[serde(flatten)]
    pub shape: Shape,
    /// What it does to packets from target to client; none: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<Shape>,
    /// A recorded link whose moments take the place of the rate from client to target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceSpec>,
}

/// A recorded link, see [`Trace`](crate::Trace).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSpec {
    /// The recording.
    pub file: PathBuf,
    /// How far into the recording the emulator starts, in seconds.
    #[serde(default)]
    pub start_s: f64,
}

/// What a link does to packets; each direction has its own queue.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// Thousands of bits per second, IP and UDP headers included; 0: no limit.
    pub rate_kbps: u64,
    /// One-way delay in milliseconds.
    pub delay_ms: f64,
    /// Standard deviation of the additional delay in milliseconds; packets stay in order.
    pub jitter_ms: f64,
    /// Packets lost at random, in percent.
    pub loss_percent: f64,
    /// Packets lost in bursts, in percent of all; in addition to the others.
    pub burst_percent: f64,
    /// Packets that a burst takes on average.
    pub burst_packets: f64,
    /// Longest wait in the queue in milliseconds; what would wait longer is dropped.
    pub queue_ms: f64,
    /// Packets that those behind them overtake, in percent.
    pub reorder_percent: f64,
    /// How much later an overtaken packet comes, in milliseconds.
    pub reorder_ms: f64,
    /// Packets that arrive twice, in percent.
    pub duplicate_percent: f64,
}

impl Default for Shape {
    fn default() -> Self {
        Self::CLEAN
    }
}

/// Printed on standard output once all links are bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The bound address of each link, in order.
    pub links: Vec<SocketAddr>,
}

/// A command, one JSON line on the control socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// The link delivers nothing any more, in either direction, silently.
    Cut {
        /// The link's number.
        link: usize,
    },
    /// Ends a cut.
    Restore {
        /// The link's number.
        link: usize,
    },
    /// Changes what the link does from now on; what is not named stays.
    Set {
        /// The link's number.
        link: usize,
        /// Only this direction; none: both.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        way: Option<Way>,
        /// The changes.
        #[serde(flatten)]
        change: ShapeChange,
    },
    /// Asks for the counters of each link.
    Stats,
    /// Asks for the links, their addresses and shapes.
    List,
    /// Ends the emulator.
    Stop,
}

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Client to target.
    Up,
    /// Target to client.
    Down,
}

/// A change of a link's shape; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShapeChange {
    /// See [`Shape::rate_kbps`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_kbps: Option<u64>,
    /// See [`Shape::delay_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<f64>,
    /// See [`Shape::jitter_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    /// See [`Shape::loss_percent`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<f64>,
    /// See [`Shape::queue_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<f64>,
}

/// The answer to a command, one JSON line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Ok,
    /// Not done.
    Error {
        /// What was wrong and what to do.
        message: String,
    },
    /// Answer to [`Command::Stats`].
    Stats {
        /// By number.
        links: Vec<LinkStats>,
    },
    /// Answer to [`Command::List`].
    List {
        /// By number.
        links: Vec<LinkInfo>,
    },
}

/// What went over a link, both ways; "up" is from client to target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinkStats {
    /// Whether the link is cut now.
    pub cut: bool,
    /// Client to target.
    pub up: DirectionStats,
    /// Target to client.
    pub down: DirectionStats,
}

/// One direction of a link; packets and bytes of payload, without IP and UDP headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DirectionStats {
    /// Packets that came in.
    pub in_packets: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Packets that went out.
    pub out_packets: u64,
    /// Their bytes.
    pub out_bytes: u64,
    /// Packets lost at random.
    pub lost_packets: u64,
    /// Packets dropped because the queue was full.
    pub queue_dropped_packets: u64,
    /// Packets swallowed by a cut.
    pub cut_packets: u64,
    /// Packets on their way now.
    pub queued_packets: u64,
}

/// A link as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkInfo {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it leads to.
    pub target: SocketAddr,
    /// Whether it is cut.
    pub cut: bool,
    /// What it does to packets.
    pub shape: Shape,
}

impl Shape {
    /// No limit, no delay, no loss.
    pub const CLEAN: Self = Self {
        rate_kbps: 0,
        delay_ms: 0.0,
        jitter_ms: 0.0,
        loss_percent: 0.0,
        burst_percent: 0.0,
        burst_packets: 8.0,
        queue_ms: 300.0,
        reorder_percent: 0.0,
        reorder_ms: 10.0,
        duplicate_percent: 0.0,
    };

    /// Whether the values are possible.
    pub(crate) fn check(&self) -> Result<(), String> {
        let times = [
            ("delay_ms", self.delay_ms),
            ("jitter_ms", self.jitter_ms),
            ("queue_ms", self.queue_ms),
            ("reorder_ms", self.reorder_ms),
        ];
        for (name, value) in times {
            if !(0.0..=60_000.0).contains(&value) {
                return Err(format!("{name} is {value}: 0 to 60000 is possible"));
            }
        }
        let shares = [
            ("loss_percent", self.loss_percent),
            ("burst_percent", self.burst_percent),
            ("reorder_percent", self.reorder_percent),
            ("duplicate_percent", self.duplicate_percent),
        ];
        for (name, value) in shares {
            if !(0.0..=100.0).contains(&value) {
                return Err(format!("{name} is {value}: 0 to 100 is possible"));
            }
        }
        if !(1.0..=1e6).contains(&self.burst_packets) {
            return Err(format!("burst_packets is {}: 1 to 1000000 is possible", self.burst_packets));
        }
        Ok(())
    }
}

impl ShapeChange {
    /// `shape` with the changes.
    #[must_use]
    pub fn applied_to(&self, shape: Shape) -> Shape {
        Shape {
            rate_kbps: self.rate_kbps.unwrap_or(shape.rate_kbps),
            delay_ms: self.delay_ms.unwrap_or(shape.delay_ms),
            jitter_ms: self.jitter_ms.unwrap_or(shape.jitter_ms),
            loss_percent: self.loss_percent.unwrap_or(shape.loss_percent),
            queue_ms: self.queue_ms.unwrap_or(shape.queue_ms),
            ..shape
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_reads_as_documented() {
        let line = r#"{"seed":7,"links":[{"listen":"127.0.0.1:0","target":"127.0.0.1:6000","rate_kbps":3000,"delay_ms":20,"loss_percent":2}],"control":"/run/netem.sock","exit_idle_s":30}"#;
        let config: Config = serde_json::from_str(line).unwrap();
        assert_eq!(
            config.links[0].shape,
            Shape { rate_kbps: 3000, delay_ms: 20.0, loss_percent: 2.0, ..Shape::default() }
        );
        let again: Config = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn commands_read_as_documented() {
        let read = |line: &str| serde_json::from_str::<Command>(line).unwrap();
        assert_eq!(read(r#"{"cmd":"cut","link":0}"#), Command::Cut { link: 0 });
        let change = ShapeChange { loss_percent: Some(5.0), ..ShapeChange::default() };
        let set = |way| Command::Set { link: 1, way, change };
        assert_eq!(read(r#"{"cmd":"set","link":1,"loss_percent":5}"#), set(None));
        assert_eq!(read(r#"{"cmd":"set","link":1,"way":"up","loss_percent":5}"#), set(Some(Way::Up)));
        assert_eq!(read(r#"{"cmd":"stop"}"#), Command::Stop);
    }

    #[test]
    fn impossible_values_are_named() {
        let error = Shape { loss_percent: 101.0, ..Shape::default() }.check().unwrap_err();
        assert!(error.contains("loss_percent") && error.contains("101"), "{error}");
        assert!(Shape { delay_ms: f64::NAN, ..Shape::default() }.check().is_err());
    }
}
