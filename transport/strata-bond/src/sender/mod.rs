//! The sending end: common queue, choice of link, repair, dead links, target bitrate.
//!
//! Inputs are [`Sender::push`], [`Sender::handle_packet`] and the `link_*` calls;
//! afterwards, and whenever [`Sender::next_timeout`] has passed, drain
//! [`Sender::poll_transmit`].

mod flight;
mod key_frames;
mod link;
mod loss;
mod meter;
mod pace;
mod parity;
mod path;
mod protect;
mod rate;
mod rescue;
mod spare;
mod store;
mod target;
mod train;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::receiver::low_half;
use crate::scheduler::{self, LinkView};
use crate::stats::{LinkState, ReceiverTruth, SenderStats};
use crate::time::{micros, millis, millis_f64};
use crate::wire::{self, DATA_HEADER, Data, Hello, Packet, ParseError, Piece, Report};
use crate::{MAX_DATAGRAM, Time};
use flight::Entry;
use key_frames::KeyFrames;
use link::{Need, TxLink};
use meter::Meter;
use protect::Protection;
use rescue::{Case, Elsewhere, Verdict};
use spare::Spare;
use store::Store;
use target::{Situation, Target};

/// Links are looked at this often while packets are in flight.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// Not having looked for so long: what seems overdue may just not have been read.
const OVERSLEPT: Duration = Duration::from_millis(60);
/// The most payload held: the store keeps one latency's worth, so this is 30 s at 70 Mbit/s.
const MAX_STORED: usize = 256 << 20;
/// So many repairs are looked at, oldest first, for one that some link would deliver in time.
const MOST_LOOKS: usize = 16;
/// A repair this much too late by prediction is still worth a try.
const HOPE: Duration = Duration::from_millis(10);
/// A repeat of an overdue packet may be lost as well: there must be time for another.
const CHANCES: u32 = 2;
/// Added to the time that a copy takes: links are looked at only now and then, and the copy may meet a short queue.
const COPY_MARGIN: Duration = Duration::from_millis(60);
/// A datagram that waited for room is sent no later than this before it would be too late.
const LATE_MARGIN: Duration = Duration::from_millis(60);
/// Added to the time that a repeat takes.
const REPEAT_MARGIN: Duration = Duration::from_millis(60);
/// The target looks at what was offered and what arrived over this time.
const RATE_SPAN: Duration = Duration::from_millis(200);
/// A stream that takes more than this share of what the links are known to carry shows the rest itself.
const TRAINS_BELOW_PERCENT: u64 = 60;
/// What a link is hoped to carry if it never had to show it, in bits per second.
const UNKNOWN_BPS: u64 = 1_000_000;

/// A packet to hand to a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The link's id.
    pub link: u8,
    /// The packet.
    pub packet: Bytes,
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Empty or too large.
    #[error("a datagram of {0} bytes cannot be sent: 1 to {MAX_DATAGRAM} bytes are possible")]
    Size(usize),
    /// Too much is waiting for its time.
    #[error("more than {} MiB are waiting", MAX_STORED >> 20)]
    Full,
}

/// What the receiver said last.
#[derive(Debug, Default)]
struct Peer {
    instance: Option<u32>,
    number: u64,
    offset_us: Option<i64>,
    latency: Duration,
    truth: Option<(Time, ReceiverTruth)>,
}

/// The sending end.
#[derive(Debug)]
pub struct Sender {
    session: u64,
    latency: Duration,
    started: Time,
    links: BTreeMap<u8, TxLink>,
    store: Store,
    key_frames: KeyFrames,
    peer: Peer,
    /// Second halves that follow at once.
    ready: VecDeque<Transmit>,
    views: Vec<LinkView>,
    checked: Time,
    awake: Time,
    spare: Spare,
    spare_for_trains: Spare,
    protection: Protection,
    target: Target,
    target_due: Time,
    unsent_seen: u64,
    offered: Meter,
    arrived: Meter,
    datagrams_in: u64,
    bytes_in: u64,
    unsent: u64,
}

