use serde::Serialize;
use strata_control::{DeviceId, StreamId};
use strata_relay_db::StreamState;

use crate::{HistoryPoint, LiveNumbers, StreamEventView};

/// Something changed. A subscriber gets its own owner's events only.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum FleetEvent {
    /// A device appeared, went, or changed: status, online, name, enrolment.
    DeviceChanged {
        /// The device.
        device_id: DeviceId,
        /// Whether its control connection is open now.
        online: bool,
    },
    /// A device was deleted.
    DeviceDeleted {
        /// The device.
        device_id: DeviceId,
    },
    /// A stream was asked for, changed its state, its source, its settings or whether it is stalled.
    StreamChanged {
        /// The stream.
        stream_id: StreamId,
        /// Its device.
        device_id: DeviceId,
        /// Where it is in its life now.
        state: StreamState,
        /// No input for 30 s or more.
        stalled: bool,
    },
    /// A line was added to a stream's timeline.
    StreamTimeline {
        /// The stream.
        stream_id: StreamId,
        /// Its device.
        device_id: DeviceId,
        /// The line.
        line: StreamEventView,
    },
    /// New numbers of a stream, about once a second.
    StreamNumbers {
        /// The stream.
        stream_id: StreamId,
        /// Its device.
        device_id: DeviceId,
        /// The numbers, without history.
        numbers: Box<LiveNumbers>,
        /// The newest point of the history.
        point: Option<HistoryPoint>,
    },
    /// A destination was added, changed or deleted.
    DestinationsChanged,
    /// The subscriber was too slow and missed events: load everything again.
    Reload,
}

impl FleetEvent {
    /// The device that it is about.
    #[must_use]
    pub fn device_id(&self) -> Option<DeviceId> {
        match self {
            Self::DeviceChanged { device_id, .. }
            | Self::DeviceDeleted { device_id }
            | Self::StreamChanged { device_id, .. }
            | Self::StreamTimeline { device_id, .. }
            | Self::StreamNumbers { device_id, .. } => Some(*device_id),
            Self::DestinationsChanged | Self::Reload => None,
        }
    }

    /// The stream that it is about.
    #[must_use]
    pub fn stream_id(&self) -> Option<StreamId> {
        match self {
            Self::StreamChanged { stream_id, .. }
            | Self::StreamTimeline { stream_id, .. }
            | Self::StreamNumbers { stream_id, .. } => Some(*stream_id),
            Self::DeviceChanged { .. } | Self::DeviceDeleted { .. } | Self::DestinationsChanged | Self::Reload => None,
        }
    }
}
