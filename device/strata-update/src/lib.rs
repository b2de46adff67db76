//! The device's update daemon and its command line.
//!
//! Takes bundles by RAUC into the slot that does not run, reboots into it, and
//! calls it good only after it proved itself; everything else leads back to the
//! old slot, with a reason that people understand. See `docs/device/`.
//!
//! Owns the update's states ([`state`]) and their file ([`store`]), what is asked
//! of RAUC ([`rauc`]), the check of a new system ([`check`]), the floor, reasons
//! and journals of rejected systems, and the daemon in which they meet. Does not
//! own: verifying and writing bundles (RAUC), counting attempts (U-Boot), the
//! factory reset itself (strata-data).

pub mod agent_file;
pub mod bus;
pub mod check;
pub mod cli;
pub mod config;
pub mod daemon;
mod files;
pub mod floor;
pub mod image;
pub mod journal;
mod lines;
pub mod messages;
pub mod network;
mod notify;
pub mod pace;
pub mod power;
pub mod problems;
pub mod rauc;
pub mod reasons;
pub mod schedule;
pub mod server;
pub mod settings;
pub mod state;
pub mod store;
