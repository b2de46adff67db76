//! A network in memory: sockets for quinn, with the emulator's lanes and an address translator between them.
//!
//! Owns what happens to packets and when, by tokio's clock, which the tests pause.
//! Timers are good to a millisecond, and so are arrivals.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use strata_link::{LinkConfig, LinkError, Network};
use strata_netem::lane::Lane;
use strata_netem::protocol::Shape;
use tokio::time::{Instant, Sleep, sleep_until};

/// IP and UDP headers.
const HEADERS: usize = 28;

/// A link, as it is now; may be changed at any time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) up: Shape,
    pub(crate) down: Shape,
    /// The largest IP packet.
    pub(crate) mtu: usize,
    /// Nothing arrives, either way.
    pub(crate) dark: bool,
    /// Nothing arrives at the receiver.
    pub(crate) black_hole: bool,
    /// Nothing arrives at the sender.
    pub(crate) mute: bool,
    /// Bytes that arrived at the receiver.
    pub(crate) arrived: u64,
}

impl Link {
    pub(crate) fn new(kbps: u64, delay_ms: f64, loss_percent: f64) -> Self {
        let shape = Shape { rate_kbps: kbps, delay_ms, loss_percent, ..Shape::default() };
        Self { up: shape, down: shape, mtu: 1500, dark: false, black_hole: false, mute: false, arrived: 0 }
    }

    /// Changes both ways.
    pub(crate) fn shape(&mut self, change: impl Fn(&mut Shape)) {
        change(&mut self.up);
        change(&mut self.down);
    }
}

/// A packet on its way: when it arrives, the order of sending, where from, over which link, what.
type Waiting = Reverse<(Instant, u64, SocketAddr, usize, Vec<u8>)>;

/// What arrives at a socket.
#[derive(Debug, Default)]
struct Inbox {
    waiting: BinaryHeap<Waiting>,
    reader: Option<Waker>,
}

#[derive(Debug)]
struct State {
    started: Instant,
    links: Vec<Link>,
    lanes: Vec<[Lane; 2]>,
    inboxes: BTreeMap<u64, Inbox>,
    receiver: Option<u64>,
    /// The address translator: the public address of each socket, and its link.
    public: BTreeMap<u64, (SocketAddr, usize)>,
    sockets: u64,
    packets: u64,
    port: u16,
}

impl State {
    fn open(&mut self) -> u64 {
        self.sockets += 1;
        self.inboxes.insert(self.sockets, Inbox::default());
        self.sockets
    }

    /// The public address of a socket, as its packets show it; a new one if it has none.
    fn translate(&mut self, link: usize, socket: u64) -> SocketAddr {
        let (host, port) = (u8::try_from(link).unwrap(), &mut self.port);
        let fresh = || {
            *port += 1;
            (([198, 51, 100, host], *port).into(), link)
        };
        self.public.entry(socket).or_insert_with(fresh).0
    }

    fn carry(&mut self, link: usize, from: SocketAddr, to: u64, contents: &[u8]) {
        let up = self.receiver == Some(to);
        let Link { up: there, down: back, mtu, dark, black_hole, mute, .. } = self.links[link];
        let wire = contents.len() + HEADERS;
        if wire > mtu || dark || (up && black_hole) || (!up && mute) {
            return;
        }
        let shape = if up { there } else { back };
        let Ok(due) = self.lanes[link][usize::from(!up)].admit(self.started.elapsed(), wire, &shape) else { return };
        // A socket that is gone takes nothing.
        let Some(inbox) = self.inboxes.get_mut(&to) else { return };
        for _ in 0..1 + u8::from(due.twice) {
            self.packets += 1;
            inbox.waiting.push(Reverse((self.started + due.at, self.packets, from, link, contents.to_vec())));
        }
        if let Some(reader) = inbox.reader.take() {
            reader.wake();
        }
    }

    /// The next packet that has arrived at a socket; or when one does.
    fn take(&mut self, socket: u64, reader: &Waker) -> Result<(SocketAddr, Vec<u8>), Option<Instant>> {
        let Some(inbox) = self.inboxes.get_mut(&socket) else { return Err(None) };
        loop {
            let due = inbox.waiting.peek().map(|Reverse((due, ..))| *due);
            let there = due.is_some_and(|due| due <= Instant::now());
            let Some(Reverse((_, _, from, link, contents))) = there.then(|| inbox.waiting.pop()).flatten() else {
                inbox.reader = Some(reader.clone());
                return Err(due);
            };
            let link = &mut self.links[link];
            if !link.dark {
                link.arrived += if self.receiver == Some(socket) { contents.len() as u64 } else { 0 };
                return Ok((from, contents));
            }
        }
    }
}

