//! The raw picture and sound that cross the seam between sources and encoder.
//!
//! Owns the one format per stream: I420 at the stream's size and rate, stereo
//! 16 bit at 48 kHz. Sources convert to it, the encoder side takes nothing else.

use gstreamer as gst;
use gstreamer_video as gst_video;
use strata_control::{EncoderSettings, FrameRate};

use crate::picture::Layout;
use crate::tone::{CHANNELS, SAMPLE_RATE};

/// Raw format of one stream.
#[derive(Clone, Debug)]
pub(crate) struct RawFormat {
    /// Size, layout and colours of a picture.
    pub(crate) info: gst_video::VideoInfo,
    /// Frames per second.
    pub(crate) rate: FrameRate,
}

impl RawFormat {
    /// From the stream's settings, which were validated.
    pub(crate) fn new(settings: &EncoderSettings) -> Result<Self, gst::glib::BoolError> {
        let rate = settings.frame_rate;
        let fps = gst::Fraction::new(i32_of(rate.numerator), i32_of(rate.denominator));
        let colours = if settings.height >= 720 { "bt709" } else { "bt601" };
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, settings.width, settings.height)
            .fps(fps)
            .par(gst::Fraction::new(1, 1))
            .colorimetry(&colours.parse()?)
            .build()?;
        Ok(Self { info, rate })
    }

    /// Caps of the pictures.
    pub(crate) fn video_caps(&self) -> Result<gst::Caps, gst::glib::BoolError> {
        self.info.to_caps()
    }

    /// Caps of the pictures at any frame rate: what sources convert to, for the seam keeps the rate.
    pub(crate) fn video_caps_any_rate(&self) -> Result<gst::Caps, gst::glib::BoolError> {
        let mut caps = self.video_caps()?;
        if let Some(structure) = caps.make_mut().structure_mut(0) {
            structure.remove_field("framerate");
        }
        Ok(caps)
    }

    /// Caps of the sound.
    pub(crate) fn audio_caps() -> gst::Caps {
        gst::Caps::builder("audio/x-raw")
            .field("format", "S16LE")
            .field("layout", "interleaved")
            .field("rate", i32::try_from(SAMPLE_RATE).expect("48000 fits"))
            .field("channels", i32::try_from(CHANNELS).expect("2 fits"))
            .field("channel-mask", gst::Bitmask::new(3))
            .build()
    }

    /// Where each line of a picture lies in memory.
    pub(crate) fn layout(&self) -> Layout {
        let plane = |index: usize| usize::try_from(self.info.stride()[index]).expect("I420 has no negative strides");
        Layout {
            width: self.info.width() as usize,
            height: self.info.height() as usize,
            strides: [plane(0), plane(1), plane(2)],
            offsets: [self.info.offset()[0], self.info.offset()[1], self.info.offset()[2]],
        }
    }

    /// How many frames cover this time, at least `least`.
    pub(crate) fn frames_in(&self, milliseconds: u32, least: u32) -> u32 {
        ((self.rate.as_f64() * f64::from(milliseconds) / 1000.0) as u32).max(least)
    }
}

fn i32_of(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
