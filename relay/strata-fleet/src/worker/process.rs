//! A worker as a process: its start, its socket, its signals.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use strata_control::StreamId;
use strata_identity::PublicKey;
use strata_worker_protocol::{MAX_LINE_BYTES, WorkerCommand, WorkerConfig, WorkerEvent};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};

use crate::FleetConfig;

/// How often a socket that is not there yet is tried.
const CONNECT_EVERY: Duration = Duration::from_millis(50);
/// How much of a log's end is read.
const LOG_TAIL_BYTES: u64 = 16 * 1024;
/// How many lines of it are kept.
const LOG_TAIL_LINES: usize = 30;

/// What can go wrong with a worker's process; each names the file or value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error("cannot open the worker's log {path}: {source}")]
    Log { path: PathBuf, source: io::Error },
    #[error("cannot start the worker ({program}): {source}")]
    Spawn { program: String, source: io::Error },
    #[error("cannot hand the worker its configuration: {source}")]
    Configure { source: io::Error },
    #[error("the worker's socket {path} failed: {source}")]
    Socket { path: PathBuf, source: LinesCodecError },
    #[error("the worker said something that is not in the protocol: {detail}")]
    Protocol { detail: String },
    #[error("another worker answers on {path}")]
    Stranger { path: PathBuf },
    #[error("the worker ended before it was ready ({how})")]
    Ended { how: String },
    #[error("the worker was not ready within {} s", waited.as_secs())]
    Late { waited: Duration },
}

pub(crate) fn socket_path(config: &FleetConfig, id: StreamId) -> PathBuf {
    config.run_dir.join(format!("worker-{id}.sock"))
}

pub(crate) fn log_path(config: &FleetConfig, id: StreamId) -> PathBuf {
    config.log_dir.join(format!("worker-{id}.log"))
}

/// The streams whose workers have a socket in the folder.
pub(crate) fn sockets_in(config: &FleetConfig) -> io::Result<Vec<StreamId>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&config.run_dir)? {
        let name = entry?.file_name();
        let id: Option<StreamId> =
            name.to_str().and_then(|name| name.strip_prefix("worker-")?.strip_suffix(".sock")?.parse().ok());
        found.extend(id);
    }
    Ok(found)
}

/// The socket to a worker: JSON lines.
pub(crate) struct WorkerSocket {
    lines: Framed<UnixStream, LinesCodec>,
    path: PathBuf,
}

/// What a worker says first.
pub(crate) struct Greeting {
    pub(crate) pid: u32,
    pub(crate) port: u16,
}

impl WorkerSocket {
    /// Connects and waits for the greeting of this stream's worker.
    pub(crate) async fn connect(path: &Path, id: StreamId, key: PublicKey) -> Result<(Self, Greeting), WorkerError> {
        let failed = |source: io::Error| WorkerError::Socket { path: path.to_owned(), source: source.into() };
        let stream = UnixStream::connect(path).await.map_err(failed)?;
        let lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE_BYTES));
        let mut socket = Self { lines, path: path.to_owned() };
        match socket.next().await? {
            Some(WorkerEvent::Ready { stream_id, pid, listen, key: its_key }) if stream_id == id && its_key == key => {
                Ok((socket, Greeting { pid, port: listen.port() }))
            }
            Some(WorkerEvent::Ready { .. }) => Err(WorkerError::Stranger { path: path.to_owned() }),
            Some(WorkerEvent::Error { message, .. }) => Err(WorkerError::Ended { how: message }),
            other => Err(WorkerError::Protocol { detail: format!("{other:?} instead of a greeting") }),
        }
    }

    /// The next event; none when the worker closed the socket. May be cancelled without losing one.
    pub(crate) async fn next(&mut self) -> Result<Option<WorkerEvent>, WorkerError> {
        match self.lines.next().await {
            None => Ok(None),
            Some(Ok(line)) => serde_json::from_str(&line)
                .map(Some)
                .map_err(|error| WorkerError::Protocol { detail: error.to_string() }),
            Some(Err(source)) => Err(WorkerError::Socket { path: self.path.clone(), source }),
        }
    }

    pub(crate) async fn send(&mut self, command: &WorkerCommand) -> Result<(), WorkerError> {
        let line = serde_json::to_string(command).expect("a command has a JSON form");
        self.lines.send(line).await.map_err(|source| WorkerError::Socket { path: self.path.clone(), source })
    }
}

