//! A relay without HTTP, people of two owners, and a device that speaks the control protocol to it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use strata_control::{
    AgentInfo, AuthLogin, AuthLoginResponse, CommandResult, Credential, DeviceId, DeviceMessage, DeviceStatus,
    ENROL_CONTEXT, EncoderState, Envelope, LOGIN_CONTEXT, LogChunk, MessageId, Refusal, RefusedCode, RelayMessage,
    RunningStream, Sensitive, Source, StreamId,
};
use strata_fleet::admin::{AddUser, add_user};
use strata_fleet::{
    Actor, AgentConnection, AgentOutbox, EnrolmentToken, Fleet, FleetConfig, Outgoing, Role, StartStream, StreamFilter,
    StreamState, StreamView, UpdateDevice,
};
use strata_identity::KeyPair;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub const PASSWORD: &str = "correct horse battery";
pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Generous: the machine may be busy with everything else.
const LIMIT: Duration = Duration::from_secs(60);

/// Polls until there is something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// A relay's folder and configuration.
pub struct Bench {
    pub config: FleetConfig,
    _folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        // Shown by the test runner when a test fails.
        tracing_subscriber::fmt().with_env_filter("strata_fleet=debug").with_test_writer().try_init().ok();
        let folder = tempfile::Builder::new().prefix("fleet").tempdir().unwrap();
        let mut config = FleetConfig::local(folder.path(), &stand_in_worker());
        let first = free_ports();
        config.worker_ports = first..=first + 9;
        Self { config, _folder: folder }
    }

    pub async fn open(&self) -> Fleet {
        Fleet::open(self.config.clone()).await.unwrap()
    }

    /// A person of an owner.
    pub async fn person(&self, fleet: &Fleet, role: Role, owner: &str) -> Actor {
        let email = format!("{role}@{owner}.example");
        let add = AddUser { email: email.clone(), password: PASSWORD.into(), role, owner: owner.to_owned() };
        add_user(&self.config, add).await.unwrap();
        fleet.login(&email, &PASSWORD.into(), Some(LOCALHOST)).await.unwrap().actor
    }

    /// The process of a stream's worker, as it says itself.
    pub async fn worker_pid(&self, stream: StreamId) -> Option<i32> {
        // The stand-in serves one connection at a time, and the relay has it: the socket's owner tells.
        let path = self.config.run_dir.join(format!("worker-{stream}.sock"));
        processes_with_socket(&path)
    }
}

/// Ten UDP ports that were free a moment ago, others for each test and, as far as it can be, for each test process.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 200).unwrap();
    (0..2_000)
        .map(|_| 20_000 + (process * 10 + NEXT.fetch_add(1, Ordering::Relaxed)) % 2_000 * 10)
        .find(|first| (*first..first + 10).all(|port| UdpSocket::bind((LOCALHOST, port)).is_ok()))
        .unwrap()
}

fn stand_in_worker() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("examples/stand_in_worker");
    assert!(program.is_file(), "{} is missing: cargo builds it with the tests", program.display());
    program
}

/// The stand-in worker whose configuration names this socket: it is the one that listens there.
fn processes_with_socket(path: &Path) -> Option<i32> {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let path = path.to_str().unwrap();
    let listening =
        table.lines().find(|line| line.ends_with(path) && line.split_whitespace().nth(3) == Some("00010000"))?;
    let inode = format!("socket:[{}]", listening.split_whitespace().nth(6)?);
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|process| {
        let pid: i32 = process.file_name().to_str()?.parse().ok()?;
        let holds =
            |file: std::fs::DirEntry| std::fs::read_link(file.path()).is_ok_and(|link| link == Path::new(&inode));
        std::fs::read_dir(process.path().join("fd")).ok()?.flatten().any(holds).then_some(pid)
    })
}

fn agent() -> AgentInfo {
    AgentInfo {
        agent_version: "test".to_owned(),
        hostname: "test".to_owned(),
        arch: "x86_64".to_owned(),
        image_version: None,
        booted_slot: None,
    }
}

pub fn frame(id: MessageId, message: DeviceMessage) -> String {
    Envelope::new(id, Timestamp::now(), message).encode().unwrap()
}

fn new_id() -> MessageId {
    MessageId(Uuid::now_v7())
}

async fn say(connection: &mut AgentConnection, credential: Credential) {
    let login = DeviceMessage::AuthLogin(AuthLogin { credential, agent: agent() });
    connection.receive(&frame(new_id(), login)).await;
}

async fn login_answer(outbox: &mut AgentOutbox) -> AuthLoginResponse {
    let Outgoing::Text(text) = outbox.next().await else { panic!("closed instead of an answer") };
    match Envelope::<RelayMessage>::decode(&text).unwrap().message {
        RelayMessage::AuthLoginResponse(response) => response,
        other => panic!("{other:?} instead of an answer to the login"),
    }
}

