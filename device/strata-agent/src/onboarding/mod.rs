//! From box to online: the device's own access point and its pages, and the networks that people choose there.
//!
//! Owns when the access point is on (`controller`, which carries out what
//! [`strata_network::access_point`] decides), what the pages show and do
//! (`door`), and the QR codes held before a camera (`camera`). Does not own
//! the connection to the relay: it is told how that is doing (`Standing`) and
//! hands it a token as `strata-agent enrol` does.

mod camera;
mod controller;
mod door;
mod label;
mod modem;
mod own_network;
mod picture;
mod radio;

use std::sync::Arc;
use std::time::Duration;

use strata_control::ApPolicy;
use strata_network::network_manager::NetworkManager;
use tokio::sync::{Notify, watch};
use tokio::time;

use crate::config::Config;
use crate::enrolment::TokenFile;
use crate::relay::ProblemKind;

pub use label::label;

/// After a failure that has to do with the machine: no bus, no disk.
const AGAIN: Duration = Duration::from_secs(10);

/// How the device stands with its relay, as far as the way in is concerned.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Standing {
    /// What it is called.
    pub(crate) name: Option<String>,
    /// Whether it belongs to somebody.
    pub(crate) enrolled: bool,
    /// Whether it is logged in.
    pub(crate) at_relay: bool,
    /// The relay's address.
    pub(crate) relay: Option<String>,
    /// How many attempts to log in failed since the start.
    pub(crate) attempts: u64,
    /// Why the last one did.
    pub(crate) problem: Option<ProblemKind>,
    /// When the access point is to be on.
    pub(crate) policy: ApPolicy,
    /// Whether a stream moves.
    pub(crate) streaming: bool,
    /// The cameras and other inputs, by name.
    pub(crate) inputs: Vec<String>,
    /// The nodes of the cameras that no stream needs, and which may see a QR code.
    pub(crate) cameras: Vec<String>,
}

/// What onboarding needs of the configuration.
#[derive(Clone, Debug)]
struct Setup {
    config: Config,
    /// The token that waits to be used.
    token: TokenFile,
    /// Has the relay looked for at once.
    relay_now: Arc<Notify>,
}

/// Keeps a way in, for as long as the agent lives.
pub(crate) async fn run(config: Config, relay_now: Arc<Notify>, standing: watch::Receiver<Standing>) {
    let token = TokenFile::new(config.token_file(), config.token_file.is_none());
    let setup = Setup { config, token, relay_now };
    let mut told = String::new();
    loop {
        let error = match zbus::Connection::system().await {
            Ok(bus) => controller::run(&setup, NetworkManager::new(bus), standing.clone()).await,
            Err(error) => anyhow::Error::new(error).context("the system's D-Bus is not reached"),
        };
        let error = format!("{error:#}");
        if error != told {
            tracing::warn!("nobody can set the device up over Wi-Fi: {error}");
            told = error;
        }
        time::sleep(AGAIN).await;
    }
}
