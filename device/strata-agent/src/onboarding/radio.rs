//! What takes a while: looks, scans, the access point up, networks joined. Each is one future whose end is a [`Done`].

use std::time::Duration;

use strata_network::access_point;
use strata_network::modem_manager::{Modem, ModemManager};
use strata_network::network_manager::{
    Connections, Connectivity, Error, Joined, Life, Mobile, Network, NetworkManager, Radio,
};
use strata_network::own_network::OwnNetwork;
use strata_network::wifi::{Profile, Ssid};
use tokio::time::{self, Instant};

/// For the access point to be up.
const RAISE: Duration = Duration::from_secs(30);
/// It is looked where a new network leads for so long: what answers later is of no use to a stream …
const LOOKS: Duration = Duration::from_secs(20);
/// … and so long after one look: name servers take a moment.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// What ended.
#[derive(Debug)]
pub(super) enum Done {
    /// A scan: what was heard.
    Heard(Result<Vec<Network>, Error>),
    /// The access point is up, or why not; and what was heard before.
    Raised { radio: Radio, own: OwnNetwork, heard: Option<Vec<Network>>, joined: Result<Joined, Error> },
    /// The access point is down.
    Lowered,
    /// The network of the trial with this number is joined, or why not.
    Activated { number: u64, radio: Radio, joined: Result<Joined, Error> },
}

/// What is the case with the network.
#[derive(Debug)]
pub(super) struct Look {
    /// When it began: what was done since then is not in it.
    pub(super) begun: Instant,
    /// The connections.
    pub(super) connections: Connections,
    pub(super) radios: Vec<Radio>,
    /// The radios over which the internet is reached.
    pub(super) uplinks: Vec<Radio>,
    pub(super) connectivity: Connectivity,
    pub(super) known: Vec<Ssid>,
    pub(super) modems: Vec<Modem>,
    /// What the modems are told to use.
    pub(super) mobiles: Vec<Mobile>,
}

/// Looks at all of it.
pub(super) async fn look(nm: NetworkManager, modems: ModemManager) -> Result<Look, Error> {
    let begun = Instant::now();
    let connections = nm.connections().await?;
    let radios = nm.radios().await?;
    let uplinks = nm.uplinks(&radios).await?;
    let known = nm.known().await?.into_iter().map(|known| known.ssid).collect();
    let modems = modems.modems().await.unwrap_or_else(|error| {
        tracing::debug!("no modems: {error}");
        Vec::new()
    });
    let (connectivity, mobiles) = (nm.connectivity().await?, nm.mobiles().await?);
    Ok(Look { begun, connections, radios, uplinks, connectivity, known, modems, mobiles })
}

/// Scans; what was heard then.
pub(super) async fn scan(nm: NetworkManager, radio: Radio) -> Done {
    Done::Heard(hear(&nm, &radio).await)
}

async fn hear(nm: &NetworkManager, radio: &Radio) -> Result<Vec<Network>, Error> {
    // Without a scan there is what was heard before.
    if let Err(error) = nm.scan(radio, &[]).await {
        tracing::debug!("no scan on {}: {error}", radio.interface);
    }
    nm.networks(radio).await
}

/// Takes the access point up; with `scan` after a scan, which is not possible any more then.
pub(super) async fn raise(nm: NetworkManager, radio: Radio, own: OwnNetwork, scan: bool) -> Done {
    let heard = if scan { hear(&nm, &radio).await.ok() } else { None };
    let joined = nm.bring_up(&radio, &own.profile(&radio.interface), Life::WhileHere, RAISE).await;
    Done::Raised { radio, own, heard, joined }
}

/// Takes the access point down.
pub(super) async fn lower(nm: NetworkManager, joined: Joined) -> Done {
    if let Err(error) = nm.take_down(&joined).await {
        // Somebody else did: nothing is lost.
        tracing::debug!("the access point was down: {error}");
    }
    Done::Lowered
}

/// Joins a network.
pub(super) async fn activate(nm: NetworkManager, radio: Radio, number: u64, profile: Profile) -> Done {
    let joined = nm.bring_up(&radio, &profile, Life::UntilKept, access_point::JOIN).await;
    Done::Activated { number, radio, joined }
}

/// Where the network that a radio joined leads.
pub(super) async fn check(nm: NetworkManager, radio: Radio) -> Connectivity {
    let looks = async {
        loop {
            let found = nm.check_connectivity_of(&radio).await.unwrap_or(Connectivity::Unknown);
            if matches!(found, Connectivity::Full | Connectivity::Portal) {
                return found;
            }
            time::sleep(BETWEEN_LOOKS).await;
        }
    };
    time::timeout(LOOKS, looks).await.unwrap_or(Connectivity::Limited)
}
