//! What people choose for a stream, with the bounds of each choice.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the picture comes from.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A media input of the device.
    Camera {
        /// [`crate::MediaInput::id`].
        input: String,
    },
    /// A media file on the device, played in a loop.
    File {
        /// Its path on the device.
        path: String,
    },
    /// A moving pattern with clock and tone; every page says so, loudly.
    TestPattern,
}

/// Video coding.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VideoCodec {
    /// H.264, Advanced Video Coding.
    H264,
    /// H.265, High Efficiency Video Coding.
    H265,
}

/// Audio coding.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AudioCodec {
    /// AAC-LC in ADTS.
    Aac,
    /// Opus.
    Opus,
}

/// The bitrate of the video, in bits per second: `floor <= target <= ceiling`.
/// Below what the links carry even the floor yields.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BitrateBounds {
    /// Wanted at the least.
    pub floor_bps: u32,
    /// Wanted to start with.
    pub target_bps: u32,
    /// Never more than this.
    pub ceiling_bps: u32,
}

/// Frames per second as a fraction (30000/1001 for 29.97).
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FrameRate {
    /// Frames.
    pub numerator: u32,
    /// Per this many seconds.
    pub denominator: u32,
}

impl FrameRate {
    /// Whole frames per second.
    #[must_use]
    pub fn per_second(frames: u32) -> Self {
        Self { numerator: frames, denominator: 1 }
    }

    /// As a decimal number; 0 when the denominator is 0.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        if self.denominator == 0 { 0.0 } else { f64::from(self.numerator) / f64::from(self.denominator) }
    }
}

/// The sound.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AudioSettings {
    /// Coding.
    pub codec: AudioCodec,
    /// Bits per second.
    pub bitrate_bps: u32,
}

/// How a stream is encoded and how long it may take to the relay.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EncoderSettings {
    /// Video coding.
    pub codec: VideoCodec,
    /// Video bitrate.
    pub bitrate: BitrateBounds,
    /// Time between key frames (GOP), in milliseconds.
    pub key_frame_interval_ms: u32,
    /// Picture width in pixels.
    pub width: u32,
    /// Picture height in pixels.
    pub height: u32,
    /// Frames per second.
    pub frame_rate: FrameRate,
    /// From the device's sender to the relay's output, fixed; in milliseconds.
    pub latency_ms: u32,
    /// The sound.
    pub audio: AudioSettings,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self {
            codec: VideoCodec::H264,
            bitrate: BitrateBounds { floor_bps: 500_000, target_bps: 3_000_000, ceiling_bps: 6_000_000 },
            key_frame_interval_ms: 1_000,
            width: 1280,
            height: 720,
            frame_rate: FrameRate::per_second(30),
            latency_ms: 1_000,
            audio: AudioSettings { codec: AudioCodec::Aac, bitrate_bps: 128_000 },
        }
    }
}

/// A setting outside its bounds; says which, its value and the bounds.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// A number outside its range.
    #[error("{name} is {value}: between {min} and {max} expected")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What it was.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The three bitrates are not in order.
    #[error("bitrate: floor {floor_bps} ≤ target {target_bps} ≤ ceiling {ceiling_bps} bit/s expected")]
    BitrateOrder {
        /// The floor.
        floor_bps: u32,
        /// The target.
        target_bps: u32,
        /// The ceiling.
        ceiling_bps: u32,
    },
    /// Width and height must be even (4:2:0 sampling).
    #[error("picture size {width}x{height}: even numbers expected")]
    OddSize {
        /// The width.
        width: u32,
        /// The height.
        height: u32,
    },
}

fn in_range(name: &'static str, value: u32, min: u32, max: u32) -> Result<(), SettingsError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(SettingsError::OutOfRange { name, value: value.into(), min: min.into(), max: max.into() })
}

impl BitrateBounds {
    /// Checks the order and the range (100 kbit/s to 100 Mbit/s).
    ///
    /// # Errors
    /// The first bound that is broken.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let Self { floor_bps, target_bps, ceiling_bps } = *self;
        in_range("bitrate floor (bit/s)", floor_bps, 100_000, 100_000_000)?;
        in_range("bitrate ceiling (bit/s)", ceiling_bps, 100_000, 100_000_000)?;
        if floor_bps <= target_bps && target_bps <= ceiling_bps {
            return Ok(());
        }
        Err(SettingsError::BitrateOrder { floor_bps, target_bps, ceiling_bps })
    }
}

impl EncoderSettings {
    /// Checks every bound; both ends do.
    ///
    /// # Errors
    /// The first setting that is out of bounds.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.bitrate.validate()?;
        in_range("key frame interval (ms)", self.key_frame_interval_ms, 200, 10_000)?;
        in_range("width", self.width, 160, 7_680)?;
        in_range("height", self.height, 90, 4_320)?;
        if !self.width.is_multiple_of(2) || !self.height.is_multiple_of(2) {
            return Err(SettingsError::OddSize { width: self.width, height: self.height });
        }
        in_range("frame rate denominator", self.frame_rate.denominator, 1, 1_001)?;
        let per_second = self.frame_rate.numerator.div_ceil(self.frame_rate.denominator);
        in_range("frames per second", per_second, 1, 120)?;
        in_range("latency (ms)", self.latency_ms, 100, 10_000)?;
        in_range("audio bitrate (bit/s)", self.audio.bitrate_bps, 32_000, 512_000)
    }
}

/// Where the device sends the stream.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiveAddress {
    /// Host name or address of the relay's worker.
    pub host: String,
    /// UDP ports; every link uses the first one that answers.
    pub ports: Vec<u16>,
}

/// What was set for one link.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LinkPolicy {
    /// The interface's name.
    pub interface: String,
    /// Whether it may be a link.
    pub enabled: bool,
    /// Lower is used first; equal ones share.
    #[serde(default)]
    pub priority: u8,
    /// Whether its data costs money.
    #[serde(default)]
    pub metered: bool,
}

/// When the device's access point is on.
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApPolicy {
    /// While it is needed: not enrolled, no internet, relay lost.
    #[default]
    WhenNeeded,
    /// Always.
    Always,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(EncoderSettings::default().validate(), Ok(()));
    }

    #[test]
    fn each_bound_is_checked_and_named() {
        let changed = |change: fn(&mut EncoderSettings)| {
            let mut settings = EncoderSettings::default();
            change(&mut settings);
            settings.validate().unwrap_err().to_string()
        };
        for (message, part) in [
            (changed(|s| s.bitrate.floor_bps = 1), "bitrate floor"),
            (changed(|s| s.bitrate.ceiling_bps = 200_000_000), "bitrate ceiling"),
            (changed(|s| s.bitrate.target_bps = 400_000), "floor 500000"),
            (changed(|s| s.key_frame_interval_ms = 0), "key frame interval"),
            (changed(|s| s.width = 0), "width"),
            (changed(|s| s.height = 10_000), "height"),
            (changed(|s| s.width = 1281), "1281x720"),
            (changed(|s| s.frame_rate.denominator = 0), "denominator"),
            (changed(|s| s.frame_rate.numerator = 500), "frames per second is 500"),
            (changed(|s| s.latency_ms = 0), "latency"),
            (changed(|s| s.audio.bitrate_bps = 0), "audio bitrate"),
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
