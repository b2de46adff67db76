//! Reports of ended streams that the relay has not acknowledged, in
//! `STATE_DIR/ended/STREAM.json`: they survive the agent and the power.

use std::path::{Path, PathBuf};

use strata_control::{StreamEnded, StreamId};

use super::record::read_folder;
use crate::files;

/// A relay that was away for long gets the newest of these; older ones are dropped.
const KEPT: usize = 100;

/// The folder of the reports, and what is in it.
#[derive(Debug)]
pub struct EndedStore {
    folder: PathBuf,
    /// Oldest first.
    pending: Vec<StreamEnded>,
}

impl EndedStore {
    /// The reports below `state_dir`; makes the folder. On a disk that takes no writes they are kept in memory.
    ///
    /// # Errors
    /// Names the folder.
    pub fn open(state_dir: &Path) -> anyhow::Result<Self> {
        let folder = state_dir.join("ended");
        files::private_folder_if_possible(&folder)?;
        let mut pending: Vec<StreamEnded> = read_folder(&folder)?;
        // Stream identifiers are UUIDv7 as a rule: sorted, they are in order of time.
        pending.sort_by_key(|ended| ended.stream_id);
        Ok(Self { folder, pending })
    }

    /// Keeps a report until it is acknowledged.
    pub fn push(&mut self, ended: StreamEnded) {
        self.acknowledged(ended.stream_id);
        if self.pending.len() >= KEPT {
            let oldest = self.pending[0].stream_id;
            tracing::warn!(stream = %oldest, "the oldest unacknowledged report is dropped");
            self.acknowledged(oldest);
        }
        if let Err(error) = files::replace_json(&self.path(ended.stream_id), &ended) {
            tracing::error!(stream = %ended.stream_id, "the end is kept in memory only: {error:#}");
        }
        self.pending.push(ended);
    }

    /// The relay has it.
    pub fn acknowledged(&mut self, stream_id: StreamId) {
        let before = self.pending.len();
        self.pending.retain(|ended| ended.stream_id != stream_id);
        if self.pending.len() < before {
            files::remove_or_log(&self.path(stream_id));
        }
    }

    /// The report of this stream, where it waits.
    #[must_use]
    pub fn get(&self, stream_id: StreamId) -> Option<&StreamEnded> {
        self.pending.iter().find(|ended| ended.stream_id == stream_id)
    }

    /// All that wait, oldest first.
    #[must_use]
    pub fn pending(&self) -> &[StreamEnded] {
        &self.pending
    }

    fn path(&self, stream_id: StreamId) -> PathBuf {
        self.folder.join(format!("{stream_id}.json"))
    }
}

#[cfg(test)]
mod tests {
    use strata_control::EndReason;
    use uuid::Uuid;

    use super::*;

    fn ended(number: u128) -> StreamEnded {
        StreamEnded {
            stream_id: StreamId(Uuid::from_u128(number)),
            reason: EndReason::EncoderFailed,
            detail: "why".into(),
            duration_ms: 1,
            bytes: 2,
            exit_status: None,
            log: vec![],
        }
    }

    #[test]
    fn a_report_survives_until_it_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = EndedStore::open(folder.path()).unwrap();
        store.push(ended(2));
        store.push(ended(1));
        drop(store);
        let mut store = EndedStore::open(folder.path()).unwrap();
        assert_eq!(store.pending(), [ended(1), ended(2)]);
        store.acknowledged(ended(1).stream_id);
        store.acknowledged(ended(7).stream_id);
        let store = EndedStore::open(folder.path()).unwrap();
        assert_eq!(store.pending(), [ended(2)]);
        assert_eq!(store.get(ended(1).stream_id), None);
    }

    #[test]
    fn a_damaged_report_stops_nobody_and_old_ones_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = EndedStore::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("ended/x.json"), "garbage").unwrap();
        for number in 0..KEPT as u128 + 5 {
            store.push(ended(number));
        }
        let store = EndedStore::open(folder.path()).unwrap();
        assert_eq!(store.pending().len(), KEPT);
        assert_eq!(store.pending()[0], ended(5));
    }
}
