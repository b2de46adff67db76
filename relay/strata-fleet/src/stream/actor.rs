//! The task that owns one stream: its state, its worker, what its device is told.
//!
//! Everything that may change the stream comes through its mailbox, its
//! worker's notes or its clock, one after the other; [`StreamActor::change`]
//! is the one place where its state changes. It never waits for a device:
//! commands run beside it and their results come through the mailbox.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use strata_control::{
    CommandResult, EncoderState, EndReason, LinkState, MessageId, RunningStream, StreamEnded, StreamId, StreamStats,
};
use strata_identity::PublicKey;
use strata_relay_db::{
    AuditEntry, Database, DbError, Desired, StreamChange, StreamEnd, StreamEventRecord, StreamRecord, StreamState,
};
use strata_worker_protocol::WorkerCommand;
use tokio::sync::{mpsc, oneshot};

use super::registry::{Shown, StreamHandle};
use super::state::{Change, next, reason_text};
use crate::inner::{Inner, lock};
use crate::worker::{WorkerHandle, WorkerMode, WorkerOrder, WorkerPlan, supervise};
use crate::{FleetError, FleetEvent, StreamEventView};

/// Messages that wait: some seconds of numbers, and the few that people cause.
const MAILBOX: usize = 64;
/// How long a device that is told to stop may take before the worker is stopped under it.
pub(super) const DEVICE_STOP: Duration = Duration::from_secs(5);
/// Input older than this is no input.
pub(super) const INPUT_FRESH_MS: u64 = 3_000;
/// Bytes are stored this often, in seconds.
pub(super) const STORE_BYTES_EVERY: u32 = 30;

/// What a stream's task is told.
pub(crate) enum StreamMessage {
    /// Somebody wants it to end; answered when that is stored.
    Stop { who: String, entry: AuditEntry, stored: oneshot::Sender<Result<(), FleetError>> },
    /// The device may no longer run it.
    Expelled { detail: String, stored: oneshot::Sender<()> },
    /// The device says that it runs it.
    Runs(Box<RunningStream>),
    /// The device does not run it, for the first time.
    Missing,
    /// The device should run it and does not.
    StartAgain,
    /// The device should no longer run it and does.
    StopAgain,
    /// The device no longer runs it.
    Gone(EndReason),
    /// The device's numbers.
    Stats(Box<StreamStats>),
    /// The device ended it; acknowledged when that is stored.
    EndedByDevice { ended: Box<StreamEnded>, message_id: MessageId },
    /// The device's control connection is open.
    DeviceCame,
    /// The device's control connection is gone.
    DeviceLeft,
    /// The device's answer to start or stop; none when there was none.
    Answered { start: bool, result: Option<CommandResult> },
    /// Its stored configuration changed; this is for the worker.
    Reconfigured { record: Box<StreamRecord>, commands: Vec<WorkerCommand>, event: StreamEventRecord },
}

pub(crate) struct StreamActor {
    pub(super) inner: Arc<Inner>,
    pub(super) record: StreamRecord,
    pub(super) state: StreamState,
    pub(super) shown: Arc<Mutex<Shown>>,
    pub(super) mailbox: mpsc::Receiver<StreamMessage>,
    pub(super) to_self: mpsc::Sender<StreamMessage>,
    pub(super) worker: WorkerHandle,
    pub(super) worker_key: PublicKey,
    pub(super) worker_gone: bool,
    /// When somebody asked for the end, while the device may still run it.
    pub(super) stop_asked: Option<Instant>,
    pub(super) last_input: Instant,
    pub(super) last_report: Instant,
    /// Bytes of the encoder's former lives, and of its present one.
    pub(super) bytes: (u64, u64),
    /// Whether `bytes` is what was stored before the relay's restart, and may hold some of the present life's.
    pub(super) bytes_restored: bool,
    pub(super) seconds: u32,
    /// The encoder's state in the device's last report.
    pub(super) encoder: Option<(EncoderState, u32)>,
    pub(super) links: Vec<(u8, LinkState)>,
}

