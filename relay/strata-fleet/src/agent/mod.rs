//! The devices' side: who is connected, what they said, and what they are told.

mod connection;
mod handler;
mod registry;

pub use connection::{AgentConnection, AgentOutbox, Outgoing};
pub(crate) use registry::{LogAnswer, Registry};
