//! A simulated pair: one sender, one receiver, links between them, and a clock of its own.
//!
//! Everything is decided by the seed: the same seed, the same run.

#![allow(dead_code, reason = "each story uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use strata_bond::{ConnectionId, Receiver, ReceiverStats, Release, Sender, SenderStats, Time};

/// A connection that never said hello.
pub(crate) const STRANGER: ConnectionId = ConnectionId(u64::MAX - 1);

pub(crate) const MS: Duration = Duration::from_millis(1);

/// What a link does to packets, the same both ways unless stated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Net {
    pub(crate) kbps: u64,
    pub(crate) delay: Duration,
    /// Standard deviation of the delay; the mean delay is two and a half times as much more.
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    /// Share of packets that are overtaken by those behind them.
    pub(crate) reorder: f64,
    /// Share of packets that arrive twice.
    pub(crate) duplicate: f64,
    pub(crate) queue: Duration,
    pub(crate) max_datagram: usize,
    /// Nothing arrives, either way.
    pub(crate) dark: bool,
    /// Nothing arrives forward only.
    pub(crate) black_hole: bool,
}

impl Net {
    pub(crate) fn new(kbps: u64, delay_ms: u32, loss: f64) -> Self {
        Self {
            kbps,
            delay: MS * delay_ms,
            jitter: Duration::ZERO,
            loss,
            reorder: 0.0,
            duplicate: 0.0,
            queue: MS * 300,
            max_datagram: 1366,
            dark: false,
            black_hole: false,
        }
    }

    pub(crate) fn jitter(self, ms: u32) -> Self {
        Self { jitter: MS * ms, ..self }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Time,
    order: u64,
    link: u8,
    forward: bool,
    epoch: u64,
    packet: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Lane {
    /// When the link's transmitter is free again.
    free: Time,
    /// Packets stay in order: none arrives before this.
    last: Time,
    /// The jitter now, in standard deviations, and when that was.
    wander: f64,
    wandered: Time,
}

/// One end-to-end simulation.
pub(crate) struct Sim {
    pub(crate) now: Time,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) nets: Vec<Net>,
    pub(crate) released: Vec<(Time, Release)>,
    pub(crate) pushed: Vec<(Time, Bytes)>,
    pub(crate) reports: u64,
    pub(crate) report_bytes: u64,
    pub(crate) forward_packets: Vec<u64>,
    pub(crate) forward_bytes: u64,
    /// Packets sent into a link that is dark.
    pub(crate) swallowed: Vec<u64>,
    pub(crate) queue_drops: u64,
    /// What the receiver's clock shows more than the sender's.
    pub(crate) skew: Duration,
    pub(crate) latency: Duration,
    epochs: Vec<u64>,
    connections: Vec<ConnectionId>,
    lanes: Vec<[Lane; 2]>,
    heap: BinaryHeap<Reverse<Arrival>>,
    order: u64,
    random: SmallRng,
    next_connection: u64,
}

impl Sim {
    pub(crate) fn new(seed: u64, latency_ms: u32, nets: &[Net]) -> Self {
        let latency = MS * latency_ms;
        let skew = Duration::from_secs(3600);
        let now = Time::ZERO;
        let mut sim = Self {
            now,
            sender: Sender::new(now, latency, 0x5e55_1011 + seed),
            receiver: Receiver::new(now + skew, latency, 77),
            nets: nets.to_vec(),
            released: Vec::new(),
            pushed: Vec::new(),
            reports: 0,
            report_bytes: 0,
            forward_packets: vec![0; nets.len()],
            forward_bytes: 0,
            swallowed: vec![0; nets.len()],
            queue_drops: 0,
            skew,
            latency,
            epochs: vec![0; nets.len()],
            connections: Vec::new(),
            lanes: vec![[Lane::default(); 2]; nets.len()],
            heap: BinaryHeap::new(),
            order: 0,
            random: SmallRng::seed_from_u64(seed),
            next_connection: 0,
        };
        for link in 0..nets.len() {
            sim.connections.push(ConnectionId(u64::MAX));
            sim.connect(link);
        }
        sim
    }

