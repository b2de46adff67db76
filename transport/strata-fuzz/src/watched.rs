//! A receiver under watch: whatever it is fed, its promises are checked after each event.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use strata_bond::{ConnectionId, MAX_DATAGRAM, MAX_LINKS, Receiver, ReceiverEvent, Release, Time};

/// What fits a QUIC datagram in the smallest packets that are used.
const MAX_REPORT: usize = 1150;
/// Reports that may be due at once.
const MAX_REPORTS: usize = 2;
/// Sequences ahead of the next release, of both the current and the former session.
const MAX_WAITING: u64 = 1_000_000;

pub(crate) struct Watched {
    receiver: Receiver,
    now: Time,
    /// The last sequence released in the session that is being released.
    last: Option<u64>,
    sessions: u64,
    open: BTreeSet<ConnectionId>,
    pub(crate) released: Vec<Release>,
    pub(crate) reports: Vec<Bytes>,
}

impl Watched {
    pub(crate) fn new(now: Time, latency: Duration) -> Self {
        Self {
            receiver: Receiver::new(now, latency, 7),
            now,
            last: None,
            sessions: 0,
            open: BTreeSet::new(),
            released: Vec::new(),
            reports: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Time goes by: the receiver is polled whenever it asks for it.
    pub(crate) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        // Each release is a timeout; beyond so many the rest is polled at once, as by an owner that overslept.
        for _ in 0..64 {
            let Some(due) = self.receiver.next_timeout().filter(|&due| due <= end) else { break };
            self.now = due;
            self.drain();
        }
        self.now = end;
        self.drain();
    }

    pub(crate) fn packet(&mut self, connection: u64, packet: &Bytes) -> Option<ReceiverEvent> {
        let id = ConnectionId(connection);
        self.open.insert(id);
        let event = self.receiver.handle_packet(self.now, id, packet);
        if let Some(ReceiverEvent::NewSession { replaced: gone } | ReceiverEvent::Renewed { former: gone }) = &event {
            assert!(gone.len() <= MAX_LINKS, "more connections than links: {gone:?}");
            assert!(gone.iter().all(|gone| self.open.contains(gone)), "a connection that was not there: {gone:?}");
        }
        self.drain();
        event
    }

    pub(crate) fn closed(&mut self, connection: u64) {
        self.receiver.connection_closed(ConnectionId(connection));
        self.open.remove(&ConnectionId(connection));
        self.drain();
    }

    /// Takes all outputs, and checks them.
    fn drain(&mut self) {
        while let Some(release) = self.receiver.poll_release(self.now) {
            self.check(&release);
            self.released.push(release);
        }
        let before = self.reports.len();
        while let Some(report) = self.receiver.poll_report(self.now) {
            assert!(report.packet.len() <= MAX_REPORT, "a report of {} bytes", report.packet.len());
            assert!(report.connections.iter().all(|id| self.open.contains(id)), "a report for nobody");
            self.reports.push(report.packet);
            assert!(self.reports.len() - before <= MAX_REPORTS, "reports without end");
        }
        let next = self.receiver.next_timeout();
        assert!(next.is_none_or(|next| next > self.now), "drained at {:?}, and {next:?} is due", self.now);
    }

    fn check(&mut self, release: &Release) {
        assert!((1..=MAX_DATAGRAM).contains(&release.payload.len()), "{} bytes", release.payload.len());
        if release.new_session {
            self.sessions += 1;
            self.last = None;
        }
        assert!(self.sessions > 0, "the first release begins a session");
        if let Some(last) = self.last {
            assert_eq!(release.sequence, last + 1 + release.lost_before, "in order, once, and every gap is told");
        }
        self.last = Some(release.sequence);
    }

    /// Counters and bounds at the end.
    pub(crate) fn finish(mut self) {
        let stats = self.receiver.stats(self.now);
        assert!(stats.buffer_datagrams <= MAX_WAITING, "{} datagrams wait", stats.buffer_datagrams);
        assert!(stats.links.len() <= MAX_LINKS);
        assert!(stats.sessions >= self.sessions);
        assert_eq!(stats.delivered, self.released.len() as u64);
        assert!(stats.recovered_by_parity <= stats.recovered);
        assert!(stats.late <= stats.lost + stats.buffer_datagrams + MAX_WAITING);
        // Nothing is kept for longer than the latency allows, whatever was said.
        self.wait(strata_bond::MAX_LATENCY * 2);
        assert_eq!(self.receiver.next_release(), None, "something waits for more than a minute");
    }
}
