//! The simulation: both ends, the links, and the order of events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;
use strata_bond::{ConnectionId, Receiver, ReceiverStats, Release, Sender, SenderStats, Time};
use strata_netem::lane::{Dropped, Lane};

use crate::{Clock, Net};

/// A connection that never said hello.
pub const STRANGER: ConnectionId = ConnectionId(u64::MAX - 1);

/// A millisecond.
pub const MS: Duration = Duration::from_millis(1);

/// What IP, UDP and QUIC add to a bond packet on the wire, in bytes.
const WIRE_BYTES: usize = 53;
/// Both ends' clocks have epochs of their own.
const CLOCKS: [Clock; 2] =
    [Clock { start: Duration::ZERO, drift_ppm: 0 }, Clock { start: Duration::from_secs(3600), drift_ppm: 0 }];
/// However often an end asks to be polled, simulated time goes on.
const LEAST_STEP: Duration = Duration::from_micros(100);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Time,
    order: u64,
    link: usize,
    forward: bool,
    epoch: u64,
    packet: Bytes,
}

/// A link's lanes and what went over it.
#[derive(Debug)]
struct Path {
    up: Lane,
    down: Lane,
    connection: ConnectionId,
    /// Counts connections: what was sent over a former one does not arrive.
    epoch: u64,
    /// The sender's address has changed: the receiver sends to the former one until a packet of later order arrives.
    moved: Option<u64>,
    counted: Counted,
}

/// What went over a link.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    /// Packets that the sender handed to the link.
    pub packets: u64,
    /// Their bytes on the wire.
    pub wire_bytes: u64,
    /// Bytes on the wire of the way back.
    pub back_wire_bytes: u64,
    /// Packets that the sender handed to the link while it was dark or a black hole.
    pub swallowed: u64,
    /// Packets dropped by a full queue, from sender to receiver.
    pub queue_drops: u64,
    /// Packets lost in the air, from sender to receiver.
    pub lost: u64,
}

/// One end-to-end simulation.
#[derive(Debug)]
pub struct Sim {
    /// How much time has passed.
    pub now: Time,
    /// The sending end.
    pub sender: Sender,
    /// The receiving end.
    pub receiver: Receiver,
    /// The links; they may be changed at any time.
    pub nets: Vec<Net>,
    /// What came out, and when.
    pub released: Vec<(Time, Release)>,
    /// What was handed over, and when.
    pub pushed: Vec<(Time, Bytes)>,
    latency: Duration,
    clocks: [Clock; 2],
    paths: Vec<Path>,
    heap: BinaryHeap<Reverse<Arrival>>,
    order: u64,
    next_connection: u64,
    refused: u64,
}

impl Sim {
    /// Two ends at the given latency in milliseconds, with all links connected.
    #[must_use]
    pub fn new(seed: u64, latency_ms: u32, nets: &[Net]) -> Self {
        Self::with_clocks(seed, latency_ms, nets, CLOCKS)
    }

    /// The same with the clocks of sender and receiver.
    #[must_use]
    pub fn with_clocks(seed: u64, latency_ms: u32, nets: &[Net], clocks: [Clock; 2]) -> Self {
        let latency = MS * latency_ms;
        let now = Time::ZERO;
        let mut sim = Self {
            now,
            sender: Sender::new(clocks[0].at(now), latency, 0x5e55_1011 + (seed & 0xffff_ffff)),
            receiver: Receiver::new(clocks[1].at(now), latency, 77),
            nets: nets.to_vec(),
            released: Vec::new(),
            pushed: Vec::new(),
            latency,
            clocks,
            paths: Vec::new(),
            heap: BinaryHeap::new(),
            order: 0,
            next_connection: 0,
            refused: 0,
        };
        for (link, net) in nets.iter().enumerate() {
            let lane = |way: u64| Lane::new(seed.wrapping_mul(1_000_003).wrapping_add(link as u64 * 2 + way));
            sim.paths.push(Path {
                up: lane(0).with_trace(net.trace.clone()),
                down: lane(1),
                connection: ConnectionId(u64::MAX),
                epoch: 0,
                moved: None,
                counted: Counted::default(),
            });
            sim.connect(link);
        }
        sim
    }

    /// Connects a link, or connects it anew.
    pub fn connect(&mut self, link: usize) {
        let id = link_id(link);
        self.receiver.connection_closed(self.paths[link].connection);
        self.paths[link].connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.paths[link].epoch += 1;
        self.paths[link].moved = None;
        self.sender.add_link(self.ours(), id, &format!("link {id}"));
        self.sender.link_up(self.ours(), id, self.nets[link].round_trip(), self.nets[link].max_datagram);
    }

