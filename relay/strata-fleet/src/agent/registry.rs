//! Connected devices: their open sockets, their last words, the commands they have not acknowledged, and the log lines
//! that somebody waits for.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use strata_control::{
    CommandResult, DeviceId, DeviceStatus, Envelope, LogChunk, MessageId, RelayMessage, UpdateProgress,
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::Outgoing;
use crate::inner::lock;

/// A status is stored at most this often: what is in memory is newer, and the disk is spared.
const STORE_EVERY: Duration = Duration::from_secs(60);
/// Log chunks that wait for whoever asked; the device's next words wait until there is room.
const LOG_CHUNKS: usize = 16;

/// Every device that was connected since the relay started.
#[derive(Default)]
pub(crate) struct Registry {
    devices: Mutex<HashMap<DeviceId, Entry>>,
}

#[derive(Default)]
struct Entry {
    connection: Option<Connection>,
    status: Option<(DeviceStatus, Timestamp)>,
    /// How far its update got, where it said so after the status.
    update: Option<UpdateProgress>,
    last_seen: Option<Timestamp>,
    stored: Option<Instant>,
}

struct Connection {
    number: u64,
    outgoing: mpsc::Sender<Outgoing>,
    /// Commands that wait for their answer; dropped with the connection, so that whoever waits learns of it.
    pending: HashMap<MessageId, oneshot::Sender<CommandResult>>,
    /// Who waits for log lines, by the request's id; dropped with the connection.
    logs: HashMap<MessageId, mpsc::Sender<LogChunk>>,
}

/// What is known of a device now.
#[derive(Default)]
pub(crate) struct DeviceNow {
    pub(crate) online: bool,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) status: Option<(DeviceStatus, Timestamp)>,
    /// Newer than what the status says of it.
    pub(crate) update: Option<UpdateProgress>,
}

/// The answer to a log request, and the lines that follow it.
pub(crate) struct LogAnswer {
    pub(crate) answer: oneshot::Receiver<CommandResult>,
    /// Ends with the last chunk, or with the connection.
    pub(crate) chunks: mpsc::Receiver<LogChunk>,
}

/// The device is not connected, or takes nothing any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unreachable;

impl Registry {
    /// A device logged in. Its former connection is told to close: the newest wins.
    pub(crate) fn connect(&self, id: DeviceId, number: u64, outgoing: mpsc::Sender<Outgoing>) {
        let connection = Connection { number, outgoing, pending: HashMap::new(), logs: HashMap::new() };
        let former = lock(&self.devices).entry(id).or_default().connection.replace(connection);
        if let Some(former) = former {
            former.close("a newer connection of this device took over");
        }
    }

    /// A connection is gone. Whether it was the device's current one.
    pub(crate) fn disconnect(&self, id: DeviceId, number: u64) -> bool {
        let mut devices = lock(&self.devices);
        let Some(entry) = devices.get_mut(&id) else { return false };
        let current = entry.connection.as_ref().is_some_and(|connection| connection.number == number);
        if current {
            entry.connection = None;
            entry.stored = None;
        }
        current
    }

    /// Closes a device's connection at once.
    pub(crate) fn close(&self, id: DeviceId, reason: &str) {
        let former = lock(&self.devices).get_mut(&id).and_then(|entry| entry.connection.take());
        if let Some(former) = former {
            former.close(reason);
        }
    }

    /// Closes all connections.
    pub(crate) fn close_all(&self, reason: &str) {
        for entry in lock(&self.devices).values_mut() {
            if let Some(former) = entry.connection.take() {
                former.close(reason);
            }
        }
    }

    /// A device is no more.
    pub(crate) fn forget(&self, id: DeviceId) {
        lock(&self.devices).remove(&id);
    }

    pub(crate) fn is_online(&self, id: DeviceId) -> bool {
        lock(&self.devices).get(&id).is_some_and(|entry| entry.connection.is_some())
    }

    /// Whether this connection is the device's current one: neither replaced, nor closed by a revocation.
    pub(crate) fn is_current(&self, id: DeviceId, number: u64) -> bool {
        let devices = lock(&self.devices);
        let connection = devices.get(&id).and_then(|entry| entry.connection.as_ref());
        connection.is_some_and(|connection| connection.number == number)
    }

    pub(crate) fn online_count(&self) -> usize {
        lock(&self.devices).values().filter(|entry| entry.connection.is_some()).count()
    }

    /// What is known of a device now.
    pub(crate) fn now(&self, id: DeviceId) -> DeviceNow {
        let devices = lock(&self.devices);
        let Some(entry) = devices.get(&id) else { return DeviceNow::default() };
        DeviceNow {
            online: entry.connection.is_some(),
            last_seen: entry.last_seen,
            status: entry.status.clone(),
            update: entry.update.clone(),
        }
    }

