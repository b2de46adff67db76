//! The receiving end: one task that accepts, one per connection that reads, one that reports.

mod accept;
mod connection;
mod gate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::Endpoint;
use strata_bond::{ConnectionId, ReceiverStats, ReportOut, Time};
use strata_identity::PublicKey;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clock::{Clock, random_u64};
use crate::network::{Network, System};
use crate::{Datagram, LinkError, ReceiverConfig, check_latency, quic, tls};

/// Handshakes at a time that are accepted before anything is known of the other end.
const MAX_INCOMING: usize = 64;
/// Bytes kept for one handshake that waits to be accepted, and for all of them.
const INCOMING_BUFFER: u64 = 64 << 10;
const INCOMING_BUFFERS: u64 = 1 << 20;
/// A datagram may wait this long for the next packet to come, so that one wake-up serves both.
const RELEASE_SLACK: Duration = Duration::from_millis(2);

/// What all tasks of a receiver share. Locks are held for moments only, never two at a time.
struct Shared {
    clock: Clock,
    allow: PublicKey,
    engine: Mutex<strata_bond::Receiver>,
    connections: Mutex<BTreeMap<ConnectionId, quinn::Connection>>,
    next_connection: AtomicU64,
    /// A datagram may be due earlier than [`Receiver::recv`] thinks, or the end has come.
    released: Notify,
    /// When `recv` wakes by itself, in microseconds of the clock.
    release_due: AtomicU64,
    /// A report may be due earlier than the reporting task thinks.
    report: Notify,
    report_due: AtomicU64,
    closed: AtomicBool,
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, strata_bond::Receiver> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<ConnectionId, quinn::Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever has something to do at `now`, or sleeps past what is due.
    fn wake_sleepers(&self, now: Time, release: Option<Time>, report: Option<Time>) {
        let slept_past = |due: Time| (due + RELEASE_SLACK).as_micros() < self.release_due.load(Ordering::SeqCst);
        if release.is_some_and(|due| due <= now || slept_past(due)) {
            self.released.notify_one();
        }
        if report.is_some_and(|due| due.as_micros() < self.report_due.load(Ordering::SeqCst)) {
            self.report.notify_one();
        }
    }

    fn send_reports(&self, reports: Vec<ReportOut>) {
        if reports.is_empty() {
            return;
        }
        let connections = self.connections();
        for report in reports {
            for id in &report.connections {
                let Some(connection) = connections.get(id) else { continue };
                if let Err(error) = connection.send_datagram(report.packet.clone()) {
                    // A report is never missed: the next one says the same.
                    tracing::trace!("report not sent: {error}");
                }
            }
        }
    }
}

/// The receiving end of a bond.
pub struct Receiver {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    address: SocketAddr,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.endpoint.close(quic::CLOSED, b"");
        for task in self.tasks().iter() {
            task.abort();
        }
    }
}

impl Receiver {
    /// Listens for the one allowed sender.
    ///
    /// # Errors
    /// [`LinkError::Listen`] names the address and what to do.
    pub async fn bind(config: ReceiverConfig) -> Result<Self, LinkError> {
        Self::bind_over(Arc::new(System), config).await
    }

