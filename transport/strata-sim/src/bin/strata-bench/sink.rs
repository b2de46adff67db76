//! The sink: what came out, and how long each datagram took.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use crate::datagram::{self, Read};

/// Room for what comes while the sink's thread does not run; the system may grant less.
const BUFFER: usize = 16 << 20;
/// It looks this often whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// A datagram that did not come.
const MISSING: u32 = u32::MAX;

/// A running sink; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What came.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Microseconds on the way, by number.
    delays: Vec<u32>,
    duplicates: u64,
    reordered: u64,
    damaged: u64,
}

/// What the stream is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// Datagrams sent.
    pub(crate) count: u64,
    /// The first of these after the first seconds.
    pub(crate) warm: u64,
    /// A datagram that took longer is late.
    pub(crate) late_ms: f64,
}

/// What came, in numbers; times in milliseconds, those with a `w` after the first seconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Received {
    expect: u64,
    pub(crate) delivered: u64,
    lost: u64,
    lost_after_warm: u64,
    late: u64,
    late_after_warm: u64,
    dup: u64,
    reordered: u64,
    corrupt: u64,
    loss_runs: u64,
    longest_run: u64,
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
    wp50: f64,
    wp99: f64,
    wmax: f64,
}

impl Sink {
    /// Listens at a free port from now on.
    pub(crate) fn start(clock: Instant) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // Only root gets more than the system's limit.
        setsockopt(&socket, RcvBufForce, &BUFFER).or_else(|_| socket.set_recv_buffer_size(BUFFER))?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(LOOK))?;
        let (address, stop) = (socket.local_addr()?, Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("sink".into()).spawn(move || take(&socket, clock, &stopped))?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> anyhow::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().map(JoinHandle::join);
        thread.and_then(Result::ok).ok_or_else(|| anyhow::anyhow!("the sink broke"))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn take(socket: &UdpSocket, clock: Instant, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if let Ok(bytes) = socket.recv(&mut buffer) {
            seen.add(datagram::read(&buffer[..bytes]), clock.elapsed());
        }
    }
    seen
}

impl Seen {
    fn add(&mut self, datagram: Read, now: Duration) {
        let Read::Whole { number, sent } = datagram else {
            self.damaged += 1;
            return;
        };
        let at = number as usize;
        if at + 1 < self.delays.len() {
            self.reordered += 1;
        }
        if self.delays.len() <= at {
            self.delays.resize(at + 1, MISSING);
        }
        if self.delays[at] == MISSING {
            self.delays[at] = u32::try_from(now.saturating_sub(sent).as_micros()).unwrap_or(MISSING - 1);
        } else {
            self.duplicates += 1;
        }
    }

    /// Holds it against what was sent.
    pub(crate) fn judge(mut self, expected: Expected) -> Received {
        self.delays.resize(expected.count as usize, MISSING);
        let (all, steady) = (sorted(&self.delays), sorted(&self.delays[expected.warm.min(expected.count) as usize..]));
        let missing = |delays: &[u32]| delays.iter().filter(|&&delay| delay == MISSING).count() as u64;
        let late = |delays: &[f64]| delays.iter().filter(|&&delay| delay > expected.late_ms).count() as u64;
        let runs = self.delays.split(|&delay| delay != MISSING).map(<[u32]>::len).filter(|&run| run > 0);
        Received {
            expect: expected.count,
            delivered: all.len() as u64,
            lost: missing(&self.delays),
            lost_after_warm: missing(&self.delays[expected.warm.min(expected.count) as usize..]),
            late: late(&all),
            late_after_warm: late(&steady),
            dup: self.duplicates,
            reordered: self.reordered,
            corrupt: self.damaged,
            loss_runs: runs.clone().count() as u64,
            longest_run: runs.max().unwrap_or(0) as u64,
            p50: share(&all, 0.5),
            p95: share(&all, 0.95),
            p99: share(&all, 0.99),
            max: share(&all, 1.0),
            wp50: share(&steady, 0.5),
            wp99: share(&steady, 0.99),
            wmax: share(&steady, 1.0),
        }
    }
}

/// The delays of what came, in milliseconds.
fn sorted(delays: &[u32]) -> Vec<f64> {
    let mut came: Vec<u32> = delays.iter().copied().filter(|&delay| delay != MISSING).collect();
    came.sort_unstable();
    came.into_iter().map(|delay| f64::from(delay) / 1000.0).collect()
}

/// The delay that a share of all did not exceed; −1 if nothing came.
fn share(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(-1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_late_twice_and_overtaken_datagrams_are_counted() {
        let mut seen = Seen::default();
        let came = |number| Read::Whole { number, sent: Duration::from_millis(number) };
        for (number, took) in [(0, 50), (2, 50), (1, 50), (2, 60), (6, 500)] {
            seen.add(came(number), Duration::from_millis(number + took));
        }
        seen.add(Read::Damaged, Duration::from_secs(1));
        let received = seen.judge(Expected { count: 8, warm: 4, late_ms: 100.0 });
        assert_eq!((received.delivered, received.lost, received.lost_after_warm), (4, 4, 3));
        assert_eq!((received.late, received.dup, received.reordered, received.corrupt), (1, 1, 1, 1));
        assert_eq!((received.loss_runs, received.longest_run), (2, 3));
        assert!((received.p50 - 50.0).abs() < 0.1 && (received.max - 500.0).abs() < 0.1);
    }
}
