//! The check of a new system: an update is good when the device does what it is for.
//!
//! Owns the steps, their order and the one limit for all of them: the agent is
//! ready, the encoder encoded real pictures that crossed a loopback bond, the
//! relay was reached or the access point is up. Does not own what follows.

mod encoder;
mod ready;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{self, Instant};

use crate::bus::Bus;
use crate::config::Config;
use crate::pace::Pace;

/// A step of the check, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The agent has started up.
    Agent,
    /// Pictures were encoded and crossed a bond.
    Encoder,
    /// The relay was reached, or the access point is up.
    Relay,
}

impl Step {
    /// What the step waits for, within a sentence.
    #[must_use]
    pub fn awaits(self) -> &'static str {
        match self {
            Self::Agent => "the agent to start up",
            Self::Encoder => "real pictures from the encoder over a loopback bond",
            Self::Relay => "the relay, or the access point",
        }
    }
}

/// Why a new system is not good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckFailure {
    /// The step.
    pub step: Step,
    /// What it saw last, in its own words.
    pub seen: String,
    /// How long the whole check took.
    pub after: Duration,
}

impl CheckFailure {
    /// In a sentence, for the system of this version.
    #[must_use]
    pub fn sentence(&self, version: &str) -> String {
        format!(
            "The new system {version} failed its own check after {} s, waiting for {}: {}.",
            self.after.as_secs(),
            self.step.awaits(),
            self.seen.trim().trim_end_matches('.')
        )
    }
}

/// What a check needs.
#[derive(Clone, Debug)]
pub struct Check {
    agent_state_file: PathBuf,
    encoder_program: PathBuf,
    /// For throw-away keys and the encoder's socket and log.
    folder: PathBuf,
    limit: Duration,
    encoder_try: Duration,
    bus: Bus,
    pace: Pace,
}

impl Check {
    /// As configured.
    #[must_use]
    pub fn new(config: &Config, bus: Bus, pace: Pace) -> Self {
        Self {
            agent_state_file: config.agent_state_file.clone(),
            encoder_program: config.encoder_program.clone(),
            folder: config.run_dir.join("check"),
            limit: config.verify_limit(),
            encoder_try: config.encoder_try(),
            bus,
            pace,
        }
    }

    /// Makes the whole check; `reached` is told each step as it begins.
    ///
    /// # Errors
    /// The step that was not passed within the limit.
    pub async fn run(&self, mut reached: impl FnMut(Step)) -> Result<(), CheckFailure> {
        let began = Instant::now();
        let deadline = began + self.limit;
        for step in [Step::Agent, Step::Encoder, Step::Relay] {
            reached(step);
            self.step(step, deadline).await.map_err(|seen| CheckFailure { step, seen, after: began.elapsed() })?;
            tracing::info!(?step, "the check's step is passed");
        }
        Ok(())
    }

    /// Tries a step until it is passed; what was seen last when the time is over.
    async fn step(&self, step: Step, deadline: Instant) -> Result<(), String> {
        let mut seen = "there was no time left for it".to_owned();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(seen);
            }
            let result = match step {
                Step::Agent => ready::agent(&self.agent_state_file),
                Step::Encoder => {
                    let limit = left.min(self.encoder_try);
                    encoder::try_once(&self.encoder_program, &self.folder, limit).await
                }
                Step::Relay => ready::relay(&self.agent_state_file, &self.bus).await,
            };
            match result {
                Ok(()) => return Ok(()),
                Err(now) => {
                    if now != seen {
                        tracing::info!(?step, "not passed yet: {now}");
                    }
                    seen = now;
                }
            }
            let pause = if step == Step::Encoder { self.pace.retry } else { self.pace.look };
            time::sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// Waits until the agent is ready, for ever; `late` is told once when the limit is over.
    pub async fn agent_ready(&self, late: impl FnOnce(String)) {
        let deadline = Instant::now() + self.limit;
        let mut late = Some(late);
        while let Err(seen) = ready::agent(&self.agent_state_file) {
            if Instant::now() >= deadline
                && let Some(late) = late.take()
            {
                late(seen);
            }
            time::sleep(self.pace.look).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_step_and_its_words() {
        let failure = CheckFailure {
            step: Step::Encoder,
            seen: "x264enc is missing.".to_owned(),
            after: Duration::from_secs(600),
        };
        assert_eq!(
            failure.sentence("0.2.0"),
            "The new system 0.2.0 failed its own check after 600 s, waiting for real pictures from the encoder over a loopback bond: x264enc is missing."
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_never_gets_ready_fails_at_the_limit_in_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            agent_state_file: folder.path().join("state.json"),
            run_dir: folder.path().to_owned(),
            verify_limit_s: 30,
            ..Config::default()
        };
        let mut steps = vec![];
        let failure = Check::new(&config, Bus::System, Pace::default()).run(|step| steps.push(step)).await.unwrap_err();
        assert_eq!((failure.step, steps.as_slice()), (Step::Agent, [Step::Agent].as_slice()));
        assert!(failure.seen.contains("does not run"), "{failure:?}");
        assert!((30..33).contains(&failure.after.as_secs()), "{failure:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_ordinary_boot_waits_for_the_agent_for_ever_and_says_so_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let config = Config { agent_state_file: path.clone(), verify_limit_s: 30, ..Config::default() };
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let check = Check::new(&config, Bus::System, Pace::default());
        let waiting = tokio::spawn(async move { check.agent_ready(|seen| said.send(seen).unwrap()).await });
        assert!(heard.recv().await.unwrap().contains("does not run"));
        std::fs::write(&path, r#"{"state": "connecting"}"#).unwrap();
        waiting.await.unwrap();
        assert_eq!(heard.recv().await, None);
    }
}
