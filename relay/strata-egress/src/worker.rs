//! The worker's life: start, run, end.
//!
//! Owns the order of things and the loop that waits for the relay, signals, the
//! clock and failures. Each part does its own work; see the crate's documentation.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use gstreamer as gst;
use strata_control::EndReason;
use strata_worker_protocol::{WorkerCommand, WorkerConfig, WorkerEvent, WorkerStats};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::control::{Control, ControlInput};
use crate::events::Events;
use crate::hls::Hls;
use crate::intake::Intake;
use crate::plugins;
use crate::rtmp::Outputs;
use crate::source::Source;
use crate::stats::{Parts, StatsGatherer};

/// How long a worker that cannot start waits for the relay, to tell it why.
const TELL_LIMIT: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);
/// How much longer than its latency the end of a stream may take to come out of the receiver.
const DRAIN_GRACE: Duration = Duration::from_millis(500);
/// The most that draining may take: the relay's patience with a worker that ends is not much longer.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);
/// How often the receiver is asked whether it is empty.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Runs the worker to its end.
///
/// # Errors
/// Why it could not start or go on; the relay was told, if it was there.
pub fn run(config: WorkerConfig) -> Result<()> {
    // Everything here waits: one thread does it. The transport has its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let mut control = Control::bind(&config.socket)?;
        let (events, mut told) = Events::channel();
        match Worker::start(config, events) {
            Ok(worker) => worker.run(&mut control, &mut told).await,
            Err(Fatal { reason, error }) => {
                tell_fatal(&mut control, reason, &error).await;
                Err(error)
            }
        }
    });
    // Pipelines that are being ended on blocking threads get a moment, no more.
    runtime.shutdown_timeout(SECOND);
    result
}

/// Why a worker cannot start.
struct Fatal {
    reason: EndReason,
    error: anyhow::Error,
}

async fn tell_fatal(control: &mut Control, reason: EndReason, error: &anyhow::Error) {
    let event = WorkerEvent::Error { reason, message: format!("{error:#}"), fatal: true };
    let told =
        tokio::time::timeout(TELL_LIMIT, async { while !matches!(control.next().await, ControlInput::Connected) {} });
    if told.await.is_ok() {
        control.send_last(event).await;
    }
}

struct Worker {
    config: WorkerConfig,
    events: Events,
    intake: Intake,
    hls: Hls,
    outputs: Outputs,
    source: Source,
    gatherer: StatsGatherer,
    /// When a relay or input was last there.
    last_needed: Instant,
}

/// What to do after something happened.
enum Next {
    GoOn,
    End(&'static str),
}

impl Worker {
    fn start(config: WorkerConfig, events: Events) -> Result<Self, Fatal> {
        let missing = |error| Fatal { reason: EndReason::PluginMissing, error };
        gst::init().context("GStreamer cannot be started").map_err(missing)?;
        gststrata::plugin_register_static().context("GStreamer refuses our elements").map_err(missing)?;
        plugins::check(plugins::ALWAYS).map_err(|error| missing(anyhow!(error)))?;
        let hls = Hls::start(&config.hls_folder, events.clone()).map_err(|error| {
            let reason = if error.is_disk_full() { EndReason::DiskFull } else { EndReason::Other };
            Fatal { reason, error: anyhow!(error) }
        })?;
        let intake = Intake::new(Some(hls.inlet()), hls.target_duration_s());
        let source =
            Source::start(&config, intake.clone()).map_err(|error| Fatal { reason: EndReason::NoPort, error })?;
        let mut outputs = Outputs::new(intake.clone(), events.clone());
        outputs.set(config.destinations.clone());
        let now = Instant::now();
        let gatherer = StatsGatherer::new(now);
        Ok(Self { config, events, intake, hls, outputs, source, gatherer, last_needed: now })
    }

    async fn run(mut self, control: &mut Control, told: &mut mpsc::Receiver<WorkerEvent>) -> Result<()> {
        tracing::info!("receiving stream {} on {}", self.config.stream_id, self.listen());
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut seconds = tokio::time::interval(SECOND);
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let why = loop {
            let next = tokio::select! {
                input = control.next() => self.handle_control(control, input),
                Some(event) = told.recv() => { control.send(event); Next::GoOn }
                _ = seconds.tick() => self.handle_second(control),
                message = self.source.failed() => self.handle_failure(message).await,
                () = terminated(&mut terminate, &mut interrupt) => Next::End("a signal asked for it"),
            };
            if let Next::End(why) = next {
                break why;
            }
        };
        tracing::info!("ending: {why}");
        self.end().await;
        control.send_last(WorkerEvent::Stopped).await;
        Ok(())
    }

