//! The pipeline of one destination: `appsrc ! tsdemux ! parse ! flvmux ! rtmp2sink`.
//!
//! Owns building it for the streams there are and counting what leaves it.
//! Does not own when it is built or given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app::{AppSrc, AppStreamType};
use strata_media::VideoCoding;
use strata_media::ts::StreamKind;

use super::Target;
use super::feed::Streams;
use crate::plugins::{self, MissingElement};

/// How long the multiplexer waits for the slower of picture and sound, in nanoseconds.
const MUX_LATENCY_NS: u64 = 500_000_000;
/// Each branch behind the demultiplexer holds at most this much time.
const BRANCH_NS: u64 = 3_000_000_000;

/// Why a pipeline could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(transparent)]
    Missing(#[from] MissingElement),
    #[error("RTMP carries H.264 only, and the stream is H.265: choose H.264 for the stream")]
    Video,
    #[error("RTMP carries AAC only, and the stream's sound is coded otherwise: choose AAC for the stream")]
    Audio,
    #[error("cannot build the RTMP pipeline: {0}")]
    Pipeline(#[from] glib::BoolError),
}

/// What has left the pipeline.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    buffers: AtomicU64,
    bytes: AtomicU64,
}

impl Sent {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The sink takes its first buffer and keeps it until it is connected: a second one says that it is.
    pub(crate) fn is_connected(&self) -> bool {
        self.buffers.load(Ordering::Relaxed) > 1
    }
}

/// A destination's pipeline; ended when dropped.
#[derive(Debug)]
pub(crate) struct RtmpPipeline {
    pipeline: gst::Pipeline,
    queue: AppSrc,
    sent: Arc<Sent>,
}

impl Drop for RtmpPipeline {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::error!("an RTMP pipeline does not stop");
        }
    }
}

impl RtmpPipeline {
    pub(crate) fn build(target: &Target, streams: &Streams) -> Result<Self, BuildError> {
        plugins::check(plugins::RTMP)?;
        let pipeline = gst::Pipeline::new();
        let caps = gst::Caps::builder("video/mpegts").field("systemstream", true).field("packetsize", 188i32).build();
        let queue = AppSrc::builder()
            .caps(&caps)
            .format(gst::Format::Time)
            .is_live(true)
            .do_timestamp(true)
            .stream_type(AppStreamType::Stream)
            .build();
        let demux = gst::ElementFactory::make("tsdemux").build()?;
        let mux = gst::ElementFactory::make("flvmux").property("streamable", true).build()?;
        set_if_there(&mux, "latency", MUX_LATENCY_NS);
        let sink = gst::ElementFactory::make("rtmp2sink").property("location", target.location()).build()?;
        set_if_there(&sink, "sync", false);
        set_if_there(&sink, "async-connect", true);
        pipeline.add_many([queue.upcast_ref(), &demux, &mux, &sink])?;
        queue.link(&demux)?;
        mux.link(&sink)?;
        let video = streams.video.map(|kind| video_branch(&pipeline, &mux, kind)).transpose()?;
        let audio = streams.audio.map(|kind| audio_branch(&pipeline, &mux, kind)).transpose()?;
        demux.connect_pad_added(move |_, pad| link_branch(pad, video.as_ref(), audio.as_ref()));
        let sent = Arc::new(Sent::default());
        count_at(&sink, Arc::clone(&sent))?;
        Ok(Self { pipeline, queue, sent })
    }

    /// Starts it; a failure comes over the bus.
    pub(crate) fn play(&self) {
        if self.pipeline.set_state(gst::State::Playing).is_err() {
            tracing::debug!("the RTMP pipeline refuses to start; the bus says why");
        }
    }

    pub(crate) fn queue(&self) -> AppSrc {
        self.queue.clone()
    }

    pub(crate) fn bus(&self) -> Option<gst::Bus> {
        self.pipeline.bus()
    }

    pub(crate) fn sent(&self) -> Arc<Sent> {
        Arc::clone(&self.sent)
    }
}

/// Sets a property that not every version of the element has.
fn set_if_there(element: &gst::Element, name: &str, value: impl Into<glib::Value>) {
    if element.find_property(name).is_some() {
        element.set_property_from_value(name, &value.into());
    }
}

fn branch_queue() -> Result<gst::Element, glib::BoolError> {
    gst::ElementFactory::make("queue")
        .property("max-size-buffers", 0u32)
        .property("max-size-bytes", 2 * 1024 * 1024u32)
        .property("max-size-time", BRANCH_NS)
        .build()
}

/// `queue ! parser ! mux.PAD`; the pad that the demultiplexer is linked to.
fn branch(
    pipeline: &gst::Pipeline,
    mux: &gst::Element,
    parser: &str,
    mux_pad: &str,
) -> Result<gst::Pad, glib::BoolError> {
    let queue = branch_queue()?;
    let parser = gst::ElementFactory::make(parser).build()?;
    pipeline.add_many([&queue, &parser])?;
    queue.link(&parser)?;
    parser.link_pads(Some("src"), mux, Some(mux_pad))?;
    queue.static_pad("sink").ok_or_else(|| glib::bool_error!("a queue has no sink pad"))
}

fn video_branch(pipeline: &gst::Pipeline, mux: &gst::Element, kind: StreamKind) -> Result<gst::Pad, BuildError> {
    match kind {
        StreamKind::Video(VideoCoding::H264) => Ok(branch(pipeline, mux, "h264parse", "video")?),
        _ => Err(BuildError::Video),
    }
}

fn audio_branch(pipeline: &gst::Pipeline, mux: &gst::Element, kind: StreamKind) -> Result<gst::Pad, BuildError> {
    match kind {
        StreamKind::Aac => Ok(branch(pipeline, mux, "aacparse", "audio")?),
        _ => Err(BuildError::Audio),
    }
}

fn link_branch(pad: &gst::Pad, video: Option<&gst::Pad>, audio: Option<&gst::Pad>) {
    let name = pad.name();
    let branch = if name.starts_with("video") { video } else { audio.filter(|_| name.starts_with("audio")) };
    if let Some(branch) = branch.filter(|branch| !branch.is_linked())
        && let Err(error) = pad.link(branch)
    {
        tracing::warn!("cannot link {name} of the RTMP pipeline: {error}");
    }
}

fn count_at(sink: &gst::Element, sent: Arc<Sent>) -> Result<(), glib::BoolError> {
    let pad = sink.static_pad("sink").ok_or_else(|| glib::bool_error!("rtmp2sink has no sink pad"))?;
    let probed = pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
        let (buffers, bytes) = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => (1, buffer.size()),
            Some(gst::PadProbeData::BufferList(list)) => (list.len(), list.calculate_size()),
            _ => (0, 0),
        };
        sent.buffers.fetch_add(buffers as u64, Ordering::Relaxed);
        sent.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    probed.map(|_| ()).ok_or_else(|| glib::bool_error!("cannot watch rtmp2sink's pad"))
}
