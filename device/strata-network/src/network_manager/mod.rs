//! NetworkManager, over D-Bus (as of 1.52).
//!
//! Owns what is asked of it and waiting for its answers; every failure is a
//! [`Reason`] or a sentence. Follows its signals, never polls. Does not own when
//! something is done.

mod proxy;

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use nix::unistd::syncfs;
use tokio::{task, time};
use zbus::proxy::CacheProperties;
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use crate::reason::Reason;
use crate::wifi::{self, Profile, Security, Ssid};
use proxy::{ActiveProxy, ConnectionProxy, DeviceProxy, Dictionary, ManagerProxy, ProfilesProxy, WirelessProxy};

/// For an answer of a service on this machine.
const ANSWER: Duration = Duration::from_secs(25);
/// A scan takes a few seconds.
const SCAN: Duration = Duration::from_secs(15);
/// `NM_DEVICE_TYPE_WIFI`.
const WIFI: u32 = 2;
/// `NM_WIFI_DEVICE_CAP_AP`.
const CAN_BE_ACCESS_POINT: u32 = 0x40;

/// `NMDeviceState`.
mod state {
    pub(super) const UNMANAGED: u32 = 10;
    pub(super) const DISCONNECTED: u32 = 30;
    pub(super) const IP_CONFIG: u32 = 70;
    pub(super) const ACTIVATED: u32 = 100;
    pub(super) const FAILED: u32 = 120;
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// NetworkManager does not answer.
    #[error("NetworkManager is not reached")]
    Bus(#[from] zbus::Error),
    /// Nor within the time that this takes.
    #[error("NetworkManager did not {0} in time")]
    Late(&'static str),
    /// The network was not joined.
    #[error("the network was not joined: {0:?}")]
    Refused(Reason),
    /// A profile is written, and may not outlive a power cut.
    #[error("the network's profile is not safe on the disk")]
    Disk(#[source] std::io::Error),
}

/// How far the device gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connectivity {
    /// Not looked yet.
    Unknown,
    /// Nowhere.
    None,
    /// To a page that wants a login first: a hotel's.
    Portal,
    /// Into a network that leads nowhere.
    Limited,
    /// Into the internet.
    Full,
}

impl Connectivity {
    /// What two families of addresses lead to together.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let rank =
            |one| [Self::Unknown, Self::None, Self::Limited, Self::Portal, Self::Full].iter().position(|of| *of == one);
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<u32> for Connectivity {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::None,
            2 => Self::Portal,
            3 => Self::Limited,
            4 => Self::Full,
            _ => Self::Unknown,
        }
    }
}

/// A Wi-Fi radio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Radio {
    path: OwnedObjectPath,
    /// The interface's name.
    pub interface: String,
    /// Its hardware address, whatever it uses now.
    pub address: [u8; 6],
    /// Whether it can be an access point.
    pub can_be_access_point: bool,
}

/// How long a profile lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Until it is kept, or the next start: a power cut leaves nothing of it.
    UntilKept,
    /// As long as it is up, and that no longer than whoever asked for it is connected to the bus.
    WhileHere,
}

impl Life {
    fn options(self) -> HashMap<&'static str, Variant<'static>> {
        match self {
            Self::UntilKept => HashMap::from([("persist", Variant::from("memory"))]),
            Self::WhileHere => HashMap::from([
                ("persist", Variant::from("volatile")),
                ("bind-activation", Variant::from("dbus-client")),
            ]),
        }
    }
}

/// A Wi-Fi network that the device joins by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    path: OwnedObjectPath,
    /// Its name.
    pub ssid: Ssid,
}

/// A network as it was heard: the strongest of its access points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub ssid: Ssid,
    /// What it asks for.
    pub security: Security,
    /// 0 to 100.
    pub strength: u8,
    /// In megahertz.
    pub frequency: u32,
}

/// What a modem is told to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mobile {
    path: OwnedObjectPath,
    /// The modem's port; none: any modem that has none of its own.
    pub port: Option<String>,
    /// The name of the operator's access point.
    pub apn: Option<String>,
}