impl Sender {
    /// A sender whose datagrams are released `latency` after they were pushed; `session` is a random number.
    #[must_use]
    pub fn new(now: Time, latency: Duration, session: u64) -> Self {
        Self {
            session,
            latency,
            started: now,
            links: BTreeMap::new(),
            store: Store::default(),
            key_frames: KeyFrames::default(),
            peer: Peer::default(),
            ready: VecDeque::new(),
            views: Vec::new(),
            checked: now,
            awake: now,
            spare: spare::COPIES,
            spare_for_trains: spare::TRAINS,
            protection: Protection::default(),
            target: Target::default(),
            target_due: now,
            unsent_seen: 0,
            offered: Meter::default(),
            arrived: Meter::default(),
            datagrams_in: 0,
            bytes_in: 0,
            unsent: 0,
        }
    }

    /// The latency in force: the larger of both ends'.
    fn latency(&self) -> Duration {
        self.latency.max(self.peer.latency)
    }

    /// Changes the latency for all datagrams not yet released.
    pub fn set_latency(&mut self, now: Time, latency: Duration) {
        self.latency = latency;
        // The receiver will say what holds.
        self.peer.latency = Duration::ZERO;
        for link in self.links.values_mut() {
            link.renew_hello(now);
        }
    }

    /// Makes a link known, as not connected; an existing one is renamed.
    pub fn add_link(&mut self, now: Time, id: u8, name: &str) {
        self.links.entry(id).or_insert_with(|| TxLink::new(id, name.to_owned(), now)).name = name.to_owned();
    }

    /// Forgets a link; what was on its way is sent again.
    pub fn remove_link(&mut self, id: u8) {
        if let Some(mut link) = self.links.remove(&id) {
            self.lost(&link.disconnect(String::new()));
        }
    }

    /// A link is connected: its handshake took `rtt`, it takes packets of up to `max_datagram` bytes.
    pub fn link_up(&mut self, now: Time, id: u8, rtt: Duration, max_datagram: usize) {
        if let Some(link) = self.links.get_mut(&id) {
            let lost = link.connect(now, rtt, max_datagram);
            self.lost(&lost);
        }
    }

    /// A link takes packets of up to `bytes` now.
    pub fn set_max_datagram(&mut self, id: u8, bytes: usize) {
        if let Some(link) = self.links.get_mut(&id) {
            link.set_max_datagram(bytes);
        }
    }

    /// A link's connection is gone; what was on its way is sent again.
    pub fn link_down(&mut self, id: u8, why: &str) {
        if let Some(link) = self.links.get_mut(&id) {
            let was_up = link.carries();
            let lost = link.disconnect(why.to_owned());
            self.lost(&lost);
            if was_up {
                self.target.link_lost(self.rest_bps());
            }
        }
    }

    /// Says why a link is not connected, for people.
    pub fn set_link_error(&mut self, id: u8, why: &str) {
        if let Some(link) = self.links.get_mut(&id) {
            link.set_error(why.to_owned());
        }
    }

    /// A link's state; none if it is not known.
    #[must_use]
    pub fn link_state(&self, id: u8) -> Option<LinkState> {
        self.links.get(&id).map(TxLink::state)
    }

    /// Takes a datagram that the source handed over at `now`.
    ///
    /// # Errors
    /// [`PushError`] when it cannot be sent.
    pub fn push(&mut self, now: Time, payload: Bytes) -> Result<(), PushError> {
        if payload.is_empty() || payload.len() > MAX_DATAGRAM {
            return Err(PushError::Size(payload.len()));
        }
        if self.store.bytes() + payload.len() > MAX_STORED {
            return Err(PushError::Full);
        }
        self.datagrams_in += 1;
        self.bytes_in += payload.len() as u64;
        self.offered.add(now, payload.len());
        let key = self.key_frames.within(&payload);
        self.store.push(now, payload, key);
        Ok(())
    }

    /// Takes a packet from the receiver, whichever link it came over.
    ///
    /// # Errors
    /// [`ParseError`] when it cannot be read; nothing was changed.
    pub fn handle_packet(&mut self, now: Time, packet: &Bytes) -> Result<(), ParseError> {
        match Packet::parse(packet)? {
            Packet::Report(report) => {
                self.handle_report(now, &report);
                Ok(())
            }
            // Only a sender sends these.
            Packet::Data(_) | Packet::Hello(_) | Packet::Ping { .. } | Packet::Parity(_) => Err(ParseError::Value),
        }
    }

