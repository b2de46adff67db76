//! The source: numbered datagrams at a constant bitrate, or at the bitrate that the sender names.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use strata_sim::scenario::{DATAGRAM, FOLLOW_INTERVAL, FOLLOW_RANGE};

use crate::datagram;

/// Datagrams of the first seconds, in which a transport learns its links, are counted apart.
const WARM: Duration = Duration::from_secs(5);
/// The end of the statistics file that surely holds a whole line.
const TAIL: u64 = 32 << 10;

/// What to send.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) to: SocketAddr,
    pub(crate) bps: u64,
    pub(crate) duration: Duration,
    /// The clock that the datagrams' times count from.
    pub(crate) clock: Instant,
    /// When the first one goes.
    pub(crate) start: Instant,
    /// The statistics whose target is followed.
    pub(crate) follow: Option<PathBuf>,
}

/// What was sent.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Sent {
    pub(crate) planned: u64,
    pub(crate) sent: u64,
    pub(crate) errors: u64,
    pub(crate) mean_bps: f64,
    /// How late the source itself was at most: of a machine that is too busy, do not believe the rest.
    pub(crate) max_lag_ms: f64,
    /// The number of the first datagram after the first seconds.
    #[serde(skip)]
    pub(crate) warm: u64,
}

/// A running source; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Source {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Sent>>,
}

impl Source {
    /// Sends from now on, in a thread of its own: nothing else may delay it.
    pub(crate) fn start(plan: Plan) -> std::io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(plan.to)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("source".into()).spawn(move || send(&socket, &plan, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Whether everything is sent.
    pub(crate) fn ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What was sent, once it is.
    pub(crate) fn finish(mut self) -> anyhow::Result<Sent> {
        let thread = self.thread.take().map(JoinHandle::join);
        thread.and_then(Result::ok).ok_or_else(|| anyhow::anyhow!("the source broke"))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn send(socket: &UdpSocket, plan: &Plan, stop: &AtomicBool) -> Sent {
    let mut sent = Sent::default();
    let mut buffer = [0; DATAGRAM];
    let (mut bps, mut due, mut read) = (plan.bps, plan.start, plan.start);
    let mut lag = Duration::ZERO;
    while due < plan.start + plan.duration && !stop.load(Ordering::Relaxed) {
        if due >= read
            && let Some(file) = &plan.follow
        {
            read += FOLLOW_INTERVAL;
            bps = newest_target(file).map_or(bps, |target| target.clamp(FOLLOW_RANGE.0, FOLLOW_RANGE.1));
        }
        // Behind its time it does not wait: what is missing goes at once.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        lag = lag.max(now - due);
        datagram::write(&mut buffer, sent.planned, now - plan.clock);
        match socket.send(&buffer) {
            Ok(_) => sent.sent += 1,
            Err(_) => sent.errors += 1,
        }
        sent.planned += 1;
        sent.warm = if due < plan.start + WARM { sent.planned } else { sent.warm };
        due += Duration::from_nanos(DATAGRAM as u64 * 8_000_000_000 / bps);
    }
    sent.max_lag_ms = (lag.as_secs_f64() * 10_000.0).round() / 10.0;
    sent.mean_bps = (sent.sent * DATAGRAM as u64 * 8) as f64 / plan.duration.as_secs_f64();
    sent
}

/// The last whole line of a file of JSON lines.
pub(crate) fn last_line(path: &Path) -> Option<serde_json::Value> {
    let mut file = File::open(path).ok()?;
    let bytes = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL))).ok()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    serde_json::from_str(text[..text.rfind('\n')?].lines().last()?).ok()
}

fn newest_target(path: &Path) -> Option<u64> {
    last_line(path)?["target_bps"].as_u64().filter(|&target| target > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_target_is_that_of_the_last_whole_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(newest_target(file.path()), None);
        std::fs::write(file.path(), "{\"target_bps\":1}\n{\"target_bps\":2}\n{\"target_b").unwrap();
        assert_eq!(newest_target(file.path()), Some(2));
    }
}
