//! The sending end: one task that sends, one task per link that connects and reads reports.

mod connection;
mod explain;
mod link;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::SendDatagramError;
use strata_bond::{MAX_DATAGRAM, MAX_LINKS, PushError, SenderStats, Transmit};
use strata_identity::{KeyPair, PublicKey};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::clock::{Clock, random_u64};
use crate::network::{Network, System};
use crate::{LinkConfig, LinkError, SendError, SenderConfig, check_latency, tls};

/// So many packets are taken from the engine at a time: short enough not to hold up the source.
const BATCH: usize = 64;
/// What falls due waits this long for a datagram or a report to come, so that one wake-up serves both.
const SLACK: Duration = Duration::from_millis(2);
/// The path's largest packet is looked up this often; it grows when QUIC finds that more fits.
const MTU_INTERVAL: Duration = Duration::from_secs(1);
/// Closing waits no longer than this for the last packets, in addition to the latency.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// What all tasks of a sender share. Locks are held for moments only, never two at a time.
struct Shared {
    identity: KeyPair,
    peer: PublicKey,
    network: Arc<dyn Network>,
    clock: Clock,
    engine: Mutex<strata_bond::Sender>,
    connections: Mutex<BTreeMap<u8, quinn::Connection>>,
    /// Something was handed over or answered.
    wake: Notify,
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, strata_bond::Sender> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<u8, quinn::Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A link's task.
struct Link {
    config: LinkConfig,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What is left when a sender is closed.
struct Tasks {
    links: BTreeMap<u8, Link>,
    driver: Option<JoinHandle<()>>,
    closed: bool,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for link in self.links.values() {
            link.task.abort();
        }
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

/// The sending end of a bond.
pub struct Sender {
    shared: Arc<Shared>,
    tasks: Mutex<Tasks>,
    runtime: Handle,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("peer", &self.shared.peer).finish_non_exhaustive()
    }
}

impl Sender {
    /// Starts sending over the configured links; needs a running tokio runtime.
    ///
    /// Links connect, and connect again, by themselves: a receiver or an interface that is not there yet is no
    /// error, but shows as the link's `error` in [`stats`](Self::stats). To know before: [`LinkConfig::check`].
    ///
    /// # Errors
    /// [`LinkError`] when the configuration contradicts itself.
    pub fn start(config: SenderConfig) -> Result<Self, LinkError> {
        Self::start_over(Arc::new(System), config)
    }