    fn handle_report(&mut self, now: Time, report: &Report) {
        if report.session != low_half(self.session) {
            return;
        }
        if self.peer.instance != Some(report.instance) {
            if self.peer.instance.replace(report.instance).is_some() {
                self.store.receiver_restarted();
            }
            self.peer.number = 0;
        }
        if report.number <= self.peer.number {
            return;
        }
        self.peer.number = report.number;
        self.peer.offset_us = Some(report.offset_us);
        self.peer.latency = Duration::from_micros(report.latency_us);
        self.peer.truth = Some((
            now,
            ReceiverTruth {
                delivered: report.delivered,
                lost: report.lost,
                late: report.late,
                duplicates: report.duplicates,
                recovered: report.recovered,
                age_ms: 0,
            },
        ));
        for own in &report.links {
            let Some(link) = self.links.get_mut(&own.link) else { continue };
            for (entry, arrived) in link.on_report(now, report, own) {
                self.resolve(now, &entry, arrived);
            }
        }
        self.store.complete_below(report.next);
    }

    fn resolve(&mut self, now: Time, entry: &Entry, arrived: bool) {
        let Some(sequence) = entry.sequence else { return };
        if arrived {
            let bytes = self.store.acknowledged(sequence, entry.pieces, entry.counts());
            self.spare.earn(entry.bytes);
            self.spare_for_trains.earn(entry.bytes);
            // Past its time it is not known whether it came twice; when nothing is in time, it did not.
            self.arrived.add(now, bytes.unwrap_or_else(|| (entry.bytes as usize).saturating_sub(DATA_HEADER)));
        } else if entry.counts() {
            self.store.lost(sequence, entry.pieces);
        }
    }

