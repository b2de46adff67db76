//! The checks that a device makes of itself (`device.diagnose`): each one tries the real thing.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use strata_control::{
    DiagnoseCheck, DiagnoseCheckResult, DiagnoseReport, InterfaceKind, InterfaceState, LinkPolicy, Source, Usage,
};
use tokio::net::TcpSocket;
use tokio::process::Command;
use tokio::time;

use crate::config::{Config, RelayUrl};
use crate::inventory::{Inventory, disk};
use crate::links::is_enabled;
use crate::program;

/// For a link to reach the relay.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For the encoder to list what it can.
const ENCODER_LIMIT: Duration = Duration::from_secs(20);
/// Less free room than this is too little for recordings and logs.
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// More than this and certificates, sessions and log times go wrong.
const CLOCK_OFFSET_MAX_MS: i64 = 5_000;

/// What the checks look at.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) config: Config,
    pub(crate) relay: Option<RelayUrl>,
    pub(crate) simulate: bool,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) policies: Vec<LinkPolicy>,
    /// Sources in use: they cannot be opened a second time, and need not be.
    pub(crate) used_inputs: Vec<Source>,
    pub(crate) clock_offset_ms: Option<i64>,
}

/// Makes the wanted checks; none means all.
pub(crate) async fn run(surroundings: &Surroundings, wanted: &[DiagnoseCheck]) -> DiagnoseReport {
    use DiagnoseCheck::{Clock, Disk, Encoder, Links, MediaInputs, Other};
    let wanted = if wanted.is_empty() { &[Links, MediaInputs, Encoder, Disk, Clock] } else { wanted };
    let mut checks = Vec::new();
    for check in wanted {
        let result = match check {
            Links => links(surroundings).await,
            MediaInputs => media_inputs(surroundings).await,
            Encoder => encoder(&surroundings.config).await,
            Disk => room(surroundings),
            Clock => clock(surroundings.clock_offset_ms),
            Other => Err("this agent does not know that check: it is older than the relay".to_owned()),
        };
        let (passed, detail) = match result {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        checks.push(DiagnoseCheckResult { check: *check, passed, detail });
    }
    DiagnoseReport { checks }
}

/// One line per link: whether the relay's port answers over it.
async fn links(surroundings: &Surroundings) -> Result<String, String> {
    let Some(url) = &surroundings.relay else { return Err("this device knows no relay: enrol it".to_owned()) };
    let relay: Vec<SocketAddr> = match tokio::net::lookup_host((url.host.as_str(), url.port)).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err(format!("the relay's name {} has no address: {error}", url.host)),
    };
    let interfaces = surroundings.inventory.interfaces.iter().filter(|interface| {
        interface.state == InterfaceState::Connected
            && is_enabled(&interface.name, &[], &surroundings.policies)
            && (interface.kind == InterfaceKind::Loopback)
                == relay.iter().any(|address| address.ip().is_loopback()) | surroundings.simulate
    });
    let (mut lines, mut reached) = (Vec::new(), 0);
    for interface in interfaces {
        let bound = (!surroundings.simulate).then_some(interface.name.as_str());
        let line = match reach(&relay, bound).await {
            Ok(took) => {
                reached += 1;
                format!("{} reaches the relay in {} ms", interface.name, took.as_millis())
            }
            Err(error) => format!("{} does not reach the relay: {error:#}", interface.name),
        };
        lines.push(line);
    }
    match (reached, lines.is_empty()) {
        (_, true) => Err("no interface is allowed, connected and has a route".to_owned()),
        (0, false) => Err(lines.join("; ")),
        (_, false) => Ok(lines.join("; ")),
    }
}

async fn reach(relay: &[SocketAddr], interface: Option<&str>) -> anyhow::Result<Duration> {
    let mut last = anyhow::anyhow!("the relay has no address");
    for address in relay {
        let started = time::Instant::now();
        let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
        if let Some(interface) = interface {
            socket.bind_device(Some(interface.as_bytes())).context("the socket cannot be bound to it")?;
        }
        match time::timeout(CONNECT_LIMIT, socket.connect(*address)).await {
            Ok(Ok(_)) => return Ok(started.elapsed()),
            Ok(Err(error)) => last = anyhow::Error::new(error).context(address.to_string()),
            Err(_) => last = anyhow::anyhow!("{address} did not answer within {} s", CONNECT_LIMIT.as_secs()),
        }
    }
    Err(last)
}

