//! A V4L2 node as a source.
//!
//! Owns the capturing pipeline, the choice among the formats that the node
//! offers, and what its errors mean to people. Only nodes that capture are
//! taken: `v4l2src` opens no other, which is asked before any format.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use strata_control::EndReason;
use strata_encoder_protocol::SourceError;

use super::branch::{self, BranchError};
use super::source_error;
use crate::elements;
use crate::format::RawFormat;

/// `V4L2_CAP_VIDEO_CAPTURE` and its multiplanar kind, as `v4l2src` shows them in `flags`.
const CAPTURES: u32 = 0x1 | 0x1000;
/// A frame is never taken for older than this.
const OLDEST: Duration = Duration::from_secs(1);
/// How long the bus is waited on at a time.
const NAP: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// The capturing pipeline and the thread that watches it.
#[derive(Debug)]
pub(crate) struct CameraSource {
    pipeline: gst::Pipeline,
    stop: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

/// Opens the node and starts capturing; frames that fail to come are told to the seam.
pub(super) fn start(node: &str, format: &RawFormat, tap: crate::seam::SourceTap) -> Result<CameraSource, SourceError> {
    let sink = branch::sink("pictures");
    // The newest frame matters; a busy machine skips some.
    sink.set_max_buffers(4);
    sink.set_callbacks(frames_to(tap.clone()));
    let mut camera = capture(node, format, &sink)?;
    camera.watch(node.to_owned(), tap)?;
    Ok(camera)
}

/// Opens the node and captures into a sink, which drops frames that nobody takes.
pub(super) fn capture(node: &str, format: &RawFormat, sink: &gst_app::AppSink) -> Result<CameraSource, SourceError> {
    check_node(Path::new(node))?;
    elements::require(branch::NEEDED)?;
    elements::require(&["v4l2src"])?;
    sink.set_drop(true);
    let camera = CameraSource { pipeline: gst::Pipeline::new(), stop: Arc::new(AtomicBool::new(false)), watcher: None };
    camera.build(node, format, sink)?;
    Ok(camera)
}

impl CameraSource {
    fn build(&self, node: &str, format: &RawFormat, sink: &gst_app::AppSink) -> Result<(), SourceError> {
        let source = elements::make("v4l2src")?;
        elements::set_if_present(&source, "device", node);
        let refused = |error: BranchError| unreadable(node, &error.to_string());
        self.pipeline.add(&source).map_err(|error| refused(error.into()))?;
        let opened = source.set_state(gst::State::Ready);
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        if opened.is_err() {
            let message = bus.pop_filtered(&[gst::MessageType::Error]);
            return Err(explain_opened(node, message.as_ref()));
        }
        if !captures(&source) {
            return Err(not_a_camera(node));
        }
        let pad = source.static_pad("src").expect("a source has a pad");
        let chosen = choose(&pad.query_caps(None), format).ok_or_else(|| {
            unreadable(
                node,
                "it offers neither raw pictures nor Motion JPEG; another camera or capture device is needed",
            )
        })?;
        tracing::info!(node, format = %chosen, "capturing");
        self.connect(&source, &chosen, format, sink).map_err(refused)
    }

    fn connect(
        &self,
        source: &gst::Element,
        chosen: &gst::Caps,
        format: &RawFormat,
        sink: &gst_app::AppSink,
    ) -> Result<(), BranchError> {
        let filter = elements::make("capsfilter")?;
        filter.set_property("caps", chosen);
        let mut chain = vec![source.clone(), filter];
        if let Some(jpeg) = chosen.structure(0).filter(|structure| structure.name() == "image/jpeg") {
            // Decoding is what costs.
            chain.extend(branch::thinner(jpeg, format)?);
            chain.push(elements::make("jpegdec")?);
        }
        for element in &chain[1..] {
            self.pipeline.add(element)?;
        }
        gst::Element::link_many(&chain)?;
        let last = chain.last().and_then(|element| element.static_pad("src")).expect("a filter has a source pad");
        branch::video(&self.pipeline, &last, format, sink)?;
        self.pipeline.set_state(gst::State::Playing)?;
        Ok(())
    }

    fn watch(&mut self, node: String, tap: crate::seam::SourceTap) -> Result<(), SourceError> {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let stop = Arc::clone(&self.stop);
        let watch = move || {
            while !stop.load(Ordering::Relaxed) {
                if let Some(failure) = failure(&bus, &node, NAP) {
                    return tap.failed(failure);
                }
            }
        };
        let thread = std::thread::Builder::new().name("camera".to_owned()).spawn(watch);
        let thread =
            thread.map_err(|error| source_error(EndReason::Other, format!("no thread for the camera: {error}")))?;
        self.watcher = Some(thread);
        Ok(())
    }

