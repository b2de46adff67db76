//! What the controller knows and the pages show: pure, so that every combination can be tested.

use std::collections::HashMap;
use std::time::Duration;

use strata_network::modem_manager::{Sim, may_try_pin};
use strata_network::network_manager::{Connectivity, Mobile};
use strata_network::reason::Reason;
use strata_network::wifi::Ssid;
use strata_network::{modem_manager, network_manager};
use strata_portal::device::{Failure, Heard, Modem, Progress, Snapshot};
use tokio::time::Instant;

use super::Standing;
use crate::relay::ProblemKind;

/// What is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    /// What the device's own network is called.
    pub(super) own_ssid: String,
    /// Whether access point and client take turns.
    pub(super) one_radio: bool,
    /// How far the device gets; none before the first look.
    pub(super) connectivity: Option<Connectivity>,
    /// The networks that were heard.
    pub(super) networks: Vec<network_manager::Network>,
    /// When.
    pub(super) heard: Option<Instant>,
    /// The names of the networks that the device joins by itself.
    pub(super) known: Vec<Ssid>,
    /// The network that somebody wanted last, and how that went.
    pub(super) joining: (Option<Ssid>, Progress),
    /// The token that somebody gave and that is not used yet: attempts after this one try it.
    pub(super) token_after: Option<u64>,
    /// Why it was refused, or could not be used.
    pub(super) token_failure: Option<Failure>,
    /// The modems.
    pub(super) modems: Vec<modem_manager::Modem>,
    /// What they are told to use.
    pub(super) mobiles: Vec<Mobile>,
    /// What somebody asked of a modem, by its number, and how that went.
    pub(super) asked: HashMap<u32, Progress>,
    /// When somebody last looked at the pages.
    pub(super) looked_at: Option<Instant>,
}

impl Picture {
    /// Whether the internet is reached; a relay in a network of one's own is as good.
    pub(super) fn internet(&self, standing: &Standing) -> bool {
        standing.at_relay || self.connectivity == Some(Connectivity::Full)
    }

    /// How a token fares, from what the connection to the relay says.
    pub(super) fn relay_said(&mut self, standing: &Standing) {
        if standing.at_relay {
            (self.token_after, self.token_failure) = (None, None);
            return;
        }
        if self.token_after.is_none_or(|after| standing.attempts <= after) {
            return;
        }
        let online = self.internet(standing);
        let failure = match standing.problem {
            Some(ProblemKind::TokenUnknown) => Failure::TokenUnknown,
            Some(ProblemKind::TokenUsed) => Failure::TokenUsed,
            Some(ProblemKind::TokenExpired) => Failure::TokenExpired,
            Some(ProblemKind::ClockWrong) => Failure::Clock,
            Some(ProblemKind::NameUnknown) if online => Failure::Dns,
            Some(ProblemKind::Unreachable | ProblemKind::Refused | ProblemKind::Revoked) if online => Failure::Relay,
            // Not online yet: nothing was tried.
            _ => return,
        };
        // That it said no is not less true because it is out of reach by now, with the network that led there.
        if is_refusal(failure) || !self.token_refused() {
            self.token_failure = Some(failure);
        }
    }

    /// Whether the relay said no to the token.
    pub(super) fn token_refused(&self) -> bool {
        self.token_failure.is_some_and(is_refusal)
    }

    /// Whether a token waits for the relay.
    pub(super) fn token_waits(&self) -> bool {
        self.token_after.is_some() && !self.token_refused()
    }

    /// What the pages show.
    pub(super) fn snapshot(&self, standing: &Standing, now: Instant) -> Snapshot {
        let enrolment = match self.token_failure {
            _ if standing.at_relay => Progress::Done,
            Some(failure) => Progress::Failed(failure),
            None if self.token_after.is_some() => Progress::Going,
            None => Progress::Nothing,
        };
        Snapshot {
            name: standing.name.clone().unwrap_or_else(|| self.own_ssid.clone()),
            relay: standing.relay.as_deref().map(short),
            enrolled: standing.enrolled,
            internet: self.internet(standing),
            at_relay: standing.at_relay,
            one_radio: self.one_radio,
            networks: self.networks.iter().map(|network| self.shown(network)).collect(),
            heard_ago: self.heard.map(|at| now.saturating_duration_since(at)),
            joining: self.joining.clone(),
            enrolment,
            modems: self.modems.iter().map(|modem| self.modem(modem)).collect(),
            inputs: standing.inputs.clone(),
        }
    }

    fn shown(&self, network: &network_manager::Network) -> Heard {
        let network_manager::Network { ssid, security, strength, .. } = network;
        Heard { known: self.known.contains(ssid), ssid: ssid.clone(), security: *security, strength: *strength }
    }

