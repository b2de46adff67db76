//! The way to D-Bus: a connection per task, so that nothing is kept while the device idles.

use std::time::Duration;

use anyhow::Context;
use tokio::time;

/// The longest that any service may take for an answer: RAUC reads a bundle's end over a slow link in it.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);

/// For the bus itself to take a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Where the services are.
#[derive(Clone, Debug)]
pub enum Bus {
    /// The system's bus.
    System,
    /// All behind this one connection; how tests bring stand-ins of their own.
    Peer(zbus::Connection),
}

impl Bus {
    /// A connection.
    ///
    /// # Errors
    /// When the bus is not reached.
    pub async fn connect(&self) -> anyhow::Result<zbus::Connection> {
        match self {
            Self::System => {
                let connection = zbus::connection::Builder::system().method_timeout(ANSWER_LIMIT).build();
                let connection = time::timeout(CONNECT_LIMIT, connection).await;
                connection.context("the system's D-Bus does not answer")?.context("the system's D-Bus is not reached")
            }
            Self::Peer(connection) => Ok(connection.clone()),
        }
    }
}
