//! A media file as a source: played in real time, in a loop without a seam.
//!
//! Owns pacing and the loop: while the last pictures of one run are shown, the
//! next run is opened by a helper thread, so that its first picture is there
//! when it is due. A file that cannot be decoded in real time is shown slower,
//! whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use strata_control::EndReason;
use strata_encoder_protocol::SourceError;

use super::decode::{Decode, Timed};
use super::source_error;
use crate::format::RawFormat;
use crate::seam::SourceTap;
use crate::timeline::SoundTimeline;
use crate::tone::FRAME_BYTES;

/// A shorter file (a still picture) is repeated no faster than this.
const SHORTEST_RUN: Duration = Duration::from_millis(500);
/// Playback that is later than this goes on from where it is, instead of hurrying.
const LATEST: Duration = Duration::from_secs(1);
/// Longest sleep: how soon a stop is noticed, and a track that was empty looked at again.
const NAP: Duration = Duration::from_millis(10);

/// The playing thread.
#[derive(Debug)]
pub(crate) struct FileSource {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Opens the file and starts playing it.
pub(super) fn start(path: &str, format: &RawFormat, tap: SourceTap) -> Result<FileSource, SourceError> {
    let path = PathBuf::from(path);
    let run = Decode::open(&path, format)?;
    let stop = Arc::new(AtomicBool::new(false));
    let player = Player { path, format: format.clone(), tap, stop: Arc::clone(&stop) };
    let thread = std::thread::Builder::new().name("file".to_owned()).spawn(move || player.play(run));
    let thread = thread.map_err(|error| source_error(EndReason::Other, format!("no thread for the file: {error}")))?;
    Ok(FileSource { stop, thread: Some(thread) })
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the playing thread had panicked");
            }
        }
    }
}

struct Player {
    path: PathBuf,
    format: RawFormat,
    tap: SourceTap,
    stop: Arc<AtomicBool>,
}

type Opening = JoinHandle<Result<Decode, SourceError>>;

impl Player {
    fn play(self, first: Decode) {
        let mut run = first;
        let mut base = None;
        while !self.stopped() {
            self.tap.set_has_sound(run.has_audio());
            let mut playing = Run { decode: run, next: None, video: None, audio: None, base, end: Duration::ZERO };
            let result = self.play_run(&mut playing);
            let next = playing.next.take();
            base = playing.base.map(|base| base + playing.end.max(SHORTEST_RUN));
            drop(playing);
            // Joined in any case: no thread outlives this one.
            let opened = next.map_or_else(|| Decode::open(&self.path, &self.format), join);
            if self.stopped() {
                return;
            }
            match result.and(opened) {
                Ok(next) => run = next,
                Err(error) => return self.tap.failed(error),
            }
        }
    }

    /// Plays one run to its end.
    fn play_run(&self, run: &mut Run) -> Result<(), SourceError> {
        while !self.stopped() {
            if let Some(error) = run.decode.error() {
                return Err(error);
            }
            if run.next.is_none() && run.decode.near_end() {
                run.next = open_ahead(&self.path, &self.format);
            }
            if run.take_heads() {
                return Ok(());
            }
            let Some(due) = run.earliest() else { continue };
            let now = self.tap.now();
            let base = run.base(now, due);
            if base + due > now {
                std::thread::park_timeout((base + due - now).min(NAP));
            } else {
                run.deliver(&self.tap, base);
            }
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// One run and what of it is next.
struct Run {
    decode: Decode,
    next: Option<Opening>,
    video: Option<Timed>,
    audio: Option<Timed>,
    /// The stream's time at which the run began.
    base: Option<Duration>,
    /// Where the run ends, since it began.
    end: Duration,
}

impl Run {
    /// Takes what is next of each track. True when there is nothing more.
    fn take_heads(&mut self) -> bool {
        if self.audio.is_none() {
            self.audio = self.decode.next_audio();
        }
        if self.video.is_none() {
            let patience = if self.audio.is_some() { Duration::ZERO } else { NAP };
            self.video = self.decode.next_video(patience);
        }
        if self.video.is_some() || self.audio.is_some() {
            return false;
        }
        self.decode.ended() == (true, true)
    }

    fn earliest(&self) -> Option<Duration> {
        [&self.video, &self.audio].into_iter().flatten().map(|(_, due)| *due).min()
    }

    /// When the run began; moved when playback fell too far behind.
    fn base(&mut self, now: Duration, due: Duration) -> Duration {
        let base = self.base.unwrap_or(now.saturating_sub(due));
        let base = if now > base + due + LATEST { now.saturating_sub(due) } else { base };
        self.base = Some(base);
        base
    }

    fn deliver(&mut self, tap: &SourceTap, base: Duration) {
        let audio_first = match (&self.video, &self.audio) {
            (Some((_, video)), Some((_, audio))) => audio < video,
            (None, _) => true,
            (_, None) => false,
        };
        let head = if audio_first { self.audio.take() } else { self.video.take() };
        let Some((buffer, due)) = head else { return };
        if audio_first {
            let length = Duration::from_nanos(SoundTimeline::sample_time((buffer.size() / FRAME_BYTES) as u64));
            self.end = self.end.max(due + length);
            tap.sound(buffer, base + due);
        } else {
            let length = buffer.duration().map_or(Duration::ZERO, Into::into);
            self.end = self.end.max(due + length);
            tap.video(buffer, base + due);
        }
    }
}

/// None when there is no thread for it: the file is then opened when it is needed.
fn open_ahead(path: &Path, format: &RawFormat) -> Option<Opening> {
    let (path, format) = (path.to_owned(), format.clone());
    std::thread::Builder::new().name("file ahead".to_owned()).spawn(move || Decode::open(&path, &format)).ok()
}

fn join(opening: Opening) -> Result<Decode, SourceError> {
    opening.join().unwrap_or_else(|_| Err(source_error(EndReason::Other, "the file's decoder panicked".to_owned())))
}
