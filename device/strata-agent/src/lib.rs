//! The device's daemon: one process that keeps a device in touch with its relay
//! and its streams alive.
//!
//! Owns the control connection ([`relay`]), what the device has
//! ([`inventory`]), the streams' encoder processes ([`stream`]), the way in for
//! whoever sets the device up ([`onboarding`]) and how the four meet ([`agent`]).
//! Does not own media: that is the encoder's, a process of its own per stream
//! which outlives the agent. Does not own updates, or what NetworkManager does.

pub mod agent;
pub mod config;
mod diagnose;
pub mod emulator;
pub mod enrol;
pub mod enrolment;
mod files;
pub mod inventory;
mod journal;
pub mod links;
mod lock;
pub mod logging;
mod logs;
mod notify;
pub mod onboarding;
mod problems;
mod program;
pub mod provision;
pub mod relay;
pub mod relay_address;
pub mod session;
pub mod state;
mod state_file;
mod storage;
pub mod stream;
mod update;
