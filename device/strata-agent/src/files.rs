//! Small files that must be whole: written beside, synced, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Makes `folder` (and what leads to it) with mode 0700 where it is missing; an existing one must belong to nobody else.
///
/// # Errors
/// Names the folder and what to do.
pub(crate) fn private_folder(folder: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make the folder {}: check who owns the folders above it", folder.display()))?;
    let mode = fs::metadata(folder).with_context(|| format!("cannot read {}", folder.display()))?.permissions().mode();
    if mode & 0o022 != 0 {
        anyhow::bail!(
            "others may write to {folder} (mode {mode:04o}): run `chmod 700 {folder}`",
            folder = folder.display(),
            mode = mode & 0o7777
        );
    }
    Ok(())
}

/// Replaces `path` by `bytes` so that a power cut leaves the old content or the new; mode 0600.
///
/// # Errors
/// What the file system says.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// As [`replace`], for a value as JSON.
///
/// # Errors
/// Names the file.
pub(crate) fn replace_json<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).with_context(|| format!("for {}", path.display()))?;
    bytes.push(b'\n');
    replace(path, &bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a JSON file; none where there is no such file.
///
/// # Errors
/// Names the file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let value = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is damaged: move it away to start without it", path.display()))?;
    Ok(Some(value))
}

/// Removes a file; one that is not there is a success.
///
/// # Errors
/// Names the file.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// As [`remove`], for a file whose stay does no harm: a failure goes to the log.
pub(crate) fn remove_or_log(path: &Path) {
    if let Err(error) = remove(path) {
        tracing::warn!("{error:#}");
    }
}
