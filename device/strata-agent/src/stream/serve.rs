//! What happens while an encoder is connected: its events, the relay's commands,
//! changing links, and whether it still shows signs of life.

use strata_control::{CommandResult, EncoderState, RefusedCode, Source, StreamStart, StreamStats};
use strata_encoder_protocol::{EncoderCommand, EncoderEvent, SourceError};
use tokio::sync::oneshot;
use tokio::time::{self, Duration, Instant, MissedTickBehavior};

use super::client::EncoderConnection;
use super::plan::{Change, Plan, merge_policies, plan};
use super::process::{Process, wait_until};
use super::task::{Outcome, StreamTask, answer, gone};
use super::{StreamCommand, StreamEvent, refused, refused_code, report};

/// Encoders send numbers every second; one that is silent for so long hangs.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);
/// How long an encoder may take to end a stream.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long a source may take to open: a relay waits a little longer for the answer.
const SWITCH_LIMIT: Duration = Duration::from_secs(8);
/// How often silence, links and deadlines are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long after its connection's end a process counts as ending.
const EXIT_LIMIT: Duration = Duration::from_secs(2);

/// How serving ended.
#[allow(clippy::large_enum_variant, reason = "few and short-lived")]
pub(super) enum Served {
    Outcome(Outcome),
    /// The connection broke, the process lives.
    Disconnected {
        ran: Duration,
    },
}

/// The state of one connection.
struct Serving<'a> {
    connection: &'a mut EncoderConnection,
    /// What the encoder does, as far as it was told.
    running: StreamStart,
    heard: Instant,
    /// Since when there are pictures.
    pictures_since: Option<Instant>,
    switch: Option<Switch>,
    stop_deadline: Option<Instant>,
}

/// A change of source under way.
struct Switch {
    source: Source,
    reply: Option<oneshot::Sender<CommandResult>>,
    deadline: Instant,
}

impl Serving<'_> {
    fn ran(&self) -> Duration {
        self.pictures_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Says something to the encoder. A failure shows at the connection's end, which follows.
    async fn say(&mut self, command: &EncoderCommand) -> bool {
        match self.connection.send(command).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!("{error:#}");
                false
            }
        }
    }
}

impl StreamTask {
    /// Serves a connected encoder until its end or the connection's.
    pub(super) async fn serve(&mut self, connection: &mut EncoderConnection, process: &mut Process) -> Served {
        let running = StreamStart { links: self.record.start.links.clone(), ..connection.start.clone() };
        let pictures_since = (connection.state == EncoderState::Running).then(Instant::now);
        let state = connection.state;
        let mut serving =
            Serving { connection, running, heard: Instant::now(), pictures_since, switch: None, stop_deadline: None };
        self.set_state(state).await;
        if self.stop.is_some() {
            self.begin_stop(&mut serving).await;
        }
        // What was wanted while no encoder could be told, and links that changed meanwhile.
        let wanted = self.record.start.clone();
        if let Some(outcome) = self.apply(&mut serving, wanted, None).await {
            return Served::Outcome(outcome);
        }
        self.relink(&mut serving, true).await;
        let mut check = time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut surroundings = self.context.surroundings.clone();
        surroundings.mark_unchanged();
        loop {
            let outcome = tokio::select! {
                event = serving.connection.next() => match event {
                    Some(event) => self.event(&mut serving, event).await,
                    None => return self.disconnected(&mut serving, process).await,
                },
                command = self.commands.recv() => match command {
                    Some(command) => self.command(&mut serving, command).await,
                    None => std::future::pending().await,
                },
                changed = surroundings.changed() => {
                    if changed.is_err() {
                        // The agent ends, which aborts this task.
                        std::future::pending::<()>().await;
                    }
                    self.relink(&mut serving, false).await;
                    None
                }
                _ = check.tick() => self.check(&mut serving).await,
            };
            if let Some(outcome) = outcome {
                return Served::Outcome(outcome);
            }
        }
    }

