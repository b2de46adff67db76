//! The image's update daemon, seen from the agent: its status, and commands handed on to it.
//!
//! Owns the connection to its Unix socket. Does not own updates: the daemon decides what is installed and when, waits
//! itself, and reboots itself. A machine without our image has no such daemon, which is no fault: it has no slots.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use strata_control::{CommandResult, RefusedCode};
use strata_update_protocol::{Answer, MAX_LINE_BYTES, Request, Status};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{self, Instant};
use tokio_util::codec::{FramedRead, LinesCodec};

use crate::relay;
use crate::stream::refused;

/// For the answer to a request; a relay waits a little longer for the answer to its command.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);
/// A daemon of our image that says no status for so long is missed: it may start late, and restart.
const GRACE: Duration = Duration::from_secs(60);

/// Where the daemon is.
#[derive(Clone, Debug)]
pub(crate) struct UpdateDaemon {
    socket: PathBuf,
    /// Whether this machine runs our image: then a missing daemon is a fault.
    on_image: bool,
    answer_limit: Duration,
    grace: Duration,
}

/// What is known of the daemon.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Known {
    /// What it said last. On our image it stays while the daemon is away: slots do not go with it.
    pub(crate) status: Option<Status>,
    /// Whether it answers.
    pub(crate) is_there: bool,
    /// Whether it should answer and has not for long.
    pub(crate) is_missed: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("nothing listens at {0}")]
    Absent(PathBuf),
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for AskError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl UpdateDaemon {
    pub(crate) fn new(socket: PathBuf, on_image: bool) -> Self {
        Self { socket, on_image, answer_limit: ANSWER_LIMIT, grace: GRACE }
    }

    /// Hands a command on: done when the daemon accepted it, refused in its words or with what is wrong with it.
    pub(crate) async fn command(&self, request: &Request) -> CommandResult {
        let answer = match time::timeout(self.answer_limit, self.ask(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                let limit = self.answer_limit.as_secs_f32();
                Err(AskError::Failed(anyhow::anyhow!("the update daemon did not answer within {limit} s")))
            }
        };
        match answer {
            Ok(Answer::Accepted) => CommandResult::Done,
            Ok(Answer::Refused { code, message }) => refused(code, message),
            Ok(Answer::Status(_)) => refused(RefusedCode::Failed, "the update daemon answered something else"),
            Err(AskError::Absent(_)) if !self.on_image => refused(
                RefusedCode::Unsupported,
                "this machine runs no Strata image: it has no slots to update, and is rebooted and reset by hand",
            ),
            Err(error) => {
                let why = format!("{error}: look at `systemctl status strata-update` on the device, or restart it");
                refused(RefusedCode::Failed, why)
            }
        }
    }

    /// Keeps `known` as the daemon says, for ever.
    pub(crate) async fn watch(self, known: watch::Sender<Known>) {
        let mut failures = 0;
        let mut heard = Instant::now();
        loop {
            match self.follow(&known).await {
                // It was there: one that only restarts is not gone.
                Ok(()) => (failures, heard) = (0, Instant::now()),
                Err(error) => {
                    failures += 1;
                    let was_there = known.borrow().is_there;
                    if was_there {
                        known.send_modify(|known| {
                            known.is_there = false;
                            if !self.on_image {
                                known.status = None;
                            }
                        });
                    }
                    match &error {
                        _ if was_there => tracing::warn!("the update daemon is gone: {error}"),
                        AskError::Absent(_) => tracing::debug!("no update daemon: {error}"),
                        // Once is enough, until it was there again.
                        AskError::Failed(_) if failures == 1 => tracing::warn!("no update daemon: {error}"),
                        AskError::Failed(_) => tracing::debug!("no update daemon: {error}"),
                    }
                }
            }
            let next = Instant::now() + relay::delay(failures, rand::random());
            let missed = heard + self.grace;
            if self.on_image && missed < next && !known.borrow().is_missed {
                time::sleep_until(missed).await;
                tracing::warn!("the update daemon said no status for {} s", self.grace.as_secs_f32());
                known.send_modify(|known| known.is_missed = true);
            }
            time::sleep_until(next).await;
        }
    }

    /// Follows the daemon's status until it hangs up; an error when it said none.
    async fn follow(&self, known: &watch::Sender<Known>) -> Result<(), AskError> {
        let (mut lines, _writer) = self.say(&Request::Watch).await?;
        let first = time::timeout(self.answer_limit, next(&mut lines)).await.with_context(|| {
            format!("the update daemon said no status within {} s", self.answer_limit.as_secs_f32())
        })?;
        let mut answer = first?;
        loop {
            let Answer::Status(said) = answer else {
                return Err(anyhow::anyhow!("the update daemon said something else than its status").into());
            };
            let now = Known { status: Some(said), is_there: true, is_missed: false };
            if !known.send_replace(now).is_there {
                tracing::info!("the update daemon is there");
            }
            answer = match next(&mut lines).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::debug!("the connection to the update daemon ended: {error:#}");
                    return Ok(());
                }
            };
        }
    }

    async fn ask(&self, request: &Request) -> Result<Answer, AskError> {
        let (mut lines, _writer) = self.say(request).await?;
        Ok(next(&mut lines).await?)
    }

    async fn say(&self, request: &Request) -> Result<(Lines, OwnedWriteHalf), AskError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.no_connection(error))?;
        let (reader, mut writer) = stream.into_split();
        let mut line = serde_json::to_vec(request).context("a request has a JSON form")?;
        line.push(b'\n');
        writer.write_all(&line).await.context("the update daemon takes no request")?;
        Ok((FramedRead::new(reader, LinesCodec::new_with_max_length(MAX_LINE_BYTES)), writer))
    }

    fn no_connection(&self, error: io::Error) -> AskError {
        if error.kind() == io::ErrorKind::NotFound {
            return AskError::Absent(self.socket.clone());
        }
        AskError::Failed(anyhow::Error::new(error).context(cannot_connect(&self.socket)))
    }
}

