//! The relay's commands, each with its answer.

use std::future::Future;
use std::sync::Arc;

use strata_control::{
    AgentRollback, CommandResult, ConfigUpdate, DeviceDiagnose, DeviceMessage, DeviceReboot, DeviceReset,
    DiagnoseResult, LogRequest, MessageId, RefusedCode, RelayMessage, StreamStart, StreamStop,
};
use strata_update_protocol::Request;
use tokio::sync::oneshot;

use super::image::install;
use super::{Agent, Reply};
use crate::diagnose::{self, Surroundings};
use crate::relay::Outgoing;
use crate::stream::{self, Begin, StreamCommand, StreamRecord, merge_policies, refused};
use crate::{journal, logs};

/// Lines that one `log.request` gives at most.
const MAX_LINES: u32 = 10_000;
/// How much of a log's end is read for it.
const MAX_LOG_BYTES: u64 = 2 * 1024 * 1024;

/// Makes a result the answer of one message type.
type Wrap = fn(CommandResult) -> DeviceMessage;

/// Who is answered, and how.
struct Asked {
    id: MessageId,
    outgoing: Outgoing,
    wrap: Wrap,
}

impl Agent {
    /// Does what the relay says, and sees that it is answered.
    pub(super) fn command(&mut self, id: MessageId, outgoing: Outgoing, message: RelayMessage) {
        let asked = |wrap| Asked { id, outgoing: outgoing.clone(), wrap };
        match message {
            RelayMessage::StreamStart(start) => self.start_stream(asked(DeviceMessage::StreamStartResponse), start),
            RelayMessage::StreamStop(stop) => self.stop_stream(asked(DeviceMessage::StreamStopResponse), stop),
            RelayMessage::SourceSwitch(switch) => {
                let asked = asked(DeviceMessage::SourceSwitchResponse);
                match self.streams.get(&switch.stream_id) {
                    Some(handle) => {
                        let result = handle.command(|reply| StreamCommand::Switch { source: switch.source, reply });
                        self.answer_later(asked, result);
                    }
                    None => self.answer(asked, no_such_stream()),
                }
            }
            RelayMessage::ConfigUpdate(update) => self.update(asked(DeviceMessage::ConfigUpdateResponse), update),
            RelayMessage::NetworkApply(_) => {
                let why = "this agent does not set up networks: use the system's own tools on the device";
                self.answer(asked(DeviceMessage::NetworkApplyResponse), refused(RefusedCode::Unsupported, why));
            }
            RelayMessage::AgentUpdate(update) => {
                tracing::info!(version = update.version, from = update.bundle_url, "the relay wants an update");
                self.image_command(asked(DeviceMessage::AgentUpdateResponse), install(update));
            }
            RelayMessage::AgentRollback(AgentRollback { even_if_live }) => {
                self.image_command(asked(DeviceMessage::AgentRollbackResponse), Request::Rollback { even_if_live });
            }
            RelayMessage::DeviceReboot(DeviceReboot { even_if_live }) => {
                self.image_command(asked(DeviceMessage::DeviceRebootResponse), Request::Reboot { even_if_live });
            }
            RelayMessage::DeviceReset(DeviceReset { keep_identity }) => {
                // Whoever means it stops the stream first: the command has no word for a live one.
                let request = Request::Reset { keep_identity, even_if_live: false };
                self.image_command(asked(DeviceMessage::DeviceResetResponse), request);
            }
            RelayMessage::LogRequest(request) => self.send_log(id, outgoing, &request),
            RelayMessage::DeviceDiagnose(diagnose) => self.diagnose(id, outgoing, diagnose),
            // Not commands; the caller has dealt with them.
            RelayMessage::AuthLoginResponse(_)
            | RelayMessage::AuthSession(_)
            | RelayMessage::StreamEndedResponse(_)
            | RelayMessage::Error(_) => {}
        }
    }

    fn start_stream(&mut self, asked: Asked, start: StreamStart) {
        let stream_id = start.stream_id;
        if let Err(error) = start.encoder.validate() {
            return self.answer(asked, refused(RefusedCode::InvalidSettings, error.to_string()));
        }
        if let Some(handle) = self.streams.get(&stream_id) {
            let start = Box::new(start);
            let result = handle.command(|reply| StreamCommand::Apply { start, reply });
            return self.answer_later(asked, result);
        }
        if let Some(ended) = self.ended.get(stream_id) {
            let why = format!("this stream has ended here: {}", ended.detail);
            self.answer(asked, refused(RefusedCode::Failed, why));
            return self.report_ends();
        }
        tracing::info!(stream = %stream_id, source = ?start.source, receive = ?start.receive, "a stream starts");
        let (reply, result) = oneshot::channel();
        let record = StreamRecord::new(start);
        let handle = stream::spawn(Arc::clone(&self.context), record, Begin::Fresh(reply));
        self.streams.insert(stream_id, handle);
        self.answer_later(asked, result);
        self.streams_changed();
    }

    fn stop_stream(&mut self, asked: Asked, stop: StreamStop) {
        let StreamStop { stream_id, reason, detail } = stop;
        match self.streams.get(&stream_id) {
            Some(handle) => {
                tracing::info!(stream = %stream_id, ?reason, "the relay stops the stream: {detail}");
                let result = handle.command(|reply| StreamCommand::Stop { reason, detail, reply });
                self.answer_later(asked, result);
            }
            None => self.answer(asked, CommandResult::Done),
        }
    }

