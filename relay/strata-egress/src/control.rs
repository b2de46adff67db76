//! The relay's connection: JSON lines over a Unix socket.
//!
//! Owns: the socket's file, the one active connection (the newest wins), lines
//! in and out, and refusing what is no command. Does not own what commands do.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use strata_control::EndReason;
use strata_worker_protocol::{MAX_LINE_BYTES, WorkerCommand, WorkerEvent};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder, Framed, LinesCodec, LinesCodecError};

/// Events on their way to a relay; one that reads nothing for so long gets no more of them.
const OUT_BOUND: usize = 64;
/// Commands on their way from it: it sends few.
const IN_BOUND: usize = 16;
/// A relay that takes no byte for this long is gone.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// The socket and the active connection.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    listener: UnixListener,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    events: mpsc::Sender<WorkerEvent>,
    commands: mpsc::Receiver<WorkerCommand>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What happened on the socket.
#[derive(Debug)]
pub enum ControlInput {
    /// A relay connected: greet it.
    Connected,
    /// The relay went away.
    Disconnected,
    /// It wants something.
    Command(WorkerCommand),
}

impl Control {
    /// Makes the folder (0700) and listens on the socket (0600); a file of that name is replaced.
    ///
    /// # Errors
    /// When folder or socket cannot be made; the message names the path.
    pub fn bind(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .with_context(|| format!("cannot make the folder {} for the socket", folder.display()))?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace the old socket {}", path.display()));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen on the socket {} (its path may be too long)", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot set the permissions of {}", path.display()))?;
        Ok(Self { path: path.to_owned(), listener, connection: None })
    }

    /// Whether a relay is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Waits for something to happen.
    pub async fn next(&mut self) -> ControlInput {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if self.connection.is_some() {
                            tracing::info!("another relay connected: the former connection is closed");
                        }
                        self.connection = Some(Connection::start(stream));
                        return ControlInput::Connected;
                    }
                    Err(error) => {
                        tracing::warn!("cannot accept a connection on {}: {error}", self.path.display());
                        // Out of file descriptors: waiting is all that can help.
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
                command = next_command(&mut self.connection) => match command {
                    Some(command) => return ControlInput::Command(command),
                    None => {
                        self.connection = None;
                        return ControlInput::Disconnected;
                    }
                },
            }
        }
    }

    /// Sends an event to the relay, if one is connected and takes it.
    pub fn send(&self, event: WorkerEvent) {
        let Some(connection) = &self.connection else { return };
        if connection.events.try_send(event).is_err() {
            tracing::debug!("the relay does not read: an event was dropped");
        }
    }

    /// Sends a last event and waits, for a while, until it is on its way.
    pub async fn send_last(&mut self, event: WorkerEvent) {
        let Some(mut connection) = self.connection.take() else { return };
        if connection.events.send(event).await.is_err() {
            return;
        }
        // Without its sender the connection ends after the last event.
        connection.events = mpsc::channel(1).0;
        let ended = tokio::time::timeout(Duration::from_secs(2), &mut connection.task).await;
        if ended.is_err() {
            tracing::debug!("the relay does not read: the last event may be lost");
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

async fn next_command(connection: &mut Option<Connection>) -> Option<WorkerCommand> {
    match connection {
        Some(connection) => connection.commands.recv().await,
        None => std::future::pending().await,
    }
}

impl Connection {
    fn start(stream: UnixStream) -> Self {
        let (events, outgoing) = mpsc::channel(OUT_BOUND);
        let (incoming, commands) = mpsc::channel(IN_BOUND);
        let task = tokio::spawn(serve(stream, outgoing, incoming));
        Self { events, commands, task }
    }
}

/// Carries lines until either side ends.
async fn serve(stream: UnixStream, mut events: mpsc::Receiver<WorkerEvent>, commands: mpsc::Sender<WorkerCommand>) {
    let mut lines = Framed::new(stream, Lines(LinesCodec::new_with_max_length(MAX_LINE_BYTES)));
    loop {
        let event = tokio::select! {
            event = events.recv() => match event {
                Some(event) => event,
                None => return,
            },
            line = lines.next() => match line {
                None => return,
                Some(Ok(Ok(line))) => match serde_json::from_str::<WorkerCommand>(&line) {
                    Ok(command) => {
                        if commands.send(command).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    Err(error) => refused(&format!("not a command (column {})", error.column())),
                },
                Some(Ok(Err(BadLine::TooLong))) => refused(&format!("a line of more than {MAX_LINE_BYTES} bytes")),
                Some(Ok(Err(BadLine::NotText))) => refused("a line that is not UTF-8"),
                Some(Err(error)) => return tracing::debug!("the relay's connection broke: {error}"),
            },
        };
        let line = match serde_json::to_string(&event) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!("an event cannot be written as JSON: {error}");
                continue;
            }
        };
        match tokio::time::timeout(WRITE_LIMIT, lines.send(line)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tracing::debug!("the relay's connection broke: {error}"),
            Err(_) => return tracing::warn!("the relay reads nothing: its connection is closed"),
        }
    }
}

/// A line that cannot be read. The ones after it can.
#[derive(Debug)]
enum BadLine {
    TooLong,
    NotText,
}

/// Lines of limited length; a bad one is an item like others, so that it does not end the connection.
struct Lines(LinesCodec);

impl Decoder for Lines {
    type Item = Result<String, BadLine>;
    type Error = io::Error;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Self::Item>, io::Error> {
        match self.0.decode(source) {
            Ok(line) => Ok(line.map(Ok)),
            Err(LinesCodecError::MaxLineLengthExceeded) => Ok(Some(Err(BadLine::TooLong))),
            Err(LinesCodecError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Ok(Some(Err(BadLine::NotText)))
            }
            Err(LinesCodecError::Io(error)) => Err(error),
        }
    }
}

impl Encoder<String> for Lines {
    type Error = LinesCodecError;

    fn encode(&mut self, line: String, out: &mut BytesMut) -> Result<(), LinesCodecError> {
        self.0.encode(line, out)
    }
}

/// The answer to what is no command. It is not quoted: commands hold stream keys.
fn refused(what: &str) -> WorkerEvent {
    let message = format!("the worker refused what the relay sent on its socket: {what}");
    tracing::warn!("{message}");
    WorkerEvent::Error { reason: EndReason::Other, message, fatal: false }
}
