//! Starts a worker in a session of its own, so that neither the relay's end nor a terminal's touches it.
//!
//! The relay starts its own program again with a hidden subcommand, which
//! calls `setsid(2)` and becomes the worker: the same process id, and no
//! `unsafe` code between fork and exec.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "run-in-session";

/// How to start `program` in a session of its own: this program, also when its file was replaced by an update.
#[must_use]
pub fn command(program: &Path) -> Vec<OsString> {
    vec!["/proc/self/exe".into(), SUBCOMMAND.into(), program.into()]
}

/// Becomes `program`; returns only on failure.
///
/// # Errors
/// Names the program.
pub fn become_program(program: &Path) -> anyhow::Result<()> {
    nix::unistd::setsid().context("cannot start a session")?;
    let error = Command::new(program).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
