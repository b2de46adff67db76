//! Where the received stream goes: into segments, and to each forwarding output.
//!
//! Owns the hand-over from GStreamer's thread to the outputs. Nothing here
//! blocks: a segment is handed to the HLS thread, each output has a bounded
//! queue of its own, and what does not fit is dropped there and there alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use strata_media::{Segmenter, SegmenterConfig, SegmenterStats};

use crate::hls::HlsInlet;
use crate::rtmp::Feed;

/// A piece of the stream as it was received.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// Its bytes.
    pub data: &'a [u8],
    /// Whether datagrams before it were given up.
    pub lost_before: bool,
    /// Whether the sender was started anew.
    pub new_session: bool,
}

/// Takes the stream, serves the outputs. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct Intake {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    segmenter: Segmenter,
    hls: Option<HlsInlet>,
    feeds: Vec<Arc<Feed>>,
    last_input: Option<Instant>,
}

impl Intake {
    /// An intake that hands segments to `hls`, if there is any.
    #[must_use]
    pub fn new(hls: Option<HlsInlet>, target_duration_s: Option<u32>) -> Self {
        let config = SegmenterConfig { target_duration_s, ..SegmenterConfig::default() };
        let inner = Inner { segmenter: Segmenter::new(config), hls, feeds: Vec::new(), last_input: None };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next piece of the stream.
    pub fn push(&self, chunk: Chunk<'_>) {
        let mut inner = self.lock();
        inner.last_input = Some(Instant::now());
        if chunk.new_session {
            inner.segmenter.new_session();
        }
        let now = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
        inner.segmenter.push(chunk.data, now);
        inner.hand_over_segments();
        for feed in &inner.feeds {
            feed.push(chunk);
        }
    }

    /// No more comes: the last segment is handed over.
    pub fn finish(&self) {
        let mut inner = self.lock();
        inner.segmenter.finish();
        inner.hand_over_segments();
        inner.hls = None;
    }

    /// The outputs from now on.
    pub fn set_feeds(&self, feeds: Vec<Arc<Feed>>) {
        self.lock().feeds = feeds;
    }

    /// When the last piece came.
    #[must_use]
    pub fn last_input(&self) -> Option<Instant> {
        self.lock().last_input
    }

    /// The segmenter's counters.
    #[must_use]
    pub fn stats(&self) -> SegmenterStats {
        self.lock().segmenter.stats()
    }
}

impl Inner {
    fn hand_over_segments(&mut self) {
        while let Some(segment) = self.segmenter.poll_segment() {
            let (Some(hls), Some(target)) = (&self.hls, self.segmenter.target_duration_s()) else { continue };
            if !hls.push(segment, target) {
                self.segmenter.mark_discontinuity();
            }
        }
    }
}
