//! ModemManager, over D-Bus (as of 1.24).
//!
//! Owns reading what it knows of modems and giving a SIM its PIN: one attempt for
//! one wish of a person, never by itself, because three wrong ones lock the card.
//! The connection itself is NetworkManager's.

use std::collections::HashMap;

use futures_util::{Stream, StreamExt};
use zbus::proxy::CacheProperties;
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant};

const SERVICE: &str = "org.freedesktop.ModemManager1";
const ROOT: &str = "/org/freedesktop/ModemManager1";
const MODEM: &str = "org.freedesktop.ModemManager1.Modem";
const MODEM_3GPP: &str = "org.freedesktop.ModemManager1.Modem.Modem3gpp";

/// `MMModemLock`.
mod lock {
    pub(super) const NONE: u32 = 1;
    pub(super) const SIM_PIN: u32 = 2;
    pub(super) const SIM_PUK: u32 = 4;
}

/// `MM_MODEM_STATE_FAILED` and, as its reason, `MM_MODEM_STATE_FAILED_REASON_SIM_MISSING`.
const FAILED: i32 = -1;
const SIM_MISSING: u32 = 2;

/// Properties by name.
pub type Properties = HashMap<String, OwnedVariant>;
/// Properties by interface.
pub type Interfaces = HashMap<String, Properties>;

/// What a SIM asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sim {
    /// There is none, or it is not read.
    Missing,
    /// Its PIN.
    Pin,
    /// Its PUK.
    Puk,
    /// Something that is entered in a phone only.
    Other,
    /// Nothing.
    Open,
}

/// A modem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modem {
    path: OwnedObjectPath,
    /// Maker and model, as it names itself.
    pub name: String,
    /// The network interface, or the serial port.
    pub port: String,
    /// What its SIM asks for.
    pub sim: Sim,
    /// How often the PIN may be tried; none if that is not said.
    pub pin_tries: Option<u32>,
    /// The network's name.
    pub operator: Option<String>,
    /// 0 to 100; none without a network.
    pub signal: Option<u8>,
    /// What people call the technology.
    pub technology: Option<&'static str>,
    /// Whether data flows.
    pub connected: bool,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// ModemManager is not reached, or refuses.
    #[error("ModemManager is not reached")]
    Bus(#[from] zbus::Error),
    /// The PIN was wrong.
    #[error("the PIN is wrong")]
    WrongPin,
    /// It is not the PIN that is asked for.
    #[error("the SIM does not ask for its PIN")]
    NoPinAsked,
    /// The next wrong one would lock the SIM.
    #[error("one more wrong PIN locks the SIM: unlock it in a phone")]
    LastTry,
}

#[zbus::proxy(interface = "org.freedesktop.ModemManager1.Sim", default_service = "org.freedesktop.ModemManager1")]
trait SimCard {
    fn send_pin(&self, pin: &str) -> zbus::Result<()>;
}

/// ModemManager.
#[derive(Debug, Clone)]
pub struct ModemManager {
    bus: zbus::Connection,
}

impl ModemManager {
    /// Behind this connection to the system's bus.
    #[must_use]
    pub fn new(bus: zbus::Connection) -> Self {
        Self { bus }
    }

    /// The modems, by port.
    ///
    /// # Errors
    /// When ModemManager is not reached.
    pub async fn modems(&self) -> Result<Vec<Modem>, Error> {
        let objects = zbus::fdo::ObjectManagerProxy::builder(&self.bus).destination(SERVICE).path(ROOT).build().await?;
        let found = objects.get_managed_objects().await.map_err(zbus::Error::from)?;
        let mut modems: Vec<Modem> = found
            .into_iter()
            .filter_map(|(path, interfaces)| {
                let interfaces = interfaces.into_iter().map(|(name, properties)| (name.to_string(), properties));
                Modem::read(path, &interfaces.collect())
            })
            .collect();
        modems.sort_by(|a, b| a.port.cmp(&b.port));
        Ok(modems)
    }