impl Mobile {
    /// What the modem at this port is told to use.
    #[must_use]
    pub fn of<'a>(mobiles: &'a [Self], port: &str) -> Option<&'a Self> {
        let own = mobiles.iter().find(|mobile| mobile.port.as_deref() == Some(port));
        own.or_else(|| mobiles.iter().find(|mobile| mobile.port.is_none()))
    }

    fn read(path: OwnedObjectPath, groups: &HashMap<String, Dictionary>) -> Option<Self> {
        let text = |group: &str, key: &str| String::try_from(groups.get(group)?.get(key)?.clone()).ok();
        let is_mobile = text("connection", "type").as_deref() == Some("gsm");
        is_mobile.then(|| Self { path, port: text("connection", "interface-name"), apn: text("gsm", "apn") })
    }
}

/// A connection that stood when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    settings: OwnedObjectPath,
    active: OwnedObjectPath,
}

/// The connections that stood at one moment.
#[derive(Debug, Clone)]
pub struct Connections(Vec<OwnedObjectPath>);

impl Connections {
    /// Whether this one did.
    #[must_use]
    pub fn has(&self, joined: &Joined) -> bool {
        self.0.contains(&joined.active)
    }
}

/// NetworkManager.
#[derive(Debug, Clone)]
pub struct NetworkManager {
    bus: zbus::Connection,
}

impl NetworkManager {
    /// Behind this connection to the system's bus.
    #[must_use]
    pub fn new(bus: zbus::Connection) -> Self {
        Self { bus }
    }

    /// The connection to the system's bus.
    pub fn bus(&self) -> &zbus::Connection {
        &self.bus
    }

