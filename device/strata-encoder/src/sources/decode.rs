//! One run through a media file: decoded, converted, in order, not yet in time.
//!
//! Owns the decoding pipeline and what its errors mean to people. Its sinks
//! hold back the decoder after [`AHEAD_MS`] of pictures, so nobody needs to
//! tell it how fast to go. Does not own pacing nor the loop.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use strata_control::EndReason;
use strata_encoder_protocol::SourceError;

use super::branch::{self, BranchError};
use super::source_error;
use crate::elements;
use crate::format::RawFormat;

/// Pictures decoded ahead, in milliseconds: covers the opening of the next run of the loop.
const AHEAD_MS: u32 = 400;
/// No more memory than this for them.
const AHEAD_BYTES: usize = 64 << 20;
/// A file that shows nothing for so long is not worth waiting for.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// A picture or a piece of sound, and when it is due since the run's beginning.
pub(super) type Timed = (gst::Buffer, Duration);

/// One run through a file.
pub(super) struct Decode {
    path: PathBuf,
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    shared: Arc<Shared>,
    /// Taken while the file was opened.
    first: Option<Timed>,
}

/// What the decoder's threads tell.
struct Shared {
    video: gst_app::AppSink,
    audio: gst_app::AppSink,
    has_video: AtomicBool,
    has_audio: AtomicBool,
    all_pads: AtomicBool,
    /// The last buffer of a track was decoded; it may still wait to be taken.
    decoded_all: AtomicBool,
    error: Mutex<Option<BranchError>>,
}

impl Decode {
    /// Opens the file and waits for its first picture.
    pub(super) fn open(path: &Path, format: &RawFormat) -> Result<Self, SourceError> {
        check_readable(path)?;
        elements::require(branch::NEEDED)?;
        elements::require(&["filesrc", "decodebin"])?;
        let shared = Arc::new(Shared::new(format));
        let pipeline = gst::Pipeline::new();
        let bus = pipeline.bus().expect("a pipeline has a bus");
        let mut run = Self { path: path.to_owned(), pipeline, bus, shared, first: None };
        run.build(format).map_err(|error| run.unreadable(&error.to_string()))?;
        run.wait_for_first_picture()?;
        Ok(run)
    }

    /// Whether the file has sound.
    pub(super) fn has_audio(&self) -> bool {
        self.shared.has_audio.load(Ordering::Acquire)
    }

    /// The next picture, waiting for it at most this long.
    pub(super) fn next_video(&mut self, patience: Duration) -> Option<Timed> {
        self.first.take().or_else(|| pull(&self.shared.video, patience))
    }

    /// The next piece of sound, if it is there.
    pub(super) fn next_audio(&self) -> Option<Timed> {
        self.has_audio().then(|| pull(&self.shared.audio, Duration::ZERO))?
    }

    /// Whether pictures, and sound, were all taken.
    pub(super) fn ended(&self) -> (bool, bool) {
        let video = self.first.is_none() && self.shared.video.is_eos();
        (video, !self.has_audio() || self.shared.audio.is_eos())
    }

    /// Whether the end of the file was decoded: time to open the next run.
    pub(super) fn near_end(&self) -> bool {
        self.shared.decoded_all.load(Ordering::Acquire)
    }

    /// An error since the last call.
    pub(super) fn error(&self) -> Option<SourceError> {
        if let Some(error) = self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Some(self.unreadable(&error.to_string()));
        }
        let message = self.bus.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(self.explain(error)),
            _ => None,
        }
    }

    fn build(&self, format: &RawFormat) -> Result<(), BranchError> {
        let source = elements::make("filesrc")?;
        source.set_property("location", self.path.as_os_str().to_string_lossy().as_ref());
        let decoder = elements::make("decodebin")?;
        self.pipeline.add_many([&source, &decoder])?;
        source.link(&decoder)?;
        let (shared, pipeline, format) = (Arc::clone(&self.shared), self.pipeline.downgrade(), format.clone());
        decoder.connect_pad_added(move |_, pad| {
            if let Some(pipeline) = pipeline.upgrade() {
                shared.attach(&pipeline, pad, &format);
            }
        });
        let shared = Arc::clone(&self.shared);
        decoder.connect_no_more_pads(move |_| shared.all_pads.store(true, Ordering::Release));
        self.pipeline.set_state(gst::State::Playing)?;
        Ok(())
    }

    fn wait_for_first_picture(&mut self) -> Result<(), SourceError> {
        let began = Instant::now();
        while began.elapsed() < OPEN_LIMIT {
            if let Some(error) = self.error() {
                return Err(error);
            }
            if self.shared.has_video.load(Ordering::Acquire) {
                self.first = pull(&self.shared.video, Duration::from_millis(20));
                if self.first.is_some() && self.shared.all_pads.load(Ordering::Acquire) {
                    return Ok(());
                }
                if self.shared.video.is_eos() && self.first.is_none() {
                    return Err(self.unreadable("it has no complete picture"));
                }
            } else if self.shared.all_pads.load(Ordering::Acquire) {
                return Err(self.unreadable("it has no picture that this device can decode"));
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Err(self.unreadable("it gave no picture within 10 s"))
    }

    fn explain(&self, error: &gst::message::Error) -> SourceError {
        let cause = error.error();
        let detail = elements::describe(error);
        match (cause.kind::<gst::ResourceError>(), cause.kind::<gst::StreamError>()) {
            (Some(gst::ResourceError::NotFound), _) => missing(&self.path),
            (_, Some(gst::StreamError::CodecNotFound)) => {
                self.unreadable(&format!("no decoder for it on this device; install gstreamer1.0-libav ({detail})"))
            }
            (_, Some(gst::StreamError::TypeNotFound | gst::StreamError::WrongType)) => {
                self.unreadable("it is not a media file; choose a video such as MP4, MKV or MPEG-TS")
            }
            _ => self.unreadable(&format!("it is damaged or in a format this device cannot decode ({detail})")),
        }
    }

    fn unreadable(&self, why: &str) -> SourceError {
        source_error(EndReason::SourceUnreadable, format!("the file {}: {why}", self.path.display()))
    }
}

impl Drop for Decode {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!(file = %self.path.display(), "its decoder could not be stopped");
        }
    }
}

