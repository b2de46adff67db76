//! Receives the bonded stream: `stratasrc ! appsink` on a thread of GStreamer's.
//!
//! Owns the pipeline and its bus. Does not own what is done with the stream.
//! Why GStreamer here, and why no `tee`: see `docs/decisions/`.

use anyhow::{Context, Result, anyhow};
use futures_util::{FutureExt, StreamExt};
use gstreamer as gst;
use gstreamer::bus::BusStream;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use gststrata::{SourceStats, StrataSrc};
use strata_worker_protocol::WorkerConfig;

use crate::intake::{Chunk, Intake};

/// Bounds the receiving thread to 100 buffers a second however evenly a sender paces its datagrams.
/// Makes no measurable difference for one that sends frame by frame.
const GATHER_MS: u32 = 10;

/// The running pipeline; stopped when dropped.
pub struct Source {
    pipeline: gst::Pipeline,
    element: StrataSrc,
    /// Kept for as long as the pipeline: a message in it would be lost with it.
    messages: BusStream,
}

impl Source {
    /// Builds the pipeline and starts to receive.
    ///
    /// # Errors
    /// When the address cannot be listened on; the message names it and what to do.
    pub fn start(config: &WorkerConfig, intake: Intake) -> Result<Self> {
        let element = StrataSrc::new();
        let identity = config.key.key_pair().context("the worker's key is not a private key")?;
        element.set_identity(identity);
        element.set_allow(config.allow);
        element.set_listen(config.listen);
        element.set_property("latency", config.latency_ms);
        element.set_property("gather", GATHER_MS);
        let sink = AppSink::builder().sync(false).async_(false).build();
        sink.set_callbacks(AppSinkCallbacks::builder().new_sample(move |sink| take_sample(sink, &intake)).build());
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([element.upcast_ref::<gst::Element>(), sink.upcast_ref()])?;
        element.link(&sink)?;
        let messages = pipeline.bus().context("a pipeline has a bus")?.stream();
        let mut source = Self { pipeline, element, messages };
        if source.pipeline.set_state(gst::State::Playing).is_err() {
            // The element has posted why before the change of state was refused.
            let why = source.failed().now_or_never();
            return Err(anyhow!(why.unwrap_or_else(|| "the receiver's pipeline does not start".to_owned())));
        }
        Ok(source)
    }

    /// Waits until the pipeline fails; the message says why.
    pub async fn failed(&mut self) -> String {
        while let Some(message) = self.messages.next().await {
            match message.view() {
                gst::MessageView::Error(error) => return error.error().message().to_owned(),
                gst::MessageView::Eos(_) => return "the receiver ended".to_owned(),
                _ => {}
            }
        }
        std::future::pending().await
    }

    /// The latency for what is received from the next start on: the sender's own, if larger, holds at once.
    pub fn set_latency(&self, latency_ms: u32) {
        self.element.set_property("latency", latency_ms);
    }

    /// What the transport counts.
    #[must_use]
    pub fn stats(&self) -> Option<SourceStats> {
        self.element.stats()
    }

    /// Ends receiving; the port is free afterwards.
    pub fn stop(&self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::error!("the receiver's pipeline does not stop");
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop();
    }
}

fn take_sample(sink: &AppSink, intake: &Intake) -> Result<gst::FlowSuccess, gst::FlowError> {
    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
    let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
    let data = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
    let flags = buffer.flags();
    intake.push(Chunk {
        data: &data,
        lost_before: flags.contains(gst::BufferFlags::DISCONT),
        new_session: flags.contains(gst::BufferFlags::RESYNC),
    });
    Ok(gst::FlowSuccess::Ok)
}
