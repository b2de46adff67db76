//! The encoder's pipeline: raw picture and sound in, MPEG-TS over the bond out.
//!
//! Owns its elements, the counters at the encoder's and the muxer's output,
//! and live changes (bitrate, key frame). Does not own sources (they reach it
//! through the seam's two `appsrc`) nor the decision which bitrate to set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gststrata::StrataSink;
use strata_control::EncoderSettings;

use crate::elements::{self, MissingElement, set_if_present};
use crate::encoders::{ChosenAudioEncoder, ChosenVideoEncoder};
use crate::format::RawFormat;
use crate::links;
use crate::recording::Recording;

/// Program tables every 100 ms, in ticks of 90 kHz: a player that joins needs them before anything else.
const TABLE_INTERVAL: &str = "9000";
/// MPEG-TS packets per datagram.
const PACKETS_PER_DATAGRAM: &str = "7";
/// How long the end waits for what is in the pipeline.
const DRAIN: gst::ClockTime = gst::ClockTime::from_mseconds(1_500);

/// Why the pipeline cannot be built or started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    /// An element is missing.
    #[error(transparent)]
    Missing(#[from] MissingElement),
    /// GStreamer refused.
    #[error("GStreamer refuses the encoder's pipeline: {0}")]
    Refused(#[from] gst::glib::BoolError),
    /// It does not start; the bus says why.
    #[error("the encoder's pipeline does not start: {0}")]
    Start(String),
}

/// Counted where the stream leaves.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    /// Frames that left the video encoder.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Bytes of MPEG-TS handed to the transport.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The pipeline.
pub(crate) struct EncoderPipeline {
    pipeline: gst::Pipeline,
    encoder: ChosenVideoEncoder,
    /// Raw pictures go in here.
    pub(crate) video: gst_app::AppSrc,
    /// Raw sound goes in here.
    pub(crate) audio: gst_app::AppSrc,
    /// What counts.
    pub(crate) counters: Arc<Counters>,
}

impl EncoderPipeline {
    /// Builds it around `sink`, which gets the MPEG-TS; nothing runs yet.
    pub(crate) fn build(
        settings: &EncoderSettings,
        format: &RawFormat,
        sink: &StrataSink,
        recording: Option<Arc<Recording>>,
    ) -> Result<Self, PipelineError> {
        elements::require(&["appsrc", "mpegtsmux", "queue"])?;
        let encoder = ChosenVideoEncoder::choose(settings.codec)?;
        let audio_encoder = ChosenAudioEncoder::choose(settings.audio.codec, settings.audio.bitrate_bps)?;
        tracing::info!(video = encoder.name(), audio = audio_encoder.name, "encoders chosen");
        encoder.set_up(settings);
        if !encoder.set_bitrate(settings.bitrate.target_bps, settings) {
            tracing::warn!(element = encoder.name(), "this encoder has no bitrate that can be set");
        }
        let video = source("raw-video", format.video_caps()?);
        let audio = source("raw-audio", RawFormat::audio_caps());
        let this = Self { pipeline: gst::Pipeline::new(), encoder, video, audio, counters: Arc::default() };
        this.connect(audio_encoder, sink, recording)?;
        Ok(this)
    }

    /// Starts it.
    pub(crate) fn start(&self) -> Result<(), PipelineError> {
        if self.pipeline.set_state(gst::State::Playing).is_ok() {
            return Ok(());
        }
        let message = self.bus().pop_filtered(&[gst::MessageType::Error]);
        let why = match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => elements::describe(error),
            _ => "GStreamer gives no reason".to_owned(),
        };
        Err(PipelineError::Start(why))
    }

    /// Where its errors come from.
    pub(crate) fn bus(&self) -> gst::Bus {
        self.pipeline.bus().expect("a pipeline has a bus")
    }

    /// The video encoder's element.
    pub(crate) fn encoder_name(&self) -> &'static str {
        self.encoder.name()
    }

    /// Sets the video bitrate, live.
    pub(crate) fn set_bitrate(&self, bitrate_bps: u32, settings: &EncoderSettings) -> bool {
        self.encoder.set_bitrate(bitrate_bps, settings)
    }

    /// Makes the next frame a key frame.
    pub(crate) fn force_key_frame(&self) -> bool {
        let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
        self.encoder.element().static_pad("src").is_some_and(|pad| pad.send_event(event))
    }

    /// Ends it: what is inside goes out first, for a moment at the most. Blocks.
    pub(crate) fn end(&self) {
        for track in [&self.video, &self.audio] {
            if let Err(error) = track.end_of_stream() {
                tracing::debug!(%error, "the pipeline had ended already");
            }
        }
        self.bus().timed_pop_filtered(DRAIN, &[gst::MessageType::Eos, gst::MessageType::Error]);
        self.stop();
    }

    /// Stops it at once.
    pub(crate) fn stop(&self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("the encoder's pipeline could not be stopped");
        }
    }

    fn connect(
        &self,
        audio_encoder: ChosenAudioEncoder,
        sink: &StrataSink,
        recording: Option<Arc<Recording>>,
    ) -> Result<(), PipelineError> {
        let mux = elements::make("mpegtsmux")?;
        set_if_present(&mux, "alignment", PACKETS_PER_DATAGRAM);
        set_if_present(&mux, "pat-interval", TABLE_INTERVAL);
        set_if_present(&mux, "pmt-interval", TABLE_INTERVAL);
        // Nothing waits for a clock here: the sources keep time.
        for property in ["sync", "async"] {
            set_if_present(sink.upcast_ref(), property, "false");
        }
        let mut video: Vec<gst::Element> = vec![self.video.clone().upcast()];
        if !self.encoder.takes_i420() {
            video.push(elements::make("videoconvert")?);
        }
        let parser = elements::make(self.encoder.parser())?;
        // Parameter sets with each key frame: a viewer can join at any of them.
        set_if_present(&parser, "config-interval", "-1");
        video.extend([self.encoder.element().clone(), parser]);
        let audio = [
            self.audio.clone().upcast(),
            elements::make("audioconvert")?,
            audio_encoder.element,
            elements::make(audio_encoder.parser)?,
        ];
        self.pipeline.add_many(video.iter().chain(&audio))?;
        self.pipeline.add_many([&mux, sink.upcast_ref()])?;
        gst::Element::link_many(video.iter().chain([&mux]))?;
        gst::Element::link_many(audio.iter().chain([&mux]))?;
        mux.link(sink)?;
        self.count(sink, recording);
        Ok(())
    }

    fn count(&self, sink: &StrataSink, recording: Option<Arc<Recording>>) {
        let counters = Arc::clone(&self.counters);
        let encoded = self.encoder.element().static_pad("src").expect("an encoder has a source pad");
        encoded.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            counters.frames.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        let counters = Arc::clone(&self.counters);
        let handed_over = sink.static_pad("sink").expect("a sink has a sink pad");
        handed_over.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
            let take = |buffer: &gst::BufferRef| {
                counters.bytes.fetch_add(buffer.size() as u64, Ordering::Relaxed);
                if let Some(recording) = &recording {
                    recording.write(buffer);
                }
            };
            match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => take(buffer.as_ref()),
                Some(gst::PadProbeData::BufferList(list)) => list.iter().for_each(take),
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
    }
}

