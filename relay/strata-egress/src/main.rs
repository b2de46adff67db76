//! `strata-egress`: the relay's worker for one stream. See the library's documentation.

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// The relay's worker for one stream: bonded receive, HLS, RTMP. Started by `strata-relay`.
///
/// Takes its configuration as one JSON line on standard input, then listens on the Unix socket named there.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {}

fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match strata_egress::config::read(std::io::stdin().lock()).and_then(strata_egress::worker::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
