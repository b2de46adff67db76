//! The files of an HLS output.
//!
//! Owns: writing each file whole or not at all (a temporary file, then a
//! rename), removing what left the playlist long enough ago, and taking over
//! what an earlier worker left. The rename is not forced to disk: after a power
//! cut the live window may be gone, and numbering goes on behind what is found.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::playlist::WINDOW;
use super::{PLAYLIST_NAME, Playlist, segment_name, segment_sequence};

/// Segments kept after they left the playlist: a player may still be loading them by an older
/// playlist (RFC 8216, section 6.2.2 asks for the length of the playlist and one segment).
const GRACE: u64 = WINDOW as u64 + 2;
const LOCK_NAME: &str = ".lock";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// A file or the folder that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder could not be made or read.
    #[error("cannot use the HLS folder {path}: {source}; check its permissions and the disk")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process writes to the folder.
    #[error("another worker writes to the HLS folder {path}: stop it first")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be written; nothing of it is left.
    #[error("cannot write {path} ({bytes} bytes): {}", write_hint(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FolderError {
    /// Whether there is no room left.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let (Self::Folder { source, .. } | Self::Write { source, .. }) = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

fn write_hint(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::StorageFull => "the disk is full; free some space there, HLS goes on by itself then".to_owned(),
        io::ErrorKind::QuotaExceeded => {
            "the quota is used up; free some space there, HLS goes on by itself then".to_owned()
        }
        io::ErrorKind::NotFound => "the folder is gone".to_owned(),
        _ => format!("{source}; it is tried again"),
    }
}

/// The folder of one stream's HLS output, locked against a second writer.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Sequence numbers of the segments there are.
    present: BTreeSet<u64>,
    /// Holds the lock; none when there was no room for the lock's file.
    _lock: Option<File>,
}

impl Folder {
    /// Makes or takes over a folder: the playlist that an earlier worker left comes along, if it can be read.
    ///
    /// # Errors
    /// [`FolderError::Folder`] or [`FolderError::InUse`].
    pub fn open(path: &Path) -> Result<(Self, Option<Playlist>), FolderError> {
        let failed = |source| FolderError::Folder { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = lock(path)?;
        let mut present = BTreeSet::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(sequence) = segment_sequence(name) {
                present.insert(sequence);
            } else if name.ends_with(TEMPORARY_SUFFIX) {
                remove(&path.join(name));
            }
        }
        let mut folder = Self { path: path.to_owned(), present, _lock: lock };
        let playlist = folder.read_playlist();
        if let Some(playlist) = &playlist {
            // Written, but never listed: nobody can know them, their numbers are free.
            let unlisted: Vec<u64> = folder.present.range(playlist.next_sequence()..).copied().collect();
            unlisted.into_iter().for_each(|sequence| folder.remove_segment(sequence));
        }
        Ok((folder, playlist))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The least number that no segment in the folder has had.
    #[must_use]
    pub fn first_free_sequence(&self) -> u64 {
        self.present.last().map_or(0, |last| last + 1)
    }

    fn read_playlist(&self) -> Option<Playlist> {
        let path = self.path.join(PLAYLIST_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!("cannot read {}: {error}; numbering goes on behind the segments found", path.display());
                return None;
            }
        };
        match Playlist::parse(&text) {
            Ok(playlist) => Some(playlist),
            Err(error) => {
                tracing::warn!("{}: {error}; numbering goes on behind the segments found", path.display());
                None
            }
        }
    }

    /// Writes a segment.
    ///
    /// # Errors
    /// [`FolderError::Write`]; nothing has changed then.
    pub fn write_segment(&mut self, sequence: u64, data: &[u8]) -> Result<(), FolderError> {
        self.write(&segment_name(sequence), data)?;
        self.present.insert(sequence);
        Ok(())
    }

    /// Writes the playlist, then removes segments that left it long enough ago.
    ///
    /// # Errors
    /// [`FolderError::Write`]; nothing has changed then.
    pub fn write_playlist(&mut self, playlist: &Playlist) -> Result<(), FolderError> {
        self.write(PLAYLIST_NAME, playlist.render().as_bytes())?;
        let keep_from = playlist.media_sequence().saturating_sub(GRACE);
        let expired: Vec<u64> = self.present.range(..keep_from).copied().collect();
        expired.into_iter().for_each(|sequence| self.remove_segment(sequence));
        Ok(())
    }

    fn remove_segment(&mut self, sequence: u64) {
        if remove(&self.path.join(segment_name(sequence))) {
            self.present.remove(&sequence);
        }
    }

    fn write(&self, name: &str, data: &[u8]) -> Result<(), FolderError> {
        let path = self.path.join(name);
        let temporary = self.path.join(format!(".{name}{TEMPORARY_SUFFIX}"));
        let written = File::create(&temporary)
            .and_then(|mut file| file.write_all(data))
            .and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|source| {
            remove(&temporary);
            FolderError::Write { path, bytes: data.len(), source }
        })
    }
}

/// Locks the folder for this process; the lock ends with it, whatever way that is.
fn lock(path: &Path) -> Result<Option<File>, FolderError> {
    let failed = |source| FolderError::Folder { path: path.to_owned(), source };
    let file = match File::create(path.join(LOCK_NAME)) {
        Ok(file) => file,
        // A full disk must not keep the stream from its other outputs.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(FolderError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Removes a file; true when it is gone.
fn remove(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::warn!("cannot remove {}: {error}", path.display());
            false
        }
    }
}
