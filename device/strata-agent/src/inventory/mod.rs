//! What the device has: interfaces, media inputs, saved media, and how the machine does.
//!
//! Owns looking at the machine, by the kernel's own interfaces, and noticing
//! changes ([`hotplug`]) without polling for them. Does not own what is done
//! with it: links are chosen in [`crate::links`], the relay is told by the agent.

pub mod hotplug;
mod interfaces;
mod media;
pub mod routes;
pub mod simulated;
mod system;
mod v4l2;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strata_control::{Interface, MediaInput, SavedMedia};
use tokio::sync::watch;
use tokio::time::{self, Instant};

pub(crate) use system::disk;
pub use system::{SystemProbe, SystemStatus};

use routes::Routes;

/// One look at the machine.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Inventory {
    /// Network interfaces; `enabled` is left to who knows the policies.
    pub interfaces: Vec<Interface>,
    /// Their routes.
    pub routes: Routes,
    /// Nodes that can capture a picture.
    pub media_inputs: Vec<MediaInput>,
    /// Media files that can be a source.
    pub saved_media: Vec<SavedMedia>,
}

impl Inventory {
    /// Whether `other` differs in more than signals, which change all the time.
    #[must_use]
    pub fn differs(&self, other: &Self) -> bool {
        let steady = |inventory: &Self| {
            let mut inventory = inventory.clone();
            inventory.interfaces.iter_mut().for_each(|interface| interface.signal_dbm = None);
            inventory
        };
        steady(self) != steady(other)
    }
}

/// Looks at the machine, again and again.
#[derive(Debug)]
pub struct Scanner {
    simulate: bool,
    started: Instant,
    media: media::MediaFolder,
}

impl Scanner {
    /// Prepares; `simulate` replaces interfaces and inputs by made-up ones.
    #[must_use]
    pub fn new(simulate: bool, media_dir: PathBuf) -> Self {
        Self { simulate, started: Instant::now(), media: media::MediaFolder::new(media_dir) }
    }

    /// One look that touches no disk: one that hangs must not keep the agent from its start.
    #[must_use]
    pub fn first_look(&self) -> Inventory {
        self.look(vec![])
    }

    /// One look, without playing times that are not known yet.
    #[must_use]
    pub fn scan(&self) -> Inventory {
        self.look(self.media.files())
    }

    fn look(&self, saved_media: Vec<SavedMedia>) -> Inventory {
        if self.simulate {
            return Inventory {
                interfaces: simulated::interfaces(self.started.elapsed()),
                routes: Routes::default(),
                media_inputs: vec![simulated::camera()],
                saved_media,
            };
        }
        let routes = Routes::read();
        Inventory { interfaces: interfaces::read(&routes), routes, media_inputs: v4l2::media_inputs(), saved_media }
    }

    /// Looks every `interval` and whenever hardware or the network changes, and publishes what it sees.
    pub async fn run(mut self, interval: Duration, inventory: watch::Sender<Arc<Inventory>>) {
        let mut changes = hotplug::Changes::open();
        // Signals wander: in a simulation they are looked at as often as numbers are sent.
        let interval = if self.simulate { interval.min(Duration::from_secs(1)) } else { interval };
        let mut tick = time::interval(interval);
        tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = changes.next() => {}
            }
            // Opening a device node can block for long.
            let (scanner, seen) = match tokio::task::spawn_blocking(move || {
                let seen = self.scan();
                (self, seen)
            })
            .await
            {
                Ok(scanned) => scanned,
                Err(error) => {
                    tracing::error!("the inventory is not looked at any more: {error}");
                    return;
                }
            };
            self = scanner;
            publish(&inventory, seen);
            if self.media.read_one_duration().await {
                // One playing time per look: a folder full of new files is no reason to be busy.
                tick.reset_after(Duration::from_millis(100));
            }
        }
    }
}

fn publish(inventory: &watch::Sender<Arc<Inventory>>, seen: Inventory) {
    inventory.send_if_modified(|known| {
        let modified = **known != seen;
        if modified {
            *known = Arc::new(seen);
        }
        modified
    });
}