    /// Connects a link, or connects it anew.
    pub(crate) fn connect(&mut self, link: usize) {
        let id = u8::try_from(link).unwrap();
        self.receiver.connection_closed(self.connections[link]);
        self.connections[link] = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.epochs[link] += 1;
        self.sender.add_link(self.now, id, &format!("link {id}"));
        self.sender.link_up(self.now, id, self.nets[link].delay * 2, self.nets[link].max_datagram);
    }

    pub(crate) fn disconnect(&mut self, link: usize) {
        self.epochs[link] += 1;
        self.receiver.connection_closed(self.connections[link]);
        self.sender.link_down(u8::try_from(link).unwrap(), "test");
    }

    /// The receiver is started anew: it has forgotten everything.
    pub(crate) fn restart_receiver(&mut self, instance: u32) {
        self.receiver = Receiver::new(self.now + self.skew, self.latency, instance);
        for link in 0..self.nets.len() {
            self.disconnect(link);
        }
    }

    /// The sender is started anew.
    pub(crate) fn restart_sender(&mut self, session: u64) {
        self.sender = Sender::new(self.now, self.latency, session);
        for link in 0..self.nets.len() {
            self.connect(link);
        }
    }

    fn transmit(&mut self, link: usize, forward: bool, packet: &Bytes) {
        let net = self.nets[link];
        if forward {
            self.forward_packets[link] += 1;
            self.forward_bytes += packet.len() as u64;
            assert!(packet.len() <= net.max_datagram, "{} bytes", packet.len());
        }
        if net.dark || (forward && net.black_hole) {
            self.swallowed[link] += u64::from(forward);
            return;
        }
        let lane = &mut self.lanes[link][usize::from(forward)];
        let free = lane.free.max(self.now);
        if free.since(self.now) > net.queue {
            self.queue_drops += 1;
            return;
        }
        let wire_bits = (packet.len() as u64 + 53) * 8;
        lane.free = free + Duration::from_micros(wire_bits * 1000 / net.kbps.max(1));
        if self.random.random_bool(net.loss) {
            return;
        }
        // A radio's delay wanders: it forgets itself over 50 ms.
        let kept = (-self.now.since(lane.wandered).as_secs_f64() / 0.05).exp();
        let noise = (0..12).map(|_| self.random.random::<f64>()).sum::<f64>() - 6.0;
        lane.wander = lane.wander * kept + noise * (1.0 - kept * kept).sqrt();
        lane.wandered = self.now;
        let jitter = net.jitter.mul_f64((lane.wander + 2.5).max(0.0));
        let mut at = lane.free + net.delay + jitter;
        if self.random.random_bool(net.reorder) {
            at = at + MS * 8;
        } else {
            at = at.max(lane.last);
            lane.last = at;
        }
        let copies = 1 + u64::from(self.random.random_bool(net.duplicate));
        for _ in 0..copies {
            self.order += 1;
            self.heap.push(Reverse(Arrival {
                at,
                order: self.order,
                link: u8::try_from(link).unwrap(),
                forward,
                epoch: self.epochs[link],
                packet: packet.to_vec(),
            }));
        }
    }

    /// Drains both ends' outputs.
    pub(crate) fn settle(&mut self) {
        while let Some(out) = self.sender.poll_transmit(self.now) {
            self.transmit(usize::from(out.link), true, &out.packet);
        }
        let theirs = self.now + self.skew;
        while let Some(release) = self.receiver.poll_release(theirs) {
            self.released.push((self.now, release));
        }
        while let Some(report) = self.receiver.poll_report(theirs) {
            self.reports += 1;
            for connection in report.connections {
                let link = self.connections.iter().position(|&of| of == connection).unwrap();
                self.report_bytes += report.packet.len() as u64;
                self.transmit(link, false, &report.packet);
            }
        }
    }

