//! Small files that must be whole: written beside, synced, then renamed.
//!
//! A power cut at any step leaves the old content or the new one. Each step can
//! be made to fail by the tests.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is done, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The new file beside the old one.
    Write,
    /// Its content is on the disk.
    SyncFile,
    /// It takes the old one's place.
    Rename,
    /// Its name is on the disk.
    SyncFolder,
}

/// Replaces `path` by `bytes`; mode 0600, or `mode` where others are to read it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, |_| Ok(()))
}

/// As [`replace`]; `before` is asked before each step and may forbid it.
pub(crate) fn replace_with(
    path: &Path,
    bytes: &[u8],
    mut before: impl FnMut(Step) -> io::Result<()>,
) -> io::Result<()> {
    let beside = path.with_extension("new");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    before(Step::Write)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    before(Step::SyncFile)?;
    file.sync_all()?;
    before(Step::Rename)?;
    fs::rename(&beside, path)?;
    before(Step::SyncFolder)?;
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
    let value = serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_before_any_step_leaves_the_old_content_or_the_new() {
        for (step, expected) in
            [(Step::Write, "old"), (Step::SyncFile, "old"), (Step::Rename, "old"), (Step::SyncFolder, "new")]
        {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.json");
            replace(&path, b"old").unwrap();
            let fault = |at| if at == step { Err(io::Error::other("the disk is gone")) } else { Ok(()) };
            replace_with(&path, b"new", fault).unwrap_err();
            assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{step:?}");
            // What a fault leaves behind is in nobody's way.
            replace(&path, b"newest").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "newest", "{step:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_and_a_missing_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        fs::write(&path, "{").unwrap();
        assert!(read_json::<u32>(&path).unwrap_err().to_string().contains("x.json is damaged"));
    }
}
