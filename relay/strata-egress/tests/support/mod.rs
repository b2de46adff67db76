//! A real worker process, a real sender, real media.

#![allow(dead_code, clippy::unwrap_used, reason = "test code; each test file uses its part of it")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use strata_identity::KeyPair;
use strata_link::{LinkConfig, Sender, SenderConfig};
use strata_media::Scanner;
use strata_worker_protocol::{ForwardDestination, WorkerCommand, WorkerConfig, WorkerEvent, WorkerKey, WorkerStats};

const DATAGRAM_BYTES: usize = 7 * 188;
/// Generous: the machine may be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const LATENCY: Duration = Duration::from_millis(200);

/// Waits until `check` gives something.
pub(crate) fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One stream: its folder, keys and port.
pub(crate) struct Stream {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) device: KeyPair,
    pub(crate) config: WorkerConfig,
}

impl Stream {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (device, worker) = (KeyPair::generate(), KeyPair::generate());
        let config = WorkerConfig {
            stream_id: uuid::Uuid::now_v7().to_string().parse().unwrap(),
            socket: folder.path().join("run/worker.sock"),
            listen: free_address(),
            key: WorkerKey::new(&worker),
            allow: device.public(),
            latency_ms: u32::try_from(LATENCY.as_millis()).unwrap(),
            hls_folder: folder.path().join("hls/stream"),
            destinations: Vec::new(),
            orphan_timeout_s: 60,
        };
        Self { folder, device, config }
    }

    pub(crate) fn hls(&self) -> &Path {
        &self.config.hls_folder
    }

    pub(crate) fn playlist_path(&self) -> PathBuf {
        self.hls().join("index.m3u8")
    }

    pub(crate) fn playlist(&self) -> Option<m3u8_rs::MediaPlaylist> {
        let text = std::fs::read(self.playlist_path()).ok()?;
        Some(m3u8_rs::parse_media_playlist_res(&text).expect("the playlist is valid at any time"))
    }
}

/// A UDP address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A worker process and the relay's connection to it.
pub(crate) struct Worker {
    pub(crate) child: Child,
    log: PathBuf,
    relay: Option<Relay>,
}

pub(crate) struct Relay {
    stream: UnixStream,
    pub(crate) events: Receiver<WorkerEvent>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- the worker's log:\n{}", self.log());
        }
    }
}

impl Worker {
    pub(crate) fn spawn(stream: &Stream) -> Self {
        Self::spawn_with(stream, &[])
    }

    pub(crate) fn spawn_with(stream: &Stream, environment: &[(&str, &Path)]) -> Self {
        let mut line = serde_json::to_vec(&stream.config).unwrap();
        line.push(b'\n');
        Self::spawn_line(stream.folder.path(), &line, environment)
    }

