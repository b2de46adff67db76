//! `strata-bench`: one scenario in real time, with real programs, over the emulator's links.
//!
//! The source and the sink are threads of this process, the links too; the sender
//! and the receiver are processes of their own: `strata-bond` from this program's
//! folder, or another transport to compare with. Everything is on free ports of
//! loopback, nothing needs root. Prints one line of JSON.

mod datagram;
mod peer;
mod row;
mod run;
mod sink;
mod source;

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use strata_sim::scenario::{DATAGRAM, Scenario};

use peer::Peer;
use run::Job;

/// The name of the scenario without links: what the programs themselves can do.
const RAW: &str = "RAW";

/// Runs one scenario in real time over emulated links and prints one line of JSON.
#[derive(Debug, Parser)]
#[command(name = "strata-bench", version)]
struct Arguments {
    /// The scenario, such as S3; RAW: no links between, as many datagrams a second as --pps says.
    scenario: String,
    /// Who carries the stream.
    #[arg(long, value_enum, default_value_t = Peer::Strata)]
    peer: Peer,
    /// The latency in milliseconds.
    #[arg(long, default_value_t = 500)]
    latency: u32,
    /// Decides what the links lose.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long the stream is, in seconds; the scenario's own if not given.
    #[arg(long)]
    duration: Option<f64>,
    /// Bits a second, instead of the scenario's; a peer that names no target sends at it all the time.
    #[arg(long)]
    rate: Option<u64>,
    /// Datagrams a second of RAW.
    #[arg(long, default_value_t = 10_000)]
    pps: u64,
}

fn main() -> anyhow::Result<()> {
    let job = job(Arguments::parse())?;
    // Source and sink have threads of their own; two more carry the packets of all links.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let row = runtime.block_on(run::until_signal(&job))?;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &row)?;
    Ok(writeln!(out)?)
}

fn job(arguments: Arguments) -> anyhow::Result<Job> {
    let mut scenario = match arguments.scenario.as_str() {
        RAW => raw(arguments.pps),
        name => Scenario::named(name).with_context(|| format!("no scenario is called {name}"))?,
    };
    scenario.bps = arguments.rate.unwrap_or(scenario.bps);
    if let Some(seconds) = arguments.duration {
        scenario.duration = Duration::try_from_secs_f64(seconds).context("--duration")?;
    }
    anyhow::ensure!(scenario.bps > 0 && !scenario.duration.is_zero(), "the stream is empty: see --rate, --duration");
    Ok(Job { peer: arguments.peer, scenario, latency_ms: arguments.latency, seed: arguments.seed })
}

fn raw(pps: u64) -> Scenario {
    Scenario {
        name: RAW,
        bps: pps * DATAGRAM as u64 * 8,
        follows: false,
        duration: Duration::from_secs(5),
        nets: Vec::new(),
        changes: Vec::new(),
    }
}
