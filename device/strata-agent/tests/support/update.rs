//! Stands in for the update daemon: its socket, its status, and what it was asked for.

use std::collections::VecDeque;
use std::path::PathBuf;

use strata_control::{SlotName, SlotState, SlotStatus, UpdateProgress, UpdateStep};
use strata_update_protocol::{Answer, Request, Status};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};

use super::Device;

/// The daemon, as far as the test drives it.
pub struct UpdateDaemon {
    socket: PathBuf,
    listener: UnixListener,
    watcher: Option<OwnedWriteHalf>,
    asked: VecDeque<(Request, OwnedWriteHalf)>,
}

impl UpdateDaemon {
    pub fn start(device: &Device) -> Self {
        let socket = device.path("update.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        Self { socket, listener, watcher: None, asked: VecDeque::new() }
    }

    /// Waits until the agent watches, and says the first status.
    pub async fn watched(&mut self, status: &Status) {
        while self.watcher.is_none() {
            self.accept().await;
        }
        self.say(status).await;
    }

    /// Says a status to the agent that watches.
    pub async fn say(&mut self, status: &Status) {
        send(self.watcher.as_mut().unwrap(), &Answer::Status(status.clone())).await;
    }

    /// Waits for a request and answers it.
    pub async fn answer(&mut self, answer: &Answer) -> Request {
        while self.asked.is_empty() {
            self.accept().await;
        }
        let (request, mut writer) = self.asked.pop_front().unwrap();
        send(&mut writer, answer).await;
        request
    }

    /// Ends, as a daemon does that systemd stopped.
    pub fn stop(self) {
        std::fs::remove_file(&self.socket).unwrap();
    }

    async fn accept(&mut self) {
        let accepted = tokio::time::timeout(super::LIMIT, self.listener.accept()).await.expect("the agent connects");
        let (reader, writer) = UnixStream::into_split(accepted.unwrap().0);
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line).await.unwrap();
        match serde_json::from_str(&line).unwrap() {
            Request::Watch => self.watcher = Some(writer),
            request => self.asked.push_back((request, writer)),
        }
    }
}

async fn send(writer: &mut OwnedWriteHalf, answer: &Answer) {
    let line = serde_json::to_string(answer).unwrap() + "\n";
    writer.write_all(line.as_bytes()).await.unwrap();
}

/// A device that runs slot A, with nothing in B.
pub fn status() -> Status {
    let slot = |name, booted, state, version: Option<&str>| SlotStatus {
        name,
        booted,
        state,
        version: version.map(str::to_owned),
        reason: None,
    };
    Status {
        version: "1.0".into(),
        booted: SlotName::A,
        slots: vec![
            slot(SlotName::A, true, SlotState::Good, Some("1.0")),
            slot(SlotName::B, false, SlotState::Untested, None),
        ],
        update: None,
        problems: vec![],
    }
}

/// As [`status`], with an update that got so far.
pub fn updating(step: UpdateStep, percent: u8) -> Status {
    let update = UpdateProgress { version: "1.1".into(), slot: SlotName::B, percent, step, error: None };
    Status { update: Some(update), ..status() }
}
