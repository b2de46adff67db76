//! Who the device is at its relay: `STATE_DIR/enrolment.json`, and the token that makes it so.
//!
//! A token never is on the command line. It is read from a file each time it is
//! needed; `strata-agent enrol` writes that file from its standard input, also
//! while an agent runs, which then uses it within seconds.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use strata_control::{DeviceConfig, DeviceId, OwnerId, Sensitive};

use crate::files::{self, Owner};

/// Longer is no token.
const TOKEN_MAX_BYTES: u64 = 1_024;

/// What the relay said at the last login.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Enrolment {
    /// The device.
    pub device_id: DeviceId,
    /// Whom it belongs to.
    pub owner: OwnerId,
    /// The relay that it is enrolled at.
    pub relay_url: String,
    /// The settings that the relay keeps, so that they hold while it is away.
    pub config: DeviceConfig,
}

/// The enrolment's file.
#[derive(Clone, Debug)]
pub struct EnrolmentFile(PathBuf);

impl EnrolmentFile {
    /// The file in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("enrolment.json"))
    }

    /// Reads it; none while the device is not enrolled.
    ///
    /// # Errors
    /// Names the file.
    pub fn read(&self) -> anyhow::Result<Option<Enrolment>> {
        files::read_json(&self.0)
    }

    /// Whether it could be kept: a token is used up by the relay before its answer can be written here.
    ///
    /// # Errors
    /// Names the file and why not.
    pub fn check_writable(&self) -> anyhow::Result<()> {
        // As much as an enrolment takes, so that a full disk shows.
        const PROBE: [u8; 4096] = [b' '; 4096];
        let probe = self.0.with_extension("probe");
        files::replace(&probe, &PROBE)
            .and_then(|()| fs::remove_file(&probe))
            .with_context(|| format!("the enrolment could not be kept in {}", self.0.display()))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&self, enrolment: &Enrolment) -> anyhow::Result<()> {
        files::replace_json(&self.0, enrolment)
    }
}

/// The enrolment token's file.
#[derive(Clone, Debug)]
pub struct TokenFile {
    path: PathBuf,
    /// Whether the agent removes the file once the token was used: its own file, not one that a person named.
    removable: bool,
}

impl TokenFile {
    /// A token's file; `own` says that it was written by `strata-agent enrol`.
    #[must_use]
    pub fn new(path: PathBuf, own: bool) -> Self {
        Self { path, removable: own }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The token; none while there is no such file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(&self) -> anyhow::Result<Option<Sensitive>> {
        let name = self.path.display();
        let mut text = String::new();
        match fs::File::open(&self.path) {
            Ok(file) => file
                .take(TOKEN_MAX_BYTES + 1)
                .read_to_string(&mut text)
                .with_context(|| format!("cannot read the enrolment token in {name}"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read the enrolment token in {name}")),
        };
        parse_token(&text).map(Some).with_context(|| format!("in {name}"))
    }

    /// Puts a token there for the agent, whose user is `owner`.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn write(&self, token: &Sensitive, owner: Owner) -> anyhow::Result<()> {
        files::replace_for(&self.path, format!("{}\n", token.reveal()).as_bytes(), owner)
            .with_context(|| format!("cannot write the enrolment token to {}", self.path.display()))
    }

    /// Removes a token that is for another relay, unless a person named its file.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn remove_own(&self) -> anyhow::Result<()> {
        if self.removable { files::remove(&self.path) } else { Ok(()) }
    }

    /// The token was used.
    pub fn consumed(&self) {
        if self.removable {
            files::remove_or_log(&self.path);
        }
    }
}

/// A token as typed or scanned, without the white space around it.
///
/// # Errors
/// Says what is wrong, without repeating the token.
pub fn parse_token(text: &str) -> anyhow::Result<Sensitive> {
    let token = text.trim();
    anyhow::ensure!(!token.is_empty(), "there is no enrolment token");
    anyhow::ensure!(
        token.len() as u64 <= TOKEN_MAX_BYTES,
        "an enrolment token has at most {TOKEN_MAX_BYTES} characters"
    );
    anyhow::ensure!(
        token.chars().all(|c| c.is_ascii_graphic()),
        "an enrolment token is one word of printable ASCII characters"
    );
    Ok(Sensitive::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_is_trimmed_and_garbage_is_refused_without_being_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path().join("token"), true);
        assert_eq!(file.read().unwrap(), None);
        fs::write(file.path(), "  abc-123\n").unwrap();
        assert_eq!(file.read().unwrap().unwrap().reveal(), "abc-123");
        for garbage in ["", "two words", "\u{1}", &"x".repeat(5_000)] {
            fs::write(file.path(), garbage).unwrap();
            let message = format!("{:#}", file.read().unwrap_err());
            assert!(message.contains("token") && !message.contains("two words"), "{message}");
        }
        file.consumed();
        assert_eq!(file.read().unwrap(), None);
    }

    #[test]
    fn a_file_that_a_person_named_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path().join("token"), false);
        fs::write(file.path(), "abc").unwrap();
        file.consumed();
        file.remove_own().unwrap();
        assert!(file.path().exists());
    }
}
