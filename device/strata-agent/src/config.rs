//! The agent's configuration: one TOML file, read once at start.
//!
//! Owns the keys, their defaults and their bounds; the shipped example
//! `strata-agent.toml` says the same for people and is parsed by a test. An
//! unknown key is an error that names it. Does not own what the relay sets
//! ([`strata_control::DeviceConfig`]) or what the command line adds.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use strata_control::ApPolicy;
use tokio_tungstenite::tungstenite::http::Uri;

/// Where the agent's socket is on a relay, when the URL names no path.
const AGENT_PATH: &str = "/agent/ws";
/// A Unix socket's path takes at most 107 bytes (`unix(7)`); ours are `RUN_DIR/encoder-UUID.sock`.
const RUN_DIR_MAX_BYTES: usize = 107 - "/encoder-.sock".len() - 36;

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
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("in the configuration {path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Which line and key.
        message: String,
    },
    /// A value out of its bounds.
    #[error("in the configuration {path}: {message}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which key, which value, what to do.
        message: String,
    },
}

/// Everything that is configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The relay's address; none: the one that `strata-agent enrol --relay` left in the state folder.
    #[serde(default)]
    pub relay_url: Option<RelayUrl>,
    /// Key, enrolment and reports that must survive a reboot.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// Sockets and the state file.
    #[serde(default = "default_run_dir")]
    pub run_dir: PathBuf,
    /// The encoders' logs.
    #[serde(default = "default_log_dir")]
    pub log_dir: PathBuf,
    /// Media files that can be a source, and recordings.
    #[serde(default = "default_media_dir")]
    pub media_dir: PathBuf,
    /// The file with an enrolment token; none: `STATE_DIR/enrolment-token`, which `strata-agent enrol` writes.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The encoder; none: beside the agent's own program, then in `PATH`.
    #[serde(default)]
    pub encoder_program: Option<PathBuf>,
    /// The link emulator of `--simulate`; none: beside the agent's own program, then in `PATH`.
    #[serde(default)]
    pub emulator_program: Option<PathBuf>,
    /// PEM file of certificate authorities trusted in addition to the system's.
    #[serde(default)]
    pub extra_ca_file: Option<PathBuf>,
    /// Where the update daemon listens; a machine without our image has none.
    #[serde(default = "default_update_socket")]
    pub update_socket: PathBuf,
    /// What other programs of the image say is wrong with the device: JSON arrays of problems, which may be missing.
    #[serde(default = "default_problem_files")]
    pub problem_files: Vec<PathBuf>,
    /// Seconds between two scans of the inventory; changes of hardware are seen at once.
    #[serde(default = "default_scan_interval_s")]
    pub scan_interval_s: u32,
    /// Seconds between two `device.status`; changes are told at once.
    #[serde(default = "default_status_interval_s")]
    pub status_interval_s: u32,
    /// Milliseconds between two `stream.stats` of a stream.
    #[serde(default = "default_statistics_interval_ms")]
    pub statistics_interval_ms: u32,
    /// Seconds after which an encoder without an agent ends by itself.
    #[serde(default = "default_orphan_timeout_s")]
    pub orphan_timeout_s: u32,
    /// Whether a clean end of the agent stops the streams.
    #[serde(default)]
    pub stop_streams_on_exit: bool,
    /// Whether this machine may be a Wi-Fi access point for people to set it up: its radios are the agent's then.
    #[serde(default)]
    pub access_point: bool,
    /// Whether its cameras may be looked through for QR codes while it is offline or nobody's; with `access_point` only.
    #[serde(default)]
    pub camera_codes: bool,
    /// When the access point is on, until the relay says otherwise.
    #[serde(default)]
    pub ap_policy: ApPolicy,
    /// Filter of the log: `error`, `warn`, `info`, `debug`, `trace`, or per module (`tracing` directives).
    #[serde(default = "default_log_level")]
    pub log_level: String,
}

fn default_state_dir() -> PathBuf {
    "/var/lib/strata".into()
}

fn default_run_dir() -> PathBuf {
    "/run/strata".into()
}

