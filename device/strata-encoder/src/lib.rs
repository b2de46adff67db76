//! The device's process for one stream: source → H.264/H.265 and AAC → MPEG-TS → bonded transport.
//!
//! The agent starts one per stream and writes its configuration to standard
//! input; from then on it is told what to do over a Unix socket, and goes on
//! by itself when the agent dies. A crash of GStreamer takes down this process
//! and nothing else. See `docs/device/encoder.md`.
//!
//! Owns sources, encoding, muxing, bitrate adaptation and the recording. Does
//! not own the bonding (`strata-link`), the decision to stream, or restarts
//! (`strata-agent`).

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

mod adapt;
mod agent_socket;
mod config;
mod elements;
mod encoders;
mod format;
mod links;
mod log_tail;
mod painter;
mod picture;
mod pipeline;
mod recording;
mod seam;
mod session;
mod source_control;
mod sources;
mod statistics;
mod timeline;
mod tone;

pub use picture::timecode;

/// Ended as the report says; not to be started again.
const EXIT_ENDED: u8 = 0;
/// The encoder failed; may be started again.
const EXIT_FAILED: u8 = 1;
/// It was called wrongly: arguments, configuration, socket.
const EXIT_USAGE: u8 = 2;

/// Encodes one stream of a Strata device.
///
/// Reads its configuration as one line of JSON from standard input; strata-agent starts it.
#[derive(Debug, Parser)]
#[command(name = "strata-encoder", version)]
struct Arguments {
    /// Print which encoders this device has, and which would be used; then exit.
    #[arg(long)]
    list: bool,
    /// Print the texts of QR codes held before this camera, until standard input ends.
    #[arg(long, value_name = "NODE", conflicts_with = "list")]
    look: Option<String>,
}

/// The command `strata-encoder`.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = log_tail::LogTail::install();
    let result = match arguments.look {
        Some(node) => look(&node),
        None if arguments.list => list(),
        None => stream(&log),
    };
    result.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::from(EXIT_USAGE)
    })
}

fn list() -> anyhow::Result<ExitCode> {
    gstreamer::init().context("GStreamer does not start")?;
    std::io::stdout().write_all(encoders::list().as_bytes()).context("the list cannot be printed")?;
    Ok(ExitCode::from(EXIT_ENDED))
}

fn look(node: &str) -> anyhow::Result<ExitCode> {
    gstreamer::init().context("GStreamer does not start")?;
    let mut out = std::io::stdout().lock();
    let Err(error) = sources::codes::look(node, &mut out) else { return Ok(ExitCode::from(EXIT_ENDED)) };
    writeln!(out, "{}", serde_json::json!({ "failed": error.message })).context("it cannot be printed")?;
    Ok(ExitCode::from(EXIT_FAILED))
}

fn stream(log: &log_tail::LogTail) -> anyhow::Result<ExitCode> {
    let config = config::read(std::io::stdin().lock())?;
    tracing::info!(stream = %config.stream_id, source = sources::describe(&config.source), "strata-encoder starts");
    gstreamer::init().context("GStreamer does not start")?;
    gststrata::plugin_register_static().context("GStreamer does not take stratasink")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let failed = runtime.block_on(async {
        let mut session = session::Session::open(&config)?;
        let ending = session.run(config).await;
        session.report(&ending, log.lines()).await;
        anyhow::Ok(ending.failed)
    })?;
    Ok(ExitCode::from(if failed { EXIT_FAILED } else { EXIT_ENDED }))
}
