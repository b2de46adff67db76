//! Frames that this process makes itself: scenes painted into pooled buffers.
//!
//! Owns the pool. Does not own timing: whoever wants a frame says for which moment.

use std::time::{SystemTime, UNIX_EPOCH};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::format::RawFormat;
use crate::picture::{Canvas, Layout, Moment, Scene, SceneKind};

/// Makes the frames of one scene.
pub(crate) struct Painter {
    pool: gst::BufferPool,
    layout: Layout,
    scene: Scene,
}

impl Painter {
    /// Prepares scene and pool.
    pub(crate) fn new(kind: SceneKind, format: &RawFormat) -> Result<Self, gst::glib::BoolError> {
        let size = format.info.size();
        let pool = gst::BufferPool::new();
        let mut config = pool.config();
        let bytes = u32::try_from(size).map_err(|_| gst::glib::bool_error!("picture too large"))?;
        config.set_params(Some(&format.video_caps()?), bytes, 2, 0);
        pool.set_config(config)?;
        pool.set_active(true)?;
        let layout = format.layout();
        Ok(Self { pool, layout, scene: Scene::new(kind, layout, size) })
    }

    /// One frame; none when there is no memory for it.
    pub(crate) fn paint(&self, moment: Moment) -> Option<gst::Buffer> {
        let mut buffer = self.pool.acquire_buffer(None).ok()?;
        {
            let mut map = buffer.get_mut()?.map_writable().ok()?;
            self.scene.paint(&mut Canvas::new(&mut map, self.layout), moment);
        }
        Some(buffer)
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        if self.pool.set_active(false).is_err() {
            tracing::warn!("the pool of painted frames could not be closed");
        }
    }
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
