//! What templates show: the fleet's data in words and formatted numbers, nothing left to decide.

pub(super) mod device;
pub(super) mod go_live;
#[cfg(test)]
pub(super) mod samples;
pub(super) mod stream;
pub(super) mod stream_parts;
pub(super) mod system;
pub(super) mod words;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use strata_web::format;

/// A state as shape and word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Badge {
    /// The shape: `good`, `warn`, `bad`, `busy`, `live`, `pattern`, `simulated` or none.
    pub(super) kind: &'static str,
    pub(super) words: String,
}

impl Badge {
    pub(super) fn new(kind: &'static str, words: impl Into<String>) -> Self {
        Self { kind, words: words.into() }
    }

    pub(super) fn test_pattern() -> Self {
        Self::new("pattern", "TEST PATTERN")
    }

    pub(super) fn simulated() -> Self {
        Self::new("simulated", "SIMULATED device")
    }
}

/// When something was seen: the time for the script to count on from, the words for who has none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) at_ms: i64,
    pub(super) words: String,
}

impl Seen {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { at_ms: at.as_millisecond(), words: format::ago(now.as_millisecond() - at.as_millisecond()) }
    }
}

/// A name and a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
}

impl Fact {
    pub(super) fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into() }
    }
}

/// A time of day, with its date when that is not today's (UTC).
pub(super) fn clock(at: Timestamp, now: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    let today = at.date() == now.to_zoned(TimeZone::UTC).date();
    at.strftime(if today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

/// Date and time to the minute (UTC).
pub(super) fn minute(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M").to_string()
}

/// The time between two instants in words; nothing negative.
pub(super) fn span_between(from: Timestamp, to: Timestamp) -> String {
    format::span(u64::try_from(to.as_second() - from.as_second()).unwrap_or(0))
}
