//! Where the relay is, and whom to trust as it: as configured, or as the enrolment said.
//!
//! Owns `STATE_DIR/relay.toml`: the relay's address and its certificate authority, where it has one of its own. Both
//! are in one file, so that no power cut leaves one relay with another's authority. `strata-agent enrol` writes it, also
//! while an agent runs. What is configured counts first. A former agent kept the authority in `STATE_DIR/relay-ca.pem`.
//! Does not own the token and the enrolment ([`crate::enrolment`]).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::config::{Config, RelayUrl};
use crate::files::{self, Owner};

/// The relay, as a connection needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its address.
    pub url: RelayUrl,
    /// A configured file with certificate authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Its own certificate authority (PEM), which came with the enrolment.
    pub ca: Option<String>,
}

/// Looks the relay up, each time it is needed.
#[derive(Clone, Debug)]
pub struct RelayAddress {
    configured: Option<RelayUrl>,
    extra_ca_file: Option<PathBuf>,
    file: PathBuf,
    /// Where a former agent kept the authority.
    former_ca_file: PathBuf,
}

/// One state of the file: another one when it was replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version(Option<(u64, i64, i64)>);

/// The content of `relay.toml`. Other keys are those of a newer agent, after which this one may run again.
#[derive(Debug, Serialize, Deserialize)]
struct Kept<T> {
    relay_url: T,
    /// The authority; empty where the relay has none of its own. A former agent, which had another file for it, wrote no
    /// such key.
    relay_ca: Option<String>,
}

impl RelayAddress {
    /// As configured.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            configured: config.relay_url.clone(),
            extra_ca_file: config.extra_ca_file.clone(),
            file: config.state_dir.join("relay.toml"),
            former_ca_file: config.state_dir.join("relay-ca.pem"),
        }
    }

    /// The relay now; none while none was named.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn read(&self) -> anyhow::Result<Option<Target>> {
        let (url, ca) = match (&self.configured, self.kept()) {
            (None, kept) => match kept? {
                Some(kept) => (kept.relay_url, kept.relay_ca),
                None => return Ok(None),
            },
            // An authority is trusted for the relay that it was given for, and for no other.
            (Some(url), Ok(Some(kept))) if kept.relay_url == *url => (kept.relay_url, kept.relay_ca),
            (Some(url), _) => (url.clone(), None),
        };
        Ok(Some(Target { url, ca_file: self.extra_ca_file.clone(), ca }))
    }

    /// The state of the file: a cheap way to see that [`read`](Self::read) may say something else.
    #[must_use]
    pub fn version(&self) -> Version {
        Version(fs::metadata(&self.file).ok().map(|found| (found.ino(), found.mtime(), found.mtime_nsec())))
    }

    /// Whether this relay may be named.
    ///
    /// # Errors
    /// When another one is configured.
    pub(crate) fn check(&self, url: &RelayUrl) -> anyhow::Result<()> {
        if let Some(configured) = self.configured.as_ref().filter(|configured| *configured != url) {
            anyhow::bail!(
                "the configuration names the relay {}, which counts before {}: take relay_url out of it first",
                configured.as_str(),
                url.as_str()
            );
        }
        Ok(())
    }

    /// Names the relay, and its certificate authority (PEM) where it has one of its own, for `owner` to read.
    ///
    /// # Errors
    /// When another relay is configured, or names the file that cannot be written.
    pub(crate) fn write(&self, url: &RelayUrl, ca: Option<&str>, owner: Owner) -> anyhow::Result<()> {
        self.check(url)?;
        let kept = Kept { relay_url: url.as_str(), relay_ca: Some(ca.unwrap_or_default().to_owned()) };
        let text = toml::to_string(&kept).context("an address has a TOML form")?;
        files::replace_for(&self.file, text.as_bytes(), owner)
            .with_context(|| format!("cannot write {}", self.file.display()))?;
        // It counts no more.
        files::remove_or_log(&self.former_ca_file);
        Ok(())
    }

    fn kept(&self) -> anyhow::Result<Option<Kept<RelayUrl>>> {
        let name = self.file.display();
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read the relay's address in {name}")),
        };
        let mut kept: Kept<RelayUrl> = toml::from_str(&text).with_context(|| {
            format!("the relay's address in {name} cannot be read: name it again by `strata-agent enrol --relay URL`")
        })?;
        kept.relay_ca = match kept.relay_ca {
            Some(pem) => Some(pem).filter(|pem| !pem.is_empty()),
            None => self.former_ca()?,
        };
        Ok(Some(kept))
    }

    fn former_ca(&self) -> anyhow::Result<Option<String>> {
        match fs::read(&self.former_ca_file) {
            Ok(pem) => Ok(Some(String::from_utf8_lossy(&pem).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| {
                format!("cannot read the relay's certificate authority in {}", self.former_ca_file.display())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const PEM: &str = "of no\nmatter \"here\"\n";

    fn address(folder: &Path, configured: Option<&str>) -> RelayAddress {
        RelayAddress {
            configured: configured.map(|url| url.parse().unwrap()),
            extra_ca_file: None,
            file: folder.join("relay.toml"),
            former_ca_file: folder.join("relay-ca.pem"),
        }
    }

    fn target(text: &str, ca: Option<&str>) -> Target {
        Target { url: url(text), ca_file: None, ca: ca.map(str::to_owned) }
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
        assert_eq!(address.read().unwrap(), Some(target("wss://a.example", Some(PEM))));
        let first = address.version();
        assert_ne!(first, never);

        address.write(&url("wss://b.example:8443"), None, owner).unwrap();
        assert_eq!(address.read().unwrap(), Some(target("wss://b.example:8443", None)));
        assert_ne!(address.version(), first);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["relay.toml"], "one file decides");
    }

    #[test]
    fn a_former_agents_authority_counts_until_the_relay_is_named_again() {
        let folder = tempfile::tempdir().unwrap();
        let owner = Owner::of(folder.path()).unwrap();
        let former = folder.path().join("relay-ca.pem");
        fs::write(folder.path().join("relay.toml"), "relay_url = \"wss://a.example:443/agent/ws\"\n").unwrap();
        fs::write(&former, PEM).unwrap();
        let address = address(folder.path(), None);
        assert_eq!(address.read().unwrap(), Some(target("wss://a.example", Some(PEM))));

        address.write(&url("wss://b.example"), None, owner).unwrap();
        assert!(!former.exists());
        // As a power cut between the two leaves it.
        fs::write(&former, PEM).unwrap();
        assert_eq!(address.read().unwrap(), Some(target("wss://b.example", None)));
    }

    #[test]
    fn what_a_newer_agent_wrote_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let text = "relay_url = \"wss://a.example\"\nrelay_ca = \"\"\nnew = 7\n";
        fs::write(folder.path().join("relay.toml"), text).unwrap();
        assert_eq!(address(folder.path(), None).read().unwrap(), Some(target("wss://a.example", None)));
    }

    #[test]
    fn what_is_configured_counts_first_and_trusts_no_other_relays_authority() {
        let folder = tempfile::tempdir().unwrap();
        let owner = Owner::of(folder.path()).unwrap();
        address(folder.path(), None).write(&url("wss://a.example"), Some(PEM), owner).unwrap();
        let same = address(folder.path(), Some("wss://a.example"));
        assert_eq!(same.read().unwrap(), Some(target("wss://a.example", Some(PEM))));
        same.write(&url("wss://a.example"), Some(PEM), owner).unwrap();
        let other = address(folder.path(), Some("wss://b.example"));
        assert_eq!(other.read().unwrap(), Some(target("wss://b.example", None)));
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
