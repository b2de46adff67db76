//! What changes on a page while one looks at it.
//!
//! Owns the WebSocket, what may be subscribed, and how a change becomes new
//! parts of a page (the same templates that the page was made of) or JSON.
//! Does not own what has changed: that is the fleet's to tell.

pub(super) mod parts;
pub(super) mod point;
pub(super) mod socket;
mod topic;