    /// The same over a network that is not the operating system's.
    ///
    /// # Errors
    /// [`LinkError::Listen`] names the address and what to do.
    #[allow(clippy::unused_async, reason = "async, so that it can only be called where there is a runtime")]
    pub async fn bind_over(network: Arc<dyn Network>, config: ReceiverConfig) -> Result<Self, LinkError> {
        check_latency(config.latency)?;
        let listen_error = |source| LinkError::Listen { address: config.listen, source };
        let crypto = tls::server(&config.identity, config.allow).map_err(LinkError::Tls)?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        server
            .transport_config(Arc::new(quic::receiver()))
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(INCOMING_BUFFERS);
        let socket = network.listen(config.listen)?;
        let (own, runtime) = (quic::endpoint(&config.identity), Arc::new(quinn::TokioRuntime));
        let endpoint = Endpoint::new_with_abstract_socket(own, Some(server), socket, runtime).map_err(listen_error)?;
        let address = endpoint.local_addr().map_err(listen_error)?;
        let clock = Clock::start();
        let instance = u32::try_from(random_u64() >> 32).expect("the upper half of 64 bits");
        let shared = Arc::new(Shared {
            clock,
            allow: config.allow,
            engine: Mutex::new(strata_bond::Receiver::new(clock.now(), config.latency, instance)),
            connections: Mutex::default(),
            next_connection: AtomicU64::new(0),
            released: Notify::new(),
            release_due: AtomicU64::new(u64::MAX),
            report: Notify::new(),
            report_due: AtomicU64::new(u64::MAX),
            closed: AtomicBool::new(false),
        });
        let tasks = vec![
            tokio::spawn(accept::run(endpoint.clone(), Arc::clone(&shared))),
            tokio::spawn(report(Arc::clone(&shared))),
        ];
        Ok(Self { shared, endpoint, address, tasks: Mutex::new(tasks) })
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens: the real port when port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next datagram, in order and in its source's timing; none after [`close`](Self::close).
    ///
    /// It comes up to 2 ms after its time if a packet arrives meanwhile: one wake-up serves both.
    ///
    /// Cancelling it loses nothing. One task at a time may wait.
    pub async fn recv(&self) -> Option<Datagram> {
        loop {
            if self.shared.closed.load(Ordering::SeqCst) {
                return None;
            }
            let wake = {
                let mut engine = self.shared.engine();
                if let Some(release) = engine.poll_release(self.shared.clock.now()) {
                    return Some(release.into());
                }
                let wake = engine.next_release().map(|due| due + RELEASE_SLACK);
                // Set under the lock: a reader that comes after us sees it.
                self.shared.release_due.store(wake.map_or(u64::MAX, Time::as_micros), Ordering::SeqCst);
                wake
            };
            wait(&self.shared.released, wake, &self.shared.clock).await;
        }
    }

    /// The next datagram if its time has come: those that are due together are taken together.
    #[must_use]
    pub fn try_recv(&self) -> Option<Datagram> {
        self.shared.engine().poll_release(self.shared.clock.now()).map(Datagram::from)
    }

    /// What is known now.
    #[must_use]
    pub fn stats(&self) -> ReceiverStats {
        self.shared.engine().stats(self.shared.clock.now())
    }

    /// Ends all tasks and connections; the port is free afterwards.
    pub async fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.released.notify_one();
        self.endpoint.close(quic::CLOSED, b"");
        if tokio::time::timeout(Duration::from_millis(300), self.endpoint.wait_idle()).await.is_err() {
            tracing::debug!("a connection's end was not acknowledged");
        }
        let tasks = std::mem::take(&mut *self.tasks());
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            if let Err(error) = task.await
                && error.is_panic()
            {
                tracing::error!("a task of the receiver panicked: {error}");
            }
        }
    }
}

/// Sleeps until `due` or until notified.
async fn wait(notify: &Notify, due: Option<Time>, clock: &Clock) {
    match due {
        None => notify.notified().await,
        Some(due) => {
            tokio::select! {
                () = notify.notified() => {}
                () = tokio::time::sleep_until(clock.instant(due)) => {}
            }
        }
    }
}

/// Sends the reports that fall due while no packet comes.
async fn report(shared: Arc<Shared>) {
    loop {
        let (reports, next) = {
            let mut engine = shared.engine();
            let now = shared.clock.now();
            let reports: Vec<ReportOut> = std::iter::from_fn(|| engine.poll_report(now)).collect();
            let next = engine.next_report();
            shared.report_due.store(next.map_or(u64::MAX, Time::as_micros), Ordering::SeqCst);
            (reports, next)
        };
        shared.send_reports(reports);
        wait(&shared.report, next, &shared.clock).await;
    }
}
