//! `strata-update`: the update daemon and its command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use strata_control::{UpdateSchedule, UpdateStep};
use strata_update::bus::Bus;
use strata_update::cli::client::Client;
use strata_update::cli::deadline::{self, Verdict};
use strata_update::cli::{schedule, show};
use strata_update::config::{Config, DEFAULT_PATH};
use strata_update::daemon::{self, Setup};
use strata_update::image::{Boot, Image};
use strata_update::pace::Pace;
use strata_update_protocol::{Install, Request, SOCKET, Status};
use tokio::signal::unix::{SignalKind, signal};

/// Updates of the device: install, status, going back, factory reset.
#[derive(Parser, Debug)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    /// The daemon's configuration.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH, global = true)]
    config: PathBuf,
    /// The daemon's socket.
    #[arg(long, value_name = "FILE", default_value = SOCKET, global = true)]
    socket: PathBuf,
    /// Print each status as a line of JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Check the configuration and end.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the daemon (systemd does).
    Daemon,
    /// Reboot if nobody called the running system good (a timer asks).
    Deadline,
    /// Print how things are.
    Status,
    /// Print how things are, and again after each change.
    Watch,
    /// Install a bundle, and say how it goes until it is in its slot.
    Install(InstallArguments),
    /// Boot the other slot's system, if it is good.
    Rollback {
        /// Even while a stream is live.
        #[arg(long)]
        even_if_live: bool,
    },
    /// Reboot.
    Reboot {
        /// Even while a stream is live.
        #[arg(long)]
        even_if_live: bool,
    },
    /// Factory reset: recordings, settings and logs are deleted; key, enrolment and relay are kept.
    Reset {
        /// Delete key, enrolment and relay, too: the device has to be enrolled anew.
        #[arg(long)]
        erase_identity: bool,
        /// Even while a stream is live.
        #[arg(long)]
        even_if_live: bool,
    },
}

#[derive(Args, Debug)]
struct InstallArguments {
    /// The bundle: http://…, https://… or an absolute path.
    source: String,
    /// The version that it must be.
    #[arg(long = "expect-version", value_name = "VERSION")]
    expect_version: Option<String>,
    /// The SHA-256 of the manifest that it must have, as `rauc info` prints it.
    #[arg(long, value_name = "HEX")]
    manifest_sha256: Option<String>,
    /// Also over links where data costs money.
    #[arg(long)]
    over_metered: bool,
    /// When to install: now, idle (as soon as no stream is live), or not before a time.
    #[arg(long, value_name = "WHEN", default_value = "idle", value_parser = schedule)]
    when: UpdateSchedule,
    /// When to reboot into it: now, idle, or not before a time.
    #[arg(long, value_name = "WHEN", default_value = "idle", value_parser = schedule)]
    reboot: UpdateSchedule,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strata-update: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.check_config {
        Config::read(&arguments.config)?;
        eprintln!("{} is valid", arguments.config.display());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .context("the asynchronous runtime cannot be started")?;
    runtime.block_on(async {
        match arguments.command {
            None => bail!("a command is missing: strata-update --help"),
            Some(Command::Daemon) => run_daemon(Config::read(&arguments.config)?).await,
            Some(Command::Deadline) => run_deadline(&Config::read(&arguments.config)?).await,
            Some(ref command) => ask(command, &arguments).await,
        }
    })
}

async fn run_daemon(config: Config) -> anyhow::Result<()> {
    let level = tracing::Level::from(config.log_level);
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))?;
    let setup = Setup {
        image: Image::read(&config.image_file)?,
        boot: Boot::read()?,
        bus: Bus::System,
        pace: Pace::default(),
        config,
    };
    tracing::info!(version = %setup.image.version, slot = ?setup.boot.slot, "strata-update starts");
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be awaited")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be awaited")?;
    daemon::run(setup, async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await
}

async fn run_deadline(config: &Config) -> anyhow::Result<()> {
    match deadline::verdict(config).await {
        Verdict::Good => eprintln!("strata-update: the running system was called good"),
        Verdict::Live => {
            eprintln!("strata-update: the running system was not called good, but a stream is live: no reboot");
        }
        Verdict::Reboot => {
            eprintln!("strata-update: the running system was not called good in time: the device reboots");
            deadline::reboot(&Bus::System).await?;
        }
    }
    Ok(())
}

async fn ask(command: &Command, arguments: &Arguments) -> anyhow::Result<()> {
    let mut client = Client::connect(&arguments.socket).await?;
    match command {
        Command::Daemon | Command::Deadline => bail!("this is no question to the daemon"),
        Command::Status => {
            client.send(&Request::Status).await?;
            let status = client.status().await?.context("the update daemon closed the connection")?;
            print(&status, arguments.json, show::status)
        }
        Command::Watch => {
            client.send(&Request::Watch).await?;
            while let Some(status) = client.status().await? {
                print(&status, arguments.json, show::status)?;
            }
            bail!("the update daemon ended")
        }
        Command::Install(install) => follow_install(client, install, arguments.json).await,
        Command::Rollback { even_if_live } => {
            client.order(&Request::Rollback { even_if_live: *even_if_live }).await?;
            say("the device goes back to the other slot and reboots")
        }
        Command::Reboot { even_if_live } => {
            client.order(&Request::Reboot { even_if_live: *even_if_live }).await?;
            say("the device reboots")
        }
        Command::Reset { erase_identity, even_if_live } => {
            let request = Request::Reset { keep_identity: !erase_identity, even_if_live: *even_if_live };
            client.order(&request).await?;
            say("the device reboots and is reset")
        }
    }
}

/// Until the bundle is in its slot, or refused.
async fn follow_install(mut client: Client, install: &InstallArguments, json: bool) -> anyhow::Result<()> {
    let order = Install {
        source: install.source.clone(),
        version: install.expect_version.clone(),
        manifest_sha256: install.manifest_sha256.clone(),
        over_metered: install.over_metered,
        install: install.when,
        reboot: install.reboot,
    };
    client.order(&Request::Install(order)).await?;
    client.send(&Request::Watch).await?;
    let mut said = String::new();
    while let Some(status) = client.status().await? {
        let Some(update) = &status.update else { continue };
        let line = show::progress(update);
        if update.step == UpdateStep::Refused {
            bail!(line);
        }
        if line != said {
            print(&status, json, |_| line.clone() + "\n")?;
            said = line;
        }
        if !matches!(update.step, UpdateStep::Waiting | UpdateStep::Downloading) {
            return Ok(());
        }
    }
    bail!("the update daemon ended in the middle: `strata-update status` tells how it goes on")
}

fn print(status: &Status, json: bool, text: impl FnOnce(&Status) -> String) -> anyhow::Result<()> {
    let text =
        if json { serde_json::to_string(status).context("a status has a JSON form")? + "\n" } else { text(status) };
    std::io::stdout().write_all(text.as_bytes()).context("cannot print")
}

fn say(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(format!("{text}\n").as_bytes()).context("cannot print")
}
