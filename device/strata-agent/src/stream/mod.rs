//! Streams: one task and one encoder process for each.
//!
//! Owns starting, supervising, changing and stopping encoders, taking them over
//! from a former agent, and what of a stream must be on disk. Does not own the
//! connection to the relay: a stream's task neither knows nor cares whether
//! there is one. Commands go in by [`StreamHandle`], [`StreamEvent`]s come out.

mod adopt;
mod client;
mod ended;
mod paths;
mod plan;
mod process;
mod record;
mod report;
mod restart;
mod serve;
mod task;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strata_control::{
    BitrateBounds, CommandResult, EndReason, LinkPolicy, RefusedCode, RunningStream, Source, StreamEnded, StreamId,
    StreamStart, StreamStats,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::inventory::Inventory;
use crate::storage::takes_logs;

pub use adopt::{Found, find};
pub use client::EncoderConnection;
pub use ended::EndedStore;
pub(crate) use plan::merge_policies;
pub(crate) use process::{spawn as spawn_in_session, wait_until};
pub use record::{RecordStore, StreamRecord};
pub use restart::{Decision, RestartPolicy};
pub use task::{Begin, spawn};

/// Commands of one stream that may wait while its task is busy: more than a relay has under way at once.
const COMMAND_BOUND: usize = 16;

/// What every stream's task needs.
#[derive(Debug)]
pub struct StreamContext {
    /// The agent's configuration.
    pub config: Config,
    /// Whether links go through the emulator.
    pub simulate: bool,
    /// Records of running streams.
    pub records: RecordStore,
    /// What there is, and what the operator allows.
    pub surroundings: watch::Receiver<Surroundings>,
    /// Where events go.
    pub events: mpsc::Sender<(StreamId, StreamEvent)>,
    /// Whether it was said that no logs are kept.
    no_logs: AtomicBool,
}

impl StreamContext {
    /// Puts it together.
    #[must_use]
    pub fn new(
        config: Config,
        simulate: bool,
        records: RecordStore,
        surroundings: watch::Receiver<Surroundings>,
        events: mpsc::Sender<(StreamId, StreamEvent)>,
    ) -> Self {
        Self { config, simulate, records, surroundings, events, no_logs: AtomicBool::new(false) }
    }

    /// A stream's encoder socket.
    #[must_use]
    pub fn socket(&self, stream_id: StreamId) -> PathBuf {
        self.config.run_dir.join(format!("encoder-{stream_id}.sock"))
    }

    /// A stream's emulator socket.
    #[must_use]
    pub fn emulator_socket(&self, stream_id: StreamId) -> PathBuf {
        self.config.run_dir.join(format!("netem-{stream_id}.sock"))
    }

    /// The log of a stream's encoder; there is none where the disk took no logs when it started.
    #[must_use]
    pub fn log(&self, stream_id: StreamId) -> PathBuf {
        self.config.log_dir.join(format!("encoder-{stream_id}.log"))
    }

    /// Where a process that starts now logs; nowhere while the disk takes no logs, as memory has no room for them.
    pub(crate) fn new_log(&self, name: &str) -> Option<PathBuf> {
        let folder = &self.config.log_dir;
        let taken = takes_logs(folder);
        if !self.no_logs.swap(!taken, Ordering::Relaxed) && !taken {
            let folder = folder.display();
            tracing::warn!("{folder} takes no logs: encoders that start keep their own last lines only");
        }
        taken.then(|| folder.join(name))
    }
}

/// What links are made of.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The interfaces.
    pub inventory: Arc<Inventory>,
    /// The operator's settings for the whole device.
    pub policies: Vec<LinkPolicy>,
}

/// What a stream's task tells the agent.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "few and short-lived")]
pub enum StreamEvent {
    /// What it does has changed; told to the relay at once.
    Status(RunningStream),
    /// What it was asked for has changed.
    Desired(StreamStart),
    /// The encoder's numbers.
    Stats(StreamStats),
    /// It is over; the task ends.
    Ended(StreamEnded),
    /// It was refused before anything ran; the task ends.
    NotStarted,
}

