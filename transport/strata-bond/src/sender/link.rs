//! One link as the sender sees it: its state, its flight, its window, its delays.
//!
//! Owns when a link is suspect or dead and when it lives again. Knows nothing of
//! datagrams: what to repeat is the caller's.

use std::time::Duration;

use super::flight::{Entry, Flight};
use super::loss::{Losses, Lost};
use super::pace::Pace;
use super::path::Path;
use super::rate::{Newest, Rate};
use super::rescue::Carrier;
use super::train::Trains;
use super::window::{LOSS_LIMIT_PERCENT, PACKET, Progress, Window};
use crate::Time;
use crate::scheduler::LinkView;
use crate::stats::{LinkState, SenderLinkStats};
use crate::time::millis_f64;
use crate::wire::{LinkReport, Report, expand_sequence};

/// The least time without acknowledgement after which a link is dead.
const DEAD_LEAST: Duration = Duration::from_millis(250);
/// The next probe of a dead link comes after this share of the time that it has been dead, within these limits.
const PROBE_SHARE: u32 = 4;
const PROBE_INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(700));
/// So many packets acknowledged bring a dead link back.
const REVIVE: u32 = 2;
/// A hello is repeated after this, until a report names it.
const HELLO_INTERVAL: Duration = Duration::from_millis(50);
/// A link without packets gets a ping this often, so that its death is seen.
const PING_INTERVAL: Duration = Duration::from_millis(250);
/// The last packet of a burst may be lost without a gap to show it: then a ping follows, this often.
const TAIL_INTERVAL: Duration = Duration::from_millis(30);
/// The first of these pings does not wait for an answer to be overdue, but only for this long without other packets.
const FOLLOW_AFTER: Duration = Duration::from_millis(40);
/// How long reports may wait for each other, at most.
const REPORT_INTERVAL: Duration = Duration::from_millis(15);
/// A link that delivered something within this time is not suspect, however slow it is.
const SILENCE: Duration = Duration::from_millis(50);
/// A link suspect for so long keeps what it has, but all of that is sent again elsewhere.
const HOPELESS: Duration = Duration::from_millis(40);
/// A queue of this length while the window is the limit: the link is really full.
const FULL_QUEUE: Duration = Duration::from_millis(15);
/// The oldest packet on its way is so much older than the path is long: a queue, no jitter.
const STANDS: Duration = Duration::from_millis(100);
/// A queue of this length needs no other proof.
const LONG_QUEUE: Duration = Duration::from_millis(40);
/// A link that carries more than this share of what it could needs no train: packets of the stream show the rest.
const TRAIN_BELOW_PERCENT: u64 = 60;

/// What a link needs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Its hello was not confirmed.
    Hello,
    /// It was silent for a while, or its last packets are not acknowledged.
    Ping,
    /// It is dead: a useful copy shows whether it lives again.
    Probe,
}

/// Answers of a report, for whoever knows the datagrams.
pub(super) type Resolved = Vec<(Entry, bool)>;

/// A link.
#[derive(Debug)]
pub(super) struct TxLink {
    pub(super) id: u8,
    pub(super) name: String,
    state: LinkState,
    max_datagram: usize,
    hello: u8,
    hello_confirmed: bool,
    hello_due: Time,
    next_sequence: u64,
    first_sequence: u64,
    flight: Flight,
    path: Path,
    rate: Rate,
    window: Window,
    losses: Losses,
    progress: Time,
    last_sent: Time,
    /// A ping follows the last packets, so that their loss shows as a gap.
    followed: bool,
    probe_due: Time,
    /// Since when it has been dead; meaningless otherwise.
    died: Time,
    revived: u32,
    /// Since when it has been suspect; meaningless otherwise.
    doubted: Time,
    limited: Option<Time>,
    /// A queue stood in it while its window was the limit: what it delivered then is what it carries.
    filled: bool,
    trains: Trains,
    stats: SenderLinkStats,
}

impl TxLink {
    pub(super) fn new(id: u8, name: String, now: Time) -> Self {
        Self {
            id,
            name,
            state: LinkState::Connecting,
            max_datagram: 0,
            hello: 0,
            hello_confirmed: false,
            hello_due: now,
            next_sequence: 1,
            first_sequence: 1,
            flight: Flight::default(),
            path: Path::new(now, Duration::from_millis(100)),
            rate: Rate::default(),
            window: Window::new(),
            losses: Losses::default(),
            progress: now,
            last_sent: now,
            followed: true,
            probe_due: now,
            died: now,
            revived: 0,
            doubted: now,
            limited: None,
            filled: false,
            trains: Trains::new(now),
            stats: SenderLinkStats::default(),
        }
    }

