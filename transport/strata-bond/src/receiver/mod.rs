//! The receiving end: dedup, order, release in the source's timing, reports back.
//!
//! Inputs are [`Receiver::handle_packet`] and [`Receiver::connection_closed`];
//! afterwards, and whenever [`Receiver::next_timeout`] has passed, drain
//! [`Receiver::poll_release`] and [`Receiver::poll_report`].

mod buffer;
mod link;
mod parity;
mod playout;
mod session;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::Time;
use crate::stats::ReceiverStats;
use crate::wire::{Hello, Packet, ParseError};
use session::Session;
pub(crate) use session::low_half;

/// How many replaced sessions are remembered, so that their packets are not taken for a new sender's.
const REPLACED: usize = 16;

/// A connection, as its owner numbers it; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A datagram whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// What the sender was given.
    pub payload: Bytes,
    /// Its number in the session.
    pub sequence: u64,
    /// How many before it were given up.
    pub lost_before: u64,
    /// Whether it is the first of its session.
    pub new_session: bool,
}

/// A report for the sender, to be sent over each of these connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportOut {
    /// Where to send it; any one arriving is enough.
    pub connections: Vec<ConnectionId>,
    /// The packet.
    pub packet: Bytes,
}

/// What the caller has to do about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A sender was started anew; connections of the former session are to be closed.
    NewSession {
        /// Connections of the replaced session.
        replaced: Vec<ConnectionId>,
    },
    /// A link was connected anew: its former connections are to be closed.
    Renewed {
        /// The former connections.
        former: Vec<ConnectionId>,
    },
    /// The connection belongs to a session that a newer one replaced: close it.
    Replaced,
    /// The packet could not be read.
    Malformed(ParseError),
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver {
    instance: u32,
    latency: Duration,
    started: Time,
    session: Option<Session>,
    /// The former session, until its last datagram's time has come.
    former: Option<Session>,
    /// The connections of the current session that said hello, and their link.
    connections: BTreeMap<ConnectionId, u8>,
    replaced: VecDeque<u64>,
    sessions: u64,
    malformed: u64,
    /// Counters of former sessions.
    past: ReceiverStats,
}

impl Receiver {
    /// A receiver that releases each datagram `latency` after it was sent; `instance` is a random number.
    #[must_use]
    pub fn new(now: Time, latency: Duration, instance: u32) -> Self {
        Self {
            instance,
            latency,
            started: now,
            session: None,
            former: None,
            connections: BTreeMap::new(),
            replaced: VecDeque::new(),
            sessions: 0,
            malformed: 0,
            past: ReceiverStats::default(),
        }
    }

    /// Takes a packet that arrived on a connection of the allowed sender.
    pub fn handle_packet(&mut self, now: Time, connection: ConnectionId, packet: &Bytes) -> Option<Event> {
        match Packet::parse(packet) {
            Ok(Packet::Hello(hello)) => self.handle_hello(now, connection, &hello),
            Ok(Packet::Data(data)) => {
                let (link, session) = self.of_connection(connection)?;
                session.handle_data(now, link, packet.len(), data);
                None
            }
            Ok(Packet::Ping { link_sequence, urgent }) => {
                let (link, session) = self.of_connection(connection)?;
                session.handle_ping(now, link, packet.len(), link_sequence);
                if urgent {
                    session.hurry();
                }
                None
            }
            Ok(Packet::Parity(parity)) => {
                let (link, session) = self.of_connection(connection)?;
                session.handle_parity(now, link, packet.len(), parity);
                None
            }
            // Only a receiver sends these.
            Ok(Packet::Report(_)) => {
                self.malformed += 1;
                Some(Event::Malformed(ParseError::Value))
            }
            Err(error) => {
                self.malformed += 1;
                Some(Event::Malformed(error))
            }
        }
    }

    /// The session that a connection belongs to; none before its hello.
    fn of_connection(&mut self, connection: ConnectionId) -> Option<(u8, &mut Session)> {
        let &link = self.connections.get(&connection)?;
        Some((link, self.session.as_mut()?))
    }

