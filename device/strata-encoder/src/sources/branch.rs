//! The way from a decoded pad to the stream's raw format, and the sink at its end.
//!
//! Owns the elements in between, for video and for sound. Does not own what is
//! done with the buffers.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use crate::elements::{self, MissingElement};
use crate::format::RawFormat;

/// Why a branch cannot be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum BranchError {
    /// An element is missing.
    #[error(transparent)]
    Missing(#[from] MissingElement),
    /// GStreamer refused.
    #[error("GStreamer refuses to convert this format: {0}")]
    Refused(#[from] gst::glib::BoolError),
    /// The pipeline's part does not start.
    #[error("GStreamer does not start the conversion")]
    State(#[from] gst::StateChangeError),
    /// Pads do not fit.
    #[error("GStreamer refuses to convert this format: {0}")]
    Link(#[from] gst::PadLinkError),
}

/// What both kinds need.
pub(super) const NEEDED: &[&str] = &["queue", "capsfilter", "audioconvert", "audioresample"];

/// A sink that hands out buffers as they come.
pub(super) fn sink(name: &str) -> gst_app::AppSink {
    gst_app::AppSink::builder().name(name).sync(false).async_(false).build()
}

/// Frames of any kind to the stream's own, thinned when there are far too many.
pub(super) fn video(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    format: &RawFormat,
    sink: &gst_app::AppSink,
) -> Result<(), BranchError> {
    let caps = pad.current_caps().or_else(|| Some(pad.query_caps(None)));
    let structure = caps.as_ref().and_then(|caps| caps.structure(0));
    let queue = elements::make("queue")?;
    for (property, value) in [("max-size-buffers", "3"), ("max-size-bytes", "0"), ("max-size-time", "0")] {
        elements::set_if_present(&queue, property, value);
    }
    let mut chain = vec![queue];
    if structure.is_some_and(is_interlaced) && elements::is_present("deinterlace") {
        chain.push(elements::make("deinterlace")?);
    }
    chain.extend(structure.map(|structure| thinner(structure, format)).transpose()?.flatten());
    if elements::is_present("videoconvertscale") {
        chain.push(elements::make("videoconvertscale")?);
    } else {
        chain.extend([elements::make("videoscale")?, elements::make("videoconvert")?]);
    }
    chain.push(filter(&format.video_caps_any_rate()?)?);
    connect(pipeline, pad, chain, sink)
}

/// Sound of any kind to the stream's own.
pub(super) fn audio(pipeline: &gst::Pipeline, pad: &gst::Pad, sink: &gst_app::AppSink) -> Result<(), BranchError> {
    let chain = ["queue", "audioconvert", "audioresample"];
    let mut chain = chain.into_iter().map(elements::make).collect::<Result<Vec<_>, _>>()?;
    chain.push(filter(&RawFormat::audio_caps())?);
    connect(pipeline, pad, chain, sink)
}

/// Drops frames, decoded or not, before more is done with them; none where there are not many more than the stream needs.
pub(super) fn thinner(caps: &gst::StructureRef, format: &RawFormat) -> Result<Option<gst::Element>, MissingElement> {
    let many = |rate: gst::Fraction| as_f64(rate) > 1.2 * format.rate.as_f64();
    if !caps.get("framerate").is_ok_and(many) || !elements::is_present("videorate") {
        return Ok(None);
    }
    let element = elements::make("videorate")?;
    let most = format.rate.as_f64().ceil() as i32;
    elements::set_if_present(&element, "drop-only", "true");
    elements::set_if_present(&element, "max-rate", &most.to_string());
    Ok(Some(element))
}

fn filter(caps: &gst::Caps) -> Result<gst::Element, MissingElement> {
    let element = elements::make("capsfilter")?;
    element.set_property("caps", caps);
    Ok(element)
}

fn connect(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    mut chain: Vec<gst::Element>,
    sink: &gst_app::AppSink,
) -> Result<(), BranchError> {
    chain.push(sink.clone().upcast());
    pipeline.add_many(&chain)?;
    gst::Element::link_many(&chain)?;
    // The sink first: nothing must arrive at an element that does not run yet.
    for element in chain.iter().rev() {
        element.sync_state_with_parent()?;
    }
    let entry = chain[0].static_pad("sink").expect("a queue has a sink pad");
    pad.link(&entry)?;
    Ok(())
}

fn is_interlaced(structure: &gst::StructureRef) -> bool {
    structure.get::<&str>("interlace-mode").is_ok_and(|mode| mode != "progressive")
}

fn as_f64(rate: gst::Fraction) -> f64 {
    f64::from(rate.numer()) / f64::from(rate.denom().max(1))
}