    pub(crate) fn spawn_line(folder: &Path, line: &[u8], environment: &[(&str, &Path)]) -> Self {
        let log = folder.join("worker.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_strata-egress"))
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(line).unwrap();
        Self { child, log, relay: None }
    }

    /// Spawns a worker and connects to it.
    pub(crate) fn start(stream: &Stream) -> Self {
        let mut worker = Self::spawn(stream);
        worker.connect(stream);
        let ready = worker.wait_event("ready", |event| matches!(event, WorkerEvent::Ready { .. }));
        let WorkerEvent::Ready { stream_id, pid, listen, key } = ready else { unreachable!() };
        assert_eq!((stream_id, pid, listen), (stream.config.stream_id, worker.child.id(), stream.config.listen));
        assert_eq!(key, stream.config.key.key_pair().unwrap().public());
        worker
    }

    pub(crate) fn connect(&mut self, stream: &Stream) {
        let connection = wait_for("the socket", || UnixStream::connect(&stream.config.socket).ok());
        self.relay = Some(Relay::new(connection));
    }

    pub(crate) fn relay(&self) -> &Relay {
        self.relay.as_ref().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn send(&self, command: &WorkerCommand) {
        let mut line = serde_json::to_vec(command).unwrap();
        line.push(b'\n');
        self.send_bytes(&line);
    }

    pub(crate) fn send_bytes(&self, bytes: &[u8]) {
        (&self.relay().stream).write_all(bytes).unwrap();
    }

    /// The next event that fits.
    pub(crate) fn wait_event(&self, what: &str, fits: impl Fn(&WorkerEvent) -> bool) -> WorkerEvent {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.relay().events.recv_timeout(left);
            let event = event.unwrap_or_else(|error| panic!("no event {what}: {error}"));
            if fits(&event) {
                return event;
            }
        }
    }

    pub(crate) fn wait_error(&self, part: &str) -> String {
        let fits = |event: &WorkerEvent| matches!(event, WorkerEvent::Error { message, .. } if message.contains(part));
        let WorkerEvent::Error { message, .. } = self.wait_event(part, fits) else { unreachable!() };
        message
    }

    /// The next statistics that fit.
    pub(crate) fn wait_stats(&self, what: &str, fits: impl Fn(&WorkerStats) -> bool) -> WorkerStats {
        let event = self.wait_event(what, |event| matches!(event, WorkerEvent::Stats { stats } if fits(stats)));
        let WorkerEvent::Stats { stats } = event else { unreachable!() };
        stats
    }

    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the worker's end", || child.try_wait().unwrap())
    }

    pub(crate) fn stop(&mut self) {
        self.send(&WorkerCommand::Stop);
        self.wait_event("stopped", |event| *event == WorkerEvent::Stopped);
        assert!(self.wait_exit().success());
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Relay {
    pub(crate) fn new(stream: UnixStream) -> Self {
        let (sender, events) = channel();
        let reader = BufReader::new(stream.try_clone().unwrap());
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("the worker speaks the protocol");
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { stream, events }
    }
}

/// A transport stream with moving pictures (25/s, a key frame each second) and a tone, made by ffmpeg.
pub(crate) fn media(seconds: u32) -> Vec<u8> {
    let duration = seconds.to_string();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", &duration])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-bf", "0"])
        .args(["-c:a", "aac", "-f", "mpegts", "-"])
        .output()
        .expect("ffmpeg is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Sends media through the bond, paced by its own timestamps.
pub(crate) struct Device {
    runtime: tokio::runtime::Runtime,
    sender: Arc<Sender>,
}

impl Device {
    pub(crate) fn start(stream: &Stream) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let link = LinkConfig { id: 0, name: "lo".into(), remote: stream.config.listen, interface: None };
        let config = SenderConfig {
            identity: stream.device.clone(),
            peer: stream.config.key.key_pair().unwrap().public(),
            latency: LATENCY,
            links: vec![link],
        };
        let sender = {
            let _context = runtime.enter();
            Arc::new(Sender::start(config).unwrap())
        };
        let device = Self { runtime, sender };
        wait_for("the link", || {
            let stats = device.sender.stats();
            stats.links.iter().any(|link| link.state == strata_link::LinkState::Up).then_some(())
        });
        device
    }

    /// Sends all of it at `speed` times its own pace, in the background.
    pub(crate) fn feed(&self, media: &[u8], speed: f64) -> tokio::task::JoinHandle<()> {
        let sender = Arc::clone(&self.sender);
        let datagrams = schedule(media);
        self.runtime.spawn(async move {
            let start = tokio::time::Instant::now();
            for (at, datagram) in datagrams {
                tokio::time::sleep_until(start + at.div_f64(speed)).await;
                sender.send(datagram).ok();
            }
        })
    }

    /// Sends all of it and waits for that; how many datagrams it was.
    pub(crate) fn feed_all(&self, media: &[u8], speed: f64) -> u64 {
        let task = self.feed(media, speed);
        self.runtime.block_on(task).unwrap();
        media.len().div_ceil(DATAGRAM_BYTES) as u64
    }

    pub(crate) fn close(self) {
        let sender = Arc::clone(&self.sender);
        self.runtime.block_on(async move { sender.close().await });
    }
}

/// Each datagram with the time at which a live encoder would send it.
fn schedule(media: &[u8]) -> Vec<(Duration, Bytes)> {
    let mut scanner = Scanner::default();
    let (mut first, mut now) = (None, Duration::ZERO);
    let mut datagrams = Vec::new();
    for chunk in media.chunks(DATAGRAM_BYTES) {
        scanner.push(chunk, |scanned, _| {
            if let Some(unit) = scanned.unit.filter(|unit| unit.is_video) {
                now = unit.dts.since(*first.get_or_insert(unit.dts)).to_duration();
            }
        });
        datagrams.push((now, Bytes::copy_from_slice(chunk)));
    }
    datagrams
}

/// Presentation times of a stream's packets, in seconds, as a player reads them.
pub(crate) fn packet_times(input: &Path, kind: &str) -> Vec<f64> {
    if !input.exists() {
        return Vec::new();
    }
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", kind, "-show_entries", "packet=pts_time", "-of", "csv=p=0"])
        .arg(input)
        .output()
        .expect("ffprobe is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

pub(crate) fn destination(id: &str, url: &str, key: Option<&str>) -> ForwardDestination {
    let key = key.map(strata_control::Sensitive::new);
    ForwardDestination { id: id.to_owned(), url: url.to_owned(), key }
}