    fn handle_hello(&mut self, now: Time, connection: ConnectionId, hello: &Hello) -> Option<Event> {
        let mut event = None;
        if self.session.as_ref().is_none_or(|session| session.id() != hello.session) {
            if self.replaced.contains(&hello.session) && !self.connections.is_empty() {
                return Some(Event::Replaced);
            }
            event = Some(self.start_session(now, hello));
        }
        let former: Vec<ConnectionId> = self
            .connections
            .extract_if(.., |&id, &mut link| link == hello.link && id != connection)
            .map(|(id, _)| id)
            .collect();
        if !former.is_empty() {
            event = Some(Event::Renewed { former });
        }
        self.connections.insert(connection, hello.link);
        if let Some(session) = &mut self.session {
            session.handle_hello(now, hello);
        }
        event
    }

    /// Starts a session; what waits of the former one still goes out in its time.
    fn start_session(&mut self, now: Time, hello: &Hello) -> Event {
        let replaced: Vec<ConnectionId> = std::mem::take(&mut self.connections).into_keys().collect();
        self.end_former();
        self.sessions += 1;
        self.former = self.session.replace(Session::new(now, hello, self.latency));
        if let Some(former) = &self.former {
            self.replaced.push_back(former.id());
            if self.replaced.len() > REPLACED {
                self.replaced.pop_front();
            }
        }
        self.replaced.retain(|&id| id != hello.session);
        Event::NewSession { replaced }
    }

    fn end_former(&mut self) {
        if let Some(former) = self.former.take() {
            former.count_into(&mut self.past);
        }
    }

    /// A connection is gone.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
    }

    /// The next datagram whose time has come.
    pub fn poll_release(&mut self, now: Time) -> Option<Release> {
        if let Some(former) = &mut self.former {
            if let Some(release) = former.poll_release(now) {
                return Some(release);
            }
            if former.next_release().is_none() {
                self.end_former();
            }
        }
        let release = self.session.as_mut()?.poll_release(now)?;
        // Never back to an older session once the new one speaks.
        self.end_former();
        Some(release)
    }

    /// A report that is due.
    pub fn poll_report(&mut self, now: Time) -> Option<ReportOut> {
        let session = self.session.as_mut()?;
        if self.connections.is_empty() || !session.report_due(now) {
            return None;
        }
        let links = session.best_links(now);
        let connections: Vec<ConnectionId> =
            self.connections.iter().filter(|&(_, link)| links.contains(link)).map(|(&id, _)| id).collect();
        let packet = session.make_report(now, self.instance);
        Some(ReportOut { connections, packet })
    }

    /// When [`poll_release`](Self::poll_release) has something; `None`: not before a packet comes.
    pub fn next_release(&mut self) -> Option<Time> {
        let former = self.former.as_mut().and_then(Session::next_release);
        let current = self.session.as_mut().and_then(Session::next_release);
        former.into_iter().chain(current).min()
    }

    /// When [`poll_report`](Self::poll_report) has something; `None`: not before a packet comes.
    #[must_use]
    pub fn next_report(&self) -> Option<Time> {
        if self.connections.is_empty() { None } else { self.session.as_ref()?.next_report() }
    }

    /// When something is to be polled even if no packet comes; `None`: not before a packet comes.
    pub fn next_timeout(&mut self) -> Option<Time> {
        self.next_release().into_iter().chain(self.next_report()).min()
    }

    /// What is known now.
    #[must_use]
    pub fn stats(&self, now: Time) -> ReceiverStats {
        let mut stats = self.past.clone();
        stats.sessions = self.sessions;
        stats.uptime_ms = crate::time::millis(now.since(self.started));
        stats.latency_ms = crate::time::millis(self.latency);
        stats.malformed_packets = self.malformed;
        for session in self.former.iter().chain(&self.session) {
            session.count_into(&mut stats);
        }
        if let Some(session) = &self.session {
            session.describe(&mut stats, |link| self.connections.values().any(|&of| of == link));
        }
        stats
    }
}
