//! The links of `--simulate`: one emulator process (`strata-netem`) per stream.
//!
//! Owns its start, its control connection and its end. The process survives the
//! agent, is taken over by the next one through its control socket
//! (`RUN_DIR/netem-STREAM.sock`), ends with the stream, and by itself when no
//! agent and no traffic is left. Does not own what the links are like
//! ([`crate::inventory::simulated`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use strata_netem::control::Client;
use strata_netem::protocol::{Config, LinkSpec};
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::time::{self, Duration};

use crate::files;
use crate::inventory::simulated::MODEMS;
use crate::stream::{spawn_in_session, wait_until};

/// The seed of losses and jitter: a demo looks the same each time.
const SEED: u64 = 2;
/// For the emulator to open its socket, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What an emulator is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its program.
    pub program: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
    /// Its log; none where none can be kept.
    pub log: Option<PathBuf>,
    /// Seconds after which it ends when nobody needs it.
    pub orphan_timeout_s: u32,
}

/// A running emulator.
#[derive(Debug)]
pub struct Emulator {
    settings: Settings,
    client: Client,
    /// None when a former agent started it.
    child: Option<Child>,
    target: SocketAddr,
    listens: Vec<SocketAddr>,
}

impl Emulator {
    /// Takes over the emulator behind the control socket when it leads to `target`, else starts one.
    ///
    /// # Errors
    /// Says why no emulator runs.
    pub async fn take_over_or_start(settings: Settings, target: SocketAddr) -> anyhow::Result<Self> {
        if settings.socket.exists() {
            match Self::attach(&settings, None).await {
                Ok(emulator) if emulator.target == target => return Ok(emulator),
                Ok(emulator) => emulator.stop().await,
                Err(error) => tracing::debug!("no emulator to take over: {error:#}"),
            }
        }
        let listens = MODEMS.map(|_| SocketAddr::new(loopback(target), 0));
        Self::start(settings, target, &listens).await
    }

    /// Where each simulated modem's packets go, in the order of [`MODEMS`].
    #[must_use]
    pub fn entrances(&self) -> &[SocketAddr] {
        &self.listens
    }

    /// Where they come out.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// Starts the emulator again, at the same addresses, should it be gone. True when it was.
    ///
    /// # Errors
    /// Says why no emulator runs.
    pub async fn revive(&mut self) -> anyhow::Result<bool> {
        if let Ok(Ok(_)) = time::timeout(TIMEOUT, self.client.list()).await {
            return Ok(false);
        }
        tracing::warn!("the link emulator is gone: it is started again");
        self.end_child().await;
        let revived = Self::start(self.settings.clone(), self.target, &self.listens).await?;
        *self = revived;
        Ok(true)
    }

    /// Ends it.
    pub async fn stop(mut self) {
        match time::timeout(TIMEOUT, self.client.stop()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("the link emulator was gone: {error}"),
            Err(_) => tracing::warn!("the link emulator does not answer"),
        }
        self.end_child().await;
        files::remove_or_log(&self.settings.socket);
    }

    async fn start(settings: Settings, target: SocketAddr, listens: &[SocketAddr]) -> anyhow::Result<Self> {
        files::remove(&settings.socket)?;
        let links = MODEMS
            .iter()
            .zip(listens)
            .map(|(modem, listen)| LinkSpec { listen: *listen, target, shape: modem.shape, down: None, trace: None })
            .collect();
        let config = Config {
            seed: SEED,
            links,
            control: Some(settings.socket.clone()),
            exit_idle_s: Some(settings.orphan_timeout_s.into()),
        };
        let config = serde_json::to_vec(&config).context("the link emulator's configuration")?;
        let log = settings.log.as_deref();
        let mut child = spawn_in_session(&settings.program, &["run", "--config", "-"], log, Stdio::piped())?;
        let mut stdin = child.stdin.take().context("the emulator's standard input is a pipe")?;
        stdin.write_all(&config).await.context("the link emulator did not read its configuration")?;
        drop(stdin);
        let opened = wait_until(TIMEOUT, || settings.socket.exists() || matches!(child.try_wait(), Ok(Some(_)))).await;
        let log = log.map_or("it keeps no log: log_dir takes none".to_owned(), |log| format!("see {}", log.display()));
        let attached = match opened {
            true => Self::attach(&settings, Some(child)).await,
            false => Err(anyhow::anyhow!("it did not open {}", settings.socket.display())),
        };
        attached.with_context(|| format!("the link emulator {} did not start ({log})", settings.program.display()))
    }

    async fn attach(settings: &Settings, mut child: Option<Child>) -> anyhow::Result<Self> {
        let attached = time::timeout(TIMEOUT, async {
            let mut client = Client::connect(&settings.socket).await?;
            let links = client.list().await?;
            anyhow::Ok((client, links))
        })
        .await
        .context("it does not answer")
        .flatten();
        let (client, links) = match attached {
            Ok(attached) => attached,
            Err(error) => {
                end(&mut child).await;
                return Err(error);
            }
        };
        let Some(first) = links.first().filter(|_| links.len() == MODEMS.len()) else {
            anyhow::bail!("it has {} links, not {}", links.len(), MODEMS.len());
        };
        let target = first.target;
        let listens = links.iter().map(|link| link.listen).collect();
        Ok(Self { settings: settings.clone(), client, child, target, listens })
    }

    async fn end_child(&mut self) {
        end(&mut self.child).await;
    }
}

/// Ends and reaps a child, so that it stays no zombie.
async fn end(child: &mut Option<Child>) {
    let Some(mut child) = child.take() else { return };
    if time::timeout(TIMEOUT, child.wait()).await.is_err()
        && let Err(error) = child.kill().await
    {
        tracing::warn!("the link emulator cannot be ended: {error}");
    }
}

fn loopback(target: SocketAddr) -> IpAddr {
    if target.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

/// Ends the emulator of a stream that is no more, where there is one.
pub async fn stop_stray(socket: &Path) {
    let stopped = time::timeout(TIMEOUT, async { Client::connect(socket).await?.stop().await }).await;
    match stopped {
        Ok(Ok(())) => tracing::info!("a stray link emulator was ended ({})", socket.display()),
        Ok(Err(error)) => tracing::debug!("{}: {error}", socket.display()),
        Err(_) => tracing::warn!("a stray link emulator does not answer ({})", socket.display()),
    }
    files::remove_or_log(socket);
}
