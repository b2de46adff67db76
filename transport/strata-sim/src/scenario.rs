//! The networks that the bond is judged on, by name.
//!
//! Rates, delays, jitter and losses are those of the bars in `docs/protocol/bond.md`;
//! recorded links come from files that are not part of the project.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strata_netem::protocol::Shape;
use strata_netem::{Trace, TraceError};

use crate::{MS, Net, Outcome, Sim, fading};

/// Bytes of a datagram: seven packets of a transport stream.
pub const DATAGRAM: usize = 1316;
/// The time between connecting and the stream's begin.
const BEFORE: Duration = Duration::from_secs(4);
/// A source that follows reads the target this often, as written this often: an encoder's pace.
pub const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
/// The least and the most that a source which follows sends, in bits per second.
pub const FOLLOW_RANGE: (u64, u64) = (300_000, 20_000_000);

/// What happens to a link in the course of a scenario.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// It carries so many thousands of bits a second from now on.
    Rate(u64),
    /// Nothing arrives any more, either way.
    Dark,
    /// Something arrives again.
    Light,
}

/// A network and the stream it carries.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// The stream, in bits per second; of a source that follows, at the start.
    pub bps: u64,
    /// Whether the source follows the target.
    pub follows: bool,
    /// How long it sends.
    pub duration: Duration,
    /// The links.
    pub nets: Vec<Net>,
    /// What changes, by time since the start, in order.
    pub changes: Vec<(Duration, usize, Change)>,
}

fn shape(kbps: u64, delay_ms: f64, jitter_ms: f64, loss_percent: f64) -> Shape {
    Shape { rate_kbps: kbps, delay_ms, jitter_ms, loss_percent, ..Shape::default() }
}

fn net(kbps: u64, delay_ms: f64, jitter_ms: f64, loss_percent: f64) -> Net {
    let shape = shape(kbps, delay_ms, jitter_ms, loss_percent);
    Net::shaped(shape, shape)
}

/// A way up that changes; the way back is 20 Mbit/s.
fn uplink(kbps: u64, delay_ms: f64, jitter_ms: f64, loss_percent: f64) -> Net {
    Net::shaped(shape(kbps, delay_ms, jitter_ms, loss_percent), shape(20_000, delay_ms, jitter_ms, loss_percent))
}

fn three_carriers() -> Vec<Net> {
    vec![net(3000, 20.0, 5.0, 0.5), net(3000, 45.0, 10.0, 1.0), net(3000, 80.0, 20.0, 2.0)]
}

/// Steps of a rate, repeated: each lasts so many seconds at so many thousands of bits a second.
fn steps(link: usize, steps: &[(u64, u64)], until: Duration) -> Vec<(Duration, usize, Change)> {
    let mut changes = Vec::new();
    let mut at = Duration::ZERO;
    for &(seconds, kbps) in steps.iter().cycle() {
        if at >= until {
            return changes;
        }
        changes.push((at, link, Change::Rate(kbps)));
        at += Duration::from_secs(seconds);
    }
    changes
}

impl Scenario {
    fn steady(name: &'static str, bps: u64, seconds: u64, nets: Vec<Net>) -> Self {
        Self { name, bps, follows: false, duration: Duration::from_secs(seconds), nets, changes: Vec::new() }
    }

