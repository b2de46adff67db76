//! The sender, fed with any reports while it streams.

use std::time::Duration;

use bytes::Bytes;
use strata_bond::{MAX_DATAGRAM, Sender, Time, Transmit};

use crate::steps;

/// What a datagram's header adds, or those of parity.
const HEADER: usize = 16;
/// Packets that one event may cause: all that was ever sent may have to go again, over windows that are full of it.
const MAX_TRANSMITS: usize = 200_000;

/// The sender's session.
pub(crate) const SESSION: u64 = 0x5e55_1011;

/// A sender under watch.
pub(crate) struct WatchedSender {
    pub(crate) sender: Sender,
    pub(crate) now: Time,
    pub(crate) pushed: Vec<Bytes>,
    largest: usize,
}

impl WatchedSender {
    pub(crate) fn new(links: u8, latency: Duration) -> Self {
        let now = Time::from_micros(5_000_000);
        let mut sender = Sender::new(now, latency, SESSION);
        for id in 0..links {
            sender.add_link(now, id, "link");
            sender.link_up(now, id, Duration::from_millis(40), 1366);
        }
        Self { sender, now, pushed: Vec::new(), largest: MAX_DATAGRAM + HEADER }
    }

    /// Hands a datagram over, its number repeated.
    pub(crate) fn push(&mut self, bytes: usize) {
        let number = (self.pushed.len() as u64).to_be_bytes();
        let payload: Bytes = number.into_iter().cycle().take(bytes.clamp(1, MAX_DATAGRAM)).collect();
        if self.sender.push(self.now, payload.clone()).is_ok() {
            self.pushed.push(payload);
        }
    }

    /// A packet from the other end; whether it was understood.
    pub(crate) fn packet(&mut self, packet: &Bytes) -> bool {
        self.sender.handle_packet(self.now, packet).is_ok()
    }

    /// Takes all that is to be sent now, and checks it.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(Transmit)) {
        let mut transmits = 0;
        while let Some(transmit) = self.sender.poll_transmit(self.now) {
            assert!(transmit.packet.len() <= self.largest, "a packet of {} bytes", transmit.packet.len());
            transmits += 1;
            assert!(transmits <= MAX_TRANSMITS, "packets without end");
            each(transmit);
        }
        let next = self.sender.next_timeout();
        assert!(next.is_none_or(|next| next > self.now), "drained at {:?}, and {next:?} is due", self.now);
    }

    /// Time goes by: the sender is polled whenever it asks for it, or at last at the end.
    pub(crate) fn wait(&mut self, duration: Duration, mut each: impl FnMut(Transmit)) {
        let end = self.now + duration;
        for _ in 0..32 {
            let Some(due) = self.sender.next_timeout().filter(|&due| due <= end) else { break };
            self.now = due;
            self.drain(&mut each);
        }
        self.now = end;
        self.drain(each);
    }

    /// Counters at the end.
    pub(crate) fn finish(&self) {
        let stats = self.sender.stats(self.now);
        assert_eq!(stats.datagrams_in, self.pushed.len() as u64);
        assert!(stats.unsent_datagrams <= stats.datagrams_in);
        assert!(stats.latency_ms <= 30_000, "a latency of {} ms", stats.latency_ms);
        for link in &stats.links {
            assert!(link.queue_ms.is_finite() && link.rtt_ms.is_finite() && link.extra_delay_ms.is_finite());
            assert!(link.lost_packets <= link.sent_packets);
            assert!(link.parity_packets <= link.sent_packets);
        }
    }
}

/// Steps as `steps::read` finds them: the actor's low bits are a number of datagrams, the packet comes from the receiver.
pub fn run(data: &[u8]) {
    let mut sender = WatchedSender::new(3, Duration::from_millis(500));
    for step in steps::read(data) {
        sender.wait(step.elapsed, drop);
        for _ in 0..step.actor & 15 {
            sender.push(1316);
        }
        sender.packet(&step.packet);
        sender.drain(drop);
    }
    sender.finish();
}
