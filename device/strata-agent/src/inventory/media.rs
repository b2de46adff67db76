//! Saved media: the files of the media folder, with their playing times.
//!
//! A playing time is read once per file and change, by `gst-discoverer-1.0` or
//! `ffprobe`, whichever is there; without them it is not known, which is all
//! that is lost. Recordings still being written have none yet.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use strata_control::SavedMedia;
use tokio::process::Command;
use tokio::time;

/// What is taken for a media file.
const EXTENSIONS: [&str; 9] = ["mp4", "mov", "mkv", "webm", "ts", "m2ts", "mts", "avi", "m4v"];
/// Files of a status: a folder with more must not make a frame over its limit.
const MAX_FILES: usize = 200;
/// Folders below the media folder that are looked into.
const MAX_DEPTH: usize = 3;
/// For the program that reads a playing time.
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// A file that changed within so long is probably still being written.
const SETTLED: Duration = Duration::from_secs(5);

/// A file and its state: another state, another playing time.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Version {
    path: PathBuf,
    size_bytes: u64,
    changed: SystemTime,
}

/// The media folder, and the playing times read so far.
#[derive(Debug)]
pub(super) struct MediaFolder {
    folder: PathBuf,
    /// None: it was tried in vain.
    durations: HashMap<Version, Option<Duration>>,
}

impl MediaFolder {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, durations: HashMap::new() }
    }

    /// The files now, by name.
    pub(super) fn files(&self) -> Vec<SavedMedia> {
        self.versions().iter().map(|version| self.saved(version)).collect()
    }

    fn saved(&self, version: &Version) -> SavedMedia {
        let duration = self.durations.get(version).copied().flatten();
        SavedMedia {
            path: version.path.to_string_lossy().into_owned(),
            name: version.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            size_bytes: version.size_bytes,
            duration_ms: duration.and_then(|duration| u64::try_from(duration.as_millis()).ok()),
        }
    }

    fn versions(&self) -> Vec<Version> {
        let mut versions = Vec::new();
        collect(&self.folder, MAX_DEPTH, &mut versions);
        versions.sort_by(|a, b| a.path.cmp(&b.path));
        versions.truncate(MAX_FILES);
        versions
    }

    /// Reads one playing time that is not known yet; false when there is none left.
    pub(super) async fn read_one_duration(&mut self) -> bool {
        let versions = self.versions();
        self.durations.retain(|version, _| versions.contains(version));
        let settled = |version: &Version| version.changed.elapsed().is_ok_and(|age| age > SETTLED);
        let Some(version) = versions.into_iter().find(|v| settled(v) && !self.durations.contains_key(v)) else {
            return false;
        };
        let duration = probe(&version.path).await;
        self.durations.insert(version, duration);
        true
    }
}

fn collect(folder: &Path, depth: usize, versions: &mut Vec<Version>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // Hidden files and unfinished copies are no media.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() && depth > 0 {
            collect(&path, depth - 1, versions);
        } else if metadata.is_file() && has_media_extension(&path) {
            let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            versions.push(Version { path, size_bytes: metadata.len(), changed });
        }
    }
}

fn has_media_extension(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

async fn probe(path: &Path) -> Option<Duration> {
    let discovered = output(Command::new("gst-discoverer-1.0").arg(path)).await.and_then(|text| discovered(&text));
    if discovered.is_some() {
        return discovered;
    }
    let arguments = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"];
    output(Command::new("ffprobe").args(arguments).arg(path)).await.and_then(|text| probed(&text))
}

/// What a program prints; none when it is not there, fails or takes too long.
async fn output(command: &mut Command) -> Option<String> {
    let running = command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output();
    let output = time::timeout(PROBE_LIMIT, running).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `  Duration: 0:01:00.095000000` of `gst-discoverer-1.0`.
fn discovered(text: &str) -> Option<Duration> {
    let time = text.lines().find_map(|line| line.trim().strip_prefix("Duration:"))?.trim();
    let mut parts = time.splitn(3, ':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    let rest = Duration::try_from_secs_f64(seconds).ok()?;
    Some(Duration::from_secs(hours.checked_mul(3_600)?.checked_add(minutes.checked_mul(60)?)?) + rest)
}

/// `60.095000` of `ffprobe`.
fn probed(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_media_files_are_listed_by_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("clips")).unwrap();
        for name in ["b.MP4", "a.ts", "notes.txt", ".hidden.mp4", "clips/c.mkv", "no-extension"] {
            fs::write(folder.path().join(name), "12345").unwrap();
        }
        let files = MediaFolder::new(folder.path().to_owned()).files();
        assert_eq!(files.iter().map(|file| &*file.name).collect::<Vec<_>>(), ["a.ts", "b.MP4", "c.mkv"]);
        assert_eq!(files[0].size_bytes, 5);
        assert!(files[2].path.ends_with("clips/c.mkv"));
        assert!(MediaFolder::new("/nonexistent".into()).files().is_empty());
    }

    #[test]
    fn playing_times_are_understood() {
        assert_eq!(discovered("Properties:\n  Duration: 0:01:00.095000000\n"), Some(Duration::from_millis(60_095)));
        assert_eq!(discovered("  Duration: 99:99:99.999999999\n").map(|d| d.as_secs()), Some(362_439));
        assert_eq!(discovered("Duration: never"), None);
        assert_eq!(probed("5.280000\n"), Some(Duration::from_millis(5_280)));
        assert_eq!(probed("N/A\n"), None);
    }

    #[tokio::test]
    async fn a_broken_file_is_tried_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.mp4");
        fs::write(&path, "garbage").unwrap();
        let old = SystemTime::now() - Duration::from_secs(60);
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let mut media = MediaFolder::new(folder.path().to_owned());
        assert!(media.read_one_duration().await);
        assert!(!media.read_one_duration().await);
        assert_eq!(media.files()[0].duration_ms, None);
    }
}
