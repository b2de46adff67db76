//! What the controller knows and the pages show: pure, so that every combination can be tested.

use std::time::Duration;

use strata_network::modem_manager::Sim;
use strata_network::network_manager::Connectivity;
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
        self.token_failure = Some(failure);
    }

    /// Whether the relay said no to the token.
    pub(super) fn token_refused(&self) -> bool {
        matches!(self.token_failure, Some(Failure::TokenUnknown | Failure::TokenUsed | Failure::TokenExpired))
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
            modems: self.modems.iter().enumerate().map(|(id, modem)| self.modem(id, modem)).collect(),
            inputs: standing.inputs.clone(),
        }
    }

    fn shown(&self, network: &network_manager::Network) -> Heard {
        let network_manager::Network { ssid, security, strength, .. } = network;
        Heard { known: self.known.contains(ssid), ssid: ssid.clone(), security: *security, strength: *strength }
    }

    fn modem(&self, id: usize, modem: &modem_manager::Modem) -> Modem {
        let reason = match modem.sim {
            Sim::Missing => Some(Reason::NoSim),
            Sim::Pin => Some(Reason::SimPin),
            Sim::Puk => Some(Reason::SimPuk),
            Sim::Other => Some(Reason::SimWrong),
            Sim::Open => None,
        };
        Modem {
            id: u32::try_from(id).unwrap_or(u32::MAX),
            name: modem.name.clone(),
            operator: modem.operator.clone(),
            signal: modem.signal,
            technology: modem.technology.map(str::to_owned),
            pin_tries: modem.pin_tries.filter(|_| modem.sim == Sim::Pin),
            failure: reason.map(Failure::Network),
            online: modem.connected,
        }
    }

    /// Whether somebody looked at the pages within this time.
    pub(super) fn somebody_there(&self, now: Instant, within: Duration) -> bool {
        self.looked_at.is_some_and(|at| now.saturating_duration_since(at) < within)
    }
}

/// A relay's address as people type it.
fn short(url: &str) -> String {
    let url = url.strip_suffix("/agent/ws").unwrap_or(url);
    url.strip_suffix(":443").unwrap_or(url).to_owned()
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
    fn a_refusal_from_before_the_token_is_no_refusal_of_it() {
        for (token_after, shown) in [(None, Progress::Nothing), (Some(8), Progress::Going)] {
            let mut picture = Picture { token_after, ..Picture::default() };
            picture.relay_said(&standing(Some(ProblemKind::TokenUsed)));
            assert_eq!(picture.snapshot(&standing(None), Instant::now()).enrolment, shown);
        }
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
