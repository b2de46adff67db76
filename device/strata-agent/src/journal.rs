//! The newest lines of the system's journal, where this process may read it (group `systemd-journal`).

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time;

/// The journal's own reader.
pub(crate) const PROGRAM: &str = "journalctl";
/// For it to read them; a journal on a slow disk takes its time.
const LIMIT: Duration = Duration::from_secs(20);
/// Text kept, from its end: one line alone can be as long as this.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// The newest `count` lines, oldest first.
///
/// # Errors
/// Says why the journal cannot be read.
pub(crate) async fn newest(program: &str, count: usize) -> anyhow::Result<Vec<String>> {
    if count == 0 {
        return Ok(vec![]);
    }
    let lines = time::timeout(LIMIT, read(program, count))
        .await
        .with_context(|| format!("{program} took longer than {} s", LIMIT.as_secs()))??;
    anyhow::ensure!(!lines.is_empty(), "{program} shows nothing: is the agent's user in the group systemd-journal?");
    Ok(lines)
}

async fn read(program: &str, count: usize) -> anyhow::Result<Vec<String>> {
    let mut child = Command::new(program)
        .args(["-n", &count.to_string(), "-o", "short-iso", "--no-pager", "--quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{program} cannot be run"))?;
    let mut output = child.stdout.take().context("its standard output is a pipe")?;
    let (mut text, mut part, mut cut) = (Vec::new(), vec![0; 64 * 1024], false);
    loop {
        let length = output.read(&mut part).await.with_context(|| format!("{program}'s output cannot be read"))?;
        if length == 0 {
            break;
        }
        text.extend_from_slice(&part[..length]);
        if text.len() > 2 * MAX_BYTES {
            text.drain(..text.len() - MAX_BYTES);
            cut = true;
        }
    }
    if text.len() > MAX_BYTES {
        text.drain(..text.len() - MAX_BYTES);
        cut = true;
    }
    let status = child.wait().await.with_context(|| format!("{program}'s end"))?;
    anyhow::ensure!(status.success(), "{program} ended with {status}");
    // The first line of a cut text is no whole one.
    Ok(String::from_utf8_lossy(&text).lines().skip(usize::from(cut)).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for the program that runs `script`. Another process writes it: what this one has open for writing
    /// another test's thread may just be handing to a child, and then it cannot be run.
    fn program(folder: &tempfile::TempDir, script: &str) -> String {
        let path = folder.path().join("journalctl").display().to_string();
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let written = std::process::Command::new("sh").args(["-c", write, &path, script]).status().unwrap();
        assert!(written.success());
        path
    }

    #[tokio::test]
    async fn the_newest_lines_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let lines = newest(&program(&folder, "echo first; printf '%s\\n' \"$*\""), 7).await.unwrap();
        assert_eq!(lines, ["first", "-n 7 -o short-iso --no-pager --quiet"]);
        assert_eq!(newest("nowhere", 0).await.unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn a_journal_that_may_not_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for (script, part) in [("exit 1", "ended with"), ("echo denied >&2", "systemd-journal")] {
            let error = newest(&program(&folder, script), 7).await.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(newest("/nonexistent", 7).await.unwrap_err().to_string().contains("/nonexistent"));
    }

    #[tokio::test]
    async fn an_endless_journal_keeps_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let script = "head -c 9000000 /dev/zero | tr '\\0' 'x' | fold -w 1000; echo; echo last";
        let lines = newest(&program(&folder, script), 10_000).await.unwrap();
        assert_eq!(lines.last().unwrap(), "last");
        assert!(lines.iter().map(String::len).sum::<usize>() <= MAX_BYTES);
    }
}
