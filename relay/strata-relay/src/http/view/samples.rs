//! Made-up data for golden pages: a van with three links, live, then ended. Every time is fixed.

use jiff::Timestamp;
use strata_control::{
    AgentInfo, DeviceId, DeviceProblem, DeviceProblemKind, DeviceStatus, EncoderSettings, EncoderState, EncoderStats,
    EndReason, FrameRate, Interface, InterfaceKind, InterfaceState, LinkState, LinkStats, MediaFormat, MediaInput,
    MediaInputKind, MediaInputStatus, ReceiverTruth, SavedMedia, SlotName, SlotState, SlotStatus, Source, StreamId,
    StreamStats, UpdateProgress, UpdateStep, Usage, VideoCodec,
};
use strata_fleet::{
    Actor, Aged, DestinationId, DeviceUpdateView, DeviceView, LiveNumbers, Role, StreamDestination, StreamEventView,
    StreamState, StreamView, UserId,
};
use strata_worker_protocol::{DestinationState, DestinationStats, WorkerLinkStats, WorkerStats};
use uuid::Uuid;

const NOW: &str = "2026-03-04T12:34:56Z";
const DEVICE: Uuid = Uuid::from_u128(0x0192_f0a0_0000_7000_8000_0000_0000_0001);
const STREAM: Uuid = Uuid::from_u128(0x0192_f0a0_0000_7000_8000_0000_0000_0002);
const DESTINATIONS: [Uuid; 2] = [
    Uuid::from_u128(0x0192_f0a0_0000_7000_8000_0000_0000_0003),
    Uuid::from_u128(0x0192_f0a0_0000_7000_8000_0000_0000_0004),
];

pub(in crate::http) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn before(seconds: i64) -> Timestamp {
    now() - jiff::SignedDuration::from_secs(seconds)
}

pub(in crate::http) fn actor() -> Actor {
    Actor {
        user_id: UserId(Uuid::nil()),
        owner_id: strata_control::OwnerId(Uuid::nil()),
        role: Role::Admin,
        name: "kim@example.org".into(),
        remote: None,
    }
}

fn interface(name: &str, kind: InterfaceKind, radio: Option<(&str, &str, &str, i16)>) -> Interface {
    let modem = kind == InterfaceKind::Modem;
    Interface {
        name: name.into(),
        kind,
        driver: Some(if modem { "qmi_wwan" } else { "r8125" }.into()),
        bus: Some(if modem { "usb" } else { "pci" }.into()),
        product: modem.then(|| "RM520N-GL".into()),
        state: if name == "wwan1" { InterfaceState::Connecting } else { InterfaceState::Connected },
        enabled: true,
        addresses: vec!["10.64.3.17/30".into()],
        gateway: Some("10.64.3.18".into()),
        default_route: name == "eth0",
        carrier: true,
        technology: radio.map(|(technology, ..)| technology.into()),
        band: radio.map(|(_, band, ..)| band.into()),
        network: radio.map(|(_, _, network, _)| network.into()),
        signal_dbm: radio.map(|(.., dbm)| dbm),
    }
}

fn camera(id: &str, label: &str, status: MediaInputStatus) -> MediaInput {
    let rates = vec![FrameRate::per_second(30), FrameRate::per_second(60)];
    let format =
        |format: &str, width, height| MediaFormat { format: format.into(), width, height, rates: rates.clone() };
    MediaInput {
        id: id.into(),
        label: label.into(),
        kind: MediaInputKind::Camera,
        formats: vec![format("MJPG", 1920, 1080), format("YUYV", 1280, 720)],
        status,
    }
}

fn status() -> DeviceStatus {
    let slot = |name, booted, version: &str| SlotStatus {
        name,
        booted,
        state: SlotState::Good,
        reason: None,
        version: Some(version.into()),
    };
    DeviceStatus {
        interfaces: vec![
            interface("eth0", InterfaceKind::Ethernet, None),
            interface("wwan0", InterfaceKind::Modem, Some(("5G NR", "n78", "Telekom.de", -84))),
            interface("wwan1", InterfaceKind::Modem, Some(("LTE", "B20", "vodafone", -107))),
        ],
        media_inputs: vec![
            camera("v4l2:/dev/video0", "Cam Link 4K", MediaInputStatus::Ready),
            camera("v4l2:/dev/video2", "HDMI input", MediaInputStatus::NoSignal),
        ],
        saved_media: vec![SavedMedia {
            path: "/var/lib/strata/media/opening.mp4".into(),
            name: "opening.mp4".into(),
            size_bytes: 48_200_000,
            duration_ms: Some(63_000),
        }],
        cpu_percent: 23.4,
        memory: Usage { used_bytes: 1_430_000_000, total_bytes: 16_000_000_000 },
        temperature_c: Some(51.5),
        disk: Usage { used_bytes: 212_000_000_000, total_bytes: 256_000_000_000 },
        uptime_s: 93_784,
        slots: vec![slot(SlotName::A, true, "0.3.1"), slot(SlotName::B, false, "0.3.0")],
        update: None,
        problems: vec![],
        ..DeviceStatus::default()
    }
}

