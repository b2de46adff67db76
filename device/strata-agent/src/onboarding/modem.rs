//! What people ask of a modem on the pages: its SIM's PIN, the operator's access point.
//!
//! Owns that a PIN is given once for each time that somebody sends one, and none that could lock the SIM. What was wrong
//! is counted in `STATE_DIR/wrong-pins.json`: the SIM counts across restarts, too, and not every modem says how far.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use strata_network::modem_manager::{Error, Modem, ModemManager, may_try_pin};
use strata_network::network_manager::NetworkManager;
use strata_network::reason::Reason;
use strata_portal::device::{Failure, Progress};
use tokio::sync::Mutex;

use crate::files;

/// How many PINs were wrong, by SIM.
#[derive(Debug)]
pub(super) struct WrongPins {
    file: PathBuf,
}

impl WrongPins {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { file: state_dir.join("wrong-pins.json") }
    }

    fn all(&self) -> anyhow::Result<BTreeMap<String, u32>> {
        Ok(files::read_json(&self.file)?.unwrap_or_default())
    }

    /// Counts one before it is tried, as a power cut must not lose it; whether it may be.
    fn begin(&self, sim: &str, left: Option<u32>) -> anyhow::Result<bool> {
        let mut all = self.all()?;
        let before = all.get(sim).copied().unwrap_or_default();
        if !may_try_pin(left, before) {
            return Ok(false);
        }
        all.insert(sim.to_owned(), before + 1);
        files::replace_json(&self.file, &all)?;
        Ok(true)
    }

    /// It was right.
    fn right(&self, sim: &str) -> anyhow::Result<()> {
        let mut all = self.all()?;
        all.remove(sim);
        files::replace_json(&self.file, &all)
    }
}

/// Gives a modem's SIM its PIN: one attempt, or none; how that went.
pub(super) async fn enter_pin(manager: ModemManager, wrong: &Mutex<WrongPins>, modem: Modem, pin: String) -> Progress {
    // One after the other: each has to see what the one before it used up.
    let wrong = wrong.lock().await;
    let kept = |done: anyhow::Result<bool>| {
        done.map_err(|error| {
            tracing::error!("the tries of a SIM are not counted: {error:#}");
            Progress::Failed(Failure::Storage)
        })
    };
    let given = async {
        let asked = manager.asked_pin(&modem).await.map_err(|error| told(&modem, &error))?;
        if !kept(wrong.begin(&asked.sim, asked.tries))? {
            tracing::warn!("the SIM of {} gets no PIN: a wrong one could lock it", modem.name);
            return Err(Progress::Failed(Failure::LastPinTry));
        }
        manager.send_pin(&asked, &pin).await.map_err(|error| told(&modem, &error))?;
        tracing::info!("the SIM of {} is open", modem.name);
        kept(wrong.right(&asked.sim).map(|()| true))
    };
    given.await.map_or_else(|failed| failed, |_| Progress::Done)
}

fn told(modem: &Modem, error: &Error) -> Progress {
    tracing::warn!("the SIM of {}: {error}: {:?}", modem.name, std::error::Error::source(error));
    match error {
        Error::WrongPin => Progress::Failed(Failure::WrongPin),
        // What the SIM asks for instead is seen at the modem.
        Error::NoPinAsked => Progress::Nothing,
        Error::Bus(_) => Progress::Failed(Failure::Network(Reason::Hardware)),
    }
}

/// Has a modem use an operator's access point; how that went.
pub(super) async fn set_apn(nm: NetworkManager, modem: Modem, apn: String) -> Progress {
    match nm.set_apn(Some(&modem.port), &apn).await {
        Ok(()) => {
            tracing::info!("the APN of {} is set", modem.name);
            Progress::Done
        }
        Err(error) => {
            tracing::warn!("the APN of {} could not be set: {error}", modem.name);
            Progress::Failed(Failure::Storage)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_three_tries_two_are_used_up_whatever_happens_between_them() {
        let folder = tempfile::tempdir().unwrap();
        // As after a restart, each time.
        let wrong = || WrongPins::new(folder.path());
        let may: Vec<bool> = (0..4).map(|_| wrong().begin("8901", None).unwrap()).collect();
        assert_eq!(may, [true, true, false, false]);
        assert!(wrong().begin("8902", None).unwrap(), "another SIM has tries of its own");
        assert!(wrong().begin("8901", Some(3)).unwrap(), "the right one was given in a phone");
        assert!(!wrong().begin("8902", Some(1)).unwrap());
        wrong().right("8901").unwrap();
        assert!(wrong().begin("8901", None).unwrap());
    }

    #[test]
    fn what_cannot_be_counted_is_not_tried() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("wrong-pins.json"), "{").unwrap();
        assert!(WrongPins::new(folder.path()).begin("8901", Some(3)).is_err());
    }
}
