//! ModemManager, over D-Bus (as of 1.24).
//!
//! Owns reading what it knows of modems, giving a SIM its PIN, and when a PIN may be
//! given: three wrong ones lock the card. The connection itself is NetworkManager's.

use std::collections::HashMap;

use futures_util::{Stream, StreamExt};
use zbus::proxy::CacheProperties;
use zbus::{OwnedObjectPath, OwnedVariant};

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

/// How often a PIN may be wrong before the SIM asks for its PUK (3GPP TS 31.101).
const PIN_TRIES: u32 = 3;

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
    /// Its number: no other modem has it while ModemManager runs.
    pub number: u32,
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
    /// 1 to 100; none without a network, and before it is measured.
    pub signal: Option<u8>,
    /// What people call the technology.
    pub technology: Option<&'static str>,
    /// Whether data flows.
    pub connected: bool,
}

/// A SIM that asks for its PIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedPin {
    card: OwnedObjectPath,
    /// The number of the SIM; of its modem, when that does not read it.
    pub sim: String,
    /// How often the PIN may be tried; none if that is not said.
    pub tries: Option<u32>,
}

/// Whether a PIN may be tried after so many that were wrong: one that is wrong, too, must not lock the SIM.
///
/// Where the modem does not say how many tries are left, nothing but our own count is known.
#[must_use]
pub fn may_try_pin(left: Option<u32>, wrong_before: u32) -> bool {
    left.unwrap_or(PIN_TRIES.saturating_sub(wrong_before)) > 1
}

/// Whether a text may be the name of an operator's access point (3GPP TS 23.003: it is a domain name).
#[must_use]
pub fn is_apn(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=100).contains(&text.len()) && text.bytes().all(allowed)
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
}

#[zbus::proxy(interface = "org.freedesktop.ModemManager1.Sim", default_service = "org.freedesktop.ModemManager1")]
trait SimCard {
    fn send_pin(&self, pin: &str) -> zbus::Result<()>;
    #[zbus(property)]
    fn sim_identifier(&self) -> zbus::Result<String>;
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

    /// The SIM of a modem, as it asks for its PIN now and not when a page was made: tries may have been lost meanwhile.
    ///
    /// # Errors
    /// [`Error::NoPinAsked`] when it does not.
    pub async fn asked_pin(&self, modem: &Modem) -> Result<AskedPin, Error> {
        let now = self.modems().await?.into_iter().find(|other| other.path == modem.path).ok_or(Error::NoPinAsked)?;
        if now.sim != Sim::Pin {
            return Err(Error::NoPinAsked);
        }
        let modem: zbus::Proxy<'_> = zbus::proxy::Builder::new(&self.bus)
            .destination(SERVICE)
            .path(now.path)
            .interface(MODEM)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let card: OwnedObjectPath = modem.get_property("Sim").await?;
        let number = self.card(&card).await?.sim_identifier().await?;
        let sim = if number.is_empty() { modem.get_property("DeviceIdentifier").await? } else { number };
        Ok(AskedPin { card, sim, tries: now.pin_tries })
    }

    /// Gives a SIM its PIN: one attempt. Whether it may be made is [`may_try_pin`]'s word.
    ///
    /// # Errors
    /// [`Error`] says why it is not open now.
    pub async fn send_pin(&self, asked: &AskedPin, pin: &str) -> Result<(), Error> {
        match self.card(&asked.card).await?.send_pin(pin).await {
            Err(zbus::Error::MethodError(name, ..)) if is_wrong_pin(&name) => Err(Error::WrongPin),
            other => Ok(other?),
        }
    }

    async fn card(&self, path: &OwnedObjectPath) -> zbus::Result<SimCardProxy<'static>> {
        SimCardProxy::builder(&self.bus).path(path.clone()).cache_properties(CacheProperties::No).build().await
    }
}

/// Modems that do not say that it was wrong ask for it again, or for the PUK.
fn is_wrong_pin(error: &str) -> bool {
    let equipment = error.strip_prefix("org.freedesktop.ModemManager1.Error.MobileEquipment.");
    matches!(equipment, Some("IncorrectPassword" | "SimPin" | "SimPuk"))
}

impl Modem {
    /// From the properties of an object; none if it is no modem.
    #[must_use]
    pub fn read(path: OwnedObjectPath, interfaces: &Interfaces) -> Option<Self> {
        let modem = interfaces.get(MODEM)?;
        let value = |name: &str| modem.get(name).and_then(|value| u32::try_from(value).ok());
        let text = |name: &str| modem.get(name).and_then(|value| String::try_from(value.clone()).ok());
        let state = modem.get("State").and_then(|value| i32::try_from(value).ok()).unwrap_or_default();
        let missing = state == FAILED && value("StateFailedReason") == Some(SIM_MISSING);
        let sim = match value("UnlockRequired") {
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
        let number = path.rsplit('/').next().and_then(|last| last.parse().ok())?;
        Some(Self {
            path,
            number,
            name: names.join(" "),
            port: text("PrimaryPort").unwrap_or_default(),
            sim,
            pin_tries: tries.and_then(|tries| tries.get(&lock::SIM_PIN).copied()),
            operator,
            signal: u8::try_from(signal.min(100)).ok().filter(|signal| registered && *signal > 0),
            technology: value("AccessTechnologies").and_then(technology),
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
        let path = OwnedObjectPath::try_from("/org/freedesktop/ModemManager1/Modem/4").unwrap();
        Modem::read(path, &HashMap::from([(MODEM.to_owned(), modem), (MODEM_3GPP.to_owned(), network)]))
    }

    #[test]
    fn a_modem_is_read_as_people_would_describe_it() {
        let modem = read(11, &[]).unwrap();
        assert_eq!((modem.number, modem.name.as_str(), modem.port.as_str()), (4, "Quectel RM520N-GL", "cdc-wdm0"));
        assert_eq!(
            (modem.operator.as_deref(), modem.technology, modem.signal),
            (Some("Example Mobile"), Some("5G"), Some(57))
        );
        assert!(modem.connected && modem.sim == Sim::Open);
    }

    #[test]
    fn a_signal_that_was_not_measured_yet_is_not_a_bad_one() {
        let signal = |state, measured: u32| read(state, &[("SignalQuality", Variant::from((measured, true)))]);
        for (state, measured, shown) in [(8, 0, None), (8, 1, Some(1)), (7, 57, None), (11, 400, Some(100))] {
            assert_eq!(signal(state, measured).unwrap().signal, shown, "{state} {measured}");
        }
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
    fn the_try_that_could_lock_a_sim_is_never_used_up() {
        let table = [
            (Some(3), 0, true),
            (Some(2), 1, true),
            (Some(1), 0, false),
            (Some(0), 0, false),
            // It is told: whatever was tried here, the right PIN was given elsewhere meanwhile.
            (Some(3), 7, true),
            (None, 0, true),
            (None, 1, true),
            (None, 2, false),
            (None, 9, false),
        ];
        for (left, wrong_before, may) in table {
            assert_eq!(may_try_pin(left, wrong_before), may, "{left:?} {wrong_before}");
        }
    }

    #[test]
    fn a_wrong_pin_is_known_whatever_the_modem_makes_of_it() {
        for (error, wrong) in [
            ("org.freedesktop.ModemManager1.Error.MobileEquipment.IncorrectPassword", true),
            ("org.freedesktop.ModemManager1.Error.MobileEquipment.SimPuk", true),
            ("org.freedesktop.ModemManager1.Error.Core.Timeout", false),
        ] {
            assert_eq!(is_wrong_pin(error), wrong, "{error}");
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
