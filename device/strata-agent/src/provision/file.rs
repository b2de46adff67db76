//! `strata.toml`: what it may hold, and what of it cannot be.
//!
//! Owns reading and the checks that need no device; knows nothing of where the file lies.

use serde::Deserialize;
use strata_control::Sensitive;
use strata_network::modem_manager::is_apn;
use strata_network::wifi::{Address, Credentials, Secret, Security, Ssid, Wish};

use crate::config::RelayUrl;
use crate::enrolment::parse_token;

/// What the file asks for.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Keys and values for `strata-settings`.
    pub(super) settings: Vec<(&'static str, String)>,
    /// A network to join.
    pub(super) wifi: Option<Wish>,
    /// The operator's access point for every modem that has none of its own.
    pub(super) apn: Option<String>,
    /// To whom the device is to belong.
    pub(super) enrolment: Option<Enrolment>,
}

impl Plan {
    /// Whether it asks for nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.wifi.is_none() && self.apn.is_none() && self.enrolment.is_none()
    }
}

/// The token, and where it is shown.
#[derive(Debug)]
pub(super) struct Enrolment {
    pub(super) relay: Option<RelayUrl>,
    /// The file beside this one that holds the relay's certificate authority.
    pub(super) authority: Option<String>,
    pub(super) token: Sensitive,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    relay: Option<String>,
    relay_ca: Option<String>,
    token: Option<String>,
    hostname: Option<String>,
    country: Option<String>,
    ssh_keys: Vec<String>,
    wifi: Option<Wifi>,
    modem: Option<Modem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wifi {
    ssid: String,
    passphrase: Option<String>,
    user: Option<String>,
    password: Option<String>,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    wpa3: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Modem {
    apn: String,
}

/// Reads the file's text.
///
/// # Errors
/// One sentence for each thing that cannot be, with its key; it may repeat the value.
pub(super) fn read(text: &str) -> Result<Plan, Vec<String>> {
    // As Windows' editor begins a file.
    let text = text.trim_start_matches('\u{feff}');
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let place = line.map_or_else(String::new, |line| format!("line {line}: "));
        vec![format!("{place}{}", error.message())]
    })?;
    let mut wrong = Vec::new();
    let mut or_wrong = |key: &str, error: String| wrong.push(format!("{key}: {error}"));
    let mut plan = Plan::default();
    if let Some(name) = file.hostname {
        plan.settings.push(("hostname", name));
    }
    if let Some(country) = file.country {
        plan.settings.push(("wifi.country", country));
    }
    if !file.ssh_keys.is_empty() {
        plan.settings.push(("ssh.authorized_keys", file.ssh_keys.join("\n")));
        plan.settings.push(("ssh.enabled", "true".to_owned()));
    }
    match file.wifi.map(wish).transpose() {
        Ok(wish) => plan.wifi = wish,
        Err((key, error)) => or_wrong(key, error),
    }
    match file.modem.map(|modem| modem.apn) {
        Some(apn) if !is_apn(&apn) => {
            or_wrong("modem.apn", "1 to 100 letters, digits, dots and hyphens, such as internet.example".to_owned());
        }
        apn => plan.apn = apn,
    }
    match enrolment(file.relay, file.relay_ca, file.token) {
        Ok(enrolment) => plan.enrolment = enrolment,
        Err((key, error)) => or_wrong(key, error),
    }
    if wrong.is_empty() { Ok(plan) } else { Err(wrong) }
}

