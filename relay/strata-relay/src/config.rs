//! The relay's configuration: one TOML file, unknown keys refused, overridden by flags.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use strata_fleet::{FleetConfig, Timing};

use crate::http::HttpSettings;
use crate::session;

/// The longest path of a Unix socket on Linux, in bytes.
const MAX_SOCKET_PATH: usize = 107;
/// How a worker's socket is named: `worker-UUID.sock`.
const SOCKET_NAME_BYTES: usize = "worker-".len() + 36 + ".sock".len();

/// Everything that can be set; see `relay.example.toml` for what each means.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Database, secrets, HLS files.
    pub data_dir: PathBuf,
    /// The workers' sockets; `DATA/run` when not set.
    pub run_dir: Option<PathBuf>,
    /// The workers' logs; `DATA/logs` when not set.
    pub log_dir: Option<PathBuf>,
    /// Where pages, REST and agents' socket are served.
    pub listen: SocketAddr,
    /// The host name or address that devices send media to; that of `listen` when not set.
    pub public_host: Option<String>,
    /// The relay's address for people and devices, shown with enrolment tokens.
    pub public_url: Option<String>,
    /// UDP ports for workers, `FIRST-LAST`.
    pub worker_ports: PortRange,
    /// Where workers listen; loopback when devices can only be on this machine, every address otherwise.
    pub worker_listen: Option<IpAddr>,
    /// The worker's program; `strata-egress` beside this program when not set.
    pub worker_program: Option<PathBuf>,
    /// Certificate chain, PEM; with `tls_key`, HTTPS is served.
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Whether a proxy in front of the relay speaks TLS.
    pub behind_tls_proxy: bool,
    /// Whether the client's address is the last one in `X-Forwarded-For`.
    pub trust_forwarded: bool,
    /// Host names that requests may be for; empty allows any.
    pub allowed_hosts: Vec<String>,
    /// Whether destinations may be loopback or private addresses.
    pub allow_private_destinations: bool,
    /// How long an enrolment token may be used, in hours.
    pub enrolment_token_hours: u32,
    /// How long the HLS files of a stream that is over are kept, in minutes.
    pub hls_keep_minutes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/strata-relay"),
            run_dir: None,
            log_dir: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_host: None,
            public_url: None,
            worker_ports: PortRange { first: 15_000, last: 16_000 },
            worker_listen: None,
            worker_program: None,
            tls_cert: None,
            tls_key: None,
            behind_tls_proxy: false,
            trust_forwarded: false,
            allowed_hosts: Vec::new(),
            allow_private_destinations: false,
            enrolment_token_hours: 24,
            hls_keep_minutes: 60,
        }
    }
}

/// UDP ports, both ends included; its text form is `FIRST-LAST`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl std::str::FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("“{text}” is no range of ports: FIRST-LAST expected, as 15000-16000");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        let (first, last) = (port(first)?, port(last)?);
        if first == 0 || first > last { Err(wrong()) } else { Ok(Self { first, last }) }
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PortRange> for RangeInclusive<u16> {
    fn from(range: PortRange) -> Self {
        range.first..=range.last
    }
}

