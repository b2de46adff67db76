//! A device in words: one sentence, badges, and what it last said of itself.

use jiff::Timestamp;
use strata_control::{DeviceStatus, Interface, InterfaceKind, InterfaceState, MediaInput, Usage};
use strata_fleet::{DeviceView, Role, StreamState, StreamView};
use strata_web::format;

use super::system::{self, System, Trouble};
use super::{Badge, Seen, minute, span_between, words};

/// A device as fleet, device and go-live pages show it.
pub(in crate::http) struct Device {
    pub(in crate::http) id: String,
    pub(in crate::http) name: String,
    pub(in crate::http) presence: Badge,
    pub(in crate::http) badges: Vec<Badge>,
    pub(in crate::http) sentence: String,
    pub(in crate::http) last_seen: Option<Seen>,
    pub(in crate::http) links_words: Option<String>,
    pub(in crate::http) stream_href: Option<String>,
    pub(in crate::http) stream_words: String,
    pub(in crate::http) test_pattern: bool,
    pub(in crate::http) may_go_live: bool,
    pub(in crate::http) may_operate: bool,
    pub(in crate::http) revocable: bool,
    pub(in crate::http) troubles: Vec<Trouble>,
    pub(in crate::http) system: System,
    /// Whether it has slots to update, or had when it last logged in.
    pub(in crate::http) has_image: bool,
    pub(in crate::http) status: Option<Status>,
}

/// The fleet page's devices and their sums.
pub(in crate::http) struct FleetList {
    pub(in crate::http) devices: Vec<Device>,
    pub(in crate::http) online: usize,
    pub(in crate::http) live: usize,
    /// Those that somebody has to look at.
    pub(in crate::http) troubled: usize,
}

/// What the device last said of itself.
pub(in crate::http) struct Status {
    pub(in crate::http) seen: Seen,
    pub(in crate::http) interfaces: Vec<InterfaceRow>,
    pub(in crate::http) inputs: Vec<InputRow>,
    pub(in crate::http) files: Vec<FileRow>,
    pub(in crate::http) temperature: String,
    pub(in crate::http) cpu: String,
    pub(in crate::http) memory: Share,
    pub(in crate::http) disk: Share,
    pub(in crate::http) uptime: String,
}

pub(in crate::http) struct InterfaceRow {
    pub(in crate::http) name: String,
    pub(in crate::http) kind: &'static str,
    pub(in crate::http) state: Badge,
    pub(in crate::http) network: String,
    pub(in crate::http) technology: String,
    pub(in crate::http) signal: String,
    pub(in crate::http) addresses: String,
    pub(in crate::http) hardware: String,
}

pub(in crate::http) struct InputRow {
    pub(in crate::http) id: String,
    pub(in crate::http) label: String,
    pub(in crate::http) state: Badge,
    pub(in crate::http) formats: String,
}

pub(in crate::http) struct FileRow {
    pub(in crate::http) name: String,
    pub(in crate::http) size: String,
    pub(in crate::http) duration: String,
}

pub(in crate::http) struct Share {
    pub(in crate::http) words: String,
    pub(in crate::http) percent: u64,
}

impl FleetList {
    /// `streams` are those that are not over.
    pub(in crate::http) fn new(devices: &[DeviceView], streams: &[StreamView], role: Role, now: Timestamp) -> Self {
        let stream_of = |device: &DeviceView| streams.iter().find(|stream| Some(stream.id) == device.live_stream);
        let shown: Vec<Device> =
            devices.iter().map(|device| Device::new(device, stream_of(device), role, now)).collect();
        Self {
            troubled: shown.iter().filter(|device| !device.troubles.is_empty()).count(),
            devices: shown,
            online: devices.iter().filter(|device| device.online).count(),
            live: streams.iter().filter(|stream| stream.state == StreamState::Live).count(),
        }
    }
}