    async fn manager(&self) -> zbus::Result<ManagerProxy<'static>> {
        ManagerProxy::builder(&self.bus).cache_properties(CacheProperties::No).build().await
    }

    async fn device(&self, path: &OwnedObjectPath) -> zbus::Result<DeviceProxy<'static>> {
        DeviceProxy::builder(&self.bus).path(path.clone()).cache_properties(CacheProperties::No).build().await
    }

    async fn active(&self, path: OwnedObjectPath) -> zbus::Result<ActiveProxy<'static>> {
        ActiveProxy::builder(&self.bus).path(path).cache_properties(CacheProperties::No).build().await
    }

    async fn wireless(&self, path: &OwnedObjectPath) -> zbus::Result<WirelessProxy<'static>> {
        WirelessProxy::builder(&self.bus).path(path.clone()).cache_properties(CacheProperties::No).build().await
    }

    async fn settings(&self, path: &OwnedObjectPath) -> zbus::Result<ConnectionProxy<'static>> {
        ConnectionProxy::builder(&self.bus).path(path.clone()).build().await
    }

    /// How far the device got when NetworkManager looked last.
    ///
    /// # Errors
    /// When NetworkManager is not reached.
    pub async fn connectivity(&self) -> Result<Connectivity, Error> {
        Ok(self.manager().await?.connectivity().await?.into())
    }

    /// How far one gets over a radio alone, looked at now.
    ///
    /// # Errors
    /// When NetworkManager is not reached.
    pub async fn check_connectivity_of(&self, radio: &Radio) -> Result<Connectivity, Error> {
        let manager = self.manager().await?;
        time::timeout(ANSWER, manager.check_connectivity()).await.map_err(|_| Error::Late("look"))??;
        let device = self.device(&radio.path).await?;
        Ok(Connectivity::from(device.ip4_connectivity().await?).or(device.ip6_connectivity().await?.into()))
    }

    /// The Wi-Fi radios, by interface.
    ///
    /// # Errors
    /// When NetworkManager is not reached.
    pub async fn radios(&self) -> Result<Vec<Radio>, Error> {
        let mut radios = Vec::new();
        for path in self.manager().await?.get_devices().await? {
            // One that was pulled out meanwhile is none.
            if let Ok(Some(radio)) = self.radio(path).await {
                radios.push(radio);
            }
        }
        radios.sort_by(|a, b| a.interface.cmp(&b.interface));
        Ok(radios)
    }

    /// None of a device that is no radio, or one that NetworkManager leaves alone.
    async fn radio(&self, path: OwnedObjectPath) -> zbus::Result<Option<Radio>> {
        let device = self.device(&path).await?;
        if device.device_type().await? != WIFI || device.state().await? <= state::UNMANAGED {
            return Ok(None);
        }
        let wireless = self.wireless(&path).await?;
        let capabilities = wireless.wireless_capabilities().await?;
        let address = hardware_address(&wireless.perm_hw_address().await?).unwrap_or_default();
        let can_be_access_point = capabilities & CAN_BE_ACCESS_POINT != 0;
        Ok(Some(Radio { path, interface: device.interface().await?, address, can_be_access_point }))
    }

    /// Of these radios those over which the way into the internet goes.
    ///
    /// # Errors
    /// When NetworkManager is not reached.
    pub async fn uplinks(&self, radios: &[Radio]) -> Result<Vec<Radio>, Error> {
        let primary = self.manager().await?.primary_connection().await?;
        if primary.as_str() == "/" {
            return Ok(Vec::new());
        }
        // One that ended meanwhile is no way anywhere.
        let devices = self.active(primary).await?.devices().await.unwrap_or_default();
        Ok(radios.iter().filter(|radio| devices.contains(&radio.path)).cloned().collect())
    }

    /// The connections that stand, or are being made.
    ///
    /// # Errors
    /// When NetworkManager is not reached.
    pub async fn connections(&self) -> Result<Connections, Error> {
        Ok(Connections(self.manager().await?.active_connections().await?))
    }

    /// The networks that the device joins by itself.
    ///
    /// # Errors
    /// When NetworkManager is not reached.
    pub async fn known(&self) -> Result<Vec<Known>, Error> {
        let profiles = ProfilesProxy::builder(&self.bus).cache_properties(CacheProperties::No).build().await?;
        let mut known = Vec::new();
        for path in profiles.list_connections().await? {
            // One that was deleted meanwhile is not known.
            let Ok(groups) = self.settings(&path).await?.get_settings().await else { continue };
            known.extend(joined_by_itself(&groups).map(|ssid| Known { path, ssid }));
        }
        Ok(known)
    }

    /// Has the device join a network by itself, in place of what it knew by that name.
    ///
    /// # Errors
    /// When NetworkManager is not reached, or cannot write.
    pub async fn know(&self, ssid: &Ssid, profile: &Profile) -> Result<(), Error> {
        let profiles = ProfilesProxy::builder(&self.bus).cache_properties(CacheProperties::No).build().await?;
        let former = self.known().await?;
        self.make_durable(&profiles.add_connection(profile).await?).await?;
        for known in former.into_iter().filter(|known| known.ssid == *ssid) {
            self.settings(&known.path).await?.delete().await?;
        }
        Ok(())
    }

    /// What the modems are told to use.
    ///
    /// # Errors
    /// When NetworkManager is not reached.
    pub async fn mobiles(&self) -> Result<Vec<Mobile>, Error> {
        let profiles = ProfilesProxy::builder(&self.bus).cache_properties(CacheProperties::No).build().await?;
        let mut mobiles = Vec::new();
        for path in profiles.list_connections().await? {
            let Ok(groups) = self.settings(&path).await?.get_settings().await else { continue };
            mobiles.extend(Mobile::read(path, &groups));
        }
        Ok(mobiles)
    }

    /// Has the modem at this port, or any that has none of its own, use an operator's access point, in place of what was
    /// set for it before.
    ///
    /// # Errors
    /// When NetworkManager is not reached, or cannot write.
    pub async fn set_apn(&self, port: Option<&str>, apn: &str) -> Result<(), Error> {
        let profiles = ProfilesProxy::builder(&self.bus).cache_properties(CacheProperties::No).build().await?;
        let former = self.mobiles().await?;
        self.make_durable(&profiles.add_connection(&mobile(port, apn)).await?).await?;
        for mobile in former.into_iter().filter(|mobile| mobile.port.as_deref() == port) {
            self.settings(&mobile.path).await?.delete().await?;
        }
        Ok(())
    }

    /// Forgets the other profiles of this network: they were for a former password.
    ///
    /// # Errors
    /// When NetworkManager is not reached, or does not let go of one.
    pub async fn forget_others(&self, ssid: &Ssid, kept: &Joined) -> Result<(), Error> {
        for known in self.known().await? {
            if known.ssid == *ssid && known.path != kept.settings {
                self.settings(&known.path).await?.delete().await?;
            }
        }
        Ok(())
    }

    /// Says whenever something of it may be different now: devices, connections, how far the device gets.
    ///
    /// # Errors
    /// When the bus is not reached.
    pub async fn changes(&self) -> Result<impl Stream<Item = ()> + Send + use<>, Error> {
        let rule = zbus::MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .path("/org/freedesktop/NetworkManager")
            .interface("org.freedesktop.DBus.Properties")
            .build()?;
        let signals = zbus::MessageStream::for_match_rule(rule, &self.bus, None).await?;
        Ok(signals.map(|_| ()))
    }

    /// Says when NetworkManager itself begins or ends: what it named before means nothing then, or something else.
    ///
    /// # Errors
    /// When the bus is not reached.
    pub async fn restarts(&self) -> Result<impl Stream<Item = ()> + Send + use<>, Error> {
        let bus = zbus::fdo::DBusProxy::new(&self.bus).await?;
        let owners = bus.receive_name_owner_changed_with_args(&[(0, "org.freedesktop.NetworkManager")]).await?;
        Ok(owners.map(|_| ()))
    }

    /// Looks for networks now; by name, too, for those that hide it.
    ///
    /// # Errors
    /// When NetworkManager is not reached, or the scan does not end.
    pub async fn scan(&self, radio: &Radio, hidden: &[Ssid]) -> Result<(), Error> {
        let wireless =
            WirelessProxy::builder(&self.bus).path(radio.path.clone()).cache_properties(CacheProperties::Lazily);
        let wireless = wireless.build().await?;
        let mut changes = wireless.receive_last_scan_changed().await;
        let before = wireless.last_scan().await?;
        let names: Vec<Vec<u8>> = hidden.iter().map(|ssid| ssid.bytes().to_vec()).collect();
        let mut options = HashMap::new();
        if !names.is_empty() {
            options.insert("ssids", Variant::from(names));
        }
        // Refused while one goes on, or is about to: that one is as good.
        let asked = wireless.request_scan(options).await;
        let ended = async {
            while let Some(change) = changes.next().await {
                if change.get().await.is_ok_and(|now| now != before) {
                    return;
                }
            }
        };
        match (time::timeout(SCAN, ended).await, asked) {
            (Ok(()), _) => Ok(()),
            (Err(_), Err(refused)) => Err(refused.into()),
            (Err(_), Ok(())) => Err(Error::Late("scan")),
        }
    }

    /// The networks heard by the last scan, strongest first.
    ///
    /// # Errors
    /// When NetworkManager is not reached.
    pub async fn networks(&self, radio: &Radio) -> Result<Vec<Network>, Error> {
        let mut networks = Vec::new();
        for path in self.wireless(&radio.path).await?.get_all_access_points().await? {
            // One that was not heard any more meanwhile is none.
            if let Ok(Some(network)) = self.network(path).await {
                networks.push(network);
            }
        }
        Ok(strongest(networks))
    }

    async fn network(&self, path: OwnedObjectPath) -> zbus::Result<Option<Network>> {
        let proxy: zbus::Proxy<'_> = zbus::proxy::Builder::new(&self.bus)
            .destination("org.freedesktop.NetworkManager")
            .path(path)
            .interface("org.freedesktop.NetworkManager.AccessPoint")
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let Some(ssid) = Ssid::new(&proxy.get_property::<Vec<u8>>("Ssid").await?) else { return Ok(None) };
        let general = proxy.get_property("Flags").await?;
        let (wpa, rsn) = (proxy.get_property("WpaFlags").await?, proxy.get_property("RsnFlags").await?);
        Ok(Some(Network {
            ssid,
            security: Security::of(general, wpa, rsn),
            strength: proxy.get_property("Strength").await?,
            frequency: proxy.get_property("Frequency").await?,
        }))
    }

    /// Brings up a profile on a radio; [`keep`](Self::keep) makes it last.
    ///
    /// # Errors
    /// [`Error::Refused`] says why it did not come up; nothing of it is left then.
    pub async fn bring_up(
        &self,
        radio: &Radio,
        profile: &Profile,
        life: Life,
        within: Duration,
    ) -> Result<Joined, Error> {
        let device = self.device(&radio.path).await?;
        let mut changes = device.receive_changed_state().await?;
        let anything = zbus::ObjectPath::try_from("/")?;
        let manager = self.manager().await?;
        let (settings, active, _) = manager.add_and_activate(profile, &radio.path, &anything, life.options()).await?;
        let states = changes.by_ref().filter_map(|change| async move {
            let arguments = change.args().ok()?;
            Some((*arguments.new(), *arguments.reason()))
        });
        let joined = Joined { settings, active };
        let failure = match time::timeout(within, outcome(Box::pin(states))).await {
            Ok(Ok(())) => return Ok(joined),
            Ok(Err(reason)) => Error::Refused(reason),
            Err(_) if device.state().await? == state::IP_CONFIG => Error::Refused(Reason::NoAddress),
            Err(_) => Error::Late("join the network"),
        };
        // A profile that does not work is not kept for the next start to try.
        self.forget(&joined).await?;
        Err(failure)
    }

    /// Keeps the profile across restarts.
    ///
    /// # Errors
    /// When NetworkManager is not reached, or cannot write.
    pub async fn keep(&self, joined: &Joined) -> Result<(), Error> {
        self.settings(&joined.settings).await?.save().await?;
        self.make_durable(&joined.settings).await
    }

    /// Waits until a profile's file is on the disk: NetworkManager leaves a new one to the kernel, and after a power cut
    /// in the half minute that follows it is there and empty.
    async fn make_durable(&self, settings: &OwnedObjectPath) -> Result<(), Error> {
        let file = PathBuf::from(self.settings(settings).await?.filename().await?);
        let synced = task::spawn_blocking(move || {
            // Its own folder is NetworkManager's alone; any one above it leads to the same file system.
            let folder = file.ancestors().skip(1).find_map(|folder| File::open(folder).ok());
            folder.map_or(Ok(()), |folder| syncfs(folder).map_err(std::io::Error::from))
        });
        synced.await.map_err(std::io::Error::other).and_then(|synced| synced).map_err(Error::Disk)
    }

    /// Takes a connection down and its profile with it.
    ///
    /// # Errors
    /// When NetworkManager is not reached.
    pub async fn forget(&self, joined: &Joined) -> Result<(), Error> {
        Ok(self.settings(&joined.settings).await?.delete().await?)
    }

    /// Takes a connection down. A profile that was not kept is gone at the next start.
    ///
    /// # Errors
    /// When NetworkManager is not reached.
    pub async fn take_down(&self, joined: &Joined) -> Result<(), Error> {
        Ok(self.manager().await?.deactivate_connection(&joined.active).await?)
    }
}

