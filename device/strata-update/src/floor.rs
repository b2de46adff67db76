//! The oldest version that may be installed or gone back to.
//!
//! Each image names one; what counts is the highest that any image named which
//! was called good, kept in `STATE_DIR/floor`, so that going back to an older
//! image does not open the way to still older ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use semver::Version;

use crate::files;

/// Why a version may not be installed, in a sentence.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VersionError {
    /// No version at all.
    #[error(
        "The bundle says of itself that it is version “{0}”, which is no version number like 1.2.3: it was built wrongly, use another bundle."
    )]
    Unreadable(String),
    /// Too old.
    #[error("Version {version} is older than {floor}, the oldest one that this device may run: choose a newer one.")]
    BelowFloor {
        /// The bundle's.
        version: Version,
        /// The floor.
        floor: Version,
    },
    /// Not the one that was asked for.
    #[error("The bundle holds version {found}, but {asked} was asked for: the address leads to another bundle.")]
    Other {
        /// The bundle's.
        found: Version,
        /// What was asked for.
        asked: String,
    },
}

/// Checks a bundle's version against the floor and what was asked for. The running version again is allowed.
///
/// # Errors
/// The first reason why not.
pub fn check(found: &str, floor: &Version, asked: Option<&str>) -> Result<Version, VersionError> {
    let version = Version::parse(found).map_err(|_| VersionError::Unreadable(found.chars().take(80).collect()))?;
    if version < *floor {
        return Err(VersionError::BelowFloor { version, floor: floor.clone() });
    }
    match asked {
        Some(asked) if Version::parse(asked).is_ok_and(|asked| asked == version) => Ok(version),
        Some(asked) => Err(VersionError::Other { found: version, asked: asked.to_owned() }),
        None => Ok(version),
    }
}

/// The file, and the image's own floor.
#[derive(Clone, Debug)]
pub struct Floor {
    path: PathBuf,
    image: Version,
}

impl Floor {
    /// The file in this folder; `image` is the running image's floor.
    #[must_use]
    pub fn new(state_dir: &Path, image: Version) -> Self {
        Self { path: state_dir.join("floor"), image }
    }

    /// What counts now. A file that cannot be read counts as none: the image's own floor holds.
    #[must_use]
    pub fn now(&self) -> Version {
        self.kept().map_or_else(|| self.image.clone(), |kept| kept.max(self.image.clone()))
    }

    fn kept(&self) -> Option<Version> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Version::parse(text.trim())
                .inspect_err(|error| tracing::warn!("{} holds no version: {error}", self.path.display()))
                .ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!("cannot read {}: {error}", self.path.display());
                None
            }
        }
    }

    /// The running image was called good: its floor counts from now on.
    ///
    /// # Errors
    /// Names the file.
    pub fn raise(&self) -> anyhow::Result<()> {
        let now = self.now();
        if self.kept().as_ref() == Some(&now) {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        files::replace(&self.path, format!("{now}\n").as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let floor = Version::new(0, 2, 0);
        for (found, asked, expected) in [
            ("0.2.0", None, None),
            ("0.10.0", None, None),
            ("1.0.0", Some("1.0.0"), None),
            // A release candidate comes before its release (semver 2.0.0, 11.3).
            ("0.2.0-rc.1", None, Some("older than 0.2.0")),
            ("0.3.0-rc.1", None, None),
            ("0.1.9", None, Some("Version 0.1.9 is older than 0.2.0")),
            ("0.3.0", Some("0.4.0"), Some("holds version 0.3.0, but 0.4.0 was asked for")),
            ("0.3.0", Some("newest"), Some("newest was asked for")),
            ("0.3.0+build.2", Some("0.3.0"), Some("0.3.0+build.2")),
            ("", None, Some("“”")),
            ("0.3", None, Some("“0.3”")),
            ("v0.3.0", None, Some("“v0.3.0”")),
        ] {
            match (check(found, &floor, asked), expected) {
                (Ok(version), None) => assert_eq!(version.to_string(), found),
                (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{found}: {error}"),
                (got, expected) => panic!("{found}: {got:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn the_floor_rises_and_never_falls() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("update");
        let newer = Floor::new(&state_dir, Version::new(0, 5, 0));
        assert_eq!(newer.now(), Version::new(0, 5, 0));
        // Not yet called good: an older image has its own floor.
        let older = Floor::new(&state_dir, Version::new(0, 1, 0));
        assert_eq!(older.now(), Version::new(0, 1, 0));
        newer.raise().unwrap();
        assert_eq!(older.now(), Version::new(0, 5, 0));
        older.raise().unwrap();
        assert_eq!(older.now(), Version::new(0, 5, 0));
        fs::write(state_dir.join("floor"), "garbage").unwrap();
        assert_eq!(older.now(), Version::new(0, 1, 0));
    }
}
