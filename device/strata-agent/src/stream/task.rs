//! The life of one stream: its encoder is started, restarted after crashes, and ended for good once.
//!
//! Owns the order of things around the encoder's process. What happens while an
//! encoder is connected is in [`super::serve`]; the links are in [`super::paths`].

use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use strata_control::{
    CommandResult, EncoderState, EndReason, ExitStatus, RefusedCode, RunningStream, StreamEnded, StreamId, StreamStats,
};
use strata_encoder_protocol::EncoderConfig;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Duration, Instant};

use super::client::EncoderConnection;
use super::paths::Paths;
use super::process::Process;
use super::record::{ProcessIdentity, StreamRecord};
use super::restart::{Decision, RestartPolicy};
use super::{COMMAND_BOUND, StreamCommand, StreamContext, StreamEvent, StreamHandle, refused, report};
use crate::program;

/// An encoder opens its socket before it touches GStreamer; a loaded machine may take long.
const OPEN_LIMIT: Duration = Duration::from_secs(15);
/// How often the socket of an encoder that starts is tried.
const OPEN_INTERVAL: Duration = Duration::from_millis(30);

/// How a stream's task begins.
#[derive(Debug)]
pub enum Begin {
    /// A new stream; who asked hears whether its encoder was started.
    Fresh(oneshot::Sender<CommandResult>),
    /// The encoder of a former agent.
    Adopted(Box<EncoderConnection>),
    /// The encoder of a former agent that has not opened its socket yet.
    Awaited(ProcessIdentity),
    /// The encoder of a former agent ended while there was none.
    Gone,
}

/// Starts a stream's task.
#[must_use]
pub fn spawn(context: Arc<StreamContext>, record: StreamRecord, begin: Begin) -> StreamHandle {
    let (commands, received) = mpsc::channel(COMMAND_BOUND);
    let desired = record.start.clone();
    let task = StreamTask {
        paths: Paths::new(Arc::clone(&context), desired.stream_id),
        context,
        record,
        commands: received,
        policy: RestartPolicy::default(),
        state: EncoderState::Starting,
        stats: None,
        forwarded: None,
        stop: None,
    };
    let status = task.status();
    StreamHandle { desired, status, moves: false, commands, task: tokio::spawn(task.run(begin)) }
}

/// One stream.
pub(super) struct StreamTask {
    pub(super) context: Arc<StreamContext>,
    /// What is wanted, and what the next agent must know.
    pub(super) record: StreamRecord,
    pub(super) commands: mpsc::Receiver<StreamCommand>,
    pub(super) paths: Paths,
    policy: RestartPolicy,
    pub(super) state: EncoderState,
    /// The last numbers of this encoder.
    pub(super) stats: Option<StreamStats>,
    /// When numbers were last handed on.
    pub(super) forwarded: Option<Instant>,
    pub(super) stop: Option<Stop>,
}

/// The stream was told to stop.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) reason: EndReason,
    pub(super) detail: String,
    pub(super) replies: Vec<oneshot::Sender<CommandResult>>,
}

/// How an encoder's time was over.
pub(super) enum Outcome {
    /// The stream ended.
    Ended(StreamEnded),
    /// The encoder failed.
    Crashed(Crash),
    /// The encoder must be another one.
    Replace(&'static str),
}

/// An encoder's failure.
pub(super) struct Crash {
    pub(super) why: String,
    pub(super) status: Option<ExitStatus>,
    /// How long it had sent pictures.
    pub(super) ran: Duration,
    /// Its own last lines, where it could still say them.
    pub(super) log: Vec<String>,
}

/// An encoder's process, and its connection once there is one.
pub(super) struct Run {
    pub(super) process: Process,
    pub(super) connection: Option<EncoderConnection>,
}

impl StreamTask {
    fn id(&self) -> StreamId {
        self.record.start.stream_id
    }

    async fn run(mut self, begin: Begin) {
        let Some(ended) = self.supervise(begin).await else {
            self.paths.close().await;
            self.context.records.remove(self.id());
            self.tell(StreamEvent::NotStarted).await;
            return;
        };
        tracing::info!(stream = %self.id(), reason = ?ended.reason, "the stream ended: {}", ended.detail);
        crate::files::remove_or_log(&self.context.socket(self.id()));
        self.paths.close().await;
        self.tell(StreamEvent::Ended(ended)).await;
        for reply in self.stop.take().map(|stop| stop.replies).unwrap_or_default() {
            answer(reply, CommandResult::Done);
        }
    }

