//! Every stream that is not over, and the way to its task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use strata_control::{DeviceId, StreamId};
use strata_relay_db::StreamState;
use tokio::sync::mpsc;

use super::live::Live;
use super::{Desired, StreamMessage};
use crate::LiveNumbers;
use crate::inner::lock;

/// What a stream's task shows to others.
pub(crate) struct Shown {
    pub(crate) state: StreamState,
    pub(crate) stalled: bool,
    pub(crate) command_pending: bool,
    pub(crate) misses: u32,
    pub(crate) live: Live,
}

impl Shown {
    pub(crate) fn new(state: StreamState) -> Self {
        Self { state, stalled: false, command_pending: false, misses: 0, live: Live::default() }
    }
}

#[derive(Clone)]
pub(crate) struct StreamHandle {
    pub(crate) device: DeviceId,
    pub(crate) mailbox: mpsc::Sender<StreamMessage>,
    pub(crate) shown: Arc<Mutex<Shown>>,
}

/// The streams that are not over.
#[derive(Default)]
pub(crate) struct Streams {
    handles: Mutex<HashMap<StreamId, StreamHandle>>,
}

impl Streams {
    pub(crate) fn insert(&self, id: StreamId, handle: StreamHandle) {
        lock(&self.handles).insert(id, handle);
    }

    pub(crate) fn remove(&self, id: StreamId) {
        lock(&self.handles).remove(&id);
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<StreamHandle> {
        lock(&self.handles).get(&id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.handles).values().filter(|handle| !lock(&handle.shown).state.is_over()).count()
    }

    /// Whether the stream is this device's.
    pub(crate) fn belongs(&self, id: StreamId, device: DeviceId) -> bool {
        lock(&self.handles).get(&id).is_some_and(|handle| handle.device == device)
    }

    /// The device's stream that is not over.
    pub(crate) fn of_device(&self, device: DeviceId) -> Option<StreamId> {
        let handles = lock(&self.handles);
        let found = handles.iter().find(|(_, handle)| handle.device == device && !lock(&handle.shown).state.is_over());
        found.map(|(id, _)| *id)
    }

    /// What is desired of a device.
    pub(crate) fn desired_of(&self, device: DeviceId) -> Vec<Desired> {
        let handles = lock(&self.handles);
        let of_device = handles.iter().filter(|(_, handle)| handle.device == device);
        of_device
            .map(|(id, handle)| {
                let shown = lock(&handle.shown);
                Desired { id: *id, state: shown.state, command_pending: shown.command_pending, misses: shown.misses }
            })
            .collect()
    }

    /// Tells a stream's task. False when it is over.
    pub(crate) async fn tell(&self, id: StreamId, message: StreamMessage) -> bool {
        let Some(handle) = self.get(id) else { return false };
        handle.mailbox.send(message).await.is_ok()
    }

    /// Tells a stream's task something that comes again: it may be lost when the task is behind.
    pub(crate) fn tell_lossy(&self, device: DeviceId, id: StreamId, message: StreamMessage) {
        let Some(handle) = self.get(id).filter(|handle| handle.device == device) else { return };
        if handle.mailbox.try_send(message).is_err() {
            tracing::debug!(stream = %id, "a stream's task is behind: numbers were left out");
        }
    }

    /// The device logged in.
    pub(crate) fn device_came(&self, device: DeviceId) {
        self.tell_device(device, || StreamMessage::DeviceCame);
    }

    /// The device's control connection is gone.
    pub(crate) fn device_left(&self, device: DeviceId) {
        self.tell_device(device, || StreamMessage::DeviceLeft);
    }

    fn tell_device(&self, device: DeviceId, message: impl Fn() -> StreamMessage) {
        for (id, handle) in lock(&self.handles).iter().filter(|(_, handle)| handle.device == device) {
            if handle.mailbox.try_send(message()).is_err() {
                tracing::debug!(stream = %id, "a stream's task is behind");
            }
        }
    }

    /// Datagrams that viewers of all streams lost, and that were handed on in time.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let handles = lock(&self.handles);
        handles.values().fold((0, 0), |(lost, delivered), handle| {
            let shown = lock(&handle.shown);
            let receiver = shown.live.worker().map(|worker| worker.receiver).unwrap_or_default();
            (lost + receiver.lost, delivered + receiver.delivered)
        })
    }

    /// The numbers of a stream and whether it is stalled; none when it is over.
    pub(crate) fn numbers(&self, id: StreamId, with_history: bool) -> Option<(LiveNumbers, bool)> {
        let handle = self.get(id)?;
        let shown = lock(&handle.shown);
        (!shown.state.is_over()).then(|| (shown.live.view(Timestamp::now(), with_history), shown.stalled))
    }

    /// Whether a stream is stalled.
    pub(crate) fn is_stalled(&self, id: StreamId) -> bool {
        self.get(id).is_some_and(|handle| lock(&handle.shown).stalled)
    }
}