    pub(super) fn state(&self) -> LinkState {
        self.state
    }

    /// Whether there is a connection, good or bad.
    pub(super) fn connected(&self) -> bool {
        self.state != LinkState::Connecting
    }

    /// Whether it carries its share.
    pub(super) fn carries(&self) -> bool {
        matches!(self.state, LinkState::Up | LinkState::Suspect)
    }

    pub(super) fn set_max_datagram(&mut self, bytes: usize) {
        self.max_datagram = bytes;
    }

    pub(super) fn max_datagram(&self) -> usize {
        self.max_datagram
    }

    pub(super) fn set_error(&mut self, why: String) {
        self.stats.error = why;
    }

    /// A connection stands; `rtt` was measured by its handshake. Returns what the former one took along.
    pub(super) fn connect(&mut self, now: Time, rtt: Duration, max_datagram: usize) -> Vec<Entry> {
        let lost = self.flight.clear();
        self.stats.lost_packets += lost.len() as u64;
        if self.stats.connects > 0 {
            self.window.restart();
            self.rate.interrupted();
        }
        self.stats.connects += 1;
        self.stats.error.clear();
        self.state = LinkState::Up;
        self.max_datagram = max_datagram;
        self.path = Path::new(now, rtt);
        self.trains = Trains::new(now);
        self.first_sequence = self.next_sequence;
        (self.progress, self.last_sent) = (now, now);
        self.renew_hello(now);
        lost
    }

    /// The connection is gone. Returns what was on its way.
    pub(super) fn disconnect(&mut self, why: String) -> Vec<Entry> {
        self.state = LinkState::Connecting;
        self.stats.error = why;
        let lost = self.flight.clear();
        self.stats.lost_packets += lost.len() as u64;
        lost
    }

    /// What the hello says has changed.
    pub(super) fn renew_hello(&mut self, now: Time) {
        self.hello = self.hello.wrapping_add(1);
        self.hello_confirmed = false;
        self.hello_due = now;
    }

    /// The hello's number and this connection's first link sequence.
    pub(super) fn hello(&self) -> (u8, u64) {
        (self.hello, self.first_sequence)
    }

    /// A number for the next packet on this link, which is in flight from now on.
    pub(super) fn send(&mut self, now: Time, sequence: Option<u64>, pieces: u8, bytes: usize) -> u64 {
        let link_sequence = self.next_sequence;
        self.next_sequence += 1;
        self.last_sent = now;
        self.followed = sequence.is_none();
        self.stats.sent_packets += 1;
        self.stats.sent_bytes += bytes as u64;
        self.flight.push(Entry {
            link_sequence,
            sequence,
            pieces,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            sent: now,
            given_up: false,
            repeated: false,
        });
        if self.state == LinkState::Dead {
            // A probe: nobody waits for it, and it takes no room.
            self.flight.give_up();
        }
        link_sequence
    }

    pub(super) fn count_repeat(&mut self) {
        if self.state == LinkState::Dead {
            self.stats.probe_packets += 1;
        } else {
            self.stats.retransmitted_packets += 1;
        }
    }

    /// The packet just sent was parity: its loss leaves no gap either.
    pub(super) fn count_parity(&mut self) {
        self.followed = false;
        self.stats.parity_packets += 1;
    }

    /// What it lost of the datagrams that it carried lately.
    pub(super) fn lost_lately(&self, now: Time) -> Lost {
        self.losses.lately(now)
    }

    /// What it is proven to carry beyond what it does, in bits per second: it delivered that before, or a train shows
    /// it, and it has neither a queue nor losses that look like a shaper's.
    pub(super) fn spare_bps(&self, now: Time) -> u64 {
        let Lost { packets, lost, .. } = self.lost_lately(now);
        if self.path.queue() > FULL_QUEUE || lost * 100 > packets * LOSS_LIMIT_PERCENT {
            return 0;
        }
        let proven = self.proven_bps(now).unwrap_or(0).max(self.capacity_bps());
        proven.saturating_sub(self.rate.last_second(now) * 8)
    }

