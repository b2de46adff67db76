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

use std::path::{Path, PathBuf};
use std::sync::Arc;

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
}

impl StreamContext {
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

    /// The newest log of a stream's encoder.
    #[must_use]
    pub fn log(&self, stream_id: StreamId) -> PathBuf {
        let name = format!("encoder-{stream_id}.log");
        let changed = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).ok();
        let [kept, in_memory] = self.log_folders().map(|folder| folder.join(&name));
        if changed(&in_memory) > changed(&kept) { in_memory } else { kept }
    }

    /// Where a process that starts now logs: on disk, or in memory while the disk takes no logs.
    #[must_use]
    pub(crate) fn new_log(&self, name: &str) -> PathBuf {
        let [kept, in_memory] = self.log_folders();
        if takes_logs(kept) { kept.join(name) } else { in_memory.join(name) }
    }

    /// Where logs are: on disk, and in memory.
    pub(crate) fn log_folders(&self) -> [&Path; 2] {
        [&self.config.log_dir, &self.config.run_dir]
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