    async fn event(&mut self, serving: &mut Serving<'_>, event: EncoderEvent) -> Option<Outcome> {
        serving.heard = Instant::now();
        match event {
            EncoderEvent::Hello { .. } => {}
            EncoderEvent::State { state, detail } => {
                tracing::info!(stream = %self.record.start.stream_id, ?state, "{detail}");
                self.state_changed(serving, state).await;
            }
            EncoderEvent::Stats { stats } => self.numbers(serving, stats).await,
            EncoderEvent::SourceSwitched { source, error } => self.switched(serving, source, error).await,
            EncoderEvent::Ended { ended } => return Some(Outcome::Ended(ended)),
        }
        None
    }

    async fn state_changed(&mut self, serving: &mut Serving<'_>, state: EncoderState) {
        if state == EncoderState::Running {
            serving.pictures_since.get_or_insert_with(Instant::now);
        }
        if state != self.state {
            self.set_state(state).await;
        }
    }

    async fn numbers(&mut self, serving: &mut Serving<'_>, mut stats: StreamStats) {
        self.state_changed(serving, stats.encoder.state).await;
        let inventory = self.context.surroundings.borrow().inventory.clone();
        for link in &mut stats.links {
            let interface = inventory.interfaces.iter().find(|interface| interface.name == link.interface);
            link.signal_dbm = interface.and_then(|interface| interface.signal_dbm);
        }
        self.stats = Some(stats.clone());
        // Encoders count every second, give or take: a tenth is no reason to skip one.
        let interval = self.context.config.statistics_interval().mul_f64(0.9);
        if self.forwarded.is_none_or(|forwarded| forwarded.elapsed() >= interval) {
            self.forwarded = Some(Instant::now());
            self.tell(StreamEvent::Stats(stats)).await;
        }
    }

    async fn switched(&mut self, serving: &mut Serving<'_>, source: Source, error: Option<SourceError>) {
        serving.running.source = source.clone();
        let changed = self.record.start.source != source;
        self.record.start.source = source;
        if changed {
            self.desired_changed().await;
        }
        let Some(Switch { reply: Some(reply), .. }) = serving.switch.take() else { return };
        answer(
            reply,
            match error {
                None => CommandResult::Done,
                Some(SourceError { reason, message }) => refused(refused_code(reason), message),
            },
        );
    }

    async fn command(&mut self, serving: &mut Serving<'_>, command: StreamCommand) -> Option<Outcome> {
        match command {
            StreamCommand::Stop { reason, detail, reply } => {
                self.will_stop(reason, detail, reply);
                self.begin_stop(serving).await;
                None
            }
            StreamCommand::Switch { source, reply } => {
                self.begin_switch(serving, source, Some(reply)).await;
                None
            }
            StreamCommand::Apply { start, reply } => self.apply(serving, *start, Some(reply)).await,
            StreamCommand::Update { bitrate, latency_ms, links, reply } => {
                let mut start = self.record.start.clone();
                start.encoder.bitrate = bitrate.unwrap_or(start.encoder.bitrate);
                start.encoder.latency_ms = latency_ms.unwrap_or(start.encoder.latency_ms);
                merge_policies(&mut start.links, &links);
                self.apply(serving, start, Some(reply)).await
            }
        }
    }

    /// Makes the encoder do what is `wanted`, by as little change as possible.
    async fn apply(
        &mut self,
        serving: &mut Serving<'_>,
        wanted: StreamStart,
        reply: Option<oneshot::Sender<CommandResult>>,
    ) -> Option<Outcome> {
        let changes = match plan(&serving.running, &wanted) {
            Plan::Replace(why) => {
                self.record.start = wanted;
                self.desired_changed().await;
                reply.into_iter().for_each(|reply| answer(reply, CommandResult::Done));
                return Some(Outcome::Replace(why));
            }
            Plan::Change(changes) => changes,
        };
        let mut source = None;
        let mut taken = true;
        for change in changes {
            taken &= match change {
                Change::Bitrate(bitrate) => serving.say(&EncoderCommand::SetBitrate { bitrate }).await,
                Change::Latency(latency_ms) => serving.say(&EncoderCommand::SetLatency { latency_ms }).await,
                Change::Links => true,
                Change::Source(wanted) => {
                    source = Some(wanted);
                    true
                }
            };
        }
        let links_changed = wanted.links != self.record.start.links;
        // The source is the encoder's until it says that it switched.
        let start = StreamStart { source: serving.running.source.clone(), ..wanted };
        serving.running.clone_from(&start);
        if start != self.record.start {
            self.record.start = start;
            self.desired_changed().await;
        }
        if links_changed {
            self.relink(serving, false).await;
        }
        match (source, reply) {
            (Some(source), reply) => self.begin_switch(serving, source, reply).await,
            (None, Some(reply)) if taken => answer(reply, CommandResult::Done),
            (None, Some(reply)) => answer(reply, refused(RefusedCode::Failed, "the encoder did not take the change")),
            (None, None) => {}
        }
        None
    }