    /// What the scheduler sees; none while it carries nothing.
    pub(super) fn view(&self, now: Time, offset_us: Option<i64>, repair: bool) -> Option<LinkView> {
        if !self.carries() {
            return None;
        }
        let window = self.window.bytes();
        let round_trip = self.path.least_rtt() + REPORT_INTERVAL;
        // Silence longer than a round trip may be a queue that no report tells of.
        let silence = self.overdue(now, self.progress).unwrap_or_default().saturating_sub(round_trip + REPORT_INTERVAL);
        Some(LinkView {
            id: self.id,
            suspect: self.state == LinkState::Suspect,
            extra_delay: self.path.extra_delay(offset_us),
            round_trip,
            queue: self.path.queue() + silence,
            rate: self.rate_or_guess(),
            in_flight: self.flight.bytes(),
            // Repairs are few and late already: they may go a little beyond.
            window: if repair { window + 2 * PACKET } else { window },
        })
    }

    fn rate_or_guess(&self) -> u64 {
        let guess = || self.window.bytes() * 1_000_000 / crate::time::micros(self.path.least_rtt() + LONG_QUEUE).max(1);
        match (self.rate.capacity(), self.limited) {
            (0, _) => guess(),
            // What little it was given says nothing of what it could carry.
            (rate, None) => rate.max(guess()),
            (rate, Some(_)) => rate,
        }
    }

    /// What it can carry, in bits per second; 0 if unknown.
    pub(super) fn capacity_bps(&self) -> u64 {
        self.rate.capacity() * 8
    }

    /// Takes a report; returns what it answers.
    pub(super) fn on_report(&mut self, now: Time, report: &Report, own: &LinkReport) -> Resolved {
        let highest = expand_sequence(own.highest, self.next_sequence - 1);
        if highest >= self.next_sequence || !self.connected() {
            return Vec::new();
        }
        self.hello_confirmed |= own.hello == self.hello;
        let in_flight = self.flight.bytes();
        let limited = in_flight + PACKET > self.window.bytes();
        if limited {
            self.limited = Some(now);
        }
        let resolved = self.flight.resolve(highest, own);
        if resolved.is_empty() {
            if self.missing_news(report, own) {
                self.doubt(now);
            }
            return resolved;
        }
        let mut newest = None;
        let (mut acknowledged, mut lost, mut arrivals) = (0, 0, 0);
        for (entry, arrived) in &resolved {
            if entry.sequence.is_some() && !entry.given_up {
                self.losses.packet(now, *arrived);
            }
            if *arrived {
                acknowledged += u64::from(entry.bytes);
                arrivals += 1;
                newest = Some(*entry);
            } else {
                lost += u64::from(entry.bytes);
                self.stats.lost_packets += 1;
            }
        }
        if let Some(entry) = newest {
            self.progress = now;
            let arrived = Time::from_micros(report.clock_us.saturating_sub(own.age_us));
            if entry.link_sequence == highest {
                self.measured(now, highest, arrived);
                let rtt = now.since(entry.sent).saturating_sub(Duration::from_micros(own.age_us));
                self.path.sample(
                    now,
                    rtt,
                    arrived.signed() - entry.sent.signed(),
                    in_flight * 2 >= self.window.bytes(),
                );
            }
            let queue = self.path.queue();
            let full = (limited && queue > FULL_QUEUE) || queue > LONG_QUEUE;
            if full {
                self.filled = true;
                self.trains.forget();
            }
            self.rate.acknowledged(now, acknowledged, Newest { sent: entry.sent, arrived }, full);
            self.lives(now, arrivals);
        }
        if self.carries() {
            let progress = self.progress_of(acknowledged, lost, in_flight);
            self.window.on_report(now, &progress);
        }
        resolved
    }

    /// A packet arrived, maybe one of a train.
    fn measured(&mut self, now: Time, highest: u64, arrived: Time) {
        // The window of a link that was full has shown itself what it is good for.
        if self.trains.on_report(now, highest, arrived, self.path.jitter())
            && !self.filled
            && let Some(rate) = self.trains.fresh(now)
        {
            self.window.measured(rate, self.path.least_rtt(), self.path.noise());
        }
    }

    /// How many packets a train has that may leave now; none if this is not the time for one.
    pub(super) fn train(&self, now: Time, latency: Duration) -> Option<u64> {
        let delivers = self.rate.last_second(now);
        let shows_itself = self.filled && delivers * 100 > self.rate.capacity() * TRAIN_BELOW_PERCENT;
        let quiet = self.state == LinkState::Up && self.hello_confirmed && self.path.queue() < FULL_QUEUE;
        if !quiet || shows_itself || !self.trains.due(now) {
            return None;
        }
        self.trains.packets(delivers, self.window.bytes().saturating_sub(self.flight.bytes()), latency)
    }

