//! What can be subscribed.

use std::fmt;
use std::str::FromStr;

use strata_control::{DeviceId, StreamId};
use strata_fleet::FleetEvent;

/// Something that changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Topic {
    /// The list of devices.
    Fleet,
    /// One device.
    Device(DeviceId),
    /// One stream.
    Stream(StreamId),
}

/// A text that is no topic.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("“{0}” cannot be subscribed: fleet, device:ID or stream:ID expected")]
pub(super) struct UnknownTopic(String);

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownTopic(text.chars().take(64).collect());
        match text.split_once(':') {
            None if text == "fleet" => Ok(Self::Fleet),
            Some(("device", id)) => id.parse().map(Self::Device).map_err(|_| unknown()),
            Some(("stream", id)) => id.parse().map(Self::Stream).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("fleet"),
            Self::Device(id) => write!(f, "device:{id}"),
            Self::Stream(id) => write!(f, "stream:{id}"),
        }
    }
}

/// What an event means for a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    None,
    /// New numbers only.
    Numbers,
    /// Anything may have changed.
    Everything,
}

impl Topic {
    /// `device` is the stream's device, where it is known.
    pub(super) fn effect(self, event: &FleetEvent, device: Option<DeviceId>) -> Effect {
        let numbers = matches!(event, FleetEvent::StreamNumbers { .. });
        let timeline = matches!(event, FleetEvent::StreamTimeline { .. });
        let about_device = matches!(event, FleetEvent::DeviceChanged { .. } | FleetEvent::DeviceDeleted { .. });
        let touched = match self {
            _ if *event == FleetEvent::Reload => true,
            Self::Fleet => event.device_id().is_some() && !numbers && !timeline,
            Self::Device(id) => event.device_id() == Some(id) && !numbers && !timeline,
            Self::Stream(id) => event.stream_id() == Some(id) || (about_device && event.device_id() == device),
        };
        match (touched, numbers) {
            (false, _) => Effect::None,
            (true, true) => Effect::Numbers,
            (true, false) => Effect::Everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_reads_what_it_writes_and_nothing_else() {
        for text in
            ["fleet", "device:0192f0a0-0000-7000-8000-000000000001", "stream:0192f0a0-0000-7000-8000-000000000002"]
        {
            assert_eq!(text.parse::<Topic>().unwrap().to_string(), text);
        }
        for text in ["", "fleet:1", "device", "device:", "device:1", "owner:0192f0a0-0000-7000-8000-000000000001"] {
            assert!(text.parse::<Topic>().is_err(), "{text:?}");
        }
    }
}
