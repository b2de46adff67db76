//! The types of settings: which values each allows, and how people write them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

/// More is no public key.
const MAX_SSH_KEY_BYTES: usize = 4096;
/// What OpenSSH takes as a user's key. DSA and certificates are left out.
const SSH_KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

/// A setting's type with its bounds. Its `Display` says what is allowed.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// True or false.
    Flag,
    /// A whole number.
    Number {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// One of these words.
    Choice(Vec<String>),
    /// One label of a host name (RFC 1123), lower case.
    HostName,
    /// A country by its two letters (ISO 3166-1), or 00: the world.
    Country,
    /// A list of OpenSSH public keys.
    SshKeys {
        /// How many there may be.
        most: usize,
    },
}

impl Kind {
    /// Whether `value` is allowed.
    #[must_use]
    pub fn allows(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Flag, Value::Bool(_)) => true,
            (Self::Number { min, max }, Value::Number(number)) => {
                number.as_i64().is_some_and(|number| (*min..=*max).contains(&number))
            }
            (Self::Choice(words), Value::String(text)) => words.contains(text),
            (Self::HostName, Value::String(text)) => is_host_name(text),
            (Self::Country, Value::String(text)) => is_country(text),
            (Self::SshKeys { most }, Value::Array(keys)) => {
                keys.len() <= *most && keys.iter().all(|key| key.as_str().is_some_and(is_ssh_key))
            }
            _ => false,
        }
    }

    /// The value that a person wrote. What cannot be one comes back as text, which [`Kind::allows`] then refuses.
    #[must_use]
    pub fn parse(&self, text: &str) -> Value {
        let parsed = match self {
            Self::Flag | Self::Number { .. } => serde_json::from_str(text).ok(),
            Self::Choice(_) | Self::HostName | Self::Country => None,
            Self::SshKeys { .. } if text.trim_start().starts_with('[') => serde_json::from_str(text).ok(),
            Self::SshKeys { .. } => {
                Some(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Value::from).collect())
            }
        };
        parsed.unwrap_or_else(|| Value::from(text))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Choice(words) => write!(f, "one of: {}", words.join(", ")),
            Self::HostName => f.write_str("1 to 63 of a-z, 0-9 and -, without - at either end"),
            Self::Country => f.write_str("the two letters of a country, such as DE; 00 is what all countries allow"),
            Self::SshKeys { most } => {
                write!(f, "up to {most} public SSH keys, one a line, as in a .pub file: TYPE BASE64 NAME")
            }
        }
    }
}

fn is_host_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_country(text: &str) -> bool {
    text == "00" || (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase()))
}

/// `TYPE BASE64 [COMMENT]` on one line, without options before it, where the data names the same type (RFC 4253, 6.6).
fn is_ssh_key(text: &str) -> bool {
    let mut words = text.split(' ');
    let (Some(name), Some(data)) = (words.next(), words.next()) else { return false };
    let Ok(data) = STANDARD.decode(data) else { return false };
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes();
    text.len() <= MAX_SSH_KEY_BYTES
        && !text.contains(char::is_control)
        && SSH_KEY_TYPES.contains(&name)
        && data.strip_prefix(&length).is_some_and(|rest| rest.starts_with(name.as_bytes()) && rest.len() > name.len())
}
