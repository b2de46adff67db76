//! What a logged-in device says, and what follows.

use jiff::Timestamp;
use strata_control::{
    CommandResult, DeviceMessage, DeviceStatus, DiagnoseResult, EndReason, ErrorCode, MessageId, ProtocolError,
    RefusedCode, RelayMessage, RunningStream, StreamEnded, StreamEndedAck, StreamId, StreamStop, UpdateProgress,
};
use uuid::Uuid;

use super::AgentConnection;
use super::connection::Session;
use crate::FleetEvent;
use crate::stream::{Action, StreamMessage, reason_text, reconcile};

impl AgentConnection {
    pub(super) async fn handle(&mut self, session: &Session, id: MessageId, message: DeviceMessage) {
        self.inner.devices.heard(session.device, Timestamp::now());
        match message {
            DeviceMessage::DeviceStatus(status) => self.status(session, status).await,
            DeviceMessage::StreamStats(stats) => {
                let stream = stats.stream_id;
                self.inner.streams.tell_lossy(session.device, stream, StreamMessage::Stats(Box::new(stats)));
            }
            DeviceMessage::StreamEnded(ended) => self.stream_ended(session, id, ended).await,
            DeviceMessage::StreamStartResponse(result)
            | DeviceMessage::StreamStopResponse(result)
            | DeviceMessage::SourceSwitchResponse(result)
            | DeviceMessage::ConfigUpdateResponse(result)
            | DeviceMessage::NetworkApplyResponse(result)
            | DeviceMessage::AgentUpdateResponse(result)
            | DeviceMessage::AgentRollbackResponse(result)
            | DeviceMessage::DeviceRebootResponse(result)
            | DeviceMessage::DeviceResetResponse(result)
            | DeviceMessage::LogRequestResponse(result) => self.answered(session, id, result),
            DeviceMessage::DeviceDiagnoseResponse(result) => {
                let result = match result {
                    DiagnoseResult::Done { .. } => CommandResult::Done,
                    DiagnoseResult::Refused { code, message } => CommandResult::Refused { code, message },
                };
                self.answered(session, id, result);
            }
            DeviceMessage::Error(error) => {
                tracing::warn!(device = session.name, code = ?error.code, message = error.message,
                    "the device could not read a message");
                let result = CommandResult::Refused { code: RefusedCode::Unsupported, message: error.message };
                self.answered(session, id, result);
            }
            DeviceMessage::UpdateProgress(progress) => self.update_progress(session, progress).await,
            DeviceMessage::LogChunk(chunk) => {
                let taken = match self.inner.devices.log_wanted(session.device, &chunk) {
                    Some(waiting) => waiting.send(chunk).await.is_ok(),
                    None => false,
                };
                if !taken {
                    tracing::debug!(device = session.name, "log lines that nobody waits for");
                }
            }
            // The caller has answered it.
            DeviceMessage::AuthLogin(_) => {
                let message = "this connection is logged in already".to_owned();
                self.send(id, RelayMessage::Error(ProtocolError { code: ErrorCode::BadPayload, message }));
            }
        }
    }

    fn answered(&self, session: &Session, id: MessageId, result: CommandResult) {
        if !self.inner.devices.answered(session.device, id, result) {
            tracing::debug!(device = session.name, %id, "an answer that nobody waits for");
        }
    }

    async fn status(&self, session: &Session, status: DeviceStatus) {
        let now = Timestamp::now();
        let running = status.running_streams.clone();
        if self.inner.devices.keep_status(session.device, status.clone(), now)
            && let Err(error) = self.inner.db.store_device_status(session.device, &status, now, now).await
        {
            tracing::error!(%error, device = session.name, "cannot store a device's status");
        }
        // Before anybody is told, so that whoever looks sees the history with it.
        if let Some(update) = &status.update {
            self.inner.note_update(session.device, &session.name, update).await;
        }
        self.tell_changed(session);
        self.reconcile(session, &running).await;
    }

    async fn update_progress(&self, session: &Session, progress: UpdateProgress) {
        self.inner.note_update(session.device, &session.name, &progress).await;
        self.inner.devices.keep_update(session.device, progress);
        self.tell_changed(session);
    }

    fn tell_changed(&self, session: &Session) {
        let event = FleetEvent::DeviceChanged { device_id: session.device, online: true };
        self.inner.events.tell(session.owner, event);
    }

    /// Brings what runs together with what is desired.
    async fn reconcile(&self, session: &Session, running: &[RunningStream]) {
        let desired = self.inner.streams.desired_of(session.device);
        let ids: Vec<StreamId> = running.iter().map(|stream| stream.stream_id).collect();
        for action in reconcile(&desired, &ids) {
            let (id, message) = match action {
                Action::StopStranger(id) => {
                    self.stop_stranger(session, id).await;
                    continue;
                }
                Action::Adopt(id) => {
                    let Some(report) = running.iter().find(|stream| stream.stream_id == id) else { continue };
                    (id, StreamMessage::Runs(Box::new(report.clone())))
                }
                Action::Miss(id) => (id, StreamMessage::Missing),
                Action::Start(id) => (id, StreamMessage::StartAgain),
                Action::Stop(id) => (id, StreamMessage::StopAgain),
                Action::End(id, reason) => (id, StreamMessage::Gone(reason)),
            };
            self.inner.streams.tell(id, message).await;
        }
    }

    /// The device runs what is over, or what the relay does not know: it is told so, with the reason.
    async fn stop_stranger(&self, session: &Session, id: StreamId) {
        let (reason, detail) = match self.inner.db.stream(session.owner, id).await {
            Ok(Some(stream)) => {
                let reason = stream.reason.unwrap_or(EndReason::StoppedByUser);
                (reason, stream.detail.unwrap_or_else(|| reason_text(reason).to_owned()))
            }
            Ok(None) => (EndReason::Other, "the relay does not know this stream".to_owned()),
            Err(error) => {
                tracing::error!(%error, "cannot look up a stream that a device runs");
                return;
            }
        };
        tracing::info!(device = session.name, stream = %id, detail, "the device runs a stream that is over: stopping it");
        let stop = RelayMessage::StreamStop(StreamStop { stream_id: id, reason, detail });
        if self.inner.devices.send(session.device, MessageId(Uuid::now_v7()), stop).is_err() {
            tracing::debug!(device = session.name, "the device left before it was told");
        }
    }

    /// Stored first, then acknowledged: until then the device repeats it.
    async fn stream_ended(&self, session: &Session, message_id: MessageId, ended: StreamEnded) {
        let id = ended.stream_id;
        if self.inner.streams.belongs(id, session.device) {
            let message = StreamMessage::EndedByDevice { ended: Box::new(ended), message_id };
            if self.inner.streams.tell(id, message).await {
                return;
            }
        }
        // Over already, deleted, or never this device's: nothing to store, and nothing to repeat.
        self.send(message_id, RelayMessage::StreamEndedResponse(StreamEndedAck { stream_id: id }));
    }
}
