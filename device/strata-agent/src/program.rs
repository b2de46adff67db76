//! Finds the programs that the agent starts: as configured, beside its own, or in `PATH`.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The encoder's program.
pub(crate) const ENCODER: &str = "strata-encoder";
/// The link emulator's program.
pub(crate) const EMULATOR: &str = "strata-netem";

/// Finds `name`; `configured` (the value of the configuration's `key`) is taken as it is.
///
/// # Errors
/// Says where it was looked for and which key names another place.
pub(crate) fn find(name: &str, key: &str, configured: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = configured {
        anyhow::ensure!(is_program(path), "{key} is {}: there is no program of that name", path.display());
        return Ok(path.to_owned());
    }
    let own = env::current_exe().context("the agent's own program cannot be found")?;
    let beside = own.parent().map(|folder| folder.join(name)).filter(|path| is_program(path));
    if let Some(path) = beside {
        return Ok(path);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
        .with_context(|| format!("{name} was not found beside {} nor in PATH: install it, or set {key}", own.display()))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