/// How an activation ends, from the states that follow its begin.
async fn outcome(mut states: impl Stream<Item = (u32, u32)> + Unpin) -> Result<(), Reason> {
    // Whatever was connected before is taken down first, with reasons of its own.
    let (mut begun, mut told) = (false, None);
    while let Some((state, reason)) = states.next().await {
        match state {
            state::ACTIVATED => return Ok(()),
            state::FAILED => return Err(Reason::of(reason).or(told).unwrap_or(Reason::Other(reason))),
            state::DISCONNECTED if begun => return Err(Reason::of(reason).or(told).unwrap_or(Reason::Other(reason))),
            number if (state::DISCONNECTED + 1..state::ACTIVATED).contains(&number) => {
                begun = true;
                told = Reason::of(reason).or(told);
            }
            _ => {}
        }
    }
    Err(Reason::Ended)
}

/// The profile of a modem that names its operator's access point.
fn mobile(port: Option<&str>, apn: &str) -> Profile {
    let text = |text: &str| Variant::from(text.to_owned());
    let mut connection = wifi::group([("id", text("mobile")), ("type", text("gsm"))]);
    if let Some(port) = port {
        connection.extend([("id", text(&format!("mobile {port}"))), ("interface-name", text(port))]);
    }
    Profile::from([
        ("connection", connection),
        ("gsm", wifi::group([("apn", text(apn))])),
        ("ipv4", wifi::group([("method", text("auto"))])),
        ("ipv6", wifi::group([("method", text("auto"))])),
    ])
}

