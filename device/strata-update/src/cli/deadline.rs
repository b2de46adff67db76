//! `strata-update deadline`, run by a timer: a system that nobody called good is rebooted, so that U-Boot's counting
//! leads back to the other slot even when the daemon itself hangs.

use std::process::Command;

use anyhow::{Context, bail};

use crate::agent_file::live_streams;
use crate::bus::Bus;
use crate::config::Config;
use crate::power;
use crate::state::State;
use crate::store::Store;

/// What the deadline finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The running slot was called good.
    Good,
    /// It was not, but no update is under way and a stream is live: viewers come first.
    Live,
    /// It was not.
    Reboot,
}

/// Looks whether a reboot is due.
#[must_use]
pub fn verdict(config: &Config) -> Verdict {
    if config.good_mark().exists() {
        return Verdict::Good;
    }
    let (persisted, damage) = Store::new(&config.state_dir).peek();
    let settled = matches!(
        persisted.machine().state,
        State::Idle | State::Waiting | State::Good | State::Refused | State::RolledBack
    );
    let live = live_streams(&config.agent_state_file) > 0;
    if damage.is_none() && settled && live { Verdict::Live } else { Verdict::Reboot }
}

/// Reboots by logind; without it, by `systemctl`.
///
/// # Errors
/// When neither takes the order.
pub async fn reboot(bus: &Bus) -> anyhow::Result<()> {
    let Err(error) = power::reboot(bus).await else { return Ok(()) };
    eprintln!("strata-update: {error:#}; systemctl is asked");
    let status = Command::new("systemctl").arg("reboot").status().context("systemctl cannot be started")?;
    if !status.success() {
        bail!("systemctl does not reboot ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_system_that_nobody_called_good_is_rebooted() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            run_dir: folder.path().to_owned(),
            state_dir: folder.path().to_owned(),
            agent_state_file: folder.path().join("agent.json"),
            ..Config::default()
        };
        assert_eq!(verdict(&config), Verdict::Reboot);
        fs::write(&config.agent_state_file, r#"{"state": "streaming", "streams": ["x"]}"#).unwrap();
        assert_eq!(verdict(&config), Verdict::Live);
        fs::write(folder.path().join("state.json"), "{").unwrap();
        assert_eq!(verdict(&config), Verdict::Reboot);
        assert!(folder.path().join("state.json").exists(), "only looked at");
        fs::write(config.good_mark(), "").unwrap();
        assert_eq!(verdict(&config), Verdict::Good);
    }
}
