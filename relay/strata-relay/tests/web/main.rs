//! The relay's pages, REST and WebSocket over a real router, each test with its own port and database.
#![allow(clippy::unwrap_used, reason = "a test says what failed by its panic")]

mod api;
mod go_live;
mod live;
mod maintenance;
mod owners;
mod play;
mod session;
mod support;
