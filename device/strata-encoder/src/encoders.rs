//! Which encoder element is used, and what its properties are called.
//!
//! Owns the table of video and audio encoders, best first, and the way each is
//! told its bitrate. Properties are looked up before they are set, because one
//! element's forks name them differently. Does not own the pipeline.

use gstreamer as gst;
use gstreamer::prelude::*;
use strata_control::{AudioCodec, EncoderSettings, VideoCodec};

use crate::elements::{self, MissingElement, set_if_present};

/// How an element counts bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Bits,
    Kilobits,
}

/// How an element is told its bitrate.
#[derive(Clone, Copy, Debug)]
enum Rate {
    /// By the first of these properties that it has; the others follow where present, as limits.
    Properties(&'static [&'static str], Unit),
    /// By V4L2 controls.
    V4l2Controls,
}

/// A property that is set once: its value, or what it is worked out from.
#[derive(Clone, Copy, Debug)]
enum Setting {
    Text(&'static str, &'static str),
    /// Frames from one key frame to the next.
    KeyFrameInterval(&'static str),
    /// One second at the ceiling, in kilobits.
    SecondOfCeiling(&'static str),
}

/// One video encoder.
#[derive(Debug)]
struct VideoEncoder {
    element: &'static str,
    codec: VideoCodec,
    rate: Rate,
    settings: &'static [Setting],
}

use Setting::{KeyFrameInterval, SecondOfCeiling, Text};

const MPP_RATE: Rate = Rate::Properties(&["bps", "bitrate"], Unit::Bits);
const MPP: &[Setting] = &[Text("rc-mode", "cbr"), KeyFrameInterval("gop"), Text("header-mode", "each-idr")];
const VA: &[Setting] = &[
    Text("rate-control", "cbr"),
    Text("b-frames", "0"),
    Text("ref-frames", "1"),
    KeyFrameInterval("key-int-max"),
    SecondOfCeiling("cpb-size"),
];
const VAAPI: &[Setting] = &[
    Text("rate-control", "cbr"),
    Text("max-bframes", "0"),
    Text("cpb-length", "1000"),
    KeyFrameInterval("keyframe-period"),
];
const X264: &[Setting] = &[
    Text("speed-preset", "superfast"),
    // No look-ahead, no B-frames, and slices instead of frames in parallel: not a frame of delay.
    Text("tune", "zerolatency"),
    Text("bframes", "0"),
    Text("b-adapt", "false"),
    Text("vbv-buf-capacity", "1000"),
    Text("aud", "true"),
    KeyFrameInterval("key-int-max"),
];
const X265: &[Setting] = &[
    Text("speed-preset", "ultrafast"),
    Text("tune", "zerolatency"),
    Text("option-string", "bframes=0:repeat-headers=1:log-level=warning"),
    KeyFrameInterval("key-int-max"),
];
const OPENH264: &[Setting] = &[
    Text("rate-control", "bitrate"),
    Text("complexity", "low"),
    Text("enable-frame-skip", "false"),
    KeyFrameInterval("gop-size"),
];
const KILOBITS: Rate = Rate::Properties(&["bitrate"], Unit::Kilobits);

/// Best first, for each codec.
const VIDEO_ENCODERS: &[VideoEncoder] = &[
    VideoEncoder { element: "mpph264enc", codec: VideoCodec::H264, rate: MPP_RATE, settings: MPP },
    VideoEncoder { element: "vah264enc", codec: VideoCodec::H264, rate: KILOBITS, settings: VA },
    VideoEncoder { element: "vaapih264enc", codec: VideoCodec::H264, rate: KILOBITS, settings: VAAPI },
    VideoEncoder { element: "v4l2h264enc", codec: VideoCodec::H264, rate: Rate::V4l2Controls, settings: &[] },
    VideoEncoder { element: "x264enc", codec: VideoCodec::H264, rate: KILOBITS, settings: X264 },
    VideoEncoder {
        element: "openh264enc",
        codec: VideoCodec::H264,
        rate: Rate::Properties(&["bitrate"], Unit::Bits),
        settings: OPENH264,
    },
    VideoEncoder { element: "mpph265enc", codec: VideoCodec::H265, rate: MPP_RATE, settings: MPP },
    VideoEncoder { element: "vah265enc", codec: VideoCodec::H265, rate: KILOBITS, settings: VA },
    VideoEncoder { element: "vaapih265enc", codec: VideoCodec::H265, rate: KILOBITS, settings: VAAPI },
    VideoEncoder { element: "v4l2h265enc", codec: VideoCodec::H265, rate: Rate::V4l2Controls, settings: &[] },
    VideoEncoder { element: "x265enc", codec: VideoCodec::H265, rate: KILOBITS, settings: X265 },
];

/// AAC encoders, best first.
const AAC_ENCODERS: &[&str] = &["fdkaacenc", "voaacenc", "avenc_aac"];

/// A video encoder that works on this machine.
#[derive(Debug)]
pub(crate) struct ChosenVideoEncoder {
    spec: &'static VideoEncoder,
    element: gst::Element,
}

impl ChosenVideoEncoder {
    /// Takes the best one that is present and can be opened.
    pub(crate) fn choose(codec: VideoCodec) -> Result<Self, MissingElement> {
        let present = candidates(codec).filter_map(|spec| Some((spec, elements::make(spec.element).ok()?)));
        let mut usable = present.filter(|(spec, element)| {
            let opened = opens(element);
            if !opened {
                tracing::info!(element = spec.element, "present, but its hardware cannot be opened");
            }
            opened
        });
        let chosen = usable.next().map(|(spec, element)| Self { spec, element });
        chosen.ok_or_else(|| elements::missing(software_encoder(codec)))
    }

    /// The element's name, as people know it.
    pub(crate) fn name(&self) -> &'static str {
        self.spec.element
    }

    /// The element itself.
    pub(crate) fn element(&self) -> &gst::Element {
        &self.element
    }

    /// The parser that goes behind it.
    pub(crate) fn parser(&self) -> &'static str {
        match self.spec.codec {
            VideoCodec::H264 => "h264parse",
            VideoCodec::H265 => "h265parse",
        }
    }

