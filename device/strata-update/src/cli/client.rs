//! The client's end of the daemon's socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use strata_update_protocol::{Answer, MAX_LINE_BYTES, Request, Status};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time;

use crate::lines::read_line;

/// For a request's answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Says whether it is not permitted, or the daemon does not run.
    pub async fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => anyhow::anyhow!(
                "you may not talk to the update daemon ({}): run this as root, or as a member of the group “strata”",
                socket.display()
            ),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow::anyhow!(
                "the update daemon does not run ({}): `systemctl status strata-update` tells why",
                socket.display()
            ),
            _ => anyhow::Error::new(error).context(format!("cannot connect to {}", socket.display())),
        })?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: BufReader::new(reader), writer })
    }

    /// Says what is wanted; [`Self::next`] gives the answer.
    ///
    /// # Errors
    /// When the daemon is gone.
    pub async fn send(&mut self, request: &Request) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(request).context("a request has a JSON form")?;
        line.push(b'\n');
        self.writer.write_all(&line).await.context("the update daemon is gone")
    }

    /// The next answer; none when the daemon closed the connection.
    ///
    /// # Errors
    /// When what it says is no answer.
    pub async fn next(&mut self) -> anyhow::Result<Option<Answer>> {
        let line = read_line(&mut self.reader, MAX_LINE_BYTES).await.context("the update daemon is gone")?;
        let Some(line) = line else { return Ok(None) };
        serde_json::from_slice(&line).map(Some).context("the update daemon said something that cannot be read")
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// The daemon's own sentence when it refuses.
    pub async fn order(&mut self, request: &Request) -> anyhow::Result<()> {
        self.send(request).await?;
        match time::timeout(ANSWER_LIMIT, self.next()).await.context("the update daemon does not answer")?? {
            Some(Answer::Accepted) => Ok(()),
            Some(Answer::Refused { message, .. }) => bail!(message),
            Some(Answer::Status(_)) => bail!("the update daemon answered with a status"),
            None => bail!("the update daemon closed the connection"),
        }
    }

    /// The next status: of [`Request::Status`] or [`Request::Watch`].
    ///
    /// # Errors
    /// When the daemon refuses or is gone.
    pub async fn status(&mut self) -> anyhow::Result<Option<Status>> {
        match self.next().await? {
            Some(Answer::Status(status)) => Ok(Some(status)),
            Some(Answer::Refused { message, .. }) => bail!(message),
            Some(Answer::Accepted) => bail!("the update daemon accepted what is no order"),
            None => Ok(None),
        }
    }
}
