//! A device (the real `strata-agent` program in a folder of its own) and a relay
//! (a WebSocket server that speaks the control protocol, driven by the test).

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "shared by several test programs")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use jiff::Timestamp;
use strata_control::{
    AuthLogin, AuthLoginResponse, CommandResult, Credential, DeviceConfig, DeviceId, DeviceMessage, DeviceStatus,
    ENROL_CONTEXT, EncoderSettings, EndReason, Envelope, FrameRate, LOGIN_CONTEXT, MAX_FRAME_BYTES, MessageId, OwnerId,
    ReceiveAddress, RelayMessage, Sensitive, SessionToken, Source, StreamEnded, StreamEndedAck, StreamId, StreamStart,
    StreamStop,
};
use strata_identity::{KeyPair, PublicKey};
use tokio::net::{TcpListener, TcpStream};
use tokio::time;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use uuid::Uuid;

/// For whatever must happen; the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(60);
pub const TOKEN: &str = "one-time-token";

pub mod update;

/// The relay's side of the tests.
pub struct Relay {
    listener: TcpListener,
    pub device_id: DeviceId,
    pub key: Option<PublicKey>,
    pub config: DeviceConfig,
    /// How long the sessions that it gives live.
    pub session: Duration,
}

impl Relay {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            listener,
            device_id: DeviceId(Uuid::now_v7()),
            key: None,
            config: DeviceConfig { name: "Test device".into(), ..DeviceConfig::default() },
            session: Duration::from_secs(3_600),
        }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.listener.local_addr().unwrap())
    }

    /// The next connection of a device, before its login.
    pub async fn accept(&self) -> Connection {
        let (stream, _) = time::timeout(LIMIT, self.listener.accept()).await.expect("a device connects").unwrap();
        Connection { socket: tokio_tungstenite::accept_async(stream).await.unwrap(), seen: vec![] }
    }

    /// The next connection, logged in by token or key, as the device wishes.
    pub async fn accept_login(&mut self) -> Connection {
        let mut connection = self.accept().await;
        let (id, login) = connection.login().await;
        let answer = match login.credential {
            Credential::EnrolmentToken { token, public_key, proof } => {
                assert_eq!(token.reveal(), TOKEN);
                assert!(public_key.verify(ENROL_CONTEXT, TOKEN.as_bytes(), &proof));
                self.key = Some(public_key);
                AuthLoginResponse::Enrolled {
                    device_id: self.device_id,
                    owner: OwnerId(Uuid::nil()),
                    session: self.session(),
                    config: self.config.clone(),
                }
            }
            Credential::Hello { device_id } => {
                assert_eq!(device_id, self.device_id);
                let challenge = "5a".repeat(32);
                connection
                    .answer(id, login_answer(AuthLoginResponse::Challenge { challenge: challenge.clone() }))
                    .await;
                let (id, login) = connection.login().await;
                let Credential::ChallengeAnswer { device_id, signature } = login.credential else {
                    panic!("no answer to the challenge")
                };
                let signed = format!("{challenge}{device_id}");
                assert!(self.key.unwrap().verify(LOGIN_CONTEXT, signed.as_bytes(), &signature));
                connection.answer(id, login_answer(self.accepted())).await;
                return connection;
            }
            Credential::ChallengeAnswer { .. } => panic!("an answer without a challenge"),
        };
        connection.answer(id, login_answer(answer)).await;
        connection
    }

    pub fn accepted(&self) -> AuthLoginResponse {
        AuthLoginResponse::Accepted {
            device_id: self.device_id,
            owner: OwnerId(Uuid::nil()),
            session: self.session(),
            config: self.config.clone(),
        }
    }

    pub fn session(&self) -> SessionToken {
        SessionToken { token: Sensitive::new("jwt"), expires_at: Timestamp::now() + self.session }
    }
}

pub fn login_answer(answer: AuthLoginResponse) -> RelayMessage {
    RelayMessage::AuthLoginResponse(answer)
}

/// One connection of a device.
pub struct Connection {
    pub socket: WebSocketStream<TcpStream>,
    /// Messages that were passed over while another was waited for.
    seen: Vec<Envelope<DeviceMessage>>,
}

