//! The product's words for the wire's enumerations, in one place.

use strata_control::{
    EncoderState, EndReason, InterfaceKind, InterfaceState, LinkState, MediaInput, MediaInputStatus, SlotState, Source,
    UpdateStep,
};
use strata_fleet::{StreamState, StreamView};

use super::Badge;

/// Why a stream ended, for everybody: names no user, file or host.
pub(in crate::http) fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::StoppedByUser => "Stopped by a person",
        EndReason::SourceMissing => "The source is not there",
        EndReason::SourceUnreadable => "The source cannot be read",
        EndReason::NoInput => "The source gave no picture",
        EndReason::PluginMissing => "The device lacks a media plugin",
        EndReason::EncoderFailed => "The encoder failed again and again",
        EndReason::NoLinks => "No link of the device reaches the relay",
        EndReason::RefusedByDevice => "The device refused to start",
        EndReason::DeviceShutdown => "The device restarted or was switched off",
        EndReason::DeviceLostStream => "The device no longer runs the stream",
        EndReason::DeviceOffline => "The device was offline for too long",
        EndReason::DeviceRevoked => "The device was deleted or its key revoked",
        EndReason::WorkerFailed => "The relay’s worker failed again and again",
        EndReason::NoPort => "The relay has no UDP port left",
        EndReason::DiskFull => "A disk is full",
        EndReason::Other => "Another reason",
    }
}

pub(in crate::http) fn stream_state(stream: &StreamView) -> Badge {
    match stream.state {
        StreamState::Requested => Badge::new("busy", "Requested"),
        StreamState::Starting => Badge::new("busy", "Starting"),
        StreamState::Live if stream.stalled => Badge::new("warn", "Stalled"),
        StreamState::Live => Badge::new("live", "LIVE"),
        StreamState::Stopping => Badge::new("busy", "Stopping"),
        StreamState::Ended => Badge::new("", "Ended"),
        StreamState::Failed => Badge::new("bad", "Failed"),
    }
}

pub(in crate::http) fn link_state(state: LinkState) -> Badge {
    match state {
        LinkState::Connecting => Badge::new("busy", "connecting"),
        LinkState::Up => Badge::new("good", "up"),
        LinkState::Suspect => Badge::new("warn", "suspect"),
        LinkState::Dead => Badge::new("bad", "dead"),
        LinkState::Other => Badge::new("", "unknown"),
    }
}

pub(in crate::http) fn encoder_state(state: EncoderState) -> &'static str {
    match state {
        EncoderState::Starting => "starting",
        EncoderState::Running => "running",
        EncoderState::NoInput => "no input",
        EncoderState::Restarting => "restarting",
        EncoderState::Stopping => "stopping",
        EncoderState::Other => "unknown",
    }
}

pub(in crate::http) fn interface_kind(kind: InterfaceKind) -> &'static str {
    match kind {
        InterfaceKind::Ethernet => "Ethernet",
        InterfaceKind::Wifi => "Wi-Fi",
        InterfaceKind::Modem => "modem",
        InterfaceKind::Loopback => "loopback",
        InterfaceKind::Virtual => "virtual",
        InterfaceKind::Other => "other",
    }
}

pub(in crate::http) fn interface_state(state: InterfaceState, enabled: bool) -> Badge {
    if !enabled {
        return Badge::new("", "switched off by you");
    }
    match state {
        InterfaceState::Down => Badge::new("bad", "down"),
        InterfaceState::Connecting => Badge::new("busy", "connecting"),
        InterfaceState::Connected => Badge::new("good", "connected"),
        InterfaceState::NoRoute => Badge::new("warn", "no route"),
        InterfaceState::Other => Badge::new("", "unknown"),
    }
}

pub(in crate::http) fn input_status(status: MediaInputStatus) -> Badge {
    match status {
        MediaInputStatus::Ready => Badge::new("good", "ready"),
        MediaInputStatus::Busy => Badge::new("busy", "in use"),
        MediaInputStatus::NoSignal => Badge::new("warn", "no signal"),
        MediaInputStatus::Other => Badge::new("", "unknown"),
    }
}

pub(in crate::http) fn slot_state(state: SlotState) -> Badge {
    match state {
        SlotState::Good => Badge::new("good", "good"),
        SlotState::Bad => Badge::new("bad", "bad"),
        SlotState::Untested => Badge::new("", "not called good yet"),
        SlotState::Other => Badge::new("", "unknown"),
    }
}

pub(in crate::http) fn update_step(step: UpdateStep) -> Badge {
    match step {
        UpdateStep::Waiting => Badge::new("busy", "waiting to begin"),
        UpdateStep::Downloading => Badge::new("busy", "downloading"),
        UpdateStep::Installed => Badge::new("busy", "in the slot"),
        UpdateStep::RebootPending => Badge::new("busy", "waits for the reboot"),
        UpdateStep::Verifying => Badge::new("busy", "the new system checks itself"),
        UpdateStep::Good => Badge::new("good", "good"),
        UpdateStep::RolledBack => Badge::new("warn", "rolled back"),
        UpdateStep::Refused => Badge::new("warn", "refused"),
        UpdateStep::Other => Badge::new("", "unknown"),
    }
}

/// A source by the name people know: an input's label where the device has told it.
pub(in crate::http) fn source(source: &Source, inputs: &[MediaInput]) -> String {
    match source {
        Source::Camera { input } => {
            inputs.iter().find(|known| known.id == *input).map_or_else(|| input.clone(), |known| known.label.clone())
        }
        Source::File { path } => format!("File {}", path.rsplit('/').next().unwrap_or(path)),
        Source::TestPattern => "Test pattern".to_owned(),
    }
}

/// What sort of line of the timeline: who or what it is about.
pub(in crate::http) fn event_kind(kind: &str) -> &str {
    match kind {
        "state" => "stream",
        "health" => "relay",
        other => other,
    }
}
