//! How the agent ends, and how it ends streams on its own account.

use std::time::Duration;

use strata_control::{EndReason, StreamId};
use tokio::time::{self, Instant};

use super::Agent;
use crate::notify;
use crate::stream::StreamCommand;

/// For all streams to end; an encoder gets less before it is insisted.
const STOP_LIMIT: Duration = Duration::from_secs(12);
/// For the relay to acknowledge the ends; the reports are kept in any case.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(2);

impl Agent {
    /// Tells every stream to stop; their ends follow as events.
    pub(super) fn stop_all(&self, reason: EndReason, detail: &str) {
        for handle in self.streams.values() {
            // The end is an event; nobody waits for this result.
            drop(handle.command(|reply| StreamCommand::Stop { reason, detail: detail.to_owned(), reply }));
        }
    }

    /// A clean end. Without `stop_streams_on_exit` encoders run on, as they do
    /// after a crash, and the next agent takes them over: the relay sees a
    /// connection that closed, which says nothing about streams.
    pub(super) async fn end(mut self) {
        notify::stopping();
        tracing::info!(streams = self.streams.len(), "the agent ends");
        if self.context.config.stop_streams_on_exit {
            self.stop_all(EndReason::DeviceShutdown, "the agent on the device was stopped");
            self.drain(STOP_LIMIT, |agent| agent.streams.is_empty()).await;
            let ended: Vec<StreamId> = self.ended.pending().iter().map(|ended| ended.stream_id).collect();
            self.drain(ACKNOWLEDGE_LIMIT, |agent| ended.iter().all(|id| agent.ended.get(*id).is_none())).await;
        }
        self.state_file.remove();
    }

    /// Goes on with the main loop's work until `done`, or `limit` is over.
    async fn drain(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + limit;
        while !done(self) {
            tokio::select! {
                Some((stream_id, event)) = self.stream_events.recv() => self.stream_event(stream_id, event),
                Some(event) = self.relay.events.recv(), if self.relay.outgoing.is_some() => self.relay_event(event),
                () = time::sleep_until(deadline) => return,
            }
        }
    }
}
