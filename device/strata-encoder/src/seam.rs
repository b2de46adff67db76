//! The seam between sources and encoder: whatever sources do, the encoder gets an unbroken stream.
//!
//! Owns which source is shown, the switch from one to the next at a frame, what
//! fills the holes (the last frame for a moment, then a slate; silence), and
//! the bound on what waits for the encoder. Sources push into it from threads
//! of their own and can fail as they like; it pushes into the encoder's two
//! `appsrc`. Does not own sources' lives nor the decision to switch.
//!
//! One lock; nothing that can block happens under it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer_app as gst_app;
use strata_encoder_protocol::SourceError;
use tokio::sync::mpsc;

use crate::format::RawFormat;
use crate::painter::{Painter, unix_ms};
use crate::picture::{Moment, SceneKind};
use crate::timeline::{SoundTimeline, VideoPlace, VideoTimeline};
use crate::tone::{FRAME_BYTES, SAMPLE_RATE};

/// Counts the sources of a stream; each start of one is a new generation.
pub(crate) type Generation = u64;

/// A source that was silent for so long has its holes filled, always this much behind the present.
const PATIENCE: Duration = Duration::from_millis(200);
/// So long the last frame is repeated before the slate is shown.
const HOLD: Duration = Duration::from_secs(1);
/// So long a stream waits for its first frame before it begins with the slate.
const FIRST_FRAME: Duration = Duration::from_secs(2);
/// Raw pictures that may wait for the encoder: a machine that is busy for a moment loses none of them.
const WAITING_MS: u32 = 1_500;
/// No more memory than this for them.
const WAITING_BYTES: usize = 128 << 20;
/// Raw sound that may wait for the encoder: four seconds, more than the muxer ever lets it wait for video.
const WAITING_SOUND_BYTES: u64 = 4 * SAMPLE_RATE * FRAME_BYTES as u64;

/// What a source tells the session.
#[derive(Debug)]
pub(crate) enum SourceEvent {
    /// Its first frame is shown: it replaced the source before it.
    TookOver(Generation),
    /// It gives no more.
    Failed(Generation, SourceError),
}

/// What the viewer sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Showing {
    /// Nothing yet.
    Nothing,
    /// The source.
    Source,
    /// The slate.
    Slate,
}

/// The seam.
pub(crate) struct Seam {
    began: Instant,
    format: RawFormat,
    events: mpsc::Sender<SourceEvent>,
    inner: Mutex<Inner>,
}

struct Feed {
    generation: Generation,
    has_sound: bool,
}

struct Inner {
    video: gst_app::AppSrc,
    audio: gst_app::AppSrc,
    waiting_limit: u64,
    grid: VideoTimeline,
    sound: SoundTimeline,
    active: Option<Feed>,
    candidate: Option<Feed>,
    last_frame: Option<gst::Buffer>,
    last_video: Duration,
    last_sound: Duration,
    showing: Showing,
    slate: Option<Painter>,
    skipped: u64,
}

impl Seam {
    /// Feeds these two; the stream's time begins now.
    pub(crate) fn new(
        format: RawFormat,
        video: gst_app::AppSrc,
        audio: gst_app::AppSrc,
        events: mpsc::Sender<SourceEvent>,
    ) -> Arc<Self> {
        let by_memory = (WAITING_BYTES / format.info.size().max(1)) as u64;
        let inner = Inner {
            video,
            audio,
            waiting_limit: u64::from(format.frames_in(WAITING_MS, 4)).min(by_memory.max(4)),
            grid: VideoTimeline::new(format.rate),
            sound: SoundTimeline::default(),
            active: None,
            candidate: None,
            last_frame: None,
            last_video: Duration::ZERO,
            last_sound: Duration::ZERO,
            showing: Showing::Nothing,
            slate: None,
            skipped: 0,
        };
        Arc::new(Self { began: Instant::now(), format, events, inner: Mutex::new(inner) })
    }

    /// Time since the stream began.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is pushed through a source's tap with this generation is shown from its first frame on.
    pub(crate) fn expect_source(self: &Arc<Self>, generation: Generation) -> SourceTap {
        self.lock().candidate = Some(Feed { generation, has_sound: false });
        SourceTap { seam: Arc::clone(self), generation }
    }