    async fn begin_switch(
        &mut self,
        serving: &mut Serving<'_>,
        source: Source,
        reply: Option<oneshot::Sender<CommandResult>>,
    ) {
        if let Some(switch) = &serving.switch {
            let message = format!("the change to {:?} is still under way", switch.source);
            reply.into_iter().for_each(|reply| answer(reply, refused(RefusedCode::Busy, message.clone())));
            return;
        }
        let deadline = Instant::now() + SWITCH_LIMIT;
        serving.say(&EncoderCommand::SwitchSource { source: source.clone() }).await;
        serving.switch = Some(Switch { source, reply, deadline });
    }

    async fn begin_stop(&mut self, serving: &mut Serving<'_>) {
        let Some(stop) = &self.stop else { return };
        if serving.stop_deadline.is_some() {
            return;
        }
        serving.stop_deadline = Some(Instant::now() + STOP_LIMIT);
        let command = EncoderCommand::Stop { reason: stop.reason, detail: stop.detail.clone() };
        self.set_state(EncoderState::Stopping).await;
        serving.say(&command).await;
    }

    async fn check(&mut self, serving: &mut Serving<'_>) -> Option<Outcome> {
        let now = Instant::now();
        if serving.stop_deadline.is_some_and(|deadline| now > deadline) {
            return Some(Outcome::Ended(self.stopped(None)));
        }
        if let Some(Switch { reply: Some(reply), .. }) = serving.switch.take_if(|switch| now > switch.deadline) {
            let message = "the encoder did not say whether it changed the source";
            answer(reply, refused(RefusedCode::Failed, message));
        }
        if serving.heard.elapsed() > SILENCE_LIMIT {
            let why = format!("the encoder gave no sign of life for {} s", SILENCE_LIMIT.as_secs());
            return Some(Outcome::Crashed(super::task::Crash { ran: serving.ran(), ..gone(why) }));
        }
        if self.paths.check().await {
            self.relink(serving, true).await;
        }
        None
    }

    /// Tells the encoder its links, when they are others than before.
    async fn relink(&mut self, serving: &mut Serving<'_>, even_if_same: bool) {
        let before = self.record.links.clone();
        let links = self.paths.current(&mut self.record);
        if links.is_empty() {
            tracing::warn!(stream = %self.record.start.stream_id, "no link reaches the relay: the former links are kept");
            return;
        }
        if links == before && !even_if_same {
            return;
        }
        self.record.links.clone_from(&links);
        self.context.records.write(&self.record);
        serving.say(&EncoderCommand::SetLinks { links }).await;
    }

    async fn disconnected(&mut self, serving: &mut Serving<'_>, process: &mut Process) -> Served {
        if let Some(Switch { reply: Some(reply), .. }) = serving.switch.take() {
            answer(reply, refused(RefusedCode::Failed, "the encoder failed while it changed the source"));
        }
        let ended = wait_until(EXIT_LIMIT, || process.has_ended()).await;
        if self.stop.is_some() {
            return Served::Outcome(Outcome::Ended(self.stopped(process.exit_status())));
        }
        if !ended {
            return Served::Disconnected { ran: serving.ran() };
        }
        let status = process.exit_status();
        let crash = super::task::Crash { status, ran: serving.ran(), ..gone(report::how_it_ended(status)) };
        Served::Outcome(Outcome::Crashed(crash))
    }
}
