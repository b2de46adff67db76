//! Random networks: links, a stream and a timeline of faults, all drawn from one seed.
//!
//! Owns what the network is at each moment, in words and for the simulation. Whether
//! a datagram could have crossed it is judged elsewhere, from the same description.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use strata_bond::MAX_DATAGRAM;
use strata_netem::protocol::Shape;

use crate::{Clock, MS, Net, Sim};

/// The calm end: what was wrong may take so long, and the latency, to be over …
const RECOVERY: Duration = Duration::from_secs(3);
/// … and then everything arrives, for so long.
const FLOWS: Duration = Duration::from_secs(2);
/// A datagram begins with its number.
const LEAST_BYTES: usize = 8;
/// What IP, UDP, QUIC and the bond add to a datagram's payload on the wire, in bytes.
pub const HEADERS: usize = 64;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Nothing arrives, either way.
    Dark,
    /// Nothing arrives at the receiver.
    BlackHole,
    /// Nothing arrives at the sender.
    Mute,
    /// There is no connection.
    Disconnected,
    /// At its beginning the link is connected anew beside its old connection.
    Renewed,
    /// At its beginning an address translator gives the link another address.
    AddressChange,
    /// The rate, both ways, times this.
    Rate(f64),
    /// So many milliseconds more delay, both ways.
    Delay(f64),
    /// So many percent of the packets are lost, both ways.
    Loss(f64),
    /// A bond packet may have no more than so many bytes.
    SmallPackets(usize),
    /// At its beginning the sender is started anew.
    SenderRestart,
    /// At its beginning the receiver is started anew.
    ReceiverRestart,
}

/// Something that goes wrong, for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The link; restarts concern all of them.
    pub link: usize,
    /// What.
    pub kind: Kind,
    /// When, since the beginning.
    pub during: Range<Duration>,
}

/// A network and the stream over it.
#[derive(Debug, Clone)]
pub struct Network {
    /// What everything was drawn from.
    pub seed: u64,
    /// The latency of both ends.
    pub latency_ms: u32,
    /// The clocks of sender and receiver.
    pub clocks: [Clock; 2],
    /// The links without faults.
    pub links: Vec<Net>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// From here on nothing goes wrong, no packet is lost, and the stream takes less than half of what the links carry.
    pub calm: Duration,
    /// When the stream changes and what it is then, in bits of payload per second; begins at zero.
    pub stream: Vec<(Duration, u64)>,
    /// The least and the most bytes of a datagram.
    pub bytes: Range<usize>,
    /// So many datagrams are handed over at once, until it is calm.
    pub burst: usize,
}

/// A seed's random numbers in the shapes that networks are made of.
struct Draw(SmallRng);

impl Draw {
    fn chance(&mut self, share: f64) -> bool {
        self.0.random_bool(share)
    }

    fn between(&mut self, least: f64, most: f64) -> f64 {
        self.0.random_range(least..most)
    }

    /// As many draws between 1 and 2 as between 10 and 20.
    fn log(&mut self, least: f64, most: f64) -> f64 {
        self.between(least.ln(), most.ln()).exp()
    }

