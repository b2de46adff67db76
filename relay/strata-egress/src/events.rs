//! What the parts of the worker have to tell the relay.

use strata_control::EndReason;
use strata_worker_protocol::WorkerEvent;
use tokio::sync::mpsc;

/// More errors than this at once say nothing new; each is in the log as well.
const BOUND: usize = 64;

/// Sends events towards the relay; never blocks.
#[derive(Debug, Clone)]
pub struct Events {
    sender: mpsc::Sender<WorkerEvent>,
}

impl Events {
    /// A sender and where the events come out.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<WorkerEvent>) {
        let (sender, receiver) = mpsc::channel(BOUND);
        (Self { sender }, receiver)
    }

    /// Logs an error and tells the relay, if it is connected.
    pub fn error(&self, reason: EndReason, message: String) {
        tracing::error!("{message}");
        // When the channel is full or closed, the log has it.
        self.sender.try_send(WorkerEvent::Error { reason, message, fatal: false }).ok();
    }
}
