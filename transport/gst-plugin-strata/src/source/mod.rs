//! `stratasrc`: gives out what a bond's sender put in, in order and in its timing.
//!
//! Owns the element's public face for Rust users; the element itself is in [`imp`].

mod imp;

use std::net::SocketAddr;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer::subclass::prelude::*;
use strata_identity::{KeyPair, PublicKey};
use strata_link::ReceiverStats;

pub use wrapper::StrataSrc;

#[allow(unsafe_code, reason = "written by a macro of glib")]
mod wrapper {
    use super::{glib, gst, imp};

    glib::wrapper! {
        /// The element `stratasrc`. Properties that are set by text have typed counterparts here.
        ///
        /// Each buffer's `offset` is the sequence number of its first datagram. `DISCONT` is set
        /// after datagrams that were given up; together with `RESYNC` it marks the first buffer
        /// of a session: the sender was started anew.
        pub struct StrataSrc(ObjectSubclass<imp::StrataSrc>)
            @extends gstreamer_base::PushSrc, gstreamer_base::BaseSrc, gst::Element, gst::Object;
    }
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "stratasrc", gst::Rank::NONE, StrataSrc::static_type())
}

/// What a running `stratasrc` knows.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceStats {
    /// The transport's numbers.
    pub receiver: ReceiverStats,
    /// Where it listens: the real port when port 0 was asked for.
    pub local_address: SocketAddr,
}

impl Default for StrataSrc {
    fn default() -> Self {
        Self::new()
    }
}

impl StrataSrc {
    /// Makes the element; `gst::init` must have been called.
    #[must_use]
    pub fn new() -> Self {
        glib::Object::new()
    }

    /// The key to receive with, instead of one read from `key-file` or given as `key`. Taken at the next start.
    pub fn set_identity(&self, identity: KeyPair) {
        self.imp().set_identity(identity);
    }

    /// The sender's key, as property `allow`. Taken at the next start.
    pub fn set_allow(&self, allow: PublicKey) {
        self.imp().set_allow(allow);
    }

    /// Where to listen, as property `listen`. Taken at the next start.
    pub fn set_listen(&self, listen: SocketAddr) {
        self.imp().set_listen(listen);
    }

    /// What the transport counts and where it listens; none while the element is stopped.
    #[must_use]
    pub fn stats(&self) -> Option<SourceStats> {
        self.imp().stats()
    }
}
