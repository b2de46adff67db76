//! The agent itself: one task that owns the streams, hears the relay and the
//! inventory, and keeps all three in step.
//!
//! Owns the main loop and every decision in it; nothing else changes the
//! agent's state. Waiting is done elsewhere: the connection, each stream and
//! each slow command have tasks of their own, which end with the agent.

mod commands;
mod image;
mod status;
mod stop;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use strata_control::{DeviceMessage, EndReason, Envelope, LinkState, MessageId, RelayMessage, StreamId};
use strata_identity::KeyPair;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::config::{Config, RelayUrl};
use crate::enrolment::{Enrolment, EnrolmentFile};
use crate::inventory::{Inventory, Scanner, SystemProbe};
use crate::lock::Lock;
use crate::logging::LogTail;
use crate::relay::{Connection, Outgoing, ProblemKind, RelayEvent, Settings};
use crate::relay_address::RelayAddress;
use crate::state::{Action, Event, Machine};
use crate::state_file::{LastError, StateFile, StatePublisher};
use crate::stream::{self, EndedStore, Found, RecordStore, StreamContext, StreamEvent, StreamHandle, Surroundings};
use crate::{files, logs, notify, onboarding};

use image::{Image, agent_info};

/// Events of all streams that may wait for the main loop: it is never busy for long.
const STREAM_EVENT_BOUND: usize = 256;
/// Messages from the relay that may wait; more stay in the connection.
const RELAY_EVENT_BOUND: usize = 32;
/// The main loop's own beat where systemd watches nothing.
const BEAT: Duration = Duration::from_secs(10);
/// Between two statuses that tell changes: a burst of changes is one message.
const STATUS_GAP: Duration = Duration::from_millis(200);

/// The running agent.
#[derive(Debug)]
pub struct Agent {
    context: Arc<StreamContext>,
    machine: Machine,
    enrolment: EnrolmentFile,
    enrolled: Option<Enrolment>,
    streams: BTreeMap<StreamId, StreamHandle>,
    stream_events: mpsc::Receiver<(StreamId, StreamEvent)>,
    ended: EndedStore,
    relay: Relay,
    /// Slow commands under way; each yields what to answer.
    replies: JoinSet<Reply>,
    inventory: watch::Receiver<Arc<Inventory>>,
    told: Arc<Inventory>,
    surroundings: watch::Sender<Surroundings>,
    image: Image,
    probe: SystemProbe,
    status_due: Instant,
    status_sent: Instant,
    state_file: StatePublisher,
    /// For whoever sets the device up.
    standing: watch::Sender<onboarding::Standing>,
    log: LogTail,
    /// Tasks that live as long as the agent.
    tasks: JoinSet<()>,
    connection: Option<Connection>,
    _lock: Lock,
}

/// The connection to the relay, as the agent sees it.
#[derive(Debug)]
struct Relay {
    events: mpsc::Receiver<RelayEvent>,
    /// Where it is; none while none is known.
    url: Option<RelayUrl>,
    outgoing: Option<Outgoing>,
    connected_since: Option<Timestamp>,
    last_error: Option<LastError>,
    /// Attempts that failed since the start.
    failures: u64,
    /// The relay's clock ahead of this one, in milliseconds.
    clock_offset_ms: Option<i64>,
}

/// What a slow command gave: messages, the first of which answers `id`, for the connection that asked.
#[derive(Debug)]
struct Reply {
    id: MessageId,
    outgoing: Outgoing,
    messages: Vec<DeviceMessage>,
}

