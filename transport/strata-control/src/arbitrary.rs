//! Strategies for the fields whose types come from elsewhere.

use jiff::Timestamp;
use proptest::prelude::*;
use strata_identity::{PublicKey, Signature};

/// Any second between the years 1900 and 2200.
pub(crate) fn timestamp() -> impl Strategy<Value = Timestamp> {
    (-2_208_988_800i64..7_258_118_400, 0i32..1_000_000_000)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap_or(Timestamp::UNIX_EPOCH))
}

pub(crate) fn public_key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey::from_bytes)
}

pub(crate) fn signature() -> impl Strategy<Value = Signature> {
    (any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(r, s)| {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&r);
        bytes[32..].copy_from_slice(&s);
        Signature::from_bytes(bytes)
    })
}

/// A finite measurement with three binary digits after the point, exact in JSON.
pub(crate) fn measured() -> impl Strategy<Value = f64> {
    (-1_000_000i32..1_000_000_000).prop_map(|eighths| f64::from(eighths) / 8.0)
}

pub(crate) fn measured_f32() -> impl Strategy<Value = f32> {
    (-8_000i16..i16::MAX).prop_map(|eighths| f32::from(eighths) / 8.0)
}