/// Starts the task of a stream: a new one, or one that is not over since before the relay's restart.
pub(crate) fn restore(inner: &Arc<Inner>, record: StreamRecord, device_key: PublicKey, mode: WorkerMode) {
    let id = record.id;
    let (to_self, mailbox) = mpsc::channel(MAILBOX);
    let shown = Arc::new(Mutex::new(Shown::new(record.state)));
    let plan = WorkerPlan { stream: id, owner: record.owner, device_key, port: record.port, mode };
    let handle = StreamHandle { device: record.device, mailbox: to_self.clone(), shown: shown.clone() };
    inner.streams.insert(id, handle);
    let now = Instant::now();
    let actor = StreamActor {
        inner: inner.clone(),
        state: record.state,
        shown,
        mailbox,
        to_self,
        worker: supervise(inner, plan),
        worker_key: inner.secrets.worker_key(id).public(),
        worker_gone: false,
        stop_asked: (record.state == StreamState::Stopping).then_some(now),
        last_input: now,
        last_report: now,
        bytes: (record.bytes, 0),
        bytes_restored: true,
        seconds: 0,
        encoder: None,
        links: Vec::new(),
        record,
    };
    inner.tasks.spawn(actor.run());
}

impl StreamActor {
    async fn run(mut self) {
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let closing = self.inner.closing.clone();
        while !(self.state.is_over() && self.worker_gone) {
            tokio::select! {
                // First: what follows from the relay's own end must not be taken for the stream's.
                biased;
                () = closing.cancelled() => {
                    self.store_bytes().await;
                    return;
                }
                message = self.mailbox.recv() => match message {
                    Some(message) => self.receive(message).await,
                    None => break,
                },
                note = self.worker.notes.recv(), if !self.worker_gone => match note {
                    Some(note) => self.note(note).await,
                    None => self.worker_ended().await,
                },
                _ = clock.tick() => self.second().await,
            }
        }
        self.inner.streams.remove(self.record.id);
    }

    pub(super) fn id(&self) -> StreamId {
        self.record.id
    }

    pub(super) fn is_active(&self) -> bool {
        !self.state.is_over()
    }

    /// The one place where a stream's state changes. False when the change is not in the table, or was not stored.
    pub(super) async fn change(&mut self, change: Change, with: With) -> Result<bool, FleetError> {
        let to = match next(self.state, change) {
            Ok(to) => to,
            Err(refused) => {
                tracing::debug!(stream = %self.id(), %refused, "refused");
                return Ok(false);
            }
        };
        let stored = StreamChange {
            from: self.state,
            to,
            desired: (to == StreamState::Stopping || to.is_over()).then_some(Desired::Stop),
            end: with.end,
            stopped_by: with.stopped_by,
            bytes: self.bytes.0 + self.bytes.1,
            at: Timestamp::now(),
            line: with.line,
        };
        let event = self.inner.db.change_stream(self.id(), &stored, with.entry.as_ref()).await?;
        let Some(event) = event else {
            tracing::warn!(stream = %self.id(), from = %self.state, %to, "the stored stream is in another state");
            // Deleted meanwhile: nothing is left to change.
            self.state = StreamState::Failed;
            self.show(|shown| shown.state = StreamState::Failed);
            self.order(WorkerOrder::Stop).await;
            return Ok(false);
        };
        tracing::info!(stream = %self.id(), from = %self.state, %to, reason = stored.line, "stream");
        self.state = to;
        self.show(|shown| {
            shown.state = to;
            shown.stalled = false;
        });
        self.tell_changed();
        self.tell_line(event);
        Ok(true)
    }

    /// Like [`change`](Self::change), for changes that nobody waits for: a failure of the storage is logged, and the
    /// next report or second tries again.
    pub(super) async fn change_quietly(&mut self, change: Change, with: With) -> bool {
        match self.change(change, with).await {
            Ok(changed) => changed,
            Err(error) => {
                tracing::error!(stream = %self.id(), error = %chain(&error), "a stream's state cannot be stored");
                false
            }
        }
    }

    /// The stream is over. Whoever still runs it is told to stop.
    pub(super) async fn end(&mut self, reason: EndReason, detail: String, log: Vec<String>) -> bool {
        let line = match reason {
            EndReason::StoppedByUser => capital(&detail),
            _ => format!("{}: {detail}", capital(reason_text(reason))),
        };
        let end = StreamEnd { reason, detail, log };
        let with = With { end: Some(end.clone()), line, ..With::default() };
        let changed = self.change_quietly(Change::Over(reason), with).await;
        if changed {
            self.order(WorkerOrder::Stop).await;
        }
        changed
    }

