//! Both ends and links that lose, repeat and reorder at will: what comes out is what went in.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use strata_bond::ReceiverEvent;

use crate::sender::WatchedSender;
use crate::steps::elapsed;
use crate::watched::Watched;

const LINKS: u8 = 3;
const LATENCY: Duration = Duration::from_millis(300);
/// The receiver's clock is ahead by this.
const SKEW: Duration = Duration::from_secs(700);
/// Packets on their way at most; more are lost.
const MAX_FLIGHT: usize = 4096;

struct Pair {
    sender: WatchedSender,
    receiver: Watched,
    forward: Vec<VecDeque<Bytes>>,
    backward: VecDeque<Bytes>,
    seen: usize,
}

/// Each byte pair is an event: its kind and how much of it.
///
/// # Panics
/// When a datagram comes out that did not go in.
pub fn run(data: &[u8]) {
    let sender = WatchedSender::new(LINKS, LATENCY);
    let receiver = Watched::new(sender.now + SKEW, LATENCY);
    let forward = vec![VecDeque::new(); usize::from(LINKS)];
    let mut pair = Pair { sender, receiver, forward, backward: VecDeque::new(), seen: 0 };
    for &[event, amount] in data.as_chunks::<2>().0 {
        pair.take(event, amount);
    }
    pair.compare();
    pair.sender.finish();
    pair.receiver.finish();
}

impl Pair {
    fn take(&mut self, event: u8, amount: u8) {
        let link = usize::from(event >> 4) % usize::from(LINKS);
        match event & 15 {
            0..=2 => self.deliver(link, amount),
            3 => {
                for _ in 0..amount {
                    self.forward[link].pop_front();
                }
            }
            // Overtaken, and twice.
            4 => {
                let queue = &mut self.forward[link];
                queue.rotate_left(usize::from(amount).min(queue.len()));
            }
            5 => {
                if let Some(packet) = self.forward[link].get(usize::from(amount)).cloned() {
                    self.forward[link].push_front(packet);
                }
            }
            6..=8 => {
                for packet in self.backward.drain(..usize::from(amount).min(self.backward.len())) {
                    assert!(self.sender.packet(&packet), "a report that its own sender does not understand");
                }
            }
            9 => drop(self.backward.drain(..usize::from(amount).min(self.backward.len()))),
            10..=11 => {
                for _ in 0..=amount & 31 {
                    self.sender.push(40 + usize::from(amount) * 5);
                }
            }
            12 => {
                self.forward[link].clear();
                self.receiver.closed(link as u64);
                self.sender.sender.link_down(link.to_le_bytes()[0], "test");
            }
            13 => {
                // Up to round trips for which only parity is in time.
                let rtt = Duration::from_millis(u64::from(amount) * 2);
                self.sender.sender.link_up(self.sender.now, link.to_le_bytes()[0], rtt, 1150 + usize::from(amount));
            }
            _ => self.wait(elapsed(amount & 0x9f)),
        }
        self.settle();
    }

    fn deliver(&mut self, link: usize, amount: u8) {
        let count = usize::from(amount).min(self.forward[link].len());
        for packet in self.forward[link].drain(..count) {
            let event = self.receiver.packet(link as u64, &packet);
            assert!(!matches!(event, Some(ReceiverEvent::Malformed(_))), "a packet of our own: {event:?}");
        }
    }

    fn wait(&mut self, duration: Duration) {
        let forward = &mut self.forward;
        self.sender.wait(duration, |transmit| forward[usize::from(transmit.link)].push_back(transmit.packet));
        self.receiver.wait(duration);
    }

    fn settle(&mut self) {
        let forward = &mut self.forward;
        self.sender.drain(|transmit| forward[usize::from(transmit.link)].push_back(transmit.packet));
        self.backward.extend(self.receiver.reports.drain(..));
        for queue in self.forward.iter_mut().chain([&mut self.backward]) {
            queue.truncate(MAX_FLIGHT);
        }
        self.compare();
    }

    fn compare(&mut self) {
        for release in &self.receiver.released[self.seen..] {
            let pushed = usize::try_from(release.sequence).ok().and_then(|number| self.sender.pushed.get(number));
            assert_eq!(Some(&release.payload), pushed, "datagram {}", release.sequence);
        }
        self.seen = self.receiver.released.len();
    }
}