impl Shared {
    fn new(format: &RawFormat) -> Self {
        let by_memory = u32::try_from(AHEAD_BYTES / format.info.size().max(1)).unwrap_or(u32::MAX);
        let video = branch::sink("pictures");
        video.set_max_buffers(format.frames_in(AHEAD_MS, 4).min(by_memory.max(4)));
        let audio = branch::sink("sound");
        // About a second, for files that interleave badly; sound is small.
        audio.set_max_buffers(50);
        Self {
            video,
            audio,
            has_video: AtomicBool::new(false),
            has_audio: AtomicBool::new(false),
            all_pads: AtomicBool::new(false),
            decoded_all: AtomicBool::new(false),
            error: Mutex::new(None),
        }
    }

    /// Takes the first video and the first audio track; what else there is goes nowhere.
    fn attach(self: &Arc<Self>, pipeline: &gst::Pipeline, pad: &gst::Pad, format: &RawFormat) {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let kind = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
        let result = if kind.starts_with("video/") && !self.has_video.load(Ordering::Acquire) {
            self.watch_end(&self.video);
            let result = branch::video(pipeline, pad, format, &self.video);
            self.has_video.store(true, Ordering::Release);
            result
        } else if kind.starts_with("audio/") && !self.has_audio.load(Ordering::Acquire) {
            self.watch_end(&self.audio);
            let result = branch::audio(pipeline, pad, &self.audio);
            self.has_audio.store(true, Ordering::Release);
            result
        } else {
            Ok(())
        };
        if let Err(error) = result {
            *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }

    fn watch_end(self: &Arc<Self>, sink: &gst_app::AppSink) {
        let shared = Arc::downgrade(self);
        let pad = sink.static_pad("sink").expect("a sink has a sink pad");
        let probe = pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if info.event().is_some_and(|event| event.type_() == gst::EventType::Eos)
                && let Some(shared) = shared.upgrade()
            {
                shared.decoded_all.store(true, Ordering::Release);
            }
            gst::PadProbeReturn::Ok
        });
        debug_assert!(probe.is_some(), "an event probe stays");
    }
}

fn pull(sink: &gst_app::AppSink, patience: Duration) -> Option<Timed> {
    let limit = gst::ClockTime::from_nseconds(crate::seam::nanoseconds(patience));
    let sample = sink.try_pull_sample(limit)?;
    let buffer = sample.buffer_owned()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let time = segment.to_running_time(buffer.pts()?).unwrap_or(gst::ClockTime::ZERO);
    Some((buffer, Duration::from_nanos(time.nseconds())))
}

fn check_readable(path: &Path) -> Result<(), SourceError> {
    let unreadable =
        |why: &str| source_error(EndReason::SourceUnreadable, format!("the file {}: {why}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => missing(path),
        _ => unreadable(&format!("it cannot be looked at ({error})")),
    })?;
    if metadata.is_dir() {
        return Err(unreadable("it is a folder; choose a file in it"));
    }
    if !metadata.is_file() {
        return Err(unreadable("it is no regular file"));
    }
    if metadata.len() == 0 {
        return Err(unreadable("it is empty; copy it to the device again"));
    }
    std::fs::File::open(path)
        .map(drop)
        .map_err(|error| unreadable(&format!("it cannot be read ({error}); check its owner and permissions")))
}

fn missing(path: &Path) -> SourceError {
    source_error(
        EndReason::SourceMissing,
        format!("there is no file {}; copy it to the device, or choose another source", path.display()),
    )
}