fn default_log_dir() -> PathBuf {
    "/var/log/strata".into()
}

fn default_media_dir() -> PathBuf {
    "/var/lib/strata/media".into()
}

fn default_update_socket() -> PathBuf {
    strata_update_protocol::SOCKET.into()
}

fn default_problem_files() -> Vec<PathBuf> {
    vec!["/run/strata-data/problems.json".into(), "/run/strata-settings/problems.json".into()]
}

fn default_scan_interval_s() -> u32 {
    30
}

fn default_status_interval_s() -> u32 {
    10
}

fn default_statistics_interval_ms() -> u32 {
    1_000
}

fn default_orphan_timeout_s() -> u32 {
    120
}

fn default_log_level() -> String {
    "info".to_owned()
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the key and what to do.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        config.validate().map_err(|message| ConfigError::Value { path: path.to_owned(), message })?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        for (key, value, min, max) in [
            ("scan_interval_s", self.scan_interval_s, 1, 3_600),
            ("status_interval_s", self.status_interval_s, 1, 60),
            ("statistics_interval_ms", self.statistics_interval_ms, 200, 60_000),
            ("orphan_timeout_s", self.orphan_timeout_s, 5, 86_400),
        ] {
            if !(min..=max).contains(&value) {
                return Err(format!("{key} is {value}: between {min} and {max} expected"));
            }
        }
        let paths = [
            ("state_dir", &self.state_dir),
            ("run_dir", &self.run_dir),
            ("log_dir", &self.log_dir),
            ("media_dir", &self.media_dir),
            ("update_socket", &self.update_socket),
        ];
        for (key, path) in paths.into_iter().chain(self.problem_files.iter().map(|path| ("problem_files", path))) {
            if !path.is_absolute() {
                return Err(format!("{key} is “{}”: an absolute path expected", path.display()));
            }
        }
        let bytes = self.run_dir.as_os_str().len();
        if bytes > RUN_DIR_MAX_BYTES {
            return Err(format!(
                "run_dir takes {bytes} bytes; at most {RUN_DIR_MAX_BYTES}, as sockets in it would have too long a path"
            ));
        }
        tracing_subscriber::EnvFilter::builder()
            .parse(&self.log_level)
            .map(|_| ())
            .map_err(|error| format!("log_level is “{}”: {error}", self.log_level))
    }

    /// The file with an enrolment token.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.token_file.clone().unwrap_or_else(|| self.state_dir.join("enrolment-token"))
    }

    /// The device's private key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.state_dir.join("device.key")
    }

    /// Time between two scans of the inventory.
    #[must_use]
    pub fn scan_interval(&self) -> Duration {
        Duration::from_secs(self.scan_interval_s.into())
    }

    /// Time between two `device.status`.
    #[must_use]
    pub fn status_interval(&self) -> Duration {
        Duration::from_secs(self.status_interval_s.into())
    }

    /// Time between two `stream.stats` of a stream.
    #[must_use]
    pub fn statistics_interval(&self) -> Duration {
        Duration::from_millis(self.statistics_interval_ms.into())
    }
}

/// The address of the relay's agent socket: `wss://`, or `ws://` to this machine itself only.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct RelayUrl {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    url: String,
}

impl RelayUrl {
    /// The whole URL, path included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }
}

impl TryFrom<String> for RelayUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl RelayUrl {
    /// As people type it, or copy it from a browser: `https://` or nothing may stand before the host.
    ///
    /// # Errors
    /// Says what it is not.
    pub fn typed(text: &str) -> Result<Self, String> {
        let rest = text.trim().trim_end_matches('/');
        let secure = rest.strip_prefix("https://").map(|host| format!("wss://{host}"));
        let bare = (!rest.contains("://")).then(|| format!("wss://{rest}"));
        secure.or(bare).unwrap_or_else(|| rest.to_owned()).parse()
    }
}

