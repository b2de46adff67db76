//! What of a running stream is on disk, so that the next agent can take it over:
//! `STATE_DIR/streams/STREAM.json`. Holds no secret.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strata_control::{StreamId, StreamStart};
use strata_encoder_protocol::EncoderLink;

use super::client::EncoderConnection;
use crate::files;

/// A stream that was started and has not ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamRecord {
    /// What was asked for, as changed since.
    pub start: StreamStart,
    /// When the stream was started on this device.
    pub started_at: Timestamp,
    /// In which run of the system (`boot_id`): processes of another one are gone.
    pub boot_id: String,
    /// The encoder's process, once started.
    #[serde(default)]
    pub process: Option<ProcessIdentity>,
    /// The links as last told to the encoder.
    #[serde(default)]
    pub links: Vec<EncoderLink>,
    /// Interfaces by link number, also of those that are gone for now: numbers stay.
    #[serde(default)]
    pub link_numbers: Vec<String>,
    /// How often the encoder was started again.
    #[serde(default)]
    pub restarts: u32,
    /// Why, the last time.
    #[serde(default)]
    pub last_restart: Option<String>,
    /// Bytes handed to the transport by encoders that have ended.
    #[serde(default)]
    pub earlier_bytes: u64,
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its number.
    pub pid: i32,
    /// When it was started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub started_ticks: u64,
}

impl StreamRecord {
    /// The record of a stream that starts now.
    #[must_use]
    pub fn new(start: StreamStart) -> Self {
        Self {
            start,
            started_at: Timestamp::now(),
            boot_id: boot_id(),
            process: None,
            links: vec![],
            link_numbers: vec![],
            restarts: 0,
            last_restart: None,
            earlier_bytes: 0,
        }
    }

    /// Whether it was written in this run of the system.
    #[must_use]
    pub fn is_of_this_boot(&self) -> bool {
        self.boot_id == boot_id()
    }
}

/// The record of a running encoder that has none.
pub(super) fn started_record(connection: &EncoderConnection) -> StreamRecord {
    StreamRecord { started_at: connection.started_at, ..StreamRecord::new(connection.start.clone()) }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// The folder of the records.
#[derive(Clone, Debug)]
pub struct RecordStore(PathBuf);

impl RecordStore {
    /// The records below `state_dir`; makes the folder.
    ///
    /// # Errors
    /// Names the folder.
    pub fn open(state_dir: &Path) -> anyhow::Result<Self> {
        let folder = state_dir.join("streams");
        files::private_folder_if_possible(&folder)?;
        Ok(Self(folder))
    }

    fn path(&self, stream_id: StreamId) -> PathBuf {
        self.0.join(format!("{stream_id}.json"))
    }

    /// Keeps a record. A full disk must not end a stream: a failure goes to the log.
    pub fn write(&self, record: &StreamRecord) {
        if let Err(error) = files::replace_json(&self.path(record.start.stream_id), record) {
            tracing::error!(stream = %record.start.stream_id, "the stream could not be recorded: {error:#}");
        }
    }

    /// Forgets a record.
    pub fn remove(&self, stream_id: StreamId) {
        files::remove_or_log(&self.path(stream_id));
    }

    /// All records; damaged ones are named in the log and left out.
    ///
    /// # Errors
    /// Names the folder.
    pub fn read_all(&self) -> anyhow::Result<Vec<StreamRecord>> {
        read_folder(&self.0)
    }
}

/// Every `.json` file of a folder that can be read.
pub(super) fn read_folder<T: serde::de::DeserializeOwned>(folder: &Path) -> anyhow::Result<Vec<T>> {
    let cannot = || format!("cannot read the folder {}", folder.display());
    let mut values = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // On a disk that takes no writes it may be missing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(values),
        Err(error) => return Err(error).with_context(cannot),
    };
    for entry in entries {
        let path = entry.with_context(cannot)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match files::read_json(&path) {
            Ok(Some(value)) => values.push(value),
            Ok(None) => {}
            Err(error) => tracing::error!("{error:#}"),
        }
    }
    Ok(values)
}