async fn media_inputs(surroundings: &Surroundings) -> Result<String, String> {
    let inputs = &surroundings.inventory.media_inputs;
    if inputs.is_empty() {
        return Err("no media input was found: is the camera plugged in and on?".to_owned());
    }
    let (mut lines, mut all_open) = (Vec::new(), true);
    for input in inputs {
        let used = |source: &Source| matches!(source, Source::Camera { input: id } if *id == input.id);
        let opened = match input.id.strip_prefix("v4l2:") {
            _ if surroundings.used_inputs.iter().any(used) => Ok("in use by a stream"),
            Some(node) => open_node(node.to_owned()).await,
            None => Ok("simulated"),
        };
        all_open &= opened.is_ok();
        lines.push(match opened {
            Ok(how) => format!("{}: {how}", input.label),
            Err(error) => format!("{}: {error:#}", input.label),
        });
    }
    if all_open { Ok(lines.join("; ")) } else { Err(lines.join("; ")) }
}

async fn open_node(node: String) -> anyhow::Result<&'static str> {
    tokio::task::spawn_blocking(move || {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&node)
            .with_context(|| format!("{node} cannot be opened"))?;
        anyhow::ensure!(file.metadata()?.file_type().is_char_device(), "{node} is no device");
        Ok("opens")
    })
    .await
    .context("the check was cut off")?
}

/// Asks the encoder itself what it can encode with.
async fn encoder(config: &Config) -> Result<String, String> {
    let program = program::find(program::ENCODER, "encoder_program", config.encoder_program.as_deref())
        .map_err(|error| format!("{error:#}"))?;
    let listing = Command::new(&program).arg("--list").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match time::timeout(ENCODER_LIMIT, listing).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("{} cannot be run: {error}", program.display())),
        Err(_) => return Err(format!("{} did not answer within {} s", program.display(), ENCODER_LIMIT.as_secs())),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().chars().take(2_000).collect::<String>();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{} --list failed: {}", program.display(), text(&output.stderr))),
    }
}

fn room(surroundings: &Surroundings) -> Result<String, String> {
    let config = &surroundings.config;
    let (mut lines, mut enough) = (Vec::new(), true);
    for folder in [&config.state_dir, &config.media_dir, &config.log_dir] {
        let Usage { used_bytes, total_bytes } = disk(folder);
        let free = total_bytes.saturating_sub(used_bytes);
        enough &= free >= FREE_BYTES_MIN;
        lines.push(format!("{} MiB of {} MiB free for {}", free >> 20, total_bytes >> 20, folder.display()));
    }
    if enough { Ok(lines.join("; ")) } else { Err(lines.join("; ") + ": remove old recordings") }
}

fn clock(offset_ms: Option<i64>) -> Result<String, String> {
    match offset_ms {
        None => Err("the relay has not said its time yet".to_owned()),
        Some(offset) if offset.abs() <= CLOCK_OFFSET_MAX_MS => {
            Ok(format!("{} ms from the relay's clock", offset.abs()))
        }
        Some(offset) => {
            let way = if offset > 0 { "behind" } else { "ahead of" };
            Err(format!("{} s {way} the relay's clock: check the device's time service", offset.abs() / 1_000))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_may_differ_by_seconds() {
        assert!(clock(None).is_err());
        assert!(clock(Some(-40)).unwrap().contains("40 ms"));
        assert!(clock(Some(90_000)).unwrap_err().contains("90 s behind"));
        assert!(clock(Some(-90_000)).unwrap_err().contains("ahead"));
    }

    #[tokio::test]
    async fn a_link_that_reaches_nobody_says_why() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = format!("{:#}", reach(&[free], None).await.unwrap_err());
        assert!(error.contains(&free.to_string()), "{error}");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        reach(&[listener.local_addr().unwrap()], None).await.unwrap();
    }
}
