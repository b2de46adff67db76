//! The go-live form: what can be chosen, with which bounds, and what a person's choice means.
//!
//! The bounds are not written here: each is what `EncoderSettings::validate` says of a value that is too small.

use strata_control::{DeviceStatus, EncoderSettings, FrameRate, MediaInputStatus, SettingsError, Source};
use strata_fleet::{DestinationId, StartStream};
use strata_web::format;

use super::words;
use crate::http::fields::Fields;

const SIZES: [(u32, u32); 6] = [(640, 360), (854, 480), (960, 540), (1280, 720), (1920, 1080), (3840, 2160)];
const RATES: [(u32, u32); 6] = [(24, 1), (25, 1), (30_000, 1_001), (30, 1), (50, 1), (60, 1)];
const CHOOSE_SOURCE: &str = "Choose where the picture comes from.";

/// Sources of one sort.
pub(in crate::http) struct SourceGroup {
    pub(in crate::http) title: &'static str,
    pub(in crate::http) empty: &'static str,
    pub(in crate::http) sources: Vec<SourceChoice>,
}

pub(in crate::http) struct SourceChoice {
    pub(in crate::http) value: String,
    pub(in crate::http) label: String,
    pub(in crate::http) hint: String,
    pub(in crate::http) chosen: bool,
    pub(in crate::http) disabled: bool,
    pub(in crate::http) test_pattern: bool,
}

/// The form as it is shown: with the defaults, or with what a person typed and what is wrong with it.
pub(in crate::http) struct GoLiveForm {
    pub(in crate::http) wrong: Option<String>,
    pub(in crate::http) source_wrong: Option<&'static str>,
    pub(in crate::http) sizes: Vec<Choice>,
    pub(in crate::http) rates: Vec<Choice>,
    pub(in crate::http) main_numbers: Vec<Number>,
    pub(in crate::http) more_numbers: Vec<Number>,
    pub(in crate::http) more_open: bool,
    pub(in crate::http) record_locally: bool,
}

pub(in crate::http) struct Choice {
    pub(in crate::http) value: String,
    pub(in crate::http) label: String,
    pub(in crate::http) chosen: bool,
}

pub(in crate::http) struct Number {
    pub(in crate::http) name: &'static str,
    pub(in crate::http) label: &'static str,
    pub(in crate::http) unit: &'static str,
    pub(in crate::http) value: String,
    pub(in crate::http) min: u64,
    pub(in crate::http) max: u64,
    pub(in crate::http) hint: String,
    pub(in crate::http) wrong: Option<String>,
}

/// A number of the form and the setting behind it.
struct NumberField {
    name: &'static str,
    label: &'static str,
    unit: &'static str,
    /// One of the form's units in the setting's.
    scale: u32,
    hint: &'static str,
    more: bool,
    setting: fn(&mut EncoderSettings) -> &mut u32,
}

const NUMBERS: [NumberField; 6] = [
    NumberField {
        name: "target_kbps",
        label: "Video bitrate",
        unit: "kbit/s",
        scale: 1_000,
        hint: "To start with; it follows what the links carry.",
        more: false,
        setting: |settings| &mut settings.bitrate.target_bps,
    },
    NumberField {
        name: "latency_ms",
        label: "Latency",
        unit: "ms",
        scale: 1,
        hint: "From the device to the relay’s output, fixed. More leaves more time for repair.",
        more: false,
        setting: |settings| &mut settings.latency_ms,
    },
    NumberField {
        name: "floor_kbps",
        label: "Lowest video bitrate",
        unit: "kbit/s",
        scale: 1_000,
        hint: "Yields too when the links carry less.",
        more: true,
        setting: |settings| &mut settings.bitrate.floor_bps,
    },
    NumberField {
        name: "ceiling_kbps",
        label: "Highest video bitrate",
        unit: "kbit/s",
        scale: 1_000,
        hint: "Never more than this.",
        more: true,
        setting: |settings| &mut settings.bitrate.ceiling_bps,
    },
    NumberField {
        name: "key_frame_interval_ms",
        label: "Key frame every",
        unit: "ms",
        scale: 1,
        hint: "Players can begin at a key frame.",
        more: true,
        setting: |settings| &mut settings.key_frame_interval_ms,
    },
    NumberField {
        name: "audio_kbps",
        label: "Sound bitrate",
        unit: "kbit/s",
        scale: 1_000,
        hint: "AAC.",
        more: true,
        setting: |settings| &mut settings.audio.bitrate_bps,
    },
];

impl NumberField {
    /// What `validate` calls the setting and its bounds, asked with a value below every bound.
    fn bounds(&self) -> Option<(&'static str, u64, u64)> {
        let mut settings = EncoderSettings::default();
        *(self.setting)(&mut settings) = 0;
        match settings.validate() {
            Err(SettingsError::OutOfRange { name, min, max, .. }) => Some((name, min, max)),
            _ => None,
        }
    }

