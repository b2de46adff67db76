//! The pages' side: what they see is the [`Picture`], what people ask there goes to the controller.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use strata_network::own_network;
use strata_network::wifi::{Secret, Ssid, Wish};
use strata_portal::device::{Answer, Device, Failure, Progress, Snapshot};
use strata_portal::server::Portal;
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::{self, AbortHandle};
use tokio::time::Instant;

use super::picture::Picture;
use super::{Setup, Standing};
use crate::config::{Config, RelayUrl};
use crate::enrol::{Wanted, enrol};
use crate::relay_address::RelayAddress;

const PORT: u16 = 80;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;

/// What people ask for.
#[derive(Debug)]
pub(super) enum Command {
    /// Look for networks.
    Scan,
    /// Join one.
    Join(Wish),
    /// A token is there.
    TokenGiven,
    /// Give the SIM of the modem with this number its PIN.
    Pin(u32, String),
    /// Name the access point of the modem with this number.
    Apn(u32, String),
}

/// The picture, shared between the controller, who draws it, and the pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Picture>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Picture> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the pages ask.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) setup: Setup,
    /// The passphrase on the device's label.
    pub(super) passphrase: Secret,
    pub(super) picture: Shared,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) commands: mpsc::Sender<Command>,
}

/// The pages while the access point is up; dropping it shuts them.
#[derive(Debug)]
pub(super) struct Open(AbortHandle);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Door {
    /// Opens the pages on the access point's address, for whoever comes by that interface.
    ///
    /// # Errors
    /// When nothing can listen there.
    pub(super) fn open(self, interface: &str) -> anyhow::Result<Open> {
        let own = IpAddr::V4(own_network::ADDRESS);
        let listen = || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind_device(Some(interface.as_bytes()))?;
            socket.bind(SocketAddr::new(own, PORT))?;
            socket.listen(BACKLOG)
        };
        let listener = listen().with_context(|| format!("cannot listen on {own}:{PORT} of {interface}"))?;
        let portal = Arc::new(Portal::new(Arc::new(self), own, rand::random()));
        Ok(Open(task::spawn(portal.serve(listener)).abort_handle()))
    }

    fn say(&self, command: Command) -> Answer<'_, ()> {
        Box::pin(async move {
            // The controller is gone: so is the access point, in a moment.
            if self.commands.send(command).await.is_err() {
                tracing::debug!("nobody does what the pages ask any more");
            }
        })
    }

    /// One thing at a time; known at once, so that the next page shows it.
    fn ask_modem(&self, modem: u32, command: Command) -> Answer<'_, ()> {
        if self.picture.lock().begin(modem) { self.say(command) } else { Box::pin(async {}) }
    }
}

/// Hands relay and token over, as `strata-agent enrol` does.
pub(super) fn hand_over(config: &Config, token: &str, relay: Option<&str>) -> Result<(), Failure> {
    let relay = relay.map(RelayUrl::typed).transpose().map_err(|_| Failure::RelayAddress)?;
    let known = RelayAddress::new(config).read().ok().flatten().map(|target| target.url);
    // The known one stays as it is, with the authority that came with it.
    let relay = relay.filter(|relay| known.as_ref() != Some(relay));
    if relay.is_none() && known.is_none() {
        return Err(Failure::RelayAddress);
    }
    crate::enrolment::parse_token(token).map_err(|_| Failure::TokenUnknown)?;
    enrol(config, Wanted { relay: relay.as_ref(), ca_file: None, token }).map(|_| ()).map_err(|error| {
        tracing::error!("the token was not kept: {error:#}");
        Failure::Storage
    })
}

impl Device for Door {
    fn passphrase(&self) -> Secret {
        self.passphrase.clone()
    }

    fn snapshot(&self) -> Answer<'_, Snapshot> {
        let now = Instant::now();
        let mut picture = self.picture.lock();
        picture.looked_at = Some(now);
        let snapshot = picture.snapshot(&self.standing.borrow(), now);
        Box::pin(async { snapshot })
    }

    fn scan(&self) -> Answer<'_, ()> {
        self.say(Command::Scan)
    }

    fn join(&self, wish: Wish) -> Answer<'_, ()> {
        // At once, so that the next page knows.
        self.picture.lock().joining = (Some(Ssid::clone(&wish.ssid)), Progress::Going);
        self.say(Command::Join(wish))
    }

    fn enrol(&self, token: String, relay: Option<String>) -> Answer<'_, Result<(), Failure>> {
        Box::pin(async move {
            hand_over(&self.setup.config, &token, relay.as_deref())?;
            self.say(Command::TokenGiven).await;
            Ok(())
        })
    }

    fn enter_pin(&self, modem: u32, pin: String) -> Answer<'_, ()> {
        self.ask_modem(modem, Command::Pin(modem, pin))
    }

    fn set_apn(&self, modem: u32, apn: String) -> Answer<'_, ()> {
        self.ask_modem(modem, Command::Apn(modem, apn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_told_and_nothing_is_half_kept() {
        let folder = tempfile::tempdir().unwrap();
        let config: Config = toml::from_str(&format!("state_dir = {:?}", folder.path())).unwrap();
        for (token, relay, failure) in [
            ("token", None, Failure::RelayAddress),
            ("token", Some("two words"), Failure::RelayAddress),
            ("two words", Some("relay.example.net"), Failure::TokenUnknown),
            ("", Some("relay.example.net"), Failure::TokenUnknown),
        ] {
            assert_eq!(hand_over(&config, token, relay), Err(failure), "{token:?} {relay:?}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        // In the token's place is what cannot be replaced.
        std::fs::create_dir_all(folder.path().join("enrolment-token/taken")).unwrap();
        assert_eq!(hand_over(&config, "token", Some("relay.example.net")), Err(Failure::Storage));
        std::fs::remove_dir_all(folder.path().join("enrolment-token")).unwrap();
        assert_eq!(hand_over(&config, "token", Some("relay.example.net")), Ok(()));
        assert_eq!(std::fs::read_to_string(folder.path().join("enrolment-token")).unwrap(), "token\n");
    }
}
