use strata_control::OwnerId;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::FleetEvent;

/// Events kept for a slow subscriber: some seconds of a busy fleet. Who falls further behind loads everything again.
const BACKLOG: usize = 1_024;

/// Tells every subscriber what changed.
pub(crate) struct Events {
    sender: broadcast::Sender<(OwnerId, FleetEvent)>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG) }
    }

    /// Tells the owner's subscribers.
    pub(crate) fn tell(&self, owner: OwnerId, event: FleetEvent) {
        // An error says that nobody listens, which is fine.
        drop(self.sender.send((owner, event)));
    }

    pub(crate) fn subscribe(&self, owner: OwnerId, closing: CancellationToken) -> FleetEvents {
        FleetEvents { owner, receiver: self.sender.subscribe(), closing }
    }
}

/// Events of one owner, from [`crate::Fleet::subscribe`] on.
pub struct FleetEvents {
    owner: OwnerId,
    receiver: broadcast::Receiver<(OwnerId, FleetEvent)>,
    closing: CancellationToken,
}

impl FleetEvents {
    /// The next event; none when the relay shuts down. May be cancelled without losing one.
    pub async fn next(&mut self) -> Option<FleetEvent> {
        loop {
            let received = tokio::select! {
                received = self.receiver.recv() => received,
                () = self.closing.cancelled() => return None,
            };
            match received {
                Ok((owner, event)) if owner == self.owner => return Some(event),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(FleetEvent::Reload),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
