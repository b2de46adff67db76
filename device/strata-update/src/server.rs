//! The daemon's Unix socket: JSON lines in, JSON lines out.
//!
//! Owns connections: how many, how long a line, how slow a reader may be. A line
//! that cannot be read is answered; one that is too long ends the connection.
//! Does not own what a request does ([`crate::daemon`]).

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use strata_control::RefusedCode;
use strata_update_protocol::{Answer, MAX_LINE_BYTES, Request};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time;

use crate::lines::read_line;

/// The agent and a handful of people; more wait to be accepted.
const MOST_CLIENTS: usize = 16;
/// A reader that takes nothing for so long is dropped.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// A request and where its answer goes.
#[derive(Debug)]
pub struct Ask {
    /// What is wanted.
    pub request: Request,
    /// Its answer.
    pub answer: oneshot::Sender<Answer>,
}

/// The newest status as a line; a watcher that is slow misses what is in between.
pub type StatusLine = Arc<str>;

/// The socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
}

impl Server {
    /// Listens; replaces a stale socket file. Owner and group may connect.
    ///
    /// # Errors
    /// Names the socket.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot listen on {}", path.display());
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(cannot),
            _ => {}
        }
        let listener = UnixListener::bind(path).with_context(cannot)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).with_context(cannot)?;
        Ok(Self { listener })
    }

    /// Serves for ever.
    pub async fn run(self, asks: mpsc::Sender<Ask>, status: watch::Receiver<StatusLine>) {
        let places = Arc::new(Semaphore::new(MOST_CLIENTS));
        let mut clients = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = loop {
                tokio::select! {
                    accepted = self.listener.accept() => break accepted,
                    Some(ended) = clients.join_next() => {
                        if let Err(error) = ended {
                            tracing::error!("a client's task failed: {error}");
                        }
                    }
                }
            };
            match accepted {
                Ok((stream, _)) => {
                    let (asks, status) = (asks.clone(), status.clone());
                    clients.spawn(async move {
                        if let Err(error) = serve(stream, &asks, status).await {
                            tracing::debug!("a client's connection ended: {error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("a connection was not accepted: {error}");
                    time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve(stream: UnixStream, asks: &mpsc::Sender<Ask>, status: watch::Receiver<StatusLine>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read);
    while let Some(line) = read_line(&mut reader, MAX_LINE_BYTES).await? {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Request>(&line) {
            Ok(Request::Status) => {
                let line = status.borrow().clone();
                send(&mut write, &line).await?;
            }
            Ok(Request::Watch) => return watch_status(reader, write, status).await,
            Ok(request) => {
                let answer = ask(asks, request).await;
                send_answer(&mut write, &answer).await?;
            }
            Err(error) => {
                let message = format!("This is no request that the update daemon knows: {error}.");
                send_answer(&mut write, &Answer::Refused { code: RefusedCode::Unsupported, message }).await?;
            }
        }
    }
    Ok(())
}

async fn ask(asks: &mpsc::Sender<Ask>, request: Request) -> Answer {
    let (answer, answered) = oneshot::channel();
    if asks.send(Ask { request, answer }).await.is_ok()
        && let Ok(answer) = answered.await
    {
        return answer;
    }
    Answer::Refused { code: RefusedCode::Failed, message: "The update daemon is about to end: try again.".to_owned() }
}

/// Until the client hangs up or reads too slowly; what it says meanwhile is passed over.
async fn watch_status(
    mut reader: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    mut status: watch::Receiver<StatusLine>,
) -> io::Result<()> {
    status.mark_changed();
    loop {
        tokio::select! {
            changed = status.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let line = status.borrow_and_update().clone();
                send(&mut write, &line).await?;
            }
            line = read_line(&mut reader, MAX_LINE_BYTES) => {
                if line?.is_none() {
                    return Ok(());
                }
            }
        }
    }
}

async fn send_answer(write: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    send(write, &line).await
}

async fn send(write: &mut OwnedWriteHalf, line: &str) -> io::Result<()> {
    match time::timeout(WRITE_LIMIT, write.write_all(line.as_bytes())).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read what it is told")),
    }
}
