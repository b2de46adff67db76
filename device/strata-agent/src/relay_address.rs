//! Where the relay is, and whom to trust as it: as configured, or as the enrolment said.
//!
//! Owns `STATE_DIR/relay.toml` (the relay's address) and `STATE_DIR/relay-ca.pem` (its certificate authority, where it
//! has one of its own), which `strata-agent enrol` writes, also while an agent runs. What is configured counts first.
//! Does not own the token and the enrolment ([`crate::enrolment`]).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::config::{Config, RelayUrl};
use crate::files::{self, Owner};

/// The relay, as a connection needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its address.
    pub url: RelayUrl,
    /// Files with certificate authorities that are trusted besides the system's.
    pub ca_files: Vec<PathBuf>,
}

/// Looks the relay up, each time it is needed.
#[derive(Clone, Debug)]
pub struct RelayAddress {
    configured: Option<RelayUrl>,
    extra_ca_file: Option<PathBuf>,
    file: PathBuf,
    ca_file: PathBuf,
}

/// One state of the files: another one when they were replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version([Option<(u64, i64, i64)>; 2]);

/// The content of `relay.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept<T> {
    relay_url: T,
}

impl RelayAddress {
    /// As configured.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            configured: config.relay_url.clone(),
            extra_ca_file: config.extra_ca_file.clone(),
            file: config.state_dir.join("relay.toml"),
            ca_file: config.state_dir.join("relay-ca.pem"),
        }
    }

    /// The relay now; none while none was named.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn read(&self) -> anyhow::Result<Option<Target>> {
        let url = match &self.configured {
            Some(url) => url.clone(),
            None => match self.kept()? {
                Some(url) => url,
                None => return Ok(None),
            },
        };
        // An authority is trusted for the relay that it was given for, and for no other.
        let own_ca = self.ca_file.exists() && self.kept().is_ok_and(|kept| kept.as_ref() == Some(&url));
        let ca_files = self.extra_ca_file.iter().chain(own_ca.then_some(&self.ca_file)).cloned().collect();
        Ok(Some(Target { url, ca_files }))
    }

    /// The state of the files: a cheap way to see that [`read`](Self::read) may say something else.
    #[must_use]
    pub fn version(&self) -> Version {
        Version([&self.file, &self.ca_file].map(|path| {
            let found = fs::metadata(path).ok()?;
            Some((found.ino(), found.mtime(), found.mtime_nsec()))
        }))
    }

    /// Names the relay, and its certificate authority (PEM) where it has one of its own, for `owner` to read.
    ///
    /// # Errors
    /// When another relay is configured, or names the file that cannot be written.
    pub(crate) fn write(&self, url: &RelayUrl, ca: Option<&[u8]>, owner: Owner) -> anyhow::Result<()> {
        if let Some(configured) = self.configured.as_ref().filter(|configured| *configured != url) {
            anyhow::bail!(
                "the configuration names the relay {}, which counts before {}: take relay_url out of it first",
                configured.as_str(),
                url.as_str()
            );
        }
        let cannot = |path: &Path| format!("cannot write {}", path.display());
        // The authority first: an agent that reads between the two waits for the rest.
        if let Some(pem) = ca {
            files::replace_for(&self.ca_file, pem, owner).with_context(|| cannot(&self.ca_file))?;
        }
        let text = toml::to_string(&Kept { relay_url: url.as_str() }).context("an address has a TOML form")?;
        files::replace_for(&self.file, text.as_bytes(), owner).with_context(|| cannot(&self.file))?;
        if ca.is_none() {
            files::remove(&self.ca_file)?;
        }
        Ok(())
    }

    fn kept(&self) -> anyhow::Result<Option<RelayUrl>> {
        let name = self.file.display();
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read the relay's address in {name}")),
        };
        let kept: Kept<RelayUrl> = toml::from_str(&text).with_context(|| {
            format!("the relay's address in {name} cannot be read: name it again by `strata-agent enrol --relay URL`")
        })?;
        Ok(Some(kept.relay_url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &[u8] = b"of no matter here";

    fn address(folder: &Path, configured: Option<&str>) -> RelayAddress {
        RelayAddress {
            configured: configured.map(|url| url.parse().unwrap()),
            extra_ca_file: None,
            file: folder.join("relay.toml"),
            ca_file: folder.join("relay-ca.pem"),
        }
    }

    fn url(text: &str) -> RelayUrl {
        text.parse().unwrap()
    }

    #[test]
    fn the_relay_is_the_one_that_was_named_last_with_its_own_authority() {
        let folder = tempfile::tempdir().unwrap();
        let owner = Owner::of(folder.path()).unwrap();
        let address = address(folder.path(), None);
        let never = address.version();
        assert_eq!(address.read().unwrap(), None);

        address.write(&url("wss://a.example"), Some(PEM), owner).unwrap();
        let target = address.read().unwrap().unwrap();
        assert_eq!(target, Target { url: url("wss://a.example"), ca_files: vec![folder.path().join("relay-ca.pem")] });
        assert_eq!(fs::read(&target.ca_files[0]).unwrap(), PEM);
        let first = address.version();
        assert_ne!(first, never);

        address.write(&url("wss://b.example:8443"), None, owner).unwrap();
        let target = address.read().unwrap().unwrap();
        assert_eq!(target, Target { url: url("wss://b.example:8443"), ca_files: vec![] });
        assert!(!folder.path().join("relay-ca.pem").exists());
        assert_ne!(address.version(), first);
    }

    #[test]
    fn what_is_configured_counts_first_and_trusts_no_other_relays_authority() {
        let folder = tempfile::tempdir().unwrap();
        let owner = Owner::of(folder.path()).unwrap();
        address(folder.path(), None).write(&url("wss://a.example"), Some(PEM), owner).unwrap();
        let same = address(folder.path(), Some("wss://a.example"));
        assert_eq!(same.read().unwrap().unwrap().ca_files.len(), 1);
        same.write(&url("wss://a.example"), Some(PEM), owner).unwrap();
        let other = address(folder.path(), Some("wss://b.example"));
        assert_eq!(other.read().unwrap().unwrap(), Target { url: url("wss://b.example"), ca_files: vec![] });
        let refused = other.write(&url("wss://a.example"), None, owner).unwrap_err().to_string();
        assert!(refused.contains("b.example") && refused.contains("relay_url"), "{refused}");
    }

    #[test]
    fn a_damaged_file_says_what_to_do_and_harms_no_configured_relay() {
        let folder = tempfile::tempdir().unwrap();
        for garbage in ["", "relay_url = 7", "relay_url = \"ws://relay.example.net\"", "relay = \"wss://a\"", "\u{1}"] {
            fs::write(folder.path().join("relay.toml"), garbage).unwrap();
            let message = format!("{:#}", address(folder.path(), None).read().unwrap_err());
            assert!(message.contains("relay.toml") && message.contains("enrol --relay"), "{message}");
            address(folder.path(), Some("wss://b.example")).read().unwrap().unwrap();
        }
    }
}