    /// Runs encoders until the stream's end; none when not even the first one could be started.
    async fn supervise(&mut self, begin: Begin) -> Option<StreamEnded> {
        let mut next = match begin {
            Begin::Fresh(reply) => match self.start_encoder().await {
                Ok(run) => {
                    answer(reply, CommandResult::Done);
                    Ok(run)
                }
                Err((code, error)) => {
                    tracing::warn!(stream = %self.id(), "the stream was not started: {error:#}");
                    answer(reply, refused(code, format!("{error:#}")));
                    return None;
                }
            },
            Begin::Adopted(connection) => self.adopt(*connection).await,
            Begin::Awaited(identity) => Process::adopt(identity)
                .map(|process| Run { process, connection: None })
                .ok_or_else(|| gone("the encoder ended while no agent ran")),
            Begin::Gone => Err(gone("the encoder ended while no agent ran")),
        };
        loop {
            let outcome = match next {
                Ok(run) => self.run_encoder(run).await,
                Err(crash) => Outcome::Crashed(crash),
            };
            let (why, wait) = match outcome {
                Outcome::Ended(ended) => return Some(ended),
                Outcome::Replace(why) => (why.to_owned(), Duration::ZERO),
                Outcome::Crashed(crash) => match self.decide(&crash) {
                    Some(wait) => (crash.why, wait),
                    None => return Some(self.given_up(crash)),
                },
            };
            self.will_restart(why).await;
            if self.wait(wait).await {
                return Some(self.stopped(None));
            }
            next = self.start_encoder().await.map_err(|(_, error)| gone(format!("{error:#}")));
        }
    }

    async fn adopt(&mut self, connection: EncoderConnection) -> Result<Run, Crash> {
        let process = Process::adopt_pid(connection.pid).ok_or_else(|| gone("the encoder is gone"))?;
        tracing::info!(stream = %self.id(), pid = connection.pid, "a running encoder was taken over");
        // The encoder knows best what it does; what links were set for the stream it does not know.
        let links = std::mem::take(&mut self.record.start.links);
        self.record.start = connection.start.clone();
        self.record.start.links = links;
        self.record.process = Some(process.identity());
        self.context.records.write(&self.record);
        self.paths.reopen(&mut self.record).await;
        Ok(Run { process, connection: Some(connection) })
    }

    async fn start_encoder(&mut self) -> Result<Run, (RefusedCode, anyhow::Error)> {
        let config = &self.context.config;
        let program = program::find(program::ENCODER, "encoder_program", config.encoder_program.as_deref())
            .map_err(|error| (RefusedCode::Failed, error))?;
        let links = self.paths.open(&mut self.record).await.map_err(|error| (RefusedCode::NoLinks, error))?;
        let start = self.record.start.clone();
        let socket = self.context.socket(self.id());
        let encoder = EncoderConfig {
            stream_id: start.stream_id,
            socket: socket.clone(),
            key_file: config.key_file(),
            worker_key: start.worker_key,
            source: start.source.clone(),
            settings: start.encoder,
            links,
            record_to: start.record_locally.then(|| self.recording()),
            start,
            orphan_timeout_s: config.orphan_timeout_s,
        };
        let log = self.context.new_log(&format!("encoder-{}.log", self.id()));
        let started = async {
            crate::files::remove(&socket)?;
            Process::start(&program, &encoder, log.as_deref()).await.context("the encoder cannot be started")
        };
        let process = started.await.map_err(|error| (RefusedCode::Failed, error))?;
        self.record.process = Some(process.identity());
        self.context.records.write(&self.record);
        self.stats = None;
        self.set_state(EncoderState::Starting).await;
        Ok(Run { process, connection: None })
    }

    fn recording(&self) -> std::path::PathBuf {
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let stream = self.id().to_string();
        self.context.config.media_dir.join(format!("recording-{time}-{}.ts", &stream[stream.len() - 8..]))
    }

