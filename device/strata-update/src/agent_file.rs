//! The agent's `state.json`, as far as it matters here: is it ready, is a stream live, is the relay reached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use crate::files;

/// How long streams may run that no agent tells of: one that is started again finds them within seconds, and one that
/// is gone for good must not stop updates for ever.
pub const UNKNOWN_LIMIT: Duration = Duration::from_secs(60);

/// What the agent does now; fields that others need are ignored.
#[derive(Debug, Deserialize)]
pub struct AgentFile {
    state: String,
    #[serde(default)]
    connected_since: Option<IgnoredAny>,
    #[serde(default)]
    streams: Vec<IgnoredAny>,
}

impl AgentFile {
    /// Reads it; none while no agent runs.
    ///
    /// # Errors
    /// Names the file.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        files::read_json(path)
    }

    /// Whether the agent has started up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state != "boot"
    }

    /// What it says it does.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state
    }

    /// Whether it is logged in at the relay.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected_since.is_some()
    }

    /// How many streams run.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }
}

/// How many streams run on this device, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Live {
    /// So many.
    Streams(usize),
    /// No agent tells; encoders outlive it, so some may.
    Unknown,
}

/// The look for live streams. It has to look from time to time, so that it knows since when none is told.
#[derive(Debug)]
pub struct LiveLook {
    path: PathBuf,
    unknown_since: Option<Instant>,
}

impl LiveLook {
    /// At the agent's file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), unknown_since: None }
    }

    /// Looks; after [`UNKNOWN_LIMIT`] without an agent that knows, none counts as live.
    pub fn look(&mut self, now: Instant) -> Live {
        let told = AgentFile::read(&self.path).unwrap_or_else(|error| {
            tracing::debug!("{error:#}");
            None
        });
        // While it starts up it still looks for the streams of its former life.
        if let Some(agent) = told.filter(AgentFile::is_ready) {
            self.unknown_since = None;
            return Live::Streams(agent.streams());
        }
        let since = *self.unknown_since.get_or_insert(now);
        if now.duration_since(since) < UNKNOWN_LIMIT { Live::Unknown } else { Live::Streams(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(AgentFile::read(&path).unwrap().is_none());
        std::fs::write(&path, r#"{"state": "boot", "pid": 7, "connected_since": null, "streams": []}"#).unwrap();
        let booting = AgentFile::read(&path).unwrap().unwrap();
        assert_eq!((booting.is_ready(), booting.is_connected(), booting.streams()), (false, false, 0));
        let text = r#"{"state": "streaming", "connected_since": "2026-01-01T00:00:00Z", "streams": ["0199a0c0-0000-7000-8000-000000000001"], "new": 1}"#;
        std::fs::write(&path, text).unwrap();
        let live = AgentFile::read(&path).unwrap().unwrap();
        assert_eq!((live.is_ready(), live.is_connected(), live.streams()), (true, true, 1));
        std::fs::write(&path, "{").unwrap();
        assert!(AgentFile::read(&path).unwrap_err().to_string().contains("state.json is damaged"));
    }

    #[test]
    fn streams_that_no_agent_tells_of_count_as_unknown_for_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let live = r#"{"state": "streaming", "streams": ["x", "y"]}"#;
        let no_agent: [&dyn Fn(); 3] =
            [&|| std::fs::remove_file(&path).unwrap(), &|| std::fs::write(&path, "{").unwrap(), &|| {
                std::fs::write(&path, r#"{"state": "boot", "streams": []}"#).unwrap()
            }];
        for lose_agent in no_agent {
            let mut look = LiveLook::new(&path);
            std::fs::write(&path, live).unwrap();
            assert_eq!(look.look(at(0)), Live::Streams(2));
            lose_agent();
            assert_eq!(
                [look.look(at(100)), look.look(at(159)), look.look(at(160))],
                [Live::Unknown, Live::Unknown, Live::Streams(0)]
            );
            // The next time begins anew.
            std::fs::write(&path, live).unwrap();
            assert_eq!(look.look(at(161)), Live::Streams(2));
            lose_agent();
            assert_eq!(look.look(at(170)), Live::Unknown);
        }
    }
}
