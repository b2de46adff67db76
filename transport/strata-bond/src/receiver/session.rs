//! One session of one sender: from its first hello until another takes over.
//!
//! Owns the counters, when a report is due, and the order of things: link first,
//! then clock, then buffer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::buffer::{Buffer, Inserted};
use super::link::RxLink;
use super::parity::Blocks;
use super::playout::Playout;
use super::{Bytes, Release};
use crate::Time;
use crate::stats::ReceiverStats;
use crate::time::{micros, millis_f64};
use crate::wire::{Data, Hello, MAX_RANGES, Parity, Piece, Report, encode_report, expand_sequence, expand_timestamp};

/// Reports follow each other at this distance while packets arrive.
const REPORT_INTERVAL: Duration = Duration::from_millis(15);
/// A gap is reported at once, but not more often than this.
const GAP_INTERVAL: Duration = Duration::from_millis(3);
/// After the last packet the report is repeated, in case it was lost.
const TAIL_INTERVAL: Duration = Duration::from_millis(40);
/// How often it is repeated.
const TAIL_REPEATS: u8 = 3;
/// A link that received nothing for this long is no good way back while there are others.
const LIVE: Duration = Duration::from_millis(200);
/// How many ways back each report takes.
const WAYS: usize = 2;
/// Every so many reports take all ways: a way is found again even if nothing arrives over its link.
const ALL_WAYS_EVERY: u64 = 16;
/// A report fits a QUIC datagram in the smallest packets that are used, 1,200 bytes.
const MAX_REPORT: usize = 1_100;
/// Nothing was sent in the future: what claims to be by more than a path may have become faster is taken for now.
const AHEAD: Duration = Duration::from_secs(5);
/// A packet that misses its time by no more than this still goes out, if the order allows.
const LATE_TOLERANCE: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct Counters {
    delivered: u64,
    delivered_bytes: u64,
    lost: u64,
    late: u64,
    duplicates: u64,
    recovered: u64,
    recovered_by_parity: u64,
}

/// A link and how good it is as a way back.
#[derive(Debug)]
struct Way {
    link: RxLink,
    /// Smoothed delay above the fastest link's, in microseconds.
    extra_us: i64,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    id: u64,
    own_latency: Duration,
    latency: Duration,
    buffer: Buffer,
    parity: Blocks,
    playout: Playout,
    links: BTreeMap<u8, Way>,
    counters: Counters,
    reports: u64,
    last_report: Time,
    pending: bool,
    gap: bool,
    urgent: bool,
    tail: u8,
    released: bool,
}

