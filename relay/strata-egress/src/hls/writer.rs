//! The thread that writes segments and playlist.
//!
//! Owns: the order of writing (segment first, then the playlist that lists
//! it), patience while the disk is full, and what is told about it. A slow or
//! full disk holds up nothing but this thread.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use strata_control::EndReason;
use strata_media::Segment;

use super::{Entry, Folder, FolderError, Playlist};
use crate::events::Events;

/// Segments on their way to the thread: together with [`BACKLOG`] a few seconds, which bounds memory.
const QUEUE: usize = 2;
/// Segments kept while they cannot be written; when there are more, the oldest is given up.
const BACKLOG: usize = 3;
/// How often a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often a lasting failure is told again, for a relay that connected meanwhile.
const REPORT_AGAIN: Duration = Duration::from_secs(10);
/// The wall clock and the stream's clock may drift apart by this before the dates in the playlist are set anew.
const DATE_TOLERANCE: Duration = Duration::from_millis(500);

/// What the output has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HlsStatus {
    /// Number of the newest segment in the playlist.
    pub media_sequence: Option<u64>,
    /// Segments written by this process.
    pub segments: u64,
}

enum Job {
    Segment { segment: Segment, target_duration_s: u32 },
    End,
}

/// The HLS output's handle: takes segments, never blocks.
#[derive(Debug)]
pub struct Hls {
    jobs: SyncSender<Job>,
    status: Arc<Mutex<HlsStatus>>,
    thread: JoinHandle<()>,
    target_duration_s: Option<u32>,
}

