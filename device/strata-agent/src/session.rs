//! Starts a program in a session of its own, so that the agent's end, and a
//! terminal's, leave it undisturbed.
//!
//! The agent starts its own program again with `run-in-session`, which calls
//! `setsid(2)` and becomes the wanted program: the same process id, and no
//! `unsafe` code between fork and exec.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use caps::CapSet;

/// The hidden subcommand of `strata-agent`.
pub const SUBCOMMAND: &str = "run-in-session";

/// A command that runs `program` in a session of its own.
#[must_use]
pub fn command(program: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.arg(SUBCOMMAND).arg(program);
    command
}

/// Becomes `program`; returns only on failure.
///
/// # Errors
/// Names the program.
pub fn become_program(program: &OsString, arguments: &[OsString]) -> anyhow::Result<()> {
    nix::unistd::setsid().context("cannot start a session")?;
    // What the agent may, to open its pages, is nothing for its children.
    caps::clear(None, CapSet::Ambient).context("cannot give up the agent's capabilities")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", Path::new(program).display()))
}