    /// A link's connection breaks.
    pub fn disconnect(&mut self, link: usize) {
        self.paths[link].epoch += 1;
        self.receiver.connection_closed(self.paths[link].connection);
        self.sender.link_down(link_id(link), "test");
    }

    /// An address translator gives the link another address: what is on its way back goes to the former one, and so
    /// does all that follows until the receiver sees the new one.
    pub fn change_address(&mut self, link: usize) {
        self.heap.retain(|Reverse(arrival)| arrival.link != link || arrival.forward);
        self.paths[link].moved = Some(self.order);
    }

    /// The link takes packets of up to `bytes` from now on.
    pub fn set_max_datagram(&mut self, link: usize, bytes: usize) {
        self.nets[link].max_datagram = bytes;
        self.sender.set_max_datagram(link_id(link), bytes);
    }

    /// The receiver is started anew: it has forgotten everything, and all links are down.
    pub fn restart_receiver(&mut self, instance: u32) {
        self.receiver = Receiver::new(self.theirs(), self.latency, instance);
        for link in 0..self.nets.len() {
            self.disconnect(link);
        }
    }

    /// The sender is started anew, and connects all links.
    pub fn restart_sender(&mut self, session: u64) {
        self.sender = Sender::new(self.ours(), self.latency, session);
        for link in 0..self.nets.len() {
            self.connect(link);
        }
    }

    /// The sender's clock.
    #[must_use]
    pub fn ours(&self) -> Time {
        self.clocks[0].at(self.now)
    }

    /// The receiver's clock.
    #[must_use]
    pub fn theirs(&self) -> Time {
        self.clocks[1].at(self.now)
    }

    fn transmit(&mut self, link: usize, forward: bool, packet: &Bytes) {
        let (net, path) = (&self.nets[link], &mut self.paths[link]);
        let wire = packet.len() + WIRE_BYTES;
        let counted = &mut path.counted;
        if forward {
            counted.packets += 1;
            counted.wire_bytes += wire as u64;
            assert!(packet.len() <= net.max_datagram, "a packet of {} bytes", packet.len());
        } else {
            counted.back_wire_bytes += wire as u64;
        }
        let lost_way = if forward { net.black_hole } else { net.mute || path.moved.is_some() };
        if net.dark || lost_way {
            counted.swallowed += u64::from(forward);
            return;
        }
        let (lane, shape) = if forward { (&mut path.up, &net.up) } else { (&mut path.down, &net.down) };
        let due = match lane.admit(self.now.since(Time::ZERO), wire, shape) {
            Ok(due) => due,
            Err(dropped) => {
                counted.queue_drops += u64::from(forward && dropped == Dropped::Queue);
                counted.lost += u64::from(forward && dropped == Dropped::Loss);
                return;
            }
        };
        for _ in 0..1 + u8::from(due.twice) {
            self.order += 1;
            self.heap.push(Reverse(Arrival {
                at: Time::ZERO + due.at,
                order: self.order,
                link,
                forward,
                epoch: path.epoch,
                packet: packet.clone(),
            }));
        }
    }

    /// Drains both ends' outputs.
    fn settle(&mut self) {
        while let Some(out) = self.sender.poll_transmit(self.ours()) {
            self.transmit(usize::from(out.link), true, &out.packet);
        }
        while let Some(release) = self.receiver.poll_release(self.theirs()) {
            self.released.push((self.now, release));
        }
        while let Some(report) = self.receiver.poll_report(self.theirs()) {
            for connection in report.connections {
                if let Some(link) = self.paths.iter().position(|path| path.connection == connection) {
                    self.transmit(link, false, &report.packet);
                }
            }
        }
    }

    fn deliver(&mut self, arrival: &Arrival) {
        let (ours, theirs) = (self.ours(), self.theirs());
        let path = &mut self.paths[arrival.link];
        if path.epoch != arrival.epoch || self.nets[arrival.link].dark {
            return;
        }
        if arrival.forward {
            path.moved = path.moved.filter(|&before| arrival.order <= before);
            let packet =
                if self.nets[arrival.link].no_parity { empty_parity(&arrival.packet) } else { arrival.packet.clone() };
            self.receiver.handle_packet(theirs, path.connection, &packet);
        } else {
            self.refused += u64::from(self.sender.handle_packet(ours, &arrival.packet).is_err());
        }
    }