impl Config {
    /// Reads a file; without one, the defaults.
    ///
    /// # Errors
    /// Names the file and, for a wrong key or value, its line.
    pub fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} cannot be used", path.display()))
    }

    /// Checks what can be checked without starting anything.
    ///
    /// # Errors
    /// Names the key, its value, and what to do.
    pub fn check(&self) -> anyhow::Result<()> {
        let run_dir = self.run_dir();
        let length = std::path::absolute(&run_dir)?.as_os_str().len() + 1 + SOCKET_NAME_BYTES;
        ensure!(
            length <= MAX_SOCKET_PATH,
            "run_dir {} is too long for Unix sockets ({length} bytes with a socket's name, {MAX_SOCKET_PATH} allowed): \
             set a shorter run_dir",
            run_dir.display()
        );
        if self.listen.ip().is_unspecified() && self.public_host.is_none() {
            bail!(
                "listen is {}, which is no address that devices can send media to: set public_host",
                self.listen.ip()
            );
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                for path in [cert, key] {
                    std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
                }
            }
            (None, None) => {}
            (Some(_), None) => bail!("tls_cert is set and tls_key is not: set both or none"),
            (None, Some(_)) => bail!("tls_key is set and tls_cert is not: set both or none"),
        }
        let program = self.worker_program()?;
        ensure!(program.is_file(), "the worker's program {} is not there: set worker_program", program.display());
        ensure!(self.enrolment_token_hours > 0, "enrolment_token_hours is 0: no device could enrol");
        Ok(())
    }

    /// What the fleet needs.
    ///
    /// # Errors
    /// When the worker's program cannot be found.
    pub fn fleet(&self) -> anyhow::Result<FleetConfig> {
        // Workers get these paths and have no reason to share the relay's working folder.
        let absolute = |path: &Path| {
            std::path::absolute(path).with_context(|| format!("cannot make {} an absolute path", path.display()))
        };
        Ok(FleetConfig {
            data_dir: absolute(&self.data_dir)?,
            run_dir: absolute(&self.run_dir())?,
            log_dir: absolute(&self.log_dir.clone().unwrap_or_else(|| self.data_dir.join("logs")))?,
            worker_command: session::command(&absolute(&self.worker_program()?)?),
            worker_ports: self.worker_ports.into(),
            worker_listen: self.worker_listen(),
            public_host: self.public_host.clone().unwrap_or_else(|| self.listen.ip().to_string()),
            allow_private_destinations: self.allow_private_destinations,
            hls_keep: Duration::from_secs(u64::from(self.hls_keep_minutes) * 60),
            enrolment_token_life: Duration::from_secs(u64::from(self.enrolment_token_hours) * 3_600),
            timing: Timing::default(),
        })
    }

    /// What the pages need.
    #[must_use]
    pub fn http(&self) -> HttpSettings {
        HttpSettings {
            public_url: self.public_url.clone(),
            tls: self.tls_cert.is_some() || self.behind_tls_proxy,
            allowed_hosts: self.allowed_hosts.clone(),
            trust_forwarded: self.trust_forwarded,
        }
    }

    fn run_dir(&self) -> PathBuf {
        self.run_dir.clone().unwrap_or_else(|| self.data_dir.join("run"))
    }

    fn worker_listen(&self) -> IpAddr {
        let listen = self.listen.ip();
        match self.worker_listen {
            Some(address) => address,
            None if self.public_host.is_none() => listen,
            None if listen.is_ipv6() => Ipv6Addr::UNSPECIFIED.into(),
            None => Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    fn worker_program(&self) -> anyhow::Result<PathBuf> {
        if let Some(program) = &self.worker_program {
            return Ok(program.clone());
        }
        let own = std::env::current_exe().context("cannot tell where this program is: set worker_program")?;
        Ok(own.with_file_name("strata-egress"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../relay.example.toml");

    #[test]
    fn the_shipped_example_is_valid_and_shows_the_defaults() {
        assert_eq!(toml::from_str::<Config>(EXAMPLE).unwrap(), Config::default());
        let shown: String = EXAMPLE.lines().map(|line| line.trim_start_matches("# ").to_owned() + "\n").collect();
        for key in [
            "data_dir",
            "run_dir",
            "log_dir",
            "listen",
            "public_host",
            "public_url",
            "worker_ports",
            "worker_listen",
            "worker_program",
            "tls_cert",
            "tls_key",
            "behind_tls_proxy",
            "trust_forwarded",
            "allowed_hosts",
            "allow_private_destinations",
            "enrolment_token_hours",
            "hls_keep_minutes",
        ] {
            assert!(shown.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key} is not in the example");
        }
    }

    #[test]
    fn an_unknown_key_and_a_wrong_range_are_named() {
        let unknown = toml::from_str::<Config>("lisen = \"127.0.0.1:1\"").unwrap_err().to_string();
        assert!(unknown.contains("lisen"), "{unknown}");
        let range = toml::from_str::<Config>("worker_ports = \"16000-15000\"").unwrap_err().to_string();
        assert!(range.contains("16000-15000") && range.contains("FIRST-LAST"), "{range}");
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_do() {
        let here = std::env::current_exe().unwrap();
        let good = Config { data_dir: "/tmp/relay".into(), worker_program: Some(here), ..Config::default() };
        good.check().unwrap();
        let refused = |config: Config| format!("{:#}", config.check().unwrap_err());
        let any: SocketAddr = "0.0.0.0:80".parse().unwrap();
        assert!(refused(Config { listen: any, ..good.clone() }).contains("public_host"));
        assert!(refused(Config { run_dir: Some("/x".repeat(60).into()), ..good.clone() }).contains("run_dir"));
        assert!(refused(Config { tls_cert: Some("/none".into()), ..good.clone() }).contains("tls_key"));
        assert!(refused(Config { worker_program: Some("/none".into()), ..good }).contains("/none"));
    }

    #[test]
    fn workers_listen_where_devices_can_be() {
        let local = Config::default();
        assert!(local.worker_listen().is_loopback());
        let public = Config { public_host: Some("relay.example".into()), ..Config::default() };
        assert!(public.worker_listen().is_unspecified());
    }
}
