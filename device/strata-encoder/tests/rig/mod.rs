//! A running encoder with an agent's end of its socket and a real receiver of the bond.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

pub(crate) mod media;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_control::{
    BitrateBounds, EncoderSettings, EncoderState, EndReason, FrameRate, ReceiveAddress, Source, StreamEnded,
    StreamStart, StreamStats,
};
use strata_encoder_protocol::{EncoderCommand, EncoderConfig, EncoderEvent, EncoderLink};
use strata_identity::KeyPair;
use strata_link::{Receiver, ReceiverConfig};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// Generous: the machine may be busy with much else.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// Small and cheap to encode, wide enough for the timecode.
pub(crate) fn settings() -> EncoderSettings {
    EncoderSettings {
        bitrate: BitrateBounds { floor_bps: 300_000, target_bps: 1_000_000, ceiling_bps: 1_500_000 },
        width: 640,
        height: 360,
        frame_rate: FrameRate::per_second(25),
        latency_ms: 500,
        ..EncoderSettings::default()
    }
}

/// The receiving end, as a worker has it.
pub(crate) struct Worker {
    pub receiver: Arc<Receiver>,
    pub received: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

/// Everything a test needs.
pub(crate) struct Rig {
    pub folder: TempDir,
    pub config: EncoderConfig,
    pub worker: Worker,
    pub child: Option<Child>,
    environment: Vec<(String, String)>,
}

/// An agent's end of the socket.
pub(crate) struct Agent {
    lines: Lines<BufReader<OwnedReadHalf>>,
    pub write: OwnedWriteHalf,
    /// Every event so far.
    pub seen: Vec<EncoderEvent>,
}

impl Rig {
    pub(crate) async fn new(source: Source) -> Self {
        Self::with_settings(source, settings()).await
    }

    pub(crate) async fn with_settings(source: Source, settings: EncoderSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (device, worker_key) = (KeyPair::generate(), KeyPair::generate());
        let key_file = folder.path().join("device.key");
        device.write_new(&key_file).unwrap();
        let worker = Worker::start(&device, worker_key.clone()).await;
        let stream_id = "0199a0c0-0000-7000-8000-000000000001".parse().unwrap();
        let remote = worker.receiver.local_addr();
        let start = StreamStart {
            stream_id,
            source: source.clone(),
            encoder: settings,
            receive: ReceiveAddress { host: "127.0.0.1".to_owned(), ports: vec![remote.port()] },
            worker_key: worker_key.public(),
            links: vec![],
            record_locally: false,
        };
        let config = EncoderConfig {
            stream_id,
            socket: folder.path().join("run/encoder.sock"),
            key_file,
            worker_key: worker_key.public(),
            source,
            settings,
            links: vec![EncoderLink { id: 0, interface: "simulated0".to_owned(), bind: false, remote }],
            start,
            record_to: None,
            orphan_timeout_s: 60,
        };
        Self { folder, config, worker, child: None, environment: vec![] }
    }