    /// A train of packets of `bytes` has left: the last that were numbered.
    pub(super) fn train_left(&mut self, now: Time, packets: u64, bytes: u64) {
        self.stats.train_packets += packets;
        self.trains.left(now, self.next_sequence - packets, self.next_sequence - 1, bytes);
    }

    /// What it is known to carry, in bits per second: as trains show, or as it was when it was full.
    pub(super) fn proven_bps(&self, now: Time) -> Option<u64> {
        let proven = self.trains.fresh(now).or_else(|| self.filled.then(|| self.rate.capacity()))?;
        Some(proven.max(self.rate.last_second(now)) * 8)
    }

    /// Whether a report that tells nothing new of this link should.
    fn missing_news(&self, report: &Report, own: &LinkReport) -> bool {
        let missed = |sent| self.path.missed(sent, Time::from_micros(report.clock_us));
        Duration::from_micros(own.age_us) >= SILENCE && self.flight.oldest().is_some_and(missed)
    }

    fn doubt(&mut self, now: Time) {
        if self.state == LinkState::Up {
            self.state = LinkState::Suspect;
            self.doubted = now;
        }
    }

    /// Whether it has been suspect for so long that its packets had better go elsewhere.
    fn hopeless(&self, now: Time) -> bool {
        self.state == LinkState::Suspect && now.since(self.doubted) >= HOPELESS
    }

    fn progress_of(&self, acknowledged: u64, lost: u64, in_flight: u64) -> Progress {
        Progress {
            acknowledged,
            lost,
            in_flight,
            limited: in_flight + PACKET > self.window.bytes(),
            busy: in_flight * 2 >= self.window.bytes(),
            queue: self.path.queue(),
            least_rtt: self.path.least_rtt(),
            noise: self.path.noise(),
            smoothed_rtt: self.path.smoothed_rtt(),
            delivered: self.rate.delivered(),
            capacity: self.rate.capacity(),
        }
    }

    /// Packets arrived: the link is well, or comes back.
    fn lives(&mut self, now: Time, arrivals: u32) {
        match self.state {
            LinkState::Suspect => self.state = LinkState::Up,
            LinkState::Dead => {
                self.revived += arrivals;
                self.probe_due = now;
                if self.revived >= REVIVE {
                    self.trains = Trains::new(now);
                    self.state = LinkState::Up;
                    self.window.restart();
                    self.rate.interrupted();
                    self.stats.error.clear();
                }
            }
            LinkState::Up | LinkState::Connecting => {}
        }
    }

    /// Looks at the clock; returns the packets of a link that just died. `awake`: since when we have been watching.
    pub(super) fn check(&mut self, now: Time, awake: Time) -> Option<Vec<Entry>> {
        if !self.carries() {
            return None;
        }
        self.trains.check(now);
        let overdue = self.overdue(now, awake)?;
        if overdue >= DEAD_LEAST.max(self.path.smoothed_rtt() * 3) {
            self.state = LinkState::Dead;
            self.revived = 0;
            self.probe_due = now + PROBE_INTERVALS.0;
            self.died = now;
            self.stats.error = format!("nothing was acknowledged for {} ms", overdue.as_millis());
            return Some(self.flight.give_up());
        }
        if overdue >= self.path.patience() {
            self.doubt(now);
        }
        None
    }

    /// How long the oldest packet in flight has been waiting for any sign of life.
    fn overdue(&self, now: Time, awake: Time) -> Option<Duration> {
        Some(now.since(self.flight.oldest()?.max(self.progress).max(awake)))
    }

    /// Packets that are on their way, oldest first; the caller marks those it repeats.
    pub(super) fn entries(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.flight.iter_mut().filter(|entry| !entry.given_up)
    }

    /// What it means for a packet to be on its way over this link now.
    pub(super) fn carrier(&self, now: Time, latency: Duration, offset_us: Option<i64>) -> Carrier {
        let old = self.flight.oldest().is_some_and(|oldest| now.since(oldest) > self.path.least_rtt() + STANDS);
        Carrier {
            state: self.state,
            hopeless: self.hopeless(now),
            stands: old && self.pace(now, offset_us).arrives(self.flight.bytes()) >= latency / 4,
            round_trip: self.path.least_rtt() + REPORT_INTERVAL,
        }
    }

    /// How fast what is on its way arrives.
    pub(super) fn pace(&self, now: Time, offset_us: Option<i64>) -> Pace {
        let round_trip = self.path.least_rtt() + REPORT_INTERVAL;
        Pace {
            rate: self.rate.now(now).map(|rate| rate.max(1)),
            round_trip,
            extra_delay: self.path.extra_delay(offset_us),
        }
    }

