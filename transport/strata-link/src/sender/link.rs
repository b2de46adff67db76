//! One link's life: connect, read reports, connect again, for ever.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use strata_bond::LinkState;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::connection::{Connected, Failure, SMALL, connect};
use super::explain::explain;
use super::{Shared, close_endpoint};
use crate::socket::{InterfaceState, interface_state};
use crate::{LinkConfig, quic};

/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause when somebody has to change something first.
const SETTLED_PAUSE: Duration = Duration::from_secs(3);
/// How often a standing link is looked after.
const CARE_INTERVAL: Duration = Duration::from_secs(1);
/// A link dead for so long is connected anew beside the old connection; whichever lives first is used.
const DEAD_PATIENCE: Duration = Duration::from_secs(10);

/// So many looks in a row, of so many lost packets each, tell that no large packet arrives.
const LOST_LOOKS: u32 = 3;
const LOST_PACKETS: u64 = 8;

/// Why a standing link ended.
enum Ended {
    Stopped,
    Lost(Failure),
    Renewed(Connected),
}

/// Keeps `link` connected until told to stop.
pub(super) async fn run(shared: Arc<Shared>, link: LinkConfig, mut stopped: watch::Receiver<bool>) {
    let mut attempt = 0;
    let mut pause = FIRST_PAUSE;
    loop {
        let outcome = tokio::select! {
            outcome = connect(&shared, &link, attempt) => outcome,
            () = stop(&mut stopped) => return,
        };
        let failure = match outcome {
            Ok(connected) => match stand(&shared, &link, connected, &mut stopped).await {
                Some((failure, worked)) => {
                    (attempt, pause) = (worked, FIRST_PAUSE);
                    failure
                }
                None => return,
            },
            Err(failure) => {
                attempt += 1;
                failure
            }
        };
        shared.engine().set_link_error(link.id, &failure.why);
        if pause == FIRST_PAUSE || failure.settled {
            tracing::warn!("link {} ({}): {}", link.id, link.name, failure.why);
        }
        tokio::select! {
            () = sleep(if failure.settled { SETTLED_PAUSE } else { pause }) => {}
            () = stop(&mut stopped) => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn stop(stopped: &mut watch::Receiver<bool>) {
    // The other end of the channel is gone: its owner was dropped, which is a stop too.
    drop(stopped.wait_for(|&stop| stop).await);
}

/// Uses a connection, and those that replace it, until the link is lost; says why, and with which attempt to begin
/// again. None: until told to stop.
async fn stand(
    shared: &Arc<Shared>,
    link: &LinkConfig,
    mut connected: Connected,
    stopped: &mut watch::Receiver<bool>,
) -> Option<(Failure, usize)> {
    loop {
        tracing::info!("link {} ({}) is connected to {}", link.id, link.name, link.remote);
        let ended = serve(shared, link, &connected, stopped).await;
        // A link of the same id may have been started meanwhile: then the place is its.
        let ours = withdraw(shared, link.id, &connected.connection);
        let why = match &ended {
            Ended::Lost(failure) => failure.why.as_str(),
            Ended::Stopped | Ended::Renewed(_) => "",
        };
        if ours {
            shared.engine().link_down(link.id, why);
            shared.wake.notify_one();
        }
        match ended {
            Ended::Stopped => {
                close_endpoint(connected.endpoint, quic::CLOSED).await;
                return None;
            }
            Ended::Lost(failure) => return Some((failure, connected.worked)),
            Ended::Renewed(fresh) => {
                connected.endpoint.close(quic::RENEWED, b"");
                connected = fresh;
            }
        }
    }
}

/// Takes a connection out of use; false if another one has its place.
fn withdraw(shared: &Shared, id: u8, connection: &quinn::Connection) -> bool {
    let mut connections = shared.connections();
    let ours = connections.get(&id).is_some_and(|current| current.stable_id() == connection.stable_id());
    if ours {
        connections.remove(&id);
    }
    ours
}

/// Reads reports over a connection and watches its health.
async fn serve(
    shared: &Arc<Shared>,
    link: &LinkConfig,
    connected: &Connected,
    stopped: &mut watch::Receiver<bool>,
) -> Ended {
    let connection = &connected.connection;
    shared.connections().insert(link.id, connection.clone());
    let max_datagram = connection.max_datagram_size().unwrap_or(0);
    shared.engine().link_up(shared.clock.now(), link.id, connection.rtt(), max_datagram);
    shared.wake.notify_one();
    let mut care = Care::new(shared, link, connected);
    let mut ticks = interval(CARE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            read = connection.read_datagram() => match read {
                Ok(packet) => {
                    let taken = shared.engine().handle_packet(shared.clock.now(), &packet);
                    shared.wake.notify_one();
                    if let Err(error) = taken {
                        tracing::debug!("link {}: {error}", link.id);
                    }
                }
                Err(error) => return Ended::Lost(explain(&error, shared, link)),
            },
            _ = ticks.tick() => care.look(),
            fresh = care.renewed() => return Ended::Renewed(fresh),
            () = stop(stopped) => return Ended::Stopped,
        }
    }
}

type Attempt = Pin<Box<dyn Future<Output = Result<Connected, Failure>> + Send>>;

/// Connects a link anew while its old connection is dead or loses all large packets, or its interface has changed.
struct Care {
    shared: Arc<Shared>,
    link: LinkConfig,
    interface: Option<InterfaceState>,
    dead_since: Option<Instant>,
    large: Option<Large>,
    attempts: usize,
    attempt: Option<Attempt>,
}

impl Care {
    fn new(shared: &Arc<Shared>, link: &LinkConfig, connected: &Connected) -> Self {
        Self {
            shared: Arc::clone(shared),
            link: link.clone(),
            interface: link.interface.as_deref().map(interface_state),
            dead_since: None,
            // A connection of small packets follows its path by itself.
            large: (connected.worked != SMALL).then(|| Large::new(&connected.connection)),
            attempts: connected.worked,
            attempt: None,
        }
    }

    /// Starts or ends attempts.
    fn look(&mut self) {
        let dead = self.shared.engine().link_state(self.link.id) == Some(LinkState::Dead);
        let small = self.large.as_mut().is_some_and(Large::all_lost);
        if !dead {
            self.dead_since = None;
        }
        if !dead && !small {
            self.attempt = None;
            return;
        }
        let since = *self.dead_since.get_or_insert_with(Instant::now);
        let moved = self.link.interface.as_deref().map(interface_state) != self.interface;
        if self.attempt.is_none() && (small || moved || since.elapsed() >= DEAD_PATIENCE) {
            let (shared, link) = (Arc::clone(&self.shared), self.link.clone());
            let attempt = if small { SMALL } else { self.attempts };
            self.attempts += 1;
            self.attempt = Some(Box::pin(async move { connect(&shared, &link, attempt).await }));
        }
    }

    /// A new connection, as soon as an attempt brings one.
    async fn renewed(&mut self) -> Connected {
        loop {
            let Some(attempt) = &mut self.attempt else { return std::future::pending().await };
            let outcome = attempt.await;
            self.attempt = None;
            match outcome {
                Ok(connected) => return connected,
                // The next look starts another.
                Err(failure) => tracing::debug!("link {}: {}", self.link.id, failure.why),
            }
        }
    }
}

/// Watches whether a connection that may count on large packets loses them all while small ones arrive, as when the
/// path's largest packet became smaller: QUIC goes no lower than it was told.
struct Large {
    connection: quinn::Connection,
    /// Bytes sent, packets and bytes lost, at the last look.
    counted: [u64; 3],
    /// Looks in a row that saw only loss.
    looks: u32,
}

impl Large {
    fn new(connection: &quinn::Connection) -> Self {
        Self { connection: connection.clone(), counted: [0; 3], looks: 0 }
    }

    fn all_lost(&mut self) -> bool {
        let stats = self.connection.stats();
        let counted = [stats.udp_tx.bytes, stats.path.lost_packets, stats.path.lost_bytes];
        let [sent, packets, lost] = std::array::from_fn(|at| counted[at] - self.counted[at]);
        self.counted = counted;
        let all = packets >= LOST_PACKETS && lost > packets * u64::from(quic::SMALL_MTU) && lost * 10 > sent * 9;
        self.looks = if all { self.looks + 1 } else { 0 };
        self.looks >= LOST_LOOKS
    }
}
