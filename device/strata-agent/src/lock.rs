//! One agent per state folder: a locked file that names its process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

use crate::files;

/// Held while the agent lives; the kernel lets go of it however the agent ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `state_dir`.
    ///
    /// # Errors
    /// When another agent has it: names its process.
    pub(crate) fn take(state_dir: &Path) -> anyhow::Result<Self> {
        let path = state_dir.join("agent.lock");
        let cannot = || format!("cannot use the lock {}", path.display());
        let (mut file, writable) =
            match OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path) {
                Ok(file) => (file, true),
                // A disk that takes no writes still knows locks: of the file, or of the folder where there is none.
                Err(error) if files::cannot_write(&error) => {
                    let readable = File::open(&path).or_else(|_| File::open(state_dir));
                    (readable.with_context(cannot)?, false)
                }
                Err(error) => return Err(error).with_context(cannot),
            };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                if let Err(error) = file.read_to_string(&mut pid) {
                    tracing::debug!("{}: {error}", cannot());
                }
                anyhow::bail!(
                    "another agent (process {}) uses {}: stop it first, or give this one a state_dir of its own",
                    if pid.trim().is_empty() { "unknown" } else { pid.trim() },
                    state_dir.display()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        if writable && let Err(error) = name_process(&mut file) {
            tracing::warn!("{}, which does not say whose it is: {error}", cannot());
        }
        Ok(Self { _file: file })
    }
}

fn name_process(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_and_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let message = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        drop(first);
        Lock::take(folder.path()).unwrap();
    }
}