impl Device {
    /// `stream` is the device's stream that is not over.
    pub(in crate::http) fn new(device: &DeviceView, stream: Option<&StreamView>, role: Role, now: Timestamp) -> Self {
        let test_pattern = stream.is_some_and(|stream| stream.is_test_pattern);
        let mut badges: Vec<Badge> = stream.map(words::stream_state).into_iter().collect();
        badges.extend(test_pattern.then(Badge::test_pattern));
        badges.extend(device.simulated.then(Badge::simulated));
        badges.extend(system::badges(device.status.as_ref()));
        Self {
            id: device.id.to_string(),
            name: device.name.clone(),
            presence: presence(device),
            badges,
            sentence: sentence(device, stream, now),
            last_seen: device.last_seen.map(|at| Seen::new(at, now)),
            links_words: device.status.as_ref().filter(|_| device.online).map(links_words),
            stream_href: stream.map(|stream| format!("/streams/{}", stream.id)),
            stream_words: stream.map(|stream| stream_words(stream, device)).unwrap_or_default(),
            test_pattern,
            may_go_live: role >= Role::Operator && device.online && stream.is_none(),
            may_operate: role >= Role::Operator,
            revocable: device.enrolled && device.revoked_at.is_none(),
            troubles: system::troubles(device.status.as_ref()),
            system: System::new(device),
            has_image: has_image(device),
            status: device.status.as_ref().zip(device.status_at).map(|(status, at)| Status::new(status, at, now)),
        }
    }
}

fn presence(device: &DeviceView) -> Badge {
    if device.revoked_at.is_some() {
        Badge::new("bad", "Revoked")
    } else if !device.enrolled {
        Badge::new("", "Not enrolled")
    } else if device.online {
        Badge::new("good", "Online")
    } else {
        Badge::new("", "Offline")
    }
}

/// The one sentence: what is wrong, or what it does.
fn sentence(device: &DeviceView, stream: Option<&StreamView>, now: Timestamp) -> String {
    if device.revoked_at.is_some() {
        return "Its key was revoked: it can come back with a new enrolment token only.".to_owned();
    }
    if !device.enrolled {
        return match device.enrolment_expires_at {
            Some(ends) if ends > now => {
                format!("Waits to be enrolled: its token works for another {}.", span_between(now, ends))
            }
            _ => "Was never enrolled, and has no token that still works.".to_owned(),
        };
    }
    if let Some(stream) = stream {
        return with_stream(device, stream, now);
    }
    if !device.online {
        return match device.last_seen {
            Some(seen) => format!("Offline since {} UTC: look at its power and its links.", minute(seen)),
            None => "Enrolled, but never seen online.".to_owned(),
        };
    }
    match &device.status {
        None => "Online; its first report is on the way.".to_owned(),
        Some(status) => idle(status),
    }
}

fn with_stream(device: &DeviceView, stream: &StreamView, now: Timestamp) -> String {
    let source = words::source(&stream.source, inputs(device));
    let unobserved = if device.online { "" } else { " Its control connection is lost; media is not touched by that." };
    match stream.state {
        StreamState::Requested | StreamState::Starting => format!("Going live with “{source}”.{unobserved}"),
        StreamState::Live if stream.stalled => {
            format!("Live, but nothing has arrived for 30 s or more: viewers see no picture.{unobserved}")
        }
        StreamState::Live => {
            let since = stream.live_at.map(|at| format!(" for {}", span_between(at, now))).unwrap_or_default();
            format!("Live with “{source}”{since}.{unobserved}")
        }
        _ => format!("The stream is being stopped.{unobserved}"),
    }
}

fn idle(status: &DeviceStatus) -> String {
    let links = usable(status);
    if links == 0 {
        return "Online, but no link is ready to carry a stream.".to_owned();
    }
    if status.media_inputs.is_empty() && status.saved_media.is_empty() {
        return "Online, but no camera is connected.".to_owned();
    }
    "Ready to go live.".to_owned()
}

fn links_words(status: &DeviceStatus) -> String {
    let all = status.interfaces.iter().filter(|interface| is_link(interface)).count();
    format!("{} of {all} links connected", usable(status))
}

fn is_link(interface: &Interface) -> bool {
    !matches!(interface.kind, InterfaceKind::Loopback | InterfaceKind::Virtual)
}

fn usable(status: &DeviceStatus) -> usize {
    let ready = |interface: &&Interface| {
        is_link(interface) && interface.enabled && interface.state == InterfaceState::Connected
    };
    status.interfaces.iter().filter(ready).count()
}

