//! Streams as people ask for them and see them.

use strata_control::{
    CommandResult, ConfigUpdate, DeviceId, DeviceStatus, MediaInputStatus, RelayMessage, Source, SourceSwitch, StreamId,
};
use strata_relay_db::{
    AuditEntry, DbError, DeviceRecord, NewStream, Role, StreamConfig, StreamRecord, StreamSelection, StreamState,
};
use strata_worker_protocol::WorkerCommand;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{StreamMessage, restore};
use crate::devices::NO_DEVICE;
use crate::inner::{Inner, require};
use crate::worker::WorkerMode;
use crate::{
    Actor, Fleet, FleetError, FleetEvent, PlayTarget, StartStream, StreamDestination, StreamEventView, StreamFilter,
    StreamUpdate, StreamView, token,
};

const NO_STREAM: FleetError = FleetError::NotFound { what: "stream" };
/// Streams in a list when no limit is given, and at most.
const LIST_LIMITS: (u32, u32) = (100, 1_000);
/// Lines of a timeline shown at most; the newest.
const TIMELINE_LINES: u32 = 1_000;

impl Fleet {
    /// Starts a stream. Returns when the request is stored; the stream's state tells the rest. For operators.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::NotFound`]; [`FleetError::DeviceOffline`] or
    /// [`FleetError::Conflict`] say what is in the way; [`FleetError::Invalid`] names the setting.
    pub async fn start_stream(
        &self,
        actor: &Actor,
        device: DeviceId,
        start: StartStream,
    ) -> Result<StreamId, FleetError> {
        require(actor, Role::Operator)?;
        let record = self.inner.db.device(actor.owner_id, device).await?.ok_or(NO_DEVICE)?;
        let Some(device_key) = record.public_key.filter(|_| record.revoked_at.is_none()) else {
            return Err(conflict(format!("{} is not enrolled: enrol it with a token first", record.name)));
        };
        let now = self.inner.devices.now(device);
        if !now.online {
            return Err(FleetError::DeviceOffline { device: record.name });
        }
        start.settings.validate().map_err(|error| FleetError::Invalid { message: error.to_string() })?;
        check_source(&record.name, &start.source, now.status.as_ref().map(|(status, _)| status))?;
        let destinations = self.inner.choose_destinations(actor.owner_id, &start.destinations).await?;
        let stream = NewStream {
            id: StreamId(Uuid::now_v7()),
            device,
            config: StreamConfig {
                source: start.source,
                settings: start.settings,
                links: start.links,
                destinations,
                record_locally: start.record_locally,
            },
            play_key: token::new_play_key(),
            started_by: actor.name.clone(),
        };
        self.inner.begin_stream(actor, &record, &stream).await?;
        let stored = self.inner.db.stream(actor.owner_id, stream.id).await?.ok_or(NO_STREAM)?;
        restore(&self.inner, stored, device_key, WorkerMode::Start);
        let event = FleetEvent::StreamChanged {
            stream_id: stream.id,
            device_id: device,
            state: StreamState::Requested,
            stalled: false,
        };
        self.inner.events.tell(actor.owner_id, event);
        Ok(stream.id)
    }

    /// Stops a stream. Returns when that is stored; one that is over already is a success. For operators.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::NotFound`], or the storage failed.
    pub async fn stop_stream(&self, actor: &Actor, id: StreamId) -> Result<(), FleetError> {
        require(actor, Role::Operator)?;
        let record = self.inner.db.stream(actor.owner_id, id).await?.ok_or(NO_STREAM)?;
        if record.state.is_over() {
            return Ok(());
        }
        let (stored, wait) = oneshot::channel();
        let entry = Inner::audit(actor, "stream.stop", format!("stream of {}", record.device_name), id.to_string());
        let message = StreamMessage::Stop { who: actor.name.clone(), entry, stored };
        if !self.inner.streams.tell(id, message).await {
            return Ok(());
        }
        // A task that ended meanwhile has nothing left to stop.
        wait.await.unwrap_or(Ok(()))
    }

