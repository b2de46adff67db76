//! Access and session tokens: JWT (RFC 7519) signed with Ed25519 (RFC 8037, `alg` = `EdDSA`).
//!
//! The relay is the only issuer and the only reader, so exactly one header is
//! accepted: no other algorithm can be talked into.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use strata_control::OwnerId;
use strata_identity::KeyPair;

/// Who issues the tokens.
const ISSUER: &str = "strata-relay";
const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;
/// A token longer than this is not one of ours.
const MAX_BYTES: usize = 2_048;

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// The user or device.
    pub(crate) sub: String,
    /// Who issued it.
    iss: String,
    /// When, in unix seconds.
    iat: i64,
    /// When it ends, in unix seconds.
    pub(crate) exp: i64,
    /// `viewer`, `operator`, `admin`, or `device`.
    pub(crate) role: String,
    /// Whose user or device.
    pub(crate) owner: OwnerId,
}

/// Issues a token; returns it with its end (whole seconds).
pub(crate) fn issue(
    key: &KeyPair,
    sub: String,
    role: &str,
    owner: OwnerId,
    life: (Timestamp, std::time::Duration),
) -> (SecretString, Timestamp) {
    let (now, duration) = life;
    let iat = now.as_second();
    let exp = iat.saturating_add(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX));
    let claims = Claims { sub, iss: ISSUER.to_owned(), iat, exp, role: role.to_owned(), owner };
    let claims = serde_json::to_vec(&claims).expect("texts and numbers have a JSON form");
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
    let signature = SigningKey::from_bytes(&key.seed()).sign(signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()));
    (token.into(), Timestamp::from_second(exp).unwrap_or(Timestamp::MAX))
}

/// What a token says; none when it is not ours, was changed, or is over.
pub(crate) fn read(key: &KeyPair, token: &str, now: Timestamp) -> Option<Claims> {
    if token.len() > MAX_BYTES {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    if header != URL_SAFE_NO_PAD.encode(HEADER) {
        return None;
    }
    let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let verifier = SigningKey::from_bytes(&key.seed()).verifying_key();
    verifier.verify_strict(signed.as_bytes(), &signature).ok()?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    (claims.iss == ISSUER && claims.exp > now.as_second()).then_some(claims)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn token(key: &KeyPair, now: Timestamp) -> SecretString {
        issue(key, "someone".to_owned(), "admin", OwnerId(uuid::Uuid::nil()), (now, HOUR)).0
    }

    #[test]
    fn a_token_holds_for_its_key_and_its_hour() {
        let (key, other) = (KeyPair::generate(), KeyPair::generate());
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let token = token(&key, now);
        let claims = read(&key, token.expose_secret(), now).unwrap();
        assert_eq!((claims.sub.as_str(), claims.role.as_str()), ("someone", "admin"));
        assert!(read(&other, token.expose_secret(), now).is_none());
        assert!(read(&key, token.expose_secret(), now + HOUR).is_none());
    }

    #[test]
    fn a_changed_token_and_another_algorithm_are_refused() {
        let key = KeyPair::generate();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let token = token(&key, now);
        let parts: Vec<&str> = token.expose_secret().split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"x"}"#);
        for forged in [
            format!("{none}.{}.", parts[1]),
            format!("{}.{claims}.{}", parts[0], parts[2]),
            format!("{}.{}", parts[0], parts[1]),
            String::new(),
            "a.b.c".to_owned(),
            "é.é.é".to_owned(),
        ] {
            assert!(read(&key, &forged, now).is_none(), "{forged}");
        }
    }
}