    async fn run_encoder(&mut self, run: Run) -> Outcome {
        let Run { mut process, connection } = run;
        let mut connection = match connection {
            Some(connection) => connection,
            None => match self.connect(&mut process).await {
                Ok(Some(connection)) => connection,
                Ok(None) => {
                    let status = process.end().await;
                    return Outcome::Ended(self.stopped(status));
                }
                Err(why) => {
                    let status = process.kill().await;
                    let why = if status.is_some() { report::how_it_ended(status) + " while it started" } else { why };
                    return Outcome::Crashed(Crash { status, ..gone(why) });
                }
            },
        };
        loop {
            match self.serve(&mut connection, &mut process).await {
                super::serve::Served::Outcome(outcome) => return self.close(outcome, process).await,
                // The connection broke, the process did not: another try.
                super::serve::Served::Disconnected { ran } => match self.connect(&mut process).await {
                    Ok(Some(again)) => connection = again,
                    Ok(None) => {
                        let status = process.end().await;
                        return Outcome::Ended(self.stopped(status));
                    }
                    Err(_) => {
                        let status = process.kill().await;
                        let why = report::how_it_ended(status);
                        return Outcome::Crashed(Crash { status, ran, ..gone(why) });
                    }
                },
            }
        }
    }

    /// Sees to the process after the last word over its connection.
    async fn close(&mut self, outcome: Outcome, process: Process) -> Outcome {
        const LAST_WORK: Duration = Duration::from_secs(5);
        match outcome {
            Outcome::Ended(ended) => {
                let status = process.end_within(LAST_WORK).await;
                let status = status.or(ended.exit_status);
                // A failure that the encoder itself noticed is a failure all the same: it is started again.
                if ended.reason == EndReason::EncoderFailed && self.stop.is_none() {
                    let ran = Duration::from_millis(ended.duration_ms);
                    return Outcome::Crashed(Crash { why: ended.detail, status, ran, log: ended.log });
                }
                Outcome::Ended(self.completed(ended, status))
            }
            Outcome::Crashed(crash) => {
                let status = process.kill().await;
                Outcome::Crashed(Crash { status, ..crash })
            }
            Outcome::Replace(why) => {
                process.end().await;
                Outcome::Replace(why)
            }
        }
    }

    /// Waits for the encoder's hello; none when the stream was stopped meanwhile.
    async fn connect(&mut self, process: &mut Process) -> Result<Option<EncoderConnection>, String> {
        let socket = self.context.socket(self.id());
        let deadline = Instant::now() + OPEN_LIMIT;
        loop {
            let ended = process.has_ended();
            match EncoderConnection::open(&socket).await {
                Ok(connection) => return Ok(Some(connection)),
                Err(_) if ended => return Err("the encoder is gone".to_owned()),
                Err(error) if Instant::now() > deadline => {
                    return Err(format!("the encoder did not open its socket: {error:#}"));
                }
                Err(_) => {}
            }
            if self.wait(OPEN_INTERVAL).await {
                return Ok(None);
            }
        }
    }

    /// Waits while no encoder is connected; true when the stream was told to stop.
    async fn wait(&mut self, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        while self.stop.is_none() {
            match time::timeout_at(deadline, self.commands.recv()).await {
                Err(_) => return false,
                // The agent's end aborts this task; until then there is nobody to listen to.
                Ok(None) => std::future::pending().await,
                Ok(Some(command)) => self.command_without_encoder(command).await,
            }
        }
        true
    }

    async fn command_without_encoder(&mut self, command: StreamCommand) {
        match command {
            StreamCommand::Stop { reason, detail, reply } => self.will_stop(reason, detail, reply),
            StreamCommand::Switch { reply, .. } => {
                answer(reply, refused(RefusedCode::Busy, "the encoder is being started: try again in a few seconds"));
            }
            StreamCommand::Apply { start, reply } => {
                self.record.start = *start;
                self.desired_changed().await;
                answer(reply, CommandResult::Done);
            }
            StreamCommand::Update { bitrate, latency_ms, links, reply } => {
                let encoder = &mut self.record.start.encoder;
                encoder.bitrate = bitrate.unwrap_or(encoder.bitrate);
                encoder.latency_ms = latency_ms.unwrap_or(encoder.latency_ms);
                super::plan::merge_policies(&mut self.record.start.links, &links);
                self.desired_changed().await;
                answer(reply, CommandResult::Done);
            }
        }
    }