    fn lost(&mut self, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| !entry.repeated) {
            if let Some(sequence) = entry.sequence {
                self.store.lost(sequence, entry.pieces);
            }
        }
    }

    /// The next packet to hand to a link now.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        self.look(now);
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        self.next_control(now)
            .or_else(|| self.next_datagram(now))
            .or_else(|| self.next_parity(now))
            .or_else(|| self.next_train(now))
    }

    /// When to poll again even if nothing comes; `None`: not before something comes.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let waiting = self.store.queue().0 > 0 || self.links.values().any(TxLink::active);
        let check = waiting.then(|| self.checked + CHECK_INTERVAL);
        self.links.values().filter_map(TxLink::next_need).chain(check).min()
    }

    /// All that goes by the clock.
    fn look(&mut self, now: Time) {
        let since = now.since(self.checked);
        if since < CHECK_INTERVAL {
            return;
        }
        self.checked = now;
        if since > OVERSLEPT {
            self.awake = now;
        }
        self.unsent += self.store.expire(now, self.latency(), self.patience()).unsent;
        let died: Vec<Vec<Entry>> = self.links.values_mut().filter_map(|link| link.check(now, self.awake)).collect();
        for entries in &died {
            self.lost(entries);
        }
        if !died.is_empty() {
            self.target.link_lost(self.rest_bps());
        }
        self.repeat_overdue(now);
        self.look_at_parity(now);
        if self.target_due <= now {
            self.target_due = now + target::TICK;
            self.tick_target(now);
        }
    }

    /// How long a datagram may wait to be sent: afterwards it would come too late.
    fn patience(&self) -> Duration {
        let offset_us = self.peer.offset_us;
        let carrying = self.links.values().filter(|link| link.carries());
        let way = carrying.map(|link| link.extra_delay(offset_us)).min().unwrap_or_default() + LATE_MARGIN;
        self.latency() - way.min(self.latency() / 2)
    }

    /// Packets that a link will deliver too late, or not at all, are sent again elsewhere while there is time.
    fn repeat_overdue(&mut self, now: Time) {
        let (latency, offset_us) = (self.latency(), self.peer.offset_us);
        let ids: Vec<u8> = self.links.values().filter(|link| link.active()).map(|link| link.id).collect();
        for id in ids {
            let Some(elsewhere) = self.time_elsewhere(id) else { continue };
            let Some(link) = self.links.get_mut(&id) else { continue };
            let carrier = link.carrier(now, latency, offset_us);
            let pace = link.pace(now, offset_us);
            let mut ahead = 0;
            for entry in link.entries() {
                ahead += u64::from(entry.bytes);
                let Some(sequence) = entry.sequence.filter(|_| !entry.repeated) else { continue };
                let Some(datagram) = self.store.get(sequence) else { continue };
                let left = (datagram.sent + latency).since(now);
                let case = Case { age: now.since(entry.sent), left, arrives: pace.arrives(ahead) };
                match carrier.judge(&case, &elsewhere) {
                    Verdict::Rest => break,
                    Verdict::IfSpare if !self.store.rescue(sequence) || !self.spare.take(entry.bytes) => continue,
                    Verdict::Wait => continue,
                    Verdict::Again | Verdict::IfSpare => {}
                }
                entry.repeated = true;
                // From here on the repeat is what counts: when that is lost, nobody waits for this one.
                self.store.uncount(sequence);
                self.store.repeat(sequence, id);
            }
        }
    }

    /// How long sending something again takes over the best link but `id`.
    fn time_elsewhere(&self, id: u8) -> Option<Elsewhere> {
        let offset_us = self.peer.offset_us;
        let others = || self.links.values().filter(|link| link.id != id && link.state() == LinkState::Up);
        Some(Elsewhere {
            once: others().map(|link| link.extra_delay(offset_us)).min()? + COPY_MARGIN,
            safely: others().map(|link| link.repeat_time(offset_us)).min()? * CHANCES + REPEAT_MARGIN,
        })
    }

    /// What the links that carry packets are known or hoped to carry.
    fn rest_bps(&self) -> u64 {
        self.links.values().filter(|link| link.carries()).map(|link| link.capacity_bps().max(UNKNOWN_BPS)).sum()
    }

    fn tick_target(&mut self, now: Time) {
        let situation = Situation {
            links: self.links.values().filter(|link| link.carries()).count() as u64,
            offered: self.offered.bps(now, RATE_SPAN),
            goodput: self.arrived.bps(now, RATE_SPAN),
            queue: self.queue_age(now),
            patience: self.patience(),
            dropped: self.unsent > std::mem::replace(&mut self.unsent_seen, self.unsent),
            proven: self.proven_bps(now),
        };
        self.target.tick(now, &situation);
    }

    /// What the links together are known to carry; none while that is not known of one of them.
    fn proven_bps(&self, now: Time) -> Option<u64> {
        self.links.values().filter(|link| link.carries()).map(|link| link.proven_bps(now)).sum()
    }

    fn queue_age(&self, now: Time) -> Duration {
        self.store.queue().1.map_or(Duration::ZERO, |sent| now.since(sent))
    }

    /// Hellos, pings and probes.
    fn next_control(&mut self, now: Time) -> Option<Transmit> {
        let (id, need) =
            self.links.values_mut().find_map(|link| link.need(now, self.awake).map(|need| (link.id, need)))?;
        let probe = self.store.newest_sent().filter(|_| need == Need::Probe);
        match (need, probe) {
            (Need::Hello, _) => Some(self.hello(now, id)),
            (Need::Probe, Some(sequence)) => self.send(now, id, sequence),
            (Need::Probe | Need::Ping, _) => {
                let link = self.links.get_mut(&id)?;
                let packet = wire::encode_ping(link.send(now, None, 0, wire::MIN_PACKET), false, wire::MIN_PACKET);
                Some(Transmit { link: id, packet })
            }
        }
    }

    /// A train over a link that carries little, when nothing else is to be sent.
    fn next_train(&mut self, now: Time) -> Option<Transmit> {
        let latency = self.latency();
        let offered = self.offered.bps(now, RATE_SPAN);
        if self.proven_bps(now).is_some_and(|proven| offered * 100 > proven * TRAINS_BELOW_PERCENT) {
            return None;
        }
        let (id, packets) = self.links.values().find_map(|link| Some((link.id, link.train(now, latency)?)))?;
        let link = self.links.get_mut(&id)?;
        let bytes = link.max_datagram().min(train::PACKET as usize);
        if !self.spare_for_trains.take((packets as usize * bytes) as u32) {
            return None;
        }
        for number in 1..=packets {
            let urgent = number == 1 || number == packets;
            let packet = wire::encode_ping(link.send(now, None, 0, bytes), urgent, bytes);
            self.ready.push_back(Transmit { link: id, packet });
        }
        link.train_left(now, packets, bytes as u64);
        self.ready.pop_front()
    }

    fn hello(&self, now: Time, id: u8) -> Transmit {
        let (number, first_link_sequence) = self.links.get(&id).map_or((0, 1), TxLink::hello);
        let packet = wire::encode_hello(&Hello {
            number,
            session: self.session,
            link: id,
            latency_us: micros(self.latency),
            first_link_sequence,
            first_sequence: self.store.base(),
            clock_us: now.as_micros(),
        });
        Transmit { link: id, packet }
    }

    fn next_datagram(&mut self, now: Time) -> Option<Transmit> {
        // What is never in time, even over an empty link, is no repair any more.
        let least = self.links.values().filter(|link| link.carries()).map(|link| link.empty_delay(self.peer.offset_us));
        if let Some(least) = least.min() {
            self.store.abandon_before(now + least, self.latency() + HOPE);
        }
        self.look_at_links(now, true);
        let repair = self.store.repairs().take(MOST_LOOKS).find_map(|(sequence, datagram)| {
            let left = (datagram.sent + self.latency()).since(now) + HOPE;
            let bytes = (datagram.payload.len() + DATA_HEADER) as u64;
            Some((sequence, scheduler::choose(&self.views, bytes, datagram.avoid, left)?))
        });
        if let Some((sequence, link)) = repair {
            return self.send(now, link, sequence);
        }
        self.look_at_links(now, false);
        let (sequence, datagram) = self.store.first_unsent()?;
        let bytes = (datagram.payload.len() + DATA_HEADER) as u64;
        let link = scheduler::choose(&self.views, bytes, None, Duration::MAX)?;
        self.send(now, link, sequence)
    }

    fn look_at_links(&mut self, now: Time, repair: bool) {
        self.views.clear();
        self.views.extend(self.links.values().filter_map(|link| link.view(now, self.peer.offset_us, repair)));
    }

    /// Hands a datagram to a link, in two halves if it has to be.
    fn send(&mut self, now: Time, id: u8, sequence: u64) -> Option<Transmit> {
        let link = self.links.get_mut(&id)?;
        let datagram = self.store.get(sequence)?;
        let payload = datagram.payload.clone();
        let repeat = datagram.tries > 0;
        let whole = payload.len() + DATA_HEADER <= link.max_datagram() || payload.len() < 2;
        let pieces: &[Piece] = if whole { &[Piece::Whole] } else { &[Piece::First, Piece::Second] };
        let probe = link.state() == LinkState::Dead;
        for &piece in pieces {
            let part = piece.of(&payload);
            let link_sequence = link.send(now, Some(sequence), piece.mask(), part.len() + DATA_HEADER);
            if repeat {
                link.count_repeat();
            }
            let timestamp = datagram.sent.as_micros();
            let packet = Data { link_sequence, sequence, timestamp, piece, repeat, payload: part }.encode();
            self.ready.push_back(Transmit { link: id, packet });
        }
        let handed_over = datagram.sent;
        if !probe {
            self.store.sent(sequence, if whole { 1 } else { 2 });
            self.copy_at_once(now, sequence, id);
            if !repeat {
                self.cover(sequence, handed_over, id);
            }
        }
        self.ready.pop_front()
    }

    /// The bitrate of the stream that can be sustained now, in bits of payload per second.
    #[must_use]
    pub fn target_bps(&self) -> u64 {
        self.target.bps()
    }

    /// Whether everything handed over was sent and acknowledged, or is past its time.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.store.is_drained() && !self.links.values().any(TxLink::active)
    }

    /// What is known now.
    #[must_use]
    pub fn stats(&self, now: Time) -> SenderStats {
        let offset_us = self.peer.offset_us;
        let links: Vec<_> = self.links.values().map(|link| link.stats(now, offset_us)).collect();
        SenderStats {
            session: format!("{:016x}", self.session),
            uptime_ms: millis(now.since(self.started)),
            latency_ms: millis(self.latency()),
            target_bps: self.target_bps(),
            offered_bps: self.offered.bps(now, Duration::from_secs(1)),
            datagrams_in: self.datagrams_in,
            bytes_in: self.bytes_in,
            retransmitted_packets: links.iter().map(|link| link.retransmitted_packets).sum(),
            parity_packets: links.iter().map(|link| link.parity_packets).sum(),
            unsent_datagrams: self.unsent,
            queue_datagrams: self.store.queue().0,
            queue_ms: millis_f64(self.queue_age(now)),
            receiver: self.peer.truth.map(|(seen, truth)| ReceiverTruth { age_ms: millis(now.since(seen)), ..truth }),
            links,
        }
    }
}
