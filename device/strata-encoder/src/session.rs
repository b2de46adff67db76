//! One stream from its first frame to its end report.
//!
//! Owns the order of things: commands, state changes, statistics, bitrate,
//! and every reason for which a stream ends in this process. The parts it
//! drives know nothing of each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use gstreamer as gst;
use gststrata::StrataSink;
use strata_control::{BitrateBounds, EncoderState, EncoderStats, EndReason, Source, StreamStart, StreamStats};
use strata_encoder_protocol::{EncoderCommand, EncoderConfig, EncoderEvent, EncoderLink, SourceError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::adapt::Adaptation;
use crate::agent_socket::{AgentSocket, FromAgent};
use crate::elements;
use crate::format::RawFormat;
use crate::links::{self, LinkTrouble};
use crate::pipeline::{self, EncoderPipeline, PipelineError};
use crate::recording::Recording;
use crate::seam::{Seam, Showing};
use crate::source_control::{Outcome, SourceControl};
use crate::sources;
use crate::statistics::Rates;

/// How often holes in the input are filled.
const FILL_EVERY: Duration = Duration::from_millis(40);
/// How often the bitrate follows the links.
const ADAPT_EVERY: Duration = Duration::from_millis(200);
/// A stream without input ends after this.
const NO_INPUT_LIMIT: Duration = Duration::from_secs(60);
/// An encoder that gets frames and gives none for so long hangs.
const ENCODER_LIMIT: Duration = Duration::from_secs(10);
/// How long an end that the agent did not ask for waits to be told to one.
const LINGER: Duration = Duration::from_secs(5);
/// An encoder that is too slow stays so: no need to say it each second.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// Sources say little: the first frame, and the end.
const SOURCE_EVENTS: usize = 16;

/// Why a stream ends.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// For programs.
    pub(crate) reason: EndReason,
    /// For people.
    pub(crate) detail: String,
    /// Whether it is a failure of this process, which the agent may start again.
    pub(crate) failed: bool,
    /// Whether the agent should be waited for to be told.
    linger: bool,
}

impl Ending {
    fn clean(reason: EndReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), failed: false, linger: false }
    }

    fn told(reason: EndReason, detail: impl Into<String>) -> Self {
        Self { linger: true, ..Self::clean(reason, detail) }
    }

    fn failure(detail: impl Into<String>) -> Self {
        Self { failed: true, ..Self::told(EndReason::EncoderFailed, detail) }
    }
}

impl From<PipelineError> for Ending {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Missing(missing) => Self::told(EndReason::PluginMissing, missing.to_string()),
            other => Self::failure(other.to_string()),
        }
    }
}

impl From<SourceError> for Ending {
    fn from(error: SourceError) -> Self {
        Self::told(error.reason, error.message)
    }
}

/// What stays the same whether or not media ever ran: the agent's side.
pub(crate) struct Session {
    start: StreamStart,
    socket: AgentSocket,
    state: EncoderState,
    began: Instant,
    began_unix_s: i64,
    bytes: u64,
}

/// The media side.
struct Media {
    config: EncoderConfig,
    sink: StrataSink,
    link_trouble: LinkTrouble,
    pipeline: EncoderPipeline,
    seam: Arc<Seam>,
    sources: SourceControl,
    adaptation: Adaptation,
    rates: Rates,
    recording: Option<Arc<Recording>>,
    /// Frames encoded, and when that number last grew.
    progress: (u64, Instant),
    skipped: u64,
    overload_told: Option<Instant>,
    refused: u64,
    trouble: String,
}

impl Session {
    /// Listens for the agent.
    pub(crate) fn open(config: &EncoderConfig) -> anyhow::Result<Self> {
        let socket = AgentSocket::open(&config.socket)?;
        let began_unix_s = jiff::Timestamp::now().as_second();
        let start = StreamStart { source: config.source.clone(), encoder: config.settings, ..config.start.clone() };
        Ok(Self { start, socket, state: EncoderState::Starting, began: Instant::now(), began_unix_s, bytes: 0 })
    }

    /// Runs the stream to its end.
    pub(crate) async fn run(&mut self, config: EncoderConfig) -> Ending {
        let (mut terminate, mut interrupt) = match signals() {
            Ok(signals) => signals,
            Err(error) => return Ending::failure(format!("signals cannot be caught: {error}")),
        };
        let mut media = match Media::start(config, self) {
            Ok(media) => media,
            Err(ending) => return ending,
        };
        let ending = tokio::select! {
            ending = self.stream(&mut media) => ending,
            _ = terminate.recv() => Ending::clean(EndReason::DeviceShutdown, "the encoder was told to end (SIGTERM)"),
            _ = interrupt.recv() => Ending::clean(EndReason::DeviceShutdown, "the encoder was interrupted (SIGINT)"),
        };
        tracing::info!(reason = ?ending.reason, detail = ending.detail, "the stream ends");
        if !ending.failed {
            self.set_state(EncoderState::Stopping, ending.detail.clone());
        }
        self.bytes = media.pipeline.counters.bytes();
        media.end(&ending).await;
        ending
    }

