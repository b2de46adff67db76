//! The device's own network: its name, its passphrase, the profile of the access point.
//!
//! Owns making a passphrase that is typed without mistakes, and the text of the QR
//! code by which a phone joins. Each device has its own passphrase; none is built
//! in. Does not own when the access point is on.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use zbus::Variant;

use crate::wifi::{Profile, Secret};

/// The device's address in its own network.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);
/// The name of the access point's profile, also in the image's firewall.
const ID: &str = "strata-access-point";
/// Its network's part, in bits.
const PREFIX: u32 = 24;
/// Allowed everywhere, whatever country it is: 2.4 GHz, channel 6.
const CHANNEL: u32 = 6;
/// Characters that nobody takes for each other, on paper or when told.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Groups of four characters each: 60 bits.
const GROUPS: usize = 3;
const GROUP: usize = 4;

/// The device's own network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnNetwork {
    /// Its name.
    pub ssid: String,
    /// Its passphrase.
    pub passphrase: Secret,
}

impl OwnNetwork {
    /// The name of a device with this hardware address, and a passphrase of these random bytes.
    #[must_use]
    pub fn new(mac: [u8; 6], random: [u8; GROUPS * GROUP]) -> Self {
        let ssid = format!("Strata-{:02X}{:02X}", mac[4], mac[5]);
        // 32 characters and 256 values: each is equally likely.
        let characters: Vec<char> = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
        let groups: Vec<String> = characters.chunks(GROUP).map(|group| group.iter().collect()).collect();
        Self { ssid, passphrase: Secret::new(groups.join("-")) }
    }

    /// The text of the QR code by which phones join: the de facto standard of ZXing, which Android and iOS read.
    #[must_use]
    pub fn qr_text(&self) -> String {
        format!("WIFI:T:WPA;S:{};P:{};;", escaped(&self.ssid), escaped(self.passphrase.reveal()))
    }

    /// The profile of the access point on this interface.
    #[must_use]
    pub fn profile(&self, interface: &str) -> Profile {
        let address: HashMap<String, Variant<'static>> = HashMap::from([
            ("address".to_owned(), Variant::from(ADDRESS.to_string())),
            ("prefix".to_owned(), Variant::from(PREFIX)),
        ]);
        let list = |value: &str| Variant::from(vec![value.to_owned()]);
        Profile::from([
            (
                "connection",
                HashMap::from([
                    ("id", Variant::from(ID)),
                    ("type", Variant::from("802-11-wireless")),
                    ("interface-name", Variant::from(interface.to_owned())),
                    ("autoconnect", Variant::from(false)),
                ]),
            ),
            (
                "802-11-wireless",
                HashMap::from([
                    ("ssid", Variant::from(self.ssid.as_bytes().to_vec())),
                    ("mode", Variant::from("ap")),
                    ("band", Variant::from("bg")),
                    ("channel", Variant::from(CHANNEL)),
                ]),
            ),
            (
                "802-11-wireless-security",
                HashMap::from([
                    ("key-mgmt", Variant::from("wpa-psk")),
                    ("proto", list("rsn")),
                    ("pairwise", list("ccmp")),
                    ("group", list("ccmp")),
                    ("psk", Variant::from(self.passphrase.reveal().to_owned())),
                ]),
            ),
            (
                "ipv4",
                HashMap::from([("method", Variant::from("shared")), ("address-data", Variant::from(vec![address]))]),
            ),
            ("ipv6", HashMap::from([("method", Variant::from("disabled"))])),
        ])
    }
}

/// With a backslash before what has a meaning in the code.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|char| "\\;,\":".contains(char).then_some('\\').into_iter().chain([char])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_name_by_its_address_and_a_passphrase_of_its_own() {
        let network = OwnNetwork::new([0x02, 0, 0, 0, 0xa1, 0x0f], [0, 31, 32, 63, 8, 9, 10, 11, 255, 254, 253, 252]);
        assert_eq!(network.ssid, "Strata-A10F");
        assert_eq!(network.passphrase.reveal(), "a9a9-ijkm-9876");
        assert_eq!(network.qr_text(), "WIFI:T:WPA;S:Strata-A10F;P:a9a9-ijkm-9876;;");
        assert!((8..=63).contains(&network.passphrase.reveal().len()));
    }

    #[test]
    fn no_character_is_taken_for_another_and_each_is_there_once() {
        let mut characters = ALPHABET.to_vec();
        characters.sort_unstable();
        characters.dedup();
        assert_eq!(characters.len(), 32);
        assert!(characters.iter().all(|char| !b"01lOI".contains(char)));
    }

    #[test]
    fn a_qr_code_survives_any_name() {
        let network = OwnNetwork { ssid: "a;b,c:\"d\\".to_owned(), passphrase: Secret::new("p;p".to_owned()) };
        assert_eq!(network.qr_text(), r#"WIFI:T:WPA;S:a\;b\,c\:\"d\\;P:p\;p;;"#);
    }

    #[test]
    fn the_access_point_never_starts_by_itself_and_shares_its_address() {
        let profile = OwnNetwork::new([0; 6], [0; 12]).profile("wlan0");
        assert_eq!(profile["connection"]["autoconnect"], Variant::from(false));
        assert_eq!(profile["ipv4"]["method"], Variant::from("shared"));
        assert_eq!(profile["802-11-wireless"]["mode"], Variant::from("ap"));
    }
}
