//! Log files: their last lines for reports and `log.request`, and old ones removed.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use strata_control::{LogChunk, MessageId};

use crate::files;

/// Log files of ended streams that are kept.
const KEPT_FILES: usize = 50;
/// Text in one chunk. A control character takes six bytes as JSON, so the frame stays below its limit.
const CHUNK_BYTES: usize = 32 * 1024;
/// Where a line of a chunk is cut.
const LINE_CHARS: usize = 4_000;

/// The last `lines` of `log`, oldest first, from at most `bytes` of its end.
///
/// # Errors
/// Names the file.
pub(crate) fn tail(log: &Path, lines: usize, bytes: u64) -> anyhow::Result<Vec<String>> {
    let cannot = || format!("cannot read the log {}", log.display());
    let mut file = File::open(log).with_context(cannot)?;
    let length = file.metadata().with_context(cannot)?.len();
    let start = length.saturating_sub(bytes);
    file.seek(SeekFrom::Start(start)).with_context(cannot)?;
    let mut content = Vec::new();
    file.take(bytes).read_to_end(&mut content).with_context(cannot)?;
    let text = String::from_utf8_lossy(&content);
    // The first line is cut unless the whole file was read.
    let mut all: Vec<&str> = text.lines().skip(usize::from(start > 0)).collect();
    all.drain(..all.len().saturating_sub(lines));
    Ok(all.into_iter().map(str::to_owned).collect())
}

/// Lines as the chunks that answer `request_id`; the last one is marked.
#[must_use]
pub(crate) fn chunks(request_id: MessageId, lines: Vec<String>) -> Vec<LogChunk> {
    let mut parts: Vec<Vec<String>> = vec![vec![]];
    let mut bytes = 0;
    for line in lines {
        let line: String = line.chars().take(LINE_CHARS).collect();
        if bytes + line.len() > CHUNK_BYTES {
            parts.push(vec![]);
            bytes = 0;
        }
        bytes += line.len();
        parts.last_mut().expect("there is at least one part").push(line);
    }
    let count = parts.len();
    (0u32..)
        .zip(parts)
        .map(|(index, lines)| LogChunk { request_id, index, lines, last: index as usize + 1 == count })
        .collect()
}

/// Removes the oldest log files; `running` says which are in use.
///
/// # Errors
/// Names the folder.
pub(crate) fn prune(folder: &Path, running: impl Fn(&Path) -> bool) -> anyhow::Result<()> {
    let cannot = || format!("cannot read the folder {}", folder.display());
    let mut logs = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(cannot),
    };
    for entry in entries {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ours = name.ends_with(".log") && (name.starts_with("encoder-") || name.starts_with("netem-"));
        if ours && !running(&path) {
            let changed = path.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            logs.push((changed, path));
        }
    }
    logs.sort();
    let surplus = logs.len().saturating_sub(KEPT_FILES);
    for (_, path) in logs.drain(..surplus) {
        files::remove_or_log(&path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use strata_control::{DeviceMessage, Envelope};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_tail_of_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("encoder.log");
        assert!(tail(&log, 1, 100).unwrap_err().to_string().contains("encoder.log"));
        fs::write(&log, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&log, 2, 100).unwrap(), ["two", "three"]);
        assert_eq!(tail(&log, 9, 100).unwrap(), ["one", "two", "three"]);
        assert_eq!(tail(&log, 9, 8).unwrap(), ["three"]);
        fs::write(&log, [0xff, b'\n', b'a']).unwrap();
        assert_eq!(tail(&log, 9, 100).unwrap(), ["\u{fffd}", "a"]);
    }

    #[test]
    fn chunks_hold_every_line_and_fit_into_a_frame() {
        let id = MessageId(Uuid::nil());
        let lines: Vec<String> = (0..100).map(|number| format!("{number}{}", "\u{1}".repeat(3_990))).collect();
        let chunks = chunks(id, lines.clone());
        assert!(chunks.len() > 1);
        assert_eq!(chunks.iter().flat_map(|chunk| chunk.lines.clone()).collect::<Vec<_>>(), lines);
        assert_eq!(chunks.iter().filter(|chunk| chunk.last).count(), 1);
        assert!(chunks.last().unwrap().last);
        for chunk in chunks {
            Envelope::new(id, jiff::Timestamp::UNIX_EPOCH, DeviceMessage::LogChunk(chunk)).encode().unwrap();
        }
        assert_eq!(super::chunks(id, vec![]).len(), 1);
    }

    #[test]
    fn old_logs_go_running_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..KEPT_FILES + 5 {
            fs::write(folder.path().join(format!("encoder-{number:03}.log")), "").unwrap();
        }
        fs::write(folder.path().join("mine.txt"), "").unwrap();
        prune(folder.path(), |path| path.ends_with("encoder-000.log")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), KEPT_FILES + 2);
        assert!(folder.path().join("encoder-000.log").exists());
    }
}
