//! A client of the emulator's control socket.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::protocol::{Command, LinkInfo, LinkStats, Reply, ShapeChange};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens on the control socket.
    #[error("cannot reach the emulator at {path}: is it running?")]
    Connect {
        /// The control socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the emulator's control connection broke")]
    Io(#[from] io::Error),
    /// The emulator closed the connection.
    #[error("the emulator closed its control connection")]
    Closed,
    /// The emulator's line could not be read.
    #[error("the emulator's reply could not be read")]
    Reply(#[from] serde_json::Error),
    /// The emulator refused.
    #[error("the emulator refused: {0}")]
    Refused(String),
    /// The reply belongs to another command.
    #[error("the emulator answered something else")]
    Unexpected,
}

/// A connection to a running emulator; the emulator does not end for idleness while it is open.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    line: String,
}

impl Client {
    /// Connects to the control socket at `path`.
    ///
    /// # Errors
    /// [`ControlError::Connect`] names the socket.
    pub async fn connect(path: &Path) -> Result<Self, ControlError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| ControlError::Connect { path: path.to_owned(), source })?;
        Ok(Self { stream: BufReader::new(stream), line: String::new() })
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// [`ControlError`]; [`ControlError::Refused`] carries the emulator's reason.
    pub async fn call(&mut self, command: &Command) -> Result<Reply, ControlError> {
        let mut line = serde_json::to_string(command)?;
        line.push('\n');
        self.stream.write_all(line.as_bytes()).await?;
        self.line.clear();
        if self.stream.read_line(&mut self.line).await? == 0 {
            return Err(ControlError::Closed);
        }
        match serde_json::from_str(&self.line)? {
            Reply::Error { message } => Err(ControlError::Refused(message)),
            reply => Ok(reply),
        }
    }

    async fn done(&mut self, command: &Command) -> Result<(), ControlError> {
        match self.call(command).await? {
            Reply::Ok => Ok(()),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// The link delivers nothing any more, silently.
    ///
    /// # Errors
    /// See [`call`](Self::call).
    pub async fn cut(&mut self, link: usize) -> Result<(), ControlError> {
        self.done(&Command::Cut { link }).await
    }

    /// Ends a cut.
    ///
    /// # Errors
    /// See [`call`](Self::call).
    pub async fn restore(&mut self, link: usize) -> Result<(), ControlError> {
        self.done(&Command::Restore { link }).await
    }

    /// Changes what a link does.
    ///
    /// # Errors
    /// See [`call`](Self::call).
    pub async fn set(&mut self, link: usize, change: ShapeChange) -> Result<(), ControlError> {
        self.done(&Command::Set { link, way: None, change }).await
    }

    /// The counters of each link.
    ///
    /// # Errors
    /// See [`call`](Self::call).
    pub async fn stats(&mut self) -> Result<Vec<LinkStats>, ControlError> {
        match self.call(&Command::Stats).await? {
            Reply::Stats { links } => Ok(links),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// The links as they are now.
    ///
    /// # Errors
    /// See [`call`](Self::call).
    pub async fn list(&mut self) -> Result<Vec<LinkInfo>, ControlError> {
        match self.call(&Command::List).await? {
            Reply::List { links } => Ok(links),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Ends the emulator.
    ///
    /// # Errors
    /// See [`call`](Self::call).
    pub async fn stop(&mut self) -> Result<(), ControlError> {
        self.done(&Command::Stop).await
    }
}
