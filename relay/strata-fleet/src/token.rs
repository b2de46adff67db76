//! Random tokens and their hashes. A token is shown once; only its hash is stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use strata_relay_db::TokenHash;

/// Crockford's base 32 in lower case: no letter that is mistaken for a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters by which an enrolment token is found: 50 bits, not secret.
const LOOKUP_CHARS: usize = 10;
/// Characters of an enrolment token's secret: 130 bits.
const SECRET_CHARS: usize = 26;

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).expect("the operating system provides random numbers");
    bytes
}

/// A token for cookies, refreshes and player pages: 256 bits, safe in URLs.
pub(crate) fn new_token() -> SecretString {
    URL_SAFE_NO_PAD.encode(random::<32>()).into()
}

/// The unguessable part of a player page: 128 bits, safe in URLs.
pub(crate) fn new_play_key() -> String {
    URL_SAFE_NO_PAD.encode(random::<16>())
}

/// What is stored of a token. Tokens hold at least 128 random bits, so a plain hash is enough.
pub(crate) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// An enrolment token: `LOOKUP-SECRET`.
pub(crate) struct EnrolmentTokenParts {
    /// What it is found by.
    pub(crate) lookup: String,
    /// What proves it.
    pub(crate) secret: SecretString,
}

impl EnrolmentTokenParts {
    /// A new one.
    pub(crate) fn generate() -> Self {
        let text: String = random::<{ LOOKUP_CHARS + SECRET_CHARS }>()
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
            .collect();
        let (lookup, secret) = text.split_at(LOOKUP_CHARS);
        Self { lookup: lookup.to_owned(), secret: secret.to_owned().into() }
    }

    /// The text that people copy.
    pub(crate) fn text(&self) -> SecretString {
        format!("{}-{}", self.lookup, self.secret.expose_secret()).into()
    }

    /// Reads what was typed or scanned: case and surrounding space do not matter. None when it is no token.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let (lookup, secret) = text.split_once('-')?;
        let good = |part: &str, chars| part.len() == chars && part.bytes().all(|byte| ALPHABET.contains(&byte));
        (good(lookup, LOOKUP_CHARS) && good(secret, SECRET_CHARS))
            .then(|| Self { lookup: lookup.to_owned(), secret: secret.to_owned().into() })
    }

    /// What is stored of the secret part.
    pub(crate) fn secret_hash(&self) -> TokenHash {
        hash(self.secret.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enrolment_token_survives_typing() {
        let token = EnrolmentTokenParts::generate();
        let typed = format!("  {} \n", token.text().expose_secret().to_uppercase());
        let read = EnrolmentTokenParts::parse(&typed).unwrap();
        assert_eq!(read.lookup, token.lookup);
        assert_eq!(read.secret_hash(), token.secret_hash());
    }

    #[test]
    fn what_is_no_token_is_none() {
        for text in ["", "-", "abc", "0123456789-abc", "0123456789-0123456789abcdefghjkmnpqrsu", "ä"] {
            assert!(EnrolmentTokenParts::parse(text).is_none(), "{text}");
        }
    }
}
