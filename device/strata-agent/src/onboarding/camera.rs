//! The way in through the lens: QR codes that somebody holds before the device's camera.
//!
//! Owns the process that looks (`strata-encoder --look`), for as long as it is wanted, and what a code's text means:
//! a phone's shared Wi-Fi, or the relay's link with a token. Does not own when it is wanted, or what follows.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use strata_control::EnrolmentLink;
use strata_network::wifi::Wish;
use strata_network::wifi_code;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{self, Instant};

use crate::config::Config;
use crate::{program, session};

/// A camera that failed, or is used by somebody else, is tried again after this.
const AGAIN: Duration = Duration::from_secs(30);
/// The code of a moment ago, still before the camera, is the same wish.
const SAME: Duration = Duration::from_secs(30);
/// The longest line: a large QR code, each character escaped.
const LINE: u64 = 32 * 1024;

/// What somebody holds before the camera.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// A network to join.
    Wifi(Wish),
    /// Where the device is to belong.
    Enrolment(EnrolmentLink),
}

impl Code {
    /// What a code's text means; none of what is for somebody else.
    fn read(text: &str) -> Option<Self> {
        wifi_code::read(text).map(Self::Wifi).or_else(|| EnrolmentLink::read(text).map(Self::Enrolment))
    }
}

/// What the program says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    /// The text of a code.
    Code(String),
    /// Why it sees nothing.
    Failed { failed: String },
}

/// Somebody looks; dropping it closes the camera.
#[derive(Debug)]
pub(super) struct Watch {
    /// The camera's node.
    pub(super) node: String,
    task: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // With the task goes the child, by `kill_on_drop`.
        self.task.abort();
    }
}

/// Looks through the camera `node` until it is dropped.
pub(super) fn watch(config: &Config, node: &str, codes: mpsc::Sender<Code>) -> Watch {
    let (config, to_open) = (config.clone(), node.to_owned());
    let task = tokio::spawn(async move {
        let mut told = String::new();
        loop {
            let ended = match start(&config, &to_open) {
                Ok((child, lines)) => listen(child, lines, &codes).await,
                Err(error) => Err(error),
            };
            let why = ended.map_or_else(|error| format!("{error:#}"), |()| "the program ended".to_owned());
            if why != told {
                tracing::warn!("no QR codes are read by {to_open}: {why}");
                told = why;
            }
            time::sleep(AGAIN).await;
        }
    });
    Watch { node: node.to_owned(), task: task.abort_handle() }
}

fn start(config: &Config, node: &str) -> anyhow::Result<(Child, ChildStdout)> {
    let program = program::find(program::ENCODER, "encoder_program", config.encoder_program.as_deref())?;
    let mut command = session::command(&program);
    command.args(["--look", node]).kill_on_drop(true);
    // Its standard input is kept open: at its end it ends, also when the agent was killed.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().context("strata-encoder does not start")?;
    let lines = child.stdout.take().context("strata-encoder has no standard output")?;
    Ok((child, lines))
}

async fn listen(mut child: Child, lines: ChildStdout, codes: &mpsc::Sender<Code>) -> anyhow::Result<()> {
    let mut lines = BufReader::new(lines);
    let mut last: Option<(String, Instant)> = None;
    loop {
        let mut line = String::new();
        if (&mut lines).take(LINE).read_line(&mut line).await? == 0 {
            break;
        }
        let text = match serde_json::from_str(&line).context("strata-encoder says what is no line of its own")? {
            Line::Code(text) => text,
            Line::Failed { failed } => anyhow::bail!(failed),
        };
        let now = Instant::now();
        if last.replace((text.clone(), now)).is_some_and(|(before, at)| before == text && now < at + SAME) {
            continue;
        }
        match Code::read(&text) {
            Some(code) => codes.send(code).await?,
            None => tracing::info!("the camera sees a QR code that is neither a Wi-Fi network's nor a relay's"),
        }
    }
    let status = child.wait().await?;
    anyhow::ensure!(status.success(), "strata-encoder ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use strata_control::Sensitive;
    use strata_network::own_network;

    use super::*;

    const WIFI: &str = "WIFI:T:WPA;S:Van;P:correct horse;;";

    fn link() -> EnrolmentLink {
        EnrolmentLink { relay: "wss://relay.example.net".to_owned(), token: Sensitive::new("abc-123") }
    }

    #[test]
    fn the_relays_link_leads_to_this_devices_pages() {
        assert!(link().text().starts_with(&format!("http://{}/", own_network::ADDRESS)));
    }

    #[test]
    fn what_a_code_means() {
        assert!(matches!(Code::read(WIFI), Some(Code::Wifi(wish)) if wish.ssid.to_string() == "Van"));
        assert_eq!(Code::read(&link().text()), Some(Code::Enrolment(link())));
        for text in ["", "abc-123", "https://example.net", "WIFI:S:;;"] {
            assert_eq!(Code::read(text), None, "{text}");
        }
    }

    /// A program in the encoder's place that prints these lines, and then waits for the end of its input.
    fn config(folder: &std::path::Path, lines: &[String]) -> Config {
        let program = folder.join("encoder");
        let text = format!("#!/bin/sh\ncat <<'END'\n{}\nEND\ncat >/dev/null\n", lines.join("\n"));
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        toml::from_str(&format!("state_dir = {:?}\nencoder_program = {program:?}\n", folder)).unwrap()
    }

    #[tokio::test]
    async fn a_code_that_stays_before_the_camera_is_one_wish() {
        let folder = tempfile::tempdir().unwrap();
        let line = |text: &str| serde_json::Value::from(text).to_string();
        let lines = [line(WIFI), line(WIFI), line("something else"), line(&link().text()), line(&link().text())];
        let (codes, mut heard) = mpsc::channel(8);
        let mut listening = Box::pin(async {
            let (child, lines) = start_here(&config(folder.path(), &lines));
            listen(child, lines, &codes).await
        });
        let both = async { (heard.recv().await, heard.recv().await) };
        let (first, second) = tokio::select! {
            both = both => both,
            ended = &mut listening => panic!("{ended:?}"),
        };
        assert!(matches!(first, Some(Code::Wifi(_))) && second == Some(Code::Enrolment(link())));
        assert!(heard.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_fails_is_told_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let (codes, _heard) = mpsc::channel(8);
        for (line, told) in [
            ("nonsense".to_owned(), "no line of its own"),
            ("{}".to_owned(), "no line of its own"),
            ("x".repeat(40_000), "no line of its own"),
            (r#"{"failed": "the camera /dev/video0: it is gone"}"#.to_owned(), "it is gone"),
        ] {
            let (child, lines) = start_here(&config(folder.path(), &[line]));
            let error = listen(child, lines, &codes).await.unwrap_err();
            assert!(format!("{error:#}").contains(told), "{error:#}");
        }
    }

    /// As [`start`], without the agent's own program in between, which a test is not.
    fn start_here(config: &Config) -> (Child, ChildStdout) {
        let mut command = tokio::process::Command::new(config.encoder_program.as_ref().unwrap());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = child.stdout.take().unwrap();
        (child, lines)
    }
}
