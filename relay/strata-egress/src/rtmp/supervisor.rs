//! Keeps one destination going, for ever.
//!
//! Owns: when its pipeline is built, judged dead and built again, and what is
//! told about it. States: connecting → connected → waiting → connecting …

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use gstreamer as gst;
use strata_control::EndReason;
use strata_worker_protocol::{DestinationState, DestinationStats, ForwardDestination};

use super::Target;
use super::backoff::Backoff;
use super::feed::{Feed, Streams};
use super::pipeline::{RtmpPipeline, Sent};
use crate::events::Events;

/// How often a running pipeline is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// A destination that takes no byte for this long while there is something to send is dead.
const STALLED: Duration = Duration::from_secs(15);
/// A connection that lasted this long begins the waits anew when it breaks.
const PROVEN: Duration = Duration::from_secs(10);

/// What is known of a destination.
#[derive(Debug)]
pub(crate) struct Status {
    state: DestinationState,
    /// Bytes sent over former connections.
    sent_before: u64,
    sent: Option<Arc<Sent>>,
    failures: u32,
    last_error: Option<String>,
    retry_at: Option<Instant>,
}

/// Shared between the supervisor and whoever asks.
#[derive(Debug)]
pub(crate) struct SharedStatus(Mutex<Status>);

impl Default for SharedStatus {
    fn default() -> Self {
        Self(Mutex::new(Status {
            state: DestinationState::Connecting,
            sent_before: 0,
            sent: None,
            failures: 0,
            last_error: None,
            retry_at: None,
        }))
    }
}

impl SharedStatus {
    fn lock(&self) -> MutexGuard<'_, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers for the relay.
    pub(crate) fn stats(&self, id: &str) -> DestinationStats {
        let status = self.lock();
        let retry_in = status.retry_at.map(|at| at.saturating_duration_since(Instant::now()));
        DestinationStats {
            id: id.to_owned(),
            state: status.state,
            sent_bytes: status.sent_before + status.sent.as_ref().map_or(0, |sent| sent.bytes()),
            failures: status.failures,
            last_error: status.last_error.clone(),
            retry_in_ms: retry_in.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// Why a pipeline was given up.
enum End {
    /// Something went wrong.
    Failed(String),
    /// The stream is another one now: build for that at once.
    StreamChanged,
}

/// One destination's supervisor.
pub(crate) struct Supervisor {
    pub(crate) destination: ForwardDestination,
    pub(crate) feed: Arc<Feed>,
    pub(crate) status: Arc<SharedStatus>,
    pub(crate) events: Events,
}

impl Supervisor {
    /// Runs until it is aborted.
    pub(crate) async fn run(self) {
        let target = match Target::new(&self.destination) {
            Ok(target) => target,
            Err(error) => {
                // Trying again cannot help; a corrected destination replaces this one.
                self.failed(&error.to_string(), None);
                return std::future::pending().await;
            }
        };
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            match self.run_once(&target).await {
                End::StreamChanged => backoff.reset(),
                End::Failed(message) => {
                    if self.status.lock().state == DestinationState::Connected && began.elapsed() >= PROVEN {
                        backoff.reset();
                    }
                    let wait = backoff.next();
                    self.failed(&message, Some(wait));
                    tokio::time::sleep(wait).await;
                }
            }
            let mut status = self.status.lock();
            status.state = DestinationState::Connecting;
            status.retry_at = None;
        }
    }

    fn failed(&self, message: &str, wait: Option<Duration>) {
        let mut status = self.status.lock();
        status.state = DestinationState::Waiting;
        status.failures = status.failures.saturating_add(1);
        status.retry_at = wait.map(|wait| Instant::now() + wait);
        // The first failure and each new reason are events; a destination that stays dead is in the statistics.
        let is_news = status.last_error.as_deref() != Some(message);
        status.last_error = Some(message.to_owned());
        drop(status);
        if is_news {
            self.events.error(EndReason::Other, format!("destination {}: {message}", self.destination.id));
        }
    }

    /// Builds a pipeline and runs it to its end.
    async fn run_once(&self, target: &Target) -> End {
        let mut streams = self.feed.streams();
        // The feed outlives its supervisor: waiting cannot fail.
        let Ok(known) = streams.wait_for(Streams::is_known).await.map(|known| *known) else {
            return std::future::pending().await;
        };
        let pipeline = match RtmpPipeline::build(target, &known) {
            Ok(pipeline) => pipeline,
            Err(error) => return End::Failed(error.to_string()),
        };
        let Some(bus) = pipeline.bus() else { return End::Failed("the RTMP pipeline has no bus".to_owned()) };
        let sent = pipeline.sent();
        self.status.lock().sent = Some(Arc::clone(&sent));
        let attached = Attached::new(&self.feed, &pipeline);
        pipeline.play();
        let mut messages = bus.stream_filtered(&[gst::MessageType::Error, gst::MessageType::Eos]);
        let end = tokio::select! {
            message = messages.next() => End::Failed(target.redact(&describe(message.as_ref()))),
            changed = streams.wait_for(|streams| *streams != known && streams.is_known()) => match changed {
                Ok(_) => End::StreamChanged,
                Err(_) => End::Failed("the stream ended".to_owned()),
            },
            () = self.watch(&sent) => {
                End::Failed(format!("the destination took no data for {} s", STALLED.as_secs()))
            }
        };
        drop(attached);
        self.give_up(pipeline).await;
        end
    }

    /// Follows the pipeline's progress; returns when there is none.
    async fn watch(&self, sent: &Sent) {
        let mut ticks = tokio::time::interval(LOOK);
        let (mut last, mut since, mut drops) = (0, Instant::now(), 0);
        loop {
            ticks.tick().await;
            let is_connected = sent.is_connected();
            if is_connected {
                self.status.lock().state = DestinationState::Connected;
            }
            let dropped = self.feed.drops();
            if dropped > drops && is_connected {
                let message = "the destination takes less than the stream's bitrate: pictures were dropped";
                self.status.lock().last_error = Some(message.to_owned());
            }
            drops = dropped;
            if sent.bytes() != last || !self.feed.has_waiting() {
                (last, since) = (sent.bytes(), Instant::now());
            } else if since.elapsed() >= STALLED {
                return;
            }
        }
    }

    /// Ends the pipeline on a thread where it may block.
    async fn give_up(&self, pipeline: RtmpPipeline) {
        {
            let mut status = self.status.lock();
            status.sent_before += pipeline.sent().bytes();
            status.sent = None;
        }
        if tokio::task::spawn_blocking(move || drop(pipeline)).await.is_err() {
            tracing::error!("ending an RTMP pipeline panicked");
        }
    }
}

/// The feed is attached to the pipeline as long as this lives, an aborted supervisor's included.
struct Attached<'a>(&'a Feed);

impl<'a> Attached<'a> {
    fn new(feed: &'a Feed, pipeline: &RtmpPipeline) -> Self {
        feed.attach(pipeline.queue());
        Self(feed)
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.0.detach();
    }
}

fn describe(message: Option<&gst::Message>) -> String {
    match message.map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => error.error().message().to_owned(),
        _ => "the pipeline ended".to_owned(),
    }
}