    /// Whether it takes planar 4:2:0 from memory as it comes.
    pub(crate) fn takes_i420(&self) -> bool {
        let i420 = gst::Caps::builder("video/x-raw").field("format", "I420").build();
        self.element.factory().is_some_and(|factory| factory.can_sink_any_caps(&i420))
    }

    /// Sets everything but the bitrate.
    pub(crate) fn set_up(&self, settings: &EncoderSettings) {
        for setting in self.spec.settings {
            let (property, text) = match *setting {
                Text(property, text) => (property, text.to_owned()),
                KeyFrameInterval(property) => (property, key_frame_interval(settings).to_string()),
                SecondOfCeiling(property) => (property, (settings.bitrate.ceiling_bps / 1000).to_string()),
            };
            if !set_if_present(&self.element, property, &text) {
                tracing::debug!(element = self.name(), property, text, "this encoder has no such property or value");
            }
        }
    }

    /// Sets the bitrate; works while it runs.
    pub(crate) fn set_bitrate(&self, bitrate_bps: u32, settings: &EncoderSettings) -> bool {
        match self.spec.rate {
            Rate::Properties(names, unit) => self.set_rate_property(names, unit, bitrate_bps),
            Rate::V4l2Controls => {
                let interval = key_frame_interval(settings);
                let controls = format!(
                    "controls,video_bitrate_mode=1,video_bitrate={bitrate_bps},video_gop_size={interval},\
                     h264_i_frame_period={interval},video_b_frames=0,repeat_sequence_header=1"
                );
                set_if_present(&self.element, "extra-controls", &controls)
            }
        }
    }

    fn set_rate_property(&self, names: &[&str], unit: Unit, bitrate_bps: u32) -> bool {
        let Some(spec) = names.iter().find_map(|name| self.element.find_property(name)) else { return false };
        let value = match unit_of(&spec).unwrap_or(unit) {
            Unit::Bits => bitrate_bps,
            Unit::Kilobits => bitrate_bps.div_ceil(1000),
        };
        // Limits around the bitrate, where an element has them, must not keep it from moving.
        for limit in ["bps-max", "bps-min", "max-bitrate"] {
            set_if_present(&self.element, limit, &value.to_string());
        }
        set_if_present(&self.element, spec.name(), &value.to_string())
    }
}

/// Forks differ in units too; an element that says "kbit" in a property's description means it.
fn unit_of(spec: &gst::glib::ParamSpec) -> Option<Unit> {
    let text = spec.blurb()?.to_lowercase();
    if text.contains("kbit") || text.contains("kbps") || text.contains("kilobit") {
        return Some(Unit::Kilobits);
    }
    (text.contains("bits per second") || text.contains("bit/s") || text.contains("bps")).then_some(Unit::Bits)
}

fn candidates(codec: VideoCodec) -> impl Iterator<Item = &'static VideoEncoder> {
    VIDEO_ENCODERS.iter().filter(move |spec| spec.codec == codec)
}

fn software_encoder(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 => "x264enc",
        VideoCodec::H265 => "x265enc",
    }
}

/// Whether the element's device can be opened.
fn opens(element: &gst::Element) -> bool {
    let opened = element.set_state(gst::State::Ready).is_ok();
    element.set_state(gst::State::Null).is_ok() && opened
}