    fn ms(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_micros((self.log(least, most) * 1000.0) as u64)
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())].clone()
    }

    /// Something in that share of the cases, else zero.
    fn at_times(&mut self, share: f64, least: f64, most: f64) -> f64 {
        let (there, value) = (self.chance(share), self.between(least, most));
        if there { value } else { 0.0 }
    }

    fn shape(&mut self) -> Shape {
        Shape {
            rate_kbps: self.log(400.0, 30_000.0) as u64,
            delay_ms: self.log(2.0, 150.0),
            jitter_ms: self.at_times(0.6, 0.5, 20.0),
            loss_percent: self.at_times(0.6, 0.01, 4.0),
            burst_percent: self.at_times(0.2, 0.1, 3.0),
            burst_packets: self.between(3.0, 12.0),
            queue_ms: self.between(100.0, 600.0),
            reorder_percent: self.at_times(0.3, 0.1, 8.0),
            reorder_ms: self.between(1.0, 40.0),
            duplicate_percent: self.at_times(0.3, 0.1, 8.0),
        }
    }

    fn link(&mut self) -> Net {
        let up = self.shape();
        let mut down = self.shape();
        // A way back of the same kind, wide enough for reports.
        (down.delay_ms, down.jitter_ms) = (up.delay_ms * self.between(0.8, 1.3), up.jitter_ms);
        down.rate_kbps = down.rate_kbps.max(500);
        let mut net = Net::shaped(up, down);
        net.max_datagram = self.one_of(&[1366, 1366, 1366, 1438, 1246, 1166]);
        net
    }

    fn clock(&mut self) -> Clock {
        // Timestamps on the wire begin anew every 4,295 s: some clocks are just before.
        let start_s = if self.chance(0.3) { 4290.0 } else { self.log(1.0, 1e7) };
        Clock { start: Duration::from_secs_f64(start_s), drift_ppm: self.0.random_range(-100..=100) }
    }

    fn kind(&mut self) -> (Kind, Duration) {
        let long = self.ms(30.0, 4000.0);
        match self.0.random_range(0..20) {
            0..=4 => (Kind::Dark, long),
            5 | 6 => (Kind::BlackHole, long),
            7 => (Kind::Mute, long),
            8 | 9 => (Kind::Disconnected, long),
            10 => (Kind::Renewed, Duration::ZERO),
            11 | 12 => (Kind::AddressChange, Duration::ZERO),
            13 | 14 => (Kind::Rate(self.log(0.05, 3.0)), long),
            15 => (Kind::Delay(self.log(5.0, 300.0)), long),
            16 | 17 => (Kind::Loss(self.between(5.0, 60.0)), long),
            _ => (Kind::SmallPackets(self.one_of(&[1166, 1246])), long),
        }
    }

    /// One fault, or several that belong together.
    fn faults(&mut self, links: usize, calm: Duration) -> Vec<Fault> {
        let from = Duration::from_secs_f64(self.between(0.0, calm.as_secs_f64()));
        let add = |all: &mut Vec<Fault>, link, kind, from: Duration, long: Duration| {
            all.push(Fault { link, kind, during: from..(from + long).min(calm) });
        };
        let mut all = Vec::new();
        match self.0.random_range(0..20) {
            // A tunnel.
            0 | 1 => {
                let long = self.ms(30.0, 3000.0);
                for link in 0..links {
                    add(&mut all, link, Kind::Dark, from, long);
                }
            }
            // One after the other.
            2 => {
                for link in 0..links {
                    let (wait, long) = (self.ms(1.0, 1500.0), self.ms(30.0, 2000.0));
                    add(&mut all, link, Kind::Dark, (from + wait).min(calm), long);
                }
            }
            3 => add(&mut all, 0, Kind::SenderRestart, from, Duration::ZERO),
            4 => {
                add(&mut all, 0, Kind::ReceiverRestart, from, Duration::ZERO);
                for link in 0..links {
                    let long = self.ms(20.0, 800.0);
                    add(&mut all, link, Kind::Disconnected, from, long);
                }
            }
            _ => {
                let (kind, long) = self.kind();
                let link = self.0.random_range(0..links);
                add(&mut all, link, kind, from, long);
            }
        }
        all
    }
}

