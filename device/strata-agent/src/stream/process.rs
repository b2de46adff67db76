//! An encoder's process: started by this agent, or by one before it.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use strata_control::ExitStatus;
use strata_encoder_protocol::EncoderConfig;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::time::{self, Instant};

use super::record::ProcessIdentity;
use crate::session;

/// How long a process may take to end before it is asked less kindly.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a process that is nobody's child is looked at while its end is awaited.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A process that this agent looks after.
#[derive(Debug)]
pub(super) struct Process {
    identity: ProcessIdentity,
    /// None for one that a former agent started: its exit status is lost.
    child: Option<Child>,
}

impl Process {
    /// Starts an encoder and hands it its configuration.
    pub(super) async fn start(program: &Path, config: &EncoderConfig, log: Option<&Path>) -> anyhow::Result<Self> {
        let mut line = serde_json::to_vec(config).context("the encoder's configuration")?;
        line.push(b'\n');
        let mut child = spawn(program, &[], log, Stdio::piped())?;
        let mut stdin = child.stdin.take().context("the encoder's standard input is a pipe")?;
        // An encoder that ends at once breaks the pipe: its exit, seen later, tells more than this error would.
        if let Err(error) = stdin.write_all(&line).await {
            tracing::debug!("the encoder did not read its configuration: {error}");
        }
        let pid = child.id().context("a process that was just started has a number")?.cast_signed();
        let identity = ProcessIdentity { pid, started_ticks: started_ticks(pid).unwrap_or_default() };
        Ok(Self { identity, child: Some(child) })
    }

    /// Takes over a process that a former agent started; none when it is gone.
    pub(super) fn adopt(identity: ProcessIdentity) -> Option<Self> {
        let process = Self { identity, child: None };
        process.is_alive().then_some(process)
    }

    /// Takes over the process of this number.
    pub(super) fn adopt_pid(pid: i32) -> Option<Self> {
        let started_ticks = started_ticks(pid)?;
        Self::adopt(ProcessIdentity { pid, started_ticks })
    }

    pub(super) fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Whether it runs. Reaps a child that has ended, so that it stays no zombie.
    pub(super) fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(Some(_))),
            None => !self.is_alive(),
        }
    }

    /// How a child ended that [`Self::has_ended`] saw.
    pub(super) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok()?.map(exit_status)
    }

    fn is_alive(&self) -> bool {
        started_ticks(self.identity.pid).is_some_and(|ticks| ticks == self.identity.started_ticks)
    }

    /// Waits for the end; then how it ended, where that can be known.
    async fn ended(&mut self) -> Option<ExitStatus> {
        match &mut self.child {
            Some(child) => child.wait().await.ok().map(exit_status),
            None => {
                while self.is_alive() {
                    time::sleep(LOOK_INTERVAL).await;
                }
                None
            }
        }
    }

    /// Waits for the end for at most `limit`, then asks, then insists: nothing is left of it afterwards.
    pub(super) async fn end_within(mut self, limit: Duration) -> Option<ExitStatus> {
        if let Ok(status) = time::timeout(limit, self.ended()).await {
            return status;
        }
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            tracing::warn!(pid = self.identity.pid, "the encoder does not end: {signal}");
            self.signal(signal);
            if let Ok(status) = time::timeout(PATIENCE, self.ended()).await {
                return status;
            }
        }
        tracing::error!(pid = self.identity.pid, "the encoder cannot be ended (it hangs in the kernel)");
        None
    }

    /// Asks it to end, then insists.
    pub(super) async fn end(self) -> Option<ExitStatus> {
        self.signal(Signal::SIGTERM);
        self.end_within(PATIENCE).await
    }

    /// Ends it at once: for a process that hangs.
    pub(super) async fn kill(self) -> Option<ExitStatus> {
        self.signal(Signal::SIGKILL);
        self.end_within(PATIENCE).await
    }

    /// To its whole process group, which the session it was started in made its own.
    fn signal(&self, signal: Signal) {
        let ours = match &self.child {
            // A child that was not waited for keeps its number.
            Some(child) => child.id().is_some(),
            None => self.is_alive(),
        };
        if !ours {
            return;
        }
        let pid = self.identity.pid;
        // Before the child is in its own session the group does not exist yet.
        if kill(Pid::from_raw(-pid), signal).is_err()
            && let Err(error) = kill(Pid::from_raw(pid), signal)
        {
            tracing::debug!(pid, "{signal} was not delivered: {error}");
        }
    }
}

/// Starts `program` in a session of its own, writing to `log` where there is one.
pub(crate) fn spawn(program: &Path, arguments: &[&str], log: Option<&Path>, stdin: Stdio) -> anyhow::Result<Child> {
    let (output, errors) = match log {
        Some(log) => outputs(log)?,
        None => (Stdio::null(), Stdio::null()),
    };
    session::command(program)
        .args(arguments)
        .stdin(stdin)
        .stdout(output)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

fn outputs(log: &Path) -> anyhow::Result<(Stdio, Stdio)> {
    let output = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(log)
        .with_context(|| format!("cannot write the log {}", log.display()))?;
    let errors = output.try_clone().with_context(|| format!("cannot use the log {}", log.display()))?;
    Ok((output.into(), errors.into()))
}

fn exit_status(status: std::process::ExitStatus) -> ExitStatus {
    ExitStatus { code: status.code(), signal: status.signal() }
}

/// When a process was started; none when it is gone, or dead and not yet reaped by its parent.
pub(super) fn started_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything, so count from its end: `state` is the third.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return None;
    }
    fields.get(22 - 3)?.parse().ok()
}

/// Waits until `ready` is true; false when `limit` is over first.
pub(crate) async fn wait_until(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !ready() {
        if Instant::now() > deadline {
            return false;
        }
        time::sleep(LOOK_INTERVAL).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_start() {
        let pid = std::process::id().cast_signed();
        let ticks = started_ticks(pid).unwrap();
        assert!(Process::adopt(ProcessIdentity { pid, started_ticks: ticks }).is_some());
        assert!(Process::adopt(ProcessIdentity { pid, started_ticks: ticks + 1 }).is_none());
    }

    #[test]
    fn a_dead_child_that_nobody_reaped_counts_as_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        while started_ticks(pid).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
