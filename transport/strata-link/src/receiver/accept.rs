//! Accepting connections: who is not the allowed sender costs a bounded handshake and nothing else.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quinn::{Connection, ConnectionError, Endpoint, Incoming};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::gate::{Gate, Verdict};
use super::{Shared, connection};
use crate::quic;

/// A handshake that takes longer is given up.
const HANDSHAKE_TIME: Duration = Duration::from_secs(8);
/// Connections of the allowed sender at a time: sixteen links, each connected anew beside its old connection.
const MAX_CONNECTIONS: usize = 64;

pub(super) async fn run(endpoint: Endpoint, shared: Arc<Shared>) {
    let gate = Arc::new(Mutex::<Gate>::default());
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => take(incoming, &shared, &gate, &mut tasks),
                None => break,
            },
            Some(ended) = tasks.join_next() => if let Err(error) = ended && error.is_panic() {
                tracing::error!("a connection's task panicked: {error}");
            },
        }
    }
    // The endpoint was closed, so every connection's task is about to end.
    while tasks.join_next().await.is_some() {}
}

fn lock(gate: &Mutex<Gate>) -> MutexGuard<'_, Gate> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handshake's place at the gate, free again when it is dropped.
struct Place {
    gate: Arc<Mutex<Gate>>,
    remote: SocketAddr,
    known: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.gate).ended(self.remote.ip(), self.known);
    }
}

fn take(incoming: Incoming, shared: &Arc<Shared>, gate: &Arc<Mutex<Gate>>, tasks: &mut JoinSet<()>) {
    let remote = incoming.remote_address();
    let verdict = lock(gate).knock(Instant::now(), remote.ip(), incoming.remote_address_validated());
    match verdict {
        Verdict::Accept => {
            let place = Place { gate: Arc::clone(gate), remote, known: false };
            tasks.spawn(admit(incoming, Arc::clone(shared), place));
        }
        Verdict::Prove => {
            if let Err(error) = incoming.retry() {
                tracing::debug!("no retry possible: {error}");
            }
        }
        Verdict::Ignore => incoming.ignore(),
    }
}

async fn admit(incoming: Incoming, shared: Arc<Shared>, mut place: Place) {
    let connection = match shake_hands(incoming).await {
        Ok(connection) => connection,
        Err(error) => return refused(&shared, &place, error.as_ref()),
    };
    place.known = true;
    drop(place);
    if shared.connections().len() < MAX_CONNECTIONS {
        connection::run(&shared, connection).await;
    } else {
        connection.close(quic::CLOSED, b"too many connections");
    }
}

/// The connection of the allowed sender; no error when nothing came for too long.
async fn shake_hands(incoming: Incoming) -> Result<Connection, Option<ConnectionError>> {
    let connecting = incoming.accept().map_err(Some)?;
    timeout(HANDSHAKE_TIME, connecting).await.map_err(|_| None)?.map_err(Some)
}

fn refused(shared: &Shared, place: &Place, error: Option<&ConnectionError>) {
    let remote = place.remote;
    match error {
        Some(ConnectionError::TransportError(error))
            if error.code == quinn::TransportErrorCode::crypto(quic::ACCESS_DENIED) =>
        {
            if lock(&place.gate).may_complain(Instant::now()) {
                tracing::warn!("refused {remote}: its key is not the allowed one, {}", shared.allow);
            } else {
                tracing::debug!("refused {remote}: its key is not the allowed one either");
            }
        }
        Some(error) => tracing::debug!("handshake with {remote} failed: {error}"),
        None => tracing::debug!("{remote} did not finish its handshake"),
    }
}