impl Network {
    /// The network of a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut draw = Draw(SmallRng::seed_from_u64(seed));
        let clocks = [draw.clock(), draw.clock()];
        let latency_ms = draw.one_of(&[300, 500, 800, 1000, 1000, 1500, 2000, 3000]);
        let count = draw.one_of(&[1, 2, 2, 3, 3, 4, 6]);
        let links: Vec<Net> = (0..count).map(|_| draw.link()).collect();
        let calm = Duration::from_secs_f64(draw.between(5.0, 9.0));
        let faults = (0..draw.0.random_range(1..=7)).flat_map(|_| draw.faults(count, calm)).collect();
        let bytes = draw.one_of(&[1316..1317, 1316..1317, 188..1317, LEAST_BYTES..MAX_DATAGRAM + 1, 1200..1457]);
        let burst = draw.one_of(&[1, 1, 1, 4, 15]);
        let capacity = links.iter().map(|link| link.up.rate_kbps * 1000).sum::<u64>() as f64;
        // Small datagrams cost as much time as large ones.
        let mean = (bytes.start + bytes.end) as f64 / 2.0;
        let most = 350.0 * mean * 8.0;
        let payload = mean / (mean + HEADERS as f64);
        let share = |draw: &mut Draw, most_share: f64| {
            let share = draw.log(0.03, most_share);
            (capacity * payload * share).clamp(20_000.0, most) as u64
        };
        let mut stream: Vec<(Duration, u64)> = (0..draw.0.random_range(1..=3))
            .map(|step| {
                (
                    if step == 0 { Duration::ZERO } else { Duration::from_secs_f64(draw.between(0.5, 5.0)) },
                    share(&mut draw, 1.2),
                )
            })
            .collect();
        stream.push((calm, share(&mut draw, 0.4)));
        stream.sort_unstable();
        Self { seed, latency_ms, clocks, links, faults, calm, stream, bytes, burst }
    }

    /// The latency of both ends.
    #[must_use]
    pub fn latency(&self) -> Duration {
        MS * self.latency_ms
    }

    /// From here on everything has to arrive.
    #[must_use]
    pub fn flows(&self) -> Duration {
        self.calm + self.latency() + RECOVERY
    }

    /// When the stream ends.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.flows() + FLOWS
    }

    /// The faults of a link at a moment.
    pub fn faults_at(&self, link: usize, at: Duration) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(move |fault| fault.link == link && fault.during.contains(&at))
    }

    /// What a link is like at a moment; none while it is not connected.
    #[must_use]
    pub fn link_at(&self, link: usize, at: Duration) -> Option<Net> {
        let mut net = self.links[link].clone();
        if at >= self.calm {
            for shape in [&mut net.up, &mut net.down] {
                let Shape { rate_kbps, delay_ms, jitter_ms, queue_ms, .. } = *shape;
                *shape = Shape { rate_kbps, delay_ms, jitter_ms: jitter_ms.min(5.0), queue_ms, ..Shape::default() };
            }
        }
        for fault in self.faults_at(link, at) {
            match fault.kind {
                Kind::Dark => net.dark = true,
                Kind::BlackHole => net.black_hole = true,
                Kind::Mute => net.mute = true,
                Kind::Disconnected => return None,
                Kind::SmallPackets(bytes) => net.max_datagram = net.max_datagram.min(bytes),
                Kind::Rate(_) | Kind::Delay(_) | Kind::Loss(_) => {
                    worsen(&mut net.up, fault.kind);
                    worsen(&mut net.down, fault.kind);
                }
                Kind::Renewed | Kind::AddressChange | Kind::SenderRestart | Kind::ReceiverRestart => {}
            }
        }
        Some(net)
    }

    /// The bitrate of the payload at a moment.
    #[must_use]
    pub fn bps_at(&self, at: Duration) -> u64 {
        self.stream.iter().rev().find(|(from, _)| *from <= at).map_or(0, |&(_, bps)| bps)
    }

    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Sim {
        let nets: Vec<Net> = (0..self.links.len())
            .map(|link| self.link_at(link, Duration::ZERO).unwrap_or_else(|| self.links[link].clone()))
            .collect();
        let mut sim = Sim::with_clocks(self.seed, self.latency_ms, &nets, self.clocks);
        let start = sim.now;
        let mut edges: Vec<Duration> = self
            .faults
            .iter()
            .flat_map(|fault| [fault.during.start, fault.during.end])
            .chain([Duration::ZERO, self.calm])
            .collect();
        edges.sort_unstable();
        edges.dedup();
        let mut connected = vec![true; nets.len()];
        let mut edges = edges.into_iter().peekable();
        let mut draw = Draw(SmallRng::seed_from_u64(!self.seed));
        let mut due = Duration::ZERO;
        while due < self.end() {
            while let Some(edge) = edges.next_if(|&edge| edge <= due) {
                sim.run_until(start + edge);
                self.turn(&mut sim, edge, &mut connected);
            }
            sim.run_until(start + due);
            let mut bits = 0;
            for _ in 0..if due < self.calm { self.burst } else { 1 } {
                let bytes = draw.0.random_range(self.bytes.clone());
                sim.push(bytes);
                bits += bytes as u64 * 8;
            }
            due += Duration::from_micros(bits * 1_000_000 / self.bps_at(due));
        }
        sim.run_until(start + self.end());
        sim.finish();
        sim
    }

    /// Something begins or ends.
    fn turn(&self, sim: &mut Sim, at: Duration, connected: &mut [bool]) {
        for fault in self.faults.iter().filter(|fault| fault.during.start == at) {
            match fault.kind {
                Kind::SenderRestart => {
                    sim.restart_sender(self.seed ^ u64::try_from(at.as_micros()).unwrap_or(0));
                    connected.fill(true);
                }
                Kind::ReceiverRestart => {
                    sim.restart_receiver(u32::try_from(at.as_micros()).unwrap_or(0));
                    connected.fill(false);
                }
                Kind::Renewed if connected[fault.link] => sim.connect(fault.link),
                Kind::AddressChange => sim.change_address(fault.link),
                _ => {}
            }
        }
        for (link, connected) in connected.iter_mut().enumerate() {
            let Some(net) = self.link_at(link, at) else {
                if std::mem::take(connected) {
                    sim.disconnect(link);
                }
                continue;
            };
            let bytes = net.max_datagram;
            sim.nets[link] = net;
            sim.set_max_datagram(link, bytes);
            if !std::mem::replace(connected, true) {
                sim.connect(link);
            }
        }
    }
}