    /// This source's pushes are ignored from now on.
    pub(crate) fn forget_source(&self, generation: Generation) {
        let mut inner = self.lock();
        let other = |feed: &mut Feed| feed.generation == generation;
        inner.active.take_if(other);
        inner.candidate.take_if(other);
    }

    /// What the viewer sees, and for how long no source gave a frame.
    pub(crate) fn showing(&self) -> (Showing, Duration) {
        let inner = self.lock();
        (inner.showing, self.now().saturating_sub(inner.last_video))
    }

    /// Frames that were not encoded because the encoder was too slow for them.
    pub(crate) fn skipped_frames(&self) -> u64 {
        self.lock().skipped
    }

    /// Fills what sources left open; call it at least every 50 ms.
    pub(crate) fn fill(&self) {
        let now = self.now();
        let mut inner = self.lock();
        let quiet = now.saturating_sub(inner.last_video);
        if inner.showing == Showing::Nothing {
            if now < FIRST_FRAME {
                return;
            }
            inner.begin_at(nanoseconds(now.saturating_sub(PATIENCE)));
        }
        if quiet > PATIENCE {
            if quiet > HOLD || inner.last_frame.is_none() {
                inner.showing = Showing::Slate;
            }
            let slots = inner.grid.fill_to(nanoseconds(now.saturating_sub(PATIENCE)));
            for slot in slots {
                let frame = if inner.showing == Showing::Slate { inner.slate_frame(&self.format, now) } else { None };
                inner.last_frame = frame.or(inner.last_frame.take());
                inner.push_last_frame(slot);
            }
        }
        let sound_due =
            inner.active.as_ref().is_none_or(|feed| !feed.has_sound) || now.saturating_sub(inner.last_sound) > PATIENCE;
        if sound_due {
            inner.fill_sound(nanoseconds(now.saturating_sub(PATIENCE)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: SourceEvent) {
        if let Err(error) = self.events.try_send(event) {
            tracing::error!(%error, "a source's message to the session was lost");
        }
    }
}

impl Inner {
    /// The stream's first moment: both tracks begin here.
    fn begin_at(&mut self, time: u64) {
        self.grid.skip_to(time);
        self.sound.skip_to(time);
        self.showing = Showing::Slate;
    }

    fn take_over(&mut self, generation: Generation, time: u64) -> bool {
        if self.candidate.as_ref().is_none_or(|feed| feed.generation != generation) {
            return false;
        }
        if self.showing == Showing::Nothing {
            self.begin_at(time);
        }
        self.active = self.candidate.take();
        self.grid.begin_source(time);
        self.sound.begin_source();
        true
    }

    fn is_active(&self, generation: Generation) -> bool {
        self.active.as_ref().is_some_and(|feed| feed.generation == generation)
    }

    fn show(&mut self, frame: gst::Buffer, time: u64) {
        if let VideoPlace::Slot { slot, first_repeat } = self.grid.place(time) {
            if self.last_frame.is_some() {
                (first_repeat..slot).for_each(|empty| self.push_last_frame(empty));
            }
            self.last_frame = Some(frame);
            self.push_last_frame(slot);
        }
        if self.active.as_ref().is_some_and(|feed| !feed.has_sound) {
            self.fill_sound(self.grid.end());
        }
    }

    /// A shallow copy: only the timestamps are the frame's own.
    fn push_last_frame(&mut self, slot: u64) {
        let Some(mut frame) = self.last_frame.clone() else { return };
        if self.video.current_level_buffers() >= self.waiting_limit {
            self.skipped += 1;
            return;
        }
        let (start, end) = (self.grid.slot_time(slot), self.grid.slot_time(slot + 1));
        stamp(frame.make_mut(), start, end - start);
        push(&self.video, frame);
    }

    fn fill_sound(&mut self, time: u64) {
        let place = self.sound.fill_to(time);
        self.push_silence(place.position, place.silence);
    }

    fn push_silence(&mut self, position: u64, samples: u64) {
        let mut done = 0;
        while done < samples {
            let part = (samples - done).min(SAMPLE_RATE / 10);
            let bytes = usize::try_from(part).expect("a tenth of a second") * FRAME_BYTES;
            self.push_sound(gst::Buffer::from_mut_slice(vec![0; bytes]), position + done, part);
            done += part;
        }
    }

    fn push_sound(&mut self, mut buffer: gst::Buffer, position: u64, samples: u64) {
        if self.audio.current_level_bytes() >= WAITING_SOUND_BYTES {
            return;
        }
        let (start, end) = (SoundTimeline::sample_time(position), SoundTimeline::sample_time(position + samples));
        stamp(buffer.make_mut(), start, end - start);
        push(&self.audio, buffer);
    }

    fn play(&mut self, buffer: gst::Buffer, time: u64) {
        let samples = (buffer.size() / FRAME_BYTES) as u64;
        let place = self.sound.place(time, samples);
        self.push_silence(place.position, place.silence);
        let cut = usize::try_from(place.skip).unwrap_or(usize::MAX).saturating_mul(FRAME_BYTES);
        let rest = if cut == 0 {
            Some(buffer)
        } else if cut < buffer.size() {
            buffer.copy_region(gst::BufferCopyFlags::MEMORY, cut..).ok()
        } else {
            None
        };
        if let Some(rest) = rest {
            self.push_sound(rest, place.position + place.silence, samples - place.skip);
        }
    }

    fn slate_frame(&mut self, format: &RawFormat, now: Duration) -> Option<gst::Buffer> {
        if self.slate.is_none() {
            self.slate = Painter::new(SceneKind::Slate, format)
                .inspect_err(|error| tracing::error!(%error, "no memory for the slate"))
                .ok();
        }
        let scene_ms = u64::try_from(now.as_millis()).unwrap_or(0);
        self.slate.as_ref()?.paint(Moment { unix_ms: unix_ms(), scene_ms, counter: 0 })
    }
}

fn stamp(buffer: &mut gst::BufferRef, start: u64, duration: u64) {
    buffer.set_pts(gst::ClockTime::from_nseconds(start));
    buffer.set_dts(gst::ClockTime::NONE);
    buffer.set_duration(gst::ClockTime::from_nseconds(duration));
    buffer.unset_flags(gst::BufferFlags::DISCONT);
}

/// An encoder that takes no more is told by its pipeline's bus, or is being stopped.
fn push(to: &gst_app::AppSrc, buffer: gst::Buffer) {
    if let Err(error) = to.push_buffer(buffer) {
        tracing::debug!(%error, "the encoder takes nothing");
    }
}

pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A source's way into the seam. Times are those of [`Seam::now`]: when a frame was taken, or is to be shown.
#[derive(Clone)]
pub(crate) struct SourceTap {
    seam: Arc<Seam>,
    generation: Generation,
}

impl SourceTap {
    /// The stream's time.
    pub(crate) fn now(&self) -> Duration {
        self.seam.now()
    }

    /// Says whether sound will come; before the first frame.
    pub(crate) fn set_has_sound(&self, has_sound: bool) {
        let mut inner = self.seam.lock();
        let Inner { active, candidate, .. } = &mut *inner;
        for feed in [active, candidate].into_iter().flatten().filter(|feed| feed.generation == self.generation) {
            feed.has_sound = has_sound;
        }
    }

    /// A frame in the stream's raw format. The first one makes this source the one that is shown.
    pub(crate) fn video(&self, frame: gst::Buffer, time: Duration) {
        let time_ns = nanoseconds(time);
        let mut inner = self.seam.lock();
        let took_over = inner.take_over(self.generation, time_ns);
        if !inner.is_active(self.generation) {
            return;
        }
        inner.last_video = self.seam.now();
        inner.showing = Showing::Source;
        inner.show(frame, time_ns);
        if took_over {
            inner.last_sound = self.seam.now();
            drop(inner);
            self.seam.tell(SourceEvent::TookOver(self.generation));
        }
    }

    /// Sound in the stream's raw format; ignored before the first frame.
    pub(crate) fn sound(&self, sound: gst::Buffer, time: Duration) {
        let mut inner = self.seam.lock();
        if inner.is_active(self.generation) {
            inner.last_sound = self.seam.now();
            inner.play(sound, nanoseconds(time));
        }
    }

    /// The source gives no more.
    pub(crate) fn failed(&self, error: SourceError) {
        self.seam.tell(SourceEvent::Failed(self.generation, error));
    }
}