impl FromStr for RelayUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("relay_url is “{text}”: {why}, for example wss://relay.example.net");
        let uri: Uri = text.parse().map_err(|error| wrong(&format!("not a URL ({error})")))?;
        let tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            _ => return Err(wrong("it must begin with wss://")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("a host is missing"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("it must hold no user name or password"));
        }
        if !tls && !is_loopback(&host) {
            return Err(wrong("ws:// is not encrypted and allowed to this machine itself only; use wss://"));
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = match uri.path_and_query().map(|path| path.as_str()) {
            None | Some("" | "/") => AGENT_PATH,
            Some(path) => path,
        };
        let scheme = if tls { "wss" } else { "ws" };
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Ok(Self { tls, url: format!("{scheme}://{bracketed}:{port}{path}"), host, port })
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relays_address_is_taken_as_people_type_it() {
        for typed in
            ["relay.example.net", " https://relay.example.net/ ", "wss://relay.example.net", "relay.example.net:443"]
        {
            assert_eq!(RelayUrl::typed(typed).unwrap().as_str(), "wss://relay.example.net:443/agent/ws", "{typed}");
        }
        for typed in ["", "http://relay.example.net", "ws://relay.example.net", "two words", "ftp://x"] {
            assert!(RelayUrl::typed(typed).is_err(), "{typed}");
        }
    }

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("strata-agent.toml");
        fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn the_shipped_example_is_valid_and_states_the_defaults() {
        let example = Config::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/strata-agent.toml"))).unwrap();
        let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/strata-agent.toml")).unwrap();
        let bare = parse("").unwrap();
        assert_eq!(format!("{example:?}"), format!("{bare:?}"));
        // Every optional key that has no default is at least named in a comment.
        for key in ["relay_url", "token_file", "encoder_program", "emulator_program", "extra_ca_file"] {
            assert!(text.contains(key), "{key} is not in the example");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let message = parse("relay_url = \"wss://r\"\nscan_intervall_s = 3\n").unwrap_err().to_string();
        assert!(message.contains("scan_intervall_s"), "{message}");
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_by_name() {
        for (line, part) in [
            ("scan_interval_s = 0", "scan_interval_s is 0"),
            ("statistics_interval_ms = 1", "statistics_interval_ms is 1"),
            ("state_dir = \"here\"", "state_dir"),
            ("update_socket = \"update.sock\"", "update_socket"),
            ("problem_files = [\"/run/a.json\", \"b.json\"]", "problem_files is “b.json”"),
            ("log_level = \"a=b=c\"", "log_level"),
            ("ap_policy = \"sometimes\"", "sometimes"),
            (&format!("run_dir = \"/{}\"", "x".repeat(80)), "run_dir takes 81 bytes"),
        ] {
            let message = parse(&format!("relay_url = \"wss://r\"\n{line}\n")).unwrap_err().to_string();
            assert!(message.contains(part), "{line}: {message}");
        }
    }

    #[test]
    fn relay_urls() {
        for (text, expected) in [
            ("wss://relay.example.net", Ok(("wss://relay.example.net:443/agent/ws", "relay.example.net"))),
            (
                "wss://relay.example.net:8443/x/agent/ws",
                Ok(("wss://relay.example.net:8443/x/agent/ws", "relay.example.net")),
            ),
            ("ws://127.0.0.1:8080", Ok(("ws://127.0.0.1:8080/agent/ws", "127.0.0.1"))),
            ("ws://[::1]:8080/", Ok(("ws://[::1]:8080/agent/ws", "::1"))),
            ("ws://localhost", Ok(("ws://localhost:80/agent/ws", "localhost"))),
            ("ws://relay.example.net", Err("not encrypted")),
            ("https://relay.example.net", Err("wss://")),
            ("relay.example.net", Err("wss://")),
            ("wss://u:p@relay.example.net", Err("user name")),
            ("", Err("not a URL")),
        ] {
            match (text.parse::<RelayUrl>(), expected) {
                (Ok(url), Ok((whole, host))) => assert_eq!((url.as_str(), url.host.as_str()), (whole, host)),
                (Err(message), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
                (got, expected) => panic!("{text}: {got:?} instead of {expected:?}"),
            }
        }
    }
}
