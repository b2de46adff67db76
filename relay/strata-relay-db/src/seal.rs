//! Sealing of stream keys: XChaCha20-Poly1305 with a random nonce, bound to the row that holds the value.

use std::fmt;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretBox, SecretString};

/// Length of the nonce in front of a sealed value.
const NONCE_BYTES: usize = 24;

/// The key that opens sealed values; kept outside the database.
#[derive(Clone)]
pub struct SealKey(std::sync::Arc<SecretBox<[u8; 32]>>);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(…)")
    }
}

impl SealKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(std::sync::Arc::new(SecretBox::new(Box::new(bytes))))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.expose_secret().into())
    }

    /// Nonce and ciphertext. `place` names the row: a value moved to another row does not open.
    ///
    /// # Panics
    /// When the operating system has no random numbers to give.
    pub(crate) fn seal(&self, place: &str, secret: &SecretString) -> Vec<u8> {
        let mut nonce = [0u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the operating system provides random numbers");
        let payload = Payload { msg: secret.expose_secret().as_bytes(), aad: place.as_bytes() };
        let sealed =
            self.cipher().encrypt(&XNonce::from(nonce), payload).expect("a stream key is far below the cipher's limit");
        [nonce.as_slice(), &sealed].concat()
    }

    /// The value; none when key or place are not those it was sealed with.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Option<SecretString> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: text, aad: place.as_bytes() };
        let plain = self.cipher().decrypt(&XNonce::from(*nonce), payload).ok()?;
        String::from_utf8(plain).ok().map(SecretString::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_with_its_key_and_place_alone() {
        let (key, other) = (SealKey::new([1; 32]), SealKey::new([2; 32]));
        let sealed = key.seal("destination a", &SecretString::from("live_123"));
        assert_eq!(key.open("destination a", &sealed).unwrap().expose_secret(), "live_123");
        assert!(other.open("destination a", &sealed).is_none());
        assert!(key.open("destination b", &sealed).is_none());
        assert!(key.open("destination a", &sealed[1..]).is_none());
        assert!(key.open("destination a", b"short").is_none());
        assert!(!sealed.windows(8).any(|part| part == b"live_123"));
    }

    #[test]
    fn the_same_value_never_looks_the_same() {
        let key = SealKey::new([1; 32]);
        let secret = SecretString::from("live_123");
        assert_ne!(key.seal("a", &secret), key.seal("a", &secret));
    }
}
