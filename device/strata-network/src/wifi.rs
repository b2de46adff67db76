//! Wi-Fi networks: names, security, and the profile that NetworkManager is given to join one.
//!
//! Owns reading what an access point announces and what of a wish cannot be
//! fulfilled before anything is tried. Names are bytes, never text (IEEE 802.11:
//! up to 32, any). Does not own talking to NetworkManager.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;

use zbus::Variant;

/// `a{sa{sv}}`: the settings of a connection, by group and key.
pub type Profile = HashMap<&'static str, HashMap<&'static str, Variant<'static>>>;

/// The longest name of a network, in bytes.
pub const MAX_SSID: usize = 32;

/// `NM80211ApFlags` and `NM80211ApSecurityFlags` (NetworkManager 1.52, `nm-dbus-interface.h`).
mod flags {
    pub(super) const PRIVACY: u32 = 0x1;
    pub(super) const PSK: u32 = 0x100;
    pub(super) const ENTERPRISE: u32 = 0x200;
    pub(super) const SAE: u32 = 0x400;
    pub(super) const OWE: u32 = 0x800;
    pub(super) const OWE_TRANSITION: u32 = 0x1000;
    pub(super) const ENTERPRISE_192: u32 = 0x2000;
}

/// A network's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ssid(Vec<u8>);

impl Ssid {
    /// A name of 1 to 32 bytes; none for others: a network that hides its name announces an empty one, or zeros.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let possible = (1..=MAX_SSID).contains(&bytes.len()) && bytes.iter().any(|&byte| byte != 0);
        possible.then(|| Self(bytes.to_vec()))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// As people see it: what is no text, or would move the text around it, is a replacement character.
impl fmt::Display for Ssid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let invisible = |char: char| {
            char.is_control()
                || matches!(char, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        String::from_utf8_lossy(&self.0)
            .chars()
            .try_for_each(|char| write!(out, "{}", if invisible(char) { char::REPLACEMENT_CHARACTER } else { char }))
    }
}

/// What a network asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Security {
    /// Nothing.
    Open,
    /// Nothing, but what is sent is encrypted (OWE).
    EnhancedOpen,
    /// A passphrase: WPA, WPA2, or WPA2 and WPA3.
    Personal,
    /// A passphrase, WPA3 only (SAE).
    Wpa3Personal,
    /// A user name and a password (802.1X).
    Enterprise,
    /// A key of the last century, which no radio here speaks.
    Wep,
    /// Certificates of a kind that cannot be given here (192 bit).
    Unsupported,
}

impl Security {
    /// From an access point's three sets of flags.
    #[must_use]
    pub fn of(general: u32, wpa: u32, rsn: u32) -> Self {
        let keys = wpa | rsn;
        let has = |flag| keys & flag != 0;
        if has(flags::PSK) {
            Self::Personal
        } else if has(flags::SAE) {
            Self::Wpa3Personal
        } else if has(flags::ENTERPRISE) {
            Self::Enterprise
        } else if has(flags::ENTERPRISE_192) {
            Self::Unsupported
        } else if has(flags::OWE) && !has(flags::OWE_TRANSITION) {
            Self::EnhancedOpen
        } else if general & flags::PRIVACY != 0 {
            Self::Wep
        } else {
            Self::Open
        }
    }

    /// Whether a passphrase is asked for.
    #[must_use]
    pub fn wants_passphrase(self) -> bool {
        matches!(self, Self::Personal | Self::Wpa3Personal)
    }
}

/// Text that nobody else sees: not in logs, not in errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Shows it, to whom it is for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// What is given to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A passphrase.
    Passphrase(Secret),
    /// A user name and a password, by PEAP and MSCHAPv2, as nearly all campus and company networks take it.
    Login {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// How the device gets its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// From the network (DHCP).
    Automatic,
    /// As given.
    Static {
        /// The device's.
        address: Ipv4Addr,
        /// Length of the network's part, in bits.
        prefix: u8,
        /// The way out.
        gateway: Ipv4Addr,
        /// Name servers.
        dns: Vec<Ipv4Addr>,
    },
}

/// A network that somebody wants the device to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Its name.
    pub ssid: Ssid,
    /// Whether it hides its name: it is asked for by name then.
    pub hidden: bool,
    /// What it asks for; of a hidden one, what the person says.
    pub security: Security,
    /// What is given.
    pub credentials: Credentials,
    /// The address.
    pub address: Address,
}

