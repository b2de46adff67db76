//! GStreamer elements around the bonded transport: `stratasink` and `stratasrc`.
//!
//! Owns: the two elements, their properties, and the tokio runtime they share.
//! Does not own: bonding, links, TLS (`strata-link`), nor any MPEG-TS parsing.
//! Built twice: as a plugin that `gst-launch-1.0` loads, and as a Rust library
//! for the encoder and the worker, which call [`plugin_register_static`] and
//! reach statistics and keys through [`StrataSink`] and [`StrataSrc`], typed.

mod links;
mod runtime;
mod sink;
mod source;
mod stats;

use gstreamer as gst;
use gstreamer::glib;

pub use links::{ParseLinksError, parse_links};
pub use sink::StrataSink;
pub use source::{SourceStats, StrataSrc};

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    sink::register(plugin)?;
    source::register(plugin)
}

/// The plugin's entry points, written by a macro of gstreamer-rs.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::let_underscore_must_use, reason = "macro-written")]
mod entry {
    use super::{gst, plugin_init};

    gst::plugin_define!(
        strata,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        env!("CARGO_PKG_VERSION"),
        "Apache 2.0",
        env!("CARGO_PKG_NAME"),
        "Strata",
        "Strata"
    );
}

/// Registers both elements with GStreamer in this process; call after `gst::init`. May be called again.
///
/// # Errors
/// When GStreamer refuses, which it does for no known reason.
pub fn plugin_register_static() -> Result<(), glib::BoolError> {
    entry::plugin_register_static()
}
