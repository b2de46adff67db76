//! When a step of an update may be: what it waits for, if anything.

use std::fmt;

use jiff::Timestamp;
use strata_control::UpdateSchedule;

use crate::agent_file::Live;

/// What a step waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// The running slot, the only one to fall back to, has not been called good yet.
    NotGood,
    /// A time.
    Until(Timestamp),
    /// The end of so many streams.
    Live(usize),
    /// The agent, which alone knows whether a stream is live.
    Unknown,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGood => f.write_str("the running system has not been called good yet"),
            Self::Until(at) => write!(f, "not before {at}"),
            Self::Live(1) => f.write_str("a stream is live"),
            Self::Live(streams) => write!(f, "{streams} streams are live"),
            Self::Unknown => f.write_str("the agent does not tell whether a stream is live"),
        }
    }
}

/// What `schedule` waits for now; none when the step may be.
#[must_use]
pub fn hold(schedule: UpdateSchedule, now: Timestamp, live: Live) -> Option<Hold> {
    let idle = match live {
        Live::Streams(0) => None,
        Live::Streams(streams) => Some(Hold::Live(streams)),
        Live::Unknown => Some(Hold::Unknown),
    };
    match schedule {
        UpdateSchedule::Now => None,
        UpdateSchedule::WhenIdle => idle,
        UpdateSchedule::NotBefore { at } if now < at => Some(Hold::Until(at)),
        UpdateSchedule::NotBefore { .. } => idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let (now, later) = (Timestamp::from_second(1_000).unwrap(), Timestamp::from_second(2_000).unwrap());
        for (schedule, live, expected) in [
            (UpdateSchedule::Now, Live::Streams(2), None),
            (UpdateSchedule::Now, Live::Unknown, None),
            (UpdateSchedule::WhenIdle, Live::Streams(0), None),
            (UpdateSchedule::WhenIdle, Live::Streams(1), Some(Hold::Live(1))),
            (UpdateSchedule::WhenIdle, Live::Unknown, Some(Hold::Unknown)),
            (UpdateSchedule::NotBefore { at: later }, Live::Streams(0), Some(Hold::Until(later))),
            (UpdateSchedule::NotBefore { at: now }, Live::Streams(0), None),
            (UpdateSchedule::NotBefore { at: now }, Live::Streams(3), Some(Hold::Live(3))),
            (UpdateSchedule::NotBefore { at: now }, Live::Unknown, Some(Hold::Unknown)),
        ] {
            assert_eq!(hold(schedule, now, live), expected, "{schedule:?} {live:?}");
        }
    }
}