impl Drop for EncoderPipeline {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Not "live" for GStreamer: the muxer then waits for both tracks instead of guessing, and the seam sees to it
/// that neither ever stays away.
fn source(name: &str, caps: gst::Caps) -> gst_app::AppSrc {
    gst_app::AppSrc::builder()
        .name(name)
        .caps(&caps)
        .format(gst::Format::Time)
        .is_live(false)
        .block(false)
        // The seam bounds what waits here, by frames.
        .max_bytes(0)
        .build()
}

/// Sends the stream: the sink with the device's key, the worker's key and the links.
pub(crate) fn sink(config: &strata_encoder_protocol::EncoderConfig) -> Result<StrataSink, SinkError> {
    let identity = strata_identity::KeyPair::read(&config.key_file)?;
    let sink = StrataSink::new();
    sink.set_identity(identity);
    sink.set_peer(config.worker_key);
    sink.set_latency(Duration::from_millis(config.settings.latency_ms.into()))?;
    sink.set_links(links::configs(&config.links))?;
    Ok(sink)
}

/// Why the sink cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    /// The device's key.
    #[error(transparent)]
    Key(#[from] strata_identity::KeyFileError),
    /// Links or latency.
    #[error(transparent)]
    Link(#[from] strata_link::LinkError),
}
