//! Why a network could not be joined: NetworkManager's numbers, as something a person can act on.
//!
//! Owns reading `NM_DEVICE_STATE_REASON_*` (NetworkManager 1.52, `nm-dbus-interface.h`).
//! The sentences are the portal's, in the person's language.

/// Why a device is not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The network refused the password, or asked for one that nobody gave.
    WrongKey,
    /// The network is not seen, or went away.
    NetworkGone,
    /// The network gave no address.
    NoAddress,
    /// The network does not let this device in, or speaks a security that the radio does not.
    Refused,
    /// A modem's SIM is missing.
    NoSim,
    /// A modem's SIM asks for its PIN.
    SimPin,
    /// A modem's SIM asks for its PUK: the PIN was wrong too often.
    SimPuk,
    /// A modem's SIM is broken or the wrong one.
    SimWrong,
    /// The access point's name of the modem's network is wrong or missing.
    Apn,
    /// The modem finds no network, or is refused by it.
    NoMobileNetwork,
    /// A cable is not plugged in.
    NoCable,
    /// Somebody, or a program, ended it.
    Ended,
    /// The hardware is gone or does not work.
    Hardware,
    /// NetworkManager says nothing that helps; its number.
    Other(u32),
}

impl Reason {
    /// From the reason of a `StateChanged` signal, or the second number of `StateReason`; none if nothing is wrong.
    #[must_use]
    pub fn of(number: u32) -> Option<Self> {
        Some(match number {
            // NONE, NOW_MANAGED, CONNECTION_ASSUMED, SUPPLICANT_AVAILABLE, MODEM_AVAILABLE.
            0 | 2 | 41 | 42 | 58 => return None,
            // NO_SECRETS: asked again, as what it was given did not fit. SUPPLICANT_DISCONNECT, SUPPLICANT_TIMEOUT: the
            // handshake ends so with a wrong key.
            7 | 8 | 11 => Self::WrongKey,
            // SUPPLICANT_CONFIG_FAILED, SUPPLICANT_FAILED.
            9 | 10 => Self::Refused,
            // IP_CONFIG_UNAVAILABLE, IP_CONFIG_EXPIRED, DHCP_START_FAILED, DHCP_ERROR, DHCP_FAILED, IP_ADDRESS_DUPLICATE.
            5 | 6 | 15..=17 | 64 => Self::NoAddress,
            // MODEM_BUSY, _NO_DIAL_TONE, _NO_CARRIER, _DIAL_TIMEOUT, _DIAL_FAILED, _INIT_FAILED; GSM_REGISTRATION_….
            23..=28 | 30..=33 => Self::NoMobileNetwork,
            // GSM_APN_FAILED.
            29 => Self::Apn,
            // GSM_PIN_CHECK_FAILED, GSM_SIM_PIN_REQUIRED, SIM_PIN_INCORRECT.
            34 | 46 | 59 => Self::SimPin,
            // GSM_SIM_NOT_INSERTED.
            45 => Self::NoSim,
            // GSM_SIM_PUK_REQUIRED.
            47 => Self::SimPuk,
            // GSM_SIM_WRONG.
            48 => Self::SimWrong,
            // FIRMWARE_MISSING, REMOVED, MODEM_NOT_FOUND, MODEM_MANAGER_UNAVAILABLE, MODEM_FAILED.
            35 | 36 | 43 | 52 | 57 => Self::Hardware,
            // SLEEPING, CONNECTION_REMOVED, USER_REQUESTED, NEW_ACTIVATION.
            37..=39 | 60 => Self::Ended,
            // CARRIER.
            40 => Self::NoCable,
            // SSID_NOT_FOUND.
            53 => Self::NetworkGone,
            other => Self::Other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_that_people_meet_has_its_word() {
        let table = [
            (0, None),
            (7, Some(Reason::WrongKey)),
            (8, Some(Reason::WrongKey)),
            (11, Some(Reason::WrongKey)),
            (5, Some(Reason::NoAddress)),
            (17, Some(Reason::NoAddress)),
            (53, Some(Reason::NetworkGone)),
            (10, Some(Reason::Refused)),
            (45, Some(Reason::NoSim)),
            (46, Some(Reason::SimPin)),
            (59, Some(Reason::SimPin)),
            (47, Some(Reason::SimPuk)),
            (29, Some(Reason::Apn)),
            (31, Some(Reason::NoMobileNetwork)),
            (36, Some(Reason::Hardware)),
            (39, Some(Reason::Ended)),
            (63, Some(Reason::Other(63))),
        ];
        for (number, reason) in table {
            assert_eq!(Reason::of(number), reason, "{number}");
        }
    }
}
