//! A whole emulator: its links, its control socket, and when it ends.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::link::Link;
use crate::protocol::{Command, Config, LinkInfo, LinkStats, Reply, Shape};
use crate::trace::{Trace, TraceError};

/// Links of one emulator.
const MAX_LINKS: usize = 64;
/// A command's line is at most this long.
const MAX_LINE: u64 = 16 << 10;
/// Control connections at a time.
const MAX_CONTROLS: usize = 16;

/// Why an emulator could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// The configuration has an impossible value.
    #[error("bad configuration: {0}")]
    Config(String),
    /// A link's recording cannot be used.
    #[error("link {link}: bad recording")]
    Trace {
        /// The link's number.
        link: usize,
        /// Why.
        #[source]
        source: TraceError,
    },
    /// A link's address could not be listened on.
    #[error("link {link}: cannot listen on {address}: is the port in use?")]
    Listen {
        /// The link's number.
        link: usize,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control socket could not be made.
    #[error("cannot listen on the control socket {path}: does its folder exist, does another emulator use it?")]
    Control {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A running emulator; it ends when dropped.
pub struct Emulator {
    inner: Arc<Inner>,
    control: Option<PathBuf>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

struct Inner {
    links: Vec<Arc<Link>>,
    controls: AtomicUsize,
    stop: Notify,
}

impl Emulator {
    /// Binds all links and the control socket, and carries packets from now on.
    ///
    /// # Errors
    /// [`EmulatorError`] names the link or the socket.
    pub async fn start(config: &Config) -> Result<Self, EmulatorError> {
        check(config)?;
        let mut links = Vec::new();
        for (number, spec) in config.links.iter().enumerate() {
            let seed = config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number as u64 * 2 + 1);
            let trace = match &spec.trace {
                Some(trace) => Some(Arc::new(
                    Trace::read(&trace.file, Duration::from_secs_f64(trace.start_s))
                        .map_err(|source| EmulatorError::Trace { link: number, source })?,
                )),
                None => None,
            };
            let link = Link::bind(spec, trace, seed).await.map_err(|source| EmulatorError::Listen {
                link: number,
                address: spec.listen,
                source,
            })?;
            links.push(Arc::new(link));
        }
        let inner = Arc::new(Inner { links, controls: AtomicUsize::new(0), stop: Notify::new() });
        let mut tasks = JoinSet::new();
        if let Some(path) = &config.control {
            let listener =
                listen(path).await.map_err(|source| EmulatorError::Control { path: path.clone(), source })?;
            tasks.spawn(accept(listener, Arc::clone(&inner)));
        }
        for link in &inner.links {
            tasks.spawn(Arc::clone(link).run());
        }
        if let Some(seconds) = config.exit_idle_s {
            tasks.spawn(watch_idle(Arc::clone(&inner), Duration::from_secs(seconds)));
        }
        Ok(Self { inner, control: config.control.clone(), tasks })
    }

    /// Where each link listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.inner.links.iter().map(|link| link.listen()).collect()
    }

    /// Carries out a command.
    #[must_use]
    pub fn apply(&self, command: &Command) -> Reply {
        self.inner.apply(command)
    }

    /// Waits until the emulator is told to stop or has been idle for long enough.
    pub async fn stopped(&mut self) {
        tokio::select! {
            () = self.inner.stop.notified() => {}
            ended = self.tasks.join_next() => if let Some(Err(error)) = ended {
                tracing::error!("a link broke: {error}");
            },
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Some(path) = &self.control
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!("cannot remove {}: {error}", path.display());
        }
    }
}

impl Inner {
    fn apply(&self, command: &Command) -> Reply {
        match command {
            Command::Cut { link } => self.with_link(*link, |link| link.set_cut(true)),
            Command::Restore { link } => self.with_link(*link, |link| link.set_cut(false)),
            Command::Set { link, way, change } => {
                if let Some(current) = self.links.get(*link)
                    && let Err(message) = change.applied_to(current.shape()).check()
                {
                    return Reply::Error { message };
                }
                self.with_link(*link, |link| link.change(*way, change))
            }
            Command::Stats => {
                Reply::Stats { links: self.links.iter().map(|link| link.stats()).collect::<Vec<LinkStats>>() }
            }
            Command::List => {
                Reply::List { links: self.links.iter().map(|link| link.info()).collect::<Vec<LinkInfo>>() }
            }
            Command::Stop => {
                self.stop.notify_one();
                Reply::Ok
            }
        }
    }

    fn with_link(&self, number: usize, act: impl FnOnce(&Link)) -> Reply {
        match self.links.get(number) {
            Some(link) => {
                act(link);
                Reply::Ok
            }
            None => Reply::Error {
                message: format!("there is no link {number}: links are 0 to {}", self.links.len().saturating_sub(1)),
            },
        }
    }
}

fn check(config: &Config) -> Result<(), EmulatorError> {
    if config.links.is_empty() || config.links.len() > MAX_LINKS {
        let count = config.links.len();
        return Err(EmulatorError::Config(format!("{count} links: 1 to {MAX_LINKS} are possible")));
    }
    for (number, link) in config.links.iter().enumerate() {
        let bad = |error| EmulatorError::Config(format!("link {number}: {error}"));
        link.shape.check().map_err(bad)?;
        link.down.as_ref().map_or(Ok(()), Shape::check).map_err(bad)?;
        let start_s = link.trace.as_ref().map_or(0.0, |trace| trace.start_s);
        if !(0.0..=1e6).contains(&start_s) {
            return Err(bad(format!("the recording's start_s is {start_s}: 0 to 1000000 is possible")));
        }
    }
    Ok(())
}

/// Listens at `path`, in place of an emulator that died there.
async fn listen(path: &Path) -> io::Result<UnixListener> {
    if path.exists() {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another emulator answers there"));
        }
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

async fn accept(listener: UnixListener, inner: Arc<Inner>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONTROLS => {
                    let inner = Arc::clone(&inner);
                    connections.spawn(async move {
                        inner.controls.fetch_add(1, Ordering::SeqCst);
                        if let Err(error) = obey(stream, &inner).await {
                            tracing::debug!("a control connection broke: {error}");
                        }
                        inner.controls.fetch_sub(1, Ordering::SeqCst);
                    });
                }
                Ok(_) => tracing::warn!("more than {MAX_CONTROLS} control connections: one refused"),
                Err(error) => {
                    tracing::warn!("cannot accept a control connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Reads commands and answers each.
async fn obey(mut stream: UnixStream, inner: &Inner) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut read).take(MAX_LINE).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n");
        let reply = match serde_json::from_slice::<Command>(&line) {
            Ok(command) => inner.apply(&command),
            Err(error) => Reply::Error { message: format!("not a command: {error}") },
        };
        let mut answer = serde_json::to_vec(&reply)?;
        answer.push(b'\n');
        write.write_all(&answer).await?;
        if !whole {
            // Too long, or the end: there is no telling where the next command starts.
            return Ok(());
        }
    }
}

async fn watch_idle(inner: Arc<Inner>, patience: Duration) {
    let mut ticks = interval(patience.clamp(Duration::from_millis(100), Duration::from_secs(1)));
    let mut busy = Instant::now();
    loop {
        ticks.tick().await;
        let newest = inner.links.iter().map(|link| link.last_packet()).max();
        busy = newest.map_or(busy, |newest| busy.max(newest));
        if inner.controls.load(Ordering::SeqCst) > 0 {
            busy = Instant::now();
        }
        if busy.elapsed() >= patience {
            inner.stop.notify_one();
            return;
        }
    }
}