type Wrong = (&'static str, String);

fn wish(wifi: Wifi) -> Result<Wish, Wrong> {
    let ssid = Ssid::new(wifi.ssid.as_bytes())
        .ok_or_else(|| ("wifi.ssid", format!("a network's name has 1 to 32 bytes, this one {}", wifi.ssid.len())))?;
    let (security, credentials) = match (wifi.passphrase, wifi.user, wifi.password) {
        (None, None, None) => (Security::Open, Credentials::None),
        (Some(passphrase), None, None) => {
            let security = if wifi.wpa3 { Security::Wpa3Personal } else { Security::Personal };
            (security, Credentials::Passphrase(Secret::new(passphrase)))
        }
        (None, Some(user), Some(password)) => {
            (Security::Enterprise, Credentials::Login { user, password: Secret::new(password) })
        }
        _ => return Err(("wifi", "either passphrase, or user and password, or none of them".to_owned())),
    };
    let wish = Wish { ssid, hidden: wifi.hidden, security, credentials, address: Address::Automatic };
    wish.profile().map_err(|error| ("wifi", error.to_string()))?;
    Ok(wish)
}

fn enrolment(
    relay: Option<String>,
    authority: Option<String>,
    token: Option<String>,
) -> Result<Option<Enrolment>, Wrong> {
    let Some(token) = token else {
        return match (relay, authority) {
            (None, None) => Ok(None),
            _ => Err(("token", "it is missing: a relay alone changes nothing".to_owned())),
        };
    };
    let token = parse_token(&token).map_err(|error| ("token", error.to_string()))?;
    let relay = relay.map(|relay| RelayUrl::typed(&relay)).transpose().map_err(|error| ("relay", error))?;
    if let Some(name) = &authority {
        if relay.is_none() {
            return Err(("relay_ca", "it goes with a relay, which is missing".to_owned()));
        }
        if name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(("relay_ca", "the name of a file beside strata.toml".to_owned()));
        }
    }
    Ok(Some(Enrolment { relay, authority, token }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_a_person_may_want_is_read() {
        let plan = read(concat!(
            "\u{feff}relay = \"relay.example.net\"\r\n",
            "token = \" abc-123 \"\r\n",
            "hostname = \"van-3\"\r\n",
            "country = \"DE\"\r\n",
            "ssh_keys = [\"ssh-ed25519 AAAA a\", \"ssh-ed25519 BBBB b\"]\r\n",
            "[wifi]\r\nssid = \"Café ☕\"\r\npassphrase = \"correct horse\"\r\nhidden = true\r\n",
            "[modem]\r\napn = \"internet\"\r\n",
        ))
        .unwrap();
        assert_eq!(
            plan.settings,
            [
                ("hostname", "van-3".to_owned()),
                ("wifi.country", "DE".to_owned()),
                ("ssh.authorized_keys", "ssh-ed25519 AAAA a\nssh-ed25519 BBBB b".to_owned()),
                ("ssh.enabled", "true".to_owned()),
            ]
        );
        let wish = plan.wifi.unwrap();
        assert_eq!((wish.ssid.to_string().as_str(), wish.hidden, wish.security), ("Café ☕", true, Security::Personal));
        assert_eq!(plan.apn.as_deref(), Some("internet"));
        let enrolment = plan.enrolment.unwrap();
        assert_eq!(enrolment.relay.unwrap().as_str(), "wss://relay.example.net:443/agent/ws");
        assert_eq!(enrolment.token.reveal(), "abc-123");
    }

    #[test]
    fn the_example_on_the_card_is_read() {
        let example = include_str!("../../../rootfs/strata.example.toml");
        assert!(read(example).unwrap().is_empty(), "as it is it asks for nothing");
        let is_prose = |line: &str| line.starts_with("# ") || line.starts_with("##");
        let lines = example.lines().filter(|line| !is_prose(line));
        let plan = read(&lines.map(|line| format!("{}\n", line.trim_start_matches('#'))).collect::<String>()).unwrap();
        assert!(plan.wifi.is_some() && plan.apn.is_some() && plan.enrolment.is_some());
        assert_eq!(plan.settings.len(), 4);
    }

    #[test]
    fn networks_are_protected_as_their_keys_say() {
        for (keys, security) in [
            ("", Security::Open),
            ("passphrase = \"12345678\"", Security::Personal),
            ("passphrase = \"12345678\"\nwpa3 = true", Security::Wpa3Personal),
            ("user = \"a\"\npassword = \"b\"", Security::Enterprise),
        ] {
            let plan = read(&format!("[wifi]\nssid = \"x\"\n{keys}\n")).unwrap();
            assert_eq!(plan.wifi.unwrap().security, security, "{keys}");
        }
    }

    #[test]
    fn what_cannot_be_is_named_with_its_key_or_line() {
        for (text, named) in [
            ("tokn = \"x\"", "line 1: unknown field `tokn`"),
            ("hostname = \"a\"\ntoken = 5", "line 2: invalid type"),
            ("token = \"a", "line 1: "),
            ("[wifi]\npassphrase = \"12345678\"", "missing field `ssid`"),
            ("[wifi]\nssid = \"\"", "wifi.ssid: a network's name has 1 to 32 bytes, this one 0"),
            ("[wifi]\nssid = \"x\"\npassphrase = \"1234567\"", "wifi: a passphrase has 8 to 63 characters"),
            ("[wifi]\nssid = \"x\"\nuser = \"a\"", "wifi: either passphrase, or user and password"),
            ("[modem]\napn = \"two words\"", "modem.apn: "),
            ("[modem]\napn = \"a/b\"", "modem.apn: "),
            ("relay = \"wss://a.example\"", "token: it is missing"),
            ("token = \"two words\"", "token: an enrolment token is one word"),
            ("token = \"a\"\nrelay = \"ws://a.example\"", "relay: "),
            ("token = \"a\"\nrelay_ca = \"ca.pem\"", "relay_ca: it goes with a relay"),
            ("token = \"a\"\nrelay = \"a\"\nrelay_ca = \"../ca.pem\"", "relay_ca: the name of a file"),
        ] {
            let wrong = read(text).unwrap_err();
            assert!(wrong.len() == 1 && wrong[0].contains(named), "{text}: {wrong:?}");
        }
        let wrong = read("token = \"two words\"\n[modem]\napn = \"\"\n[wifi]\nssid = \"\"").unwrap_err();
        assert_eq!(wrong.len(), 3, "{wrong:?}");
    }
}
