//! `strata-netem`: emulated UDP links in a process of their own.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use strata_netem::Emulator;
use strata_netem::protocol::{Config, Ready};
use tokio::signal::unix::{SignalKind, signal};

/// Emulates network links on this machine: rate, queue, delay, jitter, loss, cuts.
#[derive(Debug, Parser)]
#[command(version, after_help = DETAILS)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

const DETAILS: &str = r#"The configuration is one line of JSON:
  {"seed": 1, "control": "/tmp/netem.sock", "exit_idle_s": 30, "links": [
    {"listen": "127.0.0.1:0", "target": "127.0.0.1:6000",
     "rate_kbps": 3000, "delay_ms": 20, "jitter_ms": 5, "loss_percent": 2, "queue_ms": 300}]}
Once the links listen, their addresses are printed as one line: {"links": ["127.0.0.1:40001"]}.
The control socket takes lines of JSON and answers each with one:
  {"cmd": "cut", "link": 0}          nothing passes any more, silently
  {"cmd": "restore", "link": 0}      ends a cut
  {"cmd": "set", "link": 0, "rate_kbps": 1000, "loss_percent": 5}
  {"cmd": "stats"}  {"cmd": "list"}  {"cmd": "stop"}
It ends on `stop`, on SIGTERM, or after exit_idle_s seconds without packets and without a control connection."#;

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs the links until told to stop
    Run {
        /// File with the configuration; - reads one line of standard input
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// The longest configuration read.
const MAX_CONFIG: u64 = 1 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Action::Run { config } = Arguments::parse().command;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let config = read(&config)?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut emulator = Emulator::start(&config).await?;
    let ready = serde_json::to_string(&Ready { links: emulator.addresses() })?;
    writeln!(std::io::stdout(), "{ready}").context("cannot write to standard output")?;
    tokio::select! {
        () = emulator.stopped() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Config> {
    let mut text = String::new();
    if path == Path::new("-") {
        let input = std::io::stdin().lock();
        input.take(MAX_CONFIG).read_line(&mut text).context("cannot read the configuration from standard input")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let read = file.take(MAX_CONFIG).read_to_string(&mut text);
        read.with_context(|| format!("cannot read {}", path.display()))?;
    }
    if text.trim().is_empty() {
        bail!("the configuration is empty: see strata-netem --help");
    }
    serde_json::from_str(&text).context("the configuration is not as expected: see strata-netem --help")
}
