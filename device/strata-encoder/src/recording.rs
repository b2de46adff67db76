//! A copy of the MPEG-TS on the device's disk.
//!
//! Owns the file and the thread that writes it. The stream never waits for the
//! disk: what does not fit into the queue is left out, and a disk that fails
//! ends the copy, not the stream. Both are reported.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use gstreamer as gst;

/// Datagrams that may wait for the disk: about 2.7 MB, several seconds of a usual stream.
const QUEUE: usize = 2_048;

/// A recording at work; ends when dropped.
#[derive(Debug)]
pub(crate) struct Recording {
    queue: Mutex<Option<SyncSender<Vec<u8>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    report: std::sync::Arc<Report>,
}

#[derive(Debug)]
struct Report {
    path: PathBuf,
    left_out: AtomicU64,
    failed: AtomicBool,
    /// Why it failed, until it was told.
    error: Mutex<Option<String>>,
}

impl Recording {
    /// Creates the file; an existing one of that name is continued, for the stream may have been restarted.
    pub(crate) fn start(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| describe(path, &error);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = File::options().create(true).append(true).open(path).map_err(failed)?;
        let (sender, receiver) = sync_channel(QUEUE);
        let report = std::sync::Arc::new(Report {
            path: path.to_owned(),
            left_out: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
        });
        let shared = std::sync::Arc::clone(&report);
        let writer = std::thread::Builder::new().name("recording".to_owned());
        let writer = writer.spawn(move || write_all(file, &receiver, &shared)).map_err(failed)?;
        Ok(Self { queue: Mutex::new(Some(sender)), writer: Mutex::new(Some(writer)), report })
    }

    /// Takes a copy of what is sent; never waits.
    pub(crate) fn write(&self, buffer: &gst::BufferRef) {
        let Ok(map) = buffer.map_readable() else { return };
        self.write_bytes(&map);
    }

    fn write_bytes(&self, bytes: &[u8]) {
        if self.report.failed.load(Ordering::Relaxed) {
            return;
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(TrySendError::Full(_))) = queue.as_ref().map(|queue| queue.try_send(bytes.to_vec())) {
            self.report.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What went wrong since the last call, for people.
    pub(crate) fn trouble(&self) -> Option<String> {
        if let Some(error) = self.report.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Some(format!("{error}; the stream goes on without the recording"));
        }
        if self.report.failed.load(Ordering::Relaxed) {
            return None;
        }
        let left_out = self.report.left_out.swap(0, Ordering::Relaxed);
        let path = self.report.path.display();
        (left_out > 0).then(|| format!("the disk is too slow: the recording {path} lacks {left_out} datagrams"))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // The writer ends when the queue is empty and has no sender.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the recording's thread had panicked");
        }
    }
}

fn write_all(mut file: File, queue: &Receiver<Vec<u8>>, report: &Report) {
    while let Ok(bytes) = queue.recv() {
        if let Err(error) = file.write_all(&bytes) {
            report.failed.store(true, Ordering::Relaxed);
            let text = describe(&report.path, &error);
            tracing::error!("{text}");
            *report.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            return;
        }
    }
}

fn describe(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full: delete old recordings",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "this program may not write there",
        _ => "check the disk",
    };
    format!("the recording {} cannot be written: {error}; {advice}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_in_the_file_after_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/copy.ts");
        for part in [b"one".as_slice(), b"two"] {
            let recording = Recording::start(&path).unwrap();
            recording.write_bytes(part);
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"onetwo", "a restarted stream continues its recording");
    }

    #[test]
    fn a_full_disk_is_reported_once_and_stops_nothing() {
        let recording = Recording::start(Path::new("/dev/full")).unwrap();
        // Until the writer notices, the queue may run over as well: that is another trouble.
        let text = loop {
            recording.write_bytes(&[0; 1316]);
            match recording.trouble() {
                Some(text) if text.contains("goes on without") => break text,
                _ => {}
            }
        };
        assert!(text.contains("/dev/full") && text.contains("full"), "{text}");
        recording.write_bytes(&[0; 1316]);
        assert_eq!(recording.trouble(), None);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = Recording::start(Path::new("/proc/no/copy.ts")).unwrap_err();
        assert!(error.contains("/proc/no/copy.ts"), "{error}");
    }
}