type Lines = FramedRead<OwnedReadHalf, LinesCodec>;

async fn next(lines: &mut Lines) -> anyhow::Result<Answer> {
    let line = lines.next().await.context("the update daemon hung up")?.context("the update daemon's answer")?;
    serde_json::from_str(&line).context("the update daemon's answer cannot be read")
}

fn cannot_connect(socket: &Path) -> String {
    format!("the update daemon cannot be reached at {}", socket.display())
}

#[cfg(test)]
mod tests {
    use strata_control::SlotName;
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::UnixListener;

    use super::*;

    const REBOOT: Request = Request::Reboot { even_if_live: false };

    /// Answers every request with `answer`; none hangs up without one.
    fn daemon(folder: &tempfile::TempDir, answer: Option<&str>) -> UpdateDaemon {
        let socket = folder.path().join("update.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let answer = answer.map(|answer| format!("{answer}\n"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut line = String::new();
                BufReader::new(&mut stream).read_line(&mut line).await.unwrap();
                assert_eq!(line, "{\"request\":\"reboot\",\"even_if_live\":false}\n");
                if let Some(answer) = &answer {
                    // Who has heard enough hangs up first.
                    stream.write_all(answer.as_bytes()).await.ok();
                }
            }
        });
        UpdateDaemon::new(socket, true)
    }

    #[tokio::test]
    async fn a_command_is_answered_as_the_daemon_says() {
        let busy = r#"{"answer":"refused","code":"busy","message":"a stream is live"}"#;
        let long = "x".repeat(2 * MAX_LINE_BYTES);
        for (answer, code, part) in [
            (Some(busy), RefusedCode::Busy, "a stream is live"),
            (Some("garbage"), RefusedCode::Failed, "cannot be read"),
            (Some(&*long), RefusedCode::Failed, "answer"),
            (None, RefusedCode::Failed, "hung up"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let result = daemon(&folder, answer).command(&REBOOT).await;
            let CommandResult::Refused { code: found, message } = result else { panic!("{result:?}") };
            assert_eq!(found, code, "{message}");
            assert!(message.contains(part), "{message}");
        }
        let folder = tempfile::tempdir().unwrap();
        let accepting = daemon(&folder, Some(r#"{"answer":"accepted"}"#));
        assert_eq!(accepting.command(&REBOOT).await, CommandResult::Done);
    }

    #[tokio::test]
    async fn a_missing_daemon_is_a_fault_only_on_an_image() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("update.sock");
        for (on_image, expected, part) in
            [(false, RefusedCode::Unsupported, "no Strata image"), (true, RefusedCode::Failed, "systemctl")]
        {
            let result = UpdateDaemon::new(socket.clone(), on_image).command(&REBOOT).await;
            let CommandResult::Refused { code, message } = result else { panic!("{result:?}") };
            assert_eq!(code, expected, "{message}");
            assert!(message.contains(part), "{message}");
        }
        // A dead daemon leaves its socket behind.
        drop(UnixListener::bind(&socket).unwrap());
        let result = UpdateDaemon::new(socket, false).command(&REBOOT).await;
        assert!(matches!(result, CommandResult::Refused { code: RefusedCode::Failed, .. }), "{result:?}");
    }

    #[tokio::test]
    async fn a_silent_daemon_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("update.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let limit = Duration::from_millis(500);
        let daemon = UpdateDaemon { answer_limit: limit, ..UpdateDaemon::new(socket, true) };
        let result = daemon.command(&REBOOT).await;
        let CommandResult::Refused { message, .. } = result else { panic!("{result:?}") };
        assert!(message.contains("did not answer within 0.5 s"), "{message}");
    }

    fn said(version: &str) -> Status {
        Status { version: version.to_owned(), booted: SlotName::A, slots: vec![], update: None, problems: vec![] }
    }

    /// Is the daemon that says one status, until what is returned is dropped.
    async fn say(socket: &Path, said: &Status) -> UnixStream {
        let listener = UnixListener::bind(socket).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        // Nobody else connects: from here on there is no daemon to find.
        std::fs::remove_file(socket).unwrap();
        let line = serde_json::to_string(&Answer::Status(said.clone())).unwrap() + "\n";
        stream.write_all(line.as_bytes()).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn the_status_is_followed_over_a_restart_and_gone_with_a_daemon_that_no_image_needs() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("update.sock");
        let (sender, mut known) = watch::channel(Known::default());
        let daemon = UpdateDaemon { grace: Duration::ZERO, ..UpdateDaemon::new(socket.clone(), false) };
        let watching = tokio::spawn(daemon.watch(sender));
        for version in ["1.0", "1.1"] {
            let said = said(version);
            let _stream = say(&socket, &said).await;
            known.wait_for(|known| known.status.as_ref() == Some(&said)).await.unwrap();
        }
        assert_eq!(*known.wait_for(|known| known.status.is_none()).await.unwrap(), Known::default());
        watching.abort();
    }

    #[tokio::test]
    async fn an_image_misses_its_daemon_after_a_grace_also_at_boot_and_keeps_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("update.sock");
        let (sender, mut known) = watch::channel(Known::default());
        let grace = Duration::from_millis(300);
        let begun = Instant::now();
        let daemon = UpdateDaemon { grace, ..UpdateDaemon::new(socket.clone(), true) };
        let watching = tokio::spawn(daemon.watch(sender));
        assert_eq!(known.wait_for(|known| known.is_missed).await.unwrap().status, None);
        assert!(begun.elapsed() >= grace);
        let said = said("1.0");
        let stream = say(&socket, &said).await;
        let there = known.wait_for(|known| known.is_there).await.unwrap().clone();
        assert_eq!((there.status.as_ref(), there.is_missed), (Some(&said), false));
        drop(stream);
        let missed = known.wait_for(|known| known.is_missed && !known.is_there).await.unwrap().clone();
        assert_eq!(missed.status, Some(said));
        watching.abort();
    }
}