impl Connection {
    /// The next message; none when the device closed.
    pub async fn receive(&mut self) -> Option<Envelope<DeviceMessage>> {
        loop {
            let frame = time::timeout(LIMIT, self.socket.next()).await.expect("the device says something");
            match frame {
                Some(Ok(Frame::Text(text))) => return Some(Envelope::decode(text.as_str()).unwrap()),
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The first message for which `pick` has something, also among those passed over before.
    pub async fn expect<T>(&mut self, what: &str, pick: impl Fn(&Envelope<DeviceMessage>) -> Option<T>) -> T {
        if let Some(position) = self.seen.iter().position(|message| pick(message).is_some()) {
            let message = self.seen.remove(position);
            return pick(&message).unwrap();
        }
        let deadline = time::Instant::now() + LIMIT;
        while time::Instant::now() < deadline {
            let message = self.receive().await.unwrap_or_else(|| panic!("closed instead of {what}"));
            if let Some(value) = pick(&message) {
                return value;
            }
            self.seen.push(message);
        }
        panic!("no {what}; instead: {:?}", self.seen);
    }

    /// Forgets what was passed over.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    pub async fn login(&mut self) -> (MessageId, AuthLogin) {
        self.expect("auth.login", |message| match &message.message {
            DeviceMessage::AuthLogin(login) => Some((message.id, login.clone())),
            _ => None,
        })
        .await
    }

    /// The next status for which `holds`. Those before it are history then and are never found again.
    pub async fn status(&mut self, what: &str, holds: impl Fn(&DeviceStatus) -> bool) -> DeviceStatus {
        let (id, status) = self
            .expect(&format!("a status with {what}"), |message| match &message.message {
                DeviceMessage::DeviceStatus(status) if holds(status) => Some((message.id, status.clone())),
                _ => None,
            })
            .await;
        self.seen.retain(|message| message.id.0 > id.0 || !matches!(message.message, DeviceMessage::DeviceStatus(_)));
        status
    }

    pub async fn ended(&mut self, stream_id: StreamId) -> (MessageId, StreamEnded) {
        self.expect("stream.ended", |message| match &message.message {
            DeviceMessage::StreamEnded(ended) if ended.stream_id == stream_id => Some((message.id, ended.clone())),
            _ => None,
        })
        .await
    }

    pub async fn acknowledge(&mut self, id: MessageId, stream_id: StreamId) {
        self.answer(id, RelayMessage::StreamEndedResponse(StreamEndedAck { stream_id })).await;
    }

    pub async fn say(&mut self, message: RelayMessage) -> MessageId {
        let id = MessageId(Uuid::now_v7());
        self.answer(id, message).await;
        id
    }

    pub async fn answer(&mut self, id: MessageId, message: RelayMessage) {
        let text = Envelope::new(id, Timestamp::now(), message).encode().unwrap();
        self.socket.send(Frame::text(text)).await.unwrap();
    }

    pub async fn raw(&mut self, frame: Frame) {
        self.socket.send(frame).await.unwrap();
    }

    /// Says a command and waits for its answer.
    pub async fn command(&mut self, message: RelayMessage) -> DeviceMessage {
        let id = self.say(message).await;
        self.expect("an answer", |message| (message.id == id).then(|| message.message.clone())).await
    }

    pub async fn start(&mut self, start: &StreamStart) -> CommandResult {
        match self.command(RelayMessage::StreamStart(start.clone())).await {
            DeviceMessage::StreamStartResponse(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub async fn stop(&mut self, stream_id: StreamId) -> CommandResult {
        let stop = StreamStop { stream_id, reason: EndReason::StoppedByUser, detail: "Kim stopped it".into() };
        match self.command(RelayMessage::StreamStop(stop)).await {
            DeviceMessage::StreamStopResponse(result) => result,
            other => panic!("{other:?}"),
        }
    }
}

/// A small stream of the test pattern to a port where nobody listens.
pub fn stream() -> StreamStart {
    let encoder = EncoderSettings {
        width: 320,
        height: 180,
        frame_rate: FrameRate::per_second(10),
        ..EncoderSettings::default()
    };
    StreamStart {
        stream_id: StreamId(Uuid::now_v7()),
        source: Source::TestPattern,
        encoder,
        receive: ReceiveAddress { host: "127.0.0.1".into(), ports: vec![9] },
        worker_key: KeyPair::generate().public(),
        links: vec![],
        record_locally: false,
    }
}

/// A device in a folder of its own.
pub struct Device {
    pub folder: tempfile::TempDir,
    arguments: Vec<String>,
    agent: Option<Child>,
}

impl Device {
    pub fn new(relay_url: &str) -> Self {
        Self::with(relay_url, "", &[])
    }

    /// With more lines in its configuration, and more arguments; without a relay where its address is empty.
    pub fn with(relay_url: &str, lines: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("sa").tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut config = format!(
            "state_dir = \"{}\"\nrun_dir = \"{}\"\nlog_dir = \"{}\"\nmedia_dir = \"{}\"\nupdate_socket = \"{}\"\n\
             problem_files = [\"{}\"]\nencoder_program = \"{}\"\norphan_timeout_s = 30\nlog_level = \"debug\"\n\
             {lines}\n",
            path("state"),
            path("run"),
            path("log"),
            path("media"),
            path("update.sock"),
            path("problems.json"),
            encoder_program().display(),
        );
        if !relay_url.is_empty() {
            config += &format!("relay_url = \"{relay_url}\"\n");
        }
        if arguments.contains(&"--simulate") {
            config += &format!("emulator_program = \"{}\"\n", emulator_program().display());
        }
        fs::write(folder.path().join("agent.toml"), config).unwrap();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { folder, arguments, agent: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strata-agent"));
        command.arg("--config").arg(self.path("agent.toml"));
        command
    }

    pub fn write_token(&self, token: &str) {
        fs::create_dir_all(self.path("state")).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(self.path("state/enrolment-token"), token).unwrap();
    }

    pub fn start(&mut self) {
        self.spawn(self.command());
    }

    /// Starts it with a file system of its own, which `setup` changes first; false where this machine has none to give.
    pub fn start_after(&mut self, setup: &str) -> bool {
        let Some(own) = own_mounts() else {
            eprintln!("skipped: this machine gives no mounts of one's own (unshare --mount)");
            return false;
        };
        let inner = self.command();
        let mut command = Command::new("unshare");
        command.args(own).args(["sh", "-ec", &format!("{setup}\nexec \"$0\" \"$@\"")]);
        command.arg(inner.get_program()).args(inner.get_args()).current_dir(self.folder.path());
        self.spawn(command);
        true
    }

    fn spawn(&mut self, mut command: Command) {
        let log = fs::OpenOptions::new().append(true).create(true).open(self.path("agent.log")).unwrap();
        let agent = command.args(&self.arguments).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        self.agent = Some(agent);
    }

    /// The agent's end, however it comes.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let mut agent = self.agent.take().unwrap();
        let mut status = None;
        wait_for("the agent's end", || {
            status = agent.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// `strata-agent enrol` with a token: whether it worked, and what it said.
    pub fn enrol(&self, arguments: &[&str], token: &str) -> (bool, String) {
        let mut enrol = self.command();
        enrol.arg("enrol").args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut enrol = enrol.spawn().unwrap();
        // One that is refused by its arguments reads no token.
        writeln!(enrol.stdin.take().unwrap(), " {token} ").ok();
        let output = enrol.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub fn pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// As `systemctl stop`: its exit status.
    pub async fn terminate(&mut self) -> std::process::ExitStatus {
        signal(self.pid().cast_signed(), nix::sys::signal::Signal::SIGTERM);
        self.ended().await
    }

    /// The process of a stream's encoder, as the agent's record names it.
    pub fn encoder_pid(&self, stream_id: StreamId) -> Option<i32> {
        let record = fs::read_to_string(self.path(&format!("state/streams/{stream_id}.json"))).ok()?;
        let record: serde_json::Value = serde_json::from_str(&record).ok()?;
        Some(record["process"]["pid"].as_i64()? as i32)
    }

    pub fn state(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&fs::read_to_string(self.path("run/state.json")).ok()?).ok()
    }

    pub async fn last_error(&self, part: &str) -> serde_json::Value {
        let mut error = serde_json::Value::Null;
        wait_for(&format!("the error “{part}” in state.json"), || {
            error = self.state().map(|state| state["last_error"].clone()).unwrap_or_default();
            error["message"].as_str().is_some_and(|message| message.contains(part))
        })
        .await;
        error
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    pub fn encoder_log(&self, stream_id: StreamId) -> String {
        fs::read_to_string(self.path(&format!("log/encoder-{stream_id}.log"))).unwrap_or_default()
    }
}

impl Drop for Device {
    /// Ends the agent and the children that the test left running.
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            if std::thread::panicking() {
                eprintln!("--- the agent's log ---\n{}", self.log());
            }
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
        let folder = self.folder.path().display().to_string();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = process.file_name().to_string_lossy().parse::<i32>() else { continue };
            // Children are known by their log, which is in this test's folder.
            let output = fs::read_link(process.path().join("fd/2")).unwrap_or_default();
            let output = output.display().to_string();
            if ["log", "run"].iter().any(|logs| output.starts_with(&format!("{folder}/{logs}/"))) {
                signal(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

/// The arguments of `unshare` that give a process mounts of its own; none where that is not allowed.
fn own_mounts() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
    WAYS.into_iter().find(|way| {
        let tried = Command::new("unshare").args(*way).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    })
}

pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

/// Whether a process runs; a zombie that nobody reaps does not.
pub fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

pub async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = time::Instant::now() + LIMIT;
    while !holds() {
        assert!(time::Instant::now() < deadline, "waited in vain for {what}");
        time::sleep(Duration::from_millis(20)).await;
    }
}

/// The real encoder, when it was built; else the stand-in.
fn encoder_program() -> PathBuf {
    let named = std::env::var_os("STRATA_ENCODER").map(PathBuf::from);
    let stand_in = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/encoder.py");
    named.or_else(|| built("strata-encoder")).unwrap_or_else(stand_in)
}

/// The link emulator, built now where that was not done: cargo builds other packages' programs for no test.
fn emulator_program() -> PathBuf {
    static BUILD: Once = Once::new();
    BUILD.call_once(|| {
        if built("strata-netem").is_some() {
            return;
        }
        let folder = Path::new(env!("CARGO_BIN_EXE_strata-agent")).parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--package", "strata-netem", "--target-dir"]).arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the link emulator could not be built");
    });
    built("strata-netem").expect("the link emulator is built")
}

/// A program of this workspace, when it was built beside the agent.
fn built(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_strata-agent")).parent()?.join(name);
    path.exists().then_some(path)
}

/// More than a frame may be.
pub fn oversized() -> String {
    "x".repeat(MAX_FRAME_BYTES + 1)
}
