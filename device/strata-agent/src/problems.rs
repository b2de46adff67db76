//! What is wrong with the device itself: the agent's own findings and those of other programs of the image.
//!
//! Owns looking, again and again, and putting the lists together without saying anything twice. Does not own the
//! findings: the disks' are [`crate::storage`]'s, the slots' come from the update daemon.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use strata_control::DeviceProblem;
use tokio::sync::watch;
use tokio::time::{self, MissedTickBehavior};

use crate::config::Config;
use crate::storage::Storage;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// More is no list of problems.
const FILE_MAX_BYTES: u64 = 64 * 1024;
/// Problems told; whoever has more has one that counts.
const MAX_PROBLEMS: usize = 32;
/// Where a message is cut.
const MESSAGE_CHARS: usize = 1_000;

/// Looks for problems.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    storage: Storage,
    files: Vec<PathBuf>,
}

impl Watcher {
    pub(crate) fn new(config: &Config) -> Self {
        Self { storage: Storage::new(config), files: config.problem_files.clone() }
    }

    /// What is wrong now.
    #[must_use]
    pub(crate) fn look(&self) -> Vec<DeviceProblem> {
        let mut problems = self.storage.problems();
        for path in &self.files {
            match read(path) {
                Ok(found) => problems.extend(found),
                Err(error) => tracing::debug!("{error:#}"),
            }
        }
        problems
    }

    /// Looks every few seconds and publishes what changed.
    pub(crate) async fn run(self, problems: watch::Sender<Vec<DeviceProblem>>) {
        let mut tick = time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let watcher = self.clone();
            // A broken disk can block for long.
            let found = match tokio::task::spawn_blocking(move || watcher.look()).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!("the device's problems are not looked at any more: {error}");
                    return;
                }
            };
            problems.send_if_modified(|known| {
                let modified = *known != found;
                if modified {
                    log_new(known, &found);
                    *known = found;
                }
                modified
            });
        }
    }
}

/// Says each problem once.
fn log_new(known: &[DeviceProblem], found: &[DeviceProblem]) {
    for problem in found.iter().filter(|problem| !known.contains(problem)) {
        tracing::warn!("{}", problem.message);
    }
}

/// All lists as one: nothing twice, not too many, none too long.
pub(crate) fn merged<'a>(lists: impl IntoIterator<Item = &'a [DeviceProblem]>) -> Vec<DeviceProblem> {
    let mut all: Vec<DeviceProblem> = Vec::new();
    for problem in lists.into_iter().flatten() {
        let message = problem.message.chars().take(MESSAGE_CHARS).collect();
        let problem = DeviceProblem { kind: problem.kind, message };
        if all.len() < MAX_PROBLEMS && !all.contains(&problem) {
            all.push(problem);
        }
    }
    all
}

/// The problems in a file; none where there is no such file.
fn read(path: &Path) -> anyhow::Result<Vec<DeviceProblem>> {
    let cannot = || format!("the problems in {} cannot be read", path.display());
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_MAX_BYTES).read_to_string(&mut text).with_context(cannot)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error).with_context(cannot),
    };
    serde_json::from_str(&text).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use strata_control::DeviceProblemKind;

    use super::*;

    fn problem(message: &str) -> DeviceProblem {
        DeviceProblem { kind: DeviceProblemKind::Data, message: message.to_owned() }
    }

    #[test]
    fn files_of_other_programs_may_be_missing_or_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("problems.json");
        assert_eq!(read(&path).unwrap(), []);
        std::fs::write(&path, r#"[{"kind":"data","message":"it is made of memory"},{"kind":"new","message":"?"}]"#)
            .unwrap();
        let problems = read(&path).unwrap();
        assert_eq!(problems[0], problem("it is made of memory"));
        assert_eq!(problems[1].kind, DeviceProblemKind::Other);
        for garbage in ["", "{}", "[7]"] {
            std::fs::write(&path, garbage).unwrap();
            assert!(read(&path).unwrap_err().to_string().contains("problems.json"));
        }
    }

    #[test]
    fn nothing_is_told_twice_nor_without_end() {
        let (own, others) = (vec![problem("a"), problem("b")], vec![problem("b"), problem(&"x".repeat(9_000))]);
        let all = merged([&*own, &*others]);
        assert_eq!(all.iter().map(|problem| problem.message.len()).collect::<Vec<_>>(), [1, 1, MESSAGE_CHARS]);
        let many: Vec<_> = (0..1_000).map(|number| problem(&number.to_string())).collect();
        assert_eq!(merged([&*many]).len(), MAX_PROBLEMS);
    }
}