/// `02:00:00:00:a1:0f`.
fn hardware_address(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

/// The network of a profile that is used without anybody asking for it; none of other profiles.
fn joined_by_itself(groups: &HashMap<String, Dictionary>) -> Option<Ssid> {
    let wireless = groups.get("802-11-wireless")?;
    let text = |value: &OwnedVariant| String::try_from(value.clone()).ok();
    let access_point = wireless.get("mode").and_then(text).is_some_and(|mode| mode != "infrastructure");
    let asked_for = groups.get("connection")?.get("autoconnect").and_then(|value| bool::try_from(value).ok());
    if access_point || asked_for == Some(false) {
        return None;
    }
    Ssid::new(&Vec::<u8>::try_from(wireless.get("ssid")?.clone()).ok()?)
}

/// One entry for each name and security, the strongest; strongest first.
fn strongest(mut networks: Vec<Network>) -> Vec<Network> {
    networks.sort_by(|a, b| b.strength.cmp(&a.strength).then_with(|| a.ssid.cmp(&b.ssid)));
    let mut seen = std::collections::HashSet::new();
    networks.retain(|network| seen.insert((network.ssid.clone(), network.security)));
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, security: Security, strength: u8) -> Network {
        Network { ssid: Ssid::new(name.as_bytes()).unwrap(), security, strength, frequency: 2437 }
    }

    #[test]
    fn a_network_of_many_access_points_is_one_and_one_that_only_has_its_name_is_another() {
        let heard = vec![
            network("Hall", Security::Personal, 40),
            network("Hall", Security::Personal, 80),
            network("Hall", Security::Open, 60),
            network("Bar", Security::Open, 60),
        ];
        let shown: Vec<_> =
            strongest(heard).iter().map(|network| (network.ssid.to_string(), network.strength)).collect();
        assert_eq!(shown, [("Hall".into(), 80), ("Bar".into(), 60), ("Hall".into(), 60)]);
    }

    #[test]
    fn a_modem_uses_what_was_set_for_its_port_before_what_was_set_for_any() {
        let path = OwnedObjectPath::try_from("/").unwrap();
        let owned = |profile: Profile| -> HashMap<String, Dictionary> {
            let own = |(key, value): (_, Variant<'static>)| (String::from(key), OwnedVariant::try_from(value).unwrap());
            profile.into_iter().map(|(name, group)| (name.to_owned(), group.into_iter().map(own).collect())).collect()
        };
        let read = |profile| Mobile::read(path.clone(), &owned(profile)).unwrap();
        let mobiles = [read(mobile(None, "any")), read(mobile(Some("ttyUSB0"), "own"))];
        let apn = |port| Mobile::of(&mobiles, port).unwrap().apn.clone().unwrap();
        assert_eq!((apn("ttyUSB0"), apn("cdc-wdm0")), ("own".into(), "any".into()));
        assert_eq!(Mobile::of(&mobiles[1..], "cdc-wdm0"), None);
        let other = HashMap::from([("type", Variant::from("802-3-ethernet"))]);
        assert_eq!(Mobile::read(path.clone(), &owned(Profile::from([("connection", other)]))), None);
    }

    #[test]
    fn a_login_page_for_one_family_of_addresses_counts_though_the_other_leads_nowhere() {
        use Connectivity::{Full, Limited, None, Portal, Unknown};
        for (one, other, both) in
            [(Portal, Limited, Portal), (Full, Portal, Full), (None, Limited, Limited), (Unknown, None, None)]
        {
            assert_eq!((one.or(other), other.or(one)), (both, both));
        }
    }

    #[tokio::test]
    async fn how_an_activation_ends_is_read_from_its_states() {
        let table = [
            (vec![(40, 0), (50, 0), (70, 0), (80, 0), (100, 0)], Ok(())),
            // The former network goes first.
            (vec![(110, 60), (30, 60), (40, 0), (100, 0)], Ok(())),
            (vec![(40, 0), (50, 0), (60, 0), (120, 7)], Err(Reason::WrongKey)),
            (vec![(40, 0), (50, 0), (60, 8), (50, 0), (120, 0)], Err(Reason::WrongKey)),
            (vec![(40, 0), (50, 0), (120, 53)], Err(Reason::NetworkGone)),
            (vec![(40, 0), (50, 0), (70, 0), (120, 5)], Err(Reason::NoAddress)),
            (vec![(40, 0), (50, 0), (30, 39)], Err(Reason::Ended)),
            (vec![(40, 0), (120, 1)], Err(Reason::Other(1))),
            (vec![], Err(Reason::Ended)),
        ];
        for (states, ends) in table {
            assert_eq!(outcome(futures_util::stream::iter(states.clone())).await, ends, "{states:?}");
        }
    }
}