    /// Streams of the actor's owner, newest first.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn streams(&self, actor: &Actor, filter: StreamFilter) -> Result<Vec<StreamView>, FleetError> {
        let (default, most) = LIST_LIMITS;
        let selection = StreamSelection {
            device: filter.device,
            over: filter.over,
            limit: filter.limit.unwrap_or(default).min(most),
        };
        let records = self.inner.db.streams(actor.owner_id, selection).await?;
        Ok(records.into_iter().map(|record| self.inner.stream_view(record, false)).collect())
    }

    /// One stream with its numbers and their history.
    ///
    /// # Errors
    /// [`FleetError::NotFound`], or the storage failed.
    pub async fn stream(&self, actor: &Actor, id: StreamId) -> Result<StreamView, FleetError> {
        let record = self.inner.db.stream(actor.owner_id, id).await?.ok_or(NO_STREAM)?;
        let mut view = self.inner.stream_view(record, true);
        if view.state.is_over() {
            view.log = self.inner.db.stream_log(actor.owner_id, id).await?;
        }
        Ok(view)
    }

    /// A stream's timeline, oldest first.
    ///
    /// # Errors
    /// [`FleetError::NotFound`], or the storage failed.
    pub async fn stream_events(&self, actor: &Actor, id: StreamId) -> Result<Vec<StreamEventView>, FleetError> {
        self.inner.db.stream(actor.owner_id, id).await?.ok_or(NO_STREAM)?;
        let events = self.inner.db.stream_events(actor.owner_id, id, TIMELINE_LINES).await?;
        let view = |event: strata_relay_db::StreamEventRecord| StreamEventView {
            id: event.id,
            at: event.at,
            kind: event.kind,
            text: event.text,
        };
        Ok(events.into_iter().map(view).collect())
    }

    /// Changes the source of a live stream. Returns when the device acknowledged it. For operators.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::NotFound`]; [`FleetError::Conflict`] when the stream does not run or
    /// the source is not there; [`FleetError::DeviceRefused`], [`FleetError::DeviceSilent`].
    pub async fn switch_source(&self, actor: &Actor, id: StreamId, source: Source) -> Result<(), FleetError> {
        require(actor, Role::Operator)?;
        let record = self.running_stream(actor, id).await?;
        let status = self.inner.devices.now(record.device).status;
        check_source(&record.device_name, &source, status.as_ref().map(|(status, _)| status))?;
        let switch = RelayMessage::SourceSwitch(SourceSwitch { stream_id: id, source: source.clone() });
        self.inner.command(record.device, &record.device_name, switch).await?;
        let config = StreamConfig { source, ..record.config.clone() };
        let text = format!("{} switched the source to {}", actor.name, source_text(&config.source));
        let target = format!("stream of {}", record.device_name);
        let entry = Inner::audit(actor, "stream.switch_source", target, source_text(&config.source));
        self.inner.reconfigure(record, config, Vec::new(), (&text, &entry)).await
    }

    /// Changes a live stream's settings. Returns when the device acknowledged them. For operators.
    ///
    /// # Errors
    /// As [`switch_source`](Self::switch_source); [`FleetError::Invalid`] names the setting.
    pub async fn update_stream(&self, actor: &Actor, id: StreamId, update: StreamUpdate) -> Result<(), FleetError> {
        require(actor, Role::Operator)?;
        let record = self.running_stream(actor, id).await?;
        let mut config = record.config.clone();
        if let Some(bitrate) = update.bitrate {
            config.settings.bitrate = bitrate;
        }
        if let Some(latency_ms) = update.latency_ms {
            config.settings.latency_ms = latency_ms;
        }
        config.settings.validate().map_err(|error| FleetError::Invalid { message: error.to_string() })?;
        for link in &update.links {
            config.links.retain(|known| known.interface != link.interface);
            config.links.push(link.clone());
        }
        let mut commands = Vec::new();
        if let Some(ids) = &update.destinations {
            config.destinations = self.inner.choose_destinations(actor.owner_id, ids).await?;
            let destinations = self.inner.open_destinations(actor.owner_id, &config.destinations).await?;
            commands.push(WorkerCommand::UpdateForward { destinations });
        }
        if let Some(latency_ms) = update.latency_ms {
            commands.push(WorkerCommand::SetLatency { latency_ms });
        }
        if update.bitrate.is_some() || update.latency_ms.is_some() || !update.links.is_empty() {
            let message = RelayMessage::ConfigUpdate(ConfigUpdate {
                stream_id: Some(id),
                bitrate: update.bitrate,
                latency_ms: update.latency_ms,
                links: update.links.clone(),
                ap_policy: None,
            });
            self.inner.command(record.device, &record.device_name, message).await?;
        }
        let text = format!("{} changed {}", actor.name, update_text(&update));
        let target = format!("stream of {}", record.device_name);
        let entry = Inner::audit(actor, "stream.update", target, update_text(&update));
        self.inner.reconfigure(record, config, commands, (&text, &entry)).await
    }

    async fn running_stream(&self, actor: &Actor, id: StreamId) -> Result<StreamRecord, FleetError> {
        let record = self.inner.db.stream(actor.owner_id, id).await?.ok_or(NO_STREAM)?;
        match record.state {
            StreamState::Starting | StreamState::Live => Ok(record),
            other => Err(conflict(format!("the stream is {other}: it has to run for that"))),
        }
    }

    /// The stream of a player page. The key is the permission.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn play(&self, play_key: &str) -> Result<Option<PlayTarget>, FleetError> {
        let record = self.inner.db.stream_by_play_key(play_key).await?;
        Ok(record.map(|record| PlayTarget {
            stream_id: record.id,
            hls_folder: self.inner.config.hls_folder(record.id),
            state: record.state,
            stalled: self.inner.streams.is_stalled(record.id),
            is_test_pattern: record.config.source == Source::TestPattern,
            device_name: record.device_name,
            reason: record.reason,
            live_at: record.live_at,
        }))
    }
}

