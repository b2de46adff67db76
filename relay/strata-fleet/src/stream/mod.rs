//! Streams: what people ask for, the one task per stream that owns its state, and its live numbers.

mod actor;
mod api;
mod device_side;
mod live;
mod reconcile;
mod registry;
mod state;
mod worker_side;

pub(crate) use actor::{StreamMessage, restore};
pub(crate) use reconcile::{Action, Desired, reconcile};
pub(crate) use registry::Streams;
pub(crate) use state::reason_text;
