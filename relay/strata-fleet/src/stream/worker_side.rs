//! What a stream makes of its worker's notes and of their absence.

use std::time::Instant;

use jiff::Timestamp;
use strata_control::EndReason;
use strata_relay_db::StreamState;
use strata_worker_protocol::WorkerStats;

use super::actor::{DEVICE_STOP, INPUT_FRESH_MS, STORE_BYTES_EVERY, StreamActor, With};
use super::state::Change;
use crate::FleetEvent;
use crate::inner::lock;
use crate::worker::{WorkerNote, WorkerOrder};

impl StreamActor {
    pub(super) async fn order(&self, order: WorkerOrder) {
        // An error says that no worker runs, which is what an order to stop wants, and what a command can do without.
        drop(self.worker.orders.send(order).await);
    }

    pub(super) async fn note(&mut self, note: WorkerNote) {
        match note {
            WorkerNote::Ready { port, adopted, restarts } => self.worker_ready(port, adopted, restarts).await,
            WorkerNote::Stats(stats) => self.worker_stats(*stats).await,
            WorkerNote::Trouble { message } => self.line("worker", message).await,
            WorkerNote::Exited { how } => {
                if self.is_active() {
                    self.line("worker", format!("the relay's worker ended ({how}); it is started again")).await;
                }
            }
            WorkerNote::GaveUp { reason, detail, log } => {
                if self.is_active() && self.state != StreamState::Stopping {
                    self.tell_stop_for(reason, detail.clone());
                    self.end(reason, detail, log).await;
                }
            }
        }
    }

    pub(super) async fn worker_ready(&mut self, port: u16, adopted: bool, restarts: u32) {
        let moved = self.record.port.is_some_and(|before| before != port);
        if self.record.port != Some(port) {
            self.record.port = Some(port);
            if let Err(error) = self.inner.db.set_stream_port(self.id(), port).await {
                tracing::error!(stream = %self.id(), %error, "a stream's port cannot be stored");
            }
        }
        self.show(|shown| shown.live.worker_restarts = restarts);
        if self.state == StreamState::Requested {
            let line = format!("the relay's worker receives on UDP port {port}; the device is told");
            if self.change_quietly(Change::WorkerReady, With { line, ..With::default() }).await {
                self.last_input = Instant::now();
                self.tell_start();
            }
            return;
        }
        let text = match (adopted, moved) {
            (true, _) => "the relay was started again and took the running worker back".to_owned(),
            (false, false) => format!("a new worker receives on the same UDP port {port}"),
            (false, true) => format!("a new worker receives on UDP port {port}, as the former one is in use"),
        };
        self.line("worker", text).await;
        if moved && matches!(self.state, StreamState::Starting | StreamState::Live) {
            self.tell_start();
        }
    }

    pub(super) async fn worker_stats(&mut self, stats: WorkerStats) {
        let input = stats.input_age_ms.is_some_and(|age| age < INPUT_FRESH_MS);
        if input {
            self.last_input = Instant::now();
        }
        let at = Timestamp::now();
        self.show(|shown| shown.live.keep_worker(stats, at));
        if input && self.state == StreamState::Starting {
            let waited = at.duration_since(self.record.requested_at).as_secs_f64();
            let line = format!("media arrives, {waited:.1} s after it was asked for");
            if self.change_quietly(Change::MediaArrived, With { line, ..With::default() }).await {
                self.record.live_at = Some(at);
            }
        }
    }

    /// No worker runs any more.
    pub(super) async fn worker_ended(&mut self) {
        if self.inner.closing.is_cancelled() {
            // The supervision ends with the relay; the worker goes on.
            return;
        }
        self.worker_gone = true;
        if self.state == StreamState::Stopping {
            self.end(EndReason::StoppedByUser, self.stopped_detail(), Vec::new()).await;
        } else if self.is_active() {
            let detail = "the relay's worker is gone and cannot be started".to_owned();
            self.end(EndReason::WorkerFailed, detail, Vec::new()).await;
        }
    }

    pub(super) async fn second(&mut self) {
        self.seconds = self.seconds.wrapping_add(1);
        self.publish_numbers();
        if self.seconds.is_multiple_of(STORE_BYTES_EVERY) {
            self.store_bytes().await;
        }
        if self.stop_asked.is_some_and(|asked| asked.elapsed() > DEVICE_STOP) {
            self.device_done().await;
        }
        // Its end could not be stored when the worker ended: again.
        if self.worker_gone && self.is_active() {
            self.worker_ended().await;
        }
        if matches!(self.state, StreamState::Starting | StreamState::Live) {
            self.watch_input().await;
        }
    }

    pub(super) fn publish_numbers(&self) {
        if !self.is_active() {
            return;
        }
        let now = Timestamp::now();
        let (point, numbers) = {
            let mut shown = lock(&self.shown);
            (shown.live.point(now), shown.live.view(now, false))
        };
        if point.is_none() {
            return;
        }
        let event = FleetEvent::StreamNumbers {
            stream_id: self.id(),
            device_id: self.record.device,
            numbers: Box::new(numbers),
            point,
        };
        self.inner.events.tell(self.record.owner, event);
    }

    /// Shows a stream without input as stalled, and ends one that nobody has heard of for too long.
    pub(super) async fn watch_input(&mut self) {
        let timing = self.inner.config.timing;
        let silence = self.last_input.elapsed();
        let stalled = silence > timing.stalled_after;
        if stalled != lock(&self.shown).stalled {
            self.show(|shown| shown.stalled = stalled);
            let text = if stalled {
                format!("stalled: no input for {} s", silence.as_secs())
            } else {
                "input arrives again".to_owned()
            };
            self.line("health", text).await;
            self.tell_changed();
        }
        if silence > timing.lost_after && self.last_report.elapsed() > timing.lost_after {
            let online = self.inner.devices.is_online(self.record.device);
            let name = &self.record.device_name;
            let seconds = silence.as_secs();
            let (reason, detail) = if online {
                (EndReason::NoInput, format!("no input for {seconds} s, and {name} does not report the stream"))
            } else {
                (EndReason::DeviceOffline, format!("no input for {seconds} s, and {name} is offline"))
            };
            self.end(reason, detail, Vec::new()).await;
        }
    }
}
