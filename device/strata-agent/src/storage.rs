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

/// The folders. Of those on one disk the first names what is wrong with it: the one where most can be deleted.
#[derive(Clone, Debug)]
pub(crate) struct Storage(Vec<Folder>);

#[derive(Clone, Debug)]
struct Folder {
    path: PathBuf,
    kind: DeviceProblemKind,
    /// What is not done when it takes no writes.
    lost: &'static str,
    /// What to do when its disk is full.
    remedy: &'static str,
}

impl Storage {
    /// As configured.
    #[must_use]
    pub(crate) fn new(config: &Config) -> Self {
        Self(vec![
            Folder {
                path: config.media_dir.clone(),
                kind: DeviceProblemKind::Data,
                lost: "nothing is recorded; streams go on without",
                remedy: "delete old recordings",
            },
            Folder {
                path: config.log_dir.clone(),
                kind: DeviceProblemKind::Data,
                lost: "encoders that start keep no logs; streams go on without",
                remedy: "delete old logs",
            },
            Folder {
                path: config.state_dir.clone(),
                kind: DeviceProblemKind::Identity,
                lost: "settings and reports are kept in memory only, until the agent ends",
                remedy: "delete what does not belong there, or reset the device and enrol it anew",
            },
        ])
    }

    /// What is wrong now. Makes folders that are missing.
    #[must_use]
    pub(crate) fn problems(&self) -> Vec<DeviceProblem> {
        let mut problems = Vec::new();
        let mut disks: Vec<(&Folder, u64, Usage)> = Vec::new();
        for folder in &self.0 {
            if let Err(error) = check_writable(&folder.path) {
                let message =
                    format!("{} cannot be written ({}): {}", folder.path.display(), words(&error), folder.lost);
                problems.push(DeviceProblem { kind: folder.kind, message });
                continue;
            }
            let device = fs::metadata(&folder.path).map_or(0, |found| found.dev());
            disks.push((folder, device, disk(&folder.path)));
        }
        problems.extend(full(&disks));
        problems
    }
}

/// What is full of the disks with these folders and numbers: one disk, one problem, in the same words for as long as it
/// is full. How much is free meanwhile is in the status.
fn full(disks: &[(&Folder, u64, Usage)]) -> Vec<DeviceProblem> {
    let mut told: Vec<u64> = Vec::new();
    let mut problems = Vec::new();
    for (folder, device, usage) in disks {
        if !is_full(*usage) || told.contains(device) {
            continue;
        }
        told.push(*device);
        let message = format!(
            "the disk of {} is full, less than {} of {} are free: {}",
            folder.path.display(),
            in_words(free_min(*usage)),
            in_words(usage.total_bytes),
            folder.remedy
        );
        problems.push(DeviceProblem { kind: folder.kind, message });
    }
    problems
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
    usage.total_bytes.saturating_sub(usage.used_bytes) < free_min(usage)
}

fn free_min(usage: Usage) -> u64 {
    FREE_BYTES_MIN.min(usage.total_bytes / FREE_PART_MIN)
}

fn in_words(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// What the system says, without its number, which tells a person nothing.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn usage(free_bytes: u64, total_bytes: u64) -> Usage {
        Usage { used_bytes: total_bytes - free_bytes, total_bytes }
    }

    #[test]
    fn a_disk_is_full_with_little_room_or_a_small_part_of_it() {
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
    fn a_full_disk_is_told_once_with_what_helps_there_and_in_the_same_words_while_it_fills() {
        let config = toml::from_str("state_dir = \"/s\"\nlog_dir = \"/l\"\nmedia_dir = \"/m\"").unwrap();
        let Storage(folders) = Storage::new(&config);
        let found = |devices: [u64; 3], free: u64| {
            let disks: Vec<_> =
                folders.iter().zip(devices).map(|(folder, device)| (folder, device, usage(free, 32 * MIB))).collect();
            full(&disks)
        };
        let told = found([1, 1, 2], MIB / 2);
        let [data, identity] = &told[..] else { panic!("{told:?}") };
        assert_eq!(
            (data.kind, &*data.message),
            (
                DeviceProblemKind::Data,
                "the disk of /m is full, less than 655 KiB of 32 MiB are free: delete old recordings"
            )
        );
        assert_eq!(identity.kind, DeviceProblemKind::Identity);
        assert!(identity.message.contains("/s is full") && !identity.message.contains("recordings"), "{identity:?}");
        assert_eq!(found([1, 1, 2], 7), told);
        assert_eq!(found([1, 1, 1], 0).len(), 1);
        assert_eq!(found([1, 1, 1], 31 * MIB), []);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_a_problem_and_a_missing_one_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let of =
            |path: PathBuf| Storage(vec![Folder { path, kind: DeviceProblemKind::Data, lost: "alas", remedy: "" }]);
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
