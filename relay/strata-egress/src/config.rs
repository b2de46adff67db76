//! The configuration line on standard input.

use std::io::BufRead;

use anyhow::{Context, Result, bail};
use strata_worker_protocol::{MAX_LINE_BYTES, WorkerConfig};

/// Reads and checks the one line. Error messages never quote it: it holds secrets.
///
/// # Errors
/// When it is missing, too long, not JSON, or a field is missing or unknown.
pub fn read(input: impl BufRead) -> Result<WorkerConfig> {
    let mut line = Vec::new();
    let limit = MAX_LINE_BYTES as u64 + 1;
    input.take(limit).read_until(b'\n', &mut line).context("cannot read the configuration from standard input")?;
    if line.len() > MAX_LINE_BYTES {
        bail!("the configuration on standard input is longer than {MAX_LINE_BYTES} bytes");
    }
    if line.trim_ascii().is_empty() {
        bail!("no configuration on standard input: one JSON line expected, as strata-relay writes it");
    }
    let config: WorkerConfig = serde_json::from_slice(&line).map_err(|error| describe(&error))?;
    if config.key.key_pair().is_none() {
        bail!("configuration: “key” is not a private key: 64 hexadecimal digits expected");
    }
    Ok(config)
}

/// Names of fields are told; values are not, they may be secrets.
fn describe(error: &serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    let is_about_names = text.starts_with("unknown field") || text.starts_with("missing field");
    if is_about_names {
        anyhow::anyhow!("configuration on standard input: {text}")
    } else {
        anyhow::anyhow!("configuration on standard input: wrong JSON or type of value at column {}", error.column())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_without_secrets() {
        let too_long = format!("{{\"stream_id\": \"{}\"}}", "x".repeat(MAX_LINE_BYTES));
        for (line, part) in [
            ("", "no configuration"),
            ("{\"secret\": 1}\n", "unknown field `secret`"),
            ("{}\n", "missing field"),
            ("hunter2\n", "column"),
            (too_long.as_str(), "longer than"),
        ] {
            let message = format!("{:#}", read(line.as_bytes()).unwrap_err());
            assert!(message.contains(part), "{message}");
            assert!(!message.contains("hunter2"));
        }
    }
}