/// Starts a worker: configuration on its standard input, output into its log.
pub(crate) async fn spawn(config: &FleetConfig, worker: &WorkerConfig) -> Result<Child, WorkerError> {
    let path = log_path(config, worker.stream_id);
    let open = || -> io::Result<(File, File)> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        Ok((log.try_clone()?, log))
    };
    let (out, err) = open().map_err(|source| WorkerError::Log { path: path.clone(), source })?;
    let (program, arguments) = config.worker_command.split_first().ok_or_else(|| WorkerError::Spawn {
        program: "no program configured".to_owned(),
        source: io::ErrorKind::NotFound.into(),
    })?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|source| WorkerError::Spawn { program: program.to_string_lossy().into_owned(), source })?;
    let mut line = serde_json::to_vec(worker).expect("a configuration has a JSON form");
    line.push(b'\n');
    let mut stdin = child.stdin.take().expect("standard input was asked for as a pipe");
    let written = async {
        stdin.write_all(&line).await?;
        stdin.shutdown().await
    };
    match written.await {
        Ok(()) => Ok(child),
        // It ended before it read: how is told by whoever waits for it.
        Err(source) if source.kind() == io::ErrorKind::BrokenPipe => Ok(child),
        Err(source) => {
            kill_child(&mut child).await;
            Err(WorkerError::Configure { source })
        }
    }
}

/// Waits until a fresh worker greets, or ends, or the time is over.
pub(crate) async fn wait_ready(
    child: &mut Child,
    path: &Path,
    id: StreamId,
    key: PublicKey,
    limit: Duration,
) -> Result<(WorkerSocket, Greeting), WorkerError> {
    let connect = async {
        loop {
            match WorkerSocket::connect(path, id, key).await {
                // Not there yet, or a dead worker's socket that is about to be replaced.
                Err(WorkerError::Socket { .. }) => tokio::time::sleep(CONNECT_EVERY).await,
                other => return other,
            }
        }
    };
    tokio::select! {
        connected = connect => connected,
        status = child.wait() => Err(WorkerError::Ended { how: how_ended(status) }),
        () = tokio::time::sleep(limit) => Err(WorkerError::Late { waited: limit }),
    }
}

/// How a process ended, for people.
pub(crate) fn how_ended(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(name) => format!("killed by {name}"),
                Err(_) => format!("killed by signal {signal}"),
            },
            (None, None) => "no exit status".to_owned(),
        },
        Err(error) => format!("exit status unknown: {error}"),
    }
}

pub(crate) async fn kill_child(child: &mut Child) {
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "cannot end a worker");
    }
}

/// Whether the adopted process is there and is a worker: process ids are used again.
pub(crate) fn is_worker(config: &FleetConfig, pid: u32) -> bool {
    let Ok(command_line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let Some(program) = config.worker_command.last().and_then(|program| Path::new(program).file_name()) else {
        return false;
    };
    let name = program.as_encoded_bytes();
    !name.is_empty() && command_line.windows(name.len()).any(|part| part == name)
}

/// Ends an adopted worker that does not end by itself.
pub(crate) fn kill_adopted(config: &FleetConfig, pid: u32) {
    let Ok(raw) = i32::try_from(pid) else { return };
    if !is_worker(config, pid) {
        return;
    }
    if let Err(error) = kill(Pid::from_raw(raw), Signal::SIGKILL) {
        tracing::warn!(%error, pid, "cannot end an adopted worker");
    }
}

/// Ends a worker that nobody's stream needs; a socket without a worker is removed.
pub(crate) async fn stop_orphan(config: &FleetConfig, id: StreamId, key: PublicKey) {
    let path = socket_path(config, id);
    match WorkerSocket::connect(&path, id, key).await {
        Ok((mut socket, greeting)) => {
            tracing::info!(stream = %id, pid = greeting.pid, "ending a worker whose stream is over");
            if let Err(error) = socket.send(&WorkerCommand::Stop).await {
                tracing::warn!(%error, stream = %id, "cannot end a worker whose stream is over");
                kill_adopted(config, greeting.pid);
            }
        }
        Err(WorkerError::Socket { .. }) => {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "cannot remove a socket without a worker");
            }
        }
        Err(error) => tracing::warn!(%error, stream = %id, "a worker whose stream is over does not answer"),
    }
}

/// The last lines of a worker's log, oldest first.
pub(crate) fn log_tail(config: &FleetConfig, id: StreamId) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log_path(config, id))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].to_vec()
}