/// What a fault makes of one direction.
fn worsen(shape: &mut Shape, kind: Kind) {
    match kind {
        // Never so slow that a single packet takes seconds.
        Kind::Rate(times) => shape.rate_kbps = ((shape.rate_kbps as f64 * times) as u64).max(50),
        Kind::Delay(ms) => shape.delay_ms += ms,
        Kind::Loss(percent) => shape.loss_percent = shape.loss_percent.max(percent),
        _ => {}
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: latency {} ms, clocks {:?}", self.seed, self.latency_ms, self.clocks)?;
        for (number, link) in self.links.iter().enumerate() {
            writeln!(f, "  link {number}, packets of up to {} bytes: {}", link.max_datagram, words(&link.up))?;
            writeln!(f, "    back: {}", words(&link.down))?;
        }
        writeln!(f, "  datagrams of {:?} bytes, {} at once", self.bytes, self.burst)?;
        for (from, bps) in &self.stream {
            writeln!(f, "  from {:.3} s: {} kbit/s", from.as_secs_f64(), bps / 1000)?;
        }
        let mut faults: Vec<&Fault> = self.faults.iter().collect();
        faults.sort_by_key(|fault| fault.during.start);
        for Fault { link, kind, during } in faults {
            let (from, until) = (during.start.as_secs_f64(), during.end.as_secs_f64());
            writeln!(f, "  {from:.3} to {until:.3} s, link {link}: {kind:?}")?;
        }
        write!(f, "  calm from {:.3} s, the stream ends at {:.3} s", self.calm.as_secs_f64(), self.end().as_secs_f64())
    }
}

fn words(shape: &Shape) -> String {
    format!(
        "{} kbit/s, {:.0} ms ± {:.0}, queue {:.0} ms, loses {:.1} % and {:.1} % in bursts of {:.0}, {:.1} % overtaken by {:.0} ms, {:.1} % twice",
        shape.rate_kbps,
        shape.delay_ms,
        shape.jitter_ms,
        shape.queue_ms,
        shape.loss_percent,
        shape.burst_percent,
        shape.burst_packets,
        shape.reorder_percent,
        shape.reorder_ms,
        shape.duplicate_percent
    )
}
