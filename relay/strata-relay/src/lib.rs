//! The relay: HTTP, pages, agents' socket, command line.
//!
//! The binary only wires: [`config`] says what is wanted, [`serve`] brings
//! `strata-fleet`, the pages ([`http`]) and the agents' socket
//! ([`agent_socket`]) together. Does not own: what a stream or device may do
//! (`strata-fleet`), media (`strata-egress`, a process per stream).

pub mod agent_socket;
pub mod cli;
pub mod config;
pub mod http;
pub mod serve;
pub mod session;