/// What of a wish can be seen to be impossible before it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// Of 8 to 63 characters, or 64 hexadecimal digits.
    #[error("a passphrase has 8 to 63 characters")]
    PassphraseLength,
    /// The network asks for something else than was given.
    #[error("the network asks for something else: a passphrase, a login or nothing")]
    Credentials,
    /// WEP, or a security that is not spoken here.
    #[error("the network's security is not supported")]
    Security,
    /// The address does not go with the network's part and the gateway.
    #[error("the address, its prefix and the gateway do not fit together")]
    Address,
}

impl Wish {
    /// The profile by which NetworkManager joins it.
    ///
    /// # Errors
    /// [`WishError`] when it is clear that this cannot work.
    pub fn profile(&self) -> Result<Profile, WishError> {
        // Its name alone could be anything, also that of our own network's profile.
        let id = format!("wifi {}", self.ssid);
        let mut wireless =
            group([("ssid", Variant::from(self.ssid.0.clone())), ("mode", Variant::from("infrastructure"))]);
        if self.hidden {
            wireless.insert("hidden", Variant::from(true));
        }
        let mut profile = Profile::from([
            ("connection", group([("id", Variant::from(id)), ("type", Variant::from("802-11-wireless"))])),
            ("802-11-wireless", wireless),
            ("ipv4", self.address.settings()?),
            ("ipv6", group([("method", Variant::from("auto"))])),
        ]);
        if let Some(security) = self.security_settings()? {
            profile.insert("802-11-wireless-security", security);
        }
        if let Credentials::Login { user, password } = &self.credentials {
            let settings = [
                ("eap", Variant::from(vec!["peap".to_owned()])),
                ("phase2-auth", Variant::from("mschapv2")),
                ("identity", Variant::from(user.clone())),
                ("password", Variant::from(password.0.clone())),
                ("system-ca-certs", Variant::from(true)),
            ];
            profile.insert("802-1x", group(settings));
        }
        Ok(profile)
    }

    fn security_settings(&self) -> Result<Option<HashMap<&'static str, Variant<'static>>>, WishError> {
        let by = |key_management: &'static str| group([("key-mgmt", Variant::from(key_management))]);
        match (self.security, &self.credentials) {
            (Security::Open, Credentials::None) => Ok(None),
            (Security::EnhancedOpen, Credentials::None) => Ok(Some(by("owe"))),
            (Security::Personal, Credentials::Passphrase(passphrase)) => {
                // Of WPA3, too, where the network speaks both.
                let mut settings = by("wpa-psk");
                settings.insert("psk", Variant::from(checked(passphrase)?));
                Ok(Some(settings))
            }
            (Security::Wpa3Personal, Credentials::Passphrase(passphrase)) => {
                let mut settings = by("sae");
                settings.insert("psk", Variant::from(checked(passphrase)?));
                Ok(Some(settings))
            }
            (Security::Enterprise, Credentials::Login { .. }) => Ok(Some(by("wpa-eap"))),
            (Security::Wep | Security::Unsupported, _) => Err(WishError::Security),
            _ => Err(WishError::Credentials),
        }
    }
}

/// As IEEE 802.11i has it for WPA2; for WPA3 no other is in use.
fn checked(passphrase: &Secret) -> Result<String, WishError> {
    let text = passphrase.reveal();
    let is_key = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let possible = (8..=63).contains(&text.len()) || is_key;
    possible.then(|| text.to_owned()).ok_or(WishError::PassphraseLength)
}

impl Address {
    fn settings(&self) -> Result<HashMap<&'static str, Variant<'static>>, WishError> {
        let Self::Static { address, prefix, gateway, dns } = self else {
            return Ok(group([("method", Variant::from("auto"))]));
        };
        let network = |of: &Ipv4Addr| u32::from(*of).checked_shr(32 - u32::from(*prefix));
        if !(1..=30).contains(prefix) || network(address) != network(gateway) || address == gateway {
            return Err(WishError::Address);
        }
        let entry: HashMap<String, Variant<'static>> = HashMap::from([
            ("address".to_owned(), Variant::from(address.to_string())),
            ("prefix".to_owned(), Variant::from(u32::from(*prefix))),
        ]);
        let servers: Vec<String> = dns.iter().map(ToString::to_string).collect();
        Ok(group([
            ("method", Variant::from("manual")),
            ("address-data", Variant::from(vec![entry])),
            ("gateway", Variant::from(gateway.to_string())),
            ("dns-data", Variant::from(servers)),
        ]))
    }
}

