//! Password hashes: Argon2id (RFC 9106) with 19 MiB, two passes, one lane, as OWASP recommends.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};

/// The shortest password, in characters.
pub(crate) const MIN_CHARS: usize = 10;
/// The longest password, in bytes: a bound for the hash's work.
const MAX_BYTES: usize = 1_024;

fn hasher() -> Argon2<'static> {
    let params = Params::new(19 * 1_024, 2, 1, None).expect("OWASP's parameters are within Argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Hashes a password with a new salt. Takes some 20 ms of a core and 19 MiB: not on an async thread.
pub(crate) fn hash(password: &SecretString) -> SecretString {
    hasher()
        .hash_password(password.expose_secret().as_bytes())
        .expect("a password within its bounds can be hashed")
        .to_string()
        .into()
}

/// Whether the password is the one that was hashed. Takes as long as [`hash`].
pub(crate) fn verify(password: &SecretString, hash: &SecretString) -> bool {
    let Ok(hash) = PasswordHash::new(hash.expose_secret()) else { return false };
    password.expose_secret().len() <= MAX_BYTES
        && hasher().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
}

/// What is wrong with a new password, for people.
pub(crate) fn problem(password: &SecretString) -> Option<String> {
    let text = password.expose_secret();
    let chars = text.chars().count();
    if chars < MIN_CHARS {
        return Some(format!("the password has {chars} characters: at least {MIN_CHARS} expected"));
    }
    (text.len() > MAX_BYTES).then(|| format!("the password is longer than {MAX_BYTES} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_argon2id_with_the_parameters_promised_and_holds_for_its_password_alone() {
        let hashed = hash(&SecretString::from("correct horse"));
        assert!(hashed.expose_secret().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hashed.expose_secret());
        assert!(verify(&SecretString::from("correct horse"), &hashed));
        assert!(!verify(&SecretString::from("correct hors"), &hashed));
        assert!(!verify(&SecretString::from("correct horse"), &SecretString::from("no hash")));
    }
}
