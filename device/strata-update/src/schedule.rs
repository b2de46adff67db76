//! When a step of an update may be: what it waits for, if anything.

use std::fmt;

use jiff::Timestamp;
use strata_control::UpdateSchedule;

/// What a step waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// The running slot, the only one to fall back to, has not been called good yet.
    NotGood,
    /// A time.
    Until(Timestamp),
    /// The end of so many streams.
    Live(usize),
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGood => f.write_str("the running system has not been called good yet"),
            Self::Until(at) => write!(f, "not before {at}"),
            Self::Live(1) => f.write_str("a stream is live"),
            Self::Live(streams) => write!(f, "{streams} streams are live"),
        }
    }
}

/// What `schedule` waits for now; none when the step may be.
#[must_use]
pub fn hold(schedule: UpdateSchedule, now: Timestamp, live: usize) -> Option<Hold> {
    let idle = (live > 0).then_some(Hold::Live(live));
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
            (UpdateSchedule::Now, 2, None),
            (UpdateSchedule::WhenIdle, 0, None),
            (UpdateSchedule::WhenIdle, 1, Some(Hold::Live(1))),
            (UpdateSchedule::NotBefore { at: later }, 0, Some(Hold::Until(later))),
            (UpdateSchedule::NotBefore { at: now }, 0, None),
            (UpdateSchedule::NotBefore { at: now }, 3, Some(Hold::Live(3))),
        ] {
            assert_eq!(hold(schedule, now, live), expected, "{schedule:?} {live}");
        }
    }
}
