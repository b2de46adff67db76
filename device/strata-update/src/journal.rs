//! What is kept of a rejected system: why, and the journal of its boots.
//!
//! Owns the folders below `REJECTED_DIR`, one for each rejection, the newest
//! five. A journal that is not there is said in words, in its place. Does not
//! own the reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strata_control::SlotName;
use tokio::process::Command;

use crate::check::Step;
use crate::image::letter;
use crate::{files, reasons};

/// Rejections kept.
const KEPT: usize = 5;
/// Lines kept of all failed boots together, the newest.
const LINES: usize = 2_000;
/// A line is cut here, so that the file stays below 2 MB.
const LINE_BYTES: usize = 1_024;
/// `journalctl` reads from a disk that may be failing.
const LIMIT: Duration = Duration::from_secs(60);

/// What is known of a rejection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rejection {
    /// The rejected version; `unknown` where it is not known.
    pub version: String,
    /// Its slot.
    pub slot: SlotName,
    /// Why, for people.
    pub reason: String,
    /// How far its check had come.
    pub verify_step: Option<Step>,
    /// When it was found.
    pub found_at: Timestamp,
    /// The boot before it, in which it was installed; none when it had run before.
    pub installed_in: Option<String>,
    /// The boot that found it.
    pub found_in: String,
}

/// A boot in `journalctl --list-boots --output=json`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
struct ListedBoot {
    boot_id: String,
}

/// Keeps it; where.
///
/// # Errors
/// When the folder cannot be written.
pub async fn keep(rejected_dir: &Path, program: &Path, rejection: &Rejection) -> anyhow::Result<PathBuf> {
    let folder = rejected_dir.join(folder_name(rejection));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    files::replace_json(&folder.join("reason.json"), rejection)?;
    let text = match failed_boots(program, rejection).await {
        Ok(boots) if boots.is_empty() => {
            "There is no journal of the failed boots: they ended before the journal was started, or it was lost with the power.\n"
                .to_owned()
        }
        Ok(boots) => journal(program, &boots).await,
        Err(error) => format!("The journal of the failed boots could not be read: {error:#}.\n"),
    };
    let path = folder.join("journal.txt");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    forget_old(rejected_dir)?;
    Ok(folder)
}

/// Sorted by name within the same version only; [`forget_old`] goes by the time at the end.
fn folder_name(rejection: &Rejection) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+');
    let version: String = rejection.version.chars().take(40).map(|c| if is_plain(c) { c } else { '_' }).collect();
    let time = rejection.found_at.strftime("%Y%m%dT%H%M%SZ");
    format!("{version}-{}-{time}", letter(rejection.slot))
}

