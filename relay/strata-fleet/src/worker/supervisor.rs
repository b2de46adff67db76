//! Keeps one stream's worker running: starts it, takes it back after a restart of the relay, starts it again on the
//! same port when it ends, and gives up after too many failures in a row.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strata_control::{EndReason, OwnerId, StreamId};
use strata_identity::PublicKey;
use strata_worker_protocol::{WorkerCommand, WorkerConfig, WorkerEvent, WorkerKey, WorkerStats};
use tokio::process::Child;
use tokio::sync::mpsc;

use super::PortLease;
use super::process::{
    Greeting, WorkerError, WorkerSocket, how_ended, is_worker, kill_adopted, kill_child, log_tail, socket_path, spawn,
    wait_ready,
};
use crate::inner::Inner;

/// Waits before each start after a failure; one more failure in a row and the worker is given up.
const BACKOFF: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// A worker that ran for this long was no failed start.
const STEADY: Duration = Duration::from_secs(60);
/// A worker says something every second; after this silence it hangs (specified: statistics fresh within 15 s).
const SILENCE: Duration = Duration::from_secs(15);
/// How long a worker that closed its socket may take to end.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long to wait before asking a worker that runs on for its socket again.
const RECONNECT_EVERY: Duration = Duration::from_millis(50);
/// How long an adopted worker may take to greet.
const ADOPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds without relay and input after which a worker ends by itself.
const ORPHAN_TIMEOUT_S: u32 = 120;
/// Notes and orders that wait: the stream takes them at once, a second's worth is plenty.
const QUEUE: usize = 16;

/// How to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WorkerMode {
    /// No worker runs.
    Start,
    /// One may run since before the relay's restart.
    Adopt,
    /// One may run and is to be stopped.
    Stop,
}

/// Whose worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerPlan {
    pub(crate) stream: StreamId,
    pub(crate) owner: OwnerId,
    pub(crate) device_key: PublicKey,
    /// The port it had before.
    pub(crate) port: Option<u16>,
    pub(crate) mode: WorkerMode,
}

/// What the stream is told.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum WorkerNote {
    /// It receives.
    Ready { port: u16, adopted: bool, restarts: u32 },
    /// Its numbers.
    Stats(Box<WorkerStats>),
    /// Something that people should know; it goes on.
    Trouble { message: String },
    /// It ended and is started again.
    Exited { how: String },
    /// It failed too often; nothing follows.
    GaveUp { reason: EndReason, detail: String, log: Vec<String> },
}

/// What the stream wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum WorkerOrder {
    /// End it.
    Stop,
    /// Tell it this, if it runs; a worker that starts later reads the stored configuration.
    Tell(WorkerCommand),
}

/// The stream's side. When `notes` closes, no worker runs any more.
pub(crate) struct WorkerHandle {
    pub(crate) orders: mpsc::Sender<WorkerOrder>,
    pub(crate) notes: mpsc::Receiver<WorkerNote>,
}

/// Starts the supervision.
pub(crate) fn supervise(inner: &Arc<Inner>, plan: WorkerPlan) -> WorkerHandle {
    let (order, orders) = mpsc::channel(QUEUE);
    let (note, notes) = mpsc::channel(QUEUE);
    let key = inner.secrets.worker_key(plan.stream).public();
    let path = socket_path(&inner.config, plan.stream);
    let lease = plan.port.and_then(|port| inner.ports.claim(port));
    let supervisor =
        Supervisor { inner: inner.clone(), plan, key, path, orders, notes: note, lease, failures: 0, restarts: 0 };
    inner.tasks.spawn(supervisor.run());
    WorkerHandle { orders: order, notes }
}

struct Supervisor {
    inner: Arc<Inner>,
    plan: WorkerPlan,
    key: PublicKey,
    path: PathBuf,
    orders: mpsc::Receiver<WorkerOrder>,
    notes: mpsc::Sender<WorkerNote>,
    lease: Option<PortLease>,
    failures: u32,
    restarts: u32,
}

/// A worker that greeted.
struct Running {
    socket: WorkerSocket,
    greeting: Greeting,
    /// None for an adopted one, which is no child of this process.
    child: Option<Child>,
}