pub(crate) fn group<const N: usize>(
    settings: [(&'static str, Variant<'static>); N],
) -> HashMap<&'static str, Variant<'static>> {
    HashMap::from(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssid(text: &str) -> Ssid {
        Ssid::new(text.as_bytes()).unwrap()
    }

    fn wish(security: Security, credentials: Credentials) -> Wish {
        Wish { ssid: ssid("Hotel"), hidden: false, security, credentials, address: Address::Automatic }
    }

    fn passphrase(text: &str) -> Credentials {
        Credentials::Passphrase(Secret::new(text.to_owned()))
    }

    #[test]
    fn names_of_any_bytes_are_shown_and_never_move_the_page() {
        for (bytes, shown) in [
            ("Café ☕".as_bytes(), "Café ☕"),
            (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
            (b"a\0b\nc", "a\u{fffd}b\u{fffd}c"),
            (b"\xff\xfe\x01", "\u{fffd}\u{fffd}\u{fffd}"),
            ("a\u{202e}b".as_bytes(), "a\u{fffd}b"),
            (&[b'x'; 32], "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        ] {
            assert_eq!(Ssid::new(bytes).unwrap().to_string(), shown);
        }
        for bytes in [&[][..], &[0; 8], &[b'x'; 33]] {
            assert_eq!(Ssid::new(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_an_access_point_announces_says_what_it_asks_for() {
        let table = [
            ((0, 0, 0), Security::Open),
            ((1, 0, 0), Security::Wep),
            ((1, 0, 0x188), Security::Personal),
            ((1, 0x144, 0x188), Security::Personal),
            ((1, 0, 0x588), Security::Personal),
            ((1, 0, 0x488), Security::Wpa3Personal),
            ((1, 0, 0x288), Security::Enterprise),
            ((1, 0, 0x2000), Security::Unsupported),
            ((1, 0, 0x888), Security::EnhancedOpen),
            ((0, 0, 0x1000), Security::Open),
        ];
        for ((general, wpa, rsn), security) in table {
            assert_eq!(Security::of(general, wpa, rsn), security, "{general:#x} {wpa:#x} {rsn:#x}");
        }
    }

    #[test]
    fn what_cannot_work_is_told_before_it_is_tried() {
        let table = [
            (Security::Personal, passphrase("1234567"), Err(WishError::PassphraseLength)),
            (Security::Personal, passphrase("12345678"), Ok(())),
            (Security::Personal, passphrase(&"é".repeat(32)), Err(WishError::PassphraseLength)),
            (Security::Personal, passphrase(&"a".repeat(64)), Ok(())),
            (Security::Personal, passphrase(&"g".repeat(64)), Err(WishError::PassphraseLength)),
            (Security::Personal, Credentials::None, Err(WishError::Credentials)),
            (Security::Open, passphrase("12345678"), Err(WishError::Credentials)),
            (Security::Enterprise, passphrase("12345678"), Err(WishError::Credentials)),
            (Security::Wep, passphrase("12345678"), Err(WishError::Security)),
        ];
        for (security, credentials, result) in table {
            let wish = wish(security, credentials);
            assert_eq!(wish.profile().map(|_| ()), result, "{wish:?}");
        }
    }

    #[test]
    fn the_profile_has_the_security_that_the_network_speaks() {
        for (security, credentials, key_management) in [
            (Security::Personal, passphrase("correct horse"), Some("wpa-psk")),
            (Security::Wpa3Personal, passphrase("correct horse"), Some("sae")),
            (Security::EnhancedOpen, Credentials::None, Some("owe")),
            (Security::Open, Credentials::None, None),
        ] {
            let profile = wish(security, credentials).profile().unwrap();
            let named = profile.get("802-11-wireless-security").and_then(|group| group.get("key-mgmt"));
            assert_eq!(named.cloned(), key_management.map(Variant::from), "{security:?}");
            assert_eq!(profile["802-11-wireless"]["ssid"], Variant::from(b"Hotel".to_vec()));
        }
    }

    #[test]
    fn an_address_has_to_fit_its_network_and_its_gateway() {
        let of = |address: [u8; 4], prefix, gateway: [u8; 4]| Address::Static {
            address: address.into(),
            prefix,
            gateway: gateway.into(),
            dns: vec![[9, 9, 9, 9].into()],
        };
        assert!(of([192, 168, 1, 7], 24, [192, 168, 1, 1]).settings().is_ok());
        for wrong in [
            of([192, 168, 1, 7], 24, [192, 168, 2, 1]),
            of([192, 168, 1, 1], 24, [192, 168, 1, 1]),
            of([192, 168, 1, 7], 0, [192, 168, 1, 1]),
            of([192, 168, 1, 7], 33, [192, 168, 1, 1]),
        ] {
            assert_eq!(wrong.settings(), Err(WishError::Address), "{wrong:?}");
        }
    }

    #[test]
    fn a_secret_is_in_no_log() {
        let wish = wish(Security::Personal, passphrase("correct horse"));
        assert!(!format!("{wish:?}").contains("horse"));
    }
}