    pub(super) fn will_stop(&mut self, reason: EndReason, detail: String, reply: oneshot::Sender<CommandResult>) {
        let stop = self.stop.get_or_insert_with(|| Stop { reason, detail, replies: vec![] });
        stop.replies.push(reply);
    }

    fn decide(&mut self, crash: &Crash) -> Option<Duration> {
        let (policy, decision) = self.policy.crashed(crash.ran);
        self.policy = policy;
        match decision {
            Decision::Restart(wait) => Some(wait),
            Decision::GiveUp => None,
        }
    }

    async fn will_restart(&mut self, why: String) {
        tracing::warn!(stream = %self.id(), restarts = self.record.restarts + 1, "the encoder is started again: {why}");
        self.record.restarts += 1;
        self.record.last_restart = Some(why);
        self.record.earlier_bytes += self.stats.take().map_or(0, |stats| stats.encoder.bytes);
        self.context.records.write(&self.record);
        self.set_state(EncoderState::Restarting).await;
    }

    pub(super) async fn set_state(&mut self, state: EncoderState) {
        self.state = state;
        self.tell(StreamEvent::Status(self.status())).await;
    }

    /// What is wanted has changed: the next agent and this one must know.
    pub(super) async fn desired_changed(&mut self) {
        self.context.records.write(&self.record);
        self.tell(StreamEvent::Desired(self.record.start.clone())).await;
        self.tell(StreamEvent::Status(self.status())).await;
    }

    fn status(&self) -> RunningStream {
        RunningStream {
            stream_id: self.id(),
            state: self.state,
            source: self.record.start.source.clone(),
            started_at: self.record.started_at,
            restarts: self.record.restarts,
            last_restart: self.record.last_restart.clone(),
        }
    }

    pub(super) async fn tell(&self, event: StreamEvent) {
        // A closed channel means that the agent ends, which aborts this task.
        if self.context.events.send((self.id(), event)).await.is_err() {
            tracing::debug!(stream = %self.id(), "the agent no longer listens");
        }
    }

    fn given_up(&self, crash: Crash) -> StreamEnded {
        let detail = format!(
            "{}; it was started again {} times in a row and failed each time",
            crash.why,
            RestartPolicy::MAX_IN_A_ROW
        );
        let ended = StreamEnded { log: crash.log, ..self.end_report(EndReason::EncoderFailed, detail) };
        self.completed(ended, crash.status)
    }

    /// The report of a stream that was told to stop while no encoder could say so itself.
    pub(super) fn stopped(&self, status: Option<ExitStatus>) -> StreamEnded {
        let (reason, detail) = match &self.stop {
            Some(stop) => (stop.reason, stop.detail.clone()),
            None => (EndReason::Other, "the stream was stopped".to_owned()),
        };
        self.completed(self.end_report(reason, detail), status)
    }

    fn end_report(&self, reason: EndReason, detail: String) -> StreamEnded {
        let bytes = self.stats.as_ref().map_or(0, |stats| stats.encoder.bytes);
        StreamEnded { stream_id: self.id(), reason, detail, duration_ms: 0, bytes, exit_status: None, log: vec![] }
    }

    /// An encoder's report made the stream's: it may not have been the first encoder.
    fn completed(&self, ended: StreamEnded, status: Option<ExitStatus>) -> StreamEnded {
        let duration = Timestamp::now().duration_since(self.record.started_at);
        let log = if ended.log.is_empty() { report::last_lines(&self.context.log(self.id())) } else { ended.log };
        StreamEnded {
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(0),
            bytes: ended.bytes + self.record.earlier_bytes,
            exit_status: status.or(ended.exit_status),
            log,
            ..ended
        }
    }
}

pub(super) fn gone(why: impl Into<String>) -> Crash {
    Crash { why: why.into(), status: None, ran: Duration::ZERO, log: vec![] }
}

/// Answers a command; nobody waits any more when the relay's connection is gone.
pub(super) fn answer(reply: oneshot::Sender<CommandResult>, result: CommandResult) {
    if reply.send(result).is_err() {
        tracing::debug!("nobody waits for the command's result any more");
    }
}