impl Inner {
    async fn begin_stream(&self, actor: &Actor, device: &DeviceRecord, stream: &NewStream) -> Result<(), FleetError> {
        let source = source_text(&stream.config.source);
        let line = format!("{} asked for a stream of {source}", actor.name);
        let detail = format!("{}, {source}", stream.id);
        let entry = Self::audit(actor, "stream.start", format!("stream of {}", device.name), detail);
        match self.db.add_stream(stream, &line, &entry).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NO_DEVICE),
            Err(DbError::Taken { .. }) => {
                Err(conflict(format!("{} has a stream already: stop that one first", device.name)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Stores a hot change, which the device has acknowledged, and tells the stream's task.
    async fn reconfigure(
        &self,
        mut record: StreamRecord,
        config: StreamConfig,
        commands: Vec<WorkerCommand>,
        (text, entry): (&str, &AuditEntry),
    ) -> Result<(), FleetError> {
        let event = self.db.change_stream_config(record.id, &config, text, entry).await?;
        record.config = config;
        let id = record.id;
        let message = StreamMessage::Reconfigured { record: Box::new(record), commands, event };
        // A stream that ended meanwhile keeps what was stored.
        self.streams.tell(id, message).await;
        Ok(())
    }

    /// Tells a device and waits until it acknowledged: a command has succeeded when it was acknowledged.
    pub(crate) async fn command(&self, device: DeviceId, name: &str, message: RelayMessage) -> Result<(), FleetError> {
        let offline = || FleetError::DeviceOffline { device: name.to_owned() };
        let answer = self.devices.command(device, message).map_err(|_| offline())?;
        let limit = self.config.timing.acknowledge;
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(CommandResult::Done)) => Ok(()),
            Ok(Ok(CommandResult::Refused { code, message })) => Err(FleetError::DeviceRefused { code, message }),
            // The connection closed before the answer came.
            Ok(Err(_)) => Err(offline()),
            Err(_) => Err(FleetError::DeviceSilent { waited: limit }),
        }
    }

    /// Closes a device's connection and ends its stream: its key is revoked.
    pub(crate) async fn expel(&self, device: DeviceId, detail: &str) {
        self.devices.close(device, "the key of this device was revoked");
        if let Some(id) = self.streams.of_device(device) {
            let (stored, wait) = oneshot::channel();
            let message = StreamMessage::Expelled { detail: detail.to_owned(), stored };
            if self.streams.tell(id, message).await {
                // An error says that the task ended, which is what is wanted.
                drop(wait.await);
            }
        }
    }

    fn stream_view(&self, record: StreamRecord, with_history: bool) -> StreamView {
        let now = if record.state.is_over() { None } else { self.streams.numbers(record.id, with_history) };
        let (live, stalled) = now.map_or((None, false), |(numbers, stalled)| (Some(numbers), stalled));
        let sent = live.as_ref().and_then(|live| live.stats.as_ref()).map_or(0, |stats| stats.value.encoder.bytes);
        let destinations = record.config.destinations.into_iter();
        StreamView {
            id: record.id,
            device_id: record.device,
            device_name: record.device_name,
            device_online: self.devices.is_online(record.device),
            state: record.state,
            stalled,
            reason: record.reason,
            detail: record.detail,
            log: Vec::new(),
            is_test_pattern: record.config.source == Source::TestPattern,
            source: record.config.source,
            settings: record.config.settings,
            links: record.config.links,
            destinations: destinations.map(|chosen| StreamDestination { id: chosen.id, name: chosen.name }).collect(),
            record_locally: record.config.record_locally,
            started_by: record.started_by,
            stopped_by: record.stopped_by,
            requested_at: record.requested_at,
            live_at: record.live_at,
            ended_at: record.ended_at,
            bytes: record.bytes.max(sent),
            play_key: record.play_key,
            port: record.port,
            live,
        }
    }
}

fn conflict(message: String) -> FleetError {
    FleetError::Conflict { message }
}

/// Whether the device has this source and can use it now.
fn check_source(device: &str, source: &Source, status: Option<&DeviceStatus>) -> Result<(), FleetError> {
    if *source == Source::TestPattern {
        return Ok(());
    }
    let Some(status) = status else {
        return Err(conflict(format!("{device} has not reported its inputs yet: try again in a few seconds")));
    };
    match source {
        Source::TestPattern => Ok(()),
        Source::Camera { input } => match status.media_inputs.iter().find(|known| known.id == *input) {
            None => Err(conflict(format!("{device} has no input “{input}”: choose one of its list"))),
            Some(known) if known.status == MediaInputStatus::Busy => {
                Err(conflict(format!("{} of {device} is in use by something else", known.label)))
            }
            Some(known) if known.status == MediaInputStatus::NoSignal => {
                Err(conflict(format!("{} of {device} has no signal: check what is plugged in", known.label)))
            }
            Some(_) => Ok(()),
        },
        Source::File { path } => {
            if status.saved_media.iter().any(|media| media.path == *path) {
                return Ok(());
            }
            Err(conflict(format!("{device} has no media file “{path}”: choose one of its list")))
        }
    }
}

/// A source as people read it.
fn source_text(source: &Source) -> String {
    match source {
        Source::TestPattern => "the TEST PATTERN".to_owned(),
        Source::Camera { input } => format!("camera {input}"),
        Source::File { path } => format!("file {path}"),
    }
}

fn update_text(update: &StreamUpdate) -> String {
    let mut parts = Vec::new();
    if let Some(bitrate) = update.bitrate {
        parts.push(format!(
            "the bitrate to {}–{} kbit/s (target {})",
            bitrate.floor_bps / 1_000,
            bitrate.ceiling_bps / 1_000,
            bitrate.target_bps / 1_000
        ));
    }
    if let Some(latency_ms) = update.latency_ms {
        parts.push(format!("the latency to {latency_ms} ms"));
    }
    for link in &update.links {
        parts.push(format!("link {} ({})", link.interface, if link.enabled { "on" } else { "off" }));
    }
    if update.destinations.is_some() {
        parts.push("the destinations".to_owned());
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}
