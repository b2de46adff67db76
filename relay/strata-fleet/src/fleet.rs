//! The handle: opening, closing, health, and what the relay does by itself.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use strata_control::StreamId;
use strata_relay_db::{Database, StreamState};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::Registry;
use crate::events::Events;
use crate::inner::Inner;
use crate::secrets::{Secrets, SecretsError, private_folder};
use crate::stream::{Streams, restore};
use crate::throttle::{Throttle, ThrottlePolicy};
use crate::worker::{PortPool, WorkerMode, sockets_in, stop_orphan};
use crate::{Actor, FleetConfig, FleetError, FleetEvents, Health};

/// Failed logins with one e-mail address.
const BY_EMAIL: ThrottlePolicy =
    ThrottlePolicy { free: 5, first_wait: Duration::from_secs(30), longest_wait: Duration::from_secs(15 * 60) };
/// Failed logins from one address: several people may share it.
const BY_ADDRESS: ThrottlePolicy =
    ThrottlePolicy { free: 20, first_wait: Duration::from_secs(10), longest_wait: Duration::from_secs(15 * 60) };
/// Failed logins of devices from one address: many may share a carrier's.
const AGENTS: ThrottlePolicy =
    ThrottlePolicy { free: 20, first_wait: Duration::from_secs(5), longest_wait: Duration::from_secs(5 * 60) };
/// How often what is over is cleared away.
const CLEAR_EVERY: Duration = Duration::from_secs(300);
/// Workers' logs are kept for this long after their last line.
const KEEP_LOGS: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long tasks may take to end at shutdown.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// The fleet: cheap to clone, safe to share.
#[derive(Clone)]
pub struct Fleet {
    pub(crate) inner: Arc<Inner>,
}

/// Database and secrets, without anything that runs.
pub(crate) async fn open_storage(config: &FleetConfig) -> Result<(Database, Secrets), FleetError> {
    let folder = |path: &Path| private_folder(path).map_err(secrets_failed);
    folder(&config.data_dir)?;
    let secrets = Secrets::read_or_create(&config.data_dir.join("secrets")).map_err(secrets_failed)?;
    let db = Database::open(&config.data_dir.join("relay.db"), secrets.seal_key.clone()).await?;
    Ok((db, secrets))
}

fn secrets_failed(error: SecretsError) -> FleetError {
    FleetError::Internal { context: error.to_string(), source: Box::new(error) }
}

impl Fleet {
    /// Opens storage and secrets, takes running workers back, and goes on with every stream that is not over.
    ///
    /// # Errors
    /// [`FleetError::Internal`] names the file or folder.
    pub async fn open(config: FleetConfig) -> Result<Self, FleetError> {
        let (db, secrets) = open_storage(&config).await?;
        for folder in [&config.run_dir, &config.log_dir, &config.hls_dir()] {
            private_folder(folder).map_err(secrets_failed)?;
        }
        let throttle = |policy| Mutex::new(Throttle::new(policy));
        let inner = Arc::new(Inner {
            ports: PortPool::new(config.worker_ports.clone(), config.worker_listen),
            config,
            db,
            secrets,
            started: Instant::now(),
            devices: Registry::default(),
            streams: Streams::default(),
            events: Events::new(),
            logins_by_email: throttle(BY_EMAIL),
            logins_by_address: throttle(BY_ADDRESS),
            agents_by_address: throttle(AGENTS),
            hashing: Semaphore::new(1),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        inner.take_up_streams().await?;
        inner.tasks.spawn(clear_away(inner.clone()));
        Ok(Self { inner })
    }

    /// Closes connections and stores what is in memory. Workers go on: media is not concerned.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.devices.close_all("the relay restarts");
        inner.closing.cancel();
        inner.tasks.close();
        if tokio::time::timeout(SHUTDOWN, inner.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        for (id, status, status_at, seen_at) in inner.devices.last_words() {
            if let Err(error) = inner.db.store_device_status(id, &status, status_at, seen_at).await {
                tracing::error!(%error, device = %id, "cannot store a device's last status");
            }
        }
        inner.db.close().await;
    }

    /// How the relay is.
    pub async fn health(&self) -> Health {
        let inner = &self.inner;
        let mut problems = Vec::new();
        let ready = match inner.db.ping().await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "the database does not answer");
                problems.push("the database does not answer".to_owned());
                false
            }
        };
        let (lost_datagrams, delivered_datagrams) = inner.streams.totals();
        Health {
            ready: ready && !inner.closing.is_cancelled(),
            problems,
            devices_online: inner.devices.online_count(),
            streams: inner.streams.len(),
            lost_datagrams,
            delivered_datagrams,
            uptime_s: inner.started.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Events of the actor's owner from now on.
    #[must_use]
    pub fn subscribe(&self, actor: &Actor) -> FleetEvents {
        self.inner.events.subscribe(actor.owner_id, self.inner.closing.clone())
    }
}

impl FleetConfig {
    /// Where the streams' HLS folders are.
    #[must_use]
    pub fn hls_dir(&self) -> std::path::PathBuf {
        self.data_dir.join("hls")
    }

