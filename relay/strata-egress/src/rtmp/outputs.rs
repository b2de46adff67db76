//! The set of destinations and how it changes while live.

use std::sync::Arc;

use strata_worker_protocol::{DestinationStats, ForwardDestination};
use tokio::task::JoinHandle;

use super::Feed;
use super::supervisor::{SharedStatus, Supervisor};
use crate::events::Events;
use crate::intake::Intake;

#[derive(Debug)]
struct Output {
    destination: ForwardDestination,
    feed: Arc<Feed>,
    status: Arc<SharedStatus>,
    task: JoinHandle<()>,
}

impl Drop for Output {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All destinations of the stream.
#[derive(Debug)]
pub struct Outputs {
    intake: Intake,
    events: Events,
    outputs: Vec<Output>,
}

impl Outputs {
    /// No destination yet.
    #[must_use]
    pub fn new(intake: Intake, events: Events) -> Self {
        Self { intake, events, outputs: Vec::new() }
    }

    /// The destinations from now on: those that stay as they are go on undisturbed.
    pub fn set(&mut self, destinations: Vec<ForwardDestination>) {
        self.outputs.retain(|output| destinations.contains(&output.destination));
        for destination in destinations {
            if !self.outputs.iter().any(|output| output.destination == destination) {
                self.outputs.push(self.start(destination));
            }
        }
        self.intake.set_feeds(self.outputs.iter().map(|output| Arc::clone(&output.feed)).collect());
    }

    fn start(&self, destination: ForwardDestination) -> Output {
        let feed = Arc::new(Feed::default());
        let status = Arc::new(SharedStatus::default());
        let supervisor = Supervisor {
            destination: destination.clone(),
            feed: Arc::clone(&feed),
            status: Arc::clone(&status),
            events: self.events.clone(),
        };
        Output { destination, feed, status, task: tokio::spawn(supervisor.run()) }
    }

    /// Each destination's numbers.
    #[must_use]
    pub fn stats(&self) -> Vec<DestinationStats> {
        self.outputs.iter().map(|output| output.status.stats(&output.destination.id)).collect()
    }

    /// Ends all of them and waits until their connections are closed.
    pub async fn stop(mut self) {
        self.intake.set_feeds(Vec::new());
        for output in &mut self.outputs {
            output.task.abort();
            // An aborted task ends with an error: that is what was asked for.
            (&mut output.task).await.ok();
        }
    }
}