    /// Why no more frames will come, if that is so.
    pub(super) fn failure(&self, node: &str) -> Option<SourceError> {
        failure(&self.pipeline.bus()?, node, gst::ClockTime::ZERO)
    }
}

fn failure(bus: &gst::Bus, node: &str, wait: gst::ClockTime) -> Option<SourceError> {
    let message = bus.timed_pop_filtered(wait, &[gst::MessageType::Error, gst::MessageType::Eos])?;
    Some(match message.view() {
        gst::MessageView::Error(error) => explain(node, error),
        _ => unreadable(node, "it stopped giving pictures; is it still plugged in?"),
    })
}

impl Drop for CameraSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("the camera could not be closed");
        }
        if let Some(watcher) = self.watcher.take()
            && watcher.join().is_err()
        {
            tracing::error!("the camera's thread had panicked");
        }
    }
}

/// Hands frames on with the time at which they were taken.
fn frames_to(tap: crate::seam::SourceTap) -> gst_app::AppSinkCallbacks {
    gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(buffer) = sample.buffer_owned() {
                let age = age_of(sink, &sample, &buffer).unwrap_or(Duration::ZERO).min(OLDEST);
                tap.video(buffer, tap.now().saturating_sub(age));
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .build()
}

fn age_of(sink: &gst_app::AppSink, sample: &gst::Sample, buffer: &gst::Buffer) -> Option<Duration> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let taken = segment.to_running_time(buffer.pts()?)?;
    let now = sink.current_running_time()?;
    Some(Duration::from_nanos(now.saturating_sub(taken).nseconds()))
}

fn check_node(node: &Path) -> Result<(), SourceError> {
    let name = node.display().to_string();
    let metadata = std::fs::metadata(node).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => not_permitted(&name),
        _ => missing(&name),
    })?;
    if !metadata.file_type().is_char_device() {
        return Err(not_a_camera(&name));
    }
    match std::fs::OpenOptions::new().read(true).write(true).open(node) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            std::io::ErrorKind::PermissionDenied => not_permitted(&name),
            std::io::ErrorKind::ResourceBusy => busy(&name),
            // No such device: the node is there and its hardware is gone.
            _ => unreadable(&name, &format!("it cannot be opened ({error})")),
        }),
    }
}

fn captures(source: &gst::Element) -> bool {
    let flags = source.property_value("flags");
    let bits = flags.transform::<u32>().ok().and_then(|value| value.get::<u32>().ok());
    // Flags that cannot be read leave the answer to the formats that the node offers.
    bits.is_none_or(|bits| bits & CAPTURES != 0)
}

fn explain_opened(node: &str, message: Option<&gst::Message>) -> SourceError {
    match message.map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => match error.error().kind::<gst::ResourceError>() {
            // The node is there; `v4l2src` also says "not found" of nodes that do not capture.
            Some(gst::ResourceError::NotFound | gst::ResourceError::Settings) => not_a_camera(node),
            _ => explain(node, error),
        },
        _ => not_a_camera(node),
    }
}

fn explain(node: &str, error: &gst::message::Error) -> SourceError {
    match error.error().kind::<gst::ResourceError>() {
        Some(gst::ResourceError::NotFound) => missing(node),
        Some(gst::ResourceError::Busy) => busy(node),
        Some(gst::ResourceError::NotAuthorized) => not_permitted(node),
        _ => unreadable(node, &format!("it gives no pictures: {}", elements::describe(error))),
    }
}

fn missing(node: &str) -> SourceError {
    let message = format!("there is no camera {node}; plug it in, or choose another source");
    source_error(EndReason::SourceMissing, message)
}

fn busy(node: &str) -> SourceError {
    unreadable(node, "another program uses it; stop the other stream or program first")
}

fn not_permitted(node: &str) -> SourceError {
    unreadable(node, "this program may not open it; its user must be in the group “video”")
}

fn not_a_camera(node: &str) -> SourceError {
    unreadable(node, "it is not a camera: it cannot capture video; choose one of the inputs that the device lists")
}

fn unreadable(node: &str, why: &str) -> SourceError {
    source_error(EndReason::SourceUnreadable, format!("the camera {node}: {why}"))
}

/// One of a node's formats.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Offer {
    width: i32,
    height: i32,
    fps: f64,
    compressed: bool,
}

/// Among what a node offers, the format nearest to the stream's: fast enough, large enough, then raw, then small.
fn choose(offered: &gst::Caps, format: &RawFormat) -> Option<gst::Caps> {
    // Interlaced fields and buffers of a graphics card are offered beside plain pictures, as features of the same type.
    let usable = |(structure, features): &(&gst::StructureRef, &gst::CapsFeaturesRef)| {
        matches!(structure.name().as_str(), "video/x-raw" | "image/jpeg")
            && features.is_equal(gst::CAPS_FEATURES_MEMORY_SYSTEM_MEMORY.as_ref())
    };
    let nearest = |(structure, _): (&gst::StructureRef, &gst::CapsFeaturesRef)| nearest(structure, format);
    let best = offered.iter_with_features().filter(usable).filter_map(nearest).min_by(|(one, _), (other, _)| {
        rank(one, format).partial_cmp(&rank(other, format)).unwrap_or(std::cmp::Ordering::Equal)
    })?;
    Some(gst::Caps::from(best.1))
}

