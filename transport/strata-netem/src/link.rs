//! One emulated link with its sockets: clients on one side, the target on the other.
//!
//! Each client address gets a socket of its own towards the target, as an address
//! translator would give it, and loses it after two silent minutes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::lane::{Dropped, Due, Lane};
use crate::protocol::{DirectionStats, LinkInfo, LinkSpec, LinkStats, Shape, ShapeChange, Way};
use crate::trace::Trace;

/// Clients of one link at a time; more are ignored.
const MAX_CLIENTS: usize = 64;
/// A client that is silent for so long is forgotten.
const CLIENT_IDLE: Duration = Duration::from_secs(120);
/// What a socket holds while this process does not run: some seconds of a fast link; the system may grant less.
const BUFFER: usize = 8 << 20;
/// The largest UDP datagram.
const LARGEST: usize = 65_535;
/// Packets that one direction holds: 300 ms at 1 Gbit/s. The queue's own limit comes first on slow links.
const MAX_WAITING: usize = 32_768;

/// A packet on its way: when and where it comes out. The earliest first, then the first that came.
struct Waiting {
    due: Reverse<(Duration, u64)>,
    packet: Box<[u8]>,
    exit: Exit,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

/// Where a packet comes out.
#[derive(Clone)]
enum Exit {
    /// Towards the target, through a client's socket.
    Target(Arc<UdpSocket>),
    /// Towards a client.
    Client(SocketAddr),
}

/// One direction: its state, what is on its way, what was counted.
struct Direction {
    lane: Lane,
    shape: Shape,
    waiting: BinaryHeap<Waiting>,
    stats: DirectionStats,
}

impl Direction {
    fn new(lane: Lane, shape: Shape) -> Self {
        Self { lane, shape, waiting: BinaryHeap::new(), stats: DirectionStats::default() }
    }

    /// Takes a packet on its way, once or twice.
    fn hold(&mut self, due: Due, packet: &[u8], exit: &Exit) {
        for _ in 0..1 + u8::from(due.twice) {
            // What came in before counts the packets: it orders those that come out at the same time.
            let due = Reverse((due.at, self.stats.in_packets));
            self.waiting.push(Waiting { due, packet: packet.into(), exit: exit.clone() });
        }
    }