    /// What is to be sent on it now, apart from datagrams.
    pub(super) fn need(&mut self, now: Time, awake: Time) -> Option<Need> {
        if self.connected() && !self.hello_confirmed && self.hello_due <= now {
            self.hello_due = now + HELLO_INTERVAL;
            return Some(Need::Hello);
        }
        match self.state {
            LinkState::Connecting => None,
            LinkState::Dead => (self.probe_due <= now).then(|| {
                let dead = now.since(self.died);
                self.probe_due = now + (dead / PROBE_SHARE).clamp(PROBE_INTERVALS.0, PROBE_INTERVALS.1);
                Need::Probe
            }),
            LinkState::Up | LinkState::Suspect => {
                let silent = now.since(self.last_sent);
                let ping = match self.overdue(now, awake) {
                    None => silent >= self.ping_interval(),
                    Some(_) if !self.followed => silent >= FOLLOW_AFTER,
                    Some(overdue) => silent >= TAIL_INTERVAL && overdue >= self.tail_time(now) + TAIL_INTERVAL,
                };
                ping.then_some(Need::Ping)
            }
        }
    }

    /// How long after the last sign of life the next is expected, if nothing more is sent.
    fn tail_time(&self, now: Time) -> Duration {
        let due = self.flight.oldest().map_or(now, |oldest| oldest + self.path.least_rtt());
        if due > self.progress {
            return self.path.smoothed_rtt();
        }
        // It could have arrived before what arrived last: it stood behind that in a queue, and comes at the link's pace.
        let drain = self.flight.bytes().saturating_mul(1_000_000) / self.rate_or_guess().max(1);
        Duration::from_micros(drain).min(self.path.smoothed_rtt())
    }

    /// How long a link without packets in flight may be silent; one that is suspect has to show itself soon.
    fn ping_interval(&self) -> Duration {
        if self.state == LinkState::Suspect { TAIL_INTERVAL } else { PING_INTERVAL }
    }

    /// Whether packets are in flight that must be watched.
    pub(super) fn active(&self) -> bool {
        self.flight.bytes() > 0
    }

    /// When it needs something although nothing is in flight.
    pub(super) fn next_need(&self) -> Option<Time> {
        let hello = (self.connected() && !self.hello_confirmed).then_some(self.hello_due);
        let other = match self.state {
            LinkState::Connecting => None,
            LinkState::Dead => Some(self.probe_due),
            // While packets are in flight, the regular look at the links asks.
            LinkState::Up | LinkState::Suspect => (!self.active()).then(|| self.last_sent + self.ping_interval()),
        };
        hello.into_iter().chain(other).min()
    }

    /// How much later than over the fastest link a packet arrives if there is no queue.
    pub(super) fn empty_delay(&self, offset_us: Option<i64>) -> Duration {
        self.path.extra_delay(offset_us)
    }

    /// How much later than over the fastest link a packet arrives, queue included.
    pub(super) fn extra_delay(&self, offset_us: Option<i64>) -> Duration {
        self.path.extra_delay(offset_us) + self.path.queue()
    }

    /// How long a repeat over this link takes, with a chance to see it fail.
    pub(super) fn repeat_time(&self, offset_us: Option<i64>) -> Duration {
        self.path.extra_delay(offset_us) + self.path.smoothed_rtt()
    }

    /// How long after a packet it is known that it was lost, queues aside.
    pub(super) fn answer_time(&self) -> Duration {
        self.path.least_rtt() + self.path.noise() + REPORT_INTERVAL
    }

    pub(super) fn stats(&self, now: Time, offset_us: Option<i64>) -> SenderLinkStats {
        let connected = self.connected();
        SenderLinkStats {
            id: self.id,
            name: self.name.clone(),
            state: self.state,
            rtt_ms: if connected { millis_f64(self.path.last_rtt()) } else { 0.0 },
            extra_delay_ms: if connected {
                millis_f64(self.path.extra_delay(offset_us) + self.path.queue())
            } else {
                0.0
            },
            queue_ms: if connected { millis_f64(self.path.queue()) } else { 0.0 },
            capacity_bps: self.proven_bps(now).unwrap_or(0),
            delivered_bps: self.rate.last_second(now) * 8,
            in_flight_bytes: self.flight.bytes(),
            window_bytes: self.window.bytes(),
            ..self.stats.clone()
        }
    }
}