fn stream_words(stream: &StreamView, device: &DeviceView) -> String {
    let source = words::source(&stream.source, inputs(device));
    match stream.state {
        StreamState::Live if !stream.stalled => format!("Live with “{source}”: watch it"),
        StreamState::Live => format!("Stalled, source “{source}”: look at it"),
        StreamState::Stopping => "A stream is being stopped: look at it".to_owned(),
        _ => format!("Going live with “{source}”: watch it"),
    }
}

/// The inputs that the device last told of.
pub(in crate::http) fn inputs(device: &DeviceView) -> &[MediaInput] {
    device.status.as_ref().map_or(&[], |status| &status.media_inputs)
}

fn has_image(device: &DeviceView) -> bool {
    let slots = device.status.as_ref().is_some_and(|status| !status.slots.is_empty());
    slots || device.agent.as_ref().is_some_and(|agent| agent.image_version.is_some())
}

impl Status {
    fn new(status: &DeviceStatus, at: Timestamp, now: Timestamp) -> Self {
        let shown = status.interfaces.iter().filter(|interface| interface.kind != InterfaceKind::Loopback);
        Self {
            seen: Seen::new(at, now),
            interfaces: shown.map(InterfaceRow::new).collect(),
            inputs: status.media_inputs.iter().map(InputRow::new).collect(),
            files: status
                .saved_media
                .iter()
                .map(|file| FileRow {
                    name: file.name.clone(),
                    size: format::bytes(file.size_bytes),
                    duration: file.duration_ms.map_or_else(|| format::UNKNOWN.into(), |ms| format::span(ms / 1_000)),
                })
                .collect(),
            temperature: status
                .temperature_c
                .map_or_else(|| format::UNKNOWN.into(), |celsius| format!("{celsius:.0} °C")),
            cpu: format!("{:.0} %", status.cpu_percent),
            memory: Share::new(status.memory),
            disk: Share::new(status.disk),
            uptime: format::span(status.uptime_s),
        }
    }
}

impl Share {
    fn new(usage: Usage) -> Self {
        if usage.total_bytes == 0 {
            return Self { words: format::UNKNOWN.into(), percent: 0 };
        }
        let percent = usage.used_bytes.saturating_mul(100) / usage.total_bytes;
        Self { words: format!("{percent} % of {}", format::bytes(usage.total_bytes)), percent }
    }
}

impl InterfaceRow {
    fn new(interface: &Interface) -> Self {
        let some = |text: &Option<String>| text.clone().unwrap_or_else(|| format::UNKNOWN.into());
        let technology = match (&interface.technology, &interface.band) {
            (Some(technology), Some(band)) => format!("{technology}, {band}"),
            (technology, band) => some(&technology.clone().or_else(|| band.clone())),
        };
        let hardware: Vec<&str> =
            [&interface.product, &interface.driver, &interface.bus].into_iter().filter_map(Option::as_deref).collect();
        Self {
            name: interface.name.clone(),
            kind: words::interface_kind(interface.kind),
            state: words::interface_state(interface.state, interface.enabled),
            network: some(&interface.network),
            technology,
            signal: interface.signal_dbm.map_or_else(|| format::UNKNOWN.into(), |dbm| format!("{dbm} dBm")),
            addresses: if interface.addresses.is_empty() {
                format::UNKNOWN.into()
            } else {
                interface.addresses.join(", ")
            },
            hardware: if hardware.is_empty() { format::UNKNOWN.into() } else { hardware.join(", ") },
        }
    }
}

/// How many formats of an input are listed.
const LISTED_FORMATS: usize = 4;

impl InputRow {
    fn new(input: &MediaInput) -> Self {
        let mut formats: Vec<String> = input
            .formats
            .iter()
            .take(LISTED_FORMATS)
            .map(|format| {
                let fastest = format.rates.iter().map(|rate| rate.as_f64()).fold(0.0, f64::max);
                format!("{} {}×{} at {fastest:.0}", format.format, format.width, format.height)
            })
            .collect();
        if input.formats.len() > LISTED_FORMATS {
            formats.push(format!("{} more", input.formats.len() - LISTED_FORMATS));
        }
        Self {
            id: input.id.clone(),
            label: input.label.clone(),
            state: words::input_status(input.status),
            formats: if formats.is_empty() { format::UNKNOWN.into() } else { formats.join(", ") },
        }
    }
}