/// The network; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    state: Arc<Mutex<State>>,
}

impl Memory {
    pub(crate) fn new(seed: u64, links: &[Link]) -> Self {
        let lanes = (0..links.len() as u64).map(|link| [0, 1].map(|way| Lane::new(seed * 1_000_003 + link * 2 + way)));
        let state = State {
            started: Instant::now(),
            lanes: lanes.collect(),
            links: links.to_vec(),
            inboxes: BTreeMap::new(),
            receiver: None,
            public: BTreeMap::new(),
            sockets: 0,
            packets: 0,
            port: 1024,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn link(&self, link: usize) -> Link {
        self.state().links[link]
    }

    pub(crate) fn change(&self, link: usize, change: impl FnOnce(&mut Link)) {
        change(&mut self.state().links[link]);
    }

    /// The translator forgets a link's addresses: the next packet comes from another one.
    pub(crate) fn change_address(&self, link: usize) {
        self.state().public.retain(|_, &mut (_, of)| of != link);
    }

    /// The sender's sockets are gone at once, and say nothing more.
    pub(crate) fn cut_off_sender(&self) {
        let mut state = self.state();
        let receiver = state.receiver;
        state.inboxes.retain(|&id, _| Some(id) == receiver);
        state.public.clear();
    }

    /// So is the receiver's.
    pub(crate) fn cut_off_receiver(&self) {
        let mut state = self.state();
        if let Some(receiver) = state.receiver.take() {
            state.inboxes.remove(&receiver);
        }
    }

    /// Since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.state().started.elapsed()
    }

    fn socket(&self, id: u64, link: Option<usize>, address: SocketAddr) -> Arc<dyn AsyncUdpSocket> {
        let timer = Mutex::new(Box::pin(sleep_until(Instant::now())));
        Arc::new(Socket { network: self.clone(), id, link, address, timer })
    }
}

impl Network for Memory {
    fn open(&self, link: &LinkConfig) -> Result<Arc<dyn AsyncUdpSocket>, LinkError> {
        let id = self.state().open();
        Ok(self.socket(id, Some(usize::from(link.id)), ([10, 0, 0, link.id], 4000).into()))
    }

    fn listen(&self, address: SocketAddr) -> Result<Arc<dyn AsyncUdpSocket>, LinkError> {
        let mut state = self.state();
        let id = state.open();
        state.receiver = Some(id);
        drop(state);
        Ok(self.socket(id, None, address))
    }
}

/// A socket; the receiver's has no link of its own.
struct Socket {
    network: Memory,
    id: u64,
    link: Option<usize>,
    address: SocketAddr,
    timer: Mutex<Pin<Box<Sleep>>>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket {} of link {:?}", self.id, self.link)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = self.network.state();
        state.inboxes.remove(&self.id);
        state.public.remove(&self.id);
    }
}

/// There is always room.
#[derive(Debug)]
struct Room;

impl UdpPoller for Room {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room)
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        let mut state = self.network.state();
        if !state.inboxes.contains_key(&self.id) {
            return Ok(());
        }
        if let Some(link) = self.link {
            let from = state.translate(link, self.id);
            if let Some(to) = state.receiver {
                state.carry(link, from, to, transmit.contents);
            }
        } else {
            let way = state.public.iter().find(|(_, (address, _))| *address == transmit.destination);
            if let Some((&to, &(_, link))) = way {
                state.carry(link, self.address, to, transmit.contents);
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let taken = self.network.state().take(self.id, context.waker());
            match taken {
                Ok((addr, contents)) => {
                    let len = contents.len();
                    buffers[0][..len].copy_from_slice(&contents);
                    meta[0] = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
                    return Poll::Ready(Ok(1));
                }
                Err(None) => return Poll::Pending,
                Err(Some(due)) => {
                    let mut timer = self.timer.lock().unwrap();
                    timer.as_mut().reset(due);
                    if timer.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
