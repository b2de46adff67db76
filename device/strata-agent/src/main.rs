//! `strata-agent`: the command line of the device's daemon.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use strata_agent::agent::Agent;
use strata_agent::config::{Config, RelayUrl};
use strata_agent::enrol::{Wanted, enrol};
use strata_agent::onboarding::label;
use strata_agent::provision::provision;
use strata_agent::{logging, session};

/// The program that keeps the device's settings.
const SETTINGS: &str = "/usr/bin/strata-settings";

/// The device's daemon: keeps in touch with the relay, runs streams.
///
/// A device is enrolled once: `strata-agent enrol --relay URL` reads the token
/// that the relay showed from standard input; the running agent uses it within
/// seconds.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/strata/strata-agent.toml", global = true)]
    config: PathBuf,
    /// Read the enrolment token from this file; the configuration's `token_file` otherwise.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Make up modems, their links and a camera; the device says that it is simulated.
    #[arg(long)]
    simulate: bool,
    /// Check the configuration and end.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Read an enrolment token from standard input and keep it, and where the relay is, for the agent.
    Enrol {
        /// The relay, for example wss://relay.example.net; without it the one that is known already.
        #[arg(long, value_name = "URL")]
        relay: Option<RelayUrl>,
        /// The relay's certificate authority (PEM), where the system's do not know it; the file is copied.
        #[arg(long, value_name = "FILE", requires = "relay")]
        ca: Option<PathBuf>,
    },
    /// Print the device's label as SVG: its own Wi-Fi network, passphrase, a QR code that phones join by, serial number.
    Label,
    /// Do what the file strata.toml in a folder asks for, once; says in strata-result.txt beside it what became of that.
    Provision {
        /// The mounted boot partition.
        folder: PathBuf,
    },
    /// Become a program in a session of its own (the agent starts its children by this).
    #[command(name = session::SUBCOMMAND, hide = true)]
    RunInSession {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strata-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::RunInSession { program }) = &arguments.command {
        let (program, rest) = program.split_first().context("a program is missing")?;
        return session::become_program(program, rest);
    }
    let mut config = Config::read(&arguments.config)?;
    if arguments.token_file.is_some() {
        config.token_file = arguments.token_file;
    }
    if arguments.check_config {
        eprintln!("{} is valid", arguments.config.display());
        return Ok(());
    }
    if let Some(Command::Enrol { relay, ca }) = &arguments.command {
        let token = read_token()?;
        let done = enrol(&config, Wanted { relay: relay.as_ref(), ca_file: ca.as_deref(), token: &token })?;
        eprintln!("{done}");
        return Ok(());
    }
    if let Some(Command::Label) = &arguments.command {
        let label = label(&config)?;
        std::io::stdout().write_all(label.as_bytes()).context("the label cannot be written")?;
        return Ok(());
    }
    let log = logging::start(&config.log_level)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Two may hang on a broken disk (scan, problems); names must still be resolved.
        .max_blocking_threads(4)
        .build()
        .context("the asynchronous runtime cannot be started")?;
    if let Some(Command::Provision { folder }) = &arguments.command {
        // Its text may repeat what a person wrote there: it is for the medium, not for the journal.
        let said = runtime.block_on(provision(&config, folder, Path::new(SETTINGS)))?;
        tracing::info!("{}", if said.is_some() { "strata.toml was read" } else { "there is no strata.toml" });
        return Ok(());
    }
    runtime.block_on(async { Agent::start(config, arguments.simulate, log).await?.run().await })
}

fn read_token() -> anyhow::Result<String> {
    /// More is no token.
    const LIMIT: u64 = 4_096;
    let mut text = String::new();
    std::io::stdin().take(LIMIT).read_to_string(&mut text).context("the token cannot be read from standard input")?;
    Ok(text)
}
