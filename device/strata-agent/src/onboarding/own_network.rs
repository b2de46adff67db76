//! `STATE_DIR/access-point.json`: the name and the passphrase of the device's own network, made once.
//!
//! They are printed on a label, so that neither another radio nor an update changes them; a factory reset that keeps the
//! device's identity keeps them, too.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use strata_network::own_network::OwnNetwork;
use strata_network::wifi::Secret;

use crate::files;

#[derive(Serialize, Deserialize)]
struct Kept {
    ssid: String,
    passphrase: String,
}

/// The network, made at the first call with the hardware address that `mac` gives.
///
/// # Errors
/// When it cannot be read or kept: one that is other at each start is on no label.
pub(super) fn own_network(state_dir: &Path, mac: [u8; 6]) -> anyhow::Result<OwnNetwork> {
    if let Some(own) = kept(state_dir)? {
        return Ok(own);
    }
    let made = OwnNetwork::new(mac, rand::random());
    let kept = Kept { ssid: made.ssid.clone(), passphrase: made.passphrase.reveal().to_owned() };
    files::replace_json(&file(state_dir), &kept)?;
    tracing::info!("the device's own network is called {}", made.ssid);
    Ok(made)
}

/// The network that was made before.
///
/// # Errors
/// When it cannot be read.
pub(super) fn kept(state_dir: &Path) -> anyhow::Result<Option<OwnNetwork>> {
    let kept: Option<Kept> = files::read_json(&file(state_dir))?;
    Ok(kept.map(|Kept { ssid, passphrase }| OwnNetwork { ssid, passphrase: Secret::new(passphrase) }))
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("access-point.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let made = own_network(folder.path(), [2, 0, 0, 0, 0xa1, 0x0f]).unwrap();
        assert_eq!(made.ssid, "Strata-A10F");
        assert_eq!(own_network(folder.path(), [0; 6]).unwrap(), made);
        let mode = std::fs::metadata(folder.path().join("access-point.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn one_that_cannot_be_read_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("access-point.json"), "{").unwrap();
        let error = own_network(folder.path(), [0; 6]).unwrap_err();
        assert!(format!("{error:#}").contains("access-point.json"), "{error:#}");
    }
}