/// Why a worker is served no longer.
enum Served {
    /// As ordered, or the relay shuts down.
    Done,
    /// It ended.
    Failed(Failure),
}

struct Failure {
    reason: EndReason,
    text: String,
    /// Another program has the port.
    port_lost: bool,
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        Self { reason: EndReason::WorkerFailed, text: error.to_string(), port_lost: false }
    }
}

impl Supervisor {
    async fn run(mut self) {
        let mut running = match self.plan.mode {
            WorkerMode::Start => None,
            WorkerMode::Adopt | WorkerMode::Stop => self.adopt().await,
        };
        if running.is_none() && self.plan.mode == WorkerMode::Stop {
            return;
        }
        loop {
            let adopted = running.is_some();
            let started = match running.take() {
                Some(running) => Ok(Some(running)),
                None => self.start().await,
            };
            let failure = match started {
                Ok(None) => return,
                Ok(Some(running)) => {
                    let begun = Instant::now();
                    let note = WorkerNote::Ready { port: running.greeting.port, adopted, restarts: self.restarts };
                    self.note(note).await;
                    match self.serve(running).await {
                        Served::Done => return,
                        Served::Failed(failure) => {
                            if begun.elapsed() >= STEADY {
                                self.failures = 0;
                            }
                            failure
                        }
                    }
                }
                Err(failure) => failure,
            };
            if !self.may_retry(failure).await {
                return;
            }
            self.restarts += 1;
        }
    }

    async fn note(&self, note: WorkerNote) {
        // A stream that is gone needs no notes; its order to stop came before.
        drop(self.notes.send(note).await);
    }

    /// The worker that runs since before the relay's restart.
    async fn adopt(&mut self) -> Option<Running> {
        let connect = WorkerSocket::connect(&self.path, self.plan.stream, self.key);
        match tokio::time::timeout(ADOPT_TIMEOUT, connect).await {
            Ok(Ok((socket, greeting))) => {
                let port = greeting.port;
                if self.lease.as_ref().is_none_or(|lease| lease.port() != port) {
                    self.lease = self.inner.ports.claim(port);
                }
                tracing::info!(stream = %self.plan.stream, pid = greeting.pid, port, "took the worker back");
                Some(Running { socket, greeting, child: None })
            }
            Ok(Err(error)) => {
                tracing::info!(stream = %self.plan.stream, %error, "no worker to take back");
                None
            }
            Err(_) => {
                tracing::warn!(stream = %self.plan.stream, "a worker does not greet: starting another");
                None
            }
        }
    }

    /// Starts a worker. None when it is to stop meanwhile.
    async fn start(&mut self) -> Result<Option<Running>, Failure> {
        self.ensure_port()?;
        let config = self.worker_config().await?;
        let mut child = spawn(&self.inner.config, &config).await?;
        let limit = self.inner.config.timing.worker_ready;
        let (path, id, key) = (self.path.clone(), self.plan.stream, self.key);
        let ready = wait_ready(&mut child, &path, id, key, limit);
        let connected = tokio::select! {
            connected = ready => Some(connected),
            () = until_stop(&mut self.orders) => None,
            () = self.inner.closing.cancelled() => return Ok(None),
        };
        match connected {
            Some(Ok((socket, greeting))) => Ok(Some(Running { socket, greeting, child: Some(child) })),
            Some(Err(error)) => {
                kill_child(&mut child).await;
                Err(error.into())
            }
            None => {
                kill_child(&mut child).await;
                Ok(None)
            }
        }
    }

    /// The same port as before where there was one: the device goes on sending to it.
    fn ensure_port(&mut self) -> Result<(), Failure> {
        let in_use = match &self.lease {
            Some(lease) if self.inner.ports.is_free(lease.port()) => return Ok(()),
            Some(lease) => Some(lease.port()),
            None => None,
        };
        if let Some(port) = in_use {
            // The worker that just ended may still hold it for a moment; only a second failure gives it up.
            if self.failures < 2 {
                let text = format!("UDP port {port} is still in use");
                return Err(Failure { reason: EndReason::NoPort, text, port_lost: false });
            }
            tracing::warn!(port, "the worker's UDP port is used by another program: trying another one");
        }
        self.lease = self.inner.ports.lease();
        if self.lease.is_some() {
            return Ok(());
        }
        let (first, last) = (self.inner.ports.range().start(), self.inner.ports.range().end());
        let text = format!("no UDP port from {first} to {last} is free: end a stream, or widen worker_ports");
        Err(Failure { reason: EndReason::NoPort, text, port_lost: false })
    }

