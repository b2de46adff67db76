//! What the pages show of the device, and what they ask it to do.
//!
//! Owns the types between pages and device, and the seam [`Device`]: the agent
//! implements it for real, tests for themselves. Does not own how any of it is done.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use strata_network::reason::Reason;
use strata_network::wifi::{Secret, Security, Ssid, Wish};

use crate::texts::Texts;

/// Why the device is not online, or not enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The network or the modem was not joined.
    Network(Reason),
    /// It was joined and leads nowhere.
    NoInternet,
    /// It wants a login on a page of its own.
    HotelPortal,
    /// The SIM did not take the PIN.
    WrongPin,
    /// The PIN is not tried: a wrong one could lock the SIM.
    LastPinTry,
    /// Names are not found.
    Dns,
    /// The device does not know what time it is.
    Clock,
    /// The relay does not answer.
    Relay,
    /// What was typed is no address of a relay.
    RelayAddress,
    /// The token could not be kept.
    Storage,
    /// The token was used before.
    TokenUsed,
    /// The token is too old.
    TokenExpired,
    /// The relay does not know the token.
    TokenUnknown,
}

impl Failure {
    /// What it is and what to do, in the person's language.
    #[must_use]
    pub fn text(self, texts: &Texts) -> &'static str {
        match self {
            Self::Network(reason) => match reason {
                Reason::WrongKey => texts.wrong_key,
                Reason::NetworkGone => texts.network_gone,
                Reason::NoAddress => texts.no_address,
                Reason::Refused => texts.refused,
                Reason::NoSim => texts.no_sim,
                Reason::SimPin => texts.sim_pin,
                Reason::SimPuk => texts.sim_puk,
                Reason::SimWrong => texts.sim_wrong,
                Reason::Apn => texts.no_apn,
                Reason::NoMobileNetwork => texts.no_mobile_network,
                Reason::NoCable => texts.no_cable,
                Reason::Ended | Reason::Hardware | Reason::Other(_) => texts.not_joined,
            },
            Self::NoInternet => texts.no_internet,
            Self::HotelPortal => texts.hotel_portal,
            Self::WrongPin => texts.wrong_pin,
            Self::LastPinTry => texts.last_pin_try,
            Self::Dns => texts.dns_broken,
            Self::Clock => texts.clock_wrong,
            Self::Relay => texts.relay_unreachable,
            Self::RelayAddress => texts.relay_address_wrong,
            Self::Storage => texts.storage_failed,
            Self::TokenUsed => texts.token_used,
            Self::TokenExpired => texts.token_expired,
            Self::TokenUnknown => texts.token_unknown,
        }
    }
}

/// How far something got that takes a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// Nobody asked for it.
    #[default]
    Nothing,
    /// It goes on.
    Going,
    /// It failed.
    Failed(Failure),
    /// It is done.
    Done,
}

/// A Wi-Fi network that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its name.
    pub ssid: Ssid,
    /// What it asks for.
    pub security: Security,
    /// 0 to 100.
    pub strength: u8,
    /// Whether the device knows it already.
    pub known: bool,
}

/// A modem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modem {
    /// Its number in addresses.
    pub id: u32,
    /// Maker and model.
    pub name: String,
    /// The network's operator; none while it has none.
    pub operator: Option<String>,
    /// 0 to 100; none while there is no network.
    pub signal: Option<u8>,
    /// What the technology is called: 4G, 5G.
    pub technology: Option<String>,
    /// Whether its PIN can be given here.
    pub wants_pin: bool,
    /// How often it may still be tried; none if that is not known.
    pub pin_tries: Option<u32>,
    /// The name of the operator's access point that it is told to use.
    pub apn: Option<String>,
    /// Whether something that somebody asked of it goes on.
    pub busy: bool,
    /// What is wrong.
    pub failure: Option<Failure>,
    /// Whether it has internet.
    pub online: bool,
}

/// What the device is like now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// What it is called.
    pub name: String,
    /// The relay, if one is known.
    pub relay: Option<String>,
    /// Whether the device belongs to somebody: strangers change nothing then.
    pub enrolled: bool,
    /// Whether the internet is reached.
    pub internet: bool,
    /// Whether the device is logged in at its relay.
    pub at_relay: bool,
    /// Whether joining a network takes the access point away for that time.
    pub one_radio: bool,
    /// The networks that were heard, strongest first.
    pub networks: Vec<Heard>,
    /// How long ago; none if never.
    pub heard_ago: Option<Duration>,
    /// The network that somebody wanted last, and how that went.
    pub joining: (Option<Ssid>, Progress),
    /// How the enrolment goes.
    pub enrolment: Progress,
    /// The modems.
    pub modems: Vec<Modem>,
    /// The cameras and other inputs that were found.
    pub inputs: Vec<String>,
}

/// A future of a [`Device`].
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the pages ask of the device. Whatever takes long is begun, and shows in the next [`Snapshot`].
pub trait Device: Send + Sync + Debug {
    /// The passphrase on its label.
    fn passphrase(&self) -> Secret;
    /// What it is like now.
    fn snapshot(&self) -> Answer<'_, Snapshot>;
    /// Looks for networks.
    fn scan(&self) -> Answer<'_, ()>;
    /// Joins a network.
    fn join(&self, wish: Wish) -> Answer<'_, ()>;
    /// Enrols with a token, at another relay if one is named; what cannot be begun is told at once.
    fn enrol(&self, token: String, relay: Option<String>) -> Answer<'_, Result<(), Failure>>;
    /// Gives a SIM its PIN: one attempt.
    fn enter_pin(&self, modem: u32, pin: String) -> Answer<'_, ()>;
    /// Names the operator's access point.
    fn set_apn(&self, modem: u32, apn: String) -> Answer<'_, ()>;
}