/// Online and idle.
pub(in crate::http) fn device() -> DeviceView {
    DeviceView {
        id: DeviceId(DEVICE),
        name: "Van <2>".into(),
        created_at: before(90_000),
        enrolled: true,
        public_key: None,
        enrolment_expires_at: None,
        revoked_at: None,
        online: true,
        last_seen: Some(before(2)),
        simulated: false,
        agent: Some(AgentInfo {
            agent_version: "0.1.0".into(),
            hostname: "strata-3f2a".into(),
            arch: "aarch64".into(),
            image_version: Some("0.3.1".into()),
            booted_slot: Some(SlotName::A),
        }),
        status: Some(status()),
        status_at: Some(before(4)),
        live_stream: None,
    }
}

const ROLLED_BACK: &str = "slot B was left again: the encoder gave no <frame> within 60 s";

/// Half-way into an update.
pub(in crate::http) fn updating_device() -> DeviceView {
    let update = UpdateProgress {
        version: "0.4.0".into(),
        slot: SlotName::B,
        percent: 43,
        step: UpdateStep::Downloading,
        error: None,
    };
    DeviceView { status: Some(DeviceStatus { update: Some(update), ..status() }), ..device() }
}

/// Back on its former slot after an update, and short of room.
pub(in crate::http) fn troubled_device() -> DeviceView {
    let update = UpdateProgress {
        version: "0.4.0".into(),
        slot: SlotName::B,
        percent: 100,
        step: UpdateStep::RolledBack,
        error: Some(ROLLED_BACK.into()),
    };
    let problem = DeviceProblem {
        kind: DeviceProblemKind::Data,
        message: "the data partition is full: delete recordings, or nothing is recorded any more".into(),
    };
    let mut status = DeviceStatus { update: Some(update), problems: vec![problem], ..status() };
    let bad = SlotStatus {
        state: SlotState::Bad,
        reason: Some(ROLLED_BACK.into()),
        version: Some("0.4.0".into()),
        ..status.slots[1].clone()
    };
    status.slots[1] = bad;
    DeviceView { status: Some(status), ..device() }
}

/// The history behind it, newest first.
pub(in crate::http) fn updates() -> Vec<DeviceUpdateView> {
    let update = |version: &str, slot, step, error: Option<&str>, began: i64| DeviceUpdateView {
        version: version.into(),
        slot,
        step,
        error: error.map(Into::into),
        started_at: before(began),
        changed_at: before(began - 180),
    };
    vec![
        update("0.4.0", SlotName::B, UpdateStep::RolledBack, Some(ROLLED_BACK), 3_600),
        update("0.4.0", SlotName::B, UpdateStep::Refused, Some("the bundle's signature is of nobody we know"), 7_200),
        update("0.3.1", SlotName::A, UpdateStep::Good, None, 900_000),
    ]
}

/// Not heard for an hour.
pub(in crate::http) fn offline_device() -> DeviceView {
    DeviceView { online: false, last_seen: Some(before(3_700)), ..device() }
}

fn link(id: u8, interface: &str, state: LinkState, rtt_ms: f64, bitrate_bps: u64) -> LinkStats {
    LinkStats {
        id,
        interface: interface.into(),
        state,
        rtt_ms,
        capacity_bps: 3 * bitrate_bps,
        bitrate_bps,
        sent_bytes: 31_400_000,
        sent_packets: 24_000,
        lost_packets: 480 * u64::from(id),
        retransmitted_packets: 511 * u64::from(id),
        queue_ms: 1.5,
        signal_dbm: (id > 0).then_some(-84),
    }
}

