//! `strata-sim`: runs the scenarios under simulated time and prints a line for each.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use strata_sim::scenario::Scenario;
use strata_sim::{Outcome, Sim};

/// Runs the bond over simulated links: minutes of network in moments, the same for the same seed.
#[derive(Debug, Parser)]
#[command(name = "strata-sim", version)]
struct Arguments {
    /// The scenarios to run, such as S3; all if none is named.
    scenarios: Vec<String>,
    /// The latency in milliseconds.
    #[arg(long, default_value_t = 500)]
    latency: u32,
    /// The seeds, separated by commas.
    #[arg(long, default_value = "1,2,3", value_delimiter = ',')]
    seeds: Vec<u64>,
    /// A recorded link as FILE[@SECONDS]:DELAY:JITTER:LOSS:QUEUE (milliseconds, percent); the source follows the
    /// target over all of those given, in a scenario named "recorded".
    #[arg(long)]
    recorded: Vec<String>,
    /// How long the recorded scenario lasts, in seconds.
    #[arg(long, default_value_t = 100)]
    seconds: u64,
    /// Writes a line of JSON ten times a second: what the sender knew.
    #[arg(long)]
    log: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let scenarios = if !arguments.recorded.is_empty() {
        vec![recorded(&arguments)?]
    } else if arguments.scenarios.is_empty() {
        Scenario::all()
    } else {
        let named = |name: &String| Scenario::named(name).with_context(|| format!("no scenario is called {name}"));
        arguments.scenarios.iter().map(named).collect::<Result<_, _>>()?
    };
    let mut log = arguments.log.as_ref().map(std::fs::File::create).transpose()?.map(std::io::BufWriter::new);
    let mut out = std::io::stdout().lock();
    for scenario in &scenarios {
        for &seed in &arguments.seeds {
            let mut failed = None;
            let outcome = scenario.run_watched(seed, arguments.latency, |sim| {
                if let Some(log) = &mut log {
                    failed = failed.take().or(write_line(log, sim).err());
                }
            });
            failed.map_or(Ok(()), Err)?;
            print(&mut out, scenario, seed, &outcome)?;
        }
    }
    Ok(())
}

fn recorded(arguments: &Arguments) -> anyhow::Result<Scenario> {
    let mut links = Vec::new();
    for text in &arguments.recorded {
        let mut parts = text.rsplitn(5, ':').collect::<Vec<_>>();
        anyhow::ensure!(parts.len() == 5, "\"{text}\" is not FILE[@SECONDS]:DELAY:JITTER:LOSS:QUEUE");
        parts.reverse();
        let (file, start) = parts[0].rsplit_once('@').unwrap_or((parts[0], "0"));
        let mut numbers = [0.0; 4];
        for (number, part) in numbers.iter_mut().zip(&parts[1..]) {
            *number = part.parse()?;
        }
        links.push((PathBuf::from(file), start.parse::<f64>()?, numbers));
    }
    let links: Vec<_> = links.iter().map(|(file, start, numbers)| (file.as_path(), *start, *numbers)).collect();
    Ok(Scenario::recorded("recorded", arguments.seconds, &links)?)
}

fn write_line(out: &mut impl Write, sim: &Sim) -> anyhow::Result<()> {
    let stats = sim.sender_stats();
    serde_json::to_writer(&mut *out, &serde_json::json!({ "at_ms": sim.now.as_micros() / 1000, "sender": stats }))?;
    Ok(writeln!(out)?)
}

fn print(out: &mut impl Write, scenario: &Scenario, seed: u64, outcome: &Outcome) -> std::io::Result<()> {
    let used = outcome.used_percent.map_or(String::new(), |percent| format!(" used {percent:.1} %"));
    let parity = if outcome.parity_packets > 0 { format!(" parity {}", outcome.parity_packets) } else { String::new() };
    writeln!(
        out,
        "{:8} seed {seed}: sent {} lost {} (steady {}) late {} = {:.3} %{used} overhead {:.1} %{parity} back {:.1} % p50 {:.0} p99 {:.0} ms dark {:?} queue drops {:?}",
        scenario.name,
        outcome.sent,
        outcome.lost,
        outcome.lost_steady,
        outcome.late,
        outcome.bad_percent(),
        outcome.overhead_percent,
        outcome.back_percent,
        outcome.p50_ms,
        outcome.p99_ms,
        outcome.swallowed,
        outcome.queue_drops,
    )
}
