//! Both real ends over the network in memory, a numbered stream between them, and what came out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use strata_identity::KeyPair;
use strata_link::{LinkConfig, LinkState, Receiver, ReceiverConfig, Sender, SenderConfig, SenderStats};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use crate::network::{Link, Memory};

/// Of all datagrams.
const BYTES: usize = 1316;
/// Where the receiver listens.
const RECEIVER: ([u8; 4], u16) = ([192, 0, 2, 1], 5000);

/// A datagram that came out; times count from the network's beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) number: usize,
    pub(crate) at: Duration,
    pub(crate) sequence: u64,
    pub(crate) new_session: bool,
}

/// The receiving end and the task that takes what comes out.
struct Receiving {
    receiver: Arc<Receiver>,
    task: JoinHandle<()>,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A whole simulation.
pub(crate) struct Story {
    pub(crate) network: Memory,
    /// When each datagram was handed over.
    pub(crate) pushed: Vec<Duration>,
    taken: Arc<Mutex<Vec<Taken>>>,
    keys: [KeyPair; 2],
    latency: Duration,
    links: u8,
    sender: Option<Sender>,
    receiving: Option<Receiving>,
}

fn payload(number: usize) -> Bytes {
    (number as u64).to_be_bytes().into_iter().cycle().take(BYTES).collect()
}

impl Story {
    /// Starts both ends and waits until all links are up.
    pub(crate) async fn start(seed: u64, latency_ms: u64, links: &[Link]) -> Self {
        let mut story = Self {
            network: Memory::new(seed, links),
            pushed: Vec::new(),
            taken: Arc::default(),
            keys: [KeyPair::generate(), KeyPair::generate()],
            latency: Duration::from_millis(latency_ms),
            links: u8::try_from(links.len()).unwrap(),
            sender: None,
            receiving: None,
        };
        story.start_receiver().await;
        story.start_sender();
        story.all_up_within(Duration::from_secs(10)).await;
        story
    }

    pub(crate) async fn start_receiver(&mut self) {
        let (identity, allow) = (self.keys[1].clone(), self.keys[0].public());
        let config = ReceiverConfig { identity, allow, listen: RECEIVER.into(), latency: self.latency };
        let receiver = Arc::new(Receiver::bind_over(Arc::new(self.network.clone()), config).await.unwrap());
        let (network, taken, source) = (self.network.clone(), Arc::clone(&self.taken), Arc::clone(&receiver));
        let task = tokio::spawn(async move {
            while let Some(datagram) = source.recv().await {
                let number = usize::try_from(u64::from_be_bytes(datagram.payload[..8].try_into().unwrap())).unwrap();
                assert_eq!(datagram.payload, payload(number), "datagram {number} was changed");
                let (at, sequence, new_session) = (network.elapsed(), datagram.sequence, datagram.new_session);
                taken.lock().unwrap().push(Taken { number, at, sequence, new_session });
            }
        });
        self.receiving = Some(Receiving { receiver, task });
    }

    pub(crate) fn start_sender(&mut self) {
        let link = |id| LinkConfig { id, name: format!("link {id}"), remote: RECEIVER.into(), interface: None };
        let (identity, peer) = (self.keys[0].clone(), self.keys[1].public());
        let config = SenderConfig { identity, peer, latency: self.latency, links: (0..self.links).map(link).collect() };
        self.sender = Some(Sender::start_over(Arc::new(self.network.clone()), config).unwrap());
    }

    /// The sender is gone from one moment to the next, as by a power cut.
    pub(crate) fn kill_sender(&mut self) {
        self.network.cut_off_sender();
        self.sender = None;
    }

    /// So is the receiver.
    pub(crate) fn kill_receiver(&mut self) {
        self.network.cut_off_receiver();
        self.receiving = None;
    }

    /// Hands over datagrams at `bps` for `duration`.
    pub(crate) async fn stream(&mut self, bps: u64, duration: Duration) {
        let (start, gap) = (tokio::time::Instant::now(), Duration::from_micros(BYTES as u64 * 8_000_000 / bps));
        let mut due = Duration::ZERO;
        while due < duration {
            sleep_until(start + due).await;
            let sender = self.sender.as_ref().expect("a stream needs a sender");
            sender.send(payload(self.pushed.len())).unwrap();
            self.pushed.push(self.network.elapsed());
            due += gap;
        }
        sleep_until(start + duration).await;
    }

    /// Lets everything arrive, be repaired and come out.
    pub(crate) async fn finish(&self) {
        sleep(self.latency + Duration::from_secs(1)).await;
    }

    pub(crate) fn stats(&self) -> SenderStats {
        self.sender.as_ref().expect("only a sender has statistics").stats()
    }

    /// All links are up, but for one that lost its last packet just now.
    pub(crate) async fn all_up_soon(&self) {
        self.all_up_within(Duration::from_secs(1)).await;
    }

    async fn all_up_within(&self, limit: Duration) {
        let start = self.network.elapsed();
        while !self.stats().links.iter().all(|link| link.state == LinkState::Up) {
            assert!(self.network.elapsed() - start < limit, "not up within {limit:?}: {}", self.describe());
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// When the datagrams that did not come out were handed over. Those that did came once and in order.
    pub(crate) fn missing(&self) -> Vec<Duration> {
        let mut there = vec![false; self.pushed.len()];
        let mut next = 0;
        for taken in self.taken() {
            assert!(taken.number >= next, "{} came out after {}", taken.number, next - 1);
            there[taken.number] = true;
            next = taken.number + 1;
        }
        self.pushed.iter().zip(there).filter(|&(_, there)| !there).map(|(&pushed, _)| pushed).collect()
    }

    /// Every datagram came out once, in order, unchanged.
    pub(crate) fn assert_all(&self) {
        let missing = self.missing();
        assert!(missing.is_empty(), "{} missing: {:?}\n{}", missing.len(), missing, self.describe());
    }

    /// Everything that is known, for a test that fails.
    pub(crate) fn describe(&self) -> String {
        let theirs = self.receiving.as_ref().map(|receiving| receiving.receiver.stats());
        format!("{:#?}\n{theirs:#?}", self.sender.as_ref().map(Sender::stats))
    }
}
