//! `RUN_DIR/state.json`: what the device does now and what went wrong last, for
//! the update daemon, the portal, `./dev demo` and people. It holds no secret:
//! whoever may enter the folder may read it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;
use strata_control::{ApPolicy, DeviceId, DeviceProblem, StreamId};

use crate::files;
use crate::relay::{Problem, ProblemKind};
use crate::state::AgentState;

/// The file's content.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct StateFile {
    /// `boot`, `connecting`, `idle` or `streaming`.
    pub(crate) state: AgentState,
    /// The agent's process.
    pub(crate) pid: u32,
    /// The agent's version.
    pub(crate) version: &'static str,
    /// Whether hardware is made up.
    pub(crate) simulated: bool,
    /// The relay; none while none is known.
    pub(crate) relay_url: Option<String>,
    /// The device, once enrolled.
    pub(crate) device_id: Option<DeviceId>,
    /// The name people gave it.
    pub(crate) name: Option<String>,
    /// When the access point is to be on.
    pub(crate) ap_policy: ApPolicy,
    /// Since when the relay is connected; none while it is not.
    pub(crate) connected_since: Option<Timestamp>,
    /// Why it is not, or was not the last time.
    pub(crate) last_error: Option<LastError>,
    /// The streams that run.
    pub(crate) streams: Vec<StreamId>,
    /// What is wrong with the device itself.
    pub(crate) problems: Vec<DeviceProblem>,
}

/// What went wrong last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct LastError {
    /// For programs: docs/device/agent.md has them all.
    pub(crate) kind: ProblemKind,
    /// For people.
    pub(crate) message: String,
    /// When.
    pub(crate) at: Timestamp,
}

impl From<Problem> for LastError {
    fn from(problem: Problem) -> Self {
        Self { kind: problem.kind, message: problem.message, at: Timestamp::now() }
    }
}

/// Writes the file when its content changes.
#[derive(Debug)]
pub(crate) struct StatePublisher {
    path: PathBuf,
    written: Option<StateFile>,
}

impl StatePublisher {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, written: None }
    }

    /// Writes `state` unless it is there already. A failure harms nobody's stream: it goes to the log.
    pub(crate) fn publish(&mut self, state: StateFile) {
        if self.written.as_ref() == Some(&state) {
            return;
        }
        match files::publish_json(&self.path, &state) {
            Ok(()) => self.written = Some(state),
            Err(error) => tracing::warn!("{error:#}"),
        }
    }

    /// The agent ends: nothing is true any more.
    pub(crate) fn remove(&self) {
        files::remove_or_log(&self.path);
    }
}