    /// The modems, and how what was asked of them went.
    pub(super) fn modems_are(
        &mut self,
        modems: Vec<modem_manager::Modem>,
        answers: impl IntoIterator<Item = (Instant, u32, Progress)>,
    ) {
        self.asked.extend(answers.into_iter().map(|(_, number, progress)| (number, progress)));
        self.asked.retain(|number, _| modems.iter().any(|modem| modem.number == *number));
        self.modems = modems;
    }

    /// Whether a modem can be asked for something now: twice on a button is one wish.
    pub(super) fn begin(&mut self, number: u32) -> bool {
        let there = self.modems.iter().any(|modem| modem.number == number);
        there && self.asked.insert(number, Progress::Going) != Some(Progress::Going)
    }

    fn modem(&self, modem: &modem_manager::Modem) -> Modem {
        let asked = self.asked.get(&modem.number).copied().unwrap_or_default();
        let mobile = Mobile::of(&self.mobiles, &modem.port);
        let failure = modem_failure(modem, asked, mobile.is_some());
        Modem {
            id: modem.number,
            name: modem.name.clone(),
            operator: modem.operator.clone(),
            signal: modem.signal,
            technology: modem.technology.map(str::to_owned),
            wants_pin: modem.sim == Sim::Pin && failure != Some(Failure::LastPinTry),
            pin_tries: modem.pin_tries.filter(|_| modem.sim == Sim::Pin),
            apn: mobile.and_then(|mobile| mobile.apn.clone()),
            failure,
            busy: asked == Progress::Going,
            online: modem.connected,
        }
    }

    /// Whether somebody looked at the pages within this time.
    pub(super) fn somebody_there(&self, now: Instant, within: Duration) -> bool {
        self.looked_at.is_some_and(|at| now.saturating_duration_since(at) < within)
    }
}

/// What is wrong with a modem; `asked` is how the last thing went that somebody asked of it, `told` whether it knows what
/// to use.
fn modem_failure(modem: &modem_manager::Modem, asked: Progress, told: bool) -> Option<Failure> {
    // What was wrong with a PIN is of no interest once none is asked for.
    let of_pin = |failure| matches!(failure, Failure::WrongPin | Failure::LastPinTry);
    let failed = match asked {
        Progress::Failed(failure) if modem.sim == Sim::Pin || !of_pin(failure) => Some(failure),
        _ => None,
    };
    let reason = match modem.sim {
        Sim::Missing => Reason::NoSim,
        Sim::Puk => Reason::SimPuk,
        Sim::Other => Reason::SimWrong,
        Sim::Pin if !may_try_pin(modem.pin_tries, 0) => return Some(Failure::LastPinTry),
        Sim::Pin | Sim::Open if failed.is_some() => return failed,
        Sim::Pin => Reason::SimPin,
        Sim::Open if told || modem.connected => return None,
        Sim::Open => Reason::Apn,
    };
    Some(Failure::Network(reason))
}

/// A relay's address as people type it.
fn short(url: &str) -> String {
    let url = url.strip_suffix("/agent/ws").unwrap_or(url);
    url.strip_suffix(":443").unwrap_or(url).to_owned()
}

