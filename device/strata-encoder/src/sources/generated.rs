//! Sources that this process makes up: test pattern and simulated camera.
//!
//! Owns the thread that paints a frame and its piece of tone at each tick of
//! the frame rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gstreamer as gst;
use strata_control::EndReason;
use strata_encoder_protocol::SourceError;

use super::source_error;
use crate::format::RawFormat;
use crate::painter::{Painter, unix_ms};
use crate::picture::{Moment, SceneKind};
use crate::seam::SourceTap;
use crate::timeline::{SoundTimeline, VideoTimeline};
use crate::tone::{FRAME_BYTES, Tone};

/// Frames that are later than this are left out: the machine was busy, or stood still.
const LATEST: Duration = Duration::from_millis(500);

/// The painting thread.
#[derive(Debug)]
pub(crate) struct GeneratedSource {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts painting.
pub(super) fn start(
    kind: SceneKind,
    tone: Tone,
    format: &RawFormat,
    tap: SourceTap,
) -> Result<GeneratedSource, SourceError> {
    let no_memory = |error: String| source_error(EndReason::Other, format!("the picture cannot be painted: {error}"));
    let painter = Painter::new(kind, format).map_err(|error| no_memory(error.to_string()))?;
    let stop = Arc::new(AtomicBool::new(false));
    let generator = Generator { painter, tone, grid: VideoTimeline::new(format.rate), tap, stop: Arc::clone(&stop) };
    let thread = std::thread::Builder::new().name("painter".to_owned()).spawn(move || generator.run());
    let thread = thread.map_err(|error| no_memory(error.to_string()))?;
    Ok(GeneratedSource { stop, thread: Some(thread) })
}

impl Drop for GeneratedSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the painting thread had panicked");
            }
        }
    }
}

struct Generator {
    painter: Painter,
    tone: Tone,
    grid: VideoTimeline,
    tap: SourceTap,
    stop: Arc<AtomicBool>,
}

impl Generator {
    fn run(self) {
        self.tap.set_has_sound(true);
        let began = self.tap.now();
        let (mut tick, mut counter) = (0, 0);
        while !self.stop.load(Ordering::Relaxed) {
            let due = began + Duration::from_nanos(self.grid.slot_time(tick));
            let now = self.tap.now();
            if due > now {
                std::thread::park_timeout(due - now);
                continue;
            }
            if now - due < LATEST {
                self.make(tick, counter, began);
                counter += 1;
            }
            tick += 1;
        }
    }

    fn make(&self, tick: u64, counter: u64, began: Duration) {
        let (from_ns, to_ns) = (self.grid.slot_time(tick), self.grid.slot_time(tick + 1));
        let moment = Moment { unix_ms: unix_ms(), scene_ms: from_ns / 1_000_000, counter };
        let Some(frame) = self.painter.paint(moment) else {
            tracing::warn!("no memory for a frame");
            return;
        };
        self.tap.video(frame, began + Duration::from_nanos(from_ns));
        let (from, to) = (SoundTimeline::sample_at(from_ns), SoundTimeline::sample_at(to_ns));
        let mut sound = vec![0; usize::try_from(to - from).unwrap_or(0) * FRAME_BYTES];
        self.tone.fill(from, &mut sound);
        self.tap.sound(gst::Buffer::from_mut_slice(sound), began + Duration::from_nanos(from_ns));
    }
}
