//! Whether the folders that the agent and its children write to take writes and have room.
//!
//! Owns what counts as too little room and the sentences about it. A folder that fails is a problem that people are
//! told of, never a reason to stop: streams need no disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use strata_control::{DeviceProblem, DeviceProblemKind, Usage};

use crate::config::Config;
use crate::inventory::disk;

/// With less room than this a disk counts as full …
const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// … or, on a small one, with less than this part of it.
const FREE_PART_MIN: u64 = 50;

/// The folders.
#[derive(Clone, Debug)]
pub(crate) struct Storage(Vec<Folder>);

#[derive(Clone, Debug)]
struct Folder {
    path: PathBuf,
    kind: DeviceProblemKind,
    /// What is not done when it takes no writes.
    lost: &'static str,
}

impl Storage {
    /// As configured.
    #[must_use]
    pub(crate) fn new(config: &Config) -> Self {
        let folder = |path: &Path, kind, lost| Folder { path: path.to_owned(), kind, lost };
        Self(vec![
            folder(
                &config.state_dir,
                DeviceProblemKind::Identity,
                "settings and reports are kept in memory only, until the agent ends",
            ),
            folder(&config.media_dir, DeviceProblemKind::Data, "nothing is recorded; streams go on without"),
            folder(
                &config.log_dir,
                DeviceProblemKind::Data,
                "the encoders' logs are kept in memory only, until the device restarts",
            ),
        ])
    }

    /// What is wrong now. Makes folders that are missing.
    #[must_use]
    pub(crate) fn problems(&self) -> Vec<DeviceProblem> {
        let mut problems = Vec::new();
        let mut full: Vec<(u64, &Folder, Usage)> = Vec::new();
        for folder in &self.0 {
            if let Err(error) = check_writable(&folder.path) {
                let message = format!("{} cannot be written ({error}): {}", folder.path.display(), folder.lost);
                problems.push(DeviceProblem { kind: folder.kind, message });
                continue;
            }
            let usage = disk(&folder.path);
            let device = fs::metadata(&folder.path).map_or(0, |found| found.dev());
            // One disk, one problem.
            if is_full(usage) && full.iter().all(|(known, _, _)| *known != device) {
                full.push((device, folder, usage));
            }
        }
        problems.extend(full.into_iter().map(|(_, folder, usage)| DeviceProblem {
            kind: folder.kind,
            message: format!(
                "the disk of {} is full, only {} of {} are free: delete old recordings",
                folder.path.display(),
                in_words(usage.total_bytes.saturating_sub(usage.used_bytes)),
                in_words(usage.total_bytes)
            ),
        }));
        problems
    }
}

/// Whether a log can be kept in `folder`, which is made where it is missing.
#[must_use]
pub(crate) fn takes_logs(folder: &Path) -> bool {
    check_writable(folder).is_ok() && !is_full(disk(folder))
}

fn check_writable(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // Nothing is written for it: that would wear out a flash disk. A read-only file system is told, too.
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from)
}

fn is_full(usage: Usage) -> bool {
    let Usage { used_bytes, total_bytes } = usage;
    total_bytes.saturating_sub(used_bytes) < FREE_BYTES_MIN.min(total_bytes / FREE_PART_MIN)
}

fn in_words(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(free_bytes: u64, total_bytes: u64) -> Usage {
        Usage { used_bytes: total_bytes - free_bytes, total_bytes }
    }

    #[test]
    fn a_disk_is_full_with_little_room_or_a_small_part_of_it() {
        const MIB: u64 = 1024 * 1024;
        for (free, total, full) in [
            (0, 32 * MIB, true),
            (MIB / 2, 32 * MIB, true),
            (MIB, 32 * MIB, false),
            (9 * MIB, 500 * MIB, true),
            (11 * MIB, 500 * MIB, false),
            (63 * MIB, 32_000 * MIB, true),
            (65 * MIB, 32_000 * MIB, false),
            // A file system without a size of its own.
            (0, 0, false),
        ] {
            assert_eq!(is_full(usage(free, total)), full, "{free} of {total}");
        }
        assert_eq!([0, 10_240, 12 * MIB].map(in_words), ["0 bytes", "10 KiB", "12 MiB"]);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_a_problem_and_a_missing_one_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let of = |path: PathBuf| Storage(vec![Folder { path, kind: DeviceProblemKind::Data, lost: "alas" }]);
        let problems = of(file.join("media")).problems();
        assert_eq!(problems.len(), 1);
        let message = &problems[0].message;
        assert!(message.contains("file/media cannot be written") && message.ends_with("alas"), "{message}");
        assert!(!takes_logs(&file.join("log")));
        let missing = folder.path().join("a/b");
        assert!(takes_logs(&missing) && missing.is_dir());
        assert_eq!(of(missing).problems(), []);
    }
}