    /// Says whenever something of the modems may be different now.
    ///
    /// # Errors
    /// When the bus is not reached.
    pub async fn changes(&self) -> Result<impl Stream<Item = ()> + Send + use<>, Error> {
        let rule = zbus::MatchRule::builder().msg_type(zbus::message::Type::Signal).path_namespace(ROOT).build()?;
        let signals = zbus::MessageStream::for_match_rule(rule, &self.bus, None).await?;
        Ok(signals.map(|_| ()))
    }

    /// Gives a modem's SIM its PIN: one attempt, and none that could lock the card.
    ///
    /// # Errors
    /// [`Error`] says why it is not open now.
    pub async fn enter_pin(&self, modem: &Modem, pin: &str) -> Result<(), Error> {
        // As it is now, not as it was when the page was made: another attempt may have been lost meanwhile.
        let now = self.modems().await?.into_iter().find(|other| other.path == modem.path).ok_or(Error::NoPinAsked)?;
        if now.sim != Sim::Pin {
            return Err(Error::NoPinAsked);
        }
        if now.pin_tries.is_some_and(|tries| tries <= 1) {
            return Err(Error::LastTry);
        }
        let card = self.sim_of(&now.path).await?;
        let card = SimCardProxy::builder(&self.bus).path(card).cache_properties(CacheProperties::No).build().await?;
        match card.send_pin(pin).await {
            Err(zbus::Error::MethodError(name, ..)) if name.ends_with("MobileEquipment.IncorrectPassword") => {
                Err(Error::WrongPin)
            }
            other => Ok(other?),
        }
    }

    async fn sim_of(&self, modem: &ObjectPath<'_>) -> zbus::Result<OwnedObjectPath> {
        let proxy: zbus::Proxy<'_> = zbus::proxy::Builder::new(&self.bus)
            .destination(SERVICE)
            .path(modem.to_owned())
            .interface(MODEM)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        proxy.get_property("Sim").await
    }
}

impl Modem {
    /// From the properties of an object; none if it is no modem.
    #[must_use]
    pub fn read(path: OwnedObjectPath, interfaces: &Interfaces) -> Option<Self> {
        let modem = interfaces.get(MODEM)?;
        let number = |name: &str| modem.get(name).and_then(|value| u32::try_from(value).ok());
        let text = |name: &str| modem.get(name).and_then(|value| String::try_from(value.clone()).ok());
        let state = modem.get("State").and_then(|value| i32::try_from(value).ok()).unwrap_or_default();
        let missing = state == FAILED && number("StateFailedReason") == Some(SIM_MISSING);
        let sim = match number("UnlockRequired") {
            _ if missing => Sim::Missing,
            Some(lock::SIM_PIN) => Sim::Pin,
            Some(lock::SIM_PUK) => Sim::Puk,
            Some(lock::NONE) | None => Sim::Open,
            Some(_) if state == FAILED => Sim::Other,
            Some(_) => Sim::Open,
        };
        let tries: Option<HashMap<u32, u32>> =
            modem.get("UnlockRetries").and_then(|value| value.clone().try_into().ok());
        let (signal, _): (u32, bool) = modem.get("SignalQuality").and_then(|value| value.clone().try_into().ok())?;
        // MM_MODEM_STATE_REGISTERED and above.
        let registered = state >= 8;
        let operator = interfaces.get(MODEM_3GPP).and_then(|properties| properties.get("OperatorName"));
        let operator = operator.and_then(|value| String::try_from(value.clone()).ok()).filter(|name| !name.is_empty());
        let names: Vec<String> = [text("Manufacturer"), text("Model")].into_iter().flatten().collect();
        Some(Self {
            path,
            name: names.join(" "),
            port: text("PrimaryPort").unwrap_or_default(),
            sim,
            pin_tries: tries.and_then(|tries| tries.get(&lock::SIM_PIN).copied()),
            operator,
            signal: registered.then(|| u8::try_from(signal.min(100)).unwrap_or(100)),
            technology: number("AccessTechnologies").and_then(technology),
            connected: state == 11,
        })
    }
}

