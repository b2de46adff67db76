//! Small files that must be whole: written beside, synced, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use anyhow::Context;
use nix::errno::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Makes `folder` (and what leads to it) with mode 0700 where it is missing; an existing one must belong to nobody else.
///
/// # Errors
/// Names the folder and what to do.
pub(crate) fn private_folder(folder: &Path) -> anyhow::Result<()> {
    make_private(folder)
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

/// As [`private_folder`], for a folder that a device on a read-only or full disk can do without: that goes to the log.
///
/// # Errors
/// When others may write to the folder.
pub(crate) fn private_folder_if_possible(folder: &Path) -> anyhow::Result<()> {
    match make_private(folder) {
        Err(error) if cannot_write(&error) => {
            tracing::warn!("the folder {} cannot be made: {error}", folder.display());
            Ok(())
        }
        _ => private_folder(folder),
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Whether it is the disk's state, not a mistake, that keeps a file from being written.
pub(crate) fn cannot_write(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
        || error.raw_os_error() == Some(Errno::EIO as i32)
}

/// Who may read a file that is replaced, and whose it is.
#[derive(Clone, Copy, Debug)]
enum Access {
    /// Its writer.
    Own,
    /// Its writer, and everybody may read it.
    Public,
    /// This user and group, whoever writes it.
    Of(Owner),
}

/// A user and group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// Whose `folder` is.
    ///
    /// # Errors
    /// Names the folder.
    pub(crate) fn of(folder: &Path) -> anyhow::Result<Self> {
        let found = fs::metadata(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
        Ok(Self { uid: found.uid(), gid: found.gid() })
    }
}

/// Replaces `path` by `bytes` so that a power cut leaves the old content or the new; mode 0600.
///
/// # Errors
/// What the file system says.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole(path, bytes, Access::Own)
}

/// As [`replace`], for a file that will be `owner`'s: what root writes for the agent must be the agent's.
///
/// # Errors
/// What the file system says.
pub(crate) fn replace_for(path: &Path, bytes: &[u8], owner: Owner) -> io::Result<()> {
    write_whole(path, bytes, Access::Of(owner))
}

fn write_whole(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let beside = path.with_extension("new");
    // Never through what lies there: in a folder of the agent's user, root would follow that user's link.
    remove_file(&beside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| give(&file, access)).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&beside, path)) {
        // What is left of it would take room on a disk that has none.
        remove_or_log(&beside);
        return Err(error);
    }
    sync_folder_of(path)
}

fn give(file: &File, access: Access) -> io::Result<()> {
    match access {
        Access::Own => Ok(()),
        // Not by the mode at its making, which the process's umask narrows.
        Access::Public => file.set_permissions(fs::Permissions::from_mode(0o644)),
        Access::Of(owner) => {
            let found = file.metadata()?;
            if (found.uid(), found.gid()) == (owner.uid, owner.gid) {
                return Ok(());
            }
            fchown(file, Some(owner.uid), Some(owner.gid))
        }
    }
}

/// Makes a name in the folder of `path` durable.
///
/// # Errors
/// What the file system says.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// As [`replace`], for a value as JSON.
///
/// # Errors
/// Names the file.
pub(crate) fn replace_json<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    write_json(path, value, Access::Own)
}

/// As [`replace_json`], for everybody to read.
///
/// # Errors
/// Names the file.
pub(crate) fn publish_json<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    write_json(path, value, Access::Public)
}

fn write_json<T: Serialize>(path: &Path, value: &T, access: Access) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).with_context(|| format!("for {}", path.display()))?;
    bytes.push(b'\n');
    write_whole(path, &bytes, access).with_context(|| format!("cannot write {}", path.display()))
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
    remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        // A read-only disk refuses before it looks whether there is such a file.
        Err(error) if fs::symlink_metadata(path).is_ok() => Err(error),
        _ => Ok(()),
    }
}

/// As [`remove`], for a file whose stay does no harm: a failure goes to the log.
pub(crate) fn remove_or_log(path: &Path) {
    if let Err(error) = remove(path) {
        tracing::warn!("{error:#}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_replaced_file_is_private_and_a_published_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        replace(&path, b"1").unwrap();
        assert_eq!(mode(), 0o600);
        publish_json(&path, &2).unwrap();
        assert_eq!((mode(), read_json::<u8>(&path).unwrap()), (0o644, Some(2)));
        replace_for(&path, b"3", Owner::of(folder.path()).unwrap()).unwrap();
        assert_eq!(mode(), 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_lies_in_the_way_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, folder.path().join("file.new")).unwrap();
        replace(&folder.path().join("file.json"), b"new").unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert_eq!(fs::read(folder.path().join("file.json")).unwrap(), b"new");
    }
}
