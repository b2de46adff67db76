//! Ed25519 identities (RFC 8032) of devices, workers and relays.
//!
//! Owns: key pairs, their files, the text form of a public key, and signatures
//! that are bound to a context so that one made for one purpose is worthless
//! for another. Does not own: TLS, tokens, who is allowed to do what.

#[cfg(not(target_family = "wasm"))]
mod file;
mod key;

#[cfg(not(target_family = "wasm"))]
pub use file::KeyFileError;
pub use key::{KeyPair, ParsePublicKeyError, PublicKey, Signature};
