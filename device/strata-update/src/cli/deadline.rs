//! `strata-update deadline`, run by a timer: a system that nobody called good is rebooted, so that U-Boot's counting
//! leads back to the other slot even when the daemon itself hangs.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{self, Instant};

use crate::agent_file::{Live, LiveLook};
use crate::bus::Bus;
use crate::config::Config;
use crate::power;
use crate::state::State;
use crate::store::Store;

/// Between two looks while the agent does not tell whether a stream is live.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

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

/// Looks whether a reboot is due; waits a minute for an agent that does not tell whether a stream is live.
pub async fn verdict(config: &Config) -> Verdict {
    let mut look = LiveLook::new(&config.agent_state_file);
    loop {
        if let Some(verdict) = verdict_now(config, look.look(Instant::now())) {
            return verdict;
        }
        time::sleep(LOOK_PAUSE).await;
    }
}

/// None while it is not known.
fn verdict_now(config: &Config, live: Live) -> Option<Verdict> {
    if config.good_mark().exists() {
        return Some(Verdict::Good);
    }
    let (persisted, damage) = Store::new(&config.state_dir).peek();
    let settled = matches!(
        persisted.machine().state,
        State::Idle | State::Waiting | State::Good | State::Refused | State::RolledBack
    );
    match live {
        _ if damage.is_some() || !settled => Some(Verdict::Reboot),
        Live::Streams(0) => Some(Verdict::Reboot),
        Live::Streams(_) => Some(Verdict::Live),
        Live::Unknown => None,
    }
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

    #[tokio::test(start_paused = true)]
    async fn only_a_system_that_nobody_called_good_is_rebooted() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            run_dir: folder.path().to_owned(),
            state_dir: folder.path().to_owned(),
            agent_state_file: folder.path().join("agent.json"),
            ..Config::default()
        };
        let began = Instant::now();
        assert_eq!(verdict(&config).await, Verdict::Reboot);
        assert_eq!(began.elapsed(), Duration::from_secs(60), "the agent might only have been started again");
        fs::write(&config.agent_state_file, r#"{"state": "boot", "streams": []}"#).unwrap();
        let agent = async {
            time::sleep(Duration::from_secs(30)).await;
            fs::write(&config.agent_state_file, r#"{"state": "streaming", "streams": ["x"]}"#).unwrap();
        };
        assert_eq!(tokio::join!(verdict(&config), agent).0, Verdict::Live);
        fs::write(folder.path().join("state.json"), "{").unwrap();
        assert_eq!(verdict(&config).await, Verdict::Reboot);
        assert!(folder.path().join("state.json").exists(), "only looked at");
        fs::write(config.good_mark(), "").unwrap();
        assert_eq!(verdict(&config).await, Verdict::Good);
    }
}