/// Lower is better.
fn rank(offer: &Offer, format: &RawFormat) -> (bool, f64, bool, f64) {
    let wanted = (f64::from(format.info.width()), f64::from(format.info.height()));
    let too_slow = offer.fps < 0.95 * format.rate.as_f64();
    let too_small = f64::from(offer.width) < wanted.0 || f64::from(offer.height) < wanted.1;
    let pixels = f64::from(offer.width) * f64::from(offer.height);
    // What cannot be had whole should at least be large.
    let lacking = if too_small { wanted.0 * wanted.1 / pixels.max(1.0) } else { 0.0 };
    (too_slow, lacking, offer.compressed, pixels)
}

/// A structure with ranges and lists, fixed as near to the stream's format as it gets.
fn nearest(structure: &gst::StructureRef, format: &RawFormat) -> Option<(Offer, gst::Structure)> {
    let mut fixed = structure.to_owned();
    fixed.fixate_field_nearest_int("width", i32::try_from(format.info.width()).ok()?);
    fixed.fixate_field_nearest_int("height", i32::try_from(format.info.height()).ok()?);
    if fixed.has_field("framerate") {
        fixed.fixate_field_nearest_fraction("framerate", format.info.fps());
    }
    let fps = fixed
        .get::<gst::Fraction>("framerate")
        .map_or(0.0, |fps| f64::from(fps.numer()) / f64::from(fps.denom().max(1)));
    let offer = Offer {
        width: fixed.get("width").ok()?,
        height: fixed.get("height").ok()?,
        fps,
        compressed: fixed.name() == "image/jpeg",
    };
    Some((offer, fixed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_control::{EncoderSettings, FrameRate};

    fn chosen(offered: &str, width: u32, height: u32, fps: u32) -> Option<String> {
        gst::init().unwrap();
        let settings =
            EncoderSettings { width, height, frame_rate: FrameRate::per_second(fps), ..EncoderSettings::default() };
        let offered: gst::Caps = offered.parse().unwrap();
        let caps = choose(&offered, &RawFormat::new(&settings).unwrap())?;
        let structure = caps.structure(0)?.to_owned();
        let (width, height) = (structure.get::<i32>("width").unwrap(), structure.get::<i32>("height").unwrap());
        let fps = structure.get::<gst::Fraction>("framerate").unwrap();
        Some(format!("{} {width}x{height}@{}", structure.name(), fps.numer() / fps.denom()))
    }

    /// What a common UVC capture device offers.
    const UVC: &str = "video/x-raw,format=YUY2,width=640,height=480,framerate={30/1,15/1};\
        video/x-raw,format=YUY2,width=1280,height=720,framerate=10/1;\
        video/x-raw,format=YUY2,width=1920,height=1080,framerate=5/1;\
        image/jpeg,width=1280,height=720,framerate={60/1,30/1};\
        image/jpeg,width=1920,height=1080,framerate={60/1,50/1,30/1}";

    #[test]
    fn the_nearest_format_is_chosen() {
        for (offered, (width, height, fps), expected) in [
            (UVC, (1280, 720, 30), "image/jpeg 1280x720@30"),
            (UVC, (1920, 1080, 60), "image/jpeg 1920x1080@60"),
            (UVC, (640, 480, 30), "video/x-raw 640x480@30"),
            (UVC, (1280, 720, 5), "video/x-raw 1280x720@10"),
            (UVC, (3840, 2160, 30), "image/jpeg 1920x1080@30"),
            (
                "video/x-raw,width=[16,4096],height=[16,4096],framerate=[1/1,120/1]",
                (1280, 720, 25),
                "video/x-raw 1280x720@25",
            ),
            ("video/x-raw,width=1280,height=720,framerate=15/1", (1280, 720, 30), "video/x-raw 1280x720@15"),
        ] {
            assert_eq!(chosen(offered, width, height, fps).as_deref(), Some(expected), "{width}x{height}@{fps}");
        }
        let features = "video/x-raw(memory:DMABuf),format=DMA_DRM,width=1280,height=720,framerate=30/1;\
            video/x-raw(format:Interlaced),format=YUY2,width=1280,height=720,framerate=30/1";
        assert_eq!(chosen(features, 1280, 720, 30), None);
        let both = format!("{features};video/x-raw,format=YUY2,width=640,height=480,framerate=30/1");
        assert_eq!(chosen(&both, 1280, 720, 30).as_deref(), Some("video/x-raw 640x480@30"));
        assert_eq!(chosen("video/x-h264,width=1280,height=720,framerate=30/1", 1280, 720, 30), None);
    }

    #[test]
    fn a_node_that_cannot_be_used_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("video0");
        std::fs::write(&file, "no node").unwrap();
        for (node, reason, part) in [
            (folder.path().join("nothing"), EndReason::SourceMissing, "plug it in"),
            (file, EndReason::SourceUnreadable, "not a camera"),
        ] {
            let error = check_node(&node).unwrap_err();
            assert_eq!(error.reason, reason);
            assert!(
                error.message.contains(part) && error.message.contains(node.to_str().unwrap()),
                "{}",
                error.message
            );
        }
    }
}