    fn show(&self, fields: Option<&Fields>, wrongs: &[(&'static str, String)]) -> Number {
        let mut defaults = EncoderSettings::default();
        let default = (*(self.setting)(&mut defaults) / self.scale).to_string();
        // The target has no bounds of its own: it lies between floor and ceiling, which have.
        let bounds = self
            .bounds()
            .or_else(|| NUMBERS.iter().find_map(|other| (other.scale == self.scale).then(|| other.bounds()).flatten()));
        let (min, max) = bounds.map_or((0, u64::from(u32::MAX)), |(_, min, max)| (min, max));
        let scale = u64::from(self.scale);
        Number {
            name: self.name,
            label: self.label,
            unit: self.unit,
            value: fields.map_or(default, |fields| fields.get(self.name).to_owned()),
            min: min.div_ceil(scale),
            max: max / scale,
            hint: format!("{} {} to {} {}.", self.hint, min.div_ceil(scale), max / scale, self.unit),
            wrong: wrongs.iter().find(|(name, _)| *name == self.name).map(|(_, wrong)| wrong.clone()),
        }
    }
}

/// What a person sent: a request, or what is wrong with it.
pub(in crate::http) fn read(fields: &Fields, status: Option<&DeviceStatus>) -> Result<StartStream, Wrong> {
    let mut wrong = Wrong::default();
    let source =
        read_source(fields.get("source")).filter(|source| status.is_some_and(|status| offered(source, status)));
    if source.is_none() {
        wrong.source = Some(CHOOSE_SOURCE);
    }
    let settings = read_settings(fields, &mut wrong);
    let destinations: Result<Vec<DestinationId>, _> = fields.all("destination").map(str::parse).collect();
    if destinations.is_err() {
        wrong.general = Some("A destination was not understood: load the page again.".to_owned());
    }
    match (source, destinations) {
        (Some(source), Ok(destinations)) if wrong.numbers.is_empty() && wrong.general.is_none() => Ok(StartStream {
            source,
            settings,
            destinations,
            record_locally: fields.get("record_locally") == "yes",
            links: Vec::new(),
        }),
        _ => Err(wrong),
    }
}

/// What is wrong with a sent form, field by field.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::http) struct Wrong {
    general: Option<String>,
    source: Option<&'static str>,
    numbers: Vec<(&'static str, String)>,
}

impl Wrong {
    /// The form was fine; what it asked for was refused.
    pub(in crate::http) fn refused(message: impl Into<String>) -> Self {
        Self { general: Some(message.into()), ..Self::default() }
    }
}

fn read_settings(fields: &Fields, wrong: &mut Wrong) -> EncoderSettings {
    let mut settings = EncoderSettings::default();
    for number in &NUMBERS {
        let text = fields.get(number.name);
        match text.parse::<u32>().ok().and_then(|value| value.checked_mul(number.scale)) {
            Some(value) => *(number.setting)(&mut settings) = value,
            None => wrong.numbers.push((number.name, format!("“{text}” is not a whole number that fits here."))),
        }
    }
    match read_pair(fields.get("size"), 'x') {
        Some((width, height)) => (settings.width, settings.height) = (width, height),
        None => wrong.general = Some("Choose a picture size.".to_owned()),
    }
    match read_pair(fields.get("frame_rate"), '/') {
        Some((numerator, denominator)) => settings.frame_rate = FrameRate { numerator, denominator },
        None => wrong.general = Some("Choose how many frames per second.".to_owned()),
    }
    if wrong.numbers.is_empty()
        && let Err(error) = settings.validate()
    {
        wrong.add(&error);
    }
    settings
}

impl Wrong {
    fn add(&mut self, error: &SettingsError) {
        let field = match error {
            SettingsError::OutOfRange { name, .. } => {
                NUMBERS.iter().find(|number| number.bounds().is_some_and(|(of, ..)| of == *name))
            }
            SettingsError::BitrateOrder { .. } => NUMBERS.iter().find(|number| number.name == "target_kbps"),
            SettingsError::OddSize { .. } => None,
        };
        let Some(field) = field else {
            self.general = Some(error.to_string());
            return;
        };
        let text = match error {
            SettingsError::OutOfRange { min, max, .. } => {
                let scale = u64::from(field.scale);
                format!("Between {} and {} {}, please.", min.div_ceil(scale), max / scale, field.unit)
            }
            _ => "Not below the lowest and not above the highest bitrate, please (More settings).".to_owned(),
        };
        self.numbers.push((field.name, text));
    }
}

fn read_pair(text: &str, separator: char) -> Option<(u32, u32)> {
    let (left, right) = text.split_once(separator)?;
    Some((left.parse().ok()?, right.parse().ok()?))
}

/// Reads a source as the form names it (`camera:ID`, `file:PATH`, `test-pattern`).
pub(in crate::http) fn read_source(text: &str) -> Option<Source> {
    match text.split_once(':') {
        Some(("camera", input)) if !input.is_empty() => Some(Source::Camera { input: input.to_owned() }),
        Some(("file", path)) if !path.is_empty() => Some(Source::File { path: path.to_owned() }),
        None if text == "test-pattern" => Some(Source::TestPattern),
        _ => None,
    }
}

fn value_of(source: &Source) -> String {
    match source {
        Source::Camera { input } => format!("camera:{input}"),
        Source::File { path } => format!("file:{path}"),
        Source::TestPattern => "test-pattern".to_owned(),
    }
}

fn offered(source: &Source, status: &DeviceStatus) -> bool {
    match source {
        Source::Camera { input } => status.media_inputs.iter().any(|known| known.id == *input),
        Source::File { path } => status.saved_media.iter().any(|known| known.path == *path),
        Source::TestPattern => true,
    }
}

/// What the device can send, in groups; nothing is chosen beforehand.
pub(in crate::http) fn sources(status: Option<&DeviceStatus>, chosen: &str) -> Vec<SourceGroup> {
    let choice = |source: &Source, label: String, hint: String, disabled: bool| {
        let value = value_of(source);
        let test_pattern = *source == Source::TestPattern;
        SourceChoice { chosen: !disabled && value == chosen, value, label, hint, disabled, test_pattern }
    };
    let inputs = status.map_or(&[][..], |status| &status.media_inputs);
    let cameras = inputs.iter().map(|input| {
        let source = Source::Camera { input: input.id.clone() };
        let usable = matches!(input.status, MediaInputStatus::Ready | MediaInputStatus::Other);
        let hint = if usable { input.id.clone() } else { words::input_status(input.status).words };
        choice(&source, input.label.clone(), hint, !usable)
    });
    let files = status.map_or(&[][..], |status| &status.saved_media);
    let files = files.iter().map(|file| {
        let source = Source::File { path: file.path.clone() };
        let length = file.duration_ms.map(|ms| format!("{}, ", format::span(ms / 1_000))).unwrap_or_default();
        let hint = format!("{length}{}, played in a loop", format::bytes(file.size_bytes));
        choice(&source, file.name.clone(), hint, false)
    });
    let pattern_hint = "A made-up moving picture with a clock and a tone. Viewers do not see a camera.".to_owned();
    vec![
        SourceGroup {
            title: "Cameras",
            empty: "The device sees no camera. Plug one in and load this page again.",
            sources: cameras.collect(),
        },
        SourceGroup { title: "Saved media", empty: "There is no media file on the device.", sources: files.collect() },
        SourceGroup {
            title: "Made up",
            empty: "",
            sources: vec![choice(&Source::TestPattern, "TEST PATTERN".to_owned(), pattern_hint, false)],
        },
    ]
}

impl GoLiveForm {
    /// With the defaults.
    pub(in crate::http) fn new() -> Self {
        Self::build(None, &Wrong::default())
    }

    /// With what was sent and what is wrong with it.
    pub(in crate::http) fn again(fields: &Fields, wrong: &Wrong) -> Self {
        Self::build(Some(fields), wrong)
    }

    fn build(fields: Option<&Fields>, wrong: &Wrong) -> Self {
        let defaults = EncoderSettings::default();
        let sent = |name: &str, default: String| fields.map_or(default, |fields| fields.get(name).to_owned());
        let size = sent("size", format!("{}x{}", defaults.width, defaults.height));
        let rate = sent("frame_rate", format!("{}/{}", defaults.frame_rate.numerator, defaults.frame_rate.denominator));
        let numbers = |more: bool| {
            NUMBERS.iter().filter(move |number| number.more == more).map(|number| number.show(fields, &wrong.numbers))
        };
        let more_numbers: Vec<Number> = numbers(true).collect();
        Self {
            wrong: wrong.general.clone(),
            source_wrong: wrong.source,
            sizes: choices(
                SIZES.map(|(width, height)| (format!("{width}x{height}"), format!("{width} × {height}"))),
                &size,
            ),
            rates: choices(RATES.map(|(top, bottom)| (format!("{top}/{bottom}"), rate_words(top, bottom))), &rate),
            main_numbers: numbers(false).collect(),
            more_open: more_numbers.iter().any(|number| number.wrong.is_some()),
            more_numbers,
            record_locally: fields.is_some_and(|fields| fields.get("record_locally") == "yes"),
        }
    }
}

fn rate_words(numerator: u32, denominator: u32) -> String {
    let rate = FrameRate { numerator, denominator }.as_f64();
    if denominator == 1 { format!("{rate:.0}") } else { format!("{rate:.2}") }
}

fn choices<const N: usize>(options: [(String, String); N], chosen: &str) -> Vec<Choice> {
    options.into_iter().map(|(value, label)| Choice { chosen: value == chosen, value, label }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_the_bounds_that_are_checked() {
        for number in &NUMBERS {
            let shown = number.show(None, &[]);
            assert!(shown.min > 0 && shown.max < 1_000_000, "{}: {} to {}", shown.name, shown.min, shown.max);
        }
    }

    #[test]
    fn a_source_survives_the_way_through_the_form() {
        for source in [
            Source::Camera { input: "v4l2:/dev/video0".into() },
            Source::File { path: "/media/a:b.mp4".into() },
            Source::TestPattern,
        ] {
            assert_eq!(read_source(&value_of(&source)), Some(source));
        }
        for text in ["", "camera:", "camera", "test-pattern:x", "pattern"] {
            assert_eq!(read_source(text), None, "{text:?}");
        }
    }
}