/// What a stream's task is told.
#[derive(Debug)]
pub enum StreamCommand {
    /// Run like this from now on.
    Apply {
        /// The relay's command.
        start: Box<StreamStart>,
        /// Who waits for the result.
        reply: oneshot::Sender<CommandResult>,
    },
    /// Change the source.
    Switch {
        /// The new one.
        source: Source,
        /// Who waits for the result.
        reply: oneshot::Sender<CommandResult>,
    },
    /// Hot changes.
    Update {
        /// New bitrate.
        bitrate: Option<BitrateBounds>,
        /// New latency.
        latency_ms: Option<u32>,
        /// Links whose settings change.
        links: Vec<LinkPolicy>,
        /// Who waits for the result.
        reply: oneshot::Sender<CommandResult>,
    },
    /// Stop.
    Stop {
        /// Why, for programs.
        reason: EndReason,
        /// Why, for people.
        detail: String,
        /// Who waits for the result.
        reply: oneshot::Sender<CommandResult>,
    },
}

/// A running stream, as the agent holds it.
#[derive(Debug)]
pub struct StreamHandle {
    /// What it was asked for.
    pub desired: StreamStart,
    /// What it does.
    pub status: RunningStream,
    /// Whether one of its links carries it.
    pub moves: bool,
    commands: mpsc::Sender<StreamCommand>,
    task: JoinHandle<()>,
}

impl StreamHandle {
    /// Hands a command to the task. The result comes by the returned channel,
    /// which closes without one when the stream ends meanwhile.
    #[must_use]
    pub fn command(
        &self,
        make: impl FnOnce(oneshot::Sender<CommandResult>) -> StreamCommand,
    ) -> oneshot::Receiver<CommandResult> {
        let (reply, result) = oneshot::channel();
        if let Err(error) = self.commands.try_send(make(reply)) {
            // The reply channel is dropped with the command: the caller sees the stream as gone or busy.
            tracing::warn!(stream = %self.desired.stream_id, "a command was not taken: {error}");
        }
        result
    }
}

impl Drop for StreamHandle {
    /// Lets go of the stream; its encoder runs on.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A refusal.
#[must_use]
pub fn refused(code: RefusedCode, message: impl Into<String>) -> CommandResult {
    CommandResult::Refused { code, message: message.into() }
}

/// The command's code for an encoder's reason.
#[must_use]
pub fn refused_code(reason: EndReason) -> RefusedCode {
    match reason {
        EndReason::SourceMissing => RefusedCode::SourceMissing,
        EndReason::SourceUnreadable | EndReason::NoInput => RefusedCode::SourceUnreadable,
        EndReason::PluginMissing => RefusedCode::PluginMissing,
        EndReason::NoLinks => RefusedCode::NoLinks,
        EndReason::StoppedByUser
        | EndReason::EncoderFailed
        | EndReason::RefusedByDevice
        | EndReason::DeviceShutdown
        | EndReason::DeviceLostStream
        | EndReason::DeviceOffline
        | EndReason::DeviceRevoked
        | EndReason::WorkerFailed
        | EndReason::NoPort
        | EndReason::DiskFull
        | EndReason::Other => RefusedCode::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn logs_are_on_disk_or_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let log_dir = folder.path().join("log");
        let config = toml::from_str(&format!("log_dir = {log_dir:?}\nrun_dir = {:?}", folder.path())).unwrap();
        let records = RecordStore::open(folder.path()).unwrap();
        let (surroundings, events) = (watch::channel(Surroundings::default()).1, mpsc::channel(1).0);
        let context = StreamContext::new(config, false, records, surroundings, events);
        // No folder can be made there.
        fs::write(&log_dir, "").unwrap();
        for _ in 0..2 {
            assert_eq!(context.new_log("encoder.log"), None);
            assert!(context.no_logs.load(Ordering::Relaxed));
        }
        fs::remove_file(&log_dir).unwrap();
        assert_eq!(context.new_log("encoder.log"), Some(log_dir.join("encoder.log")));
        assert!(!context.no_logs.load(Ordering::Relaxed), "the next time is said again");
    }
}