/// The newest of `MMModemAccessTechnology`, as people call it.
fn technology(flags: u32) -> Option<&'static str> {
    const NAMES: [(u32, &str); 4] = [
        // 5GNR; LTE, LTE_CAT_M, LTE_NB_IOT; UMTS, HSDPA, HSUPA, HSPA, HSPA_PLUS; GSM, GSM_COMPACT, GPRS, EDGE.
        (1 << 15, "5G"),
        (1 << 14 | 1 << 16 | 1 << 17, "4G"),
        (0b1_1111 << 5, "3G"),
        (0b1111 << 1, "2G"),
    ];
    NAMES.iter().find(|(bits, _)| flags & bits != 0).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Variant;

    fn owned(value: Variant<'static>) -> OwnedVariant {
        OwnedVariant::try_from(value).unwrap()
    }

    fn read(state: i32, more: &[(&str, Variant<'static>)]) -> Option<Modem> {
        let mut modem: Properties = [
            ("State", Variant::from(state)),
            ("UnlockRequired", Variant::from(lock::NONE)),
            ("UnlockRetries", Variant::from(HashMap::from([(lock::SIM_PIN, 3u32)]))),
            ("SignalQuality", Variant::from((57u32, true))),
            ("AccessTechnologies", Variant::from(1u32 << 15 | 1 << 14)),
            ("Manufacturer", Variant::from("Quectel")),
            ("Model", Variant::from("RM520N-GL")),
            ("PrimaryPort", Variant::from("cdc-wdm0")),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), owned(value)))
        .collect();
        modem.extend(more.iter().map(|(name, value)| ((*name).to_owned(), owned(value.clone()))));
        let network = HashMap::from([("OperatorName".to_owned(), owned(Variant::from("Example Mobile")))]);
        let path = OwnedObjectPath::try_from("/org/freedesktop/ModemManager1/Modem/0").unwrap();
        Modem::read(path, &HashMap::from([(MODEM.to_owned(), modem), (MODEM_3GPP.to_owned(), network)]))
    }

    #[test]
    fn a_modem_is_read_as_people_would_describe_it() {
        let modem = read(11, &[]).unwrap();
        assert_eq!((modem.name.as_str(), modem.port.as_str()), ("Quectel RM520N-GL", "cdc-wdm0"));
        assert_eq!(
            (modem.operator.as_deref(), modem.technology, modem.signal),
            (Some("Example Mobile"), Some("5G"), Some(57))
        );
        assert!(modem.connected && modem.sim == Sim::Open);
    }

    #[test]
    fn what_a_sim_asks_for() {
        let table = [
            (2, lock::SIM_PIN, 0, Sim::Pin),
            (2, lock::SIM_PUK, 0, Sim::Puk),
            // A second PIN is no hindrance.
            (8, 3, 0, Sim::Open),
            (FAILED, lock::NONE, SIM_MISSING, Sim::Missing),
            (FAILED, 7, 0, Sim::Other),
        ];
        for (state, required, reason, sim) in table {
            let more = [("UnlockRequired", Variant::from(required)), ("StateFailedReason", Variant::from(reason))];
            let modem = read(state, &more).unwrap();
            assert_eq!(modem.sim, sim, "{state} {required} {reason}");
            assert_eq!((modem.pin_tries, modem.signal.is_some()), (Some(3), state >= 8));
        }
    }

    #[test]
    fn what_is_no_modem_is_none() {
        let path = OwnedObjectPath::try_from("/").unwrap();
        assert_eq!(Modem::read(path, &HashMap::new()), None);
    }

    #[test]
    fn of_several_technologies_the_newest_counts() {
        for (flags, name) in [(0, None), (1 << 1, Some("2G")), (1 << 9 | 1 << 5, Some("3G")), (1 << 16, Some("4G"))] {
            assert_eq!(technology(flags), name, "{flags:#x}");
        }
    }
}