    /// The same over a network that is not the operating system's.
    ///
    /// # Errors
    /// [`LinkError`] when the configuration contradicts itself.
    pub fn start_over(network: Arc<dyn Network>, config: SenderConfig) -> Result<Self, LinkError> {
        let runtime = Handle::try_current().map_err(|_| LinkError::NoRuntime)?;
        check_latency(config.latency)?;
        check_links(&config.links)?;
        // Once here, so that a bad key is an error now and not at each connection.
        tls::client(&config.identity, config.peer).map_err(LinkError::Tls)?;
        let clock = Clock::start();
        let shared = Arc::new(Shared {
            identity: config.identity,
            peer: config.peer,
            network,
            clock,
            engine: Mutex::new(strata_bond::Sender::new(clock.now(), config.latency, random_u64())),
            connections: Mutex::default(),
            wake: Notify::new(),
        });
        let driver = runtime.spawn(drive(Arc::clone(&shared)));
        let tasks = Tasks { links: BTreeMap::new(), driver: Some(driver), closed: false };
        let sender = Self { shared, tasks: Mutex::new(tasks), runtime };
        sender.set_links(config.links)?;
        Ok(sender)
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one datagram of 1..=1456 bytes. Never blocks; callable from any thread.
    ///
    /// # Errors
    /// [`SendError`] when it was not taken.
    pub fn send(&self, datagram: Bytes) -> Result<(), SendError> {
        if datagram.is_empty() || datagram.len() > MAX_DATAGRAM {
            return Err(SendError::Size(datagram.len()));
        }
        if self.tasks().closed {
            return Err(SendError::Closed);
        }
        let mut engine = self.shared.engine();
        let pushed = engine.push(self.shared.clock.now(), datagram);
        drop(engine);
        self.shared.wake.notify_one();
        pushed.map_err(|error| match error {
            PushError::Size(size) => SendError::Size(size),
            PushError::Full => SendError::Full,
        })
    }

    /// What is known now.
    #[must_use]
    pub fn stats(&self) -> SenderStats {
        self.shared.engine().stats(self.shared.clock.now())
    }

    /// The bitrate of the stream that can be sustained now, in bits per second.
    #[must_use]
    pub fn target_bps(&self) -> u64 {
        self.shared.engine().target_bps()
    }

    /// Replaces the set of links: those with the same id and path go on undisturbed.
    ///
    /// # Errors
    /// [`LinkError`] when the new set is impossible; nothing was changed then.
    pub fn set_links(&self, links: Vec<LinkConfig>) -> Result<(), LinkError> {
        check_links(&links)?;
        let mut tasks = self.tasks();
        if tasks.closed {
            return Err(LinkError::Closed);
        }
        let gone: Vec<u8> = tasks
            .links
            .iter()
            .filter(|(_, old)| !links.iter().any(|new| same_path(new, &old.config)))
            .map(|(&id, _)| id)
            .collect();
        for id in gone {
            if let Some(link) = tasks.links.remove(&id) {
                link.stop.send_replace(true);
                self.shared.engine().remove_link(id);
            }
        }
        for config in links {
            self.shared.engine().add_link(self.shared.clock.now(), config.id, &config.name);
            if let Some(link) = tasks.links.get_mut(&config.id) {
                link.config.name = config.name;
                continue;
            }
            let (stop, stopped) = watch::channel(false);
            let task = self.runtime.spawn(link::run(Arc::clone(&self.shared), config.clone(), stopped));
            tasks.links.insert(config.id, Link { config, stop, task });
        }
        drop(tasks);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Changes the latency for datagrams not yet released.
    ///
    /// # Errors
    /// [`LinkError::Latency`] when it is out of range; nothing was changed then.
    pub fn set_latency(&self, latency: Duration) -> Result<(), LinkError> {
        check_latency(latency)?;
        self.shared.engine().set_latency(self.shared.clock.now(), latency);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Sends what is waiting as far as the latency allows, then ends all tasks and connections.
    pub async fn close(&self) {
        self.tasks().closed = true;
        let latency = Duration::from_millis(self.stats().latency_ms);
        // Past its time nothing is worth waiting for; an error here means just that.
        if tokio::time::timeout(latency + CLOSE_GRACE, self.drained()).await.is_err() {
            tracing::debug!("closed with datagrams still on their way");
        }
        let (links, driver) = {
            let mut tasks = self.tasks();
            (std::mem::take(&mut tasks.links), tasks.driver.take())
        };
        for link in links.values() {
            link.stop.send_replace(true);
        }
        for link in links.into_values() {
            finish(link.task).await;
        }
        if let Some(driver) = driver {
            driver.abort();
            finish(driver).await;
        }
    }

    async fn drained(&self) {
        while !self.shared.engine().is_drained() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Waits for a task's end; that it was aborted is no news.
async fn finish(task: JoinHandle<()>) {
    if let Err(error) = task.await
        && error.is_panic()
    {
        tracing::error!("a task of the sender panicked: {error}");
    }
}

fn same_path(a: &LinkConfig, b: &LinkConfig) -> bool {
    (a.id, a.remote, &a.interface) == (b.id, b.remote, &b.interface)
}

fn check_links(links: &[LinkConfig]) -> Result<(), LinkError> {
    for (at, link) in links.iter().enumerate() {
        if usize::from(link.id) >= MAX_LINKS {
            return Err(LinkError::Links(format!("link {} does not exist: ids are 0 to {}", link.id, MAX_LINKS - 1)));
        }
        if links[..at].iter().any(|other| other.id == link.id) {
            return Err(LinkError::Links(format!("the id {} is used twice", link.id)));
        }
        let twin = links[..at].iter().find(|other| (other.remote, &other.interface) == (link.remote, &link.interface));
        if let (Some(twin), Some(interface)) = (twin, &link.interface) {
            return Err(LinkError::Links(format!(
                "links {} and {} both go to {} over {interface}: list each interface once",
                twin.id, link.id, link.remote
            )));
        }
    }
    Ok(())
}

/// Hands the engine's packets to the connections, for as long as the sender lives.
async fn drive(shared: Arc<Shared>) {
    let mut batch: Vec<Transmit> = Vec::with_capacity(BATCH);
    let mut mtu_due = tokio::time::Instant::now() + MTU_INTERVAL;
    loop {
        let timeout = {
            let mut engine = shared.engine();
            let now = shared.clock.now();
            while batch.len() < BATCH {
                match engine.poll_transmit(now) {
                    Some(transmit) => batch.push(transmit),
                    None => break,
                }
            }
            engine.next_timeout()
        };
        let full = batch.len() == BATCH;
        hand_over(&shared, &mut batch);
        if full {
            // Other tasks, above all the connections', get their turn.
            tokio::task::yield_now().await;
            continue;
        }
        let deadline = timeout.map_or(mtu_due, |time| shared.clock.instant(time + SLACK).min(mtu_due));
        tokio::select! {
            () = shared.wake.notified() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        if tokio::time::Instant::now() >= mtu_due {
            mtu_due += MTU_INTERVAL;
            refresh_mtu(&shared);
        }
    }
}

fn hand_over(shared: &Shared, batch: &mut Vec<Transmit>) {
    if batch.is_empty() {
        return;
    }
    let mut too_large = Vec::new();
    let connections = shared.connections();
    for transmit in batch.drain(..) {
        let Some(connection) = connections.get(&transmit.link) else { continue };
        match connection.send_datagram(transmit.packet) {
            // A closed connection's task tells the engine; what is lost on the way is repaired.
            Ok(()) | Err(SendDatagramError::ConnectionLost(_)) => {}
            Err(SendDatagramError::TooLarge) => {
                too_large.push((transmit.link, connection.max_datagram_size().unwrap_or(0)));
            }
            Err(error) => tracing::warn!("link {}: {error}", transmit.link),
        }
    }
    drop(connections);
    if !too_large.is_empty() {
        let mut engine = shared.engine();
        for (id, bytes) in too_large {
            engine.set_max_datagram(id, bytes);
        }
    }
}

fn refresh_mtu(shared: &Shared) {
    let sizes: Vec<(u8, usize)> = shared
        .connections()
        .iter()
        .filter_map(|(&id, connection)| Some((id, connection.max_datagram_size()?)))
        .collect();
    let mut engine = shared.engine();
    for (id, bytes) in sizes {
        engine.set_max_datagram(id, bytes);
    }
}

/// Ends a connection and lets its last packet out.
async fn close_endpoint(endpoint: quinn::Endpoint, code: quinn::VarInt) {
    endpoint.close(code, b"");
    if tokio::time::timeout(Duration::from_millis(200), endpoint.wait_idle()).await.is_err() {
        tracing::debug!("a connection's end was not acknowledged");
    }
}