    pub(crate) fn environment(&mut self, name: &str, value: impl AsRef<Path>) {
        self.environment.push((name.to_owned(), value.as_ref().to_str().unwrap().to_owned()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the process and gives it its configuration.
    pub(crate) async fn spawn(&mut self) {
        let line = serde_json::to_string(&self.config).unwrap() + "\n";
        self.spawn_with(line.as_bytes()).await;
    }

    pub(crate) async fn spawn_with(&mut self, input: &[u8]) {
        let log = std::fs::File::create(self.path("encoder.log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_strata-encoder"))
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input).await.unwrap();
        drop(stdin);
        self.child = Some(child);
    }

    /// Connects as an agent, as soon as the socket is there.
    pub(crate) async fn connect(&self) -> Agent {
        let connect = async {
            loop {
                match UnixStream::connect(&self.config.socket).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let stream = tokio::time::timeout(LIMIT, connect).await.unwrap_or_else(|_| panic!("no socket: {}", self.log()));
        let (read, write) = stream.into_split();
        Agent { lines: BufReader::new(read).lines(), write, seen: vec![] }
    }

    /// Starts it and waits until pictures flow.
    pub(crate) async fn run(&mut self) -> Agent {
        self.spawn().await;
        let mut agent = self.connect().await;
        agent.state(EncoderState::Running).await;
        agent
    }

    /// Waits for the process's end and gives its exit code.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let status = tokio::time::timeout(LIMIT, child.wait()).await.expect("the process ends").unwrap();
        status.code()
    }

    /// Stops the stream as a user does.
    pub(crate) async fn stop(&mut self, agent: &mut Agent) -> StreamEnded {
        let detail = "stopped by ann".to_owned();
        agent.send(&EncoderCommand::Stop { reason: EndReason::StoppedByUser, detail }).await;
        let ended = agent.ended().await;
        assert_eq!(self.exit_code().await, Some(0), "{}", self.log());
        ended
    }

    /// Waits until the worker has this much more media, in bytes.
    pub(crate) async fn receive_more(&self, bytes: usize) {
        let goal = self.worker.len() + bytes;
        let grow = async {
            while self.worker.len() < goal {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, grow).await.unwrap_or_else(|_| panic!("media stands still: {}", self.log()));
    }

    /// What the worker received, as a file.
    pub(crate) async fn received(&self) -> PathBuf {
        // What was sent last is released one latency later.
        tokio::time::sleep(Duration::from_millis(u64::from(self.config.settings.latency_ms) + 200)).await;
        let path = self.path("received.ts");
        std::fs::write(&path, &*self.worker.received.lock().unwrap()).unwrap();
        path
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("encoder.log")).unwrap_or_default()
    }
}

impl Worker {
    async fn start(device: &KeyPair, identity: KeyPair) -> Self {
        let config = ReceiverConfig {
            identity,
            allow: device.public(),
            listen: "127.0.0.1:0".parse().unwrap(),
            latency: Duration::from_millis(500),
        };
        let receiver = Arc::new(Receiver::bind(config).await.unwrap());
        let received = Arc::new(Mutex::new(vec![]));
        let (from, to) = (Arc::clone(&receiver), Arc::clone(&received));
        let task = tokio::spawn(async move {
            while let Some(datagram) = from.recv().await {
                to.lock().unwrap().extend_from_slice(&datagram.payload);
            }
        });
        Self { receiver, received, task }
    }

    pub(crate) fn len(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Agent {
    pub(crate) async fn send(&mut self, command: &EncoderCommand) {
        self.send_raw(&(serde_json::to_string(command).unwrap() + "\n")).await;
    }

    pub(crate) async fn send_raw(&mut self, text: &str) {
        self.write.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next event; none at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<EncoderEvent> {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("no event; seen: {:#?}", self.seen)).ok().flatten()?;
        let event: EncoderEvent = serde_json::from_str(&line).unwrap();
        self.seen.push(event.clone());
        Some(event)
    }

    /// Waits for the event that `find` picks.
    pub(crate) async fn wait<T>(&mut self, mut find: impl FnMut(&EncoderEvent) -> Option<T>) -> T {
        let search = async {
            while let Some(event) = self.next().await {
                if let Some(found) = find(&event) {
                    return Some(found);
                }
            }
            None
        };
        let found = tokio::time::timeout(LIMIT, search).await.ok().flatten();
        found.unwrap_or_else(|| panic!("not among the events: {:#?}", self.seen))
    }

    /// Waits until the stream is in this state, at once when it says so in its greeting.
    pub(crate) async fn state(&mut self, wanted: EncoderState) -> String {
        self.wait(|event| match event {
            EncoderEvent::State { state, detail } if *state == wanted => Some(detail.clone()),
            EncoderEvent::Hello { state, .. } if *state == wanted => Some(String::new()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn stats(&mut self, mut good: impl FnMut(&StreamStats) -> bool) -> StreamStats {
        self.wait(|event| match event {
            EncoderEvent::Stats { stats } if good(stats) => Some(stats.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn ended(&mut self) -> StreamEnded {
        self.wait(|event| match event {
            EncoderEvent::Ended { ended } => Some(ended.clone()),
            _ => None,
        })
        .await
    }

    /// Switches and gives the answer.
    pub(crate) async fn switch(&mut self, source: Source) -> EncoderEvent {
        self.send(&EncoderCommand::SwitchSource { source }).await;
        self.wait(|event| matches!(event, EncoderEvent::SourceSwitched { .. }).then(|| event.clone())).await
    }
}