impl Agent {
    /// Takes the lock, reads key and records, takes over running streams.
    ///
    /// # Errors
    /// Whatever keeps the agent from running, with what to do.
    pub async fn start(config: Config, simulate: bool, log: LogTail) -> anyhow::Result<Self> {
        files::private_folder(&config.state_dir)?;
        files::private_folder(&config.run_dir)?;
        let lock = Lock::take(&config.state_dir)?;
        let key = device_key(&config.key_file())?;
        let url = known_relay(&config);
        let enrolment = EnrolmentFile::new(&config.state_dir);
        let enrolled = enrolment.read()?;
        let ended = EndedStore::open(&config.state_dir)?;

        let scanner = Scanner::new(simulate, config.media_dir.clone());
        let seen = Arc::new(scanner.first_look());
        let (inventory_sender, inventory) = watch::channel(Arc::clone(&seen));
        let policies = enrolled.as_ref().map(|enrolled| enrolled.config.links.clone()).unwrap_or_default();
        let (surroundings, watched) = watch::channel(Surroundings { inventory: Arc::clone(&seen), policies });
        let (events, stream_events) = mpsc::channel(STREAM_EVENT_BOUND);
        let records = RecordStore::open(&config.state_dir)?;
        let context = Arc::new(StreamContext::new(config, simulate, records, watched, events));

        let (relay_sender, relay_events) = mpsc::channel(RELAY_EVENT_BOUND);
        let agent_info = agent_info();
        let mut tasks = JoinSet::new();
        let image = Image::watch(&context.config, agent_info.image_version.is_some(), &mut tasks);
        let (standing, relay_now) = (watch::Sender::default(), Arc::new(Notify::new()));
        if context.config.access_point && !simulate {
            tasks.spawn(onboarding::run(context.config.clone(), Arc::clone(&relay_now), standing.subscribe()));
        }
        let settings = Settings { config: context.config.clone(), key, agent: agent_info, now: relay_now };
        tasks.spawn(scanner.run(context.config.scan_interval(), inventory_sender));
        let now = Instant::now();
        let mut agent = Self {
            machine: Machine::default(),
            enrolment,
            enrolled,
            streams: BTreeMap::new(),
            stream_events,
            ended,
            relay: Relay {
                events: relay_events,
                url,
                outgoing: None,
                connected_since: None,
                last_error: None,
                failures: 0,
                clock_offset_ms: None,
            },
            replies: JoinSet::new(),
            inventory,
            told: seen,
            surroundings,
            image,
            probe: SystemProbe::new(context.config.media_dir.clone()),
            status_due: now,
            status_sent: now,
            state_file: StatePublisher::new(context.config.run_dir.join("state.json")),
            standing,
            log,
            tasks,
            connection: Some(Connection::new(settings, relay_sender)),
            context,
            _lock: lock,
        };
        agent.publish();
        agent.take_over().await?;
        Ok(agent)
    }

    /// Takes over what a former agent left.
    async fn take_over(&mut self) -> anyhow::Result<()> {
        for found in stream::find(&self.context, &self.ended).await? {
            match found {
                Found::Running(record, begin) => {
                    let stream_id = record.start.stream_id;
                    let handle = stream::spawn(Arc::clone(&self.context), record, begin);
                    self.streams.insert(stream_id, handle);
                }
                Found::Ended(ended) => {
                    self.context.records.remove(ended.stream_id);
                    self.ended.push(ended);
                }
            }
        }
        self.streams_changed();
        Ok(())
    }

