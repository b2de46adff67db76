use std::ffi::OsString;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything the fleet needs to know; made by the relay's configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FleetConfig {
    /// Database, secrets and HLS folders.
    pub data_dir: PathBuf,
    /// The workers' sockets; made with mode 0700.
    pub run_dir: PathBuf,
    /// The workers' log files.
    pub log_dir: PathBuf,
    /// How a worker is started: program and arguments; the worker becomes this process, in a session of its own.
    pub worker_command: Vec<OsString>,
    /// UDP ports for workers.
    pub worker_ports: RangeInclusive<u16>,
    /// Where workers listen.
    pub worker_listen: IpAddr,
    /// Host name or address that devices send media to.
    pub public_host: String,
    /// Whether destinations may be loopback or private addresses.
    pub allow_private_destinations: bool,
    /// How long the HLS files of a stream that is over are kept.
    pub hls_keep: Duration,
    /// How long an enrolment token may be used.
    pub enrolment_token_life: Duration,
    /// Times that only tests change.
    pub timing: Timing,
}

/// How long things may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Until a worker says that it is ready.
    pub worker_ready: Duration,
    /// Until a device acknowledges a command.
    pub acknowledge: Duration,
    /// Without input until a stream is shown as stalled.
    pub stalled_after: Duration,
    /// Without input and device report until a stream is ended.
    pub lost_after: Duration,
    /// A device's session token; renewed on its connection before it ends.
    pub device_session: Duration,
    /// Until device and worker of a stopped stream are gone.
    pub stop: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            worker_ready: Duration::from_secs(15),
            acknowledge: Duration::from_secs(10),
            stalled_after: Duration::from_secs(30),
            lost_after: Duration::from_secs(60),
            device_session: Duration::from_secs(3_600),
            stop: Duration::from_secs(10),
        }
    }
}

impl FleetConfig {
    /// The defaults with everything under one data folder, for a relay on this machine.
    #[must_use]
    pub fn local(data_dir: &Path, worker_program: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            run_dir: data_dir.join("run"),
            log_dir: data_dir.join("logs"),
            worker_command: vec![worker_program.into()],
            worker_ports: 15_000..=16_000,
            worker_listen: IpAddr::from([127, 0, 0, 1]),
            public_host: "127.0.0.1".to_owned(),
            allow_private_destinations: false,
            hls_keep: Duration::from_secs(3600),
            enrolment_token_life: Duration::from_secs(24 * 3600),
            timing: Timing::default(),
        }
    }
}