impl Hls {
    /// Opens the folder, continues what is there, and starts the thread.
    ///
    /// # Errors
    /// [`FolderError`] when the folder cannot be used.
    pub fn start(path: &Path, events: Events) -> Result<Self, FolderError> {
        let (folder, playlist) = Folder::open(path)?;
        let status = Arc::new(Mutex::new(HlsStatus::default()));
        let target_duration_s = playlist.as_ref().map(Playlist::target_duration_s);
        let writer = Writer {
            folder,
            playlist,
            status: Arc::clone(&status),
            events,
            backlog: VecDeque::new(),
            gap: false,
            playlist_is_old: false,
            failing: None,
            next_date: None,
        };
        let (jobs, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("hls".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|source| FolderError::Folder { path: path.to_owned(), source })?;
        Ok(Self { jobs, status, thread, target_duration_s })
    }

    /// The target duration that the playlist already has; none for a new one.
    #[must_use]
    pub fn target_duration_s(&self) -> Option<u32> {
        self.target_duration_s
    }

    /// A way to hand segments over.
    #[must_use]
    pub fn inlet(&self) -> HlsInlet {
        HlsInlet { jobs: self.jobs.clone() }
    }

    /// What the output has reached.
    #[must_use]
    pub fn status(&self) -> HlsStatus {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is waiting, ends the playlist and waits for the thread; blocks for as long as the disk takes.
    pub fn finish(self) {
        // A closed channel means that the thread is gone already.
        self.jobs.send(Job::End).ok();
        if self.thread.join().is_err() {
            tracing::error!("the HLS thread panicked");
        }
    }
}

/// Hands segments to the thread.
#[derive(Debug, Clone)]
pub struct HlsInlet {
    jobs: SyncSender<Job>,
}

impl HlsInlet {
    /// Hands a segment over; false when it had to be dropped, because the disk is too slow.
    #[must_use]
    pub fn push(&self, segment: Segment, target_duration_s: u32) -> bool {
        match self.jobs.try_send(Job::Segment { segment, target_duration_s }) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                tracing::warn!("the disk is too slow for HLS: a segment was dropped");
                false
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

struct Writer {
    folder: Folder,
    /// None before the first segment of a new stream.
    playlist: Option<Playlist>,
    status: Arc<Mutex<HlsStatus>>,
    events: Events,
    backlog: VecDeque<(Segment, u32)>,
    /// Whether the next segment does not follow the last one written.
    gap: bool,
    /// Whether the playlist on disk lacks what `playlist` has.
    playlist_is_old: bool,
    /// Since when writing fails, and when that was last told.
    failing: Option<(Instant, Instant)>,
    /// The date of the next segment, should it follow the last one.
    next_date: Option<Timestamp>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        // After a restart the first segment follows something else.
        self.gap = self.playlist.is_some() || self.folder.first_free_sequence() > 0;
        loop {
            let job = if self.is_behind() {
                match jobs.recv_timeout(RETRY) {
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Ok(job) => Some(job),
                }
            } else {
                let Ok(job) = jobs.recv() else { return };
                Some(job)
            };
            match job {
                Some(Job::Segment { segment, target_duration_s }) => self.keep(segment, target_duration_s),
                Some(Job::End) => return self.end(),
                None => {}
            }
            self.write_what_waits();
        }
    }

    fn is_behind(&self) -> bool {
        !self.backlog.is_empty() || self.playlist_is_old
    }

    fn keep(&mut self, segment: Segment, target_duration_s: u32) {
        if self.backlog.len() >= BACKLOG {
            self.backlog.pop_front();
            self.gap = true;
        }
        self.backlog.push_back((segment, target_duration_s));
    }

    fn write_what_waits(&mut self) {
        let result = self.try_write();
        match result {
            Ok(()) => {
                if let Some((since, _)) = self.failing.take() {
                    tracing::info!("HLS goes on after {} s", since.elapsed().as_secs());
                }
            }
            Err(error) => self.report(&error),
        }
    }

    fn try_write(&mut self) -> Result<(), FolderError> {
        while let Some((segment, target_duration_s)) = self.backlog.front() {
            if self.playlist_is_old {
                self.write_playlist()?;
                continue;
            }
            let next = self.folder.first_free_sequence();
            let playlist = self.playlist.get_or_insert_with(|| Playlist::new(*target_duration_s, next));
            let sequence = playlist.next_sequence();
            self.folder.write_segment(sequence, &segment.data)?;
            let arrival = i64::try_from(segment.stamp).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
            let discontinuity = segment.discontinuity || self.gap;
            let expected = self.next_date.filter(|_| !discontinuity);
            let date = date_of_segment(expected, arrival);
            self.next_date = date.and_then(|date| date.checked_add(segment.duration).ok());
            playlist.push(Entry {
                duration: segment.duration,
                discontinuity,
                is_independent: segment.is_independent,
                program_date_time: date,
            });
            self.gap = false;
            self.playlist_is_old = true;
            self.backlog.pop_front();
        }
        if self.playlist_is_old { self.write_playlist() } else { Ok(()) }
    }

    fn write_playlist(&mut self) -> Result<(), FolderError> {
        let Some(playlist) = &self.playlist else { return Ok(()) };
        self.folder.write_playlist(playlist)?;
        self.playlist_is_old = false;
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.media_sequence = playlist.next_sequence().checked_sub(1);
        status.segments += 1;
        Ok(())
    }

    fn report(&mut self, error: &FolderError) {
        let now = Instant::now();
        let (since, last) = self.failing.unwrap_or((now, now));
        let is_first = self.failing.is_none();
        if !is_first && now.duration_since(last) < REPORT_AGAIN {
            return;
        }
        self.failing = Some((since, now));
        let reason = if error.is_disk_full() { EndReason::DiskFull } else { EndReason::Other };
        self.events.error(reason, format!("HLS stands still: {error}"));
    }

    fn end(mut self) {
        self.write_what_waits();
        if let Some(playlist) = &mut self.playlist {
            playlist.end();
            if let Err(error) = self.folder.write_playlist(playlist) {
                self.report(&error);
            }
        }
    }
}

/// Dates follow the stream's own clock while it agrees with the wall clock, so that they do not jitter.
fn date_of_segment(expected: Option<Timestamp>, arrival: Option<Timestamp>) -> Option<Timestamp> {
    let (Some(expected), Some(arrival)) = (expected, arrival) else { return arrival.or(expected) };
    let apart = arrival.duration_since(expected).abs();
    let is_close = SignedDuration::try_from(DATE_TOLERANCE).is_ok_and(|tolerance| apart <= tolerance);
    Some(if is_close { expected } else { arrival })
}