    /// Tells the agent the end, waiting for one to connect when it must know.
    pub(crate) async fn report(mut self, ending: &Ending, log: Vec<String>) {
        if ending.linger && !self.socket.is_connected() {
            let connected = async { while !matches!(self.socket.next().await, FromAgent::Connected) {} };
            if tokio::time::timeout(LINGER, connected).await.is_ok() {
                self.hello();
            }
        }
        let ended = strata_control::StreamEnded {
            stream_id: self.start.stream_id,
            reason: ending.reason,
            detail: ending.detail.clone(),
            duration_ms: milliseconds(self.began.elapsed()),
            bytes: self.bytes,
            exit_status: None,
            log,
        };
        self.socket.send(&EncoderEvent::Ended { ended });
        self.socket.farewell().await;
    }

    async fn stream(&mut self, media: &mut Media) -> Ending {
        let mut messages = media.pipeline.bus().stream();
        let mut fill = tokio::time::interval(FILL_EVERY);
        let mut adapt = tokio::time::interval(ADAPT_EVERY);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut alone_since = Instant::now();
        loop {
            let ending = tokio::select! {
                from_agent = self.socket.next() => self.handle_agent(from_agent, media),
                outcome = media.sources.next() => self.handle_source(outcome, media),
                Some(message) = messages.next() => handle_message(&message),
                _ = fill.tick() => {
                    media.seam.fill();
                    self.follow_input(media)
                }
                _ = adapt.tick() => {
                    media.adapt(self.began.elapsed());
                    None
                }
                _ = second.tick() => {
                    if self.socket.is_connected() {
                        alone_since = Instant::now();
                    }
                    self.each_second(media, alone_since)
                }
            };
            if let Some(ending) = ending {
                return ending;
            }
        }
    }

    fn handle_agent(&mut self, from_agent: FromAgent, media: &mut Media) -> Option<Ending> {
        let command = match from_agent {
            FromAgent::Connected => {
                self.hello();
                return None;
            }
            FromAgent::Command(command) => command,
        };
        match command {
            EncoderCommand::Stop { reason, detail } => return Some(Ending::clean(reason, detail)),
            EncoderCommand::SwitchSource { source } => {
                tracing::info!(source = sources::describe(&source), "switch asked for");
                if let Some(outcome) = media.sources.switch(source) {
                    return self.handle_source(outcome, media);
                }
            }
            EncoderCommand::SetBitrate { bitrate } => self.set_bitrate(bitrate, media),
            EncoderCommand::SetLatency { latency_ms } => self.set_latency(latency_ms, media),
            EncoderCommand::SetLinks { links } => self.set_links(&links, media),
            EncoderCommand::ForceKeyFrame => {
                if !media.pipeline.force_key_frame() {
                    tracing::warn!("the encoder took no request for a key frame");
                }
            }
        }
        None
    }

    fn handle_source(&mut self, outcome: Outcome, media: &mut Media) -> Option<Ending> {
        let source = media.sources.current().clone();
        match outcome {
            Outcome::Started => tracing::info!(source = sources::describe(&source), "the first picture is there"),
            Outcome::StartFailed(error) => return Some(error.into()),
            Outcome::Switched(source) => {
                tracing::info!(source = sources::describe(&source), "switched");
                media.pipeline.force_key_frame();
                self.start.source = source.clone();
                self.socket.send(&EncoderEvent::SourceSwitched { source, error: None });
            }
            Outcome::SwitchFailed(error) => {
                tracing::warn!(error = error.message, "not switched");
                self.socket.send(&EncoderEvent::SourceSwitched { source, error: Some(error) });
            }
            Outcome::Lost(error) => {
                tracing::warn!(error = error.message, "the source is lost; it is tried again");
                media.trouble = error.message;
            }
            Outcome::Returned => tracing::info!(source = sources::describe(&source), "the source is back"),
        }
        None
    }