    async fn worker_config(&self) -> Result<WorkerConfig, Failure> {
        let WorkerPlan { stream, owner, device_key, .. } = &self.plan;
        let failed = |text: String| Failure { reason: EndReason::WorkerFailed, text, port_lost: false };
        let record = self.inner.db.stream(*owner, *stream).await.map_err(|error| failed(error.to_string()))?;
        let record = record.ok_or_else(|| failed("the stream was deleted".to_owned()))?;
        let destinations = self
            .inner
            .open_destinations(*owner, &record.config.destinations)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let port = self.lease.as_ref().map(PortLease::port).expect("a port was ensured before");
        Ok(WorkerConfig {
            stream_id: *stream,
            socket: self.path.clone(),
            listen: SocketAddr::new(self.inner.config.worker_listen, port),
            key: WorkerKey::new(&self.inner.secrets.worker_key(*stream)),
            allow: *device_key,
            latency_ms: record.config.settings.latency_ms,
            hls_folder: self.inner.config.hls_folder(*stream),
            destinations,
            orphan_timeout_s: ORPHAN_TIMEOUT_S,
        })
    }

    /// Listens to a worker until it ends.
    async fn serve(&mut self, mut running: Running) -> Served {
        let mut fatal: Option<(EndReason, String)> = None;
        let mut heard = Instant::now();
        let mut health = tokio::time::interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                event = running.socket.next() => match event {
                    Ok(Some(event)) => {
                        heard = Instant::now();
                        fatal = self.pass_on(event).await.or(fatal);
                    }
                    closed => {
                        if let Err(error) = closed {
                            tracing::warn!(stream = %self.plan.stream, %error, "the socket to the worker failed");
                        }
                        if fatal.is_some() || !self.reconnect(&mut running).await {
                            return Served::Failed(self.farewell(running, fatal).await);
                        }
                        heard = Instant::now();
                    }
                },
                order = self.orders.recv() => match order {
                    Some(WorkerOrder::Tell(command)) => {
                        if let Err(error) = running.socket.send(&command).await {
                            tracing::warn!(stream = %self.plan.stream, %error, "the worker does not take commands");
                        }
                    }
                    Some(WorkerOrder::Stop) | None if self.inner.closing.is_cancelled() => return Served::Done,
                    Some(WorkerOrder::Stop) | None => {
                        self.stop(running).await;
                        return Served::Done;
                    }
                },
                _ = health.tick() => {
                    if heard.elapsed() > SILENCE {
                        let text = format!("it said nothing for {} s", SILENCE.as_secs());
                        self.kill(&mut running).await;
                        return Served::Failed(Failure { reason: EndReason::WorkerFailed, text, port_lost: false });
                    }
                }
                () = self.inner.closing.cancelled() => return Served::Done,
            }
        }
    }

    /// A worker whose connection ended may well run on: another program connected to its socket, or this relay was
    /// too slow for it. Media is worth the question, and asking again as long as the process is there.
    async fn reconnect(&self, running: &mut Running) -> bool {
        let deadline = Instant::now() + FAREWELL;
        loop {
            let connect = WorkerSocket::connect(&self.path, self.plan.stream, self.key);
            if let Ok(Ok((socket, greeting))) = tokio::time::timeout(FAREWELL, connect).await {
                let same = greeting.pid == running.greeting.pid;
                if same {
                    tracing::info!(stream = %self.plan.stream, pid = greeting.pid, "connected to the worker again");
                    running.socket = socket;
                }
                return same;
            }
            if Instant::now() > deadline || !self.is_running(running) {
                return false;
            }
            tokio::time::sleep(RECONNECT_EVERY).await;
        }
    }

    fn is_running(&self, running: &mut Running) -> bool {
        match &mut running.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => is_worker(&self.inner.config, running.greeting.pid),
        }
    }

    /// Tells the stream; returns why the worker is about to end, if it said so.
    async fn pass_on(&self, event: WorkerEvent) -> Option<(EndReason, String)> {
        match event {
            WorkerEvent::Stats { stats } => self.note(WorkerNote::Stats(Box::new(stats))).await,
            WorkerEvent::Error { reason, message, fatal: true } => return Some((reason, message)),
            WorkerEvent::Error { message, fatal: false, .. } => self.note(WorkerNote::Trouble { message }).await,
            WorkerEvent::Ready { .. } | WorkerEvent::Stopped => {}
        }
        None
    }

    /// The worker closed its socket: how did it end?
    async fn farewell(&self, mut running: Running, fatal: Option<(EndReason, String)>) -> Failure {
        let how = match &mut running.child {
            Some(child) => tokio::time::timeout(FAREWELL, child.wait()).await.ok().map(how_ended),
            None => (!is_worker(&self.inner.config, running.greeting.pid)).then(|| "its process is gone".to_owned()),
        };
        let how = match how {
            Some(how) => how,
            None => {
                self.kill(&mut running).await;
                "it closed its socket and was ended".to_owned()
            }
        };
        match fatal {
            Some((reason, message)) => {
                Failure { reason, text: format!("{message} ({how})"), port_lost: reason == EndReason::NoPort }
            }
            None => Failure { reason: EndReason::WorkerFailed, text: how, port_lost: false },
        }
    }

    /// Asks the worker to end, and ends it when it does not.
    async fn stop(&mut self, mut running: Running) {
        let limit = self.inner.config.timing.stop;
        let asked = running.socket.send(&WorkerCommand::Stop).await;
        let in_time = asked.is_ok() && tokio::time::timeout(limit, self.wait_ended(&mut running)).await.is_ok();
        if !in_time {
            tracing::warn!(stream = %self.plan.stream, "the worker does not end by itself: ending it");
            self.kill(&mut running).await;
        }
    }

    async fn wait_ended(&self, running: &mut Running) {
        while let Ok(Some(event)) = running.socket.next().await {
            if let WorkerEvent::Stats { stats } = event {
                // The last numbers count too; a full queue means that nobody reads any more.
                drop(self.notes.try_send(WorkerNote::Stats(Box::new(stats))));
            }
        }
        match &mut running.child {
            Some(child) => drop(child.wait().await),
            None => {
                while is_worker(&self.inner.config, running.greeting.pid) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn kill(&self, running: &mut Running) {
        match &mut running.child {
            Some(child) => kill_child(child).await,
            None => kill_adopted(&self.inner.config, running.greeting.pid),
        }
    }

    /// Waits before the next start. False when there is none: too many failures, or it is to stop.
    async fn may_retry(&mut self, failure: Failure) -> bool {
        let Failure { reason, text, port_lost } = failure;
        tracing::warn!(stream = %self.plan.stream, how = text, failures = self.failures, "the worker ended");
        if port_lost {
            self.lease = None;
        }
        let wait = usize::try_from(self.failures).ok().and_then(|failures| BACKOFF.get(failures));
        self.failures += 1;
        let Some(wait) = wait else {
            let detail = format!("the relay's worker failed {} times in a row, the last time: {text}", self.failures);
            let reason = match reason {
                EndReason::NoPort | EndReason::DiskFull => reason,
                _ => EndReason::WorkerFailed,
            };
            let log = log_tail(&self.inner.config, self.plan.stream);
            self.note(WorkerNote::GaveUp { reason, detail, log }).await;
            return false;
        };
        self.note(WorkerNote::Exited { how: text }).await;
        tokio::select! {
            () = tokio::time::sleep(*wait) => true,
            () = until_stop(&mut self.orders) => false,
            () = self.inner.closing.cancelled() => false,
        }
    }
}

/// Until the stream wants the worker to end. What it wants to tell a worker that does not run is in the stored
/// configuration, which the next one reads.
async fn until_stop(orders: &mut mpsc::Receiver<WorkerOrder>) {
    while let Some(WorkerOrder::Tell(_)) = orders.recv().await {}
}
