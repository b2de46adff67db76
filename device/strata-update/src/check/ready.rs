//! The steps that are looked at: the agent has started up; the relay is reached, or the access point is up.

use std::path::Path;

use crate::agent_file::AgentFile;
use crate::bus::Bus;
use crate::network;

/// Whether the agent is ready; what it does instead.
pub(super) fn agent(state_file: &Path) -> Result<(), String> {
    match AgentFile::read(state_file) {
        Ok(Some(agent)) if agent.is_ready() => Ok(()),
        Ok(Some(agent)) => Err(format!("the agent is still starting up (state “{}”)", agent.state())),
        Ok(None) => Err(format!("the agent does not run (there is no {})", state_file.display())),
        Err(error) => Err(format!("what the agent does is not known ({error:#})")),
    }
}

/// Whether the relay is reached or the access point is up; what is there instead.
pub(super) async fn relay(state_file: &Path, bus: &Bus) -> Result<(), String> {
    if matches!(AgentFile::read(state_file), Ok(Some(agent)) if agent.is_connected()) {
        return Ok(());
    }
    match network::has_access_point(bus).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the agent is not logged in at the relay, and no access point is up".to_owned()),
        Err(error) => Err(format!("the agent is not logged in at the relay, and {error:#}")),
    }
}