impl Session {
    pub(super) fn new(now: Time, hello: &Hello, own_latency: Duration) -> Self {
        Self {
            id: hello.session,
            own_latency,
            latency: own_latency,
            buffer: Buffer::new(hello.first_sequence),
            parity: Blocks::default(),
            playout: Playout::new(now, Time::from_micros(hello.clock_us)),
            links: BTreeMap::new(),
            counters: Counters::default(),
            reports: 0,
            last_report: now - Duration::from_secs(1),
            pending: false,
            gap: false,
            urgent: false,
            tail: 0,
            released: false,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// A connection of this session introduced itself, or its latency changed.
    pub(super) fn handle_hello(&mut self, now: Time, hello: &Hello) {
        let way = self
            .links
            .entry(hello.link)
            .or_insert_with(|| Way { link: RxLink::new(hello.link, hello.first_link_sequence, now), extra_us: 0 });
        way.link.set_hello(hello.number);
        self.playout.on_packet(now, Time::from_micros(hello.clock_us));
        self.latency = self.own_latency.max(Duration::from_micros(hello.latency_us));
        self.buffer.resume(hello.first_sequence);
        self.arrived(false);
        self.tail = TAIL_REPEATS;
    }

    fn arrived(&mut self, gap: bool) {
        self.pending = true;
        self.gap |= gap;
    }

    /// A packet without data; an answer that is lost brings the next ping, so it is not repeated.
    pub(super) fn handle_ping(&mut self, now: Time, link: u8, bytes: usize, link_sequence: u64) {
        if let Some(way) = self.links.get_mut(&link) {
            let gap = way.link.on_packet(now, link_sequence, bytes);
            self.arrived(gap);
        }
    }

    /// The next report is due now.
    pub(super) fn hurry(&mut self) {
        self.urgent = true;
    }

    /// A packet with data.
    pub(super) fn handle_data(&mut self, now: Time, link: u8, bytes: usize, data: Data) {
        let sent = self.sent(now, data.timestamp);
        let Some(way) = self.links.get_mut(&link) else { return };
        let gap = way.link.on_packet(now, data.link_sequence, bytes);
        let sequence = expand_sequence(data.sequence, self.buffer.newest());
        let repeat = data.repeat;
        if !repeat {
            self.playout.on_packet(now, sent);
            let extra = now.signed() - sent.signed() - self.playout.offset_us();
            way.extra_us += (extra - way.extra_us) / 8;
        }
        self.arrived(gap);
        self.tail = TAIL_REPEATS;
        if self.store(now, sequence, sent, data) == Some(Inserted::Complete)
            && let Some(first) = self.parity.of(sequence)
        {
            self.recover(now, first);
        }
    }

    /// A packet with parity.
    pub(super) fn handle_parity(&mut self, now: Time, link: u8, bytes: usize, parity: Parity) {
        self.handle_ping(now, link, bytes, parity.link_sequence);
        let first = expand_sequence(parity.first, self.buffer.newest());
        if first >= self.buffer.next() {
            self.parity.insert(first, parity);
            self.recover(now, first);
        }
    }

    /// Puts together what is missing in a block, if its parity suffices.
    fn recover(&mut self, now: Time, first: u64) {
        for (sequence, datagram) in self.parity.recover(first, &self.buffer) {
            let sent = self.sent(now, datagram.timestamp);
            let (timestamp, payload) = (datagram.timestamp, datagram.payload);
            let data = Data { link_sequence: 0, sequence, timestamp, piece: Piece::Whole, repeat: true, payload };
            if self.store(now, sequence, sent, data) == Some(Inserted::Complete) {
                self.counters.recovered_by_parity += 1;
            }
        }
    }

    /// A send time in full.
    fn sent(&self, now: Time, timestamp: u64) -> Time {
        let clock = self.playout.sender_clock(now);
        Time::from_micros(expand_timestamp(timestamp, clock.as_micros())).min(clock + AHEAD)
    }

    /// What became of a datagram or its half; none if it came too late.
    fn store(&mut self, now: Time, sequence: u64, sent: Time, data: Data) -> Option<Inserted> {
        if now > self.playout.release_at(sent, self.latency) + LATE_TOLERANCE && self.buffer.too_late(sequence) {
            self.counters.late += 1;
            return None;
        }
        let repeat = data.repeat;
        let inserted = self.buffer.insert(sequence, sent, data);
        match inserted {
            Inserted::Complete if repeat => self.counters.recovered += 1,
            Inserted::Late => self.counters.late += 1,
            Inserted::Duplicate => self.counters.duplicates += 1,
            Inserted::Complete | Inserted::Half | Inserted::Refused => {}
        }
        Some(inserted)
    }

    /// When the first datagram that is there is to go out.
    pub(super) fn next_release(&mut self) -> Option<Time> {
        let sent = self.buffer.first()?;
        Some(self.playout.release_at(sent, self.latency))
    }

    pub(super) fn poll_release(&mut self, now: Time) -> Option<Release> {
        if self.next_release()? > now {
            return None;
        }
        let popped = self.buffer.pop()?;
        self.parity.forget_below(self.buffer.next());
        self.playout.start();
        self.counters.delivered += 1;
        self.counters.delivered_bytes += popped.payload.len() as u64;
        self.counters.lost += popped.lost_before;
        Some(Release {
            payload: popped.payload,
            sequence: popped.sequence,
            lost_before: popped.lost_before,
            new_session: !std::mem::replace(&mut self.released, true),
        })
    }

    /// When the next report is due, if one is.
    pub(super) fn next_report(&self) -> Option<Time> {
        if self.urgent {
            Some(self.last_report)
        } else if self.pending {
            Some(self.last_report + if self.gap { GAP_INTERVAL } else { REPORT_INTERVAL })
        } else if self.tail > 0 {
            Some(self.last_report + TAIL_INTERVAL)
        } else {
            None
        }
    }

    pub(super) fn report_due(&self, now: Time) -> bool {
        self.next_report().is_some_and(|due| due <= now)
    }

    /// The links whose way back is best now.
    pub(super) fn best_links(&self, now: Time) -> Vec<u8> {
        let mut ranked: Vec<(bool, i64, u8)> =
            self.links.iter().map(|(&id, way)| (now.since(way.link.arrived()) > LIVE, way.extra_us, id)).collect();
        ranked.sort_unstable();
        let ways = if self.reports.is_multiple_of(ALL_WAYS_EVERY) { ranked.len() } else { WAYS };
        ranked.into_iter().take(ways).map(|(_, _, id)| id).collect()
    }

    pub(super) fn make_report(&mut self, now: Time, instance: u32) -> Bytes {
        if !self.pending {
            self.tail -= 1;
        }
        (self.pending, self.gap, self.urgent, self.last_report) = (false, false, false, now);
        self.reports += 1;
        let mut ranges = MAX_RANGES;
        loop {
            let packet = encode_report(&self.report(now, instance, ranges));
            if packet.len() <= MAX_REPORT || ranges == 0 {
                return packet;
            }
            // Many links with many gaps: the oldest are left out, and count as lost.
            ranges /= 2;
        }
    }

    fn report(&mut self, now: Time, instance: u32, ranges: usize) -> Report {
        Report {
            session: low_half(self.id),
            instance,
            number: self.reports,
            clock_us: now.as_micros(),
            offset_us: self.playout.offset_us(),
            latency_us: micros(self.latency),
            next: self.buffer.complete_below(),
            delivered: self.counters.delivered,
            lost: self.counters.lost,
            late: self.counters.late,
            duplicates: self.counters.duplicates,
            recovered: self.counters.recovered,
            links: self.links.values_mut().map(|way| way.link.report(now, ranges)).collect(),
        }
    }

    /// Adds what this session counted.
    pub(super) fn count_into(&self, stats: &mut ReceiverStats) {
        stats.delivered += self.counters.delivered;
        stats.delivered_bytes += self.counters.delivered_bytes;
        stats.lost += self.counters.lost;
        stats.late += self.counters.late;
        stats.duplicates += self.counters.duplicates;
        stats.recovered += self.counters.recovered;
        stats.recovered_by_parity += self.counters.recovered_by_parity;
    }

    /// Adds what this session is like now.
    pub(super) fn describe(&self, stats: &mut ReceiverStats, connected: impl Fn(u8) -> bool) {
        stats.session = format!("{:016x}", self.id);
        stats.latency_ms = crate::time::millis(self.latency);
        let (waiting, span) = self.buffer.waiting();
        stats.buffer_datagrams = waiting as u64;
        stats.buffer_ms = span.map_or(0.0, |(oldest, newest)| millis_f64(newest.since(oldest)));
        stats.links = self.links.iter().map(|(&id, way)| way.link.stats(connected(id))).collect();
    }
}

/// The half of a session's id that reports carry.
pub(crate) fn low_half(id: u64) -> u32 {
    u32::try_from(id & 0xffff_ffff).expect("masked to 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Piece;

    const LATENCY: Duration = Duration::from_millis(100);
    const CLOCK: Time = Time::from_micros(5_000_000);

    fn hello(link: u8) -> Hello {
        Hello {
            number: 1,
            session: 1,
            link,
            latency_us: 0,
            first_link_sequence: 1,
            first_sequence: 0,
            clock_us: CLOCK.as_micros(),
        }
    }

    fn session(links: u8) -> Session {
        let mut session = Session::new(CLOCK, &hello(0), LATENCY);
        for link in 0..links {
            session.handle_hello(CLOCK, &hello(link));
        }
        session
    }

    fn data(sequence: u64, sent: Time) -> Data {
        let timestamp = sent.as_micros() & 0xffff_ffff;
        let payload = Bytes::from_static(b"x");
        Data { link_sequence: sequence + 1, sequence, timestamp, piece: Piece::Whole, repeat: false, payload }
    }

    #[test]
    fn a_report_of_many_links_with_many_gaps_still_fits_a_packet() {
        let mut session = session(16);
        for link in 0..16 {
            for link_sequence in (1..2000).step_by(9) {
                session.handle_ping(CLOCK, link, 16, link_sequence);
            }
        }
        let report = session.make_report(CLOCK, 1);
        assert!((600..=MAX_REPORT).contains(&report.len()), "{} bytes", report.len());
    }

    #[test]
    fn a_send_time_in_the_future_holds_nothing_back_for_long() {
        let mut session = session(1);
        session.handle_data(CLOCK, 0, 12, data(0, CLOCK));
        let now = CLOCK + LATENCY;
        assert!(session.poll_release(now).is_some());
        session.handle_data(now, 0, 12, data(1, now + Duration::from_secs(2000)));
        assert!(session.next_release().unwrap() <= now + AHEAD + LATENCY);
    }

    #[test]
    fn after_an_outage_of_hours_the_session_goes_on() {
        let mut session = session(1);
        session.handle_data(CLOCK, 0, 12, data(0, CLOCK));
        let later = CLOCK + Duration::from_secs(4 * 3600);
        assert!(session.poll_release(later).is_some());
        // More datagrams than the shortened number can tell apart.
        let sequence = 20_000_000;
        session.handle_hello(
            later,
            &Hello { number: 2, first_sequence: sequence, clock_us: later.as_micros(), ..hello(0) },
        );
        session.handle_data(later, 0, 12, data(sequence + 1, later));
        let release = session.poll_release(later + LATENCY * 2).unwrap();
        assert_eq!((release.sequence, release.lost_before), (sequence + 1, sequence));
    }
}