    /// What every device last said, for the shutdown.
    pub(crate) fn last_words(&self) -> Vec<(DeviceId, DeviceStatus, Timestamp, Timestamp)> {
        let devices = lock(&self.devices);
        let words = |(id, entry): (&DeviceId, &Entry)| {
            let (mut status, at) = entry.status.clone()?;
            status.update = entry.update.clone().or(status.update);
            Some((*id, status, at, entry.last_seen.unwrap_or(at)))
        };
        devices.iter().filter_map(words).collect()
    }

    /// A device was heard.
    pub(crate) fn heard(&self, id: DeviceId, at: Timestamp) {
        if let Some(entry) = lock(&self.devices).get_mut(&id) {
            entry.last_seen = Some(at);
        }
    }

    /// Keeps a status. Whether it is to be stored now.
    pub(crate) fn keep_status(&self, id: DeviceId, status: DeviceStatus, at: Timestamp) -> bool {
        let mut devices = lock(&self.devices);
        let entry = devices.entry(id).or_default();
        entry.status = Some((status, at));
        entry.update = None;
        entry.last_seen = Some(at);
        let due = entry.stored.is_none_or(|stored| stored.elapsed() >= STORE_EVERY);
        if due {
            entry.stored = Some(Instant::now());
        }
        due
    }

    /// Keeps how far a device's update got, until its next status says it too.
    pub(crate) fn keep_update(&self, id: DeviceId, progress: UpdateProgress) {
        lock(&self.devices).entry(id).or_default().update = Some(progress);
    }

    /// Sends a message that is not acknowledged.
    pub(crate) fn send(&self, id: DeviceId, message_id: MessageId, message: RelayMessage) -> Result<(), Unreachable> {
        let devices = lock(&self.devices);
        let connection = devices.get(&id).and_then(|entry| entry.connection.as_ref()).ok_or(Unreachable)?;
        connection.send(message_id, message)
    }

    /// Sends a command; the receiver gets the device's answer, or closes with the connection.
    pub(crate) fn command(
        &self,
        id: DeviceId,
        message: RelayMessage,
    ) -> Result<oneshot::Receiver<CommandResult>, Unreachable> {
        let mut devices = lock(&self.devices);
        let connection = devices.get_mut(&id).and_then(|entry| entry.connection.as_mut()).ok_or(Unreachable)?;
        Ok(connection.command(message)?.1)
    }

    /// Sends a command whose answer is followed by log lines.
    pub(crate) fn command_for_log(&self, id: DeviceId, message: RelayMessage) -> Result<LogAnswer, Unreachable> {
        let mut devices = lock(&self.devices);
        let connection = devices.get_mut(&id).and_then(|entry| entry.connection.as_mut()).ok_or(Unreachable)?;
        let (message_id, answer) = connection.command(message)?;
        let (lines, chunks) = mpsc::channel(LOG_CHUNKS);
        connection.logs.retain(|_, waiting| !waiting.is_closed());
        connection.logs.insert(message_id, lines);
        Ok(LogAnswer { answer, chunks })
    }

    /// Who waits for these log lines of a device; forgotten with the last of them.
    pub(crate) fn log_wanted(&self, id: DeviceId, chunk: &LogChunk) -> Option<mpsc::Sender<LogChunk>> {
        let mut devices = lock(&self.devices);
        let connection = devices.get_mut(&id)?.connection.as_mut()?;
        if chunk.last {
            connection.logs.remove(&chunk.request_id)
        } else {
            connection.logs.get(&chunk.request_id).cloned()
        }
    }

    /// A device answered a command. Whether somebody waited for it.
    pub(crate) fn answered(&self, id: DeviceId, message_id: MessageId, result: CommandResult) -> bool {
        let mut devices = lock(&self.devices);
        let connection = devices.get_mut(&id).and_then(|entry| entry.connection.as_mut());
        let waiting = connection.and_then(|connection| connection.pending.remove(&message_id));
        waiting.is_some_and(|waiting| waiting.send(result).is_ok())
    }
}

impl Connection {
    fn command(&mut self, message: RelayMessage) -> Result<(MessageId, oneshot::Receiver<CommandResult>), Unreachable> {
        let message_id = MessageId(Uuid::now_v7());
        self.send(message_id, message)?;
        let (answer, answered) = oneshot::channel();
        self.pending.retain(|_, waiting| !waiting.is_closed());
        self.pending.insert(message_id, answer);
        Ok((message_id, answered))
    }

    fn send(&self, id: MessageId, message: RelayMessage) -> Result<(), Unreachable> {
        let type_name = strata_control::Message::type_name(&message);
        match Envelope::new(id, Timestamp::now(), message).encode() {
            // A full queue means that the device takes nothing: its silence will close the connection.
            Ok(text) => self.outgoing.try_send(Outgoing::Text(text)).map_err(|_| Unreachable),
            Err(error) => {
                tracing::error!(%error, type_name, "a message to a device cannot be sent");
                Err(Unreachable)
            }
        }
    }

    fn close(self, reason: &str) {
        // An error says that the connection is gone, which is what is wanted.
        drop(self.outgoing.try_send(Outgoing::Close { reason: reason.to_owned() }));
    }
}
