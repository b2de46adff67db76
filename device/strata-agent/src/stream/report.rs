//! The words of a stream's end: how a process ended, and its last log lines.

use std::path::Path;

use nix::sys::signal::Signal;
use strata_control::ExitStatus;
use strata_encoder_protocol::KEPT_LOG_LINES;

/// How much of a log's end is looked at for one report.
const TAIL_BYTES: u64 = 16 * 1024;
/// Where a line is cut.
const LINE_CHARS: usize = 500;

/// How a process ended, for people.
pub(super) fn how_it_ended(status: Option<ExitStatus>) -> String {
    match status {
        Some(ExitStatus { signal: Some(signal), .. }) => match Signal::try_from(signal) {
            Ok(name) => format!("the encoder was ended by signal {signal} ({name})"),
            Err(_) => format!("the encoder was ended by signal {signal}"),
        },
        Some(ExitStatus { code: Some(code), .. }) => format!("the encoder ended with exit code {code}"),
        _ => "the encoder is gone".to_owned(),
    }
}

/// The last lines of a log, oldest first; none where there is no log.
pub(super) fn last_lines(log: &Path) -> Vec<String> {
    match crate::logs::tail(log, KEPT_LOG_LINES, TAIL_BYTES) {
        Ok(lines) => lines.iter().map(|line| line.chars().take(LINE_CHARS).collect()).collect(),
        Err(error) => vec![format!("({error:#})")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_read_well() {
        for (code, signal, expected) in [
            (Some(3), None, "the encoder ended with exit code 3"),
            (None, Some(9), "the encoder was ended by signal 9 (SIGKILL)"),
            (None, None, "the encoder is gone"),
        ] {
            assert_eq!(how_it_ended(Some(ExitStatus { code, signal })), expected);
        }
    }
}
