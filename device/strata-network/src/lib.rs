//! The device's networks.
//!
//! Owns when the access point is on ([`access_point`]). Does not own pages for
//! people (`strata-portal`) or links of streams (`strata-agent`).

pub mod access_point;
