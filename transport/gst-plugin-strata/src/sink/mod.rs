//! `stratasink`: sends what it gets over the links of a bond.
//!
//! Owns the element's public face for Rust users; the element itself is in [`imp`].

mod imp;

use std::time::Duration;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer::subclass::prelude::*;
use strata_identity::{KeyPair, PublicKey};
use strata_link::{LinkConfig, LinkError, SenderStats};

pub use wrapper::StrataSink;

#[allow(unsafe_code, reason = "written by a macro of glib")]
mod wrapper {
    use super::{glib, gst, imp};

    glib::wrapper! {
        /// The element `stratasink`. Properties that are set by text have typed counterparts here.
        pub struct StrataSink(ObjectSubclass<imp::StrataSink>)
            @extends gstreamer_base::BaseSink, gst::Element, gst::Object;
    }
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "stratasink", gst::Rank::NONE, StrataSink::static_type())
}

impl Default for StrataSink {
    fn default() -> Self {
        Self::new()
    }
}

impl StrataSink {
    /// Makes the element; `gst::init` must have been called.
    #[must_use]
    pub fn new() -> Self {
        glib::Object::new()
    }

    /// The key to send with, instead of one read from `key-file`. Taken at the next start.
    pub fn set_identity(&self, identity: KeyPair) {
        self.imp().set_identity(identity);
    }

    /// The receiver's key, as property `peer`. Taken at the next start.
    pub fn set_peer(&self, peer: PublicKey) {
        self.imp().set_peer(peer);
    }

    /// Replaces the links, at once while running: those that stay are not disturbed.
    ///
    /// # Errors
    /// [`LinkError`] when the set is contradictory; nothing was changed then.
    pub fn set_links(&self, links: Vec<LinkConfig>) -> Result<(), LinkError> {
        self.imp().set_links(links)
    }

    /// Changes the latency, at once while running.
    ///
    /// # Errors
    /// [`LinkError::Latency`] when it is out of range; nothing was changed then.
    pub fn set_latency(&self, latency: Duration) -> Result<(), LinkError> {
        self.imp().set_latency(latency)
    }

    /// What the transport counts; none while the element is stopped.
    #[must_use]
    pub fn stats(&self) -> Option<SenderStats> {
        self.imp().stats()
    }

    /// The bitrate that the links can sustain now, in bits per second; none while the element is stopped.
    #[must_use]
    pub fn target_bps(&self) -> Option<u64> {
        self.imp().target_bps()
    }

    /// Datagrams that the transport refused since the start, because its queue was full.
    #[must_use]
    pub fn refused_datagrams(&self) -> u64 {
        self.imp().refused_datagrams()
    }
}