    /// Runs until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut beat = time::interval(notify::watchdog_interval().unwrap_or(BEAT));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.step(Event::Booted);
        notify::ready();
        let relay = self.relay.url.as_ref().map_or("none yet", RelayUrl::as_str);
        tracing::info!(relay, streams = self.streams.len(), "the agent runs");
        loop {
            tokio::select! {
                Some(event) = self.relay.events.recv() => self.relay_event(event),
                Some((stream_id, event)) = self.stream_events.recv() => self.stream_event(stream_id, event),
                Some(reply) = self.replies.join_next() => send_reply(reply),
                Ok(()) = self.inventory.changed() => self.inventory_changed(),
                Ok(()) = self.image.known.changed() => self.update_changed(),
                Ok(()) = self.image.found.changed() => self.problems_changed(),
                () = time::sleep_until(self.status_due), if self.relay.outgoing.is_some() => self.send_status(),
                _ = beat.tick() => notify::alive(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        self.end().await;
        Ok(())
    }

    /// Hands an event to the state machine and does what it says.
    fn step(&mut self, event: Event) {
        let (next, actions) = self.machine.step(event);
        if next.state != self.machine.state {
            tracing::info!("{:?} → {:?}", self.machine.state, next.state);
        }
        self.machine = next;
        for action in actions {
            match action {
                Action::Connect => {
                    if let Some(connection) = self.connection.take() {
                        self.tasks.spawn(connection.run());
                    }
                }
                Action::ReportEnds => self.report_ends(),
                Action::SendStatus => self.status_is_due(),
                Action::Publish => self.publish(),
            }
        }
    }

    fn relay_event(&mut self, event: RelayEvent) {
        match event {
            RelayEvent::Up { relay, outgoing, enrolment } => {
                self.relay.url = Some(relay);
                self.relay.outgoing = Some(outgoing);
                self.relay.connected_since = Some(Timestamp::now());
                self.relay.last_error = None;
                self.configured(enrolment);
                self.step(Event::LoggedIn);
                self.update_at_login();
                // The first one at once: a relay knows nothing of a device before it.
                self.status_due = Instant::now();
            }
            RelayEvent::Down { relay, problem } => {
                self.relay.url = relay;
                self.relay.outgoing = None;
                self.relay.connected_since = None;
                self.relay.failures += 1;
                let revoked = problem.kind == ProblemKind::Revoked;
                self.relay.last_error = Some(problem.into());
                self.step(Event::RelayLost);
                self.publish();
                if revoked {
                    self.stop_all(EndReason::DeviceRevoked, "the relay has revoked this device's key");
                }
            }
            RelayEvent::Message { envelope, clock_offset_ms } => {
                self.relay.clock_offset_ms = Some(clock_offset_ms);
                self.relay_message(envelope);
            }
        }
    }

    fn configured(&mut self, enrolment: Enrolment) {
        self.surroundings.send_if_modified(|surroundings| {
            let modified = surroundings.policies != enrolment.config.links;
            surroundings.policies.clone_from(&enrolment.config.links);
            modified
        });
        self.enrolled = Some(enrolment);
    }

    fn relay_message(&mut self, envelope: Envelope<RelayMessage>) {
        let Some(outgoing) = self.relay.outgoing.clone() else { return };
        let Envelope { id, message, .. } = envelope;
        match message {
            RelayMessage::StreamEndedResponse(ack) => self.ended.acknowledged(ack.stream_id),
            RelayMessage::Error(error) => tracing::warn!("the relay did not understand a message: {}", error.message),
            // Both belong to the connection, which keeps them to itself.
            RelayMessage::AuthLoginResponse(_) | RelayMessage::AuthSession(_) => {}
            command => self.command(id, outgoing, command),
        }
    }

    fn stream_event(&mut self, stream_id: StreamId, event: StreamEvent) {
        match event {
            StreamEvent::Status(status) => {
                if let Some(handle) = self.streams.get_mut(&stream_id) {
                    handle.status = status;
                }
                self.status_is_due();
            }
            StreamEvent::Desired(desired) => {
                if let Some(handle) = self.streams.get_mut(&stream_id) {
                    handle.desired = desired;
                }
            }
            StreamEvent::Stats(stats) => {
                if let Some(handle) = self.streams.get_mut(&stream_id) {
                    handle.moves = stats.links.iter().any(|link| link.state == LinkState::Up);
                    self.tell_onboarding();
                }
                self.say(DeviceMessage::StreamStats(stats));
            }
            StreamEvent::NotStarted => {
                self.streams.remove(&stream_id);
                self.streams_changed();
            }
            StreamEvent::Ended(ended) => {
                // Kept first: from here on the report survives this process.
                self.ended.push(ended.clone());
                self.context.records.remove(stream_id);
                self.streams.remove(&stream_id);
                self.say(DeviceMessage::StreamEnded(ended));
                self.streams_changed();
                self.prune_logs();
            }
        }
    }

    fn streams_changed(&mut self) {
        self.step(Event::Streams(self.streams.len()));
    }

    fn inventory_changed(&mut self) {
        let seen = Arc::clone(&self.inventory.borrow_and_update());
        let differs = self.told.differs(&seen);
        self.told = Arc::clone(&seen);
        self.surroundings.send_modify(|surroundings| surroundings.inventory = seen);
        if differs {
            self.status_is_due();
            self.tell_onboarding();
        }
    }

    fn report_ends(&mut self) {
        for ended in self.ended.pending().to_vec() {
            self.say(DeviceMessage::StreamEnded(ended));
        }
    }

    /// Says something to the relay, if there is one; what matters is said again at the next login.
    fn say(&mut self, message: DeviceMessage) {
        if let Some(outgoing) = &self.relay.outgoing
            && !outgoing.say(message)
        {
            // Gone, or so stuck that it is better begun anew: dropping the sender ends it.
            tracing::warn!("the connection to the relay takes no more messages");
            self.relay.outgoing = None;
        }
    }

    fn publish(&mut self) {
        let enrolled = self.enrolled.as_ref();
        let config = &self.context.config;
        self.state_file.publish(StateFile {
            state: self.machine.state,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            simulated: self.context.simulate,
            relay_url: self.relay.url.as_ref().map(|url| url.as_str().to_owned()),
            device_id: enrolled.map(|enrolled| enrolled.device_id),
            name: enrolled.map(|enrolled| enrolled.config.name.clone()).filter(|name| !name.is_empty()),
            ap_policy: enrolled.map_or(config.ap_policy, |enrolled| enrolled.config.ap_policy),
            connected_since: self.relay.connected_since,
            last_error: self.relay.last_error.clone(),
            streams: self.streams.keys().copied().collect(),
            problems: self.image.problems(),
        });
        self.tell_onboarding();
    }

    fn prune_logs(&self) {
        let running: Vec<String> = self.streams.keys().map(ToString::to_string).collect();
        let is_running = |path: &std::path::Path| {
            let name = path.to_string_lossy();
            running.iter().any(|stream| name.contains(stream.as_str()))
        };
        if let Err(error) = logs::prune(&self.context.config.log_dir, is_running) {
            tracing::warn!("{error:#}");
        }
    }
}

/// The device's key, made at its first start. A power cut while it is made leaves no half of one: the name comes last.
fn device_key(path: &Path) -> anyhow::Result<KeyPair> {
    if !path.try_exists().with_context(|| format!("cannot look for {}", path.display()))? {
        let beside = path.with_extension("new");
        let make = || -> anyhow::Result<()> {
            files::remove(&beside)?;
            KeyPair::generate().write_new(&beside)?;
            std::fs::rename(&beside, path).with_context(|| format!("cannot name the key {}", path.display()))?;
            files::sync_folder_of(path).with_context(|| format!("cannot keep {}", path.display()))
        };
        make().context("this device has no key yet, and none can be kept: state_dir must be on a disk with room")?;
    }
    Ok(KeyPair::read(path)?)
}

/// The relay as far as it is known at the start; what is wrong with its file the connection says.
fn known_relay(config: &Config) -> Option<RelayUrl> {
    RelayAddress::new(config).read().ok().flatten().map(|target| target.url)
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("signals cannot be listened to")
}

fn send_reply(reply: Result<Reply, tokio::task::JoinError>) {
    match reply {
        Ok(Reply { id, outgoing, messages }) => {
            for (number, message) in messages.into_iter().enumerate() {
                let sent = if number == 0 { outgoing.answer(id, message) } else { outgoing.say(message) };
                if !sent {
                    tracing::warn!("an answer was lost with the connection");
                    return;
                }
            }
        }
        Err(error) => tracing::error!("a command failed: {error}"),
    }
}