    /// Runs until `until`, with nothing handed over.
    pub fn run_until(&mut self, until: Time) {
        loop {
            self.settle();
            let arrival = self.heap.peek().map(|Reverse(arrival)| arrival.at);
            let ours = self.sender.next_timeout().map(|at| self.clocks[0].when(at));
            let theirs = self.receiver.next_timeout().map(|at| self.clocks[1].when(at));
            let next = [arrival, theirs, ours].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= until) else { break };
            // A timeout in the past that settles nothing would stand still.
            self.now = next.max(self.now + LEAST_STEP);
            while self.heap.peek().is_some_and(|Reverse(arrival)| arrival.at <= self.now) {
                let Some(Reverse(arrival)) = self.heap.pop() else { break };
                self.deliver(&arrival);
            }
        }
        self.now = self.now.max(until);
        self.settle();
    }

    /// Runs for `duration`, with nothing handed over.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Hands over datagrams of `bytes` at `bps` for `duration`.
    pub fn stream(&mut self, bps: u64, bytes: usize, duration: Duration) {
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

    /// Hands over one datagram whose content tells its number.
    ///
    /// # Panics
    /// When the sender refuses it.
    pub fn push(&mut self, bytes: usize) {
        let number = (self.pushed.len() as u64).to_be_bytes();
        self.push_payload(number.iter().copied().cycle().take(bytes).collect());
    }

    /// The source hands over this datagram.
    pub fn push_payload(&mut self, payload: Bytes) {
        self.sender.push(self.ours(), payload.clone()).expect("the size is possible and the store has room");
        self.pushed.push((self.now, payload));
    }

    /// Lets everything arrive, be repaired and be released.
    pub fn finish(&mut self) {
        self.run_for(self.latency + MS * 500);
    }

    /// What the sender knows now.
    #[must_use]
    pub fn sender_stats(&self) -> SenderStats {
        self.sender.stats(self.ours())
    }

    /// What the receiver knows now.
    #[must_use]
    pub fn receiver_stats(&self) -> ReceiverStats {
        self.receiver.stats(self.theirs())
    }

    /// What went over a link.
    #[must_use]
    pub fn counted(&self, link: usize) -> Counted {
        self.paths[link].counted
    }

    /// The sum of what `of` takes from each link's counters.
    pub fn total(&self, of: impl Fn(&Counted) -> u64) -> u64 {
        self.paths.iter().map(|path| of(&path.counted)).sum()
    }

    /// Every datagram came out once, in order, unchanged.
    ///
    /// # Panics
    /// When one did not; says which, and all statistics.
    pub fn assert_all_delivered(&self) {
        let sequences: Vec<u64> = self.released.iter().map(|(_, release)| release.sequence).collect();
        let mut there = sequences.iter().copied().peekable();
        let missing: Vec<u64> =
            (0..self.pushed.len() as u64).filter(|&sequence| there.next_if_eq(&sequence).is_none()).collect();
        assert!(
            missing.is_empty(),
            "{} missing or out of order: {:?}\n{}",
            missing.len(),
            &missing[..missing.len().min(20)],
            self.describe()
        );
        assert_eq!(there.next(), None, "more came out than went in");
        self.assert_payloads();
        assert_eq!(self.receiver_stats().lost, 0, "{}", self.describe());
    }

    /// What came out is what went in; sessions apart.
    ///
    /// # Panics
    /// When it is not.
    pub fn assert_payloads(&self) {
        for (_, release) in &self.released {
            let pushed = usize::try_from(release.sequence).ok().and_then(|at| self.pushed.get(at));
            assert_eq!(pushed.map(|(_, payload)| payload), Some(&release.payload), "{}", release.sequence);
        }
    }

    /// From handing over to release, for each datagram that came out.
    pub fn delays(&self) -> impl Iterator<Item = Duration> {
        self.released.iter().filter_map(|(at, release)| {
            let (pushed, _) = self.pushed.get(usize::try_from(release.sequence).ok()?)?;
            Some(at.since(*pushed))
        })
    }

    /// Everything that is known, for a test that fails.
    #[must_use]
    pub fn describe(&self) -> String {
        let drops = self.total(|link| link.queue_drops);
        format!("{:#?}\n{:#?}\nqueue drops {drops}", self.sender_stats(), self.receiver_stats())
    }
}

/// The packet, or a ping in its place if it is parity (see `docs/protocol/bond.md`).
fn empty_parity(packet: &Bytes) -> Bytes {
    match packet.first_chunk() {
        Some([0x50, a, b, c]) => Bytes::copy_from_slice(&[0x40, *a, *b, *c]),
        _ => packet.clone(),
    }
}

fn link_id(link: usize) -> u8 {
    u8::try_from(link).expect("no more than MAX_LINKS links")
}
