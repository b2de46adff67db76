//! Why a link does not stand, in words that say what to do.

use quinn::{ConnectionError, TransportErrorCode};

use super::Shared;
use super::connection::Failure;
use crate::{LinkConfig, quic};

/// TLS's alert for ends that speak different protocols (RFC 7301).
const NO_APPLICATION_PROTOCOL: u8 = 120;

pub(super) fn explain(error: &ConnectionError, shared: &Shared, link: &LinkConfig) -> Failure {
    let remote = link.remote;
    let settled = |why: String| Failure { why, settled: true };
    let soon = |why: String| Failure { why, settled: false };
    let denied = TransportErrorCode::crypto(quic::ACCESS_DENIED);
    match error {
        ConnectionError::TransportError(error) if error.code == denied => settled(format!(
            "the receiver at {remote} has another key than the expected {}: check the peer's public key",
            shared.peer
        )),
        ConnectionError::ConnectionClosed(close) if close.error_code == denied => settled(format!(
            "the receiver at {remote} refused this sender's key {}: start it with that key allowed",
            shared.identity.public()
        )),
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) =>
        {
            settled(format!("what listens at {remote} is not a strata-bond receiver of this version"))
        }
        ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
            soon(format!("the receiver at {remote} is busy with other handshakes"))
        }
        ConnectionError::TimedOut => {
            soon(format!("no answer from {remote}: does the receiver run, is its UDP port open?"))
        }
        ConnectionError::Reset => soon(format!("the receiver at {remote} was started anew")),
        ConnectionError::ApplicationClosed(close) if close.error_code == quic::REPLACED => settled(
            "another sender with the same key took over this receiver: give each sender its own key and receiver"
                .to_owned(),
        ),
        ConnectionError::ApplicationClosed(close) if close.error_code == quic::VERSION => {
            settled(String::from_utf8_lossy(&close.reason).into_owned())
        }
        ConnectionError::ApplicationClosed(_) => soon(format!("the receiver at {remote} was closed")),
        other => soon(format!("the connection to {remote} broke: {other}")),
    }
}