    fn deliver(&mut self, arrival: Arrival) {
        let link = usize::from(arrival.link);
        if self.epochs[link] != arrival.epoch || self.nets[link].dark {
            return;
        }
        let packet = Bytes::from(arrival.packet);
        if arrival.forward {
            self.receiver.handle_packet(self.now + self.skew, self.connections[link], &packet);
        } else {
            self.sender.handle_packet(self.now, &packet).unwrap();
        }
    }

    /// Runs until `until`, with nothing handed over.
    pub(crate) fn run_until(&mut self, until: Time) {
        loop {
            self.settle();
            let arrival = self.heap.peek().map(|Reverse(arrival)| arrival.at);
            let theirs = self.receiver.next_timeout().map(|at| at - self.skew);
            let next = [arrival, theirs, self.sender.next_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= until) else { break };
            // A timeout in the past that settles nothing would stand still.
            self.now = next.max(self.now + Duration::from_micros(100));
            while self.heap.peek().is_some_and(|Reverse(arrival)| arrival.at <= self.now) {
                let Some(Reverse(arrival)) = self.heap.pop() else { break };
                self.deliver(arrival);
            }
        }
        self.now = self.now.max(until);
        self.settle();
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Hands over datagrams of `bytes` at `bps` for `duration`.
    pub(crate) fn stream(&mut self, bps: u64, bytes: usize, duration: Duration) {
        let end = self.now + duration;
        let gap = Duration::from_micros(bytes as u64 * 8_000_000 / bps);
        let mut due = self.now;
        while due < end {
            self.run_until(due);
            self.push(bytes);
            due = due + gap;
        }
        self.run_until(end);
    }

    /// Hands over one datagram.
    pub(crate) fn push(&mut self, bytes: usize) {
        let number = self.pushed.len() as u64;
        let payload: Vec<u8> = (0..bytes).map(|at| number.to_be_bytes()[at % 8]).collect();
        let payload = Bytes::from(payload);
        self.sender.push(self.now, payload.clone()).unwrap();
        self.pushed.push((self.now, payload));
    }

    /// Lets everything arrive, be repaired and be released.
    pub(crate) fn finish(&mut self) {
        self.run_for(self.latency + MS * 500);
    }

    pub(crate) fn sender_stats(&self) -> SenderStats {
        self.sender.stats(self.now)
    }

    pub(crate) fn receiver_stats(&self) -> ReceiverStats {
        self.receiver.stats(self.now + self.skew)
    }

    /// Every datagram came out once, in order, unchanged.
    pub(crate) fn assert_all_delivered(&self) {
        let sequences: Vec<u64> = self.released.iter().map(|(_, release)| release.sequence).collect();
        let expected: Vec<u64> = (0..self.pushed.len() as u64).collect();
        let missing: Vec<&u64> = expected.iter().filter(|sequence| !sequences.contains(sequence)).collect();
        assert!(
            missing.is_empty(),
            "{} missing: {:?}\n{}",
            missing.len(),
            &missing[..missing.len().min(20)],
            self.describe()
        );
        assert_eq!(sequences, expected);
        self.assert_payloads();
        assert_eq!(self.receiver_stats().lost, 0, "{}", self.describe());
    }

    pub(crate) fn assert_payloads(&self) {
        for (_, release) in &self.released {
            assert_eq!(release.payload, self.pushed[usize::try_from(release.sequence).unwrap()].1);
        }
    }

    /// The least and greatest time from handing over to release.
    pub(crate) fn delays(&self) -> (Duration, Duration) {
        let delay =
            |(at, release): &(Time, Release)| at.since(self.pushed[usize::try_from(release.sequence).unwrap()].0);
        (self.released.iter().map(delay).min().unwrap(), self.released.iter().map(delay).max().unwrap())
    }

    pub(crate) fn describe(&self) -> String {
        format!("{:#?}\n{:#?}\nqueue drops {}", self.sender_stats(), self.receiver_stats(), self.queue_drops)
    }
}
