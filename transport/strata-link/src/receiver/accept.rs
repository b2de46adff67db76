//! Accepting connections: who is not the allowed sender costs a bounded handshake and nothing else.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, Incoming};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Shared, connection};
use crate::quic;

/// Handshakes at a time; more are refused.
const MAX_HANDSHAKES: usize = 32;
/// From so many on, an address must prove that it receives what we send, before any state is kept.
const CAREFUL_FROM: usize = 8;
/// A handshake that takes longer is given up.
const HANDSHAKE_TIME: Duration = Duration::from_secs(8);
/// Connections of the allowed sender at a time: sixteen links, each connected anew beside its old connection.
const MAX_CONNECTIONS: usize = 64;

pub(super) async fn run(endpoint: Endpoint, shared: Arc<Shared>) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => take(incoming, &shared, &handshakes, &mut tasks),
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

fn take(incoming: Incoming, shared: &Arc<Shared>, handshakes: &Arc<Semaphore>, tasks: &mut JoinSet<()>) {
    let busy = MAX_HANDSHAKES - handshakes.available_permits();
    if busy >= CAREFUL_FROM && !incoming.remote_address_validated() && incoming.may_retry() {
        if let Err(error) = incoming.retry() {
            tracing::debug!("no retry possible: {error}");
        }
        return;
    }
    let Ok(permit) = Arc::clone(handshakes).try_acquire_owned() else {
        incoming.refuse();
        return;
    };
    let shared = Arc::clone(shared);
    tasks.spawn(async move {
        let remote = incoming.remote_address();
        let connection = match incoming.accept() {
            Ok(connecting) => timeout(HANDSHAKE_TIME, connecting).await,
            Err(error) => Ok(Err(error)),
        };
        drop(permit);
        match connection {
            Ok(Ok(connection)) if shared.connections().len() < MAX_CONNECTIONS => {
                connection::run(&shared, connection).await;
            }
            Ok(Ok(connection)) => connection.close(quic::CLOSED, b"too many connections"),
            Ok(Err(error)) => refused(&shared, remote, &error),
            Err(_) => tracing::debug!("{remote} did not finish its handshake"),
        }
    });
}

fn refused(shared: &Shared, remote: std::net::SocketAddr, error: &quinn::ConnectionError) {
    match error {
        quinn::ConnectionError::TransportError(error)
            if error.code == quinn::TransportErrorCode::crypto(quic::ACCESS_DENIED) =>
        {
            tracing::warn!("refused {remote}: its key is not the allowed one, {}", shared.allow);
        }
        error => tracing::debug!("handshake with {remote} failed: {error}"),
    }
}
