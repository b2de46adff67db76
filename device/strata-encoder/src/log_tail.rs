//! The process's log: to standard error, and its last lines kept for the end report.
//!
//! Owns the ring of lines and the subscriber's set-up.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use strata_encoder_protocol::KEPT_LOG_LINES;
use tracing_subscriber::fmt::MakeWriter;

/// Longer lines are cut: the report must fit into one message.
const LONGEST_LINE: usize = 1_000;

/// The last lines of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogTail {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl LogTail {
    /// Logs to standard error from now on; `RUST_LOG` chooses what.
    pub(crate) fn install() -> Self {
        let tail = Self::default();
        let filter =
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".parse().expect("valid"));
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(tail.clone()).init();
        tail
    }

    /// The last lines, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn keep(&self, text: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines().filter(|line| !line.is_empty()) {
            if lines.len() == KEPT_LOG_LINES {
                lines.pop_front();
            }
            lines.push_back(line.chars().take(LONGEST_LINE).collect());
        }
    }
}

impl Write for LogTail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.keep(&String::from_utf8_lossy(bytes));
        // A full disk below standard error: an error returned here would be printed there, and that panics.
        drop(io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for LogTail {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_long_ones_cut() {
        let tail = LogTail::default();
        for number in 0..100 {
            tail.keep(&format!("line {number}\n"));
        }
        tail.keep(&"x".repeat(5_000));
        let lines = tail.lines();
        assert_eq!(lines.len(), KEPT_LOG_LINES);
        assert_eq!(lines[0], "line 61");
        assert_eq!(lines[39].len(), LONGEST_LINE);
    }
}
