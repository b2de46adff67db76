//! A stream in words: its state, why it ended, what was chosen, what happened.

use jiff::Timestamp;
use strata_control::{AudioCodec, EncoderSettings, EndReason, MediaInput, VideoCodec};
use strata_fleet::{StreamEventView, StreamState, StreamView};
use strata_web::format;

use super::stream_parts::{DestinationRow, Encoder, LinkRow, Truth};
use super::{Badge, Fact, clock, minute, span_between, words};

/// A stream as its page shows it.
pub(in crate::http) struct Stream {
    pub(in crate::http) id: String,
    pub(in crate::http) device_id: String,
    pub(in crate::http) device_name: String,
    pub(in crate::http) state: Badge,
    pub(in crate::http) badges: Vec<Badge>,
    pub(in crate::http) over: bool,
    /// Neither over nor about to be: it can be stopped, its source switched.
    pub(in crate::http) running: bool,
    pub(in crate::http) test_pattern: bool,
    pub(in crate::http) source: String,
    pub(in crate::http) started_words: String,
    pub(in crate::http) sentence: String,
    pub(in crate::http) end: Option<End>,
    pub(in crate::http) truth: Option<Truth>,
    pub(in crate::http) encoder: Option<Encoder>,
    pub(in crate::http) links: Vec<LinkRow>,
    pub(in crate::http) destinations: Vec<DestinationRow>,
    pub(in crate::http) settings: Vec<Fact>,
    pub(in crate::http) events: Vec<EventRow>,
    pub(in crate::http) play_href: Option<String>,
}

/// Why a stream is over.
pub(in crate::http) struct End {
    pub(in crate::http) kind: &'static str,
    pub(in crate::http) title: String,
    pub(in crate::http) detail: String,
    pub(in crate::http) facts: String,
    pub(in crate::http) log: Vec<String>,
}

/// A line of the timeline.
pub(in crate::http) struct EventRow {
    pub(in crate::http) iso: String,
    pub(in crate::http) time: String,
    pub(in crate::http) text: String,
    pub(in crate::http) who: String,
}

/// A stream as tables show it.
pub(in crate::http) struct StreamRow {
    pub(in crate::http) id: String,
    pub(in crate::http) device_id: String,
    pub(in crate::http) device_name: String,
    pub(in crate::http) started: String,
    pub(in crate::http) state: Badge,
    pub(in crate::http) test_pattern: bool,
    pub(in crate::http) source: String,
    pub(in crate::http) lasted: String,
    pub(in crate::http) reason: String,
}

/// What the player needs to know.
pub(in crate::http) struct Player {
    pub(in crate::http) key: String,
    pub(in crate::http) title: String,
    pub(in crate::http) phase: &'static str,
    pub(in crate::http) veil: &'static str,
    pub(in crate::http) reason: &'static str,
    pub(in crate::http) test_pattern: bool,
}

/// Everything that a stream's page is made of.
pub(in crate::http) struct Given<'a> {
    pub(in crate::http) stream: &'a StreamView,
    /// Oldest first.
    pub(in crate::http) events: &'a [StreamEventView],
    /// What the device last told of.
    pub(in crate::http) inputs: &'a [MediaInput],
    pub(in crate::http) simulated: bool,
    pub(in crate::http) now: Timestamp,
}

impl Stream {
    pub(in crate::http) fn new(given: &Given<'_>) -> Self {
        let Given { stream, now, .. } = *given;
        let live = stream.live.as_ref();
        let worker = live.and_then(|live| live.worker.as_ref());
        let stats = live.and_then(|live| live.stats.as_ref());
        let over = stream.state.is_over();
        Self {
            id: stream.id.to_string(),
            device_id: stream.device_id.to_string(),
            device_name: stream.device_name.clone(),
            state: words::stream_state(stream),
            badges: badges(stream, given.simulated),
            over,
            running: !over && stream.state != StreamState::Stopping,
            test_pattern: stream.is_test_pattern,
            source: words::source(&stream.source, given.inputs),
            started_words: format!("started {} UTC by {}", minute(stream.requested_at), stream.started_by),
            sentence: sentence(stream, now),
            end: over.then(|| End::new(stream, now)),
            truth: Truth::new(worker, stats, now),
            encoder: stats.map(|stats| Encoder::new(stats, live.map_or(0, |live| live.encoder_restarts), now)),
            links: LinkRow::all(stats, worker, now),
            destinations: DestinationRow::all(&stream.destinations, worker, over),
            settings: settings(stream),
            events: given.events.iter().rev().map(|event| EventRow::new(event, now)).collect(),
            play_href: Some(format!("/play/{}", stream.play_key)),
        }
    }
}

fn badges(stream: &StreamView, simulated: bool) -> Vec<Badge> {
    let mut badges = Vec::new();
    badges.extend(stream.is_test_pattern.then(Badge::test_pattern));
    badges.extend(simulated.then(Badge::simulated));
    if !stream.device_online && !stream.state.is_over() {
        badges.push(Badge::new("warn", "Device unobserved"));
    }
    badges
}