    fn handle_control(&mut self, control: &Control, input: ControlInput) -> Next {
        match input {
            ControlInput::Connected => {
                control.send(self.ready());
                let stats = self.stats();
                control.send(WorkerEvent::Stats { stats });
            }
            ControlInput::Disconnected => tracing::info!("the relay went away; the stream goes on"),
            ControlInput::Command(WorkerCommand::Stop) => return Next::End("the relay asked for it"),
            ControlInput::Command(WorkerCommand::Stats) => {
                let stats = self.stats();
                control.send(WorkerEvent::Stats { stats });
            }
            ControlInput::Command(WorkerCommand::UpdateForward { destinations }) => {
                tracing::info!("{} destinations from now on", destinations.len());
                self.config.destinations.clone_from(&destinations);
                self.outputs.set(destinations);
            }
            ControlInput::Command(WorkerCommand::SetLatency { latency_ms }) => self.set_latency(latency_ms),
        }
        Next::GoOn
    }

    fn set_latency(&mut self, latency_ms: u32) {
        self.config.latency_ms = latency_ms;
        self.source.set_latency(latency_ms);
    }

    fn handle_second(&mut self, control: &Control) -> Next {
        let stats = self.stats();
        let now = Instant::now();
        let has_input = stats.input_age_ms.is_some_and(|age| age < 1_500);
        if has_input || control.is_connected() {
            self.last_needed = now;
        }
        control.send(WorkerEvent::Stats { stats });
        let limit = Duration::from_secs(self.config.orphan_timeout_s.into());
        if now.duration_since(self.last_needed) >= limit {
            return Next::End("neither relay nor input for too long");
        }
        Next::GoOn
    }

    /// The receiver failed while running: try again until it works, the outputs stay.
    async fn handle_failure(&mut self, message: String) -> Next {
        self.events.error(EndReason::Other, format!("receiving failed: {message}; it is started again"));
        self.source.stop();
        tokio::time::sleep(SECOND).await;
        match Source::start(&self.config, self.intake.clone()) {
            Ok(source) => self.source = source,
            Err(error) => self.events.error(EndReason::NoPort, format!("{error:#}")),
        }
        Next::GoOn
    }

    fn listen(&self) -> std::net::SocketAddr {
        self.source.stats().map_or(self.config.listen, |stats| stats.local_address)
    }

    fn ready(&self) -> WorkerEvent {
        let key = self.config.key.key_pair().expect("the configuration was checked when it was read");
        WorkerEvent::Ready {
            stream_id: self.config.stream_id,
            pid: std::process::id(),
            listen: self.listen(),
            key: key.public(),
        }
    }

    fn stats(&mut self) -> WorkerStats {
        let parts = Parts {
            source: self.source.stats(),
            media: self.intake.stats(),
            last_input: self.intake.last_input(),
            hls: self.hls.status(),
            destinations: self.outputs.stats(),
        };
        self.gatherer.gather(parts, Instant::now())
    }

    /// What the receiver holds is released at its time: viewers get the stream to its last frame.
    async fn drain(&self) {
        let limit = Duration::from_millis(self.config.latency_ms.into()) + DRAIN_GRACE;
        let empty = async {
            while self.source.stats().is_some_and(|stats| stats.receiver.buffer_datagrams > 0) {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
            // The last ones are on their way through the pipeline.
            tokio::time::sleep(DRAIN_LOOK).await;
        };
        if tokio::time::timeout(limit.min(DRAIN_LIMIT), empty).await.is_err() {
            tracing::info!("the device still sends: the stream is cut here");
        }
    }

    /// Ends everything in the order of the stream, so that each part gets all of it.
    async fn end(self) {
        self.drain().await;
        let Self { source, intake, outputs, hls, .. } = self;
        let stopped = tokio::task::spawn_blocking(move || {
            drop(source);
            intake.finish();
            hls.finish();
        });
        outputs.stop().await;
        if stopped.await.is_err() {
            tracing::error!("ending the stream panicked");
        }
    }
}

async fn terminated(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
