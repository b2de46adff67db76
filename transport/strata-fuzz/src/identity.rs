//! Keys and signatures as text and as DER.

use strata_identity::{KeyPair, PublicKey, Signature};

/// Any bytes as a key's text, as a key's DER, and as key, signature and message.
///
/// # Panics
/// When a form does not read back, or a signature holds that nobody made.
pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        match text.parse::<PublicKey>() {
            Ok(key) => assert_eq!(key.to_string(), text.trim().to_lowercase()),
            Err(error) => assert!(error.to_string().len() < 600, "an error repeats too much of what was given"),
        }
        let quoted = serde_json::Value::from(text);
        if let Ok(signature) = serde_json::from_value::<Signature>(quoted) {
            assert_eq!(String::from(signature), text.to_lowercase());
        }
    }
    if let Some(key) = PublicKey::from_spki_der(data) {
        assert_eq!(key.to_spki_der(), data);
    }
    if let Some((key, rest)) = data.split_first_chunk::<32>()
        && let Some((signature, message)) = rest.split_first_chunk::<64>()
    {
        let signature = Signature::from_bytes(*signature);
        let own = KeyPair::from_seed(key);
        assert!(!own.public().verify("fuzz", message, &signature), "nobody made this signature");
        assert!(own.public().verify("fuzz", message, &own.sign("fuzz", message)));
        // Whatever these 32 bytes are, also no point of the curve: no panic.
        assert!(!PublicKey::from_bytes(*key).verify("fuzz", message, &signature), "nobody made this signature");
    }
}
