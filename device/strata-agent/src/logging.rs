//! The agent's own log: lines to standard error (the journal), the newest kept in memory for `log.request`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines kept; with [`LINE_BYTES`] an upper bound of memory, in practice a tenth of it.
const KEPT_LINES: usize = 2_000;
/// Where a line is cut.
const LINE_BYTES: usize = 1_024;

/// The newest lines of the agent's log.
#[derive(Clone, Debug, Default)]
pub struct LogTail(Arc<Mutex<VecDeque<String>>>);

impl LogTail {
    /// The newest `count` lines, oldest first.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }

    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        let end = (0..=line.len().min(LINE_BYTES)).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        lines.push_back(line[..end].to_owned());
    }
}

/// Writes one event to standard error and to the tail. A standard error that takes nothing (a file on a full disk) is
/// no failure: there is no other place to say so, and the subscriber's own words about it would end the agent.
#[derive(Debug)]
pub struct Tee(LogTail);

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(bytes).lines() {
            self.0.push(line);
        }
        io::stderr().write_all(bytes).ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for LogTail {
    type Writer = Tee;

    fn make_writer(&'a self) -> Tee {
        Tee(self.clone())
    }
}

/// Starts logging with the given filter.
///
/// # Errors
/// When the filter is wrong or logging was started before.
pub fn start(filter: &str) -> anyhow::Result<LogTail> {
    let tail = LogTail::default();
    let filter = EnvFilter::builder().parse(filter).with_context(|| format!("log_level is “{filter}”"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(tail.clone())
        .try_init()
        .map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))?;
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_in_order_and_cut() {
        let tail = LogTail::default();
        for number in 0..KEPT_LINES + 3 {
            tail.push(&format!("line {number}"));
        }
        tail.push(&"ü".repeat(LINE_BYTES));
        let lines = tail.newest(2);
        assert_eq!(lines[0], format!("line {}", KEPT_LINES + 2));
        assert_eq!(lines[1].len(), LINE_BYTES);
        assert_eq!(tail.newest(usize::MAX).len(), KEPT_LINES);
    }
}