fn numbers(source: Source) -> LiveNumbers {
    let links = vec![
        link(0, "eth0", LinkState::Up, 18.4, 1_812_000),
        link(1, "wwan0", LinkState::Suspect, 61.0, 902_000),
        link(2, "wwan1", LinkState::Dead, 740.0, 0),
    ];
    let relay_link = |id, state| WorkerLinkStats {
        id,
        state,
        bitrate_bps: 900_000,
        received_packets: 23_000,
        received_bytes: 30_000_000,
    };
    let destination = |id: Uuid, state, error: Option<&str>| DestinationStats {
        id: id.to_string(),
        state,
        sent_bytes: 52_000_000,
        failures: u32::from(error.is_some()) * 3,
        last_error: error.map(Into::into),
        retry_in_ms: error.map(|_| 7_200),
    };
    let receiver = ReceiverTruth { delivered: 1_204_551, lost: 3, late: 1, recovered: 24_310 };
    let encoder = EncoderStats {
        state: EncoderState::Running,
        element: "mpph264enc".into(),
        codec: VideoCodec::H264,
        bitrate_bps: 2_600_000,
        sustainable_bps: 3_100_000,
        output_bps: 2_900_000,
        width: 1280,
        height: 720,
        frames: 21_600,
        bytes: 260_000_000,
        uptime_ms: 720_000,
    };
    let stream_id = StreamId(STREAM);
    let stats = StreamStats { stream_id, source, encoder, links, receiver: Some(receiver) };
    let worker = WorkerStats {
        receiver,
        input_bps: 2_880_000,
        input_age_ms: Some(12),
        buffer_ms: 912.0,
        links: vec![relay_link(0, LinkState::Up), relay_link(1, LinkState::Up), relay_link(2, LinkState::Dead)],
        hls_media_sequence: Some(719),
        hls_segments: 720,
        destinations: vec![
            destination(DESTINATIONS[0], DestinationState::Connected, None),
            destination(DESTINATIONS[1], DestinationState::Waiting, Some("live.example:1935: connection refused")),
        ],
        video_gaps: 1,
        continuity_errors: 0,
    };
    LiveNumbers {
        stats: Some(Aged { value: stats, received_at: before(1), age_ms: 1_000 }),
        worker: Some(Aged { value: worker, received_at: now(), age_ms: 0 }),
        worker_restarts: 0,
        encoder_restarts: 1,
        history: Vec::new(),
    }
}

/// On air with the camera for twelve minutes; one link is dead, one destination fails.
pub(in crate::http) fn live_stream() -> StreamView {
    let source = Source::Camera { input: "v4l2:/dev/video0".into() };
    let destination =
        |index: usize, name: &str| StreamDestination { id: DestinationId(DESTINATIONS[index]), name: name.into() };
    StreamView {
        id: StreamId(STREAM),
        device_id: DeviceId(DEVICE),
        device_name: "Van <2>".into(),
        device_online: true,
        state: StreamState::Live,
        stalled: false,
        reason: None,
        detail: None,
        log: Vec::new(),
        source: source.clone(),
        is_test_pattern: false,
        settings: EncoderSettings::default(),
        links: Vec::new(),
        destinations: vec![destination(0, "YouTube"), destination(1, "Club server")],
        record_locally: true,
        started_by: "kim@example.org".into(),
        stopped_by: None,
        requested_at: before(724),
        live_at: Some(before(720)),
        ended_at: None,
        bytes: 260_000_000,
        play_key: "play-key".into(),
        port: Some(15_004),
        live: Some(numbers(source)),
    }
}

/// The same with a made-up picture.
pub(in crate::http) fn pattern_stream() -> StreamView {
    let source = Source::TestPattern;
    StreamView { source: source.clone(), is_test_pattern: true, live: Some(numbers(source)), ..live_stream() }
}

/// The encoder failed for good, with the last lines of its log.
pub(in crate::http) fn failed_stream() -> StreamView {
    StreamView {
        state: StreamState::Failed,
        reason: Some(EndReason::EncoderFailed),
        detail: Some("the encoder ended 3 times in a row, the last time by signal 11".into()),
        log: vec!["v4l2src0: /dev/video0 went away".into(), "<b>not markup</b>".into()],
        ended_at: Some(before(30)),
        port: None,
        live: None,
        ..live_stream()
    }
}

pub(in crate::http) fn events() -> Vec<StreamEventView> {
    let line = |id, seconds, kind: &str, text: &str| StreamEventView {
        id,
        at: before(seconds),
        kind: kind.into(),
        text: text.into(),
    };
    vec![
        line(1, 724, "state", "kim@example.org asked for a stream of Cam Link 4K"),
        line(2, 723, "worker", "The worker is ready on port 15004"),
        line(3, 720, "state", "Live: the first picture arrived"),
        line(4, 41, "health", "Link wwan1 is dead"),
    ]
}