    fn update(&mut self, asked: Asked, update: ConfigUpdate) {
        let ConfigUpdate { stream_id, bitrate, latency_ms, links, ap_policy } = update;
        if let Some(Err(error)) = bitrate.map(|bitrate| bitrate.validate()) {
            return self.answer(asked, refused(RefusedCode::InvalidSettings, error.to_string()));
        }
        let handle = match stream_id {
            Some(id) => match self.streams.get(&id) {
                Some(handle) => Some(handle),
                None => return self.answer(asked, no_such_stream()),
            },
            None if bitrate.is_some() || latency_ms.is_some() => {
                let why = "a bitrate or latency without a stream: name the stream it is for";
                return self.answer(asked, refused(RefusedCode::InvalidSettings, why));
            }
            None => None,
        };
        if let (Some(handle), Some(latency_ms)) = (handle, latency_ms) {
            let encoder = strata_control::EncoderSettings { latency_ms, ..handle.desired.encoder };
            if let Err(error) = encoder.validate() {
                return self.answer(asked, refused(RefusedCode::InvalidSettings, error.to_string()));
            }
        }
        // Links of one stream, or of the whole device: what is set for a stream counts before the rest.
        let of_stream = if handle.is_some() { links.clone() } else { vec![] };
        let result = handle.map(|handle| {
            handle.command(|reply| StreamCommand::Update { bitrate, latency_ms, links: of_stream, reply })
        });
        self.keep_config(if result.is_some() { &[] } else { &links }, ap_policy);
        match result {
            Some(result) => self.answer_later(asked, result),
            None => self.answer(asked, CommandResult::Done),
        }
        self.status_is_due();
        self.publish();
    }

    /// Keeps settings of the whole device: they hold while the relay is away.
    fn keep_config(&mut self, links: &[strata_control::LinkPolicy], ap_policy: Option<strata_control::ApPolicy>) {
        self.surroundings.send_if_modified(|surroundings| {
            let before = surroundings.policies.clone();
            merge_policies(&mut surroundings.policies, links);
            surroundings.policies != before
        });
        let Some(enrolled) = &mut self.enrolled else { return };
        let before = enrolled.clone();
        merge_policies(&mut enrolled.config.links, links);
        enrolled.config.ap_policy = ap_policy.unwrap_or(enrolled.config.ap_policy);
        if *enrolled != before
            && let Err(error) = self.enrolment.write(enrolled)
        {
            tracing::error!("the settings hold until the agent ends: {error:#}");
        }
    }

    /// The update daemon does it, and answers.
    fn image_command(&mut self, asked: Asked, request: Request) {
        let result = self.image.command(request);
        self.reply(asked, result);
    }

    fn send_log(&mut self, id: MessageId, outgoing: Outgoing, request: &LogRequest) {
        let lines = request.lines.min(MAX_LINES) as usize;
        let kept = match request.stream_id {
            None => Ok(self.log.newest(lines)),
            Some(stream_id) => logs::tail(&self.context.log(stream_id), lines, MAX_LOG_BYTES),
        };
        // On an image the agent's own log is part of the whole system's.
        let whole_system = self.image.is_ours && request.stream_id.is_none();
        self.replies.spawn(async move {
            let lines = match whole_system {
                true => journal::newest(journal::PROGRAM, lines).await.or_else(|error| {
                    tracing::warn!("only the agent's own log is sent: {error:#}");
                    kept
                }),
                false => kept,
            };
            Reply { id, outgoing, messages: log_messages(id, lines) }
        });
    }

    fn diagnose(&mut self, id: MessageId, outgoing: Outgoing, wanted: DeviceDiagnose) {
        let surroundings = Surroundings {
            config: self.context.config.clone(),
            relay: self.relay.url.clone(),
            simulate: self.context.simulate,
            inventory: Arc::clone(&self.told),
            policies: self.surroundings.borrow().policies.clone(),
            used_inputs: self.streams.values().map(|stream| stream.status.source.clone()).collect(),
            clock_offset_ms: self.relay.clock_offset_ms,
        };
        self.replies.spawn(async move {
            let report = diagnose::run(&surroundings, &wanted.checks).await;
            let result = DiagnoseResult::Done { report };
            Reply { id, outgoing, messages: vec![DeviceMessage::DeviceDiagnoseResponse(result)] }
        });
    }

    fn answer(&mut self, asked: Asked, result: CommandResult) {
        self.reply(asked, async { result });
    }

    fn answer_later(&mut self, asked: Asked, result: oneshot::Receiver<CommandResult>) {
        self.reply(asked, async {
            result
                .await
                .unwrap_or_else(|_| refused(RefusedCode::Failed, "the stream ended, or is too busy for more commands"))
        });
    }

    fn reply(&mut self, asked: Asked, result: impl Future<Output = CommandResult> + Send + 'static) {
        let Asked { id, outgoing, wrap } = asked;
        self.replies.spawn(async move {
            let result = result.await;
            if let CommandResult::Refused { message, .. } = &result {
                tracing::warn!("a command was refused: {message}");
            }
            Reply { id, outgoing, messages: vec![wrap(result)] }
        });
    }
}

/// The answer to `log.request` and the lines after it.
fn log_messages(id: MessageId, lines: anyhow::Result<Vec<String>>) -> Vec<DeviceMessage> {
    match lines {
        Ok(lines) => {
            let chunks = logs::chunks(id, lines).into_iter().map(DeviceMessage::LogChunk);
            [DeviceMessage::LogRequestResponse(CommandResult::Done)].into_iter().chain(chunks).collect()
        }
        Err(error) => {
            let result = refused(RefusedCode::Failed, format!("{error:#}"));
            vec![DeviceMessage::LogRequestResponse(result)]
        }
    }
}

fn no_such_stream() -> CommandResult {
    refused(RefusedCode::StreamUnknown, "no such stream runs on this device")
}
