//! The command line: what people type, and what they read.
//!
//! Owns arguments, the socket's client end and the printed text; everything is
//! done by the daemon. [`deadline`] alone acts by itself: it is for the case that
//! the daemon does not.

pub mod client;
pub mod deadline;
pub mod show;

use jiff::Timestamp;
use strata_control::UpdateSchedule;

/// Reads `now`, `idle` or a time as a schedule.
///
/// # Errors
/// Says what is possible.
pub fn schedule(text: &str) -> Result<UpdateSchedule, String> {
    match text {
        "now" => Ok(UpdateSchedule::Now),
        "idle" => Ok(UpdateSchedule::WhenIdle),
        time => match time.parse::<Timestamp>() {
            Ok(at) => Ok(UpdateSchedule::NotBefore { at }),
            Err(_) => Err("“now”, “idle” or a time like 2026-01-31T03:00:00Z expected".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        assert_eq!(schedule("now"), Ok(UpdateSchedule::Now));
        assert_eq!(schedule("idle"), Ok(UpdateSchedule::WhenIdle));
        let at = Timestamp::from_second(1_769_828_400).unwrap();
        assert_eq!(schedule("2026-01-31T03:00:00Z"), Ok(UpdateSchedule::NotBefore { at }));
        assert!(schedule("tonight").unwrap_err().contains("2026-01-31T03:00:00Z"));
    }
}
