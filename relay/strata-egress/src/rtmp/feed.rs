//! The bounded, leaky queue in front of one destination.
//!
//! Owns: letting a destination begin at a key frame, dropping the stream up to
//! the next key frame when the destination is too slow, and telling which
//! streams there are. Never blocks the thread that receives.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gstreamer as gst;
use gstreamer_app::AppSrc;
use strata_media::KeyFrameGate;
use strata_media::ts::StreamKind;
use tokio::sync::watch;

use crate::intake::Chunk;

/// About 5 s of a stream of 6 Mbit/s: enough for a hiccup, little enough to bound memory.
const MAX_QUEUED_BYTES: u64 = 4 * 1024 * 1024;

/// What the stream consists of: the pipeline is built for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Streams {
    pub(crate) video: Option<StreamKind>,
    pub(crate) audio: Option<StreamKind>,
    /// Counts sessions: another one needs another pipeline.
    pub(crate) session: u64,
}

impl Streams {
    pub(crate) fn is_known(&self) -> bool {
        self.video.is_some() || self.audio.is_some()
    }
}

#[derive(Debug, Default)]
struct Inner {
    gate: KeyFrameGate,
    queue: Option<AppSrc>,
    /// Times that the destination was too slow.
    drops: u64,
}

/// A destination's queue.
#[derive(Debug)]
pub struct Feed {
    inner: Mutex<Inner>,
    streams: watch::Sender<Streams>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { inner: Mutex::default(), streams: watch::Sender::new(Streams::default()) }
    }
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next piece of the stream.
    pub(crate) fn push(&self, chunk: Chunk<'_>) {
        let mut inner = self.lock();
        if chunk.new_session {
            inner.gate.reset();
            self.streams
                .send_modify(|streams| *streams = Streams { session: streams.session + 1, ..Streams::default() });
        }
        let mut data = Vec::with_capacity(chunk.data.len() + 1_024);
        inner.gate.push(chunk.data, &mut data);
        self.announce(&inner.gate);
        let Inner { gate, queue: Some(queue), drops } = &mut *inner else {
            // Nobody takes it: the next one begins at a key frame.
            inner.gate.shut();
            return;
        };
        if data.is_empty() {
            return;
        }
        if queue.current_level_bytes() + data.len() as u64 > MAX_QUEUED_BYTES {
            gate.shut();
            *drops += 1;
            return;
        }
        let mut buffer = gst::Buffer::from_mut_slice(data);
        if chunk.lost_before {
            buffer.get_mut().expect("nobody else holds the new buffer").set_flags(gst::BufferFlags::DISCONT);
        }
        // A pipeline that is shutting down refuses; its supervisor knows why.
        queue.push_buffer(buffer).ok();
    }

    fn announce(&self, gate: &KeyFrameGate) {
        let programme = gate.programme();
        let video = programme.video().map(|(_, coding)| StreamKind::Video(coding));
        let audio = programme.audio().map(|stream| stream.kind);
        self.streams.send_if_modified(|streams| {
            let changed = (streams.video, streams.audio) != (video, audio);
            (streams.video, streams.audio) = (video, audio);
            changed
        });
    }

    /// Which streams there are, and when that changes.
    pub(crate) fn streams(&self) -> watch::Receiver<Streams> {
        self.streams.subscribe()
    }

    /// Where the stream goes from its next key frame on.
    pub(crate) fn attach(&self, queue: AppSrc) {
        let mut inner = self.lock();
        inner.gate.shut();
        inner.drops = 0;
        inner.queue = Some(queue);
    }

    /// It goes nowhere for now.
    pub(crate) fn detach(&self) {
        self.lock().queue = None;
    }

    /// Whether something waits to be sent.
    pub(crate) fn has_waiting(&self) -> bool {
        self.lock().queue.as_ref().is_some_and(|queue| queue.current_level_bytes() > 0)
    }

    /// How often the destination was too slow since it was attached.
    pub(crate) fn drops(&self) -> u64 {
        self.lock().drops
    }
}