    fn stats(&self) -> DirectionStats {
        DirectionStats { queued_packets: self.waiting.len() as u64, ..self.stats }
    }
}

struct State {
    cut: bool,
    up: Direction,
    down: Direction,
    last_packet: Instant,
}

impl State {
    fn direction(&mut self, way: Way) -> &mut Direction {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

/// A client's socket and when it was last used.
struct Client {
    socket: Arc<UdpSocket>,
    seen: Instant,
    reader: tokio::task::AbortHandle,
}

/// An emulated link.
pub(crate) struct Link {
    listen: SocketAddr,
    target: SocketAddr,
    socket: UdpSocket,
    started: Instant,
    state: Mutex<State>,
    arrived: [Notify; 2],
    /// IP and UDP headers of each packet.
    headers: usize,
}

impl Link {
    /// Binds the link's listening socket.
    pub(crate) async fn bind(spec: &LinkSpec, trace: Option<Arc<Trace>>, seed: u64) -> io::Result<Self> {
        let socket = UdpSocket::bind(spec.listen).await?;
        make_room(&socket)?;
        let started = Instant::now();
        Ok(Self {
            listen: socket.local_addr()?,
            target: spec.target,
            socket,
            started,
            state: Mutex::new(State {
                cut: false,
                up: Direction::new(Lane::new(seed).with_trace(trace), spec.shape),
                down: Direction::new(Lane::new(!seed), spec.down.unwrap_or(spec.shape)),
                last_packet: started,
            }),
            arrived: [Notify::new(), Notify::new()],
            headers: if spec.target.is_ipv4() { 28 } else { 48 },
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        self.state().cut = cut;
    }

    pub(crate) fn shape(&self) -> Shape {
        self.state().up.shape
    }

    /// Changes one direction, or both.
    pub(crate) fn change(&self, way: Option<Way>, change: &ShapeChange) {
        let mut state = self.state();
        for each in [Way::Up, Way::Down].into_iter().filter(|&each| way.is_none_or(|way| way == each)) {
            let direction = state.direction(each);
            direction.shape = change.applied_to(direction.shape);
        }
    }

    pub(crate) fn stats(&self) -> LinkStats {
        let state = self.state();
        LinkStats { cut: state.cut, up: state.up.stats(), down: state.down.stats() }
    }

    pub(crate) fn info(&self) -> LinkInfo {
        let state = self.state();
        LinkInfo { listen: self.listen, target: self.target, cut: state.cut, shape: state.up.shape }
    }

    pub(crate) fn last_packet(&self) -> Instant {
        self.state().last_packet
    }

    /// Carries packets until dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        tokio::join!(self.take_in(), self.give_out(Way::Up), self.give_out(Way::Down));
    }

    /// Reads what clients send.
    async fn take_in(self: &Arc<Self>) {
        let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
        let mut readers = JoinSet::new();
        let mut buffer = vec![0; LARGEST];
        loop {
            let received = tokio::select! {
                received = self.socket.recv_from(&mut buffer) => received,
                Some(_) = readers.join_next() => continue,
            };
            // An error here tells of an earlier packet that nobody took: no reason to end.
            let Ok((bytes, from)) = received else { continue };
            let now = Instant::now();
            if !clients.contains_key(&from) {
                forget_idle(&mut clients, now);
                if clients.len() >= MAX_CLIENTS {
                    continue;
                }
                match self.new_client(from, &mut readers).await {
                    Ok(client) => drop(clients.insert(from, client)),
                    Err(error) => {
                        tracing::warn!("no socket towards {}: {error}", self.target);
                        continue;
                    }
                }
            }
            if let Some(client) = clients.get_mut(&from) {
                client.seen = now;
                self.admit(Way::Up, &buffer[..bytes], Exit::Target(Arc::clone(&client.socket)));
            }
        }
    }

    async fn new_client(self: &Arc<Self>, from: SocketAddr, readers: &mut JoinSet<()>) -> io::Result<Client> {
        let any: IpAddr =
            if self.target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = Arc::new(UdpSocket::bind((any, 0)).await?);
        make_room(&socket)?;
        socket.connect(self.target).await?;
        let (link, answers) = (Arc::clone(self), Arc::clone(&socket));
        let reader = readers.spawn(async move {
            let mut buffer = vec![0; LARGEST];
            loop {
                // An error tells that nobody listens at the target now: somebody may later.
                match answers.recv(&mut buffer).await {
                    Ok(bytes) => link.admit(Way::Down, &buffer[..bytes], Exit::Client(from)),
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        Ok(Client { socket, seen: Instant::now(), reader })
    }

    /// Takes a packet in, if the link does.
    fn admit(&self, way: Way, packet: &[u8], exit: Exit) {
        let now = Instant::now();
        let mut state = self.state();
        state.last_packet = now;
        let cut = state.cut;
        let direction = state.direction(way);
        direction.stats.in_packets += 1;
        direction.stats.in_bytes += packet.len() as u64;
        if cut {
            direction.stats.cut_packets += 1;
            return;
        }
        if direction.waiting.len() >= MAX_WAITING {
            direction.stats.queue_dropped_packets += 1;
            return;
        }
        match direction.lane.admit(now - self.started, packet.len() + self.headers, &direction.shape) {
            Ok(due) => {
                let next = direction.waiting.peek().is_none_or(|next| due.at < next.due.0.0);
                direction.hold(due, packet, &exit);
                drop(state);
                if next {
                    self.arrived[way as usize].notify_one();
                }
            }
            Err(Dropped::Queue) => direction.stats.queue_dropped_packets += 1,
            Err(Dropped::Loss) => direction.stats.lost_packets += 1,
        }
    }

    /// Gives packets out when their time has come.
    async fn give_out(&self, way: Way) {
        loop {
            match self.next(way) {
                Next::Packet(packet, exit) => {
                    let sent = match exit {
                        Exit::Target(socket) => socket.send(&packet).await,
                        Exit::Client(address) => self.socket.send_to(&packet, address).await,
                    };
                    // Nobody listens there at the moment: the packet is lost, as on a real network.
                    if let Err(error) = sent {
                        tracing::trace!("packet not delivered: {error}");
                    }
                }
                // Something that is due earlier may come meanwhile.
                Next::At(due) => drop(tokio::time::timeout_at(due, self.arrived[way as usize].notified()).await),
                Next::Nothing => self.arrived[way as usize].notified().await,
            }
        }
    }

    fn next(&self, way: Way) -> Next {
        let mut state = self.state();
        let cut = state.cut;
        let direction = state.direction(way);
        loop {
            let Some(first) = direction.waiting.peek() else { return Next::Nothing };
            let due = self.started + first.due.0.0;
            if due > Instant::now() {
                return Next::At(due);
            }
            let Some(Waiting { packet, exit, .. }) = direction.waiting.pop() else { return Next::Nothing };
            if cut {
                direction.stats.cut_packets += 1;
                continue;
            }
            direction.stats.out_packets += 1;
            direction.stats.out_bytes += packet.len() as u64;
            return Next::Packet(packet, exit);
        }
    }
}

/// Packets that wait for this process to run must not be lost: losses are the link's business.
fn make_room(socket: &UdpSocket) -> io::Result<()> {
    // Only root gets more than the system's limit.
    setsockopt(socket, RcvBufForce, &BUFFER).or_else(|_| SockRef::from(socket).set_recv_buffer_size(BUFFER))
}

enum Next {
    Packet(Box<[u8]>, Exit),
    At(Instant),
    Nothing,
}

fn forget_idle(clients: &mut HashMap<SocketAddr, Client>, now: Instant) {
    clients.retain(|_, client| {
        let used = now - client.seen < CLIENT_IDLE;
        if !used {
            client.reader.abort();
        }
        used
    });
}
