//! Connecting one link: socket, handshake, welcome.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, Endpoint};
use tokio::time::timeout;

use super::Shared;
use super::explain::explain;
use crate::{LinkConfig, LinkError, quic, tls};

/// Attempts in turn: how long each may take, and the largest packet that the path must carry.
///
/// A path of small packets shows by silence to the large ones. Slow paths get their time in the later attempts.
const ATTEMPTS: [(Duration, u16); 4] = [
    (Duration::from_millis(1500), quic::FULL_MTU),
    (Duration::from_millis(1500), quic::SMALL_MTU),
    (Duration::from_secs(4), quic::FULL_MTU),
    (Duration::from_secs(4), quic::SMALL_MTU),
];

/// The attempt whose packets are small, and as quick as the first.
pub(super) const SMALL: usize = 1;

/// A link that stands.
pub(super) struct Connected {
    pub(super) endpoint: Endpoint,
    pub(super) connection: quinn::Connection,
    /// A quick attempt with the packets that worked.
    pub(super) worked: usize,
}

/// Why an attempt failed.
pub(super) struct Failure {
    /// In words, for people.
    pub(super) why: String,
    /// Trying again soon is of no use: somebody has to change something.
    pub(super) settled: bool,
}

impl Failure {
    fn new(why: impl ToString) -> Self {
        Self { why: why.to_string(), settled: false }
    }
}

/// Tries to connect `link` once; `attempt` counts from 0.
pub(super) async fn connect(shared: &Shared, link: &LinkConfig, attempt: usize) -> Result<Connected, Failure> {
    let (patience, mtu) = ATTEMPTS[attempt % ATTEMPTS.len()];
    let endpoint = open_endpoint(shared, link).map_err(with_cause)?;
    let crypto = tls::client(&shared.identity, shared.peer).map_err(Failure::new)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(quic::sender(mtu)));
    let connecting = endpoint.connect_with(config, link.remote, "strata").map_err(Failure::new)?;
    let handshake = async {
        let connection = connecting.await?;
        // The receiver says welcome when it has checked our key: before, a refusal may still come.
        let mut stream = connection.accept_uni().await?;
        let mut welcome = [0];
        if stream.read_exact(&mut welcome).await.is_err() || welcome[0] != quic::WELCOME {
            return Err(connection.close_reason().unwrap_or(ConnectionError::VersionMismatch));
        }
        Ok(connection)
    };
    match timeout(patience, handshake).await {
        Ok(Ok(connection)) => Ok(Connected { endpoint, connection, worked: attempt % 2 }),
        Ok(Err(error)) => Err(explain(&error, shared, link)),
        Err(_) => Err(explain(&ConnectionError::TimedOut, shared, link)),
    }
}

fn open_endpoint(shared: &Shared, link: &LinkConfig) -> Result<Endpoint, LinkError> {
    let socket = shared.network.open(link)?;
    let config = quic::endpoint(&shared.identity);
    Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(quinn::TokioRuntime))
        .map_err(|source| LinkError::Socket { link: link.id, interface: link.interface.clone(), source })
}

/// An error with its causes, in one line.
fn with_cause(error: LinkError) -> Failure {
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    Failure::new(why)
}