    pub(super) fn show(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut lock(&self.shown));
    }

    pub(super) fn tell_changed(&self) {
        let event = FleetEvent::StreamChanged {
            stream_id: self.id(),
            device_id: self.record.device,
            state: self.state,
            stalled: lock(&self.shown).stalled,
        };
        self.inner.events.tell(self.record.owner, event);
    }

    pub(super) fn tell_line(&self, event: StreamEventRecord) {
        let line = StreamEventView { id: event.id, at: event.at, kind: event.kind, text: event.text };
        let event = FleetEvent::StreamTimeline { stream_id: self.id(), device_id: self.record.device, line };
        self.inner.events.tell(self.record.owner, event);
    }

    /// Adds a line to the timeline.
    pub(super) async fn line(&self, kind: &str, text: String) {
        tracing::info!(stream = %self.id(), kind, text, "stream");
        match add_line(&self.inner.db, self.id(), kind, &text).await {
            Ok(event) => self.tell_line(event),
            Err(error) => tracing::error!(stream = %self.id(), %error, "a stream's timeline cannot be written"),
        }
    }

    pub(super) async fn receive(&mut self, message: StreamMessage) {
        match message {
            StreamMessage::Stop { who, entry, stored } => {
                let result = self.stop(who, entry).await;
                // Whoever asked may have gone.
                drop(stored.send(result));
            }
            StreamMessage::Expelled { detail, stored } => {
                self.end(EndReason::DeviceRevoked, detail, Vec::new()).await;
                if stored.send(()).is_err() {
                    tracing::debug!(stream = %self.id(), "nobody waits for the end any more");
                }
            }
            StreamMessage::Runs(report) => self.runs(*report).await,
            StreamMessage::Missing => self.show(|shown| shown.misses += 1),
            StreamMessage::StartAgain if self.state == StreamState::Starting => self.tell_start(),
            StreamMessage::StopAgain if self.state == StreamState::Stopping => self.tell_stop(),
            StreamMessage::StartAgain | StreamMessage::StopAgain => {}
            StreamMessage::Gone(reason) => self.gone(reason).await,
            StreamMessage::Stats(stats) => self.stats(*stats).await,
            StreamMessage::EndedByDevice { ended, message_id } => self.ended_by_device(*ended, message_id).await,
            StreamMessage::DeviceCame => {
                if self.is_active() && self.state != StreamState::Requested {
                    self.line("device", "the device's control connection is back".to_owned()).await;
                }
            }
            StreamMessage::DeviceLeft => self.device_left().await,
            StreamMessage::Answered { start, result } => self.answered(start, result).await,
            StreamMessage::Reconfigured { record, commands, event } => {
                self.record = *record;
                for command in commands {
                    self.order(WorkerOrder::Tell(command)).await;
                }
                self.tell_line(event);
                self.tell_changed();
            }
        }
    }

    pub(super) async fn stop(&mut self, who: String, entry: AuditEntry) -> Result<(), FleetError> {
        if self.state.is_over() || self.state == StreamState::Stopping {
            return Ok(());
        }
        let line = format!("{who} asked for the end");
        let with = With { stopped_by: Some(who.clone()), entry: Some(entry), line, ..With::default() };
        if self.change(Change::StopAsked, with).await? {
            self.record.stopped_by = Some(who);
            self.stop_asked = Some(Instant::now());
            self.tell_stop();
        }
        Ok(())
    }

    pub(super) async fn store_bytes(&self) {
        let bytes = self.bytes.0 + self.bytes.1;
        if let Err(error) = self.inner.db.set_stream_bytes(self.id(), bytes).await {
            tracing::error!(stream = %self.id(), %error, "a stream's bytes cannot be stored");
        }
    }
}

/// What goes with a change of state.
#[derive(Default)]
pub(super) struct With {
    pub(super) line: String,
    pub(super) end: Option<StreamEnd>,
    pub(super) stopped_by: Option<String>,
    pub(super) entry: Option<AuditEntry>,
}

async fn add_line(db: &Database, id: StreamId, kind: &str, text: &str) -> Result<StreamEventRecord, DbError> {
    db.add_stream_event(id, kind, text, Timestamp::now()).await
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// An error with its causes, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