/// Frames from one key frame to the next, at least one.
fn key_frame_interval(settings: &EncoderSettings) -> u32 {
    let frames = f64::from(settings.key_frame_interval_ms) * settings.frame_rate.as_f64() / 1000.0;
    (frames.round() as u32).max(1)
}

/// The audio encoder and the parser behind it.
#[derive(Debug)]
pub(crate) struct ChosenAudioEncoder {
    /// The element's name.
    pub(crate) name: &'static str,
    /// The element.
    pub(crate) element: gst::Element,
    /// What goes behind it.
    pub(crate) parser: &'static str,
}

impl ChosenAudioEncoder {
    /// Takes the best one present and sets its bitrate.
    pub(crate) fn choose(codec: AudioCodec, bitrate_bps: u32) -> Result<Self, MissingElement> {
        let (names, parser): (&[&'static str], _) = match codec {
            AudioCodec::Aac => (AAC_ENCODERS, "aacparse"),
            AudioCodec::Opus => (&["opusenc"], "opusparse"),
        };
        let name = names.iter().copied().find(|name| elements::is_present(name)).unwrap_or(names[names.len() / 2]);
        let element = elements::make(name)?;
        if !set_if_present(&element, "bitrate", &bitrate_bps.to_string()) {
            tracing::warn!(element = name, bitrate_bps, "this audio encoder takes no such bitrate");
        }
        Ok(Self { name, element, parser })
    }
}

/// What `--list` prints: every encoder in the table, whether it is there, and which one would be used.
pub(crate) fn list() -> String {
    let mut text = String::new();
    for (title, codec) in [("H.264", VideoCodec::H264), ("H.265", VideoCodec::H265)] {
        let chosen = ChosenVideoEncoder::choose(codec).ok().map(|chosen| chosen.name());
        text += &format!("{title}, best first:\n");
        text.extend(candidates(codec).map(|spec| line(spec.element, chosen)));
    }
    for (title, codec, names) in [("AAC", AudioCodec::Aac, AAC_ENCODERS), ("Opus", AudioCodec::Opus, &["opusenc"])] {
        let chosen = ChosenAudioEncoder::choose(codec, 128_000).ok().map(|chosen| chosen.name);
        text += &format!("{title}, best first:\n");
        text.extend(names.iter().map(|name| line(name, chosen)));
    }
    text
}

fn line(element: &str, chosen: Option<&str>) -> String {
    let state = match (elements::is_present(element), chosen == Some(element)) {
        (true, true) => "present, would be used".to_owned(),
        (true, false) => "present".to_owned(),
        (false, _) => format!("missing (package {})", elements::package_of(element)),
    };
    format!("  {element:<14} {state}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_counted_in_frames() {
        use strata_control::FrameRate;
        for (ms, numerator, denominator, frames) in
            [(1_000, 30, 1, 30), (2_000, 30_000, 1_001, 60), (200, 1, 1, 1), (500, 25, 1, 13)]
        {
            let settings = EncoderSettings {
                key_frame_interval_ms: ms,
                frame_rate: FrameRate { numerator, denominator },
                ..EncoderSettings::default()
            };
            assert_eq!(key_frame_interval(&settings), frames, "{ms} ms at {numerator}/{denominator}");
        }
    }

    #[test]
    fn the_bitrate_is_set_in_each_element_s_own_unit() {
        gst::init().unwrap();
        let settings = EncoderSettings::default();
        for (name, value) in [("x264enc", 2_500_u32), ("openh264enc", 2_500_000), ("x265enc", 2_500)] {
            let spec = VIDEO_ENCODERS.iter().find(|spec| spec.element == name).unwrap();
            let Ok(element) = elements::make(name) else { continue };
            let chosen = ChosenVideoEncoder { spec, element };
            chosen.set_up(&settings);
            assert!(chosen.set_bitrate(2_500_000, &settings), "{name}");
            assert_eq!(chosen.element.property::<u32>("bitrate"), value, "{name}");
        }
    }

    #[test]
    fn every_setting_of_the_software_encoders_exists() {
        gst::init().unwrap();
        for spec in VIDEO_ENCODERS {
            let Ok(element) = elements::make(spec.element) else { continue };
            for setting in spec.settings {
                let (property, text) = match *setting {
                    Text(property, text) => (property, text),
                    KeyFrameInterval(property) | SecondOfCeiling(property) => (property, "30"),
                };
                assert!(set_if_present(&element, property, text), "{}: {property}={text}", spec.element);
            }
        }
    }

    #[test]
    fn the_list_names_all_and_what_would_be_used() {
        gst::init().unwrap();
        let list = list();
        for name in ["mpph264enc", "vah265enc", "v4l2h264enc", "x264enc", "fdkaacenc", "avenc_aac", "opusenc"] {
            assert!(list.contains(name), "{list}");
        }
        assert!(list.contains("would be used"), "{list}");
    }
}