/// Whether it is the relay's no to a token.
fn is_refusal(failure: Failure) -> bool {
    matches!(failure, Failure::TokenUnknown | Failure::TokenUsed | Failure::TokenExpired)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(problem: Option<ProblemKind>) -> Standing {
        Standing { problem, attempts: 8, ..Standing::default() }
    }

    #[test]
    fn what_becomes_of_a_token() {
        use ProblemKind::{ClockWrong, NameUnknown, NotEnrolled, TokenExpired, TokenUsed, Unreachable};
        let full = Some(Connectivity::Full);
        let table = [
            (None, Some(Unreachable), true, None),
            (full, Some(Unreachable), true, Some(Failure::Relay)),
            (full, Some(NameUnknown), true, Some(Failure::Dns)),
            (None, Some(NameUnknown), true, None),
            (full, Some(NotEnrolled), true, None),
            (None, Some(ClockWrong), true, Some(Failure::Clock)),
            (None, Some(TokenUsed), false, Some(Failure::TokenUsed)),
            (full, Some(TokenExpired), false, Some(Failure::TokenExpired)),
            (full, None, true, None),
        ];
        for (connectivity, problem, waits, failure) in table {
            let mut picture = Picture { connectivity, token_after: Some(7), ..Picture::default() };
            picture.relay_said(&standing(problem));
            assert_eq!(
                (picture.token_waits(), picture.token_failure),
                (waits, failure),
                "{connectivity:?} {problem:?}"
            );
            picture.relay_said(&Standing { at_relay: true, ..Standing::default() });
            assert_eq!((picture.token_waits(), picture.token_failure), (false, None));
        }
    }

    #[test]
    fn a_refusal_is_told_until_there_is_another_token() {
        use ProblemKind::{TokenExpired, TokenUnknown, Unreachable};
        let mut picture =
            Picture { connectivity: Some(Connectivity::Full), token_after: Some(7), ..Picture::default() };
        for (problem, told) in [
            (Unreachable, Failure::Relay),
            (TokenUnknown, Failure::TokenUnknown),
            (Unreachable, Failure::TokenUnknown),
            (TokenExpired, Failure::TokenExpired),
        ] {
            picture.relay_said(&standing(Some(problem)));
            assert_eq!(picture.token_failure, Some(told), "{problem:?}");
        }
    }

    #[test]
    fn a_refusal_from_before_the_token_is_no_refusal_of_it() {
        for (token_after, shown) in [(None, Progress::Nothing), (Some(8), Progress::Going)] {
            let mut picture = Picture { token_after, ..Picture::default() };
            picture.relay_said(&standing(Some(ProblemKind::TokenUsed)));
            assert_eq!(picture.snapshot(&standing(None), Instant::now()).enrolment, shown);
        }
    }

    /// What ModemManager tells of a modem: its state, what its SIM asks for, how often the PIN may be tried.
    fn modem(state: i32, lock: u32, tries: Option<u32>) -> modem_manager::Modem {
        let owned = |value: zbus::Variant<'static>| zbus::OwnedVariant::try_from(value).unwrap();
        let tries: HashMap<u32, u32> = tries.into_iter().map(|tries| (2, tries)).collect();
        let properties = [
            ("State", owned(state.into())),
            ("StateFailedReason", owned(2_u32.into())),
            ("UnlockRequired", owned(lock.into())),
            ("UnlockRetries", owned(tries.into())),
            ("SignalQuality", owned((0_u32, true).into())),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value)).into();
        let path = zbus::OwnedObjectPath::try_from("/org/freedesktop/ModemManager1/Modem/4").unwrap();
        let interfaces = [("org.freedesktop.ModemManager1.Modem".to_owned(), properties)].into();
        modem_manager::Modem::read(path, &interfaces).unwrap()
    }

    #[test]
    fn what_is_told_of_a_modem() {
        use Progress::{Done, Failed, Going, Nothing};
        let network = |reason| Some(Failure::Network(reason));
        let (none, pin, puk) = (1, 2, 4);
        let (failed, locked, registered, connected) = (-1, 2, 8, 11);
        let table = [
            (modem(locked, pin, Some(3)), Nothing, false, network(Reason::SimPin), true),
            (modem(locked, pin, Some(2)), Failed(Failure::WrongPin), false, Some(Failure::WrongPin), true),
            (modem(locked, pin, Some(1)), Failed(Failure::WrongPin), false, Some(Failure::LastPinTry), false),
            (modem(locked, pin, Some(1)), Nothing, true, Some(Failure::LastPinTry), false),
            (modem(locked, pin, None), Nothing, false, network(Reason::SimPin), true),
            (modem(locked, pin, None), Failed(Failure::LastPinTry), false, Some(Failure::LastPinTry), false),
            (modem(locked, puk, None), Failed(Failure::WrongPin), false, network(Reason::SimPuk), false),
            (modem(failed, none, None), Nothing, false, network(Reason::NoSim), false),
            (modem(registered, none, Some(3)), Done, false, network(Reason::Apn), false),
            (modem(registered, none, Some(3)), Failed(Failure::WrongPin), true, None, false),
            (modem(registered, none, Some(3)), Failed(Failure::Storage), false, Some(Failure::Storage), false),
            (modem(registered, none, Some(3)), Going, true, None, false),
            (modem(connected, none, Some(3)), Nothing, false, None, false),
        ];
        for (modem, asked, told, failure, wants_pin) in table {
            assert_eq!(modem_failure(&modem, asked, told), failure, "{modem:?} {asked:?} {told}");
            let mut picture = Picture::default();
            picture.modems_are(vec![modem], [(Instant::now(), 4, asked)]);
            let shown = &picture.snapshot(&standing(None), Instant::now()).modems[0];
            assert_eq!((shown.id, shown.wants_pin, shown.busy), (4, wants_pin, asked == Going), "{shown:?}");
        }
    }

    #[test]
    fn twice_on_a_button_is_one_wish_and_a_modem_that_is_gone_has_none() {
        let mut picture = Picture::default();
        assert!(!picture.begin(4));
        picture.modems_are(vec![modem(2, 2, Some(3))], []);
        assert!(picture.begin(4) && !picture.begin(4) && !picture.begin(5));
        picture.modems_are(vec![modem(2, 2, Some(2))], [(Instant::now(), 4, Progress::Failed(Failure::WrongPin))]);
        assert!(picture.begin(4));
        picture.modems_are(vec![], []);
        assert!(picture.asked.is_empty());
    }

    #[test]
    fn a_relay_is_shown_as_it_is_typed() {
        for (url, typed) in [
            ("wss://relay.example.net:443/agent/ws", "wss://relay.example.net"),
            ("wss://relay.example.net:8443/agent/ws", "wss://relay.example.net:8443"),
            ("wss://relay.example.net:443/else", "wss://relay.example.net:443/else"),
        ] {
            assert_eq!(short(url), typed);
        }
    }
}