fn sentence(stream: &StreamView, now: Timestamp) -> String {
    let unobserved = if stream.device_online {
        ""
    } else {
        " The control connection to the device is lost: its numbers grow old, media is not touched."
    };
    match stream.state {
        StreamState::Requested => "The relay starts a worker for it.".to_owned(),
        StreamState::Starting => {
            format!("The worker is ready, the device is told; waiting for the first picture.{unobserved}")
        }
        StreamState::Live if stream.stalled => {
            format!("Nothing has arrived for 30 s or more: viewers see no picture.{unobserved}")
        }
        StreamState::Live => {
            let since = stream.live_at.map(|at| format!(" for {}", span_between(at, now))).unwrap_or_default();
            format!("On air{since}.{unobserved}")
        }
        StreamState::Stopping => {
            let by = stream.stopped_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
            format!("Being stopped{by}.")
        }
        StreamState::Ended | StreamState::Failed => match stream.live_at.zip(stream.ended_at) {
            Some((live, end)) => format!("Was on air for {}.", span_between(live, end)),
            None => "Was never on air.".to_owned(),
        },
    }
}

impl End {
    fn new(stream: &StreamView, now: Timestamp) -> Self {
        let kind = if stream.state == StreamState::Failed { "bad" } else { "" };
        let reason = stream.reason.map_or("No reason is known", words::end_reason);
        let verb = if stream.state == StreamState::Failed { "Failed" } else { "Ended" };
        let mut facts = Vec::new();
        facts.extend(stream.ended_at.map(|at| format!("{} UTC", clock(at, now))));
        // The detail names who stopped it; without one, this does.
        let stopped_by = stream.stopped_by.as_ref().filter(|_| stream.detail.is_none());
        facts.extend(stopped_by.map(|who| format!("stopped by {who}")));
        facts.push(format!("{} sent by the device", format::bytes(stream.bytes)));
        Self {
            kind,
            title: format!("{verb}: {}", lower_first(reason)),
            detail: stream.detail.as_deref().map(upper_first).unwrap_or_default(),
            facts: facts.join(" · "),
            log: stream.log.clone(),
        }
    }
}

/// A sentence begins with a capital letter, unless it begins with somebody's address.
fn upper_first(text: &str) -> String {
    if text.split_whitespace().next().is_some_and(|word| word.contains('@')) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn settings(stream: &StreamView) -> Vec<Fact> {
    let EncoderSettings { codec, bitrate, key_frame_interval_ms, width, height, frame_rate, latency_ms, audio } =
        stream.settings;
    let video = match codec {
        VideoCodec::H264 => "H.264",
        VideoCodec::H265 => "H.265",
    };
    let sound = match audio.codec {
        AudioCodec::Aac => "AAC",
        AudioCodec::Opus => "Opus",
    };
    let rate = |bps: u32| format::bitrate(bps.into());
    let mut facts = vec![
        Fact::new(
            "Picture",
            format!("{video} {width}×{height} at {:.4}", frame_rate.as_f64()).trim_end_matches(".0000"),
        ),
        Fact::new("Latency", format!("{latency_ms} ms")),
        Fact::new("Video bitrate", rate(bitrate.target_bps)),
        Fact::new("Between", format!("{} and {}", rate(bitrate.floor_bps), rate(bitrate.ceiling_bps))),
        Fact::new("Key frame every", format!("{key_frame_interval_ms} ms")),
        Fact::new("Sound", format!("{sound} {}", rate(audio.bitrate_bps))),
        Fact::new("Recorded on the device", if stream.record_locally { "yes" } else { "no" }),
    ];
    facts.extend(stream.port.map(|port| Fact::new("Worker’s port", format!("{port}/udp"))));
    facts
}

impl EventRow {
    fn new(event: &StreamEventView, now: Timestamp) -> Self {
        Self {
            iso: event.at.to_string(),
            time: clock(event.at, now),
            text: upper_first(&event.text),
            who: words::event_kind(&event.kind).to_owned(),
        }
    }
}

impl StreamRow {
    pub(in crate::http) fn new(stream: &StreamView, inputs: &[MediaInput], now: Timestamp) -> Self {
        let lasted = match (stream.live_at, stream.ended_at) {
            (Some(live), end) => span_between(live, end.unwrap_or(now)),
            (None, _) => format::UNKNOWN.into(),
        };
        let reason = match stream.reason {
            Some(EndReason::StoppedByUser) => match &stream.stopped_by {
                Some(who) => format!("Stopped by {who}"),
                None => words::end_reason(EndReason::StoppedByUser).to_owned(),
            },
            Some(reason) => words::end_reason(reason).to_owned(),
            None => String::new(),
        };
        Self {
            id: stream.id.to_string(),
            device_id: stream.device_id.to_string(),
            device_name: stream.device_name.clone(),
            started: minute(stream.requested_at),
            state: words::stream_state(stream),
            test_pattern: stream.is_test_pattern,
            source: words::source(&stream.source, inputs),
            lasted,
            reason,
        }
    }
}

/// The phases that the player's script knows.
pub(in crate::http) fn phase(state: StreamState, stalled: bool) -> &'static str {
    match state {
        StreamState::Requested | StreamState::Starting => "starting",
        StreamState::Live if stalled => "stalled",
        StreamState::Live | StreamState::Stopping => "live",
        StreamState::Ended | StreamState::Failed => "ended",
    }
}

impl Player {
    pub(in crate::http) fn new(
        key: &str,
        device_name: &str,
        phase: &'static str,
        reason: Option<EndReason>,
        test_pattern: bool,
    ) -> Self {
        Self {
            key: key.to_owned(),
            title: device_name.to_owned(),
            phase,
            veil: if phase == "ended" { "Stream ended" } else { "Waiting for the picture…" },
            reason: reason.map(words::end_reason).unwrap_or_default(),
            test_pattern,
        }
    }

    pub(in crate::http) fn of(stream: &StreamView) -> Self {
        let phase = phase(stream.state, stream.stalled);
        Self::new(&stream.play_key, &stream.device_name, phase, stream.reason, stream.is_test_pattern)
    }
}
