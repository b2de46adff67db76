//! Forwarding by RTMP: one supervised pipeline per destination.
//!
//! Owns: the bounded queue in front of each destination ([`Feed`]), its
//! pipeline, when it is built again after a failure, and the set of
//! destinations ([`Outputs`]). One that is slow or dead delays no other.

mod backoff;
mod feed;
mod outputs;
mod pipeline;
mod supervisor;
mod target;

pub use feed::Feed;
pub use outputs::Outputs;
pub use target::{Target, TargetError};
