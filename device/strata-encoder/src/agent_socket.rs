//! The Unix socket on which the agent talks to this process.
//!
//! Owns the socket file, the one connection that counts (the newest: an agent
//! that was restarted replaces its forerunner) and JSON lines on it. Bad lines
//! are logged, oversized ones end the connection; neither touches the stream.
//! Does not own what commands mean.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_encoder_protocol::{EncoderCommand, EncoderEvent, MAX_LINE_BYTES};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Events that may wait for a slow agent: about a minute; then it is disconnected and may connect again.
const EVENTS_WAITING: usize = 64;
/// An agent sends a handful of commands a minute; more wait in its own socket.
const COMMANDS_WAITING: usize = 16;
/// How long the last line may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on the socket {path}: {step}")]
pub(crate) struct SocketError {
    path: PathBuf,
    step: &'static str,
    #[source]
    source: io::Error,
}

/// What comes from the socket.
#[derive(Debug)]
pub(crate) enum FromAgent {
    /// A new connection: say hello.
    Connected,
    /// A command.
    Command(EncoderCommand),
}

struct Connection {
    number: u64,
    events: mpsc::Sender<String>,
    reader: AbortHandle,
    writer: tokio::task::JoinHandle<()>,
}

/// The socket and its connection.
pub(crate) struct AgentSocket {
    path: PathBuf,
    listener: UnixListener,
    connection: Option<Connection>,
    count: u64,
    commands: mpsc::Receiver<(u64, Option<EncoderCommand>)>,
    commands_in: mpsc::Sender<(u64, Option<EncoderCommand>)>,
}

impl AgentSocket {
    /// Listens; makes the folder (0700), replaces a stale socket file, lets only this user connect (0600).
    pub(crate) fn open(path: &Path) -> Result<Self, SocketError> {
        let failed = |step| move |source| SocketError { path: path.to_owned(), step, source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(failed("its folder cannot be made"))?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("the file in its place cannot be replaced")(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed("the system refuses"))?;
        let only_owner = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, only_owner).map_err(failed("its permissions cannot be set"))?;
        let (commands_in, commands) = mpsc::channel(COMMANDS_WAITING);
        Ok(Self { path: path.to_owned(), listener, connection: None, count: 0, commands, commands_in })
    }

    /// Whether an agent is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Waits for what comes next. May be dropped and called again at any time.
    pub(crate) async fn next(&mut self) -> FromAgent {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        self.replace_connection(stream);
                        return FromAgent::Connected;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "an agent's connection was not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some((number, command)) = self.commands.recv() => {
                    if self.connection.as_ref().is_some_and(|connection| connection.number == number) {
                        match command {
                            Some(command) => return FromAgent::Command(command),
                            None => self.disconnect(),
                        }
                    }
                }
            }
        }
    }

    /// Sends an event, when an agent is connected and keeps up.
    pub(crate) fn send(&mut self, event: &EncoderEvent) {
        let Some(connection) = &self.connection else { return };
        let mut line = match serde_json::to_string(event) {
            Ok(line) => line,
            Err(error) => return tracing::error!(%error, "an event could not be written as JSON"),
        };
        line.push('\n');
        if connection.events.try_send(line).is_err() {
            tracing::warn!("the agent does not read its events: disconnected");
            self.disconnect();
        }
    }

    /// Waits until the events sent so far were written, and ends the connection.
    pub(crate) async fn farewell(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        connection.reader.abort();
        drop(connection.events);
        if tokio::time::timeout(FAREWELL, connection.writer).await.is_err() {
            tracing::warn!("the agent did not read the last line");
        }
    }

    fn replace_connection(&mut self, stream: UnixStream) {
        if self.connection.is_some() {
            tracing::info!("a newer agent connected");
            self.disconnect();
        }
        self.count += 1;
        let (read, write) = stream.into_split();
        let (events, lines) = mpsc::channel(EVENTS_WAITING);
        let reader = tokio::spawn(read_commands(read, self.count, self.commands_in.clone())).abort_handle();
        let writer = tokio::spawn(write_events(write, lines));
        self.connection = Some(Connection { number: self.count, events, reader, writer });
    }

    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.reader.abort();
            connection.writer.abort();
        }
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.disconnect();
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the socket file was gone already");
        }
    }
}

/// Ends with `None` on the channel: the connection is over.
async fn read_commands(read: OwnedReadHalf, number: u64, commands: mpsc::Sender<(u64, Option<EncoderCommand>)>) {
    let mut reader = BufReader::new(read);
    loop {
        let command = match read_line(&mut reader).await {
            Ok(Some(line)) if line.trim_ascii().is_empty() => continue,
            Ok(Some(line)) => match serde_json::from_slice(&line) {
                Ok(command) => Some(command),
                Err(error) => {
                    let start = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
                    tracing::error!(%error, start, "a line from the agent is not a command: ignored");
                    continue;
                }
            },
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "the agent's connection is ended");
                None
            }
        };
        let over = command.is_none();
        if commands.send((number, command)).await.is_err() || over {
            return;
        }
    }
}

/// One line; none at the end.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let mut line = vec![];
    let limit = MAX_LINE_BYTES as u64 + 1;
    if reader.take(limit).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    if line.len() > MAX_LINE_BYTES {
        return Err(io::Error::other(format!("a line is longer than {MAX_LINE_BYTES} bytes")));
    }
    Ok(Some(line))
}

async fn write_events(mut write: OwnedWriteHalf, mut lines: mpsc::Receiver<String>) {
    while let Some(line) = lines.recv().await {
        if let Err(error) = write.write_all(line.as_bytes()).await {
            return tracing::debug!(%error, "the agent is gone");
        }
    }
    if let Err(error) = write.shutdown().await {
        tracing::debug!(%error, "the agent is gone");
    }
}