/// Presents a token; the answer says what came of it.
pub async fn present_token(fleet: &Fleet, token: &str, key: &KeyPair, signer: &KeyPair) -> AuthLoginResponse {
    let (mut connection, mut outbox) = fleet.accept_agent(LOCALHOST);
    let credential = Credential::EnrolmentToken {
        token: Sensitive::new(token),
        public_key: key.public(),
        proof: signer.sign(ENROL_CONTEXT, token.as_bytes()),
    };
    say(&mut connection, credential).await;
    let answer = login_answer(&mut outbox).await;
    connection.closed().await;
    answer
}

pub fn refusal(answer: AuthLoginResponse) -> Refusal {
    match answer {
        AuthLoginResponse::Refused { reason, .. } => reason,
        other => panic!("{other:?} instead of a refusal"),
    }
}

/// What a device saw and has.
#[derive(Default)]
pub struct Seen {
    pub running: Vec<StreamId>,
    pub commands: Vec<RelayMessage>,
    pub closed: Option<String>,
    /// What it says to commands for itself (update, reboot …).
    pub maintenance: Answers,
    /// What it sends when it is asked for its log, after it said that it will.
    pub log: Vec<LogChunk>,
}

/// How a device answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Answers {
    #[default]
    Done,
    Refuses(&'static str),
    Nothing,
}

/// A device that obeys: it says that it runs what it was told to.
pub struct Device {
    pub id: DeviceId,
    pub key: KeyPair,
    pub seen: Arc<Mutex<Seen>>,
    outgoing: Option<mpsc::Sender<(MessageId, DeviceMessage)>>,
    task: Option<JoinHandle<()>>,
}

impl Device {
    /// Not connected: an identifier and a key, wherever they are from.
    pub fn with(id: DeviceId, key: KeyPair) -> Self {
        Self { id, key, seen: Arc::default(), outgoing: None, task: None }
    }

    /// A device that is enrolled and connected, with its first status sent.
    pub async fn enrolled(fleet: &Fleet, admin: &Actor, name: &str) -> Self {
        use secrecy::ExposeSecret;
        let (id, EnrolmentToken { token, .. }) = fleet.create_device(admin, name).await.unwrap();
        let key = KeyPair::generate();
        let answer = present_token(fleet, token.expose_secret(), &key, &key).await;
        assert!(matches!(answer, AuthLoginResponse::Enrolled { device_id, .. } if device_id == id), "{answer:?}");
        let mut device = Self::with(id, key);
        device.connect(fleet).await.unwrap();
        device.report().await;
        device
    }

    /// Logs in with its key.
    pub async fn connect(&mut self, fleet: &Fleet) -> Result<(), Refusal> {
        let key = self.key.clone();
        self.connect_with(fleet, &key).await
    }

    pub async fn connect_with(&mut self, fleet: &Fleet, key: &KeyPair) -> Result<(), Refusal> {
        let (mut connection, mut outbox) = fleet.accept_agent(LOCALHOST);
        say(&mut connection, Credential::Hello { device_id: self.id }).await;
        let challenge = match login_answer(&mut outbox).await {
            AuthLoginResponse::Challenge { challenge } => challenge,
            other => return Err(refusal(other)),
        };
        let signature = key.sign(LOGIN_CONTEXT, format!("{challenge}{}", self.id).as_bytes());
        say(&mut connection, Credential::ChallengeAnswer { device_id: self.id, signature }).await;
        match login_answer(&mut outbox).await {
            AuthLoginResponse::Accepted { .. } => {}
            other => return Err(refusal(other)),
        }
        let (outgoing, incoming) = mpsc::channel(16);
        self.outgoing = Some(outgoing);
        self.seen.lock().unwrap().closed = None;
        self.task = Some(tokio::spawn(talk(connection, outbox, incoming, self.seen.clone())));
        Ok(())
    }

    /// Closes its connection.
    pub async fn disconnect(&mut self) {
        self.outgoing = None;
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }

    pub async fn say(&self, message: DeviceMessage) {
        self.outgoing.as_ref().unwrap().send((new_id(), message)).await.unwrap();
    }

    /// Says what it runs, as it does every 10 s.
    pub async fn report(&self) {
        let running = self.seen.lock().unwrap().running.clone();
        let running_streams = running.into_iter().map(running_stream).collect();
        self.say(DeviceMessage::DeviceStatus(DeviceStatus { running_streams, ..DeviceStatus::default() })).await;
    }

    pub fn commands(&self) -> Vec<RelayMessage> {
        self.seen.lock().unwrap().commands.clone()
    }

    pub fn was_closed(&self) -> Option<String> {
        self.seen.lock().unwrap().closed.clone()
    }
}

