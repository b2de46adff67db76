use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Separates the context from the message in what is signed; a context never contains it.
const CONTEXT_END: u8 = 0;

/// An Ed25519 key pair. The private half is wiped from memory on drop and is
/// never printed: [`fmt::Debug`] shows the public key only.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// Makes a key pair from the operating system's random numbers.
    ///
    /// # Panics
    /// When the operating system has no random numbers to give.
    #[cfg(not(target_family = "wasm"))]
    #[must_use]
    pub fn generate() -> Self {
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).expect("the operating system provides random numbers");
        Self::from_seed(&seed)
    }

    /// The key pair that belongs to a 32-byte seed (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32-byte seed: a secret, for handing the key to a process of ours.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The private key as PKCS#8 DER (RFC 8410), as TLS libraries take it.
    ///
    /// # Panics
    /// Never: an Ed25519 key always has a PKCS#8 form.
    #[must_use]
    pub fn to_pkcs8_der(&self) -> Vec<u8> {
        self.0.to_pkcs8_der().expect("an Ed25519 key has a PKCS#8 form").as_bytes().to_vec()
    }

    /// Signs `message` for the purpose named by `context`.
    #[must_use]
    pub fn sign(&self, context: &str, message: &[u8]) -> Signature {
        Signature(self.0.sign(&with_context(context, message)).to_bytes())
    }

    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.0
    }

    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn from_signing_key(key: SigningKey) -> Self {
        Self(key)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public())
    }
}

fn with_context(context: &str, message: &[u8]) -> Vec<u8> {
    let mut signed = Vec::with_capacity(context.len() + 1 + message.len());
    signed.extend_from_slice(context.as_bytes());
    signed.push(CONTEXT_END);
    signed.extend_from_slice(message);
    signed
}

/// An Ed25519 public key; its text form is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key with these 32 bytes. Whether it is a point on the curve shows at [`verify`](Self::verify).
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as SubjectPublicKeyInfo DER (RFC 8410, section 4), as a TLS raw public key (RFC 7250).
    #[must_use]
    pub fn to_spki_der(&self) -> Vec<u8> {
        let mut der = SPKI_PREFIX.to_vec();
        der.extend_from_slice(&self.0);
        der
    }

    /// The key inside a SubjectPublicKeyInfo, if it is an Ed25519 key.
    #[must_use]
    pub fn from_spki_der(der: &[u8]) -> Option<Self> {
        let key = der.strip_prefix(SPKI_PREFIX.as_slice())?;
        Some(Self(key.try_into().ok()?))
    }

    /// Whether `signature` was made by this key's owner over `message` for `context`.
    #[must_use]
    pub fn verify(&self, context: &str, message: &[u8], signature: &Signature) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else { return false };
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(&with_context(context, message), &signature).is_ok()
    }
}

/// DER of `SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING (33 bytes, 0 unused bits) }` up to the key.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A text that is not a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{0}” is not a public key: 64 hexadecimal digits expected, as `strata-bond keygen` prints them")]
pub struct ParsePublicKeyError(String);

impl FromStr for PublicKey {
    type Err = ParsePublicKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(text.trim(), &mut bytes)
            .map_err(|_| ParsePublicKeyError(text.chars().take(80).collect()))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = ParsePublicKeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl schemars::JsonSchema for PublicKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PublicKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9a-fA-F]{64}$",
            "description": "Ed25519 public key (RFC 8032), hexadecimal"
        })
    }
}

/// An Ed25519 signature; its text form is 128 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signature([u8; 64]);

impl Signature {
    /// The signature with these 64 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<String> for Signature {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0u8; 64];
        hex::decode_to_slice(&text, &mut bytes).map_err(|_| "a signature is 128 hexadecimal digits".to_owned())?;
        Ok(Self(bytes))
    }
}

impl From<Signature> for String {
    fn from(signature: Signature) -> Self {
        hex::encode(signature.0)
    }
}

impl schemars::JsonSchema for Signature {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Signature".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9a-fA-F]{128}$",
            "description": "Ed25519 signature (RFC 8032), hexadecimal"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8032_test_1_gives_its_public_key() {
        let mut seed = [0u8; 32];
        hex::decode_to_slice("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", &mut seed).unwrap();
        assert_eq!(
            KeyPair::from_seed(&seed).public().to_string(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }

    #[test]
    fn a_signature_holds_for_its_context_message_and_key_alone() {
        let (key, other) = (KeyPair::generate(), KeyPair::generate());
        let signature = key.sign("login", b"challenge");
        assert!(key.public().verify("login", b"challenge", &signature));
        assert!(!key.public().verify("enrol", b"challenge", &signature));
        assert!(!key.public().verify("login", b"challengf", &signature));
        assert!(!other.public().verify("login", b"challenge", &signature));
    }

    #[test]
    fn text_and_spki_forms_survive_the_round_trip() {
        let public = KeyPair::generate().public();
        assert_eq!(public.to_string().parse::<PublicKey>().unwrap(), public);
        assert_eq!(PublicKey::from_spki_der(&public.to_spki_der()), Some(public));
        assert!(PublicKey::from_spki_der(&public.to_spki_der()[1..]).is_none());
        assert!("abc".parse::<PublicKey>().unwrap_err().to_string().contains("“abc”"));
    }

    #[test]
    fn debug_never_shows_the_private_half() {
        let key = KeyPair::generate();
        assert!(!format!("{key:?}").contains(&hex::encode(key.seed())));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_key_or_an_error(text in ".{0,80}") {
            if let Ok(key) = text.parse::<PublicKey>() {
                proptest::prop_assert_eq!(key.to_string(), text.trim().to_lowercase());
            }
        }
    }
}