    /// The state follows what the viewer sees.
    fn follow_input(&mut self, media: &Media) -> Option<Ending> {
        let (showing, quiet) = media.seam.showing();
        let (state, detail) = match showing {
            Showing::Nothing => (EncoderState::Starting, String::new()),
            Showing::Source => (EncoderState::Running, sources::describe(media.sources.current())),
            Showing::Slate => (EncoderState::NoInput, media.no_input()),
        };
        if state != self.state {
            self.set_state(state, detail);
        }
        let over = showing == Showing::Slate && quiet >= NO_INPUT_LIMIT;
        over.then(|| {
            let seconds = NO_INPUT_LIMIT.as_secs();
            Ending::told(EndReason::NoInput, format!("no picture for {seconds} s: {}", media.no_input()))
        })
    }

    fn each_second(&mut self, media: &mut Media, alone_since: Instant) -> Option<Ending> {
        let stats = media.stats(self);
        self.socket.send(&EncoderEvent::Stats { stats });
        // Kept until somebody is there to be told.
        let trouble = if self.socket.is_connected() { media.new_trouble() } else { vec![] };
        for trouble in trouble {
            tracing::warn!("{trouble}");
            self.socket.send(&EncoderEvent::State { state: self.state, detail: trouble });
        }
        let patience = Duration::from_secs(media.config.orphan_timeout_s.into());
        if alone_since.elapsed() >= patience {
            let detail = format!("no agent was connected for {} s", patience.as_secs());
            return Some(Ending::clean(EndReason::DeviceShutdown, detail));
        }
        media.hangs().then(|| {
            let seconds = ENCODER_LIMIT.as_secs();
            Ending::failure(format!("{} gave no frame for {seconds} s", media.pipeline.encoder_name()))
        })
    }

    fn set_bitrate(&mut self, bitrate: BitrateBounds, media: &mut Media) {
        if let Err(error) = bitrate.validate() {
            return self.refuse(&error.to_string());
        }
        self.start.encoder.bitrate = bitrate;
        let bps = media.adaptation.set_bounds(bitrate);
        media.set_bitrate(bps);
    }

