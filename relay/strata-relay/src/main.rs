//! `strata-relay`: see the library's documentation and `strata-relay help`.

use std::process::ExitCode;

use clap::Parser;
use strata_relay::cli::Arguments;

fn main() -> ExitCode {
    match strata_relay::cli::run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "the last word of a command goes to whoever typed it")]
            {
                eprintln!("strata-relay: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
