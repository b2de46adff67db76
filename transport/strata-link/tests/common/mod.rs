//! Two real `strata-bond` processes, emulated links between them, a source and a sink.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strata_identity::KeyPair;
use strata_link::{ReceiverStats, SenderStats};
use strata_netem::Emulator;
use strata_netem::protocol::{Config, LinkSpec, Shape};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Long enough for a machine that does eight other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long the soaks stream; the contract is 60 s for every change, 30 minutes now and then.
pub(crate) fn soak() -> Duration {
    let seconds =
        std::env::var("STRATA_SOAK_S").ok().map_or(15, |text| text.parse().expect("STRATA_SOAK_S is a number"));
    Duration::from_secs(seconds)
}

pub(crate) fn shape(rate_kbps: u64, delay_ms: f64, loss_percent: f64) -> Shape {
    Shape { rate_kbps, delay_ms, loss_percent, ..Shape::default() }
}

/// A folder with both ends' keys.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) sender_key: KeyPair,
    pub(crate) receiver_key: KeyPair,
}

/// A running `strata-bond`.
pub(crate) struct Process {
    pub(crate) child: Child,
    log: Arc<std::sync::Mutex<String>>,
}

impl Process {
    fn spawn(arguments: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_strata-bond"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::new(std::sync::Mutex::new(String::new()));
        let (lines, copy) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        tokio::spawn(async move {
            let mut lines = lines.lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut copy = copy.lock().unwrap();
                copy.push_str(&line);
                copy.push('\n');
            }
        });
        Self { child, log }
    }

    /// The memory it occupies now, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log says `text`.
    pub(crate) async fn says(&self, text: &str) {
        until(&format!("the log to say “{text}”"), || self.log().contains(text), || self.log()).await;
    }

    /// Ends it as a service manager would, and checks that it ends cleanly.
    pub(crate) async fn terminate(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().unwrap().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends on SIGTERM").unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// Waits for a state, with a generous limit.
pub(crate) async fn until(what: &str, reached: impl Fn() -> bool, describe: impl Fn() -> String) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}: {}", describe());
        sleep(Duration::from_millis(20)).await;
    }
}

/// A loopback port that is free now.
pub(crate) fn free_port() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Links to `target`, in this process.
pub(crate) async fn links(target: SocketAddr, shapes: &[Shape]) -> Emulator {
    let listen = "127.0.0.1:0".parse().unwrap();
    let links = shapes.iter().map(|&shape| LinkSpec { listen, target, shape, down: None, trace: None }).collect();
    Emulator::start(&Config { seed: 1, links, control: None, exit_idle_s: None }).await.unwrap()
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sender_key, receiver_key) = (KeyPair::generate(), KeyPair::generate());
        sender_key.write_new(&folder.path().join("send.key")).unwrap();
        receiver_key.write_new(&folder.path().join("receive.key")).unwrap();
        Self { folder, sender_key, receiver_key }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn receive(&self, listen: SocketAddr, output: SocketAddr, latency: &str) -> Process {
        Process::spawn(&[
            "receive".into(),
            format!("--key={}", self.text("receive.key")),
            format!("--allow={}", self.sender_key.public()),
            format!("--listen={listen}"),
            format!("--output=udp://{output}"),
            format!("--latency={latency}"),
            format!("--stats={}", self.text("receive.jsonl")),
            "--stats-interval=100ms".into(),
        ])
    }

    pub(crate) fn send(&self, input: SocketAddr, links: &[SocketAddr], latency: &str) -> Process {
        let mut arguments = vec![
            "send".into(),
            format!("--key={}", self.text("send.key")),
            format!("--peer={}", self.receiver_key.public()),
            format!("--input=udp://{input}"),
            format!("--latency={latency}"),
            format!("--stats={}", self.text("send.jsonl")),
            "--stats-interval=100ms".into(),
        ];
        arguments.extend(links.iter().map(|link| format!("--link={link}")));
        Process::spawn(&arguments)
    }

    pub(crate) fn sender_stats(&self) -> Option<SenderStats> {
        last_line(&self.path("send.jsonl"))
    }

    pub(crate) fn receiver_stats(&self) -> Option<ReceiverStats> {
        last_line(&self.path("receive.jsonl"))
    }

    /// Waits until the sender's statistics show what is asked for.
    pub(crate) async fn sender_shows(&self, what: &str, reached: impl Fn(&SenderStats) -> bool) {
        let describe = || format!("{:#?}", self.sender_stats());
        until(what, || self.sender_stats().as_ref().is_some_and(&reached), describe).await;
    }
}

/// The last whole line of a statistics file.
fn last_line<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let text = std::fs::read_to_string(path).ok()?;
    let whole = &text[..=text.rfind('\n')?];
    serde_json::from_str(whole.lines().last()?).ok()
}

/// Sends numbered datagrams of changing sizes at a bitrate, as long as it lives.
pub(crate) struct Source {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Instant>>,
}

/// What datagram `number` holds.
pub(crate) fn payload(number: u64) -> Vec<u8> {
    let bytes = 1316 - usize::try_from(number % 7).unwrap() * 188 / 4;
    let mut payload = number.to_be_bytes().to_vec();
    payload.extend((8..bytes).map(|at| (number.wrapping_mul(31).wrapping_add(at as u64) % 251) as u8));
    payload
}

impl Source {
    pub(crate) fn start(to: SocketAddr, bps: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let (start, mut bits, mut sent) = (Instant::now(), 0u64, Vec::new());
            while !stopped.load(Ordering::SeqCst) {
                let payload = payload(sent.len() as u64);
                sent.push(Instant::now());
                socket.send_to(&payload, to).await.unwrap();
                bits += payload.len() as u64 * 8;
                tokio::time::sleep_until(start + Duration::from_micros(bits * 1_000_000 / bps)).await;
            }
            sent
        });
        Self { stop, task }
    }

    /// Stops and says how many datagrams were sent.
    pub(crate) async fn stop(self) -> u64 {
        self.stop_and_tell_when().await.len() as u64
    }

    /// Stops and says when each datagram was sent.
    pub(crate) async fn stop_and_tell_when(self) -> Vec<Instant> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

/// Takes datagrams and keeps their numbers and when they came; a payload that was changed is a failure.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    taken: Arc<std::sync::Mutex<Vec<(u64, Instant)>>>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        socket.set_recv_buffer_size(4 << 20).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let socket = UdpSocket::from_std(socket.into()).unwrap();
        let address = socket.local_addr().unwrap();
        let taken = Arc::new(std::sync::Mutex::new(Vec::new()));
        let copy = Arc::clone(&taken);
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let bytes = socket.recv(&mut buffer).await.unwrap();
                let number = u64::from_be_bytes(buffer[..8].try_into().unwrap());
                assert_eq!(buffer[..bytes], payload(number), "datagram {number} was changed");
                copy.lock().unwrap().push((number, Instant::now()));
            }
        });
        Self { address, taken }
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.taken.lock().unwrap().iter().map(|&(number, _)| number).collect()
    }

    /// The numbers and when each came.
    pub(crate) fn taken(&self) -> Vec<(u64, Instant)> {
        self.taken.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// Waits until at least `count` datagrams have come.
    pub(crate) async fn has(&self, count: usize) {
        until(&format!("{count} datagrams"), || self.count() >= count, || self.count().to_string()).await;
    }
}

/// Runs `strata-bond` to its end and returns what it said.
pub(crate) async fn fails(arguments: &[&str]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_strata-bond")).args(arguments).output();
    let output = timeout(PATIENCE, run).await.expect("it ends by itself").unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}