    fn set_latency(&mut self, latency_ms: u32, media: &Media) {
        match media.sink.set_latency(Duration::from_millis(latency_ms.into())) {
            Ok(()) => self.start.encoder.latency_ms = latency_ms,
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    fn set_links(&mut self, links: &[EncoderLink], media: &Media) {
        let set = crate::config::check_links(links).map_err(|error| error.to_string());
        let set = set.and_then(|()| media.sink.set_links(links::configs(links)).map_err(|error| with_sources(&error)));
        match set {
            Ok(()) => tracing::info!(links = links.len(), "links set"),
            Err(error) => self.refuse(&error),
        }
    }

    /// A command that cannot be followed: nothing was changed.
    fn refuse(&mut self, why: &str) {
        tracing::warn!("refused: {why}");
        self.socket.send(&EncoderEvent::State { state: self.state, detail: format!("refused: {why}") });
    }

    fn set_state(&mut self, state: EncoderState, detail: String) {
        tracing::info!(?state, detail, "state");
        self.state = state;
        self.socket.send(&EncoderEvent::State { state, detail });
    }

    fn hello(&mut self) {
        let hello = EncoderEvent::Hello {
            pid: std::process::id(),
            start: self.start.clone(),
            state: self.state,
            started_at_unix_s: self.began_unix_s,
        };
        self.socket.send(&hello);
    }
}

impl Media {
    fn start(config: EncoderConfig, session: &mut Session) -> Result<Self, Ending> {
        let settings = config.settings;
        let refused = |error: gst::glib::BoolError| Ending::failure(error.to_string());
        let format = RawFormat::new(&settings).map_err(refused)?;
        let sink = pipeline::sink(&config).map_err(|error| Ending::failure(with_sources(&error)))?;
        let (recording, trouble) = start_recording(&config);
        let pipeline = EncoderPipeline::build(&settings, &format, &sink, recording.clone())?;
        let (events_in, events) = mpsc::channel(SOURCE_EVENTS);
        let seam = Seam::new(format.clone(), pipeline.video.clone(), pipeline.audio.clone(), events_in);
        pipeline.start()?;
        if let Some(trouble) = trouble {
            tracing::warn!("{trouble}");
            session.set_state(EncoderState::Starting, trouble);
        }
        let sources = SourceControl::start(config.source.clone(), Arc::clone(&seam), format, events);
        Ok(Self {
            adaptation: Adaptation::new(settings.bitrate, settings.audio.bitrate_bps),
            config,
            sink,
            link_trouble: LinkTrouble::default(),
            pipeline,
            seam,
            sources,
            rates: Rates::default(),
            recording,
            progress: (0, Instant::now()),
            skipped: 0,
            overload_told: None,
            refused: 0,
            trouble: String::new(),
        })
    }

    async fn end(self, ending: &Ending) {
        self.sources.close().await;
        let (pipeline, recording) = (self.pipeline, self.recording);
        let failed = ending.failed;
        let ended = tokio::task::spawn_blocking(move || {
            if failed {
                pipeline.stop()
            } else {
                pipeline.end()
            }
            drop(pipeline);
            // Last: its writer ends when nothing can write to it any more.
            drop(recording);
        });
        if ended.await.is_err() {
            tracing::error!("ending the pipeline panicked");
        }
    }

    fn adapt(&mut self, now: Duration) {
        let sustainable = self.sink.target_bps().unwrap_or(0);
        let before = self.adaptation.current_bps();
        if let Some(bps) = self.adaptation.sample(now, sustainable) {
            tracing::info!(from = before, to = bps, sustainable, "video bitrate");
            self.set_bitrate(bps);
        }
    }

    fn set_bitrate(&self, bps: u32) {
        if !self.pipeline.set_bitrate(bps, &self.config.settings) {
            tracing::warn!(bps, "the encoder takes no new bitrate");
        }
    }

    fn no_input(&self) -> String {
        if self.trouble.is_empty() {
            return format!("{} gives no picture", sources::describe(self.sources.current()));
        }
        self.trouble.clone()
    }

    fn hangs(&mut self) -> bool {
        let frames = self.pipeline.counters.frames();
        if frames != self.progress.0 || self.seam.showing().0 == Showing::Nothing {
            self.progress = (frames, Instant::now());
        }
        self.progress.1.elapsed() >= ENCODER_LIMIT
    }

    /// What people should know and nobody asked for.
    fn new_trouble(&mut self) -> Vec<String> {
        let mut trouble: Vec<String> = self.recording.iter().filter_map(|recording| recording.trouble()).collect();
        trouble.extend(self.sink.stats().map(|stats| self.link_trouble.news(&stats)).unwrap_or_default());
        let skipped = self.seam.skipped_frames();
        let due = self.overload_told.is_none_or(|told| told.elapsed() >= TELL_AGAIN);
        if skipped > self.skipped && due {
            self.overload_told = Some(Instant::now());
            trouble.push(format!(
                "the encoder is too slow for these settings: {} frames were left out; lower the size or frame rate",
                skipped - self.skipped
            ));
            self.skipped = skipped;
        }
        let refused = self.sink.refused_datagrams();
        if refused > self.refused {
            trouble.push(format!(
                "the links carry less than the encoder makes: {} datagrams were left out",
                refused - self.refused
            ));
            self.refused = refused;
        }
        trouble
    }

    fn stats(&mut self, session: &Session) -> StreamStats {
        let uptime = session.began.elapsed();
        let transport = self.sink.stats();
        let bytes = self.pipeline.counters.bytes();
        let looked = self.rates.look(uptime, bytes, transport.as_ref());
        let settings = &self.config.settings;
        StreamStats {
            stream_id: self.config.stream_id,
            source: self.shown_source(),
            encoder: EncoderStats {
                state: session.state,
                element: self.pipeline.encoder_name().to_owned(),
                codec: settings.codec,
                bitrate_bps: self.adaptation.current_bps(),
                sustainable_bps: transport.as_ref().map_or(0, |stats| stats.target_bps),
                output_bps: looked.output_bps,
                width: settings.width,
                height: settings.height,
                frames: self.pipeline.counters.frames(),
                bytes,
                uptime_ms: milliseconds(uptime),
            },
            links: looked.links,
            receiver: looked.receiver,
        }
    }

    fn shown_source(&self) -> Source {
        self.sources.current().clone()
    }
}

/// A recording that cannot begin is no reason not to stream.
fn start_recording(config: &EncoderConfig) -> (Option<Arc<Recording>>, Option<String>) {
    match config.record_to.as_deref().map(Recording::start) {
        None => (None, None),
        Some(Ok(recording)) => (Some(Arc::new(recording)), None),
        Some(Err(error)) => (None, Some(error)),
    }
}

fn handle_message(message: &gst::Message) -> Option<Ending> {
    match message.view() {
        gst::MessageView::Error(error) => Some(Ending::failure(elements::describe(error))),
        gst::MessageView::Eos(_) => Some(Ending::failure("the encoder's pipeline ended by itself")),
        gst::MessageView::Warning(warning) => {
            tracing::warn!(from = ?message.src().map(|source| source.to_string()), "{}", warning.error());
            None
        }
        _ => None,
    }
}

fn signals() -> std::io::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

/// An error with all its causes.
fn with_sources(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
