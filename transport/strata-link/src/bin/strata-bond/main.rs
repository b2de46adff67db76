//! `strata-bond`: UDP datagrams in at one place, out at another, over several links at once.
//!
//! Only wires: arguments to the library's sender and receiver, a UDP socket at
//! each end, statistics to a file. Everything that decides is in the libraries.

mod arguments;
mod output;
mod receive;
mod send;
mod statistics;
mod udp;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use strata_identity::KeyPair;
use tokio::signal::unix::{Signal, SignalKind, signal};

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("STRATA_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,quinn=error,quinn_proto=error")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain in one line: what failed, and why.
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Keygen { file } => {
            let key = KeyPair::generate();
            key.write_new(&file)?;
            println(&key.public().to_string())
        }
        Command::Receive(arguments) => run_to_end(receive::run(arguments)),
        Command::Send(arguments) => run_to_end(send::run(arguments)),
    }
}

/// One thread is enough and saves the hand-over between threads.
fn run_to_end(end: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    // As a task like the others: what `block_on` waits for itself gets its turn only after a look at all sockets.
    let task = runtime.spawn(end);
    runtime.block_on(task).context("the command panicked")?
}

/// The public key is this command's result, so it goes to standard output.
fn println(line: &str) -> anyhow::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}

/// The signals that end the program cleanly.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let context = "cannot listen for signals";
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context(context)?,
            interrupt: signal(SignalKind::interrupt()).context(context)?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