    /// The scenarios that need no recording.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let burst = |delay_ms| {
            let up = Shape { burst_percent: 5.0, burst_packets: 8.0, ..shape(8000, delay_ms, 3.0, 0.0) };
            Net::shaped(up, shape(8000, delay_ms, 3.0, 5.0))
        };
        let mut blackout = Self::steady("S4", 4_000_000, 40, three_carriers());
        blackout.changes =
            vec![(Duration::from_secs(15), 0, Change::Dark), (Duration::from_secs(25), 0, Change::Light)];
        let nets = vec![uplink(5000, 30.0, 4.0, 0.5), uplink(2000, 50.0, 6.0, 0.5)];
        let mut exchange = Self::steady("S9", 5_000_000, 60, nets);
        exchange.changes = steps(0, &[(10, 5000), (10, 1500), (5, 5000), (5, 500)], exchange.duration);
        exchange.changes.extend(steps(1, &[(10, 2000), (10, 5500), (5, 2000), (5, 6500)], exchange.duration));
        exchange.changes.sort_by_key(|&(at, link, _)| (at, link));
        vec![
            Self::steady("S1", 6_000_000, 30, vec![net(20_000, 20.0, 0.0, 0.0)]),
            Self::steady("S2", 6_000_000, 30, vec![net(20_000, 30.0, 0.0, 2.0)]),
            Self::steady("S3", 6_000_000, 40, three_carriers()),
            Self::steady("S3+", 7_500_000, 40, three_carriers()),
            blackout,
            Self::steady("S5", 6_000_000, 30, vec![burst(30.0), burst(50.0)]),
            Self::steady(
                "S8",
                6_000_000,
                40,
                vec![net(5000, 25.0, 5.0, 0.5), net(2500, 60.0, 10.0, 1.0), net(1200, 40.0, 10.0, 1.0)],
            ),
            exchange,
            // What two links could carry while little is needed.
            Self::steady("idle", 2_000_000, 60, vec![net(10_000, 30.0, 5.0, 0.5), net(5000, 50.0, 10.0, 0.5)]),
            // Two of three links carry less than five packets in 200 ms.
            Self::steady(
                "slow",
                1_500_000,
                60,
                vec![net(2000, 40.0, 5.0, 0.5), net(150, 60.0, 10.0, 1.0), net(100, 50.0, 10.0, 0.5)],
            ),
        ]
    }

    /// A source that follows over two links whose rates fade: what takes the place of recordings where there are none.
    #[must_use]
    pub fn fading() -> Self {
        let nets = vec![uplink(6000, 35.0, 5.0, 0.0), uplink(2000, 50.0, 8.0, 0.0)];
        let mut fading = Self { follows: true, ..Self::steady("fading", 2_000_000, 100, nets) };
        for (link, net) in fading.nets.iter_mut().enumerate() {
            let rates = fading::rates(link as u64 + 1, net.up.rate_kbps, fading.duration);
            fading.changes.extend(rates.into_iter().map(|(at, kbps)| (at, link, Change::Rate(kbps))));
            net.up.queue_ms = 500.0;
        }
        fading.changes.sort_by_key(|&(at, link, _)| (at, link));
        fading
    }

    /// Two links whose round trip is longer than a latency of 300 ms: no repeat is in time.
    #[must_use]
    pub fn far() -> Self {
        Self::steady("far", 3_000_000, 60, vec![net(6000, 175.0, 5.0, 2.0), net(6000, 175.0, 5.0, 2.0)])
    }

    /// The same, but what is lost is lost in bursts.
    #[must_use]
    pub fn far_bursts() -> Self {
        let mut far = Self { name: "far-bursts", ..Self::far() };
        for net in &mut far.nets {
            net.up = Shape { burst_percent: 1.0, burst_packets: 4.0, loss_percent: 0.0, ..net.up };
        }
        far
    }

    /// The scenario of that name, if it needs no recording.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all()
            .into_iter()
            .chain([Self::fading(), Self::far(), Self::far_bursts()])
            .find(|scenario| scenario.name == name)
    }

    /// A source that follows over recorded links: file, seconds into it, delay, jitter, loss and queue of each.
    ///
    /// # Errors
    /// [`TraceError`] names the recording.
    pub fn recorded(name: &'static str, seconds: u64, links: &[(&Path, f64, [f64; 4])]) -> Result<Self, TraceError> {
        let mut nets = Vec::new();
        for &(file, start_s, [delay_ms, jitter_ms, loss_percent, queue_ms]) in links {
            let mut net = uplink(0, delay_ms, jitter_ms, loss_percent);
            net.up.queue_ms = queue_ms;
            net.trace = Some(Arc::new(Trace::read(file, Duration::from_secs_f64(start_s))?));
            nets.push(net);
        }
        Ok(Self { follows: true, ..Self::steady(name, 2_000_000, seconds, nets) })
    }

    /// Runs it: connects, sends after four seconds, and tells what came out.
    #[must_use]
    pub fn run(&self, seed: u64, latency_ms: u32) -> Outcome {
        self.run_watched(seed, latency_ms, |_| ())
    }

    /// The same; `watch` sees the simulation ten times a second.
    #[must_use]
    pub fn run_watched(&self, seed: u64, latency_ms: u32, mut watch: impl FnMut(&Sim)) -> Outcome {
        let mut sim = Sim::new(seed, latency_ms, &self.nets);
        // Links stand for a while before the stream begins, as they do in the field.
        sim.run_for(BEFORE);
        let start = sim.now;
        let mut changes = self.changes.iter().peekable();
        let (mut bps, mut target, mut due, mut read) = (self.bps, 0, start, start);
        while due < start + self.duration {
            while let Some((_, link, change)) = changes.next_if(|(at, ..)| start + *at <= due) {
                change.apply(&mut sim.nets[*link]);
            }
            sim.run_until(due);
            if due >= read {
                read = read + FOLLOW_INTERVAL;
                if self.follows && target > 0 {
                    bps = target.clamp(FOLLOW_RANGE.0, FOLLOW_RANGE.1);
                }
                // The encoder hears what was known one interval ago.
                target = sim.sender.target_bps();
                watch(&sim);
            }
            sim.push(DATAGRAM);
            due = due + Duration::from_micros(DATAGRAM as u64 * 8_000_000 / bps);
        }
        sim.finish();
        Outcome::of(&sim, self, start, MS * latency_ms)
    }

    /// What the links could have carried, in bits per second; none where the source does not follow.
    #[must_use]
    pub fn capacity_bps(&self) -> Option<f64> {
        let bits: f64 = (0..self.nets.len()).map(|link| self.link_bits(link)).sum();
        self.follows.then(|| bits / self.duration.as_secs_f64())
    }

    fn link_bits(&self, link: usize) -> f64 {
        let up = &self.nets[link];
        if let Some(trace) = &up.trace {
            return trace.bits(Duration::ZERO, self.duration) as f64;
        }
        let (mut bits, mut since, mut kbps) = (0.0, Duration::ZERO, up.up.rate_kbps);
        for &(at, changed, change) in &self.changes {
            if let Change::Rate(next) = change
                && changed == link
                && at < self.duration
            {
                bits += (at - since).as_secs_f64() * kbps as f64 * 1000.0;
                (since, kbps) = (at, next);
            }
        }
        bits + (self.duration - since).as_secs_f64() * kbps as f64 * 1000.0
    }
}

impl Change {
    fn apply(self, net: &mut Net) {
        match self {
            Self::Rate(kbps) => net.up.rate_kbps = kbps,
            Self::Dark => net.dark = true,
            Self::Light => net.dark = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_links_could_carry_counts_each_rate_for_its_time() {
        let mut scenario = Scenario { follows: true, ..Scenario::named("S1").unwrap() };
        assert!((scenario.capacity_bps().unwrap() - 20e6).abs() < 1.0);
        scenario.changes = vec![(scenario.duration / 2, 0, Change::Rate(10_000))];
        assert!((scenario.capacity_bps().unwrap() - 15e6).abs() < 1.0);
    }
}
