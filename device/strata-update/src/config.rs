//! The daemon's configuration: one TOML file, read once at start.
//!
//! Owns the keys, their defaults and their bounds; the shipped file
//! `device/rootfs/files/etc/strata/update.toml` says the same for people and is
//! parsed by a test. An unknown key is an error that names it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// Where it is in the image.
pub const DEFAULT_PATH: &str = "/etc/strata/update.toml";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value that cannot be.
    #[error("in the configuration {path}: {message}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which key, which value, what to do.
        message: String,
    },
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What is odd.
    Warn,
    /// What was done.
    Info,
    /// Each step.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Everything that is configured.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The socket, the mark of a good slot, the check's throw-away keys.
    pub run_dir: PathBuf,
    /// How far the newest update is; must survive a reboot.
    pub state_dir: PathBuf,
    /// The request for a factory reset.
    pub reset_file: PathBuf,
    /// What is kept of rejected systems.
    pub rejected_dir: PathBuf,
    /// The agent's `state.json`.
    pub agent_state_file: PathBuf,
    /// What `strata-data` found wrong.
    pub data_problems_file: PathBuf,
    /// What `strata-settings` wrote for this daemon.
    pub settings_file: PathBuf,
    /// What this image is.
    pub image_file: PathBuf,
    /// The encoder, for the check.
    pub encoder_program: PathBuf,
    /// `journalctl`.
    pub journal_program: PathBuf,
    /// Seconds for the whole check of a new system.
    pub verify_limit_s: u32,
    /// Seconds for one try of the encoder within it.
    pub encoder_try_s: u32,
    /// How much is logged.
    pub log_level: LogLevel,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            run_dir: "/run/strata-update".into(),
            state_dir: "/identity/update".into(),
            reset_file: "/identity/reset.json".into(),
            rejected_dir: "/data/update/rejected".into(),
            agent_state_file: "/run/strata/state.json".into(),
            data_problems_file: "/run/strata-data/problems.json".into(),
            settings_file: "/run/strata-settings/update.json".into(),
            image_file: "/usr/lib/strata/image.toml".into(),
            encoder_program: "/usr/bin/strata-encoder".into(),
            journal_program: "/usr/bin/journalctl".into(),
            verify_limit_s: 600,
            encoder_try_s: 60,
            log_level: LogLevel::Info,
        }
    }
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the key and what to do.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let value = |message: String| ConfigError::Value { path: path.to_owned(), message };
        let config: Self = toml::from_str(&text).map_err(|error| value(error.to_string().trim_end().to_owned()))?;
        config.validate().map_err(value)?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        for (key, value, min, max) in
            [("verify_limit_s", self.verify_limit_s, 30, 3_600), ("encoder_try_s", self.encoder_try_s, 5, 300)]
        {
            if !(min..=max).contains(&value) {
                return Err(format!("{key} is {value}: between {min} and {max} expected"));
            }
        }
        for (key, path) in [
            ("run_dir", &self.run_dir),
            ("state_dir", &self.state_dir),
            ("reset_file", &self.reset_file),
            ("rejected_dir", &self.rejected_dir),
            ("agent_state_file", &self.agent_state_file),
            ("data_problems_file", &self.data_problems_file),
            ("settings_file", &self.settings_file),
            ("image_file", &self.image_file),
            ("encoder_program", &self.encoder_program),
            ("journal_program", &self.journal_program),
        ] {
            if !path.is_absolute() {
                return Err(format!("{key} is “{}”: an absolute path expected", path.display()));
            }
        }
        Ok(())
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("update.sock")
    }

    /// There once the running slot was called good; gone with the reboot.
    #[must_use]
    pub fn good_mark(&self) -> PathBuf {
        self.run_dir.join("good")
    }

    /// For the whole check of a new system.
    #[must_use]
    pub fn verify_limit(&self) -> Duration {
        Duration::from_secs(self.verify_limit_s.into())
    }

    /// For one try of the encoder.
    #[must_use]
    pub fn encoder_try(&self) -> Duration {
        Duration::from_secs(self.encoder_try_s.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rootfs/files/etc/strata/update.toml");

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("update.toml");
        fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn the_shipped_file_names_every_key_with_its_default() {
        assert_eq!(Config::read(Path::new(SHIPPED)).unwrap(), Config::default());
        let keys = fs::read_to_string(SHIPPED).unwrap().lines().filter(|line| line.contains(" = ")).count();
        assert_eq!(keys, 13, "each key of `Config` once");
    }

    #[test]
    fn the_socket_is_where_the_protocol_says() {
        assert_eq!(Config::default().socket(), Path::new(strata_update_protocol::SOCKET));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, part) in [
            ("verify_limit = 3", "verify_limit"),
            ("verify_limit_s = 3", "verify_limit_s is 3: between 30 and 3600"),
            ("encoder_try_s = 0", "encoder_try_s is 0"),
            ("state_dir = \"update\"", "state_dir is “update”"),
            ("log_level = \"loud\"", "loud"),
        ] {
            let message = parse(line).unwrap_err().to_string();
            assert!(message.contains(part), "{line}: {message}");
        }
        let missing = Config::read(Path::new("/nonexistent/update.toml")).unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/update.toml"), "{missing}");
    }
}
