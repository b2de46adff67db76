//! GStreamer elements: whether they are there, which package brings them, and how to set them up without a panic.
//!
//! Owns the check before use (`ElementFactory::find`) and properties that are
//! looked up before they are set. Does not own which elements a pipeline needs.

use gstreamer as gst;
use gstreamer::prelude::*;
use strata_control::EndReason;
use strata_encoder_protocol::SourceError;

/// An element that is needed and not there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("GStreamer element “{element}” is missing or cannot be opened: install Debian's package {package}")]
pub(crate) struct MissingElement {
    element: String,
    package: &'static str,
}

impl From<MissingElement> for SourceError {
    fn from(missing: MissingElement) -> Self {
        Self { reason: EndReason::PluginMissing, message: missing.to_string() }
    }
}

/// Which Debian package brings an element.
pub(crate) fn package_of(element: &str) -> &'static str {
    match element {
        "queue" | "filesrc" | "capsfilter" | "identity" => "libgstreamer1.0-0",
        "v4l2src" | "v4l2h264enc" | "v4l2h265enc" | "jpegdec" | "alsasrc" => "gstreamer1.0-plugins-good",
        "x264enc" => "gstreamer1.0-plugins-ugly",
        "vaapih264enc" | "vaapih265enc" => "gstreamer1.0-vaapi",
        "avenc_aac" => "gstreamer1.0-libav",
        "mpph264enc" | "mpph265enc" => "gstreamer1.0-rockchip1",
        "mpegtsmux" | "h264parse" | "h265parse" | "x265enc" | "openh264enc" | "voaacenc" | "fdkaacenc"
        | "vah264enc" | "vah265enc" => "gstreamer1.0-plugins-bad",
        "aacparse" => "gstreamer1.0-plugins-good",
        _ => "gstreamer1.0-plugins-base",
    }
}

/// Whether an element is there.
pub(crate) fn is_present(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

/// Checks that all elements are there, before any is made.
pub(crate) fn require(elements: &[&str]) -> Result<(), MissingElement> {
    elements.iter().copied().find(|element| !is_present(element)).map_or(Ok(()), |element| Err(missing(element)))
}

/// Makes an element.
pub(crate) fn make(element: &str) -> Result<gst::Element, MissingElement> {
    gst::ElementFactory::find(element).and_then(|factory| factory.create().build().ok()).ok_or_else(|| missing(element))
}

pub(crate) fn missing(element: &str) -> MissingElement {
    MissingElement { element: element.to_owned(), package: package_of(element) }
}

/// Sets a property given as text, when the element has it and the text is one of its values. Tells whether it was set.
pub(crate) fn set_if_present(element: &gst::Element, property: &str, text: &str) -> bool {
    let Some(spec) = element.find_property(property) else { return false };
    let Ok(value) = gst::glib::Value::deserialize_with_pspec(text, &spec) else { return false };
    element.set_property_from_value(property, &value);
    true
}

/// What is wrong, as GStreamer puts it: its message, with the debug text for support staff.
pub(crate) fn describe(error: &gst::message::Error) -> String {
    let origin = error.src().map(|source| source.name().to_string()).unwrap_or_default();
    let debug = error.debug().map(|debug| format!(" ({})", debug.replace('\n', " "))).unwrap_or_default();
    format!("{origin}: {}{debug}", error.error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_element_is_named_with_its_package() {
        gst::init().unwrap();
        for (element, package) in [("mpph264enc", "gstreamer1.0-rockchip1"), ("nosuchelement", "plugins-base")] {
            let message = require(&["queue", element]).unwrap_err().to_string();
            assert!(message.contains(element) && message.contains(package), "{message}");
            assert_eq!(make(element).unwrap_err().to_string(), message);
        }
        assert_eq!(require(&["queue", "mpegtsmux"]), Ok(()));
    }

    #[test]
    fn only_properties_that_are_there_are_set() {
        gst::init().unwrap();
        let queue = make("queue").unwrap();
        assert!(set_if_present(&queue, "max-size-buffers", "7"));
        assert_eq!(queue.property::<u32>("max-size-buffers"), 7);
        assert!(set_if_present(&queue, "leaky", "downstream"));
        assert!(!set_if_present(&queue, "leaky", "sideways"));
        assert!(!set_if_present(&queue, "no-such-property", "1"));
    }
}
