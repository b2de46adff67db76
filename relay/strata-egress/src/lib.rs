//! The relay's worker: one process for one stream.
//!
//! Owns: receiving the bonded stream, writing it as HLS, forwarding it by
//! RTMP, and telling the relay over a Unix socket how that goes. Does not own:
//! which streams there are, ports, keys, restarts (all `strata-relay`).
//! Passthrough only: nothing is decoded, HLS gets the transport stream as it came.
//!
//! How the parts hang together: [`source`] receives on a thread of GStreamer's
//! and pushes into the [`intake`], which cuts segments for [`hls`] and feeds
//! each [`rtmp`] output through a bounded queue. [`worker`] runs the rest: the
//! relay's connection ([`control`]), statistics, signals.

pub mod config;
pub mod control;
pub mod events;
pub mod hls;
pub mod intake;
pub mod plugins;
pub mod rtmp;
pub mod source;
pub mod stats;
pub mod worker;