    pub(crate) fn hls_folder(&self, id: StreamId) -> std::path::PathBuf {
        self.hls_dir().join(id.to_string())
    }
}

impl Inner {
    /// After a start: every stream that is not over gets its task back, every worker its stream; workers whose
    /// stream is over are ended.
    async fn take_up_streams(self: &Arc<Self>) -> Result<(), FleetError> {
        let unfinished = self.db.unfinished_streams().await?;
        let known: HashSet<StreamId> = unfinished.iter().map(|record| record.id).collect();
        for record in unfinished {
            let device = self.db.device_itself(record.device).await?;
            let Some(key) = device.and_then(|device| device.public_key) else {
                tracing::error!(stream = %record.id, "a stream's device has no key: the stream is left as it is");
                continue;
            };
            let stopping = record.state == StreamState::Stopping;
            let mode = if stopping { WorkerMode::Stop } else { WorkerMode::Adopt };
            tracing::info!(stream = %record.id, state = %record.state, "going on with a stream");
            restore(self, record, key, mode);
        }
        let sockets = sockets_in(&self.config).map_err(|error| FleetError::Internal {
            context: format!("cannot read {}", self.config.run_dir.display()),
            source: Box::new(error),
        })?;
        for id in sockets.into_iter().filter(|id| !known.contains(id)) {
            let inner = self.clone();
            let key = self.secrets.worker_key(id).public();
            self.tasks.spawn(async move {
                tokio::select! {
                    () = stop_orphan(&inner.config, id, key) => {}
                    () = inner.closing.cancelled() => {}
                }
            });
        }
        Ok(())
    }

    /// Deletes sessions, HLS files and logs whose time is over.
    async fn clear(&self) {
        if let Err(error) = self.db.purge_sessions(Timestamp::now()).await {
            tracing::error!(%error, "cannot delete old sessions");
        }
        let before = Timestamp::now() - self.config.hls_keep;
        for (path, id) in named_after_streams(&self.config.hls_dir(), "", "") {
            match self.db.stream_was_over(id, before).await {
                Ok(true) => remove(&path, std::fs::remove_dir_all(&path)),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "cannot tell whether a stream is over"),
            }
        }
        for (path, _) in named_after_streams(&self.config.log_dir, "worker-", ".log") {
            let changed = path.metadata().and_then(|metadata| metadata.modified());
            let age = changed.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            if age.is_some_and(|age| age > KEEP_LOGS) {
                remove(&path, std::fs::remove_file(&path));
            }
        }
    }
}

async fn clear_away(inner: Arc<Inner>) {
    let mut clock = tokio::time::interval(CLEAR_EVERY);
    loop {
        tokio::select! {
            _ = clock.tick() => inner.clear().await,
            () = inner.closing.cancelled() => return,
        }
    }
}

/// Entries of a folder that are named after a stream.
fn named_after_streams(folder: &Path, prefix: &str, suffix: &str) -> Vec<(std::path::PathBuf, StreamId)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let named = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let id = name.to_str()?.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()?;
        Some((entry.path(), id))
    };
    entries.filter_map(named).collect()
}

fn remove(path: &Path, removed: std::io::Result<()>) {
    match removed {
        Ok(()) => tracing::debug!(path = %path.display(), "removed what is over"),
        Err(error) => tracing::warn!(%error, path = %path.display(), "cannot remove what is over"),
    }
}