fn running_stream(stream_id: StreamId) -> RunningStream {
    RunningStream {
        stream_id,
        state: EncoderState::Running,
        source: Source::TestPattern,
        started_at: Timestamp::now(),
        restarts: 0,
        last_restart: None,
    }
}

async fn talk(
    mut connection: AgentConnection,
    mut outbox: AgentOutbox,
    mut incoming: mpsc::Receiver<(MessageId, DeviceMessage)>,
    seen: Arc<Mutex<Seen>>,
) {
    loop {
        let replies = tokio::select! {
            message = incoming.recv() => match message {
                Some(message) => vec![message],
                None => break,
            },
            outgoing = outbox.next() => match outgoing {
                Outgoing::Text(text) => obey(&text, &seen),
                Outgoing::Close { reason } => {
                    seen.lock().unwrap().closed = Some(reason);
                    break;
                }
            },
        };
        for (id, message) in replies {
            connection.receive(&frame(id, message)).await;
            connection.tick();
        }
    }
    connection.closed().await;
}

fn obey(text: &str, seen: &Mutex<Seen>) -> Vec<(MessageId, DeviceMessage)> {
    let envelope = Envelope::<RelayMessage>::decode(text).unwrap();
    let mut seen = seen.lock().unwrap();
    seen.commands.push(envelope.message.clone());
    let done = CommandResult::Done;
    let reply = match envelope.message {
        RelayMessage::StreamStart(start) => {
            seen.running.retain(|id| *id != start.stream_id);
            seen.running.push(start.stream_id);
            DeviceMessage::StreamStartResponse(done)
        }
        RelayMessage::StreamStop(stop) => {
            seen.running.retain(|id| *id != stop.stream_id);
            DeviceMessage::StreamStopResponse(done)
        }
        RelayMessage::SourceSwitch(_) => DeviceMessage::SourceSwitchResponse(done),
        RelayMessage::ConfigUpdate(_) => DeviceMessage::ConfigUpdateResponse(done),
        message => {
            let Some(reply) = maintain(&message, &seen.maintenance) else { return vec![] };
            let mut replies = vec![(envelope.id, reply)];
            if matches!(message, RelayMessage::LogRequest(_)) {
                let chunks = seen.log.iter().map(|chunk| LogChunk { request_id: envelope.id, ..chunk.clone() });
                replies.extend(chunks.map(|chunk| (new_id(), DeviceMessage::LogChunk(chunk))));
            }
            return replies;
        }
    };
    vec![(envelope.id, reply)]
}

fn maintain(message: &RelayMessage, answers: &Answers) -> Option<DeviceMessage> {
    let result = match answers {
        Answers::Done => CommandResult::Done,
        Answers::Refuses(why) => CommandResult::Refused { code: RefusedCode::Busy, message: (*why).to_owned() },
        Answers::Nothing => return None,
    };
    match message {
        RelayMessage::AgentUpdate(_) => Some(DeviceMessage::AgentUpdateResponse(result)),
        RelayMessage::AgentRollback(_) => Some(DeviceMessage::AgentRollbackResponse(result)),
        RelayMessage::DeviceReboot(_) => Some(DeviceMessage::DeviceRebootResponse(result)),
        RelayMessage::DeviceReset(_) => Some(DeviceMessage::DeviceResetResponse(result)),
        RelayMessage::LogRequest(_) => Some(DeviceMessage::LogRequestResponse(result)),
        _ => None,
    }
}

pub fn test_pattern() -> StartStream {
    serde_json::from_value(serde_json::json!({"source": {"kind": "test_pattern"}})).unwrap()
}

pub async fn reach(fleet: &Fleet, actor: &Actor, id: StreamId, state: StreamState) -> StreamView {
    eventually(&format!("the stream is {state}"), || async {
        let view = fleet.stream(actor, id).await.unwrap();
        assert!(!view.state.is_over() || view.state == state, "{}: {:?} {:?}", view.state, view.reason, view.detail);
        (view.state == state).then_some(view)
    })
    .await
}

/// An update to a version, as soon as the device is idle.
pub fn bundle(version: &str) -> UpdateDevice {
    let url = "https://updates.example/strata.raucb?signature=hidden";
    serde_json::from_value(serde_json::json!({"bundle_url": url, "version": version})).unwrap()
}

/// A stream that is live.
pub async fn go_live(fleet: &Fleet, actor: &Actor, device: &Device) -> StreamView {
    let id = eventually("the device is online", || async {
        fleet.start_stream(actor, device.id, test_pattern()).await.ok()
    })
    .await;
    reach(fleet, actor, id, StreamState::Live).await
}

pub async fn timeline(fleet: &Fleet, actor: &Actor, id: StreamId) -> String {
    let lines = fleet.stream_events(actor, id).await.unwrap();
    lines.into_iter().map(|line| line.text + "\n").collect()
}

pub fn everything() -> StreamFilter {
    StreamFilter::default()
}
