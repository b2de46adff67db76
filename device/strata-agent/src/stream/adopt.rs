//! After the agent's own death: which streams of its former life still run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use strata_control::{EndReason, StreamEnded, StreamId};

use super::client::EncoderConnection;
use super::record::{StreamRecord, started_record};
use super::task::Begin;
use super::{EndedStore, StreamContext};
use crate::{emulator, files};

/// A stream of the former life.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "few and short-lived")]
pub enum Found {
    /// It goes on.
    Running(StreamRecord, Begin),
    /// It ended with the system's former run.
    Ended(StreamEnded),
}

/// Looks for streams of a former agent, by records and sockets; removes what is left of others.
///
/// # Errors
/// Names the folder that cannot be read.
pub async fn find(context: &StreamContext, ended: &EndedStore) -> anyhow::Result<Vec<Found>> {
    let mut records: BTreeMap<StreamId, StreamRecord> =
        context.records.read_all()?.into_iter().map(|record| (record.start.stream_id, record)).collect();
    // The end was kept, the record was not removed any more: it has ended.
    records.retain(|id, _| {
        let over = ended.get(*id).is_some();
        if over {
            context.records.remove(*id);
        }
        !over
    });
    let run_dir = &context.config.run_dir;
    let mut found = Vec::new();
    for (id, socket) in sockets(run_dir, "encoder-")? {
        match EncoderConnection::open(&socket).await {
            Ok(connection) => {
                let record = records.remove(&id).unwrap_or_else(|| started_record(&connection));
                found.push(Found::Running(record, Begin::Adopted(Box::new(connection))));
            }
            Err(error) => {
                tracing::info!("a stale socket is removed: {error:#}");
                files::remove_or_log(&socket);
            }
        }
    }
    found.extend(records.into_values().map(without_socket));
    stop_stray_emulators(run_dir, &found).await?;
    Ok(found)
}

fn without_socket(record: StreamRecord) -> Found {
    if !record.is_of_this_boot() {
        return Found::Ended(StreamEnded {
            stream_id: record.start.stream_id,
            reason: EndReason::DeviceShutdown,
            detail: "the device restarted while the stream was live".to_owned(),
            duration_ms: 0,
            bytes: record.earlier_bytes,
            exit_status: None,
            log: vec![],
        });
    }
    let begin = match record.process {
        Some(identity) if super::process::started_ticks(identity.pid) == Some(identity.started_ticks) => {
            Begin::Awaited(identity)
        }
        _ => Begin::Gone,
    };
    Found::Running(record, begin)
}

async fn stop_stray_emulators(run_dir: &Path, found: &[Found]) -> anyhow::Result<()> {
    for (id, socket) in sockets(run_dir, "netem-")? {
        let wanted = found.iter().any(|found| match found {
            Found::Running(record, _) => record.start.stream_id == id,
            Found::Ended(_) => false,
        });
        if !wanted {
            emulator::stop_stray(&socket).await;
        }
    }
    Ok(())
}

/// Sockets `PREFIXstream.sock` in `run_dir`.
fn sockets(run_dir: &Path, prefix: &str) -> anyhow::Result<Vec<(StreamId, PathBuf)>> {
    let cannot = || format!("cannot read the folder {}", run_dir.display());
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir(run_dir).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let id = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".sock")).and_then(|id| id.parse().ok());
        if let Some(id) = id {
            sockets.push((id, path));
        }
    }
    Ok(sockets)
}
