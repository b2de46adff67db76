//! Which GStreamer elements are needed, and which Debian package has them.
//!
//! A missing one is told before anything is built: constructing a pipeline
//! without it would abort or fail with a message that helps nobody.

use gstreamer as gst;

/// An element and where it comes from.
type Needed = (&'static str, &'static str);

/// What every worker needs.
pub const ALWAYS: &[Needed] = &[("appsink", "gstreamer1.0-plugins-base")];

/// What forwarding by RTMP needs.
pub const RTMP: &[Needed] = &[
    ("appsrc", "gstreamer1.0-plugins-base"),
    ("queue", "libgstreamer1.0-0"),
    ("tsdemux", "gstreamer1.0-plugins-bad"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("aacparse", "gstreamer1.0-plugins-good"),
    ("flvmux", "gstreamer1.0-plugins-good"),
    ("rtmp2sink", "gstreamer1.0-plugins-bad"),
];

/// An element that this machine lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the GStreamer element “{element}” is missing: install the Debian package {package}")]
pub struct MissingElement {
    /// The element.
    pub element: &'static str,
    /// The package.
    pub package: &'static str,
}

/// Checks that all elements are there.
///
/// # Errors
/// The first one that is not.
pub fn check(needed: &[Needed]) -> Result<(), MissingElement> {
    for &(element, package) in needed {
        if gst::ElementFactory::find(element).is_none() {
            return Err(MissingElement { element, package });
        }
    }
    Ok(())
}
