//! The agent's `state.json`, as far as it matters here: is it ready, is a stream live, is the relay reached.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::files;

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

/// How many streams run on this device; none while the agent cannot be asked.
#[must_use]
pub fn live_streams(path: &Path) -> usize {
    match AgentFile::read(path) {
        Ok(agent) => agent.map_or(0, |agent| agent.streams()),
        Err(error) => {
            tracing::debug!("{error:#}");
            0
        }
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
        assert_eq!(live_streams(&path), 0);
    }
}
