//! Stored forms: times as unix milliseconds, identifiers and enumerations as text, the rest as JSON.

use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::DbError;

pub(crate) fn time(millis: i64) -> Result<Timestamp, DbError> {
    Timestamp::from_millisecond(millis).map_err(|_| DbError::Stored { what: "time", value: millis.to_string() })
}

pub(crate) fn optional_time(millis: Option<i64>) -> Result<Option<Timestamp>, DbError> {
    millis.map(time).transpose()
}

pub(crate) fn parse<T: FromStr>(what: &'static str, text: &str) -> Result<T, DbError> {
    text.parse().map_err(|_| DbError::Stored { what, value: text.to_owned() })
}

pub(crate) fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|_| DbError::Stored { what, value: text.chars().take(80).collect() })
}

/// For what a later version may have written differently, and that comes again by itself: unreadable is absent.
pub(crate) fn from_json_lenient<T: DeserializeOwned>(text: Option<&str>) -> Option<T> {
    serde_json::from_str(text?).ok()
}

pub(crate) fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<String, DbError> {
    serde_json::to_string(value).map_err(|source| DbError::Json { what, source })
}

/// SQLite's integers are signed; no counter of ours reaches 2⁶³.
pub(crate) fn counter(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn stored_counter(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
