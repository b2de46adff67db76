//! The device's own pages.
//!
//! Owns what phones and computers ask to find out whether a network has a page to
//! show first ([`probes`]). Does not own networks (`strata-network`).

pub mod device;
pub mod gate;
pub mod language;
mod pages;
pub mod probes;
pub mod server;
pub mod texts;
