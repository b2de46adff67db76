//! Statistics as JSON lines, appended to a file.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The file and the clock of its lines.
pub(crate) struct Statistics {
    path: PathBuf,
    file: File,
    ticks: Interval,
    failed: bool,
}

/// A line: the moment, then everything the end counts.
#[derive(Serialize)]
struct Line<S> {
    /// Milliseconds since 1970, UTC.
    time_ms: u64,
    #[serde(flatten)]
    stats: S,
}

impl Statistics {
    pub(crate) async fn open(path: &Path, every: Duration) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .await
            .with_context(|| format!("cannot open the statistics file {}", path.display()))?;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Ok(Self { path: path.to_owned(), file, ticks, failed: false })
    }

    /// Appends a line. A full disk is no reason to stop the stream: it is said once.
    pub(crate) async fn write<S: Serialize>(&mut self, stats: S) {
        let outcome = self.try_write(stats).await;
        match outcome {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::warn!("cannot write the statistics file {}: {error}", self.path.display());
            }
            Err(_) => {}
        }
    }

    async fn try_write<S: Serialize>(&mut self, stats: S) -> std::io::Result<()> {
        let time_ms = wall_clock_ms();
        let mut line = serde_json::to_vec(&Line { time_ms, stats })?;
        line.push(b'\n');
        // One write, so that whoever follows the file sees whole lines.
        self.file.write_all(&line).await?;
        self.file.flush().await
    }
}

/// Appends a line whenever one is due, for ever; nothing where no statistics are wanted.
pub(crate) async fn keep<S: Serialize>(statistics: &mut Option<Statistics>, stats: impl Fn() -> S) {
    let Some(statistics) = statistics else { return std::future::pending().await };
    loop {
        statistics.ticks.tick().await;
        statistics.write(stats()).await;
    }
}

/// Opens the file, if one is wanted.
pub(crate) async fn open(path: Option<&Path>, every: Duration) -> anyhow::Result<Option<Statistics>> {
    match path {
        Some(path) => Ok(Some(Statistics::open(path, every).await?)),
        None => Ok(None),
    }
}

/// What the clock on the wall shows, for whoever reads the line: nothing is timed by it.
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a time for people")]
fn wall_clock_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
