//! The text of a QR code by which a phone shares a Wi-Fi network: `WIFI:T:WPA;S:name;P:passphrase;;`.
//!
//! The de facto standard of ZXing, which Android and iOS write and read. Owns reading it; what is in it may still be
//! refused ([`Wish::profile`]).

use crate::wifi::{Address, Credentials, Secret, Security, Ssid, Wish};

/// More is no such code: a name, a passphrase, each character of them escaped, and some words.
const MAX_BYTES: usize = 1024;

/// The network that a code asks for; none of another text.
#[must_use]
pub fn read(text: &str) -> Option<Wish> {
    let scheme = text.get(..5)?;
    let rest = text.get(5..).filter(|rest| rest.len() <= MAX_BYTES && scheme.eq_ignore_ascii_case("WIFI:"))?;
    let fields = fields(rest);
    let field = |name: &str| fields.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str());
    let secret = field("P").filter(|secret| !secret.is_empty()).map(|secret| Secret::new(secret.to_owned()));
    let kind = field("T").unwrap_or_default().to_ascii_uppercase();
    let (security, credentials) = match (kind.as_str(), secret) {
        ("" | "NOPASS", None) => (Security::Open, Credentials::None),
        ("SAE", Some(passphrase)) => (Security::Wpa3Personal, Credentials::Passphrase(passphrase)),
        ("" | "WPA" | "WPA2" | "WPA3", Some(passphrase)) => (Security::Personal, Credentials::Passphrase(passphrase)),
        ("WPA2-EAP" | "WPA3-EAP", Some(password)) => {
            let user = field("I").filter(|user| !user.is_empty())?.to_owned();
            (Security::Enterprise, Credentials::Login { user, password })
        }
        _ => return None,
    };
    let hidden = field("H").is_some_and(|hidden| hidden.eq_ignore_ascii_case("true"));
    Some(Wish { ssid: Ssid::new(field("S")?.as_bytes())?, hidden, security, credentials, address: Address::Automatic })
}

/// Names and values; a backslash takes what follows as it is. What ends within a field is cut off there.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let (mut name, mut value): (Option<String>, String) = (None, String::new());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, &name) {
            ('\\', _) => value.extend(characters.next()),
            (':', None) => name = Some(std::mem::take(&mut value).to_ascii_uppercase()),
            (';', _) => fields.extend(name.take().map(|name| (name, std::mem::take(&mut value)))),
            _ => value.push(character),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::own_network::OwnNetwork;

    fn told(text: &str) -> Option<(String, Security, Credentials, bool)> {
        read(text).map(|wish| (wish.ssid.to_string(), wish.security, wish.credentials, wish.hidden))
    }

    fn passphrase(text: &str) -> Credentials {
        Credentials::Passphrase(Secret::new(text.to_owned()))
    }

    #[test]
    fn what_phones_share_is_read() {
        let personal =
            |ssid: &str, secret, hidden| Some((ssid.to_owned(), Security::Personal, passphrase(secret), hidden));
        for (text, network) in [
            ("WIFI:S:Café ☕;T:WPA;P:correct horse;H:false;;", personal("Café ☕", "correct horse", false)),
            ("WIFI:T:WPA;S:a;P:12345678;H:true;", personal("a", "12345678", true)),
            (r"WIFI:T:WPA;S:a\;b\,c\:d\\;P:p\;pass\:word;;", personal(r"a;b,c:d\", "p;pass:word", false)),
            ("wifi:t:wpa;s:a;p:12345678;;", personal("a", "12345678", false)),
            ("WIFI:S:a;P:12:45:78;;", personal("a", "12:45:78", false)),
            ("WIFI:T:SAE;S:a;P:x;R:1;;", Some(("a".into(), Security::Wpa3Personal, passphrase("x"), false))),
            ("WIFI:T:nopass;S:Hotel;P:;;", Some(("Hotel".into(), Security::Open, Credentials::None, false))),
            ("WIFI:S:Hotel;;", Some(("Hotel".into(), Security::Open, Credentials::None, false))),
            (
                "WIFI:T:WPA2-EAP;S:Firm;E:PEAP;PH2:MSCHAPV2;I:anna;P:secret;;",
                Some((
                    "Firm".into(),
                    Security::Enterprise,
                    Credentials::Login { user: "anna".into(), password: Secret::new("secret".into()) },
                    false,
                )),
            ),
        ] {
            assert_eq!(told(text), network, "{text}");
        }
    }

    #[test]
    fn other_texts_are_none() {
        let long = format!("WIFI:S:a;P:{};;", "x".repeat(2_000));
        for text in [
            "",
            "WIFI",
            "WIFI:",
            "WIFI:;;",
            "WIFI:S:;;",
            "WIFI:T:WPA;S:a;;",
            "WIFI:T:WEP;S:a;P:12345;;",
            "WIFI:T:WPA2-EAP;S:a;P:x;;",
            "WIFI:S:123456789012345678901234567890123;;",
            "http://10.42.0.1/",
            "Wïfi:S:a;;",
            "WIFI:S:a",
            &long,
        ] {
            assert_eq!(told(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_devices_own_label_is_read_by_another(ssid in r#"[ -~;,:"\\]{1,32}"#, secret in r#"[ -~;,:"\\]{8,63}"#) {
            let own = OwnNetwork { ssid: ssid.clone(), passphrase: Secret::new(secret.clone()) };
            prop_assert_eq!(told(&own.qr_text()), Some((ssid, Security::Personal, passphrase(&secret), false)));
        }

        #[test]
        fn no_text_is_too_much(text in "(?i:wifi:)?([STPHIR]?:?[;\\\\]?.?){0,40}") {
            let _read = read(&text);
        }
    }
}
