//! What a device says of its stream, and what it is told.

use std::time::Instant;

use jiff::Timestamp;
use strata_control::{
    CommandResult, EncoderState, EndReason, ExitStatus, LinkState, MessageId, ReceiveAddress, RefusedCode,
    RelayMessage, RunningStream, StreamEnded, StreamEndedAck, StreamStart, StreamStats, StreamStop,
};
use strata_relay_db::StreamState;

use super::actor::{StreamActor, StreamMessage};
use crate::worker::WorkerOrder;

impl StreamActor {
    pub(super) async fn runs(&mut self, report: RunningStream) {
        self.last_report = Instant::now();
        self.show(|shown| shown.misses = 0);
        let before = self.encoder.replace((report.state, report.restarts));
        self.show(|shown| shown.live.encoder_restarts = report.restarts);
        let Some((state, restarts)) = before else { return };
        if report.restarts > restarts {
            let why = report.last_restart.as_deref().unwrap_or("no reason was given");
            let text = format!("the device started the encoder again ({} times so far): {why}", report.restarts);
            self.line("device", text).await;
        }
        if report.state == EncoderState::NoInput && state != EncoderState::NoInput {
            self.line("device", "the encoder runs, but its source gives nothing".to_owned()).await;
        }
    }

    pub(super) async fn gone(&mut self, reason: EndReason) {
        if self.state == StreamState::Stopping {
            self.device_done().await;
        } else if self.is_active() {
            let detail = format!("{} no longer runs the stream and gave no reason", self.record.device_name);
            self.end(reason, detail, Vec::new()).await;
        }
    }

    pub(super) async fn stats(&mut self, stats: StreamStats) {
        self.last_report = Instant::now();
        if std::mem::take(&mut self.bytes_restored) {
            self.bytes.0 = self.bytes.0.saturating_sub(stats.encoder.bytes);
        }
        if stats.encoder.bytes < self.bytes.1 {
            self.bytes.0 += self.bytes.1;
        }
        self.bytes.1 = stats.encoder.bytes;
        let links: Vec<(u8, LinkState)> = stats.links.iter().map(|link| (link.id, link.state)).collect();
        let before = std::mem::replace(&mut self.links, links);
        for link in &stats.links {
            let former = before.iter().find(|(id, _)| *id == link.id).map(|(_, state)| *state);
            let text = match (former, link.state) {
                (Some(LinkState::Dead), LinkState::Up) => "carries its share again",
                (Some(former), LinkState::Dead) if former != LinkState::Dead => "is dead",
                _ => continue,
            };
            self.line("link", format!("link {} ({}) {text}", link.id, link.interface)).await;
        }
        let at = Timestamp::now();
        self.show(|shown| shown.live.keep_stats(stats, at));
    }

    pub(super) async fn ended_by_device(&mut self, ended: StreamEnded, message_id: MessageId) {
        let total = ended.bytes.max(self.bytes.0 + self.bytes.1);
        self.bytes = (total, 0);
        if self.state == StreamState::Stopping {
            self.device_done().await;
        } else if self.is_active() {
            let mut detail = ended.detail;
            match ended.exit_status {
                Some(ExitStatus { code: Some(code), .. }) => {
                    detail.push_str(&format!(" (exit code {code})"));
                }
                Some(ExitStatus { signal: Some(signal), .. }) => {
                    detail.push_str(&format!(" (signal {signal})"));
                }
                _ => {}
            }
            if !self.end(ended.reason, detail, ended.log).await {
                // Not stored: the device repeats it.
                return;
            }
        }
        let ack = RelayMessage::StreamEndedResponse(StreamEndedAck { stream_id: self.id() });
        if self.inner.devices.send(self.record.device, message_id, ack).is_err() {
            tracing::debug!(stream = %self.id(), "the device left before its end was acknowledged: it repeats it");
        }
    }

    pub(super) async fn device_left(&mut self) {
        if self.state == StreamState::Stopping {
            self.device_done().await;
        } else if self.is_active() {
            let text = "the device's control connection is lost; media is not concerned by that".to_owned();
            self.line("device", text).await;
        }
    }

    pub(super) async fn answered(&mut self, start: bool, result: Option<CommandResult>) {
        self.show(|shown| shown.command_pending = false);
        if !start {
            // Whatever the answer: told it was, and the reports say the rest.
            if self.state == StreamState::Stopping {
                self.device_done().await;
            }
            return;
        }
        match result {
            Some(CommandResult::Done) if self.is_active() => {
                self.line("device", format!("{} accepted the stream", self.record.device_name)).await;
            }
            Some(CommandResult::Refused { code, message }) if self.is_active() => {
                self.end(refused_reason(code), message, Vec::new()).await;
            }
            Some(CommandResult::Done | CommandResult::Refused { .. }) => {}
            None if self.is_active() => {
                let text = "the device did not answer: it is told again when it reports".to_owned();
                self.line("device", text).await;
            }
            None => {}
        }
    }

    pub(super) fn tell_start(&self) {
        let Some(port) = self.record.port else { return };
        let config = &self.record.config;
        let start = StreamStart {
            stream_id: self.id(),
            source: config.source.clone(),
            encoder: config.settings,
            receive: ReceiveAddress { host: self.inner.config.public_host.clone(), ports: vec![port] },
            worker_key: self.worker_key,
            links: config.links.clone(),
            record_locally: config.record_locally,
        };
        self.command(true, RelayMessage::StreamStart(start));
    }

    pub(super) fn tell_stop(&self) {
        self.tell_stop_for(EndReason::StoppedByUser, self.stopped_detail());
    }

    pub(super) fn tell_stop_for(&self, reason: EndReason, detail: String) {
        self.command(false, RelayMessage::StreamStop(StreamStop { stream_id: self.id(), reason, detail }));
    }

    pub(super) fn stopped_detail(&self) -> String {
        match &self.record.stopped_by {
            Some(who) => format!("stopped by {who}"),
            None => "stopped".to_owned(),
        }
    }

    /// Tells the device; its answer comes through the mailbox.
    pub(super) fn command(&self, start: bool, message: RelayMessage) {
        self.show(|shown| shown.command_pending = true);
        let answer = self.inner.devices.command(self.record.device, message);
        let (mailbox, limit) = (self.to_self.clone(), self.inner.config.timing.acknowledge);
        let closing = self.inner.closing.clone();
        self.inner.tasks.spawn(async move {
            let answered = async {
                match answer {
                    Ok(answer) => tokio::time::timeout(limit, answer).await.ok().and_then(Result::ok),
                    Err(_) => None,
                }
            };
            tokio::select! {
                // A task that is gone needs no answer.
                result = answered => drop(mailbox.send(StreamMessage::Answered { start, result }).await),
                () = closing.cancelled() => {}
            }
        });
    }

    /// The device no longer runs the stream, or cannot be waited for: now the worker may end.
    pub(super) async fn device_done(&mut self) {
        self.stop_asked = None;
        self.order(WorkerOrder::Stop).await;
    }
}

fn refused_reason(code: RefusedCode) -> EndReason {
    match code {
        RefusedCode::SourceMissing => EndReason::SourceMissing,
        RefusedCode::SourceUnreadable => EndReason::SourceUnreadable,
        RefusedCode::PluginMissing => EndReason::PluginMissing,
        RefusedCode::NoLinks => EndReason::NoLinks,
        RefusedCode::Unsupported
        | RefusedCode::InvalidSettings
        | RefusedCode::StreamUnknown
        | RefusedCode::Busy
        | RefusedCode::Failed
        | RefusedCode::Other => EndReason::RefusedByDevice,
    }
}