fn forget_old(rejected_dir: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot clear {}", rejected_dir.display());
    let mut names = vec![];
    for entry in fs::read_dir(rejected_dir).with_context(context)? {
        names.push(entry.with_context(context)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_by(|a, b| time_of(a).cmp(time_of(b)));
    for name in names.iter().rev().skip(KEPT) {
        fs::remove_dir_all(rejected_dir.join(name)).with_context(context)?;
    }
    Ok(())
}

fn time_of(name: &str) -> &str {
    name.rsplit_once('-').map_or("", |(_, time)| time)
}

async fn failed_boots(program: &Path, rejection: &Rejection) -> anyhow::Result<Vec<String>> {
    let list = run(program, &["--list-boots", "--output=json", "--no-pager"]).await?;
    let boots: Vec<ListedBoot> = serde_json::from_str(&list).context("its list of boots cannot be read")?;
    let boots: Vec<String> = boots.into_iter().map(|boot| boot.boot_id).collect();
    Ok(between(&boots, rejection.installed_in.as_deref(), &rejection.found_in))
}

/// The boots after the installing one and before this one. Where the installing one is not known, as many as a slot
/// has attempts.
fn between(boots: &[String], installed_in: Option<&str>, found_in: &str) -> Vec<String> {
    let end = boots.iter().position(|id| id == found_in).unwrap_or(boots.len());
    let start = installed_in.and_then(|installed| boots[..end].iter().rposition(|id| id == installed));
    let start = start.map_or_else(|| end.saturating_sub(reasons::ATTEMPTS.into()), |start| start + 1);
    boots[start..end].to_vec()
}

async fn journal(program: &Path, boots: &[String]) -> String {
    let mut lines: Vec<String> = vec![];
    for boot in boots {
        lines.push(format!("-- boot {boot}"));
        let arguments =
            [&format!("--boot={boot}"), "--output=short-precise", "--no-pager", "--quiet", &format!("--lines={LINES}")];
        match run(program, &arguments).await {
            Ok(text) => lines.extend(text.lines().map(cut)),
            Err(error) => lines.push(format!("-- its journal could not be read: {error:#}")),
        }
    }
    let skip = lines.len().saturating_sub(LINES);
    lines.drain(..skip);
    lines.join("\n") + "\n"
}

fn cut(line: &str) -> String {
    line[..line.floor_char_boundary(LINE_BYTES)].to_owned()
}

async fn run(program: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let name = program.display();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .with_context(|| format!("{name} took longer than {} s", LIMIT.as_secs()))?
        .with_context(|| format!("{name} cannot be started"))?;
    if !output.status.success() {
        anyhow::bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn rejection(second: i64) -> Rejection {
        Rejection {
            version: "0.2.0".to_owned(),
            slot: SlotName::B,
            reason: "It crashed.".to_owned(),
            verify_step: Some(Step::Agent),
            found_at: Timestamp::from_second(second).unwrap(),
            installed_in: Some("b1".to_owned()),
            found_in: "b4".to_owned(),
        }
    }

    #[test]
    fn the_failed_boots_are_those_between() {
        let boots = ["b0", "b1", "b2", "b3", "b4"].map(str::to_owned);
        for (installed, found, expected) in [
            (Some("b1"), "b4", vec!["b2", "b3"]),
            (Some("b3"), "b4", vec![]),
            (Some("gone"), "b4", vec!["b1", "b2", "b3"]),
            (None, "b4", vec!["b1", "b2", "b3"]),
            (None, "b1", vec!["b0"]),
            // This boot's journal may not be on the disk yet.
            (Some("b3"), "b5", vec!["b4"]),
        ] {
            assert_eq!(between(&boots, installed, found), expected, "{installed:?} {found}");
        }
    }

    /// A stand-in for `journalctl`.
    fn program(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("journalctl");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn reason_and_newest_lines_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(
            folder.path(),
            r#"case "$1" in
                --list-boots) echo '[{"index":-3,"boot_id":"b1"},{"index":-2,"boot_id":"b2"},{"index":-1,"boot_id":"b3"},{"index":0,"boot_id":"b4"}]';;
                --boot=b2) seq 1 1500;;
                --boot=b3) seq 2001 2700;;
            esac"#,
        );
        let kept = keep(&folder.path().join("rejected"), &program, &rejection(0)).await.unwrap();
        assert_eq!(kept.file_name().unwrap(), "0.2.0-B-19700101T000000Z");
        let journal = fs::read_to_string(kept.join("journal.txt")).unwrap();
        assert_eq!(journal.lines().count(), LINES);
        assert_eq!(journal.lines().last(), Some("2700"));
        assert!(journal.contains("\n-- boot b3\n"));
        let reason = fs::read_to_string(kept.join("reason.json")).unwrap();
        assert!(reason.contains("It crashed.") && reason.contains("\"agent\""), "{reason}");
    }

    #[tokio::test]
    async fn a_missing_journal_is_said_in_words_and_five_rejections_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let rejected = folder.path().join("rejected");
        let empty = program(folder.path(), "echo '[{\"boot_id\":\"b1\"},{\"boot_id\":\"b4\"}]'");
        for second in 0..7 {
            keep(&rejected, &empty, &rejection(second)).await.unwrap();
        }
        let mut kept: Vec<_> = fs::read_dir(&rejected).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        kept.sort();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[0], "0.2.0-B-19700101T000002Z");
        let journal = fs::read_to_string(rejected.join(&kept[0]).join("journal.txt")).unwrap();
        assert!(journal.contains("ended before the journal was started"), "{journal}");
        let failing = program(folder.path(), "echo 'no journal files' >&2; exit 1");
        let kept = keep(&rejected, &failing, &rejection(100)).await.unwrap();
        let journal = fs::read_to_string(kept.join("journal.txt")).unwrap();
        assert!(journal.contains("no journal files"), "{journal}");
    }
}
