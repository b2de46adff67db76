//! A recorded link: the moments at which it could send.
//!
//! The format is mahimahi's: one number per line, the millisecond since the start
//! at which one packet of 1,500 bytes may leave; the recording repeats when it ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes that may leave at one moment of a recording.
const OPPORTUNITY: u64 = 1500;

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It could not be read.
    #[error("cannot read the recorded link {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not a recording.
    #[error("{path}, line {line}: \"{text}\" is not a millisecond at or after the line before")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// It has no moment at which anything may leave.
    #[error("{0} is empty: nothing could ever leave")]
    Empty(PathBuf),
}

/// A recorded link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Milliseconds at which 1,500 bytes may leave, rising.
    moments: Vec<u64>,
    period_ms: u64,
    start_ms: u64,
}

/// Where a lane is in a recording: the moment in use, and the bytes left in it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Position {
    moment: u64,
    left: u64,
}

impl Trace {
    /// Reads a recording; the emulator's start is `start` after the recording's.
    ///
    /// # Errors
    /// [`TraceError`] names the file and the line.
    pub fn read(path: &Path, start: Duration) -> Result<Self, TraceError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| TraceError::Read { path: path.to_owned(), source })?;
        let mut moments: Vec<u64> = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match line.trim().parse() {
                Ok(ms) if moments.last().is_none_or(|&last| last <= ms) => moments.push(ms),
                _ => return Err(TraceError::Line { path: path.to_owned(), line: at + 1, text: line.to_owned() }),
            }
        }
        Self::new(moments, start).ok_or_else(|| TraceError::Empty(path.to_owned()))
    }

    /// A recording of these rising milliseconds; none if there are none.
    #[must_use]
    pub fn new(moments: Vec<u64>, start: Duration) -> Option<Self> {
        let period_ms = moments.last()? + 1;
        Some(Self { moments, period_ms, start_ms: u64::try_from(start.as_millis()).ok()? })
    }

    /// What the link could have carried between two times since the emulator's start, in bits.
    #[must_use]
    pub fn bits(&self, from: Duration, to: Duration) -> u64 {
        (self.first_from(to) - self.first_from(from)) * OPPORTUNITY * 8
    }

    /// When moment `number`, counted over the repetitions, is, since the emulator's start.
    fn time(&self, number: u64) -> Duration {
        let count = self.moments.len() as u64;
        let in_period = usize::try_from(number % count).map_or(0, |at| self.moments[at]);
        Duration::from_millis((number / count * self.period_ms + in_period).saturating_sub(self.start_ms))
    }

    /// The first moment at or after `since` the emulator's start.
    fn first_from(&self, since: Duration) -> u64 {
        let ms = u64::try_from(since.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).saturating_add(self.start_ms);
        let in_period = self.moments.partition_point(|&moment| moment < ms % self.period_ms) as u64;
        ms / self.period_ms * self.moments.len() as u64 + in_period
    }

    /// When `bytes` that come at `now` have left, and where that leaves the lane.
    pub(crate) fn send(&self, from: Position, now: Duration, bytes: u64) -> (Duration, Position) {
        let mut position = from;
        if self.time(position.moment) < now {
            let moment = self.first_from(now).max(position.moment + 1);
            position = Position { moment, left: OPPORTUNITY };
        }
        let mut need = bytes;
        while need > position.left {
            need -= position.left;
            position = Position { moment: position.moment + 1, left: OPPORTUNITY };
        }
        position.left -= need;
        (self.time(position.moment).max(now), position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_in_a_second_is_what_was_recorded() {
        // One packet each millisecond is 12 Mbit/s.
        let trace = Trace::new((0..1000).collect(), Duration::ZERO).unwrap();
        let mut position = Position::default();
        let mut sent = 0;
        for n in 0..3000_u32 {
            let (left, after) = trace.send(position, Duration::from_micros(500) * n, 1344);
            position = after;
            sent += u64::from(left <= Duration::from_secs(1)) * 1344 * 8;
        }
        assert!((11_900_000..=12_000_000).contains(&sent), "{sent}");
        assert_eq!(trace.bits(Duration::ZERO, Duration::from_secs(5)), 60_000_000);
    }

    #[test]
    fn a_pause_in_the_recording_is_a_pause() {
        let trace = Trace::new(vec![0, 500], Duration::ZERO).unwrap();
        let (left, position) = trace.send(Position::default(), Duration::from_millis(1), 1000);
        assert_eq!(left, Duration::from_millis(500));
        let (left, _) = trace.send(position, Duration::from_millis(1), 1000);
        assert_eq!(left, Duration::from_millis(501), "half of it in the next round");
    }

    #[test]
    fn it_begins_where_told() {
        let trace = Trace::new(vec![0, 500, 999], Duration::from_millis(400)).unwrap();
        assert_eq!(trace.send(Position::default(), Duration::ZERO, 1500).0, Duration::from_millis(100));
    }

    #[test]
    fn a_file_that_is_no_recording_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("up");
        std::fs::write(&path, "1\n5\n4\n").unwrap();
        let error = Trace::read(&path, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(Trace::read(&path, Duration::ZERO), Err(TraceError::Empty(_))));
    }
}
